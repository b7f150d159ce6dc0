"""Texts that overlap: each is what the model gives alone, whoever comes and goes beside it."""

import math
import queue
import random
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from small import mostly_slow

pytest.importorskip("starlette")

from nanogpt_np import GPT
from nanogpt_np.errors import InputError
from nanogpt_np.explore import batching
from nanogpt_np.explore.batching import Batcher, Job
from nanogpt_np.explore.guard import Refused
from nanogpt_np.explore.sequences import Ending, Failure, Scored, Sequence, Token
from nanogpt_np.generation import decoding
from nanogpt_np.generation.defaults import settle, split
from nanogpt_np.generation.sampling import log_softmax
from nanogpt_np.quantized.cache import Int8Cache

WORDS = "Once upon a time there was a little girl who had a big red ball and her dog Max liked to play".split()


@pytest.fixture(scope="module", params=["numpy", "numba", "int8", "int4"])
def gpt(request):
    return GPT.from_pretrained("stories", ops=request.param)


@pytest.fixture(scope="module")
def banded(gpt):
    """The same weights with a band in every other layer: not what was trained, but texts as good as any to compare."""
    params = GPT.from_pretrained("stories", ops="numpy").params
    return GPT(gpt.config.replace(window=9), params, gpt.tokenizer, ops=gpt.ops)


@pytest.fixture(scope="module")
def plain():
    return GPT.from_pretrained("stories", ops="numpy")


@pytest.fixture
def running():
    """Batchers that end with the test."""
    made = []

    def run(gpt, n_rows=4, most_waiting=100):
        made.append(Batcher(gpt, n_rows, most_waiting))
        return made[-1]

    yield run
    for batcher in made:
        batcher.close()


class Asked:
    """One text that is asked for, and what it tells."""

    def __init__(self, gpt, prompt, n_top=None, scored=False, number=0, ids=None, **said):
        request, _ = split(settle({"num_beams": 1, **said}, gpt.defaults))
        rngs, request = request.generators(1), replace(request, num_return_sequences=1)
        request = request.spelled(gpt.config, gpt.tokenizer)
        self.events, self.ids = queue.Queue(), gpt.tokenizer.encode(prompt) if ids is None else ids
        self.sequence = Sequence(
            self.ids, request, rngs[number], gpt.config, gpt.tokenizer, self.events.put, n_top, scored
        )

    def all(self):
        """Everything it told."""
        told = []
        while not told or not isinstance(told[-1], (Ending, Failure)):
            told.append(self.events.get(timeout=120))
        return told


def text(told):
    assert isinstance(told[-1], Ending), told[-1]
    return "".join(event.piece for event in told if not isinstance(event, Scored))


def many(n, seed):
    """Prompts and how to go on from them, of all kinds."""
    chance, found = random.Random(seed), []
    for i in range(n):
        said = {"max_new_tokens": chance.randint(1, 30), "seed": i, "temperature": chance.choice([0, 0.7, 1.0, 1.5])}
        said |= chance.choice([{}, {"top_p": 0.9}, {"top_k": 20}, {"stop": ["the", "."]}, {"min_p": 0.05}])
        said |= chance.choice([{}, {"frequency_penalty": 0.7, "presence_penalty": 0.3}, {"logit_bias": {13: 5.0}},
                               {"repetition_penalty": 1.3}, {"no_repeat_ngram_size": 2}])  # fmt: skip
        found.append((" ".join(chance.choices(WORDS, k=chance.randint(1, 12))), said))
    return found


def held(batcher):
    """Hold the thread in a job -> what lets it go."""
    inside, go = threading.Event(), threading.Event()
    batcher.submit([Job(lambda: (inside.set(), go.wait(60)), lambda value: None)])
    assert inside.wait(60)
    return go.set


def until(is_so):
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.005)


# ---- each text is its own


@pytest.mark.parametrize("n_rows", mostly_slow([3, 11], [11]))
def test_each_text_is_what_the_model_gives_alone(gpt, running, n_rows):
    """More texts than rows, so that they come and go; of 11 rows, compiled float32 takes 8 and 3 at a time."""
    check_texts(running(gpt, n_rows), gpt, many(16, seed=n_rows))


def test_each_text_is_what_a_model_with_bands_gives_alone(banded, running):
    """Most texts are longer than the band, some are not, and some are so long that it moves on."""
    check_texts(running(banded, 6), banded, many(16, seed=1))


def check_texts(batcher, gpt, wanted):
    asked = [Asked(gpt, prompt, 0, **said) for prompt, said in wanted]
    for one in asked:
        batcher.submit([one.sequence])
    for one, (prompt, said) in zip(asked, wanted, strict=True):
        told, (alone,) = one.all(), gpt.complete(prompt, **said)
        assert text(told) == alone.text and told[-1].reason == alone.reason
        log_probs = [event.log_prob for event in told[:-1]][: len(alone.ids)]
        if gpt.ops.__name__ != "nanogpt_np.ops":  # to the bit
            assert log_probs == alone.log_probs
        np.testing.assert_allclose(log_probs, alone.log_probs, atol=1e-4)  # sums of float32 in another order
    assert batcher.live == [] and batcher.rows.n_rows == 0 and not batcher.rows.cache.mask.any()


