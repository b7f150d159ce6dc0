# %% [markdown]
# # 11 · How few bits does a weight need?
#
# **You will be able to** round a model's weights to 8, 4 or 3 bits, say beforehand how large the error will be, find out what it costs in loss and where
# it comes from, and make it several times smaller without spending a bit more.
#
# **You need** 00 (the map). 09 explains why a model that writes token by token is as fast as its bytes can be read; that is the reason why anyone wants
# fewer.
#
# A weight of GPT-2 is a float32: 32 bits, of which 23 are for digits behind the point. *stories* has millions of them, and reads every one for every
# token. How many of these bits does it use? Guess a number now, and write it down.

# %%
import contextlib
import inspect
import io
import math
import os
import time
import types

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy: one core, so that times here mean something

import numpy as np
from checks import ch11

from nanogpt_np import GPT, lens, ops, quantized
from nanogpt_np import params as P
from nanogpt_np.lens import style
from nanogpt_np.quantized import rounding as int8_rounding

gpt = GPT.from_pretrained("stories", ops="numpy")
print(f"{P.count(gpt.params):,} numbers, {sum(array.nbytes for _, array in P.walk(gpt.params)):,} bytes as float32")

# %% [markdown]
# ## Six numbers by hand
#
# Whole numbers need few bits. So choose a *step*, divide by it, round. With 4 bits there are 16 whole numbers; one is left unused so that they lie evenly
# around 0: -7 to 7. The step is chosen so that the largest weight becomes 7.

# %%
def quantize(x, bits, axis=None):  # -> whole numbers, the step (one for all, or one for each slice along `axis`)
    most = 2 ** (bits - 1) - 1
    step = np.abs(x).max(axis=axis, keepdims=True) / most
    step = np.where(step > 0, step, 1)  # where all are 0, any step will do
    return np.clip(np.round(x / step), -most, most), step


six = np.array([0.70, -0.33, 0.08, 0.02, -0.52, 0.44])
whole, step = quantize(six, bits=4)
print("step   ", step)
print("weights", six)
print("whole  ", whole.astype(int))
print("back   ", whole * step)
print("error  ", np.round(whole * step - six, 2))
assert np.abs(whole * step - six).max() <= step[0] / 2

# %% [markdown]
# No error is larger than half a step: rounding cannot be further off. If all errors between $-\frac{1}{2}$ and $\frac{1}{2}$ step are equally likely,
# their mean square is $\text{step}^2 / 12$, so the error to expect is $\text{step} / \sqrt{12}$. Is that so on real weights? `c_fc` of block 3, 262,144
# of them:

# %%
weight = gpt.params["h"][3]["mlp"]["c_fc"]["weight"]  # [n_embd, n_hidden]
print("bits   step     error to expect   error    of the weights' size")
for bits in (8, 6, 4, 3, 2):
    whole, step = quantize(weight, bits)
    error = math.sqrt(np.square(whole * step - weight, dtype=np.float64).mean())
    expected = step.item() / math.sqrt(12)
    print(f"{bits}     {step.item():.4f}   {expected:.4f}            {error:.4f}   {error / weight.std():5.1%}")
    assert bits < 3 or abs(error / expected - 1) < 0.06

# %% [markdown]
# The rule holds to a few per cent down to 3 bits; with 2 there is hardly anything left but zeros, whose error is the weight itself. One bit less doubles
# the step, and the error: the price of a bit is always the same factor of two.
#
# ### Two ends or one
#
# Weights lie evenly around 0. Other numbers do not: what GELU lets through is almost never below 0, so half of the whole numbers would lie idle. Then one
# spaces the levels from the smallest to the largest (*asymmetric*) and remembers where 0 is.

# %%
def quantize_asymmetric(x, bits):  # -> whole numbers from 0 to 2**bits - 1, the step, the smallest
    low, high = x.min(), x.max()
    step = (high - low) / (2**bits - 1)
    return np.round((x - low) / step), step, low


text = "Once upon a time there was a girl named Mia who had a green kite."
hidden = lens.look(gpt, text).acts.blocks[3].ffn.hidden[0]  # [n_seq, n_hidden], behind GELU
errors = {}
for name, x in (("c_fc's weights", weight), ("behind GELU", hidden)):
    for bits in (8, 4):
        whole, step = quantize(x, bits)
        even = math.sqrt(np.square(whole * step - x).mean())
        whole, step, low = quantize_asymmetric(x, bits)
        uneven = math.sqrt(np.square(whole * step + low - x).mean())
        errors[name, bits] = even, uneven
        print(f"{name:15} from {x.min():5.2f} to {x.max():5.2f}, {bits} bits: ", end="")
        print(f"error symmetric {even:.4f}, asymmetric {uneven:.4f}")
assert errors["behind GELU", 8][1] < 0.6 * errors["behind GELU", 8][0]

# %% [markdown]
# Behind GELU it halves the error at 8 bits, as if there were one bit more. (At 4 bits the gain is gone: the steps are so coarse that nearly everything is
# 0 either way.) For weights there is nothing in it, and a product of two symmetric numbers is a plain product of whole numbers, without a correction. So
# weights are rounded symmetrically, here and in the library.
#
# ## How many weights share a step
#
# The step is set by the *largest*. Plant one large value among our six:

# %%
seventh = np.append(six, 7.0)
whole, step = quantize(seventh, 4)
print("whole  ", whole.astype(int))
print("back   ", whole * step)
assert (whole[:-1] != 0).sum() <= 2

# %% [markdown]
# One weight kept its digits, six lost theirs. The remedy: fewer neighbours to suffer. A step for each *output* of a matrix (the weights that make one
# number: a column of `c_fc`, a row of `wte`), or for each *group* of 32 of them. A step must be stored too. As float16 it costs 16 bits, which are half a
# bit for each of 32 weights. So bits shall be counted with their steps:

