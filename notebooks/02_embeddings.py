# %% [markdown]
# # 02 · What does a model know of a token before it reads?
#
# **You will be able to** say what the two tables at the entrance of a GPT-2 hold, and read them like a map: which tokens are alike, which ones the model has
# never met, how it tells places apart; and to say from measurements, not from hearsay, what learned positions, fixed waves and no positions at all are good
# for.
#
# **You need** notebook [00](00_map.ipynb); [01](01_bytes.ipynb) for where tokens come from.

# %%
import inspect
import math
import types
from pathlib import Path

import numpy as np
from checks import ch02

from nanogpt_np import GPT, GPTConfig, lens, model, ops
from nanogpt_np import params as P
from nanogpt_np.errors import InputError
from nanogpt_np.lens import style
from nanogpt_np.training import backward, data, optim

gpt = GPT.from_pretrained("stories", ops="numpy")
wte, wpe = gpt.params["wte"]["weight"], gpt.params["wpe"]["weight"]
print("wte, a row for each token:", wte.shape, "  wpe, a row for each place:", wpe.shape)

# %% [markdown]
# ## A row, looked up
#
# Ids are names, not quantities: token 394 is not twice token 197. So the first thing a model does is to forget the number. Each id fetches a row of a table,
# and everything after works on rows. With 5 tokens and rows of 3 numbers:

# %%
small = np.array([[1, 0, 2], [0, 3, 1], [4, 1, 0], [2, 2, 2], [0, 0, 5]], float)  # [n_vocab, n_embd]
ids = np.array([3, 1, 3])
onehot = np.eye(5)[ids]  # [n_seq, n_vocab], a single 1 in each row
print(onehot, small[ids], sep="\n\n")
assert np.array_equal(onehot @ small, small[ids])
assert np.array_equal(ops.embedding(ids, small), small[ids])

# %% [markdown]
# To pick a row is to multiply with a row of zeros and one 1. So an embedding is a linear layer like any other, and its gradient follows the same rule. Nobody
# computes that product, since nearly all of it is zeros:

# %%
n_vocab, n_embd = wte.shape
print(f"one token as a product: {n_vocab * n_embd:,} multiplications, {n_embd} of them with 1; as a lookup: none")
dout = np.array([[1, 1, 1], [2, 2, 2], [10, 10, 10]], float)  # a gradient for each of the three rows
assert np.array_equal(ops.embedding_backward(dout, ids, small), onehot.T @ dout)
print(ops.embedding_backward(dout, ids, small))

# %% [markdown]
# Token 3 was read twice and gets the sum of both gradients. Tokens 0, 2 and 4 were not read and get nothing. Remember that "nothing", it is only half of the
# truth.
#
# ## Who is whose neighbour?
#
# Nobody told *stories* what a word means. Its rows began as random numbers. Before you run the next cells, write down what you expect near ` red`, near ` big`,
# and near `7`.

# %%
lens.draw_neighbours(lens.neighbours(gpt, " red", k=8), "stories")

# %%
for token in (" Lily", " ran", " park", " big", " happy", " she", "7"):
    near = lens.neighbours(gpt, token, k=5)
    found = zip(near.tokens, near.similarities, strict=True)
    print(f"{near.token:7}" + "  ".join(f"{name:>12} {like:.2f}" for name, like in found))

# %% [markdown]
# Colours beside colours, names beside names, places to play beside each other. The measure is the cosine: how far two rows point the same way, whatever their
# lengths. Two things surprise. ` big` is nearest to ` small`, ` happy` is near ` sad`: the opposites. Rows become alike if the same things come *before and
# after* them, and opposites are the most exchangeable words there are. "Alike" means "stands in the same places", not "means the same".
#
# And `7`? Its neighbours are scraps, all with a cosine of nearly 1.
#
# ## Why an unread row does not stay where it was
#
# Notebook [01](01_bytes.ipynb) has met them: tokens that the vocabulary has and the training text never used, such as the bytes that no UTF-8 text contains.
# There they were found by direction. Here are the *lengths* of all rows; crosses have a cosine above 0.9 with the mean of 13 such bytes.

# %%
spelled = [gpt.tokenizer.token_bytes(i) for i in range(n_vocab)]
impossible = [spelled.index(bytes([byte])) for byte in (192, 193, *range(245, 256))]
lengths = np.linalg.norm(wte, axis=1)
unread = wte[impossible].mean(axis=0)
likeness = wte @ unread / lengths / np.linalg.norm(unread)
odd = likeness > 0.9
figure = style.figure(7, 3.3, "How long is the row of each token?", "stories, wte",
                      "crosses: rows that point nearly the same way as those of bytes that no text has")  # fmt: skip
axes = figure.subplots()
axes.plot(np.nonzero(~odd)[0], lengths[~odd], ".", markersize=2.5, color=style.PROBABILITY[2])
axes.plot(np.nonzero(odd)[0], lengths[odd], "x", markersize=4, color=style.SIGNED[-1])
axes.set(xlabel="id: bytes first, then in the order in which the tokenizer made them", ylabel="length", ylim=(0, 2.6))
figure

