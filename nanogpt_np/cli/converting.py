"""`nanogpt-np convert`: a model from one format to another.

Next: cli/looking.py.
"""

from .options import command


def add_convert(commands):
    """`convert` and its options."""
    p = command(commands, "convert", convert, "write a model in another format; nothing is ever replaced",
                "nanogpt-np convert stories stories.gguf --to gguf --type q8_0", _options)
    p.add_argument("model", metavar="IN", help="a model's name, a directory, a .gguf file or llm.c's .bin file")
    p.add_argument("out", metavar="OUT", help="where nothing is yet: a directory for hf, else a file")


def _options(p):
    from ..storage.conversion import KINDS

    p.add_argument("--to", required=True, choices=tuple(KINDS),
                   help="hf: a directory as transformers has it; gguf: llama.cpp's file; llmc: llm.c's file")
    kinds = "; ".join(f"{name}: {', '.join(kinds)}" for name, kinds in KINDS.items())
    p.add_argument("--type", dest="kind", metavar="NAME", help=f"of the weights, f32 unless said ({kinds})")
    p.add_argument("--adapter", metavar="DIR", help="merge this LoRA adapter into the weights, for good")


def convert(args):
    """`nanogpt-np convert`"""
    import sys
    from pathlib import Path

    from .. import files
    from ..storage.conversion import convert as write

    for line in write(args.model, args.out, args.to, args.kind, args.adapter):
        print(f"nanogpt-np: {line}", file=sys.stderr)
    out = Path(args.out)
    n_bytes = sum(path.stat().st_size for path in (out.iterdir() if out.is_dir() else [out]))
    print(f"{files.short(out)}: {n_bytes:,} bytes")
