# %% [markdown]
# # 03 · How does a token read the others?
#
# **You will be able to** compute one attention head on paper, cell by cell; say why each of its five steps is there, because you have seen what goes wrong
# without it; read a picture of a head, and know what such a picture does not tell.
#
# **You need** notebook [00](00_map.ipynb), and matrix products. Where the rows come from that attention reads is the subject of [02](02_embeddings.ipynb).

# %%
import copy
import inspect
import math
import types

import numpy as np
from checks import ch03

from nanogpt_np import GPT, PRESETS, GPTConfig, lens, model, ops
from nanogpt_np import params as P
from nanogpt_np.lens import style
from nanogpt_np.lens.tokens import log_softmax
from nanogpt_np.training import backward, optim

gpt = GPT.from_pretrained("stories", ops="numpy")

# %% [markdown]
# ## What would a model be without it?
#
# Every token has a row of numbers, the residual stream. Layer norms and feed-forward networks work on one row at a time: they never see a neighbour. So before
# you run the next cell, guess: two texts of the same length end with the same token. All attention is taken away. What do the two answers have in common?

# %%
sad, glad = "Tom lost his ball. He was very", "Tom found his ball. He was very"
silent = {("attn_out", layer): np.zeros_like for layer in range(gpt.config.n_layer)}  # each attention adds nothing
for name, changes in (("with attention", None), ("without", silent)):
    a, b = (lens.run(gpt, text, changes).logits[-1] for text in (sad, glad))
    likeliest = [gpt.tokenizer.decode([int(logits.argmax())]) for logits in (a, b)]
    print(f"{name:15} the answers are the same: {np.array_equal(a, b)!s:5}  the likeliest: {likeliest}")
assert np.array_equal(a, b)  # without

# %% [markdown]
# Everything in common, to the last bit. Without attention the last row knows two things, its own token and its own place. **Attention is the only road from one
# row to another.** All that a language model knows of context has travelled on it.
#
# ## A dictionary with soft edges
#
# What should such a road look like? Python's own lookup is a good beginning: a dictionary holds keys and values, you come with a query, the one key that equals
# it gives you its value. Attention does the same for rows of numbers, where nothing is ever exactly equal. So it asks each key *how well* it fits, and takes of
# every value as much as its key fits. Each token makes three short rows from its own long one:
#
# * a **query** (blue in all pictures): what do I look for?
# * a **key** (orange): what do I answer to?
# * a **value** (green): what do I hand over if I am asked?
#
# ## Three tokens, every number
#
# The text is `red cat it`. The stream is 4 wide (n_embd), queries, keys and values are 2 wide (d_head). In a trained model the columns have no names. Here they
# have, so that we can follow: how much of a colour a token is, how much of a thing, how much it points at something else; and the place where it stands.

# %%
tokens = ["red", "cat", "it"]
x = np.array([  # colour, thing, pointer, place
    [1, 0, 0, 0],  # red
    [0, 1, 0, 1],  # cat
    [0, 0, 1, 2],  # it
], float)  # fmt: skip
w_q = np.array([[1, -1], [0, 1], [2, -2], [0, 1]], float)  # [n_embd, d_head], and so the other two
w_k = np.array([[-1, 2], [1, 1], [-1, 1], [1, 0]], float)
w_v = np.array([[4, 0], [-1, 4], [-2, -2], [1, 0]], float)


def table(array, columns, rows=tokens):
    """Prints an array with names on two sides."""
    print(" " * 11 + "".join(f"{name:>9}" for name in columns))
    for name, row in zip(rows, array, strict=True):
        print(f"{name:11}" + "".join(f"{value:9.2f}" for value in row))

# %% [markdown]
# **Queries, keys, values.** Three matrix products. The row of `it`, for instance, has a 1 in the column "pointer" and a 2 in the column "place", so its query
# is 1 times the third row of `w_q` plus 2 times the fourth. Written out, products with 0 left away:

# %%
q = np.array([
    [1*1, 1*-1],  # red: colour
    [1*0 + 1*0, 1*1 + 1*1],  # cat: thing, place
    [1*2 + 2*0, 1*-2 + 2*1],  # it: pointer, place
], float)  # fmt: skip
k = np.array([
    [1*-1, 1*2],
    [1*1 + 1*1, 1*1 + 1*0],
    [1*-1 + 2*1, 1*1 + 2*0],
], float)  # fmt: skip
v = np.array([
    [1*4, 1*0],
    [1*-1 + 1*1, 1*4 + 1*0],
    [1*-2 + 2*1, 1*-2 + 2*0],
], float)  # fmt: skip
for written, weight in ((q, w_q), (k, w_k), (v, w_v)):
    assert np.array_equal(written, x @ weight)
    assert np.array_equal(written, ops.linear(x, weight, np.zeros(2)))
table(np.hstack([q, k, v]), ["q: thing", "q: col.", "k: thing", "k: col.", "v: red", "v: cat"])

# %% [markdown]
# Read the blue part as wishes, the orange part as offers. `cat` asks for a colour (0, 2). `red` offers one (-1, 2). `it` asks for a thing (2, 0), and `cat`
# offers that (2, 1).
#
# **Scores.** How well does each key fit each query? Multiply and add, first number with first, second with second. Row = who asks, column = who is asked.