# %%
never = likeness > 0.99
print(f"{never.sum()} rows on one line: lengths from {lengths[never].min():.2f} to {lengths[never].max():.2f}")
for first, last in ((256, 1000), (1000, 2000), (2000, 3000), (3000, 4096)):
    band = lengths[first:last][likeness[first:last] < 0.5]
    print(f"ids {first:4} to {last - 1:4}, the blue band: median length {np.median(band):.2f}")
seven = spelled.index(b"7")
print(f"7 is neither here nor there: cosine {likeness[seven]:.2f}, length {lengths[seven]:.2f}")

# %% [markdown]
# Three things to read. The blue band is level: a common token has no longer row than a rare one. The line at the top: one length, and as 01 has shown one
# direction; these rows are one and the same. Between line and band hang the tokens that came a few times in all of training, on their way from the one to the
# other; `7` is one of these.
#
# One often reads that a row which is never read keeps its random numbers. A lookup sends it no gradient, that is true. But the table is used twice (the weights
# are *tied*): at the exit, every row is compared with the stream to make the logits. There an unused token takes part in *every* prediction, and every time it
# is wrong. The gradient of its row is then its probability times the stream, whatever the token. So all of them get the same push. Is that so? A fresh model,
# before its first step; and the trained one:

# %%
text = "Once upon a time, there was a little girl named Lily. She loved to play in the park with her dog."
ids = np.array(gpt.tokenizer.encode(text))
fresh = GPT.from_config(gpt.config, seed=0, tokenizer=gpt.tokenizer, ops="numpy")
_, grads = backward.loss_and_grads(ids[None, :-1], ids[None, 1:], fresh.params, fresh.config, fresh.ops)
pushes = grads["wte"]["weight"][impossible].astype(float)
pushes /= np.linalg.norm(pushes, axis=1, keepdims=True)
print(f"fresh: the gradients of 13 unread rows have cosines of at least {(pushes @ pushes.T).min():.2f} among them")
stream = lens.look(gpt, text).acts.final[0]  # [n_seq, n_embd]: what logits are made from
assert (stream @ unread < 0).all()
print(f"trained: {(stream @ unread < 0).sum()} of {len(stream)} rows of the stream have a negative product with theirs")

# %% [markdown]
# They are pushed the same way from the first step on, away from wherever the stream points, and end in the one corner of the space where the model never goes.
# That is the safest way of saying "never". An input row that nobody reads is an output row that everybody pushes. In a model with two separate tables, the row
# that nobody reads would indeed keep its random numbers:

# %%
untied = GPT.from_config(gpt.config.replace(tie_word_embeddings=False), seed=0, tokenizer=gpt.tokenizer, ops="numpy")
_, grads = backward.loss_and_grads(ids[None, :-1], ids[None, 1:], untied.params, untied.config, untied.ops)
for name in ("wte", "lm_head"):
    print(f"untied, gradients of the 13 rows in {name:7} all zero: {not grads[name]['weight'][impossible].any()}")

# %% [markdown]
# ## The same table at the exit
#
# If the rows that come in are compared with the rows that could come out, what would a model without any block say? Take each row through the last layer norm
# and multiply with `wte.T`.

# %%
logits = ops.unembed(ops.layer_norm(wte, **gpt.params["ln_f"]), wte)  # [n_vocab, n_vocab]
seen = np.nonzero(~odd)[0]
print(f"share of the tokens (blue) that answer themselves: {np.mean(logits[seen].argmax(axis=1) == seen):.2f}")
for token in ("Once", " named", " said"):
    i = gpt.tokenizer.encode(token)[0]
    best = [gpt.tokenizer.decode([int(j)]) for j in np.argsort(-logits[i]) if not odd[j]]
    answer = gpt.tokenizer.decode([int(gpt([i])[0, -1].argmax())])
    print(f"after {token!r:9} without blocks: {best[:4]}   with them: {answer!r}")

# %% [markdown]
# It repeats itself, or says a neighbour: `wte @ wte.T` knows what is *alike*, not what *follows*. It cannot know: the product is symmetric (the layer norm
# changes little of that), and "upon follows Once" is not the same as "Once follows upon". So the first thing the blocks must do is to turn a token away from
# itself. When does it happen? We read the stream after each half-block as if the model ended there, and ask for the probability of the token it stands at, and
# of the one that really follows.

# %%
names, x = lens.stream(lens.look(gpt, text).acts)  # x: [2 * n_layer + 1, n_seq, n_embd]
print("            itself   the next")
for name, row in zip(names, x, strict=True):
    probs = ops.softmax(ops.unembed(ops.layer_norm(row, **gpt.params["ln_f"]), wte).astype(float))
    own, following = probs[np.arange(len(ids)), ids], probs[np.arange(len(ids) - 1), ids[1:]]
    print(f"{name:9}{own.mean():9.2f}{following.mean():11.2f}")

# %% [markdown]
# In one place: the first feed-forward network. It works on each row by itself. How much of this step is a table of what usually follows what, and how much has
# the first attention brought in? Silence that attention and see:

