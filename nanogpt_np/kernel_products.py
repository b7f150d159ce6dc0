"""Matrix products of a few rows, as in decoding: what they wait for is the weights, which stream by once.

Enter and leave: as in ops.py. All cores work, each on its part of the rows.
Next room: kernels.py, which offers these under the same names.
"""

import numpy as np
from numba import njit, prange

from . import ops
from .kernel_math import FAST, N_PARTS, ZERO, is_float32

FEW_ROWS = 8  # up to so many rows a product waits for the weights, not for arithmetic, and BLAS reads them too slowly


def linear(x, weight, bias):
    """See ops.linear; a few rows are multiplied while the weights stream by once, from first to last."""
    n_rows = x.size // weight.shape[0]
    if n_rows > FEW_ROWS or not is_float32(x, weight, bias) or not weight.flags.c_contiguous:
        return ops.linear(x, weight, bias)
    rows = np.ascontiguousarray(x).reshape(n_rows, -1)
    out = np.empty((n_rows, weight.shape[1]), np.float32)
    parts = np.empty((N_PARTS, *out.shape), np.float32)
    _linear_kernel(rows, weight, bias, parts, out)
    return out.reshape(*x.shape[:-1], weight.shape[1])


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def _linear_kernel(x, weight, bias, parts, out):
    n_in, n_out = weight.shape
    n_piece = (n_in + N_PARTS - 1) // N_PARTS
    for part in prange(N_PARTS):
        for row in range(len(x)):
            parts[part, row] = ZERO
        first, end = part * n_piece, min(n_in, (part + 1) * n_piece)
        for i in range(first, end - 3, 4):  # four at once: sums are loaded and stored a quarter as often
            for row in range(len(x)):
                _add_four(parts[part, row], x[row], weight, i)
        for i in range(max(first, end - (end - first) % 4), end):
            for row in range(len(x)):
                for j in range(n_out):
                    parts[part, row, j] += x[row, i] * weight[i, j]
    for row in range(len(x)):
        for piece in prange((n_out + 511) // 512):
            for j in range(piece * 512, min(n_out, (piece + 1) * 512)):
                total = bias[j]
                for part in range(N_PARTS):
                    total += parts[part, row, j]
                out[row, j] = total


@njit(fastmath=FAST, error_model="numpy", inline="always")
def _add_four(sums, x, weight, i):
    a, b, c, d = x[i], x[i + 1], x[i + 2], x[i + 3]
    row_a, row_b, row_c, row_d = weight[i], weight[i + 1], weight[i + 2], weight[i + 3]
    for j in range(sums.size):
        sums[j] += a * row_a[j] + b * row_b[j] + c * row_c[j] + d * row_d[j]


def unembed(x, weight):
    """See ops.unembed."""
    n_rows = x.size // weight.shape[1]
    if n_rows > FEW_ROWS or not is_float32(x, weight) or not weight.flags.c_contiguous:
        return ops.unembed(x, weight)
    out = np.empty((n_rows, len(weight)), np.float32)
    _unembed_kernel(np.ascontiguousarray(x).reshape(n_rows, -1), weight, out)
    return out.reshape(*x.shape[:-1], len(weight))


@njit(parallel=True, fastmath=FAST, error_model="numpy", cache=True)
def _unembed_kernel(x, weight, out):
    n_vocab, width = weight.shape
    for piece in prange((n_vocab + 255) // 256):
        for token in range(piece * 256, min(n_vocab, (piece + 1) * 256)):
            column = weight[token]
            for row in range(len(x)):
                total = ZERO
                for j in range(width):
                    total += x[row, j] * column[j]
                out[row, token] = total
