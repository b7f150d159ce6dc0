"""best/: the model with the lowest held-out loss, a complete directory at every moment."""

import json

import numpy as np
import pytest

from nanogpt_np import files
from nanogpt_np.errors import FileError
from nanogpt_np.storage import checkpoint
from nanogpt_np.training.best import Best
from nanogpt_np.training.evaluation import Evaluation


@pytest.fixture
def model(make_gpt):
    gpt = make_gpt()
    return gpt.config, gpt.params, gpt.tokenizer, "float32", None


def loss(nats):
    return Evaluation(nats * 10, 10, 30)


def mark(model, value):
    """Weights that can be told apart."""
    model[1]["ln_f"]["bias"][:] = value


def kept(best):
    return checkpoint.load(best.folder)[1]["ln_f"]["bias"][0]


def test_only_a_lower_loss_replaces_it(tmp_path, model):
    best = Best(tmp_path)
    offered = []
    for step, nats in ((1, 3.0), (2, 2.0), (3, 2.0), (4, 2.5)):
        mark(model, step)
        offered.append(best.offer(step, loss(nats), *model))
    assert offered == [True, True, False, False] and (best.step, best.loss) == (2, 2.0) and kept(best) == 2
    again = Best(tmp_path)  # as a resumed run finds it
    assert (again.step, again.loss) == (2, 2.0)
    assert {path.name for path in tmp_path.iterdir()} == {"best"}


def test_a_stop_at_any_write_leaves_the_old_or_the_new_one(tmp_path, model, monkeypatch):
    """Every write of the second save is made to fail in turn; what stands there can always be opened."""
    best = Best(tmp_path)
    mark(model, 1)
    best.offer(1, loss(3.0), *model)
    whole, stop_at = files.settle, None
    seen = []

    def settle(part, path):
        seen.append(path.name)
        if len(seen) == stop_at:
            raise KeyboardInterrupt
        whole(part, path)

    monkeypatch.setattr(files, "settle", settle)
    for stop_at in range(1, 6):
        seen.clear()
        mark(model, 1 + stop_at)
        with pytest.raises(KeyboardInterrupt):
            Best(tmp_path).offer(2, loss(2.0), *model)
        assert kept(best) in (1, 1 + stop_at) and Best(tmp_path).step == 1
    assert seen == ["vocab.json", "merges.txt", "model.safetensors", "config.json", "measured.json"]
    assert kept(best) == 6  # the weights were written, only the note was not


def test_a_stop_in_the_first_save_leaves_none(tmp_path, model, monkeypatch):
    def settle(part, path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files, "settle", settle)
        Best(tmp_path).offer(1, loss(3.0), *model)
    assert not (tmp_path / "best").exists()
    best = Best(tmp_path)
    assert best.offer(1, loss(3.0), *model) and kept(best) == model[1]["ln_f"]["bias"][0]
    assert {path.name for path in tmp_path.iterdir()} == {"best"}


@pytest.mark.parametrize("note", ["{}", "[]", '{"step": "x", "held_out_loss": 1}', "{"])
def test_a_damaged_note_is_one_line(tmp_path, model, note):
    best = Best(tmp_path)
    best.offer(1, loss(3.0), *model)
    (best.folder / "measured.json").write_text(note)
    with pytest.raises(FileError, match=r"measured.json: expected .*damaged note; remove the folder"):
        Best(tmp_path)


def test_the_note_says_what_was_measured(tmp_path, model):
    Best(tmp_path).offer(7, loss(2.0), *model)
    note = json.loads((tmp_path / "best" / "measured.json").read_text())
    assert note["step"] == 7 and note["held_out_loss"] == 2.0
    assert note["held_out_bits_per_byte"] == pytest.approx(2.0 * 10 / np.log(2) / 30)
