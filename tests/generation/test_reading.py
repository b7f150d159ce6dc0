"""A piece of a prompt in one compiled call: what model.forward gives with the same ops, and the same cache behind it.

In float32 to the bit: the same sums, cut into the same pieces. With fewer bits, few queries (the last block's is one)
are summed in another order, as their keys and values stay int8; what was remembered is equal to the bit where all
queries were many.
"""

import numpy as np
import pytest
from small import as_opened, make, mostly_slow, padded, random_ids

from nanogpt_np import model
from nanogpt_np.config import GPTConfig
from nanogpt_np.generation import decoding
from nanogpt_np.kv_cache import KVCache

kernels = pytest.importorskip("nanogpt_np.kernels")
products = pytest.importorskip("nanogpt_np.kernels.products")
attention = pytest.importorskip("nanogpt_np.kernels.attention")
quantized = pytest.importorskip("nanogpt_np.quantized")
int4 = pytest.importorskip("nanogpt_np.quantized.int4")

# wider than a piece of DEPTH, so that sums have several; 300 tokens are several blocks of queries
CONFIG = GPTConfig(n_vocab=300, n_ctx=400, n_embd=448, n_layer=2, n_head=7, eos_id=None)
TWINS = {"numba": kernels, "int8": quantized, "int4": int4}
FLOAT32 = 1e-4  # logits of about 1 to 10, summed in another order


def alike(got, expected, name):
    """To rounding: of small weights an activation between two whole numbers may fall to either, a step of 1/127."""
    assert got.shape == expected.shape
    if name == "numba":
        np.testing.assert_allclose(got, expected, rtol=0, atol=FLOAT32)
    else:
        apart, largest = np.abs(got - expected), np.abs(expected).max()
        step = largest / 127  # at most 1.0 was measured, 0.25 in the mean; a wrong mask makes dozens
        assert apart.max() < 4 * step and apart.mean() < step


def weights(name, by_output=True, config=CONFIG):
    twin, params = TWINS[name], make(config)
    if name != "numba":
        return twin.quantize(params, config)
    return as_opened(params, config) if by_output else params


def stored(cache, n_rows, length):
    return [getattr(cache, name)[:, :n_rows, :, :length] for name in cache.STORED]


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("by_output", [True, False])
@pytest.mark.parametrize("n_seq", mostly_slow([1, 3, 8, 9, 16, 17, 40, 64, 65, 100, 129, 300], [1, 8, 9, 17, 65, 129]))
def test_a_piece_is_what_the_model_makes_of_it(name, by_output, n_seq, monkeypatch):
    if name != "numba" and not by_output:
        pytest.skip("these weights lie one way")
    monkeypatch.setattr(decoding, "PIECE", 1000)
    monkeypatch.setattr(decoding, "PIECE_OF_INT8", 1000)
    twin, params = TWINS[name], weights(name, by_output)
    caches = [decoding.new_cache(1, 320, params, CONFIG, twin) for _ in range(2)]
    for start, n in ((0, n_seq), (n_seq, 12)):  # and once more, behind what the cache holds
        ids = random_ids(1, n, seed=start, config=CONFIG)
        assert twin.read_plan(ids.shape, params, CONFIG, caches[0]) is not None
        got = decoding.read(ids, params, CONFIG, twin, caches[0])
        expected, _ = model.forward(ids, params, CONFIG, twin, cache=caches[1], last_only=True)
        assert got.shape == (1, 1, CONFIG.n_vocab)
        if name == "numba":
            assert np.array_equal(got, expected)
        alike(got, expected, name)
        assert caches[0].length == caches[1].length == start + n
        if name == "numba" or min(n, n_seq) > products.FEW_ROWS:
            both = zip(stored(caches[0], 1, start + n), stored(caches[1], 1, start + n), strict=True)
            assert all(np.array_equal(one, other) for one, other in both)


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("n_batch, n_seq", [(2, 5), (3, 13), (5, 30), (9, 1), (20, 7), (70, 3)])
def test_several_texts_with_padding(name, n_batch, n_seq):
    """In rows of several texts, each with padding of its own at the left."""
    twin, params = TWINS[name], weights(name)
    ids, mask = random_ids(n_batch, n_seq, config=CONFIG), padded(n_batch, n_seq)[::-1]
    caches = [decoding.new_cache(n_batch, 40, params, CONFIG, twin) for _ in range(2)]
    got = decoding.read(ids, params, CONFIG, twin, caches[0], mask)
    expected, _ = model.forward(ids, params, CONFIG, twin, mask=mask, cache=caches[1], last_only=True)
    alike(got, expected, name)
    more = random_ids(n_batch, 1, seed=1, config=CONFIG)
    got = decoding.decode(more, params, CONFIG, twin, caches[0])
    expected, _ = model.forward(more, params, CONFIG, twin, cache=caches[1])
    alike(got, expected, name)


