"""The benchmark's machinery, with engines that are made up and models that are tiny. No time is ever asserted."""

import json
import subprocess
import sys

import pytest

from nanogpt_np.bench import growth as bench_growth
from nanogpt_np.bench import ours as bench_ours
from nanogpt_np.bench import roster as bench_roster
from nanogpt_np.bench import suites as room
from nanogpt_np.bench import workers as bench_workers
from nanogpt_np.bench.checks import (
    add_limits,
    bytes_per_token,
    check_equal,
    check_ids,
    check_losses,
    describe_bandwidth,
    kind_of,
    make_rows,
    weight_count,
)
from nanogpt_np.bench.ours import Bandwidth
from nanogpt_np.bench.report import Row, Table, format_machine, format_table, number, ratio, ratios, summary, to_json
from nanogpt_np.bench.suites import Bench, BenchOptions
from nanogpt_np.bench.workers import Command, Others, Run, Worker, WorkerError, machine, race
from nanogpt_np.cli import entry as cli
from nanogpt_np.config import PRESETS
from nanogpt_np.errors import InputError
from nanogpt_np.tokenizer.bpe import Tokenizer

IDS = [5, 6, 7, 8]
SECONDS = {"numpy": 0.2, "numba": 0.1, "transformers": 0.4, "ctranslate2 float32": 0.1, "ctranslate2 int8": 0.05}


class Fake:
    """An engine that says IDS, or what `says` has for it, and notes in `turns` that it was asked.

    As a judge, it finds every text as far from the best as `says` has for "judge".
    """

    about = "made up"

    def __init__(self, engine, turns, says=None):
        self.engine, self.turns, self.says = engine, turns, says or {}

    def ask(self, request):
        self.turns.append(self.engine)
        if self.engine == "bandwidth":
            return {"seconds": [0.5] * request["n_new"], "n_bytes": 10**10}
        if "texts" in request:
            return {"gaps": [self.says.get("judge", 3.0) for _ in request["texts"]]}
        ids = self.says.get(self.engine, IDS)
        if isinstance(ids, Exception):
            raise ids
        ids = ids[: request.get("n_new", 0)]
        return {"ids": ids, "seconds": [SECONDS.get(self.engine, 1.0)] * len(ids), "peak_bytes": 3 * 2**20}

    def close(self):
        self.turns.append(f"{self.engine} closed")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


@pytest.fixture
def everyone(monkeypatch):
    """As if every peer were installed."""
    monkeypatch.setattr(bench_roster, "installed", lambda modules: True)


@pytest.fixture
def alone(monkeypatch):
    """As if no peer were installed, and ops were NumPy alone, which needs no compiling."""
    monkeypatch.setattr(bench_roster, "installed", lambda modules: False)
    monkeypatch.setattr(room, "ENGINES", ["numpy"])
    monkeypatch.setattr(room, "TRAINERS", ["numpy"])
    monkeypatch.setattr(bench_growth, "ENGINES", ["numpy"])


def fake_bench(tmp_path, turns, says=None, **options):
    options = BenchOptions(**{"size": "tiny", "runs": 3, "new_tokens": 4, **options})
    return Bench(options, 1, tmp_path, lambda job, engine, settings: Fake(engine, turns, says), pause=0.0)


def rows_of(table):
    return {row.engine: row for row in table.rows}


# ---------------------------------------------------------------- numbers


def test_summary_and_ratio():
    assert summary([3.0, 1.0, 2.0]) == {"median": 2.0, "min": 1.0, "max": 3.0}
    ours, other = Row("a", "ours", [30.0, 40.0]), Row("b", "peer", [20.0, 20.0])
    assert ratio(ours, other, True) == {"median": 1.75, "min": 1.5, "max": 2.0}
    assert ratio(ours, other, False)["max"] == pytest.approx(20 / 30)  # less is faster: 20 s against our 30 s
    assert ratio(ours, Row("c", "peer"), True) is None


def test_ratios_pair_the_values_of_one_round():
    """A machine that halves its speed between rounds changes no ratio."""
    ours, other = Row("a", "ours", [10.0, 5.0, 20.0]), Row("b", "peer", [5.0, 2.5, 10.0])
    assert ratio(ours, other, True) == {"median": 2.0, "min": 2.0, "max": 2.0}


