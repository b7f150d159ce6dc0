"""A text as it grows: at each step what could have come, what sampling left of it, what was drawn, and what it cost.

Enter: a GPT, a text, how to sample, a seed. Leave: a step for each new token, from the same code that generates, so
that the ids are those of gpt.generate. Next: lens/style.py.
"""

from typing import NamedTuple

import numpy as np

from ..errors import check_whole
from ..generation import tokens as generation
from ..generation.request import Request
from ..generation.sampling import log_softmax, probabilities
from .cost import CostView, cost_view
from .sampling import SamplingView, stages_view
from .seen import ids_of, spelled


class NewToken(NamedTuple):
    """One step of a generation."""

    id: int
    token: str
    view: SamplingView  # the likeliest tokens, through every stage of sampling
    raw: float  # its probability before sampling
    prob: float  # the one that it was drawn with
    entropy: float  # nats, of the distribution before sampling
    n_read: int  # tokens that were read in this step: the prompt, later one
    cost: CostView  # of the last of them, with the cache and without


class Generated(NamedTuple):
    """A text and its continuation, step by step."""

    prompt: list  # of str
    prompt_ids: np.ndarray  # int64
    steps: list  # of NewToken
    reason: str  # why it ended, as generation/request.py calls it


def generation_view(gpt, prompt, n_new, sampling, seed=0, k=10):
    """Continue a text by at most `n_new` tokens -> Generated; the ids are those of gpt.generate.

    `sampling`: a Sampling; `k`: how many candidates each step names. Where the context ends before, as many tokens as
    fit. InputError where the prompt itself does not fit.
    """
    check_whole("n_new", n_new, 1)
    check_whole("k", k, 1)
    ids = ids_of(gpt, prompt)
    room = gpt.config.n_ctx + 1 - len(ids)  # the last new token is never read again
    request = Request(min(n_new, room) if room > 0 else n_new, sampling, seed).spelled(gpt.config, gpt.tokenizer)
    text, steps, reasons = ids.tolist(), [], [None]
    for step in generation.stream_steps([text], gpt.params, gpt.config, gpt.ops, request):
        reasons = step.reasons
        if step.ids[0] is None:
            break
        before = text + [new.id for new in steps]
        n_read = 1 if steps else len(text)
        steps.append(_new_token(gpt, before, step, request.sampling, k, n_read))
    return Generated(spelled(gpt, ids), ids, steps, reasons[0])


def _new_token(gpt, before, step, sampling, k, n_read):
    logits, token = step.logits[:1], step.ids[0]
    view = stages_view(gpt, np.array(before), logits[0], sampling, k)
    log_probs = log_softmax(logits)[0]
    probs = np.exp(log_probs)
    entropy = float(-np.sum(probs * np.where(probs > 0, log_probs, 0)))  # 0 log 0 is 0
    drawn = 1.0
    if sampling.temperature:
        processed = sampling.process(logits, [before]) if sampling.processes else logits
        drawn = float(probabilities(sampling.warp(processed))[0, token])
    cost = cost_view(gpt.config, len(before) - 1)
    return NewToken(token, spelled(gpt, [token])[0], view, float(probs[token]), drawn, entropy, n_read, cost)
