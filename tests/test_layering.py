"""The house stands as docs/architecture.md says: imports point up its list, and what must not be there is not."""

import ast
import functools
import importlib
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import nanogpt_np

PACKAGE = Path(nanogpt_np.__file__).parent
ARCHITECTURE = Path(__file__).parent.parent / "docs" / "architecture.md"
LIGHT_ROOT = {"__version__"}  # what a room may take from nanogpt_np/__init__.py itself
DOORS = {"gpt.py": {"explore/inline.py"}}  # GPT.explore: a page looks at a GPT, and a GPT at call time for its page
TWINS = {"kernels": "ops.py", "quantized": "kernels/__init__.py"}  # a twin's face repeats what it does not replace
MOST_FILES, MOST_FOLDERS, MOST_LINES = 9, 13, 350  # what one glance, and one sitting, can hold


def listed_rooms():
    """The rooms as the code block lists them, "training/data.py" for one that stands indented under "training/"."""
    block = ARCHITECTURE.read_text(encoding="utf-8").split("```")[1]
    rooms, folders = [], []  # folders: (indentation, name) of those that are open
    for line in filter(str.strip, block.splitlines()):
        indentation, name = len(line) - len(line.lstrip()), line.split()[0]
        folders = [folder for folder in folders if folder[0] < indentation]
        path = "".join(folder for _, folder in folders) + name
        if name.endswith("/"):
            folders.append((indentation, name))
        else:
            rooms.append(path.removeprefix("nanogpt_np/"))
    return rooms


