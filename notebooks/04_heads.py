# %% [markdown]
# # 04 · What do many heads buy, and what is an induction head?
#
# **You will be able to** cut a row into heads and say what that costs and what it does not, read what one head adds to the stream, tell from a picture of
# heads what is a fact and what is a guess; and grow, find, take apart and break the best known circuit of language models, two heads that together copy what
# they have seen.
#
# **You need** notebooks [00](00_map.ipynb) and [03](03_attention.ipynb): one head, its queries, keys and values. How training works (loss, gradient, steps)
# may stay a black box here.

# %%
import math
import string

import numpy as np
from checks import ch04

from nanogpt_np import GPT, GPTConfig, lens, model
from nanogpt_np import params as P
from nanogpt_np.lens import style
from nanogpt_np.training import backward, optim

gpt = GPT.from_pretrained("stories", ops="numpy")
ops, config = gpt.ops, gpt.config

# %% [markdown]
# ## One head has one look
#
# The shares of a head sum to 1. If it wants two tokens, it must halve its look, and what it receives is their average. Say `dog` hands over (1, 0) and `man`
# hands over (0, 1). A full stop wants to know who bit whom, and reads both names with half a look each:

# %%
dog, man = np.array([1.0, 0.0]), np.array([0.0, 1.0])
dog_bit_man = 0.5 * dog + 0.5 * man
man_bit_dog = 0.5 * man + 0.5 * dog
print("one head: ", dog_bit_man, "and", man_bit_dog)
assert np.array_equal(dog_bit_man, man_bit_dog)  # who bit is lost

first, second = np.concatenate([dog, man]), np.concatenate([man, dog])  # a head for who bit, one for who was bitten
print("two heads:", first, "and", second)
assert not np.array_equal(first, second)

# %% [markdown]
# An average forgets what came from where. Two heads give two answers, side by side. That is the purchase: **not more looks, but looks that stay apart.** A
# head could have been as wide as the stream, and a block could have had several of those. GPT-2 does something cheaper: it cuts the width it has.
#
# ## Cutting a row into heads
#
# Three tokens, four columns, two heads of two columns each (d_head = n_embd / n_head). The numbers say where they come from: token, then column.

# %%
x = np.array([[[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23]]])  # [n_batch, n_seq, n_embd]
cut = x.reshape(1, 3, 2, 2)  # [n_batch, n_seq, n_head, d_head]: each row is cut in two
heads = cut.transpose(0, 2, 1, 3)  # -> [n_batch, n_head, n_seq, d_head]: heads come first, like a batch
assert np.array_equal(heads, ops.split_heads(x, n_head=2))
assert np.array_equal(heads.transpose(0, 2, 1, 3).reshape(1, 3, 4), x)  # and back
print("head 0:", heads[0, 0].tolist())
print("head 1:", heads[0, 1].tolist())

# %% [markdown]
# Why the transpose? Because then every product with the last two axes treats heads as it treats texts in a batch: each by itself, all at once. And why not
# reshape straight to the shape that is wanted? Guess what comes out before you run it.

# %%
tempting = x.reshape(1, 2, 3, 2)  # the right shape
print("head 0:", tempting[0, 0].tolist())
print("head 1:", tempting[0, 1].tolist())
assert tempting.shape == heads.shape and not np.array_equal(tempting, heads)

# %% [markdown]
# The right shape and wrong numbers: "head 0" holds all of the first token and half of the second, as if they were three tokens. No error is ever raised.
# Attention would run between pieces of tokens, and a token that has fallen into one "head" could never look at one in the other. Check numbers, not shapes.
#
# ## What it costs
#
# Here is *stories* with other numbers of heads. Before you run it: which columns will change?

# %%
n_seq = config.n_ctx
print(f"{'n_head':>6}{'d_head':>8}{'parameters':>13}{'products for q kᵀ':>20}{'numbers in probs':>19}")
for n_head in (1, 2, 4, 8, 16, 32):
    some = config.replace(n_head=n_head)
    products = n_head * n_seq * n_seq * some.d_head
    print(f"{n_head:6}{some.d_head:8}{P.size(some):13,}{products:20,}{n_head * n_seq * n_seq:19,}")
    assert P.size(some) == P.size(config) and products == n_seq * n_seq * config.n_embd

# %% [markdown]
# No parameter more, no multiplication more. Heads are a way of *reading* the same matrices. Two things do change. There are more patterns to keep. And each
# question becomes narrower: a score is $x_i W_q W_k^T x_j^T$, and through a head of 32 columns the matrix $W_q W_k^T$ in the middle, 256 by 256, has rank 32
# at most. A head compares tokens in 32 ways out of 256. All 256 columns of the stream take part in each of them; what is narrow is the slit, not the view.

# %%
attn = gpt.params["h"][2]["attn"]
w_q, w_k, w_v = np.split(np.asarray(attn["c_attn"]["weight"]), 3, axis=1)  # [n_embd, n_embd] each
for name, columns in (("one head, columns 0 to 31", slice(0, 32)), ("one head as wide as the stream", slice(0, 256))):
    question = w_q[:, columns].astype(float) @ w_k[:, columns].astype(float).T  # [n_embd, n_embd]
    print(f"{name:31} rank {np.linalg.matrix_rank(question):3}, "
          f"columns of the stream that it reads: {(np.abs(question).max(axis=1) > 0).sum()} of 256")  # fmt: skip
assert np.linalg.matrix_rank(w_q[:, :32].astype(float) @ w_k[:, :32].astype(float).T) == 32