# %%
scores = np.array([
    [1*-1 + -1*2, 1*2 + -1*1, 1*1 + -1*1],  # red asks red, cat, it
    [0*-1 +  2*2, 0*2 +  2*1, 0*1 +  2*1],  # cat asks
    [2*-1 +  0*2, 2*2 +  0*1, 2*1 +  0*1],  # it asks
], float)  # fmt: skip
assert np.array_equal(scores, q @ k.T)
table(scores, tokens)

# %% [markdown]
# All nine at once are the product of `q` with the transposed `k`. The table is not symmetric: `cat` asks `red` (4) is another question than `red` asks `cat`
# (1).
#
# **Scaled.** Each score is divided by the square root of d_head, here by 1.41. (Why, comes below.) **Masked.** A token must not read what comes after it, so
# those three cells become minus infinity.

# %%
scaled = scores / math.sqrt(2)
masked = np.array([
    [-3 / math.sqrt(2),          -np.inf,         -np.inf],
    [ 4 / math.sqrt(2), 2 / math.sqrt(2),         -np.inf],
    [-2 / math.sqrt(2), 4 / math.sqrt(2), 2 / math.sqrt(2)],
])  # fmt: skip
assert np.array_equal(masked, np.where(ops.causal_mask(3, 3), scaled, -np.inf))
table(masked, tokens)

# %% [markdown]
# **Softmax.** Each row becomes shares that sum to 1: take the row's maximum away (nothing changes by that, see below), raise e to each, divide by the sum.

# %%
for name, row in zip(tokens, masked, strict=True):
    below = row - row.max()
    e = np.exp(below)
    share = e / e.sum()
    table([row, below, e, share], tokens, [f"{name}: scaled", "- maximum", "exp", "÷ sum"])
    print(f"{'':11}the exps sum to {e.sum():.2f}, the shares to {share.sum():.2f}\n")

probs = np.array([  # the same, by pocket calculator
    [1 / 1, 0 / 1, 0 / 1],
    [1 / 1.2431, 0.2431 / 1.2431, 0 / 1.2431],
    [0.0144 / 1.2575, 1 / 1.2575, 0.2431 / 1.2575],
])
assert np.allclose(probs, ops.softmax(masked), atol=1e-4)

# %% [markdown]
# `red` has nobody before it and reads itself, whether it likes that or not: its own score was the lowest of its row. `cat` reads mostly `red`, `it` mostly
# `cat`.
#
# **The mix.** Each token receives the values, in these shares.

# %%
mixed = np.array([
    [1.0000*4,                         0],  # red: all of its own value
    [0.8044*4 + 0.1956*0,              0.8044*0 + 0.1956*4],  # cat: of red, of itself
    [0.0114*4 + 0.7952*0 + 0.1933*0,   0.0114*0 + 0.7952*4 + 0.1933*-2],  # it: of red, of cat, of itself
])  # fmt: skip
assert np.allclose(mixed, ops.softmax(masked) @ v, atol=1e-3)
table(mixed, ["red", "cat"])

# %% [markdown]
# `cat` has received 3.22 of "red": the row of `cat` will now say *a cat, and red*. `it` has received 2.79 of "cat". In the next block, `it` may ask `cat`
# again, and what it then receives comes from a row that knows of the colour. One block is one hop.
#
# And the library? It has these two ops, which we hand the same numbers.

# %%
print(inspect.getsource(ops.attention_probs), inspect.getsource(ops.attention_mix), sep="\n")
their_probs = ops.attention_probs(q[None, None], k[None, None], ops.causal_mask(3, 3))  # [n_batch, n_head, 3, 3]
their_mixed = ops.attention_mix(their_probs, v[None, None])
assert np.allclose(their_probs, probs, atol=1e-4) and np.allclose(their_mixed, mixed, atol=1e-3)

# %% [markdown]
# Heads work side by side. Let `model.attention` itself run with two: our head, and a second one whose queries and keys are all zero. Guess what the second one
# does.

# %%
nothing = np.zeros((4, 2))
c_attn = np.hstack([w_q, nothing, w_k, nothing, w_v, w_v])  # [n_embd, 3 * n_embd]: both heads' q, both k, both v
weights = {"c_attn": {"weight": c_attn, "bias": np.zeros(12)}, "c_proj": {"weight": np.eye(4), "bias": np.zeros(4)}}
small = GPTConfig(n_vocab=3, n_ctx=3, n_embd=4, n_layer=1, n_head=2)
out, acts = model.attention(x[None], weights, small, ops, ops.causal_mask(3, 3))
assert np.allclose(out[0, :, :2], mixed, atol=1e-3)
assert np.allclose(out[0, :, 2:], np.cumsum(v, axis=0) / [[1], [2], [3]])
table(out[0], ["head 0", "", "head 1", ""])

# %% [markdown]
# All its scores are 0, so all shares are equal: it is a running mean of the values so far. Keep that in mind. A model begins its life very near to it, as we
# shall see.
#
# ## The same as a picture
#
# Two numbers are a point in a plane. A score is large where a blue arrow and an orange arrow are long and point the same way, 0 where they stand at a right
# angle, negative where they point apart. On the right, what a token receives lies *between* the values, in the triangle that they span.

# %%
figure = style.figure(8.6, 4.4, "Three tokens: who fits whom, and what each receives", "the worked example above",
                      "left: the 2 numbers of each query and key; right: values and mixes of values")  # fmt: skip
