"""The shape of a GPT: one frozen dataclass, the published sizes, and the way to and from `config.json`.

Enter: numbers, or the JSON of the `transformers` library. Leave: a checked GPTConfig. Next: params.py.
"""

from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from .errors import InputError, shown

ACTIVATIONS = ("gelu_new", "gelu", "relu")
POSITIONS = ("learned", "sinusoidal")
BANDED = "gpt2-banded"  # the model_type of what is saved with bands
MOST = 2**31 - 1  # of anything that is counted; what files claim beyond it would not even be printed
EPS_RANGE = (1e-38, 1.0)  # float32 has no normal numbers below, and above it a layer norm forgets its input


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT-2 (Radford et al. 2019, section 2.3); the defaults are GPT-2 124M.

    `n_inner`: the width inside a feed-forward network; None means four times n_embd, as in every GPT-2.
    `activation`: "gelu_new" (the tanh formula that GPT-2 uses), "gelu" (with erf), or "relu".
    `positions`: "learned" (GPT-2) or "sinusoidal" (Vaswani et al. 2017, section 3.5; no parameters).
    `dropout`: the share of values dropped in training, at GPT-2's three places; generation never drops.
    `eos_id`: the id that ends a text (<|endoftext|>), or None; `more_eos_ids`: further ones that end it too.
    `window`: in the banded layers a token sees so many tokens, itself and those before it (Child et al. 2019,
    section 4); None: every layer is dense, as in GPT-2. `banded_layers`: which layers that are, None: every other one
    from 1 on, as in GPT-3 (Brown et al. 2020, section 2.1).
    Raises InputError where a number is impossible.
    """

    n_vocab: int = 50257
    n_ctx: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation: str = "gelu_new"
    positions: str = "learned"
    layer_norm_eps: float = 1e-5
    tie_word_embeddings: bool = True
    dropout: float = 0.0
    eos_id: int | None = None
    more_eos_ids: tuple[int, ...] = ()
    window: int | None = None
    banded_layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("n_vocab", "n_ctx", "n_embd", "n_layer", "n_head", "n_inner", "window"):
            value = getattr(self, name)
            if name in ("n_inner", "window") and value is None:
                continue
            if not _is_whole(value) or not 1 <= value <= MOST:
                most = f", at most {MOST}" if _is_whole(value) and value > MOST else ""
                raise InputError(f"{name}: expected a whole number of at least 1{most}, got {shown(value)}")
        if self.n_embd % self.n_head:
            raise InputError(f"n_embd: expected a multiple of n_head = {self.n_head}, got {self.n_embd}")
        for name, allowed in (("activation", ACTIVATIONS), ("positions", POSITIONS)):
            value = getattr(self, name)
            if not isinstance(value, str) or value not in allowed:
                raise InputError(f"{name}: expected one of {', '.join(allowed)}, got {shown(value)}")
        if self.positions == "sinusoidal" and self.n_embd % 2:
            raise InputError(f"n_embd: expected an even number for sinusoidal positions, got {self.n_embd}")
        if not isinstance(self.tie_word_embeddings, bool):
            raise InputError(f"tie_word_embeddings: expected true or false, got {shown(self.tie_word_embeddings)}")
        if not _is_number(self.dropout) or not 0.0 <= self.dropout < 1.0:
            raise InputError(f"dropout: expected a share from 0 to below 1, got {shown(self.dropout)}")
        low, high = EPS_RANGE
        if not _is_number(self.layer_norm_eps) or not low <= self.layer_norm_eps <= high:
            got = shown(self.layer_norm_eps)
            raise InputError(f"layer_norm_eps: expected a positive number from {low} to {high}, got {got}")
        self._check_eos()
        self._check_bands()

    def _check_eos(self) -> None:
        if not isinstance(self.more_eos_ids, tuple) or (self.eos_id is None and self.more_eos_ids):
            raise InputError(f"more_eos_ids: expected a tuple of ids beside eos_id, got {shown(self.more_eos_ids)}")
        for name, ids in (("eos_id", (self.eos_id,)), ("more_eos_ids", self.more_eos_ids)):
            for i in ids:
                if i is None and name == "eos_id":
                    continue
                if not _is_whole(i) or not 0 <= i < self.n_vocab:
                    raise InputError(f"{name}: expected an id below n_vocab = {self.n_vocab}, got {shown(i)}")

    def _check_bands(self) -> None:
        layers = self.banded_layers
        if layers is None:
            return
        expected = f"numbers of layers below n_layer = {self.n_layer}, rising, as a tuple"
        if not isinstance(layers, tuple) or not all(_is_whole(i) and 0 <= i < self.n_layer for i in layers):
            raise InputError(f"banded_layers: expected {expected}, got {shown(layers)}")
        if not layers or list(layers) != sorted(set(layers)):
            raise InputError(f"banded_layers: expected {expected}, got {shown(layers)}")
        if self.window is None:
            raise InputError(f"banded_layers: expected a window beside them, got {shown(layers)}; give window too")

    def window_of(self, layer: int) -> int | None:
        """How many tokens a token sees in a layer; None: all before it. GPTConfig(window=256).window_of(1) -> 256"""
        is_banded = layer % 2 == 1 if self.banded_layers is None else layer in self.banded_layers
        return self.window if is_banded else None

    @property
    def is_banded(self) -> bool:
        """Has any layer a band? GPTConfig(window=256).is_banded -> True; with n_layer=1 there is no layer 1: False"""
        return self.window is not None and any(self.window_of(layer) for layer in range(self.n_layer))

    @property
    def d_head(self) -> int:
        """The width of one attention head."""
        return self.n_embd // self.n_head

    @property
    def n_hidden(self) -> int:
        """The width inside a feed-forward network: n_inner, or 4 * n_embd. GPTConfig().n_hidden -> 3072"""
        return 4 * self.n_embd if self.n_inner is None else self.n_inner

    def replace(self, **changes: Any) -> "GPTConfig":
        """A copy with some fields changed: `config.replace(n_ctx=512)`."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The `config.json` of the `transformers` library for this shape, a dict ready for JSON.

        A model with bands has a type of its own, so that nobody runs it as a GPT-2, which would compute something else.
        """
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            **{theirs: getattr(self, ours) for ours, theirs in _FIELDS.items()},
            "n_ctx": self.n_ctx,
            "attn_pdrop": self.dropout,
            "embd_pdrop": self.dropout,
            "resid_pdrop": self.dropout,
            "bos_token_id": self.eos_id,
            "eos_token_id": [self.eos_id, *self.more_eos_ids] if self.more_eos_ids else self.eos_id,
            "position_embedding": self.positions,
            **(self._bands() if self.is_banded else {}),
        }

    def _bands(self) -> dict[str, Any]:
        """What `config.json` says of bands: GPT-Neo's two fields under a type that is no other library's.

        `attn_implementation` stops who asks transformers' GPT2LMHeadModel for it all the same: there is none so named.
        """
        kinds = ["global" if self.window_of(layer) is None else "local" for layer in range(self.n_layer)]
        return {
            "architectures": ["BandedGPT2LMHeadModel"],
            "model_type": BANDED,
            "attn_implementation": "banded",
            "window_size": self.window,
            "attention_layers": kinds,
        }

    @classmethod
    def from_dict(cls, raw: Any) -> "GPTConfig":
        """The shape that a `config.json` describes; InputError where it is not a GPT-2 this project can run."""
        if not isinstance(raw, dict) or raw.get("model_type", "gpt2") not in ("gpt2", BANDED):
            got = shown(raw.get("model_type") if isinstance(raw, dict) else type(raw).__name__)
            raise InputError(f"config: expected model_type 'gpt2', got {got}; only GPT-2 models can be opened")
        for name, wanted in _FIXED.items():
            if raw.get(name, wanted) != wanted:
                got = shown(raw[name])
                raise InputError(f"config: expected {name} = {wanted!r}, got {got}; that variant is not supported")
        fields = {ours: raw[theirs] for ours, theirs in _FIELDS.items() if raw.get(theirs) is not None}
        activation = fields.get("activation")
        if isinstance(activation, str):
            fields["activation"] = _SAME.get(activation, activation)
        if "n_positions" not in raw and "n_ctx" in raw:
            fields["n_ctx"] = raw["n_ctx"]
        config = cls(
            **fields,
            dropout=raw.get("resid_pdrop") or 0.0,
            positions=raw.get("position_embedding", "learned"),
            **_read_bands(raw),
        )
        ids = _eos_ids(raw.get("eos_token_id"), config.n_vocab)
        return config.replace(eos_id=ids[0] if ids else None, more_eos_ids=tuple(ids[1:]))


def _eos_ids(stored: Any, n_vocab: int) -> list[int]:
    """The ids that end a text, one or a list in the file, each once: _eos_ids([3, 50256, 3, 4], 11) -> [3, 4]

    An id outside the vocabulary never comes: GPT2Config's default is 50256, also beside a small one.
    """
    ids = stored if isinstance(stored, list) else [] if stored is None else [stored]
    if not all(map(_is_whole, ids)):
        raise InputError(f"config: expected eos_token_id to be an id or a list of ids, got {shown(stored)}")
    return list(dict.fromkeys(i for i in ids if i < n_vocab))


def _read_bands(raw: dict[str, Any]) -> dict[str, Any]:
    """The fields `window` and `banded_layers` of a file; InputError where a file of the banded type says no such thing.

    _read_bands({"model_type": "gpt2"}) -> {}
    """
    if raw.get("model_type") != BANDED:
        return {}
    kinds, n_layer = raw.get("attention_layers"), raw.get("n_layer", GPTConfig.n_layer)
    if not isinstance(kinds, list) or len(kinds) != n_layer or not all(kind in ("global", "local") for kind in kinds):
        expected = "attention_layers to be 'global' or 'local' for each layer"
        raise InputError(f"config: expected {expected}, got {shown(kinds)}")
    if raw.get("window_size") is None:
        raise InputError(f"config: expected window_size, the width of the bands, in a model of type {BANDED}, got none")
    layers = tuple(layer for layer, kind in enumerate(kinds) if kind == "local")
    is_alternating = layers == tuple(range(1, len(kinds), 2))
    return {"window": raw["window_size"], "banded_layers": None if is_alternating else layers}


def _is_whole(value: Any) -> TypeGuard[int]:
    """Python's own whole numbers only: a config is written as JSON."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# our field -> the field of transformers' GPT2Config
