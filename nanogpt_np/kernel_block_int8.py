"""A whole block of int8 weights in one compiled call: what kernel_block.py is for float32.

Enter: the residual stream of the newest tokens, a block's params, an Int8Cache. Leave: what model.block would return
of `x`, but for the order of sums; the cache holds the new keys and values. Next room: quantized.py.
"""

import math

import numpy as np
from numba import boolean, float32, int8, intp, prange, uint8, void

from .kernel_attention import masks, softmax_row
from .kernel_block import add, block_matrices, normalize, own_queries, pair
from .kernel_compile import inner, kernel, n_threads, read
from .kernel_int8 import GROUP, multiply_panels, part_of_panels, quantize, quantize_group, room_for, round_to_int8
from .kernel_math import gelu_new_row
from .kernel_products import FEW_ROWS, dots, stream
from .quantized_cache import Int8Cache

MOST_ROWS = 64  # of all texts together; with more, arithmetic counts, not how often something is called
ROW, PACKED = read(float32[::1]), read(uint8[::1])


def decode_block(x, params, config, visible, cache, layer):  # [n_batch, n_new, n_embd] -> the same
    """See model.block: the same `x` for a few new tokens of each text, which fits_decode_block() tells."""
    n_batch, n_new, n_embd = x.shape
    out = np.empty((n_batch * n_new, n_embd), np.float32)
    start = cache.length
    mask = masks(visible, (n_batch, config.n_head, n_new, start + n_new))
    attn, mlp = params["attn"], params["mlp"]
    _block_kernel(
        np.ascontiguousarray(x).reshape(-1, n_embd), *pair(params["ln_1"]), *_matrix(attn["c_attn"]),
        *_matrix(attn["c_proj"]), *pair(params["ln_2"]), *_matrix(mlp["c_fc"]), *_matrix(mlp["c_proj"]),
        cache.keys[layer], cache.key_factors[layer], cache.values[layer], cache.value_factors[layer], start, mask,
        np.float32(config.layer_norm_eps), n_threads(), out,
    )  # fmt: skip
    return out.reshape(x.shape)


def fits_decode_block(shape, params, config, cache):
    """Is this for decode_block: few new tokens of each text, int8 everywhere, GPT-2's own GELU?"""
    if shape[1] > FEW_ROWS or math.prod(shape) > MOST_ROWS or not isinstance(cache, Int8Cache):
        return False
    plain = config.activation == "gelu_new" and params["ln_f"]["weight"].dtype == np.float32
    return plain and all(matrix.dtype == np.int8 for matrix in block_matrices(params))


def _matrix(part):
    matrix = part["weight"]
    return matrix.packed.reshape(-1), matrix.factors, part["bias"]


@kernel(void(
    read(float32[:, ::1]), ROW, ROW, PACKED, ROW, ROW, PACKED, ROW, ROW, ROW, ROW, PACKED, ROW, ROW, PACKED, ROW, ROW,
    int8[:, :, :, ::1], float32[:, :, ::1], int8[:, :, :, ::1], float32[:, :, ::1], intp, read(boolean[:, :, ::1]),
    float32, intp, float32[:, ::1],
))  # fmt: skip
def _block_kernel(
    x, ln_1, ln_1_bias, c_attn, c_attn_factors, c_attn_bias, attn_proj, attn_proj_factors, attn_proj_bias, ln_2,
    ln_2_bias, c_fc, c_fc_factors, c_fc_bias, mlp_proj, mlp_proj_factors, mlp_proj_bias, keys, key_factors, values,
    value_factors, start, visible, eps, n_parts, out,
):  # fmt: skip
    n_rows, n_embd = x.shape
    n_heads = keys.shape[1]
    normed, merged = np.empty((n_rows, n_embd), np.float32), np.empty((n_rows, n_embd), np.float32)
    qkv, hidden = np.empty((n_rows, 3 * n_embd), np.float32), np.empty((n_rows, 4 * n_embd), np.float32)
    small, scales, starts = room_for(n_rows, n_embd)
    small_hidden, hidden_scales, hidden_starts = room_for(n_rows, 4 * n_embd)

    normalize(x, ln_1, ln_1_bias, eps, normed)
    quantize(normed, small, scales, starts)
    for part in prange(n_parts):
        first, end = part_of_panels(part, n_parts, 3 * n_embd)
        multiply_panels(small, scales, starts, c_attn, c_attn_factors, c_attn_bias, first, end, qkv)
    for stack in prange(keys.shape[0] * n_heads):
        batch, head = stack // n_heads, stack % n_heads
        attend(qkv, keys, key_factors, values, value_factors, start, visible, batch, head, merged)
    quantize(merged, small, scales, starts)
    for part in prange(n_parts):
        first, end = part_of_panels(part, n_parts, n_embd)
        multiply_panels(small, scales, starts, attn_proj, attn_proj_factors, attn_proj_bias, first, end, out)
    add(x, out)

    normalize(out, ln_2, ln_2_bias, eps, normed)
    quantize(normed, small, scales, starts)
    for part in prange(n_parts):
        first, end = part_of_panels(part, n_parts, 4 * n_embd)
        multiply_panels(small, scales, starts, c_fc, c_fc_factors, c_fc_bias, first, end, hidden)
        finish_hidden(hidden, first, end, small_hidden, hidden_scales, hidden_starts)
    for part in prange(n_parts):
        first, end = part_of_panels(part, n_parts, n_embd)
        multiply_panels(
            small_hidden, hidden_scales, hidden_starts, mlp_proj, mlp_proj_factors, mlp_proj_bias, first, end, merged
        )
    add(merged, out)


@inner
def finish_hidden(hidden, first, end, small, scales, starts):
    """GELU of the columns that some panels made, and then to int8: a panel is as wide as a group."""
    columns = slice(first * GROUP, end * GROUP)
    for row in range(len(hidden)):
        gelu_new_row(hidden[row, columns], hidden[row, columns])
        for group in range(first, end):
            quantize_group(hidden[row], group, small[row], scales[row], starts[row])


@inner
def attend(qkv, keys, key_factors, values, value_factors, start, visible, batch, head, merged):
    """One head of one text: its new keys and values into the cache, its queries over all of them."""
    n_embd, d_head = merged.shape[1], keys.shape[3]
    n_new, n_key = visible.shape[1:]
    first, row = head * d_head, batch * n_new
    q = own_queries(qkv[row : row + n_new, first : first + d_head])
    for new in range(n_new):
        k, v = qkv[row + new, n_embd + first :][:d_head], qkv[row + new, 2 * n_embd + first :][:d_head]
        key_factors[batch, head, start + new], _ = round_to_int8(k, keys[batch, head, start + new])
        value_factors[batch, head, start + new], _ = round_to_int8(v, values[batch, head, start + new])
    # of padded rows, probs are sums of zeros, and mixed is not used
    probs, mixed = np.empty((len(q), n_key), np.float32), np.empty_like(q)
    dots(q, keys[batch, head, :n_key], 0, n_key, probs)
    mask = visible[batch * len(visible) // keys.shape[0]]
    for new in range(n_new):
        for j in range(n_key):
            probs[new, j] *= key_factors[batch, head, j]
        softmax_row(probs[new], mask[new], np.float32(1.0 / math.sqrt(d_head)))
        for j in range(n_key):
            probs[new, j] *= value_factors[batch, head, j]
    stream(probs, values[batch, head, :n_key], mixed)
    for new in range(n_new):
        merged[row + new, first : first + d_head] = mixed[new]
