"""The ids of `encode_array` are those of `encode`, whatever the text, the vocabulary, the memory and the threads."""

import json
import os
import pickle
import random
import subprocess
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanogpt_np.errors import TokenizerError
from nanogpt_np.tokenizer import compiled as room
from nanogpt_np.tokenizer.bpe import SPLIT_PATTERN, Tokenizer
from nanogpt_np.tokenizer.compiled import KEY_BYTES, MAX_IDS, CompiledEncoder
from nanogpt_np.training import data

SHARED = Path(__file__).parents[3] / "shared" / "data"
END = "<|endoftext|>"
TEXTS = ["the cat sat on the mat, isn't it? 123 123 床前明月光，疑是地上霜。 \u00a0\u00a0 naïve 🌕 "] * 3


@pytest.fixture(scope="module")
def gpt2():
    return Tokenizer.gpt2()


def check(tokenizer, text, allowed_special=()):
    found = tokenizer.encode_array(text, allowed_special)
    assert found.dtype == np.int32 and found.ndim == 1
    assert found.tolist() == tokenizer.encode(text, allowed_special)


def split(text):
    """The chunks that the kernel sees. Ids do not always tell: where nothing would merge, any cut gives the same."""
    data = np.frombuffer(text.encode() + bytes(KEY_BYTES), np.uint8)
    classes, chunks, start, end = room.character_classes(0x110000), [], 0, len(data) - KEY_BYTES
    while start < end:
        stop = room._chunk_end(data, start, end, classes)
        chunks.append((start, stop))
        start = stop
    return [data[start:stop].tobytes().decode() for start, stop in chunks]


def encoder(tokenizer, n_slots):
    """A compiled encoder that remembers few chunks."""
    return CompiledEncoder(tokenizer._merges, tokenizer._byte_ids, tokenizer._special_tokens, n_slots)


