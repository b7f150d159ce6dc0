"""How often does a story hold what was asked for? 200 requests that nothing was learned from, before and after.

    python weights/stories-asked/measure.py test.jsonl [ADAPTER]

Enter: requests as prepare.py makes them, and an adapter's name or folder ("stories-asked" if none is given). Leave: a
table, for the model alone and with the adapter: how many stories hold every word of the request, its title's too; how
many the three words; how many of all words; how many stories came to their end. One story is drawn for each request,
as the model likes to be sampled (temperature 0.7), seed 0, as long as the context allows.
"""

import math
import sys
from typing import NamedTuple

import prepare

from nanogpt_np import GPT
from nanogpt_np.finetuning.instructions import read_pairs

MODEL, ADAPTER, AT_ONCE = "stories", "stories-asked", 50
HOW = {"seed": 0}  # and for the rest what the model's generation_config.json says


class Obeyed(NamedTuple):
    """Counts: requests in all; whose story holds all words; the three words; of 5 words each; that came to an end."""

    n: int
    whole: int
    three: int
    words: int
    asked: int
    ended: int


def write(gpt, requests):
    """-> a story for each request, and how many of them the model ended by itself."""
    stories, ended = [], 0
    for start in range(0, len(requests), AT_ONCE):
        prompts = [gpt.tokenizer.encode(request) for request in requests[start : start + AT_ONCE]]
        room = gpt.config.n_ctx - max(map(len, prompts))
        told = gpt.generate(prompts, room, **HOW)
        ended += sum(len(new) < room for new in told)
        stories += [gpt.tokenizer.decode(new) for new in told]
    return stories, ended


def count(requests, stories, ended):
    """-> Obeyed of some stories."""
    missing = [prepare.missing(request, story) for request, story in zip(requests, stories, strict=True)]
    asked = [prepare.asked(request) for request in requests]
    three = sum(not set(words[-3:]) & set(lacking) for words, lacking in zip(asked, missing, strict=True))
    n_asked = sum(map(len, asked))
    whole, n_missing = sum(not lacking for lacking in missing), sum(map(len, missing))
    return Obeyed(len(requests), whole, three, n_asked - n_missing, n_asked, ended)


def interval(k, n, z=1.96):
    """Between which shares k of n lies with 95 % confidence (Wilson 1927): interval(80, 100) -> (0.71…, 0.87…)"""
    middle, width = k + z * z / 2, z * math.sqrt(k * (n - k) / n + z * z / 4)
    return (middle - width) / (n + z * z), (middle + width) / (n + z * z)


def table(name, found):
    """The counts as lines of text."""
    low, high = interval(found.whole, found.n)
    return (
        f"{name}:\n"
        f"title and words obeyed  {found.whole} of {found.n} ({low:.0%} to {high:.0%})\n"
        f"the three words         {found.three} of {found.n}\n"
        f"of all words            {found.words} of {found.asked}\n"
        f"end by themselves       {found.ended} of {found.n}"
    )


def main(path, adapter=ADAPTER):
    requests = [prompt for prompt, _ in read_pairs([path])]
    for name, with_it in ((MODEL, None), (adapter, adapter)):
        gpt = GPT.from_pretrained(MODEL, ops="numba", adapter=with_it)
        print(table(name, count(requests, *write(gpt, requests))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
