"""Frozen blocks and rates by layer: what is frozen stays, costs no optimizer state and no backward."""

import numpy as np
import pytest
from small import CONFIG, make, random_ids

from nanogpt_np import ops
from nanogpt_np import params as P
from nanogpt_np.errors import InputError
from nanogpt_np.training import backward, optim, parts

N = CONFIG.n_layer
IDS = random_ids(2, 9)


def names_of(params, lowest):
    return {name for name, _ in P.walk(params) if parts.stage(name, N) >= lowest}


def test_stages():
    params = make(CONFIG.replace(tie_word_embeddings=False))
    found = {name: parts.stage(name, N) for name, _ in P.walk(params)}
    assert found["wte.weight"] == found["wpe.weight"] == 0
    assert found["h.0.ln_1.weight"] == 1 and found["h.1.mlp.c_proj.bias"] == 2
    assert found["ln_f.bias"] == found["lm_head.weight"] == parts.stage("score.weight", N) == 3


@pytest.mark.parametrize("freeze", [None, 0, 1, 2])
def test_rates(freeze):
    params = make()
    found = parts.rates(params, N, freeze, 0.5)
    lowest = 0 if freeze is None else freeze + 1
    assert found.keys() == names_of(params, lowest) and parts.n_idle(found, N) == lowest
    assert found["ln_f.weight"] == 1.0
    if freeze is None:
        assert found["wte.weight"] == 0.125 and found["h.0.ln_1.bias"] == 0.25 and found["h.1.ln_1.bias"] == 0.5


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("n_idle", [0, 1, 2, 3])
def test_what_is_left_out_changes_no_other_gradient(n_idle, tied):
    config = CONFIG.replace(tie_word_embeddings=tied)
    params = make(config)
    loss, whole = backward.loss_and_grads(IDS[:, :-1], IDS[:, 1:], params, config, ops)
    part_loss, part = backward.loss_and_grads(IDS[:, :-1], IDS[:, 1:], params, config, ops, n_idle=n_idle)
    whole, part = dict(P.walk(whole)), dict(P.walk(part))
    assert loss == part_loss and part.keys() == names_of(params, n_idle)
    assert all(np.array_equal(part[name], whole[name]) for name in part)


@pytest.mark.parametrize("n_idle", [1, 2, 3])
def test_no_backward_where_nothing_learns(n_idle, monkeypatch):
    calls = {"blocks": 0, "embeddings": 0}

    def counted(what, function):
        def call(*args):
            calls[what] += 1
            return function(*args)

        return call

    monkeypatch.setattr(backward, "block_backward", counted("blocks", backward.block_backward))
    monkeypatch.setattr(backward, "embed_backward", counted("embeddings", backward.embed_backward))
    backward.loss_and_grads(IDS[:, :-1], IDS[:, 1:], make(), CONFIG, ops, n_idle=n_idle)
    assert calls == {"blocks": N - (n_idle - 1), "embeddings": 0}


def test_frozen_weights_stay_and_cost_no_state_and_slow_ones_go_their_share():
    params, before = make(), dict(P.walk(make()))
    rates = parts.rates(params, N, freeze=1, layer_decay=0.25)
    optimizer = optim.AdamW(params, weight_decay=0.0, rates=rates)
    assert optimizer.m.keys() == optimizer.v.keys() == rates.keys()
    _, grads = backward.loss_and_grads(IDS[:, :-1], IDS[:, 1:], params, CONFIG, ops, n_idle=parts.n_idle(rates, N))
    optimizer.step(params, parts.learned(grads, rates), 0.01)
    for name, array in P.walk(params):
        moved = np.abs(array - before[name]).max()
        # Adam's first step is the learning rate, but for eps beside gradients (1e-4) and float32's rounding of sums
        expected = {0: 0, 1: 0, 2: 0.0025, 3: 0.01}[parts.stage(name, N)]
        assert np.isclose(moved, expected, rtol=1e-3, atol=0), name


def test_numbers_that_make_no_sense():
    for freeze, decay in ((-1, 1.0), (3, 1.0), (1.5, 1.0), (None, 0.0), (None, 1.5), (None, float("nan"))):
        with pytest.raises(InputError, match="freeze: expected|layer_decay: expected"):
            parts.rates(make(), N, freeze, decay)
