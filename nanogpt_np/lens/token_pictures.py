"""Pictures of tokens, of where they lie, and of what might come next: tokens, embeddings and sampling, drawn.

Enter: a TokensView, NextTokens, Neighbours, PositionsView or SamplingView. Leave: a matplotlib Figure.
Next: lens/head_pictures.py.
"""

import numpy as np

from . import style
from .coloured import LINE, WORST, mean_loss, rows_of

SHOWN = 12  # tokens of a distribution


def draw_tokens(view, model=""):
    """Each token on a colour that says how unexpected it was -> Figure; below it the loss in nats."""
    rows = rows_of(view.tokens, _width)
    what = f"colour and number: loss in nats, 0 white to {WORST:g} dark; {mean_loss(view)}"
    figure = style.figure(9, 1.2 + 0.62 * len(rows), "How unexpected each token was", model, what)
    axes = figure.subplots()
    colours = style.colour_map(style.PROBABILITY)
    for y, row in enumerate(rows):
        x = 0.0
        for i in row:
            width, colour = _width(view.tokens[i]), colours(min(np.nan_to_num(view.losses[i]) / WORST, 1.0))
            axes.barh(-y, width, left=x, height=0.52, color=colour, edgecolor="white", linewidth=1)
            axes.text(x + width / 2, -y, style.legible(view.tokens[i]), ha="center", va="center", fontsize=10,
                      color=style.write_on(colour), fontfamily=style.fonts())
            if i:
                axes.text(x + width / 2, -y - 0.38, f"{view.losses[i]:.2f}", ha="center", va="center", fontsize=6.5,
                          color=style.PALE)
            x += width
    axes.set(xlim=(0, LINE), ylim=(0.6 - len(rows), 0.5))
    axes.axis("off")
    return figure


def draw_next(found, model=""):
    """The likeliest next tokens as bars, with their probabilities -> Figure."""
    what = f"bars: probability; these {len(found.tokens)} hold {found.probs.sum():.1%} of it"
    figure = style.figure(6, 1.3 + 0.3 * len(found.tokens), f"What may come after {found.after}", model, what)
    axes = figure.subplots()
    _bars(axes, found.tokens, found.probs, style.PROBABILITY[3])
    return figure


def draw_neighbours(view, model=""):
    """The nearest rows of wte as bars -> Figure."""
    size, what = (6, 1.3 + 0.3 * len(view.tokens)), "bars: cosine between the rows of wte, 1 for the same direction"
    figure = style.figure(*size, f"The tokens nearest to {view.token}", model, what)
    _bars(figure.subplots(), view.tokens, view.similarities, style.RESIDUAL)
    return figure


def draw_positions(view, model=""):
    """How alike the positions are, as learned and as fixed sinusoids have them -> Figure."""
    maps = {"learned: rows of wpe": view.learned, "fixed sinusoids": view.sinusoidal}
    maps = {name: found for name, found in maps.items() if found is not None}
    size, what = (1.2 + 3.9 * len(maps), 4.7), "colour: cosine between two positions, -1 blue, 0 white, 1 red"
    figure = style.figure(*size, "Which positions are alike", model, what)
    panels = figure.subplots(1, len(maps), squeeze=False)[0]
    for axes, (name, found) in zip(panels, maps.items(), strict=True):
        shown = axes.imshow(found, cmap=style.colour_map(style.SIGNED), vmin=-1, vmax=1, interpolation="nearest")
        axes.set_title(name, fontsize=10, color=style.INK)
        axes.set(xlabel="position", ylabel="position")
        axes.tick_params(labelsize=8)
    figure.colorbar(shown, ax=panels, shrink=0.8).ax.tick_params(labelsize=8)
    return figure


def draw_sampling(view, model=""):
    """One distribution through every stage, side by side -> Figure; what a stage removed is hollow."""
    n = min(SHOWN, len(view.tokens))
    size, title = (1.2 + 1.9 * len(view.names), 1.6 + 0.28 * n), "From logits to one token, stage by stage"
    figure = style.figure(*size, title, model, "bars: probability after each stage; hollow: removed by it")
    for i, axes in enumerate(figure.subplots(1, len(view.names), sharey=True, squeeze=False)[0]):
        probs, before = view.probs[i, :n], view.probs[max(i - 1, 0), :n]
        _bars(axes, view.tokens[:n], probs, style.PROBABILITY[3])
        gone = np.where(probs == 0, before, 0)
        axes.barh(range(n), gone, fill=False, edgecolor=style.PALE, linewidth=0.8)
        said = f"{view.n_left[i]:,} left" + (f", which had {view.mass[i]:.1%}" if i else "")
        axes.set_title(f"{view.names[i]}\n{said}", fontsize=8, color=style.INK)
        axes.set_xlim(0, view.probs.max() * 1.35)
    return figure


def _bars(axes, tokens, probs, colour):
    axes.barh(range(len(tokens)), probs, color=colour)
    for y, prob in enumerate(probs):
        if prob > 0:
            axes.text(prob, y, f" {prob:.3f}", va="center", fontsize=7.5, color=style.INK)
    style.mark_tokens(axes.yaxis, tokens)
    axes.set_ylim(len(tokens) - 0.4, -0.6)
    axes.set_xlim(0, max(probs) * 1.2)
    axes.set_xticks([])
    style.without_frame(axes, "top", "right", "bottom")


def _width(token):
    return max(len(style.legible(token)) + 1.2, 4.6)  # the number below needs four
