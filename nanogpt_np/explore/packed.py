"""Arrays and numbers as JSON carries them: float32 as it is, so that a page shows what the model computed.

Enter: arrays, numbers, a view. Leave: what json.dumps takes. An array is {"shape": …, "f4": base64 of little-endian
float32}: exact, and shorter than digits; it may hold NaN and infinities, which JSON has no digits for.
Next: explore/asked.py.
"""

import base64
import json
import math

import numpy as np

DIGITS = 9  # of a plain number: as many as tell one float32 from every other


def array(values):
    """An array of floats, of any shape: array(np.zeros(2)) -> {"shape": [2], "f4": "AAAAAAAAAAA="}"""
    values = np.ascontiguousarray(values, "<f4")
    return {"shape": list(values.shape), "f4": base64.b64encode(values.tobytes()).decode("ascii")}


def shares(values):
    """Numbers from 0 to 1 in a byte each, for pictures: shares(np.ones(1)) -> {"shape": [1], "u1": "/w=="}"""
    values = np.round(255 * np.asarray(values)).astype("u1")
    return {"shape": list(values.shape), "u1": base64.b64encode(values.tobytes()).decode("ascii")}


def number(value):
    """One number with the digits that float32 has; None where it is not finite. number(0.1 + 0.2) -> 0.3"""
    value = float(value)
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def numbers(values):
    """A list of them, for few."""
    return [number(value) for value in values]


def wholes(values):
    """Ids, places and counts as lists of lists of int."""
    return np.asarray(values).tolist()


def thumbnails(probs, most):  # [n_layer, n_head, n, n]
    """Attention patterns small enough to be shown all at once: the largest share of each square of `step` tokens.

    `step` is the least with which no side is longer than `most`.
    """
    n = probs.shape[-1]
    step = -(-n // most)
    if step > 1:
        starts = np.arange(0, n, step)
        probs = np.maximum.reduceat(np.maximum.reduceat(probs, starts, axis=-1), starts, axis=-2)
    return shares(probs) | {"step": step}


def signed_thumbnails(values, most):  # [n_layer, n_head, n, n]
    """The same of numbers with a sign: of each square the number that is furthest from 0, a byte each.

    128 is 0, 1 and 255 are `limit` below and above it, the largest of all.
    """
    n = values.shape[-1]
    step = -(-n // most)
    if step > 1:
        starts = np.arange(0, n, step)
        low, high = (f.reduceat(f.reduceat(values, starts, axis=-1), starts, axis=-2) for f in (np.minimum, np.maximum))
        values = np.where(-low > high, low, high)
    limit = float(np.abs(values).max())
    levels = np.round(128 + 127 * (values / limit if limit else values)).astype("u1")
    return {"shape": list(values.shape), "u1": base64.b64encode(levels.tobytes()).decode("ascii"), "step": step,
            "limit": number(limit)}  # fmt: skip


def canonical(value):
    """JSON in one spelling: names sorted, no spaces, letters as they are, whole floats as whole numbers.

    canonical({"b": 1.0, "a": [None]}) -> '{"a":[null],"b":1}'
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
