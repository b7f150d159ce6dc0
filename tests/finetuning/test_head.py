"""The classifier's head: pooled by length, padding-safe, its gradients by finite differences."""

import numpy as np
import pytest
from small import CONFIG, make

from nanogpt_np import ops
from nanogpt_np import params as P
from nanogpt_np.finetuning import head
from nanogpt_np.model import Dropout
from nanogpt_np.training import parts
from nanogpt_np.training.finite_differences import gradcheck

N_LABEL = 3
ROWS = [[4, 9, 30, 2, 7], [1], [5, 5, 12]]
LABELS = np.array([2, 0, 1])
WEIGHTS = np.array([0.5, 2.0, 1.25])


def classifier(dtype=np.float64, config=CONFIG):
    return head.with_score(make(config, dtype=dtype), N_LABEL, np.random.default_rng(1))


def loss_and_grads(params, rows=ROWS, labels=LABELS, **how):
    return head.loss_and_grads(*head.pad(rows), labels, params, CONFIG, ops, **how)


@pytest.mark.parametrize("rate", [0.0, 0.2])
@pytest.mark.parametrize("n_idle", range(CONFIG.n_layer + 2))
@pytest.mark.parametrize("class_weights", [None, WEIGHTS])
def test_gradients_are_those_of_finite_differences(n_idle, class_weights, rate):
    """2e-6: central differences of step 1e-5 in float64 are exact to about 1e-9 / 1e-4, gradients being that small."""
    params = classifier()
    how = {"class_weights": class_weights, "n_idle": n_idle}

    def run():
        dropout = Dropout(rate, np.random.default_rng(3)) if rate else None  # the same draws each time
        return loss_and_grads(params, dropout=dropout, **how)

    grads = dict(P.walk(run()[1]))
    expected = {name for name, _ in P.walk(params) if parts.stage(name, CONFIG.n_layer) >= n_idle}
    assert grads.keys() == expected  # below, there is no backward
    named = {name: array for name, array in P.walk(params) if name in grads}
    inputs, found = list(named.values()), [grads[name] for name in named]
    assert gradcheck(lambda *_: run()[0], inputs, found, n_entries=4, rng=np.random.default_rng(0)) < 2e-6


def test_the_loss_is_the_weighted_mean():
    params = classifier()
    logits = head.class_logits(*head.pad(ROWS), params, CONFIG, ops)
    z = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(3), LABELS]
    assert np.isclose(loss_and_grads(params)[0], z.mean(), rtol=1e-12)
    weights = WEIGHTS[LABELS]
    assert np.isclose(loss_and_grads(params, class_weights=WEIGHTS)[0], (weights * z).sum() / weights.sum(), rtol=1e-12)


def test_what_stands_behind_a_text_changes_nothing():
    """Rows of one batch against each alone; 1e-12 is float64's rounding over sums of another length."""
    params = classifier()
    ids, lengths = head.pad(ROWS)
    together = head.class_logits(ids, lengths, params, CONFIG, ops)
    for row, logits in zip(ROWS, together, strict=True):
        assert np.allclose(head.class_logits(*head.pad([row]), params, CONFIG, ops)[0], logits, rtol=0, atol=1e-12)
    ids[np.arange(ids.shape[1]) >= lengths[:, None]] = 17  # other padding
    assert np.array_equal(head.class_logits(ids, lengths, params, CONFIG, ops), together)
    _, grads = head.loss_and_grads(ids, lengths, LABELS, params, CONFIG, ops)
    assert not grads["wte"]["weight"][17].any() and grads["wte"]["weight"][5].any()


def test_the_head_takes_no_lm_head_and_shares_the_trunk():
    untied = CONFIG.replace(tie_word_embeddings=False)
    trunk = make(untied)
    params = head.with_score(trunk, N_LABEL, np.random.default_rng(0))
    assert params.keys() == trunk.keys() - {"lm_head"} | {"score"}
    assert params["wte"]["weight"] is trunk["wte"]["weight"]
    assert params["score"]["weight"].shape == (N_LABEL, CONFIG.n_embd)
