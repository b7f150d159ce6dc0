"""Matrix products on all cores: whole tiles for many rows, weights that stream by once for a few.

Enter and leave: as in ops.py. Cutting the work never changes a sum: each runs over its terms in pieces of DEPTH, in
order, whatever the number of threads and however many rows are multiplied together.
Next room: kernel_attention.py.
"""

import numpy as np
from numba import boolean, float32, intp, prange, void

from . import ops
from .kernel_compile import inner, kernel, n_threads, read
from .kernel_math import is_float32
from .kernel_tiles import DEPTH, ZERO, multiply
from .kernel_vectors import (
    GROUP,
    TILE_COLUMNS,
    VECTOR,
    dots_1,
    dots_2,
    dots_4,
    dots_8,
    fma,
    stream_1,
    stream_2,
    stream_4,
)

FEW_ROWS = 8  # up to so many rows a product waits for the weights, not for arithmetic
BLOCK = 512  # rows and columns that one core takes at a time: their panels fit the second cache
NO_BIAS = np.empty(0, np.float32)


# ---------------------------------------------------------------- as in ops.py


def linear(x, weight, bias):
    """See ops.linear; the weights of a few rows stream by once, from first to last."""
    if not is_float32(x, weight, bias) or not weight.flags.c_contiguous:
        return ops.linear(x, weight, bias)
    n_in, n_out = weight.shape
    rows = np.ascontiguousarray(x).reshape(-1, n_in)
    if len(rows) > FEW_ROWS:
        out = product(rows, weight, bias)
    else:
        padded = pad_rows(rows)
        out = np.empty((len(padded), n_out), np.float32)
        _few_rows_kernel(padded, weight, bias, share(n_out, VECTOR), out)
    return out[: len(rows)].reshape(*x.shape[:-1], n_out)


def linear_backward(dout, x, weight, bias):
    """See ops.linear_backward."""
    if not is_float32(dout, x, weight):
        return ops.linear_backward(dout, x, weight, bias)
    rows, drows = x.reshape(-1, x.shape[-1]), np.ascontiguousarray(dout).reshape(-1, dout.shape[-1])
    dbias = np.empty(drows.shape[1], np.float32)
    _sum_rows_kernel(drows, share(len(dbias), VECTOR), dbias)
    return product(drows, weight.T).reshape(x.shape), product(rows.T, drows), dbias


def unembed(x, weight):
    """See ops.unembed."""
    if not is_float32(x, weight) or not weight.flags.c_contiguous:
        return ops.unembed(x, weight)
    rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1])
    if len(rows) > FEW_ROWS:
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


def pad_rows(rows):
    """Rows of zeros below, up to 1, 2, 4 or 8 rows."""
    n = 1 << (len(rows) - 1).bit_length()
    if n == len(rows):
        return rows
    padded = np.zeros((n, rows.shape[1]), np.float32)
    padded[: len(rows)] = rows
    return padded


