"""A LoRA adapter: small corrections of some linear layers (Hu et al. 2021, 4.1), as a folder in PEFT's format.

A layer's weight W [n_in, n_out] becomes W + scale * (B A)^T, with A [r, n_in], B [n_out, r] and scale alpha / r. Enter:
a folder with adapter_config.json and adapter_model.safetensors. Leave: an Adapter, checked against the model's shape,
and merged weights; the base stays as it is. The way back writes what PEFT opens. Next: storage/checkpoint.py.
"""

import hashlib
import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import save_file

from .. import files
from .. import params as P
from ..errors import FileError, InputError, is_number, is_whole, printable, shown
from .contents import STORED
from .header import read_header, sort_metadata
from .mapped import map_file, to_array
from .together import replacing_together

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MAX_CONFIG = 1 << 20  # bytes; PEFT writes 1 kB
BASE = "base_fingerprint"  # in the metadata of files that are written here; PEFT writes none
PREFIX = "base_model.model."  # what PEFT puts before the names of the model that it wraps
LAYERS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")  # of a block, in forward order
EXPECTED = "some of c_attn, c_proj, c_fc, attn.c_proj, mlp.c_proj"
MOST_SCALE = 1e4  # a correction that is multiplied by more drowns any weight

# options of PEFT that decide nothing once an adapter is trained; all others but those read here must be empty
_HARMLESS = {
    "auto_mapping", "base_model_name_or_path", "fan_in_fan_out", "inference_mode", "lora_dropout", "megatron_core",
    "peft_version", "qalora_group_size", "revision", "runtime_config",
}  # fmt: skip
_READ = {"peft_type", "r", "lora_alpha", "use_rslora", "target_modules", "bias", "task_type", "init_lora_weights"}
_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")  # other ways to begin change the base, too


class Adapter(NamedTuple):
    """What LoRA adds to a model: its settings and its matrices.

    `target_modules`: ends of the names of the layers that it changes, "c_attn" or "attn.c_proj". `rslora`: scale
    alpha / sqrt(r) (Kalajdzievski 2023) for alpha / r. `params`: name -> float32, "h.0.attn.c_attn.lora_A.weight"
    [r, n_in] and "….lora_B.weight" [n_out, r] for each layer.
    """

    r: int
    alpha: float
    target_modules: tuple
    rslora: bool
    params: P.Named

    @property
    def scale(self):
        """What B A is multiplied by."""
        return self.alpha / (math.sqrt(self.r) if self.rslora else self.r)

    def __repr__(self):
        size = f"{len(self.params) // 2} layers, {P.count(self.params):,} numbers"
        return f"LoRA(r={self.r}, alpha={self.alpha:g}: {size})"


def check_settings(r, alpha, rslora=False):
    """InputError naming what makes no sense of an adapter's rank and size."""
    if not is_whole(r) or r < 1:
        raise InputError(f"r: expected a rank of at least 1, got {shown(r)}")
    if not is_number(alpha) or not 0.0 < alpha <= MOST_SCALE * r:
        raise InputError(f"alpha: expected a number above 0, at most {MOST_SCALE:g} times the rank, got {shown(alpha)}")
    if not isinstance(rslora, bool):
        raise InputError(f"rslora: expected true or false, got {shown(rslora)}")


def layers(config, target_modules):
    """The names of the layers that an adapter changes, in forward order: ["h.0.attn.c_attn", …].

    A module names every layer whose name is it, or ends in "." and it. InputError where one names none.
    """
    every = [f"h.{i}.{layer}" for i in range(config.n_layer) for layer in LAYERS]
    found = set()
    if isinstance(target_modules, str) or not target_modules:
        raise InputError(f"target_modules: expected a list with {EXPECTED}, got {shown(target_modules)}")
    for module in target_modules:
        named = {layer for layer in every if isinstance(module, str) and f".transformer.{layer}".endswith(f".{module}")}
        if not named:
            raise InputError(f"target_modules: expected {EXPECTED}, got {shown(module)}")
        found |= named
    return [layer for layer in every if layer in found]


