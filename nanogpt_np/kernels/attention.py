"""Attention on all cores: whole tiles for many queries, one pass over keys and values for a few.

Enter and leave: as in ops.py. A query's result has the same bits however many others (up to FEW_ROWS in all) are asked
with it, as each sum ends at the last key that the query may see. Next: kernels/pointwise.py.
"""

import math

import numpy as np
from numba import boolean, float32, void

from .. import ops
from .calls import shared
from .compile import inner, kernel, read
from .cores import spread
from .math import ONE, ZERO, exp, is_float32
from .products import FEW_ROWS, dots, pad_rows, product, stream
from .tiles import multiply

LOWEST = np.float32(-math.inf)
QUERIES = 128  # that are handled together: what none of them may see is not even looked at
STACKS, ROWS = read(float32[:, :, :, :]), read(float32[:, :, :, ::1])


def softmax_scores(scores, visible, scale):
    """See ops.softmax_scores."""
    if not is_float32(scores) or scores.ndim < 2:
        return ops.softmax_scores(scores, visible, scale)
    probs = np.array(scores, order="C")  # a copy, in which the kernel works
    _softmax_(probs, visible, scale)
    return probs


def attention_probs(q, k, visible):
    """See ops.attention_probs."""
    if not is_float32(q, k) or q.ndim != 4 or k.strides[-1] != k.itemsize:
        return ops.attention_probs(q, k, visible)
    n_query, scale = q.shape[2], np.float32(1.0 / math.sqrt(q.shape[-1]))
    mask = masks(visible, (*q.shape[:3], k.shape[2]))
    run, q = (_probs_kernel, q) if n_query > FEW_ROWS else (_few_probs_kernel, pad_rows(q))
    probs = np.empty((*q.shape[:3], k.shape[2]), np.float32)
    run(q, k, mask, scale, probs)
    return probs[:, :, :n_query]


def attention_probs_backward(dprobs, q, k, probs):
    """See ops.attention_probs_backward."""
    if not is_float32(dprobs, q, k, probs) or q.ndim != 4:
        return ops.attention_probs_backward(dprobs, q, k, probs)
    dq, dk = np.empty(q.shape, np.float32), np.empty(k.shape, np.float32)
    dprobs, probs = np.ascontiguousarray(dprobs), np.ascontiguousarray(probs)
    _probs_backward_kernel(dprobs, q, k, probs, np.float32(1.0 / math.sqrt(q.shape[-1])), dq, dk)
    return dq, dk


def attention_mix(probs, v):
    """See ops.attention_mix."""
    if not is_float32(probs, v) or v.ndim != 4 or v.strides[-1] != v.itemsize:
        return ops.attention_mix(probs, v)
    n_query = probs.shape[2]
    if n_query > FEW_ROWS:
        return product(probs, v)
    probs = pad_rows(probs)
    out = np.empty((*probs.shape[:3], v.shape[-1]), np.float32)
    _few_mix_kernel(probs, v, out)
    return out[:, :, :n_query]


def attention_mix_backward(dout, probs, v):
    """See ops.attention_mix_backward."""
    if not is_float32(dout, probs, v):
        return ops.attention_mix_backward(dout, probs, v)
    return product(dout, v.swapaxes(-1, -2)), product(probs.swapaxes(-1, -2), dout)


def _softmax_(scores, visible, scale):
    """Scores of contiguous rows to probabilities, in place."""
    n_query, n_key = scores.shape[-2:]
    _softmax_kernel(scores.reshape(-1, n_query, n_key), masks(visible, scores.shape), np.float32(scale))


def masks(visible, shape):
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


@kernel(void(float32[:, :, ::1], read(boolean[:, :, ::1]), float32), early=False)
def _softmax_kernel(scores, visible, scale):
    spread(len(scores) * scores.shape[1], _softmax_of_row, (scores, visible, scale))


