"""Banded attention: every way to run it against a masked dense GPT in float64 that shares no code with the package."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from banded import N_CTX, N_LAYER, PARAMS, SHAPE, TOLERANCE, reference
from hypothesis import example, given, settings
from hypothesis import strategies as st
from small import make, random_ids

from nanogpt_np import GPT, GPTConfig, InputError, KVCache, model, ops
from nanogpt_np import params as P
from nanogpt_np.generation import decoding
from nanogpt_np.kv_cache import cache_bytes
from nanogpt_np.training import backward
from nanogpt_np.training.finite_differences import gradcheck

FEW = settings(max_examples=30, deadline=None, derandomize=True)


@st.composite
def cases(draw, most=N_CTX):
    """A window, which layers are banded, how long each text is, and where what is read at once ends."""
    layers = draw(st.none() | st.sets(st.integers(0, N_LAYER - 1), min_size=1))
    config = SHAPE.replace(window=draw(st.integers(1, most)), banded_layers=layers and tuple(sorted(layers)))
    lengths = draw(st.lists(st.integers(1, most), min_size=1, max_size=3))
    cuts = draw(st.sets(st.integers(1, most), max_size=10))
    n_seq, seed = max(lengths), draw(st.integers(0, 9))
    real = np.arange(n_seq) >= n_seq - np.array(lengths)[:, None]
    bounds = sorted({0, n_seq} | {cut for cut in cuts if cut < n_seq})
    return SimpleNamespace(config=config, ids=random_ids(*real.shape, seed=seed), real=real, bounds=bounds)


def check(logits, case, params=PARAMS):
    expected = reference(case.ids, case.real, case.config, params)
    np.testing.assert_allclose(logits[case.real], expected[case.real], rtol=0, atol=TOLERANCE)


LONG = SimpleNamespace(  # every way to store: in place, moved to the front, and a piece that is longer than the room
    config=SHAPE.replace(window=3), ids=random_ids(2, N_CTX), bounds=[0, 5, 12, 18, 20, 26, 27, 45, 46, 47, 48],
    real=np.arange(N_CTX) >= np.array([[0], [7]]),
)  # fmt: skip


@pytest.mark.parametrize("twin", ["numpy", "numba"])
@FEW
@example(LONG)
@given(cases())
def test_a_whole_text_is_as_in_the_masked_reference(twin, case):
    check(GPT(case.config, PARAMS, ops=twin)(case.ids, mask=case.real), case)


@pytest.mark.parametrize("twin", ["numpy", "numba"])
@FEW
@example(LONG)
@given(cases())
def test_pieces_behind_a_cache_are_as_in_the_masked_reference(twin, case):
    gpt, cache, logits = GPT(case.config, PARAMS, ops=twin), KVCache(case.config, len(case.ids)), []
    for start, end in pairwise(case.bounds):
        part = slice(start, end)
        logits.append(gpt(case.ids[:, part], mask=case.real[:, part], cache=cache))
    check(np.concatenate(logits, axis=1), case)
    room = case.config.window - 1 + 2 * cache.spare
    assert cache.near_keys.shape[3] == min(N_CTX, room) and cache.n_bytes == len(case.ids) * cache_bytes(
        case.config, N_CTX
    )


def compiled(gpt, case, cache):
    """As generating does it: what stands before the last padding at once, then pieces of up to 8 in compiled calls."""
    start, logits = int(np.argmax(case.real.all(axis=0))) + 1, []
    order = np.argsort(-case.real.sum(axis=1), kind="stable")
    ids, real = case.ids[order], case.real[order]
    parts = (ids[:, :start], gpt.params, gpt.config, gpt.ops, cache, real[:, :start])
    logits.append(decoding.read(*parts))
    for first, end in pairwise(sorted({start, *(cut for cut in case.bounds if cut > start)})):
        for at in range(first, end, 8):
            piece = ids[:, at : min(at + 8, end)]
            assert gpt.ops.decode_plan(piece.shape, gpt.params, gpt.config, cache) or piece.size > 8
            logits.append(decoding.decode(piece, gpt.params, gpt.config, gpt.ops, cache))
    return np.concatenate(logits, axis=1)[np.argsort(order)]


@FEW
@example(LONG)
@given(cases())
def test_compiled_tokens_are_as_in_the_masked_reference(case):
    gpt = GPT(case.config, PARAMS, ops="numba")
    logits = compiled(gpt, case, KVCache(case.config, len(case.ids)))
    expected = reference(case.ids, case.real, case.config, PARAMS)[:, -logits.shape[1] :]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("twin", ["int8", "int4"])
@settings(max_examples=15, deadline=None, derandomize=True)
@example(LONG)
@given(cases())
def test_small_weights_are_as_with_a_cache_that_keeps_everything(twin, case):
    """A dense cache holds all positions, and masks alone make the band; both round the same numbers to int8."""
    gpt = GPT(case.config, PARAMS, ops=twin)
    dense = gpt.ops.make_cache(case.config.replace(window=None, banded_layers=None), len(case.ids), N_CTX)
    expected = compiled_by_masks(gpt, case, dense)
    actual = compiled(gpt, case, gpt.ops.make_cache(case.config, len(case.ids), N_CTX))
    # mostly 1e-7 apart; where the last bit of a sum takes a number to another step of int8, what follows is up to 0.03
    # apart, 6e-4 on average. A band wider by one: 0.02 on average, 0.2 and more somewhere
    assert np.abs(actual - expected).mean() < 5e-3 and np.abs(actual - expected).max() < 0.1


def compiled_by_masks(gpt, case, cache):
    start, logits = int(np.argmax(case.real.all(axis=0))) + 1, []
    bounds = [0, start, *(cut for cut in case.bounds if cut > start)]
    for first, end in pairwise(bounds):
        part = slice(first, end)
        mask = case.real[:, part]
        found, _ = model.forward(case.ids[:, part], gpt.params, gpt.config, gpt.ops, mask=mask, cache=cache)
        logits.append(found if first else found[:, -1:])
    return np.concatenate(logits, axis=1)


# ---------------------------------------------------------------- what a cache has to be able to do


@FEW
@example(LONG, 3)
@given(cases(), st.integers(0, 99))
def test_what_was_forgotten_is_read_again(case, seed):
    """Going back at random, as far as the cache says that it can, changes no logit."""
    gpt, rng = GPT(case.config, PARAMS, ops="numpy"), np.random.default_rng(seed)
    cache, row = KVCache(case.config), case.ids[:1]
    expected = reference(row, np.ones_like(row, bool), case.config, PARAMS)
    for end in [*case.bounds[1:], row.shape[1]]:
        if end > cache.length:
            start = cache.length
            logits = gpt(row[:, start:end], cache=cache)
            np.testing.assert_allclose(logits, expected[:, start:end], rtol=0, atol=TOLERANCE)
        length = int(rng.integers(max(cache.length - 12, 0), cache.length + 1))
        if cache.can_rewind(length):
            cache.rewind(length)
        else:
            with pytest.raises(InputError, match="as the bands before are gone"):
                cache.rewind(length)


def test_a_cache_can_always_forget_what_was_read_last():
    """Speculation reads guesses and forgets those that were wrong, pass by pass, wherever the band stands."""
    config = SHAPE.replace(window=4)
    cache, gpt = KVCache(config), GPT(config, PARAMS, ops="numpy")
    for n_new in (8, 1, 3, 9, 8, 8, 8, 8, 8, 8):
        ids = random_ids(1, n_new)
        gpt(ids[:, : N_CTX - cache.length], cache=cache)
        cache.rewind(cache.length - min(n_new - 1, cache.spare))
        if cache.length >= N_CTX - 9:
            cache.rewind(0)


def test_a_wide_band_is_gpt2_bit_for_bit():
    """With a window that nothing falls out of, masks, sums and bits are a dense model's, in every pass and gradient."""
    config = SHAPE.replace(window=N_CTX)
    ids, mask = random_ids(2, 20), np.arange(20) >= np.array([[0], [6]])
    for twin in ("numpy", "numba"):
        dense, banded = GPT(SHAPE, PARAMS, ops=twin), GPT(config, PARAMS, ops=twin)
        np.testing.assert_array_equal(banded(ids, mask=mask), dense(ids, mask=mask))
        caches = KVCache(config, 2), KVCache(SHAPE, 2)
        for part in (slice(0, 9), slice(9, 10), slice(10, 20)):
            found = [gpt(ids[:, part], mask=mask[:, part], cache=cache)
                     for gpt, cache in zip((banded, dense), caches, strict=True)]  # fmt: skip
            np.testing.assert_array_equal(*found)
        sides = [backward.loss_and_grads(ids[:, :-1], ids[:, 1:], PARAMS, c, dense.ops) for c in (config, SHAPE)]
        assert sides[0][0] == sides[1][0]
        for (name, one), (_, other) in zip(*(P.walk(grads) for _, grads in sides), strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)
    for asked in ({"temperature": 0}, {"num_beams": 3}, {"seed": 3, "num_return_sequences": 2}):
        one, other = (gpt.generate([1, 2, 3], max_new_tokens=30, **asked) for gpt in (banded, dense))
        assert one == other


