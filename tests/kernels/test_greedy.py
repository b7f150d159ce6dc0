"""What stands between two tokens inside a compiled call: argmax and the embedding, with NumPy's bits."""

import dataclasses

import numpy as np
import pytest
from small import CONFIG, make, normal, own_kernel

from nanogpt_np import model, ops

pytest.importorskip("numba")
from numba import float32, int64, intp, void

from nanogpt_np import kernels, quantized
from nanogpt_np.generation import decoding, sampling
from nanogpt_np.kernels import greedy
from nanogpt_np.kernels.compile import read
from nanogpt_np.kernels.greedy import NOBODY, embed, likeliest, likeliest_of_part
from nanogpt_np.quantized.decode import embed_small


def _likeliest(logits, n_parts, out):
    best = np.empty(n_parts, np.int64)
    for part in range(n_parts):
        best[part] = likeliest_of_part(logits, part * logits.size // n_parts, (part + 1) * logits.size // n_parts)
    out[0] = likeliest(logits, best)


def _embed(token, position, places, x):
    embed(token, position, places, x)


def _embed_small(token, position, places, final, n_vocab, x):
    embed_small(token, position, places, final, n_vocab, x)


find = own_kernel(void(read(float32[::1]), intp, int64[::1]), _likeliest, parallel=False)
embed_one = own_kernel(void(intp, intp, read(int64[::1]), float32[::1]), _embed, parallel=False)
embed_one_small = own_kernel(
    void(intp, intp, read(int64[::1]), read(int64[::1]), intp, float32[::1]), _embed_small, parallel=False
)


def found(logits, n_parts):
    out = np.empty(1, np.int64)
    find(np.asarray(logits, np.float32), n_parts, out)
    return int(out[0])


@pytest.mark.parametrize("n_parts", [1, 2, 3, 64])
@pytest.mark.parametrize("n", [1, 2, 7, 8, 31, 1000])
def test_the_likeliest_is_the_first_of_the_highest(n, n_parts):
    for seed in range(20):
        logits = normal(n, seed=seed)
        assert found(logits, n_parts) == logits.argmax()
        coarse = np.round(logits)  # many are alike, and zeros have either sign
        assert found(coarse, n_parts) == coarse.argmax()
        some = np.where(normal(n, seed=seed + 50) > 0.5, np.float32(-np.inf), coarse)
        if np.isfinite(some).any():
            assert found(some, n_parts) == some.argmax()


@pytest.mark.parametrize("n_parts", [1, 2, 5])
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf])
def test_what_greedy_refuses_is_nobody(value, n_parts):
    for n in (1, 5, 100):
        for at in {0, n // 2, n - 1}:
            logits = normal(n, seed=at)
            logits[at] = value
            with pytest.raises(sampling.InputError):
                sampling.greedy(logits[None])
            assert found(logits, n_parts) == NOBODY
    assert found(np.full(9, -np.inf), n_parts) == NOBODY


def test_the_embedding_has_the_bits_of_the_model():
    params = make(CONFIG)
    cache = decoding.new_cache(1, 16, params, CONFIG, ops)
    plan = kernels.read_plan((1, 1), params, CONFIG, cache)
    places = greedy.asked_of(1, plan, params, CONFIG, cache, 4, greedy.NO_IDS)[2]
    for token, position in [(0, 0), (30, 15), (7, 3)]:
        x = np.empty(CONFIG.n_embd, np.float32)
        embed_one(token, position, places, x)
        expected = model.embed(np.array([[token]]), np.array([[position]]), params, CONFIG, ops)
        np.testing.assert_array_equal(x, expected[0, 0])


@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("n_embd, n_vocab", [(24, 31), (96, 200), (192, 64)])
def test_the_embedding_of_int8_too(is_tied, n_embd, n_vocab):
    config = dataclasses.replace(CONFIG, n_embd=n_embd, n_vocab=n_vocab, tie_word_embeddings=is_tied)
    params = quantized.quantize(make(config), config)
    cache = decoding.new_cache(1, 16, params, config, quantized)
    plan = _, table = quantized.read_plan((1, 1), params, config, cache)
    places = greedy.asked_of(1, plan, params, config, cache, 4, greedy.NO_IDS)[2]
    for token in range(n_vocab):
        x = np.empty(n_embd, np.float32)
        embed_one_small(token, token % 16, places, table[-1], n_vocab, x)
        expected = model.embed(np.array([[token]]), np.array([[token % 16]]), params, config, quantized)
        np.testing.assert_array_equal(x, expected[0, 0])


def test_what_compiled_code_would_not_notice():
    """No such token, no room, rows that are missing: it is not asked."""
    params = make(CONFIG)
    cache = decoding.new_cache(1, 8, params, CONFIG, ops)
    plan = kernels.read_plan((1, 1), params, CONFIG, cache)

    def is_asked(last=1, n_new=8, config=CONFIG, params=params):
        return greedy.asked_of(last, plan, params, config, cache, n_new, greedy.NO_IDS) is not None

    assert is_asked() and is_asked(last=30)
    assert not any(map(is_asked, (-1, 31, 1 << 40)))
    assert not is_asked(n_new=9) and not is_asked(n_new=0)
    short = params | {"wpe": {"weight": params["wpe"]["weight"][:5]}}
    assert not is_asked(params=short) and not is_asked(config=CONFIG.replace(positions="sinusoidal"))
    narrow = params | {"wte": {"weight": params["wte"]["weight"][:9]}}
    assert greedy.asked_of(1, plan, narrow, CONFIG, cache, 8, greedy.NO_IDS)[2][0] == 0
    with pytest.raises(IndexError):
        decoding.decode(np.array([[31]]), params, CONFIG, kernels, cache)
