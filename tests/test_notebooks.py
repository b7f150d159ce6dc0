"""The notebooks: every cell runs and says what is stored; each check takes its solution and refuses wrong answers."""

import contextlib
import importlib
import io
import json
import re
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
SCRIPTS = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
MOST_BYTES = 600_000


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
    """What a stored cell printed."""
    return "".join("".join(out["text"]) for out in cell.get("outputs", []) if out["output_type"] == "stream")


def rounded(text):
    """Numbers to two digits, as other CPUs round otherwise."""
    return re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.2f}", text).split()


def solutions(script):
    """The functions of the folded solutions: name -> source."""
    text = "\n".join(source for kind, source in cells(script) if kind == "markdown")
    found = re.findall(r"<summary>a solution</summary>\s*```python\n(.*?)```", text, flags=re.DOTALL)
    return {re.match(r"def (\w+)", source)[1]: source for source in found}


def run(source, names):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(source, "cell", "exec"), names)
    return out.getvalue()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_stored_and_script_are_one(script):
    notebook = stored(script)
    kept = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    assert kept == cells(script), "run python notebooks/build.py"
    assert script.with_suffix(".ipynb").stat().st_size < MOST_BYTES
    lines = [said(cell).count("\n") for cell in notebook["cells"]]
    assert max(lines) <= 30, "nothing scrolls past 30 lines"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_every_cell_says_what_is_stored(script):
    names = {"__name__": "__main__"}
    for (kind, source), cell in zip(cells(script), stored(script)["cells"], strict=True):
        if kind == "code":
            assert rounded(run(source, names)) == rounded(said(cell)), source
            assert not [out for out in cell["outputs"] if out["output_type"] == "error"]


WRONG = {  # of each exercise, at least two plausible wrong answers, and a word of what the check says
    "00_map": {
        "may_look": [
            ("import numpy as np\ndef may_look(n):\n    return np.tril(np.ones((n, n), bool), k=-1)", "the diagonal"),
            ("import numpy as np\ndef may_look(n):\n    return np.triu(np.ones((n, n), bool))", "what comes later"),
            ("import numpy as np\ndef may_look(n):\n    return np.tril(np.ones((n, n)))", "a bool array"),
            ("def may_look(n):\n    return n / 0", "ZeroDivisionError"),
        ],
        "continue_text": [
            ("def continue_text(next_logits, ids, n):\n"
             "    return [int(next_logits(ids)[-1].argmax()) for _ in range(n)]", "the given ones first"),
            ("def continue_text(next_logits, ids, n):\n    ids = list(ids)\n    for _ in range(n):\n"
             "        ids.append(int(next_logits(ids)[0].argmax()))\n    return ids", "the likeliest token"),
            ("def continue_text(next_logits, ids, n):\n    for _ in range(n):\n"
             "        ids.append(int(next_logits(ids)[-1].argmax()))\n    return ids", "the given list as it was"),
        ],
        "decided": [
            ("from nanogpt_np import lens\ndef decided(gpt, text):\n"
             "    ids = lens.logit_lens_view(gpt, text).ids[2::2]\n"
             "    return [int((c == c[-1]).argmax()) + 1 for c in ids.T]", "still changes"),
            ("def decided(gpt, text):\n    return [6] * len(gpt.tokenizer.encode(text))", "an earlier block"),
            ("def decided(gpt, text):\n    return [0] * len(gpt.tokenizer.encode(text))", "numbers from 1 to 6"),
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_checks_take_the_solution_and_refuse_wrong_answers(script):
    checks = importlib.import_module(f"checks.ch{script.stem[:2]}")
    solved = solutions(script)
    assert solved.keys() == WRONG[script.stem].keys() and len(solved) == 3
    head = "import numpy as np\nfrom nanogpt_np import lens\n"
    for name, source in solved.items():
        check = getattr(checks, name)
        for text, expected in ((head + source, f"{name}: right"), (f"def {name}(*given):\n    ...", "still empty")):
            names = {}
            run(text, names)
            with contextlib.redirect_stdout(io.StringIO()) as out:
                assert check(names[name]) is expected.endswith("right")
            assert expected in out.getvalue()
        assert len(WRONG[script.stem][name]) >= 2
        for text, expected in WRONG[script.stem][name]:
            names = {}
            run(text, names)
            with contextlib.redirect_stdout(io.StringIO()) as out:
                assert check(names[name]) is False
            line = out.getvalue()
            assert expected in line and line.count("\n") == 1 and line.startswith(name), line
            assert source.splitlines()[-1].strip() not in line, "the answer is not shown"


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_clean_kernel_runs_it_in_time(script):
    pytest.importorskip("nbclient", reason='needs pip install -e ".[notebooks]"')
    pytest.importorskip("jupytext", reason='needs pip install -e ".[notebooks]"')
    build = importlib.import_module("build")
    notebook, seconds = build.built(script)
    print(f"{script.stem}: {sum(seconds):.1f} s, the slowest cell {max(seconds):.1f} s")
    assert sum(seconds) < build.LIMIT, "a reader waits no longer"
    for fresh, cell in zip(notebook["cells"], stored(script)["cells"], strict=True):
        assert rounded(said(fresh)) == rounded(said(cell))
