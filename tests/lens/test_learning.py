"""lens/learning.py and lens/playback.py: a run's log, one step's gradients, the models that a run kept."""

import shutil

import numpy as np
import pytest
from lens.test_pictures import render, texts
from runs import options
from small import CONFIG, make, random_ids

from nanogpt_np import GPT, lens, ops
from nanogpt_np.errors import FileError, InputError
from nanogpt_np.params import walk
from nanogpt_np.training import kept
from nanogpt_np.training.loop import train
from nanogpt_np.training.samples import SAMPLING

IDS = random_ids(2, 9, seed=3)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Ten steps; kept before the first and after every four."""
    options_of = options(tmp_path_factory.mktemp("run"), keep_every=4, steps=10, eval_every=5, log_every=1)
    train(options_of, ops, progress=False)
    return options_of


def test_the_columns_of_a_log(run):
    view = lens.training_view(run.out)
    assert view.step.tolist() == list(range(1, 11))
    assert np.isfinite(view.held_out_loss).tolist() == [i % 5 == 0 for i in range(1, 11)]
    with open(f"{run.out}/log.csv") as file:
        rows = [line.split(",") for line in file.read().splitlines()]
    for name in view._fields:
        column = rows[0].index(name)
        np.testing.assert_array_equal(getattr(view, name), [float(row[column] or "nan") for row in rows[1:]])
    figure = lens.draw_training(view, "a run")
    assert f"{view.held_out_loss[9]:.3f}" in texts(figure) and render(figure)
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), view.train_loss)
    assert lens.training_view(f"{run.out}/log.csv").step.tolist() == view.step.tolist()


def test_a_run_that_measured_nothing_is_drawn(run):
    view = lens.training_view(run.out)
    assert render(lens.draw_training(view._replace(held_out_loss=np.full(10, np.nan))))


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "step,tokens\n"])
def test_a_damaged_log_is_one_line(tmp_path, text):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(FileError, match="log.csv: expected the log.csv of a run, got") as caught:
        lens.training_view(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(FileError, match="nowhere"):
        lens.training_view(tmp_path / "nowhere")


def test_one_step_against_finite_differences():
    config = CONFIG.replace(n_layer=1)
    gpt = GPT(config, make(config, dtype=np.float64))
    view = lens.step_view(gpt, IDS)
    assert view.names == [name for name, _ in walk(gpt.params)]

    def loss():
        return np.mean([np.nanmean(lens.tokens_view(gpt, ids).losses) for ids in IDS])

    assert view.loss == pytest.approx(loss(), rel=1e-12)
    for name in ("ln_f.bias", "h.0.attn.c_proj.bias", "h.0.ln_2.weight"):
        array, found = dict(walk(gpt.params))[name], []
        for i in range(array.size):
            before = array[i]
            array[i] = before + 1e-6
            above = loss()
            array[i] = before - 1e-6
            found.append((above - loss()) / 2e-6)
            array[i] = before
        at = view.names.index(name)
        assert view.gradients[at] == pytest.approx(np.sqrt(np.mean(np.square(found))), rel=1e-5)
        assert view.weights[at] == pytest.approx(np.sqrt(np.mean(array**2)), rel=1e-12)
    sizes = np.array([array.size for _, array in walk(gpt.params)])
    assert view.norm == pytest.approx(np.sqrt((view.gradients**2 * sizes).sum()), rel=1e-12)


def test_texts_of_different_lengths_weigh_by_their_tokens():
    gpt = GPT(CONFIG, make())
    view = lens.step_view(gpt, [IDS[0], IDS[1][:4]])
    losses = [lens.tokens_view(gpt, ids).losses[1:] for ids in (IDS[0], IDS[1][:4])]
    assert view.loss == pytest.approx(np.concatenate(losses).mean(), rel=1e-5)


def test_numbers_of_a_step():
    view = lens.step_view(GPT(CONFIG, make()), IDS)
    figure = lens.draw_step(view)
    said = [text for text in texts(figure) if text.lstrip("-").replace(".", "").isdigit()]
    assert sorted(said) == sorted(f"{np.log10(x):.1f}" for x in view.gradients) and render(figure)


def test_a_training_is_played_back(run):
    assert list(kept.folders(run.out)) == [0, 4, 8]
    view = lens.playback_view(run.out, "the cat sat", prompt="the", n_new=5, seed=3)
    assert view.steps.tolist() == [0, 4, 8]
    for i, step in enumerate(view.steps):
        gpt = GPT.from_pretrained(f"{run.out}/kept/step-{step:06}", ops="numpy")
        np.testing.assert_array_equal(view.losses[i], lens.tokens_view(gpt, "the cat sat").losses)
        np.testing.assert_array_equal(view.probs[i], lens.attention_grid(gpt, "the cat sat").probs)
        how = {"temperature": SAMPLING.temperature, "top_p": SAMPLING.top_p, "seed": 3}
        assert view.samples[i] == gpt.generate("the", 5, **how)
    figure = lens.draw_playback(view, 0, -1, "a run")
    said = texts(figure)
    assert {f"{loss:.1f}" for loss in view.losses[:, 1:].ravel()} <= set(said) and render(figure)
    assert render(lens.draw_playback(lens.playback_view(run.out, "the"), 0, 0))  # nothing is written


def test_keeping_changes_no_bit_of_the_run(run, tmp_path):
    other = options(tmp_path, steps=10, eval_every=5, log_every=1)
    train(other, ops, progress=False)
    for name in ("model.safetensors", "training_state.safetensors"):
        with open(f"{run.out}/{name}", "rb") as a, open(f"{other.out}/{name}", "rb") as b:
            assert a.read() == b.read(), name


def test_what_was_not_finished_is_not_played(run, tmp_path):
    shutil.copytree(f"{run.out}/kept", tmp_path / "kept")
    (tmp_path / "kept" / "step-000004" / "config.json").unlink()
    (tmp_path / "kept" / "notes").mkdir()
    assert list(kept.folders(tmp_path)) == [0, 8]
    with pytest.raises(FileError, match="expected models in kept, found none; train with --keep-every"):
        lens.playback_view(tmp_path / "kept", "the")


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda gpt: lens.step_view(gpt, []), "texts: expected a list of at least one text, got none"),
        (lambda gpt: lens.step_view(gpt, "a text"), "texts: expected a list of at least one text"),
        (lambda gpt: lens.step_view(gpt, [[1]]), "texts: expected at least two tokens in each, got one"),
    ],
)
def test_mistakes_are_one_line(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call(GPT(CONFIG, make()))
    assert "\n" not in str(caught.value)
