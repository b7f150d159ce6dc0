"""From logits to the next id: small pure functions, logits in, logits out, that compose in any order.

Enter: logits [n_batch, n_vocab] of the last position. A token that may no longer be chosen gets -inf.
Leave: one id per row, by `greedy` or by `draw`. `Sampling` names a composition; what depends on the text so far stands
in the next room. Next: generation/penalties.py.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import InputError, check_whole, is_number, is_whole, shown
from .penalties import (
    ban,
    ban_words,
    check_biases,
    check_words,
    count_penalties,
    no_repeat_ngram,
    repetition_penalty,
    sequence_bias,
    spelled_biases,
    spelled_words,
)


def temperature(logits: np.ndarray, t: float) -> np.ndarray:
    """Divide by `t`: below 1 the likely become likelier, above 1 all become more equal."""
    return logits / float(t)  # a NumPy float64 would make float64 of float32


def top_k(logits: np.ndarray, k: int) -> np.ndarray:
    """Keep the `k` largest, and what ties with the k-th (Fan et al. 2018, section 5.4).

    top_k([3., 1., 2.], 2) -> [3., -inf, 2.]
    """
    k = min(k, logits.shape[-1])
    kth = np.partition(logits, -k, axis=-1)[..., -k, None]
    return np.where(logits < kth, -np.inf, logits)


def top_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Keep the fewest tokens whose probabilities add up to at least `p` (Holtzman et al. 2020, section 3.1).

    1 keeps them all, also those that are too small to be seen in the sum. Of equals the first ones stay.
    """
    if p >= 1:
        return logits.copy()
    rows = probabilities(logits).reshape(-1, logits.shape[-1])
    kept = np.array([nucleus(probs, p) for probs in rows]).reshape(logits.shape)
    return np.where(kept, logits, -np.inf)


def nucleus(probs: np.ndarray, p: float) -> np.ndarray:  # [n_vocab] -> the same, bool
    """Which tokens top_p() keeps. Most are so unlikely that all of them hold less than 1 - p: these are not sorted."""
    ranked = np.sort(probs[~(probs < (1 - p) / (2 * probs.size))])[::-1]
    before = np.cumsum(ranked) - ranked  # what the better ones hold together; the first has 0 and stays
    n_kept = np.count_nonzero(before < p)
    last = ranked[n_kept - 1]
    kept = probs >= last
    n_too_many = np.count_nonzero(kept) - n_kept  # of those that equal the last one
    kept[np.flatnonzero(probs == last)[::-1][:n_too_many]] = False
    return kept


def min_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Keep the tokens at least `p` times as likely as the likeliest (Nguyen et al. 2024, section 3)."""
    if p == 0:
        return logits.copy()
    return np.where(logits < logits.max(axis=-1, keepdims=True) + math.log(p), -np.inf, logits)


def typical_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Keep the tokens whose surprise is nearest to the one expected, until they hold `p` (Meister et al. 2023, eq. 8).

    A token's surprise is -log of its probability, the expected one the entropy. Ties with the last one kept stay, as in
    `transformers`; 1 keeps all.
    """
    if p >= 1:
        return logits.copy()
    log_probs = log_softmax(logits)
    probs = np.exp(log_probs)
    entropy = -np.sum(probs * np.where(probs > 0, log_probs, 0), axis=-1, keepdims=True)  # 0 log 0 is 0
    distance = np.abs(-log_probs - entropy)
    order = np.argsort(distance, axis=-1)  # among equals any: all of them stay
    total = np.cumsum(np.take_along_axis(probs, order, axis=-1), axis=-1)
    last = np.minimum((total < p).sum(axis=-1, keepdims=True), logits.shape[-1] - 1)  # the one that reaches p
    farthest = np.take_along_axis(distance, np.take_along_axis(order, last, axis=-1), axis=-1)
    return np.where(distance > farthest, -np.inf, logits)


def log_softmax(logits: np.ndarray) -> np.ndarray:  # [..., n_vocab] -> the same, float64
    """The logarithm of the probabilities, in float64 whatever the logits' dtype."""
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def probabilities(logits: np.ndarray) -> np.ndarray:
    """ops.softmax in float64, whatever the logits' dtype; in one array, as new ones would take most of the time."""
    probs = logits.astype(np.float64)
    probs -= probs.max(axis=-1, keepdims=True)
    np.exp(probs, out=probs)
    probs /= probs.sum(axis=-1, keepdims=True)
    return probs


