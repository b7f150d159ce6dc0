"""What a model thinks of a text, in numbers: how likely each token was, what may come next, the vectors behind it.

Enter: ids, and a model's parts. Leave: log-probabilities, next tokens, hidden states. One forward pass, a few rows of
logits at a time, so that a long text needs no memory for all of them. Next: generation/completions.py.
"""

from typing import Any, NamedTuple

import numpy as np

from .. import model
from ..errors import InputError, check_whole, shown
from ..params import unembedding
from .sampling import greedy, log_softmax

ROWS = 64  # of logits at once: 13 MB with 50,257 tokens, and twice that in float64


class NextToken(NamedTuple):
    """A token that may come next: its id, its text (None without a vocabulary), the logarithm of its probability."""

    id: int
    text: str | None
    log_prob: float


def hidden(ids, params, config, ops):  # n_seq ids -> [n_seq, n_embd]
    """The output of the last layer norm behind each token: what logits are made of, and `transformers` calls
    last_hidden_state. InputError for no ids, ids outside the vocabulary, and more than n_ctx of them."""
    check_ids(ids, config)
    with np.errstate(all="ignore"):
        return model.trunk(np.array([ids]), params, config, ops)[0][0]


def log_probs(ids, params, config, ops):  # n_seq ids -> float64 [n_seq]
    """The log-probability of each token behind those before it, in nats; NaN for the first, which nothing precedes."""
    final = hidden(ids, params, config, ops)
    return np.concatenate([[np.nan], chosen(final[:-1], ids[1:], params, ops)[0]])


def chosen(final, ids, params, ops):  # [n, n_embd], n ids -> float64 [n], bool [n]
    """The log-probability of each id behind the vector before it, in nats; and is it the likeliest of all?"""
    found, is_likeliest = np.empty(len(ids)), np.empty(len(ids), bool)
    ids = np.array(ids, np.int64)
    for start in range(0, len(ids), ROWS):
        part = slice(start, min(start + ROWS, len(ids)))
        logits = ops.unembed(final[part], unembedding(params))
        is_likeliest[part] = greedy(logits) == ids[part]  # InputError where there are no numbers
        found[part] = np.take_along_axis(log_softmax(logits), ids[part, None], axis=-1)[:, 0]
    return found, is_likeliest


def next_tokens(ids, k, params, config, ops, tokenizer):
    """The k likeliest tokens behind some ids, best first, a list of NextToken; among equals the lower id is first."""
    check_whole("k", k, 1)
    final = hidden(ids, params, config, ops)[-1:]
    logits = ops.unembed(final, unembedding(params))
    greedy(logits)
    return best(log_softmax(logits)[0], k, tokenizer)


def best(row, k, tokenizer):  # float64 [n_vocab]
    """The k best of one row of log-probabilities -> a list of NextToken."""
    order = np.argpartition(-row, k - 1)[:k] if k < len(row) else np.arange(len(row))
    if k < len(row):  # what ties with the last one, and has a lower id, comes before it
        order = np.flatnonzero(row >= row[order].min())
    order = order[np.argsort(-row[order], kind="stable")][:k]
    return [NextToken(int(i), spelled(int(i), tokenizer), float(row[i])) for i in order]


def spelled(token, tokenizer: Any):
    """A token's text, with U+FFFD for half a character; None where the model has no vocabulary, or no such token."""
    if tokenizer is None or token >= tokenizer.n_vocab:
        return None
    return tokenizer.token_bytes(token).decode("utf-8", errors="replace")


def check_ids(ids, config):
    """InputError where there is not one id, or more than the context holds, or one outside the vocabulary."""
    if not 1 <= len(ids) <= config.n_ctx:
        raise InputError(f"prompt: expected 1 to n_ctx = {config.n_ctx} tokens, got {len(ids)}; shorten the text")
    if not 0 <= min(ids) <= max(ids) < config.n_vocab:
        got = f"{shown(min(ids))} to {shown(max(ids))}"
        raise InputError(f"prompt: expected ids from 0 to {config.n_vocab - 1}, got {got}")
