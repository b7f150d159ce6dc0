"""The training run: text files in, a model directory out; it can be killed at any moment and resumed bit for bit.

Enter: TrainOptions. Leave: in `out`, the model (checkpoint.py's layout), `training.json` (the options),
`training_state.safetensors` (weights, moments, generator, step), `log.csv` and `loss.png`. Next: memory.py.
"""

import hashlib
import signal
import threading
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .. import memory
from .. import params as P
from ..errors import InputError
from ..model import Dropout
from ..storage import checkpoint
from ..tokenizer.bpe import Tokenizer
from . import backward, data, evaluation, folder, optim, report, state

KEPT_BYTES = 1 << 30  # of a freed array: every step needs the same arrays again


def train(options, ops, resume=False, progress=True):
    """Train a model from plain text as `options` say -> the last Evaluation (None where nothing is held out).

    With `resume`, `options` come from folder.resume_options. InputError where the data or the directory cannot be
    used. Ctrl-C finishes the step, saves and returns.
    """
    memory.keep_freed_memory(KEPT_BYTES)
    with folder.held(options.out, resume):
        return prepare(options, ops, resume, progress).go(progress)


def prepare(options, ops, resume, progress):
    """Read the text, find its tokenizer and make ids of it, begin the run or find where it stood -> a Run."""
    digest = hashlib.sha256()
    kept, held_out = data.split_held_out(data.read_documents(options.data, digest), options.held_out)
    if resume:
        folder.check_same(options, digest.hexdigest(), ops)
    tokenizer = find_tokenizer(options, kept, resume, progress)
    config = options.config(tokenizer)
    windows = data.Windows(data.encode_documents(kept, tokenizer), config.n_ctx, options.seed)
    held_out_ids = data.encode_documents(held_out, tokenizer) if held_out else None
    n_bytes = evaluation.count_bytes(held_out)
    if not resume:
        folder.begin(options, digest.hexdigest(), ops)
    run = Run(options, Path(options.out), config, tokenizer, windows, held_out_ids, n_bytes, ops)
    if progress:
        sizes = f"{P.count(run.params):,} parameters, {len(windows.ids):,} tokens to train on"
        print(f"{sizes}, {n_bytes:,} bytes held out")
    return run


def find_tokenizer(options, documents, resume, progress):
    """The run's tokenizer: the one it began with, the one the options name, or one trained on `documents` alone."""
    if resume and state.exists(Path(options.out)):
        return Tokenizer.load(options.out)
    if options.tokenizer == "gpt2":
        return Tokenizer.gpt2()
    if options.tokenizer is not None:
        return Tokenizer.load(options.tokenizer)
    return Tokenizer.train(documents, options.n_vocab, progress=progress)


