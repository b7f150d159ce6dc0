"""The forward pass of a GPT-2, from ids to logits (Radford et al. 2019, section 2.3).

Enter: ids [n_batch, n_seq], the nested params, a GPTConfig, and `ops`: the module that does the arithmetic
(`nanogpt_np.ops`, or a faster twin of it). Leave: logits, and the named arrays of every step where asked.
Each room returns `(out, acts)`; training/backward.py reads the acts in reverse. With NumPy's ops every token that is
generated comes through forward(), the first one too; compiled ops make few tokens in one call, behind embed().
Next: gpt.py.
"""

from typing import Any, NamedTuple

import numpy as np

from .errors import InputError
from .params import STD, describe, unembedding


class AttentionActs(NamedTuple):
    """What one attention saw; n_key is n_seq, and with a cache all that was read so far.

    In a banded layer a cache gives only what is near: n_key is then at most window - 1 + n_seq.
    """

    x: Any  # [n_batch, n_seq, n_embd], the block's x after ln_1
    q: Any  # [n_batch, n_head, n_seq, d_head]
    k: Any  # [n_batch, n_head, n_key, d_head]
    v: Any  # [n_batch, n_head, n_key, d_head]
    probs: Any  # [n_batch, n_head, n_seq, n_key], before dropout
    merged: Any  # [n_batch, n_seq, n_embd]
    probs_keep: Any = None  # bool, of the shape of probs: what dropout kept; None outside training

    @property
    def scores(self):  # -> [n_batch, n_head, n_seq, n_key]
        """How well each query agrees with each key: q k^T, before it is scaled by 1 / sqrt(d_head) and masked.

        Made anew each time, so that training need not keep it.
        """
        return self.q @ self.k.swapaxes(-1, -2)

    __repr__ = describe


class FFNActs(NamedTuple):
    """What one feed-forward network saw."""

    x: Any  # [n_batch, n_seq, n_embd], the residual stream after ln_2
    pre_gelu: Any  # [n_batch, n_seq, n_hidden]
    hidden: Any  # [n_batch, n_seq, n_hidden]

    __repr__ = describe


class BlockActs(NamedTuple):
    """What one block saw: the residual stream on entry and between its two halves, and what each half added."""

    x: Any  # [n_batch, n_seq, n_embd], and so all arrays here
    attn: AttentionActs
    attn_out: Any
    x_mid: Any
    ffn: FFNActs
    ffn_out: Any
    attn_keep: Any = None  # bool: what dropout kept of attn_out; None outside training
    ffn_keep: Any = None

    __repr__ = describe


class GPTActs(NamedTuple):
    """What the whole model saw."""

    ids: Any  # [n_batch, n_seq]
    positions: Any  # [n_batch or 1, n_seq]
    embedded: Any  # [n_batch, n_seq, n_embd]
    blocks: list  # of BlockActs, [n_layer]
    x: Any  # [n_batch, n_seq or 1, n_embd], the residual stream after the last block
    final: Any  # [n_batch, n_seq or 1, n_embd], x after ln_f
    embedded_keep: Any = None  # bool: what dropout kept of embedded; None outside training

    __repr__ = describe


class Visible(NamedTuple):
    """What each query may see where rows come and go, each as long as its own text, and some layers have bands."""

    whole: Any  # bool [n_batch, 1, 1, n_key] of a dense layer's keys, each row's own first; or None: everything
    near: Any  # bool [n_batch, 1, 1, n_near] of a banded layer's, each row's own last; or None


class Dropout(NamedTuple):
    """How to drop in training: the share of values, and the generator that chooses them."""

    rate: float
    rng: np.random.Generator


def forward(ids, params, config, ops, *, mask=None, cache=None, last_only=False, keep_acts=False):
    """-> logits [n_batch, n_seq, n_vocab] ([n_batch, 1, n_vocab] with `last_only`), acts (None unless `keep_acts`).

    `mask` [n_batch, n_seq] is 0 at padding; positions count real tokens only. With a `cache`, `ids` continue
    what it holds. InputError where the text is longer than the context.
    """
    final, acts = trunk(ids, params, config, ops, mask=mask, cache=cache, last_only=last_only, keep_acts=keep_acts)
    return ops.unembed(final, unembedding(params)), acts


