"""The exercises of notebook 17."""

import math

import numpy as np

from nanogpt_np.evaluation import texts

from . import say


def bits_per_byte(function):
    """On a text with characters of several bytes, and on one whose first token nobody was asked for."""
    if say.waiting(function):
        return False
    for probabilities, text, expected in (
        ([1 / 2, 1 / 4, 1 / 8, 1 / 2], "four", 7 / 4), ([1 / 4, 1 / 4], "月é", 4 / 5), ([math.nan, 1 / 16], "ab", 2.0),
    ):  # fmt: skip
        log_probs = np.log(np.array(probabilities))
        given = f"log of {probabilities}, {text!r}"
        got, error = say.tried(function, log_probs, text)
        if error or not isinstance(got, float) or not math.isclose(got, expected, rel_tol=1e-9):
            return say.wrong(function, given, f"{expected:.4g} bits per byte", error or got)
    return say.right(function)


def windows(function):
    """Rule by rule, then against the library's."""
    if say.waiting(function):
        return False
    for n_ids, n_ctx, stride in ((5, 8, 8), (9, 8, 8), (8, 3, 3), (20, 8, 8), (20, 8, 3), (12, 4, 1)):
        given = f"{n_ids}, {n_ctx}, {stride}"
        got, error = say.tried(function, n_ids, n_ctx, stride)
        if error or not isinstance(got, list) or not all(isinstance(w, tuple) and len(w) == 3 for w in got):
            return say.wrong(function, given, "a list of (start, end, n_said)", error or got)
        if wrong := _broken_rule(got, n_ids, n_ctx):
            return say.wrong(function, given, wrong, got)
        expected = [tuple(window) for window in texts.rolling(n_ids, n_ctx, stride)]
        if got != expected:
            both = zip([*got, None], [*expected, None], strict=False)
            i = next(i for i, (ours, right) in enumerate(both) if ours != right)
            what = f"in window {i} to predict the next {stride}, or what is left, with as much before as fits"
            return say.wrong(function, given, what, got)
    return say.right(function)


def _broken_rule(got, n_ids, n_ctx):
    """What the windows do not keep to, in words; None where they do."""
    said = [i for _, end, n_said in got for i in range(end - n_said, end)]
    if any(start < 0 or end > n_ids for start, end, _ in got):
        return f"windows within the {n_ids} ids"
    if 0 in said:
        return "that id 0 is not predicted"
    if len(set(said)) < len(said):
        return "that no id is predicted twice"
    if len(said) < n_ids - 1:
        return f"that each of the {n_ids - 1} ids is predicted"
    if any(end - start - 1 > n_ctx for start, end, _ in got):
        return f"that at most {n_ctx} ids are read, which leaves out the last"
    return None


def surely_better(function):
    """Against the binomial distribution, written out."""
    if say.waiting(function):
        return False
    cases = (5, 0, 3, 2), (4, 1, 20, 9), (3, 3, 5, 0), (0, 6, 2, 8), (0, 0, 4, 4), (9, 2, 0, 0)
    for only_a, only_b, both, neither in cases:
        a = [True] * only_a + [False] * only_b + [True] * both + [False] * neither
        b = [False] * only_a + [True] * only_b + [True] * both + [False] * neither
        given = f"two lists with {only_a} right in the first alone, {only_b} in the second alone"
        got, error = say.tried(function, a, b)
        n, most = only_a + only_b, max(only_a, only_b)
        tail = sum(math.comb(n, k) for k in range(most, n + 1)) / 2**n
        expected = min(1.0, 2 * tail)
        if error or isinstance(got, bool) or not isinstance(got, (int, float)):
            return say.wrong(function, given, "a probability", error or got)
        if not math.isclose(got, expected, rel_tol=1e-9):
            what = f"{expected:.4g}, whichever of the two is ahead, and whatever they agree on"
            return say.wrong(function, given, "at most 1" if got > 1 else what, got)
    return say.right(function)
