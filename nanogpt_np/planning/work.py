"""What a token, a prompt and a training run ask of a machine: operations, bytes, and operations per byte.

Enter: a GPTConfig and how long the texts are. Leave: Work; whole numbers of operations. Counted as in lens/cost.py:
two for each pair of numbers of a product, a few for what goes value by value, and only what a token may see.
Next: planning/machines.py.
"""

from dataclasses import dataclass

from ..lens import cost
from .sizes import cache_bytes, count_sizes, position_bytes

BACKWARD = 2  # a product's backward is two products: for its input and for its weights
ATTENTION = ("scores: q kᵀ", "softmax", "mix: probs @ v")  # parts of lens/cost.py
PF_DAY = 10**15 * 24 * 3600  # operations of a petaflop/s-day (Brown et al. 2020, table D.1)


@dataclass(frozen=True)
class Work:
    """Operations, and bytes that are read (of the weights) and read or written (of the KV cache)."""

    flops: int
    weight_bytes: int
    cache_bytes: int

    @property
    def n_bytes(self):
        """Bytes in all."""
        return self.weight_bytes + self.cache_bytes

    @property
    def intensity(self):
        """Operations per byte, the x of a roofline (Williams et al. 2009, section 2)."""
        return self.flops / self.n_bytes


def token_work(config, n_before=0, dtype="float16", n_batch=1):
    """One more token for each of `n_batch` texts with `n_before` tokens each -> Work.

    The weights are read once for all texts, keys and values for each; the token's own are written.
    """
    flops = sum(part.flops for part in cost.token_parts(config, n_before + 1))
    seen = cost.seen_positions(config, n_before + 1) * position_bytes(config, dtype)
    return Work(n_batch * flops, count_sizes(config).read_bytes[dtype], n_batch * seen)


def prompt_work(config, n_prompt, dtype="float16", n_batch=1):
    """A prompt of `n_prompt` tokens, read in one pass, up to the logits behind its last token -> Work."""
    logits = next(part.flops for part in cost.token_parts(config, 1) if part.name == "unembedding")
    flops = cost.pass_flops(config, n_prompt) - (n_prompt - 1) * logits
    written = cache_bytes(config, n_prompt, dtype)
    return Work(n_batch * flops, count_sizes(config).read_bytes[dtype], n_batch * written)


def six_nd(n_params, n_tokens):
    """Operations of a training run, 6 N D (Kaplan et al. 2020, section 2.1; Brown et al. 2020, appendix D).

    Two for each parameter and token in the forward pass, four in the backward. six_nd(10, 100) -> 6000
    """
    return 2 * (1 + BACKWARD) * n_params * n_tokens


def counted_flops(config, n_tokens, recompute="none"):
    """The same counted part by part, attention's own products too, over windows of n_ctx tokens; a whole number.

    `recompute`: what the backward pass makes again, "none", "attention" (scores, softmax and mix) or "all".
    """
    forward = cost.pass_flops(config, config.n_ctx)
    again = {"none": 0, "attention": cost.pass_flops(config, config.n_ctx, ATTENTION), "all": forward}[recompute]
    return ((1 + BACKWARD) * forward + again) * n_tokens // config.n_ctx
