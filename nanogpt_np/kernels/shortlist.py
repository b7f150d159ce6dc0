"""Greedy decoding without reading all of the head: which tokens can still be the best, by a quarter of the bytes.

Enter: the matrix that makes logits, float32. Leave: the same rows as int8, and for each how far its logit may be from
what these say; in kernels, logits that are exact wherever the best may stand, and -inf elsewhere. Nothing is guessed: a
row is left out only where its logit cannot reach another's. Next: kernels/greedy.py.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import float32, int8, intp, void

from .attention import LOWEST
from .compile import inner, kernel, read
from .cores import spread
from .math import HALF, ZERO, bits_of_size, number_of, order_of, size_of_bits
from .products import dots, dots_int8, share

LARGE = 8 << 20  # numbers: of smaller heads the caches hold too much for this to pay
STEPS = np.float32(127)
NEARLY_ZERO, INFINITE = np.float32(1e-30), np.float32(math.inf)  # 127 divided by much less is infinite, too
EPSILON, MORE = np.float32(2.0**-24), np.float32(1.001)  # MORE: above what the sums for a bound may have lost


class Shortlist(NamedTuple):
    """`rows` int8 [n_vocab, n_embd], worth `factors` a step; `slack`: by how much a logit may differ, for |x| = 1."""

    rows: np.ndarray
    factors: np.ndarray
    slack: np.ndarray


NO_SHORTLIST = Shortlist(np.empty((0, 0), np.int8), np.empty(0, np.float32), np.empty(0, np.float32))


def shortlist_of(weight):  # [n_vocab, n_embd] -> Shortlist, or None where it would not pay
    """Read the head once, as it is now; who writes to it afterwards has to ask for another.

    A logit differs from what int8 says by no more than |x| |w - w8| (Cauchy and Schwarz), and both sums by their
    rounding, at most n epsilon |x| |w| each (Higham 2002, section 3.1).
    """
    if weight.dtype != np.float32 or not weight.flags.c_contiguous or weight.size < LARGE:
        return None
    found = Shortlist(np.empty(weight.shape, np.int8), *(np.empty(len(weight), np.float32) for _ in range(2)))
    _shrink_kernel(weight, share(len(weight), 1), *found)
    return found if np.isfinite(found.slack).all() else None  # else NaN stands in it, or infinity


@kernel(void(read(float32[:, ::1]), intp, int8[:, ::1], float32[::1], float32[::1]))
def _shrink_kernel(weight, each, rows, factors, slack):
    spread((len(weight) + each - 1) // each, _shrink_part, (weight, each, rows, factors, slack))


@inner
def _shrink_part(part, weight, each, rows, factors, slack):
    for i in range(part * each, min(len(weight), (part + 1) * each)):
        factors[i], slack[i] = _shrink(weight[i], rows[i])


@inner
def _shrink(row, small):
    """One row to int8 -> what a step is worth, and the slack."""
    bits = np.int32(0)
    for j in range(row.size):
        bits = max(bits, bits_of_size(row[j]))
    top = size_of_bits(bits)
    if not NEARLY_ZERO < top < INFINITE:
        small[:] = 0
        return ZERO, top * np.float32(row.size)
    inverse, apart, size = STEPS / top, ZERO, ZERO
    for j in range(row.size):
        steps = row[j] * inverse  # squares of these are never too small for a float
        whole = np.floor(steps + HALF)
        small[j] = np.int32(whole)
        apart += (steps - whole) * (steps - whole)
        size += steps * steps
    rounding = np.float32(4 * row.size) * EPSILON * np.float32(math.sqrt(size))
    step = top / STEPS
    return step, MORE * step * (np.float32(math.sqrt(apart)) + rounding)


@inner
def length_of(x):
    """|x| of one row, or a little more."""
    total = ZERO
    for j in range(x.size):
        total += x[j] * x[j]
    return MORE * np.float32(math.sqrt(total))


@inner
def guess(part, x, size, rows, factors, slack, n_parts, logits, lowest):
    """One part of the logits as int8 says them; and of the least that they can be, the most."""
    n_vocab = logits.shape[1]
    first, end = part * n_vocab // n_parts, (part + 1) * n_vocab // n_parts
    dots_int8(x, rows, first, end, logits)
    highest = order_of(LOWEST)
    for i in range(first, end):
        value = logits[0, i] * factors[i]
        logits[0, i] = value
        highest = max(highest, order_of(value - slack[i] * size))
    lowest[part] = number_of(highest)


@inner
def settle(part, x, size, weight, slack, lowest, n_parts, logits):
    """One part of the logits: exact where they may be the best, or are no numbers; -inf elsewhere."""
    n_vocab, least = logits.shape[1], LOWEST
    for of_part in lowest:
        least = max(least, of_part)
    for i in range(part * n_vocab // n_parts, (part + 1) * n_vocab // n_parts):
        if logits[0, i] + slack[i] * size < least:
            logits[0, i] = LOWEST
        else:
            dots(x, weight, i, i + 1, logits)
