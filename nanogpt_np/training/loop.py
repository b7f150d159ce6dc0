"""The training run: text files in, a model directory out; it can be killed at any moment and resumed bit for bit.

Enter: TrainOptions. Leave: in `out`, the model (checkpoint.py's layout), `training.json` (the options),
`training_state.safetensors` (weights, moments, generator, step), `log.csv`, `loss.png`, and, where they are wanted,
`best/` (the model with the lowest held-out loss), `kept/` (models on the way) and `samples.txt`.
Next: training/distributed_parts.py.
"""

import hashlib
import time
from pathlib import Path

import numpy as np

from .. import memory
from .. import params as P
from ..errors import InputError
from ..model import Dropout
from ..storage import checkpoint
from ..tokenizer.bpe import Tokenizer
from . import (
    backward,
    data,
    evaluation,
    folder,
    kept,
    limits,
    optim,
    parts,
    picture,
    plan,
    report,
    samples,
    schedule,
    start,
    state,
)
from .best import Best
from .progress import Progress, on_terminal
from .stopping import Stopping, StopSignal

KEPT_BYTES = 1 << 30  # of a freed array: every step needs the same arrays again


def train(options, ops, resume=False, progress=True):
    """Train as `run` does -> the last Evaluation, None where nothing is held out."""
    return run(options, ops, resume, progress).evaluation


def run(options, ops, resume=False, progress=True):
    """Train a model from plain text as `options` say -> the Run, with its last `evaluation` and `is_finished`.

    With `resume`, `options` come from folder.resume_options. InputError where the data or the directory cannot be
    used. Ctrl-C finishes the step, saves and returns.
    """
    memory.keep_freed_memory(KEPT_BYTES)
    data.check_there(options.data)
    limits.check_memory(options)
    with folder.held(options.out, resume):
        run, documents = prepare(options, ops, resume, progress)
        run.go(plan.opening(documents, run.tokenizer, run.config.n_ctx), progress)
    return run


def prepare(options, ops, resume, progress, kind=None):
    """Read the text, find its tokenizer and make ids of it, begin the run or find where it stood.

    -> a Run (or what `kind` makes of a Run's arguments), and documents to try it with, such as it does not learn where
    there are several.
    """
    digest = hashlib.sha256()
    kept, held_out = data.split_held_out(data.read_documents(options.data, digest), options.held_out)
    if resume:
        folder.check_same(options, digest.hexdigest(), ops)
    begun = start.find_start(options, resume)
    tokenizer = begun.tokenizer if begun else find_tokenizer(options, kept, resume, progress)
    config = begun.config if begun else start.find_config(options, tokenizer)
    windows = data.Windows(data.encode_documents(kept, tokenizer), config.n_ctx, options.seed)
    held_out_ids = data.encode_documents(held_out, tokenizer) if held_out else None
    n_bytes = evaluation.count_bytes(held_out)
    for prompt in options.sample:
        samples.check(prompt, config, tokenizer)
    if not resume:
        for line in limits.doubts(options, windows, n_bytes):
            report.warn(line)
        folder.begin(options, digest.hexdigest(), ops, begun.note if begun else None)
    params = begun.params if begun else None
    parts = (options, Path(options.out), config, tokenizer, windows, held_out_ids, n_bytes, ops, params)
    run = (kind or Run)(*parts)
    return run, held_out if len(held_out) > 1 else kept  # a single one may begin in the middle of a sentence


def find_tokenizer(options, documents, resume, progress):
    """The run's tokenizer: the one it began with, the one the options name, or one trained on `documents` alone."""
    if resume and state.exists(Path(options.out)):
        return Tokenizer.load(options.out)
    if options.tokenizer == "gpt2":
        return Tokenizer.gpt2()
    if options.tokenizer is not None:
        return Tokenizer.load(options.tokenizer)
    trained = Tokenizer.train(documents, options.n_vocab, progress=progress and on_terminal(), exact=False)
    if trained.n_vocab < options.n_vocab:
        report.warn(f"--n-vocab {options.n_vocab:,}: the text fills {trained.n_vocab:,} tokens, so many it will be")
    return trained


