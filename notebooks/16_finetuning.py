# %% [markdown]
# # 16 · How much of a model has to change?
#
# **You will be able to** take a trained model to another kind of text in three ways, write LoRA's forward and backward pass yourself, say what each way costs and what the model forgets by it, and tell a
# correction that is small from one that is few numbers.
#
# **You need** notebooks [07](07_backward.ipynb) (gradients) and [08](08_training.ipynb) (training).

# %%
import time
from pathlib import Path

import numpy as np
from checks import ch16

from nanogpt_np import GPT, model, ops
from nanogpt_np import params as P
from nanogpt_np.finetuning import lora
from nanogpt_np.lens import style
from nanogpt_np.storage.adapter import merge, unmerge
from nanogpt_np.training import backward, data, optim, parts

gpt = GPT.from_pretrained("stories", ops="numpy")
config = gpt.config

# %% [markdown]
# ## A correction of few numbers
#
# A layer multiplies by a matrix W of `[n_in, n_out]`. Fine-tuning changes it: W becomes W + ΔW, and ΔW has as many numbers as W. LoRA (Hu et al. 2021) bets that a ΔW of *low rank* is enough: one
# that is the product of a thin and a flat matrix. Here is one of rank 1 in a layer of 3 inputs and 2 outputs, in PEFT's letters: A is `[r, n_in]`, B is `[n_out, r]`.

# %%
W = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, -1.0]])  # [n_in, n_out]
A = np.array([[1.0, 0.0, 1.0]])  # what the correction listens to
B = np.array([[0.5], [-2.0]])  # what it then adds to the outputs
delta = (B @ A).T
print("delta =\n", delta)

x = np.array([1.0, 1.0, 1.0])
print("W alone", x @ W, "  with the correction", x @ (W + delta))
assert np.allclose(x @ (W + delta), x @ W + (x @ A.T) @ B.T)  # two ways to compute one thing
assert np.linalg.matrix_rank(delta) == 1

# %% [markdown]
# The last line but one holds two ways to run it. On the right the correction stays apart: two more products for each layer and each token. On the left it is *merged*: one matrix, no more work than before.
#
# How few numbers? In *stories*, for all linear layers:

# %%
for r in (1, 8, 64):
    adapter = lora.create(config, np.random.default_rng(0), r=r, alpha=r, target_modules=["c_attn", "c_proj", "c_fc"])
    learned, whole = P.count(adapter.params), P.count(gpt.params)
    print(f"r = {r:2}: {learned:9,} numbers, {learned / whole:5.1%} of the model; at the first step it changes nothing:",
          not any(array.any() for name, array in adapter.params.items() if "lora_B" in name))  # fmt: skip

# %% [markdown]
# B begins as zeros, so that the model begins as it is. A begins random: were it zero too, neither would ever get a gradient.
#
# ## Its gradients, by hand
#
# The product B A is multiplied by a *scale*, alpha / r: change r, and the learning rate that worked still works. So with dW, the gradient that the whole matrix would have had,
#
# $$ W' = W + s\,(BA)^\top \quad\Rightarrow\quad dA = s\,(dW\,B)^\top, \qquad dB = s\,dW^\top A^\top. $$

# %%
rng = np.random.default_rng(1)
adapter = lora.create(config, rng, r=4, alpha=8, target_modules=["c_attn"])
for array in adapter.params.values():
    array += rng.normal(0, 0.02, array.shape).astype(np.float32)

ids = np.array([gpt.tokenizer.encode("Once upon a time, there was a little girl named Lily.")])
inputs, targets = ids[:, :-1], ids[:, 1:]

merged, kept = merge(gpt.params, adapter)
_, whole_grads = backward.loss_and_grads(inputs, targets, merged, config, ops)
dW = whole_grads["h"][2]["attn"]["c_attn"]["weight"]
A, B = (adapter.params[f"h.2.attn.c_attn.lora_{which}.weight"] for which in "AB")
by_hand = adapter.scale * (dW @ B).T, adapter.scale * dW.T @ A.T

_, grads = lora.loss_and_grads(inputs, targets, gpt.params, adapter, config, ops)
for which, mine in zip("AB", by_hand, strict=True):
    theirs = grads[f"h.2.attn.c_attn.lora_{which}.weight"]
    print(f"d{which} {list(mine.shape)}: as the library's", np.allclose(mine, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max()))
    assert np.allclose(mine, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())

# %% [markdown]
# The library never makes dW. As dW = xᵀ dy, the same products can be begun from the thin side: dA = s (dy B)ᵀ x. One of the three large products of a layer's training step falls away; the other two, y = x W' and
# dx = dy W'ᵀ, remain, since the layers below want their gradients too.
#
# ## Merging, and back
#
# Added and taken off again, is it the old matrix?

# %%
weight = gpt.params["h"][2]["attn"]["c_attn"]["weight"]
correction = (adapter.scale * (B @ A).T).astype(np.float32)
back = (weight + correction) - correction
print(f"numbers that differ: {np.mean(back != weight):.0%}, the largest by {np.abs(back - weight).max():.0e}")
assert not np.array_equal(back, weight)

