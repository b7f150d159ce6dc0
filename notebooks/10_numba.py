# %% [markdown]
# # 10 · How many times faster can the same sum be?
#
# **You will be able to** turn a slow loop into one that runs at the speed of the machine, rung by rung, without leaving Python; say for each rung why it is
# faster; see in the compiler's output whether it worked; and tell which speed-ups change the result.
#
# **You need** notebook 00. Notebook 09 explains why some operations wait for memory and others for arithmetic; here both kinds are made fast.
#
# Most of a GPT-2's time is one kind of sum: $\text{out}_{ij} = \sum_k x_{ik} w_{kj}$, a matrix product. In Python it is three loops. Between these three loops
# and the best that this machine can do with the very same sum lies a factor. Before you read on, guess it: 10? 100? 1,000?

# %%
import contextlib
import inspect
import io
import math
import os
import re
import time
from functools import partial
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # NumPy's products on one core,
os.environ["MKL_NUM_THREADS"] = "1"  # whichever library makes them, so that equals are compared

import numpy as np
from checks import ch10
from matplotlib.ticker import LogLocator
from numba import njit, prange

from nanogpt_np import GPT, kernels, lens, ops
from nanogpt_np.kernels import math as kernel_math
from nanogpt_np.kernels import pointwise
from nanogpt_np.kernels.compile import FAST, n_threads
from nanogpt_np.kernels.vectors import multiply_tile
from nanogpt_np.kernels.writer import TILE_COLUMNS, TILE_ROWS
from nanogpt_np.lens import style
from nanogpt_np.quantized import Int8Matrix
from nanogpt_np.quantized.vectors import RECIPE

gpt = GPT.from_pretrained("stories", ops="numpy")
ids = gpt.tokenizer.encode(Path("texts/shakespeare.txt").read_text(encoding="utf-8")[:2000])[:120]  # 6 and 8 divide it
x = lens.look(gpt, ids).acts.blocks[3].ffn.x[0]  # [n_seq, n_embd], what block 3 gives to its FFN
weight = gpt.params["h"][3]["mlp"]["c_fc"]["weight"]  # [n_embd, n_hidden]
(n_rows, n_in), n_out = x.shape, weight.shape[1]
right = ops.linear(x, weight, np.zeros(n_out, np.float32))  # the definition: every rung must give this
n_operations = 2 * n_rows * n_in * n_out  # a multiplication and an addition for each term
print(f"{n_rows} x {n_in} times {n_in} x {n_out}: {n_operations / 1e6:.0f} million operations")

# %% [markdown]
# Real numbers: 120 tokens of Shakespeare, on their way into the feed-forward network of block 3. Each rung of the ladder below computes this product, or its
# first rows where all of them would take too long; each is compared with `ops.linear`, which is the definition in this package; and each is timed in the same
# way: as many times as fit into a moment, and the shortest counts, as everything that can disturb a measurement makes it longer.

# %%
def fastest(seconds, clock, *runs):  # -> the shortest time of each function: they take turns, at least three times
    best, n_rounds, end = [math.inf] * len(runs), 0, clock() + seconds
    while n_rounds < 3 or clock() < end:
        for number, run in enumerate(runs):
            began = clock()
            run()
            best[number] = min(best[number], clock() - began)
        n_rounds += 1
    return best


WALL = time.perf_counter
CORE = WALL if os.name == "nt" else time.thread_time  # stands still while another program has the core
ladder = {}  # a rung's name -> billions of operations per second


def climb(name, function, rows, clock=CORE, close=1e-4):  # check a rung on some rows, then time it
    out = np.full((rows, n_out), np.nan, np.float32)
    function(x[:rows], weight, out)
    assert np.abs(out - right[:rows]).max() < close * np.abs(right).max()
    (seconds,) = fastest(0.3, clock, lambda: function(x[:rows], weight, out))
    ladder[name] = 2 * rows * n_in * n_out / seconds / 1e9
    print(f"{name}: measured {ladder[name]:.3g} billion operations per second")

# %% [markdown]
# ## Rung 1: Python
#
# On lists of Python's own numbers, which are faster to take apart than NumPy's. One row is enough to wait for.

# %%
weight_list = weight.tolist()


def in_python(x, weight, out):
    for i, row in enumerate(x.tolist()):
        for j in range(n_out):
            total = 0.0
            for k in range(n_in):
                total += row[k] * weight_list[k][j]
            out[i, j] = total


climb("Python", in_python, rows=1)

# %% [markdown]
# Each step looks up two lists and makes two new objects, to do one multiplication and one addition. The arithmetic itself is the smallest part of it.
#
# ## Rung 2: NumPy, a row at a time
#
# NumPy's offer: say what should be done with a whole row, and the loop over it runs in C.

# %%
def row_by_row(x, weight, out):
    for i in range(len(x)):
        out[i] = 0
        for k in range(n_in):
            out[i] += x[i, k] * weight[k]  # a whole row of the weights at once


climb("NumPy, row by row", row_by_row, rows=4)

