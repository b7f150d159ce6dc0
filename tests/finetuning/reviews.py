"""Labelled texts that can be told apart, as a CSV file."""

import numpy as np

GOOD, BAD, BOTH = "good sun joy".split(), "bad rain woe".split(), "the a cat sat on it and so".split()


def write_csv(path, n=120, seed=0, header="text,label"):
    """Each text has two words of its class among some of both."""
    rng = np.random.default_rng(seed)
    lines = [header]
    for i in range(n):
        words = [*rng.choice(BOTH, rng.integers(1, 4)), *rng.choice(BAD if i % 2 else GOOD, 2)]
        lines.append(f"{i} {' '.join(rng.permutation(words))},{'bad' if i % 2 else 'good'}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)
