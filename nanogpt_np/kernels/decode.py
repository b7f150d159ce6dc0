"""All of a model behind the embedding in one compiled call: new tokens, several greedy ones, a piece of a prompt.

Between matrices, Python would cost as much as some of them. Enter: the residual stream of the newest tokens, the
model's params, the cache. Leave: logits; the cache holds the new keys and values. Each step stands in ops.py by its
name; the steps of a block are model.block's. Next: kernels/weights.py.
"""

import math
from operator import itemgetter

import numpy as np
from numba import boolean, float32, int8, int64, intp, void

from .. import ops
from ..model import narrow
from ..params import unembedding
from .addresses import address, floats_at, matrix_at, table_of
from .attention import masks
from .calls import shared
from .compile import inner, kernel, n_threads, read
from .cores import spread
from .greedy import NO_IDS, NOT_GREEDY, asked_of, behind, embed, goes_on, likeliest_of_part, said_of
from .heads import attend
from .math import gelu_new_in_place, layer_norm_row
from .products import FEW_ROWS, add_bias, by_dots, dots, n_padded, pad_rows, stream
from .shortlist import NO_SHORTLIST, guess, length_of, settle
from .tiles import multiply as multiply_tiles
from .writer import TILE_COLUMNS

STORED = float32[:, :, :, :, ::1]
STARTS = read(int64[::1])  # where each text goes on
PLACES = int64[:, ::1]  # of KVCache.near_of_each()
PAIR = itemgetter("weight", "bias")


def decode_plan(shape, params, config, cache):
    """read_plan() for up to FEW_ROWS tokens, of which each is as if it were alone, or None."""
    return read_plan(shape, params, config, cache) if math.prod(shape) <= FEW_ROWS else None


def read_plan(shape, params, config, cache):
    """What compiled code needs to know of a model, or None: it is for float32 and GPT-2's own GELU.

    Any number of tokens; of each text no more than FEW_ROWS where there are bands.
    """
    if config.activation != "gelu_new" or cache.keys.dtype != np.float32:
        return None
    if not belongs(cache, shape, params, config):
        return None
    arrays = arrays_of(params)
    table = table_of(arrays, _table)
    return None if table is None else (arrays, table)


def belongs(cache, shape, params, config):
    """Has a cache room for these texts and blocks? Compiled code would not notice, and write elsewhere."""
    has_room = cache.window is None or shape[1] <= FEW_ROWS  # of a piece of a prompt it keeps what is near
    return has_room and cache.fits(config) and len(params["h"]) == config.n_layer and len(cache.mask) == shape[0]


def decode_few(x, plan, config, visible, cache, shortlist=NO_SHORTLIST):
    """All of model.forward behind the embedding, for tokens that continue the cache, by a plan for them.

    x [n_batch, n_new, n_embd] -> logits [n_batch, n_new, n_vocab]. With a `shortlist` for the head and a single token,
    those that cannot be the best are -inf.
    """
    shortlist = shortlist if x.shape[0] * x.shape[1] == 1 else NO_SHORTLIST
    return _run(x, plan, config, visible, cache, x.shape[1], len(plan[0][-1]), shortlist)


def read_piece(x, plan, config, visible, cache, is_last):  # [n_batch, n_new, n_embd] -> [n_batch, 1, n_vocab]
    """The same for a piece of a prompt: the logits behind its last token, if it `is_last`."""
    return _run(x, plan, config, visible, cache, 1, len(plan[0][-1]) if is_last else 0)


def decode_greedy(last, plan, params, config, cache, n_new, stop_ids=NO_IDS, shortlist=NO_SHORTLIST):
    """What decode_few() and sampling.greedy() say in turns, up to `n_new` times, without Python between -> ids.

    Of one text, whose last token is `last`; the caller advances the cache by as many ids as it makes use of. It ends
    early behind one of the `stop_ids`, and before a token that greedy() would refuse, which may be the first. None
    where compiled code cannot go on with these params, or the cache has no room.
    """
    greedy = asked_of(last, plan, params, config, cache, n_new, stop_ids)
    if greedy is None or greedy[-1][0] == 0:
        return None
    x = np.empty((1, 1, config.n_embd), np.float32)  # the kernel embeds
    _run(x, plan, config, None, cache, 1, len(plan[0][-1]), shortlist, greedy)
    return said_of(greedy[0])


