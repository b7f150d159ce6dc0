"""Examples before a question, so that a model sees what is wanted (few-shot: Brown et al. 2020, section 2).

Enter: examples, a file of them, how many. Leave: the text that stands before every question. It is the same for all of
them, so it is read once. Next: evaluation/choices.py.
"""

import numpy as np

from ..errors import InputError, check_whole

BETWEEN = "\n\n"  # examples, as in lm-evaluation-harness and in the paper's appendix; a task may have another


def header(examples, delimiter=" ", between=BETWEEN):
    """(question, answer) pairs -> the text before the question that is asked.

    header([("2+2=", "4"), ("1+2=", "3")]) -> "2+2= 4\\n\\n1+2= 3\\n\\n"
    """
    return "".join(question + delimiter + answer + between for question, answer in examples)


def drawn(examples, n, seed=None):
    """n of some examples: the first ones, or with a seed drawn ones, in the order of their drawing.

    drawn(["a", "b", "c"], 2) -> ["a", "b"]. InputError where there are fewer.
    """
    check_whole("shots", n)
    if n > len(examples):
        raise InputError(f"shots: expected at most {len(examples):,}, as many as there are examples, got {n:,}")
    if seed is None:
        return examples[:n]
    check_whole("seed", seed)
    rng = np.random.default_rng(seed)
    return [examples[i] for i in rng.permutation(len(examples))[:n]]