restored = unmerge(merged, kept)
print("the library keeps the old ones: all equal,", all(np.array_equal(a, b) for (_, a), (_, b) in zip(P.walk(restored), P.walk(gpt.params), strict=True)))

# %% [markdown]
# Small, but each switching of adapters would add another such error. So the old matrix is kept, not computed.
#
# ## Three ways, side by side
#
# The task: *stories* is to write Shakespeare. Everything is the same for the three: windows, steps, optimizer. Only what learns differs: all of the model; its two upper blocks, the rest frozen; or LoRA of rank 8. Each
# has a learning rate that suits it, found beforehand: few numbers have to move further.

# %%
text = Path("texts/shakespeare.txt").read_text(encoding="utf-8")
learn, unseen = text[: int(0.9 * len(text))], text[int(0.9 * len(text)) :]
N_CTX, N_BATCH, STEPS, EVERY = 64, 6, 30, 10


def cut(text, n):  # -> ids [n, N_CTX + 1]
    ids = np.array(gpt.tokenizer.encode(text[: 8 * n * N_CTX]))
    return ids[: n * (N_CTX + 1)].reshape(n, -1)


windows = data.Windows(np.array(gpt.tokenizer.encode(learn[:200_000])), N_CTX, seed=0)
play = cut(unseen, 12)
story = cut(" ".join(gpt.generate("Once upon a time", 200, seed=seed, temperature=0.7) for seed in range(5)), 10)
print(f"{windows.n_tokens:,} tokens to learn; held out: {play.shape[0]} windows of the plays; and {story.shape[0]} of what stories itself writes")


def loss(params, rows):
    final, _ = model.trunk(rows[:, :-1], params, config, ops)
    losses, _ = ops.cross_entropy(final.reshape(-1, config.n_embd), model.unembedding(params), rows[:, 1:].reshape(-1))
    return float(losses.mean())


before = loss(gpt.params, play), loss(gpt.params, story)
print(f"before: {before[0]:.2f} nats per token of the plays, {before[1]:.2f} of the stories")

# %% [markdown]
# A way is a function of a batch to gradients, the tree that learns, and how to get the whole model's params from it.

# %%
def whole_way():
    params = P.nest({name: array.copy() for name, array in P.walk(gpt.params)})
    return params, None, lambda batch: backward.loss_and_grads(*batch, params, config, ops), lambda: params


def frozen_way(n_frozen=4):
    params = P.nest({name: array.copy() for name, array in P.walk(gpt.params)})
    rates = parts.rates(params, config.n_layer, freeze=n_frozen)
    n_idle = parts.n_idle(rates, config.n_layer)  # how far down no gradient need go

    def step(batch):
        value, grads = backward.loss_and_grads(*batch, params, config, ops, n_idle=n_idle)
        return value, parts.learned(grads, rates)

    return params, rates, step, lambda: params


def lora_way(r=8):
    adapter = lora.create(config, np.random.default_rng(0), r=r, alpha=2 * r, target_modules=["c_attn", "c_proj", "c_fc"])
    return adapter.params, None, lambda batch: lora.loss_and_grads(*batch, gpt.params, adapter, config, ops), lambda: merge(gpt.params, adapter)[0]


def taught(way, lr):
    tree, rates, step, whole = way
    adam = optim.AdamW(tree, weight_decay=0.0, rates=rates)
    curve, seconds = [before], 0.0
    for number in range(STEPS):
        begun = time.perf_counter()
        value, grads = step(windows.batch(number * N_BATCH, N_BATCH))
        optim.clip_(grads, 1.0)
        adam.step(tree, grads, optim.warmup_cosine(number, STEPS, lr, lr / 10, 4), ops)
        seconds += time.perf_counter() - begun
        if (number + 1) % EVERY == 0:
            curve.append((loss(whole(), play), loss(whole(), story)))
    n_learned = sum(array.size for array in adam.m.values())
    return {"params": whole(), "curve": np.array(curve), "learned": n_learned, "seconds": seconds}


found = {"whole": taught(whole_way(), 1e-3), "frozen": taught(frozen_way(), 1e-3), "LoRA": taught(lora_way(), 3e-3)}

# %%
print("         numbers that learn   moments (MB)   plays   stories")
for name, one in found.items():
    plays, stories = one["curve"][-1]
    print(f"{name:8} {one['learned']:18,} {8 * one['learned'] / 1e6:14.1f} {plays:7.2f} {stories:9.2f}")
for name, one in found.items():
    print(f"measured: {name:6} {1000 * one['seconds'] / STEPS:4.0f} ms a step")
assert all(one["curve"][-1, 0] < before[0] - 0.3 for one in found.values())
assert all(one["curve"][-1, 1] > before[1] for one in found.values())

# %%
figure = style.figure(9, 4.0, "Taken to Shakespeare, three ways", f"stories, {STEPS} steps of {N_BATCH * N_CTX} tokens", "left: lower is better at the new task; right: lower has forgotten less")
for axes, column, title in zip(figure.subplots(1, 2), (0, 1), ("held-out lines of the plays", "what stories wrote before"), strict=True):
    for (name, one), colour, marker in zip(found.items(), (style.QUERY, style.KEY, style.VALUE), "os^", strict=True):
        axes.plot(EVERY * np.arange(len(one["curve"])), one["curve"][:, column], color=colour, marker=marker, label=name)
    axes.set(xlabel="step", ylabel="loss, nats per token", title=title)
    style.without_frame(axes, "top", "right")
    axes.legend(frameon=False)
