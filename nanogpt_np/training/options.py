"""What decides a training run.

Enter: options from the command line or from Python. Leave: a checked TrainOptions. Next: training/folder.py.
"""

import dataclasses
from dataclasses import dataclass

from ..config import GPTConfig
from ..errors import InputError


def _option(default, help):
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass
class TrainOptions:
    """Everything that decides how a run goes; the same options and data give the same weights.

    Each field is an option of `nanogpt-np train`; InputError where a number makes no sense.
    """

    data: list[str]
    out: str
    tokenizer: str | None = _option(None, "a directory with a vocabulary, or gpt2 (default: train one on the text)")
    n_vocab: int = _option(4096, "tokens in the vocabulary to train")
    n_ctx: int = _option(256, "positions: how far back the model can look")
    n_embd: int = _option(256, "width of the residual stream")
    n_layer: int = _option(6, "blocks")
    n_head: int = _option(8, "attention heads per block")
    positions: str = _option("learned", "learned or sinusoidal")
    activation: str = _option("gelu_new", "gelu_new (GPT-2's) or gelu (exact)")
    tie_word_embeddings: bool = _option(True, "use the token embedding again to make logits")
    dropout: float = _option(0.0, "share of values dropped in training")
    steps: int = _option(2000, "optimizer steps")
    batch_size: int = _option(8, "windows of n_ctx tokens read at once")
    accumulate: int = _option(1, "batches per step, when memory is short")
    lr: float = _option(1e-3, "highest learning rate, reached after --warmup steps")
    min_lr: float | None = _option(None, "learning rate at the end of the cosine (default: a tenth of --lr)")
    warmup: int = _option(100, "steps to reach --lr")
    weight_decay: float = _option(0.1, "decay of matrices per unit of learning rate")
    beta1: float = _option(0.9, "AdamW: memory of the gradient")
    beta2: float = _option(0.99, "AdamW: memory of its square")
    clip: float = _option(1.0, "longest gradient; longer ones are shortened")
    seed: int = _option(0, "decides weights, order of the data and dropout")
    held_out: float = _option(0.02, "share of the documents that is only measured, never learned")
    eval_every: int = _option(250, "steps between measurements on the held-out text")
    log_every: int = _option(10, "steps between rows of log.csv")
    checkpoint_minutes: float = _option(5.0, "minutes between checkpoints")
    ops: str = _option("numpy", "who does the arithmetic: numpy, or numba (compiled, faster)")
    dtype: str = _option("float32", "how the weights are stored: float32 or float16")

    def __post_init__(self):
        for name in ("steps", "batch_size", "accumulate", "eval_every", "log_every"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')}: expected at least 1, got {getattr(self, name)}")
        for name, expected, holds in (
            ("held-out", "a share from 0 to 0.5", 0.0 <= self.held_out <= 0.5),
            ("lr", "a positive number", self.lr > 0.0),
            ("warmup", "at least 0", self.warmup >= 0),
            ("seed", "at least 0", self.seed >= 0),
            ("ops", "numpy or numba", self.ops in ("numpy", "numba")),
            ("dtype", "float32 or float16", self.dtype in ("float32", "float16")),
        ):
            if not holds:
                got = getattr(self, name.replace("-", "_"))
                raise InputError(f"--{name}: expected {expected}, got {got!r}")

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
