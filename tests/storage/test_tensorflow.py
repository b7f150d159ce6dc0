"""OpenAI's own files: goldens/openai was written by TensorFlow (goldens/make_tensorflow.py), and its logits computed.

Broken and hostile ones are built here, byte by byte, from the format's description; the checksum in this file is the
definition's loop over bits.
"""

import json
import shutil
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from goldens import recipe
from hostile import one_line

from nanogpt_np import GPT, FileError, model, ops
from nanogpt_np import params as P
from nanogpt_np.errors import InputError
from nanogpt_np.storage import checkpoint, crc32c, table, tensorflow

GOLDEN = Path(__file__).parents[1] / "goldens" / "openai"
SIZES, SEED, STD = recipe.Sizes(n_vocab=270, n_ctx=16, n_embd=16, n_layer=2, n_head=2), 20190805, 0.15
INDEX, DATA = "model.ckpt.index", "model.ckpt.data-00000-of-00001"
TOLERANCE = 3e-6  # two float32 forward passes of 2 blocks, logits up to 2.3: 6e-7 apart


@pytest.fixture
def folder(tmp_path):
    """A copy of the golden, to be broken."""
    shutil.copytree(GOLDEN, tmp_path / "124M")
    return tmp_path / "124M"


def golden_logits():
    with np.load(GOLDEN / "logits.npz", allow_pickle=False) as file:
        return file["ids"], file["logits"]


# ---- what TensorFlow wrote


@pytest.mark.parametrize("ops_name", ["numpy", "numba"])
def test_logits_are_those_of_tensorflow(ops_name):
    ids, logits = golden_logits()
    gpt = GPT.from_pretrained(GOLDEN, ops=ops_name)
    np.testing.assert_allclose(gpt(ids)[0], logits, rtol=0, atol=TOLERANCE)


def test_weights_are_the_seeded_ones_bit_for_bit():
    config, params, _ = checkpoint.load(GOLDEN)
    expected = recipe.weights(SIZES, SEED, STD)
    got = dict(P.walk(params))
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert got[name].dtype == np.float32 and not got[name].flags.owndata  # mapped, not read
        np.testing.assert_array_equal(got[name], array, err_msg=name)
    assert (config.n_vocab, config.n_ctx, config.n_embd, config.n_layer, config.n_head) == SIZES[:5]


def test_the_vocabulary_of_openai_s_two_files():
    tokenizer = GPT.from_pretrained(GOLDEN).tokenizer
    assert tokenizer.n_vocab == 270 and tokenizer.eos_id == GPT.from_pretrained(GOLDEN).config.eos_id == 269
    ids = tokenizer.encode("the hat and 你好")
    assert tokenizer.decode(ids) == "the hat and 你好" and ids[:2] == [83, 257]  # "t", "he": its second merge


def test_it_is_saved_as_transformers_has_it(tmp_path):
    ids, logits = golden_logits()
    GPT.from_pretrained(GOLDEN, ops="numpy").save(tmp_path)
    assert (tmp_path / "vocab.json").exists() and not tensorflow.is_here(tmp_path)
    got = GPT.from_pretrained(tmp_path, ops="numpy")
    np.testing.assert_allclose(got(ids)[0], logits, rtol=0, atol=TOLERANCE)
    assert got.tokenizer.fingerprint == GPT.from_pretrained(GOLDEN).tokenizer.fingerprint


def test_files_of_transformers_beside_it_come_first(folder):
    gpt = GPT.from_pretrained(folder, ops="numpy")
    gpt.params["ln_f"]["bias"] += 1
    gpt.save(folder)
    assert GPT.from_pretrained(folder).params["ln_f"]["bias"].mean() > 0.5