# %%
ENDINGS = ("c_attn.weight", "c_proj.weight", "c_fc.weight", "wte.weight")
MATRICES = {name: array for name, array in P.walk(gpt.params) if name.endswith(ENDINGS)}


def by_output(name, matrix):  # -> [n_out, n_in]; only wte lies like that already. Undoes itself
    return matrix if name == "wte.weight" else matrix.T


def rounded(name, matrix, bits, how):  # "tensor", "output" or the size of a group -> as it is after rounding
    outputs = by_output(name, matrix)
    shape = {"tensor": (1, -1), "output": outputs.shape}.get(how) or (-1, how)
    whole, step = quantize(outputs.reshape(shape), bits, axis=1)
    back = (whole * step).astype(np.float32).reshape(outputs.shape)
    return np.ascontiguousarray(by_output(name, back))


def bits_with_steps(n_out, n_in, bits, how):
    n_steps = {"tensor": 1, "output": n_out}.get(how) or n_out * n_in // how
    return bits + 16 * n_steps / (n_out * n_in)


HOW = ("tensor", "output", 32)
LOOKS = {"tensor": ("#6f6f6f", ":", "one step per tensor"), "output": ("#b2182b", "--", "a step per output"),
         32: ("#08306b", "-", "a step per 32")}  # fmt: skip
print("error in % of the weights' size, and the bits that a weight takes with its share of the steps")
for name in ("h.3.mlp.c_fc.weight", "wte.weight"):
    matrix, shape = MATRICES[name], by_output(name, MATRICES[name]).shape
    for bits in (8, 4):
        cells = []
        for how in HOW:
            error = np.linalg.norm(rounded(name, matrix, bits, how) - matrix) / np.linalg.norm(matrix)
            cells.append(f"{how}: {error:5.1%} at {bits_with_steps(*shape, bits, how):.2f} bits")
        print(f"{name:19} {bits} bits   " + "   ".join(cells))

# %% [markdown]
# In `c_fc` the finer steps gain a little. In `wte` they gain a lot: something is different there. `lens.weights_view` counts, for every parameter, the
# share of its numbers that lie further than six standard deviations from their mean.

# %%
view = lens.weights_view(gpt)
kept = [row for row, name in enumerate(view.names) if name in MATRICES]
numbers = [view.outliers[row] * MATRICES[view.names[row]].size for row in kept]
print("matrix                  spread  largest  beyond 6 spreads")
for place in np.argsort(-np.round(numbers), kind="stable")[:5]:
    row = kept[place]
    print(f"{view.names[row]:22}  {view.std[row]:.3f}   {view.largest[row]:5.2f}   {numbers[place]:5.0f}")
print(f"of a million numbers spread by pure chance: {1e6 * math.erfc(6 / math.sqrt(2)):.3f}")
assert view.names[kept[int(np.argmax(numbers))]] == "wte.weight"

# %% [markdown]
# ## An outlier is somebody
#
# Who are these numbers in `wte`?

# %%
wte = gpt.params["wte"]["weight"]  # [n_vocab, n_embd]
large = np.argwhere(np.abs(wte - wte.mean()) > 6 * wte.std())
channels, counts = np.unique(large[:, 1], return_counts=True)
channel = int(channels[counts.argmax()])
print(f"of {len(large)} outliers {counts.max()} stand in column {channel} of {wte.shape[1]}")
whose = np.flatnonzero(wte[:, channel] > 0.95 * np.abs(wte).max())
print(f"{len(whose)} of them lie within 5 % of the largest, {np.abs(wte).max():.2f}; some of these tokens:")
print([gpt.tokenizer.decode([int(i)]) for i in whose[::20]])
assert len(large) == counts.max() and (wte[large[:, 0], channel] > 0).all()

# %% [markdown]
# Control characters, bytes that make no letter (shown as `�`), pieces of words that no text needs on their own, because a longer token took their place.
# What else do their rows have in common?

# %%
crowd = wte[whose]
furthest = np.abs(crowd - crowd.mean(axis=0)).max()
logits = gpt(gpt.tokenizer.encode(text))[0]  # [n_seq, n_vocab]
print(f"no number in these {len(whose)} rows is further than {furthest:.2f} from their mean row")
print(f"the numbers of a column are spread by {wte.std(axis=0).mean():.2f} over all rows")
others = np.delete(logits, whose, axis=1)
print(f"mean logit over a text: theirs {logits[:, whose].mean():.1f}, those of all others {others.mean():.1f}")
assert furthest < 0.04

# %% [markdown]
# They are all the same row, and its logit is low everywhere. That is what training does to a token that never comes: it is only ever a wrong answer, so
# each step pushes it down a little, in the same way as all others that never come. The common push has become the largest number in the matrix. And with
# one step per tensor, tokens that nobody writes decide how finely all others are written. Below are the levels that they leave to the rest, and those up
# to 0.20 (the best of five such limits that were tried):

# %%
figure = style.figure(7.8, 4.2, "What 4 bits with one step can say of wte", "model stories",
                      f"bars: how many of its {wte.size:,} weights; lines: the 15 levels")  # fmt: skip
panels = figure.subplots(2, 1, sharex=True)
edges = np.linspace(-0.75, 0.75, 151)
others, theirs = (np.histogram(part, edges)[0] for part in (np.delete(wte, whose, axis=0), crowd))
for axes, top in zip(panels, (np.abs(wte).max(), 0.2), strict=True):
    axes.stairs(others, edges, fill=True, color=style.PROBABILITY[2], label="all other rows")
    axes.stairs(theirs, edges, fill=True, color=style.SIGNED[-1], label=f"the {len(whose)} rows", alpha=0.9)
    for level in range(-7, 8):
        axes.axvline(level * top / 7, color=style.INK, linewidth=0.7)
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    axes.set_ylabel("weights", fontsize=8)
    axes.set_title(f"largest level at {top:.2f}", fontsize=9, color=style.INK, loc="left")
    style.without_frame(axes, "top", "right")