def share(n, step):
    """How much of `n` each thread takes, in whole steps: share(100, 16) -> 64 with two threads."""
    return -(-n // (n_threads() * step)) * step


def _blocks(n_stacks, n_rows, n_columns):
    """Rows and columns of a block, so that all threads have as much to do."""
    threads = n_threads()
    n_down, n_across = -(-n_rows // BLOCK), -(-n_columns // BLOCK)
    missing = -(-threads // np.gcd(threads, n_stacks * n_down * n_across))  # to a multiple of the threads
    if n_columns >= n_rows:
        n_across *= missing
    else:
        n_down *= missing
    across = -(-n_columns // (n_across * TILE_COLUMNS)) * TILE_COLUMNS
    return -(-n_rows // n_down), across


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
    n_heads, n_rows, n_columns = out.shape[1:]
    n_down, n_across = (n_rows + rows - 1) // rows, (n_columns + columns - 1) // columns
    n_blocks = n_down * n_across
    for task in prange(out.shape[0] * n_heads * n_blocks):
        stack, block = task // n_blocks, task % n_blocks
        batch, head = stack // n_heads, stack % n_heads
        i, j = block % n_down * rows, block // n_down * columns
        piece = out[batch, head, i : i + rows, j : j + columns]
        multiply(a[batch, head, i : i + rows], b[batch, head, :, j : j + columns], piece, add)
        if bias.size:
            _add_bias(piece, bias[j : j + columns])


@inner
def _add_bias(piece, bias):
    for i in range(piece.shape[0]):
        for j in range(piece.shape[1]):
            piece[i, j] += bias[j]


@kernel(void(read(float32[:, ::1]), intp, float32[::1]))
def _sum_rows_kernel(rows, each, out):
    for part in prange((out.size + each - 1) // each):
        first, end = part * each, min(out.size, (part + 1) * each)
        out[first:end] = ZERO
        for i in range(len(rows)):
            for j in range(first, end):
                out[j] += rows[i, j]


# ---------------------------------------------------------------- a few rows


@kernel(void(read(float32[:, ::1]), read(float32[:, :]), read(float32[::1]), intp, float32[:, ::1]))
def _few_rows_kernel(x, weight, bias, each, out):
    n_out = out.shape[1]
    for part in prange((n_out + each - 1) // each):
        first, end = part * each, min(n_out, (part + 1) * each)
        stream(x, weight, first, end, out)
        for row in range(len(out)):
            for j in range(first, end):
                out[row, j] += bias[j]


@inner
def stream(x, weight, first, end, out):
    """out[:, first:end] = x @ weight[:, first:end] for 1, 2, 4 or 8 rows."""
    n_rows, n_in = x.shape
    whole = (end - first) // VECTOR * VECTOR
    sums = np.empty((n_rows, end - first), np.float32)
    out[:, first:end] = ZERO
    for k in range(0, n_in, DEPTH):
        depth = min(DEPTH, n_in - k)
        grouped = depth // GROUP * GROUP if whole else 0
        sums[:] = ZERO
        for at in range(k, k + grouped, GROUP):
            if n_rows == 1:
                stream_1(x, at, weight, first, whole, sums)
            elif n_rows == 2:
                stream_2(x, at, weight, first, whole, sums)
            else:
                for row in range(0, n_rows, 4):  # eight at once would need more registers than there are
                    stream_4(x[row:], at, weight, first, whole, sums[row:])
        _add_each(x, weight, k, grouped, depth, first, whole, sums)
        for row in range(n_rows):
            for j in range(end - first):
                out[row, first + j] += sums[row, j]


@inner
def _add_each(x, weight, k, grouped, depth, first, whole, sums):
    """What the vectors left out: the last columns, and all columns of the last rows of the weights."""
    for row in range(len(x)):
        for step in range(depth):
            for j in range(whole if step < grouped else 0, sums.shape[1]):
                sums[row, j] = fma(x[row, k + step], weight[k + step, first + j], sums[row, j])


@kernel(void(read(float32[:, ::1]), read(float32[:, ::1]), intp, float32[:, ::1]))
def _few_dots_kernel(x, weight, each, out):
    n_vocab = len(weight)
    for part in prange((n_vocab + each - 1) // each):
        dots(x, weight, part * each, min(n_vocab, (part + 1) * each), out)


@inner
def dots(x, weight, first, end, out):
    """out[:, first:end] = x @ weight[first:end].T for 1, 2, 4 or 8 rows of x."""
    n_rows, width = x.shape
    at_once = 16 // max(n_rows, 2)
    whole = width if width % VECTOR == 0 and len(weight) >= FEW_ROWS else 0
    if whole == 0:
        out[:, first:end] = ZERO
    else:
        for i in range(first, end, at_once):
            at = max(min(i, end - at_once), 0)  # the last step may do again what is done, with the same result
            if n_rows == 1:
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
