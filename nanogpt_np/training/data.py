"""From text files to batches of ids.

Enter: paths of UTF-8 files, documents separated by <|endoftext|>. Leave: for any step, ids and targets
[n_batch, n_ctx]. Which windows a step sees follows from the seed and the step alone, so there is nothing to save
but the step. Next: training/optim.py.
"""

import os
from pathlib import Path

import numpy as np

from .. import files
from ..errors import InputError
from ..tokenizer.bpe import END_OF_TEXT

# Characters from which on the compiled encoder is loaded (0.3 s) and used: 2 million take 0.4 s with it and 0.3 s
# without, 8 million 0.5 s and 0.95 s. Once after an installation, compiling adds 2 s.
LONG_CORPUS = 8_000_000


def read_documents(paths, digest=None):
    """The documents of all files, in order; InputError where a file holds none.

    `digest`, a hashlib object, is fed the bytes that were read: a pipe cannot be read a second time.
    """
    documents = []
    for path in paths:
        text = files.read_text(path)
        if digest is not None:
            digest.update(text.encode("utf-8"))  # UTF-8 has one spelling only, so these are the file's bytes
        found = [part.strip("\n") for part in text.split(END_OF_TEXT)]
        found = [part for part in found if part.strip()]
        if not found:
            raise InputError(f"{path}: expected text, got an empty file; name a file with something to learn from")
        documents += found
    return documents


def check_there(paths):
    """FileError where a name leads to nothing: said before a run's folder is made."""
    for path in paths:
        try:
            os.stat(path)
        except OSError as error:
            raise files.cannot_read(path, error) from error


def count_file_bytes(paths):
    """How many bytes some files hold together; what is no file counts nothing, and is named when it is read."""
    return sum(Path(path).stat().st_size for path in paths if Path(path).is_file())


def split_held_out(documents, share):
    """-> training documents, held-out documents: every (1/share)-th document is held out, counted from the last.

    split_held_out(["a", "b", "c", "d"], 0.5) -> ["a", "c"], ["b", "d"]
    Where there are too few documents for that, the last `share` of the last document's characters is held out.
    """
    if share <= 0.0:
        return documents, []
    every = round(1.0 / share)
    if len(documents) >= every:
        kept = [text for i, text in enumerate(documents) if (i + 1) % every]
        return kept, documents[every - 1 :: every]
    *kept, last = documents
    cut = len(last) - max(int(len(last) * share), 1)
    return [text for text in [*kept, last[:cut]] if text], [last[cut:]]


def encode_documents(documents, tokenizer):
    """One row of ids: <|endoftext|> before every document and at the very end (where the vocabulary has it)."""
    dtype = np.uint16 if tokenizer.n_vocab <= 1 << 16 else np.uint32
    end = np.array([] if tokenizer.eos_id is None else [tokenizer.eos_id], dtype)
    encode = tokenizer.encode_array if sum(map(len, documents)) >= LONG_CORPUS else tokenizer.encode
    parts = [part for text in documents for part in (end, np.asarray(encode(text), dtype))]
    return np.concatenate([*parts, end])


class Windows:
    """Cuts a long row of ids into windows of n_ctx + 1; every epoch has its own offset and its own order.

    InputError where the text is shorter than one window.
    """

    def __init__(self, ids, n_ctx, seed):
        if len(ids) < n_ctx + 1:
            raise InputError(
                f"expected at least n_ctx + 1 = {n_ctx + 1} tokens to train on, got {len(ids)}; "
                "use more text or a smaller --n-ctx"
            )
        self.ids, self.n_ctx, self.seed = ids, n_ctx, seed
        # an offset below n_ctx must still leave this many windows, each with one target more
        self.n_windows = max((len(ids) - 1) // n_ctx - 1, 1)
        self._order = (None, None)

    @property
    def n_tokens(self):
        """How many ids there are in all."""
        return len(self.ids)

    def batch(self, first, n_batch):
        """-> ids, targets [n_batch, n_ctx]: the `n_batch` windows from number `first` on, over all epochs."""
        starts = np.fromiter((self._start(first + i) for i in range(n_batch)), np.int64, n_batch)
        rows = self.ids[starts[:, None] + np.arange(self.n_ctx + 1)].astype(np.int64)
        return rows[:, :-1], rows[:, 1:]

    def _start(self, number):
        epoch, i = divmod(number, self.n_windows)
        if self._order[0] != epoch:
            rng = np.random.default_rng([self.seed, epoch])
            spare = len(self.ids) - 1 - self.n_windows * self.n_ctx
            starts = rng.integers(spare + 1) + self.n_ctx * rng.permutation(self.n_windows)
            self._order = (epoch, starts)
        return self._order[1][i]
