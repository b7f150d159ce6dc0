"""generate.py against a loop that reads the whole text again for every token, and against models with a script."""

import inspect
import itertools

import numpy as np
import pytest

from nanogpt_np import GPT, InputError, Tokenizer, model
from nanogpt_np.generation.request import Request
from nanogpt_np.generation.sampling import Sampling
from nanogpt_np.generation.text import TextStream
from nanogpt_np.generation.tokens import stream_ids

PROMPTS = [[1, 2, 3], [250], [7, 7, 7, 7, 7, 7, 7, 7, 7], [40, 299, 12, 5]]


def last_logits(gpt, ids):
    return model.forward(np.array([ids]), gpt.params, gpt.config, gpt.ops)[0][0, -1]


def pick_greedy(logits, _):
    return int(np.argmax(logits))


def pick_drawn(logits, rng, t=1.0):
    """Where a dart falls on the cumulated probabilities, in plain Python."""
    weights = np.exp((logits - logits.max()).astype(float) / t)
    place, total = rng.random() * weights.sum(), 0.0
    for token, weight in enumerate(weights.tolist()):
        total += weight
        if place < total:
            return token
    raise AssertionError


def naive(gpt, prompt, n, pick=pick_greedy, seed=0, j=0, banned=()):
    """No cache, no batch: the model sees the whole window anew each time; a full window is cut to its last half."""
    window, new, rng = list(prompt), [], np.random.default_rng([seed, j])
    for _ in range(n):
        if len(window) > gpt.config.n_ctx:
            window = window[-(gpt.config.n_ctx // 2) :]
        logits = last_logits(gpt, window)
        logits[list(banned)] = -np.inf
        token = pick(logits, rng)
        if token == gpt.config.eos_id:
            break
        window.append(token)
        new.append(token)
    return new


@pytest.fixture(scope="module")
def gpt(make_gpt):
    """float64, so that a batch, a cache and the loop differ by far less than any two logits do."""
    return make_gpt(dtype=np.float64, eos_id=None, scale=0.5, tie_word_embeddings=False)


@pytest.fixture
def count_calls(monkeypatch):
    """The shapes of the ids that each forward pass reads, as they come."""
    shapes, forward = [], model.embed

    def counting(ids, *args, **kwargs):
        shapes.append(ids.shape)
        return forward(ids, *args, **kwargs)

    monkeypatch.setattr(model, "embed", counting)
    return shapes


@pytest.fixture(scope="module")
def speaker(make_parrot, tokenizer):
    """speaker(text, ids=None): a model that continues "x" with exactly this text (or these ids), then <|endoftext|>."""

    def make(text="", ids=None, **options):
        ids = tokenizer.encode(text) if ids is None else ids
        return make_parrot([*ids, tokenizer.eos_id], **options)

    return make


def one_token(tokenizer):
    (token,) = tokenizer.encode("x")
    return [token]


# ---------------------------------------------------------------- the tokens


@pytest.mark.parametrize("prompt", PROMPTS)
def test_cached_greedy_equals_the_loop(gpt, prompt):
    new = gpt.generate(prompt, 15, temperature=0)
    assert new == naive(gpt, prompt, 15)
    assert len(set(new)) > 1  # a model that says one thing only would prove little


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_sampled_equals_the_loop(make_gpt, prompt, positions):
    gpt = make_gpt(dtype=np.float64, eos_id=None, positions=positions)
    assert gpt.generate(prompt, 15, seed=3) == naive(gpt, prompt, 15, pick_drawn, seed=3)


def test_float32_greedy_equals_the_loop(make_gpt):
    gpt = make_gpt(eos_id=None)
    for prompt in PROMPTS:
        assert gpt.generate(prompt, 15, temperature=0) == naive(gpt, prompt, 15)


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"seed": 1}, {"seed": 2, "top_k": 20, "temperature": 0.7}])
def test_a_batch_equals_each_alone(gpt, settings):
    together = gpt.generate(PROMPTS, 12, **settings)
    assert together == [gpt.generate(prompt, 12, **settings) for prompt in PROMPTS]


