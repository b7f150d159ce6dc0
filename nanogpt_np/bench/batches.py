"""Many texts at once: tokens per second of all together, ours against each peer that takes a list of prompts.

Enter: a Bench. Leave: a table for each number of texts. The prompts are of different lengths: we and transformers pad
them on the left, CTranslate2 and llama.cpp do it their own way. Next: bench/suites.py.
"""

import numpy as np

from .checks import check_ids, make_rows
from .ours import ENGINES, SIZES, describe
from .report import Table
from .roster import GENERATE_PEERS, available

BATCHES = (8, 32, 64)  # texts
SHORTEST, LONGEST, N_NEW = 8, 64, 32


def batch(bench):
    """Tokens per second of 8, 32 and 64 texts at once, from the call to the last new token; yield a Table for each."""
    size = bench.options.size or "gpt2"
    config = SIZES[size]
    longest = min(LONGEST, config.n_ctx // 2)
    n_new = min(N_NEW, config.n_ctx - longest)
    for n_texts in BATCHES:
        prompts = prompts_of(config, n_texts, longest)
        settings = bench.settings(bench.model(size), n_ctx=longest + n_new, n_texts=n_texts)
        rounds = [{"prompts": prompts, "n_new": n_new}] * (1 + bench.options.runs)
        engines = [*ENGINES, *available(GENERATE_PEERS)]
        runs = bench.race("batch", "generate", engines, settings, rounds)
        rows = make_rows(runs, lambda answer, n=n_texts * n_new: n / answer["seconds"][0], ENGINES)
        check_ids(rows, runs, bench.judge(settings, prompts))
        setting = f"{describe(size)}, prompts of {SHORTEST} to {longest}, {n_new} new tokens each, greedy"
        yield Table(f"batch {n_texts}", setting, "tokens/s", True, rows)


def prompts_of(config, n_texts, longest):
    """Random prompts, the same for everyone: any length from SHORTEST to `longest`, and one of each of these two."""
    rng = np.random.default_rng(0)
    lengths = [SHORTEST, longest, *rng.integers(SHORTEST, longest + 1, n_texts - 2)]
    return [rng.integers(0, config.n_vocab - 1, n).tolist() for n in rng.permutation(lengths)]
