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
# # 14 · Accelerators
#
# **What you will be able to do.** Say beforehand whether a computation waits for memory or for arithmetic, and draw the
# roofline of any machine. Cut a matrix product and a normalisation into tiles, and count every byte that they move.
# Train with half the bits and lose no gradient. Store weights in 8 or 4 bits with a known error, and multiply them
# without converting all of them back to floats. Follow numbers through the array of a TPU, and write a kernel for a GPU
# in Triton.
#
# **You need** softmax and online sums (module 03), the gradients of a network (module 08), NumPy, and a little of how
# floating-point numbers are stored. You need no GPU. Where there is one, the figures use it.
#
# **Skills it trains**: counting what a computation costs, floating-point reasoning, summaries that merge, index
# arithmetic that is right at the borders, unbiased estimates.
#
# **Time**: about four and a half hours: two hours and 40 minutes for eight exercises and a bug to find, 75 minutes for
# reading and for the figures, and 35 minutes for two extra exercises, whose points do not count. The written answer is
# not counted. Take a break after 14.6. Each exercise says how important it is (essential, important, optional), its
# level, which is also its points, and its minutes.
#
# **Symbols**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $F$ | `flops` | | operations of a computation: additions and multiplications, each counts 1 |
# | $Q$ | `moved` | | bytes that it moves between slow memory and the chip, in both directions |
# | $\pi$ | `peak` | | operations that the chip can do in a second, at best |
# | $\beta$ | `bandwidth` | | bytes that cross between slow memory and the chip in a second, at best |
# | $I = F / Q$ | | | **arithmetic intensity**: operations for each byte moved |
# | $A$, $B$, $C$ | `A`, `B`, `C` | $(m, k)$, $(k, n)$, $(m, n)$ | a matrix product $C = A B$ |
# | $t$ | `tile` | | side of a tile; in 14.10 `t` is the number of the cycle |
# | $x$, $\mu$, $\sigma^2$ | `x` | $(d,)$ | a row of $d$ numbers, its mean and its variance |
# | $W$, $w$ | `W`, `w` | | the weights of a layer; one of them |
# | $b$ | `bits` | | bits of one code |
# | $q$, $s$ | `codes`, `scales` | as $w$; one for each channel | integers that stand for weights, and the size of one step: $w \approx s q$. In 14.5 $s$ is `scale`, the factor of the loss |
# | $J$, $\eta$ | `lr` | | the loss, and the learning rate |
#
# In other modules $F$ and $B$ count filters and rows, $\pi$ is 3.14, and $b$ is a bias.

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    from lsml_utils import checking, datasets, demo_size, device, engines, plotting, scaling
    from lsml_utils.checking import check, expect_close, expect_dtype, expect_raises, expect_unchanged
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import contextlib
import importlib
import math
import os
from collections.abc import Callable
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import torch
from threadpoolctl import threadpool_limits

plotting.use()
threadpool_limits(1)  # one core for everybody: the comparisons below are of algorithms
torch.set_num_threads(1)
checking.start("14_accelerators", total=11)
GPU = device.best().startswith("cuda")
if GPU:
    torch.cuda.set_device(torch.empty(0, device=device.best()).device)
else:
    os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton then runs its kernels on the CPU, number by number


class SlowMemory:
    """Matrices far away from the chip: what is moved is counted, in numbers (`loaded`, `stored`) and in calls.

    matrices: by name. No block may have more than `most` numbers along an axis.
    """

    def __init__(self, most: int, **matrices: np.ndarray):
        self.most, self.matrices = most, matrices
        self.loaded = self.stored = self.calls = 0

    def load(self, name: str, i: int, j: int, h: int, w: int) -> np.ndarray:
        """A copy of the h rows and w columns of a matrix that begin at row i and column j."""
        self._look(name, i, j, h, w)
        self.loaded += h * w
        return self.matrices[name][i : i + h, j : j + w].copy()

    def store(self, name: str, i: int, j: int, block: np.ndarray) -> None:
        """Write a block into a matrix, its first entry at row i and column j."""
        if np.ndim(block) != 2:
            raise ValueError(f"a block has two axes, and this array has {np.ndim(block)}")
        self._look(name, i, j, *np.shape(block))
        self.stored += np.size(block)
        self.matrices[name][i : i + len(block), j : j + len(block[0])] = block

    def _look(self, name, i, j, h, w):
        rows, columns = self.matrices[name].shape
        if not (0 < h <= self.most and 0 < w <= self.most):
            raise ValueError(f"a block of {h} by {w} does not fit on the chip: at most {self.most} by {self.most}")
        if not (0 <= i <= rows - h and 0 <= j <= columns - w):
            raise ValueError(f"rows {i} to {i + h - 1}, columns {j} to {j + w - 1} lie outside {name} {rows, columns}")
        self.calls += 1


def best_seconds(run: Callable, device_name: str = "cpu", runs: int = 3) -> float:
    """The shortest of several runs, after one that warms up."""
    run()
    found = []
    for _ in range(runs):
        with device.timer(device_name) as took:
            run()
        found.append(took.seconds)
    return min(found)


# triton.language, once a kernel is launched; until then names for its annotations
tl = sys.modules.get("triton.language") or SimpleNamespace(tensor="tl.tensor", constexpr="tl.constexpr")


class jit:
    """`@triton.jit`, but Triton is imported when the kernel is launched first: all else runs without it."""

    def __init__(self, function: Callable):
        self.function, self.kernel, self.__doc__ = function, None, function.__doc__

    def __getitem__(self, grid):
        if "NotImplementedError" in self.function.__code__.co_names:
            return self.function  # no answer yet: say so
        if self.kernel is None:
            globals()["tl"] = importlib.import_module("triton.language")
            self.kernel = importlib.import_module("triton").jit(self.function)
        return self.kernel[grid]

    def __call__(self, *args, **kwargs):
        raise TypeError("a kernel is launched on a grid: kernel[(runs,)](...)")


# %% [markdown]
# ## Derive
#
# ### Two clocks
#
# A chip adds and multiplies. The numbers come from a memory that is outside the chip, and results go back there. So
# each computation runs against two clocks: $F / \pi$ seconds of arithmetic, and $Q / \beta$ seconds of movement. A good
# program overlaps them, and then the slower clock decides:
#
# $$\text{seconds} \ge \max\left(\frac{F}{\pi}, \frac{Q}{\beta}\right), \qquad
# \text{attainable FLOP/s} = \frac{F}{\text{seconds}} \le \min\left(\pi,\ \beta I\right), \quad I = \frac FQ .$$
#
# On logarithmic axes, with $I$ to the right, this bound is a line that rises and then turns flat: the **roofline**. It
# turns at the **ridge** $I = \pi / \beta$. Left of it a computation waits for memory, right of it for arithmetic.
#
# Where is the ridge? A data sheet tells. (These are dense products; SXM is the form that is mounted in servers.)
#
# | chip, year | peak, operations per second | bandwidth, bytes per second | ridge |
# | --- | --- | --- | --- |
# | NVIDIA A100 80 GB (SXM), 2020 | $312 \cdot 10^{12}$ in bfloat16 | $2.04 \cdot 10^{12}$ | 153 operations for each byte |
# | NVIDIA H100 80 GB (SXM), 2022 | $989 \cdot 10^{12}$ in bfloat16 | $3.35 \cdot 10^{12}$ | 295 |
# | your machine | the cells below measure it, in float32 | | |
#
# Adding two vectors of float32 takes one operation for 12 bytes: $I = 1/12$. On an H100 it can use at most one part in
# 3,500 of the arithmetic in the table. No faster chip helps. What helps is to move less, and this module is about four
# ways to do it: use each number again while it is on the chip (14.2), do several steps in one pass (14.3), make numbers
# smaller (14.4 to 14.9), and pass them from neighbour to neighbour without going back to memory (14.10).
#
# ### Where tutorials disagree
#
# | question | versions | here |
# | --- | --- | --- |
# | What is a FLOP? | a multiplication with its addition counts 1 (a "MAC"), or 2 | 2, as on data sheets. $C = AB$ takes $2mkn$ |
# | What is moved? | numbers, or bytes | bytes in the roofline; numbers ("words") where algorithms are compared, and it is said |
# | Largest code of $b$ bits | $2^{b-1}$, $2^{b-1} - 1$, or $2^b$ | $2^{b-1} - 1$, so that the codes are symmetric: 127 for 8 bits |
# | Has a quantiser an offset? | $w \approx s q$ (symmetric), or $s (q - z)$ with a zero point $z$ | none: sums of products stay sums of products. For numbers that are never negative, such as the output of a ReLU, an offset would save one bit |

# %% [markdown]
# ## Implement
#
# ### 14.1 `roofline` · essential · level 1 of 4 · 5 min
#
# Turn the formula into code, with the answer to the question that everybody asks first: what does it wait for?


# %% exercise="roofline" points=1 minutes=5 trains=["counting what a computation costs"]
def roofline(flops: float, moved: float, peak: float, bandwidth: float) -> tuple[float, str]:
    """The most FLOP/s that a computation can reach, and what it waits for.

    flops: its operations, > 0; moved: the bytes that it moves, >= 0 (0: all stays on the chip).
    peak: of the chip, in FLOP/s, > 0; bandwidth: in bytes per second, > 0. All are Python floats or
    ints, and those that are not 0 lie between 1e-100 and 1e100.

    Returns (FLOP/s as a Python float, "memory" or "compute"). At the ridge itself, where both
    clocks take the same time, it is "compute". (Within a relative 1e-12 of the ridge either word
    will do, unless all four numbers are powers of two.) Speeds are right to a relative error of
    1e-12.
    """
    ### BEGIN SOLUTION
    if flops * bandwidth >= peak * moved:
        return float(peak), "compute"
    return flops / moved * bandwidth, "memory"
    ### END SOLUTION


# %% [markdown] hints="roofline"
# <details><summary>Hint 1: two times</summary>
#
# The arithmetic takes `flops / peak` seconds, the movement `moved / bandwidth`. Which is longer?
# </details>
# <details><summary>Hint 2: nearly the solution</summary>
#
# It waits for memory where `moved / bandwidth > flops / peak`. It can then reach `flops / moved * bandwidth`, otherwise
# `float(peak)`. Do not divide by `moved` before you know that it is not 0.
# </details>

# %% check="roofline"
with check("roofline"):
    slow = roofline(flops=10.0, moved=40.0, peak=100.0, bandwidth=8.0)  # 0.1 s of arithmetic, 5 s of movement
    expect_close(
        slow[0],
        2.0,  # 10 operations in 5 s
        hint="The slower clock decides.",
        mistakes={
            "You took the faster of the two clocks.": 100.0,
            "moved counts bytes, not numbers of four bytes.": 8.0,
            "You added the two times, and they overlap.": 10 / 5.1,
        },
    )
    assert slow[1] == "memory", "5 s of movement are longer than 0.1 s of arithmetic"
    expect_close(roofline(1000.0, 20.0, 100.0, 8.0)[0], 100.0, hint="Nothing is faster than the peak.")
    assert roofline(1000.0, 20.0, 100.0, 8.0)[1] == "compute"
    assert roofline(100.0, 8.0, 100.0, 8.0) == (100.0, "compute"), "at the ridge both take 1 s: compute"
    assert roofline(1.0, 0, 100.0, 8.0)[1] == "compute", "nothing is moved, so nothing waits for memory"

# %% [markdown]
# Now the roofline of *this* machine. The cell measures its bandwidth (a copy of an array that is larger than the usual
# caches: it reads and writes each byte) and its peak (a large matrix product), in float32 on one core, or on the GPU
# where there is one. Then it times three computations of torch on square matrices of side $n$: $x + y$ on matrices, a
# matrix times a vector, and a matrix times a matrix. Their intensities follow from counting: $n^2$ operations on
# $3 n^2$ numbers, $2n^2$ on $n^2 + 2n$, and $2n^3$ on $3n^2$. No dot should lie above the roof, except where the data
# fit into a cache and never come from slow memory. Small products lie far below it: they wait for a third thing, the
# start of a call. (A computation that only reads may lie above the roof, too, up to twice as high: the copy that was
# measured also writes. And $x + y$ pays for a new result array each time.)

# %% tags=["demo"]
chip = device.best()


def measured_peak(dtype, side: int, where: str) -> float:
    """FLOP/s of a product of two square matrices."""
    if dtype == torch.int8:
        a = torch.randint(-9, 10, (side, side), dtype=dtype, device=where)
        return 2 * side**3 / best_seconds(lambda: torch._int_mm(a, a.t()), where)  # the layout that GPUs want
    a = torch.randn(side, side, device=where).to(dtype)
    return 2 * side**3 / best_seconds(lambda: a @ a, where)


