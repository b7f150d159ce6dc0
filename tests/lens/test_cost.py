"""Gradients by finite differences and by training/backward.py, costs by counting, rounding and weights by NumPy."""

import types

import numpy as np
import pytest
from lens.reference import forward, softmax
from lens.test_pictures import render, texts
from small import CONFIG, make, random_ids

from nanogpt_np import GPT, KVCache, lens, ops
from nanogpt_np import params as P
from nanogpt_np.config import PRESETS, GPTConfig
from nanogpt_np.errors import InputError
from nanogpt_np.training.backward import loss_and_grads

IDS = random_ids(9, seed=3)


def loss_of(logits, position):
    probs = softmax(logits)
    losses = -np.log(probs[range(8), IDS[1:]])
    return losses.mean() if position is None else losses[position]


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def gpt(request):
    config = CONFIG.replace(tie_word_embeddings=request.param)
    return GPT(config, make(config, dtype=np.float64))


# ---------------------------------------------------------------- gradients


@pytest.mark.parametrize("position", [None, 0, 5])
def test_gradients_at_the_stream_by_finite_differences(gpt, position):
    """float64, so central differences with 1e-6 are good to 1e-7: every place, a few numbers of each."""
    view = lens.gradients_view(gpt, IDS, position)
    assert view.loss == pytest.approx(loss_of(forward(gpt.params, gpt.config, IDS)["logits"], position), abs=1e-9)
    sites = [("resid_pre", 0), *((site, layer) for layer in range(2) for site in ("resid_mid", "resid_post"))]
    rng = np.random.default_rng(0)
    for place, site in enumerate(sites):
        for _ in range(4):
            row, column = rng.integers(0, 9), rng.integers(0, 24)

            def moved(by, site=site, row=row, column=column):
                def change(x):
                    x[row, column] += by
                    return x

                return loss_of(lens.run(gpt, IDS, {site: change}).logits, position)

            slope = (moved(1e-6) - moved(-1e-6)) / 2e-6
            assert view.stream[place, row, column] == pytest.approx(slope, abs=1e-7)
    np.testing.assert_allclose(view.norms, np.sqrt((view.stream**2).sum(-1)))


def test_gradients_of_parameters_are_those_of_training(gpt):
    view = lens.gradients_view(gpt, IDS)
    targets = np.append(IDS[1:], ops.IGNORE)[None]
    loss, grads = loss_and_grads(IDS[None], targets, gpt.params, gpt.config, ops)
    assert view.loss == pytest.approx(loss, rel=1e-12)
    wanted = {name: np.linalg.norm(array) for name, array in P.walk(grads)}
    assert view.params.keys() == wanted.keys()
    for name, norm in wanted.items():
        assert view.params[name] == pytest.approx(norm, rel=1e-10)


def test_gradient_times_input_is_the_slope_of_scaling_a_token(gpt):
    view = lens.gradients_view(gpt, IDS)

    def moved(place, factor):
        def change(x):
            x[place] *= factor
            return x

        return loss_of(lens.run(gpt, IDS, {("resid_pre", 0): change}).logits, None)

    for place in (0, 4, 8):
        slope = (moved(place, 1 + 1e-6) - moved(place, 1 - 1e-6)) / 2e-6
        assert view.times_input[place] == pytest.approx(slope, abs=1e-7)


def test_what_a_half_of_a_block_does_to_the_loss(gpt):
    """By scaling what a feed-forward network adds; what it adds to the gradient, by holding it where it was."""
    view = lens.gradients_view(gpt, IDS)
    plain = lens.run(gpt, IDS)

    def moved(site, factor=1.0, held=None, at=None):
        changes = {site: lambda x: factor * x}
        if held:
            by, where = at
            changes = {("resid_pre", 1): lambda x: shifted(x, where, by), held: lambda x: plain.sites[held]}
        return loss_of(lens.run(gpt, IDS, changes).logits, None)

    for layer in range(2):
        site = ("ffn_out", layer)
        slope = (moved(site, 1 + 1e-6) - moved(site, 1 - 1e-6)) / 2e-6
        assert view.times_ffn[layer] == pytest.approx(slope, abs=1e-7)
    for row in (0, 5):  # the gradient at block 1 without the way through its attention is that at the middle of it
        for column in range(3):
            slopes = [(moved(None, held=("attn_out", 1), at=(by, (row, column)))) for by in (1e-6, -1e-6)]
            assert view.stream[3, row, column] == pytest.approx((slopes[0] - slopes[1]) / 2e-6, abs=1e-7)
    through = view.stream[:-1] - view.stream[1:]
    np.testing.assert_allclose(view.through, np.sqrt(np.square(through).sum(-1)), rtol=1e-10)


