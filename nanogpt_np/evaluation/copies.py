"""Which passages of some texts stand in another, longer one? Exactly, and within little memory.

Enter: lists of ids, and one long row of ids. Leave: for each length how many windows of each text stand in the row, and
the longest passage that does. Windows are looked up by a hash of 64 bits (Karp and Rabin 1987), piece by piece of the
row, and whatever is found is compared id by id. Next: evaluation/memorization.py.
"""

from typing import NamedTuple

import numpy as np

from . import intervals

PIECE = 1 << 20  # ids of the row at once: hashes and what is made of them are 50 MB, however long the row
BASE = 0x9E3779B97F4A7C15  # odd, so that no power of it is 0 modulo 2**64


class Copies(NamedTuple):
    """What stands in the row of some texts, by length: windows that do, and all windows, float64 [n_texts] each.

    `longest`: the ids of the longest passage; `whole`: how many texts stand there from beginning to end.
    """

    found: dict[int, np.ndarray]
    of: dict[int, np.ndarray]
    longest: list[int]
    whole: int

    @property
    def n_texts(self):
        """How many texts were looked at."""
        return len(next(iter(self.of.values())))

    def shares(self, seed=0):
        """{length: the share of windows that stand in the row}, each an Interval that draws the texts again."""
        return {n: intervals.of_ratio(self.found[n], self.of[n], seed) for n in self.found}


def find_copies(texts, row, lengths):
    """The Copies of some lists of ids in a row [n_row] of ids; `lengths`: of the windows that are counted."""
    found, of = {}, {}
    for n in lengths:
        is_found = iter(_stand(texts, row, n))
        counts = [max(len(ids) - n + 1, 0) for ids in texts]
        found[n] = np.array([sum(next(is_found) for _ in range(count)) for count in counts], np.float64)
        of[n] = np.array(counts, np.float64)
    longest = _longest(texts, row, max((n for n in lengths if found[n].any()), default=0))
    able = {len(ids) for ids in texts if 0 < len(ids) <= len(longest)}
    whole = sum(int(_stand([ids for ids in texts if len(ids) == n], row, n).sum()) for n in able)
    return Copies(found, of, longest, whole)


def _longest(texts, row, known):
    """The longest passage that stands in the row; one of `known` ids does. Whoever has n ids there has n - 1."""
    low, high = known, max(known, 4)
    most = max(map(len, texts), default=0)
    while high < most and _stand(texts, row, high).any():
        low, high = high, 2 * high
    high = min(high, most + 1) if low < most else most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _stand(texts, row, middle).any() else (low, middle)
    if low == 0:
        return []
    return _windows_of(texts, low)[int(np.argmax(_stand(texts, row, low)))].tolist()


def _windows_of(texts, n):  # -> int64 [n_windows, n], text by text
    rows = [np.lib.stride_tricks.sliding_window_view(np.asarray(ids, np.int64), n) for ids in texts if len(ids) >= n]
    return np.concatenate(rows) if rows else np.empty((0, n), np.int64)


def _stand(texts, row, n):  # -> bool [n_windows of all texts]
    """Of each window of n ids of the texts, one text after the other: does it stand in the row?"""
    windows = _windows_of(texts, n)
    if not len(windows):
        return np.empty(0, bool)
    each, inverse = np.unique(windows, axis=0, return_inverse=True)
    return stand(each, row)[inverse.reshape(-1)]


def stand(windows, row):  # int [n_windows, n], [n_row] -> bool [n_windows]
    """Which of some different windows of n ids stand in the row?

    stand([[1, 2], [2, 1]], [3, 1, 2]) -> [True, False]
    """
    windows, row = np.asarray(windows), np.asarray(row)
    n, is_found = windows.shape[1], np.zeros(len(windows), bool)
    of_windows = hashed(windows.reshape(-1), n)[::n]
    order = np.argsort(of_windows)
    keys = of_windows[order]
    for start in range(0, len(row) - n + 1, PIECE):
        piece = row[start : start + PIECE + n - 1]
        of_row = hashed(piece, n)
        first = np.searchsorted(keys, of_row)
        places = np.flatnonzero(keys[np.minimum(first, len(keys) - 1)] == of_row)
        first, of_row = first[places], of_row[places]
        while len(places):  # again only where two windows have one hash, which 64 bits all but exclude
            candidates = order[first]
            is_same = _equal(windows, candidates, piece, places)
            is_found[candidates[is_same]] = True
            first = first + 1
            more = first < len(keys)
            more[more] = keys[first[more]] == of_row[more]
            places, first, of_row = places[more], first[more], of_row[more]
    return is_found


def _equal(windows, candidates, piece, places):  # -> bool [n_places]
    """Does window number candidates[i] stand at places[i]? Id by id, so that no long list of windows is made."""
    same = np.ones(len(places), bool)
    for j in range(windows.shape[1]):
        same &= windows[candidates, j] == piece[places + j]
    return same


def hashed(row, n):  # [n_row] -> uint64 [n_row - n + 1]
    """The hash of each window of n ids: its ids as digits to the base BASE, modulo 2**64; made of halves."""
    if n == 1:
        return np.asarray(row).astype(np.uint64) + np.uint64(1)
    half = n // 2
    of_half = hashed(row, half)
    both = of_half[: len(of_half) - half] * _power(half) + of_half[half:]
    if n % 2:
        both = both[: len(both) - 1] * _power(1) + np.asarray(row)[n - 1 :].astype(np.uint64) + np.uint64(1)
    return both


def _power(n):
    return np.uint64(pow(BASE, n, 1 << 64))