def measured_bandwidth(size: int, where: str, dtype=torch.float32) -> float:
    """Bytes that a copy of an array of so many bytes reads and writes in a second."""
    x = torch.zeros(size // torch.empty((), dtype=dtype).element_size(), dtype=dtype, device=where)
    y = torch.empty_like(x)
    return 2 * size / best_seconds(lambda: y.copy_(x), where, runs=7)


sides = [demo_size(full=n, small=n, gpu=8 * n) for n in (256, 512, 1024)]
here_peak = max(measured_peak(torch.float32, side, chip) for side in sides)
here_bandwidth = measured_bandwidth(demo_size(full=2**27, small=2**26, gpu=2**30), chip)
ridge = here_peak / here_bandwidth
print(f"{chip}: peak {here_peak:.2e} FLOP/s in float32, bandwidth {here_bandwidth:.2e} bytes/s, ridge at {ridge:.1f}")

dots = {"x + y": [], "matrix · vector": [], "matrix · matrix": []}
for side in [64, 256, demo_size(full=1024, small=512, gpu=4096), demo_size(full=4096, small=512, gpu=16384)]:
    x, y, v = (torch.randn(shape, device=chip) for shape in [(side, side), (side, side), (side,)])
    jobs = {
        "x + y": (lambda x=x, y=y: x + y, side**2, 12 * side**2),
        "matrix · vector": (lambda x=x, v=v: x @ v, 2 * side**2, 4 * (side**2 + 2 * side)),
        "matrix · matrix": (lambda x=x, y=y: x @ y, 2 * side**3, 12 * side**2),
    }
    for name, (job, flops, moved) in jobs.items():
        if flops < 1e11 or chip != "cpu":  # a product of side 4096 takes a CPU too long
            dots[name].append((flops / moved, flops / best_seconds(job, chip), side))

figure, ax = plt.subplots(figsize=(7.5, 4.5))
intensity = np.logspace(-2, 4, 200)
ax.plot(
    intensity, [roofline(i, 1.0, here_peak, here_bandwidth)[0] for i in intensity], color=plotting.INK, label="roof"
)
ax.axvline(ridge, color=plotting.MUTED, linewidth=1, linestyle=":")
for (name, found), marker, colour in zip(dots.items(), "os^", plotting.COLOURS, strict=False):
    for at, speed, side in found:
        ax.plot(at, speed, marker, color=colour, label=name if side == found[0][2] else None, linestyle="none")
ax.set(xscale="log", yscale="log", xlabel="operations for each byte moved", ylabel="FLOP/s")
ax.set_title(f"The roof of this machine ({chip}), and three computations")
ax.legend()
plt.show()
for name, found in dots.items():
    at, speed, side = found[-1]
    bound, waits = roofline(at, 1.0, here_peak, here_bandwidth)
    print(f"{name}, side {side}: waits for {waits}, reaches {speed / bound:.0%} of its roof")

# %% [markdown]
# The product of two matrices has the most operations for each byte, and only if each number is loaded once. Nothing
# guarantees that: with $C$ computed entry by entry, every entry loads a row of $A$ and a column of $B$ again. How does
# a product reach the flat part of the roof on a chip that holds only a few thousand numbers?
#
# ### 14.2 `tiled_matmul` · essential · level 3 of 4 · 25 min
#
# Cut $C$ into **tiles** of $t$ by $t$. To compute one of them, walk along $k$: load a tile of $A$ and one of $B$,
# multiply them, add to the tile of $C$, which stays on the chip until it is ready. Three tiles are on the chip, $3t^2$
# numbers. Each of the $\lceil n/t \rceil$ columns of tiles of $C$ loads all of $A$ once, and each of the
# $\lceil m/t \rceil$ rows loads all of $B$ once:
#
# $$\text{words loaded} = m k \left\lceil \frac nt \right\rceil + k n \left\lceil \frac mt \right\rceil
# \approx \frac{2mkn}{t}, \qquad \text{words stored} = mn .$$
#
# Entry by entry ($t = 1$) it is $2mkn$: one operation for each word. A tile of side $t$ loads $t$ times less, so the
# intensity grows in proportion to $t$: with words of 4 bytes (float32) and $m = k = n$ much larger than $t$,
# $I \approx t / 4$. A chip whose ridge is at 20 needs tiles of side 80. Can it be done with fewer words? Hong and Kung
# (1981) proved that the words grow at least in proportion to $mkn / \sqrt S$, in whatever order the operations are
# done, where the chip has room for $S$ numbers. The constant is known today: at least $2mkn / \sqrt S - 2S$ (Smith and
# others, 2017). With $S = 3t^2$ that is $1.15\, mkn / t$, so tiles are within a factor of 1.7 of the best. The rest can
# be had, too: a tile of $C$ that fills nearly all of the chip needs only a thin strip of $A$ and one of $B$ beside it.


# %% exercise="tiled_matmul" points=3 minutes=25 trains=["counting what a computation costs", "index arithmetic that is right at the borders"]
def tiled_matmul(
    load: Callable[[str, int, int, int, int], np.ndarray],
    store: Callable[[int, int, np.ndarray], None],
    m: int,
    k: int,
    n: int,
    tile: int,
) -> None:
    """Compute C = A B by tiles, with A (m, k) and B (k, n) in slow memory.

    load("A", i, j, h, w) gives a new float64 array (h, w): the h rows and w columns of A that begin
    at row i and column j; load("B", ...) the same of B. store(i, j, block) copies a float64 array
    (h, w) into C.
    For both, h and w are from 1 to tile, and a block that is larger or lies outside is refused. All
    of i, j, h and w are ints, passed by position.

    What the function may cost:
    - The chip holds one block of A, one of B and one of C at a time, and no other numbers. (The
      product that is being added to the block of C is not counted.)
    - It loads at most m k ceil(n / tile) + k n ceil(m / tile) numbers. It need not load a block
      again that is still the last one of its matrix; more savings than that mean that more blocks
      were kept.
    - It calls load at most 2 ceil(m / tile) ceil(k / tile) ceil(n / tile) times.
    - It stores each entry of C exactly once, in ceil(m / tile) ceil(n / tile) calls, in any order.

    m, k, n and tile are >= 1; tile need not divide anything, and may be larger than all of m, k
    and n. Returns None.
    """
    ### BEGIN SOLUTION
    for i in range(0, m, tile):
        h = min(tile, m - i)
        for j in range(0, n, tile):
            w = min(tile, n - j)
            block = np.zeros((h, w))
            for p in range(0, k, tile):
                depth = min(tile, k - p)
                block += load("A", i, p, h, depth) @ load("B", p, j, depth, w)
            store(i, j, block)
    ### END SOLUTION


# %% [markdown] hints="tiled_matmul"
# <details><summary>Hint 1: three loops</summary>
#
# The two outer loops go over the tiles of C, the inner one over the tiles along k. What is loaded before the inner
# loop, inside it, and what is stored after it?
# </details>
# <details><summary>Hint 2: ragged edges</summary>
#
# `range(0, m, tile)` gives the first rows. The last tile may be smaller: its height is `min(tile, m - i)`. Along `k`
# the same.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# For each `(i, j)`: `block = np.zeros((h, w))`, then for each `p` with `depth = min(tile, k - p)`:
# `block += load("A", i, p, h, depth) @ load("B", p, j, depth, w)`, and after the loop `store(i, j, block)`.
# </details>

# %% check="tiled_matmul"
A, B = np.arange(25.0).reshape(5, 5) % 7, np.arange(40.0).reshape(5, 8) % 3
memory = SlowMemory(2, A=A, B=B, C=np.full((5, 8), np.nan))
with check("tiled_matmul"):
    got = tiled_matmul(memory.load, lambda i, j, block: memory.store("C", i, j, block), 5, 5, 8, 2)
    expect_close(
        memory.matrices["C"],
        A @ B,
        hint="Add up over the tiles along k, and store at the end.",
        mistakes={
            "Only the last tile along k is in it.": A[:, 4:] @ B[4:],
            "The last, smaller tile along k is missing.": A[:, :4] @ B[:4],
        },
    )
    expect_close(
        memory.stored, 40, hint="Each of the 5 · 8 entries of C is stored once: keep a tile until it is ready."
    )
    full = 5 * 5 * 4 + 5 * 8 * 3  # A for each of 4 columns of tiles, B for each of 3 rows of tiles
    assert memory.loaded <= full, f"{memory.loaded} numbers were loaded, {full} suffice: is a tile loaded again inside?"
    # From one of the 12 tiles of C to the next, one block of 4 numbers can be used again.
    assert memory.loaded >= full - 11 * 4, f"only {memory.loaded} numbers were loaded: more than three blocks were kept"
    assert memory.calls <= 2 * 3 * 3 * 4 + 12, "load a block in one call, and store it in one"
    assert got is None, "the result goes out by store, and None is returned"

# %% [markdown]
# What does a tile buy? The figure counts the words of your own function, for a product of square matrices, against the
# side of the tile. They lie on $2n^3/t + n^2$ (or a little below, if your function uses a block again), and the line
# below is the bound that no program can beat. The right panel turns words into speed: the intensity of each tile under
# the roof of this machine, in float32, for a chip that holds just three tiles.

# %% tags=["demo"]
side = demo_size(full=96, small=24)
draw = np.random.default_rng(0)
A, B = draw.standard_normal((2, side, side))
tiles = [t for t in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 96) if side % t == 0 and (side / t) ** 3 <= 40_000]
words = []
for t in tiles:
    memory = SlowMemory(t, A=A, B=B, C=np.zeros((side, side)))
    tiled_matmul(memory.load, lambda i, j, block, to=memory: to.store("C", i, j, block), side, side, side, t)
    words.append(memory.loaded + memory.stored)
    assert np.allclose(memory.matrices["C"], A @ B)
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2))
smooth = np.linspace(tiles[0], tiles[-1], 100)
bound = np.maximum(2 * side**3 / np.sqrt(3 * smooth**2) - 6 * smooth**2, 3 * side**2)
left.plot(tiles, words, "o", label="counted, your function")
left.plot(smooth, 2 * side**3 / smooth + side**2, label="$2n^3/t + n^2$")
left.plot(smooth, bound, label="no program moves less")
left.set(xscale="log", yscale="log", xlabel="side of the tile", ylabel="numbers moved")
left.set_title(f"A product of side {side}: words against tile")
left.legend()
intensity = 2 * side**3 / (4 * np.array(words))
large = np.geomspace(1, 1024, 100)
right.plot(
    large,
    [roofline(2 / (4 * (2 / t + 1 / 4096)), 1.0, here_peak, here_bandwidth)[0] for t in large],
    color=plotting.COLOURS[1],
    label="attainable for n = 4096, by the formula",
)
speeds = [roofline(i, 1.0, here_peak, here_bandwidth)[0] for i in intensity]
right.plot(tiles, speeds, "o", label=f"for n = {side}, from the counted words")
right.axhline(here_peak, color=plotting.MUTED, linestyle="--", label="peak")
right.set(xscale="log", yscale="log", xlabel="side of the tile", ylabel="FLOP/s")
right.set_title("What the roof of this machine allows")
right.legend()
plt.show()

# %% [markdown]
# **How to read it.** While $2n^3/t$ is much larger than $n^2$, the words fall with slope $-1$: twice the side, half the
# words. No program that keeps as much on the chip moves less than the lower line: for small tiles your dots are a
# factor of about 1.7 above it. Where the line is flat, another bound rules: $A$ and $B$ must come once and $C$ must
# leave once, $3n^2$ numbers. With a single tile the product reaches it. A tile is useful until its intensity reaches
# the ridge; beyond it the product waits for arithmetic, and larger tiles buy nothing. Real chips have several levels,
# and libraries cut tiles for each of them. On a GPU a block of threads keeps its tiles in **shared memory**, a few
# hundred kilobytes beside the arithmetic units, and each thread keeps a smaller tile of $C$ in its registers.
#
# Tiles help a product, which uses each number many times. A normalisation uses each number only two or three times. How
# few passes can it make?
#
# ### 14.3 `fused_layernorm` · essential · level 2 of 4 · 20 min
#
# Layer normalisation takes each row $x$ of $d$ numbers and returns
#
# $$y_j = \frac{x_j - \mu}{\sqrt{\sigma^2 + \varepsilon}}, \qquad \mu = \frac1d \sum_j x_j, \qquad
# \sigma^2 = \frac1d \sum_j (x_j - \mu)^2 ,$$
#
# the biased variance, as in torch. (A gain and a bias for each column may follow; they need no further pass.) Written
# line by line it makes three passes over slow memory: read for $\mu$; read for $\sigma^2$; read and write for $y$. That
# is 4 words moved for each number. A **kernel** is a program that the chip runs from the loading of its numbers to the
# storing of its results. One that does several of these steps while a number is on the chip is called **fused**. Can
# the first two passes be one?
#
# The shorter formula is $\sigma^2 = \overline{x^2} - \mu^2$. It needs one pass and loses all its digits: if the mean
# is $10^6$ and the deviation 1, both terms are near $10^{12}$ and their difference is 1. Float32 has 7 digits, so
# nothing is left. Merge instead (module 00): two groups of $n_a$ and $n_b$ numbers, with means $\mu_a$, $\mu_b$ and
# sums of squared deviations $S_a$, $S_b$, have together
#
# $$\mu = \mu_a + \delta\, \frac{n_b}{n_a + n_b}, \qquad S = S_a + S_b + \delta^2\, \frac{n_a n_b}{n_a + n_b},
# \qquad \delta = \mu_b - \mu_a .$$
#
# No large numbers are subtracted except the means, whose difference is wanted. Block by block this takes one pass, for
# a row of any width on a chip of any size. A second pass normalises. FlashAttention makes softmax one pass in the same
# way (module 12).


# %% exercise="fused_layernorm" points=2 minutes=20 trains=["counting what a computation costs", "summaries that merge"]
def fused_layernorm(
    load: Callable[[int, int, int], np.ndarray],
    store: Callable[[int, int, np.ndarray], None],
    rows: int,
    width: int,
    block: int,
    eps: float,
) -> None:
    """Normalise each row of a matrix in slow memory: (x - mean) / sqrt(variance + eps).

    load(i, j, h) gives a new float32 array (h,): h numbers of row i that begin at column j;
    store(i, j, values) copies a float32 array (h,) into row i of the result, from column j on.
    For both, h is from 1 to block, and what lies outside is refused. All of i, j and h are ints,
    passed by position. rows, width and block are >= 1; eps > 0. block need not divide width.

    What the function may cost:
    - The chip holds one block at a time, besides a few single numbers. Compute with those in
      float64: numbers that stay on the chip cost no movement.
    - It loads at most 2 rows width numbers, and it may use the block that it loaded last again. It
      calls load at most 2 rows ceil(width / block) times.
    - It stores each number exactly once, in rows ceil(width / block) calls.

    The variance is the biased one: the mean of the squared deviations. Each result y is right to
    1e-5 max(1, |y|), also where the mean is 10^6 times the deviation. Numbers are 0 or between
    1e-30 and 1e30 in size. Returns None.
    """
    ### BEGIN SOLUTION
    for i in range(rows):
        mean = squares = 0.0
        for j in range(0, width, block):
            x = load(i, j, min(block, width - j)).astype(np.float64)
            delta, seen = x.mean() - mean, j + len(x)
            squares += ((x - x.mean()) ** 2).sum() + delta**2 * j * len(x) / seen
            mean += delta * len(x) / seen
        factor = 1 / math.sqrt(squares / width + eps)
        for j in range(0, width, block):
            x = load(i, j, min(block, width - j)).astype(np.float64)
            store(i, j, ((x - mean) * factor).astype(np.float32))
    ### END SOLUTION