# %% [markdown]
# ## Rung 3: the three loops, compiled
#
# Numba takes the function as it stands, works out the types from the arguments, and lets LLVM (the compiler behind Clang, Rust and Julia) make machine code of
# it. The source is that of rung 1 with arrays in place of lists. Before you run it: will it beat NumPy, row by row?

# %%
def three_loops(x, weight, out):
    for i in range(x.shape[0]):
        for j in range(weight.shape[1]):
            total = np.float32(0)
            for k in range(x.shape[1]):
                total += x[i, k] * weight[k, j]
            out[i, j] = total


began = CORE()
compiled_loops = njit(three_loops)
compiled_loops(x[:1], weight, np.empty((1, n_out), np.float32))  # the first call compiles for these types
first_call = CORE() - began
climb("Numba, i j k", compiled_loops, rows=4)
assert ladder["Numba, i j k"] > 5 * ladder["Python"]

# %% [markdown]
# Far faster than Python. But hardly faster than NumPy's rows, if at all, although now everything is compiled. Why?
#
# ## Rung 4: the order in which memory is read
#
# Look at what the innermost loop reads. `k` counts up, so it goes down a column of the weights. How far is it from one number to the next?

# %%
down, across = weight.strides
print(f"the next k is {down:,} bytes away, the next j {across}")
print(f"a line of the cache has 64 bytes on most CPUs: {64 // across} numbers; this loop uses {max(1, 64 // down)}")

# %% [markdown]
# Memory comes in lines. Going down a column, each number costs a line, and the other fifteen are thrown away before their turn comes. So change the order of
# the loops: `k` in the middle, `j` innermost. It is the same set of multiplications, and each `out[i, j]` still receives its terms in the order of `k`. Only
# the innermost step now goes to the neighbour.

# %%
def neighbours(x, weight, out):
    for i in range(x.shape[0]):
        out[i] = 0
        for k in range(x.shape[1]):
            for j in range(weight.shape[1]):
                out[i, j] += x[i, k] * weight[k, j]


compiled_neighbours = njit(neighbours)
climb("Numba, i k j", compiled_neighbours, rows=32)
assert ladder["Numba, i k j"] > ladder["Numba, i j k"]

# %% [markdown]
# A large step for a small change, and the cache is only half of the reason. The other half stands in what LLVM wrote. A CPU has registers that hold several
# numbers, and instructions that add or multiply all of them at once (SIMD). LLVM uses them where it can prove that nothing changes. Its language writes the
# addition of eight packed float32 as `fadd <8 x float>`; we search for that:

# %%
def code_of(function):  # what LLVM made of it, after all optimizations
    return "".join(function.inspect_llvm().values())


def widths(function):  # of the packed additions in it
    return {int(n) for n in re.findall(r"fadd (?:\w+ )*<(\d+) x float>", code_of(function))}


assert widths(compiled_neighbours) and not widths(compiled_loops)
print(f"i j k: none; i k j: measured at most {max(widths(compiled_neighbours))} at once, by this CPU's registers")

# %% [markdown]
# In the order i k j, neighbouring `j` are different sums: eight of them can go on at once. In the order i j k all of the innermost loop is *one* sum. To add
# eight of its terms at once, LLVM would have to change the order of the additions, and then the result would differ in the last digits. It is not allowed to.
# This is worth a closer look.
#
# ## Which rules may be bent?
#
# Floating-point addition is not associative. The clearest case: a million times 0.1, added one after the other. The total becomes large, and every next 0.1 is
# rounded to the coarse grid of large numbers.

# %%
def total_of(x):
    total = np.float32(0)
    for i in range(x.size):
        total += x[i]
    return total


tenths = np.full(1 << 20, 0.1, np.float32)
exact = tenths.sum(dtype=np.float64)
in_order, in_any_order = njit(total_of), njit(fastmath={"reassoc"})(total_of)
one, other = in_order(tenths), in_any_order(tenths)
slow, quick = fastest(0.2, CORE, lambda: in_order(tenths), lambda: in_any_order(tenths))
assert one == np.float32(105891.84375) and abs(other - exact) < abs(one - exact) and slow > 2 * quick
print(f"exact {exact:.1f}; one after the other {one:.1f}, off by {one / exact - 1:.1%}")
print(f"in any order: measured off by {other / exact - 1:.2%} and {slow / quick:.0f} times as fast")

# %% [markdown]
# `reassoc` is the permission to add in another order. LLVM makes many partial sums side by side and adds them up at the end. That is faster, and here also
# *more accurate*: many short sums on a fine grid instead of a long one on a coarse grid. What it costs is that the last digits now depend on the width of the
# registers, so that two CPUs may differ.
#
# Numba's `fastmath=True` gives that permission together with six others. The package takes five and leaves two:

# %%
print("taken:", ", ".join(sorted(FAST)))
print("left: ", ", ".join(sorted({"nnan", "ninf", "nsz", "arcp", "contract", "afn", "reassoc"} - FAST)))

