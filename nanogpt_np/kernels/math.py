"""Float32 arithmetic that kernels share: typed constants, an exp that vectorizes, GELU and layer norm of a row.

Enter and leave: float32 numbers, inside compiled loops. Next: kernels/writer.py.
"""

import math

import numpy as np
from llvmlite import ir
from numba import config, float32, types, void
from numba.extending import intrinsic

from .calls import shared
from .compile import inner, read

GELU_SCALE = np.float32(2.0 * math.sqrt(2.0 / math.pi))
GELU_CUBE = np.float32(0.044715)
SMALL = 1 << 14  # numbers; waking the other cores for fewer takes longer than the work
ZERO, HALF, ONE, THREE = (np.float32(value) for value in (0.0, 0.5, 1.0, 3.0))

# exp(x) = 2^n exp(r): n = round(x / ln 2), r = x - n ln 2 in two parts, exp(r) by Cephes' polynomial (Moshier, expf)
LOWEST, HIGHEST = np.float32(-87.0), np.float32(88.0)
LOG2_E, LN2_HIGH, LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
E0, E1, E2, E3, E4, E5 = (
    np.float32(value)
    for value in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
)

_ALL_BUT_THE_SIGN = np.int32(0x7FFFFFFF)

if config.DISABLE_JIT:  # kernels run as plain Python, for stepping through

    def _power_of_two(n):
        return np.float32(2.0) ** n

    def bits_of_size(x):
        return np.float32(x).view(np.int32) & _ALL_BUT_THE_SIGN

    def size_of_bits(bits):
        return np.int32(bits).view(np.float32)

    def order_of(x):
        return _in_order(np.float32(x).view(np.int32))

    def number_of(order):
        return _in_order(order).view(np.float32)

    def _in_order(bits):
        return bits ^ (bits >> 31 & _ALL_BUT_THE_SIGN)

else:

    @intrinsic
    def _power_of_two(typingctx, n):
        """2^n by putting n into a float's exponent bits; Numba has no other way to say so, and this one vectorizes."""

        def codegen(context, builder, signature, args):
            i32 = ir.IntType(32)
            exponent = builder.add(builder.fptosi(args[0], i32), ir.Constant(i32, 127))
            return builder.bitcast(builder.shl(exponent, ir.Constant(i32, 23)), ir.FloatType())

        return types.float32(types.float32), codegen

    @intrinsic
    def bits_of_size(typingctx, x):
        """The bits of |x| as a whole number: in the same order as the sizes, and above them all infinity, then NaN.

        The largest of floats would forget a NaN, which is not larger than anything; the largest of these does not.
        """

        def codegen(context, builder, signature, args):
            i32 = ir.IntType(32)
            return builder.and_(builder.bitcast(args[0], i32), ir.Constant(i32, int(_ALL_BUT_THE_SIGN)))

        return types.int32(types.float32), codegen

    @intrinsic
    def size_of_bits(typingctx, bits):
        """The float32 that bits_of_size() made these bits of."""

        def codegen(context, builder, signature, args):
            return builder.bitcast(args[0], ir.FloatType())

        return types.float32(types.int32), codegen

    @intrinsic
    def order_of(typingctx, x):
        """A whole number for each float, in the same order; NaN lies outside, above all or below all.

        The largest of floats is looked for one by one, as NaN is neither larger nor smaller than any; of whole numbers
        LLVM compares whole vectors.
        """

        def codegen(context, builder, signature, args):
            return _in_order(builder, builder.bitcast(args[0], ir.IntType(32)))

        return types.int32(types.float32), codegen

    @intrinsic
    def number_of(typingctx, order):
        """The float32 that order_of() made this of."""

        def codegen(context, builder, signature, args):
            return builder.bitcast(_in_order(builder, args[0]), ir.FloatType())

        return types.float32(types.int32), codegen

    def _in_order(builder, bits):
        """Of negative numbers the larger ones have larger bits: turn all but the sign; and so back."""
        i32 = ir.IntType(32)
        signs = builder.ashr(bits, ir.Constant(i32, 31))
        return builder.xor(bits, builder.and_(signs, ir.Constant(i32, int(_ALL_BUT_THE_SIGN))))


@inner
def exp(x):
    """exp of a float32, within 1e-7 relative; what lies below -87 gives exp(-87), and NaN gives NaN."""
    x = min(max(x, LOWEST), HIGHEST)
    n = np.floor(x * LOG2_E + HALF)
    r = x - n * LN2_HIGH - n * LN2_LOW
    y = ((((E0 * r + E1) * r + E2) * r + E3) * r + E4) * r + E5
    return (y * r * r + r + ONE) * _power_of_two(n)


@inner
def gelu_new_of(x):
    """x (1 + tanh(u)) / 2 is x / (1 + exp(-2u))."""
    return x / (ONE + exp(-GELU_SCALE * x * (ONE + GELU_CUBE * x * x)))


@inner
def gelu_new_row(x, out):
    """Of a row, into another."""
    for i in range(x.size):
        out[i] = gelu_new_of(x[i])


@shared(void(float32[::1]))
def gelu_new_in_place(x):
    """Of a row; where `out` is `x`, what is made for two arrays goes number by number."""
    for i in range(x.size):
        x[i] = gelu_new_of(x[i])


@shared(void(read(float32[::1]), read(float32[::1]), read(float32[::1]), float32, float32[::1]))
def layer_norm_row(x, weight, bias, eps, out):
    """One row of ops.layer_norm; `out` may be `x` itself."""
    mean, rstd = mean_and_rstd(x, eps)
    for j in range(x.size):
        out[j] = (x[j] - mean) * rstd * weight[j] + bias[j]


@inner
def mean_and_rstd(row, eps):
    """Of one row: its mean, and 1 / its standard deviation."""
    total = ZERO
    for j in range(row.size):
        total += row[j]
    mean = total / np.float32(row.size)
    total = ZERO
    for j in range(row.size):
        total += (row[j] - mean) * (row[j] - mean)
    return mean, ONE / np.float32(math.sqrt(total / np.float32(row.size) + eps))


def is_float32(*arrays):
    """Can the kernels take these arrays?"""
    return all(array.dtype == np.float32 and array.flags.aligned for array in arrays)
