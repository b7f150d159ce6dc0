"""Of each exercise of notebook 18, plausible wrong answers, and a word of what the check says to each."""

HEAD = "import numpy as np\n"

WRONG = {
    "place_of": [
        ("def place_of(start, shape, i, j, by_output):\n    return start + 4 * (i * shape[1] + j)", "[n_out, n_in]"),
        ("def place_of(start, shape, i, j, by_output):\n    n_in, n_out = shape\n"
         "    return start + (j * n_in + i if by_output else i * n_out + j)", "four for each weight"),
        ("def place_of(start, shape, i, j, by_output):\n    n_in, n_out = shape\n"
         "    return 4 * (j * n_in + i if by_output else i * n_out + j)", "the matrix is a part"),
        ("def place_of(start, shape, i, j, by_output):\n    n_in, n_out = shape\n"
         "    return start + 4 * (1 + j * n_in + i if by_output else 1 + i * n_out + j)", "the place of that weight"),
        ("def place_of(start, shape, i, j, by_output):\n    return start + 4 * (j * shape[0] + i)", "[n_in, n_out]"),
        ("def place_of(start, shape, i, j, by_output):\n    return start + 4.0 * i * shape[1]", "a whole number"),
    ],
    "lies_by_output": [
        ("def lies_by_output(shapes, n_embd):\n    return shapes['attn.c_attn'][0] == 3 * n_embd",
         "True, False or None"),
        ("def lies_by_output(shapes, n_embd):\n    first, second = next(iter(shapes.values()))\n"
         "    return first > second", "a square matrix looks the same"),
        ("def lies_by_output(shapes, n_embd):\n    for first, second in shapes.values():\n        if first != second:\n"
         "            return second == n_embd", "the other way round"),
        ("def lies_by_output(shapes, n_embd):\n    for name, (first, second) in shapes.items():\n"
         "        if first != second:\n            return (first > second) != (name == 'mlp.c_proj')", "the other way"),
        ("def lies_by_output(shapes, n_embd):\n    if 'attn.c_attn' not in shapes:\n        return None\n"
         "    return shapes['attn.c_attn'][1] == n_embd", "one of them is not square"),
    ],
    "q8_0": [
        ("def q8_0(row):\n    step = np.abs(row).max() / 127\n    return np.float32(step).tobytes() + "
         "np.round(row / step).astype(np.int8).tobytes()", "34 bytes"),
        ("def q8_0(row):\n    step = np.abs(row).max() / 128 or 1\n"
         "    whole = np.clip(np.round(row / step), -128, 127)\n"
         "    return np.float16(step).tobytes() + whole.astype(np.int8).tobytes()", "divided by 127"),
        ("def q8_0(row):\n    step = np.abs(row).max() / np.float32(127) or 1\n"
         "    return np.float16(step).tobytes() + (row / step).astype(np.int8).tobytes()", "the nearest whole number"),
        ("def q8_0(row):\n    step = np.abs(row).max() / np.float32(127)\n"
         "    whole = np.round(row / step) if step else np.zeros(32)\n"
         "    return np.array(step, '>f2').tobytes() + whole.astype(np.int8).tobytes()", "the low byte"),
        ("def q8_0(row):\n    step = np.float16(np.abs(row).max() / 127)\n"
         "    whole = np.round(row / np.float32(step)) if step else np.zeros(32)\n"
         "    return step.tobytes() + whole.astype(np.int8).tobytes()", "before the step is rounded"),
    ],
}  # fmt: skip
