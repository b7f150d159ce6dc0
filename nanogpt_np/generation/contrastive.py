"""Contrastive search: a likely token that is unlike everything before it, so that nothing repeats itself.

Enter: prompts, and a request with a penalty_alpha and a top_k. Leave: the next id of each, step by step, nothing drawn.
Of the k likeliest tokens each is tried; the one with the best (1 - alpha) * probability - alpha * (largest cosine of
its last hidden state with any before) is said (Su et al. 2022, eq. 5; `penalty_alpha` of transformers 4).
Next: generation/scores.py.
"""

import numpy as np

from .. import model
from ..errors import InputError, shown
from ..params import unembedding
from . import budget, decoding
from .request import Step, plan_length
from .sampling import Sampling, greedy, probabilities

TOP_K = 4  # where none is named; Su et al. take 4 to 8


def check_request(request):
    """InputError for what only makes sense where tokens are drawn."""
    for name in ("temperature", "top_p", "min_p", "typical_p"):
        value = getattr(request.sampling, name)
        if value != getattr(Sampling, name):
            expected = "none with penalty_alpha, which draws nothing"
            raise InputError(f"{name}: expected {expected}, got {shown(value)}; leave one out")
    for name, usual in (("seed", None), ("speculate", 0), ("num_return_sequences", 1), ("overflow", "error")):
        value = getattr(request, name)
        if value != usual:
            raise InputError(f"{name}: expected {usual!r} with penalty_alpha, got {shown(value)}; leave one out")


def plan(prompts, params, config, ops, request):
    """-> how many tokens may be made, and k; InputError where they do not fit: here the last one is read, too."""
    check_request(request)
    max_new, room = plan_length(prompts, config, request), config.n_ctx - max(map(len, prompts))
    if request.max_new_tokens is not None and max_new > room:
        expected = f"at most {room} with penalty_alpha, which reads the last one too"
        raise InputError(f"max_new_tokens: expected {expected}, got {shown(max_new)}; ask for fewer")
    k = min(request.sampling.top_k or TOP_K, config.n_vocab)
    budget.check(prompts, params, config, ops, request, max_new, k, "top_k")
    return min(max_new, room), k


def stream_steps(prompts, params, config, ops, request, rows, max_new, k):
    """Yield what tokens.stream_steps yields; `rows`: a tokens.Rows. The cache of each prompt stands there k times."""
    if max_new == 0:
        return
    final, visible, cache = read(prompts, params, config, ops, max_new, k)
    logits, n_seen = ops.unembed(final[:, -1], unembedding(params)), final.shape[1]
    hidden = np.concatenate([unit(final), np.empty_like(final, shape=(len(final), max_new, final.shape[2]))], axis=1)
    for n_new in range(max_new):
        candidates, probs = likeliest(rows.processed(logits, n_new), rows.live, len(prompts), k)
        final, _ = model.trunk(candidates.reshape(-1, 1), params, config, ops, cache=cache)
        final = final.reshape(len(prompts), k, -1)
        best = rank(probs, unit(final), hidden[:, :n_seen], visible[:, :n_seen], request.penalty_alpha)
        ids = rows.add(np.take_along_axis(candidates, best[:, None], axis=1)[rows.live, 0])
        if rows.any_said or n_new == 0:
            yield Step(ids, logits, rows.reasons)
        if not rows.live:
            return
        of_best = final[np.arange(len(prompts)), best]
        cache.share_last(np.repeat(np.arange(len(prompts)) * k + best, k))
        hidden[:, n_seen], n_seen = unit(of_best), n_seen + 1
        logits = ops.unembed(of_best, unembedding(params))
    rows.end()


def read(prompts, params, config, ops, max_new, k):
    """Read the prompts, padded on the left -> their last hidden states [n_batch, longest, n_embd], where those are no
    padding, bool [n_batch, longest + max_new], and a cache in which each stands k times."""
    longest = max(map(len, prompts))
    ids = np.array([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = np.array([[False] * (longest - len(prompt)) + [True] * len(prompt) for prompt in prompts])
    cache = decoding.new_cache(len(prompts), longest + max_new, params, config, ops)
    final, _ = model.trunk(ids, params, config, ops, mask=mask, cache=cache)
    visible = np.concatenate([mask, np.ones((len(prompts), max_new), bool)], axis=1)
    return final, visible, cache.select(np.repeat(np.arange(len(prompts)), k))


def likeliest(logits, live, n_batch, k):  # [n_live, n_vocab] -> int64 [n_batch, k], float64 [n_batch, k]
    """The k likeliest ids of each row that goes on, and their probabilities; a row that has ended gets zeros."""
    greedy(logits)  # InputError where there are no numbers to compare
    candidates, probs = np.zeros((n_batch, k), np.int64), np.zeros((n_batch, k))
    of_live = probabilities(logits)
    candidates[live] = np.argsort(-of_live, axis=-1, kind="stable")[:, :k]
    probs[live] = np.take_along_axis(of_live, candidates[live], axis=-1)
    return candidates, probs


def rank(probs, candidates, before, visible, alpha):
    """The best candidate of each row, int64 [n_batch]: eq. 5; what is banned has no probability, and is never it.

    probs [n_batch, k], candidates [n_batch, k, n_embd] and before [n_batch, n_seen, n_embd] of length 1, visible
    [n_batch, n_seen].
    """
    cosines = np.where(visible[:, None], candidates @ before.swapaxes(1, 2), -np.inf)  # -> [n_batch, k, n_seen]
    scores = (1 - alpha) * probs - alpha * cosines.max(axis=-1)
    return np.where(probs > 0, scores, -np.inf).argmax(axis=-1)


def unit(x):  # [..., n_embd] -> the same
    """Each vector divided by its length."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)
