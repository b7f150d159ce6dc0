"""One vector instead of many arrays, and its sum over all ranks, of which each rank keeps a share.

Enter: named arrays of one dtype; on each rank its own gradients, side by side in a Flat. Leave: on each rank its share
of their sum, added in the order of the ranks, so that the same bits come of it whenever it is done; later, the shares
of all ranks side by side again. Both together cost what an Allreduce costs (Rabenseifner 2004, section 3): each rank
sends and gets (n - 1) / n of the vector twice. Next: training/distributed_optim.py.
"""

import math

import numpy as np

BUCKET_BYTES = 8 << 20  # that are exchanged at once: docs/scaling.md, "By message size"


class Flat:
    """Named arrays side by side in one vector, in pieces that are exchanged at once, of which each rank owns a part.

    A rank's share is its part of every piece, so that no copy is needed to send one; `places`: {name: (start, shape)}.
    """

    def __init__(self, shapes, ranks, dtype=np.float32, bucket_bytes=BUCKET_BYTES):
        self.ranks, self.dtype, self.places, total = ranks, np.dtype(dtype), {}, 0
        for name, shape in shapes.items():
            self.places[name] = total, tuple(shape)
            total += math.prod(shape)
        n = ranks.size
        part = max(bucket_bytes // self.dtype.itemsize // n, 1)
        last = -(-(total % (part * n)) // n)
        self.parts = [part] * (total // (part * n)) + [last] * (last > 0)  # of each piece, as long for every rank
        self.n_numbers, self.n_padded, self.n_owned = total, n * sum(self.parts), sum(self.parts)

    def zeros(self):
        """A vector of this layout; what stands behind the last array, up to `size` - 1 numbers, stays 0."""
        return np.zeros(self.n_padded, self.dtype)

    def view(self, vector, name):
        """An array as it lies in a vector: what is written to it is written there."""
        start, shape = self.places[name]
        return vector[start : start + math.prod(shape)].reshape(shape)

    def views(self, vector):
        """{name: array} of all arrays in a vector."""
        return {name: self.view(vector, name) for name in self.places}

    def pieces(self):
        """(where a piece begins in the vector, where each rank's part begins in its share, how long a part is)."""
        owned = 0
        for part in self.parts:
            yield owned * self.ranks.size, owned, part
            owned += part

    def segments(self):
        """(name, slice of the vector, slice of the share) of what this rank owns, array by array and piece by piece."""
        names = iter([*self.places.items(), ("", (self.n_padded, ()))])
        name, (start, shape) = next(names)
        for piece, owned, part in self.pieces():
            begin, end = (piece + self.ranks.rank * part + i for i in (0, part))
            at = begin
            while at < min(end, self.n_numbers):
                while at >= start + math.prod(shape):
                    name, (start, shape) = next(names)
                stop = min(end, start + math.prod(shape), self.n_numbers)
                yield name, slice(at, stop), slice(owned + at - begin, owned + stop - begin)
                at = stop


def add_shares(flat, vector, share, n_added, is_begun):
    """Add to this rank's share what the first `n_added` ranks have in their vectors, one rank after the other.

    Sums of float32 depend on their order: MPI may choose any for a reduction, so parts are exchanged and added here.
    With `is_begun` false the share is overwritten: so n ranks with one batch each add up as one process with n of them.
    """
    received = np.empty(flat.ranks.size * max(flat.parts), flat.dtype)
    for start, owned, part in flat.pieces():
        n = flat.ranks.size * part
        flat.ranks.comm.Alltoall(vector[start : start + n], received[:n])
        into = share[owned : owned + part]
        for rank, of_rank in enumerate(received[:n].reshape(-1, part)[:n_added]):
            if rank or is_begun:
                into += of_rank
            else:
                into[...] = of_rank


def spread_shares(flat, vector):
    """Fill each rank's vector from the parts that the ranks own of it."""
    for start, _, part in flat.pieces():
        whole = vector[start : start + flat.ranks.size * part]
        flat.ranks.comm.Allgather(whole.reshape(-1, part)[flat.ranks.rank].copy(), whole)


def collect_shares(flat, share):
    """The shares of all ranks as one vector on the first, None on the others."""
    vector = flat.zeros() if flat.ranks.is_first else None
    for start, owned, part in flat.pieces():
        into = vector[start : start + flat.ranks.size * part] if flat.ranks.is_first else None
        flat.ranks.comm.Gather(share[owned : owned + part], into)
    return vector


def hand_out_shares(flat, vector, share):
    """Of the first rank's vector to each rank's share what it owns; `vector` is None on the others."""
    for start, owned, part in flat.pieces():
        whole = vector[start : start + flat.ranks.size * part] if flat.ranks.is_first else None
        flat.ranks.comm.Scatter(whole, share[owned : owned + part])


def copy_to_all(flat, vector):
    """The first rank's vector into those of all others."""
    for start, _, part in flat.pieces():
        flat.ranks.comm.Bcast(vector[start : start + flat.ranks.size * part])
