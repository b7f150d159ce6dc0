# %% [markdown]
# # 17 · What does a number say about a language model?
#
# **You will be able to** compute a perplexity by hand and say in which unit it is, measure a model by LAMBADA and by multiple choice in the ways that are in use, and name for each of the three
# a way in which the number comes out well and means nothing.
#
# **You need** notebooks [00](00_map.ipynb) (the model) and [01](01_bytes.ipynb) (tokens); [08](08_training.ipynb) (bits per byte) helps.

# %%
import math
from collections import Counter

import numpy as np
from checks import ch17

from nanogpt_np import GPT
from nanogpt_np.evaluation import choices, last_words, likelihood, texts
from nanogpt_np.evaluation.items import pair_of
from nanogpt_np.lens import style

gpt = GPT.from_pretrained("stories", ops="numpy")
encode = gpt.tokenizer.encode

# %% [markdown]
# ## Perplexity, by hand
#
# A model reads four tokens and gives each of them, before it sees it, a probability: 1/2, 1/4, 1/8, 1/2. Each costs minus the logarithm of that. The mean, in bits, is 7/4. A model
# that always hesitates between n equally likely tokens pays $\log_2 n$ for each, so ours is as good as one that hesitates between $2^{7/4}$ of them. That is all that perplexity is.

# %%
probabilities = np.array([1 / 2, 1 / 4, 1 / 8, 1 / 2])
bits = -np.log2(probabilities)
print("bits", bits, "mean", bits.mean())
print(f"perplexity {2 ** bits.mean():.3f}, from nats {math.exp(-np.log(probabilities).mean()):.3f}")
assert math.isclose(2 ** bits.mean(), np.prod(probabilities) ** (-1 / 4))  # the geometric mean, turned over

# %% [markdown]
# The same on the real model. `gpt.logprobs` gives $\ln p$ of each token behind those before it. The first one has nothing before it, so we put `<|endoftext|>` there.

# %%
passages = [
    "Lily had a red ball. She threw the ball to Tom. Tom was very happy and he threw back the ball",
    "Tim went to the park with his mom. He saw a big dog. The dog was nice. Tim wanted to pet the dog",
    "Mom made soup for dinner. The soup was too hot. They had to wait to eat the soup",
    "Anna had a doll named Rosa. She lost it in the garden. Her dad helped her to look. At last she found Rosa",
    "The king lived in a castle with his daughter, the princess. The king loved to eat strawberries. Every day she gave him strawberries",
    "Sam and Zoe built a tower. A boy came and kicked the tower. Sam and Zoe were sad about the tower",
    "The elephant was thirsty. A little mouse showed him the river. He said thank you to the mouse",
    "There was a dinosaur named Rex. All the animals were afraid of the dinosaur",
    "Ben has a telescope. At night he likes to look at the stars with his telescope",
    "The wizard lost his wand. Without it he could do no magic. A frog brought him the wand",
    "Kim painted a butterfly. Her teacher loved it. She asked if she might keep the butterfly",
    "Dad bought a cucumber and a carrot. The rabbit ate the carrot. Nobody ate the cucumber",
]
text = ". ".join(passages[:8]) + "."
ids = encode(text)
log_probs = gpt.logprobs([gpt.config.eos_id, *ids])[1:]
nats = -log_probs.sum()
print(f"{len(ids)} tokens, {len(text.split())} words, {len(text.encode())} bytes; {nats:.1f} nats in all")
for unit, n in (("token", len(ids)), ("word", len(text.split())), ("byte", len(text.encode()))):
    print(f"perplexity by {unit:5} {math.exp(nats / n):7.2f}")
print(f"bits per byte {nats / len(text.encode()) / math.log(2):.3f}")

# %% [markdown]
# One model, one text, three perplexities. Whoever writes "perplexity 12" without saying per what has said nothing. The library names each of its numbers, and gives the same:

# %%
document = texts.document_of(text, text)
numbers = texts.summary(texts.measure(texts.pieces([document], gpt), gpt), [document])
for name, value in numbers.items():
    print(f"{name:18} {value:10,.3f}  {texts.NUMBERS[name]}")
assert math.isclose(numbers["token_perplexity"], math.exp(nats / len(ids)), rel_tol=1e-4)

# %% [markdown]
# ## How perplexity misleads: the unit
#
# Here is a second model. It knows nothing but which byte tends to follow which: a table of pairs, counted on all passages (and a tenth of a count for every pair that never came). Its tokens are bytes. Before you run the cell, guess: which of the two has the lower perplexity per token of its own?

# %%
seen = " ".join(passages).encode()
pairs, firsts = Counter(zip(seen, seen[1:], strict=False)), Counter(seen[:-1])


def pair_nats(data):
    return -sum(math.log((pairs[a, b] + 0.1) / (firsts[a] + 0.1 * 256)) for a, b in zip(data, data[1:], strict=False))


