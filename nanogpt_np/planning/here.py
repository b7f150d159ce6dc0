"""This machine, measured: how fast it reads memory and multiplies matrices, in about a second.

Enter: nothing. Leave: a Machine called "this". NumPy alone is asked, as ops.py asks it, so nothing is compiled.
Next: planning/options.py.
"""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .. import memory
from .machines import THIS, Machine

READ = 1 << 27  # bytes that one round reads, several times what a cache holds
SIDE = 1024  # of two square matrices; larger ones are hardly faster
LEAST_ROUNDS, MOST_ROUNDS, PATIENCE = 3, 20, 1.0  # no further round after so many seconds
UNKNOWN_MEMORY = 4 * 10**9  # where the system says nothing


def measure_here(n_threads=None, clock=time.perf_counter):
    """Read memory and multiply in rounds that take turns -> Machine; the best round counts, as others may be busy.

    `n_threads`: how many read at once, None: as many as this process may use CPUs. BLAS has threads of its own.
    `clock`: with one thread of either kind, time.process_time leaves out what others take of this machine.
    """
    from ..bench.workers import cpu_name, cpus_allowed

    n_threads = n_threads or cpus_allowed()
    parts = [np.ones(READ // 4 // n_threads, np.float32) for _ in range(n_threads)]
    a, b = (np.full((SIDE, SIDE), value, np.float32) for value in (0.5, 2.0))
    began, rates, speeds = time.perf_counter(), [], []
    with ThreadPoolExecutor(n_threads) as pool:
        while len(rates) < MOST_ROUNDS and (len(rates) < LEAST_ROUNDS or time.perf_counter() - began < PATIENCE):
            rates.append(sum(part.nbytes for part in parts) / _timed(lambda: list(pool.map(np.max, parts)), clock))
            speeds.append(2 * SIDE**3 / _timed(lambda: a @ b, clock))
    speed, how = round(max(speeds)), f"measured just now: the best of {len(rates)} rounds, NumPy's max and product"
    title = f"{cpu_name()}, {n_threads} CPUs"
    return Machine(THIS, title, memory.total_bytes() or UNKNOWN_MEMORY, round(max(rates)), speed, speed, None, 1, how)


def _timed(work, clock):
    began = clock()
    work()
    return max(clock() - began, 1e-9)
