"""From ids to ids: read the prompts once, then one token at a time for every sequence.

Enter: prompts as lists of ids. Leave: the next id of each, step by step. Prompts of different lengths are padded on the
left, and every sequence draws from its own generator, so that a batch gives what each prompt gives alone.
Next: generation/text.py.
"""

import numpy as np

from ..kv_cache import slide
from . import budget, decoding, speculation
from .request import plan_length


def stream_ids(prompts, params, config, ops, request):
    """Yield, step by step, one list with the next id of each sequence; None for a sequence that has ended.

    `prompts`: lists of ids; sequences stand in prompt order, request.num_return_sequences of each.
    InputError, at once, where a prompt is empty, prompt and new tokens do not fit the context, or all of them together
    not the memory.
    """
    max_new = plan_length(prompts, config, request)
    budget.check(prompts, params, config, ops, request, max_new)
    if request.speculate:
        speculation.check_request(request)
        return speculation.stream_ids(prompts, params, config, ops, request, max_new)
    return _steps(prompts, params, config, ops, request, max_new)


def _steps(prompts, params, config, ops, request, max_new):
    n = request.num_return_sequences
    texts = [list(prompt) for prompt in prompts for _ in range(n)]
    prompts = [slide(prompt, config.n_ctx) for prompt in prompts]
    seen = [list(prompt) for prompt in prompts for _ in range(n)]  # the part of each text that the model has in view
    rngs, stop_ids = request.generators(len(prompts)), request.stop_ids(config)
    ended = [False] * len(texts)
    logits, cache = None, None
    for step in range(max_new):
        if step == 0:
            logits, cache = prefill(prompts, params, config, ops, max_new)
            logits, cache = spread(logits, cache, n)
        elif cache.length == config.n_ctx:
            seen = [slide(text, config.n_ctx) for text in seen]
            logits, cache = prefill(seen, params, config, ops, config.n_ctx)
        else:
            last = np.array([[text[-1]] for text in texts])
            logits = decoding.decode(last, params, config, ops, cache)
        chosen = [int(i) for i in request.sampling.choose(logits[:, -1], texts, rngs)]
        for row, token in enumerate(chosen):
            ended[row] = ended[row] or token in stop_ids
            texts[row].append(token)  # an ended row keeps its place in the batch; what it says is not passed on
            seen[row].append(token)
        if all(ended):
            return
        yield [None if ended[row] else token for row, token in enumerate(chosen)]


def prefill(texts, params, config, ops, max_new):
    """Read the texts, padded on the left to one length -> logits of the last position [n_batch, 1, n_vocab], cache."""
    longest = max(map(len, texts))
    ids = np.array([[0] * (longest - len(text)) + text for text in texts])
    mask = np.array([[False] * (longest - len(text)) + [True] * len(text) for text in texts])
    n_ctx = min(config.n_ctx, longest + max_new)
    cache = decoding.new_cache(len(texts), n_ctx, params, config, ops)
    logits = decoding.read(ids, params, config, ops, cache, mask)
    return logits, cache


def spread(logits, cache, n):
    """Give each of the `n` sequences of a prompt its own row; the prompt was read once."""
    if n == 1:
        return logits, cache
    rows = np.repeat(np.arange(len(logits)), n)
    return logits[rows], cache.select(rows)
