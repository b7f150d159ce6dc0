"""`nanogpt-np finetune` and `nanogpt-np classify`.

Next: cli/models.py.
"""

import dataclasses
import json

from ..errors import InputError
from . import training
from .options import command, read_stdin

MODEL = "stories"
TASKS = {
    "text": "go on with a text's manner (`train --init MODEL` by another name, or with --lora an adapter for MODEL)",
    "classify": "learn from labelled texts, a CSV file, which label a text has",
    "instructions": "with --lora: learn completions from pairs of a prompt and a completion",
}
LORA = (
    "lora", "lora_alpha", "target_modules", "rslora", "learn_prompts", "emphasis", "warmup", "min_lr", "held_out",
    "eval_every", "sample", "dtype",
)  # fmt: skip
FINETUNE_NOTES = """\
--task text: a run of `train`, so its folder is one of `train`, and `train --help` says what lies in it.
--task classify: the CSV file is UTF-8; its first line names the columns, two of them `text` and `label`. 80 % of the
  texts are learned, 10 % choose the best classifier, 10 % are only measured: which ones, a hash of each text says.
  In --out: the best classifier (a directory that `transformers` opens too), log.csv, results.json, results.png, and
  what --resume needs. Measured beside it: the commonest label, logistic regression on the words, and on frozen
  features.

exit status: 0 finished, 3 stopped by Ctrl-C or SIGTERM (the step was finished and saved; go on with --resume),
  2 an error in what was asked, 130 stopped at once by a second Ctrl-C."""

# options of one task alone, beside those of both: (help, type); the fields of TrainOptions and ClassifyOptions
TEXT_ONLY = {"steps": ("optimizer steps", int)}


def add_finetune(commands):
    """`finetune` and its options."""
    command(commands, "finetune", finetune, "take a trained model to a task",
            "nanogpt-np finetune --task classify --data reviews.csv --out runs/reviews\n"
            "  nanogpt-np finetune --task text --data mine.txt --out runs/mine --freeze 3", _finetune_options)


def _finetune_options(p):
    from ..finetuning.options import ClassifyOptions

    p.add_argument("--task", required=True, choices=tuple(TASKS), metavar="NAME",
                   help="; ".join(f"{name}: {words}" for name, words in TASKS.items()))
    p.add_argument("--data", nargs="+", metavar="FILE",
                   help="text: UTF-8, <|endoftext|> separates documents; classify: CSV with the columns text and label")
    p.add_argument("--out", required=True, metavar="DIR", help="where the model and the run's files go")
    p.add_argument("--resume", action="store_true", help="go on with the run in --out; it keeps its options")
    for name, (help, kind) in TEXT_ONLY.items():
        p.add_argument("--" + name.replace("_", "-"), type=kind, metavar=kind.__name__.upper(), help=f"text: {help}")
    shared = _shared()
    for field in dataclasses.fields(ClassifyOptions):
        if field.name not in ("data", "out"):
            _add_field(p, field, "" if field.name in shared else "classify: ")
    _lora_options(p)
    p.add_argument_group("notes", FINETUNE_NOTES)


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


def _shared():
    """The options that both tasks have, by the name of the field."""
    from ..finetuning.options import ClassifyOptions
    from ..training.options import TrainOptions

    names = {field.name for field in dataclasses.fields(TrainOptions)}
    return {field.name for field in dataclasses.fields(ClassifyOptions) if field.name in names} | {"model"}


def _add_field(p, field, prefix):
    """One option from a field of ClassifyOptions."""
    flag, help = "--" + field.name.replace("_", "-"), prefix + field.metadata["help"]
    if field.type is bool:
        p.add_argument(flag, action="store_true", default=None, help=help)
        return
    kind = next((kind for kind in (int, float) if field.type in (kind, kind | None)), str)
    if prefix and field.default is not None or field.name == "model":
        help += f" (default {field.default})"
    p.add_argument(flag, type=kind, metavar=kind.__name__.upper() if kind is not str else "NAME", help=help)


def finetune(args):
    """`nanogpt-np finetune`"""
    if args.task == "classify":
        return _finetune_classifier(args)
    if args.lora is not None or args.task == "instructions":
        return _finetune_lora(args)
    _refuse(args, LORA, "expected --lora with it, got none; add --lora 8")
    return _finetune_text(args)


def _given(args, names):
    return {name: getattr(args, name) for name in names if getattr(args, name, None) is not None}


