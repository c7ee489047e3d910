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
# A gradient over a billion rows reads a billion rows, and buys one step. Ask ten rows instead, and the answer is noisy,
# but it costs a hundred-millionth. This module is about that trade: what the noise costs, how to pay less of it, and
# how one pass over a file that does not fit into memory trains a model.
#
# **When you have finished you can**
#
# - cut an epoch into batches so that every row counts once and a run can be repeated or resumed;
# - predict the level at which a constant learning rate stops making progress, and choose a schedule that goes below;
# - write momentum and Adam as they stand in `torch.optim`, and say which of the several definitions each one is;
# - remove the noise altogether where the data can be read more than once (SVRG);
# - train on ten million rows from disk with the memory of one batch, and account for evaluations, seconds and bytes.
#
# **You need** NumPy arrays, gradients (module 01 is enough), mean and variance. **Time**: about three and a half hours,
# half of it in eight exercises. **Skills**: reasoning about noise, reading optimiser definitions closely, streaming,
# counting what a computation reads.
#
# **One legend for the whole module**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $m$, $d$ | `m`, `d` | | number of rows (examples), number of parameters |
# | $\theta$ | `theta` | $(d,)$ | the parameters; $\theta_k$ is where we stand before update $k = 0, 1, 2, \dots$ |
# | $J(\theta) = \frac1m\sum_i J_i(\theta)$ | | | the loss: a mean over rows, $J_i$ is the loss of row $i$ |
# | $g_i(\theta) = \nabla J_i(\theta)$ | | $(d,)$ | the gradient of one row |
# | $\mathcal B$, $B$ | `rows`, `batch_size` | $(B,)$ | the numbers of the rows in a batch, and how many they are |
# | $g_{\mathcal B} = \frac1B\sum_{i\in\mathcal B} g_i$ | `grad(theta, rows)` | $(d,)$ | the mean gradient of a batch |
# | $\eta_k$ | `lr` | | the learning rate of update $k$ |
# | $\lambda$ | | | a curvature: an eigenvalue of the Hessian of $J$ |
# | $\sigma^2$ | | | the variance of $g_i$ from row to row, along one direction |
# | $v$; $u$, $s$ | `velocity`; `first`, `second` | $(d,)$ | what momentum remembers; what Adam remembers |
# | $\beta$, $\beta_1$, $\beta_2$ | `beta`, ... | | how much of the memory is kept from one update to the next |
#
# Every optimiser below is given one function, `grad(theta, rows)`, and never sees the data behind it.

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
from sklearn.linear_model import SGDClassifier
from threadpoolctl import threadpool_limits

plotting.use()
checking.start("02_sgd", total=8)

# %% [markdown]
# ## 1. Ask a few rows
#
# The full gradient is a mean, $\nabla J = \frac1m\sum_i g_i$. To estimate a mean, nobody asks the whole population.
# Draw a batch $\mathcal B$ of $B$ rows at random: the mean of their gradients, $g_{\mathcal B}$, is right on average,
# $\mathbb E\,g_{\mathcal B} = \nabla J$, and along any direction its variance is about $\sigma^2/B$.
#
# So ten times the rows give a third of the error, since $\sqrt{10}\approx 3$, for ten times the price. The last rows
# that we ask hardly matter. And how much error can we afford? That depends on where we stand. Each dot below is the end
# of the gradient of one batch of 10 rows, drawn as an arrow from the origin; the dark arrow is the full gradient.

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
    ax.set(xlabel="∂J/∂θ₁", ylabel="∂J/∂θ₂", title=f"distance {distance} from the minimum: {uphill:.0%} point uphill")
    ax.set_aspect("equal", adjustable="datalim")
    ax.legend(loc="upper right")
plt.show()

# %% [markdown]
# Far away every batch knows the way, and asking more rows is waste. Near the minimum the gradients of single rows still
# have their length (each row would like its own $\theta$), only their mean vanishes: there a batch is mostly noise.
# Everything in this module follows from these two pictures.
#
# ### With or without replacement
#
# Theory likes batches that are drawn anew each time, independently. Practice shuffles the rows once an **epoch** (a
# pass over the data) and cuts the shuffled order into batches, so that each row is used exactly once. Of $m$
# independent draws from $m$ rows, a given row is missed by all with probability $(1-1/m)^m \approx 1/e$: more than a
# third of the data would not be seen in an epoch. Shuffling misses none, and converges faster (Mishchenko et al.,
# 2020).
#
# A shuffle must also be *repeatable*. A run that stops in epoch 17 should be resumed in epoch 17 with the batches that
# it would have had, without replaying the 16 before. So let the order be a function of two numbers, the seed and the
# epoch. (A tempting way to combine them is `seed + epoch`. Then run 1's epoch 0 is run 0's epoch 1, and five runs
# that should be independent share most of their batches. NumPy takes the pair: `np.random.default_rng([seed, epoch])`.)
#
# ### Exercise 1 · `minibatches` (1 point, 10 minutes)


# %% exercise="minibatches" points=1 minutes=10
def minibatches(m: int, batch_size: int, seed: int, epoch: int = 0) -> list[np.ndarray]:
    """One epoch in batches: the row numbers 0 ... m - 1 in a random order, cut into pieces.

    m: the number of rows, >= 0.
    batch_size: >= 1; may be larger than m.
    seed, epoch: integers >= 0 and < 2^31. The same (m, batch_size, seed, epoch) always gives the
      same batches, whatever was called before. Any other pair (seed, epoch) gives an order of its
      own: (0, 1) and (1, 0) differ, too.

    Returns a list of 1-D integer arrays, each of batch_size row numbers but the last, which holds
    what is left (never nothing). Together they hold each row number exactly once. Every order is
    equally likely: it is the rows that are shuffled, not batches of neighbours. An empty list if
    m is 0. Takes O(m) time. Leaves NumPy's global random state as it is.
    """
    ### BEGIN SOLUTION
    order = np.random.default_rng([seed, epoch]).permutation(m)
    return [order[i : i + batch_size] for i in range(0, m, batch_size)]
    ### END SOLUTION


# %% [markdown] hints="minibatches"
# <details><summary>Hint 1: shuffle first, cut afterwards</summary>
#
# A generator's `permutation(m)` is an array that holds each of 0 ... m - 1 once. What remains is to cut it.
#
# </details>
# <details><summary>Hint 2: a generator of its own</summary>
#
# `np.random.default_rng([seed, epoch])` makes a generator from the two numbers together. `np.random.seed` and
# `np.random.shuffle` would change a state that the whole program shares.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# With `order` the permutation: a list of `order[i : i + batch_size]` for `i` in `range(0, m, batch_size)`. A slice that
# runs past the end is cut short by Python, which is what the last batch needs.
#
# </details>

