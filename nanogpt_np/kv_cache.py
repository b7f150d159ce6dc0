"""Keys and values of the tokens already seen, so that each new token costs one row instead of the whole text.

Enter: each layer's new k and v. Leave: views of all k and v so far. Next: model.py.
"""

import copy

import numpy as np

from .errors import InputError


class KVCache:
    """Room for `n_ctx` positions of every layer, allocated once; memory is touched only as it fills.

    `keys`, `values`: [n_layer, n_batch, n_head, n_ctx, d_head]; `length`: positions in use;
    `mask`: bool [n_batch, n_ctx], False at padding.
    """

    STORED = ("keys", "values")  # what holds something for each position: [n_layer, n_batch, n_head, n_ctx, …]

    def __init__(self, config, n_batch=1, n_ctx=None, dtype=np.float32):
        n_ctx = n_ctx or config.n_ctx
        shape = (config.n_layer, n_batch, config.n_head, n_ctx, config.d_head)
        self.keys, self.values = np.empty(shape, dtype), np.empty(shape, dtype)
        self.mask = np.ones((n_batch, n_ctx), bool)
        self.n_ctx, self.length = n_ctx, 0

    def reserve(self, n_new, mask=None):
        """Take note of `n_new` coming positions (mask [n_batch, n_new]); InputError where they do not fit."""
        if self.length + n_new > self.n_ctx:
            raise InputError(
                f"expected at most n_ctx = {self.n_ctx} positions, got {self.length} in the cache and {n_new} more; "
                "shorten the text, or generate with overflow='slide'"
            )
        self.mask[:, self.length : self.length + n_new] = True if mask is None else mask

    def append(self, layer, k, v):  # [n_batch, n_head, n_new, d_head] -> [n_batch, n_head, length + n_new, d_head]
        """Store one layer's new keys and values behind the old ones; return views of all of them."""
        end = self.length + k.shape[2]
        self.keys[layer, :, :, self.length : end] = k
        self.values[layer, :, :, self.length : end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def advance(self, n_new):
        """All layers have stored their part: the new positions are now old ones."""
        self.length += n_new

    def rewind(self, length):
        """Forget every position from `length` on, as if it had never been read; InputError where there are not so many.

        What is read next takes their place, also in views of the cache that were handed out before (kept acts).
        """
        if not 0 <= length <= self.length:
            raise InputError(f"length: expected 0 to {self.length}, as many positions as the cache holds, got {length}")
        self.mask[:, length : self.length] = True
        self.length = length

    def select(self, rows):
        """A cache that continues these rows of the batch (an index array; rows may repeat)."""
        twin = copy.copy(self)
        twin.mask = self.mask[rows]
        for name in self.STORED:
            old = getattr(self, name)
            new = np.empty((len(old), len(rows), *old.shape[2:]), old.dtype)
            new[:, :, :, : self.length] = old[:, rows, :, : self.length]
            setattr(twin, name, new)
        return twin


def slide(text, n_ctx):
    """The last half of a context that is full; in a batch, a shorter text still has room: slide([1, 2], 4) -> [1, 2]"""
    return text if len(text) <= n_ctx else text[-max(n_ctx // 2, 1) :]
