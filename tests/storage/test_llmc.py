"""llm.c's .bin and its debug state: files that PyTorch wrote from the format's description, and ours, byte by byte."""

import struct
import tracemalloc

import numpy as np
import pytest
from goldens import measure
from hostile import one_line
from small import make

from nanogpt_np import GPT, GPTConfig, Tokenizer, ops
from nanogpt_np import params as P
from nanogpt_np.errors import FileError, InputError
from nanogpt_np.storage import llmc
from nanogpt_np.training import backward

MODEL, HALF, STATE = (measure.HERE / f"llmc{end}.bin" for end in ("", "_bf16", "_state"))
CONFIG = GPTConfig(n_vocab=100, n_ctx=12, n_embd=16, n_layer=2, n_head=4)


@pytest.fixture(scope="module")
def state():
    return llmc.read_state(STATE, CONFIG)


# ---------------------------------------------------------------- what PyTorch computed


def test_logits_are_those_of_the_debug_state(state):
    gpt = GPT.from_pretrained(MODEL, ops="numpy")
    assert gpt.config == CONFIG and gpt.tokenizer is None
    assert state.ids.shape == state.targets.shape == (2, 10) and state.logits.shape == (2, 10, 100)
    assert np.abs(gpt(state.ids) - state.logits).max() < measure.LOGIT  # float32 beside float64, values up to 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loss_and_every_gradient_are_those_of_the_debug_state(state, dtype):
    config, params, _ = llmc.load(MODEL, dtype)
    loss, grads = backward.loss_and_grads(state.ids, state.targets, params, config, ops)
    # the state's numbers are float64's, rounded to float32: half of 2^-23 at the loss, 5.6, and relative at gradients
    assert abs(loss - state.loss) < (measure.LOSS if dtype == np.float32 else 3e-7)
    grads, expected = dict(P.walk(grads)), dict(P.walk(state.grads))
    assert list(expected) == list(P.shapes(config)) and set(grads) == set(expected)
    for name, array in expected.items():
        worst = np.abs(grads[name] - array).max() / np.abs(array).max()
        assert worst < (measure.GRADIENT if dtype == np.float32 else 1e-7), name


def test_the_state_of_another_model_is_refused():
    for config in (CONFIG.replace(n_vocab=101), CONFIG.replace(n_layer=1), CONFIG.replace(n_ctx=9)):
        with pytest.raises(FileError, match="expected") as error:
            llmc.read_state(STATE, config)
        one_line(error)


# ---------------------------------------------------------------- the bits


def test_what_is_written_is_what_pytorch_wrote(tmp_path):
    config, params, _ = llmc.load(MODEL)
    llmc.save_llmc(tmp_path / "m.bin", config, params)
    assert (tmp_path / "m.bin").read_bytes() == MODEL.read_bytes()


def test_bfloat16_is_the_upper_half_of_float32():
    """Rounded to the nearest, halves to even, as PyTorch does."""
    whole, half = (dict(P.walk(llmc.load(path)[1])) for path in (MODEL, HALF))
    for name, array in whole.items():
        bits = np.ascontiguousarray(array).view("<u4")
        expected = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16
        np.testing.assert_array_equal(np.ascontiguousarray(half[name]).view("<u4"), expected, err_msg=name)
    assert llmc.read_dtypes(MODEL) == ["F32"] and llmc.read_dtypes(HALF) == ["BF16"]


@pytest.mark.parametrize("n_vocab", [1, 127, 128, 129])
def test_every_bit_comes_back(tmp_path, n_vocab):
    config = GPTConfig(n_vocab=n_vocab, n_ctx=5, n_embd=6, n_layer=3, n_head=2)
    params = make(config)
    llmc.save_llmc(tmp_path / "m.bin", config, params)
    opened, same, _ = llmc.load(tmp_path / "m.bin")
    assert opened == config and list(dict(P.walk(same))) == list(P.shapes(config))
    for (name, array), (_, expected) in zip(P.walk(same), P.walk(params), strict=True):
        np.testing.assert_array_equal(array, expected, err_msg=name)


def test_float32_is_mapped_and_the_file_stays(tmp_path):
    array = llmc.load(MODEL)[1]["wte"]["weight"]
    before = MODEL.read_bytes()
    assert array.shape == (100, 16) and array.flags.writeable
    array[:] = 7
    assert MODEL.read_bytes() == before
    copied = llmc.load(MODEL, copy=True)[1]["wte"]["weight"]
    assert copied.flags.owndata or copied.base.flags.owndata


@pytest.mark.parametrize("name", ["numba", "int8"])
def test_the_twins_open_it_too(state, name):
    gpt = GPT.from_pretrained(MODEL, ops=name)
    # int8 rounds weights of 0.3 to 1/127 of the largest of a column: logits up to 4 move by up to a few tenths
    assert np.abs(gpt(state.ids) - state.logits).max() < (measure.LOGIT if name == "numba" else 0.3)


def test_a_model_of_50257_tokens_has_gpt2s_vocabulary(tmp_path):
    config = GPTConfig(n_ctx=2, n_embd=2, n_layer=1, n_head=1, eos_id=50256)
    llmc.save_llmc(tmp_path / "m.bin", config, make(config), Tokenizer.gpt2())
    opened, _, tokenizer = llmc.load(tmp_path / "m.bin")
    assert opened == config and tokenizer.fingerprint == Tokenizer.gpt2().fingerprint
    assert (tmp_path / "m.bin").stat().st_size == 1024 + 4 * (50304 * 2 + 2 * 2 + 12 * 4 + 13 * 2 + 4)


