"""The page in Chromium beside its numbers: bad input, a server that goes away, keys alone, contrast, one file.

What is slow is printed (`-s`), never asserted: the first picture's time, and the frames while a slider moves.
"""

import json
import re

import pytest
from explore import browser as b
from explore.expected import Expected, Written

from nanogpt_np import GPT
from nanogpt_np.generation.sampling import Sampling

pytestmark = pytest.mark.slow
PROMPT = "The little dog ran"
VIEWS = ("embed", "attention", "ffn", "stream", "attribution", "next", "write", "backward", "compare")
LIVE = (*VIEWS, "training")  # of a run, which no file holds


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
def page(chromium, address):
    return b.Page(chromium, address)


@pytest.mark.parametrize("prompt", ["<script>document.title = 'taken'</script><img src=x onerror=alert(1)>",
                                    "", "a\x00b\x07 \u202eabc \U0001f600"])  # fmt: skip
def test_any_text_is_text(page, prompt):
    before = len(page.troubles)
    page.go(prompt=prompt, view="embed")
    page.act(lambda tab: tab.click("#tab-next"))
    assert page.tab.title().startswith("Watch") and len(page.troubles) == before
    assert page.tab.locator("main img, main script").count() == 0
    assert page.tab.locator("#trouble").text_content() == ""
    if "script" in prompt:
        assert "script" in "".join(page.tab.locator(".chip .token").all_text_contents())


def test_half_a_character_is_said_or_read(page):
    """A lone surrogate, which no text on a keyboard has, as a script may paste it."""
    page.go(prompt=PROMPT)
    page.act(lambda tab: tab.evaluate(r"""() => { const area = document.getElementById("prompt");
        area.value = "a \ud83d b"; document.getElementById("read").click(); }"""))
    said = page.tab.text_content("#trouble")
    assert "expected" in said if said else page.tab.locator(".chip").count() > 1


def test_a_text_past_the_context_is_one_line_and_what_stood_there_stays(page):
    page.go(prompt=PROMPT)
    page.act(lambda tab: (tab.fill("#prompt", "the cat " * 400), tab.click("#read")))
    said = page.tab.text_content("#trouble")
    assert "256" in said and "expected" in said and "\n" not in said.strip()
    assert page.tab.locator(".chip").count() > 0  # the picture before
    page.act(lambda tab: (tab.fill("#prompt", "A cat"), tab.click("#read")))
    assert page.tab.text_content("#trouble") == "" and page.tab.locator(".chip").count() == 2


def test_a_model_that_cannot_read_the_text_leaves_what_stood_there(page):
    """*poems* has a context of 64: the text is too long for it, and every view goes on with the model before."""
    before = len(page.troubles)
    page.go(prompt="the cat sat " * 25)
    page.act(lambda tab: tab.select_option("#model", "poems"))
    said = page.tab.text_content("#trouble")
    assert "expected" in said and page.tab.locator("#map .block").count() == 6
    for view in LIVE:
        page.act(lambda tab, view=view: tab.click(f"#tab-{view}"))
        assert page.tab.locator("#map .block").count() == 6 and page.tab.locator("#view .trouble").count() == 0, view
    assert {line for line in page.troubles[before:] if "400 (Bad Request)" not in line} == set()
    page.act(lambda tab: tab.select_option("#model", "stories"))
    assert page.tab.text_content("#trouble") == ""


@pytest.mark.parametrize("prompt", ["antidisestablishmentarianism" * 4, "x" * 200, "🌕" * 40])
def test_one_long_word_is_no_wider_than_the_window(chromium, address, prompt):
    page = b.Page(chromium, address, 320).go(prompt=prompt, view="embed")
    for view in LIVE:
        page.move(view=view, step=2 if view == "write" else -1)
        assert page.tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
    assert page.troubles == []
    page.tab.close()


def test_bad_places_in_an_address_lead_to_good_ones(page):
    page.go(prompt=PROMPT, view="attention", layer=99, head=-5, position=1000, temperature="x", cell="y[1]")
    assert page.tab.text_content("#trouble") == ""
    assert (page.tab.input_value("#layer"), page.tab.input_value("#head")) == ("5", "0")
    page.go(prompt=PROMPT, view="nothing", stage="none", measure="none", site="none", mode="none", model="none")
    assert page.tab.text_content("#trouble") == "" and page.tab.locator("#next-bars").count() == 1


