"""kernels/weights.py: weights lie elsewhere, and are the same numbers."""

import numpy as np
import pytest
from small import LAYOUTS, normal

kernels = pytest.importorskip("nanogpt_np.kernels")

SHAPES = [(1, 1), (5, 7), (1, 33), (33, 1), (16, 16), (17, 33), (100, 16), (64, 200), (768, 2304)]


@pytest.mark.parametrize("lie", LAYOUTS)
@pytest.mark.parametrize("n_in, n_out", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", ">f4", "float64"])
def test_a_matrix_lies_by_output_and_nothing_else_changes(n_in, n_out, lie, dtype):
    array, calls = LAYOUTS[lie](normal(n_in, n_out).astype(dtype)), []
    array.flags.writeable = False  # as pages of a file may be
    kept = kernels.keep_one("h.0.mlp.c_fc.weight", array, None, lambda: calls.append(1))
    assert kept.dtype == array.dtype and kept.T.flags.c_contiguous and calls == [1]
    np.testing.assert_array_equal(kept, array)


@pytest.mark.parametrize("lie", LAYOUTS)
def test_what_is_no_matrix_of_a_linear_layer_lies_as_before(lie):
    array = LAYOUTS[lie](normal(20, 30))
    kept = kernels.keep_one("wte.weight", array, None, lambda: None)
    assert kept.flags.c_contiguous and not np.shares_memory(kept, array)
    np.testing.assert_array_equal(kept, array)
