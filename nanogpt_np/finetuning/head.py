"""A classifier's arithmetic: of each text the last token's vector -> a logit for each class, and back.

Enter: ids padded on the right, the length of each text, and params with `score` beside GPT-2's own. Leave: logits
[n_batch, n_label]; the loss and its gradients. As GPT2ForSequenceClassification of `transformers` has it (Radford et
al. 2018, section 3.2), except that the last token is found by the text's length: that library looks for the last one
that is not padding, and where padding is <|endoftext|>, a text that ends in that is read one token too short.
Next: finetuning/examples.py.
"""

import numpy as np

from .. import model
from ..params import STD, Named, nest, walk
from ..training import backward

SCORE = "score.weight"  # [n_label, n_embd]; no bias


def with_score(params, n_label, rng):
    """-> nested params for `n_label` classes: those of a GPT-2 without its lm_head, and a fresh score, normal(0, 0.02).

    The arrays are the same ones, not copies. `rng`: a numpy Generator.
    """
    named = {name: array for name, array in walk(params) if name != "lm_head.weight"}
    wte = named["wte.weight"]
    named[SCORE] = (rng.standard_normal((n_label, wte.shape[1]), dtype=np.float32) * STD).astype(wte.dtype)
    return nest(named)


def pad(rows):
    """Rows of ids of any lengths -> ids [n_batch, n_seq], zeros behind each text, and their lengths [n_batch].

    pad([[5, 6, 7], [8]])[1].tolist() -> [3, 1]
    What stands behind a text changes nothing: no token sees a later one, and pool() takes none of it.
    """
    lengths = np.array([len(row) for row in rows])
    ids = np.zeros((len(rows), lengths.max()), np.int64)
    for row, place in zip(rows, ids, strict=True):
        place[: len(row)] = row
    return ids, lengths


def pool(x, lengths):  # [n_batch, n_seq, n_embd], [n_batch] -> [n_batch, n_embd]
    """The last token's vector of each text, which has seen all of it."""
    return x[np.arange(len(x)), lengths - 1]


def pool_backward(dout, x, lengths):  # [n_batch, n_embd] -> [n_batch, n_seq, n_embd]
    """Undo `x[:, lengths - 1]`: the gradient comes to that token alone."""
    dx = np.zeros_like(x)
    dx[np.arange(len(x)), lengths - 1] = dout
    return dx


def features(ids, lengths, params, config, ops):  # [n_batch, n_seq], [n_batch] -> [n_batch, n_embd]
    """What the head reads of each text."""
    final, _ = model.trunk(ids, params, config, ops)
    return pool(final, lengths)


def class_logits(ids, lengths, params, config, ops):  # [n_batch, n_seq], [n_batch] -> [n_batch, n_label]
    """How well each text agrees with each class: pooled @ score.T"""
    return ops.unembed(features(ids, lengths, params, config, ops), params["score"]["weight"])


def loss_and_grads(
    ids, lengths, labels, params, config, ops, *, class_weights=None, dropout=None, n_idle=0
):  # fmt: skip
    """-> mean cross-entropy (nats per text, a float) and its gradients, nested like `params`.

    `labels`: whole numbers [n_batch]. `class_weights` [n_label]: what a text of each class counts; the mean is the
    weighted one, as PyTorch's. `n_idle` lowest stages are not gone through backward (see parts.n_idle).
    """
    final, acts = model.trunk(ids, params, config, ops, keep_acts=True, dropout=dropout)
    pooled, score = pool(final, lengths), params["score"]["weight"]
    weights = np.ones(len(labels)) if class_weights is None else np.asarray(class_weights, np.float64)[labels]
    weights = (weights / weights.sum()).astype(pooled.dtype)
    losses, log_z = ops.cross_entropy(pooled, score, labels)
    dpooled, dscore = ops.cross_entropy_backward(weights, pooled, score, labels, log_z)
    dfinal = pool_backward(dpooled, final, lengths)
    grads = backward.trunk_backward(dfinal, acts, params, config, ops, dropout, n_idle)
    grads["score"] = {"weight": dscore}
    return float((losses * weights).sum(dtype=np.float64)), Named(grads)
