"""What decides a training run, and the folder it lives in.

Enter: options from the command line or from Python. Leave: a checked TrainOptions, kept as `training.json` in the
run's folder, so that a run can be resumed by naming the folder alone. Next room: loop.py.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from .. import __version__, files
from ..config import GPTConfig
from ..errors import InputError
from . import data

NAME = "training.json"


@dataclass
class TrainOptions:
    """Everything that decides how a run goes; the same options and data give the same weights.

    `lr` rises over `warmup` steps and falls along a cosine to `min_lr` (a tenth of `lr` where None).
    A step sees batch_size * accumulate windows of n_ctx tokens. `dtype` is how the weights are stored at the end.
    `tokenizer`: a directory with a vocabulary, or "gpt2"; where None, one of n_vocab tokens is trained.
    """

    data: list[str]
    out: str
    tokenizer: str | None = None
    n_vocab: int = 4096
    n_ctx: int = 256
    n_embd: int = 256
    n_layer: int = 6
    n_head: int = 8
    positions: str = "learned"
    activation: str = "gelu_new"
    tie_word_embeddings: bool = True
    dropout: float = 0.0
    steps: int = 2000
    batch_size: int = 8
    accumulate: int = 1
    lr: float = 1e-3
    min_lr: float | None = None
    warmup: int = 100
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    clip: float = 1.0
    seed: int = 0
    held_out: float = 0.02
    eval_every: int = 250
    log_every: int = 10
    checkpoint_minutes: float = 5.0
    dtype: str = "float32"

    def __post_init__(self):
        for name in ("steps", "batch_size", "accumulate", "eval_every", "log_every"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')}: expected at least 1, got {getattr(self, name)}")
        if not 0.0 <= self.held_out < 1.0:
            raise InputError(f"--held-out: expected a share from 0 to below 1, got {self.held_out}")
        if not self.lr > 0.0:
            raise InputError(f"--lr: expected a positive number, got {self.lr}")

    def config(self, tokenizer):
        """The shape of the model to train."""
        return GPTConfig(
            n_vocab=tokenizer.n_vocab,
            n_ctx=self.n_ctx,
            n_embd=self.n_embd,
            n_layer=self.n_layer,
            n_head=self.n_head,
            positions=self.positions,
            activation=self.activation,
            tie_word_embeddings=self.tie_word_embeddings,
            dropout=self.dropout,
            eos_id=tokenizer.eos_id,
        )


def check_directory(out):
    """InputError where a new run must not write: another run is there, or files that are not ours."""
    if (out / NAME).exists():
        raise InputError(f"{out}: already holds a training run; go on with --resume, or choose another --out")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: expected a folder to write to, got a file; choose another --out")
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: expected an empty folder or none, got one with other files; choose another --out")


def create_directory(options):
    """Make the folder `options.out` and note in it what the run is."""
    data_sha256 = data.fingerprint(options.data)
    about = {"options": dataclasses.asdict(options), "data_sha256": data_sha256, "version": __version__}
    files.make_folder(Path(options.out))
    files.write_json(Path(options.out) / NAME, about)


def resume_options(out, data_paths=None):
    """The options of the run in `out`, to go on with it; `data_paths` where the same files lie elsewhere now.

    InputError where `out` holds no run, or the text is not the one it began with.
    """
    path = Path(out) / NAME
    if not path.exists():
        raise InputError(f"{out}: expected a training run ({NAME}) to resume, found none; start without --resume")
    stored = files.read_json(path)
    try:
        options = TrainOptions(**stored["options"])
        expected = stored["data_sha256"]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: expected the options of a run, got: {error}; start a new run") from error
    options.out, options.data = str(out), [str(name) for name in data_paths or options.data]
    if data.fingerprint(options.data) != expected:
        names = ", ".join(options.data)
        raise InputError(f"{names}: expected the text this run began with, got another; name the right one by --data")
    return options
