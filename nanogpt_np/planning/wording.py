"""A Plan as a person reads it, and as JSON.

Enter: a Plan. Leave: lines of text; a dict ready for JSON. Next: planning/pictures.py.
"""

import math
from dataclasses import asdict

from ..lens.cost import banded_layers
from .machines import MACHINES
from .sizes import DTYPES
from .times import DAY

PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
SPANS = ((365.25 * DAY, "years"), (DAY, "days"), (3600, "hours"), (60, "minutes"), (1, "s"), (1e-3, "ms"), (1e-6, "µs"))
RECOMPUTED = {"none": "keeping all activations", "attention": "making attention's scores again",
              "all": "keeping each block's input alone"}  # fmt: skip


def to_text(plan):
    """A Plan as text, in sections with a blank line between them."""
    parts = (_parameters, _generating, _machines, _training, _ranks, _clusters, _laws, _assumed)
    return "\n\n".join("\n".join(part(plan)) for part in parts)


def to_dict(plan):
    """A Plan as a dict ready for JSON: its fields, and what follows from them."""
    found = asdict(plan)
    for name in ("token", "prompt"):
        found[name] |= {"n_bytes": getattr(plan, name).n_bytes, "intensity": getattr(plan, name).intensity}
    for row, rank in zip(found["ranks"], plan.ranks, strict=True):
        row["memory"]["total"], row["split"]["n_ranks"] = rank.memory.total, rank.split.n_ranks
    found["training"]["pf_days"] = plan.training.pf_days
    found["options"]["recompute"] = plan.options.made_again
    return found


def in_units(value, unit=""):
    """Three digits and a prefix of a thousand: in_units(248879616, "B") -> "249 MB"; in_units(2e21) -> "2.00e+21" """
    if value >= 1e18 or (value and value < 1e-3):
        return f"{value:.2e} {unit}".rstrip()
    one, prefix = next(row for row in PREFIXES if value * 1.0005 >= row[0] or row[0] == 1.0)
    digits = 0 if value == int(value) < 1000 else _digits(value / one)
    return f"{value / one:.{digits}f} {prefix}{unit}".rstrip()


def in_time(seconds):
    """Three digits and a span: in_time(0.0123) -> "12.3 ms"; in_time(200000) -> "2.31 days" """
    one, name = next((row for row in SPANS if seconds >= row[0]), SPANS[-1])
    count = seconds / one
    return f"{count:.2e} {name}" if count >= 1e5 or count < 1e-3 else f"{count:,.{_digits(count)}f} {name}"


def in_mass(kg):
    """Three digits and a unit: in_mass(0.78) -> "780 g"; in_mass(132044) -> "132 t" """
    return f"{in_units(kg / 1000)} t" if kg >= 1000 else in_units(1000 * kg, "g")


def _digits(value):
    """Behind the point, so that three digits count: _digits(12.3) -> 1"""
    return max(0, 2 - max(0, math.floor(math.log10(value * 1.0005)))) if value > 0 else 0


