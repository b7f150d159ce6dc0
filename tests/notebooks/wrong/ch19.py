"""Of each exercise of notebook 19, plausible wrong answers, and a word of what the check says to each."""

HEAD = "import numpy as np\nfrom nanogpt_np import PRESETS, ops\n"

WRONG = {
    "band": [
        ("def band(n_seq, window):\n    query, key = np.mgrid[:n_seq, :n_seq]\n"
         "    return (key <= query) & (query - key <= window)", "may not see token 0, 3 before it"),
        ("def band(n_seq, window):\n    query, key = np.mgrid[:n_seq, :n_seq]\n"
         "    return np.abs(query - key) < window", "which is later"),
        ("def band(n_seq, window):\n    query, key = np.mgrid[:n_seq, :n_seq]\n"
         "    return (key < query) & (query - key < window)", "one of 3 with itself"),
        ("def band(n_seq, window):\n    return np.tri(n_seq) - np.tri(n_seq, k=-window)", "a bool array"),
    ],
    "reach": [
        ("def reach(config, n_seq):\n    return min(n_seq, config.window or n_seq)", "17 tokens"),
        ("def reach(config, n_seq):\n    if any(config.window_of(i) is None for i in range(config.n_layer)):\n"
         "        return n_seq\n    return min(n_seq, config.n_layer * config.window)", "17 tokens"),
        ("def reach(config, n_seq):\n    if config.window is None:\n        return n_seq\n"
         "    return min(n_seq, 1 + config.n_layer * (config.window - 1))", "50 tokens"),
        ("def reach(config, n_seq):\n    return n_seq / 1", "a whole number"),
    ],
    "widest_window": [
        ("def widest_window(config, n_bytes):\n    return n_bytes // (config.n_layer * 2 * config.n_embd * 2)", "expected"),
        ("def widest_window(config, n_bytes):\n    n_banded = config.n_layer // 2\n"
         "    left = n_bytes - (config.n_layer - n_banded) * config.n_ctx * 2 * config.n_embd * 2\n"
         "    return left // (n_banded * 2 * config.n_embd * 2)", "the dense layers alone"),
        ("def widest_window(config, n_bytes):\n    n_banded = config.n_layer // 2\n"
         "    left = n_bytes - (config.n_layer - n_banded) * config.n_ctx * 2 * config.n_embd * 2\n"
         "    if left <= 0:\n        return None\n"
         "    return min(left // (n_banded * 2 * config.n_embd * 2), config.n_ctx)", "the dense layers alone"),
    ],
}  # fmt: skip