# %% [markdown]
# So the bargain is: many narrow questions in place of one wide one. How narrow can a question be? We shall see a head that tells 48 letters apart in 32
# columns.
#
# ## Each head writes by itself
#
# Behind the heads their outputs are put side by side, and one matrix, `c_proj`, makes a row of the stream of them. That looks like mixing. It is a sum: a row
# (a, b) times a matrix with the upper half A and the lower half B is aA + bB.

# %%
a, b = np.array([[1, 2]]), np.array([[3, 4]])  # two heads, one token
upper, lower = np.array([[1, 0, 5], [0, 1, 5]]), np.array([[2, 0, 0], [0, 0, 1]])
print("side by side, one product:", (np.hstack([a, b]) @ np.vstack([upper, lower]))[0])
print("each by itself, then added:", (a @ upper)[0], "+", (b @ lower)[0], "=", (a @ upper + b @ lower)[0])
assert np.array_equal(np.hstack([a, b]) @ np.vstack([upper, lower]), a @ upper + b @ lower)

# %% [markdown]
# So here is multi-head attention without any cutting, merging or side by side. A head is four small matrices; it reads the stream and gives back what it
# wants to *add* to it. A block of 8 heads is 8 of these and a sum.

# %%
def one_head(x, attn, head):  # [n_seq, n_embd] -> the same
    """What a head adds to the stream, from four matrices of its own."""
    own = slice(32 * head, 32 * (head + 1))
    weights, biases = (np.split(attn["c_attn"][name], 3, axis=-1) for name in ("weight", "bias"))
    q, k, v = (x @ weights[i][:, own] + biases[i][own] for i in range(3))  # -> [n_seq, d_head] each
    scores = np.where(np.tri(len(x), dtype=bool), q @ k.T / math.sqrt(32), -np.inf)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True) @ v @ attn["c_proj"]["weight"][own]  # -> [n_seq, n_embd]


text = "There was a girl named Mia. She had a red ball. One day, she lost it. Tom said"
block = lens.look(gpt, text).acts.blocks[2].attn
n = block.x.shape[1]
theirs, _ = model.attention(block.x, attn, config, ops, ops.causal_mask(n, n))
mine = sum(one_head(block.x[0], attn, head) for head in range(8)) + attn["c_proj"]["bias"]
assert np.allclose(mine, theirs[0], atol=1e-4)
print("eight separate heads, added up, are the block's attention:", np.allclose(mine, theirs[0], atol=1e-4))

# %% [markdown]
# The library cuts and merges, as one large product is faster than eight small ones (`model.attention`, printed in 00). To *think*, take this version. Heads
# of one block do not see each other, do not wait for each other and have no order. The stream between blocks is their only meeting place, and what one head
# writes, a head of a later block may read. Keep this sentence; the second half of this notebook is about it.
#
# ## What may flow where
#
# All heads share one rule, the causal mask. What does it mean for the whole model, six blocks and all? Ask twice, with opposite methods. *Forwards:* exchange
# one token and see which places answer differently. *Backwards:* take the loss at one place, and see which tokens have a gradient. Guess both pictures.

# %%
short = "Mia had a red ball but she lost it in the park"
ids = np.array(gpt.tokenizer.encode(short))
n, logits = len(ids), gpt(ids)[0]
forwards, backwards = np.zeros((n, n)), np.zeros((n, n))  # [who answers, whose token]
for j in range(n):
    other = ids.copy()
    other[j] = gpt.tokenizer.encode(" frog")[0]
    forwards[:, j] = np.abs(gpt(other)[0] - logits).max(axis=1)
for i in range(n - 1):  # behind the last token nothing is known, so it has no loss
    backwards[i] = lens.gradients_view(gpt, ids, position=i).norms[0]

later = np.triu(np.ones((n, n), bool), k=1)
assert (forwards[later] == 0).all() and (backwards[later] == 0).all()
assert (forwards[~later] > 0).all() and (backwards[:-1][~later[:-1]] > 0).all()
print("from later tokens nothing comes, to the last bit; from every earlier one something does")

# %%
what = "each row divided by its largest value; 0 white to 1 dark; grey: nothing"
figure = style.figure(7.8, 4.3, "Who hears of whom, through all six blocks", "stories", what)
tokens = lens.look(gpt, short).tokens
titles = ("exchange a token: how far logits move", "the loss behind a place: length of its gradient")
for title, array, axes in zip(titles, (forwards, backwards[:-1]), figure.subplots(1, 2), strict=True):
    shown = np.ma.masked_where(array == 0, array / array.max(axis=1, keepdims=True))
    axes.imshow(shown, cmap=style.colour_map(style.PROBABILITY), vmin=0, vmax=1)
    axes.set_title(title, fontsize=9, color=style.INK)
    style.mark_tokens(axes.yaxis, tokens[: len(array)])
    style.mark_tokens(axes.xaxis, tokens, rotate=True)
    axes.set_xlabel("whose token", fontsize=9)
figure.axes[0].set_ylabel("who answers", fontsize=9)
figure

# %% [markdown]
# Both are triangles. Influence runs from left to right in the text, gradients run back along the same roads. In most rows a token's own column is the darkest
# or nearly so; where another is darker, the model leans on context: behind `it` the answer hangs on `lost`, in both pictures.
#
# That exact 0 is what makes training cheap: one pass over a text is an exam at *every* place at once, and at none of them can the answer be copied from the
# future.
#
# ## All heads of a model, at once
#
# Now look at the 48 heads of *stories* on one text. Rows of squares are blocks, columns are heads; in each square a row is a token that looks, a column one
# that is looked at. Do not read labels into them yet. Ask something plainer: do you see more **diagonals** (a head that goes by *where* a token stands: the
# one before me) or more **stripes** (a head that goes by *what* a token is: that name, whoever asks)?

