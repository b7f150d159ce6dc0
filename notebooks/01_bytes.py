# %% [markdown]
# # 01 · What does a model read, if not letters?
#
# **You will be able to** turn a text into ids by hand and back, train a vocabulary merge by merge, say why a stray space at the end of a prompt makes a model
# talk of igloos, and find in a model's weights which tokens it has never met.
#
# **You need** Python. Notebook 00 helps in the last third, where a model says how likely a text is.

# %%
import string
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
from checks import ch01

from nanogpt_np import GPT, Tokenizer, lens
from nanogpt_np.lens import style
from nanogpt_np.lens.tokens import log_softmax
from nanogpt_np.tokenizer import StreamDecoder
from nanogpt_np.tokenizer.bpe import SPLIT_PATTERN
from nanogpt_np.tokenizer.display import format_explanation, spell
from nanogpt_np.tokenizer.training import PairCounts, merge, train_merges

gpt = GPT.from_pretrained("stories", ops="numpy")
stories, gpt2 = gpt.tokenizer, Tokenizer.gpt2()  # two vocabularies: this small model's, and the published one
shakespeare = Path("texts/shakespeare.txt").read_text(encoding="utf-8")

# %% [markdown]
# A model is a function of whole numbers below `n_vocab`: each picks a row of a table. So before anything else there must be a list of the things a text is made
# of, it must be finite, and every text in the world must be spelled by it. Three candidates:
#
# * **Words.** The list never ends. Yesterday's name, today's typing error, `x_train2`: all outside.
# * **Characters.** Unicode has room for 1,114,112 of them. Nearly all rows of such a table would never be used.
# * **Bytes.** 256, no more, and every file on every disk is made of them.
#
# ## Bytes first
#
# UTF-8 writes each character as one to four bytes. Before you run it, guess how many each of these takes:

# %%
assert sys.maxunicode + 1 == 1_114_112
for c in "Aé床😀":
    print(f"{c}\tU+{ord(c):05X}   {len(c.encode())}   {' '.join(f'{byte:08b}' for byte in c.encode())}")

# %% [markdown]
# Look at the first bits. A byte `0…` is a character by itself. `110…`, `1110…`, `11110…` begin one of two, three, four bytes; every byte that goes on begins with `10`.
# So whoever falls into the middle of a text, as a model that is given half a character does, can see where the next one begins. The price: some bytes can never
# occur. Which? Encode every character there is and look.

# %%
points = [*range(0xD800), *range(0xE000, sys.maxunicode + 1)]  # between them lie halves of pairs, no characters
everything = "".join(map(chr, points))
impossible = sorted(set(range(256)) - set(everything.encode()))
print(len(impossible), "bytes that no text contains:", " ".join(f"{byte:02x}" for byte in impossible))

# %% [markdown]
# Remember these 13. They are rows of every byte-level vocabulary, GPT-2's too, and no text can ever ask for them. We shall meet them again in the weights.
#
# Why not stop here, with `n_vocab = 256`? Because a model pays for every piece that it reads (a *token*): with time, and with a place in its *context*, the `n_ctx` tokens that it can see
# at once. How much Shakespeare fits *stories*' context in bytes, and how much in its tokens?

# %%
n_ctx = gpt.config.n_ctx
print(f"{n_ctx} bytes:  up to  …{shakespeare.encode()[:n_ctx].decode()[-40:]!r}")
seen = stories.decode(stories.encode(shakespeare[:2000])[:n_ctx])
print(f"{n_ctx} tokens: up to  …{seen[-40:]!r}, {len(seen)} characters")

# %% [markdown]
# Over twice as far, with a vocabulary that was made for children's stories. The idea of byte-pair encoding (BPE): begin with bytes, find the pair of neighbours
# that occurs most often, make it a token, and repeat.
#
# ## Cut before you merge
#
# First the text is cut into chunks, and merging never crosses a cut. This is the pattern that GPT-2 published; at each place the first of its alternatives (between
# the bars) that matches wins.

# %%
print(SPLIT_PATTERN.pattern)
for text in ("The dog's 12 bones, isn't it?", "a  b   c\n\n  d", "DON'T don’t", "x_train2 = 0.5"):
    print(f"{text!r:33} {[chunk.replace(' ', '␣') for chunk in SPLIT_PATTERN.findall(text)]}")

# %% [markdown]
# Read the results as rules:
#
# | alternative | what it takes | and what follows |
# |---|---|---|
# | `'s`, `'t`, `'re` … | English endings | only in lower case and only with the typewriter's apostrophe |
# | ` ?\p{L}+` | letters, **with one space in front** | a word and its space are one chunk, so most words cost no token for the space |
# | ` ?\p{N}+` | digits | letters and digits never share a token |
# | ` ?[^\s\p{L}\p{N}]+` | all other signs | `?` and `=` never stick to a word |
# | `\s+(?!\S)`, `\s+` | spaces and line ends | of several spaces all but the last; the last goes to the word behind them |
#
# Why cut at all? Because counting alone has no idea what a word is. Here both ways learn 60 merges from the same 12,000 characters:

# %%
def learned(chunk_counts, n_merges):
    """The tokens that merging makes, as bytes, in order."""
    tokens = [bytes([byte]) for byte in range(256)]
    for left, right in train_merges(chunk_counts, n_merges):
        tokens.append(tokens[left] + tokens[right])
    return tokens[256:]


