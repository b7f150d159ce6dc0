"""What decides a training run.

Enter: options from the command line, from Python or from a training.json. Leave: a checked TrainOptions; what makes no
sense is refused here, before any text is read. Next: training/folder.py.
"""

import dataclasses
import math
import os
import re
from dataclasses import dataclass
from numbers import Integral, Real
from types import NoneType
from typing import get_args, get_origin

from ..config import GPTConfig
from ..errors import InputError, shown

MOST = 2**63 - 1  # of whole numbers; larger ones are no float any more
LEAST_VOCAB = 257  # 256 bytes and <|endoftext|>


def option(default, help):
    """A field that says of itself what --help shows."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass
class TrainOptions:
    """Everything that decides how a run goes; the same options and data give the same weights.

    Each field is an option of `nanogpt-np train`; InputError where a number makes no sense.
    """

    data: list[str]
    out: str
    init: str | None = option(None, "begin with the weights, shape and vocabulary of this model (name or directory)")
    tokenizer: str | None = option(None, "a directory with a vocabulary, or gpt2 (default: train one on the text)")
    n_vocab: int = option(4096, "tokens in the vocabulary to train")
    n_ctx: int = option(256, "positions: how far back the model can look")
    n_embd: int = option(256, "width of the residual stream")
    n_layer: int = option(6, "blocks")
    n_head: int = option(8, "attention heads per block")
    window: int | None = option(None, "every other layer sees only so many tokens back, as in GPT-3 (default: all)")
    positions: str = option("learned", "learned or sinusoidal")
    activation: str = option("gelu_new", "gelu_new (GPT-2's), gelu (exact) or relu")
    tie_word_embeddings: bool = option(True, "use the token embedding again to make logits")
    dropout: float = option(0.0, "share of values dropped in training")
    recipe: str | None = option(None, "gpt3: the optimizer and schedules of GPT-3, for what is not named (see below)")
    steps: int = option(2000, "optimizer steps")
    batch_size: int = option(8, "windows of n_ctx tokens read at once")
    accumulate: int = option(1, "batches per step, when memory is short")
    lr: float = option(1e-3, "highest learning rate, reached after --warmup steps")
    min_lr: float | None = option(None, "learning rate at the end of the cosine (default: a tenth of --lr)")
    warmup: int = option(100, "steps to reach --lr")
    warmup_tokens: int | None = option(None, "tokens to reach --lr, in place of --warmup; with --decay-tokens")
    decay_tokens: int | None = option(None, "tokens until the cosine ends, in place of --steps; with --warmup-tokens")
    ramp_tokens: int = option(0, "tokens over which the batch grows to its full size")
    ramp_from: int = option(1, "with --ramp-tokens: windows in the first step")
    weight_decay: float = option(0.1, "decay of matrices per unit of learning rate")
    beta1: float = option(0.9, "AdamW: memory of the gradient")
    beta2: float = option(0.99, "AdamW: memory of its square")
    clip: float = option(1.0, "longest gradient; longer ones are shortened")
    freeze: int | None = option(None, "with --init: the embeddings and so many of the lowest blocks stay as they are")
    layer_decay: float = option(1.0, "each block learns at this times the rate of the one above it")
    patience: int | None = option(None, "stop after so many measurements in a row without a lower held-out loss")
    seed: int = option(0, "decides weights, order of the data and dropout")
    held_out: float = option(0.02, "share of the documents that is only measured, never learned")
    eval_every: int = option(250, "steps between measurements on the held-out text")
    log_every: int = option(10, "steps between rows of log.csv")
    keep_every: int | None = option(None, "steps between models that are kept in kept/, to play the run back")
    checkpoint_minutes: float = option(5.0, "minutes between checkpoints")
    ops: str = option("numpy", "who does the arithmetic: numpy, or numba (compiled, faster)")
    sample: list[str] = dataclasses.field(
        default_factory=list,
        metadata={"help": "a beginning; the model's continuation goes to samples.txt at each measurement; "
                  "may be repeated"},
    )  # fmt: skip
    dtype: str = option("float32", "how the weights are stored: float32 or float16")

    def __post_init__(self):
        for field in dataclasses.fields(self):
            setattr(self, field.name, typed(flag_of(field.name), field.type, getattr(self, field.name)))
        for name, expected, holds in (*self._rules(), *self._rules_of_learning()):
            if not holds:
                advice = "" if name in ("data", "out") else "; leave it out for the usual one"
                raise InputError(f"{flag_of(name)}: expected {expected}, got {shown(getattr(self, name))}{advice}")
        try:
            self.shape(self.n_vocab)
        except InputError as error:  # the same words, but the options as they are typed
            raise InputError(re.sub(r"^\w+(?=:)|\bn_\w+(?= =)", _as_typed, str(error))) from error

    def _rules(self):
        """(option, what is expected of it, whether it is so) of all that decides what is trained, and when to stop."""
        for name in ("steps", "batch_size", "accumulate", "eval_every", "log_every"):
            yield name, "at least 1", getattr(self, name) >= 1
        yield "keep_every", "at least 1", self.keep_every is None or self.keep_every >= 1
        n_vocab = f"at least {LEAST_VOCAB}, for the bytes and <|endoftext|>"
        yield "data", "the names of text files", all(self.data) and bool(self.data)
        yield "out", "the name of a folder", self.out != ""
        yield "n_vocab", n_vocab, self.n_vocab >= LEAST_VOCAB or self.tokenizer or self.init
        yield "seed", "at least 0", self.seed >= 0
        yield "held_out", "a share from 0 to 0.5", 0.0 <= self.held_out <= 0.5
        yield "checkpoint_minutes", "a number of at least 0", self.checkpoint_minutes >= 0.0
        yield "ops", "numpy or numba", self.ops in ("numpy", "numba")
        yield "dtype", "float32 or float16", self.dtype in ("float32", "float16")

    def _rules_of_learning(self):
        """The same of what the optimizer is told; a NaN is never within limits."""
        least = self.min_lr is None or 0.0 <= self.min_lr <= self.lr
        yield "lr", "a positive number", 0.0 < self.lr < math.inf
        yield "min_lr", f"a number from 0 to --lr = {self.lr:g}", least
        yield "warmup", "at least 0", self.warmup >= 0
        yield "warmup_tokens", "at least 0", self.warmup_tokens is None or self.warmup_tokens >= 0
        are_both = (self.warmup_tokens is None) == (self.decay_tokens is None)
        yield "warmup_tokens", "a number with --decay-tokens, and none without", are_both
        more = f"more than --warmup-tokens = {self.warmup_tokens}"
        yield "decay_tokens", more, self.decay_tokens is None or self.decay_tokens > (self.warmup_tokens or 0)
        yield "ramp_tokens", "at least 0", self.ramp_tokens >= 0
        yield "ramp_from", "at least 1", self.ramp_from >= 1
        yield "recipe", "gpt3", self.recipe in (None, "gpt3")
        yield "weight_decay", "a number of at least 0", 0.0 <= self.weight_decay < math.inf
        yield "beta1", "a number from 0 to below 1", 0.0 <= self.beta1 < 1.0
        yield "beta2", "a number from 0 to below 1", 0.0 <= self.beta2 < 1.0
        yield "clip", "a positive number", self.clip > 0.0
        within = self.freeze is None or 0 <= self.freeze <= self.n_layer
        yield "freeze", f"a whole number from 0 to {self.n_layer}, the model's blocks", within
        yield "freeze", "none without --init, as nothing is learned yet", self.freeze is None or self.init is not None
        yield "layer_decay", "a factor above 0, at most 1", 0.0 < self.layer_decay <= 1.0
        yield "patience", "at least 1", self.patience is None or self.patience >= 1
        yield "patience", "none where --held-out is 0, as nothing is measured", self.patience is None or self.held_out

    @property
    def trains_vocabulary(self):
        """Is the vocabulary to be learned from the text, rather than that of a model or a folder?"""
        return self.tokenizer is None and self.init is None

    def config(self, tokenizer):
        """The shape of the model to train."""
        return self.shape(tokenizer.n_vocab, tokenizer.eos_id)

    def shape(self, n_vocab, eos_id=None):
        """The same before there is a vocabulary, of which only the size is known, or guessed."""
        return GPTConfig(
            n_vocab=n_vocab,
            n_ctx=self.n_ctx,
            n_embd=self.n_embd,
            n_layer=self.n_layer,
            n_head=self.n_head,
            window=self.window,
            positions=self.positions,
            activation=self.activation,
            tie_word_embeddings=self.tie_word_embeddings,
            dropout=self.dropout,
            eos_id=eos_id,
        )


# the type of a field -> what may stand there, and in words
_KINDS = {
    bool: (bool, "true or false"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    str: ((str, os.PathLike), "a text"),
}


def typed(flag, kind, value):
    """`value` as what a field's type says; InputError for another type. typed("--lr", float, 1) -> 1.0"""
    if NoneType in get_args(kind):
        return None if value is None else typed(flag, get_args(kind)[0], value)
    if get_origin(kind) is list:
        if not isinstance(value, (list, tuple)):
            raise InputError(f"{flag}: expected a list of texts, got {shown(value)}")
        return [typed(flag, str, item) for item in value]
    accepted, expected = _KINDS[kind]
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{flag}: expected {expected}, got {shown(value)}")
    if kind is str:
        return _text(flag, os.fspath(value))
    if kind in (int, float) and isinstance(value, Integral) and abs(value) > MOST:
        raise InputError(f"{flag}: expected {expected} of at most 19 digits, got {shown(value)}")
    return kind(value)


def _text(flag, value):
    if not isinstance(value, str) or "\0" in value:  # no file has such a name
        raise InputError(f"{flag}: expected a text without zero bytes, got {shown(value)}")
    return value


def flag_of(name):
    """How an option is typed: flag_of("batch_size") -> "--batch-size" """
    return "--" + name.replace("_", "-")


def _as_typed(found):
    return flag_of(found[0])
