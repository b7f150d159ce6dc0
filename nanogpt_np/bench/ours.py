"""Our side of the benchmark: the random model that everyone opens, our engines, and how fast memory can be read.

Enter: settings and requests as peers.py hands them on. Leave: ids or a loss, and seconds. Everything is called
as a user would call it. Next: bench/checks.py.
"""

import math
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from .. import __version__, files, memory
from .. import params as P
from ..config import PRESETS, GPTConfig
from ..generation.request import Request
from ..generation.sampling import Sampling
from ..generation.tokens import stream_ids
from ..gpt import GPT, OPS
from ..storage import checkpoint
from ..tokenizer.bpe import GPT2_MERGES, Tokenizer
from ..tokenizer.vocab import read_merges
from ..training import backward, data, evaluation, loop, optim

ENGINES = [name for name in OPS if name != "auto"]  # the first is the definition
TRAINERS = [name for name in ENGINES if name not in ("int8", "int4")]
SIZES = {
    "tiny": GPTConfig(n_vocab=512, n_ctx=64, n_embd=32, n_layer=2, n_head=2, eos_id=511),
    "small": GPTConfig(n_vocab=4096, n_ctx=256, n_embd=256, n_layer=4, n_head=8, eos_id=4095),
    "stories": GPTConfig(n_vocab=4096, n_ctx=256, n_embd=256, n_layer=6, n_head=8, eos_id=4095),
    "gpt2": PRESETS["gpt2"],
}
LR, BETAS, WEIGHT_DECAY, MAX_NORM = 1e-4, (0.9, 0.95), 0.1, 1.0  # the same optimizer for everyone
LIVELY = 5.0
HELD_OUT = 0.02  # of the documents, as when the shipped models were trained


def prompt(config, n):
    """The same `n` random ids for everyone."""
    rng = np.random.default_rng(0)
    return rng.integers(0, config.n_vocab - 1, n).tolist()


def describe(size):
    """describe("gpt2") -> "gpt2 shape, 124,439,808 random weights" """
    count = sum(math.prod(shape) for shape in P.shapes(SIZES[size]).values())
    return f"{size} shape, {count:,} random weights"


def peak_bytes():
    """The most memory this process has held (resident); None where the system does not say.

    Linux: VmHWM of this program alone, as ru_maxrss begins with what the parent had held before it started us.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Maker:
    """Writes the random model that everyone opens."""

    about = "random weights, seed 0"

    def __init__(self, settings):
        self.directory = settings["directory"]

    def run(self, request):
        """{"size": a name of SIZES, "lively": true or false} -> {}"""
        config = SIZES[request["size"]]
        gpt = GPT.from_config(config, tokenizer=cut_vocabulary(config.n_vocab), ops="numpy")
        if request["lively"]:
            enliven(gpt.params)
        checkpoint.save(self.directory, gpt.config, gpt.params, gpt.tokenizer)
        return {}


def enliven(params):
    """Scale positions, attention and block outputs up, in place: fresh weights only say their last id again.

    The arithmetic costs the same, and an engine that leaves something out no longer says the same ids by chance.
    """
    params["wpe"]["weight"] *= LIVELY
    for block in params["h"]:
        for part in (block["attn"]["c_attn"], block["attn"]["c_proj"], block["mlp"]["c_proj"]):
            part["weight"] *= LIVELY


def cut_vocabulary(n_vocab):
    """GPT-2's vocabulary, cut to the first merges: all 50,257 give Tokenizer.gpt2()."""
    return Tokenizer.from_merges(read_merges(GPT2_MERGES)[: n_vocab - 257])


class Ours:
    """This project with one of its ops, through the public `GPT.stream`."""

    def __init__(self, engine, settings):
        self.gpt = GPT.from_pretrained(settings["directory"], ops=engine)
        self.about = f"nanogpt_np {__version__}; GPT.stream, ops {self.gpt.ops.__name__.split('.')[-1]}"

    def run(self, request):
        """Greedy, end of text ignored; with "n_batch", so many copies of the prompt at once, and one's ids.

        With "awake", once before without a clock: threads that have slept may find themselves on one core for 50 ms,
        which is nothing to most turns, and more than all of the time to a small model's.
        """
        if "prompts" in request:
            return self.run_batch(request["prompts"], request["n_new"])
        ids, n_new = request["ids"], request["n_new"]
        if request.get("awake"):
            list(self.gpt.stream(ids, n_new, temperature=0, ignore_eos=True))
        if "n_batch" not in request:
            speculate = request.get("speculate", 0)
            return timed(self.gpt.stream(ids, n_new, temperature=0, ignore_eos=True, speculate=speculate))
        return timed(step[0] for step in self._steps([ids] * request["n_batch"], n_new))

    def run_batch(self, prompts, n_new):
        """All texts at once, as `GPT.generate` of a list does it -> {"texts", "seconds": [all of it]}."""
        began = time.perf_counter()
        steps = list(self._steps(prompts, n_new))
        seconds = time.perf_counter() - began
        return {"texts": [list(text) for text in zip(*steps, strict=True)], "seconds": [seconds]}

    def _steps(self, prompts, n_new):
        """The next id of every text, step by step: greedy, end of text ignored."""
        g = self.gpt
        return stream_ids(prompts, g.params, g.config, g.ops, Request(n_new, Sampling(0), ignore_eos=True))


