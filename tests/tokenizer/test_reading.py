"""A vocabulary from whatever files it stands in: the pair, the pair with added tokens, the one tokenizer.json.

What is expected of tokenizer.json was computed by the `tokenizers` library (tests/goldens/vocabulary.py).
"""

import json
from pathlib import Path

import pytest

from nanogpt_np.errors import FileError, InputError
from nanogpt_np.tokenizer.bpe import Tokenizer
from nanogpt_np.tokenizer.reading import present

GOLDENS = Path(__file__).parent.parent / "goldens"
END = "<|endoftext|>"


def golden():
    return json.loads((GOLDENS / "tokenizer.json").read_text(encoding="utf-8"))


def write(directory, raw):
    text = raw if isinstance(raw, str) else json.dumps(raw)
    (directory / "tokenizer.json").write_text(text, encoding="utf-8")
    return directory


def pair_of(directory, raw):
    """The same vocabulary as vocab.json, merges.txt and added_tokens.json."""
    lines = ["#version: 0.2", *(" ".join(merge) for merge in raw["model"]["merges"]), ""]
    (directory / "vocab.json").write_text(json.dumps(raw["model"]["vocab"]), encoding="utf-8")
    (directory / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    added = {token["content"]: token["id"] for token in raw["added_tokens"]}
    (directory / "added_tokens.json").write_text(json.dumps(added), encoding="utf-8")
    return directory


def one_line(caught):
    assert str(caught.value).isprintable() and len(str(caught.value)) <= 400
    return str(caught.value)


@pytest.mark.parametrize("case", json.loads((GOLDENS / "tokenizer_ids.json").read_text(encoding="utf-8")))
def test_ids_are_those_of_the_library(tmp_path, case):
    tokenizer = Tokenizer.load(write(tmp_path, golden()))
    assert tokenizer.encode(case["text"], allowed_special="all") == case["ids"]
    assert tokenizer.decode(case["ids"]) == case["text"]


def test_what_one_file_says_several_say_too(tmp_path):
    raw = golden()
    tokenizer = Tokenizer.load(write(tmp_path, raw))
    assert tokenizer.n_vocab == 302 and tokenizer.eos_id == 0
    assert tokenizer.special_tokens == {END: 0, "<|pad|>": 300, "hello": 301}
    (tmp_path / "pair").mkdir()
    assert Tokenizer.load(pair_of(tmp_path / "pair", raw)).fingerprint == tokenizer.fingerprint
    tokenizer.save(tmp_path / "ours")
    assert present(tmp_path / "ours") == ["vocab.json", "merges.txt"]
    assert Tokenizer.load(tmp_path / "ours").fingerprint == tokenizer.fingerprint


def test_merges_as_older_versions_write_them(tmp_path):
    raw = golden()
    expected = Tokenizer.load(write(tmp_path, raw)).fingerprint
    raw["model"]["merges"] = [" ".join(pair) for pair in raw["model"]["merges"]]
    raw["post_processor"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}
    for name in ("type", "ignore_merges", "byte_fallback"):  # came later
        del raw["model"][name]
    assert Tokenizer.load(write(tmp_path, raw)).fingerprint == expected


def test_the_pair_counts_where_everything_is_there(tmp_path):
    pair_of(write(tmp_path, "broken"), golden())
    assert Tokenizer.load(tmp_path).n_vocab == 302
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(FileError, match="tokenizer.json: expected JSON"):
        Tokenizer.load(tmp_path)


def changed(*path, value):
    def change(raw):
        place = raw
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        return raw

    return change


TEMPLATE = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": END}}, {"Sequence": {"id": "A"}}]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("normalizer", value={"type": "NFC"}), "normalizer: expected None as GPT-2 .*, got {'type': 'NFC'}"),
        (changed("pre_tokenizer", value=None), "pre_tokenizer.type: expected 'ByteLevel' as GPT-2 has it, got None"),
        (changed("pre_tokenizer", "type", value="Metaspace"), "pre_tokenizer.type: .*, got Metaspace"),
        (changed("pre_tokenizer", "add_prefix_space", value=True), "add_prefix_space: expected False .*, got True"),
        (changed("pre_tokenizer", "use_regex", value=False), "pre_tokenizer.use_regex: expected True"),
        (changed("pre_tokenizer", value={"type": "Sequence", "pretokenizers": []}), ".type: .*, got Sequence"),
        (changed("decoder", "type", value="WordPiece"), "decoder.type: expected 'ByteLevel'"),
        (changed("post_processor", value=TEMPLATE), "post_processor.single: expected the text alone"),
        (changed("post_processor", "type", value="BertProcessing"), "post_processor.type: .*, got BertProcessing"),
        (changed("model", "type", value="Unigram"), "model.type: expected 'BPE' as GPT-2 has it, got Unigram"),
        (changed("model", "dropout", value=0.1), "model.dropout: expected None"),
        (changed("model", "end_of_word_suffix", value="</w>"), "model.end_of_word_suffix: expected ''"),
        (changed("model", "ignore_merges", value=True), "model.ignore_merges: expected False"),
        (changed("model", "byte_fallback", value=True), "model.byte_fallback: expected False"),
        (changed("model", value=[]), "model: expected the BPE model"),
        (changed("model", "vocab", value=[]), "tokenizer.json: vocab: expected an object .*, got list"),
        (changed("model", "vocab", "!", value="1"), "tokenizer.json: vocab: expected a text with a whole number"),
        (changed("model", "merges", value=None), "model.merges: expected a list, got None"),
        (changed("model", "merges", 3, value="abc"), r"model.merges\[3\]: expected two tokens, got abc"),
        (changed("model", "merges", 3, value=["a"]), r"model.merges\[3\]: expected two tokens"),
        (changed("model", "merges", 3, value=["a", 3]), r"model.merges\[3\]: expected two tokens"),
        (changed("model", "merges", 3, value=["", "a"]), r"model.merges\[3\]: expected two tokens"),
        (changed("model", "merges", 3, value=["你", "a"]), "tokenizer.json: merge 3 .*: '你' is no byte"),
        (changed("added_tokens", 1, "id", value=7), "added tokens|id 7 belongs to both"),
        (changed("added_tokens", 0, "id", value=7), "added tokens: expected tokens that are not in .*, got <.endof"),
        (changed("added_tokens", 1, "id", value="7"), "vocab: expected a text with a whole number, got '<.pad.>': '7'"),
        (changed("added_tokens", 1, "id", value=None), "vocab: expected a text with a whole number"),
        (changed("added_tokens", 1, "content", value=7), r"added_tokens\[1\]: expected a token's content and id"),
        (changed("added_tokens", 1, "content", value="hello"), r"added_tokens\[2\]: expected a token's content and id"),
        (changed("added_tokens", 1, "content", value="at"), "added tokens: expected tokens that are not in .*, got at"),
        (changed("added_tokens", 1, "lstrip", value=True), r"added_tokens\[1\].lstrip: expected false"),
        (changed("added_tokens", 1, value=7), r"added_tokens\[1\]: expected a token's content and id, got 7"),
        (lambda raw: [], "model: expected the BPE model"),
        (lambda raw: "{", "tokenizer.json: expected JSON"),
        (changed("normalizer", value="\x1b[31m\n" * 50), r"got \\x1b\[31m\\n"),
    ],
)
def test_other_tokenizers_are_refused(tmp_path, change, message):
    write(tmp_path, change(golden()))
    with pytest.raises(InputError, match=message) as caught:
        Tokenizer.load(tmp_path)
    assert one_line(caught).startswith(f"{tmp_path / 'tokenizer.json'}: ")


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ([], r"added_tokens.json: added tokens: expected a table \{token: id\}, got \[\]"),
        ({"<|pad|>": 7}, "id 7 belongs to both"),
        ({"<|pad|>": 301}, "need the ids 0 to 300, got 301"),
        ({"at": 300}, "added_tokens.json: added tokens: expected tokens that are not .* already, got at"),
        ({"<|pad|>": "300"}, "expected a text with a whole number"),
        ({"<|pad|>": [300]}, "expected a text with a whole number"),
    ],
)
def test_added_tokens_that_do_not_fit(tmp_path, added, message):
    pair_of(tmp_path, golden())
    (tmp_path / "added_tokens.json").write_text(json.dumps(added))
    with pytest.raises(InputError, match=message) as caught:
        Tokenizer.load(tmp_path)
    assert one_line(caught).startswith(str(tmp_path))


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "added_tokens.json", "tokenizer.json"])
def test_no_file_is_read_beyond_its_limit(tmp_path, name):
    if name == "tokenizer.json":
        write(tmp_path, golden())
    else:
        pair_of(tmp_path, golden())
    with open(tmp_path / name, "r+b") as file:  # sparse: takes no space
        file.truncate(3 << 30)
    with pytest.raises(FileError, match=f"{name}: expected at most .* bytes, got 3,221,225,472"):
        Tokenizer.load(tmp_path)
