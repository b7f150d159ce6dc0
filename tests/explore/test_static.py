"""The page's own files, without a browser: two languages alike, colours as in lens/style.py, text never markup."""

import re
from pathlib import Path

import pytest

from nanogpt_np.lens import style

STATIC = Path(__file__).parents[2] / "nanogpt_np" / "explore" / "static"
ROOT = STATIC.parents[2]
MODULES = sorted(STATIC.glob("*.js"))
WORD_FILES = sorted(STATIC.glob("words_*.js"))
COLOURS = (STATIC / "colours.css").read_text(encoding="utf-8")
PAIR = re.compile(r"^  (\w+): \[\s*(.*?)\],?$", re.MULTILINE | re.DOTALL)


def strings(text):
    """The string literals of a pair; those joined by + are one."""
    literal = r'"(?:[^"\\]|\\.)*"'
    return [re.sub(r'"\s*\+\s*"', "", found)[1:-1] for found in re.findall(rf"{literal}(?:\s*\+\s*{literal})*", text)]


def words():
    found = {}
    for path in WORD_FILES:
        for key, pair in PAIR.findall(path.read_text(encoding="utf-8")):
            assert key not in found, f"{key}: twice"
            found[key] = strings(pair)
    return found


def test_both_languages_say_the_same_things():
    found = words()
    assert len(found) > 200
    for key, pair in found.items():
        assert len(pair) == 2 and all(len(text) > 0 for text in pair), f"{key}: {pair}"
        english, chinese = pair
        assert re.sub("[−‖·▸≥]", "", english).isascii(), key
        assert re.search(r"[\u4e00-\u9fff]", chinese) or english.replace(", ", "、") == chinese, f"{key}: {chinese}"
        assert sorted(re.findall(r"\{\d\}", english)) == sorted(re.findall(r"\{\d\}", chinese)), key


def test_every_word_that_is_asked_for_is_there_and_every_one_is_used():
    found, text = words(), "".join(path.read_text(encoding="utf-8") for path in MODULES if path not in WORD_FILES)
    asked = set(re.findall(r'word\(\s*"(\w+)"', text)) | set(re.findall(r'word\([^)]*\? "(\w+)" : "\w+"\)', text))
    assert asked <= set(found)
    made = re.findall(r"word\(`(\w+_)\$\{", text)  # word(`stage_${name}`)
    unused = [key for key in found if f'"{key}"' not in text and f"word({key}" not in text and key not in text
              and not key.startswith(tuple(made))]  # fmt: skip
    assert unused == []


PAIRS = re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", COLOURS)
LIGHT, DARK = ({name: pair[theme] for name, *pair in PAIRS} for theme in (0, 1))
MEANING = ("query", "key", "value", "residual", "attention", "ffn")


def test_light_colours_are_those_of_the_figures():
    assert {name: LIGHT[name] for name in MEANING} == {name: getattr(style, name.upper()) for name in MEANING}
    assert (LIGHT["ink"], LIGHT["pale"]) == (style.INK, style.PALE)
    for name, stops in (("probability", style.PROBABILITY), ("signed", style.SIGNED)):
        assert tuple(LIGHT[f"{name}-{i}"] for i in range(len(stops))) == stops


def test_dark_has_the_same_names_and_its_maps_the_same_colours_around_the_dark_paper():
    """From paper to one hue, and to both sides of it: what was white is the paper, the strongest stands out most."""
    assert re.findall(r"--([\w-]+):", COLOURS) == [*LIGHT, "shadow"] and len(PAIRS) == len(LIGHT) > 30  # each once
    assert ":root {\n  color-scheme: light dark;" in COLOURS  # chosen by the system, or on the page
    assert all(f':root[data-theme="{theme}"] {{ color-scheme: {theme}; }}' in COLOURS for theme in ("light", "dark"))
    for name, paper in (("probability", 0), ("signed", 2)):
        here, there = ({theme[f"{name}-{i}"] for i in range(5) if i != paper} for theme in (LIGHT, DARK))
        assert there == here and DARK[f"{name}-{paper}"] == DARK["paper"]


def luminance(colour):
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_the_six_meanings_differ_in_grey(theme):
    """By 7 of CIE's 100 steps of lightness and more; text colours reach AA on everything that they stand on."""
    lightness = sorted(116 * luminance(theme[name]) ** (1 / 3) - 16 for name in MEANING)
    assert min(b - a for a, b in zip(lightness, lightness[1:], strict=False)) >= 7
    for text in ("ink", "quiet", "attention-ink", "ffn-ink"):
        assert min(contrast(theme[text], theme[ground]) for ground in ("paper", "ground")) >= 4.5, text
    for text, ground in (("loud-ink", "loud"), ("trouble", "trouble-ground"), ("ink", "mark-ground"), ("ink", "made"),
                         ("ink", "masked"), ("quiet", "masked")):  # fmt: skip
        assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_module_is_a_room(path):
    """Plain modules that can be read: data becomes text, never markup; no line is longer than a screen."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    lines = text.splitlines()
    longest = 120 if path not in WORD_FILES else 240  # sentences stand in one piece there
    assert len(lines) <= 350 and max(map(len, lines)) <= longest and lines[0].startswith("// ")


def test_what_the_tour_names_is_there():
    text = (STATIC / "tour.js").read_text(encoding="utf-8")
    places = re.findall(r'code: \["([\w/.]+)", "([\w.]+)"\]', text)
    notebooks = re.findall(r'notebook: "([\w/.]+)"', text)
    assert len(places) == len(notebooks) and 8 <= len(places) <= 10
    for path, name in places:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^\s*(def|class) {name.rpartition('.')[2]}\b", source, re.MULTILINE), (path, name)
    assert all((ROOT / path).is_file() for path in notebooks)


def test_the_page_itself_holds_nothing_inline():
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*src=)", page)
    names = {path.name for path in STATIC.iterdir()}
    assert set(re.findall(r'static/([\w.]+)"', page)) <= names
