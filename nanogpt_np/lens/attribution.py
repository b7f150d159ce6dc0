"""Who wrote a logit: the embedding, each head and each feed-forward network, as parts of a sum.

Enter: a GPT, a text, a token that might come next, perhaps another to compare it with. Leave: how much of the logit, or
of the difference of two, each wrote into the residual stream. The final layer norm divides by a number that all parts
decide together; here it is held fixed at what it was ("frozen"), and then the logit is a plain sum (Elhage et al.
2021). So a part says what was written, not what would happen without it. Next: lens/interventions.py.
"""

from typing import NamedTuple

import numpy as np

from ..params import unembedding
from .seen import check_place, look, need_floats, one_id, spelled


class AttributionView(NamedTuple):
    """The parts of a logit, or of a difference of two, as float64; `parts()` sum to `total`."""

    tokens: list  # [n_seq] of str
    position: int
    token: str  # whose logit it is
    against: str | None  # whose logit is taken away from it
    total: float  # what the model said
    token_embedding: float
    position_embedding: float
    heads: np.ndarray  # [n_layer, n_head]
    attention_bias: np.ndarray  # [n_layer], of c_proj, which no head owns
    ffn: np.ndarray  # [n_layer]
    final_bias: float  # of ln_f

    def parts(self):
        """All parts by name, in the order in which they were written: {"wte": …, "wpe": …, "L0.H0": …, …}."""
        found = {"wte": self.token_embedding, "wpe": self.position_embedding}
        for layer, heads in enumerate(self.heads):
            found |= {f"L{layer}.H{head}": float(part) for head, part in enumerate(heads)}
            found[f"L{layer}.c_proj.bias"] = float(self.attention_bias[layer])
            found[f"L{layer}.ffn"] = float(self.ffn[layer])
        return found | {"ln_f.bias": self.final_bias}


def attribution_view(gpt, prompt, token=None, against=None, position=-1):
    """Who wrote the logit of `token` behind `position` -> AttributionView.

    `token`, `against`: an id, or a text that is one token (" cat"); by default the token is the likeliest one, and
    nothing is taken away. InputError for int8 weights, which are not at hand as numbers, and for what is no token.
    """
    need_floats(gpt, "attribution")
    seen = look(gpt, prompt)
    position = check_place("position", position, len(seen.ids))
    chosen = int(seen.logits[position].argmax()) if token is None else one_id(gpt, "token", token)
    other = None if against is None else one_id(gpt, "against", against)
    direction, bias = _direction(gpt, seen.acts, position, chosen, other)
    logits = seen.logits[position].astype(np.float64)
    embedded = gpt.params["wte"]["weight"][seen.ids[position]]
    heads, biases, ffn = _written(gpt, seen.acts, position)
    return AttributionView(
        seen.tokens, position, spelled(gpt, [chosen])[0], None if other is None else spelled(gpt, [other])[0],
        total=float(logits[chosen] - (0.0 if other is None else logits[other])),
        token_embedding=float(embedded @ direction),
        position_embedding=float((seen.acts.embedded[0, position] - embedded) @ direction),
        heads=heads @ direction, attention_bias=biases @ direction, ffn=ffn @ direction, final_bias=bias,
    )  # fmt: skip


def _direction(gpt, acts, position, chosen, other):
    """-> [n_embd]: what a part of the stream is multiplied with to give its part of the logit; and ln_f's own part.

    logit = ((x - mean(x)) / std * weight + bias) @ row, and as std is held fixed, all of it but the bias is linear in
    x: x @ (centred (weight * row) / std), since taking the mean away from x or from the other factor is the same.
    """
    rows = unembedding(gpt.params)
    row = rows[chosen].astype(np.float64) - (0.0 if other is None else rows[other].astype(np.float64))
    x = acts.x[0, position].astype(np.float64)
    std = np.sqrt(x.var() + gpt.config.layer_norm_eps)
    scaled = gpt.params["ln_f"]["weight"] * row
    return (scaled - scaled.mean()) / std, float(gpt.params["ln_f"]["bias"] @ row)


def _written(gpt, acts, position):
    """What was added to the stream -> heads [n_layer, n_head, n_embd], attention's biases and ffn [n_layer, n_embd]."""
    heads, biases, ffn = [], [], []
    for block, params in zip(acts.blocks, gpt.params["h"], strict=True):
        merged = block.attn.merged[0, position].reshape(gpt.config.n_head, 1, gpt.config.d_head).astype(np.float64)
        weight = np.reshape(params["attn"]["c_proj"]["weight"], (gpt.config.n_head, gpt.config.d_head, -1))
        heads.append((merged @ weight)[:, 0])
        biases.append(params["attn"]["c_proj"]["bias"].astype(np.float64))
        ffn.append(block.ffn_out[0, position].astype(np.float64))
    return np.stack(heads), np.stack(biases), np.stack(ffn)
