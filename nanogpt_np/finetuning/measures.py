"""How good a classifier is, and how sure one can be of that.

Enter: the probabilities that were given and the labels that were right. Leave: accuracy with its interval, the
confusion matrix, calibration, as named arrays. Next: finetuning/pictures.py.
"""

import math
from typing import NamedTuple

import numpy as np

Z = 1.959964  # of a normal distribution 95 % lie within so many standard deviations
N_BINS = 10


class Measured(NamedTuple):
    """What a classifier did with some texts."""

    n: int
    accuracy: float
    low: float  # of the accuracy's 95 % interval
    high: float
    loss: float  # mean cross-entropy, nats per text
    confusion: np.ndarray  # int64 [n_label, n_label]: row the right label, column the one that was said
    confidence: np.ndarray  # float64 [n_bins]: the mean probability of what was said; NaN where a bin is empty
    correct: np.ndarray  # float64 [n_bins]: the share that was right
    counts: np.ndarray  # int64 [n_bins]
    calibration_error: float  # |confidence - correct| as the texts meet it (Guo et al. 2017, equation 3)

    def __str__(self):
        return f"accuracy {self.accuracy:.3f} ({self.low:.3f} to {self.high:.3f}) on {self.n:,} texts"


def measure(probabilities, labels):
    """Probabilities float [n, n_label] and the right labels, whole numbers [n] -> Measured."""
    probabilities = np.asarray(probabilities, np.float64)
    n, n_label = probabilities.shape
    said, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = said == labels
    picked = probabilities[np.arange(n), labels]
    confusion = np.zeros((n_label, n_label), np.int64)
    np.add.at(confusion, (labels, said), 1)
    confidence, correct, counts = _calibration(sure, right)
    full = counts > 0
    error = float((counts[full] * np.abs(confidence[full] - correct[full])).sum() / n)
    loss = float(-np.log(np.maximum(picked, np.finfo(np.float64).tiny)).mean())
    low, high = interval(int(right.sum()), n)
    return Measured(n, float(right.mean()), low, high, loss, confusion, confidence, correct, counts, error)


def interval(n_right, n):
    """The 95 % interval of a share, n_right of n: Wilson 1927, as in Brown, Cai & DasGupta 2001, equation 4.

    Unlike the usual one it stays within 0 and 1: interval(10, 10)[1] -> 1.0
    """
    share, z2 = n_right / n, Z * Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return 0.0 if n_right == 0 else centre - half, 1.0 if n_right == n else centre + half


def _calibration(sure, right):
    """By how sure it was, in N_BINS equal steps from 0 to 1: the mean of that, the share that was right, how many."""
    bins = np.minimum((sure * N_BINS).astype(np.int64), N_BINS - 1)
    counts = np.bincount(bins, minlength=N_BINS)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(bins, sure, N_BINS) / counts
        correct = np.bincount(bins, right, N_BINS) / counts
    return confidence, correct, counts
