"""Make the golden files with PyTorch and transformers: `python -m tests.goldens.make` from the project's root.

Enter: seeded weights and ids (recipe.py). Leave: tiny.npz, narrow.npz, wide.npz, sampling.npz, beams.npz,
real_attention.npz, and by vocabulary.py tokenizer.json.
Nothing of nanogpt_np is used here: the references come from someone else's GPT-2. Each is computed in float64; the
same in float32 is run beside it, only to measure how far single precision by itself wanders (stored as "noise").
Afterwards, where nanogpt_np can be imported, interchange.py lets each side open what the other saved.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers.generation import logits_process

from . import recipe
from .reference import beam_search, build, cross_entropy, everything, forward, score

HERE = Path(__file__).parent


def noise(single, double):
    """How far float32 wanders from float64, per quantity: absolute, but gradients and norms relative to the largest."""
    found = {}
    for name, expected in double.items():
        scale = np.abs(expected).max() if "grads/" in name or name.endswith("norm") else 1.0
        found[name] = np.abs(single[name] - expected).max() / scale
    return {"noise/names": np.array(list(found)), "noise/values": np.array(list(found.values()))}


def under(prefix, named):
    """The entries whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): array for name, array in named.items() if name.startswith(prefix)}


def pack(prefix, named):
    """Many large arrays as names, 64 places of each, the values there, and a digest of the whole."""
    where = {name: recipe.places(array) for name, array in named.items()}
    return {
        f"{prefix}/names": np.array(list(named)),
        f"{prefix}/places": np.array(list(where.values()), dtype=np.int32),
        f"{prefix}/values": np.array([named[n].ravel()[at] for n, at in where.items()], dtype=np.float64),
        f"{prefix}/digests": np.array([recipe.digest(array) for array in named.values()]),
    }


def tiny():
    """Three tiny models in full (tied, erf GELU, untied), and the tied one's padded, cached and greedy runs."""
    sizes, untied = recipe.TINY, recipe.TINY._replace(tied=False)
    weights = recipe.weights(untied, recipe.TINY_SEED, recipe.TINY_STD)
    tokens = recipe.tokens(sizes, 1, (2, 13))
    single, double = {}, {}
    for found, dtype in ((single, torch.float32), (double, torch.float64)):
        found |= everything(sizes, weights, tokens, recipe.TINY_LR, dtype)
        found |= variant("erf", sizes, weights, tokens, dtype, activation="gelu")
        found |= variant("untied", untied, weights, tokens, dtype)
    file = {f"weights/{name}": array for name, array in weights.items()} | {"tokens": tokens}
    file |= {name: array for name, array in double.items() if not name.startswith("stepped/")}
    file |= pack("stepped", under("stepped/", double))
    model = build(sizes, weights)
    file |= ignored_targets(model, tokens) | padded(model, sizes) | cached(model, sizes)
    return file | greedy(build(untied, weights), untied) | noise(single, double)


def variant(prefix, sizes, weights, tokens, dtype, activation="gelu_new"):
    """Logits, loss, gradients and losses of a variant; the gradients kept in float32, in which they are compared."""
    found = everything(sizes, weights, tokens, recipe.TINY_LR, dtype, activation)
    kept = {name: a for name, a in found.items() if not name.startswith(("acts/", "stepped/"))}
    return {f"{prefix}/{n}": a.astype(np.float32) if n.startswith("grads/") else a for n, a in kept.items()}


def narrow():
    """The tiny model with another width inside its feed-forward networks, and relu; both sides draw the weights."""
    sizes, tokens = recipe.NARROW, recipe.tokens(recipe.NARROW, 1, (2, 13))
    weights = recipe.weights(sizes, recipe.TINY_SEED, recipe.TINY_STD)
    single, double = (
        variant("narrow", sizes, weights, tokens, dtype, activation="relu") for dtype in (torch.float32, torch.float64)
    )
    return {"tokens": tokens} | double | noise(single, double)


def ignored_targets(model, tokens):
    """A loss that skips the targets marked -100, and its gradient at the token embedding."""
    targets = tokens[:, 1:].copy()
    targets[0, :5] = targets[1, -3:] = -100
    model.zero_grad()
    loss = cross_entropy(model(torch.from_numpy(tokens[:, :-1]), use_cache=False).logits, torch.from_numpy(targets))
    loss.backward()
    grad = model.transformer.wte.weight.grad.numpy().copy()
    return {"ignored/targets": targets, "ignored/loss": loss.detach().numpy(), "ignored/grads/wte.weight": grad}


