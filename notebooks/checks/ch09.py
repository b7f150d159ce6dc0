"""The exercises of notebook 09."""

import numpy as np

from nanogpt_np import GPT, GPTConfig, KVCache, lens

from . import say

SHAPES = (
    GPTConfig(n_vocab=50, n_ctx=64, n_embd=48, n_layer=5, n_head=3),
    GPTConfig(n_vocab=50, n_ctx=64, n_embd=64, n_layer=3, n_head=8),
)


def cache_bytes(function):
    """Against what the library's cache allocates, in several dtypes."""
    if say.waiting(function):
        return False
    for config, n_batch, n_tokens, dtype in (
        (SHAPES[0], 1, 1, np.float32),
        (SHAPES[0], 1, 7, np.float16),
        (SHAPES[1], 4, 11, np.float32),
    ):
        itemsize = np.dtype(dtype).itemsize
        wanted = KVCache(config, n_batch, n_tokens, dtype).n_bytes
        shape = f"n_layer {config.n_layer}, n_embd {config.n_embd}, n_head {config.n_head}"
        given = f"{shape}, {n_batch}, {n_tokens}, {itemsize}"
        got, error = say.tried(function, config, n_batch, n_tokens, itemsize)
        if error:
            return say.wrong(function, given, "a number of bytes", error)
        if got == wanted // 2:
            return say.wrong(function, given, "keys and also values", got)
        if got == wanted // config.n_layer:
            return say.wrong(function, given, "those of every block", got)
        if got == wanted // config.n_head:
            return say.wrong(function, given, "those of every head; n_embd is the width of all heads together", got)
        if got is None or got != wanted:
            return say.wrong(function, given, "what KVCache(…).n_bytes says", got)
    return say.right(function)


class _Counted:
    """A GPT that counts the tokens which go through it."""

    def __init__(self, gpt):
        self.gpt, self.n_tokens = gpt, 0
        self.config, self.params, self.ops, self.tokenizer = gpt.config, gpt.params, gpt.ops, gpt.tokenizer

    def __call__(self, ids, **how):
        self.n_tokens += np.size(ids)
        return self.gpt(ids, **how)


def endings(function):
    """Against passes over the whole texts, with an eye on how many tokens are read."""
    if say.waiting(function):
        return False
    gpt = GPT.from_config(SHAPES[0].replace(n_layer=2), seed=9, ops="numpy")
    ids = np.random.default_rng(9).integers(0, 50, 40).tolist()
    for prompt, several in ((ids[:6], [ids[10:12]]), (ids[:9], [ids[10:13], ids[20:21], ids[22:26]])):
        given = f"gpt, {len(prompt)} ids, endings of {[len(one) for one in several]}"
        counted, copies = _Counted(gpt), (list(prompt), [list(one) for one in several])
        got, error = say.tried(function, counted, *copies)
        if error:
            return say.wrong(function, given, "a list of logits", error)
        if copies != (prompt, several):
            return say.wrong(function, given, "the given lists as they were", "others in their place")
        if got is None or len(got) != len(several):
            return say.wrong(function, given, f"{len(several)} arrays of logits", got)
        n_least = len(prompt) + sum(map(len, several))
        for number, (logits, ending) in enumerate(zip(got, several, strict=True)):
            wanted, logits = gpt([*prompt, *ending])[0, -1], np.asarray(logits)
            if logits.shape != wanted.shape:
                got = f"shape {list(logits.shape)}"
                return say.wrong(function, given, f"logits [{len(wanted)}] behind the last token of an ending", got)
            if not np.allclose(logits, wanted, atol=1e-4):
                which = f"ending {number}: the logits of a pass over the prompt and this ending alone"
                return say.wrong(function, given, which, "others" + _why(gpt, prompt, several, number, logits))
        if counted.n_tokens != n_least:
            return say.wrong(function, given, f"{n_least} tokens to go through the model", counted.n_tokens)
    return say.right(function)


def _why(gpt, prompt, several, number, logits):
    """What the logits are instead, if it is one of the usual things."""
    before = [i for ending in several[:number] for i in ending]
    if before and np.allclose(logits, gpt([*prompt, *before, *several[number]])[0, -1], atol=1e-4):
        return ": earlier endings are still in the cache"
    if np.allclose(logits, gpt(several[number])[0, -1], atol=1e-4):
        return ": those of the ending without the prompt"
    return ""


def turning_batch(function):
    """Against trying one batch after the other; with a None where the caches are slower to read than to use."""
    if say.waiting(function):
        return False
    config = GPTConfig(n_vocab=300, n_ctx=4096, n_embd=64, n_layer=2, n_head=4)
    machines = (0, 1e11, 2e10), (50, 1e11, 2e10), (20, 2e11, 1e10), (4000, 1e11, 1e10), (7, 1e9, 1e10)
    for n_before, peak, bandwidth in machines:
        given = f"n_embd 64, n_before {n_before}, peak {peak:g}, bandwidth {bandwidth:g}"
        got, error = say.tried(function, config, n_before, peak, bandwidth)
        if error:
            return say.wrong(function, given, "a number of texts, or None", error)
        one = lens.cost_view(config, n_before)
        arithmetic = np.arange(10_000) * one.flops / peak  # seconds, by the number of texts
        reading = (one.weight_bytes + np.arange(10_000) * one.cache_bytes) / bandwidth
        enough = np.flatnonzero(arithmetic >= reading)
        if not enough.size and got is not None:
            what = "None: each text brings more time of reading than of arithmetic"
            return say.wrong(function, given, what, got)
        if enough.size and (got is None or int(got) != got or not 1 <= got < 10_000):
            return say.wrong(function, given, "a whole number of texts, at least one", got)
        if enough.size and got != enough[0]:
            side = "fewer texts, with which this is so already" if got > enough[0] else "more texts"
            what = f"{side}: with these arithmetic takes {1e6 * arithmetic[int(got)]:.1f} µs, reading"
            return say.wrong(function, given, f"{what} {1e6 * reading[int(got)]:.1f} µs", got)
    return say.right(function)
