"""The residual stream on its way through the blocks: its length, what is added, what layer norm and GELU make of it.

Enter: a GPT and a text. Leave: arrays, a row for each place of the stream. Next: lens/logits.py.
"""

from typing import NamedTuple

import numpy as np

from ..errors import check_whole
from .seen import check_place, look, spelled, stream


class ResidualView(NamedTuple):
    """The stream's length (Euclidean norm), and what each half-block added to it."""

    tokens: list  # [n_seq] of str
    names: list  # [2 * n_layer + 1] of str: "embedded", "L0.attn", "L0.ffn", …
    norms: np.ndarray  # float64 [2 * n_layer + 1, n_seq], of the stream behind each of them
    added: np.ndarray  # float64 [2 * n_layer, n_seq], norms of what each half-block added
    along: np.ndarray  # float64 [2 * n_layer, n_seq], cosine of that with the stream it was added to


class LayerNorms(NamedTuple):
    """What each layer norm found in the stream and took out."""

    tokens: list  # [n_seq] of str
    names: list  # [2 * n_layer + 1] of str: "L0.ln_1", "L0.ln_2", …, "ln_f"
    means: np.ndarray  # float64 [2 * n_layer + 1, n_seq]
    stds: np.ndarray  # float64 [2 * n_layer + 1, n_seq], sqrt(variance + eps): what it divides by


class Neurons(NamedTuple):
    """The hidden units of one feed-forward network over a text."""

    tokens: list  # [n_seq] of str
    layer: int
    on: np.ndarray  # float64 [n_seq], the share of units whose input is above 0
    strongest: np.ndarray  # int64 [n_seq, k], the units with the largest output, largest first
    values: np.ndarray  # [n_seq, k], their outputs


class NeuronTexts(NamedTuple):
    """Where one unit is excited most, over several texts; the strongest place first."""

    layer: int
    neuron: int
    texts: list  # [k] of lists of str: the tokens of the text
    positions: np.ndarray  # int64 [k], the place in it
    values: np.ndarray  # float64 [k], the unit's output there


def residual_view(gpt, prompt):
    """How the residual stream of a text grows -> ResidualView."""
    seen = look(gpt, prompt)
    names, x = stream(seen.acts)
    x = x.astype(np.float64)
    added = np.diff(x, axis=0)
    norms, lengths = np.linalg.norm(x, axis=-1), np.linalg.norm(added, axis=-1)
    across = np.maximum(lengths * norms[:-1], np.finfo(np.float64).tiny)
    return ResidualView(seen.tokens, names, norms, lengths, (added * x[:-1]).sum(axis=-1) / across)


def layer_norms(gpt, prompt):
    """The mean and the scale that each layer norm takes out of the stream of a text -> LayerNorms."""
    seen = look(gpt, prompt)
    x = stream(seen.acts).x.astype(np.float64)
    names = [f"L{layer}.{norm}" for layer in range(gpt.config.n_layer) for norm in ("ln_1", "ln_2")]
    stds = np.sqrt(x.var(axis=-1) + gpt.config.layer_norm_eps)
    return LayerNorms(seen.tokens, [*names, "ln_f"], x.mean(axis=-1), stds)


def neurons(gpt, prompt, layer, k=5):
    """Which hidden units of a block's feed-forward network a text turns on -> Neurons.

    InputError where there is no such layer.
    """
    layer = check_place("layer", layer, gpt.config.n_layer)
    check_whole("k", k, 1)
    seen = look(gpt, prompt)
    acts = seen.acts.blocks[layer].ffn
    hidden = acts.hidden[0]
    strongest = np.argsort(-hidden, axis=-1, kind="stable")[:, :k]
    on = (acts.pre_gelu[0] > 0).mean(axis=-1)
    return Neurons(seen.tokens, layer, on, strongest, np.take_along_axis(hidden, strongest, axis=-1))


def neuron_texts(gpt, texts, layer, neuron, k=5):
    """The places in `texts` (a list of texts, or of lists of ids) that excite one hidden unit most -> NeuronTexts.

    InputError where there is no such layer or unit.
    """
    layer = check_place("layer", layer, gpt.config.n_layer)
    neuron = check_place("neuron", neuron, gpt.config.n_hidden)
    check_whole("k", k, 1)
    found = []
    for number, text in enumerate(texts):
        seen = look(gpt, text)
        values = seen.acts.blocks[layer].ffn.hidden[0, :, neuron]
        found += [(-float(value), number, place, seen.ids) for place, value in enumerate(values)]
    best = sorted(found, key=lambda row: row[:3])[:k]
    places = np.array([place for _, _, place, _ in best])
    values = np.array([-value for value, _, _, _ in best])
    return NeuronTexts(layer, neuron, [spelled(gpt, ids) for *_, ids in best], places, values)
