"""Every number that the page shows, read back from Chromium and compared with NumPy: type, click, slide, scrub.

Both languages, both widths. What is compared is counted and printed (`pytest -m slow -s`). The numbers' addresses stand
beside them (`data-of`); expected.py knows what NumPy has there.
"""

import re

import numpy as np
import pytest
from explore import browser as b
from explore.expected import Beside, Expected, Sliders, Written

from nanogpt_np import GPT
from nanogpt_np.generation.sampling import Sampling

pytestmark = pytest.mark.slow
PROMPT = "The little dog ran to the"
THUMBNAIL = """(id) => {
  const canvas = document.querySelector(`#${id} canvas`);
  return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
}"""
COUNTED = {"numbers": 0, "painted": 0, "states": 0}


@pytest.fixture(scope="module")
def address():
    b.needed()
    with b.serving("stories", "--model", "poems", "--prompt", PROMPT) as (found, _):
        yield found


@pytest.fixture(scope="module")
def chromium():
    with b.chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def gpt():
    return GPT.from_pretrained("stories", ops="numpy")


@pytest.fixture(scope="module", params=[(1280, "en"), (390, "zh")], ids=["1280-en", "390-zh"])
def page(request, chromium, address):
    """A tab of both widths, each in one language."""
    width, lang = request.param
    made = b.Page(chromium, address, width)
    made.lang = lang
    yield made
    outside = [url for url in made.asked if not url.startswith((address, "data:"))]
    assert made.troubles == [] and outside == [] and len(made.asked) > 20
    print(f"\n{width} px, {lang}: {COUNTED}")


@pytest.fixture(scope="module")
def wide(chromium, address):
    """One tab, wide and in English, for what differs in numbers alone."""
    made = b.Page(chromium, address)
    made.lang = "en"
    yield made
    assert made.troubles == []


def compare(page, expected, at_least):
    """All that stands on the page now; at least so many numbers, so that an empty page is no success."""
    numbers = page.numbers()
    wrong = [line for of, value, text in numbers if (line := b.differs(page.lang, of, value, text, expected(of)))]
    painted = page.painted()
    wrong += [f"painted {i},{j}: {text} of {v}" for i, j, text, v in painted
              if abs(b.number(text) - b.number(v)) > b.step_of(text) * 1.0001]  # fmt: skip
    assert not wrong, f"{len(wrong)} of {len(numbers)}: {wrong[:5]}"
    assert len(numbers) >= at_least, f"{len(numbers)} numbers, expected {at_least}"
    assert page.elsewhere() == []
    assert page.tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), "wider than the window"
    for name, more in (("numbers", len(numbers)), ("painted", len(painted)), ("states", 1)):
        COUNTED[name] += more


def go(page, **query):
    """The page with the prompt of these tests."""
    return page.go(lang=page.lang, prompt=PROMPT, **query)


def test_the_first_picture_and_what_is_typed(page, gpt):
    go(page)
    compare(page, Sliders(gpt, PROMPT), 75)
    page.act(lambda tab: (tab.fill("#prompt", "A cat"), tab.press("#prompt", "Enter")))
    compare(page, Sliders(gpt, "A cat"), 75)
    assert "prompt=A+cat" in page.tab.url
    page.act(lambda tab: tab.click("#chip-0"))
    compare(page, Sliders(gpt, "A cat", position=0), 75)


def test_every_stage_of_a_head(page, gpt):
    expected = Expected(gpt, PROMPT)
    go(page, view="attention", layer=2, head=3)
    for stage in ("qkv", "scores", "scaled", "masked", "probs", "mixed"):
        page.act(lambda tab, stage=stage: tab.click(f"#stage-{stage}"))
        compare(page, expected, 75)


def test_heads_are_chosen_by_a_click_and_by_keys(page, gpt):
    go(page)
    page.act(lambda tab: tab.click("#head-4-1"))
    assert page.tab.input_value("#layer") == "4" and page.tab.input_value("#head") == "1"
    compare(page, Expected(gpt, PROMPT), 75)
    page.act(lambda tab: tab.select_option("#layer", "1"))
    page.act(lambda tab: tab.focus("#pairs"))
    for key in ("ArrowRight", "ArrowUp", "ArrowUp"):
        page.act(lambda tab, key=key: tab.keyboard.press(key))
    last = len(gpt.tokenizer.encode(PROMPT)) - 1
    assert f"[1,{last - 2},1]" in page.tab.text_content("#pairs-readout")
    page.act(lambda tab: tab.keyboard.press("Enter"))
    assert f"blocks.1.attn.probs[1,{last - 2},1]" in page.tab.text_content("#cell .equation")
    compare(page, Expected(gpt, PROMPT), 75)


