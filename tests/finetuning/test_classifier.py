"""A classifier on disk and in use: as `transformers` lays it, padding-safe, errors in one line."""

import json
import shutil

import numpy as np
import pytest
from hostile import one_line

from nanogpt_np import GPT
from nanogpt_np.errors import InputError
from nanogpt_np.finetuning import Classifier, head
from nanogpt_np.finetuning.classifier import batches

TEXTS = ["the cat", "a", "the mat sat on the hat, and on it sat the cat. moon", "床前明月光", "<|endoftext|> the end"]
LABELS = ("bad", "good", "so so")


@pytest.fixture(scope="module")
def classifier(make_gpt):
    gpt = make_gpt()
    params = head.with_score(gpt.params, 3, np.random.default_rng(5))
    params["score"]["weight"] *= 20
    return Classifier(gpt.config, params, LABELS, gpt.tokenizer)


@pytest.fixture
def folder(classifier, tmp_path):
    classifier.save(tmp_path / "saved")
    return tmp_path / "saved"


def test_a_text_gets_the_same_answer_alone_and_in_company(classifier):
    """1e-6 of a probability: float32's rounding, as batches differ in shape."""
    together = classifier.classify(TEXTS)
    for text, answer in zip(TEXTS, together, strict=True):
        (alone,) = classifier.classify([text])
        assert alone.label == answer.label and abs(alone.probability - answer.probability) < 1e-6
        assert list(answer.probabilities)[0] == answer.label and abs(sum(answer.probabilities.values()) - 1) < 1e-9
    assert len({answer.label for answer in together}) > 1 and classifier.classify([]) == []


def test_save_and_open(classifier, folder):
    opened = Classifier.from_pretrained(folder)
    assert opened.labels == LABELS
    rows = [classifier.encode(text) for text in TEXTS]
    assert np.array_equal(opened.logits_of(rows), classifier.logits_of(rows))
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["GPT2ForSequenceClassification"] and config["num_labels"] == 3
    assert config["id2label"] == {"0": "bad", "1": "good", "2": "so so"}
    assert config["pad_token_id"] == classifier.tokenizer.eos_id


def test_no_text_is_encoded_with_what_pads(classifier):
    """So that the last token that is no padding is the last one of the text."""
    assert all(classifier.tokenizer.eos_id not in classifier.encode(text) for text in TEXTS)


def test_a_long_text_is_read_as_far_as_the_context_goes(classifier):
    ids = classifier.encode("the cat sat " * 50)
    assert len(ids) == classifier.config.n_ctx and classifier.classify(["the cat sat " * 50])


def test_a_gpt_says_what_a_classifier_is(folder):
    with pytest.raises(InputError, match="expected a model that continues texts, got a classifier of texts") as caught:
        GPT.from_pretrained(folder)
    one_line(caught)


def test_what_is_no_classifier(folder, base, tmp_path):
    with pytest.raises(InputError, match="expected id2label with 2 to 1,000 labels, got none; make a classifier"):
        Classifier.from_pretrained(base)
    with pytest.raises(InputError, match="expected"):
        Classifier.from_pretrained(tmp_path / "nothing")
    config = json.loads((folder / "config.json").read_text())
    for labels, message in (
        ({"0": "a", "1": "b"}, r"score.weight: expected floats \[2, 16\], got F32 \[3, 16\]"),
        ({"0": "a", "1": "a", "2": "b"}, "expected id2label to name 0 to 2"),
        ({"0": "a", "1": 5, "2": "b"}, "expected id2label to name 0 to 2"),
        ({"0": "a", "7": "c", "2": "b"}, "expected id2label to name 0 to 2"),
        ([], "expected id2label"),
    ):
        (folder / "config.json").write_text(json.dumps(config | {"id2label": labels}))
        with pytest.raises(InputError, match=message) as caught:
            Classifier.from_pretrained(folder)
        one_line(caught)


def test_a_model_without_a_head(folder, base):
    shutil.copy(f"{base}/model.safetensors", folder)
    with pytest.raises(InputError, match=r"score.weight: expected floats \[3, 16\], got none"):
        Classifier.from_pretrained(folder)


def test_calls_that_make_no_sense(classifier):
    for texts, message in (("one text", "expected a list of texts"), ([""], "got an empty text"), ([5], "expected")):
        with pytest.raises(InputError, match=message):
            classifier.classify(texts)
    with pytest.raises(InputError, match="expected numpy, numba or auto for a classifier"):
        Classifier(classifier.config, classifier.params, LABELS, classifier.tokenizer, "int8")
    with pytest.raises(InputError, match=r"score.weight: expected \[2, 16\] for 2 labels, got \[3, 16\]"):
        Classifier(classifier.config, classifier.params, ("a", "b"), classifier.tokenizer)


def test_broken_weights_are_said(classifier):
    params = head.with_score(classifier.params, 3, np.random.default_rng(0))
    params["score"]["weight"][0] = np.nan
    with pytest.raises(InputError, match="expected finite logits"):
        Classifier(classifier.config, params, LABELS, classifier.tokenizer).classify(["the cat"])


def test_batches_hold_everything_once_and_not_too_much():
    lengths = np.random.default_rng(0).integers(1, 25, 100).tolist()
    found = batches(lengths, 96)
    assert sorted(i for batch in found for i in batch) == list(range(100))
    assert all(max(lengths[i] for i in batch) * len(batch) <= 96 for batch in found) and len(found) < 25
    assert batches([200], 96) == [[0]] and batches([]) == []


@pytest.mark.peers
def test_transformers_opens_it_and_says_the_same(classifier, folder):
    """5e-5: two float32 passes of 2 blocks whose logits are up to 20 (1e-6 of them, and some rounding more)."""
    transformers = pytest.importorskip("transformers", reason="pip install transformers torch")
    torch = pytest.importorskip("torch", reason="pip install transformers torch")
    theirs = transformers.GPT2ForSequenceClassification.from_pretrained(folder).eval()
    assert theirs.config.id2label == dict(enumerate(LABELS)) and theirs.config.num_labels == 3
    rows = [classifier.encode(text) for text in TEXTS]
    ids = np.full((len(rows), max(map(len, rows))), theirs.config.pad_token_id)
    for row, place in zip(rows, ids, strict=True):
        place[: len(row)] = row
    with torch.no_grad():
        logits = theirs(torch.from_numpy(ids)).logits.numpy()
    assert np.abs(logits - classifier.logits_of(rows)).max() < 5e-5 and np.abs(logits).max() > 1
