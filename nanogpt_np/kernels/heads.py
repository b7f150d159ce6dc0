"""One head's attention inside a compiled call: its new keys and values into the cache, its queries over what they see.

Enter: a part's number, the queries, keys and values of all heads side by side, a layer's part of the cache. Leave: what
the head read, beside the others'. Few queries read keys and values as they stream by, many in whole tiles.
Next: kernels/shortlist.py.
"""

import math

import numpy as np

from .attention import QUERIES, multiply_part, softmax_row
from .compile import inner
from .products import dots, stream
from .tiles import multiply


@inner
def remember(stack, qkv, keys, values, first_text, starts, n_new):
    """One head of one text: its new keys and values into the cache, from `starts` on."""
    batch, head = stack // keys.shape[1], stack % keys.shape[1]
    at = first_text + batch, head
    store(qkv, batch * n_new, n_new, head, keys[at], values[at], starts[batch])


@inner
def store(qkv, row, n_new, head, keys, values, start):
    """Keys and values of one head, made by some rows, to where they belong."""
    n_embd, d_head = qkv.shape[1] // 3, keys.shape[1]
    for new in range(n_new):
        for j in range(d_head):
            keys[start + new, j] = qkv[row + new, n_embd + head * d_head + j]
            values[start + new, j] = qkv[row + new, 2 * n_embd + head * d_head + j]


@inner
def own_queries(queries):
    """A copy with rows of zeros below, up to 1, 2, 4 or 8, as pad_rows makes it."""
    n_padded = 1
    while n_padded < len(queries):
        n_padded *= 2
    q = np.zeros((n_padded, queries.shape[1]), np.float32)
    for row in range(len(queries)):  # to say q[: len(queries)] = queries takes two seconds longer to compile
        for j in range(queries.shape[1]):
            q[row, j] = queries[row, j]
    return q


@inner
def attend(stack, qkv, keys, values, places, first_text, starts, visible, n_query, merged):
    """One head of one text: its new keys and values into the cache, its last `n_query` queries over all that they see.

    `places`: where these begin in each text, and the position of the first place; zeros but in a banded layer.
    """
    batch, head = stack // keys.shape[1], stack % keys.shape[1]
    text = first_text + batch
    d_head = keys.shape[3]
    begin, start, n_new = places[0, batch], starts[batch] - places[1, batch], visible.shape[1]
    end = start + n_new
    n_key = end - begin
    store(qkv, batch * n_new, n_new, head, keys[text, head], values[text, head], start)
    # of padded rows, probs are sums of zeros, and mixed is not used
    first, row = head * d_head, (batch + 1) * n_new - n_query
    q = own_queries(qkv[row : row + n_query, first : first + d_head])
    probs, mixed = np.empty((len(q), n_key), np.float32), np.empty_like(q)
    dots(q, keys[text, head, begin:end], 0, n_key, probs)
    mask = visible[batch * len(visible) // len(starts), n_new - n_query :]
    for query in range(n_query):
        softmax_row(probs[query], mask[query, :n_key], np.float32(1.0 / math.sqrt(d_head)))
    stream(probs, values[text, head, begin:end], mixed)
    for query in range(n_query):
        for j in range(d_head):
            merged[batch * n_query + query, first + j] = mixed[query, j]


@inner
def attend_block(task, qkv, keys, values, first_text, n_batch, visible, merged):
    """QUERIES neighbours of one head of one text over all that they see, once its keys and values are in the cache."""
    n_heads, d_head, n_new = keys.shape[1], keys.shape[3], visible.shape[1]
    n_blocks = (n_new + QUERIES - 1) // QUERIES
    stack, first = task // n_blocks, task % n_blocks * QUERIES
    batch, head, end = stack // n_heads, stack % n_heads, min(n_new, first + QUERIES)
    mask = visible[batch * len(visible) // n_batch, first:end]
    rows, columns = slice(batch * n_new + first, batch * n_new + end), slice(head * d_head, (head + 1) * d_head)
    text = first_text + batch
    start, stop = seen_by(mask)
    probs = probs_of(qkv[rows, columns], keys[text, head], start, stop, mask)
    multiply_part(probs, values[text, head], start, stop, merged[rows, columns])


@inner
def probs_of(q, keys, start, stop, mask):  # [n_query, d_head], [n_key, d_head] -> as the mask, [n_query, n_key]
    """ops.attention_probs of one head, whose queries see keys from `start` to `stop`."""
    probs = np.empty(mask.shape, np.float32)
    if start < stop:
        multiply(q, keys[start:stop].T, probs[:, start:stop], False)
    for query in range(len(mask)):
        softmax_row(probs[query], mask[query], np.float32(1.0 / math.sqrt(q.shape[1])))
    return probs


@inner
def seen_by(mask):  # [n_query, n_key]
    """Where the keys begin and end that any of these queries sees; both the same where they see none."""
    start, stop = mask.shape[1], 0
    for query in range(len(mask)):
        end, first = mask.shape[1], 0
        while end > stop and not mask[query, end - 1]:
            end -= 1
        while first < start and not mask[query, first]:
            first += 1
        start, stop = min(start, first), max(stop, end)
    return min(start, stop), stop
