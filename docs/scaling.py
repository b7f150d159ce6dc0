"""What training on several processes costs: measured here, fitted, carried to 1,000 ranks (docs/scaling.md).

    python docs/scaling.py measure docs/scaling.json     about three minutes; starts mpiexec for 1, 2 and 4 ranks itself
    python docs/scaling.py draw docs/scaling.json docs   writes scaling_messages.png, scaling_ranks.png, scaling_large.png
    python docs/scaling.py table docs/scaling.json       the tables of docs/scaling.md

Enter: a machine with two cores or more, and the extra `mpi`. Leave: a JSON file of times, fits and predictions; from
that, pictures and tables. `python docs/scaling.py rank …` is what each rank runs.
"""

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

RANKS = (1, 2, 4)
SIZES = [1 << n for n in range(10, 25, 2)]  # bytes of a message: 1 KiB to 16 MiB
BUCKETS = [1 << n for n in range(18, 26)]  # bytes that are exchanged at once
SUMMED = 32 << 20  # bytes of the vector whose sum is measured for each of BUCKETS
SECONDS = 0.6  # for each measurement
SHAPE = {"n_vocab": 2048, "n_ctx": 128, "n_embd": 256, "n_layer": 4, "n_head": 4}
BATCH, STRONG = 4, 4  # windows in a batch, and batches in a step that is shared (weak: one for each rank)
LARGE = {"124M": (124_439_808, 768, 12), "1.5B": (1_557_611_200, 1600, 48)}  # parameters, width, blocks
NETWORKS = {  # latency in seconds, bytes per second and rank: what is assumed, not measured
    "10 Gb/s Ethernet": (30e-6, 1.25e9),
    "100 Gb/s InfiniBand": (2e-6, 12.5e9),
    "400 Gb/s InfiniBand": (2e-6, 50e9),
}
FLOPS = {"2 cores like these": None, "a server of 64 cores": 3.0e12, "one A100": 1.4e14}  # reached in training; assumed
TOKENS = 524_288  # of a step of GPT-2's and GPT-3 small's size, all ranks together
FAR = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)


# ---------------------------------------------------------------- what each rank measures


def repeated(work, comm):
    """The median seconds of work(), which all ranks do together for about SECONDS."""
    times, began = [], time.perf_counter()
    more = True
    while more:
        comm.Barrier()
        start = time.perf_counter()
        work()
        comm.Barrier()
        times.append(time.perf_counter() - start)
        flag = np.array([time.perf_counter() - began < SECONDS or len(times) < 5], np.int64)
        comm.Bcast(flag)
        more = bool(flag[0])
    return float(np.median(times))


