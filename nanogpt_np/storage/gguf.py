"""A GGUF file <-> (config, params, tokenizer): llama.cpp's format, for its architecture gpt2.

Enter: a .gguf file with its vocabulary inside. Leave: the three, checked against each other; float32 weights are
mapped. Small weights are made float32 by the library gguf, which also writes; the file is opened by hand, as the
library believes what a file says. Matrices of linear layers are stored [n_out, n_in] there. Next: storage/llmc.py.
"""

import numpy as np

from .. import files
from ..config import GPTConfig
from ..errors import FileError, InputError, check_choice
from ..params import check, shapes, walk
from .checkpoint import position_table
from .contents import STORED, is_linear
from .gguf_header import KINDS, broken, one_value, read_gguf_header
from .gguf_vocabulary import add_vocabulary, read_vocabulary
from .mapped import bytes_of, float_dtype, map_file, take_all, to_array

NAMES = {  # ours, and llama.cpp's
    "wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm", "lm_head": "output",
    "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}  # fmt: skip
WRITTEN = ("F32", "F16", "Q8_0", "Q4_0")  # the kinds that save_gguf writes
LARGEST = {"F16": 65_504.0, "Q8_0": 127 * 65_504.0, "Q4_0": 8 * 65_504.0}  # a block's scale is a float16
PER_BLOCK = {name: per_block for name, per_block, _ in KINDS.values()}

_ADVICE = "only a whole GPT-2 can be opened, as llama.cpp's own converter writes it"


def gguf_name(name):
    """gguf_name("h.3.attn.c_proj.weight") -> "blk.3.attn_output.weight" """
    place, leaf = name.rsplit(".", 1)
    if not place.startswith("h."):
        return f"{NAMES[place]}.{leaf}"
    _, block, part = place.split(".", 2)
    return f"blk.{block}.{NAMES[part]}.{leaf}"


# ---------------------------------------------------------------- to open


def read_config(path):
    """The GPTConfig of a GGUF file; FileError where it is broken, or no GPT-2's."""
    return _open(path)[1]


def read_dtypes(path):
    """The kinds of weights in a GGUF file, sorted: ["F32", "Q8_0"]"""
    return sorted({info.dtype for info in read_gguf_header(path).tensors.values()})


def read_tokenizer(path):
    """The Tokenizer in a GGUF file, or None where it holds no vocabulary."""
    header, config = _open(path)
    return read_vocabulary(header, config.n_vocab)


def load(path, dtype=np.float32, keep=None, copy=False):
    """Open a GGUF file: (GPTConfig, params as a nested dict of `dtype` arrays, Tokenizer or None).

    As checkpoint.load, also for `keep` and `copy`. Weights of F32 are mapped; matrices of linear layers then lie by
    output. A matrix for the output that repeats token_embd byte for byte, as older converters wrote it, is left out.
    FileError, naming key or tensor, where anything is missing or broken; InputError where the library gguf is missing,
    which only small weights need.
    """
    dtype, (header, config) = float_dtype(dtype), _open(path)
    mapped = map_file(path)
    tokenizer = read_vocabulary(header, config.n_vocab)
    if not config.tie_word_embeddings and _repeats(header, mapped):
        config = config.replace(tie_word_embeddings=True)

    def read(name):
        array = _read_tensor(mapped, header.tensors[gguf_name(name)], dtype, copy)
        return array.T if is_linear(name) else array

    return config, take_all(shapes(config), read, config, keep, [mapped]), tokenizer


def _open(path):  # -> header, config
    header = read_gguf_header(path)
    config = _config(header)
    _check_tensors(header, config)
    return header, config


def _config(header):
    path = header.path
    if (architecture := one_value(header, "general.architecture")) != "gpt2":
        raise broken(path, "general.architecture", "'gpt2'", architecture, _ADVICE)
    if (n_parts := one_value(header, "split.count", 1)) != 1:
        raise broken(path, "split.count", "1", n_parts, "join the parts, with llama-gguf-split --merge")
    if "token_embd.weight" not in header.tensors:
        raise broken(path, "token_embd.weight", "the tensor", "none", _ADVICE)
    n_embd, n_inner = (_number(header, key) for key in ("embedding_length", "feed_forward_length"))
    eos_id = one_value(header, "tokenizer.ggml.eos_token_id")
    try:
        return GPTConfig(
            n_vocab=header.tensors["token_embd.weight"].shape[0],
            n_ctx=_number(header, "context_length"),
            n_embd=n_embd,
            n_layer=_number(header, "block_count"),
            n_head=_number(header, "attention.head_count"),
            n_inner=None if n_inner == 4 * n_embd else n_inner,
            layer_norm_eps=_decimal(_number(header, "attention.layer_norm_epsilon", float)),
            tie_word_embeddings="output.weight" not in header.tensors,
            eos_id=eos_id,
        )
    except FileError:
        raise
    except InputError as error:
        raise FileError(f"{files.short(path)}: {error}") from error


def _number(header, key, kind=int):
    value = header.keys.get(f"gpt2.{key}")
    if type(value) is not kind:
        what = "a whole number" if kind is int else "a float"
        raise broken(header.path, f"gpt2.{key}", what, "none" if value is None else value, _ADVICE)
    return value


def _decimal(value):
    """The shortest decimal of a float32, as it was before it was rounded: _decimal(9.999999747378752e-06) -> 1e-05"""
    with np.errstate(over="ignore"):  # GPTConfig says what it thinks of infinity
        return float(str(np.float32(value)))


def _check_tensors(header, config):
    """The file holds the tensors of its config, each in its shape, and no other."""
    path, tensors = header.path, header.tensors
    for i in range(config.n_layer):  # before shapes(): a number that lies must not make us list a billion layers
        if gguf_name(f"h.{i}.ln_1.weight") not in tensors:
            raise broken(path, f"blk.{i}", f"{config.n_layer:,} blocks as gpt2.block_count says", f"{i:,}", _ADVICE)
    expected = {gguf_name(name): shape[::-1] if is_linear(name) else shape for name, shape in shapes(config).items()}
    if missing := [name for name in expected if name not in tensors]:
        raise broken(path, missing[0], "the tensor", f"none ({len(missing)} missing in all)", _ADVICE)
    for name, info in tensors.items():
        if name not in expected:
            raise broken(path, name, "only the tensors of a GPT-2", "this one as well", _ADVICE)
        if info.shape != expected[name]:
            raise broken(path, name, f"shape {list(expected[name])}", list(info.shape), _ADVICE)


def _repeats(header, mapped):
    """Is the matrix for the output token_embd again, byte for byte?"""
    one, other = (header.tensors[name] for name in ("token_embd.weight", "output.weight"))
    return one.dtype == other.dtype and np.array_equal(mapped[one.start : one.end], mapped[other.start : other.end])


def _read_tensor(mapped, info, dtype, copy):
    if info.dtype in STORED:
        return to_array(mapped, info, dtype, copy)
    gguf = gguf_library(f"weights of {info.dtype}")
    rows = bytes_of(mapped, info).reshape(*info.shape[:-1], -1)
    with np.errstate(all="ignore"):  # a scale that is no number; logits say so
        return gguf.quants.dequantize(rows, gguf.GGMLQuantizationType[info.dtype]).astype(dtype, copy=False)


def gguf_library(purpose):
    """The library gguf, imported late; InputError says how to install it."""
    try:
        import gguf
    except ImportError:
        advice = "install it with: pip install gguf"
        raise InputError(f"{purpose}: expected the library gguf, found none; {advice}") from None
    return gguf


# ---------------------------------------------------------------- to write


def save_gguf(path, config, params, tokenizer=None, kind="F32"):
    """Write a GGUF file that load() and llama.cpp open, whole or not at all.

    `kind`: F32, F16, Q8_0 or Q4_0, of every matrix but the positions, which stay float32 as in llama.cpp's converter.
    Without a matrix of its own, the output is token_embd, and so of that kind too; llama-quantize, where it makes Q4_0,
    leaves that one in Q6_K. One tensor at a time is turned and rounded. InputError where the format has no place for
    the model, FileError where the disk refuses.
    """
    check(params, config)
    check_choice("kind", kind, WRITTEN)
    named = dict(walk(params))
    if config.positions == "sinusoidal":  # no parameters here; llama.cpp needs them as a table
        named["wpe.weight"] = position_table(config)
        config = config.replace(positions="learned")
    if config.is_banded:
        expected = "gguf: expected dense attention in every layer"
        raise InputError(f"{expected}, got bands of {config.window} tokens; llama.cpp's gpt2 has none")
    if config.activation != "gelu_new":
        raise InputError(f"gguf: expected activation gelu_new, got {config.activation}; llama.cpp's gpt2 has no other")
    kinds = {name: kind_of(name, array, kind) for name, array in named.items()}
    gguf = gguf_library("a GGUF file")
    with files.replacing(path) as part:
        writer = gguf.GGUFWriter(part, "gpt2")
        try:
            _add_keys(gguf, writer, config, kind)
            add_vocabulary(writer, config, tokenizer)
            for name in shapes(config):
                _add_line(gguf, writer, name, named[name], kinds[name])
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for name in shapes(config):
                writer.write_tensor_data(_rounded(gguf, name, named[name], kinds[name]))
        finally:
            writer.close()


def kind_of(name, array, kind):
    """The kind in which a parameter is written where matrices are of `kind`: F32 for vectors and positions.

    InputError where a matrix has no place in that kind.
    """
    if array.ndim == 1 or name == "wpe.weight":
        return "F32"
    n_in = array.shape[0] if is_linear(name) else array.shape[1]
    if n_in % PER_BLOCK[kind]:
        wanted = f"rows of a multiple of {PER_BLOCK[kind]} weights for {kind}"
        raise InputError(f"{name}: expected {wanted}, got {n_in}; choose F16")
    if kind != "F32" and not np.abs(array).max() <= LARGEST[kind]:  # so written, a NaN is refused too
        raise InputError(f"{name}: expected numbers within {kind}'s ±{LARGEST[kind]:,.0f}, got others; choose F32")
    return kind


def _add_keys(gguf, writer, config, kind):
    """The keys general.…, and gpt2.context_length and its like."""
    writer.add_file_type({"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 7}[kind])
    if PER_BLOCK[kind] > 1:
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(config.n_ctx)
    writer.add_block_count(config.n_layer)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(config.n_hidden)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_eps)


def _add_line(gguf, writer, name, array, kind):
    shape = array.shape[::-1] if is_linear(name) else array.shape
    if PER_BLOCK[kind] == 1:
        dtype = np.dtype(STORED[kind])
        writer.add_tensor_info(gguf_name(name), shape, dtype, array.size * dtype.itemsize)
        return
    of_kind = gguf.GGMLQuantizationType[kind]
    in_bytes = gguf.quants.quant_shape_to_byte_shape(shape, of_kind)
    n_bytes = int(np.prod(in_bytes))
    writer.add_tensor_info(gguf_name(name), in_bytes, np.dtype(np.uint8), n_bytes, raw_dtype=of_kind)


def _rounded(gguf, name, array, kind):
    array = np.ascontiguousarray(array.T if is_linear(name) else array, np.float32)
    return gguf.quants.quantize(array, gguf.GGMLQuantizationType[kind])
