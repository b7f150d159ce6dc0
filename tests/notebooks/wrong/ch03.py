"""Of each exercise of notebook 03, plausible wrong answers, and a word of what the check says to each."""

HEAD = "import numpy as np\nfrom nanogpt_np import lens, ops\n"

_SOFTMAX = "    e = np.exp(s - s.max(axis=-1, keepdims=True))\n    p = e / e.sum(axis=-1, keepdims=True)\n"
_CAUSAL = "    s = np.where(np.tri(len(q), dtype=bool), s, -np.inf)\n"
_EDGES = (
    "def edge_effects(gpt, text, layer, head):\n"
    "    def answer(changes=None):\n"
    "        p = ops.softmax(lens.run(gpt, text, changes).logits[-1].astype(float))\n        return np.log(p)\n"
    "    def cut(probs, key):\n        CUT\n        return probs\n"
    "    whole, n = answer(), len(lens.look(gpt, text).ids)\n"
    "    cuts = [{('probs', layer): lambda probs, key=key: cut(probs, key)} for key in range(n)]\n"
    "    return np.array([EFFECT for c in cuts])"
)
_DIVERGENCE = "(np.exp(whole) * (whole - answer(c))).sum()"

WRONG = {  # what an exercise is called -> (an answer, a word of what the check says)
    "head": [
        ("def head(q, k, v):\n    s = q @ k.T / np.sqrt(q.shape[-1])\n" + _SOFTMAX + "    return p @ v", "comes later"),
        ("def head(q, k, v):\n    s = q @ k.T / np.sqrt(q.shape[-1])\n" + _SOFTMAX
         + "    return (p * np.tri(len(q))) @ v", "took part in the softmax"),
        ("def head(q, k, v):\n    s = q @ k.T / np.sqrt(q.shape[-1]) * np.tri(len(q))\n" + _SOFTMAX
         + "    return p @ v", "scores of 0"),
        ("def head(q, k, v):\n    s = q @ k.T\n" + _CAUSAL + _SOFTMAX + "    return p @ v", "divided"),
        ("def head(q, k, v):\n    s = q @ k.T / np.sqrt(len(q))\n" + _CAUSAL + _SOFTMAX + "    return p @ v",
         "another divisor"),
        ("def head(q, k, v):\n    s = q @ k.T / np.sqrt(q.shape[-1])\n" + _CAUSAL
         + "    e = np.exp(s)\n    return e / e.sum(axis=-1, keepdims=True) @ v", "finite"),
        ("def head(q, k, v):\n    s = q @ k.T / np.sqrt(q.shape[-1])\n" + _CAUSAL
         + "    e = np.exp(s - s.max())\n    return e / e.sum(axis=0, keepdims=True) @ v", "its own value"),
        ("def head(q, k, v):\n    return q @ k.T", "an array [4, 3]"),
    ],
    "look_back": [
        ("def look_back(n, distance):\n    p = np.eye(n)\n    return p[np.maximum(np.arange(n) - distance, 0)], p",
         "the right token, with"),
        ("def look_back(n, distance):\n    p = np.eye(n)\n    return 9 * p[np.maximum(np.arange(n) - distance, 0)], p",
         "the right token, with"),
        ("def look_back(n, distance):\n    p = np.eye(n)\n    return 99 * n * np.roll(p, -distance, axis=0), p",
         "comes later"),
        ("def look_back(n, distance):\n    p = np.eye(n)\n    return 99 * n * np.roll(p, 1, axis=0), p",
         "token 1 to look at token 1"),
        ("def look_back(n, distance):\n    return np.eye(n)", "a pair of arrays"),
        ("def look_back(n, distance):\n    return np.where(np.eye(n, k=-distance) > 0, 0.0, -np.inf), np.eye(n)",
         "finite"),
    ],
    "edge_effects": [
        ("def edge_effects(gpt, text, layer, head):\n    return lens.attention_view(gpt, text, layer, head).probs[-1]",
         "the weights themselves"),
        (_EDGES.replace("CUT", "probs[head, -1, key] = 0; probs[head, -1] /= max(probs[head, -1].sum(), 1e-9)")
         .replace("EFFECT", _DIVERGENCE), "not divided again"),
        (_EDGES.replace("CUT", "probs[head, :, key] = 0").replace("EFFECT", _DIVERGENCE), "last token's query alone"),
        (_EDGES.replace("CUT", "probs[head, -1, key] = 0")
         .replace("EFFECT", "(answer(c) - whole)[whole.argmax()]"), "never below 0"),
        (_EDGES.replace("CUT", "probs[head, -1, key] = 0").replace("EFFECT", _DIVERGENCE + " / np.log(2)"), "bits"),
    ],
}  # fmt: skip
