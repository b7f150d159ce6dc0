"""Builds the site into docs/_build/html: `python docs/build.py`. Needs `pip install -e ".[docs]"`, and no network.

Whatever is doubtful ends the build: a link that leads nowhere, a formula that cannot be set, a name without a place.
"""

import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).parent
OUT = DOCS / "_build"
STAMP = OUT / "built"
PAGE, TEXT = "explore.html", "Once upon a time, there was a little girl named"  # the front page's picture, and its text
SOURCES = ("source/", ".html")  # where the site shows the project's files: a page for each
MOST = 1_500_000  # bytes of that picture


def main():
    """Build anew, in full: half a minute, and no page of yesterday is left."""
    from sphinx.cmd.build import main as sphinx

    shutil.rmtree(OUT, ignore_errors=True)
    words = ["-W", "--keep-going", "-n", "-q", "-c", DOCS, "-d", OUT / "doctrees", "-b", "html", DOCS.parent]
    status = sphinx([*map(str, words), str(OUT / "html")])
    if status == 0:
        write_page(OUT / "html" / PAGE)
        STAMP.touch()
        print(f"open {OUT / 'html' / 'index.html'}")
    return status


def write_page(path):
    """The page of `nanogpt-np explore` for one text, which docs/index.md shows in a frame."""
    sys.path.insert(0, str(DOCS.parent))
    from nanogpt_np import GPT
    from nanogpt_np.explore import export

    page = export.page(GPT.from_pretrained("stories"), TEXT, "stories", most=MOST, sources=SOURCES)
    path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
