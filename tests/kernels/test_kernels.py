"""kernels/ against ops.py: signatures, values, any number of threads, and as plain Python."""

import inspect

import numpy as np
import pytest
from small import CONFIG, make, normal, public, random_ids, run_script

from nanogpt_np import model, ops
from nanogpt_np import params as P
from nanogpt_np.training import backward

kernels = pytest.importorskip("nanogpt_np.kernels")
kernel_products = pytest.importorskip("nanogpt_np.kernels.products")

FLOAT32 = 1e-5  # relative to the largest value: other orders of summation, and an exp good to 1e-7


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
@pytest.mark.parametrize("n_in, n_out", [(1, 1), (3, 5), (67, 130), (256, 1024), (1000, 130)])
def test_matrix_products_of_a_few_rows(n_rows, n_in, n_out):
    x, weight, bias = normal(n_rows, 1, n_in), normal(n_in, n_out, seed=1), normal(n_out, seed=2)
    expected = ops.linear(x, weight, bias)
    close(kernels.linear(x, weight, bias), expected)
    close(kernels.linear(x, np.asfortranarray(weight), bias), expected)
    vocabulary = normal(n_out, n_in, seed=3)
    close(kernels.unembed(x, vocabulary), ops.unembed(x, vocabulary))


SHAPES = [(1, 1, 1), (9, 5, 3), (70, 300, 101), (64, 256, 64), (40, 513, 600), (600, 8, 33)]


@pytest.mark.parametrize("n, n_k, m", SHAPES)
@pytest.mark.parametrize("a_turned", [False, True])
@pytest.mark.parametrize("b_turned", [False, True])
def test_matrix_products_of_any_shape_and_layout(n, n_k, m, a_turned, b_turned):
    a = normal(n_k, n).T if a_turned else normal(n, n_k)
    b = normal(m, n_k, seed=1).T if b_turned else normal(n_k, m, seed=1)
    expected = a.astype(np.float64) @ b
    tolerance = 1e-6 * np.abs(expected).max() * max(n_k, 16) ** 0.5
    np.testing.assert_allclose(kernel_products.product(a, b), expected, atol=tolerance)
    out = normal(n, m, seed=2)
    added = kernel_products.product(a, b, out=out.copy(), add=True)
    np.testing.assert_allclose(added, expected + out, atol=2 * tolerance)
    every_other = kernel_products.product(np.repeat(a, 2, axis=1)[:, ::2], b)  # neither rows nor columns contiguous
    np.testing.assert_allclose(every_other, expected, atol=tolerance)


def test_products_of_stacks():
    a, b = normal(2, 3, 20, 17), normal(2, 3, 17, 40, seed=1)
    close(kernel_products.product(a, b), a @ b)
    close(kernel_products.product(a.swapaxes(-1, -2), a), a.swapaxes(-1, -2) @ a)
    sliced = normal(2, 20, 3, 34).transpose(0, 2, 1, 3)[..., :17]  # as heads lie in c_attn's output
    close(kernel_products.product(sliced, b), sliced @ b)


@pytest.mark.parametrize("n_rows", [2, 3, 5, 8, 9, 40])
def test_a_row_is_the_same_in_any_company(n_rows):
    x, weight, bias = normal(n_rows, 900), normal(900, 130, seed=1), normal(130, seed=2)
    together = kernels.linear(x, weight, bias)
    for row in range(n_rows):
        assert np.array_equal(kernels.linear(x[row : row + 1], weight, bias)[0], together[row])


@pytest.mark.parametrize("n_rows", [2, 3, 5, 8])
@pytest.mark.parametrize("n_in", [64, 900])
def test_so_it_is_with_weights_that_lie_by_output(n_rows, n_in):
    x, weight, bias = normal(n_rows, n_in), np.asfortranarray(normal(n_in, 130, seed=1)), normal(130, seed=2)
    together = kernels.linear(x, weight, bias)
    for row in range(n_rows):
        assert np.array_equal(kernels.linear(x[row : row + 1], weight, bias)[0], together[row])


