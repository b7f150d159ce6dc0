"""Every array of a pass by its name, from the rows of wte to the probabilities of the next token.

Enter: a GPT, a text, a name such as "blocks.3.attn.q", perhaps leading indices. Leave: that array as the pass had it.
What `acts` do not keep (scores, what was scaled and masked, logits as probabilities) is made from them here. Names that
begin with "grad." are gradients of the text's loss at the residual stream. Next: lens/cells.py.
"""

import math
import re
from typing import NamedTuple

import numpy as np

from .. import ops as numpy_ops
from ..errors import InputError, check_choice, shown
from ..generation.sampling import probabilities
from .gradients import gradients_view
from .seen import check_place, look

FIRST = ("tokens", "positions", "embedded")
IN_BLOCK = (
    "x", "attn.x", "attn.q", "attn.k", "attn.v", "attn.scores", "attn.scaled", "attn.masked", "attn.probs",
    "attn.mixed", "attn.merged", "attn_out", "x_mid", "ffn.x", "ffn.pre_gelu", "ffn.hidden", "ffn_out",
)  # fmt: skip
LAST = ("x", "final", "logits", "probs")
GRADIENT = "grad."
_BLOCK = re.compile(r"blocks\.(\d{1,6})\.([\w.]+)")


class ArrayView(NamedTuple):
    """One array of a pass, or the part of it that leading indices name."""

    tokens: list  # [n_seq] of str
    name: str
    index: tuple  # of int, counted from 0
    shape: tuple  # of the whole array
    array: np.ndarray  # what is left behind the index


def array_names(config):
    """The names of all arrays of a pass, in the order in which they are computed; gradients last."""
    blocks = [f"blocks.{layer}.{name}" for layer in range(config.n_layer) for name in IN_BLOCK]
    places = [f"blocks.{layer}.{name}" for layer in range(config.n_layer) for name in ("x", "x_mid")]
    return [*FIRST, *blocks, *LAST, *(f"{GRADIENT}{name}" for name in ("embedded", *places, "x"))]


def array_view(gpt, prompt, name, index=()):
    """One array of a pass over a text or a list of ids -> ArrayView.

    InputError for a name or an index that is not there; for gradients as in gradients_view.
    """
    seen = look(gpt, prompt)
    whole = named_array(gpt, seen, name)
    index = check_index(name, index, whole.shape)
    return ArrayView(seen.tokens, name, index, whole.shape, whole[index])


def named_array(gpt, seen, name):
    """The array of a pass (a Seen) that a name stands for, without n_batch; InputError where there is none."""
    if isinstance(name, str) and name.startswith(GRADIENT):
        return _gradient(gpt, seen, name.removeprefix(GRADIENT))
    layer, part = split_name(gpt.config, name)
    if layer is not None:
        return _in_block(gpt, seen.acts.blocks[layer], part, gpt.config.window_of(layer))
    if part in ("tokens", "positions"):
        return _embedding_part(gpt, seen.acts, part)
    if part in ("logits", "probs"):
        return seen.logits if part == "logits" else probabilities(seen.logits)
    return getattr(seen.acts, part)[0]


def split_name(config, name):
    """-> layer (None outside the blocks), the name inside; InputError for what names no array of a pass."""
    found = _BLOCK.fullmatch(name) if isinstance(name, str) else None
    if found and int(found[1]) < config.n_layer and found[2] in IN_BLOCK:
        return int(found[1]), found[2]
    if found or not isinstance(name, str) or name not in (*FIRST, *LAST):
        known = f"one of {', '.join((*FIRST, *LAST))}, or blocks.0.x to blocks.{config.n_layer - 1}.ffn_out"
        raise InputError(f"name: expected {known}, got {shown(name)}")
    return None, name


def check_index(name, index, shape):
    """-> a tuple of places from 0, one for each of the first axes; InputError for what lies outside of `shape`."""
    if not isinstance(index, (list, tuple)) or len(index) > len(shape):
        raise InputError(f"index: expected at most {len(shape)} whole numbers for {name}, got {shown(index)}")
    return tuple(check_place("index", place, n) for place, n in zip(index, shape, strict=False))


def _in_block(gpt, acts, part, window):
    if part in ("attn.scores", "attn.scaled", "attn.masked"):
        scores = acts.attn.scores[0]
        if part == "attn.scores":
            return scores
        scaled = scores * (1.0 / math.sqrt(gpt.config.d_head))
        if part == "attn.scaled":
            return scaled
        n_seq = scaled.shape[-1]
        visible = numpy_ops.band_mask(n_seq, n_seq, window or n_seq)
        return np.where(visible, scaled, -np.inf).astype(scaled.dtype)
    if part == "attn.mixed":
        return gpt.ops.split_heads(acts.attn.merged, gpt.config.n_head)[0]
    found = acts
    for field in part.split("."):
        found = getattr(found, field)
    return found[0]


def _embedding_part(gpt, acts, part):  # -> [n_seq, n_embd]
    """What model.embed adds: the token's row, or the position's."""
    tokens = gpt.ops.embedding(acts.ids, gpt.params["wte"]["weight"])[0]
    if part == "tokens":
        return tokens
    if gpt.config.positions == "learned":
        return gpt.ops.embedding(acts.positions, gpt.params["wpe"]["weight"])[0]
    return acts.embedded[0] - tokens


def _gradient(gpt, seen, name):  # -> [n_seq, n_embd]
    names = [name.removeprefix(GRADIENT) for name in array_names(gpt.config) if name.startswith(GRADIENT)]
    check_choice("name", name, tuple(names))
    layer, part = split_name(gpt.config, name)
    if layer is None:
        place = 0 if part == "embedded" else -1
    else:
        place = 2 * layer + (part == "x_mid")  # in the order of seen.stream
    return gradients_view(gpt, seen.ids).stream[place]
