"""generate --json, --file and --out, and the options that name a rule of decoding."""

import json

import pytest

from nanogpt_np import GPT
from nanogpt_np.cli import entry as cli
from nanogpt_np.generation import batches

PROMPTS = ["the cat", "", "the hat sat on the mat, and the cat", "a", "moon and star", "   ", "mat", "on"]
REAL = [(i, text) for i, text in enumerate(PROMPTS, 1) if text.strip()]


@pytest.fixture(scope="module")
def directory(make_gpt, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    make_gpt(n_ctx=48).save(path)
    return str(path)


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(PROMPTS) + "\n", "utf-8")
    return str(path)


def rows(text):
    """JSON lines without what depends on the clock."""
    return [{k: v for k, v in json.loads(line).items() if "seconds" not in k} for line in text.splitlines()]


def numbers(found):
    """The same with numbers rounded: a batch adds up in another order than one text alone."""
    return [row | {"log_probs": [round(x, 3) for x in row["log_probs"]]} for row in found]


def generate(*words):
    return cli.main(["generate", *words])


def test_json_of_one(directory, capsys):
    words = ["the cat", "--model", directory, "--json", "--top-logprobs", "2", "--max-new-tokens", "5", "--seed", "1"]
    assert generate(*words, "--num-return-sequences", "2") == 0
    found = rows(capsys.readouterr().out)
    gpt = GPT.from_pretrained(directory)
    expected = gpt.complete("the cat", 5, temperature=0.8, top_p=0.95, seed=1, top_logprobs=2, num_return_sequences=2)
    assert [row["ids"] for row in found] == [one.ids for one in expected] and len(found) == 2
    assert [row["reason"] for row in found] == [one.reason for one in expected]
    assert found[0]["top"][0][0].keys() == {"id", "text", "log_prob"}


@pytest.mark.parametrize("size", ["1", "3", "8"])
def test_a_file_is_as_each_prompt_alone(directory, prompts, capsys, size):
    """Also where no length is named, and how far a text may go depends on its prompt."""
    assert generate("--file", prompts, "--model", directory, "--seed", "4", "--batch-size", size) == 0
    found, gpt = rows(capsys.readouterr().out), GPT.from_pretrained(directory)
    assert [(row["line"], row["prompt"]) for row in found] == REAL
    for row in found:
        assert row["text"] == gpt.generate(row["prompt"], temperature=0.8, top_p=0.95, seed=4)


