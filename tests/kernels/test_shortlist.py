"""The head's shortlist: what is left has the bits of the whole head, and the best is always among it."""

import numpy as np
import pytest
from small import make, random_ids

from nanogpt_np import GPT, model
from nanogpt_np import params as P
from nanogpt_np.config import GPTConfig
from nanogpt_np.generation import decoding, tokens
from nanogpt_np.generation.request import Request
from nanogpt_np.generation.sampling import Sampling
from nanogpt_np.kv_cache import KVCache

kernels = pytest.importorskip("nanogpt_np.kernels")
shortlist = pytest.importorskip("nanogpt_np.kernels.shortlist")

CONFIG = GPTConfig(n_vocab=3000, n_ctx=64, n_embd=160, n_layer=2, n_head=5, eos_id=None)
GREEDY = Request(max_new_tokens=40, sampling=Sampling(temperature=0))


@pytest.fixture(autouse=True)
def small_heads_too(monkeypatch):
    monkeypatch.setattr(shortlist, "LARGE", 0)


def with_head(change=lambda head: None, seed=0):
    """Params whose head was changed; it is the embedding as well."""
    params = make(CONFIG, seed)
    change(params["wte"]["weight"])
    return params


def outliers(head):
    """Rows of which int8 keeps little: one number a hundred times as large as the others."""
    head[::3, 5] *= 100


def alike(head):
    """Of each row a second one, equal, or apart by the last bit of a number."""
    head[1500:] = head[:1500]
    head[1500::2, 0] = np.nextafter(head[1500::2, 0], np.float32(9))


def tiny(head):
    head[::2] *= np.float32(1e-30)
    head[7] = 0


CHANGES = {"as made": lambda head: None, "outliers": outliers, "alike": alike, "tiny": tiny}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("seed", range(3))
def test_what_is_left_is_exact_and_the_best_is_left(name, seed):
    params = with_head(CHANGES[name], seed)
    found = decoding.shortlist(params, kernels, 100)
    caches = [KVCache(CONFIG) for _ in range(2)]
    share = []
    for step in range(20):
        ids = random_ids(1, 1, seed=100 * seed + step, config=CONFIG)
        whole = decoding.decode(ids, params, CONFIG, kernels, caches[0])[0, 0]
        short = decoding.decode(ids, params, CONFIG, kernels, caches[1], found)[0, 0]
        left = short > -np.inf
        assert np.array_equal(short[left], whole[left])
        assert left[whole == whole.max()].all() and short.argmax() == whole.argmax()
        share.append(left.mean())
    assert np.mean(share) < 0.1, "else all of the head is read twice"


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("seed", range(5))
def test_what_int8_says_may_be_the_wrong_way_round(seed, sign):
    """x along what rounding took off a row: int8 puts it below (sign 1) or above another one, and it is the reverse."""
    params = with_head(seed=seed)
    head, row = params["wte"]["weight"], np.random.default_rng(seed).normal(size=CONFIG.n_embd).astype(np.float32)
    step = np.abs(row).max() / 127
    rounded = np.round(row / step).astype(np.float32) * step
    lost = (row - rounded) / np.linalg.norm(row - rounded)
    along = rounded / np.linalg.norm(rounded)
    x = sign * lost + 4 * (along - (along @ lost) * lost)
    other = rounded * (1 + sign * 0.5 * np.linalg.norm(row - rounded) / (x @ rounded))
    head *= np.float32(0.001)
    head[10], head[2000] = row, other
    params["ln_f"] = {"weight": np.zeros(CONFIG.n_embd, np.float32), "bias": x.astype(np.float32)}
    guessed, exact = rounded @ x - other @ x, row @ x - other @ x
    assert np.sign(guessed) == -sign and np.sign(exact) == sign
    ids = random_ids(1, 1, config=CONFIG)
    short = decoding.decode(ids, params, CONFIG, kernels, KVCache(CONFIG), decoding.shortlist(params, kernels, 100))
    assert short.argmax() == (10 if sign > 0 else 2000)


