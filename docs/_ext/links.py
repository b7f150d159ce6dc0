"""The pages' own links, written for a code host, lead to pages of the site; what names a piece of code leads to it.

Enter: [ops.py](../nanogpt_np/ops.py), `model.embed` in any page. Leave: a link to a page of the API or of the source.
Next: sources.py.
"""

import posixpath
import re
from functools import cache
from pathlib import Path

import package
from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform

TEXTS = {".py", ".json", ".txt", ".toml", ".yml", ".csv", ".md", ".lock", ".slurm", ""}  # of these there are pages
MOST_BYTES = 150_000  # what a browser shows at once


def page_of(path):
    """page_of(".vscode/launch.json") -> "source/vscode/launch.json"; web servers hide what begins with a dot."""
    return f"source/{path.removeprefix('.')}"


def is_shown(path):
    """Whether a file or folder of the project gets a page with its text."""
    whole = package.ROOT / path
    if re.match(r"\.(git|venv\S*|\w+_cache)(/|$)|(runs|dist|build)(/|$)|docs/(_build|api)(/|$)", path):
        return False  # made, not written
    return whole.is_dir() or whole.is_file() and whole.suffix in TEXTS and whole.stat().st_size < MOST_BYTES


class FileLinks(SphinxTransform):
    """A link to a file that is no page, or to a folder, becomes one to the page that shows it."""

    default_priority = 500

    def apply(self, **kwargs):
        here = posixpath.dirname(Path(self.env.doc2path(self.env.docname)).relative_to(package.ROOT).as_posix())
        for node in list(self.document.findall(addnodes.download_reference)) + self.unknown():
            path = posixpath.normpath(posixpath.join(here, node["reftarget"].partition("#")[0]))
            if node.get("reftype") == "myst" and is_shown(path):
                text = nodes.inline("", "", *node.children[0].children, classes=["source"])
                node.replace_self(addnodes.pending_xref("", text, reftype="source", reftarget=path, refdomain=None))

    def unknown(self):
        """What is neither a page nor a file: folders, and what will be reported as missing."""
        return [node for node in self.document.findall(addnodes.pending_xref) if node.get("refdomain") is None]


def resolve(app, env, node, content):
    """To the page of a source."""
    if node["reftype"] != "source":
        return None
    return link(app, node.get("refdoc", env.docname), node["reftarget"], None, content)


def link(app, docname, path, line, content):
    """A reference to the page of a file, at a line; the page will be made, as somebody asks for it."""
    app.env.shown_files.add(path)
    uri = app.builder.get_relative_uri(docname, page_of(path)) + (f"#line-{line}" if line else "")
    return nodes.reference("", "", content, internal=True, refuri=uri)


class CodeLinks(SphinxPostTransform):
    """`model.embed`, `ops.py`, `GPT` and `test_positions_are_learned` lead to what they name."""

    default_priority = 700

    def run(self, **kwargs):
        for node in list(self.document.findall(nodes.literal)):
            if not self.is_inside(node, nodes.reference, nodes.title, addnodes.desc_signature, addnodes.pending_xref):
                found = self.target(node.astext())
                if found is not None and not self.is_about(node, found):
                    node.replace_self(found)
                    found += node

    def is_about(self, node, reference):
        """Whether a name leads to the very entry that it stands in."""
        while node.parent is not None:
            node = node.parent
            if isinstance(node, addnodes.desc) and "#" + "".join(node[0]["ids"]) == reference["refuri"]:
                return True
        return False

    def is_inside(self, node, *kinds):
        while node.parent is not None:
            node = node.parent
            if isinstance(node, kinds):
                return True
        return False

    def target(self, said):
        """A reference without text, or None."""
        said = re.sub(r"[(\[].*[)\]]$", "", said)
        full = said if said.startswith("nanogpt_np.") else f"nanogpt_np.{said}"
        page = self.page(said) or (self.documented(full) if "." in said else None)
        if page is not None:
            return page
        name = self.meant(said) if re.fullmatch(r"[A-Za-z_][\w.]*", said) else None
        place = file_of(said) or test_of(said)
        if name is not None:
            return self.documented(name.full) or self.link(f"nanogpt_np/{name.room}", name.line)
        return self.link(*place) if place else None

    def page(self, said):
        """`docs/numerics.md` is a page itself."""
        docname = said.removesuffix(".md").removesuffix(".ipynb")
        if docname == said or docname not in self.env.found_docs or docname == self.env.docname:
            return None
        uri = self.app.builder.get_relative_uri(self.env.docname, docname)
        return nodes.reference("", "", internal=True, refuri=uri)

    def meant(self, said):
        """A page of the API calls the names of its own room or wing by their last word."""
        page = self.env.docname.removeprefix("docs/api/")
        own = [path for path in package.names() if path.startswith(f"{page}.") and path.endswith(f".{said}")]
        return package.find(own[0] if len(own) == 1 else said)

    def documented(self, full):
        found = self.env.get_domain("py").objects.get(full)
        if found is None:
            return None
        here = self.env.docname
        uri = "" if found.docname == here else self.app.builder.get_relative_uri(here, found.docname)
        return nodes.reference("", "", internal=True, refuri=f"{uri}#{found.node_id}")

    def link(self, path, line):
        made = link(self.app, self.env.docname, path, line, nodes.inline())
        made.clear()
        return made


@cache
def file_of(said):
    """file_of("model.py") -> ("nanogpt_np/model.py", None); of the package first, then of the project."""
    if not re.fullmatch(r"\.?\w[\w.-]*(/[\w.-]+)*/?", said) or "." not in said and "/" not in said:
        return None
    for path in (f"nanogpt_np/{said}", said):
        path = path.rstrip("/")
        if ".." not in path and is_shown(path) and (package.ROOT / path).exists() and not path.endswith(".md"):
            return path, None
    return None


@cache
def tests():
    """The name of every test -> where it stands."""
    found = {}
    for path in sorted((package.ROOT / "tests").rglob("test_*.py")):
        for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if named := re.match(r"def (test_\w+)\(", text):
                found.setdefault(named[1], []).append((path.relative_to(package.ROOT).as_posix(), line))
    return found


def test_of(said):
    """test_of("test_sizes") -> ("tests/test_misconceptions.py", 218); None for a name that several have, or none."""
    found = tests().get(said, [])
    return found[0] if len(found) == 1 else None


def begin(app, env, docnames):
    env.shown_files = set()


def setup(app):
    app.add_transform(FileLinks)
    app.add_post_transform(CodeLinks)
    app.connect("env-before-read-docs", begin)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": False, "parallel_write_safe": False}