@pytest.mark.parametrize("n_each", [1, 2])
def test_a_run_that_was_stopped_goes_on(directory, prompts, tmp_path, capsys, n_each):
    out = tmp_path / "out.jsonl"
    words = ["--file", prompts, "--model", directory, "--seed", "4", "--max-new-tokens", "6", "--batch-size", "2",
             "--out", str(out), "--num-return-sequences", str(n_each)]  # fmt: skip
    assert generate(*words) == 0
    data = out.read_bytes()
    whole = rows(data.decode())
    assert "6 prompts, 6 of them now" in capsys.readouterr().err and len(whole) == 6 * n_each
    for cut in {0, 1, len(data) // 3, len(data) // 2, len(data) - 1, len(data)}:
        out.write_bytes(data[:cut])
        assert generate(*words) == 0
        assert numbers(rows(out.read_text("utf-8"))) == numbers(whole), cut
        left = len(data[:cut].decode(errors="ignore").splitlines()) - (cut not in (0, len(data)))
        assert f"6 prompts, {6 - left // n_each} of them now" in capsys.readouterr().err


def test_what_another_run_wrote_is_not_mixed_with(directory, prompts, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    words = ["--file", prompts, "--model", directory, "--seed", "4", "--max-new-tokens", "3", "--out", str(out)]
    assert generate(*words) == 0
    data = out.read_bytes()
    for other in (["--temperature", "0.5"], ["--seed", "5"], ["--num-return-sequences", "2"]):
        assert generate(*words, *other) == 2
        assert "expected results of these prompts with this model and these options, got others in line 1" in (
            capsys.readouterr().err
        )
    for junk in (b"{}\n", b"[1]\n", b"\xff\n", b"[" * 100_000 + b"\n", data + b"{}\n"):
        out.write_bytes(junk)
        assert generate(*words) == 2 and out.read_bytes() == junk
        assert capsys.readouterr().err.count("\n") == 1


def test_two_runs_do_not_write_one_file(directory, prompts, tmp_path, capsys):
    from nanogpt_np import files

    out = tmp_path / "out.jsonl"
    with files.locked(out, "busy"):
        assert generate("--file", prompts, "--model", directory, "--out", str(out)) == 2
    assert "another run writes to it" in capsys.readouterr().err


def test_prompts_that_do_not_fit_are_said_before_anything_is_made(directory, tmp_path, capsys):
    path = tmp_path / "prompts.txt"
    path.write_text("the\n" + "the cat " * 60 + "\n", "utf-8")
    assert generate("--file", str(path), "--model", directory, "--max-new-tokens", "3") == 2
    out, err = capsys.readouterr()
    assert not out and "in line 2, and 3 new ones; use --overflow slide" in err
    assert generate("--file", str(path), "--model", directory, "--max-new-tokens", "3", "--overflow", "slide") == 0
    assert len(rows(capsys.readouterr().out)) == 2


@pytest.mark.parametrize(
    "words, message",
    [
        (["the", "--file", "x"], "--file: expected no prompt beside it"),
        (["--out", "x"], "--out: expected --file with it, got none"),
        (["--top-logprobs", "2"], "--top-logprobs: expected --json or --file with it, got neither"),
        (["--batch-size", "0"], "--batch-size: expected a whole number of at least 1, got 0"),
        (["--file", "nowhere.txt"], "nowhere.txt: cannot be read"),
        (["the", "--choices", "a", "--pattern", "b"], "--pattern: expected none with choices, got 'b'"),
        (["the", "--pattern", "(a"], "--pattern: expected a ) for every ("),
        (["the", "--forced-words", "a"], "--forced-words: expected --num-beams above 1 with it, got 1"),
        (["the", "--early-stopping", "never"], "--early-stopping: expected --num-beams above 1 with it, got 1"),
        (["the", "--penalty-alpha", "2"], "--penalty-alpha: expected a share from 0 to 1, got 2.0"),
        (["the", "--penalty-alpha", "0.5", "--temperature", "0.5"], "--temperature: expected none with"),
    ],
)
def test_words_that_cannot_be_used(directory, capsys, words, message):
    assert generate("--model", directory, *words) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("nanogpt-np: " + message) and err.count("\n") == 1


@pytest.mark.parametrize(
    "words, settings",
    [
        (["--frequency-penalty", "2", "--presence-penalty", "1"], {"frequency_penalty": 2, "presence_penalty": 1}),
        (["--no-repeat-ngram-size", "2"], {"no_repeat_ngram_size": 2}), (["--typical-p", "0.4"], {"typical_p": 0.4}),
        (["--banned-words", "a", "--banned-words", "cat"], {"banned_words": ["a", "cat"]}),
        (["--min-new-tokens", "9"], {"min_new_tokens": 9}), (["--pattern", "[0-9]+x"], {"pattern": "[0-9]+x"}),
        (["--choices", "yes", "--choices", "no"], {"choices": ["yes", "no"]}),
    ],
)  # fmt: skip
def test_rules(directory, capsys, words, settings):
    assert generate("the cat", "--model", directory, "--max-new-tokens", "9", "--seed", "2", *words) == 0
    settings = {"temperature": 0.8, "top_p": 0.95, "seed": 2} | settings
    expected = GPT.from_pretrained(directory).generate("the cat", 9, **settings)
    assert capsys.readouterr().out == f"the cat{expected}\n"


@pytest.mark.parametrize(
    "words, settings",
    [
        (["--num-beams", "3", "--early-stopping", "never"], {"num_beams": 3, "early_stopping": "never"}),
        (["--num-beams", "3", "--early-stopping", "yes"], {"num_beams": 3, "early_stopping": True}),
        (["--num-beams", "3", "--forced-words", "hat"], {"num_beams": 3, "forced_words": ["hat"]}),
        (["--penalty-alpha", "0.6", "--top-k", "4"], {"penalty_alpha": 0.6, "top_k": 4}),
    ],
)
def test_searches(directory, capsys, words, settings):
    assert generate("the cat", "--model", directory, "--max-new-tokens", "12", *words) == 0
    expected = GPT.from_pretrained(directory).generate("the cat", 12, **settings)
    assert capsys.readouterr().out == f"the cat{expected}\n"


def test_groups_hold_what_may_go_on_equally_long():
    prompts = [batches.Prompt(i, "", n) for i, n in enumerate((5, 5, 30, 5, 5, 5, 5), 1)]
    grouped = [[prompt.line for prompt in group] for group in batches.grouped(prompts, 3, 32, {})]
    assert grouped == [[1, 2], [3], [4, 5, 6], [7]]
    assert [len(group) for group in batches.grouped(prompts, 3, 32, {"max_new_tokens": 2})] == [3, 3, 1]
