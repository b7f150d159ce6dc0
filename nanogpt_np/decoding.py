"""The forward pass as generating needs it: a prompt piece by piece, then few tokens at a time, which continue a cache.

Enter: ids, and the cache that holds what came before. Leave: logits, the cache longer. Ops may offer `decode_block`,
a whole block in one compiled call; model.py is what it must equal. Next room: speculation.py.
"""

from . import model

PIECE = 256  # tokens of all texts that are read together: more are no faster, and need memory for each
PIECE_OF_INT8 = 128  # the same, where activations are most of the memory


def read(ids, params, config, ops, cache, mask=None):  # [n_batch, n_seq] -> [n_batch, 1, n_vocab]
    """Read texts of any length, which continue the cache -> the logits behind their last tokens.

    `mask`: the same shape as `ids`, 0 at padding.
    """
    piece = PIECE_OF_INT8 if hasattr(ops, "quantize") else PIECE
    step = max(piece // len(ids), 1)
    for start in range(0, ids.shape[1], step):
        piece = slice(start, start + step)
        part = None if mask is None else mask[:, piece]
        final, _ = model.trunk(ids[:, piece], params, config, ops, mask=part, cache=cache, last_only=True)
    return ops.unembed(final, model.unembedding(params))


def decode(ids, params, config, ops, cache):  # [n_batch, n_new] -> [n_batch, n_new, n_vocab]
    """The logits behind each of a few new tokens: what model.gpt(…, cache=cache) returns."""
    if not hasattr(ops, "decode_block") or not ops.fits_decode_block(ids.size, params, config, cache):
        return model.gpt(ids, params, config, ops, cache=cache)[0]
    positions, visible = model.place(ids.shape, config, ops, None, cache)
    x = model.embed(ids, positions, params, config, ops)
    for layer, block_params in enumerate(params["h"]):
        x = ops.decode_block(x, block_params, config, visible, cache, layer)
    cache.advance(ids.shape[1])
    final = ops.layer_norm(x, **params["ln_f"], eps=config.layer_norm_eps)
    return ops.unembed(final, model.unembedding(params))
