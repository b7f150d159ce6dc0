"""`nanogpt-np train`.

Next: cli/evaluating.py.
"""

import argparse
import dataclasses

from ..errors import InputError
from .options import command

STOPPED = 3  # exit status
TRAIN_NOTES = """\
--preset: defaults that fit the text; each option you name replaces one of them. auto chooses by the size of the text:
{table}
  With --init the shape comes from that model, a step reads as many tokens as the preset's, and --lr is {further_lr:g}.

the folder --out: the model after the last step, best/ (the model with the lowest held-out loss; none if nothing is held
  out), training_state.safetensors (what --resume needs), training.json, log.csv, loss.png, samples.txt (with --sample),
  kept/ (with --keep-every: the model before the first step and then every so many, each a model directory).
  On disk: 4 bytes per parameter for each of the two models and of those in kept/ (2 with --dtype float16), and 12 for
  the state, which may go when no --resume is wanted; while a file is being replaced, it is there twice.

--recipe gpt3: as GPT-3 was trained (Brown et al. 2020, appendix B): Adam with 0.9, 0.95 and 1e-8, gradients cut to a
  length of 1, weight decay 0.1, --lr {gpt3_lr:g}, and in shares of all tokens: --warmup-tokens 1/800, --decay-tokens
  13/15 (down to a tenth, where it stays), --ramp-tokens 1/75, from a sixteenth of the batch. What you name counts.
  Its shape is --window with --n-ctx 2048; --preset still says how large and how long.

--resume --steps N: as many steps in all, more or fewer than planned. From there on the learning rate is that of a run
  planned for N steps, so going on longer raises it again where the cosine had come down, and the loss rises with it
  for a while. Going on is bit for bit the same whenever it is stopped; it is not the run that had N from the start.

exit status: 0 finished, 3 stopped by Ctrl-C or SIGTERM (the step was finished and saved; go on with --resume),
  2 an error in what was asked, 130 stopped at once by a second Ctrl-C."""


def add_train(commands):
    """`train` and its options."""
    command(commands, "train", train, "train a tokenizer and a model from plain text",
            "nanogpt-np train --data stories.txt --out runs/stories --sample 'Once upon a time'\n"
            "  nanogpt-np train --data mine.txt --out runs/mine --init stories\n"
            "  nanogpt-np train --out runs/stories --resume --steps 6000", _train_options)


def _train_options(p):
    from ..training import gpt3, recipes
    from ..training.options import TrainOptions

    p.add_argument("--data", nargs="+", metavar="FILE", help="UTF-8 text; <|endoftext|> separates documents")
    p.add_argument("--out", required=True, metavar="DIR", help="where the model and the run's files go")
    p.add_argument("--resume", action="store_true",
                   help="go on with the run in --out, bit for bit; --steps may change (see below)")
    p.add_argument("--preset", metavar="NAME", help=f"{', '.join(recipes.NAMES)}: see below (default auto)")
    for field in dataclasses.fields(TrainOptions):
        if field.name not in ("data", "out"):
            _train_option(p, field, field.name in recipes.DECIDED)
    lr = gpt3.PRINTED["gpt3-small"].lr
    notes = TRAIN_NOTES.format(table=recipes.table(), further_lr=recipes.FURTHER_LR, gpt3_lr=lr)
    p.add_argument_group("notes", notes)


def train(args):
    """`nanogpt-np train`"""
    from ..gpt import find_ops
    from ..training.distributed_ranks import n_launched
    from ..training.loop import run

    if n_launched() > 1:
        return _train_together(args)
    options = _resumed_options(args) if args.resume else _new_options(args)
    done = run(options, find_ops(options.ops), resume=args.resume)
    return 0 if done.is_finished else STOPPED


def _train_together(args):
    """The same on several ranks, of which the first one alone reads options and text."""
    from ..gpt import find_ops
    from ..training import distributed
    from ..training.distributed_ranks import join

    ranks, options = join(), None
    if ranks.is_first:
        options = _resumed_options(args) if args.resume else _new_options(args)
    ops = find_ops(ranks.share(options and options.ops))
    return 0 if distributed.run(options, ops, ranks, resume=args.resume) else STOPPED


def _given(args):
    """The fields of TrainOptions that were typed."""
    from ..training.options import TrainOptions

    names = [field.name for field in dataclasses.fields(TrainOptions)]
    return {name: getattr(args, name) for name in names if getattr(args, name, None) is not None}


def _resumed_options(args):
    from ..training.folder import resume_options

    given = _given(args) | ({"preset": args.preset} if args.preset else {})
    if extra := given.keys() - {"out", "data", "steps"}:
        flag = "--" + min(extra).replace("_", "-")
        expected = "expected only --out (and --data, --steps)"
        raise InputError(f"--resume: {expected}, got {flag}; a run keeps its options")
    return resume_options(args.out, args.data, args.steps)


def _new_options(args):
    from ..training import data, recipes, start
    from ..training.options import TrainOptions

    if not args.data:
        raise InputError("train: expected --data FILE, got none; name one or more text files")
    recipe = recipes.find(args.preset or recipes.AUTO, data.count_file_bytes(args.data))
    return TrainOptions(**recipes.fill(_given(args), recipe, start.shape_of(args.init) if args.init else None))


def _train_option(p, field, by_preset):
    """One command-line option from one field of TrainOptions."""
    flag, help = "--" + field.name.replace("_", "-"), field.metadata["help"]
    if by_preset:
        help += " (default: see --preset)"
    elif field.default not in (None, dataclasses.MISSING):
        help += f" (default {field.default})"
    if field.type is bool:
        p.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=help)
    elif field.type == list[str]:
        p.add_argument(flag, action="append", metavar="TEXT", help=help)
    else:
        kind = next((kind for kind in (int, float) if field.type in (kind, kind | None)), str)
        p.add_argument(flag, type=kind, metavar=kind.__name__.upper(), help=help)
