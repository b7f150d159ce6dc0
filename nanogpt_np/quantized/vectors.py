"""Which instructions multiply int8 on this CPU, and in what order weights lie for them; the same in plain loops.

Enter: weights as pack_int8() packs them, activations as quantize() rounds them. Leave: sums, in place. Every recipe
adds whole numbers exactly and then does the same float32 arithmetic, so all of them give the same bits (but on a CPU
without FMA, which rounds twice where others do once).
Next: quantized/products.py.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic

from ..kernels.compile import cpu_has, inner
from ..kernels.vectors import fma
from ..kernels.writer import BYTE, INT32, Writer, compiled, integer

GROUP = 64  # activations that share one scale: an outlier spoils only its neighbours (Dettmers et al. 2022 name them)
PANEL = 64  # columns of the weights that are multiplied together
LINE = 64  # bytes of memory that come together
AHEAD = 1024  # bytes; a single row waits for memory, which is so asked for what comes
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


# VNNI takes four unsigned times four signed bytes; without it, bytes become int16 as they are loaded, whose products
# in pairs are exact (unsigned bytes of any size in AVX2's own instruction for bytes would not be: it saturates)
RECIPES = {
    "avx512vnni": Recipe("vnni", "llvm.x86.avx512.vpdpbusd.512", 16, 4, 128),
    "avxvnni": Recipe("vnni", "llvm.x86.avx512.vpdpbusd.256", 8, 4, 128, 2),
    "avx512bw": Recipe("madd", "llvm.x86.avx512.pmaddw.d.512", 16, 2),
    "avx2": Recipe("madd", "llvm.x86.avx2.pmadd.wd", 8, 2, 0, 2),
    "dotprod": Recipe("sdot", "llvm.aarch64.neon.sdot.v4i32.v16i8", 4, 4),
}
PLAIN = Recipe("plain", "", 4, 2)
RECIPE = PLAIN if config.DISABLE_JIT else recipe_of(cpu_has)
TOGETHER, OFFSET = RECIPE.together, RECIPE.offset
ROWS, STRIP = RECIPE.rows, RECIPE.lanes * RECIPE.strip  # whose sums stay in registers
FLIP = np.int8(-128 if OFFSET else 0)  # w + 128 as an unsigned byte has the bits of w but for the first
ACTIVATION = np.int16 if TOGETHER == 2 else np.int8  # how a rounded activation is kept


def _make_group(recipe, n_rows):
    n_columns = recipe.strip

    @intrinsic
    def add_group(typingctx, weights, at, x, row, k, starts, scales, group, sums):
        """sums[:n_rows] += scales[row :, group] * (x[row : row + n_rows, k : k + GROUP] @ the panel's GROUP rows).

        `weights` from `at` on: [PANEL / STRIP, GROUP / TOGETHER, STRIP, TOGETHER]; `starts`: what OFFSET adds, negated.
        """

        def write(w: Writer, weights, at, x, row, k, starts, scales, group, sums):
            panel, rows = w.address(0, at, of=BYTE), w.rows(2, n_rows, row, k, of=BYTE)
            offsets = [w.broadcast(one, 0, recipe.lanes) for one in w.rows(5, n_rows, row, group, of=INT32)]
            begin = [offset for offset in offsets for _ in range(n_columns)]
            factors = [w.broadcast(one, 0, recipe.lanes) for one in w.rows(6, n_rows, row, group)]
            targets = w.rows(8, n_rows, integer(0), integer(0))

            def strip(first, _):
                of_strip = w.builder.gep(panel, [w.builder.mul(first, integer(GROUP))])
                totals = _multiply_strip(w, recipe, of_strip, rows, begin)
                for number, (factor, target) in enumerate(zip(factors, targets, strict=True)):
                    for v in range(n_columns):
                        place = w.builder.add(first, integer(v * recipe.lanes))
                        exact = w.builder.sitofp(totals[number * n_columns + v], factor.type)
                        w.store(w.fma(exact, factor, w.load(target, place, recipe.lanes)), target, place)
                return []

            w.loop(integer(PANEL), n_columns * recipe.lanes, [], strip)

        n = types.intp
        return compiled(types.void(weights, n, x, n, n, starts, scales, n, sums), write)

    return add_group


def _multiply_strip(w, recipe, strip, rows, begin):
    """Whole sums over a GROUP: of each row with the columns of a strip."""
    builder, size, n_columns = w.builder, recipe.lanes * recipe.together, recipe.strip

    def step(i, totals):
        columns = builder.gep(strip, [builder.mul(i, integer(n_columns * recipe.lanes))])
        for line in range(0, n_columns * size, LINE) if len(rows) == 1 else ():
            w.prefetch(columns, integer(AHEAD + line))
        columns = [_weights(w, recipe, builder.gep(columns, [integer(v * size)])) for v in range(n_columns)]
        place = builder.mul(i, integer(np.dtype(ACTIVATION).itemsize))
        values = [
            w.broadcast(builder.bitcast(builder.gep(row, [place]), INT32.as_pointer()), 0, recipe.lanes) for row in rows
        ]
        pairs = [(value, column) for value in values for column in columns]
        return [_add(w, recipe, one, *pair) for pair, one in zip(pairs, totals, strict=True)]

    return w.loop(integer(GROUP), recipe.together, begin, step)


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
    if recipe.name == "sdot":
        return w.call(recipe.instruction, total.type, total, weights, w.builder.bitcast(value, weights.type))
    return w.call(recipe.instruction, total.type, total, w.builder.bitcast(weights, total.type), value)


@inner
def _add_group(weights, at, x, row, k, starts, scales, group, sums):
    """The same in plain loops, for any CPU."""
    totals = np.empty(PANEL, np.int32)
    for number in range(len(sums)):
        totals[:] = starts[row + number, group]
        for i in range(0, GROUP, TOGETHER):
            for column in range(PANEL):
                place = at + column // STRIP * STRIP * GROUP + i * STRIP + column % STRIP * TOGETHER
                for n in range(TOGETHER):
                    totals[column] += np.int32(weights[place + n]) * np.int32(x[row + number, k + i + n])
        for column in range(PANEL):
            sums[number, column] = fma(np.float32(totals[column]), scales[row + number, group], sums[number, column])


add_one, add_rows = (_add_group if RECIPE == PLAIN else _make_group(RECIPE, n_rows) for n_rows in (1, ROWS))
