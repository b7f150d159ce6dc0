"""GPT-2 as minGPT and nanoGPT write it: the names of `transformers`, but every linear layer lies the other way round.

Enter: what config.json says, in their words or in those of `transformers`; tensors by name. Leave: the same as
`transformers` would have them. Which way a layer lies is seen from the shape of h.0.attn.c_attn.weight: [3 n_embd,
n_embd] is PyTorch's nn.Linear, [n_embd, 3 n_embd] the published layout. nanoGPT's models without biases compute what
ours do with biases of zero. Next: storage/pickled.py.
"""

import re

from ..errors import InputError
from .header import TensorInfo

# what wrappers put before a name: torch.compile, distributed training, `transformers` itself
_WRAPPED = re.compile(r"(_orig_mod\.|module\.|transformer\.)*")
_LINEARS = re.compile(r"h\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight")
_PROBE = "h.0.attn.c_attn.weight"


def plain_name(name):
    """A tensor's name without what wrappers put before it: "_orig_mod.transformer.h.0.ln_1.bias" -> "h.0.ln_1.bias"."""
    return name[_WRAPPED.match(name).end() :]


def in_their_words(raw):
    """Is this a config.json with the arguments of a minGPT or nanoGPT, which call n_positions block_size?"""
    return isinstance(raw, dict) and "block_size" in raw and "n_positions" not in raw and "n_ctx" not in raw


def translated(raw):
    """The config.json of `transformers` for theirs; any other value comes back as it is.

    nanoGPT has the GELU with erf and one matrix for both ends, minGPT (which knows no `dropout` or `bias`) the GELU
    with tanh and two. InputError where a size is not said, as no default is theirs.
    """
    if not in_their_words(raw):
        return raw
    if missing := [name for name in ("n_layer", "n_head", "n_embd", "vocab_size") if raw.get(name) is None]:
        raise InputError(f"config: expected {missing[0]} beside block_size, as in nanoGPT's model_args, got none")
    is_nanogpt = bool({"dropout", "bias"} & set(raw))
    usual = {
        "activation_function": "gelu" if is_nanogpt else "gelu_new",
        "tie_word_embeddings": is_nanogpt,
        "resid_pdrop": raw.get("dropout"),
    }
    return {**usual, **raw, "model_type": "gpt2", "n_positions": raw["block_size"]}


def as_published(config, tensors):
    """{name: (path, TensorInfo)} with linear layers marked as transposed where they are, and biases where none are."""
    probe = tensors.get(_PROBE)
    if probe is not None and probe[1].shape == (3 * config.n_embd, config.n_embd):
        tensors = {name: _turned(name, *place) for name, place in tensors.items()}
    if any(name.endswith(".bias") and not name.endswith(".attn.bias") for name in tensors):
        return tensors
    return tensors | {name: (None, info) for name, info in _no_biases(config, tensors).items()}


def _turned(name, path, info):
    if _LINEARS.fullmatch(name) and len(info.shape) == 2:
        info = info._replace(shape=info.shape[::-1], transposed=True)
    return path, info


def _no_biases(config, tensors):
    """A TensorInfo of no bytes, which is read as zeros, beside each weight that would have a bias."""
    found = {}
    for name, (_, info) in tensors.items():
        stem, _, leaf = name.rpartition(".")
        if leaf == "weight" and (_LINEARS.fullmatch(name) or ".ln_" in f".{name}") and info.shape:
            found[f"{stem}.bias"] = TensorInfo("F32", info.shape[-1:], 0, 0)
    return found
