"""Writing whole or not at all, and reading with errors that name the place."""

import os
import stat
import subprocess
import sys

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