def trunk(ids, params, config, ops, *, mask=None, cache=None, last_only=False, keep_acts=False, dropout=None):
    """All of the model up to the logits -> the last layer norm's output [n_batch, n_seq, n_embd], acts."""
    positions, visible = place(ids.shape, config, ops, mask, cache)
    embedded = embed(ids, positions, params, config, ops)
    x, embedded_keep = drop(embedded, dropout, ops)
    blocks = []
    for layer, block_params in enumerate(params["h"]):
        is_end = last_only and not keep_acts and layer == config.n_layer - 1  # only one token is still needed
        x, acts = block(x, block_params, config, ops, visible, cache, layer, dropout, is_end)
        if keep_acts:
            blocks.append(acts)
        del acts  # unless they are kept, the next block can have their memory
    if cache is not None:
        cache.advance(ids.shape[1])
    if last_only:
        x = x[:, -1:]
    final = ops.layer_norm(x, **params["ln_f"], eps=config.layer_norm_eps)
    acts = GPTActs(ids, positions, embedded, blocks, x, final, embedded_keep) if keep_acts else None
    return final, acts


def place(shape, config, ops, mask, cache):
    """-> positions [n_batch or 1, n_seq], and what each query may see (None: everything).

    `visible` is bool [n_seq, n_key], or [n_batch, 1, n_seq or 1, n_key] where there is padding, or a Visible.
    """
    n_seq = shape[1]
    start = 0 if cache is None else cache.length
    if start + n_seq > config.n_ctx:
        raise InputError(f"expected at most n_ctx = {config.n_ctx} tokens, got {start + n_seq}; shorten the text")
    if cache is not None:
        cache.reserve(n_seq, mask)
        mask = cache.mask[:, : start + n_seq]
    causal = None if n_seq == 1 else ops.causal_mask(n_seq, start + n_seq)
    if mask is None or np.all(mask):
        return np.arange(start, start + n_seq)[None], causal
    real = np.asarray(mask, bool)
    positions = np.maximum(np.cumsum(real, axis=1) - 1, 0)[:, start:]
    visible = real[:, None, None, :]
    if cache is not None and cache.ends is not None:
        return positions, Visible(visible, visible[..., ::-1][..., -cache.window :])
    return positions, visible if causal is None else causal & visible  # -> [n_batch, 1, n_query, n_key]


def narrow(visible, window, n_query, n_key, ops):
    """What place() lets each query see -> what a banded layer lets it see of the last `n_key` keys, None: all of them.

    The same as ops.band_mask over all keys, and padding hidden. `window` None: a dense layer, and `visible` as it is.
    """
    if isinstance(visible, Visible):  # one new token of each row, and place() knows what is near
        return visible.whole if window is None else visible.near
    if window is None:
        return visible
    visible = None if visible is None else visible[..., -n_key:]
    if n_key <= window:  # nothing lies before the band of any query
        return visible
    band = ops.band_mask(n_query, n_key, window)
    return band if visible is None else visible & band


def embed(ids, positions, params, config, ops):  # [n_batch, n_seq] -> [n_batch, n_seq, n_embd]
    """A token is the sum of what it is (wte) and where it stands (wpe, or sines).

    Sines must not drown the tokens. Vaswani et al. 2017 (3.4) multiply tokens by sqrt(n_embd), up to the size of the
    sines; here the sines come down to the size of fresh tokens, STD. Divide all of their residual stream by one factor,
    with what each block adds to it, and it is this: layer norms remove the factor. A GPT-2 whose wpe holds these scaled
    sines computes the same, so that is how they are stored.
    """
    tokens = ops.embedding(ids, params["wte"]["weight"])
    if config.positions == "sinusoidal":
        return tokens + STD * ops.sinusoidal_positions(positions, config.n_embd, tokens.dtype)
    return tokens + ops.embedding(positions, params["wpe"]["weight"])


