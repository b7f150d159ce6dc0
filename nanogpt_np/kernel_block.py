"""A whole block in one compiled call, for a few new tokens: between matrices, Python would cost as much as arithmetic.

Enter: the residual stream of the newest tokens, a block's params, the cache. Leave: what model.block would return of
`x`; the cache holds the new keys and values. Each step stands in ops.py by its name; the steps are model.block's.
Next room: kernel_training.py.
"""

import math

import numpy as np
from numba import boolean, float32, intp, prange, void

from .kernel_attention import masks, softmax_row
from .kernel_compile import inner, kernel, n_threads, read
from .kernel_math import gelu_new_row, layer_norm_row
from .kernel_products import FEW_ROWS, add_pieces, dots, n_pieces, pad_rows, stream, stream_part
from .kernel_tiles import DEPTH

ROW, MATRIX = read(float32[::1]), read(float32[:, ::1])


def decode_block(x, params, config, visible, cache, layer):  # [n_batch, n_new, n_embd] -> the same
    """See model.block: the same `x` for up to FEW_ROWS new tokens in all, which fits_decode_block() tells."""
    n_batch, n_new, n_embd = x.shape
    rows = pad_rows(x.reshape(-1, n_embd))
    out = np.empty_like(rows)
    start = cache.length
    mask = masks(visible, (n_batch, config.n_head, n_new, start + n_new))
    attn, mlp = params["attn"], params["mlp"]
    _block_kernel(
        rows, *pair(params["ln_1"]), *pair(attn["c_attn"]), *pair(attn["c_proj"]), *pair(params["ln_2"]),
        *pair(mlp["c_fc"]), *pair(mlp["c_proj"]), cache.keys[layer], cache.values[layer], start, mask,
        np.float32(config.layer_norm_eps), n_threads(), out,
    )  # fmt: skip
    return out[: n_batch * n_new].reshape(x.shape)


def fits_decode_block(shape, params, config, cache):
    """Is this for decode_block: few rows, float32 matrices, GPT-2's own GELU? Asked for every token, so in haste."""
    if math.prod(shape) > FEW_ROWS or config.activation != "gelu_new" or cache.keys.dtype != np.float32:
        return False
    matrices = block_matrices(params)
    return all(matrix.dtype == np.float32 and matrix.flags.c_contiguous and matrix.flags.aligned for matrix in matrices)


def block_matrices(params):
    """The four matrices of every block, one after the other."""
    return (part["weight"] for block in params["h"] for part in (*block["attn"].values(), *block["mlp"].values()))


def pair(part):
    """A layer norm's or a linear layer's two arrays, as kernels take them."""
    return part["weight"], part["bias"]


@kernel(void(
    MATRIX, ROW, ROW, MATRIX, ROW, MATRIX, ROW, ROW, ROW, MATRIX, ROW, MATRIX, ROW, float32[:, :, :, ::1],
    float32[:, :, :, ::1], intp, read(boolean[:, :, ::1]), float32, intp, float32[:, ::1],
))  # fmt: skip
def _block_kernel(
    x, ln_1, ln_1_bias, c_attn, c_attn_bias, attn_proj, attn_proj_bias, ln_2, ln_2_bias, c_fc, c_fc_bias, mlp_proj,
    mlp_proj_bias, keys, values, start, visible, eps, n_parts, out,
):  # fmt: skip
    n_rows, n_embd = x.shape
    n_heads = keys.shape[1]
    normed, merged = np.empty((n_rows, n_embd), np.float32), np.zeros((n_rows, n_embd), np.float32)
    qkv, few = np.empty((n_rows, 3 * n_embd), np.float32), n_pieces(normed)
    qkv_sums = np.empty((few, n_rows, 3 * n_embd), np.float32)
    hidden_sums = np.empty((few, n_rows, 4 * n_embd), np.float32)
    sums = np.empty((n_pieces(hidden_sums[0]), n_rows, n_embd), np.float32)

    normalize(x, ln_1, ln_1_bias, eps, normed)
    for part in prange(n_parts):
        stream_part(normed, c_attn, part, n_parts, qkv_sums)
    for stack in prange(keys.shape[0] * n_heads):
        batch, head = stack // n_heads, stack % n_heads
        rows = slice(batch * visible.shape[1], (batch + 1) * visible.shape[1])
        finish_qkv(qkv_sums[:, rows], c_attn_bias, head, n_heads, qkv[rows])
        attend(qkv, keys, values, start, visible, batch, head, merged)
    for part in prange(n_parts):
        stream_part(merged, attn_proj, part, n_parts, sums[:few])
    add_pieces(sums[:few], attn_proj_bias, 0, n_embd, out)
    add(x, out)

    normalize(out, ln_2, ln_2_bias, eps, normed)
    for part in prange(n_parts):
        stream_part(normed, c_fc, part, n_parts, hidden_sums)
    for part in prange(n_parts):
        hidden = finish_hidden(hidden_sums, c_fc_bias, part, n_parts)
        stream_part(hidden, mlp_proj, part, n_parts, sums)
    add_pieces(sums, mlp_proj_bias, 0, n_embd, merged)
    add(merged, out)


@inner
def finish_qkv(sums, bias, head, n_heads, qkv):
    """The queries, keys and values of one head of one text."""
    d_head = qkv.shape[1] // (3 * n_heads)
    for third in range(3):
        first = (third * n_heads + head) * d_head
        add_pieces(sums, bias, first, first + d_head, qkv)


@inner
def finish_hidden(sums, bias, part, n_parts):
    """-> [n_rows, n_hidden], of which only what this part of the next product multiplies is filled."""
    hidden = np.empty(sums.shape[1:], np.float32)
    many = n_pieces(hidden)
    first = part * many // n_parts * DEPTH
    end = min(((part + 1) * many + n_parts - 1) // n_parts * DEPTH, hidden.shape[1])
    add_pieces(sums, bias, first, end, hidden)
    for row in range(len(hidden)):
        gelu_new_row(hidden[row, first:end], hidden[row, first:end])
    return hidden


@inner
def normalize(x, weight, bias, eps, out):
    """Layer norm of each row."""
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
    q[: len(queries)] = queries
    return q


@inner
def attend(qkv, keys, values, start, visible, batch, head, merged):
    """One head of one text: its new keys and values into the cache, its queries over all of them."""
    n_embd, d_head = merged.shape[1], keys.shape[3]
    n_new, n_key = visible.shape[1:]
    first, row = head * d_head, batch * n_new
    q = own_queries(qkv[row : row + n_new, first : first + d_head])
    for new in range(n_new):
        for j in range(d_head):
            keys[batch, head, start + new, j] = qkv[row + new, n_embd + first + j]
            values[batch, head, start + new, j] = qkv[row + new, 2 * n_embd + first + j]
    # of padded rows, probs are sums of zeros, and mixed is not used
    probs, mixed = np.empty((len(q), n_key), np.float32), np.empty_like(q)
    dots(q, keys[batch, head, :n_key], 0, n_key, probs)
    mask = visible[batch * len(visible) // keys.shape[0]]
    for new in range(n_new):
        softmax_row(probs[new], mask[new], np.float32(1.0 / math.sqrt(d_head)))
    stream(probs, values[batch, head, :n_key], mixed)
    for new in range(n_new):
        for j in range(d_head):
            merged[row + new, first + j] = mixed[new, j]
