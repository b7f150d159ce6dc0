"""The forward pass as generating needs it: a prompt piece by piece, then few tokens at a time, which continue a cache.

Enter: ids, and the cache that holds what came before. Leave: logits, the cache longer. Ops may offer `read_plan`, with
`decode_few` and `read_piece`, all of model.forward behind the embedding in one compiled call, and `make_cache`, for a
cache of their own. Next: generation/ragged.py.
"""

import numpy as np

from .. import model
from ..kv_cache import KVCache
from ..params import unembedding

PIECE = 256  # tokens of all texts that are read together: more are no faster, and need memory for each
PIECE_OF_INT8 = 128  # the same, where activations are most of the memory
ENOUGH = 32  # of these are no slower by the token; where as many are together, the next text to begin waits for no one
WORTH_IT = 32  # new tokens, for which a shortlist is made; that takes as long as it saves in about ten
SCORES = 1_600_000  # of a piece's attention in one block: 6 MiB, at any length of text


def new_cache(n_batch, n_ctx, params, config, ops):
    """An empty cache of the kind that these ops read fastest."""
    if hasattr(ops, "make_cache"):
        return ops.make_cache(config, n_batch, n_ctx)
    return KVCache(config, n_batch, n_ctx, dtype=params["ln_f"]["weight"].dtype)


def read(ids, params, config, ops, cache, mask=None):  # [n_batch, n_seq] -> [n_batch, 1, n_vocab]
    """Read texts of any length, which continue the cache -> the logits behind their last tokens.

    `mask`: the same shape as `ids`, False at padding, which stands at the left; the longest text comes first. Texts
    that have not begun are not read. Memory is that of one piece: no logits are made but behind the last, and in the
    last block only the last token goes all the way.
    """
    with np.errstate(all="ignore"):  # what overflows shows in the logits, where sampling says so in one line
        *_, logits = read_on(ids, params, config, ops, cache, mask)
    return logits


def read_on(ids, params, config, ops, cache, mask=None):
    """What read() does, a piece at a time: yield None behind each, and the logits behind the last."""
    start, begun = 0, _begun(ids, mask)
    has_scores = plan_of((len(ids), PIECE), params, config, ops, cache) is None
    while (n := _piece(begun[start:], cache.length, config, ops, has_scores)) < ids.shape[1] - start:
        n_rows = begun[start + n - 1]
        part, of_mask = _columns(slice(n_rows), slice(start, start + n), ids, mask)
        begun_ones = cache.first(n_rows)
        _read_piece(part, params, config, ops, begun_ones, of_mask, is_last=False)
        cache.pass_over(begun_ones)
        start += n
        yield None
    part, of_mask = _columns(slice(None), slice(start, None), ids, mask)
    yield _read_piece(part, params, config, ops, cache, of_mask, is_last=True)


def _read_piece(ids, params, config, ops, cache, mask, is_last):  # -> [n_batch, 1, n_vocab], if it `is_last`
    """One piece: in one compiled call where ops have a plan for it, as in decode(); else model.py does it."""
    given = _for_one_call(ids, params, config, ops, cache, mask)
    if given is not None:
        logits = ops.read_piece(*given, is_last)
        cache.advance(ids.shape[1])
        return logits
    if not is_last:
        return model.trunk(ids, params, config, ops, mask=mask, cache=cache, last_only=True)[0]
    return model.forward(ids, params, config, ops, mask=mask, cache=cache, last_only=True)[0]


def plan_of(shape, params, config, ops, cache):
    """What compiled ops have to know of a model to read so many tokens; None where they have no plan for it.

    It holds for the arrays that params have now, whatever is written to them, and for texts of this shape.
    """
    return ops.read_plan(shape, params, config, cache) if hasattr(ops, "read_plan") else None


def _for_one_call(ids, params, config, ops, cache, mask, plan=None):
    """What compiled ops ask for, all that stands before the first block; None where they have no plan for it."""
    plan = plan or plan_of(ids.shape, params, config, ops, cache)
    if plan is None:
        return None
    positions, visible = model.place(ids.shape, config, ops, mask, cache)
    return model.embed(ids, positions, params, config, ops), plan, config, visible, cache


def _columns(rows, columns, ids, mask):
    return ids[rows, columns], None if mask is None else mask[rows, columns]


def _begun(ids, mask):  # -> [n_seq], int
    """How many of the texts have begun at each column: the longest comes first, so that these are the first rows."""
    return np.full(ids.shape[1], len(ids)) if mask is None else np.count_nonzero(mask, axis=0)


def _piece(begun, n_before, config, ops, has_scores):  # [n_seq] -> how many columns
    """How many tokens of each text to read at once, behind so many that were read before.

    `has_scores`: those of all queries and keys of a block are in memory at once; in a compiled call they never are.
    """
    length = np.arange(1, len(begun) + 1)
    scores = begun * config.n_head * (n_before + length) * length * has_scores
    limit = PIECE_OF_INT8 if hasattr(ops, "quantize") else PIECE
    most = max(np.count_nonzero((begun * length <= limit) & (scores <= SCORES)), 1)
    ends = np.flatnonzero(np.diff(begun[:most])) + 1  # behind so many columns another text begins
    worth_it = ends[begun[ends - 1] * ends >= ENOUGH]
    return worth_it[0] if len(worth_it) else most


def shortlist(params, ops, n_new):
    """What lets decode() leave out tokens that cannot be the best; None where ops or so few tokens have no use for it.

    It holds for the weights as they are now.
    """
    return ops.shortlist_of(unembedding(params)) if hasattr(ops, "shortlist_of") and n_new >= WORTH_IT else None


def decode(ids, params, config, ops, cache, short=None, plan=None):  # [n_batch, n_new] -> [n_batch, n_new, n_vocab]
    """The logits behind each of a few new tokens: what model.forward(…, cache=cache) returns.

    With a shortlist() those of one token may be -inf, but for the best, and all that could have been it. Who has made
    a plan_of() the model for these texts can pass it; else each call makes one, in a tenth of a millisecond.

    Ops with a plan do it in one compiled call, which knows GPT-2's blocks: a model.attention or model.ffn that was
    changed is not seen there, and no breakpoint stops. With NumPy's ops it is model.forward itself.
    """
    with np.errstate(all="ignore"):  # as in read()
        given = _for_one_call(ids, params, config, ops, cache, None, plan)
        if given is None:
            return model.forward(ids, params, config, ops, cache=cache)[0]
        logits = ops.decode_few(*given) if short is None else ops.decode_few(*given, short)
    cache.advance(ids.shape[1])
    return logits
