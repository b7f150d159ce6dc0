"""llm.c's .bin <-> (config, params), and its debug state: what PyTorch computed of a model, for comparing.

A file is 256 whole numbers of 32 bits, then all parameters without a word between: wte, wpe, then each kind of
parameter for all blocks, ln_f. Linear weights are stored [n_out, n_in], wte is filled up to a multiple of 128 rows.
Enter: a .bin file, or a model. Leave: the model, float32 weights mapped; or a file. Next: storage/formats.py.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import files
from ..config import GPTConfig
from ..errors import FileError, InputError, printable
from ..params import check, nest, shapes, size, walk
from ..tokenizer.bpe import Tokenizer
from .checkpoint import PADDING, position_table
from .contents import is_linear
from .header import ITEM_BYTES, TensorInfo
from .mapped import float_dtype, map_file, take_all, to_array

MAGIC, STATE_MAGIC, STATE_VERSION = 20240326, 20240327, 2
VERSIONS = {3: "F32", 5: "BF16"}
HEADER = 256 * 4  # bytes
N_VOCAB, EOS_ID = 50257, 50256  # the one vocabulary that llm.c's own programs know, GPT-2's, and its <|endoftext|>

PARTS = tuple(  # of a block, in the order of the file
    f"{part}.{leaf}"
    for part in ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
    for leaf in ("weight", "bias")
)


class State(NamedTuple):
    """llm.c's debug state: ids and targets int32 [n_batch, n_seq], logits, loss, and grads as nested as params."""

    ids: np.ndarray
    targets: np.ndarray
    logits: np.ndarray  # float32 [n_batch, n_seq, n_vocab]
    loss: float
    grads: dict


# ---------------------------------------------------------------- to open


def read_config(path):
    """The GPTConfig of llm.c's file; FileError where it is broken, or of a version that this cannot read."""
    return _read_header(path)[0]


def read_dtypes(path):
    """How the weights are stored: ["F32"] or ["BF16"]"""
    return [_read_header(path)[1]]


def read_tokenizer(path):
    """GPT-2's published vocabulary for a model of 50,257 tokens, as in llm.c; None for others: the file holds none."""
    return Tokenizer.gpt2() if read_config(path).n_vocab == N_VOCAB else None


def load(path, dtype=np.float32, keep=None, copy=False):
    """Open llm.c's file: (GPTConfig, params as a nested dict of `dtype` arrays, Tokenizer or None: read_tokenizer).

    As checkpoint.load, also for `keep` and `copy`. Weights of version 3 (float32) are mapped, matrices of linear layers
    then lie by output; those of version 5 (bfloat16) are made float32. FileError where the file is not as long as its
    header says.
    """
    dtype, path = float_dtype(dtype), Path(path)
    config, stored = _read_header(path)
    mapped, places = map_file(path), _places(config, stored, HEADER)

    def read(name):
        array = to_array(mapped, places[name], dtype, copy)
        return array.T if is_linear(name) else array

    return config, take_all(shapes(config), read, config, keep, [mapped]), read_tokenizer(path)


def _read_header(path):  # -> config, the dtype of what follows
    numbers, n_bytes = _numbers(path)
    if numbers[0] != MAGIC:
        raise _broken(path, "number 0", f"{MAGIC} of a model", numbers[0])
    if numbers[1] not in VERSIONS:
        wanted = " or ".join(f"{version} ({stored})" for version, stored in VERSIONS.items())
        raise _broken(path, "version", wanted, numbers[1])
    n_ctx, n_vocab, n_layer, n_head, n_embd, n_rows = numbers[2:8]
    eos_id = EOS_ID if n_vocab == N_VOCAB else None
    try:
        config = GPTConfig(
            n_vocab=n_vocab, n_ctx=n_ctx, n_embd=n_embd, n_layer=n_layer, n_head=n_head, eos_id=eos_id
        )
    except InputError as error:
        raise FileError(f"{files.short(path)}: {error}") from error
    if n_rows != _padded(n_vocab):
        raise _broken(path, "rows of wte", f"{_padded(n_vocab):,}, {n_vocab:,} filled up to a multiple of 128", n_rows)
    _check_size(path, HEADER + _n_numbers(config) * ITEM_BYTES[VERSIONS[numbers[1]]], n_bytes)
    return config, VERSIONS[numbers[1]]


def _numbers(path):  # -> the 256 numbers of the header, the size of the file
    try:
        with files.open_regular(path) as file:
            n_bytes = file.seek(0, 2)
            file.seek(0)
            data = file.read(HEADER)
    except OSError as error:
        raise files.cannot_read(path, error) from error
    if len(data) < HEADER:
        raise _broken(path, "header", f"{HEADER:,} bytes", f"{len(data):,}")
    return np.frombuffer(data, "<i4").tolist(), n_bytes


def _check_size(path, expected, got):
    if got != expected:
        raise _broken(path, "the whole file", f"{expected:,} bytes as its header says", f"{got:,}")


def _broken(path, what, expected, got):
    advice = "copy the file again, or write it with llm.c's train_gpt2.py"
    return FileError(f"{files.short(path)}: {what}: expected {printable(expected)}, got {printable(got)}; {advice}")


