"""A model in one format -> the same model in another: `nanogpt-np convert`.

Enter: anything that opens (a name, a directory, a file), and a place where nothing is yet. Leave: a directory in the
layout of `transformers`, a GGUF file or llm.c's .bin file, and words about what that format cannot hold. The weights
are the same bits, but where a kind of fewer bits is asked for. Next: storage/measured.py.
"""

import os

from .. import files
from ..errors import FileError, InputError, check_choice, printable
from . import checkpoint, formats
from .gguf import save_gguf
from .llmc import N_VOCAB, save_llmc
from .registry import resolve, resolve_adapter

KINDS = {"hf": ("f32", "f16"), "gguf": ("f32", "f16", "q8_0"), "llmc": ("f32",)}  # the first is the default


def convert(source, out, to, kind=None, adapter=None):
    """Write the model `source` to `out` -> a list of lines about what the format cannot hold.

    `to`: "hf", "gguf" or "llmc"; `kind` of weights: see KINDS. `adapter`: a LoRA adapter's
    folder or name, merged into the weights. InputError where the format has no place for the model,
    FileError where something stands at `out` already, or the model does not open; then nothing has been written.
    """
    check_choice("to", to, tuple(KINDS))
    kind = KINDS[to][0] if kind is None else kind
    if kind not in KINDS[to]:
        raise InputError(f"type: expected {' or '.join(KINDS[to])} for {to}, got {printable(kind)}")
    out = files.as_path(out, "out")
    _check_free(out, to)
    place = resolve(files.as_path(source, "model"))
    folder = None if adapter is None else resolve_adapter(files.as_path(adapter, "adapter"))
    config, params, tokenizer = formats.load(place, adapter=folder)
    trained, generation = formats.trained_with(place), _generation(place)
    if to == "hf":
        dtype = {"f32": "float32", "f16": "float16"}[kind]
        checkpoint.save(out, config, params, tokenizer, dtype, trained, generation)
        return []
    if to == "gguf":
        save_gguf(out, config, params, tokenizer, kind.upper())
    else:
        save_llmc(out, config, params, tokenizer)
    return list(_lost(config, tokenizer, trained, generation, to))


def _generation(place):
    """How the model likes to be sampled, as its directory says it; {} where it does not, as no file can."""
    path = place / checkpoint.GENERATION
    return files.read_json(path, checkpoint.MAX_CONFIG) if place.is_dir() and path.exists() else {}


def _check_free(out, to):
    """Nothing is ever replaced: a file that stands there may be the only one of its kind."""
    is_empty_folder = to == "hf" and out.is_dir() and not os.listdir(out)
    if os.path.lexists(out) and not is_empty_folder:
        what = "an empty folder or nothing" if to == "hf" else "nothing"
        raise FileError(f"{files.short(out)}: expected {what} there, got something; choose another name, or remove it")


def _lost(config, tokenizer, trained, generation, to):
    """What a file of GGUF or llm.c has no place for, a line each."""
    file = {"gguf": "a GGUF file", "llmc": "llm.c's file"}[to]
    if to == "gguf" and tokenizer is None:
        yield "the model has no vocabulary, without which llama.cpp says nothing"
    if to == "llmc" and tokenizer is not None and config.n_vocab != N_VOCAB:
        yield f"{file} holds no vocabulary; keep vocab.json and merges.txt"
    if to == "llmc" and config.eos_id is not None and config.n_vocab != N_VOCAB:
        yield f"{file} does not say that token {config.eos_id} ends a text"
    if config.more_eos_ids:
        yield f"{file} does not say that {', '.join(map(str, config.more_eos_ids))} end a text too"
    if config.positions == "sinusoidal":
        yield f"{file} knows learned positions only; the sinusoidal table stands in their place"
    if config.dropout:
        yield f"{file} does not say that the model was trained with dropout {config.dropout}"
    if generation:
        yield f"{file} does not say what {checkpoint.GENERATION} does: how to sample, and what ends a text"
    if trained is not None:
        yield f"the model was trained with the ops of {printable(trained)}, which {file} does not say"
