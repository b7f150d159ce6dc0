"""docs/scaling.md shows what docs/scaling.py has measured (docs/scaling.json), and what follows from it."""

import json
from pathlib import Path

import numpy as np
import pytest
from small import module_at

DOCS = Path(__file__).parents[2] / "docs"
scaling = module_at(DOCS / "scaling.py")


@pytest.fixture(scope="module")
def found():
    return json.loads((DOCS / "scaling.json").read_text("utf-8"))


def test_the_tables_are_what_was_measured(found):
    page = (DOCS / "scaling.md").read_text("utf-8")
    assert scaling.with_tables(page, found) == page, "run python docs/scaling.py page docs/scaling.json"
    assert scaling.with_tables(scaling.with_tables(page, found), found) == page


def test_a_fit_finds_what_times_were_made_of():
    for n, a, speed in ((2, 5e-6, 2e9), (4, 30e-6, 1e9)):
        times = {str(size): a * (n - 1) + size * (n - 1) / n / speed for size in scaling.SIZES}
        assert scaling.fit(times, n) == pytest.approx((a, speed), rel=1e-9)


def test_predictions_by_hand():
    """1 million numbers, 4 ranks, messages of 1 ms, 1 GB/s, 1 GFLOP/s: one piece of 4 MB, in parts of 1 MB."""
    compute, told = scaling.predicted(1_000_000, 4, 1e-3, 1e9, 1e9)
    assert compute == pytest.approx(6 * 524_288e6 / 4 / 1e9) and told == pytest.approx(2 * 3 * (1e-3 + 1e-3))
    assert scaling.predicted(1_000_000, 4, 1e-3, 1e9, 1e9, hidden=True)[1] == pytest.approx(told / 2)
    assert scaling.efficiency(3.0, 1.0) == 0.75
    assert scaling.predicted(10, 1, 1.0, 1.0, 1.0)[1] == 0.0


@pytest.mark.parametrize("machine, network", scaling.PAIRS)
@pytest.mark.parametrize("hidden", [False, True])
def test_the_share_that_computes_is_that_of_any_size(machine, network, hidden):
    """So one panel shows it: within 1 %, as the last piece of 8 MiB is not full."""
    for n in scaling.FAR:
        settings = (n, *scaling.NETWORKS[network], scaling.FLOPS[machine], hidden)
        small, large = (scaling.efficiency(*scaling.predicted(size, *settings)) for size in scaling.LARGE.values())
        assert small == pytest.approx(large, rel=0.01)


def test_what_the_page_says_of_the_numbers(found):
    memory = {n: found[str(n)]["memory"] for n in scaling.RANKS}
    for n, of in memory.items():
        assert of["arrays"] / of["numbers"] == pytest.approx(8 + 12 / n, rel=1e-3)
        assert scaling.kept(n) == 8 + 12 / n
    for n in (2, 4):  # overlap buys nothing
        assert found[str(n)]["overlapped"] > 0.95 * found[str(n)]["after"]
    assert found["1"]["n_parameters"] == pytest.approx(0.93e6, rel=0.05)
    assert memory[1]["numbers"] == pytest.approx(21e6, rel=0.05)
    most_ethernet = [scaling.efficiency(*scaling.predicted(n_parameters, 64, 30e-6, 1.25e9, 3e12)) for n_parameters in
                     scaling.LARGE.values()]  # fmt: skip
    assert np.isfinite(most_ethernet).all() and scaling.TOKENS // 1024 == 512
