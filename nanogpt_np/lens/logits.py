"""What the model would say if it stopped early: the residual stream behind each block, read as if it were the last.

Enter: a GPT and a text. Leave: for each place of the stream and each token the best guess, and how far it is from the
final one. After "interpreting GPT: the logit lens" (nostalgebraist, 2020). Next: lens/attribution.py.
"""

from typing import NamedTuple

import numpy as np

from ..params import unembedding
from .seen import look, spelled, stream
from .tokens import log_softmax


class LogitLensView(NamedTuple):
    """The guess of the next token at each place of the stream; the last row is the model's own."""

    tokens: list  # [n_seq] of str
    names: list  # [2 * n_layer + 1] of str: "embedded", "L0.attn", "L0.ffn", …
    ids: np.ndarray  # int64 [2 * n_layer + 1, n_seq], the best token
    guesses: list  # the same as lists of str
    probs: np.ndarray  # float64 [2 * n_layer + 1, n_seq], its probability
    entropy: np.ndarray  # float64 [2 * n_layer + 1, n_seq], nats
    kl: np.ndarray  # float64 [2 * n_layer + 1, n_seq], nats: KL(final || this one), 0 in the last row


def logit_lens_view(gpt, prompt):
    """What the stream of a text says behind each half-block, through ln_f and the unembedding -> LogitLensView."""
    seen = look(gpt, prompt)
    names, x = stream(seen.acts)
    final = log_softmax(seen.logits)
    said = np.exp(final)
    rows = [_read(log_softmax(read_out(gpt, row)), final, said) for row in x[:-1]]  # one [n_seq, n_vocab] at a time
    ids, probs, entropy, kl = (np.stack(found) for found in zip(*rows, _read(final, final, said), strict=True))
    return LogitLensView(seen.tokens, names, ids, [spelled(gpt, row) for row in ids], probs, entropy, kl)


def _read(row, final, said):  # three of [n_seq, n_vocab]: log-probabilities here and at the end, probabilities there
    """-> the best id, its probability, the entropy, the divergence from what is said at the end: [n_seq] each."""
    probs = np.exp(row)
    entropy = -np.einsum("ij,ij->i", probs, row)
    return row.argmax(axis=-1), probs.max(axis=-1), entropy, np.einsum("ij,ij->i", said, final - row)


def read_out(gpt, x):  # [n_seq, n_embd] -> logits [n_seq, n_vocab]
    """A residual stream through the end of the model: ln_f and the unembedding."""
    final = gpt.ops.layer_norm(x[None], **gpt.params["ln_f"], eps=gpt.config.layer_norm_eps)
    return gpt.ops.unembed(final, unembedding(gpt.params))[0]
