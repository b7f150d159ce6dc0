"""The exercises of notebook 10. Functions come as plain Python; here they are watched, and compiled."""

import warnings

import numpy as np

from nanogpt_np import ops

from . import say


class Rows:
    """A matrix that can be read by rows or numbers only, and notes which row was read after which."""

    def __init__(self, array):
        self._array, self.visits = array, []
        self.shape, self.dtype, self.ndim, self.size = array.shape, array.dtype, array.ndim, array.size

    def __len__(self):
        return len(self._array)

    def __getitem__(self, at):
        row, rest = (at[0], at[1:]) if isinstance(at, tuple) else (at, ())
        if isinstance(row, slice) or not np.issubdtype(type(row), np.integer):
            raise TypeError("expected one row at a time, got several at once")
        if not self.visits or self.visits[-1] != row:
            self.visits.append(int(row))
        return self._array[(row, *rest)]

    def __iter__(self):
        return (self[row] for row in range(len(self)))

    def __array__(self, *args, **how):
        raise TypeError("expected one row at a time, got all at once")

    def read_again(self):
        """The first row that was left and read once more, or None."""
        seen = set()
        for row in self.visits:
            if row in seen:
                return row
            seen.add(row)
        return None


def _plain(function):
    return getattr(function, "py_func", function)  # somebody may have decorated it


def _compiled(function):
    from numba import njit

    from nanogpt_np.kernels.compile import FAST

    return njit(fastmath=FAST, error_model="numpy")(function)


def sum_rows(function):
    """Against NumPy, with an eye on the order in which rows are read."""
    function = _plain(function)
    if say.waiting(function):
        return False
    for shape in ((3, 4), (5, 2), (1, 3)):
        array = np.random.default_rng(shape[0]).integers(-9, 10, shape).astype(np.float32)
        rows, out = Rows(array), np.full(shape[1], np.nan, np.float32)
        given = f"x {list(shape)}, out"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, error = say.tried(function, rows, out)
        if error:
            return say.wrong(function, given, f"sums in out [{shape[1]}]", error)
        if np.isnan(out).any():
            return say.wrong(function, given, "an out that may hold anything at first, here NaN, to hold the sums", out)
        if not np.array_equal(out, array.sum(axis=0)):
            return say.wrong(function, given, f"the sum of each column of {array.tolist()}", out)
        if (row := rows.read_again()) is not None:
            what = "the numbers of a row one after the other, then the next row"
            return say.wrong(function, given, what, f"row {row} left and read again: that goes down the columns")
    return say.right(function)


def gelu_and_slope(function):
    """Against ops.py, then LLVM's code is searched for float64."""
    function = _plain(function)
    if say.waiting(function):
        return False
    x = np.append(np.random.default_rng(10).standard_normal(50) * 2, [0, 8, -8]).astype(np.float32)
    wanted = {"out": ops.gelu_new(x), "slope": ops.gelu_new_backward(np.float32(1), x)}
    compiled = _compiled(function)
    found = {name: np.full(x.size, np.nan, np.float32) for name in wanted}
    _, error = say.tried(compiled, x, *found.values())
    if error:
        return say.wrong(function, f"x [{x.size}], out, slope", "a function that Numba can compile", error)
    for name, array in found.items():
        bad = np.flatnonzero(~(np.abs(array - wanted[name]) < 1e-5))
        if bad.size:
            got = f"{array[bad[0]]:.6f}"
            return say.wrong(function, f"x[i] = {x[bad[0]]:.6f}", f"{name}[i] = {wanted[name][bad[0]]:.6f}", got)
    code = "".join(compiled.inspect_llvm().values())
    if "fpext" in code or " double" in code:
        what = "float32 all the way: 0.5 is float64 and 1 is int64, and a float32 that meets either becomes float64"
        return say.wrong(function, f"x [{x.size}], out, slope", what, "the right values by way of float64")
    return say.right(function)


def _expected(q, keys, values, visible):
    probs = ops.attention_probs(q[None, None, None], keys[None, None], visible[None])
    return ops.attention_mix(probs, values[None, None])[0, 0, 0]


def _cases():
    rng = np.random.default_rng(11)
    for what, n_key, factor in (("three keys", 3, 1), ("twelve keys", 12, 2), ("scores of thousands", 9, 40)):
        q, keys, values = (rng.standard_normal(shape).astype(np.float32) for shape in (4, (n_key, 4), (n_key, 4)))
        yield what, (factor * q, factor * keys, values, np.ones(n_key, bool))
    rising = np.arange(8, dtype=np.float32)[:, None] * np.ones(4, np.float32)
    yield "scores that rise", (np.ones(4, np.float32), rising, rising[::-1].copy(), np.ones(8, bool))
    yield "scores that fall", (-np.ones(4, np.float32), rising, rising[::-1].copy(), np.ones(8, bool))
    masked = np.array([False, False, True, False, True])
    q, keys, values = (rng.standard_normal(shape).astype(np.float32) for shape in (4, (5, 4), (5, 4)))
    yield "the first keys masked", (q, keys, values, masked)
    keys, values = keys.copy(), values.copy()
    keys[0], values[0] = 1e3, 1e3
    yield "a masked key with the largest score", (q, keys, values, masked)
    yield "nothing visible", (q, keys, values, np.zeros(5, bool))


def attend(function):
    """Against ops.py on hard rows; each key and value may be visited once; then compiled."""
    function = _plain(function)
    if say.waiting(function):
        return False
    for what, (q, keys, values, visible) in _cases():
        watched = Rows(keys), Rows(values)
        if not _same(function, function, what, (q, *watched, visible), _expected(q, keys, values, visible)):
            return False
        for name, rows in zip(("key", "value"), watched, strict=True):
            if (row := rows.read_again()) is not None:
                return say.wrong(function, what, f"each {name} to be read once", f"{name} {row} left and read again")
    compiled = _compiled(function)
    for what, given in _cases():
        if not _same(function, compiled, f"{what}, compiled", given, _expected(*given)):
            return False
    return say.right(function)


def _same(function, run, what, given, wanted):
    out = np.full(4, np.nan, np.float32)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, error = say.tried(run, *given, out)
    if error:
        return say.wrong(function, what, "the mix of values in out", error)
    if np.isnan(out).any():
        return say.wrong(function, what, "numbers", f"NaN: {out}; is there an inf - inf, or 0 / 0?")
    if not np.allclose(out, wanted, rtol=1e-4, atol=1e-5 * max(1, np.abs(wanted).max())):
        return say.wrong(function, what, "what ops.py gives, " + np.array2string(wanted, precision=4), out)
    return True
