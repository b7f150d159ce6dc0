"""The site as a whole: where its pages lie, what stands in the sidebar, how a debugger's session is coloured.

Enter: the pages of the project, where they lie in it. Leave: a site whose front page is docs/index.md.
"""

from pygments.lexer import RegexLexer, bygroups, using
from pygments.lexers import PythonLexer
from pygments.token import Comment, Generic
from sphinx.builders.html import StandaloneHTMLBuilder

# The front page to the front; and web servers hide folders that begin with a dot.
MOVED = {"docs/index": "index", ".github/CONTRIBUTING": "docs/contributing"}
CHAPTERS = {
    "Guide": (
        "Read me first </README>", "/docs/architecture", "/docs/stepping", "/docs/misconceptions", "/docs/glossary",
        "/docs/numerics", "/docs/performance", "/docs/[a-z]*", "/.github/CONTRIBUTING",
        "中文 </README.zh>",
    ),
    "Notebooks": ("The path </notebooks/README>", "/notebooks/[0-9]*"),
    "Models that ship": ("/weights/*/TRAINING",),
    "Reference": ("/docs/api/index",),
}  # fmt: skip


class SiteBuilder(StandaloneHTMLBuilder):
    """Sphinx's own, but for the places of two pages."""

    name = "html"

    def get_outfilename(self, pagename):
        return super().get_outfilename(MOVED.get(pagename, pagename))

    def get_target_uri(self, docname, typ=None):
        return super().get_target_uri(MOVED.get(docname, docname), typ)

    def index_page(self, pagename, doctree, title):
        """The search finds pages by their names, so not the two that have moved."""
        if pagename not in MOVED:
            super().index_page(pagename, doctree, title)


class DebuggerLexer(RegexLexer):
    """A session in pdb: what is typed is Python."""

    name = "pdb"
    aliases = ["pdb"]
    tokens = {
        "root": [
            (r"(\(Pdb\) )(.*\n)", bygroups(Generic.Prompt, using(PythonLexer))),
            (r"> .*\n", Comment),
            (r".*\n", Generic.Output),
        ]
    }


def add_chapters(app, docname, source):
    """The sidebar is written here, so that index.md stays a page that any code host shows."""
    if docname != app.config.root_doc:
        return
    for caption, entries in CHAPTERS.items():
        lines = ["```{toctree}", ":hidden:", ":glob:", ":maxdepth: 1", f":caption: {caption}", "", *entries, "```"]
        source[0] += "\n" + "\n".join(lines) + "\n"


def say_the_language(app, pagename, templatename, context, doctree):
    """A browser takes Chinese letters in their Chinese forms where the page says that it is Chinese."""
    if pagename.endswith(".zh"):
        context["language"] = "zh-CN"


def setup(app):
    app.add_builder(SiteBuilder, override=True)
    app.add_lexer("pdb", DebuggerLexer)
    app.connect("source-read", add_chapters)
    app.connect("html-page-context", say_the_language)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
