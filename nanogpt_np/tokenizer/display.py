"""What the tokenizer did with a text, step by step, and how to show it in a terminal.

Enter: the steps that Tokenizer.explain collected. Leave: lines of text, coloured by token where the terminal can.
Next: storage/header.py.
"""

import unicodedata
from itertools import cycle
from typing import NamedTuple

# Black on five calm backgrounds: two neighbours never share one, and the text stays readable on dark and on light.
BACKGROUNDS = (117, 150, 222, 182, 210)
DIM, RESET = "\x1b[2m", "\x1b[0m"


class MergeStep(NamedTuple):
    """One merge inside a chunk: `left` + `right` (bytes) became one wherever they met; `parts` is what stands then."""

    rank: int
    left: bytes
    right: bytes
    parts: list


class ChunkExplanation(NamedTuple):
    """One chunk on its way to ids: `text`, its UTF-8 `data`, the `merges` in order, the final `tokens` and `ids`."""

    text: str
    data: bytes
    merges: list
    tokens: list
    ids: list
    is_special: bool = False


class Explanation(NamedTuple):
    """A text and the chunks that it was split into."""

    text: str
    chunks: list

    @property
    def ids(self):
        """The ids of the whole text, the same as Tokenizer.encode gives."""
        return [i for chunk in self.chunks for i in chunk.ids]

    @property
    def tokens(self):
        """The tokens of the whole text, as bytes."""
        return [token for chunk in self.chunks for token in chunk.tokens]


def format_explanation(explanation, color=True, steps=False):
    """Render an Explanation as text: the tokens, their ids, the totals; with `steps` also every merge with its rank.

    `color` marks the tokens with ANSI backgrounds; without it a bar separates them: "Hel|lo".
    """
    lines = [
        _token_line(map(visible, explanation.tokens), color),
        _id_line(explanation.ids, color),
        _dim(_totals(explanation), color),
    ]
    if steps:
        for chunk in explanation.chunks:
            lines += ["", *_chunk_lines(chunk, color)]
    return "\n".join(lines)


def visible(token):
    r"""A token's bytes as one line of readable text: visible(b"a\n\xe4\xbd") -> 'a\\n\\xe4\\xbd'."""
    text = token.decode("utf-8", errors="surrogateescape")
    shown = "".join(map(_visible_character, text))
    return "◌" + shown if text and unicodedata.combining(text[0]) else shown  # a mark needs something to stand on


def _visible_character(character):
    if 0xDC80 <= ord(character) <= 0xDCFF:  # surrogateescape: a byte that is no whole character
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character.isprintable() and character != "\\":
        return character
    return character.encode("unicode_escape").decode("ascii")


def _chunk_lines(chunk, color):
    """The way of one chunk: its bytes, one line for each merge, its ids; parts stand below parts, spaces as "␣"."""
    parts = [chunk.data] if chunk.is_special else [bytes([byte]) for byte in chunk.data]
    rows = [("special" if chunk.is_special else "bytes", "", parts)]
    for step in chunk.merges:
        rows.append((f"rank {step.rank:>6,}", f"{spell(step.left)} + {spell(step.right)}", step.parts))
    width = max(_width(pair) for _, pair, _ in rows)
    lines = []
    for label, pair, parts in rows:
        padding = " " * (width - _width(pair))
        lines.append(f"  {_dim(label.ljust(11), color)}  {pair}{padding}  {_token_line(map(spell, parts), color)}")
    lines.append(f"  {_dim('ids'.ljust(11), color)}  {' ' * width}  {_id_line(chunk.ids, color)}")
    return lines


def spell(token):
    """The same with its spaces to be seen: spell(b" upon") -> "␣upon" """
    return visible(token).replace(" ", "␣")


def _width(text):
    """Columns in a terminal: East Asian characters take two, combining marks none."""
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def _token_line(pieces, color):
    return ("" if color else "|").join(_paint(pieces, color))


def _id_line(ids, color):
    return " ".join(_paint(map(str, ids), color))


def _paint(pieces, color):
    """Each piece on its own background, so that the n-th token and the n-th id share one."""
    if not color:
        return list(pieces)
    return [f"\x1b[38;5;16;48;5;{back}m{piece}{RESET}" for piece, back in zip(pieces, cycle(BACKGROUNDS), strict=False)]


def _dim(text, color):
    return f"{DIM}{text}{RESET}" if color else text


def _totals(explanation):
    amounts = [
        (len(explanation.ids), "token"),
        (len(explanation.text), "character"),
        (sum(len(chunk.data) for chunk in explanation.chunks), "byte"),
    ]
    return ", ".join(f"{n:,} {unit}{'s' * (n != 1)}" for n, unit in amounts)
