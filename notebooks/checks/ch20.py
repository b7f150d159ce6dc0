"""The exercises of notebook 20."""

import numpy as np

from . import say


def windows_of(function):
    """Rule by rule: any way of dealing them out is right that keeps to them."""
    if say.waiting(function):
        return False
    for n_ranks, n_windows in ((4, 8), (3, 8), (1, 5), (4, 3), (5, 17)):
        dealt = []
        for rank in range(n_ranks):
            given = f"{rank}, {n_ranks}, {n_windows}"
            got, error = say.tried(function, rank, n_ranks, n_windows)
            if error or not isinstance(got, list) or not all(isinstance(i, (int, np.integer)) for i in got):
                return say.wrong(function, given, "a list of whole numbers", error or got)
            if not all(0 <= i < n_windows for i in got):
                return say.wrong(function, given, f"windows from 0 to {n_windows - 1}", got)
            dealt.append(got)
        given, flat = f"each of {n_ranks}, {n_ranks}, {n_windows}", [i for got in dealt for i in got]
        if len(set(flat)) < len(flat):
            return say.wrong(function, given, "each window at one process only", dealt)
        if len(flat) < n_windows:
            return say.wrong(function, given, f"all {n_windows} windows at somebody", dealt)
        if max(map(len, dealt)) - min(map(len, dealt)) > 1:
            return say.wrong(function, given, "nobody with two more than another", dealt)
    return say.right(function)


def bytes_sent(function):
    """Against a ring that is counted, message by message."""
    if say.waiting(function):
        return False
    for n_numbers, n_ranks in ((4, 4), (100, 2), (9, 1), (3000, 3), (64, 8)):
        given = f"{n_numbers}, {n_ranks}"
        got, error = say.tried(function, n_numbers, n_ranks)
        counted = sum(4 * (n_numbers // n_ranks) for half in range(2) for step in range(n_ranks - 1))
        if error or isinstance(got, bool) or not isinstance(got, (int, float, np.number)):
            return say.wrong(function, given, "a number of bytes", error or got)
        if got == counted:
            continue
        what = f"{n_ranks - 1} steps of the one half, {n_ranks - 1} of the other, of a chunk each"
        if 2 * got == counted:
            what = "the bytes of both halves"
        elif 4 * got == counted:
            what = "bytes, of which a float32 has four"
        elif n_ranks > 1 and got == counted * n_ranks:
            what = "a chunk in each step, not the whole vector"
        return say.wrong(function, given, what, got)
    return say.right(function)


def in_rank_order(function):
    """Against sums in order, with numbers whose sum shows the order; and every message counted."""
    if say.waiting(function):
        return False
    rng = np.random.default_rng(0)
    for n, length in ((2, 4), (4, 8), (3, 30), (1, 5)):
        given = f"{n} vectors of {length} numbers"
        vectors = [(rng.normal(size=length) * 10.0 ** rng.integers(-4, 5, length)).astype(np.float32) for _ in range(n)]
        expected = vectors[0].copy()
        for vector in vectors[1:]:
            expected += vector
        sent = np.zeros(n, int)

        def send(sender, receiver, numbers, sent=sent):
            sent[sender] += np.size(numbers) * (sender != receiver)
            return np.array(numbers, np.float32)

        got, error = say.tried(function, [vector.copy() for vector in vectors], send)
        if error or not isinstance(got, list) or len(got) != n or any(np.shape(row) != (length,) for row in got):
            return say.wrong(function, given, f"a list of {n} vectors of {length}", error or got)
        if n > 1 and not sent.any():
            return say.wrong(function, given, "that numbers are sent, as nobody sees the others'", "no call of send")
        if not all(np.allclose(row, sum(v.astype(np.float64) for v in vectors), rtol=1e-3, atol=1.0) for row in got):
            return say.wrong(function, given, "the sum at each of them", got)
        if not all(np.array_equal(row, expected) for row in got):
            return say.wrong(function, given, "the bits of adding in the order of the processes", "others")
        if (sent > 2 * length).any():
            return say.wrong(function, given, f"at most {2 * length} numbers sent by each", f"{sent.max()}")
    return say.right(function)
