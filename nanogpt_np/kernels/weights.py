"""How a model's weights lie in memory so that generating reads them fastest.

Enter: the parameters of a model, one by one, as a file or params.py gives them. Leave: the same values, elsewhere.
Next: quantized/vectors.py.
"""

import numpy as np
from numba import float32, intp, void

from ..memory import in_large_pages
from .compile import inner, kernel, n_threads, read
from .cores import spread
from .vectors import LINE, TURN, transpose_lines

MATRICES = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # [n_in, n_out]


def keep_one(name, array, config, give_back):
    """One parameter of a model as generating reads it fastest: in large pages, which a file's pages are not.

    The matrix of a linear layer looks as before, but lies by output: the weights that make one number side by side, as
    in wte. Then each sum is read from end to end and stays in a register.
    """
    by_output = name.endswith(MATRICES)
    rows = array.T if by_output else array
    kept = in_large_pages(rows.shape, rows.dtype)
    if rows.ndim == 2 and rows.dtype == np.float32:
        _copy_kernel(rows, n_threads(), kept)
    else:
        kept[...] = rows
    give_back()
    return kept.T if by_output else kept


@kernel(void(read(float32[:, :]), intp, float32[:, ::1]))
def _copy_kernel(rows, n_parts, kept):
    spread(n_parts, _copy_part, (rows, n_parts, kept.reshape(kept.size)))


@inner
def _copy_part(part, rows, n_parts, kept):
    n_rows, n = rows.shape
    lines = (n_rows + LINE - 1) // LINE
    first, end = part * lines // n_parts * LINE, min(n_rows, (part + 1) * lines // n_parts * LINE)
    copy_rows(rows, first, end, kept[first * n :], n)


@inner
def copy_rows(rows, first, end, kept, step):
    """kept[(row - first) * step + k] = rows[row, k] for some rows, wherever their numbers lie."""
    n, columns, whole, whole_end = rows.shape[1], rows.T, 0, first
    if columns.strides[1] == columns.itemsize and columns.strides[0] != columns.itemsize:
        whole, whole_end = n // TURN * TURN, first + (end - first) // LINE * LINE
        for row in range(first, whole_end, LINE):  # a line is read once; NumPy has lost it before the next row of it
            for k in range(0, whole, TURN):
                transpose_lines(columns, k, row, kept, (row - first) * step + k, step)
    for row in range(first, end):
        given, target = rows[row], kept[(row - first) * step :][:n]
        for k in range(whole if row < whole_end else 0, n):
            target[k] = given[k]