def test_ratios_are_ours_against_everyone_else():
    rows = [Row("a", "ours", [4.0]), Row("b", "ours", [2.0]), Row("c", "peer", [1.0]), Row("x", "limit", [9.0])]
    found = ratios(Table("t", "s", "u", True, rows))
    assert {ours: list(others) for ours, others in found.items()} == {"a": ["b", "c"], "b": ["a", "c"]}
    assert found["a"]["c"]["median"] == 4.0


@pytest.mark.parametrize("value, text", [(1234.5, "1,234"), (99.95, "100.0"), (12.345, "12.3"), (0.1234, "0.123")])
def test_number(value, text):
    assert number(value) == text


def test_weights_read_per_token():
    """GPT-2 124M without its positions; an int8 engine reads a quarter of the bytes."""
    assert weight_count(PRESETS["gpt2"]) == 124_439_808 - 1024 * 768
    untied = PRESETS["gpt2"].replace(tie_word_embeddings=False)
    assert weight_count(untied) == weight_count(PRESETS["gpt2"])
    kinds = {"numpy": "float32", "int8": "int8", "ctranslate2 int8": "int8", "ctranslate2 float32": "float32",
             "llama.cpp Q8_0": "Q8_0", "int4": "int4"}  # fmt: skip
    assert {name: kind_of(name) for name in kinds} == kinds
    n, n_vocabulary = weight_count(PRESETS["gpt2"]), 50257 * 768
    assert bytes_per_token("float32", PRESETS["gpt2"]) == 4 * n and bytes_per_token("int8", PRESETS["gpt2"]) == n
    assert bytes_per_token("int4", PRESETS["gpt2"]) == 18 / 32 * (n - n_vocabulary) + n_vocabulary


def test_share_of_the_limit():
    config = PRESETS["gpt2"]
    per_second = 1e9 / (4 * weight_count(config))
    rows = [Row("numpy", "ours", [per_second / 2] * 3), Row("int8", "ours", [per_second] * 3)]
    passes = ([2.0, 0.5, 0.5], [1.0], [0.1])  # seconds of each pass, of a round as fast as the limit and a faster one
    bandwidth = Run([{"n_bytes": 10**9, "seconds": seconds} for seconds in passes])
    *engines, float32, int8 = add_limits(rows, bandwidth, config)
    assert float32.values == pytest.approx([per_second, per_second, 10 * per_second])
    assert [row.of_limit for row in engines] == pytest.approx([0.5, 0.25])
    assert "1.0 GB/s (1.0 – 10.0, the fastest single pass 10.0)" in describe_bandwidth(bandwidth)
    assert int8.values == pytest.approx([4 * value for value in float32.values])
    assert {row.kind for row in (float32, int8)} == {"limit"}
    for answer, slower in zip(bandwidth.answers, (1, 2, 4), strict=True):  # two tokens, each followed by a sum
        seconds = slower * weight_count(config) / 1e9
        answer["in_turn"] = {"int8": ([seconds, 3 * seconds], [slower * 0.5, slower * 1.5])}
    assert [row.of_limit for row in add_limits(rows, bandwidth, config)[:2]] == pytest.approx([0.5, 0.5])
    words = describe_bandwidth(bandwidth)
    assert words.endswith("in the same rounds; int8: the share of tokens that took turns with these sums")


# ---------------------------------------------------------------- the race


def test_tokens_and_sums_take_turns_and_the_first_token_does_not_count():
    turns = []
    limit = Bandwidth.__new__(Bandwidth)
    limit.array, limit.sum = None, lambda _: turns.append("sum")
    tokens, sums = limit._in_turn(turns.append("token") for _ in range(3))
    assert turns == ["token", "sum"] * 3 and len(tokens) == len(sums) == 2


def test_a_turn_may_begin_with_a_text_that_is_not_timed():
    asked = []

    class Speaker:
        def stream(self, ids, n_new, **settings):
            asked.append(settings.get("speculate"))
            return iter([1] * n_new)

    ours = bench_ours.Ours.__new__(bench_ours.Ours)
    ours.gpt = Speaker()
    for request, expected in (({"awake": True}, [None, 7]), ({}, [7])):
        asked.clear()
        answer = ours.run({"ids": [5], "n_new": 3, "speculate": 7, **request})
        assert asked == expected and answer["ids"] == [1] * 3 and len(answer["seconds"]) == 3


