"""The names and signatures of ops.py, in Numba: one pass over memory where NumPy takes several.

Enter and leave: as in ops.py, which is the definition; float32 runs here, any other dtype is handed to ops.py.
Each kernel is a private `_name_kernel` under a wrapper that allocates. The products of a few rows use all cores; what
runs between BLAS's products uses one, because BLAS's own threads spin for a while after their work, and a second pool
of threads beside them lost more than it gained. Sums are cut in a fixed way: the number of threads changes no bit.
The first call of a kernel compiles it (about a second); the result is kept on disk.
"""

import math

import numpy as np
from numba import njit

from . import ops
from .kernel_math import FAST, N_PARTS, ONE, THREE, ZERO, exp, is_float32
from .kernel_products import linear, unembed

# matrix products of many rows, where BLAS already wins, and what is too small to matter
from .ops import (
    IGNORE,
    adam_step_,
    attention_mix,
    attention_mix_backward,
    causal_mask,
    dropout,
    dropout_backward,
    embedding,
    embedding_backward,
    gelu,
    gelu_backward,
    linear_backward,
    merge_heads,
    sinusoidal_positions,
    softmax,
    softmax_backward,
    split_heads,
    unembed_backward,
)

__all__ = [
    "IGNORE", "adam_step_", "attention_mix", "attention_mix_backward", "attention_probs", "attention_probs_backward",
    "causal_mask", "cross_entropy", "cross_entropy_backward", "dropout", "dropout_backward", "embedding",
    "embedding_backward", "gelu", "gelu_backward", "gelu_new", "gelu_new_backward", "layer_norm", "layer_norm_backward",
    "linear", "linear_backward", "merge_heads", "sinusoidal_positions", "softmax", "softmax_backward", "softmax_scores",
    "split_heads", "unembed", "unembed_backward",
]  # fmt: skip

GELU_SCALE = np.float32(2.0 * math.sqrt(2.0 / math.pi))
GELU_CUBE = np.float32(0.044715)


# ---------------------------------------------------------------- gelu


def gelu_new(x):
    """See ops.gelu_new; x (1 + tanh(u)) / 2 is x / (1 + exp(-2u))."""
    if not is_float32(x):
        return ops.gelu_new(x)
    x = np.ascontiguousarray(x)
    out = np.empty_like(x)
    _gelu_new_kernel(x.reshape(-1), out.reshape(-1))
    return out


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _gelu_new_kernel(x, out):
    for i in range(x.size):
        value = x[i]
        out[i] = value / (ONE + exp(-GELU_SCALE * value * (ONE + GELU_CUBE * value * value)))


def gelu_new_backward(dout, x):
    """See ops.gelu_new_backward; with s = 1 / (1 + exp(-2u)) the derivative is s + x s (1 - s) 2u'."""
    if not is_float32(dout, x):
        return ops.gelu_new_backward(dout, x)
    dout, x = np.ascontiguousarray(dout), np.ascontiguousarray(x)
    dx = np.empty_like(x)
    _gelu_new_backward_kernel(dout.reshape(-1), x.reshape(-1), dx.reshape(-1))
    return dx


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _gelu_new_backward_kernel(dout, x, dx):
    for i in range(x.size):
        value = x[i]
        cube = GELU_CUBE * value * value
        s = ONE / (ONE + exp(-GELU_SCALE * value * (ONE + cube)))
        dx[i] = dout[i] * (s + value * s * (ONE - s) * GELU_SCALE * (ONE + THREE * cube))


# ---------------------------------------------------------------- layer norm


def layer_norm(x, weight, bias, eps=1e-5):
    """See ops.layer_norm."""
    if not is_float32(x, weight, bias):
        return ops.layer_norm(x, weight, bias, eps)
    x = np.ascontiguousarray(x)
    out = np.empty_like(x)
    width = x.shape[-1]
    _layer_norm_kernel(x.reshape(-1, width), weight, bias, np.float32(eps), out.reshape(-1, width))
    return out


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _layer_norm_kernel(x, weight, bias, eps, out):
    n_rows, width = x.shape
    for i in range(n_rows):
        mean, rstd = _mean_and_rstd(x[i], eps)
        for j in range(width):
            out[i, j] = (x[i, j] - mean) * rstd * weight[j] + bias[j]


@njit(fastmath=FAST, error_model="numpy", inline="always")
def _mean_and_rstd(row, eps):
    total = ZERO
    for j in range(row.size):
        total += row[j]
    mean = total / np.float32(row.size)
    total = ZERO
    for j in range(row.size):
        total += (row[j] - mean) * (row[j] - mean)
    return mean, ONE / np.float32(math.sqrt(total / np.float32(row.size) + eps))


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


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _layer_norm_backward_kernel(dout, x, weight, eps, dx, parts):
    n_rows, width = x.shape
    n_piece = (n_rows + N_PARTS - 1) // N_PARTS
    for part in range(N_PARTS):
        dweight, dbias = parts[0, part], parts[1, part]
        for i in range(part * n_piece, min(n_rows, (part + 1) * n_piece)):
            mean, rstd = _mean_and_rstd(x[i], eps)
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


# ---------------------------------------------------------------- attention


