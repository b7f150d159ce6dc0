# %% [markdown]
# # 09 · Why is the second token so much cheaper than the first?
#
# **You will be able to** say which numbers a model would compute again for every token, write decoding with a cache of keys and values in a dozen lines,
# foretell the time of a token from two numbers of your machine, and say how many texts at once are (almost) free.
#
# **You need** notebooks [00](00_map.ipynb) and [03](03_attention.ipynb) (attention: what a query, a key and a value are).
#
# Ask a chat model something long. For a while nothing comes; then the words come fast and evenly. The first token waits for the whole prompt, the second for
# one token. This notebook counts what makes the difference, and then asks what is left to pay.

# %%
import inspect
import math
import os
import time

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # all times here are those of one core,
os.environ["OMP_NUM_THREADS"] = "1"  # whichever library NumPy multiplies with
os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
from checks import ch09
from matplotlib.ticker import LogLocator, NullLocator

from nanogpt_np import GPT, GPTConfig, KVCache, lens, model, ops
from nanogpt_np import params as P
from nanogpt_np.config import PRESETS
from nanogpt_np.lens import style

gpt = GPT.from_pretrained("stories", ops="numpy")
config = gpt.config
print(f"{config.n_layer} blocks, {config.n_embd} numbers per token, at most {config.n_ctx} tokens")

# %% [markdown]
# ## What a model does twice
#
# Notebook 00 generated like this: run the model on the whole text, take the likeliest token, append it, run the model on the whole text. Here it is again for
# 20 tokens. This time we keep what every pass computed: the queries, keys and values of all six blocks.

# %%
def kept_rows(acts):  # -> [n_seq, n_layer * 3 * n_embd]: of each token its q, k and v in every block
    parts = [part[0] for block in acts.blocks for part in (block.attn.q, block.attn.k, block.attn.v)]
    return np.concatenate([part.transpose(1, 0, 2).reshape(part.shape[1], -1) for part in parts], axis=1)


ids, passes, n_new = gpt.tokenizer.encode("Once upon a time"), [], 20
for _ in range(n_new):
    logits, acts = gpt(ids, keep_acts=True)
    passes.append(kept_rows(acts))
    ids = [*ids, int(logits[0, -1].argmax())]

plain_ids = ids
print(gpt.tokenizer.decode(ids))
assert passes[0].shape == (4, 4608)
print("rows in each pass:", [len(rows) for rows in passes])

# %% [markdown]
# Before you run the next cell, guess: of all rows that were computed, how many were *not* already known from the pass before?
#
# A row counts as known when each of its 4,608 numbers is what it was, to the rounding of float32: two matrix products of different heights may add in another
# order, so we do not ask for the same bits.

# %%
def is_known(rows, before):  # one bool for each token
    known = np.zeros(len(rows), bool)
    known[: len(before)] = np.abs(rows[: len(before)] - before).max(axis=1) < 1e-5 * np.abs(before).max()
    return known


known = [np.zeros(len(passes[0]), bool)]  # in the first pass all is new
known += [is_known(rows, before) for rows, before in zip(passes[1:], passes[:-1], strict=True)]
n_rows, n_known = sum(map(len, known)), sum(int(one.sum()) for one in known)
assert n_rows == sum(range(4, 24))
assert all(one[:-1].all() and not one[-1] for one in known[1:])  # all but the newest token, in every pass
print(f"{n_rows} rows were computed, {n_known} of them for the second time or more; {n_rows - n_known} were new")

# %% [markdown]
# Twenty passes, and each repeats the one before, to the rounding of float32, and adds one row. The longer the text, the larger the share of repeated work: a
# text of $n$ tokens needs $n$ rows and computes $1 + 2 + … + n = n(n + 1)/2$.
#
# ## What is needed of the past?
#
# A small attention, by hand. One head with one number per query, key and value, so that a score is a product of two numbers. The keys are chosen so that
# $e^{k}$ is a whole number. Three tokens:

# %%
q, k, v = np.ones((3, 1)), np.log([[1.0], [2.0], [5.0]]), np.array([[8.0], [4.0], [0.0]])
probs = ops.softmax_scores(q @ k.T, ops.causal_mask(3, 3), 1.0)
print(np.round(probs * 8, 6), "eighths\n", probs @ v)

# %% [markdown]
# The last row: 1/8 · 8 + 2/8 · 4 + 5/8 · 0 = 2. Now a fourth token comes, with $e^{k} = 8$ and value 16. What changes?

# %%
q4, k4, v4 = np.ones((4, 1)), np.append(k, [[math.log(8)]], axis=0), np.append(v, [[16.0]], axis=0)
probs4 = ops.softmax_scores(q4 @ k4.T, ops.causal_mask(4, 4), 1.0)
assert np.allclose(probs4[:3, :3], probs) and np.allclose((probs4 @ v4)[:3], probs @ v)
print(np.round(probs4 * 16, 6), "sixteenths\n", probs4 @ v4)

# %% [markdown]
# One row and one column. The column is zero above its last place, since earlier tokens may not look at it. So the first three rows are what they were, and only
# the new row is work: 1/16 · 8 + 2/16 · 4 + 5/16 · 0 + 8/16 · 16 = 9.
#
# Look at what that row needed. **All four keys. All four values. One query**, the new one. An old query has asked its question, and the answer went into the
# stream of its own token; nobody will ever read it again. That is why the cache is a cache of keys and values, and of nothing else.

