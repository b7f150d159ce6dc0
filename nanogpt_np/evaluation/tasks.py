"""Uses that GPT-2's and GPT-3's papers name, as prompts: translation, summary, questions, sentiment, dialogue, names.

Enter: a GPT, one of the tasks of sets/tasks.json, a text, and how many examples stand before it. Leave: the prompt, the
answer; and how many of a few questions it answers as expected, which says what a model can do, and is no benchmark.
Next: evaluation/similarity.py.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import files
from ..errors import InputError, check_choice, shown
from . import items, likelihood, shots

TASKS = Path(__file__).parent / "sets" / "tasks.json"
NAMES = ("translation", "summary", "question", "sentiment", "dialogue", "entities")
SHOTS = (0, 1, 3)  # zero, one, a few
NO_TEXT = "N/A"  # what Zhao et al. 2021 put in a text's place


class Task(NamedTuple):
    """How a text is put to a model, and what is expected of some; `choices`: labels, one of which is the answer.

    `examples`, `items`: (text, answer) each; `settings`: keyword arguments of GPT.generate; `between`: stands behind
    each example.
    """

    name: str
    says: str
    source: str
    instruction: str
    question: str
    between: str
    stop: str
    choices: list[str]
    settings: dict
    examples: list[tuple[str, str]]
    items: list[tuple[str, str]]


class Answer(NamedTuple):
    """A prompt and what the model says behind it; `log_probs`: of each choice in nats, {} where there are none."""

    prompt: str
    text: str
    log_probs: dict[str, float]


class Rating(NamedTuple):
    """How many of a task's items were answered as expected, out of how many, and every Answer."""

    name: str
    n_shots: int
    n_right: int
    n_items: int
    answers: list[Answer]

    def __str__(self):
        return f"{self.name}, {self.n_shots} examples: {self.n_right} of {self.n_items} as expected"

    def to_dict(self):
        """The same as values that JSON has."""
        return self._asdict() | {"answers": [answer._asdict() for answer in self.answers]}


def find(name):
    """The Task of a name of NAMES; InputError for another."""
    check_choice("task", name, NAMES)
    return Task(name, **files.read_json(TASKS)["tasks"][name])


def put(task, text, n_shots=0, seed=None):
    r"""A text as the prompt of a task: its instruction, n_shots examples, the question.

    The first ones, or with a seed drawn ones. put(find("question"), "Why?") -> "Q: Why?\nA:"
    """
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"text: expected a text, got {shown(text)}")
    asked = [(_ask(task, example), answer) for example, answer in shots.drawn(task.examples, n_shots, seed)]
    return task.instruction + shots.header(asked, between=task.between) + _ask(task, text)


def _ask(task, text):
    return task.question.replace("{text}", text)


def answer(gpt, task, text, n_shots=0, seed=None, calibrate=False):
    """What a GPT says to a text -> Answer; choices by their likelihood, anything else drawn as task.settings say.

    `calibrate`: choices are compared by how much likelier the text makes them than no text does (Zhao et al. 2021).
    InputError where the prompt does not fit the context.
    """
    items.tokenizer_of(gpt)
    prompt = put(task, text, n_shots, seed)
    if task.choices:
        usual = _of_choices(gpt, task, put(task, NO_TEXT, n_shots, seed)) if calibrate else None
        return _chosen(gpt, task, prompt, usual)
    return _said(gpt, task, prompt)


def _said(gpt, task, prompt):
    n_free = gpt.config.n_ctx - len(gpt.tokenizer.encode(prompt)) + 1
    if n_free < 1:
        expected = f"a prompt of at most n_ctx = {gpt.config.n_ctx} tokens"
        raise InputError(f"text: expected {expected}, got {gpt.config.n_ctx - n_free + 1:,}; use fewer examples")
    most = min(task.settings["max_new_tokens"], n_free)
    said = gpt.generate(prompt, stop=task.stop, top_p=1.0, **{"top_k": 0} | task.settings | {"max_new_tokens": most})
    return Answer(prompt, said.strip(), {})


def _chosen(gpt, task, prompt, usual=None):
    """The likeliest choice, or with `usual` the one that is likelier than that by most."""
    log_probs = _of_choices(gpt, task, prompt)
    if usual is not None:
        log_probs = {choice: log_probs[choice] - usual[choice] for choice in task.choices}
    return Answer(prompt, max(log_probs, key=log_probs.get), log_probs)


def _of_choices(gpt, task, prompt):
    """{choice: its log-probability behind the prompt, in nats}"""
    pairs = [items.pair_of(prompt, f" {choice}", gpt, "text") for choice in task.choices]
    scores = likelihood.score(pairs, gpt.params, gpt.config, gpt.ops)
    return {choice: score.total for choice, score in zip(task.choices, scores, strict=True)}


def rate(gpt, task, n_shots=0, seed=None, calibrate=False, asked=None):
    """The Rating of a GPT by a task's items, or by `asked`, (text, answer) each; InputError where there are none."""
    asked = task.items if asked is None else asked
    if not asked:
        raise InputError(f"task: expected one with items to rate by, got {task.name!r}, which has none")
    prompts = [put(task, text, n_shots, seed) for text, _ in asked]
    if task.choices:
        items.tokenizer_of(gpt)
        usual = _of_choices(gpt, task, put(task, NO_TEXT, n_shots, seed)) if calibrate else None
        answers = [_chosen(gpt, task, prompt, usual) for prompt in prompts]
    else:
        answers = [answer(gpt, task, text, n_shots, seed) for text, _ in asked]
    right = [plain(got.text) == plain(expected) for got, (_, expected) in zip(answers, asked, strict=True)]
    return Rating(task.name, n_shots, int(np.sum(right)), len(asked), answers)


def plain(text):
    """An answer as it is compared: plain(" The cat. ") -> "the cat" """
    return text.strip().rstrip(".!?").strip().lower()
