"""Where one number of a pass comes from: the product, the sum or the norm that made it, with what went in.

Enter: a GPT, a text, an array's name (lens/arrays.py) and an index on each of its axes. Leave: a CellView: the number
that the pass computed, and its terms in float64, whose sum is that number to float32's rounding.
Next: lens/differences.py.
"""

from typing import NamedTuple

import numpy as np

from .. import ops as numpy_ops
from ..errors import InputError
from ..params import unembedding
from ..training import backward
from .arrays import GRADIENT, check_index, named_array, split_name
from .seen import look, need_floats

WHOLE = None  # in an index: the whole axis


class CellView(NamedTuple):
    """One number, and how it was made; `extra` depends on the kind.

    kind: "lookup" (another array's number), "sum" (of terms), "dot" (of products, and a bias), "scale", "mask",
    "softmax" (exp of each term less the largest, over their sum), "layer_norm", "activation", "gradient" (no terms).
    """

    name: str
    index: tuple
    value: float  # as the pass computed it
    kind: str
    formula: str
    inputs: list  # of (array's or parameter's name, index with None for a whole axis)
    a: np.ndarray | None = None  # float64 [n_terms], the left factors
    b: np.ndarray | None = None  # float64 [n_terms], the right ones; None where nothing is multiplied
    products: np.ndarray | None = None  # float64 [n_terms]
    labels: list | None = None  # of str, where the terms have names: tokens
    bias: float | None = None
    extra: dict | None = None

    def largest(self, k):
        """The places of the `k` terms with the largest products by magnitude, the largest first."""
        return np.argsort(-np.abs(self.products), kind="stable")[:k]

    @property
    def sum(self):
        """All products and the bias; None where there are no terms."""
        return None if self.products is None else float(self.products.sum()) + (self.bias or 0.0)


def cell_view(gpt, prompt, name, index):
    """What one number of a pass was made of -> CellView.

    `index`: one place on each axis. InputError for what is not there, and for int8 weights, which are not at hand.
    """
    need_floats(gpt, "cell")
    seen = look(gpt, prompt)
    array = named_array(gpt, seen, name)
    index = check_index(name, index, array.shape)
    if len(index) != array.ndim:
        raise InputError(f"index: expected {array.ndim} whole numbers for {name}, got {len(index)}")
    if name.startswith(GRADIENT):
        return CellView(name, index, float(array[index]), "gradient", "∂ loss / ∂ x", [])
    layer, part = split_name(gpt.config, name)
    return CellView(name, index, float(array[index]), **_MAKERS[part](gpt, seen, layer, index))


def _lookup(name, index, formula):
    return {"kind": "lookup", "formula": formula, "inputs": [(name, index)]}


def _sum(formula, *inputs):
    """Two numbers, each of an array, added; `inputs`: (name, index, value)."""
    values = np.array([value for *_, value in inputs], np.float64)
    found = [(name, index) for name, index, _ in inputs]
    return {"kind": "sum", "formula": formula, "inputs": found, "a": values, "products": values,
            "labels": [name for name, _ in found]}  # fmt: skip


def _dot(formula, inputs, a, b, bias=None, labels=None):
    a, b = (np.asarray(side, np.float64) for side in (a, b))
    return {"kind": "dot", "formula": formula, "inputs": inputs, "a": a, "b": b, "products": a * b,
            "labels": labels, "bias": None if bias is None else float(bias)}  # fmt: skip


def _tokens(gpt, seen, layer, index):
    return _lookup("wte.weight", (int(seen.ids[index[0]]), index[1]), f"wte[{seen.ids[index[0]]}]")


def _positions(gpt, seen, layer, index):
    if gpt.config.positions == "learned":
        return _lookup("wpe.weight", index, f"wpe[{index[0]}]")
    return {"kind": "lookup", "formula": f"sines[{index[0]}]", "inputs": []}


def _embedded(gpt, seen, layer, index):
    parts = [(name, index, named_array(gpt, seen, name)[index]) for name in ("tokens", "positions")]
    return _sum("wte + wpe" if gpt.config.positions == "learned" else "wte + sines", *parts)


