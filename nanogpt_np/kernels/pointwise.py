"""What goes over memory once, value by value or row by row: GELU, dropout, layer norm, heads side by side.

Enter and leave: as in ops.py, which is the definition; float32 runs here, any other dtype is handed to ops.py.
Each kernel is a private `_name_kernel` under a wrapper that allocates. Next: kernels/training.py.
"""

import numpy as np
from numba import float32, intp, uint8, void

from .. import ops
from .compile import inner, kernel, read
from .cores import spread
from .math import (
    GELU_CUBE,
    GELU_SCALE,
    ONE,
    SMALL,
    THREE,
    ZERO,
    exp,
    gelu_new_row,
    is_float32,
    layer_norm_row,
    mean_and_rstd,
)
from .products import share

N_PARTS = 16  # partial sums over rows, added up in this order whatever the number of threads

# ---------------------------------------------------------------- gelu


def gelu_new(x):
    """See ops.gelu_new; x (1 + tanh(u)) / 2 is x / (1 + exp(-2u))."""
    if not is_float32(x):
        return ops.gelu_new(x)
    x = np.ascontiguousarray(x)
    out = np.empty_like(x)
    _gelu_new_kernel(x.reshape(-1), x.size if x.size < SMALL else share(x.size, 16), out.reshape(-1))
    return out


