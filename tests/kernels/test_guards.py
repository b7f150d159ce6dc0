"""What holds for every kernel: the definition that it is checked against, infinities that stay, files that are watched.

A new kernel needs a line here: an example of the function of ops.py that runs it, or the reason why there is none.
"""

import ast
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from small import normal

import nanogpt_np
from nanogpt_np import ops

kernels = pytest.importorskip("nanogpt_np.kernels")
pytest.importorskip("nanogpt_np.quantized")
pytest.importorskip("nanogpt_np.quantized.int4")
pytest.importorskip("nanogpt_np.tokenizer.compiled")
from nanogpt_np.kernels import compile as kernel_compile  # noqa: E402
from nanogpt_np.kernels.calls import Shared  # noqa: E402

TESTS, PACKAGE = Path(__file__).parent.parent, Path(nanogpt_np.__file__).parent

X, WIDE = normal(20, 64), normal(300, 64, seed=1)  # few numbers, and too many for one core
WEIGHT, BIAS, VOCABULARY = normal(64, 48, seed=2), normal(48, seed=3), normal(48, 64, seed=4)
GAIN, SHIFT = normal(64, seed=5), normal(64, seed=6)
Q, K, V = (normal(2, 3, 12, 8, seed=i) for i in (7, 8, 9))
PROBS, TARGETS = ops.attention_probs(Q, K, None), np.arange(20)
BANDED = ops.attention_probs(normal(2, 3, 20, 8), normal(2, 3, 300, 8, seed=1), ops.band_mask(20, 300, 3))
FAR = normal(2, 3, 300, 8)
FAR[:, :, :278] = 0  # where no query looks: dprobs is 0 there
LOG_Z = ops.cross_entropy(X, VOCABULARY, TARGETS)[1]

EXAMPLES = {  # the kernel: the function of ops.py that it does the work of, and arguments with which it does
    "pointwise._gelu_new_kernel": ("gelu_new", WIDE),
    "pointwise._gelu_new_backward_kernel": ("gelu_new_backward", WIDE, WIDE[::-1]),
    "pointwise._dropout_kernel": ("dropout", WIDE, WIDE > -1, 0.1),
    "pointwise._layer_norm_kernel": ("layer_norm", WIDE, GAIN, SHIFT),
    "pointwise._layer_norm_backward_kernel": ("layer_norm_backward", X[::-1], X, GAIN, SHIFT),
    "pointwise._merge_heads_kernel": ("merge_heads", normal(2, 4, 64, 40)),
    "products._product_kernel": ("linear", X, WEIGHT, BIAS),
    "products._few_rows_kernel": ("linear", X[:2], WEIGHT, BIAS),
    "products._few_dots_kernel": ("unembed", X[:2], VOCABULARY),
    "products._sum_rows_kernel": ("linear_backward", X @ WEIGHT, X, WEIGHT, BIAS),
    "attention._softmax_kernel": ("softmax_scores", PROBS, ops.causal_mask(12, 12), 2.0),
    "attention._probs_kernel": ("attention_probs", Q, K, ops.causal_mask(12, 12)),
    "attention._few_probs_kernel": ("attention_probs", Q[:, :, :1], K, None),
    "attention._probs_backward_kernel": ("attention_probs_backward", PROBS[::-1], Q, K, PROBS),
    "attention._few_mix_kernel": ("attention_mix", PROBS[:, :, :1], V),
    "attention._mix_kernel": ("attention_mix", BANDED, FAR),
    "attention._mix_backward_kernel": ("attention_mix_backward", normal(2, 3, 20, 8), BANDED, FAR),
    "training._log_sum_exp_kernel": ("cross_entropy", X, VOCABULARY, TARGETS),
    "training._dlogits_kernel": ("cross_entropy_backward", normal(20, seed=1), X, VOCABULARY, TARGETS, LOG_Z),
    "training._sum_of_squares_kernel": ("sum_of_squares", WIDE),
    "training._adam_step_kernel": ("adam_step_", WIDE, -WIDE, 0 * WIDE, WIDE**2, 0.1, (0.9, 0.99), 1e-8, 3),
}

OTHERS = {  # the kernel: why no function of ops.py has its name; its test, and what that calls
    "decode._decode_kernel": ("it is all of model.forward", "generation/test_decoding.py", "kernels, cache"),
    "shortlist._shrink_kernel": ("a head's rows to int8", "kernels/test_shortlist.py", "shortlist_of("),
    "quantized.decode._decode_kernel": ("all of model.forward again", "quantized/test_cache.py", "quantized, cache"),
    "quantized.cache._store_kernel": ("a KVCache's append, in int8", "quantized/test_cache.py", ".append("),
    "quantized.cache._widen_kernel": ("a KVCache's append, in int8", "quantized/test_cache.py", ".append("),
    "quantized.products._multiply_kernel": ("linear of int8", "quantized/test_matrices.py", "quantized.linear("),
    "quantized.nibbles._multiply_fours_kernel": ("linear of int4", "quantized/test_int4.py", "quantized.linear("),
    "quantized.packing._pack_int8_kernel": ("float32 to int8", "quantized/test_packing.py", "Int8Matrix("),
    "quantized.packing._pack_fours_kernel": ("fours.to_fours, laid", "quantized/test_packing.py", "Int4Matrix("),
    "weights._copy_kernel": ("the same numbers elsewhere", "kernels/test_weights.py", "kernels.keep_one("),
    "tokenizer.compiled._fill_kernel": ("the tokenizer's table", "tokenizer/test_compiled.py", "encode_array("),
    "tokenizer.compiled._encode_kernel": ("Tokenizer.encode", "tokenizer/test_compiled.py", "encode_array("),
}


