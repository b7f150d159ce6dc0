"""Pictures of classifiers look as they did: each is compared with its image in baseline/; see tests/looks.py."""

import numpy as np
import pytest
from looks import LOOK, only_compared

from nanogpt_np.finetuning import measures, pictures

EMOTIONS = ("joy", "sadness", "anger", "fear", "a label that nobody would read to its end")
WAYS = ("fine-tuned", "words alone", "frozen features", "commonest label", "LoRA")


@pytest.fixture(autouse=True)
def compared(request):
    only_compared(request)


def made_up(n_labels, sharp, seed, n=500):
    """A classifier that is right the more often, the sharper it is."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_labels, n)
    scores = np.exp(1.5 * (rng.normal(size=(n, n_labels)) + sharp * np.eye(n_labels)[labels]))
    return measures.measure(scores / scores.sum(axis=1, keepdims=True), labels)


@pytest.mark.mpl_image_compare(**LOOK)
def test_two_labels_look_as_before():
    return pictures.draw_measured(made_up(2, 1.0, 0), ("bad", "good"), "stories")


@pytest.mark.mpl_image_compare(**LOOK)
def test_long_labels_look_as_before():
    """They stand upright below the matrix, and end in an ellipsis."""
    return pictures.draw_measured(made_up(5, 1.5, 1), EMOTIONS, "stories")


@pytest.mark.mpl_image_compare(**LOOK)
def test_curves_look_as_before():
    sizes = [10, 100, 1000]
    curves = [pictures.Curve(way, sizes, [made_up(2, 0.2 * i + 0.2 * j, 7 * i + j) for j in range(len(sizes))])
              for i, way in enumerate(WAYS)]  # fmt: skip
    return pictures.draw_curves(curves, "stories")
