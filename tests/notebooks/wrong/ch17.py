"""Of each exercise of notebook 17, plausible wrong answers, and a word of what the check says to each."""

HEAD = "import math\nimport numpy as np\n"

WINDOWS = """\
def windows(n_ids, n_ctx, stride):
    end = min(n_ctx + 1, n_ids)
    found = [(0, end, end - 1)]
    while end < n_ids:
        n_said = min(stride, n_ids - end)
        end += n_said
        found.append((end - n_ctx - 1, end, n_said))
    return found"""
SIGNS = """\
def surely_better(right_a, right_b):
    only_a = sum(a and not b for a, b in zip(right_a, right_b))
    only_b = sum(b and not a for a, b in zip(right_a, right_b))
    n, most = only_a + only_b, max(only_a, only_b)
    tail = sum(math.comb(n, k) for k in range(most, n + 1)) / 2**n
    return min(1.0, 2 * tail)"""

WRONG = {
    "bits_per_byte": [
        ("def bits_per_byte(log_probs, text):\n    return -np.nansum(log_probs) / len(text.encode())", "bits per byte"),
        ("def bits_per_byte(log_probs, text):\n    return -np.nansum(log_probs) / np.log(2) / len(text)", "月é"),
        ("def bits_per_byte(log_probs, text):\n    return -np.sum(log_probs) / np.log(2) / len(text.encode())", "nan"),
        ("def bits_per_byte(log_probs, text):\n    return -np.nanmean(log_probs) / np.log(2)", "bits per byte"),
    ],
    "windows": [
        ("def windows(n_ids, n_ctx, stride):\n"
         "    return [(s, min(s + n_ctx, n_ids), min(s + n_ctx, n_ids) - s - 1) for s in range(0, n_ids, stride)]",
         "is predicted"),
        (WINDOWS.replace("end - n_ctx - 1, end", "end - n_said - 1, end"), "with as much before as fits"),
        (WINDOWS.replace("min(n_ctx + 1, n_ids)", "min(n_ctx, n_ids)"), "window 0"),
        (WINDOWS.replace("end - n_ctx - 1, end", "end - n_ctx - 2, end"), "are read"),
        (WINDOWS.replace("min(stride, n_ids - end)", "stride"), "within"),
        (WINDOWS.replace("(0, end, end - 1)", "(0, end, end)"), "id 0"),
    ],
    "surely_better": [
        (SIGNS.replace("return min(1.0, 2 * tail)", "return tail"), "whichever of the two is ahead"),
        (SIGNS.replace("return min(1.0, 2 * tail)", "return 2 * tail"), "at most 1"),
        (SIGNS.replace("max(only_a, only_b)", "only_a"), "whichever of the two is ahead"),
        (SIGNS.replace("n, most = only_a + only_b,", "n, most = len(right_a),"), "whatever they agree on"),
        (SIGNS.replace("range(most, n + 1)", "range(most, n)"), "whichever of the two is ahead"),
        ("def surely_better(right_a, right_b):\n    return sum(right_a) > sum(right_b)", "a probability"),
    ],
}  # fmt: skip
