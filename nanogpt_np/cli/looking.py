"""`nanogpt-np inspect`.

Next: cli/exploring.py.
"""

import json
import os
import sys

from .options import command, open_model, ops_options, read_stdin


def add_inspect(commands):
    """`inspect` and its options."""
    command(commands, "inspect", inspect, "look inside: what a model does with a text, as pictures or as numbers",
            'nanogpt-np inspect "The cat sat on the" --what attention --out pictures', _add_options)


def _add_options(p):
    from ..lens.asked import WHATS
    from ..lens.interventions import SITES

    p.add_argument("prompt", help="the text; - reads it from standard input")
    p.add_argument("--what", action="append", choices=tuple(WHATS), metavar="NAME",
                   help="; ".join(f"{name}: {words}" for name, words in WHATS.items())
                   + "; may be repeated (default tokens)")
    p.add_argument("--model", default="stories", metavar="NAME", help="a model's name or directory (default stories)")
    ops_options(p)
    p.add_argument("--layer", type=int, default=0, metavar="INT", help="for one head, neurons, playback (default 0)")
    p.add_argument("--head", type=int, default=0, metavar="INT", help="for one head, playback (default 0)")
    p.add_argument("--position", type=int, default=-1, metavar="INT",
                   help="a place in the text, for next, stages, attribution (default -1: the last)")
    p.add_argument("--token", metavar="TEXT", help="whose logit, for attribution (default: the likeliest token's) and "
                   "patching; whose neighbours (default: the text's last token's)")
    p.add_argument("--against", metavar="TEXT", help="for attribution, patching: minus whose logit")
    p.add_argument("--corrupted", metavar="TEXT", help="for patching: the other text, of as many tokens")
    p.add_argument("--site", default="resid_pre", choices=SITES, metavar="NAME",
                   help=f"for patching: {', '.join(SITES)} (default resid_pre)")
    p.add_argument("--temperature", type=float, default=0.8, metavar="FLOAT", help="for sampling (default 0.8)")
    p.add_argument("--top-k", type=int, metavar="INT", help="for sampling")
    p.add_argument("--top-p", type=float, default=0.95, metavar="FLOAT", help="for sampling (default 0.95)")
    p.add_argument("--min-p", type=float, metavar="FLOAT", help="for sampling")
    p.add_argument("--out", default=".", metavar="DIR", help="where the pictures go, NAME.png each (default: here)")
    p.add_argument("--json", action="store_true", help="print the arrays instead, one object for each --what")


def inspect(args):
    """`nanogpt-np inspect`"""
    from ..generation.sampling import Sampling
    from ..gpt import GPT
    from ..lens import asked

    how = Sampling(args.temperature, args.top_k, args.top_p, args.min_p)
    prompt = read_stdin().removesuffix("\n") if args.prompt == "-" else args.prompt
    gpt = open_model(GPT, args)
    names = ("layer", "head", "position", "token", "against", "corrupted", "site", "model")
    where = asked.Where(**{name: getattr(args, name) for name in names}, how=how)
    views = [(what, asked.view(gpt, prompt, what, where)) for what in args.what or ["tokens"]]
    if args.json:
        for what, found in views:
            print(json.dumps({"what": what, **asked.plain(found)}, ensure_ascii=False))
        return
    _draw_all(views, where, args)


def _draw_all(views, where, args):
    """Each view as NAME.png in the folder --out, said in a line; in a terminal the tokens in colour too."""
    from pathlib import Path

    from .. import files, lens
    from ..lens import asked

    files.make_folder(args.out)
    for what, found in views:
        path = Path(args.out) / f"{what}.png"
        word = "replaced" if path.exists() else "wrote"
        with files.replacing(path) as part:
            asked.draw(found, what, where, args.model).savefig(part, format="png")
        if what == "tokens" and sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
            print(lens.tokens_ansi(found))
        print(f"{word} {path}: {asked.WHATS[what]}")