def _run(x, plan, config, visible, cache, n_asked, n_vocab, shortlist=NO_SHORTLIST, greedy=NOT_GREEDY):
    # -> [n_batch, n_asked, n_vocab]
    """The last `n_asked` tokens go all the way; of those before, only keys and values come out of the last block."""
    arrays, table = plan
    n_batch, n_new, n_embd = x.shape
    rows = pad_rows(x.reshape(-1, n_embd)).astype(np.float32)  # a copy, in which the kernel works
    whole, (mask, near_mask) = cache.whole, masks_of(visible, n_batch, n_new, config, cache, len(greedy[0]))
    logits = np.empty((n_padded(n_batch * n_asked), n_vocab), np.float32)
    eps = np.float32(config.layer_norm_eps)
    by_output, n_hidden = bool(table[-1, -1]), n_hidden_of(arrays)
    _decode_kernel(
        rows, table, by_output, n_hidden, cache.rows, cache.first_row, cache.starts(), whole.keys, whole.values, mask,
        whole.near_keys, whole.near_values, cache.near_of_each(), near_mask, eps, n_threads(), n_asked,
        *shortlist, *greedy, logits,
    )  # fmt: skip
    return logits[: n_batch * n_asked].reshape(n_batch, n_asked, n_vocab)


def masks_of(visible, n_batch, n_new, config, cache, n_more=0):
    """What may be seen of all keys, and of the near ones, for compiled code; without bands the same twice.

    `n_more` keys may still come, of which all are seen.
    """
    n_key = cache.length + n_new + n_more
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
    float32, intp, intp, read(int8[:, ::1]), read(float32[::1]), read(float32[::1]),
    int64[::1], read(int64[::1]), read(int64[::1]), float32[:, ::1],
))  # fmt: skip
def _decode_kernel(
    x, table, by_output, n_hidden, stored, first_text, starts, keys, values, visible,
    near_keys, near_values, near, near_visible, eps, n_parts, n_asked, short, factors, slack,
    tokens, stop_ids, places, logits,
):  # fmt: skip
    n_batch, n_heads, n_query, n_layer = len(starts), keys.shape[2], visible.shape[1], len(table) - 1
    begin, best = np.zeros((2, n_batch), np.int64), np.empty(n_parts if len(tokens) > 0 else 0, np.int64)
    qkv = np.empty((len(x), 3 * x.shape[1]), np.float32)
    normed, merged, hidden = np.zeros_like(x), np.zeros_like(x), np.empty((len(x), n_hidden), np.float32)

    for step in range(max(len(tokens) - 1, 1)):
        here = behind(starts, step)
        if len(tokens) > 0:
            embed(tokens[step], here[0], places, x[0])

        for layer in range(n_layer):
            block, n_rows = table[layer], parts_of_rows(x, n_parts)
            spread(n_rows, prepare, (n_rows, layer > 0, x, block[0], block[1], eps, normed))
            spread(n_parts, multiply, (normed, block[2], block[3], by_output, n_parts, qkv))
            if layer == n_layer - 1 and n_asked < n_query:  # nobody asks for more of the others
                x = last_of_each(x, n_batch, n_query, n_asked, len(logits))
                normed, merged, hidden = np.zeros_like(x), np.zeros_like(x), np.empty((len(x), n_hidden), np.float32)
                n_query, n_rows = n_asked, parts_of_rows(x, n_parts)
            if stored[layer] >= 0:
                row, near_by, seen = stored[layer], begin, visible
                of_layer = keys[row], values[row]
            else:  # a banded layer
                row, near_by, seen = -1 - stored[layer], near, near_visible
                of_layer = near_keys[row], near_values[row]
            spread(n_batch * n_heads, attend, (qkv, *of_layer, near_by, first_text, here, seen, n_query, merged))
            spread(n_parts, multiply, (merged, block[4], block[5], by_output, n_parts, normed))

            spread(n_rows, prepare, (n_rows, True, x, block[6], block[7], eps, normed))
            spread(n_parts, multiply_hidden, (normed, block[8], block[9], by_output, n_parts, hidden))
            spread(n_parts, multiply, (hidden, block[10], block[11], by_output, n_parts, normed))

        if logits.shape[1] > 0:
            final, n_rows = table[n_layer], parts_of_rows(x, n_parts)
            spread(n_rows, prepare, (n_rows, True, x, final[0], final[1], eps, normed))
            size, lowest = length_of(normed[0]), np.empty(n_parts, np.float32)
            if len(short) > 0:
                spread(n_parts, guess, (normed, size, short, factors, slack, n_parts, logits, lowest))
            spread(n_parts, unembed, (normed, size, final[2], slack, lowest, n_parts, logits, best))
        if len(tokens) > 0 and not goes_on(step, tokens, stop_ids, logits[0], best):
            break


