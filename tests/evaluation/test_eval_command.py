"""nanogpt-np eval and its tasks: numbers with their names, JSON, a file of rows that is gone on with, errors."""

import json

import pytest

from nanogpt_np.cli import entry as cli
from nanogpt_np.evaluation import answers, choices, last_words, results, texts
from nanogpt_np.generation import batches

PASSAGES = [{"text": f"the cat sat on the {word} and"} for word in "mat hat star moon cat on the and sat 月".split()]
QUESTIONS = [{"context": f"the {word}", "choices": ["sat", "moon star", "é"], "label": i % 3}
             for i, word in enumerate("cat hat mat star moon".split())]  # fmt: skip
ANSWERS = [{"context": question["context"], "answer": question["choices"][question["label"]]} for question in QUESTIONS]
TASKS = {"perplexity": (PASSAGES, texts), "lambada": (PASSAGES, last_words), "choices": (QUESTIONS, choices),
         "answers": (ANSWERS, answers)}  # fmt: skip


@pytest.fixture(scope="module")
def directory(make_gpt, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    make_gpt(n_ctx=64).save(path)
    return str(path)


@pytest.fixture
def run(directory, tmp_path, capsys):
    """run("lambada", rows, *more words) -> what is printed."""

    def command(task, rows, *words, status=0):
        data = tmp_path / f"{task}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        assert cli.main(["eval", task, "--model", directory, "--data", str(data), *map(str, words)]) == status
        said = capsys.readouterr()
        return said.out if status == 0 else said.err

    return command


@pytest.mark.parametrize("task", TASKS)
def test_every_number_has_its_name_and_words(run, task):
    rows, room = TASKS[task]
    lines = run(task, rows).splitlines()
    for name, words in room.NUMBERS.items():
        assert [line for line in lines if line.startswith(f"{name} ") and line.endswith(words)], name
    found = json.loads(run(task, rows, "--json"))
    assert set(room.NUMBERS) < set(found) and found["task"] == task
    assert len(lines) == len(found) - 4


@pytest.mark.parametrize("task", TASKS)
def test_a_stopped_run_goes_on_at_any_byte(run, task, tmp_path):
    """The rows and numbers of a run that was cut anywhere are those of one that was not, to the byte."""
    rows, _ = TASKS[task]
    out, words = tmp_path / "rows.jsonl", ("--batch-size", "1", "--json", "--out", tmp_path / "rows.jsonl")
    numbers = run(task, rows, *words)
    whole = out.read_bytes()
    assert len(whole.splitlines()) == len(rows) > results.GROUP
    for n in [0, 1, *range(40, len(whole), 211), len(whole) - 1, len(whole)]:
        out.write_bytes(whole[:n])
        assert run(task, rows, *words) == numbers
        assert out.read_bytes() == whole


def test_a_group_that_is_not_whole_is_measured_again(run, tmp_path):
    """Who is read together decides the last bits, so a run goes on where a group began; but for the last one of all."""
    out, words = tmp_path / "rows.jsonl", ("--batch-size", "1", "--out", tmp_path / "rows.jsonl")
    run("lambada", PASSAGES, *words)
    lines = out.read_bytes().splitlines(keepends=True)
    for n, n_kept in ((10, 10), (9, 8), (8, 8), (7, 4), (3, 0)):
        out.write_bytes(b"".join(lines[:n]))
        found = batches.rows_before(out, lambda i, row: True, len(lines), results.GROUP, "items")
        assert len(found) == n_kept and out.read_bytes() == b"".join(lines[:n_kept])


def test_a_finished_run_is_not_measured_again(run, tmp_path, monkeypatch):
    words = ("--json", "--out", tmp_path / "rows.jsonl")
    numbers = run("lambada", PASSAGES, *words)
    monkeypatch.setattr(last_words, "measure", None)
    assert run("lambada", PASSAGES, *words) == numbers


@pytest.mark.parametrize("change", [("--batch-size", "2"), ("--overflow", "cut"), ("--limit", "3")])
def test_rows_of_another_run_are_kept(run, tmp_path, change):
    out = tmp_path / "rows.jsonl"
    run("lambada", PASSAGES, "--out", out)
    before = out.read_bytes()
    line = run("lambada", PASSAGES, "--out", out, *change, status=2)
    assert "rows.jsonl: expected results of these items with this model and these options, got others in line" in line
    assert out.read_bytes() == before
    line = run("lambada", PASSAGES[1:], "--out", out, status=2)
    assert "got others in line 1" in line and out.read_bytes() == before


def test_examples_stand_before_each_question_and_are_not_asked(run, tmp_path):
    path = tmp_path / "examples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ANSWERS[:2]), "utf-8")
    plain = json.loads(run("answers", ANSWERS[2:], "--json"))
    behind = json.loads(run("answers", ANSWERS, "--json", "--shots", path))
    assert behind["n_questions"] == plain["n_questions"] == 3
    assert behind["answer_perplexity"] != plain["answer_perplexity"]
    header = "".join(f"{row['context']} {row['answer']}\n\n" for row in ANSWERS[:2])
    by_hand = [{"context": header + row["context"], "answer": row["answer"]} for row in ANSWERS[2:]]
    assert json.loads(run("answers", by_hand, "--json"))["answer_perplexity"] == behind["answer_perplexity"]
    drawn = [json.loads(run("answers", ANSWERS[2:], "--json", "--shots", path, "--n-shots", 1, "--seed", seed))
             for seed in range(8)]  # fmt: skip
    assert len({row["answer_perplexity"] for row in drawn}) == 2  # one or the other example
    assert "expected at most 2" in run("answers", ANSWERS, "--shots", path, "--n-shots", 3, status=2)
    assert "leave a question to ask" in run("answers", ANSWERS[:2], "--shots", path, status=2)


def test_wrong_words(run, tmp_path):
    for words, message in (
        (("--limit", "0"), "--limit: expected a whole number of at least 1, got 0"),
        (("--batch-size", "-1"), "--batch-size: expected a whole number of at least 1, got -1"),
    ):
        assert run("lambada", PASSAGES, *words, status=2) == f"nanogpt-np: {message}\n"
    assert "--n-shots: expected --shots FILE with it" in run("choices", QUESTIONS, "--n-shots", 1, status=2)
    line = run("perplexity", PASSAGES, "--stride", 0, status=2)
    assert "--stride: expected a whole number of at least 1, got 0" in line
    assert "line 1" in run("lambada", [{"text": "a " * 200}], status=2)
    assert "use --overflow cut" in run("lambada", [{"text": "a " * 200}], status=2)
    assert "expected a JSON object on each line, got an empty file" in run("choices", [], status=2)


def test_options_before_the_task_count_too(directory, tmp_path, capsys):
    data = tmp_path / "passages.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in PASSAGES), "utf-8")
    assert cli.main(["eval", "--model", directory, "--ops", "numpy", "lambada", "--data", str(data), "--json"]) == 0
    before = json.loads(capsys.readouterr().out)
    assert cli.main(["eval", "lambada", "--model", directory, "--ops", "numpy", "--data", str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == before and before["ops"] == "numpy"
    assert cli.main(["eval", "--held-out", "0.5", "lambada", "--model", directory, "--data", str(data)]) == 2
    assert "--held-out: expected it with a text that training reads" in capsys.readouterr().err
    text = tmp_path / "text.txt"
    text.write_text("the cat<|endoftext|>the mat", "utf-8")
    words = ["--model", directory, "--data", str(text), "--json"]
    for command in (["eval", "perplexity", "--held-out", "0.5"], ["eval", "--held-out", "0.5", "perplexity"]):
        assert cli.main([*command, *words]) == 0
        assert json.loads(capsys.readouterr().out)["n_documents"] == 1


def test_mean():
    assert results.mean([True, False, False, True])[0] == 0.5
    assert str(results.mean([1.0])) == "(1.0, nan)"
