"""When to stop: as soon as what is measured has not become better for some time (Prechelt 1998, section 2), or somebody
asks for it by a signal.

Enter: what was measured, again and again; signals. Leave: whether it was the best, whether there is any use in going
on; a wish to end after this step. Next: training/evaluation.py.
"""

import contextlib
import math
import os
import signal
import threading

from ..errors import check_whole


class Stopping:
    """The lowest loss so far (`loss`, infinite before the first), the step that had it, and how many were not lower.

    `patience`: so many measurements in a row without a new lowest one end a run; None: none do.
    """

    def __init__(self, patience=None):
        if patience is not None:
            check_whole("patience", patience, least=1)
        self.patience, self.step, self.loss, self.n_worse = patience, None, math.inf, 0

    def offer(self, step, loss):
        """Take note of a measurement -> was it the lowest? A NaN never is."""
        if loss < self.loss:
            self.step, self.loss, self.n_worse = step, loss, 0
            return True
        self.n_worse += 1
        return False

    @property
    def is_over(self):
        """Has patience run out?"""
        return self.patience is not None and self.n_worse >= self.patience

    def to_dict(self):
        """All of it as JSON can hold it, for a run that goes on later."""
        return {"step": self.step, "loss": None if self.step is None else self.loss, "n_worse": self.n_worse}

    def put_back(self, stored):
        """Go on from what to_dict() said."""
        self.step, self.n_worse = stored["step"], stored["n_worse"]
        self.loss = math.inf if stored["loss"] is None else stored["loss"]


class StopSignal:
    """Turns the first Ctrl-C (or SIGTERM) into a wish, so that no step is cut in half; a second one stops at once."""

    def __init__(self, speaks=True):
        self.speaks = speaks

    def __enter__(self):
        self.asked = False
        self.before = {}
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self.ask)
        return self

    def ask(self, number, frame):
        """Remember the wish and give the signal its old meaning back."""
        self.asked = True
        self.__exit__()
        if not self.speaks:
            return
        with contextlib.suppress(OSError):  # a print may be under way, in which no other may begin
            os.write(2, b"\nstopping after this step, which is saved; once more stops at once\n")

    def __exit__(self, *exception):
        for number, handler in self.before.items():
            signal.signal(number, handler)
