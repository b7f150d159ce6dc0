"""Kills a training run with SIGKILL before each of its file operations, and goes on: `kills.py FOLDER EVERY`.

Not a test file: tests/training/test_kills.py runs it, as a process of its own that may fork. Prints one line for each
place after which something is wrong, then how many places there were; EVERY = 5 tries each fifth of them.
"""

import os
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from runs import options

from nanogpt_np import files, ops
from nanogpt_np.storage import checkpoint
from nanogpt_np.training import folder, loop, picture, state

SAME = ("model.safetensors", "training_state.safetensors", "vocab.json", "merges.txt", "config.json",
        "best/config.json", "best/model.safetensors", "best/measured.json", "samples.txt", "loss.png")  # fmt: skip


class Killer:
    """Counts file operations, and ends the process before the one with number `last`."""

    def __init__(self, last=None):
        self.n, self.last = 0, last
        os.fsync = lambda handle: None  # what is killed leaves its files to the system, which has them all
        for module, names in ((os, ("mkdir", "replace", "rename", "fsync", "unlink")), (tempfile, ("mkstemp",))):
            for name in names:
                setattr(module, name, self.before(getattr(module, name)))
        for module in (state, checkpoint):
            module.save_file = self.within(module.save_file)

    def count(self):
        self.n += 1
        return self.n == self.last

    def before(self, operation):
        def counted(*arguments, **options):
            if self.count():
                os.kill(os.getpid(), signal.SIGKILL)
            return operation(*arguments, **options)

        return counted

    def within(self, write):
        """Half of a large file is on the disk."""

        def counted(tensors, path, metadata):
            write(tensors, path, metadata)
            if self.count():
                os.truncate(path, os.path.getsize(path) // 2)
                os.kill(os.getpid(), signal.SIGKILL)

        return counted


def draw_nothing(log, path, title, *_):
    """A picture takes longer than all the rest; how it comes to its name is the same."""
    files.write_text(path, title.split(":")[-1] + ",".join(str(row["step"]) for row in log.rows))


def go(out, last=None, resume=False):
    """Train, in a process of its own -> its exit status, negative for a signal; 0 with the count in the file `n`."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            killer = Killer(last)
            run = options(out.parent, out.name, n_vocab=262, n_layer=1, n_ctx=8, n_embd=4, steps=2, eval_every=2,
                          log_every=1, checkpoint_minutes=0.0, sample=["the"])  # fmt: skip
            loop.train(folder.resume_options(run.out) if resume else run, ops, resume, progress=False)
            (out.parent / "n").write_text(str(killer.n))
            status = 0
        except Exception as error:
            print(f"{type(error).__name__}: {error}", flush=True)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def names(out):
    """Everything in a folder."""
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*"))


def main(base, every):
    """-> how many places were tried."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # a text this short is warned of, each time
    picture.save = draw_nothing
    whole = base / "whole"
    assert go(whole) == 0
    n_places = int((base / "n").read_text())
    for place in range(1, n_places + 1, every):
        out = base / f"killed-{place}"
        killed = go(out, place)
        resume = (out / folder.NAME).exists()
        after = go(out, resume=resume)
        wrong = [name for name in SAME if after or (out / name).read_bytes() != (whole / name).read_bytes()]
        if killed != -signal.SIGKILL or after or wrong or names(out) != names(whole):
            extra = sorted(set(names(out)) ^ set(names(whole)))
            print(f"place {place}: status {killed}, then {after} (resume: {resume}); other: {wrong}, {extra}")
    print(f"{n_places} places")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
