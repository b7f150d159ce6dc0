"""Keys and values of the tokens already seen, so that each new token costs one row instead of the whole text.

Later tokens change nothing of what earlier ones answered, so their k and v can stay (Shazeer 2019, section 2.4). Of a
banded layer only the band stays, and a little beside it.
Enter: each layer's new k and v. Leave: views of all k and v so far. Next: model.py.
"""

import copy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .config import GPTConfig
from .errors import InputError, check_kind, check_whole, is_whole, shown

NOWHERE = np.zeros((2, 0), np.int64)  # where no layer has a band, nobody asks where one begins


class KVCache:
    """Room for `n_ctx` positions of every layer, allocated once; memory is touched only as it fills.

    `keys`, `values`: [n_dense, n_batch, n_head, n_ctx, d_head], of the dense layers, in GPT-2 all; `length`: positions
    in use; `mask`: bool [n_batch, n_ctx], False at padding. `near_keys`, `near_values`: [n_banded, n_batch, n_head,
    room, d_head], the newest positions of the banded layers, from `offset` on: what is older no token will ask for.
    `rows`: where a layer's part lies, r in the first two, -1 - r in the near ones. `lengths`: None, or where rows come
    and go, as in a server (generation/ragged.py), int64 [n_batch], the positions of each; then `ends`: where in the
    near arrays the next one of each goes, and `oldest`: the first position of each that is there.
    """

    STORED = ("keys", "values")  # what holds something for each position: [n_dense, n_batch, n_head, n_ctx, …]
    NEAR = ("near_keys", "near_values")  # the same of the banded layers

    def __init__(
        self, config: GPTConfig, n_batch: int = 1, n_ctx: int | None = None, dtype: DTypeLike = np.float32
    ) -> None:
        check_kind("config", config, GPTConfig)
        n_ctx = config.n_ctx if n_ctx is None else n_ctx
        _check(n_batch, n_ctx, dtype)
        self.n_ctx, self.length, self.offset, self.is_torn = n_ctx, 0, 0, False
        self.bands, self.rows = bands_of(config), _rows(config)
        self.window = None if self.bands is None else min(self.bands[0], n_ctx)
        # some of the newest positions can be forgotten, and as many be added before all move
        self.spare = 0 if self.window is None else spare_of(self.window)
        self.room = 0 if self.window is None else min(n_ctx, self.window - 1 + 2 * self.spare)
        n_banded = int(np.count_nonzero(self.rows < 0))
        shape = (config.n_layer - n_banded, n_batch, config.n_head, n_ctx, config.d_head)
        near = (n_banded, n_batch, config.n_head, self.room, config.d_head)
        try:
            self.keys, self.values = np.empty(shape, dtype), np.empty(shape, dtype)
            self.near_keys, self.near_values = np.empty(near, dtype), np.empty(near, dtype)
            self.mask = np.ones((n_batch, n_ctx), bool)
        except (MemoryError, ValueError) as error:  # ValueError: more than an address can count
            raise InputError(f"cache: expected one that fits the memory, got {shown(shape)}; ask for less") from error
        self.lengths: np.ndarray | None = None
        self.ends: np.ndarray | None = None
        self.oldest: np.ndarray | None = None
        self.first_row: int = 0
        self._whole: KVCache | None = None  # of what this is a part; compiled code wants it in one piece

    @property
    def n_bytes(self) -> int:
        """What all positions take once they are in use: KVCache(GPTConfig(), n_ctx=1).n_bytes -> 73728"""
        return sum(getattr(self, name).nbytes for name in (*self.STORED, *self.NEAR))

    def fits(self, config: GPTConfig) -> bool:
        """Has it as many layers as a model of this shape, and the same bands?"""
        return len(self.rows) == config.n_layer and self.bands == bands_of(config)

    @property
    def whole(self) -> "KVCache":
        """The cache of which this is a part, from `first_row` on; itself where it is none."""
        return self if self._whole is None else self._whole

    def reserve(self, n_new: int, mask: ArrayLike | None = None) -> None:
        """Take note of `n_new` coming positions (mask [n_batch, n_new]); InputError where they do not fit."""
        if self.length + n_new > self.n_ctx or (self.lengths is not None and n_new != 1):
            raise InputError(
                f"expected at most n_ctx = {self.n_ctx} positions, got {self.length} in the cache and {n_new} more; "
                "shorten the text, or generate with overflow='slide'"
            )
        if self.is_torn:
            raise InputError("cache: expected one that was not interrupted while it read; rewind(0), and read again")
        if self.lengths is None:
            self.mask[:, self.length : self.length + n_new] = True if mask is None else mask
        else:
            self.mask[np.arange(len(self.mask)), self.lengths] = True
        if self._is_full(n_new) and n_new <= self.spare:
            self.to_front()

    def to_front(self) -> None:
        """The newest of the near positions move to the front, so that others have room: once in `spare` tokens."""
        kept = min(self.length - self.offset, self._most_kept())
        first, self.is_torn = self.length - kept - self.offset, True
        for name in self.NEAR:
            stored = getattr(self, name)
            stored[:, :, :, :kept] = stored[:, :, :, first : first + kept].copy()
        self.offset, self.is_torn = self.length - kept, False
        if self.ends is not None and self.oldest is not None and self.lengths is not None:
            self.ends[:], self.oldest[:] = kept, np.maximum(self.oldest, self.lengths - kept)

    def append(self, layer: int, k: np.ndarray, v: np.ndarray) -> Any:
        # [n_batch, n_head, n_new, d_head] -> [n_batch, n_head, length + n_new, d_head]
        """Store one layer's new keys and values behind the old ones; return views of all of them.

        Of a banded layer, of the window - 1 positions before the new ones, and of these.
        """
        row = self.rows[layer]
        if row >= 0:
            arrays = [getattr(self, name)[row] for name in self.STORED]
            return self._put(arrays, 0, self.length, k, v, self.lengths)
        arrays, n_new = [getattr(self, name)[-1 - row] for name in self.NEAR], k.shape[2]
        first, start = self.near(), self.length - self.offset
        if not self._is_full(n_new):
            return self._put(arrays, first, start, k, v)
        whole = [np.empty((*a.shape[:2], start - first + n_new, *a.shape[3:]), a.dtype) for a in arrays]
        for wide, array in zip(whole, arrays, strict=True):
            wide[:, :, : start - first] = array[:, :, first:start]
        seen, self.is_torn = self._put(whole, 0, start - first, k, v), True
        for wide, array in zip(whole, arrays, strict=True):
            array[:, :, : self._most_kept()] = wide[:, :, -self._most_kept() :]
        return seen

    def _put(
        self, arrays: list[np.ndarray], first: int, start: int, k: np.ndarray, v: np.ndarray,
        starts: np.ndarray | None = None,
    ) -> Any:  # fmt: skip
        """Write k and v at `start` of one layer's arrays, or each row's at its own -> views of all from `first` on."""
        end = start + k.shape[2]
        for array, new in zip(arrays, (k, v), strict=True):
            if starts is None:
                array[:, :, start:end] = new
            else:
                array[np.arange(len(new)), :, starts] = new[:, :, 0]
        return [array[:, :, first:end] for array in arrays]

    def near(self) -> int:
        """Where in the near arrays the keys begin that the next token sees in a banded layer."""
        return 0 if self.window is None else max(self.length - self.window + 1, 0) - self.offset

    def near_of_each(self) -> np.ndarray:
        """near() of each row, and the position that its first place would have: int64 [2, n_batch], 0 without bands."""
        if self.window is None:
            return NOWHERE
        found = np.empty((2, len(self.mask)), np.int64)
        if self.lengths is None:
            found[0], found[1] = self.near(), self.offset
        else:  # the newest of all rows lie side by side
            end = self.length - self.offset
            found[0], found[1] = end - np.minimum(self.lengths, self.window - 1), self.lengths - end
        return found

    def _is_full(self, n_new: int) -> bool:
        return self.window is not None and self.length + n_new - self.offset > self.room

    def _most_kept(self) -> int:
        """How many positions are left when others need room: a band, and those that may be forgotten."""
        return (self.window or 1) - 1 + self.spare

    def advance(self, n_new: int) -> None:
        """All layers have stored their part: the new positions are now old ones."""
        is_full, self.length = self._is_full(n_new), self.length + n_new
        if is_full:
            self.offset = self.length - self._most_kept()
        if self.lengths is not None:
            self.lengths += n_new
        if self.ends is not None:
            self.ends += n_new
        self.is_torn = False

    def starts(self) -> np.ndarray:
        """Where the next position of each row goes, int64 [n_batch]."""
        return np.full(len(self.mask), self.length, np.int64) if self.lengths is None else self.lengths

    def rewind(self, length: int) -> None:
        """Forget every position from `length` on, as if it had never been read; InputError where there are not so many.

        Where bands have moved on, only so far as can_rewind() says. What is read next takes their place, also in views
        of the cache that were handed out before (kept acts).
        """
        if not is_whole(length) or not 0 <= length <= self.length:
            holds = f"0 to {self.length}, as many positions as the cache holds"
            raise InputError(f"length: expected {holds}, got {shown(length)}")
        if not self.can_rewind(length):
            least = self.offset + (self.window or 1) - 1
            expected = f"0, or {least} to {self.length}, as the bands before are gone"
            raise InputError(f"length: expected {expected}, got {length}; rewind(0), and read again")
        self.mask[:, length : self.length] = True
        self.length = length
        if length == 0:
            self.offset, self.is_torn = 0, False

    def can_rewind(self, length: int) -> bool:
        """Is all still there that tokens from `length` on will ask for? A cache without bands holds everything."""
        is_there = self.offset == 0 or length - (self.window or 1) + 1 >= self.offset
        return length == 0 or (is_there and not self.is_torn)

    def first(self, n_rows: int) -> "KVCache":
        """The first rows of the batch as a cache of their own, in the same memory; pass_over() takes over what it read.

        Until then a cache with bands counts as torn: the other one may move what is near.
        """
        twin = self.part(0, n_rows)
        self.is_torn = self.window is not None
        return twin

    def part(self, start: int, end: int) -> "KVCache":
        """Some rows of the batch as a cache of their own, in the same memory."""
        twin = copy.copy(self)
        twin.mask, twin.first_row, twin._whole = self.mask[start:end], self.first_row + start, self.whole
        for name in (*self.STORED, *self.NEAR):
            setattr(twin, name, getattr(self, name)[:, start:end])
        if self.lengths is not None:
            twin.lengths = self.lengths[start:end]
            twin.length = int(twin.lengths.max(initial=0))
        if self.ends is not None and self.oldest is not None:
            twin.ends, twin.oldest = self.ends[start:end], self.oldest[start:end]
            twin.offset = twin.length - int(twin.ends.max(initial=0))
        return twin

    def pass_over(self, twin: "KVCache") -> None:
        """Go on to where first()'s rows have come; the others have padding there.

        What nobody stored is zero from then on: a share of 0 of it must add nothing, and left-over bytes may be NaN.
        """
        n_rows = len(twin.mask)
        self.mask[n_rows:, self.length : twin.length] = False
        for name in self.STORED:
            getattr(self, name)[:, n_rows:, :, self.length : twin.length] = 0
        for name in self.NEAR:
            getattr(self, name)[:, n_rows:] = 0  # they have not begun: there was padding before as well
        self.length, self.offset, self.is_torn = twin.length, twin.offset, twin.is_torn

    def select(self, rows: ArrayLike) -> "KVCache":
        """A cache that continues these rows of the batch (an index array; rows may repeat)."""
        try:
            rows = np.asarray(rows)
        except ValueError:  # a ragged list
            rows = np.empty((0, 0))
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or not np.all((0 <= rows) & (rows < len(self.mask))):
            raise InputError(f"rows: expected numbers from 0 to {len(self.mask) - 1}, got {shown(rows)}")
        twin = copy.copy(self)
        twin.mask, twin.first_row, twin._whole = self.mask[rows], 0, None
        for name in (*self.STORED, *self.NEAR):
            old = getattr(self, name)
            new = np.empty((len(old), len(rows), *old.shape[2:]), old.dtype)
            n_used = self.length if name in self.STORED else self.length - self.offset
            new[:, :, :, :n_used] = old[:, rows, :, :n_used]
            setattr(twin, name, new)
        return twin

    def share_last(self, rows: np.ndarray) -> None:
        """Every row takes over the last position of the row that is named for it; all before are alike."""
        for name in (*self.STORED, *self.NEAR):
            last = self.length - 1 - (0 if name in self.STORED else self.offset)
            stored = getattr(self, name)[:, :, :, last : last + 1]
            stored[...] = stored[:, rows]


