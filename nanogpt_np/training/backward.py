"""The backward pass, room by room the mirror of model.py: read the two side by side.

Enter: the gradient of a room's output and the acts it returned. Leave: the gradient of its input, and the gradients
of its parameters as a dict of the same names. The chain rule itself stands in ops.py, one `_backward` per op.
Next: training/finite_differences.py.
"""

import numpy as np

from .. import model
from ..params import Named

KEPT_LOGITS = 1 << 25  # numbers; more are made twice, as they would fill the memory (128 MiB in float32)


def loss_and_grads(ids, targets, params, config, ops, *, n_counted=None, dropout=None, n_idle=0):
    """-> mean cross-entropy (nats per token, a float) and its gradient for every parameter, nested like `params`.

    `ids`, `targets`: [n_batch, n_seq]; a target of ops.IGNORE (-100) does not count. `n_counted` is what the sum is
    divided by: by default the targets that count here; for accumulation pass the number over all micro-batches,
    then losses and gradients of the parts add up to those of the whole. `n_idle`: see stages_backward.
    """
    loss, stages = loss_and_stages(
        ids, targets, params, config, ops, n_counted=n_counted, dropout=dropout, n_idle=n_idle
    )
    return loss, Named(collected(stages, config))


def loss_and_stages(ids, targets, params, config, ops, *, n_counted=None, dropout=None, n_idle=0):
    """As loss_and_grads -> the loss, and an iterator over (name, gradients) of each stage as stages_backward has them.

    With `lm_head` in the first of them, or what it adds to a tied wte in the last: who puts each stage's gradients
    away as they come never holds all of them.
    """
    final, acts = model.trunk(ids, params, config, ops, keep_acts=True, dropout=dropout)
    rows, targets = final.reshape(-1, config.n_embd), targets.reshape(-1)
    weight = model.unembedding(params)
    few_enough = len(rows) * weight.shape[0] <= KEPT_LOGITS
    logits = np.empty((len(rows), weight.shape[0]), rows.dtype) if few_enough else None
    losses, log_z = ops.cross_entropy(rows, weight, targets, logits=logits)
    n_counted = n_counted or max(int((targets != ops.IGNORE).sum()), 1)
    dlosses = np.full(len(rows), 1.0 / n_counted, rows.dtype)
    dfinal, dunembedding = ops.cross_entropy_backward(dlosses, rows, weight, targets, log_z, logits=logits)
    del logits
    trunk = stages_backward(dfinal.reshape(final.shape), acts, params, config, ops, dropout, n_idle)
    return float(losses.sum(dtype=np.float64)) / n_counted, _with_unembedding(trunk, dunembedding, "lm_head" in params)


def _with_unembedding(stages, dunembedding, has_head):
    """The stages of a trunk, and the gradient of the matrix that made the logits where it belongs."""
    if has_head:
        yield "lm_head", {"weight": dunembedding}
    for name, grads in stages:
        if name == "wte" and not has_head:
            grads["weight"] += dunembedding  # tied: the same matrix was used twice
        yield name, grads


def trunk_backward(dfinal, acts, params, config, ops, dropout=None, n_idle=0):
    """-> the gradients of all parameters but `lm_head`, nested; everything else is as for stages_backward."""
    return collected(stages_backward(dfinal, acts, params, config, ops, dropout, n_idle), config)


def collected(stages, config):
    """The nested gradients of (name, gradients) of each stage: {"h": [...], "ln_f": {...}, "wte": {...}, "wpe": {...}}

    Blocks that no gradient went through are None.
    """
    grads, found = {"h": [None] * config.n_layer}, {}
    for name, of_stage in stages:
        if name.startswith("h."):
            grads["h"][int(name[2:])] = of_stage
        else:
            found[name] = of_stage
    return grads | {name: found[name] for name in ("ln_f", "wte", "wpe", "lm_head") if name in found}


def stages_backward(dfinal, acts, params, config, ops, dropout=None, n_idle=0):
    """Yield (name, gradients) of ln_f, of the blocks from the last to the first, of wte, of wpe, each as it is done.

    dfinal: [n_batch, n_seq, n_embd]. `n_idle` lowest stages are not gone through, as nothing in them learns: 1 is the
    embeddings, 2 the first block too, n_layer + 1 all but ln_f (see parts.n_idle). Uses `acts.blocks` up: the list is
    empty afterwards.
    """
    dx, dweight, dbias = ops.layer_norm_backward(dfinal, acts.x, **params["ln_f"], eps=config.layer_norm_eps)
    yield "ln_f", {"weight": dweight, "bias": dbias}
    for layer in reversed(range(max(n_idle - 1, 0), config.n_layer)):
        block_acts = acts.blocks.pop()  # read for the last time: its arrays are freed while the next block works
        dx, grads = block_backward(dx, block_acts, params["h"][layer], config, ops, dropout)
        yield f"h.{layer}", grads
        del grads
    if n_idle:
        acts.blocks.clear()
        return
    dx = drop_backward(dx, acts.embedded_keep, dropout, ops)
    yield from embed_backward(dx, acts, params, config, ops).items()


