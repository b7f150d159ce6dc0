"""The exercises of notebook 00."""

import numpy as np

from nanogpt_np import GPT, lens

from . import say


def may_look(function):
    """A token may look at itself and at what came before."""
    if say.waiting(function):
        return False
    for n in (1, 2, 5):
        got, error = say.tried(function, n)
        if error:
            return say.wrong(function, n, f"a bool array [{n}, {n}]", error)
        if not isinstance(got, np.ndarray) or got.shape != (n, n) or got.dtype != bool:
            return say.wrong(function, n, f"a bool array [{n}, {n}]", got)
        if not got.diagonal().all():
            return say.wrong(function, n, "that each token may look at itself", "False on the diagonal")
        if n > 1 and got[0, 1]:
            return say.wrong(function, n, "that nobody may look at what comes later", "True in row 0, column 1")
        if n > 1 and not got[-1].all():
            return say.wrong(function, n, "that the last token may look at all", f"row {n - 1}: {got[-1].tolist()}")
        if got.sum() != n * (n + 1) // 2:
            return say.wrong(function, n, f"{n * (n + 1) // 2} True in all", int(got.sum()))
    return say.right(function)


def continue_text(function):
    """Against a made-up model whose best next token is the sum of all so far, modulo 7."""
    if say.waiting(function):
        return False

    def next_logits(ids):
        calls.append(list(ids))
        return np.eye(7)[np.cumsum(ids) % 7]

    for start, n in (([1], 1), ([3, 4, 1], 4), ([2], 0)):
        calls = []
        given = list(start)
        got, error = say.tried(function, next_logits, given, n)
        if error:
            return say.wrong(function, f"…, {start}, {n}", f"{len(start) + n} ids", error)
        if given != start:
            return say.wrong(function, f"…, {start}, {n}", "the given list as it was", f"{given} in its place")
        if got is None or len(got) != len(start) + n:
            return say.wrong(function, f"…, {start}, {n}", f"{len(start) + n} ids, the given ones first", got)
        for place in range(len(start), len(got)):
            if got[place] != sum(got[:place]) % 7:
                what = "the likeliest token behind the last of all so far"
                return say.wrong(function, f"…, {start}, {n}", f"{what} in place {place}", got)
    return say.right(function)


def decided(function):
    """On two texts, against the readings block by block."""
    if say.waiting(function):
        return False
    gpt = GPT.from_pretrained("stories", ops="numpy")
    for text in ("Once upon a time", "The little dog ran to the park. He saw a"):
        ids = lens.logit_lens_view(gpt, text).ids[2::2]
        got, error = say.tried(function, gpt, text)
        if error:
            return say.wrong(function, f"gpt, {text!r}", "a number for each token", error)
        if got is None or len(got) != ids.shape[1]:
            return say.wrong(function, f"gpt, {text!r}", f"{ids.shape[1]} numbers, one for each token", got)
        for place, first in enumerate(got):
            if not 1 <= first <= len(ids):
                got = f"{first} for token {place}"
                return say.wrong(function, f"gpt, {text!r}", f"numbers from 1 to {len(ids)}", got)
            if (ids[first - 1 :, place] != ids[-1, place]).any():
                what = f"a later block for token {place}, whose guess still changes"
                return say.wrong(function, f"gpt, {text!r}", what, first)
            if first > 1 and ids[first - 2, place] == ids[-1, place]:
                return say.wrong(function, f"gpt, {text!r}", f"an earlier block for token {place}", first)
    return say.right(function)
