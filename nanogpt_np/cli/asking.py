"""`nanogpt-np task`.

Next: cli/finetuning.py.
"""

from .options import command, open_model, ops_options, read_stdin


def add_task_command(commands):
    """`task` and its options."""
    command(commands, "task", task, "put a text to a model as one of the uses that GPT-2's and GPT-3's papers name",
            'nanogpt-np task sentiment "The cake was so good." --calibrate\n'
            '  nanogpt-np task translation "the dog" --shots 3 --show-prompt --model gpt2', _options)


def _options(p):
    from ..evaluation.tasks import NAMES

    p.add_argument("name", choices=NAMES, help="which use")
    p.add_argument("text", help="the text; - reads it from standard input")
    p.add_argument("--model", default="stories", metavar="NAME", help="a model's name or directory (default stories)")
    ops_options(p)
    p.add_argument("--shots", type=int, default=0, metavar="INT",
                   help="so many answered examples stand before it: 0, 1 or a few (default 0)")
    p.add_argument("--seed", type=int, metavar="INT", help="draw the examples (default: the first ones)")
    p.add_argument("--calibrate", action="store_true",
                   help="compare labels by how much likelier the text makes them than no text does")
    p.add_argument("--show-prompt", action="store_true", help="print the whole prompt before the answer")
    p.add_argument("--json", action="store_true", help="print one JSON object: prompt, text, log-probabilities")


def task(args):
    """`nanogpt-np task`"""
    import json

    from ..evaluation import tasks
    from ..gpt import GPT

    text = read_stdin().removesuffix("\n") if args.text == "-" else args.text
    asked = tasks.find(args.name)
    tasks.put(asked, text, args.shots, args.seed)  # what is wrong with the words is said before a model is opened
    found = tasks.answer(open_model(GPT, args), asked, text, args.shots, args.seed, args.calibrate)
    if args.json:
        print(json.dumps(found._asdict(), ensure_ascii=False))
        return
    print(f"{found.prompt} {found.text}" if args.show_prompt else found.text)
    for label, log_prob in found.log_probs.items():
        print(f"  {label}: {log_prob:.3f}")
