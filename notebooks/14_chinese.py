# %% [markdown]
# # 14 · What does it take to read Chinese?
#
# **You will be able to** say what a Chinese character is to a model, what it costs under which vocabulary and why, compare models across languages without fooling yourself,
# and find out how a model of Tang poems keeps count of its syllables.
#
# **You need** notebook 01 (bytes, BPE) and the map, 00; 03 (attention) for one section. **You need no Chinese**: every string is explained. 读中文的读者：汉字旁的英文是解释，可以略过。
# (*Readers of Chinese may skip the English beside the characters.*)

# %%
import os
import time
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # so small a model is quickest on one core; NumPy reads this once

import numpy as np
from checks import ch14

from nanogpt_np import GPT, Tokenizer, lens
from nanogpt_np.config import PRESETS
from nanogpt_np.lens import style
from nanogpt_np.lens.tokens import log_softmax
from nanogpt_np.tokenizer import StreamDecoder
from nanogpt_np.tokenizer.bpe import SPLIT_PATTERN
from nanogpt_np.tokenizer.display import spell
from nanogpt_np.tokenizer.training import PairCounts
from nanogpt_np.training import data, evaluation

gpt = GPT.from_pretrained("poems", ops="numpy")  # writes Tang quatrains
poems, gpt2 = gpt.tokenizer, Tokenizer.gpt2()
stories = GPT.from_pretrained("stories", ops="numpy").tokenizer
quatrains = data.read_documents([Path("texts/quatrains.txt")])
held_out, seen = quatrains[:282], quatrains[282:]  # the model was not trained on the first 282

# %% [markdown]
# The best-known quatrain of all, by Li Bai (8th century): four lines of five characters, each a syllable and, in verse like this, nearly always a word.

# %%
quiet_night = "床前明月光，\n疑是地上霜。\n举头望明月，\n低头思故乡。"
glosses = ("bed front bright moon light", "suspect is ground on frost", "lift head gaze bright moon", "lower head think old home")
for line, gloss in zip(quiet_night.split("\n"), glosses, strict=True):
    print(line, "  ", "   ".join(f"{c} {word}" for c, word in zip(line, gloss.split(), strict=False)))
english = "Before my bed the moon is bright,\nI take it for frost on the ground.\nI lift my head to the bright moon,\nI lower it, and think of home."

# %% [markdown]
# ## Three bytes, and they mean something
#
# Guess before you run it: how many bytes is a character, and how many of them do `明` (bright) and `春` (spring) share?

# %%
for c in "明春霜，":
    print(f"{c}  U+{ord(c):04X}  {c.encode().hex(' ')}")
print(len(quiet_night), "characters (marks and line ends included),", len(quiet_night.encode()), "bytes")

# %% [markdown]
# Three bytes each, four for rare ones. `明` and `春` share two, by no accident: Unicode lists characters as Chinese dictionaries do, by **radical**, the part that hints at the meaning. Both have
# the sun, 日, in them. So the first two bytes of a character are a coarse address in a dictionary. All characters of our 424 poems that begin with the same two bytes:

# %%
sharing = defaultdict(set)
for c in sorted(set("".join(quatrains))):
    sharing[c.encode()[:2]].add(c)
meanings = {
    b"\xe9\x9c": "rain on top: frost, dew, rosy cloud, thunder", b"\xe6\xb5": "water: flow, float, wave, sea",
    b"\xe9\xb9": "birds: goose, crane, heron", b"\xe7\xba": "silk: red, fine, thread",
    b"\xe8\xbf": "walking: near, far, return, welcome", b"\xe5\xbf": "the heart: think, forget, sorrow",
}
for two, meaning in meanings.items():
    print(f"{spell(two)}  {''.join(sorted(sharing[two]))}\t{meaning}")

# %% [markdown]
# (`鹿`, deer, stands behind the birds because its radical follows soon after theirs.) When byte-level BPE cuts a character in the middle, it often cuts it into a radical and a rest.
# Remember that before you call such a token meaningless.
#
# ## What it costs
#
# The same poem under four vocabularies, and a plain English translation beside it:

# %%
nothing = Tokenizer.from_merges([])  # bytes alone
vocabularies = {"bytes": nothing, "GPT-2": gpt2, "stories": stories, "poems": poems}
han = [c for c in "".join(held_out) if unicodedata.name(c, "").startswith("CJK UNIFIED")]
print("           n_vocab  poem  translation  tokens per Chinese character in 282 poems")
for name, tokenizer in vocabularies.items():
    poem, translation = len(tokenizer.encode(quiet_night)), len(tokenizer.encode(english))
    each = np.mean([len(tokenizer.encode(c)) for c in han])
    print(f"{name:10}{tokenizer.n_vocab:8,}{poem:6}{translation:13}  {each:.2f}")
