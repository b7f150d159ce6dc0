"""What a caller gets: log-probabilities, reasons, next tokens, hidden states; against one plain forward pass."""

import json

import numpy as np
import pytest
from goldens import measure, recipe

from nanogpt_np import GPT, InputError
from nanogpt_np.generation import completions

EXACT = 1e-10  # float64 on both sides


@pytest.fixture(scope="module")
def gpt(make_gpt):
    return make_gpt(dtype=np.float64)


def naive(gpt, ids):
    """log softmax of every row of one pass."""
    logits = gpt(ids)[0]
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def test_logprobs_next_tokens_and_hidden(gpt, tokenizer):
    text = "the cat sat on the mat"
    ids = tokenizer.encode(text)
    rows, found = naive(gpt, ids), gpt.logprobs(text)
    assert found.shape == (len(ids),) and np.isnan(found[0])
    np.testing.assert_allclose(found[1:], rows[np.arange(len(ids) - 1), ids[1:]], rtol=0, atol=EXACT)
    best = gpt.next_tokens(text, 5)
    order = np.argsort(-rows[-1], kind="stable")[:5]
    assert [token.id for token in best] == order.tolist()
    np.testing.assert_allclose([token.log_prob for token in best], rows[-1][order], rtol=0, atol=EXACT)
    assert best[0].text == tokenizer.token_bytes(best[0].id).decode(errors="replace")
    _, acts = gpt(ids, keep_acts=True)
    np.testing.assert_allclose(gpt.hidden(text), acts.final[0], rtol=0, atol=EXACT)
    assert len(gpt.next_tokens(ids, 10**6)) == 300 and np.isnan(gpt.logprobs([5])).all()


def test_hidden_states_are_transformers():
    """Its last_hidden_state is what comes out of ln_f: the golden's "acts/final"."""
    golden = measure.load("tiny")
    gpt = GPT(measure.config_of(recipe.TINY), measure.tiny_params(golden, recipe.TINY, np.float64))
    for ids, expected in zip(golden["tokens"][:, :-1].tolist(), golden["acts/final"], strict=True):
        np.testing.assert_allclose(gpt.hidden(ids), expected, rtol=0, atol=measure.EXACT)


@pytest.mark.parametrize("how", [{}, {"speculate": 3}, {"penalty_alpha": 0.5, "top_k": 1}])
@pytest.mark.parametrize("n", [1, 2])
def test_why_where_the_first_token_ends_it(gpt, how, n):
    prompts = [[5, 6, 7]] * n
    how = how if "penalty_alpha" in how else {"temperature": 0, **how}
    first = gpt.generate(prompts, 1, **how)[0][0]
    found = gpt.complete(prompts, 4, stop=[first], **how)
    assert [(one.reason, one.ids) for one in found] == [("stop", [])] * n


@pytest.mark.parametrize("settings", [
    {"temperature": 0}, {"seed": 1}, {"seed": 2, "top_k": 4, "temperature": 0.5, "repetition_penalty": 1.3},
    {"temperature": 0, "speculate": 4}, {"num_beams": 3}, {"penalty_alpha": 0.6, "top_k": 3}, {"seed": 3, "stop": "a"},
])  # fmt: skip
def test_a_completion_is_what_generate_says_with_its_numbers(gpt, tokenizer, settings):
    prompts = ["the cat", "moon 🌕 and"]
    for prompt, found in zip(prompts, gpt.complete(prompts, 8, top_logprobs=3, **settings), strict=True):
        before = tokenizer.encode(prompt)
        assert found.prompt == prompt and found.text == gpt.generate(prompt, 8, **settings)
        rows = naive(gpt, before + found.ids)[len(before) - 1 :]
        expected = rows[np.arange(len(found.ids)), found.ids]
        np.testing.assert_allclose(found.log_probs, expected, rtol=0, atol=EXACT)
        if "num_beams" in settings:
            assert found.score is not None
            continue
        for top, row in zip(found.top, rows, strict=False):
            assert [token.id for token in top] == np.argsort(-row, kind="stable")[:3].tolist()
        assert len(found.top) == len(found.ids) and 0 < found.seconds_to_first <= found.seconds


def test_several_sequences_of_several_prompts(gpt):
    found = gpt.complete([[1, 2], [3]], 5, num_return_sequences=2, seed=4)
    assert [one.ids for one in found] == gpt.generate([[1, 2], [3]], 5, num_return_sequences=2, seed=4)
    assert [list(one.prompt) for one in found] == [[1, 2], [1, 2], [3], [3]]


def test_why_it_ended(make_parrot, tokenizer):
    letters = tokenizer.encode("abcd")
    gpt = make_parrot([*letters, tokenizer.eos_id, 9])
    for settings, reason, text in (
        ({}, "eos", "abcd"), ({"max_new_tokens": 2}, "length", "ab"), ({"stop": letters[2]}, "stop", "ab"),
        ({"stop": "cd"}, "stop", "ab"), ({"pattern": "ab?c"}, "match", "abc"), ({"max_new_tokens": 0}, "length", ""),
        ({"stop": tokenizer.eos_id}, "stop", "abcd"),
    ):  # fmt: skip
        (found,) = gpt.complete([3], temperature=0, **settings)
        assert (found.reason, found.text) == (reason, text), settings
        if "pattern" not in settings and not isinstance(settings.get("stop"), str):
            (searched,) = gpt.complete([3], num_beams=2, **settings)
            assert (searched.reason, searched.text) == (reason, text), settings
    guessed = make_parrot([5, 5, 5, 5, tokenizer.eos_id]).complete([5], 8, temperature=0, speculate=4)
    assert guessed[0].reason == "eos" and len(guessed[0].ids) == 4


def test_as_json(gpt, make_gpt):
    (found,) = gpt.complete("the", 3, seed=1, top_logprobs=2)
    back = json.loads(json.dumps(found.to_dict()))
    assert back["ids"] == found.ids and back["top"][0][0]["id"] == found.top[0][0].id
    (bare,) = make_gpt(with_tokenizer=False).complete(np.array([1, 2]), 2, seed=1)
    assert json.loads(json.dumps(bare.to_dict()))["prompt"] == [1, 2] and bare.text is None


def test_without_being_asked_nothing_is_computed(gpt, monkeypatch):
    monkeypatch.setattr(completions, "log_softmax", None)
    gpt.generate("the", 3, seed=1)


def test_what_cannot_be_scored(gpt):
    for call in (gpt.logprobs, gpt.hidden, gpt.next_tokens):
        with pytest.raises(InputError, match="prompt: expected 1 to n_ctx = 24 tokens, got 25"):
            call([1] * 25)
        with pytest.raises(InputError, match="prompt: expected ids from 0 to 299, got 300"):
            call([300])
    with pytest.raises(InputError, match="top_logprobs: expected a whole number of at least 0"):
        gpt.complete([1], 1, top_logprobs=-1)
