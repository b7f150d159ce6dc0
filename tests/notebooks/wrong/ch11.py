"""Of each exercise of notebook 11, plausible wrong answers, and a word of what the check says to each."""

HEAD = "import numpy as np\n"  # what the notebook has brought in where a solution stands

SEARCH = """def allocate(n_weights, costs, budget):
    import itertools
    kinds = list(n_weights)
    choices = [sorted(bits for kind, bits in costs if kind == wanted) for wanted in kinds]
    fitting = [found for found in itertools.product(*choices) if FITS]
    return dict(zip(kinds, min(fitting, key=lambda found: SUM)))
"""


def search(fits, costs):
    """Everything is tried, with another idea of what fits, or of what is best."""
    return SEARCH.replace("FITS", fits).replace("SUM", costs)


WRONG = {  # what an exercise is called -> (an answer, a word of what the check says)
    "pack_nibbles": [
        ("def pack_nibbles(whole):\n    shifted = (whole + 8).astype(np.uint8)\n"
         "    return shifted[1::2] | (shifted[::2] << 4)", "the first of two in the lower"),
        ("def pack_nibbles(whole):\n    low, high = whole[::2].astype(np.uint8), whole[1::2].astype(np.uint8)\n"
         "    return (low & 15) | (high << 4)", "8 added to each number"),
        ("def pack_nibbles(whole):\n    return (whole[::2] + 8) + 16 * (whole[1::2].astype(int) + 8)", "uint8"),
        ("def pack_nibbles(whole):\n    return (whole + 8).astype(np.uint8)", "a byte for each two numbers"),
        ("def pack_nibbles(whole):\n    half = len(whole) // 2\n    shifted = (whole + 8).astype(np.uint8)\n"
         "    return shifted[:half] | (shifted[half:] << 4)", "come back"),
    ],
    "best_step": [
        ("def best_step(w, whole, x):\n    return whole @ w / (whole @ whole)", "suits the weights"),
        ("def best_step(w, whole, x):\n    return np.abs(w).max() / np.abs(whole).max()", "holds the largest weight"),
        ("def best_step(w, whole, x):\n    return np.linalg.norm(x @ w) / np.linalg.norm(x @ whole)",
         "no step near it to be better"),
        ("def best_step(w, whole, x):\n    return np.mean((x @ w) / (x @ whole))", "no step near it to be better"),
        ("def best_step(w, whole, x):\n    return (x @ whole) / (x @ w)", "a finite number"),
    ],
    "allocate": [
        ("def allocate(n_weights, costs, budget):\n    choices = {bits for _, bits in costs if bits <= budget}\n"
         "    return {kind: max(choices) for kind in n_weights}", "costs that sum to"),
        ("def allocate(n_weights, costs, budget):\n"
         "    return {kind: max(bits for one, bits in costs if one == kind) for kind in n_weights}",
         "a kind counts by how many weights"),
        (search("sum(found) <= budget * len(kinds)", "sum(costs[pair] for pair in zip(kinds, found))"),
         "a kind counts by how many weights"),
        (search("sum(n_weights[k] * b for k, b in zip(kinds, found)) <= budget * sum(n_weights.values())",
                "sum(n_weights[pair[0]] * costs[pair] for pair in zip(kinds, found))"), "costs that sum to"),
        ("def allocate(n_weights, costs, budget):\n    return list(n_weights)", "a dict with the 2 kinds"),
    ],
}  # fmt: skip
