"""What a transfer leaves on disk when it breaks, when there is too much of it, and when something else stands there."""

import hashlib
import json
import os

import pytest
from hostile import (
    CHUNKED,
    DATA,
    GOOD,
    OK,
    TAG,
    after,
    again_and_again,
    body,
    chunks,
    one_line,
    silence,
)  # fmt: skip

from nanogpt_np.errors import FileError
from nanogpt_np.storage import transfer


def test_a_slow_body_is_resumed_where_it_was_left(server, fetch, impatient):
    rest = body(
        b"Content-Range: bytes 300-1023/1024", b"Content-Length: 724", TAG.strip(), data=DATA[300:], status=b"206 P"
    )
    server.acts = [after(GOOD[: len(GOOD) - 724], silence), rest]
    assert fetch() == DATA
    assert server.ranges() == [None, 300]


@pytest.mark.parametrize("n_bytes", [None, len(DATA)])
@pytest.mark.parametrize("name", ["config.json", "vocab.json", "merges.txt", "model.safetensors", "data.bin"])
def test_a_body_without_end_is_cut_and_removed(server, fetch, folder, monkeypatch, name, n_bytes):
    """Small limits for every kind of file; the weights' follows from 0 parameters: one header."""
    limits = {"config.json": 5_000, ".json": 70_000, ".txt": 80_000, ".safetensors": 90_000, "data.bin": 60_000}
    monkeypatch.setattr(transfer, "MOST", limits)
    monkeypatch.setattr("nanogpt_np.storage.registry.MAX_HEADER", 90_000)
    server.acts = [after(OK + b"\r\n", again_and_again(DATA * 9))]
    most = {"vocab.json": 70_000, "merges.txt": 80_000, "model.safetensors": 90_000}.get(name, limits.get(name))
    with pytest.raises(FileError) as caught:
        fetch(n_bytes, name=name)
    expected = f"expected at most {most:,} bytes" if n_bytes is None else "broke off (expected 1,024 bytes, got more)"
    assert expected in one_line(caught)
    assert len(server.heads) == (1 if n_bytes is None else 2)
    assert [path.name for path in folder.iterdir()] == [".lock"]
    server.acts = [OK + b"Content-Length: %d\r\n\r\n" % (most + 1)]
    with pytest.raises(FileError, match=f"expected .* bytes.*, got an offer of {most + 1:,}"):
        fetch(n_bytes, name=name)
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_limits_hold_what_is_published():
    assert transfer.MOST["config.json"] > 718 and transfer.MOST[".json"] > 1_042_301
    assert transfer.MOST[".txt"] > 456_318 and transfer.MOST[".safetensors"] > 6.5e9


def test_a_part_beyond_the_limit_is_not_resumed(server, fetch, folder, monkeypatch):
    monkeypatch.setattr(transfer, "MOST", {"data.bin": 1024})
    (folder / "data.bin.part").write_bytes(DATA + b"x")
    notes = {"url": f"{server.url}/data.bin", "version": '"one"'}
    (folder / "data.bin.part.json").write_text(json.dumps(notes))
    assert fetch() == DATA and server.ranges() == [None]


def test_a_disk_that_fills_up_is_left_as_it_was(server, fetch, folder, monkeypatch):
    """Without a length nobody can look before; what came must not stay and fill the disk."""

    def full(file, *arguments):
        opened = open(file, *arguments)
        if os.fspath(file).endswith(".part"):
            opened = Full(opened)
        return opened

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def write(self, data):
            self.file.write(data)
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfer, "open", full, raising=False)
    server.acts = [body()]
    with pytest.raises(FileError, match=r"cannot be written \(No space left on device\)") as caught:
        fetch()
    one_line(caught)
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_part_of_a_file_does_not_pass_for_the_whole(server, fetch, folder):
    """Without length, hash and chunks, a connection that breaks cannot be told from the end of the file."""
    server.acts = [body(data=b"#version: 0.2\n")]
    with pytest.raises(FileError, match="expected a length, got none; part of it would pass for the whole"):
        fetch(sha256=None, name="merges.txt")
    server.acts = [chunks(b"#version: 0.2\n")]
    assert fetch(sha256=None, name="merges.txt") == b"#version: 0.2\n"


# ---- connections that break, and what they leave


def range_server(server, data, cut=None, chunked=False):
    """An act that honours Range and sends `cut` bytes of what it promised."""

    def act(client, over):
        start = server.ranges()[-1] or 0
        rest, span = data[start:], b"Content-Range: bytes %d-%d/%d" % (start, len(data) - 1, len(data))
        if chunked:
            framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest)
            head = body(CHUNKED.strip(), TAG.strip(), span, data=b"", status=b"206 P" if start else b"200 OK")
            client.sendall(head + framed[: None if cut is None else len(b"%x\r\n" % len(rest)) + cut])
        else:
            length = b"Content-Length: %d" % len(rest)
            head = body(length, TAG.strip(), span, data=b"", status=b"206 P" if start else b"200 OK")
            client.sendall(head + rest[:cut])

    return act


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("cut", [1, 500, 1023])
def test_after_a_break_no_byte_is_asked_for_twice(server, fetch, cut, chunked):
    server.acts = [range_server(server, DATA, cut, chunked), range_server(server, DATA, None, chunked)]
    assert fetch() == DATA
    assert server.ranges() == [None, cut]


