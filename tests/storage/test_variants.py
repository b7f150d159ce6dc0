"""Directories as others laid them: every dtype and naming of `transformers`, minGPT's and nanoGPT's layers, pickles.

The files and the logits come from those libraries (goldens/make_variants.py, goldens/make_nanogpt.py).
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hostile import one_line
from safetensors.numpy import load_file, save_file

from nanogpt_np import GPT, FileError, GPTConfig
from nanogpt_np.storage import checkpoint, nanogpt, pickled

GOLDENS = Path(__file__).parents[1] / "goldens"
TOLERANCE = 5e-6  # two float32 forward passes of 2 blocks, logits up to 2.9: at most 1.3e-6 apart; another GELU: 9e-5


def load(name):
    with np.load(GOLDENS / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


VARIANTS, NANOGPT = load("variants"), load("nanogpt")


def names(golden):
    return sorted({key.rpartition("/")[0] for key in golden if "/" in key})


def write(golden, name, folder):
    """The files of one golden, and its logits."""
    files = {key.rpartition("/")[2]: data for key, data in golden.items() if key.rpartition("/")[0] == name}
    logits = files.pop("logits")
    if not any("safetensors" in file for file in files):
        files["model.safetensors"] = golden["float32/model.safetensors"]
    for file, data in files.items():
        (folder / file).write_bytes(data.tobytes())
    return logits


@pytest.mark.parametrize("name", names(VARIANTS))
def test_what_transformers_laid_gives_its_logits(tmp_path, name):
    logits = write(VARIANTS, name, tmp_path)
    got = GPT.from_pretrained(tmp_path, ops="numpy")(VARIANTS["ids"])[0]
    np.testing.assert_allclose(got, logits, rtol=0, atol=TOLERANCE)


def test_the_goldens_are_what_they_are_called(tmp_path):
    """Else the test above would compare one file with itself many times."""
    assert len(names(VARIANTS)) == 21
    for name, dtype in (("float32", "F32"), ("float16", "F16"), ("bfloat16", "BF16"), ("bfloat16 shards", "BF16")):
        (tmp_path / name).mkdir()
        write(VARIANTS, name, tmp_path / name)
        tensors, _ = checkpoint.find_tensors(tmp_path / name)
        assert {info.dtype for _, info in tensors.values()} == {dtype}
    assert len({path for path, _ in tensors.values()}) == 3
    (tmp_path / "old").mkdir()
    write(VARIANTS, "distilgpt2", tmp_path / "old")
    tensors = load_file(tmp_path / "old" / "model.safetensors")
    assert tensors["transformer.h.1.attn.bias"].shape == (1, 1, 8, 8) and "lm_head.weight" in tensors
    assert tensors["transformer.h.0.attn.masked_bias"] == -1e4


@pytest.mark.parametrize("ops", ["numpy", "numba", "int8"])
@pytest.mark.parametrize("name", names(NANOGPT))
def test_layers_of_pytorch_are_turned(tmp_path, name, ops):
    logits = write(NANOGPT, name, tmp_path)
    got = GPT.from_pretrained(tmp_path, ops=ops)(NANOGPT["ids"])[0]
    # int8 rounds weights and activations to 1/127 of their largest: logits of order 1 to a few hundredths
    np.testing.assert_allclose(got, logits, rtol=0, atol=0.1 if ops == "int8" else TOLERANCE)


def test_what_was_turned_is_saved_as_published(tmp_path):
    logits = write(NANOGPT, "bias-free", tmp_path)
    gpt = GPT.from_pretrained(tmp_path, ops="numpy")
    assert gpt.config.activation == "gelu" and gpt.config.tie_word_embeddings and gpt.config.n_ctx == 8
    gpt.save(tmp_path / "ours")
    tensors = load_file(tmp_path / "ours" / "model.safetensors")
    assert tensors["transformer.h.0.attn.c_attn.weight"].shape == (8, 24)
    assert not tensors["transformer.h.0.attn.c_attn.bias"].any()
    got = GPT.from_pretrained(tmp_path / "ours", ops="numpy")(NANOGPT["ids"])[0]
    np.testing.assert_allclose(got, logits, rtol=0, atol=TOLERANCE)


def test_a_mask_is_no_bias(tmp_path):
    """nanoGPT's, where PyTorch has no attention of its own: a buffer called bias, and no bias beside it."""
    logits = write(NANOGPT, "bias-free", tmp_path)
    path = tmp_path / "model.safetensors"
    masks = {f"transformer.h.{i}.attn.bias": np.tril(np.ones((1, 1, 8, 8), np.float32)) for i in range(2)}
    save_file({**load_file(path), **masks}, path)
    got = GPT.from_pretrained(tmp_path, ops="numpy")(NANOGPT["ids"])[0]
    np.testing.assert_allclose(got, logits, rtol=0, atol=TOLERANCE)


def test_mingpt_is_known_by_its_arguments(tmp_path):
    write(NANOGPT, "mingpt", tmp_path)
    config = checkpoint.read_config(tmp_path)
    assert config.activation == "gelu_new" and not config.tie_word_embeddings and config.dropout == 0.1