panels[0].legend(fontsize=8, loc="upper left", framealpha=1, edgecolor="none")
figure

# %% [markdown]
# In the upper half nearly everything falls between three lines. The lower half cuts the crowd short: its 0.73 becomes 0.2, an error larger than all
# others, and on numbers which nobody asks for. Which is better for the model?
#
# ## What it costs
#
# That needs a text. *stories* writes it itself: four stories, drawn at temperature 1. This is a fair judge for a special reason. Where each token is
# drawn from the float model's own probabilities $p$, a model with other probabilities $q$ loses, on average over the draws,
#
# $$\sum_v p_v \,(\ln p_v - \ln q_v)$$
#
# nats more per token: the KL divergence, which is 0 only where both agree, and never less. That average needs no dice, as both models give all their
# probabilities; so it is computed here for every place of the text, and called the *cost*. A second, short text was written by hand for this page, so
# that not everything is judged by the model's own taste.

# %%
N_NEW = 150
start = gpt.tokenizer.encode("Once upon a time")


def own_stories(n, seed):  # -> ids [n, n_seq]
    drawn = gpt.generate(start, N_NEW, temperature=1.0, seed=seed, num_return_sequences=n, ignore_eos=True)
    return np.array([start + new for new in drawn])


BY_HAND = (
    "Once upon a time there was an old clock in a small kitchen. It said tick, tock, all day long. One night it was "
    "very cold, and the clock stopped. In the morning nobody woke up. The boy came too late to school, and the cat "
    'got no milk. "What is wrong with you?" asked the boy. "I was cold," said the clock. So the boy made a little '
    "coat of red wool and put it on the clock. Tick, tock, it said, and the cat got her milk."
)
drawn = own_stories(4, seed=7)
by_hand = np.array([gpt.tokenizer.encode(BY_HAND)])
assert not np.isin(drawn, whose).any() and not np.isin(by_hand, whose).any()
print(gpt.tokenizer.decode(drawn[0, :60].tolist()), "…")


def log_probs(model, ids):  # -> [n_batch, n_seq, n_vocab]
    logits = model(ids)
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def loss(log_p, ids):  # nats per token, of what is said in the text
    return -float(np.take_along_axis(log_p[:, :-1], ids[:, 1:, None], axis=-1).mean(dtype=np.float64))


exact = log_probs(gpt, drawn)


def cost(model, ids=drawn, exact=exact):  # nats per token more than the float model, over all tokens that might come
    return float((np.exp(exact) * (exact - log_probs(model, ids))).sum(axis=-1).mean(dtype=np.float64))


def with_matrices(changed):  # name, matrix -> matrix: the model with all its matrices changed
    named = dict(P.walk(gpt.params)) | {name: changed(name, matrix) for name, matrix in MATRICES.items()}
    return GPT(gpt.config, P.nest(named), gpt.tokenizer, ops)


def all_rounded(bits, how):  # to nearest
    return with_matrices(lambda name, matrix: rounded(name, matrix, bits, how))


print("nats per token        its own stories   by hand     cost")
for bits in (32, 8, 4):
    model = gpt if bits == 32 else all_rounded(bits, "output")
    own, other = (loss(log_probs(model, ids), ids) for ids in (drawn, by_hand))
    print(f"{bits:2} bits, by output   {own:15.3f}   {other:7.3f}   {cost(model):.4f}")

# %% [markdown]
# None of the crowd occurs in them. Now `wte` alone, at 4 bits with one step, in three ways: the crowd decides; the crowd is cut short; and the same
# rounding in `wte`'s two roles, as it is read twice: at the entrance a row for each token, at the end every row for every logit.

# %%
def cut(matrix, bits, top):  # one step, the largest level at `top`
    step = top / (2 ** (bits - 1) - 1)
    return (np.clip(np.round(matrix / step), 1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1) * step).astype(np.float32)


def with_ends(entrance, end):
    named = dict(P.walk(gpt.params)) | {"wte.weight": entrance, "lm_head.weight": end}
    return GPT(gpt.config.replace(tie_word_embeddings=False), P.nest(named), gpt.tokenizer, ops)


coarse = rounded("wte.weight", wte, 4, "tensor")
costs = {
    "levels up to 0.73": cost(with_ends(coarse, coarse)),
    "levels up to 0.20": cost(with_ends(cut(wte, 4, 0.2), cut(wte, 4, 0.2))),
    "up to 0.73, at the entrance only": cost(with_ends(coarse, wte)),
    "up to 0.73, at the end only": cost(with_ends(wte, coarse)),
}
for name, more in costs.items():
    print(f"{name:33} {more:.3f} nats")
assert costs["levels up to 0.73"] > 8 * costs["levels up to 0.20"]

# %% [markdown]
# The first rounding is right about the largest numbers, and the model is spoilt. The second is wrong about them by more than half, and the loss hardly
# moves. *The error of a number counts as much as somebody uses it.* Keep this in mind; the last third of this page is built on it.
#
# Now the whole model, every matrix, all widths and all three ways to share a step:

# %%
WIDTHS = (8, 6, 5, 4, 3, 2)
curve = {(how, bits): cost(all_rounded(bits, how)) for how in HOW for bits in WIDTHS}
print("cost, nats per token  " + "".join(f"{bits:>6} bits" for bits in WIDTHS))
for how in HOW:
    print(f"{LOOKS[how][2]:22}" + "".join(f"{curve[how, bits]:11.4f}" for bits in WIDTHS))

# %%
n_weights = sum(matrix.size for matrix in MATRICES.values())


