"""ops.py: values against definitions written another way, gradients against finite differences in float64."""

import math

import numpy as np
import pytest

from nanogpt_np import ops
from nanogpt_np.training.finite_differences import gradcheck, numeric_gradient, relative_error

# Central differences with step 1e-5 are good to about 1e-10 in float64; 1e-6 is what the project promises.
GRADIENT = 1e-6


def arrays(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


def check(forward, backward, inputs, seed=1):
    """The worst relative error of `backward` for the scalar sum(forward(*inputs) * dout)."""
    out = forward(*inputs)
    dout = np.random.default_rng(seed).normal(size=out.shape)
    gradients = backward(dout, *inputs)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    return gradcheck(lambda *a: float((forward(*a) * dout).sum()), inputs, gradients)


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 4)])
def test_gelu_gradients(shape):
    x = [a * 2 for a in arrays(shape)]
    assert check(ops.gelu_new, ops.gelu_new_backward, x) <= GRADIENT
    assert check(ops.gelu, ops.gelu_backward, x) <= GRADIENT
    assert check(ops.relu, ops.relu_backward, x) <= GRADIENT


def test_linear_gradient():
    assert check(ops.linear, ops.linear_backward, arrays((2, 3, 4), (4, 5), (5,))) <= GRADIENT


def test_layer_norm_gradient():
    inputs = arrays((2, 3, 6), (6,), (6,))
    assert check(ops.layer_norm, ops.layer_norm_backward, inputs) <= GRADIENT


def test_embedding_gradient_sums_repeated_ids():
    ids = np.array([[1, 3, 1], [1, 0, 4]])
    backward = lambda dout, w: ops.embedding_backward(dout, ids, w)  # noqa: E731
    assert check(lambda w: ops.embedding(ids, w), backward, arrays((6, 4))) <= GRADIENT
    assert not ops.embedding_backward(np.ones((2, 3, 4)), ids, np.zeros((6, 4)))[[2, 5]].any()


def test_unembed_gradient():
    assert check(ops.unembed, ops.unembed_backward, arrays((2, 3, 4), (7, 4))) <= GRADIENT


@pytest.mark.parametrize("n_rows", [0, 1, 2, 32, 33])
def test_few_rows_through_the_vocabulary_in_pieces_are_the_same_product(n_rows):
    x, weight = arrays((n_rows, 1, 24), (2 * 2048 + 5, 24))  # two whole pieces and a rest
    logits = ops.unembed(x, weight)
    assert logits.shape == (n_rows, 1, len(weight)) and logits.flags.c_contiguous
    # float64: sums of 24 terms in another order
    np.testing.assert_allclose(logits, np.einsum("bse,ve->bsv", x, weight), rtol=0, atol=1e-13)


def test_softmax_gradient():
    assert check(ops.softmax, lambda d, x: ops.softmax_backward(d, ops.softmax(x)), arrays((3, 6))) <= GRADIENT


@pytest.mark.parametrize("n_query, n_key", [(4, 4), (2, 5)])
def test_attention_probs_gradient(n_query, n_key):
    visible = ops.causal_mask(n_query, n_key)
    inputs = arrays((2, 3, n_query, 4), (2, 3, n_key, 4))

    def backward(dout, q, k):
        return ops.attention_probs_backward(dout, q, k, ops.attention_probs(q, k, visible))

    assert check(lambda q, k: ops.attention_probs(q, k, visible), backward, inputs) <= GRADIENT


def test_attention_mix_gradient():
    assert check(ops.attention_mix, ops.attention_mix_backward, arrays((2, 3, 4, 5), (2, 3, 5, 6))) <= GRADIENT


def test_split_and_merge_heads_undo_each_other():
    (x,) = arrays((2, 5, 12))
    np.testing.assert_array_equal(ops.merge_heads(ops.split_heads(x, 3)), x)
    np.testing.assert_array_equal(ops.split_heads(x, 3)[1, 2, 4], x[1, 4, 8:12])
    assert check(lambda a: ops.split_heads(a, 3), lambda d, a: ops.merge_heads(d), [x]) <= GRADIENT


