"""Of each exercise of notebook 07, plausible wrong answers, and a word of what the check says to each."""

HEAD = "import numpy as np\nfrom nanogpt_np import ops\n"  # what the notebook has brought in where a solution stands

TEMPERED = ("def tempered_backward(dlosses, logits, targets, temperature):\n"
            "    p = ops.softmax({})\n    p[np.arange(len(targets)), targets] -= 1\n    return {}")  # fmt: skip
NORM = ("def rms_norm_backward(dout, x, weight, eps):\n"
        "    rms = np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)\n    normed = x / rms\n"
        "    d = {}\n    return {}, {}")  # fmt: skip
PROJECTED = "(d - normed * (d * normed).mean(axis=-1, keepdims=True)) / rms"
SHARPNESS = ("def sharpness(gradient, x):\n    v = np.random.default_rng(0).standard_normal(len(x))\n"
             "    v /= np.linalg.norm(v)\n    for _ in range({}):\n        hv = {}\n        e = {}\n"
             "        v = {}\n    return e")  # fmt: skip
CENTRAL = "(gradient(x + 1e-4 * v) - gradient(x - 1e-4 * v)) / 2e-4"
KEPT, UNIT = "float(v @ hv)", "hv / np.linalg.norm(hv)"

WRONG = {  # what an exercise is called -> (an answer, a word of what the check says)
    "tempered_backward": [
        (TEMPERED.format("logits / temperature", "p * dlosses[:, None]"), "as a factor, too"),
        (TEMPERED.format("logits", "p * dlosses[:, None] / temperature"), "what finite differences say"),
        (TEMPERED.format("logits / temperature", "p / temperature"), "ignore dlosses"),
        (TEMPERED.format("logits / temperature", "p * dlosses[:, None] / temperature / len(p)"), "division by n"),
        ("def tempered_backward(dlosses, logits, targets, temperature):\n"
         "    return ops.softmax(logits / temperature) * dlosses[:, None] / temperature", "sum to 0"),
        ("def tempered_backward(dlosses, logits, targets, temperature):\n    logits /= temperature\n"
         "    p = ops.softmax(logits)\n    p[np.arange(len(targets)), targets] -= 1\n"
         "    return p * dlosses[:, None] / temperature", "as they were"),
    ],
    "rms_norm_backward": [
        (NORM.format("dout * weight", "d / rms", "(dout * normed).sum(axis=0)"), "at right angles"),
        (NORM.format("dout * weight - (dout * weight).mean(axis=-1, keepdims=True)", PROJECTED,
                     "(dout * normed).sum(axis=0)"), "no mean taken away"),
        (NORM.format("0", "ops.layer_norm_backward(dout, x, weight, 0 * weight, eps)[0]",
                     "(dout * normed).sum(axis=0)"), "no mean taken away"),
        (NORM.format("dout", PROJECTED, "(dout * normed).sum(axis=0)"), "through the weight first"),
        (NORM.format("dout * weight", PROJECTED, "(dout * x).sum(axis=0)"), "dweight"),
        (NORM.format("dout * weight", PROJECTED, "dout * normed"), "dweight [4]"),
    ],
    "sharpness": [
        (SHARPNESS.format(200, "gradient(x + 1e-4 * v) - gradient(x - 1e-4 * v)", KEPT, UNIT), "divided by"),
        (SHARPNESS.format(200, CENTRAL, "float(np.linalg.norm(hv))", UNIT), "the sign too"),
        (SHARPNESS.format(1, CENTRAL, KEPT, UNIT), "more products"),
        (SHARPNESS.format(400, CENTRAL, KEPT, "hv"), "a finite number"),
        (SHARPNESS.format(200, "(gradient(x + v) - gradient(x - v)) / 2", KEPT, UNIT), "is the step h small"),
        (SHARPNESS.format(200, "(gradient(x + 1e-4 * v) - gradient(x)) / 2e-4", KEPT, UNIT), "0.5 times"),
    ],
}  # fmt: skip
