"""Make evaluation.npz: `python -m tests.goldens.make_evaluation` from the project's root.

Enter: seeded weights and ids, and the shipped model "stories" with sentences written for this (recipe.py). Leave: what
transformers makes of them, a text at a time, without a cache: log-probabilities of what is said, and is it greedy; and
of rows longer than the context, in the windows of lm_eval and of the guide of transformers. Nothing of nanogpt_np.
"""

from pathlib import Path

import numpy as np
import torch
import transformers
from lm_eval.utils import get_rolling_token_windows

from . import recipe
from .reference import build

HERE = Path(__file__).parent
STORIES = HERE.parent.parent / "weights" / "stories"


def said(model, before, ids):
    """-> the log-probability of each of some ids behind others, float64; was each the likeliest."""
    row = torch.tensor([before + ids])
    with torch.no_grad():
        logits = model(row[:, :-1]).logits[0, -len(ids) :]
    log_probs = torch.log_softmax(logits.double(), -1)[torch.arange(len(ids)), torch.tensor(ids)]
    return log_probs.numpy(), (logits.argmax(-1) == torch.tensor(ids)).numpy()


def rolled(model, ids, prefix, n_ctx, stride):
    """-> nats in lm_eval's windows, which lie `stride` apart."""
    windows = get_rolling_token_windows(ids, prefix, n_ctx, n_ctx - stride + 1)
    return -sum(said(model, inputs[: len(inputs) - len(new) + 1], new)[0].sum() for inputs, new in windows)


def guided(model, ids, n_ctx, stride):
    """-> (nats, tokens) as the guide of transformers to perplexity counts, with each window's own number of tokens."""
    nats, n_tokens, before = 0.0, 0, 0
    for begin in range(0, len(ids), stride):
        end = min(begin + n_ctx, len(ids))
        row = torch.tensor([ids[begin:end]])
        labels = row.clone()
        labels[:, : -(end - before)] = -100
        n = int((labels[:, 1:] != -100).sum())
        if n:
            with torch.no_grad():
                nats += float(model(row, labels=labels).loss) * n
        n_tokens += n
        before = end
        if end == len(ids):
            break
    return nats, n_tokens


def of_tiny():
    """Random weights, ids alone."""
    sizes = recipe.TINY._replace(tied=False)
    model = build(sizes, recipe.weights(sizes, recipe.TINY_SEED, recipe.TINY_STD))
    found = [said(model, *pair) for pair in recipe.pairs(sizes, 42)]
    row = recipe.tokens(sizes, 43, 75).tolist()
    return {
        "pairs/log_probs": np.concatenate([log_probs for log_probs, _ in found]),
        "pairs/likeliest": np.concatenate([likeliest for _, likeliest in found]),
        "row/rolling": np.array([rolled(model, row[1:], row[0], sizes.n_ctx, n) for n in recipe.ROW_STRIDES]),
        "row/guide": np.array([guided(model, row, sizes.n_ctx, n) for n in recipe.ROW_STRIDES]),
    }


def of_stories():
    """The shipped weights, from text: transformers' own tokenizer cuts it."""
    model = transformers.GPT2LMHeadModel.from_pretrained(STORIES).float().eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(STORIES)

    def text(before, words):
        whole, n = tokenizer(before + words)["input_ids"], len(tokenizer(before)["input_ids"])
        return said(model, whole[:n], whole[n:])

    words = [text(passage.rsplit(" ", 1)[0], " " + passage.rsplit(" ", 1)[1]) for passage in recipe.PASSAGES]
    choices = [text(context, " " + choice) for context, some, _ in recipe.QUESTIONS for choice in some]
    ids, end, n_ctx = tokenizer(recipe.story())["input_ids"], tokenizer.eos_token_id, model.config.n_positions
    return {
        "words/log_prob": np.array([log_probs.sum() for log_probs, _ in words]),
        "words/greedy": np.array([likeliest.all() for _, likeliest in words]),
        "words/last_log_prob": np.array([log_probs[-1] for log_probs, _ in words]),
        "words/last_greedy": np.array([likeliest[-1] for _, likeliest in words]),
        "choices/log_prob": np.array([log_probs.sum() for log_probs, _ in choices]),
        "choices/n_tokens": np.array([len(log_probs) for log_probs, _ in choices]),
        "story/n_tokens": np.array(len(ids)),
        "story/rolling": np.array([rolled(model, ids, end, n_ctx, n) for n in recipe.STORY_STRIDES]),
        "story/guide": np.array([guided(model, ids, n_ctx, n) for n in recipe.STORY_STRIDES]),
    }


def main():
    torch.set_num_threads(1)
    found = {f"tiny/{name}": array for name, array in of_tiny().items()}
    found |= {f"stories/{name}": array for name, array in of_stories().items()}
    np.savez_compressed(HERE / "evaluation.npz", **found)
    for name, array in found.items():
        print(name, array.shape, array.ravel()[:6])


if __name__ == "__main__":
    main()
