"""Where merges come from: counted chunks of text in, byte pairs in the order they were merged out.

Enter: how often each chunk (bytes) occurs. Leave: the pairs of ids, most frequent first; byte b has id b and the
n-th merge makes id 256 + n. The rule (Sennrich et al. 2016, section 3.2): merge the most frequent pair, count again,
repeat. Of equally frequent pairs the one with the smaller ids wins, so the order of the texts does not matter.
Next: tokenizer/merging.py.
"""

import heapq
from collections import defaultdict
from itertools import pairwise

N_BYTES = 256


def merge(ids, pair, new_id):
    """Replace a pair of ids by `new_id`, left to right: merge([1, 2, 3, 1, 2], pair=(1, 2), new_id=4) -> [4, 3, 4]."""
    left, right = pair
    merged, i = [], 0
    while i < len(ids):
        if ids[i] == left and i + 1 < len(ids) and ids[i + 1] == right:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def train_merges(chunk_counts, n_merges, progress=False):
    """Learn up to `n_merges` merges from {chunk (bytes): count}: a list of (left id, right id).

    train_merges({b"aab": 2, b"ab": 1}, n_merges=2) -> [(97, 98), (97, 256)], that is "ab", then "aab".
    The list is shorter where every chunk has become one token. Source: Sennrich et al. 2016, algorithm 1;
    the counts are kept up to date instead of counted again, which changes no result.
    """
    from tqdm import tqdm

    pairs = PairCounts(chunk_counts)
    merges = []
    with tqdm(total=n_merges, desc="merging pairs", unit="merge", disable=not progress) as bar:
        while len(merges) < n_merges and (pair := pairs.most_frequent()):
            pairs.merge(pair, new_id=N_BYTES + len(merges))
            merges.append(pair)
            bar.update()
    return merges


class PairCounts:
    """How often each pair of neighbours occurs in a set of counted chunks, kept true while pairs are merged.

    `chunks[i]` is a list of ids that occurs `weights[i]` times; `homes[pair]` holds at least every i with that pair.
    """

    def __init__(self, chunk_counts):
        self.chunks = [list(chunk) for chunk in chunk_counts]
        self.weights = list(chunk_counts.values())
        self.counts = defaultdict(int)
        self.homes = defaultdict(set)
        for i, ids in enumerate(self.chunks):
            for pair in pairwise(ids):
                self.counts[pair] += self.weights[i]
                self.homes[pair].add(i)
        self._heap = [(-count, pair) for pair, count in self.counts.items()]
        heapq.heapify(self._heap)

    def most_frequent(self):
        """The pair with the highest count, the smaller ids first among equals; None when no pair is left."""
        while self._heap:
            noted, pair = heapq.heappop(self._heap)
            count = self.counts.get(pair, 0)
            if -noted == count > 0:
                return pair
            if count > 0:  # counts of old pairs only fall, so a note is never too low: correct it and look on
                heapq.heappush(self._heap, (-count, pair))
        return None

    def merge(self, pair, new_id):
        """Replace `pair` by `new_id` in every chunk, and correct the counts of all pairs that this touches."""
        born = set()
        for i in self.homes.pop(pair):
            before = self.chunks[i]
            after = merge(before, pair, new_id)
            if len(after) == len(before):
                continue  # an earlier merge has taken this chunk's pair already
            self.chunks[i] = after
            for old in pairwise(before):
                self.counts[old] -= self.weights[i]
            for new in pairwise(after):
                self.counts[new] += self.weights[i]
                if new_id in new:
                    self.homes[new].add(i)
                    born.add(new)
        for new in born:
            heapq.heappush(self._heap, (-self.counts[new], new))
        del self.counts[pair]
