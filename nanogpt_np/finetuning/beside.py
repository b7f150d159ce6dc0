"""What a classifier is to be measured against: the commonest label, the words alone, the model before it learned.

Enter: the same parts of the same examples. Leave: measures.Measured of the test for each. How strongly weights are held
back is chosen on the validation texts. Next: finetuning/classifier.py.
"""

import re

import numpy as np

from . import logistic, measures

STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
SEEN = 2  # a word counts that stands in so many texts of those that are learned


def majority(split):
    """Always the commonest label, as likely as it is among the texts that are learned; `split`: see examples.split."""
    counts = np.bincount(split["train"].labels, minlength=len(split["train"].names))
    shares = np.broadcast_to(counts / counts.sum(), (len(split["test"].labels), len(counts)))
    return measures.measure(shares, split["test"].labels)


def words_of(text):
    """The different words and signs of a text: words_of("Good, good film") -> {",", "film", "good"}"""
    return set(re.findall(r"\w+|[^\w\s]", text.lower()))


def words(split):
    """Logistic regression on which words occur (Pang, Lee & Vaithyanathan 2002, section 6.1: presence beats counts)."""
    found = {name: [words_of(text) for text in part.texts] for name, part in split.items()}
    counts = {}
    for one in found["train"]:
        for word in one:
            counts[word] = counts.get(word, 0) + 1
    column = {word: i for i, word in enumerate(sorted(word for word, n in counts.items() if n >= SEEN))}
    return _best({name: _ones(rows, column) for name, rows in found.items()}, split)


def frozen(features, split):
    """Logistic regression on what the head reads of each text from a model that has not learned the task.

    `features`: {part: float [n, n_embd]}. Each column to mean 0 and variance 1 of the texts that are learned.
    """
    mean, std = features["train"].mean(axis=0), features["train"].std(axis=0) + 1e-6
    vectors = {name: logistic.Dense(((rows - mean) / std).astype(np.float64)) for name, rows in features.items()}
    return _best(vectors, split)


def _ones(rows, column):
    """Sets of words as logistic.Ones; words that were not learned are left out."""
    places = [sorted(column[word] for word in one if word in column) for one in rows]
    counts = [len(row) for row in places]
    columns = np.array([place for row in places for place in row], np.int64)
    return logistic.Ones(np.repeat(np.arange(len(rows)), counts), columns, len(rows), len(column))


def _best(vectors, split):
    """Fit with each strength; the one with the lowest validation loss, measured on the test."""
    fits = [logistic.fit(vectors["train"], split["train"].labels, len(split["train"].names), c) for c in STRENGTHS]
    losses = [_measure(fit, vectors, split, "validation").loss for fit in fits]
    return _measure(fits[int(np.argmin(losses))], vectors, split, "test")


def _measure(fit, vectors, split, part):
    return measures.measure(fit.probabilities(vectors[part]), split[part].labels)
