"""Training: what a run leaves behind, that it can be killed and resumed bit for bit, and what it says to bad input."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from runs import WORDS, files_of, options, write_stories

from nanogpt_np import ops
from nanogpt_np.cli import main
from nanogpt_np.errors import InputError
from nanogpt_np.storage.checkpoint import load
from nanogpt_np.tokenizer.bpe import Tokenizer
from nanogpt_np.training import data, state
from nanogpt_np.training.evaluation import count_bytes, evaluate
from nanogpt_np.training.folder import resume_options
from nanogpt_np.training.loop import train


def test_a_run_leaves_a_model_a_log_and_a_picture(tmp_path):
    run = options(tmp_path, steps=40)
    evaluation = train(run, ops, progress=False)
    config, params, tokenizer = load(run.out)
    assert (config.n_vocab, config.n_ctx, config.n_layer, config.eos_id) == (280, 16, 2, tokenizer.eos_id)
    with open(Path(run.out) / "log.csv") as log:
        rows = list(csv.DictReader(log))
    assert [int(row["step"]) for row in rows][-1] == 40 and float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    assert float(rows[-1]["held_out_loss"]) == pytest.approx(evaluation.loss, rel=1e-5)
    assert (Path(run.out) / "loss.png").read_bytes().startswith(b"\x89PNG")
    # the saved model is the one that was measured
    _, held_out = data.split_held_out(data.read_documents(run.data), run.held_out)
    ids = data.encode_documents(held_out, tokenizer)
    again = evaluate(ids, count_bytes(held_out), params, config, ops)
    assert again.loss == pytest.approx(evaluation.loss, rel=1e-6)
    assert not list(Path(run.out).glob(".*"))  # no temporary file is left


def test_same_options_same_weights_and_seed_matters(tmp_path):
    runs = [options(tmp_path, out=name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    for run in runs:
        train(run, ops, progress=False)
    a, b, c = (files_of(run.out, "model.safetensors") for run in runs)
    assert a == b != c


@pytest.mark.slow
def test_killed_run_resumes_bit_for_bit(tmp_path):
    """SIGKILL in mid-run, twice; weights, moments, generator and data position come out as if nothing had happened."""
    flags = "--n-vocab 280 --n-ctx 16 --n-embd 32 --n-layer 2 --n-head 2 --steps 300 --batch-size 2 --accumulate 2"
    flags += " --dropout 0.1 --held-out 0.1 --checkpoint-minutes 0.002 --log-every 50 --eval-every 100"
    text = write_stories(tmp_path / "stories.txt")
    command = [sys.executable, "-m", "nanogpt_np", "train"]
    whole, killed = str(tmp_path / "whole"), str(tmp_path / "killed")
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*command, "--data", text, "--out", whole, *flags.split()], check=True, **quiet)
    run = [*command, "--data", text, "--out", killed, *flags.split()]
    state = Path(killed) / "training_state.safetensors"
    for _ in range(2):
        process = subprocess.Popen(run, **quiet)
        before = state.stat().st_mtime_ns if state.exists() else 0
        while process.poll() is None and (not state.exists() or state.stat().st_mtime_ns == before):
            time.sleep(0.005)
        time.sleep(0.1)
        process.kill()
        assert process.wait() == -signal.SIGKILL, "the run was over before it could be killed"
        run = [*command, "--resume", "--out", killed]
    subprocess.run(run, check=True, **quiet)
    names = ("model.safetensors", "training_state.safetensors", "vocab.json", "merges.txt", "config.json")
    assert files_of(killed, *names) == files_of(whole, *names)
    steps = [[row["step"] for row in csv.DictReader(open(Path(out) / "log.csv"))] for out in (whole, killed)]
    assert steps[0] == steps[1]


def test_two_processes_do_not_train_in_one_place(tmp_path, capsys):
    text = write_stories(tmp_path / "stories.txt")
    flags = "--n-vocab 280 --n-ctx 16 --n-embd 16 --n-layer 1 --n-head 2 --steps 100000".split()
    command = [sys.executable, "-m", "nanogpt_np", "train", "--data", text, "--out", str(tmp_path / "run"), *flags]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "run" / "log.csv").exists():
        time.sleep(0.01)
    status, said = run_cli(capsys, "--resume", "--out", tmp_path / "run")
    process.kill()
    process.wait()
    assert status == 2 and "another process is training here" in said


def test_interrupt_finishes_the_step_and_saves(tmp_path):
    text = write_stories(tmp_path / "stories.txt")
    flags = "--n-vocab 280 --n-ctx 16 --n-embd 16 --n-layer 1 --n-head 2 --steps 100000 --checkpoint-minutes 99"
    command = [sys.executable, "-m", "nanogpt_np", "train", "--data", text, "--out", str(tmp_path / "run")]
    process = subprocess.Popen([*command, *flags.split()], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    while not (tmp_path / "run" / "log.csv").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 3  # neither finished (0) nor wrong (2)
    assert "stopped after step" in said and "--resume" in said
    assert load(tmp_path / "run")[0].n_layer == 1 and (tmp_path / "run" / "training_state.safetensors").exists()


def test_resume_after_the_end_changes_nothing(tmp_path):
    run = options(tmp_path)
    evaluation = train(run, ops, progress=False)
    before = files_of(run.out, "model.safetensors", "log.csv")
    again = train(resume_options(run.out), ops, resume=True, progress=False)
    assert files_of(run.out, "model.safetensors", "log.csv") == before
    assert again.loss == pytest.approx(evaluation.loss)


def test_with_a_given_tokenizer_and_float16(tmp_path):
    Tokenizer.train([" ".join(WORDS)] * 3, 270).save(tmp_path / "vocabulary")
    run = options(tmp_path, tokenizer=str(tmp_path / "vocabulary"), dtype="float16", held_out=0.0)
    assert train(run, ops, progress=False) is None
    config, params, tokenizer = load(run.out)
    assert tokenizer.fingerprint == Tokenizer.load(tmp_path / "vocabulary").fingerprint and config.n_vocab == 270
    weight = params["wte"]["weight"]
    np.testing.assert_array_equal(weight, weight.astype(np.float16))


def run_cli(capsys, *arguments):
    """-> exit status and what stands on standard error."""
    status = main(["train", *map(str, arguments)])
    return status, capsys.readouterr().err


SMALL = "--n-vocab 280 --n-ctx 16 --n-embd 16 --n-layer 1 --n-head 2 --steps 3".split()


def test_bad_text(tmp_path, capsys):
    def check(content, expected):
        (tmp_path / "text").write_bytes(content)
        status, said = run_cli(capsys, "--data", tmp_path / "text", "--out", tmp_path / "run", *SMALL)
        assert status == 2 and expected in said and said.count("\n") == 1 and "Traceback" not in said
        assert not (tmp_path / "run" / "model.safetensors").exists()

    check(b"", "expected text, got an empty file")
    check(b"\n<|endoftext|>\n \n", "expected text, got an empty file")
    check(b"good \xff bad", "expected UTF-8 text, got byte 0xff at offset 5")
    status, said = run_cli(capsys, "--data", tmp_path / "nowhere", "--out", tmp_path / "run", *SMALL)
    assert status == 2 and "nowhere: cannot be read (No such file or directory)" in said


def test_text_shorter_than_one_context(tmp_path, capsys):
    text = write_stories(tmp_path / "text", n=3)
    tokens = ["--tokenizer", "gpt2", "--held-out", "0", "--n-ctx", "500"]
    status, said = run_cli(capsys, "--data", text, "--out", tmp_path / "run", *SMALL, *tokens)
    assert status == 2 and "expected at least --n-ctx + 1 = 501 tokens to train on, got" in said
    # nothing is in the way of a second try with better options
    tokens[-1] = "16"
    assert run_cli(capsys, "--data", text, "--out", tmp_path / "run", *SMALL, *tokens, "--n-embd", "8")[0] == 0


def test_a_directory_that_is_not_ours(tmp_path, capsys):
    text = write_stories(tmp_path / "text")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    status, said = run_cli(capsys, "--data", text, "--out", tmp_path / "home", *SMALL)
    assert status == 2 and "expected an empty folder or none, got one with other files" in said
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["letter.txt"]
    status, said = run_cli(capsys, "--data", text, "--out", tmp_path / "home" / "letter.txt", *SMALL)
    assert status == 2 and "got a file" in said
    status, said = run_cli(capsys, "--resume", "--out", tmp_path / "home")
    assert status == 2 and "expected a training run (training.json) to resume, found none" in said


def test_a_run_is_not_overwritten(tmp_path, capsys):
    text = write_stories(tmp_path / "text")
    assert run_cli(capsys, "--data", text, "--out", tmp_path / "run", *SMALL)[0] == 0
    status, said = run_cli(capsys, "--data", text, "--out", tmp_path / "run", *SMALL)
    assert status == 2 and "already holds a training run; go on with --resume" in said
    status, said = run_cli(capsys, "--resume", "--out", tmp_path / "run", "--lr", "1")
    assert status == 2 and "got --lr" in said
    write_stories(tmp_path / "text", seed=1)
    status, said = run_cli(capsys, "--resume", "--out", tmp_path / "run")
    assert status == 2 and "expected the text this run began with, got another" in said


@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_a_run_from_when_sines_were_whole_is_not_gone_on_with(tmp_path, monkeypatch, positions):
    """Its state does not say how large sines were; nothing else changed, so a run with learned positions goes on."""
    save = state.save
    monkeypatch.setattr(state, "save", lambda *given: save(*given[:-1], {"tokenizer": given[-1]["tokenizer"]}))
    run = options(tmp_path, positions=positions, steps=2)
    train(run, ops, progress=False)
    if positions == "learned":
        assert train(resume_options(run.out), ops, resume=True, progress=False)
        return
    with pytest.raises(InputError, match="began when sines were added at another size.*start a new run"):
        train(resume_options(run.out), ops, resume=True, progress=False)
    monkeypatch.undo()
    run = options(tmp_path, positions=positions, steps=2, out=str(tmp_path / "new"))
    train(run, ops, progress=False)
    assert train(resume_options(run.out), ops, resume=True, progress=False)


def test_broken_state_is_named(tmp_path):
    run = options(tmp_path)
    train(run, ops, progress=False)
    path = Path(run.out) / "training_state.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="training_state.safetensors: expected a training state of this model, got"):
        train(resume_options(run.out), ops, resume=True, progress=False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs resource limits")
def test_full_disk_keeps_the_last_checkpoint(tmp_path):
    """A limit on file size stands in for a full disk: the write fails half-way with an OSError, as it would there."""
    run = options(tmp_path, steps=6)
    train(run, ops, progress=False)
    before = files_of(run.out, "model.safetensors", "training_state.safetensors", "log.csv")
    script = f"""
