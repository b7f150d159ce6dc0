"""Products of int8 numbers: what one vector instruction (VNNI) does where the CPU has it, and the same in plain loops.

Enter: weights as pack_int8() packs them, float32 activations, which become int8 with a scale per GROUP. Leave: float32.
An instruction multiplies four unsigned bytes by four signed ones and adds them to an int32: weights are stored as
w + 128, and what that adds is taken off where each sum begins. Next: quantized/fours.py.
"""

import numpy as np
from llvmlite import ir
from numba import config, float32, intp, prange, types, uint8, void
from numba.core import cgutils
from numba.extending import intrinsic

from ..kernels.compile import cpu_has, inner, kernel, n_threads, read
from ..kernels.math import HALF, ZERO, bits_of_size, size_of_bits
from ..kernels.vectors import fma
from ..kernels.writer import BYTE, FLOAT, INT32, Writer, compiled, integer

GROUP = 64  # activations that share one scale: an outlier spoils only its neighbours (Dettmers et al. 2022 name them)
PANEL = 64  # columns of the weights that are multiplied together
OFFSET = 128
LARGEST = np.float32(127)
NEARLY_ZERO = np.float32(1e-36)  # 127 divided by less may be infinite; what is so small becomes 0
PLAIN_PYTHON = bool(config.DISABLE_JIT)
INFINITE, NOT_A_NUMBER = np.float32(np.inf), np.float32(np.nan)
ROWS = 4  # of activations at once

_LANES = 16
_VECTORS = PANEL // _LANES


def has_vnni():
    """Can this CPU multiply 64 pairs of bytes in one instruction?"""
    return cpu_has("avx512vnni") and not config.DISABLE_JIT


def _make_group(n_rows):
    @intrinsic
    def add_group(typingctx, weights, at, x, row, k, starts, scales, group, sums):
        """sums[:n_rows] += scales[row :, group] * (x[row : row + n_rows, k : k + GROUP] @ the panel's GROUP rows).

        `weights` from `at` on: uint8 [GROUP / 4, PANEL, 4]; `starts`: what OFFSET adds to each sum, negated.
        """

        def write(w: Writer, weights, at, x, row, k, starts, scales, group, sums):
            builder = w.builder
            vector, floats = ir.VectorType(INT32, _LANES), ir.VectorType(FLOAT, _LANES)
            kind = ir.FunctionType(vector, [vector] * 3)
            multiply = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpdpbusd.512")
            panel = builder.bitcast(w.address(0, at), BYTE.as_pointer())
            rows = [builder.bitcast(one, BYTE.as_pointer()) for one in w.rows(2, n_rows, row, k)]

            def everywhere(value):
                undefined, first = ir.Constant(vector, ir.Undefined), ir.Constant(vector, [0] * _LANES)
                single = builder.insert_element(undefined, value, ir.Constant(INT32, 0))
                return builder.shuffle_vector(single, undefined, first)

            def step(i, totals):
                four_rows = builder.gep(panel, [builder.mul(i, integer(PANEL))])
                columns = []
                for v in range(_VECTORS):
                    place = builder.gep(four_rows, [integer(v * 64)])
                    columns.append(builder.load(builder.bitcast(place, vector.as_pointer())))
                    columns[-1].align = 1
                new = []
                for one in rows:
                    four = builder.load(builder.bitcast(builder.gep(one, [i]), INT32.as_pointer()))
                    four.align = 1
                    value = everywhere(four)
                    for column in columns:
                        new.append(builder.call(multiply, [totals[len(new)], column, value]))
                return new

            begin = []
            for one in w.rows(5, n_rows, row, group):
                value = builder.load(builder.bitcast(one, INT32.as_pointer()))
                begin += [everywhere(value)] * _VECTORS
            totals = w.loop(integer(GROUP), 4, begin, step)
            factors = [w.broadcast(one) for one in w.rows(6, n_rows, row, group)]
            for number, target in enumerate(w.rows(8, n_rows, integer(0), integer(0))):
                for v in range(_VECTORS):
                    exact = builder.sitofp(totals[number * _VECTORS + v], floats)
                    w.store(w.fma(exact, factors[number], w.load(target, v * _LANES, _LANES)), target, v * _LANES)

        n = types.intp
        return compiled(types.void(weights, n, x, n, n, starts, scales, n, sums), write)

    return add_group


