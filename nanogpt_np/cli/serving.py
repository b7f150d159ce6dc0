"""`nanogpt-np serve`.

Next: cli/planning.py.
"""

import os
import sys

from .options import command, open_model, ops_options

KEY = "NANOGPT_NP_API_KEY"


def add_serve(commands):
    """`serve` and its options."""
    command(commands, "serve", serve, "answer any client of OpenAI's HTTP interface, on this machine",
            "nanogpt-np serve --model stories\n"
            "  curl http://127.0.0.1:8000/v1/completions -H 'Content-Type: application/json' \\\n"
            "    -d '{\"prompt\": \"Once upon a time\", \"max_tokens\": 40, \"seed\": 7}'",
            serve_options)  # fmt: skip


def serve_options(p):
    """The options of `serve`."""
    p.add_argument("--model", default="stories", metavar="NAME",
                   help="a model's name, directory or file (default stories)")
    ops_options(p)
    p.add_argument("--name", metavar="NAME", help="what clients call the model (default: the last part of --model)")
    p.add_argument("--host", default="127.0.0.1", metavar="ADDRESS",
                   help="where to listen; any but this machine's own needs an API key (default 127.0.0.1)")
    p.add_argument("--port", type=int, default=8000, metavar="INT", help="0 takes any that is free (default 8000)")
    p.add_argument("--api-key", metavar="KEY",
                   help=f"what clients must send; others on this machine see it here, so rather set {KEY}")
    p.add_argument("--rows", type=int, metavar="INT",
                   help="texts that are continued together (default: up to 64, as far as half of the memory goes)")
    p.add_argument("--most-waiting", type=int, default=256, metavar="INT",
                   help="texts that wait for a row before others are sent away with 429 (default 256)")


def serve(args):
    """`nanogpt-np serve`"""
    from ..errors import check_whole
    from ..explore import guard
    from ..gpt import GPT

    key = args.api_key if args.api_key is not None else os.environ.get(KEY)
    guard.check_key(key)
    guard.check_address(args.host, key)
    check_whole("rows", 1 if args.rows is None else args.rows, 1)
    check_whole("most_waiting", args.most_waiting, 1)
    try:
        from ..explore import connections  # noqa: F401  (uvicorn, before a model is opened)
        from ..explore.api import Api, make_app
    except ImportError as error:
        raise guard.missing(error) from error
    gpt = open_model(GPT, args)
    api = Api(gpt, args.name or name_of(args.model), args.rows, args.most_waiting)
    app = guard.guarded(make_app(api), hosts=guard.hosts_for(args.host), key=key)
    guard.run(app, args.host, args.port, announce=lambda url: _announce(url, api))


def _announce(url, api):
    print(f"{api.served.name} answers at {url}/v1, {api.batcher.rows.most} texts at once; Ctrl-C stops it",
          file=sys.stderr, flush=True)  # fmt: skip


def name_of(model):
    """What clients call a model by default, a file without its ending: name_of("runs/mine/") -> "mine" """
    last = os.path.basename(os.path.normpath(model))
    return os.path.splitext(last)[0] if os.path.isfile(model) else last
