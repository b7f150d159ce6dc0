"""`nanogpt-np generate` and `nanogpt-np chat`.

Next: cli/tokenizing.py.
"""

from .options import command, open_model, read_stdin, sampling, sampling_options


def add_generate(commands):
    """`generate` and its options."""
    p = command(commands, "generate", generate, "continue a text",
                'nanogpt-np generate "Once upon a time" --temperature 0.7 --seed 7')
    p.add_argument("prompt", nargs="?", default="Once upon a time", help="the beginning; - reads standard input")
    sampling_options(p)
    p.add_argument("--num-return-sequences", type=int, default=1, metavar="INT", help="how many continuations")
    p.add_argument("--num-beams", type=int, default=1, metavar="INT",
                   help="search with so many beams for the likeliest text, and draw nothing (default 1: draw)")
    p.add_argument("--length-penalty", type=float, default=1.0, metavar="FLOAT",
                   help="with beams: higher favours longer texts (default 1)")
    p.add_argument("--overflow", choices=("error", "slide"), default="error",
                   help="when the context is full: stop with an error, or forget the older half (default error)")


def generate(args):
    """`nanogpt-np generate`"""
    from ..gpt import GPT

    prompt = read_stdin().removesuffix("\n") if args.prompt == "-" else args.prompt  # as the shell's $(...) does
    gpt = open_model(GPT, args)
    settings = sampling(args) | {"seed": args.seed, "overflow": args.overflow}
    several = {name: getattr(args, name) for name in ("num_return_sequences", "num_beams", "length_penalty")}
    if any(value != 1 for value in several.values()):
        texts = gpt.generate(prompt, **several, **settings)
        texts = [texts] if isinstance(texts, str) else texts
        print(f"\n{'-' * 40}\n".join(prompt + text for text in texts))
        return
    pieces = gpt.stream(prompt, **settings)
    print(prompt, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


def add_chat(commands):
    """`chat` and its options."""
    p = command(commands, "chat", chat, "write a text in turns with a model", "nanogpt-np chat --model stories")
    sampling_options(p)


def chat(args):
    """`nanogpt-np chat`"""
    from ..generation.chat import converse
    from ..gpt import GPT

    gpt = open_model(GPT, args)
    converse(gpt, sampling(args) | {"seed": args.seed})
