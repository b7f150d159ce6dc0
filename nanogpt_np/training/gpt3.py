"""How GPT-3 was trained, and its eight sizes as the paper prints them (Brown et al. 2020, table 2.1 and appendix B).

Enter: the options of a run. Leave: those that `--recipe gpt3` decides, where they were not named. The paper's numbers
of tokens are shares of its 300 billion here, so that a run of any length has the same shape. Next: training/recipes.py.
"""

from typing import NamedTuple

from ..errors import InputError

NAME = "gpt3"


class Size(NamedTuple):
    """A row of table 2.1, as it is printed; `batch`: tokens."""

    n_params: float
    n_layers: int
    d_model: int
    n_heads: int
    d_head: int
    batch: float
    lr: float


# two rows cannot be as they are printed: 24 * 128 is not 2048, 40 * 128 is not 5140; config.PRESETS has what can
PRINTED = {
    "gpt3-small": Size(125e6, 12, 768, 12, 64, 0.5e6, 6.0e-4),
    "gpt3-medium": Size(350e6, 24, 1024, 16, 64, 0.5e6, 3.0e-4),
    "gpt3-large": Size(760e6, 24, 1536, 16, 96, 0.5e6, 2.5e-4),
    "gpt3-xl": Size(1.3e9, 24, 2048, 24, 128, 1e6, 2.0e-4),
    "gpt3-2.7b": Size(2.7e9, 32, 2560, 32, 80, 1e6, 1.6e-4),
    "gpt3-6.7b": Size(6.7e9, 32, 4096, 32, 128, 2e6, 1.2e-4),
    "gpt3-13b": Size(13e9, 40, 5140, 40, 128, 2e6, 1.0e-4),
    "gpt3-175b": Size(175e9, 96, 12288, 96, 128, 3.2e6, 0.6e-4),
}
TOKENS = 300e9  # that each of them read
WARMUP, DECAY, RAMP = 375e6 / TOKENS, 260e9 / TOKENS, 4e9 / TOKENS  # the ramp of 4 to 12 billion: the shortest
FIRST_BATCH = 32e3 / 0.5e6  # of the smallest size's full one
ADAM = {"beta1": 0.9, "beta2": 0.95, "clip": 1.0, "weight_decay": 0.1}  # and eps 1e-8, which is AdamW's here anyway


def fill(given):
    """Options as a dict, in which steps, batch_size and n_ctx stand -> with the recipe's for those that do not.

    The learning rate is that of the smallest size, which is the highest; smaller models take more.
    InputError for the name of another recipe.
    """
    name = given.get("recipe")
    if name is None:
        return given
    check(name)
    full = given["batch_size"] * given.get("accumulate", 1)
    n_tokens = given["steps"] * full * given["n_ctx"]
    schedule = {
        "lr": PRINTED["gpt3-small"].lr,
        "warmup_tokens": round(WARMUP * n_tokens),
        "decay_tokens": max(round(DECAY * n_tokens), 1),
        "ramp_tokens": round(RAMP * n_tokens),
        "ramp_from": max(round(FIRST_BATCH * full), 1),
    }
    return {**ADAM, **schedule, **given}


def check(name):
    """InputError where there is no recipe of that name."""
    if name != NAME:
        raise InputError(f"--recipe: expected {NAME}, got {name!r}; leave it out for the usual one")
