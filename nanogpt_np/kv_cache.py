"""Keys and values of the tokens already seen, so that each new token costs one row instead of the whole text.

Later tokens change nothing of what earlier ones answered, so their k and v can stay (Shazeer 2019, section 2.4).
Enter: each layer's new k and v. Leave: views of all k and v so far. Next: model.py.
"""

import copy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .config import GPTConfig
from .errors import InputError, check_kind, check_whole, is_whole, shown


class KVCache:
    """Room for `n_ctx` positions of every layer, allocated once; memory is touched only as it fills.

    `keys`, `values`: [n_layer, n_batch, n_head, n_ctx, d_head]; `length`: positions in use;
    `mask`: bool [n_batch, n_ctx], False at padding. `lengths`: None, or where rows come and go, as in a server, int64
    [n_batch], the positions of each (see ragged()).
    """

    STORED = ("keys", "values")  # what holds something for each position: [n_layer, n_batch, n_head, n_ctx, …]

    def __init__(
        self, config: GPTConfig, n_batch: int = 1, n_ctx: int | None = None, dtype: DTypeLike = np.float32
    ) -> None:
        check_kind("config", config, GPTConfig)
        n_ctx = config.n_ctx if n_ctx is None else n_ctx
        _check(n_batch, n_ctx, dtype)
        shape = (config.n_layer, n_batch, config.n_head, n_ctx, config.d_head)
        try:
            self.keys, self.values = np.empty(shape, dtype), np.empty(shape, dtype)
            self.mask = np.ones((n_batch, n_ctx), bool)
        except (MemoryError, ValueError) as error:  # ValueError: more than an address can count
            raise InputError(f"cache: expected one that fits the memory, got {shown(shape)}; ask for less") from error
        self.n_ctx, self.length = n_ctx, 0
        self.lengths: np.ndarray | None = None
        self.first_row, self._whole = 0, self  # of what this is a part; compiled code wants it in one piece

    @property
    def n_bytes(self) -> int:
        """What all positions take once they are in use: KVCache(GPTConfig(), n_ctx=1).n_bytes -> 73728"""
        return sum(getattr(self, name).nbytes for name in self.STORED)

    @property
    def whole(self) -> "KVCache":
        """The cache of which this is a part, from `first_row` on; itself where it is none."""
        return self._whole

    def reserve(self, n_new: int, mask: ArrayLike | None = None) -> None:
        """Take note of `n_new` coming positions (mask [n_batch, n_new]); InputError where they do not fit."""
        if self.length + n_new > self.n_ctx or (self.lengths is not None and n_new != 1):
            raise InputError(
                f"expected at most n_ctx = {self.n_ctx} positions, got {self.length} in the cache and {n_new} more; "
                "shorten the text, or generate with overflow='slide'"
            )
        if self.lengths is None:
            self.mask[:, self.length : self.length + n_new] = True if mask is None else mask
        else:
            self.mask[np.arange(len(self.mask)), self.lengths] = True

    def append(self, layer: int, k: np.ndarray, v: np.ndarray) -> Any:
        # [n_batch, n_head, n_new, d_head] -> [n_batch, n_head, length + n_new, d_head]
        """Store one layer's new keys and values behind the old ones; return views of all of them."""
        end = self.length + k.shape[2]
        if self.lengths is None:
            self.keys[layer, :, :, self.length : end] = k
            self.values[layer, :, :, self.length : end] = v
        else:
            rows = np.arange(len(k))
            self.keys[layer, rows, :, self.lengths] = k[:, :, 0]
            self.values[layer, rows, :, self.lengths] = v[:, :, 0]
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def advance(self, n_new: int) -> None:
        """All layers have stored their part: the new positions are now old ones."""
        self.length += n_new
        if self.lengths is not None:
            self.lengths += n_new

    def starts(self) -> np.ndarray:
        """Where the next position of each row goes, int64 [n_batch]."""
        return np.full(len(self.mask), self.length, np.int64) if self.lengths is None else self.lengths

    def rewind(self, length: int) -> None:
        """Forget every position from `length` on, as if it had never been read; InputError where there are not so many.

        What is read next takes their place, also in views of the cache that were handed out before (kept acts).
        """
        if not is_whole(length) or not 0 <= length <= self.length:
            holds = f"0 to {self.length}, as many positions as the cache holds"
            raise InputError(f"length: expected {holds}, got {shown(length)}")
        self.mask[:, length : self.length] = True
        self.length = length

    def first(self, n_rows: int) -> "KVCache":
        """The first rows of the batch as a cache of their own, in the same memory."""
        return self.part(0, n_rows)

    def part(self, start: int, end: int) -> "KVCache":
        """Some rows of the batch as a cache of their own, in the same memory."""
        twin = copy.copy(self)
        twin.mask, twin.first_row = self.mask[start:end], self.first_row + start
        for name in self.STORED:
            setattr(twin, name, getattr(self, name)[:, start:end])
        if self.lengths is not None:
            twin.lengths = self.lengths[start:end]
            twin.length = int(twin.lengths.max())
        return twin

    def pass_over(self, n_new: int, n_rows: int) -> None:
        """Go on by `n_new` positions that the first rows have stored through first(); the others have padding there.

        What nobody stored is zero from then on: a share of 0 of it must add nothing, and left-over bytes may be NaN.
        """
        end = self.length + n_new
        self.mask[n_rows:, self.length : end] = False
        for name in self.STORED:
            getattr(self, name)[:, n_rows:, :, self.length : end] = 0
        self.length = end

    def select(self, rows: ArrayLike) -> "KVCache":
        """A cache that continues these rows of the batch (an index array; rows may repeat)."""
        try:
            rows = np.asarray(rows)
        except ValueError:  # a ragged list
            rows = np.empty((0, 0))
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or not np.all((0 <= rows) & (rows < len(self.mask))):
            raise InputError(f"rows: expected numbers from 0 to {len(self.mask) - 1}, got {shown(rows)}")
        twin = copy.copy(self)
        twin.mask, twin.first_row, twin._whole = self.mask[rows], 0, twin
        for name in self.STORED:
            old = getattr(self, name)
            new = np.empty((len(old), len(rows), *old.shape[2:]), old.dtype)
            new[:, :, :, : self.length] = old[:, rows, :, : self.length]
            setattr(twin, name, new)
        return twin


