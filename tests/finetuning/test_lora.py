"""lora.py: the gradients of A and B against finite differences, against W's own, and ten steps against PEFT's."""

import numpy as np
import pytest
from goldens import measure, recipe
from small import CONFIG, make, random_ids

from nanogpt_np import kernels, ops
from nanogpt_np import params as P
from nanogpt_np.errors import InputError
from nanogpt_np.finetuning import lora
from nanogpt_np.model import Dropout
from nanogpt_np.storage import adapter as A
from nanogpt_np.training import backward, optim
from nanogpt_np.training.finite_differences import gradcheck

SMALL = CONFIG.replace(n_vocab=11, n_ctx=6, n_embd=8, n_head=2)
ALL = ("c_attn", "c_proj", "c_fc")
SIZES, SEED, STD, LR, R, ALPHA = recipe.Sizes(37, 12, 16, 2, 2), 20210617, 0.15, 5e-3, 3, 6  # goldens/make_lora.py


def adapter(config=SMALL, dtype=np.float64, **settings):
    rng = np.random.default_rng(3)
    found = lora.create(config, rng, **({"r": 2, "alpha": 6, "target_modules": ALL} | settings))
    return found._replace(params=P.Named(
        {name: (array + rng.normal(0, 0.2, array.shape)).astype(dtype) for name, array in found.params.items()}
    ))  # fmt: skip


def some_targets(config, n_batch=2, n_seq=5):
    targets = random_ids(n_batch, n_seq, seed=1, config=config)
    targets[0, :3] = ops.IGNORE  # a prompt
    return targets


@pytest.mark.parametrize("settings", [
    {}, {"target_modules": ("attn.c_proj",)}, {"target_modules": ("mlp.c_proj", "c_attn")}, {"rslora": True},
])  # fmt: skip
@pytest.mark.parametrize("tie", [True, False])
def test_gradients_against_finite_differences(settings, tie):
    config = SMALL.replace(tie_word_embeddings=tie)
    params, found = make(config, dtype=np.float64), adapter(config, **settings)
    parts = (random_ids(2, 5, config=config), some_targets(config), params, found, config, ops)
    _, grads = lora.loss_and_grads(*parts)
    assert list(grads) == list(found.params)
    worst = gradcheck(
        lambda *_: lora.loss_and_grads(*parts)[0], list(found.params.values()), list(grads.values()),
        n_entries=8, rng=np.random.default_rng(0),
    )  # fmt: skip
    assert worst <= 1e-6  # central differences in float64 reach about 1e-8


@pytest.mark.parametrize("module", [ops, kernels])
def test_they_are_those_of_the_merged_weights(module):
    """dA = scale (dW B)^T and dB = scale dW^T A^T, with dW as backward.py gives it; and the loss is theirs."""
    params, found = make(CONFIG), adapter(CONFIG, np.float32)
    ids, targets = random_ids(2, 12), some_targets(CONFIG, 2, 12)
    loss, grads = lora.loss_and_grads(ids, targets, params, found, CONFIG, module)
    merged, _ = A.merge(params, found)
    expected_loss, whole = backward.loss_and_grads(ids, targets, merged, CONFIG, module)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    whole = dict(P.walk(whole))
    for name, a, b in A.pairs(found):
        layer, dw = name.removesuffix(".weight"), whole[name]
        for which, expected in (("A", (dw @ b).T), ("B", dw.T @ a.T)):
            expected = found.scale * expected
            size = np.abs(expected).max()
            # float32 summed in another order, over 24 rows and 24 to 96 columns
            np.testing.assert_allclose(grads[f"{layer}.lora_{which}.weight"], expected, rtol=0, atol=2e-5 * size)


def test_parts_of_a_batch_add_up_and_dropout_is_the_run_s():
    params, found = make(SMALL, dtype=np.float64), adapter()
    ids, targets = random_ids(4, 5, config=SMALL), some_targets(SMALL, 4)
    loss, grads = lora.loss_and_grads(ids, targets, params, found, SMALL, ops)
    n = int((targets != ops.IGNORE).sum())
    halves = [
        lora.loss_and_grads(ids[i : i + 2], targets[i : i + 2], params, found, SMALL, ops, n_counted=n) for i in (0, 2)
    ]
    assert sum(part for part, _ in halves) == pytest.approx(loss, rel=1e-12)
    for name, grad in grads.items():
        np.testing.assert_allclose(halves[0][1][name] + halves[1][1][name], grad, rtol=0, atol=1e-12)
    dropped = [
        lora.loss_and_grads(ids, targets, params, found, SMALL, ops, dropout=Dropout(0.5, np.random.default_rng(0)))[0]
        for _ in range(2)
    ]
    assert dropped[0] == dropped[1] != loss


