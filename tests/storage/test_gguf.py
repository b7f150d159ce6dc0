"""GGUF: files that the library gguf wrote open to its numbers, and what is written is what it reads."""

import hashlib
import tracemalloc

import gguf_bytes as raw
import numpy as np
import pytest
from goldens import measure
from hostile import one_line
from small import make

from nanogpt_np import GPT, GPTConfig, Tokenizer
from nanogpt_np import params as P
from nanogpt_np.errors import FileError, InputError
from nanogpt_np.storage import checkpoint, gguf
from nanogpt_np.storage.gguf_header import KINDS, MAX_HEADER, read_gguf_header

TEXT = "the cat sat on the mat, the cat sat"
CONFIG = GPTConfig(n_vocab=261, n_ctx=8, n_embd=32, n_layer=2, n_head=2, layer_norm_eps=1e-3, eos_id=259)
UNTIED = CONFIG.replace(tie_word_embeddings=False, n_inner=64)
NEEDS = {"plain": False, "mixed": True}  # of the goldens: whether opening one needs the library


def golden(name):
    """The path of a golden, and what was computed of it; skips where the library is needed and missing."""
    if NEEDS[name]:
        pytest.importorskip("gguf")
    return measure.HERE / f"{name}.gguf", measure.under(f"{name}/", measure.load("gguf"))


def tokenizer():
    return Tokenizer.train([TEXT] * 3, 260)


def arrays(params):
    return dict(P.walk(params))


def assert_same(params, expected):
    """Names, order and every bit."""
    params, expected = arrays(params), arrays(expected)
    assert list(params) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(np.asarray(params[name]).view("u4"), np.asarray(array).view("u4"), err_msg=name)


# ---------------------------------------------------------------- files that others wrote


@pytest.mark.parametrize("name", NEEDS)
def test_a_golden_opens_to_the_librarys_own_numbers(name):
    path, expected = golden(name)
    config, params, _ = gguf.load(path)
    digests = dict(zip(expected["names"], expected["digests"], strict=True))
    assert set(arrays(params)) == set(digests) == set(P.shapes(config))
    for key, array in P.walk(params):
        assert array.dtype == np.float32
        assert hashlib.sha256(np.ascontiguousarray(array, "<f4").tobytes()).hexdigest() == digests[key], key


@pytest.mark.parametrize("name", NEEDS)
def test_a_golden_says_transformers_logits(name):
    """Within LOGIT of float64; a matrix that was not turned round, or another epsilon, is off by whole numbers."""
    path, expected = golden(name)
    gpt = GPT.from_pretrained(path, ops="numpy")
    assert np.abs(gpt(expected["ids"]) - expected["logits"]).max() < measure.LOGIT
    c = gpt.config
    shape = (c.n_vocab, c.n_ctx, c.n_embd, c.n_layer, c.n_head, c.n_inner, c.layer_norm_eps, c.eos_id)
    assert shape == (263, 16, 32, 1, 4, 64, 1e-3, 261)
    assert c.tie_word_embeddings == (name == "plain")


def test_a_golden_brings_its_vocabulary():
    tokenizer = gguf.read_tokenizer(measure.HERE / "plain.gguf")
    assert tokenizer.encode("the cat at the<|endoftext|>", "all") == [257, 220, 260, 220, 259, 258, 261]
    assert tokenizer.n_vocab == 262 and tokenizer.eos_id == 261  # the 263rd only fills up


def test_small_weights_without_the_library_are_one_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(InputError, match="expected the library gguf, found none; install it with: pip") as error:
        gguf.load(measure.HERE / "mixed.gguf")
    assert one_line(error).startswith("weights of Q8_0")
    assert gguf.load(measure.HERE / "plain.gguf")[0].n_layer == 1  # 16 and 32 bits need none


def test_float32_is_mapped_and_copied_only_where_asked():
    path = measure.HERE / "plain.gguf"
    for copy in (False, True):
        array = gguf.load(path, copy=copy)[1]["h"][0]["attn"]["c_attn"]["weight"]
        base = array
        while base.base is not None and not isinstance(base, np.memmap):
            base = base.base
        assert isinstance(base, np.memmap) != copy and array.flags.writeable and array.T.flags.c_contiguous


