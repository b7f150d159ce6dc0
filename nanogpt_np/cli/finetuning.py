"""`nanogpt-np finetune`.

Next: cli/models.py.
"""

from ..errors import InputError
from . import training
from .options import command

MODEL = "stories"
TASKS = {"text": "go on with a text's manner: `train --init MODEL` by another name"}


def add_finetune(commands):
    """`finetune` and its options."""
    command(commands, "finetune", finetune, "take a trained model to a task",
            "nanogpt-np finetune --task text --data mine.txt --out runs/mine --freeze 3", _finetune_options)


def _finetune_options(p):
    p.add_argument("--task", required=True, choices=tuple(TASKS), metavar="NAME",
                   help="; ".join(f"{name}: {words}" for name, words in TASKS.items()))
    p.add_argument("--data", nargs="+", metavar="FILE", help="text: UTF-8 files, <|endoftext|> between documents")
    p.add_argument("--out", required=True, metavar="DIR", help="where the model and the run's files go")
    p.add_argument("--model", metavar="NAME", help=f"begin with this model, a name or directory (default {MODEL})")
    p.add_argument("--resume", action="store_true", help="go on with the run in --out")
    p.add_argument("--freeze", type=int, metavar="INT",
                   help="the embeddings and so many of the lowest blocks stay as they are (default: everything learns)")
    p.add_argument("--layer-decay", type=float, metavar="FLOAT",
                   help="each block learns at this times the rate of the one above it (default 1)")
    p.add_argument("--patience", type=int, metavar="INT",
                   help="stop after so many measurements in a row without a better one (default: never)")
    p.add_argument("--steps", type=int, metavar="INT", help="text: optimizer steps")
    p.add_argument("--batch-size", type=int, metavar="INT", help="windows, or texts, of a step")
    p.add_argument("--lr", type=float, metavar="FLOAT", help="highest learning rate")
    p.add_argument("--seed", type=int, metavar="INT", help="decides the order of the data, dropout and new weights")
    p.add_argument("--ops", metavar="NAME", help="who does the arithmetic: numpy (default) or numba (faster)")


def finetune(args):
    """`nanogpt-np finetune`"""
    return _finetune_text(args)


def _finetune_text(args):
    """A run of training that begins with a model; its folder is one of `train`, and goes on with either command."""
    args.preset, args.init = None, None if args.resume else args.model or MODEL
    if args.resume and args.model:
        raise InputError("--resume: expected no --model, as a run keeps the one that it began with; leave it out")
    return training.train(args)
