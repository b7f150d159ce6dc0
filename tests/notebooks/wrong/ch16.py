"""Of each exercise of notebook 16, plausible wrong answers, and a word of what the check says to each."""

HEAD = "import numpy as np\n"

WRONG = {
    "lora_weight": [
        ("def lora_weight(W, A, B, alpha):\n    return W + alpha * (B @ A).T", "multiplied by 3"),
        ("def lora_weight(W, A, B, alpha):\n    return W + alpha / A.shape[1] * (B @ A).T", "multiplied by 1"),
        ("def lora_weight(W, A, B, alpha):\n    return W + alpha / len(A) * (B @ A)", "expected an array"),
        ("def lora_weight(W, A, B, alpha):\n    W += alpha / len(A) * (B @ A).T\n    return W", "W as it was"),
        ("def lora_weight(W, A, B, alpha):\n    return alpha / len(A) * (B @ A).T", "a multiple of"),
    ],
    "lora_backward": [
        ("def lora_backward(dy, x, A, B, scale):\n    dW = x.T @ dy\n"
         "    return scale * (dW @ B).T, scale * dW.T @ A.T", "as large as W"),
        ("def lora_backward(dy, x, A, B, scale):\n    return (dy @ B).T @ x, dy.T @ (x @ A.T)", "2 times that"),
        ("def lora_backward(dy, x, A, B, scale):\n"
         "    return scale * x.T @ (dy @ B), scale * (x @ A.T).T @ dy", "expected dA"),
        ("def lora_backward(dy, x, A, B, scale):\n"
         "    return scale * dy.T @ (x @ A.T), scale * (dy @ B).T @ x", "expected dA"),
    ],
    "rank_needed": [
        ("def rank_needed(change, share):\n    values = np.linalg.svd(change, compute_uv=False)\n"
         "    return int(np.argmax(np.cumsum(values) / values.sum() >= share)) + 1", "sum of squares"),
        ("def rank_needed(change, share):\n    squares = np.linalg.svd(change, compute_uv=False) ** 2\n"
         "    return int(np.argmax(np.cumsum(squares) / squares.sum() >= share))", "sum of squares"),
        ("def rank_needed(change, share):\n    squares = np.linalg.svd(change, compute_uv=False) ** 2\n"
         "    return int(np.sum(squares / squares[0] >= 1 - share))", "sum of squares"),
    ],
}  # fmt: skip
