"""Four-bit weights in plain NumPy: the definition of what compiled code multiplies by.

Enter: float32 rows, one for each output. Leave: whole numbers q from 0 to 15, 32 of them with one float16 scale, which
stand for (q - 8) * scale. These are the numbers of Q4_0, a format of gguf files: 4.5 bits for a weight. Groups are
small because a large weight makes the steps of its whole group large (Dettmers & Zettlemoyer 2022).
Next: quantized/nibbles.py.
"""

import numpy as np

FEW = 32  # weights of one output that share a scale
ZERO, MOST = 8, 15  # what stands for 0, and the largest of the whole numbers


def to_fours(rows):  # [n_out, n_in] -> uint8 [n_out, n_groups, FEW], float16 [n_out, n_groups]
    """Round each group of 32 so that its largest weight by size becomes exactly -8 steps.

    Of [-8, 8, 3.4, 0.5] and 28 zeros the scale is 1, and they become [0, 15, 11, 9] and 8s: on the other side the last
    step is 7, and halves are rounded up. Rows are filled up with zeros to whole groups.
    A scale is NaN where a group holds NaN or infinity, or a weight so large (from 524,160 on) that float16 has no room
    for its scale. A group whose weights are all below 2.4e-7 becomes zeros, as float16 has no scale so small; below
    4.9e-4 its scales have fewer digits than elsewhere.
    """
    groups = in_groups(rows)
    largest = np.take_along_axis(groups, np.abs(groups).argmax(axis=-1)[..., None], axis=-1)
    steps = largest / np.float32(-ZERO)
    with np.errstate(over="ignore", divide="ignore"):
        scales, per_step = steps.astype(np.float16), 1 / steps
    is_number = np.isfinite(scales) & np.isfinite(per_step)
    counted = np.where(is_number, groups, 0) * np.where(is_number, per_step, 0)
    q = np.floor(counted + np.float32(ZERO + 0.5)).clip(0, MOST).astype(np.uint8)
    scales[~np.isfinite(scales)] = np.nan
    return q, scales[..., 0]


def from_fours(q, scales, n_in):  # -> float32 [n_out, n_in]
    """What the whole numbers stand for: (q - 8) * scale; NaN where the scale is."""
    groups = (q.astype(np.float32) - np.float32(ZERO)) * scales.astype(np.float32)[..., None]
    return groups.reshape(len(q), -1)[:, :n_in]


def in_groups(rows):  # [n_out, n_in] -> float32 [n_out, n_groups, FEW]
    """Rows in groups of 32, the last of each filled up with zeros."""
    n_out, n_in = rows.shape
    n_groups = -(-n_in // FEW)
    filled = np.zeros((n_out, n_groups * FEW), np.float32)
    filled[:, :n_in] = rows
    return filled.reshape(n_out, n_groups, FEW)
