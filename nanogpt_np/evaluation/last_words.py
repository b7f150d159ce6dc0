"""The last word of a passage that only its whole makes certain (LAMBADA, Paperno et al. 2016, arXiv 1606.06031).

Enter: a GPT, and passages. Leave: how likely each last word was, and was it what a greedy model would say; of the whole
word and of its last token alone, which are two numbers and are often taken for one. Next: evaluation/shots.py.
"""

from typing import Any, NamedTuple

from . import items, likelihood, results

NUMBERS = {
    "last_word_accuracy": "share of passages whose last word is likeliest token by token (lm-evaluation-harness: acc)",
    "last_word_accuracy_stderr": "its standard error",
    "last_word_perplexity": "exp(-mean over passages of ln p(last word)) (lm-evaluation-harness: perplexity)",
    "last_token_accuracy": "share of passages whose last token alone is the likeliest, the word's others given",
    "last_token_perplexity": "exp(-mean over passages of ln p(last token))",
    "tokens_per_last_word": "how many tokens a last word has on average; with 1.0 both accuracies are one",
}


class Passage(NamedTuple):
    """A passage of a file: where it stands, what is read, and the last word."""

    line: int
    text: str
    pair: likelihood.Pair


def split_last_word(text):
    """A text -> what stands before its last space, and the rest: split_last_word("a b c") -> ("a b", " c")"""
    before, space, word = text.rpartition(" ")
    return before, space + word


def read_passages(path, gpt, limit=None, overflow="error"):
    """The passages of a JSONL file with a "text" each; FileError, with the line, for what cannot be measured."""
    found, where = [], items.files.short(path)
    for item in items.read_items(path, limit):
        text = items.text_of(item, "text", where)
        pair = items.pair_of(*split_last_word(text), gpt, f"{where}: line {item.line}", overflow)
        found.append(Passage(item.line, text, pair))
    return found


def measure(passages: list[Passage], gpt: Any, batch_size: int = 8) -> list[dict[str, Any]]:
    """A row for each passage: the log-probabilities of its last word and last token, and was each the likeliest."""
    pairs = [passage.pair for passage in passages]
    scores = likelihood.score(pairs, gpt.params, gpt.config, gpt.ops, batch_size)
    return [
        {
            "line": passage.line, "word": split_last_word(passage.text)[1], "n_tokens": len(score.log_probs),
            "word_log_prob": score.total, "word_is_greedy": score.is_greedy,
            "token_log_prob": float(score.log_probs[-1]), "token_is_greedy": bool(score.is_likeliest[-1]),
        }
        for passage, score in zip(passages, scores, strict=True)
    ]  # fmt: skip


def summary(rows):
    """What the rows come to: {name: number}, the names of NUMBERS."""
    accuracy, stderr = results.mean([row["word_is_greedy"] for row in rows])
    return {
        "last_word_accuracy": accuracy,
        "last_word_accuracy_stderr": stderr,
        "last_word_perplexity": results.exp(-results.mean([row["word_log_prob"] for row in rows])[0]),
        "last_token_accuracy": results.mean([row["token_is_greedy"] for row in rows])[0],
        "last_token_perplexity": results.exp(-results.mean([row["token_log_prob"] for row in rows])[0]),
        "tokens_per_last_word": results.mean([row["n_tokens"] for row in rows])[0],
    }
