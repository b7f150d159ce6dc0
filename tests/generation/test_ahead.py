"""Several greedy tokens in one compiled call are those that one after the other gives, wherever they end."""

import copy
import dataclasses
from importlib import import_module

import numpy as np
import pytest
from small import CONFIG, as_opened, make

from nanogpt_np import GPT, InputError
from nanogpt_np.generation import ahead, decoding, tokens
from nanogpt_np.generation.request import Request
from nanogpt_np.generation.sampling import Sampling
from nanogpt_np.generation.session import Kept

pytest.importorskip("nanogpt_np.kernels")
LONG = dataclasses.replace(CONFIG, n_ctx=40, eos_id=None)
TWINS = ["kernels", "quantized", "quantized.int4"]
PROMPT = [3, 1, 4]


@pytest.fixture(params=TWINS)
def twin(request):
    return import_module(f"nanogpt_np.{request.param}")


@pytest.fixture
def asked(twin, monkeypatch):
    """What was asked of the compiled call, as it comes: how many tokens at most, and how many it said."""
    calls, decode_greedy = [], twin.decode_greedy

    def counting(last, plan, params, config, cache, n_new, *others):
        said = decode_greedy(last, plan, params, config, cache, n_new, *others)
        calls.append((n_new, None if said is None else len(said)))
        return said

    monkeypatch.setattr(twin, "decode_greedy", counting)
    return calls


def parts(twin, config=LONG, by_output=True, seed=0):
    """Params, config and ops of a small model for these ops."""
    params = make(config, seed)
    if "wpe" in params:
        params["wpe"]["weight"] *= 5  # else it says its last id again and again
    if hasattr(twin, "quantize"):
        return twin.quantize(params, config), config, twin
    return as_opened(params, config) if by_output else params, config, twin


def greedy(n, **settings):
    return Request(max_new_tokens=n, sampling=Sampling(temperature=0), **settings)


def said(model, request):
    """What the prompt goes on with where only ids are asked for."""
    return [ids[0] for ids in tokens.stream_ids([PROMPT], *model, request) if ids[0] is not None]


def one_by_one(model, request):
    """The same where somebody looks at the logits."""
    return [step.ids[0] for step in tokens.stream_steps([PROMPT], *model, request) if step.ids[0] is not None]


@pytest.mark.parametrize("n", [1, 2, 3, 9, 10, 11, 30])
def test_the_same_ids_as_one_by_one(twin, asked, n):
    model = parts(twin)
    expected = one_by_one(model, greedy(n))
    assert said(model, greedy(n)) == expected
    calls, left = [], n - 1  # the first comes of the prompt
    while left:
        calls.append((min(left, 8), min(left, 8)))
        left -= calls[-1][0]
    assert asked == calls and len(set(expected)) > n // 3


@pytest.mark.parametrize("change", [
    {"tie_word_embeddings": False}, {"positions": "sinusoidal"}, {"n_inner": 40},
    {"window": 4, "banded_layers": (1,)}, {"activation": "relu"}, {"n_embd": 96}, {"n_vocab": 200, "n_embd": 192},
])  # fmt: skip
@pytest.mark.parametrize("by_output", [False, True])
def test_models_of_many_kinds(twin, asked, change, by_output):
    """Those that compiled code cannot go on with say the same, one by one."""
    model = parts(twin, dataclasses.replace(LONG, **change), by_output)
    expected = one_by_one(model, greedy(20))
    assert said(model, greedy(20)) == expected
    is_asked = {"activation": [], "positions": [(8, None)], "window": [(8, None)]}.get(next(iter(change)))
    assert asked == ([(8, 8), (8, 8), (3, 3)] if is_asked is None else is_asked)


@pytest.mark.parametrize("where", [0, 1, 4, 8, 9, 12])
def test_it_ends_where_the_text_does(twin, asked, where):
    """Behind an id that ends the text nothing more is read: `where` counts the ids before it."""
    model = parts(twin)
    plain = one_by_one(model, greedy(30))
    where = next(i for i in range(where, 30) if plain[i] not in plain[:i])
    stop = plain[where]
    assert said(model, greedy(30, stop=[stop])) == plain[:where]
    assert sum(said for _, said in asked) == where
    as_eos = dataclasses.replace(model[1], eos_id=stop)
    assert said((model[0], as_eos, twin), greedy(30)) == plain[:where]
    assert said((model[0], as_eos, twin), greedy(30, ignore_eos=True)) == plain


@pytest.mark.parametrize("n", [45, 80])
def test_past_the_end_of_the_context(twin, n):
    request = greedy(n, overflow="slide")
    model = parts(twin)
    assert said(model, request) == one_by_one(model, request)


