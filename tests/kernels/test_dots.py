"""kernels/products: sums of a few rows, side by side in registers, each as if it were alone."""

import platform

import numpy as np
import pytest
from small import normal, own_kernel, run_script

numba = pytest.importorskip("numba")
from numba import float32, int8, intp, void  # noqa: E402

from nanogpt_np.bench.isa import HELD  # noqa: E402
from nanogpt_np.kernels.compile import read  # noqa: E402
from nanogpt_np.kernels.products import dots, dots_int8, pad_rows, stream, stream_int8  # noqa: E402

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="NumPy's sums have an order of their own")
ASSEMBLY = """
import re
from nanogpt_np.kernels import compile, products, vectors
shared = compile.shared_functions[id(products.dots)]
shared.compile()
(made,) = shared.dispatcher.overloads.values()
for block in re.split(r"^\\S+:", made.library.get_asm_str(), flags=re.M):
    if block.count("vfmadd231ps") >= 8:
        print(block.count("vfmadd231ps"), len(re.findall(r"\\(%[re]sp.*ymm|ymm.*\\(%[re]sp", block)))
"""


def _of_floats(x, weight, first, end, out):
    dots(x, weight, first, end, out)


def _of_bytes(x, weight, first, end, out):
    dots_int8(x, weight, first, end, out)


def _stream_floats(x, weight, first, end, out):
    stream(x, weight[first:end], out)


def _stream_bytes(x, weight, first, end, out):
    stream_int8(x, weight[first:end], out)


def made(function, kind):
    """A kernel, as Python cannot call what kernels share."""
    signature = void(read(float32[:, ::1]), read(kind[:, ::1]), intp, intp, float32[:, ::1])
    return own_kernel(signature, function, parallel=False)


of_floats, of_bytes = made(_of_floats, float32), made(_of_bytes, int8)
stream_floats, stream_bytes = made(_stream_floats, float32), made(_stream_bytes, int8)


@pytest.mark.parametrize("n_rows", [1, 2, 3, 8])
@pytest.mark.parametrize("n_weights", [7, 8, 9, 31])
@pytest.mark.parametrize("width", [64, 65])
def test_sums_over_int8_have_the_bits_of_those_over_the_same_floats(n_rows, n_weights, width):
    """However many rows stand beside each other there, and wherever a part begins and ends."""
    x, small = pad_rows(normal(n_rows, width)), (normal(n_weights, width, seed=1) * 40).astype(np.int8)
    said = [np.full((len(x), n_weights), np.nan, np.float32) for _ in range(2)]
    for first, end in ((0, 5), (5, n_weights)):
        of_bytes(x, small, first, end, said[0])
        of_floats(x, small.astype(np.float32), first, end, said[1])
    assert np.array_equal(*said)
    np.testing.assert_allclose(said[0], x @ small.T.astype(np.float32), rtol=1e-5, atol=1e-3)  # sums of about 400


@pytest.mark.parametrize("width", [8, 31, 32, 40, 64, 80, 96, 128, 130, 192])
@pytest.mark.parametrize("n", [1, 7, 8, 100, 384, 400, 800])
def test_a_row_has_the_same_bits_whatever_stands_beside_it(width, n):
    """Of a head's keys and values, and of wider ones: one row is summed in another way than two, four or eight."""
    numbers = normal(n, width, seed=1)
    small = (numbers * 40).astype(np.int8)
    for values, over_values, over_keys in ((numbers, stream_floats, of_floats), (small, stream_bytes, of_bytes)):
        for x, run, sums in ((normal(8, n), over_values, width), (normal(8, width), over_keys, n)):
            found = []
            for n_rows in (8, 4, 2, 1):
                found.append(np.full((n_rows, sums), np.nan, np.float32))
                run(x[:n_rows], values, 0, n, found[-1])
                assert np.array_equal(found[0][:n_rows], found[-1])
            wide = values.astype(np.float64)
            exact = x @ (wide if run is over_values else wide.T)
            np.testing.assert_allclose(found[0], exact, rtol=1e-4, atol=2e-5 * np.abs(exact).max())


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="registers of x86_64")
def test_with_avx2_all_sums_stay_in_registers(tmp_path):
    """In a cold folder, as Numba shows no assembly of what it kept; nothing of it runs, so that any x86_64 will do."""
    loops = [line.split() for line in run_script(ASSEMBLY, NUMBA_CACHE_DIR=str(tmp_path), **HELD["avx2"]).splitlines()]
    assert {n_sums for n_sums, _ in loops} == {"8", "12"} and {in_memory for _, in_memory in loops} == {"0"}, loops
