"""Make nanogpt.npz: `python -m tests.goldens.make_nanogpt` from the project's root.

Enter: seeded weights (recipe.py), in models written here with PyTorch's own layers as minGPT and nanoGPT put them
together. Leave: for each the bytes of a directory, "bias-free/model.safetensors" with its state as PyTorch names and
lays it, "bias-free/config.json" with the arguments it was made from, and its logits. Nothing of nanogpt_np is used.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F

from . import recipe

HERE = Path(__file__).parent
SIZES = recipe.Sizes(n_vocab=32, n_ctx=8, n_embd=8, n_layer=2, n_head=2)
SEED, STD = 20221228, 0.3
ARGUMENTS = {"n_layer": 2, "n_head": 2, "n_embd": 8, "block_size": 8, "vocab_size": 32}
MINGPT = {"model_type": None, **ARGUMENTS, "embd_pdrop": 0.1, "resid_pdrop": 0.1, "attn_pdrop": 0.1}


class Norm(nn.Module):
    """A layer norm with or without a bias."""

    def __init__(self, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(SIZES.n_embd))
        self.bias = nn.Parameter(torch.zeros(SIZES.n_embd)) if bias else None

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class Attention(nn.Module):
    """Causal attention; `mask`: keep it as a buffer, as minGPT does."""

    def __init__(self, bias, mask):
        super().__init__()
        self.c_attn = nn.Linear(SIZES.n_embd, 3 * SIZES.n_embd, bias=bias)
        self.c_proj = nn.Linear(SIZES.n_embd, SIZES.n_embd, bias=bias)
        self.mask = mask
        if mask:
            ones = torch.tril(torch.ones(SIZES.n_ctx, SIZES.n_ctx))
            self.register_buffer("bias", ones.view(1, 1, SIZES.n_ctx, SIZES.n_ctx))

    def forward(self, x):
        n_batch, n_seq, n_embd = x.shape
        q, k, v = (
            part.view(n_batch, n_seq, SIZES.n_head, -1).transpose(1, 2) for part in self.c_attn(x).split(n_embd, dim=2)
        )
        if self.mask:
            scores = q @ k.transpose(-2, -1) / math.sqrt(k.size(-1))
            scores = scores.masked_fill(self.bias[:, :, :n_seq, :n_seq] == 0, float("-inf"))
            y = F.softmax(scores, dim=-1) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).contiguous().view(n_batch, n_seq, n_embd))


class Block(nn.Module):
    """Attention and a feed-forward network."""

    def __init__(self, bias, mask, gelu):
        super().__init__()
        n = SIZES.n_embd
        self.ln_1, self.ln_2, self.attn = Norm(bias), Norm(bias), Attention(bias, mask)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(n, 4 * n, bias=bias), "c_proj": nn.Linear(4 * n, n, bias=bias)})
        self.gelu = gelu

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp["c_proj"](self.gelu(self.mlp["c_fc"](self.ln_2(x))))


class Net(nn.Module):
    """Embeddings, blocks, a last norm, logits; `tied`: with the embedding's matrix, as nanoGPT does."""

    def __init__(self, bias=True, mask=False, gelu=F.gelu, tied=True):
        super().__init__()
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(SIZES.n_vocab, SIZES.n_embd),
            "wpe": nn.Embedding(SIZES.n_ctx, SIZES.n_embd),
            "h": nn.ModuleList([Block(bias, mask, gelu) for _ in range(SIZES.n_layer)]),
            "ln_f": Norm(bias),
        })
        self.lm_head = nn.Linear(SIZES.n_embd, SIZES.n_vocab, bias=False)
        if tied:
            self.transformer["wte"].weight = self.lm_head.weight

    def forward(self, ids):
        x = self.transformer["wte"](ids) + self.transformer["wpe"](torch.arange(ids.shape[1]))
        for block in self.transformer["h"]:
            x = block(x)
        return self.lm_head(self.transformer["ln_f"](x))


def new_gelu(x):
    """minGPT's GELU."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


# how it is made, what config.json says of it, and what stands before every name
VARIANTS = {
    "bias-free": (Net(bias=False), {**ARGUMENTS, "bias": False, "dropout": 0.0}, ""),
    "compiled": (Net(), {**ARGUMENTS, "bias": True, "dropout": 0.1}, "_orig_mod."),
    "mingpt": (Net(mask=True, gelu=new_gelu, tied=False), MINGPT, ""),
    "their words": (  # the same layout beside a config.json of `transformers`
        Net(bias=False, gelu=new_gelu),
        {"model_type": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 8, "n_positions": 8, "vocab_size": 32},
        "module.",
    ),
}


def fill(net):
    """Seeded numbers everywhere, as PyTorch lays them."""
    rng = np.random.Generator(np.random.PCG64(SEED))
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            values = STD * rng.standard_normal(tuple(parameter.shape), dtype=np.float32)
            parameter.copy_(torch.from_numpy(values + (".ln_" in f".{name}" and name.endswith("weight"))))
    return net.eval()


def main():
    parser = argparse.ArgumentParser(description="Make nanogpt.npz.")
    parser.add_argument("--out", type=Path, default=HERE, help="where the file goes (default: beside this script)")
    path = parser.parse_args().out / "nanogpt.npz"
    ids = recipe.tokens(SIZES, SEED, (8,))
    found = {"ids": ids, "made_with": np.array([f"torch {torch.__version__}"])}
    for name, (net, arguments, prefix) in VARIANTS.items():
        state = {prefix + key: tensor.clone() for key, tensor in fill(net).state_dict().items()}
        found[f"{name}/model.safetensors"] = np.frombuffer(save(state), np.uint8)
        found[f"{name}/config.json"] = np.frombuffer(json.dumps(arguments).encode(), np.uint8)
        with torch.no_grad():
            found[f"{name}/logits"] = net(torch.from_numpy(ids)[None])[0].numpy()
    np.savez_compressed(path, **found)
    print(f"{path.name}: {path.stat().st_size:,} bytes, {len(VARIANTS)} variants")


if __name__ == "__main__":
    main()
