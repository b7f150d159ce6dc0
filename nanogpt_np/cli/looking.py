"""`nanogpt-np inspect`.

Next: cli/machine.py.
"""

import json

from .options import command, open_model, ops_options, read_stdin


def add_inspect(commands):
    """`inspect` and its options."""
    command(commands, "inspect", inspect, "look inside: what a model does with a text, as pictures or as numbers",
            'nanogpt-np inspect "The cat sat on the" --what attention --out pictures', _add_options)


def _add_options(p):
    from ..lens.asked import WHATS

    p.add_argument("prompt", help="the text; - reads it from standard input")
    p.add_argument("--what", action="append", choices=tuple(WHATS), metavar="NAME",
                   help="; ".join(f"{name}: {words}" for name, words in WHATS.items())
                   + "; may be repeated (default tokens)")
    p.add_argument("--model", default="stories", metavar="NAME", help="a model's name or directory (default stories)")
    ops_options(p)
    p.add_argument("--layer", type=int, default=0, metavar="INT", help="for head, stages, neurons (default 0)")
    p.add_argument("--head", type=int, default=0, metavar="INT", help="for head, stages (default 0)")
    p.add_argument("--position", type=int, default=-1, metavar="INT",
                   help="a place in the text, for next, stages, attribution (default -1: the last)")
    p.add_argument("--token", metavar="TEXT", help="for attribution: whose logit (default: the likeliest token's)")
    p.add_argument("--against", metavar="TEXT", help="for attribution: minus whose logit")
    p.add_argument("--temperature", type=float, default=0.8, metavar="FLOAT", help="for sampling (default 0.8)")
    p.add_argument("--top-k", type=int, metavar="INT", help="for sampling")
    p.add_argument("--top-p", type=float, default=0.95, metavar="FLOAT", help="for sampling (default 0.95)")
    p.add_argument("--min-p", type=float, metavar="FLOAT", help="for sampling")
    p.add_argument("--out", default=".", metavar="DIR", help="where the pictures go, NAME.png each (default: here)")
    p.add_argument("--json", action="store_true", help="print the arrays instead, one object for each --what")


def inspect(args):
    """`nanogpt-np inspect`"""
    from pathlib import Path

    from .. import files
    from ..generation.sampling import Sampling
    from ..gpt import GPT
    from ..lens import asked

    how = Sampling(args.temperature, args.top_k, args.top_p, args.min_p)
    prompt = read_stdin().removesuffix("\n") if args.prompt == "-" else args.prompt
    gpt = open_model(GPT, args)
    places = {name: getattr(args, name) for name in ("layer", "head", "position", "token", "against")}
    views = [(what, asked.view(gpt, prompt, what, how=how, **places)) for what in args.what or ["tokens"]]
    if args.json:
        for what, found in views:
            print(json.dumps({"what": what, **asked.plain(found)}, ensure_ascii=False))
        return
    files.make_folder(args.out)
    for what, found in views:
        path = Path(args.out) / f"{what}.png"
        word = "replaced" if path.exists() else "wrote"
        with files.replacing(path) as part:
            asked.draw(found, what, args.position, args.model).savefig(part, format="png")
        print(f"{word} {path}: {asked.WHATS[what]}")
