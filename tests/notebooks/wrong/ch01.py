"""Of each exercise of notebook 01, plausible wrong answers, and a word of what the check says to each."""

HEAD = "import numpy as np\nfrom itertools import pairwise\n"  # what the notebook has brought in

WRONG = {  # what an exercise is called -> (an answer, a word of what the check says)
    "characters": [
        ("def characters(data):\n    return [c.encode() for c in data.decode()]", "UnicodeDecodeError"),
        ("def characters(data):\n    return [data[i : i + 1] for i in range(len(data))]", "goes on"),
        ("def characters(data):\n    return list(data)", "a list of bytes"),
        ("def characters(data):\n    pieces = []\n    for i in range(len(data)):\n"
         "        if data[i] < 128 or not pieces:\n            pieces.append(data[i : i + 1])\n"
         "        else:\n            pieces[-1] += data[i : i + 1]\n    return pieces", "2 pieces"),
        ("def characters(data):\n    return [c.encode() for c in data.decode(errors='replace')]", "join to the data"),
    ],
    "parents": [
        ("def parents(number, token):\n"
         "    n = next(n for n in range(len(token) - 1, 0, -1) if token[:n] in number and token[n:] in number)\n"
         "    return token[:n], token[n:]", "played in their order"),
        ("def parents(number, token):\n    return token[:1], token[1:]", "tokens themselves"),
        ("def parents(number, token):\n    parts = [bytes([byte]) for byte in token]\n    while len(parts) > 1:\n"
         "        made = [number.get(a + b, len(number)) for a, b in pairwise(parts)]\n"
         "        i = made.index(min(made))\n        parts[i : i + 2] = [parts[i] + parts[i + 1]]\n"
         "    return tuple(parts)", "a tuple of two bytes"),
    ],
    "reach": [
        ("def reach(tokenizer, text):\n    ids = [tokenizer.encode(text[: n + 1]) for n in range(len(text))]\n"
         "    return [sum(x != y for x, y in zip(a, b)) for a, b in pairwise(ids)]", "another number"),
        ("def reach(tokenizer, text):\n    ids = [tokenizer.encode(text[: n + 1]) for n in range(len(text))]\n"
         "    return [len(set(a) - set(b)) for a, b in pairwise(ids)]", "another number"),
        ("def reach(tokenizer, text):\n    ids = [tokenizer.encode(text[: n + 1]) for n in range(len(text))]\n"
         "    return [max(0, 1 + len(a) - len(b)) for a, b in pairwise(ids)]", "another number"),
        ("def reach(tokenizer, text):\n    return [0] * len(text)", "one for each letter"),
    ],
}  # fmt: skip