def test_an_address_shows_the_same_again(page, chromium, address):
    page.go(prompt=PROMPT, view="next", temperature=0.7, top_k=9, position=1, theme="dark", off="3.4")
    page.act(lambda tab: tab.click("#head-2-3"))
    page.act(lambda tab: tab.click("#stage-scaled"))
    other = b.Page(chromium, address)
    other.tab.goto(page.tab.url)
    other.tab.wait_for_selector("body[data-drawn]")
    other.settle()
    assert other.numbers() == page.numbers()
    page.act(lambda tab: tab.go_back())
    page.act(lambda tab: tab.go_back())
    assert page.tab.locator("#next-bars").count() == 1  # the browser's own way back
    other.tab.close()


def test_the_server_stops_in_the_middle_and_comes_again(chromium):
    with b.serving("stories", "--prompt", PROMPT) as (address, server):
        page = b.Page(chromium, address).go(prompt=PROMPT)
        port = re.search(r":(\d+)", address)[1]
        server.kill()
        server.wait()
        page.act(lambda tab: (tab.fill("#prompt", "A cat"), tab.click("#read")))
        said = page.tab.text_content("#trouble")
        assert "nanogpt-np explore" in said and page.tab.locator(".chip").count() > 2
        page.act(lambda tab: tab.click("#tab-stream"))  # what was there can still be looked at
        page.act(lambda tab: tab.click("#again"))
        assert "nanogpt-np explore" in page.tab.text_content("#trouble")
        with b.serving("stories", "--port", port):
            page.act(lambda tab: tab.click("#again"))
            assert page.tab.text_content("#trouble") == "" and page.tab.locator(".chip").count() == 2
        page.tab.close()


CONTRAST = """() => {
  const canvas = document.createElement("canvas"), pen = canvas.getContext("2d", { willReadFrequently: true });
  const rgba = (css) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = css;
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  const linear = (c) => (c / 255 <= 0.04045 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const c = rgba(getComputedStyle(at).backgroundColor);
      if (c[3] === 255) return c;
    }
    return [255, 255, 255, 255];
  };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  let n = 0;
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !node.getClientRects().length || node.closest(".unseen, .skip")) continue;
    const style = getComputedStyle(node), one = light(rgba(style.color)), two = light(behind(node));
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    n += 1;
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const who = `${walk.currentNode.data.slice(0, 30)} (${node.className || node.tagName})`;
    if (ratio < (large ? 3 : 4.5) - 0.005) found.push(`${ratio.toFixed(2)} ${who}`);
  }
  return [n, found];
}"""


@pytest.mark.parametrize(("theme", "width", "lang"), [("light", 1280, "zh"), ("dark", 390, "en")])
def test_every_text_can_be_read(chromium, address, theme, width, lang):
    """Contrast AA of every text on what it stands on; no smaller than 10 px; nothing wider than the window."""
    page = b.Page(chromium, address, width, theme)
    page.go(prompt=PROMPT, lang=lang, tour=3, cell="blocks.1.attn.scores[2,3,1]")
    seen = 0
    for view in LIVE:
        page.move(view=view, step=2 if view == "write" else -1, off="1.1,2.ffn,2.ffn.7" if view == "compare" else "")
        n, wrong = page.tab.evaluate(CONTRAST)
        seen += n
        assert wrong == [], (view, wrong[:5])
        smallest = page.tab.evaluate(
            "() => Math.min(...[...document.querySelectorAll('#app *')].filter((n) => n.textContent.trim())"
            ".map((n) => parseFloat(getComputedStyle(n).fontSize)))")  # fmt: skip
        assert smallest >= 10
        assert page.tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
    print(f"\n{seen} texts, {theme}, {width} px")
    page.tab.close()


NAMELESS = """() => [...document.querySelectorAll("button, a, select, input, textarea, [tabindex='0'], summary")]
  .filter((n) => n.getClientRects().length)
  .filter((n) => !(n.getAttribute("aria-label") || n.textContent.trim() || n.labels?.length))
  .map((n) => n.outerHTML.slice(0, 120))"""


