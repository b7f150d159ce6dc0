"""Make lora.npz: `python -m tests.goldens.make_lora` from the project's root, with PEFT and PyTorch at hand.

Enter: seeded weights (recipe.py). Leave: for some target_modules the files of an adapter as PEFT saves them, the logits
that PEFT computes with it, plain and with rslora; and of ten steps of AdamW on A and B, each on a batch of its own, the
losses and the matrices after them, computed in float64. Nothing of nanogpt_np is used here.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import peft
import torch

from . import recipe, reference

HERE = Path(__file__).parent
SIZES = recipe.Sizes(n_vocab=37, n_ctx=12, n_embd=16, n_layer=2, n_head=2)
SEED, STD, LR = 20210617, 0.15, 5e-3
R, ALPHA = 3, 6
TARGETS = {"attention": ["c_attn"], "all": ["c_attn", "c_proj", "c_fc"], "one": ["mlp.c_proj"]}
PREFIX = "base_model.model.transformer."


def batches():
    """Ids and targets of the ten steps: [10, 2, n_ctx] each."""
    rows = np.random.default_rng(SEED).integers(0, SIZES.n_vocab, (recipe.N_STEPS, 2, SIZES.n_ctx + 1))
    return rows[..., :-1], rows[..., 1:]


def adapted(targets, rslora=False):
    """A PEFT model around transformers' GPT-2 in float64; B is random too, so that the adapter says something."""
    model = reference.build(SIZES, recipe.weights(SIZES, SEED, STD))
    config = peft.LoraConfig(r=R, lora_alpha=ALPHA, target_modules=targets, fan_in_fan_out=True, use_rslora=rslora,
                             task_type="CAUSAL_LM", base_model_name_or_path="tiny")  # fmt: skip
    model = peft.get_peft_model(model, config).double().eval()
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in learned(model).values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float32) * 0.1)
    return model


def learned(model):
    """Our name of a matrix -> PEFT's parameter."""
    return {
        name.removeprefix(PREFIX).replace(".default", ""): parameter
        for name, parameter in model.named_parameters() if parameter.requires_grad
    }  # fmt: skip


def saved(model):
    """The bytes of the two files that PEFT writes."""
    with tempfile.TemporaryDirectory() as folder:
        model.float().save_pretrained(folder)
        config = json.loads((Path(folder) / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = "tiny"
        return json.dumps(config, sort_keys=True).encode(), (Path(folder) / "adapter_model.safetensors").read_bytes()


def train(model):
    """Ten steps of AdamW -> the losses, and the matrices after them; before, they are those of the files."""
    optimizer = torch.optim.AdamW(learned(model).values(), lr=LR, **recipe.ADAMW)
    losses = []
    for ids, targets in zip(*map(torch.from_numpy, batches()), strict=True):
        logits = model(input_ids=ids).logits
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, SIZES.n_vocab), targets.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    after = {f"after/{name}": found.detach().numpy().astype(np.float32) for name, found in learned(model).items()}
    return after | {"losses": np.array(losses)}


def main():
    arrays, ids = {}, torch.from_numpy(batches()[0][0])
    for case, targets in TARGETS.items():
        with torch.no_grad():
            for way, rslora in (("plain", False), ("rslora", True)):
                logits = adapted(targets, rslora)(input_ids=ids).logits
                arrays[f"{case}/{way}/logits"] = logits.numpy().astype(np.float32)
        config, weights = saved(adapted(targets))
        arrays[f"{case}/adapter_config.json"] = np.frombuffer(config, np.uint8)
        arrays[f"{case}/adapter_model.safetensors"] = np.frombuffer(weights, np.uint8)
    arrays |= {f"steps/{name}": array for name, array in train(adapted(TARGETS["all"])).items()}
    np.savez_compressed(HERE / "lora.npz", **arrays)
    print(f"peft {peft.__version__}, torch {torch.__version__}: {(HERE / 'lora.npz').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