def test_engines_take_turns_and_the_first_round_does_not_count():
    turns = []
    rounds = [{"n_new": n} for n in (1, 2, 3)]
    runs = race("test", ["a", "b"], lambda engine: Fake(engine, turns), rounds)
    assert turns == ["a", "b", "a", "b", "a", "b", "b closed", "a closed"]
    assert [len(answer["ids"]) for answer in runs["a"].answers] == [2, 3]


def test_fresh_engines_are_closed_after_every_turn():
    turns = []
    race("test", ["a"], lambda engine: Fake(engine, turns), [{}, {}], fresh=True)
    assert turns[:4] == ["a", "a closed", "a", "a closed"]


def test_an_engine_that_fails_does_not_stop_the_others():
    def open_engine(engine):
        if engine == "gone":
            raise WorkerError("no such file")
        return Fake(engine, [], {"broken": WorkerError("out of memory")})

    runs = race("test", ["a", "gone", "broken"], open_engine, [{"n_new": 2}] * 3)
    a, gone, broken = make_rows(runs, lambda answer: 1.0, ["a"])
    assert a.values == [1.0, 1.0] and not a.note
    assert gone.note == "failed: no such file" and broken.note == "failed: out of memory"
    assert gone.values == broken.values == []


# ---------------------------------------------------------------- decode and prefill with fakes


def test_decode(tmp_path, everyone):
    turns = []
    table = room.decode(fake_bench(tmp_path, turns))
    rows = rows_of(table)
    assert rows["numpy"].values == pytest.approx([3 / 0.6] * 3)  # the first of four tokens is the prompt's
    assert rows["transformers"].kind == "peer" and rows["numpy"].kind == "ours"
    assert ratios(table)["numba"]["transformers"]["median"] == pytest.approx(4.0)
    assert rows["numpy"].peak_mib == 3.0 and rows["numpy"].of_limit > 0
    assert rows["limit of float32"].values and rows["limit of int8"].values
    raced = [turn for turn in turns if turn in SECONDS]
    assert raced[-5:] == list(SECONDS)  # in turn, in this order
    made = [f"llama.cpp {kind}" for kind in ("F32", "Q8_0", "Q4_0")]
    assert [row.engine for row in table.rows if "llama" in row.engine] == made
    assert [rows[name].of_limit / rows[made[0]].of_limit for name in made] == pytest.approx([1, 34 / 128, 18 / 128])
    assert rows["limit of Q4_0"].values[0] == pytest.approx(rows["limit of float32"].values[0] * 128 / 18)


def test_a_wrong_engine_is_caught(tmp_path, everyone):
    """Its ids differ in the third place: no values, no ratios, and the note says where."""
    wrong = {"transformers": [5, 6, 9, 8], "ctranslate2 int8": [5, 6, 9, 8], "ctranslate2 float32": [5, 6, 7]}
    table = room.decode(fake_bench(tmp_path, [], wrong))
    rows = rows_of(table)
    assert rows["transformers"].values == [] and "from number 3 on" in rows["transformers"].note
    assert rows["ctranslate2 float32"].values == []  # one token too few
    assert "transformers" not in ratios(table)["numpy"]
    assert rows["ctranslate2 int8"].values and "first 2 of 4 ids" in rows["ctranslate2 int8"].note  # int8 may differ
    assert "not compared" in format_table(table)


def test_ids_that_differ_by_rounding_are_told_from_wrong_ones(tmp_path, everyone):
    says = {"transformers": [5, 6, 9, 8], "ctranslate2 float32": [5, 6, 7]}
    near, far = (rows_of(room.decode(fake_bench(tmp_path, [], {**says, "judge": gap}))) for gap in (0.012, 0.4))
    which = "its ids are not those of numpy from number 3 on"
    far_off = "standard deviations of the logits from the best"
    assert near["transformers"].values and near["transformers"].note == f"{which}, but within 0.012 {far_off}"
    assert not far["transformers"].values and far["transformers"].note == f"not compared: {which}, and 0.4 {far_off}"
    assert not near["ctranslate2 float32"].values  # one token too few is no matter of rounding


