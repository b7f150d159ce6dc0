"""The exercises of notebook 01."""

from itertools import pairwise

import numpy as np

from nanogpt_np import GPT, Tokenizer
from nanogpt_np.tokenizer.vocab import from_letters

from . import say


def characters(function):
    """On whole texts and on bytes that begin and end anywhere."""
    if say.waiting(function):
        return False
    whole = "aé床😀, naïve 床前 👍🏽".encode()
    for data in (b"", b"abc", "aé".encode(), whole, whole[1:], whole[5:-1], whole[6:-2], b"\xa9\xa9a\xe5"):
        expected = _characters(data)
        got, error = say.tried(function, data)
        if error:
            return say.wrong(function, data, f"{len(expected)} pieces", error)
        if not isinstance(got, (list, tuple)) or not all(isinstance(piece, (bytes, bytearray)) for piece in got):
            return say.wrong(function, data, "a list of bytes", got)
        if b"".join(got) != data:
            return say.wrong(function, data, "pieces that join to the data again", list(got))
        torn = [bytes(piece) for piece in got[1:] if piece[:1] and piece[0] >> 6 == 0b10]
        if torn:
            return say.wrong(function, data, "no piece but the first to begin with a byte that goes on", torn)
        if len(got) != len(expected):
            return say.wrong(function, data, f"{len(expected)} pieces", f"{len(got)}: {list(got)}")
        if list(map(bytes, got)) != expected:
            return say.wrong(function, data, "a piece for each character", list(got))
    return say.right(function)


def _characters(data):
    starts = [i for i, byte in enumerate(data) if i == 0 or byte & 0xC0 != 0x80]
    return [data[i:j] for i, j in pairwise([*starts, len(data)])]


def parents(function):
    """Against the merges as published, those of a few hundred tokens of two vocabularies."""
    if say.waiting(function):
        return False
    stories = GPT.from_pretrained("stories", ops="numpy").tokenizer
    for name, tokenizer in (("stories", stories), ("GPT-2", Tokenizer.gpt2())):
        special = tokenizer.special_tokens.values()
        number = {tokenizer.token_bytes(i): i for i in range(tokenizer.n_vocab) if i not in special}
        lines = tokenizer.to_files()["merges.txt"].splitlines()[1:]
        chosen = np.random.default_rng(5).permutation(len(lines))[:300]
        for line in sorted(chosen):  # the simple ones first
            left, right = map(from_letters, lines[line].split(" "))
            given = f"number of {name}, {left + right!r}"
            got, error = say.tried(function, dict(number), left + right)
            if error:
                return say.wrong(function, given, "a tuple of two bytes", error)
            if (
                not isinstance(got, (tuple, list))
                or len(got) != 2
                or not all(isinstance(part, bytes) for part in got)
            ):
                return say.wrong(function, given, "a tuple of two bytes", got)
            if got[0] + got[1] != left + right:
                return say.wrong(function, given, "two parts that join to the token", got)
            if got[0] not in number or got[1] not in number:
                return say.wrong(function, given, "two parts that are tokens themselves", got)
            if tuple(got) != (left, right):
                return say.wrong(function, given, "the two that stand when the merges are played in their order", got)
    return say.right(function)


def reach(function):
    """On texts whose last letter changes nothing, one id, and all of them."""
    if say.waiting(function):
        return False
    gpt2 = Tokenizer.gpt2()
    texts = ("a", "hello world", "the butchers outlived it", "0" * 20, "NewYorkTimes", "a  b   c", "x====y", "😀 好")
    for text in texts:
        encoded = [gpt2.encode(text[: n + 1]) for n in range(len(text))]
        expected = [len(a) - _common(a, b) for a, b in pairwise(encoded)]
        given = f"GPT-2's, {text!r}"
        got, error = say.tried(function, gpt2, text)
        if error:
            return say.wrong(function, given, f"{len(expected)} numbers", error)
        if got is None or np.shape(got) != (len(expected),):
            return say.wrong(function, given, f"{len(expected)} numbers, one for each letter that is added", got)
        for n, (mine, yours) in enumerate(zip(expected, got, strict=True), start=1):
            if mine != yours:
                before, after = encoded[n - 1], encoded[n]
                change = f"{text[:n]!r} -> {text[: n + 1]!r}, whose ids end in {before[-4:]} -> {after[-4:]}"
                return say.wrong(function, given, f"another number at {change}", yours)
    return say.right(function)


def _common(a, b):
    """How many ids two lists begin with alike."""
    different = [i for i, (left, right) in enumerate(zip(a, b, strict=False)) if left != right]
    return different[0] if different else min(len(a), len(b))
