"""`nanogpt-np eval` and its tasks: a room of evaluation/ each, called in the same way.

Next: cli/measuring.py.
"""

import argparse
import sys

from ..errors import InputError
from .options import command, open_model, ops_options, ranks_of_job, unescape


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
                             description="see nanogpt-np eval TASK --help; numbers are printed with what they mean")
    add_perplexity(tasks)
    add_lambada(tasks)
    add_choices(tasks)
    add_answers(tasks)
    return tasks


def evaluate(args):
    """`nanogpt-np eval` without a task"""
    from ..gpt import GPT
    from ..training.evaluation import evaluate_files, nats_of

    if not args.data:
        raise InputError("the following arguments are required: --data")
    ranks, gpt = ranks_of_job(), open_model(GPT, args)
    if ranks and not ranks.is_first:
        return ranks.serve(lambda rows: nats_of(rows, gpt.params, gpt.config, gpt.ops))
    result = evaluate_files(gpt, args.data, args.held_out, ranks.map if ranks else map)
    print(f"{result} ({result.n_tokens:,} tokens, {result.n_bytes:,} bytes)")


def add_task(tasks, name, run, help, example, add_options):
    """A task: its own options, and those that all have."""

    def add_all(p):
        _model_options(p)
        add_options(p)
        for action in p._actions:  # else a default here would undo what was typed before the task's name
            if action.dest in ("debug", "model", "ops", "verbose", "held_out"):
                action.default = argparse.SUPPRESS

    return command(tasks, name, run, help, f"nanogpt-np eval {name} {example}", add_all)


def _model_options(p):
    p.add_argument("--model", default="stories", metavar="NAME", help="a model's name or directory (default stories)")
    ops_options(p)


def items_options(p, what, overflow=True):
    """Options of a task that goes through the items of a file; `what` that file is."""
    p.add_argument("--data", required=True, metavar="FILE", help=what)
    p.add_argument("--limit", type=int, metavar="INT", help="only so many items, the first (default all)")
    if overflow:
        p.add_argument("--overflow", choices=("error", "cut"), default="error",
                       help="what is longer than the context: an error, or its beginning is left out (default error)")
    p.add_argument("--batch-size", type=int, default=8, metavar="INT", help="texts at once (default 8)")
    p.add_argument("--out", metavar="FILE", help="write a row for each item here, as JSON; what stands there is gone "
                   "on with")
    p.add_argument("--json", action="store_true", help="print the numbers as one JSON object")


def run_items(args, gpt, found, room, summary, unit, settings=None):
    """Go through the items of a file, print what they come to.

    `room`: of evaluation/, with measure(items, gpt, batch_size) -> a row each, and NUMBERS {name: words};
    `summary(rows)` -> {name: number}; `settings`: options of the task that change its rows, for the file --out.
    """
    from ..evaluation import results

    def measure(some):
        return room.measure(some, gpt, args.batch_size)

    ranks = ranks_of_job()
    if ranks and not ranks.is_first:
        return ranks.serve(results.of_group(found, measure))
    settings = (settings or {}) | {"overflow": args.overflow, "batch_size": args.batch_size}
    asked = results.fingerprint(gpt, args.task, args.data, settings) if args.out else ""
    spread = ranks.map if ranks else map
    rows = results.collect(found, measure, results.GROUP * args.batch_size, unit, args.out, asked, spread)
    print_numbers(args, summary(rows) | {f"n_{unit}s": len(rows)}, room.NUMBERS)


def print_numbers(args, numbers, meanings):
    """The numbers with what they mean, a line each; or one object of JSON."""
    import json
    import math

    if args.json:  # JSON has no nan and no inf
        numbers = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        about = {"task": args.task, "model": args.model, "data": args.data, "ops": args.ops}
        print(json.dumps(about | numbers, ensure_ascii=False))
        return
    width = max(map(len, numbers))
    for name, value in numbers.items():
        shown = f"{value:,}" if isinstance(value, int) else f"{value:,.4f}"
        print(f"{name:<{width}}  {shown:>14}  {meanings.get(name, '')}".rstrip())


