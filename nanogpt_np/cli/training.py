"""`nanogpt-np train` and `nanogpt-np eval`.

Next: cli/machine.py.
"""

import argparse
import dataclasses

from ..errors import InputError
from .options import command, open_model, ops_options


def add_train(commands):
    """`train` and its options."""
    from ..training.options import TrainOptions

    p = command(commands, "train", train, "train a tokenizer and a model from plain text",
                "nanogpt-np train --data stories.txt --out runs/stories --steps 4000")
    p.add_argument("--data", nargs="+", metavar="FILE", help="UTF-8 text; <|endoftext|> separates documents")
    p.add_argument("--out", required=True, metavar="DIR", help="where the model and the run's files go")
    p.add_argument("--resume", action="store_true", help="go on with the run in --out, bit for bit")
    for field in dataclasses.fields(TrainOptions):
        if field.name not in ("data", "out"):
            _train_option(p, field)


def train(args):
    """`nanogpt-np train`"""
    from ..gpt import find_ops
    from ..training.folder import resume_options
    from ..training.loop import train
    from ..training.options import TrainOptions

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


def add_eval(commands):
    """`eval` and its options."""
    p = command(commands, "eval", evaluate, "measure how well a model predicts a text",
                "nanogpt-np eval --model stories --data stories.txt --held-out 0.02")
    p.add_argument("--model", default="stories", metavar="NAME", help="a model's name or directory (default stories)")
    p.add_argument("--data", nargs="+", required=True, metavar="FILE", help="UTF-8 text, as for train")
    ops_options(p)
    p.add_argument("--held-out", type=float, default=None, metavar="SHARE",
                   help="measure only the part that train --held-out SHARE sets aside (default: all of the text)")


def evaluate(args):
    """`nanogpt-np eval`"""
    from ..gpt import GPT
    from ..training.evaluation import evaluate_files

    result = evaluate_files(open_model(GPT, args), args.data, args.held_out)
    print(f"{result} ({result.n_tokens:,} tokens, {result.n_bytes:,} bytes)")
