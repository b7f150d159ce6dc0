"""What decides a plan: how long the texts are, how long the training, how it is split, and what is assumed.

Enter: numbers. Leave: checked Options; an absurd one ends in one line. Next: planning/splits.py.
"""

from dataclasses import dataclass, fields

from ..errors import InputError, check_choice, is_number, is_whole, shown
from .sizes import DTYPES

MOST_RANKS, MOST_TOKENS = 10**6, 10**18
PRECISIONS = ("mixed", "float32")
RECOMPUTE = ("none", "attention", "all")
USUAL_RECOMPUTE = {"mixed": "attention", "float32": "none"}  # FlashAttention's way, and ours
UTILISATION = 0.4  # of its operations; PaLM: 0.457 without attention, as here, 0.462 with (Chowdhery et al. 2022)
PUE, CARBON = 1.1, 0.429  # GPT-3's data centre, as Patterson et al. 2021 put it: kg of CO2 equivalents per kWh
USABLE = 0.9  # of a device's memory; the rest is for the framework and what it passes round


@dataclass(frozen=True)
class Options:
    """What decides a plan; None: as the model says, or as suits best.

    `dtype`: of weights and cache while generating. `n_before`: tokens before the one that is counted (None: a full
    context). `n_prompt`: of the prompt (None: n_ctx). `n_batch`: texts at once. `n_tokens`: to train on. `devices`: to
    train on (None: the smallest cluster). `data`, `tensor`, `pipeline`: a split to look at. `micro_batch`: windows at
    once on a rank. `precision`: "mixed" (16-bit weights and gradients, a float32 copy) or "float32", ours.
    `recompute`: what the backward pass makes again. `utilisation`: the share of a device's operations that training
    reaches. `pue`: energy of the data centre per energy of the devices. `carbon`: kg per kWh. `watts`: per device.
    `usable`: the share of a device's memory to fill.
    Raises InputError where a number is impossible.
    """

    dtype: str = "float16"
    n_before: int | None = None
    n_prompt: int | None = None
    n_batch: int = 1
    n_tokens: int | None = None
    devices: int | None = None
    data: int = 1
    tensor: int = 1
    pipeline: int = 1
    micro_batch: int = 1
    precision: str = "mixed"
    recompute: str | None = None
    utilisation: float = UTILISATION
    pue: float = PUE
    carbon: float = CARBON
    watts: float | None = None
    usable: float = USABLE

    def __post_init__(self):
        check_choice("dtype", self.dtype, DTYPES)
        check_choice("precision", self.precision, PRECISIONS)
        if self.recompute is not None:
            check_choice("recompute", self.recompute, RECOMPUTE)
        optional = {field.name for field in fields(self) if field.default is None}
        for name, least, most in (
            ("n_before", 0, MOST_TOKENS), ("n_prompt", 1, MOST_TOKENS), ("n_tokens", 1, MOST_TOKENS),
            ("n_batch", 1, MOST_RANKS), ("micro_batch", 1, MOST_RANKS), ("devices", 1, MOST_RANKS),
            ("data", 1, MOST_RANKS), ("tensor", 1, MOST_RANKS), ("pipeline", 1, MOST_RANKS),
        ):  # fmt: skip
            value = getattr(self, name)
            if (value is None and name in optional) or (is_whole(value) and least <= value <= most):
                continue
            raise InputError(f"{name}: expected a whole number from {least} to {most:,}, got {shown(value)}")
        for name, least, most in (
            ("utilisation", 1e-6, 1.0), ("pue", 1.0, 10.0), ("carbon", 0.0, 10.0), ("watts", 1e-3, 1e5),
            ("usable", 0.01, 1.0),
        ):  # fmt: skip
            value = getattr(self, name)
            if (value is None and name in optional) or (is_number(value) and least <= value <= most):
                continue
            raise InputError(f"{name}: expected a number from {least:g} to {most:g}, got {shown(value)}")

    @property
    def made_again(self):
        """What the backward pass makes again: `recompute`, or what is usual for the precision."""
        return self.recompute or USUAL_RECOMPUTE[self.precision]
