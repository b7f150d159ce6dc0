"""Everything a training run needs to go on as if it had never stopped, in one file.

Enter: params, optimizer, step, random generator. Leave: `training_state.safetensors`, replaced whole or not at all;
and back. One file, because weights and moments of two different steps must never be mixed. Next: training/best.py.
"""

import json
import zlib

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .. import files
from .. import params as P
from ..errors import FileError, printable
from ..storage.header import sort_metadata

NAME = "training_state.safetensors"


def save(directory, params, optimizer, rng, step, extra):
    """Write the state after `step` steps; `extra` is a small dict that JSON can hold.

    A checksum of every tensor, and of what stands beside them, goes with it: one bit that the disk loses would make
    another run of it. CRC-32 finds all such damage, and takes less time than writing does.
    """
    tensors = {}
    for kind, tree in _trees(params, optimizer):
        tensors |= {f"{kind}.{name}": np.ascontiguousarray(array) for name, array in P.walk(tree)}
    about = json.dumps({"step": step, "n_steps": optimizer.n_steps, "rng": rng.bit_generator.state, **extra})
    sums = {name: zlib.crc32(array.data) for name, array in tensors.items()} | {"state": zlib.crc32(about.encode())}
    with files.replacing(directory / NAME) as part:
        try:
            save_file(tensors, part, metadata={"state": about, "crc32": json.dumps(sums)})
            sort_metadata(part)
        except SafetensorError as error:
            raise OSError(str(error)) from error


def load(directory, params, optimizer, rng):
    """Fill params, optimizer and rng in place from the file -> what was saved beside them, a dict.

    FileError where the file is not as it was written, or belongs to a model of another shape.
    """
    path = directory / NAME
    try:
        with safe_open(path, framework="np") as stored:
            about, sums = _read_metadata(stored.metadata() or {})
            for kind, tree in _trees(params, optimizer):
                for name, array in P.walk(tree):
                    found = stored.get_tensor(f"{kind}.{name}")
                    _check_sum(sums, f"{kind}.{name}", found.data)
                    _fill(array, found, path, f"{kind}.{name}")
        optimizer.n_steps, rng.bit_generator.state = about["n_steps"], about["rng"]
    except FileError:
        raise
    except (SafetensorError, OSError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        got = f"{type(error).__name__}: {error}" if isinstance(error, LookupError) else str(error)
        raise FileError(
            f"{path}: expected a training state of this model, got: {printable(got, 200)}; "
            "put back a copy of the file, or start a new run"
        ) from error
    return about


def _trees(params, optimizer):
    return ("params", params), ("m", optimizer.m), ("v", optimizer.v)


def _read_metadata(metadata):
    """-> what stands beside the tensors, and all checksums; None instead of these in a file of earlier versions."""
    if metadata.keys() not in ({"state"}, {"state", "crc32"}):  # a damaged name must not pass for an old file
        raise ValueError(f"metadata {sorted(metadata)}")
    sums = json.loads(metadata["crc32"]) if "crc32" in metadata else None
    _check_sum(sums, "state", metadata["state"].encode())
    about = json.loads(metadata["state"])
    for name in ("step", "n_steps"):
        if type(about[name]) is not int or about[name] < 0:
            raise ValueError(f"{name} = {about[name]!r}")
    if not isinstance(about["tokenizer"], str):
        raise ValueError(f"tokenizer = {about['tokenizer']!r}")
    return about, sums


def _check_sum(sums, name, data):
    if sums is not None and sums[name] != zlib.crc32(data):
        raise ValueError(f"{name} with another checksum than was written")


def exists(directory):
    """Is there a state to go on from?"""
    return (directory / NAME).exists()


def _fill(array, stored, path, name):
    if stored.shape != array.shape or stored.dtype != array.dtype:
        raise FileError(
            f"{path}: {name}: expected {array.dtype} {list(array.shape)}, got {stored.dtype} {list(stored.shape)}; "
            "training.json and the state do not belong together"
        )
    array[...] = stored
