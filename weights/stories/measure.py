"""How good are the stories of a model? Three shares of 100, drawn as `nanogpt-np generate` draws them by itself.

    python weights/stories/measure.py [MODEL] [TEXT]

Enter: a model's name or directory ("stories" if none is given), or a text of stories to measure beside it, those that
training holds out. Leave: a line for each share. The stories begin with "Once upon a time"; sampled as the model's
generation_config.json says, up to 200 new tokens, seed 0: the same 100 each time.
"""

import re
import sys
from typing import NamedTuple

from nanogpt_np import GPT
from nanogpt_np.training.data import read_documents, split_held_out

PROMPT, N_STORIES, MOST = "Once upon a time", 100, 200
HOW = {"seed": 0}  # and for the rest what the model's generation_config.json says
LONG = 4  # words: of shorter sentences ("She was happy.") a good story may well hold two


class Shares(NamedTuple):
    """Counts: stories in all; that came to their end; that repeat a sentence; with a first name; that keep it."""

    n_stories: int
    ended: int
    repeating: int
    named: int
    keeping: int


def write(gpt):
    """-> the stories as text, and how many of them the model ended by itself."""
    ids = gpt.tokenizer.encode(PROMPT)
    told = gpt.generate(ids, MOST, num_return_sequences=N_STORIES, **HOW)
    return [PROMPT + gpt.tokenizer.decode(new) for new in told], sum(len(new) < MOST for new in told)


def repeats(story):
    """Does a sentence of at least LONG words stand in it twice, word for word?"""
    sentences = [" ".join(re.findall(r"[\w']+", part)).lower() for part in re.split(r"[.!?]+", story)]
    long = [sentence for sentence in sentences if sentence.count(" ") >= LONG - 1]
    return len(set(long)) < len(long)


def first_name(story):
    """The first name that is given, "Lily" of "a girl named Lily", or None."""
    found = re.search(r"\b(?:named|called) ([A-Z][a-z]+)", story)
    return found and found[1]


def keeps(story, name):
    """Does the name come again in the second half?"""
    return re.search(rf"\b{name}\b", story[len(story) // 2 :]) is not None


def shares(stories, ended):
    """-> Shares of some stories."""
    named = [(story, name) for story in stories if (name := first_name(story))]
    return Shares(len(stories), ended, sum(map(repeats, stories)), len(named), sum(keeps(*pair) for pair in named))


def table(found):
    """The shares as lines of text."""
    return (
        f"end by themselves             {found.ended} of {found.n_stories}\n"
        f"repeat a sentence             {found.repeating} of {found.n_stories}\n"
        f"keep the first name they give {found.keeping} of {found.named}"
    )


def main(model="stories", text=None):
    print(f"{model}:\n{table(shares(*write(GPT.from_pretrained(model, ops='numpy'))))}")
    if text is not None:
        _, held_out = split_held_out(read_documents([text]), 0.02)
        print(f"held out of {text}:\n{table(shares(held_out, len(held_out)))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
