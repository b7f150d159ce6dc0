"""From operations and bytes to seconds, days, kilowatt-hours and kilograms.

Enter: Work, a Machine, Options. Leave: seconds at best, as the roofline allows them; a Training with what it assumes.
Next: planning/scaling.py.
"""

from dataclasses import dataclass

from .. import params as P
from ..config import PRESETS
from . import work

TOKENS_PER_PARAMETER = 20  # about what Hoffmann et al. 2022 found best, table 3
GPT3_TOKENS, GPT3_CONTEXT = 300 * 10**9, 2048  # Brown et al. 2020, table 2.1
DAY, KWH = 24 * 3600, 3.6e6


def seconds(asked, machine, dtype):
    """At best: the time of the operations or of the bytes, whichever is longer (Williams et al. 2009, section 2).

    `asked`: Work. Nothing is said of what starts a product or hands its result on; no engine is as fast.
    """
    return max(asked.flops / machine.flops(dtype), asked.n_bytes / machine.bandwidth)


def is_memory_bound(asked, machine, dtype):
    """Does memory take longer than arithmetic?"""
    return asked.intensity < machine.ridge(dtype)


@dataclass(frozen=True)
class Training:
    """A training run. `flops`: 6 N D; `counted`: part by part, with attention and what is made again.

    `seconds` of all `devices` together, `kwh` and `kg` of CO2 equivalents (None where nobody says what a device takes).
    """

    n_tokens: int
    why_tokens: str
    flops: int
    counted: int
    devices: int
    seconds: float
    watts: float | None
    kwh: float | None
    kg: float | None

    @property
    def pf_days(self):
        """`flops` in petaflop/s-days."""
        return self.flops / work.PF_DAY


def train(config, machine, options, n_devices, name=""):
    """What training on `n_devices` takes -> Training. Time follows from 6 N D, as model FLOPs utilisation does."""
    n_tokens, why = tokens_to_train_on(config, options, name)
    n_params = P.size(config)
    flops = work.six_nd(n_params, n_tokens)
    speed = machine.float32 if options.precision == "float32" else machine.float16
    took = flops / (speed * options.utilisation * n_devices)
    watts = options.watts or machine.watts
    kwh = None if watts is None else energy(took, n_devices, watts, options.pue)
    kg = None if kwh is None else kwh * options.carbon
    counted = work.counted_flops(config, n_tokens, options.made_again)
    return Training(n_tokens, why, flops, counted, n_devices, took, watts, kwh, kg)


def tokens_to_train_on(config, options, name):
    """-> how many, and why so many."""
    if options.n_tokens is not None:
        return options.n_tokens, "as asked"
    if name.startswith("gpt3-") and name.split()[0] in PRESETS:
        return GPT3_TOKENS, "as GPT-3 was: Brown et al. 2020, table 2.1"
    return TOKENS_PER_PARAMETER * P.size(config), f"{TOKENS_PER_PARAMETER} for each parameter: Hoffmann et al. 2022"


def energy(took, n_devices, watts, pue):
    """kWh of some seconds: energy(3600, 1000, 100, 1.5) -> 150.0"""
    return took * n_devices * watts * pue / KWH
