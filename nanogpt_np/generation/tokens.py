"""From ids to ids: read the prompts once, then one token at a time for every sequence.

Enter: prompts as lists of ids. Leave: the next id of each, step by step. Prompts of different lengths are padded on the
left, and every sequence draws from its own generator, so that a batch gives what each prompt gives alone.
Next: generation/text.py.
"""

import numpy as np

from ..kv_cache import slide
from . import budget, contrastive, decoding, speculation
from .ahead import Continuation
from .penalties import ban
from .request import EOS, LENGTH, MATCH, STOP, Step, plan_length


def stream_ids(prompts, params, config, ops, request):
    """Yield, step by step, one list with the next id of each sequence; None for a sequence that has ended.

    `prompts`: lists of ids; sequences stand in prompt order, request.num_return_sequences of each.
    InputError, at once, where a prompt is empty, prompt and new tokens do not fit the context, or all of them together
    not the memory.
    """
    return (step.ids for step in stream_steps(prompts, params, config, ops, request, only_ids=True))


def stream_steps(prompts, params, config, ops, request, guide=None, kept=None, only_ids=False):
    """What stream_ids yields, as Steps, with what led to it.

    `guide`: what may be said (constraints.Guide). `kept`: a session.Kept, the cache of a text that one prompt goes on
    from; it holds what was read when the steps end, or are left. `only_ids`: nobody will look at the logits.
    """
    if request.penalty_alpha is not None:
        rows, plan = Rows(prompts, config, request, guide), contrastive.plan(prompts, params, config, ops, request)
        return contrastive.stream_steps(prompts, params, config, ops, request, rows, *plan)
    max_new = plan_length(prompts, config, request)
    budget.check(prompts, params, config, ops, request, max_new)
    if request.speculate:
        speculation.check_request(request, guide)
        return speculation.stream_steps(prompts, params, config, ops, request, max_new, kept, only_ids)
    return _steps(prompts, params, config, ops, request, max_new, guide, kept, only_ids)


def _steps(prompts, params, config, ops, request, max_new, guide, kept, only_ids):
    rows = Rows(prompts, config, request, guide)
    prompts = [slide(prompt, config.n_ctx) for prompt in prompts]
    stop_ids = rows.stop_ids if only_ids and rows.only_best_counts else None
    logits, cache, short, going = None, None, None, None
    for n_new in range(max_new):
        chosen = None
        if n_new == 0:
            logits, cache = begin(prompts, params, config, ops, max_new, kept)
            logits, cache = spread(logits, cache, request.num_return_sequences)
        elif cache.length == config.n_ctx:
            rows.seen = [slide(text, config.n_ctx) for text in rows.seen]
            logits, cache = prefill(rows.seen, params, config, ops, config.n_ctx)
            going = None
        else:
            if n_new == 1 and stop_ids is not None:
                short = decoding.shortlist(params, ops, max_new)
            going = going or Continuation((params, config, ops), cache, len(rows.texts), short, stop_ids)
            chosen, logits = going.next(rows.texts, max_new - n_new)
        if kept is not None:
            kept.hold(rows.seen[0], cache)
        if chosen is None:
            chosen = rows.choose(logits[:, -1], n_new)
        ids = rows.add(chosen)
        if rows.any_said or n_new == 0:  # the first says why, where nothing is said at all
            yield Step(ids, None if only_ids else logits[:, -1], rows.reasons)
        if not rows.live:
            return
    rows.end()


