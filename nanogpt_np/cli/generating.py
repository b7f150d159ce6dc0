"""`nanogpt-np generate` and `nanogpt-np chat`.

Next: cli/tokenizing.py.
"""

import sys

from ..errors import InputError
from .options import (
    check_stdin,
    command,
    open_model,
    ranks_of_job,
    read_stdin,
    sampling_options,
    sampling_settings,
)

BEGINNING = "Once upon a time"
SEARCH = ("num_beams", "length_penalty", "early_stopping", "forced_words", "penalty_alpha")
EARLY = {"yes": True, "no": False, "never": "never"}


def add_generate(commands):
    """`generate` and its options."""
    p = command(commands, "generate", generate, "continue a text",
                'nanogpt-np generate "Once upon a time" --temperature 0.7 --seed 7\n'
                "  nanogpt-np generate --file prompts.txt --out results.jsonl")
    p.add_argument("prompt", nargs="?", help="the beginning; - reads standard input, as does leaving it out where "
                   f"something is piped in (else: {BEGINNING!r})")
    sampling_options(p)
    p.add_argument("--num-return-sequences", type=int, default=1, metavar="INT", help="how many continuations")
    p.add_argument("--num-beams", type=int, metavar="INT",
                   help="search with so many beams for the likeliest text, and draw nothing (default 1: draw)")
    p.add_argument("--length-penalty", type=float, metavar="FLOAT",
                   help="with beams: higher favours longer texts (default 1)")
    p.add_argument("--early-stopping", choices=tuple(EARLY),
                   help="with beams: stop at as many texts as beams (yes), where a better one is unlikely (no, the "
                   "default), or only where none can come (never)")
    p.add_argument("--forced-words", action="append", metavar="TEXT", help="with beams: say this; may be repeated")
    p.add_argument("--penalty-alpha", type=float, metavar="FLOAT",
                   help="search by contrast among --top-k tokens, 0.6 and 4 say, and draw nothing: repeats little")
    p.add_argument("--overflow", choices=("error", "slide"), default="error",
                   help="when the context is full: stop with an error, or forget the older half, of a long prompt too "
                   "(default error)")
    json_options(p)


def json_options(p):
    """What is written where not only the text is wanted, and where many prompts are."""
    p.add_argument("--json", action="store_true",
                   help="write one JSON object a line: text, ids, log-probabilities, why it ended, seconds")
    p.add_argument("--top-logprobs", type=int, default=0, metavar="INT",
                   help="with --json: for each place so many of the likeliest tokens besides (default 0)")
    p.add_argument("--file", metavar="FILE", help="a prompt on each line of this file, instead of one")
    p.add_argument("--out", metavar="FILE", help="with --file: write JSON here; what stands there is gone on with")
    p.add_argument("--batch-size", type=int, default=8, metavar="INT", help="with --file: prompts at once (default 8)")


def generate(args):
    """`nanogpt-np generate`"""
    from ..gpt import GPT

    check_words(args)
    prompt = None if args.file else beginning(args.prompt)
    gpt = open_model(GPT, args)
    settings = sampling_settings(args, gpt) | {"seed": args.seed, "overflow": args.overflow}
    searched = {name: getattr(args, name) for name in SEARCH if getattr(args, name) is not None}
    if "early_stopping" in searched:
        searched["early_stopping"] = EARLY[searched["early_stopping"]]
    several = searched | {"num_return_sequences": args.num_return_sequences}
    if args.file:
        return from_file(gpt, args, settings | several)
    if args.json:
        for completion in gpt.complete(prompt, top_logprobs=args.top_logprobs, **several, **settings):
            print(to_json(completion))
        return None
    if searched.keys() - {"penalty_alpha"} or args.num_return_sequences != 1:
        texts = gpt.generate(prompt, **several, **settings)
        tell_of_a_cut(gpt, prompt)
        texts = [texts] if isinstance(texts, str) else texts
        print(f"\n{'-' * 40}\n".join(prompt + text for text in texts))
        return None
    pieces = gpt.stream(prompt, **{name: searched[name] for name in searched}, **settings)
    tell_of_a_cut(gpt, prompt)
    first = next(pieces, "")  # an error of the first pass is said before anything is printed
    print(prompt + first, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


def check_words(args):
    """InputError for words that say nothing, or contradict each other."""
    if args.file and args.prompt is not None:
        raise InputError("file: expected no prompt beside it, got one; leave one out")
    if args.out and not args.file:
        raise InputError("out: expected --file with it, got none; write a single text with > FILE")
    if args.top_logprobs and not (args.json or args.file):
        raise InputError("top_logprobs: expected --json or --file with it, got neither; add --json")
    if args.batch_size < 1:
        raise InputError(f"batch_size: expected a whole number of at least 1, got {args.batch_size}")


def from_file(gpt, args, settings):
    """Every line of --file, in batches, to standard output or, where it can be gone on with, to --out."""
    from pathlib import Path

    from tqdm import tqdm

    from .. import files
    from ..generation import batches

    if args.top_logprobs:
        settings["top_logprobs"] = args.top_logprobs
    asked, ranks = batches.fingerprint(gpt, settings), ranks_of_job()
    if ranks and not ranks.is_first:
        return ranks.serve(batches.lines_of(gpt, settings, asked))
    prompts, spread = batches.read_prompts(args.file, gpt, settings), ranks.map if ranks else map
    if not args.out:
        for _, lines in batches.run(gpt, prompts, args.batch_size, settings, asked, spread):
            print("".join(lines), end="", flush=True)
        return
    out = Path(args.out)
    with files.locked(out, f"{files.short(out)}: another run writes to it; wait for it, or choose another file"):
        n_done = batches.done_before(out, prompts, args.num_return_sequences, asked)
        with tqdm(total=len(prompts), initial=n_done, unit="prompt", disable=None) as bar:
            for group, lines in batches.run(gpt, prompts[n_done:], args.batch_size, settings, asked, spread):
                files.append_text(out, "".join(lines))
                bar.update(len(group))
    print(f"{files.short(out)}: {len(prompts):,} prompts, {len(prompts) - n_done:,} of them now", file=sys.stderr)


def to_json(completion):
    """A Completion as one line."""
    import json

    return json.dumps(completion.to_dict(), ensure_ascii=False)


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
    converse(gpt, sampling_settings(args, gpt) | {"seed": args.seed})
