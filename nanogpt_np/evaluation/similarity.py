"""How alike are documents? By the vectors that a model makes of them, and by counting their words.

Enter: a GPT, texts, perhaps a layer. Leave: a vector for each, the mean of its tokens' hidden states, and cosines; and
a measure that needs no judges: is the second half of a story nearest to its own first half, among many? Counted words
(Salton and Buckley 1988) are asked the same, as a model of vectors that no bag of words falls short of is worth little.
Next: finetuning/head.py.
"""

import collections
import re
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from .. import model
from ..errors import InputError, check_whole, is_whole, shown
from ..training import data
from ..training.evaluation import check_share
from . import intervals, items
from .intervals import Interval

MOST_TEXTS = 5_000  # of one call: their cosines are 100 MB
LEAST = 4  # sentences that a story must have to be cut in half


class Found(NamedTuple):
    """A way to compare, the share of halves whose own other half is the nearest, and the mean of 1 / its rank."""

    way: str
    first: Interval
    reciprocal_rank: float

    def __str__(self):
        share = f"{self.first.value:6.1%} [{self.first.low:.1%}, {self.first.high:.1%}]"
        return f"{self.way:<34}  {share}  {self.reciprocal_rank:.3f}"

    def to_dict(self):
        """The same as values that JSON has."""
        return self._asdict() | {"first": self.first._asdict()}


def vectors(gpt, texts, layer=None, progress=False):  # -> float32 [n_texts, n_embd]
    """The mean over tokens of the residual stream behind `layer` blocks (0: the embedding), of each text.

    None: of the last layer norm's output, what gpt.hidden gives. A text longer than the context is read in windows of
    n_ctx tokens. InputError for no text, a text without tokens, a layer that is not there.
    """
    items.tokenizer_of(gpt)
    if layer is not None and not (is_whole(layer) and 0 <= layer <= gpt.config.n_layer):
        raise InputError(f"layer: expected 0 to n_layer = {gpt.config.n_layer}, got {shown(layer)}")
    return _by_layer(gpt, texts, [layer], progress)[0]


def _by_layer(gpt, texts, layers, progress=False):  # -> float32 [n_layers, n_texts, n_embd]
    """The vectors of each of some layers, from one pass over each text."""
    texts = check_texts(texts)
    found = np.empty((len(layers), len(texts), gpt.config.n_embd), np.float32)
    for i, text in enumerate(tqdm(texts, desc="reading", unit="text", disable=None if progress else True)):
        found[:, i] = _means(gpt, text, layers)
    if not np.isfinite(found).all():
        raise InputError("expected finite hidden states, got others; the weights are broken")
    return found


def check_texts(texts):
    """The texts as a list; InputError for none, too many, and for what is no text."""
    texts = [texts] if isinstance(texts, str) else list(texts)
    if not 1 <= len(texts) <= MOST_TEXTS:
        raise InputError(f"texts: expected 1 to {MOST_TEXTS:,}, got {len(texts):,}")
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"texts: expected texts, got {shown(text)}")
    return texts


def _means(gpt, text, layers):  # -> float32 [n_layers, n_embd]
    ids, n_ctx = np.array(gpt.tokenizer.encode(text)), gpt.config.n_ctx
    sums = 0.0
    for start in range(0, len(ids), n_ctx):
        sums = sums + _sums(ids[start : start + n_ctx], gpt, layers)
    return sums / len(ids)


def _sums(ids, gpt, layers):  # [n_seq] -> float64 [n_layers, n_embd]
    """The sums over tokens behind each layer: model.trunk, whose acts are let go at once."""
    params, config, ops = gpt.params, gpt.config, gpt.ops
    positions, visible = model.place((1, len(ids)), config, ops, None, None)
    with np.errstate(all="ignore"):
        x = model.embed(ids[None], positions, params, config, ops)
        streams = {0: x}
        for i in range(max(config.n_layer if layer is None else layer for layer in layers)):
            x, _ = model.block(x, params["h"][i], config, ops, visible, layer=i)
            streams[i + 1] = x
        if None in layers:
            streams[None] = ops.layer_norm(x, **params["ln_f"], eps=config.layer_norm_eps)
    return np.stack([streams[layer][0].sum(axis=0, dtype=np.float64) for layer in layers])


