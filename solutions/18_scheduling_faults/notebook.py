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
# # 18 · Scheduling and faults
#
# **What you will be able to do.** Say how fast a job can be at best, before it runs. Schedule it on many workers, and
# bound the loss against the best schedule. Live with machines that are slow, and with machines that die. Compute how
# often to save. You write the parts for it: the critical path, a list scheduler, work stealing, backup tasks, the
# checkpoint interval, a log that survives a crash, leases, a parameter server, and the placement of pods on nodes. At
# the end a real cluster runs your task graph while one of its processes is killed, and a training process that is
# killed again and again ends with the same bits.
#
# **You need** stochastic gradient descent from module 02; heaps and queues; the exponential distribution.
#
# **Skills it trains**: graphs and their order, scheduling, simulation by events, fault tolerance, probability, counting
# what a computation costs.
#
# **Time**: about four and a half hours, three of them in eight exercises and a bug to find. Take a break after 18.4.
# Each exercise says how important it is (essential, important, optional), its level, which is also its points, and
# its minutes.
#
# **Symbols**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $n$, $e$ | `len(durations)`, `len(edges)` | | tasks; edges (task $u$ must end before task $v$ starts) |
# | $d_i$ | `durations[i]` | $(n,)$ | how long task $i$ takes |
# | $P$ | `workers` | | workers (cores, machines) |
# | $T_P$ | | | how long a job takes on $P$ workers (its **makespan**) |
# | $T_1$, $T_\infty$ | | | the sum of all durations (the **work**); the longest path (the **span**) |
# | $\ell_i$ | | | the longest path that starts with task $i$, $d_i$ included |
# | $M$ | `mtbf` | | mean time between failures of the whole system |
# | $N$, $M_1$ | | | nodes of the system; mean time between failures of one node |
# | $C$, $R$ | `cost`, `restart` | | what a checkpoint costs; what a restart costs |
# | $W$, $\tau$ | `work`, `interval` | | work in a job without failures; work between two checkpoints |
# | $y$, $z$ | | | $(\tau + C)/M$; $\sqrt{C/(2M)}$ |
# | $s$ | `staleness` | | how many steps a worker may be ahead of the slowest |
# | $\theta$, $\delta$ | `theta`, `delta` | $(d,)$ | parameters; the change that one step of one worker adds to them |
#
# All times of this module are in one unit, which you may take as seconds.

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    from lsml_utils import checking, datasets, demo_size, engines, plotting
    from lsml_utils.checking import check, expect_close, expect_dtype, expect_raises, expect_unchanged
    from lsml_utils.tables import Table
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import bisect
import heapq
import math
import os
import pickle
import random
import signal
import statistics
import struct
import subprocess
import tempfile
import time
import zlib
from collections import deque
from collections.abc import Callable
from functools import partial

import cloudpickle
import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

plotting.use()
threadpool_limits(1)
checking.start("18_scheduling_faults", total=9)


def successors(n: int, edges: np.ndarray) -> list[list[int]]:
    """For each of n tasks the tasks that wait for it, as Python ints, in the order of the edges (e, 2)."""
    after = [[] for _ in range(n)]
    for u, v in np.asarray(edges).tolist():
        after[u].append(v)
    return after


# %% [markdown]
# ## Derive
#
# ### A job is a graph
#
# A job consists of **tasks**. Some tasks need results of others: an edge from $u$ to $v$ says that $v$ starts when
# $u$ has ended, or later. The graph has no cycle, since a task in a cycle would wait for itself. Task $i$ takes the
# time $d_i$ on one worker; a worker runs one task at a time.
#
# Two numbers say nearly everything about such a job. The **work** $T_1 = \sum_i d_i$ is the time on one worker that
# is never idle. The **span** $T_\infty$ is the largest sum of durations along a path of edges: the tasks of a path
# run one after the other, however many workers there are. So, for every schedule on $P$ workers,
#
# $$T_P \ge T_\infty , \qquad T_P \ge \frac{T_1}{P} .$$
#
# The second bound holds because $P$ workers do at most $P$ units of work in a unit of time. The speed-up $T_1/T_P$ is
# therefore at most $\min(P,\, T_1/T_\infty)$. The quotient $T_1/T_\infty$ is the **parallelism** of the job: more
# workers than this are of no use.
#
# The example of this module is a job that big linear algebra really runs: the Cholesky factorisation $A = L L^\top$
# of a symmetric positive definite matrix that is cut into $t \times t$ tiles. There are four kinds of tasks.
# `factor(k)` factorises the tile $(k, k)$. `solve(i, k)` gets tile $(i, k)$ of $L$ from it. `update(i, j, k)`
# subtracts the product of the tiles $(i, k)$ and $(j, k)$ of $L$ from tile $(i, j)$; for $i = j$ it takes half the
# operations, because the result is symmetric. In units of $b^3/3$ operations, for tiles of $b \times b$ numbers, they
# cost 1, 3, 3 (for $i = j$) and 6. The work is $t^3$ of these units, and the span grows like $9t$: the parallelism
# grows like $t^2/9$. The cell builds the graph and draws it for $t = 4$.


# %% tags=["demo"]
def cholesky_tasks(t: int):
    """The tiled Cholesky factorisation: names of its tasks, durations (n,) and edges (e, 2)."""
    names, durations, edges, last = [], [], [], {}  # last: the task that wrote a tile last

    def task(name, cost, writes, reads):
        number = len(names)
        names.append(name)
        durations.append(float(cost))
        edges.extend((last[tile], number) for tile in [writes, *reads] if tile in last)
        last[writes] = number

    for k in range(t):
        task(("factor", k, k, k), 1, (k, k), [])
        for i in range(k + 1, t):
            task(("solve", i, k, k), 3, (i, k), [(k, k)])
        for i in range(k + 1, t):
            for j in range(k + 1, i + 1):
                task(("update", i, j, k), 3 if i == j else 6, (i, j), [(i, k)] if i == j else [(i, k), (j, k)])
    return names, np.array(durations), np.array(edges).reshape(-1, 2)


KINDS = {"factor": plotting.COLOURS[1], "solve": plotting.COLOURS[0], "update": plotting.COLOURS[2]}


def draw_graph(names, edges, title):
    """Tasks by their depth in the graph."""
    depth = [0] * len(names)
    for u, v in edges.tolist():  # tasks are numbered in an order in which they could run
        depth[v] = max(depth[v], depth[u] + 1)
    rows, place = {}, []
    for level in depth:
        place.append(rows.get(level, 0))
        rows[level] = rows.get(level, 0) + 1
    at = [(level, y - (rows[level] - 1) / 2) for level, y in zip(depth, place, strict=True)]
    ax = plt.subplots(figsize=(8.5, 3.6))[1]
    for u, v in edges.tolist():
        # Curved, or an edge would seem to run into the tasks between.
        style = {"arrowstyle": "->", "connectionstyle": "arc3,rad=0.12", "color": "#999999", "shrinkA": 6, "shrinkB": 6}
        ax.annotate("", at[v], at[u], arrowprops=style)
    for kind, colour in KINDS.items():
        own = [at[i] for i, name in enumerate(names) if name[0] == kind]
        ax.plot(*zip(*own, strict=True), "o", markersize=11, color=colour, label=kind)
    ax.set(title=title, xlabel="tasks on the longest way to it", ylabel="tasks of equal depth")
    ax.set_yticks([])
    ax.grid(False)
    ax.legend(loc="upper right", ncols=3)
    ax.set_ylim(None, max(y for _, y in at) + 1.2)
    plt.show()


names, durations, edges = cholesky_tasks(4)
draw_graph(names, edges, f"Cholesky with 4 × 4 tiles: {len(names)} tasks, {len(edges)} edges")

# %% [markdown]
# ## Implement
#
# ### 18.1 `critical_path` · essential · level 2 of 4 · 15 min
#
# The span follows from a recursion. Let $\ell_i$ be the longest path that starts with task $i$. A path from $i$ is
# task $i$ and then, if it goes on, a path from one of the tasks that wait for $i$:
#
# $$\ell_i = d_i + \max_{(i, j)\ \text{an edge}} \ell_j ,$$
#
# where the maximum over nothing is 0. And $T_\infty = \max_i \ell_i$. To compute it, take the tasks in an order in
# which every task comes after those that wait for it. Such an order exists if and only if there is no cycle. Kahn's
# algorithm finds its reverse: count the edges into each task; a task without any can run; when it is taken, lower the
# count of each task that waits for it, and take those that have reached 0. Tasks that are never taken lie on a cycle
# or behind one. Each edge is handled once, so the time is $O(n + e)$. (The recursion as a Python function stops at a
# depth of about 1,000, and a real job has chains that are longer.)
#
# The **critical path** is a path whose durations add up to $T_\infty$. Of the tasks that wait for none, it starts at
# one with the largest $\ell_i$, and it always goes on to a task with the largest $\ell_j$.


# %% exercise="critical_path" points=2 minutes=15 forbids=["networkx", "sys.setrecursionlimit"] trains=["graphs and their order"]
def critical_path(durations: np.ndarray, edges: np.ndarray) -> tuple[float, list[int]]:
    """The longest path of a task graph: its length, and its tasks.

    durations: shape (n,), n >= 0, floats or integers of any kind, >= 0. They are multiples of 2^-10
      below 2^20, so that sums in float64 are exact, whatever their order. Not modified.
    edges: shape (e, 2), e >= 0, integers of any kind; a row (u, v) says that task u, 0 <= u < n,
      ends before task v starts. In any order; the same row may occur several times. Not modified.

    Returns (length, path): the length as a Python float, the path as a list of Python ints, in the
    order in which the tasks run. A path starts with a task that waits for none, follows edges, and
    ends with a task for which none waits; its length is the sum of its durations. Of several
    longest paths the one with the smaller task at the first place where they differ. (0.0, []) for
    n = 0.
    Raises ValueError if the graph has a cycle, also an edge (u, u).
    Chains of 10^5 tasks are usual: time and memory O(n + e). Forbidden: networkx, and
    sys.setrecursionlimit (a recursion that deep can end the process).
    """
    ### BEGIN SOLUTION
    n = len(durations)
    length = np.asarray(durations, np.float64).tolist()
    after = successors(n, edges)
    waits_for = [0] * n
    for follower in after:
        for v in follower:
            waits_for[v] += 1
    first = [u for u in range(n) if waits_for[u] == 0]
    order = list(first)
    for u in order:  # it grows while we go through it
        for v in after[u]:
            waits_for[v] -= 1
            if waits_for[v] == 0:
                order.append(v)
    if len(order) < n:
        raise ValueError("the graph has a cycle")
    for u in reversed(order):
        length[u] += max((length[v] for v in after[u]), default=0.0)
    path, choices = [], first
    while choices:
        path.append(min(choices, key=lambda u: (-length[u], u)))
        choices = after[path[-1]]
    return (length[path[0]] if path else 0.0), path
    ### END SOLUTION


# %% [markdown] hints="critical_path"
# <details><summary>Hint 1: an order without recursion</summary>
#
# `successors(n, edges)` of the setup cell gives, for each task, those that wait for it. Count for each task how many
# edges go into it. Start a list with the tasks that have none. Go through the list; lower the counts of the tasks
# that wait for the current one, and append those that have reached 0. If the list is shorter than $n$ in the end,
# there is a cycle.
# </details>
# <details><summary>Hint 2: lengths from the end</summary>
#
# Go through that list backwards. Then $\ell_j$ is known for all $j$ that wait for $i$ when $\ell_i$ is computed.
# Compare sums of durations, not numbers of edges.
# </details>
# <details><summary>Hint 3: the path</summary>
#
# Begin with the tasks that wait for none. Choose by `min(choices, key=lambda u: (-length[u], u))`: the longest, and
# at ties the smallest number. The next choices are the tasks that wait for the chosen one. Stop where there are none.
# </details>

# %% check="critical_path"
with check("critical_path", forbids=["networkx", "sys.setrecursionlimit"]):
    # 0 -> 1 -> 3 takes 1 + 2 + 1 = 4, 0 -> 2 -> 3 takes 1 + 5 + 1 = 7, and 4 alone takes 6.
    d, e = np.array([1.0, 2.0, 5.0, 1.0, 6.0]), np.array([[0, 1], [0, 2], [1, 3], [2, 3]])
    with expect_unchanged(d=d, e=e):
        length, path = critical_path(d, e)
    expect_close(length, 7.0, hint="1 + 5 + 1")
    assert path == [0, 2, 3], f"the tasks of the longest path are [0, 2, 3], and not {path}"
    # The path with the most edges takes 3; task 3 alone takes 5.
    d, e = np.array([1.0, 1.0, 1.0, 5.0]), np.array([[0, 1], [1, 2]])
    assert critical_path(d, e) == (5.0, [3]), "the longest path is the one with the largest sum of durations"
    # Equal lengths: 0 -> 2 -> 3 and 0 -> 1 -> 3, and 1 is smaller than 2. Numbers need not follow the edges.
    d, e = np.array([1, 2, 2, 1]), np.array([[0, 2], [2, 3], [0, 1], [1, 3]])
    assert critical_path(d, e) == (4.0, [0, 1, 3]), "of two longest paths, the one with the smaller task"
    d, e = np.array([2.0, 3.0, 1.0]), np.array([[2, 1], [1, 0]])
    assert critical_path(d, e) == (6.0, [2, 1, 0]), "the path in the order in which the tasks run: 2, 1, 0"
    none = np.zeros((0, 2), int)
    assert critical_path(np.zeros(0), none) == (0.0, []), "no tasks: (0.0, [])"
    # Repeated rows, and integers of 8 bits: 200 + 100 is 300. Tasks 1 and 2 tie at the start.
    d, e = np.array([100, 200, 200], np.uint8), np.array([[1, 0], [1, 0], [2, 0]])
    assert critical_path(d, e) == (300.0, [1, 0]), "repeated rows are one edge; sums of uint8 need more than 8 bits"
    # Tasks that take no time belong to the path, at both of its ends: 1 -> 0 -> 2.
    assert critical_path(np.array([1.0, 0.0, 0.0]), np.array([[1, 0], [0, 2]]))[1] == [1, 0, 2], (
        "a path starts with a task that waits for none and ends with one that nobody waits for, even if they take 0"
    )
    for cycle in ([[0, 1], [1, 2], [2, 1]], [[2, 2]]):
        with expect_raises(ValueError, hint="a task on a cycle is never free to run"):
            critical_path(np.ones(3), np.array(cycle))
    long = np.stack([np.arange(20_000), np.arange(1, 20_001)], axis=1)
    expect_close(critical_path(np.ones(20_001), long)[0], 20_001.0, hint="a chain of 20,001 tasks; no recursion")

