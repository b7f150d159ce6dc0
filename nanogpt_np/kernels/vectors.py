"""Vector instructions that Numba's loops do not find by themselves, as functions for compiled code.

Enter: float32 arrays whose last axis is contiguous, and places in them; what streams by may be int8. Leave: arrays
changed in place. Each function writes LLVM instructions (an `@intrinsic`); below stands the same in NumPy, which runs
under NUMBA_DISABLE_JIT=1. Next: kernels/tiles.py.
"""

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from .compile import is_amd
from .writer import FLOAT, INT32, TILE_COLUMNS, TILE_ROWS, TILE_VECTORS, VECTOR, compiled, integer, zeros

GROUP = 8  # rows of the weights that stream by together; the next 8 are asked for meanwhile
RUN = 8  # rows that are packed together, likewise
LINE = 16  # numbers of memory that come together
TURN = 8 if TILE_ROWS == 8 else 4  # rows that are transposed together, a power of two
TALL = TILE_ROWS if TILE_COLUMNS % TILE_ROWS else TILE_COLUMNS  # columns that copy_tall() takes at a time
# rows of the weights that are read side by side for 1, 2, 4 or 8 rows of x, of which ROWS at a time: the sums stay in
# registers beside what they are made of. AVX2 has 16, others 32; a single row of weights is what CPUs fetch ahead best
BESIDE, ROWS = ((0, 1, 4, 0, 3, 0, 0, 0, 3), 4) if VECTOR == 8 else ((0, 1, 8, 0, 4, 0, 0, 0, 2), 8)
MIXED = 64, 32  # columns of a head that one row is multiplied by, all of which fit the registers
SHORT = 8  # rows of int8, or of a head, likewise for one row of x: a single sum, vector after vector, is slower
ASKED = 2  # rows of the weights, next to be packed, for each tile
COMING = 3 * LINE  # so far ahead of many rows that are read side by side
AHEAD = 320 if is_amd() else 1024  # numbers: so far ahead of the one row that is read, as measured on Zen 3 and Xeon


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c of float32 numbers, rounded once, as the vectors do it; loops over it become vectors themselves."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(FLOAT, [FLOAT] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.f32"), args)

    return types.float32(types.float32, types.float32, types.float32), codegen


# ---------------------------------------------------------------- tiles of a product of many rows


def _write_tile(w, a, a_at, b, b_at, n_k, c, i, j, add, meanwhile=()):
    """What multiply_tile() does; the lines at the addresses `meanwhile` are asked for, number by number."""
    b_panel, a_panel = w.address(2, b_at), w.address(0, a_at)

    def step(k, sums):
        for address in meanwhile:
            w.prefetch(address, k)
        at_b, at_a = w.builder.mul(k, integer(TILE_COLUMNS)), w.builder.mul(k, integer(TILE_ROWS))
        b_row = w.builder.gep(b_panel, [at_b])
        columns = [w.load(b_row, v * VECTOR) for v in range(TILE_VECTORS)]
        a_row = w.builder.gep(a_panel, [at_a])
        values = [w.broadcast(a_row, row) for row in range(TILE_ROWS)]
        pairs = [(value, column) for value in values for column in columns]
        return [w.fma(value, column, one) for (value, column), one in zip(pairs, sums, strict=True)]

    sums = w.loop(n_k, 1, zeros(TILE_ROWS * TILE_VECTORS), step)
    places = [(row, v * VECTOR) for row in w.rows(5, TILE_ROWS, i, j) for v in range(TILE_VECTORS)]
    with w.builder.if_else(add) as (added, stored):
        with added:
            for (row, at), one in zip(places, sums, strict=True):
                w.store(w.builder.fadd(w.load(row, at), one), row, at)
        with stored:
            for (row, at), one in zip(places, sums, strict=True):
                w.store(one, row, at)


@intrinsic
def multiply_tile(typingctx, a, a_at, b, b_at, n_k, c, i, j, add):
    """c[i : i + TILE_ROWS, j : j + TILE_COLUMNS] = the product of two packed panels, or += where `add`.

    `a` from `a_at` on: [n_k, TILE_ROWS]; `b` from `b_at` on: [n_k, TILE_COLUMNS]. All sums stay in registers.
    """
    n = types.intp
    return compiled(types.void(a, n, b, n, n, c, n, n, types.boolean), _write_tile)


@intrinsic
def multiply_tile_asking(typingctx, a, a_at, b, b_at, n_k, c, i, j, add, coming, row):
    """The same; meanwhile coming[row : row + ASKED, :n_k] are asked for, evenly: many at once would hold it up."""

    def write(w, *args):
        _write_tile(w, *args[:9], meanwhile=w.rows(9, ASKED, args[10], integer(0)))

    n = types.intp
    return compiled(types.void(a, n, b, n, n, c, n, n, types.boolean, coming, n), write)


