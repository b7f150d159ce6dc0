"""Four-bit weights times int8 activations: which instructions do it on this CPU, on all cores.

Enter: the numbers that fours.py makes, as packing.py lays them; float32 activations, which become int8. Leave:
float32. A nibble is 0 to 15, which every CPU multiplies as an unsigned byte; that 8 of them stand for 0 is taken off
with the sum of the activations. Whole numbers are added exactly, so all recipes give the same bits.
Next: quantized/packing.py.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import config, float32, intp, types, uint8, void
from numba.extending import intrinsic

from ..kernels.calls import shared
from ..kernels.compile import cpu_has, inner, kernel, n_threads, read
from ..kernels.cores import spread
from ..kernels.math import ZERO, size_of_bits
from ..kernels.products import NO_BIAS
from ..kernels.vectors import fma
from ..kernels.writer import BYTE, FLOAT, INT32, Writer, compiled, integer
from . import fours
from .products import part_of_panels, quantize_part, room_for
from .rounding import SMALL
from .vectors import ADD_PAIRS, GROUP, INT16, LINE, PANEL, finish, first_of, sum_panel

FEW, QUADS = fours.FEW, fours.FEW // 8  # a byte holds number n of a group and number n + 4
BLOCK = PANEL * FEW // 2 + PANEL * 2  # bytes of a panel's group: nibbles, then scales
AHEAD = BLOCK  # bytes; a single row waits for memory
HALF_TO_FLOAT = np.float32(2.0**112)  # what the exponents of float16 and float32 differ by, once the bits stand alike
OFFSET = np.int32(fours.ZERO)


class Recipe(NamedTuple):
    """`lanes` int32 sums in a register, each of four products at a time; sums of `rows` times `strip` registers."""

    name: str
    instruction: str
    lanes: int
    rows: int
    strip: int


RECIPES = {
    "avx512vnni": Recipe("dot", "llvm.x86.avx512.vpdpbusd.512", 16, 4, 2),
    "avxvnni": Recipe("dot", "llvm.x86.avx512.vpdpbusd.256", 8, 4, 2),
    "avx512bw": Recipe("pairs", "llvm.x86.avx512.pmaddubs.w.512", 16, 4, 2),
    "avx2": Recipe("pairs", "llvm.x86.avx2.pmadd.ub.sw", 8, 4, 2),
    "dotprod": Recipe("dot", "llvm.aarch64.neon.sdot.v4i32.v16i8", 4, 4, 4),
}
PLAIN = Recipe("plain", "", 4, 4, 4)


def recipe_of(has):
    """The best recipe for a CPU; `has` says whether it has a feature, by LLVM's name for it."""
    return first_of(RECIPES, has, PLAIN)


RECIPE = PLAIN if config.DISABLE_JIT else recipe_of(cpu_has)
LANES, ROWS = RECIPE.lanes, RECIPE.rows
KNOWS_HALVES = cpu_has("avx512f")  # AVX2's own instruction, for 8, is no faster where a single row is multiplied


# ---------------------------------------------------------------- products


def multiply_by_fours(x, packed, n_out, bias=NO_BIAS):  # float32 [n_rows, n_in] -> [n_rows, n_out]
    """x @ weights + bias, with x as int8; `packed` as packing.pack_fours() makes it."""
    out = np.empty((len(x), n_out), np.float32)
    _multiply_fours_kernel(x, packed.reshape(-1), bias, n_threads(), out)
    return out


@kernel(void(read(float32[:, ::1]), read(uint8[::1]), read(float32[::1]), intp, float32[:, ::1]))
def _multiply_fours_kernel(x, weights, bias, n_parts, out):
    small, scales, starts = room_for(x.shape[0], x.shape[1])
    spread(n_parts, quantize_part, (x, n_parts, small, scales, starts))
    spread(n_parts, _multiply_fours_part, (small, scales, weights, bias, n_parts, out))


@inner
def _multiply_fours_part(part, x, scales, weights, bias, n_parts, out):
    first, end = part_of_panels(part, n_parts, out.shape[1])
    multiply_fours(x, scales, weights, bias, first, end, out)


@shared(void(
    read(SMALL), read(float32[:, ::1]), read(uint8[::1]), read(float32[::1]), intp, intp, float32[:, ::1]
))  # fmt: skip
def multiply_fours(x, scales, weights, bias, first, end, out):
    """The columns of out = x @ weights + bias that some panels hold; `x` and `scales` as quantize() makes them."""
    n_rows = len(out)
    small, offsets = _as_bytes(x)
    sums = np.empty((ROWS, PANEL), np.float32)
    for panel in range(first, end):
        start = panel * PANEL
        at, row = panel * offsets.shape[1] * BLOCK, 0
        while row < n_rows:
            n = ROWS if row + ROWS <= n_rows else 1
            if n == ROWS:
                add_rows(weights, at, small, row, offsets, scales, sums)
            else:
                add_one(weights, at, small, row, offsets, scales, sums[:1])
            for number in range(n):
                finish(sums, number, NO_BIAS, bias, start, out, row + number)
            row += n


