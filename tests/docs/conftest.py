"""The built site, made once: what lies in docs/_build if it is newer than all that it is made of, else built now."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MADE_OF = (
    "*.md", "docs/**/*", "notebooks/*", "weights/*/*.md", "nanogpt_np/**/*.py", "nanogpt_np/explore/static/*",
    ".github/*.md", "tests/*.py",
)  # fmt: skip
NEEDED = ("sphinx", "furo", "myst_nb", "latex2mathml")


def is_fresh(stamp):
    """Whether the site was built, and nothing has changed since."""
    own = (ROOT / "docs" / "_build", ROOT / "docs" / "api")
    files = [path for pattern in MADE_OF for path in ROOT.glob(pattern) if path.is_file()]
    times = [path.stat().st_mtime for path in files if not any(folder in path.parents for folder in own)]
    return stamp.exists() and stamp.stat().st_mtime > max(times)


@pytest.fixture(scope="session")
def site():
    """The folder of the site; the strict build must have passed."""
    if not all(importlib.util.find_spec(name) for name in NEEDED):
        pytest.skip('needs pip install -e ".[docs]"')
    if not is_fresh(ROOT / "docs" / "_build" / "built"):
        words = [sys.executable, str(ROOT / "docs" / "build.py")]
        done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", timeout=900)
        assert done.returncode == 0, done.stderr
    return ROOT / "docs" / "_build" / "html"


@pytest.fixture(scope="session")
def pages(site):
    """Every page but the one of `nanogpt-np explore`: its path in the site -> its HTML."""
    paths = [path for path in site.rglob("*.html") if path != site / "explore.html"]
    return {path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in paths}


@pytest.fixture
def extension(monkeypatch):
    """extension("mathml") is a module of docs/_ext."""
    if not all(importlib.util.find_spec(name) for name in NEEDED):
        pytest.skip('needs pip install -e ".[docs]"')
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    return importlib.import_module
