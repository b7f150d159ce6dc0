"""lens/embeddings.py and lens/coloured.py: cosines against loops, colours and words read back."""

import re

import numpy as np
import pytest
from lens.test_pictures import render, texts
from small import CONFIG, make, random_ids

from nanogpt_np import GPT, lens
from nanogpt_np.errors import InputError

IDS = random_ids(9, seed=3)


@pytest.fixture(scope="module")
def gpt():
    return GPT(CONFIG, make())


def cosine(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return sum(a * b) / (sum(a * a) ** 0.5 * sum(b * b) ** 0.5)


def test_positions(gpt):
    view = lens.positions_view(gpt)
    wpe = gpt.params["wpe"]["weight"]
    wanted = [[cosine(a, b) for b in wpe] for a in wpe]
    np.testing.assert_allclose(view.learned, wanted, rtol=0, atol=1e-12)
    np.testing.assert_allclose(view.norms, [sum(row.astype(float) ** 2) ** 0.5 for row in wpe], rtol=1e-12)
    # cos(a - b) = cos a cos b + sin a sin b: the cosine of two fixed positions hangs on their distance alone
    frequencies = 10000.0 ** (-np.arange(0, 24, 2) / 24)
    for i in range(16):
        for j in range(16):
            assert view.sinusoidal[i, j] == pytest.approx(np.cos((i - j) * frequencies).mean(), abs=1e-12)
    assert render(lens.draw_positions(view, "a model"))


def test_positions_of_a_model_that_learned_none():
    config = CONFIG.replace(positions="sinusoidal")
    view = lens.positions_view(GPT(config, make(config)))
    assert view.learned is None and view.norms is None and render(lens.draw_positions(view))
    config = CONFIG.replace(n_embd=27)
    view = lens.positions_view(GPT(config, make(config)))
    assert view.sinusoidal is None and render(lens.draw_positions(view))


def test_neighbours(gpt):
    view = lens.neighbours(gpt, 7, k=4)
    wte = gpt.params["wte"]["weight"]
    wanted = {i: cosine(wte[7], row) for i, row in enumerate(wte) if i != 7}
    best = sorted(wanted, key=wanted.get, reverse=True)[:4]
    assert view.ids.tolist() == best and view.token == "<7>" and view.tokens == [f"<{i}>" for i in best]
    np.testing.assert_allclose(view.similarities, [wanted[i] for i in best], rtol=1e-12)
    said = texts(lens.draw_neighbours(view))
    assert [f" {x:.3f}" for x in view.similarities if x > 0] == [text for text in said if text.startswith(" 0.")]
    assert len(lens.neighbours(gpt, 7, k=99).ids) == 30  # all but itself


def test_a_row_of_zeros_is_like_nothing():
    params = make()
    params["wte"]["weight"][3] = 0
    assert (lens.neighbours(GPT(CONFIG, params), 3).similarities == 0).all()


def test_what_stories_puts_together():
    gpt = GPT.from_pretrained("stories", ops="numpy")
    assert {"␣cat", "␣dogs", "␣puppy"} <= set(lens.neighbours(gpt, " dog").tokens)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda gpt: lens.neighbours(gpt, 31), "token: expected an id from 0 to 30 or a text, got 31"),
        (lambda gpt: lens.neighbours(gpt, None), "token: expected a text that is one token, or an id, got none"),
        (lambda gpt: lens.neighbours(gpt, 3, 0), "k: expected a whole number of at least 1, got 0"),
    ],
)
def test_mistakes_are_one_line(gpt, call, message):
    with pytest.raises(InputError, match=message) as caught:
        call(gpt)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- in colour


def test_a_notebook_shows_the_tokens_in_colour(gpt):
    view = lens.tokens_view(gpt, IDS)
    assert view._repr_html_() == lens.tokens_html(view)


def test_a_terminal_shows_them_too(make_gpt):
    view = lens.tokens_view(make_gpt(), "the cat sat on the mat. 床 \x1b[31m!")
    said = lens.tokens_ansi(view)
    plain = re.sub(r"\x1b\[[\d;]*m", "", said)
    assert "\x1b" not in plain, "what a text holds cannot steer the terminal"
    words, numbers = " ".join(plain.splitlines()[0:-1:2]).split(), " ".join(plain.splitlines()[1:-1:2]).split()
    assert words == view.tokens and numbers == [f"{loss:.2f}" for loss in view.losses[1:]]
    assert plain.splitlines()[-1].endswith(f"the mean is {view.losses[1:].mean():.2f}")
    assert max(map(len, plain.splitlines())) <= 80
    shades = re.findall(r"\x1b\[48;5;(\d+);38;5;\d+m", said)
    for (a, shade_a), (b, shade_b) in zip(zip(view.losses[1:], shades[1:], strict=True),
                                          zip(view.losses[2:], shades[2:], strict=False), strict=False):  # fmt: skip
        order = lens.coloured.BLUES
        assert (order.index(int(shade_a)) - order.index(int(shade_b))) * (a - b) >= 0, "worse is darker"


def test_chinese_characters_take_two_columns(gpt):
    view = lens.tokens_view(gpt, IDS[:3])._replace(tokens=["床", "床前明", "a"])
    above, below, _ = re.sub(r"\x1b\[[\d;]*m", "", lens.tokens_ansi(view)).splitlines()
    assert above == "床   床前明 a   "
    assert below.index(f"{view.losses[2]:.2f}") == 5 + 7  # in columns; "床前明 " takes seven