left, right = figure.subplots(1, 2)
for rows, colour, letter in ((q, style.QUERY, "q"), (k, style.KEY, "k")):
    for name, (across, up) in zip(tokens, rows, strict=True):
        left.annotate("", (across, up), (0, 0), arrowprops={"color": colour, "width": 1.4, "headwidth": 8})
        left.annotate(f"{letter} of {name}", (across, up), xytext=(6, 6), textcoords="offset points", color=style.INK)
right.fill(*v.T, color=style.VALUE, alpha=0.15)
for rows, colour, mark, what in ((v, style.VALUE, "o", "v of {}"), (mixed, style.ATTENTION, "s", "{} receives")):
    right.scatter(*rows.T, color=colour, marker=mark, s=60, zorder=3)
    for name, place in zip(tokens, rows, strict=True):
        shift = (9, -14) if (mark, name) == ("s", "red") else (9, 4)  # red receives its own value: one place, two names
        right.annotate(what.format(name), place, xytext=shift, textcoords="offset points", color=style.INK)
left.set(xlim=(-1.8, 3.4), ylim=(-1.6, 2.9), xlabel="thing", ylabel="colour", aspect="equal")
right.set(xlim=(-0.8, 6.4), ylim=(-2.6, 4.8), xlabel="red", ylabel="cat", aspect="equal")
for axes in (left, right):
    axes.axhline(0, color=style.RESIDUAL, zorder=0)
    axes.axvline(0, color=style.RESIDUAL, zorder=0)
figure

# %% [markdown]
# Find `q of it` and `k of cat`: nearly one direction, hence the large share, and hence `it` on the right stands near the corner of `cat`, drawn down a little
# by its own value.
#
# ## Why divide by the square root of d_head?
#
# A score is a sum of d_head products. Let all numbers in q and k be independent, with mean 0 and variance 1. Then each product has variance 1, and their sum
# has variance d_head: the wider the head, the larger the scores. And softmax has no patience with large scores. Here 16 keys compete, 2,000 times for each
# width. *heard* is e to the entropy: how many keys the query in effect listens to. *gradient* is the length of what comes back through the softmax if a random
# gradient of length about 4 goes in.

# %%
rng = np.random.default_rng(0)
print("d_head     raw: std   largest share   heard   gradient     divided: std   largest share   heard   gradient")
for d_head in (1, 4, 16, 64, 256):
    queries, keys = rng.standard_normal((2000, 1, d_head)), rng.standard_normal((2000, 16, d_head))
    raw = (queries @ keys.swapaxes(1, 2))[:, 0]  # [2000, 16]
    line = f"{d_head:6}"
    for some in (raw, raw / math.sqrt(d_head)):
        shares = ops.softmax(some)
        entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=1)
        back = np.linalg.norm(ops.softmax_backward(rng.standard_normal(shares.shape), shares), axis=1)
        line += f"{some.std():15.1f}{shares.max(axis=1).mean():16.2f}{np.exp(entropy.mean()):8.1f}{back.mean():11.2f}  "
    print(line.rstrip())

# %% [markdown]
# Left: at a width of 256 nearly all attention falls on one of 16 keys that were drawn *at random*. The model has chosen before it has learned anything; and it
# can hardly revise the choice, since the gradient is nearly gone. Right: whatever the width, the same behaviour. That is all the division is for.
#
# It is worth saying what it is **not**. It does not change what a model can express. Divide the query columns of the weights once and for all, leave the
# division out of the op, and the model says the same:

# %%
def with_ops(**changed):
    """nanogpt_np.ops with some functions exchanged; the forward pass takes any such thing."""
    return types.SimpleNamespace(**{**vars(ops), **changed})


def undivided(q, k, visible):
    return ops.softmax_scores(q @ k.swapaxes(-1, -2), visible, 1.0)


ids = np.array(gpt.tokenizer.encode(sad))[None]
folded = copy.deepcopy(gpt.params)
for block in folded["h"]:
    for array in block["attn"]["c_attn"].values():
        array[..., : gpt.config.n_embd] /= math.sqrt(gpt.config.d_head)
before, _ = model.forward(ids, gpt.params, gpt.config, ops)
after, _ = model.forward(ids, folded, gpt.config, with_ops(attention_probs=undivided))
assert np.allclose(before, after, atol=1e-3)
print("the same logits:", np.allclose(before, after, atol=1e-3))

# %% [markdown]
# So it is about where learning *begins*. And there the assumption "variance 1" is not quite what GPT-2 does. Its fresh weights have a standard deviation of
# 0.02, and layer norm hands it rows of variance 1, so a number in q, a sum over n_embd products, has variance n_embd · 0.02². From that the scores of a fresh
# model can be foretold; for *stories*' shape we also measure them.

# %%
text = 'Lily was sad because she lost her doll. Tom said, "I can help you'
print("fresh weights        n_embd  d_head   scores: std   divided: std")
for name in ("stories", "gpt2", "gpt2-xl", "gpt3-175b"):
    config = PRESETS.get(name, gpt.config)
    variance = config.n_embd * P.STD**2
    print(f"{name:19}{config.n_embd:8}{config.d_head:8}{math.sqrt(config.d_head) * variance:14.2f}{variance:15.2f}")
