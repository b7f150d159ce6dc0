"""How large a model, and how long: defaults that fit the size of the text.

Enter: the bytes of the text, and what the user has named. Leave: values for the options that were not named.
Next: training/start.py.
"""

from typing import NamedTuple

from ..errors import InputError
from . import gpt3


class Recipe(NamedTuple):
    """A preset: for texts of up to `n_bytes` bytes, in one line of words, and the options it stands for."""

    name: str
    n_bytes: float
    about: str
    options: dict


RECIPES = (
    Recipe("tiny", 100_000, "a page to a chapter", dict(
        n_vocab=320, n_ctx=64, n_embd=64, n_layer=3, n_head=4,
        steps=600, batch_size=16, lr=3e-3, warmup=30, dropout=0.1, held_out=0.1, eval_every=100)),
    Recipe("small", 5_000_000, "a book, or all of Shakespeare's plays", dict(
        n_vocab=1024, n_ctx=128, n_embd=128, n_layer=4, n_head=4,
        steps=1500, batch_size=16, lr=2e-3, warmup=100, dropout=0.1, held_out=0.02, eval_every=250)),
    Recipe("stories", float("inf"), "a shelf of books", dict(
        n_vocab=4096, n_ctx=256, n_embd=256, n_layer=6, n_head=8,
        steps=4500, batch_size=8, lr=2e-3, warmup=300, dropout=0.1, held_out=0.02, eval_every=250)),
)  # fmt: skip

AUTO = "auto"
NAMES = (AUTO, *(recipe.name for recipe in RECIPES))
DECIDED = tuple(RECIPES[0].options)  # the options that a preset decides
FURTHER_LR = 3e-4  # for a model that has learned already: large steps would undo that


def find(preset, n_bytes):
    """The Recipe of that name; "auto" is the first that is meant for so many bytes."""
    for recipe in RECIPES:
        if recipe.name == preset or (preset == AUTO and n_bytes <= recipe.n_bytes):
            return recipe
    raise InputError(f"--preset: expected one of {', '.join(NAMES)}, got {preset!r}")


def fill(given, recipe, shape=None):
    """`given` (what the user named) with the recipe's values for the rest.

    `shape`: what another model decides (start.shape_of); then a step reads as many tokens as the recipe's, in windows
    of that model's length, and the learning rate is low. Where a training recipe is named (gpt3.fill), it comes before
    the preset: of the preset remain the shape and the length.
    """
    if given.get("recipe") is not None:
        gpt3.check(given["recipe"])
        recipe = recipe._replace(options={k: v for k, v in recipe.options.items() if k not in ("lr", "warmup")})
    values = dict(recipe.options)
    if shape is not None:
        n_tokens = values["n_ctx"] * values["batch_size"]
        n_ctx = given.get("n_ctx", shape["n_ctx"])
        values |= shape | {"n_ctx": n_ctx, "batch_size": max(n_tokens // n_ctx, 1), "lr": FURTHER_LR}
    return gpt3.fill(values | given)


def table():
    """The presets as lines of text, for --help."""
    lines = []
    for recipe in RECIPES:
        o = recipe.options
        limit = f"up to {recipe.n_bytes / 1e6:g} MB" if recipe.n_bytes < float("inf") else "larger"
        lines.append(
            f"  {recipe.name:<8} {limit:<13} {o['n_layer']} blocks, {o['n_head']} heads, {o['n_embd']} wide, "
            f"{o['n_ctx']} positions, {o['n_vocab']} tokens;\n"
            f"{'':25}{o['steps']} steps of {o['batch_size']} windows, lr {o['lr']:g}, dropout {o['dropout']:g}"
        )
    return "\n".join(lines)
