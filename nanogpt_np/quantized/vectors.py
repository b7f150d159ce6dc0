"""Which instructions multiply int8 on this CPU, and in what order weights lie for them; the same in plain loops.

Enter: weights as pack_int8() packs them, activations as quantize() rounds them. Leave: sums, in place. Every recipe
adds whole numbers exactly and then does the same float32 arithmetic, so all of them give the same bits (but on a CPU
without FMA, which rounds twice where others do once).
Next: quantized/rounding.py.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic

from ..kernels.compile import cpu_has, inner, is_amd
from ..kernels.math import ONE, ZERO
from ..kernels.vectors import fma
from ..kernels.writer import BYTE, FLOAT, INT32, VECTOR, Writer, compiled, integer

GROUP = 64  # activations that share one scale: an outlier spoils only its neighbours (Dettmers et al. 2022 name them)
PANEL = 64  # columns of the weights that are multiplied together
LINE = 64  # bytes of memory that come together
AHEAD = 512 if is_amd() else 1024  # bytes; a single row waits for memory, which is so asked for what comes
INT16 = ir.IntType(16)


class Recipe(NamedTuple):
    """One way to multiply: `lanes` int32 sums in a register, each of which takes `together` products at a time."""

    name: str
    instruction: str
    lanes: int
    together: int
    offset: int = 0  # what is added to weights that have to be unsigned; each sum begins with what takes it off again
    rows: int = 4  # of activations at once, where there are several
    strip: int = 4  # registers of sums for each of them: 16 where there are 32 registers, 8 where there are 16


def recipe_of(has):
    """The best recipe for a CPU; `has` says whether it has a feature, by LLVM's name for it."""
    return first_of(RECIPES, has, PLAIN)


def first_of(recipes, has, plain):
    """The first recipe whose feature a CPU has, of {feature: recipe}; `plain` where it has none of them."""
    return next((recipe for feature, recipe in recipes.items() if has(feature)), plain)


# VNNI takes four unsigned times four signed bytes. AVX2's own instruction for bytes adds two such products in int16,
# which has room for 2 times 127 times 127: |x| times w with the sign of x, as neither is ever -128. AVX-512 knows no
# such signs: there bytes become int16 as they are loaded, whose products in pairs are exact, too
RECIPES = {
    "avx512vnni": Recipe("vnni", "llvm.x86.avx512.vpdpbusd.512", 16, 4, 128),
    "avxvnni": Recipe("vnni", "llvm.x86.avx512.vpdpbusd.256", 8, 4, 128, 2),
    "avx512bw": Recipe("madd", "llvm.x86.avx512.pmaddw.d.512", 16, 2),
    "avx2": Recipe("sign", "llvm.x86.avx2.pmadd.ub.sw", 8, 4, 0, 2),
    "dotprod": Recipe("sdot", "llvm.aarch64.neon.sdot.v4i32.v16i8", 4, 4),
}
SIGN = "llvm.x86.avx2.psign.b"
ADD_PAIRS = {16: "llvm.x86.avx512.pmaddw.d.512", 8: "llvm.x86.avx2.pmadd.wd"}  # by lanes: times 1, and two become one
PLAIN = Recipe("plain", "", 4, 2)
RECIPE = PLAIN if config.DISABLE_JIT else recipe_of(cpu_has)
TOGETHER, OFFSET = RECIPE.together, RECIPE.offset
ROWS, STRIP = RECIPE.rows, RECIPE.lanes * RECIPE.strip  # whose sums stay in registers
FLIP = np.int8(-128 if OFFSET else 0)  # w + 128 as an unsigned byte has the bits of w but for the first
ACTIVATION = np.int16 if TOGETHER == 2 else np.int8  # how a rounded activation is kept


