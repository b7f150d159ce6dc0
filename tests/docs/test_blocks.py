"""Every fenced block of the README, the docs and the pages beside them is run: here, or by whom ELSEWHERE names.

Python runs page by page. Of what is typed in a shell, `nanogpt-np` runs here, with the texts that it asks for made up;
TOO_LONG says which commands do not: their words are read by the package's own parser. A word that starts a program is
known, or the test fails. What is shown below a command is what it says, unless an "…" stands there.
"""

import contextlib
import functools
import io
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

from nanogpt_np.cli import main
from nanogpt_np.cli.entry import parser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "README.zh.md", ".github/CONTRIBUTING.md", "notebooks/README.md")]
PAGES += [*sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("weights/*/*.md"))]
ELSEWHERE = {  # (a page, how a block of it begins) -> who runs or reads it
    ("README.md", "$ nanogpt-np generate "): "tests/test_readme.py, test_the_sample_is_what_the_model_writes",
    ("README.zh.md", "$ nanogpt-np generate "): "the same words: tests/test_readme.py",
    ("README.md", "python3 -m venv "): "word for word, by .ci/run",
    ("README.zh.md", "python3 -m venv "): "the same words: .ci/run",
    ("README.md", "from nanogpt_np import GPT\n"): "tests/test_readme.py, test_what_is_typed_in_python_runs",
    ("docs/evaluation.md", "import lm_eval\n"): "needs lm_eval: tests/evaluation/test_judge.py",
    ("docs/architecture.md", "nanogpt_np/\n"): "a list of files: tests/test_layering.py",
    ("docs/finetuning.md", "nanogpt-np finetune --task text "): "tests/finetuning/test_adapting.py, test_the_command",
    ("docs/scaling.md", "pip install "): "needs MPI: tests/distributed/test_mpi.py",
    ("docs/serving.md", "from openai import OpenAI\n"): "needs openai: tests/explore/test_clients.py",
    ("docs/stepping.md", "(Pdb) "): "typed in pdb: tests/test_stepping.py",
}
TOO_LONG = {
    "train": "minutes; tests/training, and tests/test_readme.py, test_shakespeare_is_what_is_shown",
    "finetune": "minutes; tests/finetuning",
    "classify": "needs the folder of a classifier; tests/finetuning/test_run.py, test_finetune_and_classify",
    "warmup": "a minute of compiling; tests/kernels",
    "bench": "minutes, and other people's engines; tests/bench",
    "download": "needs a network; tests/storage",
    "explore": "until it is stopped; tests/explore/test_app.py, test_export.py",
    "serve": "until it is stopped; tests/cli/test_serving.py",
    "eval bias": "a quarter of a minute; tests/evaluation/test_bias.py",
    "eval memorization": "a minute, and the training text; tests/evaluation/test_memorization.py",
    "eval prompts": "a quarter of a minute; tests/evaluation/test_tasks.py",
    "eval similarity": "needs stories; tests/evaluation/test_similarity.py",
}
ITEMS = '{"text": "The cat sat", "context": "The cat", "choices": ["sat", "is"], "label": 0, "answer": "sat"}\n'
TEXT = "Once upon a time there was a cat. It sat on a mat, and it was happy. The end.\n" * 10


class Block(NamedTuple):
    """What stands between two fences; `kind` is the word behind the first."""

    page: str
    line: int
    kind: str
    text: str


def blocks_of(path):
    page = path.read_text(encoding="utf-8")
    for found in re.finditer(r"^ *```(\w*).*\n((?:.*\n)*?) *```$", page, flags=re.MULTILINE):
        line = page.count("\n", 0, found.start()) + 1
        yield Block(path.relative_to(ROOT).as_posix(), line, found[1], found[2])


BLOCKS = [block for path in PAGES for block in blocks_of(path)]


def name(block):
    return f"{block.page}:{block.line}"


def elsewhere(block):
    return any(block.page == page and block.text.startswith(start) for page, start in ELSEWHERE)


def typed(text):
    """What is typed in a shell, and what is shown below it; in a block without any "$ " every line is typed."""
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    if not any(line.startswith("$ ") for line in lines):
        return [(line, "") for line in lines if line.strip()]
    parts = re.split(r"^\$ ", "\n".join(lines), flags=re.MULTILINE)
    assert not parts[0].strip(), f"stands before any command: {parts[0]!r}"
    return [(command, shown) for command, _, shown in (part.partition("\n") for part in parts[1:])]


def programs(command):
    """A line as a shell splits it: each program's words, and the words that a pipe brings it."""
    words = shlex.shlex(command, posix=True, punctuation_chars="|&;")
    words.whitespace_split, words.commenters = True, "#"
    found, piped = [[]], [False]
    for word in words:
        if word in ("|", "&&", ";"):
            found.append([])
            piped.append(word == "|")
        else:
            found[-1].append(word)
    brought = [None, *(f"{' '.join(before[1:])}\n" for before in found[:-1])]
    return [(words, text if is_piped else None) for words, text, is_piped in zip(found, brought, piped, strict=True)]