def test_what_is_changed_in_memory_stays_out_of_the_file():
    path = measure.HERE / "plain.gguf"
    before = path.read_bytes()
    for _, array in P.walk(gguf.load(path)[1]):
        array += 1
    assert path.read_bytes() == before


def test_another_dtype():
    params = arrays(gguf.load(measure.HERE / "plain.gguf", np.float64)[1])
    assert {array.dtype for array in params.values()} == {np.dtype(np.float64)}
    with pytest.raises(InputError, match="expected a float dtype"):
        gguf.load(measure.HERE / "plain.gguf", int)


@pytest.mark.parametrize("ops", ["numba", "int8"])
def test_the_twins_open_it_too(ops):
    path, expected = golden("plain")
    gpt = GPT.from_pretrained(path, ops=ops)
    # int8 rounds matrices of 32 columns with weights of 0.3 to 1/127 of the largest: logits up to 8 move by up to 0.5
    assert np.abs(gpt(expected["ids"]) - expected["logits"]).max() < (measure.LOGIT if ops == "numba" else 0.5)


# ---------------------------------------------------------------- what is written


@pytest.mark.parametrize("config", [CONFIG, UNTIED])
def test_float32_comes_back_bit_by_bit(tmp_path, config):
    pytest.importorskip("gguf")
    params, path = make(config), tmp_path / "m.gguf"
    gguf.save_gguf(path, config, params, tokenizer())
    opened, same, read = gguf.load(path)
    assert opened == config and read.fingerprint == tokenizer().fingerprint
    assert_same(same, params)
    gguf.save_gguf(tmp_path / "again.gguf", opened, same, read)
    assert (tmp_path / "again.gguf").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_0"])
def test_smaller_kinds_hold_what_the_library_makes_of_each_matrix(tmp_path, kind):
    library = pytest.importorskip("gguf")
    params, path = make(UNTIED), tmp_path / "m.gguf"
    gguf.save_gguf(path, UNTIED, params, None, kind)
    of_kind = library.GGMLQuantizationType[kind]
    for name, array in P.walk(gguf.load(path)[1]):
        expected = arrays(params)[name]
        if expected.ndim == 2 and name != "wpe.weight":
            rows = expected.T if name.startswith("h.") else expected
            rows = library.quants.dequantize(library.quants.quantize(rows, of_kind), of_kind)
            expected = rows.T if name.startswith("h.") else rows
        np.testing.assert_array_equal(array, expected, err_msg=name)
    gguf.save_gguf(tmp_path / "again.gguf", *gguf.load(path)[:2], None, kind)
    if kind == "F16":  # rounded once; a block of small weights gets another scale when it is rounded again
        assert (tmp_path / "again.gguf").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", gguf.WRITTEN)
def test_the_librarys_reader_finds_the_same(tmp_path, kind):
    library = pytest.importorskip("gguf")
    path = tmp_path / "m.gguf"
    gguf.save_gguf(path, UNTIED, make(UNTIED), tokenizer(), kind)
    reader, header = library.GGUFReader(path), read_gguf_header(path)
    assert [tensor.name for tensor in reader.tensors] == list(header.tensors)
    for tensor in reader.tensors:
        info = header.tensors[tensor.name]
        assert (tensor.tensor_type.name, tensor.data_offset) == (info.dtype, info.start)
        assert tuple(tensor.shape[::-1]) == info.shape and info.end - info.start == tensor.n_bytes
    said = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert said.keys() == header.keys.keys()
    for name, content in said.items():
        np.testing.assert_array_equal(header.keys[name], content)
    assert said["gpt2.feed_forward_length"] == 64 and said["tokenizer.ggml.tokens"][260] == "[PAD260]"
    assert said["tokenizer.ggml.token_type"] == [1] * 259 + [3, 5] and said["tokenizer.ggml.merges"][0] == "a t"
    assert said["tokenizer.ggml.add_bos_token"] is False and said["tokenizer.ggml.eos_token_id"] == 259


def test_the_kinds_are_as_large_as_the_library_says():
    library = pytest.importorskip("gguf")
    for number, (name, per_block, n_bytes) in KINDS.items():
        kind = library.GGMLQuantizationType[name]
        assert kind == number and library.GGML_QUANT_SIZES[kind] == (per_block, n_bytes)


