"""The names and signatures of ops.py with int8 weights: a quarter of the bytes to read for each token.

Enter and leave: as in ops.py, but a matrix may be an Int8Matrix, which `quantize` makes of a model's params, and the
cache an Int8Cache. A number becomes round(x / scale), from -127 to 127. Weights have a scale per output, activations
one per 64 of a row, chosen as they come (Dettmers et al. 2022, section 2); keys and values have one per position of a
head. All else is the functions of kernels/, in float32. It generates and measures, but cannot train.
To read: vectors (int8 times int8), rounding, products, fours (four-bit weights), nibbles, packing, cache, decode (a
token), matrices (as ops.py), int4 (the same with four bits).
"""

from ..kernels import (
    IGNORE,
    adam_step_,
    attention_mix,
    attention_mix_backward,
    attention_probs,
    attention_probs_backward,
    band_mask,
    causal_mask,
    dropout,
    dropout_backward,
    embedding_backward,
    gelu,
    gelu_backward,
    gelu_new,
    gelu_new_backward,
    layer_norm,
    layer_norm_backward,
    linear_backward,
    merge_heads,
    relu,
    relu_backward,
    sinusoidal_positions,
    softmax,
    softmax_backward,
    softmax_scores,
    split_heads,
    sum_of_squares,
    unembed_backward,
)
from .cache import Int8Cache
from .decode import decode_few, decode_greedy, decode_plan, read_piece, read_plan
from .matrices import (
    Int8Matrix,
    cross_entropy,
    cross_entropy_backward,
    embedding,
    keep_one,
    linear,
    make_cache,
    quantize,
    unembed,
)

__all__ = [
    "IGNORE", "Int8Cache", "Int8Matrix", "adam_step_", "attention_mix", "attention_mix_backward", "attention_probs",
    "attention_probs_backward", "band_mask", "causal_mask", "cross_entropy", "cross_entropy_backward", "decode_few",
    "decode_greedy", "decode_plan", "dropout", "dropout_backward", "embedding", "embedding_backward", "gelu",
    "gelu_backward", "gelu_new", "gelu_new_backward", "keep_one", "layer_norm", "layer_norm_backward", "linear",
    "linear_backward", "make_cache", "merge_heads", "quantize", "read_piece", "read_plan", "relu", "relu_backward",
    "sinusoidal_positions", "softmax", "softmax_backward", "softmax_scores", "split_heads", "sum_of_squares", "unembed",
    "unembed_backward",
]  # fmt: skip
