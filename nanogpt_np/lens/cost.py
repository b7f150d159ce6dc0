"""What a token costs: operations and bytes of each part, and what the cache of keys and values saves.

Enter: a GPTConfig and how many tokens came before. Leave: a row for each part, which sum to the whole. Counted are the
multiplications and additions of products (two for each pair of numbers) and, for what goes value by value, a few per
value: 5 for a layer norm, 8 for GELU, 5 for a softmax. Next: lens/weights.py.
"""

from typing import NamedTuple

import numpy as np

from .. import kv_cache
from ..config import GPTConfig
from ..errors import InputError, check_kind, check_whole

NORM, BEND, SOFTMAX, ADD = 5, 8, 5, 1  # operations per value


class Part(NamedTuple):
    """One part of a token's way; all blocks together."""

    name: str
    flops: int
    weight_bytes: int  # read once, whatever the batch
    cache_bytes: int  # keys and values read


class CostView(NamedTuple):
    """What one more token costs after `n_before`, in float32, with and without a cache."""

    n_before: int
    parts: list  # of Part
    flops: int  # of all parts
    weight_bytes: int
    cache_bytes: int
    cache_size: int  # bytes that a cache of n_before + 1 tokens takes
    flops_without: int  # of a pass over all n_before + 1 tokens, which is what it costs without a cache


def cost_view(config, n_before=0, itemsize=4):
    """What one more token costs -> CostView; `itemsize`: bytes of a number, 4 for float32.

    InputError where the context is full.
    """
    check_kind("config", config, GPTConfig)
    check_whole("n_before", n_before)
    if n_before >= config.n_ctx:
        expected = f"n_before: expected at most n_ctx - 1 = {config.n_ctx - 1}"
        raise InputError(f"{expected}, got {n_before}; then the context is full")
    parts = _parts(config, n_before + 1, itemsize)
    flops, weight_bytes, cache_bytes = (sum(part[i] for part in parts) for i in (1, 2, 3))
    whole = sum(part.flops for n in range(1, n_before + 2) for part in _parts(config, n, itemsize))
    held = kv_cache.cache_bytes(config, n_before + 1, itemsize)
    return CostView(n_before, parts, flops, weight_bytes, cache_bytes, held, whole)


def cache_growth(config, itemsize=4):
    """float64 [n_ctx, 2]: operations of each next token of a full context, with the cache and without."""
    check_kind("config", config, GPTConfig)
    alone = [sum(part.flops for part in _parts(config, n, itemsize)) for n in range(1, config.n_ctx + 1)]
    return np.stack([np.array(alone, np.float64), np.cumsum(alone, dtype=np.float64)], axis=1)


def _parts(c, n_key, itemsize):
    """The parts of a token behind which `n_key` tokens lie, itself included; a banded layer sees its window of them."""
    e, f, blocks = c.n_embd, c.n_hidden, c.n_layer
    linear = {"c_attn: q, k and v": (e, 3 * e), "attn.c_proj": (e, e), "c_fc": (e, f), "mlp.c_proj": (f, e)}
    made = {name: _linear(name, *shape, blocks, itemsize) for name, shape in linear.items()}
    norm = 2 * e * itemsize
    n_seen = sum(min(n_key, c.window_of(layer) or n_key) for layer in range(blocks))  # in all blocks together
    seen = e * n_seen  # numbers of keys, and of values
    bend = ADD if c.activation == "relu" else BEND
    return [
        Part("embedding", e * ADD, (1 if c.positions == "sinusoidal" else 2) * e * itemsize, 0),
        Part("ln_1", NORM * e * blocks, norm * blocks, 0),
        made["c_attn: q, k and v"],
        Part("scores: q kᵀ", 2 * seen, 0, seen * itemsize),
        Part("softmax", SOFTMAX * c.n_head * n_seen, 0, 0),
        Part("mix: probs @ v", 2 * seen, 0, seen * itemsize),
        made["attn.c_proj"],
        Part("ln_2", NORM * e * blocks, norm * blocks, 0),
        made["c_fc"],
        Part(c.activation, bend * f * blocks, 0, 0),
        made["mlp.c_proj"],
        Part("residual additions", 2 * ADD * e * blocks, 0, 0),
        Part("ln_f", NORM * e, norm, 0),
        Part("unembedding", 2 * e * c.n_vocab, e * c.n_vocab * itemsize, 0),
    ]


def _linear(name, n_in, n_out, blocks, itemsize):
    return Part(name, (2 * n_in * n_out + n_out) * blocks, (n_in * n_out + n_out) * itemsize * blocks, 0)