print("bytes:", len(quiet_night.encode()), "and", len(english.encode()))

# %% [markdown]
# Read the two middle columns crosswise. For GPT-2 the English text of 134 bytes is cheaper than the Chinese one of 75; for *poems* it is the other way round, and its English falls to single bytes.
# **A vocabulary is cheap in the language it was counted in.** It is no property of Chinese. (同一首诗，GPT-2 要 50 个词元，poems 只要 27 个：贵的不是汉字，是词表。 *The same poem takes GPT-2 50 tokens and
# poems 27: what is costly is not the characters, it is the vocabulary.*) The cuts, in the poem's first two lines:

# %%
def draw_cuts(text, vocabularies):
    """A text once for each vocabulary, a box for each token."""
    figure = style.figure(7.6, 0.9 + 0.55 * len(vocabularies), f"“{text}” in tokens",
                          "a box is a token, \\x8a a byte of a character that was cut")
    axes, most = figure.subplots(), 0
    for y, (name, tokenizer) in enumerate(vocabularies.items()):
        tokens, x = [style.legible(spell(tokenizer.token_bytes(i))) for i in tokenizer.encode(text)], 0.0
        axes.text(0, -y + 0.36, f"{name}: {len(tokens)} tokens", fontsize=8.5, color=style.PALE, va="bottom")
        for i, token in enumerate(tokens):
            width = sum(2 if ord(c) > 0x2E80 else 1 for c in token) + 0.5
            axes.barh(-y, width, left=x, height=0.56, color=("#c6dbef", "#fde0bd")[i % 2], edgecolor="white")
            axes.text(x + width / 2, -y, token, ha="center", va="center", fontsize=8, fontfamily=style.fonts(),
                      color=style.INK)
            x += width
        most = max(most, x)
    axes.set(xlim=(0, most), ylim=(0.45 - len(vocabularies), 0.75))
    axes.axis("off")
    return figure


figure = draw_cuts("床前明月光，疑是地上霜。", {name: vocabularies[name] for name in ("GPT-2", "poems")})
figure

# %% [markdown]
# In GPT-2's row `床` (bed) is *radical, rest* and `光` (light) is whole; in *poems*' row each box is a syllable or a mark. What follows from more tokens: fewer characters in a context, more steps to write, more arithmetic (a GFLOP is
# a thousand million operations).

# %%
config = PRESETS["gpt2"]
for name, tokenizer in (("GPT-2's", gpt2), ("bytes", nothing), ("one each", poems)):
    n = len(tokenizer.encode(quiet_night))
    flops = lens.cost_view(config, n - 1).flops_without
    fit = config.n_ctx * len(quiet_night) // n
    print(f"{name:9} {n:3} tokens; {fit:5,} characters fit GPT-2's {config.n_ctx:,} places; {flops / 1e9:.1f} GFLOP to read it")
start = time.perf_counter()
gpt.generate("五绝《山中》\n", 24, temperature=0, ignore_eos=True)
print(f"one step of poems, measured: {(time.perf_counter() - start) / 24 * 1000:.1f} ms; a character cut in two takes two of them")

# %% [markdown]
# ## Whose Chinese is in GPT-2?
#
# Its merges came from web pages in English, more or less. Some characters made it. All of its tokens that are whole and hold one:

# %%
def whole(token):
    try:
        return token.decode()
    except UnicodeDecodeError:
        return ""


texts = [whole(gpt2.token_bytes(i)) for i in range(gpt2.n_vocab - 1)]
with_han = [text for text in texts if any(unicodedata.name(c, "").startswith("CJK UNIFIED") for c in text)]
print(f"{len(with_han)} of {gpt2.n_vocab:,}:", " ".join(text.strip() for text in with_han))
assert "明" not in with_han

# %% [markdown]
# Some of these are what one expects: 的 (of), 人 (person), 一 (one), 不 (not), 中 (middle). But 龍 (dragon), 魔 (demon), 姫 (princess), 闘 (fight), 将 (general)? `龍喚士` (dragon caller), `龍契士` (one sworn to a dragon) and `裏覚醒` (hidden awakening) are terms of a Japanese mobile game, whose lists were
# on the web so often that each became a token (in the traditional and Japanese forms of the characters). And `明` (bright), a character that every child knows, is not among them. A vocabulary is a portrait of what it was counted on.
#
# ## A vocabulary of one's own
#
# Train one on the poems that lie beside this notebook. What will be merged first? Guess; the commonest characters?

