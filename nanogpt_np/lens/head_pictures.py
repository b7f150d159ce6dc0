"""Pictures of attention: all heads, one head, one head stage by stage, what kind of head each is.

Enter: what lens/attention.py returns. Leave: a matplotlib Figure; queries are rows, keys columns, the first token is at
the top and at the left. Next: lens/stream_pictures.py.
"""

import numpy as np

from . import style
from .seen import check_place

WRITTEN = 14  # tokens; of so few every cell has its number
FAINTEST = 0.05  # attention; what is less has no line
NAMED = 0.25  # attention; a line of so much has its number


def draw_attention_grid(view, model=""):
    """Every head's pattern, a row for each layer -> Figure."""
    n_layer, n_head = view.probs.shape[:2]
    size, what = (0.9 + 1.15 * n_head, 1.3 + 1.15 * n_layer), "colour: attention probability, 0 white to 1 dark"
    figure = style.figure(*size, "Who looks at whom, in every head", model, _beginning(view.tokens), what)
    colours = style.colour_map(style.PROBABILITY)
    for layer, row in enumerate(figure.subplots(n_layer, n_head, squeeze=False)):
        for head, axes in enumerate(row):
            axes.imshow(hide_later(view.probs[layer, head]), cmap=colours, vmin=0, vmax=1, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(f"L{layer}.H{head}", fontsize=7, color=style.INK, pad=2)
    return figure


def draw_attention(view, model=""):
    """One head's pattern with its tokens on both sides -> Figure; numbers in the cells of a short text."""
    n = len(view.tokens)
    side, what = 2.3 + 0.42 * n, "colour: attention probability, 0 white to 1 dark; each row sums to 1"
    figure = style.figure(side, side, f"Who looks at whom in L{view.layer}.H{view.head}", model, what)
    axes = figure.subplots()
    _matrix(axes, view.probs, view.tokens, style.colour_map(style.PROBABILITY), (0, 1))
    axes.set_xlabel("key: is looked at", fontsize=9, color=style.INK)
    axes.set_ylabel("query: looks", fontsize=9, color=style.INK)
    return figure


def draw_attention_lines(view, model=""):
    """One head's attention as lines over the text, from each token back to those it looks at -> Figure."""
    places, width = _along(view.tokens)
    what = f"thickness: attention probability from {FAINTEST:g} on, a dot: at itself; numbers from {NAMED:g} on"
    queries, keys = np.nonzero(np.tril(view.probs, k=-1) >= FAINTEST)
    longest = float((places[queries] - places[keys]).max(initial=4.0))
    size = (max(0.115 * width, 5.5), 1.6 + 0.042 * longest)
    figure = style.figure(*size, f"Who looks back at whom in L{view.layer}.H{view.head}", model, what)
    axes = figure.subplots()
    for query, key in zip(queries, keys, strict=True):
        _arc(axes, places[query], places[key], float(view.probs[query, key]))
    itself = view.probs.diagonal()
    axes.scatter(places, np.full(len(places), 0.8), s=70 * itself * (itself >= FAINTEST), color=style.QUERY)
    for place, token in zip(places, view.tokens, strict=True):
        axes.text(place, -0.4, style.legible(token), ha="center", va="top", fontsize=9, color=style.INK,
                  fontfamily=style.fonts())  # fmt: skip
    axes.set(xlim=(0, width), ylim=(-3, 0.36 * longest + 2))
    axes.axis("off")
    return figure


def draw_attention_stages(view, query=-1, model=""):
    """q k^T, scaled, masked, softmax, the mix of v -> Figure; below, the numbers of one place, `query`."""
    query = check_place("query", query, len(view.tokens))
    n, title = len(view.tokens), f"One head, stage by stage: L{view.layer}.H{view.head}"
    what = "blue to red: below to above 0; white to dark: probability 0 to 1; the framed row is written out below"
    figure = style.figure(5 * (0.9 + 0.26 * n), 2.6 + 0.26 * n + 0.2 * query, title, model, what)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.1 + 0.26 * n, 0.8 + 0.2 * query))
    panels = top.subplots(1, 5)
    stages = (("q kᵀ", view.scores), ("÷ √d_head", view.scaled), ("masked", view.masked), ("softmax", view.probs))
    for (name, array), axes in zip(stages, panels[:4], strict=True):
        colours, limits = (style.PROBABILITY, (0, 1)) if name == "softmax" else (style.SIGNED, _around_zero(array))
        causal = name in ("masked", "softmax")
        _matrix(axes, array, view.tokens, style.colour_map(colours), limits, written=False, causal=causal)
        axes.set_title(name, fontsize=10, color=style.INK)
        _frame(axes, query, n)
    panels[4].imshow(view.mixed, cmap=style.colour_map(style.SIGNED), clim=_around_zero(view.mixed), aspect="auto")
    style.mark_tokens(panels[4].yaxis, view.tokens)
    panels[4].set_xticks([])
    panels[4].set_title(f"softmax @ v: {view.mixed.shape[1]} numbers each", fontsize=10, color=style.INK)
    _frame(panels[4], query, view.mixed.shape[1])
    _write_out(bottom.subplots(), view, query, stages)
    return figure


