"""`nanogpt-np models` and `nanogpt-np info`: which models there are, and what one is.

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
    whole = found.cache_bytes * c.n_ctx
    yield "file" if found.directory.is_file() else "directory", found.directory
    yield "shape", f"n_layer {c.n_layer}, n_head {c.n_head}, n_embd {c.n_embd}, n_ctx {c.n_ctx}, n_vocab {c.n_vocab}"
    yield "variant", f"{c.positions} positions, {c.activation}, logits by {head}"
    yield "parameters", f"{found.n_params:,}"
    yield "dtype", ", ".join(found.dtypes) or "no weights here"
    yield "vocabulary", f"{tokenizer.n_vocab:,} tokens, fingerprint {tokenizer.fingerprint}" if tokenizer else "none"
    yield "KV cache", f"{found.cache_bytes:,} bytes per token in float32, {whole:,} for the whole context"
    yield "licence", found.licence or "not known"
    yield "files", f"{sum(found.files.values()):>13,}  bytes in {len(found.files)}"
