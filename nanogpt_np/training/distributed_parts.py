"""How a step is divided among ranks, and how each draws what one process would have drawn for its part.

Enter: how many batches a step has and how many windows each; a generator. Leave: parts, whole batches where there are
enough of them, dealt out one after the other; for each part numbers for dropout that do not depend on who draws them.
Next: training/distributed_ranks.py.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from ..errors import InputError


class Part(NamedTuple):
    """Some windows of a step that are learned from together: `n` of the batch with number `batch`, from `first` on."""

    batch: int
    first: int
    n: int


def parts_of(n_batches, batch_size, n_ranks, n_windows=None):
    """The Parts of a step in their order; part i belongs to rank i % n_ranks.

    Batches stay whole where each rank gets one, so that sums are those of one process; else each is cut alike.
    parts_of(1, 8, 2) -> [(0, 0, 4), (0, 4, 4)]; parts_of(2, 8, 2) -> [(0, 0, 8), (1, 0, 8)]
    `n_windows`: of a step that is smaller (schedule.windows_of), whose last batch may be, too. It is cut only where a
    full step is, and ranks may be left without a part. parts_of(2, 8, 2, 11) -> [(0, 0, 8), (1, 0, 3)]
    InputError where a full step has fewer windows than there are ranks.
    """
    full = n_batches * batch_size
    if n_ranks > full:
        raise InputError(
            f"mpiexec: expected at most {full:,} ranks, as many as --batch-size x --accumulate = "
            f"{batch_size} x {n_batches} windows a step has, got {n_ranks:,}; use fewer, or larger batches"
        )
    n_windows = full if n_windows is None else n_windows
    sizes = [min(batch_size, n_windows - first) for first in range(0, n_windows, batch_size)]
    n_cuts = 1 if n_ranks <= n_batches else -(-n_ranks // len(sizes))
    return [part for batch, size in enumerate(sizes) for part in _cut(batch, size, min(n_cuts, size))]


def _cut(batch, size, n_cuts):
    edges = [size * i // n_cuts for i in range(n_cuts + 1)]
    return [Part(batch, start, end - start) for start, end in itertools.pairwise(edges)]


def of_rank(parts, rank, n_ranks):
    """The parts of one rank, in their order."""
    return parts[rank::n_ranks]


def share_idle(parts, n_ranks):
    """How much of a step's time ranks wait for others, as parts do not come out even or are not equally large.

    share_idle(parts_of(3, 8, 2), 2) -> 0.25
    """
    rounds = [parts[i : i + n_ranks] for i in range(0, len(parts), n_ranks)]
    longest = sum(max(part.n for part in together) for together in rounds)
    return 1.0 - sum(part.n for part in parts) / (longest * n_ranks)


def draws_per_window(config):
    """How many numbers dropout draws for each window of n_ctx tokens: of embeddings, and in each block of attention
    probabilities and of what the two halves add (model.drop)."""
    stream = config.n_ctx * config.n_embd
    return stream + config.n_layer * (config.n_head * config.n_ctx**2 + 2 * stream)


def skip_(rng, n):
    """Leave a generator as if rng.random(n, dtype=np.float32) had been drawn: each number takes half of 64 bits."""
    if n and rng.bit_generator.state["has_uint32"]:
        rng.random(dtype=np.float32)
        n -= 1
    if n > 3:
        rng.bit_generator.advance(n // 2 - 1)
    rng.random(n % 2 + 2 if n > 3 else n, dtype=np.float32)  # the last ones for real: their rest stays in the generator


def ahead(rng, n):
    """Another generator, as this one will be when n numbers of float32 were drawn."""
    other = np.random.default_rng(0)
    other.bit_generator.state = rng.bit_generator.state
    skip_(other, n)
    return other


class RowsOf:
    """Draws, as a Generator does, what belongs to some rows of arrays with `n_rows` rows: those from `first` on.

    It leaves `rng` as if all of each array had been drawn.
    """

    def __init__(self, rng, first, n_rows):
        self.rng, self.first, self.n_rows = rng, first, n_rows

    def random(self, shape, dtype=np.float32):
        """Numbers from 0 to below 1, of float32 only."""
        of_row = math.prod(shape[1:])
        skip_(self.rng, self.first * of_row)
        drawn = self.rng.random(shape, dtype=dtype)
        skip_(self.rng, (self.n_rows - self.first - shape[0]) * of_row)
        return drawn
