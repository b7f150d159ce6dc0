"""A directory on disk <-> (config, params, tokenizer), in the layout of the `transformers` library.

Enter: a directory with config.json, model.safetensors (or its shards), vocabulary files; or with OpenAI's own files.
Leave: the three, checked against each other; float32 weights are mapped, not read, so opening takes no time and no
memory. The way back writes what `transformers` opens. No pickle is ever loaded. Next: storage/gguf_header.py.
"""

import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from .. import files, ops
from ..config import GPTConfig
from ..errors import FileError, InputError, printable
from ..params import STD, check, shapes, walk
from ..tokenizer.bpe import Tokenizer
from ..tokenizer.reading import ADDED, MERGES, VOCAB, WHOLE, pair_of, present
from . import adapter, nanogpt, pickled, tensorflow
from .contents import CONFIG, STORED, check_tensors
from .header import read_header, sort_metadata
from .mapped import float_dtype, map_file, take_all, to_array
from .together import replacing_together

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
GENERATION = "generation_config.json"
VOCABULARY = (VOCAB, MERGES)
MAX_CONFIG, MAX_INDEX = 1 << 20, 4 << 20  # bytes; published ones have 1 kB, and 100 kB for 96 layers in shards
PADDING = 128  # rows without a token: vocabularies are padded to a multiple of 64 or of this

# what changes the arithmetic but not one shape: written into the weights file too, so that a config.json that was
# copied from another model is noticed
_STAMPED = ("n_head", "activation", "positions", "layer_norm_eps", "tie_word_embeddings")

# modules of ops that are one definition, however they compute it
_TWINS = ("nanogpt_np.ops", "nanogpt_np.kernels", "nanogpt_np.quantized", "nanogpt_np.quantized.int4")


class Beside(NamedTuple):
    """What a model for a task carries beside GPT-2's own: tensors by name, and entries of config.json."""

    tensors: dict
    config: dict


def own_ops(ops):
    """The name of a module of ops from outside the package; None for the package's own, which compute the same."""
    name = getattr(ops, "__name__", type(ops).__name__)
    return None if name in _TWINS else name


def save(
    directory, config, params, tokenizer=None, dtype="float32", trained_with=None, generation=None, beside=None
):  # fmt: skip
    """Write a model directory that load() and `transformers` open: float32 or float16 weights [n_in, n_out].

    `trained_with`: own_ops() of the module that the weights were trained with; a name is written into the file.
    `generation`: what generation_config.json is to say; of an earlier model's nothing is left where it says nothing.
    `beside`: a Beside, of a model for a task.
    Every file is written whole or not at all, and all of them change as one: whenever the machine stops, the
    directory then opens as the old model, as the new one, or is refused for its missing config.json.
    Raises InputError where params, tokenizer and config do not fit together, FileError where the disk refuses.
    """
    directory = Path(directory)
    _check_saveable(directory, config, params, tokenizer, dtype)
    tensors = _named_tensors(config, params, dtype, beside.tensors if beside else {})
    metadata = {"format": "pt", **_stamp(config)}  # "pt": `transformers` refuses files that do not say so
    texts = {CONFIG: files.to_json({**config.to_dict(), **(beside.config if beside else {}), "torch_dtype": dtype})}
    if tokenizer is not None:
        metadata["tokenizer_fingerprint"] = tokenizer.fingerprint
        texts |= tokenizer.to_files()
    if trained_with is not None:
        metadata["own_ops"] = trained_with
    if generation:
        texts[GENERATION] = files.to_json(generation)
    files.make_folder(directory)
    old = [ADDED, WHOLE] if generation else [ADDED, WHOLE, GENERATION]
    stale = [name for name in old if (directory / name).exists()]  # of an earlier model
    with replacing_together(directory, CONFIG, texts, WEIGHTS, stale) as part:
        try:
            save_file(tensors, part, metadata)
            sort_metadata(part)
        except SafetensorError as error:
            where, reason = files.short(directory / WEIGHTS), printable(str(error))
            raise FileError(f"{where}: cannot be written ({reason}); free some space") from error


def _check_saveable(directory, config, params, tokenizer, dtype):
    if dtype not in ("float32", "float16"):
        raise InputError(f"dtype: expected 'float32' or 'float16', got '{printable(dtype)}'")
    check(params, config)
    if tokenizer is not None and tokenizer.n_vocab > config.n_vocab:
        raise InputError(
            f"tokenizer: expected at most n_vocab = {config.n_vocab} tokens, got {tokenizer.n_vocab}; "
            "save the tokenizer that the model was trained with"
        )
    if tokenizer is None and (old := present(directory)):
        raise InputError(
            f"{files.short(directory)}: holds {old[0]} of an earlier model, and no tokenizer was given to replace it; "
            "give one, remove that file, or choose another folder"
        )


