"""A model's name -> a verified directory.

Enter: "stories", "gpt2", or any path. Leave: a directory or a file that formats.py opens. The registry,
weights/models.json, says which models ship with the project and where the others come from; those are kept in the
user's cache folder, or in the folder that NANOGPT_NP_HOME names. Next: storage/about.py.
"""

import difflib
import os
import re
from pathlib import Path
from typing import NamedTuple

import platformdirs

from .. import files
from ..errors import FileError, InputError, printable
from . import adapter
from .checkpoint import CONFIG, WEIGHTS
from .header import MAX_HEADER
from .transfer import check_file, fetch
from .urls import check_url

REGISTRY = "models.json"
MAX_REGISTRY = 4 << 20  # bytes: some ten thousand models

# a plain name: what the registry says must not reach outside the folder of its model
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class RemoteFile(NamedTuple):
    """A file of a model: its address, and its size and hash (hex) where they are published, else None."""

    url: str
    n_bytes: int | None
    sha256: str | None


class Model(NamedTuple):
    """A registered model: where it is looked for, and its files (name -> RemoteFile; empty if it ships with us).

    `sha256`: what is known of the files' hashes, name -> hex.
    """

    name: str
    description: str
    n_params: int | None
    licence: str
    places: tuple
    files: dict
    sha256: dict


def weights_dir():
    """The folder with the registry: in an installed package inside it, in a checkout beside it."""
    package = Path(__file__).resolve().parent.parent
    places = (package / "weights", package.parent / "weights")
    for folder in places:
        if (folder / REGISTRY).is_file():
            return folder
    raise FileError(f"{REGISTRY}: expected in {_either(places)}, found none; install nanogpt_np again")


def home_dir():
    """The folder for downloaded models: the environment variable NANOGPT_NP_HOME, else the user's cache folder."""
    return Path(os.environ.get("NANOGPT_NP_HOME") or platformdirs.user_cache_dir("nanogpt_np", appauthor=False))


def read_registry(registry=None, home=None):
    """The registered models: {name: Model}, of the registry file given, or of the one that ships with us.

    `home` replaces home_dir(). Raises FileError where the registry does not say what it must.
    """
    registry = Path(registry) if registry else weights_dir() / REGISTRY
    home = Path(home) if home else home_dir()
    raw = files.read_json(registry, MAX_REGISTRY)
    if not isinstance(raw, dict) or not all(isinstance(entry, dict) for entry in raw.values()):
        raise FileError(f"{registry}: expected a table of models, got something else; restore the file")
    return {name: _read_model(registry, home, name, entry) for name, entry in raw.items()}


def _read_model(registry, home, name, raw):
    remote = raw.get("files", {})
    if not isinstance(remote, dict):
        raise _wrong(registry, name, "a table of files", remote)
    for plain in (name, raw.get("path", name), *remote):
        if not isinstance(plain, str) or not _PLAIN.fullmatch(plain):
            raise _wrong(registry, name, "plain names without folders", plain)
    places = (registry.parent / name, home / name) if remote else (registry.parent / raw.get("path", name),)
    found = {key: _read_file(registry, name, entry) for key, entry in remote.items()}
    n_params = raw.get("parameters")
    if n_params is not None and (type(n_params) is not int or n_params < 0):
        raise _wrong(registry, name, "parameters as a whole number or null", n_params)
    about = [raw.get(key, "") for key in ("description", "licence")]
    if not all(isinstance(text, str) for text in about):
        raise _wrong(registry, name, "description and licence as text", about)
    hashes = _read_hashes(registry, name, raw.get("sha256", {})) | {k: f.sha256 for k, f in found.items() if f.sha256}
    return Model(name, printable(about[0], 400), n_params, printable(about[1], 400), places, found, hashes)


def _read_hashes(registry, name, raw):
    if not isinstance(raw, dict) or not all(_PLAIN.fullmatch(key) and _is_sha256(value) for key, value in raw.items()):
        raise _wrong(registry, name, "sha256 as a table: file -> 64 hex digits", raw)
    return raw


def _read_file(registry, name, raw):
    url, n_bytes, sha256 = (raw.get(key) for key in ("url", "bytes", "sha256")) if isinstance(raw, dict) else [None] * 3
    if not isinstance(url, str):
        raise _wrong(registry, name, "files with a url", raw)
    check_url(url)
    if n_bytes is not None and (type(n_bytes) is not int or n_bytes < 0):
        raise _wrong(registry, name, "bytes as a whole number or null", n_bytes)
    if sha256 is not None and not _is_sha256(sha256):
        raise _wrong(registry, name, "sha256 as 64 hex digits or null", sha256)
    return RemoteFile(url, n_bytes, sha256)


def _is_sha256(value):
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _wrong(registry, name, expected, got):
    name, got = printable(repr(name)), printable(repr(got))
    return FileError(f"{registry}: {name}: expected {expected}, got {got}; correct the registry")


