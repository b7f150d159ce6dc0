"""The exercises of notebook 04."""

import numpy as np

from nanogpt_np import GPT, GPTConfig, lens
from nanogpt_np import params as P

from . import say

N_LETTERS, N_CTX, WIDTH = 12, 24, 24  # of the models made by hand; WIDTH = d_head


def merge(function):
    """Against numbers that say where they come from; the usual slips are known by what they give."""
    if say.waiting(function):
        return False
    for n_head, n_seq, d_head in ((2, 3, 2), (4, 2, 3), (1, 5, 4), (3, 3, 3)):
        heads = np.arange(n_head * n_seq * d_head, dtype=np.float32).reshape(n_head, n_seq, d_head)
        what, given = f"heads [{n_head}, {n_seq}, {d_head}]", heads.copy()
        got, error = say.tried(function, heads)
        shape = (n_seq, n_head * d_head)
        if error:
            return say.wrong(function, what, f"an array {list(shape)}", error)
        if not np.array_equal(heads, given):
            return say.wrong(function, what, "the given array as it was", "it was changed")
        if not isinstance(got, np.ndarray) or got.shape != shape:
            return say.wrong(function, what, f"an array {list(shape)}", got)
        token = np.concatenate([head[0] for head in heads])
        if not np.array_equal(np.sort(got[0]), np.sort(token)):
            what_came = "numbers of other tokens too; has a transpose been forgotten?"
            return say.wrong(function, what, "in row 0 what all heads have for token 0", what_came)
        if not np.array_equal(got[0], token):
            return say.wrong(function, what, "the columns of head 0 first, then those of head 1, …", got[0].tolist())
        if not all(np.array_equal(got[:, i * d_head : (i + 1) * d_head], head) for i, head in enumerate(heads)):
            return say.wrong(function, what, "the tokens in their order", got[-1].tolist())
    return say.right(function)


def induction(function):
    """Against head_summaries, which has the same score, on patterns of a real model."""
    if say.waiting(function):
        return False
    gpt = GPT.from_pretrained("stories", ops="numpy")
    rng = np.random.default_rng(4)
    for ids in (np.array([5, 9, 5, 5, 5, 7, 9, 8]), np.tile(rng.permutation(300)[:6], 3), rng.integers(20, size=18)):
        probs = lens.attention_grid(gpt, ids).probs.astype(float)
        summary = lens.head_summaries(gpt, ids).induction
        for layer, head in ((0, 6), (3, 2), (5, 3)):
            pattern, what = probs[layer, head].copy(), f"probs [{len(ids)}, {len(ids)}], ids {ids.tolist()}"
            got, error = say.tried(function, pattern, ids.copy())
            if error:
                return say.wrong(function, what, "a number", error)
            if not isinstance(got, (float, int, np.floating)) or not np.isfinite(got):
                return say.wrong(function, what, "a number", got)
            expected = float(summary[layer, head])
            if abs(got - expected) > 1e-4:
                return say.wrong(function, what, *_slip(float(got), probs[layer, head], ids, expected))
    return say.right(function)


def _slip(got, probs, ids, expected):
    """What a wrong score has probably done -> what was expected, what came."""
    earlier = np.tril(ids[:, None] == ids[None, :], k=-1)  # [query, place] where its token stood before
    behind = np.zeros_like(earlier)
    behind[:, 1:] = earlier[:, :-1]
    some = behind.any(axis=1)
    places = np.arange(len(ids))
    last = np.where(behind, places, -1).max(axis=1)
    first = np.where(behind, places, len(ids)).min(axis=1)
    slips = {
        "the attention right behind the earlier occurrences": (
            (probs * earlier).sum(axis=1)[some].mean(), "the attention to the occurrences themselves"),
        "the mean over places whose token has stood before": (
            (probs * behind).sum(axis=1).mean(), "a mean over all places"),
        "all earlier occurrences, added up": (probs[some, last[some]].mean(), "the score of the latest one only"),
        "every earlier occurrence, added up": (probs[some, first[some]].mean(), "the score of the earliest one only"),
        "a mean, not a sum": ((probs * behind).sum(), "the sum over all places"),
        "a place's attention added up, not its mean": (
            (probs * behind).sum(axis=1)[some] @ (1 / behind.sum(axis=1)[some]) / some.sum(),
            "the mean over the earlier occurrences"),
        "attention to the place itself, where its token stood right before": (
            (probs * np.tril(behind, k=-1)).sum(axis=1)[some].mean(), "a score without it"),
    }  # fmt: skip
    for what, (value, came) in slips.items():
        if abs(got - value) < 1e-4:
            return what, came
    return f"{expected:.3f} in this case", round(got, 3)


