"""One machine as if its CPU knew fewer instructions: what reaches the engines' processes, and what they say of it."""

import json
import os
import platform
import re
import sys
from pathlib import Path

import pytest

from nanogpt_np.bench import ctranslate, isa, llama, roster, workers
from nanogpt_np.bench import ours as bench_ours
from nanogpt_np.bench.report import format_machine
from nanogpt_np.bench.suites import Bench, BenchOptions, start_of
from nanogpt_np.bench.workers import Command, environment, machine
from nanogpt_np.cli import entry as cli
from nanogpt_np.errors import InputError

GATE = Path(__file__).parent.parent.parent / ".ci" / "run"
CT2_SAID = """\
[2026-01-01 12:00:00.000] [ctranslate2] [thread 1] [info] CPU: AuthenticAMD (SSE4.1=true, AVX=true, AVX2=true)
[2026-01-01 12:00:00.000] [ctranslate2] [thread 1] [info]  - Selected ISA: AVX2
[2026-01-01 12:00:00.000] [ctranslate2] [thread 1] [info]  - Use Intel MKL: false
[2026-01-01 12:00:00.000] [ctranslate2] [thread 1] [info]  - SGEMM backend: DNNL (packed: false)
[2026-01-01 12:00:00.000] [ctranslate2] [thread 1] [info]  - GEMM_S8 backend: MKL (packed: false)
""".splitlines()