fresh = GPT.from_config(gpt.config, tokenizer=gpt.tokenizer, ops="numpy")
for name, some in (("stories' shape, fresh, measured", fresh), ("stories, trained, measured", gpt)):
    in_blocks = [block.attn.scores[0] for block in lens.look(some, text).acts.blocks]  # [n_head, n_seq, n_seq] each
    std = np.stack(in_blocks).std(axis=-1).mean()  # within a row, which is what the softmax compares
    print(f"{name:35}{std:14.2f}{std / math.sqrt(gpt.config.d_head):15.2f}")

# %% [markdown]
# A fresh model as small as *stories* would not even need the division: its scores are nearly 0 with it or without, and every head is the running mean from
# above. At the size of GPT-2 XL raw scores would begin with a standard deviation of 5, at GPT-3's (with the same 0.02) of 56, and the left half of the table
# would be the start of training. *stories* after training has moved its scores apart; the choice is now learned.
#
# ## Why exponentials?
#
# One could turn scores into shares in other ways. For the scores (2, -1, -1), of three keys:

# %%
three = np.array([2.0, -1.0, -1.0])
positive = np.maximum(three, 0)
with np.errstate(divide="ignore", invalid="ignore"):
    print("score ÷ sum of scores    ", three / three.sum(), " the sum is 0")
print("negative ones cut off    ", positive / positive.sum(), " the others are never heard, and get no gradient")
print("the largest takes it all ", (three == three.max()).astype(float), " no gradient for anybody")
print("softmax                  ", ops.softmax(three).round(2))

# %% [markdown]
# Softmax gives every key something, so every key can learn. And only *differences* of scores count: one more than the other means e times its share, wherever
# both stand. That has a consequence which is easily overlooked. A query is multiplied with each key plus the key bias; the bias's part is the same for all keys
# of that query, so it shifts the whole row. **The key bias of GPT-2 does nothing.** Guess what training has made of it.

# %%
shifted = copy.deepcopy(gpt.params)
for block in shifted["h"]:
    _, key_bias, _ = np.split(block["attn"]["c_attn"]["bias"], 3)  # a view into the weights
    key_bias += np.random.default_rng(1).standard_normal(gpt.config.n_embd).astype(key_bias.dtype)
after, _ = model.forward(ids, shifted, gpt.config, ops)
assert np.allclose(before, after, atol=1e-3)
for layer, block in enumerate(gpt.params["h"]):
    lengths = [np.linalg.norm(part) for part in np.split(block["attn"]["c_attn"]["bias"], 3)]
    print(f"block {layer}: length of the bias of q {lengths[0]:.2f}, of k {lengths[1]:.2f}, of v {lengths[2]:.2f}")
print(f"GPT-2 124M carries {PRESETS['gpt2'].n_layer * PRESETS['gpt2'].n_embd:,} key biases along")

# %% [markdown]
# We added large random numbers to all key biases and the logits stayed. In *stories* they are nearly where they began, at 0: a parameter without influence has
# no gradient.
#
# Another consequence: how loud must one key be? With a score of s among n others at 0, its share is e^s / (e^s + n). To be heard with nine tenths, s must be
# ln(9n):

# %%
for n in (10, 100, 1000, 10_000):
    needed = math.log(9 * n)
    share, share_of_5 = (ops.softmax(np.append(np.zeros(n), score))[-1] for score in (needed, 5.0))
    assert math.isclose(share, 0.9)
    print(f"among {n:6,} others: a score of {needed:5.2f}; with a score of 5 its share is {share_of_5:.2f}")

# %% [markdown]
# A score that wins in a sentence is lost in a book. Softmax is never silent about the rest, it only whispers, and a thousand whispers add up. It is thought to
# be one reason why models read worse in texts much longer than those they learned from.
#
# ## Why take the maximum away?
#
# Because only differences count, one may; because computers end at some number, one must.

# %%
large = np.array([1000.0, 999.0])
with np.errstate(over="ignore", invalid="ignore"):
    print("without:", np.exp(large) / np.exp(large).sum(), " with:", ops.softmax(large).round(3))
assert np.allclose(ops.softmax(large), ops.softmax(large - 1000))
largest = max(float(block.attn.scores.max()) for block in lens.look(gpt, text).acts.blocks)
for dtype in (np.float16, np.float32, np.float64):
    print(f"{dtype.__name__}: e^x overflows beyond x = {math.log(np.finfo(dtype).max):.1f}")
assert largest / math.sqrt(gpt.config.d_head) > math.log(np.finfo(np.float16).max)
print(f"the largest score of stories on our text: {largest:.1f}, divided {largest / math.sqrt(gpt.config.d_head):.1f}")

# %% [markdown]
# This is no exotic case: one sentence, a small model, and float16 would have overflowed.
#
# ## The mask, and how to get it wrong
#
# Why minus infinity, and why *before* the softmax? Three ways that look alike, on our three tokens:

# %%
visible = ops.causal_mask(3, 3)
right = ops.softmax(np.where(visible, scaled, -np.inf))
ways = {
    "minus infinity, then softmax": right,
    "softmax, then 0": ops.softmax(scaled) * visible,
    "0 instead of minus infinity": ops.softmax(np.where(visible, scaled, 0.0)),
}
for name, shares in ways.items():
    print(f"{name:29} row of red {shares[0].round(2)}, sums of rows {shares.sum(axis=1).round(2)}")
