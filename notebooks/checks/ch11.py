"""The exercises of notebook 11."""

import itertools

import numpy as np

from . import say


def pack_nibbles(function):
    """Packed, unpacked again, byte by byte."""
    if say.waiting(function):
        return False
    rng = np.random.default_rng(4)
    for whole in (np.array([1, 2]), np.array([-8, 7]), np.array([-1, 0, 3, -5]), rng.integers(-8, 8, 64)):
        whole = whole.astype(np.int8)
        given = whole.copy()
        got, error = say.tried(function, given)
        shown = say.short(whole.tolist())
        if error:
            return say.wrong(function, shown, "uint8 [n / 2]", error)
        if not isinstance(got, np.ndarray) or got.shape != (len(whole) // 2,):
            return say.wrong(function, shown, f"an array [{len(whole) // 2}], a byte for each two numbers", got)
        if got.dtype != np.uint8:
            return say.wrong(function, shown, "uint8, a byte each", f"{got.dtype}")
        lower, upper = (got & 15).astype(int), (got >> 4).astype(int)
        if np.array_equal(lower - 8, whole[::2]) and np.array_equal(upper - 8, whole[1::2]):
            continue
        if np.array_equal(upper - 8, whole[::2]) and np.array_equal(lower - 8, whole[1::2]):
            return say.wrong(function, shown, "the first of two in the lower four bits", "it in the upper ones")
        if np.array_equal(lower, whole[::2] & 15) and np.array_equal(upper, whole[1::2] & 15):
            return say.wrong(function, shown, "8 added to each number", "the numbers as they are")
        at = int(np.flatnonzero((lower - 8 != whole[::2]) | (upper - 8 != whole[1::2]))[0])
        what = f"a byte {at} of which {whole[2 * at]} and {whole[2 * at + 1]} come back"
        return say.wrong(function, shown, what, f"{lower[at] - 8} and {upper[at] - 8}")
    return say.right(function)


def best_step(function):
    """No other step may give outputs that are nearer."""
    if say.waiting(function):
        return False
    for n_rows, n, bits, seed in ((5, 3, 4, 1), (40, 8, 3, 2), (200, 16, 2, 3)):
        rng = np.random.default_rng(seed)
        w = rng.standard_normal(n)
        x = rng.standard_normal((n_rows, n)) @ rng.standard_normal((n, n)) + rng.standard_normal(n)
        most = 2 ** (bits - 1) - 1
        whole = np.clip(np.round(w / np.abs(w).max() * most), -most, most)
        given = f"w, whole, x with n_rows = {n_rows}, n = {n}"
        got, error = say.tried(function, w.copy(), whole.copy(), x.copy())
        if error:
            return say.wrong(function, given, "a number", error)
        if got is None or np.size(got) != 1 or not np.isfinite(np.asarray(got, np.float64)).all():
            return say.wrong(function, given, "a finite number", got)
        step = float(np.asarray(got).reshape(()))

        def error_of(step, w=w, whole=whole, x=x):
            return float(np.square(x @ (step * whole - w)).sum())

        if np.isclose(step, (whole @ w) / (whole @ whole), rtol=1e-6):
            return say.wrong(function, given, "what suits the outputs", "what suits the weights; which inputs come?")
        if np.isclose(step, np.abs(w).max() / most, rtol=1e-6):
            return say.wrong(function, given, "what suits the outputs", "the step that just holds the largest weight")
        for other in (0.999 * step, 1.001 * step, step + 1e-3, step - 1e-3):
            if error_of(other) < error_of(step):
                what = f"no step near it to be better, but {other:.4f} leaves {error_of(other):.4f}"
                return say.wrong(function, given, what, f"{step:.4f}, which leaves {error_of(step):.4f}")
    return say.right(function)


def allocate(function):
    """Against everything that fits, on made-up kinds."""
    if say.waiting(function):
        return False
    for n_kinds, choices, budget, seed in ((2, (2, 4), 3, 1), (4, (2, 3, 4, 6), 3.5, 14), (5, (2, 3, 4, 5), 3.2, 8)):
        rng = np.random.default_rng(seed)
        n_weights = {f"kind {i}": int(100 * 2.0 ** rng.integers(0, 6)) for i in range(n_kinds)}
        importance = 10 ** rng.uniform(-1, 1, n_kinds)
        costs = {(kind, bits): float(importance[i] * 4.0**-bits * rng.uniform(0.9, 1.1))
                 for i, kind in enumerate(n_weights) for bits in choices}  # fmt: skip
        given = f"{n_kinds} kinds, {len(choices)} choices each, budget = {budget}"
        got, error = say.tried(function, dict(n_weights), dict(costs), budget)
        if error:
            return say.wrong(function, given, "a dict kind -> bits", error)
        if not isinstance(got, dict) or set(got) != set(n_weights):
            return say.wrong(function, given, f"a dict with the {n_kinds} kinds", got)
        unknown = [bits for kind, bits in got.items() if (kind, bits) not in costs]
        if unknown:
            return say.wrong(function, given, f"bits among {list(choices)}", unknown[0])
        total = sum(n_weights.values())
        spent = sum(n_weights[kind] * bits for kind, bits in got.items()) / total
        if spent > budget + 1e-9:
            what = f"at most {budget} bits per weight (a kind counts by how many weights it has)"
            return say.wrong(function, given, what, f"{spent:.3f}")
        fitting = [
            found
            for found in itertools.product(choices, repeat=n_kinds)
            if sum(n * bits for n, bits in zip(n_weights.values(), found, strict=True)) <= budget * total
        ]
        least = min(sum(costs[pair] for pair in zip(n_weights, found, strict=True)) for found in fitting)
        cost = sum(costs[pair] for pair in got.items())
        if cost > least * (1 + 1e-9):
            what = f"costs that sum to {least:.6f}, which fits the budget"
            return say.wrong(function, given, what, f"{cost:.6f} with {spent:.3f} bits per weight")
    return say.right(function)
