# %% [markdown]
# # 06 · How do logits become text?
#
# **You will be able to** carry five tokens by hand through every way of choosing the next one, say for each way when it goes wrong, explain why greedy text
# loops and why the likeliest text is a bad text, and say what a probability of 0.3 promises.
#
# **You need** notebook 00: a model turns a text into one logit for each token of its vocabulary. Everything below starts there. The model has done its work;
# what remains is a choice, and the choice is ours: it is not learned, and every chat program makes it.

# %%
import inspect
import math
from pathlib import Path

import numpy as np
from checks import ch06

from nanogpt_np import GPT, lens
from nanogpt_np.generation import beams, sampling, speculation
from nanogpt_np.generation.sampling import Sampling
from nanogpt_np.lens import style

gpt = GPT.from_pretrained("stories", ops="numpy")
encode, decode = gpt.tokenizer.encode, gpt.tokenizer.decode

# %% [markdown]
# ## Five tokens, by hand
#
# Say the vocabulary has five tokens and the model gives them these logits. They were chosen so that the probabilities are 8, 4, 2, 1 and 1 sixteenths. Softmax:
# raise e to each, divide by the sum.

# %%
tokens = ["dog", "cat", "bird", "frog", "moon"]
logits = np.log(np.array([8, 4, 2, 1, 1])) - 1.0  # minus 1: adding a number to all logits changes nothing
p = np.exp(logits) / np.exp(logits).sum()
assert np.allclose(p, np.array([8, 4, 2, 1, 1]) / 16)
assert np.allclose(p, sampling.probabilities(logits[None])[0])
print("logits       ", logits.round(3))
print("probabilities", p)

# %% [markdown]
# Every method that follows is a function from logits to logits. What may no longer be chosen becomes minus infinity, its probability 0, and the rest is shared
# out anew. So each stage is described by the probabilities behind it, by how many tokens are left, and by how much probability it removed. We do each by hand,
# on the probabilities, and compare with the library, which works on the logits.

# %%
print(" " * 26 + "".join(f"{token:>7}" for token in tokens) + "   left  removed")


def stage(name, mine, library):
    """Print a stage; `mine`: probabilities by hand, before sharing out; `library`: its logits."""
    after = mine / mine.sum()
    assert np.allclose(after, sampling.probabilities(library[None])[0])
    removed = p[mine == 0].sum()
    print(f"{name:26}" + "".join(f"{x:7.3f}" for x in after) + f"{np.count_nonzero(mine):7} {removed:8.3f}")


stage("as they are", p, logits)
stage("temperature 0.5", p**2, sampling.temperature(logits, 0.5))
stage("temperature 2", p**0.5, sampling.temperature(logits, 2.0))
stage("top-k 2", np.where([1, 1, 0, 0, 0], p, 0), sampling.top_k(logits, 2))
stage("top-p 0.8", np.where([1, 1, 1, 0, 0], p, 0), sampling.top_p(logits, 0.8))
stage("min-p 0.1", np.where([1, 1, 1, 1, 1], p, 0), sampling.min_p(logits, 0.1))
stage("min-p 0.2", np.where([1, 1, 1, 0, 0], p, 0), sampling.min_p(logits, 0.2))
stage("greedy (temperature 0)", np.where([1, 0, 0, 0, 0], p, 0), np.where(logits == logits.max(), logits, -np.inf))

# %% [markdown]
# One by one:
#
# * **Temperature** $T$ divides the logits. For the probabilities that means a power: $p^{1/T}$, shared out anew. At 0.5 they are squared: 64, 16, 4, 1 and 1
#   parts. Below 1 the strong get stronger; towards 0 the first has all.
# * **Top-k** keeps the $k$ largest. It knows nothing of how large they are.
# * **Top-p** goes down the list until what it has collected reaches $p$. 0.5, 0.75: not yet 0.8; 0.875: enough. It kept 0.875, not 0.8: it always overshoots,
#   since a token is kept or not.
# * **Min-p** keeps what is at least $p$ times as likely as the best. The best has 0.5, so 0.1 means a threshold of 0.05, and 0.2 one of 0.1.
# * **Greedy** is what temperature goes to at 0. The library does not divide by 0: it takes the largest.
#
# These are all of the library's stages but two (penalty and ban), and each is a few lines. This is top-p for one row; `before` is what the better tokens hold
# together, and `last` the smallest probability that stays:

# %%
print(inspect.getsource(sampling.nucleus))

# %% [markdown]
# The **repetition penalty** is different: it looks at the text. A token that has occurred gets its logit divided by the penalty if it is positive, multiplied
# if it is negative; either way it goes down. Say "dog" has occurred, and the penalty is 2. Now the same five probabilities from logits that are 3 larger.
# Guess: the same result?

