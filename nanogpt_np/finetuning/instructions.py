"""Pairs of a prompt and its completion -> batches in which the completion is learned.

Enter: JSON lines, {"prompt": "Title: Tim and the bug. …", "completion": "\\nOnce upon a time …"}. Leave: for any step,
ids, targets and weights [n_batch, n_seq]. A prompt is read as it stands, as `generate` reads it, without <|endoftext|>
before it; one comes behind each completion. What is not to be learned has the target IGNORE (supervised fine-tuning:
Ouyang et al. 2022, section 3.5). Next: finetuning/adapting.py.
"""

import collections
import json
from typing import NamedTuple

import numpy as np

from .. import files
from ..errors import FileError, InputError, shown
from ..ops import IGNORE

KEYS = ("prompt", "completion")
SORTED = 8  # batches whose texts are sorted by length together, so that little is padded
USUAL = 0.1  # a token that more of the prompts hold than this share is not what one of them asks for


class Pair(NamedTuple):
    """The ids of one example: of its prompt, and of its completion with <|endoftext|> behind it."""

    prompt: list
    completion: list

    @property
    def n_ids(self):
        """How many ids it has in all."""
        return len(self.prompt) + len(self.completion)


def read_pairs(paths, digest=None):
    """The (prompt, completion) of all files, in order; FileError naming the line that is none.

    `digest`, a hashlib object, is fed the bytes that were read.
    """
    found = []
    for path in paths:
        text = files.read_text(path)
        if digest is not None:
            digest.update(text.encode("utf-8"))
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        if not lines:
            raise InputError(f"{files.short(path)}: expected a pair on each line, got an empty file")
        found += [_read_line(path, number, line) for number, line in lines]
    return found


def _read_line(path, number, line):
    where = f"{files.short(path)}: line {number}"
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{where}: expected JSON, got {shown(line)}") from error
    if not isinstance(raw, dict) or not all(isinstance(raw.get(key), str) and raw[key] for key in KEYS):
        raise FileError(f'{where}: expected {{"prompt": "…", "completion": "…"}}, got {shown(line)}')
    return tuple(raw[key] for key in KEYS)


def encode_pairs(pairs, tokenizer, n_ctx):
    """-> the Pairs that fit n_ctx, and how many did not; InputError where none does."""
    end = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    encoded = [Pair(list(tokenizer.encode(prompt)), list(tokenizer.encode(text)) + end) for prompt, text in pairs]
    fitting = [pair for pair in encoded if pair.n_ids - 1 <= n_ctx]  # the last id is only a target
    if not fitting:
        shortest = min(pair.n_ids for pair in encoded) - 1
        raise InputError(f"pairs: expected some of at most n_ctx = {n_ctx} tokens, got {shortest:,} and more")
    return fitting, len(encoded) - len(fitting)


def to_batch(pairs, learn_prompts=False, emphasis=1.0, usual=()):
    """-> ids, targets, weights [n_batch, n_seq], padded on the right, where no token before sees it.

    to_batch([Pair([5, 6], [7, 8])])[1].tolist() -> [[-100, 7, 8]]
    `learn_prompts`: what a prompt says is learned, too. `emphasis`: what a target of a completion weighs where it says
    for the first time what the prompt says, too, but for the `usual` ids; all others weigh 1.
    """
    n_seq = max(pair.n_ids for pair in pairs) - 1
    ids, targets = np.zeros((len(pairs), n_seq), np.int64), np.full((len(pairs), n_seq), IGNORE, np.int64)
    weights = np.ones((len(pairs), n_seq), np.float32)
    for i, (prompt, completion) in enumerate(pairs):
        row = [*prompt, *completion]
        first = 1 if learn_prompts else max(len(prompt), 1)
        ids[i, : len(row) - 1] = row[:-1]
        targets[i, first - 1 : len(row) - 1] = row[first:]
        begin = max(len(prompt), 1)  # of a word that is said again, the model would learn to say it again and again
        places = {token: at for at, token in reversed(list(enumerate(row[begin:], begin - 1)))}
        weights[i, [places[token] for token in set(prompt).difference(usual) if token in places]] = emphasis
    return ids, targets, weights


def usual_ids(pairs):
    """The ids that stand in many prompts: their form, not what they ask for."""
    counts = collections.Counter(token for pair in pairs for token in set(pair.prompt))
    return frozenset(token for token, n in counts.items() if n > max(USUAL * len(pairs), 1))


class Pairs:
    """Examples in an order that follows from the seed and the step, each once in an epoch; as data.Windows.

    In an epoch the pairs are shuffled, the texts of some batches sorted by length, and those batches shuffled again.
    """

    def __init__(self, pairs, seed, learn_prompts=False, emphasis=1.0):
        self.pairs, self.seed, self.how = pairs, seed, (learn_prompts, emphasis, usual_ids(pairs))
        self.n_windows, self.n_tokens = len(pairs), sum(pair.n_ids for pair in pairs)
        self._order = (None, None)

    @property
    def n_ctx(self):
        """The tokens of a pair, on average: what a plan counts with."""
        return self.n_tokens // self.n_windows

    def batch(self, first, n_batch):
        """-> ids, targets, weights: the `n_batch` pairs from number `first` on, over all epochs."""
        n_batch = min(n_batch, len(self.pairs))
        per_epoch = len(self.pairs) // n_batch  # what is left over is another in each epoch
        epoch, i = divmod(first // n_batch, per_epoch)
        if self._order[0] != (epoch, n_batch):
            self._order = (epoch, n_batch), self._shuffled(epoch, n_batch, per_epoch)
        return to_batch([self.pairs[j] for j in self._order[1][i]], *self.how)

    def _shuffled(self, epoch, n_batch, per_epoch):  # -> [per_epoch, n_batch]
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.pairs))[: per_epoch * n_batch]
        lengths = np.array([pair.n_ids for pair in self.pairs])
        together = SORTED * n_batch
        groups = [order[start : start + together] for start in range(0, len(order), together)]
        order = np.concatenate([group[np.argsort(-lengths[group], kind="stable")] for group in groups])
        return rng.permutation(order.reshape(per_epoch, n_batch))
