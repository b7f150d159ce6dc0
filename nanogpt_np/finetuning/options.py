"""What decides how a classifier is made.

Enter: options from the command line, from Python or from a training.json. Leave: checked ClassifyOptions; what makes no
sense is refused here, before any file is read. Next: finetuning/results.py.
"""

import dataclasses
import math
from dataclasses import dataclass

from ..errors import InputError, shown
from ..training.options import flag_of, option, typed
from .examples import LABEL, TEXT

WEIGHTS = ("none", "balanced")


@dataclass
class ClassifyOptions:
    """Everything that decides how a classifier is made; the same options and data give the same weights.

    Each field is an option of `nanogpt-np finetune --task classify`; InputError where a number makes no sense.
    """

    data: list[str]
    out: str
    model: str = option("stories", "begin with this model, a name or directory")
    scratch: bool = option(False, "begin with fresh weights of that model's shape, for comparison")
    freeze: int | None = option(None, "the embeddings and so many of the lowest blocks stay as they are")
    layer_decay: float = option(1.0, "each block learns at this times the rate of the one above it")
    patience: int | None = option(None, "stop after so many measurements in a row without a lower validation loss")
    class_weights: str = option("none", "balanced: every class counts the same, however many texts it has")
    epochs: int = option(3, "times that every text is read")
    batch_size: int = option(16, "texts of a step")
    lr: float = option(3e-4, "highest learning rate")
    warmup_share: float = option(0.1, "share of the steps in which the learning rate rises")
    weight_decay: float = option(0.1, "decay of matrices per unit of learning rate")
    dropout: float = option(0.1, "share of values dropped in training")
    clip: float = option(1.0, "longest gradient; longer ones are shortened")
    evals: int = option(2, "measurements on the validation texts in each epoch")
    most: int | None = option(None, "learn from so many texts at most, to see what fewer would do")
    seed: int = option(0, "decides new weights, the order of the texts and dropout")
    ops: str = option("numpy", "who does the arithmetic: numpy, or numba (compiled, faster)")
    text_column: str = option(TEXT, "the column of the texts")
    label_column: str = option(LABEL, "the column of the labels")
    checkpoint_minutes: float = option(5.0, "minutes between checkpoints, besides those after each measurement")

    def __post_init__(self):
        for field in dataclasses.fields(self):
            setattr(self, field.name, typed(flag_of(field.name), field.type, getattr(self, field.name)))
        for name, expected, holds in self._rules():
            if not holds:
                raise InputError(f"{flag_of(name)}: expected {expected}, got {shown(getattr(self, name))}")

    def _rules(self):
        """(option, what is expected of it, whether it is so); a NaN is never within limits."""
        yield "data", "the names of CSV files", all(self.data) and bool(self.data)
        for name in ("out", "model", "text_column", "label_column"):
            yield name, "a name", getattr(self, name) != ""
        for name in ("epochs", "batch_size", "evals"):
            yield name, "at least 1", getattr(self, name) >= 1
        for name in ("patience", "most"):
            yield name, "at least 1", getattr(self, name) is None or getattr(self, name) >= 1
        yield "freeze", "at least 0", self.freeze is None or self.freeze >= 0
        yield "freeze", "none with --scratch, as nothing is learned yet", self.freeze is None or not self.scratch
        yield "layer_decay", "a factor above 0, at most 1", 0.0 < self.layer_decay <= 1.0
        yield "class_weights", " or ".join(WEIGHTS), self.class_weights in WEIGHTS
        yield "lr", "a positive number", 0.0 < self.lr < math.inf
        yield "warmup_share", "a share from 0 to 1", 0.0 <= self.warmup_share <= 1.0
        yield "weight_decay", "a number of at least 0", 0.0 <= self.weight_decay < math.inf
        yield "dropout", "a share from 0 to below 1", 0.0 <= self.dropout < 1.0
        yield "clip", "a positive number", self.clip > 0.0
        yield "seed", "at least 0", self.seed >= 0
        yield "ops", "numpy or numba", self.ops in ("numpy", "numba")
        yield "checkpoint_minutes", "a number of at least 0", self.checkpoint_minutes >= 0.0