@pytest.mark.parametrize("settings", [{"temperature": 0, "repetition_penalty": 1.5}, {"seed": 1}])
def test_a_batch_that_slides_equals_each_alone_and_the_loop(gpt, settings):
    together = gpt.generate(PROMPTS, 60, overflow="slide", **settings)
    assert together == [gpt.generate(prompt, 60, overflow="slide", **settings) for prompt in PROMPTS]
    if "seed" in settings:
        assert together == [naive(gpt, prompt, 60, pick_drawn, seed=1) for prompt in PROMPTS]


def test_sequences_stand_in_prompt_order_and_equal_singles(gpt):
    together = gpt.generate(PROMPTS, 6, seed=5, num_return_sequences=3)
    alone = [gpt.generate(prompt, 6, seed=5, num_return_sequences=3) for prompt in PROMPTS]
    assert together == [row for rows in alone for row in rows]
    assert together == [naive(gpt, prompt, 6, pick_drawn, 5, j) for prompt in PROMPTS for j in range(3)]
    assert gpt.generate(PROMPTS[0], 6, seed=5) == together[0]
    assert len({tuple(row) for row in together}) == 12


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("pick, settings", [(pick_greedy, {"temperature": 0}), (pick_drawn, {"seed": 0})])
def test_slide_equals_reading_the_last_half_again(gpt, prompt, pick, settings):
    assert gpt.config.n_ctx == 24
    assert gpt.generate(prompt, 80, overflow="slide", **settings) == naive(gpt, prompt, 80, pick)