class Rows:
    """Sequences on their way, side by side: `texts`, and `seen`, the part of each that the model has in view.

    A row that has ended keeps its place in the batch; what it says there (0) is not passed on.
    """

    def __init__(self, prompts, config, request, guide):
        n = request.num_return_sequences
        self.texts = [list(prompt) for prompt in prompts for _ in range(n)]
        self.seen = [slide(list(prompt), config.n_ctx) for prompt in prompts for _ in range(n)]
        self.n_prompts = [len(text) for text in self.texts]
        self.rngs, self.request, self.guide = request.generators(len(prompts)), request, guide
        self.stop_ids = request.stop_ids(config)
        self.asked_for = {item for item in request.stop if not isinstance(item, str)}
        self.live, self.states = list(range(len(self.texts))), [0] * len(self.texts)
        self.reasons, self.any_said = [None] * len(self.texts), False
        self.is_led = guide is not None or request.min_new_tokens > 0

    @property
    def only_best_counts(self):
        """Is the likeliest token the next one, whatever the other logits are?"""
        sampling = self.request.sampling
        return len(self.texts) == 1 and sampling.temperature == 0 and not sampling.processes and not self.is_led

    def choose(self, logits, n_new):  # [n_rows, n_vocab] -> [n_live]
        """The next id of every row that goes on; add() takes them in."""
        of_live = (self.texts, self.rngs, self.n_prompts)
        if self.is_led or len(self.live) < len(self.texts):  # else nothing is done for each token that is not asked for
            logits, of_live = self._allowed(logits, n_new), self._live_ones()
        return self.request.sampling.choose(logits, *of_live)

    def processed(self, logits, n_new):  # [n_rows, n_vocab] -> [n_live, n_vocab]
        """The logits of the rows that go on, after all that does not belong to a draw."""
        logits, (texts, _, n_prompts) = self._allowed(logits, n_new), self._live_ones()
        sampling = self.request.sampling
        return sampling.process(logits, texts, n_prompts) if sampling.processes else logits

    def add(self, chosen):  # [n_live] -> the ids of all rows, None for a row that has ended
        """Take the next id of every row that goes on into its text, unless it ends the row."""
        ids, self.any_said, has_ended = [None] * len(self.texts), False, False
        for row, token in zip(self.live, chosen.tolist(), strict=True):
            if token in self.stop_ids:
                self.reasons[row], has_ended = STOP if token in self.asked_for else EOS, True
                continue
            ids[row], self.any_said = token, True
            if self.guide is not None:
                has_ended |= self._follow(row, token)
        for text, seen, token in zip(self.texts, self.seen, ids, strict=True):
            text.append(token or 0)
            seen.append(token or 0)
        if has_ended:
            self.live = [row for row in self.live if self.reasons[row] is None]
        return ids

    def end(self):
        """No more ids are asked for."""
        self.reasons[:] = [reason or LENGTH for reason in self.reasons]

    def _live_ones(self):
        return [[of_all[row] for row in self.live] for of_all in (self.texts, self.rngs, self.n_prompts)]

    def _allowed(self, logits, n_new):
        """Of the rows that go on, with -inf for what the request does not let them say here."""
        if len(self.live) < len(logits):
            logits = logits[self.live]
        if n_new < self.request.min_new_tokens:
            logits = ban(logits, list(self.stop_ids))
        if self.guide is not None:
            logits = self.guide.restrict(logits, [self.states[row] for row in self.live])
        return logits

    def _follow(self, row, token):
        """Where choices or a pattern lead: go on to the state behind a token -> is the whole text a match?"""
        self.states[row] = self.guide.after(self.states[row], token)
        if self.guide.is_over(self.states[row]):
            self.reasons[row] = MATCH
        return self.reasons[row] is not None


def begin(prompts, params, config, ops, max_new, kept):
    """Read the prompts -> logits of the last position [n_batch, 1, n_vocab], cache; of a kept text only what is new."""
    if kept is None:
        return prefill(prompts, params, config, ops, max_new)
    return kept.read(prompts[0], params, config, ops)


def prefill(texts, params, config, ops, max_new):
    """Read the texts, padded on the left to one length -> logits of the last position [n_batch, 1, n_vocab], cache."""
    order = np.argsort([-len(text) for text in texts], kind="stable")  # the longest first, as decoding.read() wants it
    longest = len(texts[order[0]])
    ids = np.array([[0] * (longest - len(texts[row])) + texts[row] for row in order])
    mask = np.array([[False] * (longest - len(texts[row])) + [True] * len(texts[row]) for row in order])
    n_ctx = min(config.n_ctx, longest + max_new)
    cache = decoding.new_cache(len(texts), n_ctx, params, config, ops)
    logits = decoding.read(ids, params, config, ops, cache, mask)
    back = np.argsort(order)
    return (logits, cache) if np.array_equal(order, np.arange(len(order))) else (logits[back], cache.select(back))


def spread(logits, cache, n):
    """Give each of the `n` sequences of a prompt its own row; the prompt was read once."""
    if n == 1:
        return logits, cache
    rows = np.repeat(np.arange(len(logits)), n)
    return logits[rows], cache.select(rows)
