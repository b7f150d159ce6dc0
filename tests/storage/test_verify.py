"""Verifying a model: with small stand-ins for what was published, and the published tables themselves.

The stand-in's logits come from `transformers` (goldens/make_variants.py), its hashes from seeded weights and hashlib.
"""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from goldens import recipe

from nanogpt_np import GPT, FileError, GPTConfig, InputError, model, ops
from nanogpt_np import params as P
from nanogpt_np.cli import main
from nanogpt_np.config import PRESETS
from nanogpt_np.storage import registry, verify
from nanogpt_np.storage.conversion import convert
from nanogpt_np.storage.measured import KINDS, value_of
from nanogpt_np.tokenizer.bpe import Tokenizer

GOLDENS = Path(__file__).parents[1] / "goldens"
SHARED = Path(__file__).parents[3] / "shared" / "reference"
SIZES, SEED, STD = recipe.Sizes(n_vocab=32, n_ctx=8, n_embd=8, n_layer=2, n_head=2), 20181011, 0.3


def sha256(array):
    return hashlib.sha256(array.astype("<f4").tobytes()).hexdigest()


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDENS / "variants.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.fixture
def standin(tmp_path, golden, monkeypatch):
    """A model's directory, and a folder that says what was published of it, which is looked at by default."""
    folder, published = tmp_path / "model", tmp_path / "published"
    folder.mkdir(), published.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes(golden[f"float32/{name}"].tobytes())
    weights, ids, logits = recipe.weights(SIZES, SEED, STD), golden["ids"].tolist(), golden["float32/logits"]
    turned = {name: array.T if i % 2 else array for i, (name, array) in enumerate(weights.items())}
    lines = [f"{sha256(array)}\t{name}" for name, array in turned.items()]
    (published / "standin_tensors.tsv").write_text("# as others laid them\n" + "\n".join(lines) + "\n")
    checks = [
        {"kind": "logits", "ids": ids, "position": 7, "at": [0, 3, 31], "value": logits[7, [0, 3, 31]].tolist(),
         "tolerance": 5e-6, "source": "transformers"},
        {"kind": "likeliest at each position", "ids": ids, "value": logits.argmax(axis=-1).tolist()},
    ]  # fmt: skip
    shape = {"n_vocab": 32, "n_ctx": 8, "n_embd": 8, "n_layer": 2, "n_head": 2}
    about = {"shape": shape, "parameters": sum(array.size for array in weights.values()), "checks": checks}
    (published / "values.json").write_text(json.dumps({"standin": about}))
    monkeypatch.setattr(verify, "PUBLISHED", published)
    return folder


def rows(folder):
    gpt = GPT.from_pretrained(folder, ops="numpy")
    return list(verify.compare(folder, gpt, verify.name_of(folder, gpt.config)))


def failed(folder):
    return [row.name for row in rows(folder) if row.passed is False]


def change_published(change):
    path = verify.PUBLISHED / "values.json"
    raw = json.loads(path.read_text())
    change(raw["standin"])
    path.write_text(json.dumps(raw))


def test_what_agrees_passes(standin):
    found = rows(standin)
    assert [row.name for row in found if row.passed is None] == ["file config.json", "file model.safetensors"]
    assert sum(row.passed is True for row in found) == 28 + 1 + 2 == len(found) - 2  # tensors, their count, two values
    assert found[0].got == hashlib.sha256((standin / "config.json").read_bytes()).hexdigest()
    assert found[-2].difference.endswith(("e-07", "e-06", "e+00")) and found[-2].tolerance == "5e-06"


def test_one_bit_of_one_tensor_fails(standin):
    path = standin / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-2] ^= 1  # of wte or wpe, whichever the library put last
    path.write_bytes(data)
    assert len([name for name in failed(standin) if name.startswith("tensor ")]) == 1


