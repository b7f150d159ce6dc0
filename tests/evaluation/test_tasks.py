"""Tasks: prompts to the letter, answers by their definition, what is refused; docs/tasks.md says what was measured."""

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nanogpt_np import GPT, InputError
from nanogpt_np.evaluation import tasks

PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"


def test_prompts_to_the_letter():
    assert tasks.put(tasks.find("question"), "Why?") == "Q: Why?\nA:"
    assert tasks.put(tasks.find("question"), "Why?", 1) == "Q: What do bees make?\nA: honey\nQ: Why?\nA:"
    assert tasks.put(tasks.find("translation"), "a cat", 2) == (
        "Translate English to French:\ncheese = fromage\ngood morning = bonjour\na cat ="
    )
    assert tasks.put(tasks.find("summary"), "A text.") == "A text.\nTL;DR:"
    assert tasks.put(tasks.find("summary"), "A text.", 1).endswith("out of a tree.\n\nA text.\nTL;DR:")
    assert tasks.put(tasks.find("sentiment"), "Fine.") == "Sentence: Fine.\nFeeling:"


def test_examples_are_drawn_with_a_seed():
    task = tasks.find("sentiment")
    drawn = {tasks.put(task, "Fine.", 3, seed) for seed in range(8)}
    assert len(drawn) > 3 and tasks.put(task, "Fine.", 3, 5) == tasks.put(task, "Fine.", 3, 5)
    assert tasks.put(task, "Fine.", 3) not in drawn or len(drawn) == 8


@pytest.mark.parametrize("name", tasks.NAMES)
def test_shipped_tasks(name):
    """No item stands among the examples; a few examples fit the smallest context that ships, 256 tokens of stories."""
    task = tasks.find(name)
    assert task.says and task.source and len(task.examples) >= max(tasks.SHOTS)
    assert not {text for text, _ in task.items} & {text for text, _ in task.examples}
    answers = {answer for _, answer in [*task.examples, *task.items]}
    assert not task.choices or answers == set(task.choices)
    assert all(text.strip() == text and answer.strip() == answer for text, answer in [*task.examples, *task.items])
    tokenizer = GPT.from_pretrained("stories", ops="numpy").tokenizer
    longest = max((text for text, _ in task.items or task.examples), key=len)
    assert len(tokenizer.encode(tasks.put(task, longest, 3))) + 20 < 256


def test_choices_are_compared_by_their_likelihood(make_gpt):
    """By single passes over whole texts; float32 sums of batches: 1e-4."""
    gpt, task = make_gpt(n_ctx=64), tasks.find("sentiment")
    found, expected = tasks.answer(gpt, task, "The cat."), {}
    for choice in task.choices:
        ids = gpt.tokenizer.encode(f"{found.prompt} {choice}")
        expected[choice] = gpt.logprobs(ids)[len(gpt.tokenizer.encode(found.prompt)) :].sum()
    assert found.log_probs == pytest.approx(expected, abs=1e-4)
    assert found.text == max(expected, key=expected.get)
    usual = tasks.answer(gpt, task, tasks.NO_TEXT).log_probs
    calibrated = tasks.answer(gpt, task, "The cat.", calibrate=True).log_probs
    assert calibrated == pytest.approx({choice: expected[choice] - usual[choice] for choice in usual}, abs=1e-4)


def test_answers_are_what_generate_says(make_gpt):
    gpt = make_gpt(n_ctx=64)
    found = tasks.answer(gpt, tasks.find("question"), "The cat?")
    assert found.text == gpt.generate("Q: The cat?\nA:", 20, temperature=0, stop="\n").strip() and found.log_probs == {}
    again = tasks.answer(gpt, tasks.find("summary"), "The cat.")
    assert again == tasks.answer(gpt, tasks.find("summary"), "The cat.")  # its seed is the task's


def test_an_answer_ends_where_the_context_does(make_gpt):
    gpt = make_gpt(n_ctx=24)
    prompt = "Q: the cat?\nA:"
    assert 24 - 20 < len(gpt.tokenizer.encode(prompt)) < 24
    tasks.answer(gpt, tasks.find("question"), "the cat?")


def test_rating(make_parrot, tokenizer):
    """A parrot that says " the cat" behind any prompt of one token."""
    task = tasks.find("question")._replace(question="{text}", settings={"temperature": 0, "max_new_tokens": 20})
    ids = tokenizer.encode(" the cat\n")
    gpt = make_parrot([*ids, *ids])
    rating = tasks.rate(gpt, task, asked=[("t", "The cat."), ("h", "the cat"), ("m", "a cat")])
    assert (rating.n_right, rating.n_items) == (2, 3) and [one.text for one in rating.answers] == ["the cat"] * 3
    assert json.loads(json.dumps(rating.to_dict()))["n_right"] == 2


