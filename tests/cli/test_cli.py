"""cli.py from the command line's words to what stands on the screen, most of it in this process."""

import io
import json
import math
import os
import shlex
import subprocess
import sys

import numpy as np
import pytest

import nanogpt_np
from nanogpt_np import GPT, GPTConfig, Tokenizer
from nanogpt_np.cli import entry as cli
from nanogpt_np.tokenizer import bpe
from nanogpt_np.tokenizer.display import format_explanation
from nanogpt_np.training.evaluation import evaluate_files

COMMANDS = ["generate", "chat", "tokenize", "train", "finetune", "classify", "eval", "models", "info", "convert"]
COMMANDS += ["bench", "download", "warmup"]
TEXT = "the cat sat on the mat.<|endoftext|>the hat sat on the cat. 床前明月光 🌕"
SIZES = "--n-vocab 280 --n-ctx 16 --n-embd 16 --n-layer 1 --n-head 2 --batch-size 2 --warmup 1 --held-out 0.2".split()


@pytest.fixture(scope="module")
def gpt(make_gpt):
    return make_gpt(n_ctx=64, eos_id=None)


@pytest.fixture
def run(capsys):
    """run("generate", …) -> what stands on the screen; the command must succeed and write nothing to stderr."""

    def call(*words):
        assert cli.main([str(word) for word in words]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out

    return call


@pytest.fixture
def fail(capsys):
    """fail("generate", …) -> the one line on stderr; the command must exit with status 2."""

    def call(*words):
        try:
            status = cli.main([str(word) for word in words])
        except SystemExit as stop:  # argparse: usage, then the line
            status = stop.code
        out, err = capsys.readouterr()
        assert status == 2
        *usage, line = err.rstrip("\n").split("\n")
        assert not usage or usage[0].startswith("usage: nanogpt-np ")
        assert line.startswith("nanogpt-np") and "Traceback" not in err
        return line

    return call


# ---------------------------------------------------------------- generate

SETTINGS = [
    ([], {"temperature": 0.8, "top_p": 0.95}),
    (["--temperature", "0"], {"temperature": 0, "top_p": 0.95}),
    (["--top-k", "5", "--max-new-tokens", "7"], {"temperature": 0.8, "top_p": 0.95, "top_k": 5, "max_new_tokens": 7}),
    (["--min-p", "0.1", "--top-p", "1", "--temperature", "1.5"], {"temperature": 1.5, "top_p": 1.0, "min_p": 0.1}),
    (["--repetition-penalty", "1.4"], {"temperature": 0.8, "top_p": 0.95, "repetition_penalty": 1.4}),
    (["--stop", "a", "--stop", "e"], {"temperature": 0.8, "top_p": 0.95, "stop": ["a", "e"]}),
    (["--overflow", "slide", "--max-new-tokens", "150"],
     {"temperature": 0.8, "top_p": 0.95, "overflow": "slide", "max_new_tokens": 150}),
    (["--ops", "numpy"], {"temperature": 0.8, "top_p": 0.95}),
    (["--temperature", "0", "--speculate", "4"], {"temperature": 0}),
]  # fmt: skip


@pytest.mark.parametrize("words, settings", SETTINGS)
def test_generate_prints_what_gpt_generate_gives(run, gpt, directory, words, settings):
    out = run("generate", "the cat", "--model", directory, "--seed", "3", *words)
    assert out == "the cat" + gpt.generate("the cat", seed=3, **settings) + "\n"


def test_generate_several(run, gpt, directory):
    out = run("generate", "the", "--model", directory, "--seed", 3, "--num-return-sequences", 3, "--max-new-tokens", 9)
    texts = gpt.generate("the", 9, seed=3, temperature=0.8, top_p=0.95, num_return_sequences=3)
    assert out == ("\n" + "-" * 40 + "\n").join("the" + text for text in texts) + "\n"
    assert texts[0] == gpt.generate("the", 9, seed=3, temperature=0.8, top_p=0.95)


def test_generate_from_standard_input(run, directory, monkeypatch):
    expected = run("generate", "the\ncat", "--model", directory, "--seed", "1")
    for typed in ("the\ncat", "the\ncat\n"):  # a shell's echo adds the last newline, nobody means it
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        assert run("generate", "-", "--model", directory, "--seed", "1") == expected


def test_generate_without_a_seed_differs(run, directory):
    assert len({run("generate", "the", "--model", directory) for _ in range(3)}) == 3


@pytest.mark.parametrize(
    "words, message",
    [
        (["--top-p", "1.5"], "--top-p: expected a share above 0, at most 1, got 1.5"),
        (["--top-k", "-1"], "--top-k: expected a whole number of at least 1 (0: all), got -1"),
        (["--temperature", "-1"], "--temperature: expected"),
        (["--temperature", "nan"], "--temperature: expected"),
        (["--speculate", "4"], "--speculate: expected temperature 0 with it, got 0.8; set it to 0"),
        (["--seed", "-1"], "--seed: expected a whole number of at least 0, got -1"),
        (["--num-return-sequences", "0"], "--num-return-sequences: expected a whole number of at least 1, got 0"),
        (["--max-new-tokens", "-2"], "--max-new-tokens: expected a whole number of at least 0, got -2"),
        (["--max-new-tokens", "999"], "use --overflow slide"),
        (["--stop", ""], "--stop: expected non-empty strings"),
        (["--ops", "torch"], "--ops: expected one of auto, numpy"),
        (["--model", "gtp2"], "did you mean 'gpt2'"),
        (["--model", "/nowhere/at/all"], "expected a model directory or one of stories, poems"),
        (["--top-k", "many"], "argument --top-k: invalid int value: 'many'"),
        (["--overflow", "wrap"], "invalid choice: 'wrap'"),
        (["--nonsense"], "generate: error: unrecognized arguments: --nonsense"),
    ],
)
def test_generate_errors(fail, capsys, directory, words, message):
    model = [] if "--model" in words else ["--model", directory]
    assert message in fail("generate", "the", *model, *words)


def test_nothing_is_printed_before_an_error(directory, capsys):
    assert cli.main(["generate", "the cat", "--model", directory, "--max-new-tokens", "999"]) == 2
    assert capsys.readouterr().out == ""


def test_debug_shows_the_traceback(directory):
    with pytest.raises(nanogpt_np.InputError):
        cli.main(["generate", "the", "--model", directory, "--top-k", "-1", "--debug"])


def test_ctrl_c_ends_with_130(directory, capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        yield "then"
        raise KeyboardInterrupt

    monkeypatch.setattr(GPT, "stream", interrupted)
    assert cli.main(["generate", "the ", "--model", directory]) == 130
    assert capsys.readouterr() == ("the then", "\n")


# ---------------------------------------------------------------- chat


def test_chat_reads_until_the_end_of_the_input(run, gpt, directory, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("the cat\n/text\n"))
    out = run("chat", "--model", directory, "--seed", 2, "--max-new-tokens", 8)
    said = gpt.generate("the cat", 8, seed=2, temperature=0.8, top_p=0.95)
    assert out.count("the cat" + said) == 1 and out.endswith("\n> \n")


def test_chat_with_a_bad_setting_says_so(directory, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("the cat\n"))
    assert cli.main(["chat", "--model", directory, "--top-k", "-1"]) == 2
    out, err = capsys.readouterr()
    assert "--top-k: expected" in err and not out  # before anything was typed
    assert cli.main(["chat", "--model", directory, "--speculate", "4"]) == 2
    assert "--speculate: expected temperature 0" in capsys.readouterr().err


# ---------------------------------------------------------------- tokenize


def test_tokenize_with_the_published_vocabulary(run):
    out = run("tokenize", "hello world")
    assert "31373" in out and "995" in out and "\x1b" not in out


@pytest.mark.parametrize("color", ["always", "never"])
@pytest.mark.parametrize("steps", [[], ["--steps"]])
@pytest.mark.parametrize("special", [[], ["--special"]])
def test_tokenize_options(run, tokenizer, directory, color, steps, special):
    text = "the 月<|endoftext|>"
    out = run("tokenize", text, "--tokenizer", directory, "--color", color, *steps, *special)
    explained = tokenizer.explain(text, allowed_special="all" if special else ())
    assert out == format_explanation(explained, color=color == "always", steps=bool(steps)) + "\n"
    assert ("\x1b" in out) == (color == "always")
    assert (explained.ids[-1] == tokenizer.eos_id) == bool(special)


def test_tokenize_follows_merges_only_when_asked(run, directory, monkeypatch):
    monkeypatch.setattr(bpe, "merge_steps", None)  # whoever follows them fails
    assert run("tokenize", "the cat" * 9, "--tokenizer", directory)
    with pytest.raises(TypeError):
        run("tokenize", "the cat" * 9, "--tokenizer", directory, "--steps")


def test_tokenize_from_standard_input_is_exact(run, tokenizer, directory, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("the\n"))
    out = run("tokenize", "-", "--tokenizer", directory)
    assert out == format_explanation(tokenizer.explain("the\n"), color=False) + "\n"


def test_tokenize_needs_only_the_vocabulary_files(run, tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    assert run("tokenize", "the", "--tokenizer", tmp_path)


def test_tokenize_errors(fail, tmp_path):
    assert "expected a model directory or one of" in fail("tokenize", "the", "--tokenizer", "nonsense")
    assert "vocab.json" in fail("tokenize", "the", "--tokenizer", tmp_path)
    assert "surrogate" in fail("tokenize", "a\udc80")


def test_bytes_that_are_no_text_are_an_error(fail, directory, monkeypatch):
    for words in (["tokenize", "-"], ["generate", "-", "--model", directory]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\xff"), encoding="utf-8"))
        assert "standard input: expected UTF-8 text" in fail(*words)


# ---------------------------------------------------------------- train, generate from it, eval


@pytest.fixture(scope="module")
def text_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "text.txt"
    path.write_text("<|endoftext|>".join([TEXT] * 20), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def trained(text_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    assert cli.main(["train", "--data", text_file, "--out", str(out), "--steps", "3", *SIZES]) == 0
    return out


def test_train_leaves_a_model_that_speaks(run, trained):
    assert (trained / "log.csv").exists() and (trained / "loss.png").exists()
    gpt = GPT.from_pretrained(trained)
    assert (gpt.config.n_vocab, gpt.config.n_ctx, gpt.config.n_layer, gpt.tokenizer.n_vocab) == (280, 16, 1, 280)
    out = run("generate", "the", "--model", trained, "--seed", "0", "--max-new-tokens", "5")
    assert out == "the" + gpt.generate("the", 5, seed=0, temperature=0.8, top_p=0.95) + "\n"


def test_every_option_of_training_can_be_given(text_file, tmp_path, capsys):
    extra = "--lr 0.01 --min-lr 0.001 --no-tie-word-embeddings --positions sinusoidal --dtype float16 --seed 5".split()
    words = ["train", "--data", text_file, text_file, "--out", str(tmp_path / "run"), "--steps", "1", *SIZES, *extra]
    assert cli.main(words) == 0
    options = json.loads((tmp_path / "run" / "training.json").read_text(encoding="utf-8"))["options"]
    assert options["lr"] == 0.01 and options["min_lr"] == 0.001 and options["tie_word_embeddings"] is False
    assert options["data"] == [text_file, text_file] and options["dtype"] == "float16" and options["seed"] == 5
    assert GPT.from_pretrained(tmp_path / "run").config.positions == "sinusoidal"


def test_train_again_into_the_same_folder(fail, trained, text_file, capsys):
    assert "already holds a training run" in fail("train", "--data", text_file, "--out", trained)
    assert cli.main(["train", "--resume", "--out", str(trained)]) == 0  # it has ended: nothing left to do


def test_resume_takes_no_other_options(fail, trained, tmp_path):
    line = fail("train", "--resume", "--out", trained, "--lr", "0.1")
    assert line == "nanogpt-np: --resume: expected only --out (and --data, --steps), got --lr; a run keeps its options"
    assert "got --tie-word-embeddings" in fail("train", "--resume", "--out", trained, "--no-tie-word-embeddings")
    assert "expected a training run" in fail("train", "--resume", "--out", tmp_path)


def test_train_errors(fail, text_file, tmp_path):
    out = tmp_path / "run"
    assert "expected --data FILE, got none" in fail("train", "--out", out)
    assert "required: --out" in fail("train", "--data", text_file)
    assert "not-there.txt" in fail("train", "--data", tmp_path / "not-there.txt", "--out", out)
    assert "--steps: expected at least 1, got 0" in fail("train", "--data", text_file, "--out", out, "--steps", "0")
    assert not out.exists()


def test_eval_prints_loss_and_bits(run, trained, text_file):
    gpt = GPT.from_pretrained(trained)
    for words, share in (([], None), (["--held-out", "0.2"], 0.2)):
        expected = evaluate_files(gpt, [text_file], share)
        out = run("eval", "--model", trained, "--data", text_file, *words)
        assert out == f"{expected} ({expected.n_tokens:,} tokens, {expected.n_bytes:,} bytes)\n"
        assert f"(perplexity {math.exp(expected.loss):,.2f})" in out and " bits per byte" in out
        assert 4 < expected.loss < 6  # about log(280) = 5.6: it has learned next to nothing in 3 steps


def test_eval_says_what_cannot_be_measured(fail, trained, tmp_path):
    (tmp_path / "one.txt").write_text("a", encoding="utf-8")
    plain = Tokenizer.train([TEXT], 257, special_tokens=())  # its texts do not begin with <|endoftext|>
    GPT.from_config(GPTConfig(257, 8, 8, 1, 1), tokenizer=plain).save(tmp_path / "plain")
    line = fail("eval", "--model", tmp_path / "plain", "--data", tmp_path / "one.txt")
    assert line == "nanogpt-np: --data: expected at least two tokens to predict one from the other, got 1"
    broken = GPT.from_pretrained(trained)
    broken.params["ln_f"]["bias"][:] = np.nan
    broken.save(tmp_path / "broken")
    line = fail("eval", "--model", tmp_path / "broken", "--data", tmp_path / "one.txt")
    assert line == "nanogpt-np: expected a finite loss, got nan; the weights are broken"


def test_eval_errors(fail, trained, text_file, tmp_path):
    assert "required: --data" in fail("eval", "--model", trained)
    assert "not-there.txt" in fail("eval", "--model", trained, "--data", tmp_path / "not-there.txt")
    for share in ("0", "-1", "1.5", "5", "nan"):
        assert "--held-out: expected a share above 0, at most 0.5" in fail(
            "eval", "--model", trained, "--data", text_file, "--held-out", share
        )


# ---------------------------------------------------------------- the rest


def test_download_of_an_unknown_name(fail):
    line = fail("download", "gpt3")
    assert "expected a model directory or one of stories" in line and "gpt2" in line


def test_version_and_help(capsys):
    for words in (["--version"], ["--help"], *([name, "--help"] for name in COMMANDS)):
        with pytest.raises(SystemExit) as stop:
            cli.main(words)
        assert stop.value.code == 0
        out, err = capsys.readouterr()
        assert not err
        if words[0] == "--version":
            assert out == f"nanogpt-np {nanogpt_np.__version__}\n"
        elif words[0] == "--help":
            assert all(name in out for name in COMMANDS)
        else:
            assert f"example:\n  nanogpt-np {words[0]}" in out and "--debug" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_in_the_help_is_a_valid_command(name):
    (sub,) = (action for action in cli.parser()._actions if action.choices and name in action.choices)
    program, *words = shlex.split(sub.choices[name].epilog.splitlines()[-1])
    assert program == "nanogpt-np" and cli.parser().parse_args(words).command == name


def test_no_command_at_all(fail):
    assert "required: command" in fail()


def python(*words, **options):
    return subprocess.run([sys.executable, "-m", "nanogpt_np", *words], capture_output=True, timeout=60, **options)


def test_as_a_process(directory):
    done = python("generate", "月", "--model", directory, "--seed", "1", encoding="utf-8")
    assert done.returncode == 0 and done.stdout.startswith("月") and not done.stderr
    failed = python("generate", "a", "--model", directory, "--top-k", "-1", text=True)
    assert failed.returncode == 2 and failed.stderr.count("\n") == 1 and not failed.stdout


def test_a_terminal_without_unicode_is_no_traceback(directory):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = python("generate", "月", "--model", directory, "--seed", "1", env=environment)
    assert done.returncode == 0 and done.stdout.startswith(b"?") and not done.stderr


@pytest.mark.skipif(os.name == "nt", reason="pipes break in another way there")
@pytest.mark.parametrize("words", [["generate", "the", "--seed", "1", "--model"], ["tokenize", "the", "--tokenizer"]])
def test_a_broken_pipe_is_no_error(directory, words):
    reading, writing = os.pipe()
    os.close(reading)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "nanogpt_np", *words, directory],
            stdout=writing, stderr=subprocess.PIPE, timeout=60, env=buffered,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_model_without_vocabulary(fail, tmp_path, gpt):
    GPT(gpt.config, gpt.params).save(tmp_path)
    assert "got text; this model has no vocabulary files" in fail("generate", "the", "--model", tmp_path)
    assert "chat: expected a model with vocabulary files" in fail("chat", "--model", tmp_path)
