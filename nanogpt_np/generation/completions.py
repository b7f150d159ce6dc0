"""A continuation with all that is known of it: its ids, how likely they were, what else might have come, why it ended.

Enter: prompts, what is asked, and how many of the best tokens to keep for each step. Leave: Completions, in prompt
order, as values and as JSON. Log-probabilities are the model's own: before temperature, penalties and bans.
Next: generation/batches.py.
"""

import time
from typing import Any, NamedTuple

import numpy as np

from ..errors import check_whole
from . import beams, text
from .penalties import spelled_words
from .request import EOS, LENGTH, STOP, encode_prompt
from .sampling import log_softmax
from .scores import best, log_probs


class Completion(NamedTuple):
    """One continuation. `text` is None for a model without vocabulary; `reason`: "eos", "stop", "length", "match".

    Stop ids and what completes a stop string are left out of `ids`. Seconds count from when the prompts were handed
    over, for all of a batch together.
    """

    prompt: Any  # as it was given: text, or ids
    text: str | None
    ids: list[int]
    reason: str
    log_probs: list[float]  # of each id, in nats
    top: list[Any]  # for each id the k best in its place, a list of scores.NextToken; [] where none were asked for
    score: float | None  # what beams are compared by; None where ids were drawn
    seconds_to_first: float | None  # None with beams, which say nothing before the end
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The same as values that JSON has."""
        top = [[token._asdict() for token in tokens] for tokens in self.top]
        return self._asdict() | {"prompt": plain(self.prompt), "top": top}


def plain(prompt: Any) -> Any:
    """A prompt as JSON has it: text, or a list of numbers."""
    return prompt if isinstance(prompt, str) else [int(i) for i in prompt]


def complete(prompts, params, config, ops, tokenizer, request, n_top=0, kept=None):
    """The Completions of some prompts, request.num_return_sequences of each; `n_top`: how many of the best to keep."""
    check_whole("top_logprobs", n_top)
    began, first, last = time.perf_counter(), None, None
    n_rows = len(prompts) * request.num_return_sequences
    rows = [{"piece": "", "ids": [], "log_probs": [], "top": []} for _ in range(n_rows)]
    reasons, all_log_probs = [None] * n_rows, None
    for i, token, piece, step in text.events(prompts, params, config, ops, tokenizer, request, kept, reasons):
        first, row = first or time.perf_counter(), rows[i]
        row["piece"] += piece
        if token is None:
            continue
        if step is not last:
            last, all_log_probs = step, _of_step(step)
        row["ids"].append(token)
        row["log_probs"].append(float(all_log_probs[i][token]))
        if n_top:
            row["top"].append(best(all_log_probs[i], n_top, tokenizer))
    now = time.perf_counter()
    return [
        Completion(
            prompts[i // request.num_return_sequences], row["piece"] if tokenizer else None, row["ids"],
            reasons[i] or LENGTH, row["log_probs"], row["top"], None, (first or now) - began, now - began,
        )
        for i, row in enumerate(rows)
    ]  # fmt: skip


def _of_step(step):  # -> float64 [n_vocab] of each row that said something
    said = [row for row, token in enumerate(step.ids) if token is not None]
    return dict(zip(said, log_softmax(np.stack([step.logits[row] for row in said])), strict=True))


def search(prompts, params, config, ops, tokenizer, request, how, n_top=0):
    """The Completions that a beam search finds, the best of each prompt first; each is read again for its numbers."""
    check_whole("top_logprobs", n_top)
    began, found = time.perf_counter(), []
    encoded = [encode_prompt(prompt, config, tokenizer) for prompt in prompts]
    guide, stop_ids = request.guide(config, tokenizer), request.stop_ids(config)
    asked_for = {item for item in request.stop if not isinstance(item, str)}
    request = request.spelled(config, tokenizer)
    words = spelled_words("forced_words", how.forced_words, tokenizer)
    hypotheses = beams.search(encoded, params, config, ops, request, how, guide, words)
    for prompt, ids, best_ones in zip(prompts, encoded, hypotheses, strict=True):
        for hypothesis in best_ones:
            new = [i for i in hypothesis.ids if i not in stop_ids]
            end = hypothesis.ids[-1] if len(new) < len(hypothesis.ids) else None
            reason = LENGTH if end is None else STOP if end in asked_for else EOS
            numbers = log_probs([*ids, *new], params, config, ops)[len(ids) :].tolist() if new else []
            spelled = tokenizer.decode(new) if tokenizer else None
            found.append((prompt, spelled, new, reason, numbers, [], hypothesis.score, None))
    seconds = time.perf_counter() - began
    return [Completion(*fields, seconds) for fields in found]