def shifted(x, where, by):
    x[where] += by
    return x


def test_a_look_back_is_worth_its_slope_and_a_head_the_sum_of_its_looks(gpt):
    view = lens.gradients_view(gpt, IDS)
    found = lens.pattern_gradients(gpt, IDS, view)
    np.testing.assert_allclose(found.sum(axis=(2, 3)), view.times_head, atol=1e-12)
    assert not found[..., ~np.tri(9, dtype=bool)].any()
    for layer, head, row, column in ((0, 0, 3, 1), (0, 2, 8, 0), (1, 1, 5, 5), (1, 0, 2, 0)):
        def moved(factor, place=(head, row, column), layer=layer):
            return loss_of(lens.run(gpt, IDS, {("probs", layer): lambda p: scaled(p, place, factor)}).logits, None)

        slope = (moved(1 + 1e-6) - moved(1 - 1e-6)) / 2e-6
        assert found[layer, head, row, column] == pytest.approx(slope, abs=1e-7)


def scaled(array, place, factor):
    array[place] *= factor
    return array


def test_numbers_of_the_gradient_picture(gpt):
    view = lens.gradients_view(gpt, IDS)
    figure = lens.draw_gradients(view)
    said = [text.strip() for text in texts(figure) if text[:2] in (" +", " -")]
    assert said == [f"{value:+.3f}" for value in view.times_input] and render(figure)


# ---------------------------------------------------------------- cost


