"""quantized/int4.py, nibbles.py: products with four-bit weights written out in NumPy; a whole model; what it costs."""

import inspect

import numpy as np
import pytest
from small import CONFIG, make, normal, public, random_ids, rounded, run_script

from nanogpt_np import GPT, lens, model, ops
from nanogpt_np import params as P
from nanogpt_np.errors import InputError
from nanogpt_np.generation import decoding

quantized = pytest.importorskip("nanogpt_np.quantized")
from nanogpt_np.quantized import fours, int4, packing  # noqa: E402

GROUP = 64  # activations that share a scale, stated here again


def expected_product(x, weight):  # -> [n_rows, n_out], and how far from it float32 may be
    """In float64: weights as fours.py rounds them, x rounded per group of 64."""
    columns = fours.from_fours(*fours.to_fours(weight.T), len(weight)).astype(np.float64)
    total, allowed = np.zeros((2, len(x), weight.shape[1]))
    for k in range(0, len(weight), GROUP):
        part, slack = rounded(x[:, k : k + GROUP].astype(np.float64))
        total += part @ columns[:, k : k + GROUP].T
        allowed += slack @ np.abs(columns[:, k : k + GROUP]).T
    return total, allowed + 1e-5 * np.abs(total).max()  # float32 sums


def test_same_names_and_signatures():
    """What model.py calls, and what generating asks a module of ops for beyond that."""
    for name, f in public(quantized).items():
        assert list(inspect.signature(f).parameters) == list(inspect.signature(getattr(int4, name)).parameters), name


@pytest.mark.parametrize("n_out, n_in", [(1, 1), (64, 64), (130, 67), (1000, 256)])
def test_what_is_packed_comes_back_to_the_bit(n_out, n_in):
    rows = normal(n_out, n_in, scale=0.05)
    expected = fours.from_fours(*fours.to_fours(rows), n_in)
    matrix = int4.Int4Matrix(rows.T)
    packed = np.empty_like(matrix.packed)
    packing.pack_fours(rows.T, packed)
    assert np.array_equal(packing.unpack_fours(packed, n_out, n_in), expected)
    assert np.array_equal(matrix.dequantized(), expected.T) and matrix.nbytes == packed.nbytes
    assert np.array_equal(matrix.packed, packed) and (matrix.shape, matrix.size) == ((n_in, n_out), rows.size)


@pytest.mark.parametrize("n_rows", [1, 3, 4, 9])
@pytest.mark.parametrize("n_in, n_out", [(1, 1), (64, 64), (67, 130), (256, 1000)])
def test_products(n_rows, n_in, n_out):
    x, weight, bias = normal(n_rows, 1, n_in), normal(n_in, n_out, seed=1, scale=0.05), normal(n_out, seed=2)
    expected, allowed = expected_product(x[:, 0], weight)
    got = quantized.linear(x, int4.Int4Matrix(weight), bias)[:, 0] - bias
    assert (np.abs(got - expected) <= allowed + 1e-6 * np.abs(bias)).all()


def test_the_largest_sums_fit_their_registers():
    """AVX2 adds the products of a group in int16: all of them as large as they can be, of either sign."""
    for sign in (-1, 1):
        x, weight = np.full((5, 4096), 3.0 * sign, np.float32), np.full((4096, 64), 2.0, np.float32)
        weight[0::2] = 1.75  # -8 steps stand for -2, so 15 of a nibble is 7 steps
        weight[1::32] = -2.0
        expected, allowed = expected_product(x, weight)
        got = quantized.linear(x, int4.Int4Matrix(weight), np.zeros(64, np.float32))
        assert (np.abs(got - expected) <= allowed).all()


def test_a_row_is_the_same_in_any_company():
    matrix, none = int4.Int4Matrix(normal(128, 200)), np.zeros(200, np.float32)
    x = normal(9, 128, seed=1)
    together = quantized.linear(x, matrix, none)
    for row in range(9):
        assert np.array_equal(quantized.linear(x[row : row + 1], matrix, none)[0], together[row])


def test_a_whole_model():
    """Matrices of linear layers in four bits, the vocabulary in int8, all else as it was; twice changes nothing."""
    params, ids = make(), random_ids(3, 16)
    small = int4.quantize(params, CONFIG)
    expected, _ = model.forward(ids, params, CONFIG, ops)
    got, _ = model.forward(ids, small, CONFIG, int4)
    assert np.sqrt(np.square(got - expected).mean()) < 0.2 * expected.std()
    assert P.count(small) == P.count(params)
    kinds = {name: getattr(array, "kind", "float") for name, array in P.walk(small)}
    assert kinds["wte.weight"] == "int8" and kinds["wpe.weight"] == kinds["ln_f.weight"] == "float"
    assert {kinds[name] for name in kinds if name.endswith(int4.MATRICES)} == {"int4"}
    again = int4.quantize(small, CONFIG)
    assert all(a is b for (_, a), (_, b) in zip(P.walk(small), P.walk(again), strict=True))


