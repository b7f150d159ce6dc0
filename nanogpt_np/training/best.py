"""The best model of a run beside its last one: `best/`, a complete model directory.

Enter: what was measured, and the weights it was measured on. Leave: `best/` with the old weights or the new ones, never
a mixture: only model.safetensors ever changes, and it is replaced whole. Next: training/kept.py.
"""

import os

from .. import files
from ..errors import FileError
from ..storage import checkpoint

NAME, NOTE = "best", "measured.json"
MAX_NOTE = 1 << 16  # bytes; it has a hundred
UNFINISHED = ".best.part"  # until the first one is complete


class Best:
    """The lowest held-out loss so far (`loss`, infinite before the first) and the step that had it.

    FileError where the note in an existing `best/` cannot be read.
    """

    def __init__(self, out):
        self.out, self.folder = out, out / NAME
        self.step, self.loss = None, float("inf")
        if (self.folder / NOTE).exists():
            self.step, self.loss = _read_note(self.folder / NOTE)

    def offer(self, step, evaluation, *model, save=checkpoint.save):
        """Keep the weights if they are the best so far -> were they? `model`: what `save` takes behind the folder."""
        if not evaluation.loss < self.loss:
            return False
        first = not self.folder.exists()
        folder = self.out / UNFINISHED if first else self.folder
        save(folder, *model)
        # After the weights: a note older than they are is corrected when a resumed run measures this step again.
        note = {"step": step, "held_out_loss": evaluation.loss, "held_out_bits_per_byte": evaluation.bits_per_byte}
        files.write_json(folder / NOTE, note)
        if first:
            _rename(folder, self.folder)
        self.step, self.loss = step, evaluation.loss
        return True


def _rename(folder, name):
    try:
        os.replace(folder, name)
    except OSError as error:
        raise files.cannot_write(name, error) from error


def _read_note(path):
    """-> step, loss"""
    try:
        note = files.read_json(path, MAX_NOTE)
        return int(note["step"]), float(note["held_out_loss"])
    except (KeyError, TypeError, ValueError) as error:
        message = f"{path}: expected the step and the loss of the best model, got a damaged note"
        raise FileError(f"{message}; remove the folder {path.parent} to go on without it") from error
