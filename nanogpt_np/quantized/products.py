"""Products of int8 numbers, all columns of a few rows at a time, on all cores.

Enter: weights as packing.py packs them, float32 activations, which become int8 with a scale per GROUP. Leave: float32.
Where an instruction wants unsigned weights, w + OFFSET is stored, and what that adds is taken off where each sum
begins. Next: quantized/fours.py.
"""

import numpy as np
from numba import float32, int8, int32, intp, void

from ..kernels.calls import shared
from ..kernels.compile import inner, kernel, n_threads, read
from ..kernels.cores import spread
from .rounding import SMALL, quantize
from .vectors import ACTIVATION, GROUP, PANEL, ROWS, add_one, add_rows, finish


@inner
def room_for(n_rows, width):
    """Of rows as int8: themselves, their scales and starts."""
    n_groups = (width + GROUP - 1) // GROUP
    shape = (n_rows, n_groups)
    return np.empty((n_rows, n_groups * GROUP), ACTIVATION), np.empty(shape, np.float32), np.empty(shape, np.int32)


def multiply_int8(x, packed, factors, bias):  # float32 [n_rows, n_in] -> [n_rows, n_out]
    """x @ weights + bias, with x as int8 too; `packed` and `factors` as packing.pack_int8() makes them."""
    out = np.empty((len(x), len(factors)), np.float32)
    _multiply_kernel(x, packed.reshape(-1), factors, bias, n_threads(), out)
    return out


@kernel(void(
    read(float32[:, ::1]), read(int8[::1]), read(float32[::1]), read(float32[::1]), intp, float32[:, ::1]
))  # fmt: skip
def _multiply_kernel(x, weights, factors, bias, n_parts, out):
    small, scales, starts = room_for(x.shape[0], x.shape[1])
    spread(n_parts, quantize_part, (x, n_parts, small, scales, starts))
    spread(n_parts, _multiply_part, (small, scales, starts, weights, factors, bias, n_parts, out))


@inner
def quantize_part(part, x, n_parts, small, scales, starts):
    """All groups of one part of the rows."""
    rows = slice(part * len(x) // n_parts, (part + 1) * len(x) // n_parts)
    quantize(x[rows], small[rows], scales[rows], starts[rows])


@inner
def _multiply_part(part, x, scales, starts, weights, factors, bias, n_parts, out):
    first, end = part_of_panels(part, n_parts, out.shape[1])
    multiply_panels(x, scales, starts, weights, factors, bias, first, end, out)


@inner
def part_of_panels(part, n_parts, n_out):
    """The first panel of this part, and that of the next."""
    n_panels = (n_out + PANEL - 1) // PANEL
    return part * n_panels // n_parts, (part + 1) * n_panels // n_parts


@shared(void(
    read(SMALL), read(float32[:, ::1]), read(int32[:, ::1]), read(int8[::1]), read(float32[::1]), read(float32[::1]),
    intp, intp, float32[:, ::1],
))  # fmt: skip
def multiply_panels(x, scales, starts, weights, factors, bias, first, end, out):
    """The columns of out = x @ weights + bias that some panels hold."""
    n_rows = len(out)
    sums = np.empty((ROWS, PANEL), np.float32)
    for panel in range(first, end):
        start, row = panel * PANEL, 0
        while row < n_rows:
            n = ROWS if row + ROWS <= n_rows else 1
            if n == ROWS:
                add_rows(weights, start * x.shape[1], x, row, starts, scales, sums)
            else:
                add_one(weights, start * x.shape[1], x, row, starts, scales, sums[:1])
            for number in range(n):
                finish(sums, number, factors, bias, start, out, row + number)
            row += n
