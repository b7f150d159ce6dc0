"""The picture of a run: the loss on training batches and on held-out text, over the tokens seen.

Enter: the rows of log.csv. Leave: loss.png, replaced whole or not at all. Next: training/options.py.
"""

from .. import files

NAME = "loss.png"
FEW = 40  # points; up to so many each is marked, as a line through one or two of them is next to nothing
TRAINING, HELD_OUT = "#7d8b99", "#c1440e"


def save(log, path, title, tokens_per_epoch):
    """Draw a report.Log and write it as a PNG."""
    figure = draw(log, title, tokens_per_epoch)
    with files.replacing(path) as part:
        figure.savefig(part, format="png", dpi=130)


def draw(log, title, tokens_per_epoch):
    """A report.Log as a matplotlib Figure; the axis on top counts the times that the training text was read."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, and only wanted here
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    tokens, losses = log.series("tokens", "train_loss")
    unit, word = (1e6, "millions") if max(tokens, default=0) >= 1e6 else (1e3, "thousands")
    axes.set_xlim(0, max(tokens, default=unit) / unit * 1.1)  # room for the last value, right of its point
    _draw_training(axes, [n / unit for n in tokens], losses)
    tokens, losses = log.series("tokens", "held_out_loss")
    _draw_held_out(axes, [n / unit for n in tokens], losses)
    axes.set(xlabel=f"tokens seen ({word})", ylabel="loss (nats per token)", title=title)
    _count_epochs(axes, tokens_per_epoch / unit)
    axes.grid(alpha=0.3)
    axes.spines["right"].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="upper right")
    return figure


def _draw_training(axes, x, losses):
    """A thin line, as single batches differ much, with a mark at each of a few points."""
    if x:
        marked = {"marker": "o", "markersize": 4} if len(x) <= FEW else {}
        axes.plot(x, losses, color=TRAINING, linewidth=1.0, label="training batches", **marked)


def _draw_held_out(axes, x, losses):
    """Above the other line, each point set off from it by a white rim; the last value in figures."""
    if x:
        axes.plot(x, losses, "o-", color=HELD_OUT, linewidth=1.8, markersize=7 if len(x) <= 10 else 5,
                  markeredgecolor="white", markeredgewidth=0.8, zorder=3, label="held-out text")  # fmt: skip
        axes.annotate(f"{losses[-1]:.3f}", (x[-1], losses[-1]), xytext=(7, 0), textcoords="offset points",
                      va="center", color=HELD_OUT, weight="bold")  # fmt: skip


def _count_epochs(axes, epoch):
    """A second axis on top, in epochs of so many tokens of the lower axis."""
    top = axes.secondary_xaxis("top", functions=(lambda x: x / epoch, lambda x: x * epoch))
    top.set_xlabel("epochs (times the training text was read)")
