"""All of a model behind the embedding in one compiled call, for a few new tokens.

Between matrices, Python would cost as much as some of them. Enter: the residual stream of the newest tokens, the
model's params, the cache. Leave: logits; the cache holds the new keys and values. Each step stands in ops.py by its
name; the steps of a block are model.block's. Next: kernels/weights.py.
"""

import math
from operator import itemgetter

import numpy as np
from numba import boolean, float32, int64, intp, void

from .. import ops
from ..model import narrow
from ..params import unembedding
from .addresses import address, floats_at, matrix_at, table_of
from .attention import masks, softmax_row
from .compile import inner, kernel, n_threads, read
from .cores import spread
from .math import gelu_new_in_place, layer_norm_row
from .products import FEW_ROWS, add_bias, dots, pad_rows, stream

STORED = float32[:, :, :, :, ::1]
STARTS = read(int64[::1])  # where each text goes on
PLACES = int64[:, ::1]  # of KVCache.near_of_each()
PAIR = itemgetter("weight", "bias")


def decode_plan(shape, params, config, cache):
    """What decode_few needs to know of a model, or None: it is for up to FEW_ROWS tokens, float32, GPT-2's own GELU."""
    if math.prod(shape) > FEW_ROWS or config.activation != "gelu_new" or cache.keys.dtype != np.float32:
        return None
    if not belongs(cache, shape, params, config):
        return None
    arrays = arrays_of(params)
    table = table_of(arrays, _table)
    return None if table is None else (arrays, table)


def belongs(cache, shape, params, config):
    """Has a cache room for these texts and blocks? Compiled code would not notice, and write elsewhere."""
    return cache.fits(config) and len(params["h"]) == config.n_layer and len(cache.mask) == shape[0]


def decode_few(x, plan, config, visible, cache):  # [n_batch, n_new, n_embd] -> [n_batch, n_new, n_vocab]
    """All of model.forward behind the embedding, for tokens that continue the cache, by a plan of decode_plan()."""
    arrays, table = plan
    n_batch, n_new, n_embd = x.shape
    rows = pad_rows(x.reshape(-1, n_embd)).astype(np.float32)  # a copy, in which the kernel works
    whole, (mask, near_mask) = cache.whole, masks_of(visible, n_batch, n_new, config, cache)
    logits = np.empty((len(rows), len(arrays[-1])), np.float32)
    eps = np.float32(config.layer_norm_eps)
    by_output, n_hidden = bool(table[-1, -1]), n_hidden_of(arrays)
    _decode_kernel(
        rows, table, by_output, n_hidden, cache.rows, cache.first_row, cache.starts(), whole.keys, whole.values, mask,
        whole.near_keys, whole.near_values, cache.near_of_each(), near_mask, eps, n_threads(), logits,
    )  # fmt: skip
    return logits[: n_batch * n_new].reshape(n_batch, n_new, -1)


def masks_of(visible, n_batch, n_new, config, cache):
    """What may be seen of all keys, and of the near ones, for compiled code; without bands the same twice."""
    n_key = cache.length + n_new
    mask = masks(narrow(visible, None, n_new, n_key, ops), (n_batch, config.n_head, n_new, n_key))
    if cache.window is None:
        return mask, mask
    n_near = min(n_key, cache.window - 1 + n_new)
    # rows that come and go see all from where their own bands begin
    near = narrow(visible, cache.window, n_new, n_near, ops) if cache.lengths is None else None
    return mask, masks(near, (n_batch, config.n_head, n_new, n_near))


def arrays_of(params):
    """A model's arrays, but for wpe, in the order in which a token meets them: asked for every token, so in haste."""
    arrays = []
    for block in params["h"]:
        attn, mlp = block["attn"], block["mlp"]
        arrays += *PAIR(block["ln_1"]), *PAIR(attn["c_attn"]), *PAIR(attn["c_proj"])
        arrays += *PAIR(block["ln_2"]), *PAIR(mlp["c_fc"]), *PAIR(mlp["c_proj"])
    arrays += *PAIR(params["ln_f"]), unembedding(params)
    return arrays


def n_hidden_of(arrays):
    """The width inside the feed-forward networks: as many as c_fc has biases."""
    return len(arrays[9])


