"""A directory and back: bit for bit, as `transformers` lays it out, and never a wrong model from a broken file.

The files that are read here are written by the `safetensors` library, whose header parser is not ours.
Opening what we write with `transformers` itself is the work of tests/goldens/make.py.
"""

import json
import os
import tracemalloc

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from nanogpt_np import model, ops
from nanogpt_np import params as P
from nanogpt_np.config import GPTConfig
from nanogpt_np.errors import FileError, InputError
from nanogpt_np.storage import checkpoint
from nanogpt_np.storage.header import read_header
from nanogpt_np.tokenizer.bpe import Tokenizer

CONFIG = GPTConfig(n_vocab=270, n_ctx=6, n_embd=8, n_layer=2, n_head=2, eos_id=256)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["the cat sat on the mat, the cat sat"] * 3, n_vocab=262)


def new_params(config=CONFIG, seed=0):
    """Random everywhere, so that no two tensors could be exchanged unnoticed (fresh biases are all zero)."""
    rng = np.random.default_rng(seed)
    return P.nest({name: rng.standard_normal(shape, dtype=np.float32) for name, shape in P.shapes(config).items()})


def assert_same(params, expected):
    got, wanted = dict(P.walk(params)), dict(P.walk(expected))
    assert list(got) == list(wanted)
    for name, array in wanted.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array, err_msg=name)


def one_line(caught):
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return str(caught.value)


def write_config(directory, config=CONFIG, **changes):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps({**config.to_dict(), **changes}))


def write_foreign(directory, config=CONFIG, prefix="", extra=None, dtype=np.float32, seed=0):
    """A model directory without one line of checkpoint.save; returns its tensors."""
    write_config(directory, config)
    named = {prefix + name: array.astype(dtype) for name, array in P.walk(new_params(config, seed))}
    save_file({**named, **(extra or {})}, directory / "model.safetensors", {"format": "pt"})
    return named


# ---- there and back


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_saved_is_loaded(tmp_path, tokenizer, tied, dtype):
    config = CONFIG.replace(tie_word_embeddings=tied, dropout=0.1, activation="gelu")
    params = new_params(config)
    checkpoint.save(tmp_path / "new" / "folder", config, params, tokenizer, dtype)
    config_back, params_back, tokenizer_back = checkpoint.load(tmp_path / "new" / "folder")
    assert config_back == config
    assert_same(params_back, P.nest({n: a.astype(dtype).astype(np.float32) for n, a in P.walk(params)}))
    assert tokenizer_back.fingerprint == tokenizer.fingerprint
    assert tokenizer_back.encode("the cat") == tokenizer.encode("the cat")


@pytest.mark.parametrize("tied", [True, False])
def test_the_layout_is_that_of_transformers(tmp_path, tokenizer, tied):
    config = CONFIG.replace(tie_word_embeddings=tied)
    checkpoint.save(tmp_path, config, new_params(config), tokenizer)
    assert sorted(os.listdir(tmp_path)) == ["config.json", "merges.txt", "model.safetensors", "vocab.json"]
    names = set(load_file(tmp_path / "model.safetensors"))
    assert ("lm_head.weight" in names) is not tied
    assert names - {"lm_head.weight"} == {f"transformer.{name}" for name in P.shapes(CONFIG)}
    raw = json.loads((tmp_path / "config.json").read_text())
    assert raw["architectures"] == ["GPT2LMHeadModel"] and raw["torch_dtype"] == "float32"
    metadata = read_header(tmp_path / "model.safetensors").metadata
    assert metadata["format"] == "pt" and metadata["tokenizer_fingerprint"] == tokenizer.fingerprint


def test_saving_over_a_model_replaces_it(tmp_path, tokenizer):
    checkpoint.save(tmp_path, CONFIG, new_params(), tokenizer)
    config, params, _ = checkpoint.load(tmp_path)  # mapped from the very file that is replaced
    params["wte"]["weight"][0] += 1
    checkpoint.save(tmp_path, config, params, tokenizer)
    expected = new_params()
    expected["wte"]["weight"][0] += 1
    assert_same(params, expected)
    assert_same(checkpoint.load(tmp_path)[1], expected)


