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

    `mask`: the same shape as `ids`, 0 at padding. Memory is that of one piece: model.trunk reads all but the last, and
    makes no logits; in the last block only the last token goes all the way.
    """
    start = 0
    with np.errstate(all="ignore"):  # what overflows shows in the logits, where sampling says so in one line
        while (n := _piece(len(ids), cache.length, config, ops)) < ids.shape[1] - start:
            part, of_mask = _columns(start, start + n, ids, mask)
            model.trunk(part, params, config, ops, mask=of_mask, cache=cache, last_only=True)
            start += n
        part, of_mask = _columns(start, None, ids, mask)
        return model.forward(part, params, config, ops, mask=of_mask, cache=cache, last_only=True)[0]


def _columns(start, end, ids, mask):
    return ids[:, start:end], None if mask is None else mask[:, start:end]


def _piece(n_batch, n_before, config, ops):
    """How many tokens of each text to read at once, behind so many that were read before."""
    most = (PIECE_OF_INT8 if hasattr(ops, "quantize") else PIECE) // n_batch
    seen = n_batch * config.n_head * (n_before + most)
    return max(min(most, SCORES // max(seen, 1)), 1)


def decode(ids, params, config, ops, cache):  # [n_batch, n_new] -> [n_batch, n_new, n_vocab]
    """The logits behind each of a few new tokens: what model.forward(…, cache=cache) returns.

    Ops with a plan do it in one compiled call, which knows GPT-2's blocks: a model.attention or model.ffn that was
    changed is not seen there, and no breakpoint stops. With NumPy's ops it is model.forward itself.
    """
    plan = ops.decode_plan(ids.shape, params, config, cache) if hasattr(ops, "decode_plan") else None
    with np.errstate(all="ignore"):  # as in read()
        if plan is None:
            return model.forward(ids, params, config, ops, cache=cache)[0]
        positions, visible = model.place(ids.shape, config, ops, None, cache)
        x = model.embed(ids, positions, params, config, ops)
        logits = ops.decode_few(x, plan, config, visible, cache)
    cache.advance(ids.shape[1])
    return logits
