"""Pictures of a plan: the roofline of its machine, and where its run lies among the scaling laws.

Enter: a Plan. Leave: a matplotlib Figure. Colours as in lens/style.py. Next: cli/options.py.
"""

import numpy as np

from ..lens import style
from . import scaling, times, work
from .machines import PUBLISHED
from .wording import in_time, in_units

BATCHES = (1, 8, 64, 512)  # texts at once whose next tokens are drawn
REACH = np.geomspace(0.2, 2e4, 200)  # operations per byte
LOOKS = dict(zip((fit.name for fit in scaling.FITS), (":", "--", "-"), strict=True))
NEAR = 1.6  # times as high, below which two roofs nearly touch
NEAR_POINT = 2.5  # times as many operations per byte, below which the words beside two points would touch
DECADES = 3  # of operations, to either side of the run


def draw_plan(plan):
    """The roofline, what each law calls best, and the loss at this run's operations, side by side -> Figure."""
    title = f"{plan.name}: {plan.sizes.n_params:,} parameters on {plan.machine.name}"
    figure = style.figure(16, 5.2, title, *_made_of(plan), *_laws_said(plan))
    roof, frontier, valley = figure.subplots(1, 3)
    _roofline(roof, plan)
    _frontier(frontier, plan)
    _valley(valley, plan)
    return figure


def draw_roofline(plan):
    """Operations/s over operations per byte: what memory and arithmetic of each machine allow -> Figure."""
    title = f"{plan.name} on {plan.machine.name}: what memory and arithmetic allow"
    figure = style.figure(8, 5, title, *_made_of(plan))
    _roofline(figure.subplots(), plan)
    return figure


def draw_scaling(plan):
    """The best size by operations, and the loss by size at this run's operations, by each law -> Figure."""
    figure = style.figure(11, 5, f"{plan.name} among the scaling laws", *_laws_said(plan))
    left, right = figure.subplots(1, 2)
    _frontier(left, plan)
    _valley(right, plan)
    return figure


def _made_of(plan):
    machine, o = plan.machine, plan.options
    speed = f"{in_units(machine.bandwidth, 'B')}/s, {in_units(machine.flops(o.dtype))} operations/s"
    yield f"{o.dtype} on {machine.title}: {speed}"
    yield f"points: a token behind {o.n_before:,} in so many texts at once, and a prompt, each with its time at best"


def _laws_said(plan):
    t = plan.training
    yield f"run: {t.n_tokens:,} tokens, {t.flops:.2e} operations (6 N D)"
    yield "losses in nats per token of each paper's own texts; Kaplan's curve: training until nothing improves"
    yield from (law.source for law in plan.forecasts)


def _roofline(axes, plan):
    dtype = plan.options.dtype
    for machine in PUBLISHED:
        _roof(axes, machine, dtype, style.RESIDUAL, 0.9)
    _roof(axes, plan.machine, dtype, style.INK, 1.8)
    axes.axvline(plan.machine.ridge(dtype), color=style.PALE, linewidth=0.6, linestyle=":")
    _names(axes, plan, dtype)
    c, o = plan.config, plan.options
    points = [(f"{n:,}", work.token_work(c, o.n_before, dtype, n)) for n in BATCHES]
    points.append((f"prompt of {o.n_prompt:,}", plan.prompt))
    for i, (name, asked) in enumerate(points):
        took, above = times.seconds(asked, plan.machine, dtype), i % 2 or i == len(BATCHES)
        is_near = i >= 2 and asked.intensity < NEAR_POINT * points[i - 2][1].intensity  # to the last one on this side
        y = min(plan.machine.flops(dtype), asked.intensity * plan.machine.bandwidth)
        axes.plot(asked.intensity, y, "o", color=style.PROBABILITY[3], markersize=6, zorder=3)
        beside = (-6, 4 + 9 * is_near) if above else (4, -12 - 9 * is_near)
        axes.annotate(f"{name}: {in_time(took)}", (asked.intensity, y), xytext=beside, textcoords="offset points",
                      ha="right" if above else "left", fontsize=7.5, color=style.INK)  # fmt: skip
    axes.set(xscale="log", yscale="log", xlim=(REACH[0], REACH[-1]))
    axes.set_xlabel("operations per byte", fontsize=8)
    axes.set_ylabel("operations/s", fontsize=8)
    _finish(axes, f"roofline: bound by memory below {plan.machine.ridge(dtype):,.0f}")


def _roof(axes, machine, dtype, colour, width):
    axes.plot(REACH, np.minimum(machine.flops(dtype), REACH * machine.bandwidth), color=colour, linewidth=width)


def _names(axes, plan, dtype):
    """Each machine's name at the right end of its roof; roofs that nearly touch share a line of names, the upper's."""
    groups = []
    for machine in sorted({*PUBLISHED, plan.machine}, key=lambda one: (-one.flops(dtype), one.name)):
        if groups and groups[-1][0].flops(dtype) < NEAR * machine.flops(dtype):
            groups[-1].append(machine)
        else:
            groups.append([machine])
    for machines in groups:
        colour = style.INK if plan.machine in machines else style.PALE
        words, height = ", ".join(machine.name for machine in machines), machines[0].flops(dtype)
        axes.annotate(words, (REACH[-1], height), xytext=(-3, 2), textcoords="offset points", ha="right",
                      fontsize=7, color=colour)  # fmt: skip


def _frontier(axes, plan):
    """The best number of parameters for so many operations."""
    run, n_params = float(plan.training.flops), float(plan.sizes.n_params)  # larger than NumPy's whole numbers
    flops = np.geomspace(run / 10**DECADES, run * 10**DECADES, 50)
    for fit in scaling.FITS:
        axes.plot(flops, [fit.best(each)[0] for each in flops], LOOKS[fit.name], color=style.INK, linewidth=1.2,
                  label=fit.name)  # fmt: skip
    axes.plot(run, n_params, "o", color=style.PROBABILITY[3], label="this run")
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel("operations, 6 N D", fontsize=8)
    axes.set_ylabel("parameters", fontsize=8)
    axes.legend(frameon=False, fontsize=8)
    _finish(axes, "the best size for so many operations")


def _valley(axes, plan):
    """The loss of other sizes trained with as many operations, each on as many tokens as are left.

    For Kaplan's law the blocks have the same share of the parameters as here.
    """
    flops, n_params = float(plan.training.flops), float(plan.sizes.n_params)
    best = [law.best_params for law in plan.forecasts]
    sizes = np.geomspace(min(n_params, *best) / 10, max(n_params, *best) * 10, 100)
    share = {scaling.KAPLAN: plan.sizes.n_blocks / plan.sizes.n_params}
    for fit, law in zip(scaling.FITS, plan.forecasts, strict=True):
        losses = [fit.loss(n * share.get(fit, 1), flops / 6 / n) for n in sizes]
        label = f"{fit.name}: {law.loss:.3f}"
        axes.plot(sizes, losses, LOOKS[fit.name], color=style.INK, linewidth=1.2, label=label)
        axes.plot(n_params, law.loss, "o", color=style.PROBABILITY[3], markersize=5)
    axes.axvline(n_params, color=style.PALE, linewidth=0.6, linestyle=":")
    axes.set(xscale="log")
    axes.set_xlabel("parameters", fontsize=8)
    axes.set_ylabel("loss, nats per token", fontsize=8)
    axes.legend(frameon=False, fontsize=8)
    _finish(axes, f"other sizes, {flops:.2e} operations each")


def _finish(axes, title):
    axes.set_title(title, fontsize=9, color=style.INK)
    axes.tick_params(labelsize=7.5)
    style.without_frame(axes, "top", "right")