def test_odd_arrays_are_saved_right(tmp_path):
    params = new_params()
    expected = new_params()
    wte = params["wte"]
    wte["weight"] = np.asfortranarray(wte["weight"])
    params["wpe"]["weight"] = np.repeat(params["wpe"]["weight"], 2, axis=1)[:, ::2].astype(">f4")
    params["ln_f"]["bias"] = params["ln_f"]["bias"].astype(np.float64)
    checkpoint.save(tmp_path, CONFIG, params)
    assert_same(checkpoint.load(tmp_path)[1], expected)


def test_sinusoidal_positions_are_a_table_for_others(tmp_path):
    config = CONFIG.replace(positions="sinusoidal")
    checkpoint.save(tmp_path, config, new_params(config), dtype="float16")
    table = load_file(tmp_path / "model.safetensors")["transformer.wpe.weight"]
    # values up to 0.02 in float16: half a unit of 2^-16
    np.testing.assert_allclose(table, 0.02 * ops.sinusoidal_positions(np.arange(6), 8, np.float32), atol=2**-17)
    assert "wpe" not in checkpoint.load(tmp_path)[1]
    named = load_file(tmp_path / "model.safetensors")
    named["transformer.wpe.weight"][3] += 0.01
    save_file(named, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(FileError, match="wpe.weight: expected its values to be the sinusoidal table"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_model_from_when_sines_were_whole_computes_what_it_did(tmp_path, dtype):
    """Sines were added as they are, and stored so: still the same logits, from a table that is now learned."""
    config = CONFIG.replace(positions="sinusoidal")
    params = new_params(config)
    checkpoint.save(tmp_path, config, params, dtype=dtype)
    path = tmp_path / "model.safetensors"
    with safe_open(path, framework="np") as stored:
        metadata = stored.metadata()
    whole = ops.sinusoidal_positions(np.arange(6), 8, np.float32)
    save_file(load_file(path) | {"transformer.wpe.weight": whole.astype(dtype)}, path, metadata)
    opened, found, _ = checkpoint.load(tmp_path)
    assert opened == config.replace(positions="learned") and list(dict(P.walk(found))) == list(P.shapes(opened))
    ids = np.array([[1, 5, 2, 2, 0, 3]])
    expected, _ = model.forward(ids, params | {"wpe": {"weight": whole}}, opened, ops)
    # float32 is mapped bit for bit; float16 rounds each weight by up to 2^-11 of it, and logits reach 10
    tolerance = 0 if dtype == "float32" else 0.05
    np.testing.assert_allclose(model.forward(ids, found, opened, ops)[0], expected, atol=tolerance)


@pytest.mark.parametrize("n_inner", [1, 20])
def test_another_inner_width_and_relu_are_saved(tmp_path, n_inner):
    config = CONFIG.replace(n_inner=n_inner, activation="relu")
    params = new_params(config)
    checkpoint.save(tmp_path, config, params)
    assert json.loads((tmp_path / "config.json").read_text())["n_inner"] == n_inner
    opened, found, _ = checkpoint.load(tmp_path)
    assert opened == config
    assert_same(found, params)
    write_config(tmp_path, config, n_inner=None)
    with pytest.raises(FileError, match=rf"mlp.c_fc.bias: expected shape \[32\], got \[{n_inner}\]"):
        checkpoint.load(tmp_path)


# ---- what others wrote


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_names_with_and_without_prefix(tmp_path, prefix):
    write_foreign(tmp_path, prefix=prefix)
    config, params, tokenizer = checkpoint.load(tmp_path)
    assert config == CONFIG and tokenizer is None
    assert_same(params, new_params())


def test_mask_buffers_and_a_tied_head_are_passed_over(tmp_path):
    masks = {f"h.{i}.attn.bias": np.tril(np.ones((1, 1, 6, 6), np.uint8)) for i in range(2)}
    masks |= {f"h.{i}.attn.masked_bias": np.array(-1e4, np.float32) for i in range(2)}
    head = {"lm_head.weight": new_params()["wte"]["weight"]}
    write_foreign(tmp_path, extra={**masks, **head})
    assert_same(checkpoint.load(tmp_path)[1], new_params())


def test_a_head_that_is_not_tied_although_config_says_so(tmp_path):
    write_foreign(tmp_path, extra={"lm_head.weight": new_params()["wte"]["weight"] + 1})
    with pytest.raises(FileError, match="lm_head.weight: expected its values to be those of wte.weight"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("stored", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("asked", [np.float16, np.float32, np.float64])
def test_every_stored_dtype_as_every_asked_one(tmp_path, stored, asked):
    named = write_foreign(tmp_path, dtype=stored)
    params = checkpoint.load(tmp_path, asked)[1]
    assert_same(params, P.nest({name: array.astype(asked) for name, array in named.items()}))


def to_bfloat16(directory):
    """Rewrite a float32 file as BF16 by hand: the upper two bytes of each number, the header to match."""
    path = directory / "model.safetensors"
    header = read_header(path)
    data, chunks, entries, place = path.read_bytes(), [], {}, 0
    for name, info in header.tensors.items():
        chunks.append(np.frombuffer(data[info.start : info.end], "<u2")[1::2].tobytes())
        end = place + len(chunks[-1])
        entries[name] = {"dtype": "BF16", "shape": list(info.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(entries).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(chunks))


def test_bfloat16_is_expanded_by_bits(tmp_path):
    write_foreign(tmp_path)
    to_bfloat16(tmp_path)
    expected = P.nest({n: (a.view(np.uint32) & 0xFFFF0000).view(np.float32) for n, a in P.walk(new_params())})
    assert_same(checkpoint.load(tmp_path)[1], expected)


def test_bfloat16_keeps_infinities_and_nans(tmp_path):
    special = np.array([np.inf, -np.inf, np.nan, -0.0, 1.0, 2**-126, 3.0, -2.5], np.float32)
    named = write_foreign(tmp_path)
    save_file({**named, "ln_f.bias": special}, tmp_path / "model.safetensors")
    to_bfloat16(tmp_path)
    got = checkpoint.load(tmp_path)[1]["ln_f"]["bias"]
    np.testing.assert_array_equal(got.view(np.uint32), special.view(np.uint32))


def reheader(path, change=lambda entries: None, text=None):
    """Rewrite the header of a .safetensors file: change its entries, or give its text."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    if text is None:
        entries = json.loads(data[8:end])
        text = change(entries) or entries
        text = json.dumps(text)
    text = text.encode() if isinstance(text, str) else text
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])


def test_a_file_that_is_not_aligned_is_copied(tmp_path):
    # the published GPT-2 is such a file: its header has an odd length
    write_foreign(tmp_path)
    path = tmp_path / "model.safetensors"
    text = path.read_bytes()[8:].split(b"}}", 1)[0] + b"}}"
    reheader(path, text=text + b" " * (1 - len(text) % 2))
    assert read_header(path).tensors["ln_f.bias"].start % 2 == 1
    params = checkpoint.load(tmp_path)[1]
    assert_same(params, new_params())
    assert all(array.flags.aligned for _, array in P.walk(params))


def test_float32_is_mapped_and_copied_on_write(tmp_path):
    write_foreign(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    params = checkpoint.load(tmp_path)[1]
    for _, array in P.walk(params):
        assert type(array) is np.ndarray and not array.flags.owndata and array.flags.c_contiguous
        array += 1
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert_same(checkpoint.load(tmp_path)[1], new_params())


def test_opening_allocates_nothing_of_the_weights_size(tmp_path):
    config = CONFIG.replace(n_embd=512, n_vocab=8192)  # 42 MB
    checkpoint.save(tmp_path, config, P.init(config, np.random.default_rng(0)))
    tracemalloc.start()
    checkpoint.load(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def write_shards(directory, n=3, **weight_map):
    named = write_foreign(directory, prefix="transformer.")
    (directory / "model.safetensors").unlink()
    places = {name: f"model-{i % n}.safetensors" for i, name in enumerate(named)}
    for shard in set(places.values()):
        save_file({name: named[name] for name in named if places[name] == shard}, directory / shard)
    index = {"metadata": {}, "weight_map": {**places, **weight_map}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def test_shards(tmp_path):
    write_shards(tmp_path)
    assert_same(checkpoint.load(tmp_path)[1], new_params())


@pytest.mark.parametrize("name", ["../m.safetensors", "/m.safetensors", "a\\b.safetensors", 3, "x.bin", ".safetensors"])
def test_an_index_cannot_reach_outside(tmp_path, name):
    write_shards(tmp_path, **{"transformer.ln_f.bias": name})
    with pytest.raises(FileError, match="expected names of .safetensors files"):
        checkpoint.load(tmp_path)


def test_a_shard_that_is_missing_or_double(tmp_path):
    write_shards(tmp_path)
    shard = tmp_path / "model-1.safetensors"
    data = shard.read_bytes()
    shard.unlink()
    with pytest.raises(FileError, match="model-1.safetensors: cannot be read"):
        checkpoint.load(tmp_path)
    shard.write_bytes((tmp_path / "model-0.safetensors").read_bytes())
    with pytest.raises(FileError, match="expected once, got twice"):
        checkpoint.load(tmp_path)
    shard.write_bytes(data)
    checkpoint.load(tmp_path)
    for text in ("[]", "{}", '{"weight_map": []}', '{"weight_map": {}}'):
        (tmp_path / "model.safetensors.index.json").write_text(text)
        with pytest.raises(FileError, match="expected a weight_map"):
            checkpoint.load(tmp_path)


# ---- directories that are not models


def test_directories_that_are_not_models(tmp_path):
    with pytest.raises(FileError, match="none: expected a model directory"):
        checkpoint.load(tmp_path / "none")
    with pytest.raises(FileError, match="expected config.json in it, found none"):
        checkpoint.load(tmp_path)
    write_config(tmp_path)
    with pytest.raises(FileError, match="expected model.safetensors in it, found none"):
        checkpoint.load(tmp_path)
    with pytest.raises(FileError, match="expected a model directory"):
        checkpoint.load(tmp_path / "config.json")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(FileError, match="got pytorch_model.bin, a pickle, .*never loaded") as caught:
        checkpoint.load(tmp_path)
    one_line(caught)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "config.json: expected JSON"),
        ("[]", "config.json: config: expected model_type 'gpt2'"),
        ('{"model_type": "llama"}', "got 'llama'; only GPT-2"),
        ('{"n_embd": 7}', "config.json: n_embd: expected a multiple of n_head = 12, got 7"),
        ('{"n_embd": -1}', "config.json: n_embd: expected a whole number"),
        ('{"n_embd": "8"}', "config.json: n_embd: expected a whole number"),
    ],
)
def test_configs_that_cannot_be(tmp_path, text, message):
    write_foreign(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(FileError, match=message) as caught:
        checkpoint.load(tmp_path)
    assert one_line(caught).startswith(str(tmp_path))


def test_one_vocabulary_file_is_not_enough(tmp_path, tokenizer):
    for present, missing in (("vocab.json", "merges.txt"), ("merges.txt", "vocab.json")):
        checkpoint.save(tmp_path / missing, CONFIG, new_params(), tokenizer)
        (tmp_path / missing / missing).unlink()
        with pytest.raises(FileError, match=f"expected {missing} beside {present}, found none"):
            checkpoint.load(tmp_path / missing)


def test_a_vocabulary_of_another_model(tmp_path, tokenizer):
    checkpoint.save(tmp_path, CONFIG, new_params(), tokenizer)
    other = Tokenizer.train(["a dog ran over the hill, a dog ran"] * 3, n_vocab=262)
    other.save(tmp_path)
    with pytest.raises(FileError, match=f"fingerprint {tokenizer.fingerprint}, got {other.fingerprint}"):
        checkpoint.load(tmp_path)


def test_a_vocabulary_larger_than_the_model(tmp_path, tokenizer):
    config = CONFIG.replace(n_vocab=261)
    write_foreign(tmp_path, config)
    tokenizer.save(tmp_path)
    with pytest.raises(FileError, match="at most n_vocab = 261 tokens, got 262"):
        checkpoint.load(tmp_path)
    with pytest.raises(InputError, match="at most n_vocab = 261 tokens, got 262"):
        checkpoint.save(tmp_path / "new", config, new_params(config), tokenizer)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"n_head": 4},
        {"activation_function": "gelu"},
        {"layer_norm_epsilon": 1e-6},
        {"position_embedding": "sinusoidal"},
        {"tie_word_embeddings": False},
    ],
)
def test_a_config_of_another_save(tmp_path, change):
    checkpoint.save(tmp_path, CONFIG, new_params())
    write_config(tmp_path, **change)
    with pytest.raises(FileError, match="config.json says .*the two are not of one save"):
        checkpoint.load(tmp_path)


# ---- files as large as a disk, files without an end, texts of others


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json", "vocab.json", "merges.txt"])
def test_no_file_is_read_beyond_its_limit(tmp_path, tokenizer, name):
    write_shards(tmp_path)
    tokenizer.save(tmp_path)
    with open(tmp_path / name, "r+b") as file:  # sparse: takes no space
        file.truncate(3 << 30)
    tracemalloc.start()
    with pytest.raises(FileError, match=f"{name}: expected at most .* bytes, got 3,221,225,472") as caught:
        checkpoint.load(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert one_line(caught) and peak < 1_000_000


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes and devices")
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.json", "merges.txt", "added_tokens.json"])
def test_no_pipe_is_waited_for_and_no_device_read(tmp_path, tokenizer, name, make):
    checkpoint.save(tmp_path, CONFIG, new_params(), tokenizer)
    (tmp_path / name).unlink(missing_ok=True)
    make(tmp_path / name)
    with pytest.raises(FileError, match=f"{name}: cannot be read .expected a regular file, got a pipe or a device"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("name", ["n_head", "tokenizer_fingerprint"])
@pytest.mark.parametrize("value", ["8\n\x1b[31mnanogpt-np: all is well\x1b[0m\n", "x" * 100_000, "\u202e"])
def test_metadata_of_others_is_escaped_and_cut(tmp_path, tokenizer, name, value):
    checkpoint.save(tmp_path, CONFIG, new_params(), tokenizer)
    path = tmp_path / "model.safetensors"
    reheader(path, lambda entries: entries["__metadata__"].update({name: value}))
    with pytest.raises(FileError, match="was saved with|were saved with") as caught:
        checkpoint.load(tmp_path)
    assert one_line(caught).isprintable()


@pytest.mark.parametrize("name", ["\x1b[2J" * 50, "../" * 50, "x" * 300 + ".safetensors", {}, "\u202e.safetensors"])
def test_shard_names_of_others_are_escaped_and_cut(tmp_path, name):
    write_shards(tmp_path, **{"transformer.ln_f.bias": name})
    with pytest.raises(FileError, match="expected names of .safetensors files") as caught:
        checkpoint.load(tmp_path)
    assert one_line(caught).isprintable()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n_vocab", [262, 270, 320, 384, 389])
def test_rows_that_only_pad_are_normal(tmp_path, tokenizer, n_vocab):
    config = CONFIG.replace(n_vocab=n_vocab)
    write_foreign(tmp_path, config)
    tokenizer.save(tmp_path)
    checkpoint.load(tmp_path)


def test_a_vocabulary_far_smaller_than_the_model_is_said_once(tmp_path, tokenizer):
    config = CONFIG.replace(n_vocab=1000)
    write_foreign(tmp_path, config)
    tokenizer.save(tmp_path)
    with pytest.warns(UserWarning, match="1,000 rows for tokens, its vocabulary files 262 tokens; if") as said:
        checkpoint.load(tmp_path)
    assert len(said) == 1 and str(said[0].message).isprintable()


@pytest.mark.filterwarnings("error")
def test_a_vocabulary_that_was_saved_with_the_model_belongs_to_it(tmp_path, tokenizer):
    config = CONFIG.replace(n_vocab=1000)
    checkpoint.save(tmp_path, config, new_params(config), tokenizer)
    checkpoint.load(tmp_path)


@pytest.mark.filterwarnings("error")
def test_numbers_too_large_for_float32_are_no_second_line(tmp_path):
    named = write_foreign(tmp_path, dtype=np.float64)
    named["ln_f.bias"][0] = 1e300
    save_file(named, tmp_path / "model.safetensors")
    assert checkpoint.load(tmp_path)[1]["ln_f"]["bias"][0] == np.inf


def test_a_copy_does_without_the_file(tmp_path):
    write_foreign(tmp_path)
    params = checkpoint.load(tmp_path, copy=True)[1]
    os.truncate(tmp_path / "model.safetensors", 0)  # a mapped file would end the process here
    assert_same(params, new_params())


# ---- saving


def test_a_save_that_fails_leaves_the_old_model(tmp_path, monkeypatch, tokenizer):
    checkpoint.save(tmp_path, CONFIG, new_params(), tokenizer)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(tensors, path, metadata):
        path.write_bytes(b"half of the we")
        raise SafetensorError("disk\n\x1b[31mfull")

    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(FileError, match=r"cannot be written \(disk\\n\\x1b\[31mfull\); free some space"):
        checkpoint.save(tmp_path, CONFIG.replace(n_head=4), new_params(seed=1), tokenizer)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_saving_what_does_not_fit(tmp_path, tokenizer):
    with pytest.raises(InputError, match="wte.weight: expected shape"):
        checkpoint.save(tmp_path, CONFIG.replace(n_vocab=300), new_params())
    with pytest.raises(InputError, match="dtype: expected 'float32' or 'float16', got 'int8'"):
        checkpoint.save(tmp_path, CONFIG, new_params(), dtype="int8")
    large = new_params()
    large["ln_f"]["bias"][3] = 70_000
    with pytest.raises(InputError, match="ln_f.bias: expected values within float16's"):
        checkpoint.save(tmp_path, CONFIG, large, dtype="float16")
    assert not list(tmp_path.iterdir())
    tokenizer.save(tmp_path)
    with pytest.raises(InputError, match="holds vocab.json of an earlier model"):
        checkpoint.save(tmp_path, CONFIG, new_params())


def test_saving_where_there_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError, match="cannot be written"):
        checkpoint.save(tmp_path / "file" / "model", CONFIG, new_params())


@pytest.mark.parametrize("dtype", [np.int32, "complex64", bool])
def test_loading_as_something_that_is_no_float(tmp_path, dtype):
    with pytest.raises(InputError, match="expected a float dtype"):
        checkpoint.load(tmp_path, dtype)


# ---- tensors that the config does not describe


F32 = np.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("ln_f.bias"), r"ln_f.bias: expected the tensor, got none \(1 missing in all\)"),
        (lambda t: t.pop("h.1.ln_1.weight"), "h.1.ln_1.weight: expected 2 layers as config.json says, got 1"),
        (lambda t: t.update({"h.2.ln_1.weight": np.zeros(8, F32)}), "h.2.ln_1.weight: expected only the tensors of"),
        (lambda t: t.update({"score.weight": np.zeros((2, 8), F32)}), "got a classifier of texts .GPT2ForSequenceCl.*"),
        (lambda t: t.update({"qa_outputs.weight": np.zeros((2, 8), F32)}), "got a model that marks answers"),
        (lambda t: t.update({"h.0.attn.bias": np.zeros(3, F32)}), "h.0.attn.bias: expected only the tensors"),
        (lambda t: t.update({"wte.weight": np.zeros((8, 270), F32)}), r"wte.weight: expected shape \[270, 8\], got"),
        (lambda t: t.update({"ln_f.bias": np.zeros((8, 1), F32)}), r"ln_f.bias: expected shape \[8\], got \[8, 1\]"),
        (lambda t: t.update({"ln_f.bias": np.zeros(8, np.int32)}), "ln_f.bias: expected a dtype of F32, .*, got I32"),
        (lambda t: t.update({"transformer.ln_f.bias": np.zeros(8, F32)}), "ln_f.bias: expected once, got twice"),
        (lambda t: t.update({"lm_head.weight": np.zeros((3, 8), F32)}), r"lm_head.weight: expected shape \[270, 8\]"),
        (lambda t: t.update({"a\nb": np.zeros(8, F32)}), r"a\\nb: expected only the tensors"),
    ],
)
def test_tensors_that_do_not_fit_the_config(tmp_path, change, message):
    named = write_foreign(tmp_path)
    change(named)
    save_file(named, tmp_path / "model.safetensors")
    with pytest.raises(FileError, match=message) as caught:
        checkpoint.load(tmp_path)
    assert one_line(caught).startswith(str(tmp_path))


def test_an_untied_model_without_its_head(tmp_path):
    write_foreign(tmp_path)
    write_config(tmp_path, tie_word_embeddings=False)
    with pytest.raises(FileError, match="lm_head.weight: expected the tensor, got none"):
        checkpoint.load(tmp_path)


def test_a_config_that_claims_a_billion_layers(tmp_path):
    write_foreign(tmp_path)
    write_config(tmp_path, n_layer=10**9, n_positions=2**31 - 1, vocab_size=2**31 - 1)
    with pytest.raises(FileError, match="expected 1000000000 layers as config.json says, got 2"):
        checkpoint.load(tmp_path)


# ---- anything at all


def damaged(data, n_header, rng):
    """Some bytes of the header (its length included) changed, or the file cut off, or something appended."""
    data = bytearray(data)
    kind = rng.integers(6)
    if kind == 0:
        return data[: rng.integers(len(data))]
    if kind == 1:
        return data + bytes(rng.integers(1, 100))
    if kind == 2:  # digits for digits: JSON that parses and lies
        digits = [i for i in range(8, n_header) if chr(data[i]).isdigit()]
        for i in rng.choice(digits, 2):
            data[i] = ord("0") + rng.integers(10)
        return data
    for i in rng.integers(0, n_header, size=kind - 2):
        data[i] ^= 1 << rng.integers(8)
    return data


def test_random_damage_is_an_error_or_harmless(tmp_path):
    rng = np.random.default_rng(20240607)
    checkpoint.save(tmp_path, CONFIG, new_params())
    path = tmp_path / "model.safetensors"
    data = path.read_bytes()
    n_header = 8 + int.from_bytes(data[:8], "little")
    n_errors = 0
    tracemalloc.start()
    for _ in range(600):
        path.write_bytes(damaged(data, n_header, rng))
        try:
            _, params, _ = checkpoint.load(tmp_path)
        except FileError as error:
            n_errors += 1
            assert "\n" not in str(error) and len(str(error)) < 600
        else:
            assert_same(params, new_params())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 400 < n_errors < 600  # both ways out were taken: a bit of a metadata string changes nothing
    assert peak < 5_000_000