# %% [markdown]
# Now the numbers of the Cholesky graph. `networkx` is a library for graphs; its longest path counts the weights of
# edges, so each edge gets the duration of the task that it comes from. Both must agree.

# %% tags=["demo"]
networkx = engines.library("networkx")
rows = []
for t in demo_size(full=[4, 8, 16, 32], small=[4, 8, 12]):
    _, durations, edges = cholesky_tasks(t)
    start = time.perf_counter()
    span, path = critical_path(durations, edges)
    seconds, same = time.perf_counter() - start, "not there"
    if networkx:
        graph = networkx.DiGraph()
        graph.add_weighted_edges_from((u, v, durations[u]) for u, v in edges.tolist())
        start = time.perf_counter()
        theirs = networkx.dag_longest_path_length(graph) + durations[-1]  # all paths end with the last task
        same = f"{theirs:.0f} in {1000 * (time.perf_counter() - start):.0f} ms"
    work = durations.sum()
    rows.append([f"{t}", f"{len(durations):,}", f"{work:,.0f}", f"{span:.0f}", f"{work / span:.1f}"])
    rows[-1] += [f"{1000 * seconds:.0f} ms", same]
Table(("tiles", "tasks", "work", "span", "parallelism", "your time", "networkx"), rows, numeric=(0, 1, 2, 3, 4, 5, 6))

# %% [markdown]
# The work is exactly $t^3$. The span is $9t - 10$ (a solve and an update for each row of tiles), and the parallelism
# like $t^2$: a matrix twice as large keeps four times as many workers busy. So who runs what, and when?
#
# ### 18.2 `list_schedule` · essential · level 3 of 4 · 25 min
#
# To find the shortest schedule is NP-hard, also for two workers. But any schedule that is never idle without need is
# good. A **list scheduler** does only that: whenever a worker is idle and a task is ready (all tasks that it waits
# for have ended), the worker starts a ready task.
#
# **Graham's bound.** Look at the moments at which some worker is idle. No task is ready then. Take the task that ends
# last. As long as it waits, some task that it waits for has not ended. Take the one of these that ends last, and
# repeat, until a task waits for none. This gives a path. At each moment some task of the path runs, or the next one
# is ready and has not started; then all workers are busy. So the workers are idle only while the path runs, for a
# time of at most $T_\infty$, and then at most $P - 1$ of them are idle. Work and idle time together fill the $P$
# workers:
#
# $$P\, T_P \le T_1 + (P-1)\, T_\infty \quad\Longrightarrow\quad
# T_P \le \frac{T_1}{P} + \left(1 - \frac1P\right) T_\infty \le \left(2 - \frac1P\right) \max\left(\frac{T_1}{P}, T_\infty\right) .$$
#
# The shortest schedule takes at least the maximum, so no list schedule is twice as long as the shortest. Which of the
# ready tasks should go first? The one with the longest path still to run, $\ell_i$: tasks on the critical path wait
# least. This choice adds no idle time, so the bound holds for it, too. The figure below the exercise shows how near
# such a schedule comes to the lower bound.
#
# How to compute it: time jumps from event to event. An **event** is the end of one or more tasks. Three heaps are
# enough: the tasks that run, by their end; the ready tasks, by their priority; the idle workers, by their number. The
# time is $O((n + e) \log n)$.


# %% exercise="list_schedule" points=3 minutes=25 trains=["graphs and their order", "scheduling", "simulation by events"]
def list_schedule(durations: np.ndarray, edges: np.ndarray, workers: int) -> tuple[np.ndarray, np.ndarray]:
    """A schedule that is never idle without need: who runs each task, and when it starts.

    durations, edges: as in `critical_path`, but every duration is above 0. Neither is modified.
    workers: how many workers there are, 1 to 10^5, maybe far more than tasks; they have the numbers
      0 to workers - 1.

    Time begins at 0. At each moment at which something happens, in this order:
      1. all tasks that end at this moment end, and their workers become idle;
      2. while a worker is idle and a task is ready, the idle worker with the smallest number starts
         the ready task with the longest remaining path (the largest sum of durations along a path
         that starts with this task, its own included); at ties the task with the smaller number.
    A task is ready as soon as all tasks that it waits for have ended (at the same moment, too).

    Returns (worker, start): two new arrays of shape (n,), int64 and float64.
    Raises ValueError if the graph has a cycle.
    There may be 10^5 tasks, all of them ready at once: time O((n + e) log n).
    """
    ### BEGIN SOLUTION
    n = len(durations)
    took = np.asarray(durations, np.float64).tolist()
    after = successors(n, edges)
    waits_for = [0] * n
    for follower in after:
        for v in follower:
            waits_for[v] += 1
    left, order = list(waits_for), [u for u in range(n) if waits_for[u] == 0]
    for u in order:
        for v in after[u]:
            left[v] -= 1
            if left[v] == 0:
                order.append(v)
    if len(order) < n:
        raise ValueError("the graph has a cycle")
    path = list(took)
    for u in reversed(order):
        path[u] += max((path[v] for v in after[u]), default=0.0)

    worker, start = np.zeros(n, np.int64), np.zeros(n)
    ready = [(-path[u], u) for u in range(n) if waits_for[u] == 0]
    heapq.heapify(ready)
    idle, running, now = list(range(min(workers, n))), [], 0.0
    while ready or running:
        while ready and idle:
            u, w = heapq.heappop(ready)[1], heapq.heappop(idle)
            worker[u], start[u] = w, now
            heapq.heappush(running, (now + took[u], u, w))
        now = running[0][0]
        while running and running[0][0] == now:
            _, u, w = heapq.heappop(running)
            heapq.heappush(idle, w)
            for v in after[u]:
                waits_for[v] -= 1
                if waits_for[v] == 0:
                    heapq.heappush(ready, (-path[v], v))
    return worker, start
    ### END SOLUTION


# %% [markdown] hints="list_schedule"
# <details><summary>Hint 1: what to keep</summary>
#
# The lengths $\ell_i$ of all tasks come first, as in 18.1. Then keep: how many tasks each task still waits for; the
# ready tasks; the idle workers; the running tasks with their ends. `heapq` gives the smallest element of a list, so
# put the pairs $(-\ell_i, i)$ there: at ties the task with the smaller number comes first.
# </details>
# <details><summary>Hint 2: one round</summary>
#
# Start tasks while both heaps, ready and idle, have something. Then jump to the earliest end. End *all* tasks with
# that end before any new one starts: only then is it known who is idle and what is ready.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `while ready or running:` start tasks (`heapq.heappush(running, (now + took[u], u, w))`); `now = running[0][0]`;
# `while running and running[0][0] == now:` pop it, give the worker back to `idle`, and lower the counts of those that
# wait. A cycle shows in the order for $\ell$, as in 18.1. Of 100,000 workers only the first $n$ can ever get a task.
# </details>

# %% check="list_schedule"
with check("list_schedule"):
    # Paths from each task: 0: 1 + 4 = 5, 1: 2, 2: 3, 3: 4. Two workers: 0 and 2 start (5 and 3 before 2), 3 follows 0.
    d, e = np.array([1.0, 2.0, 3.0, 4.0]), np.array([[0, 3]])
    with expect_unchanged(d=d, e=e):
        worker, start = list_schedule(d, e, 2)
    expect_close(
        start,
        [0.0, 3.0, 0.0, 1.0],
        hint="of the ready tasks 0, 1, 2 the longest remaining paths are 5 (task 0) and 3 (task 2)",
        mistakes={"The ready tasks started in the order of their numbers.": [0.0, 0.0, 1.0, 2.0]},
    )
    assert np.array_equal(worker, [0, 1, 1, 0]), f"workers 0, 1, 1, 0, and not {worker}"
    expect_dtype(worker, np.int64)
    expect_dtype(start, np.float64)
    # Tasks 0 and 1 end together at 2. Both ends come first; then task 2 goes to worker 1, the smaller of the idle ones.
    worker, start = list_schedule(np.array([2.0, 2.0, 3.0, 9.0, 4.0]), np.array([[0, 2], [1, 4], [3, 4]]), 3)
    expect_close(start, [0.0, 0.0, 2.0, 0.0, 9.0])
    assert np.array_equal(worker, [2, 1, 1, 0, 0]), f"workers 2, 1, 1, 0, 0 (paths 5, 6, 3, 13, 4), and not {worker}"
    # Task 2 waits for both: it is ready at 3.
    expect_close(list_schedule(np.array([1.0, 3.0, 1.0]), np.array([[0, 2], [1, 2]]), 2)[1], [0.0, 0.0, 3.0])
    # Task 1 ends at 1, task 2 follows: worker 1 is idle, and so is worker 2, which was never used.
    worker, start = list_schedule(np.array([5.0, 1.0, 1.0]), np.array([[1, 2]]), 3)
    assert np.array_equal(worker, [0, 1, 1]), (
        f"workers 0, 1, 1: the idle one with the smallest number, and not {worker}"
    )
    expect_close(
        list_schedule(np.ones(3), np.zeros((0, 2), int), 1)[1],
        [0.0, 1.0, 2.0],
        hint="three equal tasks, one worker: at ties the task with the smaller number",
        mistakes={"At ties the task with the larger number started first.": [2.0, 1.0, 0.0]},
    )
    # One worker; 9 workers for 2 tasks.
    expect_close(list_schedule(np.array([1, 5, 2]), np.zeros((0, 2), int), 1)[1], [7.0, 0.0, 5.0])
    expect_close(list_schedule(np.array([1.0, 5.0]), np.zeros((0, 2), int), 9)[1], [0.0, 0.0])
    assert [len(part) for part in list_schedule(np.zeros(0), np.zeros((0, 2), int), 3)] == [0, 0], "no tasks"
    with expect_raises(ValueError):
        list_schedule(np.ones(2), np.array([[0, 1], [1, 0]]), 2)

# %% [markdown]
# The same graph with $t = 6$ tiles (4 with the small sizes) on four workers: each bar is a task. The tasks of the
# critical path have a dark frame. In the middle all workers are busy; at both ends the path leaves little choice. The title compares the
# makespan with the lower bound $\max(T_1/P, T_\infty)$.


# %% tags=["demo"]
def draw_schedule(ax, names, durations, worker, start, path=()):
    """Each task as a bar; those of a path have a frame."""
    for kind, colour in KINDS.items():
        own = [i for i, name in enumerate(names) if name[0] == kind]
        ax.barh(worker[own], durations[own], left=start[own], height=0.8, color=colour, edgecolor="white", label=kind)
    for number, i in enumerate(path):
        frame = {"edgecolor": "#111111", "linewidth": 1.6, "label": "critical path" if number == 0 else None}
        ax.barh(worker[i], durations[i], left=start[i], height=0.8, fill=False, **frame)
    ax.set(xlabel="time", ylabel="worker")
    ax.set_yticks(range(int(max(worker)) + 1))
    ax.invert_yaxis()
    ax.grid(False)


t = demo_size(full=6, small=4)
names, durations, edges = cholesky_tasks(t)
worker, start = list_schedule(durations, edges, 4)
span, path = critical_path(durations, edges)
bound, makespan = max(durations.sum() / 4, span), np.max(start + durations)
figure, ax = plt.subplots(figsize=(9, 3.4))
draw_schedule(ax, names, durations, worker, start, path)
ax.set_title(f"Your schedule takes {makespan:.0f}; no schedule takes less than {bound:.0f}")
plotting.legend_below(ax, columns=4)
plt.show()

# %% [markdown]
# ### 18.3 `steal_work` · important · level 3 of 4 · 25 min
#
# A list scheduler must know the graph and its durations, and one place decides for all workers. Often neither holds:
# the tasks come to be while others run (a search tree, a recursive sort), and asking one place for each small task
# costs more than the task. **Work stealing** has no centre. Each worker has its own queue with two ends. New tasks go
# to the newest end. A worker takes its next task from the newest end of its own queue, without asking anybody. When
# its queue is empty, it becomes a thief: it picks another worker at random and takes a task from the *oldest* end of
# that queue.
#
# Why these ends? The newest task is near the last one: its data are in the cache, and a single worker goes through
# the tree depth first, with short queues. The oldest task is near the root: mostly a large part of the tree hangs
# from it. So a thief gets work for a long time, and steals are rare.
#
# **How long does it take?** Blumofe and Leiserson show that, if each task spawns at most two others and an attempt to
# steal costs no more than a task,
#
# $$\mathbb E\, T_P \le \frac{T_1}{P} + O(T_\infty) .$$
#
# The idea: at any moment a worker works or tries to steal. Working takes $T_1$ in all. A task that is next on the
# critical path lies at the oldest end of its queue, or nearly so. An attempt hits that queue with probability
# $1/(P-1)$. So about $P$ attempts, in parallel about one unit of time, move the critical path on by a constant step
# in expectation. There are $O(P\, T_\infty)$ attempts, shared by $P$ workers. (If a task spawns a thousand leaves at
# once, each steal takes a single leaf, and the bound does not hold: such a loop should be spawned as a binary tree.)
#
# You write a simulator. It is exact: from the calls of `spawn` the hidden tests learn who ended which task and when,
# and they replay the run.


