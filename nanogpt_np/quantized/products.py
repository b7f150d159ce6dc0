"""Products of int8 numbers, all columns of a few rows at a time, on all cores.

Enter: weights as pack_int8() packs them, float32 activations, which become int8 with a scale per GROUP. Leave: float32.
Where an instruction wants unsigned weights, w + OFFSET is stored, and what that adds is taken off where each sum
begins. Next: quantized/fours.py.
"""

import numpy as np
from numba import config, float32, from_dtype, int8, int32, intp, void

from ..kernels.calls import shared
from ..kernels.compile import inner, kernel, n_threads, read
from ..kernels.cores import spread
from ..kernels.math import HALF, ZERO, bits_of_size, size_of_bits
from ..kernels.vectors import fma
from .vectors import ACTIVATION, FLIP, GROUP, OFFSET, PANEL, ROWS, STRIP, TOGETHER, add_one, add_rows

LARGEST = np.float32(127)
NEARLY_ZERO = np.float32(1e-36)  # 127 divided by less may be infinite; what is so small becomes 0
PLAIN_PYTHON = bool(config.DISABLE_JIT)
SMALL = from_dtype(np.dtype(ACTIVATION))[:, ::1]
INFINITE, NOT_A_NUMBER = np.float32(np.inf), np.float32(np.nan)


@inner
def round_to_int8(x, small):
    """x to int8, the largest to 127 -> what a step is worth, and the sum of all.

    int8 has no NaN and no infinity: where x holds one, a step is worth NaN, and so is all that is made of it, whatever
    the whole numbers are. (To return early would cost the loops below a third of their speed.)
    """
    bits = np.int32(0)
    for j in range(x.size):
        bits = max(bits, bits_of_size(x[j]))
    top = size_of_bits(bits)
    if PLAIN_PYTHON and not top < INFINITE:  # int() of NaN is an error there
        small[:] = 0
        return NOT_A_NUMBER, np.int32(0)
    factor = LARGEST / top if top > NEARLY_ZERO else ZERO
    total = np.int32(0)
    for j in range(x.size):
        value = np.int32(np.floor(fma(x[j], factor, HALF)))
        small[j] = value
        total += value
    return top / LARGEST if top < INFINITE else NOT_A_NUMBER, total


@inner
def quantize_group(x, group, small, scales, starts):
    """One GROUP of a row to int8: x is about small * scale; `starts` takes off what OFFSET adds."""
    first, end = group * GROUP, min((group + 1) * GROUP, x.size)
    scales[group], total = round_to_int8(x[first:end], small[first:end])
    small[end : first + GROUP] = 0
    starts[group] = -OFFSET * total


@shared(void(read(float32[:, ::1]), SMALL, float32[:, ::1], int32[:, ::1]))
def quantize(x, small, scales, starts):
    """All groups of all rows."""
    for row in range(len(x)):
        for group in range(scales.shape[1]):
            quantize_group(x[row], group, small[row], scales[row], starts[row])


@inner
def room_for(n_rows, width):
    """Of rows as int8: themselves, their scales and starts."""
    n_groups = (width + GROUP - 1) // GROUP
    shape = (n_rows, n_groups)
    return np.empty((n_rows, n_groups * GROUP), ACTIVATION), np.empty(shape, np.float32), np.empty(shape, np.int32)


def multiply_int8(x, packed, factors, bias):  # float32 [n_rows, n_in] -> [n_rows, n_out]
    """x @ weights + bias, with x as int8 too; `packed` and `factors` as pack_int8() makes them."""
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
    n_rows, n_out = out.shape
    sums = np.empty((ROWS, PANEL), np.float32)
    for panel in range(first, end):
        start, stop = panel * PANEL, min(n_out, (panel + 1) * PANEL)
        row = 0
        while row < n_rows:
            n = ROWS if row + ROWS <= n_rows else 1
            if n == ROWS:
                add_rows(weights, start * x.shape[1], x, row, starts, scales, sums)
            else:
                add_one(weights, start * x.shape[1], x, row, starts, scales, sums[:1])
            for number in range(n):
                _finish(sums[number], factors[start:stop], bias[start:stop], out[row + number, start:stop])
            row += n


@inner
def _finish(sums, factors, bias, out):
    """out = sums * factors + bias; there may be no bias.

    Two loops, so that both become vectors; 64 numbers one by one would take 10 % of a product with 768 inputs.
    """
    if bias.size:
        for column in range(out.size):
            out[column] = fma(sums[column], factors[column], bias[column])
    else:
        for column in range(out.size):
            out[column] = fma(sums[column], factors[column], ZERO)


def pack_int8(weight, factors, packed):
    """[n_in, n_out] to int8 panels, as Int8Matrix has them, and a factor per column, in place."""
    _pack_kernel(np.asarray(weight, np.float32), -(-len(packed) // n_threads()), factors, packed)


@kernel(void(read(float32[:, :]), intp, float32[::1], int8[:, :, :, :, :, ::1]))
def _pack_kernel(weight, each, factors, packed):
    spread((len(packed) + each - 1) // each, _pack_part, (weight, each, factors, packed))


@inner
def _pack_part(part, weight, each, factors, packed):
    n_in, n_out = weight.shape
    small = np.empty(n_in, np.int8)
    for panel in range(part * each, min(len(packed), (part + 1) * each)):
        for column in range(panel * PANEL, min(n_out, (panel + 1) * PANEL)):
            factors[column], _ = round_to_int8(weight[:, column], small)
            for k in range(n_in):
                group, step, strip, at = k // GROUP, k % GROUP // TOGETHER, column % PANEL // STRIP, column % STRIP
                packed[panel, group, strip, step, at, k % TOGETHER] = small[k] ^ FLIP
