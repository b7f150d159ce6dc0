"""All blocks of int8 or four-bit weights and the logits in one compiled call: what kernels/decode.py is for float32.

Enter: the residual stream of the newest tokens, the model's params, an Int8Cache. Leave: the logits that model.forward
would return, but for the order of sums; the cache holds the new keys and values. Next: quantized/matrices.py.
"""

import math

import numpy as np
from numba import boolean, float32, int8, int64, intp, void

from ..kernels.addresses import address, bytes_at, floats_at, nibbles_at, table_of
from ..kernels.attention import softmax_row
from ..kernels.compile import inner, kernel, n_threads, read
from ..kernels.cores import spread
from ..kernels.decode import (
    PLACES,
    STARTS,
    STORED,
    add,
    arrays_of,
    belongs,
    masks_of,
    n_hidden_of,
    normalize,
    own_queries,
    shapes_of,
)  # fmt: skip
from ..kernels.math import gelu_new_in_place
from ..kernels.products import FEW_ROWS, dots_int8, stream_int8
from .cache import Int8Cache
from .nibbles import BLOCK, FEW, multiply_fours
from .products import multiply_panels, part_of_panels, room_for
from .rounding import quantize, quantize_group, round_to_int8
from .vectors import GROUP, PANEL

MOST_ROWS = 64  # of all texts together; with more, arithmetic counts, not how often something is called
SMALL, FACTORS = STORED.copy(dtype=int8), float32[:, :, :, ::1]


def decode_plan(shape, params, config, cache):
    """See kernels.decode_plan: it is for few new tokens of each text, int8 everywhere, GPT-2's own GELU."""
    if shape[1] > FEW_ROWS or math.prod(shape) > MOST_ROWS or not isinstance(cache, Int8Cache):
        return None
    if config.activation != "gelu_new" or not belongs(cache, shape, params, config):
        return None
    arrays = arrays_of(params)
    table = table_of(arrays, _table)
    return None if table is None else (arrays, table)


def decode_few(x, plan, config, visible, cache):  # [n_batch, n_new, n_embd] -> [n_batch, n_new, n_vocab]
    """See kernels.decode_few."""
    arrays, table = plan
    n_batch, n_new, n_embd = x.shape
    rows = x.reshape(-1, n_embd).astype(np.float32)  # a copy, in which the kernel works
    whole, (mask, near_mask) = cache.whole, masks_of(visible, n_batch, n_new, config, cache)
    logits = np.empty((len(rows), arrays[-1].shape[0]), np.float32)
    are_fours = arrays[2].kind == "int4"
    _decode_kernel(
        rows, table, are_fours, n_hidden_of(arrays), cache.rows, cache.first_row, cache.starts(),
        whole.keys, whole.key_factors, whole.values, whole.value_factors, mask,
        whole.near_keys, whole.near_key_factors, whole.near_values, whole.near_value_factors,
        cache.near_of_each(), near_mask, np.float32(config.layer_norm_eps), n_threads(), logits,
    )  # fmt: skip
    return logits.reshape(n_batch, n_new, -1)


def _table(arrays):
    """A row for each block, and one for what follows them; a matrix has two places in it, numbers and factors.

    All blocks are of one kind, int8 or int4 (which has no factors), and the last matrix is int8.
    """
    found, of_blocks = [], getattr(arrays[2], "kind", "none")
    for array, shape in zip(arrays, shapes_of(arrays), strict=True):
        if len(shape) == 1:
            found.append(address(array, np.float32, shape))
        elif getattr(array, "kind", None) != ("int8" if array is arrays[-1] else of_blocks) or array.shape != shape:
            return None
        elif array.kind == "int4":
            found += [address(array.packed, np.uint8, array.packed.shape), 0]
        else:
            found += [address(array.packed, np.int8, array.packed.shape), array.factors.ctypes.data]
    if None in found:
        return None
    n_block = len(arrays) // 12
    n_places = (len(found) - 4) // n_block
    return np.array(found + [0] * (n_places - 4), np.int64).reshape(n_block + 1, n_places)


