"""Whichever format a model lies in -> (config, params, tokenizer).

Enter: a directory in the layout of `transformers`, a GGUF file, or llm.c's .bin file. Leave: what the room of that
format makes of it. A file's first bytes say what it is, not its name. Next: storage/urls.py.
"""

from pathlib import Path

import numpy as np

from .. import files
from ..errors import FileError, printable
from ..tokenizer.bpe import Tokenizer
from ..tokenizer.reading import WHOLE, pair_of, present
from . import adapter as adapters
from . import checkpoint, gguf, llmc
from .gguf_header import MAGIC

# how files begin that are often mistaken for a model -> what to do instead
_OTHERS = {
    b"PK\x03\x04": "pickled weights, which can run code and are never loaded; open them with transformers and call "
    "save_pretrained(directory, safe_serialization=True)",
    llmc.STATE_MAGIC.to_bytes(4, "little"): "llm.c's debug state, which holds no weights; give the model beside it",
}
_OTHERS |= {bytes([0x80, version]): _OTHERS[b"PK\x03\x04"] for version in (2, 3, 4, 5)}


def room_of(path):
    """The module that opens a path: checkpoint for a directory (or nothing), gguf or llmc for a file.

    FileError for a file that is none of those.
    """
    path = Path(path)
    if not path.is_file():
        return checkpoint  # which says what is missing
    try:
        with files.open_regular(path) as file:
            begin = file.read(4)
    except OSError as error:
        raise files.cannot_read(path, error) from error
    if begin == MAGIC:
        return gguf
    if begin == llmc.MAGIC.to_bytes(4, "little"):
        return llmc
    unknown = f"one that begins with {printable(begin)}; give a model's directory, a .gguf file or llm.c's .bin file"
    got = next((what for other, what in _OTHERS.items() if begin.startswith(other)), unknown)
    raise FileError(f"{files.short(path)}: expected a model in a file, got {got}")


def read_config(path):
    """The GPTConfig of a model in any format; FileError where there is none, or a broken one."""
    return room_of(path).read_config(path)


def load(path, dtype=np.float32, keep=None, copy=False, adapter=None):
    """Open a model in any format: (GPTConfig, params, Tokenizer or None); see checkpoint.load.

    `adapter`: the folder of a LoRA adapter, merged into each weight as it is read; FileError where it was made for
    another model.
    """
    if adapter is None:
        return room_of(path).load(path, dtype, keep, copy)
    found, made_for = adapters.load(adapter, read_config(path))
    config, params, tokenizer = room_of(path).load(path, dtype, adapters.merging(found, keep), copy)
    adapters.check_base(adapter, made_for, params)
    return config, params, tokenizer


def trained_with(path):
    """checkpoint.trained_with of a directory; no file says it."""
    return checkpoint.trained_with(path) if room_of(path) is checkpoint else None


def read_dtypes(path):
    """How the weights are stored, sorted, as the format names it: ["F32"]; of a directory without weights []."""
    if (room := room_of(path)) is not checkpoint:
        return room.read_dtypes(path)
    has_weights = any(file.suffix in (".safetensors", ".index") for file in Path(path).iterdir() if file.is_file())
    return sorted({info.dtype for _, info in checkpoint.find_tensors(path)[0].values()}) if has_weights else []


def read_tokenizer(path):
    """The Tokenizer of a model in any format, without its weights; None where it has none."""
    if (room := room_of(path)) is not checkpoint:
        return room.read_tokenizer(path)
    names = present(path)
    return Tokenizer.load(path) if {WHOLE, pair_of(names)[0]} & set(names) else None
