"""Where a run begins when it does not begin from nothing: the weights, shape and tokenizer of another model.

Enter: a model's name or directory. Leave: its config for this run, weights of our own to change, its tokenizer, and a
note for training.json. The positions may be fewer than the model's: the first ones are kept.
Next: training/schedule.py.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import params as P
from ..config import GPTConfig
from ..errors import FileError, InputError
from ..storage import checkpoint, registry
from ..tokenizer.bpe import Tokenizer
from . import folder, state

# what the model's config decides; n_ctx may be smaller, dropout is the run's own
SHAPE = ("n_vocab", "n_embd", "n_layer", "n_head", "window", "positions", "activation", "tie_word_embeddings")


class Start(NamedTuple):
    """What a run begins with."""

    config: GPTConfig
    params: dict
    tokenizer: Tokenizer
    note: dict


def shape_of(model):
    """The fields of TrainOptions that a model decides, and its n_ctx: {"n_embd": 256, …}."""
    config = checkpoint.read_config(registry.resolve(model))
    return {name: getattr(config, name) for name in (*SHAPE, "n_ctx")}


def open_start(options):
    """Open options.init -> Start, its params as float32 arrays that nothing else holds.

    InputError where the options contradict the model, or it has no vocabulary.
    """
    directory = registry.resolve(options.init)
    config = checkpoint.read_config(directory)
    check_options(options, config)
    config, params, tokenizer = checkpoint.load(directory)
    if tokenizer is None:
        raise InputError(f"--init: expected a model with vocab.json and merges.txt, found none in {directory}")
    config = config.replace(n_ctx=options.n_ctx, dropout=options.dropout)
    note = {"model": str(directory), "params_sha256": fingerprint(params), "config": config.to_dict()}
    return Start(config, cut(params, options.n_ctx), tokenizer, note)


def find_start(options, resume):
    """What a run begins with that begins from another model; None for others, and once its own state is there."""
    if options.init is None or (resume and state.exists(Path(options.out))):
        return None
    begun = open_start(options)
    if resume and begun.note["params_sha256"] != _noted(options)["params_sha256"]:
        raise InputError(f"--init: expected the weights of {options.init} that this run began with, got others")
    return begun


def find_config(options, tokenizer):
    """The shape of a run that does not open another model now."""
    return options.config(tokenizer) if options.init is None else GPTConfig.from_dict(_noted(options)["config"])


def _noted(options):
    """What training.json says of the model that the run began with."""
    note = folder.read(options.out).get("init")
    if not isinstance(note, dict) or not {"config", "params_sha256"} <= note.keys():
        raise FileError(f"{options.out}: expected a note on the model {options.init}, found none; start a new run")
    return note


def check_options(options, config):
    """InputError naming the first option that contradicts the model's config."""
    if options.tokenizer is not None:
        raise InputError("--tokenizer: expected none with --init, which brings its model's vocabulary; leave it out")
    for name in SHAPE:
        if getattr(options, name) != getattr(config, name):
            raise _contradiction(options, name, f"{getattr(config, name)!r}")
    if options.n_ctx > config.n_ctx:
        raise _contradiction(options, "n_ctx", f"at most {config.n_ctx}")


def _contradiction(options, name, expected):
    flag, got = "--" + name.replace("_", "-"), getattr(options, name)
    return InputError(f"{flag}: expected {expected}, as {options.init} has, got {got!r}; leave it out")


def cut(params, n_ctx):
    """A copy of params to train, with the first n_ctx positions."""
    named = {name: array[:n_ctx] if name == "wpe.weight" else array for name, array in P.walk(params)}
    return P.nest({name: np.array(array, np.float32) for name, array in named.items()})


def fingerprint(params):
    """sha256 over the names and values of all weights as float32, whatever file they came from."""
    digest = hashlib.sha256()
    for name, array in P.walk(params):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array, np.float32).data)
    return digest.hexdigest()