# --- texts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["eval/wikitext-2_test.txt", "poems/tang_quatrains_simp.tsv", "stories/tinystories.txt"]
)
def test_same_ids_on_whole_files(gpt2, name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not here; it is measuring data that does not ship with the project")
    check(gpt2, path.read_bytes().decode("utf-8")[:1_300_000])


def test_same_ids_on_our_own_source(gpt2):
    for path in sorted(Path(room.__file__).parent.rglob("*.py")):
        check(gpt2, path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("text", ["", "a", " ", "\n", "'", "\x00", "é", "你", "🌕", "hello world", "0" * 17])
def test_small_texts(gpt2, text):
    check(gpt2, text)


ASSIGNED = [chr(point) for point in range(0x110000) if unicodedata.category(chr(point)) not in ("Cn", "Co", "Cs")]
# private, not assigned, and the ends of what two, three and four bytes spell
OTHERS = [*map(chr, range(0xE000, 0xF900, 13)), *map(chr, range(0x20000, 0x110000, 997))]
OTHERS += ["\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff"]


def test_every_code_point_among_others(gpt2):
    points = ASSIGNED + OTHERS
    for start in range(0, len(points), 1024):
        text = "".join(f"a{c}a {c}1" for c in points[start : start + 1024])
        assert split(text) == SPLIT_PATTERN.findall(text), f"from U+{ord(points[start]):04X}"
        assert gpt2.encode_array(text).tolist() == gpt2.encode(text), f"from U+{ord(points[start]):04X}"


def test_every_code_point_alone(gpt2):
    """Between special tokens every part is a text of its own."""
    check(gpt2, END.join(ASSIGNED + OTHERS), "all")


SPACES = [chr(point) for point in range(0x3001) if chr(point).isspace()]


def test_runs_of_whitespace(gpt2):
    assert {"\u00a0", "\u2028", "\x1c", "\x1f", "\x85", "\t", "\n", "\u3000"} <= set(SPACES)
    rng = random.Random(0)
    words = ["", "a", "1", "!", "'s", "你", "\u200b", "\u0301", "é", "'", "\x00"]
    parts = []
    for n in (1, 2, 3, 9):
        for space in SPACES:
            for word in words:
                parts += [space * n + word, space + " " * n + word, " " * n + space + word, "x" + space * n]
    parts += ["".join(rng.choices(SPACES + words, k=8)) for _ in range(2_000)]
    check(gpt2, END.join(parts), "all")
    for text in parts:
        assert split(text) == SPLIT_PATTERN.findall(text)


@pytest.mark.parametrize("after", ["s", "t", "re", "ve", "m", "ll", "d", "r", "v", "l", "e", "S", "RE", "lL", "ſ", "é"])
def test_contractions(gpt2, after):
    for before in ("", " ", "I", "1", "!", "'", "''", "\n", "你", "\u00a0"):
        for behind in ("", "x", " ", "'", "e", "1", "!", "'s"):
            text = f"{before}'{after}{behind}"
            check(gpt2, text)
            assert split(text) == SPLIT_PATTERN.findall(text)


PIECES = st.one_of(
    st.sampled_from(["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'r", "'l", "’s", " '", "''s", "don't", "'"]),
    st.sampled_from(["👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇨🇳", "1️⃣", "❤️", "\u200d", "\ufe0f", " 😀", END, "<|", "|>"]),
    st.sampled_from([" ", "  ", "\n\n", "\r\n", "\t", "a", "The", " the", "0000", "=" * 30, " " * 25, "-" * 17]),
    st.text("床前明月光疑是地上霜。，、「」〇々ァン한글가각", max_size=9),
    st.text("\u0300\u0301\u0308\u0323\u0345\u20dd\u3099\u0e34\u093f\u1ab0eo", max_size=5),
    st.text("שלום مرحبا ابجد\u200f\u202e\u2067\u061c", max_size=6),
    st.text("".join(SPACES) + "\u200b\u180e\ufeff\u2060", min_size=1, max_size=5),
    st.text("0123456789٠١٢०१२௧௨೩๔༥一二三Ⅷ½²①𝟘𝟙🄁", max_size=6),
    st.text("\x00\x01\x1b\x7f\x80\x9f\xad\ue000\uf8ff\U000f0000\U0010ffff\ufffd\ufffe", max_size=4),
    st.text('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~¡¿–—…§¶', max_size=4),
    st.text("etaoinshrdlu", min_size=7, max_size=40),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)


@pytest.mark.parametrize("n_slots", [1, 8, None])
def test_same_ids_on_hard_strings(gpt2, n_slots):
    """Whatever had been seen before: few slots mean that chunks take each other's place all the time."""
    small = encoder(gpt2, n_slots) if n_slots else gpt2._compiled

    @settings(max_examples=600, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(PIECES, min_size=1, max_size=6).map("".join))
    def run(text):
        expected = gpt2.encode(text)
        assert split(text) == SPLIT_PATTERN.findall(text)
        assert small.encode([text]).tolist() == expected
        assert small.encode([text]).tolist() == expected
        assert gpt2.encode_array(text, "all").tolist() == gpt2.encode(text, "all")

    run()


# --- chunks: remembered or not, short and long ----------------------------------------------------------------------


@pytest.mark.parametrize("n_slots", [1, 2, 4, 64, 1 << 16])
def test_chunks_that_are_alike_are_told_apart(gpt2, n_slots):
    """All that differs is one byte or the length; with one slot, each meets another's."""
    words = [f"{'a' * i}{c}{'a' * (n - i)}" for n in range(30) for i in range(n + 1) for c in "ab"]
    words += ["\x00" * n for n in range(1, 30)] + ["!" + "\x00" * n for n in range(1, 30)]
    words += ["=" * n + end for n in range(1, 30) for end in ("", "\x00")]  # zeros stand behind a short key, too
    random.Random(0).shuffle(words)
    for text in ("\n".join(words), "\n".join(words[::-1])):  # whichever of two comes first
        small = encoder(gpt2, n_slots)
        for _ in range(2):
            assert small.encode([text]).tolist() == gpt2.encode(text)


@pytest.mark.parametrize("n_slots", [1, 4, 16, 1024])
def test_memory_is_bounded_and_changes_nothing(gpt2, n_slots):
    rng = random.Random(1)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(1, 12))) for _ in range(3_000)]
    text = " ".join(rng.choices(words, k=20_000))
    small, expected = encoder(gpt2, n_slots), gpt2.encode(text)
    for _ in range(2):
        assert small.encode([text]).tolist() == expected
    assert small._slots.shape[0] == n_slots and small._slots[:, room.LENGTH].all()