def _refuse(args, names, why):
    """InputError for the first of some options that was typed."""
    if given := _given(args, names):
        raise InputError(f"{args.flags[min(given)]}: {why}; leave it out")


def _finetune_text(args):
    """A run of training that begins with a model; its folder is one of `train`, and goes on with either command."""
    from ..finetuning.options import ClassifyOptions

    own = {field.name for field in dataclasses.fields(ClassifyOptions)} - _shared()
    _refuse(args, own, "expected options of --task text")
    args.preset, args.init = None, None if args.resume else args.model or MODEL
    if args.resume:
        _refuse(args, ["model"], "expected none with --resume, as a run keeps the one that it began with")
    return training.train(args)


def _finetune_classifier(args):
    from ..finetuning import run
    from ..finetuning.options import ClassifyOptions
    from ..gpt import find_ops

    _refuse(args, TEXT_ONLY, "expected options of --task classify, which has --epochs instead")
    _refuse(args, LORA, "expected options of --task classify")
    names = [field.name for field in dataclasses.fields(ClassifyOptions)]
    if args.resume:
        _refuse(args, set(names) - {"out", "data"}, "expected only --out (and --data) with --resume")
        options = run.resume_options(args.out, args.data)
    elif not args.data:
        raise InputError("finetune: expected --data FILE, got none; name a CSV file with the columns text and label")
    else:
        options = ClassifyOptions(**_given(args, names))
    done = run.make_classifier(options, find_ops(options.ops), resume=args.resume)
    return 0 if done.is_finished else training.STOPPED


def _finetune_lora(args):
    """A run that leaves an adapter."""
    from ..finetuning.adapting import LoraOptions, run
    from ..finetuning.options import ClassifyOptions
    from ..gpt import find_ops
    from ..training import folder, start

    own = {field.name for field in dataclasses.fields(ClassifyOptions)} - _shared()
    _refuse(args, own, f"expected options of --task {args.task}")
    given = _given(args, [field.name for field in dataclasses.fields(LoraOptions)])
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


def add_classify(commands):
    """`classify` and its options."""
    p = command(commands, "classify", classify, "say which label a text has, by a classifier of `finetune`",
                'nanogpt-np classify "simplistic , silly and tedious ." --model runs/reviews')
    p.add_argument("text", nargs="*", help="a text, or several; - reads one from standard input")
    p.add_argument("--model", required=True, metavar="DIR", help="the folder of a classifier")
    p.add_argument("--data", nargs="+", metavar="FILE", help="measure it on labelled texts, CSV files, instead")
    p.add_argument("--text-column", default="text", metavar="NAME", help="with --data (default text)")
    p.add_argument("--label-column", default="label", metavar="NAME", help="with --data (default label)")
    p.add_argument("--ops", default="auto", metavar="NAME", help="numpy, numba or auto (default auto)")
    p.add_argument("--json", action="store_true", help="a line of JSON for each text, or for what was measured")


def classify(args):
    """`nanogpt-np classify`"""
    from ..finetuning.classifier import Classifier

    if bool(args.text) == bool(args.data):
        got = "both" if args.text else "neither"
        raise InputError(f"classify: expected a text, or --data FILE, got {got}")
    texts = [read_stdin().removesuffix("\n") if text == "-" else text for text in args.text]
    classifier = Classifier.from_pretrained(args.model, args.ops)
    if args.data:
        return _measure(classifier, args)
    for answer in classifier.classify(texts):
        if args.json:
            print(json.dumps(answer._asdict(), ensure_ascii=False))
        else:
            ranked = [f"{name} {share:.3f}" for name, share in answer.probabilities.items()]
            print("  ".join(ranked[:5]))


def _measure(classifier, args):
    from ..finetuning import examples, results

    found = examples.read(args.data, args.text_column, args.label_column, known=classifier.labels)
    measured = classifier.measure([classifier.encode(text) for text in found.texts], found.labels)
    if args.json:
        print(json.dumps(results.to_dict(measured), ensure_ascii=False))
        return
    print(f"{measured}, loss {measured.loss:.4f}, calibration error {measured.calibration_error:.3f}")
    for name, row in zip(classifier.labels, measured.confusion, strict=True):
        said = ", ".join(f"{count:,} as {label}" for label, count in zip(classifier.labels, row, strict=True) if count)
        print(f"  {name}: {said or 'none'}")
