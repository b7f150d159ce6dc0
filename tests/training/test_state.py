"""The state of a run: what was written is what is read, or an error in one line; files of earlier versions too."""

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from nanogpt_np import params as P
from nanogpt_np.errors import FileError
from nanogpt_np.training import optim, state


def make(seed):
    """Two small arrays with their moments, and a generator that has drawn."""
    rng = np.random.default_rng(seed)
    params = {"wte": {"weight": rng.normal(size=(3, 2)).astype(np.float32)}, "ln_f": {"bias": np.ones(2, np.float32)}}
    optimizer = optim.AdamW(params)
    for tree in (optimizer.m, optimizer.v):
        for _, array in P.walk(tree):
            array += rng.random(array.shape, np.float32)
    optimizer.n_steps = seed
    return params, optimizer, rng


def everything(params, optimizer, rng):
    arrays = [array.tolist() for tree in (params, optimizer.m, optimizer.v) for _, array in P.walk(tree)]
    return arrays, optimizer.n_steps, rng.bit_generator.state


def save(folder, seed=7):
    made = make(seed)
    state.save(folder, *made, step=5, extra={"tokenizer": "abc"})
    return made


def test_what_is_saved_comes_back(tmp_path):
    made, again = save(tmp_path), make(8)
    about = state.load(tmp_path, *again)
    assert (about["step"], about["tokenizer"]) == (5, "abc")
    assert everything(*made) == everything(*again)


def test_the_same_state_is_the_same_file(tmp_path):
    files = []
    for _ in range(4):  # the library orders metadata by chance
        save(tmp_path)
        files.append((tmp_path / state.NAME).read_bytes())
    assert len(set(files)) == 1


def test_every_bit_counts(tmp_path):
    """Each 29th, which is each bit of a byte in turn: noticed, or without effect (a name's place in the header)."""
    expected = everything(*save(tmp_path))
    path = tmp_path / state.NAME
    good = path.read_bytes()
    n_noticed, places = 0, range(0, 8 * len(good), 29)
    for place in places:
        bad = bytearray(good)
        bad[place // 8] ^= 1 << place % 8
        path.write_bytes(bad)
        again = make(8)
        try:
            about = state.load(tmp_path, *again)
        except FileError as error:
            n_noticed += 1
            assert "training_state.safetensors: " in str(error) and "\n" not in str(error) and len(str(error)) < 500
        else:
            assert everything(*again) == expected and about == {
                "step": 5, "n_steps": 7, "rng": expected[2], "tokenizer": "abc"
            }  # fmt: skip
    assert n_noticed > 0.98 * len(places)  # the header is filled up with spaces, and a tab is as good as one


def test_a_state_of_earlier_versions_has_no_checksums(tmp_path):
    made = save(tmp_path)
    rewrite(tmp_path, lambda about: about)
    again = make(8)
    assert state.load(tmp_path, *again)["step"] == 5
    assert everything(*again) == everything(*made)


def rewrite(folder, change):
    """The same file as earlier versions wrote it, with what stands beside the tensors changed."""
    path = folder / state.NAME
    with safe_open(path, framework="np") as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}
        about = json.loads(stored.metadata()["state"])
    save_file(tensors, path, {"state": json.dumps(change(about))})


@pytest.mark.parametrize(
    "change",
    [
        lambda about: [],
        lambda about: None,
        lambda about: {name: value for name, value in about.items() if name != "step"},
        lambda about: {name: value for name, value in about.items() if name != "n_steps"},
        lambda about: {name: value for name, value in about.items() if name != "rng"},
        lambda about: {name: value for name, value in about.items() if name != "tokenizer"},
        lambda about: about | {"step": "5"},
        lambda about: about | {"step": -1},
        lambda about: about | {"n_steps": 1.5},
        lambda about: about | {"tokenizer": ["abc"]},
        lambda about: about | {"rng": 5},
        lambda about: about | {"rng": {}},
        lambda about: about | {"rng": about["rng"] | {"bit_generator": "PCG32"}},
        lambda about: about | {"rng": about["rng"] | {"state": {"state": 1}}},
        lambda about: about | {"rng": about["rng"] | {"state": {"state": "x\n", "inc": 2}}},
        lambda about: about | {"rng": about["rng"] | {"state": {"state": 2**200, "inc": -5}}},
        lambda about: about | {"rng": {"bit_generator": "PCG64", "state": about["rng"]["state"]}},
    ],
)
def test_nonsense_beside_the_tensors_is_one_line(tmp_path, change):
    save(tmp_path)
    rewrite(tmp_path, change)
    with pytest.raises(FileError) as caught:
        state.load(tmp_path, *make(8))
    assert "training_state.safetensors: expected a training state of this model, got" in str(caught.value)
    assert "\n" not in str(caught.value) and "or start a new run" in str(caught.value)


def test_metadata_that_is_neither_old_nor_ours(tmp_path):
    save(tmp_path)
    path = tmp_path / state.NAME
    path.write_bytes(path.read_bytes().replace(b'"crc32"', b'"crc33"'))
    with pytest.raises(FileError, match="crc33"):
        state.load(tmp_path, *make(8))
