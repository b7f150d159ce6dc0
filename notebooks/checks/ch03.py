"""The exercises of notebook 03."""

import numpy as np

from nanogpt_np import GPT, lens, ops
from nanogpt_np.lens.tokens import log_softmax

from . import say


def head(function):
    """Against the library's ops; the usual slips are known by what they give."""
    if say.waiting(function):
        return False
    rng = np.random.default_rng(3)
    for n_seq, d_head, d_value, size in ((4, 3, 3, 1.0), (6, 16, 5, 1.0), (3, 4, 2, 400.0)):
        q, k = (size * rng.standard_normal((n_seq, d_head)) for _ in range(2))
        v = rng.standard_normal((n_seq, d_value))
        what = f"q, k [{n_seq}, {d_head}], v [{n_seq}, {d_value}]"
        if size > 1:
            what += " with scores of 100,000 and more"
        before = [array.copy() for array in (q, k, v)]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            got, error = say.tried(function, q, k, v)
        if error:
            return say.wrong(function, what, f"an array [{n_seq}, {d_value}]", error)
        if not isinstance(got, np.ndarray) or got.shape != (n_seq, d_value):
            return say.wrong(function, what, f"an array [{n_seq}, {d_value}]", got)
        if not all(map(np.array_equal, before, (q, k, v))):
            return say.wrong(function, what, "the given arrays as they were", "one of them changed")
        if not np.isfinite(got).all():
            return say.wrong(function, what, "finite numbers; what does exp do to large scores?", "inf or nan")
        visible = ops.causal_mask(n_seq, n_seq)
        expected = ops.attention_mix(ops.attention_probs(q, k, visible), v)
        if not np.allclose(got, expected, atol=1e-4):
            return say.wrong(function, what, *_slip(got, q, k, v, visible))
    return say.right(function)


def _slip(got, q, k, v, visible):
    """What a wrong head has probably done -> what was expected, what came."""
    scores, scale = q @ k.T, q.shape[-1] ** -0.5
    shares = ops.softmax(scores * scale)
    later = np.where(visible, 0.0, -np.inf)
    if np.allclose(got, shares @ v):
        return "that nobody reads what comes later", "a row that does"
    if np.allclose(got, (shares * visible) @ v):
        return "that the shares of each row sum to 1", "less: the later tokens took part in the softmax"
    if np.allclose(got, ops.softmax(np.where(visible, scores * scale, 0.0)) @ v):
        return "that the hidden scores count nothing at all", "a row in which they count as scores of 0"
    if np.allclose(got, ops.softmax(scores + later) @ v):
        return "scores that are divided", "what comes out when they are not"
    for divided in (scores / q.shape[-1], scores / np.sqrt(len(q)), scores / np.sqrt(v.shape[-1])):
        if np.allclose(got, ops.softmax(divided + later) @ v):
            return "scores divided by the square root of the width of a query", "another divisor"
    first = np.abs(got[0] - v[0]).max()
    if first > 1e-4:
        return "that the first token receives its own value, as it sees no other", got[0].round(3).tolist()
    return "a mean of the values, by softmax over the keys of each query", got[-1].round(3).tolist()


def look_back(function):
    """Through the library's head; queries before `distance` may look where they like."""
    if say.waiting(function):
        return False
    for n, distance in ((6, 1), (5, 0), (12, 3)):
        got, error = say.tried(function, n, distance)
        if error:
            return say.wrong(function, f"{n}, {distance}", "a pair of arrays, queries and keys", error)
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            return say.wrong(function, f"{n}, {distance}", "a pair of arrays, queries and keys", got)
        q, k = (np.asarray(array, float) for array in got)
        if q.ndim != 2 or q.shape != k.shape or len(q) != n:
            shapes = f"{list(q.shape)} and {list(k.shape)}"
            return say.wrong(function, f"{n}, {distance}", f"two arrays of one shape [{n}, d_head]", shapes)
        if not (np.isfinite(q).all() and np.isfinite(k).all()):
            what = "finite numbers: the mask is the head's business"
            return say.wrong(function, f"{n}, {distance}", what, "inf or nan")
        probs = ops.attention_probs(q[None, None], k[None, None], ops.causal_mask(n, n))[0, 0]
        for place in range(distance, n):
            share, most = float(probs[place, place - distance]), int(probs[place].argmax())
            if share > 0.99:
                continue
            if place and np.ptp(probs[place, : place + 1]) < 0.01:
                what = f"token {place} to look at token {place - distance}"
                got = "all that it sees alike; does it ask for something that comes later?"
                return say.wrong(function, f"{n}, {distance}", what, got)
            if most != place - distance and share < probs[place, most]:
                what = f"token {place} to look at token {place - distance}"
                return say.wrong(function, f"{n}, {distance}", what, f"most of its attention at token {most}")
            what = f"more than 0.99 of token {place}'s attention; the head divides your scores"
            return say.wrong(function, f"{n}, {distance}", what, f"the right token, with {share:.2f}")
    return say.right(function)


def edge_effects(function):
    """On two texts, each edge cut by lens.run."""
    if say.waiting(function):
        return False
    gpt = GPT.from_pretrained("stories", ops="numpy")
    for text, layer, number in (("Lily lost her doll", 0, 7), ("Tom said no", 0, 1)):
        what = f"gpt, {text!r}, {layer}, {number}"
        ids = lens.look(gpt, text).ids
        got, error = say.tried(function, gpt, text, layer, number)
        if error:
            return say.wrong(function, what, f"a float array [{len(ids)}]", error)
        got = np.asarray(got if got is not None else np.nan, float)
        if got.shape != (len(ids),):
            return say.wrong(function, what, f"a float array [{len(ids)}]", f"an array {list(got.shape)}")
        expected = _effects(gpt, ids, layer, number)
        if not np.allclose(got, expected, rtol=0.05, atol=1e-5):
            for how, slip in (
                ("shared", "the other shares as they were, not divided again by their sum"),
                ("all", "a cut for the last token's query alone; the queries before it keep theirs"),
            ):
                if np.allclose(got, _effects(gpt, ids, layer, number, how), rtol=0.05, atol=1e-5):
                    return say.wrong(function, what, slip, "what comes out otherwise")
            if np.allclose(got * np.log(2), expected, rtol=0.05, atol=1e-5):
                return say.wrong(function, what, "nats, so natural logarithms", "bits")
            if (got < -1e-3).any():
                return say.wrong(function, what, "a divergence, which is never below 0", got.round(4).tolist())
            weights = lens.attention_view(gpt, ids, layer, number).probs[-1]
            if np.allclose(got, weights, atol=1e-3):
                return say.wrong(function, what, "how far the answer moves", "the weights themselves")
            place = int(np.abs(got - expected).argmax())
            return say.wrong(function, what, f"another effect of the edge to token {place}", f"{got[place]:.5f}")
    return say.right(function)


def _effects(gpt, ids, layer, head, how=None):
    """The divergences, one for each edge; `how`: "shared", what is left sums to 1 again; "all", in every row."""
    whole = _log_probs(gpt, ids, None)
    found = []
    for key in range(len(ids)):

        def cut(probs, key=key):
            row = slice(None) if how == "all" else -1
            probs[head, row, key] = 0
            if how == "shared":
                probs[head, -1] /= max(probs[head, -1].sum(), 1e-9)
            return probs

        found.append(float((np.exp(whole) * (whole - _log_probs(gpt, ids, {("probs", layer): cut}))).sum()))
    return np.array(found)


def _log_probs(gpt, ids, changes):
    return log_softmax(lens.run(gpt, ids, changes).logits[-1])
