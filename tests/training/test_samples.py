"""samples.txt: what the model writes while it learns, whole at every moment and without touching the training."""

from pathlib import Path

import numpy as np
import pytest
from runs import files_of, options

from nanogpt_np import ops
from nanogpt_np.errors import InputError
from nanogpt_np.training import samples
from nanogpt_np.training.folder import resume_options
from nanogpt_np.training.loop import train

pytestmark = pytest.mark.usefixtures("no_picture")


def test_training_is_the_same_with_and_without(tmp_path):
    plain, sampled = options(tmp_path, out="plain"), options(tmp_path, out="sampled", sample=["The cat", "we"])
    for run in (plain, sampled):
        train(run, ops, progress=False)
    names = ("model.safetensors", "training_state.safetensors")
    assert files_of(plain.out, *names) == files_of(sampled.out, *names)
    assert not (Path(plain.out) / "samples.txt").exists()
    said = (Path(sampled.out) / "samples.txt").read_text(encoding="utf-8")
    headers = [line for line in said.split("\n") if line.startswith("step ")]
    assert [line.split(",")[0] for line in headers] == ["step 5", "step 5", "step 10", "step 10", "step 12", "step 12"]
    assert "held-out loss" in headers[0] and said.count("\n  The cat") == said.count("\n  we") == 3


def test_without_held_out_text_the_training_loss_is_named(tmp_path):
    run = options(tmp_path, sample=["we"], held_out=0.0)
    train(run, ops, progress=False)
    assert "step 12, training loss" in (Path(run.out) / "samples.txt").read_text(encoding="utf-8")


def test_a_resumed_run_writes_the_same_file(tmp_path):
    whole, parts = options(tmp_path, out="whole", sample=["The"]), options(tmp_path, out="parts", sample=["The"])
    train(whole, ops, progress=False)
    train(parts, ops, progress=False)
    expected = files_of(whole.out, "samples.txt")
    assert files_of(parts.out, "samples.txt") == expected
    train(resume_options(parts.out), ops, resume=True, progress=False)  # nothing is left to do
    assert files_of(parts.out, "samples.txt") == expected


def test_later_entries_are_forgotten_whatever_the_text_looks_like(tmp_path, make_gpt):
    """The model may write something that looks like a header; as text it is indented."""
    gpt, path = make_gpt(), tmp_path / "samples.txt"
    written = [samples.entry(s, "held-out loss 1.0", f"a\nstep 1, x\n\n b{s}\r\x0b\u2028c") for s in (5, 1000, 1005)]
    path.write_bytes("\n".join(written).encode())
    found = samples.Samples(path, ["the"], gpt.config, gpt.tokenizer, 0, last_step=1000)
    assert found.entries == written[:2]
    found.add(1005, "held-out loss 0.9", gpt.params)
    assert path.read_bytes().startswith("\n".join(written[:2]).encode()) and len(found.entries) == 3


def test_the_same_seed_draws_the_same_text(tmp_path, make_gpt):
    gpt = make_gpt()
    said = [samples.Samples(tmp_path / "s", ["the"], gpt.config, gpt.tokenizer, seed).add(1, "x", gpt.params)
            for seed in (0, 0, 1)]  # fmt: skip
    assert said[0] == said[1] != said[2]


def test_a_beginning_that_does_not_fit_is_refused_before_the_folder_is_made(tmp_path):
    run = options(tmp_path, sample=["we", "cat " * 40])
    with pytest.raises(InputError, match=r"--sample: expected 1 to n_ctx - 1 = 15 tokens, got \d+; give a shorter"):
        train(run, ops, progress=False)
    assert [path.name for path in Path(run.out).iterdir()] == ["training.lock"]  # which is in nobody's way


def test_no_random_numbers_of_the_run_are_drawn(tmp_path, make_gpt):
    gpt, rng = make_gpt(), np.random.default_rng(3)
    before = rng.bit_generator.state
    samples.Samples(tmp_path / "s", ["the"], gpt.config, gpt.tokenizer, 0).add(1, "x", gpt.params)
    assert rng.bit_generator.state == before
