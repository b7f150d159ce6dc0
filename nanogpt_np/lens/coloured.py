"""Tokens on a colour that says how unexpected each was: as HTML for a notebook, as lines for a terminal.

Enter: a TokensView (lens/tokens.py). Leave: a str that needs nothing from elsewhere. Next: lens/tokens.py.
"""

import html
import math
import unicodedata

import numpy as np

WORST = 8.0  # nats: a token that had one chance in 3,000; darker it does not get
LINE = 78  # characters of tokens in a row
BLUES = (231, 153, 111, 68, 25, 18)  # from white to dark, of the 256 colours that every terminal has
BLACK, WHITE = 16, 231


def tokens_html(view):
    """The tokens as HTML; a token's id, loss and rank show under the pointer."""
    cells = []
    look = "padding:1px 2px;margin:1px;border-radius:3px;display:inline-block"
    for token, i, loss, rank in zip(view.tokens, view.ids, view.losses, view.ranks, strict=True):
        share = _share(loss)
        title = f"id {i}" + (f", loss {loss:.3f} nats, {rank:,} tokens were likelier" if rank >= 0 else ", not guessed")
        colours = f"background:rgba(33,113,181,{share:.2f});color:#{'fff' if share > 0.6 else '222'}"
        cells.append(f'<span title="{title}" style="{colours};{look}">{html.escape(token)}</span>')
    cells, note = "".join(cells), f"loss in nats, 0 white to {WORST:g} dark; {mean_loss(view)}"
    return (
        '<div style="background:#fff;color:#222;font-family:monospace;line-height:1.8;padding:6px">'
        f'{cells}<div style="color:#666;font-size:80%">{note}</div></div>'
    )


def tokens_ansi(view):
    """The tokens as lines for a terminal of 256 colours, each with its loss below it, the mean in the last line."""
    lines = []
    for row in rows_of(view.tokens, _cell):
        above = [_painted(view.tokens[i], view.losses[i]) for i in row]
        below = [(f"{view.losses[i]:.2f}" if i else "").ljust(_cell(view.tokens[i]) - 1) for i in row]
        lines += [" ".join(above), " ".join(below).rstrip()]
    return "\n".join([*lines, f"loss in nats, 0 white to {WORST:g} dark; {mean_loss(view)}"])


def rows_of(tokens, width):
    """The places of the tokens in each row of LINE characters; `width`: of a token."""
    rows, used = [[]], 0
    for i, token in enumerate(tokens):
        if used + width(token) > LINE and rows[-1]:
            rows.append([])
            used = 0
        rows[-1].append(i)
        used += width(token)
    return rows


def mean_loss(view):
    """The mean of the losses, in words."""
    return f"the mean is {np.nanmean(view.losses):.2f}" if len(view.tokens) > 1 else "a lone token was not guessed"


def _share(loss):
    """Of the worst; 0 for what was not guessed."""
    return min(loss / WORST, 1.0) if math.isfinite(loss) else 0.0


def _cell(token):
    return max(_columns(token), 4) + 1  # the number below needs four


def _columns(token):
    """The columns that a terminal gives a token: two to a Chinese character."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in token)


def _painted(token, loss):
    step = round(_share(loss) * (len(BLUES) - 1))
    padded = token + " " * (_cell(token) - 1 - _columns(token))
    return f"\x1b[48;5;{BLUES[step]};38;5;{BLACK if step < 3 else WHITE}m{padded}\x1b[0m"
