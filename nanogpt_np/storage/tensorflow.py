"""OpenAI's own files, of 2019: a checkpoint of TensorFlow, read without TensorFlow.

Enter: a directory with hparams.json, model.ckpt.index (which tensors, and where) and model.ckpt.data-00000-of-00001
(their bytes, one after the other); `checkpoint` names them where they are called otherwise. Leave: a config, and
tensors under the names of `transformers`: "model/h0/attn/c_attn/w" [1, 768, 2304] is "h.0.attn.c_attn.weight"
[768, 2304] there. The index is a table of protocol buffers, of which little is needed. Next: storage/nanogpt.py.
"""

import math
import re
from pathlib import Path

import numpy as np

from .. import files
from ..config import MOST, GPTConfig
from ..errors import FileError, InputError, printable
from .crc32c import checksum, masked
from .header import MAX_DIMS, TensorInfo
from .table import Slice, entries

HPARAMS, POINTER, INDEX = "hparams.json", "checkpoint", "model.ckpt.index"
MAX_HPARAMS, MAX_POINTER, MAX_INDEX = 1 << 20, 1 << 20, 4 << 20  # bytes; the published index of 1.5B has 22 kB
MOST_SHARDS = 10_000

# TensorFlow's numbers of those dtypes that can hold weights -> how .safetensors calls them, and bytes per number
_DTYPES = {1: ("F32", 4), 2: ("F64", 8), 14: ("BF16", 2), 19: ("F16", 2)}
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5  # how a field of a protocol buffer lies in its bytes
_PLAIN = re.compile(r"[\w-][\w.-]{0,100}")
_LEAVES = {"w": "weight", "g": "weight", "b": "bias"}
_OURS = re.compile(
    r"model/(?:(wte|wpe)|ln_f/([gb])"
    r"|h(0|[1-9]\d{0,5})/(ln_1|ln_2|attn/c_attn|attn/c_proj|mlp/c_fc|mlp/c_proj)/([wgb]))"
)


def is_here(directory):
    """Does a directory hold OpenAI's files, and none of `transformers`?"""
    directory = Path(directory)
    names = (HPARAMS, INDEX, POINTER)
    return not (directory / "config.json").exists() and any((directory / name).is_file() for name in names)


def read_hparams(directory):
    """The GPTConfig that hparams.json says; FileError where it is missing or says something impossible."""
    path = Path(directory) / HPARAMS
    raw = files.read_json(path, MAX_HPARAMS)
    names = ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer")
    if not isinstance(raw, dict) or not set(names) <= set(raw):
        raise FileError(f"{files.short(path)}: expected {', '.join(names)}, got {printable(raw)}; copy the file again")
    try:
        config = GPTConfig(**{name: raw[name] for name in names})
    except InputError as error:
        raise FileError(f"{files.short(path)}: {error}") from error
    eos_id = config.n_vocab - 1  # <|endoftext|> is the last token of its encoder.json
    return config.replace(eos_id=eos_id)


def read_index(directory):
    """The weights of a checkpoint: {name: (path, TensorInfo with its checksum)}; what training left is passed over.

    Raises FileError where the index is cut off, contradicts itself or the files of data, or names no GPT-2's tensors.
    """
    path = _index(Path(directory))
    found, n_shards = {}, None
    for key, value in entries(path, files.read_bytes(path, MAX_INDEX)):
        if n_shards is None:
            n_shards = _n_shards(key, value)
        elif name := _our_name(key):
            if name in found:  # ln_1/g and ln_1/w
                raise _wrong(path, key, f"one tensor for {name}", "another as well")
            found[name] = _tensor(path, key, value, n_shards)
    if not found:
        where = files.short(path)
        raise FileError(f"{where}: expected tensors such as model/wte, got none; this is no GPT-2 of OpenAI's")
    _check_places(found)
    return found


def check_data(path, name, info, data):
    """FileError where a tensor's bytes do not have the checksum that the index gives; `data`: all bytes of its file."""
    if info.crc is not None and (got := masked(checksum(np.asarray(data[info.start : info.end])))) != info.crc:
        raise FileError(
            f"{files.short(path)}: {name}: expected the checksum {info.crc:08x} of its index, got {got:08x}; "
            "the file is damaged or of another checkpoint; copy or download it again"
        )


def _index(directory):
    """The index that `checkpoint` names, or the usual one; always in this very folder."""
    name, pointer = INDEX, directory / POINTER
    if pointer.is_file():
        named = re.search(r'^model_checkpoint_path: "(.*)"', files.read_text(pointer, MAX_POINTER), re.MULTILINE)
        stem = re.split(r"[/\\]", named[1])[-1] if named else ""  # where it once stood counts for nothing
        if not _PLAIN.fullmatch(stem):
            got = printable(named[1], 60) if named else "none"
            raise FileError(f"{files.short(pointer)}: expected a model_checkpoint_path, got {got}; copy the file again")
        name = f"{stem}.index"
    if not (directory / name).exists():
        beside = f"{POINTER} names it" if pointer.is_file() else f"{HPARAMS} stands for such a model"
        raise FileError(f"{files.short(directory)}: expected {name} in it, as {beside}, found none; copy it there")
    return directory / name


