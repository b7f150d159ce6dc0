"""What happens to our own speed when there is more to do: a long context, several texts, a text that repeats itself.

Enter: a Bench. Leave: tables of our engines alone, whose notes say how one grows with the other.
Next: bench/batches.py.
"""

from functools import partial

from ..storage import registry
from ..tokenizer.bpe import Tokenizer
from .checks import after_the_first, check_ids, make_rows
from .ours import ENGINES, SIZES, describe, prompt
from .report import Table, number, summary
from .workers import Run

SHORT, LONG, N_NEW, N_BATCH = 64, 1000, 24, 8
GUESSES = 7  # tokens per step at most
STORY = (  # the model keeps saying its last sentence
    'Lily had a red ball. She wanted to play with it. She said, "No, I want to play with my ball. It is mine."\n'
    'Lily said, "No, it is mine. It is mine. It is mine. It is mine'
)


def grow(bench):
    """Tokens per second at a short and a long context, and of eight texts at once; yield three Tables."""
    size = bench.options.size or "gpt2"
    config = SIZES[size]
    n_short, n_long = min(SHORT, config.n_ctx // 4), min(LONG, config.n_ctx - N_NEW)
    requests = [
        {"ids": prompt(config, n_short), "n_new": N_NEW},
        {"ids": prompt(config, n_long), "n_new": N_NEW},
        {"ids": prompt(config, n_short), "n_new": N_NEW, "n_batch": N_BATCH},
    ]
    settings, n_rounds = bench.settings(bench.model(size)), 1 + bench.options.runs
    runs = bench.race("grow", "generate", ENGINES, settings, requests * n_rounds, n_warm=len(requests))
    parts = [every(runs, i, len(requests)) for i in range(len(requests))]
    titles = (f"context {n_short}", f"context {n_long}", f"{N_BATCH} texts at once")
    for title, part, n_texts in zip(titles, parts, (1, 1, N_BATCH), strict=True):
        rows = make_rows(part, partial(_rate, n_texts=n_texts), ENGINES)
        if n_texts == 1:
            check_ids(rows, part)
        notes = [] if part is parts[0] else [_compared(title, engine, parts[0], part, n_texts) for engine in ENGINES]
        setting = f"{describe(size)}, {N_NEW} new tokens, greedy"
        yield Table(title, setting, "tokens/s", True, rows, [note for note in notes if note])


def every(runs, i, n):
    """The answers number i, i + n, i + 2n, … of each engine."""
    return {engine: Run(run.answers[i::n], run.about, run.error) for engine, run in runs.items()}


def _rate(answer, n_texts=1):
    """Tokens per second after the first."""
    return n_texts / after_the_first(answer)


def _compared(title, engine, short, other, n_texts):
    pairs = list(zip(short[engine].answers, other[engine].answers, strict=False))
    if not pairs:
        return ""
    found = summary([_rate(a) / _rate(b, n_texts) for a, b in pairs])
    if n_texts > 1:
        return f"{engine}: {number(1 / found['median'])} times the tokens of one text"
    return f"{engine}: a token takes {number(found['median'])} times as long as at the short context"


def speculate(bench):
    """Tokens per second with and without guesses from the text, where the text repeats its prompt -> Table."""
    directory = registry.resolve("stories")
    ids = Tokenizer.load(directory).encode(STORY)
    requests = [{"ids": ids, "n_new": 80, "speculate": n, "awake": True} for n in (0, GUESSES)]
    settings, n_rounds = bench.settings(directory), 1 + bench.options.runs
    runs = bench.race("speculate", "generate", ENGINES, settings, requests * n_rounds, n_warm=len(requests))
    named = {}
    for engine in runs:
        for i, words in enumerate(("", f", up to {GUESSES} guesses")):
            named[engine + words] = every(runs, i, len(requests))[engine]
    rows = make_rows(named, _rate, named)
    for plain, guessed in zip(rows[::2], rows[1::2], strict=True):
        check_ids([plain, guessed], named)
        guessed.note = guessed.note.split(";")[0]  # int8 against itself: the ids are a measure here
    setting = "the shipped stories model, a text that repeats its prompt, greedy"
    return Table("speculate", setting, "tokens/s", True, rows)


def loss_of_small_weights(bench):
    """Words about what int8 and int4 cost in loss, of the stories model on what it has not seen of --data."""
    if bench.options.data is None:
        return ["loss of int8 and int4: not measured; name a text with --data"]
    settings = bench.settings(bench.folder, data=bench.options.data)
    runs = bench.race("loss", "loss", ["numba", "int8", "int4"], settings, [{}], n_warm=0)
    if any(run.error for run in runs.values()):
        return [f"loss of int8 and int4: not measured, {run.error}" for run in runs.values() if run.error]
    before, *after = (run.answers[0]["loss"] for run in runs.values())
    losses = zip(list(runs)[1:], after, strict=True)
    costs = (f"{loss:.4f} in {name}, {loss / before - 1:+.3%}" for name, loss in losses)
    return [f"loss of the stories model: {before:.4f} in float32, {', '.join(costs)}"]