def test_a_size_that_nanogpt_does_not_say(tmp_path):
    write(NANOGPT, "bias-free", tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    del raw["n_head"]
    (tmp_path / "config.json").write_text(json.dumps(raw))
    with pytest.raises(FileError, match="config.json: config: expected n_head beside block_size.*got none") as caught:
        checkpoint.load(tmp_path)
    one_line(caught)


def test_some_biases_are_not_none(tmp_path):
    """Where one bias is there, a missing one is a damaged file, not a model without biases."""
    write(NANOGPT, "compiled", tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    del tensors["_orig_mod.transformer.h.1.mlp.c_fc.bias"]
    save_file(tensors, path)
    with pytest.raises(FileError, match=r"h.1.mlp.c_fc.bias: expected the tensor, got none \(1 missing in all\)"):
        checkpoint.load(tmp_path)


def test_one_layer_the_other_way_round(tmp_path):
    write(NANOGPT, "bias-free", tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    tensors["transformer.h.1.mlp.c_fc.weight"] = np.ascontiguousarray(tensors["transformer.h.1.mlp.c_fc.weight"].T)
    save_file(tensors, path)
    with pytest.raises(FileError, match=r"h.1.mlp.c_fc.weight: expected shape \[8, 32\], got \[32, 8\]"):
        checkpoint.load(tmp_path)


def test_names_without_what_wrappers_put_before_them():
    assert nanogpt.plain_name("module._orig_mod.transformer.h.0.attn.c_attn.bias") == "h.0.attn.c_attn.bias"
    assert nanogpt.plain_name("transformers.h") == "transformers.h"


# ---- switches of config.json that would change the arithmetic


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale_attn_weights": False}, "expected scale_attn_weights = True, got False"),
        ({"scale_attn_by_inverse_layer_idx": True}, "expected scale_attn_by_inverse_layer_idx = False, got True"),
        ({"add_cross_attention": True}, "expected add_cross_attention = False, got True"),
        ({"activation_function": "quick_gelu"}, "expected one of gelu_new, gelu, relu, got 'quick_gelu'"),
        ({"activation_function": "silu"}, "expected one of gelu_new, gelu, relu, got 'silu'"),
        ({"activation_function": ["gelu"]}, r"expected one of gelu_new, gelu, relu, got \['gelu'\]"),
        ({"model_type": "gpt_neo"}, "expected model_type 'gpt2', got 'gpt_neo'"),
        ({"tie_word_embeddings": "no"}, "expected true or false, got 'no'"),
    ],
)
def test_what_would_be_computed_differently_is_refused(tmp_path, change, message):
    write(VARIANTS, "float32", tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(FileError, match=message) as caught:
        checkpoint.load(tmp_path)
    one_line(caught)


def test_weights_that_are_already_quantized_are_refused(tmp_path):
    write(VARIANTS, "float32", tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    tensors["transformer.h.0.mlp.c_fc.weight"] = np.zeros((8, 32), np.int8)
    save_file(tensors, path)
    with pytest.raises(FileError, match="h.0.mlp.c_fc.weight: expected a dtype of F32, F16, BF16, F64, got I8"):
        checkpoint.load(tmp_path)


# ---- pickles


@pytest.mark.parametrize("beginning", [b"\x80\x02}q\x00.", b"PK\x03\x04"])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", "ckpt.pt"])
def test_a_pickle_is_refused_with_the_command_that_converts_it(tmp_path, name, beginning):
    (tmp_path / name).write_bytes(beginning)
    with pytest.raises(FileError, match=f"expected model.safetensors, got {name}, a pickle, .*never loaded") as caught:
        checkpoint.load(tmp_path)
    text = one_line(caught)
    command = text.partition(" python -c ")[2]
    assert command.startswith("'") and command.endswith("'") and "'" not in command[1:-1]
    assert ("ckpt.pt" in command) is (name == "ckpt.pt")
    compile(command[1:-1], "the command", "exec")
    (tmp_path / "config.json").write_text(json.dumps(GPTConfig().to_dict()))
    with pytest.raises(FileError, match="a pickle"):
        checkpoint.load(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", name}


def test_what_is_called_bin_is_not_always_a_pickle(tmp_path):
    (tmp_path / "gpt2_124M.bin").write_bytes((20240326).to_bytes(4, "little"))
    assert pickled.refusal(tmp_path) is None


def run_command(message, folder):
    """Run the command that a refusal names, where it says."""
    code = re.search(r"python -c '(.*)'$", message)[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.peers
def test_the_command_for_pytorch_model_bin_does_what_it_says(tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    logits = write(VARIANTS, "float32", tmp_path)
    state = {name: torch.from_numpy(array) for name, array in load_file(tmp_path / "model.safetensors").items()}
    torch.save(state, tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileError) as caught:
        checkpoint.load(tmp_path)
    run_command(str(caught.value), tmp_path)
    np.testing.assert_allclose(GPT.from_pretrained(tmp_path)(VARIANTS["ids"])[0], logits, rtol=0, atol=TOLERANCE)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["bias-free", "compiled"])
def test_the_command_for_nanogpt_does_what_it_says(tmp_path, name):
    torch = pytest.importorskip("torch")
    logits = write(NANOGPT, name, tmp_path)
    state = {key: torch.from_numpy(array) for key, array in load_file(tmp_path / "model.safetensors").items()}
    head, table = (next(key for key in state if key.endswith(end)) for end in ("lm_head.weight", "wte.weight"))
    state[head] = state[table]  # one matrix under two names, as nanoGPT has it
    arguments = json.loads((tmp_path / "config.json").read_text())
    kept = {"model": state, "model_args": arguments, "iter_num": 5, "best_val_loss": torch.tensor(1.0), "config": {}}
    torch.save(kept, tmp_path / "ckpt.pt")
    for file in ("model.safetensors", "config.json"):
        (tmp_path / file).unlink()
    with pytest.raises(FileError, match="ckpt.pt, a pickle") as caught:
        checkpoint.load(tmp_path)
    run_command(str(caught.value), tmp_path)
    np.testing.assert_allclose(GPT.from_pretrained(tmp_path)(NANOGPT["ids"])[0], logits, rtol=0, atol=TOLERANCE)
    shutil.rmtree(tmp_path)