@inner
def _softmax_of_row(row, scores, visible, scale):
    n_stack, n_query, _ = scores.shape
    stack, query = row // n_query, row % n_query
    softmax_row(scores[stack, query], visible[stack * len(visible) // n_stack, query], scale)


@shared(void(float32[::1], read(boolean[::1]), float32))
def softmax_row(scores, visible, scale):
    """One row of ops.softmax_scores, in place."""
    end = scores.size
    while end > 0 and not visible[end - 1]:
        end -= 1
    scores[end:] = ZERO
    top = LOWEST
    for j in range(end):
        value = scores[j] * scale if visible[j] else LOWEST
        scores[j] = value
        top = max(top, value)
    total = ZERO
    for j in range(end):
        e = exp(scores[j] - top) if visible[j] else ZERO
        scores[j] = e
        total += e
    share = ONE / total if total != ZERO else ZERO  # a total of NaN makes all of them NaN
    for j in range(end):
        scores[j] *= share


@kernel(void(STACKS, STACKS, read(boolean[:, :, ::1]), float32, float32[:, :, :, ::1]))
def _probs_kernel(q, k, visible, scale, probs):
    n_batch, n_heads, n_query = probs.shape[:3]
    n_blocks = (n_query + QUERIES - 1) // QUERIES
    spread(n_batch * n_heads * n_blocks, _probs_of_block, (q, k, visible, scale, n_blocks, probs))


@inner
def _probs_of_block(task, q, k, visible, scale, n_blocks, probs):
    n_batch, n_heads, n_query = probs.shape[:3]
    stack, first = task // n_blocks, task % n_blocks * QUERIES
    batch, head, end = stack // n_heads, stack % n_heads, min(first + QUERIES, n_query)
    mask = visible[stack * len(visible) // (n_batch * n_heads)]
    n_key = last_seen(mask[first:end])
    block = probs[batch, head, first:end]
    if n_key:
        multiply(q[batch, head, first:end], k[batch, head, :n_key].T, block[:, :n_key], False)
    for query in range(first, end):
        softmax_row(probs[batch, head, query], mask[query], scale)


@inner
def last_seen(mask):
    """How many keys there are up to the last that any of these queries may see."""
    n_key = mask.shape[1]
    while n_key > 0 and not mask[:, n_key - 1].any():
        n_key -= 1
    return n_key


@kernel(void(ROWS, STACKS, STACKS, ROWS, float32, float32[:, :, :, ::1], float32[:, :, :, ::1]), early=False)
def _probs_backward_kernel(dprobs, q, k, probs, scale, dq, dk):
    spread(len(probs) * probs.shape[1], _probs_backward_of_head, (dprobs, q, k, probs, scale, dq, dk))


@inner
def _probs_backward_of_head(stack, dprobs, q, k, probs, scale, dq, dk):
    n_heads, n_query = probs.shape[1:3]
    batch, head = stack // n_heads, stack % n_heads
    dk[batch, head] = ZERO
    for first in range(0, n_query, QUERIES):
        end = min(first + QUERIES, n_query)
        seen = probs[batch, head, first:end]
        n_key = last_nonzero(seen)
        if n_key == 0:
            dq[batch, head, first:end] = ZERO
            continue
        dscores = softmax_backward_rows(dprobs[batch, head, first:end], seen, n_key, scale)
        multiply(dscores, k[batch, head, :n_key], dq[batch, head, first:end], False)
        multiply(dscores.T, q[batch, head, first:end], dk[batch, head, :n_key], True)


@inner
def last_nonzero(probs):
    """How many keys there are up to the last that any of these queries looks at; hidden ones are exactly zero."""
    n_key = 0
    for row in range(len(probs) - 1, -1, -1):  # under a causal mask the last query sees most
        total = ZERO
        for j in range(n_key, probs.shape[1]):
            total += abs(probs[row, j])
        if total != ZERO:
            n_key = probs.shape[1]
            while probs[row, n_key - 1] == ZERO:
                n_key -= 1
    return n_key


@inner
def softmax_backward_rows(dprobs, probs, n_key, scale):  # -> [n_rows, n_key]
    """See ops.softmax_backward; times the scale of the scores."""
    dscores = np.empty((len(probs), n_key), np.float32)
    for row in range(len(probs)):
        along = ZERO
        for j in range(n_key):
            along += dprobs[row, j] * probs[row, j]
        for j in range(n_key):
            dscores[row, j] = probs[row, j] * (dprobs[row, j] - along) * scale
    return dscores


@kernel(
    void(
        read(float32[:, :, :, ::1]), read(float32[:, :, :, :]), read(boolean[:, :, ::1]), float32, float32[:, :, :, ::1]
    )
)
def _few_probs_kernel(q, k, visible, scale, probs):
    spread(len(q) * q.shape[1], _few_probs_of_head, (q, k, visible, scale, probs))


@inner
def _few_probs_of_head(stack, q, k, visible, scale, probs):
    n_heads = q.shape[1]
    batch, head = stack // n_heads, stack % n_heads
    mask = visible[stack * len(visible) // (len(q) * n_heads)]
    dots(q[batch, head], k[batch, head], 0, k.shape[2], probs[batch, head])
    for query in range(visible.shape[1]):
        softmax_row(probs[batch, head, query], mask[query], scale)


@kernel(void(read(float32[:, :, :, ::1]), read(float32[:, :, :, :]), float32[:, :, :, ::1]))
def _few_mix_kernel(probs, v, out):
    spread(len(probs) * probs.shape[1], _few_mix_of_head, (probs, v, out))


@inner
def _few_mix_of_head(stack, probs, v, out):
    batch, head = stack // probs.shape[1], stack % probs.shape[1]
    stream(probs[batch, head], v[batch, head], out[batch, head])
