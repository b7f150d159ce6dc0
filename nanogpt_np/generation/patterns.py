"""A regular expression, or a list of texts, as an automaton over bytes: which byte may follow which.

Enter: a pattern as Python's `re` spells it, or texts. Leave: an Nfa (Thompson 1968), whose arcs are ranges of bytes:
characters count as their UTF-8, so that a token may hold half of one. The whole text is meant, from its first character
to its last. What no such automaton can do (looking around, going back to a group) is refused. \\d, \\w and \\s
are those of ASCII. Next: generation/automaton.py.
"""

from typing import NamedTuple

from ..errors import InputError, printable, shown

MOST_CHARACTERS, MOST_STATES, DEEPEST = 10_000, 50_000, 50
LAST = 0x10FFFF  # of all characters
SURROGATES = (0xD800, 0xDFFF)  # halves of pairs, which UTF-8 does not have
CLASSES = {
    "d": [(48, 57)], "w": [(48, 57), (65, 90), (95, 95), (97, 122)], "s": [(9, 13), (32, 32)],
}  # fmt: skip
ESCAPES = {"n": 10, "t": 9, "r": 13, "f": 12, "v": 11, "a": 7, "0": 0}
SPECIAL = ".^$*+?{}[]\\|()"


class Nfa(NamedTuple):
    """States 0 to n - 1, of which 0 begins: free moves, arcs (first byte, last byte, to), and where a text may end."""

    free: list  # [n_states] of lists of states
    arcs: list  # [n_states] of lists of (int, int, int)
    ends: set


def from_texts(texts):
    """The Nfa of a few texts, as a tree: one state for each beginning; InputError where that is too many."""
    nfa, known = Nfa([[]], [[]], set()), {}
    for text in texts:
        state = 0
        for byte in text.encode():
            if (state, byte) not in known:
                known[state, byte] = _state(nfa, "choices")
                nfa.arcs[state].append((byte, byte, known[state, byte]))
            state = known[state, byte]
        nfa.ends.add(state)
    return nfa


def from_pattern(pattern):
    """The Nfa of a regular expression; InputError says what of it is not understood, and where."""
    if not isinstance(pattern, str) or len(pattern) > MOST_CHARACTERS:
        raise InputError(f"pattern: expected a text of at most {MOST_CHARACTERS:,} characters, got {shown(pattern)}")
    nfa = Nfa([[]], [[]], set())
    nfa.ends.add(_build(_Parser(pattern).whole(), nfa, 0))
    return nfa


def _state(nfa, name="pattern"):
    """One state more; InputError where there are too many."""
    if len(nfa.free) >= MOST_STATES:
        expected = f"at most {MOST_STATES:,} states"
        raise InputError(f"{name}: expected one that takes {expected}, got more; shorten it, or repeat less")
    nfa.free.append([])
    nfa.arcs.append([])
    return len(nfa.free) - 1


def _build(node, nfa, start):
    """Add what a node of the tree stands for behind a state -> the state where it ends."""
    kind, value = node[0], node[1]
    if kind == "join":
        for part in value:
            start = _build(part, nfa, start)
        return start
    if kind == "repeat":
        return _build_repeat(value, *node[2:], nfa, start)
    end = _state(nfa)
    if kind == "either":
        for part in value:
            inside = _state(nfa)
            nfa.free[start].append(inside)
            nfa.free[_build(part, nfa, inside)].append(end)
        return end
    for ranges in (found for first, last in value for found in utf8_ranges(first, last)):
        state = start
        for first, last in ranges[:-1]:
            nfa.arcs[state].append((first, last, _state(nfa)))
            state = len(nfa.free) - 1
        nfa.arcs[state].append((*ranges[-1], end))
    return end


