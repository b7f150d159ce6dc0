"""A hostile server, and download() from it."""

import json

import pytest
from hostile import SHA256, Server

from nanogpt_np import files
from nanogpt_np.storage import connection, transfer
from nanogpt_np.storage.registry import download


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(transfer, "PAUSES", (0.0,))
    monkeypatch.setattr(files, "sync", lambda path: None)  # what it is for is tested in test_files.py
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    server = Server()
    yield server
    server.close()


@pytest.fixture
def impatient(monkeypatch):
    """Limits so short that only a server which never answers as it should may meet them."""
    monkeypatch.setattr(connection, "ANSWER_WITHIN", 0.2)
    monkeypatch.setattr(connection, "WINDOW", 0.2)
    monkeypatch.setattr(connection, "SLOWEST", 100_000)


@pytest.fixture
def fetch(server, tmp_path):
    """download() of a model "m" of one file, with a sha256 and no size unless said otherwise."""

    def run(n_bytes=None, sha256=SHA256, name="data.bin"):
        file = {"url": f"{server.url}/{name}", "bytes": n_bytes, "sha256": sha256}
        (tmp_path / "models.json").write_text(json.dumps({"m": {"parameters": 0, "files": {name: file}}}))
        target = download("m", progress=False, registry=tmp_path / "models.json", home=tmp_path / "home")
        assert sorted(path.name for path in target.iterdir()) == [".lock", name]
        return (target / name).read_bytes()

    return run


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "home" / "m").mkdir(parents=True)
    return tmp_path / "home" / "m"
