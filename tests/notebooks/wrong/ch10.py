"""Of each exercise of notebook 10, plausible wrong answers, and a word of what the check says to each."""

HEAD = "import math\nimport numpy as np\nfrom nanogpt_np import ops\n"

_CONSTANTS = (
    "    half, one, three = np.float32(0.5), np.float32(1), np.float32(3)\n"
    "    scale, cube = np.float32(0.7978845608), np.float32(0.044715)\n"
)
_ATTEND = """def attend(q, keys, values, visible, out):
    d_head = q.size
    scale, top, total = np.float32(1 / math.sqrt(d_head)), np.float32(-np.inf), np.float32(0)
    out[:] = 0
    for key in range(visible.size):
        if not visible[key]:
            continue
        score = np.float32(0)
        for d in range(d_head):
            score += q[d] * keys[key, d]
        score *= scale
        if score > top:
            shrink = np.float32(math.exp(top - score))
            total *= shrink
            for d in range(d_head):
                out[d] *= shrink
            top = score
        share = np.float32(math.exp(score - top))
        total += share
        for d in range(d_head):
            out[d] += share * values[key, d]
    if total > 0:
        for d in range(d_head):
            out[d] /= total
"""


def changed(*pairs):
    """The right answer with something replaced."""
    text = _ATTEND
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


_MASK_BY_INFINITY = (
    ("        if not visible[key]:\n            continue\n", ""),
    ("score *= scale\n", "score = score * scale if visible[key] else np.float32(-np.inf)\n"),
    ("if score > top:", "if score >= top:"),
)

WRONG = {  # what an exercise is called -> (an answer, a word of what the check says)
    "sum_rows": [
        ("def sum_rows(x, out):\n    for j in range(x.shape[1]):\n        out[j] = 0\n"
         "        for i in range(x.shape[0]):\n            out[j] += x[i, j]", "goes down the columns"),
        ("def sum_rows(x, out):\n    for i in range(x.shape[0]):\n        for j in range(x.shape[1]):\n"
         "            out[j] += x[i, j]", "may hold anything"),
        ("def sum_rows(x, out):\n    out[:] = np.sum(x, axis=0)", "at a time"),
        ("def sum_rows(x, out):\n    for j in range(len(out)):\n        out[j] = 0\n    for i in range(x.shape[0]):\n"
         "        for j in range(x.shape[1]):\n            out[j] = x[i, j]", "the sum of each column"),
    ],
    "gelu_and_slope": [
        ("def gelu_and_slope(x, out, slope):\n    for i in range(x.size):\n"
         "        t = math.tanh(0.7978845608 * x[i] * (1 + 0.044715 * x[i] * x[i]))\n"
         "        out[i] = 0.5 * x[i] * (1 + t)\n"
         "        du = 0.7978845608 * (1 + 3 * 0.044715 * x[i] * x[i])\n"
         "        slope[i] = 0.5 * (1 + t) + 0.5 * x[i] * (1 - t * t) * du",
         "float32 all the way"),
        ("def gelu_and_slope(x, out, slope):\n" + _CONSTANTS + "    for i in range(x.size):\n"
         "        t = math.tanh(scale * x[i] * (one + cube * x[i] * x[i]))\n"
         "        out[i] = half * x[i] * (one + t)\n        slope[i] = half * (one + t)", "slope[i]"),
        ("def gelu_and_slope(x, out, slope):\n    out[:] = ops.gelu_new(x)\n"
         "    slope[:] = ops.gelu_new_backward(1.0, x)", "that Numba can compile"),
        ("def gelu_and_slope(x, out, slope):\n" + _CONSTANTS + "    for i in range(x.size):\n"
         "        t = math.tanh(scale * x[i] * (one + cube * x[i] * x[i] * x[i]))\n"
         "        out[i] = half * x[i] * (one + t)\n        slope[i] = half * (one + t)", "out[i]"),
    ],
    "attend": [
        (changed(("            total *= shrink\n", ""), ("out[d] *= shrink\n", "pass\n")), "what ops.py gives"),
        (changed(("                out[d] *= shrink\n", "                out[d] *= 1\n")), "what ops.py gives"),
        (changed(("score *= scale\n", "pass\n")), "what ops.py gives"),
        (changed(*_MASK_BY_INFINITY), "NaN"),
        (changed(("    if total > 0:\n        for d in range(d_head):\n            out[d] /= total\n",
                  "    for d in range(d_head):\n        out[d] /= total\n")), "NaN"),
        (changed(("        if score > top:", "        if False:"), ("np.float32(-np.inf)", "np.float32(0)")),
         "OverflowError"),
        ("def attend(q, keys, values, visible, out):\n    scale, top = np.float32(1 / math.sqrt(q.size)), -np.inf\n"
         "    for j in range(visible.size):\n        if visible[j]:\n"
         "            top = max(top, scale * np.dot(q, keys[j]))\n"
         "    total = 0.0\n    out[:] = 0\n    for j in range(visible.size):\n        if visible[j]:\n"
         "            share = math.exp(scale * np.dot(q, keys[j]) - top)\n            total += share\n"
         "            out += share * values[j]\n    if total > 0:\n        out /= total", "read once"),
        ("def attend(q, keys, values, visible, out):\n"
         "    probs = ops.softmax_scores(keys @ q, visible, 1 / math.sqrt(q.size))\n    out[:] = probs @ values",
         "TypeError"),
    ],
}  # fmt: skip
