"""Several processes of one job, which a launcher (mpiexec, srun) started: who is which, and how they talk.

Enter: what the launcher says in the environment, before anything else is loaded; later, values and bytes of a rank.
Leave: how many threads each may have; the Ranks of the job, by MPI (Message Passing Interface Forum 2021, chapters 5
and 6). Without a launcher nothing here loads mpi4py. What fails on one rank ends all.
Next: training/distributed_sums.py.
"""

import itertools
import json
import os
import platform
import sys
import time

from ..errors import InputError

# what launchers set: ranks in all, this one's number, ranks on its machine (Open MPI, MVAPICH, MPICH and Intel MPI)
LAUNCHERS = (
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_LOCAL_SIZE"),
    ("PMI_SIZE", "PMI_RANK", "MPI_LOCALNRANKS"),
)
SLURM = ("SLURM_STEP_NUM_TASKS", "PMIX_RANK", "SLURM_STEP_TASKS_PER_NODE")  # counts where srun --mpi=pmix set PMIX_RANK
THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
INSTALL = 'pip install "nanogpt-np[mpi]"'
PATIENCE = 2.0  # seconds that other ranks leave the first one to say the same error, so that it is said once


def _said(environment):
    """(ranks in all, this rank's number, ranks on this machine) as the environment says, (1, 0, 1) without a launcher.

    _said({"PMI_SIZE": "4", "PMI_RANK": "2"}) -> (4, 2, 4)
    """
    for size, rank, here in LAUNCHERS if "PMIX_RANK" not in environment else (*LAUNCHERS, SLURM):
        numbers = [environment.get(name, "").split("(")[0].split(",")[0] for name in (size, rank, here)]
        if numbers[0].isdigit() and numbers[1].isdigit():
            n, number = int(numbers[0]), int(numbers[1])
            return n, number, int(numbers[2]) if numbers[2].isdigit() else n
    return 1, 0, 1


def n_launched():
    """How many processes a launcher started for this job; 1 where there is none."""
    return _said(os.environ)[0]


def number():
    """This process's number among them, from 0."""
    return _said(os.environ)[1]


def is_first():
    """Is this the rank that speaks and writes? Always, where there is one process."""
    return number() == 0


def share_cores():
    """Tell BLAS and Numba, before they are loaded, how many threads this rank may have: cores / ranks, at least one.

    Who has set one of THREADS is obeyed. Open MPI may bind a rank to some cores; those of its launcher count then.
    """
    n_ranks, _, n_here = _said(os.environ)
    if n_ranks == 1:
        return
    threads = threads_each(_cores(os.getppid()), _cores(0), n_here)
    for name in THREADS:
        os.environ.setdefault(name, str(threads))


def threads_each(n_of_launcher, n_own, n_here):
    """threads_each(8, 8, 4) -> 2; threads_each(8, 1, 4) -> 1, as it is bound to one; threads_each(2, 2, 4) -> 1"""
    return max(min(n_own, n_of_launcher // n_here), 1)


def _cores(process):
    try:
        return len(os.sched_getaffinity(process))
    except (AttributeError, OSError):  # not Linux, or not ours to ask
        return os.cpu_count() or 1


def join():
    """The Ranks of this job; InputError where mpi4py, or the MPI that the launcher belongs to, is missing."""
    n_ranks = n_launched()
    try:
        import mpi4py

        mpi4py.rc.thread_level = "funneled"  # one thread talks; cheaper than letting any
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        expected = f"expected mpi4py and an MPI library, as a launcher started {n_ranks} processes"
        raise InputError(f"train, eval, generate: {expected}, found none ({error}); {INSTALL}") from error
    if MPI.COMM_WORLD.size != n_ranks:
        raise InputError(
            f"mpiexec: expected one job of {n_ranks} ranks, got {MPI.COMM_WORLD.size}: it belongs to another MPI than "
            f"mpi4py does; use the mpiexec that was installed beside mpi4py"
        )
    return Ranks(MPI.COMM_WORLD)


def end_all(status):
    """End every rank of this job with an exit status, where there are several that were joined."""
    MPI = sys.modules.get("mpi4py.MPI")
    if MPI is not None and MPI.Is_initialized() and not MPI.Is_finalized() and MPI.COMM_WORLD.size > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        MPI.COMM_WORLD.Abort(status)


def leave_to_first():
    """Wait a little, where this is another rank than the first, which probably says the same and then ends all."""
    if not is_first():
        time.sleep(PATIENCE)


class Ranks:
    """The processes of one job: `size` of them, this one's number `rank`; the first one, 0, speaks and writes.

    All of them call the same methods in the same order. Values are what JSON can hold, so floats come back bit for bit.
    """

    def __init__(self, comm):
        self.comm, self.rank, self.size = comm, comm.rank, comm.size

    @property
    def is_first(self):
        """Is this the rank that speaks and writes?"""
        return self.rank == 0

    @property
    def n_here(self):
        """How many ranks share this machine."""
        return min(_said(os.environ)[2], self.size)

    @property
    def machine(self):
        """The name of this rank's machine."""
        return platform.node()

    def share(self, value=None):
        """The first rank's value -> the same on all."""
        data = json.dumps(value).encode() if self.is_first else b""
        length = bytearray(len(data).to_bytes(8, "little"))
        self.comm.Bcast(length)
        data = bytearray(data) if self.is_first else bytearray(int.from_bytes(length, "little"))
        self.comm.Bcast(data)
        return json.loads(data)

    def deal(self, values=None):
        """Of the first rank's values, one for each rank -> this rank's own."""
        parts = [json.dumps(value).encode() for value in values] if self.is_first else None
        length = bytearray(8)
        lengths = bytearray().join(len(part).to_bytes(8, "little") for part in parts) if self.is_first else None
        self.comm.Scatter(lengths, length)
        data = bytearray(int.from_bytes(length, "little"))
        if self.is_first:
            counts = [len(part) for part in parts]
            starts = [0, *itertools.accumulate(counts)][:-1]
            self.comm.Scatterv([bytearray().join(parts), (counts, starts)], data)
        else:
            self.comm.Scatterv(None, data)
        return json.loads(data)

    def gather(self, value):
        """A value of each rank -> on the first one a list of all in their order, None on others."""
        data = json.dumps(value).encode()
        lengths = bytearray(8 * self.size) if self.is_first else None
        self.comm.Gather(bytearray(len(data).to_bytes(8, "little")), lengths)
        if not self.is_first:
            self.comm.Gatherv(data, None)
            return None
        counts = [int.from_bytes(lengths[8 * i : 8 * i + 8], "little") for i in range(self.size)]
        starts = [0, *itertools.accumulate(counts)]
        found = bytearray(starts[-1])
        self.comm.Gatherv(data, [found, (counts, starts[:-1])])
        return [json.loads(found[start:end]) for start, end in itertools.pairwise(starts)]

    def map(self, function, items):
        """On the first rank: yield function(item) of each in order, one rank after the other taking the next.

        Meanwhile the others serve(function). An item, and what comes of it, is what JSON can hold, or a NumPy array.
        """
        items = iter(items)
        while some := list(itertools.islice(items, self.size)):
            some = [item.tolist() if hasattr(item, "tolist") else item for item in some]
            mine = self.deal([[item] for item in some] + [[]] * (self.size - len(some)))
            for found in self.gather([function(item) for item in mine]):
                yield from found
        self.deal([None] * self.size)

    def serve(self, function):
        """On the other ranks: do what the first one's map hands out, until it has no more."""
        while (mine := self.deal()) is not None:
            self.gather([function(item) for item in mine])
