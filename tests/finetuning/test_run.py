"""The run that makes a classifier: learns, stops, goes on bit for bit, and writes nothing where it cannot begin."""

import json
import os
import signal

import numpy as np
import pytest
from hostile import one_line

from nanogpt_np import ops
from nanogpt_np import params as P
from nanogpt_np.cli import entry as cli
from nanogpt_np.errors import InputError
from nanogpt_np.finetuning import Classifier, ClassifyOptions, results
from nanogpt_np.finetuning import run as runs
from nanogpt_np.training import parts, picture, report


@pytest.fixture(autouse=True)
def no_picture(monkeypatch):
    """Drawing takes most of a tiny run's time; test_measures.py looks at what is drawn."""
    monkeypatch.setattr(results.pictures, "draw_measured", lambda *_: Drawn())


class Drawn:
    def savefig(self, path, format):
        path.write_bytes(b"drawn")


@pytest.fixture
def options(reviews, base, tmp_path):
    def make(out="run", **changes):
        settings = {"model": base, "epochs": 3, "lr": 1e-2, "batch_size": 8} | changes
        return ClassifyOptions([reviews], str(tmp_path / out), **settings)

    return make


def make(options, resume=False):
    return runs.make_classifier(options, ops, resume=resume, progress=False)


def stop_at(monkeypatch, step):
    """Ctrl-C in the middle of that step."""
    before = runs.Run.train_step

    def train_step(self):
        if self.step == step:
            os.kill(os.getpid(), signal.SIGINT)
        return before(self)

    monkeypatch.setattr(runs.Run, "train_step", train_step)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix not in (".csv", ".lock")}


def test_it_learns_what_can_be_learned(options, tmp_path, capsys):
    done = runs.make_classifier(options(epochs=6), ops)
    said = capsys.readouterr().out
    assert done.is_finished and done.measured["this classifier"].accuracy > 0.9
    assert list(done.measured) == ["this classifier", "majority", "bag of words", "frozen features"]
    assert done.measured["majority"].accuracy < 0.8
    stored = json.loads((tmp_path / "run" / "results.json").read_text())
    assert stored["labels"] == ["bad", "good"]
    assert stored["test"]["this classifier"]["accuracy"] == done.measured["this classifier"].accuracy
    for words in ("labels: bad, good", " train, ", "the best so far", "with 95 % intervals", "nanogpt-np classify"):
        assert words in said
    classifier = Classifier.from_pretrained(tmp_path / "run")
    assert [one.label for one in classifier.classify(["so bad rain", "the joy good"])] == ["bad", "good"]


def test_the_same_seed_gives_the_same_files_and_another_one_others(options, tmp_path):
    done = [make(options(out, epochs=1, seed=seed)) for out, seed in (("a", 1), ("b", 1), ("c", 2))]
    states = [one.rng.bit_generator.state for one in done]  # of dropout
    assert states[0] == states[1] != states[2]
    a, b, c = ((tmp_path / out / "model.safetensors").read_bytes() for out in "abc")
    assert a == b != c


@pytest.mark.parametrize("step", [5, *(pytest.param(step, marks=pytest.mark.slow) for step in (0, 12, 35))])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(options, tmp_path, monkeypatch, step, capfd):
    make(options("whole", class_weights="balanced", freeze=0, layer_decay=0.7))
    with monkeypatch.context() as patched:
        stop_at(patched, step)
        assert not make(options("parts", class_weights="balanced", freeze=0, layer_decay=0.7)).is_finished
    assert make(runs.resume_options(tmp_path / "parts"), resume=True).is_finished
    whole, in_parts = files_of(tmp_path / "whole"), files_of(tmp_path / "parts")
    assert whole.keys() == in_parts.keys() >= {"model.safetensors", "results.json", "training_state.safetensors"}
    assert all(whole[name] == in_parts[name] for name in whole if name != "training.json")
    logs = [report.Log.load(tmp_path / out / report.LOG, 10**6).rows for out in ("whole", "parts")]
    kept = [[(row["step"], row["train_loss"], row["held_out_loss"]) for row in rows] for rows in logs]
    assert kept[0] == kept[1] and len(kept[0]) == 7  # after every 6 of 39 steps, and the last


