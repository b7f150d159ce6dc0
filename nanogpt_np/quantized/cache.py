"""Keys and values as int8, a scale for each of a head: a quarter of the bytes to read where a text is long.

Enter: each layer's new k and v. Leave: all so far, in float32 again; quantized/decode.py reads them as they are.
Next: quantized/decode.py.
"""

import numpy as np
from numba import float32, int8, int64, intp, void

from ..kernels.compile import inner, kernel, read
from ..kernels.cores import spread
from ..kv_cache import KVCache
from .rounding import round_to_int8

STACKS, SMALL, FACTORS = read(float32[:, :, :, :]), int8[:, :, :, ::1], float32[:, :, ::1]


class Int8Cache(KVCache):
    """A KVCache whose `keys` and `values` are int8, worth `key_factors` and `value_factors` a step.

    Factors are float32 [n_dense, n_batch, n_head, n_ctx]: what one token's outliers cost is that token's alone. The
    near ones, of banded layers, have the same.
    """

    STORED = (*KVCache.STORED, "key_factors", "value_factors")
    NEAR = (*KVCache.NEAR, "near_key_factors", "near_value_factors")

    def __init__(self, config, n_batch=1, n_ctx=None):
        super().__init__(config, n_batch, n_ctx, dtype=np.int8)
        self.key_factors, self.value_factors = (np.empty(self.keys.shape[:-1], np.float32) for _ in range(2))
        near = self.near_keys.shape[:-1]
        self.near_key_factors, self.near_value_factors = (np.empty(near, np.float32) for _ in range(2))

    def _put(self, arrays, first, start, k, v, starts=None):
        """Write k and v at `start` of one layer's arrays, or each row's at its own -> all, as now remembered."""
        keys, values, key_factors, value_factors = arrays
        starts = np.full(len(k), start) if starts is None else starts
        end, wide = start + k.shape[2], []
        for new, small, factors in ((k, keys, key_factors), (v, values, value_factors)):
            wide.append(np.empty((*small.shape[:2], end - first, small.shape[3]), np.float32))
            _store_kernel(np.asarray(new, np.float32), starts, small, factors)
            _widen_kernel(small, factors, first, wide[-1])
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


@kernel(void(read(SMALL), read(FACTORS), intp, float32[:, :, :, ::1]))
def _widen_kernel(small, factors, first, wide):
    spread(len(wide) * wide.shape[1], _widen_head, (small, factors, first, wide))


@inner
def _widen_head(stack, small, factors, first, wide):
    batch, head = stack // wide.shape[1], stack % wide.shape[1]
    for i in range(wide.shape[2]):
        for j in range(wide.shape[3]):
            wide[batch, head, i, j] = small[batch, head, first + i, j] * factors[batch, head, first + i]
