"""Greedy decoding without Python between tokens: the likeliest of the logits, and what the model reads of it next.

Enter: logits, which lie in parts; a token and its position. Leave: the next token; the residual stream as it begins.
Inside a compiled call this is what sampling.greedy and model.embed are between two. Next: kernels/decode.py.
"""

import numpy as np

from .addresses import address, floats_at
from .attention import LOWEST
from .compile import exact, inner
from .math import bits_of_size, number_of, order_of, size_of_bits
from .shortlist import INFINITE

NO_IDS = np.empty(0, np.int64)
NOT_GREEDY = NO_IDS, NO_IDS, NO_IDS  # instead of what asked_of() returns
NOBODY = -1  # instead of a token
ITEM = 4  # bytes of a float32


def asked_of(last, plan, params, config, cache, n_new, stop_ids):
    """What a kernel has to be told to say up to `n_new` tokens behind `last`, or None: tokens, stop_ids, places.

    `places`: the addresses of wte, or 0 where it is not float32, and of wpe. None where the embedding is not GPT-2's,
    where a layer has bands, which move on token by token, and where there is no such token or no room in the cache,
    as compiled code would not notice.
    """
    n_vocab, has_room = plan[0][-1].shape[0], 1 <= n_new <= min(cache.n_ctx, config.n_ctx) - cache.length
    if config.positions != "learned" or cache.window is not None or not (has_room and 0 <= last < n_vocab):
        return None
    wte, wpe = (
        address(params[name]["weight"], np.float32, (n_rows, config.n_embd)) or 0
        for name, n_rows in (("wte", n_vocab), ("wpe", config.n_ctx))
    )
    tokens = np.full(1 + n_new, NOBODY)
    tokens[0] = last
    return None if wpe == 0 else (tokens, stop_ids, np.array([wte, wpe], np.int64))


def said_of(tokens):
    """The tokens behind the first, up to where there are none."""
    return tokens[1 : len(tokens) - np.count_nonzero(tokens[1:] == NOBODY)].tolist()


@inner
def goes_on(step, tokens, stop_ids, logits, best):
    """The likeliest token, by those of the parts, comes next -> is another to follow it?"""
    token = likeliest(logits, best)
    tokens[step + 1] = token
    for stop in stop_ids:
        if token == stop:
            return False
    return token != NOBODY


@inner
def likeliest_of_part(logits, first, end):
    """Where the first of the highest of some logits stands; NOBODY where one of them is NaN."""
    highest, largest = order_of(LOWEST), np.int32(0)
    for i in range(first, end):
        highest = max(highest, order_of(logits[i]))
        largest = max(largest, bits_of_size(logits[i]))
    if not size_of_bits(largest) <= INFINITE:
        return NOBODY
    top, at = number_of(highest), first
    while at < end and logits[at] != top:
        at += 1
    return min(at, logits.size - 1)  # of no logits, anyone's


@inner
def likeliest(logits, best):
    """The same of all parts; NOBODY also where the highest is infinite, as sampling.greedy refuses it."""
    found = best[0]
    for at in best:
        if at == NOBODY:
            return NOBODY
        if logits[at] > logits[found] or (logits[at] == logits[found] and at < found):
            found = at
    return found if LOWEST < logits[found] < INFINITE else NOBODY


@exact
def embed(token, position, places, x):
    """x = wte[token] + wpe[position], both float32."""
    of_token = floats_at(places[0] + ITEM * x.size * token, x.size)
    for j in range(x.size):  # to say x[:] = of_token takes two seconds longer to compile
        x[j] = of_token[j]
    add_position(position, places, x)


@exact
def add_position(position, places, x):
    """x += wpe[position]."""
    of_position = floats_at(places[1] + ITEM * x.size * position, x.size)
    for j in range(x.size):
        x[j] += of_position[j]


@inner
def behind(starts, step):
    """Where each text goes on after so many steps."""
    here = np.empty_like(starts)
    for text in range(len(starts)):
        here[text] = starts[text] + step
    return here
