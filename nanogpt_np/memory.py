"""How memory is asked for where it decides the speed, and how much of it there is.

Enter: shapes, or how much to keep. Leave: arrays in large pages; memory that is not handed back too early; a number of
bytes. Next: kernels/compile.py.
"""

import ctypes
import math
import os
import re
import sys
import threading
from pathlib import Path

import numpy as np

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's names in malloc.h
_SURE = 32 << 20  # bytes that every glibc agrees to keep; some refuse more (mallopt(3))
_LARGE_PAGE, _LINE = 2 << 20, 64
CHUNK = 64 << 20  # memory of which nothing is taken before something is put there

# where Linux says how much a container may have, in its second way and in its first
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")

_turn = threading.Lock()
_left = np.empty(0, np.uint8)
_kept = 0  # bytes, as glibc was asked last


def total_bytes():
    """The memory of this machine, or what the container or `ulimit -v` lets one have; None where nobody says."""
    try:
        page, n_pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    limits = [page * n_pages] if page > 0 and n_pages > 0 else []
    limits += [limit for limit in [_limit_of_process()] if limit is not None]
    for path in _LIMITS:
        try:
            limits.append(int(Path(path).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return min(limits, default=None)


def keep_freed_memory(n_bytes):
    """Let glibc keep the memory of freed arrays of up to `n_bytes` for the next ones; who asked for more keeps more.

    By default it hands every large array back to the system, which clears its pages again for the next one: 4 to 10 %
    of a training step or of a long prompt. What is free at the end of its memory it keeps up to four times as much.
    Where there is no glibc, nothing happens.
    """
    global _kept
    if n_bytes <= _kept:
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    if not mallopt(_MMAP_THRESHOLD, n_bytes):
        mallopt(_MMAP_THRESHOLD, min(n_bytes, _SURE))
    mallopt(_TRIM_THRESHOLD, min(4 * n_bytes, 2**31 - 1))
    _kept = n_bytes


def in_large_pages(shape, dtype):
    """np.empty for what will be read again and again: side by side, in pages of 2 MiB where the system has them.

    The CPU looks up an address per page, and fetches ahead within one only: in pages of 4 KiB, those of a mapped file,
    the weights of a token take 7 to 12 % longer to read. The memory is free again once all arrays of a CHUNK are gone.
    """
    global _left
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    taken = -(-n_bytes // _LINE) * _LINE
    with _turn:
        if taken > _left.size:
            _left = _large_pages(max(taken, CHUNK))
        array, _left = _left[:n_bytes], _left[taken:]
    return array.view(dtype).reshape(shape)


def _large_pages(n_bytes):
    whole = np.empty(n_bytes + _LARGE_PAGE, np.uint8)  # for which NumPy asks for large pages by itself
    return whole[-whole.ctypes.data % _LARGE_PAGE :][:n_bytes]


def available():
    """How many bytes this process can still get, as far as its system says; None where it says nothing (Windows).

    The least of: what the system could hand out (with swap), what its group of processes may have (cgroup v2, as in
    a container), what `ulimit -v` leaves.
    """
    known = [n for n in (_of_system(), _of_group(), _of_process()) if n is not None]
    return max(min(known), 0) if known else None


def most_used():
    """The most memory in bytes that this process has held at once, shared libraries included; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def _of_system():
    free = dict(re.findall(r"(\w+):\s+(\d+) kB", _read("/proc/meminfo")))
    if "MemAvailable" in free:
        return (int(free["MemAvailable"]) + int(free.get("SwapFree", 0))) * 1024
    return total_bytes()  # macOS: all there is, the best guess


def _of_group():
    limit, used = (_read(f"/sys/fs/cgroup/memory.{name}").strip() for name in ("max", "current"))
    return int(limit) - int(used) if limit.isdigit() and used.isdigit() else None


def _of_process():
    limit, used = _limit_of_process(), _read("/proc/self/statm").split()
    return limit - int(used[0]) * os.sysconf("SC_PAGE_SIZE") if limit is not None and used else None


def _limit_of_process():
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def in_words(n_bytes):
    """in_words(2_345_000_000) -> "2.3 GB"; in_words(81_920) -> "81 kB"; whole from 10 on, cut."""
    unit, one = next(row for row in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if n_bytes >= row[1] or row[0] == "kB")
    size = n_bytes / one
    return f"{size:.1f} {unit}" if size < 10 else f"{int(size):,} {unit}"


def _read(path):
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
