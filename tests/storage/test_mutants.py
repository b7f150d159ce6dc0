"""Hostile files: whatever seeded changes make of a model's files, it opens or says why not in one line."""

import json
import shutil
import tracemalloc
import warnings

import numpy as np
import pytest
from safetensors.numpy import save_file

from nanogpt_np import params as P
from nanogpt_np.config import GPTConfig
from nanogpt_np.errors import InputError
from nanogpt_np.storage import checkpoint
from nanogpt_np.tokenizer.bpe import Tokenizer

CONFIG = GPTConfig(n_vocab=262, n_ctx=6, n_embd=8, n_layer=1, n_head=2, eos_id=256)
N_MUTANTS = 100  # of each file
LONGEST = 300  # characters of a message behind the path

# what may stand where anything stands: other types, long numbers, long and odd texts, deep nests
ODD = (
    "null", "true", "[]", "{}", "-1", "0", "7", "2147483648", "1e400", "1" + "0" * 400, "9" * 4300, "1" * 5000, "0.1",
    "1e308", "NaN", "-Infinity", '""', '"x"', '"\\u001b[31mred\\n"', '"\\ud800"', '"\\u202e"', '"' + "y" * 10_000 + '"',
    "[" * 2000, '{"a":' * 50 + "1" + "}" * 50, '["a", "b"]', '{"type": "Sequence"}', '"ByteLevel"', "[[], {}]",
)  # fmt: skip


def write_model(directory):
    """A tiny model as someone else would write it, in two shards; one vocabulary in all of its spellings."""
    directory.mkdir()
    tokenizer = Tokenizer.train(["the cat sat on the mat, the cat sat"] * 3, n_vocab=261)
    tokenizer.save(directory)
    (directory / "added_tokens.json").write_text('{"<|pad|>": 261}')
    (directory / "config.json").write_text(json.dumps({**CONFIG.to_dict(), "n_inner": 32}, indent=2))
    rng = np.random.default_rng(0)
    named = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in P.shapes(CONFIG).items()}
    places = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(named)}
    for shard in set(places.values()):
        save_file({name: named[name] for name in named if places[name] == shard}, directory / shard, {"format": "pt"})
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}, indent=2))
    vocab = json.loads((directory / "vocab.json").read_text(encoding="utf-8"))
    merges = (directory / "merges.txt").read_text(encoding="utf-8").split("\n")[1:-1]
    added = [{"id": 261, "content": "<|pad|>", "lstrip": False, "rstrip": False, "single_word": False}]
    first = {"type": "ByteLevel", "add_prefix_space": False}
    steps = {"added_tokens": added, "normalizer": None, "pre_tokenizer": first}
    text = json.dumps({**steps, "model": {"type": "BPE", "vocab": vocab, "merges": merges}}, indent=1)
    (directory / "tokenizer.json").write_text(text, encoding="utf-8")


def mutant(data, rng):
    """Bytes with a change: bits turned, a piece cut out, doubled or moved, a value replaced by something odd."""
    kind, (start, end) = rng.integers(5), sorted(rng.integers(0, len(data) + 1, 2))
    end = min(end, start + 40)
    if kind == 0:
        changed = bytearray(data)
        for i in rng.integers(0, len(data), rng.integers(1, 4)):
            changed[i] ^= 1 << rng.integers(8)
        return bytes(changed)
    if kind == 1:
        return data[:start] + data[end:]
    if kind == 2:
        return data[:end] + data[start:]
    odd = ODD[rng.integers(len(ODD))].encode()
    if kind == 3:  # between two commas or a colon and a comma: mostly JSON still
        start = max(data.rfind(mark, 0, start) for mark in (b":", b",", b"[")) + 1
        ends = [i for mark in (b",", b"\n", b"}", b"]") if (i := data.find(mark, start)) >= 0]
        return data[:start] + odd + data[min(ends, default=len(data)) :]
    return data[:start] + odd + data[end:]


def mutate_header(data, rng):
    """A .safetensors file whose header was changed; its length is made to fit half of the time."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = mutant(data[8:end], rng)
    n_bytes = len(header) if rng.integers(2) else end - 8
    return n_bytes.to_bytes(8, "little") + header + data[end:]


def check_opening(directory):
    """-> did it open? What is no InputError, and what is no short line, fails."""
    try:
        checkpoint.load(directory)
    except InputError as error:
        assert str(error).isprintable(), repr(str(error))
        assert len(str(error).replace(str(directory), "")) <= LONGEST, str(error)
        return False
    return True


FILES = [
    "config.json", "vocab.json", "merges.txt", "added_tokens.json", "tokenizer.json",
    "model.safetensors.index.json", "model-0.safetensors",
]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_mutant_opens_or_is_refused_in_a_line(tmp_path, name):
    directory, rng = tmp_path / "m", np.random.default_rng([20240607, FILES.index(name)])
    write_model(directory)
    if name == "tokenizer.json":
        for other in ("vocab.json", "merges.txt", "added_tokens.json"):
            (directory / other).unlink()
    data, opened = (directory / name).read_bytes(), 0
    assert check_opening(directory)
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a config that claims more rows than there are tokens
        for _ in range(N_MUTANTS):
            (directory / name).write_bytes((mutate_header if "-0" in name else mutant)(data, rng))
            opened += check_opening(directory)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert opened < N_MUTANTS and peak < 20_000_000
    shutil.rmtree(directory)