def shapes(config, r, target_modules):
    """Every matrix of an adapter for models of this shape: name -> shape, in forward order."""
    weights, found = P.shapes(config), {}
    for layer in layers(config, target_modules):
        n_in, n_out = weights[f"{layer}.weight"]
        found |= {f"{layer}.lora_A.weight": (r, n_in), f"{layer}.lora_B.weight": (n_out, r)}
    return found


def check_fits(got, config, r, target_modules, where="adapter"):
    """InputError where matrices {name: shape} are not those of an adapter for models of this shape."""
    expected = shapes(config, r, target_modules)
    for name, shape in expected.items():
        if name not in got:
            raise InputError(f"{where}: expected {name}, found none; the adapter is damaged, or made for another model")
        if tuple(got[name]) != shape:
            n = f"{list(shape)} by r = {r} and the model's shape"
            raise InputError(f"{where}: {name}: expected {n}, got {list(got[name])}; it was made for another model")
    if extra := got.keys() - expected.keys():
        advice = "it was made for another model, or does more than LoRA"
        raise InputError(f"{where}: got {printable(min(extra))}, which target_modules do not name; {advice}")


# ---------------------------------------------------------------- merging


def corrected(weight, a, b, scale):  # [n_in, n_out], [r, n_in], [n_out, r] -> [n_in, n_out]
    """W + scale * (B A)^T, as new weights."""
    correction = a.T @ b.T
    correction *= scale
    correction += weight
    return correction


def pairs(adapter):
    """(the name of a weight in the model, A, B) for each layer."""
    for name, a in adapter.params.items():
        if name.endswith(".lora_A.weight"):
            layer = name.removesuffix(".lora_A.weight")
            yield f"{layer}.weight", a, adapter.params[f"{layer}.lora_B.weight"]


def merge(params, adapter):
    """-> merged params, and what unmerge needs: the old weights of the layers that changed, by name.

    `params` are not changed, and what is not adapted is shared. Taking B A off again would not give the old weights in
    floats, hence they are kept.
    """
    named = dict(P.walk(params))
    kept = {name: named[name] for name, _, _ in pairs(adapter)}
    new = {name: corrected(named[name], a, b, adapter.scale) for name, a, b in pairs(adapter)}
    return P.nest(named | new), kept


def unmerge(merged, kept):
    """The params that were merged, bit for bit; `kept`: what merge gave."""
    return P.nest(dict(P.walk(merged)) | kept)


def merging(adapter, keep=None):
    """What formats.load takes as `keep`: every weight is merged as it is read, before `keep` makes anything of it."""
    found = {name: (a, b) for name, a, b in pairs(adapter)}

    def take(name, array, config, give_back):
        array = corrected(array, *found[name], adapter.scale) if name in found else array
        return array if keep is None else keep(name, array, config, give_back)

    return take


# ---------------------------------------------------------------- on disk


def fingerprint(params):
    """sha256 over a model's biases and layer norms as float32: enough to tell models apart, and read in no time."""
    digest = hashlib.sha256()
    for name, array in P.walk(params):
        if getattr(array, "ndim", 2) == 1:
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(array, np.float32).data)
    return digest.hexdigest()


def save(directory, adapter, base, base_fingerprint=None, dtype="float32"):
    """Write an adapter as PEFT does; `base`: the name or directory of its model, `base_fingerprint`: of its params.

    Both files change as one. InputError for values that float16 cannot hold, FileError where the disk refuses.
    """
    tensors = {}
    for name, array in adapter.params.items():
        with np.errstate(over="ignore"):
            stored = tensors[f"{PREFIX}transformer.{name}"] = np.ascontiguousarray(array, dtype)
        if not np.isfinite(stored).all():
            raise InputError(f"{name}: expected finite values within {dtype}'s range, got others; the run went wrong")
    metadata = {"format": "pt"} | ({BASE: base_fingerprint} if base_fingerprint else {})
    texts = {CONFIG: files.to_json(to_config(adapter, str(base)))}
    files.make_folder(directory)
    with replacing_together(directory, CONFIG, texts, WEIGHTS) as part:
        save_file(tensors, part, metadata)
        sort_metadata(part)


