"""Multiple choice and single answers, with examples before them, against transformers on the shipped model."""

import json
import math

import numpy as np
import pytest
from goldens import measure, recipe

from nanogpt_np import GPT, FileError, InputError
from nanogpt_np.evaluation import answers, choices, likelihood, shots
from nanogpt_np.generation.session import Kept

GOLDEN = 1e-4  # measured: 1e-5: float32 on both sides, sums of up to a dozen log-probabilities
HELLASWAG = {
    "ctx_a": "[header] How to bake [title] Mix.", "ctx_b": "then you",
    "ctx": "[header] How to bake [title] Mix. then you",
    "activity_label": "Baking", "label": "1", "endings": ["[step] wait.", "bake it [substeps] well.", "go", "eat  it"],
}  # fmt: skip


@pytest.fixture(scope="module")
def stories():
    return GPT.from_pretrained("stories", ops="numpy")


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def questions(tmp_path):
    rows = [{"context": context, "choices": some, "label": label} for context, some, label in recipe.QUESTIONS]
    return choices.read_questions(write(tmp_path / "questions.jsonl", rows))


def test_as_transformers(stories, questions):
    rows = choices.measure(choices.ask(questions, stories, "here"), stories, batch_size=3)
    golden = measure.under("stories/choices/", measure.load("evaluation"))
    np.testing.assert_allclose(sum((row["log_probs"] for row in rows), []), golden["log_prob"], atol=GOLDEN)
    assert sum((row["n_tokens"] for row in rows), []) == golden["n_tokens"].tolist()
    assert rows[4]["n_characters"] == [6, 28, 3] and rows[4]["n_bytes"] == [6, 28, 6]  # without the space before them
    edges = np.cumsum([len(some) for _, some, _ in recipe.QUESTIONS])[:-1]
    of_choices = np.split(golden["log_prob"], edges)
    sizes = {
        "by_sum": [np.ones(len(some)) for _, some, _ in recipe.QUESTIONS],
        "by_token_mean": np.split(golden["n_tokens"], edges),
        "by_character": [np.array([len(choice) for choice in some]) for _, some, _ in recipe.QUESTIONS],
        "by_byte": [np.array([len(choice.encode()) for choice in some]) for _, some, _ in recipe.QUESTIONS],
    }
    numbers = choices.summary(rows)
    assert list(numbers) == list(choices.NUMBERS)
    for name, of_size in sizes.items():
        together = zip(of_choices, of_size, recipe.QUESTIONS, strict=True)
        hits = [np.argmax(log_probs / n) == label for log_probs, n, (_, _, label) in together]
        assert numbers[f"accuracy_{name}"] == np.mean(hits)
        assert numbers[f"accuracy_{name}_stderr"] == pytest.approx(np.std(hits, ddof=1) / math.sqrt(len(hits)))
    assert numbers["accuracy_of_chance"] == pytest.approx(np.mean([1 / len(some) for _, some, _ in recipe.QUESTIONS]))


def test_sizes_decide():
    row = {"label": 0, "log_probs": [-6.0, -5.0, -9.0], "n_tokens": [2, 1, 4], "n_characters": [6, 6, 8],
           "n_bytes": [6, 20, 8]}  # fmt: skip
    assert [choices.chosen(row, size) for size in choices.SIZES.values()] == [1, 2, 1, 1]
    row["n_bytes"] = [24, 6, 8]
    assert choices.chosen(row, "n_bytes") == 0
    numbers = choices.summary([row, row | {"label": 2}])
    assert [numbers[f"accuracy_{name}"] for name in choices.SIZES] == [0.0, 0.5, 0.0, 0.5]
    assert numbers["accuracy_of_longest"] == 0.5


def test_hellaswag_in_both_styles(tmp_path):
    path = write(tmp_path / "hellaswag.jsonl", [HELLASWAG])
    [question] = choices.read_questions(path)
    assert question.context == "Baking: How to bake. Mix. Then you"
    assert question.choices == [" wait.", "bake it well.", "go", "eat it"] and question.label == 1
    [question] = choices.read_questions(path, style="completion")
    assert question.context == HELLASWAG["ctx"] and question.choices == HELLASWAG["endings"]


def test_examples_change_the_answer_and_are_read_once(stories, questions):
    """The same numbers as with every text read alone, the header in front."""
    header = shots.header([question.example for question in questions[:2]])
    asked = choices.ask(questions[2:], stories, "here", header)
    kept = Kept()
    rows = [row for one in asked for row in choices.measure([one], stories, 4, kept)]
    pairs = [pair for one in asked for pair in one.pairs]
    alone = likelihood.score(pairs, stories.params, stories.config, stories.ops, 1, share=False)
    np.testing.assert_allclose(sum((row["log_probs"] for row in rows), []), [one.total for one in alone], atol=2e-4)
    assert kept.ids[: len(stories.tokenizer.encode(header)) - 2] == stories.tokenizer.encode(header)[:-2]
    assert rows != choices.measure(choices.ask(questions[2:], stories, "here"), stories)