@intrinsic
def transpose_lines(typingctx, a, i, j, out, at, step):
    """out[at + column * step + row] = a[i + row, j + column] for TURN rows and a whole line of columns.

    A line is read once, as rows that lie many pages apart share few places of the first cache.
    """

    def write(w, a, i, j, out, at, step):
        rows, first = w.rows(0, TURN, i, j), w.address(3, at)
        for row in rows:
            w.prefetch(row, integer(COMING))
        for start in range(0, LINE, TURN):
            for column, vector in enumerate(_turned(w, [w.load(row, start, TURN) for row in rows])):
                w.store(vector, first, w.builder.mul(step, integer(start + column)))

    n = types.intp
    return compiled(types.void(a, n, n, out, n, n), write)


def _turned(w, rows):
    """Vectors as long as they are many -> as many, of what stood side by side: interleaved as often as 2 divides it."""
    size, half = len(rows), len(rows) // 2
    kind = ir.VectorType(INT32, size)
    low, high = (
        ir.Constant(kind, [n for column in columns for n in (column, size + column)])
        for columns in (range(half), range(half, size))
    )
    for _ in range(size.bit_length() - 1):
        pairs = list(zip(rows[:half], rows[half:], strict=True))
        rows = [w.builder.shuffle_vector(*pair, order) for pair in pairs for order in (low, high)]
    return rows


def _make_copy(width, n_columns):
    @intrinsic
    def copy_lines(typingctx, a, i, j, out, at, apart):
        """`n_columns` of RUN rows from a[i, j] on, into panels that are `width` of them wide.

        The first panel lies from `at` on, the next `apart` numbers behind it; a row's numbers lie together.
        The rows below are asked for meanwhile: each lies on a page of its own, so the CPU by itself fetches nothing.
        """

        def write(w, a, i, j, out, at, apart):
            rows, coming = w.rows(0, RUN, i, j), w.rows(0, RUN, w.builder.add(i, integer(RUN)), j)
            first = w.address(3, at)
            for number, row in enumerate(rows):
                for line in range(0, n_columns, LINE):
                    w.prefetch(coming[number], integer(line))
                for panel, start in enumerate(range(0, n_columns, width)):
                    target = w.builder.gep(first, [w.builder.mul(apart, integer(panel))])
                    for column in range(0, width, min(width, VECTOR)):
                        values = w.load(row, start + column, min(width, VECTOR))
                        w.store(values, target, number * width + column)

        n = types.intp
        return compiled(types.void(a, n, n, out, n, n), write)

    return copy_lines


copy_tall, copy_wide = _make_copy(TILE_ROWS, TALL), _make_copy(TILE_COLUMNS, TILE_COLUMNS)


# ---------------------------------------------------------------- a few rows, while the weights stream by


def _make_stream(n_rows):
    @intrinsic
    def stream(typingctx, x, k, weight, j, n, sums):
        """sums[:n_rows, :n] += (x[:n_rows] @ weight)[:, j : j + n] over k to k + GROUP; n is a multiple of VECTOR."""

        def write(w, x, k, weight, j, n, sums):
            rows, below = w.rows(2, GROUP, k, j), w.builder.add(k, integer(GROUP))
            coming = w.rows(2, GROUP, below, j)
            inputs, targets = w.rows(0, n_rows, integer(0), k), w.rows(5, n_rows, integer(0), integer(0))

            def step(at, _):
                vectors = [w.load(row, at) for row in rows]
                for row in coming:
                    w.prefetch(row, at)
                for inputs_row, target in zip(inputs, targets, strict=True):
                    one = w.load(target, at)
                    for g, vector in enumerate(vectors):
                        one = w.fma(w.broadcast(inputs_row, g), vector, one)
                    w.store(one, target, at)
                return []

            w.loop(n, VECTOR, [], step)

        n_type = types.intp
        return compiled(types.void(x, n_type, weight, n_type, n_type, sums), write)

    return stream


def _make_mix(n_columns):
    @intrinsic
    def mix(typingctx, x, k, n_k, weight, j, sums):
        """sums[0, j : j + n_columns] = (x[:1] @ weight)[0, those] over k to k + n_k; the sums stay in registers."""

        def write(w, x, k, n_k, weight, j, sums):
            first, shares, target = w.address(3, k, j), w.address(0, integer(0), k), w.address(5, integer(0), j)
            stride = w.builder.extract_value(w.array(3).strides, 0)
            lanes = range(0, n_columns, VECTOR)

            def step(i, sums):
                row, share = w.further(first, w.builder.mul(i, stride)), w.broadcast(shares, i)
                return [w.fma(share, w.load(row, at), one) for at, one in zip(lanes, sums, strict=True)]

            for at, one in zip(lanes, w.loop(n_k, 1, zeros(len(lanes)), step), strict=True):
                w.store(one, target, at)

        n = types.intp
        return compiled(types.void(x, n, n, weight, n, sums), write)

    return mix


