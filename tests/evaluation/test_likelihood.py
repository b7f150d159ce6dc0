"""How likely words are behind others: against transformers, and against one text at a time by model.forward."""

import numpy as np
import pytest
from goldens import measure, recipe
from small import make

from nanogpt_np import GPT, GPTConfig, InputError, model
from nanogpt_np.evaluation import likelihood
from nanogpt_np.evaluation.likelihood import Pair, score
from nanogpt_np.generation import session

SIZES = recipe.TINY._replace(tied=False)
GOLDEN = 1e-4  # measured: 6e-7 in float32, 2e-15 in float64: log-probabilities of a tiny model, theirs in float64
ROUNDING = {np.float64: 1e-11, np.float32: 3e-5}  # products of more rows add up in another order


@pytest.fixture(scope="module")
def golden():
    return measure.under("tiny/", measure.load("evaluation"))


@pytest.fixture(scope="module", params=[np.float64, np.float32])
def tiny(request):
    return GPT(measure.config_of(SIZES), measure.tiny_params(measure.load("tiny"), SIZES, request.param))


def parts(gpt):
    return gpt.params, gpt.config, gpt.ops


def alone(gpt, pair):
    """The same by its definition: all logits of one text."""
    logits = gpt(pair.read)[0, -len(pair.said) :].astype(np.float64)
    log_probs = logits - logits.max(-1, keepdims=True)
    log_probs -= np.log(np.exp(log_probs).sum(-1, keepdims=True))
    return log_probs[np.arange(len(pair.said)), pair.said], logits.argmax(-1) == pair.said


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("share", [True, False])
def test_as_transformers(golden, tiny, batch_size, share):
    pairs = [Pair(*pair) for pair in recipe.pairs(SIZES, 42)]
    assert max(len(pair.read) for pair in pairs) == tiny.config.n_ctx  # one fills the context
    found = score(pairs, *parts(tiny), batch_size, share=share)
    log_probs, likeliest = (np.concatenate([getattr(one, name) for one in found]) for name in found[0]._fields)
    np.testing.assert_allclose(log_probs, golden["pairs/log_probs"], atol=GOLDEN)
    np.testing.assert_array_equal(likeliest, golden["pairs/likeliest"])


@pytest.mark.parametrize(("ops", "dtype"), [("numpy", np.float64), ("numpy", np.float32), ("numba", np.float32)])
def test_a_batch_is_each_text_alone(ops, dtype):
    """Also behind what the last call has read, and where nothing, or all but one token, is shared."""
    config = GPTConfig(n_vocab=31, n_ctx=40, n_embd=24, n_layer=2, n_head=3)
    gpt, rng = GPT(config, make(config, dtype=dtype), ops=ops), np.random.default_rng(5)
    begin = rng.integers(0, 31, 20).tolist()
    pairs = [Pair(begin[: rng.integers(1, 21)] + rng.integers(0, 31, 3).tolist(), rng.integers(0, 31, n).tolist())
             for n in rng.integers(1, 8, 14)]  # fmt: skip
    pairs += [Pair(begin, [1, 2]), Pair(begin, [1, 2, 3]), Pair(begin, [1]), Pair([7], [3]), Pair([7], [4, 1])]
    kept = session.Kept()
    for some in (pairs, pairs[::-1], pairs[3:4]):
        for one, pair in zip(score(some, *parts(gpt), 4, kept), some, strict=True):
            log_probs, likeliest = alone(gpt, pair)
            np.testing.assert_allclose(one.log_probs, log_probs, atol=ROUNDING[dtype])
            np.testing.assert_array_equal(one.is_likeliest, likeliest)
            assert one.total == pytest.approx(log_probs.sum(), abs=10 * ROUNDING[dtype])
            assert one.is_greedy == likeliest.all()


def test_what_greedy_decoding_says_is_greedy(tiny):
    said = tiny.generate([3, 1, 4], 6, temperature=0)
    other = said[:3] + [said[3] ^ 1] + said[4:]
    first, second = score([Pair([3, 1, 4], said), Pair([3, 1, 4], other)], *parts(tiny))
    assert first.is_greedy and not second.is_greedy
    assert second.is_likeliest[:3].all() and not second.is_likeliest[3]


def test_int8_reads_as_it_generates():
    """Its keys and values are rounded in a cache, so a text that is read in one piece has to have one too."""
    config = GPTConfig(n_vocab=64, n_ctx=32, n_embd=64, n_layer=2, n_head=2)
    gpt, rng = GPT(config, make(config, scale=0.05), ops="int8"), np.random.default_rng(1)
    begin = rng.integers(0, 64, 12).tolist()
    pairs = [Pair(begin, rng.integers(0, 64, 4).tolist()) for _ in range(3)]
    together, apart = (score(pairs, *parts(gpt), share=share) for share in (True, False))
    for one, other in zip(together, apart, strict=True):  # a step of int8 may fall to either side
        np.testing.assert_allclose(one.log_probs, other.log_probs, atol=2e-2)
    plain = score(pairs, *parts(GPT(config, make(config, scale=0.05))))
    assert 1e-6 < np.abs(together[0].log_probs - plain[0].log_probs).max() < 0.1


def test_what_is_shared_is_read_once(monkeypatch, tiny):
    """The tokens that pass through the model are counted."""
    rng = np.random.default_rng(6)
    header, contexts = rng.integers(0, 97, 14).tolist(), rng.integers(0, 97, (3, 4)).tolist()
    pairs = [Pair(header + context, rng.integers(0, 97, 3).tolist()) for context in contexts for _ in range(4)]
    read = []
    whole = model.trunk
    monkeypatch.setattr(model, "trunk", lambda ids, *a, **k: read.append(ids.size) or whole(ids, *a, **k))
    score(pairs, *parts(tiny), share=False)
    assert sum(read) == 12 * (14 + 4 + 2)
    read.clear()
    score(pairs, *parts(tiny))
    # the header once; of each question what differs but its last token; that and the choice's for each of four
    assert sum(read) == 14 + 3 * 3 + 3 * 4 * (1 + 2)


def test_batches_keep_families_together_and_lengths_alike():
    pairs = [Pair([1] * n, [2]) for n in (9, 3, 9, 5, 4, 9)]
    assert likelihood.batches(pairs, 2) == [[0, 2], [5], [1, 4], [3]]
    assert likelihood.batches(pairs, 2, share=False) == [[1, 4], [3, 0], [2, 5]]
    long = [Pair([1] * likelihood.TOKENS, [i]) for i in (2, 3)]
    assert likelihood.batches(long, 8, share=False) == [[0], [1]]  # memory for one at a time


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (Pair([], [1]), "before: expected at least one token, got none; begin with <|endoftext|>"),
        (Pair([1], []), "said: expected at least one token, got none; begin with <|endoftext|>"),
        (Pair([1] * 32, [1, 2]), "prompt: expected 1 to n_ctx = 32 tokens, got 33; shorten the text"),
        (Pair([97], [1]), "prompt: expected ids from 0 to 96, got 97 to 97"),
        (Pair([1], [-1]), "prompt: expected ids from 0 to 96, got -1 to -1"),
    ],
)
def test_what_cannot_be_read(tiny, pair, message):
    with pytest.raises(InputError) as caught:
        score([Pair([1], [2]), pair], *parts(tiny))
    assert str(caught.value) == message


def test_broken_weights_are_said(tiny):
    broken = make(tiny.config)
    broken["ln_f"]["bias"][:] = np.nan
    with pytest.raises(InputError):
        score([Pair([1], [2])], broken, tiny.config, tiny.ops)
