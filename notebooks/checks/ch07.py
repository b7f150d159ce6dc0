"""The exercises of notebook 07."""

import numpy as np

from nanogpt_np import ops
from nanogpt_np.training.finite_differences import numeric_gradient, relative_error

from . import say

NEAR = 1e-6  # relative; central differences in float64 reach about 1e-9
BENT = "a valley that is no parabola"


def tempered_backward(function):
    """Against finite differences of the loss, at three temperatures."""
    if say.waiting(function):
        return False
    for seed, (n, n_vocab, temperature) in enumerate(((1, 3, 1.0), (4, 5, 0.5), (3, 7, 2.5))):
        rng = np.random.default_rng(seed)
        logits, targets, dlosses = rng.standard_normal((n, n_vocab)), rng.integers(n_vocab, size=n), rng.random(n) + 0.5
        given = f"dlosses, logits [{n}, {n_vocab}], targets, {temperature}"
        before = logits.copy()
        got, error = say.tried(function, dlosses.copy(), logits, targets.copy(), temperature)
        if error or np.shape(got) != (n, n_vocab):
            return say.wrong(function, given, f"an array [{n}, {n_vocab}]", error or got)
        if not np.array_equal(logits, before):
            return say.wrong(function, given, "the given logits as they were", "other numbers in their place")

        def loss(logits=logits, targets=targets, dlosses=dlosses, temperature=temperature):
            probs = ops.softmax(logits / temperature)
            return float((-np.log(probs[np.arange(len(targets)), targets]) * dlosses).sum())

        expected, got = numeric_gradient(loss, logits), np.asarray(got)
        if relative_error(got, expected) < NEAR:
            continue
        if np.abs(got.sum(axis=1)).max() > 1e-6:
            sums = got.sum(axis=1).round(3)
            return say.wrong(function, given, "rows that sum to 0, as the logits only compete", sums)
        if relative_error(got, temperature * expected) < NEAR:
            too_large = f"{temperature} times the gradient"
            return say.wrong(function, given, "the slope of z / T by z as a factor, too", too_large)
        if relative_error(got * dlosses[:, None], expected) < NEAR:
            return say.wrong(function, given, "each row times the gradient of its loss", "rows that ignore dlosses")
        if relative_error(got * n, expected) < NEAR:
            return say.wrong(function, given, "the sum over the losses as dlosses weigh it", "a further division by n")
        return say.wrong(function, given, "what finite differences say", f"row 0: {got[0].round(3)}")
    return say.right(function)


def rms_norm_backward(function):
    """Against finite differences; with a weight that is not 1 and rows that have a mean."""
    if say.waiting(function):
        return False
    for seed, (n, n_embd, eps) in enumerate(((1, 4, 1e-5), (5, 6, 1e-5), (3, 8, 0.5))):
        rng = np.random.default_rng(seed)
        x, weight = rng.standard_normal((n, n_embd)) + 0.7, rng.random(n_embd) + 0.5
        dout = rng.standard_normal((n, n_embd))
        given = f"dout, x [{n}, {n_embd}], weight, {eps}"
        before = x.copy()
        got, error = say.tried(function, dout.copy(), x, weight, eps)
        if error or not isinstance(got, (tuple, list)) or [np.shape(part) for part in got] != [(n, n_embd), (n_embd,)]:
            return say.wrong(function, given, f"dx [{n}, {n_embd}] and dweight [{n_embd}]", error or _shapes(got))
        if not np.array_equal(x, before):
            return say.wrong(function, given, "the given x as it was", "other numbers in its place")

        def total(x=x, weight=weight, eps=eps, dout=dout):
            return float((weight * x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * dout).sum())

        dx, dweight = (np.asarray(part) for part in got)
        if relative_error(dweight, numeric_gradient(total, weight)) > NEAR:
            what = "dweight: dout times what the weight was multiplied with, all rows together"
            return say.wrong(function, given, what, dweight.round(3))
        expected = numeric_gradient(total, x)
        if relative_error(dx, expected) < NEAR:
            continue
        if eps < 1e-3 and np.abs((dx * x).sum(axis=1)).max() > 1e-3:
            what = "a dx that is at right angles to x, as a longer x gives the same"
            return say.wrong(function, given, what, f"dx · x = {(dx * x).sum(axis=1).round(3)}")
        taken = _projected(dout * weight - (dout * weight).mean(axis=-1, keepdims=True), x, eps)
        if np.abs(dx.sum(axis=1)).max() < 1e-8 or relative_error(dx, taken) < NEAR:
            what = "no mean taken away: here a number added to all entries does change the output"
            return say.wrong(function, given, what, "a dx without a part that belongs to it")
        if relative_error(dx, _projected(dout, x, eps)) < NEAR:
            return say.wrong(function, given, "the gradient to pass through the weight first", "a dx that ignores it")
        return say.wrong(function, given, "for dx what finite differences say", f"row 0: {dx[0].round(3)}")
    return say.right(function)


