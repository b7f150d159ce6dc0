"""Print how far nanogpt_np is from the goldens: `python -m tests.goldens.table` from the project's root.

Enter: the rows of measure.py. Leave: the table that docs/numerics.md shows, and any row over its tolerance.
"""

import argparse
import re

import numpy as np

from . import measure

CASES = ("tiny float64", "tiny float32", "erf", "untied", "narrow", "wide 64", "wide 1024")


def markdown(rows):
    """The rows as a table: layers folded together, one column per case, the worst of each."""
    found = {}
    for row in rows:
        name = re.sub(r"\.\d+\.", ".*.", row.name)
        found.setdefault(name, {}).setdefault(row.case, []).append(row)
    head = ["quantity", *CASES, "PyTorch float32", "allowed"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, cases in found.items():
        worst = [f"{max(row.worst for row in cases[c]):.1e}" if c in cases else "" for c in CASES]
        single = [row for c in cases if c != "tiny float64" for row in cases[c]]
        noise = [row.noise for row in single if row.noise is not None]
        allowed = max(row.tolerance for row in single)
        line = [f"`{name}`", *worst, f"{max(noise):.1e}" if noise else "", f"{allowed:.0e}"]
        lines.append("| " + " | ".join(line) + " |")
    return "\n".join(lines)


def main():
    argparse.ArgumentParser(description="Print how far nanogpt_np is from the goldens.").parse_args()
    rows = list(measure.all_rows())
    print(f"goldens: {', '.join(measure.load('wide')['made_with'])}; nanogpt_np on numpy {np.__version__}\n")
    print(markdown(rows))
    for row in rows:
        if not row.worst <= row.tolerance:
            print(f"over its tolerance: {row}")


if __name__ == "__main__":
    main()
