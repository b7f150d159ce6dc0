"""Of each exercise of notebook 02, plausible wrong answers, and a word of what the check says to each."""

HEAD = "import numpy as np\nfrom nanogpt_np import lens, ops\n"

_UNIT = "    u = table / np.linalg.norm(table, axis=1, keepdims=True)\n"
_STEP = (
    "def step_matrix(n_embd, k):\n    M = np.zeros((n_embd, n_embd))\n    for j in range(0, n_embd, 2):\n"
    "        a = k * 10_000 ** (-SPEED / n_embd)\n        c, s = np.cos(a), np.sin(a)\n"
    "        M[j : j + 2, j : j + 2] = TURN\n    return M"
)
_LENGTH = "    r = r / np.linalg.norm(r, axis=1, keepdims=True)\n"
_SUMS = (
    "def analogies(gpt, pairs):\n    r = gpt.params['wte']['weight']\nUNIT"
    "    ids = [[gpt.tokenizer.encode(t)[0] for t in pair] for pair in pairs]\n    found = []\n"
    "    for a, b in ids:\n        for c, d in ids:\n            if a == c:\n                continue\n"
    "            x, y = r @ (POINT), r @ r[c]\n            first = x.argmax() == d\n"
    "            x[[a, b, c]] = y[[a, b, c]] = -np.inf\n"
    "            found.append((first, x.argmax() == d, y.argmax() == d))\n    return np.mean(found, axis=0)"
)

WRONG = {  # what an exercise is called -> (an answer, a word of what the check says)
    "nearest": [
        ("def nearest(table, row, k):\n" + _UNIT + "    return np.argsort(-(u @ u[row]))[:k]", "itself left out"),
        ("def nearest(table, row, k):\n    s = table @ table[row]\n    s[row] = -np.inf\n"
         "    return np.argsort(-s)[:k]", "as products give"),
        ("def nearest(table, row, k):\n    d = np.linalg.norm(table - table[row], axis=1)\n"
         "    return np.argsort(d)[1 : k + 1]", "by distance"),
        ("def nearest(table, row, k):\n" + _UNIT + "    return np.argsort(u @ u[row])[:k]", "the farthest"),
        ("def nearest(table, row, k):\n" + _UNIT + "    return np.argsort(u @ u[row])[-k - 1 : -1]", "another order"),
    ],
    "step_matrix": [
        (_STEP.replace("SPEED", "j").replace("TURN", "[[c, s], [-s, c]]"), "the other way round"),
        (_STEP.replace("SPEED", "(j // 2)").replace("TURN", "[[c, -s], [s, c]]"), "the first pair alone"),
        ("def step_matrix(n_embd, k):\n    row = ops.sinusoidal_positions(np.array([0, k]), n_embd, np.float64)\n"
         "    return np.outer(row[0], row[1]) / (row[0] @ row[0])", "place 0 only"),
        ("def step_matrix(n_embd, k):\n    return np.eye(n_embd, k=k)", "another row"),
    ],
    "analogies": [
        (_SUMS.replace("UNIT", "").replace("POINT", "r[b] - r[a] + r[c]"), "divided by their lengths"),
        (_SUMS.replace("UNIT", _LENGTH).replace("POINT", "r[a] - r[b] + r[c]"), "the other way round"),
        (_SUMS.replace("UNIT", _LENGTH).replace("POINT", "r[b] - r[a] + r[c]").replace("first, ", "x.argmax() == d, "),
         "inputs too"),
        (_SUMS.replace("UNIT", _LENGTH).replace("POINT", "r[b] - r[a] + r[c]").replace("np.mean", "np.sum"),
         "not counts"),
        (_SUMS.replace("UNIT", _LENGTH).replace("POINT", "r[b] - r[a] + r[c]").replace("y[[a, b, c]] = ", ""),
         "nearest to c among"),
        ("def analogies(gpt, pairs):\n    return 0.5", "three shares"),
    ],
}  # fmt: skip