# %%
run = lens.run(gpt, text, {("attn_out", 0): np.zeros_like})
behind = ops.layer_norm(run.sites["resid_post", 0], **gpt.params["ln_f"])
probs = ops.softmax(ops.unembed(behind, wte).astype(float))
own, following = probs[np.arange(len(ids)), ids], probs[np.arange(len(ids) - 1), ids[1:]]
print(f"behind block 0 without its attention: itself {own.mean():.2f}, the next {following.mean():.2f}")

# %% [markdown]
# From a token and its place alone, the first feed-forward network turns "I am this" into "after me comes that": a table of pairs, and the largest single step
# of the model. Everything after is context.
#
# ## Where does a token stand?
#
# A row of `wte` says which token, not where. Without more, `Tom bit the dog` and `the dog bit Tom` would be the same heap of rows for attention (notebook
# [03](03_attention.ipynb) shows that). GPT-2 adds a second row, one for each place, learned like everything else.

# %%
print(inspect.getsource(model.embed))

# %% [markdown]
# The older way, of the first transformer, are fixed waves: in column pairs, the sine and the cosine of the place, with wavelengths from 2π to nearly 20,000π
# places. Here is what each kind makes of the question *which places are alike?* Before you look: what do you expect for learned rows, which nobody asked to be
# orderly?

# %%
whole = lens.positions_view(gpt)
half = whole._replace(learned=whole.learned[:128, :128], sinusoidal=whole.sinusoidal[:128, :128])
figure = lens.draw_positions(half, "stories, the first 128 of 256 places")
figure.set_size_inches(6.2, 3.5)
figure

# %% [markdown]
# On the right, order by construction: the colour depends only on the distance from the diagonal. On the left, order that was *found*: each place resembles its
# neighbours (the dark band), early places are unlike late ones, and there are ripples. Look along a row: the likeness goes down and up again. What are these
# ripples?
#
# Take the table apart into its main directions (a singular value decomposition). On the left below: how far each place lies along three of them.

# %%
centred = wpe.astype(float) - wpe.mean(axis=0)
along, sizes, directions = np.linalg.svd(centred, full_matrices=False)
shares = sizes**2 / (sizes**2).sum()
print("share of each of the first 8 directions:", shares[:8].round(2), " together", shares[:8].sum().round(2))

figure = style.figure(6.2, 3.9, "Left: what stories has learned; right: what Vaswani et al. fixed", "stories, wpe",
                      "left: how far each place lies along a direction; right: three columns of 256")  # fmt: skip
waves = ops.sinusoidal_positions(np.arange(gpt.config.n_ctx), n_embd, np.float64)
for number, column, (left, right) in zip((0, 2, 3), (102, 54, 40), figure.subplots(3, 2, sharex=True), strict=True):
    left.plot(along[:, number] * sizes[number], color=style.INK)
    left.set_title(f"direction {number}: {shares[number]:.0%} of all differences", fontsize=9, color=style.INK)
    right.plot(waves[:, column], color=style.INK)
    period = 2 * math.pi * 10_000 ** (column / n_embd)
    right.set_title(f"column {column}: a sine of {period:.0f} places", fontsize=9, color=style.INK)
    for axes in (left, right):
        axes.axhline(0, color=style.RESIDUAL, zorder=0)
        if number == 3:
            axes.set_xlabel("place", fontsize=9)
figure

# %% [markdown]
# **The model has invented waves.** The strongest direction is a slow slope from the first place to the last, with place 0 set apart by a jump. Directions 2 and
# 3 (and some more that are not drawn) go up and down, less regularly than a sine, but all the way. Nobody built that in. Each place is to resemble its
# neighbours and yet to be told apart from all others, with few numbers; waves of several lengths are a way to do that. How long are the short ones? Compare all
# places with those d further on, in the oscillating directions alone:

# %%
curves = along[:, 2:7] * sizes[2:7]
curves -= curves.mean(axis=0)
agree = np.array([(curves[: 256 - d] * curves[d:]).sum(axis=1).mean() for d in range(60)])
agree /= agree[0]
lowest = int(agree[:30].argmin())
highest = lowest + int(agree[lowest:].argmax())
print(f"least alike at distance {lowest} ({agree[lowest]:.2f}), most alike again at {highest} ({agree[highest]:.2f})")

# %% [markdown]
# ## Is a sum not a mess?
#
# Token and place are *added*. How can anybody take them apart again? By direction. Nearly nine tenths of what makes places different lie in 8 of 256
# directions, and the token rows keep out of their way:

# %%
met = wte[~odd] - wte[~odd].mean(axis=0)
share = np.square(met @ directions[:8].T).sum() / np.square(met).sum()
print(f"{8 / n_embd:.1%} would be their share in these 8 directions by chance; it is {share:.1%}")
assert share < 8 / n_embd