by_pairs = pair_nats(text.encode())
n_bytes = len(text.encode())
print(f"pairs of bytes: token perplexity {math.exp(by_pairs / (n_bytes - 1)):5.1f}, bits per byte {by_pairs / (n_bytes - 1) / math.log(2):.2f}")
print(f"stories:        token perplexity {numbers['token_perplexity']:5.1f}, bits per byte {numbers['bits_per_byte']:.2f}")
assert math.exp(by_pairs / (n_bytes - 1)) < numbers["token_perplexity"] and numbers["bits_per_byte"] < by_pairs / n_bytes / math.log(2)

# %% [markdown]
# The table of pairs wins by far in perplexity, and needs three times the bits; and it was counted on this very text. A token of one byte is easier to guess than a token of four, and there are four times as many of them.
# So: token perplexities compare models of *one* vocabulary. Between vocabularies compare bits per byte, of the *original* bytes: a text from which rare words were taken (`<unk>`) is another text.
#
# ## How perplexity misleads: the window
#
# A text may be longer than the context. Then it is cut into windows, and at the beginning of each the model knows nothing. How much that costs depends on how one cuts. To see it on a short
# text we let the model look at 8 to 128 tokens at once. It needs a text that hangs together, so it writes one itself; that makes all numbers low, and leaves what is between them.

# %%
story = gpt.generate([gpt.config.eos_id, *encode("One day, a girl named Anna")], 180, temperature=0.7, seed=4, ignore_eos=True)
row = [gpt.config.eos_id, *encode("One day, a girl named Anna"), *story]


def cost(n_ctx, stride):
    pairs = [likelihood.Pair(row[start : end - n], row[end - n : end]) for start, end, n in texts.rolling(len(row), n_ctx, stride)]
    scores = likelihood.score(pairs, gpt.params, gpt.config, gpt.ops, share=False)
    return -sum(score.total for score in scores) / (len(row) - 1)


