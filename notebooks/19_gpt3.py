# %% [markdown]
# # 19 · What did GPT-3 change, and what did it not?
#
# **You will be able to** say in four points how GPT-3 differs from GPT-2, find two misprints in its table by arithmetic, work out what a banded layer sees and what its cache saves, and
# measure how a model learns from examples while none of its weights moves.
#
# **You need** notebooks [00](00_map.ipynb) (the model), [03](03_attention.ipynb) (attention), [09](09_cache.ipynb) (the cache); [08](08_training.ipynb) (training) for one section.

# %%
import json
from pathlib import Path

import numpy as np
from checks import ch19

from nanogpt_np import GPT, PRESETS, GPTConfig, lens, ops
from nanogpt_np import params as P
from nanogpt_np.evaluation import in_context
from nanogpt_np.kv_cache import cache_bytes
from nanogpt_np.lens import style
from nanogpt_np.training import backward, gpt3, optim, schedule

# %% [markdown]
# ## What stayed
#
# "The same model and architecture as GPT-2", says the paper (Brown et al. 2020, section 2.1). We can ask the parameters. Here are the tensors of the smallest GPT-2 and of the smallest GPT-3,
# by name and shape; what differs?

# %%
old, new = P.shapes(PRESETS["gpt2"]), P.shapes(PRESETS["gpt3-small"])
assert old.keys() == new.keys()
for name in old:
    if old[name] != new[name]:
        print(f"{name}: {old[name]} became {new[name]}")
print(f"{len(old)} tensors; {P.size(PRESETS['gpt2']):,} numbers became {P.size(PRESETS['gpt3-small']):,}")

# %% [markdown]
# One table of positions is longer, 2048 in place of 1024. Everything else of these two is alike to the last number. So what changed is: the context, the sizes, the training, and one thing that no
# tensor shows, because it has no parameters: which tokens a token may see.
#
# ## A table with two misprints
#
# Table 2.1 of the paper lists eight sizes. `training/gpt3.py` has it as it is printed. Heads lie side by side and together are as wide as the stream, so `n_heads` · `d_head` must be `d_model`.
# Before you run the cell: the row "13B" says 5140, 40 and 128. Is that possible?

# %%
print("name          layers  d_model   heads · d_head     printed    counted")
for name, row in gpt3.PRINTED.items():
    width = row.n_heads * row.d_head
    what = "" if width == row.d_model else f"  <- {width}, not {row.d_model}"
    print(f"{name:14}{row.n_layers:6}{row.d_model:9}{row.n_heads:8} · {row.d_head:3}{row.n_params / 1e9:12.3g} B"
          f"{P.size(PRESETS[name]) / 1e9:8.3f} B{what}")  # fmt: skip

# %% [markdown]
# Two rows cannot exist as printed. The counts tell how they were meant: with 16 heads of 128 the "XL" has its 1.3 billion, with a width of 5120 the "13B" its 13. `PRESETS` holds those. Nobody outside
# knows which of the three numbers of a row is the wrong one; 24 heads for "XL" cannot be, as 2048 is no multiple of 24.
#
# ## The one change of the architecture: bands
#
# Of two layers, one is *dense*, as in GPT-2, and one is *locally banded*: there a token sees itself and the `window` - 1 tokens before it, and nothing else (Child et al. 2019). It is a mask:

# %%
print(ops.band_mask(6, 6, window=3).astype(int))
assert np.array_equal(ops.band_mask(6, 6, window=6), ops.causal_mask(6, 6))  # as wide as the text: dense

# %% [markdown]
# By hand, for one query with five keys behind it and a window of 2. Scores that are hidden become minus infinity, the softmax makes them 0, and the two that are left share everything:

# %%
scores = np.array([[2.0, 1.0, 3.0, 0.0, 1.0]])  # of the last of five tokens
visible = ops.band_mask(5, 5, window=2)[-1:]
e = np.exp(scores[visible])
print("by hand ", e / e.sum())
print("softmax ", ops.softmax_scores(scores, visible, 1.0)[0])
assert np.allclose(ops.softmax_scores(scores, visible, 1.0)[visible], e / e.sum())

# %% [markdown]
# The paper says neither how wide the bands are nor which layers come first. The presets take 256 and begin with a dense layer; both are fields of the config, and a model that is saved with bands says so
# under a name of its own, so that a program which knows no bands refuses it.
#
# ## How far does a token see?
#
# Through one banded layer it sees `window` tokens. But the tokens it sees have seen others, one layer below. The picture asks the models themselves: we change the first tokens one at a time and look whether the
# last token's output moves. Guess first: four layers with a window of 4, how far back does the last token reach?

# %%
shape = GPTConfig(n_vocab=40, n_ctx=24, n_embd=32, n_layer=4, n_head=2)
ALL = (0, 1, 2, 3)
kinds = {"dense": shape, "every other banded": shape.replace(window=4), "all banded": shape.replace(window=4, banded_layers=ALL)}


