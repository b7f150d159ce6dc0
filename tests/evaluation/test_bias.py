"""Bias: a bias that was planted is measured, by the definition; sets that are none are refused; the page's figures."""

import collections
import json
import re
from pathlib import Path

import numpy as np
import pytest

from nanogpt_np import GPT, FileError, InputError
from nanogpt_np.evaluation import bias, likelihood
from nanogpt_np.storage.registry import weights_dir

SET = {
    "language": "en", "asks": "Is it so?", "source": "made up", "scored": "who",
    "templates": ["the {what} sat and {who}", "on the {what} {who}"], "pairs": [["she", "he"]],
    "whats": {"hers": ["cat", "mat"], "his": ["hat"]},
}  # fmt: skip
SHIPPED = bias.read_sets()
STORIES = Path(__file__).parents[3] / "shared" / "data" / "stories" / "tinystories.txt"


@pytest.fixture
def of():
    return bias.PairSet("made", **SET)


def planted(monkeypatch, gpt, hers):
    """Every "she" is so much likelier behind a cat or a mat than a "he"; one behind a hat by half of that less."""

    def score(pairs, *_, **__):
        texts = [(gpt.tokenizer.decode(pair.before), gpt.tokenizer.decode(pair.said)) for pair in pairs]
        ln = [hers * (1.0 if "hat" not in before else -0.5) * (said == " she") for before, said in texts]
        return [likelihood.Score(np.array([value]), np.array([True])) for value in ln]

    monkeypatch.setattr(bias.likelihood, "score", score)


def test_a_planted_bias_is_measured(monkeypatch, make_gpt, of):
    gpt = make_gpt()
    planted(monkeypatch, gpt, 2.0)
    found = bias.measure(gpt, of)
    assert [half.value for half in found.halves] == [2.0, -1.0]
    assert found.difference == (3.0, 3.0, 3.0)  # all sayings of a half say the same, so that drawing changes nothing
    assert found.share == (1.0, 1.0, 1.0)
    assert found.by_what == {"cat": 2.0, "mat": 2.0, "hat": -1.0}


def test_no_bias_is_none(monkeypatch, make_gpt, of):
    gpt = make_gpt()
    planted(monkeypatch, gpt, 0.0)
    found = bias.measure(gpt, of)
    assert found.difference == (0.0, 0.0, 0.0) and found.share.value == 0.5


@pytest.mark.parametrize("scored, templates", [("who", SET["templates"]), ("behind", ["{who} sat on the {what}."])])
def test_differences_are_those_of_single_passes(make_gpt, of, scored, templates):
    """The definition: each text alone, all its tokens' log-probabilities; float32 sums of batches: 1e-4."""
    gpt, of = make_gpt(n_ctx=64), of._replace(scored=scored, templates=templates)
    encode, start = gpt.tokenizer.encode, [gpt.config.eos_id]
    found = bias.differences(gpt, of)
    for i, what in enumerate(["cat", "mat", "hat"]):
        for j, template in enumerate(templates):
            totals = []
            for who in ("she", "he"):
                if scored == "who":
                    before, said = template.replace("{what}", what).replace(" {who}", ""), f" {who}"
                else:
                    before, said = who, template.replace("{what}", what).removeprefix("{who}")
                n_before = len(start + encode(before))
                totals.append(gpt.logprobs(start + encode(before) + encode(said))[n_before:].sum())
            assert found[i, j, 0] == pytest.approx(totals[0] - totals[1], abs=1e-4)


def test_both_sides_are_asked_for_the_same_ids(make_gpt):
    gpt = make_gpt(n_ctx=64)
    for one in SHIPPED.values():
        if one.scored == "behind":
            what = next(iter(one.whats.values()))[0]
            for template in one.templates:
                sides = [bias.question(gpt, bias.cut(template, who, what), "behind") for who in one.pairs[0]]
                assert sides[0].said == sides[1].said and sides[0].before != sides[1].before


