"""One pass as a table: which room called which op, on what, and what came out.

Enter: a GPT and a text. Leave: a Trace, a step for each call of an op, which prints as a table. As ops are a module
that is passed, one that writes down what it is asked is all it takes; the room is the function that called.
Next: lens/sampling.py.
"""

import sys
import types
from typing import NamedTuple

import numpy as np

from .. import memory, model
from .cost import ADD, BEND, NORM, SOFTMAX
from .seen import ids_of, spelled

FIRST = 3  # numbers of a result that are shown


class Step(NamedTuple):
    """One call of an op."""

    room: str  # the function of model.py that called: "attention"
    layer: int | None  # the block, None outside
    op: str  # "linear"
    shapes: list  # of the arrays it was given, tuples
    shape: tuple  # of its result
    dtype: str
    n_bytes: int  # of its result
    flops: int  # as lens/cost.py counts them
    first: list  # the first numbers of its result


class Trace(NamedTuple):
    """All steps of a pass over a text; print it."""

    tokens: list  # [n_seq] of str
    steps: list  # of Step

    def __str__(self):
        rows = [("room", "op", "in", "out", "bytes", "operations", "first numbers")]
        rows += [_row(step) for step in self.steps]
        flops, n_bytes = (sum(getattr(step, name) for step in self.steps) for name in ("flops", "n_bytes"))
        rows.append(("", f"{len(self.steps)} steps", "", "", memory.in_words(n_bytes), f"{flops:,}", ""))
        widths = [max(len(row[i]) for row in rows) for i in range(7)]
        right = (4, 5)
        sides = [str.rjust if i in right else str.ljust for i in range(7)]
        cells = [[side(*pair) for side, *pair in zip(sides, row, widths, strict=True)] for row in rows]
        return "\n".join("  ".join(row).rstrip() for row in cells)

    __repr__ = __str__


def trace(gpt, prompt):
    """One pass over a text, op by op -> Trace; the logits are those of gpt(ids)."""
    ids, steps = ids_of(gpt, prompt), []
    watching = types.SimpleNamespace(**{name: getattr(gpt.ops, name) for name in dir(gpt.ops) if name[:2] != "__"})
    for name in ("embedding", "sinusoidal_positions", "layer_norm", "linear", "split_heads", "attention_probs",
                 "attention_mix", "merge_heads", "gelu", "gelu_new", "relu", "unembed"):  # fmt: skip
        setattr(watching, name, _noting(name, getattr(gpt.ops, name), steps))
    model.forward(ids[None], gpt.params, gpt.config, watching)
    return Trace(spelled(gpt, ids), steps)


def _noting(name, function, steps):
    """The op, which also appends a Step."""

    def noted(*given, **named):
        out = function(*given, **named)
        arrays = [array for array in (*given, *named.values()) if hasattr(array, "shape") and array.shape]
        room, layer = _caller()
        first = [float(x) for x in np.ravel(out)[:FIRST]]
        shapes, about = [array.shape for array in arrays], (out.shape, str(out.dtype), out.nbytes)
        steps.append(Step(room, layer, name, shapes, *about, _flops(name, arrays, out), first))
        return out

    return noted


def _caller():
    """The room that called an op, and the block that it is in: the names of frames, as a debugger shows them."""
    frame, room, layer = sys._getframe(2), None, None
    while frame is not None and frame.f_code.co_name != "trunk":
        name = frame.f_code.co_name
        if room is None and not name.startswith("<"):  # a generator is part of the room it stands in
            room = name
        if name == "block":
            layer = frame.f_locals["layer"]
        if name == "forward":
            return room, None
        frame = frame.f_back
    return room or "trunk", layer


def _flops(name, arrays, out):
    if name == "linear":
        n_in, n_out = arrays[1].shape
        return (2 * n_in + 1) * n_out * (out.size // n_out)
    if name == "unembed":
        return 2 * arrays[1].shape[1] * out.size
    if name == "attention_probs":
        return 2 * arrays[0].shape[-1] * out.size + SOFTMAX * out.size
    if name == "attention_mix":
        return 2 * arrays[0].shape[-1] * out.size
    return {"layer_norm": NORM, "gelu_new": BEND, "gelu": BEND, "relu": ADD}.get(name, 0) * out.size


def _row(step):
    where = step.room if step.layer is None else f"L{step.layer}.{step.room}"
    given = " ".join(str(list(shape)).replace(" ", "") for shape in step.shapes)
    out = str(list(step.shape)).replace(" ", "") + f" {step.dtype}"
    first = " ".join(f"{x:.3g}" for x in step.first)
    return where, step.op, given, out, memory.in_words(step.n_bytes), f"{step.flops:,}", first
