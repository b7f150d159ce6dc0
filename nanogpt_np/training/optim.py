"""From gradients to the next weights: clipping, the learning-rate schedule, AdamW.

Enter: params and grads, nested alike. Leave: params changed in place. Next: training/parts.py.
"""

import math

import numpy as np

from .. import ops
from .. import params as P


def clip_(grads, max_norm, ops=ops):
    """Scale all gradients in place so that their common length is at most `max_norm`; -> the length before.

    Pascanu et al. 2013, algorithm 1.
    """
    norm = math.sqrt(sum(ops.sum_of_squares(grad) for _, grad in P.walk(grads)))
    if norm > max_norm:
        for _, grad in P.walk(grads):
            grad *= max_norm / norm
    return norm


def add_(grads, more):
    """Add the gradients of another micro-batch in place."""
    more = dict(P.walk(more))
    for name, grad in P.walk(grads):
        grad += more[name]


def warmup_cosine(step, n_steps, lr, min_lr, n_warmup):
    """The learning rate of `step` (from 0): a straight line up to `lr`, then half a cosine down to `min_lr`.

    Loshchilov & Hutter 2017 (SGDR), equation 5, with one period; GPT-3 (Brown et al. 2020, appendix B) uses the same.
    """
    if step < n_warmup:
        return lr * (step + 1) / n_warmup
    progress = min((step - n_warmup) / max(n_steps - 1 - n_warmup, 1), 1.0)
    return min_lr + 0.5 * (lr - min_lr) * (1.0 + math.cos(math.pi * progress))


class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2); only matrices decay.

    `m`, `v`: running means of the gradient and of its square, by parameter name. `n_steps`: steps taken.
    `rates`: {name: factor of the learning rate} of what learns (see parts.rates), by default everything by 1; what is
    not in it stays as it is, and costs no memory here.
    """

    def __init__(self, params, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, rates=None):
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.rates = {name: 1.0 for name, _ in P.walk(params)} if rates is None else rates
        self.m = {name: np.zeros_like(array) for name, array in P.walk(params) if name in self.rates}
        self.v = {name: np.zeros_like(array) for name, array in P.walk(params) if name in self.rates}
        self.n_steps = 0

    def step(self, params, grads, lr, ops=ops):
        """Change `params` in place by one step against `grads`."""
        self.n_steps += 1
        grads = dict(P.walk(grads))
        for name, p in P.walk(params):
            if name in self.rates:
                decay, rate = self.weight_decay if p.ndim >= 2 else 0.0, lr * self.rates[name]
                m, v = self.m[name], self.v[name]
                ops.adam_step_(p, grads[name], m, v, rate, self.betas, self.eps, self.n_steps, decay)