def test_another_name_and_the_place_where_it_once_stood(folder):
    """As programs for fine-tuning leave it; the path of another machine counts for its last part."""
    for end in (".index", ".data-00000-of-00001"):
        (folder / f"model.ckpt{end}").rename(folder / f"model-1000{end}")
    (folder / "checkpoint").write_text('model_checkpoint_path: "/content/checkpoint/run1/model-1000"\n')
    ids, logits = golden_logits()
    np.testing.assert_allclose(GPT.from_pretrained(folder)(ids)[0], logits, rtol=0, atol=TOLERANCE)


# ---- checksums


def bitwise(data):
    """CRC-32C by its definition."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "expected"),
    [  # the first from the catalogue of CRCs, the others from RFC 3720, appendix B.4
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"", 0),
    ],
)
def test_published_checksums(data, expected):
    assert crc32c.checksum(data) == expected == bitwise(data)


@pytest.mark.parametrize("most", [2048, 1 << 24])
def test_checksums_of_any_length(monkeypatch, most):
    """Around every border of lanes and of pieces."""
    monkeypatch.setattr(crc32c, "_MOST", most)
    data = np.random.default_rng(0).integers(0, 256, 6200, np.uint8)
    for n in (1, 3, 4, 63, 64, 65, 1023, 1024, 1025, 2047, 2048, 2049, 4096, 6145, 6200):
        assert crc32c.checksum(data[:n]) == bitwise(data[:n].tobytes()), n
    monkeypatch.setattr(crc32c, "_LONG", 16)  # much is more than 1024 bytes now: the other pieces too
    for n in (1024, 1025, 1040, 1041, 2100, 6200):
        assert crc32c.checksum(data[:n]) == bitwise(data[:n].tobytes()), n


def test_a_mask_as_leveldb_documents_it():
    """Masked twice is neither masked once nor the sum itself, and the sum can be had back."""
    crc = crc32c.checksum(b"foo")
    once, twice = crc32c.masked(crc), crc32c.masked(crc32c.masked(crc))
    assert len({crc, once, twice}) == 3
    turned = (once - 0xA282EAD8) & 0xFFFFFFFF
    assert (turned >> 17 | turned << 15) & 0xFFFFFFFF == crc


# ---- tables built by hand


def varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def masked(data):
    crc = bitwise(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF).to_bytes(4, "little")


def sealed(content, kind=b"\0"):
    return content + kind + masked(content + kind)


def block(pairs, kind=b"\0"):
    """A block whose keys share what they can with the key before."""
    content, last = b"", b""
    for key, value in pairs:
        n = next((i for i, (a, b) in enumerate(zip(key, last, strict=False)) if a != b), min(len(key), len(last)))
        content += varint(n) + varint(len(key) - n) + varint(len(value)) + key[n:] + value
        last = key
    return sealed(content + struct.pack("<II", 0, 1), kind)


def build(blocks, kind=b"\0"):
    """A whole table of several blocks of pairs."""
    out, handles = b"", []
    for pairs in blocks:
        data = block(pairs, kind)
        handles.append((pairs[-1][0], varint(len(out)) + varint(len(data) - 5)))
        out += data
    return closed(out, block(handles))


def closed(out, index):
    footer = varint(0) + varint(0) + varint(len(out)) + varint(len(index) - 5)
    return out + index + footer.ljust(40, b"\0") + (0xDB4775248B80FB57).to_bytes(8, "little")


def field(number, value):
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def entry(dtype=1, shape=(2, 3), shard=0, start=0, n_bytes=24, crc=0, more=b""):
    sizes = b"".join(field(2, field(1, size)) for size in shape)
    fields = field(1, dtype) + field(2, sizes) + field(3, shard) + field(4, start) + field(5, n_bytes)
    return fields + bytes([6 << 3 | 5]) + crc.to_bytes(4, "little") + more


HEADER = (b"", field(1, 1) + field(3, field(1, 1)))


def pairs_of(path):
    """What a table holds, as bytes: of the golden, to be changed and written again."""
    return [(key, value.bytes()) for key, value in table.entries(path, path.read_bytes())]


def test_a_table_of_many_blocks_opens_the_same(folder):
    """TensorFlow's own has one block; this one was cut into many, with keys that share their beginnings."""
    pairs = pairs_of(folder / INDEX)
    assert len(pairs) == 1 + 28 + 4  # the header, GPT-2's tensors, what training left
    (folder / INDEX).write_bytes(build([pairs[i : i + 3] for i in range(0, len(pairs), 3)]))
    ids, logits = golden_logits()
    np.testing.assert_allclose(GPT.from_pretrained(folder)(ids)[0], logits, rtol=0, atol=TOLERANCE)