def of_rank():
    """All measurements of one number of ranks; the first rank prints them as JSON."""
    from mpi4py import MPI

    from nanogpt_np.training import distributed_ranks, distributed_sums
    from nanogpt_np.training.distributed_sums import Flat

    ranks = distributed_ranks.Ranks(MPI.COMM_WORLD)
    comm, found = ranks.comm, {"ranks": ranks.size, "allreduce": {}, "exchange": {}, "buckets": {}}
    for n_bytes in SIZES:
        a, b = np.ones(n_bytes // 4, np.float32), np.empty(n_bytes // 4, np.float32)
        found["allreduce"][n_bytes] = repeated(lambda a=a, b=b: comm.Allreduce(a, b), comm)
        flat = Flat({"a": a.shape}, ranks, bucket_bytes=n_bytes)
        found["exchange"][n_bytes] = repeated(lambda flat=flat: exchange(flat, distributed_sums), comm)
    for n_bytes in BUCKETS:
        flat = Flat({"a": (SUMMED // 4,)}, ranks, bucket_bytes=n_bytes)
        vectors = flat.zeros(), np.zeros(flat.n_owned, np.float32)
        found["buckets"][n_bytes] = repeated(lambda flat=flat, v=vectors: exchange(flat, distributed_sums, *v), comm)
    found |= steps(ranks)
    if ranks.is_first:
        print(json.dumps(found))


def exchange(flat, sums, vector=None, share=None):
    """What a step does: sum into shares in the order of the ranks, and the shares side by side again."""
    if vector is None:
        vector, share = flat.zeros(), np.zeros(flat.n_owned, np.float32)
    sums.add_shares(flat, vector, share, flat.ranks.size, is_begun=False)
    sums.spread_shares(flat, vector)


def learner(ranks, accumulate):
    """A fresh Learner of SHAPE."""
    from nanogpt_np import ops
    from nanogpt_np import params as P
    from nanogpt_np.config import GPTConfig
    from nanogpt_np.training.distributed import Learner
    from nanogpt_np.training.options import TrainOptions

    config, rng = GPTConfig(**SHAPE), np.random.default_rng(0)
    options = TrainOptions(["-"], "-", **SHAPE, batch_size=BATCH, accumulate=accumulate)
    made = Learner(options, config, rng, ops, ranks, P.init(config, rng) if ranks.is_first else None)
    made.agree()
    return made


def steps(ranks):
    """Seconds of a step, weak and strong; what of it is the sum; with buckets that overlap; and memory."""
    from nanogpt_np import memory

    found = {"weak": None, "strong": None}
    for name, accumulate in (("weak", ranks.size), ("strong", STRONG)):
        made = learner(ranks, accumulate)
        rows = np.random.default_rng(1).integers(0, SHAPE["n_vocab"], (accumulate * BATCH, SHAPE["n_ctx"] + 1))
        one = rows[:BATCH].astype(np.int32)
        found[name] = repeated(lambda made=made, rows=rows: made.step(1e-4, rows), ranks.comm)
        if name == "weak":
            found["n_parameters"] = made.flat.n_numbers
            found["learn"] = repeated(lambda made=made, one=one: made.learn(made.parts[0], one), ranks.comm)
            for way in ("after", "overlapped"):
                found[way] = repeated(lambda made=made, one=one, way=way: together(made, one, way), ranks.comm)
    used = ranks.gather([memory.most_used(), arrays_of(made)])
    if ranks.is_first:
        found["memory"] = {"most": [row[0] for row in used], "arrays": [row[1] for row in used]}
    return found


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
    """Latency and bandwidth of t = a (n - 1) + b bytes (n - 1) / n, by least squares of relative errors -> a, 1 / b."""
    sizes = np.array([float(size) for size in times])
    seconds = np.array(list(times.values()))
    rows = np.stack([np.full(len(sizes), n - 1.0), sizes * (n - 1) / n], axis=1) / seconds[:, None]
    a, b = np.linalg.lstsq(rows, np.ones(len(sizes)), rcond=None)[0]
    return max(float(a), 0.0), 1.0 / float(b)


def fitted(times, n):
    """What the fit says for each size."""
    a, speed = fit(times, n)
    return {size: a * (n - 1) + float(size) * (n - 1) / n / speed for size in times}


def predicted(n_parameters, n_ranks, latency, speed, flops, hidden):
    """Seconds of a step of TOKENS: (compute, what of the exchange is not hidden behind the backward pass).

    compute: 6 operations for each parameter and token (Kaplan et al. 2020, section 2.1). exchange: gradients into
    shares and weights out of them, each 4 bytes x (n - 1) / n and n - 1 messages for each piece; `hidden`: the sum of
    the gradients may hide behind 2/3 of the compute (the backward pass), the weights behind nothing.
    """
    compute = 6.0 * n_parameters * TOKENS / n_ranks / flops
    n_pieces = math.ceil(4 * n_parameters / (8 << 20))
    one_way = latency * (n_ranks - 1) * n_pieces + 4 * n_parameters * (n_ranks - 1) / n_ranks / speed
    return compute, 2 * one_way if not hidden else one_way + max(one_way - compute * 2 / 3, 0.0)


# ---------------------------------------------------------------- commands


def mpiexec(n, *words):
    """The command that runs this file on n ranks, by the mpiexec beside this Python, wherever cores are free."""
    beside = Path(sys.executable).with_name("mpiexec")
    start = [str(beside) if beside.exists() else "mpiexec", "--oversubscribe", "--bind-to", "none", "-n", str(n)]
    return [*start, sys.executable, str(Path(__file__).resolve()), *words]


def measure(target):
    """Run all measurements, one number of ranks after the other, and write them."""
    import os

    yields = {"OMPI_MCA_mpi_yield_when_idle": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    found = {}
    for n in RANKS:
        done = subprocess.run(mpiexec(n, "rank"), capture_output=True, text=True, env=os.environ | yields, check=True)
        found[str(n)] = json.loads(done.stdout.splitlines()[-1])
        print(f"{n} ranks: a step of {found[str(n)]['weak']:.3f} s", file=sys.stderr)
    Path(target).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command, *given = sys.argv[1:]
    {"rank": of_rank, "measure": measure}[command](*given)