def test_gradients_lie_as_their_weights_do():
    x, dout, bias = normal(40, 70), normal(40, 130, seed=1), normal(130, seed=2)
    for weight in (normal(70, 130, seed=3), np.asfortranarray(normal(70, 130, seed=3))):
        found = kernels.linear_backward(dout, x, weight, bias)
        close(found, ops.linear_backward(dout, x, weight, bias))
        assert found[1].strides == weight.strides


@pytest.mark.parametrize("n_query", [2, 3, 8])
def test_a_query_is_the_same_in_any_company(n_query):
    n_key, n_embd = 300, 64
    q, k, v = normal(2, 3, n_query, n_embd), normal(2, 3, n_key, n_embd, seed=1), normal(2, 3, n_key, n_embd, seed=2)
    together = kernels.attention_mix(kernels.attention_probs(q, k, ops.causal_mask(n_query, n_key)), v)
    vocabulary = normal(500, n_embd, seed=3)
    logits = kernels.unembed(together[0, 0], vocabulary)
    for query in range(n_query):
        end = n_key - n_query + query + 1  # what a query that comes by itself finds in the cache
        probs = kernels.attention_probs(q[:, :, query : query + 1], k[:, :, :end], None)
        alone = kernels.attention_mix(probs, v[:, :, :end])
        assert np.array_equal(alone[:, :, 0], together[:, :, query])
        assert np.array_equal(kernels.unembed(alone[0, 0], vocabulary)[0], logits[query])


def test_arrays_that_must_not_be_written_or_are_not_aligned():
    x, weight, bias = normal(12, 40), normal(40, 50, seed=1), normal(50, seed=2)
    expected = ops.linear(x, weight, bias)
    for array in (x, weight, bias):
        array.flags.writeable = False
    close(kernels.linear(x, weight, bias), expected)
    close(kernels.linear(x[:2], weight, bias), expected[:2])
    shifted = np.frombuffer(b"x" + weight.tobytes(), np.float32, offset=1).reshape(weight.shape)
    close(kernels.linear(x, shifted, bias), expected)


def test_gelu_far_out():
    x = np.array([-np.inf, -1e4, -50, -10, 0, 10, 50, 1e4], np.float32)
    np.testing.assert_allclose(kernels.gelu_new(x[1:]), ops.gelu_new(x[1:]), atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 5), (33, 1024), (2, 4, 101, 99)])
@np.errstate(invalid="ignore")  # infinity times 0
def test_dropout_is_the_definition_to_the_bit(shape):
    """So that a run may go on with either ops; infinities and NaN too. Only the sign of a zero is free."""
    x = normal(*shape)
    x.reshape(-1)[:4] = -0.0, np.inf, -np.inf, np.nan
    keep = normal(*shape, seed=1) > -1
    keep.reshape(-1)[:4] = True, False, True, False
    for rate in (0.1, 0.5, 1 / 3):
        expected = ops.dropout(x, keep, rate)
        real = ~np.isnan(expected)
        for twin in (kernels.dropout, kernels.dropout_backward):
            got = twin(x, keep, rate)
            assert got.dtype == np.float32 and np.isnan(got[~real]).all()
            assert np.array_equal(got[real], expected[real])  # of float32, equal is equal bits, but for -0 and 0
    turned, keep = np.moveaxis(x, 0, -1), np.moveaxis(keep, 0, -1)  # not contiguous
    np.testing.assert_array_equal(kernels.dropout(turned, keep, 0.1), ops.dropout(turned, keep, 0.1))


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


@pytest.mark.parametrize("laid", [np.ascontiguousarray, np.asfortranarray])
def test_adam_step(laid):
    ours, theirs = ([laid(normal(500, 300, seed=i) ** (2 if i == 3 else 1)) for i in range(4)] for _ in range(2))
    for n_steps, decay in ((1, 0.0), (2, 0.1), (1000, 3.0)):
        kernels.adam_step_(*ours, 1e-2, (0.9, 0.99), 1e-8, n_steps, decay)
        ops.adam_step_(*theirs, 1e-2, (0.9, 0.99), 1e-8, n_steps, decay)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)


