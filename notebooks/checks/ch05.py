"""The exercises of notebook 05."""

import numpy as np

from nanogpt_np import GPT, lens, ops

from . import say


def rms_norm(function):
    """By properties, and against the row's mean square."""
    if say.waiting(function):
        return False
    rng = np.random.default_rng(3)
    for shape, dtype, eps in (((4,), np.float64, 1e-5), ((2, 3, 8), np.float64, 0.5), ((5, 16), np.float32, 1e-6)):
        x = (rng.normal(2.0, 3.0, shape)).astype(dtype)
        weight = rng.uniform(0.5, 2.0, shape[-1]).astype(dtype)
        given = f"x {list(shape)} {np.dtype(dtype)}, weight, {eps}"
        got, error = say.tried(function, x.copy(), weight.copy(), eps)
        if error:
            return say.wrong(function, given, f"an array {list(shape)}", error)
        if not isinstance(got, np.ndarray) or got.shape != shape or got.dtype != dtype:
            return say.wrong(function, given, f"an array {list(shape)} of {np.dtype(dtype)}", got)
        size = np.square(x.astype(np.float64)).mean(axis=-1, keepdims=True)
        if np.allclose(got, ops.layer_norm(x, weight, 0 * weight, eps), rtol=1e-4):
            return say.wrong(function, given, "the mean left where it is", "a layer norm")
        if np.allclose(got * np.sqrt(size + eps), x, rtol=1e-3) and not np.allclose(weight, 1):
            return say.wrong(function, given, "each column scaled by its weight", "no scale")
        if np.allclose(got, x / (np.sqrt(size) + eps) * weight, rtol=1e-4) and eps > 0.1:
            return say.wrong(function, given, "eps added to the mean square, under the root", "eps outside the root")
        if not np.allclose(np.square(got / weight).mean(axis=-1, keepdims=True), size / (size + eps), rtol=1e-3):
            what = "each row, along the last axis, to mean square(x) / (mean square(x) + eps) before the scale"
            return say.wrong(function, given, what, got)
        if not np.allclose(np.sign(got), np.sign(x)):
            return say.wrong(function, given, "every sign as it was", "other signs")
    return say.right(function)


def jacobian(function):
    """Against the change of the layer norm itself when one number moves a little, to both sides."""
    if say.waiting(function):
        return False
    rng = np.random.default_rng(8)
    for x in (np.array([2.0, 4.0, 4.0, 10.0]), rng.normal(3.0, 0.2, 7)):
        n, given = len(x), say.short(x.round(2).tolist())
        got, error = say.tried(function, x.copy())
        if error:
            return say.wrong(function, given, f"a matrix [{n}, {n}]", error)
        if not isinstance(got, np.ndarray) or got.shape != (n, n):
            return say.wrong(function, given, f"a matrix [{n}, {n}]", got)
        step = 1e-5 * np.eye(n)
        one, zero = np.ones(n), np.zeros(n)
        expected = (ops.layer_norm(x + step, one, zero) - ops.layer_norm(x - step, one, zero)).T / 2e-5
        if np.allclose(got, expected, atol=1e-4 * np.abs(expected).max()):
            continue
        if not np.allclose(got @ one, 0, atol=1e-6):
            what = "0 from the matrix times a row of ones, since adding a constant changes nothing"
            return say.wrong(function, given, what, f"up to {np.abs(got @ one).max():.3f}")
        along = got @ (x - x.mean())
        if not np.allclose(along, expected @ (x - x.mean()), atol=1e-3):
            what = "nearly 0 from the matrix times the centred row, since scaling changes nothing"
            return say.wrong(function, given, what, f"up to {np.abs(along).max():.3f}")
        place = np.unravel_index(np.abs(got - expected).argmax(), got.shape)
        what = f"what moving a number a little gives, at [{place[0]}, {place[1]}] {expected[place]:.4f}"
        return say.wrong(function, given, what, f"{got[place]:.4f} there")
    return say.right(function)


def dispensable(function):
    """Each removal is compared with all others that were possible at that moment."""
    if say.waiting(function):
        return False
    gpt = GPT.from_pretrained("stories", ops="numpy")
    sites = [(part, layer) for layer in range(gpt.config.n_layer) for part in ("attn_out", "ffn_out")]
    for text, n in (("Once upon a time, there was a little girl named Lily. She loved", 3), ("Tom had a red ball.", 2)):
        given = f"gpt, {text!r}, {n}"
        got, error = say.tried(function, gpt, text, n)
        if error:
            return say.wrong(function, given, f"a list of {n} half-blocks", error)
        if not isinstance(got, (list, tuple)) or len(got) != n:
            return say.wrong(function, given, f"a list of {n} half-blocks", got)
        got = [tuple(site) if isinstance(site, (list, tuple)) else site for site in got]
        for place, site in enumerate(got):
            if site not in sites:
                return say.wrong(function, given, '("attn_out" or "ffn_out", layer) each', site)
            if site in got[:place]:
                return say.wrong(function, given, "each half-block at most once", f"{site} twice")
            losses = {other: _loss(gpt, text, [*got[:place], other]) for other in sites if other not in got[:place]}
            more = losses[site] - min(losses.values())
            if more > 1e-4:
                beside = f", beside {got[:place]} which are gone," if place else ""
                what = f"in place {place} the half-block that{beside} costs least"
                return say.wrong(function, given, what, f"{site}, which leaves {more:.3f} nats more than another")
    return say.right(function)


def _loss(gpt, text, gone):
    run = lens.run(gpt, text, {site: np.zeros_like for site in gone})
    return float(-lens.tokens.log_softmax(run.logits[:-1])[np.arange(len(run.ids) - 1), run.ids[1:]].mean())