@pytest.mark.parametrize("name", CHANGES)
def test_no_logit_is_further_away_than_the_slack(name):
    """The bound itself, in float64; of a hundred directions, and of the worst one for each row."""
    head = with_head(CHANGES[name])["wte"]["weight"]
    rows, factors, slack = shortlist.shortlist_of(head)
    guessed = rows.astype(np.float64) * factors[:, None]
    x = np.random.default_rng(0).normal(size=(100, CONFIG.n_embd))
    apart = np.abs(x @ (head - guessed).T) / np.linalg.norm(x, axis=1)[:, None]
    assert (apart <= slack).all()
    worst = np.linalg.norm(head - guessed, axis=1)
    usual = np.abs(head).max(axis=1) > 1e-29
    size = np.linalg.norm(head.astype(np.float64), axis=1)
    assert (worst <= slack).all() and (slack <= 1.01 * worst + 1e-3 * size)[usual].all()


def test_numbers_that_are_none():
    """In the head: no shortlist. In the residual stream: all logits say so, as without one."""
    for value in (np.nan, np.inf):
        head = with_head()["wte"]["weight"]
        head[40, 3] = value
        assert shortlist.shortlist_of(head) is None
    params = with_head()
    found = decoding.shortlist(params, kernels, 100)
    params["h"][1]["mlp"]["c_proj"]["bias"][:] = np.nan
    ids = random_ids(1, 1, config=CONFIG)
    with np.errstate(all="ignore"):
        assert np.isnan(decoding.decode(ids, params, CONFIG, kernels, KVCache(CONFIG), found)).all()


def test_what_it_is_not_for():
    params = with_head()
    head = params["wte"]["weight"]
    assert shortlist.shortlist_of(head.astype(np.float64)) is None
    assert shortlist.shortlist_of(np.asfortranarray(head)) is None
    assert decoding.shortlist(params, kernels, 3) is None
    found, caches = decoding.shortlist(params, kernels, 100), [KVCache(CONFIG, 2) for _ in range(2)]
    ids = random_ids(2, 1, config=CONFIG)  # two texts: all logits are made
    got = decoding.decode(ids, params, CONFIG, kernels, caches[0], found)
    assert np.array_equal(got, decoding.decode(ids, params, CONFIG, kernels, caches[1]))


def test_a_small_head_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(shortlist, "LARGE", CONFIG.n_vocab * CONFIG.n_embd + 1)
    assert decoding.shortlist(with_head(), kernels, 100) is None


@pytest.mark.parametrize("tied", [True, False])
def test_generating_says_the_same_tokens(tied, monkeypatch):
    config = GPTConfig(n_vocab=3000, n_ctx=64, n_embd=160, n_layer=2, n_head=5, eos_id=7, tie_word_embeddings=tied)
    params, made, prompt = make(config), [], random_ids(1, 9, config=config)[0].tolist()
    as_it_is = shortlist.shortlist_of
    monkeypatch.setattr(kernels, "shortlist_of", lambda weight: made.append(weight) or as_it_is(weight))
    gpt = GPT(config, params, None, ops="numba")
    got = gpt.generate(prompt, 40, temperature=0)
    assert len(made) == 1 and made[0] is P.unembedding(gpt.params)
    assert got == GPT(config, params, None, ops="numpy").generate(prompt, 40, temperature=0)
    assert list(gpt.stream(prompt, 40, temperature=0)) == got and len(made) == 2
    for more in ({"temperature": 0.5}, {"temperature": 0, "repetition_penalty": 1.2},
                 {"temperature": 0, "min_new_tokens": 3}, {"temperature": 0, "speculate": 4}):  # fmt: skip
        gpt.generate(prompt, 40, seed=0, **more)
    (whole,) = gpt.complete(prompt, 40, temperature=0)
    assert len(made) == 2, "whoever needs other logits gets all of them"
    assert whole.ids == got and np.isfinite(whole.log_probs).all()


def test_steps_say_that_they_have_no_logits():
    params = with_head()
    steps = list(tokens.stream_steps([[1, 2, 3]], params, CONFIG, kernels, GREEDY, only_ids=True))
    assert all(step.logits is None for step in steps)
    whole = list(tokens.stream_steps([[1, 2, 3]], params, CONFIG, kernels, GREEDY))
    assert [step.ids for step in steps] == [step.ids for step in whole]
    cache, text = KVCache(CONFIG), [1, 2, 3]
    for step in whole:
        logits, _ = model.forward(np.array([text]), params, CONFIG, kernels, cache=cache, last_only=True)
        assert logits[0, 0].argmax() == step.logits[0].argmax() == step.ids[0]
        text = step.ids