def feeder(function):
    """On models whose weights are written here, so that the answer is known."""
    if say.waiting(function):
        return False
    for seed in range(4):
        rng = np.random.default_rng(seed)
        roles = [str(role) for role in rng.permutation(["writer", "decoy", "copy"])]
        reader = (1, int(rng.integers(3)))
        gpt = GPT(*_by_hand(roles, reader[1]), ops="numpy")
        ids = np.tile(rng.permutation(N_LETTERS)[:9], 2)
        assert lens.head_summaries(gpt, ids).induction[reader] > 0.9  # the model does what it is made for
        what = f"a model made by hand, {ids.tolist()}, {reader}"
        got, error = say.tried(function, gpt, ids.copy(), reader)
        if error:
            return say.wrong(function, what, "a pair (layer, head)", error)
        try:
            layer, head = map(int, got)
        except (TypeError, ValueError):
            return say.wrong(function, what, "a pair (layer, head)", got)
        if layer != 0 or not 0 <= head < 3:
            return say.wrong(function, what, "a head of an earlier block than the reader's", got)
        if roles[head] == "decoy":
            came = f"L{layer}.H{head}: it does look at the token before, but nobody reads what it writes"
            return say.wrong(function, what, "a head whose output the reader's keys are made of", came)
        if roles[head] == "copy":
            came = f"L{layer}.H{head}: what it writes goes into the reader's queries"
            return say.wrong(function, what, "a head whose output the reader's keys are made of", came)
    return say.right(function)


def _by_hand(roles, reader):
    """A GPT-2 of two blocks that continues what repeats itself -> its config and params.

    The stream has five strips, each a one-hot row: the letter, the place, and three to write in: the letter before
    (the writer's), the letter once more (copy's, for the reader's queries), and one which nobody reads (the decoy's).
    """
    config = GPTConfig(n_vocab=N_LETTERS, n_ctx=N_CTX, n_embd=3 * WIDTH, n_layer=2, n_head=3, n_inner=1)
    letter, place, before = slice(0, 12), slice(12, 36), slice(36, 48)
    strips = {"writer": before, "copy": slice(48, 60), "decoy": slice(60, 72)}
    params = P.nest({name: np.zeros(shape, np.float32) for name, shape in P.shapes(config).items()})
    for norm in (params["ln_f"], *(block[name] for block in params["h"] for name in ("ln_1", "ln_2"))):
        norm["weight"][...] = 1
    params["wte"]["weight"][:, letter] = params["wpe"]["weight"][:, place] = 1
    params["wte"]["weight"][:, letter] *= np.eye(N_LETTERS)
    params["wpe"]["weight"][:, place] *= np.eye(N_CTX)
    for head, role in enumerate(roles):
        q, k, v, out = _of_head(params["h"][0]["attn"], head)
        shift = 0 if role == "copy" else 1
        q[place] = np.eye(N_CTX, k=-shift) * (3 if role == "writer" else 4)  # the decoy is the sharper one
        k[place] = np.eye(N_CTX)
        v[letter, :N_LETTERS] = np.eye(N_LETTERS)
        out[:N_LETTERS, strips[role]] = np.eye(N_LETTERS)
    q, k, v, out = _of_head(params["h"][1]["attn"], reader)
    q[strips["copy"], :N_LETTERS] = 12 * np.eye(N_LETTERS)
    k[before, :N_LETTERS] = np.eye(N_LETTERS)
    v[letter, :N_LETTERS] = np.eye(N_LETTERS)
    out[:N_LETTERS, letter] = 3 * np.eye(N_LETTERS)
    return config, params


def _of_head(attn, head):
    """The matrices of a head, as views that can be written: q, k, v [n_embd, d_head], out [d_head, n_embd]."""
    own = slice(head * WIDTH, (head + 1) * WIDTH)
    n_embd = len(attn["c_attn"]["weight"])
    parts = (attn["c_attn"]["weight"][:, i * n_embd : (i + 1) * n_embd][:, own] for i in range(3))
    return *parts, attn["c_proj"]["weight"][own]
