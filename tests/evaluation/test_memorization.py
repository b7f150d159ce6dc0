"""Memorization: a parrot is found out, a model that knows nothing is not, and the shipped model is as its page says."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from nanogpt_np import GPT, InputError
from nanogpt_np.evaluation import memorization
from nanogpt_np.storage.registry import weights_dir
from nanogpt_np.training.evaluation import evaluate_files

TEXT = "the cat sat on the mat, and the hat sat on the cat."
OTHER = ["a dog ran off at noon.", "moon and star and sun.", "on and on and on it ran."]
STORIES = Path(__file__).parents[3] / "shared" / "data" / "stories" / "tinystories.txt"


@pytest.fixture
def data(tmp_path):
    """A file of four documents, the last of which is held out."""
    path = tmp_path / "text.txt"
    path.write_text("\n<|endoftext|>\n".join([TEXT, *OTHER]), encoding="utf-8")
    return [path]


@pytest.fixture
def parrot(make_parrot, tokenizer):
    ids = tokenizer.encode(TEXT)
    return make_parrot([*ids, tokenizer.eos_id])


def test_a_parrot_is_found_out(parrot, data, tokenizer):
    found = memorization.measure(parrot, data, 0.25, n_texts=3, lengths=(4, 8))
    assert found.longest == TEXT and found.n_longest == len(tokenizer.encode(TEXT)) and found.whole == 3
    assert [found.shares[n] for n in (4, 8)] == [(1.0, 1.0, 1.0)] * 2
    assert found.n_texts == 3 and found.n_usual == 1 and found.n_losses == (3, 1)
    assert found.usual[8].value < 0.5


def test_a_model_that_knows_nothing_is_not(make_gpt, data):
    found = memorization.measure(make_gpt(n_ctx=64), data, 0.25, n_texts=20, max_new_tokens=30, lengths=(4, 8))
    assert found.shares[8].value == 0.0 and found.whole == 0 and found.n_longest < 4
    assert not found.gap.excludes_zero


def test_losses_are_those_of_eval(make_gpt, data, tmp_path):
    """Of one held-out text there is no more than eval's own number; float32 sums of other batches: 1e-5."""
    gpt = make_gpt(n_ctx=64)
    found = memorization.measure(gpt, data, 0.25, n_texts=2, max_new_tokens=9)
    assert found.loss_held_out.value == pytest.approx(evaluate_files(gpt, data, 0.25).loss, rel=1e-5)
    assert found.gap.value == pytest.approx(found.loss_held_out.value - found.loss_train.value)


def test_the_seed_decides(make_gpt, data):
    gpt = make_gpt(n_ctx=64)
    how = {"n_texts": 4, "max_new_tokens": 12, "lengths": (1,)}
    one, again, other = (memorization.measure(gpt, data, 0.25, **how, seed=seed) for seed in (3, 3, 4))
    assert one == again and one != other


def test_lengths_that_do_not_fit_are_left_out_and_short_texts_have_none(make_gpt, data):
    found = memorization.measure(make_gpt(n_ctx=24), data, 0.25, n_texts=2, max_new_tokens=4)
    assert set(found.shares) == {8, 16} and np.isnan(found.shares[16].value)
    assert "16 tokens: none of generated" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["n_texts"] == 2


@pytest.mark.parametrize("changes, message", [
    ({"held_out": 0.0}, "held_out: expected a share above 0"), ({"held_out": True}, "held_out: expected a share"),
    ({"n_texts": 0}, "n_texts: expected a whole number of at least 1"),
    ({"n_texts": 10**9}, "n_texts: expected at most"),
    ({"lengths": [0]}, "lengths: expected whole numbers from 1 to n_ctx = 64, got [0]"), ({"lengths": []}, "lengths: "),
    ({"lengths": [65]}, "lengths: "), ({"seed": -1}, "seed: expected"),
    ({"max_new_tokens": 0}, "max_new_tokens: expected"),
    ({"max_new_tokens": 999}, "expected"),
])  # fmt: skip
def test_what_cannot_be_asked(make_gpt, data, changes, message):
    with pytest.raises(InputError) as caught:
        memorization.measure(make_gpt(n_ctx=64), data, **{"held_out": 0.25, "n_texts": 1} | changes)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_models_and_texts_that_cannot_be_measured(make_gpt, data, tmp_path):
    lacking = (make_gpt(with_tokenizer=False), "vocabulary files"), (make_gpt(eos_id=None), "<|endoftext|>")
    for gpt, message in lacking:
        with pytest.raises(InputError, match=re.escape(message)):
            memorization.measure(gpt, data, 0.25)
    (tmp_path / "one.txt").write_text("x")
    with pytest.raises(InputError, match="texts on both sides"):
        memorization.measure(make_gpt(), [tmp_path / "one.txt"])


def stated(name):
    """The table of a TRAINING.md: {length: (generated, held out)} in percent, and the three losses."""
    page = (weights_dir() / name / "TRAINING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) tokens \| ([\d.]+) % \[.*?\] \| ([\d.]+) % \[.*?\] \|$", page, flags=re.MULTILINE)
    losses = re.findall(r"([\d.]+) nats per token on \d+ training texts, ([\d.]+) on \d+ held-out", page)
    return {int(n): (float(own), float(usual)) for n, own, usual in rows}, [tuple(map(float, pair)) for pair in losses]


def test_both_pages_state_it():
    for name in ("stories", "poems"):
        rows, losses = stated(name)
        assert len(rows) >= 3 and len(losses) == 1


def holds(interval, stated, rounding=0.0):
    """Is a figure within 1.7 times a 95 % interval, one of 99.9 %? A dozen of 95 % would miss every other time."""
    below, above = interval.value - interval.low, interval.high - interval.value
    return interval.value - 1.7 * below - rounding <= stated <= interval.value + 1.7 * above + rounding


@pytest.mark.slow
@pytest.mark.skipif(not STORIES.exists(), reason=f"needs the stories' text, {STORIES.name}")
def test_stories_is_as_stated(monkeypatch):
    """Of 20 texts and the losses of 40, for the time: what was measured on more lies as near as chance allows.

    The first 20 of the 100 are the same ones.
    """
    rows, [(train, held_out)] = stated("stories")
    monkeypatch.setattr(memorization, "MOST_LOSSES", 40)
    found = memorization.measure(GPT.from_pretrained("stories", ops="numpy"), [STORIES], n_texts=20)
    assert set(rows) == set(found.shares)
    for n, (own, usual) in rows.items():
        for share, percent in ((found.shares[n], own), (found.usual[n], usual)):
            assert holds(share, percent / 100, 0.0005)  # stated to a digit
    assert holds(found.loss_train, train) and holds(found.loss_held_out, held_out)
