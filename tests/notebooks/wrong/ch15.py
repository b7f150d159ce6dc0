"""Of each exercise of notebook 15, plausible wrong answers, and a word of what the check says to each."""

HEAD = "import numpy as np\nfrom nanogpt_np import lens, ops\n"

WRONG = {
    "prefix_mask": [
        ("def prefix_mask(n_prompt, n_seq):\n    return np.tril(np.ones((n_seq, n_seq), bool))", "may see all of it"),
        ("def prefix_mask(n_prompt, n_seq):\n    mask = np.tril(np.ones((n_seq, n_seq), bool))\n"
         "    mask[:n_prompt] = True\n    return mask", "which is later"),
        ("def prefix_mask(n_prompt, n_seq):\n    mask = np.zeros((n_seq, n_seq), bool)\n"
         "    mask[:, :n_prompt] = True\n    return mask", "which is not later"),
        ("def prefix_mask(n_prompt, n_seq):\n    return np.tril(np.ones((n_seq, n_seq)))", "a bool array"),
    ],
    "bert_inputs": [
        ("def bert_inputs(ids, mask_id, rng):\n    asked = rng.random(ids.shape) < 0.15\n"
         "    return np.where(asked, mask_id, ids), np.where(asked, ids, ops.IGNORE)", "mask_id at 0.8"),
        ("def bert_inputs(ids, mask_id, rng):\n    asked = rng.random(ids.shape) < 0.15\n"
         "    how, other = rng.random(ids.shape), rng.integers(0, mask_id, ids.shape)\n"
         "    shown = np.where(how < 0.8, mask_id, other)\n"
         "    return np.where(asked, shown, ids), np.where(asked, ids, ops.IGNORE)", "as it is"),
        ("def bert_inputs(ids, mask_id, rng):\n    asked = rng.random(ids.shape) < 0.15\n"
         "    ids[asked] = mask_id\n    return ids, np.where(asked, ids, ops.IGNORE)", "the given ids as they were"),
        ("def bert_inputs(ids, mask_id, rng):\n    asked, how = rng.random(ids.shape) < 0.15, rng.random(ids.shape)\n"
         "    shown = np.where(how < 0.8, mask_id, np.where(how < 0.9, rng.integers(0, mask_id, ids.shape), ids))\n"
         "    return np.where(asked, shown, ids), ids", "0.15 of the places"),
        ("def bert_inputs(ids, mask_id, rng):\n    asked, how = rng.random(ids.shape) < 0.15, rng.random(ids.shape)\n"
         "    other = rng.integers(0, mask_id + 1, ids.shape)\n"
         "    shown = np.where(how < 0.8, mask_id, np.where(how < 0.9, other, ids))\n"
         "    return np.where(asked, shown, ids), np.where(asked, ids, ops.IGNORE)", "never as the random token"),
    ],
    "fill": [
        ("def fill(gpt, left, right, candidates):\n    def loss(text):\n"
         "        return np.nansum(lens.tokens_view(gpt, text).losses)\n"
         "    return min(candidates, key=lambda c: loss(left + c))", "likeliest"),
        ("def fill(gpt, left, right, candidates):\n    def loss(text):\n"
         "        return np.nanmean(lens.tokens_view(gpt, text).losses)\n"
         "    return min(candidates, key=lambda c: loss(left + c + right))", "likeliest"),
        ("def fill(gpt, left, right, candidates):\n    def loss(text):\n"
         "        return np.nansum(lens.tokens_view(gpt, text).losses)\n"
         "    return max(candidates, key=lambda c: loss(left + c + right))", "likeliest"),
    ],
}  # fmt: skip
