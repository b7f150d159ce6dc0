"""One distribution through every stage of sampling: what each stage did, and the mass that was left.

Enter: a GPT, a text, and how to sample. Leave: a row for each stage, in the order of generation/sampling.py.
Next: lens/arrays.py.
"""

from typing import NamedTuple

import numpy as np

from ..generation import penalties
from ..generation import sampling as stages
from ..generation.sampling import Sampling
from .seen import look, spelled


class SamplingView(NamedTuple):
    """The next token's distribution before and after each stage; stages that change nothing are left out."""

    prompt: list  # of str: the tokens that came before
    names: list  # [n_stages] of str: "raw", "temperature 0.8", "top-p 0.95", …
    tokens: list  # [n_vocab] of str, the likeliest first
    ids: np.ndarray  # int64 [n_vocab], in that order
    probs: np.ndarray  # float64 [n_stages, n_vocab], columns in that order; each row sums to 1
    n_left: np.ndarray  # int64 [n_stages], tokens that may still be chosen
    mass: np.ndarray  # float64 [n_stages], what those had together in the stage before; 1 in the first row


def sampling_view(gpt, prompt, sampling):
    """The distribution behind a text through every stage of a Sampling -> SamplingView.

    temperature=0 is a stage that leaves the likeliest token alone. Frequency and presence penalties count what was
    generated, and nothing was: they are none of the stages.
    """
    seen = look(gpt, prompt)
    return stages_view(gpt, seen.ids, seen.logits[-1], sampling.spelled(gpt.tokenizer))


def stages_view(gpt, ids, logits, sampling, k=None):
    """The same from the logits [n_vocab] that stand behind some ids [n_seq] -> SamplingView.

    `sampling`: one whose texts are ids; `k`: only so many columns, the likeliest (None: all).
    """
    names, rows = ["raw"], [logits[None]]
    for name, apply in _steps(sampling, ids):
        names.append(name)
        rows.append(apply(rows[-1]))
    probs = np.stack([stages.probabilities(row)[0] for row in rows])
    order = np.argsort(-probs[0], kind="stable")
    probs = probs[:, order]
    left = np.stack([np.isfinite(row[0])[order] for row in rows])
    mass = np.array([1.0, *((probs[i - 1] * left[i]).sum() for i in range(1, len(rows)))])
    order, n_left = order[:k], left.sum(axis=1)
    return SamplingView(spelled(gpt, ids), names, spelled(gpt, order), order, probs[:, :k], n_left, mass)


def _steps(s: Sampling, ids):
    """(name, function of logits) of each stage that a Sampling asks for, in its order."""
    if s.logit_bias:
        yield f"{len(s.logit_bias)} biased", lambda x: penalties.sequence_bias(x, [ids], s.logit_bias)
    if s.repetition_penalty != 1.0:
        yield f"repetition penalty {s.repetition_penalty:g}", lambda x: penalties.repetition_penalty(
            x, [ids], s.repetition_penalty
        )
    if s.no_repeat_ngram_size:
        n = s.no_repeat_ngram_size
        yield f"no {n} twice", lambda x: penalties.no_repeat_ngram(x, [ids], n)
    if s.banned_words:
        yield f"{len(s.banned_words)} banned words", lambda x: penalties.ban_words(x, [ids], s.banned_words)
    if s.banned_ids:
        yield f"{len(s.banned_ids)} banned", lambda x: penalties.ban(x, s.banned_ids)
    if s.temperature == 0:
        yield "greedy", lambda x: np.where(np.arange(x.shape[-1]) == stages.greedy(x)[:, None], x, -np.inf)
        return
    if s.temperature != 1.0:
        yield f"temperature {s.temperature:g}", lambda x: stages.temperature(x, s.temperature)
    if s.top_k:
        yield f"top-k {s.top_k}", lambda x: stages.top_k(x, s.top_k)
    if s.top_p:
        yield f"top-p {s.top_p:g}", lambda x: stages.top_p(x, s.top_p)
    if s.min_p:
        yield f"min-p {s.min_p:g}", lambda x: stages.min_p(x, s.min_p)
    if s.typical_p:
        yield f"typical {s.typical_p:g}", lambda x: stages.typical_p(x, s.typical_p)