def _build_repeat(part, least, most, nfa, start):
    """A part `least` to `most` times; most None is any number."""
    for _ in range(least):
        before, start = start, _build(part, nfa, start)
        if start == before:  # nothing, repeated
            break
    if most is None:
        inside = _state(nfa)  # of its own, so that a loop does not lead back in front of what stands before
        nfa.free[start].append(inside)
        nfa.free[_build(part, nfa, inside)].append(inside)
        return inside
    end = _state(nfa)
    nfa.free[start].append(end)
    for _ in range(most - least):
        before, start = start, _build(part, nfa, start)
        if start == before:
            break
        nfa.free[start].append(end)
    return end


def utf8_ranges(first, last):
    """The UTF-8 of a range of characters as ranges of bytes: list(utf8_ranges(97, 98)) -> [[(97, 98)]]

    Lengths, and bytes behind the first, are kept apart, so that each list of ranges stands for all its combinations.
    """
    for low, high in ((0, 0x7F), (0x80, 0x7FF), (0x800, SURROGATES[0] - 1), (SURROGATES[1] + 1, 0xFFFF),
                      (0x10000, LAST)):  # fmt: skip
        if max(first, low) <= min(last, high):
            yield from _even_ranges(max(first, low), min(last, high))


def _even_ranges(first, last):
    for bits in (6, 12, 18):
        mask = (1 << bits) - 1
        if first & ~mask != last & ~mask:
            cut = (first | mask) + 1 if first & mask else last & ~mask if last & mask != mask else None
            if cut is not None:
                yield from _even_ranges(first, cut - 1)
                yield from _even_ranges(cut, last)
                return
    yield list(zip(chr(first).encode(), chr(last).encode(), strict=True))


def complement(ranges):
    """The characters that are in none of some ranges, as ranges: complement([(1, 0x10FFFF)]) -> [(0, 0)]"""
    found, start = [], 0
    for first, last in sorted([*ranges, SURROGATES]):
        if first > start:
            found.append((start, first - 1))
        start = max(start, last + 1)
    return [*found, (start, LAST)] if start <= LAST else found


