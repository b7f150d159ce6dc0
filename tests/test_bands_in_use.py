"""Models with bands, used: generated from, gone on with, interrupted, saved, refused, looked at, measured."""

import math

import numpy as np
import pytest
from banded import N_CTX, N_LAYER, PARAMS, SHAPE, TOLERANCE
from small import random_ids

from nanogpt_np import GPT, GPTConfig, InputError, KVCache, lens, model, ops
from nanogpt_np import params as P
from nanogpt_np.evaluation import likelihood
from nanogpt_np.generation import decoding, session
from nanogpt_np.kv_cache import cache_bytes
from nanogpt_np.storage.gguf import save_gguf
from nanogpt_np.storage.llmc import save_llmc

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


# ---------------------------------------------------------------- looked at, and measured


def test_the_lens_sees_the_bands():
    gpt = GPT(SHAPE.replace(window=4), PARAMS, ops="numpy")
    ids = random_ids(1, 20)[0]
    np.testing.assert_allclose(lens.run(gpt, ids).logits, gpt(ids)[0], rtol=0, atol=TOLERANCE)
    view = lens.attention_view(gpt, ids, layer=1, head=0)
    np.testing.assert_array_equal(np.isfinite(view.masked), ops.band_mask(20, 20, 4))
    np.testing.assert_allclose(ops.softmax(view.masked), view.probs, rtol=0, atol=1e-6)
    assert not np.isneginf(lens.attention_view(gpt, ids, layer=2, head=0).masked[-1]).any()


def test_a_token_costs_what_it_looks_at():
    """Behind 19 others: two dense layers look at 20 keys, the banded one at 4; the cache holds a little more than 4."""
    config = SHAPE.replace(window=4)
    dense, banded = (lens.cost_view(c, 19) for c in (SHAPE, config))
    assert banded.cache_bytes / dense.cache_bytes == (20 + 4 + 20) / 60
    assert banded.cache_size == KVCache(config, n_ctx=20).n_bytes == cache_bytes(config, 20)


def test_likelihoods_of_words_behind_a_shared_beginning():
    gpt = GPT(SHAPE.replace(window=3), PARAMS, ops="numpy")
    shared, ends = random_ids(1, 25)[0].tolist(), [[4, 7], [4, 7, 9], [11], [5] * 9]
    kept = session.Kept()
    for before in (shared, shared[:9]):  # the second goes back further than a band remembers
        pairs = [likelihood.Pair(before, end) for end in ends]
        found = likelihood.score(pairs, gpt.params, gpt.config, gpt.ops, kept=kept)
        for end, one in zip(ends, found, strict=True):
            expected = gpt.logprobs([*before, *end])[-len(end) :]
            np.testing.assert_allclose(one.log_probs, expected, rtol=0, atol=1e-4)
