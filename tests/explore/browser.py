"""A real Chromium before the real server, for the tests of the page.

Enter: addresses. Leave: numbers as the page shows them. Needs Debian's `chromium` (or CHROMIUM=/its/path) and PyPI's
`playwright`; where one is missing, the tests are skipped with the command that installs it.
"""

import math
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
SMALL = 20_000  # ms that anything may take here; the first int8 pass compiles kernels and has its own limit

# Every number with its address; tables that open are opened first, as a reader would.
READ = """() => [...document.querySelectorAll("[data-of]")].filter((n) => n.getClientRects().length)
  .map((n) => [n.dataset.of, n.dataset.v, n.textContent])"""
FILLED = "() => [...document.querySelectorAll('details.as-table')].every((d) => d.querySelector('table'))"
# What is written in the cells of a canvas, beside the table of the same matrix: [row, column, text, full number].
PAINTED = """() => [...document.querySelectorAll(".matrix-figure")].flatMap((figure) => {
  const numbers = (tr) => [...tr.querySelectorAll("[data-v]")].map((n) => n.dataset.v);
  const rows = [...figure.querySelectorAll("tbody tr")].map(numbers);
  const painted = rows.length ? figure.querySelector("canvas").painted ?? [] : [];
  return painted.map(([i, j, text]) => [i, j, text, rows[i][j]]);
})"""
# Decimal numbers that no address stands beside: words about them, versions and shapes have none.
ELSEWHERE = """() => {
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walk.nextNode()) {
    const parent = walk.currentNode.parentElement;
    const is_known = parent.closest("[data-of], output, .formula, .token, textarea, option, #said, .gone");
    if (!parent.getClientRects().length || is_known) continue;
    if (/\\d\\.\\d|\\d e[-−+]|\\d ?%/.test(walk.currentNode.data)) found.push(walk.currentNode.data);
  }
  return found;
}"""


def needed():
    """playwright's sync API, or a skip that says what is missing."""
    pytest.importorskip("starlette", reason='the page needs: pip install -e ".[explore]"')
    pytest.importorskip("uvicorn", reason='the page needs: pip install -e ".[explore]"')
    if not Path(CHROMIUM).exists():
        pytest.skip("no chromium: apt-get install chromium, or set CHROMIUM to its path")
    return pytest.importorskip("playwright.sync_api", reason='the page needs: pip install -e ".[browser]"')


@contextmanager
def serving(*words):
    """`nanogpt-np explore` in a process of its own -> its address and the process."""
    command = [sys.executable, "-m", "nanogpt_np", "explore", "--port", "0", *words, "--no-browser"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline()
        yield re.match(r"http://\S+", line)[0], server
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@contextmanager
def chromium():
    """A browser without a window."""
    with needed().sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


class Page:
    """One tab: where it went, what it asked for, what it complained of."""

    def __init__(self, browser, address, width=1280, theme="light", **more):
        self.tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme, **more)
        self.tab.set_default_timeout(SMALL)
        self.address, self.asked, self.troubles = address, [], []
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.tab.on("console", lambda said: self.troubles.append(said.text) if said.type == "error" else None)

    def go(self, limit=SMALL, **query):
        """Open an address of the page and wait until it is drawn."""
        from urllib.parse import urlencode

        self.tab.goto(f"{self.address}/?{urlencode({'lang': 'en'} | query)}")
        self.tab.wait_for_selector("body[data-drawn]", timeout=limit)
        self.settle(limit)
        return self

    def move(self, **query):
        """Another address of the same page, as the browser's way back would bring it: nothing is loaded anew."""
        self.tab.evaluate(
            """(changes) => {
              const query = new URLSearchParams(location.search);
              for (const [name, value] of Object.entries(changes)) query.set(name, value);
              history.pushState(null, "", `?${query}`);
              window.dispatchEvent(new PopStateEvent("popstate"));
            }""", query)
        self.tab.wait_for_timeout(60)
        self.settle()
        return self

    def settle(self, limit=SMALL):
        """Until nothing is asked for and nothing is drawn any more."""
        self.tab.wait_for_function(
            "() => { const { asking, drawing, drawn } = document.body.dataset;"
            " return asking === '0' && drawing === drawn && !document.querySelector('body.loading'); }", timeout=limit)
        self.tab.wait_for_timeout(30)

    def act(self, what):
        """Do something, and wait until the page has answered it."""
        what(self.tab)
        self.tab.wait_for_timeout(120)  # a pointer that rests on a cell is believed after 80 ms
        self.settle()
        return self

    def numbers(self):
        """[(address, number, text)] of all that is shown, with every table open."""
        self.tab.evaluate("() => document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        self.tab.wait_for_function(FILLED)
        return [(of, number(v), text) for of, v, text in self.tab.evaluate(READ)]

    def painted(self):
        return self.tab.evaluate(PAINTED)

    def elsewhere(self):
        return self.tab.evaluate(ELSEWHERE)


def number(text):
    """A number as JavaScript writes it, or as the page shows it: "−0.25", "12.5 %", "1,024", "−∞"."""
    text = text.replace("−", "-").replace("∞", "inf").replace("Infinity", "inf").replace(",", "").strip()
    if text in ("–", "null", "undefined", "NaN"):
        return math.nan
    return float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)


def step_of(text):
    """How coarse a text is: half a unit of its last digit. step_of("12.5 %") -> 0.0005"""
    digits = re.match(r"[-−]?[\d,]+(?:\.(\d+))?(?:e[-−+]?(\d+))?", text)
    if not digits:
        return 0.0
    places = len(digits[1] or "")
    exponent = int(re.search(r"e([-−+]?\d+)", text)[1].replace("−", "-")) if "e" in text else 0
    return 0.5 * 10.0 ** (exponent - places) / (100 if text.endswith("%") else 1)


def differs(shown, of, value, text, expected):
    """None where a number is the expected one; else a line that says how it is not.

    `value` is float32's, or made of such: 2e-4 of its size, and of 1, is what a pass of six blocks by other kernels may
    differ in logits; probabilities and shares, at most 1, are held to 2e-5. The text is the value, rounded.
    """
    close = 2e-4 * max(1.0, abs(expected)) if abs(expected) > 1 else 4e-5
    if math.isnan(expected) and math.isnan(value) and text == "–":
        return None
    if math.isinf(expected) or math.isinf(value):
        return None if expected == value else f"{shown}: {of} is {value}, expected {expected}"
    if not abs(value - expected) <= close:
        return f"{shown}: {of} is {value}, expected {expected}"
    if text == "<0.1 %":
        return None if 0 < value < 0.0005 else f"{shown}: {of} reads {text}, and is {value}"
    if not abs(number(text) - value) <= step_of(text) * 1.0001 + 1e-9:
        return f"{shown}: {of} reads {text}, and is {value}"
    return None