some = shakespeare[:12_000]
uncut = learned({some.encode(): 1}, 60)
cut = learned({chunk.encode(): n for chunk, n in Counter(SPLIT_PATTERN.findall(some)).items()}, 60)
for name, tokens in (("uncut", uncut), ("cut", cut)):
    crossing = [token for token in tokens if len(SPLIT_PATTERN.findall(token.decode())) > 1]
    print(f"{name:6}{' '.join(map(spell, tokens[:26]))}")
    print(f"      {len(crossing)} of {len(tokens)} tokens cross a border between chunks")
assert ":\n" in [token.decode() for token in uncut]

# %% [markdown]
# Without the cut, `, ` and `:\n` become tokens, and soon each frequent word would be there many times: once with a comma, once with a full stop, once with a
# space. The paper's authors saw `dog.`, `dog!`, `dog?` and cut the text for that reason (Radford et al. 2019, section 2.2).
#
# ## Merge by merge, by hand
#
# A text small enough to count on fingers. Its chunks, their bytes, and the pairs of neighbours:

# %%
def count_pairs(chunks):
    """{tuple of ids: how often} -> {pair of ids: how often}"""
    counts = Counter()
    for ids, n in chunks.items():
        for pair in pairwise(ids):
            counts[pair] += n
    return counts


def best_first(counts):
    return sorted(counts, key=lambda pair: (-counts[pair], pair))  # of equals the smaller ids


tiny = "she sells sea shells, he sells shells"
chunks = {tuple(chunk.encode()): n for chunk, n in Counter(SPLIT_PATTERN.findall(tiny)).items()}
tokens = [bytes([byte]) for byte in range(256)]  # id -> bytes
counts = count_pairs(chunks)
print("  ".join(f"{n} x {spell(bytes(ids))}" for ids, n in chunks.items()))
print("  ".join(f"{spell(tokens[a])}+{spell(tokens[b])} {counts[a, b]}" for a, b in best_first(counts)))

# %% [markdown]
# `␣` + `s` comes five times and wins. Now cover the table below and play on: which pair is next? Four pairs come four times each. (Equals: the smaller ids win, and
# the id of a letter is its byte, so `e` before `h` before `l`.) Then the harder question: after that merge, how often does `h` + `e` still come?

# %%
for new_id in range(256, 264):
    counts = count_pairs(chunks)
    pair, *others = best_first(counts)
    tokens.append(tokens[pair[0]] + tokens[pair[1]])
    chunks = {tuple(merge(list(ids), pair, new_id)): n for ids, n in chunks.items()}
    behind = ", ".join(f"{spell(tokens[a])}+{spell(tokens[b])} {counts[a, b]}" for a, b in others[:3])
    now = "  ".join("|".join(spell(tokens[i]) for i in ids) for ids in chunks)
    left, right = (spell(tokens[i]) for i in pair)
    print(f"{new_id}  {left:>2} + {right:5} {counts[pair]} times (then {behind:22})  {now}")

# %% [markdown]
# Three things to see here, and they hold for every BPE vocabulary:
#
# * `h` + `e` fell from 4 to 2 although nobody touched it: `el` took the `e` out of `shells`. **A count is true only until the next merge.** So training is a
#   sequence, and the order of merges is part of its result.
# * `hells` became a token, and no dictionary would have it. Frequency found it, meaning had no say.
# * `sea` stayed in pieces: a vocabulary spends its tokens on what comes often.
#
# The library does the same; it keeps its counts up to date in place of counting anew:

# %%
def in_tokens(tokenizer, text):
    """A text with a bar between its tokens."""
    return "|".join(spell(tokenizer.token_bytes(i)) for i in tokenizer.encode(text))


trained = Tokenizer.train([tiny], n_vocab=264, special_tokens=())
assert [trained.token_bytes(i) for i in range(264)] == tokens
print(trained.n_vocab, "tokens, byte for byte those above;", in_tokens(trained, tiny))

# %% [markdown]
# ## Encoding: play the merges again, in their order
#
# A text that was not there in training is cut into chunks, and each chunk goes through what training did, in the same order: of all neighbours that may merge, those
# that were learned **first** merge first. As ids were given in that order, a dictionary `{bytes: id}` is all it takes:

# %%
def encode(text, number):
    """`number`: {bytes of a token: its id}, in the order in which they were learned."""
    ids = []
    for chunk in SPLIT_PATTERN.findall(text):
        parts = [bytes([byte]) for byte in chunk.encode()]
        while len(parts) > 1:
            made = [number.get(left + right, len(number)) for left, right in pairwise(parts)]
            i = made.index(min(made))  # the neighbours whose merge was learned first
            if made[i] == len(number):
                break  # nobody here may merge
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        ids += [number[part] for part in parts]
    return ids


def numbers(tokenizer):
    special = tokenizer.special_tokens.values()
    return {tokenizer.token_bytes(i): i for i in range(tokenizer.n_vocab) if i not in special}


number, number_gpt2 = numbers(stories), numbers(gpt2)
hard = ["", " ", "a  b", "DON'T don’t", "0" * 17, "床前明月光", "😀👍🏽", "\n\n\t x", "é e\u0301", "'s'S ''"]
hard += ["<|endoftext|>", shakespeare[:3000]]
rng = np.random.default_rng(1)
alphabet = list(" \n'aeslthAZ09.,é床😀_-\u00a0\u200d")
hard += ["".join(rng.choice(alphabet, 12)) for _ in range(300)]
for text in hard:
    assert encode(text, number) == stories.encode(text) and encode(text, number_gpt2) == gpt2.encode(text)
    assert gpt2.decode(gpt2.encode(text)) == stories.decode(stories.encode(text)) == text
