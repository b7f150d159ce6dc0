"""The exercises of notebook 12."""

import numpy as np

from nanogpt_np import GPT, lens

from . import say

TEXTS = ("Tom ran to the park. He saw a red ball.", "Lily was sad.", "One day, a bear sat under a tree and sang.")


def mean_output(function):
    """On three texts of different lengths, against the sum over all tokens."""
    if say.waiting(function):
        return False
    gpt = GPT.from_pretrained("stories", ops="numpy")
    runs = [lens.run(gpt, text) for text in TEXTS]
    n_head, d_head = gpt.config.n_head, gpt.config.d_head
    for layer in (0, 4):
        mixed = [run.sites["mixed", layer].astype(float) for run in runs]  # [n_head, n_seq, d_head] each
        lengths = [len(run.ids) for run in runs]
        what = f"runs of {', '.join(map(str, lengths))} tokens, {layer}"
        expected = sum(array.sum(axis=1) for array in mixed) / sum(lengths)
        got, error = say.tried(function, runs, layer)
        if error:
            return say.wrong(function, what, f"an array [{n_head}, {d_head}]", error)
        if not isinstance(got, np.ndarray) or got.shape != (n_head, d_head):
            return say.wrong(function, what, f"an array [{n_head}, {d_head}]", got)
        if np.allclose(got, expected, atol=1e-4):
            continue
        if np.allclose(got, np.mean([array.mean(axis=1) for array in mixed], axis=0), atol=1e-4):
            came = "the mean of the texts' means: a token of the short text counts more"
        elif np.allclose(got, sum(array.sum(axis=1) for array in mixed) / len(runs), atol=1e-3):
            came = "a sum that is divided by the number of texts"
        elif np.allclose(got, np.mean([array[:, -1] for array in mixed], axis=0), atol=1e-4):
            came = "a mean over last tokens only"
        else:
            came = f"{float(got[0, 0]):.3f} in place of {expected[0, 0]:.3f} as the first number of head 0"
        return say.wrong(function, what, "means in which each token counts the same", came)
    return say.right(function)


def knock_out(function):
    """Against the library's softmax with that one score masked."""
    if say.waiting(function):
        return False
    gpt = GPT.from_pretrained("stories", ops="numpy")
    for text, place in ((TEXTS[0], (4, 7, 9, 0)), (TEXTS[2], (2, 1, 6, 3)), (TEXTS[0], (0, 0, 5, 5))):
        layer, head, query, key = place
        what, whole = f"gpt, {text!r}, {', '.join(map(str, place))}", lens.run(gpt, text)
        expected = lens.run(gpt, text, {("probs", layer): _masked(head, query, key)})
        with np.errstate(all="ignore"):
            got, error = say.tried(function, gpt, text, *place)
        if error:
            return say.wrong(function, what, "a Run", error)
        if not isinstance(got, lens.Run):
            return say.wrong(function, what, "a Run, as lens.run gives it", got)
        before, after = whole.sites["probs", layer], got.sites["probs", layer]
        changed = np.argwhere(np.abs(before - after) > 1e-5)  # head, query, key
        slip = None
        if not len(changed):
            slip = "that the look is gone", "a run in which nothing is changed at that site"
        elif (changed[:, 0] != head).any():
            slip = f"a change in head {head} alone", f"changes in heads {sorted({int(i) for i in changed[:, 0]})}"
        elif (changed[:, 1] != query).any():
            slip = f"a change in the row of query {query} alone", f"changes in {len({*changed[:, 1].tolist()})} rows"
        elif after[head, query, key] > 1e-7:
            slip = f"0 at key {key}", float(after[head, query, key])
        elif abs(float(after[head, query].sum()) - 1) > 1e-4:
            slip = "shares that sum to 1 again", f"{after[head, query].sum():.3f}; the others must grow"
        elif np.abs(after - expected.sites["probs", layer]).max() > 1e-4:
            slip = "that the other shares grow in proportion, as a softmax without that key gives them", "other shares"
        elif np.abs(got.logits - expected.logits).max() > 1e-2:
            slip = "that nothing else is touched", "other logits"
        if slip:
            return say.wrong(function, what, *slip)
    return say.right(function)


def _masked(head, query, key):
    def change(probs):
        scores = np.log(np.maximum(probs[head, query].astype(float), 1e-300))
        scores[key] = -np.inf
        shares = np.exp(scores - scores.max())
        probs[head, query] = shares / shares.sum()
        return probs

    return change


SENTENCES = (
    "Once upon a time, there was a {}. One day,",
    "A {} lived in a big house. Every day,",
    "The {} was very happy. Then,",
    "The {} saw a frog. When the frog jumped,",
)
KINDS = (("woman", "man"), ("queen", "king"), ("princess", "prince"), ("mom", "dad"), ("sister", "brother"))


def pronoun_heads(function):
    """By what they bring on sentences and people that the notebook does not have."""
    if say.waiting(function):
        return False
    gpt = GPT.from_pretrained("stories", ops="numpy")
    got, error = say.tried(function)
    if error:
        return say.wrong(function, "", "a list of pairs (layer, head)", error)
    try:
        heads = {(int(layer), int(head)) for layer, head in got}
    except (TypeError, ValueError):
        return say.wrong(function, "", "a list of pairs (layer, head)", got)
    inside = all(0 <= a < gpt.config.n_layer and 0 <= b < gpt.config.n_head for a, b in heads)
    if not heads or not inside:
        return say.wrong(function, "", "layers from 0 to 5 and heads from 0 to 7", got)
    if len(heads) > 5:
        return say.wrong(function, "", "at most five heads", f"{len(heads)}")
    share = _brought(gpt, heads)
    n = len(SENTENCES) * len(KINDS)
    expected = f"heads that bring two thirds of the difference, in the mean over {n} new pairs"
    if share < 0.3:
        came = f"{share:.2f}: what these heads carry to the last token is mostly something else"
        return say.wrong(function, "", expected, came)
    if share < 2 / 3:
        return say.wrong(function, "", expected, f"{share:.2f}: a good part, but others are missing")
    return say.right(function)


def _brought(gpt, heads):
    """The mean share of the difference of " she" and " he" that comes with the heads' outputs at the last token."""
    she, he = (gpt.tokenizer.encode(word)[0] for word in (" she", " he"))
    shares = []
    for sentence in SENTENCES:
        for kinds in KINDS:
            one, other = (lens.run(gpt, sentence.format(kind)) for kind in kinds)
            changes = {("mixed", layer): _put_in(one, layer, heads) for layer, _ in heads}
            runs = other, one, lens.run(gpt, other.ids, changes)
            before, wanted, got = (float(run.logits[-1, she] - run.logits[-1, he]) for run in runs)
            shares.append((got - before) / (wanted - before))
    return float(np.mean(shares))


def _put_in(source, layer, heads):
    def change(mixed):
        for its_layer, head in heads:
            if its_layer == layer:
                mixed[head, -1] = source.sites["mixed", layer][head, -1]
        return mixed

    return change
