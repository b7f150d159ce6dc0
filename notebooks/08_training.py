# %% [markdown]
# # 08 · How does a model grow out of noise?
#
# **You will be able to** train a GPT-2 from random numbers, say what its loss should be at every stage and why, choose a learning rate with reasons, and tell
# learning from learning by heart.
#
# **You need** notebook 00 (the forward pass) and 07 (gradients). All runs here are small, some 30,000 weights and a few seconds each; what they show holds for
# large ones, and where it does not, it is said.

# %%
import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # matrices as small as here are multiplied sooner by one thread

import copy
import csv
import math
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from checks import ch08

from nanogpt_np import GPT, PRESETS, GPTConfig, Tokenizer, model, ops
from nanogpt_np import params as P
from nanogpt_np.lens import style
from nanogpt_np.storage import registry
from nanogpt_np.storage.checkpoint import load
from nanogpt_np.tokenizer.display import spell
from nanogpt_np.training import backward, data, evaluation, loop, optim, state
from nanogpt_np.training.options import TrainOptions

# %% [markdown]
# ## What it is asked
#
# The text is 300,000 characters of Shakespeare. The **last** tenth is *held out*: measured, never learned. The cut is one place in the text; why not single lines
# here and there is shown below. To see as much as possible happen in a few seconds, the tokens are bytes: 256, and one that stands for the end of a text.

# %%
documents = data.read_documents(["texts/shakespeare.txt"])
kept, held_out = data.split_held_out(documents, 0.1)
tokenizer = Tokenizer.train(kept, 257)
train_ids, held_ids = (data.encode_documents(part, tokenizer) for part in (kept, held_out))
print(f"{len(train_ids):,} tokens to learn from, {len(held_ids):,} held out, {tokenizer.n_vocab} in the vocabulary")

# %% [markdown]
# The text is cut into windows of `n_ctx` tokens, which are shuffled. What is asked at each place of a window is the **next** token: the targets are the same
# text, moved by one.

# %%
n_ctx = 32
windows = data.Windows(train_ids, n_ctx, seed=0)
ids, targets = windows.batch(0, 16)  # [n_batch, n_ctx] each
assert np.array_equal(ids[:, 1:], targets[:, :-1])
print("reads ", repr(tokenizer.decode(ids[0])))
print("to say", repr(tokenizer.decode(targets[0])))
print(f"{targets.size} questions in one batch of {len(ids)} windows")

# %% [markdown]
# ## Noise, and what it says
#
# Fresh weights are random. What is the loss then? Guess before you run the next cell; you need no model for it.

# %%
config = GPTConfig(n_vocab=257, n_ctx=n_ctx, n_embd=32, n_layer=1, n_head=4, tie_word_embeddings=False, eos_id=256)
print(f"{P.size(config):,} weights; the logarithm of {config.n_vocab} is {math.log(config.n_vocab):.2f}")
for factor in (1, 5, 50):
    params = P.init(config, np.random.default_rng(0))
    for _, array in P.walk(params):
        if array.ndim == 2:
            array *= factor
    loss, _ = backward.loss_and_grads(ids, targets, params, config, ops)
    assert factor > 1 or abs(loss - math.log(config.n_vocab)) < 0.05
    print(f"matrices of size {0.02 * factor:.2f}: loss {loss:.2f}")

# %% [markdown]
# Small random weights make small logits; then all tokens are about equally likely, each gets 1/257, and the loss is $-\log(1/257) = \ln 257$. If your first loss
# is *not* the logarithm of the size of the vocabulary, look for the bug before you train. Large random weights are worse than knowing nothing: they are sure of
# random things.
#
# GPT-2 begins with a standard deviation of 0.02. That was chosen for rows of 768 numbers and more; a product of two rows grows with the root of their length, so
# narrow models should begin larger, by $\sqrt{768 / n_\text{embd}}$. Ours do, and still begin near $\ln 257$.

# %%
def fresh(config, rng):
    params = P.init(config, rng)
    for _, array in P.walk(params):
        if array.ndim == 2:
            array *= math.sqrt(768 / config.n_embd)
    return params


# %% [markdown]
# ## One step, many steps
#
# Five lines make a step: a batch; its gradient (notebook 07); *clipping*, by which a gradient longer than 1 is shortened to 1, its direction kept; the learning
# rate of this step; and the optimizer, which moves the weights. All five are the library's. What they do is taken apart below.

# %%
class Plan(NamedTuple):
    steps: int = 100
    lr: float = 1e-2  # the highest; it is reached after `warmup` steps and falls to `end` of it, along half a cosine
    warmup: int = 20
    end: float = 0.1
    clip: float = 1.0
    decay: float = 0.1


def step(n, params, optimizer, batch, config, plan, dropout=None):
    ids, targets = batch(n)
    loss, grads = backward.loss_and_grads(ids, targets, params, config, ops, dropout=dropout)
    optim.clip_(grads, plan.clip)
    lr = optim.warmup_cosine(n, plan.steps, plan.lr, plan.lr * plan.end, plan.warmup)
    optimizer.step(params, grads, lr)
    return loss


def train(config, batch, plan, seed=0, begin=fresh, optimizer=None, watch=None):
    """-> params and the loss before each step; watch(n, params, optimizer) is called before each step and at the end."""
    rng = np.random.default_rng(seed)
    params, losses = begin(config, rng), []
    optimizer = optimizer or optim.AdamW(params, betas=(0.9, 0.99), weight_decay=plan.decay)
    dropout = model.Dropout(config.dropout, rng) if config.dropout else None
    for n in range(plan.steps + 1):
        if watch:
            watch(n, params, optimizer)
        if n < plan.steps:
            losses.append(step(n, params, optimizer, batch, config, plan, dropout))
    return params, np.array(losses)