# %% check="minibatches"
with check("minibatches"):
    got = minibatches(10, 4, seed=0)
    sizes = [len(rows) for rows in got]
    assert sizes == [4, 4, 2], f"10 rows in batches of 4 are 4 + 4 + 2; yours have {sizes}"
    expect_close(np.sort(np.concatenate(got)), np.arange(10), hint="each of 0 ... 9 stands in exactly one batch")
    whole = np.concatenate(minibatches(100, 7, seed=0))
    expect_close(np.concatenate(minibatches(100, 7, seed=0)), whole, hint="the same seed and epoch: the same order")
    assert np.any(whole != np.arange(100)), "the rows are in their old order: shuffle them"
    one, other = (np.concatenate(minibatches(100, 7, seed, epoch)) for seed, epoch in [(0, 1), (1, 0)])
    assert np.any(whole != one), "epoch 1 has the order of epoch 0"
    assert np.any(one != other), "(seed, epoch) = (0, 1) and (1, 0) have the same order: do not add the two"
    assert len(minibatches(3, 8, seed=0)) == 1, "3 rows in batches of 8 are one batch, of 3 rows"
    assert minibatches(0, 8, seed=0) == [], "no rows, no batches"

# %% [markdown]
# Your epochs beside independent draws: how many rows has a run not yet used?

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
# **Stochastic gradient descent** takes one step for each batch:
#
# $$\theta_{k+1} = \theta_k - \eta_k\, g_{\mathcal B_k}(\theta_k) .$$
#
# An epoch costs as much as one step of gradient descent, $m$ gradients of rows, and makes $m/B$ steps. The step number
# $k$ goes on from epoch to epoch. It is the clock by which learning rates are set, so `lr` is a function of it.
#
# ### Exercise 2 · `sgd` (2 points, 15 minutes)


# %% exercise="sgd" points=2 minutes=15
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
      numbers; returns the mean gradient of these rows, a fresh (d,) array.
    theta0: (d,) floats or integers, the start; neither it nor what grad returns may be modified.
    m: the number of rows, >= 1.
    lr: lr(k) is the learning rate of update k, a float. k counts all updates from 0 and goes on
      from epoch to epoch.
    batch_size, seed: epoch e = 0, 1, ... uses the batches of your
      minibatches(m, batch_size, seed, e), in their order.
    epochs: >= 0.

    Returns a new array (epochs + 1, d): theta0, and where theta stands after each epoch. Its dtype
    is theta0's if that is a floating dtype, else float64.
    grad and lr are called exactly once an update.
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
# The outer loop runs over epochs, the inner one over that epoch's batches. An update happens in the inner loop, a note
# for the result is made in the outer.
#
# </details>
# <details><summary>Hint 2: the counter and the copy</summary>
#
# `k` is set to 0 once, before both loops. And `theta = theta - ...` makes a new array, where `theta -= ...` would
# change every array that shares its memory: `theta0`, and the notes that you have made.
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
# The smallest problem there is: J_i = (theta - x_i)^2 / 2. Its gradient is theta - x_i, its minimum the mean of x, 3.
x_hand = np.array([1.0, 2.0, 3.0, 6.0])


def towards_mean(theta, rows):
    return theta - x_hand[rows].mean()


with check("sgd"):
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
    asked = []

    def one_over(k):
        asked.append(k)
        return 1 / (k + 1)

    got = sgd(towards_mean, np.array([9]), 4, one_over, batch_size=1, epochs=2, seed=5)
    expect_close(got, [[9], [3], [3]], rtol=1e-12, hint="rates of 1/(k + 1) make theta the running mean")
    assert asked == list(range(8)), f"lr must be asked for k = 0, 1, ..., 7; yours was asked for {asked}"
    expect_dtype(sgd(towards_mean, np.zeros(1, np.float32), 4, lambda k: 0.5, 2), np.float32)

# %% [markdown]
# The check has met something worth a second look: the running mean, the oldest streaming algorithm, is SGD with the
# rate $1/(k+1)$.
#
# Now a bowl with two parameters, batches of 8 rows, and constant rates.

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
# Look along one eigendirection of the bowl, with curvature $\lambda$. Let $e_k$ be the error of $\theta_k$ there, and
# $\xi_k$ the error of the batch's gradient: mean 0, variance $\sigma^2/B$, independent of $e_k$. Then
#
# $$e_{k+1} = (1-\eta\lambda)\,e_k - \eta\,\xi_k, \qquad
#   \mathbb E\,e_{k+1}^2 = (1-\eta\lambda)^2\,\mathbb E\,e_k^2 + \eta^2\sigma^2/B .$$
#
# The first term forgets the start, as in gradient descent. The second comes anew in every step. They balance where
#
# $$\mathbb E\,e^2 = \frac{\eta^2\sigma^2/B}{1-(1-\eta\lambda)^2} = \frac{\eta\,\sigma^2}{B\,\lambda\,(2-\eta\lambda)}
#   \approx \frac{\eta\,\sigma^2}{2B\lambda} .$$
#
# This direction adds $\frac{\lambda}{2}\,\mathbb E\,e^2 \approx \eta\sigma^2/(4B)$ to the loss: the curvature has gone.
# Add up the directions, and the sum of the variances is the mean squared length of a row's gradient at the minimum:
#
# $$\boxed{\;\mathbb E\,J(\theta_k) - \min J \;\to\; \frac{\eta}{4B}\;\frac1m\sum_i\lVert g_i(\theta_*)\rVert^2\;}$$
#
# These are the dotted lines of the picture. (Two things are left out. With a shuffle the draws of one epoch are not
# quite independent, which lowers the level. And near the limit of stability the factor $2/(2-\eta\lambda)$, dropped
# above, raises it.) Read the formula as a shopping list: half the rate or twice the batch halve the floor. Both double
# the price of getting there. And no floor at all if $g_i(\theta_*) = 0$ for all rows: a model that fits every row
# exactly can be trained at a constant rate to the end.
#
# ## 3. A rate for every hour
#
# Large steps while we are far away, small ones in the end: let $\eta_k$ fall. How slowly? Robbins and Monro (1951) gave
# the conditions: $\sum_k \eta_k = \infty$, so that any distance can be walked, and $\sum_k \eta_k^2 < \infty$, so that
# all the noise together stays finite. $\eta_k \propto 1/k$ satisfies both, hence **inverse-time** decay,
#
# $$\eta = \eta_{\text{peak}} \big/ \left(1 + \frac{k}{\text{span}}\right),$$
#
# which has halved after `span` steps. If it is known in advance when the training ends, the rate can stay high for
# longer and then go down to zero: half a wave of a **cosine** is what most large models are trained with,
#
# $$\eta = \eta_{\text{peak}}\cdot \tfrac12\left(1 + \cos\frac{\pi k}{\text{span}}\right).$$
#
# Both may follow a **warm-up**, in which the rate rises in a straight line. Early gradients are long and point in
# directions that soon change, and the memories of momentum and Adam are still empty. Tutorials disagree about the
# first step: with $k/\text{warmup}$ its rate is 0 and a batch is read for nothing. Here it is $(k+1)/\text{warmup}$, so
# that `warmup` steps are all of use and the last of them has the full rate. The decay counts its steps from there.
#
# ### Exercise 3 · `learning_rate` (2 points, 10 minutes)


