"""--init: a run that begins with another model's weights, shape and vocabulary."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from runs import files_of, options, write_stories

from nanogpt_np import GPT, ops
from nanogpt_np import params as P
from nanogpt_np.cli import main
from nanogpt_np.errors import InputError
from nanogpt_np.storage import checkpoint
from nanogpt_np.training import folder, loop, start
from nanogpt_np.training.folder import resume_options
from nanogpt_np.training.loop import train
from nanogpt_np.training.options import TrainOptions

pytestmark = pytest.mark.usefixtures("no_picture")


def save_model(tmp_path, make_gpt, **changes):
    directory = tmp_path / "model"
    gpt = make_gpt(**changes)
    gpt.save(directory)
    return gpt, str(directory)


def options_from(tmp_path, model, out="run", **changes):
    """Options for a few steps from a saved model, with its shape."""
    text = write_stories(tmp_path / "stories.txt")
    settings = dict(steps=4, batch_size=2, warmup=1, eval_every=2, log_every=1, held_out=0.1)
    settings |= start.shape_of(model) | changes
    return TrainOptions([text], str(tmp_path / out), init=model, **settings)


def test_nothing_has_changed_before_the_first_step(tmp_path, make_gpt):
    """A step as small as can be: what is saved is the model it began with, up to float32's last bits."""
    gpt, model = save_model(tmp_path, make_gpt)
    run = options_from(tmp_path, model, steps=1, lr=1e-30, weight_decay=0.0)
    train(run, ops, progress=False)
    config, params, tokenizer = checkpoint.load(run.out)
    assert config == gpt.config and tokenizer.fingerprint == gpt.tokenizer.fingerprint
    for (name, expected), (_, got) in zip(P.walk(gpt.params), P.walk(params), strict=True):
        np.testing.assert_array_equal(got, expected, err_msg=name)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize("tied", [True, False])
def test_fewer_positions_tied_or_not(tmp_path, make_gpt, positions, tied):
    gpt, model = save_model(tmp_path, make_gpt, positions=positions, tie_word_embeddings=tied, activation="gelu")
    run = options_from(tmp_path, model, n_ctx=10, dropout=0.2, steps=1, lr=1e-30, weight_decay=0.0)
    train(run, ops, progress=False)
    config, params, _ = checkpoint.load(run.out)
    assert config == gpt.config.replace(n_ctx=10, dropout=0.2)
    if positions == "learned":
        np.testing.assert_array_equal(params["wpe"]["weight"], gpt.params["wpe"]["weight"][:10])
    ids = gpt.tokenizer.encode("the cat sat")[:10]
    np.testing.assert_allclose(GPT.from_pretrained(run.out)(ids), gpt(ids), rtol=1e-6)  # the same sums again


def test_it_learns_and_leaves_the_model_it_came_from_alone(tmp_path, make_gpt):
    gpt, model = save_model(tmp_path, make_gpt)
    before = files_of(model, "model.safetensors", "config.json")
    run = options_from(tmp_path, model, steps=30, lr=3e-3, eval_every=10)
    done = loop.run(run, ops, progress=False)
    losses = [float(row["held_out_loss"]) for row in done.log.rows if row["held_out_loss"] != ""]
    assert losses[-1] < losses[0] - 0.1
    assert files_of(model, "model.safetensors", "config.json") == before


def test_training_json_says_where_it_began(tmp_path, make_gpt):
    gpt, model = save_model(tmp_path, make_gpt)
    run = options_from(tmp_path, model)
    train(run, ops, progress=False)
    note = json.loads((Path(run.out) / folder.NAME).read_text())["init"]
    assert note["model"] == model and note["params_sha256"] == start.fingerprint(gpt.params)
    gpt.params["ln_f"]["bias"][0] += 1
    assert note["params_sha256"] != start.fingerprint(gpt.params)


