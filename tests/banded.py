"""A model with bands for several test files, and what it must compute: a GPT-2 in float64 that shares no code."""

import math

import numpy as np
from small import CONFIG, make

# float32 against float64, logits up to 3.6: at most 2e-6 apart in 60 texts; a band wider by one: 0.04 and more
TOLERANCE = 3e-5
N_LAYER, N_CTX = 3, 48
SHAPE = CONFIG.replace(n_ctx=N_CTX, n_layer=N_LAYER)
PARAMS = make(SHAPE)


def reference(ids, real, config, params):  # [n_batch, n_seq] twice -> float64 [n_batch, n_seq, n_vocab]
    """A GPT-2 text by text and query by query: what a query may see is a list of places."""
    out = np.full((*ids.shape, config.n_vocab), np.nan)
    for row in range(len(ids)):
        places = np.flatnonzero(real[row])
        out[row, places] = one_text(ids[row, places], config, params)
    return out


def one_text(ids, config, params):
    def norm(x, p):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config.layer_norm_eps) * p["weight"] + p["bias"]

    def layer(x, p):
        return x @ p["weight"].astype(np.float64) + p["bias"]

    x = params["wte"]["weight"][ids].astype(np.float64) + params["wpe"]["weight"][: len(ids)]
    banded = range(1, config.n_layer, 2) if config.banded_layers is None else config.banded_layers
    for number, p in enumerate(params["h"]):
        q, k, v = np.split(layer(norm(x, p["ln_1"]), p["attn"]["c_attn"]), 3, axis=-1)
        mixed = np.zeros_like(q)
        for i in range(len(ids)):
            is_near = config.window is not None and number in banded
            seen = range(max(0, i + 1 - config.window) if is_near else 0, i + 1)
            for head in range(config.n_head):
                part = slice(head * config.d_head, (head + 1) * config.d_head)
                scores = np.array([q[i, part] @ k[j, part] for j in seen]) / math.sqrt(config.d_head)
                e = np.exp(scores - scores.max())
                mixed[i, part] = sum(share * v[j, part] for share, j in zip(e / e.sum(), seen, strict=True))
        x = x + layer(mixed, p["attn"]["c_proj"])
        h = layer(norm(x, p["ln_2"]), p["mlp"]["c_fc"])
        h = 0.5 * h * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
        x = x + layer(h, p["mlp"]["c_proj"])
    return norm(x, params["ln_f"]) @ params["wte"]["weight"].T
