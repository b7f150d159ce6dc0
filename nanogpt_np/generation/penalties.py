"""What a text holds already decides what may come next: penalties, biases and bans, logits in, logits out.

Enter: logits [n_batch, n_vocab], and the ids of each row's text so far. Leave: new logits, -inf where a token may no
longer be chosen. Each is a pure function, as those of generation/sampling.py are, which says in what order they act.
Next: generation/patterns.py.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError, is_number, is_whole, shown

Texts = Sequence[Sequence[int]]  # n_batch lists of ids
MOST_BIASES = 100_000  # each is looked at for every token


def sequence_bias(logits: np.ndarray, previous_ids: Texts, biases: dict[tuple[int, ...], float]) -> np.ndarray:
    """Add a number to some tokens: sequence_bias([[1., 2.]], [[]], {(1,): 3.0}) -> [[1., 5.]]

    A key of several ids counts for the last one, where the text ends with the others. `transformers` has it under this
    name, OpenAI's interface for single ids as logit_bias. -inf is a ban.
    """
    logits = logits.copy()
    for row, ids in zip(logits, previous_ids, strict=True):
        for sequence, bias in biases.items():
            if ends_with(ids, sequence[:-1]):
                row[sequence[-1]] += bias
    return logits


def repetition_penalty(logits: np.ndarray, previous_ids: Texts, penalty: float) -> np.ndarray:
    """Make tokens that have occurred less likely: positive logits / penalty, negative * penalty.

    Keskar et al. 2019 (CTRL), section 4.1, with the sign treated as in `transformers`. 1 changes nothing.
    """
    logits = logits.copy()
    for row, ids in zip(logits, previous_ids, strict=True):
        seen = np.unique(np.asarray(ids, np.int64))
        row[seen] = np.where(row[seen] > 0, row[seen] / penalty, row[seen] * penalty)
    return logits


def count_penalties(logits: np.ndarray, new_ids: Texts, frequency: float, presence: float) -> np.ndarray:
    """Take `frequency` from a logit for each time its token was said, and `presence` once if it was said at all.

    logit[i] - count[i] * frequency - (count[i] > 0) * presence, over what was generated, not over the prompt: OpenAI,
    "Frequency and presence penalties" of its API's documentation. Negative numbers favour what was said.
    """
    logits = logits.copy()
    for row, ids in zip(logits, new_ids, strict=True):
        said, counts = np.unique(np.asarray(ids, np.int64), return_counts=True)
        row[said] -= (counts * float(frequency) + float(presence)).astype(row.dtype)
    return logits


def no_repeat_ngram(logits: np.ndarray, previous_ids: Texts, n: int) -> np.ndarray:
    """Ban every token that would complete `n` ids which stand in the text already (Paulus et al. 2017, section 2.5).

    no_repeat_ngram([[1., 1., 1.]], [[0, 2, 0]], 2) -> [[1., 1., -inf]]; the prompt counts, as in `transformers`.
    """
    logits = logits.copy()
    for row, ids in zip(logits, previous_ids, strict=True):
        if len(ids) >= n:
            windows = np.lib.stride_tricks.sliding_window_view(np.asarray(ids, np.int64), n)
            same = (windows[:, :-1] == np.asarray(ids, np.int64)[len(ids) - n + 1 :]).all(axis=1)
            row[windows[same, -1]] = -np.inf
    return logits


def ban_words(logits: np.ndarray, previous_ids: Texts, words: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Ban the last id of a word, where the text ends with its others: no such sequence of ids is ever completed.

    ban_words([[1., 2., 3.]], [[0]], [(0, 2), (1, 1)]) -> [[1., 2., -inf]]; `bad_words_ids` of `transformers`.
    """
    logits = logits.copy()
    for row, ids in zip(logits, previous_ids, strict=True):
        row[[word[-1] for word in words if ends_with(ids, word[:-1])]] = -np.inf
    return logits


def ban(logits: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """Remove some ids for good: ban([[1., 2., 3.]], [2]) -> [[1., 2., -inf]]"""
    logits = logits.copy()
    logits[..., np.asarray(ids, np.int64)] = -np.inf
    return logits


def ends_with(ids: Sequence[int], end: Sequence[int]) -> bool:
    """Are these the last ids? ends_with([1, 2, 3], (2, 3)) -> True; nothing is the end of everything."""
    return len(end) <= len(ids) and all(a == b for a, b in zip(ids[len(ids) - len(end) :], end, strict=True))


def check_biases(given: Any) -> dict[Any, float]:
    """The biases as a dict; InputError for what is none, or whose keys or numbers make no sense."""
    if given is None:
        return {}
    if not isinstance(given, dict) or len(given) > MOST_BIASES:
        expected = f"a dict of at most {MOST_BIASES:,} entries, {{id, ids or text: number}}"
        raise InputError(f"logit_bias: expected {expected}, got {shown(given)}")
    for key, bias in given.items():
        _check_sequence("logit_bias", key)
        if not is_number(bias) or not (bias == -math.inf or -1e6 <= bias <= 1e6):
            raise InputError(f"logit_bias: expected numbers from -1e6 to 1e6, or -inf, got {shown(bias)}")
    return {int(key) if is_whole(key) else key: float(bias) for key, bias in given.items()}


def check_words(name: str, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Words as they were given, each a text or a tuple of ids; InputError for one that is neither, or empty."""
    for word in given:
        _check_sequence(name, word)
    return tuple(word if isinstance(word, str) else tuple(word) for word in given)


def _check_sequence(name: str, value: Any) -> None:
    """InputError for what is neither an id, nor a text, nor several ids."""
    if is_whole(value) and name == "logit_bias" or isinstance(value, str) and value:
        return
    if isinstance(value, (list, tuple, np.ndarray)) and len(value) and all(map(is_whole, value)):
        return
    raise InputError(f"{name}: expected texts, or lists of ids, none of them empty, got {shown(value)}")


def spelled_biases(biases: dict[Any, float], tokenizer: Any) -> dict[tuple[int, ...], float]:
    """Biases with every key a tuple of ids; a text counts as its tokens, with the space before it if it has one."""
    return {
        (key,) if is_whole(key) else tuple(encoded("logit_bias", key, tokenizer)): bias for key, bias in biases.items()
    }


def spelled_words(name: str, words: Sequence[Any], tokenizer: Any) -> list[list[tuple[int, ...]]]:
    """For each word the ways to write it as ids: a text as it stands and with a space before it, ids as they are."""
    found = []
    for word in words:
        forms = [word, f" {word}"] if isinstance(word, str) and not word[0].isspace() else [word]
        found.append(list(dict.fromkeys(tuple(encoded(name, form, tokenizer)) for form in forms)))
    return found


def encoded(name: str, word: Any, tokenizer: Any) -> Sequence[int]:
    """A word as ids; InputError where it is a text and the model has no vocabulary."""
    if not isinstance(word, str):
        return [int(i) for i in word]
    if tokenizer is None:
        raise InputError(f"{name}: expected ids, got text; this model has no vocabulary files")
    return tokenizer.encode(word)