# %% exercise="steal_work" points=3 minutes=25 trains=["scheduling", "simulation by events"]
def steal_work(spawn: Callable, root: int, cost: float, workers: int, seed: int) -> tuple[float, int]:
    """Simulate work stealing on a tree of tasks that grows while it runs.

    spawn: spawn(task, worker, now) returns the tasks that a task spawns when it ends: a new 1-D
      int64 array, maybe empty. Call it exactly once for each task, at its end, with three numbers:
      the task, the worker that ran it (0 to workers - 1) and the time of its end; any integer type
      will do. No task is spawned twice.
    root: the first task, a Python integer. cost: how long each task takes, a multiple of 1/64, > 0, <=
      1000.
    workers: P >= 1. seed: a Python integer, 0 <= seed < 2^63.

    Each worker has a queue; a worker is either running one task or making one attempt to steal.
    Time begins at 0 with `root` in the queue of worker 0 and the other queues empty.
    A worker with nothing to do takes the newest task of its own queue and runs it: it ends after
    `cost`. If its queue is empty, it makes an attempt instead: it chooses one of the other P - 1
    workers, each with the same probability, and after a time of 1 looks into that worker's queue.
    It takes the oldest task and runs it at once; if there is none, it has nothing to do again. When
    a task ends, what it spawns goes to the newest end of its worker's queue, in the order of the
    array (the last one is the newest); then that worker has nothing to do.
    What ends at the same time ends in the order of the workers' numbers, each with all that follows
    from it at that moment.

    Returns (makespan, steals): the time at which the last task ends, a Python float, and the number
    of tasks that were stolen, a Python int. With one worker there is nobody to steal from.
    The same arguments give the same result. Neither uses nor changes the global random states of
    Python and NumPy.
    """
    ### BEGIN SOLUTION
    rng = random.Random(seed)
    queues = [deque() for _ in range(workers)]
    queues[0].append(root)
    events, steals, unfinished = [], 0, 1

    def next_activity(worker, now):
        if queues[worker]:
            heapq.heappush(events, (now + cost, worker, queues[worker].pop(), None))
        elif workers > 1:
            victim = rng.randrange(workers - 1)
            heapq.heappush(events, (now + 1.0, worker, None, victim + (victim >= worker)))

    for worker in range(workers):
        next_activity(worker, 0.0)
    while unfinished:
        now, worker, task, victim = heapq.heappop(events)
        if victim is None:
            spawned = spawn(task, worker, now).tolist()
            queues[worker].extend(spawned)
            unfinished += len(spawned) - 1
        elif queues[victim]:
            steals += 1
            heapq.heappush(events, (now + cost, worker, queues[victim].popleft(), None))
            continue
        next_activity(worker, now)
    return float(now), steals
    ### END SOLUTION


# %% [markdown] hints="steal_work"
# <details><summary>Hint 1: one event for each worker</summary>
#
# Each worker does exactly one thing at a time, so the heap holds one entry for each worker: (time of its end, worker,
# what it does). Python compares tuples from the left: time first, then the worker's number.
# </details>
# <details><summary>Hint 2: two kinds of ends</summary>
#
# A task ends: call `spawn`, append what comes, then look for the next thing to do. An attempt ends: if the victim's
# queue has a task *now*, take it with `popleft()` and run it; else look for the next thing to do. `collections.deque`
# has `pop()` for the newest end and `popleft()` for the oldest.
# </details>
# <details><summary>Hint 3: when to stop</summary>
#
# Count the tasks that have been spawned and have not ended: begin with 1 for the root, add `len(spawned) - 1` at each
# end. At 0 all is done, at that moment. The other workers would go on trying for ever. The victim: draw a number from
# 0 to P - 2 and add 1 if it is not below the thief's own.
# </details>

# %% check="steal_work"
with check("steal_work"):
    tree, ended = {1: [2, 3], 2: [4, 5], 3: [6]}, []

    def spawn_small(task, worker, now):
        assert len(ended) < 100, "spawn was called more than 100 times, and the tree has 6 tasks"
        ended.append((task, worker, now))
        return np.array(tree.get(task, []), np.int64)

    # One worker: depth first, and the newest task first. 6 tasks of 2 units take 12.
    assert steal_work(spawn_small, 1, 2.0, 1, seed=0) == (12.0, 0), "one worker: 6 tasks of 2.0, and no steal"
    assert [task for task, _, _ in ended] == [1, 3, 6, 2, 5, 4], f"depth first: 1 3 6 2 5 4, and not {ended}"
    assert [now for _, _, now in ended] == [2.0, 4.0, 6.0, 8.0, 10.0, 12.0], "spawn gets the time of each task's end"
    ended.clear()
    # Two workers: the thief's attempt that ends at 2 comes after the root's end at 2 (worker 0 is first), and finds task 2.
    # Worker 0 runs 3 and 6, worker 1 runs 2, 5 until 6; at 6 worker 0 has nothing, and worker 1 takes 4 itself.
    assert steal_work(spawn_small, 1, 2.0, 2, seed=0) == (8.0, 1), "two workers: 8.0, one steal"
    expected = [(1, 0, 2.0), (3, 0, 4.0), (2, 1, 4.0), (6, 0, 6.0), (5, 1, 6.0), (4, 1, 8.0)]
    assert ended == expected, f"(task, worker, end) must be {expected}, and not {ended}"
    # Three children: worker 0 takes the newest, 4, at 1.5. The thief's second attempt ends at 2 and takes the oldest, 2.
    tree, _ = {1: [2, 3, 4]}, ended.clear()
    assert steal_work(spawn_small, 1, 1.5, 2, seed=0) == (4.5, 1), "three children: 4.5, one steal"
    expected = [(1, 0, 1.5), (4, 0, 3.0), (2, 1, 3.5), (3, 0, 4.5)]
    assert ended == expected, f"(task, worker, end) must be {expected}, and not {ended}"
    # A tree of 2^10 - 1 tasks on 8 workers: at least 1023 / 8 = 128 and at least the depth, 10.
    count = [0]

    def spawn_binary(task, worker, now):
        count[0] += 1
        assert count[0] < 10_000, "spawn was called more than 10,000 times, and the tree has 1,023 tasks"
        return np.array([2 * task, 2 * task + 1] if task < 512 else [], np.int64)

    makespan, steals = steal_work(spawn_binary, 1, 1.0, 8, seed=0)
    assert count[0] == 1023, f"each of the 1,023 tasks is spawned once, and not {count[0]} tasks"
    assert 128 <= makespan <= 128 + 20 * 10, (
        f"between T1/P = 128 and T1/P + 20 * 10; {makespan} says that workers were idle"
    )

# %% [markdown]
# How close is it to $T_1/P$? The tree is random: each task spawns no, one or two others, and takes 4 units. The left
# panel shows your makespans, the mean of three seeds, beside $T_1/P$ and $T_1/P + T_\infty$; the right panel shows
# which share of the tasks was stolen.


# %% tags=["demo"]
def random_tree(n, seed):
    """A tree in which each task has at most two children: the children of each task, and the depth."""
    rng = np.random.default_rng(seed)
    children, depth, open_places = [[] for _ in range(n)], [1] * n, [0, 0]
    for task in range(1, n):
        place = int(rng.integers(len(open_places)))
        parent = open_places[place]
        open_places[place] = open_places[-1]
        open_places.pop()
        children[parent].append(task)
        depth[task] = depth[parent] + 1
        open_places += [task, task]
    return [np.array(own, np.int64) for own in children], max(depth)


n_tree = demo_size(full=6000, small=600)
children, deep = random_tree(n_tree, seed=1)
counts = [1, 2, 4, 8, 16, 32, 64, 128]
times, stolen = [], []
for processors in counts:
    runs = [steal_work(lambda task, worker, now: children[task], 0, 4.0, processors, seed) for seed in range(3)]
    times.append(np.mean([makespan for makespan, _ in runs]))
    stolen.append(np.mean([steals for _, steals in runs]))
figure, axes = plt.subplots(1, 2, figsize=(10, 3.8))
ideal, span = 4.0 * n_tree / np.array(counts), 4.0 * deep
plotting.curves(
    {"yours": (counts, times), "$T_1/P$": (counts, ideal), "$T_1/P + T_\\infty$": (counts, ideal + span)},
    xlabel="workers P",
    ylabel="makespan",
    title="Stealing stays near the bounds",
    logx=True,
    logy=True,
    ax=axes[0],
)
plotting.curves(
    {"stolen": (counts[1:], np.array(stolen[1:]) / n_tree)},
    xlabel="workers P",
    ylabel="share of all tasks",
    title="Stolen tasks are the smaller part",
    logx=True,
    logy=True,
    ax=axes[1],
)
plt.show()

# %% [markdown]
# ### 18.4 `with_backups` · important · level 3 of 4 · 25 min
#
# So far a task takes the time that it takes. On real machines some tasks take ten times as long: a disk that fails, a
# neighbour on the same machine, a cold cache. A job ends with its slowest task. If a task is slow with probability
# $p$, a job of $n$ tasks meets a slow one with probability $1 - (1-p)^n$. For $p = 0.01$ this is 1% for one task, 63%
# for 100, and $1 - 4\cdot 10^{-5}$ for 1,000. Large jobs nearly always have **stragglers**.
#
# MapReduce's answer is a **backup task**: near the end of the job, idle workers run second copies of tasks that take
# long. The copy runs on another machine, and its time is drawn anew. The first copy to end counts, and the other is
# killed. Is it worth it? If both times are independent, the tail shrinks from $\Pr(T > t)$ to about $\Pr(T >
# t)^2$. The price is the work of the copies. It is small if only tasks get one that are already slower than most:
# longer than `slow` times the median of the finished tasks. (The running tasks must not enter the median. How long
# they will take is unknown, and the time that they have run so far is too short.)


# %% exercise="with_backups" points=3 minutes=25 trains=["scheduling", "simulation by events", "fault tolerance"]
def with_backups(durations: list[list[float]], workers: int, slow: float) -> tuple[float, int]:
    """Run independent tasks with backup copies of slow ones: when all are done, and how many copies.

    durations: n >= 0 lists [original, copy] of two numbers > 0: how long an attempt at task i takes
      from its own start. A copy starts from the beginning. Not modified.
    workers: >= 1. An attempt occupies one worker. slow: > 0; math.inf for no copies at all.
    Durations are multiples of 1/64 and slow of 1/8, so that all times are exact in float64. There
    are at most 3,000 tasks and 300 workers.

    Time begins at 0. At each moment at which something happens, in this order:
      1. Attempts that end at this moment end. The first attempt of a task to end finishes the task
         (the original, if both end at the same moment); its other attempt, if it runs, is stopped
         at this moment. Workers of both become idle.
      2. While a worker is idle and a task has not been started, the task with the smallest number
         starts.
      3. While a worker is idle, all tasks have been started and one at least is finished: of the
         running tasks without a copy take the one that started first (at ties the smaller number).
         If it has run for at least slow * median, its copy starts; if not, no copy starts at this
         moment.
    The median is that of the finished tasks: of the durations of the attempts that finished them;
    of an even number, the mean of the two in the middle.
    Things happen when an attempt ends, and when, with a worker idle as in 3, the task that 3 takes
    reaches slow * median.

    Returns (makespan, copies): when the last task is finished, a Python float, and how many copies
    were started, a Python int. (0.0, 0) for n = 0.
    """
    ### BEGIN SOLUTION
    n = len(durations)
    start, finished, copied = [0.0] * n, [False] * n, [False] * n
    ends, took = [], []  # a heap of (end, task, attempt); the sorted durations of finished tasks
    idle, begun, eldest, copies, now = workers, 0, 0, 0, 0.0
    while len(took) < n:
        while idle and begun < n:
            start[begun] = now
            heapq.heappush(ends, (now + durations[begun][0], begun, 0))
            begun, idle = begun + 1, idle - 1
        due = math.inf
        while idle and begun == n and took and eldest < n:
            # Tasks start in the order of their numbers: the first that runs without a copy is the eldest.
            if finished[eldest]:
                eldest += 1
                continue
            due = start[eldest] + slow * statistics.median(took)
            if due > now:
                break
            heapq.heappush(ends, (now + durations[eldest][1], eldest, 1))
            copied[eldest] = True
            eldest, copies, idle, due = eldest + 1, copies + 1, idle - 1, math.inf
        while finished[ends[0][1]]:  # of an attempt that was stopped
            heapq.heappop(ends)
        now = min(due, ends[0][0])
        while ends and ends[0][0] == now:
            _, task, attempt = heapq.heappop(ends)
            if not finished[task]:
                finished[task] = True
                bisect.insort(took, durations[task][attempt])
                idle += 1 + copied[task]
    return float(now), copies
    ### END SOLUTION


# %% [markdown] hints="with_backups"
# <details><summary>Hint 1: what happens next</summary>
#
# The next moment is the smaller of two: the earliest end of a running attempt, and, if a worker is idle and no task
# waits, the start of one task plus `slow` times the median: of the running tasks without a copy, the one that started
# first. Both are known at any time.
# </details>
# <details><summary>Hint 2: stopping an attempt</summary>
#
# Nothing need be removed from a heap of ends. Mark the task as finished, and throw an end away when it comes up and
# its task is finished already. The finished task gives back one worker, or two if it had a copy.
# </details>
# <details><summary>Hint 3: the three steps</summary>
#
# Per moment: (1) pop all ends with this time; a task that is not finished becomes so, and the duration of this
# attempt (the original's, if both end at this moment) goes into the list for the median. (2) Start waiting tasks. (3)
# While a worker is idle and all tasks have started: take the running task without a copy that started first; if `now >= start + slow * median`, start its copy,
# else remember that moment as the next one. `statistics.median` of no values raises: no copies before a task is
# finished.
# </details>