# %%
stage("as they are", p, logits)
for shift in (0.0, 3.0, 6.0):
    after = sampling.repetition_penalty((logits + shift)[None], [[0]], 2.0)[0]
    stage(f"penalty 2, logits + {shift:g}", sampling.probabilities(after[None])[0], after)

# %% [markdown]
# Adding a number to all logits never changes the probabilities; here it decides everything. The penalty is not a function of the probabilities: it depends on
# where zero happens to be, and nothing in training says where. In a real model it lies somewhere below the best few hundred:

# %%
some = gpt(encode("Once upon a time, there was a"))[0, -1]
print(f"logits from {some.min():.1f} to {some.max():.1f}; a share of {(some > 0).mean():.2f} is above zero")

# %% [markdown]
# (The stage that is left, a *ban*, sets chosen logits to minus infinity.)
#
# ## From a distribution to one token
#
# Now draw. A computer gives a number $u$ between 0 and 1, all equally likely. Lay the probabilities end to end on a line of length 1; the token in whose piece
# $u$ falls is drawn. A piece that is half of the line is hit half of the time. The right ends of the pieces are the running sums, so `searchsorted` finds the
# piece (the *inverse* of the cumulative distribution):

# %%
ends = np.cumsum(p)
u = 0.83
drawn = np.searchsorted(ends, u, side="right")
print("right ends", ends, f"  u = {u} falls into the piece of", tokens[drawn])

figure = style.figure(6.8, 1.7, f"u = {u} draws {tokens[drawn]}", "five tokens; length of a piece: its probability")
axes = figure.subplots()
colours = style.colour_map(style.PROBABILITY)
for token, end, share in zip(tokens, ends, p, strict=True):
    axes.barh(0, share, left=end - share, color=colours(share), edgecolor=style.INK, lw=0.8)
    ink = style.write_on(colours(share))
    axes.text(end - share / 2, 0, f"{token}\n{16 * share:.0f}/16", ha="center", va="center", fontsize=8.5, color=ink)
axes.annotate(f"u = {u}", (u, 0.4), (u, 0.75), ha="center", fontsize=9, arrowprops={"arrowstyle": "->"})
axes.set(xlim=(-0.005, 1.005), ylim=(-0.4, 1), yticks=[])
axes.tick_params(labelsize=8)
style.without_frame(axes, "top", "right", "left")
figure

# %% [markdown]
# There is a second way that needs no sum and no division, only the logits: add to each an independent random number from the *Gumbel* distribution,
# $-\log(-\log u)$, and take the largest. The winner is token $i$ with exactly its softmax probability. Is it so? Draw 20,000 times each way and measure how far
# the counts are from what is expected, $\sum (\mathrm{seen} - \mathrm{expected})^2 / \mathrm{expected}$. If the counts follow $p$, this is about 4 (one less
# than there are tokens), and above 18.5 only once in a thousand tries.

# %%
def distance(drawn, p):
    expected = len(drawn) * p
    return float((np.square(np.bincount(drawn, minlength=len(p)) - expected) / expected).sum())


rng, n = np.random.default_rng(1), 20_000
by_sums = np.searchsorted(ends, rng.random(n), side="right")
by_gumbel = (logits - np.log(-np.log(rng.random((n, 5))))).argmax(axis=1)
cold = (2 * logits - np.log(-np.log(rng.random((n, 5))))).argmax(axis=1)  # temperature 0.5, which is not p
for name, found in (("running sums", by_sums), ("Gumbel", by_gumbel), ("Gumbel at temperature 0.5", cold)):
    print(f"{name:26} {np.bincount(found, minlength=5) / n}  distance {distance(found, p):.1f}")
assert distance(by_sums, p) < 18.5 and distance(by_gumbel, p) < 18.5 < distance(cold, p)

# %% [markdown]
# The library draws by sums. Its randomness is an argument, never a hidden state: sequence number $j$ of a prompt draws from a generator of its own, made from
# `[seed, j]`. So the same seed gives the same text, alone or in a batch. By hand and by the library:

# %%
prompt = "Lily found a"
last = gpt(encode(prompt))[:, -1]  # [1, n_vocab]
by_hand = []
for j in range(3):
    u = np.random.default_rng([7, j]).random()
    by_hand.append(int(np.searchsorted(np.cumsum(sampling.probabilities(last)[0]), u, side="right")))
assert by_hand == [int(sampling.draw(last, [np.random.default_rng([7, j])])[0]) for j in range(3)]
assert [decode([i]) for i in by_hand] == gpt.generate(prompt, 1, temperature=1, seed=7, num_return_sequences=3)
how = {"temperature": 1, "seed": 7}
assert gpt.generate(prompt, 9, **how) == gpt.generate(prompt, 9, **how, num_return_sequences=3)[0]
print([prompt + decode([i]) for i in by_hand])

