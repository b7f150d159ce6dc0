"""Presets: which fits a text, what the user names comes first, and a page of text is enough for a run."""

import json
import math

import pytest

from nanogpt_np.cli import main
from nanogpt_np.cli.training import TRAIN_NOTES
from nanogpt_np.errors import InputError
from nanogpt_np.gpt import GPT
from nanogpt_np.training import folder, recipes
from nanogpt_np.training.options import TrainOptions

pytestmark = pytest.mark.usefixtures("no_picture")


@pytest.mark.parametrize(
    "n_bytes, name",
    [(0, "tiny"), (3000, "tiny"), (100_000, "tiny"), (100_001, "small"), (1_115_394, "small"), (12_300_000, "stories")],
)
def test_auto_chooses_by_size(n_bytes, name):
    assert recipes.find("auto", n_bytes).name == name
    assert recipes.find("stories", n_bytes).name == "stories"


def test_an_unknown_preset_is_one_line(tmp_path, capsys):
    with pytest.raises(InputError, match="--preset: expected one of auto, tiny, small, stories, got 'huge'"):
        recipes.find("huge", 0)
    assert main(["train", "--data", "none", "--out", str(tmp_path / "run"), "--preset", "huge"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_every_recipe_decides_the_same_options_and_they_make_sense():
    for recipe in recipes.RECIPES:
        assert tuple(recipe.options) == recipes.DECIDED
        options = TrainOptions(["text"], "out", **recipe.options)
        assert options.warmup < options.steps and options.eval_every <= options.steps
    assert [recipe.n_bytes for recipe in recipes.RECIPES] == sorted(recipe.n_bytes for recipe in recipes.RECIPES)
    assert recipes.RECIPES[-1].n_bytes == math.inf


def test_what_is_named_comes_first():
    recipe = recipes.find("small", 0)
    filled = recipes.fill({"n_embd": 96, "lr": 0.5}, recipe)
    assert filled == recipe.options | {"n_embd": 96, "lr": 0.5}
    further = recipes.fill({"n_ctx": 64}, recipe, {"n_embd": 32, "n_ctx": 256})
    assert further["n_embd"] == 32 and further["n_ctx"] == 64 and further["lr"] == recipes.FURTHER_LR
    assert further["batch_size"] * 64 == recipe.options["batch_size"] * recipe.options["n_ctx"]


def test_the_help_has_the_table():
    table = recipes.table()
    for recipe in recipes.RECIPES:
        o = recipe.options
        assert f"  {recipe.name} " in table and f"{o['steps']} steps of {o['batch_size']} windows" in table
    assert "{table}" in TRAIN_NOTES and "exit status: 0 finished, 3 stopped" in TRAIN_NOTES


PAGE = """When the boats came home in the evening, the children ran down to the water and counted them.
There were seven in the morning and seven at night, and nobody had ever seen it otherwise.
"Eight," said Ada, who was the smallest. They laughed at her and counted again, and there were eight.
The last of them had no light. It lay low, as a boat does that is full of fish, and nobody stood in it.
"Whose is it?" asked the baker. Nobody knew. It had no name on its bow, and the paint was the grey of rain.
"""


def test_a_page_of_text_is_enough_without_any_option(tmp_path, capsys):
    """500 bytes; --steps alone is given, to keep this quick."""
    text, out = tmp_path / "page.txt", tmp_path / "run"
    text.write_text(PAGE, encoding="utf-8")
    assert main(["train", "--data", str(text), "--out", str(out), "--steps", "8", "--batch-size", "2"]) == 0
    said = capsys.readouterr().out
    assert "8 steps of 128 tokens" in said and "held-out" in said
    assert GPT.from_pretrained(out).config.n_embd == 64
    stored = json.loads((out / folder.NAME).read_text())["options"]
    assert stored["n_vocab"] == 320 and stored["eval_every"] == 100


def test_too_little_text_is_one_clear_line(tmp_path, capsys):
    for text in ("word " * 60, "Hi."):
        (tmp_path / "text").write_text(text, encoding="utf-8")
        assert main(["train", "--data", str(tmp_path / "text"), "--out", str(tmp_path / "run")]) == 2
        said = capsys.readouterr().err
        *warnings, last = said.splitlines()
        assert "n-ctx + 1 = 65 tokens to train on, got" in last and "use more text" in last
        assert all(line.startswith("nanogpt-np: --") for line in warnings)
