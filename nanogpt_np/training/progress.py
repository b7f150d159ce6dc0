"""What a run says while it goes: a bar where somebody looks at it, plain lines where a file collects them.

Enter: steps and sentences. Leave: a bar on standard error if that is a terminal, sentences on standard output.
Next: training/loop.py.
"""

import sys
import time

from tqdm import tqdm

N_TIMED = 5  # steps; the one before them is not timed, as it loads and compiles


class Progress:
    """Says how far a run is; silent where `shown` is false."""

    def __init__(self, total, initial, shown=True):
        self.total, self.initial, self.shown = total, initial, shown
        with_bar = shown and on_terminal()
        self.bar = tqdm(total=total, initial=initial, unit="step", disable=not with_bar, dynamic_ncols=True)
        self.timed_from = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.bar.close()

    def step_done(self, step):
        """One step more. After the first few, once: how long it will take."""
        self.bar.update()
        n_done = step - self.initial
        if n_done == 1:
            self.timed_from = time.perf_counter()
        if n_done == 1 + N_TIMED and step < self.total:
            seconds = (time.perf_counter() - self.timed_from) / N_TIMED
            self.say(expectation(seconds, self.total - step))

    def numbers(self, text):
        """What stands beside the bar."""
        self.bar.set_postfix_str(text)

    def say(self, text):
        """One sentence, above the bar if there is one."""
        if self.shown:
            with tqdm.external_write_mode():
                print(text, flush=True)


def on_terminal():
    """Does somebody look at standard error?"""
    return sys.stderr is not None and sys.stderr.isatty()


def expectation(seconds, n_steps):
    """How long is left, in words.

    expectation(2, 9) -> "2 s per step: about 18 seconds for the 9 steps left, and measuring and saving besides"
    """
    left = seconds * n_steps
    words = f"{left / 60:,.0f} minutes" if left >= 90 else f"{left:,.0f} seconds"
    return f"{seconds:.3g} s per step: about {words} for the {n_steps:,} steps left, and measuring and saving besides"
