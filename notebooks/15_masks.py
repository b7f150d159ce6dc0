# %% [markdown]
# # 15 · What does the causal mask change?
#
# **You will be able to** turn a GPT-2 into an encoder by replacing one function, say what BERT's objective asks and what it costs, draw the three masks behind "encoder",
# "decoder" and "encoder-decoder", and tell which questions each of them can answer at all.
#
# **You need** notebooks [03](03_attention.ipynb) (attention), [08](08_training.ipynb) (training); [09](09_cache.ipynb) (the cache) for one section.

# %%
import string
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from checks import ch15

from nanogpt_np import GPT, GPTConfig, lens, model, ops
from nanogpt_np import params as P
from nanogpt_np.lens import style
from nanogpt_np.lens.tokens import log_softmax
from nanogpt_np.training import backward, optim

gpt = GPT.from_pretrained("stories", ops="numpy")

# %% [markdown]
# ## One word of difference
#
# GPT-2 calls itself a decoder, BERT calls itself an encoder, the first transformer had both. The names promise different machines. Look for the machine in the code: what makes a
# block the one or the other is *which keys a query may see*, a table of True and False. (Other differences, such as where BERT has its layer norms, have nothing to do with the names.)

# %%
def may_see(kind, n_seq, n_prompt):  # -> bool [n_query, n_key]
    query, key = np.mgrid[:n_seq, :n_seq]
    if kind == "encoder":
        return np.full((n_seq, n_seq), True)
    causal = key <= query
    return causal if kind == "decoder" else causal | (key < n_prompt)  # "prefix": the prompt is read both ways


for kind in ("encoder", "decoder", "prefix"):
    print(kind.ljust(8), may_see(kind, 5, 2).sum(), "of 25 pairs")
assert np.array_equal(may_see("decoder", 5, 2), ops.causal_mask(5, 5))

# %%
figure = style.figure(8.4, 3.6, "Which keys a query may see", "8 tokens, of which 3 are the prompt", "dark: may be seen")
for axes, kind in zip(figure.subplots(1, 3), ("encoder", "decoder", "prefix"), strict=True):
    axes.imshow(may_see(kind, 8, 3), cmap=style.colour_map(style.PROBABILITY), vmin=0, vmax=1.3)
    axes.set_title({"encoder": "encoder: BERT", "decoder": "decoder: GPT-2", "prefix": "prefix: prompt both ways"}[kind], fontsize=10)
    axes.set_xlabel("key", fontsize=9)
    axes.set_ylabel("query", fontsize=9)
    axes.set_xticks(np.arange(8.5) - 0.5, [])
    axes.set_yticks(np.arange(8.5) - 0.5, [])
    axes.grid(color="white")
    axes.tick_params(length=0)
figure

# %% [markdown]
# This library hands its operations to the model as a module, `ops`. So an encoder is the same model with one function of that module replaced. Nothing else in this notebook
# is new code: forward pass, backward pass and optimizer are the library's, and they do not know which of the two they train.

# %%
both_ways = SimpleNamespace(**{**vars(ops), "causal_mask": lambda n_query, n_key: np.full((n_query, n_key), True)})

ids = gpt.tokenizer.encode("Once upon a time, there was a little girl")
rows = np.array([ids])
causal, acts = model.forward(rows, gpt.params, gpt.config, ops, keep_acts=True)
full, full_acts = model.forward(rows, gpt.params, gpt.config, both_ways, keep_acts=True)
assert np.array_equal(causal, gpt(rows))  # the library's own pass
print("looks at later tokens, causal:", bool(np.triu(acts.blocks[0].attn.probs[0, 0], k=1).any()))
print("looks at later tokens, both ways:", bool(np.triu(full_acts.blocks[0].attn.probs[0, 0], k=1).any()))

# %% [markdown]
# Can *stories* read both ways, now that nothing forbids it? Before you run the next cell, guess: does seeing more help it to say the next token?

