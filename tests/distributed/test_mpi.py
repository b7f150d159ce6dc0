"""mpiexec and several processes: the same bits as one, whoever is killed; evaluation and files of prompts shared.

Needs pip install -e ".[mpi]"; skipped without.
"""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from runs import files_of, write_stories

ROOT = Path(__file__).parents[2]
pytest.importorskip("mpi4py", reason='needs pip install -e ".[mpi]"')
MPIEXEC = Path(sys.executable).with_name("mpiexec")
pytestmark = pytest.mark.skipif(not MPIEXEC.exists(), reason='needs pip install -e ".[mpi]"')

TRAIN = ("train --n-vocab 280 --n-ctx 16 --n-embd 16 --n-layer 2 --n-head 2 --warmup 2 --eval-every 5 --log-every 1 "
         "--held-out 0.1 --dropout 0.1")  # fmt: skip
WHOLE = f"{TRAIN} --steps 8 --batch-size 2 --accumulate 4"
CUT = f"{TRAIN} --steps 8 --batch-size 8"
SAME = ("model.safetensors", "training_state.safetensors", "vocab.json", "merges.txt", "config.json",
        "best/model.safetensors", "best/measured.json")  # fmt: skip
LIMIT = 240  # seconds, on a machine that is busy; alone they take two or three


def environment(n_threads=1):
    """Few threads; root may start it (containers); who waits lets others have the core."""
    return os.environ | {
        "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": str(n_threads),
        "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_mpi_yield_when_idle": "1",
    }  # fmt: skip


def started(n, *words):
    """The command line for n ranks, more than there are cores too; n = 1: without mpiexec."""
    several = [str(MPIEXEC), "--oversubscribe", "--bind-to", "none", "-n", str(n)] if n > 1 else []
    return [*several, sys.executable, *words]


def run(n, *words, status=0, folder=None, n_threads=1):
    """nanogpt-np on n ranks -> what it printed and what stood on standard error."""
    command, env = started(n, "-m", "nanogpt_np", *words), environment(n_threads)
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=folder, timeout=LIMIT)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_stories(tmp_path_factory.mktemp("text") / "stories.txt")


@pytest.fixture(scope="module")
def alone(text, tmp_path_factory):
    """A run of one process, that of WHOLE."""
    out = tmp_path_factory.mktemp("alone") / "run"
    run(1, *WHOLE.split(), "--data", text, "--out", str(out))
    return out


def rows(out):
    with open(Path(out) / "log.csv") as log:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(log)]


@pytest.mark.parametrize("n", [2, 4])
def test_the_same_bits_as_one_process(n, alone, text, tmp_path):
    said, _ = run(n, *WHOLE.split(), "--data", text, "--out", str(tmp_path / "run"))
    assert files_of(tmp_path / "run", *SAME) == files_of(alone, *SAME)
    assert rows(tmp_path / "run") == rows(alone)
    assert f"ranks: {n} on this machine, threads each: 1 (cores / ranks)" in said
    assert f"a step: 4 parts of 2 windows, part i on rank i modulo {n}" in said
    assert "memory, at most: " in said and said.count("try: ") == 1  # one rank speaks


def test_cut_batches_have_the_same_losses_and_the_same_bits_each_time(text, tmp_path):
    for name, n in (("one", 1), ("four", 4), ("again", 4)):
        run(n, *CUT.split(), "--data", text, "--out", str(tmp_path / name))
    one, four = ([float(row["train_loss"]) for row in rows(tmp_path / name)] for name in ("one", "four"))
    np.testing.assert_allclose(four, one, rtol=0, atol=1e-5)
    held_out = [json.loads((tmp_path / name / "best/measured.json").read_text()) for name in ("one", "four")]
    assert held_out[1]["held_out_loss"] == pytest.approx(held_out[0]["held_out_loss"], abs=1e-5)
    assert files_of(tmp_path / "again", *SAME) == files_of(tmp_path / "four", *SAME)


# matrices and pieces of them on either side of kernels.math.SMALL, below which NumPy does the work of some kernels
COMPILED = WHOLE.replace("--n-embd 16", "--n-embd 64").replace("--steps 8", "--steps 5") + " --ops numba"