print(len(hard), "texts, two vocabularies: the same ids as the library's, and every text comes back")

# %% [markdown]
# The library shows each step (`nanogpt-np tokenize --steps` in a terminal). One word in *stories*' vocabulary; the rank says when a merge was learned:

# %%
print(format_explanation(stories.explain(" shells"), color=False, steps=True))

# %% [markdown]
# Such a list is a tree. Below, two words of GPT-2, with each merge at the height of its rank. Low merges are the frequent pairs of all English; the top one made the word.
# The first tree looks as if someone had known English. Look at the second before you believe that.

# %%
def draw_tree(axes, tokenizer, word):
    """A chunk that is one token, as the tree of its merges; height: rank, on a logarithmic scale."""
    (chunk,) = tokenizer.explain(word).chunks
    at = {}  # (first byte, end) -> (x, y)
    box = {"facecolor": "white", "edgecolor": style.PALE, "linewidth": 0.7, "pad": 1.2}
    for i, byte in enumerate(chunk.data):
        at[i, i + 1] = (i, 0.5)
        axes.text(i, 0.4, style.legible(spell(bytes([byte]))), ha="center", va="top", fontsize=12, color=style.INK)
    for step in chunk.merges:
        ends = np.cumsum([0, *map(len, step.parts)])
        for start, end in pairwise(map(int, ends)):
            if chunk.data[start:end] == step.left + step.right and (start, end) not in at:
                middle = start + len(step.left)
                (x0, y0), (x1, y1), y = at[start, middle], at[middle, end], step.rank + 1
                axes.plot([x0, x0, x1, x1], [y0, y, y, y1], color=style.PALE, linewidth=1.2, zorder=1)
                at[start, end] = ((x0 + x1) / 2, y)
                axes.text(*at[start, end], style.legible(spell(chunk.data[start:end])), ha="center", va="center",
                          fontsize=8, color=style.INK, bbox=box)
    axes.set(yscale="log", ylim=(0.2, 120_000), xlim=(-0.8, len(chunk.data) - 0.2), xticks=[])
    axes.set_ylabel("rank of the merge", fontsize=9, color=style.INK)
    style.without_frame(axes, "top", "right", "bottom")


figure = style.figure(8.4, 4.2, "How two words are put together", "GPT-2's published merges",
                      "height: when the merge was learned, the first at the bottom")
for axes, word in zip(figure.subplots(1, 2), (" playground", " notebook"), strict=True):
    draw_tree(axes, gpt2, word)
figure

# %% [markdown]
# `play` + `ground`, as in a dictionary. But a notebook is a `not` with an `ebook` behind it. The pair `e` + `b` is frequent, so it was learned before ` note` and before `book`, and takes a letter
# from both:

# %%
for token in ("eb", "book", " note", " notebook"):
    print(f"{spell(token.encode()):9} rank {number_gpt2[token.encode()] - 256:6,}")

# %% [markdown]
# Nothing repairs that later. The token for the whole word is whole all the same; only its inside is odd. Where a word has no token of its own, the odd inside is what the model gets.
#
# ## Decoding, and bytes that are no text
#
# Back is easy: look up each id's bytes and join them. But a token may be a part of a character, and then it is no text by itself:

# %%
ids = gpt2.encode("ok 😀 好")
print([gpt2.token_bytes(i) for i in ids])
print([gpt2.decode([i]) for i in ids], "<- each alone")
stream = StreamDecoder(gpt2)
print([stream.push(i) for i in ids], "<- as a stream")

# %% [markdown]
# Whoever prints token by token must hold back bytes until a character is whole. `�` (U+FFFD) in a chat window comes from programs that do not.

# %% [markdown]
# ## How many merges?
#
# Every further merge makes texts shorter and the table longer. How far should one go? Ten thousand merges are learned from 270,000 characters of Shakespeare; the last
# 30,000 characters come along without a vote (weight 0), to see how a new text fares. At some sizes we stop and look.

# %%
sizes = [256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 10000]
known, new = shakespeare[:270_000], shakespeare[270_000:]
known_chunks, new_chunks = SPLIT_PATTERN.findall(known), SPLIT_PATTERN.findall(new)
weights = dict.fromkeys(new_chunks, 0) | Counter(known_chunks)
row = {chunk: i for i, chunk in enumerate(weights)}
pairs = PairCounts({chunk.encode(): n for chunk, n in weights.items()})
known_ids, new_ids, n = {}, {}, 256
for size in sizes:
    while n < size:
        pairs.merge(pairs.most_frequent(), n)
        n += 1
    known_ids[size] = np.concatenate([pairs.chunks[row[chunk]] for chunk in known_chunks])
    new_ids[size] = np.concatenate([pairs.chunks[row[chunk]] for chunk in new_chunks])

check = Tokenizer.train([known], 1024, special_tokens=())
assert check.encode(known[:5000]) == known_ids[1024][: len(check.encode(known[:5000]))].tolist()
assert check.encode(new) == new_ids[1024].tolist()
for size in (256, 1024, 4096, 10000):
    on_known, on_new = len(known) / len(known_ids[size]), len(new) / len(new_ids[size])
    print(f"{size:6,} tokens: {on_known:.2f} bytes per token, on the new text {on_new:.2f}")

