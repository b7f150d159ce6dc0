"""Every operation of a GPT-2 in plain NumPy, each directly above its backward. This is the definition.

Enter: arrays of any float dtype. Leave: new arrays of the same dtype. Nothing here keeps state, draws random
numbers or knows a layer's name; fast twins of this module have the same names and signatures.
A backward takes the gradient of the output first and returns gradients in the order of the inputs.
Constants are Python floats: a NumPy scalar such as np.sqrt(2 / np.pi) would turn float32 into float64.
Next: kv_cache.py.
"""

import math

import numpy as np

IGNORE = -100  # a target that does not count, as in PyTorch

# ---------------------------------------------------------------- into the residual stream


def embedding(ids, weight):  # [...], [n_rows, n_embd] -> [..., n_embd]
    """The rows of `weight` at `ids`: onehot(ids) @ weight, without the zeros (Bengio et al. 2003, section 2)."""
    return weight[ids]


def embedding_backward(dout, ids, weight):  # [..., n_embd] -> [n_rows, n_embd]
    """Undo `weight[ids]`: a row that was read several times receives the sum."""
    ids, dout = ids.reshape(-1), dout.reshape(-1, dout.shape[-1])
    order = np.argsort(ids, kind="stable")  # equal ids side by side: one reduceat instead of a slow add.at
    found, starts = np.unique(ids[order], return_index=True)
    dweight = np.zeros_like(weight)
    dweight[found] = np.add.reduceat(dout[order], starts, axis=0)
    return dweight


def sinusoidal_positions(positions, n_embd, dtype):  # [...] -> [..., n_embd]
    """Sine in even columns, cosine in odd ones, wavelengths from 2 pi to 10000 * 2 pi (Vaswani et al. 2017, 3.5).

    `positions`: whole numbers; n_embd is even.
    """
    frequency = np.exp(np.arange(0, n_embd, 2) * (-math.log(10000.0) / n_embd))
    angle = positions[..., None] * frequency
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(*positions.shape, n_embd).astype(dtype)


# ---------------------------------------------------------------- the pieces of a block