@pytest.fixture(scope="module")
def compiled(text, tmp_path_factory):
    """The run of one process with compiled ops."""
    pytest.importorskip("numba")
    out = tmp_path_factory.mktemp("compiled") / "run"
    run(1, *COMPILED.split(), "--data", text, "--out", str(out))
    return out


@pytest.mark.parametrize("n, n_threads", [(1, 2), (2, 1), (2, 2), (4, 1)])
def test_the_same_bits_with_compiled_ops_and_any_number_of_threads(n, n_threads, compiled, text, tmp_path):
    run(n, *COMPILED.split(), "--data", text, "--out", str(tmp_path / "run"), n_threads=n_threads)
    assert files_of(tmp_path / "run", *SAME) == files_of(compiled, *SAME)
    assert rows(tmp_path / "run") == rows(compiled)


RAMP = f"{WHOLE} --ramp-tokens 400 --ramp-from 1"  # 400 tokens are 25 windows: steps of 1, 1, 1, 1, 2, 2, 3, 4, 5, …


@pytest.fixture(scope="module")
def grown(text, tmp_path_factory):
    """A run of one process, that of RAMP."""
    out = tmp_path_factory.mktemp("grown") / "run"
    run(1, *RAMP.split(), "--data", text, "--out", str(out))
    return out


