"""Several ranks make of a step what one process makes of it: to the bit with whole batches, else to 1e-5."""

import numpy as np
import pytest
from rank_threads import together
from small import CONFIG, make, random_ids

from nanogpt_np import ops
from nanogpt_np import params as P
from nanogpt_np.model import Dropout
from nanogpt_np.training import distributed_sums, loop, optim, parts
from nanogpt_np.training.distributed import Learner, from_the_top
from nanogpt_np.training.distributed_optim import clip_
from nanogpt_np.training.distributed_sums import Flat
from nanogpt_np.training.options import TrainOptions

BATCH = 3


def options(accumulate, **changes):
    shape = {"n_vocab": 300, "n_ctx": 16, "n_embd": 24, "n_layer": 2, "n_head": 3}
    return TrainOptions(["-"], "-", **shape, batch_size=BATCH, accumulate=accumulate, clip=0.5, **changes)


def rows_of(step, n_windows, config=CONFIG):
    return random_ids(n_windows, config.n_ctx + 1, seed=step, config=config)


def full(o, n_steps):
    """How many windows each step has, where none is smaller."""
    return [o.accumulate * BATCH] * n_steps


def alone(o, windows, config=CONFIG):
    """One process, by what loop.Run calls, `windows` in each step -> losses, norms, params, optimizer, generator."""
    params, rng = P.nest({name: array.copy() for name, array in P.walk(make(config))}), np.random.default_rng(7)
    rates = parts.rates(params, config.n_layer, o.freeze, o.layer_decay)
    optimizer = optim.AdamW(params, betas=(o.beta1, o.beta2), weight_decay=o.weight_decay, rates=rates)
    found = []
    for step, n_windows in enumerate(windows):
        rows = rows_of(step, n_windows, config)
        batches = [(batch[:, :-1], batch[:, 1:]) for batch in np.split(rows, range(BATCH, n_windows, BATCH))]
        dropout = Dropout(o.dropout, rng) if o.dropout else None
        n_idle = parts.n_idle(rates, config.n_layer)
        loss, grads = loop.accumulated(batches, params, config, ops, dropout, n_idle)
        grads = parts.learned(grads, rates)
        norm = optim.clip_(grads, o.clip, ops)
        optimizer.step(params, grads, 0.01, ops)
        found.append((loss, norm))
    return found, params, optimizer, rng


def several(o, windows, size, config=CONFIG):
    """The same by ranks that are threads -> losses and norms, params of each rank, whole means, Learners."""

    def work(ranks):
        rng = np.random.default_rng(7 if ranks.is_first else 8)  # agree() is to give all the first one's
        learner = Learner(o, config, rng, ops, ranks, make(config) if ranks.is_first else None)
        learner.agree()
        found = [learner.step(0.01, n_windows, rows_of(i, n_windows, config) if ranks.is_first else None)
                 for i, n_windows in enumerate(windows)]  # fmt: skip
        return found, learner, learner.optimizer.collect()

    return together(size, work)


@pytest.fixture(autouse=True)
def small_buckets(monkeypatch):
    """So that a small model's vector is several pieces, and the last one is padded."""
    monkeypatch.setattr(distributed_sums.Flat.__init__, "__defaults__", (np.float32, 1000))


@pytest.mark.parametrize("size, accumulate, changes", [
    (1, 2, {}), (2, 2, {}), (4, 4, {}), (2, 4, {"dropout": 0.1}), (3, 4, {"dropout": 0.1}),
    (2, 2, {"freeze": 1, "layer_decay": 0.5, "init": "-"}), (2, 2, {"tie_word_embeddings": False}),
    (2, 3, {"positions": "sinusoidal"}),
], ids=str)  # fmt: skip
def test_the_same_bits_with_whole_batches(size, accumulate, changes):
    config = CONFIG.replace(**{name: changes[name] for name in ("tie_word_embeddings", "positions") if name in changes})
    o = options(accumulate, **changes)
    config = config.replace(dropout=o.dropout)
    check_bits(o, full(o, 3), size, config)


@pytest.mark.parametrize("size, dropout", [(1, 0.1), (2, 0.0), (2, 0.1), (4, 0.1)])
def test_the_same_bits_while_the_batch_grows(size, dropout):
    """From one window to four batches of three; the last batch may be smaller, and ranks may have none."""
    check_bits(options(4, dropout=dropout), [1, 2, 4, 5, 9, 11, 12, 12], size, CONFIG.replace(dropout=dropout))


def check_bits(o, windows, size, config):
    expected, params, optimizer, rng = alone(o, windows, config)
    ranks = several(o, windows, size, config)
    for found, learner, _ in ranks:
        assert [loss for loss, _ in found] == [loss for loss, _ in expected]
        # squares are summed in another order, in float64: about 1e-16 each
        np.testing.assert_allclose([norm for _, norm in found], [norm for _, norm in expected], rtol=1e-13)
        for (name, array), (_, right) in zip(P.walk(learner.params), P.walk(params), strict=True):
            assert array.tobytes() == right.tobytes(), name
        assert learner.rng.bit_generator.state == rng.bit_generator.state
    means = ranks[0][2]
    for whole, right in zip(means, (optimizer.m, optimizer.v), strict=True):
        assert whole.keys() == right.keys()
        assert all(whole[name].tobytes() == right[name].tobytes() for name in right)


@pytest.mark.parametrize("size, accumulate", [(2, 1), (3, 1), (4, 2)])
def test_batches_that_are_cut_give_the_same_losses(size, accumulate):
    o = options(accumulate, dropout=0.1)
    config = CONFIG.replace(dropout=0.1)
    check_losses(o, full(o, 6), size, config)