def test_a_chunk_is_remembered_once_and_used(gpt2):
    """Without this, a table that never finds anything would pass everything else."""
    small = encoder(gpt2, 64)
    small.encode([" cat" * 50])
    (slot,) = np.flatnonzero(small._slots[:, room.LENGTH])
    small._slots.view(np.int32)[slot, room.FIRST_ID] = 7
    assert small.encode([" cat cat"]).tolist() == [7, 7]


@pytest.mark.parametrize("n", range(1, 2 * KEY_BYTES))
def test_chunks_of_every_length_and_number_of_ids(gpt2, n):
    for alphabet in ("a", "=", "0", "qzx", "é", "你"):
        text = "".join(random.Random(n).choices(alphabet, k=n))
        for _ in range(2):  # from the merges, then from memory
            check(gpt2, f"{text} {text}\n{text}")
    assert {len(gpt2.encode("qxz"[i % 3] * i)) for i in range(1, KEY_BYTES)} >= {1, MAX_IDS, MAX_IDS + 1}


@pytest.mark.parametrize("alphabet", ["a", "ab", "0", "-=", "etaoinshrdlu", "é你🌕", " \n", "\x00"])
def test_long_chunks(gpt2, alphabet):
    rng = random.Random(0)
    for n in [*range(15, 200, 7), 3_000]:
        check(gpt2, "".join(rng.choices(alphabet, k=n)))
        check(gpt2, (alphabet * n)[:n])


def test_chunks_of_a_megabyte(gpt2):
    """A merge that looked at all pairs each time would take hours here."""
    (four,) = gpt2.encode("aaaa")
    assert (gpt2.encode_array("a" * 1_000_000) == four).all()
    pair = gpt2.encode("ab" * 50)
    assert len(set(pair)) == 1 and (gpt2.encode_array("ab" * 500_000) == pair[0]).all()
    check(gpt2, "".join(random.Random(3).choices("etaoinshrdlucmfwypvbgkjqxz", k=50_000)))


def test_ids_are_the_callers(gpt2):
    first = gpt2.encode_array("hello world, again")
    assert first.base is None  # else it would keep four bytes for every byte of the text
    expected = first.tolist()
    first[:] = 0
    assert gpt2.encode_array("hello world, again").tolist() == expected


# --- character classes ----------------------------------------------------------------------------------------------


def test_classes_are_those_of_the_split_pattern():
    """A character of a class makes one chunk with its like on both sides, and no other does."""
    classes = room.character_classes(0x110000)
    assert (classes[:0x10000] == room.character_classes(0x10000)).all()
    for c in ASSIGNED:
        kind = classes[ord(c)]
        assert (SPLIT_PATTERN.findall(f"x{c}x") == [f"x{c}x"]) == (kind == room.LETTER), c
        assert (SPLIT_PATTERN.findall(f"1{c}1") == [f"1{c}1"]) == (kind == room.NUMBER), c
        assert (SPLIT_PATTERN.findall(f"!{c}!") == [f"!{c}!"]) == (kind == room.OTHER), c


# --- vocabularies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_vocab", [257, 258, 259, 260, 300])
def test_a_small_vocabulary(n_vocab):
    tokenizer = Tokenizer.train(TEXTS, n_vocab)
    for text in (TEXTS[0], "the" * 100, "xyz 你好 🌕🌕", END, ""):
        check(tokenizer, text)
        check(tokenizer, text + END + text, "all")


def test_ids_come_from_the_vocabulary_file(gpt2, tmp_path):
    """Special tokens first, bytes and merges in any order."""
    gpt2.save(tmp_path)
    vocab = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    order = list(range(len(vocab)))
    random.Random(0).shuffle(order)
    (tmp_path / "vocab.json").write_text(json.dumps({token: order[i] for token, i in vocab.items()}))
    shuffled = Tokenizer.load(tmp_path)
    text = TEXTS[0] + END + "unbelievable " * 3
    assert shuffled.encode_array(text, "all").tolist() == [order[i] for i in gpt2.encode(text, "all")]
    check(shuffled, text, "all")


def test_special_tokens():
    tokenizer = Tokenizer.train(["x"], n_vocab=258, special_tokens=("<|a|>", "<|a|><|b|>"))
    for text in ("<|a|><|b|><|a|>", "<|a|>", "x<|a|> <|b|>'s", "<|a|><|a|>", ""):
        for allowed in ((), "all", {"<|a|>"}, ["<|a|>", "<|a|><|b|>"]):
            check(tokenizer, text, allowed)


