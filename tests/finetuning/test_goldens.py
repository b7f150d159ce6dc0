"""The classifier against `transformers` and torch's AdamW, as goldens/make_classifier.py has written them down."""

from pathlib import Path

import numpy as np
import pytest
from goldens import recipe
from goldens.recipe import ADAMW, CLIP_NORM

from nanogpt_np import kernels, ops
from nanogpt_np import params as P
from nanogpt_np.config import GPTConfig
from nanogpt_np.finetuning import examples, head
from nanogpt_np.finetuning.classifier import Classifier
from nanogpt_np.training import optim, parts

GOLDENS = Path(__file__).parents[1] / "goldens"
with np.load(GOLDENS / "classifier.npz", allow_pickle=False) as file:
    GOLDEN = dict(file)
CONFIG = GPTConfig(n_vocab=32, n_ctx=8, n_embd=8, n_layer=2, n_head=2, eos_id=31)
WAYS = {  # freeze, layer_decay, class weights, as make_classifier.WAYS has them
    "whole": (None, 1.0, None),
    "frozen": (1, 1.0, None),
    "head": (2, 1.0, None),
    "layers": (None, 0.5, None),
    "weighted": (None, 1.0, (0.25, 1.0, 3.0)),
}
CLOSE = 5e-6  # two float32 forward passes of 2 blocks, logits up to 2: at most 1e-6 apart


def golden_files(folder):
    for name, data in GOLDEN.items():
        if name.startswith("files/"):
            (folder / name.removeprefix("files/")).write_bytes(data.tobytes())
    return folder


@pytest.fixture
def params():
    """Seeded weights, as the maker draws them: GPT-2's by the recipe, the head's with the next seed."""
    made = P.nest(recipe.weights(recipe.Sizes(32, 8, 8, 2, 2), 20050611, 0.3))
    made = head.with_score(made, 3, np.random.default_rng(0))
    drawn = np.random.Generator(np.random.PCG64(20050612)).standard_normal((3, 8), np.float32)
    made["score"]["weight"][:] = drawn * np.float32(0.3)
    return made


def rows_of(step):
    return [ids[:n] for ids, n in zip(GOLDEN["ids"][step], GOLDEN["lengths"][step], strict=True)]


def test_logits_are_those_of_transformers(params):
    assert np.abs(head.class_logits(*head.pad(rows_of(0)), params, CONFIG, ops) - GOLDEN["logits"]).max() < CLOSE


def test_where_padding_is_also_the_end_of_text_ours_still_reads_the_last_token(params):
    """`transformers` takes the last token that is not padding, so it reads [3, 9, 4, eos] as [3, 9, 4]."""
    first, second = GOLDEN["trap/ids"]
    ours = head.class_logits(*head.pad([first, second]), params, CONFIG, ops)
    early = head.class_logits(*head.pad([first[:3]]), params, CONFIG, ops)
    assert np.abs(GOLDEN["trap/logits"] - np.stack([early[0], ours[1]])).max() < CLOSE
    assert np.abs(ours[0] - early[0]).max() > 0.1


def key_biases(names, named):
    """Which numbers are keys' biases. They add the same to every score of a query: their true gradient is zero, and in
    float32 Adam makes steps of its rounding (goldens/measure.py, stepped_rows)."""
    return np.concatenate([
        (np.arange(named[name].size) // (named[name].size // 3) == 1) & name.endswith("c_attn.bias") for name in names
    ])  # fmt: skip


@pytest.mark.parametrize("dtype, twin", [(np.float64, ops), (np.float32, ops), (np.float32, kernels)])
@pytest.mark.parametrize("way", WAYS)
def test_ten_steps_are_those_of_pytorch(way, dtype, twin, params):
    """PyTorch's are in float64. In float64 ours are the same to the last digits that are stored, float32's (6e-8, of
    weights up to 1.6); in float32 they are at most 2e-6 apart, and 1e-5 is what is promised."""
    freeze, decay, class_weights = WAYS[way]
    params = P.nest({name: array.astype(dtype) for name, array in P.walk(params)})
    rates = parts.rates(params, 2, freeze, decay)
    optimizer = optim.AdamW(params, **ADAMW, rates=rates)
    losses = []
    for step in range(10):
        loss, grads = head.loss_and_grads(
            *head.pad(rows_of(step)), GOLDEN["labels"][step], params, CONFIG, twin,
            class_weights=class_weights, n_idle=parts.n_idle(rates, 2),
        )  # fmt: skip
        grads = parts.learned(grads, rates)
        optim.clip_(grads, CLIP_NORM, twin)
        optimizer.step(params, grads, 1e-3, twin)
        losses.append(loss)
    named, names = dict(P.walk(params)), sorted(rates)
    far = np.abs(np.concatenate([named[name].ravel() for name in names]) - GOLDEN[f"{way}/weights"])
    is_key, exact = key_biases(names, named), dtype == np.float64
    assert np.abs(np.array(losses) - GOLDEN[f"{way}/losses"]).max() < (1e-12 if exact else 1e-5)
    assert far[~is_key].max() < (2e-7 if exact else 1e-5)
    assert way == "head" or far[is_key].max() < (2e-7 if exact else 10 * 2 * 1e-3)
    assert np.abs(GOLDEN["whole/losses"] - GOLDEN["layers/losses"]).max() > 1e-3  # the ways differ by far more


def test_a_directory_that_transformers_saved_opens(tmp_path, make_gpt):
    """Its weights and labels; it has no vocabulary, so a classifier of texts asks for one."""
    golden_files(tmp_path)
    with pytest.raises(ValueError, match=r"expected a model with vocab.json and merges.txt"):
        Classifier.from_pretrained(tmp_path)


def test_class_weights_that_balance_are_scikit_learns():
    """compute_class_weight("balanced", …) of scikit-learn 1.9 on these labels says [1.3333, 0.4444, 4.0]."""
    labels = np.array([0] * 3 + [1] * 9 + [2] * 1)
    assert np.allclose(examples.balanced(labels, 3), 13 / (3 * np.array([3, 9, 1])))
