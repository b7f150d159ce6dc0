"""The exercises of notebook 06."""

import itertools

import numpy as np

from nanogpt_np.generation import sampling

from . import say


def hesitates(function):
    """By distributions whose answer is known, and one that is not."""
    if say.waiting(function):
        return False
    uniform, certain = np.zeros((2, 5)), np.array([[0.0, -np.inf, -np.inf], [-np.inf, 3.0, -np.inf]])
    cut = np.array([[1.0, 1.0, -np.inf, 1.0]])
    some = np.random.default_rng(2).normal(0, 3, (4, 50)).astype(np.float32)
    p = sampling.probabilities(some)
    cases = (
        (uniform, "5 for five equal logits", [5.0, 5.0]),
        (cut, "3 for three equal ones and a removed one", [3.0]),
        (certain, "1 where one token is left", [1.0, 1.0]),
        (some + 40, "e to the entropy, whatever is added to all logits", np.exp(-(p * np.log(p)).sum(axis=-1))),
    )
    for logits, what, expected in cases:
        given = f"logits [{logits.shape[0]}, {logits.shape[1]}]"
        with np.errstate(all="ignore"):
            got, error = say.tried(function, logits.copy())
        if error:
            return say.wrong(function, given, f"an array [{len(logits)}]", error)
        if np.shape(got) != (len(logits),):
            return say.wrong(function, given, f"an array [{len(logits)}]", got)
        if np.isnan(got).any():
            return say.wrong(function, given, f"{what}", "nan, which 0 times the logarithm of 0 gives")
        if np.allclose(got, np.log(expected), atol=1e-4) and not np.allclose(expected, 1):
            return say.wrong(function, given, what, "the entropy itself")
        if not np.allclose(got, expected, rtol=1e-3):
            return say.wrong(function, given, what, np.round(got, 3).tolist())
    return say.right(function)


def beam_search(function):
    """On made-up models: one beam is greedy, very many try everything, and a few lie between."""
    if say.waiting(function):
        return False
    for seed, n_vocab, n in ((0, 3, 2), (1, 4, 4), (5, 4, 4), (8, 4, 4)):
        model = _made_up(seed, n_vocab)
        for n_beams in (1, 2, 3, n_vocab**n):
            given = f"…, {n_beams}, {n}"
            got, error = say.tried(function, model, n_beams, n)
            if error:
                return say.wrong(function, given, f"a list of {n} ids", error)
            if isinstance(got, tuple) and len(got) == n or isinstance(got, np.ndarray) and got.shape == (n,):
                got = list(got)
            if not isinstance(got, list) or len(got) != n or not all(np.ndim(i) == 0 and 0 <= i < n_vocab for i in got):
                return say.wrong(function, given, f"a list of {n} ids from 0 to {n_vocab - 1}", got)
            best, total = _searched(model, n_beams, n), _total(model, tuple(map(int, got)))
            if abs(total - _total(model, best)) > 1e-9:
                what = "what one beam finds: greedy's text" if n_beams == 1 else f"what {n_beams} beams find"
                if n_beams == n_vocab**n:
                    what = "the likeliest of all texts, as there is room for all of them"
                what += f", log-probability {_total(model, best):.3f}"
                return say.wrong(function, given, what, f"{[int(i) for i in got]}, log-probability {total:.3f}")
    return say.right(function)


def typical(function):
    """Which tokens stay, on random rows, a flat and a peaked one."""
    if say.waiting(function):
        return False
    rng = np.random.default_rng(4)
    slope = np.log(np.array([[0.3, *np.full(70, 0.01)]]))
    cases = ((slope, 0.6), (rng.normal(0, 2, (3, 40)), 0.9), (rng.normal(0, 4, (2, 40)).astype(np.float32), 0.5))
    for logits, mass in cases:
        given = f"logits [{logits.shape[0]}, {logits.shape[1]}], {mass}"
        kept = logits.copy()
        got, error = say.tried(function, kept, mass)
        if error:
            return say.wrong(function, given, f"logits {list(logits.shape)}", error)
        if not np.array_equal(kept, logits):
            return say.wrong(function, given, "the given array untouched", "another one in its place")
        if not isinstance(got, np.ndarray) or got.shape != logits.shape:
            return say.wrong(function, given, f"logits {list(logits.shape)}", got)
        left = np.isfinite(got)
        if not np.array_equal(got[left], logits[left]):
            return say.wrong(function, given, "what stays to stay as it was", "other logits")
        p = sampling.probabilities(logits)
        for row in range(len(logits)):
            surprise = -np.log(p[row])
            order = np.argsort(np.abs(surprise - (p[row] * surprise).sum()), kind="stable")
            n = int(np.searchsorted(np.cumsum(p[row][order]), mass)) + 1
            if logits is slope and left[row, 0]:
                what = "the likeliest token removed: it is far less surprising than is expected here"
                return say.wrong(function, given, what, f"it, and {left[row].sum() - 1} others")
            if left[row].sum() == n - 1 and set(np.flatnonzero(left[row])) <= set(order[:n]):
                return say.wrong(function, given, f"at least {mass} of the probability kept", "one token too few")
            if logits is not slope and set(np.flatnonzero(left[row])) != set(order[:n]):
                what = f"the {n} most typical tokens of row {row}"
                got = f"{left[row].sum()}, of which {left[row][order[:n]].sum()} are among them"
                return say.wrong(function, given, what, got)
            if logits is slope and left[row].sum() != n:
                return say.wrong(function, given, f"{n} tokens left", int(left[row].sum()))
    return say.right(function)


def _made_up(seed, n_vocab):
    """A language model without sense: log-probabilities that depend on all ids so far."""

    def next_log_probs(ids):
        rng = np.random.default_rng([seed, *(int(i) + 1 for i in ids)])
        return np.log(rng.dirichlet(np.full(n_vocab, 0.6)))

    return next_log_probs


def _total(model, ids):
    return sum(float(model(ids[:i])[ids[i]]) for i in range(len(ids)))


def _searched(model, n_beams, n):
    """The text that so many beams end with."""
    found = [()]
    for _ in range(n):
        longer = [(*ids, i) for ids, i in itertools.product(found, range(len(model(()))))]
        found = sorted(longer, key=lambda ids: -_total(model, ids))[:n_beams]
    return found[0]