def test_it_stops_early_and_keeps_the_best(options, tmp_path, capsys):
    done = runs.make_classifier(options(epochs=40, lr=0.05, patience=2), ops)
    assert "stopped early: no lower validation loss in 2 measurements" in capsys.readouterr().out
    assert done.step < done.n_steps and done.stopping.n_worse == 2 and done.stopping.step < done.step
    found = Classifier.from_pretrained(tmp_path / "run").measure(*done.texts["validation"])
    assert np.isclose(found.loss, done.stopping.loss, rtol=1e-6)
    again = make(runs.resume_options(tmp_path / "run"), resume=True)  # nothing is left to do
    assert again.step == done.step and again.measured["this classifier"].loss == done.measured["this classifier"].loss


def test_what_is_frozen_stays(options, tmp_path):
    done = make(options(freeze=1, epochs=1))
    fresh = runs.new_classifier(done.options, ("bad", "good"), ops)
    learned = dict(P.walk(done.classifier.params))
    for name, array in P.walk(fresh.params):
        assert np.array_equal(learned[name], array) == (parts.stage(name, 2) < 2), name
    assert done.optimizer.m.keys() == {name for name in learned if parts.stage(name, 2) >= 2}


def test_from_scratch_is_the_same_shape_with_other_weights(options):
    fresh = runs.new_classifier(options(scratch=True), ("a", "b"), ops)
    begun = runs.new_classifier(options(), ("a", "b"), ops)
    assert {n: a.shape for n, a in P.walk(fresh.params)} == {n: a.shape for n, a in P.walk(begun.params)}
    assert not np.array_equal(fresh.params["wte"]["weight"], begun.params["wte"]["weight"])


def test_every_text_once_in_each_epoch_and_like_lengths_together():
    lengths = np.random.default_rng(0).integers(1, 50, 1000)
    order = runs.Order(lengths, 16, seed=3)
    epochs = [[order.batch(step) for step in range(i * order.n_batches, (i + 1) * order.n_batches)] for i in (0, 1)]
    for batches in epochs:
        assert sorted(np.concatenate(batches)) == list(range(1000))
    assert not np.array_equal(epochs[0][0], epochs[1][0])
    padded = sum(len(batch) * lengths[batch].max() for batch in epochs[0])
    assert padded < 1.15 * lengths.sum()  # in any order it would be 1.8 times as many
    assert np.array_equal(runs.Order(lengths, 16, seed=3).batch(70), order.batch(70))


# ---------------------------------------------------------------- what cannot be done

BAD_FILES = {
    "text,label\nx,a\ny,\n": "expected a label, got an empty one",
    "text,label\nx,a\ny,a\n": "expected 2 to 1,000 different labels, got 1, 'a'",
    "text,label\nx\0,a\ny,b\n": "got a zero byte",
    "text,label\nx,a\ny,b\n": "expected examples to ",
}


@pytest.mark.parametrize("text", BAD_FILES, ids=range(len(BAD_FILES)))
def test_nothing_is_left_of_a_file_that_cannot_be_learned_from(options, reviews, tmp_path, text):
    with open(reviews, "w") as file:
        file.write(text)
    with pytest.raises(InputError, match=BAD_FILES[text]) as caught:
        make(options())
    one_line(caught)
    assert not any(path.suffix != ".lock" for path in (tmp_path / "run").glob("*"))