def _named_tensors(config, params, dtype, beside):
    """The arrays under the names of GPT2LMHeadModel: everything but a head stands under "transformer."."""
    named = {**dict(walk(params)), **beside}
    if config.positions == "sinusoidal":  # no parameters here; `transformers` needs them as a table
        named["wpe.weight"] = position_table(config)
    found = {}
    for name, array in named.items():
        prefix = "" if name == "lm_head.weight" or name in beside else "transformer."
        with np.errstate(over="ignore"):  # looked at below, by name
            found[prefix + name] = stored = np.ascontiguousarray(array, dtype)
        if dtype == "float16" and np.isinf(stored).any():
            raise InputError(f"{name}: expected values within float16's ±65,504, got larger; save as float32")
    return found


def position_table(config):  # -> [n_ctx, n_embd]
    """What model.embed adds to a token at each position."""
    return STD * _whole_sines(config)


def _whole_sines(config):  # -> [n_ctx, n_embd]
    return ops.sinusoidal_positions(np.arange(config.n_ctx), config.n_embd, np.float32)


def _stamp(config):
    return {name: str(getattr(config, name)) for name in _STAMPED}


def load(directory, dtype=np.float32, keep=None, copy=False, beside=()):
    """Open a model directory: (GPTConfig, params as a nested dict of `dtype` arrays, Tokenizer or None).

    The layout is that of `transformers`, also with minGPT's and nanoGPT's linear layers, or OpenAI's of TensorFlow.
    Weights stored as `dtype` are mapped copy-on-write: they can be changed in memory, the file stays as it is; with
    `copy` they are read instead, and do without the file from then on.
    Others (float16, bfloat16, float64, or a file that is not aligned, as the published GPT-2) are converted one
    by one. `keep(name, array, config, give_back)` may return something else to keep of each tensor, and call
    give_back() on the way, which frees the memory behind what has been read. A model with sinusoidal positions from
    when sines were not scaled opens with that table as learned positions, and so computes what it did.
    `beside`: names of tensors that may stand there too, see read_beside().
    Raises FileError, naming file and tensor, where anything is missing, broken or does not fit together.
    """
    dtype, directory = float_dtype(dtype), Path(directory)
    config = read_config(directory)
    tensors, metadata = find_tensors(directory)
    tensors = {name: place for name, place in tensors.items() if name not in beside}
    tensors = nanogpt.as_published(config, tensors)
    _check_stamp(directory, config, metadata)
    tokenizer = _read_tokenizer(directory, config, metadata)
    expected = check_tensors(directory, config, tensors)
    maps = {path: map_file(path) for path in {path for path, _ in tensors.values() if path}}

    def read(name):
        path, info = tensors[name]
        if path is None:
            return np.zeros(info.shape, dtype)  # a bias that a model does without
        tensorflow.check_data(path, name, info, maps[path])
        return to_array(maps[path], info, dtype, copy)

    if config.positions == "sinusoidal" and "wpe.weight" in tensors and _has_whole_sines(config, read("wpe.weight")):
        config = config.replace(positions="learned")  # with the table as its wpe, it computes what it was trained to
        expected = shapes(config)
    for name in tensors.keys() & _DOUBLES - expected.keys():
        _check_double(directory, config, read, name)
    return config, take_all(expected, read, config, keep, maps.values()), tokenizer


def read_beside(directory, name, shape):
    """A tensor that stands beside GPT-2's own, float32 of that shape; FileError where it is missing, or another."""
    tensors, _ = find_tensors(directory)
    path, info = tensors.get(name, (Path(directory), None))
    got = "none" if info is None else f"{info.dtype} {list(info.shape)}"
    if info is None or info.shape != shape or info.dtype not in STORED:
        raise FileError(f"{files.short(path)}: {name}: expected floats {list(shape)}, got {got}; copy the files again")
    return to_array(map_file(path), info, np.dtype(np.float32), False)


def read_config(directory):
    """The GPTConfig of a model directory; FileError where there is none, or a broken one."""
    directory = Path(directory)
    if directory.is_file():
        advice = f"make one of it first: nanogpt-np convert {printable(directory.name)} DIRECTORY --to hf"
        raise FileError(f"{files.short(directory)}: expected a model directory, got a file; {advice}")
    if not directory.is_dir():
        raise FileError(f"{files.short(directory)}: expected a model directory, found none; check the name")
    if tensorflow.is_here(directory):
        return tensorflow.read_hparams(directory)
    path = directory / CONFIG
    if not path.exists():
        if (directory / adapter.CONFIG).exists():
            where = files.short(directory)
            raise FileError(f"{where}: expected a model, got a LoRA adapter; open its base with --adapter {where}")
        raise pickled.refusal(directory) or FileError(
            f"{files.short(directory)}: expected {CONFIG} in it, found none; this is not a model directory, or saving "
            "a model in it broke off: save it again"
        )
    try:
        return GPTConfig.from_dict(nanogpt.translated(files.read_json(path, MAX_CONFIG)))
    except FileError:
        raise
    except InputError as error:
        raise FileError(f"{files.short(path)}: {error}") from error


def trained_with(directory):
    """The own_ops() that save() was told, a str, or None where it was told none; FileError as for load()."""
    return find_tensors(directory)[1].get("own_ops")


