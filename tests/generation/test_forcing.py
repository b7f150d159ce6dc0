"""forcing.py: with enough beams the best continuation of all that hold the words; with few, one that holds them."""

import itertools

import numpy as np
import pytest

from nanogpt_np import InputError
from nanogpt_np.generation import beams, forcing
from nanogpt_np.generation.beams import Beam, Beams
from nanogpt_np.generation.request import Request


def best_of_all(gpt, prompt, length, words, stop_ids=()):
    """(score, ids) of every sequence that holds each word in one of its forms and ends rightly, best first."""
    rows = np.array(list(itertools.product(range(gpt.config.n_vocab), repeat=length)))
    logits = gpt(np.concatenate([np.tile(prompt, (len(rows), 1)), rows], axis=1))[:, len(prompt) - 1 : -1]
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    sums = np.cumsum(np.take_along_axis(log_probs, rows[:, :, None], axis=-1)[:, :, 0], axis=1)
    found = {}
    for row, total in zip(rows.tolist(), sums, strict=True):
        n = next((n for n, token in enumerate(row, 1) if token in stop_ids), length)
        text = tuple(row[:n])
        if all(any(text[i : i + len(form)] == form for form in forms for i in range(n)) for forms in words):
            found[text] = total[n - 1] / n
    return sorted(((score, ids) for ids, score in found.items()), reverse=True)


@pytest.fixture(scope="module")
def minuscule(make_gpt):
    return make_gpt(8, np.float64, with_tokenizer=False, scale=0.6, n_vocab=4, n_ctx=8, n_embd=8, eos_id=None)


def search(gpt, words, n_beams, length, stop=(), n=1):
    request = Request(length, stop=stop, num_return_sequences=n)
    return beams.search([[1, 2]], gpt.params, gpt.config, gpt.ops, request, Beams(n_beams), words=words)[0]


WORDS = [[[(0,)]], [[(3, 3)]], [[(2, 0), (3, 1)]], [[(0,)], [(3, 2)]], [[(1, 1, 1)]], [[(0, 1)], [(1, 0)]]]


@pytest.mark.parametrize("stop", [(), (2,)])
@pytest.mark.parametrize("words", WORDS, ids=map(str, WORDS))
def test_with_enough_beams_the_best_with_the_words_is_found(minuscule, words, stop):
    if stop and any(2 in form for forms in words for form in forms):
        pytest.skip("a word that ends the text")
    expected = best_of_all(minuscule, [1, 2], 5, words, stop)[:3]
    found = search(minuscule, words, 4**4, 5, stop, n=3)
    assert [one.ids for one in found] == [ids for _, ids in expected]
    np.testing.assert_allclose([one.score for one in found], [score for score, _ in expected], rtol=0, atol=1e-11)


@pytest.mark.parametrize("n_beams", [2, 3, 8])
@pytest.mark.parametrize("words", WORDS, ids=map(str, WORDS))
def test_with_few_beams_the_words_come_all_the_same(minuscule, words, n_beams):
    (found,) = search(minuscule, words, n_beams, 5)
    assert forcing.is_whole(found.ids, words) and len(found.ids) == 5


def test_text_in_text_out(make_gpt):
    gpt = make_gpt(eos_id=None)
    for words in ("hat", ["mat", "cat"]):
        text = gpt.generate("the", 14, num_beams=3, forced_words=words)
        assert all(word in text for word in ([words] if isinstance(words, str) else words))
        assert "hat" not in gpt.generate("the", 14, num_beams=3)
        (found,) = gpt.complete("the", 14, num_beams=3, forced_words=words)
        assert found.text == text


def test_the_banks():
    words = [[(1, 2)], [(5, 6), (9,)]]
    assert forcing.said_of([7, 1, 2, 5], words) == [2, 1] and forcing.said_of([9, 1], words) == [1, 2]
    assert forcing.next_ids([7, 1], words) == {2, 5, 9} and forcing.next_ids([1, 2, 9], words) == set()
    made = [Beam((1, 2), -9.0, 0), Beam((7, 7), -1.0, 0), Beam((7, 8), -2.0, 0), Beam((7, 1), -3.0, 0)]
    assert [beam.ids for beam in forcing.allot(made, 3, words)] == [(7, 7), (7, 1), (1, 2)]
    made = [Beam((1, 2), -1.0, 0), Beam((2, 1, 2), -2.0, 0), Beam((7, 7), -9.0, 0)]  # the best of each bank comes first
    assert [beam.ids for beam in forcing.allot(made, 2, words)] == [(1, 2), (7, 7)]


def test_what_cannot_be(minuscule, make_gpt):
    with pytest.raises(InputError, match="forced_words: expected words that fit 2 new tokens"):
        minuscule.generate([1], 2, num_beams=3, forced_words=[[1, 2, 3]])
    with pytest.raises(InputError, match="forced_words: expected num_beams above 1 with it, got 1"):
        minuscule.generate([1], 2, forced_words=[[1]])
    with pytest.raises(InputError, match="forced_words: expected ids from 0 to 3, got 4"):
        minuscule.generate([1], 2, num_beams=2, forced_words=[[4]])