again = ways["softmax, then 0"] / ways["softmax, then 0"].sum(axis=1, keepdims=True)
assert np.allclose(again, right)

# %% [markdown]
# *Softmax, then 0*: rows that do not sum to 1. `red` receives 0.04 of its value, as the future has taken the rest, although nobody may see it. Divide each row
# again by its sum and it comes right (the last assert), unless the future was so loud that all that is left has been rounded to 0. *0 instead of minus
# infinity*: 0 is a score like others, better than many.
#
# What do these do to a whole model? The forward pass takes its arithmetic from a module, so we exchange one function and let *stories* read. *leaks* is the
# largest change of a logit at the first five places when the token at place 8 becomes another one.

# %%
def zero_after(q, k, visible):
    shares = ops.softmax(q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]))
    return shares if visible is None else np.where(visible, shares, np.float32(0))


def zero_scores(q, k, visible):
    some = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    return ops.softmax(some if visible is None else np.where(visible, some, np.float32(0)))


def loss(logits, ids):  # [n_seq, n_vocab], [n_seq] -> mean nats for each token but the first
    return float(-np.log(ops.softmax(logits[:-1].astype(float))[np.arange(len(ids) - 1), ids[1:]]).mean())


ids = np.array(gpt.tokenizer.encode(text))
other = ids.copy()
other[8] = gpt.tokenizer.encode(" and")[0]
ways = {"as it should be": ops.attention_probs, "softmax, then 0": zero_after, "0 for minus infinity": zero_scores}
for name, probs_op in ways.items():
    changed = with_ops(attention_probs=probs_op)
    logits, others = (model.forward(some[None], gpt.params, gpt.config, changed)[0][0] for some in (ids, other))
    print(f"{name:21} loss {loss(logits, ids):5.2f}   leaks {np.abs(logits - others)[:5].max():5.2f}")

# %% [markdown]
# Both wrong ones leak and read badly, as *stories* was not trained with them. A model that *is* trained with a leak is worse: its loss becomes wonderful. Here
# the text is noise: 16 tokens in random order, new ones at every step. Nobody can foretell noise, so no model can honestly be better than ln 16. We train a
# tiny one with the mask, and one without. Guess where the second one ends.

# %%
def train_on_noise(may_see, n_steps=400):
    """One block, 8 places; -> the loss on noise that it has not seen, and the model."""
    config, changed = GPTConfig(n_vocab=16, n_ctx=8, n_embd=32, n_layer=1, n_head=2), with_ops(causal_mask=may_see)
    rng = np.random.default_rng(0)
    params = P.init(config, rng)
    adam = optim.AdamW(params)
    for _ in range(n_steps):
        rows = rng.integers(16, size=(8, 9))
        _, grads = backward.loss_and_grads(rows[:, :-1], rows[:, 1:], params, config, changed)
        adam.step(params, grads, 1e-2)
    rows = rng.integers(16, size=(500, 9))
    value, _ = backward.loss_and_grads(rows[:, :-1], rows[:, 1:], params, config, changed)
    return value, model.forward(rows[:1, :-1], params, config, changed, keep_acts=True)[1]


with_mask, _ = train_on_noise(ops.causal_mask)
without, acts = train_on_noise(lambda n_query, n_key: np.ones((n_query, n_key), bool))
to_the_right = acts.blocks[0].attn.probs[0, :, np.arange(7), np.arange(1, 8)].mean(axis=0)  # [n_head]
assert with_mask > 2.7 and to_the_right.max() > 0.9
print(f"ln 16 is {math.log(16):.2f}, an eighth of it {math.log(16) / 8:.2f}")
print(f"the loss with the mask {with_mask:.1f}, without {without:.1f}")

# %% [markdown]
# Without a mask it "foretells" noise: each place looks one to the right, where the answer stands (the assert says so). Only the last of the 8 places has
# nothing to copy from, hence about an eighth of ln 16 and not 0. Asked to *write*, it would know nothing, as there is no right neighbour then. A loss that is
# too good is a leak until proven otherwise.
#
# ## One real head
#
# *stories* has 6 blocks of 8 heads. We look at head 2 of block 4, with the same stages as above: the scores, divided, masked, shares, and the mix of values.
# The framed row is the query of `she`; below, its numbers.

# %%
view = lens.attention_view(gpt, "Lily was sad because she", layer=4, head=2)
assert (view.scores[3] < 0).all()  # the whole row of `because`
by_hand = sum(float(view.q[4, i]) * float(view.k[0, i]) for i in range(gpt.config.d_head))  # 32 products now, not 2
assert math.isclose(by_hand, view.scores[4, 0], rel_tol=1e-4)
assert np.allclose(view.probs, ops.softmax(view.masked), atol=1e-5)
assert np.allclose(view.mixed, view.probs @ view.v, atol=1e-5)
lens.draw_attention_stages(view, query=4, model="stories")

# %% [markdown]
# `she` asks, `Lily` answers. The same arithmetic as with three tokens; only the numbers were learned. Compare the rows of `because` in the first picture and in
# the fourth: it is blue throughout, all its scores are negative, and yet its choice is as clear as that of `she`. Only differences count. On the right the rows
# look alike, since all of them are nearly the one value of `Lily`, copied to five places. That is what an attention head is good for.
#
# Now four heads on a longer text. Look at one picture at a time and say in a few words what the head looks for, before you read on.

