"""Pictures of the residual stream: how it grows, what it would say, who wrote a logit, which neurons are on.

Enter: what lens/residual.py, lens/logits.py and lens/attribution.py return. Leave: a matplotlib Figure.
Next: lens/cost_pictures.py.
"""

import numpy as np

from . import style

MOST = 24  # parts of a logit that are drawn one by one


def draw_residual(view, model=""):
    """The length of the stream behind each half-block, and of what each added -> Figure; means over the text."""
    n = len(view.names)
    what = "Euclidean norms, means over the text's tokens but the first; thin lines: single tokens"
    figure = style.figure(8, 4.2, "How the residual stream grows", model, what)
    axes = figure.subplots()
    axes.plot(range(n), view.norms, color=style.RESIDUAL, linewidth=0.6)
    axes.plot(range(n), _mean(view.norms), "o-", color="#666666", markersize=4, label="the stream")
    for first, colour, label in ((0, style.ATTENTION, "added by attention"), (1, style.FFN, "added by the FFN")):
        places = np.arange(first, n - 1, 2)
        axes.bar(places + 1, _mean(view.added[places]), width=0.55, color=colour, label=label)
    axes.set_xticks(range(n), view.names, rotation=60, ha="right", fontsize=8)
    axes.set_ylim(0, 1.05 * max(view.norms[:, 1:].max(initial=0.0), view.norms[:, 0].min()))
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    _open(axes)
    return figure


def draw_layer_norms(view, model=""):
    """The mean and the scale that each layer norm took out, token by token -> Figure."""
    n = len(view.tokens)
    figure = style.figure(2 * (1.6 + 0.3 * n), 1.7 + 0.26 * len(view.names), "What each layer norm takes out", model,
                          "left: blue below 0, red above; right: 0 white, the largest dark")  # fmt: skip
    most = float(np.abs(view.means).max()) or 1.0
    parts = (("mean", view.means, style.SIGNED, (-most, most)),
             ("scale: what it divides by", view.stds, style.PROBABILITY, (0, float(view.stds.max()))))  # fmt: skip
    for (title, array, colours, limits), axes in zip(parts, figure.subplots(1, 2), strict=True):
        image = axes.imshow(array, cmap=style.colour_map(colours), clim=limits, aspect="auto", interpolation="nearest")
        style.mark_tokens(axes.xaxis, view.tokens, rotate=True)
        axes.set_yticks(range(len(view.names)), view.names, fontsize=8)
        axes.set_title(title, fontsize=9, color=style.INK)
        axes.tick_params(length=0)
        figure.colorbar(image, ax=axes, shrink=0.8).ax.tick_params(labelsize=7)
    return figure


def draw_logit_lens(view, model=""):
    """What the stream would say behind each half-block -> Figure; in each cell the best token."""
    n_rows, n = view.probs.shape
    widest = max(len(style.legible(token)) for row in view.guesses for token in row)
    what = "each cell: the likeliest next token if the model stopped there; colour: its probability, 0 white to 1 dark"
    figure = style.figure(1.4 + n * max(0.34 + 0.075 * widest, 0.6), 1.8 + 0.3 * n_rows, "The logit lens", model, what)
    axes = figure.subplots()
    colours = style.colour_map(style.PROBABILITY)
    axes.imshow(view.probs[::-1], cmap=colours, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for row, (guesses, probs) in enumerate(zip(view.guesses[::-1], view.probs[::-1], strict=True)):
        for column, (token, prob) in enumerate(zip(guesses, probs, strict=True)):
            axes.text(column, row, style.legible(token), ha="center", va="center", fontsize=8,
                      color=style.write_on(colours(prob)), fontfamily=style.fonts())  # fmt: skip
    axes.set_yticks(range(n_rows), view.names[::-1], fontsize=8)
    style.mark_tokens(axes.xaxis, view.tokens)
    axes.set_xlabel("the text; each column guesses what comes after its token", fontsize=8, color=style.INK)
    axes.tick_params(length=0)
    return figure


def draw_attribution(view, model=""):
    """Who wrote a logit, or a difference of two, in the order in which it was written -> Figure."""
    parts = view.parts()
    names = [name for name, value in parts.items() if value]
    kept = set(sorted(names, key=lambda name: -abs(parts[name]))[:MOST])
    rows = [(name, parts[name]) for name in names if name in kept]
    if rest := sum(parts[name] for name in names if name not in kept):
        rows.append((f"{len(names) - len(kept)} smaller ones", rest))
    whose = f"the logit of {view.token}" + (f" minus that of {view.against}" if view.against else "")
    figure = style.figure(7, 1.7 + 0.24 * len(rows), f"Who wrote {whose}: {view.total:.3f} in all", model,
                          f"behind {view.tokens[view.position]}; logits; ln_f's scale held fixed")  # fmt: skip
    axes = figure.subplots()
    values = np.array([value for _, value in rows])
    axes.barh(range(len(rows)), values, color=[_colour(name) for name, _ in rows])
    for y, value in enumerate(values):
        axes.text(value, y, f" {value:+.3f} ", va="center", ha="left" if value >= 0 else "right", fontsize=7.5)
    axes.axvline(0, color=style.INK, linewidth=0.8)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=8)
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    room = 0.14 * (high - low) or 0.1  # for the numbers beside the bars
    axes.set(ylim=(len(rows) - 0.4, -0.6), xlim=(low - room, high + room))
    axes.tick_params(axis="y", length=0)
    _open(axes)
    return figure


