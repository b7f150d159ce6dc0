"""decoding.py: pieces and compiled decoding gives what model.forward gives, with and without padding."""

import dataclasses
import gc
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest
from small import CONFIG, as_opened, make, padded, random_ids

from nanogpt_np import GPT, model, ops
from nanogpt_np import params as P
from nanogpt_np.config import GPTConfig
from nanogpt_np.errors import InputError
from nanogpt_np.generation import decoding, tokens
from nanogpt_np.kernels.weights import MATRICES
from nanogpt_np.kv_cache import KVCache
from nanogpt_np.storage import checkpoint
from nanogpt_np.training import backward, optim

kernels = pytest.importorskip("nanogpt_np.kernels")
kernel_addresses = pytest.importorskip("nanogpt_np.kernels.addresses")
kernel_decode = pytest.importorskip("nanogpt_np.kernels.decode")

FLOAT32 = 1e-4  # logits of about 1 to 10, summed in another order


def laid(params, by_output):
    """The same weights as training makes them, or as opening a model leaves them."""
    return as_opened(params, CONFIG) if by_output else params


def caches(n_batch, n_before, mask, n=2, by_output=False):
    """Caches that hold the same text, read by plain NumPy."""
    params, made = laid(make(), by_output), [KVCache(CONFIG, n_batch) for _ in range(n)]
    for cache in made:
        model.forward(random_ids(n_batch, n_before), params, CONFIG, ops, mask=mask, cache=cache)
    return params, made


@pytest.mark.parametrize("n_batch, n_new", [(1, 1), (1, 2), (1, 3), (1, 8), (2, 1), (3, 2), (8, 1), (5, 1), (9, 1)])
@pytest.mark.parametrize("with_padding", [False, True])
@pytest.mark.parametrize("by_output", [False, True])
def test_decode_is_the_model(n_batch, n_new, with_padding, by_output):
    mask = padded(n_batch, 6) if with_padding else None
    params, (expected_cache, cache) = caches(n_batch, 6, mask, by_output=by_output)
    for step in range(2):
        ids = random_ids(n_batch, n_new, seed=step + 1) if n_new < 5 or step == 0 else random_ids(n_batch, 1)
        expected, _ = model.forward(ids, params, CONFIG, ops, cache=expected_cache)
        got = decoding.decode(ids, params, CONFIG, kernels, cache)
        np.testing.assert_allclose(got, expected, atol=FLOAT32)
        end = expected_cache.length
        assert cache.length == end
        for name in ("keys", "values"):
            stored = getattr(expected_cache, name)[:, :, :, :end]
            np.testing.assert_allclose(getattr(cache, name)[:, :, :, :end], stored, atol=FLOAT32)


@pytest.mark.parametrize("n_new", [1, 3])
@pytest.mark.parametrize("by_output", [False, True])
def test_a_width_whose_sums_have_several_pieces(n_new, by_output):
    config = GPTConfig(n_vocab=60, n_ctx=16, n_embd=448, n_layer=2, n_head=7, eos_id=None)
    params = laid(make(config), by_output)
    ids, more = np.arange(5)[None], np.arange(7, 7 + n_new)[None]
    cache, expected_cache = KVCache(config), KVCache(config)
    for one in (cache, expected_cache):
        model.forward(ids, params, config, ops, cache=one)
    expected, _ = model.forward(more, params, config, ops, cache=expected_cache)
    np.testing.assert_allclose(decoding.decode(more, params, config, kernels, cache), expected, atol=FLOAT32)


@pytest.mark.parametrize("n_new", [2, 4, 6])
@pytest.mark.parametrize("by_output", [False, True])
def test_tokens_that_are_checked_together_have_the_bits_of_each_alone(n_new, by_output):
    params, (together, alone) = caches(1, 10, None, by_output=by_output)
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
    params, ids, mask = make(), random_ids(n_batch, 13), padded(n_batch, 13)[::-1]
    whole, cut = KVCache(CONFIG, n_batch), KVCache(CONFIG, n_batch)
    expected, _ = model.forward(ids, params, CONFIG, ops, mask=mask, cache=whole, last_only=True)
    got = decoding.read(ids, params, CONFIG, twin, cut, mask)
    np.testing.assert_allclose(got, expected, atol=FLOAT32)
    assert cut.length == whole.length == 13


RAGGED = (3, 13, 1, 5, 13, 8, 2)


