"""One matrix product on one core, of any shape: cut into panels that fit the caches, tile by tile.

Enter: float32 matrices, rows or columns contiguous. Leave: their product, in place. This is the classic plan of Goto &
van de Geijn (2008, "Anatomy of high-performance matrix multiplication"): pack both sides into panels in the order in
which they will be read, then let a tile of the result stay in registers. Next: kernels/products.py.
"""

import numpy as np
from numba import boolean, float32, void

from .calls import shared
from .compile import inner, read
from .math import ZERO
from .vectors import (
    ASKED,
    LINE,
    RUN,
    TALL,
    TURN,
    copy_tall,
    copy_wide,
    multiply_tile,
    multiply_tile_asking,
    transpose_lines,
)  # fmt: skip
from .writer import TILE_COLUMNS, TILE_ROWS

DEPTH = 384  # of a panel; GPT-2's widths divide evenly
SIDE = 128  # columns, and ROWS_OF_SIDE, whose panels stay together in the second cache while they are multiplied
ROWS_OF_SIDE = SIDE // TILE_ROWS * TILE_ROWS


@inner
def on_a_line(n):
    """np.empty(n, np.float32) that begins where a line of memory does, else every vector of 64 bytes lies on two."""
    room = np.empty(n + LINE, np.float32)
    start = -room.ctypes.data % (LINE * room.itemsize) // room.itemsize
    return room[start : start + n]


@shared(void(read(float32[:, :]), read(float32[:, :]), float32[:, :], boolean))
def multiply(a, b, c, add):
    """c = a @ b, or c += a @ b where `add`: [n, n_k], [n_k, m], [n, m]; every sum runs over k in pieces of DEPTH."""
    n_rows, n_k = a.shape
    n_columns = b.shape[1]
    depth = min(n_k, DEPTH)
    a_panels = on_a_line(_ceil(n_rows, TILE_ROWS) * depth)
    b_panels = on_a_line(_ceil(min(n_columns, SIDE), TILE_COLUMNS) * depth)
    edge = np.empty((TILE_ROWS, TILE_COLUMNS), np.float32)
    tall, wide = np.int64(TILE_ROWS), np.int64(TILE_COLUMNS)  # as constants, each would have `pack` compiled for it
    for k in range(0, n_k, DEPTH):
        depth = min(DEPTH, n_k - k)
        pack(a, tall, k, depth, a_panels)
        for j in range(0, n_columns, SIDE):
            pack(b[:, j : j + SIDE].T, wide, k, depth, b_panels)
            coming = _coming(b, k, j, n_rows)
            for i in range(0, n_rows, ROWS_OF_SIDE):
                panels, piece = a_panels[i * depth :], c[i : i + ROWS_OF_SIDE, j : j + SIDE]
                _multiply_panels(panels, b_panels, depth, piece, add or k > 0, edge, coming)


@inner
def _coming(b, k, j, n_rows):  # -> [n, n_k]
    """What will be packed next of weights that lie by output; nothing where many rows leave enough time to wait for it.

    Of few rows, tiles take little longer than the weights from memory: 64 are 1.07 times as fast.
    """
    row, column = (j + SIDE, k) if j + SIDE < b.shape[1] else (0, k + DEPTH)
    is_asked = n_rows <= ROWS_OF_SIDE and b.strides[0] == b.itemsize and column < b.shape[0]
    return b.T[row : row + SIDE if is_asked else row, column:]


@inner
def _multiply_panels(a_panels, b_panels, depth, c, add, edge, coming):
    n_rows, n_columns = c.shape
    row = 0
    for j in range(0, n_columns, TILE_COLUMNS):
        for i in range(0, n_rows, TILE_ROWS):
            if i + TILE_ROWS > n_rows or j + TILE_COLUMNS > n_columns:
                multiply_tile(a_panels, i * depth, b_panels, j * depth, depth, edge, 0, 0, False)
                _copy_edge(edge, c[i : i + TILE_ROWS, j : j + TILE_COLUMNS], add)
            elif row + ASKED <= len(coming):
                multiply_tile_asking(a_panels, i * depth, b_panels, j * depth, depth, c, i, j, add, coming, row)
                row += ASKED
            else:
                multiply_tile(a_panels, i * depth, b_panels, j * depth, depth, c, i, j, add)


@inner
def _ceil(n, step):
    return (n + step - 1) // step * step


@inner
def _copy_edge(edge, c, add):
    for i in range(c.shape[0]):
        for j in range(c.shape[1]):
            c[i, j] = edge[i, j] + (c[i, j] if add else ZERO)


@inner
def pack(a, width, k, depth, panels):
    """Columns k to k + depth of `a` as panels [n_panels, depth, width] of `width` rows each; zeros where rows end."""
    n_rows = a.shape[0]
    first = np.int64(0)
    if a.strides[0] == a.itemsize and a.strides[1] != a.itemsize:
        first = _pack_lines(a, width, k, depth, panels)
    for i in range(first, n_rows, width):
        panel = panels[i * depth : (i + width) * depth]
        n = min(width, n_rows - i)
        if n < width:
            panel[:] = ZERO  # no result is taken from there, but numbers close to zero are slow
        if a.strides[1] == a.itemsize:
            _pack_rows(a[i : i + n], k, depth, width, panel)
        else:
            _pack_each(a, i, i + n, k, np.int64(0), depth, width, panel)


@inner
def _pack_lines(a, width, k, depth, panels):
    """Of columns that are contiguous, as many as whole lines hold, all panels side by side -> how many."""
    at_once = TILE_COLUMNS if width == TILE_COLUMNS else TALL
    columns, whole, even = a.T, len(a) // at_once * at_once, depth // RUN * RUN
    for step in range(0, even, RUN):
        for i in range(0, whole, at_once):
            if width == TILE_COLUMNS:
                copy_wide(columns, k + step, i, panels, i * depth + step * width, width * depth)
            else:
                copy_tall(columns, k + step, i, panels, i * depth + step * width, width * depth)
    for i in range(0, whole if even < depth else 0, width):
        _pack_each(a, i, i + width, k, even, depth, width, panels[i * depth : (i + width) * depth])
    return whole


@inner
def _pack_rows(a, k, depth, width, panel):
    start, n_rows = np.int64(0), len(a)
    whole_rows, whole_depth = n_rows if n_rows >= TURN else 0, depth // LINE * LINE
    for step in range(0, whole_depth, LINE):
        for i in range(0, whole_rows, TURN):  # so that a line of the panel is written while it is at hand
            first = min(i, whole_rows - TURN)  # the last of them may be there already
            transpose_lines(a, first, k + step, panel, step * width + first, width)
    _pack_each(a, start, whole_rows, k, whole_depth, depth, width, panel)
    _pack_each(a[whole_rows:], start, n_rows - whole_rows, k, start, depth, width, panel[whole_rows:])


@inner
def _pack_each(a, first, end, k, first_step, end_step, width, panel):
    for step in range(first_step, end_step):
        for i in range(first, end):
            panel[step * width + i - first] = a[i, k + step]
