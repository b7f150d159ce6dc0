"""The tasks of `nanogpt-np eval` that need no questions of one's own: bias, memorization, similarity, prompts.

Next: cli/asking.py.
"""

from .evaluating import add_task
from .options import open_model


def add_measures(tasks):
    """`eval bias`, `eval memorization`, `eval similarity`, `eval prompts`."""
    add_task(tasks, "bias", bias, "likelihood of one sentence with two names, pronouns, words, by counterfactual pairs",
             "--model stories --set names --set jobs", _bias_options)
    add_task(tasks, "memorization", memorization, "what of its training text a model says again, and its loss there",
             "--model stories --data tinystories.txt --held-out 0.02", _memorization_options)
    add_task(tasks, "similarity", similarity, "do hidden states tell stories apart? does counting words?",
             "--model stories --data tinystories.txt --held-out 0.02", _similarity_options)
    add_task(tasks, "prompts", prompts, "the shipped prompts of `nanogpt-np task`, rated by a few items each",
             "--model stories --shots 0 --shots 3", _prompts_options)


def _bias_options(p):
    p.add_argument("--set", action="append", metavar="NAME",
                   help="which set of pairs: pronouns, jobs, occupations, names, regard (English), verses (Chinese); "
                   "may be repeated (default: all English ones, or all of --sets)")
    p.add_argument("--sets", metavar="FILE", help="sets of one's own, JSON as nanogpt_np/evaluation/sets/bias.json")
    p.add_argument("--words", action="store_true", help="the difference of every saying besides")
    _common(p)


def _common(p):
    p.add_argument("--seed", type=int, default=0, metavar="INT", help="of what is drawn (default 0)")
    p.add_argument("--json", action="store_true", help="print JSON instead, an object a line")


def bias(args):
    """`nanogpt-np eval bias`"""
    from ..evaluation import bias as room
    from ..gpt import GPT

    chosen = room.choose(room.read_sets(args.sets), args.set, by_language=args.sets is None)
    gpt = open_model(GPT, args)
    for one in chosen:
        found = room.measure(gpt, one, args.seed, progress=True)
        _print(found.to_dict() if args.json else found)
        if args.words and not args.json:
            print("\n".join(f"    {value:+.2f} {what.strip()}" for what, value in found.by_what.items()))


def _memorization_options(p):
    p.add_argument("--data", nargs="+", required=True, metavar="FILE", help="the text that the model was trained on")
    p.add_argument("--held-out", type=float, metavar="SHARE",
                   help="the share that train --held-out set aside (default 0.02)")
    p.add_argument("--n-texts", type=int, default=100, metavar="INT", help="generate so many (default 100)")
    p.add_argument("--max-new-tokens", type=int, metavar="INT", help="of each (default: up to 200)")
    p.add_argument("--length", type=int, action="append", metavar="INT",
                   help="of n-grams, in tokens; may be repeated (default 8, 16, 32)")
    _common(p)


def memorization(args):
    """`nanogpt-np eval memorization`"""
    from ..evaluation import memorization as room
    from ..gpt import GPT

    held_out = room.HELD_OUT if args.held_out is None else args.held_out
    found = room.measure(
        open_model(GPT, args), args.data, held_out, args.n_texts, args.max_new_tokens, args.length,
        args.seed, progress=True,
    )  # fmt: skip
    _print(found.to_dict() if args.json else found)


def _similarity_options(p):
    p.add_argument("--data", nargs="+", required=True, metavar="FILE",
                   help="UTF-8 text, <|endoftext|> between documents, of at least four sentences each")
    p.add_argument("--held-out", type=float, metavar="SHARE", help="only what train --held-out SHARE sets aside")
    p.add_argument("--n-texts", type=int, default=200, metavar="INT", help="choose so many (default 200)")
    _common(p)


def similarity(args):
    """`nanogpt-np eval similarity`"""
    from ..evaluation import similarity as room
    from ..gpt import GPT

    texts = room.read_stories(args.data, args.held_out, args.n_texts, args.seed)
    for found in room.tell_apart(open_model(GPT, args), texts, args.seed, progress=True):
        _print(found.to_dict() if args.json else found)


def _prompts_options(p):
    p.add_argument("--shots", type=int, action="append", metavar="INT",
                   help="so many examples before each question; may be repeated (default 0, 1 and 3)")
    p.add_argument("--calibrate", action="store_true",
                   help="compare labels by how much likelier the text makes them than no text does")
    _common(p)


def prompts(args):
    """`nanogpt-np eval prompts`"""
    from ..evaluation import tasks
    from ..gpt import GPT

    gpt = open_model(GPT, args)
    for task in map(tasks.find, tasks.NAMES):
        for n_shots in (args.shots or tasks.SHOTS) if task.items else ():
            found = tasks.rate(gpt, task, n_shots, calibrate=args.calibrate)
            _print(found.to_dict() if args.json else found)


def _print(found):
    import json

    print(json.dumps(found, ensure_ascii=False) if isinstance(found, dict) else found, flush=True)