# %% [markdown] hints="fused_layernorm"
# <details><summary>Hint 1: two passes over a row</summary>
#
# The first pass keeps three numbers: how many it has seen, their mean, and their sum of squared deviations. The second
# one loads each block again, and writes it.
# </details>
# <details><summary>Hint 2: merge a block</summary>
#
# A block has `x.mean()` and `((x - x.mean()) ** 2).sum()`, in float64. It is group b of the formula; what came before
# it is group a, with `j` numbers. At the first block `j` is 0, and the formula still holds.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# With `seen = j + len(x)` and `delta = x.mean() - mean`:
# `squares += ((x - x.mean()) ** 2).sum() + delta**2 * j * len(x) / seen`, then `mean += delta * len(x) / seen`. In both
# passes begin with `x = load(...).astype(np.float64)`: in float32 a mean near $10^6$ is rounded to multiples of 1/16.
# After the pass `factor = 1 / math.sqrt(squares / width + eps)`.
# </details>

# %% check="fused_layernorm"
X = np.array([[1.0, 2.0, 3.0, 6.0, 8.0], [1e6 - 2.0625, 1e6 - 1, 1e6, 1e6 + 1, 1e6 + 2.5]], np.float32)
memory = SlowMemory(2, X=X, Y=np.full((2, 5), np.nan, np.float32))
kinds = set()


def load_row(i, j, h):
    return memory.load("X", i, j, 1, h)[0]


def store_row(i, j, values):
    kinds.add(np.asarray(values).dtype)
    memory.store("Y", i, j, np.reshape(values, (1, -1)))


with check("fused_layernorm"):
    got = fused_layernorm(load_row, store_row, 2, 5, 2, 0.25)
    deviations = np.array([-3.0, -2.0, -1.0, 2.0, 4.0])  # mean 4; their squares sum to 34
    expect_close(
        memory.matrices["Y"][0],
        deviations / np.sqrt(34 / 5 + 0.25),
        rtol=1e-5,
        hint="Merge the blocks: means and sums of squares.",
        mistakes={
            "You divided by d - 1: the variance is the biased one.": deviations / np.sqrt(34 / 4 + 0.25),
            "You added eps outside the root.": deviations / (np.sqrt(34 / 5) + 0.25),
        },
    )
    deviations = np.array([-2.15, -1.0875, -0.0875, 0.9125, 2.4125])  # the mean is 10^6 + 0.0875
    spread = np.sqrt((deviations**2).sum() / 5 + 0.25)
    expect_close(
        memory.matrices["Y"][1],
        deviations / spread,
        rtol=0,
        atol=1.4e-5,
        hint="Near 10^6 neither squares nor float32 keep the digits: merge in float64.",
        mistakes={"The mean was rounded to float32, to 10^6 + 0.0625.": (deviations + 0.025) / spread},
    )
    assert memory.loaded <= 20, f"{memory.loaded} numbers were loaded, 2 · 10 suffice"
    assert memory.loaded >= 20 - 2 * 2, f"{memory.loaded} numbers were loaded: more than one block was kept"
    assert memory.stored == 10, f"{memory.stored} numbers were stored, and there are 10 of them"
    assert kinds == {np.dtype(np.float32)}, "store gets float32"
    assert memory.calls <= 3 * 2 * 3, "load and store whole blocks"
    assert got is None, "the result goes out by store, and None is returned"

# %% [markdown]
# The figure shows the error of $y$ when a constant is added to normal numbers, for three ways to the variance. The data
# are rounded to float32 first, so all three see the same numbers. The line below it counts the words that your function
# moves.

# %% tags=["demo"]
width = demo_size(full=4096, small=512)


def normalised(X, block, eps=1e-5):
    """Your function on an array, and how many words it moved."""
    memory = SlowMemory(block, X=X, Y=np.empty_like(X))
    fused_layernorm(
        lambda i, j, h: memory.load("X", i, j, 1, h)[0],
        lambda i, j, values: memory.store("Y", i, j, np.reshape(values, (1, -1))),
        *X.shape,
        block,
        eps,
    )
    return memory.matrices["Y"], memory.loaded + memory.stored


offsets = 10.0 ** np.arange(0, 7)
noise = np.random.default_rng(1).standard_normal(width)
errors = {"your function": [], "mean of squares − square of the mean, float32": [], "the same in float64": []}
for offset in offsets:
    x = (offset + noise).astype(np.float32)
    exact = (x - x.mean(dtype=np.longdouble)) / np.sqrt(x.var(dtype=np.longdouble) + 1e-5)
    for name in errors:
        kind = np.float32 if "float32" in name else np.float64
        if name == "your function":
            y = normalised(x[None], 256)[0][0]
        else:
            z = x.astype(kind)
            variance = max(float((z * z).mean() - z.mean() ** 2), 0.0)
            y = (z - z.mean()) / np.sqrt(kind(variance + 1e-5))
        errors[name].append(float(np.abs(y - exact).max()) + 1e-12)
