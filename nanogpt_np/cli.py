"""The command line: argparse only, every command is a call into the rooms.

Errors are one line and exit status 2; `--debug` shows the traceback. A command imports what it needs when it runs,
so that `nanogpt-np tokenize` does not wait for what only training wants.
"""

import argparse
import dataclasses
import os
import sys

from . import __version__
from .errors import InputError


def main(argv=None):
    """Run one command -> exit status: 0, 2 for the user's mistakes, 130 after Ctrl-C."""
    args = parser().parse_args(argv)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no Chinese shows "?" instead of a traceback
    try:
        status = args.run(args) or 0
        sys.stdout.flush()  # a pipe that broke shows here, not after the last line of Python
        return status
    except BrokenPipeError:  # `nanogpt-np generate | head` is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (InputError, OSError) as error:
        if args.debug:
            raise
        print(f"nanogpt-np: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130


def generate(args):
    """`nanogpt-np generate`"""
    from .gpt import GPT

    prompt = _read_stdin().removesuffix("\n") if args.prompt == "-" else args.prompt  # as the shell's $(...) does
    gpt = _open(GPT, args)
    settings = _sampling(args) | {"seed": args.seed, "overflow": args.overflow}
    several = {name: getattr(args, name) for name in ("num_return_sequences", "num_beams", "length_penalty")}
    if any(value != 1 for value in several.values()):
        texts = gpt.generate(prompt, **several, **settings)
        texts = [texts] if isinstance(texts, str) else texts
        print(f"\n{'-' * 40}\n".join(prompt + text for text in texts))
        return
    pieces = gpt.stream(prompt, **settings)
    print(prompt, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


def chat(args):
    """`nanogpt-np chat`"""
    from .chat import chat
    from .gpt import GPT

    gpt = _open(GPT, args)
    chat(gpt, _sampling(args) | {"seed": args.seed})


def tokenize(args):
    """`nanogpt-np tokenize`"""
    from .tokenizer import Tokenizer
    from .tokenizer_display import format_explanation

    text = _read_stdin() if args.text == "-" else args.text
    tokenizer = Tokenizer.gpt2() if args.tokenizer == "gpt2" else Tokenizer.load(_directory(args.tokenizer))
    allowed = "all" if args.special else ()
    color = sys.stdout.isatty() if args.color == "auto" else args.color == "always"
    print(format_explanation(tokenizer.explain(text, allowed_special=allowed), color=color, steps=args.steps))


def train(args):
    """`nanogpt-np train`"""
    from .gpt import find_ops
    from .training.loop import train
    from .training.options import TrainOptions, resume_options

    names = [field.name for field in dataclasses.fields(TrainOptions)]
    given = {name: getattr(args, name) for name in names if getattr(args, name, None) is not None}
    if args.resume:
        if extra := given.keys() - {"out", "data"}:
            flag = "--" + min(extra).replace("_", "-")
            raise InputError(f"--resume: expected only --out (and --data), got {flag}; a run keeps its options")
        options = resume_options(args.out, args.data)
    elif not args.data:
        raise InputError("train: expected --data FILE, got none; name one or more text files")
    else:
        options = TrainOptions(**given)
    train(options, find_ops(options.ops), resume=args.resume)


def evaluate(args):
    """`nanogpt-np eval`"""
    from .gpt import GPT
    from .training.evaluate import evaluate_files

    result = evaluate_files(_open(GPT, args), args.data, args.held_out)
    print(f"{result} ({result.n_tokens:,} tokens, {result.n_bytes:,} bytes)")


def download(args):
    """`nanogpt-np download`"""
    from .download import download

    print(download(args.name, force=args.force))


def warmup(args):
    """`nanogpt-np warmup`"""
    import time

    from tqdm import tqdm

    from . import kernel_compile, kernels, quantized, tokenizer_kernels  # noqa: F401  (importing defines the kernels)

    began = time.perf_counter()
    n_kernels = kernel_compile.compile_all(lambda found: tqdm(found, desc="compiling", unit="kernel", disable=None))
    print(f"{n_kernels} kernels ready in {time.perf_counter() - began:.1f} s; {kernel_compile.where()}")


def bench(args):
    """`nanogpt-np bench`"""
    from .bench import BenchOptions, bench

    names = ("size", "threads", "runs", "new_tokens", "data")
    bench(BenchOptions(tuple(args.suites), **{name: getattr(args, name) for name in names}), args.json)


def parser():
    """The whole command line."""
    top = argparse.ArgumentParser(prog="nanogpt-np", description="GPT-2 in plain NumPy: generate, train, look inside.")
    top.add_argument("--version", action="version", version=f"nanogpt-np {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    _generate_parser(commands)
    _chat_parser(commands)
    _tokenize_parser(commands)
    _train_parser(commands)
    _eval_parser(commands)
    _bench_parser(commands)
    _download_parser(commands)
    _command(commands, "warmup", warmup, "compile the kernels of --ops numba and int8 now, not at their first use",
             "nanogpt-np warmup")
    return top


def _generate_parser(commands):
    p = _command(commands, "generate", generate, "continue a text",
                 'nanogpt-np generate "Once upon a time" --temperature 0.7 --seed 7')
    p.add_argument("prompt", nargs="?", default="Once upon a time", help="the beginning; - reads standard input")
    _sampling_options(p)
    p.add_argument("--num-return-sequences", type=int, default=1, metavar="INT", help="how many continuations")
    p.add_argument("--num-beams", type=int, default=1, metavar="INT",
                   help="search with so many beams for the likeliest text, and draw nothing (default 1: draw)")
    p.add_argument("--length-penalty", type=float, default=1.0, metavar="FLOAT",
                   help="with beams: higher favours longer texts (default 1)")
    p.add_argument("--overflow", choices=("error", "slide"), default="error",
                   help="when the context is full: stop with an error, or forget the older half (default error)")


def _chat_parser(commands):
    p = _command(commands, "chat", chat, "write a text in turns with a model", "nanogpt-np chat --model stories")
    _sampling_options(p)


def _tokenize_parser(commands):
    p = _command(commands, "tokenize", tokenize, "show how text becomes ids",
                 'nanogpt-np tokenize "The cat sat." --steps')
    p.add_argument("text", help="the text; - reads it from standard input")
    p.add_argument("--tokenizer", default="gpt2", metavar="NAME", help="gpt2, a model's name, or a directory")
    p.add_argument("--steps", action="store_true", help="show every merge with its rank")
    p.add_argument("--special", action="store_true", help="read <|endoftext|> as the special token, not as text")
    p.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="default auto")


def _train_parser(commands):
    from .training.options import TrainOptions

    p = _command(commands, "train", train, "train a tokenizer and a model from plain text",
                 "nanogpt-np train --data stories.txt --out runs/stories --steps 4000")
    p.add_argument("--data", nargs="+", metavar="FILE", help="UTF-8 text; <|endoftext|> separates documents")
    p.add_argument("--out", required=True, metavar="DIR", help="where the model and the run's files go")
    p.add_argument("--resume", action="store_true", help="go on with the run in --out, bit for bit")
    for field in dataclasses.fields(TrainOptions):
        if field.name not in ("data", "out"):
            _train_option(p, field)


def _eval_parser(commands):
    p = _command(commands, "eval", evaluate, "measure how well a model predicts a text",
                 "nanogpt-np eval --model stories --data stories.txt --held-out 0.02")
    p.add_argument("--model", default="stories", metavar="NAME", help="a model's name or directory (default stories)")
    p.add_argument("--data", nargs="+", required=True, metavar="FILE", help="UTF-8 text, as for train")
    _ops_options(p)
    p.add_argument("--held-out", type=float, default=None, metavar="SHARE",
                   help="measure only the part that train --held-out SHARE sets aside (default: all of the text)")


def _bench_parser(commands):
    p = _command(commands, "bench", bench, "measure this project beside every other that is installed",
                 "nanogpt-np bench decode --runs 5 --json bench.json")
    p.add_argument("suites", nargs="*", metavar="decode|prefill|train|tokenize|start|grow|speculate",
                   help="what to measure (default: all of it, but training only at the smaller shape)")
    p.add_argument("--size", metavar="NAME", help="the model's shape: gpt2, stories, small, tiny "
                   "(default gpt2; train: small and gpt2; start: the shipped stories and gpt2)")
    p.add_argument("--threads", type=int, metavar="INT", help="for every engine alike (default: all CPUs allowed)")
    p.add_argument("--runs", type=int, default=5, metavar="INT", help="rounds, after one to warm up (default 5)")
    p.add_argument("--new-tokens", type=int, default=100, metavar="INT", help="for decode (default 100)")
    p.add_argument("--data", metavar="FILE", help="the text for tokenize (default: this package's source) "
                   "and for the loss of int8 (its end)")
    p.add_argument("--json", metavar="FILE", help="write everything that was measured there too")


def _download_parser(commands):
    p = _command(commands, "download", download, "fetch a published model", "nanogpt-np download gpt2")
    p.add_argument("name", help="gpt2, gpt2-medium, gpt2-large or gpt2-xl")
    p.add_argument("--force", action="store_true", help="fetch again what is already there")


def _command(commands, name, run, help, example):
    made = commands.add_parser(
        name, help=help, description=help, epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    made.set_defaults(run=run)
    return made


def _sampling_options(p):
    """The options that generate and chat share."""
    p.add_argument("--model", default="stories", metavar="NAME", help="a model's name or directory (default stories)")
    _ops_options(p)
    p.add_argument("--max-new-tokens", type=int, metavar="INT", help="default: up to 200, as far as the context goes")
    p.add_argument("--temperature", type=float, metavar="FLOAT", help="0 is greedy (default 0.8)")
    p.add_argument("--top-k", type=int, metavar="INT", help="choose among the k likeliest tokens")
    p.add_argument("--top-p", type=float, metavar="FLOAT",
                   help="choose among the likeliest that together have this probability (default 0.95)")
    p.add_argument("--min-p", type=float, metavar="FLOAT",
                   help="leave out tokens below this share of the best one's probability")
    p.add_argument("--repetition-penalty", type=float, default=1.0, metavar="FLOAT", help="above 1: repeat less")
    p.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end before this text; may be repeated")
    p.add_argument("--seed", type=int, metavar="INT", help="the same seed gives the same text")
    p.add_argument("--speculate", type=int, metavar="INT",
                   help="with --temperature 0: guess up to so many tokens at once, 8 say; the same text, sooner "
                   "where it repeats itself")


def _ops_options(p):
    """Who does the arithmetic, where a model is opened."""
    p.add_argument("--ops", default="auto", metavar="NAME",
                   help="who does the arithmetic: numpy, numba, int8 or auto (default auto)")
    p.add_argument("--verbose", action="store_true", help="say on standard error who does the arithmetic, and why")


def _sampling(args):
    names = ("max_new_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "stop", "speculate")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return given if getattr(args, "num_beams", 1) > 1 else {"temperature": 0.8, "top_p": 0.95} | given


def _train_option(p, field):
    """One command-line option from one field of TrainOptions."""
    flag, help = "--" + field.name.replace("_", "-"), field.metadata["help"]
    if field.default is not None:
        help += f" (default {field.default})"
    if field.type is bool:
        p.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=help)
    else:
        kind = field.type if field.type in (int, float) else float if "float" in str(field.type) else str
        p.add_argument(flag, type=kind, metavar=kind.__name__.upper(), help=help)


def _open(gpt_class, args):
    gpt = gpt_class.from_pretrained(args.model, ops=args.ops)
    if args.verbose:
        print(f"nanogpt-np: {gpt.describe_ops(args.ops)}", file=sys.stderr)
    return gpt


def _read_stdin():
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise InputError(f"standard input: expected UTF-8 text, got other bytes ({error.reason})") from error


def _directory(name):
    from .download import resolve

    return resolve(name)


if __name__ == "__main__":
    sys.exit(main())
