"""Attention on all cores: whole tiles for many queries, one pass over keys and values for a few.

Enter and leave: as in ops.py. A query's result has the same bits however many others (up to FEW_ROWS in all) are asked
with it, as each sum ends at the last key that the query may see. Keys before a band are not looked at: no bit of a sum
changes, as what is left out is zeros, and what remains keeps its place in pieces and vectors.
Next: kernels/pointwise.py.
"""

import math

import numpy as np
from numba import boolean, float32, int64, intp, void

from .. import ops
from .calls import shared
from .compile import inner, kernel, read
from .cores import spread
from .math import ONE, ZERO, exp, is_float32, number_of, order_of
from .products import FEW_ROWS, dots, pad_rows, product, stream
from .tiles import DEPTH, multiply

LOWEST = np.float32(-math.inf)
QUERIES = 128  # that are handled together: what none of them may see is not even looked at
STEP = 64  # numbers that a loop may add side by side: one that begins at a multiple adds them in the same order
STACKS, ROWS, BOUNDS = read(float32[:, :, :, :]), read(float32[:, :, :, ::1]), read(int64[:, :, ::1])


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
    q = q if n_query > FEW_ROWS else pad_rows(q)
    probs = np.empty((*q.shape[:3], k.shape[2]), np.float32)
    if n_query > FEW_ROWS:
        _probs_kernel(q, k, mask, visible_keys(mask), scale, probs)
    else:
        _few_probs_kernel(q, k, mask, scale, probs)
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
    many = n_query > FEW_ROWS
    if many and not leaves_out(probs):
        return product(probs, v)
    run, probs = (_mix_kernel, np.ascontiguousarray(probs)) if many else (_few_mix_kernel, pad_rows(probs))
    out = np.empty((*probs.shape[:3], v.shape[-1]), np.float32)
    run(probs, v, out)
    return out[:, :, :n_query]


def attention_mix_backward(dout, probs, v):
    """See ops.attention_mix_backward; in a banded layer dprobs is 0 outside the bands, where nothing asks for it."""
    if not is_float32(dout, probs, v):
        return ops.attention_mix_backward(dout, probs, v)
    if probs.ndim != 4 or not leaves_out(probs):
        return product(dout, v.swapaxes(-1, -2)), product(probs.swapaxes(-1, -2), dout)
    dprobs, dv = np.empty(probs.shape, np.float32), np.empty(v.shape, np.float32)
    _mix_backward_kernel(dout, np.ascontiguousarray(probs), v, dprobs, dv)
    return dprobs, dv