# %% exercise="learning_rate" points=2 minutes=10
def learning_rate(k: int, peak: float, warmup: int, span: int, decay: str = "cosine") -> float:
    """The learning rate of update k: warm-up, then decay.

    k: the number of the update, from 0.
    peak: the largest rate, > 0.
    warmup: the number of updates with a rising rate, >= 0. Update k < warmup has the rate
      peak * (k + 1) / warmup; with warmup = 0 there are none.
    span: >= 1, see below. Let j = k - warmup count the updates after the warm-up, from 0.
    decay: "cosine": peak * (1 + cos(pi * j / span)) / 2 for j <= span, and 0 ever after;
      "inverse": peak / (1 + j / span). So update k = warmup has the rate peak with both.

    Returns a float. Raises ValueError for any other decay (if k < warmup, it may or may not).
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
# <details><summary>Hint 1: two clocks</summary>
#
# The warm-up looks at `k`. The decay looks at `k - warmup`, which is 0 at the first update after the warm-up.
#
# </details>
# <details><summary>Hint 2: after the end</summary>
#
# A cosine comes up again. Hold `j / span` at 1 once it has got there.
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
        hint="up: 0.5, 1, 1.5, 2; then 2 at k = 4, half of it at k = 9, nothing from k = 14 on",
        mistakes={"With k / warmup the first batch is read for nothing: use k + 1.": [0, 1.5, 2, 1, 0, 0, 0]},
    )
    rates = [learning_rate(k, 2.0, 4, 10, decay="inverse") for k in (0, 3, 4, 14, 24)]
    expect_close(rates, [0.5, 2, 2, 1, 2 / 3], rtol=1e-12, hint="2 / (1 + j / 10) with j = k - 4: 2, then 1, then 2/3")
    expect_close(learning_rate(0, 2.0, 0, 10), 2.0, rtol=1e-12, hint="no warm-up: the first update has the full rate")
    with expect_raises(ValueError, hint="only 'cosine' and 'inverse' are known"):
        learning_rate(7, 2.0, 4, 10, decay="linear")

# %% [markdown]
# Your schedules and the bowl again, the same number of updates for each. The plot on the right shows the loss
# on the way.

# %% tags=["demo"]
schedule_epochs = demo_size(full=6, small=2)
total = schedule_epochs * (8000 // 8)
schedules = {
    "constant 0.5": lambda k: 0.5,
    "constant 0.1": lambda k: 0.1,
    "inverse": lambda k: learning_rate(k, 0.5, total // 20, total // 50, "inverse"),
    "cosine": lambda k: learning_rate(k, 0.5, total // 20, total - total // 20),
}
in_between = {}
for name, lr in schedules.items():
    asked = watched(
        sgd, squared_gradient(bowl), bowl_start + 20, 8000, lr, batch_size=8, epochs=schedule_epochs, seed=1
    )
    in_between[name] = (np.arange(100, total + 1, 100), excess(bowl, asked).reshape(-1, 100).mean(axis=1))
figure, axes = plt.subplots(1, 2, figsize=(12, 4.4))
plotting.curves(
    {name: [lr(k) for k in range(total)] for name, lr in schedules.items()},
    xlabel="update k",
    ylabel="learning rate",
    title="Four schedules ...",
    ax=axes[0],
)
plotting.curves(
    in_between,
    xlabel="update k",
    ylabel="J − min J, mean of 100 updates",
    logy=True,
    title="... and what they buy",
    ax=axes[1],
)
axes[1].get_legend().remove()
plt.show()

# %% [markdown]
# The constant rates end at their floors. The inverse one keeps sinking, slowly, and needs to know no end. The cosine
# spends most of its time at the floor of a large rate, and comes down last: a loss in the middle of a cosine schedule
# says little about where it will finish. On a bowl as simple as this one it gains nothing by staying high for so long;
# on losses with many valleys it does. Its price: whoever wants to train for longer must start again.
#
# ## 4. Remember the last steps
#
# A batch is forgotten as soon as its step is made. **Momentum** keeps a running sum of gradients, in which old ones
# fade by the factor $\beta$:
#
# $$v \leftarrow \beta v + g, \qquad \theta \leftarrow \theta - \eta\,v .$$
#
# Written out, $v_k = g_k + \beta g_{k-1} + \beta^2 g_{k-2} + \dots$. Where all gradients agree, the sum has the length
# $1 + \beta + \beta^2 + \dots = 1/(1-\beta)$: along the floor of a valley it walks ten times as fast with
# $\beta = 0.9$. Where they alternate in sign, from wall to wall, they cancel. This is the gain. It is not less noise:
# in the long run every gradient still moves $\theta$ by $\eta/(1-\beta)$ in all, only spread over time, and so the
# floor of section 2 is about that of a plain rate of $\eta/(1-\beta)$.
#
# Three definitions go by the same name:
#
# | definition | used by | the long-run step |
# | --- | --- | --- |
# | $v\leftarrow\beta v+g,\;\theta\leftarrow\theta-\eta v$ | **this module**, `torch.optim.SGD` | $\eta/(1-\beta)$ |
# | $v\leftarrow\beta v-\eta g,\;\theta\leftarrow\theta+v$ | Polyak (1964), Keras, scikit-learn | $\eta/(1-\beta)$ |
# | $v\leftarrow\beta v+(1-\beta)g,\;\theta\leftarrow\theta-\eta v$ | lecture notes, Adam's numerator | $\eta$ |
#
# The first two agree as long as the rate is constant; in the second, old gradients keep the rate of their own time. A
# rate that was tuned for the first is too small for the third by a factor of $1/(1-\beta)$, ten at $\beta = 0.9$.
#
# ### Exercise 4 · `momentum_step` (1 point, 5 minutes)


# %% exercise="momentum_step" points=1 minutes=5
def momentum_step(
    theta: np.ndarray, velocity: np.ndarray, gradient: np.ndarray, lr: float, beta: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
    """One update with momentum, as torch.optim.SGD defines it.

        velocity <- beta * velocity + gradient
        theta    <- theta - lr * velocity        (with the new velocity)

    theta, velocity, gradient: float arrays of one shape, any shape, and one dtype; they are not
      modified. At the first update velocity is all zeros.
    lr, beta: Python floats, lr > 0 and 0 <= beta < 1.

    Returns (theta, velocity), two new arrays of that shape and dtype.
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
with check("momentum_step"):
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
# A valley with $\lambda_{\max} = 1$, so that a plain rate must stay below 2 (module 01). Left, almost no noise:
# momentum with $\eta = 0.1$ and $\beta = 0.9$ is about as fast as the plain rate $0.1/(1-0.9) = 1$; and with $\eta = 1$
# it is faster still: in the long run its rate is 10, which no plain step could survive. Right, noise: the same three,
# at their floors.


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
# In a click log a common site appears in every batch, a rare one once a day. Columns come in units of their own. One
# rate for all is too large for some and too small for others. **Adam** (Kingma, Ba, 2015) divides each entry of the
# step by the typical size of that entry's gradient. It keeps two running means, of the gradient and of its square,
# entry by entry:
#
# $$u \leftarrow \beta_1 u + (1-\beta_1)\,g, \qquad s \leftarrow \beta_2 s + (1-\beta_2)\,g^2 .$$
#
# Both start at zero, so they are too small at first. By how much? If every gradient has the mean $\mathbb E g$, then
# after update $k$ (the first is $k = 0$) the sum of the weights in $u$ is
#
# $$(1-\beta_1)\,(1 + \beta_1 + \dots + \beta_1^{k}) = 1-\beta_1^{k+1}, \qquad\text{so}\qquad
#   \mathbb E\,u = (1-\beta_1^{k+1})\,\mathbb E\,g ,$$
#
# and likewise for $s$. Divide by this, and both are unbiased from the first update on. The **bias correction** is that
# division and nothing else:
#
# $$\theta \leftarrow \theta - \eta\;\frac{u/(1-\beta_1^{k+1})}{\sqrt{s/(1-\beta_2^{k+1})}+\varepsilon} .$$
#
# Multiply all gradients by 1000 and nothing changes (but for $\varepsilon$). No entry of a step is much longer than
# $\eta$, so $\eta$ is a length in parameter space, not a factor of the gradient: a rate that is right for SGD says
# nothing about the one for Adam. Two details on which implementations differ: $\varepsilon$ stands outside the root,
# and it is added after the correction. Papers and libraries count updates from 1; their $t$ is our $k+1$.
#
# ### Exercise 5 · `adam_step` (2 points, 15 minutes)


