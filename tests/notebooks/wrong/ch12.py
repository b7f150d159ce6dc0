"""Of each exercise of notebook 12, plausible wrong answers, and a word of what the check says to each."""

HEAD = "import numpy as np\nfrom nanogpt_np import lens\n"  # what the notebook has brought in where a solution stands

CUT = "def knock_out(gpt, prompt, layer, head, query, key):\n    def cut(probs):\n"
RUN = "\n        return probs\n    return lens.run(gpt, prompt, {('probs', layer): cut})"

WRONG = {  # what an exercise is called -> (an answer, a word of what the check says)
    "mean_output": [
        ("def mean_output(runs, layer):\n"
         "    return np.mean([run.sites['mixed', layer].mean(axis=1) for run in runs], axis=0)", "counts more"),
        ("def mean_output(runs, layer):\n"
         "    return np.concatenate([run.sites['mixed', layer] for run in runs], axis=1).mean(axis=0)",
         "an array [8, 32]"),
        ("def mean_output(runs, layer):\n"
         "    return np.mean([run.sites['mixed', layer][:, -1] for run in runs], axis=0)", "last tokens only"),
        ("def mean_output(runs, layer):\n"
         "    return sum(run.sites['mixed', layer].sum(axis=1) for run in runs) / len(runs)", "the number of texts"),
        ("def mean_output(runs, layer):\n    return np.mean([run.sites['mixed', layer] for run in runs])", "Error"),
        ("def mean_output(runs, layer):\n"
         "    return np.concatenate([run.sites['v', layer] for run in runs], axis=1).mean(axis=1)",
         "first number of head 0"),
    ],
    "knock_out": [
        (f"{CUT}        probs[head, query, key] = 0{RUN}", "sum to 1 again"),
        (f"{CUT}        probs[head, :, key] = 0\n        probs[head] /= probs[head].sum(axis=-1, keepdims=True){RUN}",
         "the row of query"),
        (f"{CUT}        probs[:, query, key] = 0\n"
         f"        probs[:, query] /= probs[:, query].sum(axis=-1, keepdims=True){RUN}", "a change in head 7 alone"),
        (f"{CUT}        probs[head, key, query] = 0{RUN}", "nothing is changed"),
        (f"{CUT}        probs[head, query, key] = 0\n"
         f"        probs[head, query, query] += 1 - probs[head, query].sum(){RUN}",
         "grow in proportion"),
        ("def knock_out(gpt, prompt, layer, head, query, key):\n    return lens.ablate(gpt, prompt, layer, head=head)",
         "the look is gone"),
        ("def knock_out(gpt, prompt, layer, head, query, key):\n    return lens.run(gpt, prompt).logits", "a Run"),
    ],
    "pronoun_heads": [
        ("def pronoun_heads():\n    return [(3, 4), (4, 7), (5, 4)]", "mostly something else"),
        ("def pronoun_heads():\n    return [(5, 6), (3, 4)]", "others are missing"),
        ("def pronoun_heads():\n    return [(layer, head) for layer in range(6) for head in range(8)]", "at most five"),
        ("def pronoun_heads():\n    return [6, 4, 0, 3]", "a list of pairs"),
        ("def pronoun_heads():\n    return [(6, 5), (4, 3)]", "layers from 0 to 5"),
    ],
}  # fmt: skip
