"""How large a model is: its parameters by part, its bytes in each dtype, and what one token leaves in the KV cache.

Enter: a GPTConfig. Leave: Sizes, whole numbers of Python's own, which do not overflow. Nothing is allocated.
Next: planning/work.py.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from .. import kv_cache
from .. import params as P
from ..lens.cost import banded_layers

DTYPES = ("float32", "float16", "int8", "int4")  # float16 stands for bfloat16 too: as many bytes
ITEMSIZE = {"float32": 4, "float16": 2}
MATRICES = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # of linear layers, as kernels/weights.py names them
FACTOR = 4  # bytes: a float32 for each output of an int8 matrix, and for each head of a cached position
FOURS_GROUP, FOURS_BYTES = 32, 18  # of four-bit weights: so many share a float16 scale, and take so many bytes

PARTS = (  # what a part is called, and how its parameters' names begin, without "h.0."
    ("token embedding", ("wte.",)),
    ("position embedding", ("wpe.",)),
    ("attention", ("attn.",)),
    ("feed-forward", ("mlp.",)),
    ("layer norms", ("ln_1.", "ln_2.", "ln_f.")),
    ("unembedding", ("lm_head.",)),
)


class Part(NamedTuple):
    """One part of a model, all blocks together: how many parameters, and bytes by dtype."""

    name: str
    n_params: int
    n_bytes: dict


@dataclass(frozen=True)
class Sizes:
    """Parameters and bytes of a model.

    `parts`: of Part, which sum to `n_params` and `n_bytes`. `n_blocks`: parameters of all blocks, the N of Kaplan et
    al. 2020 (embeddings and biases of the last norm left out). `read_bytes`: what one token reads of the weights.
    `cache_bytes`: what it leaves in the KV cache, `full_cache_bytes`: what a
    cache of n_ctx tokens takes, of which bands keep less. All by dtype.
    """

    parts: tuple
    n_params: int
    n_blocks: int
    n_bytes: dict
    read_bytes: dict
    cache_bytes: dict
    full_cache_bytes: dict


def count_sizes(config):
    """The Sizes of a GPTConfig: count_sizes(GPTConfig()).n_params -> 124,439,808

    `int8` and `int4` are those of `--ops int8` and `--ops int4`: matrices of linear layers in 8 or 4.5 bits, the
    vocabulary of the logits in 8, all else in float32; the cache in int8 with a float32 for each head of a position.
    """
    shapes = _shapes(config)
    parts = []
    for name, beginnings in PARTS:
        found = {key: value for key, value in shapes.items() if key.startswith(beginnings)}
        if found:
            n_params = sum(math.prod(shape) * times for shape, times in found.values())
            parts.append(Part(name, n_params, {dtype: _bytes(found, config, dtype) for dtype in DTYPES}))
    n_bytes = {dtype: sum(part.n_bytes[dtype] for part in parts) for dtype in DTYPES}
    n_blocks = sum(math.prod(shape) * times for key, (shape, times) in shapes.items() if _in_block(key))
    read = {dtype: n_bytes[dtype] - _not_read(config, dtype) for dtype in DTYPES}
    one, full = ({dtype: cache_bytes(config, n, dtype) for dtype in DTYPES} for n in (1, config.n_ctx))
    return Sizes(tuple(parts), P.size(config), n_blocks, n_bytes, read, one, full)


def _shapes(config):
    """Each parameter of a model, those of all blocks under one name -> (shape, how many of it there are)."""
    found = P.shapes(config.replace(n_layer=1, banded_layers=None))
    return {name.removeprefix("h.0."): (shape, config.n_layer if name.startswith("h.0.") else 1)
            for name, shape in found.items()}  # fmt: skip


def _in_block(name):
    return name.startswith(("ln_1.", "ln_2.", "attn.", "mlp."))


def _bytes(found, config, dtype):
    return sum(_bytes_of(name, shape, config, dtype) * times for name, (shape, times) in found.items())


def _bytes_of(name, shape, config, dtype):
    """Bytes of one parameter; what int8 and int4 leave as it is stays float32, as in quantized/matrices.py."""
    size = math.prod(shape)
    if dtype in ITEMSIZE:
        return size * ITEMSIZE[dtype]
    vocabulary = "wte.weight" if config.tie_word_embeddings else "lm_head.weight"
    if dtype == "int4" and name.endswith(MATRICES):
        n_in, n_out = shape
        return -(-n_in // FOURS_GROUP) * FOURS_BYTES * n_out
    if name.endswith(MATRICES):
        return size + FACTOR * shape[1]
    return size + FACTOR * shape[0] if name == vocabulary else size * ITEMSIZE["float32"]


def _not_read(config, dtype):
    """Rows that only other tokens and places have: of the positions all but one, and of a wte beside an lm_head."""
    item = ITEMSIZE.get(dtype, ITEMSIZE["float32"])
    rows = (config.n_ctx - 1) * (config.positions == "learned")
    rows += (config.n_vocab - 1) * (not config.tie_word_embeddings)
    return rows * config.n_embd * item


def cache_bytes(config, n_positions, dtype):
    """What a KV cache of so many tokens takes: cache_bytes(GPTConfig(), 1, "float32") -> 73728 (Shazeer 2019)

    A banded layer keeps its window, and some beside it (kv_cache.KVCache).
    """
    n_near = n_positions
    if config.window is not None:
        n_near = min(n_positions, config.window - 1 + 2 * kv_cache.spare_of(config.window))
    n_banded = banded_layers(config)
    stored = (config.n_layer - n_banded) * n_positions + n_banded * n_near
    return stored * position_bytes(config, dtype)


def position_bytes(config, dtype):
    """Keys and values of one token in one layer."""
    if dtype in ITEMSIZE:
        return 2 * config.n_embd * ITEMSIZE[dtype]
    return 2 * (config.n_embd + FACTOR * config.n_head)
