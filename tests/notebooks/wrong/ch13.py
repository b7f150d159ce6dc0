"""Of each exercise of notebook 13, plausible wrong answers, and a word of what the check says to each."""

HEAD = "import math\nimport numpy as np\n"  # what the notebook has brought in where a solution stands

CELL = """def holding_cell(n):
    n_vocab, n_hidden = 16 + n, 9 * n
    w_x = np.zeros((n_vocab, 4, n_hidden), np.float32)
    w_h = np.zeros((n_hidden, 4, n_hidden), np.float32)
    bias = np.zeros((4, n_hidden), np.float32)
    bias[1] = KEEP
    bias[2, :n], bias[2, n:] = 20, -20
    head = np.zeros((n_hidden, n_vocab), np.float32)
    for place in range(n):
        cells = np.arange(n + 8 * place, n + 8 * place + 8)
        here = np.append(place, cells)
        bias[0, here], w_x[:8, 0, here] = -20, 40
        if place:
            bias[0, here], w_x[:8, 0, here], w_h[place - 1, 0, here] = -250, 200, 100
        w_h[place, 0, cells] = -200
        w_x[:8, 3, place] = 20
        w_x[:8, 3, cells] = 20 * np.eye(8)
        w_x[QUESTION, 2, cells] = 40
        head[cells, :8] = 20 * np.eye(8)
    cell = {"w_x": w_x.reshape(n_vocab, -1), "w_h": w_h.reshape(n_hidden, -1), "bias": bias.reshape(-1)}
    head = {"weight": head, "bias": np.zeros(n_vocab, np.float32)}
    return {"wte": {"weight": np.eye(n_vocab, dtype=np.float32)}, "cell": cell, "head": head}
"""


def cell(keep="20", question="16 + place"):
    """A cell written by hand with something wrong in it."""
    return CELL.replace("KEEP", keep).replace("QUESTION", question)


WRONG = {  # what an exercise is called -> (an answer, a word of what the check says)
    "forget_bias": [
        ("def forget_bias(half_life):\n    return 0.5 ** (1 / half_life)", "this is the gate itself"),
        ("def forget_bias(half_life):\n    f = math.exp(-1 / half_life)\n    return math.log(f / (1 - f))",
         "not 1 / e"),
        ("def forget_bias(half_life):\n    return math.log(half_life)", "0.5 left after"),
        ("def forget_bias(half_life):\n    f = 0.5 ** half_life\n    return math.log(f / (1 - f))", "0.5 left after"),
    ],
    "linear_attention_step": [
        ("def linear_attention_step(state, q, k, v):\n    return state + np.outer(k, v), q @ state", "hears itself"),
        ("def linear_attention_step(state, q, k, v):\n    state += np.outer(k, v)\n    return state, q @ state",
         "the given state as it was"),
        ("def linear_attention_step(state, q, k, v):\n    state = state + np.outer(q, v)\n    return state, k @ state",
         "token 1"),
        ("def linear_attention_step(state, q, k, v):\n    state = state + np.outer(v, k)\n    return state, state @ q",
         "ValueError"),
        ("def linear_attention_step(state, q, k, v):\n    return q @ (state + np.outer(k, v))", "two things"),
    ],
    "holding_cell": [
        (cell(keep="1"), "more than half of the probability"),
        (cell(keep="5"), "more than half of the probability"),
        (cell(question="16:"), "the places are not"),
        ("def holding_cell(n):\n    return {'wte': {'weight': np.eye(16 + n)}}", "a dict with wte, cell and head"),
        ("def holding_cell(n):\n"
         "    cell = {'w_x': np.zeros((16 + n, 8)), 'w_h': np.zeros((8, 8)), 'bias': np.zeros(8)}\n"
         "    head = {'weight': np.zeros((8, 16 + n)), 'bias': np.zeros(16 + n)}\n"
         "    return {'wte': {'weight': np.eye(16 + n)}, 'cell': cell, 'head': head}", "cell.w_x"),
    ],
}  # fmt: skip
