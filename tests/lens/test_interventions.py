"""Changes on the way: nothing changed is the model to the bit; what is changed is checked against reference.py."""

import numpy as np
import pytest
from lens.reference import forward
from lens.test_pictures import render, texts
from small import CONFIG, make, random_ids

from nanogpt_np import GPT, lens
from nanogpt_np.errors import InputError
from nanogpt_np.lens import interventions

IDS, OTHER = random_ids(9, seed=3), random_ids(9, seed=4)
LAST = CONFIG.n_layer - 1


@pytest.fixture(scope="module", params=[{}, {"tie_word_embeddings": False, "activation": "relu", "n_inner": 40}])
def gpt(request):
    config = CONFIG.replace(**request.param)
    return GPT(config, make(config))


def close(actual, wanted):
    """2e-5 of the largest value, as float32 rounds otherwise than float64 (measured: below 4e-6)."""
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())


def same_bits(a, b):
    assert a.dtype == b.dtype and np.array_equal(a, b)


@pytest.mark.parametrize("ops", ["numpy", "numba", "int8", "int4"])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_nothing_changed_is_the_model(ops, positions):
    if ops != "numpy":
        pytest.importorskip("numba")
    config = CONFIG.replace(positions=positions)
    gpt = GPT(config, make(config), ops=ops)
    logits, acts = gpt(IDS, keep_acts=True)
    found = lens.run(gpt, IDS)
    same_bits(found.logits, logits[0])
    for layer, block in enumerate(acts.blocks):
        kept = {"resid_pre": block.x, "q": block.attn.q, "k": block.attn.k, "v": block.attn.v, "resid_mid": block.x_mid,
                "probs": block.attn.probs, "attn_out": block.attn_out, "hidden": block.ffn.hidden,
                "ffn_out": block.ffn_out}  # fmt: skip
        for site, array in kept.items():
            same_bits(found.sites[site, layer], array[0])
    assert set(found.sites) == {(site, layer) for site in interventions.SITES for layer in range(2)}


@pytest.mark.parametrize("site", interventions.SITES)
def test_patching_a_run_with_itself_changes_no_bit(gpt, site):
    whole = lens.run(gpt, IDS)
    for layer in range(2):
        same_bits(lens.patch(gpt, IDS, whole, site, layer).logits, whole.logits)


@pytest.mark.parametrize("site", interventions.SITES)
def test_every_site_matters(gpt, site):
    """No change that silently does nothing: at each site of each layer, 0 instead moves the logits."""
    whole = lens.run(gpt, IDS).logits
    for layer in range(2):
        moved = lens.run(gpt, IDS, {(site, layer): np.zeros_like}).logits
        assert np.abs(moved - whole).max() > 1e-3


def test_the_whole_stream_of_another_run_is_that_run(gpt):
    other = lens.run(gpt, OTHER)
    for site, layer in (("resid_pre", 0), ("resid_post", 0), ("resid_pre", 1), ("resid_mid", 1), ("resid_post", 1)):
        same_bits(lens.patch(gpt, IDS, other, site, layer).logits, other.logits)
    patched = lens.patch(gpt, IDS, other, "resid_post", LAST, position=4)
    same_bits(patched.logits[4], other.logits[4])
    same_bits(patched.logits[5:], lens.run(gpt, IDS).logits[5:])


def test_blocks_by_themselves(gpt):
    whole = lens.run(gpt, IDS)
    for first, last in ((0, 0), (1, 1), (0, 1), (0, None), (-1, -1)):
        out = lens.run_blocks(gpt, whole.sites["resid_pre", first % 2], first, last)
        same_bits(out, whole.sites["resid_post", LAST if last is None else last % 2])


def logits_of(gpt, x):
    """The end of the model in float64, from the last residual stream."""
    x = np.asarray(x, np.float64)
    normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    head = gpt.params["lm_head" if "lm_head" in gpt.params else "wte"]["weight"].astype(np.float64)
    return (normed * gpt.params["ln_f"]["weight"] + gpt.params["ln_f"]["bias"]) @ head.T