# %% [markdown]
# In a space of 256 dimensions there is room for both. A head that wants places reads along those 8 directions, one that wants tokens reads along others.
#
# ## What are the places worth?
#
# *stories* writes four texts; then it reads them, with its places tampered with. Guess the order of the losses first: as it is; every row 10 places too late;
# 100 too late; no rows at all; the rows in reverse; the rows shuffled.

# %%
prompts = ["Once upon a time", "One day, a boy", "There was a cat", "Tom and Lily"]
written = gpt.generate(prompts, 130, temperature=0.8, top_p=0.95, seed=1)
texts = np.stack([gpt.tokenizer.encode(begin + rest)[:120] for begin, rest in zip(prompts, written, strict=True)])


def losses_with(table):  # [n_ctx, n_embd] -> [4, 119]
    """Nats for each token of the texts with another table of places."""
    params = {**gpt.params, "wpe": {"weight": np.asarray(table, np.float32)}}
    logits, _ = model.forward(texts[:, :-1], params, gpt.config, gpt.ops)
    return -np.log(np.take_along_axis(ops.softmax(logits), texts[:, 1:, None], axis=-1))[..., 0]


rng = np.random.default_rng(0)
tables = {
    "as it is": wpe, "10 places later": np.roll(wpe, -10, axis=0), "100 places later": np.roll(wpe, -100, axis=0),
    "none, all zero": 0 * wpe, "in reverse": wpe[::-1], "shuffled": wpe[rng.permutation(len(wpe))],
}  # fmt: skip
for name, table in tables.items():
    print(f"{name:17} loss {losses_with(table).mean():.2f}")

# %% [markdown]
# A text that begins at place 10 or at place 100 is read nearly as well: **absolute rows, relative reading**. No places at all cost much. False ones cost far
# more: a shuffled table is worse than none, since the model believes it. And how much of the table is needed? Keep its mean and its main directions only:

# %%
for kept in (0, 1, 2, 3, 8):
    table = wpe.mean(axis=0) + (along[:, :kept] * sizes[:kept]) @ directions[:kept]
    print(f"{kept} directions: loss {losses_with(table).mean():.2f}")

# %% [markdown]
# With three of 256 directions nearly everything is there; with eight, everything.
#
# But how can absolute rows be read relatively? Look at what the heads of the first block make of places when the token is taken out of the play: at every place
# we put tokens drawn at random from the texts, 40 times, and take the mean of the scores. What remains depends on places alone.

# %%
block = gpt.params["h"][0]
scores = np.zeros((gpt.config.n_head, 256, 256))
for _ in range(40):
    x = wte[rng.choice(texts.ravel(), 256)] + wpe
    qkv = ops.linear(ops.layer_norm(x, **block["ln_1"]), **block["attn"]["c_attn"])[None]
    q, k, _ = (ops.split_heads(part, gpt.config.n_head)[0] for part in np.split(qkv, 3, axis=-1))
    scores += q @ k.swapaxes(-1, -2) / math.sqrt(gpt.config.d_head) / 40
by_place = ops.softmax(np.where(ops.causal_mask(256, 256), scores, -np.inf))

what = "query places: rows; key places: columns; colour: attention, 0 white to 0.08 and more dark"
figure = style.figure(5.6, 3.7, "What two heads of the first block look at, by place alone", "stories", what)
for head, axes in zip((0, 1), figure.subplots(1, 2), strict=True):
    axes.imshow(by_place[head], cmap=style.colour_map(style.PROBABILITY), vmin=0, vmax=0.08)
    back = by_place[head, 200, :201] @ (200 - np.arange(201))
    axes.set_title(f"L0.H{head}\nfrom place 200, {back:.0f} back in the mean", color=style.INK, fontsize=9)
figure

# %% [markdown]
# Bands along the diagonal, all the way down: whatever the place, a head looks back over the same distance. L0.H0 over some twenty tokens, L0.H1 at the last
# few. Nobody made attention relative; 256 separate rows were *learned* so that their products depend mostly on the difference.
#
# In L0.H1 a second, pale band runs beside the first. Its scores, as a mean over all pairs of places of that distance:

# %%
for distance in (1, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 48):
    print(f"distance {distance:3}: mean score {np.diagonal(scores[1], -distance).mean():5.2f}")

# %% [markdown]
# Down, a little up again until about 30, down for good. A wave that comes back after some 30 places cannot tell "just now" from "30 places ago"; it takes the
# slow waves to tell them apart, and they do it incompletely. The echo is the price of writing places with few waves.
#
# ## Fixed waves, by hand
#
# The waves of Vaswani et al. 2017 need no learning. Column 2j is the sine of place · 10000^(-2j / n_embd), column 2j + 1 the cosine. For n_embd = 4 there are
# two speeds, 1 and 1/100:

# %%
by_hand = np.array([
    [math.sin(0), math.cos(0), math.sin(0.00), math.cos(0.00)],
    [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)],
    [math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)],
    [math.sin(3), math.cos(3), math.sin(0.03), math.cos(0.03)],
])  # fmt: skip
assert np.allclose(by_hand, ops.sinusoidal_positions(np.arange(4), 4, np.float64))
print(by_hand.round(2))