def test_a_value_that_is_off_fails_and_says_by_how_much(standin):
    def change(about):
        about["checks"][0]["value"][1] += 1e-3
        about["checks"][1]["value"][0] ^= 1

    change_published(change)
    found = [row for row in rows(standin) if row.passed is False]
    assert [row.difference for row in found] == ["1.0e-03", "differs"]
    change_published(lambda about: about["checks"][0]["value"].pop())
    assert [row for row in rows(standin) if row.passed is False][0].difference == "inf"


def test_a_rounded_copy_is_not_the_published_model(standin, tmp_path):
    GPT.from_pretrained(standin).save(tmp_path / "half", dtype="float16")
    wrong = failed(tmp_path / "half")
    assert "tensor wte.weight" in wrong and len(wrong) >= 20


def test_a_copy_in_another_file_is_the_published_model(standin, tmp_path):
    GPT.from_pretrained(standin).save(tmp_path / "copy")
    assert not failed(tmp_path / "copy")


def test_a_copy_in_one_file_is_the_published_model(standin, tmp_path, capsys):
    convert(standin, tmp_path / "copy.bin", "llmc")
    assert not failed(tmp_path / "copy.bin")
    assert main(["verify", str(tmp_path / "copy.bin")]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == "standin: 31 compared, all agree" and "file copy.bin" in out[1]


def test_the_same_tensors_as_openai_laid_them():
    """No hash of TensorFlow's file is known, but those of tensors are the same whatever the file."""
    folder = GOLDENS / "openai"
    sizes = recipe.Sizes(n_vocab=270, n_ctx=16, n_embd=16, n_layer=2, n_head=2)
    weights = recipe.weights(sizes, 20190805, 0.15)
    found = {row.name: row.got for row in verify.compare(folder, GPT.from_pretrained(folder))}
    assert all(found[f"tensor {name}"] == sha256(array) for name, array in weights.items())
    assert {"file model.ckpt.index", "file encoder.json", "file model.ckpt.data-00000-of-00001"} <= set(found)


def test_the_command_line(standin, capsys):
    assert main(["verify", str(standin)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == "standin: 31 compared, all agree" and out[0].split()[:3] == ["what", "published", "got"]
    change_published(lambda about: about.update(parameters=7))
    assert main(["verify", str(standin), "--json"]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in found if row["passed"] is False] == ["parameters"] and len(found) == 33
    assert main(["verify", str(standin)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "standin: 1 of 31 differ, the first is: parameters"


def test_what_cannot_be_verified(standin, capsys, tmp_path):
    assert main(["verify", str(standin), "--as", "nobody"]) == 2
    assert "expected a model with published values, got nobody" in capsys.readouterr().err
    change_published(lambda about: about["shape"].update(n_layer=3))
    assert main(["verify", str(standin), "--as", "standin"]) == 2
    assert "standin: expected n_layer = 3, got 2; this is another model" in capsys.readouterr().err
    assert main(["verify", str(standin)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("nothing was published of a model of this shape")
    assert main(["verify", str(tmp_path)]) == 2
    (verify.PUBLISHED / "standin_tensors.tsv").write_text("no hash\n")
    change_published(lambda about: about["shape"].update(n_layer=2))
    with pytest.raises(FileError, match="standin_tensors.tsv: expected a hash and a name in each line"):
        rows(standin)


# ---- what ships


@pytest.mark.parametrize("name", ["stories", "poems"])
def test_the_shipped_models_are_those_whose_hashes_are_published(name):
    folder = registry.resolve(name)
    found = list(verify.compare(folder, GPT.from_pretrained(folder), name))
    judged = {row.name: row.passed for row in found if row.passed is not None}
    # after training or changing a shipped model: write its new sha256 into weights/models.json
    assert judged == {f"file {file}": True for file in ("config.json", "merges.txt", "model.safetensors", "vocab.json")}


def test_a_shipped_model_that_was_changed(tmp_path):
    shutil.copytree(registry.resolve("stories"), tmp_path / "stories")
    path = tmp_path / "stories" / "model.safetensors"
    with path.open("r+b") as file:
        file.seek(5_000_000)
        byte = file.read(1)
        file.seek(5_000_000)
        file.write(bytes([byte[0] ^ 1]))
    gpt = GPT.from_pretrained(tmp_path / "stories")
    assert verify.name_of(tmp_path / "stories", gpt.config) is None  # nothing tells by its shape what it claims to be
    found = verify.compare(tmp_path / "stories", gpt, "stories")
    assert [row.name for row in found if row.passed is False] == ["file model.safetensors"]


@pytest.mark.parametrize("raw", [[], {"../x": "0" * 64}, {"a": "0" * 63}, {"a": 7}])
def test_hashes_of_a_registry_that_are_none(tmp_path, raw):
    (tmp_path / "models.json").write_text(json.dumps({"m": {"parameters": 0, "sha256": raw}}))
    with pytest.raises(FileError, match="expected sha256 as a table"):
        registry.read_registry(tmp_path / "models.json")


def test_published_tables_are_whole():
    """Every entry can be computed, is owned by somebody, and has a value of the kind that is compared."""
    values = json.loads((verify.PUBLISHED / "values.json").read_text(encoding="utf-8"))
    assert {"gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"} == set(values)
    for name, about in values.items():
        assert all(getattr(PRESETS[name], field) == size for field, size in about["shape"].items())
        assert about["parameters"] == P.size(PRESETS[name]) and about["vocabulary"] == Tokenizer.gpt2().fingerprint
        for entry in about["checks"]:
            assert entry["kind"] in KINDS and entry["source"] and entry["value"]
            assert ("tolerance" in entry) is isinstance(entry["value"][0], float)
    hashes = verify._read_hashes(None, "gpt2")
    assert list(hashes) == list(P.shapes(PRESETS["gpt2"])) and len(set(hashes.values())) == 148


def test_published_tables_say_what_their_sources_say():
    path = SHARED / "gpt2_124m_tensors_sha256.tsv"
    if not path.exists():
        pytest.skip("the tables that these were taken from are not beside the project: reference/")
    lines = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    theirs = {name.removesuffix("_gpt.bin").removeprefix("transformer."): value for value, _, name in lines}
    assert verify._read_hashes(None, "gpt2").items() <= theirs.items()
    raw = json.loads((SHARED / "published_gpt2.json").read_text())
    checks = json.loads((verify.PUBLISHED / "values.json").read_text(encoding="utf-8"))["gpt2"]["checks"]
    said = [entry["value"] for entry in checks]
    for entry in (*raw["greedy"][:1], *raw["tokenizer"]):
        assert entry.get("ids_out", [0, 0, *entry.get("ids", [])])[2:] in said
    for entry in raw["logits"]:
        assert list(entry["at"].values()) in said
    assert [raw["loss"]["loss"]] in said and raw["next_token_logprobs"]["log_probs"] in said
    assert raw["last_hidden"][0]["first10"] in said and [raw["greedy"][2]["continuation"]] in said


# ---- what is measured, against the forward pass itself


@pytest.fixture(scope="module")
def wide():
    """A narrow model with GPT-2's vocabulary, whose logits differ enough to have a likeliest token."""
    config = GPTConfig(n_ctx=48, n_embd=8, n_layer=1, n_head=2, eos_id=50256)
    rng = np.random.default_rng(3)
    named = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in P.shapes(config).items()}
    return GPT(config, P.nest(named), Tokenizer.gpt2())


def logits_of(gpt, ids):
    return model.forward(np.array([ids]), gpt.params, gpt.config, ops)[0][0]


def greedy(gpt, ids, n):
    ids = list(ids)
    for _ in range(n):
        ids.append(int(logits_of(gpt, ids)[-1].argmax()))
    return ids[-n:]


def log_softmax(logits):
    logits = logits.astype(np.float64)
    return logits - np.log(np.exp(logits - logits.max()).sum(axis=-1, keepdims=True)) - logits.max()


def test_every_kind_is_what_it_is_called(wide):
    encode, decode = Tokenizer.gpt2().encode, Tokenizer.gpt2().decode
    ids, text = encode("The cat sat"), "The cat sat"
    logits = logits_of(wide, ids)
    log_probs = log_softmax(logits[-1])
    eos_loss = np.mean([-log_softmax(row)[i] for row, i in zip(logits_of(wide, [50256, *ids[:-1]]), ids, strict=True)])
    _, acts = model.forward(np.array([ids]), wide.params, wide.config, ops, keep_acts=True)
    row = wide.params["wte"]["weight"][9].astype(np.float64)
    normed = (row - row.mean()) / np.sqrt(row.var() + 1e-5)
    normed = normed * wide.params["h"][0]["ln_1"]["weight"] + wide.params["h"][0]["ln_1"]["bias"]
    prompts = ["The cat sat", "Hello, my dog is"]
    exact = {
        "token ids": ({"text": text}, ids),
        "greedy ids": ({"ids": ids, "n_new": 4}, greedy(wide, ids, 4)),
        "greedy text": ({"prompts": prompts, "n_new": 3}, [decode(greedy(wide, encode(p), 3)) for p in prompts]),
        "beam text": ({"prompts": [text], "n_new": 3, "num_beams": 2}, None),
        "likeliest at each position": ({"ids": ids}, logits.argmax(axis=-1).tolist()),
        "likeliest at the end": ({"ids": ids}, [int(logits[-1].argmax())]),
    }
    close = {
        "logits": ({"ids": ids, "position": 1, "at": [5, 50000]}, logits[1, [5, 50000]]),
        "mean of all logits": ({"ids": ids}, [logits.astype(np.float64).mean()]),
        "log-probabilities": ({"text": text, "then": [77]}, [log_probs[77]]),
        "loss": ({"text": "<|endoftext|>The cat sat"}, [eos_loss]),
        "last hidden state": ({"text": text, "position": 0, "value": [0] * 5}, acts.final[0, 0, :5]),
        "row of wte": ({"id": 9, "value": [0] * 5}, row[:5]),
        "first layer norm of a row of wte": ({"id": 9, "value": [0] * 5}, normed[:5]),
    }
    assert exact.keys() | close.keys() == KINDS.keys()
    for kind, (entry, expected) in exact.items():
        got = value_of(wide, {"kind": kind, **entry})
        assert got == expected or expected is None and len(got) == 1, kind
    for kind, (entry, expected) in close.items():
        # float32 and float64 of the same: logits of order 10
        got = value_of(wide, {"kind": kind, **entry})
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5, err_msg=kind)
    with pytest.raises(InputError, match="kind: expected one of token ids, .*, got mood"):
        value_of(wide, {"kind": "mood"})


# ---- the real shape, and the real model


@pytest.mark.slow
def test_random_weights_of_the_published_shape_fail_at_the_tensors(tmp_path, capsys):
    GPT.from_config(PRESETS["gpt2"], tokenizer=Tokenizer.gpt2()).save(tmp_path, dtype="float16")
    assert main(["verify", str(tmp_path), "--json"]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    tensors = [row for row in found if row["name"].startswith("tensor ")]
    assert len(tensors) == 148 and all(row["passed"] is False and row["value"] for row in tensors)
    right = {row["name"].split(":")[0] for row in found if row["passed"]}
    assert right == {"file merges.txt", "parameters", "vocabulary", "token ids"}  # what does not depend on the weights


@pytest.mark.weights
def test_the_published_gpt2(capsys):
    try:
        registry.resolve("gpt2")
    except FileError:
        pytest.skip("skip: fetch with nanogpt-np download gpt2")
    assert main(["verify", "gpt2"]) == 0, capsys.readouterr().out