def test_several_of_one_prompt_are_read_once(gpt, running):
    batcher, (prompt, said) = running(gpt, 8), ("Once upon a time", {"max_new_tokens": 12, "seed": 5})
    ids = gpt.tokenizer.encode(prompt)
    asked = [Asked(gpt, prompt, number=j, ids=ids, num_return_sequences=4, **said) for j in range(4)]
    batcher.submit([one.sequence for one in asked])
    expected = gpt.generate(prompt, num_return_sequences=4, **said)
    assert [text(one.all()) for one in asked] == expected and len(set(expected)) > 1
    assert batcher.metrics.counts["prompt_tokens_total"] == len(ids)


@pytest.mark.slow
def test_several_of_one_prompt_with_bands_are_read_again_where_a_band_has_moved_on(banded, running):
    """Of 6 texts 2 go on together: the second takes what the first has read; later, the first one's is gone."""
    batcher, prompt, said = running(banded, 2), "Once upon a time", {"seed": 5, "ignore_eos": True}
    ids = banded.tokenizer.encode(prompt)
    lengths = [150, *[20] * 5]
    asked = [Asked(banded, prompt, number=j, ids=ids, num_return_sequences=6, max_new_tokens=n, **said)
             for j, n in enumerate(lengths)]  # fmt: skip
    batcher.submit([one.sequence for one in asked])
    alone = {n: banded.generate(prompt, n, num_return_sequences=6, **said) for n in set(lengths)}
    assert [text(one.all()) for one in asked] == [alone[n][j] for j, n in enumerate(lengths)]
    assert batcher.metrics.counts["prompt_tokens_total"] == 5 * len(ids)


def test_the_numbers_of_a_prompt(gpt, running):
    """They are those of one pass over a cache of the kind that serves, where int8 and int4 round keys and values."""
    prompt = "Once upon a time, there was a little girl named Lily. " * 5
    asked = Asked(gpt, prompt, 3, scored=True, max_new_tokens=1, temperature=0)
    running(gpt).submit([asked.sequence])
    scored, token, _ = asked.all()
    cache = decoding.new_cache(1, gpt.config.n_ctx, gpt.params, gpt.config, gpt.ops)
    log_probs = log_softmax(gpt(np.array([asked.ids]), cache=cache)[0])
    of_ids = log_probs[np.arange(len(asked.ids) - 1), asked.ids[1:]]
    np.testing.assert_allclose(scored.log_probs, of_ids, atol=1e-4)  # as above
    if not isinstance(cache, Int8Cache):
        np.testing.assert_allclose(scored.log_probs, gpt.logprobs(prompt)[1:], atol=1e-4)
    best = np.argsort(-log_probs[-1], kind="stable")[:3]
    assert [t.id for t in token.top] == best.tolist() and token.id == best[0]
    assert token.log_prob == token.top[0].log_prob == pytest.approx(log_probs[-1, best[0]], abs=1e-4)
    for log_prob, top, said in zip(scored.log_probs, scored.top, asked.ids[1:], strict=True):
        assert len(top) == 3 and log_prob <= top[0].log_prob
        assert (log_prob == top[0].log_prob) == (said == top[0].id)


def test_nothing_new_is_asked_for(plain, running):
    asked = Asked(plain, "Once upon", 0, scored=True, max_new_tokens=0)
    running(plain).submit([asked.sequence])
    scored, ending = asked.all()
    assert len(scored.log_probs) == 1 and ending == Ending("length", "")


def test_a_long_prompt_lets_others_speak_between_its_pieces(plain, running, monkeypatch):
    monkeypatch.setattr(batching, "READ_AT_ONCE", 8)
    monkeypatch.setattr(batching.decoding, "PIECE", 8)
    batcher, order = running(plain), []
    short, long = Asked(plain, "Once", max_new_tokens=12), Asked(plain, "Once upon a time " * 24, max_new_tokens=1)
    for name, one in (("short", short), ("long", long)):
        put = one.sequence.tell
        one.sequence.tell = lambda event, name=name, put=put: (order.append(name), put(event))
    let_go = held(batcher)
    batcher.submit([short.sequence, long.sequence])
    let_go()
    short.all(), long.all()
    assert order.index("long") >= 8  # 96 ids in pieces of 8; short spoke after each, its end included


# ---- who goes


def test_who_goes_away_leaves_a_row_and_nobody_notices(gpt, running):
    batcher, wanted = running(gpt, 4), many(4, seed=8)
    gone = [Asked(gpt, "Once upon a time", max_new_tokens=200, ignore_eos=True, seed=i) for i in range(2)]
    stays = [Asked(gpt, prompt, **said) for prompt, said in wanted]
    batcher.submit([one.sequence for one in (gone[0], *stays[:2], gone[1], *stays[2:])])
    for one in gone:
        one.events.get(timeout=120)
    batcher.leave([one.sequence for one in gone])
    assert [text(one.all()) for one in stays] == [gpt.generate(prompt, **said) for prompt, said in wanted]
    until(lambda: batcher.metrics.counts["sequences_left_total"] == 2)
    assert batcher.live == [] and all(one.events.qsize() < 190 for one in gone)


