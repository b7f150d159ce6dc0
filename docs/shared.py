"""What reading a shared beginning once is worth: `python docs/shared.py [MODEL]`.

Enter: a model's name or directory ("stories" if none is given). Leave: a line for each kind of questions: seconds of
the processor, every text read whole and with what is shared read once, and how far the numbers lie apart. The texts are
pieces of notebooks/texts/shakespeare.txt: what they say does not matter here.
"""

import sys
import time
from pathlib import Path

import numpy as np

from nanogpt_np import GPT
from nanogpt_np.evaluation.likelihood import Pair, score

TEXT = Path(__file__).parent.parent / "notebooks" / "texts" / "shakespeare.txt"
KINDS = {  # tokens that all questions begin with, of a question, of a choice; questions, choices
    "4 choices, no examples": (0, 60, 12, 8, 4),
    "4 choices, 5 examples": (150, 40, 12, 8, 4),
    "1 answer, 5 examples": (180, 30, 6, 32, 1),
    "1 answer, no examples": (0, 80, 6, 32, 1),
}
ROUNDS = 5


def questions(ids, n_header, n_question, n_choice, n, n_choices):
    """Pairs of the wanted lengths, cut from one row of ids."""
    header, rest = ids[:n_header], iter(ids[n_header:])

    def take(count):
        return [next(rest) for _ in range(count)]

    contexts = [header + take(n_question) for _ in range(n)]
    return [Pair(context, take(n_choice)) for context in contexts for _ in range(n_choices)]


def seconds(pairs, gpt, share):
    """-> the least time of the processor in a few rounds, and the Scores."""
    best = np.inf
    for _ in range(ROUNDS):
        begin = time.process_time()
        found = score(pairs, gpt.params, gpt.config, gpt.ops, 8, share=share)
        best = min(best, time.process_time() - begin)
    return best, found


def main(model="stories"):
    gpt = GPT.from_pretrained(model, ops="numpy")
    ids = gpt.tokenizer.encode(TEXT.read_text(encoding="utf-8")[:30_000])
    for name, kind in KINDS.items():
        pairs = questions(ids, *kind)
        (alone, plain), (shared, once) = (seconds(pairs, gpt, share) for share in (False, True))
        apart = max(abs(a.total - b.total) for a, b in zip(plain, once, strict=True))
        gain = f"whole {alone:5.2f} s, shared {shared:5.2f} s: {alone / shared:4.2f} x"
        print(f"{name:24} {gain}; apart by {apart:.0e} nats")


if __name__ == "__main__":
    main(*sys.argv[1:])