def test_whatever_is_seen_has_a_name(page):
    """For whoever hears the page: every control has a name, every canvas stands in something that is described."""
    page.go(prompt=PROMPT)
    for view in LIVE:
        page.move(view=view, step=2 if view == "write" else -1)
        assert page.tab.evaluate(NAMELESS) == []
        bare = page.tab.evaluate("""() => [...document.querySelectorAll("canvas")].filter((c) =>
            !c.getAttribute("aria-label") && !c.closest("[aria-label]")).length""")
        assert bare == 0
        assert page.tab.evaluate("() => document.querySelectorAll('h1').length") == 1
        doubled = page.tab.evaluate("""() => { const ids = [...document.querySelectorAll("[id]")].map((n) => n.id);
            return ids.filter((id, i) => ids.indexOf(id) !== i); }""")
        assert doubled == []


def test_no_mouse_is_needed(page):
    """From the prompt to one product by Tab, arrows and Enter; what is said aloud is what is shown."""
    page.go(prompt=PROMPT, view="attention", stage="scores")
    reached = set()
    page.tab.focus("#prompt")
    for _ in range(110):
        page.tab.keyboard.press("Tab")
        name = page.tab.evaluate("() => document.activeElement.id")
        reached.add(name)
        if name == "pairs":
            break
    wanted = {"read", "write", "chip-0", "head-0-0", "ffn-3", "guess-2", "tab-next", "layer", "switch-off", "pairs"}
    assert wanted <= reached
    page.act(lambda tab: tab.keyboard.press("ArrowRight"))
    said = page.tab.text_content("#said")
    assert said == page.tab.text_content("#pairs-readout") and "blocks.0.attn.scores" in said
    page.act(lambda tab: tab.keyboard.press("Enter"))
    assert page.tab.text_content("#cell .equation").split(" = ")[0] == said.split(" = ")[0]
    page.tab.focus("#head-1-2")
    page.act(lambda tab: tab.keyboard.press("x"))
    assert "off=1.2" in page.tab.url and page.tab.locator("#compare-next").count() == 1
    assert page.tab.locator("#switch-1-2[aria-pressed=true]").count() == 1


def test_both_languages_and_themes_are_chosen_on_the_page(page):
    page.go(prompt=PROMPT)
    for lang, name in (("zh", "整个模型"), ("en", "The whole model")):
        page.act(lambda tab, lang=lang: tab.click(f"#lang-{lang}"))
        assert page.tab.text_content("#map h2") == name and f"lang={lang}" in page.tab.url
    for theme in ("dark", "light"):
        page.act(lambda tab: tab.click("#theme"))
        assert page.tab.evaluate("() => document.documentElement.dataset.theme") == theme


def test_a_full_context(page):
    """256 tokens: every view is drawn, thumbnails shrink, and nothing is too wide."""
    before = len(page.troubles)
    page.go(prompt="the cat sat " * 60, view="attention")
    for view in VIEWS[1:]:
        page.move(view=view)
        assert page.tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
    assert page.troubles[before:] == []


FRAMES = """async (name) => {
  const slider = document.getElementById(name), gaps = [], work = [];
  let last = performance.now();
  for (let i = 0; i < 60; i++) {
    slider.value = Number(slider.min) + ((i % 40) / 40) * (slider.max - slider.min);
    slider.dispatchEvent(new Event("input"));
    const begun = performance.now();
    await new Promise((done) => requestAnimationFrame(() => { work.push(performance.now() - begun); done(); }));
    const now = performance.now();
    gaps.push(now - last);
    last = now;
  }
  return gaps.sort((a, b) => a - b);
}"""