def test_summaries_are_what_counting_gives():
    """Of random differences: means, and the share of comparisons that the first half wins, by loops."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.5, 1, (4, 3, 2)), rng.normal(0, 1, (5, 3, 2))
    halves, difference, share = bias.summarize(first, second, seed=1)
    wins = [first[a, j, k] > second[c, j, k] for a in range(4) for c in range(5) for j in range(3) for k in range(2)]
    assert share.value == pytest.approx(np.mean(wins))
    assert difference.value == pytest.approx(first.mean() - second.mean())
    assert [half.value for half in halves] == pytest.approx([first.mean(), second.mean()])
    assert difference.low < difference.value < difference.high and share.low <= share.value <= share.high


def test_intervals_draw_sayings_templates_and_pairs():
    """Where only one of the three varies, with deviation 1 over n of them, the interval is 2 * 1.96 / sqrt(n) long.

    Percentiles of 2,000 draws: 10 %.
    """
    values = np.random.default_rng(0).normal(size=40)
    values = (values - values.mean()) / values.std()
    for axis in range(3):
        shape = [1, 1, 1]
        shape[axis] = 40
        halves, _, _ = bias.summarize(values.reshape(shape), np.zeros((1, *shape[1:])))
        assert halves[0].high - halves[0].low == pytest.approx(2 * 1.96 / np.sqrt(40), rel=0.1)


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_shipped_sets_are_counterfactual(name):
    one = SHIPPED[name]
    first, second = one.whats.values()
    assert len(first) == len(second) >= 8 and not set(first) & set(second)
    assert len({tuple(pair) for pair in one.pairs}) == len(one.pairs) and all(a != b for a, b in one.pairs)
    assert one.source and one.asks.endswith("?") or name == "jobs"
    for template in one.templates:
        texts = ["".join(bias.cut(template, who, first[0])) for who in one.pairs[0]]
        assert texts[0] != texts[1] and all("{" not in text for text in texts)


def test_a_text_is_cut_where_the_tokens_are():
    assert bias.cut("{who} {what}.", "Lily", "ran") == ("", "Lily", " ran.")
    assert bias.cut("The {what} said that {who}", "she", "cook") == ("The cook said that", " she", "")


@pytest.mark.parametrize("changes, message", [
    ({"scored": "all"}, "scored: expected 'who' or 'behind', got 'all'"),
    ({"templates": ["the cat {who}"]}, "templates: expected texts with one {who} and one {what}"),
    ({"templates": ["{who} saw {what}"]}, "templates: "), ({"templates": "the {what} {who}"}, "templates: "),
    ({"templates": []}, "templates: "), ({"pairs": [["she"]]}, "pairs: expected a list of pairs"),
    ({"pairs": []}, "expected 1 to 200,000 texts"),
    ({"pairs": [["she", 5]]}, "pairs: "), ({"whats": {"one": ["cat"]}}, "whats: expected two named lists"),
    ({"whats": ["cat"]}, "whats: "), ({"whats": {"one": [], "two": ["a"]}}, "whats: "), ({"asks": None}, "asks: "),
    ({"more": 1}, "expected the fields language"), ({"pairs": [["a", "b"]] * 60_000}, "expected 1 to 200,000 texts"),
])  # fmt: skip
def test_sets_that_are_none(tmp_path, changes, message):
    path = tmp_path / "sets.json"
    path.write_text(json.dumps({"sets": {"mine": SET | changes}}))
    with pytest.raises(FileError) as caught:
        bias.read_sets(path)
    assert message in str(caught.value) and str(caught.value).isprintable() and len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["", "[]", '{"sets": []}', '{"sets": {}}', '{"sets": {"a": 5}}', "[" * 100_000])
def test_files_that_are_none(tmp_path, text):
    (tmp_path / "sets.json").write_text(text)
    with pytest.raises(FileError) as caught:
        bias.read_sets(tmp_path / "sets.json")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_models_that_cannot_be_asked(make_gpt, of):
    with pytest.raises(InputError, match="vocabulary files"):
        bias.measure(make_gpt(with_tokenizer=False), of)
    with pytest.raises(InputError, match="seed: expected"):
        bias.measure(make_gpt(), of, seed=-1)
    bare = of._replace(scored="who", templates=["{who}{what}"])
    with pytest.raises(InputError, match="words before {who}"):
        bias.measure(make_gpt(eos_id=None), bare)
    with pytest.raises(InputError, match="n_ctx = 4 tokens"):
        bias.measure(make_gpt(n_ctx=4), of)


def test_names_are_chosen():
    assert [one.name for one in bias.choose(SHIPPED)] == ["pronouns", "jobs", "occupations", "names", "regard"]
    assert [one.name for one in bias.choose(SHIPPED, ["verses", "jobs", "verses"])] == ["verses", "jobs"]
    assert len(bias.choose(SHIPPED, by_language=False)) == len(SHIPPED)
    with pytest.raises(InputError, match="set: expected one of pronouns, jobs"):
        bias.choose(SHIPPED, ["job"])


def stated(name):
    """The rows of a TRAINING.md: {set: (difference, low, high, share in percent)}."""
    page = (weights_dir() / name / "TRAINING.md").read_text(encoding="utf-8")
    number = r"([+−][\d.]+)"
    rows = re.findall(rf"^\| `(\w+)` \|.*\| {number} \[{number}, {number}\] \| (\d+) % \[", page, flags=re.MULTILINE)
    return {row[0]: tuple(float(value.replace("−", "-")) for value in row[1:]) for row in rows}


def test_stories_is_as_stated_in_a_childs_words():
    """The set that its vocabulary knows; to a digit of what is stated, 0.01, and of the share 1 %."""
    check_stated("stories", "jobs")


@pytest.mark.skipif(not STORIES.exists(), reason=f"needs the stories' text, {STORIES.name}")
def test_words_are_as_rare_in_the_stories_as_stated():
    page = (weights_dir() / "stories" / "TRAINING.md").read_text(encoding="utf-8")
    said = collections.Counter(re.findall(r"\w+", STORIES.read_text(encoding="utf-8")))
    jobs = [what for half in SHIPPED["pronouns"].whats.values() for what in half]
    assert f"of which {sum(said[job] >= 10 for job in jobs)} stand ten times or more in the training text" in page
    there = [said[name] for _, name in SHIPPED["regard"].pairs if said[name]]
    assert there == [4] and "of the names that black people have one stands there, four times" in page


@pytest.mark.slow
@pytest.mark.parametrize("name, one", [("poems", "verses"), *(("stories", one.name) for one in bias.choose(SHIPPED))])
def test_shipped_models_are_as_stated(name, one):
    check_stated(name, one)


def check_stated(name, one):
    found = bias.measure(GPT.from_pretrained(name, ops="numpy"), SHIPPED[one])
    value, low, high, share = stated(name)[one]
    assert tuple(found.difference) == pytest.approx((value, low, high), abs=0.01)
    assert 100 * found.share.value == pytest.approx(share, abs=1)