# %% [markdown]
# Shorter is not yet better. A table with more rows must be learned from the same text, so each row is met less often. To see both sides we need a model that takes a moment
# to train. The smallest one there is guesses the next token from the one before by counting pairs, mixed half and half with how often each token comes at all. What the
# new text costs it, in **bits per byte**, can be compared between vocabularies; bits per token cannot, as a token is another amount of text in each. (A token that was given probability
# $p$ costs $-\log_2 p$ bits: 1 bit for a half, 2 for a quarter, 10 for about a thousandth. The less, the better it was foreseen.)

# %%
def bits_per_byte(ids, new, n_vocab, n_bytes):
    """Learn pairs from `ids`, then: the bits that `new` costs, shared among its bytes."""
    alone = np.bincount(ids, minlength=n_vocab) + 0.1
    before = np.bincount(ids[:-1], minlength=n_vocab)
    pairs, times = np.unique(ids[:-1] * n_vocab + ids[1:], return_counts=True)
    asked = new[:-1] * n_vocab + new[1:]
    place = np.minimum(np.searchsorted(pairs, asked), len(pairs) - 1)
    after = np.where(pairs[place] == asked, times[place], 0) / np.maximum(before[new[:-1]], 1)
    return -np.log2(0.5 * after + 0.5 * (alone / alone.sum())[new[1:]]).sum() / n_bytes


bits = {size: bits_per_byte(known_ids[size], new_ids[size], size, len(new.encode())) for size in sizes}
times = {size: np.bincount(known_ids[size], minlength=size) for size in sizes}
rare = {size: (times[size][256:] < 10).mean() for size in sizes[1:]}
best = min(bits, key=bits.get)
print("fewest bits per byte:", f"{bits[best]:.2f} with {best:,} tokens; with 10,000: {bits[10000]:.2f}")

# %%
figure = style.figure(7.8, 6.6, "What more merges buy, and what they cost",
                      "BPE trained on 270,000 characters of Shakespeare", "new: the next 30,000 characters",
                      "rare: less than 10 times in the text it was learned from")
(length, rarity), (cost, zipf) = figure.subplots(2, 2)
length.plot(sizes, [len(known) / len(known_ids[size]) for size in sizes], "o-", color=style.INK, markersize=3.5)
length.plot(sizes, [len(new) / len(new_ids[size]) for size in sizes], "s--", color=style.PALE, markersize=3.5)
length.text(5000, 3.8, "learned from", ha="right", fontsize=8.5, color=style.INK)
length.text(7000, 3.05, "new", ha="left", fontsize=8.5, color=style.PALE)
length.set_ylim(0.9, 4.1)
length.set_title("bytes per token", fontsize=9.5)
rarity.plot(sizes[1:], [100 * rare[size] for size in sizes[1:]], "o-", color=style.INK, markersize=3.5)
rarity.set_title("rare merges, % of all merges", fontsize=9.5)
cost.plot(sizes, [bits[size] for size in sizes], "o-", color=style.INK, markersize=3.5)
line = {"arrowstyle": "-", "color": style.PALE}
cost.annotate(f"best: {best:,}", (best, bits[best]), (best, bits[best] + 0.5), ha="center", fontsize=8.5, arrowprops=line)
cost.set_title("bits per byte of the new text", fontsize=9.5)
for axes in (length, rarity, cost):
    axes.set_xscale("log", base=2)
    axes.set_xlim(220, 13_000)
    axes.set_xticks([256, 1024, 4096], ["256", "1,024", "4,096"])
    axes.set_xlabel("n_vocab", fontsize=8.5)
labels = {256: ("#bdbdbd", 60, 1), 1024: ("#9a9a9a", 760, 2.2), 4096: ("#6a6a6a", 15_000, 3.5), 10000: (style.INK, 40_000, 1)}
for size, (colour, x, y) in labels.items():
    sorted_times = np.sort(times[size][times[size] > 0])[::-1]
    zipf.loglog(np.arange(1, len(sorted_times) + 1), sorted_times, color=colour, linewidth=1.6)
    zipf.text(x, y, f"{size:,}", fontsize=8.5, color=colour, va="center", ha="right")
zipf.loglog([8, 3000], [40_000 / 8, 40_000 / 3000], ":", color=style.INK, linewidth=1)
zipf.text(130, 600, "times = C / place", fontsize=8.5, color=style.INK)
zipf.set_title("times in the text, sorted", fontsize=9.5)
zipf.set_xlabel("place among the tokens, the most frequent first", fontsize=8.5)
zipf.set(xlim=(0.9, 60_000), ylim=(0.4, 60_000))
for axes in (length, rarity, cost, zipf):
    axes.tick_params(labelsize=8)
    style.without_frame(axes, "top", "right")
figure

# %% [markdown]
# *Above, left:* each doubling gains less than the one before, and past 4,096 the gap between the text it was learned from and a new one opens. *Right:* past two thousand tokens the rare
# ones multiply: a new merge is rare itself, and takes away from the two that it joins. *Below, left:* both together. There is a best size **for this much text**, and it is far from the largest. GPT-2 could afford 50,257 because it had 40 GB
# (Radford et al. 2019); *stories* has 4,096 because it had 12 MB.
#
# *Below, right:* one line for each of four vocabularies, its tokens sorted by how often they come. Merge after merge, a curve with a cliff turns into a straight line:

# %%
slope, _ = np.polyfit(np.log(np.arange(10, 1000)), np.log(sorted_times[10:1000]), 1)  # of the largest vocabulary
print(f"its slope between the 10th and the 1,000th of 10,000 tokens: {slope:.2f}")

