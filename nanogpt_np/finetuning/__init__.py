"""A trained model to a task.

Enter: a model and examples. Leave: a model for the task. Frozen blocks, rates by layer and early stopping are
training's (training/parts.py, training/stopping.py): they serve `train` as well.
To read: head (a classifier's arithmetic), examples, measures, pictures, logistic, beside (what it has to beat),
classifier, options, results, run; lora (small corrections that learn), instructions (pairs of a prompt and a
completion), adapting (a run of these).
"""

from .adapting import LoraOptions
from .classifier import Answer, Classifier
from .options import ClassifyOptions

__all__ = ["Answer", "Classifier", "ClassifyOptions", "LoraOptions"]