# %%
lens.draw_attention_grid(lens.attention_grid(gpt, text), "stories")

# %% [markdown]
# There are diagonals, mostly in block 0, and soft ones. Below that, mostly stripes. Which tokens make them? Four texts, and for each kind of head the best of
# 48. The last line is not an attention to something: *entropy* 1 means that a head looks at all it may see alike, 0 that it has one token in its eye.

# %%
texts = (
    "There was a girl named Mia. She had a red ball. One day, she lost it in the park.",
    "One day, Tom and his dog went to the beach. They played in the sand. Then they swam in the sea.",
    "Once upon a time, there was a bear named Max. He lived in a big cave. The bear liked honey very much.",
    'A girl named Lucy was sad. Her mom said, "Do not cry. We can find your doll together." They found it in a box.',
)


def attention_to(wanted):
    """The mean attention to earlier tokens that are `wanted`, where there are some -> [n_layer, n_head]."""
    found = []
    for some in texts:
        tokens, probs = lens.attention_grid(gpt, some)
        there = np.tri(len(tokens), k=-1, dtype=bool) & np.array([token in wanted for token in tokens])
        found.append((probs * there).sum(axis=-1)[..., there.any(axis=1)].mean(axis=-1))
    return np.mean(found, axis=0)


summaries = [lens.head_summaries(gpt, some) for some in texts]
kinds = {name: np.mean([getattr(some, name) for some in summaries], axis=0) for name in summaries[0]._fields[:4]}
kinds = {"the token before": kinds["previous"], "the first token": kinds["first"], "itself": kinds["itself"],
         "full stops": attention_to((".", '."')), "the name": attention_to(("␣Mia", "␣Tom", "␣Max", "␣Lucy")),
         "all alike (entropy)": kinds["entropy"]}  # fmt: skip
for name, array in kinds.items():
    layer, head = np.unravel_index(array.argmax(), array.shape)
    print(f"{name:20} most: L{layer}.H{head} with {array.max():.2f}   the median head: {np.median(array):.2f}")

# %% [markdown]
# Of the famous kinds, the *previous-token head* and the *attention sink* (a head that rests on the first token, which GPT-2 has many of), *stories* has no
# clear case. It has heads that look at full stops, where sentences end, and one that looks at the name of whoever the story is about. A head's kind is an
# empirical question. It depends on what the model was trained on, for how long, and how large it is.
#
# Find three of them in the picture above: L0.H6, the best of the soft diagonals; L1.H5 and L2.H1 with their stripes. The columns of these stripes:

# %%
grid = lens.attention_grid(gpt, text)
for layer, head in ((1, 5), (2, 1)):
    column = grid.probs[layer, head, 6:].sum(axis=0).argsort()[::-1][:2]
    print(f"L{layer}.H{head} looks most at " + " and ".join(f"{grid.tokens[i]} (place {i})" for i in column))

# %% [markdown]
# What they are *for*, no picture can say. (Notebook 12 asks L2.H1, and the answer is a surprise.)
#
# ## What eight heads buy here
#
# Is it worth anything that looks stay apart? Test it on the trained model. Leave all weights as they are, and all that heads hand over. Change only the
# looks: let all heads of a block share one, the mean of theirs; or let each head use its neighbour's; or let all look at everything alike. Two stories that
# *stories* itself has begun are the text. Which of these is worst, do you think?

# %%
STORIES = (
    "Once upon a time, there was a little boy named Tim. Tim loved to play outside. One day, he found a big, shiny "
    "rock. He was very happy.\nTim wanted to show his friends the rock. He took the rock to his house and showed them "
    "his friends. They all wanted to play too. They played with the rock and had fun.\nAs they played, the rock "
    "started to move. Tim and his friends were scared. They did not know what to do.",
    "Once upon a time there was a little girl named Lily. She liked to look for things in the world. One day, she saw "
    "a big tree with a pretty ornament in it. She picked it up and saw that it was a pretty ornament.\nLily took the "
    "ornament and opened it. Inside, she found a beautiful ornament. She showed it to her friends. They all wanted to "
    "play with it too.",
)


def mean_loss(some, site=None, change=None):
    """Nats per token over both stories, with `change` at one site of every block."""
    changes = {} if site is None else {(site, layer): change for layer in range(config.n_layer)}
    found = []
    for story in STORIES:
        run = lens.run(some, story, changes)
        shares = ops.softmax(run.logits[:-1].astype(float))
        found.append(-np.log(shares[np.arange(len(run.ids) - 1), run.ids[1:]]))
    return np.concatenate(found).mean()


def shared(probs):
    return np.broadcast_to(probs.mean(axis=0), probs.shape)


def alike(probs):
    seen = np.tri(probs.shape[1])
    return np.broadcast_to(seen / seen.sum(axis=1, keepdims=True), probs.shape)


ways = {
    "as it is": (None, None),
    "heads of a block share one look, the mean": ("probs", shared),
    "each has its neighbour's look": ("probs", lambda probs: np.roll(probs, 1, axis=0)),
    "each looks at all alike": ("probs", alike),
    "no attention": ("attn_out", np.zeros_like),
}
lost = {name: mean_loss(gpt, *way) for name, way in ways.items()}
for name, loss in lost.items():
    print(f"{name:44} loss {loss:.2f}")
assert list(lost.values()) == sorted(lost.values())