def _padded(n_vocab):
    return -(-n_vocab // PADDING) * PADDING


def _n_numbers(config):
    """How many numbers a file holds; counted without listing them, as a header may claim a billion blocks."""
    return size(config) + (_padded(config.n_vocab) - config.n_vocab) * config.n_embd


def _order(config):
    """The names of all parameters as they follow each other."""
    blocks = (f"h.{i}.{part}" for part in PARTS for i in range(config.n_layer))
    return ["wte.weight", "wpe.weight", *blocks, "ln_f.weight", "ln_f.bias"]


def _places(config, stored, start):
    """name -> TensorInfo, the first at byte `start`; the rows that fill up wte belong to nobody."""
    known, found = shapes(config), {}
    for name in _order(config):
        shape = known[name][::-1] if is_linear(name) else known[name]
        end = start + math.prod(shape) * ITEM_BYTES[stored]
        found[name] = TensorInfo(stored, shape, start, end)
        start = end
        if name == "wte.weight":
            start += (_padded(config.n_vocab) - config.n_vocab) * config.n_embd * ITEM_BYTES[stored]
    return found


def read_state(path, config):
    """llm.c's debug state for a model of this config, a State of arrays in memory of their own.

    What it holds is what PyTorch computed: the logits and the mean loss of ids and targets, and the gradient of every
    parameter. FileError where the file is broken, or of another model.
    """
    numbers, n_bytes = _numbers(path)
    if numbers[0] != STATE_MAGIC or numbers[1] != STATE_VERSION:
        got = f"{numbers[0]}, {numbers[1]}"
        raise _broken(path, "numbers 0 and 1", f"{STATE_MAGIC}, {STATE_VERSION} of a debug state", got)
    n_batch, n_seq = numbers[2:4]
    if n_batch < 1 or not 1 <= n_seq <= config.n_ctx:
        raise _broken(path, "ids", f"1 or more texts of 1 to {config.n_ctx:,} tokens", f"{n_batch:,} of {n_seq:,}")
    n_ids = n_batch * n_seq
    n_before = 2 * n_ids + n_ids * config.n_vocab + 1
    _check_size(path, HEADER + 4 * (n_before + _n_numbers(config)), n_bytes)
    data = np.fromfile(path, "<f4", offset=HEADER)
    ids, targets = data[: 2 * n_ids].view("<i4").reshape(2, n_batch, n_seq)
    for name, one in (("ids", ids), ("targets", targets)):
        if one.min() < 0 or one.max() >= config.n_vocab:
            raise _broken(path, name, f"0 to {config.n_vocab - 1:,}", f"{one.min():,} to {one.max():,}")
    logits = data[2 * n_ids : n_before - 1].reshape(n_batch, n_seq, config.n_vocab)
    return State(ids, targets, logits, float(data[n_before - 1]), _grads(data, config, 4 * n_before))


def _grads(data, config, start):
    whole, found = data.view(np.uint8), {}
    for name, info in _places(config, "F32", start).items():
        array = to_array(whole, info, np.dtype(np.float32), copy=False)
        found[name] = array.T if is_linear(name) else array
    return nest({name: found[name] for name in shapes(config)})


# ---------------------------------------------------------------- to write


def save_llmc(path, config, params, tokenizer=None):
    """Write version 3 (float32) of llm.c's file, whole or not at all.

    The file holds no vocabulary; `tokenizer` is only looked at, as 50,257 tokens are GPT-2's to whoever opens it.
    InputError where the format has no place for the model, FileError where the disk refuses.
    """
    check(params, config)
    named = dict(walk(params))
    if config.positions == "sinusoidal":  # no parameters here; llm.c needs them as a table
        named["wpe.weight"] = position_table(config)
        config = config.replace(positions="learned")
    _check_writable(config, tokenizer)
    numbers = [MAGIC, 3, config.n_ctx, config.n_vocab, config.n_layer, config.n_head, config.n_embd]
    header = np.zeros(256, "<i4")
    header[:8] = [*numbers, _padded(config.n_vocab)]
    with files.replacing(path) as part, open(part, "wb") as file:
        file.write(header.tobytes())
        for name in _order(config):
            array = named[name].T if is_linear(name) else named[name]
            np.ascontiguousarray(array, "<f4").tofile(file)
            if name == "wte.weight":
                n_more = _padded(config.n_vocab) - config.n_vocab
                np.zeros((n_more, config.n_embd), "<f4").tofile(file)


def _check_writable(config, tokenizer):
    """llm.c's file says nothing of what these are: all of its models have the same."""
    if config.is_banded:
        expected = "llm.c: expected dense attention in every layer"
        raise InputError(f"{expected}, got bands of {config.window} tokens; its file has no place for them")
    fixed = {"activation": "gelu_new", "layer_norm_eps": 1e-5, "tie_word_embeddings": True}
    fixed["n_hidden"] = 4 * config.n_embd
    for name, value in fixed.items():
        if (got := getattr(config, name)) != value:
            raise InputError(f"llm.c: expected {name} {value}, got {got}; its file has no place for another")
    if tokenizer is None or config.n_vocab != N_VOCAB:
        return
    if tokenizer.fingerprint != Tokenizer.gpt2().fingerprint:
        raise InputError(
            f"llm.c: expected GPT-2's own vocabulary for {N_VOCAB:,} tokens, got another; its file holds none, and who "
            "opens it would read the wrong one"
        )
