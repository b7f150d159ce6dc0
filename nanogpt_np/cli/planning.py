"""`nanogpt-np plan`.

Next: cli/llm_plugin.py.
"""

import argparse
import json
import re

from .options import command

SHAPE = ("n_layer", "n_head", "n_embd", "n_inner", "n_ctx", "n_vocab", "window")


def add_plan(commands):
    """`plan` and its options."""
    command(commands, "plan", show_plan, "what a model asks of a machine: memory, time, energy, how many devices",
            "nanogpt-np plan gpt3-175b --machine h100 --tokens 300e9 --plot plan.png", _add_options)


def _add_options(p):
    from ..planning.machines import MACHINES, THIS
    from ..planning.options import CARBON, PRECISIONS, PUE, RECOMPUTE, USABLE, UTILISATION
    from ..planning.sizes import DTYPES

    p.add_argument("model", help="a preset (gpt2, gpt2-xl, gpt3-175b, …), a model's name, directory or file")
    p.add_argument("--machine", default="a100", metavar="NAME",
                   help=f"{', '.join(MACHINES)}, or {THIS}, which is measured, a second or two (default a100)")
    p.add_argument("--dtype", default="float16", metavar="NAME",
                   help=f"of weights and KV cache while generating: {', '.join(DTYPES)} (default float16)")
    p.add_argument("--context", dest="n_before", type=count, metavar="INT",
                   help="tokens before the one that is counted (default: a full context)")
    p.add_argument("--prompt", dest="n_prompt", type=count, metavar="INT", help="tokens of a prompt (default: n_ctx)")
    p.add_argument("--batch", dest="n_batch", type=count, default=1, metavar="INT", help="texts at once (default 1)")
    p.add_argument("--tokens", dest="n_tokens", type=count, metavar="INT", help="to train on, 300e9 say (default: 20 "
                   "for each parameter; for GPT-3's sizes 300e9)")
    p.add_argument("--devices", type=count, metavar="INT", help="to train on (default: the smallest cluster)")
    p.add_argument("--data-ranks", dest="data", type=count, default=1, metavar="INT",
                   help="a split to look at: so many ranks with windows of their own, one optimizer (default 1)")
    p.add_argument("--tensor-ranks", dest="tensor", type=count, default=1, metavar="INT",
                   help="… so many that share each matrix (default 1)")
    p.add_argument("--pipeline-ranks", dest="pipeline", type=count, default=1, metavar="INT",
                   help="… so many that share the layers (default 1)")
    p.add_argument("--micro-batch", type=count, default=1, metavar="INT", help="windows at once on a rank (default 1)")
    p.add_argument("--precision", default="mixed", metavar="NAME",
                   help=f"of training: {' or '.join(PRECISIONS)}, which is this project's own (default mixed)")
    p.add_argument("--recompute", metavar="NAME", help=f"what the backward pass makes again: {', '.join(RECOMPUTE)} "
                   "(default: attention in mixed precision, none in float32)")
    p.add_argument("--utilisation", type=float, default=UTILISATION, metavar="FLOAT",
                   help=f"the share of a device's operations that training reaches (default {UTILISATION})")
    p.add_argument("--pue", type=float, default=PUE, metavar="FLOAT",
                   help=f"the data centre's energy per energy of its devices (default {PUE})")
    p.add_argument("--carbon", type=float, default=CARBON, metavar="FLOAT",
                   help=f"kg of CO2 equivalents per kWh (default {CARBON})")
    p.add_argument("--watts", type=float, metavar="FLOAT", help="per device (default: its published limit)")
    p.add_argument("--usable", type=float, default=USABLE, metavar="FLOAT",
                   help=f"the share of a device's memory to fill (default {USABLE})")
    for name in _shape_fields():
        p.add_argument(f"--{name.replace('_', '-')}", type=count, metavar="INT", help="instead of the model's own")
    p.add_argument("--json", action="store_true", help="print one object instead, whole numbers as they are")
    p.add_argument("--plot", metavar="FILE", help="draw roofline and scaling laws into a PNG file")


def count(text):
    """A whole number as people type it: count("1.5e9") -> 1500000000"""
    found = re.fullmatch(r"([0-9]{1,20})(?:\.([0-9]{1,20}))?(?:[eE]\+?([0-9]{1,2}))?", re.sub("[,_]", "", text))
    digits, exponent = ((found[2] or "").rstrip("0"), int(found[3] or 0)) if found else ("", 0)
    if not found or len(digits) > exponent:
        raise argparse.ArgumentTypeError(f"expected a whole number, such as 1024 or 1.5e9, got {text!r}")
    return int(found[1] + digits) * 10 ** (exponent - len(digits))


def _shape_fields():
    from dataclasses import fields

    from ..config import GPTConfig

    known = {field.name for field in fields(GPTConfig)}
    return [name for name in SHAPE if name in known]


def show_plan(args):
    """`nanogpt-np plan`"""
    from dataclasses import fields

    from .. import files
    from ..planning import Options, draw_plan, plan, to_dict, to_text
    from ..planning.naming import find_config

    options = Options(**{field.name: getattr(args, field.name) for field in fields(Options)})
    changed = {name: getattr(args, name) for name in _shape_fields() if getattr(args, name) is not None}
    config = find_config(args.model)
    if changed.get("n_vocab", config.n_vocab) < config.n_vocab:
        config = config.replace(eos_id=None)  # which may lie beyond, and costs nothing
    config = config.replace(**changed)
    name = " ".join([args.model, *(f"{key}={value}" for key, value in changed.items())])
    made = plan(config, args.machine, options, name)
    if args.plot is not None:
        with files.replacing(args.plot) as part:
            draw_plan(made).savefig(part, format="png")
    print(json.dumps(to_dict(made), ensure_ascii=False) if args.json else to_text(made))
