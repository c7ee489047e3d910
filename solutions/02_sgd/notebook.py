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
# # 02 · Stochastic gradient descent
#
# The gradient of a loss over a billion rows reads a billion rows, and then gradient descent makes one step. The
# gradient over ten of these rows costs a hundred-millionth of that, but it is noisy. This module is about this trade.
# It measures what the noise costs, shows how to reduce it, and trains a model in one pass over a file that is larger
# than the memory.
#
# **After this module you can**
#
# - cut an epoch into batches that use each row once, so that a run can be repeated or resumed;
# - predict the loss at which a constant learning rate stops making progress, and choose a schedule that goes below it;
# - write momentum, Adam and AdaGrad as `torch.optim` defines them, and tell apart the definitions that share a name;
# - remove the noise completely where the data can be read more than once (SVRG);
# - train on ten million rows from a disk with the memory of one batch, and count evaluations, seconds and bytes.
#
# **You need** NumPy arrays, gradients (module 01 is enough), mean and variance. **Time**: about four and a half hours,
# 140 minutes of them in nine exercises. Two more exercises at the end are optional. **Skills**: reasoning about
# noise, reading definitions of optimisers closely, one-pass algorithms, counting what a computation costs.
#
# Each exercise's heading says how important it is (essential, important or optional), its level (1 to 4, which is also
# the number of its points) and how long it takes.
#
# **Symbols of the whole module**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $m$, $d$ | `m`, `d` | | number of rows (examples), number of parameters |
# | $\theta$ | `theta` | $(d,)$ | the parameters; $\theta_k$ are those before update $k = 0, 1, 2, \dots$ |
# | $J(\theta) = \frac1m\sum_i J_i(\theta)$ | | | the loss: a mean over rows, $J_i$ is the loss of row $i$ |
# | $\theta_*$ | | $(d,)$ | the minimum of $J$ |
# | $g_i(\theta) = \nabla J_i(\theta)$ | | $(d,)$ | the gradient of one row |
# | $\mathcal B$, $B$ | `rows`, `batch_size` | $(B,)$ | the numbers of the rows in a batch, and how many they are |
# | $g_{\mathcal B} = \frac1B\sum_{i\in\mathcal B} g_i$ | `grad(theta, rows)` | $(d,)$ | the mean gradient of a batch |
# | $\eta_k$ | `lr` | | the learning rate of update $k$ |
# | $\lambda$ | | | a curvature: an eigenvalue of the Hessian of $J$ |
# | $\sigma^2$ | | | the variance of $g_i$ from row to row, along one direction |
# | $v$; $u$, $s$ | `velocity`; `first`, `second` | $(d,)$ | the memory of momentum; the two memories of Adam |
# | $\beta$, $\beta_1$, $\beta_2$ | `beta`, ... | | how much of a memory is kept from one update to the next |
#
# Each optimiser below receives one function, `grad(theta, rows)`. It never sees the data.

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    from lsml_utils import checking, datasets, demo_size, device, plotting
    from lsml_utils.checking import check, expect_close, expect_dtype, expect_raises, expect_shape, expect_unchanged
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import functools
import math
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import matplotlib.pyplot as plt
import numpy as np
import torch
from threadpoolctl import threadpool_limits

plotting.use()
checking.start("02_sgd", total=11)

# %% [markdown]
# ## 1. Ask a few rows
#
# The full gradient is a mean, $\nabla J = \frac1m\sum_i g_i$. A sample is enough to estimate a mean. Draw a batch
# $\mathcal B$ of $B$ rows at random. The mean of their gradients, $g_{\mathcal B}$, is right on average,
# $\mathbb E\,g_{\mathcal B} = \nabla J$. Along each direction its variance is about $\sigma^2/B$.
#
# So ten times the rows cost ten times as much, and they reduce the error only to a third, since $\sqrt{10}\approx 3$.
# How much error is acceptable? That depends on the distance from the minimum. Each dot below is the end of the
# gradient of one batch of 10 rows, drawn from the origin. The dark arrow is the full gradient. A step goes in the
# direction opposite to the batch's gradient. The step is downhill if the dot lies on the arrow's side of the origin,
# and uphill if the dot lies on the other side. The titles give the share of uphill steps.

# %% tags=["demo"]
cloud = datasets.linear(2000, 2, condition=2.0, noise=1.0, seed=2)
cloud_best = np.linalg.lstsq(cloud.X, cloud.y, rcond=None)[0]
rng = np.random.default_rng(0)
figure, axes = plt.subplots(1, 2, figsize=(11, 4.4))
for ax, distance in zip(axes, (3.0, 0.15), strict=True):
    theta = cloud_best + distance * np.array([0.8, -0.6])
    of_rows = cloud.X * (cloud.X @ theta - cloud.y)[:, None]
    batches = np.array([of_rows[rng.choice(2000, 10, replace=False)].mean(axis=0) for _ in range(400)])
    full = of_rows.mean(axis=0)
    uphill = np.mean(batches @ full < 0)
    ax.plot(*batches.T, ".", color=plotting.COLOURS[1], alpha=0.5, label="batches of 10 rows")
    ax.annotate("", full, (0, 0), arrowprops={"arrowstyle": "-|>", "linewidth": 2.5, "color": "#222222"})
    ax.plot([], [], color="#222222", linewidth=2.5, label="the full gradient")
    ax.axhline(0, color="grey", linewidth=0.6)
    ax.axvline(0, color="grey", linewidth=0.6)
    ax.set(
        xlabel="∂J/∂θ₁",
        ylabel="∂J/∂θ₂",
        title=f"distance {distance} from the minimum: {uphill:.0%} of the steps go uphill",
    )
    ax.set_aspect("equal", adjustable="datalim")
    ax.legend(loc="upper right")
plt.show()

# %% [markdown]
# Far from the minimum, all batches agree on the direction, so more rows in a batch are a waste. Near the minimum, the
# gradients of single rows are as long as before, because each row has a minimum of its own. Only their mean goes to
# zero. There, a batch is mostly noise. The rest of this module follows from these two pictures.
#
# ### With or without replacement
#
# Theory prefers batches that are drawn independently. In practice, the rows are shuffled once an **epoch** (a pass
# over the data), and the shuffled order is cut into batches. So an epoch uses each row exactly once. If $m$ rows are
# drawn independently from $m$ rows, a given row is missed by all draws with probability $(1-1/m)^m \approx 1/e$: an
# epoch would miss more than a third of the data. A shuffle misses no row, and it converges faster (Mishchenko et al.,
# 2020).
#
# A shuffle must also be *repeatable*. Suppose that a run stops in epoch 17. It should be resumed in epoch 17, with the
# batches that it would have had, by a new process and without repeating the 16 epochs before. So let the order be a
# function of two numbers, the seed and the epoch. It is tempting to combine them as `seed + epoch`. But then epoch 0 of
# run 1 is epoch 1 of run 0, and five runs that should be independent share most of their batches. NumPy takes both
# numbers: `np.random.default_rng([seed, epoch])`.
#
# ### 2.1 `minibatches` · essential · level 1 of 4 · 10 min


# %% exercise="minibatches" points=1 minutes=10 trains=["reasoning about noise"]
def minibatches(m: int, batch_size: int, seed: int, epoch: int = 0) -> list[np.ndarray]:
    """One epoch in batches: the row numbers 0 ... m - 1 in a random order, cut into pieces.

    m: the number of rows, >= 0.
    batch_size: >= 1; may be larger than m.
    seed, epoch: Python integers, >= 0 and < 2^31. The same (m, batch_size, seed, epoch) always gives
      the same batches, whatever was called before, and in another process, too. Another pair
      (seed, epoch) gives another order: (0, 1) and (1, 0) differ, and so do (0, 1000) and (1, 0).

    Returns a list of 1-D integer arrays, new ones in each call. Each holds batch_size row numbers,
    but the last holds the rest (at least one). Together they hold each row number exactly once. All
    orders are equally likely: rows are shuffled, not batches of neighbours. An empty list if m is 0.
    Takes O(m) time, for any batch_size; up to m short arrays are fine. Neither uses nor changes the
    global random states of NumPy, torch and Python.
    """
    ### BEGIN SOLUTION
    order = np.random.default_rng([seed, epoch]).permutation(m)
    return [order[i : i + batch_size] for i in range(0, m, batch_size)]
    ### END SOLUTION


# %% [markdown] hints="minibatches"
# <details><summary>Hint 1: shuffle first, cut afterwards</summary>
#
# A generator's `permutation(m)` is an array that holds each of 0 ... m - 1 once. Then cut it.
#
# </details>
# <details><summary>Hint 2: a generator of its own</summary>
#
# `np.random.default_rng([seed, epoch])` makes a generator from the two numbers together. `np.random.seed` and
# `np.random.shuffle` would change a state that the whole program uses.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# Let `order` be the permutation. Return a list of `order[i : i + batch_size]` for `i` in `range(0, m, batch_size)`.
# Python ends a slice at the end of the array, which is right for the last batch.
#
# </details>

# %% check="minibatches"
with check("minibatches"):
    got = minibatches(10, 4, seed=0)
    sizes = [len(rows) for rows in got]
    assert sizes == [4, 4, 2], f"10 rows in batches of 4 are 4 + 4 + 2; yours have {sizes}"
    expect_close(np.sort(np.concatenate(got)), np.arange(10), hint="each of 0 ... 9 is in exactly one batch")
    whole = np.concatenate(minibatches(100, 7, seed=0))
    expect_close(np.concatenate(minibatches(100, 7, seed=0)), whole, hint="the same seed and epoch: the same order")
    assert np.any(whole != np.arange(100)), "the rows are in their old order: shuffle them"
    assert np.any(whole != np.concatenate(minibatches(100, 7, 0, 1))), "epoch 1 has the order of epoch 0"
    for epoch in (1, 1000):
        one, other = (np.concatenate(minibatches(100, 7, *pair)) for pair in [(0, epoch), (1, 0)])
        assert np.any(one != other), f"(seed, epoch) = (0, {epoch}) and (1, 0) have the same order: do not add the two"
    assert len(minibatches(3, 8, seed=0)) == 1, "3 rows in batches of 8 are one batch, of 3 rows"
    assert minibatches(0, 8, seed=0) == [], "no rows, no batches"

# %% [markdown]
# This plot compares your epochs with independent draws. How many rows has a run not yet used?

# %% tags=["demo"]
m_seen, batch_seen = 2000, 20
rng = np.random.default_rng(1)
unseen = {"drawn independently": [], "shuffled each epoch (yours)": []}
for name, missing in unseen.items():
    used = np.zeros(m_seen, bool)
    for epoch in range(3):
        for rows in minibatches(m_seen, batch_seen, 0, epoch):
            used[rows if "yours" in name else rng.integers(m_seen, size=batch_seen)] = True
            missing.append(1 - used.mean())
steps_seen = np.arange(1, len(missing) + 1) * batch_seen / m_seen
ax = plotting.curves(
    {name: (steps_seen, missing) for name, missing in unseen.items()},
    xlabel="epochs",
    ylabel="share of rows never used",
    title="Independent draws miss a third of the rows",
)
ax.axhline(math.exp(-1), color="grey", linewidth=0.8, linestyle=":")
ax.text(2.2, math.exp(-1) + 0.02, "1/e")
plt.show()

# %% [markdown]
# ## 2. Many cheap steps
#
# **Stochastic gradient descent** (SGD) makes one step for each batch:
#
# $$\theta_{k+1} = \theta_k - \eta_k\, g_{\mathcal B_k}(\theta_k) .$$
#
# An epoch costs as much as one step of gradient descent, $m$ gradients of rows, and it makes $m/B$ steps. The step
# number $k$ goes on from epoch to epoch. A learning rate that changes with time depends on $k$, so `lr` is a function
# of it.
#
# ### 2.2 `sgd` · essential · level 2 of 4 · 15 min


# %% exercise="sgd" points=2 minutes=15 forbids=["torch.optim"] trains=["reasoning about noise"]
def sgd(
    grad: Callable[[np.ndarray, np.ndarray], np.ndarray],
    theta0: np.ndarray,
    m: int,
    lr: Callable[[int], float],
    batch_size: int = 32,
    epochs: int = 1,
    seed: int = 0,
) -> np.ndarray:
    """Stochastic gradient descent: theta <- theta - lr(k) * grad(theta, rows), batch after batch.

    grad: called as grad(theta, rows), with theta of shape (d,) and rows a 1-D integer array of row
      numbers; returns the mean gradient of these rows, a (d,) array of theta's dtype.
    theta0: (d,), d >= 1, float32, float64 or integers of any kind, the start; neither it nor what
      grad returns may be modified.
    m: the number of rows, >= 1.
    lr: lr(k) is the learning rate of update k, a Python float. k is a Python int: it counts all
      updates from 0 and goes on from epoch to epoch.
    batch_size >= 1, 0 <= seed < 2^31: epoch e = 0, 1, ... uses the batches of your
      minibatches(m, batch_size, seed, e), in their order.
    epochs: >= 0.

    Returns a new array (epochs + 1, d): theta0, and theta after each epoch. Its dtype is theta0's
    if that is float32 or float64, else float64.
    grad and lr are called exactly once for each update. Do not use torch.optim.
    """
    ### BEGIN SOLUTION
    theta = np.array(theta0)
    if theta.dtype.kind != "f":
        theta = theta.astype(float)
    thetas = np.empty((epochs + 1, len(theta)), theta.dtype)
    thetas[0] = theta
    k = 0
    for epoch in range(epochs):
        for rows in minibatches(m, batch_size, seed, epoch):
            theta = theta - lr(k) * grad(theta, rows)
            k += 1
        thetas[epoch + 1] = theta
    return thetas
    ### END SOLUTION


# %% [markdown] hints="sgd"
# <details><summary>Hint 1: two loops</summary>
#
# The outer loop runs over epochs, the inner one over the batches of that epoch. An update happens in the inner
# loop. The result is stored in the outer one.
#
# </details>
# <details><summary>Hint 2: the counter and the copy</summary>
#
# `k` is set to 0 once, before both loops. And `theta = theta - ...` makes a new array, where `theta -= ...` would
# change each array that shares its memory: `theta0`, and the results that you have stored.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `thetas = [theta]`; for each `epoch`: for each `rows` in `minibatches(m, batch_size, seed, epoch)`:
# `theta = theta - lr(k) * grad(theta, rows)` and `k += 1`; after the inner loop `thetas.append(theta)`. Return
# `np.array(thetas)`. Convert integers to floats first.
#
# </details>

# %% check="sgd"
# A problem with one parameter: J_i = (theta - x_i)^2 / 2. Its gradient is theta - x_i, its minimum the mean of x, 3.
x_hand = np.array([1.0, 2.0, 3.0, 6.0])


def towards_mean(theta, rows):
    return theta - x_hand[rows].mean()