# %% [markdown]
# A fast hand and a slow hand of a clock, each written as its two coordinates. Why a sine *and* a cosine? Because then a step of k places is a rotation, the
# same whatever the hour. There is **one matrix M for each k with row(p) @ M = row(p + k) at every p**. We do not take that on trust: fit such a matrix on some
# places by least squares, and try it on places it has not seen. Then the same for the learned rows.

# %%
def shift_fits(rows, k):
    """Fits one matrix for a step of k on the even places -> the share of the odd places' variance that it explains."""
    before, after = rows[:-k], rows[k:]
    before = np.hstack([before, np.ones((len(before), 1))])
    step = np.linalg.lstsq(before[::2], after[::2], rcond=None)[0]
    missed = after[1::2] - before[1::2] @ step
    return 1 - np.square(missed).sum() / np.square(after[1::2] - after[1::2].mean(axis=0)).sum()


tables = {
    "waves, n_embd 16": ops.sinusoidal_positions(np.arange(256), 16, np.float64),
    "learned, 16 main directions": along[:, :16] * sizes[:16],
    "random rows": np.random.default_rng(0).standard_normal((256, 16)),
}
for name, rows in tables.items():
    print(f"{name:28}" + "".join(f"   k = {k:2}: {shift_fits(rows, k):5.2f}" for k in (1, 10, 20)))
assert shift_fits(tables["waves, n_embd 16"], 10) > 0.9999

# %% [markdown]
# The fixed waves: all of it. The learned ones: about seven tenths; to a good part they too are wheels that turn. And from the rotation follows what the
# right-hand map above showed, that the product of two rows depends on their distance alone: sin a sin b + cos a cos b = cos(a - b).

# %%
for k in (0, 1, 10):
    products = (waves[: 256 - k] * waves[k:]).sum(axis=1)
    assert np.allclose(products, products[0])
    expected = np.cos(k * 10_000.0 ** (-np.arange(0, n_embd, 2) / n_embd)).sum()
    assert math.isclose(products[0], expected)
    print(f"row(p) · row(p + {k:2}) = {expected:6.2f} at every p")

# %% [markdown]
# ## Which is better? An experiment where the place is everything
#
# The task: four random symbols, a separator, and the same four again. To write the second half, look back exactly four places. One block, 32 wide, 300 steps.
# The places are learned, or frozen waves in three sizes, or waves that may learn on, or none. (A GPT-2 whose `wpe` holds the waves is the library's
# `positions="sinusoidal"`; the assert says so. The library's size for them is 0.02, that of fresh weights.) What do you expect of the three sizes?

# %%
def train(config, batch, seed, table=None, frozen=True, n_steps=300, lr=1e-2, ops=ops):
    """A few steps of AdamW -> the params; `table`: what wpe begins with, and keeps if it is `frozen`."""
    rng = np.random.default_rng(seed)
    params = P.init(config, rng)
    if table is not None:
        params["wpe"]["weight"][:] = table
    adam = optim.AdamW(params, betas=(0.9, 0.99))
    for step in range(n_steps):
        ids, targets = batch(step, rng)
        _, grads = backward.loss_and_grads(ids, targets, params, config, ops)
        optim.clip_(grads, 1.0)
        adam.step(params, grads, optim.warmup_cosine(step, n_steps, lr, lr / 10, 20), ops)
        if table is not None and frozen:
            params["wpe"]["weight"][:] = table
    return params


def copying(step, rng, n_rows=7):
    """0, four symbols, 0, the same four; only the second half counts -> ids, targets [n_rows, 9]."""
    symbols, begin = rng.integers(1, 17, size=(n_rows, 4)), np.zeros((n_rows, 1), int)
    rows = np.hstack([begin, symbols, begin, symbols])
    targets = rows[:, 1:].copy()
    targets[:, :5] = ops.IGNORE
    return rows[:, :-1], targets


config = GPTConfig(n_vocab=17, n_ctx=9, n_embd=32, n_layer=1, n_head=2, n_inner=64)
sines = ops.sinusoidal_positions(np.arange(9), 32, np.float32)
ids, targets = copying(0, np.random.default_rng(99), n_rows=300)
counted = targets != ops.IGNORE
params = P.init(config, np.random.default_rng(0))
params["wpe"]["weight"][:] = P.STD * sines
no_wpe = {name: part for name, part in params.items() if name != "wpe"}
theirs, _ = model.forward(ids, no_wpe, config.replace(positions="sinusoidal"), ops)
assert np.allclose(model.forward(ids, params, config, ops)[0], theirs, atol=1e-5)

# %%
kinds = {
    "learned": (None, False), "waves, size 0.02": (0.02 * sines, True), "waves, size 0.1": (0.1 * sines, True),
    "waves, size 1": (sines, True), "waves 0.02, learning": (0.02 * sines, False), "none": (0 * sines, True),
}  # fmt: skip
right, sizes_of = {}, {}
for name, (table, frozen) in kinds.items():
    found = [train(config, copying, seed, table, frozen) for seed in (0, 1)]
    guesses = [model.forward(ids, params, config, ops)[0].argmax(axis=-1) for params in found]
    right[name] = [np.mean((some == targets)[counted]) for some in guesses]
    sizes_of[name] = [np.linalg.norm(found[0][part]["weight"], axis=1).mean() for part in ("wte", "wpe")]
