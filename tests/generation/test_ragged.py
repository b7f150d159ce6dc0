"""Rows of one cache that come and go: each gives what it gives alone, and leaves nothing behind."""

import dataclasses

import numpy as np
import pytest
from banded import PARAMS, SHAPE, TOLERANCE, one_text
from small import CONFIG, make, mostly_slow

from nanogpt_np import ops
from nanogpt_np.errors import InputError
from nanogpt_np.generation import decoding
from nanogpt_np.generation.ragged import Ragged
from nanogpt_np.kv_cache import KVCache

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


# ---- bands: the newest of each row lie side by side, whatever its length


BANDS = {
    "every other layer": {"window": 5}, "all layers": {"window": 3, "banded_layers": (0, 1, 2)},
    "the token alone": {"window": 1, "banded_layers": (0, 2)}, "nearly all": {"window": 40},
    "more than there is": {"window": 99},
}  # fmt: skip


class Texts:
    """Rows of one cache beside the same texts alone, as they come, go on and leave."""

    def __init__(self, name, config, n_rows):
        self.twin, self.config = TWINS[name], config
        self.params = self.twin.quantize(PARAMS, config) if hasattr(self.twin, "quantize") else PARAMS
        self.model = (self.params, config, self.twin)
        self.ragged = Ragged(decoding.new_cache(n_rows, config.n_ctx, *self.model))
        self.alone, self.ids = [], []  # a cache of its own for each, and what it holds, the next id behind it

    def read(self, ids):
        cache = decoding.new_cache(1, self.config.n_ctx, *self.model)
        logits = decoding.read(np.array([ids]), *self.model, cache)
        return cache, int(logits[0, -1].argmax())

    def join(self, ids):
        cache, following = self.read(ids)
        self.ragged.join(cache, cache.length)
        self.alone.append(cache)
        self.ids.append([*ids, following])

    def leave(self, i):
        moved = self.ragged.leave(i)
        for kept in (self.alone, self.ids):
            kept[i] = kept[moved]
            kept.pop()

    def step(self, start, end):
        """One token of some rows -> the logits together, and those of each alone."""
        last = [ids[-1] for ids in self.ids[start:end]]
        got = decoding.decode(np.array(last)[:, None], *self.model, self.ragged.part(start, end))
        each = [decoding.decode(np.array([[i]]), *self.model, cache)
                for i, cache in zip(last, self.alone[start:end], strict=True)]  # fmt: skip
        for ids, logits in zip(self.ids[start:end], each, strict=True):
            ids.append(int(logits[0, 0].argmax()))
        return got, np.concatenate(each)


def check(got, expected, name):
    np.testing.assert_allclose(got, expected, atol=TOLERANCE, rtol=0)  # logits up to 3.6, summed in another order
    assert name == "numpy" or np.array_equal(got, expected)


@pytest.mark.parametrize("bands", mostly_slow(BANDS, ["every other layer"]))
@pytest.mark.parametrize("name", TWINS)
def test_rows_with_bands_that_come_and_go_at_random(name, bands):
    """Long enough for bands to move on several times, and rows that are full leave."""
    rng, texts = np.random.default_rng(3), Texts(name, SHAPE.replace(**BANDS[bands]), 5)
    n_full = 0
    for _ in range(90):
        full = [i for i, ids in enumerate(texts.ids) if len(ids) > texts.config.n_ctx]
        n_full += len(full)
        for i in reversed(full):
            texts.leave(i)
        if texts.ids and rng.random() < 0.06:
            texts.leave(int(rng.integers(len(texts.ids))))
        if texts.ragged.n_rows < 5 and rng.random() < 0.4:
            texts.join(rng.integers(0, 31, rng.integers(1, 40)).tolist())
        if not texts.ids:
            continue
        read = [list(ids) for ids in texts.ids]
        got, expected = texts.step(0, len(texts.ids))
        check(got, expected, name)
        if name in ("numpy", "numba"):  # and both are the model that shares no code with them
            i = int(rng.integers(len(read)))
            np.testing.assert_allclose(got[i, 0], one_text(read[i], texts.config, PARAMS)[-1], atol=TOLERANCE, rtol=0)
    assert n_full >= 5 and texts.ragged.cache.bands is not None


@pytest.mark.parametrize("name", TWINS)
def test_rows_with_bands_that_go_on_without_the_others(name):
    texts, rng = Texts(name, SHAPE.replace(window=5), 4), np.random.default_rng(4)
    for n in (3, 17, 9, 1):
        texts.join(rng.integers(0, 31, n).tolist())
    for start, end in (*[(0, 2)] * 3, (0, 4), *[(2, 4)] * 11, (1, 3), (0, 4), (0, 4)):
        check(*texts.step(start, end), name)
    texts.leave(0)  # a row that stands elsewhere takes its place
    check(*texts.step(1, 3), name)
    check(*texts.step(0, 3), name)


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("n", [2, 30])
def test_a_row_with_bands_joins_from_another_one_as_long_as_its_own_band_is_there(name, n):
    texts, prompt = Texts(name, SHAPE.replace(window=5), 8), np.random.default_rng(5).integers(0, 31, n).tolist()
    texts.join([7] * 11)
    texts.join(prompt)
    n_joined = 0
    while texts.ragged.row(1).can_rewind(n) and len(texts.ids[1]) < SHAPE.n_ctx:
        texts.ragged.join(texts.ragged.row(1), n)
        cache, following = texts.read(prompt)
        texts.alone.append(cache)
        texts.ids.append([*prompt, following])
        check(*texts.step(0, len(texts.ids)), name)
        n_joined += 1
        if texts.ragged.n_rows == 8:  # as many as compiled float32 takes at once
            texts.leave(2)
    assert n_joined >= 8  # as many as are kept beside a band of 5, at least
    if n == 30:
        with pytest.raises(InputError, match="length: expected one to which the cache can go back, got 30"):
            texts.ragged.join(texts.ragged.row(1), n)


def test_a_row_with_bands_that_held_nan_spoils_no_other():
    texts = Texts("numpy", SHAPE.replace(window=5, banded_layers=(0, 1, 2)), 3)
    for ids in ([1, 2, 3], [4, 5], [6] * 20):
        texts.join(ids)
    broken = texts.ragged.row(2)
    broken.near_keys[...] = broken.near_values[...] = np.nan
    texts.leave(2)
    texts.join([7])  # a short text where the broken one was
    check(*texts.step(0, 3), "numpy")


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
