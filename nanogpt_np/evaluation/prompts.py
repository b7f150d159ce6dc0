"""Zero, one or a few examples, then the question: how a task is put to a model that only goes on with texts.

Enter: an instruction, examples that are answered, and what is asked. Leave: the prompt, as one text. A space goes with
the word behind it: a question ends in "A:", its answer begins with " ", as the tokens of GPT-2 do (Brown et al. 2020,
figure 2.1 and appendix G). Next: evaluation/intervals.py.
"""

import numpy as np

from ..errors import InputError, check_whole

SEPARATOR = "\n\n"


def assemble(question, examples=(), instruction="", separator=SEPARATOR):
    r"""The prompt; `examples`: (question, answer) each, in the order in which they stand.

    assemble("Q: b\nA:", [("Q: a\nA:", " 1")]) -> "Q: a\nA: 1\n\nQ: b\nA:"
    """
    parts = [instruction] if instruction else []
    return separator.join([*parts, *(asked + answer for asked, answer in examples), question])


def draw(examples, n_shots, seed=0):
    """n_shots of some examples in an order of chance, the same for the same seed; InputError for more than there are.

    draw(["a", "b"], 0) -> []
    """
    check_whole("n_shots", n_shots)
    check_whole("seed", seed)
    if n_shots > len(examples):
        raise InputError(f"n_shots: expected at most the {len(examples)} examples that there are, got {n_shots}")
    order = np.random.default_rng(seed).permutation(len(examples))[:n_shots]
    return [examples[i] for i in order]
