"""Who is which among several processes, and how values go from one to another, without MPI."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rank_threads import together
from runs import write_stories

from nanogpt_np.training import distributed_ranks

ROOT = Path(__file__).parents[2]
STARTED = [
    {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"},
    {"PMI_SIZE": "4", "PMI_RANK": "2", "MPI_LOCALNRANKS": "2"},
    {"MV2_COMM_WORLD_SIZE": "4", "MV2_COMM_WORLD_RANK": "2", "MV2_COMM_WORLD_LOCAL_SIZE": "2"},
    {"SLURM_STEP_NUM_TASKS": "4", "PMIX_RANK": "2", "SLURM_STEP_TASKS_PER_NODE": "2(x2)"},
]


@pytest.mark.parametrize("said", STARTED, ids=lambda said: next(iter(said)))
def test_every_launcher_is_understood(said, monkeypatch):
    for name in {name for one in STARTED for name in one}:
        monkeypatch.delenv(name, raising=False)
    assert distributed_ranks.n_launched() == 1 and distributed_ranks.is_first()
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert distributed_ranks._said(os.environ) == (4, 2, 2) and not distributed_ranks.is_first()


def test_slurm_alone_is_no_launcher():
    """A batch script of one process has Slurm's variables, too; only srun --mpi=pmix sets PMIX_RANK."""
    assert distributed_ranks._said({"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "4"}) == (1, 0, 1)


@pytest.mark.parametrize("n_of_launcher, n_own, n_here, expected", [
    (8, 8, 4, 2), (8, 1, 4, 1), (2, 2, 4, 1), (64, 16, 4, 16), (64, 64, 1, 64), (7, 7, 2, 3),
])  # fmt: skip
def test_threads_are_cores_by_ranks(n_of_launcher, n_own, n_here, expected):
    assert distributed_ranks.threads_each(n_of_launcher, n_own, n_here) == expected


def test_threads_are_told_before_numpy_and_the_user_is_obeyed(monkeypatch):
    for name in distributed_ranks.THREADS:
        monkeypatch.delenv(name, raising=False)
    distributed_ranks.share_cores()
    assert not os.environ.keys() & set(distributed_ranks.THREADS)  # one process: nothing changes
    for name, value in STARTED[0].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    monkeypatch.setattr(distributed_ranks, "_cores", lambda process: 8)
    distributed_ranks.share_cores()
    assert (os.environ["OPENBLAS_NUM_THREADS"], os.environ["NUMBA_NUM_THREADS"]) == ("4", "3")
    for name in distributed_ranks.THREADS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_values_go_round(size):
    value = {"a": [1, 0.1, None, "床前"], "b": 2**127 + 1}

    def work(ranks):
        shared = ranks.share(value if ranks.is_first else None)
        own = ranks.deal([[i] * i for i in range(size)] if ranks.is_first else None)
        return shared, own, ranks.gather(own)

    found = together(size, work)
    assert [(shared, own) for shared, own, _ in found] == [(value, [i] * i) for i in range(size)]
    assert found[0][2] == [[i] * i for i in range(size)] and all(row[2] is None for row in found[1:])


@pytest.mark.parametrize("n_items", [0, 1, 3, 7])
def test_map_is_map(n_items):
    """In order, each item once, floats bit for bit; and that others do their share."""
    items, done = [np.full((2, 2), i + 0.1) for i in range(n_items)], []

    def work(ranks):
        def one(item):
            done.append(ranks.rank)
            return [float(np.sum(item)) / 3]

        return list(ranks.map(one, items)) if ranks.is_first else ranks.serve(one)

    assert together(3, work)[0] == [[float(item.sum()) / 3] for item in items]
    assert sorted(done) == sorted(i % 3 for i in range(n_items))


COMMANDS = """
import io, sys
sys.modules["mpi4py"] = None  # whoever imports it fails
from nanogpt_np.cli import main
text, prompts = sys.argv[1:]
small = "--n-vocab 262 --n-ctx 8 --n-embd 8 --n-layer 1 --n-head 1 --steps 1 --batch-size 1".split()
commands = [["train", "--data", text, "--out", text + ".run", *small],
            ["eval", "--model", text + ".run", "--data", text],
            ["eval", "perplexity", "--model", text + ".run", "--data", text, "--limit", "2"],
            ["generate", "--model", text + ".run", "--file", prompts, "--max-new-tokens", "1"]]
print([main(command) for command in commands], "mpi4py.MPI" in sys.modules, file=sys.stderr)
"""


def test_without_a_launcher_nothing_of_mpi_is_loaded(tmp_path):
    text = write_stories(tmp_path / "text.txt", n=20)
    (tmp_path / "prompts").write_text("the\na\n")
    command = [sys.executable, "-c", COMMANDS, text, str(tmp_path / "prompts")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=300)
    assert done.stderr.endswith("[0, 0, 0, 0] False\n"), done.stderr


def environment(**changes):
    return os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"} | changes


@pytest.mark.parametrize("words, expected", [
    ("train --data text.txt --out run", 'expected mpi4py and an MPI library, as a launcher started 2 processes, found '
     'none'),
    ("finetune --task text --data text.txt --out run", "finetune text: expected one process, got 2 ranks"),
    ("eval bias", "eval bias: expected one process, got 2 ranks"),
    ("generate once", "generate: expected one process, got 2 ranks; only train, eval"),
])  # fmt: skip
def test_what_cannot_be_shared_says_so(words, expected, tmp_path):
    code = "import sys; sys.modules['mpi4py'] = None; from nanogpt_np.cli import main; sys.exit(main(sys.argv[1:]))"
    said = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}
    done = subprocess.run([sys.executable, "-c", code, *words.split()], cwd=tmp_path, capture_output=True, text=True,
                          env=environment(**said), timeout=120)  # fmt: skip
    assert done.returncode == 2 and expected in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert "pip install" in done.stderr or "share their work" in done.stderr
