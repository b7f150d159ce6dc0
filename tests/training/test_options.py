"""Options: what makes no sense is refused at the door, in the words that were typed."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from nanogpt_np.cli import main
from nanogpt_np.training import folder
from nanogpt_np.training.options import TrainOptions

NAN, INF = float("nan"), float("inf")


def make(**changes):
    return TrainOptions(**{"data": ["text"], "out": "run"} | changes)


@pytest.mark.parametrize(
    "name, value",
    [
        ("beta1", 1.0), ("beta1", -1.0), ("beta1", NAN), ("beta2", 1.0), ("beta2", 2.0), ("beta2", NAN),
        ("clip", 0.0), ("clip", -1.0), ("clip", NAN), ("checkpoint_minutes", NAN), ("checkpoint_minutes", -1.0),
        ("lr", INF), ("lr", NAN), ("lr", 0.0), ("min_lr", NAN), ("min_lr", -0.1), ("min_lr", 0.5), ("min_lr", INF),
        ("weight_decay", NAN), ("weight_decay", -0.1), ("weight_decay", INF), ("held_out", NAN), ("dropout", NAN),
        ("steps", 0), ("held_out", 0.9), ("warmup", -1), ("seed", -1), ("dtype", "float99"), ("ops", "cupy"),
        ("n_vocab", 256), ("n_ctx", 0), ("n_layer", -1), ("n_head", 0), ("activation", "silu"), ("positions", "rotary"),
        ("dropout", 1.0), ("out", ""), ("data", []), ("data", [""]), ("steps", 10**30), ("lr", 10**400),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(name, value):
    with pytest.raises(ValueError) as caught:
        make(**{name: value})
    said = str(caught.value)
    assert said.startswith(f"--{name.replace('_', '-')}: expected ") and "\n" not in said
    assert said.endswith((f"got {value!r}", f"got {value!r}; leave it out for the usual one")) or len(repr(value)) > 80


def test_options_that_do_not_fit_together_are_named_as_typed():
    with pytest.raises(ValueError, match="^--n-embd: expected a multiple of --n-head = 8, got 100$"):
        make(n_embd=100, n_head=8)
    with pytest.raises(ValueError, match="^--n-embd: expected an even number for sinusoidal positions, got 3$"):
        make(n_embd=3, n_head=1, positions="sinusoidal")
    message = "^--min-lr: expected a number from 0 to --lr = 0.001, got 0.01; leave it out for the usual one$"
    with pytest.raises(ValueError, match=message):
        make(min_lr=0.01)


def test_what_is_unusual_and_makes_sense():
    options = make(clip=INF, checkpoint_minutes=0, min_lr=0, lr=np.float32(0.5), steps=np.int64(3), out=Path("a"))
    assert (options.min_lr, options.lr, options.steps, options.out) == (0.0, 0.5, 3, "a")
    json.dumps(dataclasses.asdict(options))  # all of it is Python's own
    assert make(n_vocab=5, tokenizer="gpt2").n_vocab == 5  # not looked at


def test_every_option_has_its_type():
    """Each value for each option is taken, or refused in one line that names the option."""
    for field in dataclasses.fields(TrainOptions):
        refused = 0
        for value in (None, [], {}, "x\0", 1.5, True, 10**5000, -(10**400), [None], ["\0"], object(), b"a"):
            try:
                make(**{field.name: value})
            except ValueError as error:
                refused += 1
                said = str(error)
                assert said.startswith(f"--{field.name.replace('_', '-')}: expected "), said
                assert "\n" not in said and len(said) < 250
        assert refused >= 8, field.name


def test_values_of_a_wrong_type_in_training_json(tmp_path):
    """As a run finds them that is resumed; None of these reaches more than the door."""
    good = dataclasses.asdict(make(out=str(tmp_path), data=[__file__]))
    for name in good:
        for value in ([], "x\0", -1.5):
            about = {"options": good | {name: value}, "data_sha256": "", "version": ""}
            folder.write(tmp_path, about)
            if name in ("out", "data"):  # replaced by what is typed, but the types are looked at
                value = {}
            try:
                assert getattr(folder.resume_options(tmp_path), name) == value
            except ValueError as error:
                flag = f"--{name.replace('_', '-')}"
                assert f"training.json: expected the options of a run, got: {flag}: expected" in str(error)


@pytest.mark.parametrize(
    "flags, expected",
    [
        ("--beta2 1", "--beta2: expected a number from 0 to below 1, got 1.0"),
        ("--n-embd 100 --n-head 8", "--n-embd: expected a multiple of --n-head = 8, got 100"),
        ("--activation silu", "--activation: expected one of gelu_new, gelu"),
    ],
)
def test_options_are_looked_at_before_the_text(tmp_path, capsys, flags, expected):
    assert main(["train", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "run"), *flags.split()]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"nanogpt-np: {expected}") and said.count("\n") == 1
    assert not (tmp_path / "run").exists()
