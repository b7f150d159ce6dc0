"""How good is a model? Numbers, each with a name that says exactly what was counted.

Enter: a GPT, and a file of texts or questions. Leave: a row of numbers for each item, and what they come to together.
To read: likelihood (how likely are words behind others), items (files of them), shots (examples before a question),
results (a run that can be gone on with), last_words (LAMBADA), intervals (bootstrapped), bias (counterfactual pairs),
copies (passages that stand in another text), memorization (what was learned by heart), tasks (the papers' uses as
prompts), similarity (documents as vectors).
"""

from .bias import Bias, PairSet
from .intervals import Interval
from .last_words import NUMBERS as LAST_WORD_NUMBERS
from .likelihood import Pair, Score, score
from .memorization import Memorization
from .tasks import Answer, Rating, Task

__all__ = [
    "Answer", "Bias", "Interval", "LAST_WORD_NUMBERS", "Memorization", "Pair", "PairSet", "Rating", "Score", "Task", "score",
]  # fmt: skip
