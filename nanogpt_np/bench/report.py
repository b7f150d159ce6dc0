"""What was measured, as a person and as a program read it: medians, ratios, tables, JSON.

Enter: rows of values, one value per round. Leave: text for the terminal, and dicts for --json. Ratios pair the values
of one round, as everyone was measured there within seconds. Next: bench/isa.py.
"""

import statistics
from dataclasses import dataclass, field


@dataclass
class Row:
    """One engine's values, one per round. `kind`: "ours", "peer", or "limit", which memory sets and nobody runs.

    `of_limit`: the share of the limit that was reached; `note`: why there are no values, or what to know about them.
    """

    engine: str
    kind: str
    values: list = field(default_factory=list)
    about: str = ""
    peak_mib: float | None = None
    of_limit: float | None = None
    note: str = ""


@dataclass
class Table:
    """One measurement of several engines."""

    title: str
    setting: str
    unit: str
    more_is_faster: bool
    rows: list
    notes: list = field(default_factory=list)


def summary(values):
    """summary([3.0, 1.0, 2.0]) -> {"median": 2.0, "min": 1.0, "max": 3.0}"""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(ours, other, more_is_faster):
    """How many times as fast our row was as another, round by round; None where either has no values.

    Values 30, 40 against 20, 20, more is faster -> {"median": 1.75, "min": 1.5, "max": 2.0}
    """
    pairs = list(zip(ours.values, other.values, strict=False))
    if not pairs:
        return None
    return summary([a / b if more_is_faster else b / a for a, b in pairs])


def ratios(table):
    """{our engine: {other engine: ratio}} of a table, without the limits."""
    ours = [row for row in table.rows if row.kind == "ours"]
    others = [row for row in table.rows if row.kind != "limit"]
    found = {}
    for mine in ours:
        compared = {row.engine: ratio(mine, row, table.more_is_faster) for row in others if row is not mine}
        found[mine.engine] = {engine: value for engine, value in compared.items() if value}
    return found


def to_json(table):
    """A table as a dict ready for JSON: every value, and what follows from them."""
    return {
        "title": table.title, "setting": table.setting, "unit": table.unit, "more_is_faster": table.more_is_faster,
        "rows": [{**vars(row), **(summary(row.values) if row.values else {})} for row in table.rows],
        "ratios": ratios(table), "notes": table.notes,
    }  # fmt: skip


def format_table(table):
    """A table for the terminal, columns aligned, with its notes below."""
    lines = [f"{table.title} · {table.setting}"]
    if table.rows:
        lines += ["", *("  " + line for line in _aligned(_columns(table)))]
    peers = dict.fromkeys(row.about for row in table.rows if row.kind == "peer" and row.about)  # some say the same
    notes = [*peers] + [f"{row.engine}: {row.note}" for row in table.rows if row.note] + table.notes
    return "\n".join(lines + ([""] if notes else []) + [f"  {note}" for note in notes])


def _columns(table):
    """The columns that have anything to say: [[header, cell, cell, …], …]"""
    measured = [summary(row.values) if row.values else None for row in table.rows]
    columns = [
        ["engine", *(_label(row) for row in table.rows)],
        [table.unit, *(number(s["median"]) if s else "–" for s in measured)],
        ["min – max", *(f"{number(s['min'])} – {number(s['max'])}" if s else "" for s in measured)],
        ["of limit", *("" if row.of_limit is None else f"{row.of_limit:.0%}" for row in table.rows)],
        ["peak MiB", *("" if row.peak_mib is None else f"{row.peak_mib:,.0f}" for row in table.rows)],
    ]
    for engine, found in ratios(table).items():
        columns.append([f"{engine}, times as fast", *(_ratio_cell(found.get(row.engine)) for row in table.rows)])
    return [column for column in columns if any(column[1:])]


def _label(row):
    return f"ours, {row.engine}" if row.kind == "ours" else row.engine


def _ratio_cell(found):
    return f"{found['median']:.2f} ({found['min']:.2f} – {found['max']:.2f})" if found else ""


def _aligned(columns):
    """Lines of equal columns, the first one flush left, the others flush right."""
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for cells in zip(*columns, strict=True):
        first, *rest = zip(cells, widths, strict=True)
        lines.append("   ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]).rstrip())
    rule = "   ".join("─" * width for width in widths)
    return [lines[0], rule, *lines[1:]]


def number(value):
    """Three digits that matter: number(1234.5) -> "1,234"; number(12.345) -> "12.3"; number(0.1234) -> "0.123" """
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f}"


def format_machine(machine):
    """The lines above all tables: what ran, on what, with what."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"nanogpt_np {machine['nanogpt_np']}, {machine['date']}",
        f"{machine['cpu']}, {machine['cpus_allowed']} of {machine['cpus']} CPUs allowed; "
        f"threads per engine: {machine['threads']}; {machine['system']}",
        *filter(None, [machine["held"]]),
        f"Python {machine['python']}, {versions}",
    ]
    if machine["not_measured"]:
        lines.append(f"not measured: {'; '.join(machine['not_measured'])}")
    lines.append("times as fast: our engine against the row's, round by round; the median (min – max)")
    return "\n".join(lines)