# %%
new, known = quatrains[:60], quatrains[60:]  # the first 60 are kept to measure on
by_lines = Tokenizer.train(known, 4096)
print(" ".join(spell(by_lines.token_bytes(i)) for i in range(256, 280)))

# %% [markdown]
# Among the first are halves: `\xe4\xb8` is how 一 (one), 上 (up), 不 (not), 中 (middle) begin. Common *beginnings* come before common characters, as BPE counts bytes. Whole are the marks ，
# 。 《 》, and 七 (seven), 绝 and both together, as most headings say 七绝, *quatrain of seven*; then 不 (not).
#
# There is a choice. Chinese is written without spaces, so a chunk is a line, and merges run across characters: 明月, *bright moon*, may become one token. *poems* was made the other
# way: each character was a text by itself in training (`weights/poems/prepare.py`), so that no merge can join two. How many tokens per character does each way buy? As in notebook 01 we merge step by step and let the 60 new
# poems come along without a vote.

# %%
known_text, new_text = "\n".join(known), "\n".join(new)


def learn(cut, sizes):
    """BPE on the known poems in chunks, as far as it goes -> {n_vocab: [ids of the known text, ids of the new]}"""
    parts = [cut(known_text), cut(new_text)]
    weights = dict.fromkeys(parts[1], 0) | Counter(parts[0])
    row = {chunk: i for i, chunk in enumerate(weights)}
    pairs, found, n = PairCounts({chunk.encode(): times for chunk, times in weights.items()}), {}, 256
    for size in sizes:
        while n < size and (pair := pairs.most_frequent()):
            pairs.merge(pair, n)
            n += 1
        if n == size:
            found[size] = [np.concatenate([pairs.chunks[row[chunk]] for chunk in part]) for part in parts]
    return found


sizes = [256, 384, 512, 768, 1024, 1536, 2048, 2500, 3072, 4096, 6144, 8192]
within = {"characters": learn(list, sizes), "lines": learn(SPLIT_PATTERN.findall, sizes)}
print("merged within characters it ends before", sizes[len(within["characters"])], "tokens: all characters are whole")

# %%
figure = style.figure(7, 3.9, "How many tokens is a character?", "BPE trained on 364 quatrains",
                      "solid: on these; dashed: on 60 others", "marks and line ends count as characters")
axes = figure.subplots()
for found, colour in zip(within.values(), (style.PALE, style.INK), strict=True):
    for part, text, line in ((0, known_text, "o-"), (1, new_text, "s--")):
        share = [len(ids[part]) / len(text) for ids in found.values()]
        axes.plot(list(found), share, line, color=colour, markersize=3.5)
axes.axhline(1, color=style.INK, linewidth=0.7, linestyle=":")
axes.text(240, 0.9, "one token each", fontsize=8.5, color=style.INK)
axes.text(2500, 1.2, "merged within characters: ends here", fontsize=8.5, color=style.PALE, ha="center")
axes.text(3700, 0.62, "merged within lines", fontsize=8.5, color=style.INK, ha="right")
axes.set_xscale("log", base=2)
axes.set_xticks([256, 512, 1024, 2048, 4096, 8192], ["256", "512", "1,024", "2,048", "4,096", "8,192"])
axes.set(xlim=(225, 9500), ylim=(0.4, 2.9))
axes.set_xlabel("n_vocab", fontsize=9)
axes.set_ylabel("tokens per character", fontsize=9)
axes.tick_params(labelsize=8)
style.without_frame(axes, "top", "right")
figure

# %% [markdown]
# Most of the way is done by the first 256 merges. Then the two ways part: merged within lines, the known text goes on shrinking, the new one hardly. Those late tokens are pieces of single lines, and
# hardly another poem uses them.
#
# ## Never compare per token
#
# Which vocabulary is best to learn from? Count pairs of tokens in the 364 poems, as in notebook 01, guess the 60 others, and write the same cost in three units. Predict: which unit will favour which vocabulary?