def test_who_goes_away_while_waiting_is_never_read(plain, running):
    batcher = running(plain)
    let_go, gone, stays = held(batcher), Asked(plain, "One day"), Asked(plain, "Once", max_new_tokens=2)
    batcher.submit([gone.sequence, stays.sequence])
    batcher.leave([gone.sequence])
    let_go()
    text(stays.all())
    assert gone.events.empty() and batcher.metrics.counts["prompt_tokens_total"] == len(stays.ids)
    assert batcher.metrics.counts["sequences_left_total"] == 1


def test_a_full_queue_sends_away_all_of_a_request_or_none(plain, running):
    batcher = running(plain, 1, most_waiting=3)
    let_go = held(batcher)
    first = [Asked(plain, "Once", max_new_tokens=1) for _ in range(2)]
    batcher.submit([one.sequence for one in first])
    two_more = [Asked(plain, "Once", max_new_tokens=1) for _ in range(2)]
    with pytest.raises(Refused, match="expected at most 3 texts in the queue, got 2 waiting and 2 more") as caught:
        batcher.submit([one.sequence for one in two_more])
    assert caught.value.status == 429 and 1 <= int(caught.value.headers["retry-after"]) <= 60
    batcher.submit([two_more[0].sequence])
    let_go()
    for one in (*first, two_more[0]):
        text(one.all())
    assert two_more[1].events.empty() and batcher.metrics.counts["refused_total"] == 1


# ---- what goes wrong


def test_what_is_wrong_with_one_text_ends_that_one(plain, running):
    batcher = running(plain)
    ids = list(range(plain.config.n_vocab))
    bad = Asked(plain, "Once", max_new_tokens=5, banned_ids=ids, temperature=1.0)
    good = Asked(plain, "Once", max_new_tokens=5, seed=1)
    batcher.submit([bad.sequence, good.sequence])
    (failure,) = bad.all()
    assert isinstance(failure.error, InputError) and "ban fewer ids" in str(failure.error)
    assert text(good.all()) == plain.generate("Once", 5, seed=1)


def test_a_defect_fails_the_texts_not_the_server(plain, running, monkeypatch):
    batcher, as_it_is = running(plain), batching.decoding.decode

    def broken(*args):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(batching.decoding, "decode", broken)
    asked = [Asked(plain, "Once", max_new_tokens=5) for _ in range(3)]
    batcher.submit([one.sequence for one in asked])
    assert all(isinstance(one.all()[-1].error, ZeroDivisionError) for one in asked)
    monkeypatch.setattr(batching.decoding, "decode", as_it_is)
    again = Asked(plain, "Once", max_new_tokens=5, seed=1)
    batcher.submit([again.sequence])
    assert text(again.all()) == plain.generate("Once", 5, seed=1) and batcher.rows.n_rows == 0


def test_who_waits_when_it_stops_is_told(plain):
    batcher = Batcher(plain, 1, 10)
    let_go, asked = held(batcher), Asked(plain, "Once")
    batcher.submit([asked.sequence])
    closing = threading.Thread(target=batcher.close)
    closing.start()
    until(lambda: batcher.is_closed)
    let_go()
    closing.join(60)
    assert asked.all()[-1].error.status == 503
    with pytest.raises(Refused, match="stopping"):
        batcher.submit([asked.sequence])


def test_a_job_tells_what_it_found_or_what_went_wrong(plain, running):
    batcher, told = running(plain), queue.Queue()
    batcher.submit([Job(lambda: 6 * 7, told.put), Job(lambda: [][1], told.put)])
    assert told.get(timeout=60) == 42 and isinstance(told.get(timeout=60), IndexError)


def test_what_is_asked_must_fit_the_context(plain):
    with pytest.raises(InputError, match="n_ctx"):
        Asked(plain, "Once", max_new_tokens=300)
    with pytest.raises(InputError, match="prompt: expected at most n_ctx"):
        Asked(plain, "Once " * 300)


def test_rows_are_as_many_as_the_memory_lets(plain, monkeypatch):
    each = batching.budget.sequence_bytes(1, plain.config.n_ctx, plain.params, plain.config, plain.ops)
    for free, expected in ((None, 64), (10 * each, 5), (0, 1), (10**15, 64)):
        monkeypatch.setattr(batching.memory, "available", lambda free=free: free)
        assert batching.rows_that_fit(plain) == expected
    assert batching.rows_that_fit(plain, 3) == 3


def test_a_step_tells_its_token(plain, running):
    asked = Asked(plain, "Once", max_new_tokens=1, temperature=0)
    running(plain).submit([asked.sequence])
    token, ending = asked.all()
    assert isinstance(token, Token) and token.log_prob is None and token.top == []
    assert math.isfinite(asked.sequence.first) and ending.reason == "length"
