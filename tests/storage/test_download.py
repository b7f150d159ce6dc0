"""Fetching a model from a server that misbehaves, all on this machine: right bytes, or one line that says why not."""

import contextlib
import hashlib
import json
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from tqdm import tqdm

from nanogpt_np import files
from nanogpt_np import params as P
from nanogpt_np.config import PRESETS, GPTConfig
from nanogpt_np.errors import FileError
from nanogpt_np.storage import checkpoint, connection, transfer
from nanogpt_np.storage.registry import download, home_dir, read_registry, resolve, weights_dir
from nanogpt_np.tokenizer.bpe import Tokenizer

DATA = np.random.default_rng(1).bytes(300_000)
KNOWN = {"n_bytes": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest()}
OTHER = np.random.default_rng(2).bytes(300_000)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(transfer, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(connection, "TIMEOUT", (5, 5))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


class Handler(BaseHTTPRequestHandler):
    """Serves server.files with ETag and Range; each entry of server.plan spoils one answer, in turn."""

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, dict(self.headers)))
        spoil = server.plan.pop(0) if server.plan else serve
        with contextlib.suppress(ConnectionError):
            spoil(self, server.files.get(self.path.lstrip("/")))

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content_Length": len(body), **headers}.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def tag(data):
    return f'"{hashlib.sha256(data).hexdigest()[:8]}"'


def serve(handler, data, cut=None, use_range=True, etag=True, **headers):
    """A good server, but for what the arguments spoil: `cut` ends the connection after so many bytes."""
    if data is None:
        return handler.answer(404)
    wanted = handler.headers.get("Range") if use_range else None
    if wanted and handler.headers.get("If-Range") not in (None, tag(data)):
        wanted = None
    start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
    if wanted and start >= len(data):
        return handler.answer(416, Content_Range=f"bytes */{len(data)}")
    if wanted:
        headers = {"Content_Range": f"bytes {start}-{len(data) - 1}/{len(data)}", **headers}
    body = data[start:]
    headers = {"ETag": tag(data) if etag else None, "Content_Length": len(body), **headers}
    return handler.answer(206 if wanted else 200, body[:cut], **headers)


def spoiled(**how):
    return lambda handler, data: serve(handler, data, **how)


def status(code, **headers):
    return lambda handler, data: handler.answer(code, b"sorry", **headers)


def redirect(url):
    return status(302, Location=url)


def instead(other, **how):
    return lambda handler, data: serve(handler, other, **how)


def slow(handler, data):
    handler.answer(200, data[:100_000], Content_Length=len(data), ETag=tag(data))
    time.sleep(1.0)


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.files, server.plan, server.requests = {"data.bin": DATA}, [], []
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetch(server, tmp_path):
    """download() of a model "m" with the one file data.bin, size and hash known unless said otherwise."""

    def run(n_bytes=KNOWN["n_bytes"], sha256=KNOWN["sha256"], url=None, **options):
        file = {"url": url or f"{server.url}/data.bin", "bytes": n_bytes, "sha256": sha256}
        write_registry(tmp_path, {"m": {"files": {"data.bin": file}}})
        target = download("m", progress=False, registry=tmp_path / "models.json", home=tmp_path / "home", **options)
        assert target == tmp_path / "home" / "m"
        assert sorted(path.name for path in target.iterdir()) == [".lock", "data.bin"]
        return (target / "data.bin").read_bytes()

    return run


@pytest.fixture
def part(tmp_path):
    return tmp_path / "home" / "m" / "data.bin.part"


def write_registry(directory, raw):
    (directory / "models.json").write_text(raw if isinstance(raw, str) else json.dumps(raw))
    return directory / "models.json"


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- a good server, and one that can be lived with


def test_a_good_server(server, fetch):
    assert fetch() == DATA
    assert len(server.requests) == 1
    assert "Range" not in server.requests[0][1] and server.requests[0][1]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("known", [{}, {"n_bytes": None}, {"sha256": None}, {"n_bytes": None, "sha256": None}])