# %%
row = ops.softmax(q4[3:] @ k4.T) @ v4  # one query against all keys; and no mask: there is nothing behind the last token
assert np.allclose(row, (probs4 @ v4)[3:])
print("the new row alone:", row)

# %% [markdown]
# ## Why it is exact, and when it would not be
#
# A cache could be an approximation. This one is not, and the reason is the causal mask, block by block:
#
# * In block 0 a token's key and value are made from its own embedding alone. Later tokens cannot change them, mask or no mask.
# * What block 0 adds to the token comes from the token and from those *before* it. So what enters block 1 is the same whatever comes later, and so are its key
#   and value there.
# * And so on, upwards.
#
# Take the mask away, as in a model that reads in both directions (BERT does), and the second step fails. We run the same weights both ways and ask: when a 13th
# token arrives, how far do the keys of the first 12 move? Guess the first row of the table.

# %%
def keys_of(ids, is_causal):  # -> [n_layer, n_seq, n_embd]
    visible = ops.causal_mask(len(ids), len(ids)) if is_causal else None
    x = model.embed(np.array([ids]), np.arange(len(ids))[None], gpt.params, config, ops)
    found = []
    for block_params in gpt.params["h"]:
        x, acts = model.block(x, block_params, config, ops, visible)
        found.append(ops.merge_heads(acts.attn.k)[0])
    return np.array(found)


def moved(is_causal):  # -> for each block: the length of the change, as a share of the length of the keys
    old, new = keys_of(ids[:12], is_causal), keys_of(ids[:13], is_causal)[:, :12]
    return np.linalg.norm(new - old, axis=(1, 2)) / np.linalg.norm(old, axis=(1, 2))


causal, both_ways = moved(True), moved(False)
assert (causal < 1e-5).all() and both_ways[0] < 1e-5 and (both_ways[1:] > 0.01).all()
print("block   with the mask   without")
for layer in range(config.n_layer):
    print(f"{layer:3}     {causal[layer]:11.3f}   {both_ways[layer]:9.3f}")

# %% [markdown]
# Without the mask block 0 is still safe, and no block above it. A bidirectional model must read everything again for each new token. That is the price it pays
# for seeing both sides, and one reason why models that write are causal.
#
# ## A dozen lines
#
# Now the decoding, with the library's `KVCache` for storage. Given the newest tokens only, it returns their logits. The same lines read a prompt (many new
# tokens) and write (one).

# %%
def read_on(new, cache):  # ids [n_new] -> logits [n_new, n_vocab]; the cache then holds n_new tokens more
    first, end = cache.length, cache.length + len(new)
    x = (gpt.params["wte"]["weight"][new] + gpt.params["wpe"]["weight"][first:end])[None]
    visible = ops.causal_mask(len(new), end)  # each new token sees all that is cached, and the new ones up to itself
    cache.reserve(len(new))
    for layer, p in enumerate(gpt.params["h"]):
        qkv = ops.linear(ops.layer_norm(x, **p["ln_1"]), **p["attn"]["c_attn"])  # of the new tokens alone
        q, k, v = (ops.split_heads(part, config.n_head) for part in np.split(qkv, 3, axis=-1))
        k, v = cache.append(layer, k, v)  # -> [1, n_head, end, d_head]: the old ones in front
        mixed = ops.attention_mix(ops.attention_probs(q, k, visible), v)
        x = x + ops.linear(ops.merge_heads(mixed), **p["attn"]["c_proj"])
        x = x + model.ffn(ops.layer_norm(x, **p["ln_2"]), p["mlp"], config, ops)[0]
    cache.advance(len(new))
    return ops.unembed(ops.layer_norm(x, **gpt.params["ln_f"]), gpt.params["wte"]["weight"])[0]

# %% [markdown]
# Is it the same model? We write the same 20 tokens with it, and after each one compare the logits with those of a pass over the whole text.

# %%
cache, ids, worst = KVCache(config), gpt.tokenizer.encode("Once upon a time"), 0.0
logits = read_on(ids, cache)
for _ in range(n_new):
    whole = gpt(ids)[0, -1]
    worst = max(worst, np.abs(logits[-1] - whole).max() / np.abs(whole).max())
    ids = [*ids, int(logits[-1].argmax())]
    logits = read_on(ids[-1:], cache)

assert ids == plain_ids and worst < 1e-5
print("the same 20 tokens; the logits differ by less than 1e-5 of the largest:", worst < 1e-5)

# %% [markdown]
# What changed against notebook 00? A mask with as many columns as there are keys, positions that start at `cache.length`, and one call. The library makes the
# same call, in the same place of `model.attention`. All that a cache does is in it: copy the new rows behind the old ones, and hand out everything so far.

# %%
print(inspect.getsource(KVCache.append))
lines = inspect.getsource(model.attention).splitlines()
print("\n".join(line for line in lines if "cache" in line and "=" in line and "def" not in line))

# %% [markdown]
# The two ways of writing, side by side. Each line is a pass, each column a token, each filled cell a row of numbers that went through all six blocks. The left
# side is the count from above; the right side counts the rows that `gpt` really computed when it was given a cache.

# %%
cache, with_cache, new = KVCache(config), [], plain_ids[:4]
for step in range(n_new):
    _, acts = gpt(new, cache=cache, keep_acts=True)
    end = cache.length
    with_cache.append(range(end - acts.blocks[0].attn.x.shape[1], end))  # whose rows were computed
    new = plain_ids[4 + step : 5 + step]