# %%
def loss(logits, ids):  # [n_seq, n_vocab], [n_seq] -> nats per next token
    return float(-log_softmax(logits[:-1])[np.arange(len(ids) - 1), ids[1:]].mean())


print(f"causal {loss(causal[0], ids):.2f} nats per token, both ways {loss(full[0], ids):.2f}")
assert loss(full[0], ids) > loss(causal[0], ids) + 1

# %% [markdown]
# It gets far worse, although the next token now lies open before it. The weights were trained under the mask: no head has learned what to do with a later token, and what
# they do with it is noise to all that follows. Here is one head under both masks. On the left nearly every token has one that it looks at; on the right the same head spreads thin:

# %%
figure = style.figure(9, 4.9, "One head of stories under two masks: L4.H2", "stories", "colour: attention probability, 0 white to 1 dark; grey: may not be seen")
tokens = lens.look(gpt, ids).tokens
for axes, (name, seen) in zip(figure.subplots(1, 2), {"causal, as it was trained": acts, "both ways": full_acts}.items(), strict=True):
    probs = seen.blocks[4].attn.probs[0, 2]
    axes.imshow(np.ma.masked_where(probs == 0, probs), cmap=style.colour_map(style.PROBABILITY), vmin=0, vmax=1)
    style.mark_tokens(axes.yaxis, tokens)
    style.mark_tokens(axes.xaxis, tokens, rotate=True)
    axes.set_title(name, fontsize=10)
figure

# %% [markdown]
# ## What the mask buys: every token is a question
#
# A causal model answers `n_seq` questions in one pass: what comes after the first token, after the first two, and so on. No answer lies in view. Take the mask away and keep
# the questions, and each answer stands one column further right: a model trained so would learn to copy. BERT therefore asks otherwise. Some tokens are replaced by a token `[MASK]`, and only those
# are asked for (Devlin et al. 2019, section 3.1).

# %%
text = Path("texts/shakespeare.txt").read_text(encoding="utf-8").lower()
letters = " " + string.ascii_lowercase
words = " ".join("".join(c if c in letters else " " for c in text).split())
data = np.array([letters.index(c) for c in words])
MASK = len(letters)  # one more token
n_kept = int(0.95 * len(data))
config = GPTConfig(n_vocab=MASK + 1, n_ctx=16, n_embd=32, n_layer=2, n_head=4)
print(f"{len(data):,} letters, {config.n_vocab} tokens; a model of {P.size(config):,} parameters")


def windows(rng, data, n):  # -> ids [n, n_ctx + 1]
    starts = rng.integers(0, len(data) - config.n_ctx - 1, n)
    return data[starts[:, None] + np.arange(config.n_ctx + 1)]


def gpt_questions(rows, rng):  # -> inputs, targets
    return rows[:, :-1], rows[:, 1:]


def bert_questions(rows, rng, share=0.2):
    rows = rows[:, :-1]
    asked = rng.random(rows.shape) < share
    return np.where(asked, MASK, rows), np.where(asked, rows, ops.IGNORE)


rng = np.random.default_rng(0)
(example,) = windows(rng, data, 1)
write = np.array(list(letters + "_"))
for name, questions in (("GPT", gpt_questions), ("BERT", bert_questions)):
    given, targets = questions(example[None], np.random.default_rng(2))
    wanted = "".join(write[t] if t != ops.IGNORE else "·" for t in targets[0])
    print(f"{name:5} is given |{''.join(write[given[0]])}|\n      and asked  |{wanted}|  {np.sum(targets != ops.IGNORE)} questions")

# %% [markdown]
# Two models of the same shape, the same start, the same text, the same number of steps. Two words differ in the call: which questions are asked, and `ops` or `both_ways`.

# %%
STEPS = 400


def trained(questions, ops_, seed=0):
    rng = np.random.default_rng(seed)
    params = P.init(config, rng)
    adam, losses = optim.AdamW(params, weight_decay=0.01), []
    for step in range(STEPS):
        inputs, targets = questions(windows(rng, data[:n_kept], 64), rng)
        value, grads = backward.loss_and_grads(inputs, targets, params, config, ops_)
        optim.clip_(grads, 1.0)
        adam.step(params, grads, optim.warmup_cosine(step, STEPS, 1e-2, 1e-3, 20), ops)
        losses.append(value)
    return params, np.array(losses)


