"""The command line: argparse only, every command is a call into the rooms.

Errors are one line and exit status 2; `--debug` shows the traceback. A command imports what it needs when it runs,
so that `nanogpt-np tokenize` does not wait for what only training wants.
"""

import argparse
import dataclasses
import sys

from . import __version__
from .errors import InputError


def main(argv=None):
    """Run one command -> exit status: 0, 2 for the user's mistakes, 130 after Ctrl-C."""
    args = parser().parse_args(argv)
    try:
        return args.run(args) or 0
    except (InputError, OSError) as error:
        if args.debug:
            raise
        print(f"nanogpt-np: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130


def train(args):
    """`nanogpt-np train`"""
    from . import ops
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
    train(options, ops, resume=args.resume)


def parser():
    """The whole command line."""
    top = argparse.ArgumentParser(prog="nanogpt-np", description="GPT-2 in plain NumPy: generate, train, look inside.")
    top.add_argument("--version", action="version", version=f"nanogpt-np {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    _train_parser(commands)
    return top


def _command(commands, name, run, help, example):
    made = commands.add_parser(
        name, help=help, description=help, epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    made.set_defaults(run=run)
    return made


def _train_parser(commands):
    from .training.options import TrainOptions

    p = _command(commands, "train", train, "train a tokenizer and a model from plain text",
                 "nanogpt-np train --data stories.txt --out runs/stories --steps 4000")
    p.add_argument("--data", nargs="+", metavar="FILE", help="UTF-8 text; <|endoftext|> separates documents")
    p.add_argument("--out", required=True, metavar="DIR", help="where the model and the run's files go")
    p.add_argument("--resume", action="store_true", help="go on with the run in --out, bit for bit")
    for field in dataclasses.fields(TrainOptions):
        if field.name not in ("data", "out"):
            _option(p, field)


def _option(p, field):
    """One command-line option from one field of TrainOptions."""
    flag = "--" + field.name.replace("_", "-")
    if field.type is bool:
        p.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=f"default {field.default}")
    else:
        kind = field.type if field.type in (int, float) else float if "float" in str(field.type) else str
        p.add_argument(flag, type=kind, metavar=kind.__name__.upper(), help=f"default {field.default}")


if __name__ == "__main__":
    sys.exit(main())