# %%
grid = lens.attention_grid(gpt, text)
chosen = ((1, 1), (3, 1), (4, 1), (4, 2))
what = "query: rows; key: columns; colour: attention probability, 0 white to 1 dark; each row sums to 1"
figure = style.figure(9, 9.6, "Four heads on one text", "stories", what)
for (layer, head), axes in zip(chosen, figure.subplots(2, 2).ravel(), strict=True):
    shown = np.ma.masked_where(np.triu(np.ones_like(grid.probs[layer, head]), k=1) > 0, grid.probs[layer, head])
    axes.imshow(shown, cmap=style.colour_map(style.PROBABILITY), vmin=0, vmax=1)
    axes.set_title(f"L{layer}.H{head}", color=style.INK)
    style.mark_tokens(axes.yaxis, grid.tokens)
    style.mark_tokens(axes.xaxis, grid.tokens, rotate=True)
figure

# %% [markdown]
# Follow the dark columns. **L1.H1**: from the full stop on, every token looks at it, and before that several at `because`: *where did my sentence, or my
# clause, begin?* **L3.H1**: `sad` looks at `was`, `she` at `because`, `her` and `doll` at `lost`, `you` at `help`: *which word do I depend on?* **L4.H1**:
# every token behind the quotation mark looks at it: *am I inside of a quotation?* **L4.H2**: at first `Lily`; `said`, the mark and `help` look at `Tom`: *who
# is it about?* Nobody told the model of clauses, verbs, quotations and persons.
#
# But a label that fits one picture is a guess. Test it on other texts: for tokens inside of a quotation, how much of L4.H1's attention goes to the mark that
# opened it? And for those behind the closing mark, to the same mark?

# %%
texts = (
    'One day, a frog saw a bee. "Do not sting me," said the frog. The bee laughed. "I am too busy for that," it said.',
    'Mom came home. Ben asked, "Can we bake a cake?" Mom smiled and said, "Yes, but first you must wash your hands."',
    'The moon was big. A bear looked up. "How far is it?" he asked. "Very far," said his dad. They went to sleep.',
)
inside, outside = [], []
for one in texts:
    seen, is_open, mark = lens.attention_grid(gpt, one), False, None
    for place, token in enumerate(seen.tokens):
        if '"' in token:
            is_open = not is_open
            mark = place if is_open else mark
        elif mark is not None:
            (inside if is_open else outside).append(seen.probs[:, :, place, mark])  # [n_layer, n_head]
print(f"{len(inside)} tokens inside, {len(outside)} behind")
inside, outside = np.mean(inside, axis=0), np.mean(outside, axis=0)
order = np.argsort(-inside, axis=None)
for layer, head in zip(*np.unravel_index(order[:3], inside.shape), strict=True):
    shares = f"inside {inside[layer, head]:.2f} of the attention goes to the mark, behind {outside[layer, head]:.2f}"
    print(f"L{layer}.H{head}: {shares}")
print(f"the median head: inside {np.median(inside):.2f}")

# %% [markdown]
# The label holds; where a text has two quotations, it is the one that is open. (And what does the model *do* with that? Wait for the misconceptions.) Not every
# head is that legible. Notebook [04](04_heads.ipynb) looks at all 48 of them, at how heads work together, and at the famous kinds that *stories* does not have.
#
# ## What attention cannot do
#
# **It does not know order.** Shuffle the rows (without a mask), and the outputs are shuffled alike, nothing else. A score depends on two rows, never on where
# they stand.

# %%
order = np.array([2, 0, 1])
def all_see_all(rows):
    return ops.softmax((rows @ w_q) @ (rows @ w_k).T / math.sqrt(2)) @ (rows @ w_v)


assert np.allclose(all_see_all(x[order]), all_see_all(x)[order])
print("shuffled in, shuffled out:", np.allclose(all_see_all(x[order]), all_see_all(x)[order]))

# %% [markdown]
# In our example a column held the place; it is part of the row, so it travels along. The order comes in by the rows (notebook [02](02_embeddings.ipynb)), and
# by the mask. The mask alone: take *stories*' positions away and compare two texts of the same words. What does the full stop know of their order?

# %%
first, second = (gpt.tokenizer.encode(" " + some) for some in ("Tom bit the dog.", "the dog bit Tom."))
assert sorted(first) == sorted(second) and first[-1] == second[-1]
a, b = (gpt.params["wte"]["weight"][some] for some in (first, second))  # no wpe is added
for last in range(gpt.config.n_layer):
    ends = [lens.run_blocks(gpt, rows, 0, last)[-1] for rows in (a, b)]
    difference = np.linalg.norm(ends[0] - ends[1]) / np.linalg.norm(ends[0])
    print(f"behind block {last}: the two full stops differ by {difference:.2f} of their length")
    assert (difference < 1e-4) == (last == 0)

# %% [markdown]
# Behind the first block nothing: a bag of words. Behind the second they differ. Of two words the later one has seen the earlier, not the other way round, so
# after one block the *rows* carry traces of the order, and the next block can read them. One layer is blind to order, two are not.
#
# **It cannot leave the values' hull.** Shares are positive and sum to 1, so each of the 32 numbers lies between the smallest and the largest among the values.
# It cannot add two values up, or take one from another. It cannot count either: three equal keys share what one would have had. Unless something is there that
# does *not* count:

