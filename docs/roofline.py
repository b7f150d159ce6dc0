"""Draws roofline.png from what `nanogpt-np bench decode prefill grow --json bench.json` measured.

python docs/roofline.py docs/roofline.png bench.json [more.json]: of a table that comes twice, the first counts

Each point is one measurement: to the right, how much is computed per byte of weights that is read; upwards, how much is
computed per second. The slanted line is the memory's speed in that run, the flat one the fastest matrix product here.
"""

import json
import sys
import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from nanogpt_np.bench.checks import bytes_per_token, kind_of, weight_count
from nanogpt_np.bench.ours import SIZES
from nanogpt_np.kernels.products import product

N_VOCABULARY = SIZES["gpt2"].n_vocab * SIZES["gpt2"].n_embd
N_WEIGHTS = weight_count(SIZES["gpt2"])
OURS = {"numpy": "#7aa6c2", "numba": "#0b6e99", "int8": "#c8553d", "int4": "#b8860b"}
OF_KIND = {"float32": "0.3", "int8": OURS["int8"], "Q8_0": OURS["int8"], "Q4_0": OURS["int4"]}
PEERS = {"transformers": "s", "ctranslate2": "^", "llama.cpp": "D"}


def main(target, *sources):
    """Read reports, draw the picture."""
    tables = {}
    for source in sources:
        with open(source, encoding="utf-8") as file:
            tables = {table["title"]: table for table in json.load(file)["tables"]} | tables
    roof, slope = fastest_product(), bandwidth(tables["decode"])
    figure, axes = plt.subplots(figsize=(9, 5.6), dpi=150)
    x = np.geomspace(0.3, 700, 200)
    axes.plot(x, np.minimum(slope * x, roof), color="0.25", linewidth=1.6, zorder=1)
    axes.text(0.32, slope * 0.32 * 1.8, f"memory: {slope:.0f} GB/s", rotation=33, color="0.25", fontsize=9)
    words = f"float32 products:\n{roof:.0f} billion/s"
    axes.text(700, roof * 0.93, words, ha="right", va="top", color="0.25", fontsize=9)
    steps = [("decode", 1, "one token\nat a time"), ("8 texts at once", 8, "8 texts\nat once")]
    steps += [("prefill 64", 64, "prompt\nof 64"), ("prefill 512", 512, "prompt\nof 512")]
    for title, n_tokens, _ in steps:
        for row in tables[title]["rows"]:
            if row["kind"] != "limit" and row["values"]:
                n_logits = 1 if title.startswith("prefill") else n_tokens
                work = 2 * (n_tokens * (N_WEIGHTS - N_VOCABULARY) + n_logits * N_VOCABULARY)
                draw(axes, row, work, seconds(title, row["median"], n_tokens))
    for (_, _, words), x in zip(steps, (0.5, 4, 22, 176), strict=True):  # where the float32 engines stand
        axes.text(x, 3.3, words, ha="center", va="bottom", fontsize=8, color="0.4")
    words = "8 and 4 bits read fewer bytes:\nthe same steps, further right"
    axes.text(2300, 5.2, words, ha="right", va="bottom", fontsize=8, color=OURS["int8"])
    finish(figure, axes, target)


def bandwidth(table):
    """GB/s, from the limit that the table states in tokens per second."""
    (limit,) = (row for row in table["rows"] if row["engine"] == "limit of float32")
    return limit["median"] * 4 * N_WEIGHTS / 1e9


def seconds(title, value, n_tokens):
    """The time in which the weights are read once: tables hold tokens per second, or milliseconds."""
    return value / 1e3 if title.startswith("prefill") else n_tokens / value


def draw(axes, row, work, each):
    """One engine's point; int8 reads a quarter of the bytes, so it stands four times as far to the right."""
    name, kind = row["engine"], kind_of(row["engine"])
    x, y = work / bytes_per_token(kind, SIZES["gpt2"]), work / each / 1e9
    if name in OURS:
        axes.scatter(x, y, s=70, color=OURS[name], zorder=3, label=f"ours, {name}")
    else:
        marker = PEERS[name.split()[0]]
        axes.scatter(x, y, s=46, marker=marker, facecolor="white", edgecolor=OF_KIND[kind], zorder=2, label=name)


def fastest_product(n=2048):
    """GFLOP/s of our own product of two large matrices, best of eight."""
    a, b = (np.random.default_rng(i).random((n, n), dtype=np.float32) for i in range(2))
    best = np.inf
    for _ in range(8):
        began = time.perf_counter()
        product(a, b)
        best = min(best, time.perf_counter() - began)
    return 2 * n**3 / best / 1e9


def finish(figure, axes, target):
    """Axes, legend, file."""
    axes.set(xscale="log", yscale="log", xlim=(0.3, 2500), ylim=(3, 900))
    axes.set_xlabel("operations per byte of weights")
    axes.set_ylabel("billions of operations per second")
    axes.set_title("GPT-2 124M's shape on two cores: what memory and arithmetic allow, what was reached", fontsize=10)
    axes.grid(which="major", color="0.9", zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    found = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(found.values(), found.keys(), frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0.0, 1.0))
    figure.tight_layout()
    figure.savefig(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
