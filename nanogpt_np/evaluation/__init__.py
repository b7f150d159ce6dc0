"""How good is a model? Numbers, each with a name that says exactly what was counted.

Enter: a GPT, and a file of texts or questions. Leave: a row of numbers for each item, and what they come to together.
To read: likelihood (how likely are words behind others), items (files of them), results (a run that can be gone on
with), last_words (LAMBADA).
"""

from .last_words import NUMBERS as LAST_WORD_NUMBERS
from .likelihood import Pair, Score, score

__all__ = ["LAST_WORD_NUMBERS", "Pair", "Score", "score"]
