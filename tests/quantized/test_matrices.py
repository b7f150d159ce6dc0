"""quantized/matrices.py, products.py: int8 products against the same written out in NumPy; how little a model loses."""

import inspect

import numpy as np
import pytest
from small import CLOSE, CONFIG, make, normal, public, random_ids, rounded, run_script

from nanogpt_np import GPT, model, ops
from nanogpt_np import params as P
from nanogpt_np.errors import InputError
from nanogpt_np.storage import checkpoint
from nanogpt_np.training import backward

quantized = pytest.importorskip("nanogpt_np.quantized")

GROUP = 64  # stated here again: the tests' own arithmetic below depends on it


def expected_product(x, weight):  # -> [n_rows, n_out], and how far from it float32 may be
    """What int8 arithmetic gives, in float64: weights rounded per column, x rounded per group of 64."""
    columns, slack = rounded(weight.T.astype(np.float64))
    total, allowed = np.zeros((2, len(x), weight.shape[1]))
    for k in range(0, weight.shape[0], GROUP):
        part, part_slack = rounded(x[:, k : k + GROUP].astype(np.float64))
        places = slice(k, k + GROUP)
        total += part @ columns[:, places].T
        allowed += part_slack @ np.abs(columns[:, places]).T + np.abs(part) @ slack[:, places].T
    return total, allowed + 1e-5 * np.abs(total).max()


def test_same_names_and_signatures():
    defined = {name: f for name, f in public(ops).items() if f.__module__ == ops.__name__}
    for name, f in defined.items():
        assert inspect.signature(f) == inspect.signature(getattr(quantized, name)), name


@pytest.mark.parametrize("n_rows", [1, 3, 4, 9])
@pytest.mark.parametrize("n_in, n_out", [(1, 1), (64, 64), (67, 130), (256, 1000)])
def test_products(n_rows, n_in, n_out):
    x, weight, bias = normal(n_rows, 1, n_in), normal(n_in, n_out, seed=1, scale=0.05), normal(n_out, seed=2)
    expected, allowed = expected_product(x[:, 0], weight)
    matrix = quantized.Int8Matrix(weight)
    assert (np.abs(quantized.linear(x, matrix, bias)[:, 0] - bias - expected) <= allowed).all()
    rows = quantized.Int8Matrix(np.ascontiguousarray(weight.T), by_row=True)
    assert (np.abs(quantized.unembed(x, rows)[:, 0] - expected) <= allowed).all()
    assert matrix.shape == weight.shape and rows.shape == weight.T.shape and matrix.size == weight.size


@pytest.mark.parametrize("steps", [-126.5, -0.5, 0.5, 77.5])
def test_one_rounding_the_other_way_moves_each_output_by_a_step_of_its_weight(steps):
    x, matrix, none = normal(1, 130), quantized.Int8Matrix(normal(130, 70, seed=1)), np.zeros(70, np.float32)
    x[0, [3, 70, 129]] = 8  # the largest of each group
    outputs = []
    for side in (-CLOSE, CLOSE):
        x[0, 17] = (steps + side) * 8 / 127
        outputs.append(quantized.linear(x, matrix, none)[0])
    moved = 8 / 127 * matrix.dequantized()[17]
    np.testing.assert_allclose(outputs[1] - outputs[0], moved, atol=1e-6 * np.abs(outputs).max())  # float32 sums


def test_products_are_close_to_float32():
    x, weight = normal(5, 256), normal(256, 300, seed=1, scale=0.05)
    error = quantized.linear(x, quantized.Int8Matrix(weight), np.zeros(300, np.float32)) - x @ weight
    assert np.sqrt(np.square(error).mean()) < 0.01 * np.sqrt(np.square(x @ weight).mean())


def test_the_largest_numbers_do_not_overflow():
    x, weight = np.full((1, 4096), 3.0, np.float32), np.full((4096, 64), -2.0, np.float32)
    got = quantized.linear(x, quantized.Int8Matrix(weight), np.zeros(64, np.float32))
    np.testing.assert_allclose(got, -6.0 * 4096, rtol=1e-5)


def test_an_outlier_spoils_only_its_group():
    x, weight = normal(1, 256), normal(256, 64, seed=1)
    x[0, 5] = 1000.0
    rest = x.copy()
    rest[0, :GROUP] = 0
    matrix, none = quantized.Int8Matrix(weight), np.zeros(64, np.float32)
    with_outlier = quantized.linear(x, matrix, none) - quantized.linear(x * (rest == 0), matrix, none)
    np.testing.assert_allclose(with_outlier, rest @ weight, atol=0.05 * np.abs(rest @ weight).max())


def test_zeros():
    matrix, none = quantized.Int8Matrix(np.zeros((64, 64), np.float32)), np.zeros(64, np.float32)
    assert not quantized.linear(normal(2, 64), matrix, none).any()
    assert not quantized.linear(np.zeros((2, 64), np.float32), quantized.Int8Matrix(normal(64, 64)), none).any()


def test_a_row_is_the_same_in_any_company():
    matrix, none = quantized.Int8Matrix(normal(128, 200)), np.zeros(200, np.float32)
    x = normal(9, 128, seed=1)
    together = quantized.linear(x, matrix, none)
    for row in range(9):
        assert np.array_equal(quantized.linear(x[row : row + 1], matrix, none)[0], together[row])


@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
def test_embedding(shape):
    weight = normal(300, 67, scale=0.1)
    ids = np.random.default_rng(1).integers(0, 300, shape)
    got = quantized.embedding(ids, quantized.Int8Matrix(weight, by_row=True))
    assert got.dtype == np.float32 and got.shape == (*shape, 67)
    np.testing.assert_allclose(got, weight[ids], atol=0.51 * np.abs(weight).max() / 127)


