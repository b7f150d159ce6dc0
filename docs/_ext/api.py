"""The pages of the API, written anew for every build from what the package holds: one for each room and wing.

Enter: package.py's names. Leave: docs/api/*.rst, which say no more than which names stand on which page; Sphinx's
autodoc reads the docstrings, docstrings.py sets them. Next: links.py.
"""

from pathlib import Path

import package
from docstrings import inline

FOLDER = package.ROOT / "docs" / "api"
# Of these wings only what their faces export: what lies behind is machinery, to be read in the source.
FACES_ALONE = ("kernels", "quantized", "bench", "cli")


def heading(text, mark):
    return [text, mark * len(text), ""]


def members(name):
    """The methods of a class that are documented, in the order of the source."""
    inside = [other for path, other in package.names().items() if path.startswith(f"{name.path}.")]
    return [method.path.split(".")[-1] for method in inside if method.doc and method.is_public]


def directive(name):
    """What makes autodoc write down one name."""
    if name.kind == "data":  # autodoc would say what a dict is
        module, _, last = name.full.rpartition(".")
        return [f".. py:data:: {last}", f"   :module: {module}", "", f"   {inline(name.doc)}", ""]
    made = [f".. auto{name.kind}:: {name.full}"]
    if name.kind == "class" and (inside := members(name)):
        made += [f"   :members: {', '.join(inside)}", "   :special-members: __call__" * ("__call__" in inside)]
        made += ["   :member-order: bysource"]
    return [*filter(None, made), ""]


def room_section(room, wanted):
    """A room: what it says of itself, and the names of it that are wanted."""
    module = f"nanogpt_np.{package.dotted(room)}"
    made = [f".. automodule:: {module}", "   :no-members:", ""]
    for name in package.names().values():
        if name.room == room and name.path in wanted and name.kind != "method":
            made += directive(name)
    return made


def wanted_of(folder, rooms):
    """The paths that a page documents: what the face exports, and what else is public and says what it is."""
    exported = set(package.face(folder).values()) if folder else set()
    if folder in FACES_ALONE:
        return exported
    named = [name for name in package.names().values() if name.room in rooms and name.is_public and name.doc]
    faces = {path for wing in ("", *package.wings()) for path in package.face(wing).values()}
    return exported | {name.path for name in named if name.kind != "data" or name.path in faces}


def table(folder):
    """What a face exports, a line each."""
    made = [".. list-table::", "   :class: face", "   :widths: auto", ""]
    for exported, path in package.face(folder).items():
        name = package.names()[path]
        made += [f"   * - :py:obj:`{exported} <{name.full}>`", f"     - {inline(package.first_sentence(name.doc))}"]
    return [*made, ""] if len(made) > 4 else []


def wing_page(folder, rooms):
    made = heading(folder, "=")
    made += [f".. automodule:: nanogpt_np.{folder}", "   :no-members:", ""]
    made += table(folder)
    for room in rooms:
        made += [*heading(Path(room).stem, "-"), *room_section(room, wanted_of(folder, rooms))]
    return made


def front_page():
    """The package's own face, and the pages in reading order."""
    made = [*heading("API", "="), ".. automodule:: nanogpt_np", "   :no-members:", "", *table("")]
    made += [".. toctree::", "   :hidden:", "", *(f"   {page}" for page in order()), ""]
    made += [".. list-table::", "   :class: face", "   :widths: auto", ""]
    for page in order():
        room = f"{page}.py" if (package.PACKAGE / f"{page}.py").exists() else f"{page}/__init__.py"
        made += [f"   * - :doc:`{page}`", f"     - {inline(package.first_sentence(package.docstring(room)))}"]
    return [*made, "", "Every name: :ref:`genindex`.", ""]


def order():
    """Rooms and wings as a reader meets them: a wing where its first room stands."""
    return list(dict.fromkeys(room.split("/")[0].removesuffix(".py") for room in package.reading_order()))


def pages():
    """The name of every page -> its text."""
    made = {"index": front_page()}
    for page in order():
        rooms = package.wings().get(page)
        room = f"{page}.py"
        made[page] = wing_page(page, rooms) if rooms else heading(page, "=") + room_section(room, wanted_of("", [room]))
    return {name: "\n".join([":tocdepth: 3", "", *lines]) for name, lines in made.items()}


def write(app):
    """Write what is not there yet, or has changed; take away what is no longer meant."""
    FOLDER.mkdir(exist_ok=True)
    made = pages()
    for path in FOLDER.glob("*.rst"):
        if path.stem not in made:
            path.unlink()
    for name, text in made.items():
        path = FOLDER / f"{name}.rst"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app):
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