def counted(config, n_before):
    """The operations of the products of one token, counted by ops that watch their arguments."""
    found = []
    watching = types.ModuleType("watching")
    vars(watching).update({name: value for name, value in vars(ops).items() if not name.startswith("__")})

    def linear(x, weight, bias):
        found.append((2 * weight.size + bias.size) * (x.size // x.shape[-1]))
        return ops.linear(x, weight, bias)

    def attention_probs(q, k, visible):
        found.append(2 * q.size * k.shape[-2])
        return ops.attention_probs(q, k, visible)

    def attention_mix(probs, v):
        found.append(2 * probs.size * v.shape[-1])
        return ops.attention_mix(probs, v)

    def unembed(x, weight):
        found.append(2 * weight.size * (x.size // x.shape[-1]))
        return ops.unembed(x, weight)

    for function in (linear, attention_probs, attention_mix, unembed):
        setattr(watching, function.__name__, function)
    gpt = GPT(config, make(config), ops=watching)
    cache = KVCache(config)
    if n_before:
        gpt(IDS[:n_before], cache=cache)
    found.clear()
    gpt(IDS[n_before : n_before + 1], cache=cache)
    return sum(found)


PRODUCTS = ("c_attn: q, k and v", "scores: q kᵀ", "mix: probs @ v", "attn.c_proj", "c_fc", "mlp.c_proj", "unembedding")


@pytest.mark.parametrize("n_before", [0, 1, 7])
@pytest.mark.parametrize("changes", [{}, {"n_inner": 40, "activation": "relu"}, {"positions": "sinusoidal"}])
def test_products_are_counted_as_they_are_done(n_before, changes):
    config = CONFIG.replace(**changes)
    view = lens.cost_view(config, n_before)
    assert sum(part.flops for part in view.parts if part.name in PRODUCTS) == counted(config, n_before)
    assert view.flops == sum(part.flops for part in view.parts)
    assert view.weight_bytes == sum(part.weight_bytes for part in view.parts)
    assert view.cache_bytes == sum(part.cache_bytes for part in view.parts) == view.cache_size
    assert view.cache_size == KVCache(config, n_ctx=n_before + 1).n_bytes


def test_gpt2_reads_all_its_weights_but_the_rows_it_does_not_look_up():
    """124,439,808 parameters: all but wpe's 1,023 other rows, and wte once as rows and once to make logits."""
    view = lens.cost_view(PRESETS["gpt2"])
    assert view.weight_bytes == 4 * (124_439_808 - 1023 * 768 + 768)
    assert view.flops == pytest.approx(2 * 124e6, rel=0.01)  # two for each parameter, as the rule of thumb says


def test_growth_of_the_cache():
    growth = lens.cache_growth(CONFIG)
    assert growth.shape == (16, 2)
    assert growth[5, 0] == lens.cost_view(CONFIG, 5).flops
    assert growth[5, 1] == lens.cost_view(CONFIG, 5).flops_without == sum(growth[:6, 0])


def test_numbers_of_the_cost_picture():
    view = lens.cost_view(GPTConfig(), 99)
    figure = lens.draw_cost(view)
    said = texts(figure)
    assert "unembedding" in said and " 77.2 M" in said and " 154.4 M" in said  # 2 * 768 * 50257, and 4 bytes of each
    assert any("What token 100 costs" in text for text in said) and render(figure)


# ---------------------------------------------------------------- weights and rounding


def test_weights():
    gpt = GPT(CONFIG, make())
    gpt.params["h"][0]["mlp"]["c_fc"]["weight"][3, 5] = 9.0  # an outlier
    view = lens.weights_view(gpt)
    named = dict(P.walk(gpt.params))
    assert view.names == list(named)
    for row, name in enumerate(view.names):
        x = named[name].astype(np.float64)
        got = (view.mean[row], view.std[row], view.largest[row])
        np.testing.assert_allclose(got, (x.mean(), x.std(), np.abs(x).max()), rtol=1e-6, atol=1e-9)
        assert view.counts[row].sum() == x.size
    row = view.names.index("h.0.mlp.c_fc.weight")
    assert view.outliers[row] == 1 / (24 * 96) and view.counts[row, -1] >= 1
    assert render(lens.draw_weights(view))


def test_rounding_grows_from_nothing():
    pytest.importorskip("numba")
    gpt, rounded = GPT(CONFIG, make()), GPT(CONFIG, make(), ops="int8")
    view = lens.rounding_view(gpt, rounded, IDS)
    ours, theirs = lens.look(gpt, IDS), lens.look(rounded, IDS)
    x, y = lens.stream(ours.acts).x, lens.stream(theirs.acts).x
    wanted = np.sqrt(((y - x) ** 2).sum(-1) / (x**2).sum(-1))
    np.testing.assert_allclose(view.errors, wanted, rtol=1e-4, atol=1e-7)
    assert 0 < view.errors.max() < 0.05
    probs = softmax(ours.logits.astype(np.float64))
    assert view.loss == pytest.approx(-np.log(probs[range(8), IDS[1:]]).mean(), rel=1e-6)
    assert abs(view.loss - view.loss_int8) < 0.1 and view.agree.mean() > 0.5
    figure = lens.draw_rounding(view)
    assert {f"{error:.2f}" for error in 100 * view.errors.mean(axis=1)} <= set(texts(figure)) and render(figure)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda gpt: lens.gradients_view(gpt, [1]), "prompt: expected at least two tokens, got one"),
        (lambda gpt: lens.gradients_view(gpt, IDS, 8), "position: expected a whole number from -8 to 7, got 8"),
        (lambda gpt: lens.cost_view(CONFIG, 16), "n_before: expected at most n_ctx - 1 = 15, got 16"),
        (lambda gpt: lens.cost_view(gpt), "config: expected a GPTConfig"),
        (lambda gpt: lens.weights_view(gpt, 1), "n_bins: expected a whole number of at least 2, got 1"),
        (lambda gpt: lens.rounding_view(gpt, GPT(CONFIG.replace(n_head=4), make()), IDS), "rounded: expected the same"),
    ],
)
def test_mistakes_are_one_line(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call(GPT(CONFIG, make()))
    assert "\n" not in str(caught.value)


def test_int8_has_no_gradients():
    pytest.importorskip("numba")
    gpt = GPT(CONFIG, make(), ops="int8")
    for view in (lambda: lens.gradients_view(gpt, IDS), lambda: lens.weights_view(gpt)):
        with pytest.raises(InputError, match="expected float weights, got int8 or int4; open the model"):
            view()