@functools.cache
def said(words, brought):
    """Run one command of ours in a folder of its own, with the texts that it asks for -> exit status, output."""
    args, here, stdin = parser().parse_args(words), Path.cwd(), sys.stdin
    out, sys.stdin = io.StringIO(), io.TextIOWrapper(io.BytesIO((brought or "").encode()), encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(out):
        try:
            os.chdir(folder)
            data = getattr(args, "data", None) or []
            for file in [data] if isinstance(data, str) else data if isinstance(data, list) else []:
                Path(file).write_text(ITEMS if file.endswith(".jsonl") else TEXT, encoding="utf-8")
            if getattr(args, "file", None):
                Path(args.file).write_text("The cat sat\nA dog\n", encoding="utf-8")
            return main(list(words)), out.getvalue()
        finally:
            os.chdir(here)
            sys.stdin = stdin


def run_ours(words, brought, shown):
    args = parser().parse_args(words)  # ends the test where a word is unknown
    if args.command in TOO_LONG or " ".join(words[:2]) in TOO_LONG:
        return
    if "gpt2" in words and args.command != "plan":  # its files are not at hand
        return
    status, output = said(tuple(words), brought)
    assert status == 0
    if shown.strip() and "…" not in shown:
        assert output.split() == shown.split()


def check(words, brought, shown):
    """One program of a line: ours is run, of the others it is looked up whether what they are to do can be done."""
    while re.match(r"[A-Z_]+=", words[0]):  # a variable for the program behind it, whose value may be said by another
        words = words[next((i for i, word in enumerate(words) if word == "nanogpt-np"), 1) :]
    program = Path(words[0]).name
    if program == "nanogpt-np":
        run_ours(words[1:], brought, shown)
    elif program == "pip" or words[1:3] == ["-m", "pip"]:
        extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert set(re.findall(r"\w+", "".join(re.findall(r"\.\[(.*?)\]", " ".join(words))))) <= set(extras)
    elif program in ("pytest", "jupyter", "python") and words[1:3] != ["-m", "venv"]:
        places = [word.partition("::")[0] for word in words[1:] if re.match(r"(docs|tests|notebooks|weights)\b", word)]
        assert all((ROOT / place).exists() for place in places)
        assert places or program == "pytest"
    else:
        known = (
            ["python3", "-m", "venv"], [".", ".venv/bin/activate"], ["echo"], ["curl"],
            [".venv/bin/pre-commit", "install"],
        )  # fmt: skip
        assert any(words[: len(start)] == start for start in known), f"no test knows what {program!r} would do"


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.kind in ("sh", "text", "console", "")], ids=name)
def test_what_is_typed_in_a_shell_runs(block):
    if elsewhere(block):
        return
    for command, shown in typed(block.text):
        parts = programs(command)
        for words, brought in parts:
            check(words, brought, shown if words is parts[-1][0] else "")


PYTHON = [block for block in BLOCKS if block.kind == "python" and not elsewhere(block)]


@pytest.mark.parametrize("page", sorted({block.page for block in PYTHON}))
def test_python_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for block in PYTHON:
        if block.page == page:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile("\n" * block.line + block.text, page, "exec"), names)


def test_there_is_no_other_kind_of_block():
    """Else nobody would run it."""
    others = [block for block in BLOCKS if block.kind not in ("sh", "text", "console", "", "python")]
    assert not [name(block) for block in others if not elsewhere(block)]
    assert len(BLOCKS) >= 20


def test_every_exception_is_still_needed():
    for page, start in ELSEWHERE:
        assert any(block.page == page and block.text.startswith(start) for block in BLOCKS), (page, start)
    in_a_shell = [block for block in BLOCKS if block.kind != "python" and not elsewhere(block)]
    lines = [line for block in in_a_shell for line, _ in typed(block.text)]
    ours = [words for line in lines for words, _ in programs(line) if words[0] == "nanogpt-np"]
    commands = {" ".join(words[1:n]) for words in ours for n in (2, 3)}
    assert set(TOO_LONG) <= commands


def test_lines_are_read_as_a_shell_reads_them():
    line = r'echo "The cat sat" | nanogpt-np generate --stop "\n" && pytest  # as often as you like'
    (echo, _), (ours, brought), (last, nothing) = programs(line)
    assert ours == ["nanogpt-np", "generate", "--stop", r"\n"] and brought == "The cat sat\n"
    assert echo[0] == "echo" and last == ["pytest"] and nothing is None
    assert typed("$ a \\\n  b\nsays\nmore\n$ c\n") == [("a  b", "says\nmore\n"), ("c", "")]
    assert typed("a\n\nb\n") == [("a", ""), ("b", "")]


@pytest.mark.parametrize("line", ["nanogpt-np generate --loudly", "nanogpt-np sing", "pip install -e '.[nothing]'",
                                  "rm -rf runs", "pytest tests/none.py", "python docs/none.py"])  # fmt: skip
def test_what_cannot_run_is_refused(line):
    with pytest.raises((AssertionError, SystemExit)), contextlib.redirect_stderr(io.StringIO()):
        for words, brought in programs(line):
            check(words, brought, "")
