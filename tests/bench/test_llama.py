"""llama.cpp's file, read back by its own library, and what its engine says, beside ours. No time is ever asserted."""

import subprocess

import numpy as np
import pytest

from nanogpt_np import GPT
from nanogpt_np import params as P
from nanogpt_np.bench import llama, roster
from nanogpt_np.bench import ours as bench_ours
from nanogpt_np.bench import suites as room
from nanogpt_np.bench.suites import Bench, BenchOptions
from nanogpt_np.tokenizer.bpe import Tokenizer

KINDS = ("F32", "Q8_0", "Q4_0")
# of the largest of 32 weights: half a step, a whole one for Q4_0, which has -8 and no +8; a scale in half precision
STEPS = {"Q8_0": 1 / 254 + 2**-10, "Q4_0": 1 / 8 + 2**-10}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The directory of a tiny model that does not repeat itself."""
    directory = tmp_path_factory.mktemp("models") / "tiny-lively"
    bench_ours.Maker({"directory": str(directory)}).run({"size": "tiny", "lively": True})
    return directory


def settings(model, kind):
    gguf = model.parent / f"{kind}.gguf"
    return {"directory": str(model), "gguf": str(gguf), "threads": 1, "n_ctx": 64}


def make(model, kind):
    llama.GGUFMaker(f"llama.cpp {kind}", settings(model, kind)).run({})
    return settings(model, kind)


# ---------------------------------------------------------------- names; no library is needed


def test_every_parameter_has_a_name_there():
    for size in bench_ours.SIZES.values():
        names = [llama.gguf_name(name) for name in P.shapes(size)]
        assert len(set(names)) == len(names) and names[:2] == ["token_embd.weight", "position_embd.weight"]
    untied = bench_ours.SIZES["tiny"].replace(tie_word_embeddings=False)
    assert "output.weight" in map(llama.gguf_name, P.shapes(untied))


def test_what_is_turned_round_is_what_multiplies():
    linear = [name for name in P.shapes(bench_ours.SIZES["tiny"]) if llama.is_linear(name)]
    parts = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    assert linear == [f"h.{i}.{part}.weight" for i in range(2) for part in parts]


def test_the_vocabulary_in_the_order_of_its_ids(model):
    tokens, merges = llama.read_vocabulary(model)
    assert len(tokens) == 512 and tokens[-1] == "<|endoftext|>" and tokens[:2] == ["!", '"']
    assert len(merges) == 512 - 257 and merges[0] == "Ġ t"


def test_the_file_is_made_once_and_not_in_the_models_folder(tmp_path, model):
    opened = []

    class Silent:
        def __init__(self, *words):
            opened.append(words[:2])
            (tmp_path / "tiny-lively, llama.cpp Q4_0.gguf").touch()

        def ask(self, request):
            return {}

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

    bench = Bench(BenchOptions(size="tiny"), 1, tmp_path, Silent, pause=0.0)
    told = [bench.prepared("llama.cpp Q4_0", bench.settings(model)) for _ in range(2)]
    assert told[0] == told[1] and told[0]["gguf"] == str(tmp_path / "tiny-lively, llama.cpp Q4_0.gguf")
    assert opened == [("make", "llama.cpp Q4_0")]
    assert "gguf" not in bench.prepared("numpy", bench.settings(model))


# ---------------------------------------------------------------- the file, as the library gguf reads it


@pytest.mark.peers
@pytest.mark.parametrize("kind", KINDS)
def test_the_file_holds_the_weights(model, kind):
    gguf = pytest.importorskip("gguf")
    reader = gguf.GGUFReader(make(model, kind)["gguf"])
    found = {tensor.name: tensor for tensor in reader.tensors}
    params = dict(P.walk(GPT.from_pretrained(model, ops="numpy").params))
    assert set(found) == set(map(llama.gguf_name, params))
    for name, array in params.items():
        tensor = found[llama.gguf_name(name)]
        expected = array.T if llama.is_linear(name) else array
        is_small = kind != "F32" and array.ndim == 2 and name != "wpe.weight"
        assert tensor.tensor_type.name == (kind if is_small else "F32"), name
        got = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(expected.shape)
        if not is_small:
            np.testing.assert_array_equal(got, expected)
            continue
        blocks = expected.reshape(-1, 32)
        most = np.abs(blocks).max(-1, keepdims=True) * STEPS[kind]
        assert (np.abs(got.reshape(-1, 32) - blocks) <= most).all(), name


@pytest.mark.peers
def test_the_file_says_what_the_model_is(model):
    gguf = pytest.importorskip("gguf")
    fields = gguf.GGUFReader(make(model, "F32")["gguf"]).fields
    said = {name: field.contents() for name, field in fields.items()}
    shape = {"context_length": 64, "embedding_length": 32, "feed_forward_length": 128, "block_count": 2}
    shape |= {"attention.head_count": 2, "attention.layer_norm_epsilon": pytest.approx(1e-5)}
    assert said["general.architecture"] == "gpt2"
    assert {name: said[f"gpt2.{name}"] for name in shape} == shape
    assert said["tokenizer.ggml.eos_token_id"] == 511 and said["tokenizer.ggml.tokens"][511] == "<|endoftext|>"
    assert said["tokenizer.ggml.token_type"] == [1] * 511 + [3]


# ---------------------------------------------------------------- the engine


@pytest.fixture
def engine(model):
    """Open llama.cpp with a kind of weights."""
    pytest.importorskip("xllamacpp")
    pytest.importorskip("gguf")
    return lambda kind: llama.Llama(f"llama.cpp {kind}", make(model, kind))


@pytest.mark.peers
def test_float32_says_our_ids(model, engine):
    prompt = bench_ours.prompt(bench_ours.SIZES["tiny"], 20)
    answer = engine("F32").run({"ids": prompt, "n_new": 40})
    expected = GPT.from_pretrained(model, ops="numpy").generate(prompt, 40, temperature=0, ignore_eos=True)
    assert answer["ids"] == expected and len(set(expected)) > 20
    assert len(answer["seconds"]) == 40 and min(answer["seconds"]) > 0


@pytest.mark.peers
def test_small_weights_come_near(model, engine):
    """Of 8 bits every id is among our best; a transposed matrix, or a wrong GELU, would be far from that."""
    prompt = bench_ours.prompt(bench_ours.SIZES["tiny"], 20)
    judge = bench_ours.Judge("numpy", {"directory": str(model)})
    opened = engine("Q8_0")
    answer = opened.run({"ids": prompt, "n_new": 40})
    assert judge.run({"texts": [[prompt, answer["ids"]]]})["gaps"][0] < 0.3
    assert "all matrices Q8_0, output too" in opened.about
    assert len(engine("Q4_0").run({"ids": prompt, "n_new": 1})["seconds"]) == 1


@pytest.mark.peers
def test_what_it_refuses_is_one_line(engine):
    with pytest.raises(RuntimeError, match="exceeds the available context size") as error:
        engine("F32").run({"ids": [1] * 64, "n_new": 1})
    assert "\n" not in str(error.value)


@pytest.mark.peers
def test_it_reads_text_as_our_tokenizer_does(model, engine):
    text = "Once upon a time, there was   a cat's hat. 12 née 猫\n\n Well"
    opened = engine("F32")
    told = opened._complete(text, 1)
    assert told["tokens_evaluated"] == len(Tokenizer.load(model).encode(text))


@pytest.mark.peers
def test_the_script_says_what_our_command_says(tmp_path, engine):
    bench = Bench(BenchOptions(size="tiny", runs=1), 1, tmp_path, pause=0.0)
    directory = bench.model("tiny")
    texts = []
    for name in ("numpy", "llama.cpp F32"):
        done = subprocess.run(room.start_command(bench, name, directory), capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        texts.append(done.stdout.decode(errors="replace").strip())
    assert texts[0] == texts[1] and texts[0].startswith(room.PROMPT) and len(texts[0]) > len(room.PROMPT)


@pytest.mark.peers
def test_in_the_suites(monkeypatch, tmp_path, engine):
    monkeypatch.setattr(room, "ENGINES", ["numpy"])
    monkeypatch.setattr(room, "GENERATE_PEERS", roster.GGUF_PEERS)
    bench = Bench(BenchOptions(size="tiny", runs=1, new_tokens=20), 1, tmp_path, pause=0.0)
    for table in (room.decode(bench), *room.prefill(bench)):
        rows = {row.engine: row for row in table.rows}
        assert all(rows[name].values and rows[name].peak_mib for name in roster.GGUF_PEERS), rows
        assert not rows["llama.cpp F32"].note
        assert "limit of Q4_0" in rows or table.title != "decode"
