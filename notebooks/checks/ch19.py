"""The exercises of notebook 19."""

import numpy as np

from nanogpt_np import PRESETS, GPTConfig

from . import say


def band(function):
    """Against the rule, spelled out pair by pair."""
    if say.waiting(function):
        return False
    for n_seq, window in ((6, 3), (5, 1), (4, 9), (7, 2)):
        given = f"{n_seq}, {window}"
        got, error = say.tried(function, n_seq, window)
        if error:
            return say.wrong(function, given, f"a bool array [{n_seq}, {n_seq}]", error)
        if not isinstance(got, np.ndarray) or got.shape != (n_seq, n_seq) or got.dtype != bool:
            return say.wrong(function, given, f"a bool array [{n_seq}, {n_seq}]", got)
        for query, key in np.ndindex(n_seq, n_seq):
            near = f"that token {query} may see token {key}, one of {window} with itself"
            far = f"that token {query} may not see token {key}, {query - key} before it"
            if got[query, key] and key > query:
                return say.wrong(function, given, f"that token {query} may not see token {key}, which is later", "True")
            if got[query, key] and query - key >= window:
                return say.wrong(function, given, far, "True")
            if not got[query, key] and key <= query < key + window:
                return say.wrong(function, given, near, "False")
    return say.right(function)


def reach(function):
    """On models whose layers are dense, banded, or both."""
    if say.waiting(function):
        return False
    shape = GPTConfig(n_vocab=9, n_ctx=100, n_embd=8, n_layer=4, n_head=2)
    cases = (
        (shape, "all layers dense", 50, 50),
        (shape.replace(window=5, banded_layers=(0, 1, 2, 3)), "4 layers, all with window 5", 50, 17),
        (shape.replace(window=5, banded_layers=(0, 1, 2, 3)), "4 layers, all with window 5", 10, 10),
        (shape.replace(window=5), "4 layers, every other with window 5", 50, 50),
        (shape.replace(window=1, banded_layers=(0, 1, 2, 3)), "4 layers, all with window 1", 50, 1),
        (shape.replace(n_layer=1, window=7, banded_layers=(0,)), "1 layer with window 7", 50, 7),
    )
    for config, words, n_seq, wanted in cases:
        given = f"a config of {words}, {n_seq}"
        got, error = say.tried(function, config, n_seq)
        if error:
            return say.wrong(function, given, "a whole number", error)
        if isinstance(got, bool) or not isinstance(got, (int, np.integer)):
            return say.wrong(function, given, "a whole number", got)
        if got != wanted:
            return say.wrong(function, given, f"{wanted} tokens, itself included", got)
    return say.right(function)


def widest_window(function):
    """On three of GPT-3's shapes: where some window fits, where any does, and where none does."""
    if say.waiting(function):
        return False
    cases = (
        ("gpt3-small", 40_000_000),
        ("gpt3-small", 38_000_000),
        ("gpt3-small", 37_750_000),
        ("gpt3-175b", 6_000_000_000),
        ("gpt3-175b", 4_700_000_000),
        ("gpt3-xl", 10**12),
        ("gpt3-xl", 1_000_000),
    )
    for name, n_bytes in cases:
        config, given = PRESETS[name], f"PRESETS[{name!r}], {n_bytes:,}"
        got, error = say.tried(function, config, n_bytes)
        if error:
            return say.wrong(function, given, "a whole number or None", error)
        if got is not None and (isinstance(got, bool) or not isinstance(got, (int, np.integer))):
            return say.wrong(function, given, "a whole number or None", got)
        wanted = _widest(config, n_bytes)
        if got != wanted:
            words = "None, as the dense layers alone are larger" if wanted is None else f"{wanted:,}"
            return say.wrong(function, given, words, got)
    return say.right(function)


def _widest(config, n_bytes):
    """By trying: halving what lies between a window that fits and one that does not."""
    fits = [window for window in (1, config.n_ctx) if _bytes(config, window) <= n_bytes]
    if len(fits) != 1:
        return max(fits, default=None)
    low, high = 1, config.n_ctx
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _bytes(config, middle) <= n_bytes else (low, middle)
    return low


def _bytes(config, window):
    """Keys and values of a full context, 2 bytes a number."""
    wide = [config.n_ctx if config.window_of(layer) is None else window for layer in range(config.n_layer)]
    return sum(wide) * 2 * config.n_embd * 2
