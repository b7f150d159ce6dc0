"""The ways to multiply int8, by int8 or by four bits: each gives plain loops' bits, by the instruction it names."""

import platform

import pytest
from small import run_script

from nanogpt_np.kernels.compile import cpu_has
from nanogpt_np.quantized import nibbles, vectors

ON_X86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="instructions of x86_64")
NONE = "+sse4.2,+avx,+fma"  # loops, but with an fma that is rounded once; older CPUs round twice
AVX2 = "+sse4.2,+avx,+avx2,+fma,+bmi,+bmi2,+f16c"
AVX512 = f"{AVX2},+avx512f,+avx512bw,+avx512dq,+avx512vl"

SAME = "412f386e164be76a0cc4ea2d6fd2dc2be744dbdc5b2c298ca0a924c6aa6e77ca"  # by int8
SAME_4 = "3352b8d2e3844910b8f8fe76176816f53f3ae8f29c7e68a93e233dd16e03dfdc"  # by four bits

PRODUCTS = """
import hashlib
import numpy as np
from nanogpt_np.quantized import Int8Matrix, int4, linear, nibbles, vectors
rng = np.random.default_rng(0)
draw = lambda *shape: rng.standard_normal(shape, dtype=np.float32)
weight, bias = draw(200, 150), draw(150)
weight[:, 3] = 0  # an output without weights
matrix = Int8Matrix(weight)
found = [linear(rows, matrix, bias) for rows in (draw(n, 200) * 3 for n in (1, 2, 3, 4, 9))]
largest = np.full((5, 200), 127, np.float32) * np.sign(draw(5, 200))  # every product as large as it can be
found.append(linear(largest, Int8Matrix(np.sign(weight) * 127), bias))
found_4 = []
for scale in (1, 1e-6, 3e4):  # 1e-6: scales of 2e-7, where float16 has fewer digits
    four = int4.Int4Matrix(weight * np.float32(scale))
    found_4 += [linear(rows, four, bias) for rows in (draw(n, 200) * 3 for n in (1, 2, 4, 9))]
found_4.append(linear(largest, int4.Int4Matrix(np.sign(weight) * 8), bias))
print(vectors.RECIPE.instruction or "loops", hashlib.sha256(b"".join(a.tobytes() for a in found)).hexdigest())
print(nibbles.RECIPE.instruction or "loops", hashlib.sha256(b"".join(a.tobytes() for a in found_4)).hexdigest())
"""
ASSEMBLY = """
import re
from nanogpt_np.kernels import compile
from nanogpt_np.quantized import nibbles, products, vectors
for module, function in ((vectors, products.multiply_panels), (nibbles, nibbles.multiply_fours)):
    shared = compile.shared_functions[id(function)]
    shared.compile()  # which runs nothing: this CPU need not have the instructions
    (made,) = shared.dispatcher.overloads.values()
    words = [re.findall("vp[a-z]+|vcvtph2ps|[xyz]mm", line) for line in made.library.get_asm_str().splitlines()]
    print(module.RECIPE.instruction, *sorted({"-".join(of_line[:2]) for of_line in words}))
"""


def forced(features):
    return {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features}


@pytest.mark.slow
@ON_X86
@pytest.mark.parametrize(
    "features, needs",
    [(AVX2, "avx2"), (f"{AVX2},+avxvnni", "avxvnni"), (AVX512, "avx512bw"), (f"{AVX512},+avx512vnni", "avx512vnni")],
)
def test_every_way_gives_the_same_bits(features, needs):
    """Whole sums are exact, and what follows is rounded once by every one of them: nothing may differ."""
    if not cpu_has(needs):
        pytest.skip(f"this CPU has no {needs}")
    names = [module.RECIPES[needs].instruction for module in (vectors, nibbles)]
    assert run_script(PRODUCTS, **forced(features)).split() == [names[0], SAME, names[1], SAME_4]


@pytest.mark.slow
@ON_X86
def test_plain_loops_give_the_same_bits():
    assert run_script(PRODUCTS, **forced(NONE)).split() == ["loops", SAME, "loops", SAME_4]


@pytest.mark.skipif(vectors.RECIPE == vectors.PLAIN, reason="this CPU has none of the instructions")
def test_this_cpu_gives_the_same_bits_as_any():
    """SAME was found by plain loops, by AVX2's way, and on 64-bit Arm (emulated) by its own and by plain loops."""
    assert run_script(PRODUCTS).split() == [vectors.RECIPE.instruction, SAME, nibbles.RECIPE.instruction, SAME_4]


@pytest.mark.slow
@ON_X86
@pytest.mark.parametrize(
    "features, feature, expected, expected_4",
    [
        (AVX2, "avx2", {"vpsignb-ymm", "vpmaddubsw-ymm", "vpmaddwd-ymm"}, {"vpmaddubsw-ymm", "vpmaddwd-ymm"}),
        (f"{AVX2},+avxvnni", "avxvnni", {"vpdpbusd-ymm"}, {"vpdpbusd-ymm"}),
        (
            AVX512, "avx512bw", {"vpmaddwd-zmm", "vpmovsxbw-zmm"},
            {"vpmaddubsw-zmm", "vpmaddwd-zmm", "vcvtph2ps-zmm"},
        ),
        (f"{AVX512},+avx512vnni", "avx512vnni", {"vpdpbusd-zmm"}, {"vpdpbusd-zmm", "vcvtph2ps-zmm"}),
    ],
)
def test_every_way_is_made_of_its_instruction(tmp_path, features, feature, expected, expected_4):
    """In a cold folder, as Numba shows no assembly of what it kept."""
    lines = run_script(ASSEMBLY, NUMBA_CACHE_DIR=str(tmp_path), **forced(features)).splitlines()
    for module, line, wanted in zip((vectors, nibbles), lines, (expected, expected_4), strict=True):
        instruction, *found = line.split()
        assert instruction == module.RECIPES[feature].instruction and wanted <= set(found)


def test_the_best_way_is_chosen():
    chosen = {
        "avx512vnni avxvnni avx512bw avx2": "avx512vnni", "avxvnni avx2": "avxvnni", "avx512bw avx2": "avx512bw",
        "avx2": "avx2", "dotprod neon": "dotprod",
    }  # fmt: skip
    for features, expected in chosen.items():
        for module in (vectors, nibbles):
            assert module.recipe_of(features.split().__contains__) == module.RECIPES[expected]
            assert module.recipe_of({"sse4.2"}.__contains__) == module.PLAIN


@pytest.mark.parametrize("recipe", [*vectors.RECIPES.values(), vectors.PLAIN])
def test_a_way_fits_panels_and_registers(recipe):
    n_registers = 32 if "512" in recipe.instruction.split(".")[-1] or recipe.name == "sdot" else 16
    assert vectors.PANEL % (recipe.lanes * recipe.strip) == 0 and vectors.GROUP % recipe.together == 0
    assert recipe.rows * recipe.strip + recipe.strip + 2 <= n_registers or recipe == vectors.PLAIN


@pytest.mark.parametrize("recipe", [*nibbles.RECIPES.values(), nibbles.PLAIN])
def test_a_way_by_four_bits_fits_panels_and_registers(recipe):
    """A row alone has 4 registers of sums; beside those, the halves of a byte, activations, a mask and ones."""
    n_registers = 32 if recipe.lanes != 8 else 16  # AVX-512 and Arm have 32
    assert nibbles.PANEL % (recipe.lanes * recipe.strip) == nibbles.PANEL % (recipe.lanes * 4) == 0
    assert recipe.rows * recipe.strip + 5 <= n_registers