@pytest.mark.parametrize("ops_name", ["numpy", "numba", "int8"])
@pytest.mark.parametrize("enough", [1, 12, 1000])
def test_texts_of_many_lengths_are_read_as_each_alone(ops_name, enough, monkeypatch):
    """Logits, and the cache they leave, whose memory held NaN before; only texts that have begun are read."""
    n_read, as_it_is = [], model.embed

    def counted(ids, *args, **kwargs):
        n_read.append(ids.size)
        return as_it_is(ids, *args, **kwargs)

    def dirty(*args):
        cache = new_cache(*args)
        for name in cache.STORED:
            getattr(cache, name)[...] = np.nan if getattr(cache, name).dtype.kind == "f" else 127
        return cache

    new_cache = decoding.new_cache
    monkeypatch.setattr(decoding, "new_cache", dirty)
    monkeypatch.setattr(decoding, "ENOUGH", enough)
    monkeypatch.setattr(model, "embed", counted)
    gpt = GPT(CONFIG, make(), None, ops=ops_name)
    texts = [random_ids(1, n, seed=n)[0].tolist() for n in RAGGED]
    logits, cache = tokens.prefill(texts, gpt.params, CONFIG, gpt.ops, 2)
    expected = {1: sum(RAGGED), 12: sum(RAGGED) + 8, 1000: len(RAGGED) * max(RAGGED)}
    assert sum(n_read) == expected[enough]
    more = np.array([[1 + row] for row in range(len(RAGGED))])
    then = decoding.decode(more, gpt.params, CONFIG, gpt.ops, cache)
    for row, text in enumerate(texts):
        alone, its_cache = tokens.prefill([text], gpt.params, CONFIG, gpt.ops, 2)
        np.testing.assert_allclose(logits[row], alone[0], atol=FLOAT32)
        behind = decoding.decode(more[row : row + 1], gpt.params, CONFIG, gpt.ops, its_cache)
        np.testing.assert_allclose(then[row], behind[0], atol=FLOAT32)


