"""A matrix as int8, and what ops.py does with matrices, done with those.

Enter: float32 params. Leave: the same nested params with every matrix an Int8Matrix, and the ops that take them.
Next: quantized/int4.py.
"""

import numpy as np

from .. import kernels
from .. import params as P
from ..errors import InputError
from ..kernels.products import NO_BIAS
from ..kernels.weights import MATRICES
from ..kv_cache import KVCache
from ..memory import in_large_pages
from ..ops import IGNORE
from .cache import Int8Cache
from .decode import MOST_ROWS
from .packing import pack_int8
from .products import multiply_int8
from .vectors import FLIP, GROUP, PANEL, STRIP, TOGETHER

PANELS_AT_ONCE = 128
ROWS_AT_ONCE = 64  # of logits, where all of them would fill the memory


class SmallMatrix:
    """What the ops here know of a matrix with fewer bits: its `shape` as it was, and how to multiply by it."""

    kind, by_row = "int8", False

    def multiply(self, x, bias=NO_BIAS):  # [..., n_in] -> [..., n_out]
        """x @ matrix + bias (or matrix.T, `by_row`), with x as int8 too."""
        rows = np.ascontiguousarray(x, np.float32).reshape(-1, x.shape[-1])
        return self._product(rows, np.ascontiguousarray(bias, np.float32)).reshape(*x.shape[:-1], -1)


def few_at_once(n_panels, give_back):
    """Slices of some panels and of their outputs, one after the other; `give_back` is called when they are done."""
    for first in range(0, n_panels, PANELS_AT_ONCE):
        end = first + PANELS_AT_ONCE
        yield slice(first, end), slice(first * PANEL, end * PANEL)
        give_back()


class Int8Matrix(SmallMatrix):
    """A matrix as int8: `shape` as it was, `packed` int8, `factors` float32 [n_out].

    `packed` lies as this CPU multiplies it, each byte flipped by FLIP:
    [n_panels, n_groups, PANEL / STRIP, GROUP / TOGETHER, STRIP, TOGETHER].

    Where each row makes one output, as in wte, pass `by_row`; else each column does. `give_back` is called after
    every few panels: what the matrix holds up to there has been read for the last time. An output whose weights hold
    NaN or infinity has the factor NaN.
    """

    def __init__(self, matrix, by_row=False, give_back=lambda: None):
        self.shape, self.size, self.dtype = matrix.shape, matrix.size, np.dtype(np.int8)
        self.by_row = by_row
        columns = matrix.T if by_row else matrix
        n_in, n_out = columns.shape
        n_panels, n_groups = -(-n_out // PANEL), -(-n_in // GROUP)
        shape = (n_panels, n_groups, PANEL // STRIP, GROUP // TOGETHER, STRIP, TOGETHER)
        self.packed = in_large_pages(shape, np.int8)
        self.factors = np.empty(n_out, np.float32)
        for panels, outputs in few_at_once(n_panels, give_back):
            pack_int8(columns[:, outputs], self.factors[outputs], self.packed[panels])

    @property
    def nbytes(self):
        """Bytes in memory."""
        return self.packed.nbytes + self.factors.nbytes

    @property
    def n_broken(self):
        """Of how many outputs the weights hold NaN or infinity."""
        return np.count_nonzero(~np.isfinite(self.factors))

    def outputs(self, which):
        """The weights of some outputs in float32: [..., n_in]."""
        n_in = self.shape[1 if self.by_row else 0]
        panel, strip, column = which // PANEL, which % PANEL // STRIP, which % STRIP
        of_steps = self.packed.view(f"i{TOGETHER}")[..., 0]  # what lies together is copied together
        whole = of_steps[panel, :, strip, :, column]  # -> [..., n_groups, GROUP / TOGETHER]
        whole = np.ascontiguousarray(whole.reshape(*which.shape, -1))  # of one output alone NumPy copies nothing
        whole = whole.view(np.int8)[..., :n_in] ^ FLIP
        return whole.astype(np.float32) * self.factors[which][..., None]

    def dequantized(self):
        """The matrix in float32, as the products see it."""
        rows = self.outputs(np.arange(len(self.factors)))
        return rows if self.by_row else rows.T

    def _product(self, rows, bias):
        return multiply_int8(rows, self.packed, self.factors, bias)


def quantize(params, config):
    """The same nested params with every matrix an Int8Matrix; what is one already stays.

    Layer norms, biases and positions stay as they are, and so does a wte that makes no logits (beside an lm_head).
    """
    return P.nest({name: keep_one(name, array, config) for name, array in P.walk(params)})


def keep_one(name, array, config, give_back=lambda: None):
    """One parameter of a model, by its name, as `quantize` leaves it; see Int8Matrix for `give_back`.

    InputError where a matrix holds NaN or infinity, for which int8 has no place.
    """
    vocabulary = "wte.weight" if config.tie_word_embeddings else "lm_head.weight"
    if isinstance(array, SmallMatrix) or not name.endswith((*MATRICES, vocabulary)):
        return array
    return finite(name, Int8Matrix(array, name == vocabulary, give_back))


def finite(name, matrix):
    """A matrix; InputError where some of its weights are none."""
    n_broken = matrix.n_broken
    if n_broken:
        n_out = matrix.shape[0 if matrix.by_row else 1]
        raise InputError(
            f"{name}: expected finite weights, got NaN or infinity in those of {n_broken} of {n_out} "
            "outputs; the weights are broken"
        )
    return matrix


def make_cache(config, n_batch, n_ctx):
    """The cache to generate with: an Int8Cache where decode_few reads it as it is, else in float32."""
    fits = config.activation == "gelu_new" and n_batch <= MOST_ROWS
    return Int8Cache(config, n_batch, n_ctx) if fits else KVCache(config, n_batch, n_ctx)


# ---------------------------------------------------------------- as in ops.py


def embedding(ids, weight):
    """See ops.embedding."""
    if isinstance(weight, Int8Matrix):
        return weight.outputs(np.asarray(ids))
    return kernels.embedding(ids, weight)


def linear(x, weight, bias):
    """See ops.linear."""
    return weight.multiply(x, bias) if isinstance(weight, SmallMatrix) else kernels.linear(x, weight, bias)


def unembed(x, weight):
    """See ops.unembed."""
    return weight.multiply(x) if isinstance(weight, Int8Matrix) else kernels.unembed(x, weight)


def cross_entropy(x, weight, targets, chunk=4096, logits=None):
    """See ops.cross_entropy; int8 weights are used a few rows of x at a time, all of them at once."""
    if not isinstance(weight, Int8Matrix):
        return kernels.cross_entropy(x, weight, targets, chunk, logits)
    losses, log_z = np.zeros(len(x), np.float32), np.zeros(len(x), np.float32)
    for start in range(0, len(x), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        logits = weight.multiply(x[rows])
        top = logits.max(axis=-1)
        log_z[rows] = top + np.log(np.exp(logits - top[:, None]).sum(axis=-1))
        counted = targets[rows] != IGNORE
        picked = logits[np.arange(len(logits)), np.where(counted, targets[rows], 0)]
        losses[rows] = np.where(counted, log_z[rows] - picked, 0)
    return losses, log_z


def cross_entropy_backward(dlosses, x, weight, targets, log_z, chunk=4096, logits=None):
    """See ops.cross_entropy_backward; InputError for int8 weights, which no gradient can move by less than a step."""
    if isinstance(weight, Int8Matrix):
        raise InputError("backward: expected float weights, got int8 or int4; open the model with ops='numba' to train")
    return kernels.cross_entropy_backward(dlosses, x, weight, targets, log_z, chunk, logits)
