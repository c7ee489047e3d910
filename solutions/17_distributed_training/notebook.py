# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 17 · Distributed training
#
# **What you will be able to do.** Write the collective operations that training on many machines rests on. Make $P$
# processes train exactly as one process does. Divide what does not fit on one machine: the optimiser's state, a layer,
# the depth of a network. Say for each scheme, in bytes and in messages, what it costs. Your functions run in three
# places without a change: in a simulator that counts messages and keeps a clock, under the grader, which looks at each
# message, and as real processes of `torch.distributed`.
#
# **You need** gradient steps on batches and Adam (module 02), the gradients of a network with one hidden layer
# (module 08), and NumPy. You need no GPU and no second machine.
#
# **Skills it trains**: counting what a computation costs, message passing, index arithmetic that is right at the
# borders, floating-point reasoning, summaries that merge, scheduling.
#
# **Time**: about five hours, three of them in eight exercises and a bug to find. Take a break after 17.5. Each exercise
# says how important it is (essential, important, optional), its level, which is also its points, and its minutes.
#
# **Symbols**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $P$, $r$ | `comm.size`, `comm.rank` | | number of **ranks** (processes that work together); the number of one, 0 to $P - 1$ |
# | $\alpha$ | `latency` | | seconds that a message costs, however short it is |
# | $\beta$ | `bandwidth` | | bytes that one link carries in a second |
# | $n$ | `size`, `len(x)` | | length of an array: in bytes where time is computed (17.1), else in numbers |
# | $x_r$ | `x` | $(n,)$ | the array of rank $r$ |
# | $d$, $\theta$, $\eta$ | `theta`, `params`, `lr` | $(d,)$ | number of parameters, the parameters, the learning rate. In 17.7, $d$ is the width of the input |
# | $X_r$, $y_r$, $m_r$ | `X`, `y` | $(m_r, c)$, $(m_r,)$ | the rows of rank $r$: inputs with $c$ columns, targets, and how many rows there are |
# | $g$, $g_r$ | `grad` | $(d,)$ | gradient of the mean loss over all rows; over the rows of rank $r$ |
# | $u$, $s$ | `m`, `v` | $(w,)$ | Adam's running means of the gradient and of its square |
# | $\beta_1$, $\beta_2$, $t$ | `betas`, `t` | | Adam's two decay rates (no relation to $\beta$); number of the step, from 1: the $k + 1$ of module 02 (in 17.2, of the ring's, from 0) |
# | $\varepsilon$ | `eps` | | the number that keeps Adam from dividing by 0 |
# | $w$ | `width` | | length of a slice: $w = \lceil d / P \rceil$ |
# | $W_1, b_1, W_2, b_2$ | `W1`, ... | $(d, h)$, $(h,)$, $(h, o)$, $(o,)$ | weights of a network with $h$ hidden units and $o$ outputs |
# | $h_r$ | | | number of hidden units on rank $r$ |
# | $a_r$ | `a` | $(B, h_r)$ | values of the hidden units on rank $r$ |
# | $\delta$, $\gamma_r$ | `dy`, `gamma` | $(B, o)$, $(B, h_r)$ | gradients of the loss: with respect to $y$; to the hidden units before tanh |
# | $B$ | | | rows in a batch |
# | $p$, $s$, $M$ | `stages`, `micro` | | in 17.8: stages of a pipeline; the number of one, from 0; number of micro-batches |
# | $F$, $G$ | `forward`, `backward` | | seconds that one micro-batch takes on one stage, forward and backward |
# | $k$ | `k` | | number of entries that are sent |
# | $e$, $u$ | `memory` | $(n,)$ | in 17.9: what has not been sent yet; $g + e$ |
# | $L$ | `limit` | | the norm to which a gradient is clipped |

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    from lsml_utils import checking, datasets, demo_size, plotting
    from lsml_utils.checking import check, expect_close, expect_dtype, expect_raises, expect_shape, expect_unchanged
    from lsml_utils.ranks import Comm, launch, simulate
    from lsml_utils.tables import Table, bytes_text, seconds_text
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import itertools
import math
import os
import time
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import torch
from threadpoolctl import threadpool_limits

plotting.use()
threadpool_limits(1)
torch.set_num_threads(1)
checking.start("17_distributed_training", total=9)


def root_all_reduce(comm: Comm, x: np.ndarray) -> np.ndarray:
    """The sum of x over all ranks, on each of them: rank 0 receives all arrays, adds them, and sends the sum to all."""
    if comm.rank > 0:
        comm.send(0, x)
        return comm.recv(0)
    total = x.copy()
    for source in range(1, comm.size):
        total += comm.recv(source)
    for to in range(1, comm.size):
        comm.send(to, total)
    return total


class Doubling(Comm):
    """A comm that doubles what it sends: a check sees by it whether messages are used."""

    def __init__(self, comm):
        super().__init__(comm.rank, comm.size)
        self.send = lambda to, array: comm.send(to, 2 * np.asarray(array))
        self.recv = comm.recv


def replay(schedule: list, forward: float = 1.0, backward: float = 2.0) -> dict:
    """When each operation of a pipeline runs: {(stage, kind, i): (start, end)}; see 17.8.

    A stage does its operations in their order, each as soon as what it needs is there: ("F", i) needs ("F", i) of the
    stage before; ("B", i) needs ("B", i) of the stage after it and, on its own stage, ("F", i). Raises ValueError where
    no stage can go on.
    """
    times, done, clock = {}, [0] * len(schedule), [0.0] * len(schedule)
    while any(done[s] < len(row) for s, row in enumerate(schedule)):
        moved = False
        for s, row in enumerate(schedule):
            while done[s] < len(row):
                kind, i = row[done[s]]
                needs = [(s - 1, "F", i)] * (s > 0) if kind == "F" else [(s, "F", i)]
                needs += [(s + 1, "B", i)] * (kind == "B" and s + 1 < len(schedule))
                if not all(need in times for need in needs):
                    break
                start = max([clock[s]] + [times[need][1] for need in needs])
                clock[s] = start + (forward if kind == "F" else backward)
                times[s, kind, i] = (start, clock[s])
                done[s] += 1
                moved = True
        if not moved:
            waits = ", ".join(f"stage {s} for {row[done[s]]}" for s, row in enumerate(schedule) if done[s] < len(row))
            raise ValueError(f"no stage can go on: {waits}")
    return times


# %% [markdown]
# ## Derive
#
# ### Programs for many ranks
#
# All ranks run the same function. Each has its own memory, and its own value of `comm.rank`. What one rank knows and
# another needs must be sent:
#
# - `comm.send(to, array)` sends a copy of an array to rank `to`. It never waits.
# - `comm.recv(source)` returns the next array from rank `source`, in the shape and dtype in which it was sent. It waits
#   until that array is there. Arrays from one rank arrive in the order in which they were sent.
#
# The setup cell has an example: `root_all_reduce`. Read it now. An **all-reduce** gives each rank the sum of the arrays
# of all ranks. Rank 0 collects the arrays, adds them, and sends the sum back. `simulate(program, size)` runs
# `program(comm)` for each rank, in this process, and returns an object with `results` (what each rank returned),
# `messages`, `sent` (bytes that each rank sent) and `seconds` (a simulated clock). If all ranks wait for each other, it
# says so at once.
#
# ### What a message costs
#
# How long does a message take? There is work before the first byte moves: a system call, a packet, a switch. Then the
# bytes follow each other at the speed of the link. So a message of $n$ bytes takes about
#
# $$\alpha + \frac{n}{\beta},$$
#
# with **latency** $\alpha$ and **bandwidth** $\beta$. We take $\alpha = 20\,$µs and $\beta = 10^9$ bytes a second, about
# what an Ethernet of 10 gigabits does; links between GPUs on one board carry a few hundred times as much. Both terms are equal
# at $n = \alpha\beta$, here 20 kB: shorter messages pay mostly for being messages, longer ones mostly for their bytes.
# We must also say what happens at the same time. In our model each rank has one outgoing and one incoming port. Each
# port serves one message at a time, and both ports work at the same time. `simulate` keeps this clock.
#
# The figure shows the messages of `root_all_reduce` on that clock, for four ranks with 1 MB each. Each bar is a message.
# All arrays pass through the ports of rank 0, one after the other, while the ports of all other ranks are idle most of
# the time. With more ranks it becomes worse: $2(P - 1)$ messages, none of them at the same time as another.

# %% tags=["demo"]
ALPHA, BETA = 2e-5, 1e9
done = simulate(lambda comm: root_all_reduce(comm, np.ones(125_000)), 4, latency=ALPHA, bandwidth=BETA)
figure, ax = plt.subplots(figsize=(8.5, 2.9))
for message in done.messages:
    length = 1e3 * (ALPHA + message.bytes / BETA)  # in the ports; before that it waits for them
    start = 1e3 * message.end - length
    ax.barh(message.source, length, left=start, height=0.6, color=plotting.COLOURS[message.to], edgecolor="white")
    ax.text(start + length / 2, message.source, f"to {message.to}", ha="center", va="center", fontsize=9)
ax.set_yticks(range(4), [f"rank {r}" for r in range(4)])
ax.invert_yaxis()
ax.set(xlabel="simulated milliseconds", ylabel="sender", title="Through one root, only one message moves at a time")
plt.show()
print(f"bytes sent by each rank: {done.sent.tolist()}; time {1e3 * done.seconds:.2f} ms")

# %% [markdown]
# ## Implement
#
# ### 17.1 `collective_time` · essential · level 1 of 4 · 10 min
#
# Three ways to compute an all-reduce of $n$ bytes over $P$ ranks, on the clock of our model:
#
# - **Root.** $P - 1$ arrays go in one after the other, and $P - 1$ sums go out: $2(P-1)\left(\alpha + \frac n\beta\right)$.
# - **Tree.** In the first step rank 1 sends to 0, 3 to 2, 5 to 4, and so on, all at the same time. The receivers add.
#   Half of the ranks are left, and they do the same. After $\lceil\log_2 P\rceil$ steps rank 0 has the sum, and it goes
#   back the same way: $2\lceil\log_2 P\rceil\left(\alpha + \frac n\beta\right)$.
# - **Ring.** In each of $2(P-1)$ steps each rank sends one $P$th of an array to its neighbour, all at the same time (17.2
#   shows how): $2(P-1)\left(\alpha + \frac{n}{P\beta}\right)$.
#
# Of the three, none needs fewer steps than the tree, and the ring moves the fewest bytes through the busiest port: for
# long arrays its time is about $2\frac{P-1}{P}\frac n\beta$, less than $2n/\beta$ *whatever $P$ is*. Write the three formulas.


# %% exercise="collective_time" points=1 minutes=10 trains=["counting what a computation costs"]
def collective_time(kind: str, size: float, ranks: int, latency: float, bandwidth: float) -> float:
    """Seconds that an all-reduce takes, by the formulas above.

    kind: "root", "tree" or "ring"; any other word raises ValueError, also for one rank.
    size: n, the bytes of the array of one rank, >= 0. ranks: P, a Python int from 1 to 10^6.
    latency: alpha, seconds, >= 0. bandwidth: beta, bytes a second, > 0; math.inf is allowed.
    These numbers may be ints or floats, up to 1e15 in size.

    Returns a float; 0.0 for one rank. For "ring" the chunks are of n / P bytes, also where P does
    not divide n.
    """
    ### BEGIN SOLUTION
    steps = {"root": ranks - 1, "tree": (ranks - 1).bit_length(), "ring": ranks - 1}
    if kind not in steps:
        raise ValueError(f"kind is {kind!r}: root, tree or ring")
    part = size / ranks if kind == "ring" else size
    return float(2 * steps[kind] * (latency + part / bandwidth))
    ### END SOLUTION


# %% [markdown] hints="collective_time"
# <details><summary>Hint 1: steps and bytes</summary>
#
# All three are a number of steps, times (latency + bytes in a step / bandwidth). Which two numbers differ?
# </details>
# <details><summary>Hint 2: nearly the answer</summary>
#
# Steps: `2 * (ranks - 1)` for root and ring, `2 * ceil(log2(ranks))` for the tree. Bytes: `size`, and for the ring
# `size / ranks`. `math.ceil(math.log2(ranks))` is right; for one rank it is 0.
# </details>

# %% check="collective_time"
with check("collective_time"):
    # P = 5, alpha = 1, beta = 10, n = 100: a whole array takes 1 + 10 = 11 seconds, one fifth of it 1 + 2 = 3.
    expect_close(collective_time("root", 100, 5, 1.0, 10.0), 88.0, hint="4 arrays come in, 4 go out: 8 * 11")
    expect_close(
        collective_time("tree", 100, 5, 1.0, 10.0),
        66.0,
        hint="3 steps up (5, 3, 2, 1 ranks are left) and 3 steps down: 6 * 11",
        mistakes={"log2 of P was rounded down.": 44.0, "This is the way up only: the sum must come back.": 33.0},
    )
    expect_close(
        collective_time("ring", 100, 5, 1.0, 10.0),
        24.0,
        hint="8 steps of 1 + 100 / (5 * 10)",
        mistakes={
            "Each message of the ring has one P-th of the bytes.": 88.0,
            "These are the first P - 1 steps only: reduce-scatter without all-gather.": 12.0,
        },
    )
    expect_close(collective_time("ring", 101, 5, 1.0, 8.0), 28.2, hint="101 / 5 = 20.2 bytes a chunk: 8 (1 + 20.2 / 8)")
    for kind in ("root", "tree", "ring"):
        got = collective_time(kind, 100, 1, 1.0, 10.0)
        assert got == 0 and isinstance(got, float), f"one rank has nobody to send to: 0.0, a float, and not {got!r}"
    assert collective_time("tree", 0, 8, 1.0, math.inf) == 6.0, "with 8 ranks the tree has exactly 3 steps each way"
    for ranks in (5, 1):
        with expect_raises(ValueError):
            collective_time("star", 100, ranks, 1.0, 10.0)

# %% [markdown]
# Your formulas, beside the simulator's clock. The lines are your function. The dots are programs that ran in `simulate`
# with real messages: the root of the setup cell, and a tree. Which line is lowest? For short arrays the tree, since it
# has the fewest steps. For long ones the ring, since it sends the least. The ring has no dots yet: it is the next exercise.


