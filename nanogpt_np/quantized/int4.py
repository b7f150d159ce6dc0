"""The same twin with four-bit weights in its linear layers: half the bytes of int8, and a little more of its error.

Enter and leave: as in the face of this wing, but `quantize` makes every matrix of a linear layer an Int4Matrix; the
one that makes logits is an Int8Matrix, as most of what four bits would spoil is there. Activations are int8 either way.
Next: tokenizer/compiled.py.
"""

import numpy as np

from .. import params as P
from ..kernels import (  # noqa: F401  (what a twin does not replace)
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
from ..kernels.weights import MATRICES
from ..memory import in_large_pages
from . import matrices
from .decode import decode_few, decode_greedy, decode_plan, read_piece, read_plan  # noqa: F401
from .fours import FEW
from .matrices import (  # noqa: F401
    SmallMatrix,
    cross_entropy,
    cross_entropy_backward,
    embedding,
    few_at_once,
    finite,
    linear,
    make_cache,
    unembed,
)
from .nibbles import BLOCK, multiply_by_fours
from .packing import pack_fours, scales_of, unpack_fours
from .vectors import GROUP, PANEL


class Int4Matrix(SmallMatrix):
    """A matrix [n_in, n_out] in four bits: `shape` as it was, `packed` uint8 as pack_fours() makes it.

    Its `dtype` is the word "int4", as NumPy has none of so few bits.
    `give_back` is called after every few panels, as by Int8Matrix. `n_broken`: outputs whose weights hold NaN or
    infinity, or are too large for the scales of their groups.
    """

    kind = dtype = "int4"

    def __init__(self, matrix, give_back=lambda: None):
        self.shape, self.size = matrix.shape, matrix.size
        n_in, n_out = matrix.shape
        n_panels, n_groups = -(-n_out // PANEL), -(-n_in // GROUP) * (GROUP // FEW)
        self.packed = in_large_pages((n_panels, n_groups, BLOCK), np.uint8)
        for panels, outputs in few_at_once(n_panels, give_back):
            pack_fours(matrix[:, outputs], self.packed[panels])

    @property
    def nbytes(self):
        """Bytes in memory."""
        return self.packed.nbytes

    @property
    def n_broken(self):
        """Of how many outputs a scale is NaN."""
        return np.count_nonzero(np.isnan(scales_of(self.packed)).any(axis=1))

    def dequantized(self):
        """The matrix in float32, as the products see it."""
        n_in, n_out = self.shape
        return unpack_fours(self.packed, n_out, n_in).T

    def _product(self, rows, bias):
        return multiply_by_fours(rows, self.packed, self.shape[1], bias)


def quantize(params, config):
    """The same nested params with every matrix an Int4Matrix, or an Int8Matrix; what is one already stays."""
    return P.nest({name: keep_one(name, array, config) for name, array in P.walk(params)})


def keep_one(name, array, config, give_back=lambda: None):
    """One parameter of a model, by its name, as `quantize` leaves it; InputError where a matrix is broken."""
    if isinstance(array, SmallMatrix) or not name.endswith(MATRICES):
        return matrices.keep_one(name, array, config, give_back)
    return finite(name, Int4Matrix(array, give_back))
