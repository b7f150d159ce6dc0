"""The file that is made for llama.cpp, and what its engine says, beside ours. No time is ever asserted."""

import subprocess

import pytest

from nanogpt_np import GPT
from nanogpt_np.bench import llama, roster
from nanogpt_np.bench import ours as bench_ours
from nanogpt_np.bench import suites as room
from nanogpt_np.bench.suites import Bench, BenchOptions
from nanogpt_np.storage.gguf_header import read_gguf_header
from nanogpt_np.tokenizer.bpe import Tokenizer

KINDS = ("F32", "Q8_0", "Q4_0")


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


# ---------------------------------------------------------------- the file; its content is storage's


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


@pytest.mark.peers
@pytest.mark.parametrize("kind", KINDS)
def test_the_maker_writes_all_matrices_in_a_kind(model, kind):
    pytest.importorskip("gguf")
    header = read_gguf_header(make(model, kind)["gguf"])
    matrices = {name: info.dtype for name, info in header.tensors.items() if len(info.shape) == 2}
    assert matrices.pop("position_embd.weight") == "F32" and set(matrices.values()) == {kind}
    assert header.keys["tokenizer.ggml.tokens"][511] == "<|endoftext|>"


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
