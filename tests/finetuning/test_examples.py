"""Labelled texts: what a CSV file must hold, and parts that follow from the texts alone."""

import hashlib

import numpy as np
import pytest
from hostile import one_line

from nanogpt_np.errors import FileError, InputError
from nanogpt_np.finetuning import examples


def write(tmp_path, text):
    path = tmp_path / "some.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [str(path)]


def test_a_csv_file(tmp_path):
    paths = write(tmp_path, '\ufeffid,label,text\r\n1,no,"a, b ""c""\nd"\r\n\r\n2,yes, e \r\n')
    digest = hashlib.sha256()
    found = examples.read(paths, digest=digest)
    assert found.texts == ['a, b "c"\nd', "e"] and found.names == ("no", "yes") and found.labels.tolist() == [0, 1]
    assert digest.hexdigest() == hashlib.sha256((tmp_path / "some.csv").read_bytes()).hexdigest()
    assert examples.read(paths, known=("yes", "no", "other")).labels.tolist() == [1, 0]
    assert examples.read([*paths, *paths]).labels.tolist() == [0, 1, 0, 1]
    assert examples.read(write(tmp_path, "a,b\nx,0\ny,1\n"), "a", "b").names == ("0", "1")


BROKEN = {
    "text,label\nx,a\ny,\n": r"line 3: expected a label, got an empty one",
    "text,label\n  ,a\ny,b\n": r"line 2: expected a text, got an empty one",
    "text,label\nx,a\ny,a\n": r"expected 2 to 1,000 different labels, got 1, 'a'; is 'label' the column",
    "text,label\nx,a\ny\0,b\n": r"line 3: expected text, got a zero byte",
    "text,label\nx,a\ny,b,c\n": r"line 3: expected 2 columns as in the first line, got 3; a text with a comma needs",
    "text,label\nx,a\ny\n": r"line 3: expected 2 columns as in the first line, got 1",
    'text,label\nx,a\n"y,b\n': r"line 3: expected CSV, got an error",
    "text,kind\nx,a\n": r"expected one column 'label' in the first line, got text, kind; .*--label-column",
    "text,text,label\nx,a,b\n": r"expected one column 'text' in the first line",
    "": r"expected one column 'text' in the first line, got an empty file",
    "text,label\n": r"expected rows below the names of the columns, got none",
    "text,label\nx," + 201 * "a" + "\n": r"line 2: expected a label of at most 200 characters, got 201",
    b"text,label\nx\xff,a\n": r"expected UTF-8 text, got byte 0xff",
    "text,label\n" + "".join(f"x,{i}\n" for i in range(1001)): r"expected 2 to 1,000 different labels, got 1,001",
    "text,label\n" + 140_000 * "x" + ",a\n": r"line 2: expected CSV, got an error: field larger than field limit",
}


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_what_cannot_be_learned_from_is_one_line(tmp_path, text):
    with pytest.raises(FileError, match=BROKEN[text]) as caught:
        examples.read(write(tmp_path, text))
    assert "some.csv" in one_line(caught)


def test_a_label_that_was_not_seen_in_training(tmp_path):
    with pytest.raises(FileError, match=r"line 3: expected a label that was seen in training, 'a', 'b', got 'c\\x1b'"):
        examples.read(write(tmp_path, "text,label\nx,a\ny,c\x1b\n"), known=("a", "b"))


def test_a_file_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "MAX_BYTES", 15)
    with pytest.raises(FileError, match="expected at most 15 bytes"):
        examples.read(write(tmp_path, "text,label\nx,a\ny,b\n"))


def made(n=3000, n_label=2):
    return examples.Examples([f"text {i}" for i in range(n)], np.arange(n) % n_label, ("a", "b", "c")[:n_label])


def test_parts_are_80_10_10_and_follow_from_the_texts_alone():
    whole = made()
    split = examples.split(whole)
    counts = [len(split[part].texts) for part in examples.PARTS]
    # of 3,000 independent texts: 2,400 +- 22 and 300 +- 16, one standard deviation each; four are allowed
    assert sum(counts) == 3000 and abs(counts[0] - 2400) < 88 and max(abs(n - 300) for n in counts[1:]) < 66
    again = examples.split(whole.take(np.random.default_rng(0).permutation(3000)[:2000]))
    for part in examples.PARTS:
        assert set(again[part].texts) <= set(split[part].texts)
    assert [examples.part_of(f"text {i}") for i in (0, 25, 22)] == ["train", "validation", "test"]


def test_fewer_texts_are_part_of_more_and_leave_the_others_alone():
    few, more, whole = (examples.split(made(), most) for most in (50, 400, None))
    assert len(few["train"].texts) == 50 and set(few["train"].texts) < set(more["train"].texts)
    assert set(more["train"].texts) < set(whole["train"].texts)
    assert few["test"].texts == whole["test"].texts and few["validation"].texts == whole["validation"].texts


def test_parts_that_cannot_be():
    texts = [f"text {i}" for i in range(200) if examples.part_of(f"text {i}") == "train"]
    with pytest.raises(InputError, match=r"expected examples to measure on, got \d+ and none of them in the tenth for"):
        examples.split(examples.Examples(texts, np.arange(len(texts)) % 2, ("a", "b")))
    whole = made()
    labels = np.array([1 if examples.part_of(text) == "test" else 0 for text in whole.texts])
    with pytest.raises(InputError, match=r"label 'b': expected examples to learn from, got \d+ and none of them in"):
        examples.split(whole._replace(labels=labels))
