"""Writing whole or not at all, and reading with errors that name the place."""

import os
import stat
import subprocess
import sys
import threading
import tracemalloc

import pytest

from nanogpt_np import files
from nanogpt_np.errors import FileError, InputError


def test_write_and_read_back(tmp_path):
    files.write_json(tmp_path / "a.json", {"poem": "床前明月光", "n": [1, 2]})
    assert files.read_json(tmp_path / "a.json") == {"poem": "床前明月光", "n": [1, 2]}
    files.write_text(tmp_path / "a.txt", "one\r\ntwo\n")
    assert files.read_text(tmp_path / "a.txt") == "one\r\ntwo\n"  # newlines stay as they are, on Windows too
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.txt"]


def test_a_failing_body_leaves_the_old_file(tmp_path):
    path = tmp_path / "weights"
    files.write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError), files.replacing(path) as part:
        part.write_bytes(b"half of the ne")
        1 / 0  # noqa: B018
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_process_leaves_the_old_file(tmp_path):
    path = tmp_path / "weights"
    files.write_bytes(path, b"old")
    code = (
        "import os, sys; from nanogpt_np import files\n"
        "with files.replacing(sys.argv[1]) as part: part.write_bytes(b'half'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 9
    assert path.read_bytes() == b"old"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_the_file_gets_the_usual_rights(tmp_path):
    old = os.umask(0o027)
    try:
        files.write_text(tmp_path / "a", "x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.parametrize("write", [files.write_text, files.write_json])
def test_a_folder_that_is_missing(tmp_path, write):
    with pytest.raises(FileError, match=r"none/a: cannot be written .*choose another folder"):
        write(tmp_path / "none" / "a", "x")


def test_make_folder(tmp_path):
    files.make_folder(tmp_path / "a" / "b")
    files.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError, match="file/b: cannot be written"):
        files.make_folder(tmp_path / "file" / "b")


def test_settle(tmp_path):
    (tmp_path / "a.part").write_bytes(b"new")
    (tmp_path / "a").write_bytes(b"old")
    files.settle(tmp_path / "a.part", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"new"
    with pytest.raises(FileError, match="cannot be written"):
        files.settle(tmp_path / "a.part", tmp_path / "a")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1,\n "b": }', "expected JSON, got an error at line 2"),
        (b"", "expected JSON, got an error at line 1"),
        (b'{"a": "\xff"}', "expected UTF-8 text, got byte 0xff at offset 7"),
        (b"[" * 100_000, "expected JSON, got RecursionError"),
        (b"1" * 5_000, "expected JSON, got ValueError"),
    ],
)
def test_json_that_does_not_parse(tmp_path, data, message):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(FileError, match=message) as caught:
        files.read_json(tmp_path / "a.json")
    assert str(caught.value).startswith(f"{tmp_path / 'a.json'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [files.read_bytes, files.read_text, files.read_json])
def test_a_file_that_is_missing(tmp_path, read):
    with pytest.raises(FileError, match="none: cannot be read"):
        read(tmp_path / "none")
    with pytest.raises(InputError):  # a FileError is the user's mistake too
        read(tmp_path)


# ---- what a file may be, and how large


@pytest.mark.parametrize("read", [files.read_bytes, files.read_text, files.read_json])
def test_a_file_beyond_its_limit_is_not_read(tmp_path, read):
    with open(tmp_path / "a", "wb") as file:  # sparse: takes no space
        file.truncate(3 << 30)
    tracemalloc.start()
    with pytest.raises(FileError, match="a: expected at most 1,000 bytes, got 3,221,225,472") as caught:
        read(tmp_path / "a", 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000 and "\n" not in str(caught.value)


def test_a_limit_counts_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert files.read_bytes(tmp_path / "a", 5) == files.read_bytes(tmp_path / "a") == b"12345"
    assert files.read_text(tmp_path / "a", 5) == "12345" and files.read_json(tmp_path / "a", 5) == 12345
    with pytest.raises(FileError, match="at most 4 bytes, got 5"):
        files.read_bytes(tmp_path / "a", 4)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("read", [files.open_regular, lambda path: files.read_json(path, 1000)])
def test_a_pipe_is_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "a")
    with pytest.raises(FileError, match=r"a: cannot be read \(expected a regular file, got a pipe"):
        read(tmp_path / "a")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_that_takes_the_name_after_the_first_look(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a").write_text("x")
    about, look = os.stat(tmp_path / "a"), os.stat
    monkeypatch.setattr(os, "stat", lambda path, **how: about if str(path).endswith("pipe") else look(path, **how))
    with pytest.raises(FileError, match="expected a regular file"):
        files.open_regular(tmp_path / "pipe")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs devices")
def test_a_device_does_not_end(tmp_path):
    (tmp_path / "a").symlink_to("/dev/zero")
    with pytest.raises(FileError, match="expected a regular file"):
        files.read_text(tmp_path / "a", 1000)


@pytest.mark.parametrize("limit", [1000, None])
def test_a_folder_is_no_file(tmp_path, limit):
    with pytest.raises(FileError, match="cannot be read"):
        files.read_text(tmp_path, limit)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_without_a_limit_a_pipe_is_read(tmp_path):
    os.mkfifo(tmp_path / "a")
    writer = threading.Thread(target=(tmp_path / "a").write_bytes, args=(b"text" * 50_000,))
    writer.start()
    assert files.read_text(tmp_path / "a") == "text" * 50_000
    writer.join()


def test_remove(tmp_path):
    files.write_text(tmp_path / "a", "x")
    files.remove(tmp_path / "a")
    files.remove(tmp_path / "a")
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileError, match="cannot be written"):
        files.remove(tmp_path)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "a\x1b[31m\nb", "\udcff"])
@pytest.mark.parametrize("limit", [1000, None])
def test_names_that_no_file_has(tmp_path, name, limit):
    with pytest.raises(FileError, match="cannot be read") as caught:
        files.read_text(tmp_path / name, limit)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


def test_a_path_in_a_message(tmp_path):
    assert files.short("models/a/config.json") == "models/a/config.json"
    assert files.short("a\x1b[2J/config.json") == "a\\x1b[2J/config.json"
    long = files.short("/very" * 1000 + "/config.json")
    assert len(long) == 160 and long.startswith("…") and long.endswith("/very/config.json")
    assert len(files.short("\x1b" * 1000)) == 160
