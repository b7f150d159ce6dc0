"""Of each exercise of notebook 08, plausible wrong answers, and a word of what the check says to each."""

HEAD = "import math\nimport numpy as np\n"  # what the notebook has brought in where a solution stands

BITS = "def bits_per_byte(losses, text):\n    return {}"
LEAKED = ("def leaked(train_starts, held_starts, n_ctx):\n    inside = np.arange({}, n_ctx + 1)\n"
          "    trained, held = (set((np.asarray(starts)[:, None] + inside).ravel().tolist())\n"
          "                     for starts in (train_starts, held_starts))\n    return {}")  # fmt: skip
NOISE = ("def noise_scale(gradients):\n    n = len(gradients)\n    mean = gradients.mean(axis=0)\n"
         "    scatter = ((gradients - mean) ** 2).{} / (n - 1)\n    signal = (mean**2).sum() - scatter / n\n"
         "    return {}")  # fmt: skip

WRONG = {  # what an exercise is called -> (an answer, a word of what the check says)
    "bits_per_byte": [
        (BITS.format('np.mean(losses) / math.log(2)'), "by bytes and not by tokens"),
        (BITS.format('np.sum(losses) / math.log(2) / len(text)'), "not characters"),
        (BITS.format('np.sum(losses) / len(text.encode())'), "a nat is"),
        (BITS.format('np.mean(losses) / math.log(2) / len(text.encode())'), "of a token on average"),
        (BITS.format('losses / math.log(2) / len(text.encode())'), "a number"),
    ],
    "leaked": [
        (LEAKED.format(0, "len(held & trained) / len(held)"), "targets alone"),
        (LEAKED.format(1, "len(held & trained) / len(trained)"), "of what is held out"),
        (LEAKED.format(1, "100 * len(held & trained) / len(held)"), "from 0 to 1"),
        ("def leaked(train_starts, held_starts, n_ctx):\n"
         "    return len(set(train_starts) & set(held_starts)) / len(held_starts)", "without starting alike"),
        (LEAKED.format(1, "float(np.mean([s + i in trained for s in held_starts for i in inside]))"), "count once"),
    ],
    "noise_scale": [
        (NOISE.format("sum()", "scatter / (mean**2).sum()"), "left in the mean"),
        (NOISE.format("sum()", "signal / scatter"), "signal over noise"),
        (NOISE.format("mean(axis=1).sum()", "scatter / ((mean**2).sum() - scatter)"), "summed over all weights"),
        (NOISE.format("sum()", "math.sqrt(scatter) / np.linalg.norm(mean)"), "squared lengths"),
        (NOISE.format("sum()", "scatter / n / (mean**2).sum()"), "of one gradient"),
    ],
}  # fmt: skip