def test_a_connection_that_breaks_is_resumed(server, fetch, known):
    server.plan = [spoiled(cut=140_000), spoiled(cut=70_000)]
    assert fetch(**known) == DATA
    assert [headers.get("Range") for _, headers in server.requests] == [None, "bytes=140000-", "bytes=210000-"]
    assert server.requests[1][1]["If-Range"] == tag(DATA)


def test_the_next_run_goes_on(server, fetch, part):
    server.plan = [spoiled(cut=200_000)] + [status(503)] * 3
    with pytest.raises(FileError, match=r"broke off \(HTTP 503 .*bytes are kept and the next run goes on from there"):
        fetch()
    kept = part.stat().st_size
    assert kept == 200_000 and not part.with_name("data.bin").exists()
    server.requests.clear()
    assert fetch() == DATA
    assert [headers["Range"] for _, headers in server.requests] == [f"bytes={kept}-"]


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_passing_errors_are_tried_again(server, fetch, code):
    server.plan = [status(code), status(code)]
    assert fetch() == DATA


def test_a_server_without_ranges_starts_again(server, fetch):
    server.plan = [spoiled(cut=140_000), spoiled(use_range=False)]
    assert fetch() == DATA


def test_without_an_etag_nothing_is_resumed(server, fetch):
    server.plan = [spoiled(cut=140_000, etag=False), spoiled(etag=False)]
    assert fetch() == DATA
    assert [headers.get("Range") for _, headers in server.requests] == [None, None]


def test_a_weak_etag_is_none(server, fetch):
    server.plan = [spoiled(cut=140_000, ETag='W/"x"')]
    assert fetch() == DATA
    assert server.requests[1][1].get("Range") is None


@pytest.mark.parametrize("known", [True, False])
def test_a_file_that_changes_on_the_way_is_never_spliced(server, fetch, known):
    server.plan = [instead(OTHER, cut=140_000)]  # the same length: only the ETag tells
    assert fetch(**({} if known else {"sha256": None})) == DATA


def test_a_server_that_ignores_if_range(server, fetch):
    def splice(handler, data):
        del handler.headers["If-Range"]
        serve(handler, data)

    server.plan = [instead(OTHER, cut=140_000), splice]
    assert fetch(sha256=None) == DATA  # the ETag of the 206 is not that of the first half


@pytest.mark.parametrize("value", ["bytes 0-299999/300000", "bytes 7-299999/300000", "bytes 1/2", "none", ""])
def test_a_wrong_content_range_starts_again(server, fetch, value):
    server.plan = [spoiled(cut=140_000), spoiled(Content_Range=value)]
    assert fetch() == DATA
    assert server.requests[2][1].get("Range") is None


def test_a_range_that_cannot_be_had_starts_again(server, fetch):
    server.plan = [spoiled(cut=140_000), status(416)]
    assert fetch() == DATA


def test_a_part_that_is_too_long_starts_again(server, fetch, part):
    part.parent.mkdir(parents=True)
    part.write_bytes(DATA + b"more")
    part.with_name("data.bin.part.json").write_text(json.dumps({"url": f"{server.url}/data.bin", "version": tag(DATA)}))
    assert fetch() == DATA


def test_a_part_that_is_complete_is_not_fetched_again(server, fetch, part):
    part.parent.mkdir(parents=True)
    part.write_bytes(DATA)
    part.with_name("data.bin.part.json").write_text(json.dumps({"url": f"{server.url}/data.bin", "version": tag(DATA)}))
    assert fetch() == DATA and not server.requests


@pytest.mark.parametrize("notes", [None, "", "[]", json.dumps({"url": "http://127.0.0.1/other", "version": tag(DATA)})])
def test_a_part_of_unknown_origin_is_not_resumed(server, fetch, part, notes):
    part.parent.mkdir(parents=True)
    part.write_bytes(OTHER[:1000])
    if notes is not None:
        part.with_name("data.bin.part.json").write_text(notes)
    assert fetch(sha256=None) == DATA