def softmax_scores(scores, visible, scale):
    """See ops.softmax_scores."""
    if not is_float32(scores) or scores.ndim < 2:
        return ops.softmax_scores(scores, visible, scale)
    scores = np.ascontiguousarray(scores)
    n_query, n_key = scores.shape[-2:]
    stacked = scores.reshape(-1, n_query, n_key)
    probs = np.empty_like(stacked)
    _softmax_scores_kernel(stacked, _masks(visible, scores.shape), np.float32(scale), probs)
    return probs.reshape(scores.shape)


def _masks(visible, shape):
    """The masks [n_masks, n_query, n_key], each for the next n_stack / n_masks of the stacked scores."""
    if visible is None:
        return np.ones((1, *shape[-2:]), bool)
    *leading, n_query, n_key = shape
    if math.prod(visible.shape[:-2]) == 1:  # one mask for all
        visible, leading = visible.reshape(visible.shape[-2:]), []
    elif visible.shape[-3] == 1:  # one mask per text, the same for its heads
        leading[-1] = 1
    visible = np.broadcast_to(visible, (*leading, n_query, n_key))
    return np.ascontiguousarray(visible).reshape(-1, n_query, n_key)


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _softmax_scores_kernel(scores, visible, scale, probs):
    n_stack, n_query, _ = scores.shape
    n_heads = n_stack // len(visible)
    for stack in range(n_stack):
        for query in range(n_query):
            _softmax_row(scores[stack, query], visible[stack // n_heads, query], scale, probs[stack, query])


@njit(fastmath=FAST, error_model="numpy", inline="always")
def _softmax_row(scores, visible, scale, probs):
    top = np.float32(-math.inf)
    for j in range(scores.size):
        value = scores[j] * scale if visible[j] else np.float32(-math.inf)
        top = max(top, value)
    total = ZERO
    for j in range(scores.size):
        e = exp(scores[j] * scale - top) if visible[j] else ZERO
        probs[j] = e
        total += e
    share = ONE / total if total > ZERO else ZERO
    for j in range(scores.size):
        probs[j] *= share


def attention_probs(q, k, visible):
    """See ops.attention_probs."""
    return softmax_scores(q @ k.swapaxes(-1, -2), visible, 1.0 / math.sqrt(q.shape[-1]))


def attention_probs_backward(dprobs, q, k, probs):
    """See ops.attention_probs_backward."""
    if not is_float32(dprobs, probs):
        return ops.attention_probs_backward(dprobs, q, k, probs)
    dprobs, probs = np.ascontiguousarray(dprobs), np.ascontiguousarray(probs)
    n_key = probs.shape[-1]
    dscores = np.empty_like(probs)
    scale = np.float32(1.0 / math.sqrt(q.shape[-1]))
    _softmax_backward_kernel(dprobs.reshape(-1, n_key), probs.reshape(-1, n_key), scale, dscores.reshape(-1, n_key))
    return dscores @ k, dscores.swapaxes(-1, -2) @ q


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _softmax_backward_kernel(dout, out, scale, dx):
    n_rows, width = out.shape
    for i in range(n_rows):
        along = ZERO
        for j in range(width):
            along += dout[i, j] * out[i, j]
        for j in range(width):
            dx[i, j] = out[i, j] * (dout[i, j] - along) * scale


# ---------------------------------------------------------------- loss


def cross_entropy(x, weight, targets, chunk=4096):
    """See ops.cross_entropy."""
    if not is_float32(x, weight):
        return ops.cross_entropy(x, weight, targets, chunk)
    top = np.full(len(x), -math.inf, np.float32)
    total, picked = np.zeros(len(x), np.float32), np.zeros(len(x), np.float32)
    for start in range(0, len(weight), chunk):
        logits = x @ weight[start : start + chunk].T
        _log_sum_exp_kernel(logits, targets - start, top, total, picked)
    log_z = top + np.log(total)
    return np.where(targets == IGNORE, np.float32(0), log_z - picked), log_z


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _log_sum_exp_kernel(logits, columns, top, total, picked):
    n_rows, width = logits.shape
    for i in range(n_rows):
        if 0 <= columns[i] < width:
            picked[i] = logits[i, columns[i]]
        higher = top[i]
        for j in range(width):
            higher = max(higher, logits[i, j])
        added = ZERO
        for j in range(width):
            added += exp(logits[i, j] - higher)
        total[i] = added + (total[i] * exp(top[i] - higher) if total[i] > ZERO else ZERO)
        top[i] = higher


def cross_entropy_backward(dlosses, x, weight, targets, log_z, chunk=4096):
    """See ops.cross_entropy_backward."""
    if not is_float32(x, weight, log_z):
        return ops.cross_entropy_backward(dlosses, x, weight, targets, log_z, chunk)
    dlosses = np.where(targets == IGNORE, 0, dlosses).astype(np.float32)
    dx, dweight = np.zeros_like(x), np.empty_like(weight)
    for start in range(0, len(weight), chunk):
        part = weight[start : start + chunk]
        dlogits = x @ part.T
        _dlogits_kernel(dlogits, targets - start, log_z, dlosses)
        dx += dlogits @ part
        dweight[start : start + chunk] = dlogits.T @ x
    return dx, dweight


@njit(fastmath=FAST, error_model="numpy", cache=True)
def _dlogits_kernel(logits, columns, log_z, dlosses):
    n_rows, width = logits.shape
    for i in range(n_rows):
        for j in range(width):
            logits[i, j] = exp(logits[i, j] - log_z[i]) * dlosses[i]
        if 0 <= columns[i] < width:
            logits[i, columns[i]] -= dlosses[i]