@kernel(void(read(float32[::1]), intp, float32[::1]))
def _gelu_new_kernel(x, each, out):
    spread((x.size + each - 1) // each, _gelu_new_part, (x, each, out))


@inner
def _gelu_new_part(part, x, each, out):
    gelu_new_row(x[part * each : (part + 1) * each], out[part * each : (part + 1) * each])


def gelu_new_backward(dout, x):
    """See ops.gelu_new_backward; with s = 1 / (1 + exp(-2u)) the derivative is s + x s (1 - s) 2u'."""
    if not is_float32(dout, x):
        return ops.gelu_new_backward(dout, x)
    dout, x = np.ascontiguousarray(dout), np.ascontiguousarray(x)
    dx = np.empty_like(x)
    _gelu_new_backward_kernel(dout.reshape(-1), x.reshape(-1), share(x.size, 16), dx.reshape(-1))
    return dx


@kernel(void(read(float32[::1]), read(float32[::1]), intp, float32[::1]), early=False)
def _gelu_new_backward_kernel(dout, x, each, dx):
    spread((x.size + each - 1) // each, _gelu_new_backward_part, (dout, x, each, dx))


@inner
def _gelu_new_backward_part(part, dout, x, each, dx):
    places = slice(part * each, (part + 1) * each)
    _gelu_new_backward(dout[places], x[places], dx[places])


@inner
def _gelu_new_backward(dout, x, dx):
    for i in range(x.size):
        value = x[i]
        cube = GELU_CUBE * value * value
        s = ONE / (ONE + exp(-GELU_SCALE * value * (ONE + cube)))
        dx[i] = dout[i] * (s + value * s * (ONE - s) * GELU_SCALE * (ONE + THREE * cube))


# ---------------------------------------------------------------- dropout


def dropout(x, keep, rate):
    """See ops.dropout; the same bits, but for the sign of a zero."""
    if not is_float32(x) or x.size < SMALL or x.shape != keep.shape:
        return ops.dropout(x, keep, rate)
    x, keep = np.ascontiguousarray(x), np.ascontiguousarray(keep, bool)
    out = np.empty_like(x)
    scale = np.float32(1.0 / (1.0 - rate))
    _dropout_kernel(x.reshape(-1), keep.reshape(-1).view(np.uint8), scale, share(x.size, 16), out.reshape(-1))
    return out


@kernel(void(read(float32[::1]), read(uint8[::1]), float32, intp, float32[::1]), early=False)
def _dropout_kernel(x, keep, scale, each, out):
    spread((x.size + each - 1) // each, _dropout_part, (x, keep, scale, each, out))


@inner
def _dropout_part(part, x, keep, scale, each, out):
    for i in range(part * each, min((part + 1) * each, x.size)):
        out[i] = x[i] * float32(keep[i]) * scale


def dropout_backward(dout, keep, rate):
    """See ops.dropout_backward: what was kept grew, so its gradient does."""
    return dropout(dout, keep, rate)


# ---------------------------------------------------------------- layer norm


def layer_norm(x, weight, bias, eps=1e-5):
    """See ops.layer_norm."""
    if not is_float32(x, weight, bias):
        return ops.layer_norm(x, weight, bias, eps)
    x = np.ascontiguousarray(x)
    out = np.empty_like(x)
    width = x.shape[-1]
    rows = x.reshape(-1, width)
    each = len(rows) if x.size < SMALL else share(len(rows), 1)
    _layer_norm_kernel(rows, weight, bias, np.float32(eps), each, out.reshape(-1, width))
    return out


@kernel(void(read(float32[:, ::1]), read(float32[::1]), read(float32[::1]), float32, intp, float32[:, ::1]))
def _layer_norm_kernel(x, weight, bias, eps, each, out):
    spread((len(x) + each - 1) // each, _layer_norm_part, (x, weight, bias, eps, each, out))


@inner
def _layer_norm_part(part, x, weight, bias, eps, each, out):
    for i in range(part * each, min((part + 1) * each, len(x))):
        layer_norm_row(x[i], weight, bias, eps, out[i])


def layer_norm_backward(dout, x, weight, bias, eps=1e-5):
    """See ops.layer_norm_backward."""
    if not is_float32(dout, x, weight):
        return ops.layer_norm_backward(dout, x, weight, bias, eps)
    width = x.shape[-1]
    dout, rows = np.ascontiguousarray(dout).reshape(-1, width), np.ascontiguousarray(x).reshape(-1, width)
    dx = np.empty_like(rows)
    parts = np.zeros((2, N_PARTS, width), np.float32)  # short sums, then their sum: less rounding than one long one
    _layer_norm_backward_kernel(dout, rows, weight, np.float32(eps), dx, parts)
    dweight, dbias = parts.sum(axis=1)
    return dx.reshape(x.shape), dweight, dbias


ROWS = read(float32[:, ::1])


@kernel(void(ROWS, ROWS, read(float32[::1]), float32, float32[:, ::1], float32[:, :, ::1]), early=False)
def _layer_norm_backward_kernel(dout, x, weight, eps, dx, parts):
    spread(N_PARTS, _layer_norm_backward_part, (dout, x, weight, eps, dx, parts))


@inner
def _layer_norm_backward_part(part, dout, x, weight, eps, dx, parts):
    n_rows, width = x.shape
    n_piece = (n_rows + N_PARTS - 1) // N_PARTS
    dweight, dbias = parts[0, part], parts[1, part]
    for i in range(part * n_piece, min(n_rows, (part + 1) * n_piece)):
        mean, rstd = mean_and_rstd(x[i], eps)
        along_one, along_normed = ZERO, ZERO
        for j in range(width):
            dnormed = dout[i, j] * weight[j]
            along_one += dnormed
            along_normed += dnormed * (x[i, j] - mean) * rstd
        along_one /= np.float32(width)
        along_normed /= np.float32(width)
        for j in range(width):
            normed = (x[i, j] - mean) * rstd
            dweight[j] += dout[i, j] * normed
            dbias[j] += dout[i, j]
            dx[i, j] = (dout[i, j] * weight[j] - along_one - normed * along_normed) * rstd


def merge_heads(x):
    """See ops.merge_heads."""
    if not is_float32(x) or x.ndim != 4 or x.size < SMALL:
        return ops.merge_heads(x)
    n_batch, n_head, n_seq, d_head = x.shape
    out = np.empty((n_batch, n_seq, n_head, d_head), np.float32)
    _merge_heads_kernel(np.ascontiguousarray(x), out)
    return out.reshape(n_batch, n_seq, n_head * d_head)


@kernel(void(read(float32[:, :, :, ::1]), float32[:, :, :, ::1]))
def _merge_heads_kernel(x, out):
    spread(len(x) * x.shape[2], _merge_heads_of_token, (x, out))


@inner
def _merge_heads_of_token(task, x, out):
    n_head, n_seq, d_head = x.shape[1:]
    batch, position = task // n_seq, task % n_seq
    for head in range(n_head):
        for j in range(d_head):
            out[batch, position, head, j] = x[batch, head, position, j]
