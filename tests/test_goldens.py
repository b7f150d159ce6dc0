"""Every number against someone else's GPT-2: the golden files that goldens/make.py made with PyTorch and transformers.

The tolerances, and why each is what it is, stand in goldens/measure.py and docs/numerics.md. No PyTorch is needed here.
"""

import numpy as np
import pytest
from goldens import measure, recipe

from nanogpt_np import model, ops
from nanogpt_np import params as P
from nanogpt_np.generation import Request, Sampling, generate, sampling
from nanogpt_np.training import optim


def check(rows):
    """No row is over its tolerance; there are rows."""
    rows = list(rows)
    over = [row for row in rows if not row.worst <= row.tolerance]  # so written, a NaN is over
    lines = [f"{row.case}: {row.name}: {row.worst:.2e} > {row.tolerance:.0e}" for row in over]
    assert rows and not over, "\n".join(lines)


@pytest.fixture(scope="module")
def wide_params():
    return measure.wide_params()


# ---------------------------------------------------------------- the recipe and the files


def test_recipe_names_the_package_s_own_parameters():
    for sizes in (recipe.TINY, recipe.NARROW, recipe.WIDE, recipe.TINY._replace(tied=False)):
        assert recipe.shapes(sizes) == P.shapes(measure.config_of(sizes))


def test_stored_weights_are_what_the_recipe_draws():
    drawn = recipe.weights(recipe.TINY._replace(tied=False), recipe.TINY_SEED, recipe.TINY_STD)
    stored = measure.under("weights/", measure.load("tiny"))
    assert stored.keys() == drawn.keys()
    for name, array in stored.items():
        np.testing.assert_array_equal(array, drawn[name])


def test_golden_files_are_small():
    assert sum(path.stat().st_size for path in measure.HERE.glob("*.npz")) < 2_000_000


def test_every_named_activation_has_its_golden():
    acts = measure.under("acts/", measure.load("tiny"))
    params = measure.tiny_params(measure.load("tiny"), recipe.TINY, np.float32)
    ids = measure.load("tiny")["tokens"][:, :-1]
    _, seen = model.forward(ids, params, measure.config_of(recipe.TINY), ops, keep_acts=True)
    assert set(measure.flat(seen)) - {"ids", "positions"} == set(acts)


# ---------------------------------------------------------------- the tiny models, every number


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_tiny_forward_gradients_and_training(dtype):
    check(measure.tiny_rows(ops, dtype))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_tiny_padding_cache_and_ignored_targets(dtype):
    check(measure.decoding_rows(ops, dtype))


@pytest.mark.parametrize("variant", measure.VARIANTS)
def test_tiny_variants(variant):
    check(measure.variant_rows(variant, ops))


def test_greedy_ids():
    file, sizes = measure.load("tiny"), recipe.TINY._replace(tied=False)
    params, config = measure.tiny_params(file, sizes, np.float32), measure.config_of(sizes)
    request = Request(max_new_tokens=20, sampling=Sampling(temperature=0))
    prompts = file["greedy/prompt"].tolist()
    assert generate(prompts, params, config, ops, None, request) == file["greedy/new_ids"].tolist()
    prompts = [ids[real].tolist() for ids, real in zip(file["greedy/batch"], file["greedy/mask"] == 1, strict=True)]
    assert generate(prompts, params, config, ops, None, request) == file["greedy/batch_new_ids"].tolist()


# ---------------------------------------------------------------- GPT-2 124M's widths


def test_wide_forward(wide_params):
    check(measure.wide_forward_rows(wide_params))


def test_wide_forward_full_context(wide_params):
    check(measure.wide_forward_rows(wide_params, "long_"))


def test_wide_gradients_and_norm(wide_params):
    check(measure.wide_gradient_rows(wide_params))


@pytest.mark.parametrize("n_steps", [3, pytest.param(recipe.N_STEPS, marks=pytest.mark.slow)])
def test_wide_training(wide_params, n_steps):
    copies = P.nest({name: array.copy() for name, array in P.walk(wide_params)})
    check(measure.wide_training_rows(copies, n_steps))


def test_clipping_does_not_lose_small_gradients_in_a_large_sum():
    # one large number, then 2^24 small ones: in a running float32 sum each of them would round to nothing
    grad = np.full(2**24 + 1, 1e-4, np.float32)
    grad[0] = 1.0
    expected = np.sqrt(1.0 + 2**24 * np.float64(np.float32(1e-4)) ** 2)
    assert optim.clip_({"weight": grad}, max_norm=10.0) == pytest.approx(expected, rel=measure.NORM)


# ---------------------------------------------------------------- sampling

SAMPLING = [name for name in measure.load("sampling") if "/" in name]


@pytest.mark.parametrize("name", SAMPLING)
def test_sampling_step(name):
    file = measure.load("sampling")
    step, value = name.split("/")
    value = int(value) if step == "top_k" else float(value)
    if step == "repetition_penalty":
        actual = sampling.repetition_penalty(file["logits"], file["previous_ids"], value)
    else:
        actual = getattr(sampling, step)(file["logits"], value)
    check_logits(actual, file[name])


def test_sampling_steps_in_a_row():
    file = measure.load("sampling")
    logits = sampling.repetition_penalty(file["logits"], file["previous_ids"], 1.3)
    logits = sampling.top_p(sampling.top_k(sampling.temperature(logits, 0.7), 20), 0.9)
    check_logits(logits, file["chain"])


def check_logits(actual, expected):
    """The same tokens are left, to the same float32 values; one division or product may round once: 1e-6 relative."""
    np.testing.assert_array_equal(np.isneginf(actual), np.isneginf(expected))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)
    assert actual.dtype == expected.dtype