def test_what_arrived_is_on_the_disk_at_once(server, fetch, folder):
    """Not only when 64 KiB are together or the transfer ends: a process may be killed."""
    sizes = []

    def act(client, over):
        part = folder / "data.bin.part"
        for size in (1, 500):
            client.sendall(GOOD[: len(GOOD) - len(DATA) + size] if size == 1 else DATA[1:500])
            while not (part.exists() and part.stat().st_size == size) and not over.wait(0.01) and len(sizes) < 2000:
                sizes.append(part.exists() and part.stat().st_size)
        sizes.append(part.stat().st_size)
        client.sendall(DATA[500:])

    server.acts = [act]
    assert fetch() == DATA
    assert sizes[-1] == 500


@pytest.mark.parametrize("size", [b"-5", b"-ffffff", b"zz", b""])
def test_a_chunk_that_is_none_leaves_nothing_in_the_part(server, fetch, folder, size):
    server.acts = [chunks(DATA[:9], end=size + b"\r\n" + b"other")]
    with pytest.raises(FileError, match="broke off .*; 9 bytes are kept"):
        fetch()
    assert (folder / "data.bin.part").read_bytes() == DATA[:9]


def test_a_break_at_every_byte(server, fetch, folder):
    """Of the status line, the headers, the sizes of chunks and the chunks: the next try always mends it."""
    data = DATA[:20]
    for whole in (body(b"Content-Length: 20", TAG.strip(), data=data), chunks(data[:3], data[3:])):
        for cut in range(len(whole)):
            server.acts, server.heads = [whole[:cut], range_server(server, data)], []
            assert fetch(sha256=hashlib.sha256(data).hexdigest()) == data, cut
            (folder / "data.bin").unlink()


@pytest.mark.parametrize(
    "answer",
    [
        b"bytes 499-1023/1024", b"bytes 501-1023/1024", b"bytes 500-1023/1_024", b"items 500-1023/1024",
        b"bytes 500-1023/" + b"9" * 5000, b"bytes " + b"9" * 5000 + b"-1023/1024", b"bytes -500-1023/1024",
        b"bytes */1024", b"bytes 500-1023", b"", b"bytes 500-1023/1024, bytes 0-1/2", b"\x1b[31m",
        b"bytes=500-1023/1024",
    ],
)  # fmt: skip
def test_a_range_that_does_not_fit_begins_anew(server, fetch, monkeypatch, answer):
    monkeypatch.setattr(transfer, "PAUSES", (0.0, 0.0))
    wrong = body(b"Content-Range: " + answer, b"Content-Length: 524", TAG.strip(), data=DATA[500:], status=b"206 P")
    server.acts = [GOOD[:-524], wrong, GOOD]
    assert fetch() == DATA
    assert server.ranges() == [None, 500, None]


@pytest.mark.parametrize(
    "answer", [b"bytes 500-1023/*", b"bytes 500-600/1024", b"bytes 500-9999/1024"]
)  # the end of the range and of the file are seen from the bytes
def test_a_range_whose_end_is_odd(server, fetch, answer):
    fit = body(b"Content-Range: " + answer, b"Content-Length: 524", TAG.strip(), data=DATA[500:], status=b"206 P")
    server.acts = [GOOD[:-524], fit]
    assert fetch() == DATA


@pytest.mark.parametrize(
    "tag", [b'ETag: "\x1b[31m"', b'ETag: "' + b"x" * 600 + b'"', b'ETag: "\xe2\x80\xae"', b'ETag: W/"a"']
)
def test_a_version_that_cannot_be_sent_back_is_none(server, fetch, tag):
    server.acts = [GOOD.replace(TAG.strip(), tag)[:-524], GOOD]
    assert fetch() == DATA
    assert server.ranges() == [None, None]


# ---- what else stands in the folder


@pytest.mark.parametrize("name", ["data.bin.part", "data.bin.part.json"])
@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_what_is_not_a_part_is_neither_opened_nor_removed(server, fetch, folder, name, kind):
    make(folder / name, kind)
    with pytest.raises(FileError, match=f"{name}: expected a file that a download left, got a {kind}") as caught:
        fetch()
    one_line(caught)
    assert (folder / name).is_symlink() or (folder / name).exists()
    assert not server.heads and not (folder / "elsewhere").exists()


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_stands_in_the_files_place_is_replaced(server, fetch, folder, kind, known):
    make(folder / "data.bin", kind)
    assert fetch(len(DATA) if known else None) == DATA
    assert not (folder / "data.bin").is_symlink() and (folder / "data.bin").is_file()


def test_a_folder_in_the_files_place(server, fetch, folder):
    make(folder / "data.bin", "folder")
    with pytest.raises(FileError, match="data.bin: expected a file or nothing, got a folder; remove it"):
        fetch()
    assert not server.heads


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_a_lock_that_is_none(server, fetch, folder, kind):
    make(folder / ".lock", kind)
    with pytest.raises(FileError, match=r"\.lock: cannot be written") as caught:
        fetch()
    one_line(caught)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_models_folder_that_is_none(server, fetch, folder, kind):
    folder.rmdir()
    make(folder, kind)
    with pytest.raises(FileError, match="m: cannot be written") as caught:
        fetch()
    one_line(caught)


def make(path, kind):
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(path.parent / "elsewhere")
    elif hasattr(os, "mkfifo"):
        os.mkfifo(path)
    else:
        pytest.skip("this system has no pipes in folders")
