"""Trains three small models of GPT-3's shape to learn from examples, and measures them: `python weights/cards/train.py`.

All layers dense, every other one banded, all banded: the same fresh weights, texts and steps. Writes curve.json beside
itself: losses, accuracy against the number of examples, seconds of a step, bytes of the cache and of a step's memory.
Two departures from GPT-2, for speed: fresh weights are 5 times larger, as 0.02 is meant for rows 16 times as wide, and
the matrices at both ends are not tied. A minute on one core.
"""

import os
import statistics
import sys
import time
import tracemalloc
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # sums in the same order on every machine with this BLAS

import numpy as np

from nanogpt_np import GPT, files
from nanogpt_np import params as P
from nanogpt_np.evaluation.in_context import Cards, accuracy, best_possible, texts
from nanogpt_np.kv_cache import cache_bytes
from nanogpt_np.training import backward, gpt3, optim, schedule

HERE = Path(__file__).parent
TASK = Cards(n_symbols=8, n_shots=64)
SHAPE = {"n_embd": 48, "n_layer": 4, "n_head": 2, "tie_word_embeddings": False}
WINDOW = 16
KINDS = {"dense": {}, "alternating": {"window": WINDOW}, "all banded": {"window": WINDOW, "banded_layers": (0, 1, 2, 3)}}
STEPS, BATCH, LR, SEED = 200, 8, 3e-3, 1
WARMUP = 0.1  # of all tokens: GPT-3's share would be a quarter of a step here


def main():
    """Train all kinds and write what was measured."""
    found = {name: measured(name) for name in KINDS}
    best = [round(float(share), 4) for share in best_possible(TASK)]
    about = {"task": TASK._asdict(), "window": WINDOW, "steps": STEPS, "tokens_per_step": BATCH * (2 * TASK.n_shots - 1)}
    files.write_json(HERE / "curve.json", about | {"best_possible": best, "models": found})


def measured(name):
    """Train one kind -> what curve.json says of it."""
    gpt, losses, seconds = trained(name)
    shares = accuracy(gpt, TASK, n=256, seed=0)
    ids, targets = texts(TASK, BATCH, np.random.default_rng(0))
    tracemalloc.start()
    backward.loss_and_grads(ids, targets, gpt.params, gpt.config, gpt.ops)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"{name:12} loss {np.mean(losses[-20:]):.3f}, after 63 examples {shares[-1]:.2f} right, {seconds:.3f} s a step")
    return {
        "parameters": P.count(gpt.params),
        "loss": round(float(np.mean(losses[-20:])), 4),
        "accuracy": [round(float(share), 4) for share in shares],
        "seconds_per_step": round(seconds, 4),
        "cache_bytes": cache_bytes(gpt.config, gpt.config.n_ctx),
        "training_peak_bytes": peak,
    }


def trained(name, steps=STEPS):
    """-> the model, the loss of each step, the median seconds of one."""
    gpt = GPT.from_config(TASK.config(**SHAPE, **KINDS[name]), seed=SEED, ops="numpy")
    for _, array in P.walk(gpt.params):
        if array.ndim == 2:
            array *= 5
    betas, decay = (gpt3.ADAM["beta1"], gpt3.ADAM["beta2"]), gpt3.ADAM["weight_decay"]
    optimizer, rng = optim.AdamW(gpt.params, betas=betas, weight_decay=decay), np.random.default_rng(SEED)
    losses, seconds = [], []
    for step in range(steps):
        ids, targets = texts(TASK, BATCH, rng)
        begun = time.perf_counter()
        loss, grads = backward.loss_and_grads(ids, targets, gpt.params, gpt.config, gpt.ops)
        optim.clip_(grads, gpt3.ADAM["clip"])
        n_tokens, n_all = ids.size, ids.size * STEPS
        rate = schedule.by_tokens(step * n_tokens, n_tokens, LR, LR / 10, WARMUP * n_all, gpt3.DECAY * n_all)
        optimizer.step(gpt.params, grads, rate)
        losses.append(loss)
        seconds.append(time.perf_counter() - begun)
    return gpt, losses, statistics.median(seconds)


if __name__ == "__main__":
    sys.exit(main())
