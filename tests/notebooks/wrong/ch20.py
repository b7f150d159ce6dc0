"""Of each exercise of notebook 20, plausible wrong answers, and a word of what the check says to each."""

HEAD = "import numpy as np\n"

WRONG = {
    "windows_of": [
        ("def windows_of(rank, n_ranks, n_windows):\n    n = n_windows // n_ranks\n"
         "    return list(range(rank * n, (rank + 1) * n))", "all 8 windows at somebody"),
        ("def windows_of(rank, n_ranks, n_windows):\n    return list(range(n_windows))", "at one process only"),
        ("def windows_of(rank, n_ranks, n_windows):\n    n = -(-n_windows // n_ranks)\n"
         "    return list(range(rank * n, (rank + 1) * n))", "windows from 0 to"),
        ("def windows_of(rank, n_ranks, n_windows):\n    return list(range(n_windows)) if rank == 0 else []",
         "nobody with two more"),
        ("def windows_of(rank, n_ranks, n_windows):\n    return range(rank, n_windows, n_ranks)", "a list of whole"),
    ],
    "bytes_sent": [
        ("def bytes_sent(n_numbers, n_ranks):\n    return (n_ranks - 1) * (n_numbers // n_ranks) * 4", "both halves"),
        ("def bytes_sent(n_numbers, n_ranks):\n    return 2 * (n_ranks - 1) * (n_numbers // n_ranks)", "has four"),
        ("def bytes_sent(n_numbers, n_ranks):\n    return 2 * (n_ranks - 1) * n_numbers * 4", "not the whole vector"),
        ("def bytes_sent(n_numbers, n_ranks):\n    return 2 * n_ranks * (n_numbers // n_ranks) * 4", "of a chunk each"),
    ],
    "in_rank_order": [
        ("def in_rank_order(vectors, send):\n    total = vectors[0].copy()\n    for vector in vectors[1:]:\n"
         "        total += vector\n    return [total] * len(vectors)", "no call of send"),
        ("def in_rank_order(vectors, send):\n    n, out = len(vectors), []\n    for rank in range(n):\n"
         "        total = send(0, rank, vectors[0])\n        for other in range(1, n):\n"
         "            total = total + send(other, rank, vectors[other])\n        out.append(total)\n"
         "    return out", "numbers sent by each"),
        ("def in_rank_order(vectors, send):\n    n = len(vectors)\n"
         "    chunks = [np.split(v.copy(), n) for v in vectors]\n    for step in range(n - 1):\n"
         "        for r in range(n):\n            c = (r - step) % n\n"
         "            got = send(r, (r + 1) % n, chunks[r][c])\n"
         "            chunks[(r + 1) % n][c] = chunks[(r + 1) % n][c] + got\n"
         "    owned = [chunks[(o - 1) % n][o] for o in range(n)]\n"
         "    return [np.concatenate([send((o - 1) % n, r, owned[o]) for o in range(n)]) for r in range(n)]",
         "the bits of adding in the order"),
        ("def in_rank_order(vectors, send):\n    n = len(vectors)\n    for r in range(n - 1):\n"
         "        vectors[r + 1] = send(r, r + 1, vectors[r]) + vectors[r + 1]\n    return vectors",
         "the sum at each of them"),
    ],
}  # fmt: skip