figure, ax = plt.subplots(figsize=(7, 4.2))
plotting.curves(
    {name: (offsets, found) for name, found in errors.items()},
    xlabel="constant that is added",
    ylabel="largest error of y",
    title="Subtracting squares loses the variance",
    logx=True,
    logy=True,
    ax=ax,
)
plotting.legend_below(ax, columns=1)
plt.show()
X = np.random.default_rng(2).standard_normal((2, width)).astype(np.float32)
blocks = [width // 16, width // 4, width]
moved = [normalised(X, block)[1] / X.size for block in blocks]
print(
    f"words moved for each number, rows of {width}: three passes 4, your function",
    ", ".join(f"{m:.2f} (block {b})" for m, b in zip(moved, blocks, strict=True)),
)

# %% [markdown]
# **How to read it.** (Where rounding makes the difference of squares negative, it counts as 0.) With squares of large
# numbers the error grows with the square of the constant. In float32 nothing is left at $10^4$; float64 only moves the
# failure to larger constants. Merged blocks keep their digits. (Your function's own error, near $10^{-7}$, is the
# rounding of the result to float32.) The fused form moves 3 words where three passes move 4. Where a whole row fits
# into one block, it could be 2: load, normalise, store. A function that keeps its last block does that.
#
# Passes cannot be saved any further: each number must be read once and written once. What is left to save is its size.
#
# ### 14.4 `to_bfloat16` · important · level 2 of 4 · 20 min
#
# A float32 has 1 bit of sign, 8 of exponent and 23 of fraction. **bfloat16** is its upper half: 1, 8 and 7. It has the
# same range, from $10^{-38}$ to $3 \cdot 10^{38}$, and two to three decimal digits. (Smaller numbers are **subnormal**:
# they give up digits, one by one, to come closer to 0.) It moves half the bytes, and matrix units multiply it several
# times as fast as float32. (**float16** has 5 bits of exponent and 10 of fraction: almost a digit more, and a range
# from $6 \cdot 10^{-5}$ to 65,504, with subnormal numbers down to $6 \cdot 10^{-8}$. 14.5 is about that range.)
#
# To convert, the lower 16 bits of a float32 must go. Read its bits as an integer (`x.view(np.uint32)`). For positive
# numbers, the next larger bfloat16 has an upper half that is larger by 1, also across powers of two, and the one after
# the largest is infinity. So rounding is addition of integers, and a carry does the rest:
#
# - **To nearest, ties to even**: add `0x7FFF`, and 1 more where the upper half is odd; then clear the lower half. Below
#   the middle (`0x8000`) there is no carry, above it there is one, and at the middle there is one only from an odd
#   upper half.
# - **Stochastic**: add a random integer from 0 to `0xFFFF`, then clear. A number whose lower half is $l$ goes up with
#   probability $l / 2^{16}$, so the expectation of the result is the number itself: the rounding is **unbiased**.
#
# NaN must be taken care of: an addition may turn its bits into something else.


# %% exercise="to_bfloat16" points=2 minutes=20 forbids=["torch", "ml_dtypes", "struct"] trains=["floating-point reasoning", "unbiased estimates"]
def to_bfloat16(x: np.ndarray, mode: str = "nearest", seed: int = 0) -> np.ndarray:
    """Round each number to bfloat16, and return the rounded numbers as float32.

    x: float32, any shape (also empty, also 0-d), any values, in any memory layout; not modified.
    mode "nearest": to the nearest bfloat16, ties to the one whose last bit is 0. What is 2^128 -
    2^119 or more in size (the middle between the largest bfloat16 and 2^128) becomes infinity.
    mode "stochastic": to one of the two bfloat16 between which the number lies, up or down at
    random, such that the expectation is the number itself; 2^128 counts as the bfloat16 above the
    largest one, and it appears as infinity. A number that is a bfloat16 stays. All numbers draw
    independently. The same x and seed (0 <= seed < 2^63) give the same result; other seeds give
    unrelated draws. NumPy's global random state is neither used nor changed.
    In both modes subnormal numbers are rounded like others, the sign of a zero stays, infinities
    stay, and NaN becomes NaN (with any bits).

    Returns a new float32 array of the shape of x. Raises ValueError for another mode.
    A loop over the numbers is too slow: 10^7 of them must take under six seconds. Not allowed:
    torch, ml_dtypes, struct.
    """
    ### BEGIN SOLUTION
    x, shape = np.atleast_1d(x), x.shape
    bits = x.view(np.uint32)
    if mode == "nearest":
        extra = ((bits >> 16) & 1) + np.uint32(0x7FFF)
    elif mode == "stochastic":
        extra = np.random.default_rng(seed).integers(0, 2**16, x.shape, dtype=np.uint32)
    else:
        raise ValueError(f"mode {mode!r} is neither 'nearest' nor 'stochastic'")
    rounded = ((bits + extra) & np.uint32(0xFFFF0000)).view(np.float32)
    rounded[np.isnan(x)] = np.nan
    return rounded.reshape(shape)
    ### END SOLUTION


# %% [markdown] hints="to_bfloat16"
# <details><summary>Hint 1: bits and back</summary>
#
# `bits = x.view(np.uint32)` reads the same bytes as integers, and `.view(np.float32)` reads integers as floats. `bits &
# np.uint32(0xFFFF0000)` clears the lower half. That alone cuts off: it rounds towards zero.
# </details>
# <details><summary>Hint 2: what to add before</summary>
#
# To nearest: `np.uint32(0x7FFF) + ((bits >> 16) & 1)`. Stochastic: `rng.integers(0, 2**16, x.shape, dtype=np.uint32)`
# with `rng = np.random.default_rng(seed)`.
# </details>
# <details><summary>Hint 3: NaN and infinity</summary>
#
# Infinity has a lower half of zeros, so nothing that is added carries. A NaN may have any lower half: put NaN
# back where `np.isnan(x)`.
# </details>

# %% check="to_bfloat16"
one = 2.0**-7  # the distance between neighbouring bfloat16 from 1 to 2
x = np.array([1 + one / 4, 1 + one / 2, 1 + 3 * one / 2, 1 + 0.51 * one, -(1 + 3 * one / 4)], np.float32)
with check("to_bfloat16", forbids=["torch", "ml_dtypes", "struct"]):
    with expect_unchanged(x=x):
        got = to_bfloat16(x)
    expect_dtype(got, np.float32)
    expect_close(
        got,
        np.array([1, 1, 1 + 2 * one, 1 + one, -(1 + one)]),  # the second and the third are ties: to the even one
        rtol=0,
        atol=0,
        mistakes={
            "The lower half is cut off, not rounded.": np.array([1, 1, 1 + one, 1, -1.0]),
            "Ties go up, whatever the last bit.": np.array([1, 1 + one, 1 + 2 * one, 1 + one, -(1 + one)]),
            "Ties go to the odd one.": np.array([1, 1 + one, 1 + one, 1 + one, -(1 + one)]),
        },
    )
    special = to_bfloat16(np.array([np.nan, np.inf, -np.inf, 3.4e38, -0.0], np.float32))
    assert np.isnan(special[0]) and np.signbit(special[4]), "NaN stays NaN, and -0.0 stays -0.0"
    expect_close(
        special[1:4], np.array([np.inf, -np.inf, np.inf]), hint="3.4e38 is nearer to 2^128 than to 2^128 - 2^120."
    )
    nan = np.array([0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF], np.uint32).view(np.float32)
    assert np.isnan(to_bfloat16(nan)).all(), "every NaN stays NaN, whatever its bits"
    many = np.full(4000, 1 + one / 4, np.float32)
    drawn = to_bfloat16(many, "stochastic", seed=1)
    assert set(drawn.tolist()) <= {1.0, 1.0 + one}, "each goes to one of its two neighbours"
    up = float(np.mean(drawn > 1))  # a quarter, with a standard error of 0.007
    assert 0.2 < up < 0.3, f"{up:.0%} of the numbers went up, where 25 % are due"
    expect_close(to_bfloat16(many, "stochastic", seed=1), drawn, hint="The same seed gives the same result.")
    assert (to_bfloat16(many, "stochastic", seed=2) != drawn).any(), "another seed gives another result"
    assert np.isnan(to_bfloat16(nan, "stochastic")).all(), "every NaN stays NaN"
    with expect_raises(ValueError):
        to_bfloat16(x, "up")

# %% [markdown]
# Why would anybody round at random? The steps of training are small. A weight near 1 has bfloat16 neighbours at
# distance $2^{-7}$, or $2^{-8}$ below 1. A step that is smaller than half of that is rounded away each time, and the
# weight never moves. With stochastic rounding it moves rarely, and by the right amount on average. The figure makes
# 4,000 steps of $2^{-12}$ on a weight that is kept in bfloat16.

# %% tags=["demo"]
steps, step = 4000, np.float32(2.0**-12)
nearest, runs = np.ones(1, np.float32), np.ones(20, np.float32)
seen = {"nearest": [1.0], "stochastic": [runs]}
for k in range(steps):
    nearest = to_bfloat16(nearest + step)
    runs = to_bfloat16(runs + step, "stochastic", seed=k)
    seen["nearest"].append(float(nearest[0]))
    seen["stochastic"].append(runs)
paths = np.array(seen["stochastic"])
figure, ax = plt.subplots(figsize=(7, 4))
ax.plot(paths[:, :8], color=plotting.COLOURS[1], linewidth=0.7, alpha=0.6, linestyle="-")
ax.plot(1 + float(step) * np.arange(steps + 1), color=plotting.INK, linestyle="--", label="exact sum")
ax.plot(
    paths.mean(axis=1), color=plotting.COLOURS[1], linestyle="-", label="stochastic: mean of 20 runs, and 8 of them"
)
ax.plot(seen["nearest"], color=plotting.COLOURS[0], label="to nearest: never moves")
ax.set(xlabel="step", ylabel="weight, kept in bfloat16", title="4,000 steps of $2^{-12}$: small steps are lost, or not")
ax.legend()
plt.show()
print(f"after {steps} steps: exact {1 + steps * float(step):.4f}, to nearest {seen['nearest'][-1]:.4f}, ", end="")
print(f"stochastic {paths[-1].mean():.4f} ± {paths[-1].std(ddof=1) / np.sqrt(20):.4f} (standard error)")

# %% [markdown]
# The usual remedy is another one: keep a float32 copy of the weights (**master weights**), and round only what enters
# the matrix products. It costs four more bytes for each weight. Stochastic rounding does without them. bfloat16 keeps
# the range of float32. What goes wrong in a format that does not?
#
# ### 14.5 `LossScaler` · essential · level 2 of 4 · 15 min
#
# The smallest positive float16 is $2^{-24} \approx 6 \cdot 10^{-8}$, and half of it and less becomes 0. Gradients of a
# trained network are often smaller. The cure needs one multiplication: gradients are linear in the loss, so the
# gradients of $s J$ are $s$ times as large. Multiply the loss by a **scale** $s$ before the backward pass, and divide
# the gradients by $s$ in float32 after it.
#
# How large should $s$ be? As large as it can without overflow: beyond 65,504 float16 has only infinity. So try: start
# large. If a gradient is inf or nan, skip this step of training and make $s$ smaller. If `interval` steps in a row were
# good, make it larger. A power of two changes only the exponent, so nothing is rounded while nothing is subnormal.


# %% exercise="LossScaler" points=2 minutes=15 forbids=["torch"] trains=["floating-point reasoning"]
class LossScaler:
    """Divides the loss scale out of gradients, and adapts it. Not allowed: torch.

    scale: the scale that the loss is multiplied by, a Python float > 0; `scaler.scale` tells it at
    any time.
    growth, backoff: factors of the scale, growth >= 1 and 0 < backoff <= 1; interval: an int >= 1.
    """

    def __init__(self, scale: float = 65536.0, growth: float = 2.0, backoff: float = 0.5, interval: int = 2000):
        """Remember the four; no step has been made yet."""
        ### BEGIN SOLUTION
        self.scale, self.growth, self.backoff, self.interval = float(scale), growth, backoff, interval
        self.good = 0
        ### END SOLUTION

    def unscale(self, grads: list[np.ndarray]) -> tuple[list[np.ndarray], bool]:
        """The gradients without the scale, and whether all of them are finite.

        grads: a list (it may be empty) of float16 or float32 arrays of any shape (also 0-d: then a
        0-d array comes out), also mixed, inf and nan allowed; not modified. Returns (list, ok). The
        list has, in the same order, a new float32 array for each: its numbers, made float32 first,
        divided by the scale, right to a relative error of 1e-6 and an absolute one of 1e-44, for
        scales from 1e-30 to 1e30. ok is a Python bool: False if any number of any array that came
        is inf or nan, otherwise True. Then the values in the list do not matter. The scale and the
        count of good steps stay as they are.
        """
        ### BEGIN SOLUTION
        ok = all(bool(np.isfinite(g).all()) for g in grads)
        return [np.asarray(g.astype(np.float32) / np.float32(self.scale)) for g in grads], ok
        ### END SOLUTION

    def update(self, ok: bool) -> None:
        """Adapt the scale after a step of training; ok is what `unscale` said.

        After a bad step the scale is multiplied by backoff, and the count of good steps starts
        again at 0. After a good one the count grows by 1; when it reaches interval, the scale is
        multiplied by growth and the count starts again at 0. The scale has no other limits.
        """
        ### BEGIN SOLUTION
        if not ok:
            self.scale *= self.backoff
            self.good = 0
            return
        self.good += 1
        if self.good == self.interval:
            self.scale *= self.growth
            self.good = 0
        ### END SOLUTION


# %% [markdown] hints="LossScaler"
# <details><summary>Hint 1: what to remember</summary>
#
# Besides the four arguments, the object needs the number of good steps since the last change of the scale.
# </details>
# <details><summary>Hint 2: the order in `unscale`</summary>
#
# First `g.astype(np.float32)`, then divide, and make an array of the quotient: `np.asarray(...)`, since NumPy gives a
# scalar where `g` is 0-d. In float16 the quotient would be lost again. `np.isfinite(g).all()` is
# False if any number is inf or nan.
# </details>
# <details><summary>Hint 3: `update`</summary>
#
# A bad step: `scale *= backoff`, count to 0. A good step: count one more; at `interval`, `scale *= growth`, count to 0.
# </details>

# %% check="LossScaler"
with check("LossScaler", forbids=["torch"]):
    scaler = LossScaler(scale=1024.0, growth=4.0, backoff=0.5, interval=3)
    grads = [np.array([2.0, -(2.0**-24)], np.float16), np.array([[512.0]], np.float32)]
    with expect_unchanged(grads=grads):
        small, ok = scaler.unscale(grads)
    assert ok is True, "all are finite"
    expect_dtype(small[0], np.float32, hint="Make it float32 before you divide.")
    expect_close(small, [np.array([2.0**-9, -(2.0**-34)]), np.array([[0.5]])], rtol=1e-6, atol=0)
    for bad in (np.inf, -np.inf, np.nan):
        assert scaler.unscale([np.ones(2, np.float16), np.array([1.0, bad], np.float16)])[1] is False, f"{bad}: not ok"
    assert scaler.scale == 1024.0, "unscale does not change the scale"
    said = []
    for ok in [True, True, False, True, True, True, True, True, True, False]:
        scaler.update(ok)
        said.append(scaler.scale)
    expect_close(
        said,
        [1024.0, 1024, 512, 512, 512, 2048, 2048, 2048, 8192, 4096],  # three good steps in a row: times 4
        mistakes={
            "A bad step restarts the count.": [1024.0, 1024, 512, 2048, 2048, 2048, 8192, 8192, 8192, 4096],
            "After it has grown the count starts at 0 again.": [
                1024.0,
                1024,
                512,
                512,
                512,
                2048,
                2048,
                2048,
                2048,
                1024,
            ],
        },
    )
    assert LossScaler().scale == 65536.0
    assert LossScaler().unscale([]) == ([], True)

# %% [markdown]
# Now train. A network with one hidden layer learns the digits by full batches. All gradients of logits, activations and
# weights are rounded to float16; they are computed in float32 first, and what is beyond 65,504 becomes inf. Master
# weights stay in float32. Language models have millions of tokens in a batch. To see gradients of that size, we pretend
# that the batch repeats the 1,297 digits 4,096 times: each gradient is divided by 4,096 more before it is rounded, and
# multiplied by 4,096 after that, in float32. Three runs differ in nothing but rounding and scale.


# %% tags=["demo"]
def train_digits(rounded: bool, scaler, steps: int, parts: int = 4096):
    """Losses, scales, the last gradient of the logits and the weights, of full-batch descent with momentum."""
    X, y = (digits.X[:TRAINED] / 16).astype(np.float32), digits.y[:TRAINED]
    draw = np.random.default_rng(0)
    theta = [(draw.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32) for shape in [(64, 64), (64, 10)]]
    velocity = [np.zeros_like(t) for t in theta]
    kept = np.float16 if rounded else np.float32
    losses, scales = [], []
    for _ in range(steps):
        hidden = np.maximum(X @ theta[0], 0)
        Z = hidden @ theta[1]
        P = np.exp(Z - Z.max(axis=1, keepdims=True))
        P /= P.sum(axis=1, keepdims=True)
        losses.append(float(-np.log(P[np.arange(len(y)), y] + 1e-30).mean()))
        P[np.arange(len(y)), y] -= 1
        true = P / (len(y) * parts)
        scales.append(scaler.scale if scaler else 1.0)
        with np.errstate(over="ignore", invalid="ignore"):
            dZ = (true * np.float32(scales[-1])).astype(kept)
            dH = ((dZ.astype(np.float32) @ theta[1].T) * (hidden > 0)).astype(kept)
            grads = [(X.T @ dH.astype(np.float32)).astype(kept), (hidden.T @ dZ.astype(np.float32)).astype(kept)]
            grads, ok = scaler.unscale(grads) if scaler else ([g.astype(np.float32) for g in grads], True)
        if scaler:
            scaler.update(ok)
        if ok:
            velocity = [np.float32(0.9) * v + np.float32(parts) * g for v, g in zip(velocity, grads, strict=True)]
            theta = [t - np.float32(0.3) * v for t, v in zip(theta, velocity, strict=True)]
    return losses, scales, true, theta


digits = datasets.digits()
TRAINED = 1297  # the last 500 are kept for the end of the module
steps = demo_size(full=250, small=60)
runs = {
    "float32": train_digits(False, None, steps),
    "float16 gradients, no scale": train_digits(True, None, steps),
    "float16 gradients, your scaler": train_digits(True, LossScaler(2.0**34, interval=40), steps),
}
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.3))
sizes = np.abs(runs["float32"][2]).ravel()
left.hist(np.log2(np.maximum(sizes, 2.0**-70)), bins=60, color=plotting.COLOURS[0])
left.axvspan(-71, -25, color=plotting.COLOURS[1], alpha=0.2, zorder=0, label="becomes 0 in float16")
left.axvspan(-25, -14, color=plotting.COLOURS[4], alpha=0.2, zorder=0, label="subnormal: digits are lost")
left.set(
    xlabel="size as a power of two (first bar: and less)",
    ylabel="number of gradients",
    title="Gradients of the logits, last step",
)
left.legend()
for (name, (losses, *_)), colour in zip(runs.items(), plotting.COLOURS, strict=False):
    right.plot(losses, label=name, color=colour)
right.set(yscale="log", xlabel="step", ylabel="training loss", title="What the lost gradients cost")
plotting.legend_below(right, columns=1)
plt.show()
scales = runs["float16 gradients, your scaler"][1]
print(
    f"last step of the float32 run: {np.mean(sizes < 2.0**-25):.1%} of the gradients of the logits become 0 in float16"
)
print("your scaler's scale, as a power of two, every 10th step:", " ".join(f"{math.log2(v):.0f}" for v in scales[::10]))
for name, (losses, *_) in runs.items():
    print(f"{name}: loss {losses[-1]:.4f} after {steps} steps")

# %% [markdown]
# The smallest gradients on the left belong to digits that are classified well already. With the scale, float16 follows
# float32, a few skipped steps behind. The scale falls until nothing overflows, then it rises by a factor of two after
# every 40 good steps, as long as nothing overflows. (It starts too large on purpose, to show the fall.) Without a scale
# the loss explodes before it falls. At the start each logit of a wrong class has a gradient of about
# $0.1 / (1297 \cdot 4096) \approx 2^{-25.7}$, which becomes 0, and that of the right class has about
# $-0.9 / (1297 \cdot 4096) \approx -2^{-22.5}$, which survives. So logits are pushed up and never down. A gradient that
# has lost its small parts is not a smaller gradient: it is a wrong one.
#
# Between the backward pass and the step, more is done to gradients than to divide them.
#
# ### 14.6 `clipped_step` · important · level 2 of 4 · 10 min
#
# **Find the bug.** This step of training shortens a gradient that is too long, as is usual for recurrent nets and
# transformers. It runs, the loss falls slowly, and no error is shown. Each of its lines alone is right. Find what it
# does, and repair it.


# %% exercise="clipped_step" points=2 minutes=10 bug=true trains=["floating-point reasoning"]
def clipped_step(
    theta: list[np.ndarray], grads: list[np.ndarray], scale: float, limit: float, lr: float
) -> list[np.ndarray]:
    """One step of descent, theta - lr g, with the clipped gradient g of a loss that was scaled.

    theta: float32 arrays, at least one. grads: an array for each of theta, of its shape, float16 or
    float32: the gradients of scale times the loss. Neither is modified. scale, limit and lr are
    Python floats > 0.

    The gradient of the loss is grads / scale, in float32. Its norm is the root of the sum of the
    squares of all numbers of all arrays, added up in double precision. If it is larger than limit,
    the gradient is multiplied by limit / norm; otherwise it stays. If any number of grads is inf or
    nan, no step is made.
    Returns new float32 arrays in the order of theta, also if no step is made, right to 1e-5 times
    the largest entry in size of theta and of the step together. Tests give no finite grads for
    which a quotient, the norm or a step overflows.
    """
    ### BEGIN SOLUTION
    if not all(np.isfinite(g).all() for g in grads):
        return [t.copy() for t in theta]
    true = [g.astype(np.float32) / np.float32(scale) for g in grads]
    norm = math.sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for g in true))
    factor = np.float32(lr * (limit / norm if norm > limit else 1.0))
    return [t - factor * true[i] for i, t in enumerate(theta)]
    ### END SOLUTION
    ### BEGIN BUG
    # if not all(np.isfinite(g).all() for g in grads):
    #     return [t.copy() for t in theta]
    # norm = math.sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for g in grads))
    # factor = np.float32(limit / norm if norm > limit else 1.0)
    # clipped = [factor * g.astype(np.float32) for g in grads]
    # return [t - np.float32(lr / scale) * clipped[i] for i, t in enumerate(theta)]
    ### END BUG


# %% [markdown] hints="clipped_step"
# <details><summary>Hint 1: follow one number</summary>
#
# Take one weight, a true gradient of 3, a scale of 1000 and a limit of 5. How long is the step, in theory and in this
# code?
# </details>
# <details><summary>Hint 2: which gradient has the norm?</summary>
#
# `limit` is for the gradient of the loss. `grads` are those of the scaled loss. Make each array float32 and divide it
# by the scale first; take the norm of what comes out. (A float16 array divided by 65,536 stays float16, where 65,536 is
# infinity.)
# </details>

