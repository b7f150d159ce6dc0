"""`nanogpt-np generate` and `nanogpt-np chat`.

Next: cli/tokenizing.py.
"""

import sys

from .options import check_stdin, command, open_model, read_stdin, sampling_options, sampling_settings

BEGINNING = "Once upon a time"


def add_generate(commands):
    """`generate` and its options."""
    p = command(commands, "generate", generate, "continue a text",
                'nanogpt-np generate "Once upon a time" --temperature 0.7 --seed 7')
    p.add_argument("prompt", nargs="?", help="the beginning; - reads standard input, as does leaving it out where "
                   f"something is piped in (else: {BEGINNING!r})")
    sampling_options(p)
    p.add_argument("--num-return-sequences", type=int, default=1, metavar="INT", help="how many continuations")
    p.add_argument("--num-beams", type=int, default=1, metavar="INT",
                   help="search with so many beams for the likeliest text, and draw nothing (default 1: draw)")
    p.add_argument("--length-penalty", type=float, default=1.0, metavar="FLOAT",
                   help="with beams: higher favours longer texts (default 1)")
    p.add_argument("--overflow", choices=("error", "slide"), default="error",
                   help="when the context is full: stop with an error, or forget the older half, of a long prompt too "
                   "(default error)")


def generate(args):
    """`nanogpt-np generate`"""
    from ..gpt import GPT

    prompt = beginning(args.prompt)
    gpt = open_model(GPT, args)
    settings = sampling_settings(args) | {"seed": args.seed, "overflow": args.overflow}
    several = {name: getattr(args, name) for name in ("num_return_sequences", "num_beams", "length_penalty")}
    if any(value != 1 for value in several.values()):
        texts = gpt.generate(prompt, **several, **settings)
        tell_of_a_cut(gpt, prompt)
        texts = [texts] if isinstance(texts, str) else texts
        print(f"\n{'-' * 40}\n".join(prompt + text for text in texts))
        return
    pieces = gpt.stream(prompt, **settings)
    tell_of_a_cut(gpt, prompt)
    first = next(pieces, "")  # an error of the first pass is said before anything is printed
    print(prompt + first, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


def beginning(word):
    """The prompt: the word that was typed, or what is piped in, without its last newline, as in the shell's $(...)."""
    if word == "-":
        return read_stdin().removesuffix("\n")
    if word is not None:
        return word
    piped = "" if sys.stdin is None or sys.stdin.isatty() else read_stdin().removesuffix("\n")
    return piped or BEGINNING


def tell_of_a_cut(gpt, prompt):
    """Say on standard error where a prompt is longer than the context, of which only its last part is read."""
    from ..kv_cache import slide

    ids, n_ctx = gpt.tokenizer.encode(prompt), gpt.config.n_ctx
    if len(ids) > n_ctx:
        n = len(slide(ids, n_ctx))
        print(f"nanogpt-np: the prompt has {len(ids):,} tokens, the context {n_ctx:,}; only the last {n:,} are read",
              file=sys.stderr)  # fmt: skip


def add_chat(commands):
    """`chat` and its options."""
    p = command(commands, "chat", chat, "write a text in turns with a model", "nanogpt-np chat --model stories")
    sampling_options(p)


def chat(args):
    """`nanogpt-np chat`"""
    from ..generation.chat import converse
    from ..gpt import GPT

    check_stdin()
    gpt = open_model(GPT, args)
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="surrogateescape")  # a line that is no UTF-8 is refused; the next one is read
    converse(gpt, sampling_settings(args) | {"seed": args.seed})
