"""What `nanogpt-np inspect` can show: a name -> a view and its picture.

Enter: a GPT, a text, a name of WHATS, perhaps a layer, a head, a place. Leave: the NamedTuple of arrays, a Figure, or
the arrays as what JSON can hold. Next: memory.py.
"""

import math

import numpy as np

from ..errors import check_choice
from . import (
    attention,
    attribution,
    cost,
    cost_pictures,
    gradients,
    head_pictures,
    logits,
    residual,
    sampling,
    stream_pictures,
    token_pictures,
    tokens,
    weights,
)
from .seen import ids_of

WHATS = {  # what is shown, in words
    "tokens": "how unexpected each token was", "next": "what may come next", "sampling": "from logits to one token",
    "attention": "every head's pattern", "head": "one head's pattern", "stages": "one head, stage by stage",
    "heads": "what kind of head each is", "residual": "how the residual stream grows",
    "norms": "what layer norms take out", "neurons": "which neurons a text turns on",
    "lens": "what each layer would say", "attribution": "who wrote a logit",
    "gradients": "how the loss flows back", "cost": "what one more token costs", "weights": "how weights are spread",
}  # fmt: skip


def view(gpt, prompt, what, *, layer=0, head=0, position=-1, token=None, against=None, how=None):
    """The arrays behind one of WHATS -> a NamedTuple; `how`: a Sampling, for "sampling" alone."""
    check_choice("what", what, tuple(WHATS))
    if what in ("head", "stages"):
        return attention.attention_view(gpt, prompt, layer, head)
    if what == "neurons":
        return residual.neurons(gpt, prompt, layer)
    if what == "next":
        return tokens.next_tokens(gpt, prompt, position=position)
    if what == "attribution":
        return attribution.attribution_view(gpt, prompt, token, against, position)
    if what == "sampling":
        return sampling.sampling_view(gpt, prompt, how)
    if what == "cost":
        return cost.cost_view(gpt.config, min(len(ids_of(gpt, prompt)), gpt.config.n_ctx - 1))
    if what == "weights":
        return weights.weights_view(gpt)
    whole = {
        "tokens": tokens.tokens_view, "attention": attention.attention_grid, "heads": attention.head_summaries,
        "residual": residual.residual_view, "norms": residual.layer_norms, "lens": logits.logit_lens_view,
        "gradients": gradients.gradients_view,
    }  # fmt: skip
    return whole[what](gpt, prompt)


def draw(found, what, position=-1, model=""):
    """The picture of what view() found -> Figure."""
    if what == "stages":
        return head_pictures.draw_attention_stages(found, position, model)
    drawn = {
        "tokens": token_pictures.draw_tokens, "next": token_pictures.draw_next,
        "sampling": token_pictures.draw_sampling, "attention": head_pictures.draw_attention_grid,
        "head": head_pictures.draw_attention,
        "heads": head_pictures.draw_heads, "residual": stream_pictures.draw_residual,
        "norms": stream_pictures.draw_layer_norms, "neurons": stream_pictures.draw_neurons,
        "lens": stream_pictures.draw_logit_lens, "attribution": stream_pictures.draw_attribution,
        "gradients": cost_pictures.draw_gradients, "cost": cost_pictures.draw_cost,
        "weights": cost_pictures.draw_weights,
    }  # fmt: skip
    return drawn[what](found, model)


def plain(value):
    """Arrays and tuples as JSON can hold them: lists, and null for what is no finite number.

    plain([1.5, float("nan")]) -> [1.5, None]
    """
    if hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