figure

# %% [markdown]
# Read the table row by row. The memory of the optimizer falls with the numbers that learn, and so does the file that has to be kept for a task. The time of a step falls much less: all three go through the whole model
# forward, and LoRA goes all the way back. Frozen blocks are the cheapest step, as no gradient has to reach them. And whoever learns the plays forgets the stories, whichever way; a small adapter can at least be
# taken off again.
#
# ## Is the change really of low rank?
#
# That was the bet. Now it can be looked at: the difference between *stories* before and after the whole fine-tuning, a matrix of full size, cut by size into directions (singular values).

# %%
layer = ("h", 3, "mlp", "c_fc", "weight")


def at(params):
    for key in layer:
        params = params[key]
    return params


changes = {"whole": at(found["whole"]["params"]) - at(gpt.params), "LoRA": at(found["LoRA"]["params"]) - at(gpt.params)}
for name, change in changes.items():
    values = np.linalg.svd(change.astype(np.float64), compute_uv=False)
    share = np.cumsum(values**2) / np.sum(values**2)
    print(f"{name:6} directions in use: {np.sum(values > 1e-5 * values[0]):3} of {len(values)}")
    print(f"measured: the first 8 hold {share[7]:.0%} of the squared change, the first 64 {share[63]:.0%}")
assert np.sum(np.linalg.svd(changes["LoRA"].astype(np.float64), compute_uv=False) > 1e-4) <= 8

# %% [markdown]
# The whole fine-tuning uses every direction a little, for AdamW moves each number by about the same step, wanted or not. That is not a proof that they are needed: LoRA came a good part of the way with eight. Whether
# eight are enough depends on the task. A manner of writing takes few; new facts and new words take more (Biderman et al. 2024 found that LoRA learns less of code and of mathematics, and forgets less).
#
# ## What people get wrong
#
# * *"LoRA makes training cheap."* It makes the optimizer's memory and the file small. The step still goes through all of the model, forward and back; look at the times.
# * *"LoRA makes a model slower."* Only while it is kept apart. Merged, W + s (B A)ᵀ is a matrix like any other.
# * *"The scale is alpha."* It is alpha / r (with rslora, alpha / √r). Who multiplies by alpha alone has a learning rate that grows with the rank.
# * *"Subtract the adapter and the model is as before."* Most numbers are, not all: floating point. Keep the base.
# * *"Few numbers learn, so nothing is forgotten."* The right picture says otherwise.
#
# ## Exercises
#
# **Easy.** Write `lora_weight(W, A, B, alpha)` -> the merged weight `[n_in, n_out]`; the rank is to be read off A.

# %%
def lora_weight(W, A, B, alpha):
    ...


ch16.lora_weight(lora_weight);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def lora_weight(W, A, B, alpha):
#     r = len(A)
#     return W + alpha / r * (B @ A).T
# ```
# </details>
#
# **Medium.** Write `lora_backward(dy, x, A, B, scale)` -> dA, dB, shaped like A and B, for `y = x @ (W + scale * (B @ A).T)`. x is `[n, n_in]`, dy is `[n, n_out]`. Make no matrix of `[n_in, n_out]`
# on the way: the check counts the largest array that you make.

# %%
def lora_backward(dy, x, A, B, scale):
    ...


ch16.lora_backward(lora_backward);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def lora_backward(dy, x, A, B, scale):
#     dA = scale * (dy @ B).T @ x
#     dB = scale * dy.T @ (x @ A.T)
#     return dA, dB
# ```
# </details>
#
# **Hard, an investigation.** Write `rank_needed(change, share)` -> the smallest rank whose best approximation of `change` holds at least `share` of its squared size (Eckart and Young: cut off the smallest singular
# values). Then look: which layers of `found["whole"]` need most, the lower or the upper ones, attention or feed-forward? Does it change with more steps, or with a learning rate a tenth as high?

# %%
def rank_needed(change, share):
    ...


ch16.rank_needed(rank_needed);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def rank_needed(change, share):
#     squares = np.linalg.svd(change, compute_uv=False) ** 2
#     kept = np.cumsum(squares) / squares.sum()
#     return int(np.argmax(kept >= share * (1 - 1e-12))) + 1
# ```
# </details>
#
# ## Where it stands in the code
#
# | here | there |
# |---|---|
# | `lora.create`, `lora.loss_and_grads` | `nanogpt_np/finetuning/lora.py` |
# | `merge`, `unmerge`; PEFT's files | `nanogpt_np/storage/adapter.py` |
# | frozen blocks, `parts.n_idle` | `nanogpt_np/training/parts.py`, `nanogpt_np/training/backward.py` |
# | a run that can be stopped: `nanogpt-np finetune --lora 8` | `nanogpt_np/finetuning/adapting.py` |
