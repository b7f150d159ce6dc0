"""How should a model be sampled, where nobody says? Measures texts drawn in many ways beside texts that people wrote.

    python docs/sweep.py stories tinystories.txt
    python docs/sweep.py poems quatrains.txt --prompt ""

Enter: a model, and the text that it was trained on. Leave: a table, a row for each way and one for held-out texts:
share that ended by themselves; distinct-1, -2 and -3, new n-grams among all; share of 4-grams that came before in the
same text; loss in nats per token under the model itself, and under a trigram model of the training texts (a judge that
is another model, counted from all of them). Good is what stands near the row of the held-out texts.
"""

import argparse
from collections import Counter
from itertools import product

import numpy as np

from nanogpt_np import GPT
from nanogpt_np.training.data import read_documents, split_held_out

WAYS = [{"temperature": t, "top_p": p} for t, p in product((0.6, 0.7, 0.8, 0.9, 1.0), (0.9, 0.95, 1.0))]
WAYS += [{"temperature": t, "min_p": 0.05} for t in (0.8, 1.0)] + [{"temperature": 0.8, "top_k": 40}]
WAYS += [{"temperature": 1.0, "typical_p": 0.9}, {"temperature": 0.8, "top_p": 0.95, "repetition_penalty": 1.1}]


class Trigrams:
    """Interpolated counts of one, two and three tokens (Jelinek and Mercer 1980)."""

    SHARES = (0.6, 0.3, 0.0999, 0.0001)  # of three, two, one, and any token at all

    def __init__(self, texts, n_vocab):
        self.n_vocab, self.counts = n_vocab, [Counter(), Counter(), Counter(), Counter()]
        for ids in texts:
            for n in range(4):
                self.counts[n].update(zip(*(ids[i:] for i in range(n)), strict=False) if n else {(): len(ids)})

    def loss(self, ids):
        """Nats of each token but the first two."""
        return [-np.log(self.chance(ids[i - 2 : i + 1])) for i in range(2, len(ids))]

    def chance(self, three):
        """Of the last of three, behind the others."""
        total = self.SHARES[3] / self.n_vocab
        for n, share in zip((3, 2, 1), self.SHARES, strict=False):
            gram = tuple(three[3 - n :])
            total += share * self.counts[n][gram] / max(self.counts[n - 1][gram[:-1]], 1)
        return total


def distinct(texts, n):
    """Different n-grams among all of them."""
    grams = [gram for ids in texts for gram in zip(*(ids[i:] for i in range(n)), strict=False)]
    return len(set(grams)) / len(grams)


def repeated(texts, n=4):
    """The share of n-grams that stood in the same text before."""
    per_text = [list(zip(*(ids[i:] for i in range(n)), strict=False)) for ids in texts]
    return 1 - sum(len(set(grams)) for grams in per_text) / sum(map(len, per_text))


def measure(gpt, judge, texts, n_prompt, ended):
    """One row of numbers; `texts`: ids with the prompt, which is not counted in losses."""
    own = np.concatenate([gpt.logprobs(ids[: gpt.config.n_ctx])[n_prompt:] for ids in texts])
    other = np.concatenate([judge.loss(ids)[max(n_prompt - 2, 0) :] for ids in texts])
    said = [ids[n_prompt:] for ids in texts]
    return [ended, *(distinct(said, n) for n in (1, 2, 3)), repeated(said), -own.mean(), other.mean()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--prompt", default="Once upon a time")
    parser.add_argument("--n", type=int, default=100, help="texts in a row (default 100), or as many as are held out")
    parser.add_argument("--ops", default="numpy")
    args = parser.parse_args()
    gpt = GPT.from_pretrained(args.model, ops=args.ops)
    encode, end = gpt.tokenizer.encode, [gpt.config.eos_id]
    trained, held_out = split_held_out(read_documents([args.data]), 0.02)
    judge = Trigrams([end + encode(text) + end for text in trained], gpt.config.n_vocab)
    prompt = end + encode(args.prompt)
    real = [end + encode(text) for text in held_out]
    real = [ids for ids in real if ids[: len(prompt)] == prompt][: args.n]
    most = min(200, gpt.config.n_ctx - len(prompt) + 1)
    print("| sampled with | ended | distinct-1 | -2 | -3 | repeated 4-grams | own loss | trigram loss |")
    print("|---" * 8 + "|")
    print(row(f"held-out texts ({len(real)})", measure(gpt, judge, [ids[:most] for ids in real], len(prompt), 1.0)))
    for way in WAYS:
        way = {"top_k": 0, "top_p": 1.0} | way  # nothing is left to what the model says by itself
        new = gpt.generate(prompt, most, num_return_sequences=len(real), seed=0, **way)
        ended = np.mean([len(ids) < most for ids in new])
        found = measure(gpt, judge, [prompt + ids for ids in new if len(ids) > 4], len(prompt), ended)
        print(row(", ".join(f"{name} {value}" for name, value in way.items() if value), found), flush=True)


def row(name, numbers):
    ended, *shares, own, other = numbers
    cells = [f"{ended:.0%}", *(f"{share:.3f}" for share in shares), f"{own:.2f}", f"{other:.2f}"]
    return f"| {name} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
