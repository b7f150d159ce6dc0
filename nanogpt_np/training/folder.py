"""The folder of a training run: one process at a time, nothing left of runs that were killed, and how the run began.

Enter: the folder's name; when a run begins, its options, the hash of its text and its ops. Leave: a lock, and
`training.json`, which says all that to whoever resumes, and carries a checksum of its own. Next: training/gpt3.py.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

from .. import __version__, files
from ..errors import FileError, InputError, printable
from ..storage import adapter, checkpoint
from . import best, kept, picture, report, samples, state
from .options import TrainOptions

NAME = "training.json"
MAX_BYTES = 1 << 20  # it has 1 kB, and a path for each file of text
LOCK = "training.lock"  # never replaced: whoever locks a file that is replaced later has locked nothing

# what a run writes into its folder; what was not finished when it was killed is called after these
FILES = (
    *(NAME, state.NAME, report.LOG, picture.NAME, samples.NAME, best.NOTE),
    *(checkpoint.WEIGHTS, checkpoint.CONFIG, *checkpoint.VOCABULARY, adapter.WEIGHTS, adapter.CONFIG),
)
_PART = re.compile(rf"\.({'|'.join(map(re.escape, FILES))})\.\w{{8}}\.part")  # as files.replacing names them

_BEFORE_CHECKSUMS = {"options", "data_sha256", "version"}  # the keys of a training.json of earlier versions


@contextlib.contextmanager
def held(out, resume):
    """Keep a run's folder for this process alone: made where it is missing, and rid of unfinished files.

    InputError where another process trains there, where a new run would meet other files, and where there is nothing
    to resume.
    """
    out = Path(out)
    if not (out / LOCK).exists():
        check(out, resume)  # before a lock is left in a folder that is none of ours
    files.make_folder(out)
    with files.locked(out / LOCK, f"{out}: another process is training here; wait for it, or stop it"):
        check(out, resume)
        remove_parts(out)
        yield


def check(out, resume):
    """InputError where a new run must not write, or where there is nothing to go on with."""
    if resume:
        _check_resumable(out)
    elif (out / NAME).exists():
        raise InputError(f"{out}: already holds a training run; go on with --resume, or choose another --out")
    elif out.exists() and not out.is_dir():
        raise InputError(f"{out}: expected a folder to write to, got a file; choose another --out")
    elif out.exists() and any(path.name != LOCK and not _PART.fullmatch(path.name) for path in out.iterdir()):
        raise InputError(f"{out}: expected an empty folder or none, got one with other files; choose another --out")


def _check_resumable(out):
    if not (out / NAME).exists():
        raise InputError(
            f"{out}: expected a training run ({NAME}) to resume, found none; "
            "name the folder of a run, or start a new one without --resume"
        )
    if (out / checkpoint.WEIGHTS).exists() and not state.exists(out):  # the state is always written first
        raise InputError(
            f"{out}: expected {state.NAME} beside {checkpoint.WEIGHTS}, found none; without it the run would begin "
            "again and overwrite that model: copy it back, or start a new run in another --out"
        )


def remove_parts(out):
    """Take away what runs that were killed while they wrote have left; only whoever holds the folder may."""
    for folder in (out, out / best.NAME, *(out / kept.NAME).glob("*")):
        for path in folder.iterdir() if folder.is_dir() else ():
            if _PART.fullmatch(path.name):
                path.unlink(missing_ok=True)
    shutil.rmtree(out / best.UNFINISHED, ignore_errors=True)


def begin(options, data_sha256, ops, init=None):
    """Note in the folder `options.out` what the run is; `init`: what start.Start says of the model it begins from."""
    about = {"options": dataclasses.asdict(options), "data_sha256": data_sha256}
    if init:
        about["init"] = init
    write(options.out, about | {"own_ops": checkpoint.own_ops(ops), "version": __version__})


def write(out, about):
    """Write training.json: `about`, a dict, and a checksum of it."""
    about = {name: value for name, value in about.items() if name != "sha256"}
    text = json.dumps(about | {"sha256": _digest(about)}, indent=2)  # ASCII: a file name need not be UTF-8
    files.write_text(Path(out) / NAME, text + "\n")


def read(out):
    """What training.json says, a dict; FileError where it is not as it was written."""
    path = Path(out) / NAME
    about = files.read_json(path, MAX_BYTES)
    if not isinstance(about, dict) or not _BEFORE_CHECKSUMS <= about.keys():
        raise FileError(f"{path}: expected {', '.join(sorted(_BEFORE_CHECKSUMS))}, got {printable(about)}; {_ADVICE}")
    if about.keys() != _BEFORE_CHECKSUMS:
        stored = about.pop("sha256", "none")
        if stored != _digest(about):
            raise FileError(f"{path}: expected what its checksum was made of, got something else; {_ADVICE}")
    return about


_ADVICE = "it was changed or damaged since: put it back as it was, or start a new run"


def _digest(about):
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode("ascii")).hexdigest()


def resume_options(out, data_paths=None, steps=None, kind=TrainOptions):
    """The options of the run in `out`, to go on with it; `data_paths` where the same files lie elsewhere now.

    `steps`: another number of steps in all than was planned (see change_steps). `kind`: the class of the options.
    InputError where `out` holds no run, or a damaged one.
    """
    options = stored_options(out, kind, "a run", data_paths, f"; {_ADVICE}")
    for name in options.data:
        if not os.path.exists(name):  # as what came from a pipe is gone
            found = "expected the text this run began with, found none"
            raise FileError(f"{files.short(name)}: {found}; name it by --data")
    return options if steps is None else dataclasses.replace(options, steps=steps)


def stored_options(out, kind, of_what, data_paths=None, advice=""):
    """What a run's training.json keeps, as a `kind` of options that are at home in `out`; FileError where it is none.

    `of_what`: whose options are expected, and `advice`: what to do, for that error.
    """
    check(Path(out), resume=True)
    stored = read(out)["options"]
    try:
        options = kind(**stored)
    except (TypeError, InputError) as error:
        got = printable(str(error), 200)
        raise FileError(f"{Path(out) / NAME}: expected the options of {of_what}, got: {got}{advice}") from error
    options.out, options.data = str(out), [str(name) for name in data_paths or options.data]
    return options


def change_steps(options, step):
    """Note in training.json where `options.steps` is not what was planned -> what was planned.

    The learning rate follows the new number from the present `step` on, so a list of changes says which steps went by
    which plan. InputError where more steps are done already.
    """
    about = read(options.out)
    planned = about["options"]["steps"]
    if options.steps != planned:
        if options.steps < step:
            raise InputError(f"--steps: expected at least {step}, as many are done already, got {options.steps}")
        about["options"]["steps"] = options.steps
        about["changes"] = [*about.get("changes", []), {"after_step": step, "steps": [planned, options.steps]}]
        write(options.out, about)
    return planned


def check_same(options, data_sha256, ops):
    """InputError where a run is to go on with another text, or with ops that compute something else."""
    about = read(options.out)
    if data_sha256 != about["data_sha256"]:
        names = ", ".join(options.data)
        raise InputError(f"{names}: expected the text this run began with, got another; name the right one by --data")
    own = checkpoint.own_ops(ops)
    if own != about.get("own_ops", own):
        expected, got = (f"the module {name}" if name else "numpy or numba" for name in (about["own_ops"], own))
        raise InputError(
            f"{options.out}: expected the ops that this run began with, {expected}, got {got}; "
            "go on from Python: train(resume_options(out), ops, resume=True)"
        )
