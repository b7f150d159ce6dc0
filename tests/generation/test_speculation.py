"""speculation.py: guesses against a plain definition, and the same ids as without them, wherever a text may end."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanogpt_np import GPT, InputError, KVCache, model
from nanogpt_np import params as P
from nanogpt_np.bench.ours import SIZES, enliven
from nanogpt_np.generation import speculation
from nanogpt_np.generation.request import Request
from nanogpt_np.generation.sampling import Sampling
from nanogpt_np.generation.speculation import draft, renewed
from nanogpt_np.generation.tokens import stream_ids

EOS = 299
GREEDY = {"temperature": 0}
PROMPTS = [[1, 2, 3] * 4, [250], [7, 7, 7, 7], [40, 299, 12, 5, 40, 299]]


@pytest.fixture
def passes(monkeypatch):
    """(positions in the cache, ids read) of every forward pass, as they come."""
    seen, embed = [], model.embed

    def recording(ids, positions, *args):
        seen.append((int(positions[0, 0]), ids[0].tolist()))
        return embed(ids, positions, *args)

    monkeypatch.setattr(model, "embed", recording)
    return seen


@pytest.fixture
def choices(monkeypatch):
    """(the text so far, the logits) of every choice, as they come."""
    seen, choose = [], Sampling.choose

    def recording(self, logits, previous_ids, rngs, *rest):
        seen.append((list(previous_ids[0]), logits[0].copy()))
        return choose(self, logits, previous_ids, rngs, *rest)

    monkeypatch.setattr(Sampling, "choose", recording)
    return seen


@pytest.fixture
def same(choices, passes):
    """same(gpt, prompt, …): generate without and with guesses; every choice must be made on the same text and logits.

    -> the ids, and how many passes each took. The logits are float64, so that rounding stays far below the tolerance.
    """

    def compare(gpt, prompt, *args, speculate=4, **options):
        choices.clear(), passes.clear()
        expected = gpt.generate(prompt, *args, **GREEDY, **options)
        plain, n_plain = list(choices), len(passes)
        choices.clear(), passes.clear()
        ids = gpt.generate(prompt, *args, **GREEDY, speculate=speculate, **options)
        assert ids == expected
        for (text, logits), (plain_text, plain_logits) in zip(choices, plain, strict=True):
            assert text == plain_text
            np.testing.assert_allclose(logits, plain_logits, rtol=1e-9, atol=1e-9)
        return ids, n_plain, len(passes)

    return compare


def lively(make_gpt, seed=0, **changes):
    """float64, and what it says depends little on the position: so it goes in circles, but not at once."""
    gpt = make_gpt(seed, dtype=np.float64, **{"scale": 0.5, "eos_id": None, "n_ctx": 64, **changes})
    gpt.params["wpe"]["weight"] *= 0.5
    return gpt


def reciter(make_parrot, prompt, answer):
    """float64, answers this prompt with exactly these ids, then <|endoftext|> up to the end of its context."""
    gpt = make_parrot([EOS] * (len(prompt) - 1) + answer + [EOS] * 8)
    params = P.nest({name: array.astype(np.float64) for name, array in P.walk(gpt.params)})
    return GPT(gpt.config, params, gpt.tokenizer)


# ---------------------------------------------------------------- the guesses


def slow_draft(ids, n_draft, longest):
    """Try each place for the longest run of ids, from the last place to the first; then for a shorter one."""
    ids = list(ids)
    for n in range(min(longest, len(ids) - 1), 0, -1):
        for start in range(len(ids) - n - 1, -1, -1):
            if ids[start : start + n] == ids[-n:]:
                text, at = list(ids), start + n
                for i in range(n_draft):
                    text.append(text[at + i])
                return text[len(ids) :]
    return []


@settings(max_examples=400, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=30), st.integers(0, 9), st.integers(1, 6))
def test_draft_equals_the_plain_definition(ids, n_draft, longest):
    assert draft(ids, n_draft, longest) == slow_draft(ids, n_draft, longest)
    if longest == 3:
        assert draft(np.array(ids), n_draft) == slow_draft(ids, n_draft, 3)


@pytest.mark.parametrize(
    "ids, n_draft, expected",
    [
        ([1, 2, 9, 3, 1, 2], 2, [9, 3]),
        ([7, 8, 7], 5, [8, 7, 8, 7, 8]),
        ([4, 4], 3, [4, 4, 4]),
        ([1, 5, 1, 6, 1], 1, [6]),  # the latest
        ([0, 1, 5, 3, 1, 6, 0, 1], 1, [5]),  # two ids in a row say more than the latest one
        ([0, 1, 2, 5, 9, 1, 2, 6, 0, 1, 2], 1, [5]),
        ([9, 0, 1, 2, 5, 0, 1, 2, 6, 9, 0, 1, 2], 1, [6]),  # three in a row are enough: four do not count
        ([1, 2, 3], 4, []),
        ([1], 4, []),
        ([], 4, []),
        ([1, 1], 0, []),
    ],
)
def test_draft_by_example(ids, n_draft, expected):
    found = draft(ids, n_draft)
    assert found == expected == slow_draft(ids, n_draft, 3) and all(type(i) is int for i in found)


def test_draft_leaves_the_text_as_it_is():
    ids = [1, 2, 1]
    assert draft(ids, 3) == [2, 1, 2] and ids == [1, 2, 1]


def test_trust_grows_while_guesses_are_right():
    assert renewed(4, [1, 2], [1, 2, 3]) == 6  # all right, and a token more
    assert renewed(0, [1], [1]) == 1  # not checked, and still right
    assert renewed(4, [1, 2], [1, 5]) == 1
    assert renewed(4, [1, 2], [5]) == 0
    assert renewed(4, [], [5]) == 0  # a text that was never there has nothing to repeat


# ---------------------------------------------------------------- the cache


def test_what_was_rewound_was_never_read(make_gpt):
    gpt, cache = lively(make_gpt), KVCache(lively(make_gpt).config, dtype=np.float64)
    gpt([1, 2, 3], cache=cache)
    gpt([9, 9, 9, 9], cache=cache)
    cache.rewind(3)
    assert cache.length == 3
    np.testing.assert_allclose(gpt([4, 5], cache=cache), gpt([1, 2, 3, 4, 5])[:, 3:], atol=1e-12)
    cache.rewind(5)  # nothing to forget
    assert cache.length == 5
    cache.rewind(0)
    np.testing.assert_allclose(gpt([6, 7], cache=cache), gpt([6, 7]), atol=1e-12)


def test_rewinding_forgets_padding_too(make_gpt):
    gpt, cache = lively(make_gpt), KVCache(lively(make_gpt).config, 2, dtype=np.float64)
    ids, mask = np.array([[0, 0, 5, 6], [1, 2, 3, 4]]), np.array([[0, 0, 1, 1], [1, 1, 1, 1]])
    gpt(ids, mask=mask, cache=cache)
    cache.rewind(3)
    assert cache.mask[:, :3].tolist() == mask[:, :3].astype(bool).tolist()
    more = gpt([[7], [8]], cache=cache)
    np.testing.assert_allclose(more[0, 0], gpt([5, 7])[0, -1], atol=1e-12)
    np.testing.assert_allclose(more[1, 0], gpt([1, 2, 3, 8])[0, -1], atol=1e-12)
    cache.rewind(0)
    assert cache.mask.all()  # as in a new cache


@pytest.mark.parametrize("length", [-1, 4])
def test_rewinding_to_where_nothing_was(make_gpt, length):
    gpt = lively(make_gpt)
    cache = KVCache(gpt.config, dtype=np.float64)
    gpt([1, 2, 3], cache=cache)
    with pytest.raises(InputError, match=f"length: expected 0 to 3, as many positions as .*, got {length}"):
        cache.rewind(length)
    assert cache.length == 3


# ---------------------------------------------------------------- the same ids


@pytest.mark.parametrize("speculate", [1, 3, 10])
def test_the_same_ids_in_fewer_passes(make_gpt, same, speculate):
    n_plain = n_passes = 0
    for seed in range(3):
        gpt = lively(make_gpt, seed)
        for prompt in PROMPTS:
            ids, plain, made = same(gpt, prompt, 45, speculate=speculate)
            assert len(ids) == plain == 45 and made <= plain and all(type(i) is int for i in ids)
            n_plain, n_passes = n_plain + plain, n_passes + made
    # random models end in circles, but not at once: guesses are taken, and refused
    assert n_plain * 0.4 < n_passes < n_plain * 0.85


def test_float32_models_of_the_benchmark():
    """In float32 rounding may part two logits that tie; none of these do."""
    for seed in range(4):
        gpt = GPT.from_config(SIZES["tiny"], seed)
        enliven(gpt.params)
        for prompt in ([5, 6, 7, 8] * 4, list(range(20, 40)) * 2):
            plain = gpt.generate(prompt, 24, ignore_eos=True, **GREEDY)
            assert len(set(plain)) > 3
            assert gpt.generate(prompt, 24, ignore_eos=True, speculate=6, **GREEDY) == plain


@pytest.mark.parametrize("penalty", [0.8, 0.9, 1.3])
def test_a_penalty_counts_what_has_been_said_in_the_same_pass(make_gpt, same, penalty):
    said, n_plain, n_passes = set(), 0, 0
    for seed in range(3):
        ids, plain, made = same(lively(make_gpt, seed), PROMPTS[0], 45, repetition_penalty=penalty)
        said, n_plain, n_passes = said | set(ids), n_plain + plain, n_passes + made
    assert n_passes < n_plain and len(said) > 10


def test_other_settings_of_sampling_change_nothing(make_gpt, same):
    for seed in range(3):
        gpt = lively(make_gpt, seed)
        banned = gpt.generate(PROMPTS[0], 45, **GREEDY)[::9]
        ids, *_ = same(gpt, PROMPTS[0], 45, banned_ids=banned)
        assert not set(ids) & set(banned)
        plain = gpt.generate(PROMPTS[0], 45, **GREEDY)
        options = {"top_k": 3, "top_p": 0.5, "min_p": 0.2, "seed": 4}
        assert gpt.generate(PROMPTS[0], 45, **GREEDY, speculate=5, **options) == plain


def test_ids_that_cannot_be_spelled_are_never_chosen(make_gpt, tokenizer, same):
    gpt = lively(make_gpt, n_vocab=tokenizer.n_vocab + 700)
    ids, *_ = same(gpt, [tokenizer.n_vocab + 5, 1] * 4, 40)
    assert max(ids) < tokenizer.n_vocab


@pytest.mark.parametrize("max_new_tokens", [0, 1, 2, 3, 7, 24 + 1])
def test_as_many_as_were_asked_for(make_parrot, same, passes, max_new_tokens):
    prompt = list(range(20)) * 2
    gpt = reciter(make_parrot, prompt, prompt[:24])
    ids, n_plain, n_passes = same(gpt, prompt, max_new_tokens, speculate=10, ignore_eos=True)
    assert ids == (prompt[:24] + [EOS])[:max_new_tokens] and n_plain == max_new_tokens
    assert n_passes == sum(max_new_tokens > known for known in (0, 1, 10, 21))  # 1 + 9 + 11 + …


def test_up_to_the_end_of_the_context(make_gpt, same, passes):
    for n_ctx in (13, 16, 24):
        gpt = lively(make_gpt, 1, n_ctx=n_ctx)
        ids, *_ = same(gpt, PROMPTS[0], speculate=20)
        assert len(ids) == n_ctx - 12 + 1
        with pytest.raises(InputError, match="to fit n_ctx"):
            gpt.generate(PROMPTS[0], n_ctx - 12 + 2, speculate=4, **GREEDY)
    assert len(gpt.generate([1] * n_ctx, speculate=4, **GREEDY)) == 1
    with pytest.raises(InputError, match="at most n_ctx = 24 tokens, got 25"):
        gpt.generate([1] * 25, speculate=4, **GREEDY)


@pytest.mark.parametrize("n_ctx", [1, 2, 3, 7, 24])
def test_a_context_that_slides(make_gpt, same, n_ctx):
    n_plain = n_passes = 0
    for seed in range(2):
        gpt = lively(make_gpt, seed, n_ctx=n_ctx)
        for prompt in ([1, 2] * 20, [3]):
            ids, plain, made = same(gpt, prompt[:n_ctx], 70, overflow="slide")
            assert len(ids) == 70
            n_plain, n_passes = n_plain + plain, n_passes + made
    assert n_passes < n_plain * 0.9 or n_ctx < 4


def test_looking_for_guesses_does_not_take_longer_and_longer(make_gpt, monkeypatch):
    """A text may slide on for ever; as much of it is searched as the context holds."""
    lengths = []
    monkeypatch.setattr(speculation, "draft", lambda ids, n_draft: lengths.append(len(ids)) or draft(ids, n_draft))
    lively(make_gpt, n_ctx=8).generate([1, 2], 40, overflow="slide", speculate=2, **GREEDY)
    assert lengths[:2] == [2, 3] and max(lengths) == lengths[-1] == 8


# ---------------------------------------------------------------- the end of a text


@pytest.mark.parametrize("ignore_eos", [False, True])
def test_the_end_of_a_text_that_was_guessed(make_parrot, same, ignore_eos):
    """The guesses hold <|endoftext|> and what followed it; the model agrees with all of them."""
    prompt = [1, 2, 3, 4, 5, EOS, 6, 7, 1, 2]
    gpt = reciter(make_parrot, prompt, [3, 4, 5, EOS, 6, 7, 1])
    ids, _, n_passes = same(gpt, prompt, 7, speculate=10, ignore_eos=ignore_eos)
    assert ids == ([3, 4, 5, EOS, 6, 7, 1] if ignore_eos else [3, 4, 5]) and n_passes == 2


@pytest.mark.parametrize("stop, n", [([4], 0), ([5], 1), ([30], 3), ([9, 2], 5), ([8, 7], 8), ([200], 10)])
def test_ids_that_stop(make_parrot, same, stop, n):
    prompt = [1, 2, 3, 4, 5, 6, 1, 2, 3]
    answer = [4, 5, 6, 30, 1, 2, 3, 4, 7, 8]  # guessed, then not, then guessed again
    assert same(reciter(make_parrot, prompt, answer), prompt, stop=stop)[0] == answer[:n]


def test_strings_that_stop(make_gpt, tokenizer, passes):
    text = "the cat sat on the mat, and the hat sat on the cat. "
    for seed in range(2):
        gpt = lively(make_gpt, seed)
        free = gpt.generate(text, 40, **GREEDY)
        for stop in {free[20:22], free[7], "the"} - {""}:
            plain = gpt.generate(text, 40, stop=stop, **GREEDY)
            assert gpt.generate(text, 40, stop=stop, speculate=6, **GREEDY) == plain
            assert "".join(gpt.stream(text, 40, stop=stop, speculate=6, **GREEDY)) == plain
            ids = tokenizer.encode(text)
            plain = gpt.generate(ids, 40, stop=stop, **GREEDY)
            assert list(gpt.stream(ids, 40, stop=stop, speculate=6, **GREEDY)) == plain


# ---------------------------------------------------------------- the passes


def test_every_pass_goes_on_where_the_text_ends(make_gpt, passes):
    """The cache holds all of the text but its last token, whatever was guessed behind it."""
    gpt, prompt = lively(make_gpt, 3), PROMPTS[3]
    text, known = list(prompt), 0
    for token in gpt.stream(prompt, 50, speculate=6, **GREEDY):
        if len(passes) > known:
            (start, ids), known = passes[-1], len(passes)
            unread = text[start:]
            assert start == (len(text) - 1 if known > 1 else 0) and ids[: len(unread)] == unread
            assert ids[len(unread) :] == slow_draft(text, 6, 3)[: len(ids) - len(unread)]
            assert len(ids) - len(unread) <= 6 and start + len(ids) <= min(64, len(prompt) + 50 - 1)
        text.append(token)
    assert 10 < known < 50


def test_a_text_said_again_takes_few_passes(make_parrot, passes):
    prompt = list(range(40)) + [0, 1, 2]
    gpt = reciter(make_parrot, prompt, list(range(3, 40)))
    assert gpt.generate(prompt, speculate=8, **GREEDY) == list(range(3, 40))
    # the prompt alone, as without guesses, then 8 at a time, each with one token more
    assert [len(ids) for _, ids in passes] == [43, 9, 9, 9, 9, 8]


def test_a_text_that_is_never_said_again_costs_one_guess(make_parrot, passes):
    """Every guess would be wrong: after the first nothing is checked, and the text is read once more."""
    rng = np.random.default_rng(0)
    answer = rng.integers(0, 8, 80).tolist()
    right = [slow_draft([1, 2, *answer[:i]], 1, 3) == answer[i : i + 1] for i in range(80)]
    answer = [token if not hit else token + 8 for token, hit in zip(answer, right, strict=True)]
    gpt = reciter(make_parrot, [1, 2], answer)
    assert gpt.generate([1, 2], speculate=8, **GREEDY) == answer
    wide = [ids for start, ids in passes if start and len(ids) > 1]
    assert len(wide) <= 3


def test_trust_comes_back_where_a_text_begins_to_repeat_itself(make_parrot, passes):
    rng = np.random.default_rng(1)
    novel = rng.permutation(120).tolist()  # nothing to guess from: no trust at its end
    answer = novel + novel[:60]
    gpt = reciter(make_parrot, [200, 201], answer)
    assert gpt.generate([200, 201], 200 - 20, speculate=10, **GREEDY) == answer
    assert all(len(ids) == 1 for start, ids in passes if 0 < start < 122)
    assert [len(ids) for start, ids in passes if start >= 122][:6] == [1, 1, 1, 1 + 6, 1 + 10, 1 + 10]


def test_the_first_token_comes_before_a_second_pass(make_parrot, passes):
    prompt = list(range(20)) * 2
    gpt = reciter(make_parrot, prompt, prompt[:20])
    assert next(iter(gpt.stream(prompt, speculate=4, **GREEDY))) == 0 and len(passes) == 1


def test_without_speculation_nothing_is_guessed(make_gpt, passes):
    gpt = lively(make_gpt)
    gpt.generate([1, 2] * 5, 6, **GREEDY)
    plain = list(passes)
    passes.clear()
    gpt.generate([1, 2] * 5, 6, speculate=0, **GREEDY)
    assert passes == plain and [len(ids) for _, ids in passes] == [10, 1, 1, 1, 1, 1]


# ---------------------------------------------------------------- several texts


def test_several_prompts_take_turns(make_gpt):
    gpt = lively(make_gpt, 2)
    plain = gpt.generate(PROMPTS, 40, **GREEDY)
    assert gpt.generate(PROMPTS, 40, speculate=5, **GREEDY) == plain
    assert gpt.generate(["the cat", "sat"], 20, speculate=5, **GREEDY) == gpt.generate(["the cat", "sat"], 20, **GREEDY)
    twice = gpt.generate(PROMPTS[:2], 9, num_return_sequences=2, speculate=5, **GREEDY)
    assert twice == [row[:9] for row in plain[:2] for _ in range(2)]


def test_the_steps_of_a_batch_are_those_without_speculation(make_gpt):
    gpt = lively(make_gpt, 2)
    free = gpt.generate(PROMPTS, 30, **GREEDY)
    stops = tuple({row[5 * i + 4] for i, row in enumerate(free)})
    requests = [Request(30, Sampling(temperature=0), stop=stops, speculate=n) for n in (0, 5)]
    plain, guessed = ([*stream_ids(PROMPTS, gpt.params, gpt.config, gpt.ops, request)] for request in requests)
    assert guessed == plain and any(None in step for step in plain)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "options, message",
    [
        ({"speculate": -1}, "speculate: expected a whole number of at least 0, got -1"),
        ({"speculate": 2.5}, "speculate: expected a whole number of at least 0, got 2.5"),
        ({"speculate": None}, "speculate: expected a whole number of at least 0, got None"),
        ({"speculate": 4, "temperature": 0.8}, "speculate: expected temperature 0 with it, got 0.8; set it to 0, or"),
        ({"speculate": 4, "temperature": 1.0}, "speculate: expected temperature 0 with it, got 1.0"),
    ],
)
def test_requests_that_cannot_be_met(make_gpt, options, message):
    gpt, options = make_gpt(), {**GREEDY, **options}
    for call in (gpt.generate, gpt.stream):  # at once, not when the first piece is asked for
        with pytest.raises(InputError, match=message):
            call("the", 5, **options)


def test_beams_guess_nothing(make_gpt):
    with pytest.raises(InputError, match="speculate: expected 0 with num_beams, got 4; leave one out"):
        make_gpt().generate("the", 5, num_beams=2, speculate=4)


def test_broken_weights_are_an_error_not_a_text(make_gpt):
    gpt = make_gpt()
    gpt.params["ln_f"]["bias"][3] = np.nan
    with pytest.raises(InputError, match="got NaN; the weights or the input are broken"):
        gpt.generate("the the the the", 5, speculate=4, **GREEDY)
