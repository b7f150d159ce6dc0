"""How pictures look: colours with one meaning each, tokens that every font can show, a figure to draw on.

Enter: what a picture is called and made of. Leave: a matplotlib Figure, white, so that it reads the same in print and
in a dark notebook. Nothing here touches matplotlib's global settings. Next: lens/token_pictures.py.
"""

import functools
import io
import textwrap

import numpy as np

# The same everywhere, as CSS variables on a page too; their lightness differs by 10 or more, so that grey tells them.
QUERY, KEY, VALUE = "#1b4f9c", "#f5a03a", "#2f9e5c"
RESIDUAL, ATTENTION, FFN = "#d0d0d0", "#8f52c8", "#5e2314"
INK, PALE = "#222222", "#8a8a8a"
PROBABILITY = ("#ffffff", "#c6dbef", "#6baed6", "#2171b5", "#08306b")  # from 0 to 1: white to one dark hue
SIGNED = ("#2166ac", "#92c5de", "#ffffff", "#f4a582", "#b2182b")  # negative, 0, positive

# The first of these that is there is taken for what DejaVu Sans lacks: Debian's, macOS's, Windows's.
CHINESE = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei", "PingFang SC", "Hiragino Sans GB", "Heiti SC", "Microsoft YaHei", "SimHei",
)  # fmt: skip
LATIN = "DejaVu Sans"  # comes with matplotlib
PER_INCH = 15  # characters of the small letters below a picture, digits among them, which are wide


def figure(width, height, title, *made_of):
    """-> a Figure of so many inches; `title` says what is seen, `made_of` in which model, and what colours mean."""
    made = _picture_class()(figsize=(width, height), layout="constrained", facecolor="white", dpi=110)
    made.suptitle(f"{legible(title)}\n", fontfamily=fonts(), fontsize=12, color=INK, x=0.02, ha="left")
    below = textwrap.fill(legible("; ".join(filter(None, made_of))), max(int(width * PER_INCH), 20))
    made.supxlabel(below, fontfamily=fonts(), fontsize=8, color=PALE, x=0.02, ha="left")
    return made


def colour_map(colours):
    """A matplotlib colour map through some colours; what is masked or NaN is light grey."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("nanogpt_np", colours).with_extremes(bad="#eeeeee")


def mark_tokens(axis, tokens, size=9, rotate=False):
    """Write tokens along a matplotlib Axis, one at each whole number; `rotate`: upwards, unless all are short."""
    labels = [legible(token) for token in tokens]
    axis.set_ticks(range(len(tokens)), labels, fontfamily=fonts(), fontsize=size, color=INK)
    axis.set_tick_params(length=0, labelrotation=90 if rotate and max(map(len, labels)) > 2 else 0)


def without_frame(axes, *sides):
    """Take away some sides of the frame around a picture: "top", "right", …"""
    for side in sides:
        axes.spines[side].set_visible(False)


def write_cells(axes, array, colours, limits, form="{:.2f}".format, size=7):
    """Each number of a coloured map [n_rows, n_columns] in its cell; none where it is masked or not finite.

    `colours` and `limits`, (low, high), are those of the map; `form` makes a text of a number.
    """
    low, high = limits
    for (row, column), value in np.ma.ndenumerate(np.ma.masked_invalid(array)):
        colour = write_on(colours((value - low) / (high - low)))
        axes.text(column, row, form(value), ha="center", va="center", fontsize=size, color=colour)


def write_on(colour):
    """Black or white, whichever can be read on a colour (red, green, blue from 0 to 1)."""
    red, green, blue = colour[:3]
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else INK


def legible(text):
    """A text that is drawn as it stands: what no font here has as its escape, \\u5e8a, and $ as no formula's end."""
    return "".join(c if c == "\n" or _has_font(c) else _escaped(c) for c in text).replace("$", r"\$")


def fonts():
    """The fonts to draw with, in the order in which they are asked for a character: a list of names."""
    return [LATIN, *([_chinese()] if _chinese() else [])]


@functools.cache
def _picture_class():
    """Figure, drawn by Agg, which shows itself in a notebook without pyplot or a backend."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, and only wanted here
    from matplotlib.figure import Figure

    class Picture(Figure):
        def __init__(self, **how):
            super().__init__(**how)
            FigureCanvasAgg(self)

        def _repr_png_(self):
            out = io.BytesIO()
            self.savefig(out, format="png")
            return out.getvalue()

    return Picture


def _has_font(c):
    return c.isprintable() and (ord(c) < 128 or any(ord(c) in known for known in _known()))


def _escaped(character):
    return character.encode("unicode_escape").decode("ascii")


@functools.cache
def _chinese():
    from matplotlib import font_manager

    there = {font.name for font in font_manager.fontManager.ttflist}
    return next((name for name in CHINESE if name in there), None)


@functools.cache
def _known():
    """The code points of each font."""
    from matplotlib import font_manager

    return [frozenset(font_manager.get_font(font_manager.findfont(name)).get_charmap()) for name in fonts()]
