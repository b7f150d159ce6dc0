"""What `nanogpt-np plan` says of our own runs beside what they take: `python docs/planned.py [NAME …]`.

Enter: names of models, presets too ("stories" if none is given). Leave: a line for each thing that is planned: planned,
measured, and by how much the plan is off. Memory is counted by tracemalloc. Time is that of the processor, on one core,
the best of a few rounds, as the machine's own speed is: so it hardly matters who else is busy.
"""

import os
import sys
import time
import tracemalloc

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is there

import numpy as np

from nanogpt_np import GPT, KVCache, planning
from nanogpt_np import params as P
from nanogpt_np.planning.here import measure_here
from nanogpt_np.planning.naming import find_config
from nanogpt_np.training import backward, optim

N_PROMPT, N_NEW, ROUNDS = 128, 32, 3
N_SEQ = 128  # of a training window; the model is cut to it


def main(names):
    """Every model in turn."""
    machine = measure_here(1, time.process_time)
    rows = [("", "planned", "measured", "off by")]
    for name in names:
        rows += [(f"{name}: {what}", *cells) for what, *cells in compare(find_config(name), machine)]
    print(f"{machine.title}: {machine.bandwidth / 1e9:.1f} GB/s, {machine.float32 / 1e9:.0f} billion operations/s")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
        print("  ".join([first.ljust(widths[0]), *cells]))


def compare(config, machine):
    """Rows of one shape: memory, then time."""
    options = planning.Options(dtype="float32", n_before=N_PROMPT + N_NEW // 2, n_prompt=N_PROMPT, precision="float32")
    plan = planning.plan(config, machine, options)
    gpt = GPT.from_config(config, ops="numpy")
    yield in_mb("weights", plan.sizes.n_bytes["float32"], sum(array.nbytes for _, array in P.walk(gpt.params)))
    yield in_mb("KV cache, full", plan.sizes.full_cache_bytes["float32"], KVCache(config).n_bytes)
    small = config.replace(n_ctx=N_SEQ)
    step_bytes, step_seconds = train_steps(small)
    yield in_mb("training step", planning.rank_memory(small, planning.Split(), options).total, step_bytes)
    prompt, token = generate(gpt)
    row = plan.machines[-1]
    yield in_ms("a token", row.token_seconds, token)
    yield in_ms("a prompt", row.prompt_seconds, prompt)
    yield in_ms("training step", 6 * P.size(small) * N_SEQ / machine.float32, step_seconds)


def train_steps(config):
    """-> the most bytes of a step, its seconds; one window, NumPy."""
    rng, best = np.random.default_rng(0), np.inf
    tracemalloc.start()
    gpt = GPT.from_config(config, ops="numpy")
    optimizer = optim.AdamW(gpt.params)
    for measured in (True, *[False] * ROUNDS):  # tracemalloc costs time
        ids = rng.integers(0, config.n_vocab, (2, 1, config.n_ctx))
        began = time.process_time()
        _, grads = backward.loss_and_grads(*ids, gpt.params, config, gpt.ops)
        optim.clip_(grads, 1.0, gpt.ops)
        optimizer.step(gpt.params, grads, 1e-4, gpt.ops)
        if measured:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        else:
            best = min(best, time.process_time() - began)
    return peak, best


def generate(gpt):
    """-> seconds of a prompt up to its first token, and of a token; NumPy, greedy."""
    ids = np.random.default_rng(1).integers(0, gpt.config.n_vocab - 1, N_PROMPT).tolist()
    prompts, tokens = [], []
    for _ in range(ROUNDS):
        times = [time.process_time()]
        for _ in gpt.stream(ids, N_NEW, temperature=0, ignore_eos=True):
            times.append(time.process_time())
        first, *rest = np.diff(times)
        prompts.append(first)
        tokens.append(float(np.median(rest)))
    return min(prompts), min(tokens)


def in_mb(what, planned, measured):
    """A row of bytes."""
    return what, f"{planned / 1e6:.2f} MB", f"{measured / 1e6:.2f} MB", f"{planned / measured - 1:+.1%}"


def in_ms(what, planned, measured):
    """A row of seconds; how many times as long it took as the roofline allows."""
    return f"{what}, time", f"{1e3 * planned:.2f} ms", f"{1e3 * measured:.2f} ms", f"{measured / planned:.2f} x"


if __name__ == "__main__":
    main(sys.argv[1:] or ["stories"])
