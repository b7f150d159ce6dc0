"""Foreign text in a message: one short line, and nothing that a terminal obeys."""

import sys
import unicodedata

import numpy as np
import pytest

from nanogpt_np.errors import printable


@pytest.mark.parametrize(
    "text, expected",
    [
        ("plain text, with spaces", "plain text, with spaces"),
        ("naïve 你好 🙂 é", "naïve 你好 🙂 é"),
        ("C:\\models\\gpt2", "C:\\models\\gpt2"),
        ("", ""),
        ("a\nb\r\tc\0", "a\\nb\\r\\tc\\x00"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x9b31m\x7f\x85", "\\x9b31m\\x7f\\x85"),  # C1 has a one-byte CSI
        ("\u202eexe.txt\u2066\u200f", "\\u202eexe.txt\\u2066\\u200f"),
        ("zero\u200bwidth\ufeff\u2028\u2029\xad\xa0", "zero\\u200bwidth\\ufeff\\u2028\\u2029\\xad\\xa0"),
        ("\ud800\udc80", "\\ud800\\udc80"),
        ("\U000e0041\ue000", "\\U000e0041\\ue000"),  # invisible tags, private use
    ],
)
def test_foreign_text_is_escaped(text, expected):
    assert printable(text) == expected


def test_no_character_that_a_terminal_may_obey_is_left():
    """Control, format, line and paragraph ends; of the many surrogates, private and unassigned ones each hundredth."""
    for point in range(sys.maxunicode + 1):
        character = chr(point)
        kind = unicodedata.category(character)
        if kind in ("Cc", "Cf", "Zl", "Zp") or (kind in ("Cs", "Co", "Cn") and point % 100 == 0):
            shown = printable(character)
            assert shown.isascii() and shown.startswith("\\"), hex(point)


@pytest.mark.parametrize("text", ["a" * 50, "\x1b" * 50, "ab\u202e" * 50, "\U000e0041" * 9, "abc\n", "a" * 39])
def test_a_cut_text_has_at_most_its_length_and_whole_escapes(text):
    whole = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    for most in range(1, 40):
        shown = printable(text, most)
        assert len(shown) <= most
        if len(whole) <= most:
            assert shown == whole
        else:
            assert shown.endswith("…")
            n = next(n for n in range(len(text)) if len(printable(text[: n + 1], 10**6)) > len(shown) - 1)
            assert printable(text[:n], 10**6) == shown[:-1]


def test_values_that_are_no_text_are_shown_as_python_writes_them():
    assert printable(7) == "7"
    assert printable(None) == "None"
    assert printable(["a\n", "\u202e"]) == "['a\\n', '\\u202e']"
    assert printable(b"\x1b[31m") == "b'\\x1b[31m'"
    assert printable(np.eye(2)) == "array([[1., 0.],\\n       [0., 1.]])"
    assert len(printable("a " * 500_000)) == 80
    assert len(printable(list(range(100_000)))) == 80


def test_values_without_a_text_have_one_nevertheless():
    class Mute:
        def __repr__(self):
            raise RuntimeError("no")

    assert printable(10**5000) == "int without a text (ValueError)"
    assert printable(Mute()) == "Mute without a text (RuntimeError)"
