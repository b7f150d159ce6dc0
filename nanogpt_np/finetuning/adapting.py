"""A LoRA run: a model and texts, or pairs of a prompt and a completion, in; an adapter in PEFT's format out.

Enter: LoraOptions. Leave: in `out`, adapter_config.json and adapter_model.safetensors beside what every run of training
leaves there (training/loop.py): it can be killed at any moment and resumed bit for bit. The base is opened and never
written; a resumed run wants the same one. Next: memory.py.
"""

import dataclasses
import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import memory, model
from .. import params as P
from ..errors import InputError
from ..storage import adapter as adapters
from ..training import data, evaluation, folder, limits, loop, optim, plan, report, samples, start
from ..training.options import TrainOptions, option
from . import instructions, lora

MODULES = ("c_attn", "c_proj", "c_fc")
MEASURED_AT_ONCE = 8  # pairs


@dataclass
class LoraOptions(TrainOptions):
    """What decides a LoRA run: TrainOptions, of which `init` names the base, and how large the corrections are."""

    lr: float = option(2e-3, "highest learning rate, reached after --warmup steps")
    weight_decay: float = option(0.0, "decay of A and B per unit of learning rate")
    lora: int = option(8, "the rank r: how many directions each layer's correction has")
    lora_alpha: float | None = option(None, "corrections are multiplied by alpha / r (default: alpha = r, so by 1)")
    target_modules: list[str] = dataclasses.field(
        default_factory=lambda: list(MODULES), metadata={"help": f"the layers to adapt (default {' '.join(MODULES)})"}
    )
    rslora: bool = option(False, "multiply by alpha / sqrt(r) instead")
    pairs: bool = option(False, "the data are pairs of a prompt and a completion")
    learn_prompts: bool = option(False, "of pairs: learn what the prompts say, too")
    emphasis: float = option(1.0, "of pairs: what a token weighs that first says what its own prompt says")

    @property
    def alpha(self):
        """The alpha that counts."""
        return float(self.lora) if self.lora_alpha is None else self.lora_alpha

    def _rules(self):
        yield from super()._rules()
        yield "init", "the model to adapt", self.init is not None
        yield "keep_every", "none with --lora", self.keep_every is None
        yield "freeze", "none with --lora, where only A and B learn", self.freeze is None
        yield "layer_decay", "1 with --lora", self.layer_decay == 1.0
        yield "lora", "a rank of at least 1", self.lora >= 1
        most = adapters.MOST_SCALE * self.lora
        yield "lora_alpha", f"a number above 0, at most {most:g}", 0.0 < self.alpha <= most
        yield "learn_prompts", "only with pairs", self.pairs or not self.learn_prompts
        yield "emphasis", "a number from 1 to 1,000", 1.0 <= self.emphasis <= 1000.0
        yield "emphasis", "1 without pairs", self.pairs or self.emphasis == 1.0


def run(options, ops, resume=False, progress=True):
    """Adapt a model as LoraOptions say -> the LoraRun; `resume`, Ctrl-C and errors as for training/loop.run.

    With `resume`, `options` come from folder.resume_options(…, kind=LoraOptions).
    """
    memory.keep_freed_memory(loop.KEPT_BYTES)
    data.check_there(options.data)
    begun = start.open_start(options)
    lora.create(begun.config, np.random.default_rng(0), *settings(options))  # refused before anything is written
    with folder.held(options.out, resume):
        prepared, prompt = prepare(options, begun, ops, resume)
        prepared.go(prompt, progress)
    return prepared


def settings(options):
    """r, alpha, target_modules and rslora, as lora.create takes them."""
    return options.lora, options.alpha, tuple(options.target_modules), options.rslora


def prepare(options, begun, ops, resume):
    """Read the data, begin the run or find where it stood -> a LoraRun, and a prompt to try it with afterwards."""
    digest = hashlib.sha256()
    read = instructions.read_pairs if options.pairs else data.read_documents
    documents = read(options.data, digest)
    if resume:
        folder.check_same(options, digest.hexdigest(), ops)
        if begun.note["params_sha256"] != (folder.read(options.out).get("init") or {}).get("params_sha256"):
            raise InputError(f"--model: expected the weights of {options.init} that this run began with, got others")
    if options.pairs and options.held_out and len(documents) < round(1.0 / options.held_out):
        share, n = f"--held-out {options.held_out:g}", f"{len(documents):,}"
        raise InputError(f"{share}: expected at least {round(1.0 / options.held_out):,} pairs, got {n}; use 0, or more")
    kept, held_out = data.split_held_out(documents, options.held_out)
    for prompt in options.sample:
        samples.check(prompt, begun.config, begun.tokenizer)
    windows, measured, n_bytes = to_ids(options, kept, held_out, begun)
    if not resume:
        for line in limits.doubts(options, windows, n_bytes):
            report.warn(line)
        folder.begin(options, digest.hexdigest(), ops, begun.note)
    parts = (begun.config, begun.tokenizer, windows, measured, n_bytes, ops, begun.params)
    tried = held_out or kept
    prompt = tried[0][0] if options.pairs else plan.opening(tried, begun.tokenizer, begun.config.n_ctx)
    return LoraRun(options, Path(options.out), *parts), prompt


