"""quantized/cache.py and quantized/decode.py: what is remembered as int8, and compiled decoding that reads it."""

import dataclasses
import functools
from types import SimpleNamespace

import numpy as np
import pytest
from small import CONFIG, make, normal, padded, random_ids

from nanogpt_np import GPT, model, ops
from nanogpt_np import params as P
from nanogpt_np.config import GPTConfig
from nanogpt_np.generation import decoding
from nanogpt_np.kv_cache import KVCache

kernels = pytest.importorskip("nanogpt_np.kernels")
quantized = pytest.importorskip("nanogpt_np.quantized")

SAME = 1e-5  # logits of about 1, float32 sums in another order
CLOSE = 1e-4  # steps: so far can such sums move a value of at most 127 steps: 13 times float32's rounding of it
WIDER = GPTConfig(n_vocab=60, n_ctx=40, n_embd=72, n_layer=2, n_head=3, eos_id=None)  # partial panels and groups


def make_small(config=CONFIG):
    return quantized.quantize(make(config), config)


def filled(config, n_batch, n_before, mask=None, n=2):
    """Int8 caches that hold the same text, read by model.py."""
    params, made = make_small(config), [quantized.make_cache(config, n_batch, config.n_ctx) for _ in range(n)]
    for cache in made:
        model.forward(random_ids(n_batch, n_before), params, config, quantized, mask=mask, cache=cache)
    return params, made


def half_a_step(x):
    return np.abs(x).max(axis=-1, keepdims=True) / 127 * 0.501


def test_what_is_stored_comes_back_within_half_a_step():
    cache = quantized.Int8Cache(CONFIG, 2)
    shape = (2, CONFIG.n_head, 5, CONFIG.d_head)
    k, v = normal(*shape), normal(*shape, seed=1) * np.logspace(-3, 3, 5, dtype=np.float32)[:, None]
    k[1, 2, 3] = 0
    for layer in range(2):
        got_k, got_v = cache.append(layer, k, v)
        for got, expected in ((got_k, k), (got_v, v)):
            assert got.dtype == np.float32 and got.shape == shape
            assert (np.abs(got - expected) <= half_a_step(expected)).all()
    assert cache.keys.nbytes * 4 == KVCache(CONFIG, 2).keys.nbytes
    cache.advance(5)
    more_k, more_v = cache.append(1, k[:, :, :2], v[:, :, :2])
    assert np.array_equal(more_k[:, :, :5], got_k) and np.array_equal(more_k[:, :, 5:], got_k[:, :, :2])
    assert np.array_equal(more_v[:, :, :5], got_v) and np.array_equal(more_v[:, :, 5:], got_v[:, :, :2])


def test_float64_and_any_layout_can_be_stored():
    expected, got = (quantized.Int8Cache(CONFIG, 1) for _ in range(2))
    rows = normal(1, 4, CONFIG.n_head, CONFIG.d_head)
    turned = rows.swapaxes(1, 2)
    whole = expected.append(0, np.ascontiguousarray(turned), np.ascontiguousarray(turned))
    for got_one, expected_one in zip(got.append(0, turned, turned.astype(np.float64)), whole, strict=True):
        assert np.array_equal(got_one, expected_one)


def test_rows_can_be_selected_and_positions_forgotten():
    params, (cache, expected) = filled(CONFIG, 3, 6)
    twin = cache.select(np.array([2, 0]))
    assert type(twin) is quantized.Int8Cache and twin.length == 6
    for name in ("keys", "values", "key_factors", "value_factors"):
        assert np.array_equal(getattr(twin, name)[:, :, :, :6], getattr(cache, name)[:, [2, 0], :, :6])
    ids = random_ids(3, 1, seed=4)
    decoding.decode(random_ids(3, 2, seed=9), params, CONFIG, quantized, cache)
    cache.rewind(6)
    got = decoding.decode(ids, params, CONFIG, quantized, cache)
    assert np.array_equal(got, decoding.decode(ids, params, CONFIG, quantized, expected))
    assert np.array_equal(decoding.decode(ids[[2, 0]], params, CONFIG, quantized, twin), got[[2, 0]])


def steps_of(x, width):  # [n_batch, …, n] -> for each `width` of them: where they lie, in steps of int8; a step's size
    for first in range(0, x.shape[-1], width):
        part = slice(first, first + width)
        top = np.abs(x[..., part]).max(axis=-1, keepdims=True).astype(np.float64)
        step = np.where(top > 0, top, 1) / 127
        yield part, x[..., part] / step, step


def nearest_to_a_half(x, width):  # [n_batch, …, n] -> [n_batch]
    """How near to a half, in steps, a text's values come before they are rounded `width` together."""
    distances = [np.abs(steps - np.floor(steps) - 0.5) for _, steps, _ in steps_of(x, width)]
    return np.min([distance.reshape(len(x), -1).min(axis=1) for distance in distances], axis=0)