def batches(windows, n_batch=16):
    return lambda n: windows.batch(n * n_batch, n_batch)


# %% [markdown]
# ## The order in which it learns
#
# Two tables can be made by counting, without any model. *How often is each byte?* And: *how often is each byte after each other byte?* Guessing by the first
# needs no context at all, by the second a context of one. Their losses on the held-out text are marks to measure a model by. What do you expect: will it reach
# them, in which order, and will it stay there?

# %%
n_vocab = config.n_vocab
single = np.bincount(train_ids[1:], minlength=n_vocab) + 0.01  # a little for what was never seen
single /= single.sum()
pairs = np.zeros((n_vocab, n_vocab))
np.add.at(pairs, (train_ids[:-1], train_ids[1:]), 1.0)
pairs = pairs + single  # as if each byte had been seen once more, followed by anything
pairs /= pairs.sum(axis=1, keepdims=True)
marks = {
    "any of 257 tokens": math.log(n_vocab),
    "counts of bytes": -np.log(single[held_ids[1:]]).mean(),
    "counts of pairs": -np.log(pairs[held_ids[:-1], held_ids[1:]]).mean(),
}
for name, loss in marks.items():
    print(f"{name:18} {loss:.2f} nats per token")

# %% [markdown]
# Now the run, 500 steps, less than once through the text. At a few steps we stop and ask the model about one stretch of held-out text: its loss, and how far its
# answers are from those of the two tables, as the Kullback-Leibler divergence $\sum p \log (p / q)$, in nats: 0 means that it *is* the table.

# %%
n_asked = 2048
asked = held_ids[: n_asked + 1].astype(int)
asked_ids, asked_targets = asked[:-1].reshape(-1, n_ctx), asked[1:]


def divergence(table, probs):
    return float((table * np.log(table / probs)).sum(axis=-1).mean())


seen, copies, agreement = [], {}, []


def look(n, params, optimizer):
    if n not in (0, 1, 2, 4, 7, 10, 15, 20, 30, 45, 70, 100, 150, 220, 330, 500):
        return
    final, _ = model.trunk(asked_ids, params, config, ops)
    probs = ops.softmax(final.reshape(-1, config.n_embd) @ P.unembedding(params).T).astype(np.float64)
    loss = -np.log(probs[np.arange(n_asked), asked_targets]).mean()
    seen.append((n, loss, divergence(single, probs), divergence(pairs[asked[:-1]], probs)))
    copies[n] = P.nest({name: array.copy() for name, array in P.walk(params)})
    if n in (4, 15, 100, 500):
        agreement.append((n, optimizer_agreement(optimizer)))


def optimizer_agreement(optimizer):  # of this, more below
    m, v = (np.concatenate([array.ravel() for name, array in means.items() if name.startswith("h.")])
            for means in (optimizer.m, optimizer.v))  # fmt: skip
    return float(np.median(np.abs(m / (1 - 0.9**optimizer.n_steps)) / np.sqrt(v / (1 - 0.99**optimizer.n_steps) + 1e-30)))


begun = time.perf_counter()
params, losses = train(config, batches(windows), Plan(steps=500), watch=look)
seconds = time.perf_counter() - begun
print(f"measured: {seconds:.1f} s")
for n, loss, to_single, to_pairs in seen[::3]:
    print(f"step {n:3}: held-out loss {loss:.2f}; away from the table of bytes {to_single:.2f}, of pairs {to_pairs:.2f}")

# %%
at, asked_loss, to_single, to_pairs = np.array(seen).T
figure = style.figure(7.2, 5.2, "What a model learns first",
                      f"a GPT-2 of {P.size(config):,} weights on bytes of Shakespeare",
                      "right of step 1 the axis is logarithmic; dotted: losses of tables that were counted")  # fmt: skip
upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
upper.plot(np.arange(2, 500, 5), losses.reshape(-1, 5).mean(axis=1), color=style.PALE, linewidth=1, label="batches, means of 5")
upper.plot(at, asked_loss, "o-", color=style.INK, markersize=4, label="held-out text")
for name, loss in marks.items():
    upper.axhline(loss, linestyle=":", color=style.INK, linewidth=0.9)
    upper.text(0.05 if loss < 5 else 5, loss + 0.06, f"{name}: {loss:.2f}", fontsize=9, color=style.INK)
lower.plot(at, to_single, "s-", color=style.KEY, markersize=4, label="to the table of bytes")
lower.plot(at, to_pairs, "o-", color=style.QUERY, markersize=4, label="to the table of pairs")
upper.set(ylabel="loss (nats per token)", ylim=(2, 6))
lower.set(ylabel="divergence (nats)", xlabel="steps", ylim=(0, 3.5), xlim=(0, 500))
lower.set_xscale("symlog", linthresh=1, linscale=0.4)
lower.set_xticks([0, 1, 10, 100, 500], ["0", "1", "10", "100", "500"])
for axes, place in ((upper, "center right"), (lower, "upper right")):
    axes.legend(frameon=False, loc=place)
    style.without_frame(axes, "top", "right")
figure

# %% [markdown]
# It does not learn "a bit of everything". First it learns which bytes are frequent, and for a moment around step 20 it nearly **is** the first table. Then it
# leaves that one and approaches the second: look at the flat stretch of the loss around step 100. What a context of one has to say has been learned, and little
# seems to move. Then it leaves the second table as well, and falls below its loss: now it knows something that no table of pairs can know, it has begun to look
# further back. Each of these stages is easier to find than the next. A flat stretch is easily taken for the end of learning, and is often the end of a stage.
#
# What it writes at these moments (`␣` is a space, `\n` a new line; at the beginning most of what it says is not even a letter):

