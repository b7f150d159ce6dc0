"""From logits to the next id: small pure functions, logits in, logits out, that compose in any order.

Enter: logits [n_batch, n_vocab] of the last position. A token that may no longer be chosen gets -inf.
Leave: one id per row, by `greedy` or by `draw`. `Sampling` names a composition. Next: generation/request.py.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import ops
from ..errors import InputError, is_number, is_whole, shown


def repetition_penalty(  # [n_batch, n_vocab], n_batch lists of ids
    logits: np.ndarray, previous_ids: Sequence[Sequence[int]], penalty: float
) -> np.ndarray:
    """Make tokens that have occurred less likely: positive logits / penalty, negative * penalty.

    Keskar et al. 2019 (CTRL), section 4.1, with the sign treated as in `transformers`. 1 changes nothing.
    """
    logits = logits.copy()
    for row, ids in zip(logits, previous_ids, strict=True):
        seen = np.unique(np.asarray(ids, np.int64))
        row[seen] = np.where(row[seen] > 0, row[seen] / penalty, row[seen] * penalty)
    return logits


def ban(logits: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """Remove some ids for good: ban([[1., 2., 3.]], [2]) -> [[1., 2., -inf]]"""
    logits = logits.copy()
    logits[..., np.asarray(ids, np.int64)] = -np.inf
    return logits


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

    1 keeps them all, also those that are too small to be seen in the sum.
    """
    if p >= 1:
        return logits.copy()
    order = np.argsort(-logits, axis=-1, kind="stable")
    probs = np.take_along_axis(probabilities(logits), order, axis=-1)
    before = np.cumsum(probs, axis=-1) - probs  # what the better ones hold together; the first has 0 and stays
    removed = np.empty(logits.shape, bool)
    np.put_along_axis(removed, order, before >= p, axis=-1)
    return np.where(removed, -np.inf, logits)


def min_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Keep the tokens at least `p` times as likely as the likeliest (Nguyen et al. 2024, section 3)."""
    if p == 0:
        return logits.copy()
    return np.where(logits < logits.max(axis=-1, keepdims=True) + math.log(p), -np.inf, logits)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """softmax in float64, whatever the logits' dtype."""
    return ops.softmax(logits.astype(np.float64))


def greedy(logits: np.ndarray) -> np.ndarray:  # [n_batch, n_vocab] -> [n_batch]
    """The likeliest id of each row; of equals the first. InputError where a row holds NaN or nothing."""
    chosen = logits.argmax(axis=-1)  # NaN where there is one
    _check(np.take_along_axis(logits, chosen[:, None], axis=-1))
    return chosen


def draw(  # [n_batch, n_vocab], n_batch generators -> [n_batch]
    logits: np.ndarray, rngs: Sequence[np.random.Generator]
) -> np.ndarray:
    """One id per row with the probability that softmax gives it, each row from its own generator.

    InputError where a row holds NaN or nothing to choose from.
    """
    _check(logits.max(axis=-1))
    chosen = []
    for rng, total in zip(rngs, np.cumsum(probabilities(logits), axis=-1), strict=True):
        place = min(rng.random() * total[-1], np.nextafter(total[-1], 0))  # rounding must not lead past the end
        chosen.append(np.searchsorted(total, place, side="right"))
    return np.array(chosen)


@dataclass(frozen=True)
class Sampling:
    """How the next id is chosen, in this order: repetition penalty, bans, temperature, top-k, top-p, min-p, a draw.

    temperature 0 is greedy; None and 1 leave a step out. `banned_ids`: an id, or several.
    InputError where a number makes no sense.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    banned_ids: Any = ()

    def __post_init__(self) -> None:
        t, k, penalty = self.temperature, self.top_k, self.repetition_penalty
        # below 1e-6 a float32 logit divided by it can become infinite
        expected = "0 (greedy) or a number from 1e-6 to 1e6"
        _require("temperature", t, expected, is_number(t) and (t == 0 or 1e-6 <= t <= 1e6))
        _require("top_k", k, "a whole number of at least 1", k is None or is_whole(k) and k >= 1)
        for name, expected in (("top_p", "a share above 0, at most 1"), ("min_p", "a share from 0 to 1")):
            p = getattr(self, name)
            _require(name, p, expected, p is None or is_number(p) and 0 <= p <= 1 and (p > 0 or name == "min_p"))
        expected = "a number from 1e-6 to 1e6 (1: no penalty)"
        _require("repetition_penalty", penalty, expected, is_number(penalty) and 1e-6 <= penalty <= 1e6)
        object.__setattr__(self, "banned_ids", listed("banned_ids", self.banned_ids))

    def choose(  # [n_batch, n_vocab] -> [n_batch]
        self, logits: np.ndarray, previous_ids: Sequence[Sequence[int]], rngs: Sequence[np.random.Generator]
    ) -> np.ndarray:
        """The next id of each row; `previous_ids` and `rngs` have one entry per row."""
        if (self.temperature, self.repetition_penalty, self.banned_ids) == (0, 1.0, ()):
            return greedy(logits)
        _check(logits.max(axis=-1))
        if self.repetition_penalty != 1.0:
            logits = repetition_penalty(logits, previous_ids, self.repetition_penalty)
        if self.banned_ids:
            logits = ban(logits, self.banned_ids)
        if self.temperature == 0:
            return greedy(logits)
        if self.temperature != 1.0:
            logits = temperature(logits, self.temperature)
        if self.top_k:
            logits = top_k(logits, self.top_k)
        if self.top_p:
            logits = top_p(logits, self.top_p)
        if self.min_p:
            logits = min_p(logits, self.min_p)
        return draw(logits, rngs)


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
