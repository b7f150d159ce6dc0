"""How a kernel comes to run: compiled for one signature when first needed, kept on disk, one at a time.

Enter: a Python function and the types it is for. Leave: a callable. The first compilation ever takes seconds and says
so; `compile_all` does it ahead. Next room: kernel_math.py.
"""

import functools
import os
import sys
import threading

import llvmlite.binding as llvm
import numba
from numba import config, njit

# everything that "fast" allows except "there are no infinities and no NaN": masks are made of infinities
FAST = {"nsz", "arcp", "contract", "afn", "reassoc"}
PATIENCE = 1.0  # seconds of silence before a compilation is explained
SPINS = "10000"

_kernels = []
_busy = threading.RLock()  # Numba's simplest pool of threads ends the process where two calls meet


class Kernel:
    """A compiled function of one signature; arrays of any layout are accepted where the signature says `[:, :]`."""

    def __init__(self, function, signature, parallel):
        self.signature = signature
        self.dispatcher = njit(parallel=parallel, fastmath=FAST, error_model="numpy", cache=True)(function)
        self.is_ready = bool(config.DISABLE_JIT)
        _kernels.append(self)

    def __call__(self, *args):
        with _busy:
            if not self.is_ready:
                self.compile()
            return self.dispatcher(*args)

    def compile(self):
        """Compile, or load what was compiled before."""
        start_threads()
        with _Explained():
            self.dispatcher.compile(self.signature)
        self.dispatcher.disable_compile()  # else a contiguous array would be compiled for once more
        self.is_ready = True


class _Explained:
    """Says on stderr what takes so long, once it does, and only once per process."""

    told = False

    def __enter__(self):
        self.timer = threading.Timer(PATIENCE, self._tell)
        self.timer.daemon = True
        self.timer.start()

    def _tell(self):
        if not _Explained.told:
            _Explained.told = True
            print("compiling kernels for this CPU, once; `nanogpt-np warmup` does it ahead …", file=sys.stderr)

    def __exit__(self, *exception):
        self.timer.cancel()


def kernel(signature, parallel=True):
    """Turn a function into a Kernel: @kernel(void(read(float32[::1]), float32[::1]))."""
    return lambda function: Kernel(function, signature, parallel)


def read(array_type):
    """The type of an array that is only read: one that must not be written to is as good as another."""
    return array_type.copy(readonly=True)


def inner(function):
    """A function that only kernels call."""
    return njit(fastmath=FAST, error_model="numpy")(function)


def compile_all(progress=iter):
    """Compile every kernel that has been defined; `progress` wraps the list, as tqdm does -> how many."""
    for one in progress(list(_kernels)):
        if not one.is_ready:
            one.compile()
    return len(_kernels)


def cpu_has(feature):
    """Whether the CPU that is compiled for has a feature, by LLVM's name for it; NUMBA_CPU_FEATURES may say."""
    if config.CPU_FEATURES is not None:
        return f"+{feature}" in config.CPU_FEATURES.split(",")
    return bool(llvm.get_host_cpu_features().get(feature))


def n_threads():
    """How many threads share the work of a kernel."""
    start_threads()
    return numba.get_num_threads()


@functools.cache
def start_threads():
    """Start the pool, whose threads then look out for work for 0.2 ms before they sleep, not for 6 as by default.

    Longer is no faster here, and where another program wants a core too, each product would wait for its turn to end.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read when Numba loads GNU OpenMP, which is now
    numba.get_num_threads()
