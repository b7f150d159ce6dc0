"""How well does a model predict text it has not seen?

Enter: documents and a model. Leave: nats per token, perplexity, and bits per byte, which compares across vocabularies.
Next: training/samples.py.
"""

import math
from typing import NamedTuple

import numpy as np

from .. import model
from ..errors import InputError, is_number, shown
from . import data


class Evaluation(NamedTuple):
    """A measured loss: `nats` in all over `n_tokens` predicted tokens that spell `n_bytes` bytes of UTF-8."""

    nats: float
    n_tokens: int
    n_bytes: int

    @property
    def loss(self):
        """Mean cross-entropy in nats per token."""
        return self.nats / self.n_tokens

    @property
    def perplexity(self):
        """e to the loss: among how many equally likely tokens the model might as well have chosen."""
        return math.exp(self.loss) if self.loss < 709 else math.inf  # beyond, a float has no room

    @property
    def bits_per_byte(self):
        """Bits needed per byte of text; the <|endoftext|> tokens cost bits and add no bytes."""
        return self.nats / math.log(2.0) / self.n_bytes

    def __str__(self):
        loss, bits = f"{self.loss:.4f} nats per token", f"{self.bits_per_byte:.4f} bits per byte"
        return f"{loss} (perplexity {self.perplexity:,.2f}), {bits}"


def evaluate(ids, n_bytes, params, config, ops, batch_size=16, spread=map):
    """Predict every id but the first once, in windows of n_ctx that do not overlap -> Evaluation.

    `ids`: [n], one row, as encode_documents makes it; `n_bytes`: the bytes of the documents alone. `spread(function,
    items)` yields function(item) of each in order: Ranks.map shares them among processes.
    """
    def of_one(rows):
        return nats_of(rows, params, config, ops)

    return Evaluation(sum(spread(of_one, _windows(ids, config.n_ctx, batch_size)), 0.0), len(ids) - 1, n_bytes)


def nats_of(rows, params, config, ops):  # [n_batch, n_seq + 1] -> float
    """What it costs to predict every id of some rows but their first ones."""
    rows = np.asarray(rows, np.int64)
    inputs, targets = rows[:, :-1], rows[:, 1:]
    # int8 rounds what is remembered too, so the loss is to be that of a text read with its cache
    cache = ops.make_cache(config, *inputs.shape) if hasattr(ops, "make_cache") else None
    final, _ = model.trunk(inputs, params, config, ops, cache=cache)
    final = final.reshape(-1, config.n_embd)
    losses, _ = ops.cross_entropy(final, model.unembedding(params), targets.reshape(-1))
    return float(losses.sum(dtype=np.float64))


def evaluate_files(gpt, paths, held_out=None, spread=map):
    """How well a GPT predicts text files -> Evaluation.

    `held_out`: only the documents that training with this share sets aside; None: all of them. `spread`: as for
    evaluate. InputError where the model has no tokenizer, or there is no text.
    """
    if gpt.tokenizer is None:
        raise InputError("eval: expected a model with vocabulary files, got one without; add vocab.json and merges.txt")
    if held_out is not None:
        check_share(held_out)
    documents = data.read_documents(paths)
    if held_out is not None:
        _, documents = data.split_held_out(documents, held_out)
    ids = data.encode_documents(documents, gpt.tokenizer)
    if len(ids) < 2:
        raise InputError(f"data: expected at least two tokens to predict one from the other, got {len(ids)}")
    result = evaluate(ids, count_bytes(documents), gpt.params, gpt.config, gpt.ops, spread=spread)
    if not math.isfinite(result.nats):
        raise InputError(f"expected a finite loss, got {result.nats}; the weights are broken")
    return result


def check_share(held_out):
    """InputError for what no training sets aside."""
    if not (is_number(held_out) and 0.0 < held_out <= 0.5):
        raise InputError(f"held_out: expected a share above 0, at most 0.5, got {shown(held_out)}")


def count_bytes(documents):
    """The UTF-8 bytes of some texts."""
    return sum(len(text.encode("utf-8")) for text in documents)


def _windows(ids, n_ctx, batch_size):
    """Batches of full windows, then the shorter rest by itself: rows of inputs with one target more."""
    ids = np.asarray(ids, np.int64)
    n_full = (len(ids) - 1) // n_ctx
    starts = np.arange(n_full) * n_ctx
    for first in range(0, n_full, batch_size):
        yield ids[starts[first : first + batch_size, None] + np.arange(n_ctx + 1)]
    rest = ids[n_full * n_ctx :][None]
    if rest.shape[1] > 1:
        yield rest
