"""kernels/compile.py: the first compilation explains itself, warmup does it ahead, no folder to keep it in is fine."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nanogpt_np
from nanogpt_np import GPT, gpt
from nanogpt_np import ops as numpy_ops
from nanogpt_np.cli import entry as cli

kernel_compile = pytest.importorskip("nanogpt_np.kernels.compile")

SCRIPT = """
import numpy as np
from nanogpt_np import kernels, ops
from nanogpt_np.kernels import compile as kernel_compile
from nanogpt_np.kernels.pointwise import _layer_norm_kernel
x, w = np.ones((2, 3, 40), np.float32), np.ones(40, np.float32)
print(np.abs(kernels.layer_norm(x, w, w) - ops.layer_norm(x, w, w)).max())
print(kernel_compile.where())
print(_layer_norm_kernel.is_kept(), kernel_compile.all_kept())
"""


def run(script, package=None, **environment):
    """A script in a process of its own, with the package from another folder where one is given."""
    package = str(package or Path(nanogpt_np.__file__).parent.parent)
    environment = os.environ | {"PYTHONPATH": package, **environment}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, cwd=package, capture_output=True, text=True, check=True)
    return done.stdout.splitlines(), done.stderr


def test_a_cold_folder_is_filled_and_used(tmp_path):
    script = SCRIPT.replace("print(np", "print(_layer_norm_kernel.is_kept()); print(np")
    for kept in ("False", "True"):
        lines, _ = run(script, NUMBA_CACHE_DIR=str(tmp_path))
        assert lines[0] == kept and float(lines[1]) < 1e-6
        assert lines[2].startswith(f"kept in {tmp_path}") and lines[3] == "True False"


def copied_package(folder):
    package = Path(nanogpt_np.__file__).parent
    shutil.copytree(package, folder / "nanogpt_np", ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "nanogpt_np"


def test_the_process_that_compiles_has_the_bits_of_those_that_load(tmp_path):
    """A run that is killed and resumed is another process."""
    script = """
import hashlib, numpy as np
from nanogpt_np import kernels
from nanogpt_np.kernels import compile as kernel_compile
from nanogpt_np.kernels.pointwise import _layer_norm_backward_kernel
x = np.random.default_rng(1).standard_normal((2, 64, 96), dtype=np.float32)
print(_layer_norm_backward_kernel.is_kept())
for array in (*kernels.layer_norm_backward(*x, x[0, 0], x[0, 1]), kernels.layer_norm(x[0], x[0, 1], x[0, 2]),
              kernels.gelu_new(x), kernels.gelu_new_backward(*x), kernels.softmax_scores(x, None, 0.5),
              kernels.unembed(x[:1, :3], x[1])):
    print(hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest())
"""
    (was_kept, *compiled), _ = run(script, NUMBA_CACHE_DIR=str(tmp_path))
    (is_kept, *loaded), _ = run(script, NUMBA_CACHE_DIR=str(tmp_path))
    assert (was_kept, is_kept) == ("False", "True") and compiled == loaded and len(loaded) == 8


def test_a_change_in_a_file_that_kernels_call(tmp_path):
    path = copied_package(tmp_path) / "kernels" / "math.py"
    script = SCRIPT.replace("print(np", "print(_layer_norm_kernel.is_kept()); print(np")
    for kept, error in (("False", 0.0), ("True", 0.0), ("False", 2.0)):
        if error:
            path.write_text(path.read_text("utf-8").replace("+ bias[j]", "+ bias[j] * THREE"), "utf-8")
        lines, _ = run(script, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "kept"))
        assert lines[0] == kept and float(lines[1]) == pytest.approx(error, abs=1e-6)


CHANGES = """
from nanogpt_np import quantized
from nanogpt_np.kernels import compile
from nanogpt_np.tokenizer import compiled
def stamps():
    compile._sources.cache_clear()
    made = {one.function.__module__.split(".")[1]: one._dispatcher(cache=True) for one in compile._kernels}
    return {wing: compile._index(dispatcher)._source_stamp for wing, dispatcher in made.items()}
