"""`nanogpt-np eval` and its tasks: a room of evaluation/ each, called in the same way.

Next: cli/measuring.py.
"""

import sys

from ..errors import InputError
from .options import command, open_model, ops_options


def add_eval(commands):
    """`eval`: by itself the loss on a text, with a task's name behind it that task -> where tasks are added."""
    p = command(commands, "eval", evaluate, "measure how well a model predicts a text, or does a task",
                "nanogpt-np eval --model stories --data stories.txt --held-out 0.02\n"
                "  nanogpt-np eval lambada --model gpt2 --data lambada_test.jsonl --out results.jsonl")
    _model_options(p)
    p.add_argument("--data", nargs="+", metavar="FILE", help="UTF-8 text, as for train")
    p.add_argument("--held-out", type=float, default=None, metavar="SHARE",
                   help="measure only the part that train --held-out SHARE sets aside (default: all of the text)")
    tasks = p.add_subparsers(dest="task", metavar="task", title="tasks",
                             description="nanogpt-np eval TASK --help says what each of its numbers is")
    add_lambada(tasks)
    return tasks


def evaluate(args):
    """`nanogpt-np eval` without a task"""
    from ..gpt import GPT
    from ..training.evaluation import evaluate_files

    if not args.data:
        raise InputError("the following arguments are required: --data")
    result = evaluate_files(open_model(GPT, args), args.data, args.held_out)
    print(f"{result} ({result.n_tokens:,} tokens, {result.n_bytes:,} bytes)")


def add_task(tasks, name, run, help, example, add_options):
    """A task: its own options, and those that all have."""

    def add_all(p):
        _model_options(p)
        add_options(p)

    return command(tasks, name, run, help, f"nanogpt-np eval {name} {example}", add_all)


def _model_options(p):
    p.add_argument("--model", default="stories", metavar="NAME", help="a model's name or directory (default stories)")
    ops_options(p)


def items_options(p, what):
    """Options of a task that goes through the lines of a file; `what` stands in them."""
    p.add_argument("--data", required=True, metavar="FILE", help=f"JSONL: {what}")
    p.add_argument("--limit", type=int, metavar="INT", help="only so many lines, the first (default all)")
    p.add_argument("--overflow", choices=("error", "cut"), default="error",
                   help="what is longer than the context: an error, or its beginning is left out (default error)")
    p.add_argument("--batch-size", type=int, default=8, metavar="INT", help="texts at once (default 8)")
    p.add_argument("--out", metavar="FILE", help="write a row for each line here, as JSON; what stands there is gone "
                   "on with")
    p.add_argument("--json", action="store_true", help="print the numbers as one JSON object")


def run_items(args, gpt, task, found, measure, summary, meanings, unit, settings=None):
    """Go through the items of a file, print what they come to.

    `measure(items, gpt, batch_size)` -> a row each, `summary(rows)` -> {name: number}, `meanings`: {name: words};
    `settings`: options of the task that change its rows, for the file --out.
    """
    from ..evaluation import results

    settings = (settings or {}) | {"overflow": args.overflow, "batch_size": args.batch_size}
    asked = results.fingerprint(gpt, task, args.data, settings)
    rows = results.collect(found, lambda some: measure(some, gpt, args.batch_size), results.GROUP * args.batch_size,
                           unit, args.out, asked)
    print_numbers(args, task, {"n_items": len(rows), **summary(rows)}, meanings)


def print_numbers(args, task, numbers, meanings):
    """The numbers with what they mean, a line each; or one object of JSON."""
    import json

    if args.json:
        print(json.dumps({"task": task, "model": args.model, "data": args.data, "ops": args.ops, **numbers},
                         ensure_ascii=False))
        return
    width = max(map(len, numbers))
    for name, value in numbers.items():
        shown = f"{value:,}" if isinstance(value, int) else f"{value:,.4f}"
        print(f"{name:<{width}}  {shown:>12}  {meanings.get(name, '')}".rstrip())


def check_counts(args):
    """InputError for numbers that count nothing."""
    for name in ("limit", "batch_size"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InputError(f"{name}: expected a whole number of at least 1, got {value}")


def add_lambada(tasks):
    """`eval lambada` and its options."""
    add_task(tasks, "lambada", lambada, "the last word of passages (LAMBADA), and its last token",
             "--model gpt2 --data lambada_test.jsonl",
             lambda p: items_options(p, 'a "text" each, of which the last word is asked for'))


def lambada(args):
    """`nanogpt-np eval lambada`"""
    from ..evaluation import last_words
    from ..gpt import GPT

    check_counts(args)
    gpt = open_model(GPT, args)
    found = last_words.read_passages(args.data, gpt, args.limit, args.overflow)
    run_items(args, gpt, "lambada", found, last_words.measure, last_words.summary, last_words.NUMBERS, "passage")


def tell(text):
    """A line on standard error, beside the numbers."""
    print(f"nanogpt-np: {text}", file=sys.stderr)