def test_notes_of_senseless_size_are_not_read(server, fetch, part, monkeypatch):
    part.parent.mkdir(parents=True)
    part.write_bytes(OTHER[:1000])
    notes = part.with_name("data.bin.part.json")
    with open(notes, "wb") as file:
        file.truncate(4 << 30)  # takes no space
    read = []
    whole = files.read_bytes
    monkeypatch.setattr(files, "read_bytes", lambda path, limit=None: read.append(limit) or whole(path, limit))
    assert fetch() == DATA
    assert transfer.MAX_NOTES in read and None not in read


@pytest.mark.parametrize("n_bytes", [None, len(DATA)])
def test_chunks_without_a_length(server, fetch, n_bytes):
    server.plan = [spoiled(Content_Length=None)]  # HTTP/1.0: the end of the connection is the end of the file
    assert fetch(n_bytes=n_bytes) == DATA


def test_redirects(server, fetch):
    server.plan = [redirect("/elsewhere"), redirect(f"{server.url}/data.bin")]
    assert fetch() == DATA
    assert [path for path, _ in server.requests] == ["/data.bin", "/elsewhere", "/data.bin"]


def test_a_slow_server_is_left_and_resumed(server, fetch, monkeypatch):
    monkeypatch.setattr(connection, "TIMEOUT", (5, 0.2))
    server.plan = [slow]
    assert fetch() == DATA
    assert server.requests[1][1]["If-Range"] == tag(DATA)


# ---- a server that cannot be lived with


def test_wrong_bytes(server, fetch, part):
    server.files["data.bin"] = OTHER
    wanted, got = hashlib.sha256(DATA).hexdigest(), hashlib.sha256(OTHER).hexdigest()
    with pytest.raises(FileError, match=f"expected sha256 {wanted}, got {got}") as caught:
        fetch()
    one_line(caught)
    assert [path.name for path in part.parent.iterdir()] == [".lock"]


@pytest.mark.parametrize("offered", [DATA[:-1], DATA + b"x"])
def test_another_length_than_registered(server, fetch, offered):
    server.files["data.bin"] = offered
    with pytest.raises(FileError, match=f"expected 300,000 bytes, got an offer of {len(offered):,}"):
        fetch()
    assert len(server.requests) == 1


def test_a_length_that_is_too_long(server, fetch):
    lie = spoiled(use_range=False, Content_Length=len(DATA) + 10)
    server.plan = [lie] * 4
    with pytest.raises(FileError, match="the transfer broke off"):
        fetch(n_bytes=None)
    assert len(server.requests) == 4


def test_a_length_that_is_too_short(server, fetch, part):
    server.plan = [spoiled(Content_Length=1000)]
    with pytest.raises(FileError, match="expected sha256"):
        fetch(n_bytes=None)
    assert not part.exists()


def test_more_bytes_than_a_range_promised(server, fetch):
    def add(handler, data):
        serve(handler, data, Content_Length=None)
        handler.wfile.write(b"more")

    server.plan = [spoiled(cut=140_000), add]
    assert fetch() == DATA
    assert [headers.get("Range") is None for _, headers in server.requests] == [True, False, True]


def test_no_length_and_too_little(server, fetch):
    server.plan = [spoiled(cut=9, Content_Length=None, use_range=False, etag=False)] * 4
    with pytest.raises(FileError, match=r"broke off \(expected 300,000 bytes, got 9\)"):
        fetch()


def test_errors_that_stay(server, fetch):
    server.plan = [status(500)] * 4
    with pytest.raises(FileError, match="broke off .HTTP 500 .*; files are looked for in") as caught:
        fetch()
    one_line(caught)
    assert len(server.requests) == 4


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 204])
def test_a_refusal_is_not_tried_again(server, fetch, code):
    server.plan = [status(code)]
    with pytest.raises(FileError, match=f"data.bin: expected the file, got HTTP {code}") as caught:
        fetch()
    one_line(caught)
    assert len(server.requests) == 1