def test_two_files_of_data(folder):
    """Half of the tensors in a second file; such checkpoints come from several devices."""
    pairs, whole = pairs_of(folder / INDEX), (folder / DATA).read_bytes()
    (folder / DATA).unlink()
    parts, out = [b"", b""], [(b"", field(1, 2) + field(3, field(1, 1)))]
    for i, (key, value) in enumerate(pairs[1:]):
        fields = dict(tensorflow._fields(table.Slice(None, value, 0, len(value))))
        start, n_bytes, shard = fields.get(4, 0), fields[5], i % 2
        shape = [dict(tensorflow._fields(size)).get(1, 0) for _, size in tensorflow._fields(fields[2])]
        out.append((key, entry(fields[1], shape, shard, len(parts[shard]), n_bytes, fields[6])))
        parts[shard] += whole[start : start + n_bytes]
    for i, part in enumerate(parts):
        (folder / f"model.ckpt.data-0000{i}-of-00002").write_bytes(part)
    (folder / INDEX).write_bytes(build([out]))
    ids, logits = golden_logits()
    np.testing.assert_allclose(GPT.from_pretrained(folder)(ids)[0], logits, rtol=0, atol=TOLERANCE)


def refused(folder, match):
    before = sorted(path.name for path in folder.iterdir())
    tracemalloc.start()
    with pytest.raises(FileError, match=match) as caught:
        checkpoint.load(folder)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30_000_000 and before == sorted(path.name for path in folder.iterdir())
    return one_line(caught)


BAD_ENTRIES = {
    "another dtype": (entry(dtype=3), "model/wte: expected a dtype of F32, F64, BF16, F16, got TensorFlow's number 3"),
    "bytes": (entry(n_bytes=28), r"model/wte: expected 24 bytes for F32 \[2, 3\], got 28"),
    "a huge size": (entry(shape=(2**63, 2)), "model/wte: expected at most 32 sizes up to 2147483647"),
    "a negative size": (entry(shape=(2**64 - 1, 2)), "model/wte: expected at most 32 sizes"),
    "many sizes": (entry(shape=(1,) * 33, n_bytes=4), "model/wte: expected at most 32 sizes"),
    "a shard": (entry(shard=1), "model/wte: expected a file of data below 1, got 1"),
    "a place": (entry(start=10**9), "expected bytes 0 to 44,812 to hold it, got 1,000,000,000 to 1,000,000,024"),
    "slices": (entry(more=field(7, b"")), "model/wte: expected one tensor in one piece"),
    "a field twice": (entry(more=field(4, 7)), "model/wte: expected one tensor in one piece"),
    "no checksum": (entry()[:-5], "model/wte: expected dtype, place and checksum as numbers"),
    "bytes for a number": (field(1, b"x") + entry()[2:], "model/wte: expected dtype, place and checksum as numbers"),
    "an absurd number": (b"\x08" + b"\xff" * 11, "expected a number of at most 64 bits at byte .*, got 10 bytes"),
    "a number cut off": (b"\x08\xff", "expected a number of at most 64 bits at byte .*, got 1 bytes without an end"),
    "65 bits": (b"\x08" + b"\xff" * 9 + b"\x02", "expected a number of at most 64 bits"),
    "a field beyond the end": (b"\x12\xff\xff\xff\xff\x0f", "expected a field of at most 0 bytes at .*, got 4,294"),
    "a kind of old": (b"\x0b", "expected a field of a protocol buffer, got kind 3"),
}


