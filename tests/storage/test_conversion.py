"""From one format to another and back: the same bits, nothing replaced, and one line for whatever is no model."""

import os

import numpy as np
import pytest
from goldens import measure
from hostile import one_line
from small import make

from nanogpt_np import GPT, GPTConfig, Tokenizer
from nanogpt_np import params as P
from nanogpt_np.cli import entry as cli
from nanogpt_np.errors import FileError, InputError
from nanogpt_np.storage import about, checkpoint, formats, gguf, llmc
from nanogpt_np.storage.conversion import KINDS, convert

TEXT = "the cat sat on the mat, the cat sat"
CONFIG = GPTConfig(n_vocab=261, n_ctx=8, n_embd=32, n_layer=2, n_head=2, eos_id=259)
LLMC = measure.HERE / "llmc.bin"


@pytest.fixture
def tokenizer():
    return Tokenizer.train([TEXT] * 3, 260)


@pytest.fixture
def model(tmp_path, tokenizer):
    """A directory, and what it holds."""
    checkpoint.save(tmp_path / "model", CONFIG, make(CONFIG), tokenizer)
    return tmp_path / "model"


def content(directory):
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def chain(start, *steps):
    """Convert along (to, kind, out); -> the lines that were said."""
    said = []
    for to, kind, out in steps:
        said += convert(start, out, to, kind)
        start = out
    return said


# ---------------------------------------------------------------- the same bits


def test_a_directory_through_gguf_is_the_same_files(tmp_path, model):
    pytest.importorskip("gguf")
    assert chain(model, ("gguf", "f32", tmp_path / "m.gguf"), ("hf", None, tmp_path / "back")) == []
    assert content(tmp_path / "back") == content(model)


def test_half_precision_through_gguf_is_the_same_file(tmp_path, model):
    pytest.importorskip("gguf")
    steps = [("gguf", "f16", tmp_path / "a.gguf"), ("hf", "f32", tmp_path / "b"), ("gguf", "f16", tmp_path / "c.gguf")]
    assert chain(model, *steps) == []
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "c.gguf").read_bytes()
    convert(model, tmp_path / "half", "hf", "f16")
    convert(tmp_path / "half", tmp_path / "d.gguf", "gguf", "f16")
    halves = [dict(P.walk(formats.load(path)[1])) for path in (tmp_path / "half", tmp_path / "d.gguf")]
    for name, array in halves[0].items():
        np.testing.assert_array_equal(halves[1][name], array)


def test_llmc_through_every_format_is_the_same_file(tmp_path):
    steps = [("hf", None, tmp_path / "a"), ("llmc", None, tmp_path / "b.bin")]
    chain(LLMC, *steps)
    assert (tmp_path / "b.bin").read_bytes() == LLMC.read_bytes()
    pytest.importorskip("gguf")
    chain(LLMC, ("gguf", None, tmp_path / "c.gguf"), ("llmc", None, tmp_path / "d.bin"))
    assert (tmp_path / "d.bin").read_bytes() == LLMC.read_bytes()


def test_what_quantized_weights_stand_for_comes_back(tmp_path, model):
    pytest.importorskip("gguf")
    steps = [("gguf", "q8_0", tmp_path / "m.gguf"), ("hf", None, tmp_path / "a"), ("llmc", None, tmp_path / "b.bin")]
    chain(model, *steps)
    small, whole, other = (dict(P.walk(formats.load(tmp_path / name)[1])) for name in ("m.gguf", "a", "b.bin"))
    for name, array in small.items():
        np.testing.assert_array_equal(whole[name], array)
        np.testing.assert_array_equal(other[name], array)


def test_one_model_in_every_format_says_the_same(tmp_path, model):
    """To rounding with NumPy, whose BLAS sums a matrix that lies by output in another order; logits reach 20."""
    pytest.importorskip("gguf")
    paths = [tmp_path / "m.gguf", tmp_path / "m.bin"]
    for path, to in zip(paths, ("gguf", "llmc"), strict=True):
        convert(model, path, to)
    expected = GPT.from_pretrained(model, ops="numpy")([3, 1, 4, 1, 5])
    for path in paths:
        np.testing.assert_allclose(GPT.from_pretrained(path, ops="numpy")([3, 1, 4, 1, 5]), expected, rtol=0, atol=1e-4)


