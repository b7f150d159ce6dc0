"""The tokenizer against tiktoken, which is built here from the published merges by a parser of its own."""

import hashlib
import json
import pickle
import random
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nanogpt_np
from nanogpt_np.errors import FileError, InputError, TokenizerError
from nanogpt_np.tokenizer import bpe
from nanogpt_np.tokenizer.bpe import (
    LONG_CHUNK,
    SPLIT_PATTERN,
    Tokenizer,
    byte_to_unicode,
    merge_long_chunk,
    merge_short_chunk,
    merge_steps,
    to_letters,
)
from nanogpt_np.tokenizer.display import format_explanation, visible
from nanogpt_np.tokenizer.streaming import StreamDecoder
from nanogpt_np.tokenizer.vocab import from_letters

tiktoken = pytest.importorskip("tiktoken")

SHARED = Path(__file__).parents[3] / "shared"
MERGES = Path(nanogpt_np.__file__).parent / "tokenizer" / "gpt2" / "merges.txt"
END = "<|endoftext|>"


@pytest.fixture(scope="module")
def gpt2():
    return Tokenizer.gpt2()


@pytest.fixture(scope="module")
def reference():
    """tiktoken's GPT-2: the split pattern as tiktoken publishes it, the ranks read from the merges without our code."""
    printable = [b for b in range(256) if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xFF and b != 0xAD]
    bytes_in_order = printable + [b for b in range(256) if b not in printable]
    letters = {chr(b if b in printable else 68 + i): b for i, b in enumerate(bytes_in_order)}
    ranks = {bytes([b]): i for i, b in enumerate(bytes_in_order)}
    for line in MERGES.read_text(encoding="utf-8").split("\n")[1:-1]:
        ranks[bytes(letters[letter] for letter in line.replace(" ", ""))] = len(ranks)
    return tiktoken.Encoding(
        "gpt2",
        explicit_n_vocab=50257,
        pat_str=r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""",
        mergeable_ranks=ranks,
        special_tokens={END: 50256},
    )


def shared_text(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not here; it is measuring data that does not ship with the project")
    return path.read_bytes().decode("utf-8")


# --- the published vocabulary ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, ids",
    [
        # Published by others for the real GPT-2; each source is named in shared/reference/published_gpt2.json.
        ("hello world", [31373, 995]),
        ("Hello, world. Is this-- a test?", [15496, 11, 995, 13, 1148, 428, 438, 257, 1332, 30]),
        ("Implementations", [3546, 26908, 602]),
        ("\n", [198]),
        ("0" * 16, [25645]),
        ("0" * 17, [8269, 10535, 830]),
        ("", []),
    ],
)
def test_published_ids(gpt2, text, ids):
    assert gpt2.encode(text) == ids
    assert gpt2.decode(ids) == text


def test_published_special_token(gpt2):
    assert gpt2.encode("hello <|endoftext|>", allowed_special="all") == [31373, 220, 50256]
    assert (gpt2.n_vocab, gpt2.eos_id, gpt2.special_tokens) == (50257, 50256, {END: 50256})


def test_shipped_merges_are_the_published_ones():
    digest = hashlib.sha256(MERGES.read_bytes()).hexdigest()
    assert digest == "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"


def test_saved_gpt2_equals_the_published_files(gpt2, tmp_path):
    gpt2.save(tmp_path)
    assert (tmp_path / "merges.txt").read_bytes() == MERGES.read_bytes()
    published = json.loads(shared_text("data/gpt2_vocab/encoder.json"))
    assert json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8")) == published


def test_byte_to_unicode_is_a_bijection_without_spaces():
    letters = byte_to_unicode()
    assert sorted(letters) == list(range(256)) and len(set(letters.values())) == 256
    assert not any(letter.isspace() or unicodedata.category(letter) == "Cc" for letter in letters.values())
    assert (to_letters(b" the\n"), from_letters("ĠtheĊ")) == ("ĠtheĊ", b" the\n")
    assert from_letters(to_letters(bytes(range(256)))) == bytes(range(256))


# --- the same ids as tiktoken ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["data/eval/wikitext-2_test.txt", "data/poems/tang_quatrains_simp.tsv"])
def test_same_ids_as_tiktoken_on_whole_files(gpt2, reference, name):
    text = shared_text(name)
    ids = gpt2.encode(text)
    assert ids == reference.encode_ordinary(text)
    assert gpt2.decode(ids) == text


def test_same_ids_as_tiktoken_around_every_code_point(gpt2, reference):
    # Every assigned character. What is a letter changes with the version of Unicode, and `regex` and tiktoken follow
    # it at their own pace: characters that this Python does not know yet are new to one of them, and left out.
    points = [point for point in range(0x110000) if unicodedata.category(chr(point)) not in ("Cn", "Co", "Cs")]
    points += [*range(0xE000, 0xF900, 13), *range(0xF0000, 0x10FFFE, 997)]  # private use, sampled
    for start in range(0, len(points), 1024):
        text = "".join(f"a{chr(point)} {chr(point)}1" for point in points[start : start + 1024])
        assert gpt2.encode(text) == reference.encode_ordinary(text), f"from U+{points[start]:04X}"


WHITESPACE = "".join(chr(point) for point in range(0x3001) if chr(point).isspace())
HARD_PIECES = st.one_of(
    st.sampled_from(["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "’s", " '", "''s", "don't"]),
    st.sampled_from(["👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇨🇳", "1️⃣", "❤️", "\u200d", "\ufe0f", "🧑‍🚀", " 😀"]),
    st.text("床前明月光疑是地上霜。，、「」〇々ァン한글가각", max_size=6),
    st.text("\u0300\u0301\u0308\u0323\u0345\u20dd\u3099\u0e34\u093f\u1ab0eo", max_size=5),
    st.text("שלום مرحبا ابجد\u200f\u202e\u2067\u061c", max_size=6),
    st.text(WHITESPACE + "\u200b\u180e\ufeff\u2060", min_size=1, max_size=5),
    st.text("0123456789٠١٢०१२௧௨೩๔༥一二三Ⅷ½²①𝟘𝟙🄁", max_size=6),
    st.text("\x00\x01\x1b\x7f\x80\x9f\xad\ue000\uf8ff\U000f0000\U0010ffff\ufffd\ufffe", max_size=4),
    st.text("!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~¡¿–—…§¶", max_size=4),
    st.sampled_from([END, "<|", "|>", "<|endoftext", " ", "  ", "\n\n", "\r\n", "\t", "a", "The", " the", "0000"]),
    st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=5),
)
HARD_TEXT = st.lists(HARD_PIECES, min_size=1, max_size=6).map("".join)


@pytest.mark.parametrize("n_texts", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_same_ids_as_tiktoken_on_hard_strings(gpt2, reference, n_texts):
    seen = set()

    # Hypothesis repeats itself, and only different strings count: hence more examples than that.
    @settings(max_examples=n_texts * 5 // 4, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(HARD_TEXT)
    def check(text):
        ids = gpt2.encode(text)
        assert ids == reference.encode_ordinary(text)
        assert gpt2.decode_bytes(ids) == text.encode()
        assert gpt2.encode(text, allowed_special="all") == reference.encode(text, allowed_special="all")
        seen.add(text)

    check()
    assert len(seen) >= n_texts


# --- encoding -------------------------------------------------------------------------------------------------------


def test_merge_steps_example():
    assert list(merge_steps([1, 2, 3, 1, 2], {(1, 2): (0, 4)})) == [(0, (1, 2), [4, 3, 4])]
    assert list(merge_steps([1], {(1, 2): (0, 4)})) == []


@pytest.mark.parametrize("alphabet", [b"a", b"ab", b"0", b"-=", b"etaoin shrdlu", bytes(range(256))])
def test_heap_equals_the_definition(gpt2, alphabet):
    rng = random.Random(0)
    for length in [0, 1, 2, 3, *range(4, 200, 7)]:
        ids = [gpt2.encode(chr(b))[0] if b < 128 else b for b in rng.choices(alphabet, k=length)]
        assert merge_long_chunk(ids, gpt2._merges) == merge_short_chunk(ids, gpt2._merges)


@pytest.mark.parametrize("text", ["a" * 100_000, "0" * 100_000, " " * 100_000, "ab" * 50_000, "。" * 30_000])
def test_very_long_chunks(gpt2, reference, text):
    assert gpt2.encode(text) == reference.encode_ordinary(text)


def test_a_long_chunk_of_random_letters_keeps_the_ids(gpt2, reference):
    text = "".join(random.Random(3).choices("etaoinshrdlucmfwypvbgkjqxz", k=20_000))
    assert gpt2.encode(text) == reference.encode_ordinary(text)


def test_the_cache_is_bounded_and_changes_nothing(gpt2, monkeypatch):
    monkeypatch.setattr("nanogpt_np.tokenizer.bpe.MAX_CACHED_CHUNKS", 3)
    tokenizer = Tokenizer.train(["low lower lowest newest widest"], n_vocab=270)
    text = "low lower lowest newest widest low " * 3 + "x" * 1000
    first = tokenizer.encode(text)
    assert len(tokenizer._cache) <= 3 and "x" * 1000 not in tokenizer._cache
    assert tokenizer.encode(text) == first and tokenizer.decode(first) == text
    first.clear()  # the caller's list is the caller's
    assert tokenizer.encode("low") == tokenizer.encode("low") != []


def test_encode_batch(gpt2):
    assert gpt2.encode_batch(["hello world", "", "\n"]) == [[31373, 995], [], [198]]
    assert gpt2.encode_batch([END], allowed_special={END}) == [[50256]]


def test_special_tokens_are_text_unless_allowed(gpt2, reference):
    text = f"a{END}b {END}"
    assert gpt2.encode(text) == reference.encode_ordinary(text)
    assert 50256 not in gpt2.encode(text)
    for allowed in ("all", {END}, [END]):
        assert gpt2.encode(text, allowed) == reference.encode(text, allowed_special="all")
    assert gpt2.decode(gpt2.encode(text, "all")) == text


def test_the_longest_special_token_wins():
    tokenizer = Tokenizer.train(["x"], n_vocab=258, special_tokens=("<|a|>", "<|a|><|b|>"))
    assert tokenizer.encode("<|a|><|b|><|a|>", "all") == [257, 256]
    assert tokenizer.encode("<|a|><|b|>", {"<|a|>"}) == [256, *b"<|b|>"]
    assert Tokenizer.train(["x"], n_vocab=256, special_tokens=()).encode("x", "all") == [120]


def test_split_pattern_is_the_published_one():
    chunks = SPLIT_PATTERN.findall("I'll don't  DON'T 123abc ½ x²\n\n y 你好!?")
    assert chunks[:8] == ["I", "'ll", " don", "'t", " ", " DON", "'", "T"]
    assert chunks[8:] == [" 123", "abc", " ½", " x", "²", "\n\n", " y", " 你好", "!?"]


# --- decoding -------------------------------------------------------------------------------------------------------


def test_decode_takes_any_ids(gpt2):
    for ids in ([31373, 995], (31373, 995), np.array([31373, 995]), iter([31373, 995])):
        assert gpt2.decode(ids) == "hello world"
    assert gpt2.token_bytes(995) == b" world" and gpt2.token_bytes(50256) == END.encode()


def test_special_tokens_can_be_left_out(gpt2):
    ids = gpt2.encode(f"{END}the cat{END}", "all")
    assert gpt2.decode(ids) == f"{END}the cat{END}" and gpt2.decode(ids, skip_special_tokens=True) == "the cat"
    assert gpt2.decode_bytes(np.array(ids), skip_special_tokens=True) == b"the cat"
    assert gpt2.decode(gpt2.encode(END), skip_special_tokens=True) == END  # a text that only looks like one
    with pytest.raises(TokenizerError, match="got 50257 at position 1"):
        gpt2.decode([1, 50257], skip_special_tokens=True)


@pytest.mark.parametrize("skip", [False, True])
def test_a_stream_can_leave_them_out_too(gpt2, skip):
    ids = [50256, *gpt2.encode("月"), 50256, *gpt2.encode(" 🌕")[:-1], 50256]
    stream = StreamDecoder(gpt2, skip_special_tokens=skip)
    assert "".join(map(stream.push, ids)) + stream.flush() == gpt2.decode(ids, skip_special_tokens=skip)


def test_half_characters_decode_as_in_tiktoken(gpt2, reference):
    rng = random.Random(1)
    for _ in range(500):
        ids = rng.choices(range(50257), k=6) + rng.choices(range(94, 256), k=3)
        rng.shuffle(ids)
        assert gpt2.decode(ids) == reference.decode(ids)
        assert gpt2.decode_bytes(ids) == reference.decode_bytes(ids)


def test_stream_decoder_never_emits_half_a_character(gpt2):
    text = "床前明月光 👩‍👩‍👧‍👦 naïve"
    stream = StreamDecoder(gpt2)
    pieces = [stream.push(i) for i in gpt2.encode(text)]
    assert "".join(pieces) == text and "\ufffd" not in "".join(pieces)
    assert "" in pieces  # some id ended inside a character, and waited
    assert stream.flush() == ""


def test_stream_decoder_flushes_what_never_became_whole(gpt2):
    stream = StreamDecoder(gpt2)
    first, *_ = gpt2.encode("你")
    assert (stream.push(first), stream.flush(), stream.push(31373)) == ("", "\ufffd", "hello")


def test_stream_decoder_equals_decode_on_any_ids(gpt2):
    rng = random.Random(2)
    for _ in range(500):
        ids = rng.choices(range(94, 256), k=8) + rng.choices(range(50257), k=3)
        rng.shuffle(ids)
        stream = StreamDecoder(gpt2)
        assert "".join(map(stream.push, ids)) + stream.flush() == gpt2.decode(ids)


# --- files ----------------------------------------------------------------------------------------------------------


def test_saved_and_loaded_again(tmp_path):
    texts = ["low lower lowest 你好 naïve 你好", "newest widest"]
    tokenizer = Tokenizer.train(texts, n_vocab=280, special_tokens=(END, "<|结束|>", "<|two words|>"))
    tokenizer.save(tmp_path / "new" / "folder")
    loaded = Tokenizer.load(tmp_path / "new" / "folder")
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.special_tokens == tokenizer.special_tokens
    text = "lowest 你好 <|结束|>\x00\u2028\x85" + END
    assert loaded.encode(text, "all") == tokenizer.encode(text, "all")
    assert loaded.decode(loaded.encode(text, "all")) == text
    loaded.save(tmp_path)
    for name in ("vocab.json", "merges.txt"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "new" / "folder" / name).read_bytes()


def test_ids_come_from_the_vocabulary_file(gpt2, tmp_path):
    # Special tokens first, bytes and merges in any order: the rank is the line in merges.txt, the id is not.
    gpt2.save(tmp_path)
    vocab = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    (tmp_path / "vocab.json").write_text(json.dumps({token: 50256 - i for token, i in vocab.items()}))
    mirrored = Tokenizer.load(tmp_path)
    text = "Hello, world. Is this-- a test? 床前明月光"
    assert mirrored.encode(text) == [50256 - i for i in gpt2.encode(text)]
    assert mirrored.eos_id == 0 and mirrored.fingerprint != gpt2.fingerprint


def test_windows_newlines_are_read(gpt2, tmp_path):
    gpt2.save(tmp_path)
    path = tmp_path / "merges.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert Tokenizer.from_files(tmp_path / "vocab.json", path).fingerprint == gpt2.fingerprint


def test_fingerprint_tells_vocabularies_apart(gpt2):
    train = Tokenizer.train
    fingerprints = [
        gpt2.fingerprint,
        train(["ab"], 258).fingerprint,
        train(["ac"], 258).fingerprint,
        train(["ab"], 258, special_tokens=("<|end|>",)).fingerprint,
        train(["ab"], 257, special_tokens=()).fingerprint,
    ]
    assert len(set(fingerprints)) == 5
    assert train(["ab"], 258).fingerprint == fingerprints[1] and len(fingerprints[1]) == 16


def test_fingerprint_covers_the_order_of_merges(tmp_path):
    def save(merges):
        return write_files(tmp_path, lambda small: small | {"bc": 258, END: 259}, merges)

    first = Tokenizer.load(save("#version: 0.2\na b\nb c\nab c\n"))
    second = Tokenizer.load(save("#version: 0.2\nb c\na b\nab c\n"))
    assert (first.encode("abc"), second.encode("abc")) == ([257], [64, 258])
    assert first.fingerprint != second.fingerprint


def test_a_tokenizer_can_be_sent_to_another_process(gpt2):
    copy = pickle.loads(pickle.dumps(gpt2))
    assert copy.fingerprint == gpt2.fingerprint and copy.encode("hello world") == [31373, 995]


# --- explaining -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "Tokenizers don't eat\n 你好", "x" * (LONG_CHUNK + 9), f"a {END}b"])
@pytest.mark.parametrize("allowed_special", [(), "all"])
def test_explain_ends_where_encode_ends(gpt2, text, allowed_special):
    explanation = gpt2.explain(text, allowed_special)
    assert explanation.ids == gpt2.encode(text, allowed_special)
    assert b"".join(explanation.tokens) == text.encode()
    for chunk in explanation.chunks:
        last = chunk.merges[-1].parts if chunk.merges else [bytes([b]) for b in chunk.data]
        assert chunk.is_special or last == chunk.tokens
        for step in chunk.merges:
            assert b"".join(step.parts) == chunk.data and step.left + step.right in step.parts


def test_without_steps_no_merge_is_followed(gpt2, monkeypatch):
    """Of one chunk of thousands of letters that takes as many seconds, and nobody would read it."""
    text = "a don't " + "qz" * 40 + END
    expected = gpt2.explain(text, "all")
    monkeypatch.setattr(bpe, "merge_steps", None)
    explained = gpt2.explain(text, "all", steps=False)
    assert explained.ids == expected.ids and explained.tokens == expected.tokens
    assert [chunk._replace(merges=[]) for chunk in expected.chunks] == explained.chunks
    gpt2.encode("x" * 20_000)  # as encode does it


def test_merges_may_be_an_iterator(gpt2):
    pairs = [("a", "b"), ("ab", "c")]
    assert Tokenizer.from_merges(iter(pairs)).fingerprint == Tokenizer.from_merges(pairs).fingerprint


def test_explain_lists_the_merges_with_their_ranks(gpt2):
    (chunk,) = gpt2.explain(" the").chunks
    assert (chunk.text, chunk.data, chunk.ids, chunk.tokens) == (" the", b" the", [262], [b" the"])
    # The published file's first lines: "Ġ t" is rank 0, "h e" rank 2, "Ġt he" rank 6 = 262 - 256.
    assert [tuple(step[:3]) for step in chunk.merges] == [(0, b" ", b"t"), (2, b"h", b"e"), (6, b" t", b"he")]
    assert [step.parts for step in chunk.merges] == [[b" t", b"h", b"e"], [b" t", b"he"], [b" the"]]


def test_explanation_without_color(gpt2):
    assert format_explanation(gpt2.explain(" the你"), color=False).split("\n") == [
        " the|\\xe4\\xbd|\\xa0",
        "262 19526 254",
        "3 tokens, 5 characters, 7 bytes",
    ]
    assert format_explanation(gpt2.explain(f" the{END}", "all"), color=False, steps=True).split("\n")[3:] == [
        "",
        "  bytes                 ␣|t|h|e",
        "  rank      0  ␣ + t    ␣t|h|e",
        "  rank      2  h + e    ␣t|he",
        "  rank      6  ␣t + he  ␣the",
        "  ids                   262",
        "",
        "  special        <|endoftext|>",
        "  ids            50256",
    ]
    assert format_explanation(gpt2.explain(""), color=False, steps=True) == "\n\n0 tokens, 0 characters, 0 bytes"


def test_explanation_in_color(gpt2):
    tokens, ids, _ = format_explanation(gpt2.explain("hello world")).split("\n")
    first, second = tokens.split("\x1b[0m")[:2]
    assert first.endswith("mhello") and second.endswith("m world")
    assert first.removesuffix("hello") != second.removesuffix(" world")  # neighbours differ
    assert ids.startswith(first.removesuffix("hello") + "31373")  # an id wears its token's colour


@pytest.mark.parametrize(
    "token, shown",
    [
        (b" the", " the"),
        (b"\xe4\xbd", "\\xe4\\xbd"),
        (b"a\n\t\x1b[2J", "a\\n\\t\\x1b[2J"),
        (b"C:\\n", "C:\\\\n"),
        ("\u202eabc\u200d".encode(), "\\u202eabc\\u200d"),
        ("\u0301e".encode(), "◌\u0301e"),
        ("你".encode(), "你"),
    ],
)
def test_every_token_is_shown_legibly(token, shown):
    assert visible(token) == shown


# --- errors: one line, what was expected, what was got, where, what to do --------------------------------------------


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda t: t.encode(b"bytes"), r"text: expected a string, got bytes; decode"),
        (lambda t: t.encode(None), r"text: expected a string, got NoneType"),
        (lambda t: t.explain(5), r"text: expected a string, got int"),
        (lambda t: t.encode("ab\ud83dcd"), r"lone surrogate U\+D83D at offset 2; remove it"),
        (lambda t: t.encode("a" * 5000 + "\udcff", "all"), r"U\+DCFF at offset 5,000"),
        (lambda t: t.encode_batch("text"), r"texts: expected several strings, got one str"),
        (lambda t: t.encode("x", "<|endoftext|>"), r"allowed_special: expected 'all' .*write {'<\|endoftext\|>'}"),
        (lambda t: t.encode("x", None), r"allowed_special: expected 'all' or a set of strings, got None"),
        (lambda t: t.encode("x", 5), r"allowed_special: expected 'all' or a set of strings, got 5"),
        (lambda t: t.encode("x", {"<|pad|>"}), r"allowed_special: '<\|pad\|>' is no special .*it has <\|endoftext\|>"),
        (lambda t: t.decode([1, 50257]), r"ids: .*from 0 to 50,256, got 50257 at position 1; check"),
        (lambda t: t.decode([-1]), r"ids: .*got -1 at position 0"),
        (lambda t: t.decode([1, 2.5]), r"ids: .*got 2.5 at position 1"),
        (lambda t: t.decode([[1, 2]]), r"ids: .*got \[1, 2\] at position 0"),
        (lambda t: t.decode(5), r"ids: expected a list of ids, got 5; put a single id in brackets"),
        (lambda t: t.decode("text"), r"ids: .*got 't' at position 0"),
        (lambda t: t.decode([True]), r"ids: .*got True at position 0"),
        (lambda t: t.decode([1.0]), r"ids: .*got 1.0 at position 0"),
        (lambda t: t.decode(b"ab"), r"ids: expected a list of ids, got b'ab'"),
        (lambda t: t.decode({1, 2}), r"ids: expected a list of ids, got \{1, 2\}"),
        (lambda t: t.encode("x", [["a"]]), r"allowed_special: \['a'\] is no special token"),
        (lambda t: Tokenizer.from_merges([1]), r"merges\[0\]: expected a pair of texts, got 1"),
        (lambda t: Tokenizer.from_merges([("a", "b", "c")]), r"merges\[0\]: expected a pair of texts"),
        (lambda t: Tokenizer.from_merges("ab"), r"merges: expected a list of pairs of texts, got 'ab'"),
        (lambda t: t.token_bytes(99999), r"ids: .*got 99999; check"),
        (lambda t: StreamDecoder(t).push(50257), r"ids: .*got 50257"),
    ],
)
def test_bad_input(gpt2, call, message):
    with pytest.raises(TokenizerError, match=message) as caught:
        call(gpt2)
    assert "\n" not in str(caught.value)


def write_files(directory, vocab=None, merges="#version: 0.2\na b\nab c\n"):
    """A small vocabulary: 256 bytes, "ab", "abc" and one special token."""
    small = {letter: i for i, letter in enumerate(byte_to_unicode().values())} | {"ab": 256, "abc": 257, END: 258}
    (directory / "vocab.json").write_text(json.dumps(small if vocab is None else vocab(small)), encoding="utf-8")
    (directory / "merges.txt").write_text(merges, encoding="utf-8")
    return directory


def test_the_small_vocabulary_is_sound(tmp_path):
    assert Tokenizer.load(write_files(tmp_path)).encode("abcab" + END, "all") == [257, 256, 258]


@pytest.mark.parametrize(
    "broken, message",
    [
        ({"merges": "a b\nab c\n"}, r"merges.txt, line 1: expected '#version: 0.2', got 'a b'"),
        ({"merges": ""}, r"merges.txt, line 1: expected '#version: 0.2', got ''"),
        ({"merges": "#version: 0.2\na b\nabc\n"}, r"merges.txt, line 3: expected two tokens .*got 'abc'"),
        ({"merges": "#version: 0.2\na b c\n"}, r"merges.txt, line 2: expected two tokens .*got 'a b c'"),
        ({"merges": "#version: 0.2\na b\n\nab c\n"}, r"merges.txt, line 3: expected two tokens .*got ''"),
        ({"merges": "#version: 0.2\na  b\n"}, r"merges.txt, line 2: expected two tokens .*got 'a  b'"),
        ({"merges": "#version: 0.2\nab c\na b\n"}, r"merge 0 .*line 2 of merges.txt\): 'ab' is no byte, and no"),
        ({"merges": "#version: 0.2\na b\nab 你\n"}, r"line 3 of merges.txt\): '你' is no byte"),
        ({"merges": "#version: 0.2\na b\nab c\na b\n"}, r"line 4 of merges.txt\): 'ab' has been made by an"),
        ({"merges": "#version: 0.2\na b\nab c\nx y\n"}, r"line 4 of merges.txt\): 'xy' is missing in vocab.json"),
        ({"vocab": lambda v: [1, 2]}, r"vocab.json.*vocab: expected an object .*got list"),
        ({"vocab": lambda v: v | {"ab": "256"}}, r"vocab: expected a text with a whole number, got 'ab': '256'"),
        ({"vocab": lambda v: v | {"ab": True}}, r"vocab: expected a text with a whole number, got 'ab': True"),
        ({"vocab": lambda v: v | {"ab": 257}}, r"vocab: id 257 belongs to both 'ab' and 'abc'"),
        ({"vocab": lambda v: v | {END: 300}}, r"vocab: 259 tokens need the ids 0 to 258, got 300 for '<\|end"),
        ({"vocab": lambda v: v | {END: -1}}, r"vocab: 259 tokens need .*got -1"),
        ({"vocab": lambda v: {"a": 0, "b": 1}}, r"vocab: expected all 256 bytes, got 2; the first missing one is 0x21"),
        ({"vocab": lambda v: v | {"": 259}}, r"vocab: id 259 has an empty token"),
        ({"vocab": lambda v: v | {"\ud800": 259}}, r"special token '.ud800': .*lone surrogate U\+D800"),
        ({"vocab": lambda v: v | {"Ġthe": 259}}, r"vocab: no merge makes 'Ġthe' \(id 259\); merges.txt may be cut"),
        ({"vocab": lambda v: v | {"ä½ł": 259}}, r"vocab: no merge makes 'ä½ł' \(id 259\)"),
    ],
)
def test_broken_vocabulary_files(tmp_path, broken, message):
    with pytest.raises(InputError, match=message) as caught:
        Tokenizer.load(write_files(tmp_path, **broken))
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(FileError, match="vocab.json: cannot be read"):
        Tokenizer.load(tmp_path)
    write_files(tmp_path)
    (tmp_path / "vocab.json").write_text("{")
    with pytest.raises(FileError, match="vocab.json: expected JSON"):
        Tokenizer.load(tmp_path)
    with pytest.raises(FileError, match="cannot be made"):
        Tokenizer.gpt2().save(tmp_path / "vocab.json")