class _Parser:
    """Reads a pattern from the left; nodes: ("chars", ranges), ("join" or "either", nodes), ("repeat", node, least,
    most)."""

    def __init__(self, pattern):
        self.text, self.at, self.depth = pattern, 0, 0

    def whole(self):
        """The tree of all of it."""
        node = self.either()
        if self.at < len(self.text):
            raise self.wrong("a ( for this )")
        return node

    def wrong(self, expected):
        """The error that says what was expected where."""
        got = f"{shown(self.text[self.at : self.at + 8])} at character {self.at}" if self.text[self.at :] else "its end"
        return InputError(f"pattern: expected {printable(expected, 150)}, got {got} of {shown(self.text)}")

    def next_is(self, words):
        """Go past the words if they stand here."""
        here = self.text.startswith(words, self.at)
        self.at += len(words) * here
        return here

    def either(self):
        """a|b|c"""
        parts = [self.join()]
        while self.next_is("|"):
            parts.append(self.join())
        return parts[0] if len(parts) == 1 else ("either", parts)

    def join(self):
        """One thing after another."""
        parts = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            parts.append(self.repeated(self.one()))
        return ("join", parts)

    def one(self):
        """What stands before a possible * or {…}."""
        if self.next_is("("):
            return self.group()
        if self.next_is("["):
            return ("chars", self.brackets())
        if self.next_is("."):
            return ("chars", complement([(10, 10)]))
        if self.next_is("\\"):
            return ("chars", self.escape())
        if self.text[self.at] in "^$":
            raise self.wrong("no anchors, as the whole text is compared anyway (or \\ before it)")
        if self.text[self.at] in "*+?{":
            raise self.wrong("something to repeat before it (or \\ before it)")
        return ("chars", [self.character()])

    def character(self):
        """One character that means itself, as a range."""
        code = ord(self.text[self.at])
        if SURROGATES[0] <= code <= SURROGATES[1]:
            raise self.wrong("characters that UTF-8 has")
        self.at += 1
        return (code, code)

    def group(self):
        """( … ) or (?: … )"""
        if not self.next_is("?:") and self.text.startswith("?", self.at):
            raise self.wrong("a group ( … ) or (?: … ); looking around, names and flags are not supported")
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.wrong(f"at most {DEEPEST} groups in each other")
        node = self.either()
        self.depth -= 1
        if not self.next_is(")"):
            raise self.wrong("a ) for every (")
        return node

    def repeated(self, node):
        """The node with the * + ? {2,3} behind it; a ? behind that, lazy, changes no text that matches."""
        times = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(self.text[self.at : self.at + 1])
        if times is None and not self.text.startswith("{", self.at):
            return node
        self.at += 1
        times = times or self.braces()
        self.next_is("?")
        if self.text[self.at : self.at + 1] in ("*", "+", "?", "{"):
            raise self.wrong("one repetition only; put what is to be repeated again in (?: … )")
        return ("repeat", node, *times)

    def braces(self):
        """2}, 2,} or 2,3} behind a {"""
        least = self.number()
        most = least
        if self.next_is(","):
            most = None if self.text.startswith("}", self.at) else self.number()
        if not self.next_is("}") or most is not None and most < least:
            raise self.wrong("{2}, {2,} or {2,3}, the second number not below the first")
        return least, most

    def number(self):
        """Some digits."""
        start = self.at
        while self.text[self.at : self.at + 1] in tuple("0123456789"):
            self.at += 1
        if not 0 < self.at - start <= 6:
            raise self.wrong("a number of at most 6 digits")
        return int(self.text[start : self.at])

    def brackets(self):
        """[a-z], [^…] -> ranges; InputError where no character is left."""
        is_not, ranges, begin = self.next_is("^"), [], self.at
        while not (self.text.startswith("]", self.at) and self.at > begin):
            if self.at >= len(self.text):
                raise self.wrong("a ] for every [")
            first = self.escape() if self.next_is("\\") else [self.character()]
            if self.text.startswith("-", self.at) and self.text[self.at + 1 : self.at + 2] not in ("", "]"):
                self.at += 1
                last = self.escape() if self.next_is("\\") else [self.character()]
                if len(first) > 1 or len(last) > 1 or first[0][0] > last[0][1] or first[0][0] < first[0][1]:
                    raise self.wrong("a range from a lower to a higher character before this")
                first = [(first[0][0], last[0][1])]
            ranges += first
        self.at += 1
        ranges = complement(ranges) if is_not else complement(complement(ranges))  # in order, and none twice
        if not ranges:
            raise self.wrong("a [ … ] that some character is in, before this")
        return ranges

    def escape(self):
        """What stands behind a backslash -> ranges."""
        letter = self.text[self.at : self.at + 1]
        self.at += 1
        if letter.lower() in CLASSES and letter:
            return CLASSES[letter] if letter.islower() else complement(CLASSES[letter.lower()])
        if letter in ESCAPES and letter and not self.text[self.at : self.at + 1].isdigit():
            return [(ESCAPES[letter], ESCAPES[letter])]
        if letter in ("x", "u", "U"):
            return [self.code({"x": 2, "u": 4, "U": 8}[letter])]
        if letter.isalnum() or not letter:
            self.at -= 1
            raise self.wrong("a known letter behind \\ (d, w, s, D, W, S, n, t, r, x41, u0041)")
        return [(ord(letter), ord(letter))]

    def code(self, n):
        """A character by n digits of its number in base 16, as a range."""
        digits = self.text[self.at : self.at + n]
        is_hex = len(digits) == n and all(digit in "0123456789abcdefABCDEF" for digit in digits)
        if not is_hex or int(digits, 16) > LAST or SURROGATES[0] <= int(digits, 16) <= SURROGATES[1]:
            raise self.wrong(f"{n} digits of a character's number in base 16")
        self.at += n
        return (int(digits, 16), int(digits, 16))