def test_dequantized():
    weight = normal(70, 90)
    for matrix, original in ((quantized.Int8Matrix(weight), weight), (quantized.Int8Matrix(weight, True), weight)):
        half_a_step = 0.51 * np.abs(original).max() / 127
        np.testing.assert_allclose(matrix.dequantized(), original, atol=half_a_step)


def test_cross_entropy():
    x, weight = normal(150, 64, scale=2), normal(200, 64, seed=1)
    targets = np.random.default_rng(2).integers(0, 200, 150)
    targets[7] = ops.IGNORE
    matrix = quantized.Int8Matrix(weight, by_row=True)
    losses, log_z = quantized.cross_entropy(x, matrix, targets)
    logits = quantized.unembed(x, matrix).astype(np.float64)
    expected = np.log(np.exp(logits).sum(axis=-1))
    np.testing.assert_allclose(log_z, expected, rtol=1e-5)
    picked = np.where(targets == ops.IGNORE, expected, logits[np.arange(150), targets])
    np.testing.assert_allclose(losses, expected - picked, atol=1e-4)


def test_a_whole_model():
    params, ids = make(), random_ids(3, 16)
    small = quantized.quantize(params, CONFIG)
    expected, _ = model.forward(ids, params, CONFIG, ops)
    got, _ = model.forward(ids, small, CONFIG, quantized)
    assert np.sqrt(np.square(got - expected).mean()) < 0.05 * expected.std()
    assert P.count(small) == P.count(params)
    again = quantized.quantize(small, CONFIG)
    assert all(a is b for (_, a), (_, b) in zip(P.walk(small), P.walk(again), strict=True))


def test_int8_weights_cannot_be_trained():
    gpt, ids = GPT(CONFIG, make(), ops="int8"), random_ids(1, 8)
    with pytest.raises(InputError, match="expected float weights, got int8 or int4; open the model with ops='numba'"):
        backward.loss_and_grads(ids, ids, gpt.params, gpt.config, gpt.ops)


def test_opened_from_disk(tmp_path):
    gpt = GPT(CONFIG, make())
    gpt.save(tmp_path / "m")
    opened, converted = GPT.from_pretrained(tmp_path / "m", ops="int8"), GPT(CONFIG, make(), ops="int8")
    ids = random_ids(2, 8)
    assert np.array_equal(opened(ids), converted(ids))
    assert isinstance(opened.params["h"][0]["mlp"]["c_fc"]["weight"], quantized.Int8Matrix)
    assert opened.params["ln_f"]["weight"].dtype == np.float32
    with pytest.raises(InputError, match="expected float weights, got int8"):
        opened.save(tmp_path / "again")


def test_what_is_kept_of_each_tensor(tmp_path):
    GPT(CONFIG, make()).save(tmp_path / "m")
    seen = []

    def keep(name, array, config, give_back):
        seen.append(name)
        copy = np.array(array)
        give_back()
        assert np.array_equal(copy, array)  # given back is not lost: the file is read again
        return copy

    _, params, _ = checkpoint.load(tmp_path / "m", keep=keep)
    assert seen == list(P.shapes(CONFIG))
    for (name, got), (_, expected) in zip(P.walk(params), P.walk(make()), strict=True):
        assert np.array_equal(got, expected), name


WHOLE_NUMBERS = """
import numpy as np
from nanogpt_np.kernels import writer
from nanogpt_np.quantized import Int8Matrix, linear, vectors
x, weight, bias = (np.random.default_rng(i).integers(-99, 99, s) for i, s in enumerate([(5, 130), (130, 70), (70,)]))
x[:, ::64] = weight[3] = 127  # so a step is 1, nothing is rounded, and the sums are exact in any order
found = linear(x.astype(np.float32), Int8Matrix(weight.astype(np.float32)), bias.astype(np.float32))
print(vectors.RECIPE.name, writer.VECTOR, np.array_equal(found, x @ weight + bias))
"""
GREEDY = """
from small import CONFIG, make
from nanogpt_np import GPT, InputError
print(GPT(CONFIG, make(scale=1.0), ops="int8").generate([1, 2, 3], 6, temperature=0))
try:
    broken = make()
    broken["h"][0]["mlp"]["c_fc"]["bias"][3] = float("nan")
    GPT(CONFIG, broken, ops="int8").generate([1, 2, 3], 1)
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize(
    "environment, vector",
    [
        ({}, ""),
        ({"NUMBA_DISABLE_JIT": "1"}, ""),
        ({"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+sse4.2"}, "4"),
        pytest.param({"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+avx2,+fma"}, "8", marks=pytest.mark.slow),
    ],
)
def test_products_of_whole_numbers_are_exact_on_any_cpu(environment, vector):
    """On this one, as plain Python, with vectors of 4, and of 8 (.ci/run tests all kernels with those)."""
    recipe, width, is_exact = run_script(WHOLE_NUMBERS, **environment).split()
    assert is_exact == "True" and width.startswith(vector)
    assert not environment or recipe == ("sign" if vector == "8" else "plain")


def test_generating_as_plain_python():
    """The best logit is clear: no rounding that falls the other way decides."""
    expected = GPT(CONFIG, make(scale=1.0), ops="int8").generate([1, 2, 3], 6, temperature=0)
    ids, error = run_script(GREEDY, NUMBA_DISABLE_JIT="1").splitlines()
    assert ids == str(expected) and error.startswith("expected logits that are numbers, got NaN")