print("copy nearly without an error, both seeds:", [name for name, shares in right.items() if min(shares) > 0.95])
print("wrong more often than right, both seeds: ", [name for name, shares in right.items() if max(shares) < 0.5])

what = "bars: right answers in the second half; dashed: chance; dotted: one of the four symbols seen"
figure = style.figure(7.4, 3.6, "Who has learned to look back four places?", "one block, two seeds each", what)
axes = figure.subplots()
for y, name in enumerate(kinds):
    for seed, share in enumerate(right[name]):
        axes.barh(y + 0.36 * seed - 0.18, share, height=0.32, color=style.PROBABILITY[3 - seed])
    lengths_are = "mean length: wte {:.1f}, wpe {:.1f}".format(*sizes_of[name])
    axes.text(1.03, y, lengths_are, va="center", fontsize=8.5, color=style.INK)
axes.axvline(1 / 16, color=style.INK, linewidth=1, linestyle="--")
axes.axvline(1 / 4, color=style.INK, linewidth=1, linestyle=":")
axes.set_yticks(range(len(kinds)), list(kinds))
axes.set(xlim=(0, 1.5), ylim=(len(kinds) - 0.5, -0.5), xticks=(0, 0.25, 0.5, 0.75, 1))
style.without_frame(axes, "top", "right")
figure

# %% [markdown]
# Learned places: perfect. Waves: perfect *if their size fits*. At 0.02 they start as large as the tokens, but here the tokens grow fast and the waves cannot:
# they drown. At 1, the tokens drown. (The first transformer multiplied token rows by the square root of n_embd before it added waves, which brings both to
# about one size; Vaswani et al. 2017, section 3.4.) Let the small waves learn, and they grow and copy perfectly. A table that learns finds its own size, and
# that is what it has over frozen waves here.
#
# *None* is right about one time in four. That needs no order: who knows which four symbols came, and names one of them, is right one time in four.
#
# ## Order without positions
#
# Is a model without positions blind to order, then? Its mask is not symmetric: early tokens see little, late ones much. A pure test is counting. All tokens are
# the same, the target at place n is n. No positions. Three settings: (1) an ordinary model, the first token is another one; (2) the first token is like the
# rest; (3) as (1), but without the causal mask. Which of them can count?

# %%
n = 12
config = GPTConfig(n_vocab=n + 2, n_ctx=n, n_embd=32, n_layer=1, n_head=2)
all_see_all = {"causal_mask": lambda n_query, n_key: np.ones((n_query, n_key), bool)}
everyone = types.SimpleNamespace(**{**vars(ops), **all_see_all})
numbers = np.arange(n)
for name, first, how in (("the first is different", n + 1, ops), ("all alike", n, ops), ("no mask", n + 1, everyone)):
    ids = np.array([[first] + [n] * (n - 1)])
    params = train(config, lambda step, rng, ids=ids: (ids, numbers[None]), 0, np.zeros((n, 32)), ops=how)
    probs = ops.softmax(model.forward(ids, params, config, how)[0][0].astype(float))
    value = -np.log(probs[numbers, numbers]).mean()
    said = "right at all places, loss below 0.5" if value < 0.5 else f"loss {value:.2f}"
    assert value > 0.5 or (probs.argmax(axis=1) == numbers).all()
    print(f"{name:22} {said}")
print(f"ln 12 = {math.log(12):.2f}; with the first place known and the others guessed: {11 * math.log(11) / 12:.2f}")

# %% [markdown]
# With the mask and one token that is not like the others, it counts perfectly. At place n, an even look at all it may see gives that token a share of 1/(n+1):
# the share *is* the place. If all are alike, an average of equal rows is that row, wherever one stands: exactly ln 12, nothing learned. Without the mask every
# place sees the same. **A causal mask is a position encoding**, a coarse one. Language models without any other have been trained, and work (Haviv et al.
# 2022).
#
# ## And on real text?
#
# Toys exaggerate. Now Shakespeare, letter by letter: two blocks, windows of 32 letters, 160 steps, and two seeds each. The models have 64 places, of which
# training only ever uses 32, so the last columns ask what happens *past* what was trained. Place your bets.