def name_of(kernel):
    module = kernel.function.__module__.removeprefix("nanogpt_np.").removeprefix("kernels.")
    return f"{module}.{kernel.function.__name__}"


OURS = [one for one in kernel_compile._kernels if one.function.__module__.startswith("nanogpt_np.")]
KERNELS = {name_of(one): one for one in OURS if not isinstance(one, Shared)}
SHARED = {name_of(one): one for one in OURS if isinstance(one, Shared)}


def test_every_kernel_is_listed_here():
    assert KERNELS.keys() == EXAMPLES.keys() | OTHERS.keys()
    assert all(re.fullmatch(r"_\w+_kernel", name.rsplit(".", 1)[1]) for name in KERNELS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_kernel_does_the_work_of_its_definition(name, monkeypatch):
    run, arguments = [], EXAMPLES[name][1:]
    function, definition = (getattr(module, EXAMPLES[name][0]) for module in (kernels, ops))
    assert inspect.signature(function) == inspect.signature(definition)
    call = kernel_compile.Kernel.__call__
    monkeypatch.setattr(kernel_compile.Kernel, "__call__", lambda one, *args: (run.append(one), call(one, *args))[1])
    found = []
    for one in (function, definition):
        given = [np.array(a) if isinstance(a, np.ndarray) else a for a in arguments]
        results = one(*given)
        results = results if isinstance(results, tuple) else (results,)
        found.append([a for a in (*results, *given) if isinstance(a, (np.ndarray, float))])  # also what was changed
    assert KERNELS[name] in run
    for actual, expected in zip(*found, strict=True):
        assert np.asarray(actual).dtype == np.asarray(expected).dtype
        # other orders of float32 sums, and an exp good to 1e-7
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", OTHERS)
def test_a_kernel_without_a_definition_of_its_name_has_its_reason_and_a_test(name):
    why, test, called = OTHERS[name]
    assert why and called in (TESTS / test).read_text(encoding="utf-8")


def test_no_kernel_assumes_that_there_are_no_infinities():
    """fastmath=True would: masks are made of infinities, and NaN must reach the logits, where it is an error."""
    assert not kernel_compile.FAST & {"nnan", "ninf", "fast"}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "fastmath":
                said = ast.unparse(node.value)  # FAST, less, or what an inner function was made with
                assert said in ("FAST", "False", "self.targetoptions['fastmath']"), f"{path}:{node.value.lineno}"


def functions_called(function):
    """The functions of this package that a function names, and those that they name."""
    found, waiting = set(), [function]
    while waiting:
        one = waiting.pop()
        for name in one.__code__.co_names:
            other = one.__globals__.get(name)
            if id(other) in kernel_compile.shared_functions:
                other = kernel_compile.shared_functions[id(other)].function
            other = getattr(other, "py_func", getattr(other, "_defn", other))  # a compiled one, an intrinsic
            if inspect.isfunction(other) and other.__module__.startswith("nanogpt_np.") and other not in found:
                found.add(other)
                waiting.append(other)
    return found


@pytest.mark.parametrize("name", KERNELS)
def test_what_a_kernel_calls_stands_where_a_change_is_noticed(name):
    """In the kernel's own file, or in a folder whose files belong to what is compared before a kept one is used."""
    function = KERNELS[name].function
    for other in functions_called(function):
        folder = other.__module__.split(".")[1]
        assert other.__module__ == function.__module__ or folder in kernel_compile.WINGS, other


def test_this_file_sees_what_kernels_call():
    """Else the test above would pass on empty sets."""
    called = {f"{one.__module__}.{one.__name__}" for one in functions_called(KERNELS["decode._decode_kernel"].function)}
    assert {f"nanogpt_np.kernels.{name}" for name in ("heads.attend", "products.dots", "math.exp")} <= called


def test_shared_functions_are_known_apart_and_needed():
    """What two kernels call by one name would be what was loaded last; what no kernel calls is compiled in vain."""
    assert len({one.symbol for one in SHARED.values()}) == len(SHARED) > 0
    needed = {id(shared) for one in OURS for shared in one.needed}
    assert {id(one) for one in SHARED.values()} == needed
