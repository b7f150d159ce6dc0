"""GGUF files put together byte by byte, so that a test can write what no library would."""

import struct

import numpy as np

TEXT, ARRAY = 8, 9
NUMBERS = {int: (4, "I"), float: (6, "f"), bool: (7, "?")}


class Raw(bytes):
    """Bytes that stand in the file as they are: a value with its kind."""


def text(data):
    data = data.encode() if isinstance(data, str) else data
    return struct.pack("<Q", len(data)) + data


def value(data):
    if isinstance(data, Raw):
        return bytes(data)
    if isinstance(data, (str, bytes)):
        return struct.pack("<I", TEXT) + text(data)
    if isinstance(data, list):
        kind, code = (TEXT, None) if isinstance(data[0], (str, bytes)) else NUMBERS[type(data[0])]
        parts = [text(one) if code is None else struct.pack(f"<{code}", one) for one in data]
        return struct.pack("<IIQ", ARRAY, kind, len(data)) + b"".join(parts)
    kind, code = NUMBERS[type(data)]
    return struct.pack(f"<I{code}", kind, data)


def tensor(name, array, kind=0, dims=None, offset=None):
    """A tensor's line, and its bytes; float32 unless a kind is said. `offset` None: behind the one before."""
    dims = array.shape[::-1] if dims is None else dims
    return (text(name) + struct.pack(f"<I{len(dims)}QI", len(dims), *dims, kind), array.tobytes(), offset)


def build(keys, tensors, magic=b"GGUF", version=3, n_tensors=None, n_keys=None, alignment=32, behind=b""):
    """The bytes of a file; `keys`: pairs, as a name may come twice."""
    counts = (len(tensors) if n_tensors is None else n_tensors, len(keys) if n_keys is None else n_keys)
    head = magic + struct.pack("<IQQ", version, *counts)
    head += b"".join(text(name) + value(one) for name, one in keys)
    place, body = 0, b""
    for line, data, offset in tensors:
        head += line + struct.pack("<Q", place if offset is None else offset)
        data += b"\0" * (-len(data) % alignment)
        place, body = place + len(data), body + data
    return head + b"\0" * (-len(head) % alignment) + body + behind


def model(n_vocab=7, n_ctx=4, n_embd=8, n_layer=1, n_head=2):
    """-> the keys and the tensors of a small GPT-2 without a vocabulary, each of its numbers another."""
    keys = [
        ("general.architecture", "gpt2"), ("gpt2.context_length", n_ctx), ("gpt2.block_count", n_layer),
        ("gpt2.embedding_length", n_embd), ("gpt2.feed_forward_length", 4 * n_embd),
        ("gpt2.attention.head_count", n_head), ("gpt2.attention.layer_norm_epsilon", 1e-5),
    ]  # fmt: skip
    shapes = {"token_embd.weight": (n_vocab, n_embd), "position_embd.weight": (n_ctx, n_embd)}
    for i in range(n_layer):
        matrices = {"attn_qkv": (3 * n_embd, n_embd), "attn_output": (n_embd, n_embd)}
        matrices |= {"ffn_up": (4 * n_embd, n_embd), "ffn_down": (n_embd, 4 * n_embd)}
        for part in ("attn_norm", "ffn_norm"):
            shapes |= {f"blk.{i}.{part}.weight": (n_embd,), f"blk.{i}.{part}.bias": (n_embd,)}
        for part, shape in matrices.items():
            shapes |= {f"blk.{i}.{part}.weight": shape, f"blk.{i}.{part}.bias": shape[:1]}
    shapes |= {"output_norm.weight": (n_embd,), "output_norm.bias": (n_embd,)}
    rng = np.random.default_rng(0)
    return keys, [tensor(name, rng.standard_normal(shape, dtype=np.float32)) for name, shape in shapes.items()]
