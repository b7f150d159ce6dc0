"""Pictures say what the arrays say: every number that is written in one is compared with its array.

Images themselves are not compared: fonts differ from machine to machine. What is drawn is read back from the Figure.
"""

import io
import json
import warnings

import numpy as np
import pytest
from matplotlib.text import Text
from small import CONFIG, make, random_ids

from nanogpt_np import GPT, lens
from nanogpt_np.cli import main
from nanogpt_np.errors import InputError
from nanogpt_np.generation.sampling import Sampling
from nanogpt_np.lens import asked, style

IDS = random_ids(9, seed=3)
HOW = Sampling(temperature=0.7, top_k=9, top_p=0.9)
WHERE = asked.Where(how=HOW, token=3, against=8, corrupted=random_ids(9, seed=4))
NEEDS_A_RUN = ("training", "playback")  # tests/lens/test_learning.py has one
WHATS = [what for what in asked.WHATS if what not in NEEDS_A_RUN]
NEED_TWO_TOKENS = ("heads", "gradients", "step", "rounding", "patching")


@pytest.fixture(scope="module")
def gpt():
    return GPT(CONFIG, make())


def texts(figure):
    """Every text in a picture that is not empty."""
    return [found.get_text() for found in figure.findobj(Text) if found.get_text().strip()]