def padded(model, sizes):
    """A left-padded batch: positions count the real tokens only, as transformers' generate has it."""
    ids, mask = recipe.tokens(sizes, 2, (3, 9)), np.ones((3, 9), dtype=np.int64)
    mask[1, :4] = mask[2, :7] = 0
    positions = np.clip(np.cumsum(mask, axis=1) - 1, 0, None)
    with torch.no_grad():
        logits = model(
            torch.from_numpy(ids),
            attention_mask=torch.from_numpy(mask),
            position_ids=torch.from_numpy(positions),
            use_cache=False,
        ).logits
    return {"padded/ids": ids, "padded/mask": mask, "padded/logits": logits.numpy()}


def cached(model, sizes):
    """The same sequence fed in pieces through transformers' key-value cache; each piece's logits, joined."""
    ids, pieces = recipe.tokens(sizes, 3, (2, 16)), np.array([5, 1, 1, 1, 4, 1, 3])
    past, logits, start = None, [], 0
    with torch.no_grad():
        for n in pieces:
            out = model(torch.from_numpy(ids[:, start : start + n]), past_key_values=past, use_cache=True)
            past, start = out.past_key_values, start + n
            logits.append(out.logits.numpy())
    return {"cached/ids": ids, "cached/pieces": pieces, "cached/logits": np.concatenate(logits, axis=1)}


def greedy(model, sizes):
    """Twenty greedy ids after one prompt, and after a left-padded batch of two.

    Untied, since the tied model repeats itself; the seeds are chosen so that the ids vary and no two logits nearly tie.
    """
    prompt, batch = recipe.tokens(sizes, 10, (1, 6)), recipe.tokens(sizes, 12, (2, 7))
    mask = np.ones((2, 7), dtype=np.int64)
    mask[0, :3] = 0
    settings = {"max_new_tokens": 20, "do_sample": False, "pad_token_id": 0}
    one = model.generate(torch.from_numpy(prompt), attention_mask=torch.ones(1, 6, dtype=torch.int64), **settings)
    two = model.generate(torch.from_numpy(batch), attention_mask=torch.from_numpy(mask), **settings)
    return {
        "greedy/prompt": prompt,
        "greedy/new_ids": one.numpy()[:, 6:],
        "greedy/batch": batch,
        "greedy/mask": mask,
        "greedy/batch_new_ids": two.numpy()[:, 7:],
    }


def wide():
    """Two layers of GPT-2 124M's true widths: places and digests of everything, since the whole would be gigabytes."""
    sizes = recipe.WIDE
    weights = recipe.weights(sizes, recipe.WIDE_SEED, recipe.WIDE_STD)
    tokens, long = recipe.tokens(sizes, 6, (2, 65)), recipe.tokens(sizes, 7, (1, sizes.n_ctx))
    file = {"tokens": tokens, "long_ids": long}
    file |= pack("weights", weights)
    single = everything(sizes, weights, tokens, recipe.WIDE_LR, torch.float32)
    double = everything(sizes, weights, tokens, recipe.WIDE_LR, torch.float64)
    quiet = noise(single, double)
    for kind in ("acts", "grads", "stepped"):
        file |= pack(kind, under(f"{kind}/", double))
    file |= pack("rows", {f"logits.{b}.{t}": double["logits"][b, t] for b in (0, 1) for t in (0, 31, 63)})
    file |= pack("wte_rows", {str(i): double["grads/wte.weight"][i] for i in tokens[0, :4]})
    file |= {name: double[name] for name in ("loss", "norm", "losses")}
    single = forward(build(sizes, weights, torch.float32), long, sizes)
    double = forward(build(sizes, weights), long, sizes)
    file |= pack("long_acts", under("acts/", double))
    file |= pack("long_rows", {f"logits.0.{t}": double["logits"][0, t] for t in (0, 1, 511, 1022, 1023)})
    more = noise(single, double)
    names = np.concatenate([quiet["noise/names"], ["long_" + n for n in more["noise/names"]]])
    return file | {"noise/names": names, "noise/values": np.concatenate([quiet["noise/values"], more["noise/values"]])}


def sampling():
    """What each of transformers' logits processors makes of the same random logits, one array per setting."""
    rng = np.random.Generator(np.random.PCG64(8))
    logits = 3 * rng.standard_normal((3, 97), dtype=np.float32)
    previous = rng.integers(0, 97, (3, 8))
    previous[:, -1] = previous[:, 0]  # an id that stands twice is penalised once
    settings = {
        "temperature": (logits_process.TemperatureLogitsWarper, (0.1, 0.7, 1.0, 1.5)),
        "top_k": (logits_process.TopKLogitsWarper, (1, 5, 40, 97, 200)),
        "top_p": (logits_process.TopPLogitsWarper, (0.01, 0.5, 0.9, 0.95, 0.999)),
        "min_p": (logits_process.MinPLogitsWarper, (0.01, 0.05, 0.2, 1.0)),
        "repetition_penalty": (logits_process.RepetitionPenaltyLogitsProcessor, (0.8, 1.0, 1.3)),
    }
    file = {"logits": logits, "previous_ids": previous}
    for name, (processor, values) in settings.items():
        for value in values:
            out = processor(value)(torch.from_numpy(previous), torch.from_numpy(logits.copy()))
            file[f"{name}/{value}"] = out.numpy()
    out = torch.from_numpy(logits.copy())
    for name, value in (("repetition_penalty", 1.3), ("temperature", 0.7), ("top_k", 20), ("top_p", 0.9)):
        out = settings[name][0](value)(torch.from_numpy(previous), out)
    return file | {"chain": out.numpy()}


