"""Weights and activations that are not numbers: an error under --ops int8 as under the others, never fluent text."""

import numpy as np
import pytest
from small import CONFIG, make, normal, random_ids

from nanogpt_np import GPT, model, ops
from nanogpt_np import params as P
from nanogpt_np.errors import InputError
from nanogpt_np.generation import decoding
from nanogpt_np.kv_cache import KVCache

kernels = pytest.importorskip("nanogpt_np.kernels")
quantized = pytest.importorskip("nanogpt_np.quantized")

NAMES = list(P.shapes(CONFIG))
MATRICES = [name for name in NAMES if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight", "wte.weight"))]
BROKEN = [np.nan, -np.nan, np.inf, -np.inf]


def broken(name, value, params=None):
    """A model with one weight that is not a number, in the row of token 1 or of position 0 where rows are looked up."""
    params = params or make()
    dict(P.walk(params))[name].reshape(-1)[CONFIG.n_embd if name == "wte.weight" else 0] = value
    return params


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("twin", ["numpy", "numba", "int8", "int4"])
def test_one_weight_that_is_nan_is_an_error(name, twin):
    with pytest.raises(InputError, match="NaN"):
        GPT(CONFIG, broken(name, np.nan), ops=twin).generate([1, 2, 3], 2, temperature=0)


@pytest.mark.parametrize("value", BROKEN)
@pytest.mark.parametrize("name", NAMES)
def test_int8_names_a_matrix_that_is_not_numbers_and_never_goes_on(name, value):
    expected = "expected (finite weights, got NaN or infinity|logits that are numbers|a token to choose from)"
    with pytest.raises(InputError, match=f"{name}: {expected}" if name in MATRICES else expected):
        GPT(CONFIG, broken(name, value), ops="int8").generate([1, 2, 3], 2, temperature=0)


def test_a_model_on_disk_is_refused_as_it_is_opened(tmp_path):
    name = "h.1.mlp.c_fc.weight"
    GPT(CONFIG, broken(name, np.nan)).save(tmp_path / "m")
    with pytest.raises(InputError, match=f"{name}: expected finite weights, got NaN .* of 1 of 96 outputs"):
        GPT.from_pretrained(tmp_path / "m", ops="int8")


@pytest.mark.parametrize("value", BROKEN)
@pytest.mark.parametrize("n_rows", [1, 5])  # one row at a time, and several
def test_an_activation_that_is_not_a_number_makes_all_of_its_row_nan(value, n_rows):
    x, matrix, bias = normal(n_rows, 130), quantized.Int8Matrix(normal(130, 70, seed=1)), normal(70, seed=2)
    expected = quantized.linear(x, matrix, bias)
    for column in (0, 63, 64, 129):
        row, one = n_rows // 2, x.copy()
        one[row, column] = value
        got = quantized.linear(one, matrix, bias)
        assert np.isnan(got[row]).all()
        assert np.array_equal(np.delete(got, row, axis=0), np.delete(expected, row, axis=0))


@pytest.mark.parametrize("value", BROKEN)
def test_a_matrix_of_its_own_makes_nan_of_what_it_cannot_hold(value):
    weight = normal(70, 90)
    weight[3, 5] = value
    matrix = quantized.Int8Matrix(weight)
    others = np.arange(90) != 5
    for got in (matrix.dequantized(), quantized.linear(normal(2, 70), matrix, np.zeros(90, np.float32))):
        assert np.isnan(got[:, 5]).all() and np.isfinite(got[:, others]).all()


@pytest.mark.parametrize("size", [1e-36, 1e-38, 1e-45])
def test_numbers_that_are_almost_zero_are_zero(size):
    """127 divided by the smallest of them is infinite, and infinity times zero is not a number."""
    x, matrix = np.full((2, 64), size, np.float32), quantized.Int8Matrix(normal(64, 64))
    x[:, ::2] = 0
    assert np.abs(quantized.linear(x, matrix, np.zeros(64, np.float32))).max() <= 64 * size * 5
    assert np.abs(quantized.Int8Matrix(x).dequantized()).max() <= size * 1.001


@pytest.mark.parametrize("value", BROKEN)
def test_what_is_remembered_of_a_key_that_is_not_a_number_is_nan(value):
    cache, k = quantized.Int8Cache(CONFIG, 2), normal(2, CONFIG.n_head, 3, CONFIG.d_head)
    k[1, 2, 0, 4] = value
    for got in cache.append(1, k, k):
        assert np.isnan(got[1, 2, 0]).all() and np.isnan(got).sum() == CONFIG.d_head


@pytest.mark.parametrize("name", [name for name in NAMES if name not in MATRICES])
@pytest.mark.parametrize("twin", [kernels, quantized])
def test_compiled_decoding_passes_nan_on(name, twin):
    """What arises on the way, behind a cache of numbers, reaches the logits of each row."""
    params = quantized.quantize(make(), CONFIG) if twin is quantized else make()
    cache = decoding.new_cache(2, 16, params, CONFIG, twin)
    model.forward(random_ids(2, 4), params, CONFIG, twin, cache=cache)
    broken(name, np.nan, params)
    if name == "wpe.weight":
        params["wpe"]["weight"][4] = np.nan
    ids = np.array([[1], [1]])
    assert twin.decode_plan(ids.shape, params, CONFIG, cache) is not None
    assert np.isnan(decoding.decode(ids, params, CONFIG, twin, cache)).any(axis=-1).all()


@pytest.mark.parametrize("twin", [ops, kernels, quantized])
def test_compiled_decoding_passes_on_nan_that_is_remembered(twin):
    params = quantized.quantize(make(), CONFIG) if twin is quantized else make()
    for name in KVCache.STORED if twin is not quantized else ("key_factors", "value_factors"):
        cache = decoding.new_cache(2, 16, params, CONFIG, twin)
        model.forward(random_ids(2, 4), params, CONFIG, twin, cache=cache)
        getattr(cache, name)[0, 0, 1, 2] = np.nan
        got = decoding.decode(np.array([[1], [1]]), params, CONFIG, twin, cache)
        assert np.isnan(got[0]).any() and np.isfinite(got[1]).all(), name


@pytest.mark.parametrize("twin", [ops, kernels])
def test_attention_gives_nan_to_whoever_sees_it(twin):
    q, k = normal(1, 2, 12, 8), normal(1, 2, 12, 8, seed=1)
    k[0, 1, 7, 3] = np.nan
    for n in (12, 1):  # many queries, and one
        probs = twin.attention_probs(q[:, :, -n:], k, ops.causal_mask(n, 12))
        visible, asks = ops.causal_mask(n, 12), np.arange(12 - n, 12)
        assert np.isfinite(probs[0, 0]).all() and np.isfinite(probs[0, 1, asks < 7]).all()
        assert np.isnan(probs[0, 1, asks >= 7][visible[asks >= 7]]).all()


@pytest.mark.parametrize("twin", [ops, kernels])
@pytest.mark.parametrize("chunk", [4, 4096])
def test_a_loss_is_nan_where_a_logit_is(twin, chunk):
    x, weight = normal(3, 8), normal(12, 8, seed=1)
    weight[2] = np.nan  # with chunks, among the first
    losses, log_z = twin.cross_entropy(x, weight, np.array([0, 5, 11]), chunk)
    assert np.isnan(losses).all() and np.isnan(log_z).all()
