"""Matrix products on all cores: whole tiles for many rows, weights that stream by once for a few.

Enter and leave: as in ops.py. Cutting the work never changes a sum: each runs over its terms in pieces of DEPTH, in
order, whatever the number of threads and however many rows are multiplied together. Next: kernels/attention.py.
"""

import numpy as np
from numba import boolean, float32, int8, intp, void
from numba.extending import register_jitable

from .. import ops
from .calls import shared
from .compile import inner, kernel, n_threads, read
from .cores import spread
from .math import ZERO, is_float32
from .tiles import DEPTH, multiply
from .vectors import (
    BESIDE,
    GROUP,
    MIXED,
    SHORT,
    dots_1,
    dots_1_short,
    dots_2,
    dots_4,
    dots_8,
    fma,
    mix_narrow,
    mix_wide,
    stream_1,
    stream_2,
    stream_4,
)  # fmt: skip
from .writer import TILE_COLUMNS, VECTOR

FEW_ROWS = 8  # up to so many rows a product waits for the weights, not for arithmetic
# as many sums as FEW_ROWS make, over weights that lie by output, are as fast as tiles are once these have been packed;
# so some more rows go without packing: by registers, how many, and how many of inputs that are wide, as those of more
# leave the first cache
SOME_ROWS, SOME_WIDE_ROWS = {16: (64, 16), 8: (24, 24)}.get(VECTOR, (FEW_ROWS, FEW_ROWS))
WIDE = 1024
AT_ONCE = 64  # rows of the weights that are multiplied by FEW_ROWS at a time, and so stay in the second cache
A_HEAD = 128  # columns: what is wider are weights, which wait for memory and stream by one row after the other
BLOCK = 512  # rows and columns that one core takes at a time: their panels fit the second cache
NO_BIAS = np.empty(0, np.float32)


# ---------------------------------------------------------------- as in ops.py


def linear(x, weight, bias):
    """See ops.linear; `weight` may lie by input, as NumPy makes it, or by output (its .T is contiguous)."""
    if not is_float32(x, weight, bias) or not (weight.flags.c_contiguous or weight.flags.f_contiguous):
        return ops.linear(x, weight, bias)
    n_in, n_out = weight.shape
    rows = np.ascontiguousarray(x).reshape(-1, n_in)
    if by_dots(len(rows), n_in) and not weight.flags.c_contiguous:
        return unembed(x, weight.T) + bias
    if len(rows) > FEW_ROWS:
        return product(rows, weight, bias).reshape(*x.shape[:-1], n_out)
    padded = pad_rows(rows)
    out = np.empty((len(padded), n_out), np.float32)
    _few_rows_kernel(padded, weight, bias, n_threads(), out)
    return out[: len(rows)].reshape(*x.shape[:-1], n_out)


def linear_backward(dout, x, weight, bias):
    """See ops.linear_backward."""
    if not is_float32(dout, x, weight):
        return ops.linear_backward(dout, x, weight, bias)
    rows, drows = x.reshape(-1, x.shape[-1]), np.ascontiguousarray(dout).reshape(-1, dout.shape[-1])
    dbias = np.empty(drows.shape[1], np.float32)
    _sum_rows_kernel(drows, share(len(dbias), VECTOR), dbias)
    by_output = not weight.flags.c_contiguous  # then its gradient is, too: what adds the two need not turn either
    dweight = product(drows.T, rows).T if by_output else product(rows.T, drows)
    return product(drows, weight.T).reshape(x.shape), dweight, dbias


def unembed(x, weight):
    """See ops.unembed."""
    if not is_float32(x, weight) or not weight.flags.c_contiguous:
        return ops.unembed(x, weight)
    rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1])
    if not by_dots(*rows.shape):
        return product(rows, weight.T).reshape(*x.shape[:-1], len(weight))
    padded = pad_rows(rows)
    out = np.empty((len(padded), len(weight)), np.float32)
    _few_dots_kernel(padded, weight, share(len(weight), 1), out)
    return out[: len(rows)].reshape(*x.shape[:-1], len(weight))


def product(a, b, bias=NO_BIAS, out=None, add=False):
    """a @ b + bias of float32 matrices, or of stacks of them with the same leading axes; `out`, `add`: += in place."""
    if out is None:
        out = np.empty((*a.shape[:-1], b.shape[-1]), np.float32)
    lead = (1,) * (4 - a.ndim)
    stacks = [array.reshape(lead + array.shape) if lead else array for array in (a, b, out)]
    n_rows, n_columns = out.shape[-2:]
    blocks = _blocks(stacks[2].shape[0] * stacks[2].shape[1], n_rows, n_columns)
    _product_kernel(stacks[0], stacks[1], bias, stacks[2], add, *blocks)
    return out