def layer_norm(x, weight, bias, eps=1e-5):  # [..., n_embd], [n_embd], [n_embd] -> [..., n_embd]
    """Each row to mean 0 and variance 1, then scaled and shifted (Ba et al. 2016, section 3)."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + eps) * weight + bias


def layer_norm_backward(dout, x, weight, bias, eps=1e-5):  # [..., n_embd] -> [..., n_embd], [n_embd], [n_embd]
    """-> dx, dweight, dbias; undoes `centred / std * weight + bias`."""
    centred = x - x.mean(axis=-1, keepdims=True)
    std = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + eps)
    normed = centred / std
    dnormed = dout * weight
    # With normed = (x - mean) / std over a row of n:  d mean / d x_j = 1/n,  d std / d x_j = normed_j / n,  so
    # d normed_i / d x_j = (1[i = j] - 1/n - normed_i normed_j / n) / std.  Times dnormed_i, summed over i: dx_j.
    dx = dnormed - dnormed.mean(axis=-1, keepdims=True)
    dx -= normed * (dnormed * normed).mean(axis=-1, keepdims=True)
    dx /= std
    rows = tuple(range(x.ndim - 1))
    return dx, (dout * normed).sum(axis=rows), dout.sum(axis=rows)


def linear(x, weight, bias):  # [..., n_in], [n_in, n_out], [n_out] -> [..., n_out]
    """x @ weight + bias, as one matrix product over all rows."""
    out = x.reshape(-1, x.shape[-1]) @ weight
    out += bias
    return out.reshape(*x.shape[:-1], weight.shape[1])


def linear_backward(dout, x, weight, bias):  # [..., n_out] -> [..., n_in], [n_in, n_out], [n_out]
    """-> dx, dweight, dbias; undoes `x @ weight + bias`."""
    rows, drows = x.reshape(-1, x.shape[-1]), dout.reshape(-1, dout.shape[-1])
    return (drows @ weight.T).reshape(x.shape), rows.T @ drows, drows.sum(axis=0)


def split_heads(x, n_head):  # [n_batch, n_seq, n_embd] -> [n_batch, n_head, n_seq, d_head]
    """Cut the width into heads; its backward is merge_heads."""
    n_batch, n_seq, n_embd = x.shape
    return x.reshape(n_batch, n_seq, n_head, n_embd // n_head).transpose(0, 2, 1, 3)


def merge_heads(x):  # [n_batch, n_head, n_seq, d_head] -> [n_batch, n_seq, n_embd]
    """Put the heads side by side again; its backward is split_heads."""
    n_batch, n_head, n_seq, d_head = x.shape
    return x.transpose(0, 2, 1, 3).reshape(n_batch, n_seq, n_head * d_head)


def causal_mask(n_query, n_key):  # -> bool [n_query, n_key]
    """True where a query may look: at itself and everything before; the last query is the last key.

    causal_mask(2, 3) -> [[True, True, False], [True, True, True]]
    """
    return np.tri(n_query, n_key, n_key - n_query, dtype=bool)


def band_mask(n_query, n_key, window):  # -> bool [n_query, n_key]
    """True where a query of a banded layer may look: at itself and the `window` - 1 keys before (Child et al. 2019, 4).

    band_mask(2, 3, window=2) -> [[True, True, False], [False, True, True]]
    """
    return causal_mask(n_query, n_key) & ~np.tri(n_query, n_key, n_key - n_query - window, dtype=bool)


def softmax(x):  # [..., n] -> [..., n]
    """exp(x) / sum(exp(x)) along the last axis, shifted by the maximum so that nothing overflows."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_backward(dout, out):  # [..., n] -> [..., n]
    """-> dx from the softmax's own output: out * (dout - sum(dout * out))."""
    return out * (dout - (dout * out).sum(axis=-1, keepdims=True))


def softmax_scores(scores, visible, scale):  # [..., n_query, n_key] -> the same
    """Scale, hide what may not be seen, softmax (Vaswani et al. 2017, equation 1).

    `visible` is a bool mask that broadcasts to `scores`, or None where everything may be seen.
    A query that may see nothing (padding) gets zeros, not NaN.
    """
    scores = scores * scale
    if visible is None:
        return softmax(scores)
    np.copyto(scores, -math.inf, where=~visible)
    top = scores.max(axis=-1, keepdims=True)
    scores -= np.maximum(top, np.finfo(scores.dtype).min)  # a row of -inf would give inf - inf
    e = np.exp(scores, out=scores)
    total = e.sum(axis=-1, keepdims=True)
    e /= np.where(total > 0, total, 1).astype(e.dtype)
    return e


def attention_probs(q, k, visible):  # [n_batch, n_head, n_query, d_head] -> [n_batch, n_head, n_query, n_key]
    """How much each query looks at each key: softmax(q k^T / sqrt(d_head)) (Vaswani et al. 2017, 3.2.1)."""
    return softmax_scores(q @ k.swapaxes(-1, -2), visible, 1.0 / math.sqrt(q.shape[-1]))


def attention_probs_backward(dprobs, q, k, probs):  # [n_batch, n_head, n_query, n_key] -> the shapes of q and k
    """-> dq, dk; undoes `softmax(q k^T / sqrt(d_head))`; hidden places have probability 0 and so pass nothing."""
    dscores = softmax_backward(dprobs, probs)
    dscores *= 1.0 / math.sqrt(q.shape[-1])
    return dscores @ k, dscores.swapaxes(-1, -2) @ q


def attention_mix(probs, v):  # [.., n_query, n_key], [.., n_key, d_head] -> [.., n_query, d_head]
    """The values, averaged with the probabilities as weights."""
    return probs @ v


