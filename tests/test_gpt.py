"""gpt.py: the handle checks what it is given, and hands on what the rooms return."""

import os
import subprocess
import sys

import numpy as np
import pytest

import nanogpt_np
from nanogpt_np import GPT, FileError, GPTConfig, InputError, KVCache, model, ops
from nanogpt_np import params as P
from nanogpt_np.generation.request import Request
from nanogpt_np.generation.sampling import Sampling
from nanogpt_np.generation.text import generate

CONFIG = GPTConfig(n_vocab=31, n_ctx=16, n_embd=24, n_layer=2, n_head=3)


@pytest.fixture(scope="module")
def gpt():
    return GPT.from_config(CONFIG, seed=1)


def test_a_list_of_ids_is_a_batch_of_one(gpt):
    logits = gpt([1, 2, 3])
    assert logits.shape == (1, 3, 31) and logits.dtype == np.float32
    expected, _ = model.forward(np.array([[1, 2, 3]]), gpt.params, gpt.config, ops)
    np.testing.assert_array_equal(logits, expected)
    for same in ([[1, 2, 3]], (1, 2, 3), np.array([1, 2, 3], np.uint8), np.array([[1, 2, 3]], np.int32)):
        np.testing.assert_array_equal(gpt(same), logits)
    assert gpt([[1, 2, 3], [4, 5, 6]]).shape == (2, 3, 31)


def test_last_only_and_acts(gpt):
    logits, acts = gpt([1, 2, 3], keep_acts=True)
    np.testing.assert_array_equal(logits, gpt([1, 2, 3]))
    assert isinstance(acts, model.GPTActs) and len(acts.blocks) == 2
    assert acts.blocks[1].attn.probs.shape == (1, 3, 3, 3)
    assert acts.blocks[0]._fields[:6] == ("x", "attn", "attn_out", "x_mid", "ffn", "ffn_out")
    # the last row alone is another matrix product: its sums may run in another order
    np.testing.assert_allclose(gpt([1, 2, 3], last_only=True), logits[:, -1:], atol=1e-6)


def test_mask_and_cache_reach_the_model(gpt):
    padded = gpt([[9, 9, 4, 5]], mask=[[0, 0, 1, 1]])
    np.testing.assert_allclose(padded[:, 2:], gpt([4, 5]), atol=1e-6)  # float32 sums of another length
    np.testing.assert_array_equal(gpt([9, 9, 4, 5], mask=[0, 0, 1, 1]), padded)
    cache = KVCache(CONFIG)
    gpt([1, 2, 3], cache=cache)
    np.testing.assert_allclose(gpt([4], cache=cache), gpt([1, 2, 3, 4])[:, -1:], atol=1e-6)
    assert cache.length == 4


@pytest.mark.parametrize(
    "ids, message",
    [
        ([1, 31], "ids: expected 0 to 30, got 1 to 31"),
        ([-1, 3], "ids: expected 0 to 30, got -1 to 3"),
        ([[1, 2], [3]], "ids: expected rows of equal length, got a ragged list; pad left and pass mask"),
        ([1.0, 2.0], r"ids: expected whole numbers \[n_batch, n_seq\], got float64 \[1, 2\]"),
        ([True, False], "got bool"),
        ("the", "ids: expected whole numbers"),
        ([], r"ids: expected whole numbers \[n_batch, n_seq\], got float64 \[1, 0\]"),
        ([[]], "ids: expected whole numbers"),
        (None, "ids: expected whole numbers"),
        (np.zeros((1, 2, 3), int), r"got int64 \[1, 2, 3\]"),
        ([0] * 17, "at most n_ctx = 16 tokens, got 17"),
    ],
)
def test_ids_that_cannot_be_used(gpt, ids, message):
    with pytest.raises(InputError, match=message):
        gpt(ids)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"mask": [[1, 1]]}, r"mask: expected the shape of ids, \[1, 3\], got \[1, 2\]"),
        ({"mask": [[1, 1, 1], [1, 1, 1]]}, r"mask: expected the shape of ids, \[1, 3\], got \[2, 3\]"),
        ({"mask": [[1, 1, 1], [1]]}, "mask: expected rows of equal length"),
        ({"cache": KVCache(CONFIG, 2)}, "cache: expected one made for n_batch = 1, got 2"),
        ({"cache": KVCache(CONFIG, 1, n_ctx=2)}, "at most n_ctx = 2 positions, got 0 in the cache and 3 more"),
        ({"cache": KVCache(CONFIG.replace(n_layer=1))}, "cache: expected one made for this model"),
        ({"cache": KVCache(CONFIG.replace(n_head=1))}, "cache: expected one made for this model"),
    ],
)
def test_masks_and_caches_that_do_not_fit(gpt, options, message):
    with pytest.raises(InputError, match=message):
        gpt([1, 2, 3], **options)