@register_jitable
def by_dots(n_rows, n_in):
    """Are there so few rows that each output is best made as one sum, over weights that lie by output?"""
    return n_rows <= (SOME_ROWS if n_in <= WIDE else SOME_WIDE_ROWS)


def pad_rows(rows):  # [..., n_rows, n] -> [..., n_padded, n]
    """Contiguous, and with rows of zeros below, as many as n_padded() says."""
    *leading, n_rows, n = rows.shape
    if n_padded(n_rows) == n_rows:
        return np.ascontiguousarray(rows)
    padded = np.zeros((*leading, n_padded(n_rows), n), np.float32)
    padded[..., :n_rows, :] = rows
    return padded


def n_padded(n_rows):
    """How many rows dots() takes for these: 1, 2, 4, 8, 16, 24 …; many stay as many: n_padded(3) -> 4"""
    if n_rows <= FEW_ROWS:
        return 1 << (n_rows - 1).bit_length()
    return -(-n_rows // FEW_ROWS) * FEW_ROWS if n_rows <= SOME_ROWS else n_rows


def share(n, step):
    """How much of `n` each thread takes, in whole steps: share(100, 16) -> 64 with two threads."""
    return -(-n // (n_threads() * step)) * step


def _blocks(n_stacks, n_rows, n_columns):
    """Rows and columns of a block, so that all threads have as much to do: _blocks(1, 64, 2304) -> (64, 384)"""
    threads = n_threads()
    down, across = -(-n_rows // BLOCK), -(-n_columns // BLOCK)
    for n in range(max(down, across), max(down, across) + 2 * threads):
        n_down, n_across = (down, max(n, across)) if n_columns >= n_rows else (max(n, down), across)
        rows, columns = -(-n_rows // n_down), -(-n_columns // (n_across * TILE_COLUMNS)) * TILE_COLUMNS
        if n_stacks * -(-n_rows // rows) * -(-n_columns // columns) % threads == 0:
            return rows, columns
    return -(-n_rows // down), -(-n_columns // (across * TILE_COLUMNS)) * TILE_COLUMNS


# ---------------------------------------------------------------- many rows


@kernel(
    void(
        read(float32[:, :, :, :]),
        read(float32[:, :, :, :]),
        read(float32[::1]),
        float32[:, :, :, :],
        boolean,
        intp,
        intp,
    )
)
def _product_kernel(a, b, bias, out, add, rows, columns):
    n_batch, n_heads, n_rows, n_columns = out.shape
    n_down, n_across = (n_rows + rows - 1) // rows, (n_columns + columns - 1) // columns
    spread(n_batch * n_heads * n_down * n_across, _multiply_block, (a, b, bias, out, add, rows, columns))


@inner
def _multiply_block(task, a, b, bias, out, add, rows, columns):
    n_heads, n_rows, n_columns = out.shape[1:]
    n_down, n_across = (n_rows + rows - 1) // rows, (n_columns + columns - 1) // columns
    stack, block = task // (n_down * n_across), task % (n_down * n_across)
    batch, head = stack // n_heads, stack % n_heads
    i, j = block % n_down * rows, block // n_down * columns
    piece = out[batch, head, i : i + rows, j : j + columns]
    multiply(a[batch, head, i : i + rows], b[batch, head, :, j : j + columns], piece, add)
    if bias.size:
        add_bias(bias[j : j + columns], 0, piece.shape[1], piece)


@kernel(void(read(float32[:, ::1]), intp, float32[::1]), early=False)
def _sum_rows_kernel(rows, each, out):
    spread((out.size + each - 1) // each, _sum_columns, (rows, each, out))


@inner
def _sum_columns(part, rows, each, out):
    first, end = part * each, min(out.size, (part + 1) * each)
    out[first:end] = ZERO
    for i in range(len(rows)):
        for j in range(first, end):
            out[j] += rows[i, j]


# ---------------------------------------------------------------- a few rows


@kernel(void(read(float32[:, ::1]), read(float32[:, ::1]), read(float32[::1]), intp, float32[:, ::1]))
def _few_rows_kernel(x, weight, bias, n_parts, out):
    spread(n_parts, _stream_part, (x, weight, bias, n_parts, out))


@inner
def _stream_part(part, x, weight, bias, n_parts, out):
    n_out = out.shape[1]
    first, end = part * n_out // n_parts, (part + 1) * n_out // n_parts
    stream(x, weight[:, first:end], out[:, first:end])
    add_bias(bias, first, end, out)


@inner
def add_bias(bias, first, end, out):
    """Columns `first` to `end` of out += bias."""
    for row in range(len(out)):
        for j in range(first, end):
            out[row, j] += bias[j]


@shared(void(read(float32[:, :]), read(float32[:, :]), float32[:, :]))
def stream(x, weight, out):
    """out = x @ weight for 1, 2, 4 or 8 rows, on one core."""
    _stream(x, weight, out)


@shared(void(read(float32[:, :]), read(int8[:, :]), float32[:, :]))
def stream_int8(x, weight, out):
    """The same where the weights are int8."""
    _stream(x, weight, out)


@inner
def _stream(x, weight, out):
    sums = np.empty(out.shape, np.float32)
    out[:] = ZERO
    for k in range(0, x.shape[1], DEPTH):
        depth = min(DEPTH, x.shape[1] - k)
        mixed = mix_piece(x, weight, k, depth, sums) if len(x) == 1 and out.shape[1] <= A_HEAD else 0
        if mixed < out.shape[1]:
            stream_piece(x, weight, k, depth, mixed, out.shape[1], sums)
        for row in range(len(out)):
            for j in range(out.shape[1]):
                out[row, j] += sums[row, j]


@inner
def mix_piece(x, weight, k, depth, sums):
    """What stream_piece() does of one row and a head's values -> up to which column."""
    j = 0
    while j + MIXED[1] <= sums.shape[1]:
        if j + MIXED[0] <= sums.shape[1]:
            mix_wide(x, k, depth, weight, j, sums)
            j += MIXED[0]
        else:
            mix_narrow(x, k, depth, weight, j, sums)
            j += MIXED[1]
    return j


@inner
def stream_piece(x, weight, k, depth, first, end, sums):
    """sums[:, first:end] = x[:, k : k + depth] @ weight[k : k + depth, first:end] for 1, 2, 4 or 8 rows."""
    n_rows = len(x)
    whole = (end - first) // VECTOR * VECTOR
    grouped = depth // GROUP * GROUP if whole else 0
    sums[:, first:end] = ZERO
    for at in range(k, k + grouped, GROUP):
        if n_rows == 1:
            stream_1(x, at, weight, first, whole, sums[:, first:])
        elif n_rows == 2:
            stream_2(x, at, weight, first, whole, sums[:, first:])
        else:
            for row in range(0, n_rows, 4):  # eight at once would need more registers than there are
                stream_4(x[row:], at, weight, first, whole, sums[row:, first:])
    for row in range(n_rows):  # what the vectors left out: the last columns, and all columns of the last weights
        for step in range(depth):
            for j in range(first + (whole if step < grouped else 0), end):
                sums[row, j] = fma(x[row, k + step], weight[k + step, j], sums[row, j])


@kernel(void(read(float32[:, ::1]), read(float32[:, ::1]), intp, float32[:, ::1]))
def _few_dots_kernel(x, weight, each, out):
    spread((len(weight) + each - 1) // each, _dots_part, (x, weight, each, out))


@inner
def _dots_part(part, x, weight, each, out):
    dots(x, weight, part * each, min(len(weight), (part + 1) * each), out)


@shared(void(read(float32[:, :]), read(float32[:, :]), intp, intp, float32[:, :]))
def dots(x, weight, first, end, out):
    """out[:, first:end] = x @ weight[first:end].T for 1, 2, 4, 8, 16, 24 … rows of x, on one core."""
    if len(x) <= FEW_ROWS:
        _dots(x, weight, first, end, out)
        return
    for start in range(first, end, AT_ONCE):
        for row in range(0, len(x), FEW_ROWS):
            _dots(x[row : row + FEW_ROWS], weight, start, min(end, start + AT_ONCE), out[row : row + FEW_ROWS])


@shared(void(read(float32[:, :]), read(int8[:, :]), intp, intp, float32[:, :]))
def dots_int8(x, weight, first, end, out):
    """The same where the weights are int8."""
    _dots(x, weight, first, end, out)


@inner
def _dots(x, weight, first, end, out):
    n_rows, width = x.shape
    is_short = n_rows == 1 and (weight.itemsize == 1 or width <= A_HEAD)
    at_once = SHORT if is_short else BESIDE[n_rows]
    whole = width if width % VECTOR == 0 and len(weight) >= FEW_ROWS else 0
    if whole == 0:
        out[:, first:end] = ZERO
    else:
        for i in range(first, end, at_once):
            at = max(min(i, end - at_once), 0)  # the last step may do again what is done, with the same result
            if is_short:
                dots_1_short(x, weight, at, whole, out)
            elif n_rows == 1:
                dots_1(x, weight, at, whole, out)
            elif n_rows == 2:
                dots_2(x, weight, at, whole, out)
            elif n_rows == 4:
                dots_4(x, weight, at, whole, out)
            else:
                dots_8(x, weight, at, whole, out)
    for row in range(n_rows):
        for i in range(first, end):
            for j in range(whole, width):
                out[row, i] = fma(x[row, j], weight[i, j], out[row, i])