n_cached = sum(map(len, with_cache))
assert n_cached == n_rows - n_known

figure = style.figure(8.2, 4.4, "Which rows each pass computes", f"stories, writing {n_new} tokens behind 4",
                      "a cell: one token's q, k and v in all six blocks")  # fmt: skip
sides = figure.subplots(1, 2, sharey=True)
tokens = [gpt.tokenizer.decode([i]) for i in plain_ids[:-1]]
for axes, title in zip(sides, (f"without a cache: {n_rows} rows", f"with a cache: {n_cached} rows"), strict=True):
    picture = np.zeros((n_new, len(tokens)))
    for step in range(n_new):
        if axes is sides[0]:
            picture[step, : len(known[step])] = np.where(known[step], 1, 2)
        else:
            picture[step, list(with_cache[step])] = 2
            cached = np.arange(with_cache[step][0])
            axes.plot(cached + 0.5, 0 * cached + step + 0.5, "o", color=style.KEY, markersize=4)
    colours = style.colour_map(("#ffffff", style.RESIDUAL, style.INK))
    axes.pcolormesh(picture, cmap=colours, vmin=0, vmax=2, edgecolor="white", linewidth=1, zorder=0)
    axes.set_xticks(np.arange(len(tokens)) + 0.5, [t.replace(" ", "␣") for t in tokens], rotation=90, fontsize=8)
    axes.set_yticks(np.arange(0, n_new, 5) + 0.5, range(1, n_new + 1, 5), fontsize=8)
    axes.set_title(title, fontsize=10, color=style.INK)
    axes.tick_params(length=0)
    style.without_frame(axes, "top", "right", "left", "bottom")
sides[0].set_ylabel("pass", fontsize=9)
sides[0].set_ylim(n_new, 0)
seconds = "grey: computed, and equal\nto the pass before", "orange: k and v read\nfrom the cache"
for axes, second in zip(sides, seconds, strict=True):
    axes.text(12, 2.6, f"black: computed, new\n{second}", fontsize=9, color=style.INK, va="center")
figure

# %% [markdown]
# At the left a triangle of work, nearly all of it grey. At the right only its edge is computed; the rest has turned from work into reading. The first line of
# both is the same: the prompt is read in one pass, which is called *prefill*; the lines below it are *decoding*, one token each. So the answer to the title has
# two halves. The first token pays for the whole prompt. The second finds all of that stored.
#
# ## What is stored, in bytes
#
# Two rows of `n_embd` numbers for each token in each block. It is worth doing once in the head: stories has 2 · 6 · 256 = 3,072 numbers for a token, 4 bytes
# each.

# %%
per_token = 2 * config.n_layer * config.n_embd * 4
assert per_token == KVCache(config, n_ctx=1).n_bytes == lens.cost_view(config).cache_size
token = " time"
times = per_token // len(token)
print(f"{token!r} is {len(token)} bytes of text, {per_token:,} bytes in the cache: {times:,} times as many")

# %% [markdown]
# The text gets heavier by three orders of magnitude, and each of these bytes will be read again for every token to come. How does that compare with the
# weights? The last column is the number of texts of full length whose keys and values weigh as much as the model.

# %%
print("model          a token   a full context     weights   as heavy as the weights")
for name, c in {"stories": config, **{n: PRESETS[n] for n in ("gpt2", "gpt2-xl", "gpt3-175b")}}.items():
    one, full, weights = KVCache(c, n_ctx=1).n_bytes, 2 * c.n_layer * c.n_embd * 4 * c.n_ctx, 4 * P.size(c)
    row = f"{name:10} {one / 1e3:8,.0f} kB   {full / 1e6:11,.0f} MB {weights / 1e6:8,.0f} MB"
    assert weights / full < 40
    print(f"{row}   {weights / full:8.1f} texts")

# %% [markdown]
# Remember the last column. Of one text alone, the cache is the smaller part. A server that answers forty people at once, each with a full context, reads more
# of caches than of weights, whichever of these models it runs.
#
# ## The bill of one token
#
# Now to the price of a token with a cache. First a model small enough for pencil and paper: 1 block, `n_embd` 4, a vocabulary of 10, and the third token is
# being written. A product of a row of $n$ with a matrix $n × m$ takes $nm$ multiplications and as many additions, and $m$ more for the bias.

# %%
tiny = lens.cost_view(GPTConfig(n_vocab=10, n_ctx=8, n_embd=4, n_layer=1, n_head=2), n_before=2)
bill = {part.name: part.flops for part in tiny.parts}
assert bill["c_attn: q, k and v"] == 2 * 4 * 12 + 12  # 4 numbers to 12
assert bill["scores: q kᵀ"] == bill["mix: probs @ v"] == 2 * 4 * 3  # 3 keys of 4 numbers, and 3 values
assert bill["c_fc"] == 2 * 4 * 16 + 16 and bill["unembedding"] == 2 * 4 * 10
assert sum(bill.values()) == tiny.flops
of_ffn = bill["c_fc"] + bill["mlp.c_proj"]
print(f"{tiny.flops} operations, in {len(bill)} parts; the two linear layers of the FFN: {of_ffn}")

# %% [markdown]
# The same for *stories*, for the last token of a full context. `lens.cost_view` counts, `lens.draw_cost` draws. Two quantities are counted: operations, and
# bytes that must come from memory. Weights are read once; of the cache, all keys for the scores and all values for the mix.

