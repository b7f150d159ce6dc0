"""A training run on several ranks: the first one keeps the folder and leads, the others learn beside it.

Enter: TrainOptions, and the Ranks that mpiexec started. Leave: what loop.py leaves, written by the first rank alone:
the others need neither the text nor the folder. Each rank learns from other windows of a step, gradients are summed
into shares, each rank moves the weights of its share. A step is what one process makes of the same options: with a
batch for each rank the same sum in the same order. Next: lens/seen.py.
"""

import dataclasses
import functools
import itertools
import os

import numpy as np

from .. import memory
from .. import params as P
from ..config import GPTConfig
from ..model import Dropout
from . import backward, data, distributed_sums, evaluation, folder, limits, loop, optim, parts, plan, report, state
from .distributed_optim import ShardedAdamW, clip_
from .distributed_parts import RowsOf, ahead, draws_per_window, of_rank, parts_of, share_idle, skip_
from .options import TrainOptions
from .stopping import StopSignal

WEIGHT_BYTES = 8  # a rank needs for each parameter: itself and its gradient; and for 12 / n what it owns
MUCH_IDLE = 0.1  # of a step, from which on it is said


def run(options, ops, ranks, resume=False, progress=True):
    """loop.run on several ranks -> on each of them whether all steps were done.

    All ranks call it alike; `options` count on the first one only. What fails on one is raised there, and whoever
    started it ends all (distributed_ranks.end_all; `python -m mpi4py` for a script).
    """
    memory.keep_freed_memory(loop.KEPT_BYTES)
    if not ranks.is_first:
        return follow(ops, ranks)
    check(options, ranks)
    data.check_there(options.data)
    with folder.held(options.out, resume):
        kind = functools.partial(DistributedRun, ranks=ranks)
        made, documents = loop.prepare(options, ops, resume, progress, kind)
        made.go(plan.opening(documents, made.tokenizer, made.config.n_ctx), progress)
        ranks.share(["end", made.is_finished])
    return made.is_finished


def check(options, ranks):
    """InputError where a step has too few windows for all, or a rank's part does not fit its share of the memory."""
    found = parts_of(options.accumulate, options.batch_size, ranks.size)
    n_windows = max(part.n for part in found)
    of_rank = dataclasses.replace(options, batch_size=n_windows)
    limits.check_memory(of_rank, ranks.n_here, WEIGHT_BYTES + 12 / ranks.size)
    if share_idle(found, ranks.size) > MUCH_IDLE:
        report.warn(
            f"--accumulate {options.accumulate}: {len(found)} parts for {ranks.size} ranks leave them idle "
            f"{share_idle(found, ranks.size):.0%} of the time; use a multiple of {ranks.size}"
        )


