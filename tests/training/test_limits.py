"""What cannot fit is refused before it is tried, what makes little sense is said; and how a run can be ended."""

import signal
import tracemalloc
import types
from pathlib import Path

import numpy as np
import pytest
from runs import options, write_stories

from nanogpt_np import memory, model, ops
from nanogpt_np import params as P
from nanogpt_np.cli import main
from nanogpt_np.tokenizer.bpe import Tokenizer
from nanogpt_np.training import data, limits
from nanogpt_np.training.loop import run, train
from nanogpt_np.training.options import TrainOptions


def own_ops(**changes):
    """A module of ops with some of them changed."""
    own = types.ModuleType("own_ops")
    vars(own).update({name: value for name, value in vars(ops).items() if not name.startswith("__")} | changes)
    return own


# ---- memory


@pytest.mark.parametrize(
    "changes, expected",
    [
        ("--n-embd 100000000 --n-head 1", "--n-embd 100000000, --n-layer 2: expected at most about 500,000,000 param"),
        ("--n-layer 1000000", "--n-embd 16, --n-layer 1000000: expected at most about 500,000,000 parameters"),
        ("--batch-size 100000000000", "--batch-size: expected at most about "),
        ("--n-ctx 1000000", "--n-ctx 1000000: expected windows that fit the 8.0 GB of memory here, got some of about "),
        ("--n-ctx 1000000 --positions sinusoidal", "--n-ctx 1000000: expected windows that fit"),
    ],
)
def test_what_cannot_fit_is_refused_before_it_is_tried(tmp_path, capsys, monkeypatch, changes, expected):
    monkeypatch.setattr(memory, "total_bytes", lambda: 8_000_000_000)
    small = options(tmp_path)
    shape = "--n-embd 16 --n-layer 2 --n-head 2 --n-ctx 16 --steps 2".split()
    tracemalloc.start()
    status = main(["train", "--data", small.data[0], "--out", small.out, *shape, *changes.split()])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    said = capsys.readouterr().err
    assert status == 2 and f"nanogpt-np: {expected}" in said and said.count("\n") == 1 and len(said) < 400
    assert peak < 20_000_000 and not Path(small.out).exists()


def test_the_advice_on_batch_size_can_be_followed(monkeypatch):
    monkeypatch.setattr(memory, "total_bytes", lambda: 1_000_000_000)
    settings = dict(n_vocab=300, n_ctx=64, n_embd=32, n_head=2, n_layer=2)
    with pytest.raises(ValueError, match="at most about ([0-9,]+) windows") as caught:
        limits.check_memory(TrainOptions(["a"], "b", batch_size=10**6, **settings))
    most = int(str(caught.value).split("about ")[1].split(" windows")[0].replace(",", ""))
    limits.check_memory(TrainOptions(["a"], "b", batch_size=most, **settings))
    with pytest.raises(ValueError, match="--batch-size"):
        limits.check_memory(TrainOptions(["a"], "b", batch_size=most + 1, **settings))


def test_where_nobody_knows_the_memory_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "total_bytes", lambda: None)
    limits.check_memory(TrainOptions(["a"], "b", batch_size=10**11))


def test_a_window_is_estimated_from_below():
    """Against the arrays that a forward pass keeps, those counted once that are views of others."""
    options = TrainOptions(["a"], "b", n_vocab=300, n_ctx=32, n_embd=16, n_head=2, n_layer=3)
    config = options.shape(300)
    params = P.init(config, np.random.default_rng(0))
    _, acts = model.trunk(np.zeros((1, 32), int), params, config, ops, keep_acts=True)
    kept = {}

    def look(value):
        if isinstance(value, np.ndarray):
            base = value if value.base is None else value.base
            kept[id(base)] = base.nbytes
        elif isinstance(value, (tuple, list)):
            for item in value:
                look(item)

    look(acts.blocks)
    # a block's x is the sum that the block before left, and counts there; the rest is all of it
    assert 0.85 * sum(kept.values()) < limits.window_bytes(config) <= sum(kept.values())


def test_memory_is_known_here():
    total = memory.total_bytes()
    assert total is None or total > 100_000_000