def test_names_are_those_that_the_library_maps():
    library = pytest.importorskip("gguf")
    known = library.get_tensor_name_map(library.MODEL_ARCH.GPT2, CONFIG.n_layer)
    for name in P.shapes(UNTIED):
        theirs = name if name.startswith("lm_head") else f"transformer.{name}"
        assert known.get_name(theirs, (".weight", ".bias")) == gguf.gguf_name(name)


def test_a_large_quantized_tensor_of_another_kind(tmp_path):
    """Q6_K, in which llama-quantize leaves token_embd, opens: the library reads it; nobody here writes it."""
    library = pytest.importorskip("gguf")
    keys, tensors = raw.model(n_embd=256, n_head=4)
    blocks = np.random.default_rng(1).integers(0, 60, (7, 210), dtype=np.uint8)  # a small scale: no NaN
    tensors[0] = raw.tensor("token_embd.weight", blocks, 14, (256, 7))
    (tmp_path / "m.gguf").write_bytes(raw.build(keys, tensors))
    wte = gguf.load(tmp_path / "m.gguf")[1]["wte"]["weight"]
    np.testing.assert_array_equal(wte, library.quants.dequantize(blocks, library.GGMLQuantizationType.Q6_K))
    assert gguf.read_dtypes(tmp_path / "m.gguf") == ["F32", "Q6_K"]


def test_an_output_that_repeats_the_embedding_is_left_out(tmp_path):
    keys, tensors = raw.model()
    twin = np.frombuffer(tensors[0][1], np.float32).reshape(7, 8)
    for array, is_tied in ((twin, True), (np.nextafter(twin, 1), False)):
        path = tmp_path / f"{is_tied}.gguf"
        path.write_bytes(raw.build(keys, [*tensors, raw.tensor("output.weight", array)]))
        config, params, _ = gguf.load(path)
        assert config.tie_word_embeddings == is_tied and ("lm_head" in params) != is_tied


def test_sinusoidal_positions_are_written_as_a_table(tmp_path):
    pytest.importorskip("gguf")
    config = CONFIG.replace(positions="sinusoidal")
    params, ids = make(config), [3, 1, 4, 1, 5]
    gguf.save_gguf(tmp_path / "m.gguf", config, params)
    gpt = GPT.from_pretrained(tmp_path / "m.gguf", ops="numpy")
    assert gpt.config.positions == "learned"
    np.testing.assert_array_equal(gpt.params["wpe"]["weight"], checkpoint.position_table(config))
    # the same numbers, but added in one place and multiplied by turned matrices: logits of order 10 to rounding
    np.testing.assert_allclose(gpt(ids), GPT(config, params)(ids), rtol=0, atol=1e-4)


def test_bytes_behind_padding(tmp_path):
    """A file may end with its last tensor, or with that one's padding."""
    data = raw.build(*raw.model(n_embd=10))
    for end in (len(data), len(data) - 24):  # the last one has 40 bytes of 64
        (tmp_path / "m.gguf").write_bytes(data[:end])
        assert gguf.load(tmp_path / "m.gguf")[0].n_embd == 10


# ---------------------------------------------------------------- what cannot be written


def refused(path, match, config=CONFIG, params=None, tokenizer=None, kind="F32"):
    with pytest.raises(InputError, match=match) as error:
        gguf.save_gguf(path, config, make(config) if params is None else params, tokenizer, kind)
    one_line(error)
    assert not list(path.parent.iterdir())  # nothing written, nothing left over


def test_what_has_no_place_is_refused_and_nothing_written(tmp_path, monkeypatch):
    path = tmp_path / "m.gguf"
    refused(path, "expected activation gelu_new, got relu", CONFIG.replace(activation="relu"))
    odd = CONFIG.replace(n_embd=48)
    refused(path, "wte.weight: expected rows of a multiple of 32 weights for Q8_0, got 48", odd, kind="Q8_0")
    refused(path, "kind: expected 'F32' or 'F16'", kind="Q5_1")
    refused(path, "parameters: got", UNTIED.replace(tie_word_embeddings=True), make(UNTIED))
    pytest.importorskip("gguf")
    big = tokenizer()
    refused(path, "expected at most n_vocab = 200 tokens, got 260", CONFIG.replace(n_vocab=200, eos_id=None), None, big)
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    refused(path, "a GGUF file: expected the library gguf")


