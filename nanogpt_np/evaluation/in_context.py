"""Learning from examples in the text alone: how often is the next answer right after so many examples?

Enter: a model over the task's symbols, or none yet, and a seed. Leave: episodes to train on or to ask; accuracy against
the number of examples, beside the best that is possible. Each episode has a function of its own, drawn at random and
written nowhere: who answers right has learned it from the examples before, with no weight changed (Brown et al. 2020,
figure 1.2, does it with words whose letters are mixed up, and models a million times as large). Next:
evaluation/tasks.py.
"""

from typing import NamedTuple

import numpy as np

from ..config import GPTConfig
from ..errors import InputError, check_whole
from ..ops import IGNORE

AT_ONCE = 64  # episodes in one pass


class Lookup(NamedTuple):
    """The task: `n_symbols` questions, as many answers, and `n_shots` of both in a text: x y x y …

    A text is ids [2 * n_shots]: a question x is an id below n_symbols, its answer n_symbols + f(x).
    """

    n_symbols: int = 8
    n_shots: int = 32

    def config(self, n_embd=64, n_layer=4, n_head=4):
        """A model for it, GPT-3's shape made small: the context is one text."""
        shape = GPTConfig(n_vocab=2 * self.n_symbols, n_ctx=2 * self.n_shots)
        return shape.replace(n_embd=n_embd, n_layer=n_layer, n_head=n_head)


def episodes(task, n, rng):  # -> ids, targets [n, 2 * n_shots - 1]
    """`n` texts, each with a function of its own; a target is the answer behind a question, all else is IGNOREd.

    Answers are drawn each for itself, so that what was not asked before cannot be known. `rng`: a numpy Generator.
    """
    functions = rng.integers(task.n_symbols, size=(n, task.n_symbols))
    questions = rng.integers(task.n_symbols, size=(n, task.n_shots))
    answers = task.n_symbols + np.take_along_axis(functions, questions, axis=1)
    ids = np.stack([questions, answers], axis=-1).reshape(n, -1)
    targets = np.where(np.arange(ids.shape[1] - 1) % 2 == 0, ids[:, 1:], IGNORE)
    return ids[:, :-1], targets


def accuracy(gpt, task, n=256, seed=0):  # -> float64 [n_shots]
    """The share of right answers after 0, 1, … examples, over `n` fresh episodes; the likeliest answer counts.

    InputError where the model does not know the task's symbols, or is too short for it.
    """
    check_whole("n", n, 1)
    if gpt.config.n_vocab < 2 * task.n_symbols or gpt.config.n_ctx < 2 * task.n_shots - 1:
        expected = f"n_vocab {2 * task.n_symbols} and n_ctx {2 * task.n_shots - 1}"
        raise InputError(f"gpt: expected at least {expected}, got {gpt.config.n_vocab} and {gpt.config.n_ctx}")
    ids, targets = episodes(task, n, np.random.default_rng(seed))
    said = [gpt(ids[start : start + AT_ONCE])[:, ::2].argmax(axis=-1) for start in range(0, n, AT_ONCE)]
    return (np.concatenate(said) == targets[:, ::2]).mean(axis=0)


def best_possible(task):  # -> float64 [n_shots]
    """What who forgets nothing gets right on average: a question that was asked before surely, any other by luck.

    best_possible(Lookup(n_symbols=2, n_shots=2)) -> [0.5, 0.75]
    """
    is_new = (1 - 1 / task.n_symbols) ** np.arange(task.n_shots)
    return 1 - is_new * (1 - 1 / task.n_symbols)