def test_options_that_make_no_sense(options, tmp_path):
    for changes, message in (
        ({"epochs": 0}, "--epochs: expected at least 1"), ({"lr": float("nan")}, "--lr: expected a positive number"),
        ({"class_weights": "some"}, "--class-weights: expected none or balanced, got 'some'"),
        ({"freeze": 1, "scratch": True}, "--freeze: expected none with --scratch"),
        ({"freeze": 3}, "freeze: expected a whole number from 0 to 2"), ({"patience": 0}, "--patience: expected"),
        ({"model": "nothing"}, "nothing"), ({"batch_size": 10**12}, "--batch-size: expected at most about"),
        ({"text_column": "words"}, "expected one column 'words'"), ({"warmup_share": 2.0}, "--warmup-share: expected"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            make(options(**changes))
        one_line(caught)
    assert not any(path.suffix != ".lock" for path in (tmp_path / "run").glob("*"))


def test_a_loss_that_is_not_finite_is_said(options):
    with pytest.raises(InputError, match=r"step \d+: expected a finite loss, got nan"), np.errstate(all="ignore"):
        make(options(lr=1e30, clip=1e30))


def test_a_run_keeps_its_texts_and_its_folder(options, reviews, tmp_path):
    make(options(epochs=1))
    with pytest.raises(InputError, match="already holds a training run"):
        make(options(epochs=1))
    with open(reviews, "a") as file:
        file.write("more,good\n")
    with pytest.raises(InputError, match="expected the text this run began with, got another"):
        make(runs.resume_options(tmp_path / "run"), resume=True)
    with pytest.raises(InputError, match="expected a training run .* to resume, found none"):
        runs.resume_options(tmp_path / "nothing")


# ---------------------------------------------------------------- the command line


@pytest.fixture
def command(capsys):
    """command("finetune", …) -> status, standard output, the last line of standard error"""

    def call(*words):
        try:
            status = cli.main([str(word) for word in words])
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return status, out, err.rstrip("\n").split("\n")[-1]

    return call


def test_finetune_and_classify(command, reviews, base, tmp_path):
    out = tmp_path / "run"
    how = ["--epochs", 6, "--lr", 0.01, "--batch-size", 8, "--class-weights", "balanced"]
    status, said, _ = command("finetune", "--task", "classify", "--data", reviews, "--model", base, "--out", out, *how)
    assert status == 0 and "this classifier  accuracy" in said
    status, said, _ = command("classify", "so bad rain", "the joy", "--model", out)
    assert status == 0 and [line.split()[0] for line in said.splitlines()] == ["bad", "good"]
    status, said, _ = command("classify", "the joy", "--model", out, "--json")
    assert json.loads(said)["label"] == "good" and len(json.loads(said)["probabilities"]) == 2
    status, said, _ = command("classify", "--data", reviews, "--model", out)
    assert status == 0 and said.startswith("accuracy ") and "on 120 texts" in said and "  bad: " in said
    assert command("finetune", "--task", "classify", "--resume", "--out", out)[0] == 0
    other = tmp_path / "other.csv"
    other.write_text("text,label\nsome,good\nmore,strange\n")
    status, _, line = command("classify", "--data", other, "--model", out)
    assert status == 2 and "line 3: expected a label that was seen in training, 'bad', 'good', got 'strange'" in line


def test_finetune_a_text_is_a_run_of_training(command, base, tmp_path, monkeypatch):
    monkeypatch.setattr(picture, "save", lambda *_: None)
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat. " * 50)
    words = ["finetune", "--task", "text", "--data", text, "--out", tmp_path / "run", "--model", base]
    how = ["--steps", 4, "--batch-size", 1, "--freeze", 1, "--layer-decay", 0.5, "--patience", 3]
    status, said, _ = command(*words, *how)
    assert status == 0 and "plan: 4 steps" in said
    options = json.loads((tmp_path / "run" / "training.json").read_text())["options"]
    assert (options["init"], options["freeze"], options["layer_decay"], options["patience"]) == (base, 1, 0.5, 3)
    assert command("finetune", "--task", "text", "--out", tmp_path / "run", "--resume")[0] == 0


def test_commands_that_make_no_sense(command, reviews, base, tmp_path):
    classify = ["finetune", "--task", "classify", "--out", tmp_path / "run"]
    text = ["finetune", "--task", "text", "--out", tmp_path / "run", "--data", reviews]
    for words, message in (
        (classify, "expected --data FILE, got none"),
        ([*classify, "--data", reviews, "--steps", 5], "--steps: expected"),
        ([*text, "--epochs", 3], "--epochs: expected options of --task text; leave it out"),
        ([*text, "--scratch"], "--scratch: expected options of --task text"),
        ([*classify, "--resume"], "expected a training run (training.json) to resume, found none"),
        ([*classify, "--resume", "--lr", 1], "--lr: expected only --out (and --data) with --resume; leave it out"),
        ([*classify, "--data", tmp_path / "none.csv"], "cannot be read"),
        (["finetune", "--out", "x"], "the following arguments are required: --task"),
        (["classify", "a", "--model", base], "expected id2label"), (["classify", "--model", base], "got neither"),
        (["classify", "a", "--data", reviews, "--model", base], "expected a text, or --data FILE, got both"),
        (["classify", "a"], "the following arguments are required: --model"),
    ):
        status, _, line = command(*words)
        assert status == 2 and message in line, line
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").glob("*.json"))