# %% [markdown]
# One shared look keeps a good part of what attention does; the rest is what heads buy. And a head with a neighbour's look loses more than one with the
# mean of all looks, in which at least an eighth is its own: what a head hands over is made for those tokens that *this* head looks at.
#
# Still, 48 heads at once are hard to follow. To see heads whose use is beyond doubt, it is best to grow some.
#
# ## A text that only memory can continue
#
# Take 48 letters. Draw 5 to 16 of them at random, all different: a word that has never been before. Say it again and again until 41 letters are full. That is
# a text; every text has a new word.

# %%
LETTERS = string.ascii_uppercase + string.ascii_lowercase[:22]  # 48
N_CTX, SHORTEST, LONGEST = 40, 5, 16


def some_texts(rng, n):
    """-> ids [n, N_CTX + 1], and how long the word of each is [n]."""
    ids, lengths = np.empty((n, N_CTX + 1), int), np.empty(n, int)
    for row in range(n):
        lengths[row] = rng.integers(SHORTEST, LONGEST + 1)
        ids[row] = np.resize(rng.permutation(48)[: lengths[row]], N_CTX + 1)
    return ids, lengths


def as_letters(ids):
    return "".join(LETTERS[i] for i in ids)


for ids, length in zip(*some_texts(np.random.default_rng(1), 3), strict=True):
    print(as_letters(ids), f" a word of {length}")

# %% [markdown]
# Nothing here can be learned by heart. The first time, each letter is a surprise. The second time a reader with a memory knows them all: find where the
# present letter stood before, say what followed it. How low can the loss go, for whom?

# %%
_, lengths = some_texts(np.random.default_rng(2), 4000)
again = N_CTX - lengths  # how many letters of a text are foreseeable: from the second letter of the second time on
forgetful = (np.log(lengths) * again).sum() / again.sum()
print(f"knows nothing:                                 ln 48 = {math.log(48):.2f}")
print(f"knows which letters are in the word, not their order:  {forgetful:.2f}")
print(f"remembers what followed what, the second time:         {0:.2f}")

# %% [markdown]
# ## Growing it
#
# Two GPT-2s, as small as they come: 64 wide, 2 heads. One has two blocks. The other has one block, and to be fair a wider feed-forward network, so that it
# has no fewer parameters. (Two departures from GPT-2, for speed: fresh weights are 5 times larger, since 0.02 is meant for rows 12 times as wide; and the
# matrices at both ends are not tied, as else each letter begins by voting for itself.)

# %%
two_blocks = GPTConfig(n_vocab=48, n_ctx=N_CTX, n_embd=64, n_layer=2, n_head=2, n_inner=16, tie_word_embeddings=False)
one_block = two_blocks.replace(n_layer=1, n_inner=165)
assert P.size(one_block) >= P.size(two_blocks)
print(f"parameters: two blocks {P.size(two_blocks):,}, one block {P.size(one_block):,}")


def losses_by_time(logits, ids, lengths):
    """Mean nats of letters that are said for the first time, and of those that could be foreseen."""
    losses = -np.log(np.take_along_axis(ops.softmax(logits.astype(float)), ids[:, 1:, None], axis=2)[..., 0])
    place, lengths = np.arange(N_CTX), lengths[:, None]  # place i guesses letter i + 1
    return losses[place < lengths - 1].mean(), losses[place >= lengths].mean()


def measured(some, known):
    """-> loss the first time, loss again, the best induction head, the best previous-token head in block 0."""
    once = np.random.default_rng(3).permutation(48)[:12]
    previous = lens.head_summaries(some, once).previous[0].max()
    return *losses_by_time(some(known[0][:, :-1]), *known), lens.induction_scores(some, 12).max(), previous


def train(config, n_steps=250, seed=2):
    some = GPT.from_config(config, seed=seed, ops="numpy")
    for _, array in P.walk(some.params):
        if array.ndim == 2:
            array *= 5
    adam, rng, known = optim.AdamW(some.params, betas=(0.9, 0.98), weight_decay=0.0), np.random.default_rng(7), []
    fresh_texts = some_texts(np.random.default_rng(4), 32)  # to measure with
    for step in range(n_steps + 1):
        if step % 10 == 0:
            known.append((step, *measured(some, fresh_texts)))
        ids, _ = some_texts(rng, 32)
        _, grads = backward.loss_and_grads(ids[:, :-1], ids[:, 1:], some.params, config, some.ops)
        optim.clip_(grads, 1.0, some.ops)
        adam.step(some.params, grads, optim.warmup_cosine(step, n_steps, 4e-3, 4e-4, 50), some.ops)
    return some, np.array(known).T

# %% [markdown]
# Before you run it, guess: will the loss of the model with two blocks fall evenly?

# %%
copier, history = train(two_blocks)
print("step   loss, first time   loss, again   induction score")
for row in history.T[::5]:
    print(f"{row[0]:4.0f}{row[1]:14.2f}{row[2]:16.2f}{row[3]:16.2f}")

# %%
single, single_history = train(one_block)
print(f"one block: loss the first time {single_history[1, -1]:.2f}, again {single_history[2, -1]:.2f}, "
      f"induction score {single_history[3, -1]:.2f}")  # fmt: skip
assert history[2, -1] < 0.2 and single_history[2, -1] > 1.9

