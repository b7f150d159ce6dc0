"""How much memory is asked for, and whether it is there: said before it is taken, as a number is soon typed.

Enter: prompts, what is asked, and how many sequences each prompt is to have. Leave: nothing, or an error that says what
would fit. Next: generation/speculation.py.
"""

from .. import memory
from ..errors import InputError, shown
from ..kv_cache import cache_bytes
from . import decoding

# Bytes of a sequence while its next id is chosen or searched for. For each logit: float32 and its copy, then float64
# for shares, sums, their order, and what they leave. For itself: a generator, lists, a decoder.
LOGIT, SEQUENCE = 64, 8192
ID = 32  # bytes of an id that was said, in the texts that are compared and returned


def check(prompts, params, config, ops, request, max_new, num_beams=1, name="num_beams"):
    """InputError where the sequences of all prompts do not fit the memory together; one alone is always tried.

    Each takes its keys and values, its logits and its text; while rows change places there are two caches. `name`: that
    of the option which says how many `num_beams` are.
    """
    each = max(request.num_return_sequences, num_beams)
    n_rows = len(prompts) * each
    if n_rows == 1:
        return
    wanted, free = sequence_bytes(max(map(len, prompts)), max_new, params, config, ops, num_beams), memory.available()
    if free is None or n_rows * wanted <= free:
        return
    name = name if num_beams > 1 else "num_return_sequences"
    fit = max(free // wanted // len(prompts), 1)
    expected, got = (f"{name}: expected at most {fit:,}", each) if each > fit else ("prompts: expected fewer", n_rows)
    each_takes = f"a sequence takes {memory.in_words(wanted)} and {memory.in_words(free)} are free"
    raise InputError(
        f"{expected}, as {each_takes}, got {shown(got)}; ask for fewer at once, or for shorter ones"
    )


def sequence_bytes(n_prompt, max_new, params, config, ops, num_beams=1):
    """An upper bound on the bytes that one sequence takes beside the weights."""
    n_positions = min(config.n_ctx, n_prompt + max_new)
    position = decoding.new_cache(1, 1, params, config, ops).n_bytes
    caches = 2 * position * cache_bytes(config, n_positions) // cache_bytes(config, 1)
    hypotheses = 3 if num_beams > 1 else 1  # what goes on, what ended, and what might
    text = min(n_prompt + max_new, 1 << 40)
    return caches + config.n_vocab * LOGIT + hypotheses * (SEQUENCE + ID * text)
