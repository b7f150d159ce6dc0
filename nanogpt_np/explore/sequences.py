"""One text on its way among others: what it was asked, what it holds, and what it tells whoever waits for it.

Enter: a prompt's ids and a Request; then logits, a step at a time. Leave: Tokens as they become certain, and an Ending.
What is chosen, held back and stopped at is generation's, so a text is what gpt.complete gives.
Next: explore/metrics.py.
"""

import time
from typing import Any, NamedTuple

import numpy as np

from .. import model
from ..errors import InputError
from ..generation import decoding
from ..generation.request import LENGTH, STOP, plan_length
from ..generation.sampling import greedy, log_softmax
from ..generation.scores import ROWS, best
from ..generation.text import TextStream
from ..generation.tokens import Rows
from ..params import unembedding


class Token(NamedTuple):
    """One step of a text: the id, its log-probability (None where none were asked for), and what became certain."""

    id: int
    log_prob: float | None
    top: list[Any]  # of scores.NextToken, the likeliest in its place
    piece: str


class Scored(NamedTuple):
    """A prompt's own numbers: the log-probability of each id but the first, and the likeliest in its place."""

    log_probs: list[float]
    top: list[Any]


class Ending(NamedTuple):
    """The end of a text: why (generation.request has the four reasons), and what was held back until now."""

    reason: str
    piece: str


class Failure(NamedTuple):
    """No more comes: what went wrong, as one line."""

    error: Exception


class Sequence:
    """One continuation of a prompt.

    `ids`: of the prompt; `request`: of one sequence, with ids for its texts (Request.spelled); `rng`: what it draws
    from; `tell`: called with each Token, Scored, Ending or Failure, in the thread that computes. `n_top`: how many of
    the likeliest tokens to tell with each (None: not even its own log-probability); `scored`: tell the prompt's numbers
    first. InputError where the prompt and what is to come do not fit the context.
    """

    def __init__(self, ids, request, rng, config, tokenizer, tell, n_top=None, scored=False):
        if request.stop_strings() and tokenizer is None:
            raise InputError("stop: expected ids, got text; this model has no vocabulary files")
        self.ids, self.max_new, self.tell = ids, plan_length([ids], config, request), tell
        self.tokenizer, self.n_top, self.scored, self.n_new = tokenizer, n_top, scored, 0
        self.rows = Rows([ids], config, request, None)
        self.rows.rngs = [rng]
        self.text = TextStream(tokenizer, request.stop_strings()) if tokenizer is not None else None
        self.submitted, self.first, self.first_logits = time.perf_counter(), None, None
        self.is_over, self.is_left = False, False

    @property
    def last(self):
        """The id that is to be read next."""
        return self.rows.texts[0][-1]

    def take(self, logits):  # [1, n_vocab]
        """Choose the next id and tell it; the text may end with it."""
        chosen = self.rows.choose(logits, self.n_new)
        (token,) = self.rows.add(chosen)  # None where it ends the text
        self.n_new, reason = self.n_new + 1, self.rows.reasons[0]
        piece = self.text.push(token) if self.text and token is not None else ""
        if self.text and self.text.ended:
            reason = STOP
        self.first = self.first or time.perf_counter()
        self.tell(self._told(logits, int(chosen[0]), piece))
        if reason is not None or self.n_new == self.max_new:
            self.end(reason or LENGTH)

    def _told(self, logits, token, piece):
        """The Token of a step; an id that ends the text is told, too: it was computed, and has a likelihood."""
        if self.n_top is None:
            return Token(token, None, [], piece)
        log_probs = log_softmax(logits)[0]
        top = best(log_probs, self.n_top, self.tokenizer) if self.n_top else []
        return Token(token, float(log_probs[token]), top, piece)

    def end(self, reason=LENGTH):
        """Nothing more is said."""
        self.is_over = True
        self.tell(Ending(reason, self.text.flush() if self.text else ""))

    def fail(self, error):
        """Something went wrong, here or for all."""
        self.is_over = True
        self.tell(Failure(error))


def score_on(sequence, params, config, ops, cache):  # yields None, and at last the logits [1, 1, n_vocab]
    """Read a prompt into an empty cache a piece at a time, and tell how likely each of its ids was."""
    ids, log_probs, top = sequence.ids, [], []
    for start in range(0, len(ids), decoding.PIECE):
        part = ids[start : start + decoding.PIECE]
        final = model.trunk(np.array([part]), params, config, ops, cache=cache)[0][0]
        for first in range(0, len(part), ROWS):
            logits = ops.unembed(final[first : first + ROWS], unembedding(params))
            greedy(logits)  # InputError where there are no numbers
            of_rows = log_softmax(logits)
            for row, token in zip(of_rows, ids[start + first + 1 :], strict=False):  # behind the last comes nothing yet
                log_probs.append(float(row[token]))
                top.append(best(row, sequence.n_top, sequence.tokenizer) if sequence.n_top else [])
        if start + len(part) < len(ids):
            yield None
    sequence.tell(Scored(log_probs, top))
    yield logits[-1:][None]