def beams():
    """Every beam search of the recipe on a left-padded batch: ids, transformers' float32 scores, the same in float64.

    Besides, one search with logits processors. The prompts' seed is chosen so that the settings give different ids.
    """
    sizes = recipe.TINY._replace(tied=False)
    model = build(sizes, recipe.weights(sizes, recipe.TINY_SEED, recipe.TINY_STD))
    prompts, mask = recipe.tokens(sizes, 25, (4, 7)), np.ones((4, 7), dtype=np.int64)
    mask[1, :2] = mask[2, :4] = mask[3, :6] = 0
    real = [prompt[kept] for prompt, kept in zip(prompts, mask == 1, strict=True)]
    found = [beam_search(model, prompts, mask, setting) for setting in recipe.BEAMS]
    exact = [
        [
            score(model, real[row // recipe.BEAMS_RETURNED], new[new >= 0], setting.length_penalty)
            for row, new in enumerate(ids)
        ]
        for setting, (ids, _) in zip(recipe.BEAMS, found, strict=True)
    ]
    setting, unpadded = recipe.BEAMS_PROCESSED, np.ones_like(mask)  # transformers would penalise the padding too
    ids, scores = beam_search(model, prompts, unpadded, setting, recipe.BEAMS_PENALTY, recipe.BEAMS_BANNED)
    file = {"prompts": prompts, "mask": mask, "processed/ids": ids.astype(np.int16), "processed/scores": scores}
    file |= {"ids": np.array([ids for ids, _ in found], dtype=np.int16)}
    return file | {"scores": np.array([scores for _, scores in found]), "exact_scores": np.array(exact)}


def real_attention(reference):
    """A cut of the real GPT-2's attention: one head of each layer, its published scores and our own probabilities.

    The published file holds probabilities too; they are not read here. Scale, mask and softmax are redone in float64.
    """
    with np.load(reference / "gpt2_124m_prompt0.npz", allow_pickle=False) as published:
        prompt, ids, scores = published["prompt"], published["ids"], published["attn_scores"]
    cut = scores[np.arange(12), np.arange(12)]  # head i of layer i: [12, n_seq, n_seq]
    scaled = cut.astype(np.float64) / 8.0  # sqrt(d_head) = sqrt(64)
    scaled[:, np.triu(np.ones(cut.shape[1:], dtype=bool), k=1)] = -np.inf
    weight = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return {"prompt": prompt, "ids": ids, "scores": cut, "probs": weight / weight.sum(axis=-1, keepdims=True)}


def main():
    parser = argparse.ArgumentParser(description="Make the golden .npz files.")
    parser.add_argument("--out", type=Path, default=HERE, help="where the files go (default: beside this script)")
    parser.add_argument(
        "--reference",
        type=Path,
        default=HERE.parents[2] / "shared" / "reference",
        help="the folder of gpt2_124m_prompt0.npz; where it is absent, real_attention.npz stays as it is",
    )
    parser.add_argument(
        "--only",
        nargs="*",
        default=["tiny", "narrow", "wide", "sampling", "beams", "real_attention", "vocabulary", "interchange"],
    )
    args = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)
    made_with = np.array([f"{library.__name__} {library.__version__}" for library in (torch, transformers, np)])
    makers = {"tiny": tiny, "narrow": narrow, "wide": wide, "sampling": sampling, "beams": beams}
    if (args.reference / "gpt2_124m_prompt0.npz").exists():
        makers["real_attention"] = lambda: real_attention(args.reference)
    for name in [name for name in makers if name in args.only]:
        path = args.out / f"{name}.npz"
        np.savez_compressed(path, made_with=made_with, **makers[name]())
        print(f"{path.name}: {path.stat().st_size:,} bytes", flush=True)
    if "vocabulary" in args.only:
        from . import vocabulary

        vocabulary.main()
    if "interchange" in args.only:
        from . import interchange

        sys.exit(interchange.main())


if __name__ == "__main__":
    main()