def test_ids_of_several_texts_are_compared_one_by_one():
    said = [{"texts": [[1, 2], [3, 4]]}, {"texts": [[1, 9], [3, 4]]}]
    runs = {"numpy": Run(said[:1]), "torch": Run(said), "llama.cpp Q8_0": Run(said)}
    rows = make_rows(runs, lambda answer: 1.0, ["numpy"])
    asked = []
    check_ids(rows, runs, lambda pairs: [asked.extend(pairs) or 0.01])
    assert asked == [(0, (1, 9))] and "not those of numpy in 1 of 2 texts, but within 0.01" in rows[1].note
    assert rows[2].note == "says 3 of 4 ids as float32 does; random weights, so no measure"

    def fails(pairs):
        raise WorkerError("no memory")

    check_ids(rows, runs, fails)
    assert rows[1].note.endswith("not those of numpy in 1 of 2 texts, and nobody could judge them: no memory")


def test_the_judge_measures_from_the_best(tmp_path):
    gpt = bench_ours.GPT.from_config(bench_ours.SIZES["tiny"], ops="numpy")
    bench_ours.enliven(gpt.params)
    gpt.save(tmp_path)
    judge = bench_ours.Judge("numpy", {"directory": str(tmp_path)})
    said = gpt.generate([1, 2, 3], 4, temperature=0, ignore_eos=True)
    logits = gpt([1, 2, 3, *said])[0, 4]  # what the third new id was chosen from
    other = int(logits.argsort()[-2])
    best, near = judge.run({"texts": [[[1, 2, 3], said], [[1, 2, 3], [*said[:2], other]]]})["gaps"]
    assert best == 0 and near == pytest.approx((logits.max() - logits[other]) / logits.std(), rel=1e-3)


def test_prefill_has_a_table_per_length(tmp_path, everyone):
    tables = list(room.prefill(fake_bench(tmp_path, [])))
    assert [table.title for table in tables] == ["prefill 63"]  # "tiny" has 64 positions
    row = rows_of(tables[0])["numpy"]
    assert row.values == pytest.approx([200.0] * 3)
    assert ratios(tables[0])["numpy"]["transformers"]["median"] == pytest.approx(2.0)  # less is faster


def test_losses_and_digests_are_checked():
    runs = {"numpy": Run([{"loss": 6.0, "sha256": "a"}]), "torch": Run([{"loss": 6.1, "sha256": "b"}])}
    rows = make_rows(runs, lambda answer: 1.0, ["numpy"])
    check_losses(rows, runs)
    assert rows[1].values == [] and "its loss in step 2 is 6.1000" in rows[1].note
    rows = make_rows(runs, lambda answer: 1.0, ["numpy"])
    check_equal(rows, runs, "sha256", "ids")
    assert rows[0].values and rows[1].note == "not compared: not the same ids as numpy"
    runs["torch"].answers[0] |= {"loss": 6.000001, "sha256": "a"}
    rows = make_rows(runs, lambda answer: 1.0, ["numpy"])
    check_losses(rows, runs)
    check_equal(rows, runs, "sha256", "ids")
    assert rows[1].values and not rows[1].note


# ---------------------------------------------------------------- what is shown


def test_table_as_text_and_as_json():
    rows = [
        Row("numpy", "ours", [10.0, 20.0, 30.0], peak_mib=1234.5, of_limit=0.5),
        Row("torch", "peer", [5.0, 10.0, 10.0], "torch 1.2.3; eager"),
        Row("torch again", "peer", [], "torch 1.2.3; eager"),
        Row("gone", "peer", note="failed: it is not here"),
    ]
    table = Table("decode", "tiny", "tokens/s", True, rows, ["a note"])
    text = format_table(table)
    assert "ours, numpy" in text and "1,234" in text and "50%" in text and "10.0 – 30.0" in text
    assert "2.00 (2.00 – 3.00)" in text and "gone: failed: it is not here" in text
    assert text.count("torch 1.2.3; eager") == 1  # of two rows
    lines = text.split("\n")[2:7]
    assert len({line.index("   ") for line in lines[:1]}) == 1 and max(map(len, lines)) <= 120
    found = json.loads(json.dumps(to_json(table)))
    assert found["rows"][0]["median"] == 20.0 and found["ratios"]["numpy"]["torch"]["median"] == 2.0
    assert found["rows"][0]["values"] == [10.0, 20.0, 30.0] and "median" not in found["rows"][3]


