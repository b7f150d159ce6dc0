"""A text and one pass over it that keeps everything: what every other room of this wing begins with.

Enter: a GPT, and a text or ids. Leave: a Seen: ids, tokens as a person reads them, logits, acts. Nothing is hooked into
the model: `acts` are what its forward pass returns (model.py). Next: lens/coloured.py.
"""

from typing import NamedTuple

import numpy as np

from ..errors import InputError, is_whole, shown
from ..generation.request import encode_prompt
from ..model import GPTActs
from ..tokenizer.display import spell


class Seen(NamedTuple):
    """One text and one pass over it; acts have n_batch = 1."""

    tokens: list  # [n_seq] of str
    ids: np.ndarray  # int64 [n_seq]
    logits: np.ndarray  # float32 [n_seq, n_vocab]
    acts: GPTActs


class Stream(NamedTuple):
    """The residual stream wherever it was added to: after the embedding, and after each half of each block."""

    names: list  # [2 * n_layer + 1] of str: "embedded", "L0.attn", "L0.ffn", …
    x: np.ndarray  # [2 * n_layer + 1, n_seq, n_embd]


def look(gpt, prompt):
    """One pass of a GPT over a text or a list of ids -> Seen.

    InputError where there is not one token, an id is outside the vocabulary, or the text is longer than n_ctx.
    """
    ids = ids_of(gpt, prompt)
    logits, acts = gpt(ids, keep_acts=True)
    return Seen(spelled(gpt, ids), ids, logits[0], acts)


def ids_of(gpt, prompt):
    """A text or a list of ids as ids, int64 [n_seq]; InputError for none, and for one outside the vocabulary."""
    ids = encode_prompt(prompt, gpt.config, gpt.tokenizer)
    if not ids:
        raise InputError("prompt: expected at least one token, got none; begin with some text")
    if min(ids) < 0 or max(ids) >= gpt.config.n_vocab:
        got = f"{shown(min(ids))} to {shown(max(ids))}"
        raise InputError(f"ids: expected 0 to {gpt.config.n_vocab - 1}, got {got}")
    return np.array(ids, np.int64)


def one_id(gpt, name, token):
    """The id of a token that is given as an id or as its text; InputError for a text that is not one token."""
    if isinstance(token, str):
        ids = [] if gpt.tokenizer is None else gpt.tokenizer.encode(token)
        if len(ids) != 1:
            got = f"{shown(token)}, which is {len(ids)}" if gpt.tokenizer else "a text, and the model has no vocabulary"
            raise InputError(f"{name}: expected one token, got {got}; give its id, or mind the space before it")
        return ids[0]
    if not is_whole(token) or not 0 <= token < gpt.config.n_vocab:
        raise InputError(f"{name}: expected an id from 0 to {gpt.config.n_vocab - 1} or a text, got {shown(token)}")
    return int(token)


def spelled(gpt, ids):
    """Ids as a person reads them, a list of str: " a" as ␣a, stray bytes as \\xe4; <7> where id 7 has no text."""
    known = 0 if gpt.tokenizer is None else gpt.tokenizer.n_vocab  # rows beyond only pad wte
    return [spell(gpt.tokenizer.token_bytes(int(i))) if i < known else f"<{int(i)}>" for i in ids]


def stream(acts):
    """The residual stream of a pass with n_batch = 1 -> Stream."""
    names, x = ["embedded"], [acts.embedded[0]]
    outs = [*(block.x for block in acts.blocks[1:]), acts.x]
    for layer, (block, out) in enumerate(zip(acts.blocks, outs, strict=True)):
        names += [f"L{layer}.attn", f"L{layer}.ffn"]
        x += [block.x_mid[0], out[0]]
    return Stream(names, np.stack(x))


def need_floats(gpt, name):
    """InputError where the weights are int8, which are not at hand as numbers; `name`: what asks for them."""
    if hasattr(gpt.ops, "quantize"):
        raise InputError(f"{name}: expected float weights, got int8 or int4; open the model with ops='numpy'")


def check_place(name, place, n):
    """-> the place as 0 to n - 1, for one that may count from the end; InputError for what is none of them."""
    if not is_whole(place) or not -n <= place < n:
        raise InputError(f"{name}: expected a whole number from {-n} to {n - 1}, got {shown(place)}")
    return int(place) % n
