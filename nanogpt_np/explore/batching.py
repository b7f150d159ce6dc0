"""Texts that overlap are computed together: one thread, rows of one cache, whoever comes joins at the next step.

Enter: Sequences, as clients ask; and jobs, functions that are called between two steps. Leave: what each Sequence
tells. A row joins when its prompt has been read, and leaves when its text ends or its client has gone; the others do
not notice: sums over a row are the same, and each draws from its own generator (continuous batching: Yu et al. 2022,
Orca, section 3). Next: explore/api_asked.py.
"""

import collections
import math
import threading
import time

import numpy as np

from .. import memory
from ..generation import budget, decoding
from ..generation.ragged import Ragged
from .guard import Refused
from .metrics import Metrics
from .sequences import score_on

MOST_ROWS = 64
FEW = 8  # rows that compiled decoding takes at once, where it does not take all of them
READ_AT_ONCE = decoding.PIECE  # tokens of prompts between two steps: nobody's text stands still for longer


class Job:
    """A function that needs the model, to be called between two steps; `tell` gets its value, or its exception."""

    ids, is_left = (), False

    def __init__(self, work, tell):
        self.work, self.tell, self.submitted = work, tell, time.perf_counter()

    def fail(self, error):
        """It was not done."""
        self.tell(error)


class Batcher:
    """The thread that computes. `n_rows`: texts at once; `most_waiting`: of those that wait for a row.

    close() ends it; what is under way then fails.
    """

    def __init__(self, gpt, n_rows, most_waiting):
        self.gpt, self.parts = gpt, (gpt.params, gpt.config, gpt.ops)
        self.rows = Ragged(decoding.new_cache(n_rows, gpt.config.n_ctx, *self.parts))
        self.desk = decoding.new_cache(1, gpt.config.n_ctx, *self.parts)  # where one prompt at a time is read
        self.together, self.most_waiting, self.metrics = self._most_together(), most_waiting, Metrics()
        self.waiting, self.live, self.reading, self.read = collections.deque(), [], None, None
        self.changed, self.is_closed = threading.Condition(), False
        self.thread = threading.Thread(target=self._run, name="nanogpt-np batcher", daemon=True)
        self.thread.start()

    def _most_together(self):
        """How many rows one call decodes so that none notices the others: all of them, or as many as are compiled."""
        plan = getattr(self.gpt.ops, "decode_plan", None)
        if plan is None or self.rows.most <= FEW:
            return self.rows.most
        fits = plan((self.rows.most, 1), self.gpt.params, self.gpt.config, self.rows.part(0, self.rows.most))
        return FEW if fits is None else self.rows.most

    # ---- from any thread

    def submit(self, wanted):
        """Put Sequences or Jobs in the queue, all or none; Refused (429) where there is no room for them now."""
        with self.changed:
            if self.is_closed:
                raise Refused(503, "expected a server that runs, got one that is stopping; try again later")
            self.check_room(len(wanted))
            self.waiting.extend(wanted)
            self.changed.notify()

    def check_room(self, n):
        """Refused (429) where the queue has no room for `n` more: asked before anything is made of them, too."""
        if len(self.waiting) + n > self.most_waiting:
            self.metrics.count("refused_total")
            seconds = self._seconds_to_wait()
            got = f"{len(self.waiting)} waiting and {n} more"
            raise Refused(429, f"expected at most {self.most_waiting} texts in the queue, got {got}; try again "
                          f"in {seconds} s", "rate_limit_exceeded", headers={"retry-after": seconds})  # fmt: skip

    def _seconds_to_wait(self):
        """About how long until the queue has moved on: a text's time for each set of rows that wait, 1 to 60 s."""
        rounds = 1 + len(self.waiting) / self.rows.most
        return min(max(math.ceil(rounds * self.metrics.mean("sequence_seconds")), 1), 60)

    def leave(self, sequences):
        """Nobody waits for these any more: their rows are free before the next step."""
        with self.changed:
            for sequence in sequences:
                sequence.is_left = True
            self.changed.notify()

    def close(self):
        """Stop the thread; what was under way fails."""
        with self.changed:
            self.is_closed = True
            self.changed.notify()
        self.thread.join()

    def now(self):
        """What goes up and down, for Metrics.text."""
        return {
            "rows": ("Rows of the cache.", self.rows.most),
            "rows_in_use": ("Texts that are being continued.", len(self.live)),
            "waiting": ("Texts and jobs in the queue.", len(self.waiting)),
        }

    # ---- the thread

    def _run(self):
        with np.errstate(all="ignore"):  # what overflows shows in the logits, where sampling says so in one line
            while self._wait():
                try:
                    self._drop_those_left()
                    self._read_prompts()
                    self._step()
                except Exception as error:  # a defect, or no memory: the texts fail, the server does not
                    self._fail_all(error)
        self._fail_all(Refused(503, "expected a server that runs, got one that was stopped"))

    def _wait(self):
        """Until there is something to do -> is there?"""
        with self.changed:
            while not (self.is_closed or self.waiting or self.live or self.reading):
                self.changed.wait()
            return not self.is_closed

    def _drop_those_left(self):
        with self.changed:
            gone = [item for item in self.waiting if item.is_left]
            if gone:
                self.waiting = collections.deque(item for item in self.waiting if not item.is_left)
        if self.reading is not None and self.reading.is_left:
            gone.append(self.reading)
            self.reading = self.read = None
        gone += self._remove(lambda sequence: sequence.is_left)
        if gone:
            self.metrics.count("sequences_left_total", len(gone))

    def _remove(self, is_done):
        """Free the rows of some sequences -> those."""
        removed = []
        for i in reversed(range(len(self.live))):
            if is_done(self.live[i]):
                removed.append(self.live[i])
                self.live[i] = self.live[self.rows.leave(i)]
                self.live.pop()
        return removed

    def _read_prompts(self):
        """Read what waits, as far as rows are free, but no more at once than the others can wait for."""
        left = READ_AT_ONCE
        while left > 0 and (self.reading is not None or self._take_next()):
            if self.reading is None:  # a job, which is done, a prompt that was not to be read, or nobody's
                left -= 1
                continue
            sequence, before = self.reading, self.desk.length
            try:
                logits = next(self.read)
            except Exception as error:
                self._forget(sequence, error)
                continue
            left -= self.desk.length - before
            self.metrics.count("prompt_tokens_total", self.desk.length - before)
            if logits is not None:
                self.reading = self.read = None
                self._begin(sequence, logits[:, -1], self.desk)

    def _take_next(self):
        """Take the next one of the queue, if there is one and a row is free -> is there?"""
        with self.changed:
            if not self.waiting or len(self.live) == self.rows.most:
                return False
            item = self.waiting.popleft()
        if item.is_left:
            self.metrics.count("sequences_left_total")
            return True
        self.metrics.took("queue_seconds", time.perf_counter() - item.submitted)
        if isinstance(item, Job):
            self._do(item)
        elif not self._begin_beside(item):
            self.desk.rewind(0)
            self.reading = item
            self.read = (
                score_on(item, *self.parts, self.desk) if item.scored
                else decoding.read_on(np.array([item.ids]), *self.parts, self.desk)
            )  # fmt: skip
        return True

    def _do(self, job):
        try:
            job.tell(job.work())
        except Exception as error:
            job.tell(error)

    def _begin_beside(self, sequence):
        """Does a row hold the same prompt, read for the same request? Then it need not be read again."""
        for i, other in enumerate(self.live):
            if other.ids is sequence.ids and other.first_logits is not None and not sequence.scored:
                row = self.rows.row(i)
                if row.can_rewind(len(sequence.ids)):  # else a band has moved on too far
                    self._begin(sequence, other.first_logits, row)
                    return True
        return False

    def _begin(self, sequence, logits, cache):
        """The prompt has been read into a cache: choose the first token, and take a row for those to come."""
        self.metrics.count("sequences_total")
        self._take(sequence, logits)
        if not sequence.is_over:
            sequence.first_logits = logits
            self.rows.join(cache, len(sequence.ids))
            self.live.append(sequence)

    def _take(self, sequence, logits):
        """One step of one text: what is wrong with it alone ends it alone."""
        try:
            if sequence.max_new == 0:
                sequence.end()
            else:
                sequence.take(logits)
                self._note(sequence)
        except Exception as error:
            sequence.fail(error)
        if sequence.is_over:
            self.metrics.took("sequence_seconds", time.perf_counter() - sequence.submitted)

    def _note(self, sequence):
        self.metrics.count("generated_tokens_total")
        if sequence.n_new == 1:
            self.metrics.took("time_to_first_token_seconds", sequence.first - sequence.submitted)

    def _step(self):
        """The next token of every row."""
        if not self.live:
            return
        began, n = time.perf_counter(), len(self.live)
        for start in range(0, n, self.together):
            end = min(start + self.together, n)
            ids = np.array([[sequence.last] for sequence in self.live[start:end]])
            logits = decoding.decode(ids, *self.parts, self.rows.part(start, end))
            for sequence, row in zip(self.live[start:end], logits, strict=True):
                self._take(sequence, row)
        self._remove(lambda sequence: sequence.is_over)
        self.metrics.count("steps_total")
        self.metrics.took("step_seconds", time.perf_counter() - began)

    def _forget(self, sequence, error):
        self.reading = self.read = None
        sequence.fail(error)

    def _fail_all(self, error):
        """Everyone who waits is told; every row is free."""
        with self.changed:
            waiting, self.waiting = list(self.waiting), collections.deque()
        under_way = [self.reading] if self.reading is not None else []
        self.reading = self.read = None
        for item in [*waiting, *under_way, *self._remove(lambda _: True)]:
            item.fail(error)


def rows_that_fit(gpt, wanted=None):
    """How many rows to make: as many as asked for, or up to MOST_ROWS that fit half of the memory which is free."""
    if wanted is not None:
        return wanted
    free, each = memory.available(), budget.sequence_bytes(1, gpt.config.n_ctx, *(gpt.params, gpt.config, gpt.ops))
    return MOST_ROWS if free is None else max(1, min(MOST_ROWS, free // 2 // each))