def test_compressed_bytes_are_refused(server, fetch):
    server.plan = [spoiled(Content_Encoding="gzip")]
    with pytest.raises(FileError, match="got it compressed"):
        fetch()


@pytest.mark.parametrize("url", ["http://example.com/x", "ftp://127.0.0.1/x", "file:///x", "http://[", "https:///x"])
def test_redirects_to_where_it_is_not_safe(server, fetch, url):
    server.plan = [redirect(url)]
    with pytest.raises(FileError, match="expected an https address"):
        fetch()


def test_redirects_without_end(server, fetch):
    server.plan = [redirect("/data.bin")] * 10
    with pytest.raises(FileError, match="got more than 5 redirects"):
        fetch()
    assert len(server.requests) == 6


def test_no_connection(server, fetch, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(FileError) as caught:
        fetch()
    text = one_line(caught)
    assert f"127.0.0.1:{server.server_port} could not be reached" in text and "refused" in text
    assert f"files are looked for in {tmp_path / 'm'} or {tmp_path / 'home' / 'm'}" in text
    assert f"put them into {tmp_path / 'home' / 'm'}" in text and len(text) < 700


def test_a_full_disk_is_noticed_before(server, fetch, part, monkeypatch):
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(FileError, match="expected 300,000 bytes of free space, got 1,000; make room"):
        fetch()
    assert not part.exists()


def test_an_interrupt_keeps_the_part(server, fetch, part, monkeypatch):
    write = tqdm.update

    def interrupt(bar, n):
        write(bar, n)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tqdm, "update", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch()
    kept = part.stat().st_size
    assert 0 < kept < len(DATA)
    assert fetch() == DATA
    assert server.requests[1][1]["Range"] == f"bytes={kept}-"


# ---- what is there already


def test_what_is_there_is_verified_and_kept(server, fetch, part):
    fetch()
    assert fetch() == DATA and len(server.requests) == 1
    assert fetch(force=True) == DATA and len(server.requests) == 2
    path = part.with_name("data.bin")
    path.write_bytes(OTHER)  # the right length, so only the hash tells
    assert fetch() == DATA and len(server.requests) == 3
    path.write_bytes(DATA[:-1])
    assert fetch() == DATA and len(server.requests) == 4


def test_a_failing_renewal_keeps_the_old_file(server, fetch, part):
    fetch()
    server.plan = [instead(OTHER)]
    with pytest.raises(FileError, match="expected sha256"):
        fetch(force=True)
    assert part.with_name("data.bin").read_bytes() == DATA


def test_two_processes_at_once(server, fetch, part):
    part.parent.mkdir(parents=True)
    code = (
        "import sys, pathlib; from nanogpt_np.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1]), 'busy'): print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(part.parent / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline().strip() == b"locked"
        with pytest.raises(FileError, match="m: another process is downloading it"):
            fetch()
        other.kill()  # the lock of a process that dies is free again
        other.wait()
        assert fetch() == DATA


def test_two_threads_at_once(server, fetch, monkeypatch):
    server.plan = [lambda handler, data: time.sleep(0.3) or serve(handler, data)]
    results = []

    def run():
        try:
            results.append(fetch())
        except FileError as error:
            results.append(str(error).split(";")[0])

    threads = [threading.Thread(target=run) for _ in range(2)]
    threads[0].start()
    while not server.requests:
        time.sleep(0.01)
    threads[1].start()
    for thread in threads:
        thread.join()
    assert results[1] == DATA and "another process is downloading it" in results[0]


# ---- names


@pytest.fixture
def model(tmp_path):
    """A complete tiny model on disk, as a server would have it."""
    tokenizer = Tokenizer.train(["the cat sat on the mat"] * 3, n_vocab=260)
    config = GPTConfig(n_vocab=260, n_ctx=6, n_embd=8, n_layer=1, n_head=2)
    checkpoint.save(tmp_path / "served", config, P.init(config, np.random.default_rng(0)), tokenizer)
    return tmp_path / "served"


def register(server, model, tmp_path, known):
    files = {}
    for name in ("config.json", "vocab.json", "merges.txt", "model.safetensors"):
        data = server.files[name] = (model / name).read_bytes()
        sizes = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} if known else {}
        files[name] = {"url": f"{server.url}/{name}", **sizes}
    return write_registry(tmp_path, {"tiny": {"files": files}, "shipped": {"path": "served"}})


@pytest.mark.parametrize("known", [True, False])
def test_from_a_name_to_a_model(server, model, tmp_path, known):
    registry = register(server, model, tmp_path, known)
    with pytest.raises(FileError, match="tiny: expected config.json, .* fetch them with: nanogpt-np download tiny"):
        resolve("tiny", registry, tmp_path / "home")
    target = download("tiny", progress=False, registry=registry, home=tmp_path / "home")
    assert [path for path, _ in server.requests][-1] == "/model.safetensors"  # last: the rest is there when it is
    assert target == tmp_path / "home" / "tiny" == resolve("tiny", registry, tmp_path / "home")
    assert checkpoint.load(target)[2].n_vocab == 260
    download("tiny", progress=False, registry=registry, home=tmp_path / "home")
    assert len(server.requests) == 4
    (target / "merges.txt").unlink()
    download("tiny", progress=False, registry=registry, home=tmp_path / "home")
    assert [path for path, _ in server.requests[4:]] == ["/merges.txt"]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocab.json", "merges.txt"])
def test_without_a_hash_a_file_must_at_least_parse(server, model, tmp_path, name):
    registry = register(server, model, tmp_path, known=False)
    server.files[name] = b"\xff<html>log in to the hotel's network</html>"
    with pytest.raises(FileError, match=f"{name}.part: "):
        download("tiny", progress=False, registry=registry, home=tmp_path / "home")
    assert not (tmp_path / "home" / "tiny" / name).exists()
    assert not (tmp_path / "home" / "tiny" / f"{name}.part").exists()


def test_the_checkout_comes_before_the_cache(server, model, tmp_path):
    registry = register(server, model, tmp_path, known=True)
    (tmp_path / "tiny").symlink_to(model, target_is_directory=True)
    assert resolve("tiny", registry, tmp_path / "home") == tmp_path / "tiny"
    assert download("tiny", progress=False, registry=registry, home=tmp_path / "home") == tmp_path / "tiny"
    assert not server.requests and not (tmp_path / "home").exists()
    data = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(data[:-1])  # cut off: not the model
    with pytest.raises(FileError, match="tiny: expected"):
        resolve("tiny", registry, tmp_path / "home")


def test_shipped_models(server, model, tmp_path):
    registry = register(server, model, tmp_path, known=True)
    assert resolve("shipped", registry) == model == download("shipped", registry=registry)
    (model / "config.json").unlink()
    for find in (resolve, download):
        with pytest.raises(FileError, match="shipped: expected in .*/served, which ships with the project"):
            find("shipped", registry=registry)


def test_directories_are_taken_as_they_are(model, tmp_path, monkeypatch):
    assert resolve(model) == model and resolve(str(model)) == model
    (tmp_path / "empty").mkdir()
    assert resolve(tmp_path / "empty") == tmp_path / "empty"
    monkeypatch.chdir(tmp_path)
    model.rename(tmp_path / "gpt2")  # a model of one's own under a registered name
    assert resolve("gpt2") == Path("gpt2")


def test_a_folder_of_a_registered_name_that_is_no_model(server, model, tmp_path, monkeypatch):
    registry = register(server, model, tmp_path, known=True)
    (tmp_path / "cwd" / "shipped").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "cwd")
    assert resolve("shipped", registry) == model


