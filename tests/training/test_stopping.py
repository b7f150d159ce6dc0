"""Early stopping, and runs of training with frozen blocks: what stays, what is kept, what goes on."""

import numpy as np
import pytest
from runs import options, write_stories

from nanogpt_np import GPT, ops
from nanogpt_np import params as P
from nanogpt_np.errors import InputError
from nanogpt_np.training import folder, loop, parts
from nanogpt_np.training.evaluation import Evaluation
from nanogpt_np.training.options import TrainOptions
from nanogpt_np.training.stopping import Stopping


def test_patience_counts_measurements_without_a_lower_one():
    one = Stopping(2)
    assert [one.offer(step, loss) for step, loss in enumerate((3.0, 2.0, 2.0, 1.9, float("nan")))] == [
        True, True, False, True, False]  # fmt: skip
    assert (one.step, one.loss, one.n_worse, one.is_over) == (3, 1.9, 1, False)
    assert not one.offer(5, 1.9) and one.is_over
    again = Stopping(2)
    again.put_back(one.to_dict())
    assert vars(again) == vars(one)
    fresh = Stopping()
    fresh.put_back(Stopping().to_dict())
    assert fresh.loss == np.inf and not fresh.is_over
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(InputError, match="patience: expected a whole number of at least 1"):
            Stopping(wrong)


def test_a_run_stops_early_and_its_best_is_kept(tmp_path, no_picture, monkeypatch, capsys):
    """The held-out losses are made up: the third measurement is the best, and two more are not better."""
    losses = iter([3.0, 2.5, 2.0, 2.1, 2.2, 2.3])
    monkeypatch.setattr(loop.Run, "evaluate", lambda self: Evaluation(next(losses) * 10, 10, 10))
    run = loop.run(options(tmp_path, steps=60, eval_every=2, patience=2), ops)
    assert run.step == 10 and run.is_finished and run.best.step == 6
    said = capsys.readouterr().out
    assert "stopped early: no lower held-out loss in 2 measurements" in said and "go on with" not in said
    again = loop.run(folder.resume_options(tmp_path / "run"), ops, resume=True)  # its patience is still at an end
    assert again.step == 10


def test_patience_survives_a_stop(tmp_path, no_picture, monkeypatch):
    losses = iter([3.0, 3.1, 3.2, 3.3, 3.4, 3.5])
    monkeypatch.setattr(loop.Run, "evaluate", lambda self: Evaluation(next(losses) * 10, 10, 10))
    loop.train(options(tmp_path, steps=4, eval_every=2, patience=3), ops)  # one best, one worse
    run = loop.run(folder.resume_options(tmp_path / "run", steps=40), ops, resume=True)
    assert run.step == 8 and run.stopping.n_worse == 3


def test_a_text_run_leaves_what_is_frozen(tmp_path, no_picture, make_gpt):
    make_gpt().save(tmp_path / "base")
    data = write_stories(tmp_path / "stories.txt")
    shape = {"n_vocab": 300, "n_ctx": 24, "n_embd": 16, "n_layer": 2, "n_head": 2}
    how = dict(init=str(tmp_path / "base"), steps=3, batch_size=2, warmup=1, held_out=0.1, freeze=1, layer_decay=0.5)
    loop.train(TrainOptions([data], str(tmp_path / "run"), **shape, **how), ops)
    opened = (GPT.from_pretrained(tmp_path / name, ops="numpy") for name in ("base", "run"))
    before, after = (dict(P.walk(gpt.params)) for gpt in opened)
    for name in before:
        assert np.array_equal(before[name], after[name]) == (parts.stage(name, 2) < 2), name


@pytest.mark.parametrize("changes, message", [
    ({"freeze": 1}, "--freeze: expected none without --init"),
    ({"freeze": -1, "init": "stories"}, "--freeze: expected a whole number from 0 to 6"),
    ({"freeze": 7, "init": "stories"}, "--freeze: expected a whole number from 0 to 6"),
    ({"layer_decay": 0.0}, "--layer-decay: expected a factor above 0"), ({"patience": 0}, "--patience: expected"),
    ({"patience": 1, "held_out": 0.0}, "--patience: expected none where --held-out is 0"),
])  # fmt: skip
def test_options_that_make_no_sense(changes, message):
    with pytest.raises(InputError, match=message):
        TrainOptions(["text"], "run", **changes)
