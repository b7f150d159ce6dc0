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
        lambda *_: run()[0], list(arrays.values()), [grads[name] for name in arrays], n_entries=8,
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


# ---------------------------------------------------------------- generating: as if every position had been kept

WAYS = {
    "greedy": {"temperature": 0},
    "drawn": {"temperature": 1.0, "seed": 5},
    "two of each": {"temperature": 1.0, "seed": 5, "num_return_sequences": 2},
    "beams": {"num_beams": 3},
    "speculation": {"temperature": 0, "speculate": 20},
    "contrast": {"penalty_alpha": 0.5, "top_k": 3},
    "sliding": {"temperature": 0, "overflow": "slide", "max_new_tokens": 70},
}
PROMPTS = [[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7], [2, 7], [1, 8, 2, 8, 1, 8]]


def with_everything_kept(patched):
    """The same model by masks alone: its cache is a dense one."""

    def dense(n_batch, n_ctx, params, config, ops):
        return KVCache(config.replace(window=None, banded_layers=None), n_batch, n_ctx)

    patched.setattr(decoding, "new_cache", dense)


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("layers", [None, (0, 1, 2)])
def test_what_is_generated_is_as_with_a_cache_that_keeps_everything(name, layers, monkeypatch):
    gpt = GPT(SHAPE.replace(window=3, banded_layers=layers), PARAMS, ops="numpy")
    asked = {"max_new_tokens": N_CTX - len(PROMPTS[0]), **WAYS[name]}
    found = gpt.generate(PROMPTS, **asked)
    with_everything_kept(monkeypatch)
    assert gpt.generate(PROMPTS, **asked) == found
    assert found != GPT(SHAPE, PARAMS, ops="numpy").generate(PROMPTS, **asked)  # and the band does count


@pytest.mark.parametrize("twin", ["numpy", "numba"])
def test_a_batch_gives_what_each_prompt_gives_alone(twin):
    gpt = GPT(SHAPE.replace(window=3), PARAMS, ops=twin)
    alone = [gpt.generate(prompt, max_new_tokens=30, temperature=0) for prompt in PROMPTS]
    assert gpt.generate(PROMPTS, max_new_tokens=30, temperature=0) == alone
    assert gpt.generate(PROMPTS, max_new_tokens=30, temperature=0, speculate=8) == alone


def test_a_session_gives_what_the_model_gives_alone():
    """Prompts that grow, go back a little, and go back further than a band remembers."""
    gpt = GPT(SHAPE.replace(window=3), PARAMS, ops="numpy")
    talk, text = gpt.session(), [3, 1, 4]
    rng = np.random.default_rng(0)
    for _ in range(12):
        new = talk.generate(text, max_new_tokens=9, temperature=0)
        assert new == gpt.generate(text, max_new_tokens=9, temperature=0)
        whole = [*text, *new]
        text = [*whole[: int(rng.integers(1, len(whole) + 1))], *rng.integers(0, 31, 3).tolist()][: N_CTX - 9]


def test_reading_that_was_interrupted_is_not_gone_on_with(monkeypatch):
    config = SHAPE.replace(window=3, banded_layers=(0, 1, 2))
    gpt, cache, ids = GPT(config, PARAMS, ops="numpy"), KVCache(config), random_ids(1, N_CTX)
    gpt(ids[:, :19], cache=cache)
    with monkeypatch.context() as patched:
        patched.setattr(model, "ffn", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            gpt(ids[:, 19:40], cache=cache)  # more than there is room for: the first layer's band is overwritten
    with pytest.raises(InputError, match="expected one that was not interrupted while it read"):
        gpt(ids[:, 19:40], cache=cache)
    assert not cache.can_rewind(18) and cache.can_rewind(0)
    cache.rewind(0)
    np.testing.assert_allclose(gpt(ids[:, :40], cache=cache), gpt(ids[:, :40]), rtol=0, atol=TOLERANCE)


def test_a_session_goes_on_right_behind_an_interruption(monkeypatch):
    gpt = GPT(SHAPE.replace(window=3), PARAMS, ops="numpy")
    talk, text = gpt.session(), random_ids(1, 40)[0].tolist()
    talk.generate(text[:20], max_new_tokens=2, temperature=0)
    with monkeypatch.context() as patched:
        patched.setattr(model, "ffn", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            talk.generate(text, max_new_tokens=2, temperature=0)
    assert talk.generate(text, max_new_tokens=4, temperature=0) == gpt.generate(text, max_new_tokens=4, temperature=0)


def test_a_cache_of_another_band_is_refused():
    gpt = GPT(SHAPE.replace(window=3), PARAMS, ops="numpy")
    for other in (SHAPE, SHAPE.replace(window=4), SHAPE.replace(window=3, banded_layers=(0, 1))):
        with pytest.raises(InputError, match="expected one made for this model"):
            gpt([1, 2], cache=KVCache(other))


# ---------------------------------------------------------------- saved


@pytest.mark.parametrize("layers", [None, (0, 2), (0, 1, 2)])
def test_a_model_with_bands_comes_back(layers, tmp_path):
    config = SHAPE.replace(window=5, banded_layers=layers)
    GPT(config, PARAMS).save(tmp_path)
    back = GPT.from_pretrained(tmp_path, ops="numpy")
    assert back.config == config
    np.testing.assert_array_equal(back([1, 2, 3]), GPT(config, PARAMS, ops="numpy")([1, 2, 3]))
    raw = config.to_dict()
    assert (raw["model_type"], raw["architectures"]) == ("gpt2-banded", ["BandedGPT2LMHeadModel"])
    assert "window_size" not in SHAPE.to_dict() and SHAPE.to_dict()["model_type"] == "gpt2"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"window_size": None}, "expected window_size"),
        ({"window_size": 0}, "window: expected a whole number of at least 1, got 0"),
        ({"attention_layers": None}, "expected attention_layers"),
        ({"attention_layers": ["local", "global"]}, "expected attention_layers"),
        ({"attention_layers": ["local", "global", "sparse"]}, "expected attention_layers"),
        ({"attention_layers": ["global"] * 3}, "banded_layers: expected numbers of layers"),
        ({"attention_layers": {}}, "expected attention_layers"),
    ],
)
def test_files_that_say_nothing_useful_of_bands(changes, message):
    with pytest.raises(InputError, match=message):
        GPTConfig.from_dict({**SHAPE.replace(window=5).to_dict(), **changes})


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"window": 0}, "window: expected a whole number"),
        ({"window": True}, "window: expected a whole number"),
        ({"banded_layers": (1,)}, "expected a window beside them"),
        ({"window": 3, "banded_layers": (3,)}, "below n_layer = 3"),
        ({"window": 3, "banded_layers": (1, 0)}, "rising"),
        ({"window": 3, "banded_layers": ()}, "numbers of layers"),
        ({"window": 3, "banded_layers": [1]}, "as a tuple"),
    ],
)
def test_bands_that_cannot_be(changes, message):
    with pytest.raises(InputError, match=message):
        SHAPE.replace(**changes)