# %% exercise="adam_step" points=2 minutes=15
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
      dtype, float32 or float64; not modified. At the first update first and second are all zeros.
    k: the number of this update, a Python int: 0 for the first.
    lr, beta1, beta2, eps: Python floats; 0 <= beta1, beta2 < 1 and eps > 0.

    Returns (theta, first, second), three new arrays of that shape and dtype. first and second are
    as above, not divided by c1 and c2. Where all gradients so far are 0, theta stays as it is.
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
# Two running means, two corrected copies of them, one step. The corrected copies are for this step only: what is handed
# on is uncorrected.
#
# </details>
# <details><summary>Hint 2: the first update as a test</summary>
#
# At `k = 0` the correction undoes the factors exactly: what remains is `gradient / (abs(gradient) + eps)`, the sign. So
# the first step is `lr` long in every entry.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# After the two running means: `unbiased = first / (1 - beta1 ** (k + 1))` and
# `size = np.sqrt(second / (1 - beta2 ** (k + 1)))`; the new theta is `theta - lr * unbiased / (size + eps)`.
#
# </details>

# %% check="adam_step"
with check("adam_step"):
    # The first step goes lr along the sign of each entry, however long the gradient is.
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
# Left, the length of Adam's steps on gradients that are all 1: with your bias correction, and without it. Right, least
# squares whose columns have units up to a factor of 100 apart. SGD must be slow enough for the largest column.


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


corrected, raw = [], []
state, first, second = (np.zeros(1),) * 3, 0.0, 0.0
for k in range(3000):
    after = adam_step(*state, k, np.ones(1), lr=1.0)
    corrected.append(float((state[0] - after[0])[0]))
    state = after
    raw.append(float(after[1][0] / np.sqrt(after[2][0])))
units = datasets.linear(4000, 6, condition=2.0, noise=0.1, seed=7)
scaled = type(units)(**{**vars(units), "X": units.X * np.geomspace(1, 100, 6)})
limit = 2 / np.linalg.eigvalsh(scaled.X.T @ scaled.X / 4000)[-1]
in_units = {
    "SGD, η = a quarter of the limit": watched(
        sgd, squared_gradient(scaled), np.zeros(6), 4000, lambda k: limit / 4, epochs=20
    ),
    "momentum, a quarter of the limit": watched(
        with_momentum, squared_gradient(scaled), np.zeros(6), 4000, lambda k: limit / 4, epochs=20
    ),
    "Adam, η = 0.01": watched(with_adam, squared_gradient(scaled), np.zeros(6), 4000, lambda k: 0.01, epochs=20),
    "Adam, cosine from 0.01": watched(
        with_adam, squared_gradient(scaled), np.zeros(6), 4000, lambda k: learning_rate(k, 0.01, 0, 2500), epochs=20
    ),
}
figure, axes = plt.subplots(1, 2, figsize=(12, 4.4))
plotting.curves(
    {"with bias correction (yours)": (np.arange(1, 3001), corrected), "without": (np.arange(1, 3001), raw)},
    xlabel="update, counted from 1",
    ylabel="length of the step / η",
    logx=True,
    title="Without it the early steps are too long",
    ax=axes[0],
)
plotting.curves(
    {name: excess(scaled, asked)[::10] for name, asked in in_units.items()},
    xlabel="tens of updates",
    ylabel="J − min J",
    logy=True,
    title="Columns in different units",
    ax=axes[1],
)
plt.show()

