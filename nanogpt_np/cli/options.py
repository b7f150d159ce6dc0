"""What several commands share: a command's own parser, and the options by which a model is opened and sampled from.

Enter: argparse's parsers, and what it made of the words. Leave: more options; an open model; keyword arguments; errors
in the words that were typed. Next: cli/generating.py.
"""

import argparse
import difflib
import re
import sys
import warnings

from ..errors import InputError, printable

MOST = 400  # characters of an error's line; only a person's own long words reach it


class Parser(argparse.ArgumentParser):
    """argparse's, but for a word that it does not know: the usage of the command it belongs to, and what comes close.

    `add_options(parser)`: called as the parser is first used, so that no command waits for another's options.
    """

    add_options = None

    def parse_known_args(self, args=None, namespace=None):
        """What argparse returns, with nothing left unknown; `flags` says how each option is typed: {name: "--name"}."""
        if self.add_options:
            add_options, self.add_options = self.add_options, None
            add_options(self)
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._guess(unknown[0])}")
        options = [action for action in self._actions if action.option_strings]
        found.flags = getattr(found, "flags", {}) | {option.dest: option.option_strings[-1] for option in options}
        return found, unknown

    def error(self, message):
        """Usage and one line on standard error, exit status 2; what others typed moves no cursor there."""
        super().error(printable(message, MOST))

    def _guess(self, word):
        known = [flag for action in self._actions for flag in action.option_strings]
        close = difflib.get_close_matches(word.split("=")[0], known, n=1)
        return f"; did you mean {close[0]}?" if close else ""