def to_config(adapter, base):
    """What adapter_config.json says; PEFT fills in the rest."""
    return {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": adapter.r,
        "lora_alpha": adapter.alpha, "lora_dropout": 0.0, "use_rslora": adapter.rslora, "bias": "none",
        "fan_in_fan_out": True, "target_modules": list(adapter.target_modules), "inference_mode": True,
    }  # fmt: skip


def load(directory, config):
    """The Adapter of a folder, for models of this shape -> Adapter, and the fingerprint of its base or None.

    FileError where a file is missing or broken, where PEFT was told what is not done here (the option is named), and
    where the matrices do not fit `config`; nothing is read before its shape is known to be right.
    """
    directory = Path(directory)
    if not (directory / CONFIG).is_file():
        advice = "give a folder that PEFT or `nanogpt-np finetune --lora` wrote"
        raise FileError(f"{files.short(directory)}: expected an adapter ({CONFIG}), found none; {advice}")
    where = files.short(directory / CONFIG)
    raw = files.read_json(directory / CONFIG, MAX_CONFIG)
    r, alpha, rslora, modules = _settings(raw, where)
    header = read_header(directory / WEIGHTS)
    named = {_plain(name): info for name, info in header.tensors.items()}
    place = files.short(directory / WEIGHTS)
    try:
        check_fits({name: info.shape for name, info in named.items()}, config, r, modules, place)
    except FileError:
        raise
    except InputError as error:
        said = str(error) if str(error).startswith(place) else f"{where}: {error}"
        raise FileError(said) from error
    params, mapped = P.Named(), map_file(directory / WEIGHTS)
    for name in shapes(config, r, modules):
        if named[name].dtype not in STORED:
            raise FileError(f"{place}: {name}: expected a dtype of {', '.join(STORED)}, got {named[name].dtype}")
        params[name] = to_array(mapped, named[name], np.dtype(np.float32), copy=True)
        if not np.isfinite(params[name]).all():
            raise FileError(f"{place}: {name}: expected finite numbers, got others; the adapter is broken")
    return Adapter(r, alpha, tuple(modules), rslora, params), header.metadata.get(BASE)


def check_base(directory, made_for, params):
    """FileError where an adapter says that it was made for other weights than these; PEFT's say nothing."""
    if made_for is not None and made_for != fingerprint(params):
        got = "the weights it was made for, got others of the same shape; open it with its own base"
        raise FileError(f"{files.short(directory)}: expected {got} ({CONFIG} names it)")


def _plain(name):
    """PEFT's name of a matrix as a model here would call it."""
    return name.removeprefix(PREFIX).removeprefix("transformer.")


def _settings(raw, where):
    """-> r, alpha, rslora, target_modules of an adapter_config.json."""
    if not isinstance(raw, dict):
        raise FileError(f"{where}: expected a table of options, got {shown(raw)}")
    _check_options(raw, where)
    r, alpha, rslora = raw.get("r", 8), raw.get("lora_alpha", 8), raw.get("use_rslora", False)
    modules = raw.get("target_modules")
    if isinstance(modules, str) or not isinstance(modules, list) or len(modules) > 1000:
        raise FileError(f"{where}: target_modules: expected a list with {EXPECTED}, got {shown(modules)}")
    try:
        check_settings(r, alpha, rslora)
    except InputError as error:
        raise FileError(f"{where}: {re.sub('^alpha', 'lora_alpha', str(error))}") from error
    return r, alpha, rslora, modules


def _check_options(raw, where):
    """FileError naming an option that would compute something else than is done here."""
    known = {"peft_type": ("LORA",), "bias": ("none", None), "task_type": ("CAUSAL_LM", None)}
    known["init_lora_weights"] = _STARTS
    for name, allowed in known.items():
        value = raw.get(name, allowed[0])
        if value not in allowed:
            raise FileError(f"{where}: {name}: expected {allowed[0]!r}, got {shown(value)}, which is not done here")
    for name in sorted(raw.keys() - _READ - _HARMLESS):
        if raw[name] not in (None, False, {}, []):
            got = f"{shown(raw[name])}, which is not done here"
            raise FileError(f"{where}: {printable(name)}: expected none, got {got}")