def draw_heads(view, model=""):
    """What kind of head each is -> Figure: a table of layers and heads for each measure, every number written."""
    n_layer, n_head = view.previous.shape
    size, what = (3 * (0.6 + 0.32 * n_head), 2.6 + 0.64 * n_layer), "means over the text's queries; 0 white to 1 dark"
    figure = style.figure(*size, "What kind of head each is", model, what)
    colours = style.colour_map(style.PROBABILITY)
    titles = {"previous": "looks at the token before", "first": "at the first token", "itself": "at itself",
              "entropy": "at all alike (entropy)", "induction": "at what followed before"}  # fmt: skip
    panels = figure.subplots(2, 3).ravel()
    panels[5].axis("off")
    for (name, title), axes in zip(titles.items(), panels[:5], strict=True):
        array = getattr(view, name)
        axes.imshow(np.ma.masked_invalid(array), cmap=colours, vmin=0, vmax=1, aspect="auto")
        style.write_cells(axes, array, colours, (0, 1), _without_zero)
        axes.set_title(title, fontsize=9, color=style.INK)
        axes.set_xticks(range(n_head), [f"H{head}" for head in range(n_head)], fontsize=7)
        axes.set_yticks(range(n_layer), [f"L{layer}" for layer in range(n_layer)], fontsize=7)
        axes.tick_params(length=0)
    return figure


def _matrix(axes, array, tokens, colours, limits, written=None, causal=True):
    """A square of queries and keys with tokens on both sides."""
    shown = hide_later(array) if causal else np.ma.masked_invalid(array)
    axes.imshow(shown, cmap=colours, vmin=limits[0], vmax=limits[1], interpolation="nearest")
    style.mark_tokens(axes.yaxis, tokens)
    style.mark_tokens(axes.xaxis, tokens, rotate=True)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    style.without_frame(axes, "top", "right", "bottom", "left")
    if len(tokens) <= WRITTEN if written is None else written:
        style.write_cells(axes, shown, colours, limits)


def _along(tokens):
    """Where each token stands when they are written one after the other, in characters -> middles, the width of all."""
    widths = [max(len(style.legible(token)), 2) + 1.5 for token in tokens]
    ends = np.cumsum(widths)
    return ends - np.array(widths) / 2, float(ends[-1])


def _arc(axes, query, key, prob):
    """A line from one token back to another, as thick as the probability; its number at the top."""
    from matplotlib.patches import Arc

    span, middle = query - key, (query + key) / 2
    how = {"linewidth": 0.4 + 3.6 * prob, "alpha": 0.25 + 0.75 * prob, "color": style.QUERY}
    axes.add_patch(Arc((middle, 0.8), span, 0.7 * span, theta1=0, theta2=180, **how))
    if prob >= NAMED:
        axes.text(middle, 0.8 + 0.35 * span, f"{prob:.2f}", ha="center", va="center", fontsize=6.5, color=style.INK,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # fmt: skip


def _frame(axes, row, width):
    """A line around one row."""
    from matplotlib.patches import Rectangle

    place, how = (-0.5, row - 0.5), {"edgecolor": style.INK, "linewidth": 1.2, "clip_on": False}
    axes.add_patch(Rectangle(place, width, 1, fill=False, **how))


def _around_zero(array):
    """The same distance to both sides of 0, as far as the numbers go."""
    most = float(np.abs(array[np.isfinite(array)]).max()) or 1.0
    return -most, most


def _write_out(axes, view, query, stages):
    """The numbers of one query at each stage, as a table: a line for each key it may see."""
    axes.axis("off")
    columns = [0.05, *(0.2 + 0.12 * i for i in range(len(stages)))]
    heads = [f"{view.tokens[query]} looks at", *(name for name, _ in stages)]
    for x, text in zip(columns, heads, strict=True):
        axes.text(x, query + 1, style.legible(text), fontsize=8, color=style.PALE, fontfamily=style.fonts())
    for key in range(query + 1):
        y = query - key
        axes.text(columns[0], y, style.legible(view.tokens[key]), fontsize=8, color=style.INK, fontfamily=style.fonts())
        for x, (_, array) in zip(columns[1:], stages, strict=True):
            axes.text(x, y, f"{array[query, key]:.3f}", fontsize=8, color=style.INK)
    axes.set(xlim=(0, 1), ylim=(-0.5, query + 1.6))


def _without_zero(share):
    return f"{share:.2f}"[1:] if share < 1 else "1"


def hide_later(array):
    """What a query may not see is no 0, it is nothing."""
    return np.ma.masked_where(np.triu(np.ones(array.shape, bool), k=1), array)


def _beginning(tokens):
    return "“" + "".join(tokens[:12]).replace("␣", " ") + ("…”" if len(tokens) > 12 else "”")