_FIELDS = {
    "n_vocab": "vocab_size",
    "n_ctx": "n_positions",
    "n_embd": "n_embd",
    "n_layer": "n_layer",
    "n_head": "n_head",
    "n_inner": "n_inner",
    "activation": "activation_function",
    "layer_norm_eps": "layer_norm_epsilon",
    "tie_word_embeddings": "tie_word_embeddings",
}

# other names of `transformers` for the same two formulas, computed in another order or in one call
_SAME = {
    **dict.fromkeys(("gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_accurate"), "gelu_new"),
    "gelu_python": "gelu",
}

# switches of GPT2Config that would change the arithmetic; only these values are GPT-2. `reorder_and_upcast_attn` is
# none of them: it asks for scores in float32, in which they are computed here anyway
_FIXED = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}


# GPT-3: Brown et al. 2020, table 2.1. Two rows do not multiply out as printed, and are given here as they can exist:
# "XL" lists 24 heads of 128 beside a width of 2048 (16 fit), "13B" a width of 5140 beside 40 heads of 128 (5120 fits);
# training/gpt3.py has the table as it is printed. "Alternating dense and locally banded" is all that the paper says of
# bands, neither which come first nor how wide they are: here layer 0 is dense, and 256 is GPT-Neo's at the same n_ctx.
GPT3_WINDOW = 256


