"""What the model writes while it learns: samples.txt in the run's folder.

Enter: prompts, and the model of the moment. Leave: one entry per measurement and prompt, the file replaced whole each
time. Every entry is drawn from the same seed, so that what changes from one to the next is the model; the run's own
random numbers are not touched. Next: training/state.py.
"""

import re

from .. import files, ops
from ..errors import InputError
from ..generation import text
from ..generation.request import Request, encode_prompt
from ..generation.sampling import Sampling

NAME = "samples.txt"
MOST_BYTES = 1 << 28  # an entry has 1 kB
_HEADER = re.compile(r"step ([\d,]+), ")  # at the start of a line; the text itself is indented
SAMPLING = Sampling(temperature=0.8, top_p=0.95)


class Samples:
    """The entries of samples.txt up to `last_step`; later ones belong to work that a resumed run does again."""

    def __init__(self, path, prompts, config, tokenizer, seed, last_step=0):
        self.path, self.prompts, self.config, self.tokenizer = path, prompts, config, tokenizer
        self.seed = seed
        self.entries = _read_entries(path, last_step) if prompts and path.exists() else []

    def add(self, step, loss, params):
        """Continue each prompt with the weights as they are -> the new entries as one text; "" without prompts."""
        request = Request(sampling=SAMPLING, seed=self.seed)
        # Plain NumPy whatever trains: a few hundred tokens of a small model are not worth the loading of kernels.
        parts = (params, self.config, ops, self.tokenizer, request)
        new = [entry(step, loss, prompt + text.generate([prompt], *parts)[0]) for prompt in self.prompts]
        if new:
            self.entries += new
            files.write_text(self.path, "\n".join(self.entries))
        return "\n".join(new)


def check(prompt, config, tokenizer):
    """InputError where a prompt cannot begin a text of this model."""
    n_tokens = len(encode_prompt(prompt, config, tokenizer))
    if not 0 < n_tokens < config.n_ctx:
        raise InputError(
            f"--sample: expected 1 to n_ctx - 1 = {config.n_ctx - 1} tokens, got {n_tokens}; "
            + ("begin with some text" if n_tokens == 0 else "give a shorter beginning")
        )


def entry(step, loss, text):
    """entry(250, "held-out loss 3.1", "To be") -> "step 250, held-out loss 3.1\\n  To be\\n" """
    return f"step {step:,}, {loss}\n  " + text.rstrip("\n").replace("\n", "\n  ") + "\n"


def _read_entries(path, last_step):
    """The entries of a file, each with its header; lines before the first header are dropped."""
    entries = []
    for line in files.read_text(path, MOST_BYTES).removesuffix("\n").split("\n"):
        if _HEADER.match(line):
            entries.append([line])
        elif entries:
            entries[-1].append(line)
    kept = [lines for lines in entries if _step(lines[0]) <= last_step]
    return ["\n".join(lines).rstrip("\n") + "\n" for lines in kept]


def _step(header):
    return int(_HEADER.match(header)[1].replace(",", ""))
