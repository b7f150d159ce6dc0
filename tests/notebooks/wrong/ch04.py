"""Of each exercise of notebook 04, plausible wrong answers, and a word of what the check says to each."""

HEAD = "import numpy as np\nfrom nanogpt_np import lens\n"  # what the notebook has brought in where a solution stands

WRONG = {  # what an exercise is called -> (an answer, a word of what the check says)
    "merge": [
        ("def merge(heads):\n    n_head, n_seq, d_head = heads.shape\n"
         "    return heads.reshape(n_seq, n_head * d_head)", "has a transpose been forgotten"),
        ("def merge(heads):\n    n_head, n_seq, d_head = heads.shape\n"
         "    return heads.transpose(1, 2, 0).reshape(n_seq, n_head * d_head)", "the columns of head 0 first"),
        ("def merge(heads):\n    return heads.sum(axis=0)", "an array [3, 4]"),
        ("def merge(heads):\n    return heads.transpose(1, 0, 2)", "an array [3, 4]"),
        ("def merge(heads):\n    return np.concatenate(list(heads), axis=0)", "an array [3, 4]"),
        ("def merge(heads):\n    return np.hstack(list(heads[::-1]))", "the columns of head 0 first"),
    ],
    "induction": [
        ("def induction(probs, ids):\n    found = []\n    for i, token in enumerate(ids):\n"
         "        same = [j for j in range(i) if ids[j] == token]\n        if same:\n"
         "            found.append(probs[i, same].sum())\n    return float(np.mean(found))", "occurrences themselves"),
        ("def induction(probs, ids):\n    total = 0\n    for i, token in enumerate(ids):\n"
         "        total += sum(probs[i, j + 1] for j in range(i) if ids[j] == token)\n"
         "    return total / len(ids)", "a mean over all places"),
        ("def induction(probs, ids):\n    found = []\n    for i, token in enumerate(ids):\n"
         "        behind = [j + 1 for j in range(i) if ids[j] == token]\n        if behind:\n"
         "            found.append(probs[i, behind[-1]])\n    return float(np.mean(found))", "the latest one only"),
        ("def induction(probs, ids):\n    ids, found = list(ids), []\n    for i, token in enumerate(ids):\n"
         "        if token in ids[:i]:\n            found.append(probs[i, ids.index(token) + 1])\n"
         "    return float(np.mean(found))", "the earliest one only"),
        ("def induction(probs, ids):\n    same = np.tril(np.equal.outer(ids, ids), k=-1)\n"
         "    behind = np.tril(np.roll(same, 1, axis=1), k=-1)\n"
         "    return (probs * behind).sum(axis=1)[same.any(axis=1)].mean()", "the place itself"),
        ("def induction(probs, ids):\n"
         "    found = [probs[i, [j + 1 for j in range(i) if ids[j] == ids[i]]].mean()\n"
         "             for i in range(len(ids)) if ids[i] in ids[:i]]\n"
         "    return float(np.mean(found))", "added up, not its mean"),
        ("def induction(probs, ids):\n    return probs", "a number"),
    ],
    "feeder": [
        ("def feeder(gpt, ids, reader):\n    previous = lens.head_summaries(gpt, ids).previous[: reader[0]]\n"
         "    return np.unravel_index(previous.argmax(), previous.shape)", "nobody reads what it writes"),
        ("def feeder(gpt, ids, reader):\n    n = len(ids) // 2\n    i = np.arange(n, 2 * n - 1)\n"
         "    other = lens.run(gpt, np.random.default_rng(0).permutation(ids))\n    def left(sender):\n"
         "        run = lens.path_patch(gpt, ids, other, sender, reader, into='q')\n"
         "        return run.sites['probs', reader[0]][reader[1], i, i - n + 1].mean()\n"
         "    return min(np.ndindex(reader[0], gpt.config.n_head), key=left)", "into the reader's queries"),
        ("def feeder(gpt, ids, reader):\n    n = len(ids) // 2\n    i = np.arange(n, 2 * n - 1)\n"
         "    def left(place):\n        run = lens.ablate(gpt, ids, place[0], head=place[1])\n"
         "        return run.sites['probs', reader[0]][reader[1], i, i - n + 1].mean()\n"
         "    return min(np.ndindex(reader[0], gpt.config.n_head), key=left)", "the reader's keys are made of"),
        ("def feeder(gpt, ids, reader):\n    return reader", "an earlier block"),
        ("def feeder(gpt, ids, reader):\n    return 0", "a pair (layer, head)"),
    ],
}  # fmt: skip