# %%
view = lens.cost_view(config, config.n_ctx - 1)
assert view.flops == sum(part.flops for part in view.parts)
assert view.weight_bytes == sum(part.weight_bytes for part in view.parts)
figure = lens.draw_cost(view, "stories")
figure

# %% [markdown]
# At the left: almost everything is the linear layers, at two operations for each weight. At the right: the same bars once more. **A weight is read, used for
# one multiplication and one addition, and never again for this token.** Half an operation per byte. Keep that number.
#
# And the caption has the price without a cache. How far apart do the two get?

# %%
growth = lens.cache_growth(config)  # [n_ctx, 2]: operations of the next token with the cache, and without
assert growth[-1, 0] == view.flops and growth[-1, 1] == view.flops_without
for n in (1, 2, 16, 64, 256):
    cached, without = growth[n - 1] / 1e6
    print(f"token {n:3}: {cached:5.1f} million operations with the cache, {without:7.1f} without")
whole_text = growth.sum(axis=0)
print(f"all 256: {whole_text[1] / whole_text[0]:.0f} times; the cache grew to {view.cache_size / 1e6:.1f} MB")

# %% [markdown]
# ## Which part is the expensive one?
#
# "Attention is quadratic" is said so often that many believe attention to be most of the work. Compute where it overtakes. For one token in one block, with $e$
# for `n_embd` and $n$ tokens in view, scores and mix take $4ne$ operations, the feed-forward network $16e^2$. They are equal at $n = 4e$. Softmax and GELU
# shift that a little:

# %%
LOOKING = ("scores: q kᵀ", "softmax", "mix: probs @ v")
FFN = ("c_fc", "gelu_new", "mlp.c_proj")


def total(view, names, what="flops"):
    return sum(getattr(part, what) for part in view.parts if part.name in names)


assert total(lens.cost_view(config, 99), LOOKING) == 100 * total(lens.cost_view(config), LOOKING)  # so it is linear
print("model        operations equal at      context")
for name, c in {"stories": config, **{n: PRESETS[n] for n in ("gpt2", "gpt2-xl", "gpt3-175b")}}.items():
    one = lens.cost_view(c)  # the first token looks at one token, itself
    equal_at = total(one, FFN) / total(one, LOOKING)
    assert equal_at > c.n_ctx
    print(f"{name:10} {equal_at:10,.0f} tokens {c.n_ctx:12,}")

# %% [markdown]
# In none of these models does looking back ever cost as many operations as the feed-forward network: the context ends first. Bytes tell another story, once
# several texts are answered together. Their tokens share one reading of the weights, but **each text has a cache of its own**. Drawn for GPT-2's shape, as if
# its context went on:

# %%
shape = PRESETS["gpt2"]
first = lens.cost_view(shape)
n = np.geomspace(1, 30_000, 200)
GROUPS = {
    "FFN": (FFN, style.FFN),
    "linear layers of attention": (("c_attn: q, k and v", "attn.c_proj"), style.ATTENTION),
    "the rest, mostly logits": (
        ("embedding", "ln_1", "ln_2", "ln_f", "residual additions", "unembedding"), style.RESIDUAL,
    ),
    "looking back: scores, softmax, mix": (LOOKING, style.KEY),
}  # fmt: skip
assert sum(total(first, names) for names, _ in GROUPS.values()) == first.flops


def shares(what, n_text):  # -> [n_groups, 200]: of the operations or bytes of a token each for n_text texts
    rows = []
    for names, _ in GROUPS.values():
        per_text = total(first, names, "flops" if what == "operations" else "cache_bytes")
        shared = 0 if what == "operations" else total(first, names, "weight_bytes")
        rows.append(shared + n_text * per_text * (n if names is LOOKING else np.ones_like(n)))
    return np.array(rows) / np.sum(rows, axis=0)


figure = style.figure(8.6, 3.6, "Where a token's work goes, by how many tokens it looks back on",
                      "the shape of GPT-2 124M, float32", "dotted: its context, 1,024")  # fmt: skip
pictures = ("operations", 1), ("bytes", 1), ("bytes", 32)
for axes, (what, n_text) in zip(figure.subplots(1, 3, sharey=True), pictures, strict=True):
    colours = [colour for _, colour in GROUPS.values()]
    axes.stackplot(n, shares(what, n_text), colors=colours, edgecolor="white", linewidth=0.6)
    axes.axvline(shape.n_ctx, color=style.INK, linestyle=":")
    axes.set(xscale="log", xlim=(1, 30_000), ylim=(0, 1), yticks=(0, 0.5, 1), yticklabels=("0", "50 %", "100 %"))
    axes.set_xticks([1, 10, 100, 1000, 10_000], ["1", "10", "100", "1,000", "10,000"], fontsize=9)
    axes.set_title(f"{what}, {n_text} text{'s' * (n_text > 1)}", fontsize=10, color=style.INK)
    axes.set_xlabel("tokens in view", fontsize=9)
    if n_text == 1:
        for y, name in zip((0.23, 0.57, 0.82), GROUPS, strict=False):
            axes.text(1.3, y, name, fontsize=8.5, va="center", color="white" if y < 0.7 else style.INK)
    else:
        axes.text(1200, 0.7, "looking back:\nscores,\nsoftmax, mix", fontsize=7.5, va="center", color=style.INK)
figure