def sources():
    """Every module of the package: "training/data.py" -> its syntax tree."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


TREES = sources()
ROOMS = [name for name in TREES if not name.endswith("__init__.py")]
FACES = [name for name in TREES if name.endswith("/__init__.py")]


def wing(face):
    """The rooms behind a face: "storage/__init__.py" -> those of storage/."""
    return {room for room in ROOMS if room.startswith(face.removesuffix("__init__.py"))}


def resolve(parts):
    """("training", "data", "Windows") -> "training/data.py"; None for what is not of this package."""
    for end in range(len(parts), 0, -1):
        for name in ("/".join(parts[:end]) + ".py", "/".join(parts[:end]) + "/__init__.py"):
            if name in TREES:
                return name
    return None


def imported_names(name, tree):
    """(module path inside the package or None, dotted name, whether at import time) of every import, lazy or not."""
    folder = name.split("/")[:-1]
    lazy = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [] if node.module is None else node.module.split(".")
            if node.level:
                base = ["nanogpt_np", *folder[: len(folder) - node.level + 1], *base]
            found = [[*base, alias.name] for alias in node.names]
        else:
            continue
        for parts in found:
            yield parts, id(node) not in lazy


def rooms_imported_by(name, at_import_time_only=False):
    """The rooms that one room imports; what it takes from the package itself must be light."""
    found = set()
    for parts, at_import_time in imported_names(name, TREES[name]):
        if parts[0] != "nanogpt_np" or (at_import_time_only and not at_import_time):
            continue
        room = resolve(parts[1:])
        if room is None:
            assert parts[1:] and parts[-1] in LIGHT_ROOT, f"{name} imports {'.'.join(parts)}: name the room instead"
        else:
            found.add(room)
    return found


def needs(room):
    """The rooms that must stand above one room, but for DOORS; who imports a face needs the whole wing behind it."""
    named = rooms_imported_by(room) - DOORS.get(room, set())
    return {need for name in named for need in (wing(name) if name in FACES else {name})}


@functools.cache
def in_true_order():
    """The rooms in an order that would be right, as near to the listed one as can be: for the message."""
    listed = listed_rooms()
    rank = {room: i for i, room in enumerate(listed)}
    imported = {room: needs(room) for room in ROOMS}
    order, left = [], sorted(ROOMS, key=lambda room: rank.get(room, len(listed)))
    while left:
        ready = [room for room in left if not imported[room] & set(left)]
        assert ready, f"a ring of imports among {left}"
        order.append(ready[0])
        left.remove(ready[0])
    return "a right order would be: " + ", ".join(order)


def test_every_room_is_listed_once_and_every_entry_exists():
    listed = listed_rooms()
    assert len(listed) == len(set(listed))
    missing, gone = set(ROOMS) - set(listed), set(listed) - set(ROOMS)
    assert not missing and not gone, f"not in the list: {missing}; in the list only: {gone}; {in_true_order()}"


def test_imports_point_up_the_list():
    """A face ranks as the last room of its wing."""
    rank = {room: i for i, room in enumerate(listed_rooms())}
    wrong = [f"{room} imports {need}" for room in ROOMS for need in needs(room) if rank[need] >= rank[room]]
    assert not wrong, f"{wrong}; {in_true_order()}"


def test_the_doors_that_lead_down_are_there_and_open_when_called():
    for room, down in DOORS.items():
        assert down <= rooms_imported_by(room) and not down & rooms_imported_by(room, at_import_time_only=True)


def test_there_is_no_ring_of_imports():
    assert len(in_true_order().split(", ")) == len(ROOMS)


def test_this_file_finds_imports():
    """Else everything above would pass on an empty set."""
    assert rooms_imported_by("model.py") == {"errors.py", "params.py"}
    expected = {"generation/request.py", "generation/decoding.py", "kv_cache.py"}
    assert expected <= rooms_imported_by("generation/tokens.py")
    assert {"model.py", "params.py", "training/data.py"} <= (
        rooms_imported_by("training/evaluation.py") | rooms_imported_by("training/optim.py")
    )
    room = "cli/generating.py"
    assert "gpt.py" in rooms_imported_by(room) and "gpt.py" not in rooms_imported_by(room, True)
    assert len(listed_rooms()) >= 16
    assert "kernels/__init__.py" in rooms_imported_by("gpt.py") and wing("kernels/__init__.py") < needs("gpt.py")


def test_one_glance_holds_the_front_door():
    files = [room for room in ROOMS if "/" not in room and room != "__main__.py"]
    folders = {name.split("/")[0] for name in TREES if "/" in name}
    assert len(files) <= MOST_FILES, f"expected at most {MOST_FILES} files, got {files}; move some into a wing"
    assert len(folders) <= MOST_FOLDERS, f"expected at most {MOST_FOLDERS} folders, got {sorted(folders)}"
    assert all(f"{folder}/__init__.py" in TREES for folder in folders), "a wing has a face"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_holds_one_idea(room):
    n_lines = len((PACKAGE / room).read_text(encoding="utf-8").splitlines())
    assert n_lines <= MOST_LINES, f"{room}: expected at most {MOST_LINES} lines, got {n_lines}; split it by ideas"


@pytest.mark.parametrize("room", [room for room in ROOMS if "/" in room])
def test_inside_a_wing_names_are_not_repeated(room):
    folder, name = room.removesuffix(".py").split("/")[-2:]
    repeated = {folder, folder.removesuffix("s")} & set(name.split("_"))
    assert not repeated, f"{room}: say {repeated} once"


@pytest.mark.parametrize("face", FACES)
def test_a_face_only_shows_its_wing(face):
    """A docstring, imports and __all__; nothing comes from elsewhere but what a twin does not replace."""
    body = TREES[face].body
    assert isinstance(body[0], ast.Expr) and ast.get_docstring(TREES[face])
    for node in body[1:]:
        is_all = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        assert is_all or isinstance(node, ast.ImportFrom), f"{face}:{node.lineno}: {ast.unparse(node)[:60]}"
    elsewhere = rooms_imported_by(face) - wing(face) - {TWINS.get(face.split("/")[0])}
    assert not elsewhere, f"{face} imports {elsewhere}"


@pytest.mark.parametrize("name", sorted(TREES))
def test_no_name_means_two_things(name):
    """No room defines what is called like itself; nothing that a face shows is called like a room of it."""
    public = {node.name for node in TREES[name].body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    shown = {alias.asname or alias.name for node in ast.walk(TREES[name]) if isinstance(node, ast.ImportFrom)
             for alias in node.names}  # fmt: skip
    assert Path(name).stem not in public, f"{name} defines {Path(name).stem}: nobody could import the one or the other"
    if name.endswith("__init__.py"):
        folder = name.removesuffix("__init__.py")
        rooms = {room.removeprefix(folder) for room in TREES if room.startswith(folder)}
        rooms = {room.split("/")[0].removesuffix(".py") for room in rooms}
        assert len(rooms) > 1 and not rooms & (public | shown), f"{name}: {rooms & (public | shown)} is a room too"


@pytest.mark.parametrize("face", ["nanogpt_np", *(face.split("/")[0] for face in FACES)])
def test_what_a_face_offers_is_no_room(face):
    module = importlib.import_module(face if face == "nanogpt_np" else f"nanogpt_np.{face}")
    for name in module.__all__ if hasattr(module, "__all__") else ():
        assert not isinstance(getattr(module, name), types.ModuleType), f"{face}.{name}"


def reachable(start):
    """Every module that is loaded when `start` is imported."""
    found, todo = set(), [start]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        parts = name.split("/")[:-1]
        todo += ["/".join(parts[:i]) + "/__init__.py" for i in range(1, len(parts) + 1)]
        todo += rooms_imported_by(name, at_import_time_only=True)
    return found


@pytest.mark.parametrize("start", ["__init__.py", "ops.py", "cli/entry.py"])
def test_nothing_heavy_at_import_time(start):
    heavy = {"numba", "matplotlib", "torch", "transformers", "tiktoken", "IPython"}
    for name in reachable(start):
        for parts, at_import_time in imported_names(name, TREES[name]):
            assert not (at_import_time and parts[0] in heavy), f"{name} imports {parts[0]} as soon as it is loaded"


def test_the_definition_never_imports_numba():
    assert {parts[0] for parts, _ in imported_names("ops.py", TREES["ops.py"])} <= {"math", "numpy"}


@pytest.mark.parametrize("name", sorted(TREES))
def test_nothing_that_runs_what_a_file_says(name):
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "compile", "__import__"), f"{name}:{node.lineno}"
            allowed = [keyword for keyword in node.keywords if keyword.arg == "allow_pickle"]
            assert all(ast.unparse(keyword.value) == "False" for keyword in allowed), f"{name}:{node.lineno}"
    for parts, _ in imported_names(name, TREES[name]):
        assert parts[0] not in ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"), name


@pytest.mark.parametrize("name", sorted(TREES))
def test_nothing_is_left_to_do_or_unexplained(name):
    source = (PACKAGE / name).read_text(encoding="utf-8")
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", source)
    if source:  # an __init__.py may be empty
        assert ast.get_docstring(TREES[name]), f"{name}: a module opens with what enters and what leaves"


@pytest.mark.parametrize("name", sorted(TREES))
def test_no_global_randomness(name):
    """Randomness is a Generator that is handed in."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith(("np.random.", "numpy.random.")):
            assert node.attr in ("default_rng", "Generator"), f"{name}:{node.lineno}: np.random.{node.attr}"
    assert not any(parts[0] == "random" for parts, _ in imported_names(name, TREES[name]))


@pytest.mark.parametrize("room", ["cli", "training.loop"])
def test_a_room_can_be_opened_first(room):
    """No order of imports is needed to make the package work."""
    code = f"import sys, nanogpt_np.{room}; print('matplotlib' in sys.modules, 'numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False False\n", done.stderr