def to_ids(options, kept, held_out, begun):
    """-> what batches are cut from (Windows or Pairs), what is measured (ids, Pairs, or None), and its bytes."""
    config, tokenizer = begun.config, begun.tokenizer
    if not options.pairs:
        windows = data.Windows(data.encode_documents(kept, tokenizer), config.n_ctx, options.seed)
        ids = data.encode_documents(held_out, tokenizer) if held_out else None
        return windows, ids, evaluation.count_bytes(held_out)
    fitting, n_left = instructions.encode_pairs(kept, tokenizer, config.n_ctx)
    if n_left:
        report.warn(f"{n_left:,} of {len(kept):,} pairs are longer than n_ctx = {config.n_ctx} tokens and left out")
    measured = instructions.encode_pairs(held_out, tokenizer, config.n_ctx)[0] if held_out else None
    n_bytes = evaluation.count_bytes(tokenizer.decode(pair.completion) for pair in measured or ())
    return instructions.Pairs(fitting, options.seed, options.learn_prompts, options.emphasis), measured, n_bytes


class LoraRun(loop.Run):
    """A training run in which A and B learn: `adapter`; the base, `params`, stays as it is."""

    def what_learns(self):
        """The matrices of a fresh adapter, all at the same rate."""
        self.adapter = lora.create(self.config, self.rng, *settings(self.options))
        return self.adapter.params, None

    def gradients(self, batches):
        """The loss of some micro-batches, and the gradients of A and B, as if they were one."""
        batches = [(*batch, np.ones(batch[0].shape, np.float32)) if len(batch) == 2 else batch for batch in batches]
        n_counted = sum(float(weights[targets != self.ops.IGNORE].sum()) for _, targets, weights in batches)
        parts = (self.params, self.adapter, self.config, self.ops)
        loss, grads = 0.0, None
        for ids, targets, weights in batches:
            how = {"weights": weights, "n_counted": n_counted, "dropout": self.dropout()}
            part, more = lora.loss_and_grads(ids, targets, *parts, **how)
            loss, grads = loss + part, more if grads is None else grads
            if more is not grads:
                optim.add_(grads, more)
        return loss, grads

    def current(self):
        """The params of the base with the adapter merged."""
        return adapters.merge(self.params, self.adapter)[0]

    def evaluate(self):
        """The loss on what is held out; of pairs on their completions alone."""
        if self.held_out is None or not self.options.pairs:
            return super().evaluate()
        return measure_pairs(self.held_out, self.n_bytes, self.current(), self.config, self.ops)

    save_to = staticmethod(adapters.save)

    def model(self):
        """What adapters.save takes."""
        return self.adapter, self.options.init, adapters.fingerprint(self.params), self.options.dtype

    def say_plan(self, shown):
        """What is going to be done."""
        learned, whole = P.count(self.learned), P.count(self.params)
        shown.say(f"base: {self.options.init}, {whole:,} parameters, which stay as they are")
        shown.say(f"LoRA: r = {self.options.lora}, alpha = {self.options.alpha:g}, {learned:,} numbers learn "
                  f"({learned / whole:.1%})")  # fmt: skip
        for line in plan.lines(self.options, self.config, learned, self.windows, self.n_bytes, self.step)[1:]:
            shown.say(line)

    def say_end(self, prompt, shown):
        """Where the adapter lies and what to type next."""
        if self.is_finished and self.evaluation:
            shown.say(f"held-out: {self.evaluation}")
        out, base = (shlex.quote(str(name)) for name in (self.out, self.options.init))
        if not self.is_finished:
            task = "instructions" if self.options.pairs else "text"
            again = f"nanogpt-np finetune --task {task} --lora {self.options.lora} --resume --out {out}"
            shown.say(f"stopped after step {self.step:,} of {self.options.steps:,}; go on with: {again}")
        if self.best.step not in (None, self.step):
            shown.say(f"best adapter: {self.best.folder} (step {self.best.step:,}, held-out loss {self.best.loss:.4f})")
        shown.say(f"last adapter: {self.out} (step {self.step:,})")
        shown.say(f"try: nanogpt-np generate {shlex.quote(prompt)} --model {base} --adapter {out}")


def measure_pairs(pairs, n_bytes, params, config, ops):
    """How well a model predicts the completions of Pairs -> Evaluation; `n_bytes`: of those completions."""
    nats, n_tokens = 0.0, 0
    for first in range(0, len(pairs), MEASURED_AT_ONCE):
        ids, targets, _ = instructions.to_batch(pairs[first : first + MEASURED_AT_ONCE])
        final, _ = model.trunk(ids, params, config, ops)
        rows = final.reshape(-1, config.n_embd)
        losses, _ = ops.cross_entropy(rows, model.unembedding(params), targets.reshape(-1))
        nats += float(losses.sum(dtype=np.float64))
        n_tokens += int((targets != ops.IGNORE).sum())
    return evaluation.Evaluation(nats, n_tokens, n_bytes)