def _make_panel(recipe, n_rows):
    n_columns = recipe.strip

    @intrinsic
    def add_panel(typingctx, weights, at, x, row, starts, scales, sums):
        """sums[:n_rows] = the panel's part of x[row : row + n_rows] @ weights, group by group: whole sums times scales.

        `weights` from `at` on: [n_groups, PANEL / STRIP, GROUP / TOGETHER, STRIP, TOGETHER]; `starts`: what OFFSET
        adds, negated. Sums stay in registers, or near them, from the first group to the last.
        """

        def write(w: Writer, weights, at, x, row, starts, scales, sums):
            panel, rows = w.address(0, at, of=BYTE), w.rows(2, n_rows, row, integer(0), of=BYTE)
            offsets, factors = w.rows(4, n_rows, row, integer(0), of=INT32), w.rows(5, n_rows, row, integer(0))
            targets = w.rows(6, n_rows, integer(0), integer(0))
            n_groups = w.builder.extract_value(w.array(5).shape, 1)

            def add_group(first, group, before):
                of_strip = w.builder.gep(panel, [w.builder.mul(first, integer(GROUP))])
                totals = _multiply_strip(w, recipe, of_strip, rows, offsets, group)
                scale = [w.broadcast(one, group, recipe.lanes) for one in factors for _ in range(n_columns)]
                exact = [w.builder.sitofp(total, one.type) for total, one in zip(totals, before, strict=True)]
                return [w.fma(*three) for three in zip(exact, scale, before, strict=True)]

            sum_panel(w, targets, n_columns, recipe.lanes, n_groups, add_group)

        n = types.intp
        return compiled(types.void(weights, n, x, n, starts, scales, sums), write)

    return add_panel


def sum_panel(w, targets, n_columns, lanes, n_groups, add_group):
    """Write the sums of a panel, strip by strip: in registers, or near them, from the first group to the last.

    add_group(first column of the strip, group, sums so far) -> the sums with that group, of each target row n_columns
    registers. A single row waits for memory, so that it takes the weights as they lie, group by group, and its sums
    of all strips are kept beside.
    """
    nothing, width = ir.Constant(ir.VectorType(FLOAT, lanes), [0.0] * lanes), n_columns * lanes

    def places(first):
        return [(target, w.builder.add(first, integer(v * lanes))) for target in targets for v in range(n_columns)]

    def strip(first, _):
        start = [nothing] * (len(targets) * n_columns)
        whole = w.loop(n_groups, 1, start, lambda group, before: add_group(first, group, before))
        for place, one in zip(places(first), whole, strict=True):
            w.store(one, *place)
        return []

    def group_of_all(group, _):
        def further(first, _):
            before = [w.load(*place, lanes) for place in places(first)]
            for place, one in zip(places(first), add_group(first, group, before), strict=True):
                w.store(one, *place)
            return []

        return w.loop(integer(PANEL), width, [], further)

    if len(targets) > 1 or width == PANEL:
        w.loop(integer(PANEL), width, [], strip)
        return
    for at in range(0, PANEL, lanes):
        w.store(nothing, targets[0], at)
    w.loop(n_groups, 1, [], group_of_all)


def _multiply_strip(w, recipe, strip, rows, offsets, group):
    """Whole sums over one GROUP: of each row with the columns of a strip."""
    builder, size, n_columns = w.builder, recipe.lanes * recipe.together, recipe.strip
    strip = builder.gep(strip, [builder.mul(group, integer(GROUP * PANEL))])
    bytes_of_x = np.dtype(ACTIVATION).itemsize
    of_rows = [builder.gep(row, [builder.mul(group, integer(GROUP * bytes_of_x))]) for row in rows]
    begin = [w.broadcast(one, group, recipe.lanes) for one in offsets for _ in range(n_columns)]
    n_chains = 2 if len(rows) == 1 else 1  # one row has few sums, each of which would wait for the one before it

    def step(i, totals):
        columns = builder.gep(strip, [builder.mul(i, integer(n_columns * recipe.lanes))])
        for line in range(0, n_columns * size, LINE) if len(rows) == 1 else ():
            w.prefetch(columns, integer(AHEAD + line))
        place = builder.mul(i, integer(bytes_of_x))
        fours = [builder.bitcast(builder.gep(row, [place]), INT32.as_pointer()) for row in of_rows]
        values, new = [w.broadcast(four, 0, recipe.lanes) for four in fours], list(totals)
        for v in range(n_columns):  # one after the other, as they lie
            weights = _weights(w, recipe, builder.gep(columns, [integer(v * size)]))
            for number, value in enumerate(values):
                at = number * n_columns + v
                new[at] = _add(w, recipe, totals[at], value, weights)
        return new

    def steps(i, totals):
        chains = [totals[chain::n_chains] for chain in range(n_chains)]
        new = [step(builder.add(i, integer(at * recipe.together)), chain) for at, chain in enumerate(chains)]
        return [total for of_all in zip(*new, strict=True) for total in of_all]

    nothing = ir.Constant(begin[0].type, [0] * recipe.lanes)
    start = [total for one in begin for total in [one, nothing][:n_chains]]
    totals = w.loop(integer(GROUP), n_chains * recipe.together, start, steps)
    return totals if n_chains == 1 else [builder.add(*pair) for pair in zip(totals[::2], totals[1::2], strict=True)]


