"""What the package holds, read from its sources alone: rooms in reading order, names with lines, shapes and fields.

Enter: nothing; the sources lie where they lie. Leave: `names()`, `reading_order()`, `find("ops.softmax")`.
Next: docstrings.py.
"""

import ast
import functools
import io
import re
import tokenize
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "nanogpt_np"


class Field(NamedTuple):
    """One line of a NamedTuple or dataclass: `x: Any = None  # [n_batch, n_seq]`."""

    name: str
    says: str


class Name(NamedTuple):
    """A function, class, method or constant; `path` is "training.data.Windows.batch"."""

    path: str
    room: str  # "training/data.py"
    kind: str  # function, class, exception, method, data
    line: int
    doc: str
    shapes: str = ""  # the comment behind a signature
    fields: tuple = ()
    is_overloaded: bool = False

    @property
    def full(self):
        return f"nanogpt_np.{self.path}"

    @property
    def is_public(self):
        return not any(part.startswith("_") and part != "__call__" for part in self.path.split("."))


@functools.cache
def tree(room):
    return ast.parse((PACKAGE / room).read_text(encoding="utf-8"))


def docstring(room):
    return ast.get_docstring(tree(room)) or ""


@functools.cache
def comments(room):
    """The comments of a room by line, without those that only tools read."""
    text = (PACKAGE / room).read_text(encoding="utf-8")
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and not re.match(r"# *(fmt|noqa|type):? ", token.string + " "):
            found[token.start[0]] = token.string.lstrip("# ")
    return found


def dotted(room):
    """dotted("training/data.py") -> "training.data"; of a face "training/__init__.py" -> "training"."""
    return room.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@functools.cache
def reading_order():
    """Every room once, in the order in which each one's last words name the next."""
    order, room = [], "errors.py"
    while room:
        order.append(room)
        named = re.search(r"\bNext:\s([\w/]+\.py)\.$", docstring(room))
        room = named and named[1]
    return order


def wings():
    """Folders in the order in which the reading enters them: "generation" -> its rooms."""
    found = {}
    for room in reading_order():
        if "/" in room:
            found.setdefault(room.split("/")[0], []).append(room)
    return found


def names_in(room):
    """Every name that a room defines at its top, and the methods of its classes."""
    for node in tree(room).body:
        if isinstance(node, ast.FunctionDef):
            yield _function(room, dotted(room), node, "function")
        elif isinstance(node, ast.ClassDef):
            yield from _class(room, node)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            yield from _data(room, node)


def _function(room, above, node, kind):
    lines = range(node.lineno, node.body[0].lineno)
    shapes = " ".join(comments(room)[line] for line in lines if line in comments(room))
    return Name(f"{above}.{node.name}", room, kind, node.lineno, ast.get_docstring(node) or "", shapes)


def _class(room, node):
    path = f"{dotted(room)}.{node.name}"
    is_error = any(ast.unparse(base).endswith(("Error", "Exception")) for base in node.bases)
    lines = [inner for inner in node.body if isinstance(inner, ast.AnnAssign)]
    fields = tuple(Field(ast.unparse(line.target), comments(room).get(line.end_lineno, "")) for line in lines)
    kind = "exception" if is_error else "class"
    yield Name(path, room, kind, node.lineno, ast.get_docstring(node) or "", fields=fields)
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef):
            yield _function(room, path, inner, "method")


def _data(room, node):
    """Constants; what is said of one stands behind it, or in the lines of comment above."""
    said = comments(room).get(node.end_lineno) or _lines_above(room, node.lineno)
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in targets:
        if isinstance(target, ast.Name) and target.id != "__all__":
            yield Name(f"{dotted(room)}.{target.id}", room, "data", node.lineno, said)


def _lines_above(room, line):
    said = []
    while line - 1 in comments(room):
        line -= 1
        said.insert(0, comments(room)[line])
    return " ".join(said)


@functools.cache
def names():
    """All names of all rooms, by path; of overloads the last, which is the function itself."""
    found = {}
    for room in reading_order():
        for name in names_in(room):
            found[name.path] = name._replace(is_overloaded=name.path in found)
    return found


@functools.cache
def face(folder):
    """What a face exports: its `__all__` -> the path at which each is defined; "" is the package itself."""
    room = f"{folder}/__init__.py".lstrip("/")
    for node in tree(room).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return {name: home(room, name) for name in ast.literal_eval(node.value)}
    return {}


def home(room, name):
    """The path at which a name that a room knows is defined: home("lens/__init__.py", "look") -> "lens.seen.look"."""
    for node in ast.walk(tree(room)):
        if isinstance(node, ast.ImportFrom) and any((alias.asname or alias.name) == name for alias in node.names):
            folder = room.split("/")[:-1]
            parts = [*folder[: len(folder) - node.level + 1], *(node.module or "").split(".")]
            path = "/".join(filter(None, parts))
            return home(f"{path}.py" if (PACKAGE / f"{path}.py").exists() else f"{path}/__init__.py", name)
    return f"{dotted(room)}.{name}"


@functools.cache
def endings():
    """Every way in which prose may call a name: "data.Windows.batch" -> the paths that end so."""
    found = {}
    for path in names():
        parts = path.split(".")
        for start in range(len(parts) - 1):
            found.setdefault(".".join(parts[start:]), []).append(path)
    return found


def find(said):
    """The Name that prose means by "ops.softmax", "lens.cost_view", "GPT"; None where it means none, or several."""
    said = said.removeprefix("nanogpt_np.")
    folder, _, last = said.rpartition(".")
    if said in names():
        return names()[said]
    if folder in ("", *wings()) and last in face(folder):
        return names().get(face(folder)[last])
    found = endings().get(said, [])
    return names()[found[0]] if len(found) == 1 else None if found else inherited(folder, last)


def inherited(said, method):
    """A method that a class has from another: inherited("GPT", "generate") is Writer's; None where none is."""
    owner = find(said) if said else None
    if owner is None or owner.kind != "class":
        return None
    (node,) = [node for node in tree(owner.room).body if getattr(node, "name", "") == owner.path.split(".")[-1]]
    return next(filter(None, (find(f"{ast.unparse(base)}.{method}") for base in node.bases)), None)


def first_sentence(doc):
    """first_sentence("As in Ba et al. 2016. Then more.") -> "As in Ba et al. 2016."."""
    return re.split(r"(?<=[.])\s(?=[A-Z])|\n\n", " ".join(doc.split("\n\n")[0].split()), maxsplit=1)[0]


@functools.cache
def classes():
    """The names of all classes and errors: prose calls them without a dot."""
    return {name.path.split(".")[-1] for name in names().values() if name.kind in ("class", "exception")}
