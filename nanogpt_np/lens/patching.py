"""Which place makes the difference between two texts: activations of one run put into another.

Enter: a GPT, two texts of the same number of tokens, and two tokens between which they decide. Leave: for each layer
and position, or each layer and head, how much of the difference comes back when that alone is put in (activation
patching: Vig et al. 2020; path patching: Wang et al. 2023, section 3). Next: lens/gradients.py.
"""

from typing import NamedTuple

import numpy as np

from ..errors import InputError, check_choice, shown
from .interventions import BY_HEAD, SITES, Run, queries_keys_values, run
from .seen import check_place, one_id, spelled


class PatchMap(NamedTuple):
    """How much of the difference each patch brings back: 0 nothing, 1 all of it; it may be more, or below 0."""

    clean: list  # [n_seq] of str
    corrupted: list  # [n_seq] of str
    site: str
    columns: str  # what the columns are: "position" or "head"
    token: str
    against: str
    clean_difference: float  # logit of `token` minus that of `against`, behind the last token
    corrupted_difference: float
    restored: np.ndarray  # float64 [n_layer, n_seq or n_head]


def patch(gpt, prompt, source, site, layer, position=None, head=None, base=None):
    """One pass over a text with an activation of another run put in -> Run.

    `source`: a Run over as many tokens; `position`, `head`: only there (a head has q, k, v, probs and mixed).
    `base`: as in run(), which saves the blocks before the patched one.
    InputError where the runs do not fit, or the site has no heads.
    """
    check_choice("site", site, SITES)
    layer = check_place("layer", layer, gpt.config.n_layer)
    if not isinstance(source, Run):
        raise InputError(f"source: expected a Run of lens.run, got a {type(source).__name__}; run the other text first")
    taken = source.sites[site, layer]
    where = _where(gpt, site, len(source.ids), position, head)

    def put_in(array):
        if array.shape != taken.shape:
            raise InputError(f"source: expected {array.shape[-2]} tokens, as in the text, got {taken.shape[-2]}")
        array[where] = taken[where]
        return array

    return run(gpt, prompt, {(site, layer): put_in}, base)


def patch_map(gpt, clean, corrupted, site, token, against, by=None):
    """Patch each layer's `site` of the clean run into the corrupted one, place by place -> PatchMap.

    `by`: "position" or "head"; by default heads where the site has them. `token`, `against`: as in attribution_view.
    InputError where the texts differ in length, or decide nothing between the two tokens.
    """
    check_choice("site", site, SITES)
    by = ("head" if site in BY_HEAD else "position") if by is None else by
    check_choice("by", by, ("position", "head"))
    good, bad = run(gpt, clean), run(gpt, corrupted)
    if len(good.ids) != len(bad.ids):
        raise InputError(f"corrupted: expected {len(good.ids)} tokens, as in the clean text, got {len(bad.ids)}")
    ids = one_id(gpt, "token", token), one_id(gpt, "against", against)
    whole, nothing = (_difference(found, *ids) for found in (good, bad))
    if whole == nothing:
        raise InputError("corrupted: expected a text that moves the two tokens' difference, got one that does not")
    n = len(good.ids) if by == "position" else gpt.config.n_head
    restored = np.empty((gpt.config.n_layer, n))
    for layer, place in np.ndindex(restored.shape):
        patched = patch(gpt, bad.ids, good, site, layer, **{by: place}, base=bad)
        restored[layer, place] = (_difference(patched, *ids) - nothing) / (whole - nothing)
    names = spelled(gpt, ids)
    return PatchMap(good.tokens, bad.tokens, site, by, *names, whole, nothing, restored)


def path_patch(gpt, prompt, source, sender, receiver, into="q"):
    """One pass in which what head `sender` wrote in another run reaches only head `receiver` -> Run.

    `sender`, `receiver`: (layer, head); `into`: the receiver's "q", "k" or "v". Everything between the two is held as
    it was, so this is the direct path (Wang et al. 2023). InputError where the receiver does not come later.
    """
    check_choice("into", into, ("q", "k", "v"))
    from_layer, from_head = _head(gpt, "sender", sender)
    to_layer, to_head = _head(gpt, "receiver", receiver)
    if from_layer >= to_layer:
        raise InputError(f"receiver: expected a layer behind the sender's, {from_layer}, got {to_layer}")
    base = run(gpt, prompt)
    if source.ids.shape != base.ids.shape:
        raise InputError(f"source: expected {len(base.ids)} tokens, as in the text, got {len(source.ids)}")
    moved = base.sites["mixed", from_layer].copy()
    moved[from_head] = source.sites["mixed", from_layer][from_head]
    attn = gpt.params["h"][from_layer]["attn"]["c_proj"]
    written = gpt.ops.linear(gpt.ops.merge_heads(moved[None]), **attn)[0] - base.sites["attn_out", from_layer]
    moved_stream = (base.sites["resid_pre", to_layer] + written)[None]
    asked = queries_keys_values(moved_stream, to_layer, gpt)["qkv".index(into)][0]

    def put_in(array):
        array[to_head] = asked[to_head]
        return array

    return run(gpt, prompt, {(into, to_layer): put_in})


def _difference(found, token, against):
    return float(found.logits[-1, token]) - float(found.logits[-1, against])


def _where(gpt, site, n_seq, position, head):
    """The index of what is put in: all of it, one position's rows, one head's, or both."""
    rows = slice(None) if position is None else check_place("position", position, n_seq)
    if site not in BY_HEAD:
        if head is not None:
            raise InputError(f"head: expected a site that has heads ({', '.join(BY_HEAD)}), got {site}; leave head out")
        return rows
    return (slice(None) if head is None else check_place("head", head, gpt.config.n_head)), rows


def _head(gpt, name, pair):
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise InputError(f"{name}: expected (layer, head), got {shown(pair)}")
    layer = check_place(f"{name}'s layer", pair[0], gpt.config.n_layer)
    return layer, check_place(f"{name}'s head", pair[1], gpt.config.n_head)