def test_adam_step_of_a_part_is_that_part_of_a_step():
    """To the bit, wherever it begins and ends, small ones too: ranks own parts of arrays."""
    whole = [normal(40_000, seed=i) ** (2 if i == 3 else 1) for i in range(4)]
    pieces = [array.copy() for array in whole]
    kernels.adam_step_(*whole, 1e-2, (0.9, 0.99), 1e-8, 3, 0.1)
    for begin, end in ((0, 3), (3, 20_010), (20_010, 20_011), (20_011, 40_000)):
        kernels.adam_step_(*(array[begin:end] for array in pieces), 1e-2, (0.9, 0.99), 1e-8, 3, 0.1)
    for one, other in zip(pieces, whole, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shape", [(3,), (1 << 14,), (300, 700)])
def test_sum_of_squares(shape):
    x = normal(*shape)
    x[..., 0] = 1e4  # what float32 would lose beside it
    expected = np.square(x.astype(np.float64)).sum()
    for twin in (ops, kernels):
        assert twin.sum_of_squares(x) == pytest.approx(expected, rel=1e-12)
        assert twin.sum_of_squares(x.T) == pytest.approx(expected, rel=1e-12)


def test_whole_model():
    params, ids, targets = make(), random_ids(3, 16), random_ids(3, 16, seed=1)
    mask = np.arange(16) >= np.array([[0], [3], [9]])
    expected, _ = model.forward(ids, params, CONFIG, ops, mask=mask)
    actual, _ = model.forward(ids, params, CONFIG, kernels, mask=mask)
    np.testing.assert_allclose(actual[mask], expected[mask], atol=1e-4)
    loss, grads = backward.loss_and_grads(ids, targets, params, CONFIG, kernels)
    expected_loss, expected = backward.loss_and_grads(ids, targets, params, CONFIG, ops)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    expected = dict(P.walk(expected))
    for name, grad in P.walk(grads):
        np.testing.assert_allclose(grad, expected[name], atol=1e-5 * np.abs(expected[name]).max(), err_msg=name)


GRADIENTS = """
import hashlib
from small import CONFIG, make, random_ids
from nanogpt_np import kernels, params as P
from nanogpt_np.training import backward
loss, grads = backward.loss_and_grads(random_ids(3, 16), random_ids(3, 16, seed=1), make(), CONFIG, kernels)
print(loss, hashlib.sha256(b"".join(a.tobytes() for _, a in P.walk(grads))).hexdigest())
"""
WHOLE_NUMBERS = """
import numpy as np
from nanogpt_np.kernels import products, writer
x, weight, bias = (np.random.default_rng(i).integers(-9, 9, s) for i, s in enumerate([(40, 900), (900, 131), (131,)]))
x, weight, bias = (array.astype(np.float32) for array in (x, weight, bias))  # their sums are exact in any order
several = [np.array_equal(products.product(x, weight, bias), x @ weight + bias)]
for n in (1, 2, 3, 8):
    few = x[:n]
    several += [np.array_equal(products.linear(few, weight, bias), few @ weight + bias)]
    several += [np.array_equal(products.unembed(few, np.ascontiguousarray(weight.T)), few @ weight)]
print(writer.VECTOR, all(several))
"""


def run(script, **environment):
    return run_script(script, OPENBLAS_NUM_THREADS="1", **environment).split()


def test_threads_do_not_change_a_bit():
    assert run(GRADIENTS, NUMBA_NUM_THREADS="1") == run(GRADIENTS, NUMBA_NUM_THREADS="2")


def expected_loss():
    loss, _ = backward.loss_and_grads(random_ids(3, 16), random_ids(3, 16, seed=1), make(), CONFIG, ops)
    return pytest.approx(loss, rel=1e-6)


def test_as_plain_python():
    assert float(run(GRADIENTS, NUMBA_DISABLE_JIT="1")[0]) == expected_loss()


def test_products_on_a_cpu_with_vectors_of_4():
    """All that is written by the vector; .ci/run tests all kernels with vectors of 8."""
    assert run(WHOLE_NUMBERS, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="+sse4.2") == ["4", "True"]


@pytest.mark.slow
@pytest.mark.parametrize("features", ["+avx2,+fma", "+sse4.2"])
def test_gradients_on_other_cpus(features):
    assert float(run(GRADIENTS, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES=features)[0]) == expected_loss()
