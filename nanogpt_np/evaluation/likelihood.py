"""How likely are some words behind others? The one question that every number of this wing is made of.

Enter: pairs of ids, what stands before and what is said. Leave: the log-probability of each token that is said, and
whether it was the likeliest. What texts begin with alike is read once, into a cache that each of them goes on from;
their rests are read together. Next: evaluation/items.py.
"""

import itertools
from typing import Any, NamedTuple

import numpy as np

from .. import model
from ..errors import InputError, check_whole
from ..generation import scores
from ..generation.session import Kept, common

SHARED = 8  # tokens: a shorter beginning is read sooner with each text than apart from them
TOKENS = 2048  # of all texts that are read together: more are no faster, and need memory for each


class Pair(NamedTuple):
    """Ids that stand before, at least one, and ids that are said behind them, at least one."""

    before: list[int]
    said: list[int]

    @property
    def read(self) -> list[int]:
        """What a model reads: everything but the last id, behind which nothing is asked."""
        return self.before + self.said[:-1]


class Score(NamedTuple):
    """Of each id that is said: its log-probability in nats, and is it the likeliest where those before it are given."""

    log_probs: Any  # float64 [n_said]
    is_likeliest: Any  # bool [n_said]

    @property
    def total(self) -> float:
        """The log-probability of all that is said."""
        return float(self.log_probs.sum())

    @property
    def is_greedy(self) -> bool:
        """Would a greedy model have said exactly this?"""
        return bool(self.is_likeliest.all())


def score(pairs: list[Pair], params: Any, config: Any, ops: Any, batch_size: int = 8, kept: Kept | None = None,
          share: bool = True) -> list[Score]:  # fmt: skip
    """A Score for each pair, in their order.

    Equal to reading each text alone up to rounding: products of more rows add up in another order. `kept`: what the
    last call read, for texts that begin as its did; `share`: False reads every text from its first token.
    InputError for an empty side, more than n_ctx ids to read, ids outside the vocabulary.
    """
    check_whole("batch_size", batch_size, 1)
    for pair in pairs:
        check_pair(pair, config)
    kept, found = kept or Kept(), [None] * len(pairs)
    for batch in batches(pairs, batch_size, share):
        some = [pairs[i] for i in batch]
        for i, of_one in zip(batch, _score_together(some, params, config, ops, kept, share), strict=True):
            found[i] = of_one
    return found


def check_pair(pair, config):
    """InputError for a pair of which a model cannot read everything but the last id."""
    if not pair.before or not pair.said:
        empty = "before" if not pair.before else "said"
        raise InputError(f"{empty}: expected at least one token, got none; begin with <|endoftext|>")
    scores.check_ids(pair.read, config)
    scores.check_ids(pair.said[-1:], config)


def batches(pairs, batch_size, share=True):
    """Numbers of pairs that are read together: those with one beginning by themselves, the others by their length.

    batches([Pair([1, 2], [3]), Pair([5], [6]), Pair([1, 2], [4])], 8) -> [[0, 2], [1]]
    """
    families = {}
    for i, pair in enumerate(pairs):
        families.setdefault(tuple(pair.before) if share else i, []).append(i)
    alone = [family[0] for family in families.values() if len(family) == 1]
    together = [family for family in families.values() if len(family) > 1]
    together.append(sorted(alone, key=lambda i: len(pairs[i].read)))
    return [batch for family in together if family for batch in _cut(family, pairs, batch_size)]


def _cut(family, pairs, batch_size):
    """A list of numbers -> lists of at most batch_size, and of about TOKENS tokens."""
    longest = max(len(pairs[i].read) for i in family)
    n = max(min(batch_size, TOKENS // longest), 1)
    return [family[start : start + n] for start in range(0, len(family), n)]


def _score_together(pairs, params, config, ops, kept, share):
    """The Scores of a few pairs in one pass behind what they have in common."""
    first, *others = (pair.read for pair in pairs)
    n_shared = min((common(first, other) for other in others), default=common(first, kept.ids[: kept.length]))
    n_shared = min([n_shared, *(len(pair.before) - 1 for pair in pairs)])  # the last id before is where saying begins
    rests = [pair.read[n_shared if share and n_shared >= SHARED else 0 :] for pair in pairs]
    ids = np.array(list(itertools.zip_longest(*rests, fillvalue=0))).T  # what stands behind a text changes nothing
    if share and n_shared >= SHARED:
        _, cache = kept.read(first[:n_shared], params, config, ops)
        cache = cache.select(np.zeros(len(pairs), np.int64))
    else:  # int8 rounds what is remembered too, so it is read with a cache
        cache = ops.make_cache(config, *ids.shape) if hasattr(ops, "make_cache") else None
    with np.errstate(all="ignore"):
        final, _ = model.trunk(ids, params, config, ops, cache=cache)
    ends = [(len(rest) - len(pair.said), len(rest)) for rest, pair in zip(rests, pairs, strict=True)]
    rows = np.concatenate([final[row, start:end] for row, (start, end) in enumerate(ends)])
    log_probs, is_likeliest = scores.chosen(rows, [i for pair in pairs for i in pair.said], params, ops)
    edges = np.cumsum([len(pair.said) for pair in pairs])[:-1]
    parts = zip(np.split(log_probs, edges), np.split(is_likeliest, edges), strict=True)
    return [Score(*part) for part in parts]