before = stamps()
for path in ("kernels/products.py", "quantized/products.py", "tokenizer/compiled.py", "ops.py"):
    with open("nanogpt_np/" + path, "a") as file:
        file.write("# another byte\\n")
    after = stamps()
    print(path, *sorted(wing for wing in after if after[wing] != before[wing]))
    before = after
"""


def test_what_was_kept_counts_until_a_file_changes_that_it_may_come_from(tmp_path):
    """Kernels call functions of kernels/ and quantized/; those of the tokenizer, which nobody calls, are its own."""
    copied_package(tmp_path)
    lines, _ = run(CHANGES, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "kept"))
    assert lines == [
        "kernels/products.py kernels quantized tokenizer",
        "quantized/products.py kernels quantized tokenizer",
        "tokenizer/compiled.py tokenizer",
        "ops.py",
    ]


FORKED = """
import multiprocessing
import numpy as np
import numba
from nanogpt_np import InputError, Tokenizer, kernels, ops
text = "Once upon a time there was a fork. " * 2000
x, weight = np.ones((200, 100), np.float32), np.ones(100, np.float32)
def tell(pipe):
    try:
        kernels.layer_norm(x, weight, weight)
        pipe.send("no error")
    except InputError as error:
        pipe.send(str(error))
    pipe.send(len(Tokenizer.gpt2().encode_array(text)))
if __name__ == "__main__":
    kernels.layer_norm(x, weight, weight), Tokenizer.gpt2().encode_array(text)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=tell, args=(theirs,))
    child.start()
    theirs.close()
    child.join()
    print(numba.threading_layer(), child.exitcode, ours.recv(), ours.recv(), sep="\\n")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is not everywhere")
def test_a_forked_process_says_that_it_can_run_no_kernel():
    """GNU OpenMP would end it with a word about OpenMP; what needs no threads goes on, and so do other pools."""
    (layer, exitcode, said, n_ids), _ = run(FORKED)
    assert exitcode == "0" and int(n_ids) == 9 * 2000 + 1  # the last blank is a token
    assert said == "no error" if layer != "omp" else "kernels: expected" in said and "get_context('spawn')" in said


def test_no_folder_can_be_written_to(tmp_path):
    """The package's folder and the user's are files here, so that even root cannot write into them."""
    (copied_package(tmp_path) / "kernels" / "__pycache__").write_text("no folder")
    (tmp_path / "home").write_text("no folder")
    nowhere = str(tmp_path / "home")
    lines, _ = run(
        SCRIPT, tmp_path, HOME=nowhere, XDG_CACHE_HOME=nowhere, NUMBA_CACHE_DIR=nowhere, LOCALAPPDATA=nowhere,
        PYTHONDONTWRITEBYTECODE="1",
    )  # fmt: skip
    assert float(lines[0]) < 1e-6 and lines[1].startswith("not kept: no folder") and lines[2] == "False False"


def test_a_compilation_that_takes_long_says_so_once(tmp_path):
    script = "from nanogpt_np.kernels import compile as kernel_compile\nkernel_compile.PATIENCE = 0.01\n" + SCRIPT
    _, said = run(script, NUMBA_CACHE_DIR=str(tmp_path))
    assert said.count("compiling kernels") == 1 and "nanogpt-np warmup" in said


def test_warmup(monkeypatch, capsys):
    """The command compiles whatever is defined; here nothing has to be."""
    compiled = []
    monkeypatch.setattr(kernel_compile.Kernel, "compile", lambda self: compiled.append(self))
    for one in kernel_compile._kernels:
        monkeypatch.setattr(one, "is_ready", False)
    assert cli.main(["warmup"]) == 0
    assert len(compiled) == len(kernel_compile._kernels) and f"{len(compiled)} kernels ready" in capsys.readouterr().out


