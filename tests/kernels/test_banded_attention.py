"""Banded layers in compiled code: what lies before a band is not looked at, and no bit of what is left changes."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from small import CONFIG, make, normal, random_ids, run_script

from nanogpt_np import GPT, ops
from nanogpt_np.generation import decoding

kernels = pytest.importorskip("nanogpt_np.kernels")
from nanogpt_np.kernels import attention  # noqa: E402

TWINS = ["numba", "int8", "int4"]
SOME = settings(max_examples=40, deadline=None, derandomize=True)


def everything(q, k, v, dout, visible, side, keep=None):
    """Attention and its gradients by the ops of `side`, with a fifth dropped where `keep` is given."""
    probs = side.attention_probs(q, k, visible)
    dropped = probs if keep is None else side.dropout(probs, keep, 0.2)
    mixed = side.attention_mix(dropped, v)
    dprobs, dv = side.attention_mix_backward(dout, dropped, v)
    dprobs = dprobs if keep is None else side.dropout_backward(dprobs, keep, 0.2)
    return [probs, mixed, *side.attention_probs_backward(dprobs, q, k, probs), dv]


@st.composite
def cases(draw):
    """Queries at the end of some keys, a window, padding at the left of the second text, maybe dropout."""
    n_query, width = draw(st.integers(9, 300)), draw(st.sampled_from([4, 16, 64]))
    n_key = n_query + draw(st.integers(0, 500))
    window, n_padded = draw(st.integers(1, 60) | st.integers(1, n_key)), draw(st.integers(0, n_key))
    return n_query, n_key, width, window, n_padded, draw(st.booleans()), draw(st.integers(0, 9))


def arrays_of(case):
    n_query, n_key, width, window, n_padded, drops, seed = case
    shapes = [(2, 2, n, width) for n in (n_query, n_key, n_key, n_query)]
    arrays = [normal(*shape, seed=seed + i) for i, shape in enumerate(shapes)]
    real = np.arange(n_key) >= np.array([[0], [n_padded]])
    visible = ops.band_mask(n_query, n_key, window) & real[:, None, None, :]
    keep = np.random.default_rng(seed).random((2, 2, n_query, n_key)) > 0.2 if drops else None
    return arrays, visible, keep


BLOCKS = (300, 700, 16, 40, 650, True, 3)  # several blocks of queries, pieces of sums, a text with hidden queries
ALONE = (300, 300, 16, 1, 0, False, 0)  # each token sees itself alone


@SOME
@example(BLOCKS)
@example(ALONE)
@given(cases())
def test_a_band_is_as_in_the_definition(case):
    arrays, visible, keep = arrays_of(case)
    wide = [array.astype(np.float64) for array in arrays]
    sides = everything(*arrays, visible, kernels, keep), everything(*wide, visible, ops, keep)
    for found, expected in zip(*sides, strict=True):
        # float32 sums of up to 700 terms against float64: at most 1e-6 of the largest value in 60 cases
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(np.abs(expected).max(), 1))
    assert not sides[0][0][~np.broadcast_to(visible, sides[0][0].shape)].any()  # hidden is exactly zero


@SOME
@example(BLOCKS)
@example(ALONE)
@given(cases())
def test_a_band_has_the_bits_of_a_dense_layers_kernels(case):
    """The same masks by the kernels that multiply every zero: what is left out changes no sum."""
    arrays, visible, keep = arrays_of(case)
    found = everything(*arrays, visible, kernels, keep)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(attention, "leaves_out", lambda probs: False)
        patched.setattr(attention, "visible_keys", lambda mask: np.zeros((len(mask), 99, 2), int) + [0, mask.shape[2]])
        patched.setattr(attention, "_probs_kernel", in_whole_blocks(attention._probs_kernel))
        expected = everything(*arrays, visible, kernels, keep)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def in_whole_blocks(kernel):
    def run(q, k, mask, bounds, scale, probs):
        n_blocks = math.ceil(mask.shape[1] / attention.QUERIES)
        kernel(q, k, mask, np.ascontiguousarray(bounds[:, :n_blocks]), scale, probs)

    return run


@SOME
@example(BLOCKS, 1)
@given(cases(), st.integers(1, 3))
def test_keys_before_a_band_change_no_bit(case, more):
    """As if they were not there: 384 of them, a whole piece of a sum, or several times as many."""
    arrays, visible, _ = arrays_of(case)
    q, k, v, dout = arrays
    n_more = 384 * more
    before = [(0, 0), (0, 0), (n_more, 0), (0, 0)]
    longer = [q, *(np.pad(array, before, constant_values=3.0) for array in (k, v)), dout]
    hidden = np.pad(visible, [(0, 0), (0, 0), (0, 0), (n_more, 0)])
    probs, mixed, dq, dk, dv = everything(*longer, hidden, kernels)
    cut = probs[..., n_more:], mixed, dq, dk[:, :, n_more:], dv[:, :, n_more:]
    for one, other in zip(cut, everything(*arrays, visible, kernels), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not any(array[:, :, :n_more].any() for array in (probs[..., :n_more].swapaxes(2, 3), dk, dv))


@pytest.mark.parametrize("n_query, n_key, window", [(20, 300, 16), (150, 700, 40), (384, 600, 100), (1000, 1000, 128)])
def test_what_lies_before_a_band_is_not_read(n_query, n_key, window):
    """NaN there would be seen, as even 0 times NaN is NaN. Of 128 queries together the first one's band counts."""
    q, k, v, dout = (normal(2, 2, n, 16, seed=i) for i, n in enumerate((n_query, n_key, n_key, n_query)))
    visible = ops.band_mask(n_query, n_key, window)
    clean = everything(q, k, v, dout, visible, kernels)
    for first in range(0, n_query, 128):
        begin = max(n_key - n_query + first - window + 1, 0)
        end = begin + window - 1 + min(128, n_query - first)
        k_broken, v_broken = k.copy(), v.copy()
        for array in (k_broken, v_broken):
            array[:, :, :begin], array[:, :, end:] = np.nan, np.nan
        probs, mixed, dq, _, _ = everything(q, k_broken, v_broken, dout, visible, kernels)
        block = slice(first, first + 128)
        for found, expected in zip((probs, mixed, dq), clean[:3], strict=True):
            np.testing.assert_array_equal(found[:, :, block], expected[:, :, block])


