"""What the weights look like, and where rounding them to int8 enters the residual stream.

Enter: a GPT, or the same model twice: with float weights and with int8. Leave: a row for each parameter; errors layer
by layer. Next: lens/steps.py.
"""

from typing import NamedTuple

import numpy as np

from ..errors import InputError, check_whole
from ..params import walk
from .seen import look, need_floats, stream
from .tokens import log_softmax


class WeightsView(NamedTuple):
    """How the numbers of each parameter are spread; rows in the order of the forward pass."""

    names: list  # [n_params] of str
    mean: np.ndarray  # float64 [n_params]
    std: np.ndarray  # float64 [n_params]
    largest: np.ndarray  # float64 [n_params], the largest magnitude
    outliers: np.ndarray  # float64 [n_params], the share of numbers beyond 6 standard deviations from the mean
    edges: np.ndarray  # float64 [n_bins + 1], in standard deviations from the mean
    counts: np.ndarray  # int64 [n_params, n_bins]; what lies outside is counted in the first and the last


class RoundingView(NamedTuple):
    """How far a model with int8 weights is from itself with float ones, over a text."""

    tokens: list  # [n_seq] of str
    names: list  # [2 * n_layer + 1] of str: "embedded", "L0.attn", …
    errors: np.ndarray  # float64 [2 * n_layer + 1, n_seq], length of the difference over that of the stream
    logits: np.ndarray  # float64 [n_seq], the largest difference of a logit
    agree: np.ndarray  # bool [n_seq], whether both find the same token likeliest
    loss: float  # nats per token, with float weights; NaN for a text of one token
    loss_int8: float


def weights_view(gpt, n_bins=48):
    """How the numbers of each parameter are spread -> WeightsView; InputError for int8 weights."""
    check_whole("n_bins", n_bins, 2)
    need_floats(gpt, "weights")
    edges = np.linspace(-6.0, 6.0, n_bins + 1)
    names, rows, counts = [], [], []
    for name, array in walk(gpt.params):
        x = array.astype(np.float64).ravel()
        mean, std = x.mean(), x.std()
        z = (x - mean) / (std or 1.0)
        names.append(name)
        rows.append((mean, std, np.abs(x).max(), (np.abs(z) > 6.0).mean()))
        counts.append(np.histogram(np.clip(z, -6.0, 6.0), edges)[0])
    return WeightsView(names, *np.array(rows).T, edges, np.stack(counts))


def rounding_view(gpt, rounded, prompt):
    """Where the rounding of `rounded` (the model with ops="int8") enters a text's residual stream -> RoundingView.

    InputError where the two are not of one shape.
    """
    if gpt.config != rounded.config:
        raise InputError("rounded: expected the same model with ops='int8', got one of another shape")
    ours, theirs = look(gpt, prompt), look(rounded, prompt)
    (names, x), (_, y) = stream(ours.acts), stream(theirs.acts)
    length = np.maximum(np.linalg.norm(x.astype(np.float64), axis=-1), np.finfo(np.float64).tiny)
    errors = np.linalg.norm(y.astype(np.float64) - x, axis=-1) / length
    furthest = np.abs(theirs.logits.astype(np.float64) - ours.logits).max(axis=-1)
    agree = ours.logits.argmax(axis=-1) == theirs.logits.argmax(axis=-1)
    return RoundingView(ours.tokens, names, errors, furthest, agree, _loss(ours), _loss(theirs))


def _loss(seen):
    """Mean cross-entropy of the next tokens in nats; NaN where there are none."""
    said = seen.ids[1:]
    return float(-log_softmax(seen.logits[:-1])[np.arange(len(said)), said].mean()) if len(said) else float("nan")
