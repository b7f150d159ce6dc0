"""The run that makes a classifier: labelled texts and a trained model in, a directory that classifies out.

Enter: ClassifyOptions. Leave: in `out`, the classifier with the lowest validation loss, `training.json` (the options),
`training_state.safetensors` (to go on from), `log.csv`, and at the end `results.json` and `results.png`: what it does
with texts that neither taught it nor chose it. It can be stopped at any moment. Next: finetuning/lora.py.
"""

import hashlib
import shlex
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import memory
from .. import params as P
from ..errors import InputError, printable
from ..model import Dropout
from ..storage import checkpoint, registry
from ..training import data, folder, limits, optim, parts, report, start, state
from ..training.progress import Progress
from ..training.stopping import Stopping, StopSignal
from . import beside, examples, head, results
from .classifier import Classifier
from .options import ClassifyOptions

KEPT_BYTES = 1 << 30  # of a freed array: every step needs arrays of like size
MIXED = 32  # batches whose texts are sorted by length together, so that little is padding


class Part(NamedTuple):
    """Some examples as the model reads them."""

    rows: list  # [n] of lists of ids
    labels: np.ndarray  # int64 [n]


def make_classifier(options, ops, resume=False, progress=True):
    """Make a classifier as `options` say -> the Run, with `is_finished` and then `measured`, {name: Measured}.

    With `resume`, `options` come from resume_options. InputError where data, model or folder cannot be used. Ctrl-C
    finishes the step, saves and returns.
    """
    memory.keep_freed_memory(KEPT_BYTES)
    data.check_there(options.data)
    with folder.held(options.out, resume):
        made = _prepare(options, ops, resume)
        made.go(progress)
    return made


def resume_options(out, data_paths=None):
    """The options of the run in `out`; `data_paths` where the same files lie elsewhere now.

    FileError where it holds no run, or none that makes a classifier.
    """
    return folder.stored_options(out, ClassifyOptions, "a classifier", data_paths)


def _prepare(options, ops, resume):
    """Read the examples, open the model, begin the run or find where it stood."""
    digest = hashlib.sha256()
    found = examples.read(options.data, options.text_column, options.label_column, digest=digest)
    split = examples.split(found, options.most)
    if resume:
        folder.check_same(options, digest.hexdigest(), ops)
    classifier = new_classifier(options, found.names, ops)
    texts = {name: Part([classifier.encode(t) for t in part.texts], part.labels) for name, part in split.items()}
    check_memory(options, classifier, max(map(len, texts["train"].rows)))
    if not resume:
        folder.begin(options, digest.hexdigest(), ops)
    return Run(options, classifier, split, texts)


def new_classifier(options, labels, ops):
    """A classifier that has learned nothing yet: a model's trunk (or a fresh one of its shape), a fresh head."""
    directory = registry.resolve(options.model)
    config, params, tokenizer = checkpoint.load(directory)
    if tokenizer is None:
        raise InputError(f"--model: expected one with vocab.json and merges.txt, found none in {directory}")
    parts.check(config.n_layer, options.freeze, options.layer_decay)
    config = config.replace(dropout=options.dropout, tie_word_embeddings=True)  # a head of its own, so none to tie
    rng = np.random.default_rng([options.seed, 0])
    trunk = P.init(config, rng) if options.scratch else start.cut(params, config.n_ctx)
    return Classifier(config, head.with_score(trunk, len(labels), rng), labels, tokenizer, ops)


def check_memory(options, classifier, longest):
    """InputError where a step cannot fit the memory of this machine, by an estimate from below."""
    room = memory.total_bytes()
    per_text = limits.window_bytes(classifier.config.replace(n_ctx=longest))
    left = None if room is None else room - limits.WEIGHT_BYTES * P.count(classifier.params)
    if left is not None and left < per_text * options.batch_size:
        raise InputError(
            f"--batch-size: expected at most about {max(left // per_text, 0):,} texts at once in the "
            f"{memory.in_words(room)} of memory here, got {options.batch_size:,} of up to {longest} tokens; use fewer"
        )