def bits_per_weight(bits, how):  # over all matrices, the steps included
    shapes = [by_output(name, matrix).shape for name, matrix in MATRICES.items()]
    return sum(n_out * n_in * bits_with_steps(n_out, n_in, bits, how) for n_out, n_in in shapes) / n_weights


figure = style.figure(7.8, 4.6, "How few bits does a weight need?", "model stories, all matrices rounded to nearest",
                      f"cost over {drawn.size} tokens of its own stories",
                      "a step counts 16 bits; beside each point its bits without")  # fmt: skip
axes = figure.subplots()
for how in HOW:
    colour, dashes, label = LOOKS[how]
    more = [curve[how, bits] for bits in WIDTHS]
    real = [bits_per_weight(bits, how) for bits in WIDTHS]
    beside = (-3, -13) if how == "output" else (4, 5)
    axes.plot(real, more, dashes, color=colour, marker="o", markersize=5, linewidth=2, label=label)
    for bits, x, y in zip(WIDTHS, real, more, strict=True):
        axes.annotate(bits, (x, y), beside, textcoords="offset points", fontsize=8, color=colour)
axes.set_yscale("log")
axes.axhline(0.01, color=style.PALE, linewidth=0.7)
axes.text(8.6, 0.0112, "0.01 nats: 1 % more perplexity", fontsize=8, color=style.INK, ha="right")
axes.set_xlabel("bits per weight, the steps included", fontsize=9)
axes.set_ylabel("nats per token more than float32", fontsize=9)
axes.legend(frameon=False, fontsize=9, loc="upper right")
style.without_frame(axes, "top", "right")
assert curve["output", 8] < 0.001 and curve["tensor", 4] > 5 * curve["output", 4]
figure

# %% [markdown]
# This is the picture to keep. From right to left:
#
# * At 8 bits with a step per output the cost is a ten-thousandth of a nat. Nothing that one could read, or measure on a text of this length, is lost.
# * Each bit less costs about four times as much: the error doubles, and the loss grows with its square, as it does around any minimum.
# * Below 4 bits this ends. The errors are no longer small, and the loss falls off a cliff.
# * Compare at equal *height*, not at equal numbers: a step per 32 weights at 4 bits takes 4.5 bits. It lies on nearly the same curve as a step per
#   output. What the finer steps gain, they cost.
#
# Your guess from the beginning: this model uses 5 or 6 of its 32 bits.
#
# ## Which part minds most
#
# Round only one kind of matrix at a time, by output.

# %%
KINDS = {"wte": "wte.weight", "c_attn (q, k, v)": "attn.c_attn.weight", "attn.c_proj": "attn.c_proj.weight",
         "c_fc": "mlp.c_fc.weight", "mlp.c_proj": "mlp.c_proj.weight"}  # fmt: skip


def only(ending, bits):  # the model with this kind of matrix rounded, and nothing else
    def changed(name, matrix):
        return rounded(name, matrix, bits, "output") if name.endswith(ending) else matrix

    return with_matrices(changed)


print("only this at 4 bits   weights     cost     per million weights")
alone = {}
for kind, ending in KINDS.items():
    n = sum(matrix.size for name, matrix in MATRICES.items() if name.endswith(ending))
    alone[kind] = cost(only(ending, 4))
    print(f"{kind:18} {n:10,}   {alone[kind]:.4f}   {alone[kind] / n * 1e6:.4f}")
print(f"all of them, one by one: {sum(alone.values()):.4f}; all at once: {curve['output', 4]:.4f}")
assert 2 * alone["wte"] > sum(alone.values()) and abs(sum(alone.values()) / curve["output", 4] - 1) < 0.2

# %% [markdown]
# `wte` is less than a fifth of the weights, and costs more than all the rest together. It is used at both ends, and at the end a rounding error goes
# straight into the logits, with no layer norm and no further block to absorb it. Formats in use keep it at more bits for this reason. And the costs of
# the parts add up to that of the whole, nearly: small errors hardly know of one another. The hard exercise makes use of that.
#
# ## Whole numbers multiply exactly
#
# So far numbers were rounded and then used as floats. The gain in speed comes from multiplying the whole numbers themselves, and for that the
# *activations* must become whole numbers too, as they come. Whole numbers have a virtue that floats have not: their sum does not depend on the order.

# %%
rng = np.random.default_rng(11)
a, b = rng.integers(-127, 128, (2, 1024)).astype(np.int8)
floats = rng.standard_normal((2, 1024)).astype(np.float32)
products, float_products = a.astype(np.int32) * b, floats[0] * floats[1]
orders = [rng.permutation(1024) for _ in range(50)]
whole_sums = {int(np.add.accumulate(products[order])[-1]) for order in orders}
float_sums = {float(np.add.accumulate(float_products[order])[-1]) for order in orders}
print(f"50 orders: {len(whole_sums)} sum of int8 products; float32 more than 5 different ones: {len(float_sums) > 5}")
assert len(whole_sums) == 1 and len(float_sums) > 5
assert 127 * 127 * 4096 < 2**31  # an int32 has room for the largest sum of any model here

# %% [markdown]
# CPUs with an instruction for it (VNNI) multiply four pairs of bytes and add the four products into an int32, but one of the two must be *unsigned*. There
# the library stores $w + 128$, and takes off again what that adds: $\sum x\,(w + 128) = \sum x\,w + 128 \sum x$.

# %%
stored = (b.astype(np.int16) + 128).astype(np.uint8)
with_offset = int((a.astype(np.int32) * stored).sum())
assert with_offset - 128 * int(a.sum(dtype=np.int32)) == int(products.sum())
print(with_offset, "-", 128 * int(a.sum(dtype=np.int32)), "=", int(products.sum()))

# %% [markdown]
# Older CPUs (AVX2) have `maddubs`: two products of an unsigned and a signed byte, added in an **int16** that *saturates*: what is larger than 32,767
# becomes 32,767, silently. Written in NumPy:

# %%
def maddubs(unsigned, signed):  # [n], [n] -> int16 [n / 2], as the instruction does it
    pairs = (unsigned.astype(np.int32) * signed).reshape(-1, 2).sum(axis=1)
    return np.clip(pairs, -32768, 32767).astype(np.int16)


pairs = (stored.astype(np.int32) * a).reshape(-1, 2).sum(axis=1)
spoilt = int((pairs != maddubs(stored, a)).sum())
saturated = int(maddubs(stored, a).sum(dtype=np.int32)) - 128 * int(a.sum(dtype=np.int32))
print(f"w + 128: {spoilt} of {len(pairs)} pairs are spoilt, the sum is {saturated} in place of {int(products.sum())}")
size, signed = np.abs(b).astype(np.uint8), (a * np.sign(b)).astype(np.int8)  # |w|, and its sign given to x
by_sign = int(maddubs(size, signed).sum(dtype=np.int32))
print(f"|w|:     a pair is at most 2 * 127 * 127 = {2 * 127 * 127:,}, the sum is {by_sign}")
assert spoilt > 5 and by_sign == int(products.sum())

# %% [markdown]
# A bug of this kind shows in no test with small numbers and on no machine with VNNI. (The extreme -128 is never used, as at the top of this page: its
# negative, 128, is no int8, and x could not be given the other sign.) The library takes a third way with AVX2: it widens both to int16 as they are
# loaded, multiplies in pairs and adds into an int32, which nothing can overflow.
#
# ### Activations have outliers, too
#
# Activations are not known beforehand; each row is measured as it comes. Once more the question is how many share a step. Below, the weights stay exact,
# and what enters every matrix product is rounded. A module with other functions can be given as `ops`, so it is three lines:

# %%
def rounded_rows(x, bits, how):  # "tensor", "row" or the size of a group
    shape = {"tensor": (1, -1), "row": (-1, x.shape[-1])}.get(how) or (-1, how)
    whole, step = quantize(x.reshape(shape), bits, axis=1)
    return (whole * step).astype(np.float32).reshape(x.shape)


def ops_with(bits, how):
    twin = types.ModuleType("rounding")
    twin.__dict__.update({name: value for name, value in vars(ops).items() if not name.startswith("__")})
    twin.linear = lambda x, weight, bias: ops.linear(rounded_rows(x, bits, how), weight, bias)
    twin.unembed = lambda x, weight: ops.unembed(rounded_rows(x, bits, how), weight)
    return twin


by_activations = {}
SHARED = {"tensor": "one step for all tokens of all texts", "row": "a step per token", 64: "a step per 64 of a token"}
print("cost of rounded activations, exact weights    8 bits   4 bits")
for how, label in SHARED.items():
    for bits in (8, 4):
        by_activations[how, bits] = cost(GPT(gpt.config, gpt.params, gpt.tokenizer, ops_with(bits, how)))
    print(f"{label:42}" + "".join(f"{by_activations[how, bits]:9.4f}" for bits in (8, 4)))
assert by_activations[64, 4] < by_activations["row", 4] / 3

# %% [markdown]
# One step for the whole batch would also mean that a text's result depends on its neighbours in the batch. The library takes a step per 64 of a row: an
# outlier spoils its 63 neighbours and nobody else (Dettmers et al. 2022 found in larger models a few channels so large that whole rows are lost without
# such care).
#
# ## What the library does
#
# Here is its quantizer, for one row of activations or the weights of one output. It is compiled; weights are then packed, 64 outputs side by side, with
# 128 added where the CPU has VNNI.

# %%
print(inspect.getsource(int8_rounding.round_to_int8.py_func))

# %% [markdown]
# But for halves, which it rounds up and NumPy to the even neighbour, its numbers are those of this page. Assert it, for all matrices:

# %%
with contextlib.redirect_stderr(io.StringIO()):  # it says so where compiling takes long
    theirs = {name: quantized.Int8Matrix(matrix, name == "wte.weight") for name, matrix in MATRICES.items()}
n_ties = 0
for name, matrix in MATRICES.items():
    outputs = by_output(name, matrix)
    step = np.abs(outputs).max(axis=1, keepdims=True) / 127
    assert np.allclose(theirs[name].factors, step[:, 0], rtol=1e-6)
    mine, them = (by_output(name, m) / step for m in (rounded(name, matrix, 8, "output"), theirs[name].dequantized()))
    other = np.abs(mine - them) > 0.01
    n_ties += int(other.sum())
    assert (np.abs(np.abs(outputs / step % 1) - 0.5)[other] < 1e-4).all()  # exactly between two: either is as near
assert n_ties < 1e-3 * n_weights
n_bytes = sum(one.nbytes for one in theirs.values())
print(f"{len(theirs)} matrices equal, but for {n_ties / n_weights:.2%} of their numbers, all of them halves")
print(f"{n_bytes:,} bytes in place of {4 * n_weights:,}: {4 * n_weights / n_bytes:.2f} times fewer")

# %% [markdown]
# And a product, with the activations of a real text, as whole numbers from end to end: int8 times int8, summed in int32 within each group of 64, then
# scaled. Mine in NumPy, theirs compiled.

# %%
def int8_linear(x, whole, step, bias):  # float [n, n_in], ints [n_in, n_out], [n_out] -> [n, n_out]
    out = np.zeros((len(x), whole.shape[1]), np.float32)
    for first in range(0, x.shape[1], 64):
        small, scale = quantize(x[:, first : first + 64], 8, axis=1)
        out += scale * (small.astype(np.int32) @ whole[first : first + 64].astype(np.int32))
    return out * step + bias


acts = lens.look(gpt, text).acts.blocks[3].ffn
bias = gpt.params["h"][3]["mlp"]["c_fc"]["bias"]
matrix = theirs["h.3.mlp.c_fc.weight"]
whole = np.round(matrix.dequantized() / matrix.factors)  # its numbers, so that those between two are the same
mine = int8_linear(acts.x[0], whole, matrix.factors, bias)
with contextlib.redirect_stderr(io.StringIO()):
    theirs_out = matrix.multiply(acts.x[0], bias)
exact_out = acts.pre_gelu[0]
print(f"rounding moves the output by {np.linalg.norm(mine - exact_out) / np.linalg.norm(exact_out):.2%} of its length")
is_close = np.abs(mine - theirs_out).max() < 0.01 * np.abs(mine - exact_out).max()
print(f"mine and theirs differ by less than a hundredth of that: {is_close}")
assert is_close

# %% [markdown]
# ### Where it enters the stream
#
# Weights and activations both at 8 bits as in the library, over a short text: how far has the residual stream moved behind each half-block?

# %%
as_theirs = GPT(gpt.config, all_rounded(8, "output").params, gpt.tokenizer, ops_with(8, 64))
view = lens.rounding_view(gpt, as_theirs, text)
print(f"cost, weights and activations at 8 bits: {cost(as_theirs):.4f} nats per token")
figure = lens.draw_rounding(view, "stories, the int8 of the library written in NumPy")
figure

# %% [markdown]
# Each grey line is a token, the blue one their mean. The embedding is rounded once and is off by half a per cent; the first block adds as much again; and
# then the curve is flat. Every half-block goes on adding errors of its own. But the stream grows by what is added, and errors that know nothing of one
# another add up only as the root of the sum of their squares. So what a layer norm reads is right to about one part in a hundred, wherever it stands.
# This is why eight bits are enough.
#
# ## Do the texts change?
#
# Greedy decoding is a hard test: one token that comes out differently, and everything after it is another text. How many of 60 tokens are the same before
# the first that is not?

# %%
PROMPTS = ("Tom had a red ball.", "The cat sat by the door and", "One day, a little bird", "Lily and her mom went to")


def greedy(model):
    return model.generate([gpt.tokenizer.encode(prompt) for prompt in PROMPTS], 60, temperature=0, ignore_eos=True)


def same_until(ours, others):
    return next((n for n, (a, b) in enumerate(zip(ours, others, strict=True)) if a != b), len(ours))


by_float = greedy(gpt)
for bits in (8, 5, 3):
    texts = greedy(all_rounded(bits, "output"))
    print(f"{bits} bits: ", *(f"{same_until(*pair):3}" for pair in zip(by_float, texts, strict=True)), " of 60")

# %% [markdown]
# At 8 bits they are the same to the end. At 5 bits, for six thousandths of a nat, other stories come: somewhere two tokens were nearly equally likely,
# and a small push decided. *Another text is no sign of a worse one*; only the loss tells.
#
# ## The same bits, better chosen
#
# Rounding to nearest minimises the error of the *weights*. Nobody sees the weights. What is seen is the output $xW$, and an error in $W$ counts by the
# inputs it meets. Take an error of one and the same size in `c_fc` of block 3, in three directions:

# %%
calibration = own_stories(8, seed=8)  # another text than the one that judges
acts = gpt(calibration, keep_acts=True)[1]
x = acts.blocks[3].ffn.x.reshape(-1, gpt.config.n_embd).astype(np.float64)
_, directions = np.linalg.eigh(x.T @ x)  # from those that inputs hardly have to the one that they have most
size = np.linalg.norm(rounded("c_fc.weight", weight, 4, "output") - weight)
rng, in_direction = np.random.default_rng(5), {}
ALONG = {"which inputs have least": directions[:, 0], "at random": None, "which inputs have most": directions[:, -1]}
for label, direction in ALONG.items():
    error = rng.standard_normal(weight.shape)
    if direction is not None:
        error = np.outer(direction, error[0])
    error *= size / np.linalg.norm(error)
    changed = (weight + error).astype(np.float32)
    model = with_matrices(lambda name, m, changed=changed: changed if name == "h.3.mlp.c_fc.weight" else m)
    in_direction[label] = cost(model)
    length = np.linalg.norm(changed - weight)
    print(f"an error of length {length:.2f}, in the direction {label:24} cost {in_direction[label]:.5f}")

least, _, most = in_direction.values()
print(f"a factor of more than 300: {most > 300 * abs(least)}")
assert most > 300 * abs(least)

# %% [markdown]
# Hundreds of times more or less, for errors that are equal to every digit when one looks at weights alone. So choose the rounding by what it does to the
# output. By hand: two weights of 0.4, a step of 1, and inputs that always come as twins, $x_1 = x_2 = 1$. The output is 0.8. To nearest, both become 0:
# the output is off by 0.8. But round the first to 0, and *let the second make good what the first did wrong*: it should then be 0.8, and becomes 1. Off
# by 0.2, though the second weight was rounded "wrongly".
#
# That is the idea of GPTQ (Frantar et al. 2022; the algebra is Hassibi & Stork's of 1993): round one input's weights after the other, and after each let
# all that are still free make good the error, as far as the inputs allow. Which correction is best follows from $H = X^\top X$, how the inputs of some
# calibration text go together. Two rungs lie before it: choose the step that leaves the smallest error, instead of the one that just holds the largest
# weight; first for the weights' error, then for the output's, which is $e^\top H e$ for each output.

# %%
inputs = {}
for layer, block in enumerate(acts.blocks):
    inputs |= {f"h.{layer}.attn.c_attn.weight": block.attn.x, f"h.{layer}.attn.c_proj.weight": block.attn.merged,
               f"h.{layer}.mlp.c_fc.weight": block.ffn.x, f"h.{layer}.mlp.c_proj.weight": block.ffn.hidden}  # fmt: skip
rows = {name: x.reshape(-1, x.shape[-1]) for name, x in inputs.items()}
together = {name: x.T @ x for name, x in rows.items()}  # H, [n_in, n_in] each


def to_levels(outputs, step, bits):
    most = 2 ** (bits - 1) - 1
    return np.clip(np.round(outputs / step), -most, most) * step


def best_steps(outputs, bits, h):  # [n_out, n_in], H -> [n_out, 1]
    """Of six shares of the largest weight, the one that leaves the smallest e H e."""
    largest, found = np.abs(outputs).max(axis=1, keepdims=True), []
    for share in np.linspace(0.5, 1.0, 6, dtype=np.float32):
        step = share * largest / (2 ** (bits - 1) - 1)
        error = to_levels(outputs, step, bits) - outputs
        found.append((((error @ h) * error).sum(axis=1), step))
    errors, steps = (np.stack(part) for part in zip(*found, strict=True))  # -> [6, n_out], [6, n_out, 1]
    return np.take_along_axis(steps, errors.argmin(axis=0)[None, :, None], axis=0)[0]


def pull_of(h):  # H -> [n_in, n_in], above the diagonal: row k says what an error in weight k asks of those behind it
    damped = h.astype(np.float64) + 0.1 * np.diag(h).mean() * np.eye(len(h))  # the text is short: trust it not too far
    return np.linalg.cholesky(np.linalg.inv(damped)).T.astype(np.float32)


def gptq(outputs, bits, h, pull, at_once=64):  # [n_out, n_in] -> the same, rounded
    step, free, done = best_steps(outputs, bits, h)[:, 0], outputs.copy(), np.empty_like(outputs)
    for first in range(0, len(h), at_once):  # those far behind hear of the errors in bundles: the same sums, sooner
        end = min(first + at_once, len(h))
        errors = np.empty((len(outputs), end - first), np.float32)
        for k in range(first, end):
            done[:, k] = to_levels(free[:, k], step, bits)
            errors[:, k - first] = (free[:, k] - done[:, k]) / pull[k, k]
            free[:, k + 1 : end] -= np.outer(errors[:, k - first], pull[k, k + 1 : end])
        free[:, end:] -= errors @ pull[first:end, end:]
    return done


twins = np.ones((1, 2), np.float32)  # inputs that always come together
h = twins.T @ twins
to_nearest, made_good = to_levels(np.array([0.4, 0.4]), 1, 3), to_levels(np.array([0.4, 0.4 + 0.4]), 1, 3)
print("by hand, to nearest:", to_nearest, " GPTQ:", made_good)
pull = pull_of(h)
print(f"what an error of 1 in the first asks of the second: {-pull[0, 1] / pull[0, 0]:.2f} (1 without the damping)")

# %% [markdown]
# All four ways, with exactly the same number of bits: the blocks at 3 and at 2 bits with a step per output, `wte` at 8. The damping and the number of
# calibration stories were chosen with an eye on the cost over the text used so far. So that text may not judge here; four new stories do.

# %%
def nearest(outputs, bits, h, pull):
    return to_levels(outputs, np.abs(outputs).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1), bits)


def step_by_weights(outputs, bits, h, pull):
    return to_levels(outputs, best_steps(outputs, bits, np.eye(len(h), dtype=np.float32)), bits)


def step_by_output(outputs, bits, h, pull):
    return to_levels(outputs, best_steps(outputs, bits, h), bits)


def blocks_with(way, bits):
    def changed(name, m):
        if name == "wte.weight":
            return rounded(name, m, 8, "output")
        return np.ascontiguousarray(way(np.ascontiguousarray(m.T), bits, together[name], pulls[name]).T)

    return with_matrices(changed)


pulls = {name: pull_of(h) for name, h in together.items()}
WAYS = {"to nearest, largest weight fits": nearest, "the step that suits the weights": step_by_weights,
        "the step that suits the output": step_by_output, "GPTQ: the others make good": gptq}  # fmt: skip
fresh = own_stories(4, seed=21)
judge = fresh, log_probs(gpt, fresh)
better = {}
print("cost, nats per token               3 bits   2 bits")
for label, way in WAYS.items():
    better[label] = [cost(blocks_with(way, bits), *judge) for bits in ((3, 2) if way in (nearest, gptq) else (3,))]
    print(f"{label:32}" + "".join(f" {more:8.4f}" for more in better[label]))
first, *_, last = better.values()
assert first[0] > 3 * last[0] and first[1] > 10 * last[1]

# %% [markdown]
# Not one bit more, and less than a third of the cost at 3 bits, less than a tenth at 2. Each rung asks a better question: how far is a weight off; how
# far is the output off; and what can the other weights do about it.
#
# ## What it buys
#
# Where there are instructions for small numbers, a token is written as fast as the weights can be read (notebook 09): the bytes are the speed. So far
# fewer of them are read by each token of *stories*:

# %%
for bits, how in ((8, "output"), (4, 32), (3, "output")):
    real = bits_per_weight(bits, how)
    print(f"{bits} bits, {LOOKS[how][2]:17}  {real:.2f} bits per weight, ", end="")
    print(f"{n_weights * real / 8e6:4.1f} MB in place of {n_weights * 4 / 1e6:.1f}: {32 / real:4.1f} times fewer")

# %% [markdown]
# ## What people get wrong
#
# * *"A quarter of the bits, so four times worse; and 256 values, so 256 different logits."* Whole numbers are multiplied and summed, then scaled: a logit
#   is a sum of hundreds of them, and each token's row has its own step.

# %%
logits = as_theirs(drawn[:1, :50])[0, -1]
print(f"{len(logits):,} logits of one place, more than 4,000 different ones: {len(np.unique(logits)) > 4000}")
print(f"a quarter of the bytes, and {cost(as_theirs) / loss(exact, drawn):.2%} more loss")
assert len(np.unique(logits)) > 4000 and cost(as_theirs) < 0.001

# %% [markdown]
# * *"Rounding always makes it faster."* Fewer bytes help only where something multiplies them as they are. NumPy has no fast product for whole numbers:
#   the same matrices, as float32 and as whole numbers in an int32.

# %%
def milliseconds(product, *given):
    times = []
    for _ in range(3):
        began = time.perf_counter()
        product(*given)
        times.append(time.perf_counter() - began)
    return 1e3 * min(times)


small, _ = quantize(acts.blocks[3].ffn.x.reshape(-1, 256)[:128], 8, axis=1)
pair = small, np.round(matrix.dequantized() / matrix.factors)
took = {kind: milliseconds(np.matmul, *(part.astype(kind) for part in pair)) for kind in ("float32", "int32")}
times = took["int32"] / took["float32"]
print(f"measured: float32 {took['float32']:.2f} ms, int32 {took['int32']:.2f} ms, {times:.0f} times as long")

# %% [markdown]
# * *"The mean error is what counts."* Of the four roundings to 3 bits, take the one that was chosen for the smallest error of the weights, and GPTQ.

# %%
name = "h.3.mlp.c_fc.weight"
for label in ("the step that suits the weights", "GPTQ: the others make good"):
    outputs = WAYS[label](np.ascontiguousarray(weight.T), 3, together[name], pulls[name])
    off = np.linalg.norm(outputs - weight.T) / np.linalg.norm(weight)
    print(f"{label:32} c_fc of block 3 is off by {off:.1%}, the model costs {better[label][0]:.4f}")

# %% [markdown]
# * *"8 bits per weight are 8 bits of information."* Most whole numbers are small, few are large. How many bits would a perfect archiver need for them?

# %%
for bits in (8, 4, 3):
    whole = [quantize(by_output(name, matrix), bits, axis=1)[0].ravel() for name, matrix in MATRICES.items()]
    share = np.unique(np.concatenate(whole), return_counts=True)[1] / n_weights
    print(f"stored in {bits} bits: {-(share * np.log2(share)).sum():.2f} bits of information")

# %% [markdown]
# ## Exercises
#
# **Easy.** Nothing in NumPy has 4 bits, so two numbers share a byte. Write `pack_nibbles(whole)`: from whole numbers between -8 and 7, int8 `[n]` with n
# even, to uint8 `[n / 2]`. To each number 8 is added; the first of two goes to the lower four bits, the second to the upper.

# %%
def pack_nibbles(whole):
    ...


ch11.pack_nibbles(pack_nibbles);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def pack_nibbles(whole):
#     shifted = (np.asarray(whole) + 8).astype(np.uint8)
#     return shifted[::2] | (shifted[1::2] << 4)
# ```
# </details>
#
# **Medium.** The whole numbers are chosen; which step suits them best? Write `best_step(w, whole, x)`: the number s for which the outputs `x @ (s *
# whole)` are as near as possible to `x @ w`, in the sum of squares. `w` and `whole` are `[n]`, `x` is `[n_rows, n]`. (There the derivative after s is 0.)

# %%
def best_step(w, whole, x):
    ...


ch11.best_step(best_step);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def best_step(w, whole, x):
#     wanted, got = x @ w, x @ whole
#     return float(got @ wanted / (got @ got))
# ```
# </details>
#
# **Hard, an investigation.** Spend bits where they buy most. Write `allocate(n_weights, costs, budget)`: `n_weights` is a dict kind -> how many weights,
# `costs` a dict (kind, bits) -> cost, `budget` how many bits a weight may take on average over all weights. Return a dict kind -> bits whose costs have
# the smallest sum, among all that keep the budget. Each kind has its choices in `costs`, and there are few enough to try everything.
#
# Then investigate with the real model. Measure `costs` for the five `KINDS` at 2 to 6 bits, as in *Which part minds most*; allocate at 3.5 bits; build
# the model and take its cost. Where did the bits go? How much better is it, if at all, than the line between 3 and 4 bits for all alike in the large
# picture? Why can a kind that minds five times as much as another not be worth many bits more? Is the sum of the parts still the cost of the whole at 2
# bits, and why not? With 25 matrices instead of 5 kinds not everything can be tried any more: what then?

# %%
def allocate(n_weights, costs, budget):
    ...


ch11.allocate(allocate);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def allocate(n_weights, costs, budget):
#     import itertools
#     kinds = list(n_weights)
#     choices = [[bits for kind, bits in costs if kind == wanted] for wanted in kinds]
#     most = budget * sum(n_weights.values()) + 1e-6
#     fitting = [found for found in itertools.product(*choices)
#                if sum(n_weights[kind] * bits for kind, bits in zip(kinds, found)) <= most]
#     best = min(fitting, key=lambda found: sum(costs[pair] for pair in zip(kinds, found)))
#     return dict(zip(kinds, best))
# ```
# </details>
#
# ## Where it stands in the code
#
# | here | there |
# |---|---|
# | `quantize`, by output | `nanogpt_np/quantized/rounding.py`: `round_to_int8`; `quantized/packing.py`: `pack_int8` |
# | a matrix with its steps | `nanogpt_np/quantized/matrices.py`: `Int8Matrix` (its `factors`) |
# | a step per 64 of a row | `quantized/vectors.py`: `GROUP`; `quantized/rounding.py`: `quantize_group` |
# | $w + 128$, or int16, by CPU | `quantized/vectors.py`: `RECIPES`; `quantized/rounding.py`: `starts` |
# | keys and values as int8 | `nanogpt_np/quantized/cache.py`: `Int8Cache` |
# | all of a token in one call | `nanogpt_np/quantized/decode.py` |
# | outliers, errors in the stream | `nanogpt_np/lens/weights.py`: `weights_view`, `rounding_view` |
# | what is allowed to differ, and why | `docs/numerics.md`, the part on int8 |
