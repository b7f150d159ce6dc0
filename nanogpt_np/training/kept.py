"""Models kept on the way, so that a training can be played back: `kept/step-000500/`, each a model directory.

Enter: a run's folder, the weights after a step. Leave: one folder for each step that is kept, and later which there
are. A run that is resumed writes the same weights again where it does a step again. Next: training/report.py.
"""

import re
from pathlib import Path

from ..errors import FileError
from ..storage import checkpoint

NAME = "kept"
_STEP = re.compile(r"step-(\d{6,})")


def keep(out, step, *model):
    """Write the weights after `step` steps; `model`: what checkpoint.save takes."""
    checkpoint.save(Path(out) / NAME / f"step-{step:06}", *model)


def count(options):
    """How many models a run keeps that follows its options: the one it begins with, and every keep_every steps."""
    return 0 if options.keep_every is None else options.steps // options.keep_every + 1


def folders(out):
    """The folders of the kept models, {step: Path}, first step first; those that were not finished are left out."""
    found = {}
    here = Path(out) / NAME
    for path in here.iterdir() if here.is_dir() else ():
        matched = _STEP.fullmatch(path.name)
        if matched and (path / checkpoint.CONFIG).exists():
            found[int(matched[1])] = path
    return dict(sorted(found.items()))


def need(out):
    """folders(), of at least one; FileError where a run kept none."""
    found = folders(out)
    if not found:
        raise FileError(f"{out}: expected models in {NAME}, found none; train with --keep-every")
    return found
