"""lens.trace: the steps of a pass, against the pass itself, and against lens.cost_view."""

import numpy as np
import pytest
from small import CONFIG, make, random_ids

from nanogpt_np import GPT, lens

IDS = random_ids(5, seed=3)
BLOCK = [
    ("block", "layer_norm"), ("attention", "linear"), *[("attention", "split_heads")] * 3,
    ("attention", "attention_probs"), ("attention", "attention_mix"), ("attention", "merge_heads"),
    ("attention", "linear"), ("block", "layer_norm"), ("ffn", "linear"), ("activate", "gelu_new"), ("ffn", "linear"),
]  # fmt: skip


@pytest.mark.parametrize("ops", ["numpy", "numba", "int8", "int4"])
def test_every_step_of_a_pass(ops):
    if ops != "numpy":
        pytest.importorskip("numba")
    gpt = GPT(CONFIG, make(), ops=ops)
    found = lens.trace(gpt, IDS)
    got = [(step.room, step.layer, step.op) for step in found.steps]
    blocks = [(room, layer, op) for layer in range(2) for room, op in BLOCK]
    ends = [("trunk", None, "layer_norm"), ("forward", None, "unembed")]
    assert got == [("embed", None, "embedding")] * 2 + blocks + ends
    logits, acts = gpt(IDS, keep_acts=True)
    assert found.steps[-1].shape == logits.shape
    np.testing.assert_array_equal(found.steps[-1].first, logits.ravel()[:3])
    probs = [step for step in found.steps if step.op == "attention_probs"]
    for step, block in zip(probs, acts.blocks, strict=True):
        np.testing.assert_array_equal(step.first, block.attn.probs.ravel()[:3])
        assert step.shapes[:2] == [(1, 3, 5, 8), (1, 3, 5, 8)] and step.n_bytes == block.attn.probs.nbytes


def test_operations_are_those_of_the_cost_view():
    """One token: all but the additions of embeddings and of the residual stream, which are no ops."""
    view = lens.cost_view(CONFIG)
    additions = sum(part.flops for part in view.parts if part.name in ("embedding", "residual additions"))
    found = lens.trace(GPT(CONFIG, make()), IDS[:1])
    assert sum(step.flops for step in found.steps) == view.flops - additions


def test_sines_and_other_bends_are_steps_too():
    config = CONFIG.replace(positions="sinusoidal", activation="relu")
    ops = [step.op for step in lens.trace(GPT(config, make(config)), IDS).steps]
    assert ops.count("sinusoidal_positions") == 1 and ops.count("relu") == 2 and ops.count("embedding") == 1


def test_it_prints_as_a_table():
    found = lens.trace(GPT(CONFIG, make()), IDS)
    head, *lines, total = str(found).splitlines()
    assert head.split() == ["room", "op", "in", "out", "bytes", "operations", "first", "numbers"]
    assert len(lines) == len(found.steps) == 30 and total.split()[:2] == ["30", "steps"]
    assert lines[7].startswith("L0.attention  attention_probs") and "[1,3,5,8] [1,3,5,8]" in lines[7]
    assert f"{sum(step.flops for step in found.steps):,}" in total and repr(found) == str(found)
