"""All blocks of int8 or four-bit weights and the logits in one compiled call: what kernels/decode.py is for float32.

Enter: the residual stream of the newest tokens, the model's params, an Int8Cache. Leave: the logits that model.forward
would return, but for the order of sums; the cache holds the new keys and values. Next: quantized/matrices.py.
"""

import math

import numpy as np
from numba import boolean, float32, int8, int64, intp, void

from ..kernels.addresses import address, bytes_at, floats_at, nibbles_at, table_of
from ..kernels.attention import QUERIES, softmax_row
from ..kernels.compile import inner, kernel, n_threads, read
from ..kernels.cores import spread
from ..kernels.decode import (
    PLACES,
    STARTS,
    STORED,
    arrays_of,
    belongs,
    last_of_each,
    masks_of,
    n_hidden_of,
    parts_of_rows,
    prepare,
    shapes_of,
)  # fmt: skip
from ..kernels.greedy import (
    NO_IDS,
    NOT_GREEDY,
    add_position,
    asked_of,
    behind,
    embed,
    goes_on,
    likeliest_of_part,
    said_of,
)  # fmt: skip
from ..kernels.heads import look_together, own_queries
from ..kernels.math import gelu_new_in_place
from ..kernels.products import FEW_ROWS, dots_int8, stream_int8
from .cache import Int8Cache
from .nibbles import BLOCK, FEW, multiply_fours
from .packing import widen_output
from .products import multiply_panels, part_of_panels, quantize_part, room_for
from .rounding import quantize_group, round_to_int8
from .vectors import GROUP, PANEL

MOST_ROWS = 64  # of all texts together; with more, arithmetic counts, not how often something is called
SMALL, FACTORS = STORED.copy(dtype=int8), float32[:, :, :, ::1]


def decode_plan(shape, params, config, cache):
    """See kernels.decode_plan: it is for few new tokens of each text, int8 everywhere, GPT-2's own GELU."""
    is_few = shape[1] <= FEW_ROWS and math.prod(shape) <= MOST_ROWS
    return read_plan(shape, params, config, cache) if is_few else None


def read_plan(shape, params, config, cache):
    """See kernels.read_plan."""
    if not isinstance(cache, Int8Cache):
        return None
    if config.activation != "gelu_new" or not belongs(cache, shape, params, config):
        return None
    arrays = arrays_of(params)
    table = table_of(arrays, _table)
    return None if table is None else (arrays, table)


def decode_few(x, plan, config, visible, cache):  # [n_batch, n_new, n_embd] -> [n_batch, n_new, n_vocab]
    """See kernels.decode_few."""
    return _run(x, plan, config, visible, cache, x.shape[1], plan[0][-1].shape[0])


def read_piece(x, plan, config, visible, cache, is_last):  # [n_batch, n_new, n_embd] -> [n_batch, 1, n_vocab]
    """See kernels.read_piece."""
    return _run(x, plan, config, visible, cache, 1, plan[0][-1].shape[0] if is_last else 0)


def decode_greedy(last, plan, params, config, cache, n_new, stop_ids=NO_IDS):
    """See kernels.decode_greedy."""
    greedy = asked_of(last, plan, params, config, cache, n_new, stop_ids)
    if greedy is None or (greedy[-1][0] == 0 and not config.tie_word_embeddings):
        return None
    x = np.empty((1, 1, config.n_embd), np.float32)
    _run(x, plan, config, None, cache, 1, plan[0][-1].shape[0], greedy)
    return said_of(greedy[0])


