"""What would have come otherwise: the forward pass with something changed on the way, by plain functions of arrays.

Enter: a GPT, a text, and changes: {(site, layer): function of the array there}. Leave: a Run: logits, and the array of
every site. It is model.py's pass once more with a name for each place, to the same bit where nothing is changed; no
hook can silently do nothing, as a site that is not there is an error. Next: lens/patching.py.
"""

from functools import partial
from typing import NamedTuple

import numpy as np

from .. import model
from ..errors import InputError, check_choice, shown
from .logits import read_out
from .seen import check_place, ids_of, spelled

# In the order in which they are computed. Shapes, with n_batch left out: resid_*, attn_out, ffn_out [n_seq, n_embd];
# q, k, v, mixed [n_head, n_seq, d_head]; probs [n_head, n_seq, n_seq]; hidden [n_seq, n_hidden].
SITES = (
    "resid_pre", "q", "k", "v", "probs", "mixed", "attn_out", "resid_mid", "hidden", "ffn_out", "resid_post",
)  # fmt: skip
BY_HEAD = ("q", "k", "v", "probs", "mixed")


class Run(NamedTuple):
    """One pass, perhaps with changes: what it said, and what stood at each site after the changes."""

    tokens: list  # [n_seq] of str
    ids: np.ndarray  # int64 [n_seq]
    logits: np.ndarray  # [n_seq, n_vocab]
    sites: dict  # {(site, layer): array}, see SITES


def run(gpt, prompt, changes=None, base=None):
    """One pass over a text or a list of ids, with `changes` -> Run.

    `changes`: {("attn_out", 3): function}; each function gets the array of its site and returns another of its shape.
    `base`: a Run over the same text, from which the blocks before the first change are taken instead of run again.
    InputError for a site or a layer that is not there, another shape, or a base over another text.
    """
    changes = _checked(gpt, changes or {})
    ids = ids_of(gpt, prompt)
    first, sites = _known(gpt, ids, changes, base)

    def at(site, layer, array):
        """The array of a site, changed where that is asked for, and noted."""
        found = array[0]
        if (site, layer) in changes:
            found = _same_shape(site, layer, found, changes[site, layer](found.copy()))
        sites[site, layer] = found
        return found[None]

    positions, visible = model.place((1, len(ids)), gpt.config, gpt.ops, None, None)
    if first == 0:
        x = model.embed(ids[None], positions, gpt.params, gpt.config, gpt.ops)
    else:
        x = sites["resid_post", first - 1][None]
    for layer in range(first, gpt.config.n_layer):
        x = _block(x, layer, gpt, visible, at)
    return Run(spelled(gpt, ids), ids, read_out(gpt, x[0]), sites)


def run_blocks(gpt, x, first=0, last=None):
    """Blocks `first` to `last`, both included, on a residual stream [n_seq, n_embd] -> the stream behind them.

    InputError where there are no such blocks, or the stream is not as wide as the model.
    """
    first = check_place("first", first, gpt.config.n_layer)
    last = check_place("last", gpt.config.n_layer - 1 if last is None else last, gpt.config.n_layer)
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] != gpt.config.n_embd or not 1 <= len(x) <= gpt.config.n_ctx:
        wide = f"[1 to {gpt.config.n_ctx}, {gpt.config.n_embd}]"
        raise InputError(f"x: expected a residual stream {wide}, got {list(x.shape)}; take it from run(...).sites")
    _, visible = model.place((1, len(x)), gpt.config, gpt.ops, None, None)
    x = x[None]
    for layer in range(first, last + 1):
        x = _block(x, layer, gpt, visible, lambda site, layer, array: array)
    return x[0]


def ablate(gpt, prompt, layer, head=None, neuron=None, part=None):
    """One pass without a head, a neuron, or a whole `part` ("attn" or "ffn") of a block, which gives 0 instead -> Run.

    InputError where not exactly one of the three is named, or it is not there.
    """
    layer = check_place("layer", layer, gpt.config.n_layer)
    if sum(named is not None for named in (head, neuron, part)) != 1:
        raise InputError("ablate: expected one of head, neuron and part, got none or several; name one")
    if head is not None:
        head = check_place("head", head, gpt.config.n_head)  # a text would be taken for a part
    what = [head] if head is not None else ["ffn", neuron] if neuron is not None else [part]
    return run(gpt, prompt, taken_out(gpt, [(layer, *what)]))