# %%
def cost_in_bits(ids, new, n_vocab):
    """What `new` costs a model that counted pairs in `ids` (half and half with single tokens)."""
    alone, before = np.bincount(ids, minlength=n_vocab) + 0.1, np.bincount(ids[:-1], minlength=n_vocab)
    pairs, times = np.unique(ids[:-1] * n_vocab + ids[1:], return_counts=True)
    asked = new[:-1] * n_vocab + new[1:]
    place = np.minimum(np.searchsorted(pairs, asked), len(pairs) - 1)
    after = np.where(pairs[place] == asked, times[place], 0) / np.maximum(before[new[:-1]], 1)
    return -np.log2(0.5 * after + 0.5 * (alone / alone.sum())[new[1:]]).sum()


costs = {}
print(" n_vocab  bits per token  per character  per byte")
for size in (256, 512, 1024, 1536, 4096, 8192):
    known_ids, new_ids = within["lines"][size]
    bits = cost_in_bits(known_ids, new_ids, size)
    costs[size] = bits / len(new_ids), bits / len(new_text), bits / len(new_text.encode())
    print(f"{size:8,}{costs[size][0]:16.2f}{costs[size][1]:15.2f}{costs[size][2]:10.2f}")
assert min(costs, key=lambda size: costs[size][0]) == 256 and min(costs, key=lambda size: costs[size][1]) == 1536
assert max(costs, key=lambda size: costs[size][1]) == 256

# %% [markdown]
# Per token, bytes look best by far. Per character they are the *worst*. All columns come from the same models and the same text. A token is a unit that the vocabulary itself chooses: more, smaller tokens share the same cost among
# more. Bits per character or per byte cannot be moved that way.
#
# The same for the two models that ship. *stories*' figures are from its training report; *poems*' are measured here, on the 282 poems that it never saw and on 142 that it did:

# %%
def measured_on(texts):
    ids = data.encode_documents(texts, poems)
    return evaluation.evaluate(ids, evaluation.count_bytes(texts), gpt.params, gpt.config, gpt.ops)


for name, texts in (("282 new poems", held_out), ("142 known poems", seen)):
    found = measured_on(texts)
    per_char = found.bits_per_byte * found.n_bytes / sum(map(len, texts))
    print(f"{name:16} {found.loss:.2f} nats per token, {found.bits_per_byte:.2f} bits per byte, {per_char:.2f} per character")
report = Path("../weights/stories/TRAINING.md")
print("stories          2.04 nats per token, 0.74 bits per byte (of English)")
assert not report.exists() or "2.038 nats per token" in report.read_text(encoding="utf-8")

# %% [markdown]
# 3.78 nats against 2.04 says nothing: other tokens. Even 2.00 bits per byte against 0.74 compares poems with bedtime stories, and a byte of Chinese is a third of a syllable. Across languages
# the honest comparison is the cost of the *same content*: a text and its translation. (And the known poems are only a little cheaper than the new ones: it has hardly learned any by heart.)
#
# ## Half a character
#
# *poems* has 4,096 tokens, and its poems had more characters than fit; the rarest stay in pieces. 髑髅 is a *skull*, seldom met in quatrains. What does a program print while such a text arrives?

# %%
text = "一髑髅"  # one skull
ids = poems.encode(text)
stream = StreamDecoder(poems)
print([spell(poems.token_bytes(i)) for i in ids])
print([poems.decode([i]) for i in ids], "each by itself")
print([stream.push(i) for i in ids], "as a stream: waits until a character is whole")

# %% [markdown]
# Decoded one by one, the pieces are `�`. A stream must wait. And the model? After the first piece of a character only certain bytes may follow, else the text is no text. Nobody told it. Does it know?

# %%
number = {poems.token_bytes(i): i for i in range(poems.n_vocab - 1)}
prompt = [gpt.config.eos_id, *poems.encode("五绝《山中》\n云")]  # 山中: in the hills; 云: cloud
goes_on = [i for token, i in number.items() if token[0] >> 6 == 0b10]
assert all(len(poems.token_bytes(i)) <= 2 for i in goes_on)
for piece in (b"\xe4", b"\xe9", b"\xe7\xa4", b"\xe6\xb5", b"\xe5"):
    probs = np.exp(log_softmax(gpt([*prompt, number[piece]])[0, -1]))
    print(f"after {spell(piece):9} {probs[goes_on].sum():.2f} of the probability is on what goes on with the character")

# %% [markdown]
# It knows, from ids alone: UTF-8's grammar was learned like any other. Except after `\xe5`. Think of notebook 01: whatever byte follows `\xe5`, there is a merge of the two, so `\xe5` alone **never
# occurs** in what `encode` gives. Its row of `wte` is one of those that 01 calls *dead*, since training never reads them: they have all drifted to one and the same vector. And what the model says after it is noise:

# %%
wte = gpt.params["wte"]["weight"].astype(np.float64)
never = wte[[0xC0, 0xC1, *range(0xF5, 0x100)]].mean(axis=0)  # bytes that no text contains
cosine = wte @ never / np.linalg.norm(wte, axis=1) / np.linalg.norm(never)
dead = np.flatnonzero(cosine > 0.99)
assert all(bytes([0xE5, byte]) in number for byte in range(0x80, 0xC0))
print(f"{len(dead)} dead rows of {len(wte):,}")
for byte in (b"\xe4", b"\xe5"):
    print(spell(byte), "is dead" if number[byte] in dead else "is in use")

# %% [markdown]
# ## It writes
#
# *poems* is prompted by form and title on one line: `五绝《春雪》` is *quatrain of five* and *Spring Snow*. Below also `五绝《山中》`, *In the Hills*, and one of seven, `七绝《送友人》`, *Seeing Off a Friend*; behind each poem the number of characters in its lines:

# %%
for form, seed in (("五绝《山中》", 1), ("五绝《春雪》", 2), ("五绝《春雪》", 3), ("七绝《送友人》", 3)):
    verses = gpt.generate(form + "\n", 50, temperature=0.8, top_p=0.95, seed=seed).split("\n")
    print(f"{form} seed {seed}  {' '.join(verses)}  {[len(line) - 1 for line in verses]}")

# %% [markdown]
# In English, roughly and line by line:
#
# * *In the Hills*: "Alone I drink, the spring window is gone; / green hills one cannot bear to sing. / The immortal does not see the moon, / wind and rain drown the sounding flag."
# * *Spring Snow*: "Your poems love the wind that rises; / I see none who asks after the heart. / The bright moon slowly comes to its end, / the leaves of the pine grow dim by themselves."
# * *Spring Snow* again: "The flowers fall, the time is spent when spring is spent; / flowering boughs come in once more and hang in pairs. / I think of you, five hairs, which nobody knows; / only the sad one is
#   not like silk."
# * *Seeing Off a Friend*: "Twenty years, and each year one parting; / before the flowers all is open, how much grief. / In office seven years, and no friend who knows me, / only the far palace, which never rests."
#
# Words of the time, images of the time, and no thread that would hold them together. 懂中文的读者会看到：词语地道，意脉不通。 (*Readers of Chinese will see: idiomatic words, no train of thought.*)
#
# The third is a mistake, and a telling one: five were asked for, the first line has seven, **and the others follow it**. Let code count how often the form is kept:

# %%
def lengths(poem):
    """Characters in each line, its mark left out."""
    return [len(line) - 1 for line in poem.split("\n")]


forms = ("五绝《春雪》\n", "七绝《春雪》\n")
written = gpt.generate(forms, 40, temperature=0.8, top_p=0.95, seed=0, num_return_sequences=15)
assert len(set(written)) == 30
fives, sevens = written[:15], written[15:]
print(f"asked for five: {sum(lengths(poem) == [5] * 4 for poem in fives)} of 15 have it")
print(f"asked for seven: {sum(lengths(poem) == [7] * 4 for poem in sevens)} of 15 have it")
print(f"four lines of one length, whichever: {sum(len(set(lengths(poem))) == 1 for poem in written)} of 30")

# %% [markdown]
# The form is sometimes forgotten, the count hardly ever: once the first line stands, the others equal it.
#
# ## How does it keep count?
#
# There is no counter in a GPT-2. Yet after exactly five or seven characters it puts a comma. Here is a head of block 1 on a title and two lines (`\n` ends the title; rows look at columns):

# %%
sample = "五绝《雪》\n云物当无雨，\n松中多"  # Snow: the clouds should bring no rain, among pines many …
view = lens.attention_view(gpt, sample, layer=1, head=2)
figure = lens.draw_attention(view, "poems, 五绝《雪》: a quatrain of five, “Snow”")
words = "five quatrain - snow - - clouds things should no rain - - pines among many".split()
glossed = [f"{word} {style.legible(token)}".lstrip("- ") for word, token in zip(words, view.tokens, strict=True)]
axes = figure.axes[0]
axes.set_yticks(range(len(glossed)), glossed, fontfamily=style.fonts(), fontsize=9)
axes.tick_params(axis="x", labelrotation=0 if style.legible("五") == "五" else 90)  # escapes, without a font, are long
figure