def test_what_a_format_cannot_hold_is_said(tmp_path, tokenizer):
    config = CONFIG.replace(dropout=0.1, more_eos_ids=(7,), positions="sinusoidal")
    checkpoint.save(tmp_path / "model", config, make(config), tokenizer, trained_with="theirs")
    said = convert(tmp_path / "model", tmp_path / "m.bin", "llmc")
    for word in ("no vocabulary", "token 259 ends", "7 end a text too", "sinusoidal", "dropout 0.1", "ops of theirs"):
        assert sum(word in line for line in said) == 1, (word, said)
    assert len(said) == 6
    assert convert(tmp_path / "model", tmp_path / "copy", "hf") == []
    assert content(tmp_path / "copy") == content(tmp_path / "model")
    pytest.importorskip("gguf")
    assert len(convert(tmp_path / "model", tmp_path / "m.gguf", "gguf")) == 4
    said = convert(LLMC, tmp_path / "n.gguf", "gguf")
    assert len(said) == 1 and "no vocabulary, without which llama.cpp says nothing" in said[0]


def test_how_a_model_likes_to_be_sampled_stays_with_it(tmp_path):
    said = convert("poems", tmp_path / "poems", "hf"), convert("poems", tmp_path / "poems.bin", "llmc")
    assert not said[0] and sum("does not say what generation_config.json does" in line for line in said[1]) == 1
    assert GPT.from_pretrained(tmp_path / "poems").defaults == GPT.from_pretrained("poems").defaults != {}


def test_a_registered_name_and_a_file_are_sources_too(tmp_path):
    convert("poems", tmp_path / "poems.bin", "llmc")
    gpt = GPT.from_pretrained(tmp_path / "poems.bin", ops="numpy")
    assert gpt.tokenizer is None and P.count(gpt.params) == 2_212_320


# ---------------------------------------------------------------- nothing is replaced, nothing half-written


@pytest.mark.parametrize("to", KINDS)
def test_what_stands_there_stays(tmp_path, model, to):
    folder, file, link = tmp_path / "folder", tmp_path / "file", tmp_path / "link"
    folder.mkdir()
    (folder / "mine").write_text("mine")
    file.write_text("mine")
    link.symlink_to(tmp_path / "nowhere")
    for out in (folder, file, link, model):
        with pytest.raises(FileError, match="expected .* there, got something; choose another name") as error:
            convert(model, out, to)
        one_line(error)
    assert file.read_text() == (folder / "mine").read_text() == "mine" and link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "link", "model"]


def test_an_empty_folder_may_become_a_model(tmp_path, model):
    (tmp_path / "empty").mkdir()
    convert(model, tmp_path / "empty", "hf")
    assert content(tmp_path / "empty") == content(model)


@pytest.mark.parametrize("to, kind", [("hf", "q8_0"), ("llmc", "f16"), ("gguf", "q4_0"), ("gguf", ""), ("onnx", None)])
def test_what_no_format_has_is_refused(tmp_path, model, to, kind):
    with pytest.raises(InputError, match="expected ") as error:
        convert(model, tmp_path / "out", to, kind)
    one_line(error)
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("to", KINDS)
def test_a_broken_source_writes_nothing(tmp_path, model, to):
    for name in ("config.json", "model.safetensors"):
        data = (model / name).read_bytes()
        (model / name).write_bytes(data[:-5])
        with pytest.raises(FileError):
            convert(model, tmp_path / "out", to)
        (model / name).write_bytes(data)
    (tmp_path / "cut.bin").write_bytes(LLMC.read_bytes()[:-4])
    with pytest.raises(FileError, match="the whole file"):
        convert(tmp_path / "cut.bin", tmp_path / "out", to)
    assert sorted(os.listdir(tmp_path)) == ["cut.bin", "model"]


@pytest.mark.parametrize("length, what", [(0, "cannot be read"), (3000, "got 3,000; it was changed while it was op")])
@pytest.mark.parametrize("room, to", [(checkpoint, "hf"), (gguf, "gguf"), (llmc, "llmc")])
def test_a_file_that_shrinks_while_it_is_opened(tmp_path, model, monkeypatch, room, to, length, what):
    """Between the look at its table of contents and the weights; a test of one moment, as no test can hit it."""
    if to == "gguf":
        pytest.importorskip("gguf")
    convert(model, tmp_path / "out", to)
    whole = room.map_file

    def cut(path):
        os.truncate(path, length)
        return whole(path)

    monkeypatch.setattr(room, "map_file", cut)
    with pytest.raises(FileError, match=what) as error:
        formats.load(tmp_path / "out")
    one_line(error)