def _gpt3(n_layer: int, n_embd: int, n_head: int) -> GPTConfig:
    shape = GPTConfig(n_ctx=2048, n_layer=n_layer, n_embd=n_embd, n_head=n_head, eos_id=50256)
    return shape.replace(window=GPT3_WINDOW)


def _gpt2(n_layer: int, n_embd: int, n_head: int) -> GPTConfig:
    return GPTConfig(n_layer=n_layer, n_embd=n_embd, n_head=n_head, eos_id=50256)


# GPT-2: Radford et al. 2019, table 2, with the sizes of the published files.
PRESETS = {
    "gpt2": _gpt2(12, 768, 12),
    "gpt2-medium": _gpt2(24, 1024, 16),
    "gpt2-large": _gpt2(36, 1280, 20),
    "gpt2-xl": _gpt2(48, 1600, 25),
    "gpt3-small": _gpt3(12, 768, 12),
    "gpt3-medium": _gpt3(24, 1024, 16),
    "gpt3-large": _gpt3(24, 1536, 16),
    "gpt3-xl": _gpt3(24, 2048, 16),
    "gpt3-2.7b": _gpt3(32, 2560, 32),
    "gpt3-6.7b": _gpt3(32, 4096, 32),
    "gpt3-13b": _gpt3(40, 5120, 40),
    "gpt3-175b": _gpt3(96, 12288, 96),
}