def draw_neurons(view, model=""):
    """The strongest hidden units per token, and how many are on at all -> Figure."""
    n, k = view.values.shape
    what = "each cell: unit and its output; colour: output, 0 white to the largest dark"
    title = f"The neurons of block {view.layer} that a text turns on"
    figure = style.figure(2.4 + 0.95 * k, 1.9 + 0.3 * n, title, model, what)
    axes = figure.subplots()
    colours, most = style.colour_map(style.PROBABILITY), float(view.values.max()) or 1.0
    axes.imshow(view.values, cmap=colours, vmin=0, vmax=most, aspect="auto", interpolation="nearest")
    for (row, column), value in np.ndenumerate(view.values):
        axes.text(column, row, f"#{view.strongest[row, column]}  {value:.2f}", ha="center", va="center", fontsize=7.5,
                  color=style.write_on(colours(value / most)))  # fmt: skip
    labels = [f"{style.legible(token)}  ({on:.0%} on)" for token, on in zip(view.tokens, view.on, strict=True)]
    axes.set_yticks(range(n), labels, fontsize=8, fontfamily=style.fonts())
    axes.set_xticks([])
    axes.tick_params(length=0)
    return figure


def draw_patch_map(view, model=""):
    """How much each patch brings back -> Figure: a row for each layer, a column for each position or head."""
    n_layer, n = view.restored.shape
    whose = f"logit of {view.token} minus {view.against}: {view.clean_difference:.2f} clean, "
    whose += f"{view.corrupted_difference:.2f} corrupted"
    size, what = (2.2 + 0.52 * n, 1.9 + 0.36 * n_layer), "1: patching that alone brings the clean difference back"
    figure = style.figure(*size, f"Patching {view.site}, {view.columns} by {view.columns}", model, whose, what)
    axes = figure.subplots()
    colours, most = style.colour_map(style.SIGNED), max(float(np.abs(view.restored).max()), 1.0)
    axes.imshow(view.restored, cmap=colours, vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
    style.write_cells(axes, view.restored, colours, (-most, most))
    axes.set_yticks(range(n_layer), [f"L{layer}" for layer in range(n_layer)], fontsize=8)
    if view.columns == "head":
        axes.set_xticks(range(n), [f"H{head}" for head in range(n)], fontsize=8)
    else:
        pairs = zip(view.clean, view.corrupted, strict=True)
        style.mark_tokens(axes.xaxis, [a if a == b else f"{a} → {b}" for a, b in pairs], rotate=True)
    axes.tick_params(length=0)
    return figure


def _mean(rows):
    """Over the text; its first token is left out, whose stream is often unlike all others, where there are more."""
    return rows[:, 1:].mean(axis=1) if rows.shape[1] > 1 else rows[:, 0]


def _colour(name):
    if ".H" in name or "c_proj" in name:
        return style.ATTENTION
    return style.FFN if name.endswith(".ffn") else style.PALE


def _open(axes):
    style.without_frame(axes, "top", "right")
    axes.tick_params(labelsize=8)
