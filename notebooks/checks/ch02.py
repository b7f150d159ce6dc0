"""The exercises of notebook 02."""

import numpy as np

from nanogpt_np import GPT, ops

from . import say


def nearest(function):
    """Against cosines; rows of very different lengths tell cosines from products and distances."""
    if say.waiting(function):
        return False
    rng = np.random.default_rng(6)
    for n_rows, n_embd, k in ((9, 4, 3), (30, 6, 5)):
        table = rng.standard_normal((n_rows, n_embd)) * np.exp(rng.standard_normal((n_rows, 1)))
        row = int(rng.integers(n_rows))
        given, what = table.copy(), f"a table [{n_rows}, {n_embd}], {row}, {k}"
        got, error = say.tried(function, given, row, k)
        if error:
            return say.wrong(function, what, f"{k} ids", error)
        if not np.array_equal(given, table):
            return say.wrong(function, what, "the table as it was", "another one")
        ids = [] if got is None else np.asarray(got).tolist()
        if not isinstance(ids, list) or len(ids) != k or not all(float(i).is_integer() for i in ids):
            return say.wrong(function, what, f"{k} ids", got)
        if row in ids:
            return say.wrong(function, what, f"row {row} itself left out", ids)
        lengths = np.linalg.norm(table, axis=1)
        cosines = table @ table[row] / lengths / lengths[row]
        measures = (cosines, table @ table[row], -np.linalg.norm(table - table[row], axis=1))
        best, by_product, by_distance = (_others(-measure, row)[:k] for measure in measures)
        if ids == best:
            continue
        if ids == _others(cosines, row)[:k]:
            return say.wrong(function, what, "the nearest", "the farthest")
        if ids == by_product:
            return say.wrong(function, what, "cosines, which lengths do not change", f"{ids}, as products give")
        if ids == by_distance:
            return say.wrong(function, what, "the nearest by angle", f"{ids}, the nearest by distance")
        if sorted(ids) == sorted(best):
            return say.wrong(function, what, "the nearest first", f"the right ids in another order: {ids}")
        return say.wrong(function, what, f"the {k} with the largest cosines", ids)
    return say.right(function)


def _others(keys, row):
    """All rows but one, smallest key first."""
    return [int(i) for i in np.argsort(keys, kind="stable") if i != row]


def step_matrix(function):
    """At places far apart, forward and back."""
    if say.waiting(function):
        return False
    places = np.array([0, 1, 7, 50, 333, 1000])
    for n_embd, k in ((4, 1), (16, 10), (8, -3)):
        got, error = say.tried(function, n_embd, k)
        what = f"{n_embd}, {k}"
        if error:
            return say.wrong(function, what, f"an array [{n_embd}, {n_embd}]", error)
        if not isinstance(got, np.ndarray) or got.shape != (n_embd, n_embd):
            return say.wrong(function, what, f"an array [{n_embd}, {n_embd}]", got)
        rows, expected, back = (ops.sinusoidal_positions(places + n, n_embd, np.float64) for n in (0, k, -k))
        moved = rows @ got
        if np.allclose(moved, expected, atol=1e-6):
            continue
        if np.allclose(moved, back, atol=1e-6):
            return say.wrong(function, what, f"a step of {k}", f"a step of {-k}: it turns the other way round")
        if np.allclose(moved[0], expected[0], atol=1e-6):
            got = "one that does so at place 0 only"
            return say.wrong(function, what, "one matrix for every place", got)
        fast = np.abs(moved - expected)[:, :2].max() < 1e-6
        if fast:
            what_else = "the right speed in every pair of columns"
            return say.wrong(function, what, what_else, "a matrix that is right for the first pair alone")
        place = int(places[np.abs(moved - expected).max(axis=1).argmax()])
        return say.wrong(function, what, f"the row of place {place} to become that of {place + k}", "another row")
    return say.right(function)


PAIRS = {  # kinds of pairs, of which some are a direction and some are not
    "past": "run ran,go went,see saw,play played,look looked,walk walked,eat ate,say said",
    "opposite": "big small,happy sad,hot cold,up down,good bad,fast slow",
}


def analogies(function):
    """Against the same shares, and those of the usual slips."""
    if say.waiting(function):
        return False
    gpt = GPT.from_pretrained("stories", ops="numpy")
    for name, words in PAIRS.items():
        pairs = [tuple(" " + word for word in pair.split()) for pair in words.split(",")]
        what = f"gpt, {len(pairs)} pairs: {name}"
        got, error = say.tried(function, gpt, list(pairs))
        if error:
            return say.wrong(function, what, "three shares", error)
        try:
            shares = np.asarray(got, float)
        except (TypeError, ValueError):
            shares = np.zeros(0)
        if shares.shape != (3,):
            return say.wrong(function, what, "three shares", got)
        if (shares < 0).any() or (shares > 1).any():
            return say.wrong(function, what, "shares from 0 to 1, not counts", shares.round(2).tolist())
        expected = _shares(gpt, pairs, unit=True)
        if np.allclose(shares, expected, atol=0.03):
            continue
        wrong = np.abs(shares - expected).argmax()
        if wrong == 0 and np.isclose(shares[0], expected[1], atol=0.03):
            return say.wrong(function, what, "the first share among all tokens, inputs too", f"{shares[0]:.2f}")
        if np.allclose(shares, _shares(gpt, pairs, unit=False), atol=0.01):
            return say.wrong(function, what, "rows that are divided by their lengths", shares.round(2).tolist())
        if np.allclose(shares, _shares(gpt, pairs, unit=True, sign=-1), atol=0.01):
            slip = "row(b) - row(a) + row(c); is the difference the other way round?"
            return say.wrong(function, what, slip, shares.round(2).tolist())
        if np.allclose(shares, _shares(gpt, pairs, unit=True, itself=True), atol=0.01):
            slip = "two different pairs; a pair with itself is no test"
            return say.wrong(function, what, slip, shares.round(2).tolist())
        named = ("among all tokens", "among all but a, b, c", "nearest to c among all but a, b, c")[wrong]
        return say.wrong(function, what, f"another share {named}", f"{shares[wrong]:.2f}")
    return say.right(function)


def _shares(gpt, pairs, unit, sign=1, itself=False):
    """The three shares; `unit`, `sign`, `itself`: what may be done otherwise."""
    rows = gpt.params["wte"]["weight"].astype(float)
    if unit:
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    ids = [[gpt.tokenizer.encode(word)[0] for word in pair] for pair in pairs]
    right = []
    for i, (a, b) in enumerate(ids):
        for j, (c, d) in enumerate(ids):
            if i == j and not itself:
                continue
            to_sum, to_c = rows @ (sign * (rows[b] - rows[a]) + rows[c]), rows @ rows[c]
            first = to_sum.argmax() == d
            if i == j:
                right.append((first, True, False))
                continue
            to_sum[[a, b, c]] = to_c[[a, b, c]] = -np.inf
            right.append((first, to_sum.argmax() == d, to_c.argmax() == d))
    return np.mean(right, axis=0)