# ---------------------------------------------------------------- what cannot be written


class Other:
    """A tokenizer of 50,257 tokens that is not GPT-2's."""

    fingerprint, n_vocab = "another", 50257


REFUSED = {
    "llm.c: expected activation gelu_new, got relu": {"activation": "relu"},
    "llm.c: expected layer_norm_eps 1e-05, got 0.001": {"layer_norm_eps": 1e-3},
    "llm.c: expected tie_word_embeddings True, got False": {"tie_word_embeddings": False},
    "llm.c: expected n_hidden 24, got 10": {"n_inner": 10},
}


@pytest.mark.parametrize("expected", REFUSED)
def test_what_has_no_place_is_refused_and_nothing_written(tmp_path, expected):
    config = GPTConfig(**{"n_vocab": 9, "n_ctx": 4, "n_embd": 6, "n_layer": 1, "n_head": 2, **REFUSED[expected]})
    with pytest.raises(InputError, match=expected) as error:
        llmc.save_llmc(tmp_path / "m.bin", config, make(config))
    one_line(error)
    assert not list(tmp_path.iterdir())


def test_another_vocabulary_of_50257_tokens_is_refused(tmp_path):
    config = GPTConfig(n_ctx=2, n_embd=2, n_layer=1, n_head=1)
    with pytest.raises(InputError, match="expected GPT-2's own vocabulary for 50,257 tokens") as error:
        llmc.save_llmc(tmp_path / "m.bin", config, make(config), Other())
    one_line(error)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_refuses_leaves_nothing(tmp_path):
    with pytest.raises(FileError, match="cannot be written"):
        llmc.save_llmc(tmp_path / "nowhere" / "m.bin", CONFIG, make(CONFIG))
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- hostile files


def said(path, data, read=llmc.load):
    """What is said to a file that must be refused, within a megabyte or two."""
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(FileError) as error:
        read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
    text = one_line(error)
    assert text.startswith(str(path))
    return text


def header(path, **changes):
    """A file with some numbers of its header changed: header(MODEL, n4=7)."""
    data = bytearray(path.read_bytes())
    for place, number in changes.items():
        struct.pack_into("<i", data, 4 * int(place[1:]), number)
    return bytes(data)


MOST = 2**31 - 1
HEADERS = {
    "number 0: expected 20240326 of a model, got 20240520": {"n0": 20240520},
    "version: expected 3 (F32) or 5 (BF16), got 1": {"n1": 1},
    "version: expected 3 (F32) or 5 (BF16), got -3": {"n1": -3},
    "n_ctx: expected a whole number of at least 1, got 0": {"n2": 0},
    "n_vocab: expected a whole number of at least 1, got -100": {"n3": -100},
    "n_embd: expected a multiple of n_head = 5": {"n5": 5},
    "rows of wte: expected 128, 100 filled up to a multiple of 128, got 100": {"n7": 100},
    "rows of wte: expected 2,147,483,648": {"n3": MOST},
    "the whole file: expected": {"n4": 3},
    "the whole file: expected 28,174,985,458,752 bytes as its header says, got 36,352": {"n4": MOST},
    "the whole file: expected 18,688 bytes as its header says, got 36,352": {"n1": 5},
    "bytes as its header says, got 36,352": {"n2": MOST, "n4": MOST, "n5": 1, "n6": MOST},
}


@pytest.mark.parametrize("expected", HEADERS)
def test_headers_that_lie(tmp_path, expected):
    assert expected in said(tmp_path / "m.bin", header(MODEL, **HEADERS[expected]))


STATES = {
    "numbers 0 and 1: expected 20240327, 2 of a debug state, got 20240326, 2": {"n0": 20240326},
    "numbers 0 and 1: expected 20240327, 2 of a debug state, got 20240327, 1": {"n1": 1},
    "ids: expected 1 or more texts of 1 to 12 tokens, got 0 of 10": {"n2": 0},
    "got 2 of 13": {"n3": 13},
    "got 2 of -1": {"n3": -1},
    "got 44,516": {"n2": MOST},
    "ids: expected 0 to 99, got -1 to": {"n256": -1},
    "targets: expected 0 to 99, got": {"n276": 100},
}


@pytest.mark.parametrize("expected", STATES)
def test_states_that_lie(tmp_path, expected):
    assert expected in said(tmp_path / "s.bin", header(STATE, **STATES[expected]), lambda p: llmc.read_state(p, CONFIG))


def test_short_files_and_trailing_bytes(tmp_path):
    for good, read in ((MODEL, llmc.load), (HALF, llmc.read_config), (STATE, lambda p: llmc.read_state(p, CONFIG))):
        data = good.read_bytes()
        for end in (0, 3, 1023):
            assert f"header: expected 1,024 bytes, got {end:,}" in said(tmp_path / "m.bin", data[:end], read)
        for other in (data[:1024], data[:-1], data + b"\0"):
            assert f"the whole file: expected {len(data):,} bytes" in said(tmp_path / "m.bin", other, read)