# %%
letters = Path("texts/shakespeare.txt").read_text(encoding="utf-8")
alphabet = {letter: i for i, letter in enumerate(sorted(set(letters)))}
row = np.array([alphabet[letter] for letter in letters])
windows = data.Windows(row[:-20_000], 32, seed=0)
held_out = row[-20_000:][np.arange(0, 19_000, 190)[:, None] + np.arange(65)]  # [100, 65]
config = GPTConfig(n_vocab=len(alphabet), n_ctx=64, n_embd=24, n_layer=2, n_head=4, n_inner=64)
zeros = np.zeros((64, 24))
kinds = {
    "learned": ("learned", None, False), "sinusoidal": ("sinusoidal", None, False),
    "none": ("learned", zeros, True), "learned, from zero": ("learned", zeros, False),
}  # fmt: skip
trained = {}
print("nats for each letter     places 0 to 31      places 32 to 63")
for name, (positions, table, frozen) in kinds.items():
    halves, shape = [], config.replace(positions=positions)
    for seed in (0, 1):
        trained[name] = train(shape, lambda step, rng: windows.batch(4 * step, 4), seed, table, frozen, 160, 3e-3)
        guesses, _ = model.forward(held_out[:, :-1], trained[name], shape, ops)
        picked = np.take_along_axis(ops.softmax(guesses), held_out[:, 1:, None], axis=-1)[..., 0]
        halves.append([-np.log(picked[:, :32]).mean(), -np.log(picked[:, 32:]).mean()])
    (a, b), (c, d) = halves
    print(f"{name:20}{a:11.2f}{c:7.2f}{b:14.2f}{d:7.2f}")

# %% [markdown]
# So soon after the beginning the learned table is *behind* no table at all. Why? A guess is easily made: its rows begin as noise, which first has to be
# unlearned. A guess can be tested: the last line begins with rows of zeros, and most of the gap is gone. Order does not matter much yet, a letter depends
# mostly on the last few, and none of the four loses anything past what was trained: who does not use places yet cannot miss them. Compare the gaps with those
# between two seeds; whoever shows you a difference should show the seeds.
#
# And the rows from 32 on, which no training window reached?

# %%
rows = trained["learned"]["wpe"]["weight"]
start = P.init(config, np.random.default_rng(1))["wpe"]["weight"]
shrunk = rows[32:] / start[32:]
assert np.allclose(shrunk, shrunk[0, 0], rtol=1e-3)
assert not trained["learned, from zero"]["wpe"]["weight"][32:].any()
print(f"rows 32 to 63 of the learned table are the numbers of the start, times {shrunk[0, 0]:.2f}")

# %% [markdown]
# Still the random numbers of the start, a little shrunk by weight decay. An unread *token* is taught "never" at the exit; `wpe` has no exit, so an unread
# *place* stays noise. What would that do to *stories*, which does use its places? We throw its rows from 60 on away, as if it had been trained on 60 places,
# and put fresh ones there:

# %%
table = wpe.copy()
table[60:] = P.STD * np.random.default_rng(5).standard_normal((196, n_embd))
for name, some in (("as it is", wpe), ("noise from place 60 on", table)):
    by_half = losses_with(some).mean(axis=0)
    print(f"{name:23} loss before place 60: {by_half[:60].mean():.2f}, behind {by_half[60:].mean():.2f}")
try:
    gpt(np.zeros(257, int))
except InputError as error:
    print("InputError:", error)

# %% [markdown]
# So a GPT-2 cannot read past its table, and making the table longer is not enough: new rows must be trained. Waves can be continued as far as you like; whether
# the *model* can do anything with places it has not seen is another question.
#
# ## What people get wrong
#
# * *"GPT-2 uses fixed sine waves."* It learns its table, and the table is in the checkpoint. That the learned one looks wavy is its own finding.

# %%
assert P.shapes(GPTConfig())["wpe.weight"] == (1024, 768)
assert "wpe.weight" not in P.shapes(GPTConfig(positions="sinusoidal"))
_, grads = backward.loss_and_grads(texts[:1, :-1], texts[:1, 1:], gpt.params, gpt.config, ops)
moved = np.abs(grads["wpe"]["weight"]).max(axis=1) > 0
print(f"a text of {texts.shape[1] - 1} tokens corrects {moved.sum()} rows of wpe")

# %% [markdown]
# * *"The position is Σ sin(i / 10000^(2/3)) · cos(2i / 10000^(2/3))."* Compute it: it is one number, with no place in it. A place needs a row of its own.

# %%
number = sum(math.sin(i / 10_000 ** (2 / 3)) * math.cos(2 * i / 10_000 ** (2 / 3)) for i in range(768))
print(f"for every place and every text: {number:.2f}; different rows among the first 1,024 of the real formula:",
      len(np.unique(ops.sinusoidal_positions(np.arange(1024), 768, np.float64).round(9), axis=0)))  # fmt: skip

# %% [markdown]
# * *"Embeddings are word2vec or GloVe vectors, made beforehand."* They begin as random numbers and are learned with the rest. The neighbours of ` red` in a
#   fresh model:

# %%
near = lens.neighbours(fresh, " red", k=4)
print("  ".join(f"{name} {like:.2f}" for name, like in zip(near.tokens, near.similarities, strict=True)))

# %% [markdown]
# * *"Rows can be calculated with: king - man + woman = queen."* Try it with *stories*, and look at what is usually not shown: the token that the sum lies
#   nearest to.

# %%
def row_of(token):
    i = gpt.tokenizer.encode(token)[0]
    return wte[i] / lengths[i]


