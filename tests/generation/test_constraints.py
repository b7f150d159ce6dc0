"""patterns.py, automaton.py and constraints.py against the library `regex`, on every short text; and their limits."""

import itertools
import math
import time

import numpy as np
import pytest
import regex

from nanogpt_np import InputError
from nanogpt_np.generation.automaton import DEAD, Automaton
from nanogpt_np.generation.constraints import guide_of
from nanogpt_np.generation.patterns import complement, from_pattern, from_texts, utf8_ranges

PATTERNS = [
    "a*b", "(a|b)*abb", "[a-c]{2,3}d?", "a+?b*?", "a{0}b", "[^a]b", "(ab|a)(bc|c)?", ".", r"\d+\.\d*", "(?:a|)b",
    "[]a]+", r"[a\-b]+", "é?[à-ü]", "[一-龥]{1,2}", "a{2,}", "(a*)*", "(a|b|)+c", r"\w+\s\W", r"[^\d\s]",
    r"[\x41-\u0043]", "", "(){3}a", "a|", r"\.\*", "(?:(?:ab)+c){2}",
]  # fmt: skip
ALPHABET = "abcd1. é一A"


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_short_text(pattern):
    """Whether it matches, and whether it may with something more behind it."""
    automaton, whole = Automaton(from_pattern(pattern)), regex.compile(pattern, regex.ASCII)
    for text in map("".join, itertools.chain(*(itertools.product(ALPHABET, repeat=n) for n in range(4)))):
        state = automaton.run(0, text.encode())
        assert (state != DEAD and automaton.may_end(state)) == (whole.fullmatch(text) is not None), text
        assert (state != DEAD) == (whole.fullmatch(text, partial=True) is not None), text


def test_many_pieces_at_once_are_as_one_by_one():
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 6, 500)
    pieces = rng.choice(np.frombuffer("ab1é".encode(), np.uint8), (500, 6))
    for pattern in ("(a|b)*1?", "é+a", ".*"):
        automaton, other = Automaton(from_pattern(pattern)), Automaton(from_pattern(pattern))
        found = automaton.run_all(0, pieces, lengths)
        for state, piece, n in zip(found, pieces, lengths, strict=True):
            expected = other.run(0, piece[:n].tobytes())
            assert (state == DEAD) == (expected == DEAD)
            if state != DEAD:
                assert automaton.members[state] == other.members[expected]


def test_ranges_of_characters_hold_each_once():
    for first, last in [(0, 0x10FFFF), (0x61, 0xE9), (0x7FF, 0x801), (0xD000, 0xE001), (0xFFFF, 0x10001), (291, 74565)]:
        n = sum(math.prod(high - low + 1 for low, high in ranges) for ranges in utf8_ranges(first, last))
        assert n == sum(1 for code in range(first, last + 1) if not 0xD800 <= code <= 0xDFFF)
    assert complement([(5, 9)]) == [(0, 4), (10, 0xD7FF), (0xE000, 0x10FFFF)]


def test_choices_are_a_tree():
    automaton = Automaton(from_texts(["yes", "yesterday", "no"]))
    ends = {text: automaton.run(0, text.encode()) for text in ("yes", "yesterday", "no", "ye", "x")}
    assert [automaton.may_end(ends[text]) for text in ("yes", "yesterday", "no", "ye")] == [True, True, True, False]
    assert [automaton.goes_on(ends[text]) for text in ("yes", "yesterday", "no")] == [True, False, False]
    assert ends["x"] == DEAD


