"""A trained model to a task.

Enter: a model and examples. Leave: a model for the task. Frozen blocks, rates by layer and early stopping are
training's (training/parts.py, training/stopping.py): they serve `train` as well.
To read: head (the classifier's arithmetic), lora (small corrections that learn), instructions (pairs of a prompt and a
completion), adapting (a run of these).
"""
