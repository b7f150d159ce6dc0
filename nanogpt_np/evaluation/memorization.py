"""What has a model learned by heart? Its texts beside the training text, and its loss there beside its loss elsewhere.

Enter: a GPT, text files, and which share of them training held out. Leave: a Memorization: the share of generated
n-grams that stand in the training text, beside the same share of held-out texts, which is what texts of this kind have
in common anyway; the longest passage; both losses (Carlini et al. 2021 and 2023; Brown et al. 2020, section 4).
Next: evaluation/in_context.py.
"""

from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ..errors import InputError, check_whole, is_whole, shown
from ..training import data
from ..training.evaluation import Evaluation, check_share, count_bytes, evaluate
from . import intervals, items
from .copies import Copies, find_copies
from .intervals import Interval

LENGTHS = (8, 16, 32)  # tokens; of a small model those that fit its context
HELD_OUT = 0.02  # as `nanogpt-np train` has it
N_TEXTS = 100  # that are generated, and as many that were held out, at most
MOST_LOSSES = 400  # documents of each kind whose loss is measured
MOST_TEXTS = 10_000
LONGEST = 200  # tokens, as `nanogpt-np generate` has it


class Memorization(NamedTuple):
    """What was found; n-grams are of the model's own tokens, and none reaches over the end of a text.

    `shares`: for each length the share of all n-grams of generated texts that stand in the training text; `usual`: the
    same of held-out texts, cut to the lengths of the generated ones; `longest`, `usual_longest`: the longest passage,
    as text; `whole`: how many generated texts stand there from beginning to end; `loss_train`, `loss_held_out`: nats
    per token, each document by itself; `gap`: the second minus the first.
    """

    n_texts: int
    n_usual: int
    n_trained: int  # tokens
    shares: dict[int, Interval]
    usual: dict[int, Interval]
    longest: str
    n_longest: int
    usual_longest: str
    n_usual_longest: int
    whole: int
    n_losses: tuple[int, int]
    loss_train: Interval
    loss_held_out: Interval
    gap: Interval

    def __str__(self):
        names = ("generated", "held out")
        rows = [f"n-grams of {self.n_texts} generated and {self.n_usual} held-out texts that stand in the "
                f"{self.n_trained:,} tokens of training text"]
        rows += [f"  {n} tokens: {_percent(self.shares[n])} of generated, {_percent(self.usual[n])} of held-out ones"
                 for n in self.shares]
        found = ((self.n_longest, self.longest), (self.n_usual_longest, self.usual_longest))
        rows += [f"  longest, {name}: {n} tokens, {text!r}" for name, (n, text) in zip(names, found, strict=True)]
        rows.append(f"  generated texts that stand there whole: {self.whole}")
        rows.append(f"loss in nats per token: {_plain(self.loss_train)} on {self.n_losses[0]} training texts, "
                    f"{_plain(self.loss_held_out)} on {self.n_losses[1]} held-out ones; difference {self.gap}")
        return "\n".join(rows)

    def to_dict(self):
        """The same as values that JSON has."""
        found = {name: of._asdict() if isinstance(of, Interval) else of for name, of in self._asdict().items()}
        for field in ("shares", "usual"):
            found[field] = {n: share._asdict() for n, share in getattr(self, field).items()}
        return found


def _percent(share):
    if share.value != share.value:  # no text is so long
        return "none"
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"


def _plain(loss):
    return f"{loss.value:.3f} [{loss.low:.3f}, {loss.high:.3f}]"


