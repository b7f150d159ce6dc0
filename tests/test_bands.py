"""Banded attention: every way to run it against a masked dense GPT in float64 that shares no code with the package."""

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from small import CONFIG, make, random_ids

from nanogpt_np import GPT, PRESETS, GPTConfig, InputError, KVCache, model, ops
from nanogpt_np import params as P
from nanogpt_np.generation import decoding, session
from nanogpt_np.generation.beams import Beams
from nanogpt_np.kv_cache import cache_bytes
from nanogpt_np.storage.gguf import save_gguf
from nanogpt_np.storage.llmc import save_llmc
from nanogpt_np.training import backward
from nanogpt_np.training.finite_differences import gradcheck

# float32 against float64, logits up to 10: at most 4e-6 apart in 3,000 examples; a band wider by one: 1e-2 and more
TOLERANCE = 3e-5
N_LAYER, N_CTX = 3, 48
SHAPE = CONFIG.replace(n_ctx=N_CTX, n_layer=N_LAYER)
PARAMS = make(SHAPE)
FEW = settings(max_examples=30, deadline=None, derandomize=True)


def reference(ids, real, config, params):  # [n_batch, n_seq] twice -> float64 [n_batch, n_seq, n_vocab]
    """A GPT-2 text by text and query by query: what a query may see is a list of places."""
    out = np.full((*ids.shape, config.n_vocab), np.nan)
    for row in range(len(ids)):
        places = np.flatnonzero(real[row])
        out[row, places] = one_text(ids[row, places], config, params)
    return out


def one_text(ids, config, params):
    def norm(x, p):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config.layer_norm_eps) * p["weight"] + p["bias"]

    def layer(x, p):
        return x @ p["weight"].astype(np.float64) + p["bias"]

    x = params["wte"]["weight"][ids].astype(np.float64) + params["wpe"]["weight"][: len(ids)]
    banded = range(1, config.n_layer, 2) if config.banded_layers is None else config.banded_layers
    for number, p in enumerate(params["h"]):
        q, k, v = np.split(layer(norm(x, p["ln_1"]), p["attn"]["c_attn"]), 3, axis=-1)
        mixed = np.zeros_like(q)
        for i in range(len(ids)):
            is_near = config.window is not None and number in banded
            seen = range(max(0, i + 1 - config.window) if is_near else 0, i + 1)
            for head in range(config.n_head):
                part = slice(head * config.d_head, (head + 1) * config.d_head)
                scores = np.array([q[i, part] @ k[j, part] for j in seen]) / math.sqrt(config.d_head)
                e = np.exp(scores - scores.max())
                mixed[i, part] = sum(share * v[j, part] for share, j in zip(e / e.sum(), seen, strict=True))
        x = x + layer(mixed, p["attn"]["c_proj"])
        h = layer(norm(x, p["ln_2"]), p["mlp"]["c_fc"])
        h = 0.5 * h * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
        x = x + layer(h, p["mlp"]["c_proj"])
    return norm(x, params["ln_f"]) @ params["wte"]["weight"].T


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
    # sums of 8 float32 roundings apart; a number that is rounded to another step of int8 on the way: 1e-2 or more
    assert np.mean(np.abs(actual - expected) < 2e-3) > 0.9


def compiled_by_masks(gpt, case, cache):
    start, logits = int(np.argmax(case.real.all(axis=0))) + 1, []
    bounds = [0, start, *(cut for cut in case.bounds if cut > start)]
    for first, end in pairwise(bounds):
        part = slice(first, end)
        mask = case.real[:, part]
        found, _ = model.forward(case.ids[:, part], gpt.params, gpt.config, gpt.ops, mask=mask, cache=cache)
        logits.append(found if first else found[:, -1:])
    return np.concatenate(logits, axis=1)
