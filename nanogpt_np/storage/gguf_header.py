"""The table of contents of a GGUF file, read by hand and checked before one tensor byte is trusted.

A file is "GGUF", a version, two counts, then keys with their values, then a line for each tensor, then the tensors,
each at a multiple of the alignment. All numbers are little-endian; a text is its length and its bytes:
"GGUF" 3 148 20 | "general.architecture" 8 "gpt2" | … | "token_embd.weight" 2 [768, 50257] 0 0 | …
Enter: a path. Leave: a GGUFHeader, with every tensor's place in the file. Next: storage/gguf_vocabulary.py.
"""

import math
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import files
from ..errors import FileError, printable
from .header import TensorInfo

MAGIC, VERSIONS = b"GGUF", (2, 3)  # version 1 counted in 32 bits, and is gone
MAX_HEADER = 32 << 20  # bytes; GPT-2's has 2 MB, most of them the vocabulary
MAX_KEYS, MAX_TENSORS, MAX_DIMS = 1 << 12, 1 << 16, 4  # GPT-2 XL has 20 keys and 580 tensors
ALIGNMENT, MAX_ALIGNMENT = 32, 1 << 16

# the format's kinds of values -> how struct spells them; a text and an array are no numbers
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, ARRAY = 8, 9

# the kinds of tensors that hold weights: number in the file -> name, weights that share a block, bytes of a block
KINDS = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 30: ("BF16", 1, 2), 28: ("F64", 1, 8),
    2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
}  # fmt: skip

_ADVICE = "the file is damaged or cut off; copy or download it again"


class GGUFHeader(NamedTuple):
    """What a GGUF file says about itself: keys (name -> number, text, list or array), tensors (name -> TensorInfo).

    A TensorInfo's shape is in NumPy's order, the slowest first; its dtype is the name of a kind, "Q8_0".
    """

    path: Path
    keys: dict
    tensors: dict


def read_gguf_header(path):
    """The checked GGUFHeader of a GGUF file: tensors lie one after the other, inside the file, and fit their shapes.

    Raises FileError, naming key or tensor, where the file is cut off, contradicts itself, or claims absurd numbers.
    """
    path = Path(path)
    try:
        with files.open_regular(path) as file:
            n_bytes = file.seek(0, 2)
            file.seek(0)
            cursor = _Cursor(path, file, n_bytes)
            n_tensors, n_keys = _counts(cursor)
            keys = dict(_entries(cursor, n_keys, _key, "key"))
            lines = dict(_entries(cursor, n_tensors, _tensor_line, "tensor"))
            start = _padded(cursor.place, _alignment(path, keys))
    except OSError as error:
        raise files.cannot_read(path, error) from error
    return GGUFHeader(path, keys, _places(path, lines, start, _alignment(path, keys), n_bytes))


class _Cursor:
    """Reads a file from its start on, never beyond its end, and never more than MAX_HEADER."""

    def __init__(self, path, file, n_bytes):
        self.path, self.file, self.n_bytes, self.place = path, file, n_bytes, 0

    def take(self, n, what):
        """The next `n` bytes; checked before read(), which would allocate what the file claims."""
        left = min(self.n_bytes, MAX_HEADER) - self.place
        if n > left:
            more = f"at most {left:,} more bytes of its header"
            raise broken(self.path, what, more, f"{n:,}")
        self.place += n
        return self.file.read(n)

    def number(self, code, what):
        (value,) = struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}"), what))
        return value

    def text(self, what):
        data = self.take(self.number("Q", what), what)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            raise broken(self.path, what, "a text in UTF-8", data) from None


def _counts(cursor):  # -> number of tensors, number of keys
    magic = cursor.take(4, "the beginning")
    if magic != MAGIC:
        raise broken(cursor.path, "the beginning", f"{MAGIC!r}", magic)
    version = cursor.number("I", "version")
    if version not in VERSIONS:
        got = f"{version:,}" if version & 0xFFFF else "numbers in the order of another machine (big-endian)"
        raise broken(cursor.path, "version", " or ".join(map(str, VERSIONS)), got, "convert the model again")
    counts = []
    for name, most in (("tensors", MAX_TENSORS), ("keys", MAX_KEYS)):
        counts.append(cursor.number("Q", f"number of {name}"))
        if counts[-1] > most:
            raise broken(cursor.path, f"number of {name}", f"at most {most:,}", f"{counts[-1]:,}")
    return counts


