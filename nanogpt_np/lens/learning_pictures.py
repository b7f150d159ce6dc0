"""Pictures of learning: the curves of a run, one step's gradients, a training played back.

Enter: a TrainingView, StepView or Playback. Leave: a matplotlib Figure. Next: lens/asked.py.
"""

import textwrap

import numpy as np

from . import style
from .coloured import WORST
from .head_pictures import hide_later
from .seen import check_place

FRAMES = 6  # kept models that are drawn side by side, evenly chosen
PER_INCH = 11  # characters of a sample


def draw_training(view, model=""):
    """The loss, the learning rate and the length of the gradient over the steps of a run -> Figure."""
    figure = style.figure(9, 4.6, "How the model learned", model, "thin: training batches, thick: held-out text")
    panels = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1, 1))
    step = view.step
    panels[0].plot(step, view.train_loss, color=style.PALE, linewidth=0.7)
    measured = np.isfinite(view.held_out_loss)
    if measured.any():
        last = view.held_out_loss[measured][-1]
        panels[0].plot(step[measured], view.held_out_loss[measured], color=style.FFN, linewidth=1.8)
        panels[0].annotate(f"{last:.3f}", (step[measured][-1], last), xytext=(4, 0), textcoords="offset points",
                           va="center", fontsize=8, color=style.FFN)  # fmt: skip
    panels[0].set_ylabel("loss, nats", fontsize=8)
    for axes, name, label in ((panels[1], "lr", "learning rate"), (panels[2], "grad_norm", "gradient")):
        axes.plot(step, getattr(view, name), color=style.INK, linewidth=0.8)
        axes.set_ylabel(label, fontsize=8)
    panels[2].set_xlabel("step", fontsize=8)
    for axes in panels:
        style.without_frame(axes, "top", "right")
        axes.tick_params(labelsize=7)
    return figure


def draw_step(view, model=""):
    """Each parameter's gradient in one training step, a row for each kind, a column for each block -> Figure."""
    kinds, rows = _by_block(view)
    shown = np.ma.masked_invalid(np.log10(np.maximum(rows, 1e-12)))
    size = (2.6 + 0.62 * rows.shape[1], 1.7 + 0.28 * len(kinds))
    what = f"the loss is {view.loss:.3f} nats, all gradients as one vector are {view.norm:.3g} long"
    figure = style.figure(*size, "What one step tells each parameter", model, what,
                          "number and colour: log10 of the gradient's root mean square, more is darker")  # fmt: skip
    axes, colours = figure.subplots(), style.colour_map(style.PROBABILITY)
    low, high = float(shown.min()) - 0.5, float(shown.max())
    axes.imshow(shown, cmap=colours, vmin=low, vmax=high, aspect="auto")
    style.write_cells(axes, shown, colours, (low, high), "{:.1f}".format, size=7.5)
    axes.set_yticks(range(len(kinds)), kinds, fontsize=8)
    axes.set_xticks(range(rows.shape[1]), ["outside", *(f"block {i}" for i in range(rows.shape[1] - 1))], fontsize=7)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    return figure


def draw_playback(view, layer, head, model=""):
    """One head's attention, the loss of each token and what was written, after more and more steps -> Figure."""
    layer = check_place("layer", layer, view.probs.shape[1])
    head = check_place("head", head, view.probs.shape[2])
    n_frames, n = min(FRAMES, len(view.steps)), len(view.tokens)
    frames = np.unique(np.linspace(0, len(view.steps) - 1, n_frames).round().astype(int))
    width, title = max(1.75 * n_frames, 0.6 * n + 1.5), f"A training played back: L{layer}.H{head}"
    texts = [_wrapped(view, i, int((width - 1) * PER_INCH)) for i in frames] if view.prompt else []
    heights = [2.2, 0.7 + 0.22 * len(view.steps), 0.2 + 0.19 * sum(map(len, texts))]
    what = f"attention: 0 white to 1 dark; loss in nats, 0 white to {WORST:g} dark; one seed for all texts"
    figure = style.figure(width, 1 + sum(heights[: 3 if texts else 2]), title, model, what)
    parts = figure.subfigures(3 if texts else 2, 1, height_ratios=heights if texts else heights[:2])
    _attention_frames(parts[0], view, frames, layer, head)
    _losses(parts[1].subplots(), view)
    if texts:
        _samples(parts[2].subplots(), [view.steps[i] for i in frames], texts)
    return figure


def _by_block(view):
    """-> kinds of parameters, their gradients [n_kinds, 1 + n_layer]; the first column: what stands in no block."""
    found, n_layer = {}, 0
    for name, value in zip(view.names, view.gradients, strict=True):
        column = 0
        if name.startswith("h."):
            _, layer, name = name.split(".", 2)
            column = int(layer) + 1
        n_layer = max(n_layer, column)
        found.setdefault(name, {})[column] = value
    rows = np.array([[columns.get(i, np.nan) for i in range(n_layer + 1)] for columns in found.values()])
    return list(found), rows


def _attention_frames(part, view, frames, layer, head):
    colours = style.colour_map(style.PROBABILITY)
    for i, axes in zip(frames, part.subplots(1, len(frames), squeeze=False)[0], strict=True):
        probs = hide_later(view.probs[i, layer, head])
        axes.imshow(probs, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(f"step {view.steps[i]:,}", fontsize=8, color=style.INK)
        axes.set_xticks([])
        axes.set_yticks([])


def _losses(axes, view):
    """A row for each kept model, a column for each token."""
    colours = style.colour_map(style.PROBABILITY)
    axes.imshow(np.ma.masked_invalid(view.losses), cmap=colours, vmin=0, vmax=WORST, aspect="auto")
    style.write_cells(axes, view.losses, colours, (0, WORST), "{:.1f}".format)
    axes.set_yticks(range(len(view.steps)), [f"step {step:,}" for step in view.steps], fontsize=7)
    style.mark_tokens(axes.xaxis, view.tokens)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)


def _samples(axes, steps, texts):
    """What each model wrote, its step at the left."""
    row = 0
    for step, lines in zip(steps, texts, strict=True):
        axes.text(0, row, f"step {step:,}", fontsize=7, va="top", color=style.PALE)
        for line in lines:
            axes.text(0.1, row, line, fontsize=8, va="top", color=style.INK, fontfamily=style.fonts())
            row += 1
    axes.set(xlim=(0, 1), ylim=(row, 0))
    axes.axis("off")


def _wrapped(view, i, width):
    """What one model wrote, in lines."""
    said = style.legible(" ".join((view.prompt + view.samples[i]).split()))
    return textwrap.wrap(said, width) or ["(nothing)"]
