"""Activations to int8: the largest of a group becomes 127, and a float32 says what a step is worth.

Enter: float32. Leave: whole numbers, a scale for each GROUP of them, and what takes off the OFFSET that some
instructions want in the weights. Next: quantized/products.py.
"""

import numpy as np
from llvmlite import ir
from numba import config, float32, from_dtype, int32, types, void
from numba.extending import intrinsic

from ..kernels.calls import shared
from ..kernels.compile import inner, read
from ..kernels.math import HALF, ZERO, bits_of_size, size_of_bits
from ..kernels.vectors import fma
from ..kernels.writer import FLOAT, INT32, VECTOR, Writer, compiled, integer
from .vectors import ACTIVATION, GROUP, OFFSET, PLAIN, RECIPE

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


@intrinsic
def _round_group(typingctx, x, group, small, scales, starts):
    """round_to_int8() of one whole GROUP, in registers: in loops 64 numbers take most of their time to begin."""

    def write(w: Writer, x, group, small, scales, starts):
        builder, lanes = w.builder, range(0, GROUP, VECTOR)
        first = builder.mul(group, integer(GROUP))
        source = w.address(0, first)
        values = [w.load(source, at) for at in lanes]
        whole = ir.VectorType(INT32, VECTOR)
        sign = ir.Constant(whole, [0x7FFFFFFF] * VECTOR)
        sizes = [builder.and_(builder.bitcast(value, whole), sign) for value in values]
        while len(sizes) > 1:
            sizes = [_larger(builder, *pair) for pair in zip(sizes[::2], sizes[1::2], strict=True)]
        top = builder.bitcast(w.fold(sizes[0], lambda a, b: _larger(builder, a, b)), FLOAT)
        is_large = builder.fcmp_ordered(">", top, _number(NEARLY_ZERO))
        factor = w.everywhere(builder.select(is_large, builder.fdiv(_number(LARGEST), top), _number(0)), VECTOR)
        half = ir.Constant(factor.type, [0.5] * VECTOR)
        total = ir.Constant(whole, [0] * VECTOR)
        kind = ir.VectorType(ir.IntType(8 * np.dtype(ACTIVATION).itemsize), VECTOR)
        target = w.address(2, first, of=kind.element)
        for at, value in zip(lanes, values, strict=True):
            floor = w.call(f"llvm.floor.v{VECTOR}f32", value.type, w.fma(value, factor, half))
            rounded = builder.fptosi(floor, whole)
            total = builder.add(total, rounded)
            w.store(builder.trunc(rounded, kind), target, at)
        is_number = builder.fcmp_ordered("<", top, _number(INFINITE))
        scale = builder.select(is_number, builder.fdiv(top, _number(LARGEST)), _number(NOT_A_NUMBER))
        builder.store(scale, w.address(3, group))
        start = builder.mul(w.fold(total, builder.add), ir.Constant(INT32, -OFFSET))
        builder.store(start, w.address(4, group, of=INT32))

    return compiled(types.void(x, types.intp, small, scales, starts), write)


def _number(value):
    return ir.Constant(FLOAT, float(value))


def _larger(builder, a, b):
    return builder.select(builder.icmp_signed(">", a, b), a, b)


@inner
def quantize_group(x, group, small, scales, starts):
    """One GROUP of a row to int8: x is about small * scale; `starts` takes off what OFFSET adds."""
    first, end = group * GROUP, min((group + 1) * GROUP, x.size)
    if end - first == GROUP and RECIPE != PLAIN:
        _round_group(x, group, small, scales, starts)
        return
    scales[group], total = round_to_int8(x[first:end], small[first:end])
    small[end : first + GROUP] = 0
    starts[group] = -OFFSET * total


@shared(void(read(float32[:, ::1]), SMALL, float32[:, ::1], int32[:, ::1]))
def quantize(x, small, scales, starts):
    """All groups of all rows."""
    for row in range(len(x)):
        for group in range(scales.shape[1]):
            quantize_group(x[row], group, small[row], scales[row], starts[row])


