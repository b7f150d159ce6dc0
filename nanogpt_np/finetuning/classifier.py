"""Classifier: config, params, labels and tokenizer of a model that says which class a text belongs to.

Enter: a directory, or the parts. Leave: logits, labels with probabilities, or a directory, which `transformers` opens
as GPT2ForSequenceClassification; from equal ids it gives equal logits. Next: finetuning/options.py.
"""

from typing import NamedTuple

import numpy as np

from .. import ops as numpy_ops
from .. import params as P
from ..errors import FileError, InputError, printable, shown
from ..files import as_path, read_json, short
from ..gpt import find_ops
from ..storage import checkpoint, registry
from ..storage.contents import CONFIG
from . import head, measures

ARCHITECTURE = "GPT2ForSequenceClassification"
MAX_LABELS = 1_000
BATCH_TOKENS = 4096  # of one pass, padding counted


class Answer(NamedTuple):
    """The likeliest class of a text, and how likely each one is."""

    label: str
    probability: float
    probabilities: dict  # {label: probability}, the likeliest first


class Classifier:
    """A model ready to classify: `config`, `params` (with `score`), `labels` (names), `tokenizer`, `ops`."""

    def __init__(self, config, params, labels, tokenizer, ops=numpy_ops):
        P.check({name: part for name, part in params.items() if name != "score"}, config)
        expected, got = (len(labels), config.n_embd), params["score"]["weight"].shape
        if got != expected:
            raise InputError(f"score.weight: expected {list(expected)} for {len(labels)} labels, got {list(got)}")
        if tokenizer is None:
            raise InputError("classifier: expected a model with vocab.json and merges.txt, got one without")
        self.config, self.params, self.labels, self.tokenizer = config, params, tuple(labels), tokenizer
        self.ops = find_ops(ops, P.count(params))
        if hasattr(self.ops, "quantize"):
            raise InputError("ops: expected numpy, numba or auto for a classifier, got int8 or int4")

    @classmethod
    def from_pretrained(cls, name_or_directory, ops="auto"):
        """Open a directory that save() or `transformers` wrote; FileError where it holds no classifier."""
        directory = registry.resolve(as_path(name_or_directory, "name_or_directory"))
        if not (directory / CONFIG).is_file():
            checkpoint.read_config(directory)
        labels = _read_labels(directory / CONFIG)
        config, params, tokenizer = checkpoint.load(directory, beside=(head.SCORE,))
        score = checkpoint.read_beside(directory, head.SCORE, (len(labels), config.n_embd))
        params = P.nest({name: array for name, array in P.walk(params)} | {head.SCORE: score})
        return cls(config, params, labels, tokenizer, ops)

    def save(self, directory, dtype="float32"):
        """Write config.json, model.safetensors and the vocabulary; `dtype`: "float32" or "float16"."""
        trunk = {name: part for name, part in self.params.items() if name != "score"}
        beside = checkpoint.Beside({head.SCORE: self.params["score"]["weight"]}, _about(self.labels, self.config))
        own = checkpoint.own_ops(self.ops)
        checkpoint.save(directory, self.config, trunk, self.tokenizer, dtype, own, beside=beside)

    def encode(self, text):
        """A text as the classifier reads it: its ids, at most n_ctx of them; InputError for an empty text."""
        ids = self.tokenizer.encode(text)[: self.config.n_ctx]
        if not ids:
            raise InputError("text: expected something to classify, got an empty text")
        return ids

    def features_of(self, rows):
        """Rows of ids -> what the head reads of each text [n, n_embd]; texts of like lengths are read together."""
        found = np.zeros((len(rows), self.config.n_embd), self.params["score"]["weight"].dtype)
        for indices in batches([len(row) for row in rows]):
            ids, lengths = head.pad([rows[i] for i in indices])
            found[indices] = head.features(ids, lengths, self.params, self.config, self.ops)
        return found

    def logits_of(self, rows):
        """Rows of ids -> logits [n, n_label]."""
        return self.ops.unembed(self.features_of(rows), self.params["score"]["weight"])

    def measure(self, rows, labels):
        """Rows of ids and the numbers of their labels -> measures.Measured."""
        return measures.measure(numpy_ops.softmax(self.logits_of(rows).astype(np.float64)), labels)

    def classify(self, texts):
        """The class of each text -> a list of Answer."""
        if isinstance(texts, str):
            raise InputError("texts: expected a list of texts, got one; put a single one in a list")
        if not texts:
            return []
        logits = self.logits_of([self.encode(text) for text in texts])
        return [self._answer(row) for row in numpy_ops.softmax(logits.astype(np.float64))]

    def _answer(self, probabilities):
        order = np.argsort(-probabilities, kind="stable")
        if not np.isfinite(probabilities).all():
            raise InputError("expected finite logits, got others; the weights are broken")
        ranked = {self.labels[i]: float(probabilities[i]) for i in order}
        return Answer(self.labels[order[0]], float(probabilities[order[0]]), ranked)


def batches(lengths, most_tokens=BATCH_TOKENS):
    """Indices in batches of at most so many tokens, padding too, shortest first: batches([9, 2], 9) -> [[1], [0]]"""
    found, batch = [], []
    for i in np.argsort(lengths, kind="stable").tolist():
        if batch and lengths[i] * (len(batch) + 1) > most_tokens:
            found.append(batch)
            batch = []
        batch.append(i)
    return [*found, batch] if batch else found


def _about(labels, config):
    """What config.json says of a head, in the words of `transformers`.

    Padding is <|endoftext|>, which encode() never makes, so no text ends in it: then the last token that is not padding
    is the last one of the text.
    """
    return {
        "architectures": [ARCHITECTURE],
        "id2label": {str(i): name for i, name in enumerate(labels)},
        "label2id": {name: i for i, name in enumerate(labels)},
        "num_labels": len(labels),
        "pad_token_id": config.eos_id,
        "problem_type": "single_label_classification",
    }


def _read_labels(path):
    """The names of the classes, in order, from config.json."""
    raw = read_json(path, checkpoint.MAX_CONFIG)
    names = raw.get("id2label") if isinstance(raw, dict) else None
    if not isinstance(names, dict) or not 2 <= len(names) <= MAX_LABELS:
        got = printable(names) if names is not None else "none"
        advice = "make a classifier: nanogpt-np finetune --task classify"
        raise FileError(f"{short(path)}: expected id2label with 2 to {MAX_LABELS:,} labels, got {got}; {advice}")
    labels = [names.get(str(i)) for i in range(len(names))]
    if not all(isinstance(name, str) for name in labels) or len(set(labels)) < len(labels):
        raise FileError(f"{short(path)}: expected id2label to name 0 to {len(names) - 1}, got {shown(names)}")
    return labels