# %%
assert np.argmin(to_single) < np.argmin(to_pairs) < len(at) - 1 and asked_loss[-1] < marks["counts of pairs"]
for n, weights in copies.items():
    if n in (0, 20, 100, 500):
        wrote = GPT(config, weights, tokenizer).generate([10], 64, seed=1, ignore_eos=True, overflow="slide")
        print(f"step {n:3}: " + "".join(spell(tokenizer.token_bytes(i)) for i in wrote if i < 256))

# %% [markdown]
# ## The same twice
#
# Was that luck? The seed decides the fresh weights and the order of the windows, and nothing else is left to chance. So the same seed gives the same weights **to
# the last bit**. That is worth an assertion: a run that cannot be repeated cannot be debugged. And here is what the library's own training loop makes of the same
# plan, from the text file to the model on disk:

# %%
plan = Plan(steps=20, warmup=10)
once, first = train(config, batches(windows), plan, begin=P.init)
again, second = train(config, batches(windows), plan, begin=P.init)
assert np.array_equal(first, second)
with tempfile.TemporaryDirectory() as folder:
    options = TrainOptions(
        ["texts/shakespeare.txt"], f"{folder}/run", n_vocab=257, n_ctx=32, n_embd=32, n_layer=1, n_head=4,
        tie_word_embeddings=False, steps=20, batch_size=16, lr=1e-2, warmup=10, held_out=0.1, seed=0,
    )  # fmt: skip
    loop.train(options, ops, progress=False)
    _, theirs, _ = load(f"{folder}/run")
for (name, mine), (_, other), (_, library) in zip(P.walk(once), P.walk(again), P.walk(theirs), strict=True):
    assert np.array_equal(mine, other) and np.array_equal(mine, library), name
print("20 steps, twice here and once in the library: every weight the same, to the last bit")

# %% [markdown]
# A long run must survive a power cut. What has to be kept? The weights, of course; also Adam's two means for each weight, the number of the step (it decides the
# batch and the learning rate), and the state of the random generator, where there is dropout. With these, stopping makes no difference at all; without Adam's
# means, it does.

# %%
def go_on(params, optimizer, first, last, plan, n_batch=16):
    for n in range(first, last):
        loss = step(n, params, optimizer, batches(windows, n_batch), config, plan)
    return loss


rng = np.random.default_rng(0)
half = P.init(config, rng)
adam = optim.AdamW(half, betas=(0.9, 0.99), weight_decay=plan.decay)
go_on(half, adam, 0, 10, plan)
results = {}
with tempfile.TemporaryDirectory() as folder:
    state.save(Path(folder), half, adam, rng, 10, {"tokenizer": tokenizer.fingerprint})
    for keep_means in (True, False):
        there = P.init(config, np.random.default_rng(99))  # anything: it is filled from the file
        adam = optim.AdamW(there, betas=(0.9, 0.99), weight_decay=plan.decay)
        about = state.load(Path(folder), there, adam, np.random.default_rng(0))
        if not keep_means:
            adam = optim.AdamW(there, betas=(0.9, 0.99), weight_decay=plan.decay)
        results[keep_means] = go_on(there, adam, about["step"], 20, plan)
assert results[True] == first[-1] != results[False]
print(f"last loss without a stop {first[-1]:.2f}, resumed with everything {results[True]:.2f}, without Adam's means {results[False]:.2f}")

# %% [markdown]
# ## AdamW, by hand
#
# Plain gradient descent moves each weight by $\text{lr} \cdot g$. Adam keeps two running means for each weight, of the gradient and of its square, and moves by
# their quotient:
#
# $$m \leftarrow 0.9\,m + 0.1\,g \qquad v \leftarrow 0.99\,v + 0.01\,g^2 \qquad w \leftarrow w - \text{lr}\, \frac{m / (1 - 0.9^t)}{\sqrt{v / (1 - 0.99^t)} + \varepsilon}$$
#
# Both begin at zero, so that after $t$ steps they hold only a part of what they should; the divisions by $1 - 0.9^t$ and $1 - 0.99^t$ make that good. The W is
# for *weight decay*: before, the weight itself shrinks by $\text{lr} \cdot \text{decay} \cdot w$. Three steps with a pencil:

# %%
w, m, v, lr, decay = 1.0, 0.0, 0.0, 0.1, 0.1
weights = {"w": np.array([[1.0]])}
adam = optim.AdamW(weights, betas=(0.9, 0.99), weight_decay=decay)
for t, g in enumerate((0.5, -2.0, 0.1), start=1):
    m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
    m_full, v_full = m / (1 - 0.9**t), v / (1 - 0.99**t)
    move = lr * m_full / (math.sqrt(v_full) + 1e-8)
    w = w - lr * decay * w - move
    adam.step(weights, {"w": np.array([[g]])}, lr)
    assert abs(weights["w"][0, 0] - w) < 1e-12
    print(f"t {t}  g {g:+.1f}   m {m:+.3f} -> {m_full:+.3f}   v {v:.3f} -> {v_full:.3f}   moves by {-move:+.3f}   w {w:.3f}")

# %% [markdown]
# Look at the first step: $m/\sqrt v = g/|g|$. It is **lr in size, whatever the gradient**; a gradient a million times smaller gives the same step. So the
# learning rate of Adam is a length, about how far a weight may go in one step, and the scale of the loss drops out. What that is good for shows where the loss is
# steep in one weight and flat in another:

# %%
def slide(name, lr, angle=0.0, n_steps=80):
    """The path from (1, 1) down the loss 50 a² + 0.5 b², after everything was turned by an angle; turned back."""
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    weights = {"w": turn @ np.array([1.0, 1.0])}
    adam, path = optim.AdamW(weights, betas=(0.9, 0.99), weight_decay=0.0), [np.array([1.0, 1.0])]
    for _ in range(n_steps):
        g = turn @ (np.array([100.0, 1.0]) * (turn.T @ weights["w"]))
        if name == "Adam":
            adam.step(weights, {"w": g}, lr)
        else:
            weights["w"] -= lr * g
        path.append(turn.T @ weights["w"])
    return np.array(path)


