"""memory.py: glibc is asked to keep memory; where there is no glibc, nothing happens; arrays that lie side by side."""

import ctypes
import threading
import types

import numpy as np
import pytest

from nanogpt_np import memory


def test_what_glibc_is_asked(monkeypatch):
    asked = []
    libc = types.SimpleNamespace(mallopt=lambda name, value: asked.append((name, value)) or 1)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    monkeypatch.setattr(memory, "_kept", 0)
    memory.keep_freed_memory(4 << 20)
    memory.keep_freed_memory(1 << 30)
    memory.keep_freed_memory(4 << 20)  # who opens a model while another is trained must not slow that one down
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
    first = [(mmap_threshold, 4 << 20), (trim_threshold, 16 << 20)]
    assert asked == [*first, (mmap_threshold, 1 << 30), (trim_threshold, 2**31 - 1)]  # an int's largest


def test_a_glibc_that_keeps_no_more_than_32_mib(monkeypatch):
    limits = {}

    def mallopt(name, value):
        if name == -3 and value > 32 << 20:  # as mallopt(3) says of M_MMAP_THRESHOLD
            return 0
        limits[name] = value
        return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda name: types.SimpleNamespace(mallopt=mallopt))
    monkeypatch.setattr(memory, "_kept", 0)
    memory.keep_freed_memory(64 << 20)
    assert limits == {-3: 32 << 20, -1: 256 << 20}


@pytest.mark.parametrize("error", [OSError, TypeError])
def test_another_c_library(monkeypatch, error):
    def fail(name):
        raise error("no such library")

    monkeypatch.setattr(ctypes, "CDLL", fail)
    monkeypatch.setattr(memory, "_kept", 0)
    memory.keep_freed_memory(1)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: types.SimpleNamespace())
    memory.keep_freed_memory(1)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.float64])
def test_arrays_in_large_pages_do_not_overlap(dtype):
    shapes = [(3, 5), (1,), (0, 4), (), (257, 1000), (2, 2, 2)]
    arrays = [memory.in_large_pages(shape, dtype) for shape in shapes]
    for i, (array, shape) in enumerate(zip(arrays, shapes, strict=True)):
        assert array.shape == shape and array.dtype == dtype and array.flags.c_contiguous and array.flags.writeable
        assert array.ctypes.data % 64 == 0
        array[...] = i
    assert all((array == i).all() for i, array in enumerate(arrays))


def test_an_array_larger_than_a_chunk(monkeypatch):
    monkeypatch.setattr(memory, "CHUNK", 1 << 16)
    large, small = memory.in_large_pages((1 << 17,), np.uint8), memory.in_large_pages((10,), np.uint8)
    large[:], small[:] = 1, 2
    assert (large == 1).all() and (small == 2).all()


def test_models_that_are_opened_at_once_do_not_share_memory():
    made = []

    def make(value):
        arrays = [memory.in_large_pages((1000,), np.int64) for _ in range(50)]
        for array in arrays:
            array[:] = value
        made.append((value, arrays))

    threads = [threading.Thread(target=make, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8 and all((array == value).all() for value, arrays in made for array in arrays)


def test_what_is_available_is_the_least_of_what_is_known(monkeypatch):
    for system, group, process, expected in ((9, 5, 7, 5), (9, None, 7, 7), (None, None, None, None), (3, -1, None, 0)):
        for name, n_bytes in (("_of_system", system), ("_of_group", group), ("_of_process", process)):
            monkeypatch.setattr(memory, name, lambda n_bytes=n_bytes: n_bytes)
        assert memory.available() == expected


def test_what_linux_says_of_its_memory(monkeypatch):
    said = {
        "/proc/meminfo": "MemTotal:  100 kB\nMemAvailable:   60 kB\nSwapFree:  5 kB\n",
        "/sys/fs/cgroup/memory.max": "8000\n",
        "/sys/fs/cgroup/memory.current": "3000\n",
    }
    monkeypatch.setattr(memory, "_read", lambda path: said.get(path, ""))
    assert (memory._of_system(), memory._of_group()) == (65 * 1024, 5000)
    said["/sys/fs/cgroup/memory.max"] = "max\n"
    assert memory._of_group() is None


def test_this_machine_has_some():
    n_bytes = memory.available()
    assert n_bytes is None or 10**6 < n_bytes < 10**16


def test_a_limit_of_this_process_counts(monkeypatch):
    """As `ulimit -v` sets it: all there is for whoever plans, and what is left of it for whoever asks now."""
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (50 << 20, resource.RLIM_INFINITY))
    monkeypatch.setattr(memory, "_read", lambda path: "1000 1 1" if path == "/proc/self/statm" else "")
    assert memory.total_bytes() == 50 << 20
    assert memory.available() == (50 << 20) - 1000 * resource.getpagesize()


def test_bytes_in_words():
    sizes = {0: "0.0 kB", 950: "0.9 kB", 81_920: "81 kB", 2_345_000: "2.3 MB", 999_999_999: "999 MB",
             1_000_000_000: "1.0 GB", 123_456_000_000_000: "123,456 GB"}  # fmt: skip
    assert {n_bytes: memory.in_words(n_bytes) for n_bytes in sizes} == sizes
