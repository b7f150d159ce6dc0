"""A file of items, one JSON object a line, checked before anything is computed; and how its words become ids.

Enter: a path; a text before and a text behind it. Leave: objects with the numbers of their lines, strings that are
text; pairs of ids that a model can read. Next: evaluation/results.py.
"""

import json
from typing import Any, NamedTuple

from .. import files
from ..errors import FileError, InputError, is_whole, shown
from .likelihood import Pair

MOST, MOST_LINE = 1 << 28, 1 << 20  # bytes of a file, and of a line


class Item(NamedTuple):
    """An object, and in which line of its file it stands (from 1)."""

    line: int
    fields: dict[str, Any]


def read_items(path, limit=None):
    """The objects of a JSONL file in order, empty lines aside; the first `limit` of them.

    FileError, with the line, for what is none, and for a file without one.
    """
    found = []
    for line, data in enumerate(files.read_bytes(path, MOST).split(b"\n"), 1):
        if data.strip() and (limit is None or len(found) < limit):
            found.append(Item(line, _object(data, f"{files.short(path)}: line {line}")))
    if not found:
        raise FileError(f"{files.short(path)}: expected a JSON object on each line, got an empty file; name another")
    return found


def _object(data, where):
    """One line -> a dict."""
    if len(data) > MOST_LINE:
        raise FileError(f"{where}: expected at most {MOST_LINE:,} bytes, got {len(data):,}; split it")
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        why, got = getattr(error, "msg", None) or type(error).__name__, data[:40].decode("utf-8", "replace")
        raise FileError(f"{where}: expected a JSON object, got {shown(got)} ({why})") from None
    if not isinstance(value, dict):
        raise FileError(f"{where}: expected a JSON object, got {shown(value)}")
    return value


def text_of(item, name, where):
    """A field that must be text; FileError where it is missing, empty, something else, or holds half a surrogate."""
    return check_text(item.fields.get(name), f'{where}: line {item.line}: "{name}"')


def check_text(value, what):
    """The value itself; FileError where it is not a text with something in it."""
    if not isinstance(value, str) or not value.strip():
        got = "nothing" if value is None else shown(value)
        raise FileError(f"{what}: expected a text, got {got}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise FileError(f"{what}: expected a text, got {shown(value)}, which holds half a surrogate pair") from None
    return value


def check_label(value, n, what):
    """The number of the right one of n choices; FileError where it is none."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:  # HellaSwag's labels are texts
        value = int(value)
    if not is_whole(value) or not 0 <= value < n:
        raise FileError(f"{what}: expected the number of the right one, 0 to {n - 1}, got {shown(value)}")
    return value


def pair_of(before, said, gpt, what, overflow="error"):
    """Two texts -> a Pair, cut as lm-evaluation-harness does: encoded as one, and what lies behind as many ids as
    `before` alone has is said. Spaces at the end of `before` go to what is said; an empty one is <|endoftext|>.

    `overflow`: "error", or "cut": of more than n_ctx ids the beginning is left out. FileError says where.
    """
    encode = tokenizer_of(gpt).encode
    stripped = before.rstrip()
    before, said = stripped, before[len(stripped) :] + said
    if before:
        whole, n_before = encode(before + said), len(encode(before))
        pair = Pair(whole[:n_before], whole[n_before:])
    else:
        pair = Pair([end_of_text(gpt)], encode(said))
    return fitting(pair, gpt.config.n_ctx, what, overflow)


def fitting(pair, n_ctx, what, overflow):
    """The pair, or with overflow="cut" its end; FileError where it does not fit."""
    if not pair.said:
        raise FileError(f"{what}: expected words that have a token of their own, got none; put a space before them")
    n = len(pair.read)
    if n <= n_ctx:
        return pair
    if overflow == "error":
        expected = f"expected at most n_ctx = {n_ctx} tokens to read"
        raise FileError(f"{what}: {expected}, got {n:,}; shorten it, or use overflow='cut'")
    if len(pair.said) > n_ctx:
        raise FileError(f"{what}: expected at most n_ctx = {n_ctx} tokens to say, got {len(pair.said):,}; shorten it")
    return Pair(pair.before[n - n_ctx :], pair.said)


def tokenizer_of(gpt):
    """The model's tokenizer; InputError where it has none."""
    if gpt.tokenizer is None:
        raise InputError("model: expected one with vocabulary files, got one without; add vocab.json and merges.txt")
    return gpt.tokenizer


def end_of_text(gpt):
    """The id that stands before a text; InputError where the vocabulary has none."""
    if gpt.config.eos_id is None:
        raise InputError("model: expected a vocabulary with <|endoftext|>, to begin texts with, got one without it")
    return gpt.config.eos_id
