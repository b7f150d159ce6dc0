"""What a run says: its plan, plain lines where no terminal is, which model is which, and what to type next."""

import io
import shlex
import signal
import sys
from pathlib import Path

import pytest
from runs import files_of, options

from nanogpt_np import ops
from nanogpt_np.cli import main
from nanogpt_np.cli.entry import parser
from nanogpt_np.tokenizer.bpe import Tokenizer
from nanogpt_np.training import loop, plan, progress
from nanogpt_np.training.best import Best
from nanogpt_np.training.data import Windows
from nanogpt_np.training.evaluation import Evaluation

pytestmark = pytest.mark.usefixtures("no_picture")


class Terminal(io.StringIO):
    """Standard error that says it is a terminal."""

    def isatty(self):
        return True


# ---- before


def test_the_plan_counts_right(tmp_path, capsys):
    run = options(tmp_path, steps=12, accumulate=2)
    done = loop.run(run, ops)
    said = capsys.readouterr().out
    n_parameters = sum(a.size for _, a in loop.P.walk(done.params))
    assert f"model: {n_parameters:,} parameters (2 blocks, 2 heads, 16 wide, 16 positions, 280 tokens)" in said
    epochs = 12 * 64 / (done.windows.n_windows * 16)
    assert f"plan: 12 steps of 64 tokens: 768 tokens in all, {epochs:.3g} epochs of the" in said
    assert f"{done.n_bytes:,} bytes are held out" in said
    assert said.index("plan:") < said.index("step 5 of 12:")


@pytest.mark.parametrize("changes", [{}, {"dtype": "float16"}, {"held_out": 0.0}])
def test_disk_bytes_are_those_on_disk(tmp_path, changes):
    """The three large files; their headers come on top of the plan's sum."""
    run = options(tmp_path, n_embd=64, steps=1, **changes)
    done = loop.run(run, ops, progress=False)
    n_bytes = sum(path.stat().st_size for path in Path(run.out).rglob("*.safetensors"))
    expected = plan.disk_bytes(run, sum(a.size for _, a in loop.P.walk(done.params)))
    assert expected <= n_bytes < expected * 1.05 + 20_000
    assert (Path(run.out) / "best").exists() == ("held_out" not in changes)


def test_how_long_it_takes_is_said_once_after_the_first_steps(tmp_path, capsys):
    loop.run(options(tmp_path, steps=12), ops)
    assert capsys.readouterr().out.count("s per step: about") == 1
    loop.run(options(tmp_path, out="short", steps=4), ops)
    assert "per step" not in capsys.readouterr().out


def test_minutes_and_seconds():
    assert progress.expectation(0.5, 1200).startswith("0.5 s per step: about 10 minutes for the 1,200 steps left")
    assert "about 20 seconds" in progress.expectation(0.1, 200)


# ---- on the way


def test_into_a_file_goes_a_line_for_each_measurement_and_no_bar(tmp_path, capsys):
    loop.run(options(tmp_path), ops)  # under pytest, standard error is no terminal
    said = capsys.readouterr()
    assert "12/12" not in said.err and "\r" not in said.err
    lines = [line for line in said.out.splitlines() if " of 12: loss " in line]
    assert [line.split(":")[0] for line in lines] == ["step 5 of 12", "step 10 of 12", "step 12 of 12"]
    assert all("nats per token" in line and "tokens/s" in line for line in lines)