# %% [markdown]
# The left picture moves little within the context. The right one does: with 32 texts, most of the bytes are orange long before the dotted line. Hold on to
# that; it decides below how far batching helps.
#
# ## Two speeds of a machine
#
# Operations and bytes are not yet time. A machine has two speeds that matter here: how many bytes per second come from memory, and how many operations per
# second it can do on numbers that it already has. Both can be measured in a few lines. For the first, arrays far larger than the CPU's cache; for the second, a
# product of two large matrices, which uses each number hundreds of times. All of it on one core, by a clock that stands still while another program has the
# core. (Two cores do more of both.)

# %%
clock = time.perf_counter if os.name == "nt" else time.thread_time  # seconds on the core (coarse on Windows)


def fastest(seconds, **runs):  # name=function -> its shortest time: they take turns, at least three times each
    best, n_rounds, end = dict.fromkeys(runs, math.inf), 0, clock() + seconds
    while n_rounds < 3 or clock() < end:
        for name, run in runs.items():
            began = clock()
            run()
            best[name] = min(best[name], clock() - began)
        n_rounds += 1
    return best


numbers = np.ones((8, 1 << 23), np.float32)  # 8 pieces of 32 MB: none is still in the cache when its turn comes again
times = fastest(0.6, **{f"piece {i}": piece.max for i, piece in enumerate(numbers)})
bandwidth = numbers[0].nbytes / min(times.values())
print(f"reading: measured {bandwidth / 1e9:.1f} GB/s")

# %%
square = np.ones((512, 512), np.float32)
peak = 2 * 512**3 / fastest(0.5, product=lambda: square @ square)["product"]
ridge = peak / bandwidth
print(f"multiplying: measured {peak / 1e9:.0f} billion operations per second")
print(f"for each byte that is read, this machine could do measured {ridge:.1f} operations")

# %% [markdown]
# That last number, operations per byte, is the *ridge*. A task that does fewer operations per byte than the ridge waits for memory, and the CPU is idle most of
# the time. A task that does more waits for the CPU. And decoding did half an operation per byte. On every machine of our time the ridge is far above that: on a
# laptop, on a server, on a GPU.

# %%
intensity = view.flops / (view.weight_bytes + view.cache_bytes)
assert 0.4 < intensity < 0.6
print(f"decoding, stories, a full context: {intensity:.2f} operations per byte")

# %% [markdown]
# So the time of a token can be foretold without looking at its arithmetic: bytes divided by bandwidth. In general,
# $\text{time} ≥ \max(\text{operations} / \text{peak},\ \text{bytes} / \text{bandwidth})$. This is the *roofline* model (Williams et al. 2009). Let us see what
# it is worth.
#
# *stories* is too small for this: its weights fit the caches of many CPUs, and Python's own time counts. So we take a model of 12 blocks, 384 wide, with random
# weights. What it writes is noise, but it takes as long as sense would.

# %%
del numbers
big = GPT.from_config(GPTConfig(n_vocab=4096, n_ctx=512, n_embd=384, n_layer=12, n_head=6), seed=0, ops="numpy")
some_ids = np.random.default_rng(7).integers(0, 4096, 512)
print(f"{P.count(big.params) / 1e6:.0f} million parameters, {4 * P.count(big.params) / 1e6:.0f} MB")

# %% [markdown]
# ## With and without, against the clock
#
# First the question of the title. For texts of several lengths: the time of the next token with a cache, and without one, which is a pass over the whole text.
# Two straight lines are fitted.

# %%
lengths = (16, 64, 112, 160, 208, 256)
cache = KVCache(big.config)
big(some_ids[:257], cache=cache, last_only=True)


def next_token_at(n):  # the cache as it was after n tokens, then one more
    cache.rewind(n)
    big(some_ids[n : n + 1], cache=cache)


with_ms, without_ms = [], []
for n in reversed(lengths):  # backwards, as a cache can only be cut
    times = fastest(0.2, cached=lambda n=n: next_token_at(n), whole=lambda n=n: big(some_ids[: n + 1], last_only=True))
    with_ms.insert(0, 1e3 * times["cached"])
    without_ms.insert(0, 1e3 * times["whole"])
slope, fixed = np.polyfit(lengths, without_ms, 1)
slope_cached, fixed_cached = np.polyfit(lengths, with_ms, 1)
print(f"without: measured {fixed:.1f} ms + {1e3 * slope:.0f} µs for each token that came before")
print(f"with:    measured {fixed_cached:.1f} ms + {1e3 * slope_cached:.1f} µs for each token that came before")
assert without_ms[-1] > 2 * with_ms[-1]  # at 256 tokens

# %% [markdown]
# Both rise along a line, but the slopes are worlds apart. Without a cache each token of the past costs a trip through all weights; with it, one key and one
# value for each head. Summed over a text, a line becomes a parabola: that is all that is "quadratic" here.

# %%
figure = style.figure(8.6, 3.6, "The time of a token, and of a text",
                      "12 blocks of 384, random weights, NumPy, one core",
                      "points: measured; lines: fitted (left), summed (right)")  # fmt: skip
left, right = figure.subplots(1, 2)
n = np.arange(1, 257)
for values, (a, b), colour, name in (
    (without_ms, (fixed, slope), style.PALE, "without a cache"),
    (with_ms, (fixed_cached, slope_cached), style.KEY, "with a cache"),
):  # fmt: skip
    left.plot(lengths, values, "o", color=colour, markersize=6, markeredgecolor=style.INK, markeredgewidth=0.6)
    left.plot(n, a + b * n, color=colour, linewidth=2)
    right.plot(n, np.cumsum(a + b * n) / 1e3, color=colour, linewidth=2, label=name)