# %% check="with_backups"
with check("with_backups"):
    # Two workers, three tasks of 2 and one of 20, slow = 1.5. 0 and 1 run until 2, 2 and 3 start at 2, 2 ends at 4. The
    # median is 2: task 3 has run for 1.5 * 2 = 3 at time 5. Its copy starts at 5 and takes 2: 7.
    tasks = [[2.0, 9.0], [2.0, 9.0], [2.0, 9.0], [20.0, 2.0]]
    with expect_unchanged(tasks=tasks):
        got = with_backups(tasks, 2, 1.5)
    expect_close(
        got,
        (7.0, 1),
        hint="the copy starts at 2 + 1.5 * 2 = 5 and ends at 7",
        mistakes={
            "No copy was started.": (22.0, 0),
        },
    )
    # A copy that is slower: it is stopped when the original ends.
    expect_close(with_backups([[2.0, 9.0], [6.0, 9.0]], 2, 1.0), (6.0, 1), hint="a job ends with the first attempt")
    assert with_backups(tasks, 2, math.inf) == (22.0, 0), "slow = inf: no copies, 2 + 20 = 22"
    # One worker: all tasks in turn; it is never idle before the end.
    assert with_backups(tasks, 1, 0.5) == (26.0, 0), "one worker: 2 + 2 + 2 + 20, and no copy"
    # Task 0 ends at 1: median 1, limit 1.5. Tasks 1, 2 and 3, started at 0, reach it at 1.5, and one worker is idle. The
    # copy of task 1 (the smallest number) ends at 2.5. Both workers of task 1 are idle then: tasks 2 and 3 get copies.
    expect_close(
        with_backups([[1.0, 9.0], [10.0, 1.0], [10.0, 1.0], [10.0, 1.0]], 4, 1.5),
        (3.5, 3),
        hint="when a task is finished, the workers of both its attempts are idle",
    )
    # Finished after 2, 2 and 8: the median is 2. Task 3 starts at 2; its copy starts at 2 + 5 * 2 = 12.
    expect_close(
        with_backups([[2.0, 9.0], [2.0, 9.0], [8.0, 9.0], [50.0, 1.0]], 2, 5.0),
        (13.0, 1),
        hint="the median of 2, 2 and 8 is 2",
        mistakes={"The limit was taken from the mean of the finished tasks, 4.": (23.0, 1)},
    )
    # Even numbers of finished tasks: the median of 2 and 4 is 3. Task 2 starts at 2; its copy starts at 2 + 2 * 3 = 8.
    expect_close(
        with_backups([[2.0, 9.0], [4.0, 9.0], [50.0, 1.0]], 2, 2.0), (9.0, 1), hint="the median is (2 + 4) / 2"
    )
    # Task 0 ends at 4: limit 1.25 * 4 = 5. The copy of task 1 starts at 5 and finishes it at 6. The attempts took 4 and
    # 1: limit 1.25 * 2.5, which task 2 has reached. Its copy starts at 6.
    expect_close(
        with_backups([[4.0, 9.0], [30.0, 1.0], [30.0, 1.0]], 3, 1.25),
        (7.0, 2),
        hint="the median is over the attempts that finished a task, each from its own start",
        mistakes={"The time of task 1 was counted from the start of its original.": (7.25, 2)},
    )
    # Both attempts at task 1 end at 20. The original took 20 (the copy 16): the median of 2 and 20 is 11.
    expect_close(
        with_backups([[2.0, 9.0], [20.0, 16.0], [100.0, 1.0]], 3, 2.0),
        (23.0, 2),
        hint="both attempts end at the same moment: the original finishes the task, and task 2 reaches 2 * 11 at 22",
    )
    assert with_backups([], 3, 2.0) == (0.0, 0), "no tasks"

# %% [markdown]
# A job of tasks that take 10 to 12 units. One attempt in fifty is ten times slower. The figure shows makespans, each
# the mean of several jobs: without copies, and with yours for two values of `slow`. The table adds the number of
# copies.