figure = style.figure(6.8, 3.6, "Two weights, and a loss 100 times as steep in one as in the other",
                      "80 steps from (1, 1); lines of equal loss 50 a² + 0.5 b²", "the lowest point is (0, 0)")  # fmt: skip
axes = figure.subplots()
a, b = np.meshgrid(np.linspace(-1.2, 1.2, 200), np.linspace(-0.6, 1.2, 200))
axes.contour(b, a, 50 * a**2 + 0.5 * b**2, levels=[0.02, 0.1, 0.5, 2, 8, 30, 60], colors=style.RESIDUAL, linewidths=0.8)
for name, lr, colour, mark in (("gradient descent", 0.019, style.KEY, "s"), ("Adam", 0.1, style.QUERY, "o")):
    path = slide(name, lr)
    axes.plot(path[:, 1], path[:, 0], f"{mark}-", color=colour, markersize=3, linewidth=1, label=f"{name}, lr {lr}")
axes.set(xlabel="b, the flat one", ylabel="a, the steep one", xlim=(-0.6, 1.2), ylim=(-1.2, 1.2))
axes.legend(frameon=False, loc="lower left")
style.without_frame(axes, "top", "right")
figure

# %% [markdown]
# Gradient descent must take a rate below 2/100, or the steep weight flies off (notebook 07); with that it jumps to and fro in the steep one and creeps in the
# flat one. Adam does not notice the factor of 100 at all: it goes straight, overshoots once, as its mean remembers, and is there. But it looks at each weight *by
# itself*. Turn the same valley by 45 degrees, so that steep and flat are mixtures of the two weights, and the advantage is gone, while gradient descent notices
# nothing:

# %%
for name, lr in (("gradient descent", 0.019), ("Adam", 0.1)):
    ends = [slide(name, lr, angle)[-1] for angle in (0.0, math.pi / 4)]
    straight, turned = (50 * a**2 + 0.5 * b**2 for a, b in ends)
    print(f"{name:16} loss after 80 steps {straight:.3f}, in the turned valley {turned:.3f}")

# %% [markdown]
# How does this look in the run above? If the last gradients of a weight agree, $|m| / \sqrt v$ is 1, and it moves at full speed. If they are pure noise of either
# sign, the mean of about ten of them is smaller: half of the weights are then below 0.15 (that is $0.67\,\sqrt{0.1/1.9}$, from the weights of the mean). The
# median over the weights of the block:

# %%
noise = 0.674 * math.sqrt((1 - 0.9) / (1 + 0.9))
for n, median in agreement:
    print(f"step {n:3}: {median:.2f}   (pure noise: {noise:.2f})")
assert agreement[0][1] > 3 * noise and 0.6 * noise < agreement[-1][1] < 1.4 * noise

# %% [markdown]
# In the beginning the batches agree. Later the steps are as good as noise: one batch pulls here, the next one there, and the weights jitter around a place that
# they cannot come closer to. The remedy is a smaller step, which averages over more batches. Below, a model has gone 200 steps at a constant, rather high rate.
# What do 20 more steps give it, and what do 20 steps at a tenth of the rate?

# %%
few = held_ids[: 2 * n_asked + 1]


def held_out_loss(params, config):
    return evaluation.evaluate(few, 1, params, config, ops).loss


full = Plan(lr=2e-2, end=1.0)
jittery = fresh(config, np.random.default_rng(0))
adam = optim.AdamW(jittery, betas=(0.9, 0.99), weight_decay=full.decay)
go_on(jittery, adam, 0, 200, full, n_batch=8)
reached = {"before": held_out_loss(jittery, config)}
for name, plan in (("20 more steps", full), ("20 smaller steps", full._replace(lr=2e-3))):
    calm, calm_adam = copy.deepcopy((jittery, adam))
    go_on(calm, calm_adam, 200, 220, plan, n_batch=8)
    reached[name] = held_out_loss(calm, config)
for name, loss in reached.items():
    print(f"{name:17} held-out loss {loss:.2f}")
assert reached["20 smaller steps"] < min(reached["before"], reached["20 more steps"]) - 0.02

# %% [markdown]
# **That is why the learning rate comes down at the end of a run**: what looks like sudden learning is the jitter going away. (The library lets it come down along
# half a cosine.)
#
# ## The learning rate, and what warm-up is for
#
# One number decides more than all the others. Twelve short runs, with and without *warm-up* (the rate rises from 0 during the first 20 steps). Guess the shape of
# the curve first: what happens at rates too small, too large, and just before too large?

# %%
rates = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
found = {}
for warmup in (20, 0):
    for lr in rates:
        trained, _ = train(config, batches(windows, 8), Plan(steps=60, lr=lr, warmup=warmup))
        found[warmup, lr] = held_out_loss(trained, config)

# %%
figure = style.figure(6.8, 3.6, "The learning rate decides",
                      f"held-out loss after 60 steps of 8 windows, {P.size(config):,} weights, AdamW")  # fmt: skip
axes = figure.subplots()
for warmup, colour, mark, name in ((0, style.KEY, "s--", "at once"), (20, style.QUERY, "o-", "after a warm-up of 20 steps")):
    axes.semilogx(rates, [found[warmup, lr] for lr in rates], mark, color=colour, label=name)
for name in ("counts of bytes", "counts of pairs"):
    axes.axhline(marks[name], linestyle=":", color=style.INK, linewidth=0.9)
    axes.text(0.0125, marks[name] + 0.03, name, fontsize=9, color=style.INK)
