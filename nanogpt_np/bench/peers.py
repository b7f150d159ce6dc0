"""The engines of the benchmark, each in a process of its own, so that no library's threads stand in another's way.

Enter: `python -m nanogpt_np.bench.peers JOB ENGINE SETTINGS`, then one JSON request per line on standard input. Leave:
one JSON answer per line: first what the engine says about itself, then ids or a loss, seconds, and the peak memory.
A peer is imported when it opens, not before. Next: bench/roster.py.
"""

import hashlib
import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from .. import files
from ..storage import checkpoint
from ..tokenizer.bpe import END_OF_TEXT, Tokenizer
from .ctranslate import CTranslate2, CTranslate2Maker
from .large import Opened, ShardMaker
from .llama import GGUFMaker, Llama
from .ours import (
    BETAS,
    LR,
    MAX_NORM,
    WEIGHT_DECAY,
    Bandwidth,
    Judge,
    Loss,
    Maker,
    Ours,
    OurTrainer,
    batch,
    peak_bytes,
    timed,
)

# what a user of transformers would write, for the time from command to first token
START_SCRIPT = """
import sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

directory, prompt = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(directory)
model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
with torch.inference_mode():
    out = model.generate(**tokenizer(prompt, return_tensors="pt"), max_new_tokens=1, do_sample=False)
print(tokenizer.decode(out[0], skip_special_tokens=True))
"""


def main(argv):
    """Open an engine, then answer until standard input ends."""
    job, engine, settings = argv[0], argv[1], json.loads(argv[2])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not stand among the answers
    try:
        opened = open_engine(job, engine, settings)
        _answer(answers, {"about": opened.about})
        for line in sys.stdin:
            _answer(answers, {**opened.run(json.loads(line)), "peak_bytes": peak_bytes()})
    except Exception as error:  # whatever a peer raises becomes one line of the report
        first_line = (str(error).strip() or "no message").splitlines()[0]
        _answer(answers, {"error": f"{type(error).__name__}: {first_line:.200}"})
        return 1
    return 0


def _answer(answers, value):
    print(json.dumps(value), file=answers, flush=True)


def open_engine(job, engine, settings):
    """The engine of a job: an object with `about` (words) and `run(request) -> answer` (both JSON)."""
    if job == "make":
        return _maker(engine, settings)
    if engine == "bandwidth":
        return Bandwidth(settings)
    if job in ("loss", "judge"):
        return (Loss if job == "loss" else Judge)(engine, settings)
    if job == "generate":
        return _generator(engine, settings)
    if job == "open":
        return Opened(engine, settings)
    if job == "train":
        return TorchTrainer(settings) if engine == "torch" else OurTrainer(engine, settings)
    return Encoder(engine, settings)


def _maker(engine, settings):
    if engine.startswith("llama.cpp"):
        return GGUFMaker(engine, settings)
    if engine.startswith("ctranslate2"):
        return CTranslate2Maker(engine, settings)
    return (ShardMaker if engine == "shards" else Maker)(settings)


def _generator(engine, settings):
    if engine.startswith("llama.cpp"):
        return Llama(engine, settings)
    if engine == "transformers":
        return Transformers(settings)
    if engine.startswith("ctranslate2"):
        return CTranslate2(engine, settings)
    return Ours(engine, settings)


# ---------------------------------------------------------------- generate: {"ids", "n_new"} -> {"ids", "seconds"}
# and {"prompts", "n_new"} -> {"texts", "seconds"}: of all together