class Ragged:
    """Rows of one cache that come and go, each as long as its own text: what many clients share.

    The first `n_rows` are in use. Each holds its text from position 0 on, so that its sums run over the same terms in
    the same order as if it were alone. `cache`: an empty one with as many rows as there may be.
    """

    def __init__(self, cache: KVCache) -> None:
        self.cache, self.n_rows, self.most = cache, 0, len(cache.mask)
        cache.lengths, cache.mask[:] = np.zeros(self.most, np.int64), False
        for name in cache.STORED:  # shares of 0 are multiplied by what lies behind a row's end: it must be a number
            stored = getattr(cache, name)
            setattr(cache, name, np.zeros(stored.shape, stored.dtype))

    def part(self, start: int, end: int) -> KVCache:
        """Some rows in use as one cache, in the same memory, for one new token of each."""
        return self.cache.part(start, end)

    def row(self, i: int) -> KVCache:
        """One row as a cache of its own, in the same memory."""
        twin = self.cache.part(i, i + 1)
        twin.lengths = None
        return twin

    def join(self, cache: KVCache, length: int) -> int:
        """The first positions of a cache of one row take the next row -> its number; InputError where all are taken."""
        if self.n_rows == self.most:
            raise InputError(f"rows: expected at most {self.most}, got one more; wait until one has ended")
        self._copy(cache, self.n_rows, length)
        self.n_rows += 1
        return self.n_rows - 1

    def leave(self, i: int) -> int:
        """A row is no longer in use -> the row that took its place, which was the last (or this one itself)."""
        last = self.n_rows - 1
        self._wipe(i)
        if i != last:
            row = self.row(last)
            self._copy(row, i, row.length)
            self._wipe(last)
        self.n_rows = last
        return last

    def _copy(self, source: KVCache, i: int, length: int) -> None:
        target = self.row(i)
        for name in source.STORED:
            getattr(target, name)[:, 0, :, :length] = getattr(source, name)[:, 0, :, :length]
        target.mask[0, :length] = True
        self.cache.starts()[i] = length

    def _wipe(self, i: int) -> None:
        """Back to zeros: what a broken model left there must not reach another text."""
        row = self.row(i)
        for name in row.STORED:
            getattr(row, name)[:, :, :, : row.length] = 0
        row.mask[:] = False
        self.cache.starts()[i] = 0


def _check(n_batch: Any, n_ctx: Any, dtype: Any) -> None:
    check_whole("n_batch", n_batch, 1)
    check_whole("n_ctx", n_ctx, 1)
    try:
        is_usable = dtype is not None and (np.dtype(dtype).kind == "f" or np.dtype(dtype) == np.int8)
    except (TypeError, ValueError):
        is_usable = False
    if not is_usable:
        raise InputError(f"dtype: expected that of keys and values, such as float32, got {shown(dtype)}")


def slide(text: list[int], n_ctx: int) -> list[int]:
    """The last half of a context that is full; in a batch, a shorter text still has room: slide([1, 2], 4) -> [1, 2]"""
    return text if len(text) <= n_ctx else text[-max(n_ctx // 2, 1) :]
