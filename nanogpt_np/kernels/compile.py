"""How a kernel comes to run: compiled for one signature when first needed, kept on disk, one at a time.

Enter: a Python function and the types it is for. Leave: a callable. The first compilation ever takes seconds and says
so; `compile_all` does it ahead. What was kept counts until a file of WINGS changes, as kernels call functions of other
files. Next: kernels/cores.py.
"""

import ctypes
import functools
import os
import sys
import threading
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import llvmlite.binding as llvm
import numba
from numba import config, njit
from numba.core.codegen import CPUCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher

from ..errors import InputError
from ..memory import keep_freed_memory

UNWRAPPED = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
# everything that "fast" allows except "there are no infinities and no NaN": masks are made of infinities
FAST = {"nsz", "arcp", "contract", "afn", "reassoc"}
PATIENCE = 1.0  # seconds of silence before a compilation is explained
SPINS = "10000"
WINGS = ("kernels", "quantized")  # the folders with functions that kernels of other files call
KEPT_BYTES = 64 << 20  # of a freed array: what a piece of a prompt needs in every block, and a cache's keys
_MADV_PAGEOUT = 21  # Linux 5.4; unlike MADV_DONTNEED it can lose nothing

shared_functions = {}  # by the id of what compiled code calls: a Kernel whose address must be known first
_kernels = []
_forked = threading.Event()
busy = threading.RLock()  # Numba's simplest pool of threads ends the process where two calls meet


class Kernel:
    """A compiled function of one signature; arrays of any layout are accepted where the signature says `[:, :]`."""

    wrappers = {"no_cfunc_wrapper": True}  # what C would call it by

    def __init__(self, function, signature, parallel, early):
        self.function, self.signature, self.parallel, self.early = function, signature, parallel, early
        self.turn = busy if parallel else nullcontext()
        try:
            self.dispatcher = self._dispatcher(cache=True)
        except RuntimeError:  # no folder that Numba could keep it in; compiling anew each time still works
            self.dispatcher = self._dispatcher(cache=False)
        self.is_ready = bool(config.DISABLE_JIT)
        _kernels.append(self)

    def __call__(self, *args):
        if not self.is_ready:
            self.compile()
        with self.turn:
            return self.dispatcher(*args)

    def compile(self):
        """Compile, or load what was compiled before, once; InputError in a process that can run no kernel."""
        if self.parallel and _forked.is_set():
            raise InputError(
                "kernels: expected a process of their own, got one that fork made of one where they had run; "
                "use multiprocessing.get_context('spawn'), or ops='numpy'"
            )
        start_threads()
        with busy, _Explained():
            if self.is_ready:  # another kernel needed it, or another thread was here
                return
            for one in self.needed:
                one.compile()
            with _as_one(self.function.__qualname__):
                try:
                    self.dispatcher.compile(self.signature)
                except OSError:  # a full disk, or a folder that has become read-only
                    self.dispatcher = self._dispatcher(cache=False)
                    self.dispatcher.compile(self.signature)
            self.dispatcher.disable_compile()  # else a contiguous array would be compiled for once more
            self.announce()
            self.is_ready = True

    def announce(self):
        """Tell other compiled code where this one lies, if it may be called from there."""

    @property
    def wing(self):
        """The folder of the package that it is defined in."""
        return self.function.__module__.split(".")[-2]

    def is_kept(self):
        """Was it compiled before, and kept on disk, with all that it needs?"""
        index = _index(self.dispatcher)
        return index is not None and bool(index._load_index()) and all(one.is_kept() for one in self.needed)

    @functools.cached_property
    def needed(self):
        """The shared functions that it calls: they come first, as it is loaded with their addresses."""
        return list(_shared_by(self.function, set()))

    def _dispatcher(self, cache):
        made = njit(fastmath=FAST, error_model="numpy", nogil=True, cache=cache, **self.wrappers)(self.function)
        index = _index(made)
        if index is not None:
            index._source_stamp = (index._source_stamp, _sources())
        return made


def _shared_by(function, met):
    """The shared functions that a function calls, or that are called by those; `met`: ids of what was looked at."""
    for name in function.__code__.co_names:
        called = function.__globals__.get(name)
        if id(called) in shared_functions and id(called) not in met:
            yield shared_functions[id(called)]
        elif hasattr(called, "py_func") and id(called) not in met:
            yield from _shared_by(called.py_func, met)
        met.add(id(called))


def _index(dispatcher):
    """Numba's list of what is kept of a function (its name for it is private), or None where nothing is kept."""
    return getattr(dispatcher._cache, "_cache_file", None) if not config.DISABLE_JIT else None


@functools.cache
def _sources():
    """The files of WINGS as they are on disk; Numba by itself would look at a kernel's own file alone."""
    package = Path(__file__).parent.parent
    paths = [path for wing in WINGS for path in sorted((package / wing).glob("*.py"))]
    found = [(f"{path.parent.name}/{path.name}", path.stat()) for path in paths]
    return tuple((name, status.st_size, status.st_mtime_ns) for name, status in found)


