"""memory.py: glibc is asked to keep memory; where there is no glibc, nothing happens."""

import ctypes
import types

import pytest

from nanogpt_np import memory


def test_what_glibc_is_asked(monkeypatch):
    asked = []
    libc = types.SimpleNamespace(mallopt=lambda name, value: asked.append((name, value)))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    memory.keep_freed_memory(4 << 20)
    memory.keep_freed_memory(1 << 30)
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
    first = [(mmap_threshold, 4 << 20), (trim_threshold, 16 << 20)]
    assert asked == [*first, (mmap_threshold, 1 << 30), (trim_threshold, 2**31 - 1)]  # an int's largest


@pytest.mark.parametrize("error", [OSError, TypeError])
def test_another_c_library(monkeypatch, error):
    def fail(name):
        raise error("no such library")

    monkeypatch.setattr(ctypes, "CDLL", fail)
    memory.keep_freed_memory(1)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: types.SimpleNamespace())
    memory.keep_freed_memory(1)