causal_params, causal_losses = trained(gpt_questions, ops)

# %%
bert_params, bert_losses = trained(bert_questions, both_ways)
counts = np.bincount(data) / len(data)
unigram = float(-(counts * np.log(counts)).sum())
print(f"letters alone, without any context: {unigram:.2f} nats")
print("the causal model is below that after 100 steps:", bool(causal_losses[90:110].mean() < unigram - 0.2))
print("the masked one is:", bool(bert_losses[90:110].mean() < unigram - 0.2))

# %%
figure = style.figure(8.4, 3.9, "The same model under two masks and two objectives", "letters of Shakespeare, 2 blocks, 32 wide", "means over 10 steps; dotted: knowing how frequent each letter is")
axes = figure.subplots()
for losses, name, colour in ((causal_losses, "causal: next letter, every place", style.QUERY), (bert_losses, "both ways: hidden letters, a fifth of the places", style.KEY)):
    means = losses.reshape(-1, 10).mean(axis=1)
    axes.plot(10 * np.arange(1, len(means) + 1), means, color=colour, linewidth=2)
    axes.annotate(name, (STEPS, means[-1]), xytext=(-4, 22), textcoords="offset points", ha="right", color=style.INK, fontsize=9)
axes.axhline(unigram, color=style.PALE, linestyle=":")
axes.set(xlabel="step", ylabel="loss, nats per question")
style.without_frame(axes, "top", "right")
figure

# %% [markdown]
# The losses answer different questions, so their heights are not to be compared. Their *shapes* are. The masked model sits for a long time on the dotted line: it knows how
# frequent letters are, and nothing of their neighbours. It gets a fifth of the questions per step, and each has another pattern of gaps around it. The causal model is asked at every
# place. That is one reason why models for generating are trained this way, and why BERT's successors looked for objectives that ask everywhere (ELECTRA, Clark et al. 2020).
#
# ## A fair contest: fill the gap
#
# Now one question for both, on text that neither has seen: the ninth letter of 16 is hidden. The masked model was made for this. The causal one, asked in its usual way, sees the left half
# only.

# %%
rows = windows(np.random.default_rng(5), data[n_kept:], 400)[:, :-1]
place = 8
hidden = rows.copy()
hidden[:, place] = MASK
bert_logits, _ = model.forward(hidden, bert_params, config, both_ways)
left_logits, _ = model.forward(rows[:, :place], causal_params, config, ops)
by_bert = bert_logits[:, place, :MASK].argmax(axis=-1)
by_left = left_logits[:, -1, :MASK].argmax(axis=-1)

# %% [markdown]
# But a causal model gives the probability of a *whole text*. So it can be asked in another way: put each of the 27 letters into the gap, and see which whole text it likes best. The
# letters behind the gap then vote, too. This is Bayes' rule, $p(x_i \mid \text{rest}) \propto p(x_1, \ldots, x_n)$, and it needs no new training.

# %%
def text_log_prob(params, rows):  # [n, n_seq] -> [n], nats, of all tokens but the first
    logits, _ = model.forward(rows[:, :-1], params, config, ops)
    return np.take_along_axis(log_softmax(logits[..., :MASK]), rows[:, 1:, None], axis=-1)[..., 0].sum(axis=1)


def with_letter(letter):
    filled = rows.copy()
    filled[:, place] = letter
    return text_log_prob(causal_params, filled)


by_whole = np.stack([with_letter(letter) for letter in range(MASK)]).argmax(axis=0)
guesses = {"masked model, both sides": by_bert, "causal, left side": by_left, "causal, whole text, Bayes": by_whole}
right = {name: float(np.mean(guess == rows[:, place])) for name, guess in guesses.items()}
for name, share in right.items():
    print(f"measured: {name:26} {share:.0%} right")