def test_a_weight_counts_as_a_text_that_is_read_so_often():
    """All targets of the second text weigh 3: as a batch that holds it three times."""
    params, found = make(SMALL, dtype=np.float64), adapter()
    ids, targets = random_ids(2, 5, config=SMALL), random_ids(2, 5, seed=1, config=SMALL)
    weights = np.array([[1.0] * 5, [3.0] * 5])
    loss, grads = lora.loss_and_grads(ids, targets, params, found, SMALL, ops, weights=weights)
    rows = [0, 1, 1, 1]
    expected, wanted = lora.loss_and_grads(ids[rows], targets[rows], params, found, SMALL, ops)
    assert loss == pytest.approx(expected, rel=1e-12)
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, wanted[name], rtol=0, atol=1e-12)


def test_nothing_to_learn_gives_no_gradient_and_no_warning():
    ids = random_ids(1, 4, config=SMALL)
    loss, grads = lora.loss_and_grads(ids, np.full((1, 4), ops.IGNORE), make(SMALL), adapter(), SMALL, ops)
    assert loss == 0.0 and not any(grad.any() for grad in grads.values())


def test_a_fresh_adapter_changes_nothing_and_the_base_never_changes():
    params, ids = make(SMALL), random_ids(2, 5, config=SMALL)
    before = {name: array.tobytes() for name, array in P.walk(params)}
    fresh = lora.create(SMALL, np.random.default_rng(0))
    assert (fresh.r, fresh.alpha, fresh.scale, fresh.target_modules) == (8, 8, 1.0, ("c_attn",))  # PEFT's defaults
    merged, _ = A.merge(params, fresh)
    assert all(array.tobytes() == before[name] for name, array in P.walk(merged))
    optimizer = optim.AdamW(fresh.params)
    assert optimizer.m.keys() == optimizer.v.keys() == fresh.params.keys()  # nothing of the base's size
    _, grads = lora.loss_and_grads(ids, ids, params, fresh, SMALL, ops)
    optimizer.step(fresh.params, grads, 1e-2)
    assert {name: array.tobytes() for name, array in P.walk(params)} == before


@pytest.mark.parametrize("module, dtype", [(ops, np.float64), (ops, np.float32), (kernels, np.float32)])
def test_ten_steps_are_peft_s(module, dtype):
    golden, config = measure.load("lora"), measure.config_of(SIZES)
    params = P.nest({name: array.astype(dtype) for name, array in recipe.weights(SIZES, SEED, STD).items()})
    rows = np.random.default_rng(SEED).integers(0, SIZES.n_vocab, (recipe.N_STEPS, 2, SIZES.n_ctx + 1))
    found = start_of(golden, config, dtype)
    optimizer, losses = optim.AdamW(found.params, **recipe.ADAMW), []
    for row in rows:
        loss, grads = lora.loss_and_grads(row[:, :-1], row[:, 1:], params, found, config, module)
        optimizer.step(found.params, grads, LR, module)
        losses.append(loss)
    # float32: ten steps of 5e-3, each of which Adam makes of a quotient of rounded numbers; the promise is 1e-5
    np.testing.assert_allclose(losses, golden["steps/losses"], rtol=0, atol=1e-10 if dtype == np.float64 else 1e-5)
    for name, array in found.params.items():
        np.testing.assert_allclose(array, golden[f"steps/after/{name}"], rtol=0, atol=1e-5)


def start_of(golden, config, dtype):
    """The adapter that PEFT began with."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        for name in (A.CONFIG, A.WEIGHTS):
            (Path(folder) / name).write_bytes(golden[f"all/{name}"].tobytes())
        found, _ = A.load(folder, config)
    assert (found.r, found.alpha) == (R, ALPHA)
    return found._replace(params=P.Named({name: array.astype(dtype) for name, array in found.params.items()}))


@pytest.mark.parametrize("settings, words", [
    ({"r": 0}, "r: expected a rank of at least 1"),
    ({"r": 9}, "r: expected at most 8, the rank of h.0.attn.c_attn"),
    ({"r": 2.0}, "r: expected a rank"),
    ({"alpha": 0}, "alpha"), ({"alpha": float("inf")}, "alpha"), ({"alpha": 10**9}, "alpha"),
    ({"rslora": 1}, "rslora"),
    ({"target_modules": ()}, "target_modules"), ({"target_modules": "c_attn"}, "target_modules: expected a list"),
    ({"target_modules": ("lm_head",)}, "target_modules"), ({"target_modules": ("proj",)}, "target_modules"),
])  # fmt: skip
def test_settings_that_make_no_sense(settings, words):
    with pytest.raises(InputError, match=words):
        lora.create(SMALL, np.random.default_rng(0), **settings)


def test_layers_by_the_ends_of_their_names():
    assert A.layers(SMALL, ["c_proj"]) == [f"h.{i}.{half}.c_proj" for i in (0, 1) for half in ("attn", "mlp")]
    assert A.layers(SMALL, ["h.1.mlp.c_fc"]) == A.layers(SMALL, ["transformer.h.1.mlp.c_fc"]) == ["h.1.mlp.c_fc"]
