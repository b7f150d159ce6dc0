"""Bootstrapped intervals: as long as theory says, the same for a seed, none where nothing was chosen."""

import numpy as np
import pytest

from nanogpt_np.evaluation import intervals


def test_an_interval_of_a_mean_is_as_long_as_theory_says():
    """400 numbers of deviation 1: half of it is 1.96 / sqrt(400) = 0.098; 2,000 draws know that to about 4 %."""
    values = np.random.default_rng(0).normal(3.0, 1.0, 400)
    found = intervals.of_ratio(values, np.ones(400))
    assert found.value == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
    assert found.low < found.value < found.high and found.excludes_zero


def test_nineteen_of_twenty_intervals_hold_the_truth():
    """Of 100 samples of 40: 95 % but for chance (deviation 2.2 %) and for what small samples lose (about 1 %)."""
    rng = np.random.default_rng(1)
    samples = [rng.exponential(2.0, 40) for _ in range(100)]
    held = [found.low < 2.0 < found.high for found in (intervals.of_ratio(one, np.ones(40)) for one in samples)]
    assert 0.87 < np.mean(held) < 1.0


def test_texts_are_drawn_as_wholes():
    """Ten texts of a hundred n-grams each, all or none of them found: as uncertain as ten numbers."""
    found = intervals.of_ratio([100.0] * 5 + [0.0] * 5, [100.0] * 10)
    assert found.value == 0.5 and found.high - found.low > 0.4


def test_the_seed_decides():
    values = np.random.default_rng(0).normal(size=20)
    assert intervals.of_ratio(values, np.ones(20), 4) == intervals.of_ratio(values, np.ones(20), 4)
    assert intervals.of_ratio(values, np.ones(20), 4) != intervals.of_ratio(values, np.ones(20), 5)


def test_shares():
    shares = intervals.shares_of(7, np.random.default_rng(0))
    assert shares.shape == (intervals.N_DRAWS, 7) and np.allclose(shares.sum(axis=1), 1)
    assert np.all(intervals.shares_of(1, np.random.default_rng(0)) == 1)


def test_where_there_is_nothing_there_is_no_number():
    assert np.isnan(intervals.of_ratio([0.0, 0.0], [0.0, 0.0])).all()
    some = intervals.of_ratio([0.0, 1.0], [0.0, 2.0])  # a draw without the second text has nothing to divide by
    assert some == (0.5, 0.5, 0.5)
    assert not intervals.Interval(0.5, -0.1, 1.1).excludes_zero
