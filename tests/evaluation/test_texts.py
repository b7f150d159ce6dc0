"""Perplexity: the windows are lm_eval's and those of transformers' guide, the units what their names say."""

import json
import math

import numpy as np
import pytest
from goldens import measure, recipe

from nanogpt_np import GPT, FileError, InputError
from nanogpt_np.evaluation import likelihood, texts
from nanogpt_np.training import data
from nanogpt_np.training.evaluation import evaluate

SIZES = recipe.TINY._replace(tied=False)
GOLDEN = 1e-4  # relative; measured: 2e-7, where both are float32


@pytest.fixture(scope="module")
def golden():
    return measure.load("evaluation")


@pytest.fixture(scope="module")
def stories():
    return GPT.from_pretrained("stories", ops="numpy")


def nats(gpt, row, windows):
    pairs = [likelihood.Pair(row[start : end - n], row[end - n : end]) for start, end, n in windows]
    found = likelihood.score(pairs, gpt.params, gpt.config, gpt.ops)
    return -sum(one.total for one in found), sum(len(one.log_probs) for one in found)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_row_in_both_kinds_of_windows(golden, dtype):
    gpt = GPT(measure.config_of(SIZES), measure.tiny_params(measure.load("tiny"), SIZES, dtype))
    row = recipe.tokens(SIZES, 43, 75).tolist()
    rolled = [nats(gpt, row, texts.rolling(75, 32, stride)) for stride in recipe.ROW_STRIDES]
    np.testing.assert_allclose([of for of, _ in rolled], golden["tiny/row/rolling"], rtol=GOLDEN)
    assert {n for _, n in rolled} == {74}
    guided = [nats(gpt, row, texts.guide(75, 32, stride)) for stride in recipe.ROW_STRIDES]
    np.testing.assert_allclose(guided, golden["tiny/row/guide"], rtol=GOLDEN)


def test_a_story_of_the_shipped_model(golden, stories):
    """From its text: the ids too are those of transformers' tokenizer."""
    document = texts.document_of(recipe.story(), recipe.story())
    for windows in texts.WINDOWS:
        for i, stride in enumerate(recipe.STORY_STRIDES):
            found = texts.pieces([document], stories, windows, stride)
            numbers = texts.summary(texts.measure(found, stories), [document], windows)
            expected = golden[f"stories/story/{windows}"][i]
            of, n = (expected, golden["stories/story/n_tokens"]) if windows == "rolling" else expected
            assert numbers["n_tokens"] == n
            assert numbers["nats_per_token"] == pytest.approx(of / n, rel=GOLDEN)
            assert numbers["token_perplexity"] == pytest.approx(math.exp(of / n), rel=GOLDEN)


@pytest.mark.parametrize("windows", [texts.rolling, texts.guide])
def test_windows_predict_everything_once_and_fit(windows):
    for n_ids in (1, 2, 3, 8, 9, 10, 31):
        for n_ctx in (1, 3, 8):
            for stride in range(1, n_ctx + 1):
                said = []
                for start, end, n_said in windows(n_ids, n_ctx, stride):
                    n_read = end - start - 1  # nothing is asked behind the last one
                    assert 0 <= start and end <= n_ids and 1 <= n_said <= n_read and n_read <= n_ctx
                    said += range(end - n_said, end)
                assert said == sorted(set(said)) and 0 not in said
                if windows is texts.rolling:
                    assert said == list(range(1, n_ids))


def test_units(make_gpt):
    """A page that was cleaned is measured by its original; words are counted as the harness does."""
    gpt = make_gpt()
    documents = [texts.document_of("the cat", " the  cat @,@ \n"), texts.document_of("月 sat", "月 sat")]
    assert [(d.n_words, d.n_bytes) for d in documents] == [(5, 15), (2, 7)]
    rows = texts.measure(texts.pieces(documents, gpt), gpt)
    numbers = texts.summary(rows, documents)
    assert list(numbers) == list(texts.NUMBERS)
    of = -sum(np.nansum(gpt.logprobs([gpt.config.eos_id, *gpt.tokenizer.encode(d.text)])) for d in documents)
    assert numbers["n_tokens"] == sum(len(gpt.tokenizer.encode(d.text)) for d in documents)
    for name, n in (("token_perplexity", numbers["n_tokens"]), ("word_perplexity", 7), ("byte_perplexity", 22)):
        assert numbers[name] == pytest.approx(math.exp(of / n), rel=1e-5)  # float32
    assert numbers["bits_per_byte"] == pytest.approx(of / 22 / math.log(2), rel=1e-5)
    assert not {"word_perplexity", "byte_perplexity", "bits_per_byte"} & texts.summary(rows, documents, "guide").keys()


def test_one_document_within_the_context_is_what_training_measures(make_gpt):
    gpt = make_gpt(n_ctx=64)
    document = texts.document_of("the cat sat on the mat", "the cat sat on the mat")
    ids = data.encode_documents([document.text], gpt.tokenizer)[:-1]  # without the <|endoftext|> at its end
    expected = evaluate(ids, document.n_bytes, gpt.params, gpt.config, gpt.ops)
    numbers = texts.summary(texts.measure(texts.pieces([document], gpt), gpt), [document])
    assert numbers["nats_per_token"] == pytest.approx(expected.loss, rel=1e-5)  # float32, summed in other pieces
    assert numbers["bits_per_byte"] == pytest.approx(expected.bits_per_byte, rel=1e-5)


def test_more_context_than_there_is_changes_nothing(make_gpt):
    gpt, document = make_gpt(n_ctx=24), texts.document_of("the cat sat. " * 20, "x")
    assert texts.pieces([document], gpt, stride=10**9) == texts.pieces([document], gpt)


def test_pages(tmp_path):
    stories = [f"story {i}" for i in range(10)]
    (tmp_path / "a.txt").write_text("\n<|endoftext|>\n".join(stories), "utf-8")
    assert [d.text for d in texts.read_pages(tmp_path / "a.txt", 2)] == stories[:2]
    assert [d.text for d in texts.read_pages(tmp_path / "a.txt", held_out=0.2)] == data.split_held_out(stories, 0.2)[1]
    (tmp_path / "a.jsonl").write_text('{"text": "a b", "page": " a  b c "}\n\n{"text": "é"}\n', "utf-8")
    assert texts.read_pages(tmp_path / "a.jsonl") == [("a b", 5, 8), ("é", 1, 2)]
    with pytest.raises(InputError, match="held_out: expected a text that training reads"):
        texts.read_pages(tmp_path / "a.jsonl", held_out=0.2)
    with pytest.raises(InputError, match="held_out: expected a share"):
        texts.read_pages(tmp_path / "a.txt", held_out=2.0)
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "a", "page": 5}), "utf-8")
    with pytest.raises(FileError, match='a.jsonl: line 1: "page": expected a text, got 5'):
        texts.read_pages(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("windows", "stride", "message"),
    [("sliding", None, "windows: expected 'rolling' or 'guide'"), ("rolling", 0, "stride: expected a whole number")],
)
def test_wrong_windows(make_gpt, windows, stride, message):
    with pytest.raises(InputError, match=message):
        texts.pieces([texts.document_of("a b", "a b")], make_gpt(), windows, stride)


def test_a_text_of_one_token_that_nothing_precedes(make_gpt):
    with pytest.raises(FileError, match="data: expected at least two tokens"):
        texts.pieces([texts.document_of("a", "a")], make_gpt(), "guide")
