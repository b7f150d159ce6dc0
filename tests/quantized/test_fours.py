"""quantized/fours.py: to the bit the numbers and scales that the library gguf makes (goldens/make_fours.py)."""

import numpy as np
import pytest
from goldens import measure
from small import normal

pytest.importorskip("nanogpt_np.quantized")
from nanogpt_np.quantized import fours

GROUP = 32  # stated here again, as the tests' own arithmetic depends on it
FILE = measure.load("fours")
CASES = [name.removesuffix("/rows") for name in FILE if name.endswith("/rows")]
AS_NUMBERS = [name for name in CASES if name not in ("too huge", "vanishing")]


def unpacked(packed):
    """What stands in gguf's bytes -> q [n_out, n_groups, 32], scales float16 [n_out, n_groups].

    18 bytes for a group: its scale, then the numbers 0 to 15 in the lower halves of 16 bytes, 16 to 31 in the upper.
    """
    groups = packed.reshape(len(packed), -1, 18)
    scales = np.ascontiguousarray(groups[..., :2]).view(np.float16)[..., 0]
    return np.concatenate([groups[..., 2:] & 15, groups[..., 2:] >> 4], axis=-1), scales


def bits(array):
    """So that -0 is not 0, and NaN is NaN."""
    return array.view(f"u{array.itemsize}")


def test_there_are_goldens():
    assert len(CASES) >= 10 and len(AS_NUMBERS) == len(CASES) - 2


@pytest.mark.parametrize("name", AS_NUMBERS)
def test_every_number_and_scale_is_that_of_gguf(name):
    rows, packed = FILE[f"{name}/rows"], FILE[f"{name}/packed"]
    q, scales = fours.to_fours(rows)
    expected, expected_scales = unpacked(packed)
    assert q.dtype == np.uint8 and scales.dtype == np.float16
    np.testing.assert_array_equal(q, expected)
    np.testing.assert_array_equal(bits(scales), bits(expected_scales))


@pytest.mark.parametrize("name", AS_NUMBERS)
def test_every_value_is_that_of_gguf(name):
    rows, values = FILE[f"{name}/rows"], FILE[f"{name}/values"]
    n_in = rows.shape[1]
    got = fours.from_fours(*fours.to_fours(rows), n_in)
    assert got.dtype == np.float32 and got.shape == rows.shape
    np.testing.assert_array_equal(bits(np.ascontiguousarray(got)), bits(np.ascontiguousarray(values[:, :n_in])))


def test_what_is_too_huge_for_a_scale_is_nan():
    """gguf stores an infinite scale, of which no whole number makes a weight again."""
    rows, packed = FILE["too huge/rows"], FILE["too huge/packed"]
    _, theirs = unpacked(packed)
    q, scales = fours.to_fours(rows)
    assert np.isinf(theirs).all() and np.isnan(scales).all()
    assert np.isnan(fours.from_fours(q, scales, rows.shape[1])).all()


def test_what_vanishes_is_zero():
    """As with gguf, whose whole numbers mean nothing there: one divided by the step is infinite."""
    rows, values = FILE["vanishing/rows"], FILE["vanishing/values"]
    assert not values.any()
    q, scales = fours.to_fours(rows)
    assert not scales.any() and not fours.from_fours(q, scales, rows.shape[1]).any()


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf, 524_160, -524_160])
@pytest.mark.parametrize("column", [0, 31, 32, 69])
def test_a_weight_without_a_place_makes_nan_of_its_group_alone(value, column):
    rows = normal(5, 70)
    expected = fours.from_fours(*fours.to_fours(rows), 70)
    rows[2, column] = value
    q, scales = fours.to_fours(rows)
    got, group = fours.from_fours(q, scales, 70), np.arange(70) // GROUP == column // GROUP
    assert np.isnan(got[2, group]).all() and np.isnan(scales).sum() == 1 and (q[2, column // GROUP] == 8).all()
    assert np.array_equal(got[2, ~group], expected[2, ~group])
    assert np.array_equal(np.delete(got, 2, axis=0), np.delete(expected, 2, axis=0))


@pytest.mark.parametrize("value", [524_159, -524_159])
def test_the_largest_weight_that_has_a_scale(value):
    got = fours.from_fours(*fours.to_fours(np.full((1, GROUP), value, np.float32)), GROUP)
    np.testing.assert_allclose(got, value, rtol=2**-11)  # float16 has 11 bits


@pytest.mark.parametrize("scale", [1e4, 1.0, 1e-3, 1e-6, 1e-7, 1e-12])
@pytest.mark.parametrize("n_in", [1, 31, 32, 33, 100])
def test_no_error_is_larger_than_the_steps_allow(n_in, scale):
    """Half a step; a whole one for what is largest on the other side; what float16 does to the scale, eight times."""
    rows = normal(50, n_in, scale=scale)
    q, scales = fours.to_fours(rows)
    assert q.shape == (50, -(-n_in // GROUP), GROUP) and scales.shape == q.shape[:2]
    error = np.abs(fours.from_fours(q, scales, n_in).astype(np.float64) - rows)
    for column in range(n_in):
        group = slice(column // GROUP * GROUP, column // GROUP * GROUP + GROUP)
        top = np.abs(rows[:, group].astype(np.float64)).max(axis=1)
        other_side = np.sign(rows[:, column]) * rows[:, column] > 7.5 / 8 * top
        of_scale = np.maximum(top * 2**-11, 8 * 2.0**-25)  # a normal float16, or one of few digits
        assert (error[:, column] <= np.where(other_side, 1.0, 0.5001) * top / 8 + of_scale).all()


def test_what_fills_up_a_row_is_zero():
    q, _ = fours.to_fours(normal(4, 40))
    assert (q[:, 1, 8:] == 8).all()


def test_what_the_docstring_says():
    row = np.zeros((1, GROUP), np.float32)
    row[0, :4] = -8, 8, 3.4, 0.5
    q, scales = fours.to_fours(row)
    assert scales == 1 and q[0, 0, :5].tolist() == [0, 15, 11, 9, 8]


def test_rows_that_are_no_float32_and_lie_otherwise():
    matrix = normal(70, 6).T
    for rows in (matrix.astype(np.float64), np.asfortranarray(matrix), np.repeat(matrix, 2, axis=0)[::2]):
        for got, expected in zip(fours.to_fours(rows), fours.to_fours(np.ascontiguousarray(matrix)), strict=True):
            assert np.array_equal(got, expected)