def test_dropout_gradient_and_mean():
    keep = np.random.default_rng(0).random((200, 100)) >= 0.25
    (x,) = arrays((4, 100))
    backward = lambda dout, a: ops.dropout_backward(dout, keep[:4], 0.25)  # noqa: E731
    assert check(lambda a: ops.dropout(a, keep[:4], 0.25), backward, [x]) <= GRADIENT
    # 20,000 draws: the standard error of the mean is 0.4 %
    assert ops.dropout(np.ones((200, 100)), keep, 0.25).mean() == pytest.approx(1.0, abs=0.015)


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_cross_entropy_gradient_in_any_chunking(chunk):
    x, weight = arrays((6, 4), (7, 4))
    targets = np.array([0, 6, ops.IGNORE, 3, 2, 6])

    def forward(x, weight):
        return ops.cross_entropy(x, weight, targets, chunk)[0]

    def backward(dout, x, weight):
        log_z = ops.cross_entropy(x, weight, targets, chunk)[1]
        return ops.cross_entropy_backward(dout, x, weight, targets, log_z, chunk)

    assert check(forward, backward, [x, weight]) <= GRADIENT


@pytest.mark.parametrize("chunk", [1, 2, 5, 4096])
def test_cross_entropy_values(chunk):
    x, weight = arrays((4, 3), (5, 3))
    targets = np.array([1, 4, ops.IGNORE, 0])
    logits = [[sum(a * b for a, b in zip(row, column, strict=True)) for column in weight] for row in x]
    expected = [
        0.0 if t == ops.IGNORE else math.log(sum(math.exp(v) for v in row)) - row[t]
        for row, t in zip(logits, targets, strict=True)
    ]
    np.testing.assert_allclose(ops.cross_entropy(x, weight, targets, chunk)[0], expected, rtol=1e-12)


@pytest.mark.parametrize("chunk", [3, 4096])
def test_cross_entropy_with_room_for_the_logits(chunk):
    """Left in the forward and used in the backward, they change no loss and no gradient."""
    rng = np.random.default_rng(0)
    x, weight, targets = rng.normal(size=(5, 4)), rng.normal(size=(7, 4)), np.array([0, 6, ops.IGNORE, 3, 3])
    losses, log_z = ops.cross_entropy(x, weight, targets, chunk)
    expected = ops.cross_entropy_backward(losses, x, weight, targets, log_z, chunk)
    logits = np.full((5, 7), np.nan)
    for twin in (ops, pytest.importorskip("nanogpt_np.kernels")):
        for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-5)):
            room = logits.astype(dtype)
            found = twin.cross_entropy(x.astype(dtype), weight.astype(dtype), targets, chunk, room)
            np.testing.assert_allclose(room, x @ weight.T, rtol=tolerance, atol=tolerance)
            np.testing.assert_allclose(found[0], losses, rtol=tolerance, atol=tolerance)
            arguments = losses.astype(dtype), x.astype(dtype), weight.astype(dtype), targets, found[1]
            for got, grad in zip(twin.cross_entropy_backward(*arguments, chunk, room), expected, strict=True):
                assert got.dtype == dtype
                np.testing.assert_allclose(got, grad, rtol=tolerance, atol=tolerance)


def test_cross_entropy_of_huge_logits_stays_finite():
    x = np.array([[1000.0], [-1000.0]], np.float32)
    losses, _ = ops.cross_entropy(x, np.array([[1.0], [-1.0]], np.float32), np.array([0, 0]), chunk=1)
    np.testing.assert_array_equal(losses, np.array([0.0, 2000.0], np.float32))


def test_cross_entropy_never_holds_all_logits():
    import tracemalloc

    x, weight = np.ones((256, 8), np.float32), np.ones((50257, 8), np.float32)
    targets = np.zeros(256, int)
    tracemalloc.start()
    _, log_z = ops.cross_entropy(x, weight, targets)
    ops.cross_entropy_backward(np.ones(256), x, weight, targets, log_z)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 256 * 50257 * 4 / 2  # all logits would be 51 MB; a chunk and its temporaries take 4 MB each


def test_layer_norm_values():
    (x,) = arrays((2, 6))
    out = ops.layer_norm(x, np.full(6, 2.0), np.full(6, 0.5), eps=1e-5)
    for row, got in zip(x, out, strict=True):
        mean = sum(row) / 6
        variance = sum((value - mean) ** 2 for value in row) / 6
        np.testing.assert_allclose(got, [(v - mean) / math.sqrt(variance + 1e-5) * 2 + 0.5 for v in row], rtol=1e-12)


def test_gelu_values():
    x = np.array([-3.0, -1.0, 0.0, 0.5, 4.0])
    exact = [v * 0.5 * math.erfc(-v / math.sqrt(2)) for v in x]
    np.testing.assert_allclose(ops.gelu(x), exact, atol=1e-15)
    np.testing.assert_allclose(ops.gelu_new(x), exact, atol=5e-4)  # the tanh formula is an approximation
    assert np.abs(ops.gelu_new(x) - exact).max() > 1e-5  # … and not the same thing


