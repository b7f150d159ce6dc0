"""A vocabulary on disk: how vocab.json and merges.txt spell bytes, and whether the two make sense together.

Enter: files, or the dict and the list in them, or what a user hands to a tokenizer. Leave: merges by rank, or an
error that names what is wrong where. Next: tokenizer/reading.py.
"""

import functools

from .. import files
from ..errors import FileError, TokenizerError, is_whole, printable, shown
from .training import N_BYTES

MERGES_HEADER = "#version: 0.2"
MAX_BYTES = 16 << 20  # of a file; GPT-2's have 1 MB, those of five times as many tokens 5


@functools.cache
def byte_to_unicode():
    """The letter that stands for each byte in vocabulary files, in the order of GPT-2's ids: 33 -> "!", 32 -> "Ġ".

    Printable bytes stand for themselves; the other 68 take the letters from U+0100 on, so that no token contains
    a space or a control character.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = {byte: chr(byte) for byte in printable}
    others = [byte for byte in range(N_BYTES) if byte not in letters]
    return letters | {byte: chr(N_BYTES + i) for i, byte in enumerate(others)}


@functools.cache
def unicode_to_byte():
    """The byte behind each letter of a vocabulary file: "Ġ" -> 32."""
    return {letter: byte for byte, letter in byte_to_unicode().items()}


def to_letters(data):
    """Bytes as a vocabulary file spells them: to_letters(b" the") -> "Ġthe"."""
    return "".join(map(byte_to_unicode().__getitem__, data))


def from_letters(letters):
    """The bytes behind a vocabulary file's spelling: from_letters("Ġthe") -> b" the"."""
    return bytes(map(unicode_to_byte().__getitem__, letters))


def read_merges(path):
    """The merges of a merges.txt as [(letters, letters)]; FileError names the line that is broken."""
    header, *lines = files.read_text(path, MAX_BYTES).replace("\r\n", "\n").rstrip("\n").split("\n")
    if not header.startswith("#version"):
        got = f"'{printable(header, 60)}'; add that line at the top"
        raise FileError(f"{files.short(path)}, line 1: expected {MERGES_HEADER!r}, got {got}")
    merges = [tuple(line.split(" ")) for line in lines]
    for number, pair in enumerate(merges, start=2):
        if len(pair) != 2 or "" in pair:
            raise FileError(
                f"{files.short(path)}, line {number:,}: expected two tokens with one space between them, got "
                f"'{printable(lines[number - 2], 60)}'; "
                "take the file from its source again"
            )
    return merges


def rank_merges(vocab, merges):
    """-> {(left id, right id): (rank, new id)}, and {letters: bytes} of all single bytes and of all that merges make.

    Every part must be a byte or made by an earlier merge.
    """
    ranked, known = {}, {letter: bytes([byte]) for letter, byte in unicode_to_byte().items()}
    for rank, (left, right) in enumerate(merges):
        made = left + right
        if left not in known or right not in known:
            part = right if left in known else left
            reason = "is no byte, and no earlier merge makes it; keep their order"
            raise _wrong_merge(rank, left, right, part, reason)
        if made in known:
            raise _wrong_merge(rank, left, right, made, "has been made by an earlier merge; remove one of the two")
        if made not in vocab:
            raise _wrong_merge(rank, left, right, made, "is missing in vocab.json; take both files from one source")
        known[made] = known[left] + known[right]
        ranked[vocab[left], vocab[right]] = (rank, vocab[made])
    return ranked, known


def _wrong_merge(rank, left, right, token, reason):
    left, right, token = (f"'{printable(part, 40)}'" for part in (left, right, token))
    return TokenizerError(f"merge {rank:,} ({left}, {right}; line {rank + 2:,} of merges.txt): {token} {reason}")