def test_on_a_terminal_there_is_a_bar(tmp_path, capsys, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    loop.run(options(tmp_path, sample=["the cat"]), ops)
    assert "12/12" in terminal.getvalue()
    assert "  the cat" in capsys.readouterr().out


def test_nothing_is_said_where_nothing_is_to_be_shown(tmp_path, capsys):
    loop.run(options(tmp_path, sample=["the cat"]), ops, progress=False)
    said = capsys.readouterr()
    assert said.out == "" and all(line.startswith("nanogpt-np: --") for line in said.err.splitlines())  # warnings alone


# ---- after


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_has_a_status_of_its_own(tmp_path, capsys, monkeypatch, number):
    run = options(tmp_path)
    step = loop.Run.train_step

    def step_and_signal(self):
        if self.step == 2:
            signal.raise_signal(number)
        return step(self)

    words = ["train", "--data", *run.data, "--out", run.out, "--n-vocab", "280", "--n-ctx", "16", "--n-embd", "16",
             "--n-layer", "1", "--n-head", "2", "--steps", "6"]  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(loop.Run, "train_step", step_and_signal)
        assert main(words) == 3
    said = capsys.readouterr().out
    assert f"stopped after step 3 of 6; go on with: nanogpt-np train --resume --out {run.out}" in said
    assert main(["train", "--resume", "--out", run.out]) == 0


def test_which_model_is_which():
    best = Best(Path("runs/x"))
    best.step, best.loss = 500, 2.25
    lines = plan.closing(Path("runs/x"), 1000, 1000, 2.5, best, "Once upon")
    assert lines == [
        "last model: runs/x (step 1,000, held-out loss 2.5000)",
        "best model: runs/x/best (step 500, held-out loss 2.2500)",
        "try: nanogpt-np generate 'Once upon' --model runs/x/best",
    ]
    best.step = 1000
    first, hint = plan.closing(Path("runs/x"), 1000, 1000, 2.25, best, "Once")
    assert first.endswith("; it is the best too)") and hint.endswith("--model runs/x")
    nothing_held_out = plan.closing(Path("my runs/x"), 7, 1000, None, Best(Path("nowhere")), "Once")
    assert nothing_held_out == [
        "stopped after step 7 of 1,000; go on with: nanogpt-np train --resume --out 'my runs/x'",
        "last model: my runs/x (step 7)",
        "try: nanogpt-np generate Once --model 'my runs/x'",
    ]


def test_the_best_stays_where_the_last_is_worse(tmp_path, capsys, monkeypatch):
    losses = iter([3.0, 2.0, 2.5, 9.0])
    monkeypatch.setattr(loop.Run, "evaluate", lambda self: Evaluation(10 * next(losses), 10, 30))
    run, stopped = options(tmp_path), options(tmp_path, out="ten", steps=12, eval_every=99)
    loop.run(run, ops)
    said = capsys.readouterr().out
    assert f"last model: {run.out} (step 12, held-out loss 2.5000)" in said
    assert f"best model: {run.out}/best (step 10, held-out loss 2.0000)" in said
    assert f"--model {run.out}/best" in said
    # the best one is what the model was after step 10: another run with the same steps is caught there
    monkeypatch.setattr(loop.Run, "is_finished", property(lambda self: self.step >= 10))
    done = loop.run(stopped, ops, progress=False)
    assert done.step == 10
    assert files_of(stopped.out, "model.safetensors") == files_of(Path(run.out) / "best", "model.safetensors")


LINES = [
    ("To be, or not to be, that is the question:", "To be, or not to be,"),
    ("七绝《早发白帝城》\n朝辞白帝彩云间", "七绝《早发白帝城》"),
    ("朝辞白帝彩云间千里江陵一日还两岸猿声啼不住轻舟已过万重山", "朝辞白帝彩云间千"),
    ("\n\n  -- It's a dog's\tlife\x1b[31m\nmore", "It's a dog's life[31m"),
    ("---\n* * *", "* * *"),
    (" \n--", "Once"),
]  # fmt: skip


@pytest.mark.parametrize("document, expected", LINES)
def test_the_hint_is_the_beginning_of_a_document(document, expected):
    tokenizer = Tokenizer.gpt2()
    prompt = plan.opening([document], tokenizer, 128)
    assert prompt == expected
    hint = plan.closing(Path("o"), 1, 1, None, Best(Path("o")), prompt)[-1].removeprefix("try: ")
    assert parser().parse_args(shlex.split(hint)[1:]).prompt == prompt


def test_the_hint_leaves_room_in_a_short_context():
    tokenizer = Tokenizer.gpt2()
    prompt = plan.opening(["朝辞白帝彩云间"], tokenizer, 12)
    assert prompt == "朝辞" and len(tokenizer.encode(prompt)) <= 6
    assert plan.opening(["朝"], tokenizer, 2) == "Once"


def test_a_run_ends_with_its_own_words(tmp_path, capsys):
    run = options(tmp_path, held_out=0.0, steps=2)
    text = Path(run.data[0])
    text.write_text("床前明月光，疑是地上霜。\n" * 40, encoding="utf-8")
    loop.run(options(tmp_path, held_out=0.0, steps=2), ops)
    hint = capsys.readouterr().out.splitlines()[-1]
    assert hint == f"try: nanogpt-np generate 床前 --model {run.out}" or "'床前" in hint
    assert main(["generate", *shlex.split(hint)[3:], "--max-new-tokens", "2"]) == 0


def test_epochs_count_windows():
    assert plan.tokens_per_epoch(Windows(range(100), 10, 0)) == 80