def _projected(dnormed, x, eps):
    """What comes of a gradient behind x / rms(x)."""
    rms = np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
    return (dnormed - x / rms * (dnormed * x / rms).mean(axis=-1, keepdims=True)) / rms


def sharpness(function):
    """Against eigenvalues that are known: of quadratic functions, and of a log-sum-exp, which is none."""
    if say.waiting(function):
        return False
    rng = np.random.default_rng(5)
    for name, gradient, hessian, x in _landscapes(rng):
        expected = np.linalg.eigvalsh(hessian)
        expected = float(expected[np.abs(expected).argmax()])
        kept = x.copy()
        with np.errstate(all="ignore"):
            got, error = say.tried(function, gradient, x)
        if error or np.shape(got) != () or not np.isfinite(got):
            return say.wrong(function, f"gradient, x [{len(x)}]", "a finite number", error or got)
        if not np.array_equal(x, kept):
            return say.wrong(function, f"gradient, x [{len(x)}]", "the given x as it was", "other numbers in its place")
        if abs(got - expected) <= 0.01 * abs(expected):
            continue
        if abs(abs(got) - abs(expected)) <= 0.01 * abs(expected):
            return say.wrong(function, name, "the sign too: here the loss bends down", got)
        ratio = got / expected
        for factor in (0.5, 2.0):
            if abs(ratio - factor) < 0.02:
                what = "a difference divided by the way between its two ends"
                return say.wrong(function, name, what, f"{factor} times the eigenvalue")
        if abs(ratio) < 0.01 or abs(ratio) > 100:
            what = "an eigenvalue: a difference of gradients, divided by the way between them"
            return say.wrong(function, name, what, f"{got:.3g}, far from its size")
        advice = "is the step h small?" if name == BENT else "more products?"
        return say.wrong(function, name, "the eigenvalue of largest magnitude to 1 %", f"{got:.4g} ({advice})")
    return say.right(function)


def _landscapes(rng):
    """(what it is, gradient, Hessian at x, x)"""
    for name, values in (
        ("a valley", np.linspace(0.1, 3.0, 12)),
        ("a saddle", np.array([-5.0, 3.0, 2.0, 1.0, 0.5, 0.1])),
        ("a steep valley", np.geomspace(0.01, 80.0, 20)),
    ):
        turn, _ = np.linalg.qr(rng.standard_normal((len(values), len(values))))
        hessian = turn @ np.diag(values) @ turn.T
        yield name, lambda x, hessian=hessian: hessian @ x, hessian, rng.standard_normal(len(values))
    x, steep = np.array([0.3, -0.2, 0.5, 0.1]), np.array([30.0, 20.0, 10.0, 5.0])
    p = ops.softmax(steep * x)
    yield BENT, lambda x: steep * ops.softmax(steep * x), (
        np.outer(steep, steep) * (np.diag(p) - np.outer(p, p))
    ), x


def _shapes(got):
    return [np.shape(part) for part in got] if isinstance(got, (tuple, list)) else got
