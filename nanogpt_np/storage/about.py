"""What there is to know of models without opening one: those that are registered, and what lies in a directory.

Enter: a model's name, or a directory. Leave: rows and an About, to be printed. Next: storage/conversion.py.
"""

from pathlib import Path
from typing import NamedTuple

from .. import files
from ..errors import FileError
from ..kv_cache import cache_bytes
from ..params import size
from ..tokenizer.bpe import Tokenizer
from . import formats
from .registry import read_registry, resolve

LICENCES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING")


class Listed(NamedTuple):
    """A registered model: its number of parameters (None: not said), and where it is, or None where it is not here."""

    name: str
    n_params: int | None
    directory: Path | None


class About(NamedTuple):
    """What a model's directory (or one file) holds; `dtypes` as files name them ("F32"), `files` name -> bytes."""

    directory: Path
    config: object
    n_params: int
    dtypes: list
    files: dict
    tokenizer: Tokenizer | None
    licence: str
    cache_bytes: int  # of keys and values, of the first token and of a full context, in float32
    full_cache_bytes: int


def listed():
    """Every registered model, in the registry's order."""
    return [Listed(model.name, model.n_params, _here(model.name)) for model in read_registry().values()]


def describe(name_or_directory):
    """The About of a registered model, a directory or a file; FileError where there is none, or it is broken.

    Weights are not read, only what their files say of themselves.
    """
    directory = resolve(files.as_path(name_or_directory, "model"))
    config = formats.read_config(directory)
    paths = [directory] if directory.is_file() else sorted(directory.iterdir())
    found = {path.name: path.stat().st_size for path in paths if path.is_file()}
    dtypes, tokenizer = formats.read_dtypes(directory), formats.read_tokenizer(directory)
    one, full = (cache_bytes(config, n) for n in (1, config.n_ctx))
    return About(directory, config, size(config), dtypes, found, tokenizer, _licence(directory, found), one, full)


def _here(name):
    try:
        return resolve(name)
    except FileError:
        return None


def _licence(directory, found):
    """What the registry says of a model that lies where it looks, else the name of a licence's file, else ""."""
    for model in read_registry().values():
        if directory.resolve() in [place.resolve() for place in model.places]:
            return model.licence
    return next((f"see {directory / name}" for name in LICENCES if name in found), "")