# %% tags=["demo"]
def tree_all_reduce(comm, x):
    """An all-reduce by a binary tree: up to rank 0, and down again."""
    total, step = x.copy(), 1
    while step < comm.size:
        if comm.rank % (2 * step):
            comm.send(comm.rank - step, total)
            total = comm.recv(comm.rank - step)
            break
        if comm.rank + step < comm.size:
            total = total + comm.recv(comm.rank + step)
        step *= 2
    while step > 1:
        step //= 2
        if comm.rank + step < comm.size:
            comm.send(comm.rank + step, total)
    return total


def simulated_seconds(all_reduce, count, size):
    """Simulated seconds of an all-reduce of `count` numbers of 8 bytes."""
    return simulate(lambda comm: all_reduce(comm, np.ones(count)), size, latency=ALPHA, bandwidth=BETA).seconds


def draw_collectives(programs):
    """The formulas as lines and programs as dots: against bytes, and against ranks."""
    _, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    counts, sizes = 10 ** np.arange(1, demo_size(full=7, small=5)), [2, 3, 4, 6, 8, 12, 16]
    many = 100_000
    for number, kind in enumerate(("root", "tree", "ring")):
        colour, marker = plotting.COLOURS[number], "os^"[number]
        line, more = np.logspace(1.5, 7, 50), np.arange(2, 17)
        left.plot(line, [collective_time(kind, n, 8, ALPHA, BETA) for n in line], color=colour, label=kind)
        times = [collective_time(kind, 8 * many, P, ALPHA, BETA) for P in more.tolist()]
        right.plot(more, 1e3 * np.array(times), color=colour, label=kind)
        if kind in programs:
            left.plot(8 * counts, [simulated_seconds(programs[kind], n, 8) for n in counts], marker, color=colour)
            times = [simulated_seconds(programs[kind], many, P) for P in sizes]
            right.plot(sizes, 1e3 * np.array(times), marker, color=colour)
    left.set(
        xscale="log",
        yscale="log",
        xlabel="bytes of an array",
        ylabel="seconds",
        title="8 ranks: the best one depends on n",
    )
    right.set(xlabel="ranks", ylabel="milliseconds", title=f"{bytes_text(8 * many)}: the ring grows least")
    left.legend()
    right.legend()
    plt.show()


draw_collectives({"root": root_all_reduce, "tree": tree_all_reduce})

# %% [markdown]
# ### 17.2 `ring_all_reduce` · essential · level 3 of 4 · 30 min
#
# Can we use all ports all the time? Put the ranks on a ring: each rank sends to its right neighbour, $r + 1$, and
# receives from its left one, $r - 1$. Cut each array into $P$ **chunks**, numbered 0 to $P - 1$, of at most
# $\lceil n/P\rceil$ numbers. Then two rounds around the ring (all numbers of ranks and chunks are modulo $P$):
#
# 1. **Reduce-scatter**, $P - 1$ steps. In step $t = 0, 1, \dots$ rank $r$ sends chunk $r - t$, receives
#    chunk $r - t - 1$, and *adds* what it received to its own chunk of that number. The chunk that it sends in a step is
#    the one to which it added in the step before. So each chunk travels around the ring and collects one summand on each
#    rank. After $P - 1$ steps chunk $j$ has visited all ranks, and its sum stands on rank $j - 1$.
# 2. **All-gather**, $P - 1$ steps. Each rank has one finished chunk, rank $r$ has number $r + 1$. In step $t$ rank $r$
#    sends chunk $r + 1 - t$, receives chunk $r - t$, and *replaces* its own chunk by it.
#
# In each step each rank sends about $n/P$ numbers, so in all $2(P-1)\frac nP$. No all-reduce sends less from its busiest
# rank (Patarasuk and Yuan, 2009): for each entry, $P - 1$ numbers must arrive somewhere before its sum can stand
# anywhere, and at each of the $P - 1$ ranks that do not have the sum then, one more must arrive. These are $2(P-1)n$
# numbers in all, and somebody sends at least one $P$th of them.
#
# For example $P = 3$: in the first round rank 0 sends chunk 0 and then chunk 2, to which it has added. It receives chunk 2
# and then chunk 1, whose sum is now complete. In the second round it sends chunk 1 and then chunk 0, which it has received.
#
# A second property is as important. The sum of a chunk is computed *once*, in one order, and copied. So all ranks have
# the same bits. If each rank added all $P$ arrays itself, in an order that begins with its own, the results would differ
# in the last digits, because floating-point addition is not associative. Then the ranks' parameters differ, too, and
# nothing brings them together again.


# %% exercise="ring_all_reduce" points=3 minutes=30 trains=["message passing", "index arithmetic that is right at the borders", "floating-point reasoning"]
def ring_all_reduce(comm: Comm, x: np.ndarray) -> np.ndarray:
    """The sum of x over all ranks, on each rank, by a ring.

    comm: `rank`, `size` (P >= 1), `send(to, array)` and `recv(source)`. A rank sends to rank
      (rank + 1) mod P only, and receives from rank (rank - 1) mod P only.
    x: shape (n,), float64 or float32, in any memory layout; n and the dtype are the same on all
      ranks. n may be less than P, also 0, and P need not divide it. Not modified.

    Returns a new array of shape (n,) and x's dtype: the sum over the ranks, off by at most
    P * eps * (sum of the absolute values), with the same bits on all ranks.

    Each message is a chunk of at most ceil(n / P) numbers of x's dtype. A rank sends at most 2 (P - 1)
    messages; where a chunk has no numbers, its message may be left out. One rank alone sends none.
    How x is cut into chunks is up to you.
    """
    ### BEGIN SOLUTION
    P, r = comm.size, comm.rank
    total = np.array(x)
    chunks = np.array_split(total, P)  # views of it
    for t in range(P - 1):
        comm.send((r + 1) % P, chunks[(r - t) % P])
        chunks[(r - t - 1) % P] += comm.recv((r - 1) % P)
    for t in range(P - 1):
        comm.send((r + 1) % P, chunks[(r + 1 - t) % P])
        chunks[(r - t) % P][:] = comm.recv((r - 1) % P)
    return total
    ### END SOLUTION


# %% [markdown] hints="ring_all_reduce"
# <details><summary>Hint 1: chunks that are views</summary>
#
# Work on a copy of `x`. `np.array_split(copy, P)` gives $P$ views of it, of lengths that differ by one at most, also
# where $n < P$ (then some are empty). Adding to a view changes the copy.
# </details>
# <details><summary>Hint 2: which chunk, in which step</summary>
#
# Write it down for $P = 3$ and rank 0. Reduce-scatter: send 0, receive 2; send 2, receive 1. Now rank 0 has the whole sum
# of chunk 1. All-gather: send 1, receive 0; send 0, receive 2. `(r - t - 1) % P` is never negative in Python.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# Two loops over `t in range(P - 1)`. First: send `chunks[(r - t) % P]` to `(r + 1) % P`, then
# `chunks[(r - t - 1) % P] += comm.recv((r - 1) % P)`. Second: send `chunks[(r + 1 - t) % P]`, then
# `chunks[(r - t) % P][:] = comm.recv(...)`. `send` copies, so a chunk may be changed afterwards.
# </details>


