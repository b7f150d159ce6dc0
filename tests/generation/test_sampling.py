"""sampling.py against definitions written here as plain loops over Python floats."""

import copy
import math

import numpy as np
import pytest

from nanogpt_np.errors import InputError
from nanogpt_np.generation import sampling
from nanogpt_np.generation.sampling import Sampling

INF = math.inf


def random_logits(n_batch=5, n_vocab=17, seed=0, dtype=np.float32, spread=3.0):
    return (np.random.default_rng(seed).normal(size=(n_batch, n_vocab)) * spread).astype(dtype)


def softmax(row):
    best = max(row)
    e = [math.exp(value - best) for value in row]
    return [value / sum(e) for value in e]


def naive_top_k(row, k):
    kth = sorted(row, reverse=True)[min(k, len(row)) - 1]
    return [value if value >= kth else -INF for value in row]


def naive_top_p(row, p):
    probs, kept, total = softmax(row), set(), 0.0
    for i in sorted(range(len(row)), key=lambda i: (-row[i], i)):
        if total >= p and p < 1:
            break
        kept.add(i)
        total += probs[i]
    return [value if i in kept else -INF for i, value in enumerate(row)]


def naive_min_p(row, p):
    probs = softmax(row)
    return [value if probs[i] >= p * max(probs) else -INF for i, value in enumerate(row)]


def naive_temperature(row, t):
    return [value / t for value in row]


def naive_ban(row, ids):
    return [-INF if i in ids else value for i, value in enumerate(row)]


def naive_repetition(row, previous, penalty):
    changed = list(row)
    for i in set(previous):
        changed[i] = row[i] / penalty if row[i] > 0 else row[i] * penalty
    return changed


PREVIOUS = [[0, 3, 3, 16], [], [5], list(range(17)), [1, 1, 1]]

FUNCTIONS = [
    ("top_k", k, lambda row, _, k: naive_top_k(row, k)) for k in (1, 2, 5, 16, 17, 18, 10**6)
] + [
    ("top_p", p, lambda row, _, p: naive_top_p(row, p)) for p in (1e-9, 0.1, 0.5, 0.9, 0.99, 1, 1.0)
] + [
    ("min_p", p, lambda row, _, p: naive_min_p(row, p)) for p in (0, 0.001, 0.1, 0.5, 0.99)
] + [
    ("temperature", t, lambda row, _, t: naive_temperature(row, t)) for t in (0.01, 0.7, 1, 1.5, np.float64(3), 100.0)
] + [
    ("ban", ids, lambda row, _, ids: naive_ban(row, ids)) for ids in ((), (0,), [16, 3, 3], np.array([2, 5]))
] + [
    ("repetition_penalty", p, naive_repetition) for p in (0.5, 1, 1.3, 5.0)
]  # fmt: skip