@kernel(void(
    float32[:, ::1], read(int64[:, ::1]), boolean, intp, read(int64[::1]), intp, STARTS,
    SMALL, FACTORS, SMALL, FACTORS, read(boolean[:, :, ::1]),
    SMALL, FACTORS, SMALL, FACTORS, PLACES, read(boolean[:, :, ::1]),
    float32, intp, float32[:, ::1],
))  # fmt: skip
def _decode_kernel(
    x, table, are_fours, n_hidden, rows, first_text, starts,
    keys, key_factors, values, value_factors, visible,
    near_keys, near_key_factors, near_values, near_value_factors, near, near_visible,
    eps, n_parts, logits,
):  # fmt: skip
    n_rows, n_embd = x.shape
    n_batch, n_heads = len(starts), keys.shape[2]
    begin = np.zeros((2, n_batch), np.int64)
    normed, merged = np.empty((n_rows, n_embd), np.float32), np.empty((n_rows, n_embd), np.float32)
    qkv, hidden = np.empty((n_rows, 3 * n_embd), np.float32), np.empty((n_rows, n_hidden), np.float32)
    small, small_hidden = room_for(n_rows, n_embd), room_for(n_rows, n_hidden)

    for layer in range(len(table) - 1):
        block = table[layer]
        normalize(x, block[0], block[1], eps, normed)
        quantize(normed, *small)
        spread(n_parts, multiply, (*small, are_fours, block[2:5], n_parts, qkv))
        if rows[layer] >= 0:
            row, places, seen = rows[layer], begin, visible
            stored = keys[row], key_factors[row], values[row], value_factors[row]
        else:  # a banded layer
            row, places, seen = -1 - rows[layer], near, near_visible
            stored = near_keys[row], near_key_factors[row], near_values[row], near_value_factors[row]
        spread(n_batch * n_heads, attend, (qkv, *stored, places, first_text, starts, seen, merged))
        quantize(merged, *small)
        spread(n_parts, multiply, (*small, are_fours, block[5:8], n_parts, normed))
        add(normed, x)

        normalize(x, block[8], block[9], eps, normed)
        quantize(normed, *small)
        spread(n_parts, multiply_hidden, (*small, are_fours, block[10:13], n_parts, hidden, *small_hidden))
        spread(n_parts, multiply, (*small_hidden, are_fours, block[13:16], n_parts, normed))
        add(normed, x)

    final, are_fours = table[len(table) - 1], False
    normalize(x, final[0], final[1], eps, normed)
    quantize(normed, *small)
    spread(n_parts, multiply, (*small, are_fours, final[2:5], n_parts, logits))


@inner
def multiply(part, x, scales, starts, are_fours, places, n_parts, out):
    """One part of out = x @ weights + bias; `places`: the addresses of the weights, of their factors, of the bias."""
    n_out, width = out.shape[1], x.shape[1]
    n_panels = (n_out + PANEL - 1) // PANEL
    first, end = part_of_panels(part, n_parts, n_out)
    bias = floats_at(places[2], n_out if places[2] else 0)
    if are_fours:
        weights = nibbles_at(places[0], n_panels * (width // FEW) * BLOCK)
        multiply_fours(x, scales, weights, bias, first, end, out)
    else:
        weights = bytes_at(places[0], n_panels * PANEL * width)
        multiply_panels(x, scales, starts, weights, floats_at(places[1], n_out), bias, first, end, out)


@inner
def multiply_hidden(
    part, x, scales, starts, are_fours, places, n_parts, hidden, small, hidden_scales, hidden_starts
):  # fmt: skip
    """The same, then GELU of the columns that these panels made, and then to int8: a panel is as wide as a group."""
    multiply(part, x, scales, starts, are_fours, places, n_parts, hidden)
    first, end = part_of_panels(part, n_parts, hidden.shape[1])
    columns = slice(first * GROUP, end * GROUP)
    for row in range(len(hidden)):
        gelu_new_in_place(hidden[row, columns])
        for group in range(first, end):
            quantize_group(hidden[row], group, small[row], hidden_scales[row], hidden_starts[row])


@inner
def attend(stack, qkv, keys, key_factors, values, value_factors, places, first_text, starts, visible, merged):
    """One head of one text: see kernels/decode.py."""
    batch, head = stack // keys.shape[1], stack % keys.shape[1]
    text = first_text + batch
    n_embd, d_head = merged.shape[1], keys.shape[3]
    begin, start, n_new = places[0, batch], starts[batch] - places[1, batch], visible.shape[1]
    end = start + n_new
    n_key = end - begin
    first, row = head * d_head, batch * n_new
    q = own_queries(qkv[row : row + n_new, first : first + d_head])
    for new in range(n_new):
        k, v = qkv[row + new, n_embd + first :][:d_head], qkv[row + new, 2 * n_embd + first :][:d_head]
        key_factors[text, head, start + new], _ = round_to_int8(k, keys[text, head, start + new])
        value_factors[text, head, start + new], _ = round_to_int8(v, values[text, head, start + new])
    # of padded rows, probs are sums of zeros, and mixed is not used
    probs, mixed = np.empty((len(q), n_key), np.float32), np.empty_like(q)
    dots_int8(q, keys[text, head, begin:end], 0, n_key, probs)
    mask = visible[batch * len(visible) // len(starts)]
    for new in range(n_new):
        for j in range(n_key):
            probs[new, j] *= key_factors[text, head, begin + j]
        softmax_row(probs[new], mask[new, :n_key], np.float32(1.0 / math.sqrt(d_head)))
        for j in range(n_key):
            probs[new, j] *= value_factors[text, head, begin + j]
    stream_int8(probs, values[text, head, begin:end], mixed)
    for new in range(n_new):
        for j in range(d_head):
            merged[row + new, first + j] = mixed[new, j]
