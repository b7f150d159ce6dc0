"""The page on the folder of a run that trains in a process of its own meanwhile: curves grow, numbers follow."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import runs
from explore import browser as b
from explore.expected import Expected, parsed

from nanogpt_np import GPT
from nanogpt_np import ops as numpy_ops
from nanogpt_np.training.loop import train

pytestmark = pytest.mark.slow
PROMPT = "the little cat"
LAST = "() => Number(document.querySelector('.run-steps').lastElementChild.dataset.v)"


class Learned(Expected):
    """The same with the rows of a run's log.csv: "run.train_loss[3]"."""

    def __init__(self, folder, ids):
        super().__init__(GPT.from_pretrained(folder, ops="numpy"), ids)
        with open(Path(folder) / "log.csv", newline="", encoding="utf-8") as file:
            self.rows = list(csv.DictReader(file))

    def __call__(self, address):
        if not address.startswith("run."):
            return super().__call__(address)
        name, (row,) = parsed(address.removeprefix("run."))
        return float(self.rows[row][name] or "nan")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of 60 steps, which saves every second or so, and can go on for as long as is wanted."""
    b.needed()
    out = runs.options(tmp_path_factory.mktemp("runs"), steps=60, log_every=5, eval_every=20, keep_every=1000,
                       dropout=0.0, lr=0.01, checkpoint_minutes=0.02)  # fmt: skip
    train(out, numpy_ops, progress=False)
    return Path(out.out)


@pytest.fixture(scope="module")
def address(folder):
    with b.serving(str(folder), "--prompt", PROMPT) as (found, _):
        yield found


@pytest.fixture(scope="module")
def chromium():
    with b.chromium() as browser:
        yield browser


def wrong(page, expected):
    """What differs of all that stands on the page; at least 75 numbers, so that an empty page is no success."""
    numbers = page.numbers()
    assert len(numbers) >= 75
    assert page.elsewhere() == []
    return [line for of, value, text in numbers if (line := b.differs(page.tab.url, of, value, text, expected(of)))]


def until_right(page, expected, looks=30):
    """Wait until the page has looked at the run's last files; at most so many looks, each a second after the other."""
    for _ in range(looks):
        page.settle()
        if not wrong(page, expected):
            return
        page.tab.wait_for_timeout(1000)
    assert wrong(page, expected) == [], page.asked[-5:]


@pytest.mark.parametrize(("width", "theme", "lang"), [(1280, "light", "en"), (390, "dark", "zh")])
def test_the_curves_are_the_runs_log(chromium, address, folder, width, theme, lang):
    """Each point of a line, each number, the table; by keys and by an address of its own."""
    page = b.Page(chromium, address, width, theme).go(view="training", lang=lang)
    expected = Learned(folder, PROMPT)
    assert wrong(page, expected) == []
    assert page.tab.locator("#run-table tbody tr").count() == len(expected.rows)
    rows = [(int(row["step"]), float(row["train_loss"])) for row in expected.rows]
    points = page.tab.evaluate("() => [...document.querySelector('polyline.train_loss').points].map((p) => [p.x, p.y])")
    steps, losses = np.array(rows).T
    x, y = np.array(points).T
    np.testing.assert_allclose(x, 600 * (steps - steps[0]) / (steps[-1] - steps[0]), atol=1e-3)  # the drawing's units
    every = [*losses, *(float(row["held_out_loss"]) for row in expected.rows if row["held_out_loss"])]
    np.testing.assert_allclose(y, 220 * (max(every) - losses) / (max(every) - min(every)), atol=1e-3)
    page.tab.focus("#run")
    for key, row in (("Home", 0), ("ArrowRight", 1), ("End", len(rows) - 1), ("ArrowLeft", len(rows) - 2)):
        page.act(lambda tab, key=key: tab.keyboard.press(key))
        assert page.tab.get_attribute("#run-readout [data-of^='run.step']", "data-of") == f"run.step[{row}]"
        assert page.tab.text_content("#said") == page.tab.text_content("#run-readout")
    assert f"row={len(rows) - 2}" in page.tab.url and wrong(page, expected) == []
    page.act(lambda tab: tab.click("#kept-step-000000"))
    assert "step-000000" in page.tab.url and page.tab.get_attribute("#kept-step-000000", "aria-pressed") == "true"
    assert wrong(page, kept_beside(folder, expected)) == []
    assert page.tab.evaluate("document.documentElement.scrollWidth <= innerWidth") and page.troubles == []
    page.tab.close()


def kept_beside(folder, log):
    """The numbers of a model that the run kept, beside the same log."""
    model = Expected(GPT.from_pretrained(folder / "kept" / "step-000000", ops="numpy"), PROMPT)
    return lambda address: (log if address.startswith("run.") else model)(address)


def test_what_was_saved_is_drawn_and_said_and_what_was_logged_is_added(chromium, address, folder):
    """Two tabs are open while the run goes on: on its curves, and on the model, with a half-typed text."""
    curves = b.Page(chromium, address).go(view="training")
    model = b.Page(chromium, address).go(view="stream", measure="norms")
    before, first = dict((of, v) for of, v, _ in model.numbers()), curves.tab.evaluate(LAST)
    model.tab.fill("#prompt", "half a te")
    command = [sys.executable, "-m", "nanogpt_np", "train", "--resume", "--out", str(folder), "--steps", "1000000"]
    environment = os.environ | {"PYTHONPATH": str(b.ROOT), "OPENBLAS_NUM_THREADS": "1"}
    training = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for page in (curves, model):
            page.tab.bring_to_front()
            page.tab.wait_for_function("() => document.getElementById('news').textContent !== ''", timeout=60_000)
        curves.tab.bring_to_front()
        curves.tab.wait_for_function(f"(first) => ({LAST})() > first", arg=first, timeout=60_000)
        assert training.poll() is None  # all this while it trains
        training.send_signal(signal.SIGINT)
        training.wait(60)
    finally:
        training.kill()
        training.wait()
    expected = Learned(folder, PROMPT)
    for page in (curves, model):
        page.tab.bring_to_front()
        until_right(page, expected)
    assert curves.tab.evaluate(LAST) == int(expected.rows[-1]["step"]) > first
    after = dict((of, v) for of, v, _ in model.numbers())
    changed = [of for of in before.keys() & after.keys() if of.startswith("stream.norms") and before[of] != after[of]]
    assert len(changed) >= 10 and "newer checkpoint" in model.tab.text_content("#news")
    assert model.tab.input_value("#prompt") == "half a te"  # what was being typed stays typed
    for page in (curves, model):
        assert page.troubles == []
        page.tab.close()