import resource, sys
from nanogpt_np import params as P
from nanogpt_np.storage import checkpoint
from nanogpt_np.training import state, optim
import numpy as np
config, params, tokenizer = checkpoint.load({run.out!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
from pathlib import Path
for write in (
    lambda: state.save(Path({run.out!r}), params, optim.AdamW(params), np.random.default_rng(0), 9, {{}}),
    lambda: checkpoint.save({run.out!r}, config, params, tokenizer),
):
    try:
        write()
    except ValueError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert len(said) == 2 and all("cannot be written" in line and "free some space" in line for line in said)
    assert files_of(run.out, "model.safetensors", "training_state.safetensors", "log.csv") == before
    assert not list(Path(run.out).glob(".*"))


def test_split_held_out():
    documents = [str(i) for i in range(100)]
    kept, held_out = data.split_held_out(documents, 0.02)
    assert held_out == ["49", "99"] and len(kept) == 98
    assert data.split_held_out(["abcdefghij"], 0.2) == (["abcdefgh"], ["ij"])
    assert data.split_held_out(documents, 0.0) == (documents, [])


def test_windows_cover_an_epoch_once_and_targets_follow_inputs():
    windows = data.Windows(np.arange(1000, dtype=np.uint16), n_ctx=10, seed=3)
    inputs, targets = windows.batch(0, windows.n_windows)
    np.testing.assert_array_equal(inputs + 1, targets)
    assert len(np.unique(inputs)) == inputs.size == windows.n_windows * 10
    second, _ = windows.batch(windows.n_windows, windows.n_windows)
    assert not np.array_equal(inputs, second)
    np.testing.assert_array_equal(windows.batch(5, 3)[0], inputs[5:8])  # a position depends on nothing before
    assert data.Windows(np.arange(11), 10, 0).batch(7, 1)[0].tolist() == [list(range(10))]


def test_evaluate_predicts_every_token_once(tmp_path):
    from small import CONFIG, make, random_ids

    params, ids = make(), random_ids(40)
    result = evaluate(ids, 80, params, CONFIG, ops, batch_size=2)
    nats = 0.0
    for start in range(0, 39, CONFIG.n_ctx):
        inputs, targets = ids[start : start + 16], ids[start + 1 : start + 17]
        logits = ops.unembed(_final(inputs[: len(targets)], params, CONFIG), params["wte"]["weight"])
        nats -= np.log(ops.softmax(logits.astype(np.float64)))[0, np.arange(len(targets)), targets].sum()
    assert result.n_tokens == 39 and result.nats == pytest.approx(nats, rel=1e-5)
    assert result.bits_per_byte == pytest.approx(nats / np.log(2) / 80, rel=1e-5)


def _final(ids, params, config):
    from nanogpt_np import model

    return model.trunk(ids[None], params, config, ops)[0]