class Learner:
    """One rank's part of a run: its copy of the weights, and its share of everything else.

    `params`: nested, each of what learns a part of one vector. On the first rank they are made of `params`, the others
    get theirs by agree(). `rng` is the same on all ranks, before and after each step.
    """

    def __init__(self, options, config, rng, ops, ranks, params=None):
        self.options, self.config, self.rng, self.ops, self.ranks = options, config, rng, ops, ranks
        shapes = P.shapes(config)
        zeros = P.nest({name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()})
        self.rates = parts.rates(zeros, config.n_layer, options.freeze, options.layer_decay)
        self.flat = distributed_sums.Flat({name: shapes[name] for name in from_the_top(self.rates, config)}, ranks)
        self.fixed = distributed_sums.Flat({name: shapes[name] for name in shapes if name not in self.rates}, ranks)
        self.weights, self.gradient, self.still = self.flat.zeros(), self.flat.zeros(), self.fixed.zeros()
        self.grads, self.sum = self.flat.views(self.gradient), np.zeros(self.flat.n_owned, np.float32)
        named = self.flat.views(self.weights) | self.fixed.views(self.still)
        self.params = P.nest({name: named[name] for name in shapes})
        for name, array in P.walk(params or {}):
            named[name][...] = array
        betas = (options.beta1, options.beta2)
        self.optimizer = ShardedAdamW(self.flat, self.rates, betas=betas, weight_decay=options.weight_decay)
        self.divide(options.accumulate * options.batch_size)
        self.wishes_to_stop = False  # of any rank, as of the last step

    def agree(self, n_steps=0, m=None, v=None):
        """Give all ranks the first one's weights, generator and, of a run that goes on, its means."""
        self.rng.bit_generator.state, has_means, n_steps = self.ranks.share(
            [self.rng.bit_generator.state, m is not None, n_steps] if self.ranks.is_first else None
        )
        distributed_sums.copy_to_all(self.flat, self.weights)
        distributed_sums.copy_to_all(self.fixed, self.still)
        if has_means:
            self.optimizer.hand_out(n_steps, m, v)

    def divide(self, n_windows):
        """Say how many windows the next step has, which decides whose they are."""
        self.n_windows = n_windows
        self.parts = parts_of(self.options.accumulate, self.options.batch_size, self.ranks.size, n_windows)

    def step(self, lr, n_windows, rows=None, wishes_to_stop=False):
        """One step of AdamW -> loss, gradient norm, the same on all ranks; where one is not finite, nothing was moved.

        `rows`: on the first rank all windows of the step, int [n_windows, n_ctx + 1]; each rank gets its own.
        """
        self.divide(n_windows)
        mine = of_rank(self.parts, self.ranks.rank, self.ranks.size)
        rows = self.hand_out(rows)
        losses = np.zeros(self.n_rounds + 1)
        losses[-1] = wishes_to_stop
        for i in range(self.n_rounds):
            if i < len(mine):
                losses[i] = self.learn(mine[i], rows[: mine[i].n])
                rows = rows[mine[i].n :]
            n_added = min(len(self.parts) - i * self.ranks.size, self.ranks.size)
            distributed_sums.add_shares(self.flat, self.gradient, self.sum, n_added, is_begun=i > 0)
        if self.options.dropout:
            skip_(self.rng, self.n_windows * draws_per_window(self.config))
        loss = self.sum_of_losses(losses)
        norm = clip_(self.flat, self.sum, self.options.clip, self.ops)
        if np.isfinite(loss) and np.isfinite(norm):
            self.optimizer.step(self.weights, self.sum, lr, self.ops)
        return loss, norm

    @property
    def n_rounds(self):
        """How many parts the first rank has, which has the most."""
        return -(-len(self.parts) // self.ranks.size)

    def hand_out(self, rows):
        """To each rank the windows of its parts, int32 [n, n_ctx + 1], in their order; of no window two."""
        size, width = self.ranks.size, self.config.n_ctx + 1
        counts = [width * sum(part.n for part in of_rank(self.parts, rank, size)) for rank in range(size)]
        mine = np.empty(counts[self.ranks.rank], np.int32)
        send = None
        if self.ranks.is_first:
            dealt = [part for rank in range(size) for part in of_rank(self.parts, rank, size)]
            first = [part.batch * self.options.batch_size + part.first for part in dealt]
            dealt = [rows[start : start + part.n] for start, part in zip(first, dealt, strict=True)]
            starts = [0, *itertools.accumulate(counts)][:-1]
            send = [np.concatenate(dealt).astype(np.int32), (counts, starts)]
        self.ranks.comm.Scatterv(send, mine)
        return mine.reshape(-1, width)

    def learn(self, part, rows):
        """The loss of one part of a step; its gradients lie in `gradient` then."""
        o, rows = self.options, rows.astype(np.int64)
        dropout = None
        if o.dropout:
            before = part.batch * o.batch_size * draws_per_window(self.config)
            n_rows = min(o.batch_size, self.n_windows - part.batch * o.batch_size)  # the last batch may have fewer
            dropout = Dropout(o.dropout, RowsOf(ahead(self.rng, before), part.first, n_rows))
        loss, stages = backward.loss_and_stages(
            rows[:, :-1], rows[:, 1:], self.params, self.config, self.ops, dropout=dropout,
            n_counted=self.n_windows * self.config.n_ctx,
            n_idle=parts.n_idle(self.rates, self.config.n_layer),
        )  # fmt: skip
        for stage, grads in stages:
            for name, grad in P.walk(grads, f"{stage}."):
                if name in self.rates:
                    self.grads[name][...] = grad
        return loss

    def sum_of_losses(self, losses):
        """The parts' losses added in the order of the parts; notes whether any rank wishes to stop."""
        of_all = np.empty((self.ranks.size, len(losses)))
        self.ranks.comm.Allgather(losses, of_all)
        self.wishes_to_stop = bool(of_all[:, -1].any())
        return sum(of_all[:, :-1].T.reshape(-1)[: len(self.parts)].tolist(), 0.0)


def from_the_top(names, config):
    """Names of parameters as backward has their gradients: lm_head, ln_f, the last block, …, the embeddings."""
    return sorted(names, key=lambda name: -parts.stage(name, config.n_layer))  # sorted keeps the order within a stage


def follow(ops, ranks):
    """What the other ranks do: as the first one says, until it says that it is over -> were all steps done?"""
    about = ranks.share()
    options, config = TrainOptions(**about["options"]), GPTConfig.from_dict(about["config"])
    ranks.gather(about_this_rank(ranks))
    learner = Learner(options, config, np.random.default_rng(options.seed), ops, ranks)
    with StopSignal(speaks=False) as stop:
        while True:
            command, *given = ranks.share()
            if command == "agree":
                learner.agree()
            elif command == "step":
                learner.step(*given, wishes_to_stop=stop.asked)
            elif command == "evaluate":
                ranks.serve(lambda rows: evaluation.nats_of(rows, learner.params, config, ops))
            elif command == "collect":
                learner.optimizer.collect()
            elif command == "memory":
                ranks.gather(memory.most_used())
            else:
                return given[0]


def about_this_rank(ranks):
    """[machine, threads]"""
    return [ranks.machine, int(os.environ.get("OPENBLAS_NUM_THREADS") or 0)]


class DistributedRun(loop.Run):
    """The first rank's Run: whatever concerns all ranks it tells them before it does its own part."""

    def __init__(self, *given, ranks):
        self.ranks, self.begun = ranks, None
        super().__init__(*given)

    def what_learns(self):
        """The weights in one vector, and a Learner on every rank."""
        self.ranks.share({"options": dataclasses.asdict(self.options), "config": self.config.to_dict()})
        self.others = self.ranks.gather(about_this_rank(self.ranks))
        self.learner = Learner(self.options, self.config, self.rng, self.ops, self.ranks, self.params)
        self.params = self.learner.params
        return self.params, self.learner.rates

    def make_optimizer(self, rates):
        """This rank's share of it."""
        return self.learner.optimizer

    def load_state(self):
        """Read the state here, and give each rank what it needs of it."""
        whole = optim.AdamW(self.learned, rates=self.learner.rates)
        about = state.load(self.out, self.learned, whole, self.rng)
        self.agree(whole.n_steps, whole.m, whole.v)
        return about

    def begin(self):
        """As one process does, once all ranks have the same weights."""
        self.agree()
        super().begin()

    def agree(self, *means):
        """See Learner.agree."""
        self.ranks.share(["agree"])
        self.learner.agree(*means)

    def learn(self, batches, lr):
        """One step of all ranks -> loss, gradient norm."""
        rows = np.concatenate([np.concatenate([ids, targets[:, -1:]], axis=1) for ids, targets in batches])
        self.ranks.share(["step", lr, len(rows)])
        loss, norm = self.learner.step(lr, len(rows), rows)
        self.check_finite(loss, norm)
        self.is_asked_to_stop = self.learner.wishes_to_stop
        return loss, norm

    def evaluate(self):
        """As one process does; the other ranks take windows, too."""
        if self.held_out is None:
            return None
        self.ranks.share(["evaluate"])
        parts = (self.current(), self.config, self.ops)
        return evaluation.evaluate(self.held_out, self.n_bytes, *parts, spread=self.ranks.map)

    def whole_optimizer(self):
        """Its means from all ranks, for a moment, to be saved."""
        self.ranks.share(["collect"])
        whole = optim.AdamW({}, rates={})
        whole.n_steps = self.optimizer.n_steps
        whole.m, whole.v = ({name: means[name] for name in self.learner.rates} for means in self.optimizer.collect())
        return whole

    def say_plan(self, shown):
        """The plan, and who does what."""
        super().say_plan(shown)
        for line in lines(self.learner, self.others):
            shown.say(line)

    def say_end(self, prompt, shown):
        """The end, and how much memory that took."""
        super().say_end(prompt, shown)
        self.ranks.share(["memory"])
        used = self.ranks.gather(memory.most_used())
        if None not in used:
            first, *others = map(memory.in_words, (used[0], max(used[1:])))
            shown.say(f"memory, at most: {first} on the first rank, {others[0]} on the others")


def lines(learner, others):
    """What is said of the ranks before the first step; `others`: about_this_rank of each."""
    machines, threads = ({about[i] for about in others} for i in (0, 1))
    n, sizes = learner.ranks.size, sorted({part.n for part in learner.parts})
    each = " or ".join(f"{count:,}" for count in sorted(threads)) if 0 not in threads else "an unknown number of"
    where = "this machine" if len(machines) == 1 else f"{len(machines):,} machines"
    windows = " or ".join(map(str, sizes)) + (" window" if sizes == [1] else " windows")
    yield f"ranks: {n:,} on {where}, threads each: {each} (cores / ranks)"
    step = "full step" if learner.options.ramp_tokens else "step"
    yield f"a {step}: {len(learner.parts):,} parts of {windows}, part i on rank i modulo {n:,}"
    means = 8 * learner.flat.n_numbers
    yield f"AdamW's means: {memory.in_words(means)} in all, {memory.in_words(means / n)} on each rank"
