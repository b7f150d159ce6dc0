"""Does each library open what the other saved? Run by make.py, or alone: `python -m tests.goldens.interchange`.

Enter: tiny models of seeded weights (recipe.py). Leave: a table of PASS and FAIL. It needs PyTorch, transformers and
nanogpt_np side by side, so it is no part of the suite.
"""

import importlib.util
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, GPT2LMHeadModel
from transformers.utils.logging import disable_progress_bar

from . import recipe, reference

TOLERANCE = 1e-5  # two float32 forward passes of the same weights; logits are of order 1
TEXT = "Hello, world! I'll say: naïve 你好 👍🏽\n\n  two  spaces\t<|endoftext|> 1234567"
VARIANTS = {
    "tied": {},
    "untied": {"tie_word_embeddings": False},
    "erf GELU": {"activation": "gelu"},
    "another layer_norm_eps": {"layer_norm_eps": 1e-3},
    "relu, n_inner": {"activation": "relu", "n_inner": 40},
}


def main():
    """Run every check; -> 0 where all pass, else 1. Without nanogpt_np there is nothing to check: 0."""
    if importlib.util.find_spec("nanogpt_np") is None:
        print("nanogpt_np cannot be imported here: interchange not checked")
        return 0
    disable_progress_bar()
    return report(list_checks())


def list_checks():
    """What is checked -> a function of a folder that returns the worst difference, or raises."""
    ours_opened = "transformers opens what nanogpt_np saved: "
    theirs_opened = "nanogpt_np opens what transformers saved: "
    checks = {}
    for name, changes in VARIANTS.items():
        checks[ours_opened + name] = partial(ours, **changes)
        checks[theirs_opened + name] = partial(theirs, **changes)
    checks[ours_opened + "sinusoidal positions"] = partial(ours, positions="sinusoidal")
    for name in ("tied", "untied"):
        checks[f"{ours_opened}{name}, float16"] = partial(ours, saved_as="float16", **VARIANTS[name])
        checks[f"{theirs_opened}{name}, float16"] = partial(theirs, saved_as=torch.float16, **VARIANTS[name])
    checks[theirs_opened + "bfloat16"] = partial(theirs, saved_as=torch.bfloat16)
    checks[theirs_opened + "in shards"] = partial(theirs, max_shard_size="40KB")
    checks["transformers opens the tokenizer that nanogpt_np saved"] = tokenizer
    return checks | {"nanogpt_np opens the tokenizer that transformers saved": their_tokenizer}


def report(checks):
    """Run all, print one line each; -> 0 where all pass, else 1."""
    failed = 0
    for name, check in checks.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                worst, why = check(Path(folder)), ""
            except Exception as error:  # whatever either library raises is a failed check, and its reason is shown
                worst, why = np.inf, f"  {type(error).__name__}: {error}"
        passed = worst <= TOLERANCE
        failed += not passed
        print(f"{'PASS' if passed else 'FAIL'}  {worst:8.1e}  {name}{why}")
    return 1 if failed else 0


def sizes_of(tie_word_embeddings=True, n_inner=None, **_):
    """The tiny sizes, with or without an output layer of its own, or another n_inner."""
    return recipe.TINY._replace(tied=tie_word_embeddings, n_inner=n_inner)


def seeded(sizes):
    """Seeded weights, with biases and layer norms that count, and ids."""
    return recipe.weights(sizes, recipe.TINY_SEED, recipe.TINY_STD), recipe.tokens(sizes, 9, (2, 20))


def package_logits(folder, ids):
    """What nanogpt_np makes of a model directory."""
    from nanogpt_np import model, ops
    from nanogpt_np.storage import checkpoint

    config, params, _ = checkpoint.load(folder)
    return model.forward(ids, params, config, ops)[0]


def transformers_logits(model, ids):
    with torch.no_grad():
        return model.eval()(torch.from_numpy(ids)).logits.numpy()


def ours(folder, saved_as="float32", **changes):
    """nanogpt_np saves; both open it, and the original is compared too where nothing was rounded."""
    from nanogpt_np import model, ops
    from nanogpt_np import params as P
    from nanogpt_np.config import GPTConfig
    from nanogpt_np.storage import checkpoint

    sizes = sizes_of(**changes)
    weights, ids = seeded(sizes)
    shape = {name: n for name, n in sizes._asdict().items() if name != "tied"}
    config = GPTConfig(**{**shape, **changes}, eos_id=96)
    params = P.nest({name: weights[name] for name in P.shapes(config)})
    checkpoint.save(folder, config, params, dtype=saved_as)
    opened, info = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    if any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")):
        raise ValueError(f"weights do not fit: {info}")
    logits = transformers_logits(opened, ids)
    worst = np.abs(logits - package_logits(folder, ids)).max()
    if saved_as == "float32":
        worst = max(worst, np.abs(logits - model.forward(ids, params, config, ops)[0]).max())
    return float(worst)


def theirs(folder, saved_as=torch.float32, max_shard_size="5GB", **changes):
    """transformers saves; nanogpt_np opens it, and both must agree on the logits in float32."""
    sizes = sizes_of(**changes)
    weights, ids = seeded(sizes)
    arithmetic = {name: value for name, value in changes.items() if name not in ("tie_word_embeddings", "n_inner")}
    model = reference.build(sizes, weights, saved_as, **arithmetic)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    if max_shard_size != "5GB" and not (folder / "model.safetensors.index.json").exists():
        raise ValueError("the weights were not sharded")
    return float(np.abs(transformers_logits(model.float(), ids) - package_logits(folder, ids)).max())


def tokenizer(folder):
    """nanogpt_np saves a model with the published vocabulary; transformers must split a hard text alike."""
    from nanogpt_np import params as P
    from nanogpt_np.config import GPTConfig
    from nanogpt_np.storage import checkpoint
    from nanogpt_np.tokenizer.bpe import Tokenizer

    config = GPTConfig(n_ctx=8, n_embd=8, n_layer=1, n_head=2, eos_id=50256)
    saved = Tokenizer.gpt2()
    params = P.init(config, np.random.Generator(np.random.PCG64(0)))
    checkpoint.save(folder, config, params, saved)
    opened = AutoTokenizer.from_pretrained(folder)
    ours, theirs = saved.encode(TEXT, allowed_special="all"), opened(TEXT)["input_ids"]
    if ours != theirs or opened.decode(theirs) != TEXT:
        raise ValueError(f"{ours} != {theirs}")
    return 0.0


def their_tokenizer(folder):
    """transformers saves a vocabulary with added tokens as one file; nanogpt_np must split a hard text alike."""
    from nanogpt_np.tokenizer.bpe import Tokenizer

    from . import vocabulary

    opened = vocabulary.save(folder)
    ours, theirs = Tokenizer.load(folder).encode(TEXT, allowed_special="all"), opened(TEXT)["input_ids"]
    if ours != theirs:
        raise ValueError(f"{ours} != {theirs}")
    return 0.0


if __name__ == "__main__":
    sys.exit(main())
