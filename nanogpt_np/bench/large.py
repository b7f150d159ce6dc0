"""Do the largest fit? GPT-2 1.5B's shape from shards: time to open, seconds per token, peak memory, by each of our ops.

Enter: a Bench. Leave: two tables. The weights are random, float32, written one block at a time and never held together;
who opens them maps the shards (numpy), lays them anew in memory (numba) or makes int8 of them matrix by matrix (int8).
Only where it is asked for by name: it takes 6.3 GB of disk and minutes. Next: bench/peers.py.
"""

import json
import shutil
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from .. import files, memory
from .. import params as P
from ..config import PRESETS
from ..storage import checkpoint
from .checks import after_the_first, check_ids, make_rows
from .ours import ENGINES, SIZES, Ours, cut_vocabulary, prompt
from .report import Table

NAME = "gpt2-xl"
N_PROMPT, N_NEW = 16, 8


def fit(bench):
    """Seconds to open and seconds per token of our engines; yield two Tables, with the peak memory of each."""
    size = bench.options.size or NAME
    config = config_of(size)
    n_bytes = 4 * P.size(config)
    title = f"{size} shape, {P.size(config):,} random weights, {memory.in_words(n_bytes)} in shards"
    if (free := shutil.disk_usage(bench.folder).free) < 1.1 * n_bytes:
        why = f"not measured: {memory.in_words(free)} are free in {bench.folder}; set TMPDIR to where there is more"
        yield Table("large", title, "s", False, [], [why])
        return
    directory = bench.folder / "large"
    with bench.open_worker("make", "shards", bench.settings(directory)) as maker:
        maker.ask({"size": size})
    request = {"ids": prompt(config, N_PROMPT), "n_new": N_NEW}
    rounds = [request] * (1 + bench.options.runs)
    # one engine after the other: together they would not fit
    settings, runs = bench.settings(directory), {}
    for engine in ENGINES:
        runs |= bench.race("large", "open", [engine], settings, rounds)
    rows = make_rows(runs, lambda answer: answer["opened"], ENGINES)
    for row in rows:
        row.values = row.values[:1]  # each was opened once, whatever the number of rounds
    yield Table("large: to open", title, "s", False, rows)
    rows = make_rows(runs, after_the_first, ENGINES)
    check_ids(rows, runs)
    setting = f"prompt {N_PROMPT}, {N_NEW} new tokens, greedy"
    yield Table("large: a token", f"{title}, {setting}", "s", False, rows)


def config_of(size):
    """The shape of a name of SIZES, or of a preset."""
    return SIZES.get(size) or PRESETS[size]


class ShardMaker:
    """Writes a random model in shards: the embeddings, each block, the rest."""

    about = "random weights, seed 0, a shard for each block"

    def __init__(self, settings):
        self.directory = Path(settings["directory"])

    def run(self, request):
        """{"size": …} -> {"shards": how many}"""
        config, rng = config_of(request["size"]), np.random.default_rng(0)
        self.directory.mkdir()
        files.write_json(self.directory / checkpoint.CONFIG, config.to_dict())
        cut_vocabulary(config.n_vocab).save(self.directory)
        places = {}
        for name in P.shapes(config):
            at = int(name.split(".")[1]) + 1 if name.startswith("h.") else 0
            places[name] = f"model-{at:05}-of-{config.n_layer + 1:05}.safetensors"
        for shard in sorted(set(places.values())):
            names = [name for name, place in places.items() if place == shard]
            save_file(_drawn(config, names, rng), self.directory / shard, {"format": "pt"})
        files.write_text(self.directory / checkpoint.INDEX, json.dumps({"weight_map": places}))
        return {"shards": config.n_layer + 1}


def _drawn(config, names, rng):
    """Some weights, nearly as P.init draws all: matrices normal(0, 0.02), biases 0, layer norms 1."""
    shapes, drawn = P.shapes(config), {}
    for name in names:
        if len(shapes[name]) == 1:
            drawn[name] = np.full(shapes[name], name.endswith("weight"), np.float32)
        else:
            drawn[name] = rng.standard_normal(shapes[name], dtype=np.float32) * np.float32(P.STD)
    return drawn


class Opened(Ours):
    """This project with one of its ops, and how long it took to open."""

    def __init__(self, engine, settings):
        began = time.perf_counter()
        super().__init__(engine, settings)
        self.seconds = time.perf_counter() - began

    def run(self, request):
        """As Ours, with {"opened": seconds}."""
        return {**super().run(request), "opened": self.seconds}
