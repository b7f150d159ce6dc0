"""How good is a model? Numbers, each with a name that says exactly what was counted.

Enter: a GPT, and a file of texts or questions. Leave: a row for each item, and what they come to together.
To read: likelihood (how likely are words behind others), items (files of them), results (a run that can be gone on
with), texts (perplexity), last_words (LAMBADA), shots (examples before a question), choices (HellaSwag), answers, judge
(the same from lm-evaluation-harness).
"""

from .likelihood import Pair, Score, score

__all__ = ["Pair", "Score", "score"]
