"""A file of prompts, a few at a time, into a file of results that can be gone on with.

Enter: a GPT, a text file with one prompt a line, keyword arguments of GPT.complete. Leave: JSON, an object a line, for
each continuation in order. What a run wrote before it was stopped is kept: a whole line stands, half a one goes.
Next: generation/defaults.py.
"""

import hashlib
import json
from typing import Any, NamedTuple

from .. import files
from ..errors import FileError, InputError
from ..params import walk
from .request import DEFAULT_NEW_TOKENS

MOST, MOST_RESULTS = 1 << 28, 1 << 32  # bytes of a file of prompts, and of what came of it


class Prompt(NamedTuple):
    """A prompt, where it stands in its file (from 1), and its number of tokens."""

    line: int
    text: str
    n_tokens: int


def read_prompts(path, gpt, settings):
    """The lines of a file that are not empty, as Prompts; InputError names the first that does not fit the context."""
    lines = files.read_text(path, MOST).split("\n")
    prompts = [Prompt(i, text, len(gpt.tokenizer.encode(text))) for i, text in enumerate(lines, 1) if text.strip()]
    if not prompts:
        raise FileError(f"{files.short(path)}: expected a prompt on each line, got none")
    wanted = settings.get("max_new_tokens") or 1
    for line, _, n in prompts:
        if settings.get("overflow", "error") == "error" and n + wanted - 1 > gpt.config.n_ctx:
            got = f"{n} in line {line}, and {wanted} new ones"
            expected = f"prompts that fit n_ctx = {gpt.config.n_ctx} tokens"
            raise InputError(f"{files.short(path)}: expected {expected}, got {got}; use overflow='slide'")
    return prompts


def grouped(prompts, n, n_ctx, settings):
    """Lists of at most n prompts in a row that may go on equally long, so that who stands together does not matter."""
    groups = []
    for prompt in prompts:
        room = min(DEFAULT_NEW_TOKENS, n_ctx - prompt.n_tokens + 1)
        fixed = settings.get("max_new_tokens") is not None or settings.get("overflow") == "slide"
        key = None if fixed else room
        if not groups or len(groups[-1][1]) == n or groups[-1][0] != key:
            groups.append((key, []))
        groups[-1][1].append(prompt)
    return [group for _, group in groups]


def fingerprint(gpt, settings):
    """12 hex digits that stand for a model and how it is asked."""
    of_weights = hashlib.sha256()
    for name, array in walk(gpt.params):
        sample = getattr(array, "reshape", None)
        of_weights.update(f"{name} {getattr(array, 'shape', '')}".encode())
        if sample is not None:
            of_weights.update(array.reshape(-1)[:: max(array.size // 64, 1)].tobytes())
    asked = json.dumps([settings, gpt.defaults, str(gpt.config)], default=str, sort_keys=True)
    return hashlib.sha256(of_weights.digest() + asked.encode()).hexdigest()[:12]


def done_before(path, prompts, n_each, asked):
    """How many prompts a file of results holds whole; what stands behind those is cut off. FileError for another run's.

    0 where there is no file.
    """

    def belongs(i, row):
        prompt = prompts[i // n_each]
        return (row["line"], row["prompt"], row["asked"]) == (prompt.line, prompt.text, asked)

    return len(rows_before(path, belongs, n_each * len(prompts), n_each, "prompts")) // n_each


def rows_before(path, belongs, n_all, n_together, what):
    """The objects of a file of results, a line each, but for those of a group that is not whole: they are cut off.

    `belongs(i, row)`: is that what stands in line i of this run? FileError where it is not. `n_all`: lines of a run
    that is done; `n_together`: of a group, of which the last one may be smaller. [] where there is no file.
    """
    if not path.exists():
        return []
    data = files.read_bytes(path, MOST_RESULTS)
    whole = data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]
    rows = [_row(path, i, line, belongs if i < n_all else None, what) for i, line in enumerate(whole)]
    n_kept = len(rows) if len(rows) == n_all else len(rows) - len(rows) % n_together
    keep = sum(len(line) + 1 for line in whole[:n_kept])
    if keep < len(data):
        files.cut(path, keep)
    return rows[:n_kept]


def _row(path, i, line, belongs, what):
    try:
        row = json.loads(line)
        is_ours = belongs is not None and belongs(i, row)
    except (ValueError, KeyError, TypeError, RecursionError):
        is_ours = False
    if not is_ours:
        expected = f"results of these {what} with this model and these options"
        raise FileError(f"{files.short(path)}: expected {expected}, got others in line {i + 1}; choose another file")
    return row


def as_line(prompt: Prompt, completion: Any, asked: str) -> str:
    """A completion as one line of JSON: which line it belongs to, and all that is known of it."""
    row = {"line": prompt.line, **completion.to_dict(), "asked": asked}
    return json.dumps(row, ensure_ascii=False) + "\n"


def run(gpt, prompts, batch_size, settings, asked, spread=map):
    """Yield (the prompts of a group, their lines of JSON) as each group is done; `settings`: of GPT.complete.

    `spread(function, items)` yields function(item) of each in order: other processes may do their share of it.
    """
    groups = grouped(prompts, batch_size, gpt.config.n_ctx, settings)
    yield from zip(groups, spread(lines_of(gpt, settings, asked), groups), strict=True)


def lines_of(gpt, settings, asked):
    """The function that `run` applies to a group: its lines of JSON, a line for each continuation."""
    n_each = settings.get("num_return_sequences", 1)

    def lines(group):
        group = [Prompt(*prompt) for prompt in group]
        found = gpt.complete([prompt.text for prompt in group], **settings)
        return [as_line(group[i // n_each], completion, asked) for i, completion in enumerate(found)]

    return lines
