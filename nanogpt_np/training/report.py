"""What a training run leaves for people: log.csv.

Enter: one row of numbers per logged step. Leave: the file, rewritten whole each time. Next: training/picture.py.
"""

import csv
import io
import math
import os
import sys

from .. import files
from ..errors import FileError, InputError, printable

LOG = "log.csv"
COLUMNS = ("step", "tokens", "lr", "train_loss", "grad_norm", "held_out_loss", "held_out_bits_per_byte", "seconds")
MOST_BYTES = 1 << 30  # of a log; a row takes 80


class Log:
    """The rows of log.csv: kept in memory, written whole, so that the file is never torn. It never stops a run."""

    def __init__(self, path, rows=()):
        self.path, self.rows, self.failed = path, list(rows), False

    @classmethod
    def load(cls, path, last_step):
        """The log up to `last_step`; later rows belong to work that a resumed run does again.

        A file that is no log is said and set aside, and a new log begins.
        """
        if not os.path.lexists(path):
            return cls(path)
        try:
            return cls(path, [row for row in read_rows(path) if int(row["step"]) <= last_step])
        except (InputError, ValueError, csv.Error) as error:
            _set_aside(path, error)
            return cls(path)

    def add(self, **values):
        """Append one row and write the file; columns without a value stay empty."""
        self.rows.append({name: _short(values.get(name, "")) for name in COLUMNS})
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        try:
            files.write_text(self.path, text.getvalue())
            self.failed = False
        except FileError as error:
            if not self.failed:  # said once, tried again with every row
                warn(f"{error}; the run goes on without its log")
            self.failed = True

    def series(self, x, y):
        """Two columns as floats, where both have a value."""
        pairs = [(float(row[x]), float(row[y])) for row in self.rows if row[x] != "" and row[y] != ""]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]

    @property
    def seconds(self):
        """Training time so far, over all resumed parts."""
        return float(self.rows[-1]["seconds"]) if self.rows else 0.0


def _short(value):
    return f"{value:.6g}" if isinstance(value, float) else value


def warn(text):
    """A line on standard error that stops nothing."""
    print(f"nanogpt-np: {text}", file=sys.stderr)


def read_rows(path):
    """The rows of a log as dicts; ValueError, csv.Error or FileError where it is not as Log.add writes it."""
    header, *rows = list(csv.reader(io.StringIO(files.read_text(path, MOST_BYTES)))) or [[]]
    if tuple(header) != COLUMNS:
        raise ValueError(f"the columns {', '.join(header)}")
    for n, row in enumerate(rows, start=2):
        if len(row) != len(COLUMNS) or not row[0].isdecimal() or not all(map(_is_number, row)) or not row[-1]:
            raise ValueError(f"{','.join(row)!r} in line {n}")
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def _is_number(text):
    """Finite and no stranger than what _short writes; a diverging loss is not logged. Nothing counts too."""
    try:
        return text == "" or math.isfinite(float(text))
    except ValueError:
        return False


def _set_aside(path, error):
    """Give what is no log another name, and say so."""
    n, aside = 1, path.with_name(f"{path.stem}.damaged{path.suffix}")
    while os.path.lexists(aside):
        n += 1
        aside = path.with_name(f"{path.stem}.damaged-{n}{path.suffix}")
    got = printable(str(error), 200)
    if not isinstance(error, FileError):  # which names the file itself
        got = f"{files.short(path)}: expected a log, got {got}"
    try:
        path.rename(aside)
    except OSError as failure:
        warn(f"{got}; it cannot be set aside ({failure.strerror})")
    else:
        warn(f"{got}; it is called {aside.name} now, and a new one begins")
