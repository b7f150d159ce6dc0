"""From answers to rows, and whether everyone computed the same: who did not is named, and not compared.

Enter: the runs of a race. Leave: rows; those whose ids, losses or text are not ours have lost their values.
Next: bench/ctranslate.py.
"""

import math

from .. import params as P
from .report import Row, summary
from .workers import WorkerError

BYTES = {"Q8_0": 34 / 32, "int8": 1, "Q4_0": 18 / 32, "int4": 18 / 32}  # per weight, of those whose names say so
NEAR = 0.05  # ggml's GELU, a table of half-precision numbers, ends up to 0.02 from our best; halves in attention 0.18
LOSS_TOLERANCE = 1e-3  # relative; float32 sums in another order differ by 1e-6, a wrong step by far more


def make_rows(runs, value, ours):
    """One Row per engine that races; `value(answer)` is the number of a round, `ours` names our engines."""
    rows = []
    for engine, run in runs.items():
        values = [] if run.error else [value(answer) for answer in run.answers]
        row = Row(engine, "ours" if engine in ours else "peer", values, run.about)
        row.note = f"failed: {run.error}" if run.error else ""
        peaks = [answer["peak_bytes"] for answer in run.answers if answer.get("peak_bytes")]
        row.peak_mib = max(peaks) / 2**20 if peaks else None
        rows.append(row)
    return rows


def kind_of(engine):
    """The kind of an engine's weights, by its name: kind_of("ctranslate2 int8") -> "int8"."""
    return next((kind for kind in BYTES if kind in engine), "float32")


def comparable(rows):
    """Pairs of the first row and each other one, where both have values."""
    return [(rows[0], row) for row in rows[1:] if rows[0].values and row.values]


def check_ids(rows, runs, judge=None):
    """Everyone must say the first engine's ids; small weights may say others, and the note tells how many fit.

    Two logits may be so near that whoever rounds elsewhere says the other. `judge(pairs)` tells how near: for pairs of
    a prompt's number and what was said after it, the widest distance to the best id for that text, in standard
    deviations of the logits. Up to NEAR, the note says so; without a judge all ids must be the same.
    """
    for reference, row in comparable(rows):
        expected = texts_of(runs[reference.engine].answers[0])
        rounds = [texts_of(answer) for answer in runs[row.engine].answers]
        same, of = min(n_same(expected, texts) for texts in rounds), sum(map(len, expected))
        others = [(i, tuple(ids)) for texts in rounds for i, ids in enumerate(texts) if ids != expected[i]]
        if kind_of(row.engine) != "float32":
            first = "the first " if len(expected) == 1 else ""
            row.note = f"says {first}{same:,} of {of:,} ids as float32 does; random weights, so no measure"
        elif others:
            n_others = len({i for i, _ in others})
            where = f"from number {same + 1} on" if len(expected) == 1 else f"in {n_others} of {len(expected)} texts"
            judge_ids(row, f"those of {reference.engine} {where}", expected, others, judge)


def texts_of(answer):
    """The ids of every text that was asked for: {"ids": [1, 2], …} -> [[1, 2]]; of a batch, {"texts": …}."""
    return answer["texts"] if "texts" in answer else [answer["ids"]]


def n_same(expected, texts):
    """How many ids agree before the first that does not, of all texts together."""
    return sum(n_common(*pair) for pair in zip(expected, texts, strict=True))


def n_common(expected, got):
    """How many ids agree before the first that does not; n_common([1, 2, 3], [1, 2, 4]) -> 2"""
    if len(got) != len(expected):
        return 0
    return next((i for i, (a, b) in enumerate(zip(expected, got, strict=True)) if a != b), len(expected))


def judge_ids(row, which, expected, others, judge):
    """Reject a row whose ids are not `which`, or note how near they come."""
    if judge is None or any(len(ids) != len(expected[i]) for i, ids in others):
        return reject(row, f"its ids are not {which}")
    try:
        gap = max(judge(list(dict.fromkeys(others))))  # most rounds say the same
    except WorkerError as error:
        return reject(row, f"its ids are not {which}, and nobody could judge them: {error}")
    if gap > NEAR:
        return reject(row, f"its ids are not {which}, and {gap:.2g} standard deviations of the logits from the best")
    row.note = f"its ids are not {which}, but within {gap:.2g} standard deviations of the logits from the best"


