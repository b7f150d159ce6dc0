"""The page's server: files, JSON, errors, limits; through the door of guard.py, and once as a process with a port."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("starlette")
import runs
from starlette.testclient import TestClient

from nanogpt_np import GPT, FileError, InputError
from nanogpt_np import ops as numpy_ops
from nanogpt_np import params as P
from nanogpt_np.cli import exploring
from nanogpt_np.explore import answers, asked, export, guard, models, views, writing
from nanogpt_np.explore import app as room
from nanogpt_np.storage import formats
from nanogpt_np.training import kept, report
from nanogpt_np.training.loop import train

ROOT = Path(__file__).parents[2]
TEXT = "the cat sat"


@pytest.fixture
def gpt(make_gpt):
    return make_gpt()


@pytest.fixture
def folder(gpt, tmp_path):
    gpt.save(tmp_path / "mine")
    return tmp_path / "mine"


@pytest.fixture
def client(folder):
    found = models.Models([str(folder), "stories"])
    app = guard.guarded(room.make_app(found, "once", "zh"))
    with TestClient(app, base_url="http://127.0.0.1:8765", raise_server_exceptions=False) as client:
        yield client


def ask(client, name, **body):
    return client.post(f"/api/{name}", json=body)


def error_of(response):
    """The one line of an error, after its form was looked at."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and "\n" not in error["message"]
    assert len(error["message"]) < 500 and "Traceback" not in response.text
    return error


def test_the_files_of_the_page(client):
    page = client.get("/")
    assert page.status_code == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    assert "'unsafe" not in page.headers["content-security-policy"] and "default-src 'none'" in (
        page.headers["content-security-policy"])  # fmt: skip
    for path in sorted(room.STATIC.iterdir()):
        if path.name != "index.html":
            assert path.suffix in room.KINDS and f"static/{path.name}"
            assert client.get(f"/static/{path.name}").content == path.read_bytes()
    for path in ("/static/nothing.js", "/static/..%2fapp.py", "/static/../app.py", "/static/", "/favicon.ico"):
        assert client.get(path).status_code == 404


def test_no_file_of_the_page_names_another_machine(client):
    for path in room.STATIC.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text and "https://" not in text, path.name
        assert not any(word in text for word in ("@import", "url(", "eval(", "innerHTML", "document.write")), path.name


def test_sources_that_the_tour_shows(client):
    found = client.get("/source/nanogpt_np/model.py")
    assert found.content == (ROOT / "nanogpt_np/model.py").read_bytes()
    assert found.headers["content-type"] == "text/plain; charset=utf-8"
    assert client.get("/source/notebooks/03_attention.py").status_code == 200
    for path in ("nanogpt_np/../pyproject.toml", "pyproject.toml", "/etc/passwd", "nanogpt_np/explore/static/main.js",
                 "nanogpt_np", "..%2f..%2fetc%2fpasswd", "notebooks/checks/ch01.py"):  # fmt: skip
        error_of(client.get(f"/source/{path}"))


def test_what_there_is_to_ask(client, gpt):
    found = client.get("/api/models").json()
    assert [row["id"] for row in found["models"]][:2] == ["mine", "stories"] and found["default"] == "mine"
    assert (found["prompt"], found["lang"]) == ("once", "zh")
    mine = found["models"][0]
    assert (mine["n_layer"], mine["n_embd"], mine["has_text"], mine["run"]) == (2, 16, True, None)
    assert mine["n_params"] == P.count(gpt.params) and mine["d_head"] == 8


def test_an_answer_is_json_of_utf8(client):
    found = ask(client, "look", model="mine", prompt="床前 <script>alert(1)</script>"[:9])
    assert found.status_code == 200 and found.headers["content-type"] == "application/json; charset=utf-8"
    assert found.headers["x-content-type-options"] == "nosniff" and found.json()["text"] == "床前 <scrip"[:9]


