"""The same picture backwards: how the loss depends on the residual stream, on each token, on each parameter.

Enter: a GPT and a text. Leave: gradients of the text's loss, of the shapes of what they are gradients of, and their
lengths. The chain rule is training/backward.py's, one half-block at a time. Next: lens/learning.py.
"""

from typing import NamedTuple

import numpy as np

from .. import ops as numpy_ops
from ..errors import InputError
from ..params import unembedding, walk
from ..training import backward
from .seen import check_place, look, need_floats, stream


class GradientsView(NamedTuple):
    """How the loss of a text depends on what the model computed; `loss` is the mean over the tokens that count."""

    tokens: list  # [n_seq] of str
    loss: float  # nats per token
    names: list  # [2 * n_layer + 1] of str: "embedded", "L0.attn", "L0.ffn", …
    stream: np.ndarray  # [2 * n_layer + 1, n_seq, n_embd], the gradient at the residual stream behind each of them
    norms: np.ndarray  # float64 [2 * n_layer + 1, n_seq], its length
    times_input: np.ndarray  # float64 [n_seq], gradient times embedding: to first order, what a token does to the loss
    params: dict  # name -> float, the length of each parameter's gradient
    heads: np.ndarray  # float64 [n_layer, n_head], the length of the gradient at what each head hands over
    times_head: np.ndarray  # float64 [n_layer, n_head], that gradient times it: to first order, what a head does to it
    times_ffn: np.ndarray  # float64 [n_layer], the same of what each feed-forward network adds
    through: np.ndarray  # float64 [2 * n_layer, n_seq], the length of what each half-block adds to it on its way back


def gradients_view(gpt, prompt, position=None):
    """The gradients of a text's loss -> GradientsView.

    The loss is the mean over all next tokens, or of the one behind `position` alone. InputError for a text of one
    token, for the last position, behind which nothing is known, and for int8, which is for generating only.
    """
    need_floats(gpt, "gradients")
    seen = look(gpt, prompt)
    if len(seen.ids) < 2:
        raise InputError("prompt: expected at least two tokens, got one; without a next token there is no loss")
    loss, dfinal, dhead = _at_the_end(gpt, seen, position)
    acts, params, config = seen.acts, gpt.params, gpt.config
    dx, *dnorm = gpt.ops.layer_norm_backward(dfinal, acts.x, **params["ln_f"], eps=config.layer_norm_eps)
    grads = {"h": [None] * config.n_layer, "ln_f": dict(zip(("weight", "bias"), dnorm, strict=True))}
    places, of_heads = [dx[0]], []
    for layer in reversed(range(config.n_layer)):
        dmid, dx, grads["h"][layer] = _halves(gpt, dx, acts.blocks[layer], params["h"][layer])
        places += [dmid[0], dx[0]]
        of_heads.append(_at_heads(gpt, dmid, acts.blocks[layer].attn, params["h"][layer]["attn"]))
    lengths_of_heads, times_head = np.array(of_heads[::-1]).swapaxes(0, 1)
    grads |= backward.embed_backward(dx, acts, params, config, gpt.ops)
    if "lm_head" in params:
        grads["lm_head"] = {"weight": dhead}
    else:
        grads["wte"]["weight"] = grads["wte"]["weight"] + dhead  # tied: the same matrix was used twice
    names, x = stream(acts)
    dstream = np.stack(places[::-1])
    by_token = (dstream[0].astype(np.float64) * x[0]).sum(axis=-1)
    lengths = {name: float(np.linalg.norm(array.astype(np.float64))) for name, array in walk(grads)}
    norms = np.linalg.norm(dstream.astype(np.float64), axis=-1)
    of_parts = (lengths_of_heads, times_head, *_at_halves(dstream, x))
    return GradientsView(seen.tokens, loss, names, dstream, norms, by_token, lengths, *of_parts)


def pattern_gradients(gpt, prompt, view):
    """The gradient at each share of each head's attention, times the share -> [n_layer, n_head, n_seq, n_seq].

    To first order, what each look back does to the loss; a head's own sum is its `times_head`. `view`: gradients_view
    of the same prompt. What the mask hides has no share, and gives 0.
    """
    seen, (n_head, d_head) = look(gpt, prompt), (gpt.config.n_head, gpt.config.d_head)
    found = []
    for layer, block in enumerate(seen.acts.blocks):
        dmerged = view.stream[2 * layer + 1] @ gpt.params["h"][layer]["attn"]["c_proj"]["weight"].T
        dmixed = dmerged.reshape(-1, n_head, d_head).swapaxes(0, 1)  # [n_head, n_seq, d_head]
        found.append(dmixed @ block.attn.v[0].swapaxes(1, 2) * block.attn.probs[0])
    return np.stack(found)


def _at_the_end(gpt, seen, position):
    """-> the loss, its gradient at ln_f's output [1, n_seq, n_embd] and at the unembedding [n_vocab, n_embd]."""
    targets = np.append(seen.ids[1:], numpy_ops.IGNORE)
    if position is not None:
        position = check_place("position", position, len(seen.ids) - 1)
        targets[np.arange(len(targets)) != position] = numpy_ops.IGNORE
    final, weight = seen.acts.final[0], unembedding(gpt.params)
    losses, log_z = gpt.ops.cross_entropy(final, weight, targets)
    n_counted = int((targets != numpy_ops.IGNORE).sum())
    dlosses = np.full(len(targets), 1.0 / n_counted, final.dtype)
    dfinal, dhead = gpt.ops.cross_entropy_backward(dlosses, final, weight, targets, log_z)
    return float(losses.sum(dtype=np.float64)) / n_counted, dfinal[None], dhead


def _at_heads(gpt, dmid, acts, params):
    """The gradient at what each head hands over, its length and times that -> two of float64 [n_head]."""
    merged = acts.merged[0].astype(np.float64).reshape(-1, gpt.config.n_head, gpt.config.d_head)
    dmerged = (dmid[0].astype(np.float64) @ params["c_proj"]["weight"].T).reshape(merged.shape)
    return np.sqrt(np.square(dmerged).sum(axis=(0, 2))), (dmerged * merged).sum(axis=(0, 2))


def _at_halves(dstream, x):
    """The gradient times what each feed-forward network adds, the length of what each half-block adds to the gradient.

    x' = x + ffn(x), so dx = dx' + what came back through ffn: both of them are differences of neighbouring places.
    """
    dstream, x = dstream.astype(np.float64), x.astype(np.float64)
    times_ffn = (dstream[2::2] * (x[2::2] - x[1::2])).sum(axis=(1, 2))
    return times_ffn, np.linalg.norm(np.diff(dstream, axis=0), axis=-1)


def _halves(gpt, dout, acts, params):
    """backward.block_backward with a stop between the halves -> dx_mid, dx, the gradients of the parameters."""
    ops, config, grads = gpt.ops, gpt.config, {}
    dnormed, grads["mlp"] = backward.ffn_backward(dout, acts.ffn, params["mlp"], config, ops)
    dmid, grads["ln_2"] = backward.layer_norm_backward(dnormed, acts.x_mid, params["ln_2"], config, ops)
    dmid = dmid + dout
    dnormed, grads["attn"] = backward.attention_backward(dmid, acts.attn, params["attn"], config, ops)
    dx, grads["ln_1"] = backward.layer_norm_backward(dnormed, acts.x, params["ln_1"], config, ops)
    return dmid, dx + dmid, grads
