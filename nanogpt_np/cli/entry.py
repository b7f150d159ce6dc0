"""The command line's front door: words in, exit status out.

Errors are one line and exit status 2; `--debug` shows the traceback. Nothing is imported before `main` is there to
answer Ctrl-C but what takes a millisecond, and a command imports what it needs when it runs, so that `nanogpt-np
tokenize` does not wait for what only training wants. That is all of it.
"""

import gc
import io
import os
import sys
import traceback
import warnings

from ..errors import InputError

LAUNCHED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "PMIX_RANK")  # any is set by mpiexec or srun
SHARED = ("train", "eval", "eval perplexity", "eval lambada", "eval choices", "eval answers")
STOPPED = 3  # the exit status of a training that was asked to stop, which is no error


def main(argv=None):
    """Run one command -> exit status: 0, 2 for the user's mistakes, 130 after Ctrl-C."""
    if _n_ranks() > 1:
        return _as_rank(argv)
    try:
        return _run(argv)
    except KeyboardInterrupt:
        if sys.stderr is not None:  # closed by 2>&-; print would take standard output instead
            print(file=sys.stderr)
        return 130


def command():
    """main() of a process that ends with it -> exit status.

    What is still there has no need to be looked through for cycles once more: of what Numba brings along that takes
    0.4 s, in which a shell would wait.
    """
    status = main()
    gc.freeze()
    return status


def _n_ranks():
    """How many processes were started together; without a launcher nothing is imported to ask."""
    if not os.environ.keys() & set(LAUNCHED):
        return 1
    from ..training.distributed_ranks import n_launched

    return n_launched()


def _as_rank(argv):
    """main of one of several ranks (mpiexec): one speaks for all, and what ends one ends all."""
    from ..training import distributed_ranks

    distributed_ranks.share_cores()
    kept, status = sys.stderr, 1
    if not distributed_ranks.is_first():  # it says what only this rank has met, at the end
        sys.stderr = io.StringIO()
    try:
        status = _run(argv)
    except KeyboardInterrupt:
        status = 130
    except SystemExit as error:  # a word that argparse does not take, or --help
        status = error.code
    except Exception:
        traceback.print_exc()
    if status not in (0, STOPPED):
        if not distributed_ranks.is_first():
            distributed_ranks.leave_to_first()
            print(f"rank {distributed_ranks.number()}: {sys.stderr.getvalue().strip()}", file=kept)
        distributed_ranks.end_all(status)
    sys.stderr = kept
    return status


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
        planning,
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
    planning.add_plan(commands)
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
        _check_ranks(args)
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


def _check_ranks(args):
    """InputError where several ranks would all do the same, and write over each other's files."""
    n = _n_ranks()
    words = " ".join(filter(None, (args.command, getattr(args, "task", None))))
    if n > 1 and words not in SHARED and not (words == "generate" and args.file):
        shared = "train, eval (a text, perplexity, lambada, choices, answers) and generate --file"
        raise InputError(f"{words}: expected one process, got {n} ranks; only {shared} share their work")


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