def taken_out(gpt, parts):
    """Changes for `run` with which some parts of a model give 0 instead -> {(site, layer): function}.

    `parts`: (layer, head), (layer, "attn") and (layer, "ffn") for the whole half of a block, (layer, "ffn", neuron).
    InputError for anything else, and for what is not there.
    """
    places = {}  # (site, layer) -> what is 0 in the array there
    for part in parts:
        place, index = _place_of(gpt, part)
        places.setdefault(place, []).append(index)
    return {place: partial(_zeroed, indices=indices) for place, indices in places.items()}


def _place_of(gpt, part):
    """-> (site, layer), and which part of the array there is meant."""
    if not isinstance(part, (list, tuple)) or len(part) not in (2, 3) or (len(part) == 3 and part[1] != "ffn"):
        raise InputError(f"without: expected (layer, head), (layer, 'attn' or 'ffn') or (layer, 'ffn', neuron), "
                         f"got {shown(part)}")  # fmt: skip
    layer, what = check_place("layer", part[0], gpt.config.n_layer), part[1]
    if len(part) == 3:
        return ("hidden", layer), (slice(None), check_place("neuron", part[2], gpt.config.n_hidden))
    if isinstance(what, str):
        check_choice("part", what, ("attn", "ffn"))
        return (f"{what}_out", layer), slice(None)
    return ("mixed", layer), check_place("head", what, gpt.config.n_head)


def _block(x, layer, gpt, visible, at):  # [1, n_seq, n_embd] -> the same
    """model.block, with `at` asked at every site."""
    params, config, ops = gpt.params["h"][layer], gpt.config, gpt.ops
    x = at("resid_pre", layer, x)
    q, k, v = (at(site, layer, array) for site, array in zip("qkv", queries_keys_values(x, layer, gpt), strict=True))
    visible = model.narrow(visible, config.window_of(layer), q.shape[2], k.shape[2], ops)
    probs = at("probs", layer, ops.attention_probs(q, k, visible))
    mixed = at("mixed", layer, ops.attention_mix(probs, v))
    attn_out = at("attn_out", layer, ops.linear(ops.merge_heads(mixed), **params["attn"]["c_proj"]))
    x = at("resid_mid", layer, x + attn_out)
    normed = ops.layer_norm(x, **params["ln_2"], eps=config.layer_norm_eps)
    hidden = model.activate(ops.linear(normed, **params["mlp"]["c_fc"]), config, ops)
    ffn_out = at("ffn_out", layer, ops.linear(at("hidden", layer, hidden), **params["mlp"]["c_proj"]))
    return at("resid_post", layer, x + ffn_out)


def queries_keys_values(x, layer, gpt):  # [1, n_seq, n_embd] -> three of [1, n_head, n_seq, d_head]
    """What a block's attention makes of a residual stream, ln_1 included."""
    params, ops = gpt.params["h"][layer], gpt.ops
    normed = ops.layer_norm(x, **params["ln_1"], eps=gpt.config.layer_norm_eps)
    qkv = ops.linear(normed, **params["attn"]["c_attn"])
    return [ops.split_heads(part, gpt.config.n_head) for part in np.split(qkv, 3, axis=-1)]


def _known(gpt, ids, changes, base):
    """-> the first block that has to run, the sites of those before it."""
    if base is None:
        return 0, {}
    if not isinstance(base, Run) or not np.array_equal(base.ids, ids):
        raise InputError("base: expected a Run over the same text, got another; leave it out to run all blocks")
    first = min((layer for _, layer in changes), default=0)
    return first, {place: array for place, array in base.sites.items() if place[1] < first}


def _checked(gpt, changes):
    """`changes` with layers counted from 0; InputError where one would change nothing."""
    found = {}
    for place, change in changes.items():
        if not isinstance(place, tuple) or len(place) != 2 or place[0] not in SITES or not callable(change):
            got = f"{shown(place)}: {shown(change)}"
            raise InputError(f"changes: expected {{(one of {', '.join(SITES)}; layer): function}}, got {got}")
        found[place[0], check_place("layer", place[1], gpt.config.n_layer)] = change
    return found


def _same_shape(site, layer, before, after):
    after = np.asarray(after, before.dtype)
    if after.shape != before.shape:
        expected, got = list(before.shape), list(after.shape)
        raise InputError(f"changes: expected {expected} at {site} of layer {layer}, got {got}; keep the shape")
    return after


def _zeroed(array, indices):
    for index in indices:
        array[index] = 0
    return array