# %% [markdown]
# About -1: ten times further down the list, about a tenth as frequent. That is Zipf's law, known from words. Merging brings it about, as it always takes from the commonest. The lower
# end is the trouble: thousands of tokens that come once or twice, each with a row of its own to be learned from that.
#
# ## One text, four vocabularies

# %%
def draw_cuts(text, vocabularies):
    """A text once for each vocabulary, a box for each token."""
    figure = style.figure(8.4, 0.9 + 0.56 * len(vocabularies), f"“{text}”",
                          "a box is a token, ␣ a space, \\xf0 a byte that is no whole character")
    axes = figure.subplots()
    for y, (name, tokenizer) in enumerate(vocabularies.items()):
        tokens, x = [spell(tokenizer.token_bytes(i)) for i in tokenizer.encode(text)], 0.0
        axes.text(0, -y + 0.36, f"{name}: {len(tokens)} tokens", fontsize=8.5, color=style.PALE, va="bottom")
        for i, token in enumerate(tokens):
            width = len(style.legible(token)) + 0.3
            axes.barh(-y, width, left=x, height=0.56, color=("#c6dbef", "#fde0bd")[i % 2], edgecolor="white")
            axes.text(x + width / 2, -y, style.legible(token), ha="center", va="center", fontsize=7.5,
                      family="DejaVu Sans Mono", color=style.INK)
            x += width
    axes.set(xlim=(0, 82), ylim=(0.45 - len(vocabularies), 0.75))
    axes.axis("off")
    return figure


figure = draw_cuts("Unbelievable: a giraffe and two giraffes, 2021 😀", {
    "bytes": Tokenizer.from_merges([]), "1,024, from Shakespeare": check,
    "4,096, from children's stories": stories, "50,257, GPT-2's": gpt2,
})
figure

# %% [markdown]
# A vocabulary is a portrait of the text it was counted in. *stories* has a giraffe, though not two of them, and spells 2021 by digits; Shakespeare has no giraffe; only the web
# knows the year. And one more letter changes everything before it: ` giraffe` is one token in the third row, ` giraffes` is three others.
#
# ## Break it
#
# Much that is odd about language models begins here, before the first matrix product.
#
# **Four spellings, four rows.** A space, a capital: another id, and nothing in the ids says that they belong together.

# %%
for word in ("dog", " dog", "Dog", " Dog", "DOG", " dogs"):
    print(f"{spell(word.encode()):6}", *(f"{str(v.encode(word)):20}{in_tokens(v, word):10}" for v in (stories, gpt2)))

# %% [markdown]
# **Numbers are cut as the web happened to write them.** All numbers below 10,000 with a space in front, under GPT-2. A row holds those that begin alike.

# %%
def way(n):
    """How a number is cut, as a place in WAYS."""
    digits = tuple(len(gpt2.token_bytes(i).strip()) for i in gpt2.encode(f" {n}"))
    return 0 if len(digits) == 1 else {(1, 3): 1, (2, 2): 2, (3, 1): 3}.get(digits, 4)


WAYS = ("one token", "1 | 3", "2 | 2", "3 | 1", "other")
shown = np.array([way(n) for n in range(10_000)]).reshape(100, 100)
figure = style.figure(6.6, 6.1, "How GPT-2 cuts the numbers from 0 to 9,999", "colour: digits in each piece",
                      "other: three pieces, or three digits in two", *(f"{name.replace(' | ', '|')}: {(shown == i).sum():,}" for i, name in enumerate(WAYS)))
axes = figure.subplots()
image = axes.imshow(shown, cmap=style.colour_map(style.PROBABILITY), vmin=0, vmax=4, interpolation="nearest")
axes.set_xlabel("last two digits", fontsize=9)
axes.set_ylabel("the digits before them", fontsize=9)
axes.set_xticks(range(0, 100, 10))
axes.set_yticks(range(0, 100, 10))
axes.annotate("1895 to 2022: years", (30, 19.5), (42, 27), fontsize=9, color=style.INK,
              arrowprops={"arrowstyle": "->"}, bbox={"facecolor": "white", "edgecolor": "none", "pad": 2})
assert all(way(year) == 0 for year in range(1895, 2023))
bar = figure.colorbar(image, ax=axes, ticks=range(5), shrink=0.5, boundaries=np.arange(-0.5, 5))
bar.ax.set_yticklabels(WAYS, fontsize=9)
figure

# %%
for text in (" 2021 + 1 = 2022", " 2028 + 1 = 2029", " 1234 + 1235"):
    print(f"{text:18} {in_tokens(gpt2, text)}")

# %% [markdown]
# Years of the recent past are whole, as the web is full of them. Further down, whether a number is cut as `1|3` or as `2|2` hangs on which of the pieces the web had more often. To add two numbers digit by digit,
# a model must first know by heart how each is cut. Newer vocabularies cut numbers by rule.
#
# **Spaces.** GPT-2's merges hold no token of two spaces, so indented code pays for every one:

# %%
assert not any(len(token) > 1 and not token.strip(b" ") for token in number_gpt2)
code = "def f(x):\n    for y in x:\n        if y:\n            return y\n"
ids = gpt2.encode(code)
print(f"{ids.count(gpt2.encode(' ')[0])} of {len(ids)} tokens are a lone space:")
print(in_tokens(gpt2, code))

# %% [markdown]
# **`<|endoftext|>` typed by a user** is text, unless whoever calls `encode` allows the *special token* of that name: an id that no merge made and that in training stood between
# documents. To allow it for text from outside is to let strangers end your documents.