sizes = [8, 16, 32, 64, 128]
disjoint = [cost(n, n) for n in sizes]
overlapping = [cost(n, n // 4) for n in sizes]
for n, a, b in zip(sizes, disjoint, overlapping, strict=True):
    print(f"{n:4} tokens: side by side {math.exp(a):7.1f}, a quarter further on {math.exp(b):7.1f}")
assert all(a > b for a, b in zip(disjoint[:4], overlapping[:4], strict=True)) and disjoint == sorted(disjoint, reverse=True)

# %%
figure = style.figure(8.4, 3.9, "One model, one text: the perplexity is that of how it was cut", "stories", f"{len(row) - 1} tokens of a story of its own; perplexity by token")
axes = figure.subplots()
for values, name, colour in ((disjoint, "windows side by side", style.QUERY), (overlapping, "windows that lie a quarter apart", style.KEY)):
    axes.plot(sizes, np.exp(values), "o-", color=colour, linewidth=2, label=name)
axes.set_xscale("log", base=2)
axes.set(xlabel="tokens in a window", ylabel="token perplexity", xticks=sizes, xticklabels=sizes)
axes.legend(frameon=False)
style.without_frame(axes, "top", "right")
figure

# %% [markdown]
# Nothing about the model changed from one point of this picture to another. A perplexity without its window and stride can be off by a tenth and more.
#
# ## LAMBADA: the last word
#
# A passage whose last word can be known only by who has read all of it (Paperno et al. 2016). Is that word what the model would say? Words are not tokens, so there are two questions:
# is *every* token of the word the likeliest, where those before it are given; and is the *last token* alone?

# %%
items = [last_words.Passage(i, passage, pair_of(*last_words.split_last_word(passage), gpt, "here")) for i, passage in enumerate(passages, 1)]
rows = last_words.measure(items, gpt)
for row_ in rows:
    n, word = row_["n_tokens"], row_["word"].replace(" ", "␣")
    print(f"{word:14} tokens {n}  the word {'right' if row_['word_is_greedy'] else 'wrong'}, its last token {'right' if row_['token_is_greedy'] else 'wrong'}")

# %%
found = last_words.summary(rows)
for name in ("last_word_accuracy", "last_word_accuracy_stderr", "last_token_accuracy", "last_word_perplexity", "last_token_perplexity"):
    print(f"{name:26} {found[name]:8.2f}")
assert found["last_token_accuracy"] > found["last_word_accuracy"]

# %% [markdown]
# `␣telescope` is four tokens here. That the last of them follows from the first three is no feat, yet it counts as a hit for the last token. For GPT-2 124M the two readings of one test set give
# 33 % and 47 %, and both have been published as "LAMBADA accuracy". A vocabulary with longer tokens brings the two together, so the difference says as much about the tokenizer as about the model.
#
# A second trap lies in a single space. The word is `␣ball`, with its space. Give the space to the passage, and the model is asked for something that it has never seen:

# %%
before, word = last_words.split_last_word(passages[0])
for context, answer in ((before, word), (before + " ", word[1:])):
    pair = likelihood.Pair(encode(context), encode(answer))
    (score,) = likelihood.score([pair], gpt.params, gpt.config, gpt.ops)
    print(f"...{context[-6:]!r} then {answer!r}: ln p = {score.total:.2f}")
careful = pair_of(before + " ", word[1:], gpt, "here")
assert careful == pair_of(before, word, gpt, "here")  # the library moves the space over

# %% [markdown]
# ## Multiple choice
#
# HellaSwag and its kin ask: which of these endings is likeliest? A model that writes nothing sensible can still be asked so, and chance is known. But "likeliest" has four meanings. A long
# ending is less likely *as a whole*, since each token costs something; so one divides by its tokens, its characters, or its bytes.

# %%
QUESTIONS = [
    ("Tom was hungry. He went to the kitchen and", ["ate an apple.", "drove to the moon in a big red car.", "slept a tree."]),
    ("It was raining, so Sara took her", ["umbrella.", "cake and put it on the table.", "dog was big."]),
    ("The dog saw a cat and", ["ran after it.", "read a book about the sea.", "it was a blue."]),
    ("Ben fell down and hurt his knee. He started to", ["cry.", "laugh and sing a happy song with his friends.", "sky."]),
    ("Lily was very tired. She went to", ["bed.", "the park to play with her friends.", "a happy."]),
    ("The sun was hot, so they wanted to", ["drink cold water.", "wear warm coats and hats and make a big fire.", "the hot."]),
    ("Mom gave Tim a present. Tim said,", ['"Thank you, mom!"', '"I do not want to play with you any more!"', '"was the box."']),
    ("The bird opened its wings and", ["flew away.", "went to the store to buy some milk.", "wing it."]),
    ("Max lost his ball. He looked for it", ["everywhere.", "and ate a big cake with his mom and dad.", "the ball."]),
    ("At night, Anna was scared of the", ["dark.", "big red ball that she liked to play with.", "scared."]),
    ("The ice cream fell on the ground. Sue was", ["sad.", "very happy and she smiled at her mom.", "ice."]),
    ("Tim wanted to see the fish, so he put his head in the", ["water.", "box and closed it with a lot of toys.", "saw."]),
    ("The little girl found a key. She used it to open the", ["door.", "big tree in the park with her friends.", "key was."]),
    ("The fire was very hot. Mom said,", ['"Do not touch it."', '"Let\'s go to the park and play with the ball."', '"Hot the."']),
    ("Spot was a dog. He liked to", ["bark.", "read books and write long letters to the king.", "dog."]),
    ("Jack's shoes were dirty, so he", ["washed them.", "ate them and they were very yummy.", "shoes."]),
]
questions = [choices.Question(i, context, endings, 0) for i, (context, endings) in enumerate(QUESTIONS, 1)]
answered = choices.measure(choices.ask(questions, gpt, "here"), gpt)
by = choices.summary(answered)
for name in ("by_sum", "by_token_mean", "by_character", "by_byte"):
    print(f"accuracy_{name:14} {by[f'accuracy_{name}']:.2f} ± {by[f'accuracy_{name}_stderr']:.2f}")
print(f"chance                  {by['accuracy_of_chance']:.2f}")

# %% [markdown]
# 14 of 16, or 9? Look at one question, where the wrong ending is long and made of easy words:

# %%
one = answered[1]
print(QUESTIONS[1][0], "…")
for ending, log_prob, n, n_characters in zip(QUESTIONS[1][1], one["log_probs"], one["n_tokens"], one["n_characters"], strict=True):
    print(f"{ending:32} ln p {log_prob:6.1f}, by token {log_prob / n:6.2f}, by character {log_prob / n_characters:6.2f}")

# %% [markdown]
# The sum seems to be the fair judge here. Now the test that every benchmark should have to pass: ask the same, *without the question*.

# %%
unasked = choices.measure(choices.ask([question._replace(context="") for question in questions], gpt, "here"), gpt)
alone = choices.summary(unasked)
shortest = np.mean([row_["n_characters"].index(min(row_["n_characters"])) == row_["label"] for row_ in answered])
print(f"with the question, by sum      {by['accuracy_by_sum']:.2f}")
print(f"without any question, by sum   {alone['accuracy_by_sum']:.2f}")
print(f"without any question, by token {alone['accuracy_by_token_mean']:.2f}")
print(f"the shortest ending, no model  {shortest:.2f}")
assert alone["accuracy_by_sum"] > 0.8

# %% [markdown]
# Without having read a single question the model is as good as with them. What the sum measured is that the right endings are short and are English. (They were written by whoever wrote this
# notebook, who did not mean to; HellaSwag's authors had a machine filter theirs for that reason.) One remedy is to compare each ending with itself: how much likelier does
# the *question* make it? That is $\ln p(\text{ending} \mid \text{question}) - \ln p(\text{ending})$, which divides nothing and has no length left in it:

# %%
gains = [np.subtract(with_, without) for with_, without in zip((r["log_probs"] for r in answered), (r["log_probs"] for r in unasked), strict=True)]
by_gain = np.mean([gain.argmax() == 0 for gain in gains])
print(f"by what the question adds {by_gain:.2f}")

# %% [markdown]
# That is the number to believe here: above chance, and earned by reading. It is also far from 0.88.
#
# ## How many questions are enough
#
# 16 questions, 9 right: the standard error is 13 points. Draw 16 questions anew from a model that is right half of the time, again and again:

# %%
rng = np.random.default_rng(0)
for n in (16, 100, 1000, 10_000):
    shares = rng.binomial(n, 0.5, 20_000) / n
    low, high = np.quantile(shares, [0.025, 0.975])
    print(f"{n:6,} questions: 95 of 100 runs lie between {low:.3f} and {high:.3f}; two standard errors are {2 * math.sqrt(0.25 / n):.3f}")

# %% [markdown]
# A gain of one point needs ten thousand questions, or a comparison question by question: two models asked *the same* questions differ on few of them, and only those count.
#
# ## What people get wrong
#
# * *"Our perplexity is lower, so our model is better."* Per what, in whose vocabulary, with which stride?
# * *"LAMBADA accuracy is 47 %."* Of the last token. Of the last word it is 33.
# * *"acc_norm is acc_norm."* lm-evaluation-harness divides by characters, llm.c by tokens; the notebook's questions gave 56 % and 62 %.
# * *"Above chance means that it understood."* Take the question away and look again.
# * *"62 % beats 56 %."* With 16 questions that is one question.
#
# ## Exercises
#
# **Easy.** Write `bits_per_byte(log_probs, text)`: the natural logarithms of the tokens' probabilities (an array, NaN where nobody was asked), and the text that they spell -> bits per byte of UTF-8.

# %%
def bits_per_byte(log_probs, text):
    ...


ch17.bits_per_byte(bits_per_byte);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def bits_per_byte(log_probs, text):
#     return -np.nansum(log_probs) / np.log(2) / len(text.encode("utf-8"))
# ```
# </details>
#
# **Medium.** Write `windows(n_ids, n_ctx, stride)` -> a list of `(start, end, n_said)`: the ids from `start` to `end` are looked at, and the last `n_said` of them are predicted. Id 0 is `<|endoftext|>`; every
# other one is predicted exactly once. The model reads all of a window but its last id, at most `n_ctx`. The first window predicts as many as it can, each further one the next `stride` (the last one what is
# left), and goes back as far as fits.

# %%
def windows(n_ids, n_ctx, stride):
    ...


ch17.windows(windows);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def windows(n_ids, n_ctx, stride):
#     end = min(n_ctx + 1, n_ids)
#     found = [(0, end, end - 1)]
#     while end < n_ids:
#         n_said = min(stride, n_ids - end)
#         end += n_said
#         found.append((end - n_ctx - 1, end, n_said))
#     return found
# ```
# </details>
#
# **Hard, an investigation.** Write `surely_better(right_a, right_b)`: two lists of True and False, what two models made of the *same* questions -> the probability that two equally good models would lie at least so far
# apart, in either direction (the sign test). Only the questions on which they differ count; each of those is a toss of a coin. `math.comb` counts the ways. Then compare `by_sum` with `by_character` above, as if they were two models: is the difference to be believed?

# %%
def surely_better(right_a, right_b):
    ...


ch17.surely_better(surely_better);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def surely_better(right_a, right_b):
#     only_a = sum(a and not b for a, b in zip(right_a, right_b))
#     only_b = sum(b and not a for a, b in zip(right_a, right_b))
#     n, most = only_a + only_b, max(only_a, only_b)
#     tail = sum(math.comb(n, k) for k in range(most, n + 1)) / 2**n
#     return min(1.0, 2 * tail)
# ```
# </details>
#
# ## Where it stands in the code
#
# | here | there |
# |---|---|
# | `texts.rolling`, units | `nanogpt_np/evaluation/texts.py` |
# | two texts -> ids, and where the space goes | `nanogpt_np/evaluation/items.py`: `pair_of` |
# | log-probabilities in batches, a shared beginning read once | `nanogpt_np/evaluation/likelihood.py` |
# | LAMBADA | `nanogpt_np/evaluation/last_words.py` |
# | four ways to be likeliest | `nanogpt_np/evaluation/choices.py` |
# | at the command line, and what others call these numbers | `docs/evaluation.md` |
