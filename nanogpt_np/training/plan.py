"""What a run says before its first step and after its last: what is going to be done, and where the result lies.

Enter: a run's options and sizes. Leave: sentences. Next: training/limits.py.
"""

import re
import shlex
from dataclasses import replace

from .. import memory
from . import kept
from .schedule import learning_rate, windows_before

MODEL_COPIES = 2  # the last and the best
STATE_BYTES = 12  # per parameter: the weight and AdamW's two means, as float32
LONGEST_HINT = 24  # characters


def lines(options, config, n_parameters, windows, n_held_out_bytes, step):
    """The lines said before the first step; `step` are done already, `windows`: data.Windows."""
    c, per_step = config, options.batch_size * options.accumulate * windows.n_ctx
    shape = f"{c.n_layer} blocks, {c.n_head} heads, {c.n_embd} wide, {c.n_ctx} positions, {c.n_vocab:,} tokens"
    todo, n_tokens = tokens_before(options, windows, options.steps), windows.n_tokens
    at_first = f" (the first of {options.ramp_from * windows.n_ctx:,})" if options.ramp_tokens else ""
    seen = f"{todo:,} tokens in all, {todo / tokens_per_epoch(windows):.3g} epochs of the {n_tokens:,} to train on"
    held_out = f"{n_held_out_bytes:,} bytes are held out" if n_held_out_bytes else "nothing is held out, so no best/"
    lines = [
        f"model: {n_parameters:,} parameters ({shape})",
        f"plan: {options.steps:,} steps of {per_step:,} tokens{at_first}: {seen}; {held_out}",
        f"disk: {memory.in_words(disk_bytes(options, n_parameters))} in {options.out}; how long it takes is said after "
        "the first steps",
    ]
    if step:
        lines.append(f"resumed after step {step:,}: {max(options.steps - step, 0):,} to go")
    return lines


def new_schedule(options, planned, step):
    """How a run goes on whose number of steps was changed after `step` steps."""
    before = learning_rate(replace(options, steps=planned), options.n_ctx, min(step, planned - 1))
    line = f"new plan: {options.steps:,} steps instead of {planned:,}; from here on the learning rate is that of a run "
    line += f"planned for {options.steps:,}"
    if step < options.steps:
        line += f": {before:.3g} before, {learning_rate(options, options.n_ctx, step):.3g} at step {step + 1:,}"
    return line


def tokens_before(options, windows, step):
    """How many tokens all steps before this one (from 0) learn from."""
    return windows_before(options, windows.n_ctx, step) * windows.n_ctx


def tokens_per_epoch(windows):
    """How many tokens are seen when every window of data.Windows was seen once."""
    return windows.n_windows * windows.n_ctx


def disk_bytes(options, n_parameters):
    """What a run keeps on disk: the last model, the best (where something is held out), those
    that are kept on the way, the state to resume from."""
    per_weight = 2 if options.dtype == "float16" else 4
    copies = (MODEL_COPIES if options.held_out else 1) + kept.count(options)
    return n_parameters * (per_weight * copies + STATE_BYTES)


def closing(out, step, n_steps, last_loss, best, prompt):
    """The lines said at the end; `last_loss`: measured after the last step, or None; `best`: a best.Best."""
    lines = []
    if step < n_steps:
        lines.append(f"stopped after step {step:,} of {n_steps:,}; go on with: {resume_command(out)}")
    known = "" if last_loss is None else f", held-out loss {last_loss:.4f}"
    best_is_last = best.step == step
    lines.append(f"last model: {out} (step {step:,}{known}{'; it is the best too' if best_is_last else ''})")
    model = out
    if best.step is not None and not best_is_last:
        lines.append(f"best model: {best.folder} (step {best.step:,}, held-out loss {best.loss:.4f})")
        model = best.folder
    return [*lines, f"try: nanogpt-np generate {shlex.quote(prompt)} --model {shlex.quote(str(model))}"]


def resume_command(out):
    """What to type to go on with a run."""
    return f"nanogpt-np train --resume --out {shlex.quote(str(out))}"


def opening(documents, tokenizer, n_ctx):
    """The first few words of the first document that has some, to try the model with; "Once" where none has.

    opening(["To be, or not to be, that is the question"], Tokenizer.gpt2(), 64) -> "To be, or not to be,"
    They fill at most half of the context, in tokens.
    """
    for document in documents:
        for line in document.splitlines():
            prompt = first_words(line)
            while prompt and len(tokenizer.encode(prompt)) > max(n_ctx // 2, 1):
                prompt = prompt[:-1].rstrip()
            if prompt:
                return prompt
    return "Once"


def first_words(line):
    """The line if it is short, else as many whole words as fit, or characters where there are no spaces.

    A leading dash would be read as an option, and what does not print cannot be typed.
    """
    line = "".join(c for c in re.sub(r"\s+", " ", line) if c.isprintable()).lstrip(" -").rstrip()
    if len(line) <= LONGEST_HINT:
        return line
    cut = line[: LONGEST_HINT + 1].rpartition(" ")[0].rstrip()
    return cut or line[: LONGEST_HINT // 3]
