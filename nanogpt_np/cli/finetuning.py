"""`nanogpt-np finetune`.

Next: cli/models.py.
"""

import dataclasses

from ..errors import InputError
from . import training
from .options import command

MODEL = "stories"
TASKS = {
    "text": "go on with a text's manner: `train --init MODEL` by another name, or with --lora an adapter for MODEL",
    "instructions": "with --lora: learn completions from pairs of a prompt and a completion",
}
LORA = ("lora", "lora_alpha", "target_modules", "rslora", "learn_prompts", "emphasis", "warmup", "min_lr",
        "held_out", "eval_every", "sample", "dtype")  # fmt: skip
TRAINED = ("data", "out", "steps", "batch_size", "lr", "seed", "ops", "patience", "freeze", "layer_decay")


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
    _lora_options(p)


def _lora_options(p):
    """What only makes an adapter, from LoraOptions."""
    from ..finetuning.adapting import LoraOptions

    group = p.add_argument_group("--lora", "learn small corrections only, an adapter as PEFT has it, which --out gets")
    by_name = {field.name: field for field in dataclasses.fields(LoraOptions)}
    for name in LORA:
        if name == "target_modules":
            group.add_argument("--target-modules", nargs="+", metavar="NAME", help=by_name[name].metadata["help"])
        elif name == "lora":
            group.add_argument("--lora", type=int, metavar="R", help=by_name[name].metadata["help"])
        else:
            training._train_option(group, by_name[name], False)


def finetune(args):
    """`nanogpt-np finetune`"""
    if args.lora is not None or args.task == "instructions":
        return _finetune_lora(args)
    given = next((name for name in LORA if getattr(args, name) is not None), None)
    if given is not None:
        raise InputError(f"{given}: expected --lora with it, got none; add --lora 8, or leave it out")
    return _finetune_text(args)


def _finetune_text(args):
    """A run of training that begins with a model; its folder is one of `train`, and goes on with either command."""
    args.preset, args.init = None, None if args.resume else args.model or MODEL
    if args.resume and args.model:
        raise InputError("--resume: expected no --model, as a run keeps the one that it began with; leave it out")
    return training.train(args)


def _finetune_lora(args):
    """A run that leaves an adapter."""
    from ..finetuning.adapting import LoraOptions, run
    from ..gpt import find_ops
    from ..training import folder, start

    given = {name: getattr(args, name) for name in (*TRAINED, *LORA) if getattr(args, name) is not None}
    if args.resume:
        _check_resumed(args, given)
        options = folder.resume_options(args.out, args.data, args.steps, LoraOptions)
    else:
        if not args.data:
            raise InputError("finetune: expected --data FILE, got none; name one or more files")
        if args.lora is None:
            raise InputError("--task instructions: expected --lora R, got none; add --lora 8")
        base = args.model or MODEL
        shape = start.shape_of(base) | {"init": base, "pairs": args.task == "instructions"}
        options = LoraOptions(**shape | given)
    done = run(options, find_ops(options.ops), resume=args.resume)
    return 0 if done.is_finished else training.STOPPED


def _check_resumed(args, given):
    """InputError where a run that goes on is asked for something else than it began with."""
    extra = given.keys() - {"out", "data", "steps", "lora"} | ({"model"} if args.model else set())
    if extra:
        flag = "--" + min(extra).replace("_", "-")
        raise InputError(f"--resume: expected only --out (and --data, --steps), got {flag}; a run keeps its options")