def render(figure):
    """The picture as PNG bytes; a character that no font has, or what does not fit, is an error."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(out, format="png")
    return out.getvalue()


def pixels(figure):
    import matplotlib.image

    return matplotlib.image.imread(io.BytesIO(render(figure)))


@pytest.mark.parametrize("what", WHATS)
def test_every_picture_is_drawn_and_says_what_it_is(gpt, what):
    figure = asked.draw(asked.view(gpt, IDS, what, WHERE), what, WHERE, "a model")
    image = pixels(figure)
    assert image.shape[0] > 150 and image.shape[1] > 300
    assert (image[..., :3].min(axis=-1) < 0.6).mean() > 0.002, "there is next to no ink on it"
    assert (image[0, 0, :3] == 1).all(), "white, in a dark notebook too"
    title, below = figure._suptitle.get_text(), figure._supxlabel.get_text()  # matplotlib 3.6 has no other way
    assert len(title.strip()) > 10 and below.startswith("a model; ")


@pytest.mark.parametrize("what", [what for what in WHATS if what not in NEED_TWO_TOKENS])
def test_one_token_is_a_text_too(gpt, what):
    render(asked.draw(asked.view(gpt, [5], what, WHERE), what))


@pytest.mark.parametrize("what", ["tokens", "head", "lines", "stages", "lens", "neurons", "next"])
def test_tokens_of_any_kind(make_gpt, what):
    """Bytes, Chinese, a combining mark, a dollar, a backslash: escaped where no font here has them, never a box."""
    gpt = make_gpt()
    render(asked.draw(asked.view(gpt, "a 床$x_1$ \\ ́\n<b>", what, WHERE), what))


def test_what_no_font_has_is_escaped(monkeypatch):
    monkeypatch.setattr(style, "_known", lambda: [frozenset(range(32, 0x250)) | {ord("␣")}])
    assert style.legible("␣né床🌕") == "␣né\\u5e8a\\U0001f315"
    monkeypatch.setattr(style, "_known", lambda: [frozenset({ord("床")})])
    assert style.legible("a床") == "a床"
    assert style.legible("a\x13b\nc") == "a\\x13b\nc"
    assert style.legible("$x_1$") == r"\$x_1\$"  # else matplotlib takes it for a formula


def test_chinese_is_drawn_as_it_stands_where_there_is_a_font():
    if len(style.fonts()) < 2:
        pytest.skip(f"none of {', '.join(style.CHINESE)} is here (Debian: fonts-noto-cjk)")
    assert style.legible("床前明月光") == "床前明月光"


def test_numbers_of_tokens(gpt):
    view = lens.tokens_view(gpt, IDS)
    said = texts(lens.draw_tokens(view))
    assert [f"{loss:.2f}" for loss in view.losses[1:]] == [text for text in said if text.replace(".", "").isdigit()]
    assert any(f"the mean is {view.losses[1:].mean():.2f}" in text for text in said)
    page = lens.tokens_html(view._replace(tokens=["<script>", *view.tokens[1:]]))
    assert "&lt;script&gt;" in page and "<script" not in page and "http" not in page and "url(" not in page
    assert all(f"id {i}, loss {loss:.3f} nats" in page for i, loss in zip(IDS[1:], view.losses[1:], strict=True))


def test_numbers_of_next_tokens(gpt):
    found = lens.next_tokens(gpt, IDS, 6)
    said = texts(lens.draw_next(found))
    assert [f" {prob:.3f}" for prob in found.probs] == [text for text in said if text.startswith(" 0.")]
    assert set(found.tokens) <= set(said)


def test_numbers_of_sampling(gpt):
    view = lens.sampling_view(gpt, IDS, HOW)
    said = texts(lens.draw_sampling(view))
    wanted = [f" {prob:.3f}" for row in view.probs for prob in row[:12] if prob > 0]
    assert [text for text in said if text.startswith(" 0.")] == wanted
    for name, left, mass in zip(view.names[1:], view.n_left[1:], view.mass[1:], strict=True):
        assert f"{name}\n{left:,} left, which had {mass:.1%}" in said


def test_numbers_of_a_head(gpt):
    view = lens.attention_view(gpt, IDS, 1, 2)
    said = texts(lens.draw_attention(view))
    cells = [f"{view.probs[i, j]:.2f}" for i in range(9) for j in range(i + 1)]
    assert [text for text in said if text.startswith(("0.", "1."))] == cells


def test_numbers_of_lines(gpt):
    view = lens.attention_view(gpt, IDS, 1, 2)
    figure = lens.draw_attention_lines(view)
    below = [view.probs[i, j] for i in range(9) for j in range(i)]
    assert [text for text in texts(figure) if text.startswith("0.")] == [f"{x:.2f}" for x in below if x >= 0.25]
    arcs = figure.axes[0].patches
    assert [arc.get_linewidth() for arc in arcs] == pytest.approx([0.4 + 3.6 * x for x in below if x >= 0.05])
    assert [text for text in texts(figure) if text.startswith("<")] == view.tokens


@pytest.mark.parametrize("query", [0, 4, -1])
def test_numbers_of_stages(gpt, query):
    view = lens.attention_view(gpt, IDS, 0, 1)
    said = texts(lens.draw_attention_stages(view, query))
    row = query % 9
    wanted = [f"{array[row, key]:.3f}" for key in range(row + 1)
              for array in (view.scores, view.scaled, view.masked, view.probs)]  # fmt: skip
    assert [text for text in said if text.lstrip("-").replace(".", "").isdigit()] == wanted
    assert f"{view.tokens[query]} looks at" in said
    with pytest.raises(InputError, match="query: expected a whole number from -9 to 8, got 9"):
        lens.draw_attention_stages(view, 9)


def test_numbers_of_heads(gpt):
    view = lens.head_summaries(gpt, IDS)
    said = [float(text) for text in texts(lens.draw_heads(view)) if text.startswith(".") or text == "1"]
    wanted = np.concatenate([getattr(view, name).ravel() for name in view._fields])
    np.testing.assert_allclose(said, wanted[np.isfinite(wanted)], rtol=0, atol=0.005001)


def test_cells_of_the_logit_lens(gpt):
    view = lens.logit_lens_view(gpt, IDS)
    said = texts(lens.draw_logit_lens(view))
    wanted = [token for row in view.guesses[::-1] for token in row]
    assert said[: len(wanted)] == wanted or [text for text in said if text in set(wanted)][: len(wanted)] == wanted


def test_numbers_of_attribution(gpt):
    view = lens.attribution_view(gpt, IDS, 3, 8)
    said = texts(lens.draw_attribution(view))
    parts = {name: value for name, value in view.parts().items() if value}
    assert len(parts) <= 24
    assert [text.strip() for text in said if text[:2] in (" +", " -")] == [f"{value:+.3f}" for value in parts.values()]
    assert set(parts) <= set(said)
    assert any(f"{view.total:.3f} in all" in text for text in said)


def test_small_parts_are_drawn_as_one():
    config = CONFIG.replace(n_layer=6)
    view = lens.attribution_view(GPT(config, make(config)), IDS)
    said = texts(lens.draw_attribution(view))
    numbers = [float(text) for text in said if text[:2] in (" +", " -")]
    assert len(numbers) == 25 and f"{len(view.parts()) - 24} smaller ones" in said
    assert sum(numbers) == pytest.approx(view.total, abs=25 * 0.0005 + 1e-4)  # each is rounded to three digits


def test_numbers_of_neurons(gpt):
    view = lens.neurons(gpt, IDS, 1)
    said = texts(lens.draw_neurons(view))
    wanted = [f"#{i}  {x:.2f}" for i, x in zip(view.strongest.ravel(), view.values.ravel(), strict=True)]
    assert [text for text in said if text.startswith("#")] == wanted
    assert all(f"{token}  ({on:.0%} on)" in said for token, on in zip(view.tokens, view.on, strict=True))


def test_heights_of_the_residual_stream(gpt):
    view = lens.residual_view(gpt, IDS)
    (axes,) = lens.draw_residual(view).axes
    heights = sorted(bar.get_height() for bar in axes.patches)
    np.testing.assert_allclose(heights, sorted(view.added[:, 1:].mean(axis=1)))
    np.testing.assert_allclose(axes.lines[-1].get_ydata(), view.norms[:, 1:].mean(axis=1))


def test_colours_can_be_told_apart_in_grey():
    """CIE lightness of the six colours, 0 to 100."""

    def lightness(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 116 * (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]) ** (1 / 3) - 16

    named = (style.QUERY, style.KEY, style.VALUE, style.RESIDUAL, style.ATTENTION, style.FFN)
    assert np.diff(sorted(map(lightness, named))).min() >= 10


def test_matplotlib_is_left_as_it_was(gpt):
    import matplotlib

    before = dict(matplotlib.rcParams)
    render(lens.draw_heads(lens.head_summaries(gpt, IDS)))
    assert dict(matplotlib.rcParams) == before


# ---------------------------------------------------------------- the command line


def test_inspect_writes_pictures(tmp_path, capsys):
    words = ["inspect", "The cat sat", "--what", "tokens", "--what", "head", "--layer", "1", "--head", "2"]
    assert main([*words, "--out", str(tmp_path / "new")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"wrote {tmp_path}/new/tokens.png: how unexpected each token was",
        f"wrote {tmp_path}/new/head.png: one head's pattern",
    ]
    assert all((tmp_path / "new" / f"{name}.png").read_bytes()[:4] == b"\x89PNG" for name in ("tokens", "head"))
    assert main([*words, "--out", str(tmp_path / "new")]) == 0
    assert capsys.readouterr().out.startswith("replaced ")


def test_inspect_prints_arrays(capsys):
    assert main(["inspect", "The cat sat", "--what", "tokens", "--what", "stages", "--json", "--layer", "3"]) == 0
    tokens, stages = map(json.loads, capsys.readouterr().out.splitlines())
    gpt = GPT.from_pretrained("stories", ops="numpy")
    view = lens.tokens_view(gpt, "The cat sat")
    assert tokens["what"] == "tokens" and tokens["tokens"] == view.tokens and tokens["losses"][0] is None
    np.testing.assert_allclose(tokens["losses"][1:], view.losses[1:])
    np.testing.assert_allclose(stages["probs"], lens.attention_view(gpt, "The cat sat", 3, 0).probs)
    assert stages["masked"][0][1] is None


@pytest.mark.parametrize(
    "words, message",
    [
        (["a", "--what", "head", "--layer", "9"], "--layer: expected a whole number from -6 to 5, got 9"),
        (["a", "--what", "attribution", "--token", "zebra crossing"], "--token: expected one token, got 'zebra cross"),
        (["", "--model", "nowhere"], "'nowhere': expected a model directory or one of stories, poems"),
        (["a", "--what", "patching"], "--corrupted: expected it for patching, got none; name the other text"),
        (["a", "--temperature", "-1"], "--temperature: expected 0 (greedy) or a number from 1e-6 to 1e6, got -1.0"),
    ],
)
def test_mistakes_are_one_line(words, message, capsys):
    assert main(["inspect", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"nanogpt-np: {message}") and said.count("\n") == 1


def test_a_model_without_kept_ones_is_not_played_back(capsys):
    assert main(["inspect", "a", "--what", "playback"]) == 2
    said = capsys.readouterr().err
    assert said.endswith("stories: expected models in kept, found none; train with --keep-every\n")


def test_a_terminal_gets_the_tokens_in_colour(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main(["inspect", "The cat sat", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    view = lens.tokens_view(GPT.from_pretrained("stories", ops="numpy"), "The cat sat")
    assert said.startswith(lens.tokens_ansi(view) + "\nwrote ")
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["inspect", "The cat sat", "--out", str(tmp_path)]) == 0
    assert "\x1b" not in capsys.readouterr().out