def test_missing_peers_are_named(alone):
    assert bench_roster.missing(bench_roster.ENCODE_PEERS) == ["tiktoken (not installed)", "tokenizers (not installed)"]
    assert bench_roster.available(bench_roster.GENERATE_PEERS) == []


def test_machine_is_named():
    about = machine(2, ["torch (not installed)"])
    assert about["cpu"] and about["threads"] == 2 and "numpy" in about["versions"]
    assert about["not_measured"] == ["torch (not installed)"]
    assert "torch (not installed)" in format_machine(about)


def test_other_programs_are_noticed(monkeypatch):
    """10 s by the clock, the CPUs at work for 9, our own processes for 4: the other 5 were somebody else's."""
    clocks = iter([(0.0, 100.0, 1.0), (10.0, 109.0, 5.0), (10.1, 109.1, 5.1), (20.1, 119.1, 15.0), None])
    monkeypatch.setattr(bench_workers, "_clocks", lambda: next(clocks))
    others = Others()
    assert "50% of one CPU" in others.note()[0]
    assert "50% of one CPU" in others.note()[0]  # the second table of the same race
    assert others.note() == []
    assert others.note() == []  # a system that does not say


# ---------------------------------------------------------------- real processes, tiny models


def test_a_run_from_end_to_end(alone, tmp_path, monkeypatch):
    """Our own engine in real processes: a model made, opened, asked; the report in a file."""
    monkeypatch.setattr(room, "PAUSE", 0.0)
    shown, path = [], tmp_path / "bench.json"
    options = BenchOptions(("prefill", "train"), size="tiny", threads=1, runs=1)
    report = room.measure(options, path, shown.append)
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(report))
    titles = [(table["title"], [row["engine"] for row in table["rows"]]) for table in report["tables"]]
    assert titles == [("prefill 63", ["numpy"]), ("train", ["numpy"])]
    assert all(len(row["values"]) == 1 for table in report["tables"] for row in table["rows"])
    assert "torch (not installed)" in shown[0] and len(shown) == 3


def test_growth_in_real_processes(alone, tmp_path):
    bench = Bench(BenchOptions(size="tiny", runs=2), 1, tmp_path, pause=0.0)
    short, long, batch = bench_growth.grow(bench)
    assert [table.title for table in (short, long, batch)] == ["context 16", "context 40", "8 texts at once"]
    assert all(len(table.rows[0].values) == 2 for table in (short, long, batch))
    assert "numpy: a token takes" in long.notes[0] and "times the tokens of one text" in batch.notes[0]


def test_growth_compares_round_by_round():
    runs = [{"numpy": Run([{"seconds": [9, a, a]}, {"seconds": [9, b, b]}])} for a, b in ((1, 2), (2, 4), (4, 8))]
    assert "takes 2.00 times as long" in bench_growth._compared("context", "numpy", runs[0], runs[1], 1)
    assert bench_growth._compared("batch", "numpy", runs[0], runs[2], 8) == "numpy: 2.00 times the tokens of one text"
    assert bench_growth._compared("context", "numpy", {"numpy": Run()}, runs[0], 1) == ""


@pytest.mark.slow
def test_guesses_in_real_processes(alone, tmp_path):
    table = bench_growth.speculate(Bench(BenchOptions(runs=1), 1, tmp_path, pause=0.0))
    assert [row.engine for row in table.rows] == ["numpy", "numpy, up to 7 guesses"]
    assert all(row.values and not row.note for row in table.rows)  # a note would say that the ids differ


def test_what_int8_and_int4_cost(tmp_path):
    data = tmp_path / "text.txt"
    data.write_text("Once upon a time there was a cat. " * 20, encoding="utf-8")
    (words,) = bench_growth.loss_of_small_weights(Bench(BenchOptions(data=str(data)), 1, tmp_path, pause=0.0))
    assert words.startswith("loss of the stories model: ") and words.endswith("%")
    (words,) = bench_growth.loss_of_small_weights(Bench(BenchOptions(), 1, tmp_path, pause=0.0))
    assert "name a text with --data" in words


