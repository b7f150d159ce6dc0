"""The command line's front door: words in, exit status out.

Errors are one line and exit status 2; `--debug` shows the traceback. Nothing is imported before `main` is there to
answer Ctrl-C but what takes a millisecond, and a command imports what it needs when it runs, so that `nanogpt-np
tokenize` does not wait for what only training wants. That is all of it.
"""

import os
import sys
import warnings

from ..errors import InputError


def main(argv=None):
    """Run one command -> exit status: 0, 2 for the user's mistakes, 130 after Ctrl-C."""
    try:
        return _run(argv)
    except KeyboardInterrupt:
        if sys.stderr is not None:  # closed by 2>&-; print would take standard output instead
            print(file=sys.stderr)
        return 130


def parser():
    """The whole command line."""
    from .. import __version__
    from . import (
        asking,
        converting,
        evaluating,
        exploring,
        finetuning,
        generating,
        looking,
        machine,
        measuring,
        models,
        serving,
        tokenizing,
        training,
    )
    from .options import Parser

    top = Parser(prog="nanogpt-np", description="GPT-2 in plain NumPy: generate, train, look inside.")
    top.add_argument("--version", action="version", version=f"nanogpt-np {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    generating.add_generate(commands)
    generating.add_chat(commands)
    tokenizing.add_tokenize(commands)
    training.add_train(commands)
    measuring.add_measures(evaluating.add_eval(commands))
    asking.add_task_command(commands)
    finetuning.add_finetune(commands)
    finetuning.add_classify(commands)
    models.add_models(commands)
    models.add_info(commands)
    converting.add_convert(commands)
    models.add_verify(commands)
    looking.add_inspect(commands)
    exploring.add_explore(commands)
    serving.add_serve(commands)
    machine.add_bench(commands)
    machine.add_download(commands)
    machine.add_warmup(commands)
    return top


def _run(argv):
    from .options import as_typed

    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")
    args = parser().parse_args(argv)
    try:
        _check_stdout()
        return _quietly(args)
    except BrokenPipeError:  # `nanogpt-np generate | head` is no error
        _forget_stdout()
        return 0
    except (InputError, OSError, MemoryError) as error:
        if args.debug:
            raise
        _forget_stdout()
        print(f"nanogpt-np: {as_typed(error, args.flags)}", file=sys.stderr)
        return 2


def _check_stdout():
    """Standard output must be somewhere, and take any character."""
    if sys.stdout is None:  # else the next file that is opened would stand in its place
        raise InputError("standard output: expected somewhere to write to, got it closed; add > /dev/null")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no Chinese shows "?" instead of a traceback


def _quietly(args):
    """Run a command; what NumPy would warn of, broken weights say in one line of their own."""
    with warnings.catch_warnings():
        if not args.debug:
            warnings.simplefilter("ignore", RuntimeWarning)
        status = args.run(args) or 0
    sys.stdout.flush()  # a pipe that broke shows here, not after the last line of Python
    return status


def _forget_stdout():
    """What a full disk or a broken pipe did not take must not be tried again, and complained of, as Python ends."""
    try:
        sys.stdout.flush()
    except OSError:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
    except AttributeError:  # closed from the beginning
        pass