# %%
text = "Hi<|endoftext|>"
print(gpt2.encode(text), in_tokens(gpt2, text))
print(gpt2.encode(text, allowed_special="all"))

# %% [markdown]
# ## Tokens that a model has never met
#
# Back to the 13 bytes that no text contains. *stories* has a row for each. What is in rows that were never read? Compare their mean with every other row of `wte`, by the cosine of
# the angle between them.

# %%
wte = gpt.params["wte"]["weight"].astype(np.float64)  # [n_vocab, n_embd]
never = wte[impossible].mean(axis=0)
cosine = wte @ never / np.linalg.norm(wte, axis=1) / np.linalg.norm(never)
dead = np.flatnonzero(cosine > 0.99)
merged = [spell(stories.token_bytes(i)) for i in dead if i >= 256]
assert set(impossible) <= set(dead)
print(f"{len(dead)} rows are one and the same vector: their cosines are all above {np.floor(1000 * cosine[dead].min()) / 1000}")
print(f"the largest of all others is {np.delete(cosine, dead).max():.3f}")
print(f"{len(dead) - len(merged)} single bytes and {len(merged)} merges: {' '.join(merged[3:100:9])}")

# %%
figure = style.figure(7.6, 4, "What a row looks like that was never used",
                      "stories, wte, one point for each of its 4,096 tokens",
                      "height: cosine with the mean of the rows of the 13 impossible bytes")
axes = figure.subplots()
alive = np.setdiff1d(np.arange(len(wte)), dead)
axes.plot(alive, cosine[alive], ".", color=style.PALE, markersize=1.6)
axes.plot(dead, cosine[dead], ".", color=style.INK, markersize=3.5)
for token, x in ((" clo", 500), (" butterf", 1250), (" gif", 1850), (" restaur", 3500)):
    i = number[token.encode()]
    axes.annotate(spell(token.encode()), (i, 1.0), (x, 1.18), fontsize=9, color=style.INK, ha="center", arrowprops=line)
axes.axvline(255.5, color=style.PALE, linewidth=0.8)
axes.text(20, -0.42, "bytes", fontsize=9, color=style.PALE)
axes.text(290, -0.42, "merges, in the order in which they were learned", fontsize=9, color=style.PALE)
axes.set(ylim=(-0.5, 1.3), xlim=(-20, 4115))
axes.set_xlabel("id", fontsize=9)
axes.set_ylabel("cosine", fontsize=9)
axes.tick_params(labelsize=8)
style.without_frame(axes, "top", "right")
figure

# %% [markdown]
# A line of points at 1, and below it a gap, narrow and empty. (Who has the training text can count: the dark points are exactly the tokens that do not occur in it.) Why one vector for all?
# The same table is read at the bottom of the model and is multiplied with the stream at its top (notebook 00). A row that is never read gets one push per step only, from the
# top: *be less likely*. The push is the same for all such rows, and weight decay (each step also shrinks every weight a little) wipes
# out where each began. The grey points between cloud and line are nearly dead: tokens that came a
# few times in all of training. And the cloud itself rises to the right, as later merges are rarer.
#
# The bytes are no wonder, children's stories have few umlauts. But ` restaur`? It is **scaffolding**: a merge on the way to ` restaurant` that nothing else ever
# needed. Every dead merge is a part of a longer one:

# %%
parts = {part for line in stories.to_files()["merges.txt"].splitlines()[1:] for part in line.split(" ")}
assert all(token.replace("␣", "Ġ") in parts for token in merged)
assert len(gpt2.encode(" SolidGoldMagikarp")) == 1
print(f"all {len(merged)} are parts of later merges; dead in all: {len(dead) / len(wte):.1%} of the vocabulary")

# %% [markdown]
# That is what "glitch tokens" are (` SolidGoldMagikarp` is one of GPT-2's): ids that a vocabulary has and training never used. You found them from the weights alone, and so does
# the method of Land and Bartolo (2024). `encode` does not make them. But nothing stops a program from putting them into a prompt:

# %%
def in_pieces(*parts):
    return [number[part.encode()] for part in parts]


def likeliest(ids, k):
    found = lens.next_tokens(gpt, ids, k=k)
    return "  ".join(f"{token} {prob:.2f}" for token, prob in zip(found.tokens, found.probs, strict=True))


before, behind = stories.encode("She put on her"), stories.encode(" wings. The")
for word in ([" butterfly"], [" butterf", "ly"], [" butter", "f", "ly"]):
    assert stories.decode(in_pieces(*word)) == " butterfly"
    spelled = "|".join(word).replace(" ", "␣")
    print(f"She put on her{spelled:15} wings. The …  {likeliest(before + in_pieces(*word) + behind, 4)}")

# %% [markdown]
# Three times the same letters. In its own token the butterfly comes again; with a dead token in it the model has lost the word; cut as ` butter|f|ly` it reads *butter*, and
# thinks of toast. **A model does not read letters. It reads ids, and the only spelling it knows is the one that training showed.**
#
# ## The stray space
#
# Now the mistake that everybody makes once: a prompt that ends in a space. Predict: what follows "named" in a children's story, and what follows "named␣"?

# %%
prompt = "One day, a little girl named"
for text in (prompt, prompt + " "):
    print(f"…{'named' + '␣' * text.endswith(' '):8}{likeliest(stories.encode(text), 6)}")
print(repr(gpt.generate(prompt, 6, temperature=0)), "against", repr(gpt.generate(prompt + " ", 6, temperature=0)))

