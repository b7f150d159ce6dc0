"""The notebooks: stored and script are one; each check takes its solution and refuses wrong answers; a clean kernel
runs each in time and says what is stored (slow).

Words and whole numbers are compared exactly; a number with a point may differ by 0.011 and 2 %, as other CPUs add in
another order and a training carries that on; in a line that says "measured" (a time, a rate) only the words count.
"""

import contextlib
import importlib
import io
import json
import re
import sys
from pathlib import Path

import pytest
from small import module_at, mostly_slow

HERE = Path(__file__).parent
FOLDER = HERE.parent.parent / "notebooks"
SCRIPTS = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
WITH_NUMBA = [script for script in SCRIPTS if "03" <= script.stem[:2] <= "06"]
MOST_BYTES = 600_000
NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?")  # 1,264.5 is one


@pytest.fixture(autouse=True)
def in_the_folder(monkeypatch):
    monkeypatch.chdir(FOLDER)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "checks"]:
        del sys.modules[name]


def cells(script):
    """(kind, source) of each cell of a percent script."""
    found = []
    for part in re.split(r"^# %%", script.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        if "[markdown]" in head:
            found.append(("markdown", re.sub(r"^# ?", "", body.strip("\n"), flags=re.MULTILINE)))
        else:
            found.append(("code", body.strip("\n")))
    return found


def stored(script):
    return json.loads(script.with_suffix(".ipynb").read_text(encoding="utf-8"))


def said(cell):
    """What a stored cell printed, but for the notice that kernels are compiled, which a cold cache alone gives."""
    streams = (out["text"] for out in cell.get("outputs", []) if out["output_type"] == "stream")
    lines = "".join("".join(text) for text in streams).splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("compiling kernels for this CPU"))


def wrong_answers(script):
    """The file of wrong answers of a notebook."""
    return module_at(HERE / "wrong" / f"ch{script.stem[:2]}.py")


def solutions(script):
    """The functions of the folded solutions: name -> source."""
    text = "\n".join(source for kind, source in cells(script) if kind == "markdown")
    found = re.findall(r"<summary>a solution</summary>\s*```python\n(.*?)```", text, flags=re.DOTALL)
    return {re.search(r"^def (\w+)", source, flags=re.MULTILINE)[1]: source for source in found}


def run(source, names):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(source, "cell", "exec"), names)
    return out.getvalue()


def says_the_same(got, expected):
    """Line by line, to what the head of this file allows."""
    got, expected = got.splitlines(), expected.splitlines()
    return len(got) == len(expected) and all(map(line_says_the_same, got, expected))


def line_says_the_same(got, expected):
    if expected.startswith("measured for this CPU"):  # the name of an instruction
        return got.startswith("measured for this CPU")
    if " ".join(NUMBER.sub("#", got).split()) != " ".join(NUMBER.sub("#", expected).split()):
        return False
    if "measured" in expected:
        return True
    pairs = zip(NUMBER.findall(got), NUMBER.findall(expected), strict=True)
    return all(a == b or ("." in b and near(a, b)) for a, b in pairs)


def near(got, expected):
    got, expected = (float(number.replace(",", "")) for number in (got, expected))
    return abs(got - expected) <= 0.011 + 0.02 * abs(expected)