@inner
def _add_group(weights, at, x, row, k, starts, scales, group, sums):
    """The same in plain loops, for any CPU."""
    totals = np.empty(PANEL, np.int32)
    for number in range(len(sums)):
        totals[:] = starts[row + number, group]
        for i in range(0, GROUP, 4):
            for column in range(PANEL):
                place = at + i * PANEL + column * 4
                for four in range(4):
                    totals[column] += np.int32(weights[place + four]) * np.int32(x[row + number, k + i + four])
        for column in range(PANEL):
            sums[number, column] = fma(np.float32(totals[column]), scales[row + number, group], sums[number, column])


add_one, add_rows = (_make_group(1), _make_group(ROWS)) if has_vnni() else (_add_group, _add_group)


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
        value = np.int32(np.floor(x[j] * factor + HALF))
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


@inner
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
    return np.empty((n_rows, n_groups * GROUP), np.int8), np.empty(shape, np.float32), np.empty(shape, np.int32)


def multiply_int8(x, packed, factors, bias):  # float32 [n_rows, n_in] -> [n_rows, n_out]
    """x @ weights + bias, with x as int8 too; `packed` and `factors` as pack_int8() makes them."""
    out = np.empty((len(x), len(factors)), np.float32)
    _multiply_kernel(x, packed.reshape(-1), factors, bias, n_threads(), out)
    return out


@kernel(void(
    read(float32[:, ::1]), read(uint8[::1]), read(float32[::1]), read(float32[::1]), intp, float32[:, ::1]
))  # fmt: skip
def _multiply_kernel(x, weights, factors, bias, n_parts, out):
    small, scales, starts = room_for(x.shape[0], x.shape[1])
    quantize(x, small, scales, starts)
    for part in prange(n_parts):
        first, end = part_of_panels(part, n_parts, out.shape[1])
        multiply_panels(small, scales, starts, weights, factors, bias, first, end, out)


@inner
def part_of_panels(part, n_parts, n_out):
    """The first panel of this part, and that of the next."""
    n_panels = (n_out + PANEL - 1) // PANEL
    return part * n_panels // n_parts, (part + 1) * n_panels // n_parts


@inner
def multiply_panels(x, scales, starts, weights, factors, bias, first, end, out):
    """The columns of out = x @ weights + bias that some panels hold."""
    n_rows, n_out = out.shape
    sums = np.empty((ROWS, PANEL), np.float32)
    for panel in range(first, end):
        row = 0
        while row < n_rows:
            n = ROWS if row + ROWS <= n_rows else 1
            _multiply_panel(x, scales, starts, weights, panel, row, sums[:n])
            for number in range(n):
                for column in range(panel * PANEL, min(n_out, (panel + 1) * PANEL)):
                    value = sums[number, column - panel * PANEL] * factors[column]
                    out[row + number, column] = value + (bias[column] if bias.size else ZERO)
            row += n


@inner
def _multiply_panel(x, scales, starts, weights, panel, row, sums):
    width = x.shape[1]
    sums[:] = ZERO
    for group in range(width // GROUP):
        k = group * GROUP
        at = (panel * width + k) * PANEL
        if len(sums) == ROWS:
            add_rows(weights, at, x, row, k, starts, scales, group, sums)
        else:
            add_one(weights, at, x, row, k, starts, scales, group, sums)


def pack_int8(weight, factors, packed):
    """[n_in, n_out] to uint8 panels [n_panels, n_in / 4, PANEL, 4] of w + OFFSET, and a factor per column, in place."""
    _pack_kernel(np.asarray(weight, np.float32), -(-len(packed) // n_threads()), factors, packed)


@kernel(void(read(float32[:, :]), intp, float32[::1], uint8[:, :, :, ::1]))
def _pack_kernel(weight, each, factors, packed):
    n_in, n_out = weight.shape
    n_panels = len(packed)
    for part in prange((n_panels + each - 1) // each):
        small = np.empty(n_in, np.int8)
        for panel in range(part * each, min(n_panels, (part + 1) * each)):
            for column in range(panel * PANEL, min(n_out, (panel + 1) * PANEL)):
                factors[column], _ = round_to_int8(weight[:, column], small)
                for k in range(n_in):
                    packed[panel, k // 4, column - panel * PANEL, k % 4] = np.int32(small[k]) + OFFSET
