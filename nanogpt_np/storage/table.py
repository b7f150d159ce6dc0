"""A sorted table of keys and values, as LevelDB laid it out and TensorFlow writes the index of a checkpoint.

Enter: a file's bytes. Leave: its entries, (key, value) in order; every block's checksum is compared before it is read,
and no number is believed that points outside of the bytes. From the end: a footer of 48 bytes says where the block of
blocks lies; each of its values says where a block of entries lies. A key is written as what it shares with the key
before it, and the rest. Next: storage/tensorflow.py.
"""

from typing import NamedTuple

from .. import files
from ..errors import FileError, printable
from .crc32c import checksum, masked

MAGIC = 0xDB4775248B80FB57
FOOTER, TRAILER, MOST_VARINT = 48, 5, 10  # bytes
MOST_KEY = 1000  # bytes: else a short file could spell the same long key again and again


class Slice(NamedTuple):
    """A part of a file's bytes, [start, end), which knows its file for messages."""

    path: object
    data: bytes
    start: int
    end: int

    def __repr__(self):
        return f"{self.end - self.start} bytes"

    def broken(self, expected, got):
        """The FileError for what this part holds in place of something else."""
        advice = "the file is damaged or cut off; copy or download it again"
        return FileError(f"{files.short(self.path)}: expected {expected}, got {printable(got)}; {advice}")

    def part(self, start, n_bytes, what):
        """Some of it, from `start` on; FileError where it ends before."""
        if n_bytes > self.end - start or start < self.start:
            room = max(self.end - start, 0)
            raise self.broken(f"{what} of at most {room:,} bytes at byte {start:,}", f"{n_bytes:,}")
        return Slice(self.path, self.data, start, start + n_bytes)

    def bytes(self):
        """Its bytes."""
        return self.data[self.start : self.end]

    def number(self):
        """All of it as one number, little end first."""
        return int.from_bytes(self.bytes(), "little")

    def varint(self):
        """A number in groups of 7 bits, the lowest first, the last without its top bit -> (number, the rest).

        At most 64 bits: the bytes ac 02 are 300.
        """
        value = 0
        for i, byte in enumerate(self.data[self.start : min(self.end, self.start + MOST_VARINT)]):
            value |= (byte & 127) << 7 * i
            if byte < 128 and value < 1 << 64:
                return value, self._replace(start=self.start + i + 1)
        n_bytes = min(self.end - self.start, MOST_VARINT)
        raise self.broken(f"a number of at most 64 bits at byte {self.start:,}", f"{n_bytes} bytes without an end")


def entries(path, data):
    """Yield (key, value) of a table, bytes and a Slice, in order; FileError where anything contradicts itself."""
    whole = Slice(path, data, 0, len(data))
    if len(data) < FOOTER or int.from_bytes(data[-8:], "little") != MAGIC:
        raise whole.broken("a table's last 8 bytes, 57fb808b247547db", data[-8:].hex() or "no bytes")
    footer = whole.part(len(data) - FOOTER, FOOTER, "a footer")
    _, _, footer = _handle(footer)  # of a block of statistics, which nobody writes
    start, n_bytes, _ = _handle(footer)
    body, last = whole._replace(end=len(data) - FOOTER), None
    for _, value in _block(body, start, n_bytes):
        start, n_bytes, _ = _handle(value)
        for key, entry in _block(body, start, n_bytes):
            if last is not None and key <= last:
                raise body.broken(f"keys in order after {printable(last, 40)}", printable(key, 40))
            yield key, entry
            last = key
        body = body._replace(start=start + n_bytes)  # no block is read, and summed up, twice


def _handle(place):
    """Where a block lies -> (start, bytes, the rest)."""
    start, place = place.varint()
    n_bytes, place = place.varint()
    return start, n_bytes, place


def _block(body, start, n_bytes):
    """Yield (key, value) of one block, once its checksum is known to be right."""
    block = body.part(start, n_bytes, "a block")
    trailer = body.part(block.end, TRAILER, "a block's checksum")
    kind, crc = trailer.data[trailer.start], trailer._replace(start=trailer.start + 1).number()
    if (got := masked(checksum(body.data[start : trailer.start + 1]))) != crc:
        raise body.broken(f"a block with the checksum {crc:08x} at byte {start:,}", f"{got:08x}")
    if kind:
        raise body.broken("a table that is not compressed, as TensorFlow writes it", f"compression {kind}")
    yield from _entries_of(block)


def _entries_of(block):
    n_restarts = block.part(block.end - 4, 4, "a block's number of restarts").number()
    left = block._replace(end=block.end - 4)
    left = left._replace(end=left.part(left.end - 4 * n_restarts, 4 * n_restarts, "a block's restarts").start)
    key = b""
    while left.start < left.end:
        n_shared, left = left.varint()
        n_rest, left = left.varint()
        n_value, left = left.varint()
        if n_shared > len(key) or n_shared + n_rest > MOST_KEY:
            expected = f"a key of at most {MOST_KEY:,} bytes that shares up to {len(key)} with the one before"
            raise left.broken(expected, f"{n_shared:,} shared, {n_rest:,} more")
        rest = left.part(left.start, n_rest, "a key")
        value = left.part(rest.end, n_value, "a value")
        key = key[:n_shared] + rest.bytes()
        left = left._replace(start=value.end)
        yield key, value