def find_tensors(directory):
    """What a directory's files of weights list: ({name: (path, TensorInfo)}, metadata); FileError as for load()."""
    directory = Path(directory)
    if tensorflow.is_here(directory):
        return tensorflow.read_index(directory), {}
    return _collect(_weight_files(directory))


def _weight_files(directory):
    """The weights as a list of paths: one file, or the shards that an index lists."""
    if (directory / WEIGHTS).exists():
        return [directory / WEIGHTS]
    if (directory / INDEX).exists():
        return _shards(directory / INDEX)
    where = files.short(directory)
    missing = FileError(f"{where}: expected {WEIGHTS} in it, found none; copy or download the weights there")
    raise pickled.refusal(directory) or missing


def _shards(index):
    raw = files.read_json(index, MAX_INDEX)
    names = raw.get("weight_map") if isinstance(raw, dict) else None
    where, advice = files.short(index), "download the file again"
    if not isinstance(names, dict) or not names:
        raise FileError(f"{where}: expected a weight_map (tensor -> file), found none; {advice}")
    for name in names.values():
        # a name, not a path: an index must not reach outside its folder
        if not isinstance(name, str) or not re.fullmatch(r"[\w-][\w.-]{0,100}\.safetensors", name):
            raise FileError(f"{where}: expected names of .safetensors files, got {printable(name)}; {advice}")
    return [index.parent / name for name in sorted(set(names.values()))]


def _collect(paths):
    """All tensors of all files, names without "transformer." and the like: ({name: (path, TensorInfo)}, metadata)."""
    tensors, metadata = {}, {}
    for header in map(read_header, paths):
        metadata |= header.metadata
        for stored_name, info in header.tensors.items():
            name = nanogpt.plain_name(stored_name)
            if name in tensors:
                where = f"{files.short(header.path)}: {printable(name)}"
                raise FileError(f"{where}: expected once, got twice; download the files again")
            tensors[name] = header.path, info
    return tensors, metadata


def _check_stamp(directory, config, metadata):
    for name, value in _stamp(config).items():
        if metadata.get(name, value) != value:
            raise FileError(
                f"{files.short(directory)}: {CONFIG} says {name} = {value}, {WEIGHTS} was saved with "
                f"{printable(metadata[name])}; the two are not of one save, copy both again"
            )


def _read_tokenizer(directory, config, metadata):
    found = present(directory)
    pair = pair_of(found)
    if WHOLE not in found and not set(pair) & set(found):
        return None
    if WHOLE not in found and (missing := [name for name in pair if name not in found]):
        raise FileError(
            f"{files.short(directory)}: expected {missing[0]} beside {found[0]}, found none; copy both, or neither"
        )
    tokenizer = Tokenizer.load(directory)
    if tokenizer.n_vocab > config.n_vocab:
        raise FileError(
            f"{files.short(directory)}: expected a vocabulary of at most n_vocab = {config.n_vocab} tokens, "
            f"got {tokenizer.n_vocab}; copy the vocabulary files that belong to this model"
        )
    fingerprint = metadata.get("tokenizer_fingerprint")
    if fingerprint is None:
        _warn_of_strangers(directory, config, tokenizer)
    elif fingerprint != tokenizer.fingerprint:
        raise FileError(
            f"{files.short(directory)}: expected the vocabulary with fingerprint {printable(fingerprint, 32)}, got "
            f"{tokenizer.fingerprint}; the weights were saved with another tokenizer, copy its vocabulary files"
        )
    return tokenizer


def _warn_of_strangers(directory, config, tokenizer):
    """Where nothing says that a vocabulary is this model's own, far fewer tokens than rows make it unlikely."""
    if config.n_vocab - tokenizer.n_vocab >= PADDING:
        warnings.warn(
            f"{files.short(directory)}: the model has {config.n_vocab:,} rows for tokens, its vocabulary files "
            f"{tokenizer.n_vocab:,} tokens; if it speaks gibberish, copy the files that belong to it",
            stacklevel=2,
        )


_BFLOAT16 = 2**-8  # the coarsest of the stored dtypes rounds values up to 1 by at most half of this

# tensors that repeat what the params already say, where a config makes them so: dropped after a look
_DOUBLES = {"lm_head.weight", "wpe.weight"}


def _has_whole_sines(config, stored):
    """Is this the table of a model from when sines were added to tokens at their full size?"""
    return np.allclose(stored, _whole_sines(config), rtol=0, atol=_BFLOAT16)


def _check_double(directory, config, read, name):
    """A tied head or a table of fixed positions may be stored too, but only as what the model will compute."""
    stored = read(name)
    if name == "lm_head.weight":
        same = np.array_equal(stored, read("wte.weight"), equal_nan=True)
        advice = "those of wte.weight, as tie_word_embeddings = true promises; set it to false"
    else:
        same = np.allclose(stored, position_table(config), rtol=0, atol=STD * _BFLOAT16)
        advice = 'the sinusoidal table, as position_embedding promises; set it to "learned"'
    if not same:
        raise FileError(f"{files.short(directory)}: {name}: expected its values to be {advice} in {CONFIG}")
