"""Small training runs that several test files make."""

from pathlib import Path

import numpy as np

from nanogpt_np.training.options import TrainOptions

WORDS = "the a cat dog sun sat ran saw big red on by and then they we said no yes".split()


def write_stories(path, n=120, seed=0):
    """Small documents of random words."""
    rng = np.random.default_rng(seed)
    stories = [" ".join(rng.choice(WORDS, rng.integers(8, 20))).capitalize() + "." for _ in range(n)]
    path.write_text("\n<|endoftext|>\n".join(stories), encoding="utf-8")
    return str(path)


def options(tmp_path, out="run", **changes):
    settings = dict(n_vocab=280, n_ctx=16, n_embd=16, n_layer=2, n_head=2, steps=12, batch_size=2, warmup=2,
                    eval_every=5, log_every=2, held_out=0.1, dropout=0.1)  # fmt: skip
    text = tmp_path / "stories.txt"
    text = str(text) if text.exists() else write_stories(text)
    return TrainOptions([text], str(tmp_path / out), **settings | changes)


def files_of(out, *names):
    return {name: (Path(out) / name).read_bytes() for name in names}
