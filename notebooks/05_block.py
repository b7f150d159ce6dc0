# %% [markdown]
# # 05 · What does a block do to the stream?
#
# **You will be able to** compute a layer norm by hand and say what it makes invisible, read one neuron of a feed-forward network in words, write the residual
# stream as an exact sum of 13 parts, say why the norm stands *before* each half-block, and predict what breaks when a part is removed.
#
# **You need** notebook 00, which builds the whole model, and what attention does (03). A *half-block* is `x = x + something(norm(x))`; the something is
# attention or the feed-forward network (FFN); two halves make a block.

# %%
import inspect
import math
from pathlib import Path

import numpy as np
from checks import ch05

from nanogpt_np import GPT, GPTConfig, lens, model, ops
from nanogpt_np import params as P
from nanogpt_np.lens import style
from nanogpt_np.training import backward, optim

gpt = GPT.from_pretrained("stories", ops="numpy")
c = gpt.config
print(f"{c.n_layer} blocks, a stream {c.n_embd} wide, {c.n_hidden} neurons in each FFN")

# %% [markdown]
# All measurements below are on this story. It was written for these notebooks, so the model has never seen it. `loss_of` is the mean cost of its tokens in nats
# (minus the logarithm of the probability which the right token got): the smaller, the better the text was foreseen.

# %%
STORY = Path("texts/pip.txt").read_text(encoding="utf-8")
print(STORY)
ids = np.array(gpt.tokenizer.encode(STORY))


def loss_of(logits):  # [n_seq, n_vocab] -> nats per token
    probs = ops.softmax(logits[:-1].astype(np.float64))
    return -np.log(probs[np.arange(len(ids) - 1), ids[1:]]).mean()


seen = lens.look(gpt, STORY)
whole = loss_of(seen.logits)
print(f"{len(ids)} tokens, loss {whole:.2f} nats; who knows nothing has log({c.n_vocab}) = {math.log(c.n_vocab):.2f}")

# %% [markdown]
# ## Layer norm: four numbers, by hand
#
# Every half-block begins by making its input comparable: whatever the size of the numbers that arrive, the weights behind see numbers of one size. Take the row
# 2, 4, 4, 10. Its mean is
# 5. What is left is -3, -1, -1, 5. The squares are 9, 1, 1, 25; their mean, the *variance*, is 9; its root, the *standard deviation*, is 3. Divide.

# %%
row = np.array([2.0, 4.0, 4.0, 10.0])
centred = row - row.mean()
variance = np.square(centred).mean()
normed = centred / np.sqrt(variance + 1e-5)
print("mean", row.mean(), " centred", centred, " variance", variance, " normed", normed.round(3))
assert np.isclose(normed.mean(), 0) and np.isclose(normed.var(), 1, atol=1e-5)

# %% [markdown]
# Then each column gets a *scale* and a *shift* of its own, both learned. They belong to the column, not to the token: every token is stretched alike.

# %%
weight, bias = np.array([1.0, 1.0, 2.0, 0.5]), np.array([0.0, 0.0, 0.0, 1.0])
assert np.allclose(normed * weight + bias, ops.layer_norm(row, weight, bias))
print((normed * weight + bias).round(3))
print(inspect.getsource(ops.layer_norm))

# %% [markdown]
# `eps` keeps the root away from zero: a row of equal numbers gives zeros and not 0 / 0. Where it stands, and how the variance is averaged, are the two places
# where rewrites of GPT-2 go wrong. Below: what each variant divides by. *fresh* is a token of an untrained GPT-2, where wte and wpe are drawn with deviation
# 0.02 each; there even the eps is seen.

# %%
rng = np.random.default_rng(0)
fresh = rng.normal(0, 0.02, 768) + rng.normal(0, 0.02, 768)
print(f"{'':21}   2 4 4 10      fresh  in block 3")
for name, scale in (
    ("sqrt(var + eps)", lambda x: np.sqrt(x.var() + 1e-5)),
    ("sqrt(var) + eps", lambda x: np.sqrt(x.var()) + 1e-5),
    ("mean with n - 1", lambda x: np.sqrt(x.var(ddof=1) + 1e-5)),
):
    values = [scale(x) for x in (row, fresh, seen.acts.blocks[3].x[0, 5].astype(np.float64))]
    print(f"{name:21} {values[0]:10.4f} {values[1]:10.5f} {values[2]:11.4f}")
assert np.array_equal(ops.layer_norm(np.full(4, 7.0), weight, bias), bias)  # only the shift is left

# %% [markdown]
# ## What it makes invisible
#
# Before you run it, guess: the row is tripled and 7 added everywhere. What comes out? And if every sign is flipped?

# %%
def plain(x):  # [..., n] -> the same: layer norm without scale and shift
    return ops.layer_norm(x, np.ones(x.shape[-1]), np.zeros(x.shape[-1]))


assert np.allclose(plain(3 * row + 7), plain(row), atol=1e-5)
assert np.allclose(plain(-row), -plain(row))
print("3 x + 7:", plain(3 * row + 7).round(3), "  -x:", plain(-row).round(3))

# %% [markdown]
# Adding a constant and scaling change nothing; only the *direction* of what is left survives. Two numbers are gone, the mean and the length, so a row of $n$
# numbers comes out with $n - 2$ degrees of freedom. It is geometry. Subtracting the mean drops a point onto the plane through 0 that is perpendicular to (1, 1,
# 1). Dividing by the deviation moves it along its ray until its length is $\sqrt n$, because the mean square is now 1. In three dimensions a whole cloud of
# points lands on one circle:

# %%
cloud = np.random.default_rng(4).normal(0.6, 1.0, (90, 3))
on_plane = cloud - cloud.mean(axis=1, keepdims=True)
on_circle = plain(cloud)
assert np.allclose(on_circle.sum(axis=1), 0) and np.allclose(np.linalg.norm(on_circle, axis=1), math.sqrt(3), atol=0.02)