def test_a_container_may_have_less(tmp_path, monkeypatch):
    (tmp_path / "limit").write_text("123456789\n")
    (tmp_path / "none").write_text("max\n")
    monkeypatch.setattr(memory, "_LIMITS", (tmp_path / "missing", tmp_path / "none", tmp_path / "limit"))
    assert memory.total_bytes() == 123_456_789


# ---- what makes little sense


def test_what_is_probably_not_meant_is_said_and_done(tmp_path, capsys):
    write_stories(tmp_path / "stories.txt", n=20)
    doubtful = options(tmp_path, n_vocab=5000, steps=20, warmup=20, held_out=0.02, batch_size=20, n_layer=1)
    done = run(doubtful, ops, progress=False)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 4 and all(line.startswith("nanogpt-np: --") for line in said)
    assert said[0].startswith(f"nanogpt-np: --n-vocab 5,000: the text fills {done.tokenizer.n_vocab:,} tokens")
    assert said[1].startswith(f"nanogpt-np: --held-out 0.02: holds out {done.n_bytes:,} bytes; below 2,000")
    assert said[2].startswith("nanogpt-np: --warmup 20: not below --steps 20")
    assert said[3].startswith("nanogpt-np: --steps 20: reads the text ") and "held-out loss" in said[3]
    assert done.config.n_vocab == done.tokenizer.n_vocab < 5000 and done.is_finished


def test_what_makes_sense_is_done_in_silence(tmp_path, capsys):
    train(options(tmp_path, held_out=0.0), ops, progress=False)
    assert capsys.readouterr().err == ""


def test_doubts():
    windows = data.Windows(np.zeros(1001, np.uint16), n_ctx=10, seed=0)  # 99 windows in an epoch

    def doubts(n_bytes, **changes):
        return limits.doubts(TrainOptions(["a"], "b", n_ctx=10, batch_size=1, warmup=0, **changes), windows, n_bytes)

    assert doubts(2000, steps=990) == []
    assert doubts(0, steps=990, held_out=0.0) == []
    assert len(doubts(1999, steps=990)) == 1
    assert doubts(2000, steps=991)[0].startswith("--steps 991: reads the text 10 times")


def test_a_vocabulary_is_filled_as_far_as_the_text_goes():
    texts = ["ab ab ab"]
    tokenizer = Tokenizer.train(texts, 1000, exact=False)
    assert tokenizer.n_vocab == 256 + 2 + 1 and tokenizer.encode("ab ab") == [256, 257]
    assert Tokenizer.train(texts, 258, exact=False).n_vocab == 258
    with pytest.raises(ValueError, match="at most 259 tokens, got 1,000"):
        Tokenizer.train(texts, 1000)


# ---- the end of a run


def test_a_diverged_run_says_what_can_be_done(tmp_path, capsys):
    bad = options(tmp_path, lr=1e30, clip=1e30, warmup=0, steps=50)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="step [0-9]+: expected a finite ") as caught:
        train(bad, ops, progress=False)
    assert "start a new one with a smaller --lr in another --out" in str(caught.value)
    again = options(tmp_path, out="another", lr=1e-3, warmup=0, steps=2)  # the advice can be followed
    train(again, ops, progress=False)


def test_a_gradient_that_is_no_number_reaches_no_weight(tmp_path):
    def gelu_new_backward(dout, x):
        return np.full_like(dout, np.nan)

    bad = options(tmp_path, checkpoint_minutes=0.0)
    with pytest.raises(ValueError, match="step 1: expected a finite gradient, got nan"):
        train(bad, own_ops(gelu_new_backward=gelu_new_backward), progress=False)
    assert not (Path(bad.out) / "model.safetensors").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_after_the_step(tmp_path, capfd, number):
    calls = []

    def gelu_new(x):
        calls.append(len(calls))
        if len(calls) == 3:  # in the second step; two blocks each
            signal.raise_signal(number)
        return ops.gelu_new(x)

    done = run(options(tmp_path, eval_every=100), own_ops(gelu_new=gelu_new), progress=False)
    assert done.step == 2 and not done.is_finished
    assert "stopping after this step, which is saved; once more stops at once" in capfd.readouterr().err
    assert (Path(done.out) / "model.safetensors").exists()


def test_a_second_signal_ends_within_a_long_step(tmp_path):
    """However long it is: here it would never end."""

    def gelu_new(x):
        while True:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background shells have it ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            run(options(tmp_path), own_ops(gelu_new=gelu_new), progress=False)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
