"""Ours against each installed peer, in one run: decode, prefill, batch, train, tokenize, start.

Enter: BenchOptions. Leave: tables, printed as they come, and all of it as a dict. Every engine runs in a process of
its own (peers.py) and is asked in turn, A B C A B C, so that what drifts drifts for all. Next: planning/sizes.py.
"""

import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import files
from ..errors import FileError, InputError
from ..gpt import OPS
from ..storage import registry
from ..tokenizer.bpe import Tokenizer
from . import llama
from .batches import batch
from .checks import add_limits, after_the_first, check_equal, check_ids, check_losses, describe_bandwidth, make_rows
from .growth import every, grow, loss_of_small_weights, speculate
from .isa import check_isa
from .large import fit
from .ours import ENGINES, SIZES, TRAINERS, describe, prompt
from .peers import START_SCRIPT
from .report import Table, format_machine, format_table, to_json
from .roster import ALL_PEERS, ENCODE_PEERS, GENERATE_PEERS, GGUF_PEERS, START_PEERS, TRAIN_PEERS, available, missing
from .workers import Command, Others, Worker, cpus_allowed, machine, race

SHORTLIST = (
    "numba, greedy: of a large head a quarter of the bytes is read, and whole rows where the best may stand "
    "(kernels/shortlist.py); limits count all weights"
)
SUITES = ("decode", "prefill", "batch", "train", "tokenize", "start", "grow", "speculate")
NAMED_ONLY = ("large",)  # takes gigabytes of disk

TRAIN_SHAPES = {"tiny": (2, 32), "small": (16, 256), "stories": (16, 256), "gpt2": (4, 256)}  # n_batch, n_seq
PREFILL = (64, 512)
PAUSE = 0.4  # seconds between two turns: idle threads of OpenMP spin for up to 0.2 s before they sleep
PROMPT = "Once upon a time"
START_ABOUT = {
    "transformers": "transformers: a script with AutoModelForCausalLM.from_pretrained and model.generate",
    **dict.fromkeys(GGUF_PEERS, "llama.cpp: a script with xllamacpp.Server and handle_completions"),
}