left.set_ylabel("ms for the next token", fontsize=9)
right.set_ylabel("seconds for the whole text", fontsize=9)
for axes in (left, right):
    axes.set(xlim=(0, 260), ylim=(0, None))
    axes.set_xlabel("tokens of the text", fontsize=9)
    style.without_frame(axes, "top", "right")
right.legend(frameon=False, fontsize=9, loc="upper left")
figure

# %% [markdown]
# ## Many tokens at once
#
# The prompt has many tokens, known from the start, so they can share one reading of the weights. So can the newest tokens of many texts. For both, the
# operations grow with the number of tokens, the bytes hardly do. Before you run the next cell: eight texts at once instead of one. How many times as long does
# a step take?
#
# All texts begin with the same 32 tokens, which are read once; `KVCache.select` copies rows.

# %%
prompt = KVCache(big.config, n_ctx=33)
big(some_ids[:32], cache=prompt, last_only=True)


def step_time(n_batch, n_before=32):  # seconds of one decoding step of n_batch texts
    cache, ids = prompt.select([0] * n_batch), some_ids[:n_batch, None]

    def step():
        cache.rewind(n_before)
        big(ids, cache=cache)

    return fastest(0.2, step=step)["step"]


def step_cost(n_batch, n_before=32):  # -> operations, bytes
    one = lens.cost_view(big.config, n_before)
    return n_batch * one.flops, one.weight_bytes + n_batch * one.cache_bytes


def prompt_time(n_seq):
    return fastest(0.2, read=lambda: big(some_ids[:n_seq]))["read"]


def prompt_cost(n_seq):  # the cache is written meanwhile, but nothing of it must come from memory
    last = lens.cost_view(big.config, n_seq - 1)
    return last.flops_without, last.weight_bytes


def at_least(flops, n_bytes):  # seconds, by the roofline
    return max(flops / peak, n_bytes / bandwidth)


batches, prompts = (1, 2, 4, 8, 16, 32, 64), (16, 64, 256)
decoding = {n: (*step_cost(n), step_time(n)) for n in batches}
reading = {n: (*prompt_cost(n), prompt_time(n)) for n in prompts}
for what, found in (("texts", decoding), ("tokens of a prompt", reading)):
    for n, (flops, n_bytes, seconds) in found.items():
        times = f"roofline {1e3 * at_least(flops, n_bytes):5.1f} ms, measured {1e3 * seconds:5.1f} ms"
        print(f"{n:3} {what:18} {flops / n_bytes:6.1f} operations per byte: {times}, {n / seconds:5,.0f} tokens/s")

# %% [markdown]
# Read the columns against each other. At first the operations per byte double with the batch, since the bytes are nearly the same bytes; later they grow less,
# as each text brings a cache of its own. While they stay below the ridge, a step of more texts takes hardly longer by the roofline, and the tokens per second
# rise almost for free. Beyond the ridge the step takes as long as its arithmetic, and another text costs what it costs. A prompt is a batch whose tokens happen
# to be of one text.
#
# One thing does not take part: looking back. Its bytes belong to one text each, so its operations per byte never change. We place it in the picture by itself:
# scores and mix of one block, for 64 texts of 512 tokens, one text after the other and all at once.

# %%
n_key, rng = 512, np.random.default_rng(7)
k, v = (rng.standard_normal((64, big.config.n_head, n_key, big.config.d_head), dtype=np.float32) for _ in range(2))


def look_back(n_batch):  # all 64 texts, n_batch at a time
    for i in range(0, 64, n_batch):
        part = slice(i, i + n_batch)
        ops.attention_mix(ops.attention_probs(k[part, :, :1], k[part], None), v[part])  # any query will do


times = fastest(0.3, alone=lambda: look_back(1), together=lambda: look_back(64))
flops = n_key * total(lens.cost_view(big.config.replace(n_layer=1)), LOOKING)  # of one text
n_bytes = k[0].nbytes + v[0].nbytes
looking = {n: (n * flops, n * n_bytes, times[how] * n / 64) for n, how in ((1, "alone"), (64, "together"))}
print(f"{looking[1][0] / looking[1][1]:.2f} operations per byte, {looking[64][0] / looking[64][1]:.2f} for 64 texts")
print(f"a text takes measured {1e6 * looking[1][2]:.0f} µs alone, {1e6 * looking[64][2] / 64:.0f} µs in company")

# %% [markdown]
# Now all of it in one picture. Left: every measured step by its operations per byte (to the right) and its speed (upwards), under the roof of this machine's
# two speeds. Right: what that means for a server.

# %%
figure = style.figure(9.2, 5.5, "What memory and arithmetic allow, and what was reached",
                      "12 blocks of 384, random weights, NumPy, one core",
                      "a point: one measured step; beside it: tokens that share it")  # fmt: skip
left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
points = {
    "decoding, texts at once": (decoding, "o", style.PROBABILITY[3], (-15, 4)),
    "reading a prompt": (reading, "s", style.INK, (-4, 8)),
    "looking back alone, texts at once": (looking, "^", style.KEY, (8, 2)),
}
for name, (found, marker, colour, beside) in points.items():
    x, y = np.array([(flops / n_bytes, flops / seconds / 1e9) for flops, n_bytes, seconds in found.values()]).T
    left.plot(x, y, marker, color=colour, markersize=8, label=name, markeredgecolor="white", zorder=3)
    for n, *at in zip(found, x, y, strict=True):
        left.annotate(str(n), at, xytext=beside, textcoords="offset points", fontsize=8, color=style.INK)
