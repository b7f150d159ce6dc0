"""The keys and values of a text, kept from one call to the next: what two prompts begin with alike is read once.

Enter: one prompt after another, such as a conversation that grows. Leave: logits and a cache, as if the prompt had been
read anew: the cache goes back to where the two texts part, and only the rest is read. Next: generation/contrastive.py.
"""

import numpy as np

from ..errors import InputError
from . import decoding


class Kept:
    """A cache, and the ids of which it holds keys and values: the first cache.length of `ids`."""

    def __init__(self):
        self.ids, self.cache = [], None

    def hold(self, ids, cache):
        """Take note of what a cache holds; the list may go on to grow."""
        self.ids, self.cache = ids, cache

    def read(self, ids, params, config, ops):
        """Read a prompt -> logits of its last position [1, 1, n_vocab], and the cache that holds all of it.

        "As if read anew" is exact up to rounding: a product of few rows may add up in another order than one of many.
        """
        cache = self.shared(ids, params, config, ops)
        unread = np.array([ids[cache.length :]])
        forward = decoding.decode if unread.size == 1 else decoding.read
        return forward(unread, params, config, ops, cache), cache

    def shared(self, ids, params, config, ops):
        """The cache, gone back to what it has in common with `ids`; the last id is always left to be read."""
        if self.cache is None:
            self.cache = decoding.new_cache(1, config.n_ctx, params, config, ops)
        n_common = common(self.ids[: self.cache.length], ids[:-1])
        self.cache.rewind(n_common if self.cache.can_rewind(n_common) else 0)  # a band may have moved on too far
        self.ids = list(ids)  # before any of it is read: who is interrupted keeps what was read until then
        return self.cache

    @property
    def length(self):
        """How many ids are held."""
        return 0 if self.cache is None else min(self.cache.length, len(self.ids))


def common(a, b):
    """How many ids two lists begin with alike: common([1, 2, 3], [1, 2, 4, 5]) -> 2"""
    n = min(len(a), len(b))
    return next((i for i in range(n) if a[i] != b[i]), n)


def check_request(prompts, request):
    """InputError for what has no one text to be kept."""
    if len(prompts) != 1 or request.num_return_sequences != 1:
        raise InputError("session: expected one prompt and one sequence at a time, got several; use gpt.generate")
    if request.penalty_alpha is not None:
        raise InputError("penalty_alpha: expected none in a session, which follows one text, got one; use gpt.generate")