# %%
made = "two blocks 64 wide with 2 heads, beside one block with as many parameters"
figure = style.figure(7.4, 5.2, "The birth of an induction head", made, "losses on 32 new texts; scores 0 to 1")
upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
steps = history[0]
upper.plot(steps, history[1], color=style.PALE, label="two blocks, letters said the first time")
upper.plot(steps, single_history[2], "--", color=style.FFN, label="one block, letters said again")
upper.plot(steps, history[2], color=style.ATTENTION, linewidth=2.5, label="two blocks, letters said again")
upper.axhline(forgetful, color=style.INK, linewidth=0.8, linestyle=":")
upper.text(steps[-1], forgetful - 0.06, "knows the letters, not their order", ha="right", va="top", fontsize=8)
upper.set(ylabel="loss (nats)", ylim=(0, 4.6))
for values, colour, mark, label in (
    (history[4], style.KEY, "-", "best head of block 0: looks at the token before"),
    (history[3], style.ATTENTION, "-", "best head of block 1: looks at what followed before"),
    (single_history[3], style.FFN, "--", "best head of the model with one block: the same"),
):
    lower.plot(steps, values, mark, color=colour, linewidth=2.5 if mark == "-" else 1.5, label=label)
lower.set(ylabel="score", xlabel="training step", ylim=(0, 1))
for axes, where in ((upper, "lower left"), (lower, "upper left")):
    axes.legend(frameon=False, fontsize=8, loc=where)
    style.without_frame(axes, "top", "right")
figure

# %% [markdown]
# Look at the violet line and the dashed one. For the first hundred steps both come down at one slow pace: they learn to say letters of *this* word rather
# than of the alphabet, in no order. One block goes on so, and flattens out above the dotted line. With two blocks the line bends and falls off a cliff, past
# the dotted line of a reader who has only the letters. In the same steps the violet score below shoots up. The orange one had been rising before, slowly.

# %%
per_ten = -np.diff(history[2])
print(f"loss lost in ten steps: {per_ten[:10].mean():.2f} on average up to step 100, at the steepest {per_ten.max():.2f}")
assert 10 < per_ten.argmax() < 16 and per_ten.max() > 2.5 * per_ten[:10].mean()

# %% [markdown]
# Why a cliff? Because the trick has two halves, and neither is worth anything alone. Nothing is gained by writing down the token before as long as nobody
# reads it, and there is nothing to read as long as nobody writes it. So at first each half is pulled only faintly; the better one becomes, the stronger the
# pull on the other. In large models such a bump in the loss comes early in training, while induction heads form and the use of context jumps (Olsson et al.
# 2022).
#
# The grey line stays where it must, near ln 48 and a little above: the first time a letter is said, nobody can know it, and the model, now expecting
# repetition, is sometimes sure and wrong.
#
# ## Who does it?
#
# The lens knows both kinds of heads. A word of 12 letters, said once for the first two columns, twice for the third:

# %%
once = np.random.default_rng(3).permutation(48)[:12]
summary, behind = lens.head_summaries(copier, once), lens.induction_scores(copier, 12)
print("        the token before   itself   what followed before")
for layer, head in np.ndindex(2, 2):
    row = (summary.previous[layer, head], summary.itself[layer, head], behind[layer, head])
    print(f"L{layer}.H{head}{row[0]:16.2f}{row[1]:12.2f}{row[2]:14.2f}")
writer = (0, int(summary.previous[0].argmax()))
reader = (1, int(behind[1].argmax()))
assert summary.previous[writer] > 0.6 and behind[reader] > 0.8

# %% [markdown]
# In block 0 one head looks mostly at the token before, the other mostly at itself. Both heads of block 1 are **induction heads**: they look at what followed
# the present letter the last time. Call the first *writer* and the best of the last *reader*. Nobody assigned these roles; they came out of random numbers
# and gradients. (With other seeds the two heads of block 0 often share the work more evenly. This seed was chosen since it shows the parts so cleanly; the
# last exercise asks you for another.)

# %%
word = np.random.default_rng(12).permutation(48)[:8]
said = np.resize(word, 20)
names = list(as_letters(said))
what = "rows look at columns; colour: attention, 0 white to 1 dark"
figure = style.figure(9.2, 5.2, "The writer looks one back, the reader looks behind the same letter",
                      f"the copier, on {as_letters(said)}", what)  # fmt: skip
for (layer, head), title, axes in zip((writer, reader), ("writer", "reader"), figure.subplots(1, 2), strict=True):
    pattern = lens.attention_view(copier, said, layer, head).probs
    axes.imshow(np.ma.masked_where(np.triu(np.ones_like(pattern), k=1) > 0, pattern),
                cmap=style.colour_map(style.PROBABILITY), vmin=0, vmax=1)  # fmt: skip
    axes.set_title(f"{title}: L{layer}.H{head}", color=style.INK)
    style.mark_tokens(axes.yaxis, names)
    style.mark_tokens(axes.xaxis, names)
    for edge in (7.5, 15.5):  # where the word begins again
        axes.axhline(edge, color=style.PALE, linewidth=0.8)
        axes.axvline(edge, color=style.PALE, linewidth=0.8)
figure

# %% [markdown]
# The lines mark where the word begins again. **The reader**: in the first 8 rows there is nothing to remember, and it rests mostly on the first letter. (An
# attention sink, and the reason for one: the shares must sum to 1, also where there is nothing to find.) From the ninth row on a dark line: each letter looks
# at the place right *behind* its own first occurrence, where the answer stands. **The writer**: a line one below the diagonal, dark in the upper left square,
# blurred below. It is sharp where it is needed. The reader looks back into the first saying, so that is where the notes have to be; training pays for nothing
# more.
#
# ## The circuit
#
# A guess at how it works, in three sentences. The writer stands at each place, looks at the letter before, and writes into the stream: *before me stood R*.
# The reader comes with the question *who has R before him?*, and these notes are its **keys**. It looks there, takes the letter that stands there, and says
# it.
#
# Each sentence can be wrong. So test them, one at a time. **First: is the writer needed at all?** Silence each head in turn, on 8 new words:

# %%
tests = some_texts(np.random.default_rng(8), 8)


def mean_losses(run_one):
    """Loss the first time and again, over the test texts; run_one: ids -> Run."""
    logits = np.stack([run_one(ids[:-1]).logits for ids in tests[0]])
    return losses_by_time(logits, *tests)


print(f"all heads at work: first time {mean_losses(lambda ids: lens.run(copier, ids))[0]:.2f}, "
      f"again {mean_losses(lambda ids: lens.run(copier, ids))[1]:.2f}")  # fmt: skip
without = {}
for layer, head in np.ndindex(2, 2):
    first, without[layer, head] = mean_losses(lambda ids, place=(layer, head): lens.ablate(copier, ids, *place))
    print(f"without L{layer}.H{head}:     first time {first:.2f}, again {without[layer, head]:.2f}")
assert max(without, key=without.get) == writer and without[writer] > 1.5

# %% [markdown]
# Without the writer, the second saying is a surprise again, worse than for somebody who knows the letters without their order. Without one of the two readers
# much less happens: the other one is there. Such spares are common, and they are why "remove it and see" alone tells so little.
#
# **Second: does it go through the keys?** The writer's note could also change the reader's questions, or what it takes. *Path patching* holds everything as
# it is, and lets only one head's output, as it was in *another* text, reach only one head, and of that only its queries, or keys, or values. The number is
# what is left of the reader's look at the right place.

# %%
def looks_right(run, length):
    """How much of the reader's attention goes behind the last occurrence, in the second saying."""
    places = np.arange(length, 2 * length - 1)
    return run.sites["probs", reader[0]][reader[1], places, places - length + 1].mean()


shuffled = np.random.default_rng(9)
print("                 untouched   into queries   into keys   into values")
left = {}
for sender in ((0, 0), (0, 1)):
    for ids, length in zip(*tests, strict=True):
        elsewhere = lens.run(copier, shuffled.permutation(48)[:N_CTX])  # letters without any order
        runs = [lens.run(copier, ids[:-1])]
        runs += [lens.path_patch(copier, ids[:-1], elsewhere, sender, reader, into) for into in "qkv"]
        left.setdefault(sender, []).append([looks_right(run, length) for run in runs])
    row = np.mean(left[sender], axis=0)
    print(f"from L{sender[0]}.H{sender[1]}" + f"{row[0]:16.2f}{row[1]:14.2f}{row[2]:13.2f}{row[3]:13.2f}")
intact, by_q, by_k, by_v = np.mean(left[writer], axis=0)
assert by_k < 0.4 * intact and by_q > 0.9 * intact and by_v > 0.9 * intact

# %% [markdown]
# Through the keys and nowhere else. This is called **K-composition**: an earlier head writes what a later head's keys are made of. (If it wrote for the
# queries, it would be Q-composition; for the values, V-composition.) Two small heads have become one larger thing, and that thing does what no single head
# can.
#
# **Third: does the question fit the note for every letter?** For that we need no text at all, only weights. What the writer writes about letter A is A's
# embedding through its values and `c_proj`. The reader makes a key of that, and a query of letter B. Multiply, for all 48 times 48 pairs: who asks against
# what was noted. And what it then says: the letter it finds, through its values, `c_proj` and the unembedding, against all 48 logits. (Layer norms are
# followed as far as that can be done without a text: each row is normed by itself.)

# %%
def parts(layer, head):
    """-> the four matrices of a head of the copier: [64, 32] three times, [32, 64]."""
    attn, own = copier.params["h"][layer]["attn"], slice(32 * head, 32 * (head + 1))
    return *(part[:, own] for part in np.split(attn["c_attn"]["weight"], 3, axis=1)), attn["c_proj"]["weight"][own]


def normed(rows, layer):
    return ops.layer_norm(rows, **copier.params["h"][layer]["ln_1"])


letters = copier.params["wte"]["weight"]  # [48, 64]
_, _, writer_v, writer_o = parts(*writer)
reader_q, reader_k, reader_v, reader_o = parts(*reader)
note = normed(letters, 0) @ writer_v @ writer_o  # "before me stood …" [48, 64]
asks = (normed(letters, 1) @ reader_q) @ (normed(note, 1) @ reader_k).T  # [who asks, what was noted]
end = copier.params["ln_f"]["weight"] * copier.params["lm_head"]["weight"]
end -= end.mean(axis=1, keepdims=True)
says = normed(letters, 1) @ reader_v @ reader_o @ end.T  # [what is found, what is said]
fits, copies = ((array.argmax(axis=1) == np.arange(48)).mean() for array in (asks, says))
assert fits > 0.9 and copies > 0.8
print("of 48 letters, the note that fits best is the one about the same letter for more than nine in ten:", fits > 0.9)
print("of 48 letters, the one said loudest is the one found for more than eight in ten:", copies > 0.8)

# %%
figure = style.figure(8.2, 4.8, "The circuit, read from weights alone", "the copier, no text",
                      "blue below 0, white 0, red above; each panel by its own largest value")  # fmt: skip