def check_ids(vocab):
    """A vocabulary is {str: int}, and its ids are 0 .. n-1, each once."""
    if not isinstance(vocab, dict):
        raise TokenizerError(f"vocab: expected an object {{token: id}}, got {type(vocab).__name__}; check the file")
    for token, i in vocab.items():
        if type(token) is not str or type(i) is not int:
            got = f"{shown(token)}: {shown(i)}"
            raise TokenizerError(f"vocab: expected a text with a whole number, got {got}; correct the entry")
    owners = {}
    for token, i in vocab.items():
        if i in owners:
            both = f"{shown(owners[i])} and {shown(token)}"
            raise TokenizerError(f"vocab: id {shown(i)} belongs to both {both}; give each its own id")
        if not 0 <= i < len(vocab):
            raise TokenizerError(
                f"vocab: {len(vocab):,} tokens need the ids 0 to {len(vocab) - 1:,}, got {shown(i)} for "
                f"{shown(token)}; number them without gaps"
            )
        owners[i] = token


def check_bytes(vocab):
    missing = [byte for byte, letter in byte_to_unicode().items() if letter not in vocab]
    if missing:
        raise TokenizerError(
            f"vocab: expected all 256 bytes, got {N_BYTES - len(missing)}; the first missing one is "
            f"0x{missing[0]:02x} ({to_letters(missing[:1])!r}); this is no byte-level vocabulary, or it is cut short"
        )


def check_special_tokens(special_tokens):
    """What no merge makes must look like a special token, else merges.txt is cut short and ids would be wrong."""
    for token, i in special_tokens.items():
        if not token:
            raise TokenizerError(f"vocab: id {i:,} has an empty token; give the special token a text")
        check_text(token, name=f"special token {shown(token)}")
        if _looks_ordinary(token):
            raise TokenizerError(
                f"vocab: no merge makes {shown(token)} (id {i:,}); merges.txt may be cut short: "
                "take both files from one source"
            )


def _looks_ordinary(token):
    """Whether letters spell UTF-8 with a space or a non-ASCII character in it, as "Ġthe" and "ä½ł" (你) do."""
    try:
        text = from_letters(token).decode()
    except (KeyError, UnicodeDecodeError):
        return False
    return " " in text or not text.isascii()


def check_text(text, name="text"):
    if not isinstance(text, str):
        raise TokenizerError(f"{name}: expected a string, got {type(text).__name__}; decode bytes with .decode()")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"{name}: expected valid Unicode, got the lone surrogate U+{ord(text[error.start]):04X} at offset "
            f"{error.start:,}; remove it, or read the source with errors='replace'"
        ) from None


def check_texts(texts, name="texts"):
    if isinstance(texts, (str, bytes, bytearray, memoryview, dict)) or not _can_be_read(texts):
        raise TokenizerError(f"{name}: expected several strings, got one {type(texts).__name__}; write [text] for one")


def _can_be_read(texts):
    try:
        iter(texts)
    except TypeError:  # an array without dimensions has __iter__ and yet cannot
        return False
    return True


def check_merges(merges):
    """The merges as a list; TokenizerError where they are not pairs of texts."""
    if isinstance(merges, (str, bytes, bytearray, memoryview, dict)) or not _can_be_read(merges):
        raise TokenizerError(f"merges: expected a list of pairs of texts, got {shown(merges)}")
    merges = list(merges)
    for i, pair in enumerate(merges):
        is_pair = isinstance(pair, (tuple, list)) and len(pair) == 2
        if not is_pair or not (isinstance(pair[0], str) and isinstance(pair[1], str)):
            raise TokenizerError(f"merges[{i:,}]: expected a pair of texts, got {shown(pair)}")
    return merges


def check_training(texts, n_vocab, special_tokens):
    """The special tokens as a tuple, once everything that `train` was given makes sense."""
    check_texts(texts)
    check_texts(special_tokens, name="special_tokens")
    special_tokens = tuple(special_tokens)
    for token in special_tokens:
        check_text(token, name="special_tokens")
    if len(set(special_tokens)) < len(special_tokens) or "" in special_tokens:
        raise TokenizerError(f"special_tokens: expected different texts, none empty, got {shown(special_tokens)}")
    n_fixed = N_BYTES + len(special_tokens)
    if not is_whole(n_vocab) or n_vocab < n_fixed:
        raise TokenizerError(
            f"n_vocab: expected a whole number of at least {n_fixed} (256 bytes and {len(special_tokens)} special "
            f"tokens), got {shown(n_vocab)}"
        )
    return special_tokens
