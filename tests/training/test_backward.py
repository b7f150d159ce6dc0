"""backward.py: the whole model against finite differences, and the sums that accumulation relies on."""

import numpy as np
import pytest
from small import make, mostly_slow, random_ids

from nanogpt_np import model, ops
from nanogpt_np import params as P
from nanogpt_np.config import GPTConfig
from nanogpt_np.training import backward, optim
from nanogpt_np.training.finite_differences import gradcheck
from nanogpt_np.training.loop import accumulated

TINY = GPTConfig(n_vocab=11, n_ctx=6, n_embd=8, n_layer=2, n_head=2)
WHOLE_MODEL = 1e-5  # promised; float64 central differences reach about 1e-8
FORMS = mostly_slow([("gelu_new", None), ("gelu", 1), ("relu", 5)], ["gelu_new"])


def named(tree):
    return dict(P.walk(tree))


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize("activation, n_inner", FORMS)
def test_every_parameter_of_the_model(activation, n_inner, positions, tie):
    config = TINY.replace(activation=activation, n_inner=n_inner, positions=positions, tie_word_embeddings=tie)
    params, ids = make(config, dtype=np.float64), random_ids(2, 5, config=config)
    targets = random_ids(2, 5, seed=1, config=config)
    targets[0, 2] = ops.IGNORE
    _, grads = backward.loss_and_grads(ids, targets, params, config, ops)
    arrays, grads = named(params), named(grads)
    assert grads.keys() == arrays.keys()
    worst = gradcheck(
        lambda *_: backward.loss_and_grads(ids, targets, params, config, ops)[0],
        list(arrays.values()), [grads[name] for name in arrays], n_entries=40, rng=np.random.default_rng(0),
    )  # fmt: skip
    assert worst <= WHOLE_MODEL


def test_gradient_through_dropout():
    params, ids, targets = make(TINY, dtype=np.float64), random_ids(2, 5, config=TINY), random_ids(2, 5, config=TINY)

    def run():
        dropout = model.Dropout(0.3, np.random.default_rng(4))  # the same masks every time
        return backward.loss_and_grads(ids, targets, params, TINY, ops, dropout=dropout)

    grads = named(run()[1])
    arrays = named(params)
    worst = gradcheck(
        lambda *_: run()[0], list(arrays.values()), [grads[name] for name in arrays],
        n_entries=20, rng=np.random.default_rng(0),
    )  # fmt: skip
    assert worst <= WHOLE_MODEL


def test_accumulation_equals_the_full_batch_when_tokens_are_uneven():
    params, ids, targets = make(TINY, dtype=np.float64), random_ids(4, 6, config=TINY), random_ids(4, 6, config=TINY)
    targets[0, 1:] = ops.IGNORE  # one text of a single counted token: means of means would weigh it six times
    targets[3, :2] = ops.IGNORE
    whole_loss, whole = backward.loss_and_grads(ids, targets, params, TINY, ops)
    parts = [(ids[i : i + 1], targets[i : i + 1]) for i in range(4)]
    loss, grads = accumulated(parts, params, TINY, ops)
    assert loss == pytest.approx(whole_loss, rel=1e-12)
    for name, grad in P.walk(grads):
        np.testing.assert_allclose(grad, named(whole)[name], atol=1e-14, err_msg=name)


def test_loss_of_targets_that_do_not_count():
    params, ids = make(TINY), random_ids(1, 4, config=TINY)
    loss, grads = backward.loss_and_grads(ids, np.full((1, 4), ops.IGNORE), params, TINY, ops)
    assert loss == 0.0 and not any(grad.any() for _, grad in P.walk(grads))


def test_clip_measures_the_whole_and_keeps_the_direction():
    grads = {"a": np.array([3.0, 0.0]), "b": {"c": np.array([[4.0]])}}
    assert optim.clip_(grads, 10.0) == 5.0
    assert grads["a"][0] == 3.0
    assert optim.clip_(grads, 1.0) == 5.0
    np.testing.assert_allclose([grads["a"][0], grads["b"]["c"][0, 0]], [0.6, 0.8])


