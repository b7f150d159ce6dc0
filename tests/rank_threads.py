"""Ranks without MPI: threads of one process that exchange arrays by hand, with the calls of mpi4py that are used.

Not a test file. It shares no code with MPI, so that what is written for ranks is tested where there is none, too.
"""

import threading

import numpy as np

from nanogpt_np.training.distributed_ranks import Ranks

LIMIT = 60.0  # seconds that a rank waits for the others


class Comm:
    """One rank's end of a communicator; `desk` is where all lay down what they send."""

    def __init__(self, rank, size, desk, barrier):
        self.rank, self.size, self.desk, self.barrier = rank, size, desk, barrier

    def exchange(self, mine):
        """What every rank laid down, in the order of the ranks; nobody goes on before all have looked."""
        self.desk[self.rank] = mine
        self.barrier.wait(LIMIT)
        found = list(self.desk)
        self.barrier.wait(LIMIT)
        return found

    def Bcast(self, data):
        first = self.exchange(bytes(data) if self.rank == 0 else None)[0]
        memoryview(data).cast("B")[:] = first

    def Scatter(self, send, receive):
        whole = self.exchange(None if send is None else bytes(send))[0]
        into = memoryview(receive).cast("B")
        into[:] = whole[self.rank * len(into) : (self.rank + 1) * len(into)]

    def Scatterv(self, send, receive):
        if send is not None:
            data, (counts, starts) = send
            one = memoryview(data).itemsize
            data = bytes(data)
            send = [data[one * at : one * (at + n)] for at, n in zip(starts, counts, strict=True)]
        memoryview(receive).cast("B")[:] = self.exchange(send)[0][self.rank]

    def Gather(self, send, receive):
        found = self.exchange(bytes(send))
        if self.rank == 0:
            memoryview(receive).cast("B")[:] = b"".join(found)

    def Gatherv(self, send, receive):
        found = self.exchange(bytes(send))
        if self.rank == 0:
            data, (counts, starts) = receive
            for part, at, n in zip(found, starts, counts, strict=True):
                assert len(part) == n
                data[at : at + n] = part

    def Allgather(self, send, receive):
        memoryview(receive).cast("B")[:] = b"".join(self.exchange(bytes(send)))

    def Alltoall(self, send, receive):
        found = self.exchange(np.array(send).reshape(self.size, -1))
        receive[:] = np.concatenate([of_rank[self.rank] for of_rank in found])


def together(size, work):
    """work(ranks) on each of `size` ranks at once -> what each returned, in order; the first error is raised."""
    desk, barrier = [None] * size, threading.Barrier(size)
    found, errors = [None] * size, []

    def one(rank):
        try:
            found[rank] = work(Ranks(Comm(rank, size, desk, barrier)))
        except threading.BrokenBarrierError:
            pass
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    workers = [threading.Thread(target=one, args=(rank,)) for rank in range(1, size)]
    for worker in workers:
        worker.start()
    one(0)
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    assert not barrier.broken, "a rank waits for one that is gone"
    return found
