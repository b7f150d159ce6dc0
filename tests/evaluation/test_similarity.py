"""Documents as vectors: means of what the model itself says, cosines, and a search that finds what it should."""

import re
from pathlib import Path

import numpy as np
import pytest

from nanogpt_np import GPT, InputError
from nanogpt_np.evaluation import similarity

STORIES = Path(__file__).parents[3] / "shared" / "data" / "stories" / "tinystories.txt"
PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"
TEXTS = ["the cat sat on the mat.", "and the hat sat.", "moon and star"]


def test_a_vector_is_the_mean_of_hidden_states(make_gpt):
    """Against gpt.hidden, and the residual stream as acts keep it; float32 sums in another order: 1e-5."""
    gpt = make_gpt()
    found = similarity.vectors(gpt, TEXTS)
    for row, text in zip(found, TEXTS, strict=True):
        assert row == pytest.approx(gpt.hidden(text).mean(axis=0), abs=1e-5)
    _, acts = gpt(gpt.tokenizer.encode(TEXTS[0]), keep_acts=True)
    streams = [acts.embedded, acts.blocks[1].x, acts.x]
    for layer, stream in enumerate(streams):
        got = similarity.vectors(gpt, TEXTS[:1], layer)[0]
        assert got == pytest.approx(stream[0].mean(axis=0), abs=1e-5)


def test_a_long_text_is_read_in_windows(make_gpt):
    gpt, text = make_gpt(n_ctx=8), "the cat sat on the mat, and the hat sat on the cat."
    ids = gpt.tokenizer.encode(text)
    assert len(ids) > 16
    rows = np.concatenate([gpt.hidden(ids[start : start + 8]) for start in range(0, len(ids), 8)])
    assert similarity.vectors(gpt, text)[0] == pytest.approx(rows.mean(axis=0), abs=1e-5)


def test_cosines():
    found = similarity.cosines([[3.0, 4.0], [0.0, 0.0]], [[6.0, 8.0], [-3.0, -4.0], [4.0, -3.0]])
    assert found == pytest.approx(np.array([[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]]))


def test_words_are_counted_and_weighed():
    counts = similarity.count_words(["The cat, the CAT.", "a dog", "the dog"])
    assert counts.tolist() == [[0, 2, 0, 2], [1, 0, 1, 0], [0, 0, 1, 1]]  # a, cat, dog, the
    weighed = similarity.weigh(counts)
    assert weighed[0, 1] == pytest.approx(np.log(3) * np.log(3))
    assert weighed[2, 3] == pytest.approx(np.log(2) * np.log(1.5))


def test_a_story_in_two():
    assert similarity.in_half("One. Two. Three.") is None
    assert similarity.in_half('A b. "C!" D e? F. G.') == ('A b. "C!"', "D e? F. G.")


def stories(n):
    """Each of words of its own, but for those that all have."""
    names = [f"{a}{b}" for a in "bcdfgh" for b in "aeiou"]
    return [f"There was a {name}. It ran. The {name} was big. It was {name}." for name in names[:n]]


def test_words_find_what_words_tell_apart(make_gpt):
    found = {one.way: one for one in similarity.tell_apart(make_gpt(n_ctx=64), stories(20))}
    assert found["words, tf-idf"].first == (1.0, 1.0, 1.0) and found["words, tf-idf"].reciprocal_rank == 1.0
    assert len(found) == 2 + 2 * 4  # of 2 layers: the embedding, behind each block, the last layer norm


def test_a_way_that_says_the_same_of_all_finds_nothing():
    same = np.ones((4, 3))
    found = similarity._found("same", same, same, 0)
    assert found.first.value == 0.0 and found.reciprocal_rank == 0.25
    found = similarity._found("all", np.eye(4), np.eye(4), 0)
    assert found.first.value == 1.0 and found.reciprocal_rank == 1.0


def test_stories_are_chosen_by_the_seed(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("<|endoftext|>".join(f"text {i}" for i in range(40)))
    one, again, other = (similarity.read_stories([path], None, 10, seed) for seed in (0, 0, 1))
    assert one == again != other and len(set(one)) == 10
    assert similarity.read_stories([path], 0.1, 99) == ["text 9", "text 19", "text 29", "text 39"]


def test_what_cannot_be_compared(make_gpt, tmp_path):
    gpt = make_gpt()
    (tmp_path / "text.txt").write_text("a text")
    for call, message in (
        (lambda: similarity.vectors(gpt, []), "texts: expected 1 to 5,000, got 0"),
        (lambda: similarity.vectors(gpt, ["a", 5]), "texts: expected texts, got 5"),
        (lambda: similarity.vectors(gpt, [" "]), "texts: expected texts, got ' '"),
        (lambda: similarity.vectors(gpt, ["a"], layer=3), "layer: expected 0 to n_layer = 2, got 3"),
        (lambda: similarity.vectors(gpt, ["a"], layer=True), "layer: expected"),
        (lambda: similarity.vectors(make_gpt(with_tokenizer=False), ["a"]), "vocabulary files"),
        (lambda: similarity.tell_apart(gpt, ["One. Two."]), "two or more of at least 4 sentences, got 0"),
        (lambda: similarity.read_stories([tmp_path / "text.txt"], 0.9), "held_out: expected"),
        (lambda: similarity.read_stories([tmp_path / "none.txt"]), "cannot be read"),
        (lambda: similarity.read_stories([tmp_path / "text.txt"], None, 1), "n_texts: expected"),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(not STORIES.exists(), reason=f"needs the stories' text, {STORIES.name}")
def test_stories_is_as_stated():
    """docs/tasks.md: each way's share, in whole halves of 200, but for ties to rounding."""
    rows = re.findall(r"^\| ((?:words|hidden), [^|]*) \| ([\d.]+) % \[.*?\] \| ([\d.]+) \|$", PAGE.read_text("utf-8"),
                      flags=re.MULTILINE)  # fmt: skip
    texts = similarity.read_stories([STORIES], 0.02, 200)
    found = similarity.tell_apart(GPT.from_pretrained("stories", ops="numpy"), texts)
    assert [row[0] for row in rows] == [one.way for one in found]
    for (_, share, rank), one in zip(rows, found, strict=True):
        assert 100 * one.first.value == pytest.approx(float(share), abs=0.6)
        assert one.reciprocal_rank == pytest.approx(float(rank), abs=0.005)
