"""Which of several endings does a model find likeliest? (HellaSwag, Zellers et al. 2019, arXiv 1905.07830.)

Enter: a GPT, and questions with their choices. Leave: the log-probability of every choice, and how often the right one
comes first: by the sum, by the mean over tokens, by character, by byte, for a long choice is less likely as a whole.
Next: evaluation/answers.py.
"""

import re
from typing import Any, NamedTuple

from .. import files
from ..errors import FileError, check_choice
from . import items, likelihood, results

MOST_CHOICES = 100
STYLES = ("harness", "completion")
NUMBERS = {
    "accuracy_by_sum": "the choice with the greatest ln p (lm-evaluation-harness: acc; llm.c: acc)",
    "accuracy_by_sum_stderr": "its standard error",
    "accuracy_by_token_mean": "the greatest ln p / tokens of the choice (llm.c: acc_norm)",
    "accuracy_by_token_mean_stderr": "its standard error",
    "accuracy_by_character": "the greatest ln p / characters of the choice (lm-evaluation-harness: acc_norm)",
    "accuracy_by_character_stderr": "its standard error",
    "accuracy_by_byte": "the greatest ln p / bytes of the choice (lm-evaluation-harness: acc_bytes)",
    "accuracy_by_byte_stderr": "its standard error",
    "accuracy_of_longest": "what always choosing the choice of most characters gives, the model aside",
    "accuracy_of_chance": "what guessing gives: the mean of 1 / choices",
}
SIZES = {"by_sum": None, "by_token_mean": "n_tokens", "by_character": "n_characters", "by_byte": "n_bytes"}


class Question(NamedTuple):
    """What stands before, the choices, which of them is right (from 0), and the line of the file."""

    line: int
    context: str
    choices: list[str]
    label: int

    @property
    def example(self) -> tuple[str, str]:
        """The question with its answer, to stand before others."""
        return self.context, self.choices[self.label]


class Asked(NamedTuple):
    """A question as ids: a pair for each choice, and their sizes in characters and bytes."""

    line: int
    label: int
    pairs: list[likelihood.Pair]
    n_characters: list[int]
    n_bytes: list[int]


def read_questions(path: Any, limit: int | None = None, style: str = "harness") -> list[Question]:
    """The questions of a JSONL file: "context", "choices", "label", or HellaSwag's own fields, where `style` decides.

    "harness": "activity: ctx_a Ctx_b", marks of WikiHow taken out, as lm-evaluation-harness has it; "completion": "ctx"
    as it stands, as llm.c has it. FileError, with the line, for what is none.
    """
    check_choice("style", style, STYLES)
    where = files.short(path)
    return [_question(item, f"{where}: line {item.line}", where, style) for item in items.read_items(path, limit)]


def _question(item, at, where, style):
    is_hellaswag = "endings" in item.fields
    endings = item.fields.get("endings" if is_hellaswag else "choices")
    if not isinstance(endings, list) or not 2 <= len(endings) <= MOST_CHOICES:
        got = "none" if endings is None else f"{len(endings)}" if isinstance(endings, list) else "no list"
        raise FileError(f'{at}: expected "choices", a list of 2 to {MOST_CHOICES} texts, got {got}')
    texts = [items.check_text(text, f"{at}: choice {i}") for i, text in enumerate(endings)]
    if not is_hellaswag:
        context = items.text_of(item, "context", where)
    elif style == "completion":
        context = items.text_of(item, "ctx", where)
    else:
        context, texts = _as_the_harness(item, where), [without_marks(text) for text in texts]
        texts = [items.check_text(text, f"{at}: choice {i}") for i, text in enumerate(texts)]
    label = items.check_label(item.fields.get("label"), len(texts), f'{at}: "label"')
    return Question(item.line, context, texts, label)


def _as_the_harness(item, where):
    """HellaSwag's context; its second half may be empty."""
    activity, first = (items.text_of(item, name, where) for name in ("activity_label", "ctx_a"))
    second = items.text_of(item, "ctx_b", where) if item.fields.get("ctx_b") else ""
    return without_marks(f"{activity}: {first} {second.capitalize()}")


def without_marks(text):
    """A text without what WikiHow's layout left in it.

    without_marks("Bake [title] It [step] Now.") -> "Bake. It Now."
    """
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")


def ask(questions: list[Question], gpt: Any, where: str, header: str = "", delimiter: str = " ",
        overflow: str = "error") -> list[Asked]:  # fmt: skip
    """Questions as ids, `header` (shots.py) before each and `delimiter` before each choice."""
    return [
        Asked(
            line, label,
            [items.pair_of(header + context, delimiter + choice, gpt, f"{where}: line {line}", overflow)
             for choice in choices],
            [len(choice) for choice in choices], [len(choice.encode("utf-8")) for choice in choices],
        )
        for line, context, choices, label in questions
    ]  # fmt: skip


def measure(asked: list[Asked], gpt: Any, batch_size: int = 8, kept: Any = None) -> list[dict[str, Any]]:
    """A row for each question: the right one's number, and of each choice ln p, tokens, characters and bytes.

    What the choices of a question have in common, and all questions, is read once; `kept`: see likelihood.score.
    """
    pairs = [pair for question in asked for pair in question.pairs]
    scores = iter(likelihood.score(pairs, gpt.params, gpt.config, gpt.ops, batch_size, kept))
    rows = []
    for question in asked:
        of_choices = [next(scores) for _ in question.pairs]
        rows.append({
            "line": question.line, "label": question.label, "log_probs": [score.total for score in of_choices],
            "n_tokens": [len(score.log_probs) for score in of_choices],
            "n_characters": question.n_characters, "n_bytes": question.n_bytes,
        })  # fmt: skip
    return rows


def chosen(row, size):
    """The number of the choice with the greatest log-probability, by its size; of equals the first.

    chosen({"log_probs": [-4.0, -6.0], "n_tokens": [1, 2]}, "n_tokens") -> 1
    """
    sizes = row[size] if size else [1] * len(row["log_probs"])
    found = [log_prob / n for log_prob, n in zip(row["log_probs"], sizes, strict=True)]
    return found.index(max(found))


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """What the rows come to: {name: number}, the names of NUMBERS."""
    found = {}
    for name, size in SIZES.items():
        hits = [chosen(row, size) == row["label"] for row in rows]
        found[f"accuracy_{name}"], found[f"accuracy_{name}_stderr"] = results.mean(hits)
    longest = [row["n_characters"].index(max(row["n_characters"])) == row["label"] for row in rows]
    chance = [1 / len(row["log_probs"]) for row in rows]
    return found | {"accuracy_of_longest": results.mean(longest)[0], "accuracy_of_chance": results.mean(chance)[0]}
