"""Errors that a user can act on: one line, what was expected, what was got, what to do.

Every room raises these at its doors; the command line prints them without a traceback and exits with status 2.
What others wrote (a server, a file, an option) stands in such a line only as printable() gives it.
Doors say what they expect by the checks at the end. Next: files.py.
"""

from numbers import Integral, Real
from typing import Any


class InputError(ValueError):
    """The caller's mistake: a value, a text or an option that cannot be used as given."""


class FileError(InputError):
    """A file or directory that is missing, broken, or not what its name promises."""


class TokenizerError(InputError):
    """Text or ids that the tokenizer cannot take, or vocabulary files that do not fit together."""


def printable(value: object, most: int = 80) -> str:
    r"""A str as it stands, or any other value's repr, so that it is one short line that no terminal obeys.

    At most `most` characters, the last one … where it was cut. Whatever moves the cursor, colours, hides or turns
    text around (control characters of both sets, line ends, bidi overrides, zero widths, lone surrogates) is escaped:
    printable("a\x1b[31mred") -> "a\\x1b[31mred"; printable("abcdefgh", most=4) -> "abc…"
    """
    text = value if isinstance(value, str) else _repr(value)
    pieces: list[str] = []
    n = 0
    for character in text[: most + 1]:
        piece = character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        if n + len(piece) > most:
            return _cut(pieces, n, most)
        pieces.append(piece)
        n += len(piece)
    return "".join(pieces)


def _cut(pieces: list[str], n: int, most: int) -> str:
    """Take away whole characters until there is room for the …; half an escape would say something else."""
    while pieces and n >= most:
        n -= len(pieces.pop())
    return "".join(pieces) + "…"


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # whole numbers of more than 4,300 digits have no repr, and foreign objects may fail
        return f"{type(value).__name__} without a text ({type(error).__name__})"


def shown(value: object) -> str:
    """What was got, as a message shows it: printable, a text in quotes. shown("9") -> "'9'"; shown(9) -> "9" """
    return f"'{printable(value)}'" if isinstance(value, str) else printable(value)


def is_whole(value: object) -> bool:
    """A whole number, Python's or NumPy's; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """A number on a line, whole or not, NaN too; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_whole(name: str, value: Any, least: int = 0) -> None:
    """InputError for what is no whole number of at least `least`."""
    if not is_whole(value) or value < least:
        raise InputError(f"{name}: expected a whole number of at least {least}, got {shown(value)}")


def check_truth(name: str, value: object) -> None:
    """InputError for what is neither True nor False; NumPy's two are called bool_ or bool."""
    if type(value).__name__ not in ("bool", "bool_"):
        raise InputError(f"{name}: expected True or False, got {shown(value)}")


def check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """InputError for what is not one of some texts: check_choice("dtype", "int", ("float32", "float16"))"""
    if not isinstance(value, str) or value not in allowed:
        raise InputError(f"{name}: expected {' or '.join(map(repr, allowed))}, got {shown(value)}")


def check_kind(name: str, value: object, kind: type) -> None:
    """InputError for what is not made by a class: check_kind("config", 5, GPTConfig)"""
    if not isinstance(value, kind):
        raise InputError(f"{name}: expected a {kind.__name__}, got {shown(value)}")