@pytest.mark.parametrize("name", BAD_ENTRIES)
def test_entries_that_cannot_be(folder, name):
    value, message = BAD_ENTRIES[name]
    (folder / INDEX).write_bytes(build([[HEADER, (b"model/wte", value)]]))
    refused(folder, message)


def test_a_table_that_lies(folder):
    path, good = folder / INDEX, build([[HEADER, (b"model/wpe", entry()), (b"model/wte", entry(start=24))]])
    long = b"model/" + b"x" * 1000
    tables = {
        "57fb808b247547db, got no bytes": b"",
        "57fb808b247547db, got 0000": bytes(100),
        "a block of at most 0 bytes at byte 1,099,511,627,776": (
            good[:-48] + (varint(0) * 2 + varint(2**40) + varint(9)).ljust(40, b"\0") + good[-8:]
        ),
        "a block's checksum of at most 0 bytes": (
            good[:-48] + (varint(0) * 3 + varint(len(good) - 48)).ljust(40, b"\0") + good[-8:]
        ),
        "not compressed, as TensorFlow writes it, got compression 1": build([[HEADER]], b"\1"),
        "keys in order after b'model/wte', got b'model/wpe'": build(
            [[HEADER, (b"model/wte", entry())], [(b"model/wpe", b"")]]
        ),
        "keys in order after b'', got b''": build([[HEADER, HEADER]]),
        "expected a key of at most 1,000 bytes": build([[HEADER, (long, b"")]]),
        "expected a header that says little endian": build([[(b"", field(1, 1) + field(2, 1))]]),
        "expected 1 to 10,000 files of data, got 0": build([[(b"", b"")]]),
        "expected 1 to 10,000 files of data, got 4294967295": build([[(b"", field(1, 2**32 - 1))]]),
        "expected tensors such as model/wte, got none": build([[HEADER, (b"global_step", entry())]]),
        "wte.weight: expected bytes 24 to .* to hold it, got 0 to 24": build(
            [[HEADER, (b"model/wpe", entry()), (b"model/wte", entry())]]
        ),
        "model/h0/ln_1/w: expected one tensor for h.0.ln_1.weight, got another as well": build(
            [[HEADER, (b"model/h0/ln_1/g", entry()), (b"model/h0/ln_1/w", entry(start=24))]]
        ),
        "a block's restarts of at most": closed(
            sealed(struct.pack("<I", 2**31)), block([(b"z", varint(0) + varint(4))])
        ),
        "a key of at most .* shares up to 0": closed(
            sealed(b"\x05\x01\x00k" + struct.pack("<II", 0, 1)), block([(b"z", varint(0) + varint(12))])
        ),
        "a value of at most": closed(
            sealed(b"\x00\x01\x7fk" + struct.pack("<II", 0, 1)), block([(b"z", varint(0) + varint(12))])
        ),
        "a block of at most .* bytes at byte 0": closed(  # the same block again and again would cost its time each time
            block([HEADER]), block([(b"a", varint(0) + varint(len(block([HEADER])) - 5))] * 2)
        ),
    }
    for message, data in tables.items():
        path.write_bytes(data)
        refused(folder, message)


def test_one_bit_anywhere_in_the_index(folder):
    """A bit of a block changes its checksum; nobody reads the statistics, an empty block of 13 bytes, nor fills."""
    path, good = folder / INDEX, (folder / INDEX).read_bytes()
    start, _ = table.Slice(path, good, len(good) - 48, len(good)).varint()
    for at in range(0, len(good) - 48, 7):
        if not start <= at < start + 13:
            path.write_bytes(good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :])
            refused(folder, "model.ckpt.index: ")
    for n in (*range(0, len(good), 61), len(good) - 1):
        path.write_bytes(good[:n])
        refused(folder, "model.ckpt.index: ")