def _run(x, plan, config, visible, cache, n_asked, n_vocab, greedy=NOT_GREEDY):  # -> [n_batch, n_asked, n_vocab]
    arrays, table = plan
    n_batch, n_new, n_embd = x.shape
    rows = x.reshape(-1, n_embd).astype(np.float32)  # a copy, in which the kernel works
    whole, (mask, near_mask) = cache.whole, masks_of(visible, n_batch, n_new, config, cache, len(greedy[0]))
    logits = np.empty((n_batch * n_asked, n_vocab), np.float32)
    are_fours = arrays[2].kind == "int4"
    _decode_kernel(
        rows, table, are_fours, n_hidden_of(arrays), cache.rows, cache.first_row, cache.starts(),
        whole.keys, whole.key_factors, whole.values, whole.value_factors, mask,
        whole.near_keys, whole.near_key_factors, whole.near_values, whole.near_value_factors,
        cache.near_of_each(), near_mask, np.float32(config.layer_norm_eps), n_threads(), n_asked, *greedy, logits,
    )  # fmt: skip
    return logits.reshape(n_batch, n_asked, n_vocab)


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
    float32, intp, intp, int64[::1], read(int64[::1]), read(int64[::1]), float32[:, ::1],
))  # fmt: skip
def _decode_kernel(
    x, table, are_fours, n_hidden, rows, first_text, starts,
    keys, key_factors, values, value_factors, visible,
    near_keys, near_key_factors, near_values, near_value_factors, near, near_visible,
    eps, n_parts, n_asked, tokens, stop_ids, places, logits,
):  # fmt: skip
    n_batch, n_heads, n_query, n_layer = len(starts), keys.shape[2], visible.shape[1], len(table) - 1
    begin, best = np.zeros((2, n_batch), np.int64), np.empty(n_parts if len(tokens) > 0 else 0, np.int64)
    qkv = np.empty((len(x), 3 * x.shape[1]), np.float32)
    normed, merged, hidden = np.empty_like(x), np.empty_like(x), np.empty((len(x), n_hidden), np.float32)
    small, small_hidden = room_for(len(x), x.shape[1]), room_for(len(x), n_hidden)

    for step in range(max(len(tokens) - 1, 1)):
        here = behind(starts, step)
        if len(tokens) > 0:
            embed_small(tokens[step], here[0], places, table[n_layer], logits.shape[1], x[0])

        for layer in range(n_layer):
            block, n_rows = table[layer], parts_of_rows(x, n_parts)
            spread(n_rows, prepare_small, (n_rows, layer > 0, x, block[0], block[1], eps, normed, *small))
            spread(n_parts, multiply, (*small, are_fours, block[2:5], n_parts, qkv))
            if layer == n_layer - 1 and n_asked < n_query:  # nobody asks for more of the others
                x = last_of_each(x, n_batch, n_query, n_asked, len(logits))
                normed, merged, hidden = np.empty_like(x), np.empty_like(x), np.empty((len(x), n_hidden), np.float32)
                small, small_hidden = room_for(len(x), x.shape[1]), room_for(len(x), n_hidden)
                n_query, n_rows = n_asked, parts_of_rows(x, n_parts)
            if rows[layer] >= 0:
                row, near_by, seen = rows[layer], begin, visible
                stored = keys[row], key_factors[row], values[row], value_factors[row]
            else:  # a banded layer
                row, near_by, seen = -1 - rows[layer], near, near_visible
                stored = near_keys[row], near_key_factors[row], near_values[row], near_value_factors[row]
            spread(n_batch * n_heads, attend, (qkv, *stored, near_by, first_text, here, seen, n_query, merged))
            spread(n_rows, quantize_part, (merged, n_rows, *small))
            spread(n_parts, multiply, (*small, are_fours, block[5:8], n_parts, normed))

            spread(n_rows, prepare_small, (n_rows, True, x, block[8], block[9], eps, normed, *small))
            spread(n_parts, multiply_hidden, (*small, are_fours, block[10:13], n_parts, hidden, *small_hidden))
            spread(n_parts, multiply, (*small_hidden, are_fours, block[13:16], n_parts, normed))

        if logits.shape[1] > 0:
            final, n_rows = table[n_layer], parts_of_rows(x, n_parts)
            spread(n_rows, prepare_small, (n_rows, True, x, final[0], final[1], eps, normed, *small))
            spread(n_parts, unembed, (*small, final[2:5], n_parts, logits, best))
        if len(tokens) > 0 and not goes_on(step, tokens, stop_ids, logits[0], best):
            break


@inner
def embed_small(token, position, places, final, n_vocab, x):
    """See kernels/greedy.py; where wte makes the logits as well, it is int8."""
    if places[0] != 0:
        embed(token, position, places, x)
        return
    n_panels = (n_vocab + PANEL - 1) // PANEL
    width = (x.size + GROUP - 1) // GROUP * GROUP
    widen_output(bytes_at(final[2], n_panels * PANEL * width), floats_at(final[3], n_vocab), token, x)
    add_position(position, places, x)


