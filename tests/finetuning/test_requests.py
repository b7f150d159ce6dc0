"""weights/stories-asked: what a request asks for, whether a story holds it, and what requests are made of."""

import importlib.util
import json
import sys

import pytest

from nanogpt_np.storage.registry import weights_dir

FOLDER = weights_dir() / "stories-asked"
STORY = (
    "Tim saw a dragon in the cave. The dragon was green. Then Tim gave the dragon a cake, and the cave was warm. "
    "It was a green cake. A little bird sang of cake and of Tim."
)


@pytest.fixture(scope="module")
def scripts():
    """prepare.py and measure.py, which imports it."""
    sys.path.insert(0, str(FOLDER))
    found = []
    for name in ("prepare", "measure"):
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        found.append(module)
    yield found
    sys.path.remove(str(FOLDER))
    for name in ("prepare", "measure"):
        del sys.modules[name]


def test_what_is_asked_for_and_what_is_missing(scripts):
    prepare, _ = scripts
    request = "Title: Tim and the dragon. Words: cave, cake, green."
    assert prepare.asked(request) == ["tim", "dragon", "cave", "cake", "green"]
    assert prepare.missing(request, STORY) == []
    assert prepare.missing(request, STORY.replace("cake", "cakes").replace("Tim", "Tom")) == ["tim", "cake"]
    assert prepare.missing(request, "TIM! Dragon? cave-cake, 'green'.") == []


def test_a_request_is_made_of_its_story(scripts):
    import random

    prepare, _ = scripts
    usual = {"dragon": 2.0, "cave": 2.0, "cake": 2.0, "green": 2.0, "bird": 1.0, "sang": 1.0, "warm": 1.0}
    for seed in range(5):
        request = prepare.ask(STORY, usual, random.Random(seed))
        assert request.startswith("Title: Tim and the cave. Words: ") and not prepare.missing(request, STORY)
        three = prepare.asked(request)[2:]
        assert three == sorted(three, key=prepare.words_of(STORY).index) and len(set(three)) == 3
    assert prepare.ask("The cave was warm.", usual, random.Random(0)) is None


def test_files_of_pairs(scripts, tmp_path, capsys):
    """Every fiftieth story is kept for the test, as `train --held-out 0.02` keeps it from the model."""
    prepare, _ = scripts
    said = [STORY.replace("Tim", name) for name in ("Tim", "Tom", "Sam", "Ben") for _ in range(75)]
    other = "\n<|endoftext|>\n".join("He was at home. " * 5 for _ in range(1500))  # so that few stories say each word
    (tmp_path / "stories.txt").write_text("\n<|endoftext|>\n".join([*said, other]))
    prepare.main(str(tmp_path / "stories.txt"), tmp_path / "out")
    test, train = ((tmp_path / "out" / f"{name}.jsonl").read_text().splitlines() for name in ("test", "train"))
    assert len(test) == 6 and len(train) >= 294
    for line in (*test, *train[:20]):
        pair = json.loads(line)
        assert pair["completion"].startswith("\n") and not prepare.missing(pair["prompt"], pair["completion"])
    assert "6 requests" in capsys.readouterr().out


def test_counts_and_interval(scripts):
    _, measure = scripts
    requests = ["Title: Tim and the dragon. Words: cave, cake, green."] * 3
    stories = [STORY, STORY.replace("dragon", "bird"), STORY.replace("cave", "hole")]
    found = measure.count(requests, stories, 2)
    assert found == (3, 1, 2, 13, 15, 2)
    assert "1 of 3 (6% to 79%)" in measure.table("it", found)
    low, high = measure.interval(80, 100)  # Wilson 1927, computed elsewhere: 0.7112 to 0.8666
    assert (round(low, 4), round(high, 4)) == (0.7112, 0.8666)
