"""From answers to rows, and whether everyone computed the same: who did not is named, and not compared.

Enter: the runs of a race. Leave: rows; those whose ids, losses or text are not ours have lost their values.
Next: bench/peers.py.
"""

import math

from .. import params as P
from .report import Row, summary

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


def bytes_per_weight(engine):
    """What an engine reads per weight, by its name: 1 for int8, else 4. Scales and biases are not counted."""
    return 1 if "int8" in engine else 4


def comparable(rows):
    """Pairs of the first row and each other one, where both have values."""
    return [(rows[0], row) for row in rows[1:] if rows[0].values and row.values]


def check_ids(rows, runs):
    """Everyone must say the first engine's ids; int8 weights may say others, and the note tells how many fit."""
    for reference, row in comparable(rows):
        expected = runs[reference.engine].answers[0]["ids"]
        same = min(n_common(expected, answer["ids"]) for answer in runs[row.engine].answers)
        if bytes_per_weight(row.engine) < 4:
            row.note = f"says the first {same} of {len(expected)} ids as float32 does; random weights, so no measure"
        elif same < len(expected):
            reject(row, f"its ids are not those of {reference.engine} from number {same + 1} on")


def n_common(expected, got):
    """How many ids agree before the first that does not; n_common([1, 2, 3], [1, 2, 4]) -> 2"""
    if len(got) != len(expected):
        return 0
    return next((i for i, (a, b) in enumerate(zip(expected, got, strict=True)) if a != b), len(expected))


def check_losses(rows, runs):
    """The same weights, batches and optimizer give the same losses, step after step."""
    for reference, row in comparable(rows):
        losses = [[answer["loss"] for answer in runs[r.engine].answers] for r in (reference, row)]
        for step, (expected, got) in enumerate(zip(*losses, strict=True), start=2):
            if not math.isclose(expected, got, rel_tol=LOSS_TOLERANCE):
                reject(row, f"its loss in step {step} is {got:.4f}, that of {reference.engine} {expected:.4f}")
                break


def check_equal(rows, runs, key, what):
    """One answer that must be the same for all."""
    for reference, row in comparable(rows):
        expected = runs[reference.engine].answers[0][key]
        if any(answer[key] != expected for answer in runs[row.engine].answers):
            reject(row, f"not the same {what} as {reference.engine}")


def reject(row, why):
    """Take a row out of the comparison."""
    row.values, row.note = [], f"not compared: {why}"


def weight_count(config):
    """How many weights one new token needs: every matrix once, but of the positions one row."""
    shapes = P.shapes(config)
    n_looked_up = 0 if config.tie_word_embeddings else config.n_vocab * config.n_embd
    return sum(math.prod(shape) for name, shape in shapes.items() if name != "wpe.weight") - n_looked_up


def add_limits(rows, bandwidth, config):
    """Say what share of the memory's speed each row reached, round by round, as the median; -> rows, and the limits.

    A token cannot take less time than reading all weights once; keys and values are not counted. Where tokens and sums
    took turns, the share is of those; else of the sums of the same round.
    """
    if bandwidth.error:
        return rows
    rates = read_rates(bandwidth)
    limits = []
    for n_bytes, kind in ((4, "float32"), (1, "int8")):
        here = [row for row in rows if bytes_per_weight(row.engine) == n_bytes and row.values]
        if not here:
            continue
        limit = Row(f"limit of {kind}", "limit", [rate / (n_bytes * weight_count(config)) for rate in rates])
        for row in here:
            shares = shares_in_turn(row.engine, bandwidth, n_bytes * weight_count(config))
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
