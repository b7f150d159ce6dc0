"""The front door: closed and broken streams, Ctrl-C from the first moment on, words that are not known."""

import importlib.metadata
import io
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from nanogpt_np import GPT, GPTConfig, InputError
from nanogpt_np.cli import entry, options
from nanogpt_np.params import walk


@pytest.fixture(scope="module")
def gpt(make_gpt):
    return make_gpt(n_ctx=64, eos_id=None)


@pytest.fixture
def call(capsys):
    """call("generate", …) -> exit status, standard output, standard error."""

    def run(*words):
        try:
            status = entry.main([str(word) for word in words])
        except SystemExit as stop:  # argparse, after its usage
            status = stop.code
        return status, *capsys.readouterr()

    return run


class Pipe(io.StringIO):
    def isatty(self):
        return False


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def read(self, *_):
        raise AssertionError("a terminal must not be waited for")


# ---------------------------------------------------------------- what is piped in


def test_without_a_prompt_what_is_piped_in_is_read(call, gpt, directory, monkeypatch):
    words = ["generate", "--model", directory, "--seed", 1, "--max-new-tokens", 5]
    for typed, prompt in (("the cat\n", "the cat"), ("the\n\n", "the\n"), ("", "Once upon a time")):
        monkeypatch.setattr(sys, "stdin", Pipe(typed))
        text = gpt.generate(prompt, 5, seed=1, temperature=0.8, top_p=0.95)
        assert call(*words) == (0, prompt + text + "\n", "")
    for stdin in (Terminal(), None):
        monkeypatch.setattr(sys, "stdin", stdin)
        assert call(*words)[1].startswith("Once upon a time")


