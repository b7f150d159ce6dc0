"""How the C library treats the memory of large arrays while a model is trained, or compiled code generates.

Enter: nothing. Leave: nothing; the process keeps what it has once been given. Next room: files.py.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's names in malloc.h


def keep_freed_memory(n_bytes):
    """Let glibc keep the memory of freed arrays of up to `n_bytes` for the next ones; elsewhere nothing happens.

    By default it hands every large array back to the system, which clears its pages again for the next one: 4 to 10 %
    of a training step or of a long prompt.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, n_bytes)
    mallopt(_TRIM_THRESHOLD, min(4 * n_bytes, 2**31 - 1))