# %% check="clipped_step"
theta = [np.array([1.0, 2.0], np.float32), np.array([[3.0]], np.float32)]
grads = [np.array([192, 0], np.float16), np.array([[256]], np.float16)]
scale = 65536.0  # so the true gradient is 3, 0, 4 in units of 1 / 1024, and its norm 5
with check("clipped_step"):
    with expect_unchanged(theta=theta, grads=grads):
        got = clipped_step(theta, grads, scale, 10 / 1024, 512.0)
    expect_close(
        got,
        [np.array([1 - 1.5, 2.0]), np.array([[3 - 2.0]])],  # 5 is below 10: not clipped, so theta - 512 g
        rtol=0,
        atol=3e-5,
        hint="Take the norm of the true gradient.",
        mistakes={"The step is next to nothing: look at the limit, and at what 65,536 is in float16.": theta},
    )
    clipped = clipped_step(theta, grads, scale, 2.5 / 1024, 512.0)  # to half of its length
    expect_close(
        clipped,
        [np.array([1 - 0.75, 2.0]), np.array([[3 - 1.0]])],
        rtol=0,
        atol=3e-5,
        hint="limit / norm is 1/2, for all arrays together.",
    )
    expect_dtype(clipped[0], np.float32)
    bad = clipped_step(theta, [grads[0], np.array([[np.inf]], np.float16)], scale, 10.0, 0.5)
    expect_close(bad, theta, hint="With an inf no step is made.")

# %% [markdown]
# The figure measures the length of one step of your function, for a gradient of norm 3, a limit of 1 and a rate of 0.1,
# at many scales. The loss scale is there for float16 only, so it must not change the step.

# %% tags=["demo"]
draw = np.random.default_rng(6)
gradient = draw.standard_normal(1000)
gradient *= 3 / np.linalg.norm(gradient)
origin = [np.zeros(1000, np.float32)]
powers = 2.0 ** np.arange(0, 21, 2)
lengths = []
for scale in powers:
    scaled = [(scale * gradient).astype(np.float32)]
    lengths.append(np.linalg.norm(clipped_step(origin, scaled, float(scale), 1.0, 0.1)[0]))
figure, ax = plt.subplots(figsize=(6.4, 3.6))
ax.plot(powers, lengths, "o-", label="your function")
ax.plot(powers, 0.1 / powers, "--", label="clipped first, then divided: $\\eta$ · limit / scale")
ax.set(
    xscale="log",
    yscale="log",
    xlabel="loss scale",
    ylabel="length of the step",
    title="The step does not depend on the scale",
)
ax.legend()
plt.show()

# %% [markdown]
# With a scale of 65,536 nearly every scaled gradient is longer than the limit, so each step of the wrong order has the
# length $\eta \cdot \text{limit} / 65{,}536$, and the network hardly moves. PyTorch's documentation warns of it: call
# `scaler.unscale_(optimizer)` before `clip_grad_norm_`.
#
# Gradients differ in size by many powers of ten, so training needs floats. The weights of a layer are all of about one
# size. How few bits do they need?
#
# ### 14.7 `quantize` · essential · level 2 of 4 · 15 min
#
# A **symmetric quantiser** with $b$ bits replaces each weight by an integer, its **code**:
#
# $$q = \text{round}(w / s), \qquad \hat w = s q, \qquad s = \frac{\max |w|}{2^{b-1} - 1} .$$
#
# Codes go from $-(2^{b-1} - 1)$ to $2^{b-1} - 1$: from $-127$ to 127 with 8 bits, from $-7$ to 7 with 4. Zero stays
# exactly zero. No weight is off by more than half a step, $|w - \hat w| \le s / 2$. If the error is uniform in a step,
# its mean square is $s^2 / 12$, so one bit more halves the error.
#
# The largest weight sets the step for all. One outlier of 100 among weights near 1 makes $s = 0.79$ at 8 bits, and most
# of the others become 0 or $\pm 1$. So a layer has one scale for each output **channel** (each row of $W$): an outlier
# then spoils its own row and no other.


