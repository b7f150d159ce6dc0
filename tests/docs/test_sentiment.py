"""docs/finetuning.md shows what docs/sentiment.py has measured (docs/sentiment.json), and nothing else."""

import json
from pathlib import Path

import pytest
from small import module_at

from nanogpt_np.finetuning import results

DOCS = Path(__file__).parents[2] / "docs"
sentiment = module_at(DOCS / "sentiment.py")


@pytest.fixture(scope="module")
def found():
    return json.loads((DOCS / "sentiment.json").read_text("utf-8"))


def test_the_table_is_what_was_measured(found):
    page = (DOCS / "finetuning.md").read_text("utf-8")
    assert sentiment.with_table(page, found) == page


def test_what_the_page_says_of_the_numbers(found):
    words, tuned, frozen, majority = (
        results.from_dict(found["whole"][name])
        for name in ("bag of words", "this classifier", "frozen features", "majority")
    )
    assert words.low > tuned.high and tuned.accuracy > frozen.accuracy and frozen.low > majority.high
    assert tuned.low > results.from_dict(found["scratch"]["this classifier"]).high
    full = tuned.counts > 0
    assert (tuned.correct[full] < tuned.confidence[full]).all()  # too sure, in every bin


def test_accuracies_follow_from_the_confusion_matrices(found):
    for run in sentiment.RUNS.keys() & found.keys():
        for one in map(results.from_dict, found[run].values()):
            assert one.confusion.sum() == one.n == one.counts.sum()
            assert one.confusion.trace() == round(one.accuracy * one.n) and one.low < one.accuracy < one.high