# %% [markdown]
# **When does it end?** The model has a token of its own for that: `<|endoftext|>` stood between the stories it was trained on, so its probability is high where
# a story may end. Drawing it ends the text. Anything else that ends one, a length or a stop string, is a rule from outside.

# %%
end = gpt.config.eos_id
for text in ("Once upon a time", "They lived happily ever after", "They lived happily ever after."):
    print(f"{text:32} P(end) = {sampling.probabilities(gpt(encode(text))[:, -1])[0, end]:.3f}")
for stop in ((), "."):
    print(f"stop={stop!r:6}", repr(gpt.generate("Tom looked at", 24, temperature=1, seed=2, stop=stop)))

# %% [markdown]
# ## Three places in a story
#
# On five tokens all methods look alike. Now 4,096. At some places the model is sure, at others very much could follow. A good number for this is $e^H$, where
# $H = -\sum p \log p$ is the entropy: among how many equally likely tokens it might as well hesitate.

# %%
places = {"sure": "Once upon a", "half sure": "One day, Tom went to the", "open": "Tim had a"}
rows = {name: gpt(encode(text))[:, -1] for name, text in places.items()}
cuts = {"top-k 40": lambda x: sampling.top_k(x, 40), "top-p 0.95": lambda x: sampling.top_p(x, 0.95),
        "min-p 0.05": lambda x: sampling.min_p(x, 0.05)}  # fmt: skip


def kept(row, cut):  # [1, n_vocab] -> how many tokens are left, what was removed, the least likely one that is left
    p, left = sampling.probabilities(row)[0], np.isfinite(cut(row)[0])
    worst = np.flatnonzero(left)[p[left].argmin()]
    return left.sum(), p[~left].sum(), decode([int(worst)])


for name, row in rows.items():
    probs = sampling.probabilities(row)[0]
    print(f"{name}: {places[name]!r}: e^H = {np.exp(-(probs * np.log(probs)).sum()):.1f}; best {probs.max():.2f}")
    for cut_name, cut in cuts.items():
        n_left, removed, worst = kept(row, cut)
        print(f"    {cut_name:11} left {n_left:5}   removed {removed:6.3f}   the last one let in: {worst}")

# %%
where = "stories; tokens from the likeliest to the 4,096th; lines: where each method cuts"
figure = style.figure(7.4, 3.1, "One cut does not fit all distributions", where)
for axes, (name, row) in zip(figure.subplots(1, 3, sharey=True), rows.items(), strict=True):
    probs = np.sort(sampling.probabilities(row)[0])[::-1]
    axes.loglog(np.arange(1, len(probs) + 1), probs, color=style.PROBABILITY[3], lw=2)
    for (cut_name, cut), line in zip(cuts.items(), ("-", "--", ":"), strict=True):
        rank = kept(row, cut)[0] + 0.5
        axes.axvline(rank, ls=line, color=style.INK, lw=1)
        if name == "open":
            axes.text(rank, 3e-9, f"{cut_name} ", rotation=90, ha="right", va="bottom", fontsize=8.5)
    axes.set_title(f"{name}\n{places[name]} …", fontsize=9)
    axes.set(ylim=(1e-9, 2), xlabel="rank")
    axes.tick_params(labelsize=8)
    style.without_frame(axes, "top", "right")
figure.axes[0].set_ylabel("probability")
figure

# %% [markdown]
# Left, the model is sure. Top-k keeps 40 all the same, the last of them junk. Top-p and min-p keep one. Right, very much can follow: top-k throws a quarter of
# the probability away, top-p keeps hundreds, down to pieces of words (each is rare, but there are hundreds, at each such place). Min-p cuts early everywhere,
# and hardest where the model is open. There is no right cut, since a distribution does not say where the good tokens end; there are only three different
# guesses about it: *a number*, *a share of the whole*, *a share of the best*.
#
# ## Heat, and the order of the stages
#
# At temperature 1 the junk behind a sure token is harmless: all of it together has less than a thousandth. Temperature changes that. Look at the *sure* place:

# %%
for name, row in rows.items():
    print(f"{name}: {places[name]!r}")
    for t in (1.0, 1.5, 2.0):
        hot = sampling.temperature(row, t)
        ranked = np.sort(sampling.probabilities(hot)[0])[::-1]
        left = [np.isfinite(cut(hot)).sum() for cut in cuts.values()]
        print(f"    temperature {t}: best {ranked[0]:.3f}, beyond the 40th {ranked[40:].sum():.3f};"
              f" left by top-k {left[0]}, top-p {left[1]}, min-p {left[2]}")  # fmt: skip

