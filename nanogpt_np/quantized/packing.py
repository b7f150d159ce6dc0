"""Weights to int8 or four bits, and to where this CPU's products read them, on all cores.

Enter: float32 matrices [n_in, n_out]. Leave: panels of PANEL outputs each. How numbers are rounded, rounding.py says of
int8 and fours.py of four bits, whose very bits these are. Next: quantized/cache.py.
"""

import numpy as np
from numba import float32, int8, intp, uint8, void

from ..kernels.compile import exact, inner, kernel, n_threads, read
from ..kernels.cores import spread
from ..kernels.math import ONE, ZERO, bits_of_size
from ..kernels.weights import copy_rows
from . import fours
from .nibbles import FEW, LANES, QUADS
from .products import part_of_panels
from .rounding import round_to_int8
from .vectors import FLIP, GROUP, PANEL, STRIP, TOGETHER

# of a step that is larger than the first, 1 / step is a number; of one that is smaller than the second, float16 has one
TOO_SMALL, TOO_LARGE = np.float32(2.0**-128), np.float32(65_520)
NOTHING = fours.ZERO | fours.ZERO << 4  # two weights of 0
TO_LARGEST, HALF_UP, MOST = np.float32(-fours.ZERO), np.float32(fours.ZERO + 0.5), np.float32(fours.MOST)


def pack_int8(weight, factors, packed):
    """[n_in, n_out] to int8 panels, as Int8Matrix has them, and a factor per column, in place."""
    _pack_int8_kernel(np.asarray(weight, np.float32), n_threads(), factors, packed)


@kernel(void(read(float32[:, :]), intp, float32[::1], int8[:, :, :, :, :, ::1]))
def _pack_int8_kernel(weight, n_parts, factors, packed):
    spread(n_parts, _pack_int8_part, (weight, n_parts, factors, packed))


@inner
def _pack_int8_part(part, weight, n_parts, factors, packed):
    n_in, n_out = weight.shape
    n_groups = packed.shape[1]
    columns, small = np.empty(PANEL * n_in, np.float32), np.zeros(n_groups * GROUP, np.int8)
    first_panel, end_panel = part_of_panels(part, n_parts, n_out)
    for panel in range(first_panel, end_panel):
        first, end = panel * PANEL, min(n_out, (panel + 1) * PANEL)
        copy_rows(weight.T, first, end, columns, n_in)
        for column in range(end - first):
            of_column = columns[column * n_in : (column + 1) * n_in]
            factors[first + column], _ = round_to_int8(of_column, small[:n_in])
            _lay(small, packed[panel, :, column // STRIP, :, column % STRIP])


@inner
def _lay(small, places):  # -> [n_groups, GROUP / TOGETHER, TOGETHER]
    at = 0
    for group in range(places.shape[0]):
        for step in range(places.shape[1]):
            for k in range(TOGETHER):
                places[group, step, k] = small[at + k] ^ FLIP
            at += TOGETHER


@exact
def widen_output(packed, factors, output, out):
    """The weights of one output in float32, as Int8Matrix.outputs() has them."""
    panel, strip, column = output // PANEL, output % PANEL // STRIP, output % STRIP
    n_groups, n_strips, n_steps = (out.size + GROUP - 1) // GROUP, PANEL // STRIP, GROUP // TOGETHER
    for j in range(out.size):
        group, step = j // GROUP, j % GROUP // TOGETHER
        at = (((panel * n_groups + group) * n_strips + strip) * n_steps + step) * STRIP + column
        out[j] = np.int8(packed[at * TOGETHER + j % TOGETHER] ^ FLIP) * factors[output]


# ---------------------------------------------------------------- four bits


def pack_fours(weight, packed):  # float32 [n_in, n_out] -> uint8 [n_panels, n_groups, BLOCK]
    """A matrix to four bits, in place; n_groups is even, as two share the scale of activations.

    A block is [PANEL / LANES, QUADS, LANES, 4] bytes and PANEL scales in float16, NaN where fours.py says so.
    """
    steps = np.zeros((*packed.shape[:2], PANEL), np.float32)
    packed[-1], packed[:, -1] = NOTHING, NOTHING  # where outputs and groups end, the rest of a block
    _pack_fours_kernel(np.asarray(weight, np.float32), n_threads(), steps, packed)
    with np.errstate(over="ignore"):
        scales = steps.astype(np.float16)
    scales[~np.isfinite(scales)] = np.nan
    packed[..., -PANEL * 2 :] = scales.view(np.uint8)


@kernel(void(read(float32[:, :]), intp, float32[:, :, ::1], uint8[:, :, ::1]))
def _pack_fours_kernel(weight, n_parts, steps, packed):
    spread(n_parts, _pack_fours_part, (weight, n_parts, steps, packed))


@inner
def _pack_fours_part(part, weight, n_parts, steps, packed):
    n_in, n_out = weight.shape
    n_groups = (n_in + FEW - 1) // FEW
    columns, q = np.zeros(PANEL * n_groups * FEW, np.float32), np.empty(FEW, np.uint8)
    first_panel, end_panel = part_of_panels(part, n_parts, n_out)
    for panel in range(first_panel, end_panel):
        first, end = panel * PANEL, min(n_out, (panel + 1) * PANEL)
        copy_rows(weight.T, first, end, columns, n_groups * FEW)
        for column in range(end - first):
            for group in range(n_groups):
                few = columns[(column * n_groups + group) * FEW :][:FEW]
                steps[panel, group, column] = round_to_fours(few, q)
                _lay_fours(q, column, packed[panel, group])


@exact
def round_to_fours(few, q):  # float32 [FEW], uint8 [FEW]
    """fours.to_fours() of one group -> what a step is worth, from which its scale is made."""
    most, largest = np.int32(-1), ZERO
    for j in range(FEW):
        size = bits_of_size(few[j])  # of NaN the largest
        if size > most:
            most, largest = size, few[j]
    step = largest / TO_LARGEST
    is_number = TOO_SMALL < abs(step) < TOO_LARGE
    per_step = ONE / step if is_number else ZERO
    for j in range(FEW):
        counted = few[j] * per_step if is_number else ZERO
        q[j] = np.uint8(min(max(np.floor(counted + HALF_UP), ZERO), MOST))
    return step


@inner
def _lay_fours(q, column, block):
    strip, lane = column // LANES, column % LANES
    for quad in range(QUADS):
        at = ((strip * QUADS + quad) * LANES + lane) * 4
        for k in range(4):
            block[at + k] = q[8 * quad + k] | q[8 * quad + 4 + k] << 4


def unpack_fours(packed, n_out, n_in):  # -> float32 [n_out, n_in]
    """What pack_fours() packed, as the products see it."""
    n_panels, n_groups, _ = packed.shape
    nibbles = packed[..., : -PANEL * 2].reshape(n_panels, n_groups, PANEL // LANES, QUADS, LANES, 4)
    q = np.stack([nibbles & 15, nibbles >> 4], axis=-2).transpose(0, 2, 4, 1, 3, 5, 6)
    scales = scales_of(packed)
    return fours.from_fours(q.reshape(*scales.shape, FEW), scales, n_in)[:n_out]


def scales_of(packed):  # -> float16 [n_panels * PANEL, n_groups]
    """The scales alone, by output."""
    scales = np.ascontiguousarray(packed[..., -PANEL * 2 :]).view(np.float16).transpose(0, 2, 1)
    return scales.reshape(-1, packed.shape[1])