CELLS = [
    "tokens[2,7]", "positions[2,7]", "embedded[2,7]", "blocks.0.x[1,3]", "blocks.3.x[1,3]", "blocks.2.attn.x[3,9]",
    "blocks.2.attn.q[1,3,4]", "blocks.2.attn.k[1,3,4]", "blocks.2.attn.v[1,3,4]", "blocks.2.attn.scores[1,3,2]",
    "blocks.2.attn.scaled[1,3,2]", "blocks.2.attn.masked[1,2,4]", "blocks.2.attn.masked[1,4,2]",
    "blocks.2.attn.probs[1,3,2]", "blocks.2.attn.mixed[1,3,4]", "blocks.2.attn.merged[3,40]", "blocks.2.attn_out[3,9]",
    "blocks.2.x_mid[3,9]", "blocks.2.ffn.x[3,9]", "blocks.2.ffn.pre_gelu[3,900]", "blocks.2.ffn.hidden[3,900]",
    "blocks.2.ffn_out[3,9]", "x[3,9]", "final[3,9]", "logits[3,99]", "probs[3,99]", "grad.blocks.2.x[3,9]",
]  # fmt: skip


def test_one_number_taken_apart_all_the_way_down(page, gpt):
    """Every kind of number, and from a score to the embedding by clicks on its largest factor."""
    expected = Expected(gpt, PROMPT)
    go(page, view="stream", measure="added")
    for cell in CELLS if page.lang == "en" else CELLS[9:15]:
        page.move(cell=cell)
        assert page.tab.text_content("#cell .equation").startswith(cell)
        compare(page, expected, 75)
    go(page, view="attention", stage="scores", layer=1, head=2, cell="blocks.1.attn.scores[2,3,1]")
    for selector in ("#factor-0-0", "#factor-0-0"):  # to q, then to the stream after ln_1
        page.act(lambda tab, selector=selector: tab.click(selector))
        compare(page, expected, 75)
    assert "attn.x" in page.tab.text_content("#cell .equation")


def test_pointing_at_a_cell_shows_its_sum(wide, gpt):
    page = go(wide, view="attention", stage="scores", layer=0, head=5)
    page.tab.locator("#pairs").scroll_into_view_if_needed()
    box = page.tab.locator("#pairs canvas").bounding_box()
    page.act(lambda tab: tab.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.6))
    cell = page.tab.text_content("#cell .equation").split(" = ")[0]
    assert re.fullmatch(r"blocks\.0\.attn\.scores\[5,\d,\d\]", cell)
    assert page.tab.text_content("#pairs-readout").startswith(cell)
    compare(page, Expected(gpt, PROMPT), 75)


def test_the_feed_forward_network(page, gpt):
    expected = Expected(gpt, PROMPT, position=4)
    go(page, view="ffn", layer=3, position=4)
    for site in ("x", "pre_gelu", "hidden", "ffn_out"):
        page.act(lambda tab, site=site: tab.click(f"#site-{site}"))
        compare(page, expected, 300)


def test_the_stream_and_the_lens(page, gpt):
    expected = Expected(gpt, PROMPT)
    go(page, view="stream")
    for measure in ("probs", "entropy", "kl", "norms", "added", "along"):
        page.act(lambda tab, measure=measure: tab.click(f"#measure-{measure}"))
        compare(page, expected, 75)
        if measure in ("probs", "entropy", "kl"):
            shown = page.tab.evaluate("() => [...document.querySelectorAll('.guessed')].map((n) => n.textContent)")
            assert shown == [guess for row in expected.lens.guesses for guess in row]


def test_who_wrote_a_logit(page, gpt):
    go(page, view="attribution")
    compare(page, Expected(gpt, PROMPT), 75)
    ids = page.tab.evaluate("() => [...document.querySelectorAll('#token option')].map((o) => Number(o.value))")
    page.act(lambda tab: tab.select_option("#token", str(ids[2])))
    page.act(lambda tab: tab.select_option("#against", str(ids[1])))
    compare(page, Expected(gpt, PROMPT, token=ids[2], against=ids[1]), 75)