def test_adamw_follows_the_paper_by_hand():
    params = {"w": np.array([[1.0]]), "b": np.array([1.0])}
    optimizer = optim.AdamW(params, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.5)
    expected = {"w": 1.0, "b": 1.0}
    m = v = 0.0
    for t, g in enumerate((0.5, -2.0, 0.1), start=1):
        optimizer.step(params, {"w": np.array([[g]]), "b": np.array([g])}, lr=0.1)
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        move = 0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.99**t)) ** 0.5 + 1e-8)
        expected = {"w": expected["w"] * (1 - 0.1 * 0.5) - move, "b": expected["b"] - move}  # biases do not decay
    np.testing.assert_allclose(params["w"][0, 0], expected["w"], rtol=1e-12)
    np.testing.assert_allclose(params["b"][0], expected["b"], rtol=1e-12)


def test_warmup_and_cosine():
    rates = [optim.warmup_cosine(step, 10, 1.0, 0.1, 2) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[-1] == pytest.approx(0.1)
    assert all(a > b for a, b in zip(rates[2:], rates[3:], strict=False))


def test_a_few_steps_learn_one_text_by_heart():
    config = TINY.replace(n_ctx=8)
    params, ids = P.init(config, np.random.default_rng(0)), random_ids(1, 9, config=config)
    optimizer = optim.AdamW(params, weight_decay=0.0)
    for _ in range(150):
        loss, grads = backward.loss_and_grads(ids[:, :-1], ids[:, 1:], params, config, ops)
        optimizer.step(params, grads, 1e-2)
    assert loss < 0.1
    logits, _ = model.forward(ids[:, :-1], params, config, ops)
    np.testing.assert_array_equal(logits.argmax(axis=-1), ids[:, 1:])


def chain(n, n_vocab):
    """Ids that a reader can often guess: one of three that follow the last one, or the one of eight places before."""
    rng = np.random.default_rng(0)
    followers, ids = rng.integers(0, n_vocab, (n_vocab, 3)), [0] * 8
    for choice in rng.choice(4, n, p=[0.6, 0.2, 0.1, 0.1]):
        ids.append(followers[ids[-1], choice] if choice < 3 else ids[-8])
    return np.array(ids)


def held_out_loss(config, steps, lr):
    """Nats per token on ids that were not seen, after some steps of AdamW."""
    ids, width, rng = chain(60_000, config.n_vocab), config.n_ctx + 1, np.random.default_rng(0)
    seen, held_out = ids[:50_000], ids[50_000 : 50_000 + 64 * width].reshape(64, width)
    params = P.init(config, rng)
    optimizer = optim.AdamW(params)
    for step in range(steps):
        batch = seen[rng.integers(0, len(seen) - width, (16, 1)) + np.arange(width)]
        _, grads = backward.loss_and_grads(batch[:, :-1], batch[:, 1:], params, config, ops)
        optim.clip_(grads, 1.0)
        optimizer.step(params, grads, optim.warmup_cosine(step, steps, lr, lr / 10, 20))
    return backward.loss_and_grads(held_out[:, :-1], held_out[:, 1:], params, config, ops)[0]


@pytest.mark.parametrize(
    "n_embd, n_ctx, n_vocab, n_layer, steps, lr",
    [(32, 16, 64, 1, 150, 1e-2), pytest.param(64, 64, 256, 2, 400, 2e-3, marks=pytest.mark.slow)],
)
def test_sines_learn_as_well_as_learned_positions(n_embd, n_ctx, n_vocab, n_layer, steps, lr):
    """1.44 and 1.45 nats (slow: 1.58 and 1.59); beside sines of their full size tokens reach 3.1 (slow: 4.9)."""
    config = GPTConfig(n_vocab=n_vocab, n_ctx=n_ctx, n_embd=n_embd, n_layer=n_layer, n_head=4)
    learned, sines = (held_out_loss(config.replace(positions=p), steps, lr) for p in ("learned", "sinusoidal"))
    assert learned < 2.0  # of log(64) = 4.16 and log(256) = 5.55: something was learned
    assert sines < learned + 0.1


def test_gradients_print_a_line_for_each_array():
    params, ids = make(TINY), random_ids(1, 4, config=TINY)
    _, grads = backward.loss_and_grads(ids, ids, params, TINY, ops)
    assert sorted(repr(grads).splitlines()) == sorted(repr(params).splitlines())
