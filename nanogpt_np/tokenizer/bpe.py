"""Text to ids and back: GPT-2's byte-level BPE (Sennrich et al. 2016; Radford et al. 2019, section 2.2).

Enter: a string. Leave: a list of ids, from which the string returns byte for byte. On the way: split the text into
chunks, take each chunk's UTF-8 bytes, and merge neighbours, lowest rank first, until no merge applies.
`encode` is the definition; `encode_array` gives the same ids by compiled code, for long texts.
Next: tokenizer/streaming.py.
"""

from __future__ import annotations

import functools
import hashlib
import json
import operator
import os
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import regex

from .. import files
from ..errors import FileError, TokenizerError, check_truth, printable, shown
from .display import ChunkExplanation, Explanation, MergeStep
from .merging import LONG_CHUNK, merge_long_chunk, merge_short_chunk, merge_steps
from .reading import MERGES, VOCAB, read_directory
from .training import N_BYTES, train_merges
from .vocab import (
    MAX_BYTES,
    MERGES_HEADER,
    byte_to_unicode,
    check_bytes,
    check_ids,
    check_merges,
    check_special_tokens,
    check_text,
    check_texts,
    check_training,
    rank_merges,
    read_merges,
    to_letters,
)

if TYPE_CHECKING:
    import numpy as np

# Published with GPT-2: contractions, letters, numbers, everything else, spaces. A chunk takes one space in front of it.
SPLIT_PATTERN = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
END_OF_TEXT = "<|endoftext|>"  # stands between documents, and ends what is generated
GPT2_MERGES = Path(__file__).parent / "gpt2" / "merges.txt"

MAX_CACHED_CHUNKS = 100_000
MAX_CACHED_LENGTH = 64  # characters; longer chunks seldom come twice