@inner
def parts_of_rows(x, n_parts):
    """In how many parts rows are worked on by themselves: few in one, as waking the other cores takes longer."""
    return n_parts if len(x) > FEW_ROWS else 1


@inner
def last_of_each(x, n_batch, n_new, n_asked, n_rows):  # [n_batch * n_new or more, n] -> [n_rows, n]
    """The last `n_asked` rows of each text, and below them rows of zeros."""
    out = np.zeros((n_rows, x.shape[1]), np.float32)
    for row in range(n_batch * n_asked):
        source = (row // n_asked + 1) * n_new - n_asked + row % n_asked
        for j in range(x.shape[1]):
            out[row, j] = x[source, j]
    return out


@shared(void(intp, intp, boolean, float32[:, ::1], int64, int64, float32, float32[:, ::1]))
def prepare_rows(part, n_parts, is_added, x, weight, bias, eps, normed):
    """See prepare(), which spread() can call."""
    n = x.shape[1]
    weight, bias = floats_at(weight, n), floats_at(bias, n)
    for row in range(part * len(x) // n_parts, (part + 1) * len(x) // n_parts):
        if is_added:
            for j in range(n):
                x[row, j] += normed[row, j]
        layer_norm_row(x[row], weight, bias, eps, normed[row])


@inner
def prepare(part, n_parts, is_added, x, weight, bias, eps, normed):
    """A part of the rows: x += normed where `is_added`; then normed = layer norm of x, by the weights at addresses."""
    prepare_rows(part, n_parts, is_added, x, weight, bias, eps, normed)


@inner
def multiply(part, x, weight, bias, by_output, n_parts, out):
    """See multiply_columns(), which spread() cannot call."""
    multiply_columns(part, x, weight, bias, by_output, n_parts, out)


@inner
def multiply_hidden(part, x, weight, bias, by_output, n_parts, out):
    """The same, and then GELU."""
    multiply_columns(part, x, weight, bias, by_output, n_parts, out)
    first, end = columns_of(part, x, by_output, n_parts, out)
    for row in range(len(out)):
        gelu_new_in_place(out[row, first:end])


@inner
def unembed(part, x, size, weight, slack, lowest, n_parts, logits, best):
    """One part of the logits: all of them, or with a shortlist those that count; and which is the best."""
    if len(slack) == 0:
        multiply_columns(part, x, weight, 0, True, n_parts, logits)
    else:
        settle(part, x, size, matrix_at(weight, logits.shape[1], x.shape[1]), slack, lowest, n_parts, logits)
    if len(best) > 0:
        first, end = columns_of(part, x, True, n_parts, logits)
        best[part] = likeliest_of_part(logits[0], first, end)


@inner
def columns_of(part, x, by_output, n_parts, out):
    """The first of the columns that one part makes, and the end."""
    few = by_dots(len(x), x.shape[1]) if by_output else len(x) <= FEW_ROWS
    n_out, step = out.shape[1], 1 if few else TILE_COLUMNS
    n_steps = (n_out + step - 1) // step
    return part * n_steps // n_parts * step, min(n_out, (part + 1) * n_steps // n_parts * step)


@shared(void(intp, read(float32[:, ::1]), int64, int64, boolean, intp, float32[:, ::1]))
def multiply_columns(part, x, weight, bias, by_output, n_parts, out):
    """One part of the columns of out = x @ weight + bias, which lie at two addresses; no bias at 0.

    `by_output`: the weights of one output lie side by side, and each is one sum; else those of one input do.
    """
    n_in, n_out = x.shape[1], out.shape[1]
    first, end = columns_of(part, x, by_output, n_parts, out)
    if by_output and by_dots(len(x), n_in):
        dots(x, matrix_at(weight, n_out, n_in), first, end, out)
    elif by_output:
        multiply_tiles(x, matrix_at(weight, n_out, n_in)[first:end].T, out[:, first:end], False)
    elif len(x) <= FEW_ROWS:
        stream(x, matrix_at(weight, n_in, n_out)[:, first:end], out[:, first:end])
    else:
        multiply_tiles(x, matrix_at(weight, n_in, n_out)[:, first:end], out[:, first:end], False)
    if bias != 0:
        add_bias(floats_at(bias, n_out), first, end, out)
