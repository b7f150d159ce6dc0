"""kernels.py against ops.py: signatures, values, any number of threads, and as plain Python."""

import inspect
import os
import subprocess
import sys

import numpy as np
import pytest
from test_model import CONFIG, make, random_ids

from nanogpt_np import model, ops
from nanogpt_np import params as P
from nanogpt_np.training import backward

kernels = pytest.importorskip("nanogpt_np.kernels")

FLOAT32 = 1e-5  # relative to the largest value: other orders of summation, and an exp good to 1e-7


def public(module):
    return {name: f for name, f in vars(module).items() if inspect.isfunction(f) and not name.startswith("_")}


def test_same_names_and_signatures():
    defined = {name: f for name, f in public(ops).items() if f.__module__ == ops.__name__}
    twins = public(kernels)
    assert defined.keys() <= twins.keys()
    for name, f in defined.items():
        assert inspect.signature(f) == inspect.signature(twins[name]), name


def close(actual, expected):
    actual, expected = (a if isinstance(a, tuple) else (a,) for a in (actual, expected))
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=FLOAT32, atol=FLOAT32 * max(np.abs(b).max(), 1e-30))


def normal(*shape, seed=0, scale=1.0, dtype=np.float32):
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 5, 7), (3, 40, 300)])
def test_pieces_of_a_block(shape, dtype):
    x, dout = normal(*shape, scale=3, dtype=dtype), normal(*shape, seed=1, dtype=dtype)
    weight, bias = normal(shape[-1], seed=2, dtype=dtype), normal(shape[-1], seed=3, dtype=dtype)
    close(kernels.gelu_new(x), ops.gelu_new(x))
    close(kernels.gelu_new_backward(dout, x), ops.gelu_new_backward(dout, x))
    close(kernels.layer_norm(x, weight, bias, 1e-5), ops.layer_norm(x, weight, bias, 1e-5))
    close(kernels.layer_norm_backward(dout, x, weight, bias), ops.layer_norm_backward(dout, x, weight, bias))


@pytest.mark.parametrize("n_rows", [1, 2, 8, 9])
@pytest.mark.parametrize("n_in, n_out", [(1, 1), (3, 5), (67, 130), (256, 1024)])
def test_matrix_products_of_a_few_rows(n_rows, n_in, n_out):
    x, weight, bias = normal(n_rows, 1, n_in), normal(n_in, n_out, seed=1), normal(n_out, seed=2)
    close(kernels.linear(x, weight, bias), ops.linear(x, weight, bias))
    vocabulary = normal(n_out, n_in, seed=3)
    close(kernels.unembed(x, vocabulary), ops.unembed(x, vocabulary))


def test_gelu_far_out():
    x = np.array([-np.inf, -1e4, -50, -10, 0, 10, 50, 1e4], np.float32)
    np.testing.assert_allclose(kernels.gelu_new(x[1:]), ops.gelu_new(x[1:]), atol=1e-6)


@pytest.mark.parametrize("n_query, n_key", [(1, 1), (1, 9), (6, 6), (3, 9), (130, 130)])
def test_attention(n_query, n_key):
    q, k = normal(2, 3, n_query, 4, scale=2), normal(2, 3, n_key, 4, seed=1, scale=2)
    padded = np.arange(n_key) >= np.array([[0], [n_key // 2]])
    causal = ops.causal_mask(n_query, n_key)
    for visible in (None, causal, causal & padded[:, None, None, :]):
        probs = ops.attention_probs(q, k, visible)
        close(kernels.attention_probs(q, k, visible), probs)
        dprobs = normal(*probs.shape, seed=2)
        expected = ops.attention_probs_backward(dprobs, q, k, probs)
        close(kernels.attention_probs_backward(dprobs, q, k, probs), expected)
    assert not kernels.attention_probs(q, k, np.zeros((n_query, n_key), bool)).any()
    hidden = kernels.attention_probs(q, k, causal)[..., ~causal]
    assert not hidden.any()  # hidden is exactly zero, not exp(-87)


@pytest.mark.parametrize("leading", [(), (1, 1), (2, 1), (1, 3), (2, 3)])
def test_masks_broadcast_as_in_numpy(leading):
    scores = normal(2, 3, 4, 5, scale=2)
    visible = np.random.default_rng(1).random((*leading, 4, 5)) < 0.6
    for mask in (visible, visible[..., :1, :]):
        close(kernels.softmax_scores(scores, mask, 0.5), ops.softmax_scores(scores, mask, 0.5))


@pytest.mark.parametrize("chunk", [1, 7, 4096])
def test_cross_entropy(chunk):
    x, weight = normal(20, 8, scale=3), normal(33, 8, seed=1, scale=2)
    targets = random_ids(20, seed=2)
    targets[3] = ops.IGNORE
    losses, log_z = ops.cross_entropy(x, weight, targets, chunk)
    close(kernels.cross_entropy(x, weight, targets, chunk), (losses, log_z))
    dlosses = normal(20, seed=4)
    expected = ops.cross_entropy_backward(dlosses, x, weight, targets, log_z, chunk)
    close(kernels.cross_entropy_backward(dlosses, x, weight, targets, log_z, chunk), expected)


def test_adam_step():
    ours, theirs = ([normal(50, 30, seed=i) ** (2 if i == 3 else 1) for i in range(4)] for _ in range(2))
    for n_steps in (1, 2, 1000):
        kernels.adam_step_(*ours, 1e-2, (0.9, 0.99), 1e-8, n_steps)
        ops.adam_step_(*theirs, 1e-2, (0.9, 0.99), 1e-8, n_steps)
    close(tuple(ours), tuple(theirs))


def test_whole_model():
    params, ids, targets = make(), random_ids(3, 16), random_ids(3, 16, seed=1)
    mask = np.arange(16) >= np.array([[0], [3], [9]])
    expected, _ = model.gpt(ids, params, CONFIG, ops, mask=mask)
    actual, _ = model.gpt(ids, params, CONFIG, kernels, mask=mask)
    np.testing.assert_allclose(actual[mask], expected[mask], atol=1e-4)
    loss, grads = backward.loss_and_grads(ids, targets, params, CONFIG, kernels)
    expected_loss, expected = backward.loss_and_grads(ids, targets, params, CONFIG, ops)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    expected = dict(P.walk(expected))
    for name, grad in P.walk(grads):
        np.testing.assert_allclose(grad, expected[name], atol=1e-5 * np.abs(expected[name]).max(), err_msg=name)


SCRIPT = """
import hashlib, numpy as np
from test_model import CONFIG, make, random_ids
from nanogpt_np import kernels, params as P
from nanogpt_np.training import backward
loss, grads = backward.loss_and_grads(random_ids(3, 16), random_ids(3, 16, seed=1), make(), CONFIG, kernels)
print(loss, hashlib.sha256(b"".join(a.tobytes() for _, a in P.walk(grads))).hexdigest())
"""


def run(**environment):
    environment = os.environ | {"PYTHONPATH": os.path.dirname(__file__), "OPENBLAS_NUM_THREADS": "1", **environment}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_threads_do_not_change_a_bit():
    assert run(NUMBA_NUM_THREADS="1") == run(NUMBA_NUM_THREADS="2")


def test_as_plain_python():
    assert float(run(NUMBA_DISABLE_JIT="1")[0]) == pytest.approx(float(run()[0]), rel=1e-6)