def test_gradients_of_keys_come_from_the_queries_near_them():
    """NaN in the gradients of far queries, and in their rows of q, does not reach a key, nor a value."""
    n_seq, window = 700, 60
    q, k, v, dout = (normal(1, 2, n_seq, 16, seed=i) for i in range(4))
    probs = kernels.attention_probs(q, k, ops.band_mask(n_seq, n_seq, window))
    clean = [kernels.attention_mix_backward(dout, probs, v)[1],
             kernels.attention_probs_backward(dout @ v.swapaxes(2, 3), q, k, probs)[1]]  # fmt: skip
    q[:, :, 512:], dout[:, :, 512:] = np.nan, np.nan
    dprobs, dv = kernels.attention_mix_backward(dout, probs, v)
    _, dk = kernels.attention_probs_backward(dprobs, q, k, probs)
    near = slice(0, 384)  # keys that queries before 512 look at, in blocks of 128
    np.testing.assert_array_equal(dv[:, :, near], clean[0][:, :, near])
    np.testing.assert_allclose(dk[:, :, near], clean[1][:, :, near], rtol=0, atol=1e-6)  # dprobs by another product


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("n_padded", [0, 30])
@pytest.mark.parametrize("bounds", [(0, 420), (0, 200, 420), (0, 40, 420)])
def test_a_prompt_is_read_without_what_lies_before_the_bands(twin, n_padded, bounds):
    """Embeddings that are NaN make keys and values that are: only tokens whose band has come there may notice."""
    config = CONFIG.replace(n_ctx=420, n_layer=1, window=20, banded_layers=(0,))
    params, ids = make(config), random_ids(2, 420)
    real = np.arange(420) >= np.array([[0], [n_padded]])
    logits = []
    for broken in (False, True):
        if broken:
            params["wpe"]["weight"][:60] = np.nan
        gpt = GPT(config, params, ops=twin)
        cache = decoding.new_cache(2, 420, gpt.params, config, gpt.ops)
        with np.errstate(all="ignore"):
            parts = [gpt(ids[:, a:b], mask=real[:, a:b], cache=cache)
                     for a, b in zip(bounds, bounds[1:], strict=False)]  # fmt: skip
        logits.append(np.concatenate(parts, axis=1))
    first = {420: 128, 200: 200, 40: 168}[bounds[1]]  # where a block of queries begins whose bands have come there
    np.testing.assert_array_equal(logits[1][:, first:], logits[0][:, first:])
    assert np.isnan(logits[1][:, 59]).all()


GRADIENTS = """
import hashlib
import numpy as np
from small import CONFIG, make, random_ids
from nanogpt_np import kernels, ops, params as P
from nanogpt_np.training import backward
config = CONFIG.replace(n_ctx=280, n_layer=1, window=5, banded_layers=(0,))
params, ids = make(config), random_ids(1, 280)
sides = [backward.loss_and_grads(ids, np.roll(ids, -1), params, config, side) for side in (kernels, ops)]
apart = max(np.abs(a - b).max() for (_, a), (_, b) in zip(*(P.walk(grads) for _, grads in sides), strict=True))
bits = b"".join(a.tobytes() for _, a in P.walk(sides[0][1]))
print(abs(sides[0][0] - sides[1][0]), apart, hashlib.sha256(bits).hexdigest())
"""


def gradients(**environment):
    return run_script(GRADIENTS, OPENBLAS_NUM_THREADS="1", **environment).split()


def test_bands_as_plain_python():
    loss, apart, _ = gradients(NUMBA_DISABLE_JIT="1")
    assert float(loss) < 1e-5 and float(apart) < 1e-5  # sums in another order, of gradients up to 1


def test_threads_change_no_bit_of_a_bands_gradients():
    found = [gradients(NUMBA_NUM_THREADS=n) for n in ("1", "2")]
    assert found[0] == found[1] and float(found[0][1]) < 1e-5
