"""One order of reading: a room's last words name the next one, and docs, faces and README keep to that order."""

import ast
import re
from pathlib import Path

import pytest

import nanogpt_np

PACKAGE = Path(nanogpt_np.__file__).parent
ROOT = Path(__file__).parent.parent
FIRST, LAST_WORDS = "errors.py", "That is all of it."
ROOMS = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
ROOMS = {room for room in ROOMS if Path(room).name not in ("__init__.py", "__main__.py")}
FACES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.glob("*/__init__.py"))


def docstring(name):
    return ast.get_docstring(ast.parse((PACKAGE / name).read_text(encoding="utf-8"))) or ""


def next_room(room):
    """The room that another one's last words name; None after the end."""
    words = docstring(room)
    if words.endswith(LAST_WORDS):
        return None
    named = re.search(r"\bNext:\s([\w/]+\.py)\.$", words)
    assert named, f"{room}: expected its docstring to end with 'Next: path.py.', got {words[-40:]!r}"
    return named[1]


def reading_order():
    order, room = [], FIRST
    while room is not None:
        assert room in ROOMS, f"{order[-1]}: its last words name {room}, which is not there"
        assert room not in order, f"{order[-1]}: its last words lead back to {room}"
        order.append(room)
        room = next_room(room)
    return order


def in_order(rooms):
    return sorted(rooms, key=reading_order().index)


def section(text, heading):
    """What stands under a heading "## …" of Markdown, up to the next one."""
    _, found, rest = text.partition(f"\n## {heading}\n")
    assert found, f"expected a section '## {heading}'"
    return re.split(r"^## ", rest, flags=re.MULTILINE)[0]


def test_the_last_words_lead_through_every_room_once():
    missing = ROOMS - set(reading_order())
    assert not missing, f"no room's last words name {sorted(missing)}"


def test_the_architecture_lists_the_same_order():
    listed = re.findall(r"`([\w/]+\.py)`", section((ROOT / "docs/architecture.md").read_text("utf-8"), "To read"))
    assert listed == reading_order(), f"'## To read' should list: {', '.join(reading_order())}"


@pytest.mark.parametrize("face", FACES)
def test_a_face_names_its_rooms_in_that_order(face):
    folder = face.removesuffix("__init__.py")
    rooms = [room for room in reading_order() if room.startswith(folder)]
    _, found, said = docstring(face).partition("To read: ")
    assert found, f"{face}: expected 'To read: ' and the names of its rooms"
    words = re.findall(r"\w+", re.sub(r"\([^)]*\)", "", said))
    named = [word for word in words if f"{folder}{word}.py" in rooms]
    assert named == [room.removeprefix(folder).removesuffix(".py") for room in rooms]


def test_the_readme_keeps_to_it():
    """Of the rooms and wings that its tables link; it need not link every room, but every wing."""
    tables = section((ROOT / "README.md").read_text("utf-8"), "Where to read")
    linked = re.findall(r"\(nanogpt_np/([\w/]+(?:\.py)?)\)", tables)
    assert len([name for name in linked if name in ROOMS]) >= 10
    assert set(linked) <= ROOMS | {face.removesuffix("/__init__.py") for face in FACES}
    assert {face.removesuffix("/__init__.py") for face in FACES} <= set(linked)
    order = reading_order()
    places = [min(i for i, room in enumerate(order) if room == name or room.startswith(f"{name}/")) for name in linked]
    assert places == sorted(places)
