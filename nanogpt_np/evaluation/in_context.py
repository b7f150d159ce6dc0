"""Learning from examples in the text alone: how often is the next answer right after so many examples?

Enter: a model over the task's symbols, or none yet, and a seed. Leave: texts to train on or to ask; accuracy against
the number of examples, beside the best that is possible. Each text has a function of its own, drawn at random and
written nowhere: who answers right has learned it from the examples before, with no weight changed (Brown et al. 2020,
figure 1.2, does it with words whose letters are mixed up, and models a million times as large).
Next: evaluation/tasks.py.
"""

from typing import NamedTuple

import numpy as np

from ..config import GPTConfig
from ..errors import InputError, check_whole
from ..ops import IGNORE

AT_ONCE = 64  # texts in one pass


class Cards(NamedTuple):
    """The task: a question, then the card that answers it, another question, its card …, `n_shots` of both.

    A question x is an id below n_symbols. A card shows a question and its answer, x and f(x), as one id:
    n_symbols + x * n_symbols + f(x).
    """

    n_symbols: int = 6
    n_shots: int = 32

    @property
    def n_vocab(self):
        """All questions and all cards: Cards(n_symbols=2).n_vocab -> 6"""
        return self.n_symbols + self.n_symbols**2

    def config(self, **shape):
        """A model for it: the context is one text."""
        return GPTConfig(n_vocab=self.n_vocab, n_ctx=2 * self.n_shots, **shape)


def texts(task, n, rng, only_known=False):  # -> ids, targets [n, 2 * n_shots - 1]
    """`n` texts, each with a function of its own; the target behind a question is its card, all else is IGNOREd.

    Answers are drawn each for itself, so that what was not asked before cannot be known; with `only_known` such a
    question has no target, as there is nothing in it to learn. `rng`: a numpy Generator.
    """
    m = task.n_symbols
    functions = rng.integers(m, size=(n, m))
    questions = rng.integers(m, size=(n, task.n_shots))
    cards = m + questions * m + np.take_along_axis(functions, questions, axis=1)
    ids = np.stack([questions, cards], axis=-1).reshape(n, -1)
    targets = np.where(np.arange(ids.shape[1] - 1) % 2 == 0, ids[:, 1:], IGNORE)
    if only_known:
        same = questions[:, :, None] == questions[:, None, :]  # [n, asked now, asked then]
        targets[:, ::2][~np.tril(same, k=-1).any(axis=-1)] = IGNORE
    return ids[:, :-1], targets


def accuracy(gpt, task, n=256, seed=0):  # -> float64 [n_shots]
    """The share of right answers after 0, 1, … examples, over `n` fresh texts; the likeliest card counts.

    InputError where the model does not know the task's symbols, or is too short for it.
    """
    check_whole("n", n, 1)
    if gpt.config.n_vocab < task.n_vocab or gpt.config.n_ctx < 2 * task.n_shots - 1:
        expected = f"n_vocab {task.n_vocab} and n_ctx {2 * task.n_shots - 1}"
        raise InputError(f"gpt: expected at least {expected}, got {gpt.config.n_vocab} and {gpt.config.n_ctx}")
    ids, targets = texts(task, n, np.random.default_rng(seed))
    said = [gpt(ids[start : start + AT_ONCE])[:, ::2].argmax(axis=-1) for start in range(0, n, AT_ONCE)]
    return (np.concatenate(said) == targets[:, ::2]).mean(axis=0)


def best_possible(task):  # -> float64 [n_shots]
    """What who forgets nothing gets right on average: a question that was asked before surely, any other by luck.

    best_possible(Cards(n_symbols=2, n_shots=2)) -> [0.5, 0.75]
    """
    is_new = (1 - 1 / task.n_symbols) ** np.arange(task.n_shots)
    return 1 - is_new * (1 - 1 / task.n_symbols)
