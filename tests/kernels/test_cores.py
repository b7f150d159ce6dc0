"""kernels/cores.py and kernels/calls.py: every part once, whatever the pool; one function for several kernels."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from small import own_kernel, run_script

numba = pytest.importorskip("numba")
from numba import float32, int64, intp, void  # noqa: E402

from nanogpt_np.kernels import compile as kernel_compile  # noqa: E402
from nanogpt_np.kernels.calls import Shared, shared  # noqa: E402
from nanogpt_np.kernels.compile import inner, n_threads, shared_functions  # noqa: E402
from nanogpt_np.kernels.cores import spread  # noqa: E402

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="kernels are compiled here")


@inner
def _count(part, seen, add):
    seen[part] += add


def _count_kernel(n, seen):
    spread(n, _count, (seen, 3))


counted = own_kernel(void(intp, int64[::1]), _count_kernel)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 1000])
def test_each_part_is_done_once(n):
    seen = np.zeros(n + 5, np.int64)
    counted(n, seen)
    assert (seen[:n] == 3).all() and not seen[n:].any()


OTHER_POOL = """
import numpy as np, numba, sys
sys.path.insert(0, FOLDER)
from test_cores import counted
seen = np.zeros(13, np.int64)
counted(13, seen)
print(numba.threading_layer(), numba.get_num_threads(), set(seen.tolist()))
"""


@pytest.mark.parametrize("layer, n", [("workqueue", 3), ("omp", 5), ("omp", 1)])
def test_other_pools_and_numbers_of_threads(layer, n):
    """Numba's simplest pool hands out several chunks at a time, GNU OpenMP one."""
    if layer == "omp" and n_threads() > 1 and numba.threading_layer() != "omp":
        pytest.skip("there is no OpenMP here")
    script = OTHER_POOL.replace("FOLDER", repr(str(Path(__file__).parent)))
    said = run_script(script, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS=str(n))
    assert said.split() == [layer, str(n), "{3}"]


@inner
def _too_much(part, sizes, out):
    out[part] = np.empty(sizes[part], np.float32).size


def _too_much_kernel(sizes, out):
    spread(len(sizes), _too_much, (sizes, out))


def test_no_memory_for_a_part_is_an_error():
    """Not silence, which would leave a result unwritten; the other parts are done."""
    run = own_kernel(void(int64[::1], int64[::1]), _too_much_kernel)
    out = np.zeros(3, np.int64)
    run(np.array([1, 2, 3]), out)
    assert out.tolist() == [1, 2, 3]
    with pytest.raises(MemoryError, match="no memory for a part"):
        run(np.array([4, 1 << 45, 6]), out)
    assert out.tolist()[0] == 4 and out.tolist()[2] in (3, 6)


def _scale(x, factor):
    for i in range(len(x)):
        x[i] *= factor


scale = shared(void(float32[:], float32))(_scale)
kernel_compile._kernels.remove(shared_functions[id(scale)])


@inner
def _half_of(part, x):
    scale(x[part::2], np.float32(part + 2))


def _halves_kernel(x):
    spread(2, _half_of, (x,))


def _sized_kernel(x):
    scale(x, np.float32(len(x)))


def test_two_kernels_call_one_function_which_is_compiled_once():
    one = shared_functions[id(scale)]
    assert isinstance(one, Shared)
    x = np.ones(5, np.float32)
    for function in (_halves_kernel, _sized_kernel):
        run = own_kernel(void(float32[::1]), function)
        assert run.needed == [one]
        run(x)
    assert x.tolist() == [10, 15, 10, 15, 10]
    assert len(one.dispatcher.overloads) == 1 and one.dispatcher.stats.cache_misses.total() <= 1


def test_threads_that_come_at_once_wait_for_one_compilation():
    run = own_kernel(void(intp, int64[::1]), _count_kernel)
    seen = [np.zeros(9, np.int64) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda each: run(9, each), seen))
    assert all((each == 3).all() for each in seen)
