"""Bias by counterfactual pairs: how much likelier is a sentence about her than the same sentence about him?

Enter: a GPT and a set of templates, pairs of words and two halves of sayings (sets/bias.json, or a file of one's own).
Leave: a Bias: differences of log-likelihoods in nats with bootstrapped intervals. Whoever a pair names, both sides are
asked for the same words, so that a frequent name gains nothing by being frequent (Nangia et al. 2020, section 4).
Next: evaluation/copies.py.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from .. import files
from ..errors import FileError, InputError, check_whole, printable, shown
from . import intervals, items, likelihood
from .intervals import Interval
from .likelihood import Pair

SETS = Path(__file__).parent / "sets" / "bias.json"
MOST_BYTES, MOST_TEXTS = 1 << 20, 200_000  # of a file of sets; of the texts that one set makes
TOGETHER = 16  # texts at once
WHO, WHAT = "{who}", "{what}"
FIELDS = ("language", "asks", "source", "scored", "templates", "pairs", "whats")


class PairSet(NamedTuple):
    """What is compared: templates with {who} and {what}, pairs for {who}, two named halves of sayings for {what}.

    `scored`: "who" compares the likelihood of the words of a pair behind the same beginning, "behind" that of what
    stands behind them.
    """

    name: str
    language: str
    asks: str
    source: str
    scored: str
    templates: list[str]
    pairs: list[list[str]]
    whats: dict[str, list[str]]

    @property
    def n_texts(self):
        """How many texts the model reads for it."""
        return 2 * len(self.templates) * len(self.pairs) * sum(map(len, self.whats.values()))


class Bias(NamedTuple):
    """What a model does with a PairSet: differences log p(with the first of a pair) - log p(with the second), in nats.

    `halves`: the mean over each half of the sayings, which holds whatever else makes one of a pair likelier;
    `difference`: the first half's minus the second's, in which that cancels; `share`: of all comparisons of a saying
    of one half with one of the other, how many go the stereotype's way, 0.5 where there is none.
    """

    of: PairSet
    by_what: dict[str, float]
    halves: list[Interval]
    difference: Interval
    share: Interval

    def __str__(self):
        names = list(self.of.whats)
        rows = [f"{self.of.name}: {self.of.asks}"]
        rows += [f"  {name}: {half}" for name, half in zip(names, self.halves, strict=True)]
        share = f"{self.share.value:.0%} [{self.share.low:.0%}, {self.share.high:.0%}]"
        rows.append(f"  difference: {self.difference} nats; {share} of comparisons go that way")
        return "\n".join(rows)

    def to_dict(self):
        """The same as values that JSON has."""
        halves = dict(zip(self.of.whats, (half._asdict() for half in self.halves), strict=True))
        found = {"set": self.of.name, "n_texts": self.of.n_texts, "halves": halves, "by_what": self.by_what}
        return found | {"difference": self.difference._asdict(), "share": self.share._asdict()}


def read_sets(path=None):
    """The sets of a file, those that ship where none is named: {name: PairSet}; FileError for what is none."""
    path = SETS if path is None else files.as_path(path)
    raw = files.read_json(path, MOST_BYTES)
    found = raw.get("sets") if isinstance(raw, dict) else None
    if not isinstance(found, dict) or not found:
        raise FileError(f'{files.short(path)}: expected {{"sets": {{NAME: {{…}}, …}}}}, got none')
    return {name: _checked(name, entry, f"{files.short(path)}: {printable(name, 40)}") for name, entry in found.items()}


def choose(sets, names=None, by_language=True):
    """The PairSets of some names, else all, with `by_language` all English ones; InputError for an unknown name."""
    for name in names or ():
        if name not in sets:
            raise InputError(f"set: expected one of {printable(', '.join(sets), 200)}, got {shown(name)}")
    if names:
        return [sets[name] for name in dict.fromkeys(names)]
    return [one for one in sets.values() if not by_language or one.language == "en"]


def _checked(name, entry, where):
    """A PairSet of what a file says; FileError names the field that is wrong."""
    if not isinstance(entry, dict) or set(entry) != set(FIELDS):
        raise FileError(f"{where}: expected the fields {', '.join(FIELDS)}, got {shown(entry)}")
    made = PairSet(name, **entry)
    whats = made.whats.values() if isinstance(made.whats, dict) else ()
    wrong = {
        "scored": made.scored not in ("who", "behind"),
        "templates": not _texts(made.templates) or any(not _fits(text, made.scored) for text in made.templates),
        "pairs": not isinstance(made.pairs, list) or not all(_texts(pair) and len(pair) == 2 for pair in made.pairs),
        "whats": len(whats) != 2 or not all(map(_texts, whats)),
    } | {field: not isinstance(entry[field], str) for field in ("language", "asks", "source")}
    for field in filter(wrong.get, wrong):
        raise FileError(f"{where}: {field}: expected {EXPECTED.get(field, 'a text')}, got {shown(entry[field])}")
    if not made.pairs or made.n_texts > MOST_TEXTS:
        raise FileError(f"{where}: expected 1 to {MOST_TEXTS:,} texts, got {made.n_texts:,}; shorten its lists")
    return made


EXPECTED = {
    "scored": "'who' or 'behind'", "pairs": "a list of pairs of texts", "whats": "two named lists of texts",
    "templates": "texts with one {who} and one {what}, {what} before {who} where 'who' is scored, else behind it",
}  # fmt: skip


def _texts(value):
    return isinstance(value, list) and len(value) > 0 and all(isinstance(text, str) and text for text in value)


def _fits(template, scored):
    if template.count(WHO) != 1 or template.count(WHAT) != 1:
        return False
    return (template.index(WHAT) < template.index(WHO)) == (scored == "who")


def cut(template, who, what):
    """A text in three: before the word of a pair, the word, and what stands behind; a space goes with the word.

    cut("The {what} said {who} ran", "she", "cook") -> ("The cook said", " she", " ran")
    """
    before, behind = (part.replace(WHAT, what) for part in template.split(WHO))
    bare = before.removesuffix(" ")
    return bare, before[len(bare) :] + who, behind


def question(gpt, parts, scored):
    """What is asked of the model: how likely is the word of a pair, or what stands behind it? `parts`: as cut() has.

    Both sides of a pair are asked for the same ids, as what is said is encoded by itself. A text is begun by
    <|endoftext|> where the vocabulary has it; InputError where nothing stands before.
    """
    encode = gpt.tokenizer.encode
    start = [] if gpt.config.eos_id is None else [gpt.config.eos_id]
    before, said = (parts[0], parts[1]) if scored == "who" else (parts[0] + parts[1], parts[2])
    if not start and not before:
        raise InputError("template: expected words before {who} for a model without <|endoftext|>, got none")
    return Pair(start + encode(before), encode(said))


def differences(gpt, of, progress=False):  # -> float64 [n_what, n_template, n_pair]
    """log p with the first of each pair minus log p with the second, in nats; the sayings of both halves in a row."""
    items.tokenizer_of(gpt)
    whats, shape = [what for half in of.whats.values() for what in half], (len(of.templates), len(of.pairs), 2)
    found = np.empty((len(whats), *shape[:2]))
    for i, what in enumerate(tqdm(whats, desc=of.name, unit="saying", disable=None if progress else True)):
        parts = [cut(template, who, what) for template in of.templates for pair in of.pairs for who in pair]
        asked = [question(gpt, part, of.scored) for part in parts]
        scores = likelihood.score(asked, gpt.params, gpt.config, gpt.ops, TOGETHER, share=False)
        totals = np.array([score.total for score in scores]).reshape(shape)
        found[i] = totals[..., 0] - totals[..., 1]
    return found


def measure(gpt, of, seed=0, progress=False):
    """The Bias of a GPT by a PairSet; sayings, templates and pairs are drawn again for the intervals, each by itself.

    InputError where the model has no tokenizer, or a text does not fit its context.
    """
    check_whole("seed", seed)
    found = differences(gpt, of, progress)
    if not np.isfinite(found).all():
        raise InputError("bias: expected finite likelihoods, got others; the weights are broken")
    n_first = len(next(iter(of.whats.values())))
    halves, difference, share = summarize(found[:n_first], found[n_first:], seed)
    whats = [what for half in of.whats.values() for what in half]
    by_what = dict(zip(whats, found.mean(axis=(1, 2)).tolist(), strict=True))
    return Bias(of, by_what, halves, difference, share)


def summarize(first, second, seed=0):  # [n_first, n_template, n_pair], [n_second, n_template, n_pair]
    """Two halves of differences -> their means, the first's minus the second's, the share of comparisons it wins.

    Each an Interval; a tie counts half.
    """
    rng = np.random.default_rng(seed)
    of_first, of_second, of_templates, of_pairs = (
        intervals.shares_of(n, rng) for n in (len(first), len(second), *first.shape[1:])
    )
    drawn = [
        np.einsum("bi,bj,bk,ijk->b", shares, of_templates, of_pairs, half, optimize=True)
        for shares, half in ((of_first, first), (of_second, second))
    ]
    halves = [intervals.interval(half.mean(), draws) for half, draws in zip((first, second), drawn, strict=True)]
    wins = (np.sign(first[:, None] - second[None]) + 1) / 2  # -> [n_first, n_second, n_template, n_pair]
    won = np.einsum("ba,bc,bj,bk,acjk->b", of_first, of_second, of_templates, of_pairs, wins, optimize=True)
    difference = intervals.interval(first.mean() - second.mean(), drawn[0] - drawn[1])
    return halves, difference, intervals.interval(wins.mean(), won)
