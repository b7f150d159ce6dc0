"""What a page asks, checked before anything is computed: known fields, a text that fits, limits of memory.

Enter: the object that came as JSON. Leave: ids, whole numbers, a Sampling; or an InputError in one line.
Next: explore/models.py.
"""

import numpy as np

from .. import memory
from ..errors import InputError, is_whole, shown
from ..generation.sampling import Sampling
from ..lens.seen import ids_of

SIDE = ("model", "ops", "prompt")
OPS = {"float32": "auto", "int8": "int8", "int4": "int4"}  # as a page calls them -> as GPT does
SAMPLING = ("temperature", "top_k", "top_p", "min_p")
MOST_NEW = 64  # tokens of a generation
MOST_BYTES = 2 << 30  # of one pass and what is made of it
SMALL = 1 << 26  # bytes that are always there
MOST_NUMBERS = 1 << 18  # of an array that is asked for
_FLOAT64, _COPIES = 8, 4  # what a row of logits becomes on its way


class TooLong(InputError):
    """A text with more tokens than the context, or than there is memory for."""


def check_fields(body, allowed):
    """InputError for what is no object, and for a field that the view does not read."""
    if not isinstance(body, dict):
        raise InputError(f"body: expected a JSON object, got {shown(body)}")
    for name in body:
        if name not in allowed:
            raise InputError(f"body: expected {', '.join(sorted(allowed))}, got {shown(name)}")


def ops_of(body):
    """Which twin a side asks for, by GPT's own name; InputError for none of OPS."""
    name = body.get("ops", "float32")
    if not isinstance(name, str) or name not in OPS:
        raise InputError(f"ops: expected {', '.join(OPS)}, got {shown(name)}")
    return OPS[name]


def prompt_of(gpt, body):
    """The text of a side as ids, int64 [n_seq]; TooLong where it does not fit, InputError where it is none."""
    if "prompt" not in body:
        raise InputError("prompt: expected a text or a list of ids, got none; give prompt")
    ids = ids_of(gpt, body["prompt"])
    config = gpt.config
    if len(ids) > config.n_ctx:
        raise TooLong(f"prompt: expected at most n_ctx = {config.n_ctx} tokens, got {len(ids)}; shorten the text")
    if (needed := pass_bytes(config, len(ids))) > (most := _most_bytes(needed)):
        expected, got = memory.in_words(most), memory.in_words(needed)
        raise TooLong(f"prompt: expected one that {expected} are enough for, got {got}; shorten the text")
    return ids


def _most_bytes(needed):
    """How many bytes one pass may take; what is free is asked for only where that matters, as it takes a while."""
    free = memory.available() if SMALL < needed <= MOST_BYTES else None
    return MOST_BYTES if free is None else min(MOST_BYTES, free // 2)


def pass_bytes(config, n_seq):
    """About how many bytes a pass over `n_seq` tokens takes with all that is looked at in it."""
    patterns = config.n_layer * config.n_head * n_seq * n_seq * (4 + 2 * _FLOAT64)
    rows = config.n_layer * n_seq * (10 * config.n_embd + 2 * config.n_hidden) * 4
    return patterns + rows + n_seq * config.n_vocab * (4 + _COPIES * _FLOAT64)


def whole(body, name, otherwise, least=0, most=None):
    """A whole number from `least` to `most`, or what counts where none is given."""
    value = body.get(name, otherwise)
    if not is_whole(value) or value < least or (most is not None and value > most):
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise InputError(f"{name}: expected a whole number {limits}, got {shown(value)}")
    return int(value)


def sampling_of(body):
    """The Sampling that four fields ask for; null, 0 and what is left out leave a stage out."""
    temperature = body.get("temperature")
    found = {name: body[name] for name in ("top_k", "top_p", "min_p") if body.get(name)}
    return Sampling(1.0 if temperature is None else temperature, **found)


def check_size(shape, index):
    """InputError where more numbers would be left behind the index than an answer may hold."""
    n = int(np.prod(shape[len(index) :], dtype=np.int64))
    if n > MOST_NUMBERS:
        advice = "name places on the first axes"
        raise InputError(f"index: expected one that leaves at most {MOST_NUMBERS:,} numbers, got {n:,}; {advice}")
