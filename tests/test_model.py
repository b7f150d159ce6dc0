"""model.py and kv_cache.py: the cache, padding, positions and the errors at the door."""

import numpy as np
import pytest
from small import CONFIG, make, random_ids

from nanogpt_np import model, ops
from nanogpt_np.kv_cache import KVCache

# The same sums in another order differ in the last digits of float32; logits here are of the order of 1.
FLOAT32 = 1e-5


@pytest.mark.parametrize("chunks", [[16], [1] * 16, [3, 9, 1, 3], [15, 1], [1, 15]])
def test_cached_equals_full(chunks):
    params, ids = make(), random_ids(3, 16)
    full, _ = model.forward(ids, params, CONFIG, ops)
    cache, parts, start = KVCache(CONFIG, 3), [], 0
    for n in chunks:
        parts.append(model.forward(ids[:, start : start + n], params, CONFIG, ops, cache=cache)[0])
        start += n
    np.testing.assert_allclose(np.concatenate(parts, axis=1), full, atol=FLOAT32)
    assert cache.length == 16


def test_last_only_is_the_last_row():
    params, ids = make(), random_ids(2, 7)
    full, _ = model.forward(ids, params, CONFIG, ops)
    last, _ = model.forward(ids, params, CONFIG, ops, last_only=True)
    assert last.shape == (2, 1, 31)
    np.testing.assert_allclose(last[:, 0], full[:, -1], atol=FLOAT32)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_left_padding_changes_nothing(positions):
    config = CONFIG.replace(positions=positions)
    params, long, short = make(config), random_ids(1, 9), random_ids(1, 5, seed=1)
    padded = np.concatenate([random_ids(1, 4, seed=2), short], axis=1)  # what stands at the padding must not matter
    mask = np.array([[1] * 9, [0] * 4 + [1] * 5])
    together, _ = model.forward(np.concatenate([long, padded]), params, config, ops, mask=mask)
    np.testing.assert_allclose(together[0], model.forward(long, params, config, ops)[0][0], atol=FLOAT32)
    np.testing.assert_allclose(together[1, 4:], model.forward(short, params, config, ops)[0][0], atol=FLOAT32)
    assert np.isfinite(together).all()


def test_left_padding_with_a_cache():
    params, ids = make(), random_ids(1, 6)
    alone, _ = model.forward(ids, params, CONFIG, ops)
    cache = KVCache(CONFIG, 1)
    padded = np.concatenate([[[0, 0, 0]], ids[:, :4]], axis=1)
    model.forward(padded, params, CONFIG, ops, mask=np.array([[0, 0, 0, 1, 1, 1, 1]]), cache=cache)
    for i in (4, 5):
        logits, _ = model.forward(ids[:, i : i + 1], params, CONFIG, ops, cache=cache)
        np.testing.assert_allclose(logits[0, 0], alone[0, i], atol=FLOAT32)


def test_later_tokens_do_not_change_earlier_logits():
    params, ids = make(), random_ids(1, 8)
    changed = ids.copy()
    changed[0, 5] = (ids[0, 5] + 1) % 31
    before, after = (model.forward(a, params, CONFIG, ops)[0] for a in (ids, changed))
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert np.abs(before[:, 5:] - after[:, 5:]).min(axis=-1).max() > 0


def test_order_matters():
    params = make()
    one, _ = model.forward(np.array([[1, 2, 3]]), params, CONFIG, ops, last_only=True)
    other, _ = model.forward(np.array([[2, 1, 3]]), params, CONFIG, ops, last_only=True)
    assert np.abs(one - other).max() > 1e-3


def test_untied_uses_its_own_matrix():
    config = CONFIG.replace(tie_word_embeddings=False)
    params = make(config)
    ids = random_ids(1, 4)
    before, _ = model.forward(ids, params, config, ops)
    params["lm_head"]["weight"][7] = 0
    after, _ = model.forward(ids, params, config, ops)
    assert not after[..., 7].any() and before[..., 7].any()


def test_acts_are_named_and_follow_from_one_another():
    params, ids = make(), random_ids(2, 5)
    logits, acts = model.forward(ids, params, CONFIG, ops, keep_acts=True)
    first, second = acts.blocks
    np.testing.assert_array_equal(acts.embedded, first.x)
    np.testing.assert_array_equal(first.x + first.attn_out, first.x_mid)
    np.testing.assert_array_equal(first.x_mid + first.ffn_out, second.x)
    np.testing.assert_array_equal(second.x_mid + second.ffn_out, acts.x)
    np.testing.assert_array_equal(ops.unembed(acts.final, params["wte"]["weight"]), logits)
    np.testing.assert_array_equal(ops.gelu_new(first.ffn.pre_gelu), first.ffn.hidden)
    assert first.attn.probs.shape == (2, 3, 5, 5)
    np.testing.assert_allclose(first.attn.probs.sum(axis=-1), 1, atol=FLOAT32)
    assert model.forward(ids, params, CONFIG, ops)[1] is None


def test_float64_stays_float64():
    logits, _ = model.forward(random_ids(1, 3), make(dtype=np.float64), CONFIG, ops)
    assert logits.dtype == np.float64


def test_context_overflow_is_an_error():
    params = make()
    with pytest.raises(ValueError, match=r"at most n_ctx = 16 tokens, got 17"):
        model.forward(random_ids(1, 17), params, CONFIG, ops)
    cache = KVCache(CONFIG, 1)
    model.forward(random_ids(1, 16), params, CONFIG, ops, cache=cache)
    with pytest.raises(ValueError, match=r"at most n_ctx = 16 tokens, got 17"):
        model.forward(random_ids(1, 1), params, CONFIG, ops, cache=cache)
    small = KVCache(CONFIG, 1, n_ctx=4)
    with pytest.raises(ValueError, match=r"at most n_ctx = 4 positions, got 0 in the cache and 5 more"):
        model.forward(random_ids(1, 5), params, CONFIG, ops, cache=small)


def test_cache_select_repeats_rows():
    params, ids = make(), random_ids(2, 6)
    cache = KVCache(CONFIG, 2)
    model.forward(ids[:, :5], params, CONFIG, ops, cache=cache)
    chosen = cache.select(np.array([1, 0, 1]))
    logits, _ = model.forward(ids[[1, 0, 1], 5:], params, CONFIG, ops, cache=chosen)
    full, _ = model.forward(ids, params, CONFIG, ops)
    np.testing.assert_allclose(logits[:, 0], full[[1, 0, 1], -1], atol=FLOAT32)
    assert cache.length == 5 and chosen.length == 6


def test_dropout_draws_from_its_generator_alone():
    params, ids = make(), random_ids(2, 5)
    runs = [
        model.trunk(ids, params, CONFIG, ops, dropout=model.Dropout(0.5, np.random.default_rng(seed)))[0]
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 0
