"""loss.png: a young run's few points are seen, and epochs stand on top."""

import pytest

from nanogpt_np.training import picture, report


def log_of(tmp_path, n, held_out_every=1):
    log = report.Log(tmp_path / "log.csv")
    for i in range(1, n + 1):
        measured = {"held_out_loss": 6.0 - i / n} if held_out_every and i % held_out_every == 0 else {}
        log.add(step=i, tokens=1000 * i, train_loss=6.5 - i / n, seconds=1.0, **measured)
    return log


def lines(figure):
    return {line.get_label(): line for line in figure.axes[0].lines}


def test_few_points_are_marked_and_many_are_a_line(tmp_path):
    drawn = lines(picture.draw(log_of(tmp_path, 3), "young", 1000))
    assert drawn["training batches"].get_marker() == "o" and drawn["held-out text"].get_marker() == "o"
    drawn = lines(picture.draw(log_of(tmp_path, 60, held_out_every=20), "old", 1000))
    assert drawn["training batches"].get_marker() == "None" and drawn["held-out text"].get_marker() == "o"
    assert drawn["held-out text"].get_zorder() > drawn["training batches"].get_zorder()


def test_epochs_on_top(tmp_path):
    figure = picture.draw(log_of(tmp_path, 3), "young", tokens_per_epoch=2000)
    (top,) = figure.axes[0].child_axes
    figure.canvas.draw()
    assert "epochs" in top.get_xlabel()
    # the lower axis is in thousands of tokens here, and 2,000 tokens are one epoch
    assert top.get_xlim()[1] == pytest.approx(figure.axes[0].get_xlim()[1] / 2)


def test_nothing_held_out_and_nothing_at_all(tmp_path):
    assert list(lines(picture.draw(log_of(tmp_path, 1, held_out_every=0), "one", 1000))) == ["training batches"]
    picture.save(log_of(tmp_path, 0), tmp_path / "loss.png", "none", 1000)
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