first, second = np.array([1, -1, 0]) / math.sqrt(2), np.array([1, 1, -2]) / math.sqrt(6)  # span the plane
upright = np.ones(3) / math.sqrt(3)
where = "90 random points [3]; no model; left seen from the side, right along (1, 1, 1)"
figure = style.figure(6.8, 3.3, "Layer norm in three dimensions: every point lands on one circle", where)
for axes, up, label in zip(figure.subplots(1, 2), (upright, second), ("edge on", "face on"), strict=True):
    for way, colour in ((np.stack([cloud, on_plane]), style.RESIDUAL), (np.stack([on_plane, on_circle]), style.INK)):
        axes.plot(way @ first, way @ up, color=colour, lw=0.8)
    axes.scatter(cloud @ first, cloud @ up, s=11, color=style.PALE, label="x")
    axes.scatter(on_circle @ first, on_circle @ up, s=15, color=style.INK, label="layer norm of x", zorder=3)
    axes.set_title(f"the plane, {label}", fontsize=9)
    axes.set_aspect("equal")
    axes.tick_params(labelsize=8)
    style.without_frame(axes, "top", "right")
axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
figure

# %% [markdown]
# Left, grey lines: the mean is taken away, all points fall onto the plane (seen as a line). Right, dark lines: from there each point slides along its ray to
# the circle. In the real model the circle is a sphere of radius $\sqrt{256} = 16$ in a space of 255 dimensions, and every token in front of every half-block
# sits on it. The scale and the shift then make an ellipsoid of the sphere, the same for all tokens.

# %%
names, stream = lens.stream(seen.acts)  # [13, n_seq, n_embd]: behind the embedding, and behind each half-block
before, behind = (np.linalg.norm(x, axis=-1) for x in (stream, plain(stream.astype(np.float64))))
print(f"lengths in the stream: {before.min():.1f} to {before.max():.1f}")
print(f"lengths behind a norm: {behind.min():.1f} to {behind.max():.1f}")
assert np.allclose(behind, 16, atol=0.1)

# %% [markdown]
# So no half-block knows how long the stream is. It sees a direction. Keep this in mind: it decides below how loud a half-block must speak to be heard.
#
# ## GELU: a soft gate
#
# Between its two linear layers the FFN bends each number by itself. ReLU would be a hard gate: $x$ times 1 if $x > 0$, times 0 otherwise. GELU's gate is a
# probability: $x \cdot \Phi(x)$, where $\Phi(x)$ is the share of a standard normal distribution that lies below $x$. GPT-2 was trained with a formula that
# imitates $\Phi$ by a tanh. How good is the imitation?

# %%
x = np.array([-3.0, -1.0, -0.1, 0.0, 0.1, 1.0, 3.0])
exact = np.array([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])
formula = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
assert np.allclose(exact, ops.gelu(x)) and np.allclose(formula, ops.gelu_new(x))
for label, values in (("x", x), ("ReLU", ops.relu(x)), ("GELU, exact", exact), ("GELU, GPT-2's", formula)):
    print(f"{label:14}" + "".join(f"{v:9.4f}" for v in values))
dense = np.linspace(-6, 6, 12001)
apart = np.abs(ops.gelu(dense) - ops.gelu_new(dense))
print(f"\nfurthest apart: {apart.max():.6f}, where |x| is {abs(dense[apart.argmax()]):.1f}")
print(f"the lowest point is {ops.gelu(dense).min():.2f}, at x = {dense[ops.gelu(dense).argmin()]:.2f}")
assert apart.max() < 0.0005

# %% [markdown]
# Which of the three a model needs is decided by what it was trained with. Swap the function under the trained weights:

# %%
for name in ("gelu_new", "gelu", "relu"):
    other = GPT(c.replace(activation=name), gpt.params, gpt.tokenizer, gpt.ops)
    print(f"{name:9} loss {loss_of(other(ids)[0]):.3f}")

# %% [markdown]
# The exact GELU makes no difference that matters. ReLU costs a lot, although it differs by at most 0.17. Where in the curve does this model live? Here is the
# curve, its slope, and behind them how often the neurons of each kind of block stand at each input:

# %%
pre = [block.ffn.pre_gelu[0] for block in seen.acts.blocks]
where = "grey: share of the neurons' inputs (pre_gelu) per step of 0.25, blocks 1 to 5; outlined: block 0"
figure = style.figure(6.8, 3, "Where on the curve do the neurons stand?", "stories, the story above", where)
axes = figure.subplots()
share = axes.twinx()
for array, how in ((np.stack(pre[1:]), {"color": style.RESIDUAL}), (pre[0], {"fill": False, "edgecolor": style.PALE})):
    counts, edges = np.histogram(np.clip(array, -6, 4), np.arange(-6, 4.25, 0.25))
    share.bar(edges[:-1] + 0.125, counts / array.size, width=0.25, **how)
share.set(ylim=(0, 0.3), ylabel="share of neurons")
axes.set(zorder=3, ylim=(-0.5, 3), xlim=(-6, 4), xlabel="the neuron's input", ylabel="its output, or the slope")
axes.patch.set_visible(False)
axes.plot(dense, ops.relu(dense), "--", color=style.PALE, label="ReLU")
axes.plot(dense, ops.gelu_new(dense), color=style.FFN, lw=2, label="GELU")
axes.plot(dense, ops.gelu_new_backward(np.ones_like(dense), dense), color=style.INK, lw=1, label="GELU's slope")
axes.axhline(0, color=style.INK, lw=0.6)
axes.legend(frameon=False, fontsize=9, loc="upper left")
for one in (axes, share):
    one.tick_params(labelsize=8)
    style.without_frame(one, "top")
figure

# %% [markdown]
# Most neurons stand left of 0, in the dip or beyond it. With ReLU their slope would be 0: a neuron that is off for every token would learn nothing and stay off
# for good. GELU's slope is 0 at only one place and small but alive to its left. That is what smoothness buys in training.
#
# But the loss says more: the small negative outputs *matter* here, since ReLU deletes them and costs almost half a nat. Do they carry information about the
# token? Test it: delete them, and put their **average over other texts** in their place, one constant number per neuron, the same for every token.

# %%
beginnings = ["Once upon a time", "Tom was sad.", "Max had a red ball.", "Sue saw a bird in a tree.",
              "The king was old.", "The frog jumped.", "Ben and Max ran to the beach."]  # fmt: skip
others = [a + b for a, b in zip(beginnings, gpt.generate(beginnings, 110, temperature=0), strict=True)]
runs = [lens.run(gpt, text) for text in others]
hidden = [np.concatenate([run.sites["hidden", layer] for run in runs]) for layer in range(c.n_layer)]
dips = [np.minimum(rows, 0).mean(axis=0) for rows in hidden]  # [n_hidden] for each layer


def only_positive(constants):
    """Each neuron's output where it is positive, plus a constant."""
    changes = {("hidden", layer): lambda h, d=constants[layer]: np.maximum(h, 0) + d for layer in range(c.n_layer)}
    return loss_of(lens.run(gpt, STORY, changes).logits)


removed, replaced = only_positive(np.zeros_like(dips)), only_positive(dips)
print(f"as it is                               {whole:.2f}")
print(f"negative outputs deleted               {removed:.2f}")
print(f"negative outputs replaced by constants {replaced:.2f}")
assert removed - whole > 0.3 and abs(replaced - whole) < 0.06

# %% [markdown]
# All of the damage is repaired by constants. So the left half of GELU says *next to nothing about the token*: hundreds of neurons that are off add up to one
# fixed vector, which works like a bias. The rest of the model has been trained to expect it. What a token tells an FFN is told by the few neurons that are on.
#
# **A trap.** `np.sqrt(2 / np.pi)` is a NumPy float64 number. Since NumPy 2 it turns a whole float32 array into float64, silently: twice the memory, and results
# that no longer equal the reference. A Python float from `math.sqrt` does not. That is why `ops.py` contains no NumPy scalars.

# %%
small = np.ones(3, np.float32)
numpy_2 = int(np.__version__.split(".")[0]) >= 2
assert (np.sqrt(2 / np.pi) * small).dtype == (np.float64 if numpy_2 else np.float32)
print("with math.sqrt:", (math.sqrt(2 / math.pi) * small).dtype, " gelu_new gives back:", ops.gelu_new(small).dtype)

# %% [markdown]
# ## The FFN is a table of memories
#
# Two matrix products with a bend between: what does that *do*? Write it as a sum over neurons. Neuron $j$ has a **key**, column $j$ of `c_fc`, and a **value**,
# row $j$ of `c_proj`:
#
# $$\mathrm{ffn}(x) = b + \sum_j \mathrm{gelu}(x \cdot k_j + b_j)\; v_j$$
#
# The key says how well the stream matches a pattern. If it matches, the value is added to the stream: look-up in a soft dictionary of 1,024 entries (Geva et
# al. 2021). It is exactly the same numbers:

# %%
acts, mlp = seen.acts.blocks[4].ffn, gpt.params["h"][4]["mlp"]
token = acts.x[0, 30].astype(np.float64)  # one token, after ln_2
total = mlp["c_proj"]["bias"].astype(np.float64)
for key, key_bias, value in zip(mlp["c_fc"]["weight"].T, mlp["c_fc"]["bias"], mlp["c_proj"]["weight"], strict=True):
    total = total + ops.gelu_new(token @ key + key_bias) * value
assert np.allclose(total, seen.acts.blocks[4].ffn_out[0, 30], atol=1e-4)
print("a sum of", len(mlp["c_proj"]["weight"]), "memories is the FFN's output")

# %% [markdown]
# Let us read one: neuron 986 of block 4. **Its key**: over which tokens is it excited? `lens.neuron_texts` searches texts; here is what it finds in the seven
# which the model wrote above.

# %%
NEURON = 986
found = lens.neuron_texts(gpt, others, layer=4, neuron=NEURON, k=5)
for tokens, place, value in zip(found.texts, found.positions, found.values, strict=True):
    print(f"{value:5.2f}   … {' '.join(tokens[max(place - 4, 0) : place + 1])}")

# %% [markdown]
# The word "and", and before it somebody, be it a frog. **Its value**: 256 numbers. To read them, ask what they do if they reach the end of the model: through
# `ln_f`'s scale, times every row of `wte`. Which tokens' logits does it raise most?

# %%
def read_value(vector, k):
    """The k tokens that a vector in the stream speaks for most, and by how much, in logits before ln_f divides."""
    vector = (vector - vector.mean()) * gpt.params["ln_f"]["weight"]
    logits = gpt.params["wte"]["weight"] @ vector
    best = np.argsort(-logits, kind="stable")[:k]
    return [gpt.tokenizer.decode([int(i)]) for i in best], logits[best] - logits.mean()


names_spoken_for, strengths = read_value(mlp["c_proj"]["weight"][NEURON], 14)
print(*names_spoken_for[:7])
print(*names_spoken_for[7:])

# %% [markdown]
# Fourteen of fourteen are first names, and nobody told it what a name is. The memory reads: *somebody and … → a name*. Here it is at work, on three "and"s of
# different kinds:

# %%
pairs = "One day, Lily and Tom went to the park. The park was big and green. Tom saw a dog and a cat. Then Sam and"
look = lens.look(gpt, pairs)
excited = look.acts.blocks[4].ffn.hidden[0, :, NEURON]
how = "left: gelu(x · key + b) at each token; right: value · wte, logits above their mean, before ln_f divides"
figure = style.figure(6.8, 3.4, f"One memory: neuron L4.{NEURON}", "stories", how)
left, right = figure.subplots(1, 2, width_ratios=(3, 1.25))
left.bar(range(len(excited)), excited, color=style.FFN)
for place in np.flatnonzero(look.ids == gpt.tokenizer.encode(" and")[0]):
    left.text(place, max(excited[place], 0) + 0.08, f"{excited[place]:.2f}", ha="center", fontsize=8.5)
style.mark_tokens(left.xaxis, look.tokens, size=8.5, rotate=True)
left.set_title("key: how excited it is", fontsize=9)
left.set_ylabel("output of the neuron", fontsize=9)
right.barh(range(14), strengths, color=style.PROBABILITY[3])
style.mark_tokens(right.yaxis, [name.replace(" ", "␣") for name in names_spoken_for], size=8.5)
right.set(ylim=(13.6, -0.6), title="")
right.set_title("value: what it speaks for", fontsize=9)
for axes in (left, right):
    axes.tick_params(labelsize=8.5)
    style.without_frame(axes, "top", "right")
assert excited[look.ids == gpt.tokenizer.encode(" and")[0]][1] < 0 < excited[-1]  # big and: off; Sam and: on
figure

# %% [markdown]
# "Lily and", "Sam and": strongly on. "dog and": half on, a dog may have a friend too. "big and": off. How much does the model depend on it? Silence the neuron,
# and add up the probability of those fourteen names:

# %%
name_ids = [gpt.tokenizer.encode(name)[0] for name in names_spoken_for]
without = lens.ablate(gpt, "Lily and", layer=4, neuron=NEURON)
for label, logits in (("with the neuron", lens.look(gpt, "Lily and").logits), ("without it", without.logits)):
    on_names = ops.softmax(logits[-1].astype(np.float64))[name_ids].sum()
    print(f"{label:16} {on_names:.2f} of the probability is on these names")

# %% [markdown]
# A few percent. A clear meaning does not make a neuron necessary: it is one voice among many that say the same. How many speak at once? Count the neurons whose
# input is above 0 (`lens.neurons` does it token by token):

# %%
for layer, block in enumerate(seen.acts.blocks):
    on, strongest = (block.ffn.pre_gelu > 0).mean(), np.sort(block.ffn.hidden, axis=-1)[..., -5:]
    print(f"block {layer}: share on {on:.2f}; the 5 strongest of a token give out {strongest.mean():.1f} on average")

# %% [markdown]
# Outside block 0 about one neuron in ten is on. An FFN has $8\,n_{embd}^2$ weights, twice as many as the attention beside it, and for each token nine tenths of
# them do nothing but add up to the constant from above.
#
# ## The stream is a sum
#
# A block never overwrites. It adds. So what arrives at the end is the embedding plus twelve things that were added, and the sum is exact, to the last bit, if
# it is taken in the same order:

# %%
parts = [seen.acts.embedded[0]]
for block in seen.acts.blocks:
    parts += [block.attn_out[0], block.ffn_out[0]]
total = parts[0]
for part in parts[1:]:
    total = total + part
assert np.array_equal(total, seen.acts.x[0])
print(len(parts), "parts:", *names)

# %% [markdown]
# Which of them are loud? Bars: the length of what each half-block adds. Line: the length of the stream behind it. Before you look: which bar would you expect
# to be the highest?

# %%
view = lens.residual_view(gpt, STORY[:70])
figure = lens.draw_residual(view, "stories, the first sentences of the story")
figure

# %%
first, added = view.norms[0, 1:].mean(), view.added[:, 1:].mean(axis=1)  # the first token, an odd one, is left out
print(f"embedding {first:.1f}, L0.ffn adds {added[1]:.1f}, later ones {added[2:].min():.1f} to {added[2:].max():.1f}")
assert added[1] > 10 * first

# %% [markdown]
# All that the model knows of the token at first has a length of about 1. Then the FFN of block 0 speaks, more than ten times as loud. Compare what it writes at
# two places that hold the same token, and at two that do not:

# %%
def alike(rows):  # [n_seq, n_embd] -> cosines [n_seq, n_seq], their common mean taken away first
    rows = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rows.T


same = (ids[:, None] == ids) & ~np.eye(len(ids), dtype=bool)
cosines = alike(seen.acts.blocks[0].ffn_out[0])
print(f"L0.ffn writes alike where the token is the same: cosine {cosines[same].mean():.2f}")
print(f"and not where it is another:                     cosine {cosines[ids[:, None] != ids].mean():.2f}")

# %% [markdown]
# So L0.ffn is in good part a second, louder embedding: it looks the token up again, with 1,024 neurons to say it and a little context from L0.attn. From there
# on the bars hardly grow but the line does, since additions pile up. And as the next half-block sees a direction only, what counts is the *angle* by which an
# addition turns the stream:

# %%
def angles(stream):  # [n_places, n_seq, n_embd] -> degrees [n_places - 1, n_seq]
    directions = plain(stream.astype(np.float64))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    return np.degrees(np.arccos(np.clip((directions[1:] * directions[:-1]).sum(axis=-1), -1, 1)))


turned = angles(stream)[:, 1:].mean(axis=1)
for layer in range(c.n_layer):
    by_attention, by_ffn = turned[2 * layer : 2 * layer + 2]
    print(f"L{layer}: attention turns the stream by {by_attention:4.1f} degrees, the FFN by {by_ffn:4.1f}")
assert turned[1] > 60 and turned[2:].max() < 25

# %% [markdown]
# Block 0 makes a new vector. Each of the other ten half-blocks turns it by 12 to 18 degrees: small corrections, one after the other. Nobody asked for that; it
# is a habit which training finds, and it explains the surgery below.
#
# **The last norm is a temperature.** At the end `ln_f` divides each token's row by one positive number, then come the logits. Dividing all logits of a position
# by one number cannot change which is the largest; it changes how sure the model is. Replace that number, different for each token, by its mean:

# %%
last = seen.acts.x[0].astype(np.float64)
scale = np.sqrt(last.var(axis=1, keepdims=True) + 1e-5)


def finish(x, scale):
    x = (x - x.mean(axis=1, keepdims=True)) / scale
    return (x * gpt.params["ln_f"]["weight"] + gpt.params["ln_f"]["bias"]) @ gpt.params["wte"]["weight"].T


assert np.allclose(finish(last, scale), seen.logits, atol=1e-3)
print(f"divides by {scale.min():.1f} to {scale.max():.1f}")
for label, logits in (
    ("as it is", finish(last, scale)),
    ("the same scale for all", finish(last, scale[1:].mean())),
    ("divided by 1", finish(last, 1.0)),
    ("no ln_f at all", last @ gpt.params["wte"]["weight"].T),
):
    print(f"{label:23} loss {loss_of(logits):.2f}")

# %% [markdown]
# One scale for all costs a little: so a small part of how sure the model is of a token is written in the length of its stream. Dividing by 1 makes every guess
# far too sure. And with no `ln_f` at all the loss is hurt but not ruined: the missing division is partly made up for by the missing scale. Most of what is
# wrong then is the temperature.
#
# ## Why the norm stands before, and why there is a sum
#
# The original Transformer normed *behind* each addition (post-norm); GPT-2 norms the input of each half-block and leaves the stream alone (pre-norm). To see
# what the order does, build deep, untrained stacks, from the library's own attention and FFN. Three ways to combine: `pre`: $x + f(\mathrm{norm}(x))$, `post`:
# $\mathrm{norm}(x + f(x))$, `none`: $f(\mathrm{norm}(x))$, without the sum.

# %%
HALVES = (("ln_1", "attn"), ("ln_2", "mlp"))


def half(kind, x, params, config):
    if kind == "attn":
        return model.attention(x, params, config, ops, ops.causal_mask(x.shape[1], x.shape[1]))
    return model.ffn(x, params, config, ops)


def stack(how, ids, params, config):
    """-> the stream at each place, and for each half-block what its norm saw and its acts."""
    x = model.embed(ids, np.arange(ids.shape[1])[None], params, config, ops)
    streams, kept = [x], []
    for block in params["h"]:
        for norm, kind in HALVES:
            into = x if how == "post" else ops.layer_norm(x, **block[norm])
            out, acts = half(kind, into, block[kind], config)
            kept.append((x + out if how == "post" else x, acts))
            x = out if how == "none" else x + out
            x = ops.layer_norm(x, **block[norm]) if how == "post" else x
            streams.append(x)
    return streams, kept

# %% [markdown]
# And the way back, with the library's backward functions. Where two things were added, the gradient goes to both, unchanged: that is the `dx +` below.

# %%
def stack_backward(dx, how, kept, params, config):
    """-> the gradient at each place of the stream, and those of the blocks' parameters."""
    dstreams, grads = [dx], [{} for _ in params["h"]]
    for number in reversed(range(len(kept))):
        norm, kind = HALVES[number % 2]
        block, (seen_by_norm, acts) = params["h"][number // 2], kept[number]
        half_backward = backward.attention_backward if kind == "attn" else backward.ffn_backward
        if how == "post":
            dsum, *dnorm = ops.layer_norm_backward(dx, seen_by_norm, **block[norm])
            dout, grads[number // 2][kind] = half_backward(dsum, acts, block[kind], config, ops)
            dx = dsum + dout
        else:
            dnormed, grads[number // 2][kind] = half_backward(dx, acts, block[kind], config, ops)
            dbranch, *dnorm = ops.layer_norm_backward(dnormed, seen_by_norm, **block[norm])
            dx = dx + dbranch if how == "pre" else dbranch
        grads[number // 2][norm] = dict(zip(("weight", "bias"), dnorm, strict=True))
        dstreams.append(dx)
    return dstreams[::-1], grads


def loss_and_grads(how, ids, targets, params, config):
    """-> loss, gradients of all parameters, the streams, the gradients at them."""
    streams, kept = stack(how, ids, params, config)
    final = ops.layer_norm(streams[-1], **params["ln_f"]).reshape(-1, config.n_embd)
    wte, targets = params["wte"]["weight"], targets.reshape(-1)
    losses, log_z = ops.cross_entropy(final, wte, targets)
    share = np.full(len(final), 1 / len(final), np.float32)
    dfinal, dwte = ops.cross_entropy_backward(share, final, wte, targets, log_z)
    dx, *dnorm = ops.layer_norm_backward(dfinal.reshape(streams[-1].shape), streams[-1], **params["ln_f"])
    dstreams, blocks = stack_backward(dx, how, kept, params, config)
    grads = {"h": blocks, "ln_f": dict(zip(("weight", "bias"), dnorm, strict=True))}
    acts = model.GPTActs(ids, np.arange(ids.shape[1])[None], None, None, None, None)
    grads |= backward.embed_backward(dstreams[0], acts, params, config, ops)
    grads["wte"]["weight"] += dwte
    return float(losses.mean()), grads, streams, dstreams

# %% [markdown]
# With `pre` it must be the library's GPT-2, forward and backward:

# %%
def fresh_stack(n_layer, seed=3, n_vocab=64, scaled=False):
    """A narrow GPT-2 with new weights; `scaled`: with GPT-2's 1 / sqrt(2 n_layer) on what writes to the stream."""
    config = GPTConfig(n_layer=n_layer, n_embd=32, n_head=4, n_vocab=n_vocab, n_ctx=32)
    params = P.init(config, np.random.default_rng(seed))
    for name, array in P.walk(params):
        if array.ndim == 2:
            array *= math.sqrt(768 / 32)  # 0.02 is for 768 numbers; a sum of fewer needs larger ones
            if name.endswith("c_proj.weight") and not scaled:
                array *= math.sqrt(2 * n_layer)  # undo it
    return config, params


config, params = fresh_stack(4)
inputs, targets = np.random.default_rng(0).integers(0, 64, (2, 2, 32))
loss, grads, *_ = loss_and_grads("pre", inputs, targets, params, config)
expected_loss, expected = backward.loss_and_grads(inputs, targets, params, config, ops)
assert abs(loss - expected_loss) < 1e-5
for name, array in P.walk(expected):
    assert np.allclose(dict(P.walk(grads))[name], array, atol=1e-5), name
print("pre is the library's GPT-2, and so are its", len(list(P.walk(grads))), "gradients")

# %% [markdown]
# First, the sum's cost. If $2 n$ half-blocks each add something of the same size, the variance of the stream grows with $n$. GPT-2 draws the weights that write
# to the stream (both `c_proj`) smaller by $1/\sqrt{2 n}$, so that all additions together have the size of one, whatever the depth:

# %%
print("mean square of the stream behind the last block, and gradient at the first `c_proj` of an FFN over the last's")
for n_layer in (6, 24, 96):
    for scaled in (False, True):
        config, params = fresh_stack(n_layer, scaled=scaled)
        _, grads, streams, _ = loss_and_grads("pre", inputs, targets, params, config)
        first, final = (np.linalg.norm(grads["h"][layer]["mlp"]["c_proj"]["weight"]) for layer in (0, -1))
        name, size = "scaled" if scaled else "plain", np.square(streams[-1]).mean()
        print(f"{n_layer:3} blocks, {name:7} {size:7.2f} {first / final:9.1f}")

# %% [markdown]
# Plain, the mean square grows with the depth, and the last half-blocks get far weaker gradients than the first: the norm's backward divides by the length of
# what it normed, and the stream has grown. Scaled, the size does not depend on the depth at all, and the gradients hardly.
#
# Now the three ways, all plain, at three depths. Three questions:
#
# 1. *Are the tokens still different at the end?* The mean cosine between two places of a text (0: unrelated, 1: all the same).
# 2. *Does the gradient arrive as it was sent?* The cosine between the gradient at the last place of the stream and at the middle: 1 if the way is clear.
# 3. *How far does the output move if every weight of the blocks moves by 1 %?* A training step does such a thing.

# %%
def likeness(x):  # [n_batch, n_seq, n_embd] -> the mean cosine between two different places
    x = plain(x.astype(np.float64)) / math.sqrt(x.shape[-1])
    n_seq = x.shape[1]
    return float(((x @ x.swapaxes(1, 2)).sum(axis=(1, 2)) - n_seq).mean() / (n_seq * (n_seq - 1)))


def cosine(a, b):
    return float((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b)))


def nudged(params):
    """Every weight of the blocks 1 % larger or smaller, by chance."""
    rng, moved = np.random.default_rng(5), dict(P.walk(params))
    for name, array in P.walk(params):
        if name.startswith("h."):
            moved[name] = array * (1 + 0.01 * rng.choice([-1.0, 1.0], array.shape)).astype(np.float32)
    return P.nest(moved)


print("             tokens alike   gradient kept   output moves   gradient's length, first / last")
for how in ("pre", "post", "none"):
    for n_layer in (6, 24, 96):
        config, params = fresh_stack(n_layer)
        _, _, streams, dstreams = loss_and_grads(how, inputs, targets, params, config)
        moved = stack(how, inputs, nudged(params), config)[0][-1]
        moved = np.linalg.norm(plain(moved) - plain(streams[-1])) / np.linalg.norm(plain(streams[-1]))
        ratio = np.linalg.norm(dstreams[1]) / np.linalg.norm(dstreams[-1])
        alike_at_end, kept = likeness(streams[-1]), cosine(dstreams[n_layer], dstreams[-1])
        print(f"{how:5} {n_layer:3} {alike_at_end:12.2f} {kept:14.2f} {moved:14.1%} {ratio:14.1f}")

# %% [markdown]
# Read it row by row.
#
# * **none.** Six blocks are enough to make all tokens the same vector. Attention averages over tokens, again and again, and nothing brings the differences
#   back. That is the first job of the sum: *to keep the tokens apart*.
# * **post.** You may have read that gradients vanish here. Their length does not: from one end to the other it stays within a factor of four, even over 96
#   blocks. But it is *another gradient*. Each norm on the main path shrinks what came before by a factor. With 24 blocks that is bearable, and the tokens are
#   even further apart than with `pre`; with 96 nothing is left, going up or coming down: all tokens are alike, and what reaches the middle has nothing to do
#   with what was sent from the end.
# * **pre.** The main path is a bare sum. Whatever the depth, the gradient in the middle points about where it pointed at the end, and the output moves about as
#   far: a learning rate that fits one depth has a chance to fit another.
#
# Now let two of them learn: 24 blocks, 100 steps, letters of Shakespeare, the same first weights, the same learning rate from the first step on. The dashed
# line is what one reaches by knowing how common each letter is, without looking at the text.

# %%
letters = Path("texts/shakespeare.txt").read_text(encoding="utf-8")[:100_000].lower()
alphabet = sorted(set(letters))
coded = np.array([alphabet.index(letter) for letter in letters])
shares = np.bincount(coded) / len(coded)
common = -(shares * np.log(shares)).sum()


def learn(how, n_layer=24, n_steps=100):
    """-> the loss at each step."""
    config, params = fresh_stack(n_layer, seed=2, n_vocab=len(alphabet))
    adam, rng, losses = optim.AdamW(params), np.random.default_rng(1), []
    for _ in range(n_steps):
        rows = coded[rng.integers(0, len(coded) - 33, 2)[:, None] + np.arange(33)]
        loss, grads, *_ = loss_and_grads(how, rows[:, :-1], rows[:, 1:], params, config)
        adam.step(params, grads, 2e-3)
        losses.append(loss)
    return losses


curves = {how: learn(how) for how in ("pre", "post")}
for how, losses in curves.items():
    print(f"measured: {how:4} from {losses[0]:.2f} to {np.mean(losses[-20:]):.2f}; frequencies alone: {common:.2f}")
assert np.mean(curves["pre"][-20:]) < common - 0.1 < np.mean(curves["post"][-20:])

# %%
looks = {"pre": (style.INK, "-"), "post": (style.PALE, "-"), "none": (style.INK, ":")}
where = "32 wide; left, middle: untrained, random tokens; right: letters of Shakespeare, means of 10 steps"
figure = style.figure(7.2, 2.9, "Three ways to combine a half-block with the stream, 24 blocks", where)
left, middle, right = figure.subplots(1, 3)
for how, (colour, line) in looks.items():
    config, params = fresh_stack(24)
    _, _, streams_at, dstreams_at = loss_and_grads(how, inputs, targets, params, config)
    left.plot([likeness(x) for x in streams_at], line, color=colour, lw=2)
    middle.plot([cosine(d, dstreams_at[-1]) for d in dstreams_at], line, color=colour, lw=2)
for how, losses in curves.items():
    right.plot(np.convolve(losses, np.ones(10) / 10, "valid"), color=looks[how][0], lw=2)
right.axhline(common, ls="--", color=style.INK, lw=0.8)
left.set(title="tokens alike\n(mean cosine)", ylim=(-0.1, 1.05), xlabel="half-block")
middle.set(title="gradient kept\n(cosine with that at the end)", ylim=(-0.1, 1.05), xlabel="half-block")
right.set(title="loss while learning\n(dashed: letter frequencies)", xlabel="step")
for how, height in (("none", 0.88), ("pre", 0.68), ("post", 0.02)):
    left.text(30, height, how, fontsize=9)
for axes in (left, middle, right):
    axes.title.set_fontsize(9)
    axes.xaxis.label.set_fontsize(9)
    axes.tick_params(labelsize=8)
    style.without_frame(axes, "top", "right")
figure

# %% [markdown]
# Post-norm learns the letter frequencies, for which the last layers suffice, and stays there; pre-norm begins to read. It is not that post-norm cannot learn:
# with fewer blocks it does (try `learn("post", n_layer=16)`), and the original Transformer, with six, began with tiny steps ("warm-up"). Pre-norm buys depth
# without such care; that is why GPT-2 and nearly all that followed have it.
#
# ## Surgery
#
# Back to the trained *stories*. The stream is a sum of small corrections, so removing one part should do little. `lens.run` takes functions that change an
# array on its way; a half-block that adds zeros is gone. Guess first: which of the twelve can the model not do without?

# %%
def loss_without(*sites):
    """The loss when these half-blocks, ("attn_out" or "ffn_out", layer), add nothing."""
    return loss_of(lens.run(gpt, STORY, {site: np.zeros_like for site in sites}).logits)


def ordered(layers):
    """The loss when the blocks run in another order; a number may come twice, or not at all."""
    x = seen.acts.embedded[0]
    for layer in layers:
        x = lens.run_blocks(gpt, x, layer, layer)
    return loss_of(finish(x.astype(np.float64), np.sqrt(x.astype(np.float64).var(axis=1, keepdims=True) + 1e-5)))


assert math.isclose(ordered(range(6)), whole, abs_tol=1e-3)
table = np.array([
    [loss_without(("attn_out", layer)) for layer in range(6)],
    [loss_without(("ffn_out", layer)) for layer in range(6)],
    [ordered([other for other in range(6) if other != layer]) for layer in range(6)],
    [*(ordered([*range(at), at + 1, at, *range(at + 2, 6)]) for at in range(5)), np.nan],
    [ordered([*range(layer + 1), *range(layer, 6)]) for layer in range(6)],
])  # fmt: skip
operations = ["without its attention", "without its FFN", "without the block", "swapped with the next", "run twice"]
for name, losses in zip(operations, table, strict=True):
    print(f"{name:22}" + "".join(f"{loss:7.2f}" for loss in losses))
assert table[2, 0] > 6 and np.nanmax(table[:, 1:]) < whole + 0.25  # block 0 is needed; any other can go

# %%
what = f"numbers: loss in nats, untouched {whole:.2f}; colour: what was lost, 0 white to 0.5 or more dark"
figure = style.figure(6.8, 2.8, "Surgery on a trained model", "stories, the story above", what)
axes = figure.subplots()
colours = style.colour_map(style.PROBABILITY)
axes.imshow(table - whole, cmap=colours, vmin=0, vmax=0.5, aspect="auto")
for (y, x), loss in np.ndenumerate(table):
    if not np.isnan(loss):
        ink = style.write_on(colours((loss - whole) / 0.5))
        axes.text(x, y, f"{loss:.2f}", ha="center", va="center", fontsize=10, color=ink)
axes.set_xticks(range(6), [f"block {layer}" for layer in range(6)], fontsize=9)
axes.set_yticks(range(5), operations, fontsize=9)
axes.tick_params(length=0)
figure

# %% [markdown]
# Block 0 cannot go, nor change its place: its FFN writes the vector that all others read. Any of blocks 1 to 5 can be left out, run twice, or swapped with its
# neighbour, and the loss rises by a quarter of a nat at most. Try that with the functions of a program. The blocks in the middle read and write one stream, in
# one common language, and each adds a little to what the others say. (Lad et al. 2024 did the same to larger models, GPT-2 among them: the ends matter, the
# middle is forgiving. It is what makes early exits and the logit lens possible.)
#
# ## What people get wrong
#
# * *"The FFN is ReLU(W2 · ReLU(W1 · x))."* It bends once, in the middle. Behind the second layer nothing bends: about half of what it adds to the stream is
#   negative. Put a ReLU there, in every block:

# %%
negative = np.mean([(block.ffn_out < 0).mean() for block in seen.acts.blocks])
bent = lens.run(gpt, STORY, {("ffn_out", layer): ops.relu for layer in range(c.n_layer)})
print(f"a share of {negative:.2f} of the numbers that the FFNs add is negative")
print(f"with a ReLU behind each FFN the loss goes from {whole:.2f} to {loss_of(bent.logits):.2f}")
assert 0.4 < negative < 0.6 and loss_of(bent.logits) > whole + 0.2

# %% [markdown]
# * *"It normalises over the batch"*, or *"over the sequence"*. Both would take mean and variance along other axes of `[n_batch, n_seq, n_embd]`. Take two texts
#   and change the last token of one of them. How far does the *first* token of the *other* text move, or the first token of its own?

# %%
def norm_over(x, axes):
    x = x - x.mean(axis=axes, keepdims=True)
    return x / np.sqrt(np.square(x).mean(axis=axes, keepdims=True) + 1e-5)


two = stream[5, :60].reshape(2, 30, -1).astype(np.float64)
changed = two.copy()
changed[1, -1] = stream[5, 100]
print(f"{'':24} other text   own text, before the change")
for label, axes in (("layer norm: the row", 2), ("over the sequence", 1), ("batch norm: all rows", (0, 1))):
    moved = np.abs(norm_over(changed, axes) - norm_over(two, axes)).max(axis=-1)
    print(f"{label:24} {moved[0, 0]:10.2f} {moved[1, 0]:10.2f}")
assert np.array_equal(norm_over(changed, 2)[:, :-1], norm_over(two, 2)[:, :-1])

# %% [markdown]
#   Over the sequence, a token would feel a later one: the causal mask in attention would be worth nothing, as the answer leaks in through the norm. Over the
#   batch, a text would depend on its neighbours. Layer norm is the only one of the three that works on one token alone, and therefore the only one with which
#   tokens can be generated one by one.
# * *"The residual connection is there so that the model remembers its input."* Look how much of the embedding is left in the stream. First its direction; then
#   whether a token can still be read off the stream, as the row of wte that agrees best with it; then subtract the embedding from the last stream altogether
#   and see what is lost:

# %%
embedded = plain(stream[0].astype(np.float64))
for place in (0, 1, 2, 6, 12):
    now = plain(stream[place].astype(np.float64))
    readable = (stream[place] @ gpt.params["wte"]["weight"].T).argmax(axis=1) == ids
    likeness_now = (now * embedded).sum(axis=1).mean() / 256  # both have length 16
    print(f"{names[place]:9} cosine with the embedding {likeness_now:.2f}; readable in {readable.mean():.2f} of places")
rest = last - stream[0]
forgotten = loss_of(finish(rest, np.sqrt(rest.var(axis=1, keepdims=True) + 1e-5)))
print(f"\nthe embedding taken out of the last stream: loss {forgotten:.2f} instead of {whole:.2f}")
assert abs(forgotten - whole) < 0.05

# %% [markdown]
#   Nothing is lost. The embedding is in the sum, bit for bit, and nobody at the end reads it. The sum is a *channel*: it keeps tokens apart, carries gradients
#   down unbent, and lets every half-block read what all earlier ones wrote. What it carries is up to training, and a model that predicts the next token has
#   good reason to move away from the present one.
#
# ## Exercises
#
# **Easy.** Later models (Llama and most since) leave out the mean and the shift: *RMS norm* divides each row by the root of its mean square,
# $\sqrt{\mathrm{mean}(x^2) + \varepsilon}$, then scales. Write `rms_norm(x, weight, eps)`: `x` is `[..., n_embd]`, `weight` `[n_embd]`, and the result has the
# shape and the dtype of `x`.

# %%
def rms_norm(x, weight, eps):
    ...


ch05.rms_norm(rms_norm);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def rms_norm(x, weight, eps):
#     return x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + eps) * weight
# ```
# </details>
#
# **Medium.** What a layer norm makes invisible going up, it makes unreachable coming down. Write `jacobian(x)`: for one row `x` `[n]` the matrix `[n, n]` whose
# entry `[i, j]` says how much number i of the plain layer norm of x (no scale, no shift, eps 1e-5) changes per unit of change in number j of x. By formula, or
# column by column with `ops.layer_norm_backward`, whose comment has the derivation. Then look: what does the matrix do to a row of ones? To the normed row
# itself? What is its rank?

# %%
def jacobian(x):
    ...


ch05.jacobian(jacobian);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def jacobian(x):
#     n = len(x)
#     std = np.sqrt(x.var() + 1e-5)
#     normed = (x - x.mean()) / std
#     return (np.eye(n) - 1 / n - np.outer(normed, normed) / n) / std
# ```
# </details>
#
# **Hard, an investigation.** How much of *stories* can go? Write `dispensable(gpt, text, n)`: a list of `n` half-blocks as `("attn_out", layer)` or
# `("ffn_out", layer)`, in the order in which they are removed: each time the one whose removal, *together with those already gone*, leaves the lowest loss on
# the text (the mean over its next tokens). Use `lens.run` as in `loss_without` above.
#
# Then investigate. How many can go before the loss has risen by half a nat? Is the damage of several the sum of their single damages? Which half-blocks are
# never removed early, on any text? Does an order that was found on one text serve another?

# %%
def dispensable(gpt, text, n):
    ...


ch05.dispensable(dispensable);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def dispensable(gpt, text, n):
#     ids = np.array(gpt.tokenizer.encode(text))
#     left = [(part, layer) for layer in range(gpt.config.n_layer) for part in ("attn_out", "ffn_out")]
#
#     def loss(gone):
#         logits = lens.run(gpt, text, {site: np.zeros_like for site in gone}).logits[:-1].astype(np.float64)
#         return -np.log(ops.softmax(logits)[np.arange(len(ids) - 1), ids[1:]]).mean()
#
#     gone = []
#     for _ in range(n):
#         gone.append(min(left, key=lambda site: loss([*gone, site])))
#         left.remove(gone[-1])
#     return gone
# ```
# </details>
#
# ## Where it stands in the code
#
# | here | there |
# |---|---|
# | layer norm and its backward | `ops.layer_norm`, `ops.layer_norm_backward` |
# | GELU, exact and GPT-2's; ReLU | `ops.gelu`, `ops.gelu_new`, `ops.relu`; chosen by `model.activate` |
# | keys and values of the FFN | `model.ffn`; `params["h"][4]["mlp"]["c_fc"]`, `["c_proj"]` |
# | the half-blocks, norm first | `model.block`, and backwards `training/backward.py`: `block_backward` |
# | the stream as a sum, its lengths | `lens.stream`, `lens.residual_view` |
# | neurons of a text, texts of a neuron | `lens.neurons`, `lens.neuron_texts` |
# | first weights, 1 / sqrt(2 n_layer) | `params.init` |
# | removing and changing | `lens.ablate`, `lens.run`, `lens.run_blocks` |