@pytest.mark.parametrize("n_new", [1, 3])
def test_compiled_decoding_is_the_model(n_new):
    """The logits of model.forward on the same cache; float32 sums in another order move them by 1e-5."""
    small = int4.quantize(make(), CONFIG)
    caches = [int4.make_cache(CONFIG, 2, 16) for _ in range(2)]
    for cache in caches:
        model.forward(random_ids(2, 5), small, CONFIG, int4, cache=cache)
    ids = random_ids(2, n_new, seed=1)
    assert int4.decode_plan(ids.shape, small, CONFIG, caches[0]) is not None
    got = decoding.decode(ids, small, CONFIG, int4, caches[0])
    expected = model.forward(ids, small, CONFIG, int4, cache=caches[1])[0]
    np.testing.assert_allclose(got, expected[:, -1] if got.ndim == 2 else expected, atol=1e-3 * np.abs(expected).max())


def test_a_model_of_both_kinds_is_no_case_for_compiled_decoding():
    small = int4.quantize(make(), CONFIG)
    small["h"][1]["mlp"]["c_fc"]["weight"] = quantized.Int8Matrix(make()["h"][1]["mlp"]["c_fc"]["weight"])
    cache = int4.make_cache(CONFIG, 1, 16)
    assert int4.decode_plan((1, 1), small, CONFIG, cache) is None
    assert np.isfinite(model.forward(random_ids(1, 3), small, CONFIG, int4, cache=cache)[0]).all()


def test_opened_from_disk(tmp_path):
    GPT(CONFIG, make()).save(tmp_path / "m")
    opened, converted = GPT.from_pretrained(tmp_path / "m", ops="int4"), GPT(CONFIG, make(), ops="int4")
    ids = random_ids(2, 8)
    assert np.array_equal(opened(ids), converted(ids))
    assert "int4" in opened.summary() and opened.describe_ops("int4").startswith("ops nanogpt_np.quantized.int4")
    with pytest.raises(InputError, match="expected float weights, got int8 or int4"):
        opened.save(tmp_path / "again")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e6])
def test_weights_that_four_bits_cannot_hold_are_an_error(value):
    """NaN and infinity, and what is too large for the scale of its group, a float16."""
    broken = make()
    broken["h"][1]["mlp"]["c_fc"]["weight"][3, 5] = value
    with pytest.raises(InputError, match=r"h.1.mlp.c_fc.weight: expected .*in those of 1 of 96 outputs"):
        GPT(CONFIG, broken, ops="int4")


@pytest.mark.parametrize("n_rows", [1, 5])
def test_an_activation_that_is_not_a_number_makes_all_of_its_row_nan(n_rows):
    x, matrix, bias = normal(n_rows, 130), int4.Int4Matrix(normal(130, 70, seed=1)), normal(70, seed=2)
    x[n_rows // 2, 64] = np.inf
    got = quantized.linear(x, matrix, bias)
    assert np.isnan(got[n_rows // 2]).all() and np.isfinite(np.delete(got, n_rows // 2, axis=0)).all()


GREEDY = """
from small import CONFIG, make
from nanogpt_np import GPT
print(GPT(CONFIG, make(scale=1.0), ops="int4").generate([1, 2, 3], 6, temperature=0))
"""


def test_generating_as_plain_python():
    """The best logit is clear: no rounding that falls the other way decides."""
    expected = GPT(CONFIG, make(scale=1.0), ops="int4").generate([1, 2, 3], 6, temperature=0)
    assert run_script(GREEDY, NUMBA_DISABLE_JIT="1").strip() == str(expected)


def test_where_its_rounding_enters_is_seen():
    """lens.rounding_view takes it as it takes int8: an error behind each half-block, larger than that of int8."""
    gpt = GPT(CONFIG, make())
    views = [lens.rounding_view(gpt, GPT(CONFIG, make(), ops=name), [1, 2, 3, 4]) for name in ("int8", "int4")]
    assert views[1].errors.shape == views[0].errors.shape and np.isfinite(views[1].errors).all()
    assert views[1].errors[-1].mean() > 2 * views[0].errors[-1].mean()