def attention_mix_backward(dout, probs, v):  # [.., n_query, d_head] -> the shapes of probs and v
    """-> dprobs, dv; undoes `probs @ v`."""
    return dout @ v.swapaxes(-1, -2), probs.swapaxes(-1, -2) @ dout


def gelu_new(x):  # [...] -> [...], and so all activations
    """GPT-2's GELU: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (Hendrycks & Gimpel 2016, section 2)."""
    return 0.5 * x * (1.0 + np.tanh(_GELU_SCALE * (x + _GELU_CUBE * (x * x * x))))


def gelu_new_backward(dout, x):
    """-> dx; the product rule on 0.5 x (1 + tanh(u))."""
    square = x * x
    t = np.tanh(_GELU_SCALE * x * (1.0 + _GELU_CUBE * square))
    du = _GELU_SCALE * (1.0 + 3.0 * _GELU_CUBE * square)
    return dout * (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * du)


def gelu(x):
    """The exact GELU, x times the normal distribution's share below x (Hendrycks & Gimpel 2016, section 2)."""
    return x * _normal_cdf(x)


def gelu_backward(dout, x):
    """-> dx; the derivative of the normal distribution is its density exp(-x^2 / 2) / sqrt(2 pi)."""
    density = np.exp(-0.5 * x * x) * (1.0 / math.sqrt(2.0 * math.pi))
    return dout * (_normal_cdf(x) + x * density)


def relu(x):
    """x where it is positive, else 0 (Nair & Hinton 2010, section 2). relu([-1.0, 2.0]) -> [0.0, 2.0]"""
    return np.maximum(x, 0)


def relu_backward(dout, x):
    """-> dx; the slope is 1 where x is positive and 0 elsewhere, at 0 too."""
    return dout * (x > 0)


def dropout(x, keep, rate):  # [...], bool of the same shape
    """Zero where `keep` is False; the rest grows so that the mean stays (Srivastava et al. 2014, section 10)."""
    return x * keep * (1.0 / (1.0 - rate))


def dropout_backward(dout, keep, rate):
    """-> dx; a dropped value had no influence."""
    return dout * keep * (1.0 / (1.0 - rate))


# ---------------------------------------------------------------- out of the residual stream


def unembed(x, weight):  # [..., n_embd], [n_vocab, n_embd] -> [..., n_vocab]
    """Logits, x @ weight.T: how well x agrees with each token's row.

    In GPT-2 these are the rows of the embedding (Press & Wolf 2017). One x, or many, BLAS multiplies fast by itself;
    a few, such as the newest tokens of eight texts, faster in pieces of the vocabulary, and from the right.
    """
    rows = x.reshape(-1, x.shape[-1])
    if 1 < len(rows) <= _FEW_ROWS:
        logits = np.empty((len(rows), len(weight)), np.result_type(x, weight))
        for start in range(0, len(weight), _PIECE):
            logits[:, start : start + _PIECE] = (weight[start : start + _PIECE] @ rows.T).T
    else:
        logits = rows @ weight.T
    return logits.reshape(*x.shape[:-1], len(weight))


def unembed_backward(dlogits, x, weight):  # [..., n_vocab] -> [..., n_embd], [n_vocab, n_embd]
    """-> dx, dweight; undoes `x @ weight.T`."""
    rows, drows = x.reshape(-1, x.shape[-1]), dlogits.reshape(-1, dlogits.shape[-1])
    return (drows @ weight).reshape(x.shape), drows.T @ rows