axes.set(xlabel="highest learning rate", ylabel="loss (nats per token)")
axes.legend(frameon=False, loc="upper center")
style.without_frame(axes, "top", "right")
figure

# %% [markdown]
# Left, the runs are not finished: each step is too short. Right, they are hardly better than the table of bytes: the frequencies are all that they have learned.
# Look at the rate 0.1: with warm-up it is a usable rate, without it the first few steps, which are as long as all others then, have thrown the weights to where
# little can be learned. Warm-up gains nothing at the best rate of this model; it makes **higher rates safe**, and so the valley wide. (At the start Adam's
# $\sqrt v$ rests on a few gradients; and how large a step may be depends on the place, as notebook 07 shows.)

# %%
assert found[0, 1e-1] > found[20, 1e-1] + 0.2 and found[0, 3e-1] > marks["counts of pairs"] + 0.5
assert min(found[20, lr] for lr in rates) < marks["counts of bytes"] - 0.4
for lr in (1e-2, 1e-1):
    print(f"highest rate {lr}: loss {found[20, lr]:.2f} with warm-up, {found[0, lr]:.2f} without")

# %% [markdown]
# ## What is each part worth?
#
# A recipe has many parts: which of them matters? Change one at a time, train, compare. There is a trap. Two runs that differ in nothing but the **seed** end at
# different losses too. So the first question is: how far apart are runs that are the same?

# %%
class Descent:
    """Plain gradient descent, in the place of AdamW."""

    def step(self, params, grads, lr):
        grads = dict(P.walk(grads))
        for name, array in P.walk(params):
            array -= lr * grads[name]


usual, luck = Plan(), 0.1


def ended(config, plan, seed=0, **how):
    batch = batches(data.Windows(train_ids, n_ctx, seed), 8)
    return held_out_loss(train(config, batch, plan, seed, **how)[0], config)


same = [ended(config, usual, seed) for seed in range(3)]
assert max(same) - min(same) < luck
changed = {
    "no weight decay": ended(config, usual._replace(decay=0.0)),
    "no clipping": ended(config, usual._replace(clip=math.inf)),
    "the rate stays high": ended(config, usual._replace(end=1.0)),
    "output tied to input": ended(config.replace(tie_word_embeddings=True), usual),
    "gradient descent, 0.1": ended(config, usual._replace(lr=0.1), optimizer=Descent()),
    "gradient descent, 0.3": ended(config, usual._replace(lr=0.3), optimizer=Descent()),
}
narrow = [ended(config, usual, seed, begin=P.init) for seed in range(3)]
print("the same plan, three seeds:           ", ", ".join(f"{loss:.2f}" for loss in same))
print("fresh weights of 0.02, the same seeds:", ", ".join(f"{loss:.2f}" for loss in narrow))
for name, loss in changed.items():
    print(f"{name:22} {loss:.2f}  {'worse' if loss > np.mean(same) + luck else 'may be luck'}")
assert max(narrow) > max(same) + luck

# %% [markdown]
# Most of the famous ingredients cannot be told from luck here. That does not make them useless: weight decay and clipping are insurance for long runs, and a
# hundred steps are none. What it does mean is that **a comparison of two runs is worth nothing unless you know how far two equal runs lie apart**. Two things do
# matter even here. One is AdamW. The other is where the weights begin: too small, and it depends on the seed how long the model takes to get away.
#
# ## How many windows make a batch?
#
# A batch's gradient is an estimate: the true one, over all of the text, plus noise. Twice the windows, half the noise (in square), twice the time. Below, how
# well do the gradients of two *different* batches agree, as the cosine of the angle between them: 1 the same direction, 0 at right angles?

# %%
def gradient_of(params, numbers):
    """The gradient over some windows of the text as one row, float64 [n_weights]."""
    rows = [windows.batch(int(number), 1) for number in numbers]
    ids, targets = (np.concatenate(part) for part in zip(*rows, strict=True))
    _, grads = backward.loss_and_grads(ids, targets, params, config, ops)
    return np.concatenate([grad.ravel() for _, grad in P.walk(grads)]).astype(np.float64)


rng = np.random.default_rng(7)
for n in (0, 20, 500):
    agree = {}
    for size, n_pairs in ((1, 12), (8, 6), (64, 3)):
        cosines = []
        for _ in range(n_pairs):
            a, b = (gradient_of(copies[n], numbers) for numbers in rng.choice(windows.n_windows, (2, size), replace=False))
            cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        agree[size] = np.mean(cosines)
    print(f"step {n:3}: batches of 1 window agree to {agree[1]:.2f}, of 8 to {agree[8]:.2f}, of 64 to {agree[64]:.2f}")
    assert agree[1] < agree[8] < agree[64]

# %% [markdown]
# At the beginning a few windows say it all; more would be wasted work. Later each window pulls its own way, and a larger batch pays. So the right size grows
# during a run; the hard exercise measures it.
#
# ## Learning by heart
#
# Now a text of 1,500 characters, read again and again. A part of it is set aside in two ways. *By position*: the 1,300 characters that follow. *At random*: of
# all windows that can be cut from the 1,500 characters, one at each place, a tenth is drawn by lot and not trained on. Both are "unseen". Which of them tells the
# truth?

# %%
short, following = (np.array(tokenizer.encode(kept[0][part])) for part in (slice(0, 1500), slice(1500, 2800)))
starts = np.random.default_rng(3).permutation(len(short) - n_ctx)
drawn_out, trained_on = starts[:146], starts[146:]


def cut(ids, starts):  # -> ids, targets [n, n_ctx]
    rows = ids[np.asarray(starts)[:, None] + np.arange(n_ctx + 1)]
    return rows[:, :-1], rows[:, 1:]


