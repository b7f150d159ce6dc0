"""`nanogpt-np serve`, the real command: what it refuses, and that it starts, answers and stops."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from nanogpt_np.cli import main
from nanogpt_np.cli.serving import KEY, name_of

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")


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


@pytest.mark.skipif(os.name != "posix", reason="signals as Unix has them")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_starts_answers_and_stops(stop):
    command = [sys.executable, "-m", "nanogpt_np", "serve", "--port", "0", "--ops", "numpy", "--rows", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stderr.readline()
        url = re.search(r"^stories answers at (http://127\.0\.0\.1:\d+)/v1, 2 texts at once; Ctrl-C stops it$", line)[1]
        body = json.dumps({"prompt": "Once upon a time", "max_tokens": 3, "temperature": 0}).encode()
        asked = urllib.request.Request(f"{url}/v1/completions", body, {"Content-Type": "application/json"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=60) as answer:
            assert json.load(answer)["choices"][0]["text"] == ", there was"
    finally:
        process.send_signal(stop)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")
