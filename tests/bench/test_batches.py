"""Many texts at once, in real processes and with tiny models. No time is ever asserted."""

import pytest

from nanogpt_np import GPT
from nanogpt_np.bench import batches, roster
from nanogpt_np.bench import ours as bench_ours
from nanogpt_np.bench.suites import Bench, BenchOptions, tables

TINY = bench_ours.SIZES["tiny"]


@pytest.fixture
def model(tmp_path):
    bench_ours.Maker({"directory": str(tmp_path / "model")}).run({"size": "tiny", "lively": True})
    return tmp_path / "model"


def alone(model, prompts, n_new):
    """What each prompt gives by itself."""
    gpt = GPT.from_pretrained(model, ops="numpy")
    return [gpt.generate(ids, n_new, temperature=0, ignore_eos=True) for ids in prompts]


def test_prompts_are_the_same_for_everyone_and_of_different_lengths():
    prompts = batches.prompts_of(TINY, 8, 32)
    lengths = [len(ids) for ids in prompts]
    assert prompts == batches.prompts_of(TINY, 8, 32)
    assert len(lengths) == 8 and min(lengths) == 8 and max(lengths) == 32 and len(set(lengths)) > 4
    assert all(0 <= i < TINY.eos_id for ids in prompts for i in ids)


def test_our_engines_from_end_to_end(monkeypatch, tmp_path):
    """Three tables, tokens of all texts over the time of all, our engines alone."""
    monkeypatch.setattr(roster, "installed", lambda modules: False)
    monkeypatch.setattr(batches, "ENGINES", ["numpy"])
    bench = Bench(BenchOptions(("batch",), size="tiny", runs=2), 1, tmp_path, pause=0.0)
    found = list(tables(bench))
    assert [table.title for table in found] == ["batch 8", "batch 32", "batch 64"]
    assert "prompts of 8 to 32, 32 new tokens each" in found[0].setting
    for table in found:
        assert [row.engine for row in table.rows] == ["numpy"]
        assert len(table.rows[0].values) == 2 and not table.rows[0].note


def test_tokens_of_all_texts_count(monkeypatch, tmp_path):
    """Half a second for all: 8 texts of 32 tokens make 512 per second."""

    class Fake:
        about = "made up"

        def __init__(self, job, engine, settings):
            self.wrong = engine == "torch"
            assert engine == "model" or settings["n_texts"] in batches.BATCHES and settings["n_ctx"] == 64

        def ask(self, request):
            texts = [[7] * request["n_new"] for _ in request.get("prompts", [])]
            if self.wrong:
                texts[3] = texts[3][:-1]
            return {"texts": texts, "seconds": [0.5]}

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

    monkeypatch.setattr(batches, "ENGINES", ["numpy", "torch"])
    monkeypatch.setattr(batches, "GENERATE_PEERS", {})
    found = list(batches.batch(Bench(BenchOptions(size="tiny", runs=1), 1, tmp_path, Fake, pause=0.0)))
    assert [table.rows[0].values for table in found] == [[512.0], [2048.0], [4096.0]]
    assert found[0].rows[1].note == "not compared: its ids are not those of numpy in 1 of 8 texts"


def test_ours_says_what_each_prompt_gives_alone(model):
    prompts = batches.prompts_of(TINY, 5, 30)
    answer = bench_ours.Ours("numpy", {"directory": str(model)}).run({"prompts": prompts, "n_new": 9})
    assert answer["texts"] == alone(model, prompts, 9)
    assert len(answer["seconds"]) == 1


@pytest.mark.peers
@pytest.mark.parametrize("engine", ["transformers", "ctranslate2 float32", "llama.cpp F32"])
def test_each_peer_says_that_too(model, tmp_path, engine):
    for module in roster.GENERATE_PEERS[engine]:
        pytest.importorskip(module)
    prompts = batches.prompts_of(TINY, 8, 30)
    bench = Bench(BenchOptions(size="tiny"), 1, tmp_path, pause=0.0)
    settings = bench.prepared(engine, bench.settings(model, n_ctx=40, n_texts=8))
    with bench.open_worker("generate", engine, settings) as worker:
        answer = worker.ask({"prompts": prompts, "n_new": 9})
    assert answer["texts"] == alone(model, prompts, 9)
    assert len(answer["seconds"]) == 1 and answer["seconds"][0] > 0
