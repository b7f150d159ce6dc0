"""Is a backward right? Ask the forward: nudge each input a little and see how the output moves.

Enter: a function of arrays and the gradients to be checked. Leave: the worst relative error. Use float64.
Next: training/data.py.
"""

import numpy as np

from ..errors import InputError


def numeric_gradient(f, array, step=1e-5, indices=None):
    """d f() / d array by central differences, (f(a + h) - f(a - h)) / 2h; `array` is nudged in place and put back.

    `f` takes no argument, reads `array`, and returns a float. `indices` (flat) limits which entries are nudged;
    the others are left NaN. InputError unless `array` is float64: float32 has too few digits for a difference.
    """
    if array.dtype != np.float64:
        raise InputError(f"gradcheck: expected a float64 array, got {array.dtype}; convert with .astype(np.float64)")
    flat = array.reshape(-1)
    if not np.shares_memory(flat, array):
        raise InputError("gradcheck: expected a contiguous array, got a strided view; pass a copy")
    gradient = np.full(flat.shape, np.nan)
    for i in range(flat.size) if indices is None else indices:
        kept = flat[i]
        flat[i] = kept + step
        above = f()
        flat[i] = kept - step
        below = f()
        flat[i] = kept
        gradient[i] = (above - below) / (2.0 * step)
    return gradient.reshape(array.shape)


def relative_error(actual, expected):
    """max |actual - expected| / max |expected| over the entries where `expected` is not NaN."""
    known = ~np.isnan(expected)
    size = max(np.abs(expected[known]).max(), np.finfo(np.float64).tiny)
    return float(np.abs(actual[known] - expected[known]).max() / size)


def gradcheck(f, inputs, gradients, step=1e-5, n_entries=None, rng=None):
    """The worst relative error of `gradients` against finite differences of the scalar function f(*inputs).

    `inputs`, `gradients`: sequences of float64 arrays of equal shapes. `n_entries` random entries of each array are
    nudged (all by default; then `rng` is not needed).
    """
    worst = 0.0
    for array, gradient in zip(inputs, gradients, strict=True):
        indices = None
        if n_entries is not None and n_entries < array.size:
            indices = rng.choice(array.size, n_entries, replace=False)
        expected = numeric_gradient(lambda: f(*inputs), array, step, indices)
        worst = max(worst, relative_error(gradient, expected))
    return worst