# ---------------------------------------------------------------- what a file is


FOREIGN = {
    b"PK\x03\x04rest": "pickled weights, which can run code and are never loaded",
    b"\x80\x02}q": "pickled weights, which can run code",
    b"": "begins with b''",
    b"\x00\x1b[31m": "begins with b'\\x00\\x1b[3'",
    b"#!/bin/sh": "give a model's directory, a .gguf file or llm.c's .bin file",
    (20240327).to_bytes(4, "little"): "llm.c's debug state, which holds no weights",
}


@pytest.mark.parametrize("data", FOREIGN)
def test_a_file_that_is_no_model_is_one_line(tmp_path, data):
    (tmp_path / "m.gguf").write_bytes(data)
    with pytest.raises(FileError) as error:
        GPT.from_pretrained(tmp_path / "m.gguf")
    assert FOREIGN[data] in one_line(error)


def test_a_file_does_not_hide_a_registered_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "poems").write_bytes(LLMC.read_bytes())
    assert GPT.from_pretrained("poems", ops="numpy").config.n_vocab == 4096
    assert GPT.from_pretrained(tmp_path / "poems", ops="numpy").config.n_vocab == 100


def test_what_only_directories_can_do_says_so(tmp_path):
    with pytest.raises(FileError, match="got a file; make one of it first: nanogpt-np convert llmc.bin DIRECTORY"):
        checkpoint.load(LLMC)


def test_trained_with_is_none_of_a_file():
    assert formats.trained_with(LLMC) is None


# ---------------------------------------------------------------- the command line


@pytest.fixture
def call(capsys):
    """call("convert", …) -> exit status, standard output, standard error."""

    def run(*words):
        status = cli.main([str(word) for word in words])
        return status, *capsys.readouterr()

    return run


def test_convert_at_the_command_line(call, tmp_path, model):
    assert call("convert", model, tmp_path / "m.bin", "--to", "llmc")[0] == 0
    status, out, err = call("convert", tmp_path / "m.bin", tmp_path / "back", "--to", "hf", "--type", "f16")
    assert (status, err) == (0, "") and out.endswith(f"{sum(map(len, content(tmp_path / 'back').values())):,} bytes\n")
    status, out, err = call("convert", model, tmp_path / "m.bin", "--to", "llmc")
    assert status == 2 and not out and "expected nothing there, got something" in err and err.count("\n") == 1
    status, _, err = call("convert", model, tmp_path / "n.bin", "--to", "llmc")
    assert status == 0 and err.splitlines() == [
        "nanogpt-np: llm.c's file holds no vocabulary; keep vocab.json and merges.txt",
        "nanogpt-np: llm.c's file does not say that token 259 ends a text",
    ]
    status, _, err = call("convert", model, tmp_path / "o.bin", "--to", "llmc", "--type", "q8_0")
    assert status == 2 and err == "nanogpt-np: type: expected f32 for llmc, got q8_0\n"
    assert not (tmp_path / "o.bin").exists()


def test_info_and_tokenize_of_a_file(call):
    status, out, err = call("info", measure.HERE / "plain.gguf")
    assert (status, err) == (0, "")
    for line in ("file        ", "dtype       BF16, F16, F32", "parameters  17,536", "vocabulary  262 tok", "n.gguf"):
        assert line in out
    assert call("info", LLMC)[1].count("vocabulary  none") == 1
    assert "257" in call("tokenize", "the", "--tokenizer", measure.HERE / "plain.gguf")[1]
    status, _, err = call("tokenize", "the", "--tokenizer", LLMC)
    assert status == 2 and "expected a vocabulary in it, found none" in err
    assert about.describe(LLMC).dtypes == ["F32"]


def test_generate_from_a_file(call):
    words = ("generate", "the", "--temperature", "0", "--max-new-tokens", "4", "--model", measure.HERE / "plain.gguf")
    status, out, err = call(*words)
    assert (status, err) == (0, "") and out.startswith("the")