class Transformers:
    """transformers' GPT-2: inference mode, sdpa attention, its own cache, only the last logits.

    The loop is written out, as `model.generate` would add its own work to every token.
    """

    def __init__(self, settings):
        self.model = _transformers_model(settings).eval()
        self.about = f"transformers {version('transformers')}, {_torch_about()}; sdpa, inference_mode"

    def run(self, request):
        """Greedy, end of text ignored."""
        if "prompts" not in request:
            return timed(self.tokens(request["ids"], request["n_new"]))
        began = time.perf_counter()
        steps = list(self.steps(request["prompts"], request["n_new"]))
        return {"texts": [list(text) for text in zip(*steps, strict=True)], "seconds": [time.perf_counter() - began]}

    def tokens(self, ids, n_new):
        """Yield one id at a time."""
        import torch

        with torch.inference_mode():
            last, past = torch.tensor([ids]), None
            for _ in range(n_new):
                out = self.model(last, past_key_values=past, use_cache=True, logits_to_keep=1)
                last, past = out.logits[:, -1:].argmax(-1), out.past_key_values
                yield int(last)

    def steps(self, prompts, n_new):
        """Yield the next id of every text, padded on the left."""
        import torch

        longest = max(map(len, prompts))
        with torch.inference_mode():
            last = torch.tensor([[0] * (longest - len(ids)) + ids for ids in prompts])
            mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts])
            positions, past = (mask.cumsum(-1) - 1).clamp(min=0), None
            for _ in range(n_new):
                out = self.model(
                    last, attention_mask=mask, position_ids=positions, past_key_values=past, logits_to_keep=1
                )
                last, past = out.logits[:, -1:].argmax(-1), out.past_key_values
                mask, positions = torch.nn.functional.pad(mask, (0, 1), value=1), positions[:, -1:] + 1
                yield last[:, 0].tolist()


def _transformers_model(settings):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(settings["threads"])
    directory = settings["directory"]
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="sdpa")


def _torch_about():
    import torch

    return f"torch {version('torch')} with {torch.backends.cpu.get_cpu_capability()}"


# ---------------------------------------------------------------- train: {"step", "n_batch", "n_seq"} -> {"loss", …}


class TorchTrainer:
    """PyTorch eager: transformers' GPT-2, dropout 0, fused AdamW; only matrices decay, as with us."""

    def __init__(self, settings):
        import torch

        self.model = _transformers_model(settings).train()
        parts = [
            {"params": [p for p in self.model.parameters() if (p.ndim >= 2) == decays], "weight_decay": decay}
            for decays, decay in ((True, WEIGHT_DECAY), (False, 0.0))
        ]
        self.optimizer = torch.optim.AdamW(parts, lr=LR, betas=BETAS, fused=True)
        self.about = f"{_torch_about()}; eager, float32, sdpa, AdamW(fused=True)"

    def run(self, request):
        """One step on the batch of that number."""
        import torch

        ids, targets = (torch.from_numpy(part) for part in batch(request, self.model.config.vocab_size))
        began = time.perf_counter()
        logits = self.model(ids.contiguous(), use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), MAX_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {"loss": loss.item(), "seconds": [time.perf_counter() - began]}


# ---------------------------------------------------------------- encode: {"times"} -> {"sha256", "n_ids", "seconds"}


class Encoder:
    """GPT-2's vocabulary in one library, over one text; what a first call prepares is prepared before."""

    def __init__(self, engine, settings):
        self.encode, self.about = _encode_with(engine, settings)
        self.text = files.read_text(settings["data"])
        self.encode("The first call may compile.")

    def run(self, request):
        """Encode the text several times over: the first time nothing of it has been seen."""
        seconds = []
        for _ in range(request["times"]):
            began = time.perf_counter()
            ids = self.encode(self.text)
            seconds.append(time.perf_counter() - began)
        digest = hashlib.sha256(np.asarray(ids, "<i4").tobytes()).hexdigest()
        return {"sha256": digest, "n_ids": len(ids), "seconds": seconds}


def _encode_with(engine, settings):
    """-> encode(text) -> list of ids, and words about it."""
    ours = Tokenizer.gpt2()
    if engine == "tiktoken":
        import tiktoken
        from tiktoken_ext.openai_public import r50k_pat_str

        ranks = {ours.token_bytes(i): i for i in range(ours.n_vocab - 1)}
        special = {END_OF_TEXT: ours.n_vocab - 1}
        gpt2 = tiktoken.Encoding("gpt2", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens=special)
        return gpt2.encode_ordinary, f"tiktoken {version('tiktoken')}; encode_ordinary"
    if engine == "tokenizers":
        from tokenizers import ByteLevelBPETokenizer

        gpt2 = ByteLevelBPETokenizer.from_file(*(str(Path(settings["directory"]) / n) for n in checkpoint.VOCABULARY))
        return lambda text: gpt2.encode(text).ids, f"tokenizers {version('tokenizers')}; ByteLevelBPETokenizer"
    if engine == "encode_array":
        return lambda text: ours.encode_array(text).tolist(), "Tokenizer.gpt2().encode_array, and a list of it"
    return ours.encode, "Tokenizer.gpt2().encode"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
