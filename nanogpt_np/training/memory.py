"""How the C library treats the memory of large arrays while a model is trained.

Enter: nothing. Leave: nothing; the process keeps what it has once been given. Next room: backward.py.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # glibc's names in malloc.h


def keep_freed_memory():
    """Let glibc keep the memory of freed arrays for the next ones; elsewhere nothing happens.

    By default it hands every large array back to the system, which clears its pages again for the next step: 4 to 10 %
    of a training step. The peak stays the same, as each step needs what the last one did.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