# %%
seen = lens.look(gpt, text)
for layer in seen.acts.blocks:
    mixes = ops.attention_mix(layer.attn.probs, layer.attn.v)[0]  # [n_head, n_seq, d_head]
    assert (mixes <= layer.attn.v[0].max(axis=1, keepdims=True) + 1e-4).all()
    assert (mixes >= layer.attn.v[0].min(axis=1, keepdims=True) - 1e-4).all()
for n in (1, 2, 3, 7):
    values = np.ones((n, 1))
    alone = ops.softmax(np.zeros(n)) @ values
    with_other = ops.softmax(np.zeros(n + 1)) @ np.vstack([[[0.0]], values])
    print(f"{n} equal tokens of value 1: {alone[0]:.2f}; beside one of value 0: {with_other[0]:.3f} = {n} / {n + 1}")
    assert math.isclose(with_other[0], n / (n + 1))

# %% [markdown]
# A token that is always there, such as the first one, turns an average into a count that a feed-forward network can read. And a head that has nothing to do
# must still spend its whole 1 somewhere: it needs a place to rest, with a value that does no harm.
#
# **It costs n².** Each of n_seq queries meets each of n_seq keys. For one block of GPT-2 124M (12 heads, 768 wide), in float32:

# %%
print("  n_seq   scores of a block        bytes   share of the block's multiplications that grow with n²")
for n_seq in (256, 1024, 4096, 16_384, 131_072):
    numbers = 12 * n_seq**2
    quadratic, linear = 2 * n_seq**2 * 768, 12 * n_seq * 768**2  # q k^T and the mix; the four linear layers
    print(f"{n_seq:7,}{numbers:20,}{4 * numbers / 2**20:10,.0f} MB{quadratic / (quadratic + linear):10.0%}")
matrices = [shape for name, shape in P.shapes(PRESETS["gpt2"]).items() if name.startswith("h.0.") and len(shape) == 2]
assert 12 * 768**2 == sum(map(math.prod, matrices))
n_seq = 6 * 768  # where both are alike
assert 2 * n_seq**2 * 768 == 12 * n_seq * 768**2

# %% [markdown]
# Quadratic, yes. But at GPT-2's 1,024 places the part that grows so is under a fifth of the work; it takes over at 6 times n_embd, 4,608 places. What hurts
# first is the memory of the scores, which fast implementations therefore never keep as a whole (`nanogpt_np/kernels/attention.py`).
#
# ## What people get wrong
#
# * *"Attention is softmax(QKᵀ / √d) / V."* With V it is multiplied, a weighted sum of rows. To divide by V is not even possible: the shapes refuse.

# %%
try:
    ops.softmax(masked) / v
except ValueError as error:
    print("ValueError:", error)

# %% [markdown]
# * *"All rows of QKᵀ / √d are alike."* Then every token would read the same. Each row is another token's question. Some rows of L3.H1, from the picture above:

# %%
for said in ("␣she", "␣doll", "␣Tom", "␣you"):
    row = grid.probs[3, 1, grid.tokens.index(said)]
    print(f"{said:6} gives {row.max():.2f} to {grid.tokens[row.argmax()]}")

# %% [markdown]
# * *"Q, K and V are three different inputs."* In GPT-2 they are three products of the same rows. (Another input comes in only where a decoder reads an encoder;
#   GPT-2 has none.) Three matrices are needed since asking, answering and handing over are different things: were `w_q` equal to `w_k`, the scores would be
#   symmetric. Nor has a single number in q or k a meaning: turn both by the same rotation, and no score changes.

# %%
attn, p = seen.acts.blocks[0].attn, gpt.params["h"][0]["attn"]["c_attn"]
three = np.split(attn.x[0] @ p["weight"] + p["bias"], 3, axis=-1)  # one input
for made, kept in zip(three, (attn.q, attn.k, attn.v), strict=True):
    assert np.allclose(made.reshape(-1, 8, 32).swapaxes(0, 1), kept[0], atol=1e-3)
turn, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((32, 32)))
assert np.allclose(turn @ turn.T, np.eye(32))
assert np.allclose((view.q @ turn) @ (view.k @ turn).T, view.scores, atol=1e-3)
symmetric = (x @ w_q) @ (x @ w_q).T
assert np.array_equal(symmetric, symmetric.T) and not np.array_equal(scores, scores.T)
print("one input, three matrices; and no score changes when queries and keys are turned together")

# %% [markdown]
# * *"The attention weights explain what the model relied on."* A weight says how much of a value is taken. It does not say how long the value is, nor whether
#   anybody uses what was written. Cut one edge, the largest weight of the last token in a head, and see how far the answer moves (the Kullback-Leibler
#   divergence, in thousandths of a nat).

# %%
def answer(changes=None):
    return log_softmax(lens.run(gpt, text, changes).logits[-1])