# %% [markdown]
# At temperature 2, a third of the probability behind "Once upon a" lies beyond the 40th token, and top-p keeps about 1,800 tokens, because it must reach 0.95.
# Heat does not make a model creative; it hands probability to thousands of tokens of which each was right to have next to none.
#
# The library heats first and cuts then. Does the order matter? For the cuts that compare logits it does not, if the number is translated; for top-p it does:

# %%
heat, row = 1.5, rows["half sure"]
first_k = sampling.temperature(sampling.top_k(row, 40), heat)
then_k = sampling.top_k(sampling.temperature(row, heat), 40)
assert np.array_equal(np.isfinite(first_k), np.isfinite(then_k))  # dividing keeps the order: the same 40

then_min = sampling.min_p(sampling.temperature(row, heat), 0.05)
first_min = sampling.temperature(sampling.min_p(row, 0.05**heat), heat)  # p / p_best is raised to 1 / heat
assert np.array_equal(np.isfinite(first_min), np.isfinite(then_min))

for name, order in (("heat, then top-p", sampling.top_p(sampling.temperature(row, heat), 0.9)),
                    ("top-p, then heat", sampling.temperature(sampling.top_p(row, 0.9), heat))):  # fmt: skip
    print(f"{name}: {np.isfinite(order).sum():4} tokens left, the best has {sampling.probabilities(order).max():.2f}")

# %% [markdown]
# Programs differ in this order (llama.cpp, for one, cuts first), so the same settings give different texts in two of them. The library says its own, and here
# is one distribution on its way through it. Hollow bars: removed.

# %%
print(inspect.getdoc(Sampling).splitlines()[0])
how = Sampling(temperature=0.7, top_k=10, top_p=0.9)
view = lens.sampling_view(gpt, places["open"], how)
figure = lens.draw_sampling(view, f"stories, behind {places['open']!r}")
figure.set_size_inches(7.6, 4)
for name, n_left, mass in zip(view.names, view.n_left, view.mass, strict=True):
    print(f"{name:16} {n_left:5} left, which had {mass:.3f} in the stage before")
figure

# %% [markdown]
# ## Why greedy text loops
#
# If the likeliest token is good, is always taking it best? Try:

# %%
START = "Lily and Tom went to the park."
greedy = gpt.generate(encode(START), 120, temperature=0)
print(decode(greedy)[-320:])

# %% [markdown]
# It does not get out of that sentence any more. Why? Perhaps because the sentence has become nearly certain? Look how likely the model found it, each time it
# was said:

# %%
whole_ids, sentence = encode(START) + greedy, encode(" I want to play with you")
losses = lens.tokens_view(gpt, whole_ids).losses
for i in range(len(whole_ids) - len(sentence) + 1):
    if whole_ids[i + 1 : i + len(sentence)] == sentence[1:]:
        said_at = np.exp(-losses[i : i + len(sentence)])
        print(f"from token {i:3}: each token {said_at.round(2)}, all of it {said_at.prod():.3f}")
assert (lens.tokens_view(gpt, whole_ids).ranks[-len(greedy) :] == 0).all()  # each of them was the likeliest

# %% [markdown]
# No. After the first times the whole sentence has a probability of 4 or 5 in a hundred, and stays there. Most of its tokens have about one half. Greedy takes
# them because each is the *largest*, and nothing beside it is larger. If you draw, you leave this loop at the first chance: 95 times of 100 the next sentence
# is another. A loop is not a belief of the model; it is a flaw of always taking the best.
#
# But why did the sentence come up at all, and rise from 0.005? The model has learned that texts repeat themselves. Measure it: the same sentence eight times in
# a row, the mean loss of its tokens each time. One of the sentences is such as no story contains, and one row is twelve random tokens.

# %%
N_TIMES = 8
sentences = {"He put the stick in the river.": None, "I want to play with you.": None,
             "The purple clock ate seven quiet bridges.": None}  # fmt: skip
for sentence in sentences:
    n = len(encode(" " + sentence))
    losses = lens.tokens_view(gpt, "Tom was a boy." + N_TIMES * (" " + sentence)).losses
    sentences[sentence] = losses[-N_TIMES * n :].reshape(N_TIMES, n).mean(axis=1)
chance = np.random.default_rng(0).integers(300, 4000, 12).tolist()
losses = lens.tokens_view(gpt, encode("Tom was a boy.") + N_TIMES * chance).losses
sentences["twelve random tokens"] = losses[-N_TIMES * 12 :].reshape(N_TIMES, 12).mean(axis=1)
for sentence, by_time in sentences.items():
    print(f"{sentence:42}" + "".join(f"{loss:6.2f}" for loss in by_time))
    assert by_time[1] < by_time[0] and by_time[-1] < by_time[1]

