"""The exercises of notebook 18."""

import numpy as np

from . import say

MATRICES = (  # shapes of a block's matrices as stored, n_embd, whether they lie by output
    ({"attn.c_attn": (8, 24), "attn.c_proj": (8, 8), "mlp.c_fc": (8, 32), "mlp.c_proj": (32, 8)}, 8, False),
    ({"attn.c_attn": (24, 8), "attn.c_proj": (8, 8), "mlp.c_fc": (32, 8), "mlp.c_proj": (8, 32)}, 8, True),
    ({"attn.c_proj": (256, 256)}, 256, None),
    ({"attn.c_proj": (64, 64), "mlp.c_fc": (64, 64), "mlp.c_proj": (64, 64)}, 64, None),
    ({"attn.c_proj": (64, 64), "mlp.c_proj": (64, 256)}, 64, True),
    ({"mlp.c_proj": (256, 64)}, 64, False),
    ({"mlp.c_fc": (32, 64)}, 64, True),  # a narrow one
    ({"mlp.c_fc": (64, 32), "mlp.c_proj": (32, 64)}, 64, False),
)


def place_of(function):
    """Against a matrix of its own bytes' places, laid both ways."""
    if say.waiting(function):
        return False
    for start, shape, i, j in ((0, (2, 3), 1, 0), (100, (2, 3), 0, 2), (8, (4, 4), 1, 2), (1024, (5, 3), 4, 1)):
        by_input, by_output = (start + 4 * np.arange(shape[0] * shape[1]).reshape(s) for s in (shape, shape[::-1]))
        for is_turned in (False, True):
            given = f"{start}, {shape}, {i}, {j}, {is_turned}"
            right, other = (by_output[j, i], by_input[i, j]) if is_turned else (by_input[i, j], by_output[j, i])
            got, error = say.tried(function, start, shape, i, j, is_turned)
            if error or not isinstance(got, (int, np.integer)):
                return say.wrong(function, given, "a whole number", error or got)
            if got == right:
                continue
            what = "the place of that weight"
            if got == start + (right - start) // 4:
                what = "a place in bytes, four for each weight"
            elif start and got == right - start:
                what = "a place in the file, of which the matrix is a part"
            elif got == other:
                what = f"a place in {'[n_out, n_in]' if is_turned else '[n_in, n_out]'}"
            return say.wrong(function, given, what, got)
    return say.right(function)


def lies_by_output(function):
    """On blocks of both kinds, whole and in parts, and on some that cannot say."""
    if say.waiting(function):
        return False
    for shapes, n_embd, expected in MATRICES:
        given = f"{shapes}, {n_embd}"
        got, error = say.tried(function, dict(shapes), n_embd)
        if error:
            return say.wrong(function, given, "True, False or None", error)
        if got is expected or isinstance(got, np.bool_) and bool(got) is expected:
            continue
        what = "None, as a square matrix looks the same both ways" if expected is None else "the other way round"
        if expected is not None and got is None:
            what = "an answer, as one of them is not square"
        return say.wrong(function, given, what, got)
    return say.right(function)


def q8_0(function):
    """Rows of ordinary weights, one of a single weight, one of zeros: the step to its bits, the rest to half a step."""
    if say.waiting(function):
        return False
    rng = np.random.default_rng(18)
    rows = [rng.standard_normal(32).astype(np.float32) * scale for scale in (0.1, 1.0, 30.0, 0.02, 0.5)]
    halves = np.r_[np.float32(127), np.linspace(96.49, 126.49, 31, dtype=np.float32)]
    rows.append(halves * np.float32(1.0004))  # a step that is 1 as float16, and weights near to a half of it
    rows += [np.eye(32, dtype=np.float32)[5] * -2, np.zeros(32, np.float32)]
    for row in rows:
        given = f"32 weights up to {np.abs(row).max():.3g}"
        got, error = say.tried(function, row.copy())
        if error:
            return say.wrong(function, given, "34 bytes", error)
        if not isinstance(got, (bytes, bytearray)) or len(got) != 34:
            return say.wrong(function, given, "34 bytes", f"{len(got)} bytes" if isinstance(got, bytes) else got)
        if problem := _problem(row, bytes(got)):
            return say.wrong(function, given, *problem)
    return say.right(function)


def _problem(row, got):
    """What is expected of a block and what was got, where they differ."""
    step = np.abs(row).max() / np.float32(127)
    stored, whole = np.frombuffer(got[:2], "<f2")[0], np.frombuffer(got[2:], np.int8).astype(float)
    if not stored == np.float16(step):
        swapped = np.frombuffer(got[:2], ">f2")[0] == np.float16(step)
        what = "the low byte of the step first" if swapped else "the largest weight divided by 127 as the step"
        return what, f"a step of {float(stored):.4g}"
    far = np.abs(whole - (row / step if step else 0 * row)).max()
    if far > 0.5001:  # so that halves may be rounded either way
        almost = "; divide before the step is rounded" if far < 0.6 else ""
        return f"the nearest whole number for each weight{almost}", f"one that is {far:.2f} steps off"
    return None