def _stream(gpt, seen, layer, index):
    """The residual stream on entry to a block, or behind the last: what the block before it left."""
    layer = gpt.config.n_layer if layer is None else layer
    if layer == 0:
        return _lookup("embedded", index, "embedded")
    names = [f"blocks.{layer - 1}.{name}" for name in ("x_mid", "ffn_out")]
    return _sum("x_mid + ffn_out", *((name, index, named_array(gpt, seen, name)[index]) for name in names))


def _x_mid(gpt, seen, layer, index):
    names = [f"blocks.{layer}.{name}" for name in ("x", "attn_out")]
    return _sum("x + attn_out", *((name, index, named_array(gpt, seen, name)[index]) for name in names))


def _layer_norm(source, norm):
    """The maker for what a layer norm gives: `source` is the array that it reads, `norm` the parameters' name."""

    def made(gpt, seen, layer, index):
        read, params, name = source, gpt.params, norm
        if layer is not None:
            read, params, name = f"blocks.{layer}.{source}", gpt.params["h"][layer], f"h.{layer}.{norm}"
        row = named_array(gpt, seen, read)[index[0]].astype(np.float64)
        std = float(np.sqrt(row.var() + gpt.config.layer_norm_eps))
        weight, bias = (float(params[norm][kind][index[1]]) for kind in ("weight", "bias"))
        extra = {"x": float(row[index[1]]), "mean": float(row.mean()), "std": std, "weight": weight, "bias": bias}
        inputs = [(read, (index[0], WHOLE)), *((f"{name}.{kind}", index[1:]) for kind in ("weight", "bias"))]
        return {"kind": "layer_norm", "formula": f"({source} − mean) / std · weight + bias", "inputs": inputs,
                "extra": extra}  # fmt: skip

    return made


def _linear(source, *path):
    """The maker for what a matrix of weights gives: a row of `source` times one column."""

    def made(gpt, seen, layer, index):
        matrix, read = gpt.params["h"][layer], f"blocks.{layer}.{source}"
        for key in path:
            matrix = matrix[key]
        return _row_times_column(gpt, seen, read, index[0], matrix, f"h.{layer}.{'.'.join(path)}", index[1])

    return made


def _row_times_column(gpt, seen, read, row, matrix, name, column):
    formula = f"{read.split('.', 2)[-1]}[{row}] · {name.split('.', 2)[-1]}[:, {column}] + bias"
    inputs = [(read, (row, WHOLE)), (f"{name}.weight", (WHOLE, column)), (f"{name}.bias", (column,))]
    a = named_array(gpt, seen, read)[row]
    return _dot(formula, inputs, a, matrix["weight"][:, column], matrix["bias"][column])


def _asked(part):
    """The maker for q, k and v, which lie side by side in c_attn's columns, head by head."""

    def made(gpt, seen, layer, index):
        head, row, place = index
        column = part * gpt.config.n_embd + head * gpt.config.d_head + place
        matrix, name = gpt.params["h"][layer]["attn"]["c_attn"], f"h.{layer}.attn.c_attn"
        return _row_times_column(gpt, seen, f"blocks.{layer}.attn.x", row, matrix, name, column)

    return made


def _scores(gpt, seen, layer, index):
    head, query, key = index
    here = f"blocks.{layer}.attn."
    q, k = (named_array(gpt, seen, here + name)[head] for name in "qk")
    inputs = [(f"{here}q", (head, query, WHOLE)), (f"{here}k", (head, key, WHOLE))]
    return _dot(f"q[{query}] · k[{key}]", inputs, q[query], k[key])


def _scaled(gpt, seen, layer, index):
    name = f"blocks.{layer}.attn.scores"
    score, factor = float(named_array(gpt, seen, name)[index]), gpt.config.d_head**-0.5
    return {"kind": "scale", "formula": f"score / √{gpt.config.d_head}", "inputs": [(name, index)],
            "extra": {"x": score, "factor": factor}}  # fmt: skip


