"""`nanogpt-np explore`.

Next: cli/machine.py.
"""

from .options import command, read_stdin

PROMPTS = {"poems": "床前明月光"}  # what a page begins with, by model
PROMPT = "Once upon a time, there was a little girl named"
PORT = 8765


def add_explore(commands):
    """`explore` and its options."""
    command(commands, "explore", explore, "watch a model think, in a browser: every number from text to the next token",
            "nanogpt-np explore stories", _add_options)


def _add_options(p):
    p.add_argument("name", nargs="?", metavar="MODEL", help="a model's name, directory or file (default stories)")
    p.add_argument("--model", action="append", metavar="NAME",
                   help="one more that the page may show, to compare with; may be repeated")
    p.add_argument("--adapter", metavar="DIR", help="a LoRA adapter for MODEL: it is merged")
    p.add_argument("--prompt", metavar="TEXT", help="the text to begin with; - reads it from standard input")
    p.add_argument("--lang", choices=("en", "zh"), help="the page's language (default: the browser's)")
    p.add_argument("--port", type=int, default=PORT, metavar="INT", help=f"0 takes a free one (default {PORT})")
    p.add_argument("--no-browser", action="store_true", help="say the address, and open nothing")
    p.add_argument("--export", metavar="FILE", help="write the page for the prompt into one file, serve nothing")
    p.add_argument("--layer", type=int, default=0, metavar="INT", help="where the page begins (default 0)")
    p.add_argument("--head", type=int, default=0, metavar="INT", help="where the page begins (default 0)")


def explore(args):
    """`nanogpt-np explore`"""
    from ..explore import models as served

    names = [args.name, *(args.model or [])] if args.name else args.model or ["stories"]
    models = served.Models(names, args.adapter)
    prompt = read_stdin().removesuffix("\n") if args.prompt == "-" else args.prompt
    prompt = _first(models) if prompt is None else prompt
    if args.export is not None:
        return _export(models, prompt, args)
    return _serve(models, prompt, args)


def _export(models, prompt, args):
    from .. import files
    from ..explore import export

    state = {"layer": args.layer, "head": args.head, "lang": args.lang}
    first = models.given[0]
    gpt = models.find(first.id).gpt
    with files.replacing(args.export) as part:  # opened first: whether it can be written is known at once
        page = export.page(gpt, prompt, first.id, first.description, state, with_int8=True).encode()
        part.write_bytes(page)
    print(f"wrote {args.export}: {len(page):,} bytes, which open without a network")


def _serve(models, prompt, args):
    import webbrowser

    from ..explore import guard

    try:
        from ..explore import connections  # noqa: F401  (uvicorn, before a model is opened)
        from ..explore.app import make_app
    except ImportError as error:
        raise guard.missing(error) from error

    def announce(address):
        shown = ", ".join(source.id for source in models.given)
        print(f"{address} shows {shown}; Ctrl-C ends it", flush=True)
        if not args.no_browser:
            webbrowser.open(address)

    guard.run(guard.guarded(make_app(models, prompt, args.lang)), port=args.port, announce=announce)


def _first(models):
    """The text that a page begins with."""
    return PROMPTS.get(models.given[0].id, PROMPT)
