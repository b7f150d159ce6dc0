"""The exercises of notebook 08."""

import math

import numpy as np

from . import say


def bits_per_byte(function):
    """Of texts with characters of one to four bytes, and other numbers of tokens."""
    if say.waiting(function):
        return False
    rng = np.random.default_rng(0)
    for text, n_tokens in (("To be, or not to be", 6), ("naïve café", 4), ("床前明月光 🙂", 9)):
        losses = rng.random(n_tokens) * 4
        n_bytes = len(text.encode("utf-8"))
        expected = losses.sum() / math.log(2) / n_bytes
        got, error = say.tried(function, losses.copy(), text)
        given = f"{n_tokens} losses, {text!r}"
        if error or np.shape(got) != ():
            return say.wrong(function, given, "a number", error or got)
        for what, factor in (
            ("bits: a nat is 1 / ln 2 of them", math.log(2)),
            ("the loss of the whole text, not of a token on average", 1 / n_tokens),
            ("the loss of the whole text, by bytes and not by tokens", n_bytes / n_tokens),
            ("bytes of UTF-8 to be counted, not characters", n_bytes / len(text)),
            ("bits: to divide by ln 2, not to multiply", math.log(2) ** 2),
        ):
            if abs(factor - 1) > 1e-9 and abs(got - expected * factor) < 1e-9:
                return say.wrong(function, given, what, round(float(got), 4))
        if abs(got - expected) > 1e-6:
            return say.wrong(function, given, "all nats as bits, over the bytes of the text", round(float(got), 4))
    return say.right(function)


def leaked(function):
    """On windows side by side, overlapping, far apart and repeated."""
    if say.waiting(function):
        return False
    rng = np.random.default_rng(1)
    lots = rng.permutation(200)
    cases = (
        ([0, 4], [8], 4), ([4], [0], 4), ([0], [2], 4), ([0, 1, 2], [1], 3), ([0, 10], [0, 1, 2], 4),
        (lots[:150], lots[150:], 5), (np.arange(0, 160, 8), np.arange(160, 200, 8), 8),
    )  # fmt: skip
    for trained, held, n_ctx in cases:
        targets = [{int(s) + i for s in starts for i in range(1, n_ctx + 1)} for starts in (trained, held)]
        expected = len(targets[0] & targets[1]) / len(targets[1])
        given = f"{_few(trained)}, {_few(held)}, {n_ctx}"
        got, error = say.tried(function, np.array(trained), np.array(held), n_ctx)
        if error or np.shape(got) != ():
            return say.wrong(function, given, "a number", error or got)
        if abs(got - expected) < 1e-9:
            continue
        both = [{int(s) + i for s in starts for i in range(n_ctx + 1)} for starts in (trained, held)]
        if got > 1:
            return say.wrong(function, given, "a share from 0 to 1", got)
        if abs(got - len(both[0] & both[1]) / len(both[1])) < 1e-9:
            return say.wrong(function, given, "targets alone: the first token of a window is never one", got)
        if abs(got - np.isin(held, trained).mean()) < 1e-9:
            return say.wrong(function, given, "tokens to be compared: windows overlap without starting alike", got)
        if abs(got - len(targets[0] & targets[1]) / len(targets[0])) < 1e-9:
            return say.wrong(function, given, "a share of what is held out, not of what was trained on", got)
        seen = [int(s) + i in targets[0] for s in held for i in range(1, n_ctx + 1)]
        if abs(got - np.mean(seen)) < 1e-9:
            return say.wrong(function, given, "each token to count once, however many windows it is in", got)
        both_ways = "the tokens that are targets in windows of both kinds, over those of the held-out ones"
        return say.wrong(function, given, both_ways, got)
    return say.right(function)


def noise_scale(function):
    """On made-up gradients, whose mean is well known in one case and nearly drowned in another."""
    if say.waiting(function):
        return False
    for seed, (n, n_weights, length) in enumerate(((100, 50, 2.0), (100, 400, 0.1), (200, 300, 0.07))):
        rng = np.random.default_rng(seed)
        gradients = rng.standard_normal((n, n_weights)) * rng.random(n_weights)
        gradients += length * rng.standard_normal(n_weights)
        mean = gradients.mean(axis=0)
        scatter = ((gradients - mean) ** 2).sum() / (n - 1)
        expected = scatter / ((mean**2).sum() - scatter / n)
        given = f"gradients [{n}, {n_weights}]"
        got, error = say.tried(function, gradients.copy())
        if error or np.shape(got) != ():
            return say.wrong(function, given, "a number", error or got)
        if abs(got - expected) < 0.04 * expected:
            continue
        naive = scatter / (mean**2).sum()
        for what, value in (
            ("the noise that is left in the mean to be taken from its squared length", naive),
            ("the variance summed over all weights, not averaged", expected / n_weights),
            ("the variance summed over all weights, not averaged", naive / n_weights),
            ("noise over signal, not signal over noise", 1 / expected),
            ("noise over signal, not signal over noise", 1 / naive),
            ("squared lengths, of the noise and of the signal", math.sqrt(expected)),
            ("squared lengths, of the noise and of the signal", math.sqrt(naive)),
            ("the scatter of one gradient, not of the mean of all", expected / n),
            ("the scatter of one gradient, not of the mean of all", naive / n),
        ):
            if abs(got - value) < 0.04 * abs(value):
                return say.wrong(function, given, what, f"{got:.4g}")
        return say.wrong(function, given, "S over the squared length of G, each cleared of the other", f"{got:.4g}")
    return say.right(function)


def _few(starts):
    return list(map(int, starts)) if len(starts) < 6 else f"{len(starts)} starts"
