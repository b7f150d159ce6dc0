"""A whole model for compiled code: the addresses of its arrays, in one table.

Enter: a model's arrays. Leave: the table, and in kernels the array at an address. A token of a large model reads 150
arrays; to hand them over one by one, out of caches that the weights have swept, would take a tenth of its time.
Next: kernels/heads.py.
"""

import ctypes
import weakref

import numpy as np
from llvmlite import ir
from numba import carray, config, types
from numba.extending import intrinsic

from .compile import inner

_last = {}  # by the function that makes it, the table that was used last: ids of its arrays, the table, weak references


def table_of(arrays, make):  # a list of arrays -> int64 [n_rows, n_places], or None
    """make(arrays), or what it made of these same arrays when it was last called.

    Asked for every token, so by ids, which are an array's own until it dies; then the table is forgotten. It keeps no
    model alive: the caller holds the arrays for as long as compiled code reads them.
    """
    ids = list(map(id, arrays))
    known, table, _ = _last.get(make, (None, None, None))
    if ids != known:
        table = make(arrays)
        _last[make] = ids, table, [weakref.ref(array, lambda _: _last.pop(make, None)) for array in arrays]
    return table


def address(array, dtype, shape):
    """Where an array's numbers lie; None where they are not of this kind, side by side."""
    fits = array.dtype == dtype and array.shape == shape and array.flags.c_contiguous and array.flags.aligned
    return array.ctypes.data if fits else None


if config.DISABLE_JIT:

    def _array_at(address, n, c_type):
        return np.ctypeslib.as_array((c_type * n).from_address(int(address)))

    def floats_at(address, n):
        return _array_at(address, n, ctypes.c_float)

    def matrix_at(address, n_rows, n_columns):
        return floats_at(address, n_rows * n_columns).reshape(n_rows, n_columns)

    def bytes_at(address, n):
        return _array_at(address, n, ctypes.c_int8)

    def nibbles_at(address, n):
        return _array_at(address, n, ctypes.c_uint8)

else:

    @intrinsic
    def _pointer(typingctx, address):
        def codegen(context, builder, signature, args):
            return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

        return types.voidptr(types.int64), codegen

    @inner
    def floats_at(address, n):
        """The float32 array [n] at an address."""
        return carray(_pointer(address), (n,), np.float32)

    @inner
    def matrix_at(address, n_rows, n_columns):
        """The float32 matrix [n_rows, n_columns] at an address."""
        return carray(_pointer(address), (n_rows, n_columns), np.float32)

    @inner
    def bytes_at(address, n):
        """The int8 array [n] at an address."""
        return carray(_pointer(address), (n,), np.int8)

    @inner
    def nibbles_at(address, n):
        """The uint8 array [n] at an address."""
        return carray(_pointer(address), (n,), np.uint8)