def embed_backward(dx, acts, params, config, ops):  # [n_batch, n_seq, n_embd] -> the gradients of wte and wpe
    """Undo `wte[ids] + wpe[positions]`; a position was used by every text of the batch. Sines learn nothing."""
    grads = {"wte": {"weight": ops.embedding_backward(dx, acts.ids, params["wte"]["weight"])}}
    if config.positions == "learned":
        positions = np.broadcast_to(acts.positions, acts.ids.shape)
        grads["wpe"] = {"weight": ops.embedding_backward(dx, positions, params["wpe"]["weight"])}
    return grads


def block_backward(dout, acts, params, config, ops, dropout=None):
    """Undo `x_mid = x + attention(ln_1(x)); out = x_mid + ffn(ln_2(x_mid))`: a sum hands its gradient to both sides.

    dout: [n_batch, n_seq, n_embd] -> dx, the same; the gradients of the block's parameters.
    """
    grads = {}
    dhalf = drop_backward(dout, acts.ffn_keep, dropout, ops)
    dnormed, grads["mlp"] = ffn_backward(dhalf, acts.ffn, params["mlp"], config, ops)
    dx, grads["ln_2"] = layer_norm_backward(dnormed, acts.x_mid, params["ln_2"], config, ops)
    dx += dout
    dhalf = drop_backward(dx, acts.attn_keep, dropout, ops)
    dnormed, grads["attn"] = attention_backward(dhalf, acts.attn, params["attn"], config, ops, dropout)
    dx_in, grads["ln_1"] = layer_norm_backward(dnormed, acts.x, params["ln_1"], config, ops)
    dx_in += dx
    return dx_in, grads


def attention_backward(dout, acts, params, config, ops, dropout=None):
    """Undo `out = linear(merge(probs @ v))` with `probs = softmax(q k^T / sqrt(d_head))`, `q, k, v = split(linear(x))`.

    dout: [n_batch, n_seq, n_embd] -> dx, the same; the gradients of c_attn and c_proj.
    """
    grads = {}
    dmerged, grads["c_proj"] = linear_backward(dout, acts.merged, params["c_proj"], ops)
    dmixed = ops.split_heads(dmerged, config.n_head)  # -> [n_batch, n_head, n_seq, d_head]
    dropped = acts.probs if dropout is None else ops.dropout(acts.probs, acts.probs_keep, dropout.rate)
    ddropped, dv = ops.attention_mix_backward(dmixed, dropped, acts.v)
    dprobs = drop_backward(ddropped, acts.probs_keep, dropout, ops)  # -> [n_batch, n_head, n_seq, n_seq]
    dq, dk = ops.attention_probs_backward(dprobs, acts.q, acts.k, acts.probs)
    dqkv = np.concatenate([ops.merge_heads(part) for part in (dq, dk, dv)], axis=-1)  # -> [.., 3*n_embd]
    dx, grads["c_attn"] = linear_backward(dqkv, acts.x, params["c_attn"], ops)
    return dx, grads


def ffn_backward(dout, acts, params, config, ops):  # [n_batch, n_seq, n_embd] -> the same, the gradients of two layers
    """Undo `out = linear(activate(linear(x)))`."""
    grads = {}
    dhidden, grads["c_proj"] = linear_backward(dout, acts.hidden, params["c_proj"], ops)  # -> [.., n_hidden]
    dpre_gelu = activate_backward(dhidden, acts.pre_gelu, config, ops)
    dx, grads["c_fc"] = linear_backward(dpre_gelu, acts.x, params["c_fc"], ops)
    return dx, grads


def activate_backward(dout, x, config, ops):
    """Undo model.activate."""
    if config.activation == "gelu_new":
        return ops.gelu_new_backward(dout, x)
    return ops.relu_backward(dout, x) if config.activation == "relu" else ops.gelu_backward(dout, x)


def linear_backward(dout, x, params, ops):  # [..., n_out] -> [..., n_in], gradients
    """-> dx, {"weight": …, "bias": …}"""
    dx, dweight, dbias = ops.linear_backward(dout, x, **params)
    return dx, {"weight": dweight, "bias": dbias}


def layer_norm_backward(dout, x, params, config, ops):  # [..., n_embd] -> the same, gradients
    """-> dx, {"weight": …, "bias": …}"""
    dx, dweight, dbias = ops.layer_norm_backward(dout, x, **params, eps=config.layer_norm_eps)
    return dx, {"weight": dweight, "bias": dbias}


def drop_backward(dx, keep, dropout, ops):
    """Undo model.drop."""
    return dx if dropout is None else ops.dropout_backward(dx, keep, dropout.rate)