def test_what_compiled_decoding_is_not_for():
    params, (cache,) = caches(1, 4, None, n=1)
    assert kernels.decode_plan((1, 1), params, CONFIG, cache) is not None
    assert kernels.decode_plan((4, 2), params, CONFIG, KVCache(CONFIG, 4)) is not None
    assert kernels.decode_plan((3, 3), params, CONFIG, KVCache(CONFIG, 3)) is None
    assert kernels.decode_plan((1, 1), params, dataclasses.replace(CONFIG, activation="gelu"), cache) is None
    assert kernels.decode_plan((2, 1), params, CONFIG, cache) is None  # the cache has room for one text
    assert kernels.decode_plan((1, 1), params | {"h": params["h"] * 2}, CONFIG, cache) is None  # and for two blocks
    whole = params["h"][1]["mlp"]["c_fc"]["weight"]
    unfit = {
        "float64": whole.astype(np.float64),
        "by output, among others by input": np.asfortranarray(whole),
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


@pytest.mark.parametrize("remembered", [False, True])
def test_a_weight_that_is_replaced_or_written_to_counts_at_once(remembered):
    params, (cache, expected_cache) = caches(1, 4, None)
    old = []
    for layer, change in enumerate(("replaced", "written to", "both")):
        part = params["h"][layer % len(params["h"])]["mlp"]["c_proj"]
        if remembered:
            old.append(part["weight"])
        if change != "written to":
            part["weight"] = part["weight"] * np.float32(-2)
        if change != "replaced":
            part["weight"] *= np.float32(3)
        ids = random_ids(1, 1, seed=layer)
        expected, _ = model.forward(ids, params, CONFIG, ops, cache=expected_cache)
        got = decoding.decode(ids, params, CONFIG, kernels, cache)
        np.testing.assert_allclose(got, expected, atol=FLOAT32)


def test_a_generation_asks_once_which_arrays_a_model_has(monkeypatch):
    """What is written to them counts at once; an array that takes another's place, from the next generation on.

    Where each token is a call: test_ahead.py has several in one.
    """
    asked, read_plan = [], kernels.read_plan
    monkeypatch.setattr(kernels, "read_plan", lambda shape, *others: asked.append(shape) or read_plan(shape, *others))

    def said(gpt, change=lambda part: None):
        ids = []
        for token in gpt.stream([1, 2, 3], 9, temperature=0, min_new_tokens=9):
            ids.append(token)
            if len(ids) == 4:
                change(gpt.params["h"][0]["mlp"]["c_proj"])
        return ids

    def write(part):
        part["weight"] *= np.float32(-30)

    def replace(part):
        part["weight"] = part["weight"] * np.float32(-30)

    gpts = [GPT(CONFIG, make(), None, ops=which) for which in (kernels, kernels, "numpy", "numpy")]
    before = said(gpts[0])
    assert asked == [(1, decoding.PIECE), (1, 3), (1, 1)]  # how long a piece may be, the prompt, the tokens behind it
    assert said(gpts[0], write) == said(gpts[2], write) != before
    assert said(gpts[1], replace) == before
    replace(gpts[3].params["h"][0]["mlp"]["c_proj"])
    assert said(gpts[1]) == said(gpts[3]) != before


def test_a_model_that_is_gone_leaves_nothing_behind():
    params, (cache,) = caches(1, 4, None, n=1)
    decoding.decode(random_ids(1, 1), params, CONFIG, kernels, cache)
    matrix = weakref.ref(params["h"][0]["attn"]["c_attn"]["weight"])
    assert kernel_decode._table in kernel_addresses._last
    del params
    gc.collect()
    assert matrix() is None and kernel_decode._table not in kernel_addresses._last


@pytest.mark.parametrize("by_output", [False, True])
def test_an_output_matrix_of_its_own(by_output):
    config = dataclasses.replace(CONFIG, tie_word_embeddings=False)
    params = laid(make(config), by_output)
    cache, expected_cache = KVCache(config), KVCache(config)
    for step in range(3):
        ids = random_ids(1, 1, seed=step)
        expected, _ = model.forward(ids, params, config, ops, cache=expected_cache)
        np.testing.assert_allclose(decoding.decode(ids, params, config, kernels, cache), expected, atol=FLOAT32)


def test_a_model_that_was_opened_lies_by_output_and_is_otherwise_the_same(tmp_path):
    params, ids, more = make(), random_ids(2, 9), random_ids(1, 1)
    checkpoint.save(tmp_path / "m", CONFIG, params)
    gpt = GPT.from_pretrained(tmp_path / "m", ops="numba")
    *_, table = kernels.decode_plan(more.shape, gpt.params, CONFIG, KVCache(CONFIG))
    assert table[-1, -1] == 1
    for (name, array), (_, expected) in zip(P.walk(gpt.params), P.walk(params), strict=True):
        turned = name.endswith(MATRICES)
        assert np.array_equal(array, expected) and (array.T if turned else array).flags.c_contiguous, name
    gpt.save(tmp_path / "again")
    saved, again = (Path(tmp_path / name / "model.safetensors").read_bytes() for name in ("m", "again"))
    assert saved == again
    np.testing.assert_allclose(gpt(ids), model.forward(ids, params, CONFIG, ops)[0], atol=FLOAT32)
    optimizers = [optim.AdamW(one, weight_decay=0.1) for one in (gpt.params, params)]
    for twin, one, optimizer in zip((kernels, ops), (gpt.params, params), optimizers, strict=True):
        for _ in range(2):
            _, grads = backward.loss_and_grads(ids, (ids + 1) % 31, one, CONFIG, twin)
            optimizer.step(one, grads, 1e-3, twin)
    for (name, array), (_, expected) in zip(P.walk(gpt.params), P.walk(params), strict=True):
        if not name.endswith("c_attn.bias"):  # those of keys change nothing: their gradient is noise, which Adam scales
            np.testing.assert_allclose(array, expected, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("how", [{}, {"temperature": 0}, {"temperature": 0, "speculate": 4}, {"num_beams": 2}])
@pytest.mark.parametrize("twin", ["numpy", "numba", "int8", "int4"])
def test_weights_that_overflow_are_one_error_and_no_warnings(twin, how):
    """As the prompt is read, or only with the first token behind it."""
    at_once, later = make(), make()
    for name in ("wte", "wpe"):
        at_once[name]["weight"][:] = np.float32(3e38)
    later["wpe"]["weight"][4:] = np.inf
    for params in (at_once, later):
        with warnings.catch_warnings(), pytest.raises(InputError, match="broken"):
            warnings.simplefilter("error")
            GPT(CONFIG, params, ops=twin).generate([1, 2, 3, 4], 6, ignore_eos=True, **how)


def test_pieces_keep_within_their_memory():
    for n_batch, n_before in ((1, 0), (1, 256), (1, 768), (3, 1000), (200, 0), (300, 50)):
        n = decoding._piece(np.full(1024, n_batch), n_before, GPTConfig(), ops, True)
        assert n >= 1 and n * n_batch <= max(decoding.PIECE, n_batch)
        scores = n_batch * GPTConfig().n_head * n * (n_before + n)
        assert n == 1 or scores <= decoding.SCORES
    one = np.ones(1024, int)
    assert decoding._piece(one, 0, GPTConfig(), ops, True) == decoding.PIECE
    assert decoding._piece(one, 256, GPTConfig(), ops, True) == decoding.PIECE
    assert decoding._piece(one, 768, GPTConfig(), kernels, False) == decoding.PIECE


@pytest.mark.parametrize("window, lengths", [(None, [9, 4]), (4, [1] * 13)])
def test_a_compiled_call_is_not_cut_by_scores_that_it_never_keeps(window, lengths, monkeypatch):
    """Banded layers have no such call for a piece of a prompt: there they are kept."""
    monkeypatch.setattr(decoding, "PIECE", 9)
    monkeypatch.setattr(decoding, "SCORES", 1)
    config = dataclasses.replace(CONFIG, window=window)
    read, n_read = decoding._read_piece, []

    def counted(ids, *args, **kwargs):
        n_read.append(ids.shape[1])
        return read(ids, *args, **kwargs)

    monkeypatch.setattr(decoding, "_read_piece", counted)
    cache = decoding.new_cache(1, 13, make(), config, kernels)
    decoding.read(random_ids(1, 13), make(), config, kernels, cache)
    assert n_read == lengths


# ---------------------------------------------------------------- a model that was changed


def turned(x, start):  # [n_batch, n_head, n_seq, d_head] -> the same
    """Pairs of numbers turned by an angle that grows with the position (Su et al. 2021, section 3.4.2)."""
    half = x.shape[-1] // 2
    angle = (start + np.arange(x.shape[2]))[:, None] * 10000.0 ** (-np.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)], axis=-1)


