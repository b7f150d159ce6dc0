# %% [markdown]
# # 11 · How few bits does a weight need?
#
# **You will be able to** round a model's weights to 8, 4 or 3 bits, say beforehand how large the error will be, find out what it costs in loss and where it comes from, and make it several times smaller without spending a bit more.
#
# **You need** 00 (the map). 09 explains why a model that writes token by token is as fast as its bytes can be read; that is the reason why anyone wants fewer.
#
# A weight of GPT-2 is a float32: 32 bits, of which 23 are for digits behind the point. *stories* has 5.9 million of them, and reads every one for every token. How many of these bits does it use? Guess a number now, and write it down.

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

from nanogpt_np import GPT, lens, ops
from nanogpt_np import params as P
from nanogpt_np.lens import style

gpt = GPT.from_pretrained("stories", ops="numpy")
print(f"{P.count(gpt.params):,} numbers, {sum(array.nbytes for _, array in P.walk(gpt.params)):,} bytes as float32")

# %% [markdown]
# ## Six numbers by hand
#
# Whole numbers need few bits. So choose a *step*, divide by it, round. With 4 bits there are 16 whole numbers; one is left unused so that they lie evenly around 0: -7 to 7. The step is chosen so that the largest weight becomes 7.

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
# No error is larger than half a step: rounding cannot be further off. If all errors between $-\frac{1}{2}$ and $\frac{1}{2}$ step are equally likely, their mean square is $\text{step}^2 / 12$, so the error to expect is
# $\text{step} / \sqrt{12}$. Is that so on real weights? `c_fc` of block 3, 262,144 of them:

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
# The rule holds to a few per cent down to 3 bits; with 2 there is hardly anything left but zeros, whose error is the weight itself. One bit less doubles the step, and the error: the price of a bit is always the same factor of two.
#
# ### Two ends or one
#
# Weights lie evenly around 0. Other numbers do not: what GELU lets through is almost never below 0, so half of the whole numbers would lie idle. Then one spaces the levels from the smallest to the largest (*asymmetric*) and
# remembers where 0 is.

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
        print(f"{name:15} from {x.min():5.2f} to {x.max():5.2f}, {bits} bits: error symmetric {even:.4f}, asymmetric {uneven:.4f}")
assert errors["behind GELU", 8][1] < 0.6 * errors["behind GELU", 8][0]

# %% [markdown]
# Behind GELU it halves the error at 8 bits, as if there were one bit more. (At 4 bits the gain is gone: the steps are so coarse that nearly everything is 0 either way.) For weights there is nothing in it, and a product of two symmetric numbers is a plain product of whole numbers, without a correction. So weights are rounded symmetrically, here and in the library.
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
# One weight kept its digits, six lost theirs. The remedy: fewer neighbours to suffer. A step for each *output* of a matrix (the weights that make one number: a column of `c_fc`, a row of `wte`), or for each *group* of 32
# of them. A step must be stored too. As float16 it costs 16 bits, which are half a bit for each of 32 weights. So bits shall be counted with their steps:

# %%
MATRICES = ("c_attn.weight", "c_proj.weight", "c_fc.weight", "wte.weight")


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
LOOKS = {"tensor": ("#6f6f6f", ":", "one step per tensor"), "output": ("#b2182b", "--", "a step per output"), 32: ("#08306b", "-", "a step per 32")}
print("error in % of the weights' size, and the bits that a weight takes with its share of the steps")
for name, matrix in (("c_fc of block 3", weight), ("wte", gpt.params["wte"]["weight"])):
    kind = "wte.weight" if name == "wte" else "c_fc.weight"
    for bits in (8, 4):
        cells = []
        for how in HOW:
            error = np.linalg.norm(rounded(kind, matrix, bits, how) - matrix) / np.linalg.norm(matrix)
            cells.append(f"{how}: {error:5.1%} at {bits_with_steps(*by_output(kind, matrix).shape, bits, how):.2f} bits")
        print(f"{name:15} {bits} bits   " + "   ".join(cells))

# %% [markdown]
# In `c_fc` the finer steps gain a little. In `wte` they gain a lot: something is different there. `lens.weights_view` counts, for every parameter, the share of its numbers that lie further than six standard deviations from their mean.

# %%
view = lens.weights_view(gpt)
kept = [row for row, name in enumerate(view.names) if name.endswith(MATRICES)]
numbers = [view.outliers[row] * dict(P.walk(gpt.params))[view.names[row]].size for row in kept]
print("matrix                  spread  largest  beyond 6 spreads")
for place in np.argsort(numbers)[:-6:-1]:
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
large = np.argwhere(np.abs(wte) > 6 * wte.std())
channels, counts = np.unique(large[:, 1], return_counts=True)
channel = int(channels[counts.argmax()])
print(f"of {len(large)} outliers {counts.max()} stand in column {channel} of {wte.shape[1]}")
whose = np.flatnonzero(wte[:, channel] > 0.95 * np.abs(wte).max())
print(f"{len(whose)} of them lie within 5 % of the largest, {np.abs(wte).max():.2f}; some of these tokens:")
print([gpt.tokenizer.decode([int(i)]) for i in whose[::20]])
assert len(large) == counts.max() and (wte[large[:, 0], channel] > 0).all()

# %% [markdown]
# Control characters, bytes that make no letter (shown as `�`), pieces of words that no text needs on their own, because a longer token took their place. What else do their rows have in common?

# %%
crowd = wte[whose]
furthest = np.abs(crowd - crowd.mean(axis=0)).max()
print(f"no number in these {len(whose)} rows is further than {furthest:.2f} from their mean row; other rows are spread by {wte.std(axis=0).mean():.2f} in each column")
assert furthest < 0.04

# %% [markdown]
# They are all the same row. A token that never comes is only ever a wrong answer: every step of the training pushed its logit down a little, the same way for all of them, for 10,000 steps. The common push has become the largest number in the matrix.
# And with one step per tensor, tokens that nobody writes decide how finely all others are written. Below are the levels that they leave to the rest, and those that one would choose without them:

# %%
figure = style.figure(7.8, 4.2, "What 4 bits with one step can say of wte", "model stories; bars: how many of its 1,048,576 weights; lines: the 15 levels")
panels = figure.subplots(2, 1, sharex=True)
bins = np.linspace(-0.75, 0.75, 151)
for axes, top in zip(panels, (np.abs(wte).max(), 0.2), strict=True):
    rest = np.delete(np.arange(len(wte)), whose)
    axes.hist(wte[rest].ravel(), bins, color=style.PROBABILITY[2], label="all other rows")
    axes.hist(crowd.ravel(), bins, color=style.SIGNED[-1], label=f"the {len(whose)} rows", alpha=0.9)
    for level in range(-7, 8):
        axes.axvline(level * top / 7, color=style.INK, linewidth=0.7)
    axes.set_yscale("log")
    axes.set_ylabel("weights", fontsize=8)
    axes.set_title(f"largest level at {top:.2f}", fontsize=9, color=style.INK, loc="left")
    style.without_frame(axes, "top", "right")
panels[0].legend(fontsize=8, loc="upper left", framealpha=1, edgecolor="none")
figure

# %% [markdown]
# In the upper half nearly everything falls between three lines. The lower half cuts the crowd short: its 0.73 becomes 0.2, an error larger than all others, and on numbers which nobody asks for. Which is better for the model?
#
# ## What it costs
#
# That needs a text. *stories* writes it itself: four stories, drawn at temperature 1. This is a fair judge for a special reason. Where each token is drawn from the float model's own probabilities $p$, a model with other probabilities $q$ loses, on average over the draws,
#
# $$\sum_v p_v \,(\ln p_v - \ln q_v)$$
#
# nats more per token: the KL divergence, which is 0 only where both agree, and never less. That average needs no dice, as both models give all their probabilities; so it is computed here for every place of the text, and called the *cost*.
# A second, short text was written by hand for this page, so that not everything is judged by the model's own taste.

# %%
N_NEW = 200
start = gpt.tokenizer.encode("Once upon a time")


def own_stories(seed):  # -> ids [4, n_seq]
    drawn = gpt.generate(start, N_NEW, temperature=1.0, seed=seed, num_return_sequences=4, ignore_eos=True)
    return np.array([start + new for new in drawn])


BY_HAND = """Once upon a time there was an old clock in a small kitchen. It said tick, tock, all day long. One night it was very cold, and the clock \
stopped. In the morning nobody woke up. The boy came too late to school, and the cat got no milk. "What is wrong with you?" asked the boy. "I was cold," \
said the clock. So the boy made a little coat of red wool and put it on the clock. Tick, tock, it said, and the cat got her milk."""
drawn = own_stories(seed=7)
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
exact_probs = np.exp(exact)


def cost(model):  # nats per token more than the float model, averaged over all tokens that might come
    return float((exact_probs * (exact - log_probs(model, drawn))).sum(axis=-1).mean(dtype=np.float64))


def with_matrices(changed):  # name, matrix -> matrix: the model with all its matrices changed
    named = {name: changed(name, array) if name.endswith(MATRICES) else array for name, array in P.walk(gpt.params)}
    return GPT(gpt.config, P.nest(named), gpt.tokenizer, ops)


print("nats per token        its own stories   by hand     cost")
for bits in (32, 8, 4):
    model = gpt if bits == 32 else with_matrices(lambda name, m, bits=bits: rounded(name, m, bits, "output"))
    own, other = (loss(log_probs(model, ids), ids) for ids in (drawn, by_hand))
    print(f"{bits:2} bits, by output   {own:15.3f}   {other:7.3f}   {cost(model):.4f}")

# %% [markdown]
# None of the crowd occurs in them. Now `wte` alone, at 4 bits with one step, in three ways: the crowd decides; the crowd is cut short; and the same rounding in `wte`'s two roles, as it is read twice: at the entrance a row for each token, at
# the end every row for every logit.

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
# A rounding whose largest error is half a nat's worth of everything, and the loss hardly moves; a rounding that is right about the largest numbers, and the model is spoilt. *The error of a number counts as much as somebody uses it.* Keep this in mind; it is what the last third of this page
# is built on.
#
# Now the whole model, every matrix, all widths and all three ways to share a step:

# %%
WIDTHS = (8, 6, 5, 4, 3, 2)
curve = {(how, bits): cost(with_matrices(lambda name, m, bits=bits, how=how: rounded(name, m, bits, how))) for how in HOW for bits in WIDTHS}
print("cost, nats per token  " + "".join(f"{bits:>6} bits" for bits in WIDTHS))
for how in HOW:
    print(f"{LOOKS[how][2]:22}" + "".join(f"{curve[how, bits]:11.4f}" for bits in WIDTHS))

# %%
sizes = [by_output(name, m).shape for name, m in P.walk(gpt.params) if name.endswith(MATRICES)]
n_weights = sum(n_out * n_in for n_out, n_in in sizes)
figure = style.figure(7.8, 4.6, "How few bits does a weight need?", "model stories, all matrices rounded to nearest", f"cost over {drawn.size} tokens of its own stories",
                      "a step counts 16 bits; beside each point its bits without")  # fmt: skip
axes = figure.subplots()
for how in HOW:
    colour, dashes, label = LOOKS[how]
    more = [curve[how, bits] for bits in WIDTHS]
    real = [sum(n_out * n_in * bits_with_steps(n_out, n_in, bits, how) for n_out, n_in in sizes) / n_weights for bits in WIDTHS]
    axes.plot(real, more, dashes, color=colour, marker="o", markersize=5, linewidth=2, label=label)
    for bits, x, y in zip(WIDTHS, real, more, strict=True):
        axes.annotate(bits, (x, y), xytext=(-3, -13) if how == "output" else (4, 5), textcoords="offset points", fontsize=8, color=colour)
axes.set_yscale("log")
axes.axhline(0.01, color=style.PALE, linewidth=0.7)
axes.text(8.6, 0.0112, "0.01 nats: 1 % more perplexity", fontsize=8, color=style.INK, ha="right")
axes.set_xlabel("bits per weight, the steps included", fontsize=9)
axes.set_ylabel("nats per token more than float32", fontsize=9)
axes.legend(frameon=False, fontsize=9, loc="upper right")
style.without_frame(axes, "top", "right")
assert curve["output", 8] < 0.001 and curve["tensor", 4] > 5 * curve["output", 4]
figure