@pytest.fixture(scope="module")
def plain():
    return GPT(CONFIG, make())


def test_ablation_of_the_last_block_is_what_the_stream_lacks(plain):
    """What the last block wrote is taken out of the reference's stream; of heads and attention the FFN then hears."""
    seen = forward(plain.params, CONFIG, IDS)
    stream = seen["stream"][-1]
    close(lens.ablate(plain, IDS, LAST, part="ffn").logits, logits_of(plain, stream - seen["ffn"][1]))
    neuron = seen["hidden"][1][:, 5, None] * plain.params["h"][1]["mlp"]["c_proj"]["weight"][5]
    close(lens.ablate(plain, IDS, LAST, neuron=5).logits, logits_of(plain, stream - neuron))


def test_ablation_of_a_head_or_of_attention_is_a_model_whose_weights_are_zero(plain):
    for layer in range(2):
        for change, rows in ((dict(head=1), slice(8, 16)), (dict(part="attn"), slice(None))):
            params = make()
            attn = params["h"][layer]["attn"]["c_proj"]
            attn["weight"][rows] = 0
            if "part" in change:
                attn["bias"][:] = 0
            close(lens.ablate(plain, IDS, layer, **change).logits, forward(params, CONFIG, IDS)["logits"])


def test_patch_map(plain):
    view = lens.patch_map(plain, IDS, OTHER, "resid_pre", 3, 8)
    good, bad = (forward(plain.params, CONFIG, ids) for ids in (IDS, OTHER))
    whole, nothing = (found["logits"][-1, 3] - found["logits"][-1, 8] for found in (good, bad))
    close(np.array([view.clean_difference, view.corrupted_difference]), np.array([whole, nothing]))
    assert view.columns == "position" and view.restored.shape == (2, 9)
    # the last position's stream before the last block, with everything else corrupted: by the reference's own pieces
    x = bad["stream"][2].copy()
    x[-1] = good["stream"][2][-1]
    moved = lens.run_blocks(plain, x.astype(np.float32), 1)
    difference = np.subtract(*logits_of(plain, moved)[-1][[3, 8]])
    assert view.restored[1, -1] == pytest.approx((difference - nothing) / (whole - nothing), abs=1e-3)
    heads = lens.patch_map(plain, IDS, OTHER, "mixed", 3, 8)
    assert heads.columns == "head" and heads.restored.shape == (2, 3)
    figure = lens.draw_patch_map(heads)
    assert [f"{value:.2f}" for value in heads.restored.ravel()] == [t for t in texts(figure) if t[-3:-2] == "."]
    assert render(figure) and render(lens.draw_patch_map(view))


@pytest.mark.parametrize("layer", [0, LAST])
def test_a_run_begun_later_is_the_same_run(gpt, layer):
    base, changes = lens.run(gpt, IDS), {("ffn_out", layer): lambda out: -out}
    whole, later = lens.run(gpt, IDS, changes), lens.run(gpt, IDS, changes, base)
    same_bits(later.logits, whole.logits)
    assert later.sites.keys() == whole.sites.keys()
    for place, array in whole.sites.items():
        same_bits(later.sites[place], array)


def test_patching_everything_brings_all_of_it_back(plain):
    """Every position of the first stream at once is the clean run: 1, and nothing of it is 0."""
    clean = lens.run(plain, IDS)
    same_bits(lens.patch(plain, OTHER, clean, "resid_pre", 0).logits, clean.logits)


