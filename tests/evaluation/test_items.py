"""Files of items that are none: one clear line each."""

import json

import pytest

from nanogpt_np import FileError
from nanogpt_np.evaluation import items


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a JSON object on each line, got an empty file; name another"),
        (b"\n \n\n", "expected a JSON object on each line, got an empty file; name another"),
        (b'{"text": "a"}\n[1]\n', "line 2: expected a JSON object, got [1]"),
        (b'{"text": "a"}\n\n{"text": \n', "line 3: expected a JSON object, got '{\"text\": ' (Expecting value)"),
        (b'{"text": "a\x00b"}\n', "line 1: expected a JSON object, got '{\"text\": \"a\\x00b\"}' (Invalid control"),
        (b'{"text": "\xff"}\n', "line 1: expected a JSON object, got '{\"text\": \"\ufffd\"}' (UnicodeDecodeError)"),
        (b"[" * 100_000, "line 1: expected a JSON object, got '[[["),
        (b'{"a": ' + b"9" * 5000 + b"}", "line 1: expected a JSON object, got '{\"a\": 999"),
        (b'"' + b"a" * items.MOST_LINE + b'"\n', "line 1: expected at most 1,048,576 bytes, got 1,048,578; split it"),
    ],
)
def test_broken_files(tmp_path, content, message):
    (tmp_path / "items.jsonl").write_bytes(content)
    with pytest.raises(FileError) as caught:
        items.read_items(tmp_path / "items.jsonl")
    assert str(caught.value).removeprefix(f"{tmp_path / 'items.jsonl'}: ").startswith(message)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_a_line_of_a_gigabyte(tmp_path):
    """Refused by the file's size, before it is read: it is sparse, so nothing is written either."""
    with open(tmp_path / "items.jsonl", "wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(FileError, match="expected at most 268,435,456 bytes, got 1,073,741,824"):
        items.read_items(tmp_path / "items.jsonl")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileError, match="cannot be read"):
        items.read_items(tmp_path / "none.jsonl")
    with pytest.raises(FileError, match="got a folder"):
        items.read_items(tmp_path)


@pytest.mark.parametrize(
    ("value", "got"),
    [(None, "nothing"), (5, "5"), ("", "''"), (" \n", "' \\n'"), (["a"], "['a']"),
     ("\ud800", "'\\ud800', which holds half")],
)
def test_what_is_no_text(tmp_path, value, got):
    (tmp_path / "items.jsonl").write_text(json.dumps({"text": value}), "utf-8")
    [item] = items.read_items(tmp_path / "items.jsonl")
    with pytest.raises(FileError) as caught:
        items.text_of(item, "text", "items.jsonl")
    assert str(caught.value).startswith(f'items.jsonl: line 1: "text": expected a text, got {got}')


def test_a_nul_is_text(tmp_path, make_gpt):
    (tmp_path / "items.jsonl").write_text('{"text": "a\\u0000b"}', "utf-8")
    [item] = items.read_items(tmp_path / "items.jsonl")
    pair = items.pair_of(items.text_of(item, "text", ""), " \0", make_gpt(), "here")
    assert make_gpt().tokenizer.decode(pair.before + pair.said) == "a\0b \0"


def test_spaces_go_to_what_is_said(make_gpt):
    gpt = make_gpt()
    encode = gpt.tokenizer.encode
    assert items.pair_of("the cat ", "sat", gpt, "") == items.pair_of("the cat", " sat", gpt, "")
    n = len(encode("the cat"))
    assert items.pair_of("the cat", " sat", gpt, "") == (encode("the cat"), encode("the cat sat")[n:])
    assert items.pair_of("", "sat", gpt, "") == ([gpt.config.eos_id], encode("sat"))
    assert items.pair_of("  ", "sat", gpt, "") == ([gpt.config.eos_id], encode("  sat"))


def test_a_word_that_melts_into_what_stands_before(make_gpt):
    """"the" is one token and "th" are two, so behind them the letter "e" has none of its own."""
    gpt = make_gpt()
    assert [len(gpt.tokenizer.encode(text)) for text in ("the", "th")] == [1, 2]
    with pytest.raises(FileError, match="here: expected words that have a token of their own, got none"):
        items.pair_of("th", "e", gpt, "here")
