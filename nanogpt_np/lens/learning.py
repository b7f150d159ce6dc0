"""How a model learns: the curves of a run, and what one step's gradient is in each part of the model.

Enter: the folder of a training run or its log.csv; a GPT and some texts. Leave: columns as arrays; lengths of gradients
and weights. Next: lens/playback.py.
"""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import files
from ..errors import FileError, InputError, printable
from ..params import walk
from ..training import report
from ..training.loop import accumulated
from .seen import ids_of, need_floats


class TrainingView(NamedTuple):
    """The columns of log.csv, float64 [n_rows] each; NaN where nothing was measured in a row."""

    step: np.ndarray
    tokens: np.ndarray
    lr: np.ndarray
    train_loss: np.ndarray  # nats per token, of one step's batch
    grad_norm: np.ndarray  # before clipping
    held_out_loss: np.ndarray  # nats per token
    held_out_bits_per_byte: np.ndarray
    seconds: np.ndarray  # of all parts of a run that was resumed


class StepView(NamedTuple):
    """What one training step's gradient is in each part of the model."""

    loss: float  # nats per token, the mean over all texts
    names: list  # [n] of str: "wte.weight", "h.0.ln_1.weight", …
    gradients: np.ndarray  # float64 [n], root mean square of a parameter's gradient
    weights: np.ndarray  # float64 [n], root mean square of the parameter
    norm: float  # of all gradients as one vector, before clipping


def training_view(path):
    """A run's folder, or its log.csv -> TrainingView; FileError where there is none, or a damaged one."""
    path = Path(path)
    path = path / report.LOG if path.is_dir() else path
    try:
        rows = report.read_rows(path)
    except (ValueError, csv.Error) as error:
        if isinstance(error, InputError):  # which names the file itself
            raise
        got = printable(str(error), 200)
        raise FileError(f"{files.short(path)}: expected the log.csv of a run, got {got}") from error
    columns = {name: [float(row[name] or "nan") for row in rows] for name in report.COLUMNS}
    return TrainingView(**{name: np.array(column, np.float64) for name, column in columns.items()})


def step_view(gpt, texts):
    """The gradients of the mean loss over some texts, as in one training step -> StepView.

    `texts`: texts or lists of ids, each of at least two tokens. InputError where there is none, and for int8.
    """
    need_floats(gpt, "gradients")
    if isinstance(texts, str) or not len(texts):
        raise InputError("texts: expected a list of at least one text, got none; put a single one in a list")
    rows = [ids_of(gpt, text) for text in texts]
    if min(map(len, rows)) < 2:
        raise InputError("texts: expected at least two tokens in each, got one; without a next token there is no loss")
    batches = [(ids[None, :-1], ids[None, 1:]) for ids in rows]
    loss, grads = accumulated(batches, gpt.params, gpt.config, gpt.ops)
    found, weights = dict(walk(grads)), dict(walk(gpt.params))
    squares = [np.square(found[name].astype(np.float64)) for name in weights]
    sizes = [np.square(array.astype(np.float64)).mean() for array in weights.values()]
    return StepView(
        float(loss), list(weights), np.sqrt([square.mean() for square in squares]), np.sqrt(sizes),
        float(np.sqrt(sum(square.sum() for square in squares))),
    )  # fmt: skip
