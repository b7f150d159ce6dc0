"""How fast and on how much a step learns: by the step, or by the tokens that were read before it, as GPT-3 did.

Enter: TrainOptions, the length of a window, and what was read already. Leave: how many windows a step reads, and its
learning rate. Everything follows from the options, so a resumed run needs to know nothing but its step.
Next: training/plan.py.
"""

import math

from . import optim


def windows_of(options, n_ctx, n_read):
    """How many windows a step reads that comes after `n_read` windows.

    Without --ramp-tokens always batch_size * accumulate; with it they grow in a straight line from --ramp-from to that,
    over so many tokens (Brown et al. 2020, appendix B).
    """
    full = options.batch_size * options.accumulate
    if not options.ramp_tokens:
        return full
    first = min(options.ramp_from, full)
    return min(first + (full - first) * n_read * n_ctx // options.ramp_tokens, full)


def windows_before(options, n_ctx, step):
    """How many windows all steps before this one (from 0) have read."""
    full, n_read = options.batch_size * options.accumulate, 0
    for done in range(step if options.ramp_tokens else 0):
        now = windows_of(options, n_ctx, n_read)
        if now == full:  # and so it stays
            return n_read + (step - done) * full
        n_read += now
    return n_read if options.ramp_tokens else step * full


def learning_rate(options, n_ctx, step, n_read=None):
    """The learning rate of a step (from 0) that comes after `n_read` windows (None: as the options say).

    A straight line up to --lr, then half a cosine down to --min-lr (optim.warmup_cosine). Where --warmup-tokens and
    --decay-tokens are given, both are measured in tokens, and the cosine ends there: from then on it is --min-lr.
    """
    o = options
    min_lr = o.lr / 10 if o.min_lr is None else o.min_lr
    if o.decay_tokens is None:
        return optim.warmup_cosine(step, o.steps, o.lr, min_lr, o.warmup)
    n_read = windows_before(o, n_ctx, step) if n_read is None else n_read
    n_now = windows_of(o, n_ctx, n_read)
    return by_tokens(n_read * n_ctx, n_now * n_ctx, o.lr, min_lr, o.warmup_tokens, o.decay_tokens)


def by_tokens(n_before, n_now, lr, min_lr, warmup, decay):
    """The learning rate of a step that reads `n_now` tokens behind `n_before` others.

    Up to `warmup` tokens a straight line that reaches `lr` with the last of them; then half a cosine, down to `min_lr`
    at `decay` tokens, where it stays: by_tokens(0, 10, 1.0, 0.1, 20, 100) -> 0.5, by_tokens(60, 10, 1.0, 0.1, 20, 100)
    -> 0.55, by_tokens(200, 10, 1.0, 0.1, 20, 100) -> 0.1
    """
    if n_before < warmup:
        return lr * min((n_before + n_now) / warmup, 1.0)
    progress = min((n_before - warmup) / (decay - warmup), 1.0)
    return min_lr + 0.5 * (lr - min_lr) * (1.0 + math.cos(math.pi * progress))