# %% [markdown]
# Every character of the verse looks at the last mark of punctuation, be it `》` behind the title or `，` behind a line, and at next to nothing else. A place to count from: with what it knows about positions, the distance to that mark is how many characters
# the line has. Is this how it counts? A picture cannot say. Two tests can. First take the head away, then with it all others
# of its block that look at such a mark:

# %%
for head in range(gpt.config.n_head):
    probs = lens.attention_view(gpt, sample, layer=1, head=head).probs  # [n_seq, n_seq]; 》 is token 4, ， is token 11
    print(f"L1.H{head}: line 1 looks at 》 {probs[6:11, 4].mean():.2f}, line 2 at ， {probs[13:, 11].mean():.2f}")

# %% [markdown]
# Head 1 looks at the title's mark, heads 3 and 4 at the line's, head 2 at both; so heads 1 to 4. Then leave every head in place but make the mark and the line end before
# each line **invisible** from within that line, in all blocks. What probability remains on punctuation, there where it belongs?

# %%
marks = [number[c.encode()] for c in "，。"]


def plain(form, n_most):
    """Held-out poems of a form whose characters are one token each: as ids, and where each line begins in them."""
    n, found = {"五绝": 5, "七绝": 7}[form], []
    for poem in held_out:
        title, *verses = poem.split("\n")
        ids = [gpt.config.eos_id, *poems.encode(poem)]
        fits = len(ids) == len(poem) + 1 <= gpt.config.n_ctx
        if title[:2] == form and [len(line) for line in verses] == [n + 1] * 4 and fits:
            found.append((ids, len(title) + 2 + (n + 2) * np.arange(4)))
    return n, found[:n_most]


def without(*heads):
    def change(mixed):  # [n_head, n_seq, d_head]
        mixed[list(heads)] = 0
        return mixed

    return {("mixed", 1): change}


def blind(starts, n, n_seq):
    """Nobody in a line sees the mark and the line end before it."""
    seen = np.ones((n_seq, n_seq))
    for start in starts:
        seen[start : start + n + 1, start - 2 : start] = 0

    def change(probs):  # [n_head, n_seq, n_seq]
        probs = probs * seen
        return probs / probs.sum(axis=-1, keepdims=True)

    return {("probs", layer): change for layer in range(gpt.config.n_layer)}


def on_marks(form, changes):
    """The mean probability of a mark where a later line ends, over 6 poems."""
    n, chosen = plain(form, 6)
    found = []
    for ids, starts in chosen:
        logits = lens.run(gpt, ids, changes(starts, n, len(ids))).logits
        found.append(np.exp(log_softmax(logits[starts[1:] + n - 1]))[:, marks].sum(axis=1))
    return np.mean(found)


ways = {
    "as it is": lambda *_: {}, "without L1.H2": lambda *_: without(2),
    "without L1.H1 to H4": lambda *_: without(1, 2, 3, 4), "the mark before is invisible": blind,
}
print(f"{'':30}fives  sevens")
for name, changes in ways.items():
    print(f"{name:30}{on_marks('五绝', changes):5.2f}{on_marks('七绝', changes):8.2f}")

# %% [markdown]
# Three lessons in four rows. The head that looked like the counter can go, and nothing happens; all four can go. **What a head looks at is no proof of what it does.** But without the mark the fives are lost: that *information*
# was needed, and other heads had it too. And the sevens are not lost: they are counted in some other way. (Which? You have the tools.)
#
# One more thing follows from the vocabulary. If it counts tokens, a character in two pieces should count double. Lines of the held-out poems that contain one:

# %%
def read(rows):
    """Lists of ids, 16 in a pass -> for each: the probability of a mark behind each token, the bits of the next one."""
    for first in range(0, len(rows), 16):
        some = rows[first : first + 16]
        ids = np.zeros((len(some), max(map(len, some))), int)  # behind a shorter row anything: nobody looks ahead
        for row, filled in zip(some, ids, strict=True):
            filled[: len(row)] = row
        for row, log_probs in zip(some, log_softmax(gpt(ids)), strict=True):
            yield np.exp(log_probs[:, marks]).sum(axis=1), -log_probs[np.arange(len(row) - 1), row[1:]] / np.log(2)