@pytest.mark.parametrize("size, accumulate", [(2, 1), (3, 1), (4, 2)])
def test_batches_that_are_cut_give_the_same_losses_while_they_grow(size, accumulate):
    config = CONFIG.replace(dropout=0.1)
    check_losses(options(accumulate, dropout=0.1), [1, 1, 2, 3, *full(options(accumulate), 2)], size, config)


def check_losses(o, windows, size, config):
    """Those of one process within 1e-5, as sums of float32 are made in another order; the same bits each time."""
    expected, _, _, _ = alone(o, windows, config)
    first, second = (several(o, windows, size, config) for _ in range(2))
    losses = [[loss for loss, _ in found] for found, _, _ in first]
    np.testing.assert_allclose(losses, [[loss for loss, _ in expected]] * size, rtol=0, atol=1e-5)
    assert losses == [[loss for loss, _ in found] for found, _, _ in second]
    for ours, again in zip(first, second, strict=True):
        assert ours[1].weights.tobytes() == again[1].weights.tobytes() == first[0][1].weights.tobytes()


@pytest.mark.parametrize("size", [1, 2, 4])
def test_no_window_is_seen_twice(size):
    o, seen = options(2), []

    def work(ranks):
        learner = Learner(o, CONFIG, np.random.default_rng(0), ops, ranks, make() if ranks.is_first else None)
        rows = np.arange(2 * BATCH)[:, None] * np.ones(CONFIG.n_ctx + 1, np.int64) if ranks.is_first else None
        seen.append(learner.hand_out(rows)[:, 0].tolist())

    together(size, work)
    assert sorted(sum(seen, [])) == list(range(2 * BATCH)) and all(seen)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_each_rank_keeps_its_share_of_the_means(size):
    """ZeRO-1: 12 / n bytes for each number, up to n of them that fill the last piece."""
    n = P.count(make())
    for _, learner, _ in several(options(4), full(options(4), 1), size):
        kept = sum(array.nbytes for array in (learner.sum, learner.optimizer.m, learner.optimizer.v))
        assert 12 * n / size <= kept <= 12 * (n / size + 1)
        assert learner.weights.nbytes + learner.gradient.nbytes <= 8 * (n + size)


def test_not_finite_moves_nothing():
    o = options(2)

    def work(ranks):
        params = make()
        params["ln_f"]["bias"][0] = np.nan
        learner = Learner(o, CONFIG, np.random.default_rng(0), ops, ranks, params if ranks.is_first else None)
        learner.agree()
        before = learner.weights.tobytes()
        with np.errstate(all="ignore"):
            loss, _ = learner.step(0.01, 2 * BATCH, rows_of(0, 2 * BATCH) if ranks.is_first else None)
        return np.isnan(loss) and learner.weights.tobytes() == before and learner.optimizer.n_steps == 0

    assert together(2, work) == [True, True]


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("bucket_bytes", [4, 40, 1 << 20])
def test_shares_cover_a_vector_once(size, bucket_bytes):
    shapes = {"a": (3, 5), "b": (1,), "c": (7,), "d": (2, 2, 2)}

    def work(ranks):
        flat = Flat(shapes, ranks, bucket_bytes=bucket_bytes)
        vector = flat.zeros() if ranks.is_first else None
        if ranks.is_first:
            vector[: flat.n_numbers] = np.arange(flat.n_numbers)
        share = np.full(flat.n_owned, -1, np.float32)
        distributed_sums.hand_out_shares(flat, vector, share)
        back, whole = distributed_sums.collect_shares(flat, share), flat.zeros()
        for name, of_vector, own in flat.segments():
            start, shape = flat.places[name]
            assert start <= of_vector.start < of_vector.stop <= start + np.prod(shape)
            whole[of_vector] = share[own]
        return back, whole

    found = together(size, work)
    np.testing.assert_array_equal(found[0][0][:31], np.arange(31))
    np.testing.assert_array_equal(sum(whole for _, whole in found)[:31], np.arange(31))


def test_sums_are_made_in_the_order_of_the_ranks():
    """(1 + 2^-24) + -1 is not 1 + (2^-24 + -1) in float32; a rank beyond n_added adds nothing."""
    numbers = [np.float32(1), np.float32(2**-24), np.float32(-1), np.float32(99)]

    def work(ranks):
        flat = Flat({"a": (9,)}, ranks, bucket_bytes=16)
        vector, share = np.full(flat.n_padded, numbers[ranks.rank]), np.full(flat.n_owned, np.float32(5))
        distributed_sums.add_shares(flat, vector, share, 3, is_begun=False)
        once = share.copy()
        distributed_sums.add_shares(flat, vector, share, 1, is_begun=True)
        return once.tolist(), share.tolist()

    in_order = float(np.float32(np.float32(numbers[0] + numbers[1]) + numbers[2]))
    for once, twice in together(4, work):
        assert set(once) == {in_order} and set(twice) == {in_order + 1.0} and in_order != float(2**-24)


def test_clipping_knows_the_whole_length():
    def work(ranks):
        flat = Flat({"a": (10,)}, ranks)
        share = np.full(flat.n_owned, 3.0, np.float32)
        return clip_(flat, share, 1.0), share[0]

    for norm, number in together(2, work):
        assert norm == pytest.approx(3 * 10**0.5) and number == pytest.approx(1 / 10**0.5)


def test_the_vector_has_gradients_in_the_order_in_which_they_come():
    names = list(P.shapes(CONFIG.replace(tie_word_embeddings=False)))
    order = from_the_top(names, CONFIG)
    stages = [".".join(name.split(".")[: 2 if name.startswith("h.") else 1]) for name in order]
    assert list(dict.fromkeys(stages)) == ["ln_f", "lm_head", "h.1", "h.0", "wte", "wpe"]
