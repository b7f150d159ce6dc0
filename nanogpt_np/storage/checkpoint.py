"""A directory on disk <-> (config, params, tokenizer), in the layout of the `transformers` library.

Enter: a directory with config.json, model.safetensors (or its shards), vocab.json, merges.txt. Leave: the three,
checked against each other; float32 weights are mapped, not read, so opening takes no time and no memory.
The way back writes what `transformers` opens. No pickle is ever loaded. Next: storage/urls.py.
"""

import mmap
import re
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from .. import files, ops
from ..config import GPTConfig
from ..errors import FileError, InputError
from ..params import STD, check, nest, shapes, walk
from ..tokenizer.bpe import Tokenizer
from .header import read_header, sort_metadata

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
VOCABULARY = ("vocab.json", "merges.txt")

# the format's dtypes that can hold weights -> how NumPy reads them; BF16 is the upper half of a float32
_STORED = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8"}

# the causal masks that older `transformers` stored beside the weights; the model draws its own
_MASK = re.compile(r"h\.\d+\.attn\.(masked_)?bias")

# what changes the arithmetic but not one shape: written into the weights file too, so that a config.json of
# another save (the machine stopped between two files) is noticed
_STAMPED = ("n_head", "activation", "positions", "layer_norm_eps", "tie_word_embeddings")

# modules of ops that are one definition, however they compute it
_TWINS = ("nanogpt_np.ops", "nanogpt_np.kernels", "nanogpt_np.quantized")


def own_ops(ops):
    """The name of a module of ops from outside the package; None for the package's own, which compute the same."""
    name = getattr(ops, "__name__", type(ops).__name__)
    return None if name in _TWINS else name


def save(directory, config, params, tokenizer=None, dtype="float32", ops=ops):
    """Write a model directory that load() and `transformers` open: float32 or float16 weights [n_in, n_out].

    `ops`, the module the weights were trained with, leaves its name in the file where it is none of the package's.

    Every file is written whole or not at all, and the weights appear last. A crash between two files leaves the
    old weights beside the new config or vocabulary, which load() notices by what save() stamps into the weights.
    Raises InputError where params, tokenizer and config do not fit together, FileError where the disk refuses.
    """
    directory = Path(directory)
    _check_saveable(directory, config, params, tokenizer, dtype)
    tensors = _named_tensors(config, params, dtype)
    metadata = {"format": "pt", **_stamp(config)}  # "pt": `transformers` refuses files that do not say so
    if tokenizer is not None:
        metadata["tokenizer_fingerprint"] = tokenizer.fingerprint
    if name := own_ops(ops):
        metadata["own_ops"] = name
    files.make_folder(directory)
    with files.replacing(directory / WEIGHTS) as part:
        # the large file first (a full disk shows here, before anything has changed), its new name last
        try:
            save_file(tensors, part, metadata)
            sort_metadata(part)
        except SafetensorError as error:
            raise FileError(f"{directory / WEIGHTS}: cannot be written ({error}); free some space") from error
        if tokenizer is not None:
            tokenizer.save(directory)
        files.write_json(directory / CONFIG, {**config.to_dict(), "torch_dtype": dtype})


def _check_saveable(directory, config, params, tokenizer, dtype):
    if dtype not in ("float32", "float16"):
        raise InputError(f"dtype: expected 'float32' or 'float16', got {dtype!r}")
    check(params, config)
    if tokenizer is not None and tokenizer.n_vocab > config.n_vocab:
        raise InputError(
            f"tokenizer: expected at most n_vocab = {config.n_vocab} tokens, got {tokenizer.n_vocab}; "
            "save the tokenizer that the model was trained with"
        )
    if tokenizer is None and (old := [name for name in VOCABULARY if (directory / name).exists()]):
        raise InputError(
            f"{directory}: holds {old[0]} of an earlier model, and no tokenizer was given to replace it; "
            "give one, remove that file, or choose another folder"
        )


def _named_tensors(config, params, dtype):
    """The arrays under the names of GPT2LMHeadModel: everything but the head stands under "transformer."."""
    named = dict(walk(params))
    if config.positions == "sinusoidal":  # no parameters here; `transformers` needs them as a table
        named["wpe.weight"] = _position_table(config)
    found = {}
    for name, array in named.items():
        prefix = "" if name == "lm_head.weight" else "transformer."
        with np.errstate(over="ignore"):  # looked at below, by name
            found[prefix + name] = stored = np.ascontiguousarray(array, dtype)
        if dtype == "float16" and np.isinf(stored).any():
            raise InputError(f"{name}: expected values within float16's ±65,504, got larger; save as float32")
    return found


