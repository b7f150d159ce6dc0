"""Headers of .safetensors files: what lies, what does not parse, what is too large, and that the library agrees."""

import json
import os
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import save_file

from nanogpt_np.errors import FileError
from nanogpt_np.storage.header import MAX_HEADER, read_header


def one_line(caught):
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500
    return str(caught.value)


# ---- headers that lie


def entry(dtype="F32", shape=(8,), start=0, end=32):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


@pytest.mark.parametrize(
    ("entries", "n_data", "message"),
    [
        ({"a": entry(end=40)}, 40, "a: expected 32 bytes for F32 .8., got 40"),
        ({"a": entry(shape=(2**40, 2**40), end=32)}, 32, "a: expected 4,835,703,278,458,516,698,824,704 bytes"),
        ({"a": entry(shape=(-8,), end=32)}, 32, "a: expected a shape of whole numbers from 0"),
        ({"a": entry(shape=(8.0,))}, 32, "a: expected a shape"),
        ({"a": entry(shape=(True,), end=4)}, 4, "a: expected a shape"),
        ({"a": entry(shape=(2**63, 0), end=0)}, 0, "a: expected a shape"),
        ({"a": entry(shape=(1,) * 33, end=4)}, 4, "a: expected a shape"),
        ({"a": {**entry(), "shape": 8}}, 32, "a: expected a shape"),
        ({"a": entry(dtype="F33")}, 32, "a: expected a dtype of F64, F32"),
        ({"a": entry(dtype=["F32"])}, 32, "a: expected a dtype"),
        ({"a": entry(start=32, end=0)}, 32, "a: expected data_offsets"),
        ({"a": entry(start=-32, end=0)}, 32, "a: expected data_offsets"),
        ({"a": {**entry(), "data_offsets": [0]}}, 32, "a: expected data_offsets"),
        ({"a": {**entry(), "data_offsets": "ab"}}, 32, "a: expected data_offsets"),
        ({"a": {**entry(), "data_offsets": [0, 32, 64]}}, 32, "a: expected data_offsets"),
        ({"a": entry(), "b": entry()}, 32, "b: expected a start at byte .*, which overlaps the tensor before it"),
        ({"a": entry(), "b": entry(start=16, end=48)}, 48, "b: expected a start .* overlaps"),
        ({"a": entry(start=8, end=40)}, 40, "a: expected a start .* leaves a hole"),
        ({"a": entry()}, 36, "the whole file: expected .* bytes as its header says"),
        ({"a": entry()}, 28, "the whole file: expected"),
        ({"a": entry(shape=(2**40,), end=2**42)}, 32, "the whole file: expected"),
        ({"a": {"dtype": "F32", "shape": [8]}}, 32, "a: expected dtype, shape and data_offsets"),
        ({"a": 3}, 32, "a: expected dtype, shape and data_offsets, got 3"),
        ({"__metadata__": {"format": 3}}, 0, "__metadata__: expected a table of strings"),
        ({"__metadata__": ["format"]}, 0, "__metadata__: expected a table of strings"),
        ([], 0, "header: expected a JSON object, got list"),
        (3.5, 0, "header: expected a JSON object"),
    ],
)
def test_headers_that_lie(tmp_path, entries, n_data, message):
    path = tmp_path / "model.safetensors"
    text = json.dumps(entries).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(n_data))
    with pytest.raises(FileError, match=message) as caught:
        read_header(path)
    assert one_line(caught).startswith(f"{path}: ") and "copy or download it again" in one_line(caught)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "header: expected a length from 2 to 0 bytes, got 0"),
        (b"\x02\x00\x00", "header: expected a length from 2 to 0 bytes, got 2"),
        ((100).to_bytes(8, "little") + b"{}", "expected a length from 2 to 2 bytes, got 100"),
        ((2**64 - 1).to_bytes(8, "little") + b"{}", "got 18,446,744,073,709,551,615"),
        ((1).to_bytes(8, "little") + b"{}", "got 1"),
        ((2).to_bytes(8, "little") + b"{]", "header: expected JSON in UTF-8, got JSONDecodeError"),
        ((4).to_bytes(8, "little") + b'"\xff\xff"', "header: expected JSON in UTF-8, got UnicodeDecodeError"),
        ((100_000).to_bytes(8, "little") + b"[" * 100_000, "header: expected JSON in UTF-8, got RecursionError"),
        ((9_000).to_bytes(8, "little") + b"1" * 9_000, "header: expected JSON in UTF-8, got ValueError"),
        ((15).to_bytes(8, "little") + b'{"a":{},"a":{}}', "header: expected every name once, got 'a' twice"),
        (b"<!DOCTYPE html><html>not found</html>", "header: expected a length"),
    ],
)
def test_headers_that_do_not_parse(tmp_path, data, message):
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(FileError, match=message) as caught:
        read_header(path)
    one_line(caught)


def test_a_header_beyond_the_limit_is_not_read(tmp_path):
    path = tmp_path / "model.safetensors"
    with open(path, "wb") as file:  # sparse: takes no space
        file.write((150_000_000).to_bytes(8, "little"))
        file.truncate(200_000_000)
    tracemalloc.start()
    with pytest.raises(FileError, match="a length from 2 to 4,000,000 bytes, got 150,000,000"):
        read_header(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_read_header_agrees_with_the_library(tmp_path):
    named = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.arange(4, dtype=np.float16),
        "empty": np.zeros((0, 5), np.float64),
        "scalar": np.array(7, np.int64),
        "mask": np.ones((3,), bool),
    }
    path = tmp_path / "x.safetensors"
    save_file(named, path, {"who": "library"})
    header = read_header(path)
    data = path.read_bytes()
    assert header.metadata == {"who": "library"} and header.tensors.keys() == named.keys()
    for name, array in named.items():
        info = header.tensors[name]
        assert info.shape == array.shape and data[info.start : info.end] == array.tobytes()


@pytest.mark.parametrize("content", [b"[]", b"{}", b"1234", b'"ab"', b'{"abcdef":1}'])
def test_a_hostile_header_takes_bounded_memory(tmp_path, content):
    path = tmp_path / "model.safetensors"
    text = b'{"a":[' + b",".join([content] * (MAX_HEADER // 10 // (len(content) + 1))) + b"]}"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    tracemalloc.start()
    with pytest.raises(FileError, match="a: expected dtype, shape and data_offsets") as caught:
        read_header(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # an empty dict of three bytes takes 64, its place in the list 8, and the message is made of all of them
    assert one_line(caught) and peak < 40 * len(text)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_header(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(FileError, match="expected a regular file, got a pipe"):
        read_header(tmp_path / "model.safetensors")


@pytest.mark.parametrize("name", ["\x1b[31m" * 100, "x" * 100_000, "\u202e\n"])
def test_tensor_names_of_others_are_escaped_and_cut(tmp_path, name):
    path = tmp_path / "model.safetensors"
    shape = [2**62] * 32
    for entries in ({name: 3}, {name: {**entry(), "shape": shape}}, {name: {**entry(), "dtype": name}}):
        text = json.dumps(entries).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(32))
        with pytest.raises(FileError) as caught:
            read_header(path)
        one_line(caught)
    text = json.dumps({name: 1}).encode()[:-1] + b"," + json.dumps({name: 2}).encode()[1:]
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(FileError, match="expected every name once") as caught:
        read_header(path)
    one_line(caught)
