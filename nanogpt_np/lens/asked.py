"""What `nanogpt-np inspect` can show: a name -> a view and its picture.

Enter: a GPT, a text, a name of WHATS, perhaps a layer, a head, a place, another text. Leave: the NamedTuple of arrays,
a Figure, or the arrays as what JSON can hold. Next: evaluation/likelihood.py.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError, check_choice
from ..generation.sampling import Sampling
from ..gpt import GPT
from ..storage import registry
from . import (
    attention,
    attribution,
    cost,
    cost_pictures,
    embeddings,
    gradients,
    head_pictures,
    learning,
    learning_pictures,
    logits,
    patching,
    playback,
    residual,
    sampling,
    stream_pictures,
    token_pictures,
    tokens,
    weights,
)
from .seen import ids_of, need_floats

WHATS = {  # what is shown, in words
    "tokens": "how unexpected each token was", "next": "what may come next", "sampling": "from logits to one token",
    "neighbours": "which tokens lie near one", "positions": "which positions are alike",
    "attention": "every head's pattern", "head": "one head's pattern", "lines": "one head's pattern over the text",
    "stages": "one head, stage by stage", "heads": "what kind of head each is",
    "residual": "how the residual stream grows", "norms": "what layer norms take out",
    "neurons": "which neurons a text turns on", "lens": "what each layer would say",
    "attribution": "who wrote a logit", "patching": "which place makes the difference to another text",
    "gradients": "how the loss flows back", "step": "what one step tells each parameter",
    "cost": "what one more token costs", "weights": "how weights are spread",
    "rounding": "where int8 enters the stream", "training": "how the model learned",
    "playback": "a training played back",
}  # fmt: skip


class Where(NamedTuple):
    """Where to look; each name of WHATS reads what it needs of it."""

    layer: int = 0
    head: int = 0
    position: int = -1
    token: str | int | None = None
    against: str | int | None = None
    corrupted: str | None = None  # for "patching": the other text
    site: str = "resid_pre"  # for "patching"
    how: Sampling = Sampling()
    model: str | Path = "stories"  # its name or folder: "training" and "playback" read what lies there


def view(gpt, prompt, what, where=None):
    """The arrays behind one of WHATS -> a NamedTuple; `where`: a Where."""
    check_choice("what", what, tuple(WHATS))
    return _VIEWS[what](gpt, prompt, where or Where())


def draw(found, what, where=None, model=""):
    """The picture of what view() found -> Figure."""
    where = where or Where()
    if what == "stages":
        return head_pictures.draw_attention_stages(found, where.position, model)
    if what == "playback":
        return learning_pictures.draw_playback(found, where.layer, where.head, model)
    return _PICTURES[what](found, model)


def _cost(gpt, prompt, _):
    return cost.cost_view(gpt.config, min(len(ids_of(gpt, prompt)), gpt.config.n_ctx - 1))


def _head(gpt, prompt, where):
    return attention.attention_view(gpt, prompt, where.layer, where.head)


def _neighbours(gpt, prompt, where):
    return embeddings.neighbours(gpt, int(ids_of(gpt, prompt)[-1]) if where.token is None else where.token)


def _patching(gpt, prompt, where):
    for name in ("corrupted", "token", "against"):
        if getattr(where, name) is None:
            raise InputError(f"{name}: expected it for patching, got none; name the other text and two tokens")
    return patching.patch_map(gpt, prompt, where.corrupted, where.site, where.token, where.against)


def _rounding(gpt, prompt, _):
    need_floats(gpt, "rounding")
    return weights.rounding_view(gpt, GPT(gpt.config, gpt.params, gpt.tokenizer, ops="int8"), prompt)


def _playback(gpt, prompt, where):
    folder = registry.resolve(where.model)
    return playback.playback_view(folder, prompt, prompt if gpt.tokenizer and isinstance(prompt, str) else "")


_VIEWS = {
    "tokens": lambda gpt, prompt, _: tokens.tokens_view(gpt, prompt),
    "next": lambda gpt, prompt, where: tokens.next_tokens(gpt, prompt, position=where.position),
    "sampling": lambda gpt, prompt, where: sampling.sampling_view(gpt, prompt, where.how),
    "neighbours": _neighbours,
    "positions": lambda gpt, prompt, _: embeddings.positions_view(gpt),
    "attention": lambda gpt, prompt, _: attention.attention_grid(gpt, prompt),
    "head": _head, "lines": _head, "stages": _head,
    "heads": lambda gpt, prompt, _: attention.head_summaries(gpt, prompt),
    "residual": lambda gpt, prompt, _: residual.residual_view(gpt, prompt),
    "norms": lambda gpt, prompt, _: residual.layer_norms(gpt, prompt),
    "neurons": lambda gpt, prompt, where: residual.neurons(gpt, prompt, where.layer),
    "lens": lambda gpt, prompt, _: logits.logit_lens_view(gpt, prompt),
    "attribution": lambda gpt, prompt, where: attribution.attribution_view(
        gpt, prompt, where.token, where.against, where.position),
    "patching": _patching,
    "gradients": lambda gpt, prompt, _: gradients.gradients_view(gpt, prompt),
    "step": lambda gpt, prompt, _: learning.step_view(gpt, [prompt]),
    "cost": _cost,
    "weights": lambda gpt, prompt, _: weights.weights_view(gpt),
    "rounding": _rounding,
    "training": lambda gpt, prompt, where: learning.training_view(registry.resolve(where.model)),
    "playback": _playback,
}  # fmt: skip

_PICTURES = {
    "tokens": token_pictures.draw_tokens, "next": token_pictures.draw_next, "sampling": token_pictures.draw_sampling,
    "neighbours": token_pictures.draw_neighbours, "positions": token_pictures.draw_positions,
    "attention": head_pictures.draw_attention_grid, "head": head_pictures.draw_attention,
    "lines": head_pictures.draw_attention_lines, "heads": head_pictures.draw_heads,
    "residual": stream_pictures.draw_residual, "norms": stream_pictures.draw_layer_norms,
    "neurons": stream_pictures.draw_neurons, "lens": stream_pictures.draw_logit_lens,
    "attribution": stream_pictures.draw_attribution, "patching": stream_pictures.draw_patch_map,
    "gradients": cost_pictures.draw_gradients, "step": learning_pictures.draw_step,
    "cost": cost_pictures.draw_cost, "weights": cost_pictures.draw_weights, "rounding": cost_pictures.draw_rounding,
    "training": learning_pictures.draw_training,
}  # fmt: skip


def plain(value):
    """Arrays and tuples as JSON can hold them: lists, and null for what is no finite number.

    plain([1.5, float("nan")]) -> [1.5, None]
    """
    if hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