with check("sgd", forbids=["torch.optim"]):
    start = np.zeros(1)
    with expect_unchanged(theta0=start):
        got = sgd(towards_mean, start, 4, lambda k: 0.5, batch_size=4, epochs=2)
    # One batch an epoch: each step goes half of the way to 3.
    expect_close(
        got,
        [[0], [1.5], [2.25]],
        rtol=1e-12,
        hint="0 -> 1.5 -> 2.25: theta0 comes first",
        mistakes={"You went uphill: subtract the gradient.": [[0], [-1.5], [-3.75]]},
    )
    # With rates 1, 1/2, 1/3, 1/4 theta is the mean of the rows met so far, so it ends at 3 in any order.
    asked, used = [], []

    def one_over(k):
        asked.append(k)
        return 1 / (k + 1)

    def noted(theta, rows):
        used.append(rows.tolist())
        return towards_mean(theta, rows)

    got = sgd(noted, np.array([9]), 4, one_over, batch_size=1, epochs=2, seed=5)
    expect_close(got, [[9], [3], [3]], rtol=1e-12, hint="rates of 1/(k + 1) make theta the running mean")
    expected = [rows.tolist() for epoch in (0, 1) for rows in minibatches(4, 1, 5, epoch)]
    assert used == expected, f"two epochs of your minibatches with seed 5 are {expected}; grad was asked for {used}"
    assert asked == list(range(8)), f"lr must be asked for k = 0, 1, ..., 7; yours was asked for {asked}"
    expect_dtype(sgd(towards_mean, np.zeros(1, np.float32), 4, lambda k: 0.5, 2), np.float32)

# %% [markdown]
# The check contains a result of its own. A running mean is SGD with the rate $1/(k+1)$.
#
# The next cell runs your function on a loss with two parameters, with batches of 8 rows and constant rates.

# %% tags=["demo"]
bowl = datasets.linear(8000, 2, condition=6.0, noise=1.0, seed=4)
bowl_best = np.linalg.lstsq(bowl.X, bowl.y, rcond=None)[0]


def squared_gradient(data):
    """The mean gradient of 1/2 (x_i theta - y_i)^2 over a batch of rows."""
    return lambda theta, rows: data.X[rows].T @ (data.X[rows] @ theta - data.y[rows]) / len(rows)


def excess(data, thetas):
    """J(theta) - min J for each theta in a list, as half of e^T H e, which cancels no digits."""
    off = np.atleast_2d(thetas) - np.linalg.lstsq(data.X, data.y, rcond=None)[0]
    return 0.5 * np.sum(off @ (data.X.T @ data.X / len(data.y)) * off, axis=1)


def watched(optimiser, grad, *args, **kwargs):
    """Every theta at which an optimiser asks for a gradient, shape (updates, d)."""
    asked = []

    def noting(theta, rows):
        asked.append(np.array(theta))
        return grad(theta, rows)

    optimiser(noting, *args, **kwargs)
    return np.array(asked)


bowl_start = bowl_best + np.array([2.5, 1.2])
at_best = bowl.X * (bowl.X @ bowl_best - bowl.y)[:, None]  # (m, d): the gradient of each row at the minimum
noise = float(np.mean(np.sum(at_best**2, axis=1)))
figure, axes = plt.subplots(1, 2, figsize=(12, 4.6))
paths = {}
for lr, colour in zip((0.5, 0.1, 0.02), plotting.COLOURS, strict=False):
    asked = watched(sgd, squared_gradient(bowl), bowl_start, 8000, lambda k, lr=lr: lr, batch_size=8, epochs=2)
    paths[f"η = {lr}"] = asked[:200]
    smooth = np.convolve(excess(bowl, asked), np.ones(25) / 25, mode="valid")
    axes[1].semilogy(smooth, color=colour, label=f"η = {lr}")
    axes[1].axhline(lr * noise / (4 * 8), color=colour, linestyle=":", linewidth=1.4)
axes[1].plot([], [], ":", color="grey", label="predicted below")
axes[1].set(xlabel="update k", ylabel="J(θₖ) − min J, mean of 25 updates", title="Each rate has a floor of its own")
axes[1].legend()
plotting.contours(
    lambda p: excess(bowl, p)[0],
    (bowl_best[0] - 1.5, bowl_best[0] + 3),
    (bowl_best[1] - 1.5, bowl_best[1] + 2),
    paths=paths,
    minimum=bowl_best,
    xlabel="θ₁",
    ylabel="θ₂",
    title="200 updates: quick and noisy, or slow and calm",
    ax=axes[0],
)
plt.show()

# %% [markdown]
# ### Where the floor is
#
# Take one eigendirection of the Hessian, with curvature $\lambda$. Let $e_k$ be the error of $\theta_k$ in this
# direction, and $\xi_k$ the error of the batch's gradient. $\xi_k$ has mean 0 and variance $\sigma^2/B$, and it is
# independent of $e_k$. Then
#
# $$e_{k+1} = (1-\eta\lambda)\,e_k - \eta\,\xi_k, \qquad
#   \mathbb E\,e_{k+1}^2 = (1-\eta\lambda)^2\,\mathbb E\,e_k^2 + \eta^2\sigma^2/B .$$
#
# The first term shrinks the error of the start, as in gradient descent. The second term adds new noise in each step.
# They are in balance where
#
# $$\mathbb E\,e^2 = \frac{\eta^2\sigma^2/B}{1-(1-\eta\lambda)^2} = \frac{\eta\,\sigma^2}{B\,\lambda\,(2-\eta\lambda)}
#   \approx \frac{\eta\,\sigma^2}{2B\lambda} .$$
#
# This direction adds $\frac{\lambda}{2}\,\mathbb E\,e^2 \approx \eta\sigma^2/(4B)$ to the loss. The curvature cancels.
# The sum of the variances over all directions is the mean squared length of a row's gradient at the minimum:
#
# $$\boxed{\;\mathbb E\,J(\theta_k) - \min J \;\to\; \frac{\eta}{4B}\;\frac1m\sum_i\lVert g_i(\theta_*)\rVert^2\;}$$
#
# The dotted lines of the figure show these values. The formula leaves three things out:
#
# - In a shuffle, the draws of one epoch are not quite independent. This lowers the floor.
# - Near the limit of stability, the factor $2/(2-\eta\lambda)$, which we dropped, raises it.
# - The noise grows away from the minimum: $\sigma^2$ stands for the variance *at* $\theta_*$, but a run at its floor is
#   some way off. This raises the floor, and most where the floor is high.
#
# The formula says what can be done. Half the rate, or twice the batch, halves the floor. With half the rate the way to
# the floor takes twice as many steps, and with twice the batch each step costs twice as much. If $g_i(\theta_*) = 0$
# for all rows, there is no floor: a model that fits each row exactly can be trained at a constant rate to the end.
#
# ## 3. A rate that changes with time
#
# Large steps are good far from the minimum, and small steps are good near it. So let $\eta_k$ fall. How slowly?
# Robbins and Monro (1951) gave two conditions. $\sum_k \eta_k = \infty$ makes sure that the steps can cover any
# distance. $\sum_k \eta_k^2 < \infty$ makes sure that the sum of all the noise stays finite. A rate proportional to
# $1/k$ satisfies both. This is **inverse-time** decay,
#
# $$\eta = \eta_{\text{peak}} \big/ \left(1 + \frac{k}{\text{span}}\right).$$
#
# It reaches half of the peak after `span` steps. If the number of steps is known in advance, the rate can stay high for
# longer and then go down to zero. Many large models are trained with half a period of a **cosine**,
#
# $$\eta = \eta_{\text{peak}}\cdot \tfrac12\left(1 + \cos\frac{\pi k}{\text{span}}\right).$$
#
# Both may follow a **warm-up**, in which the rate rises in a straight line. Early gradients are long and point in
# directions that soon change, and the memories of momentum and Adam are still empty. Tutorials disagree about the
# first step. With $k/\text{warmup}$ its rate is 0, and the first batch has no effect. Here the rate is
# $(k+1)/\text{warmup}$ of the peak. So all `warmup` steps have an effect, and the last of them has the full rate. The
# decay counts its steps from there.
#
# ### 2.3 `learning_rate` · essential · level 2 of 4 · 10 min


# %% exercise="learning_rate" points=2 minutes=10 trains=["reasoning about noise"]
def learning_rate(k: int, peak: float, warmup: int, span: int, decay: str = "cosine") -> float:
    """The learning rate of update k: warm-up, then decay.

    k: the number of the update, a Python int from 0 to 10^12.
    peak: the largest rate, a Python float > 0.
    warmup: the number of updates with a rising rate, an int >= 0. Update k < warmup has the
      rate peak * (k + 1) / warmup; with warmup = 0 there are none.
    span: an int >= 1, see below. Let j = k - warmup count the updates after the warm-up, from 0.
    decay: "cosine": peak * (1 + cos(pi * j / span)) / 2 for j <= span, and 0 ever after;
      "inverse": peak / (1 + j / span). So update k = warmup has the rate peak with both.

    Returns a Python float (0.0, not 0). Raises ValueError for any other decay if k >= warmup. During
    the warm-up it may raise ValueError or return the rate.
    """
    ### BEGIN SOLUTION
    if k < warmup:
        return peak * (k + 1) / warmup
    passed = (k - warmup) / span
    if decay == "cosine":
        return peak * (1 + math.cos(math.pi * min(passed, 1.0))) / 2
    if decay == "inverse":
        return peak / (1 + passed)
    raise ValueError(f"decay must be 'cosine' or 'inverse', not {decay!r}")
    ### END SOLUTION


# %% [markdown] hints="learning_rate"
# <details><summary>Hint 1: two counters</summary>
#
# The warm-up looks at `k`. The decay looks at `k - warmup`, which is 0 at the first update after the warm-up.
#
# </details>
# <details><summary>Hint 2: after the end</summary>
#
# A cosine rises again after its minimum. Keep `j / span` at 1 from there on.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# If `k < warmup`, return `peak * (k + 1) / warmup`. Otherwise let `passed = (k - warmup) / span`, and return
# `peak * (1 + math.cos(math.pi * min(passed, 1))) / 2` or `peak / (1 + passed)`; raise `ValueError` for other names.
#
# </details>

# %% check="learning_rate"
# Four steps up to 2, and then a span of 10: k = 4 is the start of the decay, 9 its middle, 14 its end.
with check("learning_rate"):
    rates = [learning_rate(k, 2.0, 4, 10) for k in (0, 3, 4, 9, 14, 24, 1000)]
    expect_close(
        rates,
        [0.5, 2, 2, 1, 0, 0, 0],
        atol=1e-12,
        hint="up: 0.5, 1, 1.5, 2; then 2 at k = 4, half of it at k = 9, 0 from k = 14 on",
        mistakes={"With k / warmup the first batch has no effect: use k + 1.": [0, 1.5, 2, 1, 0, 0, 0]},
    )
    rates = [learning_rate(k, 2.0, 4, 10, decay="inverse") for k in (0, 3, 4, 14, 24)]
    expect_close(rates, [0.5, 2, 2, 1, 2 / 3], rtol=1e-12, hint="2 / (1 + j / 10) with j = k - 4: 2, then 1, then 2/3")
    expect_close(learning_rate(0, 2.0, 0, 10), 2.0, rtol=1e-12, hint="no warm-up: the first update has the full rate")
    with expect_raises(ValueError, hint="only 'cosine' and 'inverse' are known"):
        learning_rate(7, 2.0, 4, 10, decay="linear")

# %% [markdown]
# Two variants are common, and both can be built from your function.
#
# - A **cosine with a floor** ends at a small rate $\eta_{\text{end}}$, often a tenth of the peak, and not at zero. So
#   the last steps still learn. It is $\eta_{\text{end}}$ plus a cosine with the peak $\eta_{\text{peak}} -
#   \eta_{\text{end}}$.
# - **Warm-up, stable, decay** (WSD) keeps the peak for most of the run, and lets the rate fall to zero in a straight
#   line over the last fifth or so. The end need not be known at the start. To train for longer, go back to the last
#   parameters of the stable part and continue from there. A cosine would have to start again (Hu et al., 2024).
#
# The next cell compares five schedules on the loss of section 2, with the same number of updates each. The right panel
# shows the loss during the run.


# %% tags=["demo"]
def stable_then_decay(k, peak, warmup, total, last=0.2):
    """Warm-up, then the peak, then a straight line down to 0 in the last part of all updates."""
    return peak * min((k + 1) / warmup, 1.0, (total - k) / (last * total))


