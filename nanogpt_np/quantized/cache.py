"""Keys and values as int8, a scale for each of a head: a quarter of the bytes to read where a text is long.

Enter: each layer's new k and v. Leave: all so far, in float32 again; quantized/decode.py reads them as they are.
Next: quantized/decode.py.
"""

import numpy as np
from numba import float32, int8, int64, void

from ..kernels.compile import inner, kernel, read
from ..kernels.cores import spread
from ..kv_cache import KVCache
from .products import round_to_int8

STACKS, SMALL, FACTORS = read(float32[:, :, :, :]), int8[:, :, :, ::1], float32[:, :, ::1]


class Int8Cache(KVCache):
    """A KVCache whose `keys` and `values` are int8, worth `key_factors` and `value_factors` a step.

    Factors are float32 [n_layer, n_batch, n_head, n_ctx]: what one token's outliers cost is that token's alone.
    """

    STORED = (*KVCache.STORED, "key_factors", "value_factors")

    def __init__(self, config, n_batch=1, n_ctx=None):
        super().__init__(config, n_batch, n_ctx, dtype=np.int8)
        self.key_factors, self.value_factors = (np.empty(self.keys.shape[:-1], np.float32) for _ in range(2))

    def append(self, layer, k, v):  # [n_batch, n_head, n_new, d_head] -> [n_batch, n_head, length + n_new, d_head]
        """Store one layer's new keys and values behind the old ones; return all of them, as they are now remembered."""
        end, starts = self.length + k.shape[2], self.starts()
        wide = []
        for new, small, factors in (
            (k, self.keys[layer], self.key_factors[layer]),
            (v, self.values[layer], self.value_factors[layer]),
        ):
            wide.append(np.empty((*small.shape[:2], end, small.shape[3]), np.float32))
            _store_kernel(np.asarray(new, np.float32), starts, small, factors)
            _widen_kernel(small, factors, wide[-1])
        return wide


@kernel(void(STACKS, read(int64[::1]), SMALL, FACTORS))
def _store_kernel(new, starts, small, factors):
    spread(len(new) * new.shape[1], _store_head, (new, starts, small, factors))


@inner
def _store_head(stack, new, starts, small, factors):
    batch, head = stack // new.shape[1], stack % new.shape[1]
    start = starts[batch]
    for i in range(new.shape[2]):
        factors[batch, head, start + i], _ = round_to_int8(new[batch, head, i], small[batch, head, start + i])


@kernel(void(read(SMALL), read(FACTORS), float32[:, :, :, ::1]))
def _widen_kernel(small, factors, wide):
    spread(len(wide) * wide.shape[1], _widen_head, (small, factors, wide))


@inner
def _widen_head(stack, small, factors, wide):
    batch, head = stack // wide.shape[1], stack % wide.shape[1]
    for i in range(wide.shape[2]):
        for j in range(wide.shape[3]):
            wide[batch, head, i, j] = small[batch, head, i, j] * factors[batch, head, i]
