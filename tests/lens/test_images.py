"""Figures look as they did: each is compared with its image in baseline/ by pytest-mpl, `pytest --mpl`.

The images are made with the gate's matplotlib and DejaVu Sans, which comes with it; other releases set panels and
letters elsewhere (a root mean square of 17 to 44 of 255 between 3.8 and 3.11), so there they are not compared. On
another CPU a last digit may be another, which makes below 1; one number that is gone makes 1.4 and more, a colour map
5, a title 9, a panel 17. To make them anew, and then to look at them:
`pytest tests/lens/test_images.py --mpl-generate-path=tests/lens/baseline`.
"""

import matplotlib
import numpy as np
import pytest
from lens.test_pictures import WHERE
from small import CONFIG, make, random_ids

from nanogpt_np import GPT, lens
from nanogpt_np.lens import asked, learning, playback

pytest.importorskip("pytest_mpl", reason='needs pip install -e ".[dev]"')
MADE_WITH = "3.11"
if matplotlib.__version__.rsplit(".", 1)[0] != MADE_WITH:
    pytest.skip(f"the images are made with matplotlib {MADE_WITH}; look at new ones", allow_module_level=True)

IDS = random_ids(9, seed=3)
LOOK = {"baseline_dir": "baseline", "style": "default", "tolerance": 1.2, "savefig_kwargs": {"dpi": 50}}


@pytest.fixture(scope="module")
def gpt(request):
    if not (request.config.getoption("--mpl") or request.config.getoption("--mpl-generate-path")):
        pytest.skip("images are compared under --mpl alone")
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
