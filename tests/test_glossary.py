"""docs/glossary.md: every place that it names is there."""

import importlib
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "glossary.md").read_text(encoding="utf-8")
ROWS = [re.split(r"(?<!\\)\|", line)[1:-1] for line in PAGE.splitlines() if line.startswith("| ")][1:]


def place(name):
    """What stands under "ops.softmax" in the package: a module, or something in one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(["nanogpt_np", *parts[:end]]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise AssertionError(f"{name}: no such place")


def test_the_table_is_read():
    assert len(ROWS) >= 50 and all(len(row) == 4 for row in ROWS)
    terms = [row[0].strip() for row in ROWS]
    assert len(set(terms)) == len(terms)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip())
def test_every_term_has_its_place_and_both_languages(row):
    english, chinese, meaning, where = (cell.strip() for cell in row)
    assert re.search(r"[\u4e00-\u9fff]|^top-k", chinese) and english.isascii() and len(meaning) > 10
    (name,) = re.fullmatch(r"`([\w.]+)`", where).groups()
    if name.startswith(("kernels", "quantized")):
        pytest.importorskip("numba")
    assert place(name) is not None
