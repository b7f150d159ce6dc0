"""From the ids of a chunk's bytes to the ids of its tokens: merge neighbours, lowest rank first, until none applies.

Enter: a list of ids, and the merges as {(left id, right id): (rank, new id)}. Leave: a shorter list. `merge_steps` is
the definition; `merge_long_chunk` gives the same ids quickly where a chunk is long. Next: tokenizer/vocab.py.
"""

import heapq
import math
from itertools import pairwise

from .training import merge

NO_MERGE = (math.inf, -1)  # sorts behind every (rank, id)
LONG_CHUNK = 16  # ids; beyond this the heap is clearly quicker than the definition


def merge_steps(ids, merges):
    """Yield (rank, pair, ids afterwards) for each merge, lowest rank first, until none applies: the definition.

    `merges` is {(left id, right id): (rank, new id)}.
    list(merge_steps([1, 2, 3, 1, 2], {(1, 2): (0, 4)})) -> [(0, (1, 2), [4, 3, 4])]
    """
    while len(ids) > 1:
        pair = min(pairwise(ids), key=lambda pair: merges.get(pair, NO_MERGE))
        rank, new_id = merges.get(pair, NO_MERGE)
        if rank == math.inf:
            return
        ids = merge(ids, pair, new_id)
        yield rank, pair, ids


def merge_short_chunk(ids, merges):
    """The ids after the last of merge_steps: merge_short_chunk([1, 2, 3], {(1, 2): (0, 4)}) -> [4, 3]."""
    steps = list(merge_steps(ids, merges))
    return steps[-1][2] if steps else ids


def merge_long_chunk(ids, merges):
    """The same ids as merge_short_chunk in O(n log n): a heap of possible merges over a linked list of parts.

    One merge at a time, leftmost first, equals all at once: what a merge makes only enters merges of higher rank.
    """
    parts = list(ids)
    n = len(parts)
    after, before = list(range(1, n + 1)), list(range(-1, n - 1))
    heap = [(merges[pair][0], i, pair) for i, pair in enumerate(pairwise(parts)) if pair in merges]
    heapq.heapify(heap)
    while heap:
        _, i, pair = heapq.heappop(heap)
        j = after[i]
        if j == n or (parts[i], parts[j]) != pair:
            continue  # an earlier merge took one of the two
        parts[i], parts[j] = merges[pair][1], None
        after[i] = k = after[j]
        if k < n:
            before[k] = i
        for start, end in ((before[i], i), (i, k)):
            pair = (parts[start], parts[end]) if 0 <= start and end < n else None
            if pair in merges:
                heapq.heappush(heap, (merges[pair][0], start, pair))
    return [part for part in parts if part is not None]