def _table(rows, indent="  "):
    """Lines of equal columns, the first flush left, the others flush right; no column is cut."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        yield indent + "  ".join(cells).rstrip()


def _parameters(plan):
    c, sizes = plan.config, plan.sizes
    shape = f"n_layer {c.n_layer:,}, n_head {c.n_head:,}, n_embd {c.n_embd:,}, n_ctx {c.n_ctx:,}, n_vocab {c.n_vocab:,}"
    bands = f", {banded_layers(c):,} layers with bands of {c.window:,}" if banded_layers(c) else ""
    yield f"{plan.name}: {sizes.n_params:,} parameters ({shape}{bands})"
    yield ""
    rows = [("part", "parameters", "share", *DTYPES)]
    for name, n, n_bytes in [*sizes.parts, ("all", sizes.n_params, sizes.n_bytes)]:
        rows.append((name, f"{n:,}", f"{n / sizes.n_params:.1%}", *(in_units(n_bytes[dtype], "B") for dtype in DTYPES)))
    rows.append(("KV cache, a token", "", "", *(in_units(sizes.cache_bytes[dtype], "B") for dtype in DTYPES)))
    whole = (in_units(sizes.full_cache_bytes[dtype], "B") for dtype in DTYPES)
    rows.append((f"KV cache, {c.n_ctx:,} tokens", "", "", *whole))
    yield from _table(rows)


def _generating(plan):
    o = plan.options
    texts = "one text" if o.n_batch == 1 else f"{o.n_batch:,} texts at once"
    yield f"Generating, {o.dtype}, {texts}"
    yield ""
    rows = [("", "operations", "weights read", "KV cache", "operations per byte")]
    for what, asked in ((f"a token behind {o.n_before:,}", plan.token), (f"a prompt of {o.n_prompt:,}", plan.prompt)):
        cells = in_units(asked.flops), in_units(asked.weight_bytes, "B"), in_units(asked.cache_bytes, "B")
        rows.append((what, *cells, f"{asked.intensity:,.{_digits(asked.intensity)}f}"))
    yield from _table(rows)


def _machines(plan):
    o = plan.options
    yield "At best, on one of each: what memory and arithmetic allow (the roofline); real engines are slower"
    yield ""
    rows = [("machine", "memory", "bytes/s", "operations/s", "ridge", "a token", "bound by", "a prompt", "holds it")]
    for row in plan.machines:
        m = row.machine
        speed, ridge = in_units(m.flops(o.dtype)), f"{m.ridge(o.dtype):,.0f}"
        bound, fits = "memory" if row.is_memory_bound else "arithmetic", "yes" if row.fits else "no"
        rows.append((m.name, in_units(m.memory, "B"), in_units(m.bandwidth, "B"), speed, ridge,
                     in_time(row.token_seconds), bound, in_time(row.prompt_seconds), fits))  # fmt: skip
    yield from _table(rows)


def _training(plan):
    t, o, machine = plan.training, plan.options, plan.machine
    yield f"Training on {t.n_tokens:,} tokens ({t.why_tokens})"
    yield ""
    more, reached = t.counted / t.flops - 1, f"{100 * o.utilisation:.3g}%"
    rows = [
        ("operations, 6 N D", f"{t.flops:.2e} ({t.pf_days:.3g} petaflop/s-days)"),
        ("counted by part", f"{t.counted:.2e} ({more:+.1%}; with attention, {RECOMPUTED[o.made_again]})"),
        ("time", f"{in_time(t.seconds)} on {t.devices:,} x {machine.name} at {reached} of their operations"),
    ]
    if t.kwh is None:
        rows.append(("energy, CO2", f"unknown: nobody publishes what {machine.name} takes; give --watts"))
    else:
        rows.append(("energy", f"{in_units(1000 * t.kwh, 'Wh')} ({t.devices:,} x {t.watts:g} W, times PUE {o.pue:g})"))
        rows.append(("CO2 equivalents", f"{in_mass(t.kg)} ({o.carbon:g} kg per kWh)"))
    for name, value in rows:
        yield f"  {name:18} {value}"


def _ranks(plan):
    o = plan.options
    windows = f"{o.micro_batch:,} window{'s' if o.micro_batch > 1 else ''} of {plan.config.n_ctx:,} tokens at once"
    yield f"Memory of the fullest rank, {o.precision} precision, {windows}, {RECOMPUTED[o.made_again]}"
    yield ""
    rows = [("data x tensor x pipeline", "weights", "gradients", "optimizer", "activations", "in passing", "all",
             f"{plan.machine.name} holds it")]  # fmt: skip
    for rank in plan.ranks:
        m, s = rank.memory, rank.split
        cells = (m.weights, m.gradients, m.optimizer, m.activations, m.in_passing, m.total)
        rows.append((f"{s.data:,} x {s.tensor:,} x {s.pipeline:,}", *(in_units(cell, "B") for cell in cells),
                     "yes" if rank.fits else "no"))  # fmt: skip
    yield from _table(rows)


def _clusters(plan):
    yield f"The smallest cluster of {plan.machine.name} ({plan.machine.title})"
    yield ""
    for what, cluster in (("to train", plan.to_train), ("to generate", plan.to_generate)):
        if cluster is None:
            yield f"  {what:12} none: no split that was tried leaves room on {in_units(plan.machine.memory, 'B')}"
            continue
        s = cluster.split
        how = f"data {s.data:,} x tensor {s.tensor:,} x pipeline {s.pipeline:,}"
        filled = f"{in_units(cluster.n_bytes, 'B')} of {in_units(cluster.room, 'B')} on the fullest"
        yield f"  {what:12} {s.n_ranks:,} ({how}; {filled})"


def _laws(plan):
    yield "Loss by published scaling laws, in nats per token of each paper's own texts and vocabulary"
    yield ""
    rows = [("law", "this run", "best for its operations", "parameters", "tokens")]
    for law in plan.forecasts:
        best = in_units(law.best_params), in_units(law.best_tokens)
        rows.append((law.fit, f"{law.loss:.3f}", f"{law.best_loss:.3f}", *best))
    yield from _table(rows)


def _assumed(plan):
    o, machine = plan.options, plan.machine
    yield "Assumed"
    yield ""
    yield f"  utilisation {o.utilisation:g}, PUE {o.pue:g}, {o.carbon:g} kg of CO2 per kWh; hosts not counted"
    yield f"  {o.usable:.0%} of a device's memory to fill; ZeRO-1: the optimizer is shared out among data ranks"
    yield "  in passing: the logits, or the gradients of one block's activations, whichever is more"
    yield "  Kaplan's loss of this run is that of training until nothing improves; what they call best stops earlier"
    for source in dict.fromkeys(law.source for law in plan.forecasts):
        yield f"  law: {source}"
    for known in [*MACHINES.values(), *([] if machine.name in MACHINES else [machine])]:
        yield f"  {known.name}: {known.title}; {known.source}"
