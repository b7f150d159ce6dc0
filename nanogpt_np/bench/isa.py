"""One machine measured as if its CPU knew fewer instructions: every engine is held to them by its own switch.

Enter: the name of an instruction set. Leave: environment variables for the engines' processes, and words.
Next: bench/workers.py.
"""

import platform

from ..errors import InputError

HASWELL = (  # the first CPUs with AVX2, and what LLVM may use of them
    "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2,+f16c,+lzcnt,+movbe"
)
HELD = {
    "native": {},
    "avx2": {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": HASWELL,
        "OPENBLAS_CORETYPE": "Haswell",  # NumPy's products of matrices
        # NumPy's own loops: those of 2.4, and of releases before; it passes over names that it does not know
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL",
        "CT2_FORCE_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",  # PyTorch, and the libraries behind it
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
}
SWITCHES = HELD["avx2"].keys()
ZEN_3 = "znver3"  # the last of AMD's without AVX-512


def check_isa(isa):
    """InputError for an instruction set that is unknown, or that this machine is not made for."""
    if isa not in HELD:
        raise InputError(f"isa: expected one of {', '.join(HELD)}, got {isa!r}")
    if isa != "native" and platform.machine().lower() not in ("x86_64", "amd64"):
        raise InputError(f"isa: expected native on a CPU of the kind {platform.machine()}, got {isa!r}")


def switches_for(isa):
    """What holds the engines here: what our kernels do for this CPU's maker, they go on doing."""
    if isa == "native":
        return HELD[isa]
    from ..kernels import compile  # Numba's import takes a second, which nobody else needs here

    return HELD[isa] | ({"NUMBA_CPU_NAME": ZEN_3} if compile.is_amd() else {})


def describe_isa(environment):
    """Words about what holds the engines, by the switches found in their environment; "" where nothing does."""
    found = [name for name in SWITCHES if name in environment]
    if not found:
        return ""
    values = [f"{name}={environment[name]}" for name in found if len(environment[name]) <= 16]
    longer = [name for name in found if len(environment[name]) > 16]
    return f"instructions held by {', '.join([*values, *longer])}; llama.cpp's are those it was compiled for"
