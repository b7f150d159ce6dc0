"""Learning from examples in the text: the game of cards, and the curves that weights/cards/train.py keeps."""

import json
from pathlib import Path

import numpy as np
import pytest
from small import make, module_at

from nanogpt_np import GPT, InputError, ops
from nanogpt_np.evaluation.in_context import Cards, accuracy, best_possible, texts

CARDS = Path(__file__).parents[2] / "weights" / "cards"
KEPT = json.loads((CARDS / "curve.json").read_text(encoding="utf-8"))


def test_a_card_answers_its_question_alike_all_through_a_text():
    task = Cards(n_symbols=5, n_shots=20)
    ids, targets = texts(task, 50, np.random.default_rng(0))
    assert ids.shape == targets.shape == (50, 39) and ids.max() < task.n_vocab
    for row, wanted in zip(ids, targets, strict=True):
        questions, cards = row[::2], wanted[::2]
        assert (wanted[1::2] == ops.IGNORE).all() and (questions < 5).all()
        asked, answer = np.divmod(cards - 5, 5)
        assert (asked == questions).all() and (row[1::2] == cards[:-1]).all()
        known = dict(zip(asked, answer, strict=True))
        assert [known[x] for x in asked] == answer.tolist()
    assert len({tuple(row) for row in targets[:, ::2]}) == 50  # other functions, other texts


def test_only_what_was_asked_before_is_a_target_where_that_is_wanted():
    ids, targets = texts(Cards(4, 12), 30, np.random.default_rng(1), only_known=True)
    for row, wanted in zip(ids, targets, strict=True):
        for at in range(0, len(row), 2):
            assert (wanted[at] != ops.IGNORE) == (row[at] in row[:at:2])


def test_who_remembers_everything_does_as_well_as_is_possible():
    """A player that looks the question up, and guesses answer 0 where it was not: within chance of the formula."""
    task, n = Cards(n_symbols=6, n_shots=20), 4000
    ids, targets = texts(task, n, np.random.default_rng(2))
    right = np.zeros(task.n_shots)
    for row, wanted in zip(ids, targets, strict=True):
        known = {}
        for k in range(task.n_shots):
            right[k] += known.get(row[2 * k], 6 + 6 * row[2 * k]) == wanted[2 * k]
            known[row[2 * k]] = wanted[2 * k]
    five = 5 * np.sqrt(0.25 / n)  # standard deviations
    np.testing.assert_allclose(right / n, best_possible(task), rtol=0, atol=five)


def test_accuracy_counts_the_likeliest_card():
    task = Cards(n_symbols=3, n_shots=4)
    config = task.config(n_embd=8, n_layer=1, n_head=2)
    gpt = GPT(config, make(config, seed=3), ops="numpy")
    ids, targets = texts(task, 70, np.random.default_rng(9))
    expected = np.array([[gpt(row)[0, 2 * k].argmax() == wanted[2 * k] for k in range(4)]
                         for row, wanted in zip(ids, targets, strict=True)])  # fmt: skip
    np.testing.assert_array_equal(accuracy(gpt, task, n=70, seed=9), expected.mean(axis=0))
    with pytest.raises(InputError, match="expected at least n_vocab 20"):
        accuracy(gpt, Cards(n_symbols=4, n_shots=4))
    with pytest.raises(InputError, match="n: expected"):
        accuracy(gpt, task, n=0)


def test_what_is_kept_says_what_is_said_of_it():
    """Bands in every other layer cost nothing here; in all of them, what is further back than a band is lost."""
    models, task = KEPT["models"], Cards(**KEPT["task"])
    best = best_possible(task)
    np.testing.assert_allclose(KEPT["best_possible"], best, atol=1e-4)
    dense, alternating, banded = (np.array(models[name]["accuracy"]) for name in ("dense", "alternating", "all banded"))
    assert np.abs(dense - best).max() < 0.1 and np.abs(alternating - best).max() < 0.1  # of 256 texts
    assert abs(models["dense"]["loss"] - models["alternating"]["loss"]) < 0.05 and models["all banded"]["loss"] > 0.9
    assert banded[:8].mean() > 0.95 * best[:8].mean() and banded[-16:].mean() < 0.8 < alternating[-16:].mean()
    sizes = [models[name]["cache_bytes"] for name in ("dense", "alternating", "all banded")]
    assert sizes == sorted(sizes, reverse=True) and sizes[2] < sizes[0] / 3


@pytest.mark.slow
def test_the_recipe_makes_what_is_kept():
    """The whole training of one: another BLAS adds in another order, and 200 steps carry that on."""
    gpt, losses, _ = module_at(CARDS / "train.py").trained("alternating")
    assert np.mean(losses[-20:]) == pytest.approx(KEPT["models"]["alternating"]["loss"], abs=0.03)
    assert np.abs(accuracy(gpt, Cards(**KEPT["task"])) - KEPT["models"]["alternating"]["accuracy"]).max() < 0.1