def _make_dots(n_rows, n_weights=None):
    n_weights, together = n_weights or BESIDE[n_rows], min(n_rows, ROWS)

    @intrinsic
    def dots(typingctx, x, weight, i, n, out):
        """out[:, i : i + n_weights] = x[:, :n] @ weight[those rows, :n].T; n is a multiple of VECTOR."""

        def write(w, x, weight, i, n, out):
            rows, inputs = w.rows(1, n_weights, i, integer(0)), w.rows(0, n_rows, integer(0), integer(0))
            coming = w.rows(1, n_weights, w.builder.add(i, integer(n_weights)), integer(0))
            targets = w.rows(4, n_rows, integer(0), i)
            for first in range(0, n_rows, together):
                few = slice(first, first + together)
                _write_dots(w, rows, coming if first == 0 else [], inputs[few], n, targets[few])

        n_type = types.intp
        return compiled(types.void(x, weight, n_type, n_type, out), write)

    return dots


def _write_dots(w, rows, coming, inputs, n, targets):
    """Sums of each of some rows of x with each of some of the weights; those that are `coming` are asked for."""

    def step(at, sums):
        vectors, parts = [w.load(row, at) for row in rows], [w.load(row, at) for row in inputs]
        if len(inputs) > 1:
            for row in coming:
                w.prefetch(row, at)
        elif len(rows) > 1:  # short rows, one behind the other
            w.prefetch(coming[0], w.builder.mul(at, integer(len(rows))))
        else:
            w.prefetch(rows[0], w.builder.add(at, integer(AHEAD)))
        pairs = [(part, vector) for part in parts for vector in vectors]
        return [w.fma(*pair, one) for pair, one in zip(pairs, sums, strict=True)]

    sums = w.loop(n, VECTOR, zeros(len(inputs) * len(rows)), step)
    for number, target in enumerate(targets):
        for at in range(len(rows)):
            w.builder.store(w.total(sums[number * len(rows) + at]), w.builder.gep(target, [integer(at)]))


stream_1, stream_2, stream_4 = map(_make_stream, (1, 2, 4))
mix_wide, mix_narrow = map(_make_mix, MIXED)
dots_1, dots_2, dots_4, dots_8 = map(_make_dots, (1, 2, 4, 8))
dots_1_short = _make_dots(1, SHORT)


if config.DISABLE_JIT:

    def fma(a, b, c):
        return a * b + c

    def multiply_tile(a, a_at, b, b_at, n_k, c, i, j, add):
        a = a[a_at : a_at + n_k * TILE_ROWS].reshape(n_k, TILE_ROWS)
        b = b[b_at : b_at + n_k * TILE_COLUMNS].reshape(n_k, TILE_COLUMNS)
        tile = c[i : i + TILE_ROWS, j : j + TILE_COLUMNS]
        tile[:] = (tile if add else 0) + a.T @ b

    def multiply_tile_asking(a, a_at, b, b_at, n_k, c, i, j, add, coming, row):
        multiply_tile(a, a_at, b, b_at, n_k, c, i, j, add)

    def transpose_lines(a, i, j, out, at, step):
        for column in range(LINE):
            out[at + column * step :][:TURN] = a[i : i + TURN, j + column]

    def copy_tall(a, i, j, out, at, apart, width=TILE_ROWS, n_columns=TALL):
        for panel in range(n_columns // width):
            start = j + panel * width
            out[at + panel * apart :][: RUN * width] = a[i : i + RUN, start : start + width].reshape(-1)

    def copy_wide(a, i, j, out, at, apart):
        copy_tall(a, i, j, out, at, apart, TILE_COLUMNS, TILE_COLUMNS)

    def stream_1(x, k, weight, j, n, sums):
        sums[:4, :n] += x[:4, k : k + GROUP] @ weight[k : k + GROUP, j : j + n]

    def dots_1(x, weight, i, n, out):
        at_once = BESIDE[len(x)]
        out[:, i : i + at_once] = x[:, :n] @ weight[i : i + at_once, :n].T

    stream_2 = stream_4 = stream_1

    def mix_wide(x, k, n_k, weight, j, sums, n_columns=MIXED[0]):
        columns = slice(j, j + n_columns)
        sums[0, columns] = x[0, k : k + n_k] @ weight[k : k + n_k, columns]

    def mix_narrow(x, k, n_k, weight, j, sums):
        mix_wide(x, k, n_k, weight, j, sums, MIXED[1])

    dots_2 = dots_4 = dots_8 = dots_1

    def dots_1_short(x, weight, i, n, out):
        out[:, i : i + SHORT] = x[:, :n] @ weight[i : i + SHORT, :n].T
