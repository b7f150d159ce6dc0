"""Words that a continuation must hold: a beam search that keeps room for those beams that have said more of them.

Enter: beams, and for each word the ways to write it as ids. Leave: more candidates, those that go on with a word, and
which of all are kept: of each bank, the beams that have said equally much of the words, the best before the second best
(Hokamp and Liu 2017; the banks are those of Post and Vilar 2018, section 3). Next: generation/beams.py.
"""

from itertools import groupby


def said_of(ids, words):
    """How many ids of each word were said, the most that one way of writing it has when it is whole.

    said_of([7, 1, 2, 5], [[(1, 2)], [(5, 6), (9,)]]) -> [2, 1]
    """
    return [max(_said_of_one(ids, form, max(map(len, forms))) for form in forms) for forms in words]


def _said_of_one(ids, form, whole):
    """A form counts in full wherever it stands, and in part where the text ends with its beginning."""
    n = len(form)
    if any(tuple(ids[i : i + n]) == form for i in range(len(ids) - n + 1)):
        return whole
    return next((k for k in range(min(n - 1, len(ids)), 0, -1) if tuple(ids[len(ids) - k :]) == form[:k]), 0)


def is_whole(ids, words):
    """Was every word said?"""
    return all(said == max(map(len, forms)) for said, forms in zip(said_of(ids, words), words, strict=True))


def next_ids(ids, words):
    """The ids with which a word that was not said yet begins, or goes on, as a set."""
    found = set()
    for forms, said in zip(words, said_of(ids, words), strict=True):
        if said < max(map(len, forms)):
            found |= {form[_said_of_one(ids, form, 0)] for form in forms}
    return found


def allot(candidates, n, words):
    """The n candidates that go on, best first: the best of each bank, from the fullest on, then each one's second, …"""
    full = {id(beam): sum(said_of(beam.ids, words)) for beam in candidates}
    ordered = sorted(candidates, key=lambda beam: (-full[id(beam)], -beam.log_prob))
    ranked = []
    for bank, beams in groupby(ordered, key=lambda beam: full[id(beam)]):
        ranked += [(rank, -bank, -beam.log_prob, beam) for rank, beam in enumerate(beams)]
    kept = sorted(ranked, key=lambda item: item[:3])[:n]
    return sorted((beam for *_, beam in kept), key=lambda beam: -beam.log_prob)