def across_the_half(x, width):
    """x, but what comes within CLOSE of a half lies on its other side."""
    moved = x.copy()
    for part, steps, step in steps_of(x, width):
        half = np.floor(steps) + 0.5
        other_side = (half + CLOSE * np.where(steps < half, 1, -1)) * step
        moved[..., part] = np.where(np.abs(steps - half) < CLOSE, other_side, x[..., part])
    return moved


def with_each_rounded(see):
    """The functions of quantized, for model.py; what is about to be rounded is see(values, how many share a scale)."""

    def linear(x, weight, bias):
        return quantized.linear(see(x, 64), weight, bias)

    def unembed(x, weight):
        return quantized.unembed(see(x, 64), weight)

    def split_heads(x, n_head):  # of keys and values, a position of a head has a scale; queries need not be seen
        heads = quantized.split_heads(x, n_head)
        return see(heads, heads.shape[-1])

    seen = {"linear": linear, "unembed": unembed, "split_heads": split_heads}
    return SimpleNamespace(**{**vars(quantized), **seen})


def rounded_logits(config, see):  # -> [64, 10, n_vocab]
    params, cache = make_small(config), quantized.Int8Cache(config, 64)
    return model.forward(random_ids(64, 10), params, config, with_each_rounded(see), cache=cache)[0]


@functools.cache
def cost_of_rounding(config):
    """By how much, of 64 texts, rounding activations, keys and values moves a logit at worst."""
    weights = P.walk(make_small(config))
    wide = P.nest({name: one.dequantized() if one.dtype == np.int8 else one for name, one in weights})
    exact, _ = model.forward(random_ids(64, 10), wide, config, kernels)
    return np.abs(rounded_logits(config, lambda x, width: x) - exact).max()


@pytest.mark.parametrize("config", [CONFIG, WIDER])
@pytest.mark.parametrize("n_batch, n_new", [(1, 1), (1, 2), (1, 3), (1, 8), (2, 1), (3, 2), (8, 1), (5, 8), (64, 1)])
@pytest.mark.parametrize("with_padding", [False, True])
def test_compiled_decoding_is_the_model(config, n_batch, n_new, with_padding):
    """The same int8 and the same logits for each text of which no value comes within CLOSE of a half.

    Of longer texts few are so clear, so several are tried: two steps each, the second behind what the first has left.
    """
    params, (before,) = filled(config, n_batch, 6, padded(n_batch, 6) if with_padding else None, n=1)
    clear, seed = np.zeros(n_batch, bool), 0
    while not clear.any():
        assert seed < 300, "no text is clear, which for the least likely of these cases has a chance of 1e-9"
        nearest, error = np.full(n_batch, 0.5), np.zeros(n_batch)
        cache, expected_cache = (before.select(np.arange(n_batch)) for _ in range(2))

        def note(x, width, nearest=nearest):
            np.minimum(nearest, nearest_to_a_half(x, width), out=nearest)
            return x

        for n, step in ((n_new, seed), (1, seed + 1)):
            ids = random_ids(n_batch, n, seed=step)
            assert quantized.decode_plan(ids.shape, params, config, cache) is not None
            expected, _ = model.forward(ids, params, config, with_each_rounded(note), cache=expected_cache)
            got = decoding.decode(ids, params, config, quantized, cache)
            error = np.maximum(error, np.abs(got - expected).max(axis=(1, 2)))
        clear, seed = nearest > CLOSE, seed + 2
    assert error[clear].max() < SAME and error.max() < 2 * cost_of_rounding(config)
    end = expected_cache.length
    assert cache.length == end == 7 + n_new
    for name in cache.STORED:
        got, stored = (getattr(one, name)[:, clear, :, :end] for one in (cache, expected_cache))
        if got.dtype == np.int8:
            assert np.array_equal(got, stored)
        else:
            np.testing.assert_allclose(got, stored, rtol=1e-5)


@pytest.mark.parametrize("config", [CONFIG, WIDER])
def test_close_calls_that_all_fall_the_other_way_cost_no_more_than_two_roundings_do(config):
    """Each way is int8's own error away from what it stands for, so no further than twice that from the other."""
    plain, other = (rounded_logits(config, see) for see in (lambda x, width: x, across_the_half))
    error = np.abs(other - plain).max()
    assert 100 * SAME < error < 2 * cost_of_rounding(config)  # some did fall the other way


@pytest.mark.parametrize("n_new", [2, 4, 7])
def test_tokens_that_are_checked_together_have_the_bits_of_each_alone(n_new):
    params, (together, alone) = filled(WIDER, 1, 20)
    ids = random_ids(1, n_new, seed=3)
    expected = decoding.decode(ids, params, WIDER, quantized, together)
    for i in range(n_new):
        logits = decoding.decode(ids[:, i : i + 1], params, WIDER, quantized, alone)
        assert np.array_equal(logits[:, 0], expected[:, i])


