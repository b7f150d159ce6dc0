"""The models in weights/: they open by name, are what TRAINING.md says, and write what they promise."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from small import module_at

from nanogpt_np import GPT
from nanogpt_np import params as P
from nanogpt_np.storage.header import read_header
from nanogpt_np.storage.registry import weights_dir
from nanogpt_np.training.data import read_documents, split_held_out
from nanogpt_np.training.evaluation import count_bytes, evaluate_files

STORIES_TEXT = Path(__file__).parents[2] / "shared" / "data" / "stories" / "tinystories.txt"
needs_stories = pytest.mark.skipif(not STORIES_TEXT.exists(), reason=f"needs the stories' text, {STORIES_TEXT.name}")
TITLES = "山中 送别 秋夜 春日 江上 月夜 宫词 柳枝词 寄友人 题僧院".split()
FORMS = {"五绝": 5, "七绝": 7}


@pytest.mark.parametrize("name", ["stories", "poems"])
def test_a_shipped_model_is_what_the_registry_says(name):
    gpt = GPT.from_pretrained(name)
    entry = json.loads((weights_dir() / "models.json").read_text(encoding="utf-8"))[name]
    assert P.count(gpt.params) == entry["parameters"]
    assert gpt.tokenizer.n_vocab == gpt.config.n_vocab and gpt.config.eos_id == gpt.tokenizer.eos_id
    header = read_header(weights_dir() / name / "model.safetensors")
    assert {tensor.dtype for tensor in header.tensors.values()} == {"F16"}
    assert header.metadata["tokenizer_fingerprint"] == gpt.tokenizer.fingerprint
    assert all(np.isfinite(array).all() and array.dtype == np.float32 for _, array in P.walk(gpt.params))


def test_stories_writes_words_of_stories():
    gpt = GPT.from_pretrained("stories")
    text = "Once upon a time" + gpt.generate("Once upon a time", 150, temperature=0.7, seed=1)
    words = re.findall(r"[a-z']+", text.lower())
    assert len(words) > 60
    assert {"the", "and", "was", "to"} <= set(words)
    assert "�" not in text


@needs_stories
def test_stories_predicts_held_out_text(tmp_path):
    """A tenth of the held-out stories, for the time; the slow test below measures all of them."""
    _, held_out = split_held_out(read_documents([STORIES_TEXT]), 0.02)
    (tmp_path / "some.txt").write_text("\n<|endoftext|>\n".join(held_out[::10]), encoding="utf-8")
    assert evaluate_files(GPT.from_pretrained("stories"), [tmp_path / "some.txt"]).bits_per_byte < 1.0


@pytest.mark.slow
@needs_stories
def test_stories_bits_per_byte_are_as_stated():
    result = evaluate_files(GPT.from_pretrained("stories"), [STORIES_TEXT], held_out=0.02)
    _, held_out = split_held_out(read_documents([STORIES_TEXT]), 0.02)
    assert result.n_bytes == count_bytes(held_out)
    stated = re.search(r"\*\*([\d.]+) bits per byte\*\*", (weights_dir() / "stories" / "TRAINING.md").read_text())
    assert result.bits_per_byte == pytest.approx(float(stated[1]), abs=0.001)  # it is stated to three digits
    assert result.bits_per_byte <= 1.0


def test_they_say_how_they_like_to_be_sampled():
    """Chosen by docs/sweep.py; its tables stand in each TRAINING.md."""
    liked = {"stories": {"temperature": 0.7, "top_k": 0}, "poems": {"temperature": 0.8, "top_k": 0, "top_p": 0.95}}
    for name, expected in liked.items():
        gpt = GPT.from_pretrained(name, ops="numpy")
        assert gpt.defaults == expected
        assert gpt.generate("One", 9, seed=3) == gpt.generate("One", 9, seed=3, **expected)
        assert "## How it likes to be sampled" in (weights_dir() / name / "TRAINING.md").read_text(encoding="utf-8")


def _measure():
    """weights/stories/measure.py as a module."""
    return module_at(weights_dir() / "stories" / "measure.py")


@pytest.mark.slow
def test_stories_are_as_good_as_stated():
    """The three shares of measure.py, within one story: the same 100 on any CPU but for logits that tie to rounding."""
    measure = _measure()
    got = measure.shares(*measure.write(GPT.from_pretrained("stories", ops="numpy")))
    page = (weights_dir() / "stories" / "TRAINING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?:end|repeat|keep)[^|]*\|[^|]*\| (\d+) of (\d+) \|", page, flags=re.MULTILINE)
    stated = [tuple(map(int, row)) for row in rows]
    expected = [(got.ended, 100), (got.repeating, 100), (got.keeping, got.named)]
    assert len(stated) == 3
    for (said, of), (counted, among) in zip(stated, expected, strict=True):
        assert abs(said - counted) <= 1 and abs(of - among) <= 1


def test_shares_are_counted_as_they_are_meant():
    measure = _measure()
    assert measure.repeats("They ran to the park. Then it rained. They ran to the park!")
    assert not measure.repeats("He was happy. She ran home. He was happy.")  # short ones may come twice
    assert measure.first_name("A girl named Lily had a cat called Tom.") == "Lily"
    assert measure.first_name("The cat slept.") is None
    assert measure.keeps("A boy named Tim ran. Then he sat. Tim slept.", "Tim")
    assert not measure.keeps("A boy named Tim ran. Then he sat. Timmy slept.", "Tim")


def has_form(poem, n_characters):
    """Four lines, each of so many Chinese characters and one mark."""
    lines = poem.strip("\n").split("\n")
    line = re.compile(rf"[\u4e00-\u9fff]{{{n_characters}}}[，。？！；：、]")
    return len(lines) == 4 and all(map(line.fullmatch, lines))


@pytest.mark.slow
def test_poems_have_the_form_that_was_asked_for():
    """200 poems, ten of each form and title: at least 80 % must have the form; the seed makes the number exact."""
    gpt = GPT.from_pretrained("poems")
    asked = [(form, f"{form}《{title}》\n") for form in FORMS for title in TITLES]
    prompts = [prompt for _, prompt in asked]
    poems = gpt.generate(prompts, 40, temperature=0.8, top_p=0.95, seed=0, num_return_sequences=10)
    good = [has_form(poem, FORMS[asked[i // 10][0]]) for i, poem in enumerate(poems)]
    print(f"{sum(good)} of {len(good)} poems have the form; the first: {poems[0]!r}")
    assert len(good) == 200 and sum(good) >= 160
    assert len(set(poems)) > 150  # … and they are not one poem