@pytest.mark.slow
def test_tokenize_in_real_processes(alone, tmp_path):
    data = tmp_path / "text.txt"
    data.write_text("Once upon a time. " * 50, encoding="utf-8")
    bench = Bench(BenchOptions(runs=1, data=str(data)), 1, tmp_path, pause=0.0)
    cold, warm = room.tokenize(bench)
    assert "cold" in cold.setting and "warm" in warm.setting and "text.txt" in cold.setting
    assert len(cold.rows[0].values) == len(warm.rows[0].values) == 1


def test_a_worker_says_in_one_line_what_went_wrong(tmp_path):
    with pytest.raises(WorkerError, match="FileError: .*expected a model directory"):
        Worker("generate", "numpy", {"directory": str(tmp_path / "none"), "threads": 1})


def test_a_worker_that_dies_is_noticed(tmp_path):
    Tokenizer.gpt2().save(tmp_path)
    text = tmp_path / "text.txt"
    text.write_text("a", encoding="utf-8")
    with Worker("encode", "encode", {"directory": str(tmp_path), "threads": 1, "data": str(text)}) as worker:
        worker.process.kill()
        worker.process.wait()
        with pytest.raises(WorkerError, match="ended with status"):
            worker.ask({"times": 1})


def test_command_times_a_whole_process():
    good = Command([sys.executable, "-c", "print('hello')"], 1, "")
    assert good.ask({})["text"] == "hello"
    bad = Command([sys.executable, "-c", "raise SystemExit('no model')"], 1, "")
    with pytest.raises(WorkerError, match="no model"):
        bad.ask({})


def test_command_finds_what_python_compiled_before(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    code = "import sys; print(sys.dont_write_bytecode, sys.pycache_prefix)"
    warm = Command([sys.executable, "-c", code], 1, "", bytecode=tmp_path)
    assert warm.ask({})["text"] == f"False {tmp_path}"


def test_start_in_real_processes(alone, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "OPS", ["numpy"])
    (table,) = room.start(Bench(BenchOptions(size="tiny", runs=1), 1, tmp_path, pause=0.0))
    assert [row.engine for row in table.rows] == ["numpy"] and table.rows[0].values and not table.rows[0].note


def test_the_cut_vocabulary_is_gpt2s():
    assert bench_ours.cut_vocabulary(50257).fingerprint == Tokenizer.gpt2().fingerprint
    assert bench_ours.cut_vocabulary(512).n_vocab == 512


def test_the_random_model_does_not_repeat_itself():
    """Else an engine that forgets to look back would pass the check of ids."""
    gpt = bench_ours.GPT.from_config(bench_ours.SIZES["tiny"], ops="numpy")
    bench_ours.enliven(gpt.params)
    assert len(set(gpt.generate(list(range(16)), 20, temperature=0, ignore_eos=True))) > 10


# ---------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    "words, expected",
    [
        (["nonsense"], "bench: expected some of decode, prefill, batch, train, tokenize, start, grow, speculate"),
        (["--size", "huge"], "--size: expected one of tiny, small, stories, gpt2, got 'huge'"),
        (["--runs", "0"], "--runs: expected a whole number of at least 1, got 0"),
        (["--isa", "sse"], "--isa: expected one of native, avx2, got 'sse'"),
        (["--new-tokens", "1"], "--new-tokens: expected a whole number of at least 2, got 1"),
        (["--json", "/no/such/folder/x.json"], "/no/such/folder/x.json: expected a folder to write to"),
        (["tokenize", "--data", "/no/such.txt"], "/no/such.txt: expected a text file, found none"),
    ],
)
def test_mistakes_are_one_line(words, expected, capsys):
    assert cli.main(["bench", *words]) == 2
    assert capsys.readouterr().err.startswith(f"nanogpt-np: {expected}")


def test_options_are_checked():
    with pytest.raises(InputError, match="threads: expected a whole number of at least 1"):
        BenchOptions(threads=0)


def test_nothing_heavy_is_imported():
    code = "import sys, nanogpt_np.bench.suites; print(sorted({'numba', 'torch', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr
