# %% [markdown]
# # 07 · Which way should six million weights turn?
#
# **You will be able to** derive the gradient of every piece of a GPT-2 in a line or two, say why each transpose stands where it stands, write the whole backward
# pass, and prove with one number that it is right.
#
# **You need** notebook 00 (the forward pass on one page). Derivatives of $e^x$, $\log x$ and $x^2$, and the chain rule from school. Notebooks on attention and
# layer norms help; nothing else is assumed.

# %%
import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # for products as small as here a second thread costs more than it helps

import inspect
import math
import time

import numpy as np
from checks import ch07

from nanogpt_np import GPT, GPTConfig, lens, model, ops
from nanogpt_np import params as P
from nanogpt_np.lens import style
from nanogpt_np.training import backward
from nanogpt_np.training.finite_differences import gradcheck, numeric_gradient
from nanogpt_np.training.optim import AdamW

gpt = GPT.from_pretrained("stories", ops="numpy")
text = "Tim had a red kite. He ran up the hill with his kite, but the wind was too strong. The kite flew away. Tim was sad."
ids = np.array(gpt.tokenizer.encode(text))
loss, grads = backward.loss_and_grads(ids[None, :-1], ids[None, 1:], gpt.params, gpt.config, ops)
print(f"{len(ids) - 1} next tokens, a loss of {loss:.2f} nats each, {P.count(gpt.params):,} weights")

# %% [markdown]
# A loss is one number: how surprised the model is, on average, by the token that really came next (in nats; $-\log$ of the probability that it had given to it).
# The model has 5,853,184 weights, and each is a screw. If this one is turned up by a hair, does the loss rise or fall, and how fast? The list of all these
# answers is the **gradient**.
#
# There is an honest way to get it: turn one screw, measure the loss again, turn it back; go to the next. How long would that take? And how long did the line
# above take, which has found all of them?

# %%
begun = time.perf_counter()
gpt(ids[:-1])
one_pass = time.perf_counter() - begun
begun = time.perf_counter()
backward.loss_and_grads(ids[None, :-1], ids[None, 1:], gpt.params, gpt.config, ops)
all_at_once = time.perf_counter() - begun
hours = one_pass * P.count(gpt.params) / 3600
print(f"measured: {hours:.0f} hours screw by screw, {all_at_once:.1f} s for all of them at once")

# %% [markdown]
# This notebook is about that difference. The quick way is called *backward pass*, or *backpropagation*, and is the chain rule, used from the right end. The slow
# way keeps a job: it knows nothing of formulas, so it is the judge of every formula below.
#
# ## A neuron, by hand
#
# Two inputs, two weights, a bias; the first input is also added to what comes out, as a GPT-2's residual stream does. The loss is minus the logarithm of the
# probability of "yes", which is the sigmoid of $z$.
#
# $$h = w_1 x_1 + w_2 x_2 + b \qquad z = h + x_1 \qquad L = -\log \sigma(z) = \log(1 + e^{-z})$$

# %%
x1, x2, w1, w2, b = 2.0, 1.0, 0.5, -1.0, -2.0


def neuron(x1, x2, w1, w2, b):
    h = w1 * x1 + w2 * x2 + b
    z = h + x1
    return math.log(1 + math.exp(-z))


print(f"loss {neuron(x1, x2, w1, w2, b):.3f}, which is ln 2 = {math.log(2):.3f}: with z = 0 yes and no are equally likely")

# %% [markdown]
# Now from the right end to the left. Write `dz` for $\partial L / \partial z$: how fast the loss changes as $z$ does. Each line needs only the result of the line
# before, and the *local* slope of one operation. Take a pencil and do it before you read on.

# %%
dz = 1 / (1 + math.exp(-0.0)) - 1  # the slope of log(1 + exp(-z)) is sigma(z) - 1
dh, dx1_direct = dz * 1, dz * 1  # z = h + x1: a sum hands its gradient to both sides
dw1, dx1_product = dh * x1, dh * w1  # w1 * x1: the slope by one factor is the other factor
dw2, dx2 = dh * x2, dh * w2
db = dh * 1
dx1 = dx1_direct + dx1_product  # x1 was used twice: what it does by both ways adds up
print(f"dz {dz}   dw1 {dw1}  dw2 {dw2}  db {db}   dx1 {dx1_direct} {dx1_product:+} = {dx1}  dx2 {dx2}")

# %% [markdown]
# Three rules, and there are no others in this notebook:
#
# 1. **along a chain, multiply**: the gradient that arrives, times the local slope;
# 2. **at a sum, copy**: each side receives the same gradient;
# 3. **at a fork, add**: a number that was used twice receives the sum. (It is the second rule read backward. What was a copy forward is a sum backward, and the other way round.)

# %%
places = {  # name -> (x, y, value, gradient)
    "w1": (0, 4, w1, dw1), "x1": (0, 3, x1, dx1), "w2": (0, 2, w2, dw2), "x2": (0, 1, x2, dx2), "b": (0, 0, b, db),
    "w1·x1": (1.3, 3.5, w1 * x1, dh), "w2·x2": (1.3, 1.5, w2 * x2, dh),
    "h": (2.6, 1.5, -2.0, dh), "z": (3.9, 2.25, 0.0, dz), "L": (5.2, 2.25, math.log(2), 1.0),
}  # fmt: skip
arrows = "w1>w1·x1 x1>w1·x1 w2>w2·x2 x2>w2·x2 w1·x1>h w2·x2>h b>h h>z x1>z z>L".split()
figure = style.figure(7.6, 4, "A neuron forward and backward", "upper number: the value, made from left to right",
                      "red: the gradient of the loss L, made from right to left; x1 receives it by two ways")  # fmt: skip
axes = figure.subplots()
for arrow in arrows:
    (xa, ya, *_), (xb, yb, *_) = (places[name] for name in arrow.split(">"))
    axes.annotate("", (xb - 0.33, yb), (xa + 0.33, ya), arrowprops={"arrowstyle": "-|>", "color": style.PALE})
for x, y, part in ((0.62, 3.42, dx1_product), (2.95, 2.58, dx1_direct)):
    axes.text(x, y, f"{part:+.2f}", ha="center", va="center", fontsize=9, color=style.SIGNED[-1], style="italic")
for name, (x, y, value, gradient) in places.items():
    axes.text(x, y + 0.26, name, ha="center", va="center", fontsize=10, color=style.INK, fontweight="bold")
    axes.text(x, y - 0.02, f"{value:.2f}", ha="center", va="center", fontsize=10, color=style.INK)
    axes.text(x, y - 0.30, f"{gradient:+.2f}", ha="center", va="center", fontsize=10, color=style.SIGNED[-1])
axes.set(xlim=(-0.4, 5.6), ylim=(-0.5, 4.5), xticks=[], yticks=[])
style.without_frame(axes, "top", "right", "bottom", "left")
figure

# %% [markdown]
# Read it as advice: to make "yes" likelier, `w1` should go up (its gradient is negative, and we want less loss), twice as much as `b`, as it works through an
# input of 2.
#
# ## Ask the function itself
#
# Is it right? Nudge a number to both sides and look: the *central difference*
#
# $$\frac{\partial L}{\partial a} \approx \frac{L(a + h) - L(a - h)}{2h}$$

# %%
def finite_difference(f, inputs, i, h=1e-5):
    above, below = list(inputs), list(inputs)
    above[i] += h
    below[i] -= h
    return (f(*above) - f(*below)) / (2 * h)


given = (x1, x2, w1, w2, b)
for i, (name, by_hand) in enumerate(zip(("x1", "x2", "w1", "w2", "b"), (dx1, dx2, dw1, dw2, db), strict=True)):
    asked = finite_difference(neuron, given, i)
    assert abs(asked - by_hand) < 1e-9
    print(f"{name:3} by hand {by_hand:6.3f}   asked {asked:6.3f}")

# %% [markdown]
# The library has the same for arrays, `numeric_gradient`: every entry is nudged in turn. It insists on float64; why, we shall see in a picture further down.

# %%
print(inspect.getsource(numeric_gradient).split('"""')[2])

# %% [markdown]
# ## From numbers to arrays
#
# A layer takes an array and gives an array. What is its gradient? One might think of a table: each output by each input, the *Jacobian*. For a layer from 1,024
# to 256 numbers that is 262,144 slopes, for every token. It is never made. All that is ever wanted is the gradient of **one number**, the loss, and so:
#
# * the gradient of an array has the **shape of that array**;
# * a backward is handed `dout` (the gradient at the output) and gives back `dx` (the gradient at the input), and one for each weight.
#
# That is a contract, and a contract can be checked. Make up a `dout` at random and let the loss be $\sum \text{dout} \cdot \text{out}$; then `dout` *is* the
# gradient at the output, and finite differences tell what must come out at the inputs. If a backward is right for random `dout`, it is right for whatever the
# rest of the network does with the output.

# %%
rng = np.random.default_rng(7)


def checked(name, forward, inputs, mine, library):
    """`mine` and `library`: (dout, *inputs) -> a gradient for each input."""
    dout = rng.standard_normal(forward(*inputs).shape)
    got = mine(dout, *inputs)
    worst = gradcheck(lambda *arrays: float((forward(*arrays) * dout).sum()), inputs, got)
    assert worst < 1e-7, worst
    for array, gradient, same in zip(inputs, got, library(dout, *inputs), strict=True):
        assert gradient.shape == array.shape and np.allclose(gradient, same, rtol=1e-12, atol=1e-12)
    print(f"{name}: {len(got)} checked; finite differences agree to 1e-7, the library to rounding")


# %% [markdown]
# ## Linear: why the transposes?
#
# Forward, for each token $t$: $y_{tj} = \sum_i x_{ti} W_{ij} + b_j$. Take one weight, $W_{ij}$. Which outputs does it reach? Column $j$ alone, but of *every*
# token, each through the input $x_{ti}$:
#
# $$dW_{ij} = \sum_t x_{ti}\, dy_{tj} \qquad dx_{ti} = \sum_j dy_{tj}\, W_{ij} \qquad db_j = \sum_t dy_{tj}$$
#
# What is summed over is what the number had been spread over: a weight serves all tokens, so it hears from all tokens; an input goes to all outputs, so it hears
# from all outputs. The transposes follow from the shapes, and there is only one way to fit them: `dW` must be `[n_in, n_out]`, and out of `x [n, n_in]` and
# `dout [n, n_out]` only `x.T @ dout` is.

# %%
def linear_backward(dout, x, weight, bias):
    return dout @ weight.T, x.T @ dout, dout.sum(axis=0)


inputs = [rng.standard_normal(shape) for shape in ((4, 3), (3, 5), (5,))]
checked("linear", ops.linear, inputs, linear_backward, ops.linear_backward)

# %% [markdown]
# Each backward needs what the forward had *seen*: `x`, for `dW`. That is why training takes so much more memory than generating, and what `keep_acts` keeps.
#
# Note the count: one product forward, two of the same size backward. So a training step costs about three forward passes, whatever the model.
#
# ## GELU: value by value
#
# Here every output has one input, so it is the first rule alone, the slope at each place. With $y = \tfrac12 x (1 + \tanh u)$, $u = c\,(x + 0.044715\,x^3)$,
# $c = \sqrt{2/\pi}$, the product rule gives
#
# $$\frac{dy}{dx} = \tfrac12 (1 + \tanh u) + \tfrac12 x\,(1 - \tanh^2 u)\; c\,(1 + 3 \cdot 0.044715\,x^2)$$

# %%
def gelu_backward(dout, x):
    c = math.sqrt(2 / math.pi)
    t = np.tanh(c * (x + 0.044715 * x**3))
    return (dout * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x**2)),)


x = rng.standard_normal((4, 6))
checked("gelu", ops.gelu_new, [x], gelu_backward, lambda dout, x: (ops.gelu_new_backward(dout, x),))

# %% [markdown]
# ## Softmax: against the average
#
# With $p = \text{softmax}(s)$, raising $s_i$ raises $p_i$ and lowers all others: $\partial p_j / \partial s_i = p_j (1[i = j] - p_i)$. Sum over all outputs $j$:
#
# $$ds_i = \sum_j dp_j\, p_j\,(1[i=j] - p_i) = p_i \Big( dp_i - \sum_j p_j\, dp_j \Big)$$
#
# The sum in the bracket is the *average* of `dp`, with the probabilities as weights. In words: a score is judged by how much better its option is **than the
# average so far**, and by how much of the probability it holds. Since shares must sum to one, only differences count. The table of all
# $\partial p_j / \partial s_i$ has gone: one sum for each row is left of it.

# %%
def softmax_backward(dp, p):
    return p * (dp - (p * dp).sum(axis=-1, keepdims=True))


s = rng.standard_normal((3, 5))
checked("softmax", ops.softmax, [s], lambda dp, s: (softmax_backward(dp, ops.softmax(s)),),
        lambda dp, s: (ops.softmax_backward(dp, ops.softmax(s)),))  # fmt: skip
p, dp = ops.softmax(s[0]), rng.standard_normal(5)
jacobian = np.diag(p) - np.outer(p, p)  # [5, 5], to see that it is the same
assert np.allclose(softmax_backward(dp, p), jacobian @ dp)

# %% [markdown]
# ## The loss: everything cancels
#
# The loss of one token is $L = -\log p_t$, with $p$ the softmax of the logits $z$ and $t$ the right token. Insert the softmax: $L = \log \sum_j e^{z_j} - z_t$.
# Its slope by $z_i$ is
#
# $$dz_i = \frac{e^{z_i}}{\sum_j e^{z_j}} - 1[i = t] = p_i - 1[i = t]$$
#
# That is all: **what the model believed, minus what was so**. By the long way, $dp_t = -1/p_t$, which is huge where the model was sure of something else; then
# the softmax's backward multiplies by $p_t$, and the two cancel. On paper. In float32 the probability may have become 0 in between, and then the long way is
# lost:

# %%
z = np.array([0.0, 200.0], np.float32)  # the right token is 0, and the model is quite sure that it is 1
p = ops.softmax(z)
with np.errstate(divide="ignore", invalid="ignore"):
    dp = np.array([-1.0, 0.0], np.float32) / p
    print("the long way ", softmax_backward(dp, p))
print("p - onehot   ", p - np.array([1, 0], np.float32))

# %% [markdown]
# Here it is in the library, with the unembedding inside (so that the logits of a large vocabulary need not exist all at once). And here is what it says about a
# real text: what came next was ` dog`.

# %%
n, n_vocab = 4, 6
final, weight = rng.standard_normal((n, 3)), rng.standard_normal((n_vocab, 3))
targets = np.array([0, 5, 2, 2])
dlosses = rng.standard_normal(n)
losses, log_z = ops.cross_entropy(final, weight, targets)
dlogits = (ops.softmax(final @ weight.T) - np.eye(n_vocab)[targets]) * dlosses[:, None]
theirs = ops.cross_entropy_backward(dlosses, final, weight, targets, log_z)
assert np.allclose(dlogits @ weight, theirs[0]) and np.allclose(dlogits.T @ final, theirs[1])
worst = gradcheck(lambda x, w: float((ops.cross_entropy(x, w, targets)[0] * dlosses).sum()), [final, weight], theirs)
assert worst < 1e-7

short = "A dog and a cat played. The"
probs = ops.softmax(gpt(gpt.tokenizer.encode(short))[0, -1])
right = gpt.tokenizer.encode(" dog")[0]
dlogits = probs - np.eye(gpt.config.n_vocab, dtype=np.float32)[right]
for i in np.argsort(-probs)[:5]:
    print(f"{gpt.tokenizer.decode([i])!r:8} believed {probs[i]:.3f}   gradient {dlogits[i]:+.3f}")
print(f"all {gpt.config.n_vocab:,} gradients together: {abs(dlogits.sum()):.3f}")
assert abs(dlogits.sum()) < 1e-5

# %% [markdown]
# The right token is pulled up by what it lacks; each wrong one is pushed down exactly as much as it was believed; the pushes and the pull are equal. A token that
# nobody believed gets next to nothing.
#
# ## Layer norm: two directions are taken out
#
# A layer norm takes from a token's row its mean, and divides it by its standard deviation: $\hat x = (x - \bar x) / \sigma$ (then come a weight and a bias, as
# easy as in a linear layer). The formula of the gradient looks like an accident:
#
# $$dx = \frac{1}{\sigma} \Big( d\hat x - \text{mean}(d\hat x) - \hat x \cdot \text{mean}(d\hat x \cdot \hat x) \Big)$$
#
# It is geometry. Think of the row as an arrow with $n$ entries. Two ways of moving it change nothing in the output: **adding the same number to all entries**
# (the direction $(1, \dots, 1)$: the mean takes it away), and **making it longer** (the direction $\hat x$: the division takes it away). Along a direction in
# which nothing happens the slope is zero. So the gradient can have no part in these two, and the formula takes exactly these parts out: both subtractions are
# projections. What is left is divided by $\sigma$, since a longer arrow turns less when its tip is moved by the same step.

# %%
def layer_norm_backward(dout, x, weight, bias):
    centred = x - x.mean(axis=-1, keepdims=True)
    std = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    normed = centred / std
    d = dout * weight
    d = d - d.mean(axis=-1, keepdims=True)  # the part along (1, ..., 1)
    d = d - normed * (d * normed).mean(axis=-1, keepdims=True)  # the part along normed
    return d / std, (dout * normed).sum(axis=0), dout.sum(axis=0)


inputs = [rng.standard_normal(shape) for shape in ((4, 8), (8,), (8,))]
checked("layer norm", ops.layer_norm, inputs, layer_norm_backward, ops.layer_norm_backward)
x, dnormed = 1000 * rng.standard_normal(8), rng.standard_normal(8)  # far larger than eps, which then does not count
dx, *_ = layer_norm_backward(dnormed[None], x[None], np.ones(8), np.zeros(8))
plane, _ = np.linalg.qr(np.stack([np.ones(8), x], axis=1))  # an orthonormal basis of the two silent directions
assert np.allclose(dx[0], (dnormed - plane @ (plane.T @ dnormed)) / x.std(), rtol=1e-6)
print("the same as taking out the plane spanned by (1, ..., 1) and x:", True)

# %% [markdown]
# With three entries it can be drawn. Look along $(1, 1, 1)$: the mean cannot be seen from there, so the picture is flat, and layer norm puts every arrow onto a
# circle of radius $\sqrt 3$.

# %%
flat = np.array([[1, -1, 0], [1, 1, -2]]) / np.sqrt([[2], [6]])  # [2, 3]: seen along (1, 1, 1)
figure = style.figure(6.4, 5.3, "Layer norm of three numbers, seen along (1, 1, 1)",
                      "circle: all outputs there are; grey: a gradient at an output; black: its part along the circle",
                      "red: the gradient at two inputs with this output")  # fmt: skip
axes = figure.subplots()
turn = np.linspace(0, 2 * math.pi, 200)
axes.plot(math.sqrt(3) * np.cos(turn), math.sqrt(3) * np.sin(turn), color=style.INK, linewidth=1)


def arrow(start, change, colour):
    axes.annotate("", start + change, start, arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 2})


for angle, seen in ((0.1, (1.3, 2.0)), (2.5, (-2.2, -0.9)), (4.3, (2.0, 0.6))):
    direction, along = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    axes.plot(*np.outer(direction, [0, 4.4]), ":", color=style.PALE, linewidth=1)
    y, kept = math.sqrt(3) * direction, along * (along @ seen)
    arrow(y, np.array(seen), style.PALE)
    arrow(y, kept, style.INK)
    for length in (2.2, 4.4):
        x = flat.T @ (length * direction) + 5.0  # a mean of 5: it makes no difference
        assert np.allclose(flat @ ops.layer_norm(x, 1.0, 0.0, eps=0.0), y)
        dx, *_ = layer_norm_backward((flat.T @ seen)[None], x[None], np.ones(3), np.zeros(3))
        assert np.allclose(flat @ dx[0], kept / x.std(), atol=1e-4)
        arrow(length * direction, flat @ dx[0], style.SIGNED[-1])
        axes.plot(*(length * direction), "o", color=style.INK, markersize=5)
    axes.plot(*y, "o", color=style.INK, markerfacecolor="white", markersize=6)
axes.set(xlim=(-4.6, 4.8), ylim=(-4.4, 3.2), aspect="equal", xticks=[], yticks=[])
style.without_frame(axes, "top", "right", "bottom", "left")
figure

# %% [markdown]
# Each red arrow touches its circle: it has no part along the line from the middle, as moving along that line changes nothing. And of two inputs on the same line,
# the one that is twice as far out has a gradient half as long. Keep that in mind for the residual stream, which grows from block to block.
#
# ## Attention: who should have been looked at?
#
# One head. Query $i$ takes an average of values, $\text{out}_i = \sum_j P_{ij} v_j$, with $P = \text{softmax}(S)$ along each row and
# $S_{ij} = q_i \cdot k_j / \sqrt d$. All of it is known by now: two matrix products with a softmax in between.
#
# $$dv_j = \sum_i P_{ij}\, d\text{out}_i \qquad dP_{ij} = d\text{out}_i \cdot v_j \qquad dS = \text{softmax backward} \qquad dq_i = \sum_j \frac{dS_{ij}\, k_j}{\sqrt d} \qquad dk_j = \sum_i \frac{dS_{ij}\, q_i}{\sqrt d}$$
#
# Read the sums: a value hears from every query that looked at it, as much as it looked. And the causal mask? A hidden place has $P_{ij} = 0$, so $dS_{ij} = 0$:
# it passes nothing, in either direction, and need not be mentioned.

# %%
def attention_backward(dout, q, k, v):  # [n_seq, d_head] each
    n_seq, d_head = q.shape
    probs = ops.softmax(np.where(np.tri(n_seq, dtype=bool), q @ k.T / math.sqrt(d_head), -np.inf))
    dv = probs.T @ dout
    dscores = softmax_backward(dout @ v.T, probs) / math.sqrt(d_head)
    return dscores @ k, dscores.T @ q, dv


def attention(q, k, v):
    return ops.attention_mix(ops.attention_probs(q, k, ops.causal_mask(len(q), len(k))), v)


def library(dout, q, k, v):
    probs = ops.attention_probs(q, k, ops.causal_mask(len(q), len(k)))
    dprobs, dv = ops.attention_mix_backward(dout, probs, v)
    return *ops.attention_probs_backward(dprobs, q, k, probs), dv


q, k, v = (rng.standard_normal((6, 4)) for _ in range(3))
checked("attention", attention, [q, k, v], attention_backward, library)

# %% [markdown]
# There is more to see. The softmax compares with the average of `dP` over a row. Now
# $\sum_j P_{ij}\,dP_{ij} = \sum_j P_{ij}\; d\text{out}_i \cdot v_j = d\text{out}_i \cdot \text{out}_i$, so
#
# $$dS_{ij} = P_{ij}\;\, d\text{out}_i \cdot (v_j - \text{out}_i)$$
#
# Look more at $j$ if the value there would pull the average to where the loss is lower. (FlashAttention's backward lives on this line: the average is one dot
# product of two short rows, and the long row of `dP` need not be at hand.) And it says how attention gets stuck: **a head that is sure of one place has
# $\text{out}_i = v_j$, the bracket is zero, and it cannot learn to look elsewhere.** This is what the $1/\sqrt d$ is for. Guess before you run it: how much
# gradient is left if it is forgotten?

# %%
dout, probs = rng.standard_normal((6, 4)), ops.attention_probs(q, k, ops.causal_mask(6, 6))
by_the_line = probs * (dout @ v.T - (dout * (probs @ v)).sum(axis=1, keepdims=True))
assert np.allclose(by_the_line, softmax_backward(dout @ v.T, probs))
q, k, v, dout = (rng.standard_normal((64, 256)) for _ in range(4))  # a head as wide as a model
for name, scale in (("scaled by 1 / sqrt(d)", 1 / 16), ("not scaled", 1.0)):
    probs = ops.softmax(q @ k.T * scale)
    dscores = softmax_backward(dout @ v.T, probs)
    lengths = np.linalg.norm(dscores, axis=1)  # [n_seq], one for each query
    print(f"{name:22} largest probability {np.median(probs.max(axis=1)):.2f}, gradient of a query's scores {np.median(lengths):.2f}  (medians)")

# %% [markdown]
# ### Numbers that never learn
#
# Here is something that one finds only by doing this by hand. Each row of $dS$ sums to zero (a softmax knows only differences). Add the same vector to *all*
# keys: the scores of a row all change by the same amount, so nothing changes. But that is what the bias of the keys does. **Its gradient is zero, always**; 256
# numbers in every block of *stories*, and 768 in every layer of GPT-2, are there for nothing. They began at zero. What has become of them in 10,000 steps of
# training, next to the biases of queries and values?

# %%
for layer, p in enumerate(gpt.params["h"]):
    sizes = [float(np.abs(part).mean()) for part in np.split(p["attn"]["c_attn"]["bias"], 3)]
    print(f"L{layer}: mean size of the bias of queries {sizes[0]:.3f}, keys {sizes[1]:.4f}, values {sizes[2]:.3f}")
    assert sizes[1] < 0.1 * min(sizes[0], sizes[2])
changed = P.nest({name: array.copy() for name, array in P.walk(gpt.params)})
for p in changed["h"]:
    p["attn"]["c_attn"]["bias"][256:512] = 3.0
assert np.allclose(GPT(gpt.config, changed)(ids), gpt(ids), atol=1e-3)
print("with 3.0 in place of every one of them, the logits stay as they were")

# %% [markdown]
# That they are not exactly zero is rounding: Adam, the optimizer of notebook 08, divides each gradient by its own usual size, and so makes steps even of
# gradients that are nothing but rounding errors.
#
# ## Embedding: a row that was read twice
#
# Forward, token 394 reads row 394. Backward, row 394 receives the gradient of that place. A token that occurs three times is a fork: three gradients, to be
# added. In NumPy the obvious line gets this wrong, without a word:

# %%
few = np.array([2, 0, 2, 2])
dout = np.array([[1.0, 10.0], [1.0, 10.0], [1.0, 10.0], [1.0, 10.0]])
wrong, added = np.zeros((4, 2)), np.zeros((4, 2))
wrong[few] += dout  # reads all rows, adds, writes all rows: of three writes to row 2 the last one stays
np.add.at(added, few, dout)
print("row 2 by wrong[ids] += dout  ", wrong[2])
print("row 2 by np.add.at           ", added[2])
assert np.array_equal(added, ops.embedding_backward(dout, few, np.zeros((4, 2))))
assert np.array_equal(added, np.eye(4)[few].T @ dout)  # an embedding is onehot @ weight, so this is linear's x.T @ dout

# %% [markdown]
# Nothing raises, no shape is off, the loss falls all the same, only more slowly: frequent tokens learn as if they were rare. Only a comparison with finite
# differences finds such a bug, and only with a text in which a token repeats.
#
# ## Forks: the residual stream, and one matrix used twice
#
# `x = x + attention(...)` is the neuron's $z = h + x_1$ again. The gradient goes past the attention undiminished *and* through it, and where both ways meet, they
# add. And `wte` is used twice, to read tokens in and to make logits: two gradients, one matrix (its weights are *tied*). How do these two compare?

# %%
onehot = np.eye(gpt.config.n_vocab, dtype=np.float32)
final, _ = model.trunk(ids[None, :-1], gpt.params, gpt.config, ops)
dlogits = (ops.softmax(final[0] @ gpt.params["wte"]["weight"].T) - onehot[ids[1:]]) / len(ids[1:])
as_output = dlogits.T @ final[0]  # [n_vocab, n_embd]
dembedded = lens.gradients_view(gpt, ids).stream[0]  # [n_seq, n_embd]: the gradient where the stream begins
as_input = ops.embedding_backward(dembedded, ids, gpt.params["wte"]["weight"])
assert np.allclose(as_input + as_output, grads["wte"]["weight"], atol=1e-5)
for name, part in (("as input", as_input), ("as output", as_output)):
    n_reached = int(part.any(axis=1).sum())
    print(f"{name:9} reaches {n_reached:5,} of {len(part):,} rows, gradient of length {np.linalg.norm(part):.2f}")

# %% [markdown]
# As input, only the tokens of this text learn. As output, **all of them** do, at every step: a token that did not occur is pushed away from wherever the stream
# pointed. So a token that never occurs in the training text does not stay at its random beginning.
#
# ## The whole backward
#
# Every piece is there; what is left is to string them together, from the last line of the forward pass to the first. It takes what the forward has seen (`acts`),
# for one text, and fills a dict with the names of the checkpoint. Read it beside `gpt2` of notebook 00, from the bottom of that to its top.

# %%
def gradients(ids, targets, params, config):
    final, acts = model.trunk(ids[None], params, config, ops, keep_acts=True)
    wte, n_seq, found = params["wte"]["weight"], len(ids), {}

    def linear(dout, x, p, name):
        dx, found[f"{name}.weight"], found[f"{name}.bias"] = linear_backward(dout, x, **p)
        return dx

    def layer_norm(dout, x, p, name):
        dx, found[f"{name}.weight"], found[f"{name}.bias"] = layer_norm_backward(dout, x, **p)
        return dx

    def heads(x):  # [n_seq, n_embd] -> [n_head, n_seq, d_head]
        return x.reshape(n_seq, config.n_head, -1).swapaxes(0, 1)

    dlogits = (ops.softmax(final[0] @ wte.T) - np.eye(len(wte), dtype=wte.dtype)[targets]) / n_seq
    dx = layer_norm(dlogits @ wte, acts.x[0], params["ln_f"], "ln_f")
    for i in reversed(range(config.n_layer)):
        p, seen, name = params["h"][i], acts.blocks[i], f"h.{i}"
        # x = x_mid + ffn(ln_2(x_mid))
        dhidden = linear(dx, seen.ffn.hidden[0], p["mlp"]["c_proj"], f"{name}.mlp.c_proj")
        (dwide,) = gelu_backward(dhidden, seen.ffn.pre_gelu[0])
        dnormed = linear(dwide, seen.ffn.x[0], p["mlp"]["c_fc"], f"{name}.mlp.c_fc")
        dx = dx + layer_norm(dnormed, seen.x_mid[0], p["ln_2"], f"{name}.ln_2")
        # x_mid = x + attention(ln_1(x))
        dmerged = linear(dx, seen.attn.merged[0], p["attn"]["c_proj"], f"{name}.attn.c_proj")
        per_head = zip(heads(dmerged), seen.attn.q[0], seen.attn.k[0], seen.attn.v[0], strict=True)
        dqkv = zip(*[attention_backward(*head) for head in per_head], strict=True)  # dq, dk, dv: n_head arrays each
        dqkv = np.concatenate([np.concatenate(part, axis=1) for part in dqkv], axis=1)  # -> [n_seq, 3 * n_embd]
        dnormed = linear(dqkv, seen.attn.x[0], p["attn"]["c_attn"], f"{name}.attn.c_attn")
        dx = dx + layer_norm(dnormed, seen.x[0], p["ln_1"], f"{name}.ln_1")
    found["wpe.weight"] = np.zeros_like(params["wpe"]["weight"])
    found["wpe.weight"][:n_seq] = dx
    found["wte.weight"] = dlogits.T @ final[0]
    np.add.at(found["wte.weight"], ids, dx)
    return found


# %% [markdown]
# First on a model small enough to ask every single weight. One block, float64.

# %%
tiny = GPTConfig(n_vocab=11, n_ctx=6, n_embd=8, n_layer=1, n_head=2)
tiny_params = P.init(tiny, np.random.default_rng(0), np.float64)
for _, array in P.walk(tiny_params):
    array += 0.3 * np.random.default_rng(array.size).standard_normal(array.shape)  # away from 0 and 1, where bugs hide
tiny_ids, tiny_targets = np.array([3, 1, 4, 1, 5]), np.array([1, 4, 1, 5, 9])


def loss_of(params, config, ids, targets):
    final, _ = model.trunk(ids[None], params, config, ops)
    losses, _ = ops.cross_entropy(final[0], params["wte"]["weight"], targets)
    return float(losses.mean())


mine = gradients(tiny_ids, tiny_targets, tiny_params, tiny)
arrays = dict(P.walk(tiny_params))
worst = gradcheck(lambda *_: loss_of(tiny_params, tiny, tiny_ids, tiny_targets), list(arrays.values()), [mine[n] for n in arrays])
theirs = dict(P.walk(backward.loss_and_grads(tiny_ids[None], tiny_targets[None], tiny_params, tiny, ops)[1]))
assert worst < 1e-5 and mine.keys() == theirs.keys()
assert all(np.allclose(mine[name], theirs[name], rtol=1e-10, atol=1e-12) for name in mine)
print(f"{P.count(tiny_params):,} weights in {len(mine)} arrays: right by finite differences, and the library's")

# %% [markdown]
# Then, not one line changed, on *stories*: six blocks, float32. The differences are a few times float32's rounding.

# %%
mine = gradients(ids[:-1], ids[1:], gpt.params, gpt.config)
theirs = dict(P.walk(grads))
differences = [np.abs(mine[name] - theirs[name]).max() / np.abs(theirs["wte.weight"]).max() for name in theirs]
assert mine.keys() == theirs.keys() and max(differences) < 1e-5
print(f"{len(mine)} arrays, {sum(a.size for a in mine.values()):,} gradients: the same as the library's")

# %% [markdown]
# ### One number for all of them
#
# Both could share a mistake. Nudging each of the 5.9 million weights is out of the question, but **all at once** can be nudged: in a random direction $d$. The
# loss must then change by $g \cdot d$, and if one large gradient were wrong, it would not.
#
# $$\frac{L(\theta + h\,d) - L(\theta - h\,d)}{2h} \approx g \cdot d$$

# %%
wide = {name: array.astype(np.float64) for name, array in P.walk(gpt.params)}


def moved(direction, h, dtype=np.float64):
    """The loss with all weights moved by h along a direction."""
    there = P.nest({name: (array + h * direction[name]).astype(dtype) for name, array in wide.items()})
    return loss_of(there, gpt.config, ids[:-1], ids[1:])


def dot(a, b):
    return float(sum((a[name] * b[name]).sum() for name in a))


_, found = backward.loss_and_grads(ids[None, :-1], ids[None, 1:], P.nest(wide), gpt.config, ops)
gradient = dict(P.walk(found))
d = {name: rng.standard_normal(array.shape) for name, array in wide.items()}
h = 1e-6
asked, expected = (moved(d, h) - moved(d, -h)) / (2 * h), dot(gradient, d)
print(f"g · d = {expected:.4f}, asked of the loss {asked:.4f}")
assert abs(asked - expected) < 1e-5 * math.sqrt(dot(gradient, gradient))

# %% [markdown]
# Write this check first, whenever you write a backward. It costs two forward passes.
#
# ## How the judge himself fails
#
# How small should $h$ be? As small as possible, says the definition of a derivative. Before you run the next cell, draw what you expect: the error of the finite
# difference over $h$.

# %%
block = {name: array for name, array in gradient.items() if name.startswith("h.2.")}
slope = math.sqrt(dot(block, block))
stored = {dtype: {name: array.astype(dtype) for name, array in wide.items()} for dtype in (np.float32, np.float64)}


def block_moved(h, dtype):
    """The loss with block 2 moved by h along its own gradient; so the slope is that gradient's length."""
    near = {name: (wide[name] + h / slope * block[name]).astype(dtype) for name in block}
    return loss_of(P.nest(stored[dtype] | near), gpt.config, ids[:-1], ids[1:])


steps = 10.0 ** np.arange(-12, 1)
errors = {}
for dtype in stored:
    asked = [(block_moved(h, dtype) - block_moved(-h, dtype)) / (2 * h) for h in steps]
    errors[dtype] = np.abs(np.array(asked) - slope) / slope
assert errors[np.float64][6:8].max() < 1e-7 and errors[np.float32][4:7].max() > 0.01
figure = style.figure(7, 3.9, "How far finite differences are off",
                      f"stories, {len(ids) - 1} tokens, the weights of block 2 moved along their gradient",
                      "an error of 1: no digit is right")  # fmt: skip
axes = figure.subplots()
axes.loglog(steps, errors[np.float32], "s--", color=style.KEY, label="float32")
axes.loglog(steps, errors[np.float64], "o-", color=style.QUERY, label="float64")
rounding = np.finfo(np.float64).eps * loss / slope / steps
axes.loglog(steps[:8], rounding[:8], ":", color=style.PALE)
axes.loglog(steps[6:], errors[np.float64][9] * (steps[6:] / steps[9]) ** 2, ":", color=style.PALE)
axes.text(1e-12, 1e-10, "rounding: falls as 1 / h", fontsize=9, color=style.INK)
axes.text(1e-3, 1e-10, "bend: grows as h²", fontsize=9, color=style.INK)
axes.set(xlabel="step h", ylabel="relative error", ylim=(1e-12, 1e3))
axes.legend(frameon=False)
style.without_frame(axes, "top", "right")
figure

# %% [markdown]
# From the right to the left: at first the error falls with $h^2$, as the loss bends ever less within so short a way. Then it turns, and **rises**: the two losses
# differ only in their last digits, and these are rounding. Divided by a tiny $h$, rounding becomes large. The best step is near $\varepsilon^{1/3}$, where
# $\varepsilon$ is the rounding of 1: in float32 that leaves a few digits, with luck; in float64 about ten, and a wide range of steps that are good enough.

# %%
for dtype in (np.float32, np.float64):
    eps = float(np.finfo(dtype).eps)
    print(f"{dtype.__name__}: rounding {eps:.0e}, best step near {eps ** (1 / 3):.0e}")

# %% [markdown]
# ## A gradient to look at
#
# Between the first layer and the last stands the residual stream, and the gradient can be read there too: how does the loss of *one* token depend on every place
# of the stream? Take the sentence from above. The last token is ` dog`; which of the tokens before it does its loss depend on? The bars at the right multiply the
# gradient with the token's own embedding: below zero, the token lowers the loss.

# %%
seen = lens.gradients_view(gpt, "A dog and a cat played. The dog", position=-1)
figure = lens.draw_gradients(seen, "stories; the loss is that of the last token alone")
figure

# %% [markdown]
# The ` dog` at the beginning helps. The ` cat` hurts, about as much: it is the other candidate. The last place has no gradient at all: what is read there comes
# after the prediction. Nothing of this was written into the model; it follows from a chain of products.
#
# Now the left picture, from top to bottom. Numbers for the last place that counts, ` The`:

# %%
x = lens.stream(lens.look(gpt, "A dog and a cat played. The dog").acts).x  # [2 * n_layer + 1, n_seq, n_embd]
for name, g, row in list(zip(seen.names, seen.stream[:, -2], x[:, -2], strict=True))[::-1]:
    alike = g @ seen.stream[-1, -2] / np.linalg.norm(g) / np.linalg.norm(seen.stream[-1, -2])
    print(f"{name:9} gradient {np.linalg.norm(g):.2f}, like the top's {alike:+.2f}; the stream's own deviation {row.std():.2f}")

# %% [markdown]
# Two things are worth a pause. From the top down to block 0 the gradient keeps its length, and much of its direction: the stream is a road on which it passes
# five blocks almost untouched (rule 2), while each block adds its own contribution. This is a large part of why deep GPTs can be trained. And then, at the very
# bottom, it becomes ten times longer. That is the layer norm's $1/\sigma$: the embeddings are small, block 0 writes something large over them, and a small arrow
# turns further when its tip is moved.
#
# ## One step down
#
# Now use it. Move all weights a little against the gradient, $\theta \leftarrow \theta - \text{lr} \cdot g$. To first order the loss falls by
# $\text{lr} \cdot |g|^2$. This cannot go on for ever: a straight line goes below zero, which a loss never does. The next term is the curvature along the
# gradient, and it costs two more gradients: the gradient a little ahead, minus the gradient a little behind.
#
# $$L(\theta - \text{lr}\, g) \approx L - \text{lr}\,|g|^2 + \tfrac12\, \text{lr}^2\; g^{\top} H g$$

# %%
length = math.sqrt(dot(gradient, gradient))
unit = {name: array / length for name, array in gradient.items()}


def gradient_at(h):
    """The gradient with all weights moved by h along the unit gradient."""
    there = P.nest({name: array + h * unit[name] for name, array in wide.items()})
    return dict(P.walk(backward.loss_and_grads(ids[None, :-1], ids[None, 1:], there, gpt.config, ops)[1]))


ahead, behind = gradient_at(1e-4), gradient_at(-1e-4)
curvature = (dot(ahead, unit) - dot(behind, unit)) / 2e-4
rates = np.geomspace(1e-3, 0.5, 16)
got = np.array([moved(gradient, -lr) for lr in rates])
fine = np.geomspace(rates[0], rates[-1], 300)
line = loss - fine * length**2
bent = line + 0.5 * fine**2 * length**2 * curvature
assert abs(got[0] - bent[0]) < 1e-3 and got.min() < 0.6 * loss and got[-1] > loss
print(f"|g| = {length:.1f}, curvature along it {curvature:.1f}")
print(f"lr {rates[0]:.3f}: loss {loss:.3f} -> {got[0]:.3f}; the line says {line[0]:.3f}, with the bend {bent[0]:.3f}")

# %%
figure = style.figure(7, 3.9, "What one step does, and what was promised",
                      f"stories, one text of {len(ids) - 1} tokens, plain gradient descent, float64")  # fmt: skip
axes = figure.subplots()
axes.semilogx(fine, line, "--", color=style.PALE, label="promised by the gradient")
axes.semilogx(fine, bent, "-.", color=style.KEY, label="with the curvature")
axes.semilogx(rates, got, "o-", color=style.QUERY, label="got")
axes.axhline(loss, color=style.INK, linewidth=0.8)
axes.text(rates[0], loss + 0.06, "before the step", fontsize=9, color=style.INK)
axes.axvline(2 / curvature, color=style.INK, linewidth=0.8, linestyle=":")
axes.text(2 / curvature * 1.05, 0.1, "2 / curvature", fontsize=9, color=style.INK, rotation=90)
axes.set(xlabel="learning rate", ylabel="loss after one step (nats per token)", ylim=(0, 1.8 * loss))
axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, 0.9))
style.without_frame(axes, "top", "right")
figure

# %% [markdown]
# For small rates the promise is kept. Then the bend takes over; a rate of $2/\text{curvature}$ lands, by the parabola, as high on the other side of the valley as
# it began, and everything beyond makes the model worse. So there is a best rate, it depends on the place and on the direction, and no formula gives it
# beforehand. Training (notebook 08) is the art of living with that.
#
# (And do not rejoice over the fallen loss: this is one text, and one step on it makes the model better at *this* text.)
#
# ## What people get wrong
#
# * *"Backpropagation is how the network learns."* It moves nothing: it answers a question about weights that stay as they are. Learning is the subtraction that
#   follows, and there are many ways to do it.

# %%
before = {name: array.copy() for name, array in P.walk(gpt.params)}
backward.loss_and_grads(ids[None, :-1], ids[None, 1:], gpt.params, gpt.config, ops)
assert all(np.array_equal(before[name], array) for name, array in P.walk(gpt.params))
print("after a backward pass every weight is, bit for bit, what it was")

# %% [markdown]
# * *"Backpropagation is something else than the chain rule."* It is the chain rule with the brackets set from the left. A chain of tables (Jacobians) from a loss
#   to a deep layer can be multiplied in either order; the answer is the same, the work is not. From the loss on, there is always one row to carry:

# %%
width, depth = 256, 6
row, tables = rng.standard_normal((1, width)), [rng.standard_normal((width, width)) / 16 for _ in range(depth)]
from_the_loss, from_the_input = row, np.eye(width)
for table in tables:
    from_the_loss = from_the_loss @ table
for table in tables[::-1]:
    from_the_input = table @ from_the_input
assert np.allclose(from_the_loss, row @ from_the_input)
print(f"the same numbers; {depth * width**2:,} multiplications from the loss, {depth * width**3:,} from the input")

# %% [markdown]
# * *"To go back through a softmax the whole Jacobian must be stored."* For one head over 256 tokens it would have 16.8 million entries. One sum per row does it;
#   so it does for layer norm, and for everything else here.

# %%
n = 256
p, dp = ops.softmax(rng.standard_normal((n, n))), rng.standard_normal((n, n))
jacobians = -p[:, :, None] * p[:, None, :]  # [n, n, n]: for each of n queries a table [n, n]
jacobians[:, range(n), range(n)] += p
assert np.allclose(ops.softmax_backward(dp, p), (jacobians @ dp[:, :, None])[:, :, 0])
print(f"{jacobians.size:,} numbers with the Jacobian, {p.size:,} without; the same gradient")
del jacobians

# %% [markdown]
# * *"Its loss is the squared error."* Then a model that is confidently wrong could not be corrected. Two tokens, and the logit of the wrong one is ahead by 2, 5
#   or 10:

# %%
for ahead_by in (2.0, 5.0, 10.0):
    p = ops.softmax(np.array([0.0, ahead_by]))  # the right token is 0
    squared = softmax_backward(2 * (p - [1, 0]), p)
    print(f"wrong by {ahead_by:4.1f}: gradient at the right logit {p[0] - 1:.3f} by cross-entropy, {squared[0]:.5f} by squared error")

# %% [markdown]
# * *"Whether the gradients of a batch are summed or averaged makes no difference."* With plain gradient descent it is a factor of the learning rate, here 30;
#   clipping cuts at another place. AdamW divides by the gradient's own size and does not notice. What is always wrong is a mean of means when texts differ in
#   length: a token in a short text would then weigh more.

# %%
halves = [ids[:21], ids[20:]]  # 20 next tokens, and 10
parts = [backward.loss_and_grads(half[None, :-1], half[None, 1:], gpt.params, gpt.config, ops)[1] for half in halves]
means = [part["wte"]["weight"] for part in parts]
by_tokens, of_means = (20 * means[0] + 10 * means[1]) / 30, (means[0] + means[1]) / 2
print(f"mean of means: off by {np.linalg.norm(of_means - by_tokens) / np.linalg.norm(by_tokens):.0%} of the gradient")
steps = []
for factor in (1.0, 30.0):  # the mean, and the sum
    weights = {"w": np.zeros((2, 3))}
    AdamW(weights).step(weights, {"w": factor * np.array([[0.3, -2.0, 0.01], [1.0, -0.5, 4.0]])}, lr=0.1)
    steps.append(weights["w"])
assert np.allclose(*steps, rtol=1e-5)
print("AdamW's first step by the mean and by the sum: the same,", steps[0][0].round(3))

# %% [markdown]
# ## Exercises
#
# **Easy.** A model is trained at a temperature: its loss is $-\log \text{softmax}(z / T)_t$. Write `tempered_backward(dlosses, logits, targets, temperature)`:
# the gradient at the logits `[n, n_vocab]`. `dlosses [n]` is the gradient at each of the `n` losses, `targets [n]` are the right tokens.

# %%
def tempered_backward(dlosses, logits, targets, temperature):
    ...


ch07.tempered_backward(tempered_backward);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def tempered_backward(dlosses, logits, targets, temperature):
#     wrong_by = ops.softmax(logits / temperature)
#     wrong_by[np.arange(len(targets)), targets] -= 1
#     return wrong_by * dlosses[:, None] / temperature
# ```
# </details>
#
# **Medium.** Llama and its kin have replaced layer norm by RMS norm: no mean is taken away, no bias added, $y = w\, x / \sqrt{\text{mean}(x^2) + \varepsilon}$.
# Which of the two silent directions is still silent? Write `rms_norm_backward(dout, x, weight, eps)` → `dx, dweight`, for `x` and `dout` `[n, n_embd]`, `weight`
# `[n_embd]`.

# %%
def rms_norm_backward(dout, x, weight, eps):
    ...


ch07.rms_norm_backward(rms_norm_backward);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def rms_norm_backward(dout, x, weight, eps):
#     rms = np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
#     normed = x / rms
#     dnormed = dout * weight
#     dx = (dnormed - normed * (dnormed * normed).mean(axis=-1, keepdims=True)) / rms
#     return dx, (dout * normed).sum(axis=0)
# ```
# </details>
#
# **Hard, an investigation.** How large a step can gradient descent bear, in *whatever* direction? In the direction of the greatest curvature (the largest
# eigenvalue $\lambda$ of the Hessian, the table of second derivatives) a rate above $2/\lambda$ makes every step overshoot by more than it gained. The Hessian of
# a model with a million weights has $10^{12}$ entries, but its product with a vector $v$ costs two gradients, as above:
# $Hv \approx (g(x + hv) - g(x - hv)) / 2h$. Multiply again and again, keep the length at 1, and $v$ turns into the direction of the largest eigenvalue. Write
# `sharpness(gradient, x)`: the eigenvalue of largest magnitude at `x` `[n]`, for a function `gradient(x)` that gives `[n]` in float64; a relative error of 1 % is
# good enough.
#
# Then look. Below is the tiny model as such a function. Run gradient descent on it for 200 steps, at a tenth, a half, twice, four times and eight times
# $2/\lambda$ (with the $\lambda$ of the beginning). Does every rate above $2/\lambda$ end in disaster, as the sentence above suggests? Watch $\lambda$ on the
# way, not the loss alone.

# %%
def tiny_gradient(x):  # [n] -> [n]: the tiny model's weights in one row, and their gradient
    start, there = 0, {}
    for name, array in arrays.items():
        there[name] = x[start : start + array.size].reshape(array.shape)
        start += array.size
    found = gradients(tiny_ids, tiny_targets, P.nest(there), tiny)
    return np.concatenate([found[name].ravel() for name in arrays])


tiny_x = np.concatenate([array.ravel() for array in arrays.values()])
print(f"{len(tiny_x):,} weights, a gradient of length {np.linalg.norm(tiny_gradient(tiny_x)):.2f}")

# %%
def sharpness(gradient, x):
    ...


ch07.sharpness(sharpness);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def sharpness(gradient, x):
#     h = 1e-4
#     v = np.random.default_rng(0).standard_normal(len(x))
#     v /= np.linalg.norm(v)
#     for _ in range(200):
#         hv = (gradient(x + h * v) - gradient(x - h * v)) / (2 * h)
#         eigenvalue = float(v @ hv)
#         v = hv / np.linalg.norm(hv)
#     return eigenvalue
# ```
# </details>
#
# <details><summary>what there is to see</summary>
#
# At the small rates the loss falls, and $\lambda$ first *rises* to a multiple of what it was: downhill the valley becomes narrower. A little above $2/\lambda$
# the loss jumps about, but the jumps carry the weights to a flatter place, where $\lambda$ is below $2/\text{lr}$, and there they come to rest, lower than the
# small rates got. Far above there is no such place, and the loss grows without bounds. So a large rate does not only go faster: it chooses flatter valleys. Cohen
# et al. 2021 found that many networks, trained by full-batch gradient descent, go to this *edge of stability* by themselves and stay there.
#
# </details>
#
# ## Where it stands in the code
#
# | here | there |
# |---|---|
# | `linear_backward`, `gelu_backward`, `softmax_backward`, `layer_norm_backward` | `nanogpt_np/ops.py`, each below its forward |
# | `attention_backward` | `ops.attention_probs_backward`, `ops.attention_mix_backward`; `training/backward.py`: `attention_backward` |
# | p - onehot | `ops.cross_entropy_backward`, a part of the vocabulary at a time |
# | `wrong[ids] += dout`, done right | `ops.embedding_backward` |
# | `gradients` | `training/backward.py`: `loss_and_grads`, room by room the mirror of `model.py` |
# | `finite_difference`, `checked` | `training/finite_differences.py`: `numeric_gradient`, `gradcheck` |
# | the gradient at the stream | `nanogpt_np/lens/gradients.py`: `gradients_view` |
