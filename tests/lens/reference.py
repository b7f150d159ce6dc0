"""A GPT-2 once more, for these tests alone: float64, einsum, one text, from the weights to everything in between."""

import math

import numpy as np


def forward(params, config, ids):
    """-> float64 arrays by name: "stream" [2 n_layer + 1, n_seq, n_embd], "probs" [n_layer, n_head, …], …"""
    ids = np.asarray(ids)
    x = _64(params["wte"]["weight"])[ids] + _64(params["wpe"]["weight"])[: len(ids)]
    seen = {name: [] for name in ("scores", "probs", "heads", "attn_bias", "ffn", "hidden", "pre_gelu")}
    stream = [x]
    for block in params["h"]:
        x = x + _attention(_norm(x, block["ln_1"], config), block["attn"], config, seen)
        stream.append(x)
        x = x + _ffn(_norm(x, block["ln_2"], config), block["mlp"], seen)
        stream.append(x)
    head = params["lm_head"] if "lm_head" in params else params["wte"]
    logits = np.einsum("se,ve->sv", _norm(x, params["ln_f"], config), _64(head["weight"]))
    return {name: np.stack(arrays) for name, arrays in seen.items()} | {"stream": np.stack(stream), "logits": logits}


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _64(array):
    return np.asarray(array, np.float64)


def _norm(x, params, config):
    centred = x - x.mean(-1, keepdims=True)
    std = np.sqrt((centred**2).mean(-1, keepdims=True) + config.layer_norm_eps)
    return centred / std * _64(params["weight"]) + _64(params["bias"])


def _attention(x, params, config, seen):
    n_seq, n_embd = x.shape
    qkv = np.einsum("se,ef->sf", x, _64(params["c_attn"]["weight"])) + _64(params["c_attn"]["bias"])
    q, k, v = qkv.reshape(n_seq, 3, config.n_head, -1).transpose(1, 2, 0, 3)
    scores = np.einsum("hqd,hkd->hqk", q, k)
    masked = np.where(np.arange(n_seq)[:, None] >= np.arange(n_seq), scores / math.sqrt(q.shape[-1]), -np.inf)
    probs = softmax(masked)
    weight = _64(params["c_proj"]["weight"]).reshape(config.n_head, -1, n_embd)
    heads = np.einsum("hqk,hkd,hde->hqe", probs, v, weight)
    for name, array in (("scores", scores), ("probs", probs), ("heads", heads)):
        seen[name].append(array)
    seen["attn_bias"].append(_64(params["c_proj"]["bias"]))
    return heads.sum(0) + seen["attn_bias"][-1]


def _ffn(x, params, seen):
    u = np.einsum("se,ef->sf", x, _64(params["c_fc"]["weight"])) + _64(params["c_fc"]["bias"])
    hidden = 0.5 * u * (1 + np.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))
    out = np.einsum("sf,fe->se", hidden, _64(params["c_proj"]["weight"])) + _64(params["c_proj"]["bias"])
    for name, array in (("pre_gelu", u), ("hidden", hidden), ("ffn", out)):
        seen[name].append(array)
    return out