def by_heart(dropout):
    """-> rows of step, loss on windows trained on, on those drawn out, on the text that follows."""
    wide = config.replace(n_embd=64, dropout=dropout)
    sets = (cut(short, trained_on[:40]), cut(short, drawn_out[:40]), cut(following, range(0, 40 * n_ctx, n_ctx)))
    rows, lots = [], np.random.default_rng(5)

    def measure(n, params, optimizer):
        if n % 25 == 0:
            rows.append((n, *(loss_on(params, wide, *part) for part in sets)))

    train(wide, lambda n: cut(short, lots.choice(trained_on, 8)), Plan(steps=300, lr=5e-3), watch=measure)
    return np.array(rows)


def loss_on(params, config, ids, targets):
    final, _ = model.trunk(ids, params, config, ops)
    losses, _ = ops.cross_entropy(final.reshape(-1, config.n_embd), P.unembedding(params), targets.reshape(-1))
    return float(losses.mean())


curves = {dropout: by_heart(dropout) for dropout in (0.0, 0.2)}

# %%
figure = style.figure(7.2, 3.6, "Learning by heart",
                      "64 wide, one block, 1,500 characters, each read some 50 times; a circle: where to stop")  # fmt: skip
for axes, (dropout, rows) in zip(figure.subplots(1, 2, sharey=True), curves.items(), strict=True):
    at, seen_text, lots_text, next_text = rows.T
    axes.plot(at, next_text, "o-", color=style.INK, markersize=4, label="the text that follows")
    axes.plot(at, lots_text, "s--", color=style.KEY, markersize=4, label="windows drawn out at random")
    axes.plot(at, seen_text, "-", color=style.QUERY, label="windows trained on")
    axes.plot(at[next_text.argmin()], next_text.min(), "o", color=style.INK, markersize=11, fillstyle="none")
    axes.set(xlabel="steps", title=f"dropout {dropout}", ylim=(0, 5.8))
    style.without_frame(axes, "top", "right")
figure.axes[0].set_ylabel("loss (nats per token)")
figure.axes[0].legend(frameon=False, loc="upper right")
figure

# %% [markdown]
# Left: the loss on the text that is read falls and falls. On the text that follows it has its lowest point early, and from there on the model becomes *worse*;
# whoever measures there stops in time (*early stopping*; the library keeps `best/`). Right: with *dropout* a fifth of the values is left out, another fifth at
# every step, so that nothing can rely on a single value. Learning by heart becomes slow.
#
# The windows drawn out at random say nothing of all this. Each of their tokens has been a target, in windows that began a few places away. A held-out set that
# **overlaps** the training set measures memory. That is why the library holds out whole documents, or the end of a text.

# %%
rows = curves[0.0]
assert rows[-1, 3] > rows[:, 3].min() + 0.2 and rows[-1, 2] < 0.5 * rows[-1, 3]
assert rows[-1, 3] > curves[0.2][-1, 3] + 0.2
print(f"in the end: {rows[-1, 1]:.2f} on what was trained on, {rows[-1, 2]:.2f} on what was drawn out, {rows[-1, 3]:.2f} on what follows")

# %% [markdown]
# ## Two models, two vocabularies: which one is better?
#
# Losses in nats *per token* cannot be compared when the tokens differ: a longer token is harder to guess and says more. Count instead what both have in common,
# the bytes of the text: **bits per byte** is the whole loss over the held-out text, in bits ($\div \ln 2$), divided by the bytes of that text. It is the size to
# which the model could compress it. The same shape of model, on tokens of a vocabulary of 512:

# %%
words = Tokenizer.train(kept, 512)
longer_ids, longer_held = (data.encode_documents(part, words) for part in (kept, held_out))
wider = config.replace(n_vocab=words.n_vocab, eos_id=words.eos_id)
on_words, _ = train(wider, batches(data.Windows(longer_ids, n_ctx, seed=0)), Plan(steps=250))
n_bytes = evaluation.count_bytes(held_out)
of_bytes = evaluation.evaluate(held_ids, n_bytes, copies[500], config, ops)
of_words = evaluation.evaluate(longer_held, n_bytes, on_words, wider, ops)
for name, found_loss in (("bytes", of_bytes), ("512 tokens", of_words)):
    print(f"{name:10} {n_bytes / found_loss.n_tokens:.2f} bytes per token, {found_loss.loss:.2f} nats per token, {found_loss.bits_per_byte:.2f} bits per byte")
assert of_words.loss > 1.5 * of_bytes.loss and abs(of_words.bits_per_byte - of_bytes.bits_per_byte) < 0.5

# %% [markdown]
# By nats per token the second looks hopeless; by bits per byte they are close, and it had half the steps. (With each step it reads about twice as much text, and
# a window of 32 tokens sees twice as far back.)
#
# ## What a step costs
#
# A rule of thumb says: **6 · N · tokens** operations, for N weights. Each weight is multiplied and added once per token, that makes 2; backward costs two such
# products (notebook 07), that makes 6. How good is the rule? The arithmetic of this library is a module that is passed along (`ops`), so pass one that counts:

# %%
def counting(total):
    """The ops, each of which adds its multiplications and additions of matrix products to the list `total`."""
    flops = {
        "linear": lambda x, weight, bias: 2 * x.size * weight.shape[1],
        "linear_backward": lambda dout, x, weight, bias: 4 * x.size * weight.shape[1],
        "attention_probs": lambda q, k, visible: 2 * q.size * k.shape[-2],
        "attention_probs_backward": lambda dprobs, q, k, probs: 4 * q.size * k.shape[-2],
        "attention_mix": lambda probs, v: 2 * probs.size * v.shape[-1],
        "attention_mix_backward": lambda dout, probs, v: 4 * probs.size * v.shape[-1],
        "cross_entropy": lambda x, weight, targets, **how: 2 * x.size * len(weight),
        "cross_entropy_backward": lambda dlosses, x, weight, targets, log_z, **how: 4 * x.size * len(weight),
    }

    def counted(name):
        def call(*given, **how):
            total.append(flops[name](*given, **how))
            return getattr(ops, name)(*given, **how)

        return call

    return SimpleNamespace(**vars(ops) | {name: counted(name) for name in flops})


