"""GPT: config, params, tokenizer and ops in one handle. Thin: every method is a call into a room, none does arithmetic.

Enter: a model's name, a directory, or the parts. Leave: logits, text, or a directory. Next: generation/sampling.py.
"""

from __future__ import annotations

import os
import warnings
from types import ModuleType
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from . import files, memory, model
from . import ops as numpy_ops
from . import params as P
from .config import GPTConfig
from .errors import InputError, check_choice, check_kind, check_truth, check_whole, printable, shown
from .generation import defaults as settings
from .generation.writer import Writer
from .kv_cache import KVCache
from .storage import checkpoint, formats, registry
from .tokenizer.bpe import Tokenizer

OPS = ("auto", "numpy", "numba", "int8", "int4")
# what the forward pass calls: a module without one of them does no arithmetic
NEEDED = (
    "embedding", "layer_norm", "linear", "split_heads", "causal_mask", "band_mask", "attention_probs", "attention_mix",
    "merge_heads", "gelu", "gelu_new", "relu", "unembed",
)  # fmt: skip
LARGE = 200_000_000  # parameters; with fewer, NumPy says 200 tokens before kernels have made up for their start


class GPT(Writer):
    """A model ready to run: `gpt.config`, `gpt.params`, `gpt.tokenizer` (None without vocabulary files), `gpt.ops`.

    What it does with a prompt (generate, stream, complete, logprobs, …) stands in generation/writer.py; `gpt.defaults`
    are the keyword arguments of `generate` that count where a caller says nothing.
    """

    def __init__(
        self, config: GPTConfig, params: dict[str, Any], tokenizer: Tokenizer | None = None,
        ops: str | ModuleType = numpy_ops, defaults: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        _check_parts(config, params, tokenizer)
        self.defaults = settings.checked(defaults)
        self.config, self.tokenizer = config, tokenizer
        self.ops = find_ops(ops, P.count(params))
        self.params = self.ops.quantize(params, config) if _is_rounded(self.ops) else params
        self._trained_with = checkpoint.own_ops(self.ops)

    @classmethod
    def from_pretrained(
        cls, name_or_directory: str | os.PathLike[str], ops: str | ModuleType = "auto", copy: bool = False,
        adapter: str | os.PathLike[str] | None = None,
    ) -> GPT:  # fmt: skip
        """Open a registered model ("stories", "gpt2", …), any directory in the layout of `transformers`, or one file.

        The file is GGUF (llama.cpp's gpt2; weights of fewer than 16 bits need the library gguf) or llm.c's .bin.

        `ops`: "numpy", "numba" (compiled), "int8" or "int4" (compiled, weights in a quarter or a seventh of the bytes,
        for generating only), "auto" (see choose_ops), or a module with the functions of nanogpt_np.ops. FileError says
        where files were looked for. Warns where the model was trained with such a module of somebody's own, and this
        is not it.
        `copy`: weights are read into memory of their own, for files that others may overwrite while the model runs;
        else they may be mapped, and a file that is cut short under a running process ends it.
        `adapter`: a folder with a LoRA adapter for this model, PEFT's or `nanogpt-np finetune --lora`'s, or the name of
        one that ships; it is merged into the weights as they are read. FileError where it was made for another model.
        """
        check_truth("copy", copy)
        is_auto = isinstance(ops, str) and ops == "auto"
        twin = numpy_ops if is_auto else find_ops(ops)  # a wrong name is said before anything is looked for
        place = registry.resolve(files.as_path(name_or_directory, "name_or_directory"))
        if is_auto:
            twin, _ = choose_ops(P.size(formats.read_config(place)))
        keep = getattr(twin, "keep_one", None)  # one matrix at a time: never all of them twice
        folder = None if adapter is None else registry.resolve_adapter(files.as_path(adapter, "adapter"))
        config, params, tokenizer = formats.load(place, keep=keep, copy=copy, adapter=folder)
        trained = formats.trained_with(place)
        if trained not in (None, checkpoint.own_ops(twin)):
            warnings.warn(
                f"{place}: trained with the ops of the module {printable(trained)}, opened with {twin.__name__}, "
                "which may compute something else; give that module as ops",
                stacklevel=2,
            )
        config, own = _of_the_model(place, config)
        gpt = cls(config, params, tokenizer, twin, own)
        gpt._trained_with = trained or gpt._trained_with  # what the next save() says of these weights
        return gpt

    @classmethod
    def from_config(
        cls, config: GPTConfig, seed: int | None = 0, tokenizer: Tokenizer | None = None,
        ops: str | ModuleType = "auto",
    ) -> GPT:  # fmt: skip
        """A new model with random weights: GPT.from_config(PRESETS["gpt2"]); seed=None draws others each time.

        InputError where the weights do not fit the memory.
        """
        check_kind("config", config, GPTConfig)
        if seed is not None:
            check_whole("seed", seed)
        ops = find_ops(ops, P.size(config))
        _check_memory(4 * P.size(config))
        return cls(config, P.init(config, np.random.default_rng(seed)), tokenizer, ops)

    @overload
    def __call__(
        self, ids: ArrayLike, *, mask: ArrayLike | None = None, cache: KVCache | None = None,
        last_only: bool = False, keep_acts: Literal[False] = False,
    ) -> np.ndarray: ...  # fmt: skip

    @overload
    def __call__(
        self, ids: ArrayLike, *, mask: ArrayLike | None = None, cache: KVCache | None = None,
        last_only: bool = False, keep_acts: Literal[True],
    ) -> tuple[np.ndarray, model.GPTActs]: ...  # fmt: skip

    def __call__(
        self, ids: ArrayLike, *, mask: ArrayLike | None = None, cache: KVCache | None = None,
        last_only: bool = False, keep_acts: bool = False,
    ) -> Any:  # fmt: skip
        """-> logits float32 [n_batch, n_seq, n_vocab]; with `keep_acts` (logits, acts).

        `ids`: [n_seq] or [n_batch, n_seq] whole numbers; `mask`: the same shape, 0 at left padding; `cache`: a
        KVCache that `ids` continue; `last_only`: only the last position's logits, [n_batch, 1, n_vocab].
        InputError for ids outside the vocabulary and for more than n_ctx positions.
        """
        rows = self._check_ids(ids)
        mask = None if mask is None else _check_mask(mask, rows)
        if cache is not None:
            self._check_cache(cache, len(rows))
        check_truth("last_only", last_only)
        check_truth("keep_acts", keep_acts)
        logits, acts = model.forward(
            rows, self.params, self.config, self.ops, mask=mask, cache=cache, last_only=last_only, keep_acts=keep_acts
        )
        return (logits, acts) if keep_acts else logits

    def save(self, directory: str | os.PathLike[str], dtype: str = "float32") -> None:
        """Write config.json, model.safetensors, vocabulary files, and `defaults` as generation_config.json.

        `dtype`: "float32" or "float16".
        """
        if _is_rounded(self.ops):
            raise InputError("save: expected float weights, got int8 or int4; open the model with ops='numpy' for that")
        check_choice("dtype", dtype, ("float32", "float16"))
        directory = files.as_path(directory, "directory")
        eos_ids = [] if self.config.eos_id is None else [self.config.eos_id, *self.config.more_eos_ids]
        generation = settings.to_file(self.defaults, eos_ids)
        checkpoint.save(directory, self.config, self.params, self.tokenizer, dtype, self._trained_with, generation)

    def describe_ops(self, asked: str | ModuleType) -> str:
        """Who does the arithmetic, in words; `asked`: the name that was given, for which "auto" owes a reason."""
        find_ops(asked)
        name, n = self.ops.__name__, P.count(self.params)
        why = f" (auto: {choose_ops(n)[1]})" if isinstance(asked, str) and asked == "auto" else ""
        return f"ops {name}{why}, {n:,} parameters"

    def summary(self) -> str:
        """Every parameter as text, a line each: name, dtype and shape, how many numbers, their share; then the total.

        print(gpt.summary()); `gpt.params` at a prompt prints names and shapes alone.
        """
        return P.table(self.params)

    def explore(self, prompt: str | list[int], layer: int = 0, head: int = 0, lang: str | None = None) -> Any:
        """The page of `nanogpt-np explore` for a text, which a notebook shows; `.html` is the file as text.

        `layer`, `head`: where it begins; `lang`: "en" or "zh". InputError for int8 weights, and for what is no text.
        """
        from .explore.inline import explore  # the one door that leads down the house: a page looks at a GPT

        return explore(self, prompt, layer, head, lang)

    def __repr__(self) -> str:
        c = self.config
        shape = f"n_layer={c.n_layer}, n_head={c.n_head}, n_embd={c.n_embd}, n_ctx={c.n_ctx}, n_vocab={c.n_vocab}"
        shape += "" if c.n_inner is None else f", n_inner={c.n_inner}"
        return f"GPT({P.count(self.params):,} parameters: {shape}; ops={self.ops.__name__})"

    def _check_ids(self, given: ArrayLike) -> np.ndarray:
        ids = np.atleast_2d(_rectangle(given, "ids"))
        if ids.ndim != 2 or ids.size == 0 or not np.issubdtype(ids.dtype, np.integer):
            raise InputError(f"ids: expected whole numbers [n_batch, n_seq], got {ids.dtype} {list(ids.shape)}")
        if ids.min() < 0 or ids.max() >= self.config.n_vocab:
            raise InputError(f"ids: expected 0 to {self.config.n_vocab - 1}, got {ids.min()} to {ids.max()}")
        return ids

    def _check_cache(self, cache: KVCache, n_batch: int) -> None:
        check_kind("cache", cache, KVCache)
        _, n_rows, n_head, _, d_head = cache.keys.shape
        if n_rows != n_batch:
            raise InputError(f"cache: expected one made for n_batch = {n_batch}, got {n_rows}")
        if (n_head, d_head) != (self.config.n_head, self.config.d_head) or not cache.fits(self.config):
            raise InputError("cache: expected one made for this model, got another's; make it with KVCache(gpt.config)")


def find_ops(ops: str | ModuleType, n_parameters: int = 0) -> Any:
    """The module that does the arithmetic: a name of OPS, or a module itself; "auto" asks for the model's size."""
    if not isinstance(ops, str):
        missing = [name for name in NEEDED if not callable(getattr(ops, name, None))]
        if missing:
            raise _unknown_ops(f"{shown(ops)}, which has no {missing[0]}")
        return ops
    if ops not in OPS:
        raise _unknown_ops(shown(ops))
    if ops in ("numba", "int8", "int4"):
        from .kernels.compile import load_kept

        twin = _import_kernels(ops)
        load_kept("kernels" if ops == "numba" else "quantized")
        return twin
    return choose_ops(n_parameters)[0] if ops == "auto" else numpy_ops


def _unknown_ops(got: str) -> InputError:
    return InputError(f"ops: expected one of {', '.join(OPS)}, or a module, got {got}")


def choose_ops(n_parameters: int) -> tuple[Any, str]:
    """What "auto" means -> a module, and why: kernels for large models once they are compiled, else plain NumPy."""
    check_whole("n_parameters", n_parameters)
    if n_parameters < LARGE:
        return numpy_ops, f"a model of fewer than {LARGE:,} parameters"
    from . import kernels
    from .kernels import compile

    if compile.all_kept():
        compile.load_kept("kernels")
        return kernels, f"a model of at least {LARGE:,} parameters, and kernels that are compiled"
    return numpy_ops, "kernels that are not compiled yet; `nanogpt-np warmup` compiles them"


def _import_kernels(ops: str) -> ModuleType:
    """Half a second, so only where they are asked for."""
    if ops == "int8":
        from . import quantized

        return quantized
    if ops == "int4":
        from .quantized import int4

        return int4
    from . import kernels

    return kernels


def _is_rounded(ops: Any) -> bool:
    return hasattr(ops, "quantize")


def _of_the_model(directory: Any, config: GPTConfig) -> tuple[GPTConfig, dict[str, Any]]:
    """-> the config with the ids that end a text, and the keyword arguments, as generation_config.json has them."""
    raw, where = settings.read(directory), files.short(directory / settings.NAME)
    found, strange = settings.from_file(raw, where)
    if strange:
        warnings.warn(f"{where}: asks for what is not done here: {', '.join(strange[:5])}", stacklevel=3)
    ids = settings.eos_ids(raw, config.n_vocab, where)
    return config.replace(eos_id=ids[0], more_eos_ids=tuple(ids[1:])) if ids else config, found


def _check_parts(config: Any, params: Any, tokenizer: Any) -> None:
    """InputError where the parts of a model are none, or do not fit together."""
    check_kind("config", config, GPTConfig)
    if not isinstance(params, dict):
        raise InputError(f"params: expected a nested dict of arrays, got {shown(params)}")
    for name, array in P.walk(params):
        if not hasattr(array, "shape"):
            raise InputError(f"params: expected an array for {name}, got {shown(array)}")
    if tokenizer is not None:
        check_kind("tokenizer", tokenizer, Tokenizer)
    P.check(params, config)


def _check_memory(n_bytes: int) -> None:
    free = memory.available()
    if free is not None and n_bytes > free:
        expected, got = (memory.in_words(n) for n in (free, n_bytes))
        raise InputError(f"config: expected weights within the {expected} that are free, got {got}; make it smaller")


def _check_mask(given: ArrayLike, ids: np.ndarray) -> np.ndarray:
    mask = np.atleast_2d(_rectangle(given, "mask"))
    if mask.dtype.kind not in "biuf" or not np.all((mask == 0) | (mask == 1)):
        raise InputError(f"mask: expected True and False, or 1 and 0, got {shown(mask)}")
    if mask.shape != ids.shape:
        raise InputError(f"mask: expected the shape of ids, {list(ids.shape)}, got {list(mask.shape)}")
    return mask.astype(bool)


def _rectangle(rows: ArrayLike, name: str) -> np.ndarray:
    try:
        return np.asarray(rows)
    except ValueError as error:
        raise InputError(f"{name}: expected rows of equal length, got a ragged list; pad left and pass mask") from error