def test_other_formats_have_no_place_for_bands(tmp_path):
    config = SHAPE.replace(window=5)
    for save, name in ((save_gguf, "model.gguf"), (save_llmc, "model.bin")):
        with pytest.raises(InputError, match="expected dense attention in every layer, got bands of 5 tokens"):
            save(tmp_path / name, config, PARAMS)
    assert not list(tmp_path.iterdir())


@pytest.mark.peers
def test_transformers_refuses_a_model_with_bands(tmp_path):
    transformers = pytest.importorskip("transformers")
    GPT(SHAPE.replace(window=5), PARAMS).save(tmp_path)
    for kind in (transformers.AutoConfig, transformers.AutoModelForCausalLM):
        with pytest.raises(ValueError, match="does not recognize this architecture"):
            kind.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match='attn_implementation="banded"` is not supported'):
        transformers.GPT2LMHeadModel.from_pretrained(tmp_path)


@pytest.mark.peers
@pytest.mark.parametrize("window", [1, 3, 7, 48])
def test_the_band_is_that_of_gpt_neo(window):
    """GPT-Neo's blocks without biases of q, k, v, and without 1 / sqrt(d_head): weights that make the two equal."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config, named = SHAPE.replace(window=window), {name: array.copy() for name, array in P.walk(PARAMS)}
    theirs = transformers.GPTNeoConfig(
        vocab_size=config.n_vocab, max_position_embeddings=N_CTX, hidden_size=config.n_embd, num_layers=N_LAYER,
        num_heads=config.n_head, window_size=window, attention_types=[[["global", "local"], 1], [["global"], 1]],
        resid_dropout=0.0, embed_dropout=0.0, attention_dropout=0.0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    neo, of = transformers.GPTNeoForCausalLM(theirs).eval(), {}
    for name in ("wte.weight", "wpe.weight", "ln_f.weight", "ln_f.bias"):
        of[f"transformer.{name}"] = named[name]
    for i in range(N_LAYER):
        named[f"h.{i}.attn.c_attn.bias"][:] = 0
        q, k, v = np.split(named[f"h.{i}.attn.c_attn.weight"], 3, axis=1)
        parts = {"q_proj": q / math.sqrt(config.d_head), "k_proj": k, "v_proj": v}
        for part, weight in parts.items():
            of[f"transformer.h.{i}.attn.attention.{part}.weight"] = weight.T
        for ours, name in (("attn.c_proj", "attn.attention.out_proj"), ("mlp.c_fc", "mlp.c_fc"),
                           ("mlp.c_proj", "mlp.c_proj")):  # fmt: skip
            of[f"transformer.h.{i}.{name}.weight"] = named[f"h.{i}.{ours}.weight"].T
            of[f"transformer.h.{i}.{name}.bias"] = named[f"h.{i}.{ours}.bias"]
        for norm in ("ln_1", "ln_2"):
            of |= {f"transformer.h.{i}.{norm}.{x}": named[f"h.{i}.{norm}.{x}"] for x in ("weight", "bias")}
    loaded = neo.load_state_dict({name: torch.tensor(array.copy()) for name, array in of.items()}, strict=False)
    assert not loaded.unexpected_keys and set(loaded.missing_keys) <= {"lm_head.weight"}
    ids = random_ids(2, N_CTX)
    with torch.no_grad():
        expected = neo(torch.tensor(ids)).logits.numpy()
    gpt = GPT(config, P.nest(named), ops="numpy")
    np.testing.assert_allclose(gpt(ids), expected, rtol=0, atol=TOLERANCE)  # float32 twice