def check_counts(args):
    """InputError for numbers that count nothing, and for an option of another task."""
    if args.held_out is not None and args.task != "perplexity":
        raise InputError("held_out: expected it with a text that training reads, got it with questions; leave it out")
    for name in ("limit", "batch_size"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InputError(f"{name}: expected a whole number of at least 1, got {value}")


def add_perplexity(tasks):
    """`eval perplexity` and its options."""
    add_task(tasks, "perplexity", perplexity, "how well texts are predicted: by token, word and byte",
             "--data wikitext-2_test.txt --stride 128", _perplexity_options)


def _perplexity_options(p):
    items_options(p, 'JSONL with a "text" each, and perhaps the "page" it was made from; or, by any other name than '
                  "*.jsonl, UTF-8 text, where <|endoftext|> separates documents", overflow=False)
    p.add_argument("--windows", choices=("rolling", "guide"), default="rolling",
                   help="rolling: every token is predicted, the first one behind <|endoftext|>, as "
                   "lm-evaluation-harness does; guide: as the guide of transformers does, a window's first token is "
                   "not (default rolling)")
    p.add_argument("--held-out", type=float, metavar="SHARE",
                   help="of a text: only the documents that train --held-out SHARE sets aside")
    p.add_argument("--stride", type=int, metavar="INT",
                   help="how far windows lie apart (default: the context; less is slower, and every token sees more)")


def perplexity(args):
    """`nanogpt-np eval perplexity`"""
    from ..evaluation import texts
    from ..gpt import GPT

    check_counts(args)
    gpt = open_model(GPT, args)
    documents = texts.read_pages(args.data, args.limit, args.held_out)
    found = texts.pieces(documents, gpt, args.windows, args.stride)
    args.overflow = None
    run_items(args, gpt, found, texts, lambda rows: texts.summary(rows, documents, args.windows), "window",
              {name: getattr(args, name) for name in ("windows", "stride", "limit", "held_out")})


def add_lambada(tasks):
    """`eval lambada` and its options."""
    add_task(tasks, "lambada", lambada, "the last word of passages (LAMBADA), and its last token",
             "--model gpt2 --data lambada_test.jsonl",
             lambda p: items_options(p, 'JSONL: a "text" each, of which the last word is asked for'))


def lambada(args):
    """`nanogpt-np eval lambada`"""
    from ..evaluation import last_words
    from ..gpt import GPT

    check_counts(args)
    gpt = open_model(GPT, args)
    found = last_words.read_passages(args.data, gpt, args.limit, args.overflow)
    run_items(args, gpt, found, last_words, last_words.summary, "passage")


def add_choices(tasks):
    """`eval choices` and its options."""
    add_task(tasks, "choices", choices, "multiple choice (HellaSwag, or any), with or without examples",
             "--model gpt2 --data hellaswag_val.jsonl", _choices_options)


def _choices_options(p):
    items_options(p, 'JSONL: "context", "choices", "label" (the right one, from 0); or HellaSwag\'s own fields')
    p.add_argument("--style", choices=("harness", "completion"), default="harness",
                   help="of HellaSwag's fields: activity and context without WikiHow's marks, as lm-evaluation-harness "
                   "has them, or the context alone, as llm.c has it (default harness)")
    shots_options(p)


def choices(args):
    """`nanogpt-np eval choices`"""
    from ..evaluation import choices as room

    run_questions(args, room, lambda path, limit=None: room.read_questions(path, limit, args.style),
                  {"style": args.style})


def add_answers(tasks):
    """`eval answers` and its options."""
    add_task(tasks, "answers", answers, "questions with one answer each, with or without examples",
             "--data sums.jsonl --shots examples.jsonl --n-shots 5", _answers_options)


def _answers_options(p):
    items_options(p, 'JSONL: "context" and "answer"')
    shots_options(p)


def answers(args):
    """`nanogpt-np eval answers`"""
    from ..evaluation import answers as room

    run_questions(args, room, room.read_questions, {})


def shots_options(p):
    """Examples before each question, and what stands between a question and its answer."""
    p.add_argument("--shots", metavar="FILE", help="JSONL of the same kind: examples that stand before each question")
    p.add_argument("--n-shots", type=int, metavar="INT", help="how many of them (default all)")
    p.add_argument("--seed", type=int, metavar="INT", help="draw them (default: the first ones)")
    p.add_argument("--delimiter", type=unescape, default=" ", metavar="TEXT",
                   help=r"stands before each answer; \n is a newline (default a space)")


def run_questions(args, room, read, settings):
    """Questions, perhaps behind examples, which are the same for all; an example is not asked."""
    from ..evaluation import shots
    from ..files import short
    from ..gpt import GPT

    check_counts(args)
    if not args.shots and (args.n_shots is not None or args.seed is not None):
        raise InputError("n_shots: expected --shots FILE with it, and with --seed, got none; name the examples")
    questions, examples = read(args.data, args.limit), []
    if args.shots:
        known = [question.example for question in read(args.shots)]
        examples = shots.drawn(known, len(known) if args.n_shots is None else args.n_shots, args.seed)
    left = [question for question in questions if question.example not in examples]
    if not left:
        raise InputError("shots: expected examples that leave a question to ask, got all of them; name another file")
    if len(left) < len(questions):
        tell(f"{len(questions) - len(left):,} of the questions are among the examples, and are not asked")
    gpt = open_model(GPT, args)
    header = shots.header(examples, args.delimiter)
    found = room.ask(left, gpt, short(args.data), header, args.delimiter, args.overflow)
    run_items(args, gpt, found, room, room.summary, "question",
              settings | {"header": header, "delimiter": args.delimiter})


def tell(text):
    """A line on standard error, beside the numbers."""
    print(f"nanogpt-np: {text}", file=sys.stderr)
