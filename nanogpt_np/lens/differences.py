"""Two passes side by side: two texts, two models, float weights and int8 ones, one pass with parts taken out.

Enter: two Readings, each of a GPT, a text, and perhaps parts that give 0 instead. Leave: what each would say next, and,
where the two have as many tokens and one shape, how far apart they are at every place. Next: lens/generated.py.
"""

from typing import NamedTuple

import numpy as np

from ..generation.sampling import log_softmax
from .interventions import run, taken_out
from .seen import look, spelled, stream


class Reading(NamedTuple):
    """One pass over a text, as far as it can be compared with another."""

    tokens: list  # [n_seq] of str
    ids: np.ndarray  # int64 [n_seq]
    logits: np.ndarray  # [n_seq, n_vocab]
    names: list  # [2 * n_layer + 1] of str: "embedded", "L0.attn", "L0.ffn", …
    stream: np.ndarray  # [2 * n_layer + 1, n_seq, n_embd]
    words: str | None  # the fingerprint of its vocabulary, None without one


class DifferenceView(NamedTuple):
    """How far two passes are apart; None for what two passes of other lengths or shapes do not have."""

    ids: np.ndarray | None  # int64 [k], the likeliest next tokens of both, the likeliest first
    tokens: list | None  # [k] of str
    probs: np.ndarray | None  # float64 [2, k], behind the last token
    logits: np.ndarray | None  # [2, k]
    losses: list  # two of float64 [n_seq], nats; NaN for the first
    kl: np.ndarray | None  # float64 [n_seq], nats: KL(first || second) of the next token behind each
    agree: np.ndarray | None  # bool [n_seq], whether both find the same token likeliest
    furthest: np.ndarray | None  # float64 [n_seq], the largest difference of a logit
    names: list | None  # [2 * n_layer + 1] of str
    relative: np.ndarray | None  # float64 [2 * n_layer + 1, n_seq], length of the difference over the first's


def reading(gpt, prompt, without=()):
    """One pass -> Reading; `without`: parts that give 0, as taken_out() has them. InputError where one is not there."""
    changes, words = taken_out(gpt, without), None if gpt.tokenizer is None else gpt.tokenizer.fingerprint
    if not changes:
        seen = look(gpt, prompt)
        return Reading(seen.tokens, seen.ids, seen.logits, *stream(seen.acts), words)
    found = run(gpt, prompt, changes)
    names, x = ["embedded"], [found.sites["resid_pre", 0]]
    for layer in range(gpt.config.n_layer):
        names += [f"L{layer}.attn", f"L{layer}.ffn"]
        x += [found.sites["resid_mid", layer], found.sites["resid_post", layer]]
    return Reading(found.tokens, found.ids, found.logits, names, np.stack(x), words)


def difference_view(gpt, first, second, k=12):
    """Two Readings compared -> DifferenceView; `gpt` spells the tokens, `k`: of each the likeliest that are named."""
    same_words = first.words == second.words and first.logits.shape[1] == second.logits.shape[1]
    aligned = same_words and len(first.ids) == len(second.ids)
    same_shape = len(first.ids) == len(second.ids) and first.stream.shape == second.stream.shape
    one, two = log_softmax(first.logits), log_softmax(second.logits)
    losses = [_losses(rows, side.ids) for rows, side in ((one, first), (two, second))]
    next_ones = _next(gpt, first, second, one[-1], two[-1], k) if same_words else (None,) * 4
    apart = (None,) * 3
    if aligned:
        kl = (np.exp(one) * (one - two)).sum(axis=-1)
        agree = first.logits.argmax(axis=-1) == second.logits.argmax(axis=-1)
        apart = kl, agree, np.abs(first.logits.astype(np.float64) - second.logits).max(axis=-1)
    places = (first.names, _relative(first.stream, second.stream)) if same_shape else (None, None)
    return DifferenceView(*next_ones, losses, *apart, *places)


def _next(gpt, first, second, one, two, k):
    best = [np.argsort(-row, kind="stable")[:k] for row in (one, two)]
    ids = np.unique(np.concatenate(best))
    probs = np.exp(np.stack([one[ids], two[ids]]))
    order = np.argsort(-probs.max(axis=0), kind="stable")
    ids = ids[order]
    return ids, spelled(gpt, ids), probs[:, order], np.stack([side.logits[-1, ids] for side in (first, second)])


def _losses(log_probs, ids):
    """-log of what each token's probability was; NaN for the first."""
    return np.append(np.nan, -log_probs[np.arange(len(ids) - 1), ids[1:]])


def _relative(x, y):
    x = x.astype(np.float64)
    return np.linalg.norm(y - x, axis=-1) / np.maximum(np.linalg.norm(x, axis=-1), np.finfo(np.float64).tiny)
