"""A whole plan, from words to text, JSON and pictures; what docs/planning.md shows is what is said."""

import dataclasses
import json
import math
import os
from pathlib import Path

import pytest
from small import module_at

from nanogpt_np import GPTConfig, planning
from nanogpt_np.cli import entry
from nanogpt_np.cli.planning import count
from nanogpt_np.errors import FileError, InputError
from nanogpt_np.planning import Machine, here, whole
from nanogpt_np.storage.registry import resolve

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "planning.md").read_text(encoding="utf-8")
HUGE = "--n-layer 2147483647 --n-embd 2147483640 --n-head 2 --n-ctx 2147483647 --n-vocab 2147483647".split()
HUGE += ["--tokens", "1e18"]


@pytest.fixture
def run(capsys):
    """run("gpt2", …) -> what `nanogpt-np plan` says; it must succeed."""

    def call(*words):
        assert entry.main(["plan", *map(str, words)]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out

    return call


@pytest.fixture
def fail(capsys):
    """fail("gpt2", …) -> its one line of complaint, exit status 2."""

    def call(*words):
        try:
            status = entry.main(["plan", *map(str, words)])
        except SystemExit as stop:  # argparse
            status = stop.code
        out, err = capsys.readouterr()
        assert (status, out) == (2, "") and "Traceback" not in err
        return err.rstrip("\n").split("\n")[-1]

    return call


def measured(monkeypatch):
    """A machine as if it had been measured, so that nothing depends on who else is busy."""
    made = Machine("this", "a CPU, 2 CPUs", 16 * 10**9, 25 * 10**9, 10**11, 10**11, None, 1, "measured just now")
    monkeypatch.setattr(whole, "measure_here", lambda: made)
    return made


# ---------------------------------------------------------------- what the page shows


@pytest.mark.parametrize("name", ["gpt2", "gpt3-175b"])
def test_the_page_shows_what_is_said(run, name):
    """To the letter, up to the line of an …"""
    shown = PAGE.partition(f"```text\n$ nanogpt-np plan {name}\n")[2].partition("\n```")[0]
    said = run(name).rstrip("\n")
    shown, cut, _ = shown.partition("\n…")
    assert len(shown) > 2000 and (said.startswith(shown) if cut else said == shown)


def test_numbers_of_the_page():
    small, large = planning.plan("gpt2"), planning.plan("gpt3-175b")
    (a100,) = (row for row in small.machines if row.machine.name == "a100")
    assert f"{a100.machine.ridge('float16'):.0f}" == "153" and f"{a100.token_seconds * 1e6:.0f}" == "140"
    assert a100.is_memory_bound and "float16, where an A100 could do 153" in PAGE and "140 µs a token" in PAGE
    assert small.token.intensity == pytest.approx(1, abs=0.01)
    assert small.prompt.intensity > a100.machine.ridge("float16")
    assert large.config.window == 256 and "see 256 tokens" in PAGE
    llmc = planning.plan("gpt2", "a100", planning.Options(n_tokens=10**10, utilisation=0.6, devices=8))
    assert f"within 10 % ({llmc.training.seconds / 60:.0f})" in PAGE


def test_each_check_of_the_page_is_a_test():
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    named = [word for word in PAGE.split("`") if word.startswith("test_")]
    assert len(named) >= 14 and not [name for name in named if f"def {name}(" not in tests]


def planned_script(monkeypatch):
    """docs/planned.py as a module."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", os.environ.get("OPENBLAS_NUM_THREADS", "1"))
    return module_at(ROOT / "docs" / "planned.py")


def test_the_script_beside_the_page_runs(monkeypatch):
    """Memory of a small shape within 12 %, as the page says of its two; times are only printed."""
    script = planned_script(monkeypatch)
    monkeypatch.setattr(script, "N_PROMPT", 8)
    monkeypatch.setattr(script, "N_NEW", 4)
    monkeypatch.setattr(script, "N_SEQ", 16)
    config = GPTConfig(n_vocab=200, n_ctx=32, n_embd=64, n_layer=2, n_head=2)
    rows = list(script.compare(config, measured(monkeypatch)))
    assert [row[0] for row in rows[:3]] == ["weights", "KV cache, full", "training step"] and len(rows) == 6
    assert rows[0][3] == rows[1][3] == "+0.0%" and abs(float(rows[2][3].rstrip("%"))) < 12


def test_the_page_plans_the_memory_of_our_runs():
    """The planned cells of the page's table; a few bytes more or less would be seen in its last digit."""
    options = planning.Options(precision="float32")
    for name, title in (("stories", "*stories*"), ("gpt2", "GPT-2 124M")):
        config, made = planning.plan(name).config, planning.plan(name).sizes
        step = planning.rank_memory(config.replace(n_ctx=128), planning.Split(), options).total
        cells = (("weights", f"{made.n_bytes['float32'] / 1e6:.2f}"),
                 ("full KV cache", f"{made.full_cache_bytes['float32'] / 1e6:.2f}"),
                 ("training step, a window of 128", f"{step / 1e6:.2f}" if name == "stories" else f"{step / 1e6:,.0f}"))
        for what, number in cells:  # fmt: skip
            assert f"| {title}, {what} | {number} MB |" in PAGE


# ---------------------------------------------------------------- the plan


def test_a_plan_is_frozen_and_adds_up():
    made = planning.plan("stories", "m2", planning.Options(data=4, n_batch=3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.name = "other"
    assert made.ranks[-1].split == planning.Split(data=4) and made.ranks[0].split == planning.Split()
    assert [row.machine.name for row in made.machines] == list(planning.MACHINES)
    assert made.training.kwh is None and "give --watts" in planning.to_text(made)
    assert made.training.n_tokens == 20 * made.sizes.n_params


def test_a_config_a_name_and_a_directory_are_planned_alike():
    by_name, by_path = planning.plan("stories"), planning.plan(resolve("stories"), name="stories")
    by_config = planning.plan(by_name.config, name="stories")
    assert by_name == by_config == by_path
    assert planning.plan(GPTConfig()).sizes == planning.plan("gpt2").sizes


def test_this_machine_is_a_row_more(run, monkeypatch):
    made = measured(monkeypatch)
    plan = planning.plan("gpt2", "this", planning.Options(precision="float32", dtype="float32"))
    assert plan.machine == made and plan.machines[-1].machine == made
    assert len(plan.machines) == len(planning.MACHINES) + 1
    assert plan.machines[-1].token_seconds == plan.token.n_bytes / made.bandwidth
    assert plan.training.seconds == pytest.approx(plan.training.flops / (1e11 * 0.4))
    assert "this: a CPU, 2 CPUs; measured just now" in run("gpt2", "--machine", "this")


def test_the_measurement_is_of_the_right_size(monkeypatch):
    """No speed is asserted: a disturbed machine may be slow, but none is a thousand times faster than memory can be."""
    monkeypatch.setattr(here, "PATIENCE", 0.0)
    monkeypatch.setattr(here, "READ", 1 << 22)
    monkeypatch.setattr(here, "SIDE", 64)
    found = here.measure_here(n_threads=2)
    assert found.name == "this" and found.title.endswith("2 CPUs") and "3 rounds" in found.source
    assert 10**6 < found.bandwidth < 10**13 and 10**6 < found.float32 == found.float16 < 10**14 and found.memory > 10**8


# ---------------------------------------------------------------- the command


def test_json_says_all_of_it(run):
    said = json.loads(run("gpt3-175b", "--json", "--tensor-ranks", 8, "--pipeline-ranks", 16, "--data-ranks", 8))
    made = planning.plan("gpt3-175b", options=planning.Options(data=8, tensor=8, pipeline=16))
    assert said == json.loads(json.dumps(planning.to_dict(made)))
    assert said["sizes"]["n_params"] == 174_604_259_328
    assert said["training"]["flops"] == 6 * 174_604_259_328 * 300 * 10**9
    assert said["ranks"][-1]["split"] == {"data": 8, "tensor": 8, "pipeline": 16, "n_ranks": 1024}
    assert said["ranks"][-1]["memory"]["total"] == made.ranks[-1].memory.total
    assert said["token"]["intensity"] == made.token.intensity and said["options"]["recompute"] == "attention"


def test_a_shape_can_be_changed(run):
    changed = json.loads(run("gpt2", "--n-layer", 24, "--n-ctx", "4,096", "--json"))
    config = planning.plan("gpt2").config.replace(n_layer=24, n_ctx=4096)
    assert changed["sizes"]["n_params"] == planning.plan(config).sizes.n_params
    assert changed["name"] == "gpt2 n_layer=24 n_ctx=4096"
    assert json.loads(run("gpt3-small", "--n-layer", 4, "--json"))["training"]["n_tokens"] == 300 * 10**9


def test_the_largest_numbers_do_not_overflow(run, tmp_path):
    said = json.loads(run("gpt2", *HUGE, "--json", "--plot", tmp_path / "plan.png"))
    assert said["training"]["flops"] == 6 * said["sizes"]["n_params"] * 10**18 > 10**47
    assert math.isfinite(said["training"]["seconds"]) and said["to_train"] is None
    assert "none: no split that was tried" in run("gpt2", *HUGE)


def test_plot_writes_a_picture(run, tmp_path):
    path = tmp_path / "plan.png"
    run("stories", "--plot", path)
    assert path.read_bytes().startswith(b"\x89PNG") and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("words, line", [
    ("gpt3-17b", "got 'gpt3-17b'; did you mean 'gpt3-175b'"),
    ("stores", "got 'stores'; did you mean 'stories'?"),
    ("qqqqqq", "got 'qqqqqq'; check the name"),
    ("gpt2 --machine h10", "--machine: expected one of v100, t4, a100-40gb, a100, h100, rtx4090, m2, m2-ultra, this, "
                           "got 'h10'; did you mean 'h100'?"),
    ("gpt2 --tensor-ranks 5", "--tensor-ranks: expected a divisor of --n-head = 12, got 5; 4 is one"),
    ("gpt2 --pipeline-ranks 1e9", "--pipeline-ranks: expected a whole number from 1 to 1,000,000, got 1000000000"),
    ("gpt2 --data-ranks 0", "--data-ranks: expected a whole number from 1 to 1,000,000, got 0"),
    ("gpt2 --devices 1e7", "--devices: expected a whole number from 1 to 1,000,000, got 10000000"),
    ("gpt2 --tokens 1e19", "--tokens: expected a whole number from 1 to 1,000,000,000,000,000,000, got 1000000000"),
    ("gpt2 --tokens 1e999", "argument --tokens: expected a whole number, such as 1024 or 1.5e9, got '1e999'"),
    ("gpt2 --tokens -5", "argument --tokens: expected a whole number, such as 1024 or 1.5e9, got '-5'"),
    ("gpt2 --tokens 0.5", "argument --tokens: expected a whole number, such as 1024 or 1.5e9, got '0.5'"),
    ("gpt2 --n-embd 9999999999", "--n-embd: expected a whole number of at least 1, at most 2147483647, got 9999999999"),
    ("gpt2 --n-embd 7", "--n-embd: expected a multiple of --n-head = 12, got 7"),
    ("gpt2 --utilisation nan", "--utilisation: expected a number from 1e-06 to 1, got nan"),
    ("gpt2 --utilisation 1.5", "--utilisation: expected a number from 1e-06 to 1, got 1.5"),
    ("gpt2 --watts inf", "--watts: expected a number from 0.001 to 100000, got inf"),
    ("gpt2 --context 5000", "--context: expected at most 1,023, as --n-ctx is 1,024, got 5,000"),
    ("gpt2 --prompt 1025", "--prompt: expected at most 1,024, as --n-ctx is 1,024, got 1,025"),
    ("gpt2 --dtype fp8", "--dtype: expected 'float32' or 'float16' or 'int8' or 'int4', got 'fp8'"),
    ("gpt2 --precision half", "--precision: expected 'mixed' or 'float32', got 'half'"),
    ("gpt2 --recompute some", "--recompute: expected 'none' or 'attention' or 'all', got 'some'"),
    ("gpt2 --plot no/such/folder.png", "no/such/folder.png: cannot be written (No such file or directory)"),
])  # fmt: skip
def test_bad_input_is_one_line(fail, words, line):
    said = fail(*words.split())
    assert line in said and said.startswith("nanogpt-np")


def test_bad_input_in_python():
    for given, line in (
        ({"model": 5}, "model: expected a text"),
        ({"model": "gpt2", "machine": 3}, "machine: expected one of"),
        ({"model": "gpt2", "options": {"data": 2}}, "options: expected a Options"),
        ({"model": "a\x1b[31m"}, "model: expected"),
    ):
        with pytest.raises(InputError, match=line) as caught:
            planning.plan(**given)
        assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


def test_a_folder_without_a_model_is_one_line(tmp_path):
    with pytest.raises(FileError, match="expected config.json in it, found none"):
        planning.plan(tmp_path)


def test_fewer_words_need_no_other_end_of_text(run):
    """gpt2's own stands at 50,256, beyond a smaller vocabulary."""
    assert "n_vocab 1,000)" in run("gpt2", "--n-vocab", 1000).splitlines()[0]


def test_a_share_that_is_small_is_not_said_to_be_none(run):
    assert "at 0.001% of their operations" in run("gpt2", "--utilisation", "1e-5")


def test_no_cluster_is_larger_than_those_that_are_tried():
    from nanogpt_np.planning.clusters import generating_cluster
    from nanogpt_np.planning.machines import find_machine

    config = GPTConfig(n_layer=1_000_003)  # a prime number: one rank, or one for each layer
    assert generating_cluster(config, find_machine("a100"), planning.Options()) is None


@pytest.mark.parametrize("text, n", [("300e9", 300 * 10**9), ("1,024", 1024), ("7", 7), ("1E3", 1000), ("2_000", 2000),
                                     ("1.5e9", 1_500_000_000), ("1.50e1", 15)])
def test_counts_as_people_type_them(text, n):
    assert count(text) == n


# ---------------------------------------------------------------- pictures


def texts(figure):
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    return found + [text.get_text() for legend in legends for text in legend.get_texts()]


@pytest.mark.parametrize("draw", [planning.draw_plan, planning.draw_roofline, planning.draw_scaling])
def test_pictures_show_the_numbers_of_the_plan(draw, monkeypatch):
    measured(monkeypatch)
    made = planning.plan("stories", "this", planning.Options(dtype="float32"))
    figure = draw(made)
    assert figure._repr_png_().startswith(b"\x89PNG")
    said = texts(figure)
    if draw is not planning.draw_scaling:
        assert any(text.startswith("prompt of 256: ") for text in said) and "this" in said
        assert any(text == f"1: {planning.wording.in_time(made.machines[-1].token_seconds)}" for text in said)
    if draw is not planning.draw_roofline:
        assert {f"{law.fit}: {law.loss:.3f}" for law in made.forecasts} <= set(said)


def test_a_curve_goes_through_its_run():
    """Where the curve of other sizes has this size, it has this loss: within 2 % of a step between its 100 points."""
    import numpy as np

    made = planning.plan("gpt2")
    valley = planning.draw_scaling(made).axes[1]
    curves = [line for line in valley.lines if len(line.get_xdata()) == 100]
    for curve, law in zip(curves, made.forecasts, strict=True):
        there = np.interp(np.log(made.sizes.n_params), np.log(curve.get_xdata()), curve.get_ydata())
        assert there == pytest.approx(law.loss, rel=1e-3)
