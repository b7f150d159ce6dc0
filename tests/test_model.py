"""model.py and kv_cache.py: the cache, padding, positions and the errors at the door."""

import numpy as np
import pytest
from small import CONFIG, make, padded, random_ids

from nanogpt_np import model, ops
from nanogpt_np import params as P
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


@pytest.mark.parametrize("with_padding", [False, True])
@pytest.mark.parametrize("chunks", [[7], [3, 4], [6, 1]])
def test_last_only_reads_all_and_finishes_one(chunks, with_padding, monkeypatch):
    """The last block's other tokens leave keys and values, and cost no more than that."""
    params, ids = make(), random_ids(2, 7)
    mask = padded(2, 7) if with_padding else np.ones((2, 7), bool)
    whole, cache = KVCache(CONFIG, 2), KVCache(CONFIG, 2)
    full, _ = model.forward(ids, params, CONFIG, ops, mask=mask, cache=whole)
    widths, ffn = [], model.ffn
    monkeypatch.setattr(model, "ffn", lambda x, *args: (widths.append(x.shape[1]), ffn(x, *args))[1])
    start = 0
    for n in chunks:
        part = slice(start, start + n)
        last, _ = model.forward(ids[:, part], params, CONFIG, ops, mask=mask[:, part], cache=cache, last_only=True)
        np.testing.assert_allclose(last[:, 0], full[:, start + n - 1], atol=FLOAT32)
        start += n
    assert widths == [width for n in chunks for width in (n, 1)]
    for name in ("keys", "values"):
        expected, got = (getattr(one, name)[:, :, :, :7] for one in (whole, cache))
        np.testing.assert_allclose(got, expected, atol=FLOAT32)


def test_last_only_keeps_whole_acts():
    params, ids = make(), random_ids(2, 7)
    _, expected = model.forward(ids, params, CONFIG, ops, keep_acts=True)
    logits, acts = model.forward(ids, params, CONFIG, ops, last_only=True, keep_acts=True)
    assert logits.shape == (2, 1, 31) and acts.final.shape == (2, 1, 24)
    np.testing.assert_array_equal(acts.blocks[1].attn.probs, expected.blocks[1].attn.probs)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_left_padding_changes_nothing(positions):
    config = CONFIG.replace(positions=positions)
    params, long, short = make(config), random_ids(1, 9), random_ids(1, 5, seed=1)
    shifted = np.concatenate([random_ids(1, 4, seed=2), short], axis=1)  # what stands at the padding must not matter
    mask = np.array([[1] * 9, [0] * 4 + [1] * 5])
    together, _ = model.forward(np.concatenate([long, shifted]), params, config, ops, mask=mask)
    np.testing.assert_allclose(together[0], model.forward(long, params, config, ops)[0][0], atol=FLOAT32)
    np.testing.assert_allclose(together[1, 4:], model.forward(short, params, config, ops)[0][0], atol=FLOAT32)
    assert np.isfinite(together).all()


def test_left_padding_with_a_cache():
    params, ids = make(), random_ids(1, 6)
    alone, _ = model.forward(ids, params, CONFIG, ops)
    cache = KVCache(CONFIG, 1)
    shifted = np.concatenate([[[0, 0, 0]], ids[:, :4]], axis=1)
    model.forward(shifted, params, CONFIG, ops, mask=np.array([[0, 0, 0, 1, 1, 1, 1]]), cache=cache)
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


@pytest.mark.parametrize("twin", ["ops", "kernels", "quantized", "quantized.int4"])
@pytest.mark.parametrize("n_before", [0, 3])
def test_scores_are_what_probs_were_made_of(n_before, twin):
    twin = ops if twin == "ops" else pytest.importorskip(f"nanogpt_np.{twin}")
    params, ids = make(), random_ids(2, 3 + n_before)
    if hasattr(twin, "quantize"):
        params = twin.quantize(params, CONFIG)
    cache = twin.make_cache(CONFIG, 2, 16) if hasattr(twin, "make_cache") else KVCache(CONFIG, 2)
    if n_before:
        model.forward(ids[:, :n_before], params, CONFIG, twin, cache=cache)
    _, acts = model.forward(ids[:, n_before:], params, CONFIG, twin, cache=cache, keep_acts=True)
    for block in acts.blocks:
        q, k, scores = block.attn.q, block.attn.k, block.attn.scores
        assert scores.shape == block.attn.probs.shape == (2, 3, 3, 3 + n_before)
        raw = sum(q[1, 2, 0, i] * k[1, 2, 2, i] for i in range(8))  # the first query at the third key
        np.testing.assert_allclose(scores[1, 2, 0, 2], raw, rtol=1e-5)
        assert scores[0, 0, 0, -1] != 0 and block.attn.probs[0, 0, 0, -1] == 0  # not masked: the future has a score
        probs = ops.softmax_scores(scores, ops.causal_mask(3, 3 + n_before), 8**-0.5)
        np.testing.assert_allclose(block.attn.probs, probs, atol=0 if twin is ops else FLOAT32)


def test_training_does_not_keep_scores():
    _, acts = model.trunk(random_ids(1, 5), make(), CONFIG, ops, keep_acts=True)
    assert "scores" not in acts.blocks[0].attn._fields and not hasattr(acts.blocks[0].attn, "__dict__")


def test_acts_print_a_line_for_each_array():
    _, acts = model.forward(random_ids(1, 8), make(), CONFIG, ops, keep_acts=True)
    lines = [line.split(maxsplit=1) for line in repr(acts).splitlines()]
    assert lines[:4] == [
        ["ids", "int64 [1, 8]"], ["positions", "int64 [1, 8]"], ["embedded", "float32 [1, 8, 24]"],
        ["blocks.0.x", "float32 [1, 8, 24]"],
    ]  # fmt: skip
    assert ["blocks.1.attn.probs", "float32 [1, 3, 8, 8]"] in lines and len(lines) == 3 + 2 * 13 + 2
    assert len(repr(acts.blocks[0]).splitlines()) == 13 and len(repr(acts.blocks[0].attn).splitlines()) == 6
    assert repr(acts.blocks[1].ffn).splitlines()[2] == "hidden    float32 [1, 8, 96]"


def test_a_narrow_relu_network_does_what_it_says():
    config = CONFIG.replace(activation="relu", n_inner=7)
    params = make(config)
    logits, acts = model.forward(random_ids(2, 5), params, config, ops, keep_acts=True)
    for block, acted in zip(params["h"], acts.blocks, strict=True):
        assert acted.ffn.hidden.shape == (2, 5, 7)
        np.testing.assert_array_equal(acted.ffn.hidden, np.where(acted.ffn.pre_gelu > 0, acted.ffn.pre_gelu, 0))
        out = acted.ffn.hidden @ block["mlp"]["c_proj"]["weight"] + block["mlp"]["c_proj"]["bias"]
        np.testing.assert_allclose(acted.ffn_out, out, atol=FLOAT32)
    assert np.isfinite(logits).all()


def test_sines_are_as_large_as_fresh_tokens():
    config = CONFIG.replace(positions="sinusoidal", n_ctx=400)
    params = P.init(config, np.random.default_rng(0))
    _, acts = model.forward(np.arange(400)[None] % 31, params, config, ops, keep_acts=True)
    tokens = params["wte"]["weight"][acts.ids]
    # sines and cosines have a root mean square of sqrt(1/2)
    assert 0.6 < np.sqrt(np.square(acts.embedded - tokens).mean() / np.square(tokens).mean()) < 0.8


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
