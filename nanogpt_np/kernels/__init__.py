"""The functions of ops.py once more, in Numba: one pass over memory where NumPy takes several, on all cores.

Enter and leave: as in ops.py, which is the definition: the same names, signatures and, to rounding, values. float32
runs here, any other dtype is handed to ops.py. A kernel is a function that Numba compiles: the first call does that
(seconds, once), and the result is kept on disk. No matrix product goes to BLAS: its threads spin for a while after
their work and would fight those of Numba. Sums are cut in a fixed way: the number of threads changes no bit.
To read: compile, cores, calls, math; writer, vectors, tiles, products (matrices); attention, pointwise, training;
addresses, heads, shortlist, greedy, decode (tokens, or a piece of a prompt, in one call), weights.
"""

# what is too small to matter, or waits for memory either way
from ..ops import (
    IGNORE,
    band_mask,
    causal_mask,
    embedding,
    embedding_backward,
    gelu,
    gelu_backward,
    relu,
    relu_backward,
    sinusoidal_positions,
    softmax,
    softmax_backward,
    split_heads,
    unembed_backward,
)
from .attention import (
    attention_mix,
    attention_mix_backward,
    attention_probs,
    attention_probs_backward,
    softmax_scores,
)
from .decode import decode_few, decode_greedy, decode_plan, read_piece, read_plan
from .pointwise import (
    dropout,
    dropout_backward,
    gelu_new,
    gelu_new_backward,
    layer_norm,
    layer_norm_backward,
    merge_heads,
)
from .products import linear, linear_backward, unembed
from .shortlist import shortlist_of
from .training import adam_step_, cross_entropy, cross_entropy_backward, sum_of_squares
from .weights import keep_one

__all__ = [
    "IGNORE", "adam_step_", "attention_mix", "attention_mix_backward", "attention_probs", "attention_probs_backward",
    "band_mask", "causal_mask", "cross_entropy", "cross_entropy_backward", "decode_few", "decode_greedy", "decode_plan",
    "dropout", "dropout_backward", "embedding", "embedding_backward", "gelu", "gelu_backward", "gelu_new",
    "gelu_new_backward", "keep_one", "layer_norm", "layer_norm_backward", "linear", "linear_backward", "merge_heads",
    "read_piece", "read_plan", "relu", "relu_backward", "shortlist_of", "sinusoidal_positions", "softmax",
    "softmax_backward", "softmax_scores", "split_heads", "sum_of_squares", "unembed", "unembed_backward",
]  # fmt: skip
