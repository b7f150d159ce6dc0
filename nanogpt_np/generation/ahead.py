"""From one token to the next: what stays the same meanwhile, and several greedy tokens in one compiled call.

Enter: texts, of which a cache holds all but the last ids. Leave: logits to choose from, or the next id itself where the
likeliest is all that counts. Between two calls Python takes a third of a millisecond, as its own objects have been
swept out of the caches by the weights; ops that offer `decode_greedy` go on without it. Next: generation/tokens.py.
"""

import numpy as np

from . import decoding

MOST = 8  # tokens of one call; with more, what Python does between them is not seen any better
READ_AT_ONCE = 1_000_000_000  # bytes of weights, 30 to 50 ms: of a large model each token is to be seen as it comes


class Continuation:
    """Texts behind their first new tokens: `model` is params, config and ops, with a cache of their own."""

    def __init__(self, model, cache, n_texts, short=None, stop_ids=None):
        """`short`: of decoding.shortlist. `stop_ids`: those that end a single text whose likeliest tokens are all that
        anybody asks for; None where that is not so.
        """
        self.model, self.cache, self.short = model, cache, short
        self.plan = decoding.plan_of((n_texts, 1), *model, cache)
        self.stop_ids = np.array(sorted(stop_ids or ()), np.int64)
        is_led_by_python = stop_ids is None or self.plan is None or not hasattr(model[-1], "decode_greedy")
        self.most = 1 if is_led_by_python else _most(self.plan)
        self.said = []

    def next(self, texts, n_left):
        """The cache takes in the last id of each text -> ids [1], None; or None, logits [n_texts, 1, n_vocab].

        `n_left`: how many tokens may still come, this one too.
        """
        if not self.said and self.most > 1:
            self.said = self._say(texts[0][-1], min(self.most, n_left, self.cache.n_ctx - self.cache.length))
        if self.said:
            self.cache.reserve(1)
            self.cache.advance(1)
            return np.array([self.said.pop(0)]), None
        last = np.array([[text[-1]] for text in texts])
        return None, decoding.decode(last, *self.model, self.cache, self.short, self.plan)

    def _say(self, last, n_new):
        params, config, ops = self.model
        short = () if self.short is None else (self.short,)
        said = ops.decode_greedy(last, self.plan, params, config, self.cache, n_new, self.stop_ids, *short)
        if said is None:
            self.most = 1
        return said or []


def _most(plan):
    """How many tokens one call may say, by what it reads for each."""
    return min(MOST, READ_AT_ONCE // sum(array.nbytes for array in plan[0]))