def cross_entropy(x, weight, targets, chunk=4096, logits=None):  # [n, n_embd], [n_vocab, n_embd], [n] -> [n], [n]
    """-> losses (nats) and log_z: -log softmax(x @ weight.T)[target] for each row, 0 where the target is IGNORE.

    Works through `chunk` rows of the vocabulary at a time with a running maximum and sum (Milakov & Gimelshein 2018),
    so that the logits [n, n_vocab] never exist at once. `log_z` is what the backward needs. Where there is room for
    `logits`, they are left there, and the backward need not make them again.
    """
    top = np.full(len(x), -math.inf, x.dtype)
    total = np.zeros(len(x), x.dtype)
    picked = np.zeros(len(x), x.dtype)
    for start in range(0, len(weight), chunk):
        part = x @ weight[start : start + chunk].T
        if logits is not None:
            logits[:, start : start + chunk] = part
        higher = np.maximum(top, part.max(axis=-1))
        rows, columns = _targets_within(targets, start, part.shape[1])
        picked[rows] = part[rows, columns]
        part -= higher[:, None]
        total = total * np.exp(top - higher) + np.exp(part, out=part).sum(axis=-1)
        top = higher
    log_z = top + np.log(total)
    return np.where(targets == IGNORE, 0, log_z - picked).astype(x.dtype), log_z


def cross_entropy_backward(dlosses, x, weight, targets, log_z, chunk=4096, logits=None):
    """-> dx, dweight; the gradient of -log softmax at the logits is softmax - onehot, made again chunk by chunk.

    dlosses [n] -> dx [n, n_embd], dweight [n_vocab, n_embd]. `logits`, where cross_entropy left them, are used up.
    """
    dlosses = np.where(targets == IGNORE, 0, dlosses).astype(x.dtype)
    dx, dweight = np.zeros_like(x), np.empty_like(weight)
    for start in range(0, len(weight), chunk):
        part = weight[start : start + chunk]
        dlogits = x @ part.T if logits is None else logits[:, start : start + chunk]
        dlogits -= log_z[:, None]
        np.exp(dlogits, out=dlogits)
        dlogits[_targets_within(targets, start, len(part))] -= 1.0
        dlogits *= dlosses[:, None]
        dx += dlogits @ part
        dweight[start : start + chunk] = dlogits.T @ x
    return dx, dweight


# ---------------------------------------------------------------- learning


def sum_of_squares(x):
    """-> float, summed in float64: among millions of float32 squares the small ones would be lost."""
    flat, chunk = x.reshape(-1), 1 << 16  # in pieces, to save memory
    return sum(float(np.square(flat[i : i + chunk], dtype=np.float64).sum()) for i in range(0, flat.size, chunk))


def adam_step_(p, g, m, v, lr, betas, eps, n_steps, decay=0.0):
    """Move p in place against its gradient g (Kingma & Ba 2015, algorithm 1); `n_steps` counts this one.

    m and v follow g and g^2; both start at zero, which the division by 1 - beta^n_steps makes good. With `decay`,
    p itself shrinks a little first, whatever its gradient (Loshchilov & Hutter 2019, algorithm 2).
    """
    beta1, beta2 = betas
    if decay:
        p *= 1.0 - lr * decay
    m += (1.0 - beta1) * (g - m)
    v *= beta2
    v += (1.0 - beta2) * (g * g)
    size = np.sqrt(v)
    size *= 1.0 / math.sqrt(1.0 - beta2**n_steps)
    size += eps
    p -= (lr / (1.0 - beta1**n_steps)) * m / size


def _targets_within(targets, start, n):
    """Rows whose target lies in [start, start + n), and its column there."""
    rows = np.nonzero((targets >= start) & (targets < start + n))[0]
    return rows, targets[rows] - start


def _normal_cdf(x):
    """0.5 (1 + erf(x / sqrt 2)). NumPy has no erf; the C library's, value by value, is exact and slow."""
    return (0.5 * (1.0 + _erf(x * math.sqrt(0.5)).astype(np.float64))).astype(x.dtype)


_erf = np.frompyfunc(math.erf, 1, 1)
_GELU_SCALE = math.sqrt(2.0 / math.pi)
_GELU_CUBE = 0.044715
_FEW_ROWS, _PIECE = 32, 2048  # of x, that go through the vocabulary by so many of its rows