def test_from_config_draws_from_its_seed():
    one, same, other = (GPT.from_config(CONFIG, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one([1, 2]), same([1, 2]))
    assert np.abs(one([1, 2]) - other([1, 2])).max() > 0
    assert one.tokenizer is None and one.ops is ops and one.config is CONFIG


def test_params_must_be_those_of_the_config(gpt):
    with pytest.raises(InputError, match="expected h.2"):
        GPT(CONFIG.replace(n_layer=3), gpt.params)
    with pytest.raises(InputError, match=r"wte.weight: expected shape \[32, 24\], got \[31, 24\]"):
        GPT(CONFIG.replace(n_vocab=32), gpt.params)


@pytest.mark.parametrize(
    "changes", [{}, {"tie_word_embeddings": False, "activation": "gelu"}, {"positions": "sinusoidal"}]
)
def test_save_and_open_again(make_gpt, tmp_path, changes):
    gpt = make_gpt(**changes)
    gpt.save(tmp_path / "model")
    for name in (tmp_path / "model", str(tmp_path / "model")):
        again = GPT.from_pretrained(name)
        np.testing.assert_array_equal(again([1, 2, 3]), gpt([1, 2, 3]))
        assert again.config == gpt.config
        assert again.tokenizer.fingerprint == gpt.tokenizer.fingerprint
        assert again.generate("the cat", 8, seed=1) == gpt.generate("the cat", 8, seed=1)


def test_a_copy_outlives_its_file(gpt, tmp_path):
    gpt.save(tmp_path)
    opened = GPT.from_pretrained(tmp_path, ops="numpy", copy=True)
    os.truncate(tmp_path / "model.safetensors", 0)  # under a mapped model this ends the process
    assert np.array_equal(opened([1, 2, 3]), gpt([1, 2, 3]))


def test_save_without_a_tokenizer_and_in_float16(gpt, tmp_path):
    gpt.save(tmp_path, dtype="float16")
    again = GPT.from_pretrained(tmp_path)
    assert again.tokenizer is None and again([1]).dtype == np.float32
    # weights of at most 0.1 rounded to 11 bits, each by a factor of 1 +- 2^-11; logits here are below 1
    np.testing.assert_allclose(again([1, 2]), gpt([1, 2]), atol=5e-3)


def test_a_name_that_is_not_there(tmp_path):
    with pytest.raises(FileError, match="expected a model directory or one of stories, poems, gpt2"):
        GPT.from_pretrained("nonsense")
    with pytest.raises(FileError, match="did you mean 'gpt2'"):
        GPT.from_pretrained("gtp2")
    with pytest.raises(FileError, match="expected config.json in it"):
        GPT.from_pretrained(tmp_path)


def test_ops_by_name_or_module(gpt, tmp_path):
    for name in ("auto", "numpy", ops):
        assert GPT(CONFIG, gpt.params, ops=name).ops is not None
    assert GPT(CONFIG, gpt.params, ops="numpy").ops is ops
    names = ", ".join(nanogpt_np.gpt.OPS)
    for make in (
        lambda: GPT(CONFIG, gpt.params, ops="torch"),
        lambda: GPT.from_config(CONFIG, ops="torch"),
        lambda: GPT.from_pretrained(tmp_path / "not there", ops="torch"),  # said before anything is looked for
    ):
        with pytest.raises(InputError, match=f"ops: expected one of {names}, or a module, got 'torch'"):
            make()


def test_every_name_of_ops_gives_the_same_logits(gpt):
    expected = gpt([1, 2, 3])
    for name in nanogpt_np.gpt.OPS:
        if name not in ("int8", "int4"):  # which round the weights
            # other sums in another order: float32 rounding of logits below 1
            np.testing.assert_allclose(GPT(CONFIG, gpt.params, ops=name)([1, 2, 3]), expected, atol=1e-5)


def test_stream_takes_one_prompt_only(gpt):
    for several in (["a", "b"], [[1], [2]], [[1]], np.array([[1, 2]])):
        with pytest.raises(InputError, match="stream: expected one prompt, got several; use generate for a batch"):
            gpt.stream(several)


def test_settings_arrive_under_their_names(gpt):
    settings = {"temperature": 0.9, "top_k": 9, "top_p": 0.8, "min_p": 0.05, "repetition_penalty": 1.3}
    for left_out in (None, *settings):
        given = {name: value for name, value in settings.items() if name != left_out} | {"banned_ids": (3, 4)}
        request = Request(14, Sampling(**given), seed=6, stop=(7, 8), overflow="slide", ignore_eos=True)
        expected = generate([[1, 2, 3]], gpt.params, gpt.config, gpt.ops, None, request)[0]
        rest = {"seed": 6, "stop": [7, 8], "overflow": "slide", "ignore_eos": True}
        assert gpt.generate([1, 2, 3], 14, **given, **rest) == expected
        assert list(gpt.stream([1, 2, 3], 14, **given, **rest)) == expected


def test_repr_says_what_it_is(gpt):
    text = repr(gpt)
    n_params = 31 * 24 + 16 * 24 + 2 * (12 * 24 * 24 + 13 * 24) + 2 * 24
    shape = "n_layer=2, n_head=3, n_embd=24, n_ctx=16, n_vocab=31"
    assert text == f"GPT({n_params:,} parameters: {shape}; ops={gpt.ops.__name__})"

    narrow = GPT.from_config(gpt.config.replace(n_inner=5), ops="numpy")
    assert f"{shape}, n_inner=5; ops=" in repr(narrow)


def test_the_summary_is_the_table_of_parameters(gpt):
    lines = gpt.summary().splitlines()
    assert lines[0].split() == ["name", "dtype,", "shape", "numbers", "share"]
    assert lines[1].split() == ["wte.weight", "float32", "[31,", "24]", "744", f"{744 / P.count(gpt.params):.2%}"]
    assert lines[-1].split() == ["total", f"{P.count(gpt.params):,}", "100.00%"]
    assert len(repr(gpt.params).splitlines()) == len(lines) - 2 == 28


def test_the_summary_of_int8_weights(gpt):
    pytest.importorskip("nanogpt_np.quantized")
    small = GPT(gpt.config, gpt.params, ops="int8")
    lines = {line.split()[0]: line.split()[1:-1] for line in small.summary().splitlines()}
    assert lines["h.1.mlp.c_fc.weight"] == ["int8", "[24,", "96]", "2,304"]
    assert lines["h.1.mlp.c_fc.bias"] == ["float32", "[96]", "96"]
    assert lines["total"] == [f"{P.count(gpt.params):,}"]
    assert "int8 [24, 96]" in repr(small.params)


def run_python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_and_generating_stays_light():
    """Neither Numba (seconds to compile) nor matplotlib is loaded by who only wants text from plain NumPy."""
    out = run_python(
        "import sys, nanogpt_np\n"
        "heavy = ('numba', 'matplotlib', 'torch', 'transformers', 'tiktoken', 'IPython')\n"
        "print([name for name in heavy if name in sys.modules])\n"
        "gpt = nanogpt_np.GPT.from_config(nanogpt_np.GPTConfig(50, 8, 8, 1, 1), ops='numpy')\n"
        "print(len(gpt.generate([1], 5)), [name for name in heavy if name in sys.modules])\n"
    )
    assert out == "[]\n5 []\n"


def test_nothing_touches_the_global_random_state(gpt):
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    GPT.from_config(CONFIG)
    gpt.generate([1], 5)
    gpt.generate([1], 5, seed=1)
    assert np.random.random() == expected  # noqa: NPY002
