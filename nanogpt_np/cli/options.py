"""What several commands share: a command's own parser, and the options by which a model is opened and sampled from.

Enter: argparse's parsers, and what it made of the words. Leave: more options; an open model; keyword arguments.
Next: cli/generating.py.
"""

import argparse
import sys
import warnings

from ..errors import InputError


def command(commands, name, run, help, example):
    """Add a command with its help, its example and --debug -> its parser."""
    made = commands.add_parser(
        name, help=help, description=help, epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    made.set_defaults(run=run)
    return made


def sampling_options(p):
    """The options that generate and chat share."""
    p.add_argument("--model", default="stories", metavar="NAME", help="a model's name or directory (default stories)")
    ops_options(p)
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


def ops_options(p):
    """Who does the arithmetic, where a model is opened."""
    p.add_argument("--ops", default="auto", metavar="NAME",
                   help="who does the arithmetic: numpy, numba, int8 or auto (default auto)")
    p.add_argument("--verbose", action="store_true", help="say on standard error who does the arithmetic, and why")


def sampling(args):
    """The keyword arguments of GPT.generate that were typed, over the command line's defaults."""
    names = ("max_new_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "stop", "speculate")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return given if getattr(args, "num_beams", 1) > 1 else {"temperature": 0.8, "top_p": 0.95} | given


def open_model(gpt_class, args):
    """The model that --model and --ops name; what opening it warns of is said on standard error."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        gpt = gpt_class.from_pretrained(args.model, ops=args.ops)
    for warning in said:
        print(f"nanogpt-np: {warning.message}", file=sys.stderr)
    if args.verbose:
        print(f"nanogpt-np: {gpt.describe_ops(args.ops)}", file=sys.stderr)
    return gpt


def read_stdin():
    """All of standard input; InputError where it is no UTF-8."""
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise InputError(f"standard input: expected UTF-8 text, got other bytes ({error.reason})") from error
