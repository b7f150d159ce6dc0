"""Make classifier.npz: `python -m tests.goldens.make_classifier` from the project's root.

Enter: seeded weights (recipe.py), seeded texts of different lengths. Leave: what GPT2ForSequenceClassification of
`transformers` computes from them, ten steps of torch's AdamW for each way of fine-tuning, and the files of a directory
that it saved. Nothing of nanogpt_np is used here.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import GPT2Config, GPT2ForSequenceClassification

from . import recipe

HERE = Path(__file__).parent
SIZES = recipe.Sizes(n_vocab=32, n_ctx=8, n_embd=8, n_layer=2, n_head=2)
SEED, STD, PAD, N_STEPS, LR = 20050611, 0.3, 31, 10, 1e-3
LABELS = ("bad", "fair", "good")
WAYS = {  # name -> lowest stage that learns (0: the embeddings), factor of the rate from stage to stage, class weights
    "whole": (0, 1.0, None),
    "frozen": (2, 1.0, None),
    "head": (3, 1.0, None),
    "layers": (0, 0.5, None),
    "weighted": (0, 1.0, (0.25, 1.0, 3.0)),
}


def texts():
    """-> ids [10, 6, 8] padded with PAD, lengths [10, 6], labels [10, 6]: a batch for each step."""
    rng = np.random.Generator(np.random.PCG64(SEED))
    lengths = rng.integers(1, 9, (N_STEPS, 6))
    ids = rng.integers(0, PAD, (N_STEPS, 6, 8))  # PAD itself stands in no text
    ids[np.arange(8) >= lengths[..., None]] = PAD
    return ids, lengths, rng.integers(0, len(LABELS), (N_STEPS, 6))


def make():
    """A model of seeded weights."""
    config = GPT2Config(
        vocab_size=32, n_positions=8, n_embd=8, n_layer=2, n_head=2, bos_token_id=PAD, eos_token_id=PAD,
        pad_token_id=PAD, id2label=dict(enumerate(LABELS)), label2id={name: i for i, name in enumerate(LABELS)},
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, attn_implementation="eager",
    )  # fmt: skip
    model = GPT2ForSequenceClassification(config).eval()
    weights = recipe.weights(SIZES, SEED, STD)
    score = np.random.Generator(np.random.PCG64(SEED + 1)).standard_normal((3, 8), np.float32) * np.float32(STD)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            found = score if name == "score.weight" else weights[name.removeprefix("transformer.")]
            parameter.copy_(torch.from_numpy(found))
    return model


def stage(name):
    """0: embeddings, 1 and 2: blocks, 3: ln_f and score."""
    parts = name.removeprefix("transformer.").split(".")
    return {"wte": 0, "wpe": 0, "ln_f": 3, "score": 3}.get(parts[0]) if parts[0] != "h" else int(parts[1]) + 1


def train(lowest, decay, class_weights):
    """Ten steps in float64 -> losses [10], and all weights that learn as one row, in the order of their names."""
    model, (ids, _, labels) = make().double(), map(torch.from_numpy, texts())
    groups = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad = stage(name) >= lowest
        if parameter.requires_grad:
            shrink = recipe.ADAMW["weight_decay"] if parameter.ndim >= 2 else 0.0
            groups.append({"params": [parameter], "lr": LR * decay ** (3 - stage(name)), "weight_decay": shrink})
    optimizer = torch.optim.AdamW(groups, betas=recipe.ADAMW["betas"], eps=recipe.ADAMW["eps"], foreach=False)
    weight = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float64)
    losses = []
    for step in range(N_STEPS):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(ids[step]).logits, labels[step], weight=weight)
        loss.backward()
        clip([p.grad for p in model.parameters() if p.requires_grad])
        optimizer.step()
        losses.append(loss.item())
    named = {name.removeprefix("transformer."): p for name, p in model.named_parameters() if p.requires_grad}
    flat = np.concatenate([named[name].detach().numpy().ravel() for name in sorted(named)])
    return np.array(losses), flat.astype(np.float32)


def clip(grads):
    """As torch's clip_grad_norm_, without the 1e-6 that it adds to the norm."""
    norm = torch.sqrt(sum(grad.square().sum() for grad in grads))
    for grad in grads:
        grad.mul_(torch.clamp(recipe.CLIP_NORM / norm, max=1.0))


def main():
    model, (ids, lengths, labels) = make(), texts()
    kept = {"ids": ids, "lengths": lengths, "labels": labels}
    with torch.no_grad():
        kept["logits"] = model(torch.from_numpy(ids[0])).logits.numpy()
        own = torch.nn.functional.cross_entropy(model(torch.from_numpy(ids[0])).logits, torch.from_numpy(labels[0]))
        assert np.isclose(own, model(torch.from_numpy(ids[0]), labels=torch.from_numpy(labels[0])).loss)
        ending = torch.tensor([[3, 9, 4, PAD], [3, 9, 4, 5]])  # the first text ends in the id that is padding, too
        kept["trap/ids"], kept["trap/logits"] = ending.numpy(), model(ending).logits.numpy()
    for name, way in WAYS.items():
        kept[f"{name}/losses"], kept[f"{name}/weights"] = train(*way)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        for path in sorted(Path(folder).iterdir()):
            kept[f"files/{path.name}"] = np.frombuffer(path.read_bytes(), np.uint8)
    kept["versions"] = np.array(json.dumps({"torch": torch.__version__, "transformers": transformers.__version__}))
    np.savez_compressed(HERE / "classifier.npz", **kept)
    print(f"classifier.npz: {(HERE / 'classifier.npz').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
