"""What training alone needs, on all cores: the loss of many logits, the length of a gradient, Adam's step.

Enter and leave: as in ops.py. Next: kernels/addresses.py.
"""

import math

import numpy as np
from numba import float32, float64, int64, intp, void

from .. import ops
from ..ops import IGNORE
from .compile import exact, inner, kernel, read
from .cores import spread
from .math import SMALL, ZERO, exp, is_float32, number_of, order_of
from .products import product, share

CHUNK = 1 << 16  # numbers whose squares are summed together, whatever the number of threads


# ---------------------------------------------------------------- loss


def cross_entropy(x, weight, targets, chunk=4096, logits=None):
    """See ops.cross_entropy."""
    if not is_float32(x, weight):
        return ops.cross_entropy(x, weight, targets, chunk, logits)
    chunk = chunk if logits is None else len(weight)
    top = np.full(len(x), -math.inf, np.float32)
    total, picked = np.zeros(len(x), np.float32), np.zeros(len(x), np.float32)
    for start in range(0, len(weight), chunk):
        part = product(x, weight[start : start + chunk].T, out=logits)
        _log_sum_exp_kernel(part, targets - start, top, total, picked)
    log_z = top + np.log(total)
    return np.where(targets == IGNORE, np.float32(0), log_z - picked), log_z


@kernel(void(read(float32[:, ::1]), read(int64[::1]), float32[::1], float32[::1], float32[::1]), early=False)
def _log_sum_exp_kernel(logits, columns, top, total, picked):
    spread(len(logits), _log_sum_exp_of_row, (logits, columns, top, total, picked))


@inner
def _log_sum_exp_of_row(i, logits, columns, top, total, picked):
    width = logits.shape[1]
    if 0 <= columns[i] < width:
        picked[i] = logits[i, columns[i]]
    highest, added = order_of(top[i]), ZERO
    for j in range(width):
        highest = max(highest, order_of(logits[i, j]))
    higher = number_of(highest)
    for j in range(width):
        added += exp(logits[i, j] - higher)
    total[i] = added + (total[i] * exp(top[i] - higher) if total[i] != ZERO else ZERO)
    top[i] = higher


def cross_entropy_backward(dlosses, x, weight, targets, log_z, chunk=4096, logits=None):
    """See ops.cross_entropy_backward."""
    if not is_float32(x, weight, log_z):
        return ops.cross_entropy_backward(dlosses, x, weight, targets, log_z, chunk, logits)
    chunk = chunk if logits is None else len(weight)
    dlosses = np.where(targets == IGNORE, 0, dlosses).astype(np.float32)
    dx, dweight = np.empty_like(x), np.empty_like(weight)
    for start in range(0, len(weight), chunk):
        part = weight[start : start + chunk]
        dlogits = product(x, part.T) if logits is None else logits
        _dlogits_kernel(dlogits, targets - start, log_z, dlosses)
        product(dlogits, part, out=dx, add=start > 0)
        product(dlogits.T, x, out=dweight[start : start + chunk])
    return dx, dweight


@kernel(void(float32[:, ::1], read(int64[::1]), read(float32[::1]), read(float32[::1])), early=False)
def _dlogits_kernel(logits, columns, log_z, dlosses):
    spread(len(logits), _dlogits_of_row, (logits, columns, log_z, dlosses))


@inner
def _dlogits_of_row(i, logits, columns, log_z, dlosses):
    width = logits.shape[1]
    for j in range(width):
        logits[i, j] = exp(logits[i, j] - log_z[i]) * dlosses[i]
    if 0 <= columns[i] < width:
        logits[i, columns[i]] -= dlosses[i]


# ---------------------------------------------------------------- learning


def sum_of_squares(x):
    """See ops.sum_of_squares."""
    x = x if x.flags.c_contiguous else x.T
    if not is_float32(x) or x.size < SMALL or not x.flags.c_contiguous:
        return ops.sum_of_squares(x)
    sums = np.empty(-(-x.size // CHUNK))
    _sum_of_squares_kernel(x.reshape(-1), sums)
    return float(sums.sum())


@kernel(void(read(float32[::1]), float64[::1]), early=False)
def _sum_of_squares_kernel(x, sums):
    spread(len(sums), _sum_of_squares_part, (x, sums))


@inner
def _sum_of_squares_part(part, x, sums):
    total = 0.0
    for i in range(part * CHUNK, min((part + 1) * CHUNK, x.size)):
        value = float64(x[i])
        total += value * value
    sums[part] = total


def adam_step_(p, g, m, v, lr, betas, eps, n_steps, decay=0.0):
    """See ops.adam_step_."""
    if p.ndim == 2 and p.flags.f_contiguous:
        p, g, m, v = p.T, g.T, m.T, v.T  # the same numbers in the order in which they lie
    if not is_float32(p, g, m, v) or p.size < SMALL or not all(a.flags.c_contiguous for a in (p, g, m, v)):
        return ops.adam_step_(p, g, m, v, lr, betas, eps, n_steps, decay)
    beta1, beta2 = betas
    rate, make_good = lr / (1 - beta1**n_steps), 1 / math.sqrt(1 - beta2**n_steps)
    settings = np.array([1 - beta1, beta2, 1 - beta2, rate, make_good, eps, 1 - lr * decay], np.float32)
    flat = (array.reshape(-1) for array in (p, g, m, v))
    _adam_step_kernel(*flat, settings, share(p.size, 16))


@kernel(void(float32[::1], read(float32[::1]), float32[::1], float32[::1], read(float32[::1]), intp), early=False)
def _adam_step_kernel(p, g, m, v, settings, each):
    spread((p.size + each - 1) // each, _adam_step_part, (p, g, m, v, settings, each))


@exact  # so a rank that moves a part of an array moves it as who moves all of it (training/distributed_optim.py)
def _adam_step_part(part, p, g, m, v, settings, each):
    new1, old2, new2, rate, make_good, eps, kept = (
        settings[0], settings[1], settings[2], settings[3], settings[4], settings[5], settings[6]
    )  # fmt: skip
    for i in range(part * each, min(p.size, (part + 1) * each)):
        m[i] += new1 * (g[i] - m[i])
        v[i] = v[i] * old2 + new2 * (g[i] * g[i])
        p[i] = p[i] * kept - rate * m[i] / (np.float32(math.sqrt(v[i])) * make_good + eps)