def rotary_attention(x, params, config, ops, visible, cache=None, layer=0, dropout=None, last_only=False):
    """model.attention with rotary positions, as a reader would change it."""
    start = 0 if cache is None else cache.length
    qkv = np.split(ops.linear(x, **params["c_attn"]), 3, axis=-1)
    q, k, v = (ops.split_heads(part, config.n_head) for part in qkv)
    q, k = turned(q, start), turned(k, start)
    if cache is not None:
        k, v = cache.append(layer, k, v)
    if last_only:
        q, visible = q[:, :, -1:], None if visible is None else visible[..., -1:, :]
    probs = ops.attention_probs(q, k, visible)
    merged = ops.merge_heads(ops.attention_mix(probs, v))
    return ops.linear(merged, **params["c_proj"]), model.AttentionActs(x, q, k, v, probs, merged)


@pytest.mark.parametrize("piece", [3, 100])
def test_a_changed_attention_is_what_generates(make_gpt, monkeypatch, piece):
    """In float64, where a cache and the whole text differ by far less than any two logits do."""
    gpt = make_gpt(dtype=np.float64, eos_id=None, scale=0.5, tie_word_embeddings=False)
    prompt = [3, 14, 15, 92, 65, 35, 89]
    as_it_was = gpt.generate(prompt, 12, temperature=0)
    monkeypatch.setattr(model, "attention", rotary_attention)
    monkeypatch.setattr(decoding, "PIECE", piece)
    ids = list(prompt)
    for new in gpt.generate(prompt, 12, temperature=0):
        assert new == gpt(ids)[0, -1].argmax()
        ids.append(new)
    assert ids[len(prompt) :] != as_it_was and len(ids) == len(prompt) + 12
    together = gpt.generate([prompt, prompt[:3]], 6, temperature=0)
    assert together == [gpt.generate(text, 6, temperature=0) for text in (prompt, prompt[:3])]


def test_each_token_comes_through_forward_the_first_one_too(make_gpt, monkeypatch):
    """Where a breakpoint stands: model.forward once a token, model.attention once a block."""
    gpt = make_gpt(eos_id=None)
    calls = []
    for name in ("forward", "attention"):
        room = getattr(model, name)
        counting = lambda *args, name=name, room=room, **kw: (calls.append(name), room(*args, **kw))[1]  # noqa: E731
        monkeypatch.setattr(model, name, counting)
    gpt.generate([1, 2, 3], 4, temperature=0)
    assert calls == ["forward", "attention", "attention"] * 4
    calls.clear()
    monkeypatch.setattr(decoding, "PIECE", 2)
    gpt.generate([1, 2, 3, 4, 5], 1, temperature=0)
    assert calls == ["attention", "attention"] * 2 + ["forward", "attention", "attention"]  # logits of the last alone


@pytest.mark.parametrize("n_inner", [1, 40, 130])
@pytest.mark.parametrize("twin", ["kernels", "quantized"])
def test_compiled_decoding_of_another_inner_width(twin, n_inner):
    twin = pytest.importorskip(f"nanogpt_np.{twin}")
    config = CONFIG.replace(n_inner=n_inner)
    params = make(config)
    if hasattr(twin, "quantize"):
        params = twin.quantize(params, config)
    caches = [decoding.new_cache(2, 16, params, config, twin) for _ in range(2)]
    for step, n_new in enumerate((5, 1, 2)):
        ids = random_ids(2, n_new, seed=step)
        expected, _ = model.forward(ids, params, config, twin, cache=caches[0])
        assert step == 0 or twin.decode_plan(ids.shape, params, config, caches[1]) is not None
        # int8: a sum in another order can round a number to the step beside
        tolerance = FLOAT32 if twin is kernels else 0.05
        np.testing.assert_allclose(decoding.decode(ids, params, config, twin, caches[1]), expected, atol=tolerance)
