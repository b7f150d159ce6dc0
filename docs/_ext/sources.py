"""A page for every file that is linked, with its lines numbered and coloured, and a page for every folder.

Enter: the files of the package, and those that links.py met. Leave: pages, which are no part of the guide.
Next: mathml.py.
"""

import html
import posixpath
from functools import partial

import package
from links import is_shown, page_of
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound

HIDDEN = {"__pycache__", "_build", "api"}


def inside(folder):
    """What lies in a folder; of a folder of the package in reading order."""
    order = {f"nanogpt_np/{room}": place for place, room in enumerate(package.reading_order())}
    found = [path for path in (package.ROOT / folder).iterdir() if path.name not in HIDDEN and path.name[0] != "."]
    names = [path.relative_to(package.ROOT).as_posix() for path in found]

    def rank(name):
        return min([place for room, place in order.items() if room.startswith(name)], default=-1), name

    return [name for name in sorted(names, key=rank) if is_shown(name)]


def with_folders(paths):
    """All to show: what is asked for, and the files in each folder among it; the folders of the package in full."""
    package_folders = ["nanogpt_np", *(f"nanogpt_np/{wing}" for wing in package.wings())]
    # the tour of the explored page leads to notebooks as they can be read beside the package
    scripts = [path.relative_to(package.ROOT).as_posix() for path in package.ROOT.glob("notebooks/[0-9][0-9]_*.py")]
    asked = {path for path in [*paths, *package_folders, *scripts] if is_shown(path)}
    folders = [path for path in asked if (package.ROOT / path).is_dir()]
    return asked | {path for folder in folders for path in inside(folder) if (package.ROOT / path).is_file()}


class Page:
    """One file or folder as HTML; `uri` makes a link from it."""

    def __init__(self, app, path):
        self.app, self.path = app, path
        self.whole = package.ROOT / path

    def link(self, page, text):
        uri = self.app.builder.get_relative_uri(page_of(self.path), page)
        return f'<a class="reference internal" href="{html.escape(uri)}">{text}</a>'

    def above(self):
        """The folders on the way, each a link where it has a page."""
        parts = self.path.split("/")
        steps = ["/".join(parts[: end + 1]) for end in range(len(parts) - 1)]
        named = [self.link(page_of(step), step.split("/")[-1]) if step in self.app.shown else step for step in steps]
        return " / ".join([*named, f"<strong>{html.escape(parts[-1])}</strong>"])

    def beside(self):
        """Where to read on: the API, the room before and the room after."""
        room = self.path.removeprefix("nanogpt_np/")
        order = package.reading_order()
        made = []
        if self.path.startswith("nanogpt_np/") and (page := api_page(room)) in self.app.env.found_docs:
            made.append(self.link(page, "its functions (API)"))
        if room in order:
            place = order.index(room)
            made += [f"before: {self.link(page_of(f'nanogpt_np/{name}'), name)}" for name in order[:place][-1:]]
            made += [f"next: {self.link(page_of(f'nanogpt_np/{name}'), name)}" for name in order[place + 1 :][:1]]
        return " · ".join(made)

    def body(self):
        text = self.listing() if self.whole.is_dir() else self.code()
        title = html.escape(posixpath.basename(self.path))
        return f'<h1>{title}</h1>\n<p class="path">{self.above()}</p>\n<p class="beside">{self.beside()}</p>\n{text}'

    def code(self):
        text = self.whole.read_text(encoding="utf-8")
        try:
            lexer = get_lexer_for_filename(self.path)
        except ClassNotFound:
            lexer = TextLexer()
        return highlight(text, lexer, HtmlFormatter(linenos="inline", linespans="line"))

    def listing(self):
        cells = [(self.entry(path), html.escape(said_of(path))) for path in inside(self.path)]
        rows = "".join(f"<tr><td>{entry}</td><td>{said}</td></tr>" for entry, said in cells)
        return f'<div class="table-wrapper"><table class="docutils align-default"><tbody>{rows}</tbody></table></div>'

    def entry(self, path):
        last = html.escape(posixpath.basename(path))
        return self.link(page_of(path), last) if path in self.app.shown else last


def api_page(room):
    return f"docs/api/{package.dotted(room).split('.')[0]}"


def said_of(path):
    """The first sentence of a Python file or a wing."""
    room = path.removeprefix("nanogpt_np/") + ("/__init__.py" if (package.ROOT / path).is_dir() else "")
    if not path.startswith("nanogpt_np/") or not room.endswith(".py") or not (package.PACKAGE / room).exists():
        return ""
    return package.first_sentence(package.docstring(room)).replace("`", "")


def sidebar(app):
    """The sidebar of these pages, none of which stands in it, so that it is made once for each depth of folders."""
    kept = {}

    def toctree(page, **how):
        key = page.count("/"), *sorted(how.items())
        if key not in kept:
            kept[key] = app.builder._get_local_toctree(page, **how)
        return kept[key]

    return toctree


def collect(app):
    """Sphinx asks for further pages when the others are written."""
    app.shown, toctree = with_folders(app.env.shown_files), sidebar(app)
    for path in sorted(app.shown):
        page = page_of(path)
        context = {"title": path, "body": Page(app, path).body(), "parents": [], "toctree": partial(toctree, page)}
        yield page, context, "page.html"


def setup(app):
    app.connect("html-collect-pages", collect)
    return {"parallel_read_safe": False, "parallel_write_safe": False}