@pytest.mark.parametrize("n", [2, 4])
def test_the_same_bits_while_the_batch_grows(n, grown, text, tmp_path):
    """In the first steps there is less than a batch for each rank, so some wait; none is cut."""
    said, _ = run(n, *RAMP.split(), "--data", text, "--out", str(tmp_path / "run"))
    assert files_of(tmp_path / "run", *SAME) == files_of(grown, *SAME)
    assert rows(tmp_path / "run") == rows(grown)
    read = [int(row["tokens"]) // 16 for row in rows(grown)]
    assert read[0] == 1 and 1 < read[-1] - read[-2] < 8, "it ends while the batch still grows"
    assert f"a full step: 4 parts of 2 windows, part i on rank i modulo {n}" in said


def test_going_on_while_the_batch_grows_with_another_number_of_ranks_is_exact(text, tmp_path):
    """Five steps by two ranks, then three by four, and three by one: as if never stopped, but for the plan."""
    out = tmp_path / "run"
    run(2, *RAMP.replace("--steps 8", "--steps 5").split(), "--data", text, "--out", str(out))
    for n in (1, 2, 4):
        subprocess.run(["cp", "-r", str(out), str(tmp_path / f"by-{n}")], check=True)
        run(n, "train", "--resume", "--out", str(tmp_path / f"by-{n}"), "--steps", "8")
    names = [name for name in SAME if not name.startswith("best")]
    for n in (2, 4):
        assert files_of(tmp_path / f"by-{n}", *names) == files_of(tmp_path / "by-1", *names)
        assert rows(tmp_path / f"by-{n}") == rows(tmp_path / "by-1")
    counts = np.diff([0, *(int(row["tokens"]) // 16 for row in rows(tmp_path / "by-4"))])
    assert counts[4] < counts[-1] < 8 and rows(tmp_path / "by-4")[-1]["step"] == "8"


def test_batches_that_grow_and_are_cut_have_the_same_losses(text, tmp_path):
    ramp = f"{CUT} --ramp-tokens 200 --ramp-from 1"
    for name, n in (("one", 1), ("four", 4), ("again", 4)):
        run(n, *ramp.split(), "--data", text, "--out", str(tmp_path / name))
    one, four = ([float(row["train_loss"]) for row in rows(tmp_path / name)] for name in ("one", "four"))
    np.testing.assert_allclose(four, one, rtol=0, atol=1e-5)  # sums of float32 in another order
    assert files_of(tmp_path / "again", *SAME) == files_of(tmp_path / "four", *SAME)


def ranks_of(process):
    """The processes that an mpiexec has started, by the rank that they are told, {rank: pid}."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if int((path / "stat").read_text().rpartition(")")[2].split()[1]) == process.pid:
                said = dict(part.split("=", 1) for part in (path / "environ").read_text().split("\0") if "=" in part)
                found[int(said["OMPI_COMM_WORLD_RANK"])] = int(path.name)
        except (OSError, ValueError, KeyError):  # it is gone, or not ours
            continue
    return found


def lives(pid):
    """Is there such a process, but for what nobody has asked about yet (a zombie)?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextlib.contextmanager
def long_run(text, out):
    """A run that does not end by itself, in its first steps and with a checkpoint -> its process, ended at last."""
    command = started(2, "-m", "nanogpt_np", *TRAIN.split(), "--steps", "100000", "--batch-size", "2", "--accumulate",
                      "2", "--checkpoint-minutes", "0.005", "--data", text, "--out", str(out))  # fmt: skip
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until(process, lambda: (out / "training_state.safetensors").exists() and len(rows(out)) > 3)
        yield process
    finally:
        process.terminate()  # mpiexec ends its ranks
        process.communicate()


def until(process, holds):
    began = time.monotonic()
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - began < LIMIT
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the ranks in /proc")
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_ends_the_job_and_the_checkpoint_goes_on(victim, text, tmp_path):
    """SIGKILL while steps are made: the others do not wait for it. Then two ways on from there end the same."""
    out = tmp_path / "run"
    with long_run(text, out) as process:
        pids = ranks_of(process)
        assert set(pids) == {0, 1}
        os.kill(pids[victim], signal.SIGKILL)
        killed = time.monotonic()
        _, said = process.communicate(timeout=LIMIT)
    assert process.returncode != 0 and "signal 9" in said
    while any(map(lives, pids.values())):
        assert time.monotonic() - killed < 30, "seconds, even where others keep the cores busy"
        time.sleep(0.05)
    if victim == 0:
        return
    subprocess.run(["cp", "-r", str(out), str(tmp_path / "other")], check=True)
    state = json.loads(header(out / "training_state.safetensors")["__metadata__"]["state"])
    steps = str(state["step"] + 4)
    for n, folder in ((4, out), (1, tmp_path / "other")):  # cut or whole, a rank more or fewer
        run(n, "train", "--resume", "--out", str(folder), "--steps", steps)
        assert f"{rows(folder)[-1]['step']}" == steps
    ours, others = ([float(row["train_loss"]) for row in rows(folder)[-4:]] for folder in (out, tmp_path / "other"))
    np.testing.assert_allclose(ours, others, rtol=0, atol=1e-5)


def header(path):
    data = path.read_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the ranks in /proc")
def test_any_rank_may_be_asked_to_stop(text, tmp_path):
    """SIGTERM to the second rank: all finish the step, the first one saves."""
    with long_run(text, tmp_path / "run") as process:
        os.kill(ranks_of(process)[1], signal.SIGTERM)
        said, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 3 and "stopped after step" in said and "--resume" in said


@pytest.mark.parametrize("name", ["training_state.safetensors", "model.safetensors"])
def test_what_cannot_be_written_ends_all_ranks_with_one_line(name, text, tmp_path):
    """A folder in a file's way, in the middle of the run: as a full disk or a folder without rights would."""
    out = tmp_path / "run"
    with long_run(text, out) as process:
        while not (out / name).is_dir():
            with contextlib.suppress(OSError):  # a step has just written it again
                (out / name).unlink(missing_ok=True)
                (out / name).mkdir()
        began = time.monotonic()
        _, said = process.communicate(timeout=LIMIT)
        assert time.monotonic() - began < 30, "seconds, even where others keep the cores busy"
    assert process.returncode == 2 and said.count("cannot be written") == 1 and "Traceback" not in said, said
    assert name in said


def test_going_on_with_another_number_of_ranks_is_exact(text, tmp_path):
    """Four steps by two ranks, then four by four, and four by one, which are the same to the bit."""
    out = tmp_path / "run"
    run(2, *f"{TRAIN} --steps 4 --batch-size 2 --accumulate 4".split(), "--data", text, "--out", str(out))
    for n in (1, 4):
        subprocess.run(["cp", "-r", str(out), str(tmp_path / f"by-{n}")], check=True)
        run(n, "train", "--resume", "--out", str(tmp_path / f"by-{n}"), "--steps", "8")
    names = [name for name in SAME if not name.startswith("best")]
    assert files_of(tmp_path / "by-1", *names) == files_of(tmp_path / "by-4", *names)
    assert rows(tmp_path / "by-1") == rows(tmp_path / "by-4") and rows(tmp_path / "by-4")[-1]["step"] == "8"


@pytest.fixture(scope="module")
def asked(text, tmp_path_factory):
    """What is measured, and prompts."""
    folder = tmp_path_factory.mktemp("asked")
    lines = Path(text).read_text().splitlines()[::2][:21]
    (folder / "words.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    (folder / "prompts.txt").write_text("".join(line[:9] + "\n" for line in lines[:7]))
    return folder


@pytest.mark.parametrize("task", [
    "eval --data TEXT --held-out 0.1", "eval perplexity --data TEXT --batch-size 1 --limit 30 --out FILE",
    "eval lambada --data words.jsonl --batch-size 1 --json --overflow cut --out FILE",
])  # fmt: skip
def test_evaluation_is_shared(task, alone, text, asked, tmp_path):
    found = {}
    for n in (1, 2):
        words = task.replace("TEXT", text).replace("FILE", str(tmp_path / f"rows-{n}")).split()
        found[n], _ = run(n, *words, "--model", str(alone), folder=asked)
    assert found[1] == found[2] and found[1].count("\n") >= 1
    if "FILE" in task:
        assert (tmp_path / "rows-1").read_bytes() == (tmp_path / "rows-2").read_bytes()


def test_a_file_of_prompts_is_shared_and_gone_on_with(alone, asked, tmp_path):
    def lines(path):
        return [{name: value for name, value in json.loads(line).items() if "seconds" not in name}
                for line in path.read_text().splitlines()]  # fmt: skip

    words = f"generate --model {alone} --file prompts.txt --max-new-tokens 4 --seed 3 --batch-size 2 --out".split()
    run(1, *words, str(tmp_path / "1.jsonl"), folder=asked)
    whole = lines(tmp_path / "1.jsonl")
    assert len(whole) == 7
    (tmp_path / "2.jsonl").write_text("\n".join((tmp_path / "1.jsonl").read_text().splitlines()[:2]) + "\n")
    _, said = run(2, *words, str(tmp_path / "2.jsonl"), folder=asked)
    assert lines(tmp_path / "2.jsonl") == whole and "7 prompts, 5 of them now" in said


FAILS = """
import sys
from nanogpt_np.cli import main
from nanogpt_np.training import distributed_ranks, distributed_sums
words, how = sys.argv[2:], sys.argv[1]
if distributed_ranks.number() == 1:
    if how == "model":
        words[words.index("--model") + 1] = "nowhere"
    elif how == "code":
        distributed_ranks.Ranks.serve = lambda *given: 1 / 0
sys.exit(main(words))
"""


@pytest.mark.parametrize("how, status, expected", [
    ("model", 2, "rank 1: nanogpt-np: "), ("code", 1, "ZeroDivisionError: division by zero"),
])  # fmt: skip
def test_what_fails_on_one_rank_ends_all(how, status, expected, alone, text):
    words = ["eval", "--model", str(alone), "--data", text]
    done = subprocess.run(started(2, "-c", FAILS, how, *words), capture_output=True, text=True, env=environment(),
                          timeout=LIMIT)  # fmt: skip
    assert done.returncode == status and expected in done.stderr and done.stdout == "", done.stderr


def test_an_error_is_said_once(alone, text):
    _, said = run(2, *WHOLE.split(), "--data", text, "--out", str(alone), status=2)
    assert said.count("already holds a training run") == 1 and "Traceback" not in said
    _, said = run(2, "train", "--nonsense", status=2)
    assert said.count("usage: ") == 1
    few = CUT.replace("--batch-size 8", "--batch-size 2").split()
    _, said = run(3, *few, "--data", text, "--out", f"{alone}-new", status=2)
    assert said.count("expected at most 2 ranks, as many as --batch-size x --accumulate = 2 x 1 windows") == 1
