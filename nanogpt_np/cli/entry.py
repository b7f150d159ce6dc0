"""The command line's front door: words in, exit status out.

Errors are one line and exit status 2; `--debug` shows the traceback. A command imports what it needs when it runs,
so that `nanogpt-np tokenize` does not wait for what only training wants. That is all of it.
"""

import argparse
import os
import sys

from .. import __version__
from ..errors import InputError
from . import generating, machine, tokenizing, training


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


def parser():
    """The whole command line."""
    top = argparse.ArgumentParser(prog="nanogpt-np", description="GPT-2 in plain NumPy: generate, train, look inside.")
    top.add_argument("--version", action="version", version=f"nanogpt-np {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    generating.add_generate(commands)
    generating.add_chat(commands)
    tokenizing.add_tokenize(commands)
    training.add_train(commands)
    training.add_eval(commands)
    machine.add_bench(commands)
    machine.add_download(commands)
    machine.add_warmup(commands)
    return top
