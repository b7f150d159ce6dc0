"""What a finished run says of its classifier, and of the others beside it.

Enter: Measured by name, and the labels. Leave: results.json and results.png, each whole or not at all; a table in
lines. Next: finetuning/run.py.
"""

import numpy as np

from .. import files
from . import measures, pictures

JSON, PNG = "results.json", "results.png"


def save(out, measured, labels, title):
    """Write both files; `measured`: {name: Measured}, the classifier's own first, which is the one that is drawn."""
    about = {name: to_dict(one) for name, one in measured.items()}
    files.write_json(out / JSON, {"labels": list(labels), "test": about})
    figure = pictures.draw_measured(next(iter(measured.values())), labels, title)
    with files.replacing(out / PNG) as part:
        figure.savefig(part, format="png")


def to_dict(measured):
    """A Measured as JSON can hold it; the mean confidence of an empty bin is null."""
    found = measured._asdict()
    for name in ("confidence", "correct"):
        found[name] = [None if value != value else value for value in found[name].tolist()]
    return found | {"confusion": measured.confusion.tolist(), "counts": measured.counts.tolist()}


def from_dict(stored):
    """The Measured of which to_dict() made this."""
    arrays = {name: np.array([np.nan if value is None else value for value in stored[name]], np.float64)
              for name in ("confidence", "correct")}  # fmt: skip
    counts = {name: np.array(stored[name], np.int64) for name in ("confusion", "counts")}
    return measures.Measured(**{**stored, **arrays, **counts})


def table(measured):
    """A line for each: its name, the accuracy with its 95 % interval, the loss."""
    width = max(map(len, measured))
    return [f"{name:{width}}  accuracy {one.accuracy:.3f} ({one.low:.3f} to {one.high:.3f}), loss {one.loss:.3f}"
            for name, one in measured.items()]  # fmt: skip
