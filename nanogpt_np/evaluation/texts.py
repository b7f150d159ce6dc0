"""How well a model predicts whole texts, longer than its context too: perplexity, in every unit that is in use.

Enter: a GPT, and documents. Leave: the nats that each window of them cost, and what they come to by token, word and
byte (perplexity: Jelinek et al. 1977). A document's first token is predicted behind <|endoftext|>; what windows do to
the numbers is measured in docs/evaluation.md. Next: evaluation/last_words.py.
"""

import re
from typing import Any, NamedTuple

from .. import files
from ..errors import FileError, InputError, check_choice, check_whole
from ..training import data
from ..training.evaluation import Evaluation, check_share
from . import items, likelihood, results

WINDOWS = ("rolling", "guide")
NUMBERS = {
    "nats_per_token": "-sum of ln p / tokens that were predicted, of this model's own vocabulary",
    "token_perplexity": "exp(nats_per_token); comparable between models of one vocabulary only",
    "word_perplexity": "exp(-sum of ln p / words of the original) (lm-evaluation-harness: word_perplexity)",
    "byte_perplexity": "exp(-sum of ln p / bytes of the original) (lm-evaluation-harness: byte_perplexity)",
    "bits_per_byte": "-sum of log2 p / bytes of the original (lm-evaluation-harness: bits_per_byte)",
    "n_documents": "each predicted by itself",
    "n_tokens": "that were predicted",
    "n_words": "of the original, what white space separates, counted as lm-evaluation-harness does",
    "n_bytes": "of the original in UTF-8",
}


class Document(NamedTuple):
    """A text, and how many words and bytes its original has, of which it may have been made by cleaning."""

    text: str
    n_words: int
    n_bytes: int


class Window(NamedTuple):
    """Of a row of ids, those from `start` to `end` are looked at, and the last `n_said` of them are predicted."""

    start: int
    end: int
    n_said: int


class Piece(NamedTuple):
    """A window of all documents: its number from 1, that of its document from 0, and its ids."""

    line: int
    document: int
    pair: likelihood.Pair


def read_pages(path: Any, limit: int | None = None, held_out: float | None = None) -> list[Document]:
    """The documents of a file: plain text, where <|endoftext|> separates them, or JSONL, if its name ends in .jsonl.

    Then a "text" each, and perhaps the "page" that it was made from. `held_out`: of plain text only the documents that
    training with this share sets aside; `limit`: the first ones. FileError, with the line, for what is none.
    """
    where = files.short(path)
    if not str(path).endswith(".jsonl"):
        texts = data.read_documents([path])
        if held_out is not None:
            check_share(held_out)
            _, texts = data.split_held_out(texts, held_out)
        return [document_of(text, text) for text in texts[:limit]]
    if held_out is not None:
        raise InputError(f"held_out: expected a text that training reads, got {where}; leave it out")
    found = []
    for item in items.read_items(path, limit):
        text = items.text_of(item, "text", where)
        found.append(document_of(text, items.text_of(item, "page", where) if "page" in item.fields else text))
    return found


def document_of(text, page):
    """Words are counted as lm-evaluation-harness does, what is empty before the first space too.

    document_of("a b", " a b").n_words -> 3
    """
    return Document(text, len(re.split(r"\s+", page)), len(page.encode("utf-8")))


def rolling(n_ids, n_ctx, stride):
    """Windows over n ids, the first of which is <|endoftext|>: every other one is predicted once, as soon as possible.

    The first window predicts n_ctx ids, each further one the next `stride` behind n_ctx - stride others; the last one
    goes back for as much. stride = n_ctx is lm-evaluation-harness's loglikelihood_rolling.
    rolling(8, 3, 3) -> [(0, 4, 3), (3, 7, 3), (4, 8, 1)]
    """
    end = min(n_ctx + 1, n_ids)
    found = [Window(0, end, end - 1)] if n_ids > 1 else []
    while end < n_ids:
        n_said = min(stride, n_ids - end)
        end += n_said
        found.append(Window(end - n_ctx - 1, end, n_said))
    return found


def guide(n_ids, n_ctx, stride):
    """Windows as the guide of `transformers` to perplexity cuts them: n_ctx ids, the next ones `stride` further on.

    Ids that no window before has shown are predicted, but a window's first one, which nothing precedes: with
    stride = n_ctx one of each window is lost. guide(8, 3, 3) -> [(0, 3, 2), (3, 6, 2), (6, 8, 1)]
    """
    found, before = [], 1
    for start in range(0, n_ids, stride):
        end = min(start + n_ctx, n_ids)
        n_said = end - max(before, start + 1)
        if n_said > 0:
            found.append(Window(start, end, n_said))
        before = end
        if end == n_ids:
            break
    return found


def pieces(documents: list[Document], gpt: Any, windows: str = "rolling", stride: int | None = None) -> list[Piece]:
    """The windows of all documents. `stride`: None is n_ctx, windows without overlap. InputError for a wrong one."""
    check_choice("windows", windows, WINDOWS)
    n_ctx = gpt.config.n_ctx
    stride = n_ctx if stride is None else stride
    check_whole("stride", stride, 1)
    stride = min(stride, n_ctx)
    tokenizer = items.tokenizer_of(gpt)
    found: list[Piece] = []
    for number, document in enumerate(documents):
        ids = tokenizer.encode(document.text)
        row = [items.end_of_text(gpt), *ids] if windows == "rolling" else ids
        for start, end, n_said in (rolling if windows == "rolling" else guide)(len(row), n_ctx, stride):
            pair = likelihood.Pair(row[start : end - n_said], row[end - n_said : end])
            found.append(Piece(len(found) + 1, number, pair))
    if not found:
        raise FileError("data: expected at least two tokens to predict one from the other, got one; name a longer text")
    return found


def measure(some: list[Piece], gpt: Any, batch_size: int = 8) -> list[dict[str, Any]]:
    """A row for each window: its document, how many tokens it predicts, and the nats that they cost."""
    pairs = [piece.pair for piece in some]
    # windows of one text have no beginning in common
    scores = likelihood.score(pairs, gpt.params, gpt.config, gpt.ops, batch_size, share=False)
    return [
        {"line": piece.line, "document": piece.document, "n_tokens": len(score.log_probs), "nats": -score.total}
        for piece, score in zip(some, scores, strict=True)
    ]


def summary(rows: list[dict[str, Any]], documents: list[Document], windows: str = "rolling") -> dict[str, Any]:
    """What the rows come to: {name: number}, the names of NUMBERS.

    With windows="guide" some tokens cost nothing, as nobody predicts them, so there is no number by word or byte.
    """
    nats, n_tokens = sum(row["nats"] for row in rows), sum(row["n_tokens"] for row in rows)
    n_words, n_bytes = (sum(getattr(document, name) for document in documents) for name in ("n_words", "n_bytes"))
    measured = Evaluation(nats, n_tokens, n_bytes)
    by_token = {"nats_per_token": measured.loss, "token_perplexity": measured.perplexity}
    by_original = {
        "word_perplexity": results.exp(nats / n_words), "byte_perplexity": results.exp(nats / n_bytes),
        "bits_per_byte": measured.bits_per_byte,
    }  # fmt: skip
    counts = {"n_documents": len(documents), "n_tokens": n_tokens, "n_words": n_words, "n_bytes": n_bytes}
    return by_token | (by_original if windows == "rolling" else {}) | counts