stories = GPT.from_pretrained("stories", ops="numpy")
once_upon = np.array([stories.tokenizer.encode("Once upon a time" * 65)[:257]])
for name, p, c, batch in (("ours", copies[500], config, (ids, targets)),
                          ("stories", stories.params, stories.config, (once_upon[:, :-1], once_upon[:, 1:]))):  # fmt: skip
    total, rule = [], 6 * P.count(p) * batch[0].size
    backward.loss_and_grads(*batch, p, c, counting(total))
    print(f"{name:8} {sum(total):14,} counted, {rule:14,} by the rule: {sum(total) / rule:.2f} of it")
print(f"measured: {6 * P.count(params) * 500 * 512 / seconds / 1e9:.1f} billion operations per second in our run")

# %% [markdown]
# The rule counts the tables of input embeddings and positions, which are only looked up (in our tiny model they are a quarter of all weights), and it forgets
# attention, each token with each before it (which shows in *stories*, over 256 tokens). So the time for a training can be known before it begins. The project's
# own model, by its log, and what would come next, at the same speed:

# %%
def read_log(name):
    with open(registry.resolve(name) / "log.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


log = read_log("stories")
n_tokens, n_seconds = int(log[-1]["tokens"]), float(log[-1]["seconds"])
speed = 6 * P.count(stories.params) * n_tokens / n_seconds
print(f"stories: {6 * P.count(stories.params) * n_tokens:.1e} operations in {n_seconds / 3600:.1f} hours, {speed / 1e9:.0f} billion a second")
for name, billions in (("gpt2", 10), ("gpt3-175b", 300)):
    n_years = 6 * P.size(PRESETS[name]) * billions * 1e9 / speed / 3600 / 24 / 365
    print(f"{name}: {billions} billion tokens would take {n_years:,.0f} years on that machine")

# %% [markdown]
# ## How the two models that ship were trained
#
# Everything above, at another size. Their logs ship with them. Cover the lower half of the picture: can you tell from the losses where the learning rate was
# raised, and where it came down?

# %%
def column(rows, x, y, scale=1e6):
    return np.array([(float(row[x]) / scale, float(row[y])) for row in rows if row[y]]).T


figure = style.figure(7.2, 4.4, "Two trainings, from the first step to the last",
                      "from weights/stories/log.csv and weights/poems/log.csv",
                      "vertical line: a second run begins, with dropout, from where the first has ended")  # fmt: skip
axes = figure.subplots(2, 2, sharex="col", height_ratios=(3, 1))
for (upper, lower), name in zip(axes.T, ("stories", "poems"), strict=True):
    log = read_log(name)
    upper.plot(*column(log[::8], "tokens", "train_loss"), color=style.PALE, linewidth=0.8, label="training batches")
    upper.plot(*column(log, "tokens", "held_out_loss"), "o-", color=style.INK, markersize=3, label="held-out text")
    lower.plot(*column(log, "tokens", "lr"), color=style.QUERY)
    upper.set(title=name, ylim=(1.8, 8.4))
    lower.set(xlabel="tokens read (millions)", ylim=(0, None))
    for panel in (upper, lower):
        style.without_frame(panel, "top", "right")
        if name == "stories":
            panel.axvline(4500 * 2048 / 1e6, color=style.INK, linewidth=0.8, linestyle=":")
axes[0, 0].set_ylabel("loss (nats per token)")
axes[1, 0].set_ylabel("learning rate")
axes[0, 0].legend(frameon=False)
figure

# %% [markdown]
# (The small jumps in the rate: the run was stopped and gone on with, and the number of its steps was changed.) The second run of *stories* begins by losing what
# the first had gained at its end: the rate goes up again, the jitter is back, and the loss with it. When the rate comes down, the loss falls below where it was.
# Had it been judged halfway, the second run would have looked like a mistake:

# %%
by_step = {int(row["step"]): float(row["held_out_loss"]) for row in read_log("stories") if row["held_out_loss"]}
for at_step, what in ((4500, "end of the first run"), (7000, "almost halfway through the second"), (10000, "its end")):
    print(f"step {at_step:6,}: {by_step[at_step]:.2f} nats per token, {what}")
assert by_step[10000] < by_step[4500] < by_step[7000]

# %% [markdown]
# ## What people get wrong
#
# * *"Fit X to X, and it learns to predict the next token."* Seen in real tutorials: `model.fit(X, X)`. Then the target at each place is the token that stands
#   there, and all there is to learn is copying. The loss goes where no language model's can go, and the model is worth nothing:

# %%
copying, losses_of_copying = train(config, lambda n: (windows.batch(16 * n, 16)[0],) * 2, Plan(steps=60, lr=3e-2))
at_copying = loss_on(copying, config, ids, ids)
at_next = loss_on(copying, config, ids, targets)
parrot = GPT(config, copying, tokenizer)
print(f"loss at copying {at_copying:.2f}; at the next token it is worse than knowing nothing: {at_next > math.log(n_vocab)}")
print(f"it continues 'hello' with {parrot.generate('hello', 20, temperature=0, ignore_eos=True)!r}")
assert at_copying < 0.1 and at_next > math.log(n_vocab)

# %% [markdown]
# * *"The input is a window, the target is the one token behind it."* So it is done with Embedding-LSTM-Dense stacks that are called GPT. A GPT answers at
#   **every** place of a window, and each answer has its target: here 32 lessons for the price of one. The same windows, the same number of steps:

# %%
def last_only(n):
    ids, targets = windows.batch(8 * n, 8)
    targets = targets.copy()
    targets[:, :-1] = ops.IGNORE
    return ids, targets


one_each, _ = train(config, last_only, usual)
print(f"every place is a lesson: {same[0]:.2f} nats; the last place alone: {held_out_loss(one_each, config):.2f}")
assert held_out_loss(one_each, config) > same[0] + 0.3

# %% [markdown]
# * *"It is trained to be right as often as possible."* Accuracy has no slope: turn every weight by a hair, and the likeliest tokens stay the same. The loss
#   moves. (And accuracy does not see whether a wrong answer was close.)

# %%
held_batch = cut(held_ids.astype(int), range(0, 2048, n_ctx))
values = {}
for name, h in (("as it is", 0.0), ("turned a little", 1e-6)):
    nudged = P.nest({key: array.astype(np.float64) * (1 + h) for key, array in P.walk(copies[500])})
    logits, _ = model.forward(held_batch[0], nudged, config, ops)
    values[name] = float((logits.argmax(axis=-1) == held_batch[1]).mean()), loss_on(nudged, config, *held_batch)
(right, loss), (right_then, loss_then) = values.values()
print(f"accuracy {right:.2f}, changes by {right_then - right}; the loss {loss:.2f} does change: {loss_then != loss}")
assert right == right_then

# %% [markdown]
# * *"The loss should go to zero."* Not on text that is new: what comes next is not decided by what came before. A loss near zero means copying, as above, or
#   learning by heart, or a held-out set that leaks.
# * *"The training loss falls, so it is getting better."* See the picture of learning by heart: the model of the circle is better than any that came after it.
#
# ## Exercises
#
# **Easy.** Write `bits_per_byte(losses, text)`: `losses` is an array with the loss of each token of `text` in nats; `text` is a str that may hold any characters.

# %%
def bits_per_byte(losses, text):
    ...


ch08.bits_per_byte(bits_per_byte);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def bits_per_byte(losses, text):
#     return float(np.sum(losses)) / math.log(2) / len(text.encode("utf-8"))
# ```
# </details>
#
# **Medium.** Is a held-out set really held out? A window that starts at `s` has the tokens `s + 1`, …, `s + n_ctx` of the text as its targets. Write
# `leaked(train_starts, held_starts, n_ctx)` for two arrays of starts: of all tokens of the text that are a target in some held-out window, each counted once, the
# share (0 to 1) that is also a target in some window trained on. Then: how much leaks if every tenth of all possible windows is held out? And if every tenth is,
# of windows that do not overlap?

# %%
def leaked(train_starts, held_starts, n_ctx):
    ...


ch08.leaked(leaked);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def leaked(train_starts, held_starts, n_ctx):
#     inside = np.arange(1, n_ctx + 1)
#     trained, held = (set((np.asarray(starts)[:, None] + inside).ravel().tolist()) for starts in (train_starts, held_starts))
#     return len(held & trained) / len(held)
# ```
# </details>
#
# **Hard, an investigation.** How many windows should a batch have? If the true gradient is $G$ and the gradient of one window scatters around it with a total
# variance of $S$ (summed over all weights), then the gradient of $B$ windows has the squared length $|G|^2 + S / B$ on average. At $B = S / |G|^2$ signal and
# noise are equally long: far fewer windows waste steps, far more waste work (McCandlish et al. 2018 call it the *gradient noise scale*). Write
# `noise_scale(gradients)`: an estimate of $S / |G|^2$ from `gradients` `[n, n_weights]`, each that of one window. Mind that the mean of $n$ gradients is still
# noisy itself: its squared length is $|G|^2 + S / n$ on average.
#
# Then measure it on our model: `gradient_of(copies[n], [number])` for 256 windows, after 0, 20, 100 and 500 steps. How does it grow? Compare with the 16 windows
# of our run. What comes out if you train with the same number of *windows* in all, in batches of 4, 16 and 64?

# %%
def noise_scale(gradients):
    ...


ch08.noise_scale(noise_scale);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def noise_scale(gradients):
#     n = len(gradients)
#     mean = gradients.mean(axis=0)
#     scatter = ((gradients - mean) ** 2).sum() / (n - 1)
#     signal = (mean**2).sum() - scatter / n
#     return float(scatter / signal)
# ```
# </details>
#
# <details><summary>what there is to see</summary>
#
# At the beginning two or three windows are a batch; at the end of our run it would be more than a hundred. The agreement of batches above says the same: where
# two batches of $B$ windows agree to a cosine of one half, $B$ is the noise scale. With the same text in all, short runs end best with the smallest batches,
# since they take the most steps, and text is what they have little of; counted in steps it is the other way round. The 16 windows of our run were too many for
# its first steps and too few for its last.
#
# </details>
#
# ## Where it stands in the code
#
# | here | there |
# |---|---|
# | `split_held_out`, `Windows` | `nanogpt_np/training/data.py` |
# | `step`, `train` | `nanogpt_np/training/loop.py`: `Run.train_step`, `Run.go` |
# | `Plan` | `training/options.py`: `TrainOptions`; ready-made ones in `training/recipes.py` |
# | AdamW, clipping, the schedule | `training/optim.py`; the arithmetic in `ops.adam_step_` |
# | stopping and going on | `training/state.py` |
# | bits per byte | `training/evaluation.py`: `Evaluation.bits_per_byte` |
# | where the loss on held-out text was lowest | `training/best.py` |
# | the two curves | `weights/stories/log.csv`; any run draws its own by `training/picture.py` |
# | all of it from a command line | `nanogpt-np train --data texts/shakespeare.txt --out runs/mine` |