@pytest.mark.parametrize("prompt, status, said", [
    ("a" * 100, 400, "n_ctx = 24"), ("a" * 100_000, 413, "at most 65,536 bytes"), ("\0\0", 200, ""), ("", 200, ""),
    ("<script>", 200, ""), ([1, 2], 200, ""), ([], 400, "at least one token"), ({"a": 1}, 400, "prompt: expected"),
])  # fmt: skip
def test_texts_of_all_kinds(client, prompt, status, said):
    found = ask(client, "look", model="mine", prompt=prompt)
    assert found.status_code == status
    if status != 200:
        assert said in error_of(found)["message"]
    assert ask(client, "next", model="mine", prompt=TEXT).status_code == 200  # and nothing is broken by it


def test_half_a_surrogate(client):
    found = client.post("/api/look", content=b'{"model": "mine", "prompt": "a\\ud800"}',
                        headers={"content-type": "application/json"})  # fmt: skip
    assert found.status_code == 400 and "lone surrogate" in error_of(found)["message"]
    found = ask(client, "look", model="a\x1b[31m\ud83d"[:6], prompt=TEXT)
    assert found.status_code == 400 and "\x1b" not in error_of(found)["message"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 30_000, b'{"a": ' + b"9" * 6000 + b"}", b"nothing"])
def test_what_is_no_json(client, content):
    found = client.post("/api/look", content=content, headers={"content-type": "application/json"})
    assert found.status_code == 400 and error_of(found)["code"] in ("not_json", "bad_input")


def test_codes(client):
    assert error_of(ask(client, "look", model="mine", prompt="a" * 100))["code"] == "context_length_exceeded"
    assert error_of(ask(client, "look", model="../mine", prompt=TEXT))["code"] == "bad_input"
    assert error_of(ask(client, "nothing"))["code"] == "unknown"
    assert ask(client, "nothing").status_code == 404
    found = client.get("/api/look")
    assert (found.status_code, error_of(found)["code"]) == (405, "method")
    found = client.post("/api/look", content=b"{}", headers={"content-type": "text/plain"})  # as another page's form
    assert (found.status_code, error_of(found)["code"]) == (415, "not_json")


