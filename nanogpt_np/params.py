"""The weights: a nested dict under the published checkpoint's own names.

Enter: a GPTConfig. Leave: `params["h"][0]["attn"]["c_attn"]["weight"]`, stored in files as "h.0.attn.c_attn.weight".
Weights keep the published layout [n_in, n_out], so a layer is `x @ weight + bias`. Next: ops.py.
"""

import math

import numpy as np

from .errors import InputError

STD = 0.02  # of fresh weights


class Named(dict):
    """A plain dict, but for what a prompt or a debugger prints of it: a line for each array, not its numbers."""

    def __repr__(self):
        return describe(self)


class Blocks(list):
    """A plain list of Named dicts, one for each block, which prints like them."""

    def __repr__(self):
        return describe(self)


def shapes(config):
    """Every parameter of a model: name -> shape, in the order in which the forward pass meets them.

    shapes(GPTConfig())["h.0.attn.c_attn.weight"] -> (768, 2304)
    """
    n_embd = config.n_embd
    found = {"wte.weight": (config.n_vocab, n_embd)}
    if config.positions == "learned":
        found["wpe.weight"] = (config.n_ctx, n_embd)
    for i in range(config.n_layer):
        for name, shape in _block_shapes(config).items():
            found[f"h.{i}.{name}"] = shape
    found["ln_f.weight"] = found["ln_f.bias"] = (n_embd,)
    if not config.tie_word_embeddings:
        found["lm_head.weight"] = (config.n_vocab, n_embd)
    return found


def _block_shapes(config):
    n_embd, n_hidden = config.n_embd, config.n_hidden
    linear = {"attn.c_attn": (n_embd, 3 * n_embd), "attn.c_proj": (n_embd, n_embd)}
    linear |= {"mlp.c_fc": (n_embd, n_hidden), "mlp.c_proj": (n_hidden, n_embd)}
    found = {"ln_1.weight": (n_embd,), "ln_1.bias": (n_embd,)}
    for name, shape in linear.items():
        if name == "mlp.c_fc":
            found |= {"ln_2.weight": (n_embd,), "ln_2.bias": (n_embd,)}
        found |= {f"{name}.weight": shape, f"{name}.bias": shape[1:]}
    return found


def init(config, rng, dtype=np.float32):
    """Fresh weights as GPT-2 draws them: normal(0, 0.02) (Radford et al. 2018, section 4.1), biases 0, layer norms 1.

    The two projections that write to the residual stream are scaled by 1 / sqrt(2 n_layer), since it is a sum of
    2 n_layer of them (Radford et al. 2019, section 2.3). `rng` is a numpy Generator.
    """
    named = {}
    for name, shape in shapes(config).items():
        if name.endswith(".bias"):
            named[name] = np.zeros(shape, dtype)
        elif ".ln_" in f".{name}":
            named[name] = np.ones(shape, dtype)
        else:
            std = STD / math.sqrt(2 * config.n_layer) if name.endswith("c_proj.weight") else STD
            named[name] = (rng.standard_normal(shape, dtype=np.float32) * std).astype(dtype)
    return nest(named)


def walk(params, prefix=""):
    """Every (name, array) in forward order: ("wte.weight", …), ("h.0.ln_1.weight", …), …

    Of acts too, but for those that are None: ("ids", …), …, ("blocks.0.attn.q", …), …
    """
    if hasattr(params, "_asdict"):
        params = params._asdict()
    for key, value in enumerate(params) if isinstance(params, list) else params.items():
        name = f"{prefix}{key}"
        if isinstance(value, (dict, list)) or hasattr(value, "_asdict"):
            yield from walk(value, f"{name}.")
        elif value is not None:
            yield name, value


def nest(named):
    """The nested dict of flat names; `h` becomes a list of blocks: nest({"ln_f.bias": b}) -> {"ln_f": {"bias": b}}"""
    params = Named()
    for name, array in named.items():
        *path, leaf = name.split(".")
        place = params
        for key in path:
            place = place.setdefault(key, Named())
        place[leaf] = array
    if "h" in params:
        params["h"] = Blocks(params["h"][str(i)] for i in range(len(params["h"])))
    return params


def describe(arrays):
    """A line for each array of nested params or acts: "ln_f.weight  float32 [768]"."""
    kinds = {name: _kind(array) for name, array in walk(arrays)}
    width = max(map(len, kinds), default=0)
    return "\n".join(f"{name:{width}}  {kind}" for name, kind in kinds.items()) or "(no arrays)"


def _kind(array):
    return f"{array.dtype} {list(array.shape)}" if hasattr(array, "shape") else repr(array)


def table(params):
    """Every parameter as text: name, dtype and shape, how many numbers, their share in all; the total at the end."""
    total = count(params)
    rows = [(name, _kind(array), f"{array.size:,}", f"{array.size / total:.2%}") for name, array in walk(params)]
    rows = [("name", "dtype, shape", "numbers", "share"), *rows, ("total", "", f"{total:,}", f"{1:.2%}")]
    name, kind, numbers, share = (max(map(len, column)) for column in zip(*rows, strict=True))
    return "\n".join(f"{a:{name}}  {b:{kind}}  {c:>{numbers}}  {d:>{share}}" for a, b, c, d in rows)


def unembedding(params):
    """The matrix that turns x into logits, [n_vocab, n_embd]: `lm_head` if the model has one, else wte again (tied).

    One matrix for both: Press & Wolf 2017, section 3; Inan et al. 2017, section 4.
    """
    return params["lm_head" if "lm_head" in params else "wte"]["weight"]


def count(params):
    """How many numbers the parameters hold: 124,439,808 for GPT-2 124M."""
    return sum(array.size for _, array in walk(params))


def size(config):
    """How many numbers a model of this shape has, without making one: size(GPTConfig()) -> 124,439,808"""
    single = shapes(config.replace(n_layer=1, banded_layers=None)).values()
    block = _block_shapes(config).values()
    return sum(map(math.prod, single)) + (config.n_layer - 1) * sum(map(math.prod, block))


def check(params, config):
    """Raise InputError where names or shapes are not those of `config`."""
    expected, got = shapes(config), {name: array.shape for name, array in walk(params)}
    if missing := expected.keys() - got.keys():
        raise InputError(f"parameters: expected {min(missing)}, which is missing ({len(missing)} in all)")
    if extra := got.keys() - expected.keys():
        raise InputError(f"parameters: got {min(extra)}, which this config does not have ({len(extra)} in all)")
    for name, shape in expected.items():
        if got[name] != shape:
            raise InputError(f"{name}: expected shape {list(shape)}, got {list(got[name])}")