@pytest.mark.parametrize("window, layers", [(2, None), (3, (0, 2)), (5, (0, 1, 2))])
def test_every_gradient_of_a_banded_model(window, layers):
    config = GPTConfig(n_vocab=11, n_ctx=9, n_embd=8, n_layer=3, n_head=2, window=window, banded_layers=layers)
    params, ids = make(config, dtype=np.float64), random_ids(2, 9, config=config)

    def run():
        dropout = model.Dropout(0.2, np.random.default_rng(4))
        return backward.loss_and_grads(ids, np.roll(ids, -1), params, config, ops, dropout=dropout)

    grads, arrays = dict(P.walk(run()[1])), dict(P.walk(params))
    worst = gradcheck(
        lambda *_: run()[0], list(arrays.values()), [grads[name] for name in arrays], n_entries=4,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert worst <= 1e-5  # promised, as for a dense model; about 1e-8 is reached


def test_kernels_give_the_same_gradients():
    from nanogpt_np import kernels

    config = SHAPE.replace(window=5)
    ids = random_ids(2, 40)
    sides = [backward.loss_and_grads(ids[:, :-1], ids[:, 1:], PARAMS, config, side)[1] for side in (ops, kernels)]
    for (name, one), (_, other) in zip(*map(P.walk, sides), strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-5, err_msg=name)  # sums in another order, up to 1 long


def test_nothing_beyond_the_band_counts():
    """A layer with a window of 1 sees itself alone: the last logits depend on the last token, wherever it stands."""
    config = SHAPE.replace(n_layer=1, window=1, banded_layers=(0,), positions="sinusoidal")
    params = P.nest({name: array for name, array in P.walk(PARAMS) if not name.startswith(("h.1", "h.2", "wpe"))})
    gpt = GPT(config, params, ops="numpy")
    one, other = gpt([3, 4, 5, 9]), gpt([7, 1, 2, 9])
    np.testing.assert_array_equal(one[:, -1], other[:, -1])
    assert np.abs(one[:, -2] - other[:, -2]).max() > 0.1
