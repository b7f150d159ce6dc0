"""GPT: config, params, tokenizer and ops in one handle. Thin: every method is a call into a room, none does arithmetic.

Enter: a model's name, a directory, or the parts. Leave: logits, text, or a directory. Next: generation/sampling.py.
"""

import warnings

import numpy as np

from . import model
from . import ops as numpy_ops
from . import params as P
from .errors import InputError, printable
from .generation import beams, text
from .generation.request import Request
from .generation.sampling import Sampling
from .storage import checkpoint, registry

OPS = ("auto", "numpy", "numba", "int8")
LARGE = 200_000_000  # parameters; with fewer, NumPy says 200 tokens before kernels have made up for their start


class GPT:
    """A model ready to run: `gpt.config`, `gpt.params`, `gpt.tokenizer` (None without vocabulary files), `gpt.ops`."""

    def __init__(self, config, params, tokenizer=None, ops=numpy_ops):
        P.check(params, config)
        self.config, self.tokenizer = config, tokenizer
        self.ops = find_ops(ops, P.count(params))
        self.params = self.ops.quantize(params, config) if _is_int8(self.ops) else params

    @classmethod
    def from_pretrained(cls, name_or_directory, ops="auto"):
        """Open a registered model ("stories", "poems", "gpt2", …) or any directory in the layout of `transformers`.

        `ops`: "numpy", "numba" (compiled), "int8" (compiled, weights in a quarter of the bytes, for generating only),
        "auto" (see choose_ops), or a module with the functions of nanogpt_np.ops. FileError says where files were
        looked for. Warns where the model was trained with such a module of somebody's own, and this is not it.
        """
        ops = ops if ops == "auto" else find_ops(ops)  # a wrong name is said before anything is looked for
        directory = registry.resolve(name_or_directory)
        if ops == "auto":
            ops, _ = choose_ops(P.size(checkpoint.read_config(directory)))
        keep = getattr(ops, "keep_one", None)  # one matrix at a time: never all of them twice
        config, params, tokenizer = checkpoint.load(directory, keep=keep)
        trained = checkpoint.trained_with(directory)
        if trained not in (None, checkpoint.own_ops(ops)):
            warnings.warn(
                f"{directory}: trained with the ops of the module {printable(trained)}, opened with {ops.__name__}, "
                "which may compute something else; give that module as ops",
                stacklevel=2,
            )
        return cls(config, params, tokenizer, ops)

    @classmethod
    def from_config(cls, config, seed=0, tokenizer=None, ops="auto"):
        """A new model with random weights: GPT.from_config(PRESETS["gpt2"])."""
        return cls(config, P.init(config, np.random.default_rng(seed)), tokenizer, ops)

    def __call__(self, ids, *, mask=None, cache=None, last_only=False, keep_acts=False):
        """-> logits float32 [n_batch, n_seq, n_vocab]; with `keep_acts` (logits, acts).

        `ids`: [n_seq] or [n_batch, n_seq] whole numbers; `mask`: the same shape, 0 at left padding; `cache`: a
        KVCache that `ids` continue; `last_only`: only the last position's logits, [n_batch, 1, n_vocab].
        InputError for ids outside the vocabulary and for more than n_ctx positions.
        """
        ids = self._check_ids(ids)
        if mask is not None:
            mask = np.atleast_2d(_rectangle(mask, "mask")).astype(bool)
            if mask.shape != ids.shape:
                raise InputError(f"mask: expected the shape of ids, {list(ids.shape)}, got {list(mask.shape)}")
        if cache is not None:
            self._check_cache(cache, len(ids))
        logits, acts = model.forward(
            ids, self.params, self.config, self.ops, mask=mask, cache=cache, last_only=last_only, keep_acts=keep_acts
        )
        return (logits, acts) if keep_acts else logits

    def generate(
        self, prompt, max_new_tokens=None, *, temperature=1.0, top_k=None, top_p=None, min_p=None,
        repetition_penalty=1.0, banned_ids=(), seed=None, stop=(), num_return_sequences=1, overflow="error",
        ignore_eos=False, speculate=0, num_beams=1, length_penalty=1.0, early_stopping=False,
    ):  # fmt: skip
        """The continuation of a prompt, without the prompt: text for text, ids for a list of ids.

        A list of prompts, or num_return_sequences above 1, gives a list. temperature=0 is greedy; sampling.Sampling
        and request.Request explain the rest. The same seed gives the same text. num_beams above 1 draws nothing and
        searches for the likeliest text (beams.Beams). speculate=8 with temperature=0 gives the same text, sooner where
        it repeats itself; speculation.stream_ids says what "the same" means, and what happens to a list of prompts.
        """
        how = beams.Beams(num_beams, length_penalty, early_stopping)
        sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty, _as_tuple(banned_ids))
        request = Request(
            max_new_tokens, sampling, seed, _as_tuple(stop), num_return_sequences, overflow, ignore_eos, speculate
        )
        prompts = [prompt] if _is_one(prompt) else list(prompt)
        parts = (prompts, self.params, self.config, self.ops, self.tokenizer, request)
        texts = text.generate(*parts) if num_beams == 1 else beams.generate(*parts, how)
        return texts[0] if _is_one(prompt) and num_return_sequences == 1 else texts

    def stream(
        self, prompt, max_new_tokens=None, *, temperature=1.0, top_k=None, top_p=None, min_p=None,
        repetition_penalty=1.0, banned_ids=(), seed=None, stop=(), overflow="error", ignore_eos=False,
        speculate=0,
    ):  # fmt: skip
        """Like `generate` for one prompt, but yields each piece of text (or id) as soon as it is certain."""
        sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty, _as_tuple(banned_ids))
        request = Request(
            max_new_tokens, sampling, seed, _as_tuple(stop), 1, overflow, ignore_eos, speculate
        )
        if not _is_one(prompt):
            raise InputError("stream: expected one prompt, got several; use generate for a batch")
        return text.stream(prompt, self.params, self.config, self.ops, self.tokenizer, request)

    def save(self, directory, dtype="float32"):
        """Write config.json, model.safetensors and the vocabulary files; `dtype`: "float32" or "float16"."""
        if _is_int8(self.ops):
            raise InputError("save: expected float weights, got int8; open the model with ops='numpy' and save that")
        checkpoint.save(directory, self.config, self.params, self.tokenizer, dtype, self.ops)

    def describe_ops(self, asked):
        """Who does the arithmetic, in words; `asked`: the name that was given, for which "auto" owes a reason."""
        name, n = self.ops.__name__, P.count(self.params)
        why = f" (auto: {choose_ops(n)[1]})" if asked == "auto" else ""
        return f"ops {name}{why}, {n:,} parameters"

    def summary(self) -> str:
        """Every parameter as text, a line each: name, dtype and shape, how many numbers, their share; then the total.

        print(gpt.summary()); `gpt.params` at a prompt prints names and shapes alone.
        """
        return P.table(self.params)

    def __repr__(self):
        c = self.config
        shape = f"n_layer={c.n_layer}, n_head={c.n_head}, n_embd={c.n_embd}, n_ctx={c.n_ctx}, n_vocab={c.n_vocab}"
        shape += "" if c.n_inner is None else f", n_inner={c.n_inner}"
        return f"GPT({P.count(self.params):,} parameters: {shape}; ops={self.ops.__name__})"

    def _check_ids(self, ids):
        ids = np.atleast_2d(_rectangle(ids, "ids"))
        if ids.ndim != 2 or ids.size == 0 or not np.issubdtype(ids.dtype, np.integer):
            raise InputError(f"ids: expected whole numbers [n_batch, n_seq], got {ids.dtype} {list(ids.shape)}")
        if ids.min() < 0 or ids.max() >= self.config.n_vocab:
            raise InputError(f"ids: expected 0 to {self.config.n_vocab - 1}, got {ids.min()} to {ids.max()}")
        return ids

    def _check_cache(self, cache, n_batch):
        n_layer, n_rows, n_head, _, d_head = cache.keys.shape
        if n_rows != n_batch:
            raise InputError(f"cache: expected one made for n_batch = {n_batch}, got {n_rows}")
        if (n_layer, n_head, d_head) != (self.config.n_layer, self.config.n_head, self.config.d_head):
            raise InputError("cache: expected one made for this model, got another's; make it with KVCache(gpt.config)")