panels = ((asks, "who asks (row), what was noted (column)"), (says, "what is found (row), what is said (column)"))
for (array, title), axes in zip(panels, figure.subplots(1, 2), strict=True):
    most = np.abs(array).max()
    axes.imshow(array, cmap=style.colour_map(style.SIGNED), vmin=-most, vmax=most, interpolation="nearest")
    axes.set_title(title, fontsize=10, color=style.INK)
    axes.set_xticks([])
    axes.set_yticks(range(0, 48, 5), LETTERS[::5], fontsize=8)
figure

# %% [markdown]
# Two diagonals. The left one is the word *same*: among 48 letters a question fits the note about the same letter, and hardly any other. It was learned from
# examples, and works for words that have never been seen, which are nearly all. The right one is the word *copy*. Nothing in the architecture knows of
# equality; a product of small matrices from two blocks came to be something like a unit matrix. And it goes through 32 columns: enough, it turns out, to keep
# 48 letters apart.
#
# ## Why one block cannot
#
# A score of block 0 knows two tokens and two places: who asks, who is asked. The neighbour of the one who is asked is in neither. So exchange that neighbour,
# and look at how a third letter scores the one who is asked: in block 0 nothing moves, to the last bit. In block 1 it does.

# %%
ids = some_texts(np.random.default_rng(10), 1)[0][0, :-1]
other = ids.copy()
other[3] = np.setdiff1d(np.arange(48), ids)[0]  # a letter that is nowhere else
before, after = lens.run(copier, ids), lens.run(copier, other)
for layer in (0, 1):
    scores = [run.sites["q", layer][:, -1] @ run.sites["k", layer].swapaxes(1, 2) for run in (before, after)]
    moved = np.abs(scores[0][np.arange(2), np.arange(2), 4] - scores[1][np.arange(2), np.arange(2), 4]).max()
    print(f"block {layer}: when letter 3 changes, the last letter's score with letter 4 moves: {moved > 0}")
    assert moved == 0 if layer == 0 else moved > 1e-3

# %% [markdown]
# *What followed the last R* is a question about two neighbours, and a head compares a token with a token. First somebody must carry the neighbour over. No
# width of one block makes up for that, which is why the dashed line stays where it stays. **Depth buys composition.**
#
# ## Does *stories* have one?
#
# The same measure: random tokens, said twice.

# %%
scores = np.mean([lens.induction_scores(gpt, 50, seed=seed) for seed in range(3)], axis=0)
print(f"the best induction score of 48 heads in stories: {scores.max():.2f}; of the copier's 4: {behind.max():.2f}")
assert scores.max() < 0.1

# %% [markdown]
# No. This is a finding, not a failure. What such stories repeat are mostly phrases that one can know by heart, and for those no memory is needed. One thing
# cannot be known by heart and comes again and again: a name. So measure *in-context learning* directly, by what it is good for: the loss of a token when it
# comes for the first time, and when it comes again. For random tokens; for names of one token in a story; and for made-up names of several tokens, piece by
# piece, which nobody can have met in training.

# %%
def first_and_again(text, name):
    """The losses of the tokens of `name`, at its first place and at its second -> [2, how many tokens]."""
    view, piece = lens.tokens_view(gpt, text), gpt.tokenizer.encode(" " + name)
    places = [i for i in range(len(view.ids)) if view.ids[i : i + len(piece)].tolist() == piece]
    return np.array([view.losses[i : i + len(piece)] for i in places[:2]])


rng = np.random.default_rng(6)
halves = []
for _ in range(4):
    once = rng.permutation(config.n_vocab)[:40]
    losses = lens.tokens_view(gpt, np.concatenate([once, once])).losses
    halves.append((losses[1:40].mean(), losses[41:].mean()))
story = "Once upon a time, there was a child named {0}. One day, {0} went to the park."
known = [first_and_again(story.format(name), name)[:, 0] for name in "Mia Sara Jill Anna Ben Sam Jack Rose".split()]
new = [first_and_again(story.format(name), name) for name in
       "Zorp Grumpo Florentine Bixby Wibbo Trindle Plonky Fizzle Snorble Gribba".split()]  # fmt: skip
rows = {"random tokens": np.mean(halves, axis=0), "a known name": np.mean(known, axis=0)}
rows |= {f"a new name, piece {i + 1}": np.mean([name[:, i] for name in new], axis=0) for i in range(3)}
for name, (first, second) in rows.items():
    print(f"{name:22} first time {first:5.2f}   again {second:5.2f}   learned in between {first - second:5.2f}")

# %% [markdown]
# Random tokens: next to nothing, as the scores say. Names: a great deal, by heads that look at *the name*, whatever it is (the stripe above; notebook 12
# takes that circuit apart). Even the first piece of a name that never existed is known again. The later pieces are learned less and less: to continue
# *inside* a new name one needs what our copier has, and *stories* has only a little of it. The copier copies anything and knows nothing else; *stories*
# copies what stories repeat.
#
# ## What people get wrong
#
# * *"Each head sees only a slice of the tokens", "… of the embedding".* Every head reads every token that the mask allows, and all 256 columns of it. What
#   has 32 columns are its queries, keys and values.

# %%
for head in range(8):
    own = slice(32 * head, 32 * (head + 1))
    for weight in (w_q, w_k, w_v):
        assert weight[:, own].shape == (256, 32) and (np.abs(weight[:, own]).max(axis=1) > 0).all()
print("a head's queries, keys and values: 32 columns, each made of all 256 of the stream")

# %% [markdown]
# * *"More heads are more parameters."* The table above: 1 to 32 heads, one number of parameters. What is saved in the file are `c_attn` and `c_proj`; in how
#   many heads they are read stands in the config. Read *stories* with another number and nothing complains; it is another model, and a worse one:

# %%
misread = {n: mean_loss(GPT(config.replace(n_head=n), gpt.params, gpt.tokenizer, gpt.ops)) for n in (1, 2, 4, 8, 16)}
print("read with n_head =", ", ".join(f"{n}: loss {loss:.2f}" for n, loss in misread.items()))
assert min(misread, key=misread.get) == 8

# %% [markdown]
# * *"The heads are given their roles: head 3 does grammar."* Heads have no names and no order. Exchange two heads, with all their columns and rows, and the
#   model is the same; the role has moved along. In the copier, which head became the writer was decided by the seed.

# %%
order = [1, 0]
turned = GPT.from_config(two_blocks, seed=0, ops=copier.ops)
for (_, array), (_, source) in zip(P.walk(turned.params), P.walk(copier.params), strict=True):
    array[...] = source
attn = turned.params["h"][0]["attn"]
for name in ("weight", "bias"):
    columns = attn["c_attn"][name].reshape(-1, 3, 2, 32)  # [n_embd or 1, q k v, n_head, d_head]
    attn["c_attn"][name] = columns[:, :, order].reshape(attn["c_attn"][name].shape)
attn["c_proj"]["weight"] = attn["c_proj"]["weight"].reshape(2, 32, 64)[order].reshape(64, 64)
assert np.allclose(turned(said), copier(said), atol=1e-3)
exchanged = lens.head_summaries(turned, word).previous[0]
print("the same logits, and the writer is now head", exchanged.argmax(), "in place of", writer[1])
assert exchanged.argmax() == 1 - writer[1]

# %% [markdown]
# * *"Attention looks both ways, so that each word sees its whole sentence."* In BERT. In a GPT-2 no token ever sees the next one; the exact zeros above are
#   the proof. A word whose meaning hangs on what follows must be understood later, at a later token.
# * *"An induction head is a head."* It is half of a circuit. Silence the writer, leave the reader as it is, and it no longer finds anything:

# %%
looks = []
for ids, length in zip(*tests, strict=True):
    runs = (lens.run(copier, ids[:-1]), lens.ablate(copier, ids[:-1], *writer))
    looks.append([looks_right(run, length) for run in runs])
whole, alone = np.mean(looks, axis=0)
print(f"the reader's look at the right place: {whole:.2f}, without the writer {alone:.2f}")
assert alone < 0.4 * whole

# %% [markdown]
# ## Exercises
#
# **Easy.** Write `merge(heads)`: the heads' outputs `[n_head, n_seq, d_head]` to `[n_seq, n_embd]`, head 0's columns first. No loop is needed.

# %%
def merge(heads):
    ...


ch04.merge(merge);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def merge(heads):
#     n_head, n_seq, d_head = heads.shape
#     return heads.transpose(1, 0, 2).reshape(n_seq, n_head * d_head)
# ```
# </details>
#
# **Medium.** Write `induction(probs, ids)`: the induction score of one pattern. `probs` is `[n_seq, n_seq]` (rows look at columns), `ids` are the tokens. For
# every place whose token has stood before, add up its attention to the places right behind those earlier occurrences; the score is the mean over such places.

# %%
def induction(probs, ids):
    ...


ch04.induction(induction);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def induction(probs, ids):
#     found = []
#     for i, token in enumerate(ids):
#         behind = [j + 1 for j in range(i) if ids[j] == token]
#         if behind:
#             found.append(probs[i, behind].sum())
#     return float(np.mean(found))
# ```
# </details>
#
# **Hard, an investigation.** Who feeds a reader? Write `feeder(gpt, ids, reader)`: for a model, a text that repeats itself and an induction head `(layer,
# head)`, give the one earlier head `(layer, head)` without whose output the reader's **keys** no longer lead it to the right place. Be careful: a head that
# looks at the token before need not be it, and a head whose removal breaks everything need not work through the keys. The check tries models whose weights
# were written by hand, with such heads in them.
#
# Then ask your function about both readers of `copier`. And grow another one, `train(two_blocks, seed=1)`: its loss of letters said again falls through the
# dotted line too, later. By the same circuit? (Look before you believe.)

# %%
def feeder(gpt, ids, reader):
    ...


ch04.feeder(feeder);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def feeder(gpt, ids, reader):
#     ids = np.asarray(ids)
#     earlier = np.tril(ids[:, None] == ids[None, :], k=-1)  # where the token of a row has stood before
#     elsewhere = lens.run(gpt, np.random.default_rng(0).permutation(ids))
#
#     def looks_right(sender):
#         run = lens.path_patch(gpt, ids, elsewhere, sender, reader, into="k")
#         return (run.sites["probs", reader[0]][reader[1]][:, 1:] * earlier[:, :-1]).sum()
#
#     senders = [(layer, head) for layer in range(reader[0]) for head in range(gpt.config.n_head)]
#     return min(senders, key=looks_right)
# ```
# </details>
#
# ## Where it stands in the code
#
# | here | there |
# |---|---|
# | cutting and merging | `nanogpt_np/ops.py`: `split_heads`, `merge_heads` (each is the other's backward) |
# | `one_head`, summed | `nanogpt_np/model.py`: `attention` |
# | who may look at whom | `ops.causal_mask`, `model.place` |
# | kinds of heads, induction score | `nanogpt_np/lens/attention.py`: `head_summaries`, `induction_scores` |
# | silencing a head | `lens/interventions.py`: `ablate`, `run` |
# | path patching | `lens/patching.py`: `path_patch` |
# | training | `nanogpt_np/training/backward.py`, `optim.py` |
