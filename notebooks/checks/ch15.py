"""The exercises of notebook 15."""

import numpy as np

from nanogpt_np import GPT, ops

from . import say

LONG = ' was very happy. She said, "Thank you, Tom. You are a good friend." They sat'  # easy tokens, many of them
GAPS = (  # left, right, candidates, the one that the whole text asks for
    ("There was a little", " named Tom. He liked to play with his", (" girl", " boy", " bird"), " boy"),
    ("There was a little", " named Lily. She liked to play with her", (" boy", " girl", " dog"), " girl"),
    ("The cat", " on the mat.", (" sat", LONG), " sat"),
)


def prefix_mask(function):
    """Against the two rules, spelled out pair by pair."""
    if say.waiting(function):
        return False
    for n_prompt, n_seq in ((3, 6), (1, 4), (5, 5), (0, 3)):
        given = f"{n_prompt}, {n_seq}"
        got, error = say.tried(function, n_prompt, n_seq)
        if error:
            return say.wrong(function, given, f"a bool array [{n_seq}, {n_seq}]", error)
        if not isinstance(got, np.ndarray) or got.shape != (n_seq, n_seq) or got.dtype != bool:
            return say.wrong(function, given, f"a bool array [{n_seq}, {n_seq}]", got)
        for query, key in np.ndindex(n_seq, n_seq):
            if key <= query and not got[query, key]:
                what = f"that token {query} may see token {key}, which is not later"
                return say.wrong(function, given, what, "False")
            if key < n_prompt and query < n_prompt and not got[query, key]:
                return say.wrong(function, given, f"that token {query} of the prompt may see all of it", f"not {key}")
            if key >= n_prompt and key > query and got[query, key]:
                return say.wrong(function, given, f"that token {query} may not see token {key}, which is later", "True")
    return say.right(function)


def bert_inputs(function):
    """By counting, on many tokens, and with few kinds of them: a MASK drawn as a random token shows there."""
    if say.waiting(function):
        return False
    return all(_bert_inputs(function, mask_id) for mask_id in (90, 4)) and say.right(function)


def _bert_inputs(function, mask_id):
    """Each share may be off by five standard deviations."""
    given = f"200,000 ids, {mask_id}, rng"
    ids = np.random.default_rng(1).integers(0, mask_id, (200, 1000))
    before = ids.copy()
    got, error = say.tried(function, ids, mask_id, np.random.default_rng(2))
    if error:
        return say.wrong(function, given, "inputs, targets", error)
    if not isinstance(got, tuple) or len(got) != 2 or any(np.shape(part) != ids.shape for part in got):
        return say.wrong(function, given, f"two arrays {list(ids.shape)}", got)
    if not np.array_equal(ids, before):
        return say.wrong(function, given, "the given ids as they were", "others in their place")
    inputs, targets = map(np.asarray, got)
    asked = targets != ops.IGNORE
    if not _near(asked.mean(), 0.15, asked.size):
        what = "0.15 of the places asked for, those that stay as they are too"
        return say.wrong(function, given, what, f"{asked.mean():.3f}")
    if (targets[asked] != ids[asked]).any():
        return say.wrong(function, given, "the true tokens as targets", "others")
    if (inputs[~asked] != ids[~asked]).any():
        return say.wrong(function, given, "the text as it is where nothing is asked", "another token there")
    masked, same = inputs[asked] == mask_id, inputs[asked] == ids[asked]
    if not _near(masked.mean(), 0.8, asked.sum()):
        what = "mask_id at 0.8 of what is asked for, and never as the random token"
        return say.wrong(function, given, what, f"{masked.mean():.3f}")
    by_chance = 0.1 / mask_id  # where the random token is the true one; somebody may draw among the others
    if not any(_near(same.mean(), share, asked.sum()) for share in (0.1, 0.1 + by_chance)):
        return say.wrong(function, given, "a tenth of what is asked for as it is", f"{same.mean():.3f}")
    others = inputs[asked][~masked & ~same]
    if others.min() < 0 or others.max() >= mask_id or len(np.unique(others)) < mask_id:
        got = f"{len(np.unique(others))} tokens"
        return say.wrong(function, given, "any token below mask_id in the last tenth", got)
    return True


def fill(function):
    """On gaps where the left side alone prefers another word, or an average another length."""
    if say.waiting(function):
        return False
    gpt = GPT.from_pretrained("stories", ops="numpy")
    for left, right, candidates, wanted in GAPS:
        given = f"gpt, {left!r}, {right!r}, {list(candidates)}"
        got, error = say.tried(function, gpt, left, right, list(candidates))
        if error:
            return say.wrong(function, given, "one of the candidates", error)
        if got not in candidates:
            return say.wrong(function, given, "one of the candidates", got)
        if got != wanted:
            return say.wrong(function, given, "the one that makes the whole text likeliest", got)
    return say.right(function)


def _near(share, expected, n):
    return abs(share - expected) < 5 * (expected * (1 - expected) / n) ** 0.5