def find_ops(ops, n_parameters=0):
    """The module that does the arithmetic: a name of OPS, or a module itself; "auto" asks for the model's size."""
    if not isinstance(ops, str):
        return ops
    if ops not in OPS:
        raise InputError(f"ops: expected one of {', '.join(OPS)}, or a module, got {ops!r}")
    if ops in ("numba", "int8"):
        from .kernels.compile import load_kept

        twin = _import_kernels(ops)
        load_kept()
        return twin
    return choose_ops(n_parameters)[0] if ops == "auto" else numpy_ops


def choose_ops(n_parameters):
    """What "auto" means -> a module, and why: kernels for large models once they are compiled, else plain NumPy."""
    if n_parameters < LARGE:
        return numpy_ops, f"a model of fewer than {LARGE:,} parameters"
    from . import kernels
    from .kernels import compile

    if compile.all_kept():
        compile.load_kept()
        return kernels, f"a model of at least {LARGE:,} parameters, and kernels that are compiled"
    return numpy_ops, "kernels that are not compiled yet; `nanogpt-np warmup` compiles them"


def _import_kernels(ops):
    """Half a second, so only where they are asked for."""
    if ops == "int8":
        from . import quantized

        return quantized
    from . import kernels

    return kernels


def _is_int8(ops):
    return hasattr(ops, "quantize")


def _rectangle(rows, name):
    try:
        return np.asarray(rows)
    except ValueError as error:
        raise InputError(f"{name}: expected rows of equal length, got a ragged list; pad left and pass mask") from error


def _is_one(prompt):
    """Is this one prompt (text, or a list of ids), rather than several? What is neither counts as one."""
    if isinstance(prompt, np.ndarray):
        return prompt.ndim < 2
    return not (isinstance(prompt, (list, tuple)) and prompt and isinstance(prompt[0], (str, list, tuple, np.ndarray)))


def _as_tuple(value):
    r"""One thing, several, or None, as a tuple: _as_tuple("\n") -> ("\n",)"""
    if value is None:
        return ()
    return (value,) if isinstance(value, (str, int, np.integer)) else tuple(value)