def test_answers(stories, tmp_path):
    rows = [{"context": "Once upon a", "answer": "time"}, {"context": "Lily liked her", "answer": "zeppelin"}]
    questions = answers.read_questions(write(tmp_path / "answers.jsonl", rows))
    found = answers.measure(answers.ask(questions, stories, "here"), stories)
    assert [row["is_greedy"] for row in found] == [True, False]
    for row, question in zip(found, questions, strict=True):
        n = row["n_tokens"]
        log_probs = stories.logprobs(f"{question.context} {question.answer}")[-n:]
        assert row["log_prob"] == pytest.approx(log_probs.sum(), abs=1e-4)  # float32 in another batch
    numbers = answers.summary(found)
    assert list(numbers) == list(answers.NUMBERS) and numbers["accuracy_greedy"] == 0.5
    total = sum(row["log_prob"] for row in found)
    assert numbers["answer_perplexity"] == pytest.approx(math.exp(-total / 2))
    assert numbers["token_perplexity"] == pytest.approx(math.exp(-total / sum(row["n_tokens"] for row in found)))


def test_drawn_examples():
    examples = list(range(20))
    assert shots.drawn(examples, 3) == [0, 1, 2] and shots.drawn(examples, 0) == []
    assert shots.drawn(examples, 3, seed=1) == shots.drawn(examples, 3, seed=1) != shots.drawn(examples, 3, seed=2)
    assert len(set(shots.drawn(examples, 20, seed=1))) == 20
    for n, seed, message in ((21, None, "shots: expected at most 20"), (-1, None, "shots"), (1, -1, "seed")):
        with pytest.raises(InputError, match=message):
            shots.drawn(examples, n, seed)


GOOD = {"context": "a", "choices": ["b", "c"], "label": 0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"choices": None}, 'line 1: expected "choices", a list of 2 to 100 texts, got none'),
        ({"choices": []}, 'line 1: expected "choices", a list of 2 to 100 texts, got 0'),
        ({"choices": ["b"]}, 'line 1: expected "choices", a list of 2 to 100 texts, got 1'),
        ({"choices": ["b"] * 101}, 'line 1: expected "choices", a list of 2 to 100 texts, got 101'),
        ({"choices": "bc"}, 'line 1: expected "choices", a list of 2 to 100 texts, got no list'),
        ({"choices": ["b", 5]}, "line 1: choice 1: expected a text, got 5"),
        ({"choices": ["b", " "]}, "line 1: choice 1: expected a text, got ' '"),
        ({"choices": ["b", "\ud800"]}, "line 1: choice 1: expected a text, got '\\ud800', which holds half a"),
        ({"context": None}, 'line 1: "context": expected a text, got nothing'),
        ({"label": 2}, 'line 1: "label": expected the number of the right one, 0 to 1, got 2'),
        ({"label": -1}, 'line 1: "label": expected the number of the right one, 0 to 1, got -1'),
        ({"label": True}, 'line 1: "label": expected the number of the right one, 0 to 1, got True'),
        ({"label": ""}, 'line 1: "label": expected the number of the right one, 0 to 1, got \'\''),
        ({"label": 10**30}, 'line 1: "label": expected the number of the right one, 0 to 1, got 1000'),
    ],
)
def test_bad_questions(tmp_path, change, message):
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(GOOD | change) + "\n", "utf-8")
    with pytest.raises(FileError) as caught:
        choices.read_questions(path)
    assert message in str(caught.value) and str(caught.value).isprintable()


def test_a_choice_longer_than_the_context(make_gpt):
    gpt = make_gpt(n_ctx=8)
    long = choices.Question(3, "a", ["b", " ".join("abcdefgh")], 0)
    for overflow, message in (
        ("error", "here: line 3: expected at most n_ctx = 8 tokens to read, got 13; shorten it, or use overflow='cut'"),
        ("cut", "here: line 3: expected at most n_ctx = 8 tokens to say, got 13; shorten it"),
    ):
        with pytest.raises(FileError) as caught:
            choices.ask([long], gpt, "here", overflow=overflow)
        assert str(caught.value) == message


def test_an_answer_without_a_token_of_its_own(make_gpt):
    with pytest.raises(InputError, match="expected a model with|expected one with vocabulary"):
        answers.ask([answers.Question(1, "a", "b")], make_gpt(with_tokenizer=False), "here")
