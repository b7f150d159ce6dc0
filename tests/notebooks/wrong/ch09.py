"""Of each exercise of notebook 09, plausible wrong answers, and a word of what the check says to each."""

HEAD = "import math\nimport numpy as np\nfrom nanogpt_np import KVCache, lens\n"

WRONG = {  # what an exercise is called -> (an answer, a word of what the check says)
    "cache_bytes": [
        ("def cache_bytes(config, n_batch, n_tokens, itemsize):\n"
         "    return config.n_layer * config.n_embd * n_batch * n_tokens * itemsize", "also values"),
        ("def cache_bytes(config, n_batch, n_tokens, itemsize):\n"
         "    return 2 * config.n_embd * n_batch * n_tokens * itemsize", "every block"),
        ("def cache_bytes(config, n_batch, n_tokens, itemsize):\n"
         "    return 2 * config.n_layer * config.d_head * n_batch * n_tokens * itemsize", "every head"),
        ("def cache_bytes(config, n_batch, n_tokens, itemsize):\n"
         "    return 2 * config.n_layer * config.n_embd * n_batch * config.n_ctx * itemsize", "KVCache"),
    ],
    "endings": [
        ("def endings(gpt, prompt, several):\n"
         "    return [gpt([*prompt, *ending])[0, -1] for ending in several]", "tokens to go through"),
        ("def endings(gpt, prompt, several):\n    cache = KVCache(gpt.config)\n    gpt(prompt, cache=cache)\n"
         "    return [gpt(ending, cache=cache)[0, -1] for ending in several]", "still in the cache"),
        ("def endings(gpt, prompt, several):\n    cache, found = KVCache(gpt.config), []\n"
         "    gpt(prompt, cache=cache)\n    for ending in several:\n        cache.rewind(0)\n"
         "        found.append(gpt(ending, cache=cache)[0, -1])\n    return found", "without the prompt"),
        ("def endings(gpt, prompt, several):\n    cache, found = KVCache(gpt.config), []\n"
         "    gpt(prompt, cache=cache)\n    for ending in several:\n        cache.rewind(len(prompt))\n"
         "        found.append(gpt(ending, cache=cache))\n    return found", "behind the last token"),
    ],
    "turning_batch": [
        ("def turning_batch(config, n_before, peak, bandwidth):\n    one = lens.cost_view(config, n_before)\n"
         "    return math.ceil(one.weight_bytes / bandwidth / (one.flops / peak))", "more texts"),
        ("def turning_batch(config, n_before, peak, bandwidth):\n    one = lens.cost_view(config, n_before)\n"
         "    gained = one.flops / peak - one.cache_bytes / bandwidth\n"
         "    return max(1, math.ceil(one.weight_bytes / bandwidth / gained))", "None"),
        ("def turning_batch(config, n_before, peak, bandwidth):\n    return peak / bandwidth", "more texts"),
        ("def turning_batch(config, n_before, peak, bandwidth):\n    one = lens.cost_view(config, n_before)\n"
         "    gained = one.flops / peak - one.cache_bytes / bandwidth\n"
         "    return None if gained <= 0 else int(one.weight_bytes / bandwidth / gained)", "more texts"),
    ],
}  # fmt: skip