whole = answer()
print("head    looks at       weight   length written   median of all tokens   the answer moves by")
moved = {}
for layer, head in ((1, 1), (4, 1), (3, 4)):
    shares, values = (array[0, head] for array in (seen.acts.blocks[layer].attn.probs, seen.acts.blocks[layer].attn.v))
    band = np.reshape(gpt.params["h"][layer]["attn"]["c_proj"]["weight"], (8, 32, -1))[head]
    lengths, key = np.linalg.norm(values @ band, axis=1), int(shares[-1].argmax())

    def cut(probs, head=head, key=key):
        probs[head, -1, key] = 0
        return probs

    assert (layer, head) != (1, 1) or lengths.argmin() == key
    moved[layer, head] = 1000 * float((np.exp(whole) * (whole - answer({("probs", layer): cut}))).sum())
    numbers = f"{shares[-1, key]:8.2f}{lengths[key]:17.2f}{np.median(lengths):23.2f}{moved[layer, head]:22.2f}"
    print(f"L{layer}.H{head}   {seen.tokens[key]:13}{numbers}")
assert moved[3, 4] > 10 * moved[4, 1] and moved[4, 1] > 3 * moved[1, 1]

# %% [markdown]
# Three sharp heads. L3.H4 reaches back from `you` to `lost`, and the answer hangs on it. The quotation head, the sharpest and most legible of all, hardly
# matters here. L1.H1 rests on the full stop, whose value is the shortest of all: it looks like a head that has nothing to do. A map of attention is a question.
# The answer needs an intervention.
#
# ## Exercises
#
# **Easy.** Write `head(q, k, v)`: one causal head from queries, keys `[n_seq, d_head]` and values `[n_seq, d_value]` to what each token receives,
# `[n_seq, d_value]`. NumPy only. Mind large scores.

# %%
def head(q, k, v):
    ...


ch03.head(head);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def head(q, k, v):
#     scores = q @ k.T / np.sqrt(q.shape[-1])
#     scores = np.where(np.tri(len(q), dtype=bool), scores, -np.inf)
#     e = np.exp(scores - scores.max(axis=-1, keepdims=True))
#     return e / e.sum(axis=-1, keepdims=True) @ v
# ```
# </details>
#
# **Medium.** Build a head by hand. Write `look_back(n, distance)`: queries and keys, a pair of arrays `[n, d_head]` (any width you like), with which every
# token from place `distance` on gives more than 0.99 of its attention to the token exactly `distance` before it. Distance 0 is the token itself. The head
# itself (scale, mask, softmax) is the library's.

# %%
def look_back(n, distance):
    ...


ch03.look_back(look_back);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def look_back(n, distance):
#     places = np.eye(n)  # each place has an axis of its own
#     wanted = np.maximum(np.arange(n) - distance, 0)
#     return 100 * np.sqrt(n) * places[wanted], places  # sqrt(n) undoes the division, 100 makes it sharp
# ```
# </details>
#
# This needs as many axes as places. Can you do it with d_head = 2? (Think of the hands of a clock. Notebook [02](02_embeddings.ipynb) has the reason why it
# works.)
#
# **Hard, an investigation.** Which edges does an answer hang on? Write `edge_effects(gpt, text, layer, head)`: a float array `[n_seq]`. Its entry j says how
# far the model's answer behind the last token moves if in this head the attention from the last token to token j is set to 0, all else as it was: the
# divergence Σ p · (ln p − ln p′), in nats, where p are the probabilities of all tokens before the cut and p′ those after it. (`lens.run` takes changes; the
# site "probs" has the shape `[n_head, n_seq, n_seq]`.) Then investigate. Rank the edges of a head by weight, by weight times the length that is written, and by
# effect: which of the first two foretells the third better, over all heads? Where do they disagree most, and what stands there? Do the effects of a head's
# edges add up to the effect of silencing the head (`lens.ablate`)? And if the edges to the quotation mark are cut in all heads at once, does the model forget
# to close the quotation?

# %%
def edge_effects(gpt, text, layer, head):
    ...


ch03.edge_effects(edge_effects);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def edge_effects(gpt, text, layer, head):
#     def log_probs(changes):
#         logits = lens.run(gpt, text, changes).logits[-1].astype(float)
#         logits -= logits.max()
#         return logits - np.log(np.exp(logits).sum())
#
#     def without(probs, key):
#         probs[head, -1, key] = 0
#         return probs
#
#     whole = log_probs(None)
#     cuts = [{("probs", layer): lambda probs, key=key: without(probs, key)} for key in range(len(lens.look(gpt, text).ids))]
#     return np.array([float((np.exp(whole) * (whole - log_probs(cut))).sum()) for cut in cuts])
# ```
# </details>
#
# ## Where it stands in the code
#
# | here | there |
# |---|---|
# | scores, scaled, masked, softmax | `nanogpt_np/ops.py`: `attention_probs`, `softmax_scores`, `causal_mask`, `softmax` |
# | the mix | `ops.py`: `attention_mix` |
# | two heads, `c_attn`, `c_proj` | `nanogpt_np/model.py`: `attention`; `ops.split_heads`, `ops.merge_heads` |
# | what flows back through a softmax | `ops.py`: `softmax_backward`, `attention_probs_backward` |
# | the same in blocks, never all scores at once | `nanogpt_np/kernels/attention.py` |
# | the pictures | `nanogpt_np/lens/attention.py`, `lens/head_pictures.py` |
# | cutting an edge, silencing a part | `nanogpt_np/lens/interventions.py` |
# | why keys and values need not be made again | `nanogpt_np/kv_cache.py` |