def test_relu_values():
    x = np.array([-3.0, -0.0, 0.0, 0.5, np.inf, -np.inf])
    np.testing.assert_array_equal(ops.relu(x), [0, 0, 0, 0.5, np.inf, 0])
    np.testing.assert_array_equal(ops.relu_backward(np.full(6, 2.0), x), [0, 0, 0, 2, 2, 0])


def test_causal_mask():
    np.testing.assert_array_equal(ops.causal_mask(3, 3), [[1, 0, 0], [1, 1, 0], [1, 1, 1]])
    np.testing.assert_array_equal(ops.causal_mask(2, 3), [[1, 1, 0], [1, 1, 1]])


def test_attention_looks_only_at_what_is_visible():
    q, k = arrays((1, 1, 4, 2), (1, 1, 4, 2))
    visible = ops.causal_mask(4, 4) & np.array([False, True, True, True])  # the first key is padding
    probs = ops.attention_probs(q, k, visible)[0, 0]
    assert not probs[~visible].any()
    np.testing.assert_array_equal(probs[0], 0)  # the padded query sees nothing: zeros, not NaN
    np.testing.assert_allclose(probs[1:].sum(axis=-1), 1.0)
    scores = [q[0, 0, 2] @ k[0, 0, j] / math.sqrt(2) for j in (1, 2)]
    np.testing.assert_allclose(probs[2, 1], 1 / (1 + math.exp(scores[1] - scores[0])))


def test_softmax_of_large_numbers():
    np.testing.assert_allclose(ops.softmax(np.array([1e4, 1e4 + 1.0])), ops.softmax(np.array([0.0, 1.0])))


def test_sinusoidal_positions():
    table = ops.sinusoidal_positions(np.arange(3), 4, np.float64)
    np.testing.assert_allclose(table[2], [math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_op_returns_the_dtype_it_was_given(dtype):
    x, w, b, probs = (a.astype(dtype) for a in arrays((2, 3, 4), (4, 4), (4,), (2, 3, 3)))
    heads = ops.split_heads(x, 2)
    ids, targets = np.array([0, 1, 1]), np.array([0, 1, 2])
    losses, log_z = ops.cross_entropy(x[0], w, targets)
    results = [
        *ops.linear_backward(ops.linear(x, w, b), x, w, b),
        *ops.layer_norm_backward(ops.layer_norm(x, b, b), x, b, b),
        ops.embedding_backward(ops.embedding(ids, w), ids, w),
        ops.gelu_new(x), ops.gelu_new_backward(x, x), ops.gelu(x), ops.gelu_backward(x, x),
        ops.relu(x), ops.relu_backward(x, x),
        ops.softmax(x), ops.softmax_backward(x, x), ops.softmax_scores(probs, ops.causal_mask(3, 3), 0.5),
        ops.attention_probs(heads, heads, ops.causal_mask(3, 3)), ops.attention_probs(heads, heads, None),
        *ops.attention_probs_backward(heads @ heads.swapaxes(-1, -2), heads, heads, heads @ heads.swapaxes(-1, -2)),
        ops.attention_mix(probs, x), *ops.attention_mix_backward(x, probs, x),
        ops.dropout(x, x > 0, 0.5), ops.dropout_backward(x, x > 0, 0.5),
        ops.unembed(x, w), *ops.unembed_backward(ops.unembed(x, w), x, w),
        losses, log_z, *ops.cross_entropy_backward(losses, x[0], w, targets, log_z),
        ops.sinusoidal_positions(np.arange(3), 4, dtype),
    ]  # fmt: skip
    assert {array.dtype for array in results} == {np.dtype(dtype)}


def test_inputs_are_not_changed():
    q, k = arrays((1, 1, 3, 2), (1, 1, 3, 2))
    scores = q @ k.swapaxes(-1, -2)
    kept = scores.copy()
    ops.softmax_scores(scores, ops.causal_mask(3, 3), 0.5)
    np.testing.assert_array_equal(scores, kept)


def test_gradcheck_sees_a_wrong_gradient():
    (x,) = arrays((4,))
    assert gradcheck(lambda a: float((a**3).sum()), [x], [3 * x**2]) < 1e-8
    assert gradcheck(lambda a: float((a**3).sum()), [x], [3.1 * x**2]) > 1e-2
    some = numeric_gradient(lambda: float((x**2).sum()), x, indices=[1])
    assert np.isnan(some[[0, 2, 3]]).all() and some[1] == pytest.approx(2 * x[1])
    assert relative_error(2 * x, some) < 1e-8


def test_gradcheck_wants_float64():
    with pytest.raises(ValueError, match="expected a float64 array, got float32"):
        gradcheck(lambda a: float(a.sum()), [np.ones(2, np.float32)], [np.ones(2)])