# %% [markdown]
# * `contract`: a multiplication and an addition become one instruction, rounded once (FMA).
# * `arcp`: divide by multiplying with the reciprocal. `afn`: approximate functions. `nsz`: the sign of a zero does not matter.
# * `ninf`, `nnan`: "there are no infinities" and "there is no NaN". A causal mask *is made of infinities*.
#
# Here is a softmax of one row. Where everything is masked (padding makes such rows), it computes inf - inf, which is NaN, and so it has a guard: what is NaN
# becomes zero, as in `ops.softmax_scores`. Compiled with all flags, the question "is this NaN?" has a known answer, no, and LLVM deletes the guard:

# %%
def masked_softmax(scores, out):
    top, total = np.float32(-np.inf), np.float32(0)
    for j in range(scores.size):
        top = max(top, scores[j])
    for j in range(scores.size):
        out[j] = math.exp(scores[j] - top)
        total += out[j]
    for j in range(scores.size):
        share = out[j] / total
        out[j] = np.float32(0) if np.isnan(share) else share


nothing, results = np.full(4, -np.inf, np.float32), {}
for name, flags in {"no flags": False, "our five": FAST, "fastmath=True": True}.items():
    results[name] = np.empty(4, np.float32)
    njit(fastmath=flags, error_model="numpy")(masked_softmax)(nothing, results[name])
    print(f"{name:14} {results[name]}")
assert not results["our five"].any() and np.isnan(results["fastmath=True"]).all()

# %% [markdown]
# No error, no warning; NaN. And do not look for another guard: what a compiler does once a promise is broken is written nowhere, and changes from one version
# to the next. A test of the package refuses `fastmath=True` in any kernel (`tests/kernels/test_guards.py`).
#
# ## Rung 5: the flags
#
# And what do our five flags do for the product? Guess first.

# %%
climb("Numba, i k j, flags", njit(fastmath=FAST, error_model="numpy")(neighbours), rows=32)

# %% [markdown]
# Little or nothing, on many machines. Flags free what was forbidden, and in this order of the loops nothing that matters was. What does it wait for, then?
# Count the innermost step, per multiplication with addition: read a weight, read `out`, write `out`. **Three visits to the cache for one piece of arithmetic**,
# where a core can do about as many of the one as of the other.
#
# ## Rung 6: tiles
#
# The way out is to use what has been fetched more than once. Take four rows of `x` at a time, four weights of each, and a strip of 64 columns. A weight that
# was read once is then used for four rows, and a sum that was read once receives four terms before it is written back: 4 + 4 reads and 4 writes for 16
# multiplications. The strip of weights is copied together first, so that its numbers lie side by side and stay near.

# %%
WIDTH = 64  # columns of the weights that are used together


@njit(fastmath=FAST, error_model="numpy")
def add_tile(a, b, c, d, strip, sums):  # sums [4 * WIDTH] += four rows [n_in] times strip [n_in * WIDTH]
    for k in range(0, a.size, 4):
        a0, a1, a2, a3 = a[k], a[k + 1], a[k + 2], a[k + 3]
        b0, b1, b2, b3 = b[k], b[k + 1], b[k + 2], b[k + 3]
        c0, c1, c2, c3 = c[k], c[k + 1], c[k + 2], c[k + 3]
        d0, d1, d2, d3 = d[k], d[k + 1], d[k + 2], d[k + 3]
        w = strip[k * WIDTH : (k + 4) * WIDTH]
        for j in range(WIDTH):
            w0, w1, w2, w3 = w[j], w[WIDTH + j], w[2 * WIDTH + j], w[3 * WIDTH + j]
            sums[j] += a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
            sums[WIDTH + j] += b0 * w0 + b1 * w1 + b2 * w2 + b3 * w3
            sums[2 * WIDTH + j] += c0 * w0 + c1 * w1 + c2 * w2 + c3 * w3
            sums[3 * WIDTH + j] += d0 * w0 + d1 * w1 + d2 * w2 + d3 * w3


@njit(fastmath=FAST, error_model="numpy")
def in_tiles(x, weight, out):
    n_in = x.shape[1]
    strip, sums = np.empty(n_in * WIDTH, np.float32), np.empty(4 * WIDTH, np.float32)
    for first in range(0, weight.shape[1], WIDTH):
        for k in range(n_in):
            for j in range(WIDTH):
                strip[k * WIDTH + j] = weight[k, first + j]
        for i in range(0, x.shape[0], 4):
            for at in range(4 * WIDTH):
                sums[at] = 0
            add_tile(x[i], x[i + 1], x[i + 2], x[i + 3], strip, sums)
            for row in range(4):
                for j in range(WIDTH):
                    out[i + row, first + j] = sums[row * WIDTH + j]


climb("tiles in the cache", in_tiles, rows=64)

# %% [markdown]
# ## Rung 7: tiles in registers
#
# Still every sum goes to the cache and back each time. The best place for a sum is a register, from its first term to its last. There are few: 16 or 32, of 4
# to 16 numbers each. So the tile must be small, and fit them exactly. Numba's loops cannot promise that, so this package writes that one innermost loop in
# LLVM's language: `multiply_tile`, some thirty lines in `kernels/vectors.py`. Around it, everything can stay a plain loop. Both sides are first copied into
# *panels*, in exactly the order in which the tile will read them (Goto & van de Geijn 2008).