def test_what_cannot_be_asked(make_gpt):
    gpt, task = make_gpt(n_ctx=24), tasks.find("question")
    for call, message in (
        (lambda: tasks.find("poetry"), "task: expected 'translation' or"),
        (lambda: tasks.put(task, ""), "text: expected a text, got ''"),
        (lambda: tasks.put(task, None), "text: expected a text, got None"),
        (lambda: tasks.put(task, "Why?", 7), "expected at most 6"),
        (lambda: tasks.put(task, "Why?", -1), "expected a whole number of at least 0"),
        (lambda: tasks.answer(gpt, task, "Why? " * 20), "text: expected a prompt of at most n_ctx = 24 tokens"),
        (lambda: tasks.answer(gpt, tasks.find("sentiment"), "Why? " * 20), "n_ctx = 24 tokens"),
        (lambda: tasks.answer(make_gpt(with_tokenizer=False), task, "Why?"), "vocabulary files"),
        (lambda: tasks.rate(gpt, tasks.find("dialogue")), "expected one with items"),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert message in str(caught.value) and "\n" not in str(caught.value)


def test_answers_are_compared_without_dress():
    assert tasks.plain(" The Cat.\n") == tasks.plain("the cat")
    assert tasks.plain("the cats") != tasks.plain("the cat")


def stated():
    """The table of docs/tasks.md: {(task, calibrated): right answers with each number of examples}, out of how many."""
    rows = re.findall(r"^\| (\w+)(, calibrated)? \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", PAGE.read_text("utf-8"),
                      flags=re.MULTILINE)  # fmt: skip
    return {(row[0], bool(row[1])): tuple(map(int, row[2:])) for row in rows}


def check_stated(name, calibrate, shots):
    """Equal: greedy answers and compared likelihoods change only where two tie to rounding."""
    gpt, task = GPT.from_pretrained("stories", ops="numpy"), tasks.find(name)
    *right, n_items = stated()[name, calibrate]
    for n_shots in shots:
        rating = tasks.rate(gpt, task, n_shots, calibrate=calibrate)
        assert (rating.n_right, rating.n_items) == (right[tasks.SHOTS.index(n_shots)], n_items), rating


def test_the_page_has_a_row_for_each():
    expected = {(name, False) for name in tasks.NAMES if tasks.find(name).items} | {("sentiment", True)}
    assert set(stated()) == expected


def test_sentiment_is_as_stated():
    check_stated("sentiment", True, (0,))


@pytest.mark.slow
@pytest.mark.parametrize("name, calibrate", [("translation", False), ("question", False), ("sentiment", False),
                                             ("sentiment", True), ("entities", False)])  # fmt: skip
def test_stories_is_as_stated(name, calibrate):
    check_stated(name, calibrate, tasks.SHOTS)


POLARITY = PAGE.parents[2] / "shared" / "data" / "sentiment" / "sentence_polarity.zip"


@pytest.mark.slow
@pytest.mark.skipif(not POLARITY.exists(), reason=f"needs {POLARITY.name}, Pang and Lee's sentences")
def test_film_reviews_are_as_stated():
    """Sentences of at most 160 characters, chosen by seed 0; to one sentence, where two likelihoods tie to rounding."""
    rng, asked = np.random.default_rng(0), []
    with zipfile.ZipFile(POLARITY) as file:
        for name, label in (("pos", "good"), ("neg", "bad")):
            lines = file.read(f"sentence_polarity/rt-polarity.{name}").decode("latin-1").split("\n")
            lines = [line.strip() for line in lines if 0 < len(line.strip()) <= 160]
            asked += [(lines[i], label) for i in sorted(rng.choice(len(lines), 200, replace=False))]
    (plain, calibrated), = re.findall(r"Of 400 sentences .*? gets (\d+) right by itself, .*? and (\d+) calibrated",
                                      " ".join(PAGE.read_text("utf-8").split()))  # fmt: skip
    gpt, task = GPT.from_pretrained("stories", ops="numpy"), tasks.find("sentiment")
    got = [tasks.rate(gpt, task, calibrate=calibrate, asked=asked).n_right for calibrate in (False, True)]
    assert got == pytest.approx([int(plain), int(calibrated)], abs=1)


def test_numbers_of_this_projects_references_are_those_of_the_page():
    """What is quoted from Radford et al. 2019, table 3, beside the file of published values where it is at hand."""
    path = PAGE.parents[2] / "shared" / "reference" / "published_gpt2.json"
    if not path.exists():
        pytest.skip(f"needs {path.name}")
    table = json.loads(path.read_text(encoding="utf-8"))["paper_table3"]
    column = table["columns"].index("CBT-NE acc")
    small, large = table["117M"][column], table["1542M"][column]
    assert f"{small:.1f} %" in PAGE.read_text("utf-8") and f"{large:.2f} %" in PAGE.read_text("utf-8")
    assert np.isfinite([small, large]).all()