x = np.geomspace(0.25, 400, 100)
left.plot(x, np.minimum(peak, bandwidth * x) / 1e9, color=style.INK, linewidth=1.6, zorder=1)
left.axvline(ridge, color=style.PALE, linestyle=":", zorder=1)
left.set(xlabel="operations per byte", ylabel="billions of operations per second")
roof = f"memory {bandwidth / 1e9:.0f} GB/s, arithmetic {peak / 1e9:.0f} billion/s, ridge (dotted) at {ridge:.1f}"
left.set_title(f"measured: {roof}", fontsize=9, color=style.INK)

n = np.geomspace(1, 64, 50)
(_, alone), (_, two) = step_cost(1), step_cost(2)
own = two - alone  # bytes of each text's own cache
at_most = n / np.maximum(n * decoding[1][0] / peak, (alone + (n - 1) * own) / bandwidth)
right.plot(n, at_most, color=style.INK, linewidth=1.6, label="roofline")
right.plot(n, n / decoding[1][2], color=style.PALE, linestyle="--", label="if more texts cost no time")
rates = [n / decoding[n][2] for n in batches]
right.plot(batches, rates, "o", color=style.PROBABILITY[3], markersize=8, label="measured")
right.set(xlabel="texts at once", ylabel="tokens per second, all texts together")
for axes in (left, right):
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:,g}")
        axis.set_minor_locator(NullLocator())
        axis.set_tick_params(labelsize=8)
    style.without_frame(axes, "top", "right")
right.set_xticks(batches, batches)
left.legend(frameon=False, fontsize=9, loc="lower right")
right.legend(frameon=False, fontsize=9, loc="lower right")
figure

# %% [markdown]
# How to read the left picture. The slanted line is memory's limit, the flat one arithmetic's; a point can only reach its roof, never the other one's. Blue
# circles walk to the right and up as the batch grows. Where they walk as steeply as the slope, more texts take no more time; where they walk less steeply, they
# do. At the end they come under the flat part, where the squares, the prompts, are already. Orange triangles stay in their column however many texts there are.
#
# Points hang below the roof for plain reasons: Python between the products; GELU, softmax and layer norm, which NumPy does in many small steps (notebook 10); a
# product of a few rows, for which BLAS (the library that multiplies for NumPy)
# often copies the weights into another order first, and so moves them twice. (The compiled kernels of this package have
# loops of their own for up to eight rows; see `docs/performance.md`.) If a point hangs above it, the machine was busy while the roof was measured, or its cache
# holds these weights.
#
# Two consequences that are worth money. First: whoever *guesses* the next few tokens can have all guesses checked in one step, for
# less than one step each would cost. That is speculative decoding (`nanogpt_np/generation/speculation.py`). For one text on this machine:

# %%
cache = KVCache(big.config)
big(some_ids[:64], cache=cache, last_only=True)


def read_more(n_new):
    cache.rewind(64)
    big(some_ids[64 : 64 + n_new], cache=cache)


times = fastest(0.3, one=lambda: read_more(1), eight=lambda: read_more(8))
print(f"eight tokens at once take measured {times['eight'] / times['one']:.1f} times as long as one")

# %% [markdown]
# Second: where bytes are the price, smaller numbers are cheaper numbers. int8 weights are a quarter of the bytes, and the CPU has time enough to widen them.
# How that stays accurate is the question of notebook 11; here only the time of copying as many numbers of each kind:

# %%
kinds = {kind: (np.ones(1 << 24, kind), np.ones(1 << 24, kind)) for kind in ("float32", "int8")}
times = fastest(0.2, **{kind: lambda pair=pair: np.copyto(*pair) for kind, pair in kinds.items()})
print(f"float32 takes measured {times['float32'] / times['int8']:.1f} times as long as int8")
del kinds

# %% [markdown]
# ## What people get wrong
#
# * *"Attention recomputes the whole text for every token."* With a cache nothing of the past goes through a weight again. Spy on `ops.linear` while the 24th
#   token goes through:

# %%
class Spy:  # an ops module that notes how many rows each linear layer gets
    def __init__(self):
        self.rows = []

    def __getattr__(self, name):
        return getattr(ops, name)

    def linear(self, x, weight, bias):
        self.rows.append(x.size // x.shape[-1])
        return ops.linear(x, weight, bias)


spy, cache = Spy(), KVCache(config)
gpt(plain_ids[:-1], cache=cache)
model.forward(np.array([plain_ids[-1:]]), gpt.params, config, spy, cache=cache)
assert set(spy.rows) == {1} and len(spy.rows) == 4 * config.n_layer
print(f"{len(spy.rows)} linear layers, rows in each: {set(spy.rows)}")

# %% [markdown]
# * *"Generating is limited by how fast the machine computes."* One text at a time it is limited by how fast the machine reads. Take the arithmetic at full
#   speed and nothing else, and compare:

# %%
flops, n_bytes, seconds = decoding[1]
assert flops / peak < seconds
print(f"one token: measured {1e3 * seconds:.1f} ms; arithmetic at full speed would need {1e3 * flops / peak:.2f} ms")

# %% [markdown]
# * *"Attention is the most expensive part."* Not in operations, within the context of these models; the feed-forward network is. All of attention, its linear
#   layers included, against it, for a GPT-2 whose context is full:

# %%
full = lens.cost_view(PRESETS["gpt2"], 1023)
with_linear = total(full, (*LOOKING, "c_attn: q, k and v", "attn.c_proj"))
assert total(full, LOOKING) < with_linear < total(full, FFN)
rows = {"looking back": total(full, LOOKING), "all of attention": with_linear, "FFN": total(full, FFN)}
for name, flops in rows.items():
    print(f"{name:17} {flops / full.flops:4.0%}")

# %% [markdown]
# * *"A token of the prompt costs as much as a token that is generated."* As many operations, yes. As much time, no: read together, the tokens of a prompt share
#   one reading of the weights. (This is why services charge less for input than for output.)

# %%
a_token_of_prompt, a_new_token = reading[256][2] / 256, decoding[1][2]
assert a_token_of_prompt < a_new_token
ratio = a_new_token / a_token_of_prompt
print(f"measured: {1e3 * a_token_of_prompt:.2f} ms a token of a prompt, {1e3 * a_new_token:.2f} a new one: {ratio:.0f} times")

# %% [markdown]
# * *"When the context is full, drop the oldest token from the cache and go on."* With learned positions a key knows its place. Move a text one place to the
#   left, and all its keys change; in the cache they would be wrong. So the library reads the last half of the text anew (`kv_cache.slide`), and one token is as
#   expensive as a prompt. By how much do the keys change? (In block 0 for their place alone;
#   above it, also because the first token is gone.)

# %%
here, there = keys_of(plain_ids[:13], True)[:, 1:], keys_of(plain_ids[1:13], True)  # then one place to the left
change = np.linalg.norm(there - here, axis=(1, 2)) / np.linalg.norm(here, axis=(1, 2))
print("block by block, as a share of their length:", ", ".join(f"{one:.2f}" for one in change))

# %% [markdown]
# ## Exercises
#
# **Easy.** Write `cache_bytes(config, n_batch, n_tokens, itemsize)`: how many bytes the keys and values of `n_batch` texts of `n_tokens` tokens take, at
# `itemsize` bytes per number. Then: how many texts of 1,024 tokens of GPT-2 124M fit into 8 GB beside the weights?

# %%
def cache_bytes(config, n_batch, n_tokens, itemsize):
    ...


ch09.cache_bytes(cache_bytes);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def cache_bytes(config, n_batch, n_tokens, itemsize):
#     return 2 * config.n_layer * config.n_embd * n_batch * n_tokens * itemsize
# ```
# </details>
#
# **Medium.** One prompt, several ways to go on: a multiple-choice question. Write `endings(gpt, prompt, several)`: `prompt` is a list of ids, `several` a list
# of lists of ids. Return a list with the logits `[n_vocab]` behind the last token of `prompt + ending`, for each ending. Each token may go through the model
# once only: the prompt once, and each ending once. `gpt(ids, cache=cache)` gives logits `[1, n_new, n_vocab]`; `KVCache` has two methods that help.

# %%
def endings(gpt, prompt, several):
    ...


ch09.endings(endings);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def endings(gpt, prompt, several):
#     cache, found = KVCache(gpt.config), []
#     gpt(prompt, cache=cache)
#     for ending in several:
#         cache.rewind(len(prompt))
#         found.append(gpt(ending, cache=cache)[0, -1])
#     return found
# ```
# </details>
#
# **Hard, an investigation.** At which batch does decoding stop being limited by memory? Write `turning_batch(config, n_before, peak, bandwidth)`: the smallest
# number of texts, each with `n_before` tokens in its cache, for which the roofline's time of arithmetic is at least its time of reading. Per text there are
# operations and bytes of cache, and the weights are read once for all; `lens.cost_view` knows them. **It may be that no batch is large enough**; then return
# `None`. When is that so? It is worth finding out on paper before you write.
#
# Then investigate with the `peak` and `bandwidth` of your machine: where does it turn for `big` at 32 tokens, and at which length never? Measure `step_time(n)`
# around the turn. Is there a knee? If it comes earlier or later than foretold, which of the two speeds does `big` not reach, and why? (Look again at the small
# batches.) And what happens to the turn if the weights, or the cache, or both, become int8?

# %%
def turning_batch(config, n_before, peak, bandwidth):
    ...


ch09.turning_batch(turning_batch);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def turning_batch(config, n_before, peak, bandwidth):
#     one = lens.cost_view(config, n_before)
#     gained = one.flops / peak - one.cache_bytes / bandwidth  # seconds by which each text moves us towards the turn
#     if gained <= 0:  # its own cache takes longer to read than its arithmetic takes: more texts only make it worse
#         return None
#     return max(1, math.ceil(one.weight_bytes / bandwidth / gained))
# ```
# </details>
#
# ## Where it stands in the code
#
# | here | there |
# |---|---|
# | `read_on` | `nanogpt_np/model.py`: `forward` with a `cache`; compiled in one call: `kernels/decode.py` |
# | the cache | `nanogpt_np/kv_cache.py`: `KVCache`, `slide` |
# | a prompt at once, then token by token | `nanogpt_np/generation/decoding.py`: `read`, `decode`; `generation/tokens.py`: `prefill` |
# | the bill of a token | `nanogpt_np/lens/cost.py`: `cost_view`, `cache_growth` |
# | checking several guesses in one pass | `nanogpt_np/generation/speculation.py` |
# | the same picture for GPT-2 124M's shape | `docs/performance.md`, `docs/roofline.py` |
