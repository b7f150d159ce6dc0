"""Logistic regression: a linear classifier of vectors, which a fine-tuned model has to beat to be worth its time.

Enter: vectors, dense or as which words occur in a text, and labels. Leave: the weights that minimize the loss, by
Newton's method whose steps are found by conjugate gradients, so that the matrix of second derivatives is never made.
Next: finetuning/beside.py.
"""

from typing import NamedTuple

import numpy as np

from ..ops import softmax

MOST_STEPS, MOST_INNER = 50, 200
CLOSE = 1e-5  # of the gradient's length, beside the one at the start
ENOUGH = 1e-4  # of the slope that a step must win (Nocedal & Wright 2006, equation 3.6a)


class Dense(NamedTuple):
    """Vectors [n, n_feature] as they are."""

    array: np.ndarray

    @property
    def n_feature(self):
        """The length of a vector."""
        return self.array.shape[1]

    def times(self, weight):  # [n_feature, n_label] -> [n, n_label]
        """array @ weight"""
        return self.array @ weight

    def back(self, rows):  # [n, n_label] -> [n_feature, n_label]
        """array.T @ rows"""
        return self.array.T @ rows


class Ones(NamedTuple):
    """Vectors of zeros and ones by their ones: number i stands in row rows[i], column columns[i]."""

    rows: np.ndarray  # int64 [n_ones], ascending
    columns: np.ndarray  # int64 [n_ones]
    n: int
    n_feature: int

    def times(self, weight):  # [n_feature, n_label] -> [n, n_label]
        """The sum of the weights of a row's ones."""
        picked = weight[self.columns]
        return np.stack([np.bincount(self.rows, column, self.n) for column in picked.T], axis=1)

    def back(self, rows):  # [n, n_label] -> [n_feature, n_label]
        """The sum, for each column, over the rows that have a one there."""
        picked = rows[self.rows]
        return np.stack([np.bincount(self.columns, column, self.n_feature) for column in picked.T], axis=1)


class Fit(NamedTuple):
    """The weights [n_feature + 1, n_label], float64; the last row is the bias."""

    weight: np.ndarray

    def probabilities(self, vectors):  # -> [n, n_label]
        """How likely each class is for each vector."""
        return softmax(scores(vectors, self.weight))


def scores(vectors, weight):  # -> [n, n_label]
    """vectors @ weight + bias"""
    return vectors.times(weight[:-1]) + weight[-1]


def loss_and_gradient(weight, vectors, labels, decay):
    """-> the sum of all texts' cross-entropies plus decay/2 times the squared weights (not the bias); its gradient."""
    rows = scores(vectors, weight)
    rows -= rows.max(axis=1, keepdims=True)
    log_z = np.log(np.exp(rows).sum(axis=1))
    here = np.arange(len(labels))
    loss = (log_z - rows[here, labels]).sum() + 0.5 * decay * np.square(weight[:-1]).sum()
    wrong = np.exp(rows - log_z[:, None])
    wrong[here, labels] -= 1.0
    gradient = np.vstack([vectors.back(wrong), wrong.sum(axis=0)])
    gradient[:-1] += decay * weight[:-1]
    return float(loss), gradient


def curvature(direction, probabilities, vectors, decay):
    """The second derivatives times a direction: a softmax's are p_i (1[i = j] - p_j)."""
    rows = scores(vectors, direction)
    rows = probabilities * (rows - (probabilities * rows).sum(axis=1, keepdims=True))
    found = np.vstack([vectors.back(rows), rows.sum(axis=0)])
    found[:-1] += decay * direction[:-1]
    return found


def fit(vectors, labels, n_label, strength=1.0):
    """The Fit of vectors (Dense or Ones) and labels, whole numbers [n].

    `strength`: as `C` of scikit-learn's LogisticRegression, one over the decay of the weights; the minimum is the same.
    For two labels that library keeps one row of weights, the difference of ours, so there it is its C = 2 * strength.
    """
    decay, weight = 1.0 / strength, np.zeros((vectors.n_feature + 1, n_label))
    loss, gradient = loss_and_gradient(weight, vectors, labels, decay)
    limit = CLOSE * np.linalg.norm(gradient)
    for _ in range(MOST_STEPS):
        if np.linalg.norm(gradient) <= limit:
            break
        step = _newton_step(gradient, softmax(scores(vectors, weight)), vectors, decay)
        slope, size = float((gradient * step).sum()), 1.0
        while size > 1e-8:
            new_loss, new_gradient = loss_and_gradient(weight + size * step, vectors, labels, decay)
            if new_loss <= loss + ENOUGH * size * slope:
                break
            size /= 2.0
        weight, loss, gradient = weight + size * step, new_loss, new_gradient
    return Fit(weight)


def _newton_step(gradient, probabilities, vectors, decay):
    """Solve curvature(step) = -gradient by conjugate gradients (Hestenes & Stiefel 1952), as far as is of use."""
    step, residual = np.zeros_like(gradient), -gradient
    direction, left = residual, float((residual * residual).sum())
    enough = min(0.25, left**0.25) * np.sqrt(left)
    for _ in range(MOST_INNER):
        if np.sqrt(left) <= enough:
            break
        curved = curvature(direction, probabilities, vectors, decay)
        size = left / float((direction * curved).sum())
        step, residual = step + size * direction, residual - size * curved
        now = float((residual * residual).sum())
        direction, left = residual + (now / left) * direction, now
    return step