# %% [markdown]
# Is the model confused? It is perfectly right. Names come as ` Lily`, space included. In training, a lone space before a letter stood only where **no merge of the space and what
# follows** was at hand: ` igloo` is `␣|ig|l|oo`. So the lone space says *the next word is one of the strange ones*, and the model has learned that. Let us see how well:

# %%
(space,) = stories.encode(" ")
letters = {token.decode(): i for token, i in number.items() if token.isalpha()}
fitting = [i for token, i in letters.items() if stories.encode(" " + token) == [space, i]]
probs = np.exp(log_softmax(gpt(stories.encode(prompt + " "))[0, -1]))
before = np.exp(log_softmax(gpt(stories.encode(prompt))[0, -1]))
print("no merge of the space with", *(c for c in string.ascii_letters if f" {c}".encode() not in number))
print(f"{len(fitting)} of {len(letters):,} tokens of letters are what encode would put behind a lone space:")
print(f"they get {probs[fitting].sum():.2f} of the probability, all {len(dead)} dead tokens together {probs[dead].sum():.1e}")
print(f"the probability of a lone space after 'named' was {before[space]:.1e}")

# %% [markdown]
# Nobody told the model about merges. It inferred from ids alone which pieces can stand behind that space. You, by typing one, told it that something very unlikely had happened.
#
# The same holds wherever a prompt is cut off by a program or a cursor. Take a sentence, cut it at every place, encode both parts by themselves, and ask how many bits the
# sentence costs then, against the same sentence in one piece:

# %%
def bits_of(rows):
    """Lists of ids -> the bits that each costs behind <|endoftext|>, in one pass."""
    rows = [[gpt.config.eos_id, *row] for row in rows]
    ids = np.zeros((len(rows), max(map(len, rows))), int)  # behind a shorter row anything: nobody looks ahead
    for row, filled in zip(rows, ids, strict=True):
        filled[: len(row)] = row
    losses = -log_softmax(gpt(ids)[:, :-1]) / np.log(2)  # [n_rows, n_seq - 1, n_vocab]
    return np.array([loss[np.arange(len(row) - 1), row[1:]].sum() for loss, row in zip(losses, rows, strict=True)])


sentence = "The dog ran to the park."
whole = stories.encode(sentence)
cuts = range(1, len(sentence))
extra = bits_of([stories.encode(sentence[:cut]) + stories.encode(sentence[cut:]) for cut in cuts]) - bits_of([whole])
figure = style.figure(7.8, 3.3, "What it costs to cut a sentence in two before it is encoded", "stories",
                      f"bits more than the {bits_of([whole])[0]:.0f} bits of the whole sentence, for a cut at each place")
axes = figure.subplots()
colours = [style.INK if sentence[cut - 1] == " " else style.PROBABILITY[2] for cut in cuts]
axes.bar([cut - 0.5 for cut in cuts], extra, width=0.75, color=colours)
axes.set_xticks(range(len(sentence)), sentence.replace(" ", "␣"), fontsize=12, family="DejaVu Sans Mono")
axes.tick_params(length=0)
axes.tick_params(axis="y", labelsize=8)
for start in np.cumsum([len(stories.token_bytes(i)) for i in whole])[:-1]:
    axes.axvline(start - 0.5, color=style.INK, linewidth=1, linestyle=":")
axes.text(23.6, 47, "dark: a space ends the first part\ndotted: where tokens end", fontsize=8.5, ha="right", va="center",
          color=style.INK, backgroundcolor="white")
axes.set(xlim=(-0.6, len(sentence) - 0.4), ylim=(0, 55))
axes.set_ylabel("bits more", fontsize=9)
style.without_frame(axes, "top", "right")
figure

# %%
ends = np.cumsum([len(stories.token_bytes(i)) for i in whole]).tolist()
free = [cut for cut, more in zip(cuts, extra, strict=True) if more < 0.01]
assert free == ends[:-1]
print(f"a cut between tokens is free; the cheapest inside one costs {np.sort(extra)[len(free)]:.0f} bits")

# %% [markdown]
# Ten bits are a factor of a thousand. So: strip trailing spaces from prompts; and whoever completes what a user is still typing should step back over the last token and let the model
# write it again, allowing only tokens that begin with the letters taken away ("token healing").
#
# **One text, many ids.** This also means that a text has many spellings in ids, and the model gives a probability to each. How much do the others matter? All the ways to spell ` Lily`:

# %%
def spellings(data):
    """All lists of ids that decode to these bytes."""
    if not data:
        return [[]]
    begins = [data[:n] for n in range(1, len(data) + 1) if data[:n] in number]
    return [[number[begin], *rest] for begin in begins for rest in spellings(data[len(begin) :])]


ways = spellings(b" Lily")
shares = 2 ** -(bits_of([stories.encode(prompt) + way for way in ways]) - bits_of([stories.encode(prompt)]))
print(f"{len(ways)} spellings of ␣Lily with {shares.sum():.3f} of all probability,")
print(f"of which {1 - shares.max() / shares.sum():.1e} is not that of the ids that encode gives")
assert ways[shares.argmax()] == stories.encode(" Lily")

# %% [markdown]
# Next to nothing. The probability of the ids that `encode` gives is a lower bound for that of the text, and here a tight one. When sampling, though, a model may leave the path; then
# `encode(decode(ids)) != ids`, and a program that passes texts around in place of ids continues from another spelling than the one that was drawn.
#
# ## What people get wrong
#
# * *"It predicts the next word."* It predicts the next token. In Shakespeare under *stories*' vocabulary, how many words are one?