def test_a_vocabulary_without_merges():
    tokenizer = Tokenizer.train(["x"], n_vocab=256, special_tokens=())
    check(tokenizer, TEXTS[0])


def test_two_vocabularies_at_once(gpt2):
    other = Tokenizer.train(TEXTS, 300)
    for _ in range(2):
        check(gpt2, TEXTS[0])
        check(other, TEXTS[0])


def test_a_tokenizer_that_has_encoded_can_be_sent_to_another_process(gpt2):
    gpt2.encode_array("hello world")
    copy = pickle.loads(pickle.dumps(gpt2))
    assert copy.encode_array("hello world").tolist() == [31373, 995]


# --- threads, processes, errors -------------------------------------------------------------------------------------


def test_threads_may_share_a_tokenizer(gpt2):
    """With one slot, threads that do not take turns write where others read: seen in 2 of 3 rounds on 2 cores."""
    rng = random.Random(2)
    words = ["".join(rng.choices("etaoin", k=rng.randint(1, 7))) for _ in range(100)]
    texts = [" ".join(rng.choices(words, k=50_000)) for _ in range(4)]
    expected = [gpt2.encode(text) for text in texts]
    for small in (encoder(gpt2, 1), encoder(gpt2, 1 << 16)):
        with ThreadPoolExecutor(4) as pool:
            for _ in range(6):
                found = list(pool.map(lambda text, small=small: small.encode([text]).tolist(), texts))
                assert found == expected


def test_threads_may_make_the_first_call():
    tokenizer = Tokenizer.train(TEXTS, 300)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: tokenizer.encode_array(TEXTS[0]).tolist(), range(16)))
    assert all(ids == tokenizer.encode(TEXTS[0]) for ids in found)


def python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_kernels_run_as_plain_python():
    code = """
from nanogpt_np.tokenizer import Tokenizer
tokenizer = Tokenizer.gpt2()
for text in ("", "a" * 99, "the cat isn't \u5e8a\u524d \U0001f315  \\n x   ", " " * 30 + "cat" * 9, "\u00e9'll"):
    for _ in range(2):
        assert tokenizer.encode_array(text).tolist() == tokenizer.encode(text), text
print(tokenizer.encode_array("the cat").dtype)
"""
    assert python(code, NUMBA_DISABLE_JIT="1") == "int32\n"


def test_numba_is_loaded_by_the_first_encode_array_alone():
    code = """
import sys
from nanogpt_np.tokenizer import Tokenizer
import nanogpt_np.training.data
Tokenizer.gpt2().encode("hello")
print("numba" in sys.modules)
"""
    assert python(code) == "False\n"


@pytest.mark.parametrize(
    "text, allowed_special, message",
    [
        (b"bytes", (), r"text: expected a string, got bytes; decode"),
        (None, (), r"text: expected a string, got NoneType"),
        ("ab\ud83dcd", (), r"lone surrogate U\+D83D at offset 2; remove it"),
        ("x", END, r"allowed_special: expected 'all' .*write {'<\|endoftext\|>'}"),
        ("x", {"<|pad|>"}, r"allowed_special: '<\|pad\|>' is no special token"),
    ],
)
def test_errors_are_those_of_encode(gpt2, text, allowed_special, message):
    for encode in (gpt2.encode, gpt2.encode_array):
        with pytest.raises(TokenizerError, match=message):
            encode(text, allowed_special)


# --- a corpus to train on -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("special_tokens", [(END,), ()])
def test_a_long_corpus_gets_the_same_ids(monkeypatch, special_tokens):
    tokenizer = Tokenizer.train(TEXTS, 290, special_tokens=special_tokens)
    documents = [TEXTS[0], "the cat", "", END]
    expected = data.encode_documents(documents, tokenizer)
    monkeypatch.setattr(tokenizer, "encode", None)
    monkeypatch.setattr(data, "LONG_CORPUS", sum(map(len, documents)))
    found = data.encode_documents(documents, tokenizer)
    assert found.dtype == expected.dtype == np.uint16 and found.tolist() == expected.tolist()
