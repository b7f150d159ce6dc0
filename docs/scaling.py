"""What training on several processes costs: measured here, fitted, carried to 1,000 ranks (docs/scaling.md).

    python docs/scaling.py measure docs/scaling.json   about a minute; starts mpiexec for 1, 2 and 4 ranks itself
    python docs/scaling.py draw docs/scaling.json      docs/scaling_messages.png, _ranks.png, _large.png
    python docs/scaling.py page docs/scaling.json      puts the tables into docs/scaling.md

Enter: a machine with two cores or more, and the extra `mpi`. Leave: a JSON file of times, fits and predictions; from
that, pictures and tables. `python docs/scaling.py rank …` is what each rank runs.
"""

import json
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

RANKS = (1, 2, 4)
SIZES = [1 << n for n in (10, 14, 16, 18, 20, 22, 24)]  # bytes of a message: 1 KiB to 16 MiB
BUCKETS = [1 << n for n in (18, 20, 22, 23, 24, 25)]  # bytes that are exchanged at once
SUMMED = 32 << 20  # bytes of the vector whose sum is measured for each of BUCKETS
SECONDS = 0.4  # for each measurement
SHAPE = {"n_vocab": 1024, "n_ctx": 64, "n_embd": 128, "n_layer": 4, "n_head": 4}
HEAVY = {"n_vocab": 4096, "n_ctx": 16, "n_embd": 512, "n_layer": 6, "n_head": 8}  # whose memory is measured
BATCH, STRONG = 4, 4  # windows in a batch, and batches in a step that is shared (weak: one for each rank)
PIECE = 8 << 20  # as distributed_sums.BUCKET_BYTES
LARGE = {"124M": 124_439_808, "1.5B": 1_557_611_200}  # parameters
NETWORKS = {  # latency in seconds, bytes per second and rank: what is assumed, not measured
    "10 Gb/s Ethernet": (30e-6, 1.25e9),
    "100 Gb/s InfiniBand": (2e-6, 12.5e9),
    "400 Gb/s InfiniBand": (2e-6, 50e9),
}
FLOPS = {"64 cores": 3.0e12, "an A100": 1.4e14}  # operations a second that training reaches there; assumed
TOKENS = 524_288  # of a step of GPT-2's and GPT-3 small's size, all ranks together
PAIRS = (("64 cores", "10 Gb/s Ethernet"), ("64 cores", "100 Gb/s InfiniBand"), ("an A100", "400 Gb/s InfiniBand"))
WORDS = {"weak": "a batch for each rank", "strong": f"{STRONG} batches in all"}
COLORS = "#0b6e99", "#c8553d", "#6a4c93"
FAR = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)


# ---------------------------------------------------------------- what each rank measures


def repeated(work, comm):
    """The least seconds of work(), which all ranks do together for about SECONDS: others may use this machine, too."""
    times, began = [], time.perf_counter()
    more = True
    while more:
        comm.Barrier()
        start = time.perf_counter()
        work()
        comm.Barrier()
        times.append(time.perf_counter() - start)
        flag = np.array([time.perf_counter() - began < SECONDS or len(times) < 3], np.int64)
        comm.Bcast(flag)
        more = bool(flag[0])
    return float(min(times))