def measure(gpt, paths, held_out=HELD_OUT, n_texts=N_TEXTS, max_new_tokens=None, lengths=None, seed=0, progress=False):
    """The Memorization of a GPT that was trained on text files but for the share `held_out` (train --held-out).

    Texts are generated from the very beginning, as the model's generation_config.json says, and encoded anew, as the
    training text is: a model may spell a word otherwise. The same seed, the same figures. InputError where there is no
    tokenizer, no end of text to begin with, nothing held out, or a number is out of range.
    """
    lengths = [n for n in LENGTHS if n <= gpt.config.n_ctx] if lengths is None else lengths
    _check(gpt, held_out, n_texts, max_new_tokens, lengths, seed)
    trained, others = data.split_held_out(data.read_documents(paths), held_out)
    if not trained or not others:
        raise InputError(f"held_out: expected texts on both sides, got {len(trained)} and {len(others)}; add more text")
    told = tell(gpt, n_texts, max_new_tokens, seed, progress)
    rng = np.random.default_rng(seed)
    chosen = _some(others, n_texts, rng)
    usual = [gpt.tokenizer.encode(text)[: len(ids)] for text, ids in zip(chosen, told, strict=False)]
    row = data.encode_documents(trained, gpt.tokenizer)
    own, theirs = (find_copies(texts, row, lengths) for texts in (told, usual))
    losses = [_losses(gpt, _some(texts, MOST_LOSSES, rng), name, progress)
              for texts, name in ((trained, "training texts"), (others, "held-out texts"))]
    return _summed(gpt, len(row), own, theirs, losses, seed)


def _check(gpt, held_out, n_texts, max_new_tokens, lengths, seed):
    items.tokenizer_of(gpt)
    items.end_of_text(gpt)
    check_share(held_out)
    check_whole("n_texts", n_texts, 1)
    if max_new_tokens is not None:
        check_whole("max_new_tokens", max_new_tokens, 1)
    check_whole("seed", seed)
    if n_texts > MOST_TEXTS:
        raise InputError(f"n_texts: expected at most {MOST_TEXTS:,}, got {shown(n_texts)}")
    if not lengths or not all(is_whole(n) and 1 <= n <= gpt.config.n_ctx for n in lengths):
        expected = f"whole numbers from 1 to n_ctx = {gpt.config.n_ctx}"
        raise InputError(f"lengths: expected {expected}, got {shown(list(lengths))}")


def _some(texts, n, rng):
    """At most n of some texts, chosen by the generator, in their order."""
    return [texts[i] for i in sorted(rng.choice(len(texts), min(n, len(texts)), replace=False))]


def tell(gpt, n_texts, max_new_tokens, seed, progress=False):
    """Texts as the model draws them from the very beginning: lists of ids, as the tokenizer spells what was said."""
    most = min(LONGEST, gpt.config.n_ctx) if max_new_tokens is None else max_new_tokens
    told = []
    for i in tqdm(range(0, n_texts, 20), desc="generating", unit="batch", disable=None if progress else True):
        n = min(20, n_texts - i)
        new = gpt.generate([gpt.config.eos_id], most, num_return_sequences=n, seed=seed + i)
        told += [new] if n == 1 else new
    return [gpt.tokenizer.encode(gpt.tokenizer.decode(ids)) for ids in told]


def _losses(gpt, texts, name, progress):
    """An Evaluation of each document by itself, begun and ended by <|endoftext|>."""
    parts = (gpt.params, gpt.config, gpt.ops)
    found = []
    for text in tqdm(texts, desc=name, unit="text", disable=None if progress else True):
        found.append(evaluate(data.encode_documents([text], gpt.tokenizer), count_bytes([text]), *parts))
    if not all(np.isfinite(one.nats) for one in found):
        raise InputError("expected a finite loss, got another; the weights are broken")
    return found


def _summed(gpt, n_trained, own: Copies, theirs: Copies, losses: list[list[Evaluation]], seed):
    """The figures and their intervals; texts and documents are drawn again as wholes."""
    rng = np.random.default_rng(seed)
    nats, tokens = ([np.array([getattr(one, field) for one in some], np.float64) for some in losses]
                    for field in ("nats", "n_tokens"))
    means = [a.sum() / b.sum() for a, b in zip(nats, tokens, strict=True)]
    drawn = [intervals.ratio_draws(a, b, rng) for a, b in zip(nats, tokens, strict=True)]
    loss_train, loss_held_out = (intervals.interval(mean, draws) for mean, draws in zip(means, drawn, strict=True))
    spelled = gpt.tokenizer.decode
    return Memorization(
        own.n_texts, theirs.n_texts, n_trained, own.shares(seed), theirs.shares(seed),
        spelled(own.longest), len(own.longest), spelled(theirs.longest), len(theirs.longest), own.whole,
        (len(losses[0]), len(losses[1])), loss_train, loss_held_out,
        intervals.interval(means[1] - means[0], drawn[1] - drawn[0]),
    )  # fmt: skip