@pytest.mark.parametrize("n_ctx", [1, 2, 3])
def test_slide_in_the_smallest_contexts(make_gpt, n_ctx):
    gpt = make_gpt(dtype=np.float64, eos_id=None, n_ctx=n_ctx)
    new = gpt.generate([5], 10, temperature=0, overflow="slide")
    window, expected = [5], []
    for _ in range(10):
        if len(window) > n_ctx:
            window = window[-max(n_ctx // 2, 1) :]
        expected.append(pick_greedy(last_logits(gpt, window), None))
        window.append(expected[-1])
    assert new == expected


def test_slide_is_the_same_as_error_while_everything_fits(gpt):
    assert gpt.generate([1], 24, seed=0, overflow="slide") == gpt.generate([1], 24, seed=0)


def test_the_same_seed_gives_the_same_and_none_gives_another(gpt):
    assert gpt.generate("the", 12, seed=4) == gpt.generate("the", 12, seed=4)
    assert gpt.generate("the", 12, seed=4) != gpt.generate("the", 12, seed=5)
    assert len({gpt.generate("the", 12) for _ in range(4)}) == 4


def test_default_length_is_what_fits(gpt):
    # the last new token is never read, so n_ctx tokens of context leave room for one more than is left over
    assert len(gpt.generate([1, 2, 3], seed=0)) == 24 - 3 + 1
    assert len(gpt.generate([1] * 24, seed=0)) == 1
    assert len(gpt.generate([1, 2, 3], seed=0, overflow="slide")) == 200


def test_the_longest_that_fits_equals_the_loop_and_one_more_is_an_error(gpt):
    assert gpt.generate([1, 2, 3], 22, temperature=0) == naive(gpt, [1, 2, 3], 22)
    with pytest.raises(InputError, match=r"fit n_ctx = 24, got 3 \+ 23; ask for at most 22 .* overflow='slide'"):
        gpt.generate([1, 2, 3], 23)


def test_no_new_tokens(gpt):
    assert gpt.generate("the cat", 0) == ""
    assert gpt.generate([1, 2], 0) == []
    assert gpt.generate(["a", [1]], 0, num_return_sequences=2) == ["", "", [], []]
    assert list(gpt.stream("the cat", 0)) == []


def test_prompts_keep_their_kind(gpt, tokenizer):
    text, ids = gpt.generate(["the cat", tokenizer.encode("the cat")], 9, seed=2)
    assert isinstance(ids, list) and all(type(i) is int for i in ids) and len(ids) == 9
    assert text == tokenizer.decode(ids)
    for same in (tuple(PROMPTS[0]), np.array(PROMPTS[0]), np.array(PROMPTS[0], np.uint16), range(1, 4)):
        assert gpt.generate(same, 5, seed=0) == gpt.generate(PROMPTS[0], 5, seed=0)
    assert gpt.generate(np.array([[1, 2], [3, 4]]), 5, seed=0) == gpt.generate([[1, 2], [3, 4]], 5, seed=0)
    assert gpt.generate(["the"], 5, seed=0) == [gpt.generate("the", 5, seed=0)]


def test_prompts_are_not_modified(gpt):
    prompts = [list(prompt) for prompt in PROMPTS]
    gpt.generate(prompts, 3, seed=0)
    assert prompts == PROMPTS


def test_an_empty_text_begins_at_the_very_beginning(make_gpt):
    gpt = make_gpt()
    assert gpt.generate("", 8, seed=1, ignore_eos=True) == gpt.tokenizer.decode(
        gpt.generate([gpt.config.eos_id], 8, seed=1, ignore_eos=True)
    )
    with pytest.raises(InputError, match="at least one token, got none"):
        make_gpt(eos_id=None).generate("", 8)


def test_bans_hold_in_generation(gpt):
    banned = gpt.generate([1, 2, 3], 10, temperature=0)[:4]
    new = gpt.generate([1, 2, 3], 10, temperature=0, banned_ids=banned)
    assert new == naive(gpt, [1, 2, 3], 10, banned=banned) and not set(new) & set(banned)


def test_repetition_penalty_counts_prompt_and_answer(gpt):
    prompt, text = [1, 2, 3], [1, 2, 3]
    new = gpt.generate(prompt, 12, temperature=0, repetition_penalty=3.0)
    for token in new:
        logits = last_logits(gpt, text)
        for i in set(text):
            logits[i] = logits[i] / 3.0 if logits[i] > 0 else logits[i] * 3.0
        assert token == np.argmax(logits)
        text.append(token)


def test_rows_of_padding_in_the_embedding_are_never_chosen(make_gpt, tokenizer):
    gpt = make_gpt(n_vocab=tokenizer.n_vocab + 700, eos_id=None)
    assert max(gpt.generate([1], 24, seed=0)) < tokenizer.n_vocab
    assert isinstance(gpt.generate("the", 20, seed=0), str)
    with pytest.raises(InputError, match="ban fewer ids"):
        gpt.generate([1], 2, banned_ids=range(tokenizer.n_vocab))
    assert gpt.generate([1], 2, banned_ids=range(tokenizer.n_vocab), stop=range(tokenizer.n_vocab, 1000)) == []
    without = GPT(gpt.config, gpt.params)
    assert max(without.generate([1], 24, seed=0)) >= tokenizer.n_vocab  # who has no vocabulary gets every id


# ---------------------------------------------------------------- the end of a text


def test_a_model_with_a_script_says_it_and_stops_at_eos(speaker):
    text = "the 🌕 cat 床前明 sat\n\non"
    assert speaker(text).generate("x", seed=0) == text


def test_eos_and_stop_ids(speaker, tokenizer):
    ids = tokenizer.encode("the cat sat")
    gpt, x = speaker(ids=ids), one_token(tokenizer)
    room = gpt.config.n_ctx
    assert gpt.generate(x, seed=0) == ids
    assert gpt.generate(x, room, seed=0, ignore_eos=True)[: len(ids) + 1] == [*ids, tokenizer.eos_id]
    assert "<|endoftext|>" in gpt.generate("x", room, seed=0, ignore_eos=True)
    assert gpt.generate(x, seed=0, stop=ids[1]) == gpt.generate(x, seed=0, stop=[ids[2], np.int64(ids[1])]) == ids[:1]
    assert gpt.generate("x", seed=0, stop=[ids[1]]) == tokenizer.decode(ids[:1])
    assert gpt.generate(x, seed=0, stop=ids[0]) == []
    assert gpt.generate(x, room, seed=0, stop=tokenizer.eos_id, ignore_eos=True) == ids
    assert gpt.generate(x, seed=0, stop=None) == ids


def test_any_of_several_end_tokens_ends_a_text(make_parrot, tokenizer):
    gpt = make_parrot([5, 6, 7, 9, tokenizer.eos_id])
    gpt.config = gpt.config.replace(more_eos_ids=(9, 7))
    assert gpt.generate([3], 6, temperature=0) == gpt.generate([3], 6, num_beams=2) == [5, 6]
    assert list(gpt.stream([3], 6, temperature=0)) == [5, 6]
    assert gpt.generate([3], 5, temperature=0, ignore_eos=True) == [5, 6, 7, 9, tokenizer.eos_id]


def test_id_0_can_stop(speaker, tokenizer):
    ids = [5, 0, 6]
    assert speaker(ids=ids).generate(one_token(tokenizer), seed=0, stop=0) == [5]


def test_a_row_that_has_ended_leaves_the_others_alone(gpt):
    free = gpt.generate(PROMPTS, 15, seed=8)
    stop = next(token for token in free[1] if token not in free[0])
    stopped = gpt.generate(PROMPTS, 15, seed=8, stop=stop)
    assert stopped == [row[: row.index(stop)] if stop in row else row for row in free]
    assert len(stopped[0]) == 15 > len(stopped[1])


def test_stream_ids_gives_none_for_what_has_ended_and_then_ends(gpt):
    free = gpt.generate(PROMPTS, 15, seed=8)
    stops = tuple({row[4 + i] for i, row in enumerate(free)})
    request = Request(max_new_tokens=15, seed=8, stop=stops)
    steps = list(stream_ids(PROMPTS, gpt.params, gpt.config, gpt.ops, request))
    ends = [next(i for i, token in enumerate(row) if token in stops) for row in free]
    assert len(steps) == max(ends) > min(ends)
    for row, end, column in zip(free, ends, zip(*steps, strict=True), strict=True):
        assert list(column) == row[:end] + [None] * (len(steps) - end)


def byte_ids(text, tokenizer):
    """Every byte its own token: stop strings and characters are split as often as they can be."""
    single = {tokenizer.token_bytes(i): i for i in range(256)}
    return [single[bytes([byte])] for byte in text.encode()]


def cut_at_first_complete(text, stops):
    """Character by character: the text before the stop string that is complete first (of two, the longer)."""
    for n in range(len(text) + 1):
        found = [stop for stop in stops if text[:n].endswith(stop)]
        if found:
            return text[: n - max(map(len, found))]
    return text


STOPS = [
    ("the cat sat", ["cat"]),
    ("the cat sat", ["the"]),
    ("the cat sat", ["t"]),
    ("the cat sat", ["dog"]),
    ("the cat sat", ["sat on"]),  # its beginning is held back and must come at the end
    ("aaab", ["aab"]),  # a false start inside the match
    ("abababac", ["ababac"]),
    ("one\n\ntwo\n\n", ["\n\n"]),
    ("one\ntwo\n", ["\n\n"]),
    ("one two three", ["three", "two"]),
    ("one two three", ["two", "one two t"]),  # the shorter one is complete first
    ("abcd", ["abcd", "bc"]),
    ("abcd", ["cd", "bcd", "abcd"]),
    ("床前明月光，疑是地上霜。", ["月光"]),
    ("床前明月光", ["明月色"]),
    ("moon 🌕 and ⭐", ["⭐"]),
    ("moon 🌕 and ⭐", ["🌖"]),  # shares three of its four bytes with what is said
    ("x", ["x"]),
]


@pytest.mark.parametrize("text, stops", STOPS)
@pytest.mark.parametrize("split", ["tokens", "bytes"])
def test_stop_strings(speaker, tokenizer, text, stops, split):
    gpt = speaker(ids=byte_ids(text, tokenizer) if split == "bytes" else tokenizer.encode(text))
    expected = cut_at_first_complete(text, stops)
    for order in itertools.permutations(stops):
        assert gpt.generate("x", seed=0, stop=order) == expected
        pieces = list(gpt.stream("x", seed=0, stop=order))
        assert "".join(pieces) == expected
        assert all(pieces) and "\ufffd" not in "".join(pieces)
    assert gpt.generate("x", seed=0, stop=stops[0]) == cut_at_first_complete(text, stops[:1])


def test_a_stop_string_does_not_depend_on_how_the_text_is_cut():
    stops = ["aba", "bb", "abbb", "bab"]

    class Pieces:
        """A tokenizer whose ids are whole pieces of text."""

        def __init__(self, pieces):
            self.pieces = pieces

        def token_bytes(self, i):
            return self.pieces[i].encode()

    rng = np.random.default_rng(0)
    for text in map("".join, itertools.product("ab", repeat=7)):
        cuts = sorted(rng.choice(np.arange(1, 7), size=3, replace=False).tolist())
        pieces = [text[a:b] for a, b in itertools.pairwise([0, *cuts, 7])]
        stream = TextStream(Pieces(pieces), stops)
        said = "".join([stream.push(i) for i in range(len(pieces))]) + stream.flush()
        assert said == cut_at_first_complete(text, stops), (text, pieces)


def test_nothing_that_may_become_a_stop_string_is_streamed(speaker, tokenizer):
    gpt = speaker(ids=byte_ids("ab12 cd123", tokenizer))
    pieces = list(gpt.stream("x", seed=0, stop="123"))
    assert pieces == ["a", "b", "12 ", "c", "d"]
    assert list(gpt.stream("x", seed=0, stop="124")) == ["a", "b", "12 ", "c", "d", "123"]


def test_text_held_back_is_set_free_where_tokens_end_early(speaker, tokenizer):
    gpt = speaker(ids=byte_ids("ab12345", tokenizer))
    assert gpt.generate("x", 4, seed=0, stop="123") == "ab12"
    assert list(gpt.stream("x", 4, seed=0, stop="123")) == ["a", "b", "12"]


def test_stop_strings_with_ids_asked_for(speaker, tokenizer):
    ids = byte_ids("one. two", tokenizer)
    assert speaker(ids=ids).generate(one_token(tokenizer), seed=0, stop=".") == ids[:3]
    assert list(speaker(ids=ids).stream(one_token(tokenizer), seed=0, stop=".")) == ids[:3]


def test_each_row_has_its_own_stop(gpt, tokenizer):
    prompts = ["the", "cat sat on", "月"]
    texts = gpt.generate(prompts, 12, seed=3)
    stop = next(char for char in texts[0] if any(char not in text for text in texts))
    stopped = gpt.generate(prompts, 12, seed=3, stop=stop)
    assert stopped == [text.split(stop)[0] for text in texts] and stopped != texts


def test_generation_ends_as_soon_as_every_row_has(speaker, tokenizer, count_calls):
    """One row ends by an id, the other by a string one step later: no further step may be spent on them."""
    gpt = speaker(ids=byte_ids("ab.cdefgh", tokenizer))
    (a,) = byte_ids("a", tokenizer)
    assert gpt.generate(["x", "xx"], seed=0, stop=[a, "."]) == ["", "b"]  # the second row is one position further on
    assert len(count_calls) == 2


# ---------------------------------------------------------------- a prompt longer than the context

LONG = [(7 * i) % 300 for i in range(60)]


@pytest.mark.parametrize("n_prompt", [24, 25, 40, 60])
@pytest.mark.parametrize("settings", [{"temperature": 0}, {"seed": 1}, {"temperature": 0, "speculate": 4}])
def test_of_a_long_prompt_the_last_part_is_read(gpt, n_prompt, settings):
    """As much of it as sliding would leave in view: the loop's window does the same before its first token."""
    prompt = LONG[:n_prompt]
    new = gpt.generate(prompt, 30, overflow="slide", **settings)
    pick = pick_drawn if "seed" in settings else pick_greedy
    assert new == naive(gpt, prompt, 30, pick, seed=1) and len(new) == 30
    assert list(gpt.stream(prompt, 30, overflow="slide", **settings)) == new


def test_a_long_prompt_in_a_batch_is_as_alone(gpt):
    prompts = [LONG, PROMPTS[0], LONG[:30]]
    settings = {"overflow": "slide", "temperature": 0, "repetition_penalty": 1.5}  # which counts all of it
    assert gpt.generate(prompts, 30, **settings) == [gpt.generate(prompt, 30, **settings) for prompt in prompts]


# ---------------------------------------------------------------- the stream


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"seed": 1}, {"seed": 2, "top_p": 0.9, "stop": ["e", "\n"]}])
def test_stream_equals_generate(gpt, settings):
    assert "".join(gpt.stream("the cat", 15, **settings)) == gpt.generate("the cat", 15, **settings)
    assert list(gpt.stream([1, 2, 3], 15, **settings)) == gpt.generate([1, 2, 3], 15, **settings)


