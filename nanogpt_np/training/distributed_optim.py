"""AdamW whose two means are cut among the ranks: each moves the part of the weights that it owns, for all.

Enter: a rank's share of the summed gradients. Leave: every rank's weights moved alike. This is ZeRO's first stage
(Rajbhandari et al. 2020, section 5.1): of 12 bytes for each number that learns (gradient's sum and two means) a rank
keeps 12 / n. Next: training/distributed.py.
"""

import math

import numpy as np

from .. import ops
from .distributed_sums import Flat, collect_shares, hand_out_shares, spread_shares


class ShardedAdamW:
    """optim.AdamW over a Flat; `rates`, `betas`, `n_steps` as there, `m` and `v` [n_owned]: this rank's share of them.

    `matrices`: the names of what decays.
    """

    def __init__(self, flat: Flat, rates, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
        self.flat, self.rates, self.betas, self.eps, self.weight_decay = flat, rates, betas, eps, weight_decay
        self.m, self.v = (np.zeros(flat.n_owned, flat.dtype) for _ in range(2))
        self.n_steps = 0
        self.segments = list(flat.segments())
        self.decays = {name: weight_decay if len(shape) >= 2 else 0.0 for name, (_, shape) in flat.places.items()}

    def step(self, vector, share, lr, ops=ops):
        """Change the weights, `vector`, on all ranks by one step against the summed gradients' `share` of each."""
        self.n_steps += 1
        for name, whole, own in self.segments:
            ops.adam_step_(
                vector[whole], share[own], self.m[own], self.v[own], lr * self.rates[name], self.betas, self.eps,
                self.n_steps, self.decays[name],
            )  # fmt: skip
        spread_shares(self.flat, vector)

    def collect(self):
        """On the first rank both means whole, {name: array} each, as optim.AdamW has them; (None, None) on others."""
        both = [collect_shares(self.flat, share) for share in (self.m, self.v)]
        return tuple(None if vector is None else self.flat.views(vector) for vector in both)

    def hand_out(self, n_steps, m=None, v=None):
        """Take from the first rank's whole means, {name: array} each, what each rank owns; `n_steps`: as they had."""
        self.n_steps = n_steps
        for share, arrays in ((self.m, m), (self.v, v)):
            vector = None
            if self.flat.ranks.is_first:
                vector = self.flat.zeros()
                for name, array in arrays.items():
                    self.flat.view(vector, name)[...] = array
            hand_out_shares(self.flat, vector, share)


def clip_(flat, share, max_norm, ops=ops):
    """optim.clip_ for gradients of which each rank has a share: scale them in place -> their common length before."""
    squares = np.zeros(flat.ranks.size)
    flat.ranks.comm.Allgather(np.array([ops.sum_of_squares(share)]), squares)
    norm = math.sqrt(math.fsum(squares))
    if norm > max_norm:
        share *= max_norm / norm
    return norm
