"""Small models, ids and arrays that several test files use."""

import importlib.util
import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nanogpt_np import params as P
from nanogpt_np.config import GPTConfig

CLOSE = 3e-5  # steps of int8: a factor, a product and a sum, each rounded: 127 * 3 * 2**-24 is 2.3e-5
CONFIG = GPTConfig(n_vocab=31, n_ctx=16, n_embd=24, n_layer=2, n_head=3)
LAYOUTS = {  # a matrix -> the same matrix, its numbers elsewhere in memory
    "row by row": np.ascontiguousarray,
    "column by column": np.asfortranarray,
    "in longer rows": lambda a: np.concatenate([a, a, a], axis=1)[:, a.shape[1] : -a.shape[1]],
    "one in three of either": lambda a: a.repeat(3, axis=0).repeat(3, axis=1)[::3, ::3],
}


def mostly_slow(values, kept):
    """Values to parametrize with; those whose first is not among the `kept` ones wait for -m slow."""
    several = [value if isinstance(value, tuple) else (value,) for value in values]
    return [pytest.param(*each, marks=[] if each[0] in kept else pytest.mark.slow) for each in several]


def make(config=CONFIG, seed=0, dtype=np.float32, scale=0.2):
    """Weights large enough for attention to be far from uniform, and biases that are not zero."""
    rng = np.random.default_rng(seed)
    named = P.walk(P.init(config, rng, dtype))
    return P.nest({name: (array + scale * rng.normal(size=array.shape)).astype(dtype) for name, array in named})


def as_opened(params, config):
    """The same weights as opening a model for compiled ops leaves them: those of one output side by side."""
    from nanogpt_np import kernels

    return P.nest({name: kernels.keep_one(name, array, config, lambda: None) for name, array in P.walk(params)})


def own_kernel(signature, function, parallel=True):
    """A compiled function of a test file's; it is not among those that warmup compiles."""
    from nanogpt_np.kernels import compile as kernel_compile

    one = kernel_compile.Kernel(function, signature, parallel=parallel, early=False)
    kernel_compile._kernels.remove(one)
    return one


def random_ids(*shape, seed=0, config=CONFIG):
    return np.random.default_rng(seed).integers(0, config.n_vocab, shape)


def normal(*shape, seed=0, scale=1.0, dtype=np.float32):
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(dtype)


def padded(n_batch, n_seq):
    """A mask under which the first text begins later than the others."""
    return np.arange(n_seq) >= np.array([[n_seq // 2]] + [[0]] * (n_batch - 1))


def rounded(x):
    """x as int8 with one scale for each row of the last axis -> x again, and by how much each number may differ.

    That is a step where a number of steps lies so near to a half that float32 may round it either way, else nothing.
    """
    scales = np.abs(x).max(axis=-1, keepdims=True) / 127
    steps = x / np.where(scales > 0, scales, 1)
    either_way = np.abs(steps - np.floor(steps) - 0.5) < CLOSE
    return np.floor(steps + 0.5) * scales, either_way * scales


def public(module):
    return {name: f for name, f in vars(module).items() if inspect.isfunction(f) and not name.startswith("_")}


def module_at(path):
    """A script that belongs to no package, as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_script(script, **environment):
    """What a script prints in a process of its own, with the tests' modules and the package at hand."""
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (here, here.parent)))} | environment
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return done.stdout
