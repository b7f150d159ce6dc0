"""Make variants.npz: `python -m tests.goldens.make_variants` from the project's root.

Enter: seeded weights (recipe.py). Leave: for each way in which `transformers` (and PyTorch) lay a GPT-2 into a
directory the bytes of its files, "float16/model.safetensors", and what that library computes from them in float32,
"float16/logits". Where only config.json differs the weights are those of "float32". Nothing of nanogpt_np is used here.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

from . import recipe

HERE = Path(__file__).parent
SIZES = recipe.Sizes(n_vocab=32, n_ctx=8, n_embd=8, n_layer=2, n_head=2)
SEED, STD = 20181011, 0.3
SHAPE = {"vocab_size": 32, "n_positions": 8, "n_embd": 8, "n_layer": 2, "n_head": 2}
ENDS = {"bos_token_id": 31, "eos_token_id": 31}

# what config.json of published models says besides, as their pages show it
SUMMARY = {
    "summary_activation": None, "summary_first_dropout": 0.1, "summary_proj_to_labels": True,
    "summary_type": "cls_index", "summary_use_proj": True, "initializer_range": 0.02,
    "attn_pdrop": 0.1, "embd_pdrop": 0.1, "resid_pdrop": 0.1, "layer_norm_epsilon": 1e-05,
}  # fmt: skip
DISTILGPT2 = {
    **SUMMARY, "_num_labels": 1, "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0},
    "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_ctx": 8,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
}  # fmt: skip
DIALOGPT = {
    **SUMMARY, "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2",
    "n_ctx": 8, "task_specific_params": {"conversational": {"max_length": 1000}},
}  # fmt: skip

CONFIGS = {  # as they change the arithmetic, or might
    "untied": {"tie_word_embeddings": False},
    "n_inner": {"n_inner": 20},
    "eps": {"layer_norm_epsilon": 1e-2},
    "upcast": {"reorder_and_upcast_attn": True},
    **{name: {"activation_function": name} for name in (
        "gelu", "gelu_new", "relu", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate", "gelu_python",
        "gelu_python_tanh",
    )},
}  # fmt: skip


def make(dtype=torch.float32, **changes):
    """A model of seeded weights."""
    sizes = SIZES._replace(tied=changes.get("tie_word_embeddings", True), n_inner=changes.get("n_inner"))
    model = GPT2LMHeadModel(GPT2Config(**SHAPE, **ENDS, **changes, attn_implementation="eager")).eval()
    weights = recipe.weights(sizes, SEED, STD)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(weights[name.removeprefix("transformer.")]))
    return model.to(dtype)


def saved(model, folder, **how):
    model.save_pretrained(folder, **how)
    return model


def with_masks(model, folder, extra, prefix, mask_dtype):
    """As versions before 4.31 laid it: the masks of attention beside the weights, every name as the module has it."""
    state = {prefix + name: tensor for name, tensor in model.transformer.state_dict().items()}
    n = SHAPE["n_positions"]
    for i in range(SHAPE["n_layer"]):
        state[f"{prefix}h.{i}.attn.bias"] = torch.tril(torch.ones(n, n)).view(1, 1, n, n).to(mask_dtype)
        state[f"{prefix}h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    if prefix:
        state["lm_head.weight"] = model.lm_head.weight
    state = {name: tensor.detach().clone() for name, tensor in state.items()}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**SHAPE, **ENDS, **extra}, indent=2))
    return model


VARIANTS = {
    "float32": lambda folder: saved(make(), folder),
    "float16": lambda folder: saved(make(torch.float16), folder),
    "bfloat16": lambda folder: saved(make(torch.bfloat16), folder),
    "shards": lambda folder: saved(make(), folder, max_shard_size="3KB"),
    "bfloat16 shards": lambda folder: saved(make(torch.bfloat16), folder, max_shard_size="2KB"),
    "bare": lambda folder: saved_bare(make(), folder),
    "distilgpt2": lambda folder: with_masks(make(), folder, DISTILGPT2, "transformer.", torch.float32),
    "old bare": lambda folder: with_masks(make(), folder, DIALOGPT, "", torch.uint8),
    "dialogpt": lambda folder: with_masks(make(torch.float16), folder, DIALOGPT, "transformer.", torch.bool),
    **{name: lambda folder, changes=changes: saved(make(**changes), folder) for name, changes in CONFIGS.items()},
}


def saved_bare(model, folder):
    model.transformer.save_pretrained(folder)
    return model


def golden(variant, ids):
    """-> the files as bytes, and the logits that the model of those weights gives in float32."""
    with tempfile.TemporaryDirectory() as folder:
        model = variant(Path(folder))
        files = {path.name: np.frombuffer(path.read_bytes(), np.uint8) for path in sorted(Path(folder).iterdir())}
    files.pop("generation_config.json", None)
    with torch.no_grad():
        return files, model.float()(torch.from_numpy(ids)[None]).logits[0].numpy()


def main():
    parser = argparse.ArgumentParser(description="Make variants.npz.")
    parser.add_argument("--out", type=Path, default=HERE, help="where the file goes (default: beside this script)")
    path = parser.parse_args().out / "variants.npz"
    ids = recipe.tokens(SIZES, SEED, (8,))
    versions = [f"torch {torch.__version__}", f"transformers {transformers.__version__}"]
    found = {"ids": ids, "made_with": np.array(versions)}
    for name, variant in VARIANTS.items():
        files, logits = golden(variant, ids)
        weights = files.get("model.safetensors", np.empty(0, np.uint8)).tobytes()
        if name != "float32" and weights == found["float32/model.safetensors"].tobytes():
            del files["model.safetensors"]
        found |= {f"{name}/{file}": data for file, data in files.items()} | {f"{name}/logits": logits}
    np.savez_compressed(path, **found)
    print(f"{path.name}: {path.stat().st_size:,} bytes, {len(VARIANTS)} variants")


if __name__ == "__main__":
    main()
