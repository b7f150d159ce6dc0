"""Accuracy with its interval, confusion, calibration; pictures of them."""

import json
import math

import numpy as np
import pytest

from nanogpt_np.finetuning import measures, pictures, results

PROBABILITIES = np.array([[0.9, 0.1], [0.62, 0.38], [0.35, 0.65], [0.05, 0.95], [0.5, 0.5]])
LABELS = np.array([0, 1, 1, 1, 1])


def test_by_hand():
    found = measures.measure(PROBABILITIES, LABELS)
    assert found.n == 5 and found.accuracy == 0.6  # a tie is the first label's
    assert found.confusion.tolist() == [[1, 0], [2, 2]]
    assert np.isclose(found.loss, -np.log([0.9, 0.38, 0.65, 0.95, 0.5]).mean())
    assert found.counts.tolist() == [0, 0, 0, 0, 0, 1, 2, 0, 0, 2]
    assert np.allclose(found.correct[[5, 6, 9]], [0, 0.5, 1])
    assert np.allclose(found.confidence[[5, 6, 9]], [0.5, 0.635, 0.925])
    assert np.isnan(found.confidence[0]) and np.isnan(found.correct[7])
    assert np.isclose(found.calibration_error, (1 * 0.5 + 2 * 0.135 + 2 * 0.075) / 5)


def test_wilsons_interval():
    """Two values as Brown, Cai & DasGupta's formula gives them by hand, and its ends are where the test flips."""
    low, high = measures.interval(8, 10)
    assert np.allclose([low, high], [0.4902, 0.9433], atol=5e-5)
    assert measures.interval(0, 10)[0] == 0.0 and measures.interval(10, 10)[1] == 1.0
    for n_right, n in ((8, 10), (700, 1110), (1, 1000)):
        for end in measures.interval(n_right, n):  # |share - p| = z sqrt(p (1 - p) / n) at both ends
            far = abs(n_right / n - end)
            assert math.isclose(far, measures.Z * math.sqrt(end * (1 - end) / n), rel_tol=1e-9)


def test_ninety_five_of_a_hundred_intervals_hold_the_truth():
    rng = np.random.default_rng(0)
    inside = [low <= 0.7 <= high for low, high in (measures.interval(k, 200) for k in rng.binomial(200, 0.7, 2000))]
    assert 0.93 < np.mean(inside) < 0.97  # of 2,000 draws one standard deviation is 0.005


def test_as_json_and_as_lines(tmp_path):
    found = measures.measure(PROBABILITIES, LABELS)
    results.save(tmp_path, {"this": found, "another": found}, ("bad", "good"), "tiny")
    text = (tmp_path / "results.json").read_text()
    again = results.from_dict(json.loads(text)["test"]["this"])
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(again, found, strict=True))
    assert '"accuracy": 0.6' in text and "NaN" not in text and (tmp_path / "results.png").stat().st_size > 5000
    assert results.table({"a": found})[0] == "a  accuracy 0.600 (0.231 to 0.882), loss 0.450"


def test_pictures_say_the_numbers():
    found = measures.measure(PROBABILITIES, LABELS)
    figure = pictures.draw_measured(found, ("bad", "good"), "tiny")
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts[:4] == ["1", "0", "2", "2"]  # the confusion matrix, row by row
    assert "accuracy 0.600" in figure._supxlabel.get_text()
    many = measures.measure(np.eye(30)[:, ::-1] * 0.9 + 0.1 / 30, np.arange(30))
    said = pictures.draw_measured(many, [str(i) for i in range(30)])._supxlabel.get_text()
    assert "the matrix shows the first 20 of 30 labels" in " ".join(said.split())
    curves = [pictures.Curve(name, [10, 100], [found, found]) for name in ("one", "two")]
    axes = pictures.draw_curves(curves, "tiny").axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one", "two"]
    assert axes.get_xlabel() == "texts that were learned"


@pytest.mark.peers
def test_scikit_learn_counts_alike():
    metrics = pytest.importorskip("sklearn.metrics", reason="pip install scikit-learn")
    rng = np.random.default_rng(1)
    probabilities, labels = rng.dirichlet([1, 1, 1], 300), rng.integers(0, 3, 300)
    found = measures.measure(probabilities, labels)
    assert np.array_equal(found.confusion, metrics.confusion_matrix(labels, probabilities.argmax(axis=1)))
    assert np.isclose(found.loss, metrics.log_loss(labels, probabilities), rtol=1e-12)