@pytest.mark.parametrize("value, kind", [(65_600, "F16"), (np.inf, "Q8_0"), (np.nan, "Q4_0"), (1e6, "Q4_0")])
def test_numbers_too_large_for_a_kind_are_refused(tmp_path, value, kind):
    params = make(CONFIG)
    params["h"][1]["mlp"]["c_fc"]["weight"][3, 2] = value
    refused(tmp_path / "m.gguf", "h.1.mlp.c_fc.weight: expected numbers within", CONFIG, params, None, kind)


def test_a_disk_that_refuses_leaves_nothing(tmp_path):
    pytest.importorskip("gguf")
    with pytest.raises(FileError, match="cannot be written"):
        gguf.save_gguf(tmp_path / "nowhere" / "m.gguf", CONFIG, make(CONFIG))
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- hostile files


def opens(path, data):
    path.write_bytes(data)
    return gguf.load(path)


def said(path, data):
    """What is said to a file that must be refused, within a few megabytes."""
    tracemalloc.start()
    with pytest.raises(FileError) as error:
        opens(path, data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000_000
    text = one_line(error)
    assert text.startswith(str(path))
    return text


def changed(keys, **values):
    """Keys with other values; a None takes one away. `__` stands for a dot."""
    values = {name.replace("__", "."): value for name, value in values.items()}
    found = [(name, values.pop(name, value)) for name, value in keys]
    return [(name, value) for name, value in [*found, *values.items()] if value is not None]


def huge(kind, n):
    """An array that claims n values and has none."""
    return raw.Raw(raw.struct.pack("<IIQ", raw.ARRAY, kind, n))


NAN = raw.Raw(raw.struct.pack("<If", 6, float("nan")))
KEYS = {
    "expected 'gpt2', got llama": {"general__architecture": "llama"},
    "general.architecture: expected 'gpt2', got None": {"general__architecture": None},
    "split.count: expected 1, got 3; join the parts": {"split__count": 3},
    "general.architecture: expected one number or text, got a list of 2": {"general__architecture": [1, 2]},
    "split.count: expected one number or text, got a list of 2": {"split__count": [1, 1]},
    "eos_token_id: expected one number or text, got a list of 2": {"tokenizer__ggml__eos_token_id": [1, 2]},
    "tokenizer.ggml.model: expected one number or text, got a list of 0": {"tokenizer__ggml__model": huge(4, 0)},
    "gpt2.block_count: expected a whole number, got none": {"gpt2__block_count": None},
    "gpt2.block_count: expected a whole number, got many": {"gpt2__block_count": "many"},
    "expected 2,000,000,000 blocks as gpt2.block_count says, got 1": {"gpt2__block_count": 2_000_000_000},
    "expected 2 blocks as gpt2.block_count says, got 1": {"gpt2__block_count": 2},
    "n_layer: expected a whole number of at least 1": {"gpt2__block_count": 0},
    "n_embd: expected a multiple of n_head = 3": {"gpt2__attention__head_count": 3},
    "expected a whole number, got ['2']": {"gpt2__attention__head_count": ["2"]},
    "expected a float, got 5": {"gpt2__attention__layer_norm_epsilon": 5},
    "layer_norm_eps: expected a positive number": {"gpt2__attention__layer_norm_epsilon": NAN},
    "token_embd.weight: expected shape [7, 16], got [7, 8]": {"gpt2__embedding_length": 16},
    "blk.0.ffn_up.weight: expected shape [33, 8]": {"gpt2__feed_forward_length": 33},
    "position_embd.weight: expected shape [9, 8]": {"gpt2__context_length": 9},
    "eos_id: expected an id below n_vocab = 7, got 7": {"tokenizer__ggml__eos_token_id": 7},
    "eos_id: expected an id below n_vocab = 7, got 'x'": {"tokenizer__ggml__eos_token_id": "x"},
    "expected a power of two up to 65,536, got 48": {"general__alignment": 48},
    "expected a power of two up to 65,536, got 0": {"general__alignment": 0},
    "expected a power of two up to 65,536, got 2147483648": {"general__alignment": 1 << 31},
    "k: expected a text in UTF-8": {"k": b"\xff\xfe"},
    "k: expected a number, a text or an array, got kind 77": {"k": raw.Raw(raw.struct.pack("<I", 77))},
    "k: expected texts within": {"k": huge(raw.TEXT, 1 << 60)},
    "k: expected at most": {"k": huge(4, 1 << 61)},
    "k: expected an array of numbers or texts, got kind 9": {"k": huge(raw.ARRAY, 3)},
    "got 18446744073709551615": {"k": raw.Raw(raw.struct.pack("<IQ", raw.TEXT, 2**64 - 1))},
}


@pytest.mark.parametrize("expected", KEYS)
def test_keys_that_lie(tmp_path, expected):
    keys, tensors = raw.model()
    text = said(tmp_path / "m.gguf", raw.build(changed(keys, **KEYS[expected]), tensors))
    assert expected.replace("18446744073709551615", "18,446,744,073,709,551,615") in text


def swap(tensors, name, **how):
    """The tensors with one told otherwise."""
    at = [line[8:].startswith(name.encode()) for line, *_ in tensors].index(True)
    data = np.frombuffer(tensors[at][1], np.float32)
    return [*tensors[:at], raw.tensor(name, how.pop("array", data), **how), *tensors[at + 1 :]]


TENSORS = {
    "expected shape [24, 8], got [8, 24]": lambda t: swap(t, "blk.0.attn_qkv.weight", dims=(24, 8)),
    "expected a start at byte": lambda t: swap(t, "blk.0.attn_qkv.weight", dims=(8, 24), offset=32),
    "expected a start at byte ": lambda t: swap(t, "blk.0.attn_qkv.weight", dims=(8, 24), offset=1 << 62),
    "bytes for F32 [4611686018427387904, 1073741824]": lambda t: swap(
        t, "output_norm.bias", dims=(1 << 30, 1 << 62)),
    "expected 1 to 4 dimensions, got 0": lambda t: swap(t, "output_norm.bias", dims=()),
    "expected 1 to 4 dimensions, got 5": lambda t: swap(t, "output_norm.bias", dims=(8, 1, 1, 1, 1)),
    "expected rows of a multiple of 1 weights for F32, got [0]": lambda t: swap(t, "output_norm.bias", dims=(0,)),
    "expected rows of a multiple of 32 weights for Q8_0": lambda t: swap(
        t, "output_norm.bias", kind=8, dims=(8,)),
    "got number 99; quantize the model": lambda t: swap(t, "output_norm.bias", kind=99, dims=(8,)),
    "output_norm.bias: expected the tensor, got none (1 missing in all)": lambda t: t[:-1],
    "token_embd.weight: expected the tensor, got none": lambda t: t[1:],
    "expected one tensor of this name, got two": lambda t: [*t, t[-1]],
    "extra: expected only the tensors of a GPT-2": lambda t: [*t, raw.tensor("extra", np.zeros(8, "f4"))],
    "tensor 16: expected at most": lambda t: t,
}  # fmt: skip


@pytest.mark.parametrize("expected", TENSORS)
def test_tensors_that_lie(tmp_path, expected):
    keys, tensors = raw.model()
    more = {"n_tensors": 60_000} if "tensor 16" in expected else {}
    assert expected.strip() in said(tmp_path / "m.gguf", raw.build(keys, TENSORS[expected](tensors), **more))


def test_the_beginning_and_the_end(tmp_path):
    keys, tensors = raw.model()
    path, good = tmp_path / "m.gguf", raw.build(keys, tensors)
    assert opens(path, good)[0].n_vocab == 7
    assert "expected b'GGUF', got b'GGML'" in said(path, raw.build(keys, tensors, magic=b"GGML"))
    assert "version: expected 2 or 3, got 1" in said(path, raw.build(keys, tensors, version=1))
    assert "big-endian" in said(path, raw.build(keys, tensors, version=3 << 24))
    assert "number of tensors: expected at most 65,536" in said(path, raw.build(keys, tensors, n_tensors=1 << 63))
    assert "number of keys: expected at most 4,096" in said(path, raw.build(keys, tensors, n_keys=1 << 40))
    assert "expected one key of this name, got two" in said(path, raw.build([*keys, keys[0]], tensors))
    assert "the whole file: expected" in said(path, good + b"\0")
    for end in range(0, len(good), 37):
        said(path, good[:end])
    assert opens(path, raw.build(keys, tensors, version=2))[0].n_vocab == 7
    with pytest.raises(FileError, match="expected a regular file"):
        gguf.load(tmp_path)


def test_a_header_may_not_be_endless(tmp_path):
    """The limit is far above what any vocabulary needs; what lies behind it is not read."""
    keys, tensors = raw.model()
    many = raw.Raw(raw.struct.pack("<IIQ", raw.ARRAY, 0, MAX_HEADER) + bytes(MAX_HEADER))
    path = tmp_path / "m.gguf"
    path.write_bytes(raw.build([*keys, ("k", many)], tensors))
    with pytest.raises(FileError, match="k: expected at most 33,"):
        gguf.load(path)


def vocabulary(**changes):
    tokens, merges = tokenizer().spelled()
    keys = {"model": "gpt2", "pre": "gpt-2", "tokens": tokens, "merges": [" ".join(pair) for pair in merges]}
    keys |= {name: change(keys.get(name)) for name, change in changes.items()}
    return [(f"tokenizer.ggml.{name}", value) for name, value in keys.items() if value is not None]


WORDS = {
    "tokenizer.ggml.model: expected 'gpt2', got llama": {"model": lambda _: "llama"},
    "tokenizer.ggml.pre: expected 'gpt-2', got llama-bpe": {"pre": lambda _: "llama-bpe"},
    "tokenizer.ggml.pre: expected one number or text, got a list of 2": {"pre": lambda _: [3, 4]},
    "tokenizer.ggml.tokens: expected a list of texts, got none": {"tokens": lambda _: None},
    "tokenizer.ggml.merges: expected a list of texts, got 3": {"merges": lambda _: 3},
    "expected every token once, got '!' twice": {"tokens": lambda t: [*t[:-1], "!"]},
    "expected at most n_vocab = 261, got 262": {"tokens": lambda t: [*t, "a", "b"]},
    "merges[0]: expected two tokens with one space between them, got 'a'": {"merges": lambda m: ["a", *m]},
    "merges[3]: expected two tokens with one space between them, got 'a b c'": {"merges": lambda m: [*m[:3], "a b c"]},
    "is no byte, and no earlier merge makes it": {"merges": lambda m: m[::-1]},
    "merges: expected one that makes 'he' (token 257), got none": {
        "merges": lambda m: m[:1], "token_type": lambda _: [1] * 259 + [3]},
    r"merges: expected one that makes '\x1b[2J\nhe' (token 259), got none": {
        "tokens": lambda t: [*t[:259], "\x1b[2J\nhe"], "token_type": lambda _: [1] * 260},
    "has been made by an earlier merge": {"merges": lambda m: [*m, m[0]]},
    "expected all 256 bytes, got 255": {"tokens": lambda t: ["<|first|>", *t[1:]]},
}


@pytest.mark.parametrize("expected", WORDS)
def test_a_vocabulary_that_does_not_fit(tmp_path, expected):
    keys, tensors = raw.model(n_vocab=261)
    assert expected in said(tmp_path / "m.gguf", raw.build([*keys, *vocabulary(**WORDS[expected])], tensors))


def test_a_vocabulary_as_older_converters_wrote_it(tmp_path):
    """Without `pre` and without kinds of tokens, a row more than there are tokens; or no vocabulary at all."""
    keys, tensors = raw.model(n_vocab=261)
    data = raw.build([*keys, *vocabulary(pre=lambda _: None)], tensors)
    assert opens(tmp_path / "m.gguf", data)[2].fingerprint == tokenizer().fingerprint
    assert opens(tmp_path / "m.gguf", raw.build(keys, tensors))[2] is None


def test_seeded_changes_of_a_file_open_or_are_refused_in_a_line(tmp_path):
    rng, path, opened = np.random.default_rng(20250101), tmp_path / "m.gguf", 0
    keys, tensors = raw.model(n_vocab=261)
    good = raw.build([*keys, *vocabulary()], tensors)
    tracemalloc.start()
    for _ in range(150):
        data = bytearray(good)
        for i in rng.integers(0, 9000, rng.integers(1, 4)):  # header and vocabulary
            data[i] = rng.integers(256)
        if rng.integers(4) == 0:
            start, end = sorted(rng.integers(0, len(data), 2))
            del data[start : min(end, start + 40)]
        try:
            with np.errstate(all="ignore"):
                opens(path, bytes(data))
            opened += 1
        except InputError as error:
            assert str(error).isprintable() and len(str(error)) < 400 + len(str(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0 < opened < 150 and peak < 20_000_000
