"""Who looks at whom: all heads at once, one head step by step, and what kind of head each is.

Enter: a GPT and a text. Leave: arrays. Layers and heads count from 0; L3.H5 is head 5 of block 3.
Next: lens/residual.py.
"""

import math
from typing import NamedTuple

import numpy as np

from .. import ops
from ..errors import InputError, check_whole
from .seen import check_place, look


class AttentionGrid(NamedTuple):
    """Every head's pattern: how much each token (row) looks at each (column)."""

    tokens: list  # [n_seq] of str
    probs: np.ndarray  # [n_layer, n_head, n_seq, n_seq], rows sum to 1


class AttentionView(NamedTuple):
    """One head, stage by stage; of n_seq queries (rows) and keys (columns)."""

    tokens: list  # [n_seq] of str
    layer: int
    head: int
    q: np.ndarray  # [n_seq, d_head], what each token asks
    k: np.ndarray  # [n_seq, d_head], what each answers to
    v: np.ndarray  # [n_seq, d_head], what each hands over
    scores: np.ndarray  # [n_seq, n_seq], q k^T
    scaled: np.ndarray  # [n_seq, n_seq], scores / sqrt(d_head)
    masked: np.ndarray  # [n_seq, n_seq], -inf where a key comes later than its query, or before its band
    probs: np.ndarray  # [n_seq, n_seq], softmax of each row
    mixed: np.ndarray  # [n_seq, d_head], probs @ v


class HeadSummaries(NamedTuple):
    """What kind of head each is, as means over a text's queries; float64 [n_layer, n_head] each."""

    previous: np.ndarray  # attention to the token before; over all queries but the first
    first: np.ndarray  # attention to the first token; over all queries but the first
    itself: np.ndarray  # attention to the query's own token; the same
    entropy: np.ndarray  # of a query's attention, as a share of the largest it could have, log(query + 1); the same
    induction: np.ndarray  # attention to what came after earlier occurrences of the query's token; NaN without any


def attention_grid(gpt, prompt):
    """The attention pattern of every head over a text -> AttentionGrid."""
    seen = look(gpt, prompt)
    return AttentionGrid(seen.tokens, _patterns(seen.acts))


def attention_view(gpt, prompt, layer, head):
    """One head's attention over a text, in its stages -> AttentionView (Vaswani et al. 2017, section 3.2.1).

    `probs` and all before the scores are what the model computed; the stages between are computed from them here.
    InputError where there is no such layer or head.
    """
    layer = check_place("layer", layer, gpt.config.n_layer)
    head = check_place("head", head, gpt.config.n_head)
    seen = look(gpt, prompt)
    acts = seen.acts.blocks[layer].attn
    q, k, v, probs = (array[0, head] for array in (acts.q, acts.k, acts.v, acts.probs))
    scores = q @ k.T
    scaled = scores / math.sqrt(gpt.config.d_head)
    visible = ops.band_mask(*scaled.shape, gpt.config.window_of(layer) or len(scaled))
    masked = np.where(visible, scaled, -np.inf).astype(scaled.dtype)
    return AttentionView(seen.tokens, layer, head, q, k, v, scores, scaled, masked, probs, probs @ v)


def head_summaries(gpt, prompt):
    """What kind of head each is on a text -> HeadSummaries; InputError for a text of one token.

    Induction heads (Olsson et al. 2022) show on a text that repeats itself: see induction_scores.
    """
    seen = look(gpt, prompt)
    n_seq = len(seen.ids)
    if n_seq < 2:
        raise InputError("prompt: expected at least two tokens, got one; a lone token can look at itself only")
    probs = _patterns(seen.acts).astype(np.float64)
    queries = np.arange(1, n_seq)
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = np.where(probs > 0, -probs * np.log(probs), 0.0).sum(axis=-1)[..., 1:]
    return HeadSummaries(
        previous=probs[:, :, queries, queries - 1].mean(axis=-1),
        first=probs[:, :, 1:, 0].mean(axis=-1),
        itself=probs[:, :, queries, queries].mean(axis=-1),
        entropy=(surprise / np.log(queries + 1)).mean(axis=-1),
        induction=_induction(probs, seen.ids),
    )


def induction_scores(gpt, n_tokens=None, seed=0):
    """How much each head continues what it has seen before -> float64 [n_layer, n_head], 0 to 1.

    The text is `n_tokens` random ids (as many as fit twice, at most 50), said twice. In the second half a head may
    look at what followed the same token in the first; the mean of that attention is its score (Olsson et al. 2022).
    """
    most = gpt.config.n_ctx // 2
    n_tokens = min(most, 50) if n_tokens is None else n_tokens
    check_whole("n_tokens", n_tokens, 2)
    if n_tokens > most:
        raise InputError(f"n_tokens: expected at most {most}, as they are said twice, got {n_tokens}; ask for fewer")
    if n_tokens > gpt.config.n_vocab:
        raise InputError(f"n_tokens: expected at most n_vocab = {gpt.config.n_vocab}, got {n_tokens}; ask for fewer")
    rng = np.random.default_rng(seed)
    once = rng.permutation(gpt.config.n_vocab)[:n_tokens]
    ids = np.concatenate([once, once])
    _, acts = gpt(ids, keep_acts=True)
    return _induction(_patterns(acts).astype(np.float64), ids)


def _patterns(acts):  # -> [n_layer, n_head, n_seq, n_seq]
    return np.stack([block.attn.probs[0] for block in acts.blocks])


def _induction(probs, ids):
    """Mean attention to the successors of earlier occurrences, over the queries that have some; NaN where none has."""
    n_seq = len(ids)
    earlier = np.tril(ids[:, None] == ids[None, :], k=-1)  # [query, place] where the query's token stood before
    successors = np.zeros((n_seq, n_seq), bool)
    successors[:, 1:] = earlier[:, :-1]
    some = successors.any(axis=1)
    if not some.any():
        return np.full(probs.shape[:2], np.nan)
    return (probs * successors).sum(axis=-1)[..., some].mean(axis=-1)
