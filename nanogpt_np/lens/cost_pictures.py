"""Pictures of gradients, costs, weights and rounding.

Enter: what lens/gradients.py, lens/cost.py and lens/weights.py return. Leave: a matplotlib Figure.
Next: lens/learning_pictures.py.
"""

import numpy as np

from . import style


def draw_gradients(view, model=""):
    """How the loss depends on the stream -> Figure: lengths by place and token; what each token does to the loss."""
    n, n_rows = len(view.tokens), len(view.names)
    what = "left: length of the gradient, 0 white to the largest dark; right: below 0 lowers the loss"
    size, title = (2 * (1.7 + 0.3 * n), 1.9 + 0.26 * n_rows), f"How a loss of {view.loss:.3f} nats flows back"
    figure = style.figure(*size, title, model, what)
    left, right = figure.subplots(1, 2)
    image = left.imshow(view.norms[::-1], cmap=style.colour_map(style.PROBABILITY), aspect="auto", vmin=0,
                        interpolation="nearest")  # fmt: skip
    left.set_yticks(range(n_rows), view.names[::-1], fontsize=8)
    style.mark_tokens(left.xaxis, view.tokens, rotate=True)
    left.set_title("gradient at the residual stream", fontsize=9, color=style.INK)
    left.tick_params(length=0)
    figure.colorbar(image, ax=left, shrink=0.8).ax.tick_params(labelsize=7)
    _signed_bars(right, view.tokens, view.times_input, "gradient times embedding")
    return figure


def draw_cost(view, model=""):
    """What one more token costs, part by part -> Figure; operations at the left, bytes at the right."""
    names = [part.name for part in view.parts]
    title = f"What token {view.n_before + 1:,} costs: {_short(view.flops)} operations"
    what = f"without a cache it would be {_short(view.flops_without)}; the cache holds {_short(view.cache_size)} bytes"
    figure = style.figure(9, 1.6 + 0.28 * len(names), title, model, what)
    left, right = figure.subplots(1, 2, sharey=True)
    flops = np.array([part.flops for part in view.parts], np.float64)
    weights = np.array([part.weight_bytes for part in view.parts], np.float64)
    cached = np.array([part.cache_bytes for part in view.parts], np.float64)
    left.barh(range(len(names)), flops, color=style.PROBABILITY[3])
    right.barh(range(len(names)), weights, color=style.PALE, label="weights")
    right.barh(range(len(names)), cached, left=weights, color=style.KEY, label="keys and values")
    read = view.weight_bytes + view.cache_bytes
    sides = ((left, flops, view.flops, "operations"), (right, weights + cached, read, "bytes read"))
    for axes, values, total, title in sides:
        for y, value in enumerate(values):
            axes.text(value, y, f" {_short(value)}", va="center", fontsize=7.5, color=style.INK)
        axes.set(ylim=(len(names) - 0.4, -0.6), xlim=(0, values.max() * 1.25), xticks=[])
        axes.set_title(f"{title}: {_short(total)}", fontsize=9, color=style.INK)
        _bare(axes)
    left.set_yticks(range(len(names)), names, fontsize=8)
    right.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def draw_rounding(view, model=""):
    """Where int8 enters the residual stream -> Figure: the relative error behind each half-block, token by token."""
    n = len(view.names)
    losses = f"loss {view.loss:.4f} nats with float weights, {view.loss_int8:.4f} with int8"
    agree = f"{view.agree.mean():.0%} of the best tokens agree"
    figure = style.figure(8, 4.2, "Where rounding to int8 enters the residual stream", model, losses, agree)
    axes = figure.subplots()
    axes.plot(range(n), 100 * view.errors, color=style.RESIDUAL, linewidth=0.6)
    axes.plot(range(n), 100 * view.errors.mean(axis=1), "o-", color=style.QUERY, markersize=4)
    for place, error in enumerate(100 * view.errors.mean(axis=1)):
        axes.annotate(f"{error:.2f}", (place, error), xytext=(0, 6), textcoords="offset points", ha="center",
                      fontsize=7)  # fmt: skip
    axes.set_xticks(range(n), view.names, rotation=60, ha="right", fontsize=8)
    axes.set_ylabel("error, % of the stream's length", fontsize=8)
    axes.set_ylim(bottom=0)
    _bare(axes, bottom=True)
    return figure


def draw_weights(view, model=""):
    """How the numbers of each parameter are spread -> Figure: a row for each, in standard deviations from its mean."""
    n = len(view.names)
    what = "colour: share of the numbers, the largest of a row dark; right: standard deviation, largest magnitude"
    figure = style.figure(9, 1.5 + 0.19 * n, "How the weights are spread", model, what)
    axes = figure.subplots()
    shares = view.counts / view.counts.max(axis=1, keepdims=True)
    axes.imshow(shares, cmap=style.colour_map(style.PROBABILITY), aspect="auto", extent=(-6, 6, n - 0.5, -0.5),
                interpolation="nearest")  # fmt: skip
    for row in range(n):
        axes.text(6.1, row, f"{view.std[row]:.3f}  {view.largest[row]:.2f}", va="center", fontsize=6.5, color=style.INK)
    axes.set_yticks(range(n), view.names, fontsize=6.5)
    axes.set_xlabel("standard deviations from the mean", fontsize=8)
    axes.tick_params(labelsize=6.5, length=0)
    return figure


def _signed_bars(axes, tokens, values, title):
    colours = [style.SIGNED[0] if value < 0 else style.SIGNED[-1] for value in values]
    axes.barh(range(len(tokens)), values, color=colours)
    for y, value in enumerate(values):
        axes.text(value, y, f" {value:+.3f} ", va="center", ha="left" if value >= 0 else "right", fontsize=7.5)
    axes.axvline(0, color=style.INK, linewidth=0.8)
    style.mark_tokens(axes.yaxis, tokens)
    most = max(float(np.abs(values).max()), 1e-6) * 1.45
    axes.set(ylim=(len(tokens) - 0.4, -0.6), xlim=(-most, most), xticks=[])
    axes.set_title(title, fontsize=9, color=style.INK)
    _bare(axes)


def _bare(axes, bottom=False):
    style.without_frame(axes, "top", "right", *(() if bottom else ("bottom",)))
    axes.tick_params(axis="y", length=0)


def _short(number):
    """_short(12_345_678) -> "12.3 M" """
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return f"{number:.0f}"