def _position_table(config):  # -> [n_ctx, n_embd]
    """What model.embed adds to a token at each position."""
    return STD * _whole_sines(config)


def _whole_sines(config):  # -> [n_ctx, n_embd]
    return ops.sinusoidal_positions(np.arange(config.n_ctx), config.n_embd, np.float32)


def _stamp(config):
    return {name: str(getattr(config, name)) for name in _STAMPED}


def load(directory, dtype=np.float32, keep=None):
    """Open a model directory: (GPTConfig, params as a nested dict of `dtype` arrays, Tokenizer or None).

    Weights stored as `dtype` are mapped copy-on-write: they can be changed in memory, the file stays as it is.
    Others (float16, bfloat16, float64, or a file that is not aligned, as the published GPT-2) are converted one
    by one. `keep(name, array, config, give_back)` may return something else to keep of each tensor, and call
    give_back() on the way, which frees the memory behind what has been read. A model with sinusoidal positions from
    when sines were not scaled opens with that table as learned positions, and so computes what it did.
    Raises FileError, naming file and tensor, where anything is missing, broken or does not fit together.
    """
    dtype = np.dtype(dtype)
    if dtype.kind != "f":
        raise InputError(f"dtype: expected a float dtype such as float32, got {dtype}")
    directory = Path(directory)
    config = read_config(directory)
    tensors, metadata = _collect(_weight_files(directory))
    _check_stamp(directory, config, metadata)
    tokenizer = _read_tokenizer(directory, config, metadata)
    expected = _check_tensors(directory, config, tensors)
    maps = {path: np.memmap(path, np.uint8, mode="c") for path in {path for path, _ in tensors.values()}}

    def read(name):
        path, info = tensors[name]
        return _array(maps[path], info, dtype)

    if config.positions == "sinusoidal" and "wpe.weight" in tensors and _has_whole_sines(config, read("wpe.weight")):
        config = config.replace(positions="learned")  # with the table as its wpe, it computes what it was trained to
        expected = shapes(config)
    for name in tensors.keys() & _DOUBLES - expected.keys():
        _check_double(directory, config, read, name)
    if keep is None:
        return config, nest({name: read(name) for name in expected}), tokenizer

    def give_back():
        _give_back(maps.values())

    named = {name: keep(name, read(name), config, give_back) for name in expected}
    return config, nest(named), tokenizer


def read_config(directory):
    """The GPTConfig of a model directory; FileError where there is none, or a broken one."""
    directory = Path(directory)
    if not directory.is_dir():
        raise FileError(f"{directory}: expected a model directory, found none; check the name")
    path = directory / CONFIG
    if not path.exists():
        raise FileError(f"{directory}: expected {CONFIG} in it, found none; this is not a model directory")
    try:
        return GPTConfig.from_dict(files.read_json(path))
    except FileError:
        raise
    except InputError as error:
        raise FileError(f"{path}: {error}") from error


def trained_with(directory):
    """The own_ops() that save() was told, a str, or None where it was told none; FileError as for load()."""
    return _collect(_weight_files(Path(directory)))[1].get("own_ops")


def _weight_files(directory):
    """The weights as a list of paths: one file, or the shards that an index lists."""
    if (directory / WEIGHTS).exists():
        return [directory / WEIGHTS]
    if (directory / INDEX).exists():
        return _shards(directory / INDEX)
    if any(directory.glob("*.bin")):
        raise FileError(
            f"{directory}: expected {WEIGHTS}, found only pickled weights (*.bin), which can run code and are never "
            "loaded; open them with transformers and call save_pretrained(directory, safe_serialization=True)"
        )
    raise FileError(f"{directory}: expected {WEIGHTS} in it, found none; copy or download the weights there")


def _shards(index):
    raw = files.read_json(index)
    names = raw.get("weight_map") if isinstance(raw, dict) else None
    if not isinstance(names, dict) or not names:
        raise FileError(f"{index}: expected a weight_map (tensor -> file), found none; download the file again")
    for name in names.values():
        # a name, not a path: an index must not reach outside its folder
        if not isinstance(name, str) or not re.fullmatch(r"[\w-][\w.-]*\.safetensors", name):
            raise FileError(f"{index}: expected names of .safetensors files, got {name!r}; download the file again")
    return [index.parent / name for name in sorted(set(names.values()))]


