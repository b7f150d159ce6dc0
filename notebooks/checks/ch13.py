"""The exercises of notebook 13."""

import numpy as np

from nanogpt_np import ops

from . import say

N_SYMBOLS, N_NOISE = 8, 8


def forget_bias(function):
    """Half is left after half_life steps of a gate that sees this bias alone."""
    if say.waiting(function):
        return False
    for half_life in (1, 2, 10.5, 40, 0.5):
        got, error = say.tried(function, half_life)
        if error:
            return say.wrong(function, half_life, "a number", error)
        if got is None or np.size(got) != 1 or not np.isfinite(np.asarray(got, np.float64)).all():
            return say.wrong(function, half_life, "a finite number", got)
        bias = float(np.asarray(got).reshape(()))
        gate = 1 / (1 + np.exp(-bias))
        if abs(bias - 0.5 ** (1 / half_life)) < 1e-6:
            what = f"the bias; this is the gate itself, and as a bias it would make a gate of {gate:.3f}"
            return say.wrong(function, half_life, what, bias)
        left = gate**half_life
        if abs(left - 1 / np.e) < 1e-4:
            return say.wrong(function, half_life, "0.5 left after so many steps, not 1 / e", bias)
        if abs(left - 0.5) > 1e-5:
            what = f"0.5 left after {half_life} steps (with this bias the gate is {gate:.3f}, and {left:.3f} is left)"
            return say.wrong(function, half_life, what, bias)
    return say.right(function)


def linear_attention_step(function):
    """Step by step, against all scores at once."""
    if say.waiting(function):
        return False
    for n_seq, d_key, d_value, seed in ((1, 2, 3, 1), (5, 3, 3, 2), (40, 4, 2, 3)):
        rng = np.random.default_rng(seed)
        q, k = rng.standard_normal((2, n_seq, d_key))
        v = rng.standard_normal((n_seq, d_value))
        expected = np.tril(q @ k.T) @ v
        given = f"state, q, k, v with d_key = {d_key}, d_value = {d_value}"
        state = np.zeros((d_key, d_value))
        for t in range(n_seq):
            before = state.copy()
            found, error = say.tried(function, state, q[t], k[t], v[t])
            if error:
                return say.wrong(function, given, "new_state, out", error)
            if not isinstance(found, tuple) or len(found) != 2:
                return say.wrong(function, given, "two things, new_state and out", found)
            if not np.array_equal(before, state):
                return say.wrong(function, given, "the given state as it was", "another in its place; make a new one")
            state, out = (np.asarray(part) for part in found)
            if state.shape != (d_key, d_value):
                return say.wrong(function, given, f"a new state [{d_key}, {d_value}]", f"one {list(state.shape)}")
            if out.shape != (d_value,):
                return say.wrong(function, given, f"out [{d_value}]", f"one {list(out.shape)}")
            if np.allclose(out, expected[t]):
                continue
            if np.allclose(out, expected[t] - (q[t] @ k[t]) * v[t]):
                return say.wrong(function, given, "that a token hears itself too", "only those before it")
            return say.wrong(function, f"{given}, token {t}", f"out = {np.round(expected[t], 3)}", np.round(out, 3))
    return say.right(function)


def holding_cell(function):
    """Strings of one, two and four symbols, at once and after 300 tokens of noise."""
    if say.waiting(function):
        return False
    for n in (1, 2, 4):
        params, error = say.tried(function, n)
        if error:
            return say.wrong(function, n, "params of an LSTM", error)
        if problem := _problem(params, n):
            return say.wrong(function, n, *problem)
        for delay in (0, 7, 300):
            strings, probs = _answers(params, n, delay)
            best, right = probs.argmax(axis=-1), np.take_along_axis(probs, strings[..., None], axis=-1)[..., 0]
            wrong = np.flatnonzero((strings != best).any(axis=1))
            row = wrong[0] if len(wrong) else right.min(axis=1).argmin()
            asked, said = strings[row].tolist(), best[row].tolist()
            what = f"the string {asked} after {delay} tokens of noise"
            if not len(wrong) and not right.min() > 0.5:
                less = f"as little as {right.min():.2f}"
                return say.wrong(function, n, f"{what}, more than half of the probability for each symbol", less)
            if delay:
                what += ", as it was held without them; who may open the doors, and who keeps them shut?"
            elif n > 1 and set(said) <= set(asked):
                what += ": the symbols are there, the places are not"
            if len(wrong):
                return say.wrong(function, n, what, said)
    return say.right(function)


def _problem(params, n):
    """What is expected and what was got, where params are none of an LSTM; else None."""
    names = {"wte": ("weight",), "cell": ("w_x", "w_h", "bias"), "head": ("weight", "bias")}
    if not isinstance(params, dict) or any(not isinstance(params.get(part), dict) for part in names):
        return "a dict with wte, cell and head, each a dict", params
    for part, inner in names.items():
        for name in inner:
            if name not in params[part]:
                return f'params["{part}"]["{name}"]', "none"
    n_vocab = N_SYMBOLS + N_NOISE + n
    n_embd, n_hidden = np.shape(params["wte"]["weight"])[-1], np.shape(params["cell"]["w_h"])[0]
    shapes = {"wte.weight": (n_vocab, n_embd), "cell.w_x": (n_embd, 4 * n_hidden), "cell.w_h": (n_hidden, 4 * n_hidden),
              "cell.bias": (4 * n_hidden,), "head.weight": (n_hidden, n_vocab), "head.bias": (n_vocab,)}  # fmt: skip
    for name, shape in shapes.items():
        part, inner = name.split(".")
        if np.shape(params[part][inner]) != shape:
            return f"{name} {list(shape)}", f"{list(np.shape(params[part][inner]))}"
    return None


def _answers(params, n, delay):
    """-> the strings [n_batch, n], and the probabilities that are given to the questions [n_batch, n, n_vocab]."""
    rng = np.random.default_rng([n, delay])
    strings = rng.integers(0, N_SYMBOLS, (24, n))
    noise = rng.integers(N_SYMBOLS, N_SYMBOLS + N_NOISE, (24, delay))
    ids = np.concatenate([strings, noise, np.broadcast_to(16 + np.arange(n), strings.shape)], axis=1)
    cell, head = params["cell"], params["head"]
    n_hidden = len(cell["w_h"])
    h, c = np.zeros((2, 24, n_hidden), np.float32)
    said = []
    for column in ids.T:
        z = params["wte"]["weight"][column] @ cell["w_x"] + cell["bias"] + h @ cell["w_h"]
        i, f, o = (0.5 * (1 + np.tanh(0.5 * part)) for part in np.split(z, 4, axis=1)[:3])
        c = f * c + i * np.tanh(z[:, 3 * n_hidden :])
        h = o * np.tanh(c)
        said.append(ops.softmax(ops.linear(h, head["weight"], head["bias"])))
    return strings, np.stack(said[-n:], axis=1)
