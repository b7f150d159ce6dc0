"""quantized/packing.py: to the bit what fours.py makes, and the same of weights that lie in any way."""

import numpy as np
import pytest
from goldens import measure
from small import CLOSE, LAYOUTS, normal

pytest.importorskip("nanogpt_np.quantized")
from nanogpt_np.quantized import Int8Matrix, fours, int4, nibbles, packing

FILE = measure.load("fours")
HARD = [name.removesuffix("/rows") for name in FILE if name.endswith("/rows")]
SHAPES = [(1, 1), (5, 70), (64, 64), (130, 67), (1000, 256)]  # [n_out, n_in]


def expected(rows):  # [n_out, n_in] -> uint8 [n_panels, n_groups, BLOCK]
    """In NumPy, by what pack_fours() says of a block; what fills up panels and pairs of groups is 8 times 0."""
    q, scales = fours.to_fours(rows)
    n_out, n_groups = scales.shape
    n_panels, n_even = -(-n_out // nibbles.PANEL), -(-n_groups // 2) * 2
    filled = np.full((n_panels * nibbles.PANEL, n_even, 32), 8, np.uint8)
    filled[:n_out, :n_groups] = q
    filled_scales = np.zeros((n_panels * nibbles.PANEL, n_even), np.float16)
    filled_scales[:n_out, :n_groups] = scales
    halves = filled.reshape(n_panels, -1, nibbles.LANES, n_even, 4, 2, 4)
    bytes_of = (halves[..., 0, :] | halves[..., 1, :] << 4).transpose(0, 3, 1, 4, 2, 5).reshape(n_panels, n_even, -1)
    by_group = np.ascontiguousarray(filled_scales.reshape(n_panels, nibbles.PANEL, n_even).transpose(0, 2, 1))
    return np.concatenate([bytes_of, by_group.view(np.uint8)], axis=-1)


def assert_packed(matrix, rows):
    np.testing.assert_array_equal(matrix.packed, expected(rows))
    values = fours.from_fours(*fours.to_fours(rows), rows.shape[1])
    np.testing.assert_array_equal(packing.unpack_fours(matrix.packed, *rows.shape), values)


@pytest.mark.parametrize("name", HARD)
def test_hard_numbers_become_the_same_four_bits(name):
    rows = FILE[f"{name}/rows"]
    assert_packed(int4.Int4Matrix(rows.T), rows)


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf, 524_159, 524_160, -524_160, 1e-40, 2**-125, -0.0])
@pytest.mark.parametrize("column", [0, 31, 69])
@pytest.mark.parametrize("scale", [1, 1e-38, 1e-41, 0])
def test_what_has_no_place_is_so_in_its_group_alone(value, column, scale):
    rows = normal(5, 70) * np.float32(scale)
    rows[3, column] = value
    assert_packed(int4.Int4Matrix(rows.T), rows)


def test_of_several_largest_weights_the_first_counts():
    rows = normal(3, 64).clip(-1, 1)
    rows[0, [5, 6]], rows[1, [5, 6]] = (2, -2), (-2, 2)
    assert_packed(int4.Int4Matrix(rows.T), rows)


@pytest.mark.parametrize("lie", LAYOUTS)
@pytest.mark.parametrize("n_out, n_in", SHAPES)
def test_weights_that_lie_in_any_way_are_packed_alike(n_out, n_in, lie):
    rows = normal(n_out, n_in, scale=0.05)
    matrix = LAYOUTS[lie](np.ascontiguousarray(rows.T))
    assert_packed(int4.Int4Matrix(matrix), rows)
    one, other = Int8Matrix(rows, by_row=True), Int8Matrix(matrix)
    np.testing.assert_allclose(one.factors, np.abs(rows).max(axis=1) / 127, rtol=2e-7)  # 1 / 127 is rounded, too
    np.testing.assert_array_equal(one.factors, other.factors)
    np.testing.assert_array_equal(one.dequantized(), other.dequantized().T)
    steps = rows / one.factors[:, None]
    assert np.abs(one.dequantized() / one.factors[:, None] - steps).max() <= 0.5 + CLOSE
