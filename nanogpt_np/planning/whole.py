"""A plan: what is known of a model before it runs, in one frozen dataclass.

Enter: a model's name or GPTConfig, a machine's name, Options. Leave: a Plan. Next: planning/wording.py.
"""

from dataclasses import dataclass, replace

from ..config import GPTConfig
from ..errors import InputError, check_kind
from . import clusters, scaling, splits, times, work
from .here import measure_here
from .machines import PUBLISHED, THIS, Machine, find_machine
from .naming import find_config
from .options import Options
from .sizes import Sizes, count_sizes

FEW = 8  # ranks of the splits that are shown beside the one that was asked for


@dataclass(frozen=True)
class OnMachine:
    """A token and a prompt on one machine, at best; `fits`: do weights and cache fit one device?"""

    machine: Machine
    token_seconds: float
    is_memory_bound: bool
    prompt_seconds: float
    fits: bool


@dataclass(frozen=True)
class Rank:
    """One way to split a training run, the memory of its fullest rank, and whether a device holds it."""

    split: splits.Split
    memory: splits.RankMemory
    fits: bool


@dataclass(frozen=True)
class Plan:
    """What is planned of a model.

    `token`, `prompt`: work.Work; `machines`: an OnMachine for each; `ranks`: of Rank, the split that was asked for
    last; `to_train`, `to_generate`: the smallest clusters.Cluster, None where none of those tried holds it;
    `forecasts`: a scaling.Forecast by each law.
    """

    name: str
    config: GPTConfig
    machine: Machine
    options: Options
    sizes: Sizes
    token: work.Work
    prompt: work.Work
    machines: tuple
    ranks: tuple
    to_train: clusters.Cluster | None
    to_generate: clusters.Cluster | None
    training: times.Training
    forecasts: tuple


def plan(model, machine="a100", options=None, name=None):
    """Plan a model on a machine -> Plan; plan("gpt2").sizes.n_params -> 124,439,808

    `model`: a GPTConfig, a preset's or a registered name, a directory or a file. `machine`: a name of
    machines.MACHINES, "this" (measured now, about a second), or a Machine. `name`: what to call the model.
    Raises InputError where something does not suit, before anything is measured.
    """
    o = Options() if options is None else options
    check_kind("options", o, Options)
    config = model if isinstance(model, GPTConfig) else find_config(model)
    name = name or (f"n_layer {config.n_layer}" if isinstance(model, GPTConfig) else str(model))
    n_before = _within("n_before", o.n_before, config.n_ctx - 1, config)
    n_prompt = _within("n_prompt", o.n_prompt, config.n_ctx, config)
    asked = splits.Split(o.data, o.tensor, o.pipeline)
    splits.check_split(config, asked)
    here = measure_here() if machine == THIS else find_machine(machine)
    o = replace(o, n_before=n_before, n_prompt=n_prompt)
    token, prompt = (work.token_work(config, n_before, o.dtype, o.n_batch),
                     work.prompt_work(config, n_prompt, o.dtype, o.n_batch))  # fmt: skip
    to_train = clusters.training_cluster(config, here, o)
    devices = o.devices or (to_train.split.n_ranks if to_train else asked.n_ranks)
    training = times.train(config, here, o, devices, name)
    sizes = count_sizes(config)
    return Plan(
        name, config, here, o, sizes, token, prompt, _on_machines(config, here, token, prompt, o),
        _ranks(config, here, asked, o), to_train, clusters.generating_cluster(config, here, o), training,
        scaling.forecast(sizes, training.n_tokens, training.flops),
    )  # fmt: skip


def _within(name, value, most, config):
    if value is not None and value > most:
        raise InputError(f"{name}: expected at most {most:,}, as n_ctx is {config.n_ctx:,}, got {value:,}")
    return most if value is None else value


def _on_machines(config, here, token, prompt, options):
    """The published machines, and the one of the plan where it is none of them."""
    rows = []
    for machine in [*PUBLISHED, *([] if here in PUBLISHED else [here])]:
        one = clusters.generating_cluster(config, machine, options)
        took = [times.seconds(asked, machine, options.dtype) for asked in (token, prompt)]
        bound = times.is_memory_bound(token, machine, options.dtype)
        rows.append(OnMachine(machine, took[0], bound, took[1], one is not None and one.split.n_ranks == 1))
    return tuple(rows)


def _ranks(config, machine, asked, options):
    """One rank; FEW, or as many as divide the model, by data, by tensor, by pipeline; the split that was asked for."""
    tensor, pipeline = (max(n for n in splits.divisors(of) if n <= FEW) for of in (config.n_head, config.n_layer))
    shown = [splits.Split(), splits.Split(data=FEW), splits.Split(tensor=tensor), splits.Split(pipeline=pipeline)]
    rows, room = [], machine.memory * options.usable
    for split in dict.fromkeys([*(one for one in shown if one != asked), asked]):
        memory = splits.rank_memory(config, split, options)
        rows.append(Rank(split, memory, memory.total <= room))
    return tuple(rows)