def test_one_bit_anywhere_in_the_data(folder):
    path, good = folder / DATA, (folder / DATA).read_bytes()
    for at in (12, 5000, 44_811):
        path.write_bytes(good[:at] + bytes([good[at] ^ 64]) + good[at + 1 :])
        text = refused(folder, "expected the checksum [0-9a-f]{8} of its index, got [0-9a-f]{8}; the file is damaged")
        assert DATA in text
    path.write_bytes(good[:-1])
    refused(folder, r"wte.weight: expected bytes 27,532 to 44,811 to hold it, got 27,532 to 44,812")
    path.unlink()
    refused(folder, f"{DATA}: cannot be read")


@pytest.mark.parametrize("named", ["../../etc/passwd", "..", "", "a/..", "x\x1b[2J", "/", "C:\\models\\..", "x" * 300])
def test_a_pointer_cannot_reach_outside(folder, named):
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "{named}"\n')
    text = refused(folder, "expected passwd.index in it|expected a model_checkpoint_path, got")
    assert "etc/" not in text or "passwd.index" in text


def test_files_that_are_missing_or_huge(folder):
    (folder / "checkpoint").unlink()  # the usual name is enough
    checkpoint.load(folder)
    for name in ("hparams.json", INDEX):
        data = (folder / name).read_bytes()
        with open(folder / name, "r+b") as file:
            file.truncate(3 << 30)  # sparse: takes no space
        refused(folder, f"{name}: expected at most .* bytes, got 3,221,225,472")
        (folder / name).unlink()
        refused(folder, f"{name}: cannot be read|expected {name} in it, as hparams")
        (folder / name).write_bytes(data)
    (folder / "vocab.bpe").unlink()
    refused(folder, "expected vocab.bpe beside encoder.json, found none")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layer": 3}, "h.2.ln_1.weight: expected 3 layers"),
        ({"n_layer": 1}, "only the tensors of a GPT-2 with 1 layers"),
        ({"n_head": 3}, "hparams.json: n_embd: expected a multiple of n_head = 3"),
        ({"n_ctx": "16"}, "hparams.json: n_ctx: expected a whole number"),
        ({"n_vocab": 271}, r"wte.weight: expected shape \[271, 16\], got \[270, 16\]"),
        ({"n_layer": 10**9}, "h.2.ln_1.weight: expected 1000000000 layers"),
    ],
)
def test_hparams_of_another_model(folder, change, message):
    path = folder / "hparams.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(folder, message)


@pytest.mark.parametrize("text", ["[]", "{}", '{"n_vocab": 270}', "null"])
def test_hparams_that_are_none(folder, text):
    (folder / "hparams.json").write_text(text)
    refused(folder, "hparams.json: expected n_vocab, n_ctx, n_embd, n_head, n_layer")


def test_mutants_open_or_are_refused_in_a_line(folder):
    """Seeded changes of the index whose checksums were made right again: what stands behind them must hold too."""
    rng, pairs, opened = np.random.default_rng(20190214), pairs_of(folder / INDEX), 0
    for _ in range(150):
        changed = list(pairs)
        at = rng.integers(len(pairs))
        key, value = (bytearray(part) for part in changed[at])
        for part in (key, value)[rng.integers(2) :]:
            if part:
                part[rng.integers(len(part))] = rng.integers(256)
        changed[at] = bytes(key), bytes(value)
        (folder / INDEX).write_bytes(build([sorted(changed)]))
        try:
            config, params, _ = checkpoint.load(folder)
            model.forward(np.array([[1, 2, 3]]), params, config, ops)
            opened += 1
        except InputError as error:
            assert str(error).isprintable() and len(str(error).replace(str(folder), "")) < 300, str(error)
    assert 0 < opened < 100
