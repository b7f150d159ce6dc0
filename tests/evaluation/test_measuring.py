"""The commands: eval bias, memorization, similarity, prompts, and task; what they print and refuse."""

import json

import pytest

from nanogpt_np.cli import main
from nanogpt_np.evaluation import bias, memorization, similarity, tasks

TEXT = "the cat sat. The hat sat on it. A dog ran off. The cat was big.<|endoftext|>moon and star. A sun. A cat. A hat."


@pytest.fixture(scope="module")
def gpt(make_gpt):
    return make_gpt(n_ctx=96)


@pytest.fixture
def data(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    return str(tmp_path / "text.txt")


@pytest.fixture
def sets(tmp_path):
    one = {"language": "zh", "asks": "?", "source": "made up", "scored": "who", "templates": ["the {what} {who}"],
           "pairs": [["she", "he"]], "whats": {"a": ["cat"], "b": ["hat"]}}  # fmt: skip
    (tmp_path / "sets.json").write_text(json.dumps({"sets": {"mine": one}}))
    return str(tmp_path / "sets.json")


@pytest.fixture
def said(capsys):
    """said("eval", …) -> standard output; the command must succeed."""

    def run(*words):
        assert main([str(word) for word in words]) == 0
        return capsys.readouterr().out

    return run


def test_bias(said, gpt, directory, sets):
    expected = bias.measure(gpt, bias.read_sets(sets)["mine"], seed=2)
    words = ("eval", "bias", "--model", directory, "--sets", sets, "--seed", 2)
    assert said(*words) == f"{expected}\n"
    assert "\n    +" in said(*words, "--words") or "\n    -" in said(*words, "--words")
    assert json.loads(said(*words, "--json"))["difference"]["value"] == pytest.approx(expected.difference.value)


def test_memorization(said, gpt, directory, data):
    expected = memorization.measure(gpt, [data], 0.5, 3, 12, [1, 2], seed=1)
    words = ("eval", "memorization", "--model", directory, "--data", data, "--held-out", 0.5, "--n-texts", 3,
             "--max-new-tokens", 12, "--length", 1, "--length", 2, "--seed", 1)  # fmt: skip
    assert said(*words) == f"{expected}\n"
    assert json.loads(said(*words, "--json"))["shares"]["2"]["value"] == expected.shares[2].value


def test_similarity(said, gpt, directory, data):
    expected = similarity.tell_apart(gpt, similarity.read_stories([data]))
    words = ("eval", "similarity", "--model", directory, "--data", data)
    assert said(*words) == "".join(f"{one}\n" for one in expected)
    assert [json.loads(line)["way"] for line in said(*words, "--json").splitlines()] == [one.way for one in expected]


def test_prompts(said, gpt, directory):
    out = said("eval", "prompts", "--model", directory, "--shots", 0)
    assert len(out.splitlines()) == len([name for name in tasks.NAMES if tasks.find(name).items])
    assert f"{tasks.rate(gpt, tasks.find('sentiment'), 0)}\n" in out


def test_task(said, gpt, directory):
    words = ("task", "sentiment", "the cat.", "--model", directory, "--calibrate")
    expected = tasks.answer(gpt, tasks.find("sentiment"), "the cat.", calibrate=True)
    assert said(*words).splitlines()[0] == expected.text
    assert json.loads(said(*words, "--json")) == expected._asdict()
    out = said("task", "question", "the cat?", "--model", directory, "--show-prompt")
    assert out.startswith("Q: the cat?\nA: ")


@pytest.mark.parametrize("words, message", [
    (["eval", "bias", "--set", "job"], "--set: expected one of pronouns, jobs"),
    (["eval", "bias", "--sets", "/nowhere.json"], "cannot be read"),
    (["eval", "bias", "--seed", "-1", "--set", "jobs"], "--seed: expected a whole number of at least 0"),
    (["eval", "memorization", "--data", "/nowhere.txt"], "cannot be read"),
    (["eval", "memorization"], "--data"),
    (["eval", "memorization", "--data", "text.txt", "--held-out", "0"], "--held-out: expected a share above 0"),
    (["eval", "memorization", "--data", "text.txt", "--n-texts", "0"], "--n-texts: expected a whole number"),
    (["eval", "memorization", "--data", "text.txt", "--length", "0"], "lengths: expected whole numbers from 1"),
    (["eval", "similarity", "--data", "text.txt", "--n-texts", "1"], "--n-texts: expected a whole number of"),
    (["eval", "similarity", "--data", "text.txt", "--held-out", "0.5"], "texts: expected two or more"),
    (["eval", "prompts", "--shots", "9"], "expected at most 6"),
    (["task", "poetry", "x"], "invalid choice"), (["task", "question", ""], "text: expected a text, got ''"),
    (["task", "question", "x", "--shots", "-1"], "shots: expected a whole number of at least 0"),
    (["task", "question", "x", "--seed", "-1", "--shots", "1"], "--seed: expected"),
    (["task", "question", "cat " * 99], "text: expected a prompt of at most n_ctx = 96 tokens"),
    (["task", "question", "x", "--model", "/nowhere/at/all"], "expected a model directory"),
])  # fmt: skip
def test_what_cannot_be_asked(capsys, directory, data, tmp_path, monkeypatch, words, message):
    """One line on standard error, exit status 2, nothing on standard output, nothing written."""
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    try:
        status = main([*words, *([] if "--model" in words else ["--model", directory])])
    except SystemExit as stop:  # argparse, behind its usage
        status = stop.code
    out, err = capsys.readouterr()
    assert status == 2 and out == "" and message in err.splitlines()[-1] and "Traceback" not in err
    assert sorted(tmp_path.iterdir()) == before
