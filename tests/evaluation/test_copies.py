"""Passages that stand elsewhere: exactly what searching for each of them in a string finds."""

import numpy as np
import pytest

from nanogpt_np.evaluation import copies

LENGTHS = (1, 2, 3, 8)


def by_search(texts, row, lengths=LENGTHS):
    """The definition: ids as words of a string, looked for one window after the other."""
    spelled = f",{','.join(map(str, row))},"

    def stands(ids):
        return f",{','.join(map(str, ids))}," in spelled

    found = {n: [sum(stands(ids[i : i + n]) for i in range(len(ids) - n + 1)) for ids in texts] for n in lengths}
    every = {n: True for ids in texts for i in range(len(ids)) for n in range(1, len(ids) - i + 1)
             if stands(ids[i : i + n])}  # fmt: skip
    return found, max(every, default=0), sum(len(ids) > 0 and stands(ids) for ids in texts), stands


@pytest.mark.parametrize("base", [copies.BASE, 1], ids=["as it is", "a hash that collides"])
def test_they_are_what_a_search_finds(base, monkeypatch):
    """Small alphabets, so that much is found; pieces of the row shorter than a window."""
    monkeypatch.setattr(copies, "BASE", base)
    rng = np.random.default_rng(0)
    for _ in range(25):
        monkeypatch.setattr(copies, "PIECE", int(rng.integers(1, 50)))
        n_ids = rng.integers(2, 5)
        row = rng.integers(0, n_ids, rng.integers(1, 150)).tolist()
        texts = [rng.integers(0, n_ids, rng.integers(0, 30)).tolist() for _ in range(4)]
        found, longest, whole, stands = by_search(texts, row)
        got = copies.find_copies(texts, np.array(row, np.uint16), LENGTHS)
        assert {n: counts.tolist() for n, counts in got.found.items()} == found
        assert {n: counts.tolist() for n, counts in got.of.items()} == {
            n: [max(len(ids) - n + 1, 0) for ids in texts] for n in LENGTHS
        }
        assert (len(got.longest), got.whole) == (longest, whole)
        assert stands(got.longest) or not longest


def test_two_windows_of_one_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr(copies, "BASE", 1)  # a hash that is the sum of the ids
    assert copies.stand([[1, 2, 3], [3, 2, 1], [2, 2, 2]], [9, 3, 2, 1, 9]).tolist() == [False, True, False]


def test_nothing_to_look_for():
    got = copies.find_copies([[], []], np.arange(9), (2,))
    assert got.longest == [] and got.whole == 0 and got.of[2].tolist() == [0, 0] and np.isnan(got.shares()[2].value)
    assert copies.find_copies([[1, 2]], np.array([7]), (2,)).found[2].tolist() == [0]


def test_hashes_are_digits_to_a_base():
    row, n = [5, 0, 7, 1, 2], 3
    digits = [sum((i + 1) * copies.BASE ** (n - 1 - j) for j, i in enumerate(row[k : k + n])) for k in range(3)]
    assert copies.hashed(np.array(row), n).tolist() == [value % 2**64 for value in digits]


def test_shares_are_intervals_over_texts():
    got = copies.find_copies([[1, 2, 3], [7, 8, 9]], np.array([1, 2, 3]), (2,))
    share = got.shares(seed=3)[2]
    assert share.value == 0.5 and share.low == 0.0 and share.high == 1.0 and got.n_texts == 2