# %%
print(f"measured for this CPU: a tile of {TILE_ROWS} rows and {TILE_COLUMNS} columns stays in registers")


@njit(fastmath=FAST, error_model="numpy", nogil=True)
def columns_in_registers(x, weight, first, end, out):
    n_rows, n_in = x.shape
    x_panels, panel = np.empty(n_rows * n_in, np.float32), np.empty(n_in * TILE_COLUMNS, np.float32)
    for i in range(n_rows):
        for k in range(n_in):
            x_panels[(i // TILE_ROWS * n_in + k) * TILE_ROWS + i % TILE_ROWS] = x[i, k]
    for j in range(first, end, TILE_COLUMNS):
        for k in range(n_in):
            for column in range(TILE_COLUMNS):
                panel[k * TILE_COLUMNS + column] = weight[k, j + column]
        for i in range(0, n_rows, TILE_ROWS):
            multiply_tile(x_panels, i * n_in, panel, 0, n_in, out, i, j, False)


climb("tiles in registers", lambda x, weight, out: columns_in_registers(x, weight, 0, n_out, out), rows=120)

# %% [markdown]
# ## Rung 8: all cores
#
# `prange` shares the turns of a loop among the cores. (The package asks the same pool of threads by a few lines of its own, `kernels/cores.py`, which compile
# in half the time.) It does not ask whether they may run at the same time; that is our promise. Here each turn writes columns
# of its own, so it is kept. (Had two turns added to the same `out[i, j]`, sums would be lost, now and then, without a word.)

# %%
N_PARTS = n_threads()
BORDERS = np.linspace(0, n_out // TILE_COLUMNS, N_PARTS + 1).astype(int) * TILE_COLUMNS


@njit(fastmath=FAST, error_model="numpy", parallel=True)
def on_all_cores(x, weight, out):
    for part in prange(N_PARTS):
        columns_in_registers(x, weight, BORDERS[part], BORDERS[part + 1], out)


began = WALL()
on_all_cores(x, weight, np.empty_like(right))
print(f"measured: {N_PARTS} cores, {WALL() - began:.1f} s to compile")
climb("… on all cores", on_all_cores, rows=120, clock=WALL)

# %% [markdown]
# ## Rung 9: vectors of smaller numbers
#
# A register that holds 8 numbers of four bytes holds 32 of one, and CPUs have instructions that multiply such bytes and add up their products. Numba's loops do
# not find them. The package names them, one recipe for each kind of CPU, and beside those plain loops that give the same bits (`quantized/vectors.py`). But this
# is no longer the same product: both sides are rounded to 255 steps first. Notebook 11 is about what that costs; here it may cost up to two parts in a hundred.

# %%
with contextlib.redirect_stderr(io.StringIO()):  # the package says that it compiles, where that takes long
    small = Int8Matrix(weight)


def in_bytes(x, weight, out):
    out[...] = small.multiply(x)


print(f"measured for this CPU: {RECIPE.instruction or 'plain loops'}")
with contextlib.redirect_stderr(io.StringIO()):
    in_bytes(x, weight, np.empty_like(right))
climb("int8, on all cores", in_bytes, rows=120, clock=WALL, close=0.02)

# %% [markdown]
# ## The top: BLAS, and the machine
#
# What would an expert's library do? NumPy's `@` calls one (OpenBLAS, MKL, Accelerate): the same panels and tiles, tuned by hand for each CPU. And what is the
# most that one core *could* do? We let `multiply_tile` multiply the same two panels over and over: nothing but arithmetic on what is already there.

# %%
climb("BLAS, one core", lambda x, weight, out: np.matmul(x, weight, out=out), rows=120)


@njit
def tile_alone(a, b, out, times):
    for _ in range(times):
        multiply_tile(a, 0, b, 0, 256, out, 0, 0, False)


a, b = np.ones(256 * TILE_ROWS, np.float32), np.ones(256 * TILE_COLUMNS, np.float32)
tile_alone(a, b, np.empty_like(right), 1)
(seconds,) = fastest(0.3, CORE, lambda: tile_alone(a, b, right.copy(), 1000))
peak = 2 * 256 * TILE_ROWS * TILE_COLUMNS * 1000 / seconds / 1e9
print(f"the tile alone: measured {peak:.3g} billion per second, the most that one core can do")

# %%
figure = style.figure(9, 4.2, "The same sum, rung by rung", "c_fc of block 3 of stories for 120 tokens, float32 but for int8",
                      "measured; one core, where nothing else is said")  # fmt: skip
axes = figure.subplots()
names, rates = list(ladder), list(ladder.values())
kinds = [style.INK if name == "Python" else style.PALE if "BLAS" in name else style.PROBABILITY[3] for name in names]
axes.barh(names, rates, color=kinds)
columns = {1.09: ["billions/s", *[f"{rate:.3g}" for rate in rates]],
           1.25: ["times Python ", *[f"{rate / rates[0]:,.0f} " for rate in rates]]}  # fmt: skip
for x_at, texts in columns.items():
    for y, text in enumerate(texts):
        how = dict(transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=9, color=style.INK)
        axes.text(x_at, y - 1 if y else -0.75, text, **how)
axes.axvline(peak, color=style.INK, linestyle=":")
axes.text(peak, -0.75, "one core's best ", ha="right", va="center", fontsize=9, color=style.INK)
axes.set(xscale="log", xlim=(rates[0] / 2, 1.2 * max(*rates, peak)), ylim=(len(names) - 0.5, -1))
axes.set_xlabel("billions of operations per second", fontsize=9)
axes.xaxis.set_major_locator(LogLocator())
axes.xaxis.set_major_formatter("{x:,g}")
axes.tick_params(axis="y", length=0)
style.without_frame(axes, "top", "right", "left")
figure

# %% [markdown]
# The dotted line is where arithmetic alone would end on one core. The longest bar against the first is the answer to the title, for your machine. Two things to
# take along. **Compiling alone is not enough**: rung 3 is compiled and slow; what follows is won by the order in which memory is touched. And **from rung 4 on,
# each step needs to know the machine**: lines of the cache, width and number of registers. That knowledge is what a BLAS library is.
#
# So, should one write products by hand at all? Usually not; `ops.py` does not. The compiled twin of this package does, and its first lines say why:

# %%
print(kernels.__doc__.strip().splitlines()[0])
print(re.search(r"No matrix product.*?\.", kernels.__doc__, re.DOTALL)[0])

# %% [markdown]
# Two pools of threads in one program, each of which keeps its cores busy while it waits, cost more than either library gains; `docs/performance.md` has the
# numbers ("Tried, and did not help").
#
# ## The other kind: operations that wait for memory
#
# GELU, layer norm and softmax do little with each number. In NumPy every `+` and `*` is a pass over memory of its own, with an array in between. How many bytes
# does that move? An array can count for itself: NumPy lets a subclass step in before each of its loops.

# %%
class Counted(np.ndarray):
    moved = 0  # bytes that NumPy's loops read and wrote

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **how):
        given = [one.view(np.ndarray) if isinstance(one, Counted) else one for one in inputs]
        if out is not None:
            how["out"] = tuple(one.view(np.ndarray) for one in out)
        result = getattr(ufunc, method)(*given, **how)
        read = {id(one): one.nbytes for one in inputs if isinstance(one, np.ndarray)}  # x * x reads x once
        Counted.moved += sum(read.values()) + result.nbytes
        return result.view(Counted)


def bytes_moved(function, x, *others):
    Counted.moved = 0
    function(x.view(Counted), *others)
    return Counted.moved


big = np.random.default_rng(7).standard_normal((8192, 1024), dtype=np.float32)  # 32 MB
gain, shift = np.ones(1024, np.float32), np.zeros(1024, np.float32)
moved = {"gelu_new": bytes_moved(ops.gelu_new, big), "layer_norm": bytes_moved(ops.layer_norm, big, gain, shift),
         "softmax": bytes_moved(ops.softmax, big)}  # fmt: skip
for name, n_bytes in moved.items():
    print(f"{name:10} moves {n_bytes / big.nbytes:4.1f} times the bytes of its input")

# %% [markdown]
# Reading the input once and writing the output once is 2. A kernel that keeps each number in a register from the first step to the last moves no more than
# that. That is called *fusing*. If memory were all that counts, GELU could gain a factor of ten, layer norm six, softmax four.
#
# ## A second ladder: GELU
#
# The same climb with GELU, in a hurry, and with two traps on the way. First the formula of `ops.gelu_new` as it stands, in one loop; on 65,536 numbers, which
# fit the cache, so that only arithmetic counts. Predict: how much faster than NumPy, with its nine passes?

# %%
def gelu_naive(x, out):
    for i in range(x.size):
        cube = x[i] * x[i] * x[i]
        out[i] = 0.5 * x[i] * (1 + math.tanh(math.sqrt(2 / math.pi) * (x[i] + 0.044715 * cube)))


def gelu_exp(x, out):  # (1 + tanh(u)) / 2 is 1 / (1 + exp(-2u))
    for i in range(x.size):
        out[i] = x[i] / (1 + math.exp(-2 * math.sqrt(2 / math.pi) * x[i] * (1 + 0.044715 * x[i] * x[i])))


HALF, ONE = np.float32(0.5), np.float32(1)
SCALE, CUBE = np.float32(2 * math.sqrt(2 / math.pi)), np.float32(0.044715)


def gelu_float32(x, out):  # the same with constants of float32
    for i in range(x.size):
        out[i] = x[i] / (ONE + math.exp(-SCALE * x[i] * (ONE + CUBE * x[i] * x[i])))


some = np.ascontiguousarray(big[:64]).reshape(-1)
out, expected = np.empty_like(some), ops.gelu_new(some)
rungs = {"NumPy": lambda x, out: ops.gelu_new(x)}
rungs |= {f.__name__: njit(fastmath=FAST, error_model="numpy")(f) for f in (gelu_naive, gelu_exp, gelu_float32)}
rungs["gelu_new_row"] = kernel_math.gelu_new_row.for_python  # the package's
for name, function in list(rungs.items())[1:]:
    function(some, out)
    assert np.allclose(out, expected, rtol=1e-5, atol=1e-6), name
times = fastest(0.5, CORE, *[lambda f=f: f(some, out) for f in rungs.values()])
for name, seconds in zip(rungs, times, strict=True):
    print(f"{name:14} measured {1e9 * seconds / some.size:5.2f} ns for each number")

# %% [markdown]
# The naive one, fused and compiled, is likely the slowest of all, slower than NumPy. Two reasons, and both can be seen in what LLVM wrote.
#
# **Calls.** For each number by itself, the loop jumps into a library of C for its `tanh`. No eight at a time. `exp` is a cheaper call, but still a call.
#
# **float64 came in.** `0.5` and `math.pi` are Python numbers, and in compiled code a Python float *is* a float64. Float32 times float64 is float64, so
# everything behind it is computed in double width, at half the numbers per register, and rounded back at the end. (In NumPy the same line stays float32: there,
# Python's numbers give way. Numba's do not.) In LLVM's language the widening is called `fpext`.

# %%
@njit
def half_of(x):
    return 0.5 * x


@njit
def narrow_half_of(x):
    return HALF * x


for function in (half_of, narrow_half_of):
    function(np.float32(1))
    print(f"{function.__name__:15} float32 in, {function.nopython_signatures[0].return_type} out")
print(f"{'NumPy: 0.5 * x':15} float32 in, {(0.5 * some).dtype} out")
CALL = re.compile(r"call[^@\n]*@(?:__svml_|llvm\.)?(?:tanh|exp)[\w.]*\(")
for name in list(rungs)[1:]:
    code = code_of(rungs[name])
    print(f"{name:14} goes to float64: {'fpext' in code!s:5}  calls tanh or exp: {bool(CALL.search(code))}")
assert "fpext" in code_of(rungs["gelu_naive"]) and "double" not in code_of(rungs["gelu_new_row"])

# %% [markdown]
# Hence a rule of this package: inside `@njit`, constants are typed on purpose. And hence its own `exp`: a few lines of plain arithmetic (Cephes' polynomial),
# which LLVM can do for a register full of numbers at once. This is the real kernel, down to the last line:

# %%
print(inspect.getsource(pointwise._gelu_new_kernel.function))
for function in (pointwise._gelu_new_part, kernel_math.gelu_new_row, kernel_math.gelu_new_of, kernel_math.exp):
    print(inspect.getsource(function.py_func))

# %% [markdown]
# A new formula needs a new check. `tanh` became `exp` became a polynomial; is it still GELU? Against the definition, computed in float64:

# %%
grid = np.linspace(-12, 12, 100_001, dtype=np.float32)
narrow, wide = np.empty_like(grid), ops.gelu_new(grid.astype(np.float64))
kernel_math.gelu_new_row(grid, narrow)
errors = {"the kernel": np.abs(narrow - wide).max(), "ops.gelu_new in float32": np.abs(ops.gelu_new(grid) - wide).max()}
assert max(errors.values()) < 3e-6
for name, error in errors.items():
    print(f"{name}: measured error at most {error:.1e}, of values up to 12")

# %% [markdown]
# ## As fast as memory
#
# Now a large array, 32 MB, which must come from memory. A fused kernel should then cost about as much as *copying* the array: it reads and writes the same
# bytes. That is the yardstick for every operation of this kind: how many copies does it take?

# %%
out, eps = np.empty_like(big), np.float32(1e-5)
with contextlib.redirect_stderr(io.StringIO()):  # the package says that it compiles, where that takes long
    pointwise._gelu_new_kernel(big[0], big[0].size, out[0])
    pointwise._layer_norm_kernel(big[:1], gain, shift, eps, 1, out[:1])
runs = {
    "copy": lambda: np.copyto(out, big),
    "gelu_new, NumPy": lambda: ops.gelu_new(big),
    "gelu_new, fused": lambda: pointwise._gelu_new_kernel(big.reshape(-1), big.size, out.reshape(-1)),
    "layer_norm, NumPy": lambda: ops.layer_norm(big, gain, shift),
    "layer_norm, fused": lambda: pointwise._layer_norm_kernel(big, gain, shift, eps, len(big), out),
}
costs = dict(zip(runs, fastest(1.0, CORE, *runs.values()), strict=True))
assert np.allclose(out, ops.layer_norm(big, gain, shift), atol=1e-5)
for name, seconds in costs.items():
    print(f"{name:18} measured {1e3 * seconds:6.1f} ms, {seconds / costs['copy']:5.1f} copies")

# %% [markdown]
# The counted bytes foretold the order of things. What exceeds them has causes of its own: arithmetic that takes longer than memory (NumPy's `tanh`), and the
# arrays in between, whose memory the system must find and clear, each time anew. The fused kernels may need more than one copy, though they move the same
# bytes: an ordinary write fetches the line first, in case only a part of it is overwritten. NumPy's copy tells the CPU that all of it will be.
#
# ## What compiling costs
#
# Nothing is free. A compiled function costs its compilation, in every process, before it has done anything. From our rung 3:

# %%
saved = 1 / ladder["Python"] - 1 / ladder["Numba, i j k"]  # seconds per billion operations
print(f"measured: {first_call:.2f} s to compile, worth it from {1e3 * first_call / saved:.0f} million operations on")

# %% [markdown]
# `njit(cache=True)` keeps what was compiled on disk, for the next process. The package does (`kernels/compile.py`), and compiles for one signature per kernel,
# in advance, with `nanogpt-np warmup`. For the same reason `ops="auto"` takes plain NumPy for small models: they would have said their 200 tokens before the
# kernels are there.
#
# ## How a kernel earns its place
#
# A kernel is a second definition of something that has one. The package allows it under three conditions. It has the *same name and signature* as in `ops.py`;
# it gives the same values; it is faster. The first, for all functions of `ops.py`; the second here for two of
# them, and in `tests/kernels/test_kernels.py` for the rest:

# %%
definitions = {name: one for name, one in inspect.getmembers(ops, inspect.isfunction) if not name.startswith("_")}
for name, definition in definitions.items():
    assert inspect.signature(getattr(kernels, name)) == inspect.signature(definition), name
print("each function of ops.py has a twin of its name, with the same signature")

few = np.random.default_rng(8).standard_normal((3, 16), dtype=np.float32)
with contextlib.redirect_stderr(io.StringIO()):
    for name, others in {"gelu_new": (), "layer_norm": (gain[:16], shift[:16])}.items():
        assert np.allclose(getattr(kernels, name)(few, *others), definitions[name](few, *others), atol=1e-6), name

# %% [markdown]
# And when a kernel is wrong? Then one wants to step through it, and a debugger cannot step into machine code. But each compiled function still has its Python
# source, and it runs: `.py_func`. With `NUMBA_DISABLE_JIT=1` in the environment *everything* runs as Python; the tests of this package do that on tiny shapes,
# too (`docs/stepping.md`).

# %%
by_python, by_machine = np.empty_like(few[0]), np.empty_like(few[0])
kernel_math.gelu_new_row.py_func(few[0], by_python)
kernel_math.gelu_new_row(few[0], by_machine)
assert np.allclose(by_python, by_machine, atol=1e-6) and np.allclose(by_python, ops.gelu_new(few[0]), atol=1e-6)
print("as Python, compiled, and by definition: the same")

# %% [markdown]
# ## What people get wrong
#
# * *"Numba makes NumPy code faster."* It makes *loops* faster. A line of NumPy that is one well-made loop already has nothing to gain: the obvious compiled
#   product loses to `@`, and so does a compiled `np.tanh`, more often than not:

# %%
@njit
def compiled_tanh(x, out):
    for i in range(x.size):
        out[i] = math.tanh(x[i])


out = np.empty_like(some)
compiled_tanh(some, out)
numpy_time, numba_time = fastest(0.2, CORE, lambda: np.tanh(some, out=out), lambda: compiled_tanh(some, out))
assert ladder["BLAS, one core"] > ladder["Numba, i j k"]
ratio = ladder["BLAS, one core"] / ladder["Numba, i j k"]
print(f"product: measured {ratio:.0f} times as fast by BLAS as by three compiled loops")
print(f"tanh: measured {numba_time / numpy_time:.1f} times as long when compiled")

# %% [markdown]
# * *"`fastmath=True` is free speed."* It returned NaN above. And where it does help, it is `reassoc` or `contract` that help; the two dangerous flags bought
#   nothing. Here for the sum:

# %%
every_flag = njit(fastmath=True)(total_of)
every_flag(tenths)
ours, all_of_them = fastest(0.2, CORE, lambda: in_any_order(tenths), lambda: every_flag(tenths))
print(f"all flags: measured {ours / all_of_them:.2f} times as fast as reassoc alone")

# %% [markdown]
# * *"More threads are faster."* Waking a thread takes time, too. The package's GELU is told how many numbers make a part: all of them, and the part stays on
#   this core, or as many as each core gets. We run both on more and more numbers:

# %%
for n in (64, 1024, 1 << 14, 1 << 18, 1 << 22):
    numbers, out = big.reshape(-1)[:n], np.empty(n, np.float32)
    one_core, all_cores = fastest(
        0.1, WALL, partial(pointwise._gelu_new_kernel, numbers, n, out),
        partial(pointwise._gelu_new_kernel, numbers, -(-n // N_PARTS), out),
    )  # fmt: skip
    print(f"{n:9,} numbers: measured {1e6 * one_core:8.1f} µs by one core, {1e6 * all_cores:8.1f} µs by all")
print(f"the package wakes the others from {kernel_math.SMALL:,} numbers on")

# %% [markdown]
# * *"float32 in, so it computes in float32."* Not if a constant says otherwise, as `half_of` showed. `out` may be float32 all the same: the result is rounded
#   back, and nothing in it betrays the detour but the clock.
#
# ## Exercises
#
# **Easy.** The gradient of a bias is the sum of the rows of a matrix. Write `sum_rows(x, out)`: `x` is `[n_rows, n_columns]`, `out` is `[n_columns]` and holds
# anything; afterwards it holds the sum of each column. Plain loops, as for Numba (no decorator), and such that the numbers of `x` are read in the order in
# which they lie in memory. The check watches the order.

# %%
def sum_rows(x, out):
    ...


ch10.sum_rows(sum_rows);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def sum_rows(x, out):
#     for j in range(len(out)):
#         out[j] = 0
#     for i in range(x.shape[0]):
#         for j in range(x.shape[1]):
#             out[j] += x[i, j]
# ```
# </details>
#
# **Medium.** Write `gelu_and_slope(x, out, slope)`: three float32 arrays of one length. Into `out` goes `ops.gelu_new(x)`, into `slope` its derivative, which
# is `ops.gelu_new_backward(1, x)`; both in one loop, so that the `tanh` is computed once.
# (With $t = \tanh u$ and $u = s(x + c x^3)$, $s$ and $c$ as in `gelu_naive`, the derivative is
# $\frac{1}{2}(1 + t) + \frac{1}{2} x (1 - t^2) u'$.) No decorator: the check compiles it with the package's flags, compares, and then searches LLVM's code for
# float64.

# %%
def gelu_and_slope(x, out, slope):
    ...


ch10.gelu_and_slope(gelu_and_slope);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def gelu_and_slope(x, out, slope):
#     half, one, three = np.float32(0.5), np.float32(1), np.float32(3)
#     scale, cube = np.float32(0.7978845608), np.float32(0.044715)
#     for i in range(x.size):
#         square = cube * x[i] * x[i]
#         t = math.tanh(scale * x[i] * (one + square))
#         out[i] = half * x[i] * (one + t)
#         slope[i] = half * (one + t) + half * x[i] * (one - t * t) * scale * (one + three * square)
# ```
# </details>
#
# **Hard, an investigation.** All of attention in one pass. `ops` needs the scores of all keys before the first value can be weighted: three passes and an array
# of scores. Write `attend(q, keys, values, visible, out)` for one query of one head: `q` and `out` are `[d_head]`, `keys` and `values` `[n_key, d_head]`,
# `visible` `[n_key]` bool. `out` becomes what `ops.attention_mix(ops.attention_probs(...), ...)` gives (mind the scale), **and each key and each value is
# looked at once, in order, with no array of scores.** The difficulty is the maximum: it is not known before the end. If a larger one comes, what must happen to
# the sums so far? Masked keys count as minus infinity, also the first ones; where nothing is visible, `out` is zero. Plain loops, no decorator; float32 in the
# sums.
#
# Then investigate. This is the heart of FlashAttention (Dao et al. 2022), after an idea of Milakov and Gimelshein (2018), which `ops.cross_entropy` uses for
# the vocabulary. Compile yours, and measure it against `ops` on one core for 64 to 100,000 keys. From which length on does it win, and is it memory or
# arithmetic that it wins by? How often does the maximum change, for random scores, in `n` keys? (Guess, then count; the harmonic numbers may come to mind.)
# What would be needed to use whole registers?

# %%
def attend(q, keys, values, visible, out):
    ...


ch10.attend(attend);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def attend(q, keys, values, visible, out):
#     d_head = q.size
#     scale, top, total = np.float32(1 / math.sqrt(d_head)), np.float32(-np.inf), np.float32(0)
#     out[:] = 0
#     for key in range(visible.size):
#         if not visible[key]:
#             continue
#         score = np.float32(0)
#         for d in range(d_head):
#             score += q[d] * keys[key, d]
#         score *= scale
#         if score > top:  # what was summed so far was weighted by exp(… - top): now by exp(… - score)
#             shrink = np.float32(math.exp(top - score))  # 0 at the first key
#             total *= shrink
#             for d in range(d_head):
#                 out[d] *= shrink
#             top = score
#         share = np.float32(math.exp(score - top))
#         total += share
#         for d in range(d_head):
#             out[d] += share * values[key, d]
#     if total > 0:
#         for d in range(d_head):
#             out[d] /= total
# ```
# </details>
#
# ## Where it stands in the code
#
# | here | there |
# |---|---|
# | the definition of each operation | `nanogpt_np/ops.py` |
# | its compiled twin | `nanogpt_np/kernels/`; `__init__.py` says in which order to read |
# | the five flags, compiling, the cache on disk | `kernels/compile.py`: `FAST`, `Kernel` |
# | GELU, `exp`, layer norm of a row | `kernels/math.py`; on all cores: `kernels/pointwise.py` |
# | tiles in registers | `kernels/vectors.py`: `multiply_tile`; `kernels/writer.py`: their size |
# | panels around them | `kernels/tiles.py`: `multiply`; on all cores: `kernels/products.py` |
# | softmax with a mask | `kernels/attention.py`: `softmax_row` |
# | twins compared, flags guarded | `tests/kernels/test_kernels.py`, `tests/kernels/test_guards.py` |
# | what was gained, and what did not help | `docs/performance.md` |
