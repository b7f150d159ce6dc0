"""A training played back: the same text, read by the models that a run kept on its way (train --keep-every).

Enter: the folder of a run, a text. Leave: for each kept model its attention, its loss on each token, what it writes.
Next: lens/cost.py.
"""

from typing import NamedTuple

import numpy as np

from ..generation import text as generation
from ..generation.request import Request
from ..gpt import GPT
from ..training import kept
from ..training.samples import SAMPLING
from .attention import attention_grid
from .tokens import tokens_view


class Playback(NamedTuple):
    """One text as it was read after more and more steps."""

    steps: np.ndarray  # int64 [n_kept]
    tokens: list  # [n_seq] of str
    losses: np.ndarray  # float64 [n_kept, n_seq], nats; NaN for the first token, which was not guessed
    probs: np.ndarray  # float32 [n_kept, n_layer, n_head, n_seq, n_seq]
    prompt: str  # what the samples begin with
    samples: list  # [n_kept] of str, what follows it


def playback_view(out, text, prompt="", n_new=40, seed=0):
    """Read `text`, and continue `prompt` by `n_new` tokens, with each model that a run kept -> Playback.

    Without a `prompt` nothing is written. Every sample is drawn with the same seed, as in samples.txt. FileError where
    the run in the folder `out` kept no models.
    """
    steps, views, grids, samples = [], [], [], []
    for step, path in kept.need(out).items():
        gpt = GPT.from_pretrained(str(path), ops="numpy")
        steps.append(step)
        views.append(tokens_view(gpt, text))
        grids.append(attention_grid(gpt, text).probs)
        samples.append(_continued(gpt, prompt, n_new, seed) if prompt else "")
    losses = np.stack([view.losses for view in views])
    return Playback(np.array(steps), views[0].tokens, losses, np.stack(grids), prompt, samples)


def _continued(gpt, prompt, n_new, seed):
    request = Request(n_new, SAMPLING, seed)
    return generation.generate([prompt], gpt.params, gpt.config, gpt.ops, gpt.tokenizer, request)[0]