def greedy(logits: np.ndarray) -> np.ndarray:  # [n_batch, n_vocab] -> [n_batch]
    """The likeliest id of each row; of equals the first. InputError where a row holds NaN or nothing."""
    chosen = logits.argmax(axis=-1)  # NaN where there is one
    _check(logits[np.arange(len(logits)), chosen])
    return chosen


def draw(  # [n_batch, n_vocab], n_batch generators -> [n_batch]
    logits: np.ndarray, rngs: Sequence[np.random.Generator]
) -> np.ndarray:
    """One id per row with the probability that softmax gives it, each row from its own generator.

    InputError where a row holds NaN or nothing to choose from.
    """
    _check(logits.max(axis=-1))
    chosen = []
    for row, rng in zip(logits, rngs, strict=True):
        possible = np.flatnonzero(row > -np.inf)  # of top-k or top-p few are left
        total = np.cumsum(probabilities(row[possible]))
        place = min(rng.random() * total[-1], np.nextafter(total[-1], 0))  # rounding must not lead past the end
        chosen.append(possible[np.searchsorted(total, place, side="right")])
    return np.array(chosen)


@dataclass(frozen=True)
class Sampling:
    """How the next id is chosen, in this order: penalties, bans, temperature, top-k, top-p, min-p, typical-p, a draw.

    0, 1, None or nothing leaves a step out. In full: `logit_bias` {id, ids or text: number}, `repetition_penalty`,
    `frequency_penalty` and `presence_penalty`, `no_repeat_ngram_size`, `banned_words` (texts as the tokenizer writes
    them, with and without a space before; or lists of ids), `banned_ids` (an id, or several), which penalties.py has;
    `temperature` (0 is greedy), `top_k`, `top_p`, `min_p`, `typical_p`, a draw. That is the order of transformers 5.
    InputError where a number makes no sense.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    banned_ids: Any = ()
    typical_p: float | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    no_repeat_ngram_size: int = 0
    logit_bias: Any = None
    banned_words: Any = ()
    processes: bool = field(default=False, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        t, k, penalty = self.temperature, self.top_k, self.repetition_penalty
        # below 1e-6 a float32 logit divided by it can become infinite
        expected = "0 (greedy) or a number from 1e-6 to 1e6"
        _require("temperature", t, expected, is_number(t) and (t == 0 or 1e-6 <= t <= 1e6))
        _require("top_k", k, "a whole number of at least 1 (0: all)", k is None or is_whole(k) and k >= 0)
        for name, least in (("top_p", 0), ("typical_p", 0), ("min_p", -1)):
            p, expected = getattr(self, name), f"a share {'from 0 to' if least else 'above 0, at most'} 1"
            _require(name, p, expected, p is None or is_number(p) and least < p <= 1 and p >= 0)
        expected = "a number from 1e-6 to 1e6 (1: no penalty)"
        _require("repetition_penalty", penalty, expected, is_number(penalty) and 1e-6 <= penalty <= 1e6)
        self._check_what_looks_back()

    def _check_what_looks_back(self) -> None:
        for name in ("frequency_penalty", "presence_penalty"):
            penalty = getattr(self, name)
            _require(name, penalty, "a number from -100 to 100", is_number(penalty) and -100 <= penalty <= 100)
        check_whole("no_repeat_ngram_size", self.no_repeat_ngram_size)
        object.__setattr__(self, "logit_bias", check_biases(self.logit_bias) or None)
        for name in ("banned_ids", "banned_words"):
            object.__setattr__(self, name, listed(name, getattr(self, name)))
        object.__setattr__(self, "banned_words", check_words("banned_words", self.banned_words))
        looks_back = (self.repetition_penalty != 1, self.frequency_penalty, self.presence_penalty,
                      self.no_repeat_ngram_size, self.logit_bias, self.banned_words, self.banned_ids)  # fmt: skip
        object.__setattr__(self, "processes", any(looks_back))  # looked at for every token, so only once here

    def spelled(self, tokenizer: Any) -> "Sampling":
        """The same with ids for every text; InputError where there is one and the model has no vocabulary."""
        if not self.logit_bias and not self.banned_words:
            return self
        words = [form for forms in spelled_words("banned_words", self.banned_words, tokenizer) for form in forms]
        return replace(self, logit_bias=spelled_biases(self.logit_bias or {}, tokenizer), banned_words=words)

    def process(  # [n_batch, n_vocab] -> the same
        self, logits: np.ndarray, previous_ids: Sequence[Sequence[int]], n_prompts: Sequence[int] | None = None
    ) -> np.ndarray:
        """What the text so far changes; the first n_prompts[i] ids of row i were not generated (none: 0)."""
        if self.logit_bias:
            logits = sequence_bias(logits, previous_ids, self.logit_bias)
        if self.repetition_penalty != 1.0:
            logits = repetition_penalty(logits, previous_ids, self.repetition_penalty)
        if self.frequency_penalty or self.presence_penalty:
            starts = n_prompts or [0] * len(previous_ids)
            new_ids = [ids[n:] for ids, n in zip(previous_ids, starts, strict=True)]
            logits = count_penalties(logits, new_ids, self.frequency_penalty, self.presence_penalty)
        if self.no_repeat_ngram_size:
            logits = no_repeat_ngram(logits, previous_ids, self.no_repeat_ngram_size)
        if self.banned_words:
            logits = ban_words(logits, previous_ids, self.banned_words)
        return ban(logits, self.banned_ids) if self.banned_ids else logits

    def choose(  # [n_batch, n_vocab] -> [n_batch]
        self, logits: np.ndarray, previous_ids: Sequence[Sequence[int]], rngs: Sequence[np.random.Generator],
        n_prompts: Sequence[int] | None = None,
    ) -> np.ndarray:  # fmt: skip
        """The next id of each row; `previous_ids`, `rngs` and `n_prompts` (as for process) have one entry per row."""
        if self.temperature == 0 and not self.processes:
            return greedy(logits)
        _check(logits.max(axis=-1))
        if self.processes:
            logits = self.process(logits, previous_ids, n_prompts)
        if self.temperature == 0:
            return greedy(logits)
        return draw(self.warp(logits), rngs)

    def warp(self, logits: np.ndarray) -> np.ndarray:  # [n_batch, n_vocab] -> the same
        """The steps from temperature on, up to the draw."""
        if self.temperature != 1.0:
            logits = temperature(logits, self.temperature)
        if self.top_k:
            logits = top_k(logits, self.top_k)
        if self.top_p:
            logits = top_p(logits, self.top_p)
        if self.min_p:
            logits = min_p(logits, self.min_p)
        return typical_p(logits, self.typical_p) if self.typical_p else logits


def listed(name: str, value: Any) -> tuple[Any, ...]:
    """One thing, several, or none, as a tuple: listed("stop", 5) -> (5,); InputError for what cannot be any of them."""
    if value is None:
        return ()
    if isinstance(value, str) or is_whole(value):
        return (value,)
    try:
        if isinstance(value, (bytes, bytearray, memoryview, dict)):
            raise TypeError
        return tuple(value)
    except TypeError:
        raise InputError(f"{name}: expected one, a list of several, or none, got {shown(value)}") from None


def check_ids(name: str, ids: Iterable[Any], n_vocab: int) -> None:
    """InputError where one of some ids is none of the vocabulary."""
    for i in ids:
        if not is_whole(i) or not 0 <= i < n_vocab:
            raise InputError(f"{name}: expected ids from 0 to {n_vocab - 1}, got {shown(i)}")


def _check(best: np.ndarray) -> None:  # the best logit of each row, NaN where there is one
    """A NaN would win every comparison or none, and come out as token 0: say so instead."""
    if np.isfinite(best).all():
        return
    if np.isnan(best).any():
        raise InputError("expected logits that are numbers, got NaN; the weights or the input are broken")
    got = best[~np.isfinite(best)][0]
    advice = "the weights or the input are broken" if got > 0 else "ban fewer ids"
    raise InputError(f"expected a token to choose from, got a best logit of {got}; {advice}")


def _require(name: str, value: Any, expected: str, holds: bool) -> None:
    if not holds:
        raise InputError(f"{name}: expected {expected}, got {shown(value)}")