for a, b, c in ((" king", " queen", " man"), (" run", " ran", " go")):
    products = (wte / lengths[:, None]) @ (row_of(b) - row_of(a) + row_of(c))
    best = [gpt.tokenizer.decode([int(i)]) for i in np.argsort(-products)[:3]]
    print(f"{c} -{a} +{b}: nearest are {best}")

# %% [markdown]
# * *"The position is concatenated."* It is added: the stream stays 256 wide. But the intuition is not far off. Whatever layer comes next, adding is the same as
#   concatenating and using its matrix twice, once for each half:

# %%
weight = block["attn"]["c_attn"]["weight"]
token, place = wte[394], wpe[3]
assert np.allclose(np.concatenate([token, place]) @ np.vstack([weight, weight]), (token + place) @ weight, atol=1e-4)
print("concatenated with the matrix twice = added:", (token + place).shape, "@", weight.shape)

# %% [markdown]
# ## Exercises
#
# **Easy.** Write `nearest(table, row, k)`: the ids of the `k` rows of a table `[n_rows, n_embd]` that are nearest to row number `row` by cosine, nearest first,
# itself left out.

# %%
def nearest(table, row, k):
    ...


ch02.nearest(nearest);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def nearest(table, row, k):
#     unit = table / np.linalg.norm(table, axis=1, keepdims=True)
#     order = np.argsort(-(unit @ unit[row]), kind="stable")
#     return [int(i) for i in order if i != row][:k]
# ```
# </details>
#
# **Medium.** We *fitted* the matrix of a step. Write it down: `step_matrix(n_embd, k)` gives M, float64 `[n_embd, n_embd]`, with which the row of any place p
# (`ops.sinusoidal_positions(p, n_embd, np.float64)`) times M is the row of place p + k. k may be negative. You need two formulas:
# `sin(a + b) = sin a cos b + cos a sin b` and `cos(a + b) = cos a cos b - sin a sin b`.

# %%
def step_matrix(n_embd, k):
    ...


ch02.step_matrix(step_matrix);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def step_matrix(n_embd, k):
#     M = np.zeros((n_embd, n_embd))
#     for j in range(0, n_embd, 2):
#         angle = k * 10_000 ** (-j / n_embd)
#         c, s = np.cos(angle), np.sin(angle)
#         M[j : j + 2, j : j + 2] = [[c, -s], [s, c]]  # rows: from sine, from cosine; columns: to sine, to cosine
#     return M
# ```
# </details>
#
# **Hard, an investigation.** Is there arithmetic in the rows? Nearest to the sum was the token one began with; demonstrations leave the three inputs out before
# they look. What is then left of the claim? Write `analogies(gpt, pairs)`, where `pairs` is a list of two or more pairs of tokens as text, such as
# `[(" run", " ran"), (" go", " went")]`. All rows are divided by their lengths first. For every two different pairs (a, b) and (c, d), in both orders, ask
# which token has the largest product with row(b) - row(a) + row(c), and whether it is d. Give three shares of right answers: among all tokens; among all but a,
# b and c; and, for comparison, *without any arithmetic*: the nearest to row(c), among all but a, b and c. Then investigate: past tenses (run ran, go went, see
# saw, play played, say said …), plurals (dog dogs …), opposites (big small, happy sad, hot cold …), he and she (he she, dad mom, boy girl …). For which of them
# is there a common direction, and for which was it neighbourhood all along? What do the cosines between the differences row(b) - row(a) say to that?

# %%
def analogies(gpt, pairs):
    ...


ch02.analogies(analogies);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def analogies(gpt, pairs):
#     wte = gpt.params["wte"]["weight"]
#     rows = wte / np.linalg.norm(wte, axis=1, keepdims=True)
#     pairs = [tuple(gpt.tokenizer.encode(token)[0] for token in pair) for pair in pairs]
#     right = []
#     for a, b in pairs:
#         for c, d in pairs:
#             if (a, b) != (c, d):
#                 to_sum, to_c = rows @ (rows[b] - rows[a] + rows[c]), rows @ rows[c]
#                 among_all = to_sum.argmax() == d
#                 to_sum[[a, b, c]] = to_c[[a, b, c]] = -np.inf
#                 right.append((among_all, to_sum.argmax() == d, to_c.argmax() == d))
#     return tuple(np.mean(right, axis=0))
# ```
# </details>
#
# ## Where it stands in the code
#
# | here | there |
# |---|---|
# | the lookup and its gradient | `nanogpt_np/ops.py`: `embedding`, `embedding_backward` |
# | waves | `ops.py`: `sinusoidal_positions`; `GPTConfig(positions="sinusoidal")` |
# | token plus place | `nanogpt_np/model.py`: `embed`; places with padding or a cache: `place` |
# | the same table at the exit | `ops.py`: `unembed`; `nanogpt_np/params.py`: `unembedding`; both gradients: `training/backward.py`: `loss_and_grads` |
# | fresh rows | `params.py`: `init` |
# | maps of tokens and places | `nanogpt_np/lens/embeddings.py` |
# | reading the stream on the way | `nanogpt_np/lens/logits.py` |