def test_a_word_is_not_waited_for(call, directory, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert call("generate", "the", "--model", directory, "--max-new-tokens", 2)[0] == 0


# ---------------------------------------------------------------- closed and broken streams


@pytest.mark.parametrize("words", [["generate", "-"], ["chat"], ["tokenize", "-"]])
def test_a_closed_input_is_one_line(call, directory, monkeypatch, words):
    model = [] if words[0] == "tokenize" else ["--model", directory]
    monkeypatch.setattr(sys, "stdin", None)
    status, out, err = call(*words, *model)
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert err.startswith("nanogpt-np: standard input: expected text, got it closed; give the text as a word")


@pytest.mark.parametrize("words", [["generate", "the"], ["tokenize", "the"], ["models"]])
def test_a_closed_output_is_one_line(monkeypatch, words):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert entry.main(words) == 2
    expected = "standard output: expected somewhere to write to, got it closed; add > /dev/null"
    assert sys.stderr.getvalue() == f"nanogpt-np: {expected}\n"


def test_a_closed_error_stream_is_no_error(directory, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert entry.main(["generate", "the", "--model", directory, "--top-k", "-1"]) == 2
    sys.stderr.close()
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(os.name == "nt", reason="a shell closes streams in another way there")
def test_streams_as_a_shell_closes_them(tmp_path):
    """What the tests above only pretend, and a disk that is full."""
    program = f"{sys.executable} -m nanogpt_np tokenize"
    for words, line in (("- <&-", "standard input: expected"), ("the >&-", "standard output: expected somewhere")):
        done = subprocess.run(f"{program} {words}", shell=True, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and done.stderr.startswith(f"nanogpt-np: {line}") and done.stderr.count("\n") == 1
    if os.path.exists("/dev/full"):
        done = subprocess.run(f"{program} the >/dev/full", shell=True, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (2, "nanogpt-np: [Errno 28] No space left on device\n")


def test_chat_refuses_a_line_that_is_no_text(call, gpt, directory, monkeypatch):
    typed = io.TextIOWrapper(io.BytesIO(b"a\xff\nthe cat\n"), encoding="utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdin", typed)
    status, out, err = call("chat", "--model", directory, "--seed", 2, "--max-new-tokens", 8)
    said = gpt.generate("the cat", 8, seed=2, temperature=0.8, top_p=0.95)
    assert (status, err) == (0, "") and out.count("expected UTF-8 text, got other bytes; the line is not taken") == 1
    assert said in out


# ---------------------------------------------------------------- Ctrl-C


@pytest.mark.parametrize(
    "module, words", [("argparse", ["tokenize", "the"]), ("regex", ["tokenize", "the"]), ("tqdm", ["warmup"])]
)
def test_ctrl_c_while_python_imports_is_130(tmp_path, module, words):
    """A module of that name that is Ctrl-C itself."""
    (tmp_path / f"{module}.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [sys.executable, "-m", "nanogpt_np", *words], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\n")


def test_little_is_imported_before_main_and_by_tokenize():
    code = (
        "import sys; import nanogpt_np.cli\n"
        "heavy = {'numpy', 'argparse', 'regex', 'requests', 'numba', 'matplotlib', 'tqdm'}\n"
        "print(sorted(heavy & sys.modules.keys())); nanogpt_np.cli.main(['tokenize', 'a'])\n"
        "print(sorted(heavy & sys.modules.keys()), [n for n in sys.modules if n.startswith('nanogpt_np.training')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    first, *_, last = done.stdout.splitlines()
    assert (first, last) == ("[]", "['argparse', 'regex'] []")


def test_names_come_when_they_are_asked_for():
    code = (
        "import nanogpt_np\n"
        "print({*nanogpt_np.__all__} <= {*dir(nanogpt_np)}, nanogpt_np.ops.__name__, nanogpt_np.GPT.__name__)\n"
        "from nanogpt_np import *\n"
        "print(PRESETS['gpt2'].n_embd, nanogpt_np.kv_cache.KVCache is KVCache, hasattr(nanogpt_np, 'nonsense'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True nanogpt_np.ops GPT\n768 True False\n", done.stderr


# ---------------------------------------------------------------- errors


def test_broken_weights_are_one_line_and_nothing_on_the_screen(call, gpt, tmp_path):
    """Overflow warns in NumPy, and the prompt would be printed before the first pass shows it."""
    params = dict(gpt.params)
    params["wte"] = {"weight": np.full_like(gpt.params["wte"]["weight"], 3e38)}
    params["ln_f"] = {"weight": np.full(16, 3e38, np.float32), "bias": gpt.params["ln_f"]["bias"]}
    GPT(gpt.config, params, gpt.tokenizer).save(tmp_path)
    (tmp_path / "text.txt").write_text("the cat sat", encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as pytest would else keep them from the screen
        status, out, err = call("generate", "the cat", "--model", tmp_path)
        measured = call("eval", "--model", tmp_path, "--data", tmp_path / "text.txt")
    assert (status, out) == (2, "") and err.count("\n") == 1 and "the weights or the input are broken" in err
    assert measured[:2] == (2, "") and measured[2].count("\n") == 1 and "the weights are broken" in measured[2]


def test_too_little_memory_is_one_line(call, directory, monkeypatch):
    def starve(*_, **__):
        raise MemoryError("Unable to allocate 104. GiB for an array")

    monkeypatch.setattr(GPT, "stream", starve)
    status, out, err = call("generate", "the", "--model", directory)
    assert (status, out) == (2, "") and err == (
        "nanogpt-np: expected enough memory, got too little (Unable to allocate 104. GiB for an array); "
        "ask for less at once\n"
    )


FLAGS = {name: "--" + name.replace("_", "-") for name in ("top_k", "stop", "overflow", "num_beams", "seed")}


@pytest.mark.parametrize(
    "said, typed",
    [
        ("top_k: expected 1, got 0", "--top-k: expected 1, got 0"),
        ("stop: expected none", "--stop: expected none"),
        ("ask for less, or use overflow='slide'", "ask for less, or use --overflow slide"),
        ("seed: expected none with num_beams, got 3; stop", "--seed: expected none with --num-beams, got 3; stop"),
        ("expected at most num_beams = 2", "expected at most --num-beams = 2"),
        ("/tmp/top_k: expected a file, got 'num_beams'", "/tmp/top_k: expected a file, got 'num_beams'"),
        ("stopped: it did", "stopped: it did"),
        ("temperature: not of this command", "temperature: not of this command"),
        ("a\x1b[31m" + "b" * 1000, "a\\x1b[31m" + "b" * 390 + "…"),
    ],
)
def test_errors_name_options_as_they_are_typed(said, typed):
    assert options.as_typed(InputError(said), FLAGS) == typed


def test_an_unknown_option_shows_its_commands_usage(call):
    status, out, err = call("tokenize", "the", "--stpes")
    usage, *_, line = err.splitlines()
    assert (status, out) == (2, "") and usage.startswith("usage: nanogpt-np tokenize ")
    assert line == "nanogpt-np tokenize: error: unrecognized arguments: --stpes; did you mean --steps?"
    assert "did you mean --top-k?" in call("generate", "--topk=5")[2]
    assert "did you mean --version?" in call("--verson", "models")[2]
    assert "did you mean" not in call("generate", "--qqqqqq")[2]


def test_a_long_or_hostile_word_is_one_short_line(call):
    for word in ("--" + "a" * 5000, "--\x1b[31mred\n"):
        line = call("generate", word)[2].removesuffix("\n").splitlines()[-1]
        assert line.isprintable() and len(line) < 500


# ---------------------------------------------------------------- options


@pytest.mark.parametrize("typed, meant", [(r"a\n", "a\n"), (r"\t\\n", "\t\\n"), (r"C:\dir\\", "C:\\dir\\"), ("x", "x")])
def test_backslashes_in_stop(typed, meant):
    assert entry.parser().parse_args(["generate", "--stop", typed]).stop == [meant]


def test_a_newline_can_be_typed_to_stop_at(call, gpt, directory):
    words = ["generate", "the", "--model", directory, "--seed", 3, "--max-new-tokens", 40]
    text = gpt.generate("the", 40, seed=3, temperature=0.8, top_p=0.95)
    (stop, typed) = ("\n", r"\n") if "\n" in text else (text[5], text[5])
    cut = gpt.generate("the", 40, seed=3, temperature=0.8, top_p=0.95, stop=stop)
    assert call(*words, "--stop", typed)[1] == "the" + cut + "\n" and cut != text


def test_a_long_prompt_is_cut_and_said_to_be(call, gpt, directory):
    prompt = "the cat sat on the mat, " * 20
    n = len(gpt.tokenizer.encode(prompt))
    for more in ([], ["--num-return-sequences", 2]):
        words = ["generate", prompt, "--model", directory, "--seed", 1, "--max-new-tokens", 4, *more]
        status, out, err = call(*words, "--overflow", "slide")
        assert status == 0 and out.startswith(prompt) and len(out) > len(prompt)
        assert err == f"nanogpt-np: the prompt has {n} tokens, the context 64; only the last 32 are read\n"
        assert "use --overflow slide" in call(*words)[2]
    assert call("generate", "the", "--model", directory, "--overflow", "slide", "--max-new-tokens", 4)[2] == ""


# ---------------------------------------------------------------- models, info


def test_models_lists_what_has_a_name(call, tmp_path, monkeypatch):
    monkeypatch.setenv("NANOGPT_NP_HOME", str(tmp_path))
    status, out, err = call("models")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert (status, err) == (0, "") and list(lines)[:3] == ["stories", "poems", "gpt2"]
    assert "5,853,184 parameters" in lines["stories"] and lines["stories"].endswith("stories")
    assert lines["gpt2"].endswith("fetch it with: nanogpt-np download gpt2") and "124,439,808" in lines["gpt2"]


def test_info_of_a_directory(call, gpt, directory, tokenizer):
    status, out, err = call("info", directory)
    assert (status, err) == (0, "")
    for part in (
        "n_layer 2, n_head 2, n_embd 16, n_ctx 64, n_vocab 300",
        f"{sum(array.size for _, array in walk(gpt.params)):,}\n",
        "F32",
        f"300 tokens, fingerprint {tokenizer.fingerprint}",
        "256 bytes per token in float32, 16,384 for the whole context",  # 2 layers x (k and v) x 16 x 4 bytes
        f"{os.path.getsize(os.path.join(directory, 'model.safetensors')):,}  model.safetensors",
        "licence     not known",
    ):
        assert part in out


def test_info_of_what_ships_and_of_what_is_not_there(call, tmp_path):
    assert "licence     MIT, as the project" in call("info", "stories")[1]
    status, out, err = call("info", tmp_path)
    assert (status, out) == (2, "") and "expected config.json in it, found none" in err
    GPT.from_config(GPTConfig(n_vocab=9, n_ctx=4, n_embd=4, n_layer=1, n_head=1)).save(tmp_path)
    (tmp_path / "LICENSE").write_text("none")
    assert f"licence     see {tmp_path / 'LICENSE'}" in call("info", tmp_path)[1]
    assert "vocabulary  none" in call("info", tmp_path)[1]


@pytest.mark.parametrize("words, status", [(["tokenize", "a"], 0), (["generate", "a", "--model", "nowhere"], 2)])
def test_a_process_ends_without_looking_for_cycles_once_more(words, status, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(sys, "argv", ["nanogpt-np", *words])
    monkeypatch.setattr(entry.gc, "freeze", lambda: calls.append(1))
    assert entry.command() == status and calls == [1]
    assert entry.main(words) == status and calls == [1]  # who calls it from Python goes on


def test_both_ways_to_call_the_command_end_alike():
    package = Path(entry.__file__).parent.parent
    assert "sys.exit(command())" in (package / "__main__.py").read_text(encoding="utf-8")
    scripts = importlib.metadata.distribution("nanogpt_np").entry_points.select(group="console_scripts")
    assert [one.load() for one in scripts] == [entry.command]
