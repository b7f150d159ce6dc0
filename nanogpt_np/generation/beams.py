"""Beam search: follow several continuations at once, and keep those that are likeliest as a whole.

Enter: prompts, what is asked (generate.Request), and how to search (Beams). Leave: each prompt's best continuations.
Nothing is drawn. What counts, and when the search ends, is as in `generate(num_beams=…, do_sample=False)` of
transformers 5. Next: generation/session.py.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError, check_whole, is_number, shown
from . import budget, decoding, forcing
from .penalties import ban, check_words, spelled_words
from .request import encode_prompt, plan_length
from .sampling import Sampling, check_ids, greedy, listed, log_softmax
from .tokens import prefill


class Beam(NamedTuple):
    """A continuation on its way: its ids, the sum of their log-probabilities, its row in the batch last read."""

    ids: tuple
    log_prob: float
    row: int


class Hypothesis(NamedTuple):
    """A finished continuation: its ids, with the stop id that ended it, and the score it is compared by."""

    ids: tuple
    score: float


@dataclass(frozen=True)
class Beams:
    """How to search: `num_beams` continuations of each prompt are followed; one alone is greedy.

    The search of Sutskever et al. 2014, section 3.2: what ends leaves the beam and joins the finished ones. Those are
    compared by their score, the sum of log-probabilities / length ** `length_penalty`, where length counts the new ids
    and the stop id. Sums are negative, so above 0 favours the long, below 0 the short; 1 is the mean (Graves 2012,
    section 2.5). Wu et al. 2016, section 7, divide by ((5 + length) / 6) ** penalty; the bare length is transformers'.
    `early_stopping`: True ends once num_beams have finished; False once, besides, the best one running would not beat
    the worst of them if it ended now; "never" once it could not even by growing to its full length at no cost, so that
    nothing better is ever missed. `forced_words`, texts or lists of ids, are to stand in the continuation (forcing.py).
    InputError where a number makes no sense.
    """

    num_beams: int = 4
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    forced_words: Any = ()

    def __post_init__(self):
        n, penalty, early = self.num_beams, self.length_penalty, self.early_stopping
        check_whole("num_beams", n, 1)
        if not is_number(penalty) or not -10 <= penalty <= 10:
            raise InputError(f"length_penalty: expected a number from -10 to 10, got {shown(penalty)}")
        if type(early).__name__ not in ("bool", "bool_") and not (isinstance(early, str) and early == "never"):
            raise InputError(f"early_stopping: expected True, False or 'never', got {shown(early)}")
        if n == 1 and (penalty != 1.0 or early):
            name = "early_stopping" if early else "length_penalty"
            raise InputError(f"{name}: expected num_beams above 1 with it, got 1; one beam has nothing to compare")
        words = check_words("forced_words", listed("forced_words", self.forced_words))
        object.__setattr__(self, "forced_words", words)
        if words and n == 1:
            raise InputError("forced_words: expected num_beams above 1 with it, got 1; only a search looks for words")

    def score(self, beam):
        """What a beam is worth if it ends here."""
        return beam.log_prob / len(beam.ids) ** self.length_penalty


def generate(prompts, params, config, ops, tokenizer, request, how):
    """The best continuations of several prompts, request.num_return_sequences of each, in prompt order, best first.

    Strings for string prompts, lists of ids for lists of ids.
    """
    encoded = [encode_prompt(prompt, config, tokenizer) for prompt in prompts]
    stop_ids = request.stop_ids(config)
    guide, request = request.guide(config, tokenizer), request.spelled(config, tokenizer)
    texts = []
    words = spelled_words("forced_words", how.forced_words, tokenizer)
    found = search(encoded, params, config, ops, request, how, guide, words)
    for prompt, best in zip(prompts, found, strict=True):
        for hypothesis in best:
            ids = [i for i in hypothesis.ids if i not in stop_ids]  # one can only stand at the end
            texts.append(tokenizer.decode(ids) if isinstance(prompt, str) else ids)
    return texts


def search(prompts, params, config, ops, request, how, guide=None, words=()):
    """-> for each prompt (a list of ids) its request.num_return_sequences best hypotheses, best first.

    `words`: for each word to be said the ways to write it as ids. InputError where the request asks for what a search
    cannot do, or prompt and new tokens do not fit the context.
    """
    check_request(request, how)
    if guide is not None and not request.stop_ids(config):
        raise InputError("choices, pattern: expected an id that ends a text with num_beams, got none; give a stop id")
    check_ids("forced_words", [i for forms in words for form in forms for i in form], config.n_vocab)
    max_new, stop_ids = plan_length(prompts, config, request), request.stop_ids(config)
    budget.check(prompts, params, config, ops, request, max_new, how.num_beams)
    if max_new == 0:
        return [[Hypothesis((), 0.0)] * request.num_return_sequences for _ in prompts]
    logits, cache = prefill(prompts, params, config, ops, max_new)
    running = [[Beam((), 0.0, row)] for row in range(len(prompts))]  # a prompt is read once, by one beam
    finished = [[] for _ in prompts]
    for length in range(1, max_new + 1):
        if length > 1:
            logits, cache = read_on(running, cache, params, config, ops)
        texts = [prompts[p] + list(beam.ids) for p, beams in enumerate(running) for beam in beams]
        log_probs = next_log_probs(logits[:, -1], texts, request.sampling, [len(text) - length + 1 for text in texts])
        if length <= request.min_new_tokens:
            log_probs = ban(log_probs, list(stop_ids))
        if guide is not None:
            log_probs = lead(log_probs, running, guide)
        running, finished = step(running, finished, log_probs, stop_ids, length, max_new, how, words)
        if not any(running):
            break
    if words and not all(finished):
        expected = f"words that fit {max_new} new tokens"
        raise InputError(f"forced_words: expected {expected}, got no text with all; ask for more tokens, or more beams")
    return [best_of(found, request.num_return_sequences) for found in finished]


def check_request(request, how):
    """InputError for what only makes sense where tokens are drawn, or passed on one by one."""
    for name in ("temperature", "top_k", "top_p", "min_p", "typical_p"):
        value = getattr(request.sampling, name)
        if value != getattr(Sampling, name):
            raise InputError(f"{name}: expected none with num_beams, which draws nothing, got {value!r}; leave one out")
    if request.speculate:
        raise InputError(f"speculate: expected 0 with num_beams, got {shown(request.speculate)}; leave one out")
    if request.penalty_alpha is not None:
        got = shown(request.penalty_alpha)
        raise InputError(f"penalty_alpha: expected none with num_beams, got {got}; leave one out")
    if request.seed is not None:
        got = shown(request.seed)
        raise InputError(f"seed: expected none with num_beams, which draws nothing, got {got}; leave one out")
    if request.stop_strings():
        got = shown(request.stop_strings()[0])
        raise InputError(f"stop: expected ids with num_beams, got {got}; cut the text instead")
    if request.overflow != "error":
        raise InputError(f"overflow: expected 'error' with num_beams, got {request.overflow!r}; ask for fewer tokens")
    if request.num_return_sequences > how.num_beams:
        raise InputError(
            f"num_return_sequences: expected at most num_beams = {how.num_beams}, "
            f"got {shown(request.num_return_sequences)}"
        )


def read_on(running, cache, params, config, ops):
    """Read the last id of every running beam -> logits [n_beams, 1, n_vocab], and the cache in that order."""
    beams = [beam for group in running for beam in group]
    cache = cache.select(np.array([beam.row for beam in beams]))
    last = np.array([[beam.ids[-1]] for beam in beams])
    logits = decoding.decode(last, params, config, ops, cache)
    return logits, cache


def next_log_probs(logits, texts, sampling, n_prompts=None):  # [n_beams, n_vocab] -> float64 [n_beams, n_vocab]
    """log softmax in float64, then what the text so far (a list of ids for each beam) changes, as in transformers.

    What a ban takes away is not shared out among the rest: sequences stay comparable by what the model said of them.
    """
    greedy(logits)  # InputError where there are no numbers to compare
    log_probs = log_softmax(logits)
    return sampling.process(log_probs, texts, n_prompts) if sampling.processes else log_probs


def lead(log_probs, running, guide):  # [n_beams, n_vocab] -> the same
    """-inf for what leads away from the choices or the pattern."""
    states = []
    for beam in (beam for beams in running for beam in beams):
        states.append(0)
        for token in beam.ids:
            states[-1] = guide.after(states[-1], token)
    return guide.restrict(log_probs, states)


def step(running, finished, log_probs, stop_ids, length, max_new, how, words=()):
    """One id more for every beam of every prompt -> running, finished; a prompt that is done has nothing running."""
    going_on, first_row = [], 0
    for p, beams in enumerate(running):
        rows = log_probs[first_row : first_row + len(beams)]
        candidates = extend(beams, rows, max(2, 1 + len(stop_ids)) * how.num_beams, first_row)
        if words:
            candidates += push(beams, rows, first_row, words, {beam.ids for beam in candidates})
        beams_left, ended = part(candidates, stop_ids, length == max_new, how, words)
        finished[p] = sorted(finished[p] + ended, key=lambda found: -found.score)[: how.num_beams]
        going_on.append([] if is_done(beams_left, finished[p], max_new, how) else beams_left)
        first_row += len(beams)
    return going_on, finished


def extend(beams, log_probs, n, first_row):  # log_probs [n_beams, n_vocab]
    """The `n` likeliest ways for some beams to go on by one id, best first; fewer where there are no more."""
    if not beams:
        return []
    totals = (log_probs + np.array([[beam.log_prob] for beam in beams])).ravel()
    best = np.argpartition(-totals, min(n, totals.size) - 1)[:n]
    best = best[np.argsort(-totals[best], kind="stable")]
    best = best[np.isfinite(totals[best])]  # what is banned is no way to go on
    rows, ids = np.divmod(best, log_probs.shape[1])
    return [
        Beam((*beams[row].ids, int(i)), float(total), first_row + int(row))
        for row, i, total in zip(rows, ids, totals[best], strict=True)
    ]


def push(beams, log_probs, first_row, words, known):
    """More candidates for beams with words to say: each goes on with those, and its likeliest id; none of `known`."""
    pushed = []
    for row, (beam, of_beam) in enumerate(zip(beams, log_probs, strict=True)):
        for i in sorted({*forcing.next_ids(beam.ids, words), int(of_beam.argmax())}):
            if np.isfinite(of_beam[i]) and (*beam.ids, i) not in known:
                pushed.append(Beam((*beam.ids, i), beam.log_prob + float(of_beam[i]), first_row + row))
    return pushed


def part(candidates, stop_ids, is_last, how, words=()):
    """Part the candidates -> the beams that go on, the hypotheses that end here.

    Only one of the num_beams best may end; the others are there so that num_beams can always go on.
    """
    if words:
        best = forcing.allot(candidates, how.num_beams, words) if is_last else candidates[: how.num_beams]
        ended = [beam for beam in best if is_last or beam.ids[-1] in stop_ids]
        going_on = [] if is_last else [beam for beam in candidates if beam.ids[-1] not in stop_ids]
        whole = [Hypothesis(beam.ids, how.score(beam)) for beam in ended if forcing.is_whole(beam.ids, words)]
        return forcing.allot(going_on, how.num_beams, words), whole
    ends = [is_last or beam.ids[-1] in stop_ids for beam in candidates]
    going_on = [beam for beam, end in zip(candidates, ends, strict=True) if not end]
    best = zip(candidates[: how.num_beams], ends, strict=False)
    return going_on[: how.num_beams], [Hypothesis(beam.ids, how.score(beam)) for beam, end in best if end]


def is_done(running, finished, max_new, how):
    """Is there nothing left to gain for a prompt? With a penalty above 0 only "never" is sure; longer may score higher.

    Of one beam's sum of log-probabilities the best score is that at the greatest length, where the penalty is above 0,
    and else the present one.
    """
    if len(finished) < how.num_beams or not running:
        return not running
    length = max_new if how.early_stopping == "never" and how.length_penalty > 0 else len(running[0].ids)
    best = running[0].log_prob / length**how.length_penalty
    return how.early_stopping not in (False, "never") or best <= finished[-1].score


def best_of(finished, n):
    """The `n` best; InputError where a small vocabulary, or bans, left fewer."""
    if len(finished) < n:
        raise InputError(f"expected {n} continuations to choose from, got {len(finished)}; ban or ask for fewer")
    return finished[:n]
