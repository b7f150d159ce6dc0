"""The training algorithm against a plain recount after every merge, and against the published example."""

import random
from collections import Counter
from itertools import pairwise

import pytest

from nanogpt_np.errors import TokenizerError
from nanogpt_np.tokenizer.bpe import Tokenizer
from nanogpt_np.tokenizer.training import PairCounts, merge, train_merges


def train_by_recount(chunk_counts, n_merges):
    """The definition: count every pair from nothing, take the most frequent (smaller ids first), replace, repeat."""
    chunks = [(list(chunk), count) for chunk, count in chunk_counts.items()]
    merges = []
    while len(merges) < n_merges:
        counts = Counter()
        for ids, count in chunks:
            for pair in pairwise(ids):
                counts[pair] += count
        if not counts:
            break
        pair = min(counts, key=lambda pair: (-counts[pair], pair))
        replaced = []
        for ids, count in chunks:
            out = []
            for i in ids:
                # `out[-1]` may be a token made just now; that one is never the left half, so "aaa" becomes "aa", "a".
                if out and (out[-1], i) == pair:
                    out[-1] = 256 + len(merges)
                else:
                    out.append(i)
            replaced.append((out, count))
        chunks = replaced
        merges.append(pair)
    return merges


@pytest.mark.parametrize(
    "ids, pair, expected",
    [
        ([1, 2, 3, 1, 2], (1, 2), [4, 3, 4]),
        ([1, 1, 1], (1, 1), [4, 1]),
        ([1, 1, 1, 1], (1, 1), [4, 4]),
        ([2, 1], (1, 2), [2, 1]),
        ([1], (1, 2), [1]),
        ([], (1, 2), []),
    ],
)
def test_merge(ids, pair, expected):
    assert merge(ids, pair, new_id=4) == expected


@pytest.mark.parametrize("seed", range(20))
def test_merges_equal_a_recount_after_every_merge(seed):
    # Few letters and repeated ones: many ties, and runs such as "aaaa" where counting is easiest to get wrong.
    rng = random.Random(seed)
    chunks = {bytes(rng.choices(b"aab c", k=rng.randint(1, 12))): rng.randint(1, 4) for _ in range(40)}
    assert train_merges(chunks, n_merges=60) == train_by_recount(chunks, n_merges=60)


def test_counts_stay_true_while_pairs_are_merged():
    rng = random.Random(7)
    pairs = PairCounts({bytes(rng.choices(b"aabc", k=9)): rng.randint(1, 5) for _ in range(30)})
    for new_id in range(256, 290):
        pairs.merge(pairs.most_frequent(), new_id)
        recounted = Counter()
        for ids, weight in zip(pairs.chunks, pairs.weights, strict=True):
            for pair in pairwise(ids):
                recounted[pair] += weight
        assert {pair: count for pair, count in pairs.counts.items() if count} == recounted


def test_published_example():
    # minbpe's test of the example on Wikipedia's page about byte pair encoding.
    tokenizer = Tokenizer.train(["aaabdaaabac"], n_vocab=259, special_tokens=())
    assert tokenizer.encode("aaabdaaabac") == [258, 100, 258, 97, 99]
    assert tokenizer.decode([258, 100, 258, 97, 99]) == "aaabdaaabac"


def test_ties_go_to_the_smaller_ids_whatever_the_order_of_texts():
    assert train_merges({b"yx": 1, b"ab": 1, b"ac": 1}, n_merges=3) == [(97, 98), (97, 99), (121, 120)]
    texts = ["the cat sat", "on the mat", "and the rat ate that hat", "aaaa aa aaa"]
    fingerprints = {Tokenizer.train(order, 275).fingerprint for order in (texts, texts[::-1], texts[2:] + texts[:2])}
    assert len(fingerprints) == 1


def test_nothing_merges_across_texts_or_chunks():
    tokenizer = Tokenizer.train(["ab", "ab", "x y", "x y"], n_vocab=258, special_tokens=())
    assert [tokenizer.token_bytes(i) for i in (256, 257)] == [b" y", b"ab"]
    with pytest.raises(TokenizerError, match="at most 256 tokens, got 257"):
        Tokenizer.train(["a", "b"], n_vocab=257, special_tokens=())


def test_ids_are_bytes_then_merges_then_special_tokens():
    tokenizer = Tokenizer.train(["hello hello"], n_vocab=261, special_tokens=("<|endoftext|>", "<|结束|>"))
    assert [tokenizer.token_bytes(i) for i in range(256)] == [bytes([i]) for i in range(256)]
    assert tokenizer.special_tokens == {"<|endoftext|>": 259, "<|结束|>": 260}
    assert (tokenizer.n_vocab, tokenizer.eos_id) == (261, 259)
    assert tokenizer.encode("hé") == [104, 0xC3, 0xA9]


def test_special_tokens_in_training_text_are_text():
    tokenizer = Tokenizer.train(["<|endoftext|>" * 9], n_vocab=265)
    assert 264 not in tokenizer.encode("<|endoftext|>")
    assert tokenizer.encode("<|endoftext|>", allowed_special="all") == [264]


def test_texts_may_be_a_generator_and_nothing_need_be_merged():
    assert Tokenizer.train((text for text in ["abab", "ab"]), n_vocab=258).token_bytes(256) == b"ab"
    assert Tokenizer.train([], n_vocab=257).encode("ab") == [97, 98]


def test_progress_is_shown_only_when_asked_for(capsys):
    Tokenizer.train(["abab"], n_vocab=258)
    assert capsys.readouterr().err == ""
    Tokenizer.train(["abab"], n_vocab=258, progress=True)
    assert "merging pairs" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"texts": "one string"}, "texts: expected several strings, got one str"),
        ({"texts": 5}, "texts: expected several strings, got one int"),
        ({"texts": ["fine", b"bytes"]}, r"texts\[1\]: expected a string, got bytes"),
        ({"texts": ["fine", "bad \ud800"]}, r"texts\[1\]: .*U\+D800 at offset 4"),
        ({"n_vocab": 256}, r"n_vocab: .*at least 257 \(256 bytes and 1 special tokens\), got 256"),
        ({"n_vocab": 300.0}, "n_vocab: .*got 300.0"),
        ({"n_vocab": 9999}, r"n_vocab: these texts hold pairs for at most 258 tokens, got 9,999; ask for fewer"),
        ({"special_tokens": "<|end|>"}, "special_tokens: expected several strings, got one str"),
        ({"special_tokens": ("<|a|>", "<|a|>")}, "special_tokens: expected different texts"),
        ({"special_tokens": ("",)}, "special_tokens: expected different texts, none empty"),
        ({"special_tokens": ("ab",)}, "special_tokens: 'ab' is also an ordinary token"),
    ],
)
def test_errors_say_what_to_do(arguments, message):
    with pytest.raises(TokenizerError, match=message) as caught:
        Tokenizer.train(**({"texts": ["ab", "ab"], "n_vocab": 258} | arguments))
    assert "\n" not in str(caught.value)
