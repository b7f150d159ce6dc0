"""What a run asks of the machine and of its text: what cannot fit is refused, what makes little sense is said.

Enter: options, and later the text as windows. Leave: InputError before anything is allocated; lines that stop nothing.
Next: training/progress.py.
"""

from .. import memory
from .. import params as P
from ..errors import InputError
from . import plan
from .options import LEAST_VOCAB

WEIGHT_BYTES = 16  # per parameter, as float32: itself, its gradient, and AdamW's two means
FEW_BYTES = 2_000  # held out: some 500 tokens, whose mean loss is known to about 0.1 nats
MANY_EPOCHS = 10


def check_memory(options, n_here=1, weight_bytes=WEIGHT_BYTES):
    """InputError where a run cannot fit the memory of this machine, by an estimate from below.

    `n_here`: so many processes share that memory; `weight_bytes`: what each needs for a parameter.
    """
    room = memory.total_bytes()
    if room is None:
        return
    room //= n_here
    config = options.shape(options.n_vocab if options.trains_vocabulary else LEAST_VOCAB)
    n_parameters, per_window = P.size(config), window_bytes(config)
    left = room - weight_bytes * n_parameters
    here = f"the {memory.in_words(room)} of memory {'' if n_here == 1 else f'that each of {n_here} ranks has '}here"
    if left < 0:
        raise InputError(
            f"--n-embd {config.n_embd}, --n-layer {config.n_layer}: expected at most about {room // weight_bytes:,.0f} "
            f"parameters to train in {here}, got {n_parameters:,}, which take about "
            f"{memory.in_words(weight_bytes * n_parameters)}; make the model smaller"
        )
    if left < per_window:
        raise InputError(
            f"--n-ctx {config.n_ctx}: expected windows that fit {here}, got some of about "
            f"{memory.in_words(per_window)} each; make them shorter, or the model smaller"
        )
    if left < per_window * options.batch_size:
        raise InputError(
            f"--batch-size: expected at most about {left // per_window:,.0f} windows at once in {here}, got "
            f"{options.batch_size:,}, which take about {memory.in_words(per_window * options.batch_size)}; "
            "use fewer, and more --accumulate"
        )


def window_bytes(config):
    """About how much one window of a batch needs while it is learned from: what model.BlockActs keeps, as float32."""
    # x, ln_1's, q, k, v, merged, attn_out, x_mid, ln_2's and ffn_out are n_embd wide; pre_gelu and hidden n_hidden
    per_token = config.n_layer * (10 * config.n_embd + 2 * config.n_hidden + config.n_head * config.n_ctx)
    return 4 * config.n_ctx * per_token


def doubts(options, windows, n_held_out_bytes):
    """Lines on what is allowed and probably not meant; `windows`: data.Windows."""
    lines = []
    if options.held_out and n_held_out_bytes < FEW_BYTES:
        lines.append(
            f"--held-out {options.held_out:g}: holds out {n_held_out_bytes:,} bytes; below {FEW_BYTES:,} the measured "
            "loss is mostly chance, so hold out more, or use more text"
        )
    if options.decay_tokens is None and options.warmup >= options.steps:
        lines.append(
            f"--warmup {options.warmup:,}: not below --steps {options.steps:,}, so the learning rate only rises; "
            "a twentieth of the steps is usual"
        )
    epochs = plan.tokens_before(options, windows, options.steps) / plan.tokens_per_epoch(windows)
    if epochs > MANY_EPOCHS:
        lines.append(
            f"--steps {options.steps:,}: reads the text {epochs:,.0f} times; after more than {MANY_EPOCHS} a model "
            "mostly learns it by heart, so use more text or fewer steps"
            + (", and mind the held-out loss" if options.held_out else "")
        )
    return lines