# %% [markdown]
# All four get likelier, nearly all of it at the second time: what has been said once is to be expected again. For a sentence that stories like, that is enough
# to make its tokens the largest ones, and the circle closes. (In larger models the fall is deeper; heads that copy, "induction heads", do it. This small one
# copies common sentences well and random tokens hardly at all.)
#
# The repetition penalty breaks it by force. What does that cost? Good text *must* repeat: names, "the", the full stop. Punish the model's logits by the text so
# far, then ask what a real story costs. The story is one of two that were written for these notebooks; no model of this project had a part in it.

# %%
STORY = (
    "Once upon a time, there was a girl named Mina who did not like the dark. Every night, she asked her dad "
    "to leave the lamp on. Her dad was kind, so he did.\n"
    "One evening, the wind blew hard and all the lights in the house went out. Mina was scared. She hid under "
    'her blanket with her cat, Button. "Dad, I can not see you!" she cried.\n'
    '"I am here," said her dad. He came in with a small candle. "Do you want to see something nice? Put on '
    'your coat and come with me."\n'
    'They went out into the garden. It was very dark, and Mina held his hand. "Look up," said her dad. Mina '
    "looked up and saw more stars than she could count. There were big ones and small ones, and one of them "
    "fell down behind the hill.\n"
    '"Why did I never see them before?" asked Mina.\n'
    '"Because the lamp was too bright," said her dad. "The stars are shy. They only come out when it is '
    'dark."\n'
    "Mina sat on the grass and looked for a long time. Button sat next to her and looked too. An owl called "
    'from the old barn, and Mina was not afraid. She called back, "Hoo, hoo!" and her dad laughed.\n'
    "The next day, the lights worked again. In the evening, Mina's dad came to turn on the lamp. But Mina "
    'shook her head. "No, thank you," she said. "I want the stars to come." She opened the curtain and got '
    "into bed. Button jumped up and made a soft sound.\n"
    "After that, Mina had a new game. Each night she gave a name to one star. She named one for her dad, one "
    "for Button, and one for the owl. And when she could not think of a name, she closed her eyes and slept "
    "until the morning."
)
story = encode(STORY)[: gpt.config.n_ctx]
said = gpt(story)[0, :-1]  # what the model says behind each token of the story


def surprise(logits, ids):  # [n, n_vocab], n ids that came -> nats each
    return -np.log(sampling.probabilities(logits)[np.arange(len(ids)), ids])


def variety(ids):
    """Of all runs of three tokens in a text, the share of different ones."""
    threes = [tuple(ids[i : i + 3]) for i in range(len(ids) - 2)]
    return len(set(threes)) / max(len(threes), 1)


for penalty in (1.0, 1.1, 1.3, 2.0):
    before = [story[: i + 1] for i in range(len(said))]
    loss = surprise(sampling.repetition_penalty(said, before, penalty), story[1:]).mean()
    varied = variety(gpt.generate(encode(START), 120, temperature=0, repetition_penalty=penalty))
    print(f"penalty {penalty}: greedy's different runs of three {varied:.2f}; the story costs {loss:.2f} nats a token")
print("at 2.0:", gpt.generate(START, 70, temperature=0, repetition_penalty=2.0)[-75:])

# %% [markdown]
# The loops go, and the same number makes every token of a real story more surprising. At 2 the grammar suffers: the words that sentences are made of have been
# used up.
#
# ## Beam search: the likeliest text
#
# Greedy takes the best *token* each time. That is not the best *text*. Two steps, three tokens a, b, c: after "a" nothing is likely, after "b" one thing nearly
# certain. Greedy begins with a. A *beam* of two keeps the two best beginnings, extends both in all ways, and keeps the two best of what comes out. With the
# library's own step:

# %%
first = np.array([0.5, 0.4, 0.1])
second = np.array([[0.4, 0.3, 0.3], [0.9, 0.05, 0.05], [0.34, 0.33, 0.33]])  # a row for each first token
assert np.allclose(second.sum(axis=1), 1)
for width in (1, 2):
    beginnings = beams.extend([beams.Beam((), 0.0, 0)], np.log(first)[None], width, 0)
    rows_of = np.stack([np.log(second[beam.ids[-1]]) for beam in beginnings])
    best = beams.extend(beginnings, rows_of, width, 0)
    shown = [" ".join("abc"[i] for i in beam.ids) + f" {math.exp(beam.log_prob):.2f}" for beam in best]
    print(f"beam of {width}: begins with {['abc'[beam.ids[0]] for beam in beginnings]}, ends with {shown}")
assert (first[:, None] * second).max() == first[1] * second[1, 0]  # 0.36: the best of all nine

# %% [markdown]
# A beam of one is greedy, and ends with 0.20; two find 0.36. The sums of log-probabilities that are compared favour short texts, so the library divides them by
# the length (`Beams.length_penalty`). Now the real model. Six beginnings, fifty tokens; how likely is each text to the model, and how varied?

