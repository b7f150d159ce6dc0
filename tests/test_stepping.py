"""docs/stepping.md is true: its pdb session is typed again, and every answer compared.

`python tests/test_stepping.py` writes the answers into the page anew.
"""

import json
import os
import re
import subprocess
import sys
import traceback
import types
from pathlib import Path

import pytest
from small import CONFIG, make

from nanogpt_np import GPT, ops
from nanogpt_np.cli.entry import parser

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "stepping.md"
PROMPT = "(Pdb) "


def blocks(page):
    return re.findall(r"^```pdb\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)


def commands(page):
    lines = [line for block in blocks(page) for line in block.splitlines()]
    return [line.removeprefix(PROMPT) for line in lines if line.startswith(PROMPT)]


def session(typed):
    """The answers of pdb to each command, with … for what moves: paths and line numbers."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "PYTHON_COLORS": "0"}
    done = subprocess.run([sys.executable, str(ROOT / "docs" / "step.py")], input="\n".join(typed) + "\n", timeout=120,
                          capture_output=True, text=True, encoding="utf-8", cwd=ROOT, env=environment)  # fmt: skip
    first, *answers = done.stdout.split(PROMPT)
    assert "step.py" in first, done.stderr
    return [moved(answer) for answer in answers]


def moved(text):
    files = r"\S*(nanogpt_np[/\\][\w/\\]+\.py|docs[/\\]step\.py)"
    text = re.sub(files, lambda found: "…/" + found[1].replace("\\", "/"), text)
    return re.sub(r"\.py(\(\d+\)|:\d+)", ".py(…)", text).rstrip()


def page_answers(page):
    """What the page says pdb answers to each command."""
    found = []
    for block in blocks(page):
        for line in block.splitlines():
            if line.startswith(PROMPT):
                found.append([])
            else:
                found[-1].append(line)
    return ["\n".join(lines).rstrip() for lines in found]


def test_the_session_is_as_the_page_shows_it():
    page = PAGE.read_text(encoding="utf-8")
    typed = commands(page)
    assert len(typed) > 20
    got = session(typed)
    for command, answer, shown in zip(typed[:-1], got, page_answers(page), strict=False):  # after q nothing is asked
        assert plain(answer) == plain(shown), f"(Pdb) {command}"


def plain(answer):
    """Numbers to two digits: the third may round otherwise on another CPU."""
    return re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.2f}", " ".join(answer.split()))


def test_no_frame_stands_between_a_caller_and_the_arithmetic():
    """gpt(ids) to the product of queries and keys: the handle, four rooms of the model, the op."""
    frames = []
    watching = types.ModuleType("watching")
    vars(watching).update({name: value for name, value in vars(ops).items() if not name.startswith("__")})

    def attention_probs(q, k, visible):
        frames.append([frame.name for frame in traceback.extract_stack()])
        return ops.attention_probs(q, k, visible)

    watching.attention_probs = attention_probs
    gpt = GPT(CONFIG, make(), ops=watching)
    gpt([1, 2, 3])
    path = ["__call__", "forward", "trunk", "block", "attention", "attention_probs"]
    assert frames[0][-len(path) :] == path
    assert frames[0][-len(path) - 1] == "test_no_frame_stands_between_a_caller_and_the_arithmetic"


def test_places_to_stop_exist():
    table = re.findall(r"^\| `([\w.]+)` \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(table) >= 6
    import nanogpt_np.generation.sampling
    import nanogpt_np.tokenizer.merging
    import nanogpt_np.training.backward  # noqa: F401

    wings = ("", "generation.")
    for name in table:
        assert any(_there(f"nanogpt_np.{wing}{name}") for wing in wings), name


def _there(name):
    module, found = sys.modules["nanogpt_np"], True
    for part in name.split(".")[1:]:
        found = hasattr(module, part)
        if not found:
            return False
        module = getattr(module, part)
    return callable(module)


def test_what_the_editor_runs_can_be_run():
    launch = json.loads((ROOT / ".vscode" / "launch.json").read_text(encoding="utf-8"))["configurations"]
    ours = [entry for entry in launch if entry["module"] == "nanogpt_np"]
    assert len(ours) == 3 and any(entry.get("env") == {"NUMBA_DISABLE_JIT": "1"} for entry in ours)
    for entry in ours:
        parser().parse_args(entry["args"])


@pytest.mark.slow
def test_kernels_can_be_stepped_through(tmp_path):
    """As the third configuration does it: compiled decoding, as plain Python, says the same token."""
    launch = json.loads((ROOT / ".vscode" / "launch.json").read_text(encoding="utf-8"))["configurations"]
    (entry,) = [entry for entry in launch if "env" in entry]
    said = []
    for words in (entry["args"], [word if word != "numba" else "numpy" for word in entry["args"]]):
        done = subprocess.run([sys.executable, "-m", "nanogpt_np", *words], capture_output=True, text=True, timeout=600,
                              cwd=ROOT, env=os.environ | entry["env"])  # fmt: skip
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0] == said[1]


def write():
    """Put the session's answers into the page."""
    page = PAGE.read_text(encoding="utf-8")
    answers = iter(session(commands(page)))

    def filled(block):
        lines = []
        for line in block[1].splitlines():
            if line.startswith(PROMPT):
                answer = next(answers, "")
                lines += [line, *([answer] if answer and line != f"{PROMPT}q" else [])]
        return "```pdb\n" + "\n".join(lines) + "\n```"

    PAGE.write_text(re.sub(r"^```pdb\n(.*?)^```$", filled, page, flags=re.MULTILINE | re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    write()