def _n_shards(key, value):
    """The header of a checkpoint, its first entry, without a key: how many files of data there are."""
    fields = dict(_fields(value))
    if key or fields.get(2, 0):
        raise value.broken("a header that says little endian", "another order of bytes" if not key else repr(key[:40]))
    n_shards = fields.get(1, 0)
    if not isinstance(n_shards, int) or not 1 <= n_shards <= MOST_SHARDS:
        raise value.broken(f"1 to {MOST_SHARDS:,} files of data", n_shards)
    return n_shards


def _our_name(key):
    """b"model/h0/ln_1/g" -> "h.0.ln_1.weight"; None for what is no weight of a GPT-2: a step, an optimizer's slot."""
    found = _OURS.fullmatch(key.decode("utf-8", "replace"))
    if not found:
        return None
    table, last, i, room, leaf = found.groups()
    if table:
        return f"{table}.weight"
    return f"ln_f.{_LEAVES[last]}" if last else f"h.{i}.{room.replace('/', '.')}.{_LEAVES[leaf]}"


def _tensor(path, key, value, n_shards):  # -> path of its data, TensorInfo
    fields = {}
    for number, field in _fields(value):
        if fields.setdefault(number, field) != field or number == 7:
            raise _wrong(path, key, "one tensor in one piece", "pieces, or a field twice")
    dtype, shard, start, n_bytes, crc = (fields.get(number, 0) for number in (1, 3, 4, 5, 6))
    if 6 not in fields or not all(isinstance(number, int) for number in (dtype, shard, start, n_bytes, crc)):
        raise _wrong(path, key, "dtype, place and checksum as numbers", "other fields")
    if dtype not in _DTYPES:
        names = ", ".join(name for name, _ in _DTYPES.values())
        raise _wrong(path, key, f"a dtype of {names}", f"TensorFlow's number {dtype}")
    if shard >= n_shards:
        raise _wrong(path, key, f"a file of data below {n_shards}", shard)
    shape = _shape(path, key, fields.get(2))
    name, item_bytes = _DTYPES[dtype]
    if math.prod(shape) * item_bytes != n_bytes:
        raise _wrong(path, key, f"{math.prod(shape) * item_bytes:,} bytes for {name} {list(shape)}", f"{n_bytes:,}")
    if len(shape) == 3 and shape[0] == 1:  # OpenAI's linear layers are convolutions of width 1
        shape = shape[1:]
    data = path.parent / f"{path.name.removesuffix('.index')}.data-{shard:05}-of-{n_shards:05}"
    return data, TensorInfo(name, shape, start, start + n_bytes, crc=crc)


def _shape(path, key, place):
    """A TensorShapeProto: its field 2, again and again, is a size, whose field 1 is a number."""
    shape = []
    for number, field in _fields(place) if isinstance(place, Slice) else ():
        if number == 2 and isinstance(field, Slice):
            shape.append(dict(_fields(field)).get(1, 0))
    if len(shape) > MAX_DIMS or not all(isinstance(size, int) and size <= MOST for size in shape):
        raise _wrong(path, key, f"at most {MAX_DIMS} sizes up to {MOST}", shape)
    return tuple(shape)


def _fields(place):
    """Yield (number, value) of each field of a protocol buffer: an int, or a Slice where it is bytes."""
    while place.start < place.end:
        tag, place = place.varint()
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, place = place.varint()
        elif kind in (_EIGHT, _FOUR):
            part = place.part(place.start, 8 if kind == _EIGHT else 4, "a number")
            value, place = part.number(), place._replace(start=part.end)
        elif kind == _BYTES:
            n_bytes, place = place.varint()
            value = place.part(place.start, n_bytes, "a field")
            place = place._replace(start=value.end)
        else:
            raise place.broken("a field of a protocol buffer", f"kind {kind}")
        yield number, value


def _check_places(tensors):
    """Every tensor lies inside its file, and no two on the same bytes."""
    ends = {}
    for name, (path, info) in sorted(tensors.items(), key=lambda item: (item[1][0], item[1][1].start)):
        if path not in ends:
            with files.open_regular(path) as file:
                n_bytes = file.seek(0, 2)
        if info.end > n_bytes or info.start < ends.get(path, 0):
            expected = f"bytes {ends.get(path, 0):,} to {n_bytes:,} to hold it"
            raise _wrong(path, name, expected, f"{info.start:,} to {info.end:,}")
        ends[path] = info.end


def _wrong(path, name, expected, got):
    name = printable(name.decode("utf-8", "replace") if isinstance(name, bytes) else name)
    advice = "the file is damaged or cut off; copy or download it again"
    return FileError(f"{files.short(path)}: {name}: expected {expected}, got {printable(got)}; {advice}")
