"""The schedules of GPT-3 by tokens, and its recipe by name (Brown et al. 2020, table 2.1 and appendix B)."""

import math
from itertools import pairwise

import numpy as np
import pytest
from runs import options

from nanogpt_np import PRESETS, ops
from nanogpt_np.config import GPTConfig
from nanogpt_np.errors import InputError
from nanogpt_np.params import size
from nanogpt_np.training import gpt3, recipes, schedule
from nanogpt_np.training.loop import prepare, run
from nanogpt_np.training.options import TrainOptions

NONE = recipes.Recipe("none", 0, "", {"steps": 1000, "batch_size": 50, "n_ctx": 100, "lr": 1.0, "warmup": 7})


def recipe(**given):
    return TrainOptions(data=["x"], out="y", **recipes.fill({"recipe": "gpt3", **given}, NONE))


def test_the_recipe_is_that_of_appendix_b():
    o = recipe()
    assert (o.beta1, o.beta2, o.clip, o.weight_decay, o.lr) == (0.9, 0.95, 1.0, 0.1, 6e-4)
    n_tokens = 1000 * 50 * 100
    shares = [n / n_tokens * 300e9 for n in (o.warmup_tokens, o.decay_tokens, o.ramp_tokens)]
    np.testing.assert_allclose(shares, [375e6, 260e9, 4e9], rtol=1e-3)  # rounded to whole tokens
    assert o.ramp_from / 50 == pytest.approx(32e3 / 0.5e6, rel=0.1)  # to whole windows


def test_what_is_named_counts_more_than_the_recipe():
    o = recipe(lr=2e-3, ramp_tokens=0, beta2=0.99)
    assert (o.lr, o.ramp_tokens, o.beta2, o.beta1) == (2e-3, 0, 0.99, 0.9)


@pytest.mark.parametrize("name", ["gpt4", "", "GPT3"])
def test_no_other_recipe(name):
    with pytest.raises(InputError, match="--recipe: expected gpt3"):
        recipes.fill({"recipe": name}, NONE)
    with pytest.raises(InputError, match="--recipe: expected gpt3"):
        TrainOptions(data=["x"], out="y", recipe=name)


def test_table_2_1_as_it_is_printed_and_as_it_can_be():
    """Two rows do not multiply out; the presets keep what does, and all parameter counts."""
    wrong = [name for name, row in gpt3.PRINTED.items() if row.n_heads * row.d_head != row.d_model]
    assert wrong == ["gpt3-xl", "gpt3-13b"]
    for name, row in gpt3.PRINTED.items():
        c = PRESETS[name]
        assert (c.n_layer, c.d_head, c.n_ctx) == (row.n_layers, row.d_head, 2048)
        assert c.n_embd == row.d_model or (name, c.n_embd) == ("gpt3-13b", 5120)
        assert c.n_head == row.n_heads or (name, c.n_head) == ("gpt3-xl", 16)
        assert size(c) == pytest.approx(row.n_params, rel=0.02)  # printed with two or three digits
        assert [c.window_of(layer) for layer in range(4)] == [None, 256, None, 256]  # alternating


def test_the_batch_grows_in_a_straight_line_to_its_full_size():
    o = recipe(steps=400, batch_size=8, accumulate=4, ramp_tokens=40_000, ramp_from=2)
    read, counts = 0, []
    for step in range(200):
        assert schedule.windows_before(o, 100, step) == read
        counts.append(schedule.windows_of(o, 100, read))
        exact = min(2 + 30 * read * 100 / 40_000, 32)
        assert exact - 1 < counts[-1] <= exact
        read += counts[-1]
    assert counts[0] == 2 and counts[-1] == 32 and counts == sorted(counts)
    assert schedule.windows_before(o, 100, 10**9) == read + (10**9 - 200) * 32  # and no loop over a billion steps


def test_without_tokens_everything_is_by_steps_as_before():
    o = TrainOptions(data=["x"], out="y", steps=50, warmup=5, batch_size=3, accumulate=2)
    assert [schedule.windows_of(o, 64, n) for n in (0, 10**6)] == [6, 6]
    assert [schedule.windows_before(o, 64, n) for n in (0, 7)] == [0, 42]
    assert schedule.learning_rate(o, 64, 4) == o.lr and schedule.learning_rate(o, 64, 49) == pytest.approx(o.lr / 10)


def test_the_learning_rate_by_tokens():
    """Up to its highest value with the last token of the warm-up; half way down half way; a tenth at the end and on."""
    rates = [schedule.by_tokens(n, 10, 1.0, 0.1, 50, 1050) for n in range(0, 3000, 10)]
    np.testing.assert_allclose(rates[:5], [0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[55] == pytest.approx(0.55) and rates[105:] == [0.1] * 195
    for a, b in pairwise(rates[5:106]):
        assert b < a or math.isclose(a, b)
    assert schedule.by_tokens(0, 10, 1.0, 0.1, 0, 100) == 1.0  # no warm-up
    assert schedule.by_tokens(40, 30, 1.0, 0.1, 50, 1050) == 1.0  # never more


@pytest.mark.parametrize(
    "given, message",
    [
        ({"warmup_tokens": 5}, "--warmup-tokens: expected a number with --decay-tokens"),
        ({"decay_tokens": 5}, "--warmup-tokens: expected a number with --decay-tokens"),
        ({"warmup_tokens": 5, "decay_tokens": 5}, "--decay-tokens: expected more than --warmup-tokens = 5"),
        ({"warmup_tokens": -1, "decay_tokens": 5}, "--warmup-tokens: expected at least 0"),
        ({"ramp_tokens": -1}, "--ramp-tokens: expected at least 0"),
        ({"ramp_from": 0}, "--ramp-from: expected at least 1"),
        ({"window": 0}, "--window: expected a whole number of at least 1"),
    ],
)
def test_schedules_that_cannot_be(given, message):
    with pytest.raises(InputError, match=message):
        TrainOptions(data=["x"], out="y", **given)


GROWING = {"batch_size": 4, "ramp_tokens": 400, "ramp_from": 1, "warmup_tokens": 100, "decay_tokens": 800, "window": 4}


def test_a_run_that_grows_and_is_resumed_reads_each_window_once(tmp_path):
    """Stopped in the middle of the ramp and gone on with: the same weights, and no window twice in an epoch."""
    whole = run(options(tmp_path, "whole", **GROWING), ops, progress=False)
    assert whole.config == whole.config.replace(window=4) and isinstance(whole.config, GPTConfig)
    seen = []
    for out in ("part", "part"):
        o = options(tmp_path, out, **GROWING)
        part, _ = prepare_at(o, bool(seen))
        batch = part.windows.batch
        part.windows.batch = lambda first, n, batch=batch: (seen.append((first, n)), batch(first, n))[1]
        while part.step < part.options.steps and part.step < (3 if len(seen) < 3 else 99):
            part.train_step()
        part.save()
    assert [first for first, _ in seen] == [sum(n for _, n in seen[:i]) for i in range(len(seen))]
    for name in whole.optimizer.m:
        np.testing.assert_array_equal(part.optimizer.m[name], whole.optimizer.m[name], err_msg=name)


def prepare_at(o, resume):
    from pathlib import Path

    from nanogpt_np.training import folder

    if resume:
        o = folder.resume_options(o.out)
    with folder.held(o.out, resume):
        found = prepare(o, ops, resume, progress=False)
    assert Path(o.out, folder.NAME).exists()
    return found
