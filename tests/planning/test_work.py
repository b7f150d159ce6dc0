"""Operations and bytes of passes by adding up tokens, of scaling laws by searching; rooflines and words of numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning.test_sizes import shapes

from nanogpt_np import GPTConfig
from nanogpt_np.config import PRESETS
from nanogpt_np.lens import cost
from nanogpt_np.planning import MACHINES, scaling, times, wording, work


@settings(max_examples=60, deadline=None)
@given(shapes(), st.integers(1, 60))
def test_a_pass_is_the_sum_of_its_tokens(config, n):
    each = [sum(part.flops for part in cost.token_parts(config, i)) for i in range(1, n + 1)]
    assert cost.pass_flops(config, n) == sum(each)
    seen = sum(min(n, config.window_of(layer) or n) for layer in range(config.n_layer))
    assert cost.seen_positions(config, n) == seen
    assert cost.banded_layers(config) == sum(config.window_of(layer) is not None for layer in range(config.n_layer))


def test_named_layers_have_bands():
    config = GPTConfig(n_layer=5, window=4, banded_layers=(0, 3, 4))
    assert cost.banded_layers(config) == 3 and cost.seen_positions(config, 10) == 2 * 10 + 3 * 4


def test_a_prompt_makes_logits_once():
    c = PRESETS["gpt2"]
    one, many = work.prompt_work(c, 1), work.prompt_work(c, 10)
    assert one.flops == work.token_work(c, 0).flops
    rest = sum(sum(part.flops for part in cost.token_parts(c, n) if part.name != "unembedding") for n in range(1, 11))
    assert many.flops == rest + 2 * c.n_embd * c.n_vocab
    assert many.cache_bytes == 10 * 36_864 and many.weight_bytes == one.weight_bytes


def test_a_batch_reads_the_weights_once():
    c = PRESETS["gpt2"]
    one, eight = (work.token_work(c, 1023, "float32", n) for n in (1, 8))
    assert eight.weight_bytes == one.weight_bytes == 4 * (124_439_808 - 1023 * 768)
    assert eight.flops == 8 * one.flops and eight.cache_bytes == 8 * one.cache_bytes == 8 * 1024 * 73_728
    assert eight.intensity == eight.flops / (eight.weight_bytes + eight.cache_bytes)


def test_what_is_made_again_is_computed_again():
    c = PRESETS["gpt2"]
    forward = cost.pass_flops(c, c.n_ctx)
    none, attention, everything = (work.counted_flops(c, c.n_ctx, again) for again in ("none", "attention", "all"))
    assert none == 3 * forward and everything == 4 * forward and none < attention < everything


def test_the_longer_of_two_times():
    machine = MACHINES["a100"]
    read, computed = work.Work(10, 2039 * 10**9, 0), work.Work(624 * 10**12, 10, 0)
    assert times.seconds(read, machine, "float16") == 1 and times.is_memory_bound(read, machine, "float16")
    assert times.seconds(computed, machine, "int8") == 2 and not times.is_memory_bound(computed, machine, "int8")
    assert machine.ridge("float16") == pytest.approx(153.0, abs=0.05)


def test_every_machine_says_where_its_numbers_stand():
    for machine in MACHINES.values():
        assert machine.source and machine.float32 <= machine.float16
        assert machine.memory > 10**9 and machine.per_node >= 1


# ---------------------------------------------------------------- scaling laws


def test_constants_are_the_published_ones():
    assert (scaling.HOFFMANN.E, scaling.HOFFMANN.A, scaling.HOFFMANN.B) == (1.69, 406.4, 410.7)
    assert (scaling.HOFFMANN.alpha, scaling.HOFFMANN.beta) == (0.34, 0.28)
    fit = scaling.BESIROGLU
    assert (fit.E, fit.A, fit.B, fit.alpha, fit.beta) == (1.8172, 482.01, 2085.43, 0.3478, 0.3658)
    fit = scaling.KAPLAN
    assert (fit.Nc, fit.Dc, fit.aN, fit.aD, fit.Cc, fit.aC) == (6.4e13, 1.8e13, 0.076, 0.103, 3.1e8, 0.050)


@pytest.mark.parametrize("fit", [scaling.HOFFMANN, scaling.BESIROGLU], ids=lambda fit: fit.name)
@pytest.mark.parametrize("flops", [1e18, 5.76e23])
def test_the_best_size_is_found_by_searching_too(fit, flops):
    """Of 20,001 sizes the best lies within a step, 0.12 %, of the formula's."""
    sizes = np.geomspace(1e6, 1e13, 20_001)
    searched = sizes[np.argmin(fit.loss(sizes, flops / 6 / sizes))]
    n_params, n_tokens = fit.best(flops)
    assert n_params == pytest.approx(searched, rel=1.2e-3) and 6 * n_params * n_tokens == pytest.approx(flops)


def test_twenty_tokens_for_each_parameter():
    """At Chinchilla's operations, 5.76e23, the corrected fit says about 20, and Hoffmann's printed one far more.

    That is what Besiroglu et al. 2024 found wrong with it.
    """
    ratios = [n_tokens / n_params for n_params, n_tokens in (fit.best(5.76e23) for fit in scaling.FITS[1:])]
    assert 40 < ratios[0] and 15 < ratios[1] < 25
    assert scaling.HOFFMANN.best(5.76e23)[0] < 70e9 / 2 < scaling.BESIROGLU.best(5.76e23)[0]


def test_kaplan_with_endless_text_is_the_law_of_size():
    """L(N) = (Nc / N)^aN (equation 1.1) with the constants of table 2."""
    assert scaling.KAPLAN.loss(1e9, 1e40) == pytest.approx((6.4e13 / 1e9) ** 0.076, rel=1e-9)
    assert scaling.KAPLAN.best(work.PF_DAY) == (1.3e9, 2e10)
    assert scaling.KAPLAN.best_loss(3.1e8 * work.PF_DAY) == 1


# ---------------------------------------------------------------- words


@pytest.mark.parametrize("value, words", [(0, "0 B"), (1, "1 B"), (999, "999 B"), (999.9, "1.00 kB"), (1e3, "1.00 kB"),
                                          (12345, "12.3 kB"), (999_999, "1.00 MB"), (2.5e17, "250 PB"),
                                          (3e18, "3.00e+18 B"), (1e-9, "1.00e-09 B"),
                                          (10**40, "1.00e+40 B")])  # fmt: skip
def test_bytes_in_words(value, words):
    assert wording.in_units(value, "B") == words


@pytest.mark.parametrize("seconds, words", [(1e-6, "1.00 µs"), (0.01234, "12.3 ms"), (1, "1.00 s"), (59.99, "60.0 s"),
                                            (90, "1.50 minutes"), (86400, "1.00 days"), (1e8, "3.17 years"),
                                            (1e15, "3.17e+07 years"), (1e-12, "1.00e-06 µs")])  # fmt: skip
def test_spans_in_words(seconds, words):
    assert wording.in_time(seconds) == words
