"""One head's attention inside a compiled call: its new keys and values into the cache, its queries over what they see.

Enter: a part's number, the queries, keys and values of all heads side by side, a layer's part of the cache. Leave: what
the head read, beside the others'. Few queries read keys and values as they stream by, many in whole tiles.
Next: kernels/shortlist.py.
"""

import math

import numpy as np

from .attention import QUERIES, multiply_part, softmax_row
from .compile import inner
from .products import FEW_ROWS, dots, stream
from .tiles import multiply


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
    text, d_head = first_text + batch, keys.shape[3]
    begin, start, n_new = places[0, batch], starts[batch] - places[1, batch], visible.shape[1]
    store(qkv, batch * n_new, n_new, head, keys[text, head], values[text, head], start)
    columns, row = slice(head * d_head, (head + 1) * d_head), (batch + 1) * n_new - n_query
    q, out = qkv[row : row + n_query, columns], merged[batch * n_query : (batch + 1) * n_query, columns]
    mask = visible[batch * len(visible) // len(starts), n_new - n_query :]
    if n_query <= FEW_ROWS:
        look(q, keys[text, head, begin : start + n_new], values[text, head, begin : start + n_new], mask, out)
    else:  # of a text without bands
        for first in range(0, n_query, QUERIES):
            few = slice(first, min(n_query, first + QUERIES))
            look_together(q[few], keys[text, head], values[text, head], mask[few], out[few])


@inner
def look(queries, keys, values, mask, out):
    """Few queries over keys and values, which stream by."""
    n_query, n_key = len(queries), len(keys)
    # of padded rows, probs are sums of zeros, and mixed is not used
    q = own_queries(queries)
    probs, mixed = np.empty((len(q), n_key), np.float32), np.empty_like(q)
    dots(q, keys, 0, n_key, probs)
    for query in range(n_query):
        softmax_row(probs[query], mask[query, :n_key], np.float32(1.0 / math.sqrt(q.shape[1])))
    stream(probs, values, mixed)
    for query in range(n_query):
        for j in range(out.shape[1]):
            out[query, j] = mixed[query, j]


@inner
def look_together(q, keys, values, mask, out):
    """QUERIES neighbours, or fewer, in whole tiles."""
    start, stop = seen_by(mask)
    probs = probs_of(q, keys, start, stop, mask)
    multiply_part(probs, values, start, stop, out)


@inner
def probs_of(q, keys, start, stop, mask):  # [n_query, d_head], [n_key, d_head] -> [n_query, stop]
    """ops.attention_probs of one head, whose queries see keys from `start` to `stop`."""
    probs = np.empty((len(mask), stop), np.float32)
    if start < stop:
        multiply(q, keys[start:stop].T, probs[:, start:stop], False)
    for query in range(len(mask)):
        softmax_row(probs[query], mask[query, :stop], np.float32(1.0 / math.sqrt(q.shape[1])))
    return probs


@inner
def seen_by(mask):  # [n_query, n_key]
    """Where the keys begin and end that any of these queries sees; both the same where they see none."""
    start, stop = mask.shape[1], 0
    for query in range(len(mask) - 1, -1, -1):  # the last one sees most
        end = mask.shape[1]
        while end > stop and not mask[query, end - 1]:
            end -= 1
        stop = end
    for query in range(len(mask)):
        first = 0
        while first < start and not mask[query, first]:
            first += 1
        start = first
    return min(start, stop), stop
