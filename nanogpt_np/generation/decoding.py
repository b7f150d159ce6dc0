"""The forward pass as generating needs it: a prompt piece by piece, then few tokens at a time, which continue a cache.

Enter: ids, and the cache that holds what came before. Leave: logits, the cache longer. Ops may offer
`decode_plan` and `decode_few`, all of model.forward behind the embedding in one compiled call, and `make_cache`, for a
cache of their own. Next: generation/tokens.py.
"""

import numpy as np

from .. import model
from ..kv_cache import KVCache

PIECE = 256  # tokens of all texts that are read together: more are no faster, and need memory for each
PIECE_OF_INT8 = 128  # the same, where activations are most of the memory
SCORES = 1_600_000  # of a piece's attention in one block: 6 MiB, at any length of text


def new_cache(n_batch, n_ctx, params, config, ops):
    """An empty cache of the kind that these ops read fastest."""
    if hasattr(ops, "make_cache"):
        return ops.make_cache(config, n_batch, n_ctx)
    return KVCache(config, n_batch, n_ctx, dtype=params["ln_f"]["weight"].dtype)


def read(ids, params, config, ops, cache, mask=None):  # [n_batch, n_seq] -> [n_batch, 1, n_vocab]
    """Read texts of any length, which continue the cache -> the logits behind their last tokens.

    `mask`: the same shape as `ids`, 0 at padding.
    """
    end = 0
    with np.errstate(all="ignore"):  # what overflows shows in the logits, where sampling says so in one line
        while end < ids.shape[1]:
            part = slice(end, end + _piece(len(ids), cache.length, config, ops))
            x = _read_piece(ids[:, part], params, config, ops, cache, None if mask is None else mask[:, part])
            end = part.stop
        final = ops.layer_norm(x, **params["ln_f"], eps=config.layer_norm_eps)
        return ops.unembed(final, model.unembedding(params))


def _piece(n_batch, n_before, config, ops):
    """How many tokens of each text to read at once, behind so many that were read before."""
    most = (PIECE_OF_INT8 if hasattr(ops, "quantize") else PIECE) // n_batch
    seen = n_batch * config.n_head * (n_before + most)
    return max(min(most, SCORES // max(seen, 1)), 1)


def _read_piece(ids, params, config, ops, cache, mask):  # [n_batch, n_new] -> [n_batch, 1, n_embd]
    """model.trunk up to ln_f, for the last token; in the last block the others only leave their keys and values."""
    positions, visible = model.place(ids.shape, config, ops, mask, cache)
    x = model.embed(ids, positions, params, config, ops)
    *blocks, last_block = params["h"]
    for layer, block_params in enumerate(blocks):
        x = model.block(x, block_params, config, ops, visible, cache, layer)[0]  # its acts end here, not a block later
    n_before = ids.shape[1] - 1
    if n_before:
        _remember(x[:, :-1], last_block, config, ops, cache, len(blocks))
        cache.advance(n_before)
        visible = visible[..., -1:, :]
    x = model.block(x[:, -1:], last_block, config, ops, visible, cache, len(blocks))[0]
    cache.advance(1)
    return x


def _remember(x, params, config, ops, cache, layer):
    """The keys and values of tokens on which nothing else of this block depends, as model.attention makes them."""
    normed = ops.layer_norm(x, **params["ln_1"], eps=config.layer_norm_eps)
    _, k, v = np.split(ops.linear(normed, **params["attn"]["c_attn"]), 3, axis=-1)
    cache.append(layer, ops.split_heads(k, config.n_head), ops.split_heads(v, config.n_head))


def decode(ids, params, config, ops, cache):  # [n_batch, n_new] -> [n_batch, n_new, n_vocab]
    """The logits behind each of a few new tokens: what model.forward(…, cache=cache) returns."""
    plan = ops.decode_plan(ids.shape, params, config, cache) if hasattr(ops, "decode_plan") else None
    with np.errstate(all="ignore"):  # as in read()
        if plan is None:
            return model.forward(ids, params, config, ops, cache=cache)[0]
        positions, visible = model.place(ids.shape, config, ops, None, cache)
        x = model.embed(ids, positions, params, config, ops)
        logits = ops.decode_few(x, plan, config, visible, cache)
    cache.advance(ids.shape[1])
    return logits
