"""The built site stands alone: nothing is fetched, every link arrives, every public name is there.

The build is strict already (docs/build.py: every warning ends it); this reads what came out. What lies elsewhere on
the net may be linked, and is not asked.
"""

import html
import importlib
import inspect
import json
import pkgutil
import posixpath
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import nanogpt_np

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted(ROOT.glob("notebooks/[0-9][0-9]_*.ipynb"))
GUIDE = [*sorted(ROOT.glob("docs/*.md")), ROOT / "README.md", ROOT / "README.zh.md", ROOT / "notebooks/README.md"]
MOVED = {"docs/index.html": "index.html"}
# what a browser loads by itself, when it shows a page
LOADED = re.compile(r"<(?!a\b)(\w+)\b[^>]*?\s(?:src|srcset|href|data|poster|action)=[\"']([^\"']*)[\"']")
IN_STYLE = re.compile(r"url\(\s*[\"']?([^\"')]+)|@import\s+[\"']([^\"']+)")


def page_of(path):
    """Where a page of the project lies in the site."""
    place = path.relative_to(ROOT).with_suffix(".html").as_posix()
    return MOVED.get(place, place)


def faces():
    """Every public face: the package, and each wing with an __all__."""
    folders = [module.name for module in pkgutil.iter_modules(nanogpt_np.__path__) if module.ispkg]
    wings = [importlib.import_module(f"nanogpt_np.{name}") for name in folders]
    return [face for face in (nanogpt_np, *wings) if hasattr(face, "__all__")]


def test_nothing_is_loaded_from_elsewhere(site, pages):
    loaded = [(page, *found) for page, text in pages.items() for found in LOADED.findall(text)]
    assert len(loaded) > len(pages)
    assert not [entry for entry in loaded if re.match(r"(https?:)?//", entry[2])]
    for style in site.rglob("*.css"):
        places = [first or second for first, second in IN_STYLE.findall(style.read_text(encoding="utf-8"))]
        assert not [place for place in places if not place.startswith("data:") and "//" in place], style


def test_no_script_asks_for_anything(pages):
    """What stands in the pages; the theme's own scripts lie beside them."""
    inline = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", flags=re.S)
    scripts = {code for text in pages.values() for code in inline.findall(text)}
    assert not [code for code in scripts if "http" in code or "fetch(" in code or "import(" in code]
    assert not [page for page, text in pages.items() if re.search("mathjax@|require.min.js|katex", text)]