def block(x, params, config, ops, visible, cache=None, layer=0, dropout=None, last_only=False):
    """x + attention(ln_1(x)), then that + ffn(ln_2(that)): [n_batch, n_seq, n_embd] -> the same (or n_seq = 1), acts.

    Layer norms stand before each half, not behind it (Radford et al. 2019, section 2.3). With `last_only` the last
    token alone goes all the way; the others leave their keys and values, and nobody asks for more of them.
    """
    normed = ops.layer_norm(x, **params["ln_1"], eps=config.layer_norm_eps)
    attn_out, attn_acts = attention(normed, params["attn"], config, ops, visible, cache, layer, dropout, last_only)
    if last_only:
        x = x[:, -1:]
    dropped, attn_keep = drop(attn_out, dropout, ops)
    x_mid = x + dropped
    normed = ops.layer_norm(x_mid, **params["ln_2"], eps=config.layer_norm_eps)
    ffn_out, ffn_acts = ffn(normed, params["mlp"], config, ops)
    dropped, ffn_keep = drop(ffn_out, dropout, ops)
    out = x_mid + dropped
    return out, BlockActs(x, attn_acts, attn_out, x_mid, ffn_acts, ffn_out, attn_keep, ffn_keep)


def attention(x, params, config, ops, visible, cache=None, layer=0, dropout=None, last_only=False):
    """Each token asks (q), is asked (k), and hands over (v); n_head conversations at once (Vaswani et al. 2017, 3.2).

    x: [n_batch, n_seq, n_embd]. `visible`: see place(); in a banded `layer` only what is near of it. Keys and values go
    into the `cache`, and what it gives back is looked at (Shazeer 2019, section 2.4). With `last_only` only the last
    token asks.
    """
    qkv = ops.linear(x, **params["c_attn"])  # -> [n_batch, n_seq, 3*n_embd]
    q, k, v = (ops.split_heads(part, config.n_head) for part in np.split(qkv, 3, axis=-1))
    if cache is not None:
        k, v = cache.append(layer, k, v)  # -> [n_batch, n_head, n_key, d_head]
    visible = narrow(visible, config.window_of(layer), q.shape[2], k.shape[2], ops)
    if last_only:
        q, visible = q[:, :, -1:], None if visible is None else visible[..., -1:, :]
    probs = ops.attention_probs(q, k, visible)  # -> [n_batch, n_head, n_seq, n_key]
    dropped, probs_keep = drop(probs, dropout, ops)
    merged = ops.merge_heads(ops.attention_mix(dropped, v))  # -> [n_batch, n_seq, n_embd]
    out = ops.linear(merged, **params["c_proj"])
    return out, AttentionActs(x, q, k, v, probs, merged, probs_keep)


def ffn(x, params, config, ops):  # [n_batch, n_seq, n_embd] -> the same
    """Widen, bend, narrow again: each token by itself (Vaswani et al. 2017, 3.3)."""
    pre_gelu = ops.linear(x, **params["c_fc"])  # -> [n_batch, n_seq, n_hidden]
    hidden = activate(pre_gelu, config, ops)
    out = ops.linear(hidden, **params["c_proj"])  # -> [n_batch, n_seq, n_embd]
    return out, FFNActs(x, pre_gelu, hidden)


def activate(x, config, ops):
    """The bend, value by value, as the config names it; in GPT-2 gelu_new."""
    if config.activation == "gelu_new":
        return ops.gelu_new(x)
    return ops.relu(x) if config.activation == "relu" else ops.gelu(x)


def drop(x, dropout, ops):
    """-> x with some values dropped, and which were kept (bool, same shape); x itself and None outside training."""
    if dropout is None:
        return x, None
    keep = dropout.rng.random(x.shape, dtype=np.float32) >= dropout.rate
    return ops.dropout(x, keep, dropout.rate), keep