def _weights(w, recipe, address):
    """One register of weights, widened where the instruction wants int16."""
    size = recipe.lanes * recipe.together
    value = w.builder.load(w.builder.bitcast(address, ir.VectorType(BYTE, size).as_pointer()))
    value.align = 1
    return w.builder.sext(value, ir.VectorType(INT16, size)) if recipe.name == "madd" else value


def _add(w, recipe, total, value, weights):
    """total + what one register of weights makes of the activations in `value`."""
    if recipe.name == "madd":
        products = w.call(recipe.instruction, total.type, w.builder.bitcast(value, weights.type), weights)
        return w.builder.add(total, products)
    if recipe.name == "sign":
        pairs, words = ir.VectorType(INT16, 2 * recipe.lanes), [1] * 2 * recipe.lanes
        four = w.builder.bitcast(value, weights.type)
        size = w.call(f"llvm.abs.v{weights.type.count}i8", four.type, four, ir.Constant(ir.IntType(1), 0))
        products = w.call(recipe.instruction, pairs, size, w.call(SIGN, four.type, weights, four))
        return w.builder.add(total, w.call(ADD_PAIRS[recipe.lanes], total.type, products, ir.Constant(pairs, words)))
    if recipe.name == "sdot":
        return w.call(recipe.instruction, total.type, total, weights, w.builder.bitcast(value, weights.type))
    return w.call(recipe.instruction, total.type, total, w.builder.bitcast(weights, total.type), value)


@inner
def _add_panel(weights, at, x, row, starts, scales, sums):
    """The same in plain loops, for any CPU."""
    totals = np.empty(PANEL, np.int32)
    sums[:] = ZERO
    for group in range(scales.shape[1]):
        k = group * GROUP
        for number in range(len(sums)):
            totals[:] = starts[row + number, group]
            for i in range(0, GROUP, TOGETHER):
                for column in range(PANEL):
                    place = at + k * PANEL + column // STRIP * STRIP * GROUP + i * STRIP + column % STRIP * TOGETHER
                    for n in range(TOGETHER):
                        totals[column] += np.int32(weights[place + n]) * np.int32(x[row + number, k + i + n])
            for column in range(PANEL):
                sums[number, column] = fma(
                    np.float32(totals[column]), scales[row + number, group], sums[number, column]
                )


@intrinsic
def _finish_whole(typingctx, sums, number, factors, bias, start, out, row):
    """finish() of a whole panel; loops would look at 64 numbers one by one, which took a sixth of a product."""

    def write(w: Writer, sums, number, factors, bias, start, out, row):
        source, target = w.address(0, number, integer(0)), w.address(5, row, start)
        factors, bias = _or_constant(w, 2, start, 1.0), _or_constant(w, 3, start, 0.0)
        for at in range(0, PANEL, VECTOR):
            w.store(w.fma(w.load(source, at), w.load(factors, at), w.load(bias, at)), target, at)

    n = types.intp
    return compiled(types.void(sums, n, factors, bias, n, out, n), write)


def _or_constant(w, n, start, value):
    """The address of element `start` of array number n, or where it has none, of a panel of constants."""
    kind = ir.ArrayType(FLOAT, PANEL)
    constants = w.builder.bitcast(w.constant(ir.Constant(kind, [value] * PANEL)), FLOAT.as_pointer())
    is_empty = w.builder.icmp_signed("==", w.array(n).nitems, integer(0))
    return w.builder.select(is_empty, constants, w.address(n, start))


@inner
def _finish(sums, number, factors, bias, start, out, row):
    """The same in plain loops, for any CPU, and for the last columns where they are no whole panel."""
    for column in range(min(PANEL, out.shape[1] - start)):
        factor = factors[start + column] if factors.size else ONE
        out[row, start + column] = fma(sums[number, column], factor, bias[start + column] if bias.size else ZERO)


add_one, add_rows = (_add_panel if RECIPE == PLAIN else _make_panel(RECIPE, n_rows) for n_rows in (1, ROWS))


@inner
def finish(sums, number, factors, bias, start, out, row):
    """A panel's columns of a row: out = sums * factors + bias; where there are none, 1 and 0."""
    if RECIPE == PLAIN or start + PANEL > out.shape[1]:
        _finish(sums, number, factors, bias, start, out, row)
    else:
        _finish_whole(sums, number, factors, bias, start, out, row)
