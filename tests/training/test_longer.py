"""--resume --steps N: longer or shorter than planned, from a step that training.json names."""

import json
from pathlib import Path

import pytest
from runs import files_of, options

from nanogpt_np import ops
from nanogpt_np.cli import main
from nanogpt_np.errors import InputError
from nanogpt_np.training import folder, loop, schedule
from nanogpt_np.training.folder import resume_options
from nanogpt_np.training.loop import train

pytestmark = pytest.mark.usefixtures("no_picture")

NAMES = ("model.safetensors", "training_state.safetensors", "log.csv")


def rates(out):
    """{step: learning rate} as log.csv has them."""
    lines = [line.split(",") for line in (Path(out) / "log.csv").read_text().splitlines()[1:]]
    return {int(line[0]): float(line[2]) for line in lines}


def noted(out):
    about = json.loads((Path(out) / folder.NAME).read_text())
    return about["options"]["steps"], about.get("changes")


def test_the_schedule_is_that_of_the_new_number_from_there_on(tmp_path):
    run = options(tmp_path, steps=6, log_every=1)
    train(run, ops, progress=False)
    assert noted(run.out) == (6, None)
    longer = resume_options(run.out, steps=12)
    train(longer, ops, resume=True, progress=False)
    assert noted(run.out) == (12, [{"after_step": 6, "steps": [6, 12]}])
    got = rates(run.out)
    assert list(got) == list(range(1, 13))
    for step, planned in ((5, run), (6, run), (7, longer), (12, longer)):
        expected = schedule.learning_rate(planned, planned.n_ctx, step - 1)
        assert got[step] == pytest.approx(expected, rel=1e-5)  # six figures in the log
    assert got[7] > got[6]


def test_from_there_on_a_stop_changes_nothing(tmp_path, monkeypatch):
    """Two runs are made longer at the same step; one is stopped on the way, and resumed by its name alone."""
    whole, parts = options(tmp_path, out="whole", steps=4), options(tmp_path, out="parts", steps=4)
    for run in (whole, parts):
        train(run, ops, progress=False)
    train(resume_options(whole.out, steps=9), ops, resume=True, progress=False)
    step = loop.Run.train_step

    def stop_after_6(self):
        if self.step == 6:
            raise KeyboardInterrupt
        return step(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop.Run, "train_step", stop_after_6)
        train(resume_options(parts.out, steps=9), ops, resume=True, progress=False)
    again = resume_options(parts.out)
    assert again.steps == 9
    train(again, ops, resume=True, progress=False)
    assert files_of(parts.out, *NAMES[:2]) == files_of(whole.out, *NAMES[:2])
    assert noted(parts.out) == noted(whole.out) == (9, [{"after_step": 4, "steps": [4, 9]}])


def test_fewer_steps_than_planned_but_not_fewer_than_done(tmp_path):
    run = options(tmp_path, steps=4)
    train(run, ops, progress=False)
    train(resume_options(run.out, steps=8), ops, resume=True, progress=False)
    before = files_of(run.out, *NAMES, folder.NAME)
    with pytest.raises(InputError, match="--steps: expected at least 8, as many are done already, got 7"):
        train(resume_options(run.out, steps=7), ops, resume=True, progress=False)
    assert files_of(run.out, *NAMES, folder.NAME) == before
    with pytest.raises(InputError, match="--steps: expected at least 1, got 0"):
        resume_options(run.out, steps=0)


def test_the_same_number_again_changes_nothing(tmp_path):
    run = options(tmp_path, steps=4)
    train(run, ops, progress=False)
    before = files_of(run.out, folder.NAME)
    train(resume_options(run.out, steps=4), ops, resume=True, progress=False)
    assert files_of(run.out, folder.NAME) == before


def test_it_is_said_how_the_learning_rate_goes_on(tmp_path, capsys):
    run = options(tmp_path, steps=4, eval_every=2)
    train(run, ops, progress=False)
    assert main(["train", "--resume", "--out", run.out, "--steps", "8"]) == 0
    said = capsys.readouterr().out
    assert "resumed after step 4: 4 to go" in said
    before, after = (schedule.learning_rate(o, o.n_ctx, s) for o, s in ((run, 3), (resume_options(run.out), 4)))
    line = "new plan: 8 steps instead of 4; from here on the learning rate is that of a run planned for 8"
    assert f"{line}: {before:.3g} before, {after:.3g} at step 5" in said