class Run:
    """One run between its files: the weights, the optimizer, and where in the data it stands."""

    def __init__(self, options, out, config, tokenizer, windows, held_out, n_bytes, ops, params=None):
        self.options, self.out, self.config, self.tokenizer = options, out, config, tokenizer
        self.windows, self.held_out, self.n_bytes, self.ops = windows, held_out, n_bytes, ops
        self.rng = np.random.default_rng(options.seed)
        self.params = params or P.init(config, self.rng)
        self.learned, rates = self.what_learns()
        self.optimizer = self.make_optimizer(rates)
        self.step, self.evaluation, self.stopping = 0, None, Stopping(options.patience)
        self.is_asked_to_stop = False  # by a signal that came elsewhere: see distributed.py
        if state.exists(out):
            about = self.load_state()
            if about["tokenizer"] != tokenizer.fingerprint:
                raise InputError(f"{out}: the weights were trained with another vocabulary; start a new run")
            if config.positions == "sinusoidal" and about.get("sines") != P.STD:
                raise InputError(f"{out}: began when sines were added at another size; start a new run")
            self.step = about["step"]
            self.stopping.put_back(about.get("stopping", self.stopping.to_dict()))
        else:
            self.begin()
            if params is not None:  # so that the model it began with is not needed again
                self.save_state()
        self.n_read = schedule.windows_before(options, windows.n_ctx, self.step)
        self.planned = folder.change_steps(options, self.step)
        self.best = Best(out)
        self.samples = samples.Samples(out / samples.NAME, options.sample, config, tokenizer, options.seed, self.step)
        self.log = report.Log.load(out / report.LOG, self.step)
        self.began = time.perf_counter() - self.log.seconds
        self.saved_at = time.perf_counter()

    def go(self, prompt, progress):
        """Run the remaining steps; `prompt`: what to try the model with afterwards."""
        options, stop = self.options, StopSignal()
        with stop, Progress(options.steps, self.step, progress) as shown:
            self.say_plan(shown)
            if self.step == 0:
                self.keep_on_the_way()
            while not (self.is_finished or stop.asked or self.is_asked_to_stop):
                numbers = self.train_step()
                shown.step_done(self.step)
                self.keep_on_the_way()
                evaluate_now = self.is_due(options.eval_every)
                if evaluate_now:
                    self.evaluation = self.evaluate()
                if evaluate_now or self.is_due(options.log_every):
                    self.report(*numbers, self.evaluation if evaluate_now else None, shown)
                if evaluate_now:
                    self.keep_best_and_sample(numbers[0], shown)
                if time.perf_counter() - self.saved_at > 60.0 * options.checkpoint_minutes:
                    self.save()
        self.save()
        if self.is_finished and self.evaluation is None:  # resumed after its end
            self.evaluation = self.evaluate()
        self.say_end(prompt, shown)

    @property
    def is_finished(self):
        """Were all steps done, or has its patience run out? Else it was stopped before."""
        return self.step >= self.options.steps or self.stopping.is_over

    def is_due(self, every):
        """Is it this step's turn? The last step's always."""
        return self.step % every == 0 or self.step == self.options.steps

    def train_step(self):
        """One step of AdamW over the windows that are its turn -> loss, gradient norm, learning rate."""
        o, first = self.options, self.n_read
        end = first + schedule.windows_of(o, self.windows.n_ctx, first)
        batches = [self.windows.batch(at, min(o.batch_size, end - at)) for at in range(first, end, o.batch_size)]
        lr = schedule.learning_rate(o, self.windows.n_ctx, self.step, first)
        loss, norm = self.learn(batches, lr)
        self.step, self.n_read = self.step + 1, end
        return loss, norm, lr

    def learn(self, batches, lr):
        """Change the weights by one step against the gradients of some micro-batches -> loss, gradient norm."""
        loss, grads = self.gradients(batches)
        norm = optim.clip_(grads, self.options.clip, self.ops)
        self.check_finite(loss, norm)
        self.optimizer.step(self.learned, grads, lr, self.ops)
        return loss, norm

    def check_finite(self, loss, norm):
        """InputError where a loss or a gradient is not: before the weights are touched, or saved."""
        for what, number in (("loss", loss), ("gradient", norm)):
            if not np.isfinite(number):
                raise InputError(
                    f"step {self.step + 1}: expected a finite {what}, got {number}; "
                    "a run keeps its options, so start a new one with a smaller --lr in another --out"
                )

    def make_optimizer(self, rates):
        """AdamW as the options say, for what learns."""
        o = self.options
        return optim.AdamW(self.learned, betas=(o.beta1, o.beta2), weight_decay=o.weight_decay, rates=rates)

    def what_learns(self):
        """What the optimizer changes, and the rate of each part (see parts.rates)."""
        return self.params, parts.rates(self.params, self.config.n_layer, self.options.freeze, self.options.layer_decay)

    def gradients(self, batches):
        """The loss of some micro-batches, and the gradients of what learns."""
        n_idle = parts.n_idle(self.optimizer.rates, self.config.n_layer)
        loss, grads = accumulated(batches, self.params, self.config, self.ops, self.dropout(), n_idle)
        return loss, parts.learned(grads, self.optimizer.rates)

    def current(self):
        """The params of the whole model as they are now."""
        return self.params

    def dropout(self):
        """How this run drops, or None."""
        return Dropout(self.config.dropout, self.rng) if self.config.dropout else None

    def evaluate(self):
        """The loss on the held-out text now; None where there is none."""
        if self.held_out is None:
            return None
        return evaluation.evaluate(self.held_out, self.n_bytes, self.current(), self.config, self.ops)

    def report(self, loss, norm, lr, evaluation, shown):
        """One row of log.csv, and the numbers beside the progress bar."""
        tokens = self.n_read * self.windows.n_ctx
        seconds = time.perf_counter() - self.began
        row = {"step": self.step, "tokens": tokens, "lr": lr, "train_loss": loss, "grad_norm": norm, "seconds": seconds}
        if evaluation:
            row |= {"held_out_loss": evaluation.loss, "held_out_bits_per_byte": evaluation.bits_per_byte}
        self.log.add(**row)
        numbers = f"loss {loss:.3f}, {tokens / seconds:,.0f} tokens/s"
        shown.numbers(numbers)
        if self.is_due(self.options.eval_every):
            shown.say(f"step {self.step:,} of {self.options.steps:,}: {numbers}" + held_out_words(evaluation))

    def keep_best_and_sample(self, loss, shown):
        """After a measurement: the best model so far into best/, what the model writes now into samples.txt."""
        measured = f"training loss {loss:.4f}"
        if self.evaluation:
            measured = f"held-out loss {self.evaluation.loss:.4f}"
            self.best.offer(self.step, self.evaluation, *self.model(), save=self.save_to)
            self.stopping.offer(self.step, self.evaluation.loss)
        if new := self.samples.add(self.step, measured, self.current()):
            shown.say(new)

    def keep_on_the_way(self):
        """The weights as they are, where they are to be kept for looking back."""
        if self.options.keep_every and self.step % self.options.keep_every == 0:
            kept.keep(self.out, self.step, *self.model())

    save_to = staticmethod(checkpoint.save)  # how a model is written into a folder: by what model() gives

    def model(self):
        """What checkpoint.save and best.offer take."""
        return self.config, self.params, self.tokenizer, self.options.dtype, checkpoint.own_ops(self.ops)

    def begin(self):
        """What a run leaves before its first step."""
        self.tokenizer.save(self.out)

    def load_state(self):
        """Go on from what save_state left -> what stands beside it."""
        return state.load(self.out, self.learned, self.optimizer, self.rng)

    def save_state(self):
        """What it takes to go on from this step."""
        about = {"tokenizer": self.tokenizer.fingerprint, "sines": P.STD, "stopping": self.stopping.to_dict()}
        state.save(self.out, self.learned, self.whole_optimizer(), self.rng, self.step, about)

    def whole_optimizer(self):
        """The optimizer with its means for all that learns."""
        return self.optimizer

    def save(self):
        """The state to go on from, then the model to generate with, then the picture."""
        self.save_state()
        self.save_to(self.out, *self.model())
        title = f"{self.out.name}: {P.count(self.learned):,} parameters"
        picture.save(self.log, self.out / picture.NAME, title, plan.tokens_per_epoch(self.windows))
        self.saved_at = time.perf_counter()

    def say_plan(self, shown):
        """What is going to be done, and how the learning rate goes on where the plan has changed."""
        sizes = (self.config, P.count(self.params), self.windows, self.n_bytes, self.step)
        for line in plan.lines(self.options, *sizes):
            shown.say(line)
        if self.planned != self.options.steps:
            shown.say(plan.new_schedule(self.options, self.planned, self.step))

    def say_end(self, prompt, shown):
        """Where the run stands and what to type next."""
        if self.is_finished and self.evaluation:
            shown.say(f"held-out: {self.evaluation}")
        if self.stopping.is_over and self.step < self.options.steps:
            shown.say(f"stopped early: no lower held-out loss in {self.stopping.n_worse} measurements")
        n_steps = self.step if self.is_finished else self.options.steps
        last_loss = self.evaluation.loss if self.evaluation and self.is_due(self.options.eval_every) else None
        for line in plan.closing(self.out, self.step, n_steps, last_loss, self.best, prompt):
            shown.say(line)


def held_out_words(evaluation):
    """", held-out …" for the line of a measurement; nothing where nothing is held out."""
    return f", held-out {evaluation}" if evaluation else ""


def accumulated(batches, params, config, ops, dropout=None, n_idle=0):
    """The loss and gradients of several micro-batches as if they were one: every token weighs the same."""
    n_counted = sum(int((targets != ops.IGNORE).sum()) for _, targets in batches)
    loss, grads = 0.0, None
    for ids, targets in batches:
        part, more = backward.loss_and_grads(
            ids, targets, params, config, ops, n_counted=n_counted, dropout=dropout, n_idle=n_idle
        )
        loss += part
        if grads is None:
            grads = more
        else:
            optim.add_(grads, more)
    return loss, grads
