"""pyproject.toml says what is true: the lowest releases are those that are tested, and a wheel has all it needs."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOT_RUN = {"ruff"}  # the tests do not import it


def pinned():
    """tests/lowest.txt: name -> version."""
    lines = (ROOT / "tests" / "lowest.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def lower_bounds():
    """pyproject.toml: name -> version, of what the package needs and of what its tests need."""
    project = pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needs = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    bounds = (re.match(r"([\w-]+)>=([\d.]+)", need).groups() for need in needs)
    return {name: version for name, version in bounds if name not in NOT_RUN}


def parts(version):
    """[1, 24] of "1.24.0", as 1.24 and 1.24.0 are one release."""
    numbers = [int(number) for number in version.split(".")]
    return numbers[: 1 + max((i for i, number in enumerate(numbers) if number), default=0)]


def test_the_lowest_releases_are_the_ones_that_are_tested():
    bounds, tested = lower_bounds(), pinned()
    assert set(bounds) == set(tested) and len(bounds) >= 10
    for name, version in bounds.items():
        assert parts(version) == parts(tested[name]), f"{name}: pyproject.toml says {version}, tested is {tested[name]}"


def test_a_browser_needs_no_numba():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r"\"numba>=[\d.]+; sys_platform != 'emscripten'\"", text)


def test_the_tools_that_read_types_are_told():
    assert (ROOT / "nanogpt_np" / "py.typed").is_file()


@pytest.mark.slow
def test_a_wheel_has_all_it_needs(tmp_path):
    """Every file of the package and of weights/ that git knows; nothing from beside them."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("nanogpt_np-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {path.relative_to(ROOT).as_posix() for path in (ROOT / "nanogpt_np").rglob("*.py")}
    gpt2 = {f"nanogpt_np/tokenizer/gpt2/{name}" for name in ("merges.txt", "LICENSE")}
    published = {f"nanogpt_np/storage/published/{name}" for name in ("values.json", "gpt2_tensors.tsv")}
    page = {path.relative_to(ROOT).as_posix() for path in (ROOT / "nanogpt_np/explore/static").iterdir()}
    assert "nanogpt_np/explore/static/index.html" in page and len(page) >= 10
    assert wanted | gpt2 | published | page | {"nanogpt_np/py.typed", "nanogpt_np/weights/models.json"} <= names
    assert {f"nanogpt_np/weights/{name}/model.safetensors" for name in ("stories", "poems")} <= names
    assert all(name.startswith(("nanogpt_np/", "nanogpt_np-")) for name in names)
    assert not [name for name in names if "__pycache__" in name]