def resolve(name_or_path, registry=None, home=None):
    """Where a model lies: a model directory or a file as it is, a registered name where its files are.

    Nothing is downloaded. Raises FileError where a registered model is not here yet, with the command that fetches
    it, and where the name is unknown, with the names that come close.
    """
    _check_name(name_or_path)
    path = Path(name_or_path)
    if os.path.isfile(path / CONFIG):
        return path
    models = read_registry(registry, home)
    if str(name_or_path) in models:
        return _find(models[str(name_or_path)])
    if os.path.isdir(path) or os.path.isfile(path):
        return path  # formats.load says what it lacks
    raise _unknown(name_or_path, models)


def resolve_adapter(name_or_path):
    """The folder of an adapter: one that is there, or one that ships with us ("stories-asked").

    FileError where there is none, with the names of those that ship.
    """
    shipped = {path.parent.name: path.parent for path in sorted(weights_dir().glob(f"*/{adapter.CONFIG}"))}
    if os.path.isfile(Path(name_or_path) / adapter.CONFIG):
        return Path(name_or_path)
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    known = "".join(f" or {name!r}" for name in shipped)
    expected = f"a folder with {adapter.CONFIG}{known}"
    raise FileError(f"adapter: expected {expected}, got {printable(repr(str(name_or_path)))}; check the name")


def _check_name(name):
    if not isinstance(name, (str, os.PathLike)):
        raise InputError(f"expected a model's name or a directory, got {printable(name)}; give its name as text")


def _find(model):
    for place in model.places:
        if _is_complete(model, place):
            return place
    where = _either(model.places)
    if not model.files:
        raise FileError(f"{model.name}: expected in {where}, which ships with the project; install nanogpt_np again")
    raise FileError(
        f"{model.name}: expected {', '.join(model.files)} in {where}, found them in neither; "
        f"fetch them with: nanogpt-np download {model.name}"
    )


def _is_complete(model, place):
    """Whether all files are there, in the size that is known; hashes are checked once, by download()."""
    remote = model.files or dict.fromkeys((CONFIG, WEIGHTS), RemoteFile("", None, None))
    paths = {place / name: file.n_bytes for name, file in remote.items()}
    return all(os.path.isfile(path) and n_bytes in (None, path.stat().st_size) for path, n_bytes in paths.items())


def _unknown(name, models):
    close = difflib.get_close_matches(str(name)[:80], models, n=1)
    guess = f"; did you mean {close[0]!r}?" if close else "; check the name"
    name = printable(repr(str(name)))
    return FileError(f"{name}: expected a model directory or one of {', '.join(models)}, found neither{guess}")


def download(name, force=False, progress=True, registry=None, home=None):
    """Fetch what is missing of a registered model, verify all of it, and return its directory.

    Files that are there already are verified too (size and hash where known, else that they parse) and kept;
    `force` fetches them again. A transfer that breaks off goes on from there in the next call.
    Raises FileError where the name is unknown, the network fails, or a file is not the expected one.
    """
    _check_name(name)
    models = read_registry(registry, home)
    if str(name) not in models:
        raise _unknown(name, models)
    model = models[str(name)]
    if not model.files:
        return _find(model)
    target = next((place for place in model.places if _is_complete(model, place)), model.places[-1])
    if not force and not _lacking(model, target):
        return target  # before the lock: a folder that others filled may be read-only
    files.make_folder(target)
    with files.locked(target / ".lock", f"{name}: another process is downloading it to {target}; wait for it"):
        for file_name in model.files if force else _lacking(model, target):
            file = model.files[file_name]
            advice = _by_hand(model, target)
            fetch(file.url, target / file_name, file.n_bytes, file.sha256, _most(model, file_name), progress, advice)
    return target


def _most(model, file_name):
    """The bytes that the weights may have where their size is not published, or None for what is usual.

    Parameters of 4 bytes, as much again for the attention masks that old files carry along, and the longest header.
    """
    if Path(file_name).suffix != ".safetensors" or model.n_params is None:
        return None
    return 8 * model.n_params + MAX_HEADER


def _lacking(model, target):
    """The files that are missing or not as the registry says, in its order: the weights last."""
    lacking = []
    for name, file in model.files.items():
        try:
            check_file(target / name, Path(name).suffix, file.n_bytes, file.sha256)
        except InputError:
            lacking.append(name)
    return lacking


def _by_hand(model, target):
    source = next(iter(model.files.values())).url.rsplit("/", 1)[0]
    return (
        f"files are looked for in {_either(model.places)}; without a connection, fetch {', '.join(model.files)} "
        f"from {printable(source, 160)} by other means and put them into {target}"
    )


def _either(places):
    return " or ".join(map(str, places))