fit = [poem for poem in held_out if len(poems.encode(poem)) < gpt.config.n_ctx and len(set(lengths(poem)[1:])) == 1]
rows = [[gpt.config.eos_id, *poems.encode(poem)] for poem in fit]
by_pieces, bits_of = defaultdict(list), {}
for poem, row, (on_mark, bits) in zip(fit, rows, read(rows), strict=True):
    bits_of[tuple(row)] = bits
    title, *verses = poem.split("\n")
    start = 1 + len(poems.encode(title + "\n"))
    for line in verses:
        n_tokens, n = len(poems.encode(line[:-1])), len(line) - 1
        by_pieces[n_tokens > n].append((on_mark[start + n_tokens - 1], on_mark[start + n - 1]))
        start += len(poems.encode(line + "\n"))
print("probability of a mark after the right number of      characters   tokens")
for more, name in ((False, "of whole characters"), (True, "with a character in pieces")):
    right, early = np.mean(by_pieces[more], axis=0)
    print(f"{len(by_pieces[more]):5,} lines {name:41}{right:7.2f}{early:11.2f}")

# %% [markdown]
# Whole characters: certain. With one in pieces the model wavers, and often wants to end the line a character too soon. It counts tokens, and has learned only in part that some do not count. That is why the vocabulary was made so
# that a token is a syllable: **what a model can count easily, its tokenizer decides.** 模型数的是词元，不是字；一字一词元，句长才数得准。
#
# ## Where is a poem hard to guess?
#
# The mean cost of each character by its place in the poem, for both forms, on held-out poems of whole characters. Look for a rhythm.

# %%
def bits_by_place(form):
    """-> [4, n]: the mean over all held-out poems of whole characters; and how many they are."""
    n, chosen = plain(form, None)
    found = [bits_of[tuple(ids)][starts[:, None] + np.arange(n) - 1] for ids, starts in chosen]
    return np.mean(found, axis=0), len(found)


figure = style.figure(7.8, 3.3, "What a character costs, by its place", "poems, held-out quatrains",
                      "colour and number: bits per character, 5 white to 11 dark")
panels = figure.subplots(1, 2, width_ratios=(5, 7))
places = {}
for axes, (form, name) in zip(panels, (("五绝", "fives"), ("七绝", "sevens")), strict=True):
    places[form], n_poems = bits_by_place(form)
    colours = style.colour_map(style.PROBABILITY)
    axes.imshow(places[form], cmap=colours, vmin=5, vmax=11, aspect="auto")
    for (line, place), bits in np.ndenumerate(places[form]):
        colour = style.write_on(colours((bits - 5) / 6))
        axes.text(place, line, f"{bits:.1f}", ha="center", va="center", fontsize=9, color=colour)
    axes.set_title(f"{name}, {n_poems} poems", fontsize=9.5)
    axes.set_xticks(range(places[form].shape[1]), range(1, places[form].shape[1] + 1), fontsize=9)
    axes.set_yticks(range(4), [f"line {line}" for line in range(1, 5)], fontsize=9)
    axes.set_xlabel("place in the line", fontsize=9)
    axes.tick_params(length=0)
figure

# %%
sevens = places["七绝"].mean(axis=0)
assert sevens[0] > sevens[1] and sevens[2] > sevens[3] and sevens[4] > sevens[5]
print("sevens, mean by place:", "  ".join(f"{bits:.1f}" for bits in sevens))
ends = {form: places[form][:, -1] for form in places}
assert max(ends["五绝"][[1, 3]]) < min(ends["五绝"][[0, 2]])
for form, name in (("五绝", "fives"), ("七绝", "sevens")):
    print(f"{name}, last place of lines 1 to 4:", "  ".join(f"{bits:.1f}" for bits in ends[form]))

# %% [markdown]
# Costly, cheap, costly, cheap: the odd places of a line begin a word, the even ones end it. A line of seven is read two and two and three (朝辞 | 白帝 | 彩云间, *At dawn I left | Baidi | among coloured clouds*, Li Bai), and nobody told
# the model: it is in what can be guessed.
#
# And the ends of lines? In a quatrain lines 2 and 4 rhyme. In the fives the ends of these two lines are the cheap ones: as if the model knew the rhyme. Does it? You have seen above what a suggestive picture is worth. The hard
# exercise is the experiment.
#
# ## What people get wrong
#
# * *"GPT-2 cannot read Chinese."* Its vocabulary reads anything. Every poem here, and each of 20,992 characters of Unicode's main block, comes back unharmed; what the published model lacks is training, and its vocabulary makes Chinese costly.

# %%
block = "".join(map(chr, range(0x4E00, 0xA000)))
assert gpt2.decode(gpt2.encode(block)) == block and all(gpt2.decode(gpt2.encode(poem)) == poem for poem in quatrains)
each = len(gpt2.encode(block)) / len(block)
print(f"{len(block):,} characters and {len(quatrains)} poems: lossless; {each:.2f} tokens per character of the block")