class Tokenizer:
    """A byte-level BPE vocabulary; it does not change after it is made.

    `vocab` {letters: id} and `merges` [(letters, letters)] are spelled as in vocab.json and merges.txt; entries that
    are neither bytes nor made by a merge are special tokens. Raises TokenizerError where the two do not fit together.
    """

    def __init__(self, vocab: dict[str, int], merges: Iterable[tuple[str, str]]) -> None:
        merges = check_merges(merges)
        check_ids(vocab)
        check_bytes(vocab)
        self._merges, ordinary = rank_merges(vocab, merges)  # {(left id, right id): (rank, new id)}, {letters: bytes}
        self._special_tokens = {token: i for token, i in vocab.items() if token not in ordinary}
        check_special_tokens(self._special_tokens)
        self._special_ids = frozenset(self._special_tokens.values())
        self._token_bytes = {vocab[token]: data for token, data in ordinary.items()}
        self._token_bytes |= {i: token.encode() for token, i in self._special_tokens.items()}
        self._byte_ids = [vocab[to_letters([byte])] for byte in range(N_BYTES)]
        self._cache: dict[str, list[int]] = {}

    @staticmethod
    @functools.cache
    def gpt2() -> Tokenizer:
        """The published vocabulary of GPT-2, 50,257 tokens, from the merges that ship with this package."""
        return Tokenizer.from_merges(read_merges(GPT2_MERGES))

    @classmethod
    def from_merges(cls, merges: Iterable[tuple[str, str]]) -> Tokenizer:
        """The vocabulary that follows from merges alone, numbered as GPT-2's: bytes, merges, <|endoftext|>."""
        merges = check_merges(merges)
        tokens = [*byte_to_unicode().values(), *(left + right for left, right in merges), END_OF_TEXT]
        return cls({token: i for i, token in enumerate(tokens)}, merges)

    @classmethod
    def train(
        cls, texts: Iterable[str], n_vocab: int, special_tokens: Iterable[str] = (END_OF_TEXT,),
        progress: bool = False, exact: bool = True,
    ) -> Tokenizer:  # fmt: skip
        """Learn a vocabulary of `n_vocab` tokens from an iterable of strings (one per document).

        Byte b gets id b, the merges follow, the special tokens come last; nothing merges across texts or chunks.
        Ties: see tokenizer/training.py. Raises TokenizerError where `n_vocab` is too small for the bytes and special
        tokens, or larger than the texts can fill; the latter only if `exact`, else the vocabulary is smaller.
        Source: Sennrich et al. 2016, section 3.2.
        """
        special = check_training(texts, n_vocab, special_tokens)
        check_truth("progress", progress)
        check_truth("exact", exact)
        n_fixed = N_BYTES + len(special)
        pairs = train_merges(_count_chunks(texts, progress), n_vocab - n_fixed, progress)
        if exact and n_fixed + len(pairs) < n_vocab:
            got = f"{n_vocab:,}" if n_vocab < 1 << 63 else shown(n_vocab)
            raise TokenizerError(
                f"n_vocab: these texts hold pairs for at most {n_fixed + len(pairs):,} tokens, got {got}; "
                "ask for fewer tokens or train on more text"
            )
        tokens = [to_letters([byte]) for byte in range(N_BYTES)]
        for left, right in pairs:
            tokens.append(tokens[left] + tokens[right])
        for token in special:
            if token in tokens:
                raise TokenizerError(
                    f"special_tokens: {shown(token)} is also an ordinary token of this vocabulary; "
                    f"choose a text that cannot occur, such as '<|{printable(token)}|>'"
                )
            tokens.append(token)
        vocab = {token: i for i, token in enumerate(tokens)}
        return cls(vocab, [(tokens[left], tokens[right]) for left, right in pairs])

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Tokenizer:
        """The tokenizer of a directory: vocab.json and merges.txt, or the one tokenizer.json of `transformers` 5.

        Else OpenAI's encoder.json and vocab.bpe. FileError or TokenizerError names the file that is no byte-level BPE.
        """
        return cls._read(*read_directory(files.as_path(directory, "directory")))

    @classmethod
    def from_files(cls, vocab_path: str | os.PathLike[str], merges_path: str | os.PathLike[str]) -> Tokenizer:
        """The tokenizer of a vocab.json and a merges.txt; FileError or TokenizerError says what is wrong in which."""
        path, merges_path = files.as_path(vocab_path, "vocab_path"), files.as_path(merges_path, "merges_path")
        vocab, merges = files.read_json(path, MAX_BYTES), read_merges(merges_path)
        return cls._read(vocab, merges, f"{files.short(path)} with {Path(merges_path).name}")

    @classmethod
    def _read(cls, vocab: Any, merges: Any, where: str) -> Tokenizer:
        try:
            return cls(vocab, merges)
        except TokenizerError as error:
            raise TokenizerError(f"{where}: {error}") from None

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write vocab.json and merges.txt into a directory (made if missing), as `transformers` reads them."""
        folder = files.as_path(directory, "directory")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            where = files.short(folder)
            raise FileError(f"{where}: cannot be made ({error.strerror}); choose another folder") from None
        for name, text in self.to_files().items():
            files.write_text(folder / name, text)

    def to_files(self) -> dict[str, str]:
        """The text of each file that save() writes: {"vocab.json": …, "merges.txt": …}"""
        tokens, merges = self.spelled()
        lines = [MERGES_HEADER, *(f"{left} {right}" for left, right in merges)]
        vocab = {token: i for i, token in enumerate(tokens)}
        return {VOCAB: files.to_json(vocab), MERGES: "\n".join(lines) + "\n"}

    def spelled(self) -> tuple[list[str], list[tuple[str, str]]]:
        """Every token by id, and the merges by rank, as vocabulary files spell them: (["!", …], [("Ġ", "t"), …])"""
        tokens = [to_letters(self._token_bytes[i]) for i in range(self.n_vocab)]
        for token, i in self._special_tokens.items():
            tokens[i] = token
        return tokens, [(tokens[left], tokens[right]) for left, right in self._merges]

    def encode(self, text: str, allowed_special: str | Collection[str] = ()) -> list[int]:
        """The ids of a string: Tokenizer.gpt2().encode("hello world") -> [31373, 995].

        `allowed_special`: the special tokens to recognise in the text, a set of strings or "all"; elsewhere a text
        that merely contains "<|endoftext|>" is text. Of special tokens that begin at one place the longest wins.
        Raises TokenizerError for what is not a string, for half a surrogate pair, and for unknown special tokens.
        """
        check_text(text)
        ids: list[int] = []
        for i, part in enumerate(self._split_special(text, allowed_special)):
            ids += [self._special_tokens[part]] if i % 2 else self._encode_ordinary(part)
        return ids

    def encode_array(self, text: str, allowed_special: str | Collection[str] = ()) -> np.ndarray:
        """The same ids as an array, int32 [n_ids]: for texts of megabytes, as the first call loads compiled code.

        Raises as `encode` does.
        """
        check_text(text)
        return self._compiled.encode(self._split_special(text, allowed_special))

    def encode_batch(self, texts: Iterable[str], allowed_special: str | Collection[str] = ()) -> list[list[int]]:
        """The ids of each string in a list: a list of lists."""
        check_texts(texts)
        return [self.encode(text, allowed_special) for text in texts]

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """The string of a list of ids; bytes that are not UTF-8 (half a character at the cut) become U+FFFD.

        `skip_special_tokens`: leave out <|endoftext|> and its like.
        """
        return self.decode_bytes(ids, skip_special_tokens).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Iterable[int], skip_special_tokens: bool = False) -> bytes:
        """The exact bytes of a list of ids; TokenizerError names an id outside the vocabulary and its position."""
        check_truth("skip_special_tokens", skip_special_tokens)
        try:
            if isinstance(ids, (bytes, bytearray, memoryview, dict, set, frozenset)):
                raise TypeError
            ids = list(ids)
        except TypeError:
            got = shown(ids)
            raise TokenizerError(f"ids: expected a list of ids, got {got}; put a single id in brackets") from None
        pieces = [self._look_up(i, position) for position, i in enumerate(ids)]
        if skip_special_tokens:
            pieces = [piece for i, piece in zip(ids, pieces, strict=True) if operator.index(i) not in self._special_ids]
        return b"".join(pieces)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one id: Tokenizer.gpt2().token_bytes(995) -> b" world"; for a special token, its text."""
        return self._look_up(token_id)

    def explain(self, text: str, allowed_special: str | Collection[str] = (), steps: bool = True) -> Explanation:
        """Every step from a string to its ids, as an Explanation; tokenizer/display.py renders it.

        Without `steps` its chunks have no merges: those of one that is long take long to follow.
        """
        check_text(text)
        check_truth("steps", steps)
        chunks: list[ChunkExplanation] = []
        for i, part in enumerate(self._split_special(text, allowed_special)):
            if i % 2:
                data = part.encode()
                chunks.append(ChunkExplanation(part, data, [], [data], [self._special_tokens[part]], is_special=True))
            else:
                chunks += [self._explain_chunk(chunk, steps) for chunk in SPLIT_PATTERN.findall(part)]
        return Explanation(text, chunks)

    @property
    def n_vocab(self) -> int:
        """The number of ids: bytes, merges and special tokens."""
        return len(self._token_bytes)

    @property
    def special_tokens(self) -> dict[str, int]:
        """A copy of {text: id} of the special tokens."""
        return dict(self._special_tokens)

    @property
    def eos_id(self) -> int | None:
        """The id of <|endoftext|>, or None where the vocabulary has none."""
        return self._special_tokens.get(END_OF_TEXT)

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits of a sha256 over tokens, merges and special tokens: equal means the same ids for every text."""
        tokens = [self._token_bytes[i].hex() for i in range(self.n_vocab)]
        content = json.dumps([tokens, list(self._merges), sorted(self._special_tokens.values())])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"Tokenizer(n_vocab={self.n_vocab}, fingerprint={self.fingerprint!r})"

    @functools.cached_property
    def _compiled(self) -> Any:
        from .compiled import CompiledEncoder  # imports Numba, which nobody else should wait for

        return CompiledEncoder(self._merges, self._byte_ids, self._special_tokens)

    def _encode_ordinary(self, text: str) -> list[int]:
        ids: list[int] = []
        known = self._cache.get
        for chunk in SPLIT_PATTERN.findall(text):
            ids += known(chunk) or self._encode_chunk(chunk)
        return ids

    def _encode_chunk(self, chunk: str) -> list[int]:
        ids = [self._byte_ids[byte] for byte in chunk.encode()]
        ids = (merge_long_chunk if len(ids) > LONG_CHUNK else merge_short_chunk)(ids, self._merges)
        if len(chunk) <= MAX_CACHED_LENGTH:
            if len(self._cache) >= MAX_CACHED_CHUNKS:
                self._cache.clear()
            self._cache[chunk] = ids
        return ids

    def _explain_chunk(self, chunk: str, steps: bool) -> ChunkExplanation:
        data = chunk.encode()
        bytes_of = self._token_bytes
        followed = merge_steps([self._byte_ids[byte] for byte in data], self._merges) if steps else ()
        merges = [
            MergeStep(rank, bytes_of[left], bytes_of[right], [bytes_of[i] for i in ids])
            for rank, (left, right), ids in followed
        ]
        ids = self._encode_chunk(chunk)
        return ChunkExplanation(chunk, data, merges, [bytes_of[i] for i in ids], list(ids))

    def _split_special(self, text: str, allowed_special: str | Collection[str]) -> list[str]:
        """Cut a text at its special tokens; they stand at the odd places: "a<|x|>b" -> ["a", "<|x|>", "b"]."""
        every = isinstance(allowed_special, str) and allowed_special == "all"
        if not every and not isinstance(allowed_special, (set, frozenset, list, tuple)):
            raise TokenizerError(
                f"allowed_special: expected 'all' or a set of strings, got {shown(allowed_special)}; "
                f"write {{'{END_OF_TEXT}'}}"
            )
        for token in () if every else allowed_special:
            if not isinstance(token, str) or token not in self._special_tokens:
                raise TokenizerError(
                    f"allowed_special: {shown(token)} is no special token of this vocabulary; "
                    f"it has {printable(', '.join(self._special_tokens)) or 'none'}"
                )
        allowed = set(self._special_tokens if every else allowed_special)
        if not allowed:
            return [text]
        longest_first = sorted(allowed, key=len, reverse=True)
        return regex.split(f"({'|'.join(map(regex.escape, longest_first))})", text)

    def _look_up(self, token_id: Any, position: int | None = None) -> bytes:
        try:
            return self._token_bytes[_index(token_id)]
        except (KeyError, TypeError):
            where = "" if position is None else f" at position {position:,}"
            raise TokenizerError(
                f"ids: expected whole numbers from 0 to {self.n_vocab - 1:,}, got {shown(token_id)}{where}; "
                "check that the ids come from this tokenizer"
            ) from None


def _index(value: Any) -> int:
    """What stands for a whole number, NumPy's too; TypeError for anything else, and for True and False."""
    if isinstance(value, bool):
        raise TypeError
    return operator.index(value)


def _count_chunks(texts: Iterable[str], progress: bool) -> dict[bytes, int]:
    """How often each chunk (bytes) occurs in an iterable of strings."""
    from tqdm import tqdm  # who opens a vocabulary should not wait for it

    counts: Counter[str] = Counter()
    for i, text in enumerate(tqdm(texts, desc="reading texts", unit="text", disable=not progress)):
        check_text(text, name=f"texts[{i}]")
        counts.update(SPLIT_PATTERN.findall(text))
    return {chunk.encode(): count for chunk, count in counts.items()}