# %% tags=["demo"]
rng = np.random.default_rng(5)
rows, with_and_without = [], {"no copies": ([], []), "slow = 1.5": ([], []), "slow = 3": ([], [])}
sizes = demo_size(full=[50, 100, 200, 400, 800, 1600], small=[50, 100, 200])
for n_tasks in sizes:
    found = {name: [] for name in with_and_without}
    for _ in range(demo_size(full=10, small=3)):
        drawn = np.round(rng.uniform(10, 12, (n_tasks, 2)) * np.where(rng.random((n_tasks, 2)) < 0.02, 10, 1) * 64) / 64
        for name, slow in zip(found, (math.inf, 1.5, 3.0), strict=True):
            found[name].append(with_backups(drawn.tolist(), n_tasks // 10, slow))
    for name, runs in found.items():
        with_and_without[name][0].append(n_tasks)
        with_and_without[name][1].append(np.mean([makespan for makespan, _ in runs]))
    copies = [np.mean([count for _, count in found[name]]) for name in found]
    rows.append(
        (
            f"{n_tasks}",
            *(f"{curve[1][-1]:.0f}" for curve in with_and_without.values()),
            f"{copies[1]:.1f}",
            f"{copies[2]:.1f}",
        )
    )
plotting.curves(
    with_and_without,
    xlabel="tasks (ten for each worker)",
    ylabel="makespan",
    title="The slowest task decides, unless it has a copy",
    logx=True,
)
plt.gca().set_xticks(sizes, [str(size) for size in sizes])
plt.gca().set_xticks([], minor=True)
plt.show()
Table(("tasks", "no copies", "slow 1.5", "slow 3", "copies at 1.5", "copies at 3"), rows, numeric=tuple(range(6)))

# %% [markdown]
# Without copies nearly every job ends with a slow task that started late. With copies most of that time is saved, for
# a few copies: only tasks that still run when all others have been started can get one. A copy may be slow as well.
# Both attempts of a task are slow once in 2,500 tasks, so the largest jobs meet such a task, too. With `slow = 3`
# each copy starts later than with 1.5, at the same number of copies: hardly any usual task takes 1.5 times the median
# here.
#
# ### 18.5 `best_interval` · essential · level 2 of 4 · 20 min
#
# Now machines die. If a job of a day loses its memory, it begins again, unless it saves its state from time to time:
# a **checkpoint**. How often? Each checkpoint costs a time $C$, so saving often is expensive; each failure loses the
# work since the last checkpoint, so saving seldom is expensive, too.
#
# **The model.** Failures come at random, with the same rate at every moment, $1/M$: the time to the next failure is
# exponential with mean $M$, and the probability that a time $t$ passes without failure is $e^{-t/M}$. For a system of
# $N$ nodes with mean $M_1$ each, the first failure of any is exponential with the rate $N/M_1$, so $M = M_1/N$. After
# each failure comes a restart: it is over as soon as a time $R$ has passed without a failure. So failures strike
# during work, checkpoints and restarts.
#
# *A time $t$ without interruption.* Try until a time $t$ passes without failure; when one strikes, begin again. An
# attempt succeeds with probability $q = e^{-t/M}$. Its length is the smaller of $t$ and an exponential time, with the
# expectation $\int_0^t e^{-u/M}\,du = M(1 - q)$. There are $1/q$ attempts on average. So this takes
#
# $$\frac{M(1 - q)}{q} = M\left(e^{t/M} - 1\right).$$
#
# A restart is such a time with $t = R$: after each failure it takes $M(e^{R/M} - 1)$ until it has succeeded.
#
# *A segment*: work $\tau$ and a checkpoint $C$, after each failure a restart. The attempts take $M(e^{(\tau+C)/M} -
# 1)$, and $1/q - 1 = e^{(\tau+C)/M} - 1$ of them fail on average, each of which costs a restart. The sum of both is
#
# $$\left(e^{(\tau+C)/M} - 1\right)\left(M + M(e^{R/M} - 1)\right) = M e^{R/M}\left(e^{(\tau+C)/M} - 1\right),$$
#
# and a job has $W/\tau$ segments:
#
# $$\mathbb E\,T = M e^{R/M}\left(e^{(\tau+C)/M} - 1\right)\frac{W}{\tau} .$$
#
# *The best $\tau$.* $R$ and $W$ are only factors. Set the derivative of $(e^{(\tau+C)/M} - 1)/\tau$ to zero, and
# write $y = (\tau + C)/M$:
#
# $$e^{-y} = 1 - \frac{\tau}{M} = 1 - y + \frac CM .$$
#
# With $e^{-y} = 1 - y + y^2/2 - y^3/6 + y^4/24 - \ldots$ this says $C/M = y^2/2 - y^3/6 + y^4/24 - \ldots$ The first
# term alone gives $y = \sqrt{2C/M}$, so $\tau + C \approx \sqrt{2CM}$. **Young**'s rule is $\tau = \sqrt{2CM}$; it
# drops the $C$ as well. Put $y = a(1 + c_1 a + c_2 a^2)$ with $a = \sqrt{2C/M}$ into the three terms and compare
# powers of $a$: $c_1 = \frac16$, $c_2 = \frac1{36}$. With $z = \sqrt{C/(2M)} = a/2$ this is **Daly**'s rule:
#
# $$\tau = \sqrt{2CM}\left(1 + \frac z3 + \frac{z^2}9\right) - C \quad (C < 2M), \qquad \tau = M \quad (C \ge 2M).$$
#
# For small $C/M$ this is shorter than Young's interval by about $2C/3$: the $C$ less a third of it, from $z/3$. The
# second case is for checkpoints so long that the series is of no use. (The condition has an exact solution, too,
# by Lambert's function. Any way that is precise enough is right.)


# %% exercise="best_interval" points=2 minutes=20 trains=["fault tolerance", "probability", "counting what a computation costs"]
def expected_runtime(work: float, interval: float, cost: float, restart: float, mtbf: float) -> float:
    """The expected time of a job with checkpoints and failures: M e^(R/M) (e^((τ+C)/M) − 1) W/τ.

    work W >= 0, interval τ > 0, cost C >= 0, restart R >= 0, mtbf M > 0: Python floats or integers.
      W/τ need not be whole. The exponents (τ+C)/M and R/M are at most 100; (τ+C)/M is above 1e-12.
    Returns a Python float. The relative error is at most 1e-12, also where (τ+C)/M is tiny.
    """
    ### BEGIN SOLUTION
    return mtbf * math.exp(restart / mtbf) * math.expm1((interval + cost) / mtbf) * work / interval
    ### END SOLUTION


def best_interval(cost: float, mtbf: float) -> float:
    """An interval τ > 0 between checkpoints with nearly the smallest expected runtime, such as Daly's.

    cost C > 0, mtbf M > 0: Python floats or integers, with C/M from 1e-9 to 50; mtbf is that of the
      whole system.
    Returns a Python float: `expected_runtime` with this interval is at most 1% above the smallest
    one, for every work and restart.
    """
    ### BEGIN SOLUTION
    if cost >= 2 * mtbf:
        return float(mtbf)
    z = math.sqrt(cost / (2 * mtbf))
    return math.sqrt(2 * cost * mtbf) * (1 + z / 3 + z**2 / 9) - cost
    ### END SOLUTION


# %% [markdown] hints="best_interval"
# <details><summary>Hint 1: small exponents</summary>
#
# For $u = 10^{-10}$, `math.exp(u) - 1` has six correct digits: 1 + u is rounded to 16 digits, and then the 1 is
# subtracted. `math.expm1(u)` computes $e^u - 1$ without that loss.
# </details>
# <details><summary>Hint 2: two cases</summary>
#
# Daly's series is for $C < 2M$. Beyond that, return `float(mtbf)`. Young's $\sqrt{2CM}$ is too long by about
# $2C/3$.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# With `z = math.sqrt(cost / (2 * mtbf))`: `math.sqrt(2 * cost * mtbf) * (1 + z / 3 + z**2 / 9) - cost`.
# </details>

# %% check="best_interval"
with check("best_interval"):
    # M = 1, R = 0, τ + C = ln 2: (2 - 1) W/τ.
    expect_close(
        expected_runtime(3.0, math.log(2) - 0.1, 0.1, 0.0, 1.0),
        3.0 / (math.log(2) - 0.1),
        rtol=1e-12,
        hint="M = 1, R = 0 and τ + C = ln 2: e^(ln 2) - 1 = 1, times W/τ",
        mistakes={
            "The cost of the checkpoint is not in the exponent.": (math.exp(math.log(2) - 0.1) - 1)
            * 3
            / (math.log(2) - 0.1)
        },
    )
    expect_close(
        expected_runtime(6, 1, 0, 1, 2), 12 * math.exp(0.5) * (math.exp(0.5) - 1), rtol=1e-12, hint="R = 1, M = 2"
    )
    # Hardly any failure: the time is W (τ + C)/τ.
    expect_close(
        expected_runtime(100.0, 2.0, 1.0, 1.0, 1e11),
        150.0,
        rtol=1e-10,
        hint="with M = 1e11 nothing fails: 50 segments of 3.0. Does e^u - 1 lose its digits?",
    )
    # C/M = 1e-4, 0.5 and 8: the smallest expected runtime is found by a search.
    for c, m in ((0.01, 100.0), (5.0, 10.0), (8.0, 1.0)):
        tau = best_interval(c, m)
        grid = [expected_runtime(1.0, m * 2.0**k, c, 0.0, m) for k in np.linspace(-9, 2, 2000)]
        got = expected_runtime(1.0, tau, c, 0.0, m)
        assert got <= 1.01 * min(grid), (
            f"C = {c}, M = {m}: τ = {tau:.4g} takes {got / min(grid):.3f} times the smallest"
        )

# %% [markdown]
# The figure: overhead, $\mathbb E\,T/W - 1$, against the interval, for a cheap and an expensive checkpoint. The
# curves are your `expected_runtime`; the dots are simulated failures (mean of many runs, with two standard errors).
# Near its minimum a curve is flat, so an error of a third in $\tau$ costs little. When $C$ is a large part of $M$,
# Young's interval is too long: the table shows by how much.


# %% tags=["demo"]
import scipy.optimize


def simulated_runtime(work, interval, cost, restart, mtbf, rng):
    """One run with failures at random: work, checkpoints, restarts."""
    now, done, life, segment = 0.0, 0.0, rng.exponential(mtbf), 0.0
    while done < work - 1e-9:
        segment = interval + cost
        if life >= segment:
            now, life, done = now + segment, life - segment, done + interval
            continue
        now += life
        while (life := rng.exponential(mtbf)) < restart:
            now += life
        now, life = now + restart, life - restart
    return now


rng = np.random.default_rng(0)
mtbf, restart, runs = 10.0, 0.5, demo_size(full=150, small=30)
figure, ax = plt.subplots(figsize=(7.5, 4))
for number, cost in enumerate((0.05, 1.0)):
    taus = np.geomspace(0.1, 30, 200)
    overhead = [expected_runtime(1.0, tau, cost, restart, mtbf) - 1 for tau in taus]
    ax.plot(taus, overhead, color=plotting.COLOURS[number], label=f"formula, C = {cost}")
    for tau in np.geomspace(0.25, 12, 6):
        times = [simulated_runtime(40 * tau, tau, cost, restart, mtbf, rng) / (40 * tau) - 1 for _ in range(runs)]
        error = 2 * np.std(times) / math.sqrt(runs)
        ax.errorbar(tau, np.mean(times), yerr=error, fmt="o", markersize=5, color=plotting.COLOURS[number])
    best = best_interval(cost, mtbf)
    ax.plot(best, expected_runtime(1.0, best, cost, restart, mtbf) - 1, "*", markersize=15, color="#111111", zorder=5)
ax.plot([], [], "*", markersize=12, color="#111111", label="your interval")
ax.set(
    xscale="log",
    yscale="log",
    xlabel="interval τ",
    ylabel="overhead",
    title="M = 10: too often and too seldom both cost",
)
ax.legend(loc="upper center")
plt.show()
rows = []
for c_over_m in (0.001, 0.1, 0.5, 2.0):
    smallest = scipy.optimize.minimize_scalar(
        lambda tau, c=c_over_m: expected_runtime(1.0, tau, c, 0.0, 1.0),
        bounds=(1e-4, 3.0),
        method="bounded",
        options={"xatol": 1e-12},
    )
    young, yours = math.sqrt(2 * c_over_m), best_interval(c_over_m, 1.0)
    above = [expected_runtime(1.0, tau, c_over_m, 0.0, 1.0) / smallest.fun - 1 for tau in (young, yours)]
    rows.append(
        (
            f"{c_over_m}",
            f"{smallest.x:.4f}",
            f"{young:.4f}",
            f"{yours:.4f}",
            *(f"{100 * max(0.0, a):.2f}%" for a in above),
        )
    )
Table(
    ("C / M", "best τ / M", "Young", "yours", "Young above the best", "yours above the best"),
    rows,
    numeric=tuple(range(6)),
)

# %% [markdown]
# ### 18.6 `recover` · essential · level 3 of 4 · 20 min
#
# A checkpoint every hour loses up to an hour. A parameter server, a queue or a database may lose nothing that it has
# confirmed. Such a system writes each change to the end of a file, the **log**, before it confirms it. After a crash
# it reads the last checkpoint, here called **snapshot**, and applies the changes in the log that came after it.
#
# Three things go wrong in naive versions. First, the crash may come in the middle of a write: the last record is
# **torn**. So each record carries its length and a checksum of its content, here CRC-32, and reading ends at the
# first record that is not whole and right. What stands behind it must not count, since nothing says where the next
# record begins. A trap: file systems may leave zeros at the end of a file. Eight zero bytes are a record with length
# 0 and checksum 0, and the CRC-32 of nothing *is* 0; so a payload must be long enough, too. Second, the snapshot
# already holds some of the changes in the log. A change such as "add 3" must not be applied twice, so each record has
# an index, and the snapshot says up to which index it goes. Third, a writer that got no answer sends its change
# again: one index may occur twice.
#
# The layout of a record, all numbers little-endian:
#
# | bytes | content |
# | --- | --- |
# | 4 | length of the payload, unsigned |
# | 4 | CRC-32 of the payload, unsigned (`zlib.crc32`) |
# | 8 | payload: index, signed integer |
# | 8 | payload: value, float64 |
# | the rest | payload: key, UTF-8 |


# %% exercise="recover" points=3 minutes=20 trains=["fault tolerance"]
def append(index: int, key: str, value: float) -> bytes:
    """One record of the log: "at this index, add `value` to what stands under `key`".

    index: 0 <= index < 2^63. key: any text that UTF-8 can hold, also "". value: a Python float,
      finite.
    Returns the bytes of the layout above: `struct.pack("<II", length, crc)`, then the payload,
    which is `struct.pack("<qd", index, value)` and the UTF-8 bytes of the key; length is the
    payload's.
    """
    ### BEGIN SOLUTION
    payload = struct.pack("<qd", index, value) + key.encode()
    return struct.pack("<II", len(payload), zlib.crc32(payload)) + payload
    ### END SOLUTION


def recover(snapshot: tuple[int, dict], log: bytes) -> dict:
    """The state after a crash: the snapshot, and the changes in the log that it does not hold.

    snapshot: (index, state): the state (a dict from texts to Python floats) after all records up to
      and including this index; (-1, {}) before the first record. Not modified.
    log: bytes, such as joined results of `append`; it may begin long before the snapshot's index
      and end anywhere, also in the middle of a record, with zeros or other bytes that are no
      record.

    Reads record after record from the beginning, and stops for good at the first one that is not
    whole or not right: fewer than 8 bytes are left, or fewer than its length behind these 8; the
    checksum is wrong; or its payload has fewer than 16 bytes. A record is applied if its index is
    larger than the snapshot's and than every index that has been applied so far, and skipped
    otherwise. Indices may have gaps. To apply it is to add its value to what stands under its key
    (0.0 if nothing does).

    Returns a new dict, with Python floats. It never raises, whatever bytes the log holds behind its
    last good record. (A payload with the right checksum holds a right key.)
    """
    ### BEGIN SOLUTION
    last, state = snapshot[0], dict(snapshot[1])
    at = 0
    while at + 8 <= len(log):
        length, crc = struct.unpack_from("<II", log, at)
        payload = log[at + 8 : at + 8 + length]
        if length < 16 or len(payload) < length or zlib.crc32(payload) != crc:
            break
        index, value = struct.unpack_from("<qd", payload)
        if index > last:
            key = payload[16:].decode()
            state[key] = state.get(key, 0.0) + value
            last = index
        at += 8 + length
    return state
    ### END SOLUTION


# %% [markdown] hints="recover"
# <details><summary>Hint 1: bytes and numbers</summary>
#
# `struct.pack("<II", 3, 7)` gives 8 bytes, and `struct.unpack_from("<II", log, at)` reads two numbers from place
# `at`. The checksum is over the whole payload: index, value and key. `len(key.encode())` may be larger than
# `len(key)`.
# </details>
# <details><summary>Hint 2: when to stop</summary>
#
# Stop if fewer than 8 bytes are left, if the length is below 16, if fewer bytes than the length are left, or if the
# checksum differs. Slices are forgiving: `log[at : at + length]` is shorter than `length` where the log ends, and no
# error tells it.
# </details>
# <details><summary>Hint 3: what to skip</summary>
#
# Begin with `last = snapshot[0]`. Apply a record if `index > last`, and set `last = index`. Skipped or applied, go on
# behind it: `at += 8 + length`. Work on a copy of the snapshot's dict.
# </details>

# %% check="recover"
with check("recover"):
    record = append(5, "ä", 1.5)
    assert len(record) == 8 + 16 + 2, f"8 bytes, 16 bytes, and two for 'ä': 26 bytes, and not {len(record)}"
    assert record[:4] == b"\x12\x00\x00\x00", "the length of the payload, 18, comes first (4 bytes, little-endian)"
    assert record[4:8] == struct.pack("<I", zlib.crc32(record[8:])), "then the CRC-32 of the payload"
    assert record[8:] == struct.pack("<qd", 5, 1.5) + "ä".encode(), "then index, value and key"
    good = [append(0, "a", 1.0), append(1, "b", 10.0), append(2, "a", 100.0)]
    snapshot = (1, {"a": 1.0, "b": 10.0})
    with expect_unchanged(snapshot=snapshot):
        got = recover(snapshot, b"".join(good))
    assert got == {"a": 101.0, "b": 10.0}, f"the snapshot holds records 0 and 1, so only 2 is added, and not {got}"
    assert recover((-1, {}), b"".join(good)) == {"a": 101.0, "b": 10.0}, "from the beginning"
    assert recover(snapshot, b"") is not snapshot[1], "a new dict, also where nothing is applied"
    assert recover((7, {"c": 2.0}), b"".join(good)) == {"c": 2.0}, "a snapshot that is newer than the whole log"
    whole = b"".join(good)
    for cut in range(len(whole) + 1):  # records end at 25, 50 and 75
        got = recover((-1, {}), whole[:cut])
        expected = [{}, {"a": 1.0}, {"a": 1.0, "b": 10.0}, {"a": 101.0, "b": 10.0}][cut // 25]
        assert got == expected, f"cut after {cut} bytes, with {cut // 25} whole records: {expected}, and not {got}"
    damaged = bytearray(whole)
    damaged[40] ^= 1  # within the second record
    assert recover((-1, {}), bytes(damaged)) == {"a": 1.0}, (
        "nothing counts from the first record with a wrong checksum on"
    )
    assert recover((-1, {}), good[0] + bytes(40)) == {"a": 1.0}, "zeros at the end are no records"
    assert recover((-1, {}), bytes(40)) == {}, "zeros are no records, also at the beginning"
    short = struct.pack("<II", 8, zlib.crc32(bytes(8))) + bytes(8)
    assert recover((-1, {}), good[0] + short + good[1]) == {"a": 1.0}, "a payload of 8 bytes is no record: stop there"
    assert recover((-1, {}), good[0] + good[2]) == {"a": 101.0}, "indices may have gaps"
    again = good[0] + good[1] + good[1] + good[2]  # the writer sent record 1 twice
    assert recover((-1, {}), again) == {"a": 101.0, "b": 10.0}, "an index that has been applied is not applied again"
    assert recover((-1, {}), again + good[1]) == {"a": 101.0, "b": 10.0}, "also if others came between"

# %% [markdown]
# Now for real. A process of its own writes records with your `append`, as fast as it can, in blocks of 4,096 bytes,
# as file systems do. We end it with signal 9 (SIGKILL), which no process can catch, and read the file with your
# `recover`. The last record is nearly always torn. The state must be that of the whole records.

# %% tags=["demo"]
WRITER = """
import sys, cloudpickle
append = cloudpickle.load(open(sys.argv[1], "rb"))
buffer = b""
with open(sys.argv[2], "ab", buffering=0) as log:
    for index in range(10**9):
        buffer += append(index, f"key {index % 7}", float(index))
        while len(buffer) >= 4096:
            log.write(buffer[:4096])
            buffer = buffer[4096:]
"""


with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder)
    (folder / "append").write_bytes(cloudpickle.dumps(append))
    log_file = folder / "log"
    process = subprocess.Popen([sys.executable, "-c", WRITER, folder / "append", log_file])
    try:
        until = time.monotonic() + 20
        while time.monotonic() < until and not (log_file.exists() and log_file.stat().st_size > 50_000):
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        process.wait()
    log = log_file.read_bytes()
size_of = [len(append(index, f"key {index % 7}", float(index))) for index in range(2)]
whole = len(log) // size_of[0]  # all records of this writer have the same size
state = recover((-1, {}), log)
expected = {f"key {r}": float(sum(range(r, whole, 7))) for r in range(7)}
print(f"the writer was ended by signal {-process.returncode}; its log has {len(log):,} bytes")
print(f"whole records: {whole:,}; bytes of a torn one behind them: {len(log) % size_of[0]}")
print("the state is", "that of the whole records" if state == expected else f"WRONG: {state}")

# %% [markdown]
# ### 18.7 `LeasedStore` · essential · level 2 of 4 · 10 min
#
# A job must have one leader: one process that writes checkpoints, or hands out tasks. If the leader dies, another
# must take over. How does anybody know that it is dead, and not only slow? Nobody can: an answer that is late and an
# answer that will never come look the same. So leadership is given as a **lease**: it ends by itself after some time,
# unless it is renewed. A leader that has died blocks the others for the length of a lease, and no longer.
#
# The trap is a leader that is *paused*, by the garbage collector, by a full disk, by a virtual machine that is moved.
# It checks its lease, is paused for a minute, wakes up and writes. By then another leader has the lease and has
# written. The paused one cannot know: no time passes for it between its check and its write. So a lease alone does
# not protect the data; the *store* must refuse old leaders. Each new lease gets a number that is larger than all
# before it, a **fencing token**. A write carries the token of its writer, and the store takes only that of the newest
# lease.
#
# **Find the bug.** The store below gives out tokens, and asks for them. A paused leader still overwrites the new
# one's value. Find out why, and repair it.


# %% exercise="LeasedStore" points=2 minutes=10 bug=true trains=["fault tolerance"]
class LeasedStore:
    """One value that only the holder of the newest lease may write.

    seconds: how long a lease lasts, > 0. The clock is the caller's: `now` never decreases from one
    call to the next. Holders are texts. Tokens are Python ints: 1 for the first lease, one more for
    each further one.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.holder, self.until, self.token, self.value = None, -math.inf, 0, None

    def acquire(self, holder: str, now: float) -> int | None:
        """Ask for the lease: its token, or None while somebody else's lease runs.

        A lease that is given or renewed at `now` runs while the time is below now + seconds; at
        now + seconds it has ended. While a holder's own lease runs, it is renewed under its old
        token. After its end anybody gets a new lease with a new token, also the former holder.
        """
        if now < self.until and holder != self.holder:
            return None
        if now >= self.until:
            self.holder, self.token = holder, self.token + 1
        self.until = now + self.seconds
        return self.token

    def write(self, token: int, value: float) -> bool:
        """Write a value: True if it was written; False, and nothing changes, if the token is not valid.

        Valid is the token of the newest lease that was given out, and no other; before the first
        lease none is, not even 0. It stays valid when that lease has ended, as long as no new one
        was given out (the store has no clock, and nobody else has written).
        """
        ### BEGIN SOLUTION
        if token != self.token or token < 1:
            return False
        self.value = value
        return True
        ### END SOLUTION
        ### BEGIN BUG
        # if token < 1 or token > self.token:  # nobody ever got this token
        #     return False
        # self.value = value
        # return True
        ### END BUG

    def read(self) -> float | None:
        """The value that was written last; None before the first."""
        return self.value


# %% [markdown] hints="LeasedStore"
# <details><summary>Hint 1: play the pause</summary>
#
# A gets the lease at time 0 (10 seconds, token 1), and is paused. B gets it at time 12 (token 2), and writes. A wakes
# up at 15 and writes with token 1. What does the store compare?
# </details>
# <details><summary>Hint 2: which tokens are valid</summary>
#
# `write` asks whether a token was ever given out. It must ask whether it is that of the newest lease. `acquire` is
# right as it is.
# </details>

# %% check="LeasedStore"
with check("LeasedStore"):
    store = LeasedStore(10.0)
    assert store.read() is None and not store.write(1, 5.0), "no lease was given out: nothing can be written"
    assert not store.write(0, 5.0), "the first token is 1: nobody ever has token 0"
    a = store.acquire("A", 0.0)
    assert a == 1 and store.write(a, 1.0) and store.read() == 1.0, "A has token 1 and writes"
    assert store.acquire("B", 9.0) is None, "A's lease runs until 10"
    assert store.acquire("A", 9.0) == 1, "A renews its lease at 9, under its old token"
    assert store.acquire("B", 18.0) is None, "A's lease runs until 19 now"
    b = store.acquire("B", 19.0)
    assert b == 2, "at 19 A's lease has ended: B gets token 2"
    assert store.write(b, 2.0) and store.read() == 2.0, "B writes"
    assert store.write(a, 3.0) is False, "A was paused and writes with token 1: its lease has gone to B"
    assert store.read() == 2.0, "what the paused A sent has changed nothing"
    assert store.write(b, 4.0) and not store.write(3, 5.0), "B may write again; nobody has token 3"
    assert store.acquire("B", 40.0) == 3, "B's own lease has ended: a new lease, a new token"
    assert not store.write(b, 6.0) and store.write(3, 6.0), "what B sent under its old lease comes too late"
    assert not store.write(a, 7.0), "A's token 1 is still an old one"

# %% [markdown]
# ### 18.8 `ParameterServer` · important · level 3 of 4 · 25 min
#
# In synchronous training one slow machine holds up every step: $P$ workers wait for the slowest of them. The mean of
# the largest of $P$ exponential times is $1 + \frac12 + \ldots + \frac1P \approx \ln P + 0.58$ times the mean of one.
# Must they wait? A **parameter server** keeps $\theta$; a worker *pulls* $\theta$, computes a change $\delta$ from
# its own data, and *pushes* $\delta$. If nobody waits, a slow worker's $\delta$ belongs to an old $\theta$, and with
# a large learning rate the loss rises. **Stale synchronous parallel** stands between: each worker has a clock, the
# number of its pushes. A worker may begin a step only if its clock is at most $s$ ahead of the slowest worker's. So
# short delays are absorbed, and no worker is ever far behind. For $s = 0$ this is the synchronous run.
#
# What does a worker see? Call step $c$ of all workers a **round**: round $c$ is complete when all workers have pushed
# their step $c$. Our server shows the changes of complete rounds, and the worker's own changes after that. (The
# server of Ho et al. may show a worker more, whatever has arrived. Ours shows only what the clocks imply, so that a
# run can be repeated to the last bit.) Since sums in floating point depend on their order, the order is fixed: round
# by round, and within a round worker by worker.


# %% exercise="ParameterServer" points=3 minutes=25 trains=["scheduling", "counting what a computation costs"]
class ParameterServer:
    """Parameters that workers change at their own pace, and never too far apart.

    theta: shape (d,), float64 or float32, the parameters at the beginning; not modified, and later
      changes of the array have no influence.
    workers: P >= 1, with the numbers 0 to P - 1. staleness: s >= 0.
    The clock of a worker is the number of its pushes so far.

    Memory: theta, and at most P (s + 1) changes that wait for their round; not all that ever came.
    """

    def __init__(self, theta: np.ndarray, workers: int, staleness: int):
        ### BEGIN SOLUTION
        self.theta = theta.copy()
        self.staleness = staleness
        self.waiting = [deque() for _ in range(workers)]  # changes of rounds that are not complete
        self.may_push = [False] * workers
        ### END SOLUTION

    def pull(self, worker: int) -> np.ndarray | None:
        """What the worker begins its next step from; None if it must wait.

        None if the worker's clock is more than s above the smallest clock of all workers. Otherwise
        a new array, of theta's shape and dtype: theta at the beginning, plus the changes of all
        complete rounds, plus this worker's own changes of later rounds. Added one by one in theta's
        dtype: all complete rounds in order (round 0 first), within a round worker 0 first, then the
        own ones in order. A worker may pull several times before it pushes.
        """
        ### BEGIN SOLUTION
        if len(self.waiting[worker]) > self.staleness:
            return None
        self.may_push[worker] = True
        theta = self.theta.copy()
        for delta in self.waiting[worker]:
            theta += delta
        return theta
        ### END SOLUTION

    def push(self, worker: int, delta: np.ndarray) -> None:
        """End the worker's step: `delta`, (d,), of theta's dtype, is its change in the round of its clock.

        A round is complete when every worker has pushed its change for it. `delta` is not modified,
        and the worker may write to the array afterwards.
        Raises ValueError, and changes nothing, if the worker has got no theta since its last push
        (no pull, or only None).
        """
        ### BEGIN SOLUTION
        if not self.may_push[worker]:
            raise ValueError(f"worker {worker} pushes without having pulled")
        self.may_push[worker] = False
        self.waiting[worker].append(delta.copy())
        if all(self.waiting):
            for changes in self.waiting:
                self.theta += changes.popleft()
        ### END SOLUTION


# %% [markdown] hints="ParameterServer"
# <details><summary>Hint 1: what to keep</summary>
#
# `theta` with all complete rounds, and for each worker a queue of its changes that are not in it yet. The number of
# complete rounds is the smallest clock. So how far a worker is ahead is the length of its queue.
# </details>
# <details><summary>Hint 2: push</summary>
#
# Append a copy. If every queue now has a change, the round is complete: add the first of each queue to `theta`,
# worker 0 first, and remove it. One push completes at most one round.
# </details>
# <details><summary>Hint 3: pull</summary>
#
# `None` if the length of the own queue is more than `staleness`. Otherwise a copy of `theta` plus each change in the
# own queue. Remember that this worker may push now; `push` asks for it and takes it back.
# </details>

# %% check="ParameterServer"
with check("ParameterServer"):
    first = np.array([0.0, 100.0])
    server = ParameterServer(first, workers=2, staleness=1)
    first[:] = -1.0
    got = server.pull(0)
    expect_close(got, [0.0, 100.0], hint="theta at the beginning; keep a copy of it")
    got[:] = 7.0
    expect_close(server.pull(1), [0.0, 100.0], hint="what pull returns is a new array each time")
    change = np.array([1.0, 0.0])
    server.push(0, change)
    change[:] = 50.0
    expect_close(server.pull(0), [1.0, 100.0], hint="worker 0 sees its own change (keep a copy of it), one step ahead")
    expect_close(server.pull(1), [0.0, 100.0], hint="worker 1 does not: round 0 is not complete")
    with expect_raises(ValueError):
        ParameterServer(np.zeros(2), 2, 1).push(0, np.zeros(2))
    server.push(0, np.array([2.0, 0.0]))
    assert server.pull(0) is None, "worker 0 has the clock 2, worker 1 has 0: more than s = 1 apart, it must wait"
    with expect_raises(ValueError, hint="a pull that gave None is no pull"):
        server.push(0, np.zeros(2))
    server.push(1, np.array([0.0, 1.0]))
    expect_close(server.pull(1), [1.0, 101.0], hint="round 0 is complete: 1 from worker 0 and 1 from worker 1")
    expect_close(server.pull(0), [3.0, 101.0], hint="round 0, and the own change of round 1")
    single = ParameterServer(np.zeros(2, np.float32), 1, 0)
    expect_dtype(single.pull(0), np.float32)
    with expect_raises(ValueError, hint="one push for each step"):
        lonely = ParameterServer(np.zeros(1), 1, 0)
        lonely.pull(0)
        lonely.push(0, np.ones(1))
        lonely.push(0, np.ones(1))
    strict = ParameterServer(np.zeros(1), 3, 0)
    for worker in (2, 0, 1):
        expect_close(
            strict.pull(worker), [0.0], hint="s = 0: before the first round is complete, all see the beginning"
        )
        strict.push(worker, np.full(1, 10.0**worker))
    expect_close(strict.pull(1), [111.0], hint="1 + 10 + 100")
    strict = ParameterServer(np.zeros(1), 3, 0)
    for worker in (2, 0, 1):  # (1e16 + 1) - 1e16 is 0 in floating point, and (-1e16 + 1e16) + 1 is 1
        strict.pull(worker)
        strict.push(worker, np.array([(1e16, 1.0, -1e16)[worker]]))
    expect_close(strict.pull(0), [0.0], hint="within a round worker 0 is added first, whoever pushes first")
    large = ParameterServer(np.array([1e16]), 2, 0)
    for worker in (0, 1):
        large.pull(worker)
        large.push(worker, np.ones(1))
    assert large.pull(0)[0] == 1e16, (
        "each change is added to theta, one by one: 1e16 + 1 is 1e16 in floating point, and 1e16 + (1 + 1) is not"
    )

# %% [markdown]
# Eight workers fit a linear model by stochastic gradient descent. A step takes about 0.5 units, and with probability
# 0.1 it takes 5 more, so 1 on average. The loss is that of theta with all changes that have come. The left panel
# counts updates, the right one counts time. Each run ends when 100 rounds are complete (40 with the small sizes).


# %% tags=["demo"]
def train_with_delays(staleness, rounds, seed=0):
    """(time, loss) after each complete round of eight workers on your server; and the share of time spent waiting."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((800, 40)) * np.geomspace(1, 0.2, 40)
    truth = rng.standard_normal(40)
    y = X @ truth + 0.1 * rng.standard_normal(800)
    workers, lr = 8, 0.012
    server = ParameterServer(np.zeros(40), workers, staleness)
    clocks, events, waits, curve, idle_since, idle = [0] * workers, [], [], [], {}, 0.0
    seen = {}

    def begin(worker, now):
        seen[worker] = server.pull(worker)
        if seen[worker] is None:
            waits.append(worker)
            idle_since[worker] = now
            return False
        heapq.heappush(events, (now + rng.uniform(0.4, 0.6) + 5 * (rng.random() < 0.1), worker))
        return True

    for worker in range(workers):
        begin(worker, 0.0)
    now, total = 0.0, np.zeros(40)
    while min(clocks) < rounds:
        now, worker = heapq.heappop(events)
        rows = rng.integers(0, 800, 20)
        delta = -lr * X[rows].T @ (X[rows] @ seen[worker] - y[rows]) / 20 * 4
        server.push(worker, delta)
        total += delta
        clocks[worker] += 1
        curve.append((now, np.mean((X @ total - y) ** 2) / 2))
        waits.append(worker)
        idle_since[worker] = now
        for other in list(waits):
            waits.remove(other)
            if begin(other, now):
                idle += now - idle_since.pop(other)
    return np.array(curve), idle / (workers * now)


figure, axes = plt.subplots(1, 2, figsize=(10, 3.9), sharey=True)
rows = []
for number, staleness in enumerate((0, 2, 8, 60)):
    curve, waiting = train_with_delays(staleness, demo_size(full=100, small=40))
    style = {
        "color": plotting.COLOURS[number],
        "label": f"s = {staleness}",
        "linestyle": ("-", "--", "-.", ":")[number],
    }
    axes[0].plot(np.arange(len(curve)), curve[:, 1], **style)
    axes[1].plot(curve[:, 0], curve[:, 1], **style)
    rows.append((f"{staleness}", f"{curve[-1, 0]:.0f}", f"{100 * waiting:.0f}%", f"{curve[-1, 1]:.4f}"))
axes[0].set(xlabel="updates", ylabel="loss", yscale="log", title="Updates: much staleness spoils them")
axes[1].set(xlabel="time", title="Time: a little staleness saves much")
axes[1].legend(loc="upper right")
plt.show()
Table(("staleness", "time for all rounds", "waiting", "loss at the end"), rows, numeric=(0, 1, 2, 3))

# %% [markdown]
# With $s = 2$ an update is worth as much as with $s = 0$, and the workers wait far less. With a larger $s$ they
# hardly wait, and the loss swings: a fast worker takes many steps from a theta that lacks the others' changes, and
# when all these changes come together they go too far. How much staleness is good depends on the learning rate; with
# a smaller one, more.
#
# ### 18.9 `pack_pods` · important · level 2 of 4 · 15 min
#
# One cluster runs many jobs. Kubernetes calls what it places a **pod**: a program with its demand for processor time
# and memory. The scheduler takes the pods one by one, the most important first, and for each pod does two things. It
# **filters** the nodes: enough processor, enough memory, the labels that the pod asks for (a GPU, a zone). Then it
# **scores** what is left, and takes the node with the best score. Two scores are usual. *Least allocated* spreads the
# load: good for services whose load varies. *Most allocated* packs nodes full: good for a cluster that pays for its
# nodes, because empty ones can be given back, and for large pods that need a node which is still empty. We pack.
#
# This is bin packing in two dimensions, and it is NP-hard. Two habits help a great deal: large pods first, so that
# small ones fill the gaps, and "large" by the dimension that is scarcest for this pod. A pod that needs little
# processor and half of a node's memory is large.


# %% exercise="pack_pods" points=2 minutes=15 trains=["scheduling"]
def pack_pods(pods: list[dict], nodes: list[dict]) -> list[int | None]:
    """Place pods on nodes, as full as possible: the node of each pod, None where it fits nowhere.

    pods: dicts with "cpu" and "memory" (integers >= 0, <= 10^6), "labels" (a dict of texts) and
      "priority" (an integer of any sign). nodes: at least one; dicts with "cpu" and "memory"
      (integers >= 1, <= 10^6; what the node has) and "labels". Neither is modified. pods may be
      empty.

    Pods are placed one after the other: the highest priority first; among equal ones the largest
    first, at ties the one that comes first in `pods`. The size of a pod is the larger of
    cpu / (largest cpu of any node) and memory / (largest memory of any node).
    For each pod, of the nodes that have room for it in both cpu and memory (it may fill them
    exactly) and whose labels contain all of the pod's labels, with equal values, the one with the
    highest score is taken, at ties the smaller number. With used_cpu and used_memory of the node
    with this pod on it, the score is (100 * used_cpu // cpu + 100 * used_memory // memory) // 2, in
    whole numbers. If there is none, the pod is not placed, and the next one is tried.

    Returns a list, in the order of `pods`: the number of a node, a Python int, or None.
    """
    ### BEGIN SOLUTION
    most_cpu, most_memory = max(node["cpu"] for node in nodes), max(node["memory"] for node in nodes)

    def order(i):
        pod = pods[i]
        return -pod["priority"], -max(pod["cpu"] / most_cpu, pod["memory"] / most_memory), i

    used = [[0, 0] for _ in nodes]
    placed = [None] * len(pods)
    for i in sorted(range(len(pods)), key=order):
        pod, best = pods[i], -1
        for j, node in enumerate(nodes):
            cpu, memory = used[j][0] + pod["cpu"], used[j][1] + pod["memory"]
            if cpu > node["cpu"] or memory > node["memory"] or not pod["labels"].items() <= node["labels"].items():
                continue
            score = (100 * cpu // node["cpu"] + 100 * memory // node["memory"]) // 2
            if score > best:
                best, placed[i] = score, j
        if placed[i] is not None:
            used[placed[i]][0] += pod["cpu"]
            used[placed[i]][1] += pod["memory"]
    return placed
    ### END SOLUTION


# %% [markdown] hints="pack_pods"
# <details><summary>Hint 1: the order</summary>
#
# `sorted(range(len(pods)), key=...)` with the key `(-priority, -size, i)`. The size is the larger of two quotients,
# each by the largest node.
# </details>
# <details><summary>Hint 2: filter</summary>
#
# Keep what each node has in use. A node is possible if both sums stay at or below what it has, and if
# `pod["labels"].items() <= node["labels"].items()` (each label of the pod is there, with the same value).
# </details>
# <details><summary>Hint 3: score</summary>
#
# Go through the nodes in order and take one only if its score is *higher* than the best so far: then ties go to the
# smaller number. Begin with -1, since a score may be 0. The score uses what is in use with the new pod on the node.
# </details>

# %% check="pack_pods"
with check("pack_pods"):

    def pod(cpu, memory, priority=0, **labels):
        return {"cpu": cpu, "memory": memory, "labels": labels, "priority": priority}

    def node(cpu, memory, **labels):
        return {"cpu": cpu, "memory": memory, "labels": labels}

    pods, nodes = [pod(50, 10), pod(30, 60)], [node(100, 100), node(100, 100)]
    with expect_unchanged(pods=pods, nodes=nodes):
        got = pack_pods(pods, nodes)
    # The second is larger (0.6), goes to node 0; the first fits beside it (80 and 70), and node 0 is fuller.
    assert got == [0, 0], f"both on node 0, and not {got}"
    # Sizes 0.5 and 0.6: the second goes first, to node 1, the only one with 60 of memory. The first then scores
    # (50 + 20) // 2 = 35 on node 0 and (90 + 70) // 2 = 80 on node 1.
    got = pack_pods([pod(50, 10), pod(40, 60)], [node(100, 50), node(100, 100)])
    assert got == [1, 1], f"[1, 1], and not {got}"
    got = pack_pods([pod(50, 0), pod(10, 60), pod(45, 0), pod(10, 40)], [node(100, 100)])
    assert got == [0, 0, None, 0], f"in the order of sizes 0.6, 0.5, 0.45 (does not fit: 60 + 45), 0.4, and not {got}"
    # 60 / 100 is more than 110 / 200.
    got = pack_pods([pod(60, 90), pod(50, 110)], [node(100, 200)])
    assert got == [0, None], f"sizes 0.6 and 0.55: [0, None], and not {got}"
    # A high priority comes first, even if it is small; then the large one fits nowhere.
    assert pack_pods([pod(100, 10), pod(1, 1, priority=5)], [node(100, 100)]) == [None, 0], "priority comes first"
    # Labels: equal values, and all of them.
    got = pack_pods([pod(1, 1, gpu="yes"), pod(1, 1, gpu="no")], [node(9, 9), node(9, 9, gpu="yes", zone="a")])
    assert got == [1, None], f"the first needs gpu = yes, the second gpu = no: [1, None], and not {got}"
    # Memory counts as well as cpu, and a node may be filled exactly.
    assert pack_pods([pod(0, 60), pod(0, 40), pod(0, 1)], [node(9, 100)]) == [0, 0, None], "60 + 40 fill 100 exactly"
    # The fuller node wins, and the score counts the pod itself: 20 of 50 is more than 20 of 100.
    assert pack_pods([pod(20, 20)], [node(100, 100), node(50, 50)]) == [1], "40 against 20: node 1 would be fuller"
    # 100 of 300 and 100 of 295 both count as 33 in whole numbers: the smaller number wins.
    assert pack_pods([pod(100, 0)], [node(300, 9), node(295, 9)]) == [0], (
        "scores are whole numbers (//), ties go to node 0"
    )
    # (33 + 33) // 2 = 33 and (33 + 34) // 2 = 33: the smaller number wins again.
    assert pack_pods([pod(33, 33)], [node(100, 100), node(100, 97)]) == [0], "the half is a whole number, too: // 2"
    assert pack_pods([pod(5, 9), pod(9, 5), pod(9, 9)], [node(9, 9)]) == [0, None, None], (
        "equal sizes: the first of the list"
    )
    assert pack_pods([], [node(1, 1)]) == [], "no pods"

# %% [markdown]
# Two hundred pods (60 with the small sizes), some heavy in processor, some in memory, on nodes of one size. The bars
# show how full each node is. The second panel shows the same pods on the least allocated node, in the order in which they came: nearly all
# nodes are in use, and none is free for a large pod.


# %% tags=["demo"]
def some_pods(n, seed):
    """Pods that are heavy in cpu, or in memory, or small."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(n):
        heavy, light = int(rng.integers(800, 2500)), int(rng.integers(50, 600))
        kind = rng.integers(3)
        cpu, memory = ((heavy, light), (light, heavy), (light, light))[kind]
        made.append({"cpu": cpu, "memory": memory, "labels": {}, "priority": int(rng.integers(0, 2))})
    return made


def spread_pods(pods, nodes):
    """The least allocated node, first come first served."""
    used, placed = np.zeros((len(nodes), 2)), []
    has = np.array([(node["cpu"], node["memory"]) for node in nodes])
    for pod in pods:
        after = used + np.array([pod["cpu"], pod["memory"]])
        free = np.where(np.all(after <= has, axis=1), (after / has).sum(axis=1), np.inf)
        placed.append(int(np.argmin(free)) if np.isfinite(free.min()) else None)
        if placed[-1] is not None:
            used[placed[-1]] = after[placed[-1]]
    return placed


pods = some_pods(demo_size(full=200, small=60), seed=2)
nodes = [{"cpu": 4000, "memory": 4000, "labels": {}}] * demo_size(full=60, small=20)
least = max(math.ceil(sum(pod[what] for pod in pods) / 4000) for what in ("cpu", "memory"))
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True)
for ax, (name, place) in zip(axes, {"Packed (yours)": pack_pods, "Spread": spread_pods}.items(), strict=True):
    placed, used = place(pods, nodes), np.zeros((len(nodes), 2))
    for i, j in enumerate(placed):
        if j is not None:
            used[j] += (pods[i]["cpu"], pods[i]["memory"])
    share, places = 100 * used / 4000, np.arange(len(nodes))
    ax.bar(places, share[:, 0], color=plotting.COLOURS[0], label="cpu")
    ax.bar(places, -share[:, 1], color=plotting.COLOURS[1], label="memory (below)")
    ax.set(title=f"{name}: {np.sum(used.any(axis=1))} nodes in use, at least {least}", xlabel="node")
    ax.xaxis.get_major_locator().set_params(integer=True)
axes[0].set(ylabel="% in use", ylim=(-105, 105))
plotting.legend_below(axes[0])
plt.show()

# %% [markdown]
# ## Scale it
#
# ### Ten thousand workers, simulated
#
# Your scheduler runs three jobs of about the same number of tasks on 1 to $10^4$ workers: tasks that do not depend on
# each other, a sum in a binary tree, and the Cholesky graph. All tasks of the first two take 1 unit. The dashed lines
# are the bound $\min(P,\, T_1/T_\infty)$ on the speed-up.


# %% tags=["demo"]
def tree_tasks(n):
    """A binary tree of n tasks: task i needs 2i + 1 and 2i + 2."""
    child = np.arange(1, n)
    return np.ones(n), np.stack([child, (child - 1) // 2], axis=1)


t = demo_size(full=36, small=12)
n_tasks = len(cholesky_tasks(t)[0])
jobs = {
    "independent": (np.ones(n_tasks), np.zeros((0, 2), int)),
    "tree": tree_tasks(n_tasks),
    f"Cholesky, {t} tiles": cholesky_tasks(t)[1:],
}
counts = [1, 3, 10, 30, 100, 300, 1000, 3000, 10_000]
ax, rows = plt.subplots(figsize=(7.5, 4.4))[1], []
for number, (name, (durations, edges)) in enumerate(jobs.items()):
    span, work = critical_path(durations, edges)[0], durations.sum()
    gained, above, begun = [], [], time.perf_counter()
    for processors in counts:
        worker, start = list_schedule(durations, edges, processors)
        gained.append(work / np.max(start + durations))
        above.append(np.max(start + durations) / max(work / processors, span))
    seconds = (time.perf_counter() - begun) / len(counts)
    style = {"color": plotting.COLOURS[number]}
    ax.plot(counts, gained, plotting.MARKERS[number] + "-", markersize=5, label=name, **style)
    ax.plot(counts, np.minimum(counts, work / span), "--", linewidth=1, **style)
    rows.append((name, f"{len(durations):,}", f"{work / span:,.0f}", f"{max(gained):,.0f}"))
    rows[-1] += (f"{max(above):.2f}", f"{1000 * seconds:.0f} ms")
ax.set(xscale="log", yscale="log", xlabel="workers", ylabel="speed-up", title="The span ends every speed-up")
ax.legend(loc="upper left")
plt.show()
Table(
    ("job", "tasks", "parallelism", "largest speed-up", "most above the bound (factor)", "your time for a schedule"),
    rows,
    numeric=(1, 2, 3, 4, 5),
)

# %% [markdown]
# The fifth column gives the largest quotient of a makespan and its lower bound; Graham allows nearly 2. No scheduler
# could gain more than this factor. What ends the speed-up is the graph. A tree has half of its tasks in its leaves
# and a span of only about $\log_2 n$, so it goes far. The Cholesky graph stops at its parallelism of about $t^2/9$.
# On real machines something else may come first: a scheduler that needs a millisecond for each task can keep 100
# workers busy with tasks of 0.1 s, and not more, however wide the graph is.
#
# ### Dask, the same graph, and a worker that dies
#
# Now the tasks are real. Each tile is a matrix of $b \times b$ numbers, and the tasks compute $L$. To make durations
# known, each task sleeps after its arithmetic until its time is over: its units of the graph times a fixed delay. So
# two sleeping workers do not compete for cores, and your schedule can be laid beside what Dask did. Dask orders tasks
# by its own rule, which prefers to finish what frees memory. It does not know the durations.
#
# In the second run one worker process is killed with SIGKILL, after a third of the tasks: the one that was the last
# to end a task. Dask's scheduler notices that the connection is gone. The results that this worker held are lost, so
# it computes them again: it knows the graph, so it knows from which tasks each lost result came. A nanny process
# starts a new worker. Each attempt at a task writes a line to a file, so lost and repeated work can be seen.


# %% tags=["demo"]
def run_tile(name, delay, log_path, *tiles):
    """One task of the tiled factorisation: its tile of L, or its updated tile of A. Notes who ran it, and when."""
    import os
    import time

    import numpy as np
    import scipy.linalg

    begun, kind = time.time(), name[0]
    # An array that came from another process may begin at any byte. NumPy then multiplies by another routine, and the
    # last bits differ. So every task works on copies.
    tiles = [np.array(tile, order="C") for tile in tiles]
    if kind == "factor":
        tile = np.linalg.cholesky(tiles[0])
    elif kind == "solve":
        tile = scipy.linalg.solve_triangular(tiles[1], tiles[0].T, lower=True).T
    else:
        tile = tiles[0] - tiles[1] @ tiles[-1].T
    time.sleep(max(0.0, begun + delay - time.time()))
    with open(log_path, "a") as log:  # one short line: written whole
        log.write(f"{os.getpid()} {begun} {time.time()} {' '.join(map(str, name))}\n")
    return tile


def factorise(client, t, A, unit, log_path, kill_after=None):
    """Run the tiled factorisation on Dask: L, and the killed process (None where nobody was)."""
    import dask

    b = len(A) // t
    tiles = {(i, j): A[i * b : (i + 1) * b, j * b : (j + 1) * b] for i in range(t) for j in range(i + 1)}
    task, names, durations = dask.delayed(run_tile, pure=False), *cholesky_tasks(t)[:2]
    for name, duration in zip(names, durations.tolist(), strict=True):
        kind, i, j, k = name
        reads = {"factor": [], "solve": [(k, k)], "update": [(i, k), (j, k)][: 1 + (i != j)]}[kind]
        tiles[i, j] = task(name, duration * unit, log_path, tiles[i, j], *(tiles[r] for r in reads))
    killed, future = None, client.compute(dask.delayed(list)(list(tiles.values())))
    if kill_after is not None:
        until = time.monotonic() + 60
        while time.monotonic() < until and len(attempts_in(log_path)) < kill_after:
            time.sleep(0.01)
        killed = attempts_in(log_path)[-1][0]  # it holds a result that others wait for
        os.kill(killed, signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    L = np.zeros_like(A)
    for (i, j), tile in zip(tiles, future.result(timeout=120), strict=True):
        L[i * b : (i + 1) * b, j * b : (j + 1) * b] = tile
    return L, killed


def attempts_in(log_path):
    """(process, begin, end, name) of every attempt that ended."""
    if not Path(log_path).exists():
        return []
    lines = [line.split() for line in Path(log_path).read_text().splitlines()]
    return [(int(pid), float(a), float(b), (kind, *map(int, rest))) for pid, a, b, kind, *rest in lines]


t, tile_size, unit = demo_size(full=6, small=4), 60, demo_size(full=0.02, small=0.012)
rng = np.random.default_rng(3)
root = rng.standard_normal((t * tile_size, t * tile_size))
A = root @ root.T + t * tile_size * np.eye(t * tile_size)
names, durations, edges = cholesky_tasks(t)
dask_runs, log_folder = {}, tempfile.TemporaryDirectory()
engines.run("dask", lambda client: client.run(run_tile, ("factor",), 0.0, os.devnull, np.eye(2)))  # they import SciPy
for run, kill_after in {"nobody dies": None, "one worker is killed": len(names) // 3}.items():
    log_path = str(Path(log_folder.name) / f"{len(dask_runs)}")
    begun = time.time()
    job = partial(factorise, t=t, A=A, unit=unit, log_path=log_path, kill_after=kill_after)
    found = engines.run("dask", job)
    if found is not None:
        dask_runs[run] = (*found, begun, time.time() - begun, attempts_in(log_path))
log_folder.cleanup()
worker, start = list_schedule(durations, edges, 2)
makespan = np.max(start + durations)
rows = [("your schedule", f"{makespan * unit:.2f} s", f"{len(names)}", "", "")]
results = [L for L, *_ in dask_runs.values()]
for run, (L, _, _, seconds, attempts) in dask_runs.items():
    error = np.linalg.norm(L @ L.T - A) / np.linalg.norm(A)
    again = len(attempts) - len({name for *_, name in attempts})
    rows.append((f"Dask, {run}", f"{seconds:.2f} s", f"{len(attempts)}", f"{again}", f"{error:.0e}"))
if len(results) == 2:
    print("the same bits with and without the killed worker:", np.array_equal(*results))
Table(("run", "time", "attempts", "of them repeated", "error of L Lᵀ"), rows, numeric=(1, 2, 3, 4))

# %% [markdown]
# The first figure shows your schedule and Dask's task stream, one row for each process. In the second one a row ends
# where its process was killed. A new process appears after a pause; meanwhile the other one works alone, and computes
# again what was lost.


# %% tags=["demo"]
def task_stream(attempts, begun):
    """What `draw_schedule` needs: names, durations, rows (one for each process, in order of appearance), starts."""
    pids = list(dict.fromkeys(pid for pid, *_ in sorted(attempts, key=lambda attempt: attempt[1])))
    began, ended = (np.array([attempt[k] for attempt in attempts]) for k in (1, 2))
    rows = np.array([pids.index(pid) for pid, *_ in attempts])
    return [name for *_, name in attempts], ended - began, rows, began - begun


streams = {f"Dask, {run}": task_stream(attempts, begun) for run, (_, _, begun, _, attempts) in dask_runs.items()}
streams = {"Your schedule": (names, durations * unit, worker, start * unit), **streams}
for titles in filter(None, (list(streams)[:2], list(streams)[2:])):
    figure, axes = plt.subplots(len(titles), 1, figsize=(9, 1.6 * len(titles) + 0.8), sharex=True, squeeze=False)
    for ax, title in zip(axes[:, 0], titles, strict=True):
        draw_schedule(ax, *streams[title])
        ax.set(title=title, xlabel="", ylabel="process" if "Dask" in title else "worker")
    axes[-1, 0].set_xlabel("seconds")
    axes[-1, 0].set_xlim(0)
    plotting.legend_below(axes[-1, 0], columns=3)
    plt.show()
engines.stop()

# %% [markdown]
# (With the small sizes Dask may keep all tasks on one of its workers, because it avoids moving data. Then the other
# one begins after the kill.)
#
# The bits agree: each task is a function of its inputs, and nothing else. This is what makes recomputing safe. A task
# that draws from a global random state, or appends to a file (as ours do for the figure), cannot be repeated without
# a trace. For equal bits one more thing is needed: the same arithmetic in the same order. Our tasks copy their inputs
# first. Without these copies the last bits depend on whether an input was computed in the same process or was sent:
# NumPy chooses its routine by the place of an array in memory, too.
#
# Dask wins wherever a graph must run: it moves the data, survives a worker, and needs no durations. What your
# schedule has over it is the forecast: you know before it runs how long the job takes, and what a third worker would
# bring. Dask loses time at the start and after the kill. And its *scheduler* is one process; if that one dies, the
# job dies. For a long job, its results must be saved from time to time.
#
# ### A training process that is killed again and again
#
# Softmax regression on the digits, in a process of its own, with a fixed pause in each step, so that the work $W$ is
# known. From time to time it saves all that determines the rest of the run: the step, the parameters, the momentum,
# *and the state of its random generator*. A checkpoint that leaves out the last two also runs on, to other bits. It
# writes to a new file, forces it to the disk (`fsync`), and renames it over the old one, which the operating system
# does in one piece: a kill in the middle leaves the old checkpoint whole. Failures come at exponential times with
# mean $M$, as in 18.5, by SIGKILL. The interval is yours.

# %% tags=["demo"]
TRAINER = """
import os, pickle, sys, time
import numpy as np
folder, steps, every, pause, saving = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])
X, y = (np.load(os.path.join(folder, name)) for name in ("X.npy", "y.npy"))
path = os.path.join(folder, "checkpoint")
rng = np.random.default_rng(0)
step, theta, momentum = 0, np.zeros((X.shape[1], 10)), np.zeros((X.shape[1], 10))
if os.path.exists(path):
    with open(path, "rb") as file:
        step, theta, momentum, rng.bit_generator.state = pickle.load(file)
while step < steps:
    begun = time.monotonic()
    rows = rng.integers(0, len(X), 32)
    logits = X[rows] @ theta
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(32), y[rows]] -= 1
    momentum = 0.9 * momentum + X[rows].T @ p / 32
    theta = theta - 0.1 * momentum
    step += 1
    time.sleep(max(0.0, begun + pause - time.monotonic()))
    if step % every == 0 or step == steps:
        begun = time.monotonic()
        with open(path + ".new", "wb") as file:
            pickle.dump((step, theta, momentum, rng.bit_generator.state), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + ".new", path)
        time.sleep(max(0.0, begun + saving - time.monotonic()))
