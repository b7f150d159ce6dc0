"""`nanogpt-np warmup`, `bench` and `download`: what concerns this machine.

Next: cli/serving.py.
"""

from .options import command


def add_bench(commands):
    """`bench` and its options."""
    p = command(commands, "bench", bench, "measure this project beside every other that is installed",
                "nanogpt-np bench decode --runs 5 --json bench.json")
    p.add_argument("suites", nargs="*", metavar="decode|prefill|batch|train|tokenize|start|grow|speculate|large",
                   help="what to measure (default: all of it, but training only at the smaller shape, and large, the "
                   "shape of GPT-2 1.5B from 6.3 GB of shards, only where it is named)")
    p.add_argument("--size", metavar="NAME", help="the model's shape: gpt2, stories, small, tiny "
                   "(default gpt2; train: small and gpt2; start: the shipped stories and gpt2)")
    p.add_argument("--threads", type=int, metavar="INT", help="for every engine alike (default: all CPUs allowed)")
    p.add_argument("--runs", type=int, default=5, metavar="INT", help="rounds, after one to warm up (default 5)")
    p.add_argument("--new-tokens", type=int, default=100, metavar="INT", help="for decode (default 100)")
    p.add_argument("--data", metavar="FILE", help="the text for tokenize (default: this package's source) "
                   "and for the loss of int8 (what training sets aside of it)")
    p.add_argument("--isa", default="native", metavar="NAME",
                   help="native, or avx2: hold every engine to AVX2 on a CPU that knows more (default native)")
    p.add_argument("--json", metavar="FILE", help="write everything that was measured there too")


def bench(args):
    """`nanogpt-np bench`"""
    from ..bench.suites import BenchOptions, measure

    names = ("size", "threads", "runs", "new_tokens", "data", "isa")
    measure(BenchOptions(tuple(args.suites), **{name: getattr(args, name) for name in names}), args.json)


def add_download(commands):
    """`download` and its options."""
    p = command(commands, "download", download, "fetch a published model", "nanogpt-np download gpt2")
    p.add_argument("name", help="gpt2, gpt2-medium, gpt2-large or gpt2-xl")
    p.add_argument("--force", action="store_true", help="fetch again what is already there")


def download(args):
    """`nanogpt-np download`"""
    from ..storage import registry

    print(registry.download(args.name, force=args.force))


def add_warmup(commands):
    """`warmup` and its options."""
    command(commands, "warmup", warmup, "compile the kernels of --ops numba, int8 and int4 now, not at their first use",
            "nanogpt-np warmup")


def warmup(args):
    """`nanogpt-np warmup`"""
    import time

    from tqdm import tqdm

    from ..kernels import compile as kernel_compile
    from ..quantized import int4  # noqa: F401  (importing defines the kernels)
    from ..tokenizer import compiled  # noqa: F401

    began = time.perf_counter()
    n_kernels = kernel_compile.compile_all(lambda found: tqdm(found, desc="compiling", unit="kernel", disable=None))
    print(f"{n_kernels} kernels ready in {time.perf_counter() - began:.1f} s; {kernel_compile.where()}")
