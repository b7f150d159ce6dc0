"""Rows of one cache that come and go: each gives what it gives alone, and leaves nothing behind."""

import dataclasses

import numpy as np
import pytest
from small import CONFIG, make

from nanogpt_np import ops
from nanogpt_np.errors import InputError
from nanogpt_np.generation import decoding
from nanogpt_np.kv_cache import KVCache, Ragged

kernels = pytest.importorskip("nanogpt_np.kernels")
quantized = pytest.importorskip("nanogpt_np.quantized")
int4 = pytest.importorskip("nanogpt_np.quantized.int4")

TWINS = {"numpy": ops, "numba": kernels, "int8": quantized, "int4": int4}
FLOAT32 = 1e-4  # logits of about 1 to 10, summed in another order: a product of several rows is another call of BLAS


def weights(name, config=CONFIG):
    twin = TWINS[name]
    return twin.quantize(make(config), config) if hasattr(twin, "quantize") else make(config)


def begin(n_rows, twin, params, config=CONFIG, seed=0):
    """Some texts read alone, and the same as rows of one cache; the next id of each."""
    rng, alone, ids = np.random.default_rng(seed), [], []
    ragged = Ragged(decoding.new_cache(n_rows + 2, config.n_ctx, params, config, twin))
    for _ in range(n_rows):
        cache = decoding.new_cache(1, config.n_ctx, params, config, twin)
        prompt = rng.integers(0, config.n_vocab, (1, rng.integers(1, config.n_ctx // 2)))
        ids.append(int(decoding.read(prompt, params, config, twin, cache)[0, -1].argmax()))
        ragged.join(cache, cache.length)
        alone.append(cache)
    return ragged, alone, ids


def step(ragged, alone, ids, twin, params, config=CONFIG):
    """One token of each -> the logits together, and those of each alone."""
    rows = ragged.part(0, ragged.n_rows)
    got = decoding.decode(np.array(ids)[:, None], params, config, twin, rows)
    each = [
        decoding.decode(np.array([[i]]), params, config, twin, cache) for i, cache in zip(ids, alone, strict=True)
    ]
    return got, np.concatenate(each)


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("n_rows", [1, 2, 3, 7, 8])
def test_rows_give_what_each_gives_alone(name, n_rows):
    """With compiled decoding to the bit; plain NumPy sums several rows in another order than one."""
    twin, params = TWINS[name], weights(name)
    ragged, alone, ids = begin(n_rows, twin, params)
    for _ in range(4):
        got, expected = step(ragged, alone, ids, twin, params)
        np.testing.assert_allclose(got, expected, atol=FLOAT32)
        assert name == "numpy" or np.array_equal(got, expected)
        ids = expected[:, 0].argmax(axis=-1).tolist()
    assert [ragged.row(i).length for i in range(n_rows)] == [cache.length for cache in alone]


@pytest.mark.parametrize("name", TWINS)
def test_rows_that_come_and_go(name):
    twin, params = TWINS[name], weights(name)
    ragged, alone, ids = begin(6, twin, params)
    late, (of_late,), (late_id,) = begin(1, twin, params, seed=9)
    for leaves in (5, 0, 2, None, 1):
        if leaves is None:
            ragged.join(late.row(0), of_late.length)
            alone.append(of_late)
            ids.append(late_id)
        else:
            moved = ragged.leave(leaves)
            alone[leaves], ids[leaves] = alone[moved], ids[moved]
            alone.pop(), ids.pop()
        got, expected = step(ragged, alone, ids, twin, params)
        np.testing.assert_allclose(got, expected, atol=FLOAT32)
        assert name == "numpy" or np.array_equal(got, expected)
        ids = expected[:, 0].argmax(axis=-1).tolist()


def test_parts_of_the_rows_have_the_bits_of_all():
    params = make()
    ragged, alone, ids = begin(8, kernels, params)
    twin, _, _ = begin(8, kernels, params)
    whole = decoding.decode(np.array(ids)[:, None], params, CONFIG, kernels, ragged.part(0, 8))
    cut = [decoding.decode(np.array(ids[a:b])[:, None], params, CONFIG, kernels, twin.part(a, b))
           for a, b in ((0, 3), (3, 8))]  # fmt: skip
    assert np.array_equal(np.concatenate(cut), whole)
    for name in KVCache.STORED:
        assert np.array_equal(getattr(ragged.cache, name), getattr(twin.cache, name))


@pytest.mark.parametrize("name", ["numba", "int8", "int4"])
def test_a_model_that_is_not_compiled_as_a_whole(name):
    """Another GELU: model.forward over all rows."""
    twin, config = TWINS[name], dataclasses.replace(CONFIG, activation="gelu")
    params = weights(name, config)
    ragged, alone, ids = begin(5, twin, params, config)
    assert twin.decode_plan((5, 1), params, config, ragged.part(0, 5)) is None
    got, expected = step(ragged, alone, ids, twin, params, config)
    np.testing.assert_allclose(got, expected, atol=FLOAT32)


def test_a_row_that_held_nan_spoils_no_other():
    params = make()
    ragged, alone, ids = begin(3, ops, params)
    broken = ragged.row(2)
    broken.keys[:, :, :, : broken.length] = broken.values[:, :, :, : broken.length] = np.nan
    assert ragged.leave(2) == 2 and max(alone[0].length, alone[1].length) > 1 and broken.length > 1
    ragged.join(alone[0], 1)  # a short text where the broken one was; another is longer
    got = decoding.decode(np.array([[ids[0]], [ids[1]], [1]]), params, CONFIG, ops, ragged.part(0, 3))
    assert np.isfinite(got).all()
    expected = decoding.decode(np.array([[ids[1]]]), params, CONFIG, ops, alone[1])
    np.testing.assert_allclose(got[1:2], expected, atol=FLOAT32)


def test_what_does_not_fit_is_one_line():
    params = make()
    ragged, alone, ids = begin(1, ops, params)
    for _ in range(2):
        ragged.join(alone[0], 1)
    with pytest.raises(InputError, match="rows: expected at most 3, got one more"):
        ragged.join(alone[0], 1)
    with pytest.raises(InputError, match="n_ctx"):  # one new token of each at a time
        ragged.part(0, 2).reserve(2)
    full = decoding.new_cache(1, CONFIG.n_ctx, params, CONFIG, ops)
    full.advance(CONFIG.n_ctx)
    ragged.leave(0)
    ragged.join(full, CONFIG.n_ctx)
    with pytest.raises(InputError, match="n_ctx"):
        ragged.part(0, 3).reserve(1)


def test_a_prompt_read_on_is_the_prompt_read(monkeypatch):
    monkeypatch.setattr(decoding, "PIECE", 4)
    params, ids = make(), np.arange(13)[None]
    whole, cut = KVCache(CONFIG), KVCache(CONFIG)
    expected = decoding.read(ids, params, CONFIG, ops, whole)
    *before, last = decoding.read_on(ids, params, CONFIG, ops, cut)
    assert before == [None] * 3 and np.array_equal(last, expected) and cut.length == 13