def apply(name, logits, value, previous=PREVIOUS):
    function = getattr(sampling, name)
    return function(logits, previous, value) if name == "repetition_penalty" else function(logits, value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name, value, naive", FUNCTIONS)
def test_function_equals_its_definition_and_leaves_its_input(name, value, naive, dtype):
    logits = random_logits(dtype=dtype)
    before = logits.copy()
    actual = apply(name, logits, value)
    expected = [naive(row, ids, value) for row, ids in zip(logits.tolist(), PREVIOUS, strict=True)]
    np.testing.assert_allclose(actual, expected, rtol=1e-6)  # one division in float32: half of 1.2e-7
    assert actual.dtype == dtype and actual.shape == logits.shape
    np.testing.assert_array_equal(logits, before)
    assert not np.shares_memory(actual, logits)


@pytest.mark.parametrize("name, value, _", FUNCTIONS)
def test_rows_are_independent(name, value, _):
    logits = random_logits()
    together = apply(name, logits, value)
    alone = [apply(name, logits[i : i + 1], value, PREVIOUS[i : i + 1])[0] for i in range(len(logits))]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("name, value, _", [case for case in FUNCTIONS if case[0] in ("top_k", "top_p", "min_p")])
def test_what_was_removed_stays_removed(name, value, _):
    logits = sampling.ban(random_logits(), [0, 1, 8])
    after = apply(name, logits, value)
    assert np.isneginf(after[:, [0, 1, 8]]).all() and np.isfinite(after).any(axis=-1).all()
    assert not np.isnan(after).any()


def test_ties():
    logits = np.array([[1, 2, 2, 0, 2]], np.float32)
    # top-k keeps what ties with the k-th; top-p takes equals in the order of their ids; min-p 1 keeps all the best
    assert np.isfinite(sampling.top_k(logits, 1)).tolist() == [[False, True, True, False, True]]
    assert np.isfinite(sampling.top_p(logits, 0.3)).tolist() == [[False, True, True, False, False]]
    assert np.isfinite(sampling.top_p(logits, 1e-6)).tolist() == [[False, True, False, False, False]]
    assert np.isfinite(sampling.min_p(logits, 1.0)).tolist() == [[False, True, True, False, True]]
    assert sampling.greedy(logits).tolist() == [1]
    assert sampling.greedy(np.zeros((2, 5), np.float32)).tolist() == [0, 0]


def test_top_p_stops_where_p_is_reached_exactly():
    # 64 equal probabilities of 1/64 add up without rounding; of equals the first are kept
    assert np.isfinite(sampling.top_p(np.zeros((1, 64), np.float32), 0.5)).tolist() == [[True] * 32 + [False] * 32]


@pytest.mark.parametrize("best, p, n_kept", [(0.96, 0.9, 1), (0.96, 0.97, 251), (0.5, 0.9, 801), (0.5, 0.51, 21)])
def test_top_p_ranks_all_that_may_stay(best, p, n_kept):
    """One token and 999 equals, which are left out unseen where together they hold less than is left out anyway."""
    probs = np.full((1, 1000), (1 - best) / 999)
    probs[0, 700] = best
    kept = np.flatnonzero(np.isfinite(sampling.top_p(np.log(probs), p)))
    assert set(kept) == {700, *range(n_kept - 1 if n_kept <= 700 else n_kept)}


def test_top_p_takes_equals_in_order_however_they_lie():
    logits = np.random.default_rng(0).integers(0, 3, (1, 2000)).astype(np.float32)
    for p in (0.3, 0.8):
        expected = np.isfinite(naive_top_p(logits[0].tolist(), p))
        # about one of 2000 tokens may fall to either side of p by rounding: only the last one kept
        assert (np.isfinite(sampling.top_p(logits, p))[0] != expected).sum() <= 1


def test_a_draw_among_few_is_one_among_all():
    logits = random_logits(40, 300, seed=1)
    logits[::2, 5:] = -INF
    logits[1::4, ::3] = -INF
    for seed in range(20):
        rngs = [np.random.default_rng([seed, row]) for row in range(len(logits))]
        expected = []
        for row, rng in zip(logits, copy.deepcopy(rngs), strict=True):
            total = np.cumsum(softmax(row.tolist()))
            expected.append(np.searchsorted(total, rng.random() * total[-1], side="right"))
        assert sampling.draw(logits, rngs).tolist() == expected


def test_top_p_keeps_the_token_that_reaches_p():
    logits = np.log(np.array([[0.5, 0.25, 0.125, 0.125]]))
    kept = [np.isfinite(sampling.top_p(logits, p)).sum() for p in (0.49, 0.51, 0.74, 0.76, 0.874, 0.876)]
    assert kept == [1, 2, 2, 3, 3, 4]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_p_1_and_min_p_0_keep_what_rounding_cannot_see(dtype):
    logits = np.array([[0, -50, -80, 3]], dtype)
    np.testing.assert_array_equal(sampling.top_p(logits, 1.0), logits)
    np.testing.assert_array_equal(sampling.min_p(logits, 0), logits)


def test_repetition_penalty_at_zero_and_minus_infinity():
    logits = np.array([[0.0, -INF, 4.0, -4.0]], np.float32)
    after = sampling.repetition_penalty(logits, [[0, 1, 2, 3]], 2.0)
    assert after.tolist() == [[0.0, -INF, 2.0, -8.0]]


def test_probabilities_are_float64_softmax_and_survive_large_logits():
    logits = random_logits()
    probs = sampling.probabilities(logits)
    assert probs.dtype == np.float64
    np.testing.assert_allclose(probs, [softmax(row) for row in logits.tolist()], rtol=1e-12)  # float64 all the way
    big = sampling.probabilities(np.array([[3e38, 3e38, -3e38]], np.float32))
    assert big.tolist() == [[0.5, 0.5, 0.0]]


# ---------------------------------------------------------------- drawing


def test_draw_frequencies_are_softmax():
    logits = random_logits(n_batch=1, n_vocab=12, seed=1, spread=1.0)
    n = 20_000
    rng = np.random.default_rng(5)
    counts = np.bincount(sampling.draw(np.repeat(logits, n, axis=0), [rng] * n), minlength=12)
    expected = n * np.array(softmax(logits[0].tolist()))
    # Pearson's chi-square with 11 degrees of freedom lies above 31.3 in one of 1000 seeds; this seed is fixed
    assert ((counts - expected) ** 2 / expected).sum() < 31.3


def test_draw_frequencies_after_a_composition():
    logits = random_logits(n_batch=1, n_vocab=12, seed=2, spread=1.5)
    n = 20_000
    rng = np.random.default_rng(6)
    rows = np.repeat(logits, n, axis=0)
    chosen = Sampling(temperature=0.8, top_k=7, top_p=0.9, banned_ids=(int(logits.argmax()),)).choose(
        rows, [[]] * n, [rng] * n
    )
    row = naive_ban(logits[0].tolist(), (int(logits.argmax()),))
    row = naive_top_p(naive_top_k(naive_temperature(row, 0.8), 7), 0.9)
    counts, expected = np.bincount(chosen, minlength=12), n * np.array(softmax(row))
    assert not counts[expected == 0].any() and 2 < (expected > 0).sum() <= 7
    kept = expected > 0
    # at most 6 degrees of freedom: above 22.5 in one of 1000 seeds
    assert ((counts[kept] - expected[kept]) ** 2 / expected[kept]).sum() < 22.5


class Fixed:
    """A generator that always gives the same number."""

    def __init__(self, value):
        self.value = value

    def random(self):
        return self.value


@pytest.mark.parametrize("u", [0.0, 5e-324, 0.25, 0.5, 1 - 2**-53])
@pytest.mark.parametrize("removed", [[0], [6], [0, 1, 5, 6], [0, 2, 4, 6], [1, 2, 3, 4, 5, 6]])
def test_removed_tokens_are_never_drawn_even_at_the_edges(u, removed):
    logits = sampling.ban(random_logits(n_batch=4, n_vocab=7), removed)
    assert not set(sampling.draw(logits, [Fixed(u)] * 4).tolist()) & set(removed)


def test_draw_follows_the_cumulated_probabilities():
    logits = np.log(np.array([[0.25, 0.5, 0.25]]))
    drawn = [int(sampling.draw(logits, [Fixed(u)])[0]) for u in (0, 0.24, 0.26, 0.74, 0.76, 0.99)]
    assert drawn == [0, 0, 1, 1, 2, 2]


def test_each_row_draws_from_its_own_generator():
    logits = random_logits(n_batch=3)
    together = sampling.draw(logits, [np.random.default_rng(s) for s in (1, 2, 3)]).tolist()
    alone = [int(sampling.draw(logits[i : i + 1], [np.random.default_rng(s)])[0]) for i, s in enumerate((1, 2, 3))]
    assert together == alone
    with pytest.raises(ValueError):
        sampling.draw(logits, [np.random.default_rng(0)])


# ---------------------------------------------------------------- Sampling: the composition


@pytest.mark.parametrize("seed", range(5))
def test_choose_is_the_composition_in_the_stated_order(seed):
    logits = random_logits(n_batch=4, n_vocab=30, seed=seed)
    previous = [[1, 2], [3], [], [4, 5, 6]]
    settings = Sampling(0.7, top_k=12, top_p=0.9, min_p=0.02, repetition_penalty=1.4, banned_ids=(0, 7))
    actual = settings.choose(logits, previous, [np.random.default_rng([seed, i]) for i in range(4)])
    for i, row in enumerate(logits.tolist()):
        row = naive_ban(naive_repetition(row, previous[i], 1.4), (0, 7))
        row = naive_min_p(naive_top_p(naive_top_k(naive_temperature(row, 0.7), 12), 0.9), 0.02)
        place, probs = np.random.default_rng([seed, i]).random(), softmax(row)
        assert actual[i] == next(token for token in range(30) if place < sum(probs[: token + 1]))


@pytest.mark.parametrize(
    "settings, last",
    [
        ({"top_p": 0.5}, 1),  # 0.4 + 0.3
        ({"top_k": 2, "top_p": 0.5}, 0),  # of two, the first has 0.4 / 0.7 and is enough alone
        ({"top_p": 0.5, "min_p": 0.6}, 1),  # min-p first would leave two, of which top-p would keep one
        ({"temperature": 0.25, "top_p": 0.5}, 0),  # 0.4^4 is 0.72 of all
        ({"top_k": 2, "banned_ids": (0,)}, 2),  # what is banned is not one of the two
        ({"temperature": 2.0, "min_p": 0.6}, 2),  # the root of 0.2 / 0.4 is 0.71
    ],
)
def test_the_order_of_the_steps(settings, last):
    logits = np.log(np.array([[0.4, 0.3, 0.2, 0.1]]))
    assert Sampling(**settings).choose(logits, [[]], [Fixed(1 - 2**-53)]).tolist() == [last]


def test_choose_greedy_uses_no_randomness_but_penalty_and_bans():
    logits = np.array([[5.0, 4.0, 3.0], [5.0, 4.0, 3.0], [5.0, 4.9, 3.0]], np.float32)
    greedy = Sampling(temperature=0, top_k=1, top_p=0.1)
    assert greedy.choose(logits, [[], [], []], [None] * 3).tolist() == [0, 0, 0]
    assert Sampling(temperature=0, banned_ids=(0,)).choose(logits, [[], [], []], [None] * 3).tolist() == [1, 1, 1]
    penalised = Sampling(temperature=0, repetition_penalty=1.1)
    assert penalised.choose(logits, [[0], [], [0]], [None] * 3).tolist() == [0, 0, 1]  # 5 / 1.1 = 4.55


def test_choose_leaves_the_logits_and_does_nothing_by_default():
    logits = random_logits()
    before = logits.copy()
    rngs = lambda: [np.random.default_rng(i) for i in range(5)]  # noqa: E731
    everything = Sampling(0.5, 3, 0.9, 0.1, 2.0, (1,))
    everything.choose(logits, PREVIOUS, rngs())
    np.testing.assert_array_equal(logits, before)
    plain = Sampling().choose(logits, PREVIOUS, rngs())
    np.testing.assert_array_equal(plain, sampling.draw(logits, rngs()))
    ones = Sampling(1.0, 10**9, 1.0, 0.0, 1.0, ()).choose(logits, PREVIOUS, rngs())
    np.testing.assert_array_equal(plain, ones)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("t", [1e-6, 1e6])
def test_extreme_temperatures_work(t):
    logits = random_logits(spread=100.0)
    chosen = Sampling(temperature=t, banned_ids=(2,)).choose(logits, PREVIOUS, [np.random.default_rng(0)] * 5)
    if t < 1:
        np.testing.assert_array_equal(chosen, sampling.ban(logits, [2]).argmax(axis=-1))
    assert 2 not in chosen


def broken(*values):
    logits = np.zeros((2, 4), np.float32)
    logits[1, : len(values)] = values
    return logits


@pytest.mark.parametrize(
    "logits, message",
    [
        (broken(math.nan), "got NaN; the weights or the input are broken"),
        (broken(1, 2, INF), "best logit of inf; the weights or the input are broken"),
        (broken(-INF, -INF, -INF, -INF), "best logit of -inf; ban fewer ids"),
    ],
)
@pytest.mark.parametrize("temperature", [0, 1.0])
def test_broken_logits_are_an_error_not_token_0(logits, message, temperature):
    rngs = [np.random.default_rng(0)] * 2
    for choose in (
        lambda: sampling.greedy(logits),
        lambda: sampling.draw(logits, rngs),
        lambda: Sampling(temperature, top_k=2, top_p=0.5, min_p=0.1).choose(logits, [[], []], rngs),
    ):
        with pytest.raises(InputError, match=message):
            choose()


def test_banning_everything_is_an_error():
    with pytest.raises(InputError, match="ban fewer ids"):
        Sampling(banned_ids=(0, 1, 2)).choose(np.zeros((1, 3), np.float32), [[]], [np.random.default_rng(0)])


@pytest.mark.parametrize(
    "name, values",
    [
        ("temperature", [-1, -1e-9, 1e-7, 1e-300, math.nan, INF, None, "hot"]),
        ("top_k", [-1, 2.5, "5"]),
        ("top_p", [0, -0.1, 1.0001, math.nan, INF, "0.9"]),
        ("min_p", [-0.1, 1.0001, math.nan, "0"]),
        ("repetition_penalty", [0, -1, math.nan, INF, None, "1"]),
    ],
)
def test_settings_that_make_no_sense(name, values):
    for value in values:
        with pytest.raises(InputError, match=rf"^{name}: expected .*, got "):
            Sampling(**{name: value})


def test_settings_that_do():
    Sampling(0, 1, 1, 0, 0.5)
    Sampling(np.float32(0.5), np.int64(3), np.float32(0.5), np.float64(0.1), np.float32(1.2))
