"""What a training run leaves for people: log.csv and a picture of the loss.

Enter: one row of numbers per logged step. Leave: both files, rewritten whole each time. Next: training/options.py.
"""

import csv
import io

from .. import files
from ..errors import FileError

LOG, PICTURE = "log.csv", "loss.png"
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


def plot(log, path, title):
    """Draw the training loss and the held-out loss over the tokens seen, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, and only wanted here
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    tokens, losses = log.series("tokens", "train_loss")
    axes.plot([n / 1e6 for n in tokens], losses, color="#9aa7b4", linewidth=0.9, label="training batches")
    tokens, losses = log.series("tokens", "held_out_loss")
    if tokens:
        axes.plot([n / 1e6 for n in tokens], losses, "o-", color="#c1440e", markersize=4, label="held-out text")
        axes.annotate(f"{losses[-1]:.3f}", (tokens[-1] / 1e6, losses[-1]), xytext=(0, 8),
                      textcoords="offset points", ha="right", color="#c1440e")
    axes.set(xlabel="tokens seen (millions)", ylabel="loss (nats per token)", title=title)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    with files.replacing(path) as part:
        figure.savefig(part, format="png", dpi=130)


def _short(value):
    return f"{value:.6g}" if isinstance(value, float) else value