@pytest.fixture(autouse=True)
def on_x86_with_nothing_set(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr("nanogpt_np.kernels.compile.is_amd", lambda: False)
    for name in isa.SWITCHES:
        monkeypatch.delenv(name, raising=False)


def test_every_engine_is_held_by_its_switch():
    held = environment(2, "avx2")
    assert held["CT2_FORCE_CPU_ISA"] == held["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert held["ATEN_CPU_CAPABILITY"] == "avx2" and held["OPENBLAS_CORETYPE"] == "Haswell"
    assert held["NUMBA_CPU_NAME"] == "haswell" and held["OMP_NUM_THREADS"] == "2"
    assert not set(isa.SWITCHES) & set(environment(2))


def test_kernels_stay_tuned_for_the_maker_of_the_cpu(monkeypatch):
    monkeypatch.setattr("nanogpt_np.kernels.compile.is_amd", lambda: True)
    held = environment(2, "avx2")
    assert held["NUMBA_CPU_NAME"] == "znver3" and held["NUMBA_CPU_FEATURES"] == isa.HELD["avx2"]["NUMBA_CPU_FEATURES"]
    assert "NUMBA_CPU_NAME" not in environment(2)
    assert environment(2, "avx2")["ATEN_CPU_CAPABILITY"] == "avx2"


def test_the_features_are_those_of_the_gate():
    found = re.search(r"NUMBA_CPU_NAME=(\S+) \\\s+NUMBA_CPU_FEATURES=(\S+)", GATE.read_text(encoding="utf-8"))
    assert found.groups() == (isa.HELD["avx2"]["NUMBA_CPU_NAME"], isa.HELD["avx2"]["NUMBA_CPU_FEATURES"])


def test_it_reaches_workers_and_commands(monkeypatch, tmp_path):
    """What Popen is given, of a worker; what a command's own process finds."""
    given = []

    class Popen:
        def __init__(self, command, env, **more):
            given.append(env)
            raise OSError("enough")

    monkeypatch.setattr(workers.subprocess, "Popen", Popen)
    for name in ("native", "avx2"):
        bench = Bench(BenchOptions(size="tiny", isa=name), 1, tmp_path, pause=0.0)
        with pytest.raises(OSError, match="enough"):
            bench.open_worker("generate", "numpy", bench.settings(tmp_path))
    assert ["CT2_FORCE_CPU_ISA" in env for env in given] == [False, True]
    monkeypatch.undo()
    monkeypatch.setattr("nanogpt_np.kernels.compile.is_amd", lambda: False)
    code = "import os; print(os.environ.get('NUMBA_CPU_NAME'))"
    assert Command([sys.executable, "-c", code], 1, "", "avx2").ask({})["text"] == "haswell"


def test_start_is_held_too(monkeypatch, tmp_path):
    made = []

    class Silent(Command):
        def __init__(self, *words, bytecode):
            made.append((words[-1], bytecode))
            super().__init__([sys.executable, "-c", "print('a')"], 1, "")

    monkeypatch.setattr("nanogpt_np.bench.suites.Command", Silent)
    monkeypatch.setattr("nanogpt_np.bench.suites.OPS", ["numpy"])
    monkeypatch.setattr(roster, "installed", lambda modules: False)
    start_of(Bench(BenchOptions(isa="avx2", runs=1), 1, tmp_path, pause=0.0), tmp_path, "nothing")
    assert made == [("avx2", tmp_path / "bytecode")]


def test_the_machine_line_says_what_was_forced(monkeypatch):
    about = machine(1, [], "avx2")
    line = next(line for line in format_machine(about).split("\n") if line.startswith("instructions held by"))
    assert "CT2_FORCE_CPU_ISA=AVX2" in line and "NUMBA_CPU_NAME=haswell" in line and "NUMBA_CPU_FEATURES" in line
    assert json.loads(json.dumps(about))["isa"] == "avx2"
    assert "held" not in format_machine(machine(1, []))
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")  # by the user's own hand
    assert "held by ATEN_CPU_CAPABILITY=default; llama" in format_machine(machine(1, []))


def test_mistakes_are_one_line(monkeypatch, capsys):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert cli.main(["bench", "--isa", "avx2", "--json", "/no/such/folder/x.json"]) == 2  # nothing is measured
    said = capsys.readouterr().err
    assert said == "nanogpt-np: --isa: expected native on a CPU of the kind aarch64, got 'avx2'\n"
    with pytest.raises(InputError, match="isa: expected one of native, avx2, got 'avx9'"):
        BenchOptions(isa="avx9")


# ---------------------------------------------------------------- what the engines say


@pytest.mark.parametrize("kind, product", [("float32", "SGEMM by DNNL"), ("int8", "GEMM_S8 by MKL")])
def test_the_back_end_of_ctranslate2(kind, product):
    assert ctranslate.back_end(CT2_SAID, kind) == [f"AVX2, {product} (packed: false)"]
    assert ctranslate.back_end(["Loaded model - x: y"], kind) == ctranslate.back_end([], kind) == []


def test_what_a_library_writes_to_standard_error_is_kept(capfd):
    with ctranslate.kept_stderr() as lines:
        os.write(2, b"one\ntwo\n")
    os.write(2, b"three\n")
    assert lines == ["one", "two"] and capfd.readouterr().err == "three\n"


def test_what_llama_cpp_was_compiled_for():
    wheel = "CPU : SSE3 = 1 | AVX = 1 | AVX2 = 1 | F16C = 1 | OPENMP = 1 | "
    source = "CPU : SSE3 = 1 | AVX2 = 1 | AVX512 = 1 | AVX512_VNNI = 1 | AVX512_BF16 = 0 | "
    assert llama.compiled_for(wheel, "native") == llama.compiled_for(wheel, "avx2") == "compiled for AVX2"
    assert llama.compiled_for(source, "native") == "compiled for AVX512 AVX512_VNNI"
    assert llama.compiled_for(source, "avx2") == "compiled for AVX512 AVX512_VNNI, NOT held to avx2"
    assert llama.compiled_for("CPU : NEON = 1 | DOTPROD = 1 | ", "native") == "compiled for NEON DOTPROD"


@pytest.mark.peers
@pytest.mark.parametrize(
    "engine, said",
    [
        ("transformers", r"torch \S+ with AVX2;"),
        ("ctranslate2 float32", r"; AVX2, SGEMM by \w+"),
        ("ctranslate2 int8", r"; AVX2, GEMM_S8 by \w+"),
        ("llama.cpp Q8_0", r"compiled for AVX2$"),  # of the wheel; one made from source may say more
    ],
)
def test_each_peer_says_that_it_is_held(tmp_path, engine, said):
    for module in roster.GENERATE_PEERS[engine]:
        pytest.importorskip(module)
    bench_ours.Maker({"directory": str(tmp_path / "model")}).run({"size": "tiny", "lively": True})
    bench = Bench(BenchOptions(size="tiny", isa="avx2"), 1, tmp_path, pause=0.0)
    settings = bench.prepared(engine, bench.settings(tmp_path / "model", n_ctx=40))
    with bench.open_worker("generate", engine, settings) as worker:
        assert re.search(said, worker.about), worker.about
        assert len(worker.ask({"ids": [1, 2, 3], "n_new": 4})["ids"]) == 4