def test_how_fast_it_is(page, address):
    page.go(prompt=PROMPT)  # the model is open, the code is in the browser's memory
    page.tab.goto(f"{address}/?lang=en&prompt=A+cat+and+a+dog")
    page.tab.wait_for_selector("body[data-drawn]")
    first = page.tab.evaluate("() => performance.now()")
    gaps = page.tab.evaluate(FRAMES, "slider-temperature")
    print(f"\nfirst picture after {first:.0f} ms; a frame while a slider moves: median {gaps[30]:.1f} ms, "
          f"9 of 10 under {gaps[54]:.1f} ms, the longest {gaps[-1]:.1f} ms")  # fmt: skip
    assert len(gaps) == 60


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The page for one prompt as one file."""
    from nanogpt_np.cli import main

    b.needed()
    path = tmp_path_factory.mktemp("page") / "page.html"
    assert main(["explore", "stories", "--prompt", PROMPT, "--export", str(path), "--lang", "en"]) == 0
    return path


def scrubbed(page, gpt):
    """Each step of the file's own generation, the model's picture with it -> how many numbers were compared."""
    ids, checked = gpt.tokenizer.encode(PROMPT), 0
    new = gpt.generate(ids, max_new_tokens=24, seed=0, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)
    page.tab.click("#sliders-off")
    page.tab.click("#write")
    for step in range(len(new)):
        page.tab.wait_for_timeout(150)
        assert page.tab.locator("#stands").count() == 0
        expected = Written(gpt, ids, new, Sampling(), step)
        numbers = [row for row in page.numbers() if not row[0].startswith(("growth", "cost:"))]
        assert [] == [line for of, v, text in numbers if (line := b.differs(f"step {step}", of, v, text, expected(of)))]
        assert f"({len(ids) + step})" in page.tab.text_content("#map .made-of").replace("position ", "")
        checked += len(numbers)
        page.tab.click("#scrub-on")
    page.tab.click("#tab-attention")
    page.tab.wait_for_timeout(150)
    assert "not in this file" in page.tab.text_content("#view")
    return checked


def test_one_file_from_disk_without_a_server(chromium, file):
    """The same numbers, no request at all, sliders and steps work; what is not in it is said."""
    gpt = GPT.from_pretrained("stories", ops="numpy")
    page = b.Page(chromium, "")
    page.tab.goto(file.as_uri())
    page.tab.wait_for_selector("body[data-drawn]")
    expected, checked = Expected(gpt, PROMPT), 0
    for view in VIEWS:
        page.tab.click(f"#tab-{view}")
        page.tab.wait_for_timeout(120)
        assert page.tab.locator("#view h2").count() == 1
        if view in ("attention", "stream", "attribution", "embed"):
            numbers = page.numbers()
            checked += len(numbers)
            assert [] == [line for of, v, text in numbers if (line := b.differs(view, of, v, text, expected(of)))]
    page.tab.click("#tab-next")
    page.tab.wait_for_timeout(100)
    page.tab.locator("#slider-top_k").evaluate("(s) => { s.value = 3; s.dispatchEvent(new Event('input')); }")
    page.tab.wait_for_timeout(100)
    from explore.expected import Sliders

    sliders = Sliders(gpt, PROMPT, Sampling(top_k=3))
    assert [] == [line for of, v, text in page.numbers() if (line := b.differs("next", of, v, text, sliders(of)))]
    checked += scrubbed(page, gpt)
    assert page.troubles == [] and [url for url in page.asked if not url.startswith(("file:", "data:"))] == []
    assert checked > 1000
    print(f"\n{checked} numbers in one file of {file.stat().st_size:,} bytes")
    page.tab.close()


def test_the_file_in_a_frame_without_an_address_of_its_own(chromium, file):
    """As a notebook shows it: srcdoc, sandboxed."""
    page = b.Page(chromium, "")
    page.tab.set_content("<iframe sandbox='allow-scripts' style='width:1200px;height:700px'></iframe>")
    page.tab.evaluate("(html) => { document.querySelector('iframe').srcdoc = html; }", file.read_text(encoding="utf-8"))
    frame = page.tab.frame_locator("iframe")
    frame.locator("body[data-drawn]").wait_for()
    frame.locator("#tab-attention").click()
    frame.locator("#stage-scores").click()
    frame.locator("#pairs").wait_for()
    assert page.troubles == []
    page.tab.close()


def test_what_is_stored_in_a_file_is_data(file):
    text = file.read_text(encoding="utf-8")
    stored = re.search(r'<script type="application/json" id="nanogpt-data">(.*?)</script>', text, re.DOTALL)[1]
    assert json.loads(stored)["state"]["prompt"] == PROMPT and file.stat().st_size < 3_000_000
