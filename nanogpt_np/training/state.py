"""Everything a training run needs to go on as if it had never stopped, in one file.

Enter: params, optimizer, step, random generator. Leave: `training_state.safetensors`, replaced whole or not at all;
and back. One file, because weights and moments of two different steps must never be mixed. Next: training/best.py.
"""

import json

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .. import files
from .. import params as P
from ..errors import FileError

NAME = "training_state.safetensors"


def save(directory, params, optimizer, rng, step, extra):
    """Write the state after `step` steps; `extra` is a small dict that JSON can hold."""
    tensors = {}
    for kind, tree in (("params", params), ("m", optimizer.m), ("v", optimizer.v)):
        tensors |= {f"{kind}.{name}": np.ascontiguousarray(array) for name, array in P.walk(tree)}
    about = {"step": step, "n_steps": optimizer.n_steps, "rng": rng.bit_generator.state, **extra}
    with files.replacing(directory / NAME) as part:
        try:
            save_file(tensors, part, metadata={"state": json.dumps(about)})
        except SafetensorError as error:
            raise OSError(str(error)) from error


def load(directory, params, optimizer, rng):
    """Fill params, optimizer and rng in place from the file -> what was saved beside them, a dict.

    FileError where the file is broken or belongs to a model of another shape.
    """
    path = directory / NAME
    try:
        with safe_open(path, framework="np") as stored:
            about = json.loads((stored.metadata() or {})["state"])
            for kind, tree in (("params", params), ("m", optimizer.m), ("v", optimizer.v)):
                for name, array in P.walk(tree):
                    _fill(array, stored.get_tensor(f"{kind}.{name}"), path, f"{kind}.{name}")
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise FileError(f"{path}: expected a training state of this model, got: {error}; start again") from error
    optimizer.n_steps = about["n_steps"]
    rng.bit_generator.state = about["rng"]
    return about


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