# %% [markdown]
# Uncorrected, the steps are too long, not too short: $s$ starts further below its mean than $u$ does, and it stands in
# the denominator. Warm-up (section 3) does part of the same job, which is why both are used.
#
# Adam is no miracle. It does what standardising the columns does, where nobody can standardise; its floor falls with
# $\eta$ like that of SGD, so it needs a schedule, too (the fourth curve); and there are convex problems on which it
# converges to the wrong point (Reddi et al., 2018). For models with well-scaled inputs plain SGD is as good, and
# remembers nothing: Adam holds two more numbers for each parameter.
#
# ## 6. Remove the noise
#
# The floor is there because $g_i(\theta_*)$ is not zero row by row. But it could be *known*. Keep a **snapshot**
# $\tilde\theta$, shape $(d,)$, of where we were a while ago, and the full gradient there, $\nabla J(\tilde\theta)$,
# which costs one pass. Then ask a batch not for its gradient but for the *change* of its gradient since the snapshot:
#
# $$g_{\text{svrg}} = g_{\mathcal B}(\theta) - g_{\mathcal B}(\tilde\theta) + \nabla J(\tilde\theta) .$$
#
# On average this is still $\nabla J(\theta)$: the last two terms cancel in the mean. And its variance is that of
# $g_{\mathcal B}(\theta) - g_{\mathcal B}(\tilde\theta)$, which goes to zero as $\theta$ and $\tilde\theta$ come near
# the minimum, whatever the rows disagree about. So a *constant* rate goes all the way down, by a constant factor an
# epoch. This is **SVRG** (stochastic variance reduced gradient; Johnson, Zhang, 2013), and the idea is an old one: to
# estimate a mean, subtract something similar whose mean is known.
#
# The price: one pass for the snapshot's gradient and two gradients for each row of a batch, so $3m$ gradients of rows
# in an epoch where SGD takes $m$, and data that can be read more than once.
#
# ### Exercise 6 · `svrg` (3 points, 20 minutes)