# %%
BEGINNINGS = [START, "Once upon a time", "The cat was sad because", "One day, a boy found a key.",
              "She ran home and", "The king"]  # fmt: skip


def rates(ids, n_before):  # -> log-probability of each new token
    return -lens.tokens_view(gpt, ids).losses[n_before:]


ways = {"beams 4": {"num_beams": 4}, "greedy": {"temperature": 0}, "temperature 0.7": {"temperature": 0.7, "seed": 1},
        "temperature 1": {"temperature": 1, "seed": 1}, "temperature 1.5": {"temperature": 1.5, "seed": 1}}  # fmt: skip
starts, texts = [encode(beginning) for beginning in BEGINNINGS], {}
print(" " * 16 + "mean log-probability of a token   different runs of three")
for name, how in ways.items():
    texts[name] = list(zip(starts, gpt.generate(starts, 50, **how), strict=True))
    of_each = np.mean([rates(start + new, len(start)).mean() for start, new in texts[name]])
    note = "" if name in ("beams 4", "greedy") else "  measured"  # another CPU may draw another text
    print(f"{name:16}{of_each:31.2f}{np.mean([variety(new) for _, new in texts[name]]):26.2f}{note}")
whole = rates(story, 1)
pieces = [variety(story[i : i + 50]) for i in range(0, 200, 50)]
print(f"{'the story above':16}{whole.mean():31.2f}{np.mean(pieces):26.2f}")

# %% [markdown]
# Beams find texts that are likelier than greedy's, as they should. The searches, beams and greedy, give the likeliest texts and the least varied; each step
# towards free drawing costs likelihood and brings variety. (Greedy, though, repeats itself more than the likelier beams do: a loop is a trap on greedy's path,
# not the likeliest text.) And look where the story stands, which nobody drew from the model. It is *less* likely than what the model draws at temperature 1,
# far less likely than what a search finds, and fully varied. A good text is not a likely text: this is the *likelihood trap* (Holtzman et al. 2020). Nor does
# it help to go on downwards: at 1.5 all is varied, and noise. Token by token:

# %%
start, new = max(texts["beams 4"], key=lambda pair: len(pair[1]))
searched, written = rates(start + new, len(start)), whole[: len(new)]
what = f"log-probability of each token in nats, 0: certain; beams: behind {decode(start)!r}"
figure = style.figure(7.4, 3.2, "The likelihood trap", "stories", what)
axes = figure.subplots()
axes.plot(written, "o-", color=style.PALE, lw=1.2, ms=3, label=f"the story: mean {written.mean():.2f}")
axes.plot(searched, color=style.INK, lw=1.6, label=f"found by 4 beams: mean {searched.mean():.2f}")
axes.axhline(0, color=style.INK, lw=0.5)
axes.set(xlabel="token", ylabel="log-probability", ylim=(-9, 1.6))
axes.legend(frameon=False, fontsize=8.5, loc="upper left", ncols=2)
axes.tick_params(labelsize=8)
style.without_frame(axes, "top", "right")
print(decode(new))
figure

# %% [markdown]
# The story dips: most tokens are easy, and every now and then comes one that could not be foreseen. Those dips are what the text has to say. A search for the
# likeliest text removes exactly them. Drawing at temperature 1 has them at the right rate, by construction: the expected surprise of a drawn token *is* the
# entropy of the distribution it is drawn from. Everything below 1, and every cut, trades variety for safety.
#
# ## The same text in fewer passes
#
# One more trick changes the speed and not the text. A pass over eight tokens costs little more than one over a single token, if the weights are read once for
# all. So guess the next tokens by some cheap means, let the model read all guesses in one pass, and keep those it would have said itself, plus one. Greedily
# that is exact by construction (with drawing it can be made exact too: Leviathan et al. 2023). The cheap means here: the text goes on as it did when its last
# tokens stood there before (`speculation.draft`). By hand, without a cache:

# %%
def guess_and_check(ids, n):
    """-> n greedy ids, and how many passes they took."""
    ids, end, n_passes = list(ids), len(ids) + n, 0
    while len(ids) < end:
        guesses = speculation.draft(ids, 6)
        best = gpt(ids + guesses)[0].argmax(axis=-1)[len(ids) - 1 :].tolist()  # one answer more than guesses
        n_right = next((i for i, (a, b) in enumerate(zip(guesses, best, strict=False)) if a != b), len(guesses))
        ids += best[: n_right + 1]
        n_passes += 1
    return ids[end - n : end], n_passes


mine, n_passes = guess_and_check(encode(START), 120)
assert mine == greedy == gpt.generate(encode(START), 120, temperature=0, speculate=6)
print(f"the same 120 tokens in {n_passes} passes; even greedy text that loops has a use")

