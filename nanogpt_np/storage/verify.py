"""Is this the model that it says it is? Hashes of files and tensors, then every value that others published of it.

Enter: a directory, or one file, and the GPT that was opened from it. Leave: rows, each a published value, what was got,
and whether the two agree. What was published lies in published/: values.json, for each model its shape and what was
measured, each with its source; NAME_tensors.tsv, a hash for each tensor. Next: training/backward.py.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import files
from .. import params as P
from ..errors import FileError, InputError, printable
from ..tokenizer.reading import OPENAI, present
from . import checkpoint, tensorflow
from .measured import value_of
from .registry import read_registry

PUBLISHED = Path(__file__).parent / "published"
VALUES = "values.json"
MAX_TABLE, CHUNK = 4 << 20, 1 << 20  # bytes
DIGITS, COLUMN = 12, 28  # of a hash, and of any value, where a person reads it
_THEIR_NAMES = dict(zip(OPENAI, checkpoint.VOCABULARY, strict=True))  # byte for byte the same files


class Row(NamedTuple):
    """One comparison; `passed` is None where nothing was published, or where it says nothing about the weights."""

    name: str
    value: object
    got: object
    difference: str = "-"
    tolerance: str = "exact"
    source: str = ""
    passed: bool | None = None


def name_of(directory, config, published=None):
    """Which model a directory claims to be: the registered one that lies there, else the published one of this shape.

    None where neither is known. `published`: a folder in place of the one that ships with the package.
    """
    for model in read_registry().values():
        if Path(directory).resolve() in [place.resolve() for place in model.places]:
            return model.name
    for name, about in _read_values(published).items():
        if all(getattr(config, field) == size for field, size in about["shape"].items()):
            return name
    return None


def compare(directory, gpt, name=None, published=None):
    """Yield a Row for each file, each tensor and each published value of the model `name` (None: of none).

    `gpt`: opened from the directory, with float weights. A file that differs from the published one is no failure where
    what it holds was compared and agrees. FileError where files or tables cannot be read, InputError for no such model.
    """
    registered, about = read_registry().get(name), _read_values(published).get(name, {})
    _check_name(gpt.config, name, about, registered)
    tensors = list(_tensor_rows(gpt, _read_hashes(published, name)))
    known = list(_known_rows(gpt, about))
    same_weights = bool(tensors) and all(row.passed for row in tensors)
    same_words = any(row.passed for row in known if row.name == "vocabulary")
    deeper = {checkpoint.WEIGHTS: same_weights, **dict.fromkeys(checkpoint.VOCABULARY, same_words)}
    deeper[checkpoint.CONFIG] = bool(about)  # by whose shape it was found
    yield from _file_rows(directory, registered.sha256 if registered else {}, deeper)
    yield from tensors
    yield from known
    yield from (_value_row(gpt, entry) for entry in about.get("checks", ()))


def _check_name(config, name, about, registered):
    if name is not None and not registered and not about:
        raise InputError(f"expected a model with published values, got {printable(name)}; see `nanogpt-np models`")
    for field, size in about.get("shape", {}).items():
        if getattr(config, field) != size:
            raise InputError(f"{name}: expected {field} = {size}, got {getattr(config, field)}; this is another model")


def _file_rows(directory, hashes, deeper):
    for path in _files_of(directory):
        name = _THEIR_NAMES.get(path.name, path.name)
        got, value = _hash_of_file(path), hashes.get(name)
        is_other = value is not None and got != value and deeper.get(name, False)
        difference = "-" if value is None else "same inside" if is_other else _same(got == value)
        passed = None if value is None or is_other else got == value
        source = "weights/models.json" if value else ""
        yield Row(f"file {path.name}", value, got, difference, source=source, passed=passed)


def _files_of(directory):
    """The files that make the model: weights, what lists them, config and vocabulary; or the one that has it all."""
    directory = Path(directory)
    if directory.is_file():
        return [directory]
    names = [checkpoint.CONFIG, tensorflow.HPARAMS, checkpoint.INDEX, *present(directory)]
    paths = {path for path, _ in checkpoint.find_tensors(directory)[0].values()} | set(directory.glob("*.index"))
    return sorted(paths | {directory / name for name in names if (directory / name).is_file()})


def _tensor_rows(gpt, hashes):
    """A matrix may have been published in either order of its axes: every byte counts in both."""
    for name, array in P.walk(gpt.params):
        got, value = _hash_of_array(array), hashes.get(name)
        if value is not None and got != value and array.ndim == 2:
            got = value if _hash_of_array(array.T) == value else got
        passed, difference = (None, "-") if value is None else (got == value, _same(got == value))
        source = "pointer files of 0hq/WebGPT" if value else ""
        yield Row(f"tensor {name}", value, got, difference, source=source, passed=passed)


def _known_rows(gpt, about):
    """What is counted: parameters and the vocabulary."""
    if "parameters" in about:
        value, got = about["parameters"], P.count(gpt.params)
        yield Row("parameters", value, got, _same(value == got), source="published sizes", passed=value == got)
    if "vocabulary" in about and gpt.tokenizer is not None:
        value, got = about["vocabulary"], gpt.tokenizer.fingerprint
        yield Row("vocabulary", value, got, _same(value == got), source="OpenAI's files", passed=value == got)


def _value_row(gpt, entry):
    """One published value; numbers agree within their tolerance, ids and texts exactly."""
    value, got = entry["value"], value_of(gpt, entry)
    what = next(str(entry[key]) for key in ("text", "prompts", "ids", "id") if key in entry)
    name, tolerance, source = f"{entry['kind']}: {printable(what, 40)}", entry.get("tolerance"), entry.get("source", "")
    if tolerance is None:
        return Row(name, value, got, _same(value == got), source=source, passed=value == got)
    worst = float(np.abs(np.subtract(value, got)).max()) if len(value) == len(got) else np.inf
    return Row(name, value, got, f"{worst:.1e}", f"{tolerance:.0e}", source, worst <= tolerance)


def _same(is_same):
    return "none" if is_same else "differs"


def _hash_of_file(path):
    digest = hashlib.sha256()
    with files.open_regular(path) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _hash_of_array(array):
    """Of its numbers as float32, row by row, the little end first."""
    return hashlib.sha256(np.ascontiguousarray(array, "<f4")).hexdigest()


def _read_values(published):
    return files.read_json(Path(published or PUBLISHED) / VALUES, MAX_TABLE)


def _read_hashes(published, name):
    """name -> sha256 of NAME_tensors.tsv; {} where nobody published any."""
    path = Path(published or PUBLISHED) / f"{name}_tensors.tsv"
    if not path.is_file():
        return {}
    lines = [line.split("\t") for line in files.read_text(path, MAX_TABLE).splitlines() if not line.startswith("#")]
    if not all(len(line) == 2 for line in lines):
        raise FileError(f"{files.short(path)}: expected a hash and a name in each line; install nanogpt_np again")
    return {tensor: sha256 for sha256, tensor in lines}


HEADINGS = ("", "what", "published", "got", "difference", "tolerance", "source")


def in_words(row):
    """A row as cells of text, in the order of HEADINGS."""
    mark = {True: "ok", False: "FAIL", None: "-"}[row.passed]
    value = "-" if row.value is None else _short(row.value)
    tolerance = row.tolerance if row.passed is not None else "-"
    return [mark, row.name, value, _short(row.got), row.difference, tolerance, row.source or "-"]


def _short(value):
    """What fits into a column: the beginning of a hash, or of a value."""
    if isinstance(value, list) and value and all(isinstance(number, float) for number in value):
        value = [float(f"{number:.7g}") for number in value]
    is_hash = isinstance(value, str) and len(value) == 64
    return value[:DIGITS] if is_hash else printable(value, COLUMN)
