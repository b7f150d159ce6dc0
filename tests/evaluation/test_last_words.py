"""LAMBADA: the last word and its last token, against transformers on the shipped model."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from goldens import measure, recipe

from nanogpt_np import GPT, FileError, Tokenizer
from nanogpt_np.evaluation import last_words

GOLDEN = 1e-4  # measured: 4e-6: float32 on both sides, summed in another order
LAMBADA = Path(__file__).parents[3] / "shared" / "data" / "eval" / "lambada_test.jsonl"  # beside the project


@pytest.fixture(scope="module")
def stories():
    return GPT.from_pretrained("stories", ops="numpy")


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def test_as_transformers(stories, tmp_path):
    path = write(tmp_path / "passages.jsonl", [{"text": text} for text in recipe.PASSAGES])
    rows = last_words.measure(last_words.read_passages(path, stories), stories, batch_size=3)
    golden = measure.under("stories/words/", measure.load("evaluation"))
    for name, key in (("word_log_prob", "log_prob"), ("token_log_prob", "last_log_prob")):
        np.testing.assert_allclose([row[name] for row in rows], golden[key], atol=GOLDEN)
    for name, key in (("word_is_greedy", "greedy"), ("token_is_greedy", "last_greedy")):
        assert [row[name] for row in rows] == golden[key].tolist()
    numbers = last_words.summary(rows)
    assert list(numbers) == list(last_words.NUMBERS)
    assert numbers["last_word_accuracy"] == golden["greedy"].mean() < golden["last_greedy"].mean()
    assert numbers["last_token_accuracy"] == golden["last_greedy"].mean()
    assert numbers["last_word_perplexity"] == pytest.approx(math.exp(-golden["log_prob"].mean()), rel=GOLDEN)
    assert numbers["last_token_perplexity"] == pytest.approx(math.exp(-golden["last_log_prob"].mean()), rel=GOLDEN)
    assert [row["word"] for row in rows][:2] == [" ball", " dog"]


def test_a_long_passage_is_refused_or_cut(make_gpt, tmp_path):
    gpt = make_gpt(n_ctx=8)
    path = write(tmp_path / "passages.jsonl", [{"text": "a b"}, {"text": "b c d e f g h i j k l"}])
    with pytest.raises(FileError) as caught:
        last_words.read_passages(path, gpt)
    message = "line 2: expected at most n_ctx = 8 tokens to read, got 18; shorten it, or use overflow='cut'"
    assert str(caught.value) == f"{path}: {message}"
    passage = last_words.read_passages(path, gpt, overflow="cut")[1]
    assert len(passage.pair.read) == 8
    ids = gpt.tokenizer.encode(passage.text)
    assert passage.pair.before + passage.pair.said == ids[-9:]  # as the harness cuts: n_ctx + 1 with what is said last
    assert last_words.read_passages(path, gpt, limit=1) == last_words.read_passages(path, gpt, overflow="cut")[:1]


@pytest.mark.skipif(not LAMBADA.exists(), reason="the LAMBADA passages are not beside this checkout")
def test_passages_are_cut_where_the_harness_cuts():
    """In the published vocabulary; the harness: context = words but the last, target = " " + the last."""

    class Plain:
        tokenizer = Tokenizer.gpt2()
        config = type("Config", (), {"n_ctx": 1024, "eos_id": 50256})

    passages = last_words.read_passages(LAMBADA, Plain, limit=300)
    for passage in passages:
        words = passage.text.split(" ")
        before = Plain.tokenizer.encode(" ".join(words[:-1]))
        assert passage.pair.before == before
        assert Plain.tokenizer.decode(passage.pair.said) == " " + words[-1]
