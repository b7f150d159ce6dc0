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
    parts = token_parts(config, n_before + 1, itemsize)
    flops, weight_bytes, cache_bytes = (sum(part[i] for part in parts) for i in (1, 2, 3))
    whole = pass_flops(config, n_before + 1)
    held = kv_cache.cache_bytes(config, n_before + 1, itemsize)
    return CostView(n_before, parts, flops, weight_bytes, cache_bytes, held, whole)


def pass_flops(config, n_seq, names=None):
    """Operations of a pass over `n_seq` tokens, each of which sees those before it; Python's own whole number.

    `names`: of the parts that count, None: all.
    Each token costs as much more as the one before it did, less from where bands are full: so the ends of either
    stretch say all, however many tokens there are.
    """
    full = min(n_seq, config.window or n_seq)
    stretches = [(1, full), *([(full + 1, n_seq)] if n_seq > full else [])]

    def costs(n):
        return sum(part.flops for part in token_parts(config, n) if names is None or part.name in names)

    return sum((last - first + 1) * (costs(first) + costs(last)) // 2 for first, last in stretches)


def seen_positions(config, n_key):
    """How many positions a token sees in all blocks together, `n_key` in a dense one, itself included.

    seen_positions(GPTConfig(n_layer=4, window=3), 5) -> 16
    """
    n_banded = banded_layers(config)
    return (config.n_layer - n_banded) * n_key + n_banded * min(n_key, config.window or n_key)


def banded_layers(config):
    """How many layers have a band, without a look at each: banded_layers(GPTConfig(n_layer=5, window=8)) -> 2"""
    if config.window is None:
        return 0
    return config.n_layer // 2 if config.banded_layers is None else len(config.banded_layers)


def cache_growth(config, itemsize=4):
    """float64 [n_ctx, 2]: operations of each next token of a full context, with the cache and without."""
    check_kind("config", config, GPTConfig)
    alone = [sum(part.flops for part in token_parts(config, n, itemsize)) for n in range(1, config.n_ctx + 1)]
    return np.stack([np.array(alone, np.float64), np.cumsum(alone, dtype=np.float64)], axis=1)


def token_parts(config, n_key, itemsize=4):
    """The parts of a token behind which `n_key` tokens lie, itself included; a banded layer sees its window of them."""
    c = config
    e, f, blocks = c.n_embd, c.n_hidden, c.n_layer
    linear = {"c_attn: q, k and v": (e, 3 * e), "attn.c_proj": (e, e), "c_fc": (e, f), "mlp.c_proj": (f, e)}
    made = {name: _linear(name, *shape, blocks, itemsize) for name, shape in linear.items()}
    norm = 2 * e * itemsize
    n_seen = seen_positions(c, n_key)
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