def _masked(gpt, seen, layer, index):
    name, here = (f"blocks.{layer}.attn.{what}" for what in ("scaled", "masked"))
    hidden = np.isneginf(named_array(gpt, seen, here)[index])  # later than its query, or before its band
    return {"kind": "mask", "formula": "−∞" if hidden else "scaled", "inputs": [(name, index)],
            "extra": {"x": float(named_array(gpt, seen, name)[index]), "hidden": bool(hidden)}}  # fmt: skip


def _probs(gpt, seen, layer, index):
    head, query, key = index
    name = f"blocks.{layer}.attn.masked"
    row = named_array(gpt, seen, name)[head, query].astype(np.float64)
    return _softmax(f"softmax(masked[{query}])[{key}]", [(name, (head, query, WHOLE))], row, key, seen.tokens)


def _next_probability(gpt, seen, layer, index):
    row = seen.logits[index[0]].astype(np.float64)
    return _softmax(f"softmax(logits[{index[0]}])[{index[1]}]", [("logits", (index[0], WHOLE))], row, index[1])


def _softmax(formula, inputs, row, place, labels=None):
    top = row.max()
    e = np.exp(row - top)
    extra = {"x": float(row[place]), "max": float(top), "exp": float(e[place]), "total": float(e.sum())}
    return {"kind": "softmax", "formula": formula, "inputs": inputs, "a": row, "products": e, "labels": labels,
            "extra": extra}  # fmt: skip


def _mixed(gpt, seen, layer, index):
    head, query, place = index
    here = f"blocks.{layer}.attn."
    probs, v = (named_array(gpt, seen, here + name)[head] for name in ("probs", "v"))
    inputs = [(f"{here}probs", (head, query, WHOLE)), (f"{here}v", (head, WHOLE, place))]
    return _dot(f"probs[{query}] · v[:, {place}]", inputs, probs[query], v[:, place], labels=seen.tokens)


def _merged(gpt, seen, layer, index):
    head, place = divmod(index[1], gpt.config.d_head)
    return _lookup(f"blocks.{layer}.attn.mixed", (head, index[0], place), f"mixed of H{head}, {place}")


def _hidden(gpt, seen, layer, index):
    name = f"blocks.{layer}.ffn.pre_gelu"
    x = float(named_array(gpt, seen, name)[index])
    slope = backward.activate_backward(np.ones(1), np.array([x]), gpt.config, numpy_ops)[0]
    extra = {"x": x, "name": gpt.config.activation, "slope": float(slope)}
    return {"kind": "activation", "formula": f"{gpt.config.activation}(pre_gelu)", "inputs": [(name, index)],
            "extra": extra}  # fmt: skip


def _logits(gpt, seen, layer, index):
    matrix = "lm_head.weight" if "lm_head" in gpt.params else "wte.weight"
    inputs = [("final", (index[0], WHOLE)), (matrix, (index[1], WHOLE))]
    row = unembedding(gpt.params)[index[1]]
    return _dot(f"final[{index[0]}] · {matrix.split('.')[0]}[{index[1]}]", inputs, seen.acts.final[0, index[0]], row)


_MAKERS = {
    "tokens": _tokens, "positions": _positions, "embedded": _embedded, "x": _stream,
    "attn.x": _layer_norm("x", "ln_1"), "attn.q": _asked(0), "attn.k": _asked(1), "attn.v": _asked(2),
    "attn.scores": _scores, "attn.scaled": _scaled, "attn.masked": _masked, "attn.probs": _probs, "attn.mixed": _mixed,
    "attn.merged": _merged, "attn_out": _linear("attn.merged", "attn", "c_proj"), "x_mid": _x_mid,
    "ffn.x": _layer_norm("x_mid", "ln_2"), "ffn.pre_gelu": _linear("ffn.x", "mlp", "c_fc"), "ffn.hidden": _hidden,
    "ffn_out": _linear("ffn.hidden", "mlp", "c_proj"), "final": _layer_norm("x", "ln_f"), "logits": _logits,
    "probs": _next_probability,
}  # fmt: skip