schedule_epochs = demo_size(full=8, small=2)
total = schedule_epochs * (8000 // 8)
warm = total // 20
schedules = {
    "constant 0.5": lambda k: 0.5,
    "inverse": lambda k: learning_rate(k, 0.5, warm, total // 50, "inverse"),
    "cosine": lambda k: learning_rate(k, 0.5, warm, total - warm),
    "cosine with a floor": lambda k: 0.05 + learning_rate(k, 0.45, warm, total - warm),
    "warm-up, stable, decay": lambda k: stable_then_decay(k, 0.5, warm, total),
}
in_between = {}
for name, lr in schedules.items():
    asked = watched(
        sgd, squared_gradient(bowl), bowl_start + 20, 8000, lr, batch_size=8, epochs=schedule_epochs, seed=1
    )
    in_between[name] = (np.arange(200, total + 1, 200), excess(bowl, asked).reshape(-1, 200).mean(axis=1))
figure, axes = plt.subplots(1, 2, figsize=(12, 4.4))
plotting.curves(
    {name: [lr(k) for k in range(total)] for name, lr in schedules.items()},
    xlabel="update k",
    ylabel="learning rate",
    title="Five schedules ...",
    ax=axes[0],
)
plotting.curves(
    in_between,
    xlabel="update k",
    ylabel="J − min J, mean of 200 updates",
    logy=True,
    title="... and the loss during the run",
    ax=axes[1],
)
axes[1].get_legend().remove()
axes[1].axhline(0.5 * noise / (4 * 8), color="grey", linestyle=":", linewidth=1)
axes[1].axhline(0.05 * noise / (4 * 8), color="grey", linestyle=":", linewidth=1)
plt.show()

# %% [markdown]
# The grey dotted lines are the predicted floors of the rates 0.5 and 0.05. The constant rate stops at the upper one,
# and the cosine with a floor comes down to the lower one. The inverse rate sinks slowly and needs to know no end. The
# cosine and WSD stay near the upper floor for a long time and go down last. So a loss in the middle of such a run says
# little about the loss at its end. On a loss as simple as this one, a rate that stays high for longer gains nothing.
# It helps on losses with many minima.
#
# ## 4. Remember the last steps
#
# SGD forgets a batch as soon as its step is made. **Momentum** keeps a running sum of gradients. In each update, the
# old sum shrinks by the factor $\beta$:
#
# $$v \leftarrow \beta v + g, \qquad \theta \leftarrow \theta - \eta\,v .$$
#
# Written as a sum, $v_k = g_k + \beta g_{k-1} + \beta^2 g_{k-2} + \dots$. Where all gradients are equal, $v$ grows to
# $1 + \beta + \beta^2 + \dots = 1/(1-\beta)$ times the gradient: with $\beta = 0.9$, the steps along a long valley
# become ten times as long. Where the gradients change their sign from step to step, they cancel. This is the gain.
# Momentum does not reduce the noise. In the long run, each gradient still moves $\theta$ by $\eta/(1-\beta)$ in total,
# in many small parts. So its floor is about the floor of a plain rate of $\eta/(1-\beta)$.
#
# Three definitions have the same name:
#
# | definition | used by | the long-run step |
# | --- | --- | --- |
# | $v\leftarrow\beta v+g,\;\theta\leftarrow\theta-\eta v$ | **this module**, `torch.optim.SGD` | $\eta/(1-\beta)$ |
# | $v\leftarrow\beta v-\eta g,\;\theta\leftarrow\theta+v$ | Polyak (1964), Keras, scikit-learn | $\eta/(1-\beta)$ |
# | $v\leftarrow\beta v+(1-\beta)g,\;\theta\leftarrow\theta-\eta v$ | lecture notes, Adam's numerator | $\eta$ |
#
# The first two agree as long as the rate is constant. In the second, each old gradient keeps the rate that was valid
# when it was added. A rate that was tuned for the first is too small for the third, by a factor of $1/(1-\beta)$.
#
# ### 2.4 `momentum_step` · important · level 1 of 4 · 5 min


# %% exercise="momentum_step" points=1 minutes=5 forbids=["torch.optim"] trains=["reading definitions of optimisers closely"]
def momentum_step(
    theta: np.ndarray, velocity: np.ndarray, gradient: np.ndarray, lr: float, beta: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
    """One update with momentum, as torch.optim.SGD defines it.

        velocity <- beta * velocity + gradient
        theta    <- theta - lr * velocity        (with the new velocity)

    theta, velocity, gradient: arrays of one shape, any shape with at least one axis, and one dtype,
      float32 or float64, with entries up to 1e150 (float32: 1e18) in absolute value; not modified.
      At the first update velocity is all zeros.
    lr, beta: Python floats, lr > 0 and 0 <= beta < 1.

    Returns (theta, velocity), two new arrays of that shape and dtype.
    Do not use torch.optim: it is what you are writing.
    """
    ### BEGIN SOLUTION
    velocity = beta * velocity + gradient
    return theta - lr * velocity, velocity
    ### END SOLUTION


# %% [markdown] hints="momentum_step"
# <details><summary>Hint 1: which velocity</summary>
#
# The velocity is updated first; the step of theta uses the new one. With `beta = 0` this must be a plain step.
#
# </details>
# <details><summary>Hint 2: nearly the answer</summary>
#
# `velocity = beta * velocity + gradient` makes a new array. Return `theta - lr * velocity` and `velocity`, in this
# order.
#
# </details>

# %% check="momentum_step"
# theta = 1, gradient 2 twice, lr = 0.1, beta = 0.5. Velocity: 2, then 0.5 * 2 + 2 = 3. Theta: 1 - 0.2, then 0.8 - 0.3.
with check("momentum_step", forbids=["torch.optim"]):
    theta, velocity, gradient = np.array([1.0]), np.array([0.0]), np.array([2.0])
    with expect_unchanged(theta=theta, velocity=velocity, gradient=gradient):
        theta_1, velocity_1 = momentum_step(theta, velocity, gradient, lr=0.1, beta=0.5)
    expect_close(
        theta_1,
        [0.8],
        rtol=1e-12,
        hint="velocity 2, so 1 - 0.1 * 2",
        mistakes={
            "The gradient is not multiplied by 1 - beta in this definition.": [0.9],
            "You stepped with the old velocity; use the new one.": [1.0],
            "You went uphill: subtract.": [1.2],
        },
    )
    theta_2, velocity_2 = momentum_step(theta_1, velocity_1, gradient, lr=0.1, beta=0.5)
    expect_close(velocity_2, [3.0], rtol=1e-12, hint="0.5 * 2 + 2")
    expect_close(theta_2, [0.5], rtol=1e-12, hint="0.8 - 0.1 * 3")

# %% [markdown]
# This loss is a long valley with $\lambda_{\max} = 1$, so a plain rate must stay below 2 (module 01). The left panel
# has almost no noise. Momentum with $\eta = 0.1$ and $\beta = 0.9$ is about as fast as the plain rate $0.1/(1-0.9) =
# 1$. With $\eta = 1$ it is faster: its long-run rate is 10, and a plain step of that size would diverge. The right
# panel has noise. It shows the floors of the same three runs. The plain rate 1 is half of its limit, so the factor
# $2/(2-\eta\lambda)$ of section 2 raises its floor above that of momentum with $\eta = 0.1$.


# %% tags=["demo"]
def with_momentum(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0, beta=0.9):
    """Like sgd, but each update is your momentum_step."""
    theta, velocity, thetas, k = np.array(theta0, float), np.zeros(len(theta0)), [theta0], 0
    for epoch in range(epochs):
        for rows in minibatches(m, batch_size, seed, epoch):
            theta, velocity = momentum_step(theta, velocity, grad(theta, rows), lr(k), beta)
            k += 1
        thetas.append(theta)
    return np.array(thetas)


figure, axes = plt.subplots(1, 2, figsize=(12, 4.4), sharey=True)
runs = [("plain, η = 1", sgd, 1.0), ("momentum, η = 0.1", with_momentum, 0.1), ("momentum, η = 1", with_momentum, 1.0)]
for ax, scatter in zip(axes, (0.001, 1.0), strict=True):
    valley = datasets.linear(4000, 6, condition=60.0, noise=scatter, seed=6)
    walks = {}
    for name, walk, lr in runs:
        asked = watched(
            walk, squared_gradient(valley), valley.theta + 2, 4000, lambda k, lr=lr: lr, batch_size=64, epochs=16
        )
        walks[name] = np.convolve(excess(valley, asked), np.ones(20) / 20, mode="valid")
    title = "Almost no noise: momentum is speed" if scatter < 1 else "Noise: speed has its price"
    plotting.curves(walks, xlabel="update k", ylabel="J − min J" if scatter < 1 else "", logy=True, title=title, ax=ax)
axes[1].get_legend().remove()
plt.show()

# %% [markdown]
# ## 5. A rate for every parameter
#
# In a click log, a common site appears in each batch, and a rare one appears once a day. Columns have units of their
# own. One rate for all parameters is too large for some and too small for others. **Adam** (Kingma, Ba, 2015) divides
# each entry of the step by the typical size of the gradient in that entry. It keeps two running means, of the gradient
# and of its square, entry by entry:
#
# $$u \leftarrow \beta_1 u + (1-\beta_1)\,g, \qquad s \leftarrow \beta_2 s + (1-\beta_2)\,g^2 .$$
#
# Both start at zero, so they are too small at first. By how much? If each gradient has the mean $\mathbb E g$, then
# after update $k$ (the first is $k = 0$) the weights in $u$ add up to
#
# $$(1-\beta_1)\,(1 + \beta_1 + \dots + \beta_1^{k}) = 1-\beta_1^{k+1}, \qquad\text{so}\qquad
#   \mathbb E\,u = (1-\beta_1^{k+1})\,\mathbb E\,g ,$$
#
# and likewise for $s$. Divide both by these sums, and both are unbiased from the first update on. This division is the
# **bias correction**:
#
# $$\theta \leftarrow \theta - \eta\;\frac{u/(1-\beta_1^{k+1})}{\sqrt{s/(1-\beta_2^{k+1})}+\varepsilon} .$$
#
# If all gradients are multiplied by 1000, the steps stay the same (except for the effect of $\varepsilon$). While the
# gradients of an entry keep their usual size, its step is at most about $\eta$. So $\eta$ is a length in parameter
# space and not a factor of the gradient. A rate that is right for SGD says nothing about the rate for Adam.
#
# **After a long silence the steps are longer.** If an entry has had no gradient for a long time, $s$ is almost zero.
# When gradients come again, $u$ grows within $1/(1-\beta_1) = 10$ updates, and $s$ needs $1/(1-\beta_2) = 1000$. The
# Cauchy-Schwarz inequality, applied to the two sums, gives a limit that holds whatever the gradients were, if
# $\beta_1^2 < \beta_2$:
#
# $$\frac{|u|}{\sqrt s} \;\le\; \frac{1-\beta_1}{\sqrt{(1-\beta_2)\,(1-\beta_1^2/\beta_2)}} ,$$
#
# which is 7.27 with the usual $\beta_1 = 0.9$ and $\beta_2 = 0.999$. Rare sites of a click log are silent for long. The
# demo below measures such a step.
#
# Implementations differ in two details. Here $\varepsilon$ stands outside the root, and it is added after the
# correction. Papers and libraries count updates from 1; their $t$ is our $k+1$.
#
# ### 2.5 `adam_step` · essential · level 2 of 4 · 15 min


# %% exercise="adam_step" points=2 minutes=15 forbids=["torch.optim"] trains=["reading definitions of optimisers closely"]
def adam_step(
    theta: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    k: int,
    gradient: np.ndarray,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One update of Adam, as torch.optim.Adam defines it (no weight decay, no AMSGrad).

        first  <- beta1 * first  + (1 - beta1) * gradient
        second <- beta2 * second + (1 - beta2) * gradient^2
        theta  <- theta - lr * (first / c1) / (sqrt(second / c2) + eps),
                  c1 = 1 - beta1^(k + 1),  c2 = 1 - beta2^(k + 1)

    theta, first, second, gradient: arrays of one shape, any shape with at least one axis, and one
      dtype, float32 or float64, with entries up to 1e100 (float32: 1e15) in absolute value; second
      is not negative. Not modified. At the first update first and second are all zeros.
    k: the number of this update, a Python int: 0 for the first.
    lr, beta1, beta2, eps: Python floats; lr > 0, 0 <= beta1, beta2 < 1 and eps > 0.

    Returns (theta, first, second), three new arrays of that shape and dtype. first and second are
    as above, not divided by c1 and c2. Where all gradients so far are 0, theta stays as it is.
    Do not use torch.optim: it is what you are writing.
    """
    ### BEGIN SOLUTION
    first = beta1 * first + (1 - beta1) * gradient
    second = beta2 * second + (1 - beta2) * gradient**2
    unbiased = first / (1 - beta1 ** (k + 1))
    size = np.sqrt(second / (1 - beta2 ** (k + 1)))
    return theta - lr * unbiased / (size + eps), first, second
    ### END SOLUTION


# %% [markdown] hints="adam_step"
# <details><summary>Hint 1: five lines</summary>
#
# Two running means, two corrected copies of them, one step. Use the corrected copies for this step only, and return the
# uncorrected means.
#
# </details>
# <details><summary>Hint 2: the first update as a test</summary>
#
# At `k = 0` the correction cancels the factors exactly: `gradient / (abs(gradient) + eps)` remains, the sign. So the
# first step is `lr` long in each entry.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# After the two running means: `unbiased = first / (1 - beta1 ** (k + 1))` and
# `size = np.sqrt(second / (1 - beta2 ** (k + 1)))`; the new theta is `theta - lr * unbiased / (size + eps)`.
#
# </details>

# %% check="adam_step"
with check("adam_step", forbids=["torch.optim"]):
    # The first step is lr long in each entry, against the sign of the gradient, whatever the gradient's length.
    theta, zero, gradient = np.array([1.0, 1.0]), np.zeros(2), np.array([300.0, -0.5])
    with expect_unchanged(theta=theta, first=zero, gradient=gradient):
        got, first, second = adam_step(theta, zero, zero, 0, gradient, lr=0.1)
    expect_close(
        got,
        [0.9, 1.1],
        rtol=1e-6,
        hint="1 - 0.1 * sign of the gradient",
        mistakes={
            "The bias correction is missing.": 1 - 0.1 * np.array([1, -1]) * 0.1 / math.sqrt(0.001),
            "The root of the second moment is missing.": 1 - 0.1 / gradient,
        },
    )
    expect_close(first, [30, -0.05], rtol=1e-12, hint="(1 - 0.9) * gradient, not corrected")
    got, _, _ = adam_step(zero, zero, zero, 0, np.array([4.0, 4.0]), lr=1.0, eps=1.0)
    expect_close(got, [-0.8, -0.8], rtol=1e-12, hint="4 / (sqrt(16) + 1): eps is added to the root, not under it")
    expect_close(second, [90, 0.00025], rtol=1e-12, hint="(1 - 0.999) * gradient^2, not corrected")
    # beta1 = 0.5, beta2 = 0.75, gradients 4 and then 0. first: 2, then 1. second: 4, then 3.
    # c1 = 1 - 0.5^2 = 3/4 and c2 = 1 - 0.75^2 = 7/16, so the second step is (1 / (3/4)) / sqrt(3 / (7/16)) long.
    state = adam_step(np.zeros(1), np.zeros(1), np.zeros(1), 0, np.array([4.0]), 1.0, 0.5, 0.75)
    got = adam_step(*state, 1, np.array([0.0]), 1.0, 0.5, 0.75)
    expect_close(got[1], [1.0], rtol=1e-12, hint="first: 0.5 * 2 + 0.5 * 0")
    expect_close(got[2], [3.0], rtol=1e-12, hint="second: 0.75 * 4 + 0.25 * 0")
    expect_close(
        got[0], [-1 - (4 / 3) / math.sqrt(48 / 7)], rtol=1e-6, hint="-1, then 4/3 over sqrt(48/7) further down"
    )

# %% [markdown]
# The left panel shows the length of Adam's steps on gradients that are all 1, with your bias correction and without it.
# The right panel shows least squares with columns whose units differ by a factor of up to 100. SGD needs a rate that is
# small enough for the largest column.


# %% tags=["demo"]
def with_adam(grad, theta0, m, lr, batch_size=32, epochs=1, seed=0):
    """Like sgd, but each update is your adam_step."""
    theta, first, second = np.array(theta0, float), np.zeros(len(theta0)), np.zeros(len(theta0))
    thetas, k = [theta], 0
    for epoch in range(epochs):
        for rows in minibatches(m, batch_size, seed, epoch):
            theta, first, second = adam_step(theta, first, second, k, grad(theta, rows), lr(k))
            k += 1
        thetas.append(theta)
    return np.array(thetas)


def adam_lengths(gradients):
    """How far each update of one entry goes, as multiples of the rate, with the correction and without."""
    state, lengths, raw = (np.zeros(1),) * 3, [], []
    for k, gradient in enumerate(gradients):
        after = adam_step(*state, k, np.array([gradient]), lr=1.0)
        lengths.append(float((state[0] - after[0])[0]))
        raw.append(float(after[1][0] / np.sqrt(after[2][0] + 1e-300)))
        state = after
    return lengths, raw


corrected, uncorrected = adam_lengths(np.ones(3000))
silence = 10_000
after_silence, _ = adam_lengths(np.append(np.zeros(silence), np.ones(100)))
print(f"longest step after {silence:,} gradients of 0 and then 1, 1, 1, ...: {max(after_silence):.2f} η")
print(f"the limit: {0.1 / math.sqrt(0.001 * (1 - 0.81 / 0.999)):.2f} η")

units = datasets.linear(4000, 6, condition=2.0, noise=0.1, seed=7)
scaled = type(units)(**{**vars(units), "X": units.X * np.geomspace(1, 100, 6)})
limit = 2 / np.linalg.eigvalsh(scaled.X.T @ scaled.X / 4000)[-1]
runs = {
    "SGD, η = a quarter of the limit": (sgd, lambda k: limit / 4),
    "momentum, a quarter of the limit": (with_momentum, lambda k: limit / 4),
    "Adam, η = 0.01": (with_adam, lambda k: 0.01),
    "Adam, cosine from 0.01": (with_adam, lambda k: learning_rate(k, 0.01, 0, 2500)),
}
in_units = {
    name: excess(scaled, watched(run, squared_gradient(scaled), np.zeros(6), 4000, lr, epochs=20))
    for name, (run, lr) in runs.items()
}
scaled_best = np.linalg.lstsq(scaled.X, scaled.y, rcond=None)[0]
spread = np.sqrt(np.mean((scaled.X * (scaled.X @ scaled_best - scaled.y)[:, None]) ** 2, axis=0))  # σ of each entry
adams_floor = 0.01 / (4 * math.sqrt(32)) * spread.sum()
measured_floor = in_units["Adam, η = 0.01"][-1000:].mean()
print(f"Adam's floor at η = 0.01: predicted {adams_floor:.1e}, mean of the last 1000 updates {measured_floor:.1e}")
figure, axes = plt.subplots(1, 2, figsize=(12, 4.4))
plotting.curves(
    {"with bias correction (yours)": (np.arange(1, 3001), corrected), "without": (np.arange(1, 3001), uncorrected)},
    xlabel="update, counted from 1",
    ylabel="length of the step / η",
    logx=True,
    title="Without it the early steps are too long",
    ax=axes[0],
)
plotting.curves(
    {name: (np.arange(20, 2501, 20), losses.reshape(-1, 20).mean(axis=1)) for name, losses in in_units.items()},
    xlabel="update",
    ylabel="J − min J, mean of 20 updates",
    logy=True,
    title="Columns in different units",
    ax=axes[1],
)
axes[1].axhline(adams_floor, color="grey", linestyle=":", linewidth=1)
plt.show()

# %% [markdown]
# Without the correction the steps are too long, not too short. $s$ starts further below its mean than $u$ does, and it
# stands in the denominator. The same ratio appears after a long silence, so the longest step that was printed is the
# peak of the left panel. Warm-up (section 3) helps against the same problem, so most people use both.
#
# **Adam's floor.** At the minimum, the typical gradient of a batch in entry $j$ is $\sigma_j/\sqrt B$, where
# $\sigma_j^2$ is the variance of that entry from row to row. So $\sqrt{s_j} \approx \sigma_j/\sqrt B$, and Adam works
# like SGD with the rate $\eta/\sqrt{s_j}$ in this entry. Put that rate into the formula of section 2:
#
# $$\sum_j \frac{\eta\sqrt B}{\sigma_j}\cdot\frac{\sigma_j^2}{4B} = \frac{\eta}{4\sqrt B}\sum_j \sigma_j .$$
#
# This is the grey dotted line. It is a rough estimate: $s$ also contains the gradient that belongs to the error of
# $\theta$, so in this run $s_j$ is from 2 to 20 times $\sigma_j^2/B$. The curve of the constant rate first goes far
# *below* the line and then rises towards it. The reason is that $s$ still remembers the long gradients of the start,
# for about $1/(1-\beta_2) = 1000$ updates. While it does, the steps are shorter. As it forgets them, the steps become
# longer, and the loss rises. So Adam needs a schedule, too (the fourth curve). And twice the batch lowers Adam's floor
# only by a factor of $\sqrt 2$.
#
# Adam has the effect of standardised columns where the columns cannot be standardised. There are convex problems on
# which it converges to a wrong point (Reddi et al., 2018). For models with well-scaled inputs, plain SGD is as good,
# and it remembers nothing. The next cell counts this memory.

# %% tags=["demo"]
kept = {"SGD": 0, "momentum": 1, "AdaGrad (section 8)": 1, "Adam, AdamW": 2}  # arrays of the shape of theta
print(f"{'GB of optimiser state':24s}{'10^8 parameters':>18s}{'7 * 10^9':>12s}{'10^11':>12s}   (float32)")
for name, arrays in kept.items():
    print(f"{name:24s}" + "".join(f"{arrays * 4 * n / 1e9:{w},.1f}" for n, w in ((1e8, 18), (7e9, 12), (1e11, 12))))

# %% [markdown]
# The parameters and the gradient come on top, each as large as one such array. So Adam takes four numbers for each
# parameter, and that, not the computation, often decides how many machines are needed. Module 17 splits this state
# over machines.
#
# ## 6. Remove the noise
#
# SGD has a floor because $g_i(\theta_*)$ is not zero for each row. But this part of the gradient can be *known*. Keep
# a **snapshot** $\tilde\theta$, shape $(d,)$, of earlier parameters, and the full gradient there, $\nabla
# J(\tilde\theta)$, which costs one pass. For each batch, compute how its gradient has *changed* since the snapshot:
#
# $$g_{\text{svrg}} = g_{\mathcal B}(\theta) - g_{\mathcal B}(\tilde\theta) + \nabla J(\tilde\theta) .$$
#
# On average this is still $\nabla J(\theta)$, because the last two terms cancel in the mean. Its variance is the
# variance of $g_{\mathcal B}(\theta) - g_{\mathcal B}(\tilde\theta)$. This goes to zero when $\theta$ and
# $\tilde\theta$ both approach the minimum. So a *constant* rate reaches the minimum. The method is called **SVRG**
# (stochastic variance reduced gradient; Johnson, Zhang, 2013). The idea is older: to estimate a mean, subtract
# something similar whose mean is known.
#
# **When does it work?** The theorem has three conditions. Each $J_i$ is convex, and its curvature is at most $L$. $J$
# is strongly convex: its curvature is at least $\mu > 0$. And with $n$ updates between two snapshots,
#
# $$\frac{1}{\mu\,\eta\,(1-2L\eta)\,n} + \frac{2L\eta}{1-2L\eta} < 1 ,$$
#
# so $\eta$ must be below $1/(4L)$, and $n$ must be well above $L/\mu$. Then the expected excess $J - \min J$ shrinks
# by at least this factor from snapshot to snapshot. (The proof takes one of the epoch's points, chosen at random, as
# the next snapshot. In practice people take the last point, as we do.) $L$ is the curvature of the *worst row*, which
# is much larger than $\lambda_{\max}$ of the mean. The conditions are sufficient and not necessary: the demo prints
# how far its rate is from them.
#
# The price is one pass for the gradient at the snapshot and two gradients for each row of a batch. That is $3m$
# gradients of rows in an epoch, where SGD takes $m$. And the data must be readable more than once.
#
# ### 2.6 `svrg` · important · level 3 of 4 · 20 min


# %% exercise="svrg" points=3 minutes=20 forbids=["torch.optim"] trains=["reasoning about noise", "counting what a computation costs"]
def svrg(
    grad: Callable[[np.ndarray, np.ndarray], np.ndarray],
    theta0: np.ndarray,
    m: int,
    lr: float,
    batch_size: int = 32,
    epochs: int = 1,
    seed: int = 0,
) -> np.ndarray:
    """Stochastic variance reduced gradient. In each epoch e = 0, 1, ...:

        snapshot = theta,  full = the gradient of all rows at the snapshot
        for rows in minibatches(m, batch_size, seed, e):
            theta <- theta - lr * (grad(theta, rows) - grad(snapshot, rows) + full)

    The last theta of an epoch is the snapshot of the next.

    grad: called as grad(theta, rows), with theta of shape (d,) and rows a 1-D integer array of row
      numbers; returns the mean gradient of these rows, a (d,) array of theta's dtype, not to be
      modified.
    theta0: (d,), d >= 1, float32, float64 or integers of any kind, the start; not modified.
    m: the number of rows, >= 1. lr: a Python float. batch_size: >= 1. epochs: >= 0.
    seed: >= 0 and < 2^31.

    Returns a new array (epochs + 1, d): theta0, and theta after each epoch. Its dtype is theta0's
    if that is float32 or float64, else float64. Do not use torch.optim.
    In each epoch grad is called exactly once with all m rows, in any order, at the snapshot. Then it
    is called exactly twice for each batch, batch after batch: at theta and at the snapshot, in any
    order. (At the first batch of an epoch both are the same point; call it twice all the same.)
    """
    ### BEGIN SOLUTION
    theta = np.array(theta0)
    if theta.dtype.kind != "f":
        theta = theta.astype(float)
    thetas = np.empty((epochs + 1, len(theta)), theta.dtype)
    thetas[0] = theta
    for epoch in range(epochs):
        snapshot = theta
        full = grad(snapshot, np.arange(m))
        for rows in minibatches(m, batch_size, seed, epoch):
            theta = theta - lr * (grad(theta, rows) - grad(snapshot, rows) + full)
        thetas[epoch + 1] = theta
    return thetas
    ### END SOLUTION


# %% [markdown] hints="svrg"
# <details><summary>Hint 1: start from your sgd</summary>
#
# The two loops are the same. Add two lines at the start of an epoch, and two terms in the update.
#
# </details>
# <details><summary>Hint 2: the snapshot must not change</summary>
#
# `snapshot = theta` is enough if you never change `theta` in place. With `theta -= ...` the snapshot changes with it,
# and the two gradients of a batch cancel each other.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# In each epoch: `snapshot = theta`, `full = grad(snapshot, np.arange(m))`; then for each `rows`
# `theta = theta - lr * (grad(theta, rows) - grad(snapshot, rows) + full)`.
#
# </details>

# %% check="svrg"
# With J_i = (theta - x_i)^2 / 2 the change since the snapshot is the same for every row: no noise is left. With a rate
# of 1/2, each of the two steps of an epoch goes half of the way to the mean: 3/4 of the way in an epoch.
with check("svrg", forbids=["torch.optim"]):
    start = np.zeros(1)
    with expect_unchanged(theta0=start):
        got = svrg(towards_mean, start, 4, 0.5, batch_size=2, epochs=2)
    expect_close(
        got,
        [[0], [2.25], [2.8125]],
        rtol=1e-12,
        hint="3 * (1 - 1/4), then 3 * (1 - 1/16), whatever the order of the rows",
        mistakes={
            "The snapshot changes with theta: each step uses the full gradient of the epoch's start.": [
                [0],
                [3],
                [3],
            ],
        },
    )
    sizes = []

    def counted(theta, rows):
        sizes.append(len(rows))
        return towards_mean(theta, rows)

    svrg(counted, start, 4, 0.5, batch_size=3, epochs=1)
    expect_close(sorted(sizes), [1, 1, 3, 3, 4], hint="one call with all 4 rows, two for each batch (3 rows, 1 row)")
    calls = []

    def noted(theta, rows):
        calls.append((sorted(np.asarray(rows).tolist()), float(theta[0])))
        return towards_mean(theta, rows)

    svrg(noted, start, 4, 0.5, batch_size=2, epochs=2)
    snapshots = [theta for rows, theta in calls if len(rows) == 4]
    expect_close(snapshots, [0.0, 2.25], rtol=1e-12, hint="each epoch takes the gradient of all rows where it starts")
    used = sorted({tuple(rows) for rows, _ in calls if len(rows) == 2})
    expected = sorted({tuple(sorted(rows.tolist())) for epoch in (0, 1) for rows in minibatches(4, 2, 0, epoch)})
    assert used == expected, f"epochs 0 and 1 of your minibatches with seed 0 hold the batches {expected}, not {used}"

# %% [markdown]
# The horizontal axis of this plot is the cost: gradients of rows, in passes over the data. All runs start at the same
# point.

# %% tags=["demo"]
noisy = datasets.linear(demo_size(full=4000, small=1000), 20, condition=20.0, noise=1.0, seed=8)
rows_m, passes = len(noisy.y), demo_size(full=90, small=30)
noisy_grad, origin = squared_gradient(noisy), np.zeros(20)
every = np.arange(rows_m)
descent = [origin]
for _ in range(passes):
    descent.append(descent[-1] - 1.0 * noisy_grad(descent[-1], every))
by_sgd = sgd(noisy_grad, origin, rows_m, lambda k: 0.05, 10, passes)
by_inverse = sgd(noisy_grad, origin, rows_m, lambda k: learning_rate(k, 0.1, 0, 1000, "inverse"), 10, passes)
by_svrg = svrg(noisy_grad, origin, rows_m, 0.05, 10, passes // 3)
by_passes = {
    "gradient descent, η = 1": (np.arange(passes + 1), excess(noisy, descent)),
    "SGD, η = 0.05": (np.arange(passes + 1), excess(noisy, by_sgd)),
    "SGD, inverse-time": (np.arange(passes + 1), excess(noisy, by_inverse)),
    "SVRG, η = 0.05": (np.arange(0, passes + 1, 3), excess(noisy, by_svrg)),
}
ax = plotting.curves(
    by_passes,
    xlabel="gradients of rows / m (passes)",
    ylabel="J − min J",
    title="SVRG has no floor",
    logy=True,
)
ax.set_ylim(demo_size(full=1e-20, small=1e-5), None)
plt.show()
worst_row = float(np.max(np.sum(noisy.X**2, axis=1)))
smallest = float(np.linalg.eigvalsh(noisy.X.T @ noisy.X / rows_m)[0])
print(f"L, the curvature of the worst row: {worst_row:.1f}; the mean of the rows has 1.0 at most, μ = {smallest:.3f}")
print(f"the theorem asks for a rate below 1/(4L) = {1 / (4 * worst_row):.4f}; this run has 0.05")
print(
    f"and for many more than L/μ = {worst_row / smallest:,.0f} updates between snapshots; this run has {rows_m // 10}"
)

# %% [markdown]
# In the first few passes nothing beats SGD. If the loss on *new* data counts, a few passes are all that you need. The
# data determine the true parameters only up to the noise of $m$ rows, and a smaller loss than that brings you nearer
# to a point that is itself wrong (Bottou, Bousquet, 2007). If you need the exact minimum of this sum, take SVRG or a
# similar method.
#
# The run converges although its rate is far above the theorem's. The batches of 10 rows help, since the worst batch is
# not as bad as the worst row, and a typical row is not as bad as the worst one. For deep networks SVRG has not helped.
# They are not convex, and batch normalisation, dropout and augmentation change $g_i(\tilde\theta)$ between the two
# evaluations (Defazio, Bottou, 2019).
#
# ## 7. Which rows, really?
#
# In large runs an epoch takes days. So people note the loss after a fixed number of updates, and call these updates a
# *round*. The function below runs SGD in rounds. Its training loss looks good.
#
# ### 2.7 `sgd_in_rounds` · important · level 2 of 4 · 10 min
#
# **Find the bug.** This function runs, and it is wrong. Find the error, say in one sentence which rows it uses, and
# repair it. The same error happens when somebody forgets `set_epoch` on PyTorch's `DistributedSampler`, or when a job
# is restarted and its data loader begins from the start.


# %% exercise="sgd_in_rounds" points=2 minutes=10 bug=true trains=["reasoning about noise"]
def sgd_in_rounds(
    grad: Callable[[np.ndarray, np.ndarray], np.ndarray],
    theta0: np.ndarray,
    m: int,
    lr: float,
    batch_size: int = 32,
    rounds: int = 1,
    steps: int = 100,
    seed: int = 0,
) -> np.ndarray:
    """SGD with a constant rate, reported every `steps` updates.

    Rounds and epochs are independent of each other: the updates of all rounds, one after the other,
    use the batches of epoch 0, minibatches(m, batch_size, seed, 0), then those of epoch 1, and so
    on. A round may end in the middle of an epoch, and the next one continues there; it may also be
    longer than an epoch.

    grad: called as grad(theta, rows), once for each update, as in sgd; returns a (d,) array, which
      may not be modified.
    theta0: (d,) float64; not modified. m: the number of rows, >= 1. lr: a Python float.
    batch_size: >= 1. rounds: >= 0. steps: the number of updates in a round, >= 1. seed: >= 0 and
    < 2^31.

    Returns a new float64 array (rounds + 1, d): theta0, and theta after each round.
    """
    ### BEGIN SOLUTION
    theta = np.array(theta0)
    thetas = [theta]
    batches, epoch = [], 0
    for _ in range(rounds):
        for _ in range(steps):
            if not batches:
                batches = minibatches(m, batch_size, seed, epoch)
                epoch += 1
            theta = theta - lr * grad(theta, batches.pop(0))
        thetas.append(theta)
    return np.array(thetas)
    ### END SOLUTION
    ### BEGIN BUG
    # theta = np.array(theta0)
    # thetas = [theta]
    # for _ in range(rounds):
    #     batches = minibatches(m, batch_size, seed)
    #     for step in range(steps):
    #         theta = theta - lr * grad(theta, batches[step % len(batches)])
    #     thetas.append(theta)
    # return np.array(thetas)
    ### END BUG


# %% [markdown] hints="sgd_in_rounds"
# <details><summary>Hint 1: write down the rows</summary>
#
# Call it with a `grad` that prints `rows`, for 6 rows, batches of 2, and two rounds of 2 steps. Which rows does the
# second round use?
#
# </details>
# <details><summary>Hint 2: what to keep after a round</summary>
#
# A round that ends in the middle of an epoch leaves batches that have not been used. Keep them, and the number of the
# next epoch, outside the loop over rounds.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# Before both loops: `batches, epoch = [], 0`. Before each update: if no batches are left, take
# `list(minibatches(m, batch_size, seed, epoch))` and add 1 to `epoch`. Then use `batches.pop(0)`.
#
# </details>

# %% check="sgd_in_rounds"
# 5 rows in batches of 2 are 3 batches an epoch, the last of one row. Three rounds of 2 updates are 6: two whole epochs.
with check("sgd_in_rounds"):
    used = []

    def noted(theta, rows):
        used.append(sorted(int(row) for row in rows))
        return theta

    got = sgd_in_rounds(noted, np.array([64.0]), 5, lr=0.5, batch_size=2, rounds=3, steps=2)
    expect_close(got, [[64], [16], [4], [1]], rtol=1e-12, hint="theta is halved by each update, two updates a round")
    expected = [sorted(rows.tolist()) for epoch in (0, 1) for rows in minibatches(5, 2, 0, epoch)]
    assert used[2:4] != used[:2], f"the second round uses the rows of the first again: {used[2:4]}"
    assert used == expected, f"the six updates should use {expected} (two epochs of minibatches), and they use {used}"

# %% [markdown]
# What does the bug cost? Here are 10,000 rows and rounds of 10 batches of 50 rows. The released function uses the same
# 500 rows in each round.

# %% tags=["demo"]
wide = datasets.linear(10_000, 200, condition=5.0, noise=1.0, seed=9)
wide_grad, bug_rounds = squared_gradient(wide), demo_size(full=100, small=30)


def same_batches(grad, theta0, m, lr, batch_size, rounds, steps, seed=0):
    """The same updates as the released function's."""
    thetas = [theta0]
    for _ in range(rounds):
        theta = thetas[-1]
        for rows in minibatches(m, batch_size, seed)[:steps]:
            theta = theta - lr * grad(theta, rows)
        thetas.append(theta)
    return np.array(thetas)


first_rows = np.concatenate(minibatches(10_000, 50, 0)[:10])
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
runs = {"repaired (yours)": sgd_in_rounds, "the same batches every round": same_batches}
found = {name: run(wide_grad, np.zeros(200), 10_000, 0.05, 50, bug_rounds, 10) for name, run in runs.items()}
for ax, rows, title in [
    (axes[0], first_rows, "on the rows of the first round: looks excellent"),
    (axes[1], np.arange(10_000), "on all rows: the truth"),
]:
    curves = {
        name: 0.5 * np.mean((thetas @ wide.X[rows].T - wide.y[rows]) ** 2, axis=1) for name, thetas in found.items()
    }
    plotting.curves(curves, xlabel="round", ylabel="J" if ax is axes[0] else "", logy=True, title=title, ax=ax)
axes[1].get_legend().remove()
axes[0].set_ylim(0.2, 4)
plt.show()

# %% [markdown]
# The wrong run has the lower training loss. It fits a twentieth of the data very well and never sees the rest. Two
# cheap tests protect you: count the distinct rows that a run has used, and look at a loss on rows that it has not
# used.
#
# ## 8. Scale it
#
# ### One pass over a file
#
# A click log records who saw which advertisement where, and whether there was a click. A row has eight numbers and six
# categories. Each category is hashed to one of `buckets` **buckets** (module 16 explains hashing). The model is
# logistic regression, with a weight for each number and for each bucket. For row $i$, with the numbers $x_i$, shape
# $(8,)$, and the buckets $h_{i1},\dots,h_{i6}$:
#
# $$z_i = b + x_i^\top w + \sum_{f=1}^{6} t_{h_{if}}, \qquad P(\text{click}) = p_i = \frac{1}{1+e^{-z_i}}, \qquad
#   J_i = \log(1+e^{z_i}) - y_i z_i .$$
#
# $b$ is one number, $w$ has the shape $(8,)$, and the table $t$ has the shape `(buckets,)`. One derivative is enough,
# $\partial J_i/\partial z_i = p_i - y_i$. By the chain rule, $b$ gets it as it is, $w$ gets it times $x_i$, and each
# of the six entries of $t$ that the row uses gets it as it is. Three rules follow:
#
# - **A batch uses at most $6B$ entries of the table.** An update must cost $O(B)$ and not $O(\text{buckets})$. No
#   gradient of the size of the table is ever built.
# - **An entry that a batch uses twice gets both parts.** `t[h] -= step` keeps only the last one, because NumPy reads,
#   subtracts and writes once for each index. `np.subtract.at(t, h, step)` adds up all of them.
# - **First the loss, then the update.** Before its update, the model has never seen a batch. So the mean of these
#   losses is an honest estimate of the loss on new data, and it costs nothing extra. This is called **progressive
#   validation**.
#
# Open the file with `np.load(path, mmap_mode="r")`. Nothing is read until you use a slice. Then the operating system
# loads the pages of that slice, and it may drop them again later. Copy one batch at a time.
# `mapped["numeric"].astype(float)` would load the whole file.
#
# ### 2.8 `sgd_from_stream` · essential · level 4 of 4 · 35 min


# %% exercise="sgd_from_stream" points=4 minutes=35 forbids=["torch.optim", "torch.autograd", ".backward"] trains=["one-pass algorithms", "counting what a computation costs"]
def sgd_from_stream(
    path: str, lr: Callable[[int], float], batch_size: int = 1000, buckets: int = 2**18
) -> tuple[np.ndarray, np.ndarray]:
    """Logistic regression on a click log by one pass of SGD, in the order of the file.

    path: a .npy file with a structured array (m,), m >= 1, with at least these fields:
      numeric: (8,) float32; hashed: (6,) int32, each >= 0 and < buckets; y: uint8, 0 or 1.
      The same bucket may come several times, in a row and in a batch: its parts add up.
    lr: lr(k) is the learning rate of update k = 0, 1, ..., a Python float; called once for each.
    batch_size: update k uses rows k * batch_size ... (k + 1) * batch_size - 1; the last batch may
      be shorter. Its gradient is the mean over the rows that it has.
    buckets: the size of the table.

    Returns (theta, losses), float64 both.
      theta: (9 + buckets,). theta[0] is b, theta[1:9] is w, theta[9:] is t. All start at 0.
      losses: (number of batches,), the mean loss of each batch BEFORE its update. Finite also for
        logits of +-10^5, where exp overflows.
    Reads each row once. The file may be larger than the memory: besides theta hold a few batches at
    most, and nothing else of size m or buckets, so no copy of theta and no gradient of its size.
    An update takes O(batch_size) time, however large the table is.
    Do not use torch.optim, torch.autograd or .backward: the update is the exercise.
    """
    ### BEGIN SOLUTION
    log = np.load(path, mmap_mode="r")
    theta, losses = np.zeros(9 + buckets), []
    weights, table = theta[1:9], theta[9:]  # views: what changes them changes theta
    for k, start in enumerate(range(0, len(log), batch_size)):
        batch = np.array(log[start : start + batch_size])
        x, hashed, y = batch["numeric"], batch["hashed"], batch["y"]
        z = theta[0] + x @ weights + table[hashed].sum(axis=1)
        losses.append(np.mean(np.logaddexp(0, z) - y * z))
        p = 0.5 + 0.5 * np.tanh(z / 2)  # 1 / (1 + exp(-z)) without overflow
        step = lr(k) * (p - y) / len(y)
        theta[0] -= step.sum()
        weights -= step @ x
        np.subtract.at(table, hashed, step[:, None])
    return theta, np.array(losses)
    ### END SOLUTION


# %% [markdown] hints="sgd_from_stream"
# <details><summary>Hint 1: one batch</summary>
#
# `log = np.load(path, mmap_mode="r")`, and in the loop `batch = np.array(log[start : start + batch_size])`: a copy of
# one batch, in memory. Its fields are `batch["numeric"]` of shape `(B, 8)`, `batch["hashed"]` of shape `(B, 6)` and
# `batch["y"]` of shape `(B,)`. `table[hashed]` has the shape `(B, 6)`, too.
#
# </details>
# <details><summary>Hint 2: without overflow</summary>
#
# `np.logaddexp(0, z)` is `log(1 + exp(z))` for every `z`, and `(1 + np.tanh(z / 2)) / 2` is `1 / (1 + exp(-z))`. Take
# care of the labels: they are unsigned bytes, and minus one of them is 255.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# With `step = lr(k) * (p - y) / len(y)` of shape `(B,)`: `theta[0] -= step.sum()`, `theta[1:9] -= step @ x`, and
# `np.subtract.at(theta[9:], hashed, step[:, None])`, which subtracts each row's step at all six of its buckets and
# counts repetitions. Store the loss before that.
#
# </details>

# %% check="sgd_from_stream"
# One row, all parameters 0: z = 0, p = 1/2, loss log 2. With y = 1 the derivative is -1/2, and with lr = 0.2 everything
# that the row touches goes up by 0.1: b, the weight of its only number that is not 0, its buckets; bucket 4 twice.
CLICK = np.dtype([("numeric", "<f4", (8,)), ("hashed", "<i4", (6,)), ("y", "u1")], align=True)
with (
    check("sgd_from_stream", forbids=["torch.optim", "torch.autograd", ".backward"]),
    tempfile.TemporaryDirectory() as folder,
):
    path_hand = os.path.join(folder, "hand.npy")
    hand = np.zeros(3, CLICK)
    hand["numeric"][0, 0] = 1
    hand["hashed"][0] = [0, 1, 2, 3, 4, 4]
    hand["y"] = [1, 0, 0]
    np.save(path_hand, hand[:1])
    theta, losses = sgd_from_stream(path_hand, lambda k: 0.2, batch_size=1, buckets=8)
    expect_shape(theta, (17,), hint="b, eight weights, eight buckets")
    expect_close(losses, [math.log(2)], rtol=1e-12, hint="the loss before the update: log(1 + exp(0)) - 0")
    expect_close(theta[:3], [0.1, 0.1, 0.0], rtol=1e-12, hint="b and the first weight")
    expect_close(
        theta[9:],
        [0.1, 0.1, 0.1, 0.1, 0.2, 0, 0, 0],
        rtol=1e-12,
        hint="bucket 4 comes twice in this row, so it moves by 0.2",
        mistakes={
            "Bucket 4 comes twice and moved once: table[hashed] -= ... keeps only the last one.": [0.1] * 5 + [0.0] * 3,
            "You went uphill: subtract p - y.": [-0.1, -0.1, -0.1, -0.1, -0.2, 0, 0, 0],
        },
    )
    # Three rows in batches of two: the second batch has one row, and is divided by 1. Rows 1 and 2 use bucket
    # 0 six times each. Row 0 moves b, and the six entries that it uses, up by 0.05. Row 1 moves b down by 0.05, and
    # bucket 0 by 0.3. So z = 0 - 6 * 0.25 for row 2.
    np.save(path_hand, hand)
    theta, losses = sgd_from_stream(path_hand, lambda k: 0.2, batch_size=2, buckets=8)
    expect_close(
        losses, [math.log(2), math.log1p(math.exp(-1.5))], rtol=1e-12, hint="row 2, seen before its update: z = -1.5"
    )
    p_hand = 1 / (1 + math.exp(1.5))  # row 2 moves b down by 0.2 p, and bucket 0 by six times that
    rest = [0.05, 0.05, 0.05, 0.1, 0, 0, 0]
    expect_close(
        [theta[0], *theta[9:]],
        [-0.2 * p_hand, -0.25 - 1.2 * p_hand, *rest],
        rtol=1e-12,
        atol=1e-12,
        hint="b and the table after the last batch, which has one row",
        mistakes={
            "You divided the last batch by batch_size: divide by the rows that it has.": [
                -0.1 * p_hand,
                -0.25 - 0.6 * p_hand,
                *rest,
            ]
        },
    )
    hand["numeric"][:, 0] = 1e5
    np.save(path_hand, hand)
    _, losses = sgd_from_stream(path_hand, lambda k: 1.0, batch_size=1, buckets=8)
    assert np.isfinite(losses).all(), "a loss is not finite: log(1 + exp(z)) overflows for large z"

# %% [markdown]
# Now run it on ten million rows. The first cell writes the file in pieces, and none of it stays in this notebook's
# memory. Compare the time for writing with the time for learning.

# %% tags=["demo"]
log_rows = demo_size(full=10_000_000, small=200_000)
log = datasets.clicks(log_rows)
log_folder = tempfile.TemporaryDirectory()
log_path = os.path.join(log_folder.name, "clicks.npy")


def write_rows(stored, start):
    rows = log.read(start, min(start + 131_072, log_rows))
    part = stored[start : start + 131_072]
    part["numeric"], part["hashed"], part["y"] = rows.numeric, rows.hashed, rows.y


stored = np.lib.format.open_memmap(log_path, mode="w+", dtype=CLICK, shape=(log_rows,))
with device.timer("cpu") as took, ThreadPoolExecutor(2) as pool:
    list(pool.map(functools.partial(write_rows, stored), range(0, log_rows, 131_072)))
print(f"{log_rows:,} rows, {stored.nbytes / 1e6:,.0f} MB, written in {took.seconds:.1f} s")
del stored  # a file that is still mapped cannot be deleted everywhere

# %% [markdown]
# Which rate? At $\theta = 0$, $p = 1/2$ for each row, and the Hessian is $X^\top X/(4m)$, where $X$ has a column for
# $b$, for each number and for each bucket. A constant rate must stay below $2/\lambda_{\max}$ (module 01). The next
# cell finds $\lambda_{\max}$ from a sample by power iteration: it multiplies a vector by $X$ and $X^\top$ again and
# again. It starts the run at this limit, and lets the rate fall at once.

# %% tags=["demo"]
sample = log.read(0, min(200_000, log_rows))
X_sample, vector = sample.X, np.ones(9 + log.buckets)  # X_sample is a sparse matrix (rows, 8 + buckets)
for _ in range(30):
    z = vector[0] + X_sample @ vector[1:]
    vector = np.append(z.sum(), X_sample.T @ z) / (4 * len(z))
    growth = float(np.linalg.norm(vector))
    vector /= growth
stream_peak = 2 / growth
print(f"largest curvature at θ = 0: {growth:.3f}, so the limit of a constant rate is {stream_peak:.1f}")

log_batch = 1000
log_updates = -(-log_rows // log_batch)
with device.timer("cpu") as took, threadpool_limits(1):
    stream_theta, progressive = sgd_from_stream(
        log_path, lambda k: learning_rate(k, stream_peak, 0, log_updates // 4, "inverse"), log_batch, log.buckets
    )
stream_seconds, size = took.seconds, os.path.getsize(log_path)
print(
    f"one pass over {log_rows:,} rows, {size / 1e6:,.0f} MB, in {stream_seconds:.1f} s: "
    f"{size / stream_seconds / 1e6:,.0f} MB/s"
)
print(f"memory: {stream_theta.nbytes / 1e6:.1f} MB of parameters, batches of {log_batch * CLICK.itemsize / 1e3:.0f} kB")
p_true = log.probability(sample)
lowest = float(-np.mean(np.where(sample.y == 1, np.log(p_true), np.log1p(-p_true))))
always = float(sample.y.mean())
blind = -always * math.log(always) - (1 - always) * math.log(1 - always)


def progress(losses):
    """Millions of rows read, and the mean loss over the last hundredth of the log."""
    width = max(1, len(losses) // 100)
    means = losses[: len(losses) // width * width].reshape(-1, width).mean(axis=1)
    return np.arange(1, len(means) + 1) * width * log_batch / 1e6, means


ax = plotting.curves(
    {"your loss on rows not seen before": progress(progressive)},
    xlabel="millions of rows read",
    ylabel="log loss",
    title="One pass: each row is a test before it is used",
)
ax.axhline(blind, color="grey", linestyle="--", label="the mean click rate for all rows")
ax.axhline(lowest, color="#222222", linestyle=":", label="the true probabilities: the lowest possible")
ax.legend(loc="center right")
plt.show()

# %% [markdown]
# The loss stops above the lowest possible one. Which parameters are responsible? An entry of the table that a share
# $q$ of the rows uses has a curvature of about $q\,p(1-p)$. By section 2, each
# update multiplies its error by about $1-\eta_k\,q\,p(1-p)$. After the pass, the share $\exp(-q\,p(1-p)\sum_k\eta_k)$
# of its error is left. This is more than a third (1/e) for entries with $q$ below $1/(p(1-p)\sum_k\eta_k)$. The log was
# generated from known parameters, so you can test whether these rare entries are responsible: put the true values into
# them, or into all others.

# %% tags=["demo"]
hits = np.zeros(log.buckets)
mapped = np.load(log_path, mmap_mode="r")
for start in range(0, log_rows, 200_000):
    hits += np.bincount(mapped["hashed"][start : start + 200_000].ravel(), minlength=log.buckets)
del mapped
rate_sum = sum(learning_rate(k, stream_peak, 0, log_updates // 4, "inverse") for k in range(log_updates))
border = 1 / (float(np.mean(p_true * (1 - p_true))) * rate_sum)
rare = hits / log_rows < border
fresh = datasets.clicks(log_rows + 200_000).read(log_rows, log_rows + 200_000)  # the log, continued


def loss_of(theta):
    z = theta[0] + fresh.numeric @ theta[1:9] + theta[9:][fresh.hashed].sum(axis=1)
    return float(np.mean(np.logaddexp(0, z) - fresh.y * z))


truth = np.concatenate([[log.bias], log.weights, log.table])
is_rare = np.append(np.zeros(9, bool), rare)
print(f"sum of the rates {rate_sum:,.0f}, so entries that fewer than {border:.3%} of the rows use are rare")
print(f"these are {rare.mean():.1%} of the table, and {hits[rare].sum() / hits.sum():.1%} of all uses")
print(f"loss on new rows, above that of the truth: {loss_of(stream_theta) - loss_of(truth):.4f}")
for what, theta in (
    ("with the true rare entries", np.where(is_rare, truth, stream_theta)),
    ("with the true values for all others", np.where(is_rare, stream_theta, truth)),
):
    print(f"  {what}: {loss_of(theta) - loss_of(truth):.4f}")

# %% [markdown]
# Nearly all of the gap comes from the rare entries. They need a larger rate, and the frequent ones cannot have it.
#
# ### A rate for each entry, without touching all of them
#
# Adam gives each entry a rate of its own. But when the gradient of an entry is zero, Adam still shrinks its two
# memories, and it still moves the entry along the old $u$. So each update changes the whole table: $O(\text{buckets})$
# for each batch. **AdaGrad** (Duchi, Hazan, Singer, 2011) is older and simpler. It never forgets:
#
# $$s \leftarrow s + g^2, \qquad \theta \leftarrow \theta - \eta\,\frac{g}{\sqrt s + \varepsilon} .$$
#
# An entry whose gradient is zero keeps its $s$ and its $\theta$. So an update of the entries that a batch uses is
# *exactly* the update of the whole table. A rare entry has a small $s$ and takes long steps. The step of an entry
# falls like $1/\sqrt{\text{number of its gradients}}$, so no schedule is needed. The price is a second table.
#
# One detail decides whether it is right. $g$ is the gradient of the *batch*. Where a batch uses a bucket several
# times, add the parts up first and square the sum. The sum of the squares is another number.
#
# ### 2.9 `adagrad_from_stream` · important · level 3 of 4 · 20 min


# %% exercise="adagrad_from_stream" points=3 minutes=20 forbids=["torch.optim", "torch.autograd", ".backward"] trains=["reading definitions of optimisers closely", "one-pass algorithms", "counting what a computation costs"]
def adagrad_from_stream(
    path: str, lr: float, batch_size: int = 1000, buckets: int = 2**18, eps: float = 1e-8
) -> tuple[np.ndarray, np.ndarray]:
    """Logistic regression on a click log by one pass of AdaGrad, in the order of the file.

    path, batch_size, buckets, the model, its parameters theta, the batches and their losses: as in
      sgd_from_stream.
    For each batch, with g the gradient of its mean loss, (9 + buckets,) if it were written out:
        squares <- squares + g^2                        (all zeros at the start)
        theta   <- theta - lr * g / (sqrt(squares) + eps)
      A bucket that comes several times in a batch has one entry of g, the sum of its parts.
    lr, eps: Python floats > 0.

    Returns (theta, losses), float64 both, as sgd_from_stream does.
    The costs, too, are those of sgd_from_stream, with squares as a second array of theta's size.
    Do not use torch.optim, torch.autograd or .backward: the update is the exercise.
    """
    ### BEGIN SOLUTION
    log = np.load(path, mmap_mode="r")
    theta, squares, losses = np.zeros(9 + buckets), np.zeros(9 + buckets), []
    for start in range(0, len(log), batch_size):
        batch = np.array(log[start : start + batch_size])
        x, hashed, y = batch["numeric"], batch["hashed"], batch["y"]
        z = theta[0] + x @ theta[1:9] + theta[9:][hashed].sum(axis=1)
        losses.append(np.mean(np.logaddexp(0, z) - y * z))
        residual = (0.5 + 0.5 * np.tanh(z / 2) - y) / len(y)
        used, place = np.unique(hashed, return_inverse=True)
        parts = np.bincount(place.ravel(), np.repeat(residual, hashed.shape[1]))
        gradient = np.concatenate([[residual.sum()], residual @ x, parts])
        entries = np.concatenate([np.arange(9), 9 + used])  # each once, so that += is safe
        squares[entries] += gradient**2
        theta[entries] -= lr * gradient / (np.sqrt(squares[entries]) + eps)
    return theta, np.array(losses)
    ### END SOLUTION


# %% [markdown] hints="adagrad_from_stream"
# <details><summary>Hint 1: what is new</summary>
#
# Start from your `sgd_from_stream`. The loss and $p - y$ are the same. Only the last lines change: AdaGrad needs the
# summed gradient of each bucket before it can square it.
#
# </details>
# <details><summary>Hint 2: sum by bucket, without the table</summary>
#
# `used, place = np.unique(hashed, return_inverse=True)` gives the distinct buckets of a batch, and for each use the
# place of its bucket in `used`. `np.bincount(place.ravel(), weights=...)` adds up the parts by place.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# With `residual = (p - y) / len(y)`: `parts = np.bincount(place.ravel(), np.repeat(residual, 6))`, then `squares[used]
# += parts**2` and `table[used] -= lr * parts / (np.sqrt(squares[used]) + eps)`. Each bucket stands in `used` once, so
# `+=` and `-=` are safe here. Do the same for b, whose gradient is `residual.sum()`, and for w, with `residual @ x`.
#
# </details>

# %% check="adagrad_from_stream"
# As above: one row, all parameters 0, so the derivative is -1/2. Where a gradient is not 0, AdaGrad's first step has
# the length lr and goes against its sign. Bucket 4 has the gradient -1, the others -1/2, and all go up by 0.2.
with (
    check("adagrad_from_stream", forbids=["torch.optim", "torch.autograd", ".backward"]),
    tempfile.TemporaryDirectory() as folder,
):
    path_hand = os.path.join(folder, "hand.npy")
    hand = np.zeros(2, CLICK)
    hand["numeric"][0, 0] = 1
    hand["hashed"][0] = [0, 1, 2, 3, 4, 4]
    hand["hashed"][1] = [4, 4, 4, 4, 4, 4]
    hand["y"] = [1, 0]
    np.save(path_hand, hand[:1])
    theta, losses = adagrad_from_stream(path_hand, 0.2, batch_size=1, buckets=8)
    expect_shape(theta, (17,), hint="b, eight weights, eight buckets")
    expect_close(losses, [math.log(2)], rtol=1e-12, hint="the loss before the update: log(1 + exp(0)) - 0")
    expect_close(
        theta[:3],
        [0.2, 0.2, 0.0],
        rtol=1e-6,
        hint="b and the first weight: lr along the sign; the second has gradient 0",
    )
    expect_close(
        theta[9:],
        [0.2, 0.2, 0.2, 0.2, 0.2, 0, 0, 0],
        rtol=1e-6,
        hint="0.2 for each bucket that the row uses, also for bucket 4, whose gradient is -1",
        mistakes={
            "Bucket 4 comes twice: add its two parts up, then square the sum.": [0.2] * 4
            + [0.4 / math.sqrt(2)]
            + [0.0] * 3,
            "You went uphill: subtract.": [-0.2] * 5 + [0.0] * 3,
        },
    )
    theta, _ = adagrad_from_stream(path_hand, 1.0, batch_size=1, buckets=8, eps=1.0)
    expect_close(theta[9], 1 / 3, rtol=1e-6, hint="0.5 / (sqrt(0.25) + 1): eps is added to the root, not under it")
    # Row 1 in a batch of its own: z = 0.2 + 6 * 0.2 = 1.4. Its six uses of bucket 4 are one gradient of 6 p. The
    # squares of this bucket were 1, so its step is 0.2 * 6 p / sqrt(1 + 36 p^2). Bucket 0 stays as it is.
    np.save(path_hand, hand)
    theta, losses = adagrad_from_stream(path_hand, 0.2, batch_size=1, buckets=8)
    p_hand = 1 / (1 + math.exp(-1.4))
    expect_close(
        theta[13],
        0.2 - 0.2 * 6 * p_hand / math.sqrt(1 + 36 * p_hand**2),
        rtol=1e-6,
        hint="squares grow by the square of this batch's gradient before the step",
    )
    expect_close(theta[9], 0.2, rtol=1e-6, hint="bucket 0 has no gradient in the second batch, and stays")

# %% tags=["demo"]
with device.timer("cpu") as took, threadpool_limits(1):
    ada_theta, ada_losses = adagrad_from_stream(log_path, 0.1, log_batch, log.buckets)
print(f"AdaGrad: one pass in {took.seconds:.1f} s, where SGD took {stream_seconds:.1f} s")
by_adagrad, by_stream = (loss_of(theta) - loss_of(truth) for theta in (ada_theta, stream_theta))
print(f"loss on new rows, above that of the truth: AdaGrad {by_adagrad:.4f}, SGD {by_stream:.4f}")
dense_state = (np.zeros(9 + log.buckets),) * 3
dense_gradient, dense_tries = np.zeros(9 + log.buckets), demo_size(full=50, small=10)
with device.timer("cpu") as took, threadpool_limits(1):
    for k in range(dense_tries):
        dense_state = adam_step(*dense_state, k, dense_gradient)
dense_seconds = took.seconds / dense_tries * log_updates
print(
    f"Adam on the whole table: {took.seconds / dense_tries * 1e3:.2f} ms an update, {dense_seconds:.0f} s for this pass"
)
print(f"and with a table of 2^28 buckets, 1024 times as large, about {dense_seconds * 1024 / 3600:.0f} hours")
ax = plotting.curves(
    {"SGD, inverse-time": progress(progressive), "AdaGrad, η = 0.1": progress(ada_losses)},
    xlabel="millions of rows read",
    ylabel="log loss",
    title="A rate for each entry learns the rare ones",
)
ax.axhline(lowest, color="#222222", linestyle=":", label="the true probabilities: the lowest possible")
ax.legend()
plt.show()

# %% [markdown]
# AdaGrad closes a large part of the gap in the same pass. What is left belongs to users and adverts that the log shows
# only a few times: no method can know them well. A dense Adam would update the whole table for each batch, although a
# batch of 1000 rows uses at most 6009 of its parameters. `torch.optim.SparseAdam` skips the unused entries, and is then
# another method than Adam.

# %% [markdown]
# ### Three ways to count
#
# "Faster" needs a unit. The next cells run the same methods on the same rows and count the cost in three units. The
# task is logistic regression on the eight numbers, in units that differ by a factor of up to 4.
#
# - **Gradients of rows** are the unit of theory.
# - **Bytes read** from a file larger than memory. A disk delivers pages of 4096 bytes. A method that reads the rows in
#   order reads 60 bytes for a row. A method that jumps to a random row reads a page for it. The count assumes that
#   nothing stays in memory. This is true for a log much larger than the memory, though not for the rows of this demo.
# - **Seconds** on this machine. They also contain the cost of each call, however few rows it works on.
#
# All runs use one thread.

# %% tags=["demo"]
PAGE = 4096
m_race, race_epochs = demo_size(full=40_000, small=10_000), demo_size(full=6, small=3)
raced = datasets.clicks(m_race, seed=3).read(0, m_race)
X_race = np.column_stack([np.ones(m_race), raced.numeric * np.geomspace(0.5, 2, 8)]).astype(float)
y_race = raced.y.astype(float)


def log_loss(theta):
    z = X_race @ theta
    return float(np.mean(np.logaddexp(0, z) - y_race * z))


def log_gradient(theta, rows):
    x = X_race[rows]
    return (0.5 + 0.5 * np.tanh(x @ theta / 2) - y_race[rows]) @ x / len(rows)


race_best = np.zeros(9)
for _ in range(12):  # Newton's method: d is 9 here
    p = 0.5 + 0.5 * np.tanh(X_race @ race_best / 2)
    race_best -= np.linalg.solve((X_race.T * (p * (1 - p))) @ X_race, X_race.T @ (p - y_race))
curvature = np.linalg.eigvalsh(X_race.T @ X_race / m_race)[-1] / 4  # p (1 - p) <= 1/4


class Meter:
    """grad(theta, rows) with three counters; what it does itself is not timed."""

    def __init__(self, shuffled=True, every=m_race // 8):
        self.shuffled, self.every, self.asked = shuffled, every, []
        self.rows = self.due = self.bytes = self.seconds = 0
        self.last = self.snapshot = None
        self.since = time.perf_counter()

    def __call__(self, theta, rows):
        gradient = log_gradient(theta, rows)
        self.seconds += time.perf_counter() - self.since
        self.note(theta, rows)
        self.since = time.perf_counter()
        return gradient

    def note(self, theta, rows):
        full = len(rows) == m_race
        again = not full and np.array_equal(rows, self.last)  # SVRG asks for each batch twice; it is read once
        at_snapshot = not full and np.array_equal(theta, self.snapshot)
        if full or not self.shuffled:  # one row after the other
            self.bytes += len(rows) * CLICK.itemsize
        elif not again:
            self.bytes += len(np.unique(rows * CLICK.itemsize // PAGE)) * PAGE
        if full:
            self.snapshot = np.array(theta)
        if self.rows >= self.due and not at_snapshot:
            self.asked.append((self.rows, self.seconds, self.bytes, np.array(theta)))
            self.due = self.rows + self.every
        self.rows, self.last = self.rows + len(rows), rows


def in_file_order(grad, theta0, lr, batch_size):
    theta, every = np.array(theta0), np.arange(m_race)
    for k, start in enumerate([start for _ in range(race_epochs) for start in range(0, m_race, batch_size)]):
        theta = theta - lr(k) * grad(theta, every[start : start + batch_size])


def descend(grad):
    theta, every = origin, np.arange(m_race)
    for _ in range(descent_steps):
        theta = theta - grad(theta, every) / curvature


def raced_by(run, shuffled=True):
    """J - min J, gradients of rows, seconds and MB along one run, after its start; one thread, as batches are small."""
    with threadpool_limits(1):
        meter = Meter(shuffled)
        run(meter)
    evaluations, seconds, read, thetas = zip(*meter.asked, strict=True)
    losses = np.array([log_loss(theta) for theta in thetas]) - lowest_race
    found = np.maximum(losses, 1e-14), np.array(evaluations), np.array(seconds), np.array(read) / 1e6
    return [values[1:] for values in found]


race_batch, origin = 50, np.zeros(9)
race_steps, descent_steps = race_epochs * -(-m_race // race_batch), 10 * race_epochs
falling = functools.partial(learning_rate, peak=1 / (2 * curvature), warmup=0, span=race_steps)
gentle = functools.partial(learning_rate, peak=0.02, warmup=0, span=race_steps)
lowest_race = log_loss(race_best)
measured = {
    "gradient descent": raced_by(descend),
    "SGD, cosine": raced_by(lambda meter: sgd(meter, origin, m_race, falling, race_batch, race_epochs)),
    "SGD in file order": raced_by(lambda meter: in_file_order(meter, origin, falling, race_batch), shuffled=False),
    "SVRG": raced_by(lambda meter: svrg(meter, origin, m_race, 1 / (4 * curvature), race_batch, race_epochs)),
    "Adam, cosine": raced_by(lambda meter: with_adam(meter, origin, m_race, gentle, race_batch, race_epochs)),
}
figure, axes = plt.subplots(1, 2, figsize=(12, 5), sharey=True)
for ax, place, label in ((axes[0], 1, "gradients of rows"), (axes[1], 3, "MB read from a disk, nothing in memory")):
    plotting.curves(
        {name: (found[place], found[0]) for name, found in measured.items()},
        xlabel=label,
        ylabel="J − min J" if ax is axes[0] else "",
        title="The same five runs: gradients ..." if ax is axes[0] else "... and bytes",
        logx=True,
        logy=True,
        ax=ax,
    )
    ax.set_ylim(1e-9, 1)
axes[1].get_legend().remove()
plt.show()

# %% [markdown]
# Follow one curve through both panels. Counted in gradients, SGD in file order and SGD with a shuffle are the same
# method. Counted in bytes they are far apart: a random row costs a page, and a page holds 68 rows. Gradient descent is
# last in the left panel. In the right panel, where $J - \min J$ is below about 5e-3, it needs fewer bytes than
# shuffled SGD for the same loss, because it reads in order. For this reason nobody shuffles a large file row by row
# during training. Either the file is shuffled once, when it is written. Or large blocks are read in random order, and
# the rows are shuffled within a buffer that holds some of them.
#
# File order works here because the rows were drawn independently. In a log that is sorted by date or by label, rows
# that stand together are similar. Their gradients have the same errors, a batch is worth about one row, and the last
# rows decide the result.
#
# ### Seconds, and where the peer wins
#
# The table below adds two peers: scikit-learn's `SGDClassifier` (one row at a time, in compiled code) and
# `torch.optim.Adam` with autograd, on the batches that your Adam uses.


# %% tags=["demo"]
from sklearn.linear_model import SGDClassifier


def by_torch(meter, lr, batch_size):
    X_t, y_t = torch.from_numpy(X_race), torch.from_numpy(y_race)
    theta = torch.zeros(9, dtype=torch.float64, requires_grad=True)
    optimiser, k, meter.since = torch.optim.Adam([theta], lr=lr(0)), 0, time.perf_counter()  # imports are not timed
    for epoch in range(race_epochs):
        for rows in minibatches(m_race, batch_size, 0, epoch):
            optimiser.param_groups[0]["lr"] = lr(k)
            optimiser.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(X_t[rows] @ theta, y_t[rows]).backward()
            optimiser.step()
            k += 1
            meter.seconds += time.perf_counter() - meter.since
            meter.note(theta.detach().numpy(), rows)
            meter.since = time.perf_counter()


def by_sklearn(meter):
    peer = SGDClassifier(
        loss="log_loss", alpha=1e-6, learning_rate="invscaling", eta0=0.05, power_t=0.5, random_state=0
    )
    for _ in range(race_epochs):
        peer.partial_fit(X_race[:, 1:], raced.y, classes=[0, 1])
        meter.seconds += time.perf_counter() - meter.since
        meter.rows += m_race
        meter.asked.append((meter.rows, meter.seconds, 0, np.append(peer.intercept_, peer.coef_)))
        meter.since = time.perf_counter()


measured["torch.optim.Adam"] = raced_by(lambda meter: by_torch(meter, gentle, race_batch))
measured["SGDClassifier"] = raced_by(by_sklearn)
updates = dict.fromkeys(measured, race_steps) | {
    "gradient descent": descent_steps,
    "SGDClassifier": race_epochs * m_race,  # one row at a time
}
print(f"{'':24s}{'J − min J':>10s}{'passes':>8s}{'seconds':>9s}{'updates':>9s}{'µs each':>9s}")
for name, (losses, evaluations, seconds, _) in measured.items():
    print(
        f"{name:24s}{losses[-1]:10.0e}{evaluations[-1] / m_race:8.1f}{seconds[-1]:9.2f}"
        f"{updates[name]:9,}{seconds[-1] / updates[name] * 1e6:9.1f}"
    )

threads = torch.get_num_threads()
torch.set_num_threads(1)
counts = np.array(demo_size(full=[10, 100, 1000, 10_000, 100_000, 1_000_000], small=[10, 1000, 100_000]))
per_update = {"your adam_step (NumPy)": [], "torch.optim.Adam": [], "torch.optim.Adam, fused": []}
with threadpool_limits(1):
    for n in counts.tolist():
        gradient, tries = np.random.default_rng(n).standard_normal(n), int(np.clip(2e6 / n, 5, 500))
        state = (np.zeros(n),) * 3
        with device.timer("cpu") as took:
            for k in range(tries):
                state = adam_step(*state, k, gradient)
        per_update["your adam_step (NumPy)"].append(took.seconds / tries)
        for name, fused in (("torch.optim.Adam", False), ("torch.optim.Adam, fused", True)):
            parameter = torch.zeros(n, dtype=torch.float64, requires_grad=True)
            parameter.grad = torch.from_numpy(gradient)
            peer = torch.optim.Adam([parameter], fused=fused)
            peer.step()  # the first step allocates its memory
            with device.timer("cpu") as took:
                for _ in range(tries):
                    peer.step()
            per_update[name].append(took.seconds / tries)
torch.set_num_threads(threads)

figure, axes = plt.subplots(1, 2, figsize=(12, 4.6))
compared = ("gradient descent", "Adam, cosine", "torch.optim.Adam", "SGDClassifier")
plotting.curves(
    {name: (measured[name][2], measured[name][0]) for name in compared},
    xlabel="seconds on this machine",
    ylabel="J − min J",
    logx=True,
    logy=True,
    title="9 parameters, batches of 50: calls decide",
    ax=axes[0],
)
plotting.curves(
    {name: (counts, np.array(seconds) * 1e6) for name, seconds in per_update.items()},
    xlabel="number of parameters",
    ylabel="µs for one update",
    logx=True,
    logy=True,
    title="One update of Adam: where it turns",
    ax=axes[1],
)
plt.show()

# %% [markdown]
# The left panel does not say that torch is slow or that gradient descent is fast. With 9 parameters and 50 rows, the
# arithmetic of an update takes less than a microsecond, and the rest of the time is the cost of calling functions.
# Autograd and `torch.optim` make many more calls for an update than your functions do. Gradient descent makes few
# updates, with 40,000 rows in a call, so it pays for few calls. `SGDClassifier` has no calls at all between its rows:
# it makes 50 times as many updates, and each of them costs a small fraction of yours.
#
# The right panel shows where this turns. With few parameters, NumPy's update is faster, because its calls are cheaper.
# With many parameters the arithmetic and the memory traffic decide. Your `adam_step` writes a new array for each
# operation. torch updates in place, and the fused version goes through memory once. There torch wins, and all models
# that need Adam are on that side.
#
# ### When does a larger batch stop to pay?
#
# While the noise of a batch is longer than the gradient, twice the batch allows about twice the rate, and about half
# the updates reach the same loss. When the gradient is longer than the noise, a larger batch does not help any more.
# McCandlish et al. (2018) describe both ends by one formula for the updates that a target needs, each batch size with
# its best rate:
#
# $$\text{updates}(B) = S_{\min}\left(1 + \frac{B_{\text{crit}}}{B}\right), \qquad
#   \text{rows}(B) = B\cdot\text{updates}(B) = S_{\min}\,(B + B_{\text{crit}}) .$$
#
# At the **critical batch size** $B_{\text{crit}}$, a run needs twice the fewest updates and twice the fewest rows. The
# next cell tries each batch size with several rates, for an early target and a late one, and fits the formula.

# %% tags=["demo"]
wide_m = 20_000
critical = datasets.linear(wide_m, 20, condition=10.0, noise=1.0, seed=12)
critical_best = np.linalg.lstsq(critical.X, critical.y, rcond=None)[0]
critical_start = critical_best + 3 / math.sqrt(20)
hessian = critical.X.T @ critical.X / wide_m
start_excess = float(excess(critical, critical_start)[0])


def updates_to(targets, lr, size, most, seed):
    """How many updates of SGD until J − min J is below each target for the first time; inf where `most` do not do."""
    draws, off, found = np.random.default_rng(seed), critical_start - critical_best, [math.inf] * len(targets)
    noise_at_best = critical.y - critical.X @ critical_best
    for k in range(most):
        rows = draws.integers(wide_m, size=size)
        off = off - lr / size * (critical.X[rows].T @ (critical.X[rows] @ off - noise_at_best[rows]))
        now = 0.5 * off @ hessian @ off
        if not now < 10 * start_excess:  # it diverges
            break
        found = [min(seen, k + 1) if now < target else seen for seen, target in zip(found, targets, strict=True)]
        if math.isfinite(found[-1]):
            break
    return found


targets = start_excess / np.array([10.0, 100.0])
sizes = np.array(demo_size(full=[1, 4, 16, 64, 256, 1024, 4096], small=[4, 64, 1024]))
fewest = []
with threadpool_limits(1):
    for size in sizes.tolist():
        tries = [
            np.median(
                [updates_to(targets, lr, size, min(4000, 40 + 12_000 // size), seed) for seed in range(3)], axis=0
            )
            for lr in 1.6 * 0.5 ** np.arange(0, 8)
        ]
        fewest.append(np.min(tries, axis=0))
fewest = np.array(fewest)  # (sizes, targets)
figure, axes = plt.subplots(1, 2, figsize=(12, 4.4))
for number, (part, colour) in enumerate(zip((10, 100), plotting.COLOURS, strict=False)):
    found = fewest[:, number]
    # found = S (1 + C / B), so found / w = S / w + S C / (B w): least squares of relative errors (w = found).
    columns = np.column_stack([np.ones(len(sizes)), 1 / sizes]) / found[:, None]
    least, slope = np.linalg.lstsq(columns, np.ones(len(sizes)), rcond=None)[0]
    fit = least + slope / sizes
    label = f"J − min J down to 1/{part}: critical batch {slope / least:,.0f}"
    for ax, factor in ((axes[0], 1), (axes[1], sizes)):
        ax.loglog(sizes, factor * found, "o", color=colour, label=label if ax is axes[0] else None)
        ax.loglog(sizes, factor * fit, color=colour, linewidth=1.2)
        ax.axvline(slope / least, color=colour, linestyle=":", linewidth=1.2)
axes[0].set(xlabel="rows in a batch, B", ylabel="updates to the target", title="More rows save updates, up to a point")
axes[1].set(xlabel="rows in a batch, B", ylabel="rows read to the target", title="Beyond it, rows are wasted")
axes[0].legend()
plt.show()

# %% [markdown]
# The dots are measured, and the lines are the fitted formula. The critical batch size is larger for the late target:
# the gradient becomes shorter as the loss falls, and the noise does not. A machine that can work on many rows at once
# gains from a batch up to about this size. It limits how many machines can share a step.
#
# ### Where it breaks
#
# - *A larger batch stops to pay*, at the critical batch size.
# - *Steps are sequential.* Update $k+1$ needs the result of update $k$. Workers that do not wait compute with old
#   parameters. With sparse rows they seldom change the same entries (Hogwild); with dense rows they do (module 18).
# - *The table is larger than the machine.* An update touches 6 entries for each row, of a table that may have
#   $10^{11}$. The table is then cut into parts on several parameter servers, and rows are sent to the parts. Module 18
#   builds one such server.
# - *The stream changes.* People, prices and adverts change. A rate that falls to zero stops learning, and so does
#   AdaGrad, whose steps shrink for ever. A constant rate keeps a floor, and it can follow the changes. Progressive
#   validation tells which loss is larger.

# %% tags=["demo"]
log_folder.cleanup()

# %% [markdown] written="which_unit" points=2
# ### In words
#
# A log of $10^{10}$ rows of 60 bytes is stored on a disk that reads 200 MB/s in order and makes 200 random accesses a
# second. It is sorted by date. You have 16 GB of memory, and the parameters of your model fit into it. (a) How long
# does one pass in order take? How long does one epoch of batches of randomly chosen rows take? (b) Propose a way to
# get nearly random batches at nearly the speed of the pass in order. What is its disadvantage? (c) The model will be
# used on tomorrow's rows. Which of a constant, an inverse-time and a cosine rate would you take, and how would you
# find out whether you are right?
#
# ### BEGIN SOLUTION
# (a) 600 GB at 200 MB/s are 3000 s, 50 minutes. $10^{10}$ random accesses at 200/s are $5\cdot10^7$ s, more than a
# year and a half. (b) Either shuffle once on disk (an external sort by a random key: a few passes), then always read
# in order, with the same order in each epoch or blocks in a new order; or read blocks of, say, 10 MB in random order,
# keep some hundreds of them in a buffer and draw batches from it: 10 MB take 50 ms to read and 5 ms to find, so the
# speed is nearly that of the pass in order. Rows of a block stay near each other in time: batches are only as mixed as
# the buffer, so its size must be large compared with the correlation in the file. (c) Tomorrow's rows are more similar
# to today's than to last year's: read in order of date with a constant rate (or one that falls slowly and stays above
# a bound), and let progressive validation, the loss on each day before that day is learned, choose between rates. A
# cosine over the whole log is right if the rows are exchangeable; validate on the last days, never on rows drawn from
# all days.
#
# ### RUBRIC
# - 0.5: (a) About 3000 s in order, and about $5\cdot10^7$ s at random.
# - 0.5: (b) One shuffle on disk and then reading in order, or blocks in random order with a buffer from which batches
#   are drawn.
# - 0.5: (b) Its disadvantage: the passes of the sort and an order that repeats, or rows of a block that stay near
#   each other in time.
# - 0.5: (c) A choice with a reason that tells whether tomorrow's rows are like the old ones, and a test on later
#   days, never on rows drawn from all days.
# ### END SOLUTION

# %% [markdown]
# ## 9. Two details of training large models (optional)
#
# ### Weight decay that decays: AdamW
#
# A penalty $\frac{w}{2}\lVert\theta\rVert^2$ adds $w\,\theta$ to the gradient, where $w$ is the strength of the
# **weight decay**. With SGD, each step then multiplies $\theta$ by $1-\eta w$. With Adam it does something else:
# $w\,\theta$ goes into $u$, and it is divided by $\sqrt s$ with the rest. So entries with large gradients hardly
# decay, and entries with small gradients decay at full speed. **AdamW** (Loshchilov, Hutter, 2019) keeps the decay out
# of the gradient and out of both memories:
#
# $$\theta \leftarrow (1-\eta w)\,\theta - \eta\;\frac{u/(1-\beta_1^{k+1})}{\sqrt{s/(1-\beta_2^{k+1})}+\varepsilon} .$$
#
# ### 2.10 `adamw_step` · optional · level 1 of 4 · 10 min


# %% exercise="adamw_step" points=1 minutes=10 extra=true forbids=["torch.optim"] trains=["reading definitions of optimisers closely"]
def adamw_step(
    theta: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    k: int,
    gradient: np.ndarray,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One update of AdamW, as torch.optim.AdamW defines it.

        theta <- (1 - lr * weight_decay) * theta, then one update of Adam with the same gradient

    weight_decay: a Python float >= 0. gradient is that of the loss without a penalty.
    All other arguments, and what is returned, as in your adam_step, which you may call. The decay
    uses theta before the update; it changes neither first nor second.
    Do not use torch.optim: it is what you are writing.
    """
    ### BEGIN SOLUTION
    return adam_step((1 - lr * weight_decay) * theta, first, second, k, gradient, lr, beta1, beta2, eps)
    ### END SOLUTION


# %% [markdown] hints="adamw_step"
# <details><summary>Hint 1: where the decay acts</summary>
#
# Only `theta` decays. If you change `gradient`, the decay goes through the square root, and that is Adam with a
# penalty.
#
# </details>
# <details><summary>Hint 2: nearly the answer</summary>
#
# Call `adam_step` with `(1 - lr * weight_decay) * theta` in place of `theta`, and return what it returns.
#
# </details>

# %% check="adamw_step"
# theta = 1, lr = 0.1, weight_decay = 0.5: the decay leaves 0.95. Adam's first step is 0.1 against the sign.
with check("adamw_step", forbids=["torch.optim"]):
    theta, zero, gradient = np.array([1.0, 1.0]), np.zeros(2), np.array([4.0, 0.0])
    with expect_unchanged(theta=theta, first=zero, gradient=gradient):
        got, first, second = adamw_step(theta, zero, zero, 0, gradient, lr=0.1, weight_decay=0.5)
    expect_close(
        got,
        [0.85, 0.95],
        rtol=1e-6,
        hint="0.95 - 0.1, and 0.95 where the gradient is 0",
        mistakes={
            "The decay went through the gradient: every step is then 0.1 long.": [0.9, 0.9],
            "You left lr out of the decay: the factor is 1 - lr * weight_decay.": [0.4, 0.5],
        },
    )
    expect_close(first, [0.4, 0.0], rtol=1e-12, hint="(1 - 0.9) * gradient: the decay is not in it")

# %% [markdown]
# Three parameters start at 1. Their gradients are pure noise, with three different sizes, so only the decay should
# move them, by the factor $1-\eta w$ in each update.

# %% tags=["demo"]
noise_sizes, decay_updates, decay = np.array([0.1, 1.0, 10.0]), 2000, 1.0
draws = np.random.default_rng(3)
penalty_state = decoupled_state = (np.ones(3), np.zeros(3), np.zeros(3))
by_penalty, by_decoupling = [], []
for k in range(decay_updates):
    shaken = noise_sizes * draws.standard_normal(3)
    penalty_state = adam_step(*penalty_state, k, shaken + decay * penalty_state[0])
    decoupled_state = adamw_step(*decoupled_state, k, shaken, weight_decay=decay)
    by_penalty.append(penalty_state[0])
    by_decoupling.append(decoupled_state[0])
figure, axes = plt.subplots(1, 2, figsize=(12, 4.2), sharey=True)
for ax, walks, title in (
    (axes[0], by_penalty, "Adam with a penalty: the decay depends on the noise"),
    (axes[1], by_decoupling, "AdamW: the same decay for all"),
):
    plotting.curves(
        {f"gradients of size {size:g}": np.array(walks)[:, j] for j, size in enumerate(noise_sizes)},
        xlabel="update k",
        ylabel="θ" if ax is axes[0] else "",
        title=title,
        ax=ax,
    )
    ax.plot((1 - 1e-3 * decay) ** np.arange(decay_updates), color="#222222", linewidth=1, linestyle=":")
axes[1].get_legend().remove()
plt.show()

# %% [markdown]
# The dotted line is $(1-\eta w)^k$.
#
# ### One bad batch: clipping by the norm
#
# One batch with an extreme row, or one unstable moment of a deep network, can give a gradient that is a thousand times
# as long as usual. A single step along it can destroy a long run. **Clipping by the norm** limits the length and keeps
# the direction: if the norm of the whole gradient, over all parameters together, is above a limit $c$, multiply it by
# $c/\text{norm}$. If each parameter array had its own limit, the direction would change. Clipping has a price: a
# clipped gradient is not right on average any more. So choose a limit that most batches do not reach.
#
# ### 2.11 `clip_by_norm` · optional · level 1 of 4 · 10 min


# %% exercise="clip_by_norm" points=1 minutes=10 extra=true forbids=["torch.nn.utils"] trains=["reading definitions of optimisers closely"]
def clip_by_norm(gradients: list[np.ndarray], limit: float) -> tuple[list[np.ndarray], float]:
    """Make a gradient that consists of several arrays no longer than `limit`.

    gradients: a list of one or more float64 arrays, each of any shape with at least one axis, or
      empty. Each entry is 0, or between 1e-150 and 1e150 in absolute value, or not finite. The list
      and its arrays are not modified.
    limit: a Python float > 0.

    Returns (clipped, norm). norm, a Python float, is the Euclidean norm of all entries of all arrays
    together, before clipping. clipped is a new list of new arrays of the same shapes, float64: copies
    if norm <= limit (so also if norm is 0), else each array times limit / norm.
    Raises ValueError if an entry is nan or infinite: a step along such a gradient ends the run.
    Do not use torch.nn.utils: it has this function.
    """
    ### BEGIN SOLUTION
    norm = math.sqrt(math.fsum(float(np.sum(gradient**2)) for gradient in gradients))
    if not math.isfinite(norm):
        raise ValueError("the gradient is not finite")
    factor = min(1.0, limit / norm) if norm > 0 else 1.0
    return [factor * gradient for gradient in gradients], norm
    ### END SOLUTION


# %% [markdown] hints="clip_by_norm"
# <details><summary>Hint 1: one norm</summary>
#
# Add up the squares of all entries of all arrays, and take one root at the end.
#
# </details>
# <details><summary>Hint 2: nearly the answer</summary>
#
# With `norm = math.sqrt(sum(float(np.sum(g**2)) for g in gradients))`: raise `ValueError` unless
# `math.isfinite(norm)`. The factor is 1 where `norm <= limit`, else `limit / norm`. Return `[factor * g for g in
# gradients]` and `norm`.
#
# </details>

# %% check="clip_by_norm"
# The norm of (3, 0) and (0, 4) together is 5. With a limit of 1, each array is divided by 5.
with check("clip_by_norm", forbids=["torch.nn.utils"]):
    parts = [np.array([3.0, 0.0]), np.array([[0.0], [4.0]])]
    with expect_unchanged(first=parts[0], second=parts[1]):
        clipped, norm = clip_by_norm(parts, 1.0)
    expect_close(
        norm,
        5.0,
        rtol=1e-12,
        hint="sqrt(9 + 16)",
        mistakes={
            "This is the squared norm: take the root.": 25.0,
            "This is the sum of two norms: add up squares, then take one root.": 7.0,
        },
    )
    expect_close(
        clipped[0],
        [0.6, 0.0],
        rtol=1e-12,
        hint="3 / 5",
        mistakes={"Each array was clipped by its own norm; use one norm for all of them.": [1.0, 0.0]},
    )
    expect_close(clipped[1], [[0.0], [0.8]], rtol=1e-12, hint="4 / 5, in the shape (2, 1)")
    kept_parts, _ = clip_by_norm(parts, 10.0)
    expect_close(kept_parts[0], [3.0, 0.0], rtol=1e-12, hint="a gradient that is shorter than the limit stays as it is")
    with expect_raises(ValueError, hint="an entry is nan"):
        clip_by_norm([np.array([1.0, math.nan])], 1.0)

# %% [markdown]
# In this demo, a few rows of the data carry a target that is wrong by a large amount. The same SGD runs with clipping
# and without it.

# %% tags=["demo"]
spoiled = type(bowl)(**{**vars(bowl), "y": bowl.y + 2000.0 * (np.random.default_rng(4).random(8000) < 0.0005)})
spoiled_grad, clip_limit = squared_gradient(spoiled), 2.0
norms = []


def clipped_gradient(theta, rows):
    (gradient,), norm = clip_by_norm([spoiled_grad(theta, rows)], clip_limit)
    norms.append(norm)
    return gradient


walks = {}
for name, chosen in (("not clipped", spoiled_grad), ("clipped (yours)", clipped_gradient)):
    asked = watched(sgd, chosen, bowl_start, 8000, lambda k: 0.1, batch_size=8, epochs=2)
    losses = excess(bowl, asked)  # measured on the data without the wrong targets
    walks[name] = (np.arange(10, len(asked) + 1, 10), losses.reshape(-1, 10).mean(axis=1))
print(f"clipped: {np.mean(np.array(norms) > clip_limit):.1%} of the batches; the longest gradient: {max(norms):,.0f}")
plotting.curves(
    walks,
    xlabel="update k",
    ylabel="J − min J on the clean data, mean of 10 updates",
    logy=True,
    title="A few wrong rows, without clipping and with it",
)
plt.show()

# %% [markdown]
# ## 10. Further
#
# **At work.** `torch.optim.SGD`, `AdamW` and `torch.optim.lr_scheduler` for networks;
# `sklearn.linear_model.SGDClassifier.partial_fit` for linear models on one machine; Vowpal Wabbit for click logs of
# any size: hashing, one pass, rates for each entry, progressive validation, as in section 8. For exact minima of
# finite sums, `LogisticRegression(solver="saga")`, a relative of SVRG.
#
# **Open questions**
#
# 1. Why does a shuffle converge faster than independent draws, and by how much? For some problems the theory has had
#    the answer only since 2020, and the best order is still unknown.
# 2. The noise seems to help networks generalise: large batches find sharper minima (Keskar et al., 2017). Is the noise
#    the reason, or a rate that was not adapted to the batch?
# 3. Adam trains transformers far better than SGD does, but not convolutional networks. Which property of the data or
#    of the network makes the difference?
# 4. The average of all $\theta_k$ has a lower floor than the last one (Polyak, Juditsky, 1992). Add it to your `sgd`.
#    When does a falling rate make it superfluous?
#
# **References**
#
# - H. Robbins, S. Monro. A stochastic approximation method. *Annals of Mathematical Statistics* 22(3), 1951. The first
#   paper on SGD, with the two conditions on the rate.
# - B. T. Polyak. Some methods of speeding up the convergence of iteration methods. *USSR Computational Mathematics and
#   Mathematical Physics* 4(5), 1964. Momentum.
# - B. T. Polyak, A. B. Juditsky. Acceleration of stochastic approximation by averaging. *SIAM Journal on Control and
#   Optimization* 30(4), 1992. For open question 4.
# - L. Bottou, O. Bousquet. The tradeoffs of large scale learning. *NIPS* 2007. Why a poor optimiser can be the best
#   learner.
# - J. Duchi, E. Hazan, Y. Singer. Adaptive subgradient methods for online learning and stochastic optimization.
#   *Journal
#   of Machine Learning Research* 12, 2011. AdaGrad; section 1 explains why rare features need it.
# - F. Niu, B. Recht, C. Ré, S. Wright. Hogwild: a lock-free approach to parallelizing stochastic gradient descent.
#   *NIPS* 2011. Workers that overwrite each other, and why it works.
# - R. Johnson, T. Zhang. Accelerating stochastic gradient descent using predictive variance reduction. *NIPS* 2013.
#   SVRG, with a short and readable proof.
# - H. B. McMahan et al. Ad click prediction: a view from the trenches. *KDD* 2013. What section 8 looks like at Google.
# - D. P. Kingma, J. Ba. Adam: a method for stochastic optimization. *ICLR* 2015. Read section 3, on the bias.
# - I. Loshchilov, F. Hutter. SGDR: stochastic gradient descent with warm restarts. *ICLR* 2017. The cosine.
# - N. S. Keskar et al. On large-batch training for deep learning: generalization gap and sharp minima. *ICLR* 2017. For
#   open question 2.
# - L. Bottou, F. E. Curtis, J. Nocedal. Optimization methods for large-scale machine learning. *SIAM Review* 60(2),
#   2018. The best survey.
# - S. J. Reddi, S. Kale, S. Kumar. On the convergence of Adam and beyond. *ICLR* 2018. A short example where Adam
#   fails.
# - S. McCandlish, J. Kaplan, D. Amodei et al. An empirical model of large-batch training. arXiv:1812.06162, 2018. The
#   critical batch size, measured.
# - I. Loshchilov, F. Hutter. Decoupled weight decay regularization. *ICLR* 2019. AdamW.
# - A. Defazio, L. Bottou. On the ineffectiveness of variance reduced optimization for deep learning. *NeurIPS* 2019. A
#   careful negative result.
# - K. Mishchenko, A. Khaled, P. Richtárik. Random reshuffling: simple analysis with vast improvements. *NeurIPS* 2020.
#   For open question 1.
# - S. Hu et al. MiniCPM: unveiling the potential of small language models with scalable training strategies.
#   arXiv:2404.06395, 2024. Warm-up, stable, decay.