def leaves_out(probs):
    """Is there a band so narrow that half of the keys are left out? Else looking for its ends costs what it saves.

    Any answer is right: it decides which kernels run, not what comes out. The last query of each head is asked.
    """
    return not probs[:, :, -1:, : probs.shape[-1] // 2 + QUERIES].any()


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


def visible_keys(mask):  # [n_masks, n_query, n_key] -> int64 [n_masks, n_blocks, 2]
    """Where the keys begin and end that QUERIES neighbours may see together; both the same where they see none."""
    n_query, n_key = mask.shape[1:]
    blocks = np.stack([mask[:, i : i + QUERIES].any(axis=1) for i in range(0, n_query, QUERIES)], axis=1)
    ends = np.where(blocks.any(axis=-1), n_key - blocks[..., ::-1].argmax(axis=-1), 0)
    return np.stack([blocks.argmax(axis=-1), ends], axis=-1)


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
    end, start = scores.size, 0
    while end > 0 and not visible[end - 1]:
        end -= 1
    while start < end and not visible[start]:
        start += 1
    start -= start % STEP
    scores[end:] = ZERO
    scores[:start] = ZERO
    scores, visible, end = scores[start:], visible[start:], end - start
    highest = order_of(LOWEST)
    for j in range(end):
        value = scores[j] * scale if visible[j] else LOWEST
        scores[j] = value
        highest = max(highest, order_of(value))
    top, total = number_of(highest), ZERO
    for j in range(end):
        e = exp(scores[j] - top) if visible[j] else ZERO
        scores[j] = e
        total += e
    share = ONE / total if total != ZERO else ZERO  # a total of NaN makes all of them NaN
    for j in range(end):
        scores[j] *= share


@kernel(void(STACKS, STACKS, read(boolean[:, :, ::1]), BOUNDS, float32, float32[:, :, :, ::1]))
def _probs_kernel(q, k, visible, bounds, scale, probs):
    n_tasks = probs.shape[0] * probs.shape[1] * bounds.shape[1]
    spread(n_tasks, _probs_of_block, (q, k, visible, bounds, scale, probs))


@inner
def _probs_of_block(task, q, k, visible, bounds, scale, probs):
    n_batch, n_heads, n_query = probs.shape[:3]
    stack, block = task // bounds.shape[1], task % bounds.shape[1]
    batch, head, of_mask = stack // n_heads, stack % n_heads, stack * len(visible) // (n_batch * n_heads)
    first, end = block * QUERIES, min(block * QUERIES + QUERIES, n_query)
    start, stop = bounds[of_mask, block, 0], bounds[of_mask, block, 1]
    scores = probs[batch, head, first:end, start:stop]
    if start < stop:
        multiply(q[batch, head, first:end], k[batch, head, start:stop].T, scores, False)
    for query in range(first, end):
        softmax_row(probs[batch, head, query], visible[of_mask, query], scale)


@kernel(void(ROWS, STACKS, STACKS, ROWS, float32, float32[:, :, :, ::1], float32[:, :, :, ::1]), early=False)
def _probs_backward_kernel(dprobs, q, k, probs, scale, dq, dk):
    spread(len(probs) * probs.shape[1], _probs_backward_of_head, (dprobs, q, k, probs, scale, dq, dk))


@inner
def _probs_backward_of_head(stack, dprobs, q, k, probs, scale, dq, dk):
    n_heads, n_query = probs.shape[1:3]
    batch, head = stack // n_heads, stack % n_heads
    dk[batch, head], bounds = ZERO, np.empty(2, np.int64)
    for first in range(0, n_query, QUERIES):
        end = min(first + QUERIES, n_query)
        seen = probs[batch, head, first:end]
        looked_at(seen, bounds)
        start, n_key = bounds[0], bounds[1]
        if n_key == 0:
            dq[batch, head, first:end] = ZERO
            continue
        dscores = softmax_backward_rows(dprobs[batch, head, first:end], seen, start - start % STEP, n_key, scale)
        multiply_part(dscores, k[batch, head], start, n_key, dq[batch, head, first:end])
        multiply(dscores[:, start:].T, q[batch, head, first:end], dk[batch, head, start:n_key], True)


@inner
def softmax_backward_rows(dprobs, probs, start, n_key, scale):  # -> [n_rows, n_key], columns before `start` unused
    """See ops.softmax_backward; times the scale of the scores."""
    dscores = np.empty((len(probs), n_key), np.float32)
    for row in range(len(probs)):
        given, seen, out = dprobs[row, start:n_key], probs[row, start:n_key], dscores[row, start:]
        along = ZERO
        for j in range(out.size):
            along += given[j] * seen[j]
        for j in range(out.size):
            out[j] = seen[j] * (given[j] - along) * scale
    return dscores


@shared(void(read(float32[:, ::1]), int64[::1]))
def looked_at(probs, bounds):
    """bounds[:] = where the keys begin and end that any of these queries looks at; hidden ones are exactly zero."""
    n_query, n_key = probs.shape
    bounds[0], bounds[1] = n_key, 0
    for row in range(n_query):  # of a band's queries the first reaches back furthest
        if not is_zero(probs[row, : bounds[0]]):
            bounds[0] = 0
            while probs[row, bounds[0]] == ZERO:
                bounds[0] += 1
    for row in range(n_query - 1, -1, -1):  # and the last one sees most
        if not is_zero(probs[row, bounds[1] :]):
            bounds[1] = n_key
            while probs[row, bounds[1] - 1] == ZERO:
                bounds[1] -= 1


@inner
def is_zero(row):
    """Is every number zero? NaN is none."""
    total = ZERO
    for j in range(row.size):
        total += abs(row[j])
    return total == ZERO


@shared(void(read(float32[:, :]), read(float32[:, :]), intp, intp, float32[:, :]))
def multiply_part(a, b, first, end, out):
    """out = a[:, first:end] @ b[first:end], in the pieces of DEPTH that a sum over everything would be made of."""
    if first >= end:
        out[:] = ZERO
    at = first
    while at < end:
        to = min(end, at - at % DEPTH + DEPTH)
        multiply(a[:, at:to], b[at:to], out, at > first)
        at = to


@kernel(void(ROWS, STACKS, float32[:, :, :, ::1]))
def _mix_kernel(probs, v, out):
    n_blocks = (probs.shape[2] + QUERIES - 1) // QUERIES
    spread(len(probs) * probs.shape[1] * n_blocks, _mix_of_block, (probs, v, n_blocks, out))


@inner
def _mix_of_block(task, probs, v, n_blocks, out):
    stack, first = task // n_blocks, task % n_blocks * QUERIES
    batch, head, end = stack // probs.shape[1], stack % probs.shape[1], min(first + QUERIES, probs.shape[2])
    seen, bounds = probs[batch, head, first:end], np.empty(2, np.int64)
    looked_at(seen, bounds)
    multiply_part(seen, v[batch, head], bounds[0], bounds[1], out[batch, head, first:end])


@kernel(void(STACKS, ROWS, STACKS, float32[:, :, :, ::1], float32[:, :, :, ::1]), early=False)
def _mix_backward_kernel(dout, probs, v, dprobs, dv):
    spread(len(probs) * probs.shape[1], _mix_backward_of_head, (dout, probs, v, dprobs, dv))


@inner
def _mix_backward_of_head(stack, dout, probs, v, dprobs, dv):
    batch, head = stack // probs.shape[1], stack % probs.shape[1]
    dout, probs, v = dout[batch, head], probs[batch, head], v[batch, head]
    n_query, n_key = probs.shape
    bounds = np.empty(((n_query + QUERIES - 1) // QUERIES, 2), np.int64)
    dprobs[batch, head] = ZERO
    for block in range(len(bounds)):
        first, end = block * QUERIES, min(block * QUERIES + QUERIES, n_query)
        looked_at(probs[first:end], bounds[block])
        start, stop = bounds[block, 0], bounds[block, 1]
        if start < stop:
            multiply(dout[first:end], v[start:stop].T, dprobs[batch, head, first:end, start:stop], False)
    for first in range(0, n_key, QUERIES):
        end, start, stop = min(first + QUERIES, n_key), n_query, 0
        for block in range(len(bounds)):
            if bounds[block, 0] < end and bounds[block, 1] > first:
                start, stop = min(start, block * QUERIES), min(block * QUERIES + QUERIES, n_query)
        multiply_part(probs[:, first:end].T, dout, start, stop, dv[batch, head, first:end])


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
