"""Of each exercise of notebook 05, plausible wrong answers, and a word of what the check says to each."""

HEAD = "import numpy as np\nfrom nanogpt_np import lens, ops\n"  # what the notebook has brought in

_SINGLE = """def dispensable(gpt, text, n):
    ids = np.array(gpt.tokenizer.encode(text))
    sites = [(part, layer) for layer in range(6) for part in ("attn_out", "ffn_out")]
    def loss(site):
        logits = lens.run(gpt, text, {site: np.zeros_like}).logits[:-1].astype(np.float64)
        return -np.log(ops.softmax(logits)[np.arange(len(ids) - 1), ids[1:]]).mean()
    return sorted(sites, key=loss)%s
"""

WRONG = {  # what an exercise is called -> (an answer, a word of what the check says)
    "rms_norm": [
        ("def rms_norm(x, weight, eps):\n    x = x - x.mean(axis=-1, keepdims=True)\n"
         "    return x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + eps) * weight",
         "mean left where it is"),
        ("def rms_norm(x, weight, eps):\n"
         "    return x / (np.sqrt(np.square(x).mean(axis=-1, keepdims=True)) + eps) * weight", "under the root"),
        ("def rms_norm(x, weight, eps):\n"
         "    return x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + eps)", "scaled by its weight"),
        ("def rms_norm(x, weight, eps):\n    return x / np.sqrt(np.square(x).mean() + eps) * weight", "the last axis"),
        ("def rms_norm(x, weight, eps):\n"
         "    return x / np.linalg.norm(x, axis=-1, keepdims=True) * weight", "the last axis"),
    ],
    "jacobian": [
        ("def jacobian(x):\n    return np.eye(len(x)) / np.sqrt(x.var() + 1e-5)", "a row of ones"),
        ("def jacobian(x):\n    return (np.eye(len(x)) - 1 / len(x)) / np.sqrt(x.var() + 1e-5)", "the centred row"),
        ("def jacobian(x):\n    n, std = len(x), np.sqrt(x.var() + 1e-5)\n    normed = (x - x.mean()) / std\n"
         "    return np.eye(n) - 1 / n - np.outer(normed, normed) / n", "moving a number"),
        ("def jacobian(x):\n    return ops.layer_norm_backward(np.ones(len(x)), x, np.ones(len(x)), 0 * x)[0]",
         "a matrix [4, 4]"),
    ],
    "dispensable": [
        (_SINGLE % "[:n]", "beside"),
        (_SINGLE % "[::-1][:n]", "costs least"),
        ("def dispensable(gpt, text, n):\n    return [('attn', 5)] * n", "layer) each"),
        (_SINGLE % "[:1] * n", "at most once"),
    ],
}  # fmt: skip