def of_rank(what="times"):
    """All measurements of one number of ranks, or those of "memory"; the first rank prints them as JSON."""
    from mpi4py import MPI

    from nanogpt_np import memory
    from nanogpt_np.training import distributed_ranks, distributed_sums, loop
    from nanogpt_np.training.distributed_sums import Flat

    ranks = distributed_ranks.Ranks(MPI.COMM_WORLD)
    if what == "memory":
        if (found := memory_of(ranks)) is not None:
            print(json.dumps(found))
        return
    memory.keep_freed_memory(loop.KEPT_BYTES)  # as a run does
    comm, found = ranks.comm, {"ranks": ranks.size, "allreduce": {}, "exchange": {}, "buckets": {}}
    for n_bytes in SIZES:
        a, b = np.ones(n_bytes // 4, np.float32), np.empty(n_bytes // 4, np.float32)
        found["allreduce"][n_bytes] = repeated(lambda a=a, b=b: comm.Allreduce(a, b), comm)
        flat = Flat({"a": a.shape}, ranks, bucket_bytes=n_bytes)
        vectors = flat.zeros(), np.zeros(flat.n_owned, np.float32)
        found["exchange"][n_bytes] = repeated(lambda flat=flat, v=vectors: exchange(flat, distributed_sums, *v), comm)
    for n_bytes in BUCKETS:
        flat = Flat({"a": (SUMMED // 4,)}, ranks, bucket_bytes=n_bytes)
        vectors = flat.zeros(), np.zeros(flat.n_owned, np.float32)
        found["buckets"][n_bytes] = repeated(lambda flat=flat, v=vectors: exchange(flat, distributed_sums, *v), comm)
    found |= steps(ranks)
    if ranks.is_first:
        print(json.dumps(found))


def exchange(flat, sums, vector, share):
    """What a step does: sum into shares in the order of the ranks, and the shares side by side again."""
    sums.add_shares(flat, vector, share, flat.ranks.size, is_begun=False)
    sums.spread_shares(flat, vector)


def learner(ranks, accumulate, shape, batch_size=BATCH):
    """A fresh Learner of a shape."""
    from nanogpt_np import ops
    from nanogpt_np import params as P
    from nanogpt_np.config import GPTConfig
    from nanogpt_np.training.distributed import Learner
    from nanogpt_np.training.options import TrainOptions

    config, rng = GPTConfig(**shape), np.random.default_rng(0)
    options = TrainOptions(["-"], "-", **shape, batch_size=batch_size, accumulate=accumulate)
    made = Learner(options, config, rng, ops, ranks, P.init(config, rng) if ranks.is_first else None)
    made.agree()
    return made


def steps(ranks):
    """Seconds of a step, weak and strong; what of it is the sum; with buckets that overlap; and memory."""
    found = {"weak": None, "strong": None}
    for name, accumulate in (("weak", ranks.size), ("strong", STRONG)):
        made = learner(ranks, accumulate, SHAPE)
        rows = np.random.default_rng(1).integers(0, SHAPE["n_vocab"], (accumulate * BATCH, SHAPE["n_ctx"] + 1))
        one = rows[:BATCH].astype(np.int32)
        found[name] = repeated(lambda made=made, rows=rows: made.step(1e-4, len(rows), rows), ranks.comm)
        if name == "weak":
            found["n_parameters"] = made.flat.n_numbers
            found["learn"] = repeated(lambda made=made, one=one: made.learn(made.parts[0], one), ranks.comm)
            for way in ("after", "overlapped"):
                found[way] = repeated(lambda made=made, one=one, way=way: together(made, one, way), ranks.comm)
    return found


def memory_of(ranks):
    """Bytes that a rank has held at most before and after one step of a larger model, and those of its arrays."""
    from nanogpt_np import memory

    before = memory.most_used()
    made = learner(ranks, ranks.size, HEAVY, 1)
    made.step(1e-4, ranks.size, np.zeros((ranks.size, HEAVY["n_ctx"] + 1), np.int64))
    rows = ranks.gather([before, memory.most_used(), arrays_of(made), made.flat.n_numbers])
    if rows is None:
        return None
    return {"before": [row[0] for row in rows], "most": [row[1] for row in rows], "arrays": rows[0][2],
            "numbers": rows[0][3]}  # fmt: skip


def arrays_of(made):
    """Bytes of what a rank keeps from step to step: weights, gradient, its share of the sum and of two means."""
    kept = (made.weights, made.gradient, made.still, made.sum, made.optimizer.m, made.optimizer.v)
    return sum(array.nbytes for array in kept)


def together(made, rows, way):
    """One batch learned from and its gradients exchanged: after the backward pass, or while it goes on below.

    Overlapped: a piece of the vector starts on its way as soon as all of it is there; after each block MPI is asked
    once, which is when Open MPI moves what is under way.
    """
    from nanogpt_np import params as P
    from nanogpt_np.training import backward, distributed_sums

    flat, comm = made.flat, made.ranks.comm
    ids = rows.astype(np.int64)
    _, stages = backward.loss_and_stages(ids[:, :-1], ids[:, 1:], made.params, made.config, made.ops)
    pieces, under_way = list(flat.pieces()), []
    received = np.empty(flat.n_padded, flat.dtype)
    for stage, grads in stages:
        for name, grad in P.walk(grads, f"{stage}."):
            made.grads[name][...] = grad
            end = flat.places[name][0] + grad.size
        while way == "overlapped" and pieces and pieces[0][0] + flat.ranks.size * pieces[0][2] <= end:
            start, _, part = pieces.pop(0)
            n = flat.ranks.size * part
            under_way.append(comm.Ialltoall(made.gradient[start : start + n], received[start : start + n]))
        for request in under_way:
            request.Test()
    if way == "after":
        distributed_sums.add_shares(flat, made.gradient, made.sum, flat.ranks.size, is_begun=False)
        return
    for start, _, part in pieces:
        n = flat.ranks.size * part
        under_way.append(comm.Ialltoall(made.gradient[start : start + n], received[start : start + n]))
    for request, (start, owned, part) in zip(under_way, flat.pieces(), strict=True):
        request.Wait()
        into = made.sum[owned : owned + part]
        into[...] = 0
        for of_one in received[start : start + flat.ranks.size * part].reshape(-1, part):
            into += of_one


# ---------------------------------------------------------------- fits and predictions


def fit(times, n):
    """Latency a and bandwidth 1 / b of t = a (n - 1) + b bytes (n - 1) / n, by least squares of relative errors."""
    sizes, seconds = np.array([float(size) for size in times]), np.array(list(times.values()))
    rows = np.stack([np.full(len(sizes), n - 1.0), sizes * (n - 1) / n], axis=1) / seconds[:, None]
    a, b = np.linalg.lstsq(rows, np.ones(len(sizes)), rcond=None)[0]
    return max(float(a), 0.0), 1.0 / float(b)


def predicted(n_parameters, n_ranks, latency, speed, flops, hidden=False):
    """Seconds of a step of TOKENS: of computing, and of what the ranks tell each other.

    Computing: 6 operations for each parameter and token (Kaplan et al. 2020, section 2.1). Gradients into shares, and
    weights out of them, each take 4 bytes x (n - 1) / n and n - 1 messages for each piece. `hidden`: as if gradients
    could travel during 2/3 of the computing, which is the backward pass.
    """
    compute = 6.0 * n_parameters * TOKENS / n_ranks / flops
    n_pieces = math.ceil(4 * n_parameters / PIECE)
    one_way = (n_ranks - 1) * (latency * n_pieces + 4 * n_parameters / n_ranks / speed)
    return compute, (max(one_way - compute * 2 / 3, 0.0) if hidden else one_way) + one_way


def efficiency(compute, told):
    """The share of a step in which ranks compute."""
    return compute / (compute + told)


def kept(n_ranks):
    """Bytes that a rank keeps for each parameter: weight and gradient, and its share of the sum and of two means.

    kept(4) -> 11.0
    """
    return 8 + 12 / n_ranks


# ---------------------------------------------------------------- tables


def tables(found):
    """{name: rows of cells, the header first}, of what was measured and of what follows from it."""
    fits = {n: fit(found[str(n)]["exchange"], n) for n in RANKS[1:]}
    messages = [["bytes", *(f"{way}, {n} ranks" for n in RANKS[1:] for way in ("Allreduce", "ours", "fit"))]]
    for size in SIZES:
        row = [f"{size >> 10:,} KiB"]
        for n in RANKS[1:]:
            at, of = fits[n], found[str(n)]
            said = at[0] * (n - 1) + size * (n - 1) / n / at[1]
            row += [f"{1e6 * t:,.0f} us" for t in (of["allreduce"][str(size)], of["exchange"][str(size)], said)]
        messages.append(row)
    fitted = [["ranks", "latency of a message", "bytes per second"]]
    fitted += [[str(n), f"{1e6 * fits[n][0]:,.0f} us", f"{fits[n][1] / 1e9:.2f} GB/s"] for n in RANKS[1:]]
    buckets = [["exchanged at once", *(f"{n} ranks" for n in RANKS[1:])]]
    for size in BUCKETS:
        row = [f"{size >> 10:,} KiB"]
        buckets.append(row + [f"{1e3 * found[str(n)]['buckets'][str(size)]:,.1f} ms" for n in RANKS[1:]])
    return {"messages": messages, "fit": fitted, "buckets": buckets} | tables_of_steps(found) | {"large": large()}


def tables_of_steps(found):
    """The same of whole steps."""
    steps = [["ranks", "weak: a batch each", "strong: 4 batches", "of both in one process", "one batch, then summed",
              "summed meanwhile"]]  # fmt: skip
    one = found["1"]
    for n in RANKS:
        of = found[str(n)]
        steps.append([str(n), f"{1e3 * of['weak']:.0f} ms", f"{1e3 * of['strong']:.0f} ms",
                      f"{of['weak'] / one['weak']:.2f} x, {of['strong'] / one['strong']:.2f} x",
                      f"{1e3 * of['after']:.0f} ms", f"{1e3 * of['overlapped']:.0f} ms"])  # fmt: skip
    memory = [["ranks", "kept arrays of a rank", "that is, for each parameter", "first rank, at most", "others"]]
    for n in RANKS:
        of = found[str(n)]["memory"]
        first, *others = ((most - at) / 1e6 for most, at in zip(of["most"], of["before"], strict=True))
        last = f"{max(others):.0f} MB" if others else ""
        row = [f"{of['arrays'] / 1e6:.0f} MB", f"{of['arrays'] / of['numbers']:.1f} bytes", f"{first:.0f} MB", last]
        memory.append([str(n), *row])
    return {"steps": steps, "memory": memory}


def large():
    """Predicted steps of large models on assumed machines."""
    rows = [["model", "machine and network", *(f"{n:,} ranks" for n in (8, 64, 512, 1000)), "1,000, overlapped"]]
    for model, n_parameters in LARGE.items():
        for machine, network in PAIRS:
            row = [model, f"{machine}, {network}"]
            for n in (8, 64, 512, 1000):
                compute, told = predicted(n_parameters, n, *NETWORKS[network], FLOPS[machine])
                row.append(f"{compute + told:.3g} s, {efficiency(compute, told):.0%}")
            compute, told = predicted(n_parameters, 1000, *NETWORKS[network], FLOPS[machine], hidden=True)
            rows.append([*row, f"{compute + told:.3g} s, {efficiency(compute, told):.0%}"])
    return rows


def markdown(rows):
    """Rows of cells as a table."""
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def with_tables(page, found):
    """The page with each table behind its "<!-- name -->" as measured."""
    for name, rows in tables(found).items():
        page, n = re.subn(rf"(<!-- {name} -->\n)(?:\|.*\n)*", lambda at, rows=rows: at[1] + markdown(rows) + "\n", page)
        assert n == 1, f"{name}: expected one place, got {n}"
    return page


# ---------------------------------------------------------------- pictures


def draw(source):
    """The three pictures, beside this file."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found, here = json.loads(Path(source).read_text(encoding="utf-8")), Path(__file__).parent
    for name, picture in (("messages", of_messages), ("ranks", of_ranks), ("large", of_large)):
        figure = picture(plt, found)
        for axes in figure.axes:
            axes.grid(color="0.92")
            axes.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        figure.savefig(here / f"scaling_{name}.png", dpi=110)


def of_messages(plt, found):
    """Seconds of a sum over the ranks, by its bytes, and the fit."""
    figure, axes = plt.subplots(figsize=(7.5, 4.6))
    for n, color in zip(RANKS[1:], COLORS, strict=False):
        of, (a, speed) = found[str(n)], fit(found[str(n)]["exchange"], n)
        axes.plot(SIZES, [of["exchange"][str(size)] for size in SIZES], "o", color=color, label=f"ours, {n} ranks")
        allreduce = [of["allreduce"][str(size)] for size in SIZES]
        axes.plot(SIZES, allreduce, "x", color=color, label=f"MPI's Allreduce, {n} ranks")
        said = [a * (n - 1) + size * (n - 1) / n / speed for size in SIZES]
        words = f"fit: {1e6 * a:.0f} us a message, {speed / 1e9:.2f} GB/s"
        axes.plot(SIZES, said, "-", color=color, linewidth=1, label=words)
    axes.set(xscale="log", yscale="log", xlabel="bytes of the vector", ylabel="seconds")
    axes.set_title("A sum over all ranks, known to all: two cores, least of many times", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    return figure


def of_ranks(plt, found):
    """Weak and strong scaling: tokens a second beside one process's."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True)
    for axes, name in zip(panels, ("weak", "strong"), strict=True):
        seconds = np.array([found[str(n)][name] for n in RANKS])
        work = np.array(RANKS) if name == "weak" else np.ones(len(RANKS))
        axes.plot(RANKS, RANKS, "--", color="0.6", linewidth=1, label="ideal, with a core for each")
        axes.axvline(2, color="0.8", linewidth=4, zorder=0, label="the cores of this machine")
        axes.plot(RANKS, work * seconds[0] / seconds, "o-", color=COLORS[0], label="measured")
        axes.set(xticks=RANKS, xlabel="ranks, of one thread", title=f"{name}: {WORDS[name]}")
    panels[0].set_ylabel("tokens a second, beside one rank's")
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def of_large(plt, found):
    """To 1,000 ranks: the share of a step in which they compute, the same for every size, and what each keeps."""
    figure, (time, memory) = plt.subplots(1, 2, figsize=(9, 4.2))
    (n_parameters, *_) = LARGE.values()  # operations, bytes and pieces all grow with it
    for (machine, network), color in zip(PAIRS, COLORS, strict=True):
        for hidden, line in ((False, "-"), (True, ":")):
            settings = (*NETWORKS[network], FLOPS[machine], hidden)
            shares = [efficiency(*predicted(n_parameters, n, *settings)) for n in FAR]
            label = None if hidden else f"{machine}, {network}"
            time.plot(FAR, shares, line, color=color, linewidth=1.6, label=label)
    time.set(ylim=(0, 1.02), ylabel="share of a step that computes")
    time.set_title(f"predicted, a model of any size, {TOKENS:,} tokens a step", fontsize=10)
    words = "dotted: gradients hidden behind backward\ngrey: fewer windows of 1,024 than ranks"
    time.text(1.1, 0.24, words, fontsize=7.5)
    for (model, n_parameters), color in zip(LARGE.items(), COLORS, strict=False):
        for of_n, line, way in ((kept, "-", "cut (ZeRO-1)"), (lambda _: kept(1), "--", "whole")):
            gigabytes = [of_n(n) * n_parameters / 1e9 for n in FAR]
            memory.plot(FAR, gigabytes, line, color=color, linewidth=1.6, label=f"GPT-2 {model}, AdamW {way}")
    memory.set(yscale="log", ylabel="GB that a rank keeps from step to step")
    memory.set_title("counted: 20 bytes for each parameter, or 8 + 12 / ranks", fontsize=10)
    for axes in (time, memory):
        axes.axvspan(TOKENS / 1024, 1000, color="0.93", zorder=0)
        axes.set(xscale="log", xlabel="ranks")
        axes.legend(frameon=False, fontsize=8, loc="lower left" if axes is time else "best")
    return figure


# ---------------------------------------------------------------- commands


def mpiexec(n, *words):
    """The command that runs this file on n ranks, by the mpiexec beside this Python, wherever cores are free."""
    beside = Path(sys.executable).with_name("mpiexec")
    start = [str(beside) if beside.exists() else "mpiexec", "--oversubscribe", "--bind-to", "none", "-n", str(n)]
    return [*start, sys.executable, str(Path(__file__).resolve()), *words]


def measure(target):
    """Run all measurements, one number of ranks after the other, and write them."""
    yields = {"OMPI_MCA_mpi_yield_when_idle": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    found = {}
    for n in RANKS:
        for what in ("times", "memory"):
            command, environment = mpiexec(n, "rank", what), os.environ | yields
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
            rows = json.loads(done.stdout.splitlines()[-1])
            found[str(n)] = rows if what == "times" else found[str(n)] | {"memory": rows}
        print(f"{n} ranks: a step of {found[str(n)]['weak']:.3f} s", file=sys.stderr)
        Path(target).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def page(source):
    """The tables into docs/scaling.md."""
    path = Path(__file__).with_name("scaling.md")
    found = json.loads(Path(source).read_text(encoding="utf-8"))
    path.write_text(with_tables(path.read_text(encoding="utf-8"), found), encoding="utf-8")


if __name__ == "__main__":
    command, *given = sys.argv[1:]
    {"rank": of_rank, "measure": measure, "draw": draw, "page": page}[command](*given)