def influence(config):  # -> [n_seq]: how much the last output moves when a token is another one
    model = GPT.from_config(config, seed=3, ops="numpy")
    for _, array in P.walk(model.params):
        array *= 5 if array.ndim == 2 else 1
    ids = np.arange(24) % 40
    last = model(ids)[0, -1]
    changed = [np.where(np.arange(24) == at, 39, ids) for at in range(24)]
    return np.array([np.abs(model(other)[0, -1] - last).max() for other in changed])


moved = {name: influence(config) for name, config in kinds.items()}
for name, by in moved.items():
    print(f"{name:20} the last token feels {np.count_nonzero(by)} of 24 tokens")
assert np.count_nonzero(moved["all banded"]) == 1 + 4 * (4 - 1)

# %% [markdown]
# Each banded layer adds `window` - 1 tokens, exactly. One dense layer anywhere, and everything is in reach: that is what the dense half is for.

# %%
figure = style.figure(9.2, 4.2, "What the last of 24 tokens can feel, and what each layer lets it see",
                      "random weights, 4 layers, window 4", "dark: may be seen, or moves the last output")
below = figure.subplots(2, 3, gridspec_kw={"height_ratios": (4, 1)})
for axes, (name, config) in zip(below.T, kinds.items(), strict=True):
    sees = np.mean([ops.band_mask(24, 24, config.window_of(layer) or 24) for layer in range(4)], axis=0)
    axes[0].imshow(sees, cmap=style.colour_map(style.PROBABILITY), vmin=0, vmax=1.3)
    axes[0].set_title(f"{name}: share of layers", fontsize=10)
    axes[0].set_xlabel("key", fontsize=9)
    axes[0].set_ylabel("query", fontsize=9)
    axes[1].imshow(moved[name][None] > 0, cmap=style.colour_map(style.PROBABILITY), vmin=0, vmax=1.3, aspect="auto")
    axes[1].set_xlabel("changed token", fontsize=9)
    axes[1].set_yticks([])
figure

# %% [markdown]
# ## What a band saves
#
# A key that no later token will see need not be kept. So the cache of a banded layer holds its band, and a little beside it (`KVCache`: an eighth on either side, so that the newest tokens can be taken
# back, and so that the band need not be moved for every token). The same for reading: of a full context a banded layer looks at 256 keys in place of 2048. In float32, as this library keeps them:

# %%
print("                 cache of a full context        operations of the last token")
for name in ("gpt3-small", "gpt3-xl", "gpt3-175b"):
    banded = PRESETS[name]
    dense = banded.replace(window=None)
    full = [cache_bytes(c, c.n_ctx) / 1e6 for c in (dense, banded)]
    work = [lens.cost_view(c, c.n_ctx - 1).flops / 1e9 for c in (dense, banded)]
    print(f"{name:11} {full[0]:10,.0f} MB -> {full[1]:8,.0f} MB {work[0]:14.3f} -> {work[1]:8.3f} billion")
saved = 1 - full[1] / full[0]
print(f"175B: {saved:.0%} of the cache saved, {1 - work[1] / work[0]:.1%} of the operations")

# %% [markdown]
# Look at the last line. Nearly half of the memory, and next to nothing of the arithmetic: at 175 billion parameters the matrices cost so much that attention over 2048 tokens hardly shows. Bands pay where the
# context is long for the width.
#
# ## Learning without learning
#
# The title of the paper is "Language models are few-shot learners". Its figure 1.2 shows accuracy against the number of examples in the prompt, while no weight changes. Its models are out of reach here; the
# effect is not. Each text of our task is a game of cards with rules of its own: `x` asks, and a card shows `x` and its answer. Which answer belongs to which question is drawn anew for every text:

# %%
task = in_context.Cards(n_symbols=6, n_shots=24)
ids, targets = in_context.texts(task, 1, np.random.default_rng(0))
spelled = ["abcdef"[i] + "?" if i < 6 else f"{'abcdef'[(i - 6) // 6]}{(i - 6) % 6}" for i in ids[0]]
print(" ".join(spelled))

# %% [markdown]
# Where `a?` comes for the second time, its answer is known, and only to who has read this text. Nothing about it can be in the weights. We train a small model with bands on many such texts; it takes seconds.

# %%
config = task.config(n_embd=48, n_layer=2, n_head=2, tie_word_embeddings=False, window=8)
small = GPT.from_config(config, seed=2, ops="numpy")
for _, array in P.walk(small.params):
    array *= 5 if array.ndim == 2 else 1  # for speed, as in notebook 04