@contextmanager
def _as_one(name):
    """While the kernel of this name is compiled: what it calls becomes a part of it, and nothing by itself.

    Numba optimizes inner functions and makes machine code of them, and once more of what kernels have of them: a fifth
    of the time. And of functions with one name LLVM takes what it has loaded first, so that a process that compiles
    would have other ones than those that load what was kept: other bits.
    """
    # Numba has no public place between linking, optimizing and making machine code
    optimize, finish = CPUCodeLibrary._optimize_final_module, CPUCodeLibrary._finalize_final_module

    def optimize_whole(library):
        if library.name == name:
            for function in _defined(library):
                is_numbas = "NRT_" in function.name  # its passes know these by their names
                if function.linkage == llvm.Linkage.linkonce_odr and not is_numbas:
                    function.linkage = llvm.Linkage.internal
            optimize(library)

    def finish_whole(library):
        parts = [] if library.name == name else _defined(library)
        before = [function.linkage for function in parts]
        for function in parts:
            function.linkage = llvm.Linkage.available_externally  # there is no need for its machine code
        finish(library)
        for function, linkage in zip(parts, before, strict=True):
            function.linkage = linkage

    with global_compiler_lock:  # what other threads compile is no part of it
        CPUCodeLibrary._optimize_final_module = optimize_whole
        CPUCodeLibrary._finalize_final_module = finish_whole
        try:
            yield
        finally:
            CPUCodeLibrary._optimize_final_module = optimize
            CPUCodeLibrary._finalize_final_module = finish


def _defined(library):
    """The functions of a library, without those that it only knows by name."""
    return [function for function in library._final_module.functions if not function.is_declaration]


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


def kernel(signature, parallel=True, early=True):
    """Turn a function into a Kernel: @kernel(void(read(float32[::1]), float32[::1])).

    `parallel`: it spreads its work over the cores. `early`: generating needs it; load_kept() leaves the others for
    their first call.
    """
    return lambda function: Kernel(function, signature, parallel, early)


def read(array_type):
    """The type of an array that is only read: one that must not be written to is as good as another."""
    return array_type.copy(readonly=True)


class Inner(CPUDispatcher):
    """A function that only kernels call; what Python would call it by took a third of the time to compile it."""

    @functools.cached_property
    def for_python(self):
        """The same compiled once more, for who tries it out: without that, a call would end the process."""
        return njit(fastmath=self.targetoptions["fastmath"], error_model="numpy")(self.py_func)

    def __call__(self, *args):
        return self.for_python(*args)


def inner(function, fastmath=FAST):
    """Turn a function into one that only kernels call."""
    if config.DISABLE_JIT:
        return function
    options = {"fastmath": fastmath, "error_model": "numpy", "nopython": True, **UNWRAPPED}
    return Inner(py_func=function, targetoptions=options)


def exact(function):
    """The same with the bits of ops.py, wherever in an array a number lies: nothing is fused or put in another order.

    For what waits for memory anyway.
    """
    return inner(function, fastmath=False)


def compile_all(progress=iter):
    """Compile every kernel that has been defined; `progress` wraps the list, as tqdm does -> how many."""
    for one in progress(list(_kernels)):
        if not one.is_ready:
            one.compile()
    return len(_kernels)


def load_kept(wing):
    """Load a wing's kernels that were compiled before: the first token need not wait, nor will LLVM be needed.

    Those that only training calls wait for their first call, and so do those of the other wing: few models need them.
    """
    ours = [one for one in _kernels if one.early and one.wing == wing]
    waiting = [one for one in ours if not one.is_ready and one.is_kept()]
    for one in waiting:
        one.compile()
    if waiting:
        _page_out("libllvmlite")


def _page_out(library):
    """Let Linux take back the memory that holds a library; what is used again is read from its file again.

    Of LLVM's 70 MiB nothing is used once the kernels are there. Elsewhere, or if Linux declines, nothing happens.
    """
    with suppress(AttributeError, OSError, TypeError, ValueError):
        madvise = ctypes.CDLL(None).madvise
        with open("/proc/self/maps", encoding="utf-8") as lines:
            ranges = [line.split()[0].split("-") for line in lines if library in line]
        for first, end in ranges:
            start, size = int(first, 16), int(end, 16) - int(first, 16)
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), _MADV_PAGEOUT)


def all_kept():
    """Were all kernels that have been defined compiled before, so that none will be a wait?"""
    return all(one.is_ready or one.is_kept() for one in _kernels)


def where():
    """Words for the folder that keeps what was compiled."""
    folder = next((one.dispatcher.stats.cache_path for one in _kernels if not config.DISABLE_JIT), None)
    return f"kept in {folder}" if folder else "not kept: no folder can be written to, set NUMBA_CACHE_DIR to one"


def cpu_has(feature):
    """Whether the CPU that is compiled for has a feature, by LLVM's name for it; NUMBA_CPU_FEATURES may say."""
    if config.CPU_FEATURES is not None:
        return f"+{feature}" in config.CPU_FEATURES.split(",")
    return bool(llvm.get_host_cpu_features().get(feature))


def is_amd():
    """Whether the CPU that is compiled for is one of AMD's, by LLVM's name for it; NUMBA_CPU_NAME may say."""
    return (config.CPU_NAME or llvm.get_host_cpu_name()).startswith(("znver", "bdver", "btver"))


def n_threads():
    """How many threads share the work of a kernel."""
    start_threads()
    return numba.get_num_threads()


@functools.cache
def start_threads():
    """Start the pool, whose threads then look out for work for 0.2 ms before they sleep, not for 6 as by default.

    Longer is no faster here, and where another program wants a core too, each product would wait for its turn to end.
    """
    keep_freed_memory(KEPT_BYTES)
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read when Numba loads GNU OpenMP, which is now
    numba.get_num_threads()
    if hasattr(os, "register_at_fork") and numba.threading_layer() == "omp":
        os.register_at_fork(after_in_child=_stop_in_child)


def _stop_in_child():
    """GNU OpenMP's threads do not survive a fork, and ask for them ends the process: let compile() say so instead."""
    _forked.set()
    for one in _kernels:
        one.is_ready = one.is_ready and not one.parallel
