"""Would a model say exactly this answer? Questions with one answer each, mostly behind a few examples.

Enter: a GPT, and questions. Leave: the log-probability of each answer, and was it what a greedy model would say, token
by token. Next: evaluation/judge.py.
"""

from typing import Any, NamedTuple

from .. import files
from . import items, likelihood, results

NUMBERS = {
    "accuracy_greedy": "share of answers that are the likeliest token by token (lm-evaluation-harness: acc)",
    "accuracy_greedy_stderr": "its standard error",
    "answer_perplexity": "exp(-mean over answers of ln p(answer)) (lm-evaluation-harness: perplexity)",
    "token_perplexity": "exp(-sum of ln p / tokens of all answers)",
}


class Question(NamedTuple):
    """What stands before, the answer, and the line of the file."""

    line: int
    context: str
    answer: str

    @property
    def example(self) -> tuple[str, str]:
        """The question with its answer, to stand before others."""
        return self.context, self.answer


class Asked(NamedTuple):
    """A question as ids."""

    line: int
    pair: likelihood.Pair


def read_questions(path: Any, limit: int | None = None) -> list[Question]:
    """The questions of a JSONL file, "context" and "answer" each; FileError, with the line, for what is none."""
    where = files.short(path)
    return [
        Question(item.line, items.text_of(item, "context", where), items.text_of(item, "answer", where))
        for item in items.read_items(path, limit)
    ]


def ask(questions: list[Question], gpt: Any, where: str, header: str = "", delimiter: str = " ",
        overflow: str = "error") -> list[Asked]:  # fmt: skip
    """Questions as ids, `header` (shots.py) before each and `delimiter` before each answer."""
    return [
        Asked(line, items.pair_of(header + context, delimiter + answer, gpt, f"{where}: line {line}", overflow))
        for line, context, answer in questions
    ]


def measure(asked: list[Asked], gpt: Any, batch_size: int = 8, kept: Any = None) -> list[dict[str, Any]]:
    """A row for each question: the answer's log-probability, its tokens, and is it the likeliest token by token."""
    pairs = [question.pair for question in asked]
    scores = likelihood.score(pairs, gpt.params, gpt.config, gpt.ops, batch_size, kept)
    return [
        {"line": question.line, "log_prob": score.total, "n_tokens": len(score.log_probs), "is_greedy": score.is_greedy}
        for question, score in zip(asked, scores, strict=True)
    ]


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """What the rows come to: {name: number}, the names of NUMBERS."""
    accuracy, stderr = results.mean([row["is_greedy"] for row in rows])
    log_probs = [row["log_prob"] for row in rows]
    return {
        "accuracy_greedy": accuracy, "accuracy_greedy_stderr": stderr,
        "answer_perplexity": results.exp(-results.mean(log_probs)[0]),
        "token_perplexity": results.exp(-sum(log_probs) / sum(row["n_tokens"] for row in rows)),
    }  # fmt: skip
