"""How good is a model? Numbers, each with a name that says exactly what was counted.

Enter: a GPT, and a file of texts or questions. Leave: a row for each item, and what they come to together.
To read: likelihood (how likely are words behind others), items (files of them), results (a run that can be gone on
with), texts (perplexity), last_words (LAMBADA), shots (examples before a question), choices (HellaSwag), answers,
judge (the same from lm-evaluation-harness), intervals (bootstrapped), bias (counterfactual pairs), copies (passages
that stand in another text), memorization (what was learned by heart), in_context (accuracy by the number of examples),
tasks (the papers' uses as prompts), similarity (documents as vectors).
"""

from .bias import Bias, PairSet
from .intervals import Interval
from .likelihood import Pair, Score, score
from .memorization import Memorization
from .tasks import Answer, Rating, Task

__all__ = ["Answer", "Bias", "Interval", "Memorization", "Pair", "PairSet", "Rating", "Score", "Task", "score"]
