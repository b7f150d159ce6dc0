"""Parameters, bytes and KV cache of a shape against arrays that are really made, and against the published counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanogpt_np import GPT, GPTConfig, KVCache
from nanogpt_np import params as P
from nanogpt_np.config import PRESETS
from nanogpt_np.planning import sizes

GPT2 = {"gpt2": 124_439_808, "gpt2-medium": 354_823_168, "gpt2-large": 774_030_080, "gpt2-xl": 1_557_611_200}


def shapes(most=4):
    """Small configs of every kind: tied or not, sines or learned positions, any width inside, with bands or without."""
    return st.builds(
        lambda heads, width, **rest: GPTConfig(n_head=heads, n_embd=2 * heads * width, **rest),
        heads=st.integers(1, 3), width=st.integers(1, 4), n_vocab=st.integers(2, 40), n_ctx=st.integers(1, 40),
        n_layer=st.integers(1, most), n_inner=st.none() | st.integers(1, 50), tie_word_embeddings=st.booleans(),
        positions=st.sampled_from(["learned", "sinusoidal"]), window=st.none() | st.integers(1, 50),
    )  # fmt: skip


@pytest.mark.parametrize("name", GPT2)
def test_the_four_published_counts(name):
    assert sizes.count_sizes(PRESETS[name]).n_params == GPT2[name]


@settings(max_examples=60, deadline=None)
@given(shapes())
def test_parts_are_those_of_the_arrays(config):
    made = sizes.count_sizes(config)
    arrays = dict(P.walk(P.init(config, np.random.default_rng(0))))
    assert made.n_params == sum(array.size for array in arrays.values()) == sum(part.n_params for part in made.parts)
    assert made.n_bytes["float32"] == sum(array.nbytes for array in arrays.values())
    assert made.n_bytes["float16"] == sum(array.astype(np.float16).nbytes for array in arrays.values())
    assert made.n_blocks == sum(array.size for name, array in arrays.items() if name.startswith("h."))
    by_name = {part.name: part.n_params for part in made.parts}
    assert by_name["attention"] == sum(array.size for name, array in arrays.items() if ".attn." in name)
    assert by_name["layer norms"] == sum(array.size for name, array in arrays.items() if "ln_" in name)
    assert all(made.n_bytes[dtype] == sum(part.n_bytes[dtype] for part in made.parts) for dtype in sizes.DTYPES)


@settings(max_examples=60, deadline=None)
@given(shapes(), st.integers(1, 60))
def test_the_cache_is_that_of_generating(config, n):
    assert sizes.cache_bytes(config, n, "float32") == KVCache(config, n_ctx=n).n_bytes
    assert sizes.cache_bytes(config, n, "float16") == KVCache(config, n_ctx=n, dtype=np.float16).n_bytes


def test_small_weights_are_those_of_our_ops():
    """Widths that fill the panels of each CPU; then int8 is to the byte, and four bits too."""
    pytest.importorskip("numba")
    from nanogpt_np import quantized
    from nanogpt_np.kernels.weights import MATRICES
    from nanogpt_np.quantized import int4
    from nanogpt_np.quantized.cache import Int8Cache

    assert sizes.MATRICES == MATRICES
    config = GPTConfig(n_vocab=512, n_ctx=32, n_embd=256, n_layer=2, n_head=4)
    gpt, made = GPT.from_config(config, ops="numpy"), sizes.count_sizes(config)
    for dtype, ops in (("int8", quantized), ("int4", int4)):
        small = ops.quantize(gpt.params, config)
        assert made.n_bytes[dtype] == sum(array.nbytes for _, array in P.walk(small))
        assert made.full_cache_bytes[dtype] == Int8Cache(config).n_bytes
    with_bands = config.replace(window=5)
    assert sizes.cache_bytes(with_bands, 32, "int8") == Int8Cache(with_bands).n_bytes


def test_only_one_row_of_a_table_is_read():
    config = GPTConfig(n_vocab=100, n_ctx=10, n_embd=8, n_layer=1, n_head=2, tie_word_embeddings=False)
    made = sizes.count_sizes(config)
    assert made.n_bytes["float32"] - made.read_bytes["float32"] == 4 * 8 * (99 + 9)


def test_the_largest_shape_does_not_overflow():
    most = 2**31 - 1
    config = GPTConfig(n_vocab=most, n_ctx=most, n_embd=most - 1, n_layer=most, n_head=2, window=most)
    e = most - 1
    expected = most * (12 * e * e + 13 * e) + 2 * most * e + 2 * e
    assert sizes.count_sizes(config).n_params == expected
