"""Memory per rank against shapes cut by hand and training that is measured; the smallest cluster by trying all."""

import math

import pytest
from small import run_script

from nanogpt_np import GPTConfig
from nanogpt_np import params as P
from nanogpt_np.config import PRESETS
from nanogpt_np.errors import InputError
from nanogpt_np.planning import MACHINES, Machine, Options, Split, rank_memory, splits
from nanogpt_np.planning.clusters import generating_cluster, training_cluster
from nanogpt_np.training import limits

CONFIG = GPTConfig(n_vocab=101, n_ctx=16, n_embd=24, n_layer=6, n_head=4)


def cut_by_hand(config, tensor, pipeline, stage):
    """Numbers of one rank: every parameter of its layers, those that Megatron cuts divided by the tensor ranks."""
    n, each = 0, config.n_layer // pipeline
    for name, shape in P.shapes(config).items():
        is_first, is_last = stage == 0, stage == pipeline - 1
        if name.startswith("h."):
            here = stage * each <= int(name.split(".")[1]) < (stage + 1) * each
        else:
            here = {"wte": is_first or (is_last and config.tie_word_embeddings), "wpe": is_first, "ln_f": is_last,
                    "lm_head": is_last}[name.split(".")[0]]  # fmt: skip
        if not here:
            continue
        is_whole = name.startswith(("wpe", "ln_f")) or ".ln_" in name
        cut = name.endswith((".weight", "c_attn.bias", "c_fc.bias")) and not is_whole
        if name.startswith(("wte", "lm_head")):
            n += -(-shape[0] // tensor) * shape[1]
        else:
            n += math.prod(shape) // (tensor if cut else 1)
    return n


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("tensor", [1, 2, 4])
@pytest.mark.parametrize("pipeline", [1, 2, 3, 6])
def test_parameters_of_a_rank(tied, tensor, pipeline):
    config = CONFIG.replace(tie_word_embeddings=tied)
    for stage in range(pipeline):
        expected = cut_by_hand(config, tensor, pipeline, stage)
        assert splits.stage_params(config, tensor, pipeline, stage) == expected


def test_whole_activations_are_those_that_training_checks_for():
    for config in (CONFIG, CONFIG.replace(n_inner=50)):
        assert splits.block_bytes(config, 1, "float32", "none") * config.n_layer == limits.window_bytes(config)


def test_what_is_made_again_is_not_kept():
    ways = [Options(recompute=again) for again in ("none", "attention", "all")]
    kept = [rank_memory(CONFIG, Split(), options).activations for options in ways]
    assert kept == sorted(kept, reverse=True) and kept[2] < kept[0]


def test_the_first_stage_keeps_what_one_rank_would():
    """1F1B: as many micro-batches wait as there are stages (Korthikanti et al. 2022, section 4.2.3)."""
    options = Options(precision="float32")
    one, first = rank_memory(CONFIG, Split(), options), splits.stage_memory(CONFIG, Split(pipeline=3), options, 0)
    assert first.activations == one.activations and first.weights < one.weights


SHAPES = [
    (GPTConfig(n_vocab=512, n_ctx=64, n_embd=64, n_layer=4, n_head=4), 2),
    (GPTConfig(n_vocab=4096, n_ctx=128, n_embd=128, n_layer=3, n_head=4), 4),
    (GPTConfig(n_vocab=300, n_ctx=32, n_embd=256, n_layer=4, n_head=4), 1),
    (GPTConfig(n_vocab=1000, n_ctx=192, n_embd=128, n_layer=4, n_head=8), 3),
]


STEP = """
import tracemalloc
import numpy as np
from nanogpt_np import GPT, GPTConfig, ops
from nanogpt_np.training import backward, optim
for config, n_batch in {shapes}:
    rng = np.random.default_rng(0)
    tracemalloc.start()
    gpt = GPT.from_config(config, ops="numpy")
    optimizer = optim.AdamW(gpt.params)
    ids, targets = rng.integers(0, config.n_vocab, (2, n_batch, config.n_ctx))
    tracemalloc.reset_peak()
    _, grads = backward.loss_and_grads(ids, targets, gpt.params, config, ops)
    optim.clip_(grads, 1.0, ops)
    optimizer.step(gpt.params, grads, 1e-4, ops)
    print(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    del gpt, optimizer, grads
"""


def test_a_training_step_takes_what_was_planned():
    """By tracemalloc, which sees NumPy's arrays: within 8 % of the plan.

    What one op makes on the way is not planned, and where logits are large, not all gradients are there beside them.
    In a process of its own, as tracemalloc sees what other tests' threads do meanwhile, too.
    """
    peaks = run_script(STEP.format(shapes=SHAPES)).split()
    for (config, n_batch), peak in zip(SHAPES, peaks, strict=True):
        planned = rank_memory(config, Split(), Options(precision="float32", micro_batch=n_batch)).total
        assert int(peak) == pytest.approx(planned, rel=0.08), config


@pytest.mark.parametrize("split, line", [
    (Split(tensor=3), "tensor: expected a divisor of n_head = 4, got 3; 2 is one"),
    (Split(pipeline=7), "pipeline: expected a divisor of n_layer = 6, got 7; 6 is one"),
    (Split(pipeline=10**6), "pipeline: expected a divisor of n_layer = 6, got 1000000; 6 is one"),
])  # fmt: skip
def test_a_split_that_does_not_suit_is_one_line(split, line):
    with pytest.raises(InputError) as caught:
        rank_memory(CONFIG, split, Options())
    assert str(caught.value) == line


def small_machine(memory, per_node=2):
    return Machine("small", "a small machine", memory, 10**9, 10**9, 10**9, None, per_node, "made up")


@pytest.mark.parametrize("memory", [60_000, 100_000, 150_000, 300_000, 10**6])
@pytest.mark.parametrize("recompute", ["attention", "all"])
def test_no_smaller_cluster_trains_it(memory, recompute):
    """By trying every split of up to 24 ranks that suits the model and the node."""
    options, machine = Options(recompute=recompute, usable=1.0), small_machine(memory)
    tried = [Split(d, t, p) for d in range(1, 25) for t in (1, 2) for p in (1, 2, 3, 6) if d * t * p <= 24]
    fitting = [split.n_ranks for split in tried if rank_memory(CONFIG, split, options).total <= memory]
    found = training_cluster(CONFIG, machine, options)
    if fitting:
        assert found.split.n_ranks == min(fitting) and found.n_bytes <= memory
        assert found.n_bytes == rank_memory(CONFIG, found.split, options).total
    else:
        assert found is None or found.split.n_ranks > 24


def test_clusters_of_the_presets():
    a100 = MACHINES["a100"]
    for name in ("gpt2", "gpt2-xl", "gpt3-xl"):
        assert training_cluster(PRESETS[name], a100, Options()).split == Split()
    for dtype, least in (("float16", 5), ("int8", 3), ("int4", 2)):  # weights / 72 GB; float16: 350 GB
        found = generating_cluster(PRESETS["gpt3-175b"], a100, Options(dtype=dtype)).split.n_ranks
        assert least <= found <= least + 1
    alone = Machine("one", "one", 10**4, 1, 1, 1, None, 1, "")
    assert training_cluster(CONFIG, alone, Options()) is None and generating_cluster(CONFIG, alone, Options()) is None