def cosines(a, b):  # [n, n_embd], [m, n_embd] -> [n, m]
    """The cosine of the angle between each two vectors; 0 where one has no length.

    cosines([[3.0, 0.0]], [[1.0, 0.0], [0.0, 2.0]]) -> [[1.0, 0.0]]
    """
    a, b = (_unit(np.asarray(vectors, np.float64)) for vectors in (a, b))
    return a @ b.T


def _unit(x):
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(length > 0, length, 1.0)


def count_words(texts):  # -> float64 [n_texts, n_words]
    """How often each word stands in each text, its letters small: a column for each word of all texts."""
    counts = [collections.Counter(re.findall(r"\w[\w']*", text.lower())) for text in texts]
    column = {word: i for i, word in enumerate(sorted(set().union(*counts)))}
    found = np.zeros((len(texts), len(column)))
    for row, count in zip(found, counts, strict=True):
        row[[column[word] for word in count]] = list(count.values())
    return found


def weigh(counts):  # [n_texts, n_words] -> the same
    """tf-idf: log(1 + count) times log(texts / texts with the word), so that a word of all texts says nothing."""
    n_with = np.maximum((counts > 0).sum(axis=0), 1)
    return np.log1p(counts) * np.log(len(counts) / n_with)


def tell_apart(gpt, texts, seed=0, progress=False):
    """Which way finds a story's second half by its first, among those of all? A Found for each way, a list.

    Ways: words counted, words weighed by tf-idf, and mean hidden states behind each layer, as they are and with the
    mean of all texts taken away (what all have in common says nothing). InputError for fewer than two stories.
    """
    check_whole("seed", seed)
    halves = [cut for text in check_texts(texts) if (cut := in_half(text))]
    if len(halves) < 2:
        raise InputError(f"texts: expected two or more of at least {LEAST} sentences, got {len(halves)}; add more text")
    both = [text for side in zip(*halves, strict=True) for text in side]  # all first halves, then all second ones
    counts = count_words(both)
    ways = {"words, counted": counts, "words, tf-idf": weigh(counts)}
    layers = [*range(gpt.config.n_layer + 1), None]
    for layer, found in zip(layers, _by_layer(gpt, both, layers, progress), strict=True):
        name = "hidden, last layer norm" if layer is None else f"hidden, behind {layer} blocks"
        ways |= {name: found, f"{name}, centred": found - found.mean(axis=0)}
    return [_found(way, *np.split(of_both, 2), seed) for way, of_both in ways.items()]


def in_half(text):
    """A text in two, at the sentence in its middle; None where it has fewer than LEAST.

    in_half("A b. C d. E f! G h.") -> ("A b. C d.", "E f! G h.")
    """
    sentences = re.split(r'(?<=[.!?。！？"”])\s+', text.strip())
    middle = len(sentences) // 2
    return (" ".join(sentences[:middle]), " ".join(sentences[middle:])) if len(sentences) >= LEAST else None


def _found(way, first, second, seed):
    alike = cosines(first, second)
    # one that is as near counts as nearer: a way that says the same of all finds nothing
    ranks = (alike >= np.diag(alike)[:, None] - 1e-12).sum(axis=1)
    return Found(way, intervals.of_ratio(ranks == 1, np.ones(len(ranks)), seed), float((1 / ranks).mean()))


def read_stories(paths, held_out=None, n_texts=200, seed=0):
    """At most n_texts documents of some files, chosen by the seed; `held_out`: of those that training sets aside."""
    check_whole("n_texts", n_texts, 2)
    check_whole("seed", seed)
    if held_out is not None:
        check_share(held_out)
    documents = data.read_documents(paths)
    if held_out is not None:
        _, documents = data.split_held_out(documents, held_out)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(documents), min(n_texts, len(documents)), replace=False)
    return [documents[i] for i in sorted(chosen)]
