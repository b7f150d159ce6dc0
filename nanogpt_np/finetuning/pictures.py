"""Pictures of a classifier: what was taken for what, how sure it was and how often right, what more texts bring.

Enter: measures.Measured, or several of them by how many texts were learned. Leave: a matplotlib Figure in the style of
lens/. Next: finetuning/logistic.py.
"""

from typing import NamedTuple

import numpy as np

from ..lens import style

MOST_LABELS = 20  # that a confusion matrix is written for; more would not be read
LONGEST, UPRIGHT = 24, 7  # letters of a label that are written; above so many it stands upright below the matrix
COLOURS = (style.ATTENTION, style.KEY, style.VALUE, style.QUERY, style.FFN)


class Curve(NamedTuple):
    """One way to classify, after more and more texts."""

    name: str
    n_texts: list  # [n] of int
    measured: list  # [n] of Measured


def draw_measured(view, labels, model=""):
    """The confusion matrix and the calibration of a Measured -> Figure."""
    n = min(len(labels), MOST_LABELS)
    labels = [label if len(label) <= LONGEST else label[: LONGEST - 1] + "…" for label in labels]
    longest = max(map(len, labels[:n]))
    size, room = 2.2 + 0.45 * n, 0.08 * longest if longest > UPRIGHT else 0.0
    said = f"{view}; calibration error {view.calibration_error:.3f}"
    if n < len(labels):
        said += f"; the matrix shows the first {n} of {len(labels):,} labels"
    title, height = "What was taken for what, and how sure it was", max(size, 3.6) + room
    figure = style.figure(size + room + 4.2, height, title, model, said)
    left, right = figure.subplots(1, 2, width_ratios=(size + room, 4))
    _draw_confusion(left, view.confusion[:n, :n], labels[:n])
    _draw_calibration(right, view)
    return figure


def draw_curves(curves, model=""):
    """The accuracy, with its 95 % interval, over how many texts were learned: a list of Curve -> Figure."""
    bars = "bars: 95 % intervals (Wilson), on the same test texts"
    figure = style.figure(6.4, 4, "What more texts bring", model, bars)
    axes = figure.subplots()
    for curve, colour in zip(curves, COLOURS, strict=False):
        middle = np.array([one.accuracy for one in curve.measured])
        reach = np.array([[one.accuracy - one.low, one.high - one.accuracy] for one in curve.measured]).T
        axes.errorbar(curve.n_texts, middle, yerr=reach, color=colour, marker="o", markersize=4, capsize=3,
                      linewidth=1.2, label=style.legible(curve.name))  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("texts that were learned", fontsize=8)
    axes.set_ylabel("accuracy", fontsize=8)
    ticks = sorted({n for curve in curves for n in curve.n_texts})
    axes.set_xticks(ticks, [f"{n:,}" for n in ticks])
    axes.minorticks_off()
    axes.tick_params(labelsize=7)
    axes.legend(frameon=False, fontsize=8)
    style.without_frame(axes, "top", "right")
    return figure


def _draw_confusion(axes, confusion, labels):
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    colours = style.colour_map(style.PROBABILITY)
    axes.imshow(shares, cmap=colours, vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(confusion):
        ink = style.write_on(colours(shares[row, column]))
        axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=8, color=ink)
    style.mark_tokens(axes.xaxis, labels, size=8, rotate=max(map(len, labels)) > UPRIGHT)
    style.mark_tokens(axes.yaxis, labels, size=8)
    axes.set_xlabel("what was said", fontsize=8)
    axes.set_ylabel("what was right (colour: share of a row)", fontsize=8)


def _draw_calibration(axes, view):
    """Each bin a bar at its mean confidence; the line is where the two would be alike."""
    full = view.counts > 0
    axes.plot([0, 1], [0, 1], color=style.PALE, linewidth=0.8)
    axes.plot(view.confidence[full], view.correct[full], color=style.FFN, marker="o", markersize=4, linewidth=1.2)
    for sure, right, count in zip(view.confidence[full], view.correct[full], view.counts[full], strict=True):
        axes.annotate(f"{count:,}", (sure, right), xytext=(4, -9), textcoords="offset points", fontsize=7,
                      color=style.PALE)  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1.02), box_aspect=1)
    axes.set_xlabel("probability of what was said (small: how many texts)", fontsize=8)
    axes.set_ylabel("share that was right", fontsize=8)
    axes.tick_params(labelsize=7)
    style.without_frame(axes, "top", "right")