@pytest.mark.parametrize("headers", [
    {"host": "evil.example"}, {"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}])
def test_no_other_page_can_read_or_steer_it(client, headers):
    for path in ("/api/models", "/", "/static/main.js", "/source/nanogpt_np/model.py"):
        assert client.get(path, headers=headers).status_code == 403
    found = client.post("/api/look", json={"model": "mine", "prompt": TEXT}, headers=headers)
    assert found.status_code == 403 and "access-control-allow-origin" not in found.headers
    assert client.get("/", headers={"host": "localhost:9"}).status_code == 200


def test_an_error_inside_is_one_line(client, monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError("secret\x1b")

    monkeypatch.setattr(views.seen, "look", broken)
    found = ask(client, "next", model="mine", prompt=TEXT)
    assert found.status_code == 500 and "secret" not in found.text and error_of(found)["code"] == "internal"
    assert "RuntimeError" in capsys.readouterr().err
    monkeypatch.setattr(views.seen, "look", lambda *_: (_ for _ in ()).throw(MemoryError()))
    assert "memory" in error_of(ask(client, "next", model="mine", prompt=TEXT))["message"]


def test_too_many_and_too_slow(gpt):
    """A worker that holds one answer back: the others wait, one too many is told so, and time ends it."""

    class Request:
        gone = False

        async def is_disconnected(self):
            return self.gone

    async def scene(monkeypatch):
        worker, held, calls = room.Worker(), threading.Event(), []
        monkeypatch.setattr(room, "MOST_WAITING", 3)
        monkeypatch.setattr(room, "SECONDS", 0.2)
        first = asyncio.ensure_future(worker.answer(Request(), held.wait))
        left = Request()
        left.gone = True
        waiting = [asyncio.ensure_future(worker.answer(who, lambda: calls.append(1))) for who in (left, Request())]
        await asyncio.sleep(0.01)
        with pytest.raises(guard.Refused) as busy:
            await worker.answer(Request(), calls.copy)
        assert (busy.value.status, busy.value.headers["retry-after"]) == (429, "1")
        with pytest.raises(guard.Refused) as slow:
            await first
        assert slow.value.status == 503
        held.set()
        await asyncio.gather(*waiting)
        assert calls == [1] and worker.waiting == 0  # who went away was not answered
        return worker

    with pytest.MonkeyPatch.context() as monkeypatch:
        asyncio.run(scene(monkeypatch)).thread.shutdown()


def test_a_run_that_goes_on_is_opened_again(gpt, make_gpt, folder):
    found = models.Models([str(folder)])
    before = found.find("mine")
    assert found.find("mine") is before or found.find("mine").gpt is before.gpt
    make_gpt(seed=5).save(folder)
    after = found.find("mine")
    assert after.stamp != before.stamp and after.gpt is not before.gpt
    (folder / "config.json").rename(folder / "away")  # as in the moment in which a run replaces its files
    assert found.find("mine").gpt is after.gpt
    (folder / "away").rename(folder / "config.json")
    assert found.find("mine").gpt([1]).tolist() == make_gpt(seed=5)([1]).tolist()


def test_what_a_run_kept_can_be_asked_for(client, make_gpt, folder):
    other = make_gpt(seed=7)
    other.save(folder / kept.NAME / "step-000010")
    other.save(folder / "best")
    log = report.Log(folder / report.LOG)
    for step in (5, 10):
        log.add(step=step, tokens=step * 8, lr=0.1, train_loss=3.0, grad_norm=1.0, seconds=1.0)
    ids = [row["id"] for row in client.get("/api/models").json()["models"]]
    assert {"mine@step-000010", "mine@best"} <= set(ids)
    found = ask(client, "compare", a={"model": "mine", "prompt": TEXT}, b={"model": "mine@step-000010", "prompt": TEXT})
    assert found.json()["kl"] is not None and found.json()["b"]["model"]["id"] == "mine@step-000010"
    curves = ask(client, "training", model="mine@best").json()["run"]
    assert curves["step"] == [5, 10] and curves["held_out_loss"] == [None, None]
    assert set(curves["kept"]) == {"mine@step-000010", "mine@best"}
    assert ask(client, "training", model="poems").json()["run"] is not None  # its log ships with it


def test_a_long_log_gives_some_of_its_rows(tmp_path, monkeypatch):
    """Evenly chosen, the first and the last too; of the few that were measured all, whichever rows they are."""
    monkeypatch.setattr(writing, "MOST_ROWS", 10)
    log = report.Log(tmp_path / report.LOG)
    measured = (3, 40, 99)
    for n in range(100):
        log.rows.append({name: "" for name in report.COLUMNS} | {"step": 5 * n, "train_loss": 9 - n / 20, "seconds": 1}
                        | ({"held_out_loss": 3 + n} if n in measured else {}))  # fmt: skip
    log.add(step=500, train_loss=1.5, seconds=1.0)
    found = writing.curves(tmp_path)
    assert found["n_rows"] == 101 and {0, *measured, 100} <= set(found["rows"]) and len(found["rows"]) <= 13
    assert found["step"] == [5 * row for row in found["rows"]] and sorted(found["rows"]) == found["rows"]
    losses = dict(zip(found["rows"], found["held_out_loss"], strict=True))
    assert {row: loss for row, loss in losses.items() if loss is not None} == {row: 3 + row for row in measured}
    assert max(b - a for a, b in zip(found["rows"], found["rows"][1:], strict=False)) <= 12


def test_models_that_are_not_there():
    with pytest.raises(FileError):
        models.Models(["no/such/folder"])
    found = models.Models(["stories"])
    for id in ("nothing", None, 3, "../stories", "stories@best"):
        with pytest.raises(InputError, match="model: expected one of stories, poems"):
            found.find(id)


def test_two_folders_of_one_name(gpt, tmp_path):
    for parent in "ab":
        gpt.save(tmp_path / parent / "my model")
    ids = list(models.Models([str(tmp_path / parent / "my model") for parent in "ab"]).sources())
    assert ids[:2] == ["my-model", "my-model-2"]


def fetch(address, name, body, timeout=60):
    request = urllib.request.Request(f"{address}/api/{name}", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})  # fmt: skip
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_a_process_two_tabs_and_the_end(gpt, folder):
    """`nanogpt-np explore` itself: questions that overlap, a page that goes away, Ctrl-C."""
    command = [sys.executable, "-m", "nanogpt_np", "explore", str(folder), "--no-browser", "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        address = server.stdout.readline().split()[0]
        found, texts = {}, ["the cat", "the hat", "the mat", "moon"] * 4

        def tab(n):
            found[n] = fetch(address, "look", {"model": "mine", "prompt": texts[n]})

        tabs = [threading.Thread(target=tab, args=(n,)) for n in range(len(texts))]
        for thread in tabs:
            thread.start()
        with pytest.raises((TimeoutError, urllib.error.URLError)):
            fetch(address, "generate", {"model": "mine", "prompt": "the", "n_new": 20}, timeout=0.001)
        for thread in tabs:
            thread.join(60)
        assert [found[n]["text"] for n in range(len(texts))] == texts
        assert found[0] == found[4]
        server.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert server.wait(30) in (0, 130) and time.monotonic() - began < 30
        assert "Traceback" not in server.stderr.read()
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
        server.stderr.close()


def test_a_stamp_follows_the_files(folder):
    before = models.stamp_of(folder)
    assert models.stamp_of(folder) == before and formats.read_config(folder).n_layer == 2
    os.utime(folder / "model.safetensors", ns=(1, 1))
    assert models.stamp_of(folder) != before


def test_an_open_model_is_not_opened_again(folder, monkeypatch):
    found, opened = models.Models([str(folder)]), []
    load = GPT.from_pretrained.__func__
    monkeypatch.setattr(models.Watched, "from_pretrained", classmethod(
        lambda kind, path, **how: opened.append(path) or load(kind, path, **how)))  # fmt: skip
    for _ in range(3):
        found.find("mine")
    assert len(opened) == 1


def test_the_limits_that_the_docs_name():
    text = (ROOT / "docs/explore.md").read_text(encoding="utf-8")
    assert "at most 64 KiB" in text and answers.MOST_BODY == 64 << 10
    assert "at most 64 tokens" in text and asked.MOST_NEW == 64
    assert "more than 1,000 rows" in text and writing.MOST_ROWS == 1000
    assert "at most 3 MB" in text and export.MOST == 3_000_000
    assert "http://127.0.0.1:8765" in text and exploring.PORT == 8765


def test_a_run_says_how_far_it_is(tmp_path):
    """A real one, of 12 steps, stopped as it stands: its model, its steps, what it kept."""
    out = runs.options(tmp_path, steps=12, keep_every=6)
    train(out, numpy_ops, progress=False)
    found = models.Models([out.out])
    (mine, *_), ids = found.listing(), list(found.sources())
    assert mine["run"] == {"step": 12, "steps": 12} and mine["n_vocab"] == 280
    assert {"run@step-000000", "run@step-000006", "run@step-000012"} <= set(ids)
    side = {"prompt": "the cat"}
    sides = {"a": {"model": "run", **side}, "b": {"model": "run@step-000000", **side}}
    answer = answers.answer(found, "compare", sides)
    assert answer["kl"] is not None and answers.answer(found, "training", {"model": "run"})["run"]["step"][-1] == 12
