"""CRC-32C (Castagnoli), the checksum that TensorFlow stores of every tensor and table, in NumPy.

Enter: bytes, or an array. Leave: their checksum; 500 MB take two to three seconds. A checksum is a remainder of
polynomials over {0, 1}, so it is linear: pieces are worked through side by side, and put together by moving the
remainder of one past the length of the next. Next: storage/table.py.
"""

import functools
from operator import xor

import numpy as np

_POLYNOMIAL = 0x82F63B78  # reversed: the lowest bit is the highest power
_ALL = 0xFFFFFFFF
_SHORT, _LONG = 64, 1024  # bytes that one lane works through, of little and of much
_MOST = 1 << 24  # bytes at once, 16,384 lanes: what a core's own cache can hold of them


def checksum(data):
    """The CRC-32C of bytes or of an array of bytes, an int: checksum(b"123456789") -> 3808858755"""
    data = np.frombuffer(data, np.uint8)
    remainder, n_first = 0, data.size % _MOST  # the short piece comes first, where zeros may stand before it
    for start, end in zip([0, *range(n_first, data.size, _MOST)], range(n_first, data.size + 1, _MOST), strict=True):
        remainder = _moved(remainder, end - start) ^ _remainder(data[start:end])
    return remainder ^ _moved(_ALL, data.size) ^ _ALL


def masked(crc):
    """A checksum as TensorFlow stores it, so that checksums of data with checksums in it stay useful.

    masked(checksum(b"foo")) -> 4273900129
    """
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & _ALL


def _remainder(data):
    """The remainder of up to _MOST bytes, begun with 0: then zeros in front change nothing."""
    n_bytes = _SHORT if data.size <= _SHORT * _LONG else _LONG
    n_lanes = 1
    while n_lanes * n_bytes < data.size:
        n_lanes *= 2
    filled = np.zeros(n_lanes * n_bytes, np.uint8)
    filled[filled.size - data.size :] = data
    words = filled.view("<u4").reshape(n_lanes, -1)
    lanes = np.zeros(n_lanes, np.uint32)
    first, second, third, fourth = _tables()
    for i in range(words.shape[1]):
        lanes ^= words[:, i]
        lanes = fourth[lanes & 255] ^ third[lanes >> 8 & 255] ^ second[lanes >> 16 & 255] ^ first[lanes >> 24]
    while lanes.size > 1:
        lanes = _times(_powers(n_bytes), lanes[::2]) ^ lanes[1::2]
        n_bytes *= 2
    return int(lanes[0])


@functools.cache
def _tables():
    """Four tables [256]: what becomes of a byte once one, two, three, four bytes have passed."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(_POLYNOMIAL), table >> 1)
    tables = [table]
    for _ in range(3):
        tables.append(tables[0][tables[-1] & 255] ^ tables[-1] >> 8)
    return tables


def _moved(remainder, n_bytes):
    """A remainder after `n_bytes` zeros."""
    for bit in range(n_bytes.bit_length()):
        if n_bytes >> bit & 1:
            columns = _powers(1 << bit).tolist()
            remainder = functools.reduce(xor, (column for i, column in enumerate(columns) if remainder >> i & 1), 0)
    return remainder


@functools.cache
def _powers(n_bytes):
    """A matrix over {0, 1} as its 32 columns: what 2^k bytes of zeros do to each bit of a remainder."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    if n_bytes == 1:
        return _tables()[0][bits & 255] ^ bits >> 8
    half = _powers(n_bytes // 2)
    return _times(half, half)


def _times(columns, values):
    """The matrix times each value: the sum of the columns where the value has a bit."""
    out = np.zeros_like(values)
    for bit, column in enumerate(columns):
        out ^= np.where(values >> np.uint32(bit) & 1, column, np.uint32(0))
    return out
