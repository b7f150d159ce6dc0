"""Figures of the lens look as they did: each is compared with its image in baseline/; see tests/looks.py."""

import numpy as np
import pytest
from lens.test_pictures import WHERE
from looks import LOOK, only_compared
from small import CONFIG, make, random_ids

from nanogpt_np import GPT, lens
from nanogpt_np.lens import asked, learning, playback

IDS = random_ids(9, seed=3)


@pytest.fixture(scope="module")
def gpt(request):
    only_compared(request)
    return GPT(CONFIG, make())


def made_up_run():
    """A log that needs no training."""
    steps = np.arange(1.0, 101.0)
    held_out = np.where(steps % 25 == 0, 2 + 3 / steps, np.nan)
    wave = np.sin(steps)
    return learning.TrainingView(steps, 64 * steps, 1e-3 * np.exp(-steps / 50), 2 + 4 / steps + 0.1 * wave,
                                 1 + 0.2 * wave, held_out, held_out / 3, steps / 2)  # fmt: skip


def made_up_playback(gpt):
    """Three models, of which the text was read by one."""
    probs = lens.attention_grid(gpt, IDS).probs
    losses = lens.tokens_view(gpt, IDS).losses
    steps = np.array([0, 50, 100])
    views = np.stack([probs, probs[::-1], probs]), np.stack([losses, losses / 2, losses / 4])
    return playback.Playback(steps, lens.look(gpt, IDS).tokens, views[1], views[0], "To be", [" or", " not", " to be"])


@pytest.mark.parametrize("what", asked.WHATS)
@pytest.mark.mpl_image_compare(**LOOK)
def test_it_looks_as_before(gpt, what):
    if what == "rounding":
        pytest.importorskip("numba")
    where = WHERE._replace(layer=1, head=2)
    if what == "training":
        found = made_up_run()
    else:
        found = made_up_playback(gpt) if what == "playback" else asked.view(gpt, IDS, what, where)
    return asked.draw(found, what, where, "a model")