class Order:
    """Which texts a step learns from: it follows from the seed and the step alone, so there is nothing to save."""

    def __init__(self, lengths, batch_size, seed):
        self.lengths, self.batch_size, self.seed = np.asarray(lengths), batch_size, seed
        self.n_batches = -(-len(lengths) // batch_size)
        self._kept = (None, None)

    def batch(self, step):
        """The indices of one step's texts: all texts once in each epoch, of like lengths together."""
        epoch, i = divmod(step, self.n_batches)
        if self._kept[0] != epoch:
            self._kept = (epoch, self._batches(np.random.default_rng([self.seed, 1, epoch])))
        return self._kept[1][i]

    def _batches(self, rng):
        order, mixed = rng.permutation(len(self.lengths)), MIXED * self.batch_size
        groups = np.split(order, range(mixed, len(order), mixed))
        order = np.concatenate([group[np.argsort(self.lengths[group], kind="stable")] for group in groups])
        found = np.split(order, range(self.batch_size, len(order), self.batch_size))
        return [found[i] for i in rng.permutation(len(found))]


class Run:
    """One run between its files: the classifier, the optimizer, and where in the texts it stands."""

    def __init__(self, options, classifier, split, texts):
        self.options, self.classifier, self.out = options, classifier, Path(options.out)
        self.split, self.texts = split, texts  # each part as texts, and as ids
        self.order = Order([len(row) for row in texts["train"].rows], options.batch_size, options.seed)
        self.n_steps = self.order.n_batches * options.epochs
        self.rng = np.random.default_rng([options.seed, 2])
        config, params = classifier.config, classifier.params
        rates = parts.rates(params, config.n_layer, options.freeze, options.layer_decay)
        self.optimizer = optim.AdamW(params, betas=(0.9, 0.999), weight_decay=options.weight_decay, rates=rates)
        n_label = len(classifier.labels)
        is_balanced = options.class_weights == "balanced"
        self.class_weights = examples.balanced(texts["train"].labels, n_label) if is_balanced else None
        self.step, self.stopping, self.losses, self.measured = 0, Stopping(options.patience), [], None
        if state.exists(self.out):
            self._go_on()
        else:
            self._save_state()  # first of all: weights without it would look like somebody else's
        self.log = report.Log.load(self.out / report.LOG, self.step)
        self.began = time.perf_counter() - self.log.seconds
        self.saved_at = time.perf_counter()

    def _go_on(self):
        about = state.load(self.out, self.classifier.params, self.optimizer, self.rng)
        if about["tokenizer"] != self.classifier.tokenizer.fingerprint:
            raise InputError(f"{self.out}: --model has another vocabulary than this run began with; start a new run")
        self.step, self.losses = about["step"], about["losses"]
        self.stopping.put_back(about["stopping"])

    def _save_state(self):
        about = {"tokenizer": self.classifier.tokenizer.fingerprint, "stopping": self.stopping.to_dict()}
        about["losses"] = self.losses
        state.save(self.out, self.classifier.params, self.optimizer, self.rng, self.step, about)
        self.saved_at = time.perf_counter()

    @property
    def is_finished(self):
        """Were all texts read as often as planned, or has patience run out?"""
        return self.step >= self.n_steps or self.stopping.is_over

    def go(self, progress):
        """Do the remaining steps, then measure the best classifier on the test."""
        stop = StopSignal()
        with stop, Progress(self.n_steps, self.step, progress) as shown:
            for line in self._plan():
                shown.say(line)
            while not self.is_finished and not stop.asked:
                self.losses.append(self.train_step())
                shown.step_done(self.step)
                shown.numbers(f"loss {self.losses[-1]:.3f}")
                if self._is_due():
                    self._evaluate(shown)
                elif time.perf_counter() - self.saved_at > 60.0 * self.options.checkpoint_minutes:
                    self._save_state()
            if not self.is_finished:
                self._save_state()
                again = f"nanogpt-np finetune --task classify --resume --out {shlex.quote(str(self.out))}"
                shown.say(f"stopped after step {self.step:,} of {self.n_steps:,}; go on with: {again}")
                return
            self._finish(shown)

    def train_step(self):
        """One step of AdamW over batch_size texts -> the loss."""
        o, texts = self.options, self.texts["train"]
        indices = self.order.batch(self.step)
        ids, lengths = head.pad([texts.rows[i] for i in indices])
        made = self.classifier
        loss, grads = head.loss_and_grads(
            ids, lengths, texts.labels[indices], made.params, made.config, made.ops,
            class_weights=self.class_weights, dropout=Dropout(o.dropout, self.rng) if o.dropout else None,
            n_idle=parts.n_idle(self.optimizer.rates, made.config.n_layer),
        )  # fmt: skip
        grads = parts.learned(grads, self.optimizer.rates)
        norm = optim.clip_(grads, o.clip, made.ops)
        if not (np.isfinite(loss) and np.isfinite(norm)):
            raise InputError(f"step {self.step + 1}: expected a finite loss, got {loss}; begin anew, --lr smaller")
        lr = optim.warmup_cosine(self.step, self.n_steps, o.lr, 0.0, round(o.warmup_share * self.n_steps))
        self.optimizer.step(made.params, grads, lr, made.ops)
        self.step += 1
        return loss

    def _is_due(self):
        every = max(self.order.n_batches // self.options.evals, 1)
        return self.step % every == 0 or self.step == self.n_steps

    def _evaluate(self, shown):
        """Measure on the validation texts; keep the classifier where it is the best so far, then the state."""
        found = self.classifier.measure(*self.texts["validation"])
        best = self.stopping.offer(self.step, found.loss)
        if best:
            self.classifier.save(self.out)
        mean = float(np.mean(self.losses))
        seconds, self.losses = time.perf_counter() - self.began, []
        self.log.add(step=self.step, train_loss=mean, held_out_loss=found.loss, seconds=seconds)
        self._save_state()
        word = ", the best so far" if best else ""
        shown.say(f"step {self.step:,} of {self.n_steps:,}: loss {mean:.4f}, validation {found.loss:.4f}, "
                  f"{found}{word}")  # fmt: skip

    def _plan(self):
        made, texts = self.classifier, self.texts
        n, n_learned = P.count(made.params), sum(a.size for _, a in P.walk(self.optimizer.m))
        cut = sum(len(row) == made.config.n_ctx for part in texts.values() for row in part.rows)
        yield f"model: {n:,} parameters, {n_learned:,} of them learn; labels: {printable(', '.join(made.labels), 200)}"
        counts = ", ".join(f"{len(part.rows):,} {name}" for name, part in texts.items())
        yield f"texts: {counts}; {self.n_steps:,} steps of {self.options.batch_size}"
        if cut:
            yield f"{cut:,} texts have {made.config.n_ctx} tokens or more: what comes after so many is not read"
        if self.step:
            yield f"resumed after step {self.step:,}: {self.n_steps - self.step:,} to go"

    def _others(self):
        """What the same texts teach without fine-tuning: {name: Measured}."""
        found = {"majority": beside.majority(self.split), "bag of words": beside.words(self.split)}
        if not self.options.scratch:
            fresh = new_classifier(self.options, self.classifier.labels, self.classifier.ops)
            features = {name: fresh.features_of(part.rows) for name, part in self.texts.items()}
            found["frozen features"] = beside.frozen(features, self.split)
        return found

    def _finish(self, shown):
        """Measure the best classifier on the test and write that down."""
        if self.stopping.is_over and self.step < self.n_steps:
            shown.say(f"stopped early: no lower validation loss in {self.stopping.n_worse} measurements")
        best = Classifier.from_pretrained(self.out, self.classifier.ops)
        self.measured = {"this classifier": best.measure(*self.texts["test"])} | self._others()
        shown.say(f"on the {len(self.texts['test'].rows):,} texts of the test, with 95 % intervals:")
        for line in results.table(self.measured):
            shown.say(f"  {line}")
        results.save(self.out, self.measured, best.labels, f"{self.out.name}, {P.count(best.params):,} parameters")
        shown.say(f"classifier: {self.out} (step {self.stopping.step:,}, validation loss {self.stopping.loss:.4f})")
        shown.say(f'try: nanogpt-np classify "…" --model {shlex.quote(str(self.out))}')