@pytest.mark.parametrize("name", TWINS)
def test_pieces_without_logits_leave_the_same_cache(name, monkeypatch):
    """Cut into pieces of 130, 130 and 40: only the last makes logits."""
    monkeypatch.setattr(decoding, "PIECE", 130)
    monkeypatch.setattr(decoding, "PIECE_OF_INT8", 130)
    twin, params = TWINS[name], weights(name)
    ids = random_ids(1, 300, config=CONFIG)
    caches = [decoding.new_cache(1, 320, params, CONFIG, twin) for _ in range(2)]
    *before, got = decoding.read_on(ids, params, CONFIG, twin, caches[0])
    assert before == [None, None]
    for start in (0, 130, 260):
        expected, _ = model.forward(
            ids[:, start : start + 130], params, CONFIG, twin, cache=caches[1], last_only=True
        )  # fmt: skip
    alike(got, expected, name)
    for one, other in zip(stored(caches[0], 1, 300), stored(caches[1], 1, 300), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("name", TWINS)
def test_many_new_tokens_all_of_whose_logits_are_wanted(name):
    """decode() with more queries than stream by: all rows go all the way."""
    twin, params = TWINS[name], weights(name)
    ids = random_ids(2, 20, config=CONFIG)
    caches = [decoding.new_cache(2, 40, params, CONFIG, twin) for _ in range(2)]
    got = decoding.decode(ids, params, CONFIG, twin, caches[0])
    expected, _ = model.forward(ids, params, CONFIG, twin, cache=caches[1])
    assert got.shape == (2, 20, CONFIG.n_vocab)
    alike(got, expected, name)


def test_what_lay_in_the_cache_before_changes_nothing():
    """Rows of zeros below few queries, and places that nobody has written to, hold NaN here."""
    params, ids = weights("numba"), random_ids(3, 13, config=CONFIG)
    caches = [KVCache(CONFIG, 3, 40) for _ in range(2)]
    for cache, value in zip(caches, (0, np.nan), strict=True):
        for array in cache.keys, cache.values:
            array[...] = value
    clean, dirty = (decoding.read(ids, params, CONFIG, kernels, cache) for cache in caches)
    assert np.array_equal(clean, dirty) and np.isfinite(clean).all()


def test_a_piece_longer_than_a_band_is_the_models():
    """A banded layer's cache has no room for all keys of a long piece: model.forward reads it."""
    config = GPTConfig(n_vocab=300, n_ctx=64, n_embd=64, n_layer=2, n_head=4, eos_id=None, window=8)
    params, cache = make(config), KVCache(config)
    assert kernels.read_plan((1, 8), params, config, cache) is not None
    assert kernels.read_plan((1, 9), params, config, cache) is None
    ids = random_ids(1, 30, config=config)
    other = KVCache(config)
    expected, _ = model.forward(ids, params, config, kernels, cache=other, last_only=True)
    assert np.array_equal(decoding.read(ids, params, config, kernels, cache), expected)


@pytest.mark.parametrize("width", [64, 448, 1024, 1040])
@pytest.mark.parametrize("n_rows", [1, 2, 3, 8, 9, 16, 17, 24, 63, 64, 65])
def test_some_rows_have_the_bits_of_each_alone(n_rows, width):
    """Where rows are so few that each output is one sum, over weights by output, the others change no bit."""
    rng = np.random.default_rng(n_rows)
    x = rng.normal(size=(n_rows, width)).astype(np.float32)
    weight = np.asfortranarray(rng.normal(size=(width, 100)).astype(np.float32))
    bias = rng.normal(size=100).astype(np.float32)
    got = kernels.linear(x, weight, bias)
    np.testing.assert_allclose(got, x.astype(np.float64) @ weight + bias, rtol=0, atol=2e-4)
    if products.by_dots(n_rows, width):
        assert np.array_equal(got, np.concatenate([kernels.linear(row[None], weight, bias) for row in x]))