# %% exercise="quantize" points=2 minutes=15 forbids=["torch"] trains=["floating-point reasoning"]
def quantize(w: np.ndarray, bits: int, axis: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric codes and their scales: w is about codes times scales.

    w: float64 or float32, one axis or more, no axis of length 0, in any memory layout; finite,
    entries 0 or from 1e-30 to 1e30 in size; not modified. bits: from 2 to 8.
    axis: the axis of the channels, from -w.ndim to w.ndim - 1; each index along it has a scale of
    its own, shared by all entries with that index. None: one scale for all.

    Returns two new arrays, (codes, scales):
    codes: int8, in the shape of w: w / scale, rounded to the nearest integer, ties to the even one.
    scales: in the dtype of w; shape (w.shape[axis],), or (1,) where axis is None: the largest |w|
    of the channel divided by 2^(bits - 1) - 1, and 1 where all of the channel is 0; right to a
    relative error of 1e-6 in float32 and of 1e-14 in float64. Within 1e-4 of a tie either neighbour
    is right, except where the scale is a power of two: there the quotient is exact, and the tie
    goes to the even one. Not allowed: torch.
    """
    ### BEGIN SOLUTION
    others = tuple(i for i in range(w.ndim) if axis is None or i != axis % w.ndim)
    largest = np.abs(w).max(axis=others, keepdims=True)
    scales = np.where(largest > 0, largest / (2 ** (bits - 1) - 1), 1).astype(w.dtype)
    return np.rint(w / scales).astype(np.int8), scales.reshape(-1)
    ### END SOLUTION


# %% [markdown] hints="quantize"
# <details><summary>Hint 1: the largest of each channel</summary>
#
# The maximum of `np.abs(w)` goes over all axes but the channels'. `keepdims=True` keeps it in a form that `w` can be
# divided by.
# </details>
# <details><summary>Hint 2: negative axes, zeros, ties</summary>
#
# `axis % w.ndim` makes a negative axis positive. `np.where(largest > 0, largest / top, 1)` takes care of zeros.
# `np.rint` rounds ties to even.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# `others = tuple(i for i in range(w.ndim) if axis is None or i != axis % w.ndim)`,
# `largest = np.abs(w).max(axis=others, keepdims=True)`; the codes are `np.rint(w / scales).astype(np.int8)`; return
# `scales.reshape(-1)`.
# </details>

# %% check="quantize"
w = np.array([[7.0, -3.5, 2.5, 0.5], [-14.0, 3.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
with check("quantize", forbids=["torch"]):
    with expect_unchanged(w=w):
        codes, scales = quantize(w, 4, axis=0)  # 4 bits: codes from -7 to 7
    expect_close(
        scales,
        np.array([1.0, 2.0, 1.0]),  # 7 / 7, 14 / 7, and 1 where all is 0
        hint="One scale for each row.",
        mistakes={
            "You took the largest w, not the largest |w|.": np.array([1.0, 3 / 7, 1.0]),
            "You divided by 2^(bits - 1).": np.array([7 / 8, 14 / 8, 1.0]),
            "You divided by 2^bits.": np.array([7 / 16, 14 / 16, 1.0]),
        },
    )
    expect_close(
        codes,
        np.array([[7, -4, 2, 0], [-7, 2, 0, 0], [0, 0, 0, 0]]),  # -3.5, 2.5, 0.5 and 1.5 are ties
        mistakes={
            "Ties go to the even code.": np.array([[7, -4, 3, 1], [-7, 2, 1, 0], [0, 0, 0, 0]]),
            "The codes are cut off, not rounded.": np.array([[7, -3, 2, 0], [-7, 1, 0, 0], [0, 0, 0, 0]]),
        },
    )
    expect_dtype(codes, np.int8)
    codes, scales = quantize(w, 8)
    expect_close(scales, np.array([14 / 127]), rtol=1e-12, hint="Without an axis there is one scale, of shape (1,).")
    expect_close(
        quantize(w, 4, axis=-1)[1], np.array([2.0, 0.5, 2.5 / 7, 0.5 / 7]), rtol=1e-12, hint="axis may be negative."
    )

# %% [markdown]
# The figure quantises normal weights, 256 rows of 256. Left: the error, as a share of the weights' size, against bits.
# A dashed line halves with each bit. Right: one weight of the first row is made 100. (The inputs of layers in large
# language models have such outliers; Dettmers and others, 2022.) The error of the other rows, at 8 bits, with one scale
# for all and with one for each row.


# %% tags=["demo"]
def relative_error(w, bits, axis=None):
    """Error of each row of w, as a share of its size, after quantising."""
    codes, scales = quantize(w, bits, axis)
    back = codes * (scales if axis is None else scales[:, None])
    return np.linalg.norm(w - back, axis=1) / np.linalg.norm(w, axis=1)


w = np.random.default_rng(3).standard_normal((256, 256))
spoilt = w.copy()
spoilt[0, 0] = 100
widths = np.arange(2, 9)
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2))
for axis, label, marker in [(None, "one scale for all", "o"), (0, "one for each row", "s")]:
    left.plot(widths, [relative_error(w, int(b), axis).mean() for b in widths], marker, label=label, linestyle="-")
    right.plot(relative_error(spoilt, 8, axis)[1:], label=label, linestyle="-", linewidth=1)
left.plot(
    widths,
    relative_error(w, 8, 0).mean() * 2.0 ** (8 - widths),
    "--",
    color=plotting.MUTED,
    label="halved by each bit, from the squares",
)
left.set(
    yscale="log", xlabel="bits", ylabel="error / size of the weights", title="From 4 bits on, each bit halves the error"
)
left.legend()
right.set(yscale="log", xlabel="row", ylabel="error / size of the row", title="8 bits, and an outlier in row 0")
right.legend()
plt.show()
steps_of_all = [quantize(each, 8)[1][0] for each in (w, spoilt)]
print(f"one scale for all, 8 bits: a step of {steps_of_all[0]:.3f}, with the outlier {steps_of_all[1]:.3f}")
print(f"2 bits, one scale for each row: {np.mean(quantize(w, 2, 0)[0] == 0):.0%} of the codes are 0")

# %% [markdown]
# **How to read it.** On the left both curves fall with the dashed line from about 4 bits on: the error is half a step
# at most, and the step halves. With 2 bits most weights become 0, and the error is no longer uniform in a step. With
# one scale for each row the step is about 30 % smaller, since the maximum of a row is smaller than that of the matrix.
# On the right the row scales keep all rows but the first one unharmed. The single scale makes the step larger for all
# rows, as the printed line shows.
#
# Small codes move few bytes. Can they also be multiplied, without making them floats first?
#
# ### 14.8 `int8_linear` · essential · level 2 of 4 · 15 min
#
# A layer computes $y_{ij} = \sum_p x_{ip} w_{jp}$. Let row $i$ of $x$ have the scale $s^x_i$ and row $j$ of $W$ the
# scale $s^w_j$. Neither depends on $p$, so both leave the sum:
#
# $$y_{ij} \approx \sum_{p=1}^{k} (s^x_i\, q^x_{ip})\,(s^w_j\, q^w_{jp})
# = s^x_i\, s^w_j \underbrace{\sum_p q^x_{ip}\, q^w_{jp}}_{\text{integers only}} .$$
#
# (A scale for each *column* of $W$ would stay inside the sum. That is why the channels are rows.) Where may the sum be
# kept? A product of two codes is at most $127^2 = 16{,}129$ in size, and $k$ of them at most $16{,}129\, k$:
#
# | kept in | exact up to | longest sum |
# | --- | --- | --- |
# | int8 | 127 | not one product |
# | int16 | 32,767 | 2 |
# | float32 | $2^{24}$ = 16,777,216 | 1,040 |
# | int32 | $2^{31} - 1$ | 133,144 |
# | float64 | $2^{53}$ | $5 \cdot 10^{11}$ |
#
# Hardware multiplies int8 and adds in int32. NumPy does not: `a @ b` of int8 arrays adds in int8 and wraps around
# without a warning. Convert *parts* of the codes to a type that holds the sums. A conversion of all codes of the
# weights at once would undo what was gained: they would take 4 or 8 times the memory.


# %% exercise="int8_linear" points=2 minutes=15 forbids=["torch"] trains=["floating-point reasoning", "counting what a computation costs"]
def int8_linear(xq: np.ndarray, xs: np.ndarray, wq: np.ndarray, ws: np.ndarray) -> np.ndarray:
    """A linear layer on codes: xs[i] ws[j] times the sum of xq[i, p] wq[j, p] over p.

    xq: (m, k) int8 and wq: (n, k) int8, integers from -127 to 127; m, n, k >= 1, k at most 10^5, in
    any memory layout. xs: (m,), ws: (n,), float32, from 1e-15 to 1e14. Nothing is modified.

    Returns a new float32 array (m, n), entry (i, j) as above, right to a relative error of 1e-6:
    the sum of integers is exact, also where large products cancel.
    No copy of all of wq in another dtype: with m = 2, n = 400, k = 10^5 the function needs at most
    32 MB besides its arguments. A copy of xq is allowed. Not allowed: torch.
    """
    ### BEGIN SOLUTION
    (m, k), n = xq.shape, len(wq)
    x, rows = xq.astype(np.float64), max(1, 2**20 // k)
    out = np.empty((m, n), np.float32)
    for j in range(0, n, rows):
        sums = x @ wq[j : j + rows].T.astype(np.float64)  # whole numbers below 2^53: exact
        out[:, j : j + rows] = sums * xs[:, None] * ws[j : j + rows]
    return out
    ### END SOLUTION


# %% [markdown] hints="int8_linear"
# <details><summary>Hint 1: sums first, scales last</summary>
#
# The scales come after the sum. Before it everything is an integer, and float64 holds integers up to $2^{53}$ exactly.
# </details>
# <details><summary>Hint 2: parts</summary>
#
# Take some rows of `wq` at a time, about a million codes, and convert only these:
# `wq[j : j + rows].astype(np.float64)`.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# `out = np.empty((m, n), np.float32)`; for each part, `sums = xq.astype(np.float64) @ part.T`, and
# `out[:, j : j + rows] = sums * xs[:, None] * ws[j : j + rows]`.
# </details>

# %% check="int8_linear"
xq, wq = np.array([[100, 100, -3], [1, 2, 3]], np.int8), np.array([[100, 100, 1], [1, -1, 2]], np.int8)
xs, ws = np.array([0.5, 2.0], np.float32), np.array([0.25, 4.0], np.float32)
sums = np.array([[19997.0, -6.0], [303.0, 5.0]])  # 10000 + 10000 - 3; 100 - 100 - 6; 100 + 200 + 3; 1 - 2 + 6
with check("int8_linear", forbids=["torch"]):
    with expect_unchanged(xq=xq, xs=xs, wq=wq, ws=ws):
        got = int8_linear(xq, xs, wq, ws)
    expect_close(
        got,
        sums * np.array([[0.125, 2.0], [0.5, 8.0]]),  # xs[i] ws[j]
        rtol=1e-6,
        hint="Sum integers in a type that holds them, then multiply by both scales.",
        mistakes={
            "The sums have wrapped around in int8.": (xq @ wq.T) * np.array([[0.125, 2.0], [0.5, 8.0]]),
            "The scales of x are missing.": sums * np.array([[0.25, 4.0], [0.25, 4.0]]),
            "The scales of w are missing.": sums * np.array([[0.5, 0.5], [2.0, 2.0]]),
        },
    )
    expect_dtype(got, np.float32)
    long = np.full((1, 60_000), 127, np.int8)
    wide = long.copy()
    wide[0, 30_000:] = -127
    wide[0, 0] = 126  # all but one product cancel: 127 · 126 - 127 · 127
    one = np.ones(1, np.float32)
    expect_close(int8_linear(long, one, wide, one), np.array([[-127.0]]), hint="The sum must be exact at k = 60,000.")
    expect_close(int8_linear(long, one, long, one), np.array([[127.0 * 127 * 60_000]]), rtol=1e-6)

# %% [markdown]
# The network of 14.5 runs on your `int8_linear` at the end of the module, with 8, 6, 4, 3 and 2 bits.
#
# ### 14.9 `pack_int4` · optional · level 2 of 4 · 15 min
#
# An extra exercise: it is graded, and its points do not count. A byte is the smallest thing that a memory can address.
# Codes of 4 bits save nothing until two of them share a byte. In **two's complement** the four bits of a code $q$ from
# $-8$ to 7 are those of $q \bmod 16$: 7 is 0111, $-1$ is 1111, $-8$ is 1000.


# %% exercise="pack_int4" points=2 minutes=15 extra=true trains=["index arithmetic that is right at the borders"]
def pack_int4(codes: np.ndarray) -> np.ndarray:
    """Two codes of 4 bits in each byte.

    codes: (n, k) int8, integers from -8 to 7, n and k >= 1, in any memory layout; not modified.
    Returns a new uint8 array (n, ceil(k / 2)), integers from 0 to 255. Byte j of a row holds code
    2j in its lower four bits and code 2j + 1 in its upper four, each in two's complement. For odd k
    the last upper four bits are 0. 10^6 codes must take under a second.
    """
    ### BEGIN SOLUTION
    halves = codes.view(np.uint8) & 15
    packed = halves[:, ::2].copy()
    packed[:, : codes.shape[1] // 2] |= halves[:, 1::2] << 4
    return packed
    ### END SOLUTION


def unpack_int4(packed: np.ndarray, k: int) -> np.ndarray:
    """The codes again: a new int8 array (n, k), integers from -8 to 7.

    packed: (n, ceil(k / 2)) uint8, integers from 0 to 255; not modified. k >= 1.
    """
    ### BEGIN SOLUTION
    halves = np.stack([packed & 15, packed >> 4], axis=-1).reshape(len(packed), -1)[:, :k]
    return (halves ^ 8).astype(np.int8) - np.int8(8)
    ### END SOLUTION


# %% [markdown] hints="pack_int4"
# <details><summary>Hint 1: four bits of a negative number</summary>
#
# `codes.view(np.uint8) & 15` gives the four bits of each code as a number from 0 to 15: -1 becomes 15.
# </details>
# <details><summary>Hint 2: two in a byte</summary>
#
# `low | (high << 4)`, with `low` the columns 0, 2, 4, ... and `high` the columns 1, 3, 5, ... For odd k there is one
# column more in `low`.
# </details>
# <details><summary>Hint 3: back</summary>
#
# `packed & 15` and `packed >> 4` are numbers from 0 to 15. Those from 8 on stand for negative codes: `(half ^ 8) - 8`,
# in int8.
# </details>

# %% check="pack_int4"
codes = np.array([[1, -1, 7], [-8, 0, -2]], np.int8)
with check("pack_int4"):
    with expect_unchanged(codes=codes):
        packed = pack_int4(codes)
    expect_close(
        packed,
        np.array([[1 + 16 * 15, 7], [8, 14]]),  # -1 is 15, -8 is 8, -2 is 14
        mistakes={
            "The first code belongs into the lower four bits.": np.array([[16 + 15, 7 * 16], [8 * 16, 14 * 16]]),
            "The sign of the first code reaches the upper bits.": np.array([[241, 7], [248, 254]]),
        },
    )
    expect_dtype(packed, np.uint8)
    back = unpack_int4(packed, 3)
    expect_close(back, codes, hint="Halves from 8 on stand for negative codes.")
    expect_dtype(back, np.int8)

# %% [markdown]
# A tile is loaded once and used $t$ times, and each use still reads it from the chip's own memory. The last idea is to
# pass a number on, from one arithmetic unit to the next.
#
# ### 14.10 `systolic_matmul` · essential · level 4 of 4 · 35 min
#
# The matrix unit of a TPU is a grid of cells (256 by 256 in the first one; Jouppi and others, 2017). It is
# **systolic**, after the heartbeat: in each cycle a cell can do one multiplication and one addition, and pass its
# numbers to its neighbours. Only the left edge is fed from memory. To compute $C = A W$:
#
# - Cell $(i, j)$ holds the weight $W_{ij}$. It is loaded before, and stays.
# - Numbers of $A$ come in at the left edge and move one cell to the **right** in each cycle. Row $i$ of the cells gets
#   column $i$ of $A$.
# - **Partial sums** move one cell **down** in each cycle. They start with 0 in the top row, cell $(i, j)$ adds
#   $a\, W_{ij}$, and they leave at the bottom, ready.
#
# When must $A_{ri}$ come in? The sum for $C_{rj}$ starts in cell $(0, j)$ and reaches cell $(i, j)$ exactly $i$ cycles
# later. There it must meet $A_{ri}$. And $A_{ri}$ takes $j$ cycles from the left edge to column $j$. Let $A_{r0}$ come
# in at cycle $r$. Then row $i$ must lag by $i$: $A_{ri}$ comes in at cycle $r + i$. So the rows of $A$ enter as a
# slanted wave, and you find out when each cell works on which row. The last row of $A$ still has to pass all rows and
# all columns of cells: $m + k + n - 2$ cycles in all.
#
# For two rows, a grid of 2 by 2 works like this:
#
# | cycle | cell (0, 0) | cell (0, 1) | cell (1, 0) | cell (1, 1) |
# | --- | --- | --- | --- | --- |
# | 0 | $A_{00} W_{00}$ | | | |
# | 1 | $A_{10} W_{00}$ | $A_{00} W_{01}$ | adds $A_{01} W_{10}$: $C_{00}$ is ready | |
# | 2 | | $A_{10} W_{01}$ | adds $A_{11} W_{10}$: $C_{10}$ is ready | adds $A_{01} W_{11}$: $C_{01}$ is ready |
# | 3 | | | | adds $A_{11} W_{11}$: $C_{11}$ is ready |
#
# Each number of $A$ is read from memory once and used $n$ times. No number in the middle is written anywhere.


# %% exercise="systolic_matmul" points=4 minutes=35 trains=["counting what a computation costs", "index arithmetic that is right at the borders"]
def systolic_matmul(
    A: np.ndarray, W: np.ndarray, mac: Callable[[int, int, int, float, float], float]
) -> tuple[np.ndarray, int]:
    """C = A W on a grid of cells, cycle by cycle, and the number of cycles.

    A: (m, k), W: (k, n), float64, m, k, n >= 1; not modified. The grid has k rows and n columns of
    cells; cell (i, j) holds W[i, j].
    mac(t, i, j, a, partial): in cycle t, a Python int from 0 on, cell (i, j) works: it gives
    partial + a W[i, j], a float. It is the only arithmetic that you may do with the numbers: entry
    (r, j) of the result is what the bottom cell (k - 1, j) gave for row r of A. (A test has a cell
    with a fault, and its fault must show.)

    The rules of the grid:
    - A cell works at most once in a cycle, and only on a number of A: m k n calls in all, in order
      of t.
    - In column j = 0, a comes from outside: row i of the cells gets the numbers A[:, i], each once,
      the one of row r in cycle r + i. For j > 0, a is what cell (i, j - 1) worked on in cycle
      t - 1.
    - In row i = 0, partial is 0.0. For i > 0, partial is what cell (i - 1, j) gave in cycle t - 1.

    Returns (C, cycles): a new float64 array (m, n), and the number of cycles from the first to the
    last in which a cell works, both counted: m + k + n - 2, a Python int.
    """
    ### BEGIN SOLUTION
    (m, k), n = A.shape, W.shape[1]
    C = np.empty((m, n))
    below: dict[tuple[int, int], float] = {}
    cycles = m + k + n - 2
    for t in range(cycles):
        above, below = below, {}
        for i in range(k):
            for j in range(n):
                r = t - i - j
                if 0 <= r < m:
                    below[i, j] = mac(t, i, j, A[r, i], above[i - 1, j] if i else 0.0)
                    if i == k - 1:
                        C[r, j] = below[i, j]
    return C, cycles
    ### END SOLUTION


# %% [markdown] hints="systolic_matmul"
# <details><summary>Hint 1: who works when?</summary>
#
# $A_{ri}$ comes in at cycle $r + i$ and moves right, so cell (i, j) meets it at cycle $t = r + i + j$. Turn it round:
# in cycle t, cell (i, j) works on row $r = t - i - j$, if there is such a row.
# </details>
# <details><summary>Hint 2: the cycle before</summary>
#
# Two sets of partial sums are needed: those of the last cycle, which are read, and those of this one, which are
# written. With one set, a cell may read what its neighbour has given in the same cycle.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# `for t in range(m + k + n - 2)`: `above, below = below, {}`; for all i and j with `r = t - i - j` from 0 to m - 1:
# `below[i, j] = mac(t, i, j, A[r, i], above[i - 1, j] if i else 0.0)`; where `i == k - 1`, that is `C[r, j]`.
# </details>


# %% check="systolic_matmul"
def logged_array(W):
    """A grid of cells and the log of its work: {(t, i, j): (a, what the cell gave)}; it refuses what the rules forbid."""
    log = {}

    def mac(t, i, j, a, partial):
        assert (t, i, j) not in log, f"cell {i, j} works twice in cycle {t}"
        if i == 0:
            assert partial == 0, f"cycle {t}: a sum begins with 0 in the top row"
        else:
            assert (t - 1, i - 1, j) in log, f"cycle {t}: cell {i - 1, j} gave nothing to cell {i, j} in cycle {t - 1}"
            assert partial == log[t - 1, i - 1, j][1], (
                f"cycle {t}: cell {i, j} must get what cell {i - 1, j} gave in cycle {t - 1}"
            )
        if j > 0:
            came = log.get((t - 1, i, j - 1))
            assert came is not None and came[0] == a, f"cycle {t}: {a:g} was not in cell {i, j - 1} a cycle before"
        log[t, i, j] = a, partial + a * W[i, j]
        return log[t, i, j][1]

    return mac, log


A, W = np.array([[1.0, 2], [3, 4], [5, 6]]), np.array([[1.0, 10, 100, 1000], [7, 70, 700, 7000]])
with check("systolic_matmul"):
    mac, log = logged_array(W)
    C, cycles = systolic_matmul(A, W, mac)
    expect_close(C, np.array([[1.0], [3], [5]]) * W[0] + np.array([[2.0], [4], [6]]) * W[1], hint="C is A W.")
    expect_close(cycles, 3 + 2 + 4 - 2, hint="Count the cycles from the first to the last in which a cell works.")
    assert len(log) == 3 * 2 * 4, f"{len(log)} calls of mac, and there are 3 · 2 · 4 products"
    entered = {i: [a for (t, row, j), (a, _) in sorted(log.items()) if (row, j) == (i, 0)] for i in range(2)}
    expect_close(entered, {0: [1.0, 3, 5], 1: [2.0, 4, 6]}, hint="Row i of the cells gets column i of A, row by row.")
    assert min(t for t, _, _ in log) == 0, "the first cycle is cycle 0"
    broken, _ = systolic_matmul(A, W, lambda t, i, j, a, partial: partial + a * W[i, j] + (i == 0 and j == 2))
    expect_close(broken[:, 2], C[:, 2] + 1, hint="The result is what the bottom cells give, also from a broken cell.")

# %% [markdown]
# The wave, drawn by your function: four cycles of a product with $m = 6$ on a grid of 5 by 8. A cell that works has the
# colour of its row of $A$. Right: the share of cells that work, over all cycles: $mkn$ products in $(m + k + n - 2)$
# cycles of $kn$ cells, against $m$.

# %% tags=["demo"]
m, k, n = 6, 5, 8
draw = np.random.default_rng(4)
A, W = draw.standard_normal((m, k)), draw.standard_normal((k, n))
log = []


def watched(t, i, j, a, partial):
    log.append((t, i, j, int(np.flatnonzero(A[:, i] == a)[0])))
    return partial + a * W[i, j]


C, cycles = systolic_matmul(A, W, watched)
assert np.allclose(C, A @ W)
shown = [1, 4, 8, 13]
picture = np.full((k, (n + 1) * len(shown) - 1), np.nan)  # four grids, an empty column between them
for when, i, j, row in log:
    if when in shown:
        picture[i, shown.index(when) * (n + 1) + j] = row
figure, (left, right) = plt.subplots(1, 2, figsize=(13, 3.2), width_ratios=[3, 1.2])
seen = left.imshow(picture, vmin=-0.5, vmax=m - 0.5, cmap=plt.get_cmap("cividis", m))
for number, t in enumerate(shown):
    start = number * (n + 1) - 0.5
    left.add_patch(plt.Rectangle((start, -0.5), n, k, fill=False, ec=plotting.MUTED))
    left.text(start + n / 2, -0.8, f"cycle {t}", ha="center")
figure.colorbar(seen, ax=left, ticks=range(m), label="row of A", shrink=0.7)
left.set(xlabel="column of cells, once for each cycle", ylabel="row of cells", yticks=range(k), xticks=[])
left.set_title("A wave goes through the grid", pad=22)
left.grid(False)
rows = np.geomspace(1, 10_000, 100)
right.plot(rows, rows / (rows + k + n - 2), label=f"grid of {k} by {n}")
right.plot(rows, rows / (rows + 256 + 256 - 2), label="grid of 256 by 256")
right.plot(m, len(log) / (cycles * k * n), "o", color=plotting.COLOURS[0], label="counted, your function")
right.set(xscale="log", xlabel="rows of A", ylabel="share of cells that work", ylim=(0, 1.45))
right.set_yticks([0, 0.25, 0.5, 0.75, 1])
right.set_title("Filling the grid takes time")
right.legend(fontsize=8)
plt.show()
print(f"{len(log)} products in {cycles} cycles: {len(log) / (cycles * k * n):.0%} of the cells work on average")

# %% [markdown]
# A grid of 256 by 256 needs thousands of rows before nearly all of its cells work. That is one reason why accelerators
# want large batches; the written question has another one. The first TPU read its weights at 34 GB/s, for a peak of
# $92 \cdot 10^{12}$ operations per second with 8 bits. So its ridge was at 2,700 operations for each byte of weights
# (Jouppi and others, 2017, count a multiplication with its addition once, and write 1,350).
#
# ### 14.11 `softmax_kernel` · optional · level 2 of 4 · 20 min
#
# An extra exercise: it is graded where Triton is installed (on Linux, `pip install triton`), and its points do not
# count. A GPU has a hundred and more processors. All of them run the same kernel, each on its own part of the data.
# Each run asks for its own number, loads its block, computes, and stores. **Triton** is Python for kernels: it looks
# like NumPy on blocks of a fixed size. (With a GPU, Triton needs a C compiler such as gcc, and Python's headers.
# Without one it can interpret a kernel on the CPU, number by number, for tests; your setup cell has switched that on
# where it is needed. Its `jit` also waits with the import: nothing of the kernel's body is looked at before the first
# launch.)
#
# | Triton | means |
# | --- | --- |
# | `tl.program_id(0)` | the number of this run: here, the row |
# | `tl.arange(0, BLOCK)` | the integers 0 to BLOCK - 1; BLOCK is a power of two, known when the kernel is compiled |
# | `tl.load(p, mask=..., other=v)` | the numbers at the addresses `p` where the mask is true, `v` elsewhere |
# | `tl.store(p, values, mask=...)` | write them where the mask is true |
# | `tl.max(v, axis=0)`, `tl.sum(v, axis=0)`, `tl.exp(v)` | as in NumPy |
#
# `x` stands for the address of its first number, and `x + 3` for the one three numbers later. A row has `columns`
# numbers, and the block is as long or longer: the mask keeps the rest out. What must `other` be, so that what is not
# there does not change a softmax?


# %% exercise="softmax_kernel" points=2 minutes=20 extra=true needs="triton" trains=["floating-point reasoning", "index arithmetic that is right at the borders"]
@jit
def softmax_kernel(
    x: tl.tensor, out: tl.tensor, x_stride: int, out_stride: int, columns: int, BLOCK: tl.constexpr
) -> None:
    """A Triton kernel: run r writes the softmax of row r of x into row r of out, both float32.

    x, out: addresses of the first numbers. Row r begins r * x_stride (r * out_stride) numbers
    later, and its `columns` numbers stand side by side. BLOCK: a power of two, at least columns;
    columns >= 1.
    Numbers are finite or -inf, at least one of each row finite; also 1e4 and more, without
    overflow: the largest is subtracted first. Each result is right to 1e-6. x is not changed;
    nothing is read or written behind the end of a row.
    """
    ### BEGIN SOLUTION
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    inside = at < columns
    z = tl.load(x + row * x_stride + at, mask=inside, other=-float("inf"))
    e = tl.exp(z - tl.max(z, axis=0))
    tl.store(out + row * out_stride + at, e / tl.sum(e, axis=0), mask=inside)
    ### END SOLUTION


# %% [markdown] hints="softmax_kernel"
# <details><summary>Hint 1: which numbers are mine?</summary>
#
# `row = tl.program_id(0)`, `at = tl.arange(0, BLOCK)`. The addresses are `x + row * x_stride + at`, and the mask is
# `at < columns`.
# </details>
# <details><summary>Hint 2: what stands in the rest?</summary>
#
# Minus infinity: it is never the largest, and its exponential is 0. With 0 in its place both the maximum and the sum
# would change.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# `z = tl.load(..., mask=inside, other=-float("inf"))`, `e = tl.exp(z - tl.max(z, axis=0))`, and store `e / tl.sum(e,
# axis=0)` with the same mask.
# </details>


# %% check="softmax_kernel"
def softmax_rows(x: torch.Tensor) -> torch.Tensor:
    """Softmax of each row of x (rows, columns), by the kernel: one run for each row."""
    out = torch.full_like(x, float("nan"))
    block = 1 << (x.shape[1] - 1).bit_length()
    softmax_kernel[(len(x),)](x, out, x.stride(0), out.stride(0), x.shape[1], BLOCK=block)
    return out


with check("softmax_kernel", needs="triton"):
    where = device.best() if GPU else "cpu"
    logits = torch.tensor([[0.0, math.log(2.0), math.log(5.0)], [-9.0, -9.0, -9.0], [1e4, 1e4, 0.0]], device=where)
    got = softmax_rows(logits)
    assert not torch.isnan(got).any(), (
        "nan: subtract the largest number before the exponential, and store all of the row"
    )
    expect_close(
        got.cpu(),
        np.array([[1 / 8, 2 / 8, 5 / 8], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0]]),
        rtol=1e-5,
        atol=1e-6,
        hint="What stands behind the end of the row must be minus infinity.",
    )
    wide = torch.zeros(3, 8, device=where)
    wide[:, :3] = logits
    out = torch.full((3, 8), -1.0, device=where)
    softmax_kernel[(3,)](wide, out, 8, 8, 3, BLOCK=4)
    expect_close(out[:, :3].cpu(), got.cpu(), rtol=1e-5, atol=1e-6, hint="Rows begin x_stride numbers apart.")
    expect_close(out[:, 3:].cpu(), -torch.ones(3, 5), hint="Store with the mask: nothing behind the end of a row.")

# %% [markdown]
# ## Scale it
#
# ### What the chip of this machine can do
#
# Peak and bandwidth depend on the kind of number. The table measures products of square matrices, on one core or on the
# GPU. It times a small product first. Some chips have no instructions for some kinds of numbers (many CPUs compute
# float16 one number at a time), and a large product of those would take minutes.

# %% tags=["demo"]
kinds_of_number = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int8]
float32_speed = float("nan")
print(f"{'':>10} {'operations/s':>14} {'of float32':>11} {'bytes/s':>10} {'ridge (operations/byte)':>24}")
for dtype in kinds_of_number:
    name = str(dtype).removeprefix("torch.")
    try:
        speed, side = measured_peak(dtype, 128, chip), 128
        for larger in [512, demo_size(full=1024, small=512, gpu=8192)]:
            if 2 * larger**3 / speed < 0.5:
                speed, side = max(speed, measured_peak(dtype, larger, chip)), larger
        moved = measured_bandwidth(demo_size(full=2**27, small=2**25, gpu=2**30), chip, dtype)
    except (RuntimeError, TypeError, NotImplementedError):
        print(f"{name:>10}  this chip or this torch cannot multiply matrices of it")
        continue
    float32_speed = speed if dtype == torch.float32 else float32_speed
    print(f"{name:>10} {speed:14.2e} {speed / float32_speed:11.2f} {moved:10.2e} {speed / moved:24.1f}   (side {side})")

# %% [markdown]
# **How to read it.** The bytes per second are about the same for all kinds of numbers, so half the bytes are twice the
# numbers. What happens to the arithmetic depends on the chip and on the library. A chip with a matrix unit for bfloat16
# or int8 multiplies them many times as fast as float32, if the library has a fast kernel for that kind. Its ridge then
# lies further to the right: the faster the arithmetic, the more computations wait for memory. A short kind that is
# slower than float32 tells that there is no such kernel, or that the chip converts each number by itself.
#
# ### Your operations under the roof
#
# Now your own functions, on data in this machine's memory. Operations and bytes are counted by hand (the comments in
# the cell); seconds are measured, on one core. Codes and bits are held against the roof of float32.


# %% tags=["demo"]
def run_tiles(A, B, tile):
    C = np.empty((len(A), B.shape[1]))
    both = {"A": A, "B": B}

    def load(name, i, j, h, w):
        return both[name][i : i + h, j : j + w].copy()

    def store(i, j, block):
        C[i : i + len(block), j : j + block.shape[1]] = block

    tiled_matmul(load, store, *A.shape, B.shape[1], tile)
    return C


def run_layernorm(X, block):
    Y = np.empty_like(X)

    def store(i, j, values):
        Y[i, j : j + len(values)] = values

    fused_layernorm(lambda i, j, h: X[i, j : j + h].copy(), store, *X.shape, block, 1e-5)
    return Y


cpu_peak = {
    kind: max(measured_peak(getattr(torch, kind), side, "cpu") for side in (256, 512, 1024))
    for kind in ("float32", "float64")
}
if chip == "cpu":  # one machine, one roof
    cpu_peak["float32"] = here_peak
cpu_bandwidth = here_bandwidth if chip == "cpu" else measured_bandwidth(2**27, "cpu")
draw = np.random.default_rng(5)
n = demo_size(full=512, small=96)
A, B = draw.standard_normal((2, n, n))
X = draw.standard_normal((8, demo_size(full=2**18, small=2**12))).astype(np.float32)
codes, scales = quantize(draw.standard_normal((1024, demo_size(full=4096, small=256))), 8, axis=0)
scales = scales.astype(np.float32)
placed = {}  # name: operations, bytes, what to run
for t in (n // 32, n // 8, n // 2):  # 2 n³ operations on 2 n³ / t + n² numbers of 8 bytes
    placed[f"tiled_matmul, tile {t}"] = 2 * n**3, 8 * (2 * n**3 / t + n**2), lambda t=t: run_tiles(A, B, t)
# Two reads and one write of 4 bytes; two sums, a difference and a square, then a difference and a product.
placed["fused_layernorm"] = 6 * X.size, 12 * X.size, lambda: run_layernorm(X, 2**14)
placed["to_bfloat16"] = 5 * X.size, 8 * X.size, lambda: to_bfloat16(X)  # a shift, two additions, two "and"
# The size, its maximum, a quotient, a rounding; 4 bytes in, 1 out.
placed["quantize"] = 4 * X.size, 5 * X.size, lambda: quantize(X, 8, axis=0)
for rows in (1, 64):  # 2 m k n operations; each code of W is one byte
    xq = np.repeat(codes[:1], rows, axis=0)
    job = lambda xq=xq: int8_linear(xq, np.ones(len(xq), np.float32), codes, scales)  # noqa: E731
    placed[f"int8_linear, batch {rows}"] = 2 * rows * codes.size, codes.size + rows * sum(codes.shape), job
figure, ax = plt.subplots(figsize=(8.5, 5))
intensity = np.logspace(-1.5, 3, 100)
for kind, style in [("float32", "-"), ("float64", "--")]:
    roof = [roofline(i, 1.0, cpu_peak[kind], cpu_bandwidth)[0] for i in intensity]
    ax.plot(intensity, roof, color=plotting.INK, linestyle=style, label=f"roof, {kind}")
families = list(dict.fromkeys(name.partition(",")[0] for name in placed))
for i, (name, (flops, moved, job)) in enumerate(placed.items()):
    speed = flops / best_seconds(job)
    kind = "float64" if "tiled" in name else "float32"
    bound, waits = roofline(flops, moved, cpu_peak[kind], cpu_bandwidth)
    family = families.index(name.partition(",")[0])
    ax.plot(flops / moved, speed, "os^Dv<P*"[i], color=plotting.COLOURS[family], markersize=8, label=name)
    print(f"{name:24} {flops / moved:7.2f} operations/byte, waits for {waits:7}, {speed / bound:5.0%} of its roof")
ax.set(xscale="log", yscale="log", xlabel="operations for each byte moved", ylabel="FLOP/s")
ax.set_title("Your functions under the roof of one core")
plotting.legend_below(ax, columns=3)
plt.show()

# %% [markdown]
# **How to read it.** A dot may lie above the sloped part of the roof: its data stay in a cache, which is faster than
# the memory that was measured. A dot far below the roof waits for something that the model does not know: the
# interpreter between two blocks, temporary arrays (each NumPy operation reads and writes whole arrays, so four of them
# in a row move four times the bytes that were counted), or conversions. Larger tiles move `tiled_matmul` up along the
# roof and towards the peak, because each call of `load` is then followed by more arithmetic. `int8_linear` at batch 1
# converts each code for two operations.
#
# ### Layer normalisation: three passes, fused, and torch's
#
# The same function in three forms, on 8 rows: three passes over whole arrays in NumPy, your fused one in blocks
# of 16,384 numbers, and torch's, the peer. Counted traffic is in the labels, for each number of 4 bytes.


# %% tags=["demo"]
def three_passes(X):
    mean = X.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    centred = X - mean
    variance = np.square(centred).mean(axis=1, keepdims=True)
    return centred / np.sqrt(variance + np.float32(1e-5))


def by_torch(X):
    return torch.nn.functional.layer_norm(torch.from_numpy(X), X.shape[1:], eps=1e-5).numpy()


found = scaling.measure(
    {
        "three passes, at least 16 bytes": three_passes,
        "fused (yours), 12 bytes": lambda X: run_layernorm(X, 2**14),
        "torch, at least 8 bytes": by_torch,
    },
    sizes=demo_size(full=[2**k for k in range(8, 21, 2)], small=[2**8, 2**10, 2**12]),
    setup=lambda width: draw.standard_normal((8, width), dtype=np.float32),
    label="numbers in a row",
    threads=1,
    budget=demo_size(full=6.0, small=1.5),
)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5))
found.plot(ax=left)
left.set_title("torch is fastest")
for name in list(found.seconds)[:2]:  # torch's own memory is not seen
    right.plot(found.sizes, found.memory[name] / (32 * found.sizes), "o-", label=name.partition(",")[0])
right.set(xscale="log", ylim=0, xlabel="numbers in a row", ylabel="peak memory besides X, in copies of X")
right.set_title("Fused: little besides the result")
right.legend()
for ax in (left, right):
    ax.set_xticks(found.sizes, [f"$2^{{{int(n).bit_length() - 1}}}$" for n in found.sizes])
    ax.minorticks_off()
plt.show()
X = (1e4 + draw.standard_normal((8, 2**14))).astype(np.float32)
exact = (X - X.mean(axis=1, keepdims=True, dtype=np.float64)) / np.sqrt(
    X.var(axis=1, keepdims=True, dtype=np.float64) + 1e-5
)
for name, job in [
    ("three passes", three_passes),
    ("fused (yours)", lambda X: run_layernorm(X, 2**14)),
    ("torch", by_torch),
]:
    print(f"{name}: largest error {np.abs(job(X) - exact).max():.1e} at a mean of 10^4")

# %% [markdown]
# **Who wins, and why.** torch wins: one compiled loop for each row, in registers and caches, without an interpreter and
# without temporary arrays. On short rows your function pays for Python at every block. On long rows it moves fewer
# bytes than three passes, but it also converts to float64, so how the two compare depends on the machine. The errors
# that are printed have the same reason: your few numbers on the chip are float64, and the other two keep the mean in
# float32. Its memory is that of the result and a few blocks; three passes need temporary arrays of the size of $X$. The
# lesson of 14.3 is about movement, and a kernel is where it pays: with a GPU the last cell of this section measures it.
#
# ### A network with 8 and 4 bits
#
# The network of 14.5, trained in float32 on 1,297 digits, now reads the other 500. Its weights are quantised with one
# scale for each output; its inputs with 8 bits, one scale for each row, at the moment when they arrive. All products
# are made by your `int8_linear`.


# %% tags=["demo"]
def quantised_logits(X, theta, bits):
    """The network's logits with integer products; the weights have so many bits, the inputs 8."""
    for layer, T in enumerate(theta):
        xq, xs = quantize(np.ascontiguousarray(X, np.float32), 8, axis=0)
        wq, ws = quantize(T.T, bits, axis=0)
        X = int8_linear(xq, xs, wq, ws)
        X = np.maximum(X, 0) if layer < len(theta) - 1 else X
    return X


theta = runs["float32"][3]
X, y = (digits.X[TRAINED:] / 16).astype(np.float32), digits.y[TRAINED:]
floats = np.maximum(X @ theta[0], 0) @ theta[1]
weights = sum(T.size for T in theta)
print(f"{'weights':>10} {'bytes':>8} {'right of 500':>13} {'error of the logits':>20}")
print(f"{'float32':>10} {4 * weights:8,} {np.mean(floats.argmax(axis=1) == y):13.1%}")
for bits in (8, 6, 4, 3, 2):
    Z = quantised_logits(X, theta, bits)
    size = weights * bits // 8
    if bits == 4:
        with contextlib.suppress(NotImplementedError):  # an extra exercise
            size = sum(pack_int4(quantize(T.T, 4, axis=0)[0]).nbytes for T in theta)
    size += 4 * sum(T.shape[1] for T in theta)  # the scales
    error = np.linalg.norm(Z - floats) / np.linalg.norm(floats)
    print(f"{bits:>5} bits {size:8,} {np.mean(Z.argmax(axis=1) == y):13.1%} {error:20.1%}")

# %% [markdown]
# Compare the rows. Eight bits take about a quarter of the bytes of float32. With four bits two weights share a byte. At
# two bits a weight is $-s$, 0 or $s$, and the network suffers. (By the binomial formula, a share of 95 % of 500 digits
# has a standard error of 1 %: smaller differences between rows mean nothing.) Large models keep groups of 32 to 128
# weights with a scale of their own where rows are long, and treat outliers apart.
#
# ### On a GPU
#
# The last cell needs a CUDA device and says so where there is none. It compares this GPU with its data sheet, and
# measures layer normalisation in four forms: operation by operation, compiled by `torch.compile`, as a kernel in
# Triton, and torch's own. On a GPU each operation of torch is a kernel of its own, which reads and writes slow memory,
# so the fused forms should come near the time of one read and one write. Your `softmax_kernel` is measured, too, if you
# have written it. (Compiling takes some seconds, at the first run.) Without a GPU the cell runs the kernel once, on a
# few numbers in Triton's interpreter, and compares the result with torch's.

# %% tags=["demo"]
SHEETS = {  # dense half precision FLOP/s and bytes/s, from NVIDIA's data sheets: SXM, with the largest memory
    "H200": (989e12, 4.8e12),
    "H100": (989e12, 3.35e12),
    "A100": (312e12, 2.04e12),
    "V100": (125e12, 0.9e12),
    "L4": (121e12, 0.3e12),
    "T4": (65e12, 0.32e12),
}


@jit
def layernorm_kernel(x, out, columns, eps, BLOCK: tl.constexpr):
    """Row r of x (rows, columns), normalised: one read, one write, and all between them on the chip."""
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    inside = at < columns
    z = tl.load(x + row * columns + at, mask=inside, other=0.0)
    centred = tl.where(inside, z - tl.sum(z, axis=0) / columns, 0.0)
    variance = tl.sum(centred * centred, axis=0) / columns
    tl.store(out + row * columns + at, centred / tl.sqrt(variance + eps), mask=inside)


def by_triton(x):
    out = torch.empty_like(x)
    layernorm_kernel[(len(x),)](x, out, x.shape[1], 1e-5, BLOCK=1 << (x.shape[1] - 1).bit_length())
    return out


def by_operations(x):
    centred = x - x.mean(dim=1, keepdim=True)
    return centred / torch.sqrt((centred * centred).mean(dim=1, keepdim=True) + 1e-5)


def by_layer_norm(x):
    return torch.nn.functional.layer_norm(x, x.shape[1:], eps=1e-5)


if GPU:
    name = torch.cuda.get_device_name(chip)
    half = device.amp_dtype(chip)
    fast = max(measured_peak(half, side, chip) for side in (2048, 4096, 8192))
    known = [numbers for part, numbers in SHEETS.items() if part in name.replace("-", " ").split()]
    print(f"{name}: {fast:.2e} FLOP/s in {str(half)[6:]}, {here_bandwidth:.2e} bytes/s")
    if known:
        print(
            f"of the SXM data sheet: {fast / known[0][0]:.0%} of the arithmetic, {here_bandwidth / known[0][1]:.0%} of the bandwidth"
        )
    x = torch.randn(demo_size(full=8192, small=1024, gpu=16384), 4096, device=chip)
    forms = {"operation by operation": by_operations, "torch.compile": torch.compile(by_operations)}
    if engines.library("triton") is not None:
        forms["Triton kernel"] = by_triton
    forms["torch's layer_norm"] = by_layer_norm
    least = 2 * x.nbytes / here_bandwidth
    for label, form in forms.items():
        try:
            error = (form(x) - by_layer_norm(x)).abs().max().item()
            seconds = best_seconds(lambda form=form: form(x), chip, runs=10)
        except Exception as failure:  # no C compiler for torch.compile, for example
            print(f"{label}: does not run here ({type(failure).__name__})")
            continue
        print(
            f"{label:24} {seconds * 1e3:8.3f} ms, {seconds / least:5.1f} times one read and one write, error {error:.0e}"
        )
    for label, form in {"softmax: your kernel": softmax_rows, "softmax: torch": lambda x: torch.softmax(x, 1)}.items():
        try:
            error = (form(x) - torch.softmax(x, 1)).abs().max().item()
            seconds = best_seconds(lambda form=form: form(x), chip, runs=10)
        except Exception as failure:  # not answered, or no Triton
            print(f"{label}: does not run here ({type(failure).__name__})")
            continue
        print(
            f"{label:24} {seconds * 1e3:8.3f} ms, {seconds / least:5.1f} times one read and one write, error {error:.0e}"
        )
else:
    print("No CUDA device here: data sheet, torch.compile and Triton's speed are left out.")
    if engines.library("triton") is not None:
        x = torch.randn(3, 50)
        print(
            f"layernorm_kernel in the interpreter: largest difference to torch {(by_triton(x) - by_layer_norm(x)).abs().max():.0e}"
        )

# %% [markdown]
# **Where it breaks.** The roofline knows one slow memory. A real machine has a hierarchy: registers, shared memory,
# caches, the GPU's memory, the link to the host, the network. Each has its own bandwidth, and each gives a roof of its
# own. The slowest link that a computation uses decides. Between machines that is the network, and module 17 counts its
# bytes as this one has counted those of the chip. Quantised weights help where memory decides, as in a
# server that answers few requests at a time (module 24).

# %% [markdown] written="when_decoding_waits" points=2
# **Written question (2 points).** A language model writes one token after another for $B$ users at once. (Here $B$
# counts users; it is not a matrix.) In each step a linear layer multiplies its weights, $k = n = 8192$, with $B$ rows
# of inputs. The chip reaches $\pi = 10^{15}$ operations per second in bfloat16, and $\beta = 3.3 \cdot 10^{12}$ bytes
# per second. (a) Count operations and bytes of one step for weights and inputs in bfloat16, and give the intensity as a
# function of $B$, for $B$ much smaller than 8,192. From which $B$ on does the step wait for arithmetic?
# (b) Weights are now stored with 4 bits and made bfloat16 on the chip before they are multiplied. By what factor does a
# step at $B = 1$ become faster at best? Where is the ridge now, in $B$? What do the 4 bits buy at $B = 1000$?
# (c) What share of $\pi$ does the chip reach if each token is computed by itself, as soon as it arrives, and what must a
# server do? (d) Name one cost of 4 bits that the roofline does not show.
#
# ### BEGIN SOLUTION
# (a) Operations: 2 B k n = 1.34e8 B. Bytes: 2 k n = 134 MB of weights, and 2 B (k + n), 33 kB for each user. For small
# B the weights decide, so I = 2 B k n / (2 k n) = B operations for each byte. The ridge is 1e15 / 3.3e12 = 303: from
# about 300 users on the step waits for arithmetic (with the inputs counted, I = B / (1 + B (k + n) / (k n)), about
# 330). (b) A quarter of the bytes: at most 4 times as fast at B = 1 (a little less with the scales). I = 4 B, so the
# ridge is at B = 76. At B = 1000 both wait for arithmetic, which is bfloat16 as before: no time is won, only memory,
# which can hold a larger model or more users' caches. (c) Each token alone has B = 1: all weights cross for two
# operations each, so one part in 300 of the arithmetic is used. Requests must be put together into batches. (d) The
# error of the weights, which has to be measured on the task; the conversion of codes on the chip, which takes
# operations; scales and groups to be stored.
#
# ### RUBRIC
# - 0.5: (a) The intensity is about B, and the ridge at about 300 (between 290 and 340).
# - 0.5: (b) At most 4 times faster at B = 1, and the ridge at about 76 (between 70 and 90).
# - 0.5: (b) At B = 1000 no time is won, because the arithmetic is the same; memory is.
# - 0.5: (c) and (d) Single tokens use about one part in 300 of the arithmetic, so requests are put together; and one
#   other cost, such as the error, the conversion or the scales.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. Strassen's product needs fewer multiplications, $n^{2.81}$. Does the lower bound of 14.2 hold for it? How many
#    words does it move?
# 2. Stochastic rounding is unbiased in each step. Is the result of a whole training run unbiased? What changes if the
#    loss is not quadratic?
# 3. The newest chips train with float8, where a block of numbers shares a scale. It comes in two forms, with 4 and with
#    5 bits of exponent. Which one would you take for weights, which for gradients, and how would you measure it?
# 4. A weight-stationary grid keeps $W$ and moves $A$. What moves in a grid that keeps $C$ instead? Which one suits a
#    product with $m = 1$?
# 5. A compiler can fuse operations. Can it find the two-pass layer normalisation from the three-pass formula? What must
#    it know about arithmetic?
#
# References:
#
# - S. Williams, A. Waterman and D. Patterson, "Roofline: an insightful visual performance model for multicore
#   architectures", *Communications of the ACM*, 2009. Where the picture comes from.
# - J.-W. Hong and H. T. Kung, "I/O complexity: the red-blue pebble game", *STOC*, 1981. The first lower bound on words
#   moved.
# - T. M. Smith, B. Lowery, J. Langou and R. A. van de Geijn, "A tight I/O lower bound for matrix multiplication",
#   arXiv, 2017. The constant.
# - T. F. Chan, G. H. Golub and R. J. LeVeque, "Algorithms for computing the sample variance: analysis and
#   recommendations", *The American Statistician*, 1983. Which formula loses how many digits.
# - J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", arXiv, 2016.
# - S. Gupta, A. Agrawal, K. Gopalakrishnan and P. Narayanan, "Deep learning with limited numerical precision", *ICML*,
#   2015. Stochastic rounding in training.
# - P. Micikevicius and others, "Mixed precision training", *ICLR*, 2018. Master weights and the loss scale.
# - B. Jacob and others, "Quantization and training of neural networks for efficient integer-arithmetic-only inference",
#   *CVPR*, 2018. Scales, codes and integer products.
# - T. Dettmers, M. Lewis, Y. Belkada and L. Zettlemoyer, "LLM.int8(): 8-bit matrix multiplication for transformers at
#   scale", *NeurIPS*, 2022. Outliers, and what to do about them.
# - H. T. Kung, "Why systolic architectures?", *IEEE Computer*, 1982. The idea, on a few pages.
# - N. P. Jouppi and others, "In-datacenter performance analysis of a tensor processing unit", *ISCA*, 2017. A grid of
#   256 by 256 cells, with its roofline.
# - P. Tillet, H. T. Kung and D. Cox, "Triton: an intermediate language and compiler for tiled neural network
#   computations", *MAPL*, 2019.
# - T. Dao, D. Y. Fu, S. Ermon, A. Rudra and C. Ré, "FlashAttention: fast and memory-efficient exact attention with
#   IO-awareness", *NeurIPS*, 2022. Tiles and merged sums for attention.
#
# At work: `torch.profiler` and NVIDIA Nsight Compute (which draws the roofline of a kernel); `torch.compile` for
# fusion; `torch.amp` for mixed precision; `torchao` and `bitsandbytes` for weights of 8 and 4 bits; Triton, if no
# library has the kernel that you need.