def test_resume_does_not_need_the_model_again(tmp_path, make_gpt, monkeypatch):
    """Stopped before the first checkpoint, when the model has gone: the same weights as without a stop."""
    _, model = save_model(tmp_path, make_gpt, dropout=0.1, n_ctx=16)
    whole, parts = (options_from(tmp_path, model, out=name, dropout=0.1) for name in ("whole", "parts"))
    train(whole, ops, progress=False)

    def stop(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop.Run, "train_step", stop)
        train(parts, ops, progress=False)
    shutil.rmtree(model)
    train(resume_options(parts.out), ops, resume=True, progress=False)
    names = ("model.safetensors", "training_state.safetensors", "config.json")
    assert files_of(parts.out, *names) == files_of(whole.out, *names)


def test_killed_before_its_state_is_there_it_wants_the_same_weights(tmp_path, make_gpt, monkeypatch):
    gpt, model = save_model(tmp_path, make_gpt)
    run = options_from(tmp_path, model)

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "Run", stop)
        train(run, ops, progress=False)
    bias = gpt.params["ln_f"]["bias"]
    before = bias.copy()
    bias += 1
    gpt.save(model)
    with pytest.raises(InputError, match="--init: expected the weights of .* that this run began with, got others"):
        train(resume_options(run.out), ops, resume=True, progress=False)
    bias[:] = before
    gpt.save(model)
    train(resume_options(run.out), ops, resume=True, progress=False)


@pytest.mark.parametrize(
    "flags, expected",
    [
        ("--n-embd 32", "--n-embd: expected 16, as MODEL has, got 32; leave it out"),
        ("--n-layer 3", "--n-layer: expected 2, as MODEL has, got 3; leave it out"),
        ("--n-vocab 300 --positions sinusoidal", "--positions: expected 'learned', as MODEL has, got 'sinusoidal'"),
        ("--no-tie-word-embeddings", "--tie-word-embeddings: expected True, as MODEL has, got False"),
        ("--n-ctx 25", "--n-ctx: expected at most 24, as MODEL has, got 25"),
        ("--tokenizer gpt2", "--tokenizer: expected none with --init"),
    ],
)
def test_options_that_contradict_the_model(tmp_path, make_gpt, capsys, flags, expected):
    _, model = save_model(tmp_path, make_gpt)
    text = write_stories(tmp_path / "stories.txt")
    status = main(["train", "--data", text, "--out", str(tmp_path / "run"), "--init", model, *flags.split()])
    said = capsys.readouterr().err
    assert status == 2 and said.startswith("nanogpt-np: " + expected.replace("MODEL", model)) and said.count("\n") == 1


def test_a_model_without_a_vocabulary_and_none_at_all(tmp_path, make_gpt, capsys):
    _, model = save_model(tmp_path, make_gpt, with_tokenizer=False)
    text = write_stories(tmp_path / "stories.txt")
    for name, expected in ((model, "--init: expected a model with vocab.json"), ("nowhere", "expected a model direct")):
        assert main(["train", "--data", text, "--out", str(tmp_path / "run"), "--init", name]) == 2
        assert expected in capsys.readouterr().err


def test_from_the_command_line_the_shape_and_the_pace_follow_the_model(tmp_path, make_gpt, capsys):
    _, model = save_model(tmp_path, make_gpt)
    text = write_stories(tmp_path / "stories.txt")
    out = tmp_path / "run"
    words = ["train", "--data", text, "--out", str(out), "--init", model, "--steps", "2", "--dropout", "0.3"]
    assert main(words) == 0
    stored = json.loads((out / folder.NAME).read_text())["options"]
    assert (stored["n_embd"], stored["n_ctx"], stored["dropout"], stored["lr"]) == (16, 24, 0.3, 3e-4)
    assert stored["batch_size"] == 64 * 16 // 24  # as many tokens as the preset for so short a text


def test_a_run_without_init_begins_anew(tmp_path):
    assert start.find_start(options(tmp_path), resume=False) is None
