"""`nanogpt-np models`, `info` and `verify`: which models there are, what one is, and whether it is what it says.

Next: cli/converting.py.
"""

from .options import command


def add_models(commands):
    """`models` and its options."""
    command(commands, "models", list_models, "list the models that have a name", "nanogpt-np models")


def list_models(args):
    """`nanogpt-np models`"""
    from ..storage.about import listed

    for model in listed():
        n_params = "?" if model.n_params is None else f"{model.n_params:,}"
        where = f"fetch it with: nanogpt-np download {model.name}" if model.directory is None else model.directory
        print(f"{model.name:12}  {n_params:>13} parameters  {where}")


def add_info(commands):
    """`info` and its options."""
    p = command(commands, "info", info, "show what a model is, without opening it", "nanogpt-np info stories")
    p.add_argument("model", help="a model's name, directory or file")


def info(args):
    """`nanogpt-np info`"""
    from ..storage.about import describe

    found = describe(args.model)
    rows = [*_lines(found), *(("", f"{n_bytes:>13,}  {name}") for name, n_bytes in found.files.items())]
    print("\n".join(f"{name:10}  {value}" for name, value in rows))


def _lines(found):
    c, tokenizer = found.config, found.tokenizer
    head = "the token embedding again" if c.tie_word_embeddings else "a matrix of its own"
    yield "file" if found.directory.is_file() else "directory", found.directory
    yield "shape", f"n_layer {c.n_layer}, n_head {c.n_head}, n_embd {c.n_embd}, n_ctx {c.n_ctx}, n_vocab {c.n_vocab}"
    yield "variant", f"{c.positions} positions, {c.activation}, logits by {head}"
    if c.is_banded:
        banded = ", ".join(str(layer) for layer in range(c.n_layer) if c.window_of(layer))
        yield "bands", f"a token sees {c.window} tokens in layers {banded}"
    yield "parameters", f"{found.n_params:,}"
    yield "dtype", ", ".join(found.dtypes) or "no weights here"
    yield "vocabulary", f"{tokenizer.n_vocab:,} tokens, fingerprint {tokenizer.fingerprint}" if tokenizer else "none"
    full = f"{found.full_cache_bytes:,} for the whole context"
    yield "KV cache", f"{found.cache_bytes:,} bytes per token in float32, {full}"
    yield "licence", found.licence or "not known"
    yield "files", f"{sum(found.files.values()):>13,}  bytes in {len(found.files)}"


def add_verify(commands):
    """`verify` and its options."""
    p = command(commands, "verify", verify, "compare a model with what was published of it: hashes, then values; "
                "exit status 1 where one differs", "nanogpt-np verify gpt2")
    p.add_argument("model", help="a model's name, directory or file")
    p.add_argument("--as", dest="name", metavar="NAME", help="the model that it should be (default: the registered one "
                   "that lies there, else the published one of the same shape)")
    p.add_argument("--json", action="store_true", help="print one object for each comparison, with whole hashes")


def verify(args):
    """`nanogpt-np verify`"""
    import json

    from ..gpt import GPT
    from ..storage import registry
    from ..storage.verify import HEADINGS, compare, in_words, name_of

    directory = registry.resolve(args.model)
    gpt = GPT.from_pretrained(directory, ops="numpy")
    name = args.name or name_of(directory, gpt.config)
    if not args.json:
        print(_columns(HEADINGS))
    failed, n_compared = [], 0
    for row in compare(directory, gpt, name):
        print(json.dumps(row._asdict(), ensure_ascii=False) if args.json else _columns(in_words(row)), flush=True)
        n_compared += row.passed is not None
        failed += [row.name] if row.passed is False else []
    if not args.json:
        print(_verdict(name, n_compared, failed))
    return 1 if failed else 0


def _columns(cells):
    widths = (4, 42, 28, 28, 11, 9)
    return "  ".join([f"{cell:{width}}" for cell, width in zip(cells, widths, strict=False)] + [cells[-1]])


def _verdict(name, n_compared, failed):
    if name is None:
        return "nothing was published of a model of this shape; compare it with a registered one by --as NAME"
    if failed:
        return f"{name}: {len(failed)} of {n_compared} differ, the first is: {failed[0]}"
    return f"{name}: {n_compared} compared, all agree"
