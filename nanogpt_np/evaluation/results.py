"""A run over many items, which can be stopped and gone on with, and the numbers it comes to.

Enter: items, and a function that measures a few of them. Leave: a row for each, in a file where one is named: an object
a line, as generation/batches.py has it. What a stopped run wrote is read back, and the numbers are the same to the bit.
Next: evaluation/texts.py.
"""

import hashlib
import json
import math
from pathlib import Path

from tqdm import tqdm

from .. import files
from ..generation import batches

GROUP = 4  # batches that are measured together, so that texts of about one length can be read together


def fingerprint(gpt, task, path, settings):
    """12 hex digits that stand for a model, a task, its options, and the content of its file."""
    digest = hashlib.sha256(files.read_bytes(path, batches.MOST_RESULTS)).hexdigest()  # no pipe: it is read again
    return batches.fingerprint(gpt, {"task": task, "data": digest, **settings})


def of_group(items, measure):
    """The function that `collect` applies to [start, end]: the rows of these items, `measure(some items)`."""
    return lambda bounds: measure(items[bounds[0] : bounds[1]])


def collect(items, measure, n_together, unit, out=None, asked="", spread=map):
    """The rows of all items, dicts that JSON can hold; `measure(some items)` gives those of a few.

    `out`: a file that holds them, and is gone on with where it exists; `asked`: the fingerprint that it must carry.
    `spread`: as for training/evaluation.evaluate. FileError for results of another run.
    """
    if out is None:
        return _go_on([], items, measure, n_together, unit, lambda rows: None, spread)
    out = Path(out)
    with files.locked(out, f"{files.short(out)}: another run writes to it; wait for it, or choose another file"):

        def belongs(i, row):
            return (row["line"], row["asked"]) == (items[i].line, asked)

        done = batches.rows_before(out, belongs, len(items), n_together, "items")

        def keep(rows):
            lines = [json.dumps(row | {"asked": asked}, ensure_ascii=False) + "\n" for row in rows]
            files.append_text(out, "".join(lines))

        return _go_on(done, items, measure, n_together, unit, keep, spread)


def _go_on(rows, items, measure, n_together, unit, keep, spread):
    rows = list(rows)
    groups = [[start, start + n_together] for start in range(len(rows), len(items), n_together)]
    with tqdm(total=len(items), initial=len(rows), unit=unit, disable=None) as bar:
        for found in spread(of_group(items, measure), groups):
            keep(found)
            rows += found
            bar.update(len(found))
    return rows


def mean(values):
    """The mean, and its standard error: with n - 1, as lm-evaluation-harness has it; nan for one value.

    mean([0.0, 1.0]) -> (0.5, 0.5)
    """
    n = len(values)
    middle = math.fsum(values) / n
    spread = math.fsum((value - middle) ** 2 for value in values)
    return middle, math.sqrt(spread / (n - 1) / n) if n > 1 else math.nan


def exp(x):
    """e to the x, inf where a float has no room: exp(1000.0) -> inf"""
    return math.exp(x) if x < 709 else math.inf
