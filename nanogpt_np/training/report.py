"""What a training run leaves for people: log.csv.

Enter: one row of numbers per logged step. Leave: the file, rewritten whole each time. Next: training/picture.py.
"""

import csv
import io

from .. import files
from ..errors import FileError

LOG = "log.csv"
COLUMNS = ("step", "tokens", "lr", "train_loss", "grad_norm", "held_out_loss", "held_out_bits_per_byte", "seconds")


class Log:
    """The rows of log.csv: kept in memory, written whole, so that the file is never torn."""

    def __init__(self, path, rows=()):
        self.path, self.rows = path, list(rows)

    @classmethod
    def load(cls, path, last_step):
        """The log up to `last_step`; later rows belong to work that a resumed run does again."""
        if not path.exists():
            return cls(path)
        rows = list(csv.DictReader(io.StringIO(files.read_text(path))))
        try:
            return cls(path, [row for row in rows if int(row["step"]) <= last_step])
        except (KeyError, TypeError, ValueError) as error:
            raise FileError(f"{path}: expected rows of {', '.join(COLUMNS)}, got: {error!r}; remove it") from error

    def add(self, **values):
        """Append one row and write the file; columns without a value stay empty."""
        self.rows.append({name: _short(values.get(name, "")) for name in COLUMNS})
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        files.write_text(self.path, text.getvalue())

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