@pytest.mark.parametrize("into", ["q", "k", "v"])
def test_a_path_between_two_heads(plain, into):
    """Against the reference: the receiver's q, k or v from a stream in which the sender alone wrote something else."""
    base, other = (forward(plain.params, CONFIG, ids) for ids in (IDS, OTHER))
    found = lens.path_patch(plain, IDS, lens.run(plain, OTHER), (0, 1), (1, 2), into)
    x = base["stream"][2] + other["heads"][0, 1] - base["heads"][0, 1]
    params = plain.params["h"][1]
    normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    normed = normed * params["ln_1"]["weight"] + params["ln_1"]["bias"]
    start = {"q": 0, "k": 24, "v": 48}[into] + 2 * 8
    columns = slice(start, start + 8)
    wanted = normed @ params["attn"]["c_attn"]["weight"][:, columns] + params["attn"]["c_attn"]["bias"][columns]
    close(found.sites[into, 1][2], wanted)
    whole = lens.run(plain, IDS)
    for site in ("q", "k", "v"):  # the other heads, and the receiver's other parts, are as they were
        for head in range(3):
            if (site, head) != (into, 2):
                same_bits(found.sites[site, 1][head], whole.sites[site, 1][head])
    assert np.abs(found.logits - whole.logits).max() > 1e-3


def test_a_path_from_a_run_to_itself_changes_nothing_to_rounding(plain):
    whole = lens.run(plain, IDS)
    close(lens.path_patch(plain, IDS, whole, (0, 0), (1, 1)).logits, whole.logits)


def other_run(gpt, ids=IDS):
    return lens.run(gpt, ids)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda gpt: lens.run(gpt, IDS, {("resid", 0): abs}), "changes: expected {.one of resid_pre, q, k,"),
        (lambda gpt: lens.run(gpt, IDS, {("q", 2): abs}), "layer: expected a whole number from -2 to 1, got 2"),
        (lambda gpt: lens.run(gpt, IDS, {("q", 0): lambda q: q[0]}), r"expected \[3, 9, 8\] at q of layer 0"),
        (lambda gpt: lens.run(gpt, IDS, {"q": abs}), "changes: expected"),
        (lambda gpt: lens.run(gpt, []), "prompt: expected at least one token"),
        (lambda gpt: lens.ablate(gpt, IDS, 0), "expected one of head, neuron and part, got none or several"),
        (lambda gpt: lens.ablate(gpt, IDS, 0, head=0, neuron=1), "expected one of head, neuron and part"),
        (lambda gpt: lens.ablate(gpt, IDS, 0, head=3), "head: expected a whole number from -3 to 2, got 3"),
        (lambda gpt: lens.ablate(gpt, IDS, 0, part="mlp"), "part: expected 'attn' or 'ffn', got 'mlp'"),
        (lambda gpt: lens.run_blocks(gpt, np.zeros((3, 5))), r"x: expected a residual stream \[1 to 16, 24\]"),
        (lambda gpt: lens.run(gpt, OTHER, base=other_run(gpt)), "base: expected a Run over the same text, got another"),
        (lambda gpt: lens.patch(gpt, IDS, IDS, "q", 0), "source: expected a Run of lens.run, got a ndarray"),
        (lambda gpt: lens.patch(gpt, IDS, other_run(gpt, [1, 2]), "q", 0), "source: expected 9 tokens, as in the text"),
        (lambda gpt: lens.patch(gpt, IDS, other_run(gpt), "ffn_out", 0, head=1), "head: expected a site that has "),
        (lambda gpt: lens.patch_map(gpt, IDS, [1], "q", 1, 2), "corrupted: expected 9 tokens, as in the clean text"),
        (lambda gpt: lens.patch_map(gpt, IDS, IDS, "q", 1, 2), "corrupted: expected a text that moves"),
        (lambda gpt: lens.path_patch(gpt, IDS, other_run(gpt), (1, 0), (1, 1)), "receiver: expected a layer behind"),
        (lambda gpt: lens.path_patch(gpt, IDS, other_run(gpt), 1, (1, 1)), r"sender: expected \(layer, head\), got 1"),
    ],
)
def test_mistakes_are_one_line(plain, call, message):
    with pytest.raises(InputError, match=message) as caught:
        call(plain)
    assert "\n" not in str(caught.value)
