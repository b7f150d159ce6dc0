"""The engines of the benchmark from outside: processes that are opened, asked in turn, and closed.

Enter: names of engines, and requests. Leave: their answers, round by round, and what they ran on.
Next: bench/ours.py.
"""

import contextlib
import itertools
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tqdm import tqdm

from .. import __version__
from ..errors import InputError
from .isa import describe_isa, switches_for

PACKAGES = ("numpy", "numba", "torch", "transformers", "ctranslate2", "xllamacpp", "gguf", "tiktoken", "tokenizers")
DISTURBED = 0.1  # of one CPU; an idle system takes 0.02
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS",
)  # fmt: skip
QUIET = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}


class WorkerError(InputError):
    """An engine that could not do what it was asked, in one line."""


@dataclass
class Run:
    """What one engine answered in each round, what it says about itself, and why it stopped, if it did."""

    answers: list = field(default_factory=list)
    about: str = ""
    error: str = ""


class Worker:
    """An engine in a process of its own: `about`, `ask(request) -> answer`, `close()`. WorkerError where it fails."""

    def __init__(self, job, engine, settings):
        command = [sys.executable, "-m", "nanogpt_np.bench.peers", job, engine, json.dumps(settings)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8",
            env=environment(settings["threads"], settings.get("isa", "native")),
        )  # fmt: skip
        try:
            self.about = self._read()["about"]
        except BaseException:
            self.close()
            raise

    def ask(self, request):
        """Send one request and wait for its answer."""
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except OSError as error:
            raise WorkerError(f"the process ended with status {self.process.wait()}") from error
        return self._read()

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            raise WorkerError(f"the process ended with status {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def close(self):
        """End the process: it stops when its input does; if not within seconds, it is killed."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


class Command:
    """A whole command, run once per request: from the call to the end of the process, and what it printed.

    In the folder `bytecode` Python keeps what it has compiled, as it does wherever packages are installed.
    """

    def __init__(self, words, threads, about, isa="native", bytecode=None):
        self.words, self.about, self.environment = words, about, environment(threads, isa)
        if bytecode is not None:
            self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
            self.environment["PYTHONPYCACHEPREFIX"] = str(bytecode)

    def ask(self, request):
        """-> {"seconds": [wall time], "text": …}; what was asked stands in the command already."""
        began = time.perf_counter()
        done = subprocess.run(self.words, capture_output=True, env=self.environment, stdin=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        if done.returncode:
            last_line = (done.stderr.decode(errors="replace").strip() or f"status {done.returncode}").splitlines()[-1]
            raise WorkerError(f"{last_line:.200}")
        return {"seconds": [seconds], "text": done.stdout.decode(errors="replace").strip()}

    def close(self):
        """Nothing is left open."""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


def environment(threads, isa="native"):
    """The environment of an engine: threads and instructions before any library looks, and this very package."""
    package = str(Path(__file__).resolve().parent.parent.parent)
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    counts, held = dict.fromkeys(THREAD_VARIABLES, str(threads)), switches_for(isa)
    return {**os.environ, **counts, **held, **QUIET, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"}


def cpus_allowed():
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Others:
    """Watches what all other programs use of the CPUs; Linux only, elsewhere it has nothing to say."""

    def __init__(self):
        self.before, self.words = _clocks(), []

    def note(self):
        """Words for the time since the last call, [] where nobody disturbed; our own processes must have ended."""
        now = _clocks()
        if now is None or now[0] - self.before[0] < 0.5:
            return self.words  # two tables of one race come together
        wall, busy, own = (b - a for a, b in zip(self.before, now, strict=True))
        share = (busy - own) / wall
        self.before = now
        disturbed = f"disturbed: other programs took {share:.0%} of one CPU meanwhile; wait for quiet and measure again"
        self.words = [disturbed] if share > DISTURBED else []
        return self.words


def _clocks():
    """Seconds: by the clock, of all CPUs at work, and of ours among them (with processes that have ended)."""
    try:
        with open("/proc/stat", encoding="ascii") as lines:
            user, nice, system, _, _, *rest = map(int, lines.readline().split()[1:9])
    except (OSError, ValueError):
        return None
    busy = (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")
    return time.perf_counter(), busy, sum(os.times()[:4])


def machine(threads, absent, isa="native"):
    """What this runs on, and with what; `absent`: words about what is not measured."""
    return {
        "nanogpt_np": __version__, "date": time.strftime("%Y-%m-%d %H:%M"), "cpu": cpu_name(), "threads": threads,
        "cpus": os.cpu_count(), "cpus_allowed": cpus_allowed(), "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(), "versions": _versions(), "not_measured": absent,
        "isa": isa, "held": describe_isa(environment(threads, isa)),
    }  # fmt: skip


def cpu_name():
    """What the system calls this CPU, a text: "AMD EPYC 9B14", say, or "x86_64" where it says no more."""
    with contextlib.suppress(OSError, StopIteration):
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()


def _versions():
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def race(what, engines, open_engine, rounds, n_warm=1, fresh=False, pause=0.0):
    """Ask every engine in turn, round by round -> {engine: Run}; an engine that fails stops, the others go on.

    The answers of the first `n_warm` rounds are dropped. `fresh`: open the engine anew in each round.
    """
    runs = {engine: Run() for engine in engines}
    workers = {}
    turns = list(itertools.product(enumerate(rounds), engines))
    with contextlib.ExitStack() as stack:
        for (i, request), engine in tqdm(turns, desc=what, unit="turn", leave=False, disable=None):
            run = runs[engine]
            if run.error:
                continue
            try:
                if engine not in workers:
                    workers[engine] = stack.enter_context(open_engine(engine))
                answer = workers[engine].ask(request)
            except WorkerError as error:
                run.error = str(error)
                continue
            run.about = workers[engine].about
            if i >= n_warm:
                run.answers.append(answer)
            if fresh:
                workers.pop(engine).close()
            time.sleep(pause)
    return runs
