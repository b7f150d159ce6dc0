"""A session gives what reading everything anew gives, and reads less."""

import numpy as np
import pytest

from nanogpt_np import GPT, InputError, model
from nanogpt_np.generation import decoding
from nanogpt_np.generation.chat import in_view
from nanogpt_np.generation.session import Kept, common


@pytest.fixture
def read(monkeypatch):
    """The number of tokens of every pass, as they come."""
    shapes, embed = [], model.embed
    monkeypatch.setattr(model, "embed", lambda ids, *rest: (shapes.append(ids.shape[1]), embed(ids, *rest))[1])
    return shapes


@pytest.fixture(scope="module")
def gpt(make_gpt):
    """float64, so that few rows and many differ by far less than any two logits do."""
    return make_gpt(dtype=np.float64, eos_id=None)


@pytest.mark.parametrize("settings", [
    {"temperature": 0}, {"seed": 5}, {"seed": 1, "top_k": 9, "repetition_penalty": 1.3, "frequency_penalty": 0.5},
    {"temperature": 0, "speculate": 4}, {"seed": 2, "no_repeat_ngram_size": 2}, {"temperature": 0, "stop": [7, 152]},
])  # fmt: skip
@pytest.mark.parametrize("overflow", ["error", "slide"])
def test_a_growing_text(gpt, settings, overflow):
    """Prompts that go on from the last answer, go back, change in the middle, begin anew; or past the context."""
    session, text, n_new = gpt.session(), [1, 2, 3], 3 if overflow == "error" else 9
    for turn in range(6):
        new = session.generate(text, n_new, overflow=overflow, **settings)
        assert new == gpt.generate(text, n_new, overflow=overflow, **settings), turn
        assert list(session.stream(text, n_new, overflow=overflow, **settings)) == new
        text = [text + new + [4, 5], text + new, text[:2] + [9, 9], [8, 1, 2, 3]][turn % 4]
        text = text[-18:] if overflow == "error" else text


def test_only_what_is_new_is_read(gpt, read):
    session = gpt.session()
    said = session.generate([1, 2, 3, 4, 5], 4, temperature=0)
    assert read == [5, 1, 1, 1] and session.n_kept == 8  # the last id was said, not read
    read.clear()
    session.generate([1, 2, 3, 4, 5, *said, 6], 3, temperature=0)
    assert read == [2, 1, 1]
    read.clear()
    session.generate([1, 2, 3, 4, 5], 2, temperature=0)  # /again: the last one must be read for its logits
    assert read == [1, 1]
    read.clear()
    session.generate([1, 2, 9], 1, temperature=0)
    assert read == [1]


def test_text_and_completions(gpt):
    session, text = gpt.session(), "the cat"
    for seed in range(3):
        (found,) = session.complete(text, 4, seed=seed, overflow="slide")
        (expected,) = gpt.complete(text, 4, seed=seed, overflow="slide")
        assert (found.text, found.ids, found.reason) == (expected.text, expected.ids, expected.reason)
        np.testing.assert_allclose(found.log_probs, expected.log_probs, rtol=0, atol=1e-10)  # float64 weights
        text += found.text


def test_who_is_interrupted_goes_on_right(gpt, monkeypatch):
    """Ctrl-C in the middle of reading, in the middle of a step, between steps."""
    session = gpt.session()
    for stop_at in range(1, 8):
        passes, forward = [], model.block

        def interrupted(*args, passes=passes, forward=forward, stop_at=stop_at, **more):
            passes.append(1)
            if len(passes) == stop_at:
                raise KeyboardInterrupt
            return forward(*args, **more)

        monkeypatch.setattr(model, "block", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.generate([1, 2, 3, stop_at % 3], 6, temperature=0)
        monkeypatch.setattr(model, "block", forward)
        prompt = [1, 2, 3, stop_at % 2, 5]
        assert session.generate(prompt, 4, temperature=0) == gpt.generate(prompt, 4, temperature=0)
    pieces = session.stream([1, 2, 3], 6, temperature=0)
    next(pieces)
    assert session.generate([1, 2, 3, 4], 4, temperature=0) == gpt.generate([1, 2, 3, 4], 4, temperature=0)


def test_who_is_interrupted_between_two_pieces_of_a_prompt(gpt, monkeypatch):
    monkeypatch.setattr(decoding, "PIECE", 2)
    session = gpt.session()
    session.generate([1, 2, 3, 4, 5, 6, 7, 8], 1, temperature=0)
    trunk, passes = model.trunk, []

    def interrupted(*args, **more):
        passes.append(1)
        if len(passes) == 3:
            raise KeyboardInterrupt
        return trunk(*args, **more)

    monkeypatch.setattr(model, "trunk", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.generate([9, 9, 9, 9, 9, 9, 9, 9], 1, temperature=0)
    monkeypatch.setattr(model, "trunk", trunk)
    assert session.n_kept == 4  # two pieces of the new prompt, none of the old one
    prompt = [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(
        session.complete(prompt, 1, temperature=0)[0].log_probs, gpt.complete(prompt, 1, temperature=0)[0].log_probs,
        rtol=0, atol=1e-10,
    )  # fmt: skip


@pytest.mark.parametrize("ops", ["numba", "int8"])
def test_compiled_ops(make_gpt, ops):
    pytest.importorskip("numba")
    plain = make_gpt(eos_id=None)
    gpt = GPT(plain.config, plain.params, ops=ops)
    session, text = gpt.session(), [1, 2, 3]
    for _ in range(4):
        new = session.generate(text, 9, temperature=0, overflow="slide")
        assert new == gpt.generate(text, 9, temperature=0, overflow="slide")
        text = text + new + [4]


def test_what_a_session_cannot(gpt):
    for prompt, settings, message in (
        ([[1], [2]], {}, "session: expected one prompt"), ([1], {"num_return_sequences": 2}, "session: expected one"),
        ([1], {"num_beams": 2}, "num_beams: expected 1 in a session"),
        ([1], {"penalty_alpha": 0.5}, "penalty_alpha: expected none in a session"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            gpt.session().generate(prompt, 2, **settings)


def test_a_kept_cache_holds_the_common_beginning():
    assert [common([1, 2], [1, 2, 3]), common([], [1]), common([1, 2, 3], [1, 9, 3])] == [2, 0, 1]
    assert Kept().length == 0


def test_a_long_conversation_is_cut_a_quarter_at_a_time(tokenizer):
    """So that the part in view begins where it began for the line before, and its cache can be used."""
    text, begins = "the cat sat on the mat, and " * 30, []
    for end in range(len(tokenizer.encode(text)) // 2, len(tokenizer.encode(text)), 3):
        so_far = tokenizer.decode(tokenizer.encode(text)[:end])
        view = in_view(so_far, tokenizer, 24)
        assert so_far.endswith(view) and len(tokenizer.encode(view)) <= 12
        begins.append(len(so_far) - len(view))
    assert len(set(begins)) <= len(begins) * 3 // 6 + 2