assert right["causal, whole text, Bayes"] > right["causal, left side"] + 0.1 > right["masked model, both sides"]

# %% [markdown]
# Three things to take away. The right side is worth a lot: the same causal weights go from guessing less than half to most. A causal model *can* use it, at 27 passes instead of one.
# And at this budget the masked model is the worst of the three; given a hundred times the steps it might well win, and in one pass, which is what BERT was for. An objective is a matter of what you pay.
#
# ## What each can be asked
#
# A causal model gives every text a probability, and over all texts of one length they sum to one. A masked model's answers do not fit together to anything like that. Take all texts of
# three letters that begin with `t`:

# %%
grid = np.array([[letters.index("t"), a, b] for a in range(MASK) for b in range(MASK)])  # [729, 3]
causal_sum = np.exp(text_log_prob(causal_params, grid)).sum()


def masked_log_prob(rows, place):  # -> [n], of the token there given all others
    hidden = rows.copy()
    hidden[:, place] = MASK
    logits, _ = model.forward(hidden, bert_params, config, both_ways)
    return log_softmax(logits[:, place, :MASK])[np.arange(len(rows)), rows[:, place]]


pseudo_sum = np.exp(masked_log_prob(grid, 1) + masked_log_prob(grid, 2)).sum()
print(f"causal: the 729 probabilities sum to {causal_sum:.4f}")
print("masked: the 729 products sum to one:", bool(abs(pseudo_sum - 1) < 1e-6))
assert abs(causal_sum - 1) < 1e-5

# %% [markdown]
# A *perplexity* is e to the mean loss of a token, and presumes that the losses add up to
# minus the logarithm of the text's probability. So what is called a perplexity of BERT is none, and there is no order in which to draw a text from it that its training would justify.
#
# The mask also makes the *cache* possible. Under it, the keys of a token do not change when the text goes on. Without it, every token's keys change in every block but the first,
# and above it nothing can be kept:

# %%
for name, ops_ in (("causal", ops), ("both ways", both_ways)):
    _, short = model.forward(np.array([ids[:-1]]), gpt.params, gpt.config, ops_, keep_acts=True)
    _, long = model.forward(np.array([ids]), gpt.params, gpt.config, ops_, keep_acts=True)
    same = [np.allclose(a.attn.k, b.attn.k[:, :, :-1], atol=1e-3) for a, b in zip(short.blocks, long.blocks, strict=True)]
    print(f"{name:10} the old keys are unchanged in blocks: {[i for i, is_same in enumerate(same) if is_same]}")

# %% [markdown]
# ## Encoder and decoder together
#
# The first transformer (Vaswani et al. 2017) translated. An encoder read the source both ways; a decoder wrote, causally, and in every block asked the source once more: *cross-attention*. It
# is the same attention with queries from one text and keys and values from another. By hand, on *stories*' weights:

# %%
source = gpt.tokenizer.encode("The cat is black.")
target = gpt.tokenizer.encode("Once upon a time")
q = lens.look(gpt, target).acts.blocks[0].attn.q  # asks
read = lens.look(gpt, source).acts.blocks[0].attn  # is asked
cross = ops.attention_probs(q, read.k, None)  # no mask: all of the source may be seen
mixed = ops.attention_mix(cross, read.v)
print("probs", cross.shape, "mixed", mixed.shape, "rows sum to 1:", bool(np.allclose(cross.sum(axis=-1), 1)))
assert cross.shape == (1, 8, len(target), len(source))

# %% [markdown]
# A GPT-2 has no such weights. Its blocks hold one attention and one feed-forward network, and that is all:

# %%
names = sorted({name.split(".", 2)[2] for name, _ in P.walk(gpt.params) if name.startswith("h.")})
print(*names, sep="\n")
assert not any("cross" in name or "encoder" in name for name in names)