# %% [markdown]
# ## What people get wrong
#
# * *"The temperature changes which token is the likeliest."* Dividing by a positive number keeps the order of all 4,096. What changes is how far apart they
#   are.

# %%
for t in (0.1, 0.7, 1.0, 3.0, 100.0):
    for row in rows.values():
        order = np.argsort(-row[0], kind="stable")
        assert (np.diff(sampling.temperature(row, t)[0, order]) <= 0).all()  # equal only where float32 rounds so
print("the same order at every temperature")

# %% [markdown]
# * *"Taking the argmax is sampling."* It draws nothing: one text, whatever the seed. It is what drawing becomes as the temperature goes to 0.

# %%
assert len({gpt.generate(START, 12, temperature=0, seed=seed) for seed in range(4)}) == 1
assert len({gpt.generate(START, 12, temperature=0.01, seed=seed) for seed in range(4)}) == 1
print("different texts from 8 seeds at temperature 1:", len({gpt.generate(START, 12, seed=seed) for seed in range(8)}))

# %% [markdown]
# * *"Top-p 0.9 keeps 90 % of the tokens."* It keeps as few as hold 90 % of the *probability*. Over the story above that is, at each place:

# %%
n_left = np.isfinite(sampling.top_p(said, 0.9)).sum(axis=1)
sure, usual, wide = np.percentile(n_left, (10, 50, 90)) / gpt.config.n_vocab
print(f"share of all tokens: {usual:.4f} at a usual place, {sure:.4f} at sure ones, {wide:.4f} at open ones")
assert usual < 0.02

# %% [markdown]
# * *"A probability of 0.3 means that the model is 30 % right"*, or that it is right in 30 % of cases. About what? A promise of 0.3 is kept if, of all the times
#   that *some* token was given 0.3, it came in 30 %. That can be counted, on any text: sort all promises (4,096 at each place) by size, and compare each
#   group's mean with how often those tokens came. Three kinds of text: what the model drew itself, at temperature 1 and at 0.7, and the two new stories.

# %%
SECOND = Path("texts/pip.txt").read_text(encoding="utf-8")


def counted(texts, first=0):
    """Lists of ids -> for each range of EDGES what was promised, how often it came, how many promises there were.

    Promises behind the tokens before `first` do not count.
    """
    promised, came, n_came = np.zeros((3, len(EDGES) - 1))
    n = np.zeros(len(EDGES) - 1)
    for ids in texts:
        probs = sampling.probabilities(gpt(ids)[0, first:-1])
        group = np.digitize(probs, EDGES) - 1
        n += np.bincount(group.ravel(), minlength=len(n))
        promised += np.bincount(group.ravel(), probs.ravel(), minlength=len(n))
        n_came += np.bincount(group[np.arange(len(probs)), ids[first + 1 :]], minlength=len(n))
    return promised / n, n_came / n, n


EDGES = np.array([0, 1e-5, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97, 1.0000001])
begin = encode("Once upon a time")
groups = {}
for t in (1.0, 0.7):
    drawn = gpt.generate(begin, 120, temperature=t, seed=3, num_return_sequences=20)
    groups[f"drawn at {t:g}"] = counted([begin + new for new in drawn], len(begin) - 1)
groups["new stories"] = counted([story, encode(SECOND)])
shown = [2, 3, 4, 5, 6, 8, 10, 12, 14, 15]
print(f"measured: {'promised':13}" + "".join(f"{x:8.4f}" for x in groups["drawn at 1"][0][shown]))
for name, (_, came, _) in groups.items():
    print(f"measured: {name:13}" + "".join(f"{x:8.4f}" for x in came[shown]))
promised, came, n = groups["drawn at 1"]
assert (np.abs(came - promised) < 4 * np.sqrt(promised * (1 - promised) / n)).all()  # as chance allows

# %%
what = "a point: all tokens, at all places, whose probability lies in one range; bars: two standard deviations"
figure = style.figure(7.6, 3.9, "Are promises kept?", "stories", what)
left, right = figure.subplots(1, 2)
for axes in (left, right):
    axes.plot([1e-7, 1], [1e-7, 1], color=style.RESIDUAL, lw=3, label="every promise kept")
    for (name, (promised, came, n)), look in zip(groups.items(), ("o-", "s--", "^:"), strict=True):
        colour = style.PALE if look == "s--" else style.INK
        error = 2 * np.sqrt(came * (1 - came) / n)
        enough = n * came >= 5  # fewer would say nothing
        points = (promised[enough], came[enough], error[enough])
        axes.errorbar(*points, fmt=look, color=colour, ms=4, lw=1.2, label=name)
    axes.set(xlabel="promised: mean probability", ylabel="how often it came")
    axes.tick_params(labelsize=8)
    style.without_frame(axes, "top", "right")
