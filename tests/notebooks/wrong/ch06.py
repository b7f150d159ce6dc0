"""Of each exercise of notebook 06, plausible wrong answers, and a word of what the check says to each."""

HEAD = "import math\nimport numpy as np\nfrom nanogpt_np.generation import sampling\n"  # as in the notebook

_BEAMS = """def beam_search(next_log_probs, n_beams, n):
    beams = [((), 0.0)]
    for _ in range(n):
        longer = [((*ids, i), %s) for ids, total in beams for i, log_prob in enumerate(next_log_probs(ids))]
        beams = sorted(longer, key=lambda beam: -beam[1])[:%s]
    return %s
"""
_TYPICAL = """def typical(logits, mass):
    p = sampling.probabilities(logits)
    surprise = -np.log(p)
    h = (p * surprise).sum(axis=-1, keepdims=True)
    order = np.argsort(%s, axis=-1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=-1)
    removed = np.empty(logits.shape, bool)
    np.put_along_axis(removed, order, np.cumsum(ranked, axis=-1) %s, axis=-1)
    %s
"""
_WHERE = "return np.where(removed, -np.inf, logits)"

WRONG = {  # what an exercise is called -> (an answer, a word of what the check says)
    "hesitates": [
        ("def hesitates(logits):\n    p = sampling.probabilities(logits)\n"
         "    return np.exp(-(p * np.log(p)).sum(axis=-1))", "the logarithm of 0"),
        ("def hesitates(logits):\n    p = sampling.probabilities(logits)\n"
         "    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)", "the entropy itself"),
        ("def hesitates(logits):\n    return np.isfinite(logits).sum(axis=-1)", "e to the entropy"),
        ("def hesitates(logits):\n    p = sampling.probabilities(logits)\n"
         "    return np.exp(-(p * np.log(np.where(p > 0, p, 1))).sum())", "an array [2]"),
        ("def hesitates(logits):\n    p = np.where(np.isfinite(logits), np.exp(logits), 0)\n"
         "    return np.exp(-(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1))", "5 for five"),
    ],
    "beam_search": [
        (_BEAMS % ("total + log_prob", "1", "list(beams[0][0])"), "beams find"),
        (_BEAMS % ("log_prob", "n_beams", "list(beams[0][0])"), "beams find"),
        (_BEAMS % ("total + log_prob", "n_beams", "list(beams[-1][0])"), "beams find"),
        (_BEAMS % ("total + log_prob", "n_beams", "beams[0]"), "a list of 2 ids"),
        ("def beam_search(next_log_probs, n_beams, n):\n    beams = []\n"
         "    for i in np.argsort(-next_log_probs(()))[:n_beams]:\n        ids = (int(i),)\n"
         "        total = next_log_probs(())[i]\n        for _ in range(n - 1):\n"
         "            log_probs = next_log_probs(ids)\n            total += log_probs.max()\n"
         "            ids = (*ids, int(log_probs.argmax()))\n        beams.append((total, ids))\n"
         "    return list(max(beams)[1])", "log-probability"),
    ],
    "typical": [
        (_TYPICAL % ("-p", "- ranked >= mass", _WHERE), "far less surprising"),
        (_TYPICAL % ("np.abs(-surprise - h)", "- ranked >= mass", _WHERE), "far less surprising"),
        (_TYPICAL % ("np.abs(surprise - h)", ">= mass", _WHERE), "one token too few"),
        (_TYPICAL % ("np.abs(surprise - h)", "- ranked >= mass", "logits[removed] = -np.inf\n    return logits"),
         "untouched"),
        (_TYPICAL % ("np.abs(surprise - h)", "- ranked >= mass", "return np.where(removed, 0, p)"), "as it was"),
    ],
}  # fmt: skip
