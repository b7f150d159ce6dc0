"""The table of contents of a .safetensors file, read by hand and checked before one tensor byte is trusted.

A file is 8 bytes with the header's length (little-endian), the header as JSON, then the tensors without holes:
{"wte.weight": {"dtype": "F32", "shape": [50257, 768], "data_offsets": [0, 154389504]}, "__metadata__": {…}}
Enter: a path. Leave: a Header, with every tensor's place in the file. Next: storage/contents.py.
"""

import json
import math
from pathlib import Path
from typing import NamedTuple

from .. import files
from ..errors import FileError, printable

MAX_HEADER = 4_000_000  # bytes; GPT-2's have 15,000, and the format's own limit of 100,000,000 takes 2.5 GB to parse
MAX_DIMS = 32  # what every NumPy can hold

# bytes per number, of every dtype that the format has in whole bytes
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "C64": 8, "BOOL": 1}
ITEM_BYTES |= {f"{sign}{8 * n}": n for sign in "IU" for n in (1, 2, 4, 8)}

_ADVICE = "the file is damaged or cut off; copy or download it again"


class TensorInfo(NamedTuple):
    """Where a tensor stands: dtype as the format names it ("F32"), shape, and its bytes [start, end) in the file.

    `transposed`: the bytes are those of its transpose, as where a linear layer lies [n_out, n_in]; `crc`: a checksum of
    them, where a format has one.
    """

    dtype: str
    shape: tuple
    start: int
    end: int
    transposed: bool = False
    crc: int | None = None


class Header(NamedTuple):
    """What a .safetensors file says about itself: metadata (str -> str) and tensors (name -> TensorInfo)."""

    path: Path
    metadata: dict
    tensors: dict


def sort_metadata(path):
    """Put a file's metadata in alphabetical order: the library writes it in another order every time.

    Without this the same weights would give files that differ byte for byte.
    """
    with open(path, "r+b") as file:
        n_bytes = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(n_bytes))
        metadata = dict(sorted(header.pop("__metadata__", {}).items()))
        text = json.dumps({"__metadata__": metadata, **header}, separators=(",", ":"), ensure_ascii=False).encode()
        file.seek(8)
        file.write(text.ljust(n_bytes))


def read_header(path):
    """The checked Header of a .safetensors file: every offset lies inside the file and fits its dtype and shape.

    Raises FileError, naming the tensor, where the file is cut off, does not parse, or contradicts itself.
    """
    path = Path(path)
    text, n_bytes = _header_text(path)
    raw = _parse(path, text)
    metadata = raw.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _broken(path, "__metadata__", "a table of strings", type(metadata).__name__)
    data_start = 8 + len(text)
    tensors = {name: _tensor_info(path, name, entry, data_start) for name, entry in raw.items()}
    _check_layout(path, tensors, data_start, n_bytes)
    return Header(path, metadata, tensors)


def _header_text(path):  # -> (bytes, the size of the whole file)
    try:
        with files.open_regular(path) as file:
            n_bytes = file.seek(0, 2)
            file.seek(0)
            n_header = int.from_bytes(file.read(8), "little")
            room = min(n_bytes - 8, MAX_HEADER)
            if not 2 <= n_header <= room:  # checked before read(), which would allocate what the file claims
                raise _broken(path, "header", f"a length from 2 to {max(room, 0):,} bytes", f"{n_header:,}")
            return file.read(n_header), n_bytes
    except OSError as error:
        raise files.cannot_read(path, error) from error


def _parse(path, text):
    try:
        raw = json.loads(text.decode("utf-8"), object_pairs_hook=lambda pairs: _without_twins(path, pairs))
    except FileError:
        raise
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, absurdly long numbers, absurdly deep nesting
        raise _broken(path, "header", "JSON in UTF-8", f"{type(error).__name__}: {error}") from error
    if not isinstance(raw, dict):
        raise _broken(path, "header", "a JSON object", type(raw).__name__)
    return raw


def _without_twins(path, pairs):
    """A JSON object as a dict; json.loads alone would keep the last of two equal names, silently."""
    found = dict(pairs)
    if len(found) != len(pairs):
        seen = set()
        twin = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise _broken(path, "header", "every name once", f"'{printable(twin, 40)}' twice")
    return found


def _tensor_info(path, name, entry, data_start):
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _broken(path, name, "dtype, shape and data_offsets", entry)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise _broken(path, name, f"a dtype of {', '.join(ITEM_BYTES)}", dtype)
    if not _are_sizes(shape) or len(shape) > MAX_DIMS:
        raise _broken(path, name, "a shape of whole numbers from 0", shape)
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _broken(path, name, "data_offsets [start, end]", offsets)
    start, end = offsets
    n_bytes = math.prod(shape) * ITEM_BYTES[dtype]  # Python integers: cannot overflow
    if n_bytes != end - start:
        needed = f"{printable(f'{n_bytes:,}')} bytes for {dtype} {printable(shape)}"
        raise _broken(path, name, needed, f"{end - start:,}")
    return TensorInfo(dtype, tuple(shape), data_start + start, data_start + end)


def _are_sizes(values):
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def _check_layout(path, tensors, data_start, n_bytes):
    """Every byte after the header belongs to exactly one tensor: no overlap, no hole, nothing left at the end."""
    place = data_start
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if info.start != place:
            flaw = "overlaps the tensor before it" if info.start < place else "leaves a hole before it"
            raise _broken(path, name, f"a start at byte {place:,}", f"{info.start:,}, which {flaw}")
        place = info.end
    if place != n_bytes:
        raise _broken(path, "the whole file", f"{place:,} bytes as its header says", f"{n_bytes:,}")


def _broken(path, what, expected, got):
    return FileError(f"{files.short(path)}: {printable(what)}: expected {expected}, got {printable(got)}; {_ADVICE}")