left.set(xscale="log", yscale="log", xlim=(1e-6, 0.15), ylim=(1e-6, 0.15))
left.set_title("small promises", fontsize=9)
right.set(xlim=(0, 1.02), ylim=(0, 1.02))
right.set_title("large promises", fontsize=9)
right.legend(frameon=False, fontsize=8.5, loc="upper left")
figure

# %% [markdown]
# * **Drawn at 1**: on the line, from one in ten thousand to nearly certain. It must be so: each token was drawn with just the promised probability. This tests
#   our way of drawing, not the model.
# * **Drawn at 0.7**: the likely came more often than promised, the unlikely far less. The promises (at temperature 1) and the text come from different
#   distributions; that is all.
# * **New stories**: promises of one in a hundred are about kept; where it was sure the model was *too* sure. It promises what was true of the texts it learned
#   from, and these are others.
#
# So a probability is a promise about a *kind of text*: how often this token follows, in texts like those. It says nothing of whether what the text says is
# right. A model that is perfectly calibrated on lies tells them with the right frequency.
#
# ## Exercises
#
# **Easy.** Write `hesitates(logits)`: for each row of `[n_batch, n_vocab]` the number $e^H$ from above, as an array `[n_batch]`. Removed tokens have the logit
# minus infinity and must not disturb: they are not hesitated about.

# %%
def hesitates(logits):
    ...


ch06.hesitates(hesitates);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def hesitates(logits):
#     probs = sampling.probabilities(logits)
#     return np.exp(-(probs * np.log(np.where(probs > 0, probs, 1))).sum(axis=-1))
# ```
# </details>
#
# **Medium.** Write `beam_search(next_log_probs, n_beams, n)`. `next_log_probs(ids)` takes a tuple of ids, at first the empty one, and gives the
# log-probabilities `[n_vocab]` of what comes next. Keep the `n_beams` likeliest beginnings of each length; give back the likeliest of the `n` ids long texts
# that you end with, as a list of ids. Nothing ends early.

# %%
def beam_search(next_log_probs, n_beams, n):
    ...


ch06.beam_search(beam_search);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def beam_search(next_log_probs, n_beams, n):
#     beams = [((), 0.0)]
#     for _ in range(n):
#         longer = [
#             ((*ids, i), total + log_prob)
#             for ids, total in beams
#             for i, log_prob in enumerate(next_log_probs(ids))
#         ]
#         beams = sorted(longer, key=lambda beam: -beam[1])[:n_beams]
#     return list(beams[0][0])
# ```
# </details>
#
# **Hard, an investigation.** Good text is neither the likeliest nor arbitrary: its tokens are about as surprising as is to be expected. *Locally typical
# sampling* (Meister et al. 2023) makes a stage of that. The surprise of a token is $-\log p$; the expected surprise is the entropy $H$. Sort the tokens by
# $|-\log p - H|$, the most typical first, and keep the fewest that hold at least `mass` of the probability. Write `typical(logits, mass)`: `[n_batch, n_vocab]`
# to the same, minus infinity where removed, the given array untouched, like the stages of the library.
#
# Then investigate, on the places of `story` (`said` has the logits). This stage can remove the *likeliest* token: at what share of the places does it, for
# masses from 0.2 to 0.95? Which tokens are those? And at what share does it keep the very same set as top-p of that mass: for which settings is it another
# method at all? Last, draw texts with it (a loop over `gpt`, your stage and `sampling.draw`) and find their place in the table of likelihood and variety.

# %%
def typical(logits, mass):
    ...


ch06.typical(typical);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def typical(logits, mass):
#     probs = sampling.probabilities(logits)
#     surprise = -np.log(probs)
#     entropy = (probs * surprise).sum(axis=-1, keepdims=True)
#     order = np.argsort(np.abs(surprise - entropy), axis=-1, kind="stable")
#     ranked = np.take_along_axis(probs, order, axis=-1)
#     removed = np.empty(logits.shape, bool)
#     np.put_along_axis(removed, order, np.cumsum(ranked, axis=-1) - ranked >= mass, axis=-1)
#     return np.where(removed, -np.inf, logits)
# ```
# </details>
#
# ## Where it stands in the code
#
# | here | there |
# |---|---|
# | each stage, and their order | `nanogpt_np/generation/sampling.py`; the order: `Sampling.choose` |
# | running sums, one number per draw | `sampling.draw` |
# | a generator for each sequence, stop ids | `generation/request.py`: `Request.generators`, `Request.stop_ids` |
# | one token after the other | `generation/tokens.py`: `stream_ids` |
# | beams | `generation/beams.py`: `extend`, `part`, `search` |
# | guess and check | `generation/speculation.py`: `draft`, `follow` |
# | the stages of one distribution | `lens.sampling_view`, `lens.draw_sampling` |
