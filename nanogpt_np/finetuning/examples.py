"""Labelled texts from a CSV file, and their fixed parts: what is learned, what chooses, what is only measured.

Enter: a UTF-8 file with a line of column names. Leave: Examples; three parts, 80 : 10 : 10, by a hash of each text, so
that a text is always in the same part, whatever stands beside it, and its copies are too. A file that cannot be
learned from is refused in one line. Next: finetuning/measures.py.
"""

import csv
import hashlib
import io
from typing import NamedTuple

import numpy as np

from .. import files
from ..errors import FileError, InputError, printable, shown

MAX_BYTES = 1 << 28  # of a file; 256 MiB are some two million sentences
MAX_LABELS = 1_000
LONGEST_LABEL = 200  # characters
PARTS = ("train", "validation", "test")
SHARES = (0.8, 0.9, 1.0)  # where each part ends between 0 and 1
TEXT, LABEL = "text", "label"  # the usual names of the two columns


class Examples(NamedTuple):
    """Texts and the number of each one's label; `names` are the labels, sorted."""

    texts: list  # [n] of str
    labels: np.ndarray  # int64 [n]
    names: tuple  # [n_label] of str

    def take(self, indices):
        """Some of them, in that order, under the same names."""
        return Examples([self.texts[i] for i in indices], self.labels[np.asarray(indices, np.int64)], self.names)


def read(paths, text_column=TEXT, label_column=LABEL, known=None, digest=None):
    """The Examples of some CSV files; `digest`, a hashlib object, is fed the bytes that were read.

    `known`: the labels of a classifier, which are then the names, and no other label may come. FileError, with the
    line, where a text or a label is missing, for zero bytes, for what is no CSV, and where there are fewer than two
    labels, or very many.
    """
    pairs = [pair for path in paths for pair in _read_one(path, text_column, label_column, digest)]
    names = _names(paths, pairs, label_column) if known is None else tuple(known)
    number = {name: i for i, name in enumerate(names)}
    for where, _, label in pairs:
        if label not in number:
            seen = printable(", ".join(map(shown, names)))
            raise FileError(f"{where}: expected a label that was seen in training, {seen}, got {shown(label)}")
    labels = np.array([number[label] for *_, label in pairs], np.int64)
    return Examples([text for _, text, _ in pairs], labels, names)


def _names(paths, pairs, label_column):
    """The labels there are, sorted."""
    names = tuple(sorted({label for *_, label in pairs}))
    if not 2 <= len(names) <= MAX_LABELS:
        got = f"{len(names):,}" + (f", {shown(names[0])}" if len(names) == 1 else "")
        where, advice = files.short(paths[0]), f"is {shown(label_column)} the column of the labels?"
        raise FileError(f"{where}: expected 2 to {MAX_LABELS:,} different labels, got {got}; {advice}")
    return names


def _read_one(path, text_column, label_column, digest):
    where, text = files.short(path), files.read_text(path, MAX_BYTES)
    if digest is not None:
        digest.update(text.encode("utf-8"))
    yield from _rows(where, text.removeprefix("\ufeff"), text_column, label_column)


def _rows(where, text, text_column, label_column):
    """(place, text, label) of every row, all known to be there."""
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise FileError(f"{where}: line {line:,}: expected text, got a zero byte; save the file as UTF-8 CSV")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        first = next(reader, [])
        places = _columns(where, first, text_column, label_column)
        n_rows = 0
        for row in reader:
            if row:
                yield _pair(f"{where}: line {reader.line_num:,}", row, len(first), places, (text_column, label_column))
                n_rows += 1
    except csv.Error as error:
        why = printable(str(error))
        raise FileError(f"{where}: line {reader.line_num:,}: expected CSV, got an error: {why}") from error
    if not n_rows:
        raise FileError(f"{where}: expected rows below the names of the columns, got none")


def _columns(where, first, *wanted):
    """Where the two columns stand."""
    names = [name.strip() for name in first]
    for name, flag in zip(wanted, ("--text-column", "--label-column"), strict=True):
        if names.count(name) != 1:
            got = printable(", ".join(names)) or "an empty file"
            advice = f"name another one by {flag}"
            raise FileError(f"{where}: expected one column {shown(name)} in the first line, got {got}; {advice}")
    return [names.index(name) for name in wanted]


def _pair(where, row, n_columns, places, columns):
    if len(row) != n_columns:
        advice = 'a text with a comma needs quotes, "like, this"'
        raise FileError(f"{where}: expected {n_columns} columns as in the first line, got {len(row)}; {advice}")
    text, label = (row[place].strip() for place in places)
    for value, name in zip((text, label), columns, strict=True):
        if not value:
            raise FileError(f"{where}: expected a {printable(name)}, got an empty one; fill it in, or remove the line")
    if len(label) > LONGEST_LABEL:
        raise FileError(f"{where}: expected a label of at most {LONGEST_LABEL} characters, got {len(label):,}")
    return where, text, label


def part_of(text):
    """Where a text belongs: part_of("simplistic , silly and tedious .") -> "train" """
    place = int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big") / 2.0**64
    return next(part for part, end in zip(PARTS, SHARES, strict=True) if place < end)


def split(examples, most=None):
    """{"train": Examples, "validation": …, "test": …}; InputError where a label has nothing to be learned from.

    `most`: learn from so many at most: those whose hash is smallest, so that a larger number holds a smaller one.
    """
    found = {part: [] for part in PARTS}
    for i, text in enumerate(examples.texts):
        found[part_of(text)].append(i)
    if most is not None:
        found["train"] = sorted(found["train"], key=lambda i: _order(examples.texts[i]))[:most]
    parts = {part: examples.take(indices) for part, indices in found.items()}
    _check_parts(examples, parts)
    return parts


def _check_parts(examples, parts):
    """InputError where a label has nothing to be learned from, and where there is nothing to measure on."""
    learned = set(parts["train"].labels.tolist())
    for i, name in enumerate(examples.names):
        if i not in learned:
            n, got = int((examples.labels == i).sum()), "none of them in the four fifths that are learned"
            raise InputError(f"label {shown(name)}: expected examples to learn from, got {n:,} and {got}; add some")
    for part in PARTS[1:]:
        if not parts[part].texts:
            got = f"{len(examples.texts):,} and none of them in the tenth for {part}"
            raise InputError(f"expected examples to measure on, got {got}; add some")


def _order(text):
    return hashlib.sha256(b"order" + text.encode("utf-8")).digest()


def balanced(labels, n_label):
    """What a text of each class should count so that every class counts the same: n / (n_label * n of the class).

    float64 [n_label]; the mean over all texts is 1. balanced(np.array([0, 0, 0, 1]), 2)[1].item() -> 2.0
    """
    return len(labels) / (n_label * np.bincount(labels, minlength=n_label))
