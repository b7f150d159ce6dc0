"""How far a measured figure depends on what it was measured on: bootstrapped intervals, seeded.

Enter: numbers, one for each thing that was chosen (texts; words crossed with templates), and a seed. Leave: an
Interval. Things are drawn again with replacement, whole: what belongs to one text or word stays together (Efron and
Tibshirani 1993, chapter 13). Next: evaluation/bias.py.
"""

from typing import NamedTuple

import numpy as np

N_DRAWS = 2000  # enough that a bound moves by less than a twentieth of the interval's length from seed to seed
LEVEL = 0.95


class Interval(NamedTuple):
    """A figure, and between what bounds it lies in 95 of 100 draws."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self):
        """Whether the figure is told from nothing."""
        return self.low > 0.0 or self.high < 0.0

    def __str__(self):
        return f"{self.value:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def shares_of(n, rng, n_draws=N_DRAWS):  # -> float64 [n_draws, n], each row sums to 1
    """How often each of n things is drawn when n are drawn with replacement, as shares; of one thing always 1."""
    return rng.multinomial(n, np.full(n, 1.0 / n), n_draws) / n


def interval(value, draws):
    """The Interval around a figure from its bootstrapped values [n_draws]: their percentiles."""
    low, high = np.percentile(draws, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Interval(float(value), float(low), float(high))


def of_ratio(parts, wholes, seed=0):
    """sum(parts) / sum(wholes) over texts, as an Interval that draws the texts again; both float64 [n_texts].

    of_ratio([1, 1], [2, 2]).high -> 0.5. NaN three times where there is nothing to divide by.
    """
    parts, wholes = np.asarray(parts, np.float64), np.asarray(wholes, np.float64)
    if not wholes.sum() > 0:
        return Interval(np.nan, np.nan, np.nan)
    return interval(parts.sum() / wholes.sum(), ratio_draws(parts, wholes, np.random.default_rng(seed)))


def ratio_draws(parts, wholes, rng):  # -> float64 [n_draws]
    """The ratio of sums with the texts drawn again and again; draws that have nothing to divide by are left out."""
    shares = shares_of(len(parts), rng)
    above, below = shares @ parts, shares @ wholes
    return above[below > 0] / below[below > 0]