def test_unknown_names(tmp_path):
    for find in (resolve, download):
        with pytest.raises(FileError, match="'gpt2-medum': expected .*, found neither; did you mean 'gpt2-medium'"):
            find("gpt2-medum")
    with pytest.raises(FileError, match="check the name"):
        resolve(tmp_path / "no" / "such")


def test_where_models_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("NANOGPT_NP_HOME", str(tmp_path / "mine"))
    assert home_dir() == tmp_path / "mine"
    assert read_registry()["gpt2"].places == (weights_dir() / "gpt2", tmp_path / "mine" / "gpt2")
    monkeypatch.delenv("NANOGPT_NP_HOME")
    assert home_dir().name.lower() == "nanogpt_np" and home_dir().is_absolute()


def test_the_registry_that_ships():
    models = read_registry()
    assert list(models) == ["stories", "poems", "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"]
    for name, model in models.items():
        assert model.description and model.licence
        if name.startswith("gpt2"):
            assert list(model.files) == ["config.json", "vocab.json", "merges.txt", "model.safetensors"]
            # a commit, which cannot change, and the hash that others published of its file
            address = re.compile(rf"https://huggingface\.co/openai-community/{name}/resolve/[0-9a-f]{{40}}/[a-z.]+")
            assert all(address.fullmatch(file.url) and file.sha256 for file in model.files.values())
            assert model.files["vocab.json"][1:] == models["gpt2"].files["vocab.json"][1:]  # one vocabulary for all
            assert model.files["merges.txt"][1:] == models["gpt2"].files["merges.txt"][1:]
            shapes = P.shapes(PRESETS[name]).values()
            assert model.n_params == sum(int(np.prod(shape)) for shape in shapes)
        else:
            assert not model.files
    assert models["gpt2"].files["model.safetensors"].n_bytes == 548105171


