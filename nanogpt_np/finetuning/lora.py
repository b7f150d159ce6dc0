"""LoRA's learning: gradients of the small matrices alone, at the price of a forward and half a backward pass.

Enter: ids, targets, a model's params and an Adapter (storage/adapter.py). Leave: the loss and the gradients of its A
and B (Hu et al. 2021, section 4.1: a layer's W becomes W + scale * (B A)^T). The base is never changed, so only A and
B need an optimizer's state. Next: finetuning/instructions.py.
"""

import math
from typing import NamedTuple

import numpy as np

from .. import model
from .. import params as P
from ..errors import InputError
from ..storage.adapter import Adapter, check_settings, corrected, layers, pairs
from ..training import backward


def create(config, rng, r=8, alpha=8, target_modules=("c_attn",), rslora=False):
    """A fresh Adapter for models of this shape, which changes nothing yet: A is random, B is zero.

    A is uniform within 1 / sqrt(n_in), as PEFT draws it; `rng` is a numpy Generator. The defaults are PEFT's.
    InputError where the settings make no sense.
    """
    check_settings(r, alpha, rslora)
    shapes, named = P.shapes(config), P.Named()
    for layer in layers(config, target_modules):
        n_in, n_out = shapes[f"{layer}.weight"]
        if r > min(n_in, n_out):
            raise InputError(f"r: expected at most {min(n_in, n_out)}, the rank of {layer}, got {r}; use a smaller one")
        bound = 1.0 / math.sqrt(n_in)
        named[f"{layer}.lora_A.weight"] = rng.uniform(-bound, bound, (r, n_in)).astype(np.float32)
        named[f"{layer}.lora_B.weight"] = np.zeros((n_out, r), np.float32)
    return Adapter(r, alpha, tuple(target_modules), rslora, named)


class Adapted(NamedTuple):
    """A layer's weight while it is learned: as merged for this step, and what it was made with."""

    merged: np.ndarray
    a: np.ndarray
    b: np.ndarray
    scale: float


class Pair(NamedTuple):
    """Where a layer's gradient stands in backward.py: those of A and B in the place of W's."""

    a: np.ndarray
    b: np.ndarray


class Twin:
    """The ops of a module, but that a linear layer's weight may be Adapted, and that nothing else is learned.

    What would only be the gradient of a frozen weight is not computed: a third of a step's products.
    """

    def __init__(self, ops):
        self.ops = ops

    def __getattr__(self, name):
        return getattr(self.ops, name)

    def linear(self, x, weight, bias):
        """See ops.linear: one product with the merged weight, as large as without an adapter."""
        return self.ops.linear(x, weight.merged if isinstance(weight, Adapted) else weight, bias)

    def linear_backward(self, dout, x, weight, bias):
        """See ops.linear_backward; the second value is a Pair, or None for a frozen layer; the third None.

        W = W0 + scale (B A)^T gives dA = scale (dW B)^T and dB = scale dW^T A^T; with dW = x^T dout, multiplied from
        the side where r is: no matrix as large as W is made.
        """
        rows, drows = x.reshape(-1, x.shape[-1]), np.ascontiguousarray(dout.reshape(-1, dout.shape[-1]))
        if not isinstance(weight, Adapted):
            return self.ops.unembed(drows, weight).reshape(x.shape), None, None
        dx = self.ops.unembed(drows, weight.merged).reshape(x.shape)
        rows = np.ascontiguousarray(rows)
        da = self._product(self._product(drows, weight.b).T, rows)  # -> [r, n_in]
        db = self._product(self.ops.unembed(rows, weight.a).T, drows).T  # -> [n_out, r]
        return dx, Pair(da * weight.scale, db * weight.scale), None

    def embedding_backward(self, dout, ids, weight):
        """None: embeddings are frozen."""

    def _product(self, a, b):
        return self.ops.linear(np.ascontiguousarray(a), b, np.zeros(b.shape[1], b.dtype))


def loss_and_grads(ids, targets, params, adapter, config, ops, *, weights=None, n_counted=None, dropout=None):
    """-> mean cross-entropy (nats per token, a float) and its gradients, named like `adapter.params`.

    As backward.loss_and_grads, where `params` are the base's. Positions whose target is ops.IGNORE cost no logits.
    `weights` [n_batch, n_seq]: how much each target counts, by default all as much; `n_counted` is then their sum.
    """
    twin, adapted = Twin(ops), adapt(params, adapter)
    final, acts = model.trunk(ids, adapted, config, twin, keep_acts=True, dropout=dropout)
    loss, dfinal = counted_loss(final, targets, model.unembedding(params), weights, n_counted, ops)
    grads = backward.trunk_backward(dfinal, acts, adapted, config, twin, dropout)
    found = P.Named()
    for name, a, b in pairs(adapter):
        pair, layer = layer_of(grads, name)["weight"], name.removesuffix(".weight")
        found[f"{layer}.lora_A.weight"] = np.ascontiguousarray(pair.a, a.dtype)
        found[f"{layer}.lora_B.weight"] = np.ascontiguousarray(pair.b, b.dtype)
    return loss, found


def adapt(params, adapter):
    """The params of one step: those of the base, but that the adapter's layers have Adapted weights."""
    adapted = P.nest(dict(P.walk(params)))  # its dicts are new, its arrays are not
    for name, a, b in pairs(adapter):
        layer = layer_of(adapted, name)
        layer["weight"] = Adapted(corrected(layer["weight"], a, b, adapter.scale), a, b, adapter.scale)
    return adapted


def layer_of(params, name):
    """The dict in which a layer's weight stands: layer_of(params, "h.0.mlp.c_fc.weight") has "weight" and "bias"."""
    _, i, half, layer, _ = name.split(".")
    return params["h"][int(i)][half][layer]


def counted_loss(final, targets, weight, weights, n_counted, ops):
    """-> the loss, and its gradient at `final` [n_batch, n_seq, n_embd]; only rows with a target are multiplied."""
    flat, targets = final.reshape(-1, final.shape[-1]), targets.reshape(-1)
    counted = np.flatnonzero(targets != ops.IGNORE)
    shares = (np.ones(len(targets)) if weights is None else weights.reshape(-1)).astype(flat.dtype)
    n_counted, dfinal, loss = n_counted or max(float(shares[counted].sum()), 1.0), np.zeros_like(flat), 0.0
    at_once = max(backward.KEPT_LOGITS // weight.shape[0], 1)
    for start in range(0, len(counted), at_once):
        which = counted[start : start + at_once]
        rows, wanted = flat[which], np.ascontiguousarray(targets[which], np.int64)
        logits = np.empty((len(rows), weight.shape[0]), rows.dtype)
        losses, log_z = ops.cross_entropy(rows, weight, wanted, logits=logits)
        dlosses = shares[which] * (1.0 / n_counted)
        dfinal[which], _ = ops.cross_entropy_backward(dlosses, rows, weight, wanted, log_z, logits=logits)
        loss += float((losses * shares[which]).sum(dtype=np.float64))
    return loss / n_counted, dfinal.reshape(final.shape)