class Run:
    """One run between its files: the weights, the optimizer, and where in the data it stands."""

    def __init__(self, options, out, config, tokenizer, windows, held_out, n_bytes, ops):
        self.options, self.out, self.config, self.tokenizer = options, out, config, tokenizer
        self.windows, self.held_out, self.n_bytes, self.ops = windows, held_out, n_bytes, ops
        self.rng = np.random.default_rng(options.seed)
        self.params = P.init(config, self.rng)
        betas = (options.beta1, options.beta2)
        self.optimizer = optim.AdamW(self.params, betas=betas, weight_decay=options.weight_decay)
        self.step = 0
        if state.exists(out):
            about = state.load(out, self.params, self.optimizer, self.rng)
            if about["tokenizer"] != tokenizer.fingerprint:
                raise InputError(f"{out}: the weights were trained with another vocabulary; start a new run")
            self.step = about["step"]
        else:
            tokenizer.save(out)
        self.log = report.Log.load(out / report.LOG, self.step)
        self.began = time.perf_counter() - self.log.seconds
        self.saved_at = time.perf_counter()

    def go(self, progress):
        """Run the remaining steps; -> the last Evaluation."""
        options, evaluation = self.options, None
        stop = StopSignal()
        bar = tqdm(total=options.steps, initial=self.step, unit="step", disable=not progress, dynamic_ncols=True)
        with stop, bar:
            while self.step < options.steps and not stop.asked:
                numbers = self.train_step()
                bar.update()
                evaluate_now = self.is_due(options.eval_every)
                if evaluate_now:
                    evaluation = self.evaluate()
                if evaluate_now or self.is_due(options.log_every):
                    self.report(*numbers, evaluation if evaluate_now else None, bar)
                if time.perf_counter() - self.saved_at > 60.0 * options.checkpoint_minutes:
                    self.save()
        self.save()
        if self.step == options.steps and evaluation is None:  # resumed after its end
            evaluation = self.evaluate()
        if progress:
            self.say_end(evaluation)
        return evaluation

    def is_due(self, every):
        """Is it this step's turn? The last step's always."""
        return self.step % every == 0 or self.step == self.options.steps

    def train_step(self):
        """One step of AdamW over batch_size * accumulate windows -> loss, gradient norm, learning rate."""
        o = self.options
        first = self.step * o.batch_size * o.accumulate
        batches = [self.windows.batch(first + i * o.batch_size, o.batch_size) for i in range(o.accumulate)]
        loss, grads = accumulated(batches, self.params, self.config, self.ops, self.dropout())
        if not np.isfinite(loss):
            raise InputError(f"step {self.step + 1}: expected a finite loss, got {loss}; resume with a smaller --lr")
        norm = optim.clip_(grads, o.clip, self.ops)
        lr = optim.warmup_cosine(self.step, o.steps, o.lr, o.lr / 10 if o.min_lr is None else o.min_lr, o.warmup)
        self.optimizer.step(self.params, grads, lr, self.ops)
        self.step += 1
        return loss, norm, lr

    def dropout(self):
        """How this run drops, or None."""
        return Dropout(self.config.dropout, self.rng) if self.config.dropout else None

    def evaluate(self):
        """The loss on the held-out text now; None where there is none."""
        if self.held_out is None:
            return None
        return evaluation.evaluate(self.held_out, self.n_bytes, self.params, self.config, self.ops)

    def report(self, loss, norm, lr, evaluation, bar):
        """One row of log.csv, and the numbers beside the progress bar."""
        tokens = self.step * self.options.batch_size * self.options.accumulate * self.config.n_ctx
        seconds = time.perf_counter() - self.began
        row = {"step": self.step, "tokens": tokens, "lr": lr, "train_loss": loss, "grad_norm": norm, "seconds": seconds}
        if evaluation:
            row |= {"held_out_loss": evaluation.loss, "held_out_bits_per_byte": evaluation.bits_per_byte}
            if not bar.disable:
                bar.write(f"step {self.step}: held-out {evaluation}")
        self.log.add(**row)
        bar.set_postfix_str(f"loss {loss:.3f}, {tokens / seconds:,.0f} tokens/s")

    def save(self):
        """The state to go on from, then the model to generate with, then the picture."""
        about = {"tokenizer": self.tokenizer.fingerprint}
        state.save(self.out, self.params, self.optimizer, self.rng, self.step, about)
        checkpoint.save(self.out, self.config, self.params, self.tokenizer, self.options.dtype, self.ops)
        report.plot(self.log, self.out / report.PICTURE, f"{self.out.name}: {P.count(self.params):,} parameters")
        self.saved_at = time.perf_counter()

    def say_end(self, evaluation):
        """Where the run stands and what to type next."""
        if self.step < self.options.steps:
            print(f"stopped after step {self.step}; go on with: nanogpt-np train --resume --out {self.out}")
        elif evaluation:
            print(f"held-out: {evaluation}")
        print(f"the model is in {self.out}; try: nanogpt-np generate 'Once' --model {self.out}")


def accumulated(batches, params, config, ops, dropout=None):
    """The loss and gradients of several micro-batches as if they were one: every token weighs the same."""
    n_counted = sum(int((targets != ops.IGNORE).sum()) for _, targets in batches)
    loss, grads = 0.0, None
    for ids, targets in batches:
        part, more = backward.loss_and_grads(ids, targets, params, config, ops, n_counted=n_counted, dropout=dropout)
        loss += part
        if grads is None:
            grads = more
        else:
            optim.add_(grads, more)
    return loss, grads


class StopSignal:
    """Turns the first Ctrl-C (or SIGTERM) into a wish, so that no step is cut in half; a second one stops at once."""

    def __enter__(self):
        self.asked = False
        self.before = {}
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self.ask)
        return self

    def ask(self, number, frame):
        """Remember the wish and give the signal its old meaning back."""
        self.asked = True
        self.__exit__()

    def __exit__(self, *exception):
        for number, handler in self.before.items():
            signal.signal(number, handler)