def test_what_int8_costs_the_logits():
    """As much as the weights do, at most: root mean squares of what a text of 15 tokens gives, read one by one."""
    ids, params, small = random_ids(4, 15), make(), make_small()
    exact, _ = model.forward(ids, params, CONFIG, quantized)
    wide_cache, _ = model.forward(ids, small, CONFIG, quantized, cache=KVCache(CONFIG, 4))
    cache, rows = quantized.make_cache(CONFIG, 4, 16), []
    for i in range(15):
        rows.append(decoding.decode(ids[:, i : i + 1], small, CONFIG, quantized, cache))
    of_weights, of_both = (np.sqrt(np.square(x - exact).mean()) for x in (wide_cache, np.concatenate(rows, axis=1)))
    assert 0 < of_both < 1.5 * of_weights < 0.1 * exact.std()


def test_which_cache_is_made():
    assert isinstance(quantized.make_cache(CONFIG, 64, 16), quantized.Int8Cache)
    gelu = dataclasses.replace(CONFIG, activation="gelu")  # nothing reads int8 as it is: it would be widened each time
    for cache in (quantized.make_cache(gelu, 1, 16), quantized.make_cache(CONFIG, 65, 16)):
        assert type(cache) is KVCache and cache.keys.dtype == np.float32


def test_what_compiled_decoding_is_not_for():
    params, (cache,) = filled(CONFIG, 1, 4, n=1)
    assert quantized.decode_plan((1, 8), params, CONFIG, cache) is not None
    assert quantized.decode_plan((2, 1), params, CONFIG, cache) is None  # the cache has room for one text
    assert quantized.decode_plan((16, 4), params, CONFIG, quantized.Int8Cache(CONFIG, 16)) is not None
    for shape in ((1, 9), (65, 1), (16, 5)):
        assert quantized.decode_plan(shape, params, CONFIG, quantized.Int8Cache(CONFIG, shape[0])) is None
    assert quantized.decode_plan((1, 1), params, CONFIG, KVCache(CONFIG, 1)) is None
    assert quantized.decode_plan((1, 1), make(), CONFIG, cache) is None
    assert quantized.decode_plan((1, 1), params, dataclasses.replace(CONFIG, activation="gelu"), cache) is None
    part = params["h"][1]["mlp"]["c_proj"]
    n_in, n_out = part["weight"].shape
    for shape in ((n_in, n_out + 1), (n_in // 2, n_out)):
        part["weight"] = quantized.Int8Matrix(np.ones(shape, np.float32))
        assert quantized.decode_plan((1, 1), params, CONFIG, cache) is None
    part["weight"] = np.ones((n_in, n_out), np.float32)
    assert quantized.decode_plan((1, 1), params, CONFIG, cache) is None


def clear_text(config, prompt):
    """The six ids that follow a prompt, each with a logit that leads by 3.5, which no two roundings to int8 make up."""
    ids, params = list(prompt), make(config, scale=1.0)
    for _ in range(6):
        logits = model.forward(np.array([ids]), params, config, ops)[0][0, -1]
        second, best = np.sort(logits)[-2:]
        assert best - second > 3.5  # int8 moves these logits by 1 at most
        ids.append(int(logits.argmax()))
    return ids[len(prompt) :]


def test_models_of_another_precision_generate_too():
    prompts = [[28, 2, 3], [3, 10]]
    for dtype in (np.float32, np.float64):
        gpt = GPT(CONFIG, make(scale=1.0, dtype=dtype), ops="int8")
        assert gpt.generate(prompts, 6, temperature=0) == [clear_text(CONFIG, prompt) for prompt in prompts]


@pytest.mark.parametrize("config", [CONFIG, dataclasses.replace(CONFIG, activation="gelu")])
@pytest.mark.parametrize("n_texts", [1, 3, 70])
def test_texts_are_those_of_the_plain_cache(config, n_texts):
    """Greedy, where the best logit is clear: with a cache of int8, and one of float32 (70 texts, or another GELU)."""
    gpt = GPT(config, make(config, scale=1.0), ops="int8")
    prompts = [[28, 2, 3], [3, 10], [1, 2, 3]][:n_texts] + [[i % 29, 2, 3] for i in range(n_texts - 3)]
    texts = gpt.generate(prompts, 6, temperature=0)
    for prompt, text in zip(prompts[:3], texts[:3], strict=True):
        assert text == clear_text(config, prompt)
        assert text == [int(gpt(prompt + text[:n])[0, -1].argmax()) for n in range(6)]  # without a cache at all