def shapes_of(arrays):
    """What arrays_of() should have found."""
    n, n_hidden = len(arrays[-2]), n_hidden_of(arrays)
    linears = [(n, 3 * n), (3 * n,), (n, n), (n,), (n,), (n,), (n, n_hidden), (n_hidden,), (n_hidden, n), (n,)]
    return [*[(n,), (n,), *linears] * (len(arrays) // 12), (n,), (n,), (arrays[-1].shape[0], n)]


def _table(arrays):
    """A row for each block, and one for what follows them, which ends with how matrices lie: 1 by output, 0 by input.

    None where an array is not what the kernel reads.
    """
    shapes = shapes_of(arrays)
    for by_output in (True, False):
        turned = [by_output and len(shape) == 2 for shape in shapes[:-1]] + [False]
        found = [
            address(array.T, np.float32, shape[::-1]) if turn else address(array, np.float32, shape)
            for array, shape, turn in zip(arrays, shapes, turned, strict=True)
        ]
        if None not in found:
            return np.array([*found, *[0] * 8, by_output], np.int64).reshape(-1, 12)
    return None


@kernel(void(
    float32[:, ::1], read(int64[:, ::1]), boolean, intp, read(int64[::1]), intp, STARTS,
    STORED, STORED, read(boolean[:, :, ::1]), STORED, STORED, PLACES, read(boolean[:, :, ::1]),
    float32, intp, float32[:, ::1],
))  # fmt: skip
def _decode_kernel(
    x, table, by_output, n_hidden, stored, first_text, starts, keys, values, visible,
    near_keys, near_values, near, near_visible, eps, n_parts, logits,
):  # fmt: skip
    n_rows, n_embd = x.shape
    n_batch, n_heads = len(starts), keys.shape[2]
    begin = np.zeros((2, n_batch), np.int64)
    normed, merged = np.empty((n_rows, n_embd), np.float32), np.zeros((n_rows, n_embd), np.float32)
    qkv, hidden = np.empty((n_rows, 3 * n_embd), np.float32), np.empty((n_rows, n_hidden), np.float32)

    for layer in range(len(table) - 1):
        block = table[layer]
        normalize(x, block[0], block[1], eps, normed)
        spread(n_parts, multiply, (normed, block[2], block[3], by_output, n_parts, qkv))
        if stored[layer] >= 0:
            row, places, seen = stored[layer], begin, visible
            of_layer = keys[row], values[row]
        else:  # a banded layer
            row, places, seen = -1 - stored[layer], near, near_visible
            of_layer = near_keys[row], near_values[row]
        spread(n_batch * n_heads, attend, (qkv, *of_layer, places, first_text, starts, seen, merged))
        spread(n_parts, multiply, (merged, block[4], block[5], by_output, n_parts, normed))
        add(normed, x)

        normalize(x, block[6], block[7], eps, normed)
        spread(n_parts, multiply_hidden, (normed, block[8], block[9], by_output, n_parts, hidden))
        spread(n_parts, multiply, (hidden, block[10], block[11], by_output, n_parts, normed))
        add(normed, x)

    final = table[len(table) - 1]
    normalize(x, final[0], final[1], eps, normed)
    spread(n_parts, unembed, (normed, final[2], n_parts, logits))


@inner
def multiply(part, x, weight, bias, by_output, n_parts, out):
    """One part of the columns of out = x @ weight + bias, which lie at two addresses.

    `by_output`: the weights of one output lie side by side, and each is one sum; else those of one input do.
    """
    n_in, n_out = x.shape[1], out.shape[1]
    first, end = part * n_out // n_parts, (part + 1) * n_out // n_parts
    if by_output:
        dots(x, matrix_at(weight, n_out, n_in), first, end, out)
    else:
        stream(x, matrix_at(weight, n_in, n_out)[:, first:end], out[:, first:end])
    add_bias(floats_at(bias, n_out), first, end, out)


@inner
def multiply_hidden(part, x, weight, bias, by_output, n_parts, out):
    """The same, and then GELU."""
    multiply(part, x, weight, bias, by_output, n_parts, out)
    n_out = out.shape[1]
    for row in range(len(out)):
        gelu_new_in_place(out[row, part * n_out // n_parts : (part + 1) * n_out // n_parts])


@inner
def unembed(part, x, weight, n_parts, logits):
    """One part of the logits."""
    n_vocab = logits.shape[1]
    vocabulary = matrix_at(weight, n_vocab, x.shape[1])
    dots(x, vocabulary, part * n_vocab // n_parts, (part + 1) * n_vocab // n_parts, logits)


@inner
def normalize(x, weight, bias, eps, out):
    """Layer norm of each row, by the weights at two addresses."""
    n = x.shape[1]
    weight, bias = floats_at(weight, n), floats_at(bias, n)
    for row in range(len(x)):
        layer_norm_row(x[row], weight, bias, eps, out[row])


@inner
def add(x, out):
    """out += x"""
    for row in range(len(out)):
        for j in range(out.shape[1]):
            out[row, j] += x[row, j]


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
def attend(stack, qkv, keys, values, places, first_text, starts, visible, merged):
    """One head of one text: its new keys and values into the cache, its queries over all that it sees.

    `places`: where these begin in each text, and the position of the first place; zeros but in a banded layer.
    """
    batch, head = stack // keys.shape[1], stack % keys.shape[1]
    text = first_text + batch
    n_embd, d_head = merged.shape[1], keys.shape[3]
    begin, start, n_new = places[0, batch], starts[batch] - places[1, batch], visible.shape[1]
    end = start + n_new
    n_key = end - begin
    first, row = head * d_head, batch * n_new
    q = own_queries(qkv[row : row + n_new, first : first + d_head])
    for new in range(n_new):
        for j in range(d_head):
            keys[text, head, start + new, j] = qkv[row + new, n_embd + first + j]
            values[text, head, start + new, j] = qkv[row + new, 2 * n_embd + first + j]
    # of padded rows, probs are sums of zeros, and mixed is not used
    probs, mixed = np.empty((len(q), n_key), np.float32), np.empty_like(q)
    dots(q, keys[text, head, begin:end], 0, n_key, probs)
    mask = visible[batch * len(visible) // len(starts)]
    for new in range(n_new):
        softmax_row(probs[new], mask[new, :n_key], np.float32(1.0 / math.sqrt(d_head)))
    stream(probs, values[text, head, begin:end], mixed)
    for new in range(n_new):
        for j in range(d_head):
            merged[row + new, first + j] = mixed[new, j]
