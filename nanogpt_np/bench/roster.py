"""Which other projects the benchmark knows, what each needs, and who of them is installed.

Enter: names of modules. Leave: names of engines, and words about those that are missing. Nothing is imported.
Next: bench/growth.py.
"""

import importlib.util

GGUF_PEERS = {f"llama.cpp {kind}": ("xllamacpp", "gguf") for kind in ("F32", "Q8_0", "Q4_0")}
GENERATE_PEERS = {
    "transformers": ("torch", "transformers"),
    "ctranslate2 float32": ("ctranslate2", "torch", "transformers"),
    "ctranslate2 int8": ("ctranslate2", "torch", "transformers"),
    **GGUF_PEERS,
}
TRAIN_PEERS = {"torch": ("torch", "transformers")}
ENCODE_PEERS = {"tiktoken": ("tiktoken",), "tokenizers": ("tokenizers",)}
START_PEERS = {"transformers": ("torch", "transformers"), **GGUF_PEERS}
ALL_PEERS = {**GENERATE_PEERS, **TRAIN_PEERS, **ENCODE_PEERS}


def installed(modules):
    """Whether all of some modules can be imported; none of them is."""
    return all(importlib.util.find_spec(name) for name in modules)


def available(peers):
    """The peers that can run here."""
    return [engine for engine, modules in peers.items() if installed(modules)]


def missing(peers):
    """The modules that some peers lack, as words."""
    names = dict.fromkeys(name for modules in peers.values() for name in modules)
    return [f"{name} (not installed)" for name in names if not installed([name])]
