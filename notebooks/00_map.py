# %% [markdown]
# # 00 · Where does a token go?
#
# **You will be able to** say what happens between the text you type and the token that comes back, draw the shapes on a
# napkin, and point at the line of code for each step.
#
# **You need** Python, and to know what a matrix product is. Nothing is downloaded: the model *stories* ships with the project.

# %%
import inspect
import math

import numpy as np
from checks import ch00

from nanogpt_np import GPT, lens, model

gpt = GPT.from_pretrained("stories", ops="numpy")
text = "Once upon a time"
ids = gpt.tokenizer.encode(text)
print(ids, [gpt.tokenizer.decode([i]) for i in ids])

# %% [markdown]
# Four numbers. A language model never sees letters: it sees these, and gives back one number for each of its 4,096 tokens, the larger
# the likelier that token comes next.

# %%
logits = gpt(ids)  # [n_batch, n_seq, n_vocab]
best = int(logits[0, -1].argmax())
print(logits.shape, "and the likeliest next token is", repr(gpt.tokenizer.decode([best])))

# %% [markdown]
# ## The whole model on one page
#
# What happened in between? Here it is once more, written anew with NumPy alone: every line that changes a shape says the new one. Read it from the
# bottom up, beginning with `gpt2`.

# %%
def layer_norm(x, weight, bias):  # [n_seq, n_embd] -> the same
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5) * weight + bias


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def linear(x, p):  # [n_seq, n_in] -> [n_seq, n_out]
    return x @ p["weight"] + p["bias"]


def attention(x, p, n_head):  # [n_seq, n_embd] -> the same
    n_seq, n_embd = x.shape
    qkv = linear(x, p["c_attn"])  # -> [n_seq, 3 * n_embd]
    q, k, v = qkv.reshape(n_seq, 3, n_head, -1).transpose(1, 2, 0, 3)  # -> [n_head, n_seq, d_head] each
    scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])  # -> [n_head, n_seq, n_seq]
    later = np.triu(np.ones((n_seq, n_seq), bool), k=1)
    probs = softmax(np.where(later, -np.inf, scores))  # each row sums to 1
    mixed = probs @ v  # -> [n_head, n_seq, d_head]
    return linear(mixed.transpose(1, 0, 2).reshape(n_seq, n_embd), p["c_proj"])


def ffn(x, p):  # [n_seq, n_embd] -> the same
    return linear(gelu(linear(x, p["c_fc"])), p["c_proj"])  # wide in between: [n_seq, 4 * n_embd]


def block(x, p, n_head):
    x = x + attention(layer_norm(x, **p["ln_1"]), p["attn"], n_head)
    return x + ffn(layer_norm(x, **p["ln_2"]), p["mlp"])


def gpt2(ids, params, n_head):  # [n_seq] -> [n_seq, n_vocab]
    x = params["wte"]["weight"][ids] + params["wpe"]["weight"][: len(ids)]  # -> [n_seq, n_embd]
    for p in params["h"]:
        x = block(x, p, n_head)
    return layer_norm(x, **params["ln_f"]) @ params["wte"]["weight"].T

# %% [markdown]
# About 45 lines. Is it the same model? The numbers say so, to float32's rounding:

# %%
mine = gpt2(ids, gpt.params, gpt.config.n_head)
difference = np.abs(mine - logits[0]).max() / np.abs(mine).max()
assert difference < 1e-5
print("the largest difference is below 1e-5 of the largest logit:", difference < 1e-5)

# %% [markdown]
# The library's own pass is built from the same pieces; it also keeps what it computes, caches keys and values, and takes several texts at once. Its attention:

# %%
print(inspect.getsource(model.attention))

# %% [markdown]
# ## One token, followed
#
# ` time` is token 394. It enters as row 394 of `wte`, plus row 3 of `wpe`, as it stands in place 3. From then on it is a row of 256 numbers, the *residual
# stream*, to which every half-block adds something.

# %%
seen = lens.look(gpt, text)
names, stream = lens.stream(seen.acts)
assert np.array_equal(stream[0, 3], gpt.params["wte"]["weight"][394] + gpt.params["wpe"]["weight"][3])
view = lens.residual_view(gpt, text)
for name, norm in zip(names, view.norms[:, 3], strict=True):
    print(f"{name:10} length {norm:5.1f}")

# %% [markdown]
# Read the stream after any half-block as if the model ended there, and you see when it makes up its mind. The bottom row only repeats the token it is at; the top
# row is the model's answer.

# %%
figure = lens.draw_logit_lens(lens.logit_lens_view(gpt, text + ", there was a little girl named"), "stories")
figure

# %% [markdown]
# And back to text: the logits become probabilities, one token is drawn, and it is appended. That is all of generating.

# %%
found = lens.next_tokens(gpt, text, k=4)
for token, prob in zip(found.tokens, found.probs, strict=True):
    print(f"{token:8} {prob:.3f}")
assert found.ids[0] == best
print(text + gpt.generate(text, 12, temperature=0))

# %% [markdown]
# ## What people get wrong
#
# * *"It reads from left to right, like an LSTM."* One pass reads all tokens at once; only what each may look at is limited. Below, the logits at the first three places
#   do not change with what comes later:

# %%
other = gpt.tokenizer.encode("Once upon a dog")
assert np.allclose(gpt2(ids[:3], gpt.params, 8), gpt2(other, gpt.params, 8)[:3], atol=1e-4)
print("the first three places do not know what comes")

# %% [markdown]
# * *"The last layer gives one answer."* It gives one for every place: each of the four rows of logits guesses what comes after its token.
#   More of this kind in `docs/misconceptions.md`.
#
# ## Exercises
#
# **Easy.** Write `may_look(n)`: a bool array `[n, n]`, True where a token (row) may look at another (column).

# %%
def may_look(n):
    ...


ch00.may_look(may_look);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def may_look(n):
#     return np.tril(np.ones((n, n), bool))
# ```
# </details>
#
# **Medium.** Write `continue_text(next_logits, ids, n)`: append `n` times the likeliest token to a list of ids. `next_logits(ids)` gives `[n_seq, n_vocab]`.

# %%
def continue_text(next_logits, ids, n):
    ...


ch00.continue_text(continue_text);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def continue_text(next_logits, ids, n):
#     ids = list(ids)
#     for _ in range(n):
#         ids.append(int(next_logits(ids)[-1].argmax()))
#     return ids
# ```
# </details>
#
# **Hard, an investigation.** After which block has the model made up its mind? Write `decided(gpt, text)`: for each token of a text the number of the first block (1 is the first)
# from which on every later reading of the stream, block by block, gives the model's final best guess. Then look: which tokens are decided early, which late?

# %%
def decided(gpt, text):
    ...


ch00.decided(decided);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def decided(gpt, text):
#     ids = lens.logit_lens_view(gpt, text).ids[2::2]  # behind each whole block
#     same = ids == ids[-1]
#     return [int(len(column) - np.argmin(np.append(column[::-1], False))) + 1 for column in same.T]
# ```
# </details>
#
# ## Where it stands in the code
#
# | here | there |
# |---|---|
# | `gpt2` | `nanogpt_np/model.py`: `forward`, `trunk` |
# | `block`, `attention`, `ffn` | the same names in `model.py` |
# | `layer_norm`, `softmax`, `gelu`, `linear` | `nanogpt_np/ops.py`, each above its backward |
# | `encode`, `decode` | `nanogpt_np/tokenizer/bpe.py` |
# | drawing a token | `nanogpt_np/generation/sampling.py` |