adam, rng = optim.AdamW(small.params, betas=(0.9, 0.95)), np.random.default_rng(7)
for step in range(101):
    if step % 25 == 0:
        right = in_context.accuracy(small, task, n=128)
        print(f"step {step:3}: right after 0 examples {right[0]:.1f}, after 4 {right[4]:.1f}, after 23 {right[23]:.1f}")
    ids, targets = in_context.texts(task, 16, rng)
    _, grads = backward.loss_and_grads(ids, targets, small.params, config, ops)
    optim.clip_(grads, 1.0)
    adam.step(small.params, grads, optim.warmup_cosine(step, 200, 3e-3, 3e-4, 20))
before = {name: array.copy() for name, array in P.walk(small.params)}
right = in_context.accuracy(small, task, n=128, seed=5)
assert right[-1] > 0.85 and all(np.array_equal(array, before[name]) for name, array in P.walk(small.params))

# %% [markdown]
# The last line of the cell is the point: the accuracy rose from one example to the next, and no weight changed. How good could anybody be? A question that was asked before can be answered, any other is a guess; on
# average after k examples that is $1 - (1 - 1/m)^k (1 - 1/m)$ with m questions.
#
# The same at a larger size, 64 examples of 8 questions, for three models with the same fresh weights, texts and steps: all layers dense, every other one banded, all banded with a window of 16 tokens, which are 8 examples. `weights/cards/train.py`
# trains them, a minute in all, and keeps what it measured in `curve.json`.

# %%
kept = json.loads(Path("../weights/cards/curve.json").read_text(encoding="utf-8"))
best, models = np.array(kept["best_possible"]), kept["models"]
assert np.allclose(best, in_context.best_possible(in_context.Cards(**kept["task"])), atol=1e-4)
print("right after       0      1      4     16     63 examples    loss")
for name, one in models.items():
    print(f"{name:12}" + "".join(f"{one['accuracy'][k]:7.2f}" for k in (0, 1, 4, 16, 63)) + f"{one['loss']:18.2f}")
print("at best     " + "".join(f"{best[k]:7.2f}" for k in (0, 1, 4, 16, 63)))

# %%
figure = style.figure(8.4, 4.0, "Accuracy against the number of examples in the text",
                      "three models of 4 layers and 48 wide; 256 texts", "grey: the best that is possible")
axes = figure.subplots()
axes.plot(best, color=style.PALE, linewidth=5, alpha=0.5, label="best possible")
for (name, one), colour in zip(models.items(), (style.QUERY, style.KEY, style.VALUE), strict=True):
    axes.plot(one["accuracy"], color=colour, label=name)
axes.axvline(kept["window"] / 2, color=style.INK, linewidth=0.8, linestyle=":")
axes.text(kept["window"] / 2 + 0.5, 0.15, "as many as the band holds", fontsize=8, color=style.INK)
axes.set_xlabel("examples before the question", fontsize=9)
axes.set_ylabel("share of right answers", fontsize=9)
axes.set_ylim(0, 1.02)
axes.legend(frameon=False, fontsize=9)
style.without_frame(axes, "top", "right")
figure

# %% [markdown]
# With every other layer banded the model is as good as the dense one, whose cache is larger. With all layers banded, the curve goes flat where the examples leave the band. It could reach further, layer by layer, 61 tokens
# in all, but it would have to hand examples on, which this short training did not teach it.
#
# What did the band cost and save? A step of training takes as long and as much memory as a dense one, since NumPy computes all scores and hides some (the compiled kernels leave out what lies before the bands, where a text is much longer than they are wide). What it saves, it saves in writing: the last two lines are of a model
# with eight layers at the end of GPT-3's context, 2000 tokens, of which a banded layer looks at 256.

# %%
for name, one in models.items():
    print(f"{name:12}{one['parameters']:,} parameters, {one['training_peak_bytes'] / 1e6:.1f} MB for a step, cache {one['cache_bytes']:,} bytes")
    print(f"{name:12}measured: {one['seconds_per_step'] * 1e3:.0f} ms of CPU for a step of {kept['tokens_per_step']:,} tokens")
for name, one in kept["long"].items():
    print(f"{name:12}2,000 tokens back: a cache of {one['cache_bytes'] / 1e6:.1f} MB; measured: {one['seconds_per_token'] * 1e3:.1f} ms a token")
assert kept["long"]["alternating"]["cache_bytes"] < 0.6 * kept["long"]["dense"]["cache_bytes"]

# %% [markdown]
# ## How it was trained
#
# Appendix B: Adam with 0.9 and 0.95, gradients cut to a length of 1, weight decay 0.1. The learning rate rises over the first 375 million tokens, falls as a cosine until 260 billion and stays at a tenth until 300. The batch grows from
# 32 thousand tokens to its full size over the first 4 to 12 billion. `nanogpt-np train --recipe gpt3` does the same in shares of whatever length a run has. Here for the smallest size:

# %%
row, n_read, rates, batches = gpt3.PRINTED["gpt3-small"], 0.0, [], []
while n_read < gpt3.TOKENS:
    full = 32e3 + (row.batch - 32e3) * min(n_read / 4e9, 1.0)
    jump = max(full, 2e7)  # a point of the curve every 20 million tokens
    rates.append((n_read, schedule.by_tokens(n_read, full, row.lr, row.lr / 10, 375e6, 260e9)))
    batches.append((n_read, full))
    n_read += jump
rates, batches = np.array(rates), np.array(batches)
print(f"at 0.1 billion tokens {np.interp(1e8, *rates.T):.2e}, at 130 {np.interp(130e9, *rates.T):.2e}, at 280 {np.interp(280e9, *rates.T):.2e}")
assert np.isclose(rates[:, 1].max(), row.lr) and np.isclose(rates[-1, 1], row.lr / 10)

# %%
figure = style.figure(8.4, 2.8, "Learning rate and batch of the smallest GPT-3, by tokens read", "Brown et al. 2020, appendix B", "the right one shows the first 10 billion tokens")
left, right_axes = figure.subplots(1, 2)
left.plot(rates[:, 0] / 1e9, rates[:, 1], color=style.ATTENTION)
left.set_ylabel("learning rate", fontsize=9)
early = batches[:, 0] < 10e9
right_axes.plot(batches[early, 0] / 1e9, batches[early, 1] / 1e3, color=style.FFN)
right_axes.set_ylabel("thousand tokens a step", fontsize=9)
for axes in (left, right_axes):
    axes.set_xlabel("billion tokens read", fontsize=9)
    style.without_frame(axes, "top", "right")
figure

# %% [markdown]
# ## What people get wrong
#
# * *"GPT-3 is another architecture."* The tensors have the same names, and at the smallest size the same shapes but for positions.
# * *"A band of 256 means that the model forgets what is 257 tokens back."* One dense layer sees it all, and even bands alone reach further with every layer.
# * *"Bands made GPT-3 affordable."* Of the operations for the last token of the 175 billion they save about a hundredth. They save memory.
# * *"Few-shot learning changes the model."* No weight moves. What is learned stands in keys and values, and is gone with the text.
# * *"The table in the paper is exact."* Two of eight rows are not.
#
# ## Exercises
#
# **Easy.** Write `band(n_seq, window)`: a bool array `[n_seq, n_seq]`, True where a query (row) may see a key (column) in a banded layer: itself and the `window` - 1 tokens before it.

# %%
def band(n_seq, window):
    ...


ch19.band(band);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def band(n_seq, window):
#     query, key = np.mgrid[:n_seq, :n_seq]
#     return (key <= query) & (query - key < window)
# ```
# </details>
#
# **Medium.** Write `reach(config, n_seq)`: how many of `n_seq` tokens, itself included, can change the last token's output. `config.window_of(layer)` is a layer's window, None where it is dense.

# %%
def reach(config, n_seq):
    ...


ch19.reach(reach);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def reach(config, n_seq):
#     windows = [config.window_of(layer) for layer in range(config.n_layer)]
#     if None in windows:
#         return n_seq
#     return min(n_seq, 1 + sum(window - 1 for window in windows))
# ```
# </details>
#
# **Hard, an investigation.** Keys and values of a full context are to fit in `n_bytes`, 2 bytes for each number; a banded layer is to keep exactly its window. Write `widest_window(config, n_bytes)`: the widest
# window (at most `n_ctx`) with which they do, or None if there is none. The layers that are banded in `config` stay the banded ones. Then find out: how many texts of the 175 billion fit in 80 GB beside nothing else, with the widest bands
# and with bands of 256? And which would you rather have, texts or width?

# %%
def widest_window(config, n_bytes):
    ...


ch19.widest_window(widest_window);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def widest_window(config, n_bytes):
#     banded = sum(config.window_of(layer) is not None for layer in range(config.n_layer))
#     position = 2 * config.n_embd * 2  # a key and a value of one layer
#     left = n_bytes - (config.n_layer - banded) * config.n_ctx * position
#     window = min(left // (banded * position), config.n_ctx)
#     return window if window >= 1 else None
# ```
# </details>
#
# ## Where it stands in the code
#
# | here | there |
# |---|---|
# | sizes, `window`, which layers | `nanogpt_np/config.py`: `GPTConfig`, `PRESETS` |
# | the mask of a band | `nanogpt_np/ops.py`: `band_mask`; `nanogpt_np/model.py`: `narrow` |
# | a cache that keeps its band | `nanogpt_np/kv_cache.py`: `KVCache` |
# | the table as printed, the recipe | `nanogpt_np/training/gpt3.py`, `nanogpt_np/training/schedule.py` |
# | the game of cards | `nanogpt_np/evaluation/in_context.py`, `weights/cards/train.py` |