def command(commands, name, run, help, example, add_options=None):
    """Add a command with its help, its example and --debug -> its parser; `add_options` as for Parser."""
    made = commands.add_parser(
        name, help=help, description=help, epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    made.set_defaults(run=run)
    made.add_options = add_options
    return made


def as_typed(error, flags):
    """An error's line in the words of the command line: "top_k: … overflow='slide'" -> "--top-k: … --overflow slide"

    `flags`: {name: "--name"}. A name counts where it opens the line, is given a value, or has an underscore, which
    no ordinary word has.
    """
    if isinstance(error, MemoryError):
        return f"expected enough memory, got too little ({printable(str(error) or 'no more')}); ask for less at once"
    name = "|".join(sorted(map(re.escape, flags), key=len, reverse=True))
    text = re.sub(rf"^({name})(?=:)", lambda found: flags[found[1]], printable(str(error), MOST))
    text = re.sub(rf"\b({name})=(['\"]?)([\w.]+)\2", lambda found: f"{flags[found[1]]} {found[3]}", text)
    return re.sub(rf"(?<![-\w'\"/])({name})\b", lambda found: flags[found[1]] if "_" in found[1] else found[1], text)


def sampling_options(p):
    """The options that generate and chat share."""
    p.add_argument("--model", default="stories", metavar="NAME",
                   help="a model's name, directory or file (default stories)")
    ops_options(p)
    p.add_argument("--max-new-tokens", type=int, metavar="INT", help="default: up to 200, as far as the context goes")
    p.add_argument("--min-new-tokens", type=int, metavar="INT", help="say no end of text before so many")
    p.add_argument("--temperature", type=float, metavar="FLOAT",
                   help="0 is greedy (default: what the model's generation_config.json says, else 0.8)")
    p.add_argument("--top-k", type=int, metavar="INT", help="choose among the k likeliest tokens")
    p.add_argument("--top-p", type=float, metavar="FLOAT",
                   help="choose among the likeliest that together have this probability (default: the model's, "
                   "else 0.95)")
    p.add_argument("--min-p", type=float, metavar="FLOAT",
                   help="leave out tokens below this share of the best one's probability")
    p.add_argument("--typical-p", type=float, metavar="FLOAT",
                   help="choose among those whose surprise is nearest to the one expected, up to this probability")
    p.add_argument("--repetition-penalty", type=float, metavar="FLOAT", help="above 1: repeat less")
    p.add_argument("--frequency-penalty", type=float, default=0.0, metavar="FLOAT",
                   help="above 0: less likely with each time that a token was said")
    p.add_argument("--presence-penalty", type=float, default=0.0, metavar="FLOAT",
                   help="above 0: less likely once a token was said")
    p.add_argument("--no-repeat-ngram-size", type=int, metavar="INT", help="say no so many tokens twice")
    p.add_argument("--banned-words", action="append", type=unescape, metavar="TEXT",
                   help="never say this; may be repeated")
    p.add_argument("--stop", action="append", type=unescape, metavar="TEXT",
                   help=r"end before this text, where \n is a newline, \t a tab and \\ a backslash; may be repeated")
    p.add_argument("--choices", action="append", type=unescape, metavar="TEXT",
                   help="say one of these and nothing else; repeat it for each")
    p.add_argument("--pattern", metavar="REGEX", help="say only what this regular expression matches as a whole")
    p.add_argument("--seed", type=int, metavar="INT", help="the same seed gives the same text")
    p.add_argument("--speculate", type=int, metavar="INT",
                   help="with --temperature 0: guess up to so many tokens at once, 8 say; the same text, sooner "
                   "where it repeats itself")


def ops_options(p):
    """Who does the arithmetic, where a model is opened."""
    p.add_argument("--ops", default="auto", metavar="NAME",
                   help="who does the arithmetic: numpy, numba, int8, int4 or auto (default auto)")
    p.add_argument("--adapter", metavar="DIR", help="a LoRA adapter for this model, PEFT's or finetune's: it is merged")
    p.add_argument("--verbose", action="store_true", help="say on standard error who does the arithmetic, and why")


SAMPLING = (
    "max_new_tokens", "min_new_tokens", "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty",
    "frequency_penalty", "presence_penalty", "no_repeat_ngram_size", "banned_words", "stop", "choices", "pattern",
    "speculate",
)  # fmt: skip


USUAL = {"temperature": 0.8, "top_p": 0.95}  # of a model that does not say how it likes to be sampled


def sampling_settings(args, gpt):
    """The keyword arguments of GPT.generate that were typed, over the model's defaults, or else the command line's."""
    given = {name: getattr(args, name) for name in SAMPLING if getattr(args, name) is not None}
    searches = (getattr(args, "num_beams", None) or 1) > 1 or getattr(args, "penalty_alpha", None) is not None
    return given if searches or gpt.defaults else USUAL | given


def ranks_of_job():
    """The Ranks that share this command's work; None where there is one process (see training/distributed_ranks.py)."""
    from ..training import distributed_ranks

    return distributed_ranks.join() if distributed_ranks.n_launched() > 1 else None


def open_model(gpt_class, args):
    """The model that --model and --ops name; what opening it warns of is said on standard error."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        gpt = gpt_class.from_pretrained(args.model, ops=args.ops, adapter=args.adapter)
    for warning in said:
        print(f"nanogpt-np: {warning.message}", file=sys.stderr)
    if args.verbose:
        print(f"nanogpt-np: {gpt.describe_ops(args.ops)}", file=sys.stderr)
    return gpt


def unescape(text):
    r"""What a word of the command line means, where a newline is hard to type: unescape(r"a\n") -> "a\n"

    Only \n, \t and \\ are read so; other backslashes stay as they are.
    """
    return re.sub(r"\\([nt\\])", lambda found: {"n": "\n", "t": "\t", "\\": "\\"}[found[1]], text)


def read_stdin():
    """All of standard input; InputError where it is closed, or no UTF-8."""
    check_stdin()
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise InputError(f"standard input: expected UTF-8 text, got other bytes ({error.reason})") from error


def check_stdin():
    """InputError where there is nothing to read from."""
    if sys.stdin is None:
        raise InputError("standard input: expected text, got it closed; give the text as a word, or by a pipe")