SLIDERS = [{"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.8}, {"min_p": 0.05}, {"temperature": 0},
           {"temperature": 1.5, "top_k": 40, "top_p": 0.9, "min_p": 0.02}]  # fmt: skip


def test_sliders(page, gpt):
    """Moved in the page, no server asked: the only arithmetic of its own."""
    go(page, view="next")
    for sliders in SLIDERS:
        page.act(lambda tab: tab.click("#sliders-off"))
        before = len(page.asked)
        for name, value in sliders.items():
            page.tab.locator(f"#slider-{name}").evaluate(
                "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", value)
        page.act(lambda tab: None)
        assert len(page.asked) == before
        compare(page, Sliders(gpt, PROMPT, Sampling(**sliders)), 75)
        for name, value in sliders.items():
            assert f"{name}={value}" in page.tab.url


def test_a_slider_moved_by_keys(wide, gpt):
    page = go(wide, view="next")
    page.tab.focus("#slider-top_k")
    for _ in range(3):
        page.tab.keyboard.press("ArrowRight")
    page.act(lambda tab: None)
    compare(page, Sliders(gpt, PROMPT, Sampling(top_k=3)), 75)


def test_writing_forwards_and_back(page, gpt):
    """Each step: the whole page shows the text up to it; who might have come; what was and was not computed."""
    how = {"temperature": 0.8, "top_p": 0.95}
    ids = gpt.tokenizer.encode(PROMPT)
    new = gpt.generate(ids, max_new_tokens=8, seed=3, **how)
    go(page, view="write", step=0, n_new=8, seed=3, **how)
    for step in (0, 1, 2, 1, 7):
        if step == 7:
            page.tab.locator("#scrub").evaluate("(s) => { s.value = 7; s.dispatchEvent(new Event('input')); }")
        elif step:
            page.tab.click("#scrub-on" if step != 1 or "step=0" in page.tab.url else "#scrub-back")
        page.act(lambda tab: None)
        assert f"step={step}" in page.tab.url
        compare(page, Written(gpt, ids, new, Sampling(**how), step), 75)
    said = page.tab.evaluate("() => [...document.querySelectorAll('.said-so-far .token')].map((n) => n.textContent)")
    assert said == Expected(gpt, [*ids, *new]).lens.tokens


def test_the_same_picture_backwards(page, gpt):
    go(page, view="backward", way="backward")
    compare(page, Expected(gpt, PROMPT), 75)
    page.act(lambda tab: tab.select_option("#loss-at", "2"))
    compare(page, Expected(gpt, PROMPT, loss_at=2), 75)
    page.act(lambda tab: tab.click("#way-forward"))
    compare(page, Expected(gpt, PROMPT, loss_at=2), 75)


def test_the_models_picture_is_backwards_in_the_view_of_gradients(page, gpt):
    """Its bands, joints, bars, and the small pictures of its heads; forwards again in any other view."""
    go(page, view="next")
    forwards = page.tab.evaluate(THUMBNAIL, "head-2-3")
    page.act(lambda tab: tab.click("#tab-backward"))
    compare(page, Expected(gpt, PROMPT), 75)
    kinds = page.tab.evaluate("() => [...document.querySelectorAll('#map [data-of]')].map((n) => n.dataset.of)")
    for kind, n in (("grad.norms", 8), ("grad.through", 12), ("grad.times_ffn", 6), ("grad.loss", 1)):
        assert len([of for of in kinds if of.startswith(kind)]) == n - (kind == "grad.norms")  # the last is in no row
    assert all("grad" in of for of in kinds)
    view = Expected(gpt, PROMPT).gradients
    patterns = Expected(gpt, PROMPT).array("grad.patterns")
    for layer, head in ((0, 0), (2, 3), (5, 7)):
        pixels = np.array(page.tab.evaluate(THUMBNAIL, f"head-{layer}-{head}"), int).reshape(*patterns.shape[2:], 4)
        redder, shares = pixels[..., 0] - pixels[..., 2], patterns[layer, head] / np.abs(patterns).max()
        assert np.all(redder[shares > 0.02] > 0) and np.all(redder[shares < -0.02] < 0)
        assert np.ptp(redder[np.triu_indices(len(shares), 1)]) == 0  # nobody looks ahead
        said = page.tab.get_attribute(f"#head-{layer}-{head}", "aria-label").split(": ")[1].removesuffix(" nats")
        assert abs(b.number(said) - view.times_head[layer, head]) <= b.step_of(said) * 1.001 + 1e-6
    assert page.tab.evaluate(THUMBNAIL, "head-2-3") != forwards
    page.act(lambda tab: tab.click("#tab-next"))
    assert page.tab.evaluate(THUMBNAIL, "head-2-3") == forwards and "way=" not in page.tab.url
    page.act(lambda tab: tab.click("#way-backward"))  # by choice in any view
    compare(page, Sliders(gpt, PROMPT), 75)
    assert "way=backward" in page.tab.url and page.tab.evaluate(THUMBNAIL, "head-2-3") != forwards


def test_a_head_is_switched_off_by_a_click(page, gpt):
    go(page, view="compare")
    page.act(lambda tab: tab.click("#switch-3-4"))
    compare(page, Beside(gpt, PROMPT, off=[(3, 4)]), 75)
    page.act(lambda tab: tab.click("#switch-0-1"))
    compare(page, Beside(gpt, PROMPT, off=[(3, 4), (0, 1)]), 75)
    page.act(lambda tab: tab.click("#all-on"))
    assert "off=" not in page.tab.url


def test_parts_are_switched_off_several_together(page, gpt):
    """A block's attention, an FFN, a unit, a head: by clicks and by keys, kept in the address, beside the whole."""
    go(page, view="compare")
    off = []
    for selector, part in (("#switch-2-attn", (2, "attn")), ("#switch-4-ffn", (4, "ffn")), ("#switch-0-3", (0, 3))):
        page.act(lambda tab, selector=selector: tab.click(selector))
        off.append(part)
        compare(page, Beside(gpt, PROMPT, off=off), 75)
    page.act(lambda tab: tab.click("#ffn-1"))
    unit = int(page.tab.get_attribute("#units button.plain", "id").removeprefix("units-"))
    page.act(lambda tab: tab.click(f"#switch-unit-{unit}"))
    off.append((1, "ffn", unit))
    compare(page, Beside(gpt, PROMPT, off=off), 75)
    assert f"off=0.3%2C1.ffn.{unit}%2C2.attn%2C4.ffn" in page.tab.url
    assert page.tab.locator("#head-2-0.off, #head-2-7.off, #head-0-3.off, #ffn-4.off").count() == 4
    assert page.tab.locator(".head.off").count() == gpt.config.n_head + 1
    for selector, key, part in (("#ffn-3", "x", (3, "ffn")), ("#head-5-1", "X", (5, "attn"))):
        page.act(lambda tab, selector=selector, key=key: (tab.focus(selector), tab.keyboard.press(key)))
        off.append(part)
        compare(page, Beside(gpt, PROMPT, off=off), 75)
    page.tab.reload()
    page.settle()
    compare(page, Beside(gpt, PROMPT, off=off), 75)
    page.act(lambda tab: tab.click(f"#switch-1-ffn-{unit}"))  # and on again
    compare(page, Beside(gpt, PROMPT, off=[part for part in off if part != (1, "ffn", unit)]), 75)


def test_two_prompts_two_models_and_int8(page, gpt):
    go(page, view="compare", mode="prompt", b_prompt="The little cat ran to the")
    compare(page, Beside(gpt, PROMPT, Expected(gpt, "The little cat ran to the")), 75)
    page.act(lambda tab: (tab.fill("#b-prompt", ""), tab.press("#b-prompt", "Enter")))
    compare(page, Beside(gpt, PROMPT, Expected(gpt, [gpt.config.eos_id])), 65)  # an empty text's very beginning
    assert "b_prompt=&" in f"{page.tab.url}&" and page.tab.locator("#view form .hint").count() == 1
    go(page, view="compare", mode="model", b_model="poems")
    assert page.tab.locator("#view .hint, #view .trouble").count() >= 1  # another vocabulary is said, not compared
    if page.lang == "en":
        int8 = GPT.from_pretrained("stories", ops="int8")
        page.go(limit=120_000, lang="en", prompt=PROMPT, view="compare", mode="ops")
        compare(page, Beside(gpt, PROMPT, Expected(int8, PROMPT)), 75)


def test_the_tour_stop_by_stop(page, gpt):
    """Ten stops, each with its own numbers, a link to the code and one to a notebook."""
    go(page, tour=1)
    for stop in range(1, 11):
        page.act(lambda tab: tab.click("#tour-here"))
        assert f"tour={stop}" in page.tab.url
        assert page.tab.locator("#tour .links a").count() == 2
        for link in page.tab.locator("#tour .links a").all():
            assert page.tab.request.get(f"{page.address}/{link.get_attribute('href')}").ok
        page.act(lambda tab: tab.click("#tour-on"))
    assert page.tab.locator("#tour").is_hidden()