@dataclass(frozen=True)
class BenchOptions:
    """What to measure. `suites`: some of SUITES and NAMED_ONLY, none means all of SUITES.

    `size`: a name of SIZES, None the usual ones. `threads`: None means all CPUs allowed. `data`: a text file for
    tokenize. `isa`: a name of isa.HELD. InputError for what makes no sense.
    """

    suites: tuple = ()
    size: str | None = None
    threads: int | None = None
    runs: int = 5
    new_tokens: int = 100
    data: str | None = None
    isa: str = "native"

    def __post_init__(self):
        for name, least in (("threads", 1), ("runs", 1), ("new_tokens", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name}: expected a whole number of at least {least}, got {value}")
        check_isa(self.isa)
        for suite in self.suites:
            if suite not in SUITES + NAMED_ONLY:
                raise InputError(f"bench: expected some of {', '.join(SUITES + NAMED_ONLY)}, got {suite!r}")
        if self.size not in (None, *SIZES):
            raise InputError(f"size: expected one of {', '.join(SIZES)}, got {self.size!r}")


def measure(options, json_path=None, show=print):
    """Measure, show each table as soon as it is there -> all of it as a dict, also written to `json_path`."""
    if json_path is not None and not Path(json_path).absolute().parent.is_dir():
        raise InputError(f"{json_path}: expected a folder to write to, found none; make it first")
    if options.data is not None and not Path(options.data).is_file():
        raise InputError(f"{options.data}: expected a text file, found none; check the name")
    threads = options.threads or cpus_allowed()
    about = machine(threads, missing(ALL_PEERS), options.isa)
    show(format_machine(about))
    with tempfile.TemporaryDirectory(prefix="nanogpt-np-bench-") as folder:
        found = []
        others = Others()
        for table in tables(Bench(options, threads, Path(folder))):
            table.notes += others.note()
            show(f"\n{format_table(table)}")
            found.append(to_json(table))
    report = {"machine": about, "options": asdict(options), "tables": found}
    if json_path is not None:
        files.write_json(json_path, report)
    return report


def tables(bench):
    """Yield every table that was asked for."""
    suites = bench.options.suites or SUITES
    if "decode" in suites:
        yield decode(bench)
    if "prefill" in suites:
        yield from prefill(bench)
    if "batch" in suites:
        yield from batch(bench)
    if "train" in suites:
        yield from train(bench)
    if "tokenize" in suites:
        yield from tokenize(bench)
    if "start" in suites:
        yield from start(bench)
    if "grow" in suites:
        yield from grow(bench)
    if "speculate" in suites:
        yield speculate(bench)
    if "large" in suites:
        yield from fit(bench)


class Bench:
    """One run of the benchmark: its options, its folder, and the models made in it so far."""

    def __init__(self, options, threads, folder, open_worker=Worker, pause=None):
        self.options, self.threads, self.folder = options, threads, folder
        self.open_worker, self.pause = open_worker, PAUSE if pause is None else pause

    def model(self, size, lively=True):
        """The directory of the random model of a size, made when first asked for."""
        directory = self.folder / f"{size}{'-lively' if lively else ''}"
        if not directory.exists():
            with self.open_worker("make", "model", self.settings(directory)) as maker:
                maker.ask({"size": size, "lively": lively})
        return directory

    def settings(self, directory, threads=None, **more):
        """What a worker is told when it opens."""
        return {"directory": str(directory), "threads": threads or self.threads, "isa": self.options.isa, **more}

    def race(self, what, job, engines, settings, rounds, n_warm=1, fresh=False):
        """race() with workers of one job."""

        def open_engine(engine):
            return self.open_worker(job, engine, self.prepared(engine, settings))

        return race(what, engines, open_engine, rounds, n_warm, fresh, self.pause)

    def prepared(self, engine, settings):
        """A worker's settings, once the engine's own form of the model is there."""
        directory = Path(settings["directory"])
        if engine in GGUF_PEERS:  # not in the model's folder, which may be that of the shipped one
            made = self.folder / f"{directory.name}, {engine}.gguf"
            settings = {**settings, "gguf": str(made)}
        elif engine.startswith("ctranslate2"):
            made = directory / engine
        else:
            return settings
        if not made.exists():
            with self.open_worker("make", engine, settings) as maker:
                maker.ask({})
        return settings

    def judge(self, settings, prompts):
        """A function for check_ids: [(number of a prompt, ids said), …] -> how far from our best each text is."""

        def gaps(pairs):
            with self.open_worker("judge", ENGINES[0], settings) as worker:
                return worker.ask({"texts": [[prompts[i], said] for i, said in pairs]})["gaps"]

        return gaps


# ---------------------------------------------------------------- the measurements


def decode(bench):
    """Tokens per second after the prompt, one text, greedy -> Table."""
    size, n_new = bench.options.size or "gpt2", bench.options.new_tokens
    config = SIZES[size]
    n_prompt = min(64, config.n_ctx // 2)
    request = {"ids": prompt(config, n_prompt), "n_new": min(n_new, config.n_ctx - n_prompt)}
    rounds = [request | {"n_new": min(8, request["n_new"])}] + [request] * bench.options.runs
    settings = bench.settings(bench.model(size), n_ctx=n_prompt + request["n_new"])
    runs = generate_runs(bench, "decode", settings, rounds, n_warm=1)
    bandwidth = runs.pop("bandwidth")
    rows = make_rows(runs, lambda answer: 1 / after_the_first(answer), ENGINES)
    check_ids(rows, runs, bench.judge(settings, [request["ids"]]))
    rows = add_limits(rows, bandwidth, config)
    setting = f"{describe(size)}, prompt {n_prompt}, {request['n_new']} new tokens, greedy"
    notes = [describe_bandwidth(bandwidth), SHORTLIST, *loss_of_small_weights(bench)]
    return Table("decode", setting, "tokens/s", True, rows, notes)


def prefill(bench):
    """Milliseconds from a prompt to its first new token; yield a Table per length."""
    size = bench.options.size or "gpt2"
    config = SIZES[size]
    lengths = sorted({min(n, config.n_ctx - 1) for n in PREFILL})  # llama.cpp wants room for the new token
    requests = [{"ids": prompt(config, n), "n_new": 1} for n in lengths]
    settings = bench.settings(bench.model(size), n_ctx=max(lengths) + 1)
    runs = generate_runs(bench, "prefill", settings, requests * (1 + bench.options.runs), n_warm=len(lengths))
    for i, n in enumerate(lengths):
        part = every(runs, i, len(lengths))
        rows = make_rows(part, lambda answer: 1e3 * answer["seconds"][0], ENGINES)
        check_ids(rows, part, bench.judge(settings, [requests[i]["ids"]]))
        yield Table(f"prefill {n}", f"{describe(size)}, one text, to its first new token", "ms", False, rows)


def generate_runs(bench, what, settings, rounds, n_warm):
    """The answers of everyone who generates; for decode, with the bandwidth, measured between ours."""
    *others, last = ENGINES
    engines = [*others, *(["bandwidth"] if what == "decode" else []), last, *available(GENERATE_PEERS)]
    return bench.race(what, "generate", engines, settings, rounds, n_warm)


def train(bench):
    """Tokens per second of whole training steps; yield a Table per shape."""
    named = "train" in bench.options.suites
    sizes = [bench.options.size] if bench.options.size else ["small", "gpt2"] if named else ["small"]
    for size in sizes:
        n_batch, n_seq = TRAIN_SHAPES[size]
        rounds = [{"step": i, "n_batch": n_batch, "n_seq": n_seq} for i in range(1 + bench.options.runs)]
        settings = bench.settings(bench.model(size, lively=False))
        runs = bench.race("train", "train", [*TRAINERS, *available(TRAIN_PEERS)], settings, rounds)
        rows = make_rows(runs, lambda answer, n=n_batch * n_seq: n / answer["seconds"][0], TRAINERS)
        check_losses(rows, runs)
        setting = f"{describe(size)}, batch {n_batch} x {n_seq}, float32, clip and AdamW included"
        yield Table("train", setting, "tokens/s", True, rows)


def tokenize(bench):
    """Megabytes of text per second with GPT-2's vocabulary, one thread each; yield a Table cold and one warm."""
    directory, data = bench.folder / "vocabulary", bench.options.data
    Tokenizer.gpt2().save(directory)
    if data is None:
        data, name = bench.folder / "source.txt", "nanogpt_np's own source"
        sources = sorted(Path(__file__).parent.parent.rglob("*.py"))
        files.write_text(data, "".join(files.read_text(path) for path in sources))
    else:
        name = Path(data).name
    n_bytes = len(files.read_text(data).encode())
    settings = bench.settings(directory, threads=1, data=str(data))
    rounds = [{"times": 2}] * (1 + bench.options.runs)
    ours = ["encode", "encode_array"]
    runs = bench.race("tokenize", "encode", [*ours, *available(ENCODE_PEERS)], settings, rounds, fresh=True)
    for i, when in enumerate(("cold: a new process, the first time", "warm: the second time")):
        rows = make_rows(runs, lambda answer, i=i: n_bytes / 1e6 / answer["seconds"][i], ours)
        check_equal(rows, runs, "sha256", "ids")
        yield Table("tokenize", f"{name}, {n_bytes / 1e6:.2f} MB, one thread, {when}", "MB/s", True, rows)


def start(bench):
    """Seconds of a whole command that says one token; yield a Table per model."""
    shipped = bench.options.size is None
    if shipped:
        try:
            yield start_of(bench, registry.resolve("stories"), "the shipped stories model")
        except FileError as error:
            yield Table("start", "the shipped stories model", "s", False, [], [f"not measured: {error}"])
    size = bench.options.size or "gpt2"
    yield start_of(bench, bench.model(size), describe(size))


def start_of(bench, directory, name):
    """The Table of one model: `nanogpt-np generate` with each of our ops, and a script of a few lines."""
    commands = {name: start_command(bench, name, directory) for name in [*OPS, *available(START_PEERS)]}

    def open_engine(engine):
        about, bytecode = START_ABOUT.get(engine, ""), bench.folder / "bytecode"
        return Command(commands[engine], bench.threads, about, bench.options.isa, bytecode=bytecode)

    runs = race("start", commands, open_engine, [{}] * (1 + bench.options.runs), pause=bench.pause)
    rows = make_rows(runs, lambda answer: answer["seconds"][0], OPS)
    check_equal(rows, runs, "text", "text")
    return Table("start", f"{name}, whole process to its first token, caches warm", "s", False, rows)


def start_command(bench, engine, directory):
    """The words of a whole command that says PROMPT and one token."""
    if engine in GGUF_PEERS:
        settings = bench.prepared(engine, bench.settings(directory))
        return [sys.executable, "-c", llama.START_SCRIPT, settings["gguf"], str(bench.threads), PROMPT]
    if engine in START_PEERS:
        return [sys.executable, "-c", START_SCRIPT, str(directory), PROMPT]
    ours = [sys.executable, "-m", "nanogpt_np", "generate", PROMPT, "--model", str(directory)]
    return [*ours, "--max-new-tokens", "1", "--temperature", "0", "--ops", engine]
