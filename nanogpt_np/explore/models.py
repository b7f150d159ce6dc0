"""Which models a page may ask for, and how they are kept open: reopened when their files change.

Enter: names and directories, as whoever started the page gave them; later the id that a request names. Leave: a GPT
that remembers its last passes, as all views of one picture look at the same one. A request opens nothing else: an id
is looked up, and is never a path. Next: explore/views.py.
"""

import collections
import hashlib
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import files
from .. import params as P
from ..errors import FileError, InputError, printable, shown
from ..gpt import GPT
from ..storage import formats, registry
from ..training import best, folder, kept, report

MOST_OPEN = 4  # models, each with one kind of ops
PASSES = 4  # that a model remembers
PASS_BYTES = 1 << 28  # of them together, the last one apart
STAMPED = ("config.json", "model.safetensors", "model.safetensors.index.json", "vocab.json", "merges.txt")


class Watched(GPT):
    """A GPT that remembers its last passes with all arrays, which nobody may change."""

    def __init__(self, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        self._passes: collections.OrderedDict[Any, Any] = collections.OrderedDict()

    def __call__(self, ids, *, mask=None, cache=None, last_only=False, keep_acts=False):
        """As of a GPT."""
        again = keep_acts and mask is None and cache is None and not last_only
        if not again:
            return super().__call__(ids, mask=mask, cache=cache, last_only=last_only, keep_acts=keep_acts)
        key = np.asarray(ids).tobytes()
        if key not in self._passes:
            self._passes[key] = _fixed(super().__call__(ids, keep_acts=True))
        self._passes.move_to_end(key)
        while len(self._passes) > 1 and (len(self._passes) > PASSES or self._kept_bytes() > PASS_BYTES):
            self._passes.popitem(last=False)
        return self._passes[key]

    def _kept_bytes(self):
        return sum(array.nbytes for _, acts in self._passes.values() for _, array in P.walk(acts))


class Opened(NamedTuple):
    """A model as a request finds it; `stamp` changes with its files."""

    id: str
    stamp: str
    gpt: GPT


class Source(NamedTuple):
    """Where a model lies."""

    id: str
    path: Path
    description: str


class Models:
    """The models of a page: those that were named, those that ship or were downloaded, and what their runs kept."""

    def __init__(self, names, adapter=None):
        self.adapter = None if adapter is None else registry.resolve_adapter(files.as_path(adapter, "adapter"))
        self.given, self.registered = [_given(name) for name in names], _registered()
        self._open: collections.OrderedDict[Any, Opened] = collections.OrderedDict()
        self._about: dict[str, Any] = {}

    def sources(self):
        """All of them by id, those that were named first; a training run's kept models as they come."""
        found = {}
        for source in [*self.given, *self.registered]:
            if source.path not in [known.path for known in found.values()]:
                found[_free(source.id, found)] = source
        for id, source in list(found.items()):
            for name, path in _of_run(source.path).items():
                found[f"{id}@{name}"] = Source(f"{id}@{name}", path, f"{name} of {id}")
        return {id: source._replace(id=id) for id, source in found.items()}

    def find(self, id, ops="auto"):
        """The model that an id names, opened again where its files changed -> Opened.

        InputError for an unknown id; where a file cannot be opened just now, the model as it was before.
        """
        source = self._source(id)
        key, stamp = (source.id, ops), stamp_of(source.path)
        known = self._open.get(key)
        if known is None or known.stamp != stamp:
            try:
                known = Opened(source.id, stamp, self._load(source, ops))
            except FileError:  # a run is replacing it
                if known is None:
                    raise
            self._open[key] = known
        self._open.move_to_end(key)
        while len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)
        return known

    def run_of(self, id):
        """The folder of the training run that an id names, or that kept it; None where it is none."""
        path = self._source(id).path
        places = [path, path.parent, path.parent.parent] if "@" in id else [path]
        return next((place for place in places if (place / report.LOG).is_file()), None)

    def listing(self):
        """What the page says of each model: a list of dicts."""
        return [self._describe(source) for source in self.sources().values()]

    def _source(self, id):
        sources = self.sources()
        if not isinstance(id, str) or id not in sources:
            raise InputError(f"model: expected one of {', '.join(sources)}, got {shown(id)}")
        return sources[id]

    def _load(self, source, ops):
        adapter = self.adapter if self.given and source.path == self.given[0].path else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # said when the page was started
            # a run may write over its files while they are looked at
            return Watched.from_pretrained(source.path, ops=ops, copy=True, adapter=adapter)

    def _describe(self, source):
        stamp = stamp_of(source.path)
        about = self._about.get(source.id)
        if about is None or about[0] != stamp:
            try:
                about = stamp, formats.read_config(source.path)
                self._about[source.id] = about
            except FileError:
                about = about or (stamp, None)
        has_text = bool(source.path.is_file() or (source.path / "vocab.json").is_file()
                        or (source.path / "tokenizer.json").is_file())  # fmt: skip
        row = described(source.id, source.description, about[1], has_text)
        return row | {"run": _progress(source.path), "stamp": stamp}


def described(id, description, config, has_text):
    """A model's shape as the page's list has it; nulls where its config cannot be read."""
    names = ("n_layer", "n_head", "n_embd", "n_ctx", "n_vocab", "n_hidden", "d_head", "activation")
    shape = {name: None if config is None else getattr(config, name) for name in names}
    n_params = None if config is None else P.size(config)
    tied = config is not None and config.tie_word_embeddings
    return {"id": id, "label": id, "description": description, **shape, "n_params": n_params, "tied": tied,
            "has_text": has_text, "run": None}  # fmt: skip


def stamp_of(path):
    """16 hex digits that change when the files of a model do."""
    places = [path / name for name in STAMPED] if path.is_dir() else [path]
    seen = []
    for place in places:
        try:
            status = place.stat()
            seen.append((place.name, status.st_mtime_ns, status.st_size, status.st_ino))
        except OSError:
            pass
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]


def _fixed(answer):
    for _, array in P.walk(answer[1]):
        array.setflags(write=False)
    answer[0].setflags(write=False)
    return answer


def _given(name):
    path = Path(registry.resolve(files.as_path(name, "model")))
    known = registry.read_registry()
    if str(name) in known:
        return Source(str(name), path, known[str(name)].description)
    return Source(_plain(path.resolve().name), path, printable(str(name)))


def _plain(name):
    """A folder's name as an id, which stands in addresses."""
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-") or "model"


def _free(id, taken):
    names = [id, *(f"{id}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


def _registered():
    """The registered models that are here."""
    found = []
    for model in registry.read_registry().values():
        try:
            found.append(Source(model.name, Path(registry.resolve(model.name)), model.description))
        except FileError:
            pass
    return found


def _of_run(path):
    """What a training run has kept beside its last model: {"best": Path, "step-000500": Path}."""
    if not (path / report.LOG).is_file():
        return {}
    found = {best.NAME: path / best.NAME} if (path / best.NAME / "config.json").is_file() else {}
    return found | {f"step-{step:06}": place for step, place in kept.folders(path).items()}


def _progress(path):
    """How far a run is, {"step", "steps"}: the last row of its log, and what was planned; None where it is no run."""
    if not (path / folder.NAME).is_file():
        return None
    try:
        rows = report.read_rows(path / report.LOG) if (path / report.LOG).is_file() else []
        steps = folder.read(path)["options"].get("steps")
        return {"step": int(rows[-1]["step"]) if rows else None, "steps": steps}
    except (InputError, ValueError, KeyError, AttributeError):  # being written, or not as a run writes it
        return {"step": None, "steps": None}