class Loss:
    """How well the shipped stories model predicts a text with one of our ops."""

    def __init__(self, engine, settings):
        self.gpt, self.data = GPT.from_pretrained("stories", ops=engine), settings["data"]
        self.about = "nats per token of the stories model"

    def run(self, request):
        """{} -> {"loss"}: of what training sets aside, where the file has documents enough; of all of it where not."""
        many = len(data.read_documents([self.data])) >= 1 / HELD_OUT
        return {"loss": evaluation.evaluate_files(self.gpt, [self.data], HELD_OUT if many else None).loss}


class Judge:
    """How near the ids that another engine said come to the best by one of our ops, each after its own text so far."""

    about = "logits"

    def __init__(self, engine, settings):
        self.gpt = GPT.from_pretrained(settings["directory"], ops=engine)

    def run(self, request):
        """{"texts": [[prompt, said], …]} -> {"gaps"}: of each text the widest, in standard deviations of the logits."""
        return {"gaps": [float(self._gaps(*text).max()) for text in request["texts"]]}

    def _gaps(self, prompt, said):
        logits = self.gpt([*prompt, *said][:-1])[0, len(prompt) - 1 :]
        return (logits.max(-1) - logits[np.arange(len(said)), said]) / logits.std(-1)


def timed(tokens):
    """Draw all ids from an iterator -> the ids, and the seconds that each took."""
    ids, stamps = [], [time.perf_counter()]
    for token in tokens:
        ids.append(int(token))
        stamps.append(time.perf_counter())
    return {"ids": ids, "seconds": [b - a for a, b in pairwise(stamps)]}


def batch(request, n_vocab):  # -> inputs, targets: [n_batch, n_seq]
    """The batch of one step: random ids, the same for everyone."""
    rng = np.random.default_rng(request["step"])
    ids = rng.integers(0, n_vocab, (request["n_batch"], request["n_seq"] + 1))
    return ids[:, :-1], ids[:, 1:]


class OurTrainer:
    """This project's step: loss and gradients, clipping, AdamW."""

    def __init__(self, engine, settings):
        memory.keep_freed_memory(loop.KEPT_BYTES)  # as loop.train does
        raw = files.read_json(Path(settings["directory"]) / checkpoint.CONFIG)
        gpt = GPT.from_config(GPTConfig.from_dict(raw), ops=engine)  # as training makes them; equal to the file's
        self.config, self.params, self.ops = gpt.config, gpt.params, gpt.ops
        self.optimizer = optim.AdamW(self.params, betas=BETAS, weight_decay=WEIGHT_DECAY)
        self.about = "float32, loss + backward + clip + AdamW"

    def run(self, request):
        """One step on the batch of that number."""
        ids, targets = batch(request, self.config.n_vocab)
        began = time.perf_counter()
        loss, grads = backward.loss_and_grads(ids, targets, self.params, self.config, self.ops)
        optim.clip_(grads, MAX_NORM, self.ops)
        self.optimizer.step(self.params, grads, LR, self.ops)
        return {"loss": loss, "seconds": [time.perf_counter() - began]}


# ---------------------------------------------------------------- bandwidth: {"ids", "n_new"} -> {"seconds", "n_bytes"}


class Bandwidth:
    """How fast this machine reads memory, and how near to it our tokens come: tokens and sums in turn, in one process.

    A sum is that of 512 MiB of float32 by Numba, in all threads. Memory is fast or slow for seconds at a time, as other
    programs leave it; a sum behind each token finds it as the token did. All sums count, as all tokens do.
    """

    about = "sums of 512 MiB of float32 by Numba in all threads"

    def __init__(self, settings):
        import numba

        numba.set_num_threads(settings["threads"])
        compiled = (name for name in ENGINES if name != "numpy")  # whose BLAS has threads of its own
        self.engines = {name: Ours(name, settings) for name in compiled}
        self.array = np.ones(1 << 27, np.float32)
        self.sum = _parallel_sum()
        self.sum(self.array)

    def run(self, request):
        """-> {"seconds"} of each sum, {"n_bytes"} of one, {"in_turn"}: each engine's seconds of tokens and of sums."""
        in_turn = {}
        for name, ours in self.engines.items():
            tokens = ours.gpt.stream(request["ids"], request["n_new"], temperature=0, ignore_eos=True)
            in_turn[name] = self._in_turn(tokens)
        seconds = [second for _, sums in in_turn.values() for second in sums]
        return {"seconds": seconds, "n_bytes": self.array.nbytes, "in_turn": in_turn}

    def _in_turn(self, tokens):
        """Draw tokens, a sum behind each -> the seconds of tokens and of sums, but those of the first, the prompt's.

        Where several tokens come at once, the others take no time: all of it together counts.
        """
        seconds, sums, began = [], [], time.perf_counter()
        for _ in tokens:
            said = time.perf_counter()
            self.sum(self.array)
            summed = time.perf_counter()
            seconds.append(said - began)
            sums.append(summed - said)
            began = summed
        return seconds[1:], sums[1:]


def _parallel_sum():
    from numba import njit, prange

    from ..kernels.compile import FAST

    @njit(parallel=True, fastmath=FAST)
    def parallel_sum(array):
        n_parts = 64
        size = array.size // n_parts
        total = np.float32(0)
        for part in prange(n_parts):
            total += array[part * size : (part + 1) * size].sum()
        return total

    return parallel_sum
