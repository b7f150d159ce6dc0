"""`nanogpt-np serve`, the real command: what it refuses, and that it starts, answers and stops."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from nanogpt_np import GPT
from nanogpt_np.cli import main
from nanogpt_np.cli.serving import KEY, name_of
from nanogpt_np.generation.chat import one_text

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

ROOT = Path(__file__).parents[2]


def refused(capsys, *words):
    assert main(["serve", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("words, said", [
    (("--host", "0.0.0.0"), "--host: expected an address of this machine alone"),
    (("--api-key", "short"), "--api-key: expected at least 8 printable ASCII characters"),
    (("--rows", "0"), "--rows: expected a whole number of at least 1"),
    (("--most-waiting", "0"), "--most-waiting: expected a whole number of at least 1"),
    (("--port", "70000"), "--port: expected a number from 0 to 65535"),
    (("--model", "no/such/model"), "expected"),
])  # fmt: skip
def test_what_cannot_be_is_one_line(capsys, monkeypatch, words, said):
    monkeypatch.delenv(KEY, raising=False)
    assert said in refused(capsys, "--ops", "numpy", *words)


def test_a_key_in_the_environment_counts(capsys, monkeypatch):
    monkeypatch.setenv(KEY, "short")
    assert "short" not in (line := refused(capsys)) and "at least 8 printable" in line


def test_what_clients_call_a_model(tmp_path):
    (tmp_path / "b.gguf").touch()
    assert name_of("stories") == "stories" and name_of("runs/mine/") == "mine"
    assert name_of(str(tmp_path / "b.gguf")) == "b"


# ---- the process itself


@contextlib.contextmanager
def served(stop=signal.SIGINT):
    """The address of a server in a process of its own, which is then stopped; it must have said nothing more."""
    command = [sys.executable, "-m", "nanogpt_np", "serve", "--port", "0", "--ops", "numpy", "--rows", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stderr.readline()
        said = r"^stories answers at (http://127\.0\.0\.1:\d+)/v1, 2 texts at once; Ctrl-C stops it$"
        yield re.search(said, line)[1]
    finally:
        process.send_signal(stop)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.skipif(os.name != "posix", reason="signals as Unix has them")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_starts_answers_and_stops(stop):
    with served(stop) as url:
        body = json.dumps({"prompt": "Once upon a time", "max_tokens": 3, "temperature": 0}).encode()
        asked = urllib.request.Request(f"{url}/v1/completions", body, {"Content-Type": "application/json"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=60) as answer:
            assert json.load(answer)["choices"][0]["text"] == ", there was"


def curl_commands(text):
    """curl commands as a document has them, lines that go on included."""
    return re.findall(r"^ *(curl (?:.*\\\n)*.*)", text, flags=re.MULTILINE)


def expected_of(command, gpt):
    """The text that a command asks for: what GPT.generate says to the same body; None where it asks for no text."""
    body = re.search(r"-d '(\{.*\})'", command)
    said = json.loads(body[1]) if body else {}
    if "messages" in said:
        said["prompt"] = one_text([(message["role"], message["content"]) for message in said.pop("messages")])
    said.pop("stream", None)
    return gpt.generate(said.pop("prompt"), said.pop("max_tokens"), **said) if "prompt" in said else None


def text_in(answer):
    """The text in an answer, or in the events of a stream."""
    *events, last = re.findall(r"^data: (.*)$", answer, flags=re.MULTILINE) or [answer, "[DONE]"]
    assert last == "[DONE]"
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    parts = [choice.get("delta", choice.get("message", choice)) for choice in choices]
    return "".join(part.get("text") or part.get("content") or "" for part in parts)


@pytest.mark.skipif(os.name != "posix" or shutil.which("curl") is None, reason="curl is not installed")
def test_curl_as_the_docs_have_it_gets_what_generate_says(capsys):
    gpt, texts, n = GPT.from_pretrained("stories", ops="numpy"), {}, 0
    for name in ("README.md", "README.zh.md", "docs/serving.md"):
        texts[name] = (ROOT / name).read_text("utf-8")
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    texts["--help"] = capsys.readouterr().out
    with served() as url:
        for name, text in texts.items():
            assert (commands := curl_commands(text)), name
            for command in commands:
                words = command.replace("http://127.0.0.1:8000", url).replace("curl ", "curl -q -s --noproxy '*' ", 1)
                done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, timeout=120)
                assert (done.returncode, done.stderr) == (0, ""), (name, command, done.stderr)
                expected = expected_of(command, gpt)
                if expected is not None:
                    assert text_in(done.stdout) == expected and expected.strip(), (name, command)
                    n += 1
                else:
                    assert done.stdout and '"error"' not in done.stdout, (name, command)
    assert n >= 6  # README twice, the help, three in docs/serving.md