# %% check="ring_all_reduce"
with check("ring_all_reduce"):
    # Three ranks, six numbers: rank r has (0, 1, 2, 3, 4, 5) * 10^r, so the sum is 111 times that.
    arrays = [np.arange(6.0) * 10**r for r in range(3)]
    with expect_unchanged(first=arrays[0], second=arrays[1], third=arrays[2]):
        done = simulate(lambda comm: ring_all_reduce(comm, arrays[comm.rank]), 3)
    assert all(m.to == (m.source + 1) % 3 for m in done.messages), "send to the right neighbour only"
    for result in done.results:
        expect_close(
            result, 111 * np.arange(6.0), hint="a chunk collects a summand on each rank, then the sum goes around"
        )
    expect_close(done.sent, [4 * 2 * 8] * 3, hint="each rank sends 2 (P - 1) = 4 chunks of 2 numbers of 8 bytes")
    assert max(message.bytes for message in done.messages) <= 16, "no message has more than ceil(6 / 3) numbers"
    assert len(done.messages) <= 3 * 4, (
        f"each of 3 ranks sends at most 2 (P - 1) = 4 messages, not {len(done.messages)} in all"
    )
    for n, size in ((7, 4), (2, 5), (0, 3), (5, 1), (1, 2)):  # P does not divide n; n < P; nothing; one rank; two
        arrays = [np.linspace(r, 1, n) for r in range(size)]
        done = simulate(lambda comm, arrays=arrays: ring_all_reduce(comm, arrays[comm.rank]), size)
        for result in done.results:
            expect_shape(result, (n,))
            expect_close(result, np.sum(arrays, axis=0), hint=f"n = {n} numbers on {size} ranks")
        assert not any(map(np.shares_memory, arrays, done.results)), "return a new array, also on one rank"
        assert max((m.bytes for m in done.messages), default=0) <= 8 * -(-n // size), "messages of at most ceil(n / P)"
    # The same bits on all ranks, also in float32, where the order of a sum shows.
    arrays = [np.float32(np.random.default_rng(r).standard_normal(1000)) for r in range(8)]
    done = simulate(lambda comm: ring_all_reduce(comm, arrays[comm.rank]), 8)
    expect_dtype(done.results[0], np.float32)
    same = all((result == done.results[0]).all() for result in done.results)
    assert same, "all ranks have the same bits: a sum is computed once and copied"
    ones = simulate(lambda comm: ring_all_reduce(Doubling(comm), np.ones(4)), 2).results
    assert max(ones[0]) > 2, "what arrives in the messages counts: here each message arrives doubled"
    assert max(done.sent) <= 14 * 125 * 4, "the messages have x's dtype: 2 (P - 1) chunks of 125 numbers of 4 bytes"

# %% [markdown]
# Your ring at work. Four ranks have four numbers each, so each chunk is one number. The numbers are made such that each
# message tells which chunk it is and how many summands it has. Each square is one message: the text is the number of
# the chunk, the colour is the number of its summands. Follow one chunk along a diagonal: it collects a summand on each
# rank, and from the fourth step on it carries all four. Below, the figure of 17.1 once more, now with the dots of your
# ring.


# %% tags=["demo"]
class Watched(Comm):
    """A rank's comm that also writes down what is sent."""

    def __init__(self, comm, log):
        super().__init__(comm.rank, comm.size)
        self.inner, self.log = comm, log

    def send(self, to, array):
        self.log.append(np.array(array))
        self.inner.send(to, array)

    def recv(self, source):
        return self.inner.recv(source)


P = 4
logs = [[] for _ in range(P)]
simulate(lambda comm: ring_all_reduce(Watched(comm, logs[comm.rank]), 1 + np.arange(P) / 100), P)
logs = [[array.item() for array in log if array.size] for log in logs]
steps = max(map(len, logs))
figure, ax = plt.subplots(figsize=(6.5, 4.2))
for r, log in enumerate(logs):
    for t, value in enumerate(log):
        summands = math.floor(value)
        chunk = round(100 * (value / summands - 1))
        shade = plt.get_cmap("YlGnBu")(summands / (P + 1))
        ax.add_patch(plt.Rectangle((r - 0.5, t + 0.5), 1, 1, facecolor=shade, edgecolor="white", linewidth=2))
        ax.text(
            r,
            t + 1,
            f"chunk {chunk}\n{summands} of {P}",
            ha="center",
            va="center",
            fontsize=9,
            color="white" if summands == P else "#222222",
        )
ax.set_xticks(range(P), [f"rank {r}" for r in range(P)])
ax.set(
    xlabel="sender",
    ylabel="step",
    xlim=(-0.5, P - 0.5),
    ylim=(steps + 0.5, 0.5),
    title="A chunk collects its summands, then the sum goes around",
)
ax.grid(False)
plt.show()
draw_collectives({"root": root_all_reduce, "tree": tree_all_reduce, "ring": ring_all_reduce})

# %% [markdown]
# ### 17.3 `data_parallel_step` · essential · level 2 of 4 · 20 min
#
# Now train with it. In **data parallelism** each rank has all parameters $\theta$ and its own part of the rows. The loss
# is the mean over all rows of all ranks. With $m_r$ rows on rank $r$, and the mean gradient $g_r$ of these rows,
#
# $$g \;=\; \frac{\sum_r m_r\, g_r}{\sum_r m_r}, \qquad \theta \leftarrow \theta - \eta\, g ,$$
#
# because $m_r g_r$ is the sum of the gradients of the rows of rank $r$. Both sums are over ranks. The mean of the ranks'
# means, $\frac1P\sum_r g_r$, is the same only if all $m_r$ are equal, and the last batch of an epoch is rarely divided
# evenly. A rank may even have no row. Then its part of both sums is 0, but it must still take part in the all-reduce,
# because the others wait for it.
#
# Two sums need not be two all-reduces. Each would cost the latency of all its steps, so put the count behind the
# gradient and send $d + 1$ numbers at once. In the docstrings below, `all_reduce(comm, a)` is any function such as yours:
# it takes a 1-D array and returns its sum over all ranks, with the same bits on each. All ranks must call it equally
# often, with arrays of the same length.


# %% exercise="data_parallel_step" points=2 minutes=20 trains=["message passing", "summaries that merge"]
def data_parallel_step(
    comm: Comm,
    all_reduce: Callable[[Comm, np.ndarray], np.ndarray],
    grad: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    theta: np.ndarray,
    X: np.ndarray,
    y: np.ndarray,
    lr: float,
) -> np.ndarray:
    """One step of gradient descent on the mean loss over the rows of all ranks.

    all_reduce: all_reduce(comm, a) is the sum over the ranks of a 1-D float64 array a, the same bits
      on all ranks, in a new array. It is called once, with d + 1 numbers, on every rank, and nothing
      else is sent.
    grad: grad(theta, X, y) is the gradient, shape (d,), of the MEAN loss over the rows of X and y.
      It raises ValueError where there is no row: do not call it there, and elsewhere once.
    theta: shape (d,), d >= 1, float64, the same on all ranks. Not modified.
    X, y: shapes (rows, c) and (rows,), float64: this rank's rows, 0 or more; other ranks may have
      another number. At least one rank has a row. Not modified. lr: the learning rate, > 0.

    Returns the new theta, shape (d,), float64, a new array with the same bits on all ranks: theta
    minus lr times the gradient of the mean loss over all rows of all ranks.
    """
    ### BEGIN SOLUTION
    rows = len(y)
    message = np.zeros(len(theta) + 1)
    if rows:
        message[:-1] = rows * grad(theta, X, y)
        message[-1] = rows
    total = all_reduce(comm, message)
    return theta - lr * total[:-1] / total[-1]
    ### END SOLUTION


# %% [markdown] hints="data_parallel_step"
# <details><summary>Hint 1: what adds up</summary>
#
# Means do not add up over ranks. Sums do: of gradients over rows, and of the number of rows. How do you get the sum of
# a rank's gradients from their mean?
# </details>
# <details><summary>Hint 2: a rank without rows</summary>
#
# It does not call `grad`, and sends zeros. It must call `all_reduce` all the same: the others wait for it.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `message = np.zeros(d + 1)`; where there are rows, `message[:-1] = rows * grad(theta, X, y)` and `message[-1] = rows`.
# After the all-reduce: `theta - lr * total[:-1] / total[-1]`.
# </details>


# %% check="data_parallel_step"
def mean_of_rows(theta, X, y):
    """The gradient of the mean of (theta - y)^2 / 2 over the rows, for one parameter: theta - mean(y)."""
    if len(y) == 0:
        raise ValueError("the mean gradient of no rows")
    asked_for.append(len(y))
    return theta - y.mean()


with check("data_parallel_step"):
    # Rows 1, 2, 9 on rank 0, row 8 on rank 1, none on rank 2. The mean of the four is 5, so at theta = 1 the
    # gradient is 1 - 5 = -4, and with lr = 0.5 the step goes from 1 to 3.
    shards = [np.array([1.0, 2.0, 9.0]), np.array([8.0]), np.array([])]
    theta, reduced, asked_for = np.ones(1), [], []

    def counted(comm, a):
        reduced.append((np.shape(a), a.dtype))
        return root_all_reduce(comm, a)

    def step_of(comm):
        y = shards[comm.rank]
        return data_parallel_step(comm, counted, mean_of_rows, theta, y[:, None], y, 0.5)

    with expect_unchanged(theta=theta):
        done = simulate(step_of, 3)
    for result in done.results:
        expect_close(
            result,
            [3.0],
            hint="weigh the gradient of each rank by its number of rows",
            mistakes={
                "This is the mean of the ranks' mean gradients, -3 and -7.": [3.5],
                "The sum of the ranks' mean gradients, -3 and -7, was divided by P = 3.": [1 + 5 / 3],
                "This is the step with the sum of the ranks' mean gradients.": [6.0],
                "This is the step with the sum over all rows: divide by their number.": [9.0],
                "The sum over all rows was divided by P = 3, and not by the number of rows.": [1 + 8 / 3],
                "The sum of the ranks' mean gradients was divided by the number of rows.": [2.25],
                "This is what theta changes by, without theta.": [2.0],
            },
        )
        assert result is not theta, "return a new array"
    assert reduced == [((2,), np.float64)] * 3, f"one all-reduce of d + 1 = 2 float64 numbers a rank, and not {reduced}"
    assert sorted(asked_for) == [1, 3], (
        f"grad is called once on each rank that has rows: for 3 rows and for 1, not {asked_for}"
    )
    # Two parameters, rows of three columns, and a rank without rows: the mean of 1, 2 and 9 is 4.
    shards, theta, reduced = [np.array([]), np.array([1.0, 2.0, 9.0])], np.zeros(2), []

    def wide_step_of(comm):
        y = shards[comm.rank]
        return data_parallel_step(comm, counted, mean_of_rows, theta, np.ones((len(y), 3)), y, 0.5)

    for result in simulate(wide_step_of, 2).results:
        expect_close(result, [2.0, 2.0], hint="theta has d = 2 entries, and X has c = 3 columns")
    assert reduced == [((3,), np.float64)] * 2, f"d + 1 = 3 numbers, also from a rank without rows, and not {reduced}"

# %% [markdown]
# Does it matter? Handwritten digits, softmax regression, sorted by label, on four ranks with very different numbers of
# rows. Your step is compared with one process that has all rows, and with the mean of means. All three have the same
# learning rate.


# %% tags=["demo"]
def softmax_gradient(theta, X, y):
    """The gradient of the mean cross-entropy; theta is a (64, 10) matrix, flat."""
    Z = X @ theta.reshape(X.shape[1], 10)
    Q = np.exp(Z - Z.max(axis=1, keepdims=True))
    Q /= Q.sum(axis=1, keepdims=True)
    Q[np.arange(len(y)), y.astype(int)] -= 1
    return (X.T @ Q / len(y)).ravel()


def softmax_loss(theta, X, y):
    Z = X @ theta.reshape(X.shape[1], 10)
    return float(np.mean(np.logaddexp.reduce(Z, axis=1) - Z[np.arange(len(y)), y.astype(int)]))


def mean_of_means_step(comm, all_reduce, grad, theta, X, y, lr):
    """Wrong where ranks have different numbers of rows."""
    return theta - lr * all_reduce(comm, grad(theta, X, y)) / comm.size


digits = datasets.digits()
pixels, labels = digits.X.reshape(len(digits.y), -1).astype(float) / digits.X.max(), digits.y.astype(float)
order = np.argsort(labels, kind="stable")
bounds = [0, 60, 240, 700, len(order)]
shards = [order[a:b] for a, b in itertools.pairwise(bounds)]
rounds = demo_size(full=60, small=10)


def training(step):
    def program(comm):
        theta, history, mine = np.zeros(640), [], shards[comm.rank]
        for _ in range(rounds):
            theta = step(comm, root_all_reduce, softmax_gradient, theta, pixels[mine], labels[mine], 1.0)
            history.append(theta)
        return history

    return simulate(program, 4).results[0]


theta, single = np.zeros(640), []
for _ in range(rounds):
    theta = theta - softmax_gradient(theta, pixels, labels)
    single.append(theta)
paths = {
    "one process": single,
    "yours, 4 ranks": training(data_parallel_step),
    "mean of means": training(mean_of_means_step),
}
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
for number, (name, path) in enumerate(paths.items()):
    style = {
        "color": plotting.COLOURS[number],
        "linestyle": ("-", ":", "--")[number],
        "linewidth": (1.2, 3.5, 1.5)[number],
    }
    left.plot(range(1, rounds + 1), [softmax_loss(theta, pixels, labels) for theta in path], label=name, **style)
    if number:
        apart = [np.abs(a - b).max() for a, b in zip(path, single, strict=True)]
        right.plot(range(1, rounds + 1), np.maximum(apart, 1e-18), label=name, **style)
left.set(xlabel="step", ylabel="loss on all rows", yscale="log", title="Four ranks take the path of one")
right.set(
    xlabel="step",
    ylabel="largest difference from one process",
    yscale="log",
    ylim=(1e-18, 1e3),
    title="Yours differs by rounding only",
)
left.legend()
right.legend()
plt.show()

# %% [markdown]
# ### 17.4 `bucket_gradients` · important · level 2 of 4 · 15 min
#
# When can the all-reduce begin? The backward pass computes gradients from the last layer to the first. The gradient of
# the last layer is ready early, long before that of the first layer. So its all-reduce can run *while* the backward pass
# goes on, and only what is not finished at the end is a wait.
#
# One all-reduce for each tensor would start earliest, but pays the latency of $2(P-1)$ messages for each. One all-reduce
# for everything pays it once, and nothing overlaps. In between, tensors are collected in **buckets**: take tensors from
# the last to the first, and close a bucket when the next tensor would not fit. PyTorch's `DistributedDataParallel` (DDP)
# does nearly this: it closes a bucket when a limit is *reached*, so a bucket may be larger. The limit is 25 MiB unless
# told otherwise, and 1 MiB for the first bucket, so that the first all-reduce starts early.


# %% exercise="bucket_gradients" points=2 minutes=15 trains=["counting what a computation costs"]
def bucket_gradients(sizes: list[int], cap: int) -> list[list[int]]:
    """Which gradients are sent together: buckets of at most `cap` bytes, from the last tensor to the first.

    sizes: the bytes of each tensor, >= 1, in the order of the forward pass; a list of any length,
      also empty. Not modified. cap: bytes, >= 1.

    Returns a list of buckets, each a list of positions in `sizes` (Python ints). All buckets
    together, one after the other, are len(sizes) - 1, ..., 1, 0. A bucket takes the next tensor
    wherever its bytes, with those already in the bucket, are at most cap. Otherwise the bucket is
    closed, and the next one begins with that tensor. A tensor of more than cap bytes has a bucket
    of its own. No bucket is empty; without tensors the list is.
    """
    ### BEGIN SOLUTION
    buckets, used = [], 0
    for i in reversed(range(len(sizes))):
        if not buckets or used + sizes[i] > cap:
            buckets.append([])
            used = 0
        buckets[-1].append(i)
        used += sizes[i]
    return buckets
    ### END SOLUTION


# %% [markdown] hints="bucket_gradients"
# <details><summary>Hint 1: the order</summary>
#
# Walk over the positions backwards: `for i in reversed(range(len(sizes)))`. Keep the bytes of the open bucket.
# </details>
# <details><summary>Hint 2: nearly the answer</summary>
#
# Where there is no bucket yet, or `used + sizes[i] > cap`, append a new empty bucket and set `used = 0`. Then append `i`
# to the last bucket and add its bytes. A tensor that is too large gets its own bucket by the same rule: nothing fits
# beside it.
# </details>

# %% check="bucket_gradients"
with check("bucket_gradients"):
    sizes = [3, 4, 2, 9, 1, 5]
    got = bucket_gradients(sizes, 6)
    # From the end: 5 + 1 = 6 fit exactly; 9 is more than 6, alone; 2 + 4 = 6; 3.
    assert got == [[5, 4], [3], [2, 1], [0]], f"5 and 1 fit into 6, then 9 alone, 2 and 4, and 3 are left; not {got}"
    assert sizes == [3, 4, 2, 9, 1, 5], "the list of sizes stays as it is"
    assert bucket_gradients([7, 1, 1], 2) == [[2, 1], [0]], "a tensor above cap goes alone"
    assert bucket_gradients([1, 7, 1], 5) == [[2], [1], [0]], "a tensor above cap goes alone, also between others"
    assert bucket_gradients([1] * 5, 100) == [[4, 3, 2, 1, 0]], "all of them fit into one bucket"
    assert bucket_gradients([], 5) == [], "no tensors, no buckets"

# %% [markdown]
# A network of 160 tensors, 100 MB of gradients, on 8 ranks. Its backward pass takes 100 ms, divided among the tensors by
# their bytes. All-reduces run one after the other, each of the length that your `collective_time` gives. The curve is
# the wait that is left after the backward pass. At the left end each tensor goes alone, and the link is busy with latency. At
# the right end everything is one message that starts when the pass has ended: the whole all-reduce is a wait.


# %% tags=["demo"]
def wait_that_is_left(buckets, sizes, backward, size, latency, bandwidth):
    """Seconds from the end of the backward pass until the last all-reduce has ended."""
    ready = backward * np.cumsum(sizes[::-1])[::-1] / sum(sizes)  # the gradient of tensor i exists from then on
    free = 0.0
    for bucket in buckets:
        seconds = collective_time("ring", sum(sizes[i] for i in bucket), size, latency, bandwidth)
        free = max(free, *(ready[i] for i in bucket)) + seconds
    return free - ready[0]


rng = np.random.default_rng(0)
weights = rng.choice([0.05, 0.3, 1.0, 3.0], 160)
sizes = [int(1e8 * part) for part in weights / weights.sum()]
caps = np.logspace(4.5, 8.2, demo_size(full=60, small=20)).astype(int)
figure, ax = plt.subplots(figsize=(7.5, 4))
for number, latency in enumerate((2e-5, 2e-4)):
    waits = [wait_that_is_left(bucket_gradients(sizes, cap), sizes, 0.1, 8, latency, 2.5e9) for cap in caps.tolist()]
    ax.plot(
        caps, 1e3 * np.array(waits), color=plotting.COLOURS[number], linestyle="-", label=f"α = {1e6 * latency:.0f} µs"
    )
    best = int(np.argmin(waits))
    print(
        f"α = {1e6 * latency:.0f} µs: each tensor alone {1e3 * waits[0]:.1f} ms, all in one {1e3 * waits[-1]:.1f} ms, "
        f"best {1e3 * waits[best]:.1f} ms, with {bytes_text(caps[best])} in a bucket"
    )
ax.axvline(25 * 2**20, color="#222222", linestyle=":", linewidth=1, label="25 MiB, DDP's limit")
ax.set(
    xscale="log",
    yscale="log",
    xlabel="cap: bytes in a bucket",
    ylabel="wait after the backward pass (ms)",
    title="The best bucket lies between one tensor and all",
)
ax.legend(loc="lower left")
plt.show()

# %% [markdown]
# The curves fall while larger buckets save latency, and rise again when the last bucket, which cannot overlap with
# anything, is large. With a larger latency the best cap is larger.
#
# ### 17.5 `zero_step` · essential · level 3 of 4 · 30 min
#
# What does each rank store in data parallelism? With Adam in float32: the parameters (4 bytes each), their gradient (4)
# and the two moments (8). All $P$ ranks store the same 16 bytes for each parameter. **ZeRO** (Rajbhandari et al., 2020)
# removes the copies. Stage 1: each rank stores only its own slice of the moments, $1/P$ of them, and updates only its
# slice of the parameters. Stage 2: of the gradient, too, each rank keeps only its slice. Stage 3: of the parameters,
# too; a layer's parameters are collected when it is their turn, and dropped after it.
#
# Stage 1 costs no additional byte on the wire (but for rounding up to whole slices). An all-reduce is a reduce-scatter
# and an all-gather. Put Adam between the two:
#
# 1. reduce-scatter the *gradient*: rank $r$ gets slice $r$ of $\sum_q g_q$ over all ranks $q$, and divides it by $P$;
# 2. Adam on this slice, with the slices of $u$ and $s$;
# 3. all-gather the *parameters*: each rank's new slice goes to all others.
#
# In each of the parts 1 and 3 a rank sends at most $(P - 1)\,w$ numbers, with $w = \lceil d / P\rceil$. You may send
# around a ring, or straight to the owner of a slice: both send the same bytes. Adam on a slice is Adam on the whole, cut: each
# parameter has its own moments, and no other parameter has an influence on it.
#
# The update, for the mean gradient $g$ and the step number $t = 1, 2, \dots$ (squares and roots entry by entry):
#
# $$u \leftarrow \beta_1 u + (1-\beta_1)\,g,\qquad s \leftarrow \beta_2 s + (1-\beta_2)\,g^2,\qquad
# \theta \leftarrow \theta - \eta\,\frac{u/(1-\beta_1^t)}{\sqrt{s/(1-\beta_2^t)} + \varepsilon} .$$


# %% exercise="zero_step" points=3 minutes=30 trains=["message passing", "index arithmetic that is right at the borders"]
def zero_step(
    comm: Comm,
    params: np.ndarray,
    grad: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    t: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One step of Adam on the mean gradient, where each rank stores a slice of the moments (ZeRO 1).

    Slice r of a vector of d numbers: its entries r w, ..., r w + w - 1, with w = ceil(d / P). Where
    the vector ends before, zeros follow, so a slice is always w long. (With d = 5 and P = 4, w = 2:
    slice 2 is entry 4 and a zero, and slice 3 is two zeros.) This holds for m and v, too.

    params: shape (d,), d >= 1, the same on all ranks. grad: shape (d,), the gradient of this rank;
      that of the step is the MEAN of `grad` over the ranks. m, v: shape (w,), slice comm.rank of
      Adam's first and second moment. All are float64, and none is modified.
    t: number of this step, >= 1. lr > 0, betas = (beta_1, beta_2) with 0 <= beta < 1, eps > 0.

    Returns (params, m, v) after the step, new float64 arrays of shapes (d,), (w,), (w,): all
    parameters, with the same bits on all ranks, and this rank's slices of the moments.

    A rank sends at most 2 (P - 1) messages, each of at most w numbers. Zeros behind the end of the
    vector may be sent or left out.
    """
    ### BEGIN SOLUTION
    P, r, d = comm.size, comm.rank, len(params)
    w = -(-d // P)

    def slices(vector):
        padded = np.zeros(P * w)
        padded[:d] = vector
        return padded.reshape(P, w)

    theirs, everything = slices(grad), slices(params)
    for step in range(1, P):  # reduce-scatter, straight to the owner of each slice
        comm.send((r + step) % P, theirs[(r + step) % P])
    g = theirs[r]
    for step in range(1, P):
        g = g + comm.recv((r - step) % P)
    g = g / P
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g**2
    everything[r] -= lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    for step in range(1, P):  # all-gather
        comm.send((r + step) % P, everything[r])
    for step in range(1, P):
        everything[(r - step) % P] = comm.recv((r - step) % P)
    return everything.ravel()[:d], m, v
    ### END SOLUTION


# %% [markdown] hints="zero_step"
# <details><summary>Hint 1: slices as rows</summary>
#
# Put the gradient into a zero vector of `P * w` numbers and reshape it to `(P, w)`: row $r$ is slice $r$. Do the same
# with the parameters, and cut the result at $d$.
# </details>
# <details><summary>Hint 2: two exchanges</summary>
#
# First each rank sends row $q$ of its gradient to rank $q$, for each other $q$, and adds the $P - 1$ rows that it
# receives to its own row. Divide by $P$. At the end it sends its new slice of the parameters to each other rank. `send`
# never waits, so a rank can send all its messages before it receives one.
# </details>
# <details><summary>Hint 3: Adam on a slice</summary>
#
# `m = b1 * m + (1 - b1) * g`, `v = b2 * v + (1 - b2) * g**2`, and the slice of the parameters loses
# `lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)`. `m = ...` makes a new array; `m *= b1` would change the
# argument.
# </details>

# %% check="zero_step"
with check("zero_step"):
    # Two ranks, three parameters: w = 2. Rank 0 owns entries 0 and 1, rank 1 owns entry 2 and a zero. The mean gradient
    # is (2, -4, 6). From m = v = 0 and at t = 1, m / (1 - b1) = g and v / (1 - b2) = g^2, so each parameter moves by
    # lr * g / (|g| + eps): lr times the sign of g.
    params, grads = np.array([1.0, 1.0, 1.0]), [np.array([1.0, -4.0, 0.0]), np.array([3.0, -4.0, 12.0])]
    zeros = np.zeros(2)

    def zero_of(comm):
        return zero_step(comm, params, grads[comm.rank], zeros, zeros, 1, 0.1, (0.5, 0.75), 1e-12)

    with expect_unchanged(params=params, first=grads[0], second=grads[1], moments=zeros):
        done = simulate(zero_of, 2)
    for rank, (new, m, v) in enumerate(done.results):
        expect_close(
            m,
            [[1.0, -2.0], [3.0, 0.0]][rank],
            hint=f"rank {rank}: its slice of the mean gradient, times 1 - 0.5",
            mistakes={"This has the sum of the gradients, not their mean.": [[2.0, -4.0], [6.0, 0.0]][rank]},
        )
        expect_close(v, [[1.0, 4.0], [9.0, 0.0]][rank], hint=f"rank {rank}: its slice of g, squared, times 1 - 0.75")
        expect_close(
            new,
            [0.9, 1.1, 0.9],
            hint="the first step of Adam: lr against the sign of each gradient",
            mistakes={
                "v was not divided by 1 - beta_2^t.": [0.8, 1.2, 0.8],
                "m was not divided by 1 - beta_1^t.": [0.95, 1.05, 0.95],
            },
        )
    assert max(done.sent) <= 2 * 2 * 8, f"a rank sends at most 2 (P - 1) w = 4 numbers of 8 bytes, not {done.sent}"
    louder = simulate(lambda comm: zero_of(Doubling(comm)), 2).results[0][0]
    assert louder[2] > 1.5, "what arrives counts: here each message arrives doubled, so rank 0 gets 1.8 for entry 2"
    # A second step on three ranks, one more than there are parameters: w = 1, and rank 2 has a zero only.
    # The mean gradient is (4, -4). m = (1 + 4) / 2 or (1 - 4) / 2, v = (16 + 16) / 2 = 16; 1 - 1/2^2 = 3/4.
    moments = [(np.ones(1), 16 * np.ones(1)), (np.ones(1), 16 * np.ones(1)), (np.zeros(1), np.zeros(1))]
    done = simulate(
        lambda comm: zero_step(
            comm, params[:2], np.array([4.0, -4.0]) * comm.rank, *moments[comm.rank], 2, 1.0, (0.5, 0.5), 1.0
        ),
        3,
    )
    scale = math.sqrt(64 / 3) + 1
    for rank, (new, m, _) in enumerate(done.results):
        expect_close(m, [[2.5], [-1.5], [0.0]][rank], hint="m = (m + g) / 2")
        expect_close(
            new,
            [1 - 10 / 3 / scale, 1 + 2 / scale],
            hint="t = 2: divide m and v by 1 - beta^t; eps is outside the root",
        )
    assert len({result[0].tobytes() for result in done.results}) == 1, "all ranks have the same parameters, bit for bit"
    alone = simulate(
        lambda comm: zero_step(comm, params, grads[1], 0 * params, 0 * params, 1, 0.1, (0.5, 0.5), 1e-12), 1
    )
    expect_close(alone.results[0][0], [0.9, 1.1, 0.9], hint="one rank: plain Adam, and no message")

# %% [markdown]
# What each stage saves, for Adam in float32, by the numbers of this section. Stage 1 divides only the moments by $P$, so
# 8 bytes of each parameter stay. Stage 3 divides everything, so it alone has no floor. (Activations are not in these
# figures.)

# %% tags=["demo"]
PARTS = ("parameters", "gradients", "moments")


def zero_bytes(stage, size, parts=(4, 4, 8)):
    """Bytes per parameter, on each rank, of parameters, gradients and moments; stage 0 is plain data parallelism."""
    return [part / size if stage >= 3 - place else part for place, part in enumerate(parts)]


figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
bottom = np.zeros(4)
for number, part in enumerate(PARTS):
    heights = np.array([zero_bytes(stage, 8)[number] for stage in range(4)])
    left.bar(range(4), heights, bottom=bottom, color=plotting.COLOURS[number], label=part, width=0.6)
    bottom += heights
left.set_xticks(range(4), ["plain", "ZeRO 1", "ZeRO 2", "ZeRO 3"])
left.set(
    xlabel="scheme", ylabel="bytes per parameter, on each rank", ylim=(0, 20), title="8 ranks: what each rank stores"
)
left.legend(loc="upper right")
many = 2 ** np.arange(0, 11)
for stage in range(4):
    name = f"ZeRO {stage}" if stage else "plain"
    stored = [sum(zero_bytes(stage, size)) for size in many]
    right.plot(many, stored, marker="osv^"[stage], markersize=4, color=plotting.COLOURS[stage], label=name)
right.set(
    xscale="log",
    yscale="log",
    xlabel="ranks",
    ylabel="bytes per parameter, on each rank",
    title="Only stage 3 goes on falling",
)
right.legend(loc="lower left")
plt.show()

# %% [markdown]
# And the step is still Adam's. On digits, with softmax regression, four ranks with your `zero_step` follow
# `torch.optim.Adam` on one process, and each stores a quarter of the moments.

# %% tags=["demo"]
adam_steps = demo_size(full=40, small=8)
equal_shards = np.array_split(np.random.default_rng(1).permutation(len(labels))[:1796], 4)


def zero_training(comm):
    mine, theta = equal_shards[comm.rank], np.zeros(640)
    m = v = np.zeros(-(-640 // comm.size))
    for t in range(1, adam_steps + 1):
        grad = softmax_gradient(theta, pixels[mine], labels[mine])
        theta, m, v = zero_step(comm, theta, grad, m, v, t, 0.05, (0.9, 0.999), 1e-8)
    return theta, m.nbytes + v.nbytes


done = simulate(zero_training, 4)
peer = torch.zeros(640, dtype=torch.float64, requires_grad=True)
adam = torch.optim.Adam([peer], lr=0.05)
everything = np.concatenate(equal_shards)
for _ in range(adam_steps):
    peer.grad = torch.from_numpy(softmax_gradient(peer.detach().numpy(), pixels[everything], labels[everything]))
    adam.step()
apart = np.abs(done.results[0][0] - peer.detach().numpy()).max()
print(f"largest difference from torch.optim.Adam after {adam_steps} steps: {apart:.1e}")
print(f"moments on each rank: {done.results[0][1]:,} bytes; on one process {2 * 640 * 8:,}")
ring_bytes = 2 * 3 * 160 * 8
print(
    f"sent by each rank in a step: {done.sent[0] // adam_steps:,} bytes; by a ring all-reduce of the gradient: {ring_bytes:,}"
)

# %% [markdown]
# ### 17.6 `clip_global_norm` · essential · level 2 of 4 · 10 min
#
# Once the gradient is cut into slices, each operation on "the gradient" must be asked again: does it act on each entry
# by itself, as Adam does, or does it look at all entries? Clipping by the norm looks at all:
# $g \leftarrow g\cdot\min(1, L/\lVert g\rVert)$ with a limit $L$. The norm is that of the whole gradient,
#
# $$\lVert g\rVert^2 = \sum_r \lVert\text{slice of rank } r\rVert^2 .$$
#
# **Find the bug.** The function below runs, and each rank's slice comes out with a norm of at most the limit. But
# training with it is not training with clipping. Find out why, and repair it.


# %% exercise="clip_global_norm" points=2 minutes=10 bug=true trains=["message passing", "summaries that merge"]
def clip_global_norm(
    comm: Comm, all_reduce: Callable[[Comm, np.ndarray], np.ndarray], shard: np.ndarray, limit: float
) -> np.ndarray:
    """This rank's slice of a gradient, after the whole gradient was clipped to norm `limit`.

    all_reduce: as in `data_parallel_step`. It is called once, with an array of one number, on every
      rank, and nothing else is sent.
    shard: shape (n,), float64, this rank's slice; its length may differ from rank to rank, and may
      be 0. Entries are 0 or from 1e-100 to 1e100 in size. Not modified. limit: from 1e-100 to 1e100.

    Returns a new array of shape (n,), float64: the slice times min(1, limit / norm), where norm is
    the Euclidean norm of all slices together. Where the norm is at most limit, also where it is 0,
    the numbers are those of shard.
    """
    ### BEGIN SOLUTION
    squares = all_reduce(comm, np.array([np.sum(shard**2)]))
    norm = math.sqrt(squares[0])
    return shard * (limit / norm if norm > limit else 1.0)
    ### END SOLUTION
    ### BEGIN BUG
    # norm = math.sqrt(np.sum(shard**2))
    # return shard * (limit / norm if norm > limit else 1.0)
    ### END BUG


# %% [markdown] hints="clip_global_norm"
# <details><summary>Hint 1: what does a rank not know?</summary>
#
# Two ranks hold the slices (3,) and (4,). The gradient is (3, 4), its norm is 5. Which norm does each rank compute?
# </details>
# <details><summary>Hint 2: what adds up</summary>
#
# Norms do not add up over slices, their squares do. Reduce one number, the sum of squares, as an array of shape (1,),
# and take the root after the all-reduce. A rank with an empty slice takes part with 0.
# </details>

# %% check="clip_global_norm"
with check("clip_global_norm"):
    # The gradient (3, 0, 4, 12) with norm 13, on two ranks, and a rank with nothing. Limit 1: divided by 13.
    slices, asked = [np.array([3.0, 0.0, 4.0]), np.array([]), np.array([12.0])], []

    def counted(comm, a):
        asked.append(np.shape(a))
        return root_all_reduce(comm, a)

    with expect_unchanged(first=slices[0], last=slices[2]):
        done = simulate(lambda comm: clip_global_norm(comm, counted, slices[comm.rank], 1.0), 3)
    gradient = np.array([3.0, 0.0, 4.0, 12.0])
    expect_close(
        np.concatenate(done.results),
        gradient / 13,
        rtol=1e-12,
        hint="the norm is that of all slices together: sqrt(9 + 0 + 16 + 144)",
        mistakes={
            "Each rank divided by the norm of its own slice.": [0.6, 0.0, 0.8, 1.0],
            "You added norms: 5 + 12. Their squares add up.": gradient / 17,
            "You divided by the sum of the squares, 169: take its root.": gradient / 169,
            "A small number was added to the norm. Compare the norm with limit instead.": gradient / (13 + 1e-6),
        },
    )
    assert asked == [(1,)] * 3, f"one all-reduce of one number on each rank, and not {asked}"
    done = simulate(lambda comm: clip_global_norm(comm, root_all_reduce, slices[comm.rank], 14.0), 3)
    expect_close(np.concatenate(done.results), gradient, hint="a norm of at most limit changes nothing")
    assert not any(map(np.shares_memory, slices, done.results)), "return a new array, also where nothing is clipped"
    done = simulate(lambda comm: clip_global_norm(comm, root_all_reduce, 0 * slices[comm.rank], 1.0), 3)
    expect_close(np.concatenate(done.results), 0 * gradient, hint="a gradient of zeros stays zeros: no division by 0")

# %% [markdown]
# What the bug does. A gradient of 400 entries, in four parts of different size, is clipped to norm 1 on 1 to 64 ranks.
# The true clipped gradient has the same direction whatever the number of ranks. Clipped slice by slice, it changes its
# direction, because large slices shrink more than small ones. And each of the $P$ slices may have norm 1, so together they have
# norm $\sqrt P$.


# %% tags=["demo"]
def clip_alone(comm, all_reduce, shard, limit):
    norm = np.linalg.norm(shard)
    return shard * (limit / norm if norm > limit else 1.0)


rng = np.random.default_rng(2)
gradient = rng.standard_normal(400) * np.repeat([8.0, 2.0, 1.0, 0.5], 100)
ranks_tried = [1, 2, 4, 8, 16, 32, 64]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
for number, (name, clip) in enumerate({"yours": clip_global_norm, "slice by slice": clip_alone}.items()):
    angles, lengths = [], []
    for size in ranks_tried:
        cut = np.array_split(gradient, size)
        done = simulate(lambda comm, cut=cut, clip=clip: clip(comm, root_all_reduce, cut[comm.rank], 1.0), size)
        clipped = np.concatenate(done.results)
        lengths.append(np.linalg.norm(clipped))
        across = clipped - gradient * (clipped @ gradient) / (gradient @ gradient)
        angles.append(math.degrees(math.asin(np.linalg.norm(across) / lengths[-1])))
    slope = np.polyfit(np.log(ranks_tried), np.log(lengths), 1)[0]
    left.plot(ranks_tried, angles, "os"[number] + "-", color=plotting.COLOURS[number], label=name)
    label = f"{name}, slope {abs(slope):.2f}"
    right.plot(ranks_tried, lengths, "os"[number] + "-", color=plotting.COLOURS[number], label=label)
left.set(
    xscale="log", xlabel="ranks", ylabel="degrees away from the gradient", title="Slice by slice, the direction turns"
)
right.set(
    xscale="log",
    yscale="log",
    xlabel="ranks",
    ylabel="norm after clipping to 1",
    title="The norm grows as √P: the limit is not kept",
)
for ax in (left, right):
    ax.set_xticks(ranks_tried, ranks_tried)
    ax.minorticks_off()
    ax.legend()
right.set_yticks([1, 2, 4, 8], [1, 2, 4, 8])
plt.show()

# %% [markdown]
# ### 17.7 `parallel_mlp` · important · level 3 of 4 · 30 min
#
# Even one layer can be too large for a rank, and then each rank must hold a part of the layer: **tensor parallelism**
# (Shoeybi et al., 2019). Take $y = \tanh(x W_1 + b_1)\, W_2 + b_2$, with $x$ of shape $(B, d)$, $W_1$ $(d, h)$ and $W_2$
# $(h, o)$. Rank $r$ gets $h_r$ of the hidden units: these *columns* of $W_1$, these entries of $b_1$, and the same *rows*
# of $W_2$. Write $a_r = \tanh(x W_{1,r} + b_{1,r})$, of shape $(B, h_r)$. The nonlinearity acts on each hidden unit by
# itself, so no rank needs the hidden units of another. The output is a sum over hidden units, so it is a sum over ranks:
#
# $$y = \sum_r a_r W_{2,r} \;+\; b_2 .$$
#
# One all-reduce of $B\,o$ numbers. $b_2$ is added once, *after* the sum: every rank has it, and before the sum it would
# be added $P$ times.
#
# Backward, with $\delta = \partial J/\partial y$ of shape $(B, o)$, whole on each rank, and
# $\gamma_r = (\delta\, W_{2,r}^\top)\odot(1 - a_r^2)$ of shape $(B, h_r)$, where $\odot$ multiplies entry by entry and
# $1 - a_r^2$ is the derivative of tanh:
#
# $$\frac{\partial J}{\partial W_{2,r}} = a_r^\top\delta,\qquad
# \frac{\partial J}{\partial b_2} = \textstyle\sum_{\text{rows}}\delta,\qquad
# \frac{\partial J}{\partial W_{1,r}} = x^\top\gamma_r,\qquad
# \frac{\partial J}{\partial b_{1,r}} = \textstyle\sum_{\text{rows}}\gamma_r .$$
#
# All of this needs only what the rank has. But $x$ went into *all* hidden units, so its gradient is a sum over ranks
# again:
#
# $$\frac{\partial J}{\partial x} = \sum_r \gamma_r W_{1,r}^\top ,$$
#
# a second all-reduce, of $B\,d$ numbers. That is all: one all-reduce forward, one backward, for two layers.


# %% exercise="parallel_mlp" points=3 minutes=30 trains=["message passing"]
def parallel_mlp(
    comm: Comm,
    all_reduce: Callable[[Comm, np.ndarray], np.ndarray],
    x: np.ndarray,
    W1: np.ndarray,
    b1: np.ndarray,
    W2: np.ndarray,
    b2: np.ndarray,
    dy: np.ndarray,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Output and gradients of y = tanh(x W1 + b1) W2 + b2, where each rank has some hidden units.

    all_reduce: all_reduce(comm, a) is the sum over the ranks of a 1-D float64 array a (use ravel and
      reshape), the same bits on all ranks, in a new array. It is called twice on every rank: first
      with B * o numbers, for y, then with B * d, for the gradient of x. Nothing else is sent.
    x: shape (B, d), the same on all ranks. dy: shape (B, o), the gradient of the loss with respect
      to y, the same on all ranks. b2: shape (o,), the same on all ranks.
    W1: (d, h_r), b1: (h_r,), W2: (h_r, o): this rank's columns of the whole W1, entries of b1 and rows of
      W2. h_r >= 1 may differ from rank to rank. All arrays are float64, B, d, o >= 1; none is modified.

    Returns (y, grads): y whole, shape (B, o), and a dict of gradients of the loss:
      "x": (B, d), whole. "W1": (d, h_r), "b1": (h_r,), "W2": (h_r, o): of this rank's part. "b2": (o,), whole.
    Sums over rows, no division by B. y, "x" and "b2" have the same bits on all ranks. All are new
    arrays.
    """
    ### BEGIN SOLUTION
    a = np.tanh(x @ W1 + b1)
    y = all_reduce(comm, (a @ W2).ravel()).reshape(dy.shape) + b2
    gamma = (dy @ W2.T) * (1 - a**2)
    dx = all_reduce(comm, (gamma @ W1.T).ravel()).reshape(x.shape)
    return y, {"x": dx, "W1": x.T @ gamma, "b1": gamma.sum(axis=0), "W2": a.T @ dy, "b2": dy.sum(axis=0)}
    ### END SOLUTION


# %% [markdown] hints="parallel_mlp"
# <details><summary>Hint 1: as if alone</summary>
#
# Write forward and backward for one process first. Then ask of each of the six results: is it complete on this rank?
# Two are sums over hidden units, and the hidden units are on other ranks.
# </details>
# <details><summary>Hint 2: the two sums</summary>
#
# `(a @ W2)` before `b2`, and `gamma @ W1.T`. `all_reduce` takes 1-D arrays: `.ravel()` on the way in, `.reshape(...)`
# on the way out. The gradient of $b_2$ needs no all-reduce, since each rank has the whole `dy`.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `a = np.tanh(x @ W1 + b1)`; `y = all_reduce(comm, (a @ W2).ravel()).reshape(dy.shape) + b2`;
# `gamma = (dy @ W2.T) * (1 - a**2)`; then "W2" is `a.T @ dy`, "W1" is `x.T @ gamma`.
# </details>

# %% check="parallel_mlp"
with check("parallel_mlp"):
    # One input, two hidden units on two ranks, one output. At x = 0 and b1 = 0, a = 0 and the derivative of tanh is 1:
    # y = b2 = 5; with dy = 1 the gradient of x is the sum over hidden units of W1 * W2 = 2 * 3 + 4 * 7 = 34.
    one = np.ones((1, 1))
    W1s, W2s, asked = [2 * one, 4 * one], [3 * one, 7 * one], []

    def counted(comm, a):
        asked.append(np.shape(a))
        return root_all_reduce(comm, a)

    def mlp_of(comm):
        W1, W2 = W1s[comm.rank], W2s[comm.rank]
        return parallel_mlp(comm, counted, 0 * one, W1, np.zeros(1), W2, np.array([5.0]), one)

    with expect_unchanged(W1=W1s[0], W2=W2s[0], dy=one):
        done = simulate(mlp_of, 2)
    for rank, (y, grads) in enumerate(done.results):
        assert set(grads) == {"x", "W1", "b1", "W2", "b2"}, f"the keys are x, W1, b1, W2, b2, and not {sorted(grads)}"
        expect_close(
            y,
            [[5.0]],
            hint="b2 is added once, after the sum over the ranks",
            mistakes={"b2 was added on each rank, before the sum.": [[10.0]]},
        )
        expect_close(
            grads["x"],
            [[34.0]],
            hint="the gradient of x is a sum over all hidden units, those of other ranks, too",
            mistakes={"This is this rank's part of the gradient of x.": [[6.0], [28.0]][rank : rank + 1]},
        )
        expect_close(
            grads["b1"], [[3.0], [7.0]][rank], hint="dy W2^T (1 - a^2), of this rank's units, summed over rows"
        )
        expect_close(
            grads["b2"],
            [1.0],
            hint="the sum of dy over the rows",
            mistakes={"Each rank has the whole dy: no sum over the ranks.": [2.0]},
        )
    assert asked == [(1,)] * 4, f"two all-reduces of a 1-D array on each rank, and not {asked}"
    # Beside torch's autograd: 4 rows, 3 inputs, 5 hidden units as 2 + 3, 2 outputs.
    rng = np.random.default_rng(0)
    x, W1, b1, W2, b2, dy = (rng.standard_normal(shape) for shape in ((4, 3), (3, 5), (5,), (5, 2), (2,), (4, 2)))
    parts = [slice(0, 2), slice(2, 5)]

    def part_of(comm):
        part = parts[comm.rank]
        return parallel_mlp(comm, counted, x, W1[:, part], b1[part], W2[part], b2, dy)

    leaves = [torch.tensor(array, requires_grad=True) for array in (x, W1, b1, W2, b2)]
    out = torch.tanh(leaves[0] @ leaves[1] + leaves[2]) @ leaves[3] + leaves[4]
    out.backward(torch.tensor(dy))
    dx, dW1, db1, dW2, db2 = (leaf.grad.numpy() for leaf in leaves)
    results = simulate(part_of, 2).results
    assert asked[4:] == [(8,)] * 2 + [(12,)] * 2, f"first B o = 8 numbers, for y, then B d = 12, for x, not {asked[4:]}"
    for (y, grads), part in zip(results, parts, strict=True):
        expect_close(y, out, hint="y is whole on each rank")
        expect_close(grads["x"], dx, hint="the gradient of x is whole on each rank")
        expect_close(grads["W1"], dW1[:, part], hint="W1: x^T gamma, this rank's columns")
        expect_close(grads["b1"], db1[part], hint="b1: gamma, summed over the rows")
        expect_close(grads["W2"], dW2[part], hint="W2: a^T dy, this rank's rows")
        expect_close(grads["b2"], db2, hint="b2: dy, summed over the rows")

# %% [markdown]
# Data or tensors: which sends less? The same network, once with its rows divided over four ranks (a gradient of all
# parameters is all-reduced), once with its hidden units divided (activations are all-reduced). Both run here with your
# functions, on your ring, and the bytes are counted. Data parallelism sends the same whatever the batch. Tensor
# parallelism sends in proportion to the batch, and nothing that grows with $h$. So it suits wide layers and small
# batches. It also waits twice in each pair of layers, so it is used where $\alpha$ is small: inside one machine.


# %% tags=["demo"]
def mlp_gradient(shapes):
    """grad(theta, X, y) of the network with these shapes, as `data_parallel_step` wants it; all outputs have target y."""
    ends = np.cumsum([0] + [math.prod(shape) for shape in shapes])

    def grad(theta, X, y):
        W1, b1, W2, b2 = (theta[a:b].reshape(shape) for a, b, shape in zip(ends[:-1], ends[1:], shapes, strict=True))
        a = np.tanh(X @ W1 + b1)
        delta = (a @ W2 + b2 - y[:, None]) / len(y)
        gamma = (delta @ W2.T) * (1 - a**2)
        return np.concatenate([(X.T @ gamma).ravel(), gamma.sum(0), (a.T @ delta).ravel(), delta.sum(0)])

    return grad


d, h, o = 16, 256, 16
shapes = [(d, h), (h,), (h, o), (o,)]
batches = [2**i for i in range(2, demo_size(full=12, small=10))]
sent = {"rows divided (data)": [], "hidden units divided (tensor)": []}
rng = np.random.default_rng(3)
for B in batches:
    X, target, delta = rng.standard_normal((B, d)), rng.standard_normal(B), rng.standard_normal((B, o))

    def by_rows(comm, X=X, target=target):
        mine, theta = np.array_split(np.arange(len(X)), comm.size)[comm.rank], np.zeros(sum(map(math.prod, shapes)))
        return data_parallel_step(comm, ring_all_reduce, mlp_gradient(shapes), theta, X[mine], target[mine], 0.1)

    def by_units(comm, X=X, delta=delta):
        k = h // comm.size
        return parallel_mlp(
            comm, ring_all_reduce, X, np.zeros((d, k)), np.zeros(k), np.zeros((k, o)), np.zeros(o), delta
        )

    sent["rows divided (data)"].append(simulate(by_rows, 4).sent.max())
    sent["hidden units divided (tensor)"].append(simulate(by_units, 4).sent.max())
ax = plotting.curves(
    {name: (batches, found) for name, found in sent.items()},
    xlabel="rows in the batch",
    ylabel="bytes sent by each rank in a step",
    logx=True,
    logy=True,
    title="Small batches: divide the layer; large ones: divide the rows",
)
plt.show()

# %% [markdown]
# ### 17.8 `pipeline_schedule` · important · level 3 of 4 · 20 min
#
# After rows and layers, the third cut is across the depth: stage $s = 0, \dots, p - 1$ has some of the layers, and sends its
# activations to the next stage. With one batch at a time only one stage works. So the batch is cut into $M$
# **micro-batches**, whose gradients are added. Each micro-batch $i$ needs one forward ("F", i) on each stage, from the
# first to the last, and one backward ("B", i) on each, from the last to the first. In which order does each stage do
# its $2M$ operations?
#
# - **GPipe** (Huang et al., 2019): all forwards 0, 1, ..., then all backwards, here also 0, 1, ..., as torch does.
# - **1F1B** (one forward, one backward; Narayanan et al., 2019, and with an end after each batch, as here, 2021). Stage
#   $s$ begins with a *warm-up* of $\min(p - s - 1, M)$ forwards. Then it does one forward and one backward by turns, until
#   all forwards are done. The backwards that are left follow.
#
# For example $p = 2$, $M = 3$ with 1F1B: stage 1 has no warm-up and does F0 B0 F1 B1 F2 B2. Stage 0 does F0, then F1 B0 and
# F2 B1, and B2 is left. (`replay`, in the setup cell, computes when each operation of a schedule runs.)
#
# Let a forward take $F$ seconds and a backward $G$ on each stage. The first forward reaches the last stage after
# $(p-1)F$ seconds. From then on the last stage is busy for $M(F+G)$ seconds without a pause in both schedules: with GPipe
# the forwards follow each other at distance $F$; with 1F1B the stages before it are ahead by $p - s - 1$ forwards, and
# each of them does one more while the last stage does a backward and a forward. The last backward comes back to stage 0
# after $(p-1)G$ more. In all
#
# $$(M + p - 1)(F + G) ,$$
#
# for both. A stage works for $M(F+G)$ of it and waits for the rest, $(p-1)(F+G)$: the **bubble**, a share of $\frac{p-1}{M+p-1}$ of the time. (Papers
# also write $\frac{p-1}{M}$: the bubble as a share of the *useful* time.) 1F1B has *no smaller bubble*. What it saves is
# memory. A stage keeps the activations of a micro-batch from its forward to its backward. With GPipe, that is all $M$ of
# them at once. With 1F1B, stage $s$ keeps at most $\min(p - s, M)$: the warm-up and one more.


# %% exercise="pipeline_schedule" points=3 minutes=20 trains=["scheduling"]
def pipeline_schedule(stages: int, micro: int, kind: str) -> list[list[tuple[str, int]]]:
    """The order in which each stage of a pipeline does its work.

    stages: p >= 1. micro: M >= 1, the number of micro-batches; it may be less than p. kind: "gpipe"
      or "1f1b", as above; any other word raises ValueError.

    Returns a list of p lists, one for each stage, first stage first. Each holds 2 M tuples ("F", i) or
    ("B", i), with Python ints i: each of 0, ..., M - 1 once forward and once backward. Forwards are in
    ascending order of i, and so are backwards.
    """
    ### BEGIN SOLUTION
    if kind not in ("gpipe", "1f1b"):
        raise ValueError(f"kind is {kind!r}: gpipe or 1f1b")
    schedule = []
    for s in range(stages):
        ahead = min(stages - s - 1, micro) if kind == "1f1b" else micro
        row = [("F", i) for i in range(ahead)]
        for i in range(micro):
            if ahead + i < micro:
                row.append(("F", ahead + i))
            row.append(("B", i))
        schedule.append(row)
    return schedule
    ### END SOLUTION


# %% [markdown] hints="pipeline_schedule"
# <details><summary>Hint 1: three parts</summary>
#
# Each row is: a warm-up of forwards; then pairs of a forward and a backward; then the backwards that are left. How long
# is each part for stage $s$, and what is it in GPipe?
# </details>
# <details><summary>Hint 2: a small one by hand</summary>
#
# Two stages, three micro-batches, 1F1B. Stage 1: F0 B0 F1 B1 F2 B2, since its warm-up is empty. Stage 0: F0, then F1 B0,
# F2 B1, and B2 is left.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# With `ahead = min(p - s - 1, M)` forwards first, go through `i in range(M)`: if `ahead + i < M`, append
# `("F", ahead + i)`; then append `("B", i)`. With `ahead = M` the same loop makes GPipe.
# </details>

# %% check="pipeline_schedule"
with check("pipeline_schedule"):
    got = pipeline_schedule(2, 3, "gpipe")
    assert all(type(operation) is tuple for row in got for operation in row), "tuples such as ('F', 0), and not lists"
    row = [("F", 0), ("F", 1), ("F", 2), ("B", 0), ("B", 1), ("B", 2)]
    assert got == [row, row], f"GPipe: all forwards, then all backwards, on both stages; not {got}"
    got = pipeline_schedule(2, 3, "1f1b")
    last = [("F", 0), ("B", 0), ("F", 1), ("B", 1), ("F", 2), ("B", 2)]
    assert got[1] == last, f"the last stage has no warm-up; not {got[1]}"
    first = [("F", 0), ("F", 1), ("B", 0), ("F", 2), ("B", 1), ("B", 2)]
    assert got[0] == first, f"stage 0 of 2: one forward of warm-up, then F1 B0, F2 B1, and B2; not {got[0]}"
    for p, M in ((4, 8), (4, 2), (3, 3), (1, 4), (5, 1)):
        for kind in ("gpipe", "1f1b"):
            schedule = pipeline_schedule(p, M, kind)
            times = replay(schedule, 1.0, 2.0)
            assert len(times) == 2 * p * M, "each micro-batch once forward and once backward on each stage"
            end = max(end for _, end in times.values())
            expect_close(end, 3.0 * (M + p - 1), hint=f"{kind}, p = {p}, M = {M}: both take (M + p - 1)(F + G)")
            for s, row in enumerate(schedule):
                most = max(np.cumsum([1 if operation == "F" else -1 for operation, _ in row]))
                limit = M if kind == "gpipe" else min(p - s, M)
                assert most == limit, (
                    f"{kind}: stage {s} of {p} keeps {most} micro-batches of {M}; it should be {limit}"
                )
    with expect_raises(ValueError):
        pipeline_schedule(2, 2, "zigzag")

# %% [markdown]
# Both schedules on the clock of `replay`, with $F = 1$ and $G = 2$. White is idle: as much in both, at other
# times. What differs is how many micro-batches a stage keeps. The printed lines are counted from your schedules.


# %% tags=["demo"]
def kept(row):
    """The largest number of micro-batches between their forward and their backward."""
    return max(np.cumsum([1 if operation == "F" else -1 for operation, _ in row]))


figure, axes = plt.subplots(2, 1, figsize=(10, 5.4), sharex=True, layout="constrained")
for ax, kind in zip(axes, ("gpipe", "1f1b"), strict=True):
    schedule = pipeline_schedule(4, 8, kind)
    times = replay(schedule)
    for (s, operation, i), (start, end) in times.items():
        colour = plotting.COLOURS[0 if operation == "F" else 1]
        ax.barh(s, end - start, left=start, height=0.8, color=colour, edgecolor="white", alpha=0.75)
        ax.text((start + end) / 2, s, i, ha="center", va="center", fontsize=8)
    total = max(end for _, end in times.values())
    ax.set_yticks(range(4), [f"stage {s}: keeps {kept(schedule[s])}" for s in range(4)])
    ax.invert_yaxis()
    ax.grid(False)
    ax.set(
        ylabel="stage",
        title=f"{kind}: {total:.0f} long, {1 - 3 * 8 / total:.0%} idle (blue: forward, orange: backward)",
    )
axes[1].set_xlabel("time, in forwards of one micro-batch")
plt.show()
for M in (4, 8, 32, 128):
    most = {kind: max(map(kept, pipeline_schedule(4, M, kind))) for kind in ("gpipe", "1f1b")}
    print(
        f"M = {M:3d}: bubble {3 / (M + 3):5.1%} of the time; micro-batches kept: gpipe {most['gpipe']}, 1f1b {most['1f1b']}"
    )

# %% [markdown]
# ### 17.9 `top_k_feedback` · optional · level 2 of 4 · 15 min
#
# All schemes so far send every number. The last one sends fewer: of the gradient, only the $k$ entries that are largest
# in size. Sent like this, an entry that is never among the largest is never sent, and its parameter never moves. The
# repair is a **memory** $e$ of what was not sent, which is added before the next choice:
#
# $$u = g + e,\qquad \text{send the } k \text{ largest } |u_i|,\qquad e' = u \text{ without the entries that were sent} .$$
#
# Nothing is lost: what is sent and $e'$ together are $u$, exactly. A small entry that stays is added up in $e$ until it is
# large enough to be sent. Over many steps, the sum of all that was sent is the sum of all gradients minus the last
# memory, but for the rounding of $g + e$. (Stich, Cordonnier and Jaggi, 2018, prove that this converges at the rate of
# plain stochastic gradient descent.)
#
# What does it save? The indices differ from rank to rank, so sparse messages do not add up in a ring as they are: each
# rank sends its $k$ indices and $k$ values, 16 bytes an entry, to all $P - 1$ others. The ring sends
# $2\frac{P-1}{P}\,8n$ bytes. The ratio is $16(P-1)k \,/\, \left(16\frac{P-1}{P}n\right) = Pk/n$. So it is worth it only
# while $Pk < n$: with more ranks, $k$ must become smaller.


# %% exercise="top_k_feedback" points=2 minutes=15 trains=["counting what a computation costs"]
def top_k_feedback(grad: np.ndarray, memory: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k entries of grad + memory that are largest in size, and what is left for the next step.

    grad, memory: shape (n,), n >= 0, both float64 or both float32, finite; not modified.
    k: how many entries are sent, 0 <= k <= n.

    Returns (indices, values, new memory), new arrays that share no memory:
      indices: shape (k,), int64, ascending: those k entries of grad + memory whose absolute value is
        largest; where absolute values are equal, the lower index is taken first.
      values: shape (k,), the entries of grad + memory there, in the dtype of grad.
      new memory: shape (n,), in the dtype of grad: grad + memory, with 0 in place of what was sent.
    Nothing is lost: values, put at their indices, and the new memory add up to grad + memory exactly.
    """
    ### BEGIN SOLUTION
    left = grad + memory
    order = np.argsort(-np.abs(left), kind="stable")
    indices = np.sort(order[:k])
    values = left[indices]
    left[indices] = 0
    return indices, values, left
    ### END SOLUTION


# %% [markdown] hints="top_k_feedback"
# <details><summary>Hint 1: what is chosen from</summary>
#
# The choice is made among the entries of `grad + memory`, not of `grad`. The sign is kept in the values and ignored in
# the choice.
# </details>
# <details><summary>Hint 2: ties</summary>
#
# `np.argsort(-np.abs(u), kind="stable")` sorts by size, largest first, and leaves equal entries in the order of their
# indices. Other kinds of sorting, and `np.argpartition`, do not.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `indices = np.sort(order[:k])`, `values = u[indices]` (a copy), then `u[indices] = 0` makes `u` the new memory.
# </details>

# %% check="top_k_feedback"
with check("top_k_feedback"):
    grad, memory = np.array([1.0, 0.5, -2.0, 3.0, 2.0]), np.array([0.0, 2.5, -2.0, -2.0, 0.0])
    # Their sum is (1, 3, -4, 1, 2). The two largest in size: entries 1 and 2.
    with expect_unchanged(grad=grad, memory=memory):
        indices, values, left = top_k_feedback(grad, memory, 2)
    expect_close(
        indices,
        [1, 2],
        hint="choose among the entries of grad + memory, by size; ascending",
        mistakes={
            "The choice was made by the size of grad alone.": [2, 3],
            "The largest entries were chosen, without their absolute values.": [1, 4],
            "The places stand in the order of size: sort them.": [2, 1],
        },
    )
    expect_close(
        values,
        [3.0, -4.0],
        hint="the entries of grad + memory, with their sign",
        mistakes={"These are entries of grad, without the memory.": [0.5, -2.0]},
    )
    expect_close(left, [1.0, 0.0, 0.0, 1.0, 2.0], hint="the new memory is grad + memory without what was sent")
    expect_dtype(indices, np.int64)
    indices, values, left = top_k_feedback(np.array([1, -2, 2, 2], np.float32), np.zeros(4, np.float32), 2)
    expect_close(indices, [1, 2], hint="entries 1, 2 and 3 are equal in size: the lower indices are taken first")
    expect_dtype(values, np.float32)
    expect_dtype(left, np.float32)
    # 0, 1, 2, 0, 1, 2, ...: the 20 entries that are 2 are sent, and of the entries that are 1 the first 10.
    cycle = np.arange(60.0) % 3
    indices, values, left = top_k_feedback(cycle, np.zeros(60), 30)
    expected = np.flatnonzero((cycle == 2) | ((cycle == 1) & (np.arange(60) < 30)))
    expect_close(
        indices, expected, hint="all entries that are 2, and of those that are 1 the ones with the lowest indices"
    )
    indices, values, left = top_k_feedback(grad, memory, 0)
    expect_shape(values, (0,))
    expect_close(left, grad + memory, hint="k = 0: everything stays in the memory")

# %% [markdown]
# Four ranks minimise the mean of their four losses. The ranks disagree strongly about the first ten parameters: their
# gradients there are large, and they cancel in the mean. About the other 190 they agree, and these gradients are small.
# Each rank sends 10 of its 200 entries. Without a memory, the ranks send the large entries forever, which add up to
# nothing, and the other parameters never move. With your memory the loss falls as without compression. Then it
# stays on a floor, because an entry that waited arrives with the sum of many steps at once. A smaller learning rate
# $\eta$ makes these steps smaller and the floor lower, after more steps. (The theorem lets the rate fall.) The last line
# counts bytes, in the simulator: with $P = 4$, $Pk/n$ is one fifth.

# %% tags=["demo"]
n, k, P = 200, 10, 4
rng = np.random.default_rng(4)
pull = np.zeros((P, n))
pull[:, :k] = 3 * np.array([1, -1, 1, -1])[:, None]  # cancels in the mean
target = np.concatenate([np.zeros(k), rng.uniform(0.5, 1.5, n - k)])


def compressed(choose, count, rate=0.01):
    """The loss after each step, where each rank sends what `choose` takes."""
    theta, memories, losses = np.zeros(n), np.zeros((P, n)), []
    for _ in range(count):
        step = np.zeros(n)
        for rank in range(P):
            indices, values, memories[rank] = choose(theta - target + pull[rank], memories[rank])
            step[indices] += values / P
        theta = theta - rate * step
        losses.append(0.5 * np.sum((theta - target) ** 2))
    return losses


def forgetful(grad, memory):
    indices, values, _ = top_k_feedback(grad, np.zeros(n), k)
    return indices, values, memory


count = 1500
curves = {
    "all 200 entries": compressed(lambda grad, memory: (np.arange(n), grad, memory), count),
    "10 entries, no memory": compressed(forgetful, count),
    "10 entries, yours": compressed(lambda grad, memory: top_k_feedback(grad, memory, k), count),
    "yours, η / 2": compressed(lambda grad, memory: top_k_feedback(grad, memory, k), count, 0.01 / 2),
}
ax = plotting.curves(
    {name: (range(1, count + 1), losses) for name, losses in curves.items()},
    xlabel="step",
    ylabel="loss above the smallest one",
    logy=True,
    title="What is not sent must be remembered",
)
plt.show()


def sends_sparse(comm):
    """The k indices and values of this rank, sent to all others."""
    indices, values, _ = top_k_feedback(np.arange(float(n)) + comm.rank, np.zeros(n), k)
    for step in range(1, comm.size):
        comm.send((comm.rank + step) % comm.size, indices)
        comm.send((comm.rank + step) % comm.size, values)
    return [
        (comm.recv((comm.rank - step) % comm.size), comm.recv((comm.rank - step) % comm.size))
        for step in range(1, comm.size)
    ]


dense = simulate(lambda comm: ring_all_reduce(comm, np.ones(n)), P).sent.max()
print(f"bytes sent by each rank in a step: {simulate(sends_sparse, P).sent.max():,} sparse, {dense:,} by your ring")

# %% [markdown]
# ## Scale it
#
# ### Your ring in real processes
#
# So far all ranks took turns in one process. `launch(program, P)` starts $P$ real processes on this machine. In each of
# them `torch.distributed` is running (with its backend gloo), and `comm` sends through it. Your functions run unchanged.
# First your ring beside `dist.all_reduce` on the same arrays of float32. Each time is the shortest of two (of six for short
# arrays), on the slowest rank. The dotted line is your `collective_time("ring", ...)`, with $\alpha$ and $\beta$ fitted to
# *your* dots.
#
# The "network" here is the memory of this machine, and where there are more ranks than cores, ranks wait for a core as well
# as for messages. On a busy machine the dots scatter. (A size that takes longer than a second is the last one.)


# %% tags=["demo"]
def timed_all_reduces(comm):
    """For each length: seconds of the ring, seconds of torch's all-reduce, and their largest relative difference."""
    import torch.distributed as dist

    rows = []
    for n in lengths:
        x = np.random.default_rng(comm.rank).standard_normal(n).astype(np.float32)
        best = [math.inf, math.inf]
        for _ in range(6 if n <= 100_000 else 2):
            dist.barrier()
            begun = time.perf_counter()
            mine = ring_all_reduce(comm, x)
            middle = time.perf_counter()
            dist.barrier()
            again = time.perf_counter()
            theirs = torch.from_numpy(x.copy())
            dist.all_reduce(theirs)
            taken = torch.tensor([middle - begun, time.perf_counter() - again])
            dist.all_reduce(taken, op=dist.ReduceOp.MAX)  # the slowest rank counts, and all ranks know it
            best = [min(a, b) for a, b in zip(best, taken.tolist(), strict=True)]
            if best[0] > 1:
                break
        apart = float(np.abs(mine - theirs.numpy()).max() / np.abs(mine).max())
        rows.append((n, *best, apart))
        if best[0] > 1:
            break
    return rows


lengths = [int(n) for n in 10 ** np.arange(3, demo_size(full=7.1, small=6.1), 0.5)]
figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
timed = {}
for ax, size in zip(axes, (2, 4), strict=True):
    done = launch(timed_all_reduces, size)
    if done is None:
        continue
    timed[size] = done.results[0]
    n, mine, theirs, apart = map(np.array, zip(*timed[size], strict=True))
    # seconds = 2 (P - 1) alpha + 2 (P - 1) / P * bytes / beta: two unknowns, each row divided by its own seconds
    design = np.stack([np.full(len(n), 2.0 * (size - 1)), 2 * (size - 1) / size * 4 * n], axis=1) / mine[:, None]
    alpha, inverse = np.maximum(np.linalg.lstsq(design, np.ones(len(n)))[0], 1e-15)
    fitted = [collective_time("ring", 4 * count, size, alpha, 1 / inverse) for count in n.tolist()]
    ax.plot(n, 1e3 * mine, "o", color=plotting.COLOURS[0], label="your ring")
    ax.plot(n, 1e3 * theirs, "s", color=plotting.COLOURS[1], label="dist.all_reduce")
    label = f"α = {1e6 * alpha:.0f} µs, " + (f"β = {1e-9 / inverse:.2g} GB/s" if inverse > 1e-14 else "no slope to fit")
    ax.plot(n, 1e3 * np.array(fitted), ":", color=plotting.COLOURS[0], label=label)
    ax.set(xscale="log", yscale="log", xlabel="float32 numbers", title=f"{size} processes on {os.cpu_count()} cores")
    ax.legend()
    print(
        f"{size} processes: started in {done.start_seconds:.1f} s; sums differ by at most {apart.max():.0e} of the largest; "
        f"{n[-1]:,} numbers: yours {seconds_text(mine[-1])}, torch {seconds_text(theirs[-1])}"
    )
axes[0].set_ylabel("milliseconds")
plt.show()

# %% [markdown]
# As far as the machine is idle, you see what the model says: flat at $2(P-1)\alpha$ for short arrays, and of slope 1
# for long ones. The fitted $\alpha$ is that of processes that wait for a core, too: with more ranks than cores it may
# be a hundred times the 20 µs of the model. gloo's own all-reduce is a ring, too, unless told otherwise, and on an idle
# machine it wins. For short arrays the difference is our `comm`: each of your messages is two of gloo's (272 bytes that
# say what comes, then the data), and passes through Python. For long arrays gloo copies less, and it cuts chunks into
# segments and adds one while the next arrives.
#
# ### Your step beside DDP
#
# `DistributedDataParallel` does what 17.3 and 17.4 do: it all-reduces gradients in buckets during the backward pass, and
# divides by $P$. By $P$, and not by the number of rows. So with equal shards it agrees with one process, and with unequal
# shards it computes the mean of means (and its documentation says so). The table shows both, in real processes: 20 steps
# of softmax regression on digits, and how far the parameters end from those of a single process.


# %% tags=["demo"]
def beside_ddp(comm):
    """For equal and unequal shards: (parameters by your step, by DDP, seconds of yours, of DDP)."""
    from torch.nn.parallel import DistributedDataParallel

    found = []
    for ends in ([0, 898, 1796], [0, 200, 1796]):
        mine = shuffled[ends[comm.rank] : ends[comm.rank + 1]]
        X, y, theta = pixels[mine], labels[mine], np.zeros(640)
        ring_all_reduce(comm, theta)  # connections are made before the clock starts, here and below
        begun = time.perf_counter()
        for _ in range(ddp_steps):
            theta = data_parallel_step(comm, ring_all_reduce, softmax_gradient, theta, X, y, 1.0)
        mine_seconds = time.perf_counter() - begun
        model = torch.nn.Linear(64, 10, bias=False, dtype=torch.float64)
        torch.nn.init.zeros_(model.weight)
        parallel = DistributedDataParallel(model)
        optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
        inputs, targets = torch.from_numpy(X), torch.from_numpy(y).long()
        parallel(inputs).sum().backward()
        begun = time.perf_counter()
        for _ in range(ddp_steps):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(parallel(inputs), targets).backward()
            optimiser.step()
        ddp_seconds = time.perf_counter() - begun
        found.append((theta, model.weight.detach().numpy().T.ravel(), mine_seconds, ddp_seconds))
    return found


shuffled, ddp_steps = np.random.default_rng(0).permutation(len(labels))[:1796], demo_size(full=20, small=4)
shuffled = shuffled[np.argsort(labels[shuffled], kind="stable")]  # sorted by label, so that shards differ
done = launch(beside_ddp, 2)
ddp_errors, rows = {}, []
if done:
    single = np.zeros(640)
    for _ in range(ddp_steps):
        single = single - softmax_gradient(single, pixels[shuffled], labels[shuffled])
    for name, (mine, theirs, *seconds) in zip(("898 and 898", "200 and 1,596"), done.results[0], strict=True):
        ddp_errors[name] = [float(np.abs(found - single).max()) for found in (mine, theirs)]
        rows.append(
            (
                name,
                *[f"{error:.0e}" for error in ddp_errors[name]],
                *[seconds_text(value / ddp_steps) for value in seconds],
            )
        )
columns = ("rows on the two ranks", "yours, from one process", "DDP, from one process", "yours, a step", "DDP, a step")
Table(columns, rows, numeric=(1, 2, 3, 4)) if rows else None

# %% [markdown]
# DDP's step is built for models whose backward pass is long enough to hide the messages. Here it is short, and both
# columns of seconds are mostly overhead of calls: do not read a winner from them.
#
# ### Your Adam beside ZeroRedundancyOptimizer and FSDP2
#
# `ZeroRedundancyOptimizer` is ZeRO 1 behind DDP, and `fully_shard` (FSDP2) is ZeRO 3: each rank stores its part of the
# parameters, of the gradients and of the moments, and collects parameters layer by layer. All three train the same small
# network from the same start on two processes. The table counts, on rank 0, the numbers that each stores between steps.


# %% tags=["demo"]
def sharded_training(comm):
    """Parameters after training, numbers stored as parameters, as gradients and as moments, and seconds a step."""
    import contextlib
    import io
    import warnings

    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.optim import ZeroRedundancyOptimizer
    from torch.nn.parallel import DistributedDataParallel

    warnings.simplefilter("ignore")
    mine = shuffled[comm.rank :: comm.size]
    inputs, targets = torch.from_numpy(pixels[mine]), torch.from_numpy(labels[mine]).long()
    settings = {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8}

    def fresh():
        torch.manual_seed(0)
        layers = [torch.nn.Linear(64, 128), torch.nn.Tanh(), torch.nn.Linear(128, 10)]
        return torch.nn.Sequential(*layers).double()

    def train(model, step):
        for number in range(sharded_steps):
            if number == 1:  # the first step makes connections and is not timed
                begun = time.perf_counter()
            model.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs), targets).backward()
            step()
        return (time.perf_counter() - begun) / (sharded_steps - 1)

    def flat(tensors):
        return torch.cat([tensor.detach().reshape(-1) for tensor in tensors]).numpy()

    def local(tensor):
        return tensor.to_local().numel() if hasattr(tensor, "to_local") else tensor.numel()

    def gradients(model):
        return sum(local(parameter.grad) for parameter in model.parameters())

    def moments(optimiser):
        return sum(local(value) for state in optimiser.state.values() for key, value in state.items() if key != "step")

    found, plain = {}, fresh()
    size = sum(map(torch.numel, plain.parameters()))
    state = {"t": 0, "m": np.zeros(-(-size // comm.size)), "v": np.zeros(-(-size // comm.size))}

    def yours():
        state["t"] += 1
        grad = flat([p.grad for p in plain.parameters()])
        new, state["m"], state["v"] = zero_step(
            comm, flat(plain.parameters()), grad, state["m"], state["v"], state["t"], *settings.values()
        )
        torch.nn.utils.vector_to_parameters(torch.from_numpy(new), plain.parameters())

    seconds = train(plain, yours)
    found["zero_step (yours)"] = (
        flat(plain.parameters()),
        size,
        gradients(plain),
        len(state["m"]) + len(state["v"]),
        seconds,
    )

    model = fresh()
    with contextlib.redirect_stderr(io.StringIO()):
        wrapped = DistributedDataParallel(model, gradient_as_bucket_view=True)  # else it holds gradients twice
        optimiser = ZeroRedundancyOptimizer(model.parameters(), torch.optim.Adam, **settings)
        seconds = train(wrapped, optimiser.step)
    found["DDP with ZeroRedundancyOptimizer"] = (
        flat(model.parameters()),
        size,
        gradients(model),
        moments(optimiser.optim),
        seconds,
    )

    try:
        from torch.distributed.fsdp import fully_shard
    except ImportError:
        print("FSDP2 is missing: it came with torch 2.6.")
        return found
    model, mesh = fresh(), init_device_mesh("cpu", (comm.size,))
    for layer in (model[0], model[2], model):
        fully_shard(layer, mesh=mesh)
    optimiser = torch.optim.Adam(model.parameters(), **settings)
    seconds = train(model, optimiser.step)
    stored = sum(map(local, model.parameters()))
    whole = flat([parameter.full_tensor() for parameter in model.parameters()])
    found["FSDP2 (fully_shard)"] = (whole, stored, gradients(model), moments(optimiser), seconds)
    return found


sharded_steps = demo_size(full=40, small=8)
done = launch(sharded_training, 2)
sharded, rows = {}, []
if done:
    mine = done.results[0]["zero_step (yours)"][0]
    for name, (whole, *counts, seconds) in done.results[0].items():
        sharded[name] = (float(np.abs(whole - mine).max()), *counts)
        rows.append((name, f"{sharded[name][0]:.0e}", *[f"{count:,}" for count in counts], seconds_text(seconds)))
columns = ("scheme", "difference from yours", "parameters", "gradients", "moments", "a step")
Table(columns, rows, numeric=(1, 2, 3, 4, 5)) if rows else None

# %% [markdown]
# All three agree with Adam up to rounding. Stage 1 stores half of the two moments on each of two ranks (ZeroRedundancyOptimizer
# gives whole tensors to ranks, so its parts are not equal). FSDP2 stores half of everything, and pays for it with one more
# all-gather of the parameters in each step. The network is so small that the seconds are mostly calls: they do not say
# which scheme is faster for a large one.
#
# ### Your schedule beside torch.distributed.pipelining
#
# Four processes are four stages. `torch.distributed.pipelining` runs a small network with its own GPipe and 1F1B; hooks
# write down the order in which each stage works. Is it yours? Then the clock. Your schedule is carried out over `comm`,
# where "work" is `time.sleep` (a sleeping process needs no core, so four stages fit on any machine). The formula of 17.8
# predicts the seconds.


# %% tags=["demo"]
def torchs_order(comm):
    """The order of operations of this stage in torch's GPipe and 1F1B."""
    import warnings

    from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

    warnings.simplefilter("ignore")
    orders = {}

    class Noted(torch.nn.Module):
        def __init__(self, order):
            super().__init__()
            self.layer, self.order, self.count = torch.nn.Linear(8, 8), order, 0

        def forward(self, x):
            y, i = torch.tanh(self.layer(x)), self.count
            self.count += 1
            self.order.append(("F", i))
            y.register_hook(lambda _: self.order.append(("B", i)))
            return y

    for kind, schedule in (("gpipe", ScheduleGPipe), ("1f1b", Schedule1F1B)):
        orders[kind] = []
        module = Noted(orders[kind])
        stage = PipelineStage(module, comm.rank, comm.size, torch.device("cpu"))
        pipe = schedule(stage, micro_batches, loss_fn=torch.nn.functional.mse_loss)
        batch = torch.ones(4 * micro_batches, 8)
        for _ in range(2):  # in its first step torch sends one more batch ahead, to learn the shapes
            orders[kind].clear()
            module.count = 0
            pipe.step(*[batch] * (comm.rank == 0), **{"target": batch} if comm.rank == comm.size - 1 else {})
    return orders


def carried_out(comm):
    """Your schedules with sleep for work: seconds of this stage."""
    found, first, last = {}, comm.rank == 0, comm.rank == comm.size - 1
    for kind in ("gpipe", "1f1b"):
        row = pipeline_schedule(comm.size, micro_batches, kind)[comm.rank]
        torch.distributed.barrier()
        begun = time.perf_counter()
        for operation, i in row:
            source, to = (comm.rank - 1, comm.rank + 1) if operation == "F" else (comm.rank + 1, comm.rank - 1)
            begins, ends = (first, last) if operation == "F" else (last, first)
            if not begins:
                comm.recv(source)
            time.sleep(forward_seconds if operation == "F" else 2 * forward_seconds)
            if not ends:
                comm.send(to, np.full(8, i))
        found[kind] = time.perf_counter() - begun
    return found


micro_batches, forward_seconds = 8, demo_size(full=0.02, small=0.005)
theirs, clocks = launch(torchs_order, 4), launch(carried_out, 4)
pipelines = {}
if theirs and clocks:
    for kind in ("gpipe", "1f1b"):
        mine = pipeline_schedule(4, micro_batches, kind)
        same = sum(
            [tuple(pair) for pair in row] == found[kind] for row, found in zip(mine, theirs.results, strict=True)
        )
        predicted = (micro_batches + 3) * 3 * forward_seconds
        measured = max(found[kind] for found in clocks.results)
        pipelines[kind] = (same, predicted, measured)
rows = [(kind, f"{same} of 4", *map(seconds_text, seconds)) for kind, (same, *seconds) in pipelines.items()]
Table(("schedule", "stages in torch's order", "predicted", "measured"), rows, numeric=(1, 2, 3)) if rows else None

# %% [markdown]
# The measured time is longer than the predicted one by the messages and by the time that a process needs to wake up. On a
# busy machine that is much, and it does not tell the two schedules apart: by the formula they take equally long.
#
# ### Seven billion parameters
#
# The formulas of 17.5, for $d = 7\cdot 10^9$ parameters in float32, on 8 ranks. Memory: parameters, gradients, moments.
# Bytes that each rank sends in a step: an all-reduce of the gradient, or its two halves, is $2\frac{P-1}{P}\,4d$. Stage 3
# collects the parameters twice, once for the forward and once for the backward pass, and reduce-scatters the gradient:
# $3\frac{P-1}{P}\,4d$. The seconds are these bytes at 25 GB/s (a fast network card) and at 300 GB/s (links between GPUs on
# one board), without latency and without any overlap.

# %% tags=["demo"]
billions, eight = 7e9, 8
rows = []
for stage in range(4):
    parameters, gradients, moments = (billions * part for part in zero_bytes(stage, eight))
    moved = (3 if stage == 3 else 2) * (eight - 1) / eight * 4 * billions
    rows.append(
        (
            f"ZeRO {stage}" if stage else "plain (DDP)",
            *[f"{part / 1e9:.1f}" for part in (parameters, gradients, moments)],
            f"{(parameters + gradients + moments) / 1e9:.1f}",
            f"{moved / 1e9:.1f}",
            *[seconds_text(moved / speed) for speed in (25e9, 300e9)],
        )
    )
columns = (
    "scheme",
    "parameters, GB",
    "gradients",
    "moments",
    "in all",
    "sent in a step, GB",
    "at 25 GB/s",
    "at 300 GB/s",
)
Table(columns, rows, numeric=tuple(range(1, 8)))

# %% [markdown]
# ### Where there is a GPU
#
# With two GPUs or more, the next cell runs `dist.all_reduce` through NCCL. On a GPU it builds, for each stage, what one
# of 8 ranks stores, takes a real step of Adam, and asks the allocator. Without a GPU it says so.


# %% tags=["demo"]
def nccl_all_reduce(comm):
    """Bytes a second through NCCL, counted as a ring counts them."""
    import torch.distributed as dist

    x = torch.ones(2**24, device="cuda")
    for _ in range(3):
        dist.all_reduce(x)
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(10):
        dist.all_reduce(x)
    torch.cuda.synchronize()
    return 10 * 2 * (comm.size - 1) / comm.size * 4 * 2**24 / (time.perf_counter() - begun)


def stored_on_gpu(stage, size, count=2**24):
    """Bytes a parameter that the allocator holds after a step of Adam on this rank's slice."""
    torch.cuda.empty_cache()
    before, own = torch.cuda.memory_allocated(), count // size
    params = torch.zeros(own if stage == 3 else count, device="cuda")
    grads = torch.ones(own if stage >= 2 else count, device="cuda")
    mine = (params if stage == 0 else params[:own]).detach().requires_grad_()
    mine.grad = grads if stage == 0 else grads[:own]
    optimiser = torch.optim.Adam([mine], foreach=False)
    optimiser.step()
    torch.cuda.synchronize()
    return (torch.cuda.memory_allocated() - before) / count


gpus = torch.cuda.device_count()
if gpus >= 2:
    done = launch(nccl_all_reduce, gpus)
    if done:
        print(f"{gpus} GPUs, NCCL, 64 MiB: each rank sends {min(done.results) / 1e9:.0f} GB/s")
if gpus == 0:
    print("No GPU here: this cell has nothing to measure.")
rows = [
    (f"ZeRO {stage}" if stage else "plain", f"{sum(zero_bytes(stage, 8)):.2f}", f"{stored_on_gpu(stage, 8):.2f}")
    for stage in range(4 if gpus else 0)
]
Table(("scheme", "bytes a parameter, formula", "allocator"), rows, numeric=(1, 2)) if rows else None

# %% [markdown]
# ### Where it breaks
#
# - **The slowest rank.** Every collective waits for all. One slow machine slows all of them, and one dead one stops them.
#   Module 18 goes on from there.
# - **Latency at scale.** The ring's $2(P-1)\alpha$ grows with $P$: with 10,000 ranks and $\alpha = 20\,$µs it is 0.4 s, for
#   a single number, too. Real libraries take trees for short arrays and rings inside groups.
# - **The batch grows with the ranks.** Data parallelism with $B$ rows on each rank takes steps of $P B$ rows. From some
#   size on, larger batches need as many steps as smaller ones (module 02), and more ranks save no steps.
# - **Equal bits are promised for one layout only.** All ranks agree with each other. But another $P$, or another cut into
#   chunks, adds in another order, and the last digits differ. To continue a run bit for bit, keep both.
# - **A rank that takes another branch.** If one rank skips an all-reduce, the others wait. A loss that is NaN on one rank,
#   a shorter last batch, an early stop: all ranks must take the same decision, so reduce what the decision rests on.

# %% [markdown] written="memory_and_bytes" points=2
# **Written question (2 points).** You train a model of $7\cdot 10^9$ parameters on 8 GPUs with 80 GB each. In mixed
# precision a parameter takes 2 bytes, its gradient 2, and the optimiser's state 8 (a copy of the parameter in float32
# and two moments of 2 bytes each); parameters and gradients are sent with 2 bytes each. (The table above is for
# float32: here the parts differ.) (a) How many GB does each GPU store for DDP, ZeRO 1, ZeRO 2 and ZeRO 3, without
# activations? Activations take 35 GB on each GPU: which schemes fit? (b) How many GB does each GPU send in a step in
# each of the four schemes? Say where the factor of ZeRO 3 comes from. (c) Which scheme do you choose, and which
# measurement would change your mind?
#
# ### BEGIN SOLUTION
# (a) DDP: 12 bytes a parameter, 84 GB; it does not fit even without activations. ZeRO 1: 2 + 2 + 8/8 = 5 bytes,
# 35 GB. ZeRO 2: 2 + 10/8 = 3.25 bytes, 22.75 GB. ZeRO 3: 12/8 = 1.5 bytes, 10.5 GB. With 35 GB of activations: 70, 57.75
# and 45.5 GB. All three fit; ZeRO 1 leaves the least room for buffers and fragmentation. (b) Messages have 2 bytes a number,
# so an all-reduce of the gradient is 2 * 7/8 * 14 GB = 24.5 GB for DDP. ZeRO 1 and 2: reduce-scatter of gradients and
# all-gather of parameters, each 7/8 * 14 = 12.25 GB, together the same 24.5 GB. ZeRO 3: parameters are collected twice,
# for the forward and for the backward pass, as they are dropped in between; with the reduce-scatter of the gradient it is
# 3 * 12.25 = 36.75 GB, 1.5 times as much. (c) ZeRO 2: it fits with room, and sends no more than DDP. I would go to ZeRO 3
# if the measured peak memory (fragmentation, larger activations) were above 80 GB, and also if the time
# of communication that is not hidden behind arithmetic were near 0, since then its additional bytes cost nothing.
#
# ### RUBRIC
# - 0.5: Memory is right: 84, 35, 22.75 and 10.5 GB (rounded to 0.5 GB is fine), with the division by 8 of the
#   right parts.
# - 0.5: With 35 GB of activations DDP does not fit, and the three ZeRO stages do.
# - 0.5: Bytes are right: 24.5 GB for DDP, ZeRO 1 and ZeRO 2, and 36.75 GB for ZeRO 3, because parameters are collected
#   for the forward and again for the backward pass.
# - 0.5: A choice with its reason, and a measurement that would change it (such as peak memory, or the time of
#   communication that is not hidden).
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. Recursive halving and doubling needs $2\log_2 P$ steps and sends as few bytes as the ring. What does it ask of the
#    network that the ring does not? Write it for a $P$ that is a power of two, and compare both in `simulate`.
# 2. 1F1B keeps the bubble. Give each process two or more stages that are not neighbours (interleaving; Narayanan et al.,
#    2021). What happens to the bubble, and to the bytes?
# 3. In 17.7 all ranks hold the whole $x$ and $y$. Replace each all-reduce by a reduce-scatter and an all-gather at the
#    other end of the layer between. Which memory does this save, at how many bytes?
# 4. Send 16-bit gradients through your ring. Partial sums are rounded $P - 1$ times: how does the error grow with $P$, and
#    what does a ring do that adds in float32 and sends in 16 bits?
# 5. On 1,024 ranks, how would you combine rows, layers and depth? Which of the three should stay inside one machine?
#
# References:
#
# - R. W. Hockney, "The communication challenge for MPP: Intel Paragon and Meiko CS-2", *Parallel Computing*, 1994. Latency
#   and bandwidth, measured.
# - R. Thakur, R. Rabenseifner and W. Gropp, "Optimization of collective communication operations in MPICH", *International
#   Journal of High Performance Computing Applications*, 2005. Which algorithm for which size; question 1.
# - P. Patarasuk and X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", *Journal of Parallel
#   and Distributed Computing*, 2009. The ring and its lower bound.
# - S. Li et al., "PyTorch Distributed: experiences on accelerating data parallel training", *PVLDB*, 2020. Buckets, and what
#   they are worth.
# - D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", *ICLR*, 2015. The update of 17.5.
# - S. Rajbhandari, J. Rasley, O. Ruwase and Y. He, "ZeRO: memory optimizations toward training trillion parameter models",
#   *SC*, 2020. The three stages.
# - Y. Zhao et al., "PyTorch FSDP: experiences on scaling fully sharded data parallel", *PVLDB*, 2023. Stage 3 in practice.
# - M. Shoeybi et al., "Megatron-LM: training multi-billion parameter language models using model parallelism",
#   arXiv:1909.08053, 2019. Columns, then rows.
# - Y. Huang et al., "GPipe: efficient training of giant neural networks using pipeline parallelism", *NeurIPS*, 2019. Micro-batches, and activations computed again.
# - D. Narayanan et al., "PipeDream: generalized pipeline parallelism for DNN training", *SOSP*, 2019. One forward, one
#   backward, without an end after each batch: stages then work with weights of different age.
# - D. Narayanan et al., "Efficient large-scale language model training on GPU clusters using Megatron-LM", *SC*, 2021. 1F1B
#   as in 17.8, and all three ways together; questions 2 and 5.
# - S. U. Stich, J.-B. Cordonnier and M. Jaggi, "Sparsified SGD with memory", *NeurIPS*, 2018. The proof for 17.9.
#
# At work: `torch.distributed` with NCCL; `DistributedDataParallel` until it does not fit, then `fully_shard` (FSDP2) or
# DeepSpeed's ZeRO; `torch.distributed.tensor` for layers that are cut; `torch.distributed.pipelining` for depth; JAX, which
# inserts the collectives itself where arrays are declared to be cut.