def test_a_stream_gives_whole_characters_only(speaker, tokenizer):
    text = "床前明月光 🌕⭐ é 疑是"
    ids = byte_ids(text, tokenizer)
    assert len(ids) > 2 * len(text)
    assert list(speaker(ids=ids).stream("x", seed=0)) == list(text)


def test_half_a_character_at_the_end_is_marked(speaker, tokenizer):
    ids = byte_ids("a月", tokenizer)
    assert list(speaker(ids=ids[:-1]).stream("x", seed=0)) == ["a", "\ufffd"]
    assert speaker(ids=ids).generate("x", 3, seed=0) == "a\ufffd"
    # the broken character stands before the next one, where `errors="replace"` puts it
    assert speaker(ids=[*ids[:-1], *byte_ids("b", tokenizer)]).generate("x", seed=0) == "a\ufffdb"


def test_the_first_piece_comes_before_the_last_is_made(gpt, count_calls):
    stream = gpt.stream([1, 2, 3], 10, seed=0)
    for n in range(10):
        assert len(count_calls) == n
        next(stream)


def test_a_cached_step_reads_one_token(gpt, count_calls):
    gpt.generate(PROMPTS[:2], 4, seed=0, num_return_sequences=3)
    assert count_calls == [(2, 3), (6, 1), (6, 1), (6, 1)]  # the prompts are read once, not once per sequence


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "prompt, message",
    [
        ([1] * 25, "at most n_ctx = 24 tokens, got 25; shorten it, or use overflow='slide'"),
        ([True, 1], r"expected text or a list of ids, got \[True, 1\]"),
        ([10**5000], "ids from 0 to 299, got int without a text"),
        ([], "at least one token, got none"),
        ([[]], "at least one token, got none"),
        ([[1], []], "at least one token, got none"),
        ([300], "ids from 0 to 299, got 300 to 300"),
        ([-1, 5], "ids from 0 to 299, got -1 to 5"),
        ([[1], [5, 999]], "ids from 0 to 299, got 5 to 999"),
        ([1.5], r"expected text or a list of ids, got \[1.5\]"),
        ([[1], [1.5]], r"expected text or a list of ids, got \[1.5\]"),
        (b"the", "expected text or a list of ids, got b'the'"),
        (None, "expected text or a list of ids, got None"),
        (7, "expected text or a list of ids, got 7"),
        (["the", None], "expected text or a list of ids, got None"),
        (np.zeros(2), "expected text or a list of ids, got array"),
    ],
)
def test_prompts_that_cannot_be_used(gpt, prompt, message):
    with pytest.raises(InputError, match=message):
        gpt.generate(prompt, 3)
    if not (isinstance(prompt, list) and prompt and isinstance(prompt[0], (list, str))):
        with pytest.raises(InputError, match=message):
            gpt.stream(prompt, 3)  # at once, not when the first piece is asked for


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"max_new_tokens": -1}, "max_new_tokens: expected a whole number of at least 0, got -1"),
        ({"max_new_tokens": 2.5}, "max_new_tokens: expected a whole number of at least 0, got 2.5"),
        ({"max_new_tokens": "9"}, "max_new_tokens: expected a whole number of at least 0, got '9'"),
        ({"seed": -1}, "seed: expected a whole number of at least 0, got -1"),
        ({"seed": 0.5}, "seed: expected a whole number of at least 0, got 0.5"),
        ({"num_return_sequences": 0}, "num_return_sequences: expected a whole number of at least 1, got 0"),
        ({"num_return_sequences": None}, "num_return_sequences: expected a whole number of at least 1, got None"),
        ({"overflow": "wrap"}, "overflow: expected 'error' or 'slide', got 'wrap'"),
        ({"stop": ""}, "stop: expected non-empty strings and ids, got ''"),
        ({"stop": ["a", None]}, "stop: expected non-empty strings and ids, got None"),
        ({"stop": [1.5]}, "stop: expected non-empty strings and ids, got 1.5"),
        ({"stop": -1}, "stop: expected ids from 0 to 299, got -1"),
        ({"stop": ["a", 10**9]}, "stop: expected ids from 0 to 299, got 1000000000"),
        ({"stop": b"\n"}, "stop: expected one, a list of several, or none, got b"),
        ({"stop": 3.5}, "stop: expected one, a list of several, or none, got 3.5"),
        ({"banned_ids": b"ab"}, "banned_ids: expected one, a list of several, or none, got b'ab'"),
        ({"overflow": np.array([1, 2])}, r"overflow: expected 'error' or 'slide', got array\(\[1, 2\]\)"),
        ({"ignore_eos": np.array([1, 2])}, r"ignore_eos: expected True or False, got array\(\[1, 2\]\)"),
        ({"banned_ids": [300]}, "banned_ids: expected ids from 0 to 299, got 300"),
        ({"banned_ids": [-1]}, "banned_ids: expected ids from 0 to 299, got -1"),
        ({"banned_ids": ["the"]}, "banned_ids: expected ids from 0 to 299, got 'the'"),
        ({"temperature": -1}, "temperature: expected"),
        ({"top_k": -1}, "top_k: expected"),
    ],
)
def test_settings_that_cannot_be_used(gpt, settings, message):
    with pytest.raises(InputError, match=message):
        gpt.generate("the", **settings)
    if "num_return_sequences" not in settings:
        with pytest.raises(InputError, match=message):
            gpt.stream("the", **settings)