def _collect(paths):
    """All tensors of all files, names without "transformer.": ({name: (path, TensorInfo)}, metadata)."""
    tensors, metadata = {}, {}
    for header in map(read_header, paths):
        metadata |= header.metadata
        for stored_name, info in header.tensors.items():
            name = stored_name.removeprefix("transformer.")
            if name in tensors:
                raise FileError(f"{header.path}: {name}: expected once, got twice; download the files again")
            tensors[name] = header.path, info
    return tensors, metadata


def _check_stamp(directory, config, metadata):
    for name, value in _stamp(config).items():
        if metadata.get(name, value) != value:
            raise FileError(
                f"{directory}: {CONFIG} says {name} = {value}, {WEIGHTS} was saved with {metadata[name]}; "
                "the two are not of one save, copy both again"
            )


def _read_tokenizer(directory, config, metadata):
    found = [name for name in VOCABULARY if (directory / name).exists()]
    if not found:
        return None
    if len(found) == 1:
        (missing,) = set(VOCABULARY) - set(found)
        raise FileError(f"{directory}: expected {missing} beside {found[0]}, found none; copy both, or neither")
    tokenizer = Tokenizer.load(directory)
    if tokenizer.n_vocab > config.n_vocab:  # fewer are fine: rows are often padded to a round number
        raise FileError(
            f"{directory}: expected a vocabulary of at most n_vocab = {config.n_vocab} tokens, "
            f"got {tokenizer.n_vocab}; copy the vocabulary files that belong to this model"
        )
    fingerprint = metadata.get("tokenizer_fingerprint", tokenizer.fingerprint)
    if fingerprint != tokenizer.fingerprint:
        raise FileError(
            f"{directory}: expected the vocabulary with fingerprint {fingerprint[:64]}, got {tokenizer.fingerprint}; "
            "the weights were saved with another tokenizer, copy its vocab.json and merges.txt"
        )
    return tokenizer


_BFLOAT16 = 2**-8  # the coarsest of the stored dtypes rounds values up to 1 by at most half of this

# tensors that repeat what the params already say, where a config makes them so: dropped after a look
_DOUBLES = {"lm_head.weight", "wpe.weight"}


def _check_tensors(directory, config, tensors):
    """The names that the config asks for, once the file is known to hold exactly them, with their shapes."""
    for i in range(config.n_layer):  # before shapes(): a config that lies must not make us list a billion layers
        if f"h.{i}.ln_1.weight" not in tensors:
            raise _wrong(directory, f"h.{i}.ln_1.weight", f"{config.n_layer} layers as {CONFIG} says", f"{i}")
    expected = shapes(config)
    if missing := [name for name in expected if name not in tensors]:
        raise _wrong(directory, missing[0], "the tensor", f"none ({len(missing)} missing in all)")
    table = {"lm_head.weight": expected["wte.weight"], "wpe.weight": (config.n_ctx, config.n_embd), **expected}
    for name, (path, info) in tensors.items():
        if name not in table:
            if _MASK.fullmatch(name) and len(info.shape) in (0, 4):
                continue
            raise _wrong(path, name, f"only the tensors of a GPT-2 with {config.n_layer} layers", "this one as well")
        if info.shape != table[name]:
            raise _wrong(path, name, f"shape {list(table[name])}", f"{list(info.shape)}")
        if info.dtype not in _STORED:
            raise _wrong(path, name, f"a dtype of {', '.join(_STORED)}", info.dtype)
    return expected


def _wrong(path, name, expected, got):
    name = name if name.isprintable() else repr(name)
    return FileError(
        f"{path}: {name[:80]}: expected {expected}, got {got}; config and weights must be of one GPT-2, copy both again"
    )


def _array(mapped, info, dtype):
    """One tensor of a mapped file as `dtype`: the mapped bytes themselves where they are that already."""
    view = np.asarray(mapped[info.start : info.end]).view(_STORED[info.dtype]).reshape(info.shape)
    if info.dtype == "BF16":
        view = (view.astype("<u4") << 16).view("<f4")
    if view.dtype == dtype and view.flags.aligned:
        return view
    return np.array(view, dtype)  # also where unaligned: BLAS would copy it again in every single call


def _give_back(maps):
    """Let go of the memory behind mapped files; what is read again comes from the file again."""
    if hasattr(mmap, "MADV_DONTNEED"):
        for mapped in maps:
            mapped._mmap.madvise(mmap.MADV_DONTNEED)  # NumPy has no public name for it


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
        same = np.allclose(stored, _position_table(config), rtol=0, atol=STD * _BFLOAT16)
        advice = 'the sinusoidal table, as position_embedding promises; set it to "learned"'
    if not same:
        raise FileError(f"{directory}: {name}: expected its values to be {advice} in {CONFIG}")
