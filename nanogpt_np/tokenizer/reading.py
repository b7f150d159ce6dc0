"""A directory -> the vocabulary and the merges in it, whichever files spell them.

Enter: a directory with vocab.json and merges.txt, and added_tokens.json where tokens were added to them; or with the
one tokenizer.json that `transformers` 5 writes in their place; or with OpenAI's own encoder.json and vocab.bpe. Leave:
what Tokenizer is made from, or a line that says which file holds something that is not GPT-2's byte-level BPE.
Next: tokenizer/bpe.py.
"""

from pathlib import Path

from .. import files
from ..errors import FileError, printable
from .vocab import MAX_BYTES, read_merges, unicode_to_byte

VOCAB, MERGES, ADDED, WHOLE = "vocab.json", "merges.txt", "added_tokens.json", "tokenizer.json"
OPENAI = ("encoder.json", "vocab.bpe")  # the same two as OpenAI called them

# what a tokenizer.json must say of each step between text and ids (None: or nothing), else the ids would be others
_FIXED = {
    ("normalizer",): (None,),
    ("pre_tokenizer", "type"): ("ByteLevel",),
    ("pre_tokenizer", "add_prefix_space"): (False,),
    ("pre_tokenizer", "use_regex"): (True, None),
    ("decoder", "type"): ("ByteLevel", None),
    ("post_processor", "type"): ("ByteLevel", "TemplateProcessing", None),
    ("model", "type"): ("BPE", None),
    ("model", "dropout"): (None, 0),
    ("model", "continuing_subword_prefix"): ("", None),
    ("model", "end_of_word_suffix"): ("", None),
    ("model", "byte_fallback"): (False, None),
    ("model", "ignore_merges"): (False, None),
}


def present(directory):
    """Which of the files of a tokenizer a directory has: ["vocab.json", "merges.txt"]; OpenAI's where no others are."""
    directory = Path(directory)
    found = [name for name in (VOCAB, MERGES, ADDED, WHOLE) if (directory / name).exists()]
    return found or [name for name in OPENAI if (directory / name).exists()]


def pair_of(names):
    """The two files that a vocabulary is spelt in, where a directory has some of them."""
    return OPENAI if set(OPENAI) & set(names) else (VOCAB, MERGES)


def read_directory(directory):
    """-> vocab {letters: id}, merges [(letters, letters)], and the path that a message about them begins with.

    vocab.json and merges.txt count where both are there: that is what tokenizer.json was made from.
    """
    directory, names = Path(directory), present(directory)
    if WHOLE in names and not {VOCAB, MERGES} <= set(names):
        path = directory / WHOLE
        return *_read_whole(path), files.short(path)
    first, second = pair_of(names)
    vocab, merges = files.read_json(directory / first, MAX_BYTES), read_merges(directory / second)
    if ADDED in names:
        path = directory / ADDED
        vocab = _join(path, vocab, merges, files.read_json(path, MAX_BYTES))
    return vocab, merges, f"{files.short(directory / first)} with {' and '.join(names[1:-1] or [second])}"


def _read_whole(path):  # -> vocab, merges
    raw = files.read_json(path, 2 * MAX_BYTES)  # both in one, and indented
    _check_steps(path, raw)
    merges = raw["model"].get("merges")
    if not isinstance(merges, list):
        raise _wrong(path, "model.merges", "a list", merges)
    merges = [_pair(path, number, merge) for number, merge in enumerate(merges)]
    return _join(path, raw["model"].get("vocab"), merges, _added_tokens(path, raw.get("added_tokens"))), merges


def _check_steps(path, raw):
    """Normalizer, pre-tokenizer, model, post-processor and decoder must be GPT-2's."""
    if not isinstance(raw, dict) or not isinstance(raw.get("model"), dict):
        raise _wrong(path, "model", "the BPE model of a tokenizer", raw)
    for steps, allowed in _FIXED.items():
        value = raw
        for step in steps:
            value = value.get(step) if isinstance(value, dict) else value
        if value not in allowed:
            raise _wrong(path, ".".join(steps), f"{allowed[0]!r} as GPT-2 has it", value)
    post = raw.get("post_processor") or {}
    pieces = post.get("single")
    if post.get("type") == "TemplateProcessing" and not _is_text_alone(pieces):
        raise _wrong(path, "post_processor.single", "the text alone, without added tokens", pieces)


def _is_text_alone(pieces):
    """Does a template put nothing before or after the text? [{"Sequence": {"id": "A", "type_id": 0}}]"""
    return isinstance(pieces, list) and len(pieces) == 1 and isinstance(pieces[0], dict) and "Sequence" in pieces[0]


def _pair(path, number, merge):
    """A merge, written "a b" by older versions and ["a", "b"] by newer ones, as ("a", "b")."""
    pair = tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) if isinstance(merge, list) else ()
    if len(pair) != 2 or not all(isinstance(part, str) and part for part in pair):
        raise _wrong(path, f"model.merges[{number}]", "two tokens", merge)
    return pair


def _added_tokens(path, entries):  # -> {text: id}
    added = {}
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        where = f"added_tokens[{number}]"
        token, i = (entry.get("content"), entry.get("id")) if isinstance(entry, dict) else (None, None)
        if not isinstance(token, str) or added.setdefault(token, i) != i:
            raise _wrong(path, where, "a token's content and id", entry)
        for name in ("lstrip", "rstrip", "single_word"):
            if entry.get(name):
                raise _wrong(path, f"{where}.{name}", "false: a token takes nothing around it along", entry[name])
    return added


def _join(path, vocab, merges, added):
    """The vocabulary with the tokens that were added to it, which no merge may make."""
    if not isinstance(vocab, dict):
        return vocab  # Tokenizer says what is wrong with it
    if not isinstance(added, dict):
        raise _wrong(path, "added tokens", "a table {token: id}", added)
    ordinary = set(unicode_to_byte()) | {left + right for left, right in merges}
    for token, i in added.items():
        if token in ordinary or vocab.get(token, i) != i:
            raise _wrong(path, "added tokens", "tokens that are not in the vocabulary already", token)
    return vocab | added


def _wrong(path, what, expected, got):
    advice = "only the byte-level BPE of GPT-2 can be read"
    return FileError(f"{files.short(path)}: {what}: expected {expected}, got {printable(got, 60)}; {advice}")
