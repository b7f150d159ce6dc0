"""What one rank holds while a model learns, when data, matrices and layers are split among ranks.

Enter: a GPTConfig and a Split. Leave: RankMemory, bytes of the fullest rank. Data: every rank has the whole model and
windows of its own, of the optimizer only its part (ZeRO-1: Rajbhandari et al. 2020, section 5.1). Tensor: each matrix
is cut by heads or by columns (Shoeybi et al. 2019, section 3). Pipeline: each rank has some of the blocks.
Next: planning/clusters.py.
"""

from dataclasses import dataclass

from ..errors import InputError
from ..training.backward import KEPT_LOGITS
from ..training.limits import window_bytes

# bytes per parameter: weight, gradient, optimizer (a float32 copy where it is mixed, and AdamW's two means)
STATE = {"mixed": (2, 2, 12), "float32": (4, 4, 8)}
ROWS_AT_ONCE = 4096  # of the vocabulary, as ops.cross_entropy takes them


@dataclass(frozen=True)
class Split:
    """How many ranks share data, matrices and layers; the product is how many there are."""

    data: int = 1
    tensor: int = 1
    pipeline: int = 1

    @property
    def n_ranks(self):
        """How many ranks there are: Split(4, 2, 2).n_ranks -> 16"""
        return self.data * self.tensor * self.pipeline


@dataclass(frozen=True)
class RankMemory:
    """Bytes of one rank: `weights`, `gradients`, its part of the `optimizer`, `activations`, and `in_passing`.

    In passing: the logits, or the gradients of one block's activations, whichever is more.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    in_passing: int

    @property
    def total(self):
        """Bytes in all; what a framework and its messages take comes on top."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.in_passing


def check_split(config, split):
    """InputError where heads or layers cannot be shared out evenly, as every framework asks for."""
    for name, n, what in (("tensor", config.n_head, "n_head"), ("pipeline", config.n_layer, "n_layer")):
        value = getattr(split, name)
        if n % value:
            near = max(divisor for divisor in divisors(n) if divisor <= value)
            raise InputError(f"{name}: expected a divisor of {what} = {n}, got {value}; {near} is one")


def divisors(n):
    """All divisors, rising: divisors(12) -> [1, 2, 3, 4, 6, 12]"""
    low = [i for i in range(1, int(n**0.5) + 1) if n % i == 0]
    return low + [n // i for i in reversed(low) if i * i != n]


def rank_memory(config, split, options):
    """The RankMemory of the fullest rank; InputError where the split does not suit the model.

    The first rank of a pipeline waits for as many micro-batches as there are stages, so it keeps the activations of as
    many blocks as the model has (1F1B; Korthikanti et al. 2022, section 4.2.3); the last one makes the logits.
    """
    check_split(config, split)
    ends = {0, split.pipeline - 1}
    return max((stage_memory(config, split, options, stage) for stage in ends), key=lambda rank: rank.total)


def stage_memory(config, split, options, stage):
    """The RankMemory of the ranks of one stage, counted from 0."""
    n_params = stage_params(config, split.tensor, split.pipeline, stage)
    weight, gradient, optimizer = (n_params * n for n in STATE[options.precision])
    waiting = split.pipeline - stage  # micro-batches
    n_tokens = options.micro_batch * config.n_ctx
    blocks = waiting * (config.n_layer // split.pipeline)
    kept = blocks * block_bytes(config, split.tensor, options.precision, options.made_again) * options.micro_batch
    if options.made_again == "all":  # one block at a time
        kept += block_bytes(config, split.tensor, options.precision, "none") * options.micro_batch
    passing = options.micro_batch * passing_bytes(config, split.tensor, options.precision, options.made_again)
    if stage == split.pipeline - 1:
        passing = max(passing, logit_bytes(config, split.tensor, options.precision, n_tokens))
    return RankMemory(weight, gradient, -(-optimizer // split.data), kept, passing)


def stage_params(config, tensor, pipeline, stage):
    """Parameters of one rank of a stage; what is added once for all (biases of outputs, norms) each rank has whole."""
    e, f = config.n_embd, config.n_hidden
    cut = 4 * e * e + 2 * e * f + 3 * e + f  # four matrices, two of the biases
    n = (config.n_layer // pipeline) * (-(-cut // tensor) + 6 * e)
    vocabulary = -(-config.n_vocab // tensor) * e
    is_first, is_last = stage == 0, stage == pipeline - 1
    if is_first:
        n += vocabulary + (config.n_ctx * e if config.positions == "learned" else 0)
    if is_last:
        n += 2 * e + (vocabulary if pipeline > 1 or not config.tie_word_embeddings else 0)
    return n


def block_bytes(config, tensor, precision, made_again):
    """Bytes of activations that one block keeps of one window for the backward pass.

    Mixed: Korthikanti et al. 2022, equation 2: s h (10 + 24 / t + 5 a s / (h t)) where f = 4 h, the last part left out
    where attention is made again. float32: what model.BlockActs keeps, training/limits.py.
    """
    e, f, s = config.n_embd, config.n_hidden, config.n_ctx
    if precision == "float32":
        item, scores = 4, 4 * s * s * config.n_head
        whole, shared = window_bytes(config) // config.n_layer - scores, 4 * 6 * e * s
    else:
        item, scores = 2, 5 * s * s * config.n_head
        whole, shared = (18 * e + 4 * f) * s, 10 * e * s
    if made_again == "all":  # only each block's input is kept
        return item * e * s
    cut = whole - shared + (scores if made_again == "none" else 0)
    return shared + -(-cut // tensor)


def passing_bytes(config, tensor, precision, made_again):
    """Bytes of one window's gradients within one block: those of scores and shares with dq, dk and dv, or of the FFN.

    Where attention is made again in tiles (Dao et al. 2022), scores and shares are never there as a whole.
    """
    e, f, s = config.n_embd, config.n_hidden, config.n_ctx
    item, scores = 4 if precision == "float32" else 2, 2 * config.n_head * s * (made_again != "attention")
    return item * s * max(e + -(-(scores + 3 * e) // tensor), -(-4 * f // tensor))


def logit_bytes(config, tensor, precision, n_tokens):
    """Bytes of the logits of some tokens, in float32, and of what makes losses of them.

    ops.cross_entropy, our own, takes a few rows of the vocabulary at a time, two of those parts at once; all logits are
    kept beside them while they are few (training/backward.py).
    """
    n_rows = -(-config.n_vocab // tensor)
    if precision != "float32":
        return 4 * n_rows * n_tokens
    kept = n_rows if n_rows * n_tokens <= KEPT_LOGITS else 0
    return 4 * (kept + min(n_rows, 2 * ROWS_AT_ONCE)) * n_tokens