def check_losses(rows, runs):
    """The same weights, batches and optimizer give the same losses, step after step."""
    for reference, row in comparable(rows):
        losses = [[answer["loss"] for answer in runs[r.engine].answers] for r in (reference, row)]
        for step, (expected, got) in enumerate(zip(*losses, strict=True), start=2):
            if not math.isclose(expected, got, rel_tol=LOSS_TOLERANCE):
                reject(row, f"its loss in step {step} is {got:.4f}, that of {reference.engine} {expected:.4f}")
                break


def check_equal(rows, runs, key, what):
    """One answer that must be the same for all; small weights may lead elsewhere, and the note says so."""
    for reference, row in comparable(rows):
        expected = runs[reference.engine].answers[0][key]
        if all(answer[key] == expected for answer in runs[row.engine].answers):
            continue
        if kind_of(row.engine) != "float32":
            row.note = f"not the same {what} as {reference.engine}"
        else:
            reject(row, f"not the same {what} as {reference.engine}")


def after_the_first(answer):
    """Seconds of each token but the prompt's, on average: several may come at once, so a median would say little."""
    return sum(answer["seconds"][1:]) / (len(answer["seconds"]) - 1)


def reject(row, why):
    """Take a row out of the comparison."""
    row.values, row.note = [], f"not compared: {why}"


def weight_count(config):
    """How many weights one new token needs: every matrix once, but of the positions one row."""
    shapes = P.shapes(config)
    n_looked_up = 0 if config.tie_word_embeddings else config.n_vocab * config.n_embd
    return sum(math.prod(shape) for name, shape in shapes.items() if name != "wpe.weight") - n_looked_up


def bytes_per_token(kind, config):
    """What a token has to read of weights of some kind; the one matrix that our int4 leaves in int8 is wte."""
    n_vocabulary = config.n_vocab * config.n_embd if kind == "int4" else 0
    return BYTES.get(kind, 4) * (weight_count(config) - n_vocabulary) + BYTES["int8"] * n_vocabulary


def add_limits(rows, bandwidth, config):
    """Say what share of the memory's speed each row reached, round by round, as the median; -> rows, and the limits.

    A token cannot take less time than reading all weights once; keys and values are not counted. Where tokens and sums
    took turns, the share is of those; else of the sums of the same round.
    """
    if bandwidth.error:
        return rows
    rates = read_rates(bandwidth)
    limits = []
    for kind in ("float32", *BYTES):
        here = [row for row in rows if kind_of(row.engine) == kind and row.values]
        if not here:
            continue
        n_bytes = bytes_per_token(kind, config)
        limit = Row(f"limit of {kind}", "limit", [rate / n_bytes for rate in rates])
        for row in here:
            shares = shares_in_turn(row.engine, bandwidth, n_bytes)
            shares = shares or [value / most for value, most in zip(row.values, limit.values, strict=False)]
            row.of_limit = summary(shares)["median"]
        limits.append(limit)
    return [*rows, *limits]


def shares_in_turn(engine, bandwidth, n_bytes):
    """Of each round: how fast tokens of `n_bytes` were read, as a share of how fast the sums behind them were."""
    shares = []
    for answer in bandwidth.answers:
        tokens, sums = answer.get("in_turn", {}).get(engine, ([], []))
        if tokens:
            shares.append((n_bytes / sum(tokens)) / (answer["n_bytes"] / sum(sums)))
    return shares


def describe_bandwidth(bandwidth):
    """Words for the note below a table."""
    if bandwidth.error:
        return f"read bandwidth: not measured, {bandwidth.error}"
    rate = summary([rate / 1e9 for rate in read_rates(bandwidth)])
    best = max(answer["n_bytes"] / min(answer["seconds"]) for answer in bandwidth.answers) / 1e9
    spread = f"{rate['median']:.1f} GB/s ({rate['min']:.1f} – {rate['max']:.1f}, the fastest single pass {best:.1f})"
    turns = " and ".join(bandwidth.answers[0].get("in_turn", {}))
    how = f"; {turns}: the share of tokens that took turns with these sums" if turns else ""
    return f"limit: all weights once per token at {spread}: {bandwidth.about}, in the same rounds{how}"


def read_rates(bandwidth):
    """Bytes per second of each round."""
    return [answer["n_bytes"] * len(answer["seconds"]) / sum(answer["seconds"]) for answer in bandwidth.answers]
