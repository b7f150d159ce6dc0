"""Of each exercise of notebook 00, plausible wrong answers, and a word of what the check says to each."""

HEAD = "import numpy as np\nfrom nanogpt_np import lens\n"  # what the notebook has brought in where a solution stands

WRONG = {  # what an exercise is called -> (an answer, a word of what the check says)
    "may_look": [
        ("def may_look(n):\n    return np.tril(np.ones((n, n), bool), k=-1)", "the diagonal"),
        ("def may_look(n):\n    return np.triu(np.ones((n, n), bool))", "what comes later"),
        ("def may_look(n):\n    return np.tril(np.ones((n, n)))", "a bool array"),
        ("def may_look(n):\n    return n / 0", "ZeroDivisionError"),
    ],
    "continue_text": [
        ("def continue_text(next_logits, ids, n):\n"
         "    return [int(next_logits(ids)[-1].argmax()) for _ in range(n)]", "the given ones first"),
        ("def continue_text(next_logits, ids, n):\n    ids = list(ids)\n    for _ in range(n):\n"
         "        ids.append(int(next_logits(ids)[0].argmax()))\n    return ids", "the likeliest token"),
        ("def continue_text(next_logits, ids, n):\n    for _ in range(n):\n"
         "        ids.append(int(next_logits(ids)[-1].argmax()))\n    return ids", "the given list as it was"),
    ],
    "decided": [
        ("from nanogpt_np import lens\ndef decided(gpt, text):\n"
         "    ids = lens.logit_lens_view(gpt, text).ids[2::2]\n"
         "    return [int((c == c[-1]).argmax()) + 1 for c in ids.T]", "still changes"),
        ("def decided(gpt, text):\n    return [6] * len(gpt.tokenizer.encode(text))", "an earlier block"),
        ("def decided(gpt, text):\n    return [0] * len(gpt.tokenizer.encode(text))", "numbers from 1 to 6"),
    ],
}  # fmt: skip