def bands_of(config: GPTConfig) -> tuple[int, tuple[int, ...] | None] | None:
    """What two models must have alike for one cache: the window and the banded layers, None where there are none."""
    return (config.window, config.banded_layers) if config.window is not None and config.is_banded else None


def _rows(config: GPTConfig) -> np.ndarray:
    """Where each layer's part lies, int64 [n_layer]: dense ones from 0 on up, banded ones from -1 on down."""
    banded = np.array([config.window_of(layer) is not None for layer in range(config.n_layer)])
    return np.where(banded, -np.cumsum(banded), np.cumsum(~banded) - 1)


def spare_of(window: int) -> int:
    """How many positions a banded layer holds before its band, and beside it: an eighth of it, 8 at least."""
    return max(8, window // 8)


def cache_bytes(config: GPTConfig, n_positions: int, itemsize: int = 4) -> int:
    """The n_bytes of a KVCache for so many positions, without making one: cache_bytes(GPTConfig(), 1) -> 73728"""
    rows, n_near = _rows(config), 0
    if config.is_banded and config.window is not None:
        n_near = min(n_positions, config.window - 1 + 2 * spare_of(config.window))
    stored = int(np.count_nonzero(rows >= 0)) * n_positions + int(np.count_nonzero(rows < 0)) * n_near
    return 2 * stored * config.n_embd * itemsize


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
