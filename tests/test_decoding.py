"""decoding.py: pieces and compiled decoding gives what model.gpt gives, with and without padding."""

import dataclasses
import gc
import weakref

import numpy as np
import pytest
from test_model import CONFIG, make, random_ids

from nanogpt_np import decoding, model, ops
from nanogpt_np import params as P
from nanogpt_np.config import GPTConfig
from nanogpt_np.kv_cache import KVCache

kernels = pytest.importorskip("nanogpt_np.kernels")
kernel_addresses = pytest.importorskip("nanogpt_np.kernel_addresses")
kernel_decode = pytest.importorskip("nanogpt_np.kernel_decode")

FLOAT32 = 1e-4  # logits of about 1 to 10, summed in another order


def caches(n_batch, n_before, mask, n=2):
    """Caches that hold the same text, read by plain NumPy."""
    params, made = make(), [KVCache(CONFIG, n_batch) for _ in range(n)]
    for cache in made:
        model.gpt(random_ids(n_batch, n_before), params, CONFIG, ops, mask=mask, cache=cache)
    return params, made


def padded(n_batch, n_seq):
    """A mask under which the first text begins later than the others."""
    return np.arange(n_seq) >= np.array([[n_seq // 2]] + [[0]] * (n_batch - 1))


@pytest.mark.parametrize("n_batch, n_new", [(1, 1), (1, 2), (1, 3), (1, 8), (2, 1), (3, 2), (8, 1), (5, 1), (9, 1)])
@pytest.mark.parametrize("with_padding", [False, True])
def test_decode_is_the_model(n_batch, n_new, with_padding):
    mask = padded(n_batch, 6) if with_padding else None
    params, (expected_cache, cache) = caches(n_batch, 6, mask)
    for step in range(2):
        ids = random_ids(n_batch, n_new, seed=step + 1) if n_new < 5 or step == 0 else random_ids(n_batch, 1)
        expected, _ = model.gpt(ids, params, CONFIG, ops, cache=expected_cache)
        got = decoding.decode(ids, params, CONFIG, kernels, cache)
        np.testing.assert_allclose(got, expected, atol=FLOAT32)
        end = expected_cache.length
        assert cache.length == end
        for name in ("keys", "values"):
            stored = getattr(expected_cache, name)[:, :, :, :end]
            np.testing.assert_allclose(getattr(cache, name)[:, :, :, :end], stored, atol=FLOAT32)


@pytest.mark.parametrize("n_new", [1, 3])
def test_a_width_whose_sums_have_several_pieces(n_new):
    config = GPTConfig(n_vocab=60, n_ctx=16, n_embd=448, n_layer=2, n_head=7, eos_id=None)
    params = P.init(config, np.random.default_rng(0))
    ids, more = np.arange(5)[None], np.arange(7, 7 + n_new)[None]
    cache, expected_cache = KVCache(config), KVCache(config)
    for one in (cache, expected_cache):
        model.gpt(ids, params, config, ops, cache=one)
    expected, _ = model.gpt(more, params, config, ops, cache=expected_cache)
    np.testing.assert_allclose(decoding.decode(more, params, config, kernels, cache), expected, atol=FLOAT32)


@pytest.mark.parametrize("n_new", [2, 4])
def test_tokens_that_are_checked_together_have_the_bits_of_each_alone(n_new):
    params, (together, alone) = caches(1, 10, None)
    ids = random_ids(1, n_new, seed=3)
    expected = decoding.decode(ids, params, CONFIG, kernels, together)
    for i in range(n_new):
        logits = decoding.decode(ids[:, i : i + 1], params, CONFIG, kernels, alone)
        assert np.array_equal(logits[:, 0], expected[:, i])


@pytest.mark.parametrize("n_batch", [1, 3])
@pytest.mark.parametrize("piece", [1, 4, 5, 100])
@pytest.mark.parametrize("scores", [10**6, 100, 1])
@pytest.mark.parametrize("twin", [ops, kernels])
def test_a_prompt_in_pieces(n_batch, piece, scores, twin, monkeypatch):
    monkeypatch.setattr(decoding, "PIECE", piece * n_batch)
    monkeypatch.setattr(decoding, "SCORES", scores)
    params, ids, mask = make(), random_ids(n_batch, 13), padded(n_batch, 13)
    whole, cut = KVCache(CONFIG, n_batch), KVCache(CONFIG, n_batch)
    expected, _ = model.gpt(ids, params, CONFIG, ops, mask=mask, cache=whole, last_only=True)
    got = decoding.read(ids, params, CONFIG, twin, cut, mask)
    np.testing.assert_allclose(got, expected, atol=FLOAT32)
    assert cut.length == whole.length == 13


def test_what_compiled_decoding_is_not_for():
    params, (cache,) = caches(1, 4, None, n=1)
    assert kernels.decode_plan((1, 1), params, CONFIG, cache) is not None
    assert kernels.decode_plan((3, 3), params, CONFIG, cache) is None
    assert kernels.decode_plan((1, 1), params, dataclasses.replace(CONFIG, activation="gelu"), cache) is None
    whole = params["h"][1]["mlp"]["c_fc"]["weight"]
    unfit = {
        "float64": whole.astype(np.float64),
        "by columns": np.asfortranarray(whole),
        "a part of something wider": np.repeat(whole, 2, axis=1)[:, ::2],
        "where no float32 begins": np.frombuffer(b"0" + whole.tobytes(), np.uint8)[1:]
        .view(np.float32)
        .reshape(whole.shape),
        "another shape": whole[:, :-1].copy(),
    }
    for name, weight in unfit.items():
        params["h"][1]["mlp"]["c_fc"]["weight"] = weight
        assert kernels.decode_plan((1, 1), params, CONFIG, cache) is None, name
    params["h"][1]["mlp"]["c_fc"]["weight"] = whole
    assert kernels.decode_plan((1, 1), params, CONFIG, cache) is not None


def test_a_weight_that_is_replaced_or_written_to_counts_at_once():
    params, (cache, expected_cache) = caches(1, 4, None)
    for layer, change in enumerate(("replaced", "written to", "both")):
        part = params["h"][layer % len(params["h"])]["mlp"]["c_proj"]
        if change != "written to":
            part["weight"] = part["weight"] * np.float32(-2)
        if change != "replaced":
            part["weight"] *= np.float32(3)
        ids = random_ids(1, 1, seed=layer)
        expected, _ = model.gpt(ids, params, CONFIG, ops, cache=expected_cache)
        got = decoding.decode(ids, params, CONFIG, kernels, cache)
        np.testing.assert_allclose(got, expected, atol=FLOAT32)


def test_a_model_that_is_gone_leaves_nothing_behind():
    params, (cache,) = caches(1, 4, None, n=1)
    decoding.decode(random_ids(1, 1), params, CONFIG, kernels, cache)
    matrix = weakref.ref(params["h"][0]["attn"]["c_attn"]["weight"])
    assert kernel_decode._table in kernel_addresses._last
    del params
    gc.collect()
    assert matrix() is None and kernel_decode._table not in kernel_addresses._last


def test_an_output_matrix_of_its_own():
    config = dataclasses.replace(CONFIG, tie_word_embeddings=False)
    params = P.init(config, np.random.default_rng(0))
    cache, expected_cache = KVCache(config), KVCache(config)
    for step in range(3):
        ids = random_ids(1, 1, seed=step)
        expected, _ = model.gpt(ids, params, config, ops, cache=expected_cache)
        np.testing.assert_allclose(decoding.decode(ids, params, config, kernels, cache), expected, atol=FLOAT32)


def test_pieces_keep_within_their_memory():
    for n_batch, n_before in ((1, 0), (1, 256), (1, 768), (3, 1000), (200, 0), (300, 50)):
        n = decoding._piece(n_batch, n_before, GPTConfig(), ops)
        assert n >= 1 and n * n_batch <= max(decoding.PIECE, n_batch)
        scores = n_batch * GPTConfig().n_head * n * (n_before + n)
        assert n == 1 or scores <= decoding.SCORES
    assert decoding._piece(1, 0, GPTConfig(), ops) == decoding._piece(1, 256, GPTConfig(), ops) == decoding.PIECE