FILE = {"url": "https://example.com/x"}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("{", "expected JSON"),
        ([], "expected a table of models"),
        ({"a": 3}, "expected a table of models"),
        ({"a": {"files": [FILE]}}, "'a': expected a table of files"),
        ({"a": {"files": {"../x": FILE}}}, "'a': expected plain names without folders, got '../x'"),
        ({"a": {"files": {"/x": FILE}}}, "plain names"),
        ({"a": {"files": {"x\\y": FILE}}}, "plain names"),
        ({"a": {"files": {"x\n": FILE}}}, "plain names"),
        ({"a": {"files": {"..": FILE}}}, "plain names"),
        ({"a/b": {"files": {"x": FILE}}}, "plain names"),
        ({"a": {"path": "../x"}}, "plain names"),
        ({"a": {"path": 3}}, "plain names"),
        ({"a": {"files": {"x": {}}}}, "'a': expected files with a url"),
        ({"a": {"files": {"x": "https://x"}}}, "'a': expected files with a url"),
        ({"a": {"files": {"x": {"url": "http://example.com/x"}}}}, "expected an https address"),
        ({"a": {"files": {"x": {**FILE, "bytes": "9"}}}}, "'a': expected bytes as a whole number or null, got '9'"),
        ({"a": {"files": {"x": {**FILE, "bytes": -1}}}}, "bytes as a whole number"),
        ({"a": {"files": {"x": {**FILE, "sha256": "abc"}}}}, "sha256 as 64 hex digits or null, got 'abc'"),
    ],
)
def test_a_registry_that_is_broken(tmp_path, raw, message):
    with pytest.raises(FileError, match=message) as caught:
        read_registry(write_registry(tmp_path, raw))
    one_line(caught)


def test_files_of_senseless_size_are_not_read(tmp_path):
    for name in ("models.json", "vocab.json", "config.json", "merges.txt"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(4 << 30)  # takes no space
    with pytest.raises(FileError, match=r"models.json: expected at most [\d,]+ bytes, got 4,294,967,296"):
        read_registry(tmp_path / "models.json")
    for name in ("vocab.json", "config.json", "merges.txt"):
        path = tmp_path / name
        with pytest.raises(FileError, match=rf"{name}: expected at most [\d,]+ bytes, got 4,294,967,296"):
            transfer.check_file(path, path.suffix)