def test_the_cache_of_a_session_holds_what_was_said_and_no_more(twin):
    """Left in the middle of a call's tokens, it goes on as if these had been all."""
    model = parts(twin)
    for n_taken in range(1, 13):
        kept, other = Kept(), Kept()
        steps = tokens.stream_steps([PROMPT], *model, greedy(20), kept=kept, only_ids=True)
        ids = [next(steps).ids[0] for _ in range(n_taken)]
        steps.close()
        for _ in tokens.stream_steps([PROMPT], *model, greedy(n_taken), kept=other):
            pass
        assert kept.length == other.length == len(PROMPT) + n_taken - 1
        text = [*PROMPT, *ids, 7, 8]
        logits = [one.read(text, *model)[0] for one in (kept, other)]
        np.testing.assert_array_equal(*logits)


def test_what_is_written_to_a_weight_counts_from_the_next_call_on():
    params, *_ = parts(import_module("nanogpt_np.kernels"))

    def texts(when, **settings):
        gpt, ids = GPT(LONG, copy.deepcopy(params), None, ops="numba"), []
        for token in gpt.stream(PROMPT, 30, temperature=0, **settings):
            ids.append(token)
            if len(ids) == when:
                gpt.params["ln_f"]["bias"][...] = np.linspace(-5, 5, LONG.n_embd)
        return ids

    plain = texts(None)
    written = texts(9, min_new_tokens=30)  # led, and so one by one
    assert [texts(when) for when in (2, 4, 9)] == [written] * 3  # behind the prompt's, a call has said eight
    assert written[:9] == plain[:9] and written != plain


@pytest.mark.parametrize("prompt", [[1, 2, 3], [5, 6, 7, 5, 6, 7, 5, 6], list(range(20))])
@pytest.mark.parametrize("settings", [{}, {"stop": [7]}, {"overflow": "slide"}])
def test_guesses_go_on_from_what_a_call_has_said(twin, asked, prompt, settings):
    """Where no guess is trusted several tokens come at once, and where one is they are checked."""
    n = 60 if "overflow" in settings else 18
    checked = 0
    for seed in range(4):
        model, request = parts(twin, seed=seed), greedy(n, **settings)
        if seed % 2:
            model[0]["wpe"]["weight"][...] = 0  # it says the same again and again
        expected = [step.ids[0] for step in tokens.stream_steps([prompt], *model, request)]
        guessing = dataclasses.replace(request, speculate=5)
        assert [ids[0] for ids in tokens.stream_ids([prompt], *model, guessing)] == expected
        checked += sum(calls for calls, _ in asked) < len(expected) - 1
        asked.clear()
        steps = tokens.stream_steps([prompt], *model, guessing, kept=Kept(), only_ids=True)
        assert [step.ids[0] for step in steps] == expected
        asked.clear()
    assert checked or "overflow" not in settings


@pytest.mark.parametrize("at_once", [0, 1, 2.5])
def test_of_a_large_model_each_token_is_seen_as_it_comes(twin, asked, monkeypatch, at_once):
    model = parts(twin)
    plan = decoding.plan_of((1, 1), *model, decoding.new_cache(1, 40, *model))
    n_bytes = sum(array.nbytes for array in plan[0])
    monkeypatch.setattr(ahead, "READ_AT_ONCE", int(at_once * n_bytes))
    list(tokens.stream_ids([PROMPT], *model, greedy(8)))
    assert asked == ([(2, 2), (2, 2), (2, 2), (1, 1)] if at_once > 2 else [])


def test_only_where_nothing_else_is_asked_for(twin, asked):
    """Draws, penalties, a least number of tokens, several texts, logits: each comes one by one."""
    model = parts(twin)
    for request in (
        Request(9, Sampling(temperature=1.0), seed=1), Request(9, Sampling(0, repetition_penalty=1.2)),
        greedy(9, min_new_tokens=9), greedy(9, num_return_sequences=2),
    ):  # fmt: skip
        assert list(tokens.stream_ids([PROMPT], *model, request))
    assert list(tokens.stream_ids([PROMPT, PROMPT], *model, greedy(9)))
    assert list(tokens.stream_steps([PROMPT], *model, greedy(9)))
    assert asked == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("ops", ["numba", "int8"])
def test_logits_that_are_no_numbers_are_refused_as_ever(ops, value):
    """wpe breaks the model at position 7: all tokens up to there are said before."""
    params = make(LONG)
    params["wpe"]["weight"][7] = value
    found = []
    with pytest.raises(InputError, match="broken"):
        for token in GPT(LONG, params, None, ops=ops).stream(PROMPT, 12, temperature=0):
            found.append(token)
    assert len(found) == 5  # behind the prompt, and behind positions 3 to 6


def test_a_full_cache_is_refused(twin):
    model = parts(twin)
    cache = decoding.new_cache(1, 4, *model)
    decoding.read(np.array([PROMPT]), *model, cache)
    going = ahead.Continuation(model, cache, 1, stop_ids=())
    assert going.next([[*PROMPT, 5]], 9)[0].shape == (1,)
    with pytest.raises(InputError, match="at most n_ctx"):
        going.next([[*PROMPT, 5, 6]], 9)
