"""What a server has done and how long it took, as Prometheus reads it.

Enter: counts and seconds, from the thread that computes and the one that answers. Leave: the text of /metrics
(https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4). Next: explore/batching.py.
"""

import bisect
import threading

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
PREFIX = "nanogpt_np_"
TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Histogram:
    """How many of some values were at most so large, and their sum."""

    def __init__(self):
        self.counts, self.sum = [0] * (len(SECONDS) + 1), 0.0

    def add(self, value):
        """One more value."""
        self.counts[bisect.bisect_left(SECONDS, value)] += 1
        self.sum += value

    @property
    def n(self):
        """How many values."""
        return sum(self.counts)

    def lines(self, name):
        """The lines of one histogram; each bucket holds those below it, too."""
        below = 0
        for bound, count in zip((*SECONDS, "+Inf"), self.counts, strict=True):
            below += count
            yield f'{name}_bucket{{le="{bound}"}} {below}'
        yield f"{name}_sum {self.sum!r}"
        yield f"{name}_count {below}"


class Metrics:
    """The numbers of one server; every method may be called from any thread."""

    COUNTS = {
        "prompt_tokens_total": "Tokens of prompts that were read.",
        "generated_tokens_total": "Tokens that were chosen.",
        "sequences_total": "Texts that were begun.",
        "sequences_left_total": "Texts whose client went away.",
        "steps_total": "Passes that gave each row its next token.",
        "refused_total": "Requests that found the queue full.",
    }
    TIMES = {
        "queue_seconds": "From a text's arrival to the reading of its prompt.",
        "time_to_first_token_seconds": "From a text's arrival to its first token.",
        "sequence_seconds": "From a text's arrival to its end.",
        "step_seconds": "One pass over all rows, with the choice of tokens.",
    }

    def __init__(self):
        self.lock = threading.Lock()
        self.counts, self.times = dict.fromkeys(self.COUNTS, 0), {name: Histogram() for name in self.TIMES}
        self.answers = {}  # (path, status) -> how many

    def count(self, name, n=1):
        """So many more."""
        with self.lock:
            self.counts[name] += n

    def took(self, name, seconds):
        """One more time."""
        with self.lock:
            self.times[name].add(seconds)

    def answered(self, path, status):
        """One more answer; `path` is that of a route, never a client's own words."""
        with self.lock:
            self.answers[path, status] = self.answers.get((path, status), 0) + 1

    def mean(self, name):
        """The mean of a time so far, in seconds; 0 before the first."""
        with self.lock:
            return self.times[name].sum / max(self.times[name].n, 1)

    def text(self, now):
        """All of it; `now`: {name: (what it is, a number)} of what goes up and down."""
        with self.lock:
            lines = [line for name, about in self.COUNTS.items()
                     for line in (*_head(name, about, "counter"), f"{PREFIX}{name} {self.counts[name]}")]  # fmt: skip
            lines += _head("answers_total", "Answers by route and status.", "counter")
            lines += [f'{PREFIX}answers_total{{path="{path}",status="{status}"}} {n}'
                      for (path, status), n in sorted(self.answers.items())]  # fmt: skip
            for name, about in self.TIMES.items():
                lines += [*_head(name, about, "histogram"), *self.times[name].lines(PREFIX + name)]
        for name, (about, value) in now.items():
            lines += [*_head(name, about, "gauge"), f"{PREFIX}{name} {value}"]
        return "\n".join(lines) + "\n"


def _head(name, about, kind):
    return f"# HELP {PREFIX}{name} {about}", f"# TYPE {PREFIX}{name} {kind}"
