"""penalties.py against the published formulas, as plain loops over Python floats."""

import math

import numpy as np
import pytest

from nanogpt_np import InputError
from nanogpt_np.generation import penalties
from nanogpt_np.generation.sampling import Sampling

RNG = np.random.default_rng(3)
LOGITS = (3 * RNG.normal(size=(4, 12))).astype(np.float32)
TEXTS = [[1, 2, 3, 1, 2], [], [5, 5, 5, 5], [0, 11, 4, 0]]


def naive_counts(row, said, frequency, presence):
    """OpenAI: mu[j] - c[j] * alpha_frequency - float(c[j] > 0) * alpha_presence"""
    return [mu - said.count(j) * frequency - (presence if said.count(j) > 0 else 0) for j, mu in enumerate(row)]


@pytest.mark.parametrize("frequency, presence", [(0.5, 0), (0, 0.7), (1.2, -0.4), (-2, 2)])
def test_frequency_and_presence_are_openais_formula(frequency, presence):
    found = penalties.count_penalties(LOGITS, TEXTS, frequency, presence)
    expected = [naive_counts(row, said, frequency, presence)
                for row, said in zip(LOGITS.tolist(), TEXTS, strict=True)]  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)  # a float32 subtraction of numbers up to 10
    assert found.dtype == np.float32 and not np.shares_memory(found, LOGITS)


def test_they_count_what_was_generated_and_not_the_prompt(make_gpt):
    gpt = make_gpt(eos_id=None)
    prompt, seen = gpt.generate([3, 3, 3, 7], 6, temperature=0), []  # ids that it would say again
    for _ in range(12):
        logits = gpt(prompt + seen, last_only=True)[0]
        seen.append(int(np.argmax(naive_counts(logits[0].tolist(), seen, 3.0, 2.0))))
    assert gpt.generate(prompt, 12, temperature=0, frequency_penalty=3.0, presence_penalty=2.0) == seen
    assert gpt.generate(prompt, 12, temperature=0) != seen and set(prompt) & set(seen)
    guessed = gpt.generate(prompt, 12, temperature=0, frequency_penalty=3.0, presence_penalty=2.0, speculate=4)
    assert guessed == seen


def test_no_ngram_comes_twice(make_gpt):
    gpt = make_gpt(eos_id=None)
    for n in (1, 2, 3):
        ids = [4, 9] + gpt.generate([4, 9], 20, temperature=0, no_repeat_ngram_size=n)
        grams = list(zip(*(ids[i:] for i in range(n)), strict=False))
        assert len(set(grams)) == len(grams)


def test_an_ended_row_that_could_say_nothing_more_is_left_alone(make_gpt):
    """Four tokens and no repetition: after four, a row has nothing left; one that has ended must not be asked."""
    gpt = make_gpt(8, with_tokenizer=False, scale=0.6, n_vocab=4, n_ctx=8, n_embd=8, eos_id=None)
    first = gpt.generate([1], 1, temperature=0)[0]
    alone = [gpt.generate([p], 3, temperature=0, no_repeat_ngram_size=1, stop=first) for p in (1, 2, 3)]
    assert gpt.generate([[1], [2], [3]], 3, temperature=0, no_repeat_ngram_size=1, stop=first) == alone


def test_banned_words_as_text_with_and_without_a_space(make_gpt, tokenizer):
    gpt = make_gpt(eos_id=None)
    prompt = tokenizer.encode("the cat")
    for seed in range(5):
        said = gpt.generate(prompt, 16, seed=seed)
        for first in said:
            word = tokenizer.decode([first]).strip()
            if not word or tokenizer.encode(word) != [first] or "\ufffd" in word:
                continue
            other = gpt.generate(prompt, 16, seed=seed, banned_words=word)
            for ids in (tokenizer.encode(word), tokenizer.encode(" " + word)):
                assert all(other[i : i + len(ids)] != ids for i in range(16))
            assert other != said
    with pytest.raises(InputError, match="banned_words: expected ids, got text"):
        make_gpt(with_tokenizer=False).generate([1], 2, banned_words=["a"])


def test_logit_bias_takes_ids_sequences_and_texts(make_gpt, tokenizer):
    gpt = make_gpt(eos_id=None)
    (i,) = tokenizer.encode(" cat")
    for bias in ({i: 100.0}, {(i,): 100}, {" cat": 100.0}):
        assert gpt.generate([1, 2], 3, temperature=0, logit_bias=bias) == [i, i, i]
    assert i not in gpt.generate([1, 2], 9, temperature=0, logit_bias={i: -math.inf})


def test_min_new_tokens(make_parrot, tokenizer):
    gpt = make_parrot([5, tokenizer.eos_id, 7, 8, tokenizer.eos_id])
    assert gpt.generate([3], 5, temperature=0) == [5]
    longer = gpt.generate([3], 5, temperature=0, min_new_tokens=4)
    assert len(longer) == 4 and longer[0] == 5 and longer[2:] == [7, 8]
    assert len(gpt.generate([3], 5, num_beams=2, min_new_tokens=4)) == 4
    with pytest.raises(InputError, match="min_new_tokens: expected at most max_new_tokens = 3, got 4; ask for fewer"):
        gpt.generate([3], 3, min_new_tokens=4)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"frequency_penalty": 101}, "frequency_penalty: expected a number from -100 to 100, got 101"),
        ({"logit_bias": [1]}, "logit_bias: expected a dict of at most 100,000 entries"),
        ({"logit_bias": {1: math.nan}}, "logit_bias: expected numbers from -1e6 to 1e6, or -inf, got nan"),
        ({"logit_bias": {(): 1.0}}, "logit_bias: expected texts, or lists of ids, none of them empty"),
        ({"banned_words": [[]]}, "banned_words: expected texts, or lists of ids, none of them empty"),
        ({"banned_words": [[-1]]}, "banned_words: expected ids from 0 to 299, got -1"),
        ({"logit_bias": {300: 1.0}}, "logit_bias: expected ids from 0 to 299, got 300"),
        ({"typical_p": 0}, "typical_p: expected a share above 0, at most 1, got 0"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size: expected a whole number of at least 0, got -1"),
        ({"min_new_tokens": 2, "temperature": 0, "speculate": 4}, "speculate: expected no min_new_tokens with it"),
    ],
)
def test_what_makes_no_sense(make_gpt, settings, message):
    with pytest.raises(InputError, match=message):
        make_gpt().generate([1, 2], 3, **settings)


def test_nothing_asked_is_nothing_done():
    """A plain choice goes straight to the best logit; nothing of the text is looked at."""
    assert not Sampling(0).processes and not Sampling(0.7, 5, 0.9, 0.1, typical_p=0.5).processes
    assert Sampling(0).choose(LOGITS, None, None).tolist() == LOGITS.argmax(axis=1).tolist()
    for name, value in (("repetition_penalty", 1.1), ("frequency_penalty", 1), ("presence_penalty", 1),
                        ("no_repeat_ngram_size", 2), ("logit_bias", {1: 1.0}), ("banned_words", "a"),
                        ("banned_ids", 0)):  # fmt: skip
        assert Sampling(**{name: value}).processes
