"""Logistic regression: derivatives by finite differences, the minimum beside scikit-learn's, and what stands beside."""

import numpy as np
import pytest

from nanogpt_np.finetuning import beside, examples, logistic
from nanogpt_np.training.finite_differences import gradcheck, relative_error

RNG = np.random.default_rng(7)
ONES = (RNG.random((40, 9)) < 0.3).astype(np.float64)
LABELS = RNG.integers(0, 3, 40)


def sparse(array):
    rows, columns = np.nonzero(array)
    return logistic.Ones(rows, columns, *array.shape)


def test_ones_are_the_matrix_that_they_stand_for():
    weight, rows = RNG.normal(size=(9, 3)), RNG.normal(size=(40, 3))
    assert np.allclose(sparse(ONES).times(weight), ONES @ weight, rtol=0, atol=1e-12)
    assert np.allclose(sparse(ONES).back(rows), ONES.T @ rows, rtol=0, atol=1e-12)
    assert logistic.Dense(ONES).n_feature == sparse(ONES).n_feature == 9


@pytest.mark.parametrize("vectors", [logistic.Dense(ONES), sparse(ONES)])
def test_derivatives(vectors):
    """1e-7: central differences in float64."""
    weight, direction = RNG.normal(size=(10, 3)), RNG.normal(size=(10, 3))
    _, gradient = logistic.loss_and_gradient(weight, vectors, LABELS, 0.3)

    def loss(one):
        return logistic.loss_and_gradient(one, vectors, LABELS, 0.3)[0]

    assert gradcheck(loss, [weight], [gradient]) < 1e-7
    ends = [logistic.loss_and_gradient(weight + h * direction, vectors, LABELS, 0.3)[1] for h in (1e-5, -1e-5)]
    probabilities = logistic.Fit(weight).probabilities(vectors)
    found = logistic.curvature(direction, probabilities, vectors, 0.3)
    assert relative_error(found, (ends[0] - ends[1]) / 2e-5) < 1e-7


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
def test_it_finds_the_minimum(strength):
    found = logistic.fit(sparse(ONES), LABELS, 3, strength)
    loss, gradient = logistic.loss_and_gradient(found.weight, sparse(ONES), LABELS, 1 / strength)
    start = logistic.loss_and_gradient(np.zeros((10, 3)), sparse(ONES), LABELS, 1 / strength)
    assert np.linalg.norm(gradient) <= logistic.CLOSE * np.linalg.norm(start[1]) and loss < start[0]
    assert np.allclose(found.probabilities(sparse(ONES)).sum(axis=1), 1)


@pytest.mark.peers
@pytest.mark.parametrize("strength", [0.03, 1.0, 30.0])
def test_scikit_learn_finds_the_same(strength):
    """1e-4 of a probability: both stop a little before the minimum."""
    linear = pytest.importorskip("sklearn.linear_model", reason="pip install scikit-learn")
    theirs = linear.LogisticRegression(C=strength, tol=1e-8, max_iter=10_000).fit(ONES, LABELS)
    ours = logistic.fit(sparse(ONES), LABELS, 3, strength).probabilities(sparse(ONES))
    assert np.abs(ours - theirs.predict_proba(ONES)).max() < 1e-4
    two = LABELS > 0  # one row of weights there, two here, whose difference it is
    theirs = linear.LogisticRegression(C=2 * strength, tol=1e-8, max_iter=10_000).fit(ONES, two)
    ours = logistic.fit(sparse(ONES), two.astype(np.int64), 2, strength).probabilities(sparse(ONES))
    assert np.abs(ours - theirs.predict_proba(ONES)).max() < 1e-4


def split_of(texts, labels):
    return examples.split(examples.Examples(texts, np.array(labels), ("bad", "good")))


def test_words_tell_apart_what_they_can():
    """A word gives the label away in nine of ten texts; the commonest label is right in half of them."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 600)
    wrong = rng.random(600) < 0.1
    texts = [f"Film {i}: {'good' if label != swapped else 'bad'}!" for i, (label, swapped) in
             enumerate(zip(labels, wrong, strict=True))]  # fmt: skip
    split = split_of(texts, labels)
    found, guessed = beside.words(split), beside.majority(split)
    assert 0.8 < found.accuracy < 0.99 and guessed.accuracy < 0.65 and found.loss < guessed.loss
    assert guessed.confusion.sum() == found.n == len(split["test"].texts)
    assert (guessed.confusion.sum(axis=0) > 0).sum() == 1  # one label is said of all


def test_frozen_features_are_standardised():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 500)
    split = split_of([f"text {i}" for i in range(500)], labels)
    features = {}
    for name, part in split.items():  # what tells them apart is small beside a number that does not
        noise = rng.normal(size=(len(part.texts), 2))
        features[name] = np.stack([1e-3 * (part.labels + 0.3 * noise[:, 0]), 1e3 * noise[:, 1]], axis=1)
    assert beside.frozen(features, split).accuracy > 0.85