def test_what_counts_as_the_same():
    assert says_the_same("loss 2.341 after 30", "loss  2.345 after 30\n")
    assert says_the_same("measured: 3 ms, 7.5 x", "measured: 12 ms, 1.5 x")
    assert says_the_same("measured: 998 tokens/s", "measured: 1,264 tokens/s")
    assert says_the_same("measured for this CPU: vpdpbusd", "measured for this CPU: plain loops")
    assert not says_the_same("1,265 tokens", "1,264 tokens") and not says_the_same("264 tokens", "1,264 tokens")
    assert not says_the_same("loss 2.341 after 31", "loss 2.345 after 30")
    assert not says_the_same("loss 2.41 after 30", "loss 2.345 after 30")
    assert not says_the_same("a gain of 2.345", "a loss of 2.345")
    assert not says_the_same("a\nb", "a")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_stored_and_script_are_one(script):
    notebook = stored(script)
    kept = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    assert kept == cells(script), "run python notebooks/build.py"
    assert script.with_suffix(".ipynb").stat().st_size < MOST_BYTES
    lines = [said(cell).count("\n") for cell in notebook["cells"]]
    assert max(lines) <= 30, "nothing scrolls past 30 lines"
    assert not [out for cell in notebook["cells"] for out in cell.get("outputs", []) if out["output_type"] == "error"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_each_is_built_alike(script):
    notebook = stored(script)
    text = "\n".join(source for kind, source in cells(script) if kind == "markdown")
    assert text.startswith(f"# {script.stem[:2]} · ")
    for wanted in ("**You will be able to**", "**You need**", "## What people get wrong", "## Exercises",
                   "**Easy.**", "**Medium.**", "**Hard", "## Where it stands in the code"):  # fmt: skip
        assert wanted in text, wanted
    assert any("image/png" in out.get("data", {}) for cell in notebook["cells"] for out in cell.get("outputs", []))
    assert "!" not in re.sub(r"`[^`]*`|```.*?```", "", text, flags=re.DOTALL).replace("![", ""), "no exclamation marks"


def test_the_path_lists_each_with_its_picture():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    row = r"^\| !\[\]\(thumbnails/(\w+)\.png\) \| \[(\d\d) · [^\]]+\]\((\w+)\.ipynb\) \|"
    rows = re.findall(row, text, flags=re.MULTILINE)
    assert rows == [(script.stem, script.stem[:2], script.stem) for script in SCRIPTS]
    assert {path.stem for path in (FOLDER / "thumbnails").glob("*.png")} == {script.stem for script in SCRIPTS}


QUICK = [script for script in SCRIPTS if script.stem not in ("05_block", "12_inside")]  # whose checks are, too


@pytest.mark.parametrize("script", mostly_slow(SCRIPTS, QUICK), ids=lambda script: script.stem)
def test_checks_take_the_solution_and_refuse_wrong_answers(script):
    checks = importlib.import_module(f"checks.ch{script.stem[:2]}")
    answers = wrong_answers(script)
    solved = solutions(script)
    assert solved.keys() == answers.WRONG.keys() and len(solved) == 3
    for name, source in solved.items():
        check = getattr(checks, name)
        for text, expected in ((source, f"{name}: right"), (empty(script, name), "still empty")):
            names = {}
            run(answers.HEAD + text, names)
            with contextlib.redirect_stdout(io.StringIO()) as out:
                assert check(names[name]) is expected.endswith("right"), out.getvalue()
            assert expected in out.getvalue()
        assert len(answers.WRONG[name]) >= 2
        for text, expected in answers.WRONG[name]:
            names = {}
            run(answers.HEAD + text, names)
            with contextlib.redirect_stdout(io.StringIO()) as out:
                assert check(names[name]) is False, f"{name} takes: {text}"
            line = out.getvalue()
            assert expected in line and line.count("\n") == 1 and line.startswith(name), line
            assert source.splitlines()[-1].strip() not in line, "the answer is not shown"


def empty(script, name):
    """The exercise as it stands in the notebook, unwritten."""
    (source,) = [source for kind, source in cells(script) if kind == "code" and f"def {name}(" in source]
    return re.search(rf"^def {name}\(.*?^(?=\S|\Z)", source + "\n", flags=re.MULTILINE | re.DOTALL)[0]


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_clean_kernel_says_what_is_stored(script, capsys):
    pytest.importorskip("nbclient", reason='needs pip install -e ".[notebooks]"')
    pytest.importorskip("jupytext", reason='needs pip install -e ".[notebooks]"')
    build = importlib.import_module("build")
    notebook, seconds = build.built(script)
    late = f" (a reader was promised {build.LIMIT} s)" if sum(seconds) > build.LIMIT else ""
    with capsys.disabled():  # the gate says it, and asserts no time: a busy machine takes twice as long
        print(f"\n{script.stem}: {sum(seconds):.1f} s, the slowest cell {max(seconds):.1f} s{late}")
    for fresh, cell in zip(notebook["cells"], stored(script)["cells"], strict=True):
        assert says_the_same(said(fresh), said(cell)), "".join(cell["source"])


@pytest.mark.slow
@pytest.mark.parametrize("script", WITH_NUMBA, ids=lambda script: script.stem)
def test_the_kernels_say_the_same(script):
    """One word replaced, and that it was there to be replaced."""
    text = "".join(source for kind, source in cells(script) if kind == "code")
    assert text.count('ops="numpy"') >= 1
    names = {"__name__": "__main__"}
    for (kind, source), cell in zip(cells(script), stored(script)["cells"], strict=True):
        if kind == "code":
            got = run(source.replace('ops="numpy"', 'ops="numba"'), names)
            assert says_the_same(got, said(cell)), source
