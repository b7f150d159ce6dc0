"""Make llmc.bin, llmc_bf16.bin and llmc_state.bin with PyTorch: `python -m tests.goldens.make_llmc` from the root.

Enter: seeded weights, ids and targets. Leave: a small model in llm.c's two formats and its debug state, written
straight from the description of the format: 256 int32 (magic, version, n_ctx, n_vocab, n_layer, n_head, n_embd, rows
of wte), then the parameters, each kind for all blocks; linear weights [n_out, n_in]; wte filled up with zeros to a
multiple of 128 rows; the state with ids, targets, logits, loss and all gradients. Nothing of nanogpt_np is used here.
Logits, loss and gradients are computed in float64 by a model written below, and stored in float32 as the format wants.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

HERE = Path(__file__).parent
N_CTX, N_VOCAB, N_LAYER, N_HEAD, N_EMBD, N_ROWS = 12, 100, 2, 4, 16, 128
KINDS = {  # of a block, in the file's order -> shape
    "ln1w": (N_EMBD,), "ln1b": (N_EMBD,), "qkvw": (3 * N_EMBD, N_EMBD), "qkvb": (3 * N_EMBD,),
    "attprojw": (N_EMBD, N_EMBD), "attprojb": (N_EMBD,), "ln2w": (N_EMBD,), "ln2b": (N_EMBD,),
    "fcw": (4 * N_EMBD, N_EMBD), "fcb": (4 * N_EMBD,), "fcprojw": (N_EMBD, 4 * N_EMBD), "fcprojb": (N_EMBD,),
}  # fmt: skip


def weights():
    """name -> float32 tensor; those of all blocks in one, as the file has them."""
    rng = np.random.Generator(np.random.PCG64(20240326))
    shapes = {"wte": (N_VOCAB, N_EMBD), "wpe": (N_CTX, N_EMBD)}
    shapes |= {name: (N_LAYER, *shape) for name, shape in KINDS.items()} | {"lnfw": (N_EMBD,), "lnfb": (N_EMBD,)}
    found = {name: 0.3 * rng.standard_normal(shape) for name, shape in shapes.items()}
    for name in ("ln1w", "ln2w", "lnfw"):
        found[name] += 1
    return {name: torch.from_numpy(array.astype(np.float32)) for name, array in found.items()}


def forward(ids, p):
    """GPT-2's logits, from the formulas."""
    x = p["wte"][ids] + p["wpe"][: ids.shape[1]]
    for i in range(N_LAYER):
        b = {name: p[name][i] for name in KINDS}
        h = functional.layer_norm(x, (N_EMBD,), b["ln1w"], b["ln1b"], 1e-5)
        qkv = (h @ b["qkvw"].T + b["qkvb"]).split(N_EMBD, dim=-1)
        q, k, v = (one.unflatten(-1, (N_HEAD, -1)).transpose(1, 2) for one in qkv)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + mixed.transpose(1, 2).flatten(-2) @ b["attprojw"].T + b["attprojb"]
        h = functional.layer_norm(x, (N_EMBD,), b["ln2w"], b["ln2b"], 1e-5)
        h = functional.gelu(h @ b["fcw"].T + b["fcb"], approximate="tanh")
        x = x + h @ b["fcprojw"].T + b["fcprojb"]
    return functional.layer_norm(x, (N_EMBD,), p["lnfw"], p["lnfb"], 1e-5) @ p["wte"].T


def header(*numbers):
    return np.array([*numbers, *[0] * (256 - len(numbers))], dtype="<i4").tobytes()


def parameters(p, dtype):
    """The bytes of all parameters, wte filled up."""
    filled = functional.pad(p["wte"].detach(), (0, 0, 0, N_ROWS - N_VOCAB))
    arrays = [filled, *(tensor.detach() for name, tensor in p.items() if name != "wte")]
    as_bits = torch.int16 if dtype == torch.bfloat16 else torch.int32
    return b"".join(array.to(dtype).contiguous().view(as_bits).numpy().tobytes() for array in arrays)


def state(p):
    rng = np.random.Generator(np.random.PCG64(20240327))
    ids, targets = torch.from_numpy(rng.integers(0, N_VOCAB, (2, 2, 10)))
    p = {name: tensor.double().requires_grad_() for name, tensor in p.items()}
    logits = forward(ids, p)
    loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    loss.backward()
    numbers = [array.numpy().astype("<i4") for array in (ids, targets)]
    numbers += [array.detach().numpy().astype("<f4") for array in (logits, loss)]
    grads = {name: tensor.grad.float() for name, tensor in p.items()}
    return b"".join(array.tobytes() for array in numbers) + parameters(grads, torch.float32)


def main():
    parser = argparse.ArgumentParser(description="Make llmc.bin, llmc_bf16.bin and llmc_state.bin.")
    parser.add_argument("--out", type=Path, default=HERE, help="where the files go (default: beside this script)")
    out = parser.parse_args().out
    p, shape = weights(), (N_CTX, N_VOCAB, N_LAYER, N_HEAD, N_EMBD, N_ROWS)
    files = {
        "llmc.bin": header(20240326, 3, *shape) + parameters(p, torch.float32),
        "llmc_bf16.bin": header(20240326, 5, *shape) + parameters(p, torch.bfloat16),
        "llmc_state.bin": header(20240327, 2, 2, 10) + state(p),
    }
    for name, data in files.items():
        (out / name).write_bytes(data)
        print(f"{name}: {len(data):,} bytes")


if __name__ == "__main__":
    main()