"""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def train(folder, steps, every, pause, saving, lives, patience=40.0):
    """Run the trainer in `folder` until it is done; the processes are killed after these lives. (seconds, kills)"""
    begun, kills = time.monotonic(), 0
    arguments = [sys.executable, "-c", TRAINER, *map(str, (folder, steps, every, pause, saving))]
    while time.monotonic() - begun < patience:
        process = subprocess.Popen(arguments, env=os.environ | ONE_THREAD)
        try:
            process.wait(timeout=min(next(lives), begun + patience - time.monotonic()))
        except subprocess.TimeoutExpired:
            kills += 1
        finally:
            process.kill()  # SIGKILL on Linux and macOS
            process.wait()
        if process.returncode == 0:
            return time.monotonic() - begun, kills
        if process.returncode != -signal.SIGKILL and os.name == "posix":
            raise RuntimeError(f"the trainer ended with status {process.returncode}")
    raise TimeoutError("the trainer was killed too often to finish")


def exponential_lives(mean, seed):
    rng = np.random.default_rng(seed)
    while True:
        yield float(rng.exponential(mean))


digits = datasets.digits()
steps, pause, saving, mtbf = demo_size(full=500, small=100), 0.004, 0.02, demo_size(full=1.5, small=0.9)
with tempfile.TemporaryDirectory() as folder:
    weights, trained = {}, []
    folders = {name: Path(folder) / name for name in ("whole", "nothing to do", "killed")}
    for path in folders.values():
        path.mkdir()
        np.save(path / "X.npy", digits.X / 16.0)
        np.save(path / "y.npy", digits.y)
    train(folders["nothing to do"], 0, 1, pause, saving, iter([60.0]))  # warm the disk's cache
    restart, _ = train(folders["nothing to do"], 0, 1, pause, saving, iter([60.0]))
    interval = best_interval(saving, mtbf)
    every = max(1, round(interval / pause))
    for name, lives in {"whole": iter([120.0]), "killed": exponential_lives(mtbf, seed=8)}.items():
        seconds, kills = train(folders[name], steps, every, pause, saving, lives)
        with open(folders[name] / "checkpoint", "rb") as file:
            weights[name] = pickle.load(file)[1]
        trained.append((name, f"{seconds:.1f} s", f"{kills}"))
forecast = expected_runtime(steps * pause, every * pause, saving, restart, mtbf)
print(f"a process starts in {restart:.2f} s; the interval is {every * pause:.2f} s of work, {every} steps")
print(
    f"work {steps * pause:.1f} s; expected with failures every {mtbf} s on average: {forecast:.1f} s, plus the first start"
)
print("the same bits after all kills:", np.array_equal(weights["whole"], weights["killed"]))
Table(("training process", "time", "kills"), trained, numeric=(1, 2))

# %% [markdown]
# The weights agree in every bit. The time of one such run is a random number, of which your formula gives the mean;
# it may well be off by half, with the small sizes by more. On a cluster the parts have other sizes and the same names:
# $C$ is the time to write the parameters and the optimiser's state to a file system that all nodes share, $R$ is the time until all nodes have
# started and read it, and $M$ is that of one node divided by the number of nodes.
#
# **Where it breaks.** When $C$ comes near $M$: the table in 18.5 ends there. Large training runs then save
# asynchronously (a copy in memory first, the write in the background, so that $C$ is the time of the copy), or to the
# memory of a neighbour node. Bits agree only if all sums are taken in the same order: another number of workers, or
# another BLAS, gives other bits after a restart. And machines that compute *wrong* results without dying are not in
# any model of this module.

# %% [markdown] written="thousand_nodes" points=2
# **Written question (2 points).** A job runs on 1,000 nodes. Each node fails once in three years on average, and any
# failure stops the job. A checkpoint takes two minutes; a restart, for simplicity, no time. (a) What is $M$, and
# which interval do you choose? (b) How much longer does the job take on average, in percent of its work $W$? (c) The
# same with 10,000 nodes, if a checkpoint still takes two minutes? (d) Why is it doubtful that, with
# 10,000 nodes, a checkpoint takes no longer? How much longer does the job take with them if a checkpoint takes ten
# times as long? What would you change in the system?
#
# ### BEGIN SOLUTION
# (a) M = 3 · 365.25 · 24 h / 1000 = 26.3 h. Young: sqrt(2 · (1/30) · 26.3) h = 1.32 h; Daly: 1.30 h, 78 minutes. (b)
# M (e^((τ+C)/M) − 1)/τ − 1 = 5.2%; roughly C/τ + τ/(2M) = 2.6% + 2.5%. (c) M = 2.63 h, τ = 0.40 h (24 minutes), loss
# 18%: it grows like the square root of the number of nodes, 3.2 times as much and a bit more. (d) Ten times the nodes
# have ten times the memory, and it goes to the same file system, so C is up to 20 minutes. Then C/M is 0.13, the best
# interval is about 1.1 h and the job takes 73% longer: 10,000 nodes do the work of 5,800. Changes: write to local
# disks or to a neighbour's memory, write asynchronously, save less (shards of the optimiser, changes only), make the
# job go on with fewer nodes instead of stopping, or replace a failed node from spares.
#
# ### RUBRIC
# - 0.5: (a) M is 26 hours (divided by the number of nodes), and the interval about 1.3 hours.
# - 0.5: (b) About 5% more, from C/τ + τ/(2M) or the exact formula.
# - 0.5: (c) M is ten times smaller; the interval about 0.4 hours, the job takes about 16 to 18% longer (15% of the
#   total time).
# - 0.5: (d) The state grows with the nodes and meets the same storage, so C grows and the job takes more than 50%
#   longer (40% of the total time); and one change such as asynchronous or local checkpoints, or going on without the
#   failed node.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. Graham's bound holds for any order of the ready tasks. Find a graph where the longest remaining path first is worse
#    than another order. How bad can it be?
# 2. Stealing takes one task. When is it better to take half of the victim's queue?
# 3. Backup tasks help against slow machines. What do they do when the tasks are slow because their data are large?
# 4. Failures of real machines come in clusters: a rack, a switch, a bad release. Which way does that move the best
#    interval?
# 5. Your `pack_pods` never moves a pod. When is it worth evicting a small pod of low priority for a large one, and who
#    pays for its lost work?
#
# References:
#
# - R. L. Graham, "Bounds on multiprocessing timing anomalies", *SIAM Journal on Applied Mathematics*, 1969. The bound of
#   18.2; the anomalies show that a faster machine may make a job slower.
# - R. D. Blumofe and C. E. Leiserson, "Scheduling multithreaded computations by work stealing", *Journal of the ACM*,
#   1999. The proof behind 18.3.
# - J. Dean and S. Ghemawat, "MapReduce: simplified data processing on large clusters", *OSDI*, 2004. Backup tasks, in
#   section 3.6.
# - M. Zaharia, A. Konwinski, A. D. Joseph, R. Katz and I. Stoica, "Improving MapReduce performance in heterogeneous
#   environments", *OSDI*, 2008. Which tasks to copy when machines differ.
# - J. W. Young, "A first order approximation to the optimum checkpoint interval", *Communications of the ACM*, 1974, and
#   J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", *Future Generation
#   Computer Systems*, 2006.
# - C. Mohan, D. Haderle, B. Lindsay, H. Pirahesh and P. Schwarz, "ARIES: a transaction recovery method supporting
#   fine-granularity locking and partial rollbacks using write-ahead logging", *ACM TODS*, 1992. What a log becomes in a
#   database.
# - C. Gray and D. Cheriton, "Leases: an efficient fault-tolerant mechanism for distributed file cache consistency",
#   *SOSP*, 1989; M. Burrows, "The Chubby lock service for loosely-coupled distributed systems", *OSDI*, 2006. Leases,
#   and sequencers, which are fencing tokens.
# - M. Li and others, "Scaling distributed machine learning with the parameter server", *OSDI*, 2014; Q. Ho and others,
#   "More effective distributed ML via a stale synchronous parallel parameter server", *NIPS*, 2013.
# - A. Verma and others, "Large-scale cluster management at Google with Borg", *EuroSys*, 2015. Where Kubernetes comes
#   from.
#
# At work: Dask or Ray for graphs of Python tasks, Slurm for whole nodes, Kubernetes for services and mixed clusters;
# `torch.distributed.checkpoint` for sharded, asynchronous checkpoints and `torchrun` to restart a job; etcd or
# ZooKeeper for leases, never one of your own.