@inner
def unembed(part, x, scales, starts, places, n_parts, logits, best):
    """One part of the logits, and which is the best."""
    multiply(part, x, scales, starts, False, places, n_parts, logits)
    if len(best) > 0:
        first, end = part_of_panels(part, n_parts, logits.shape[1])
        best[part] = likeliest_of_part(logits[0], first * PANEL, min(end * PANEL, logits.shape[1]))


@inner
def prepare_small(part, n_parts, is_added, x, weight, bias, eps, normed, small, scales, starts):
    """See kernels/decode.py; and then to int8."""
    prepare(part, n_parts, is_added, x, weight, bias, eps, normed)
    quantize_part(part, normed, n_parts, small, scales, starts)


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
def store(qkv, row, n_new, head, keys, key_factors, values, value_factors, start):
    """Keys and values of one head, made by some rows, as int8 to where they belong."""
    n_embd, d_head = qkv.shape[1] // 3, keys.shape[1]
    for new in range(n_new):
        k = qkv[row + new, n_embd + head * d_head :][:d_head]
        v = qkv[row + new, 2 * n_embd + head * d_head :][:d_head]
        key_factors[start + new], _ = round_to_int8(k, keys[start + new])
        value_factors[start + new], _ = round_to_int8(v, values[start + new])


@inner
def attend(
    stack, qkv, keys, key_factors, values, value_factors, places, first_text, starts, visible, n_query, merged
):  # fmt: skip
    """One head of one text: see kernels/heads.py."""
    batch, head = stack // keys.shape[1], stack % keys.shape[1]
    text, d_head = first_text + batch, keys.shape[3]
    begin, start, n_new = places[0, batch], starts[batch] - places[1, batch], visible.shape[1]
    of_keys, of_values = key_factors[text, head], value_factors[text, head]
    store(qkv, batch * n_new, n_new, head, keys[text, head], of_keys, values[text, head], of_values, start)
    columns, row = slice(head * d_head, (head + 1) * d_head), (batch + 1) * n_new - n_query
    q, out = qkv[row : row + n_query, columns], merged[batch * n_query : (batch + 1) * n_query, columns]
    mask = visible[batch * len(visible) // len(starts), n_new - n_query :]
    if n_query <= FEW_ROWS:
        all_seen = slice(begin, start + n_new)
        small_keys, small_values = keys[text, head, all_seen], values[text, head, all_seen]
        look(q, small_keys, of_keys[all_seen], small_values, of_values[all_seen], mask, out)
        return
    shape = start + n_new, d_head
    wide_keys, wide_values = np.empty(shape, np.float32), np.empty(shape, np.float32)
    widen(keys[text, head], of_keys, wide_keys)
    widen(values[text, head], of_values, wide_values)
    for first in range(0, n_query, QUERIES):
        few = slice(first, min(n_query, first + QUERIES))
        look_together(q[few], wide_keys, wide_values, mask[few], out[few])


@inner
def look(queries, keys, key_factors, values, value_factors, mask, out):
    """Few queries over keys and values, which stream by as they are."""
    n_query, n_key = len(queries), len(keys)
    # of padded rows, probs are sums of zeros, and mixed is not used
    q = own_queries(queries)
    probs, mixed = np.empty((len(q), n_key), np.float32), np.empty_like(q)
    dots_int8(q, keys, 0, n_key, probs)
    for query in range(n_query):
        for j in range(n_key):
            probs[query, j] *= key_factors[j]
        softmax_row(probs[query], mask[query, :n_key], np.float32(1.0 / math.sqrt(q.shape[1])))
        for j in range(n_key):
            probs[query, j] *= value_factors[j]
    stream_int8(probs, values, mixed)
    for query in range(n_query):
        for j in range(out.shape[1]):
            out[query, j] = mixed[query, j]


@inner
def widen(small, factors, wide):
    """Keys or values of a head in float32."""
    for i in range(len(wide)):
        for j in range(wide.shape[1]):
            wide[i, j] = small[i, j] * factors[i]
