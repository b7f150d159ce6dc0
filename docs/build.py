"""Builds the site into docs/_build/html: `python docs/build.py`. Needs `pip install -e ".[docs]"`, and no network.

Whatever is doubtful ends the build: a link that leads nowhere, a formula that cannot be set, a name without a place.
"""

import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).parent
OUT = DOCS / "_build"
STAMP = OUT / "built"


def main():
    """Build anew, in full: half a minute, and no page of yesterday is left."""
    from sphinx.cmd.build import main as sphinx

    shutil.rmtree(OUT, ignore_errors=True)
    words = ["-W", "--keep-going", "-n", "-q", "-c", DOCS, "-d", OUT / "doctrees", "-b", "html", DOCS.parent]
    status = sphinx([*map(str, words), str(OUT / "html")])
    if status == 0:
        STAMP.touch()
        print(f"open {OUT / 'html' / 'index.html'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