# %%
words = sorted(set(chunk for chunk in new_chunks if chunk.strip().isalpha()))
n_pieces = np.array([len(stories.encode(word)) for word in words])
one, many = np.mean(n_pieces == 1), np.mean(n_pieces > 2)
print(f"{len(words):,} different words: {one:.0%} are one token, {many:.0%} are three or more")

# %% [markdown]
# * *"Tokens are syllables, or stems and endings."* They are what was frequent. GPT-2 on some plain English words:

# %%
for word in (" butchers", " outlive", " decrees", " cedar", " unhappily"):
    print(f"{word:12} {in_tokens(gpt2, word)}")

# %% [markdown]
# * *"BPE takes the longest token that fits."* GPT-2 has a token ` butcher`, and yet `butchers` is not ` butcher` + `s`. Follow the merges: `cher` + `s` was learned long before
#   ` but` + `cher`, and then the `cher` is gone.

# %%
def longest_first(chunk, number):
    """Another way to spell: the longest token that fits, again and again."""
    ids = []
    while chunk:
        n = next(n for n in range(len(chunk), 0, -1) if chunk[:n] in number)
        ids.append(number[chunk[:n]])
        chunk = chunk[n:]
    return ids


print(format_explanation(gpt2.explain(" butchers"), color=False, steps=True))
assert number_gpt2[b"chers"] < number_gpt2[b" butcher"]
print("longest first:", "|".join(spell(gpt2.token_bytes(i)) for i in longest_first(b" butchers", number_gpt2)))
differ = [word for word in words if gpt2.encode(word) != longest_first(word.encode(), number_gpt2)]
print(f"{len(differ)} of Shakespeare's {len(words):,} words get other ids by the longest match")

# %% [markdown]
# * *"More vocabulary is always better."* See the curve above: past some size, rows are learned from too little.

# %%
assert bits[best] < bits[10000] and best < 10000
print(f"{best:,} tokens beat 10,000 by {bits[10000] - bits[best]:.2f} bits per byte, trained on the same text")

# %% [markdown]
# * *"The tokenizer is a detail of input and output."* You saw toast.
#
# ## Exercises
#
# **Easy.** Write `characters(data)`: cut bytes into a list of `bytes`, one for each character, by looking at the first bits of each byte alone. `data` may begin or end in the middle of
# a character: what is there of it is a piece, too. `characters("aé".encode())` is `[b"a", b"\xc3\xa9"]`.

# %%
def characters(data):
    ...


ch01.characters(characters);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def characters(data):
#     pieces = []
#     for i in range(len(data)):
#         goes_on = data[i] >> 6 == 0b10
#         if goes_on and pieces:
#             pieces[-1] += data[i : i + 1]
#         else:
#             pieces.append(data[i : i + 1])
#     return pieces
# ```
# </details>
#
# **Medium.** Is `merges.txt` needed at all? Write `parents(number, token)`: from the dictionary `{bytes: id}` alone find the two tokens whose merge made `token` (bytes, two or more), as a
# tuple of two `bytes`. Under *stories*, `parents(number, b" restaurant")` is `(b" restaur", b"ant")`.

# %%
def parents(number, token):
    ...


ch01.parents(parents);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def parents(number, token):
#     parts = [bytes([byte]) for byte in token]
#     while len(parts) > 2:  # one merge before the token itself
#         made = [number.get(a + b, len(number)) for a, b in zip(parts, parts[1:])]
#         i = made.index(min(made))
#         parts[i : i + 2] = [parts[i] + parts[i + 1]]
#     return tuple(parts)
# ```
# </details>
#
# **Hard, an investigation.** A user types; ids of what is there already may change with the next letter. How far back? Write `reach(tokenizer, text)`: for each `n` from 1 to `len(text) - 1`,
# how many ids at the end of `encode(text[:n])` are no longer there, in their places, in `encode(text[:n + 1])`; a list of `len(text) - 1` numbers.
# Then look. In a page of Shakespeare, how often is it 0, 1, more? With GPT-2's vocabulary look at `"~" * 20` first: where have you met that row of numbers? Which text of at most 20
# characters has the largest reach that you can find? What stops it from reaching back for ever? So how many tokens must a program hold back while somebody types?

# %%
def reach(tokenizer, text):
    ...


ch01.reach(reach);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def reach(tokenizer, text):
#     found = []
#     for n in range(1, len(text)):
#         before, after = tokenizer.encode(text[:n]), tokenizer.encode(text[: n + 1])
#         same = 0
#         while same < min(len(before), len(after)) and before[same] == after[same]:
#             same += 1
#         found.append(len(before) - same)
#     return found
# ```
# </details>
#
# ## Where it stands in the code
#
# | here | there |
# |---|---|
# | the pattern; `encode`, `decode` | `nanogpt_np/tokenizer/bpe.py` |
# | `count_pairs` and the rounds by hand | `tokenizer/training.py`: `PairCounts`, `train_merges`, `merge` |
# | merging in order | `tokenizer/merging.py`: `merge_steps` is the definition, `merge_long_chunk` the same for long chunks |
# | the steps, written out | `Tokenizer.explain`, `tokenizer/display.py` |
# | bytes held back | `tokenizer/streaming.py` |
# | `{letters: id}` and `Ġ` for a space in the files | `tokenizer/vocab.py` |
# | the same ids, fast | `tokenizer/compiled.py` |
# | bits per byte | `training/evaluation.py` |
