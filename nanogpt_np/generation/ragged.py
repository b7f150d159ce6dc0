"""Rows of one cache that come and go, each as long as its own text: what many clients share.

Enter: caches of one row, in which prompts were read. Leave: parts of the shared one, for one new token of each row.
In dense layers a row lies from its position 0 on; in banded ones the newest positions of all rows lie side by side, so
that they move on together. Next: generation/ahead.py.
"""

import numpy as np

from ..errors import InputError


class Ragged:
    """A cache whose rows come and go.

    The first `n_rows` are in use. Each holds its text from position 0 on, or as much of it as its band needs, so that
    its sums run over the same terms in the same order as if it were alone. `cache`: an empty one with as many rows as
    there may be.
    """

    def __init__(self, cache):
        self.cache, self.n_rows, self.most = cache, 0, len(cache.mask)
        cache.lengths, cache.mask[:] = np.zeros(self.most, np.int64), False
        if cache.window is not None:
            self.kept = cache.window - 1 + cache.spare  # what every row has room for, however far the others are
            cache.room = self.kept + cache.spare
            cache.ends, cache.oldest = np.full(self.most, self.kept), np.zeros(self.most, np.int64)
        # shares of 0 are multiplied by what lies beside a row's own: it must be a number
        for name in cache.STORED:
            stored = getattr(cache, name)
            setattr(cache, name, np.zeros(stored.shape, stored.dtype))
        for name in cache.NEAR:
            near = getattr(cache, name)
            setattr(cache, name, np.zeros((*near.shape[:3], cache.room, *near.shape[4:]), near.dtype))

    def part(self, start, end):
        """Some rows in use as one cache, in the same memory, for one new token of each."""
        ends = self.cache.starts()[:0] if self.cache.ends is None else self.cache.ends[start:end]
        if len(ends) and ends.min() != ends.max():  # some rows have gone on without the others
            for i in range(start, end):
                self.cache.part(i, i + 1).to_front()
        return self.cache.part(start, end)

    def row(self, i):
        """One row as a cache of its own, in the same memory, to be looked at and to join() from."""
        twin = self.cache.part(i, i + 1)
        if twin.ends is not None:
            before = int(twin.ends[0]) - (twin.length - int(twin.oldest[0]))  # places where nothing of it lies
            for name in twin.NEAR:
                setattr(twin, name, getattr(twin, name)[:, :, :, before:])
            twin.offset = int(twin.oldest[0])
        twin.lengths = twin.ends = twin.oldest = None
        return twin

    def join(self, cache, length):
        """The first positions of a cache of one row take the next row -> its number; InputError where all are taken.

        Of a cache that has read more, with bands, they can be gone: see KVCache.can_rewind().
        """
        if self.n_rows == self.most:
            raise InputError(f"rows: expected at most {self.most}, got one more; wait until one has ended")
        if length > cache.length or not cache.can_rewind(length):
            raise InputError(f"length: expected one to which the cache can go back, got {length}; read the text again")
        end = None if self.cache.ends is None else self.cache.ends[0] if self.n_rows else self.kept
        self._copy(cache, self.n_rows, length, end)
        self.n_rows += 1
        return self.n_rows - 1

    def leave(self, i):
        """A row is no longer in use -> the row that took its place, which was the last (or this one itself)."""
        last = self.n_rows - 1
        self._wipe(i)
        if i != last:
            row = self.row(last)
            self._copy(row, i, row.length, None if self.cache.ends is None else self.cache.ends[last])
            self._wipe(last)
        self.n_rows = last
        return last

    def _copy(self, source, i, length, end):
        cache = self.cache
        for name in cache.STORED:
            getattr(cache, name)[:, i, :, :length] = getattr(source, name)[:, 0, :, :length]
        cache.mask[i, :length], cache.lengths[i] = True, length
        if end is None:
            return
        n_near = min(length - source.offset, end)
        last = length - source.offset
        for name in cache.NEAR:
            getattr(cache, name)[:, i, :, end - n_near : end] = getattr(source, name)[:, 0, :, last - n_near : last]
        cache.ends[i], cache.oldest[i] = end, length - n_near

    def _wipe(self, i):
        """Back to zeros: what a broken model left there must not reach another text."""
        cache = self.cache
        for name in cache.STORED:
            getattr(cache, name)[:, i, :, : cache.lengths[i]] = 0
        for name in cache.NEAR:
            getattr(cache, name)[:, i] = 0
        cache.mask[i], cache.lengths[i] = False, 0