def _entries(cursor, n, read, what):
    """`n` pairs of a name and what read(cursor, name) gives; no name comes twice."""
    seen = set()
    for i in range(n):
        name = cursor.text(f"{what} {i:,}")
        if name in seen:
            raise broken(cursor.path, name, f"one {what} of this name", "two")
        seen.add(name)
        yield name, read(cursor, name)


def _key(cursor, name):
    kind = cursor.number("I", name)
    if kind == TEXT:
        return cursor.text(name)
    if kind == ARRAY:
        return _array(cursor, name)
    if kind not in NUMBERS:
        raise broken(cursor.path, name, "a number, a text or an array", f"kind {kind:,}")
    return cursor.number(NUMBERS[kind], name)


def _array(cursor, name):
    """Texts as a list, numbers as an array."""
    kind, n = cursor.number("I", name), cursor.number("Q", name)
    if kind == TEXT:
        left = cursor.n_bytes - cursor.place
        if 8 * n > left:  # each has at least its length
            raise broken(cursor.path, name, f"texts within the {left:,} bytes that are left", f"{n:,}")
        return [cursor.text(name) for _ in range(n)]
    if kind not in NUMBERS:
        raise broken(cursor.path, name, "an array of numbers or texts", f"kind {kind:,}")
    dtype = np.dtype(NUMBERS[kind]).newbyteorder("<")
    return np.frombuffer(cursor.take(n * dtype.itemsize, name), dtype)


def _tensor_line(cursor, name):  # -> kind, shape, offset
    n_dims = cursor.number("I", name)
    if not 1 <= n_dims <= MAX_DIMS:
        raise broken(cursor.path, name, f"1 to {MAX_DIMS} dimensions", f"{n_dims:,}")
    dims = [cursor.number("Q", name) for _ in range(n_dims)]
    kind, offset = cursor.number("I", name), cursor.number("Q", name)
    return kind, tuple(reversed(dims)), offset  # the file names the fastest first


def _alignment(path, keys):
    value = keys.get("general.alignment", ALIGNMENT)
    if type(value) is not int or not 1 <= value <= MAX_ALIGNMENT or value & (value - 1):
        raise broken(path, "general.alignment", f"a power of two up to {MAX_ALIGNMENT:,}", value)
    return value


def _padded(n, alignment):
    return -(-n // alignment) * alignment


def _places(path, lines, start, alignment, n_bytes):
    """name -> TensorInfo: no overlap, no hole but padding, nothing behind the last; as llama.cpp has it."""
    found, place = {}, start
    for name, (kind, shape, offset) in lines.items():
        if kind not in KINDS:
            kinds = ", ".join(row[0] for row in KINDS.values())
            raise broken(path, name, f"a kind of {kinds}", f"number {kind:,}", "quantize the model to one of them")
        dtype, per_block, block_bytes = KINDS[kind]
        if min(shape) < 1 or shape[-1] % per_block:
            raise broken(path, name, f"rows of a multiple of {per_block} weights for {dtype}", list(shape))
        if start + offset != place:
            raise broken(path, name, f"a start at byte {place:,}", f"{start + offset:,}")
        end = place + math.prod(shape) // per_block * block_bytes  # Python integers: cannot overflow
        if end > n_bytes:
            size = printable(f"{end - place:,}")
            raise broken(path, name, f"{size} bytes for {dtype} {printable(list(shape))}", f"{n_bytes - place:,}")
        found[name], place = TensorInfo(dtype, shape, place, end), _padded(end, alignment)
    if n_bytes > place:
        raise broken(path, "the whole file", f"{place:,} bytes as its header says", f"{n_bytes:,}")
    return found


def one_value(header, name, default=None):
    """The number or the text under a key, `default` where there is none; FileError for a list or an array.

    Which NumPy would compare element by element, as if they might be equal in part.
    """
    value = header.keys.get(name, default)
    if isinstance(value, (list, np.ndarray)):
        raise broken(header.path, name, "one number or text", f"a list of {len(value):,}")
    return value


def broken(path, what, expected, got, advice=_ADVICE):
    """The FileError for what a file says of itself that cannot be."""
    return FileError(f"{files.short(path)}: {printable(what)}: expected {expected}, got {printable(got)}; {advice}")