def test_without_vocabulary_files_only_ids_work(make_gpt):
    gpt = make_gpt(with_tokenizer=False, eos_id=None)
    assert len(gpt.generate([1], 5, seed=0, stop=[])) == 5
    with pytest.raises(InputError, match="a list of ids, got text; this model has no vocabulary files"):
        gpt.generate("the", 5)
    with pytest.raises(InputError, match="expected ids, got strings; this model has no vocabulary files"):
        gpt.generate([1], 5, stop="the")


def test_no_prompts_at_all(gpt):
    request = Request(max_new_tokens=1, sampling=Sampling(temperature=0))
    with pytest.raises(InputError, match="prompts: expected at least one"):
        stream_ids([], gpt.params, gpt.config, gpt.ops, request)


def test_broken_weights_are_an_error_not_a_text(make_gpt):
    gpt = make_gpt()
    gpt.params["ln_f"]["bias"][3] = np.nan
    for settings in ({"temperature": 0}, {"seed": 0}):
        with pytest.raises(InputError, match="got NaN; the weights or the input are broken"):
            gpt.generate("the", 5, **settings)


def test_the_tokenizer_of_these_tests_splits_characters(tokenizer):
    """Else the tests above would show little."""
    assert isinstance(tokenizer, Tokenizer)
    assert len(tokenizer.encode("月")) > 1 and len(tokenizer.encode("🌖")) > 1 and len(tokenizer.encode("the")) == 1


@pytest.mark.parametrize("method", ["generate", "stream", "complete"])
def test_no_argument_is_lost_on_the_way(make_gpt, monkeypatch, method):
    """The methods list their arguments by hand; each must arrive, and under its own name."""
    seen, gpt = {}, make_gpt()

    class Reached(Exception):
        pass

    def ask(self, said):
        seen.update(said)
        raise Reached

    monkeypatch.setattr(GPT, "_ask", ask)
    names = list(inspect.signature(getattr(GPT, method)).parameters)[2:]  # without self and prompt
    sent = {name: object() for name in names}
    with pytest.raises(Reached):
        getattr(gpt, method)("the cat", **sent)
    own = {"stream": {"num_beams": 1}}.get(method, {})
    here = {"top_logprobs"}  # asked of the model's answer, not of the generation
    assert len(names) >= 20 and seen == {name: sent[name] for name in names if name not in here} | own