@pytest.mark.parametrize("wing", kernel_compile.WINGS)
def test_load_kept_leaves_the_others(wing, monkeypatch):
    loaded = []
    monkeypatch.setattr(kernel_compile.Kernel, "compile", lambda self: loaded.append(self))
    for one in kernel_compile._kernels:
        monkeypatch.setattr(one, "is_ready", False)
        monkeypatch.setattr(one, "is_kept", lambda early=one.early: early)
    kernel_compile.load_kept(wing)
    expected = [one for one in kernel_compile._kernels if one.early and f".{wing}." in one.function.__module__]
    assert loaded == expected and len(loaded) >= 8


def test_memory_of_a_library_is_given_back(monkeypatch):
    """What has been paged out still works; a library that is not there, or a system without madvise, is no error."""
    kernel_compile._page_out("libllvmlite")
    kernel_compile._page_out("no such library")
    monkeypatch.setattr(kernel_compile.ctypes, "CDLL", lambda name: object())
    kernel_compile._page_out("libllvmlite")


@pytest.mark.parametrize(
    "n_parameters, kept, module, why",
    [
        (1_000, True, "ops", "fewer than 200,000,000"),
        (300_000_000, True, "kernels", "kernels that are compiled"),
        (300_000_000, False, "ops", "`nanogpt-np warmup` compiles them"),
    ],
)
def test_auto(monkeypatch, n_parameters, kept, module, why):
    monkeypatch.setattr(kernel_compile, "all_kept", lambda: kept)
    monkeypatch.setattr(kernel_compile, "load_kept", lambda wing: None)
    chosen, words = gpt.choose_ops(n_parameters)
    assert chosen.__name__ == f"nanogpt_np.{module}" and why in words


def test_verbose_says_who_does_the_arithmetic(capsys):
    for ops, expected in (("numpy", "ops nanogpt_np.ops, 5,853,184 parameters"), ("auto", "auto: a model of fewer")):
        assert cli.main(["generate", "Once", "--max-new-tokens", "1", "--ops", ops, "--verbose"]) == 0
        assert expected in capsys.readouterr().err
    assert GPT.from_pretrained("stories").ops is numpy_ops


THREADS = """
from nanogpt_np import GPT
for ops in ("numba", "int8", "int4"):
    gpt = GPT.from_pretrained("stories", ops=ops)
    print([gpt.generate("Once upon a time", 40, seed=1), gpt.generate(["The cat", "One day Tom"], 20, seed=2)])
    print(gpt([3, 1, 4]).sum(), gpt([[3, 1, 4, 1, 5, 9, 2, 6]] * 9).sum())
"""


def test_the_same_tokens_with_one_thread_and_two():
    one, two = (run(THREADS, NUMBA_NUM_THREADS=n)[0] for n in "12")
    assert one == two and len(one) == 6


def test_what_a_kernel_calls_is_compiled_as_a_part_of_it(tmp_path):
    """Its code is in the kernel: what stands alone as machine code would have been made, and optimized, in vain."""
    script = """
import numpy as np
from nanogpt_np.kernels import shortlist
weight = np.ones((12000, 768), np.float32)
print(shortlist.shortlist_of(weight).rows.mean())
(made,) = shortlist._shrink_part.overloads.values()
print(made.library.get_pointer_to_function(made.fndesc.llvm_func_name))
"""
    lines, _ = run(script, NUMBA_CACHE_DIR=str(tmp_path))
    assert lines == ["127.0", "0"]


def test_what_another_thread_compiles_meanwhile_is_whole(tmp_path):
    """Functions of one's own, for which a kernel in the making would be none of its business."""
    script = """
import threading
from numba import njit
from nanogpt_np.kernels import pointwise, products

def make(n):
    return njit(lambda x: x * x + n)

def compile_some():
    for one in (pointwise._gelu_new_kernel, products._few_rows_kernel, products._few_dots_kernel):
        one.compile()  # and those that they need

begun = threading.Thread(target=compile_some)
made = [make(0)(3)]
begun.start()
while begun.is_alive() or len(made) < 2:
    made.append(make(len(made))(3))
print(made == list(range(9, 9 + len(made))), len(made) > 0)
"""
    lines, _ = run(script, NUMBA_CACHE_DIR=str(tmp_path))
    assert lines == ["True True"]