@inner
def _as_bytes(x):
    """Rounded rows as int8, and for each FEW of them what is taken off because 8 of a nibble stand for 0."""
    small, offsets = np.empty(x.shape, np.int8), np.empty((x.shape[0], x.shape[1] // FEW), np.int32)
    for row in range(len(x)):
        for group in range(offsets.shape[1]):
            total = np.int32(0)
            for j in range(group * FEW, (group + 1) * FEW):
                small[row, j] = x[row, j]
                total += np.int32(x[row, j])
            offsets[row, group] = -OFFSET * total
    return small, offsets


# ---------------------------------------------------------------- instructions


def _make_panel(recipe, n_rows):
    n_columns = recipe.strip if n_rows > 1 else 4

    @intrinsic
    def add_panel(typingctx, weights, at, x, row, offsets, scales, sums):
        """sums[:n_rows] = the panel's part of x[row : row + n_rows] @ weights, group by group.

        Of a group that is (offsets + x @ nibbles) * scales of weights and of x. `weights` from `at` on: blocks.
        """

        def write(w: Writer, weights, at, x, row, offsets, scales, sums):
            panel, rows = w.address(0, at, of=BYTE), w.rows(2, n_rows, row, integer(0), of=BYTE)
            of_rows = rows, w.rows(4, n_rows, row, integer(0), of=INT32), w.rows(5, n_rows, row, integer(0))
            targets = w.rows(6, n_rows, integer(0), integer(0))
            n_groups = w.builder.extract_value(w.array(4).shape, 1)

            def add_group(first, group, before):
                return _add_strip(w, recipe, panel, first, of_rows, group, n_columns, before)

            sum_panel(w, targets, n_columns, recipe.lanes, n_groups, add_group)

        n = types.intp
        return compiled(types.void(weights, n, x, n, offsets, scales, sums), write)

    return add_panel


def _add_strip(w, recipe, panel, first, of_rows, group, n_columns, before):
    """What one group adds, in the columns of a strip, to the sums of each row."""
    builder, (rows, offsets, factors) = w.builder, of_rows
    block = builder.gep(panel, [builder.mul(group, integer(BLOCK))])
    strip = builder.gep(block, [builder.mul(first, integer(FEW // 2))])
    coming = builder.gep(block, [builder.mul(first, integer(BLOCK // PANEL))])  # every line of the next block, once
    for line in range(0, n_columns * recipe.lanes * BLOCK // PANEL, LINE) if len(rows) == 1 else ():
        w.prefetch(coming, integer(AHEAD + line))
    rows = [builder.gep(row, [builder.mul(group, integer(FEW))]) for row in rows]
    begin = [w.broadcast(one, group, recipe.lanes) for one in offsets]
    totals = _multiply_strip(w, recipe, strip, rows, begin, n_columns)
    of_x = builder.sdiv(group, integer(GROUP // FEW))
    factors = [w.broadcast(one, of_x, recipe.lanes) for one in factors]
    scales = [
        _scales(w, block, builder.add(first, integer(v * recipe.lanes)), recipe.lanes) for v in range(n_columns)
    ]
    both = [builder.fmul(scale, factor) for factor in factors for scale in scales]
    exact = [builder.sitofp(total, scales[0].type) for total in totals]
    return [w.fma(*three) for three in zip(exact, both, before, strict=True)]


def _multiply_strip(w, recipe, strip, rows, begin, n_columns):
    """Whole sums over FEW numbers: of each row with the columns of a strip."""
    builder, size = w.builder, recipe.lanes * 4
    pairs = recipe.name == "pairs"
    zero = ir.Constant(ir.VectorType(INT16, recipe.lanes * 2), [0] * recipe.lanes * 2)
    totals = [zero if pairs else one for one in begin for _ in range(n_columns)]
    for quad in range(QUADS):
        addresses = [builder.gep(strip, [integer((v * QUADS + quad) * size)]) for v in range(n_columns)]
        nibbles = [_nibbles(w, one, size) for one in addresses]  # all of a quad first: one row is 8 % faster by that
        for number, row in enumerate(rows):
            for half, value in enumerate(_values(w, recipe, row, quad)):
                for v in range(n_columns):
                    place = number * n_columns + v
                    totals[place] = _add(w, recipe, totals[place], nibbles[v][half], value)
    if not pairs:
        return totals
    ones = ir.Constant(zero.type, [1] * recipe.lanes * 2)
    whole = [w.call(ADD_PAIRS[recipe.lanes], begin[0].type, total, ones) for total in totals]
    return [builder.add(one, begin[at // n_columns]) for at, one in enumerate(whole)]


def _values(w, recipe, row, quad):
    """Eight activations of a row: the first four in every lane of one register, the others in another."""
    addresses = [w.builder.gep(row, [integer(quad * 8 + at)]) for at in (0, 4)]
    return [w.broadcast(w.builder.bitcast(one, INT32.as_pointer()), 0, recipe.lanes) for one in addresses]


def _nibbles(w, address, size):
    """The lower and the upper halves of the bytes that lie there."""
    kind = ir.VectorType(BYTE, size)
    both = w.builder.load(w.builder.bitcast(address, kind.as_pointer()))
    both.align = 1
    return w.builder.and_(both, ir.Constant(kind, [15] * size)), w.builder.lshr(both, ir.Constant(kind, [4] * size))


def _add(w, recipe, total, weights, value):
    """total + what one register of nibbles makes of four activations in every lane of `value`.

    Pairs of products stay in int16, which has room for all of a group: 8 times 2 times 15 times 127 is 30,480.
    """
    four = w.builder.bitcast(value, weights.type)
    if recipe.name == "pairs":
        return w.builder.add(total, w.call(recipe.instruction, total.type, weights, four))
    if "sdot" in recipe.instruction:
        return w.call(recipe.instruction, total.type, total, weights, four)
    return w.call(recipe.instruction, total.type, total, w.builder.bitcast(weights, total.type), value)


def _scales(w, block, first, lanes):
    """The float16 scales of some columns in float32, by one instruction or by moving bits to where float32 has them."""
    place = w.builder.gep(block, [w.builder.add(integer(PANEL * FEW // 2), w.builder.mul(first, integer(2)))])
    halves = w.builder.load(w.builder.bitcast(place, ir.VectorType(INT16, lanes).as_pointer()))
    halves.align = 1
    if KNOWS_HALVES:
        halves = w.builder.bitcast(halves, ir.VectorType(ir.HalfType(), lanes))
        return w.builder.fpext(halves, ir.VectorType(FLOAT, lanes))
    wide = ir.VectorType(INT32, lanes)
    bits = w.builder.zext(halves, wide)
    of_size, of_sign = (ir.Constant(wide, [mask] * lanes) for mask in (0x7FFF, 0x8000))
    size = w.builder.shl(w.builder.and_(bits, of_size), ir.Constant(wide, [13] * lanes))
    sign = w.builder.shl(w.builder.and_(bits, of_sign), ir.Constant(wide, [16] * lanes))
    floats = ir.VectorType(FLOAT, lanes)
    scaled = w.builder.fmul(w.builder.bitcast(size, floats), ir.Constant(floats, [float(HALF_TO_FLOAT)] * lanes))
    return w.builder.bitcast(w.builder.or_(w.builder.bitcast(scaled, wide), sign), floats)


@inner
def _add_panel(weights, at, x, row, offsets, scales, sums):
    """The same in plain loops, for any CPU."""
    sums[:] = ZERO
    for group in range(offsets.shape[1]):
        block = at + group * BLOCK
        for column in range(PANEL):
            place = block + PANEL * FEW // 2 + 2 * column
            bits = np.int32(weights[place]) | np.int32(weights[place + 1]) << 8
            size = size_of_bits((bits & np.int32(0x7FFF)) << 13) * HALF_TO_FLOAT
            scale = -size if bits & np.int32(0x8000) else size
            first = block + column // LANES * LANES * FEW // 2 + column % LANES * 4
            for number in range(len(sums)):
                total = offsets[row + number, group]
                for n in range(FEW // 2):
                    both = np.int32(weights[first + n // 4 * LANES * 4 + n % 4])
                    j = group * FEW + n // 4 * 8 + n % 4
                    total += (both & 15) * np.int32(x[row + number, j]) + (both >> 4) * np.int32(x[row + number, j + 4])
                factor = scale * scales[row + number, group // (GROUP // FEW)]
                sums[number, column] = fma(np.float32(total), factor, sums[number, column])


add_one, add_rows = (_add_panel if RECIPE == PLAIN else _make_panel(RECIPE, n_rows) for n_rows in (1, ROWS))