@pytest.mark.parametrize(
    "pattern, message",
    [
        ("(a", r"a \) for every \(, got its end"), ("a)", r"got '\)' at character 1"), ("[a", r"a \] for every \["),
        ("a**", "one repetition only"), ("*a", "something to repeat"), ("^a", "no anchors"), ("a$", "no anchors"),
        ("(?=a)", "looking around, names and flags are not supported"), ("(?P<x>a)", "names and flags are not"),
        (r"\1", r"a known letter behind"), (r"\b", "a known letter behind"), ("a{3,2}", "the second number not below"),
        ("a{", "a number of at most 6 digits"), ("[z-a]", "from a lower to a higher"), ("\\", "a known letter behind"),
        (r"[^\x00-\U0010ffff]", "some character is in"), ("(a{1000}){1000}", "at most 50,000 states"),
        (r"\xg1", "2 digits of a character's number"), ("a*+", "one repetition only"),
        ("(" * 60 + ")" * 60, "50 groups"),
        ("a" * 10_001, "at most 10,000 characters"), (5, "a text of at most"), ("\ud800", "characters that UTF-8 has"),
        ("((){999999}){999999}", "at most 50,000 states"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_said_at_once(pattern, message):
    began = time.perf_counter()
    with pytest.raises(InputError, match=message) as caught:
        from_pattern(pattern)
    assert str(caught.value).startswith("pattern: expected ") and len(str(caught.value)) < 400
    assert time.perf_counter() - began < 20  # a limit, not a measurement: without limits it would be hours


def test_a_pattern_with_too_many_states_ends_in_an_error():
    automaton = Automaton(from_pattern("(a|b)*a(a|b){14}"))  # 2^15 states
    with pytest.raises(InputError, match="pattern: expected one that takes at most 10,000 states"):
        for text in itertools.product(b"ab", repeat=15):
            automaton.run(0, text)


# ---------------------------------------------------------------- tokens


def test_a_special_token_is_no_text(tokenizer):
    """<|endoftext|> may end a match, but not spell one."""
    guide = guide_of((), "[<|>a-z]*", tokenizer, 300, frozenset())
    assert guide.allowed(0)[tokenizer.encode("<")[0]] and not guide.allowed(0)[tokenizer.eos_id]


def test_what_a_guide_allows_is_what_regex_allows(tokenizer):
    for pattern in ("(the|that) [a-z]+", "月|[^a-z]{2}", "床前明月光?"):
        guide, whole = guide_of((), pattern, tokenizer, 302, frozenset({299})), regex.compile(pattern)
        text, state = b"", 0
        for _ in range(4):
            allowed = guide.allowed(state)
            assert allowed.shape == (302,) and not allowed[300:].any()
            for i in range(299):
                piece = text + tokenizer.token_bytes(i)
                try:
                    expected = whole.fullmatch(piece.decode(), partial=True) is not None
                except UnicodeDecodeError:
                    continue  # half a character; what stands behind it is tested above
                assert allowed[i] == expected, (piece, pattern)
            if "\ufffd" not in text.decode(errors="replace"):
                assert allowed[299] == (whole.fullmatch(text.decode()) is not None)
            ids = np.flatnonzero(allowed[:299])
            if not ids.size:
                break
            text, state = text + tokenizer.token_bytes(int(ids[-1])), guide.after(state, int(ids[-1]))


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"seed": 3}, {"seed": 4, "top_k": 5}, {"num_beams": 3}])
@pytest.mark.parametrize("pattern", ["(the|that) [a-z]{3}", "月亮?|星星", r"\d{1,3}(,\d{3}){2}", "[^a-z ]{3}"])
def test_a_continuation_matches(make_gpt, pattern, settings):
    gpt, whole = make_gpt(), regex.compile(pattern)
    for text in gpt.generate(["the cat", "a", "moon"], 20, pattern=pattern, **settings):
        assert whole.fullmatch(text), text


def test_choices(make_gpt):
    gpt, choices = make_gpt(), ["yes", "no", "perhaps", "yes, but"]
    said = {gpt.generate("the", choices=choices, seed=seed) for seed in range(20)}
    assert said <= set(choices) and len(said) > 1
    assert gpt.generate("the", choices="only this", temperature=0) == "only this"
    found = gpt.complete(["the", "a"], choices=choices, seed=1)
    assert {one.reason for one in found} <= {"match", "eos"}


def test_a_whole_match_ends_without_an_end_of_text(make_gpt):
    gpt = make_gpt(eos_id=None)
    (found,) = gpt.complete("the", pattern="[0-9]{3}", seed=1)
    assert found.reason == "match" and len(found.text) == 3
    with pytest.raises(InputError, match="expected an id that ends a text with num_beams"):
        gpt.generate("the", pattern="[0-9]{3}", num_beams=2)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"choices": ["a"], "pattern": "a"}, "pattern: expected none with choices, got 'a'"),
        ({"choices": [""]}, "choices: expected non-empty texts, got ''"),
        ({"choices": ["\ud800"]}, "choices: expected texts that UTF-8 has"),
        ({"choices": ["a"] * 10_001}, "choices: expected at most 10,000 texts, got 10,001"),
        ({"pattern": "a", "temperature": 0, "speculate": 4}, "speculate: expected no choices or pattern with it"),
    ],
)
def test_what_cannot_be_asked(make_gpt, settings, message):
    with pytest.raises(InputError, match=message):
        make_gpt().generate("the", 3, **settings)
    with pytest.raises(InputError, match="expected a model with vocabulary files, got one without"):
        make_gpt(with_tokenizer=False).generate([1], 3, choices=["a"])
