"""The exercises of notebook 16."""

import tracemalloc

import numpy as np

from . import say


def lora_weight(function):
    """Against the sum spelled out, with more than one rank, so that alpha alone is seen."""
    if say.waiting(function):
        return False
    rng = np.random.default_rng(0)
    for n_in, n_out, r, alpha in ((3, 2, 1, 1.0), (5, 4, 2, 6.0), (4, 6, 4, 2.0)):
        W, A, B = rng.normal(size=(n_in, n_out)), rng.normal(size=(r, n_in)), rng.normal(size=(n_out, r))
        given, before = f"W {[n_in, n_out]}, A {[r, n_in]}, B {[n_out, r]}, {alpha}", W.copy()
        got, error = say.tried(function, W, A, B, alpha)
        if error or np.shape(got) != W.shape:
            return say.wrong(function, given, f"an array {[n_in, n_out]}", error or got)
        if not np.array_equal(W, before):
            return say.wrong(function, given, "W as it was", "another in its place")
        change, wanted = got - W, np.einsum("or,ri->io", B, A)
        if not np.allclose(change, alpha / r * wanted):
            factor = float((change * wanted).sum() / (wanted * wanted).sum())
            if np.allclose(change, factor * wanted):
                return say.wrong(function, given, f"(B A)ᵀ multiplied by {alpha / r:g}", f"by {factor:g}")
            return say.wrong(function, given, "W and a multiple of (B A)ᵀ", "something else added")
    return say.right(function)


def lora_backward(function):
    """Against dW, where it is made; and by the memory that is asked for on the way."""
    if say.waiting(function):
        return False
    rng = np.random.default_rng(0)
    for n, n_in, n_out, r, scale in ((7, 5, 4, 2, 1.0), (6, 400, 500, 3, 0.5)):
        dy, x = rng.normal(size=(n, n_out)), rng.normal(size=(n, n_in))
        A, B = rng.normal(size=(r, n_in)), rng.normal(size=(n_out, r))
        given = f"dy {[n, n_out]}, x {[n, n_in]}, A {[r, n_in]}, B {[n_out, r]}, {scale}"
        tracemalloc.start()
        got, error = say.tried(function, dy, x, A, B, scale)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        if error or not isinstance(got, (tuple, list)) or len(got) != 2:
            return say.wrong(function, given, "dA, dB", error or got)
        wanted = scale * (x.T @ dy @ B).T, scale * (x.T @ dy).T @ A.T
        for name, mine, true in zip(("dA", "dB"), got, wanted, strict=True):
            if np.shape(mine) != true.shape:
                return say.wrong(function, given, f"{name} {list(true.shape)}", f"{list(np.shape(mine))}")
            if not np.allclose(mine, true):
                factor = float((mine * true).sum() / (true * true).sum())
                what = f"{factor:g} times that" if np.allclose(mine, factor * true) else "another gradient"
                return say.wrong(function, given, f"the gradient {name}", what)
        if n_in * n_out > 10_000 and most > 8 * n_in * n_out / 2:
            return say.wrong(function, given, "no array as large as W on the way", f"{most:,} bytes at one time")
    return say.right(function)


def rank_needed(function):
    """On matrices whose singular values are known."""
    if say.waiting(function):
        return False
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(n, 4)))[0] for n in (9, 6))
    for values, share, wanted in (
        ((3.0, 2.0, 1.0, 0.5), 0.9, 2), ((3.0, 2.0, 1.0, 0.5), 0.98, 3), ((1.0, 1.0, 1.0, 1.0), 0.5, 2),
        ((5.0, 0.1, 0.1, 0.1), 0.99, 1), ((3.0, 2.0, 1.0, 0.5), 0.6, 1),
    ):  # fmt: skip
        change = left * np.array(values) @ right.T
        got, error = say.tried(function, change, share)
        given = f"a matrix with the singular values {', '.join(map(str, values))}, {share}"
        if error or not isinstance(got, (int, np.integer)) or isinstance(got, bool):
            return say.wrong(function, given, "a whole number", error or got)
        if got != wanted:
            hint = f"the least rank that holds {share:.0%} of the sum of squares"
            return say.wrong(function, given, hint, got)
    return say.right(function)