def test_the_front_page_shows_the_explored_text(site, pages):
    """A page of its own, which may ask for nothing; where its tour leads is there."""
    assert '<iframe src="explore.html"' in pages["index.html"]
    page = (site / "explore.html").read_text(encoding="utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "connect-src" not in policy
    assert len(page.encode()) < 3_000_000 and '"prompt":"Once upon a time, there was a little girl named"' in page
    shown = set(re.findall(r"\b(?:nanogpt_np/[\w/]+|notebooks/\w+)\.py\b", page))
    assert len(shown) >= 8
    assert not [path for path in shown if not (site / f"source/{path}.html").is_file()]


def targets(pages):
    """(page, the file that a link leads to, its anchor) of every link that stays inside."""
    for page, text in pages.items():
        for link in re.findall(r"<a\b[^>]*?\shref=\"([^\"]*)\"", text):
            parts = urlsplit(html.unescape(link))
            if not parts.scheme and not parts.netloc:
                folder = posixpath.dirname(page)
                file = posixpath.normpath(posixpath.join(folder, unquote(parts.path))) if parts.path else page
                yield page, file, unquote(parts.fragment)


def test_every_link_arrives(site, pages):
    anchors = {page: set(re.findall(r"\sid=\"([^\"]+)\"", text)) for page, text in pages.items()}
    found = set(targets(pages))
    assert len(found) > 2000
    outside = {(page, file) for page, file, _ in found if file.startswith("..")}
    missing = {(page, file) for page, file, _ in found if not (site / file).is_file()}
    assert not outside and not missing
    dead = {(page, file, anchor) for page, file, anchor in found if anchor and file in anchors
            and html.escape(anchor) not in anchors[file]}  # fmt: skip
    assert not dead


def test_every_page_of_the_project_is_there_and_can_be_reached(pages):
    wanted = {page_of(path) for path in [*GUIDE, *NOTEBOOKS]}
    assert wanted <= pages.keys()
    sidebar = {file for page, file, _ in targets({"index.html": pages["index.html"]})}
    assert wanted - {"index.html"} <= sidebar
    assert {f"source/nanogpt_np/{path.relative_to(ROOT / 'nanogpt_np')}.html" for path in ROOT.glob("nanogpt_np/*.py")
            if path.name != "__main__.py"} <= pages.keys()  # fmt: skip


@pytest.mark.parametrize("face", faces(), ids=lambda face: face.__name__)
def test_every_public_name_is_documented(face, pages):
    """With a place of its own, under its full name, and with words of its own."""
    api = "".join(text for page, text in pages.items() if page.startswith("docs/api/"))
    for name in face.__all__:
        value = getattr(face, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            full = f"{value.__module__}.{value.__qualname__}"
            assert (inspect.getdoc(value) or "").strip(), f"{face.__name__}.{name} has no docstring"
        else:  # a constant; what is said of it is a comment in its source
            (full,) = set(re.findall(rf'id="(nanogpt_np\.[\w.]+\.{name})"', api))
        entry = re.search(rf'<dt [^>]*id="{re.escape(full)}".*?</dt>\s*<dd>(.*?)</d[dl]>', api, flags=re.S)
        assert entry, f"{full} has no place on the pages of the API"
        assert len(re.sub(r"<[^>]+>|\s", "", entry[1])) > 5, f"{full} says nothing"
        assert re.search(rf'href="[^"]*#{re.escape(full)}"', api), f"nothing leads to {full}"


def test_fields_are_shown_with_their_own_words(pages):
    api = "".join(text for page, text in pages.items() if page.startswith("docs/api/"))
    assert "Alias for field number" not in api
    model = pages["docs/api/model.html"]
    assert re.search(r"<li>.*?>probs</strong>.*?\[n_batch,.*?n_key\].*?before dropout", model)
    assert "Built-in immutable sequence" not in api and "dict() -&gt; new empty" not in api


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_rendered_as_it_is_stored(path, pages, site):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = pages[page_of(path)]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    pictures = sum("image/png" in output.get("data", {}) for output in outputs)
    assert len(re.findall(r"<img [^>]*src=\"\.\./_images/\w+\.png\"", text)) >= pictures
    said = "\n".join("".join(output.get("text", "")) for output in outputs)
    printed = [line for line in re.sub(r"\x1b\[[\d;]*m", "", said).splitlines() if line.strip()]
    plain = " ".join(html.unescape(re.sub(r"<[^>]+>", "", text)).split())
    assert not [line for line in printed if " ".join(line.split()) not in plain]
    title = "".join(cells[0]["source"]).splitlines()[0].removeprefix("# ")
    assert title in html.unescape(pages["index.html"]), "its title stands in the sidebar"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_solutions_are_folded(path, pages):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    fold = re.compile(r"<details>(.*?)</details>", flags=re.S)
    stored, shown = fold.findall(source), fold.findall(pages[page_of(path)])
    assert len(shown) == len(stored) > 0
    for before, after in zip(stored, shown, strict=True):
        assert "<summary>" in after and after.count('<div class="highlight-') == before.count("```") // 2


def test_formulas_are_mathml(pages):
    """None is left as LaTeX outside code and the text for a screen reader."""
    for page, text in pages.items():
        if not page.startswith("source/"):
            prose = re.sub(r"<pre.*?</pre>|<code.*?</code>|<title>.*?</title>|alttext=\"[^\"]*\"", "", text, flags=re.S)
            assert not re.search(r"\\(frac|sum|sqrt|text|mathrm|left|cdot)\b|\$\$", prose), page


def test_the_chinese_page_says_that_it_is_chinese(pages):
    assert re.search(r"<html[^>]* lang=\"zh", pages["README.zh.html"])
    assert re.search(r"<html[^>]* lang=\"en", pages["README.html"])