# %% [markdown]
# It does without a second stack by writing both texts behind one another: what the encoder's output was to the decoder, the prompt's keys and values are to what follows. Whether
# the prompt is read causally (GPT) or both ways is then a small choice. Both ways gives the third mask above, which says who sees whom in an encoder-decoder, too, if its prompt is the source and the
# rest is the target; a decoder with this mask is called a *prefix LM* (Raffel et al. 2020).
#
# ## What people get wrong
#
# * *"GPT-2 has an encoder and a decoder."* The list above is all there is in a block.
# * *"A decoder is half a transformer, so it can do less."* It gave the better answer in the contest, and it alone can be sampled from.
# * *"The mask is a trick of training, and may go when the model is used."* We took it away: the loss of *stories* rose from 0.20 to 1.51.
# * *"BERT sees more, so it learns faster."* It sees more and is asked less. Look at the curves.
#
# ## Exercises
#
# **Easy.** Write `prefix_mask(n_prompt, n_seq)`: a bool array `[n_seq, n_seq]`, True where a query (row) may see a key (column): the prompt's tokens see the whole prompt, and later tokens
# see everything up to themselves.

# %%
def prefix_mask(n_prompt, n_seq):
    ...


ch15.prefix_mask(prefix_mask);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def prefix_mask(n_prompt, n_seq):
#     mask = np.tril(np.ones((n_seq, n_seq), bool))
#     mask[:, :n_prompt] = True
#     return mask
# ```
# </details>
#
# **Medium.** BERT does not always write `[MASK]`, since no text that it is used on will hold one. Of the tokens that are asked for, eight tenths become `mask_id`, one tenth becomes a random
# token below `mask_id`, and one tenth stays as it is. Write `bert_inputs(ids, mask_id, rng)` -> `inputs, targets`, both shaped like `ids`: 15 % of the places are asked for, each
# independently; `targets` holds the true token there and `ops.IGNORE` elsewhere. `ids` stays as it is.

# %%
def bert_inputs(ids, mask_id, rng):
    ...


ch15.bert_inputs(bert_inputs);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def bert_inputs(ids, mask_id, rng):
#     asked, how = rng.random(ids.shape) < 0.15, rng.random(ids.shape)
#     other = rng.integers(0, mask_id, ids.shape)
#     shown = np.where(how < 0.8, mask_id, np.where(how < 0.9, other, ids))
#     return np.where(asked, shown, ids), np.where(asked, ids, ops.IGNORE)
# ```
# </details>
#
# **Hard, an investigation.** A whole word is missing: `"Once upon a time, there was a little"` … `" named Lily."` Write `fill(gpt, left, right, candidates)` -> the candidate (a text that may
# be several tokens, and brings its space: `" girl"`) for which *stories* finds the whole text `left + candidate + right` likeliest. `lens.tokens_view(gpt, text).losses` holds the nats of each token,
# NaN for the first. Then find out: for which gaps does the right side change the answer that the left side alone would give? Does it help to divide by the number of tokens, and why would that be wrong here?

# %%
def fill(gpt, left, right, candidates):
    ...


ch15.fill(fill);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def fill(gpt, left, right, candidates):
#     def log_prob(text):
#         return -np.nansum(lens.tokens_view(gpt, text).losses)
#     return max(candidates, key=lambda candidate: log_prob(left + candidate + right))
# ```
# </details>
#
# Dividing by the number of tokens compares averages, and a long candidate of easy tokens then beats a short good one. The probabilities of whole texts are what Bayes' rule asks for.
#
# ## Where it stands in the code
#
# | here | there |
# |---|---|
# | `may_see("decoder", …)` | `nanogpt_np/ops.py`: `causal_mask` |
# | `both_ways` | any module with the names of `ops.py`: `nanogpt_np/kernels`, `nanogpt_np/quantized` |
# | what each query may see, padding included | `nanogpt_np/model.py`: `place` |
# | `ops.IGNORE`: a place without a question | `nanogpt_np/ops.py`: `cross_entropy` |
# | training | `nanogpt_np/training/backward.py`, `nanogpt_np/training/optim.py` |
