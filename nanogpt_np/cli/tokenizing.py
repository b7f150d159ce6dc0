"""`nanogpt-np tokenize`.

Next: cli/training.py.
"""

import sys

from .options import command, read_stdin


def add_tokenize(commands):
    """`tokenize` and its options."""
    p = command(commands, "tokenize", tokenize, "show how text becomes ids",
                'nanogpt-np tokenize "The cat sat." --steps')
    p.add_argument("text", help="the text; - reads it from standard input")
    p.add_argument("--tokenizer", default="gpt2", metavar="NAME", help="gpt2, a model's name, a directory or a file")
    p.add_argument("--steps", action="store_true", help="show every merge with its rank")
    p.add_argument("--special", action="store_true", help="read <|endoftext|> as the special token, not as text")
    p.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="default auto")


def tokenize(args):
    """`nanogpt-np tokenize`"""
    from ..tokenizer.bpe import Tokenizer
    from ..tokenizer.display import format_explanation

    text = read_stdin() if args.text == "-" else args.text
    tokenizer = Tokenizer.gpt2() if args.tokenizer == "gpt2" else _of_model(args.tokenizer)
    allowed = "all" if args.special else ()
    color = sys.stdout.isatty() if args.color == "auto" else args.color == "always"
    explanation = tokenizer.explain(text, allowed, steps=args.steps)
    print(format_explanation(explanation, color=color, steps=args.steps))


def _of_model(name):
    from ..errors import FileError
    from ..storage import formats
    from ..storage.registry import resolve
    from ..tokenizer.bpe import Tokenizer

    place = resolve(name)
    if place.is_dir():
        return Tokenizer.load(place)
    tokenizer = formats.read_tokenizer(place)
    if tokenizer is None:
        raise FileError(f"{place}: expected a vocabulary in it, found none; name a model that has one")
    return tokenizer