# %% [markdown]
# * *"One token is one character."* It depends on the vocabulary, and goes both ways:

# %%
names = {"GPT-2": gpt2, "poems": poems, "by lines": by_lines}
for name, text in (("GPT-2", "霜"), ("GPT-2", "龍喚士"), ("poems", "明月"), ("by lines", "明月")):
    tokens = [spell(names[name].token_bytes(i)) for i in names[name].encode(text)]
    print(f"{name:9} {text}\tcharacters: {len(text)}, tokens: {len(tokens)}  {' '.join(tokens)}")

# %% [markdown]
# * *"A lower loss per token is a better model."* The table above: per token, the worst was best.
# * *"Chinese needs a model of its own kind."* *poems* is `model.py`, the same functions as *stories*, with other numbers in them.
#
# ## Exercises
#
# **Easy.** Write `units(losses, tokens)`: `losses` are the nats of each token (`[n]` floats), `tokens` the bytes of each (a list of `n` `bytes`), which join to a whole text. Give a tuple: bits per token, bits per character,
# bits per byte.

# %%
def units(losses, tokens):
    ...


ch14.units(units);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def units(losses, tokens):
#     text = b"".join(tokens)
#     bits = np.sum(losses) / np.log(2)
#     return bits / len(tokens), bits / len(text.decode()), bits / len(text)
# ```
# </details>
#
# **Medium.** A program could forbid the model to write torn characters: only tokens whose first byte may follow would keep their probability. Write `may_follow(data)`: `data` (`bytes`) is UTF-8 from its first byte on, perhaps cut in the
# middle of its last character; give the set of all byte values (`int`) that may come next in a valid text. (Mind the 13 bytes that never come, and that after `\xe0`, `\xed`, `\xf0`, `\xf4` not every byte of the
# kind `10……` may.)

# %%
def may_follow(data):
    ...


ch14.may_follow(may_follow);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def may_follow(data):
#     def is_text(data):
#         try:
#             data.decode()
#         except UnicodeDecodeError:
#             return False
#         return True
#
#     ends = [b""] + [first + b"\x80" * n for n in range(3) for first in (b"\x80", b"\xa0")]  # one of them fits any beginning
#     return {byte for byte in range(256) if any(is_text(data + bytes([byte]) + end) for end in ends)}
# ```
# </details>
#
# **Hard, an investigation.** Does it rhyme? Lines 2 and 4 should; line 3 should not. Write `effect(gpt, poem, line, other)`: put the character `other` in the place of the last character of `line` (1 to 4, its mark stays), and give how many **bits**
# more the last character of line 4 costs then (its mark not counted); `gpt` is *poems*, and a poem (`"title\nline 1\n…line 4"`) is read behind `<|endoftext|>`. Then ask: over many held-out poems, with ends taken from other poems, what does a change
# at the end of line 2 do? Compare with line 1 and line 3, which are your controls. How sure can you be with so many poems? And if the answer is not what the picture above suggested: what else makes the end of line 4 cheap?

# %%
def effect(gpt, poem, line, other):
    ...


ch14.effect(effect);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def effect(gpt, poem, line, other):
#     def bits(text):
#         ids = [gpt.config.eos_id, *gpt.tokenizer.encode(text[:-2])]
#         last = gpt.tokenizer.encode(text[-2])  # a character may be several tokens
#         log_probs = log_softmax(gpt(ids + last)[0, len(ids) - 1 : -1])
#         return -log_probs[np.arange(len(last)), last].sum() / np.log(2)
#
#     lines = poem.split("\n")
#     lines[line] = lines[line][:-2] + other + lines[line][-1]
#     return bits("\n".join(lines)) - bits(poem)
# ```
# </details>
#
# ## Where it stands in the code
#
# | here | there |
# |---|---|
# | `Tokenizer.train` on characters | `weights/poems/prepare.py` |
# | `StreamDecoder` | `nanogpt_np/tokenizer/streaming.py` |
# | bits per byte, nats per token | `nanogpt_np/training/evaluation.py`: `Evaluation` |
# | a head taken away, a mark made invisible | `nanogpt_np/lens/interventions.py`: `run` |
# | what reading costs | `nanogpt_np/lens/cost.py` |
# | Chinese in pictures, and `\u5e8a` where no font has it | `nanogpt_np/lens/style.py`: `legible`, `fonts` |
# | how *poems* was trained | `weights/poems/TRAINING.md` |