# %% exercise="svrg" points=3 minutes=20
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
      numbers; returns the mean gradient of these rows, a fresh (d,) array, not to be modified.
    theta0: (d,) floats or integers, the start; not modified.
    m: the number of rows, >= 1. lr: a float. batch_size: >= 1. epochs: >= 0. seed: see minibatches.

    Returns a new array (epochs + 1, d): theta0, and where theta stands after each epoch. Its dtype
    is theta0's if that is a floating dtype, else float64.
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
# The two loops are the same. New are two lines at the start of an epoch, and two terms in the update.
#
# </details>
# <details><summary>Hint 2: the snapshot must stand still</summary>
#
# `snapshot = theta` is enough if you never change `theta` in place. With `theta -= ...` the snapshot moves along, and
# the two gradients of a batch cancel each other.
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
with check("svrg"):
    start = np.zeros(1)
    with expect_unchanged(theta0=start):
        got = svrg(towards_mean, start, 4, 0.5, batch_size=2, epochs=2)
    expect_close(
        got,
        [[0], [2.25], [2.8125]],
        rtol=1e-12,
        hint="3 * (1 - 1/4), then 3 * (1 - 1/16), whatever the order of the rows",
        mistakes={
            "The snapshot moves along with theta: every step uses the full gradient of the epoch's start.": [
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

# %% [markdown]
# The horizontal axis is what is paid for: gradients of rows, in passes over the data. Everybody starts at the same
# point.

# %% tags=["demo"]
noisy = datasets.linear(demo_size(full=4000, small=1000), 20, condition=20.0, noise=1.0, seed=8)
rows_m, passes = len(noisy.y), demo_size(full=90, small=30)
noisy_grad, origin = squared_gradient(noisy), np.zeros(20)
every = np.arange(rows_m)
descent = [origin]
for _ in range(passes):
    descent.append(descent[-1] - 1.0 * noisy_grad(descent[-1], every))
by_passes = {
    "gradient descent, η = 1": (np.arange(passes + 1), excess(noisy, descent)),
    "SGD, η = 0.05": (
        np.arange(passes + 1),
        excess(noisy, sgd(noisy_grad, origin, rows_m, lambda k: 0.05, 10, passes)),
    ),
    "SGD, inverse-time": (
        np.arange(passes + 1),
        excess(
            noisy,
            sgd(noisy_grad, origin, rows_m, lambda k: learning_rate(k, 0.1, 0, 1000, "inverse"), 10, passes),
        ),
    ),
    "SVRG, η = 0.05": (
        np.arange(0, passes + 1, 3),
        excess(noisy, svrg(noisy_grad, origin, rows_m, 0.05, 10, passes // 3)),
    ),
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

# %% [markdown]
# In the first few passes nothing beats SGD. If the loss on *new* data is what counts, a few passes are all that you
# need: the data themselves say no more about the true parameters than to within the noise of $m$ rows, and everything
# below that is precision about the wrong point (Bottou, Bousquet, 2007). If you need the exact minimum of this sum,
# take SVRG or its relatives. For deep networks they have not helped: batch normalisation, dropout and augmentation
# change $g_i(\tilde\theta)$ between the two evaluations (Defazio, Bottou, 2019).
#
# ## 7. Which rows, really?
#
# In large runs an epoch takes days. So people note the loss every so many updates and call this a *round*. The function
# below runs SGD in rounds. Its loss curve looks good; on the training batches it even looks excellent.
#
# ### Exercise 7 · Find the bug in `sgd_in_rounds` (2 points, 10 minutes)
#
# Find it, say to yourself in one sentence which rows it uses, and repair it. You have met it before if you have ever
# forgotten `set_epoch` on PyTorch's `DistributedSampler`, or restarted a job whose data loader begins from the front.


# %% exercise="sgd_in_rounds" points=2 minutes=10 bug=true
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

    Rounds and epochs do not care about each other: the updates of all rounds, one after the other,
    go through the batches of epoch 0, minibatches(m, batch_size, seed, 0), then through those of
    epoch 1, and so on. A round may end in the middle of an epoch, and the next one goes on there;
    it may also be longer than an epoch.

    grad: called as grad(theta, rows), once an update, as in sgd; returns a (d,) array, which may
      not be modified.
    theta0: (d,) floats; not modified. m: the number of rows, >= 1. lr: a float. batch_size: >= 1.
    rounds: >= 0. steps: the number of updates in a round, >= 1.

    Returns a new array (rounds + 1, d): theta0, and where theta stands after each round.
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
# <details><summary>Hint 2: what must survive a round</summary>
#
# A round that ends in the middle of an epoch leaves batches that have not been used. They, and the number of the next
# epoch, must be kept outside the loop over rounds.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# Before both loops: `batches, epoch = [], 0`. Before each update: if no batches are left, take
# `list(minibatches(m, batch_size, seed, epoch))` and add 1 to `epoch`. Then use `batches.pop(0)`.
#
# </details>

# %% check="sgd_in_rounds"
# 6 rows in batches of 2 are 3 batches an epoch. Three rounds of 2 updates are 6 updates: two whole epochs.
with check("sgd_in_rounds"):
    used = []

    def noted(theta, rows):
        used.append(sorted(int(row) for row in rows))
        return theta

    got = sgd_in_rounds(noted, np.array([64.0]), 6, lr=0.5, batch_size=2, rounds=3, steps=2)
    expect_close(got, [[64], [16], [4], [1]], rtol=1e-12, hint="theta is halved by each update, two updates a round")
    expected = [sorted(rows.tolist()) for epoch in (0, 1) for rows in minibatches(6, 2, 0, epoch)]
    assert used[2:4] != used[:2], f"the second round uses the rows of the first again: {used[2:4]}"
    assert used == expected, f"the six updates should use {expected} (two epochs of minibatches), and they use {used}"

# %% [markdown]
# What does the bug cost? 10,000 rows, rounds of 10 batches of 50 rows: the same 500 rows in every round.

# %% tags=["demo"]
wide = datasets.linear(10_000, 200, condition=5.0, noise=1.0, seed=9)
wide_grad, bug_rounds = squared_gradient(wide), demo_size(full=100, small=30)


def same_batches(grad, theta0, m, lr, batch_size, rounds, steps, seed=0):
    """What the released function does."""
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
# The training loss of the wrong run is the lower one. It learns a twentieth of the data by heart. Two guards, both
# cheap: count the distinct rows that a run has used, and look at a loss on rows that it has not.
#
# ## 8. Scale it
#
# ### One pass over a file
#
# A click log: each row says who saw which advertisement where, and whether there was a click. Eight numbers and six
# categories, each hashed to one of `buckets` **buckets** (module 16 explains hashing). The model is logistic
# regression, with a weight for each number and each bucket. For row $i$, with $x_i$ the numbers, shape $(8,)$, and
# $h_{i1},\dots,h_{i6}$ its buckets:
#
# $$z_i = b + x_i^\top w + \sum_{f=1}^{6} t_{h_{if}}, \qquad P(\text{click}) = p_i = \frac{1}{1+e^{-z_i}}, \qquad
#   J_i = \log(1+e^{z_i}) - y_i z_i .$$
#
# $b$ is one number, $w$ has the shape $(8,)$, the table $t$ `(buckets,)`. We need one derivative,
# $\partial J_i/\partial z_i = p_i - y_i$; the chain rule distributes it: to $b$ as it is, to $w$ times $x_i$, and to
# each of the six entries of $t$ that the row has touched. Three things follow, all of them about scale:
#
# - **A batch touches at most $6B$ of the table's entries.** An update must cost $O(B)$, not $O(\text{buckets})$: no
#   gradient of the size of the table is ever built.
# - **An entry that a batch touches twice gets both parts.** `t[h] -= step` keeps only the last one, for NumPy reads,
#   subtracts and writes once for each index. `np.subtract.at(t, h, step)` adds all of them up.
# - **Loss first, update afterwards.** Until its update, a batch is data that the model has never seen. The mean of
#   these losses is an honest estimate of the loss on new data, for free: **progressive validation**.
#
# The file is opened with `np.load(path, mmap_mode="r")`: nothing is read until a slice is used, and then the operating
# system brings the pages in and may drop them again. Copy one batch at a time; `mapped["numeric"].astype(float)` would
# bring in everything.
#
# ### Exercise 8 · `sgd_from_stream` (4 points, 30 minutes)


# %% exercise="sgd_from_stream" points=4 minutes=30
def sgd_from_stream(
    path: str, lr: Callable[[int], float], batch_size: int = 1000, buckets: int = 2**18
) -> tuple[np.ndarray, np.ndarray]:
    """Logistic regression on a click log by one pass of SGD, in the order of the file.

    path: a .npy file with a structured array (m,), m >= 1, with at least these fields:
      numeric: (8,) float32; hashed: (6,) int32, each >= 0 and < buckets; y: uint8, 0 or 1.
      The same bucket may come several times, in a row and in a batch: its parts add up.
    lr: lr(k) is the learning rate of update k = 0, 1, ..., a float; called once an update.
    batch_size: update k uses rows k * batch_size ... (k + 1) * batch_size - 1; the last batch may
      be shorter. Its gradient is the mean over the rows that it has.
    buckets: the size of the table.

    Returns (theta, losses), float64 both.
      theta: (9 + buckets,). theta[0] is b, theta[1:9] is w, theta[9:] is t. All start at 0.
      losses: (number of batches,), the mean loss of each batch BEFORE its update. Finite also for
        logits of +-10^5, where exp overflows.
    Reads each row once. The file may be larger than the memory: besides theta (and one copy of it)
    hold a few batches at most, and nothing else of size m or buckets. An update takes O(batch_size)
    time, however large the table is.
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
# counts repetitions. Note the loss before that.
#
# </details>

# %% check="sgd_from_stream"
# One row, all parameters 0: z = 0, p = 1/2, loss log 2. With y = 1 the derivative is -1/2, and with lr = 0.2 everything
# that the row touches goes up by 0.1: b, the weight of its only number that is not 0, its buckets; bucket 4 twice.
CLICK = np.dtype([("numeric", "<f4", (8,)), ("hashed", "<i4", (6,)), ("y", "u1")], align=True)
with check("sgd_from_stream"), tempfile.TemporaryDirectory() as folder:
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
    # Three rows in batches of two: the second batch has one row, and is divided by 1. Bucket 0 is hit six times in
    # each of rows 1 and 2. Row 0 sends b, and the six entries that it hits, up by 0.05; row 1 sends b down by 0.05, and
    # bucket 0 by 0.3. So z = 0 - 6 * 0.25 for row 2.
    np.save(path_hand, hand)
    theta, losses = sgd_from_stream(path_hand, lambda k: 0.2, batch_size=2, buckets=8)
    expect_close(
        losses, [math.log(2), math.log1p(math.exp(-1.5))], rtol=1e-12, hint="row 2, seen before its update: z = -1.5"
    )
    hand["numeric"][:, 0] = 1e5
    np.save(path_hand, hand)
    _, losses = sgd_from_stream(path_hand, lambda k: 1.0, batch_size=1, buckets=8)
    assert np.isfinite(losses).all(), "a loss is not finite: log(1 + exp(z)) overflows for large z"

# %% [markdown]
# Ten million rows. First the file is written, piece by piece; nothing of it stays in this notebook's memory. Compare
# the time that this takes with the time that it takes to learn from it.

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

# %% tags=["demo"]
log_batch = 1000
with device.timer("cpu") as took:
    stream_theta, progressive = sgd_from_stream(
        log_path, lambda k: learning_rate(k, 6.0, 0, 600, "inverse"), log_batch, log.buckets
    )
size = os.path.getsize(log_path)
print(
    f"one pass over {log_rows:,} rows, {size / 1e6:,.0f} MB, in {took.seconds:.1f} s: "
    f"{size / took.seconds / 1e6:,.0f} MB/s"
)
print(f"memory: {stream_theta.nbytes / 1e6:.1f} MB of parameters, batches of {log_batch * CLICK.itemsize / 1e3:.0f} kB")
sample = log.read(0, min(200_000, log_rows))
p_true = log.probability(sample)
lowest = float(-np.mean(np.where(sample.y == 1, np.log(p_true), np.log1p(-p_true))))
always = float(sample.y.mean())
blind = -always * math.log(always) - (1 - always) * math.log(1 - always)
width = max(1, len(progressive) // 100)
smooth = progressive[: len(progressive) // width * width].reshape(-1, width).mean(axis=1)
ax = plotting.curves(
    {"your loss on rows not seen before": (np.arange(1, len(smooth) + 1) * width * log_batch / 1e6, smooth)},
    xlabel="millions of rows read",
    ylabel="log loss",
    title="One pass, every row a test before it is a lesson",
)
ax.axhline(blind, color="grey", linestyle="--", label="the click rate for everybody")
ax.axhline(lowest, color="#222222", linestyle=":", label="the true probabilities: nobody can be better")
ax.legend()
plt.show()

# %% [markdown]
# ### Three ways to count
#
# "Faster" needs a unit. Below, the same methods on the same rows (logistic regression on the eight numbers, in units
# that differ by up to a factor of 4), measured in three:
#
# - **gradients of rows**, the unit of theory;
# - **seconds** on this machine, which also pay for every call, however few rows are in it;
# - **bytes read** from a file larger than memory. A disk hands out pages of 4096 bytes. Who reads rows one after the
#   other pays 60 bytes a row; who jumps to a random row pays a page. The count assumes that nothing stays in memory,
#   which holds for a log much larger than it, though not for the rows of this demo.
#
# The peers: scikit-learn's `SGDClassifier` (one row at a time, in compiled code) and `torch.optim.Adam` with autograd,
# on the batches that your Adam uses: where the arithmetic is the same, the two curves lie on each other. Everybody has
# one thread.


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
        meter.rows, meter.bytes = meter.rows + m_race, meter.bytes + m_race * PAGE
        meter.asked.append((meter.rows, meter.seconds, meter.bytes, np.append(peer.intercept_, peer.coef_)))
        meter.since = time.perf_counter()


race_batch, origin = 50, np.zeros(9)
race_steps = race_epochs * -(-m_race // race_batch)
falling = functools.partial(learning_rate, peak=1 / (2 * curvature), warmup=0, span=race_steps)
gentle = functools.partial(learning_rate, peak=0.02, warmup=0, span=race_steps)


def descend(grad):
    theta, every = origin, np.arange(m_race)
    for _ in range(10 * race_epochs):
        theta = theta - grad(theta, every) / curvature


race = {
    "gradient descent": (Meter(), descend),
    "SGD, cosine": (Meter(), lambda meter: sgd(meter, origin, m_race, falling, race_batch, race_epochs)),
    "the same in file order": (Meter(False), lambda meter: in_file_order(meter, origin, falling, race_batch)),
    "SVRG": (Meter(), lambda meter: svrg(meter, origin, m_race, 1 / (4 * curvature), race_batch, race_epochs)),
    "Adam, cosine": (Meter(), lambda meter: with_adam(meter, origin, m_race, gentle, race_batch, race_epochs)),
    "torch.optim.Adam": (Meter(), lambda meter: by_torch(meter, gentle, race_batch)),
    "SGDClassifier": (Meter(), by_sklearn),
}
lowest_race = log_loss(race_best)
measured = {}
for name, (meter, run) in race.items():
    with threadpool_limits(1):  # batches are too small to share out among threads
        meter.since = time.perf_counter()
        run(meter)
        evaluations, seconds, read, thetas = zip(*meter.asked, strict=True)
        losses = np.array([log_loss(theta) for theta in thetas]) - lowest_race
    measured[name] = (np.maximum(losses, 1e-14), np.array(evaluations), np.array(seconds), np.array(read) / 1e6)

figure, axes = plt.subplots(1, 3, figsize=(14, 5), sharey=True)
labels = ("gradients of rows", "seconds here", "MB read, nothing cached")
for place, (ax, label) in enumerate(zip(axes, labels, strict=True), 1):
    curves = {name: (found[place][1:], found[0][1:]) for name, found in measured.items()}
    plotting.curves(curves, xlabel=label, ylabel="J − min J" if place == 1 else "", logx=True, logy=True, ax=ax)
    ax.get_legend().remove()
axes[1].set_title("The same seven runs, paid in three currencies")
figure.legend(*axes[0].get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=4)
plt.show()
for name, (losses, evaluations, seconds, read) in measured.items():
    print(
        f"{name:24s} J − min J = {losses[-1]:.0e} after {evaluations[-1] / m_race:4.1f} passes, "
        f"{seconds[-1]:5.2f} s, {read[-1]:7.1f} MB"
    )

# %% [markdown]
# Follow one curve through the three panels. In evaluations, SGD in file order and SGD with a shuffle are the same
# method. In bytes they are far apart: a random row costs a page, and a page holds 68 rows. Gradient descent, last in
# the first panel, catches up in the third, because it reads in order. This is why nobody shuffles a large file row by
# row at training time. What people do instead: shuffle the file once, when it is written; or read large blocks in
# random order and shuffle within a buffer of some of them.
#
# "File order" works here because the rows were drawn independently. In a log that is sorted by date, or, worse, by
# label, neighbouring rows resemble each other: their gradients have the same errors, a batch is worth one row, and the
# last rows win.
#
# ### Where it breaks
#
# - *A larger batch stops paying.* Up to the point where the noise of a batch is as long as the gradient, twice the
#   batch allows twice the rate, and halves the steps. Beyond it, rows are wasted. This **critical batch size** grows
#   while the loss falls, and it limits how many machines can share a step (McCandlish et al., 2018).
# - *Steps are sequential.* Update $k+1$ needs $\theta_{k+1}$. Workers that do not wait compute with old parameters;
#   with sparse rows they seldom collide (Hogwild), with dense ones they do. Modules 17 and 18.
# - *The table outgrows the machine.* An update touches 6 entries a row, of a table that may have $10^{11}$. It is then
#   cut into parts that live on parameter servers, and rows are sent to the parts (module 18).
# - *The stream does not stand still.* People, prices and adverts change. A rate that falls to zero stops learning;
#   a constant one keeps a floor and keeps up. Progressive validation tells which is worse.

# %% tags=["demo"]
log_folder.cleanup()

# %% [markdown] written="which_unit" points=2
# ### In words
#
# A log of $10^{10}$ rows of 60 bytes lies on a disk that reads 200 MB/s in order and makes 200 random accesses a
# second. It is sorted by date. You have 16 GB of memory, and a model whose parameters fit. (a) How long does one pass
# in order take, and how long one epoch of batches of randomly chosen rows? (b) Propose a way to get nearly random
# batches at nearly the speed of the first. What do you give up? (c) Which of constant, inverse-time and cosine rate
# would you take, if the model is to be used on tomorrow's rows, and how would you know that you were right?
#
# ### BEGIN SOLUTION
# (a) 600 GB at 200 MB/s are 3000 s, 50 minutes. $10^{10}$ random accesses at 200/s are $5\cdot10^7$ s, more than a year
# and a half. (b) Either shuffle once on disk (an external sort by a random key: a few passes), then read in order ever
# after, with the same order in every epoch or blocks in a new order; or read blocks of, say, 10 MB in random order,
# keep some hundreds of them in a buffer and draw batches from it: 10 MB take 50 ms to read and 5 ms to find, so the
# speed is nearly that of the pass in order. Rows of a block stay near each other in time: batches are only as mixed as
# the buffer, so its size must be large against the correlation in the file. (c) Tomorrow's rows resemble today's more
# than last year's: read in order of date with a constant (or slowly falling, bounded below) rate, and let progressive
# validation, the loss on each day before that day is learned, choose between rates. A cosine over the whole log is
# right if the rows are exchangeable; validate on the last days, never on rows drawn from all days.
# ### END SOLUTION

# %% [markdown]
# ## 9. Further
#
# **At work.** `torch.optim.SGD`, `AdamW` (Adam with weight decay done right) and `torch.optim.lr_scheduler` for
# networks; `sklearn.linear_model.SGDClassifier.partial_fit` for linear models on one machine; Vowpal Wabbit for click
# logs of any size: hashing, one pass, progressive validation, as in section 8. For exact minima of finite sums,
# `LogisticRegression(solver="saga")`, a relative of SVRG.
#
# **Open questions**
#
# 1. Why does a shuffle beat independent draws, and by how much? For some problems the theory knows the answer only
#    since 2020, and the best order is still open.
# 2. The noise seems to help networks generalise: large batches find sharper minima (Keskar et al., 2017). Is it the
#    noise, or that the rate was not rescaled?
# 3. Adam trains transformers far better than SGD does, convolutional networks not. What about the data or the network
#    makes the difference?
# 4. The average of all $\theta_k$ has a lower floor than the last one (Polyak, Juditsky, 1992). Add it to your `sgd`.
#    When does a falling rate make it superfluous?
#
# **References**
#
# - H. Robbins, S. Monro. A stochastic approximation method. *Annals of Mathematical Statistics* 22(3), 1951. Where it
#   begins, with the two conditions on the rate.
# - B. T. Polyak. Some methods of speeding up the convergence of iteration methods. *USSR Computational Mathematics and
#   Mathematical Physics* 4(5), 1964. Momentum.
# - B. T. Polyak, A. B. Juditsky. Acceleration of stochastic approximation by averaging. *SIAM Journal on Control and
#   Optimization* 30(4), 1992. For open question 4.
# - L. Bottou, O. Bousquet. The tradeoffs of large scale learning. *NIPS* 2007. Why a poor optimiser can be the best
#   learner.
# - F. Niu, B. Recht, C. Ré, S. Wright. Hogwild: a lock-free approach to parallelizing stochastic gradient descent.
#   *NIPS* 2011. Workers that overwrite each other, and why it works.
# - R. Johnson, T. Zhang. Accelerating stochastic gradient descent using predictive variance reduction. *NIPS* 2013.
#   Four pages of proof, readable.
# - H. B. McMahan et al. Ad click prediction: a view from the trenches. *KDD* 2013. What section 8 looks like at Google.
# - D. P. Kingma, J. Ba. Adam: a method for stochastic optimization. *ICLR* 2015. Read section 3, on the bias.
# - I. Loshchilov, F. Hutter. SGDR: stochastic gradient descent with warm restarts. *ICLR* 2017. The cosine.
# - N. S. Keskar et al. On large-batch training for deep learning: generalization gap and sharp minima. *ICLR* 2017. For
#   open question 2.
# - L. Bottou, F. E. Curtis, J. Nocedal. Optimization methods for large-scale machine learning. *SIAM Review* 60(2),
#   2018. The survey to keep.
# - S. J. Reddi, S. Kale, S. Kumar. On the convergence of Adam and beyond. *ICLR* 2018. A page-long example where Adam
#   fails.
# - S. McCandlish, J. Kaplan, D. Amodei et al. An empirical model of large-batch training. arXiv:1812.06162, 2018. The
#   critical batch size, measured.
# - A. Defazio, L. Bottou. On the ineffectiveness of variance reduced optimization for deep learning. *NeurIPS* 2019. An
#   honest negative result.
# - K. Mishchenko, A. Khaled, P. Richtárik. Random reshuffling: simple analysis with vast improvements. *NeurIPS* 2020.
#   For open question 1.
