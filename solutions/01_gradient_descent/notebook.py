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
# # 01 · Gradient descent
#
# One idea trains most of the models in this course: find out in which direction the loss falls, take a step, repeat.
# This module studies the idea on least squares, the simplest loss on which you can *prove* everything about it. It
# begins with paper and pencil, and it ends with a data set that no machine can hold.
#
# **When you have finished you can**
#
# - derive the gradient of the squared loss, say where its factor comes from, and show that your code computes it;
# - compute the largest safe learning rate from the data, and explain why the loss explodes above it;
# - choose a step where nobody knows that rate, say what this costs, and need fewer steps by using momentum;
# - say what a step costs in rows and columns, when a direct solver beats it, and when only descent remains;
# - compute the same gradient from pieces that lie in a file or on many machines, and say where that stops working.
#
# **You need** NumPy arrays, matrix times vector, the chain rule, and what an eigenvalue is. **Time**: about three and a
# half hours. Seven exercises take 100 minutes of it, and two questions in words take 20. **Skills**: deriving a
# gradient, checking a gradient, reasoning about conditioning, counting what a computation costs, summaries that merge.
#
# Below each exercise you find hints, folded until you open them, and a check that tells you at once whether your answer
# is right.
#
# **One legend for the whole module**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $m$, $d$ | `m`, `d` | | number of rows (examples) and of columns (features) |
# | $X$ | `X` | $(m, d)$ | the data, one example a row |
# | $y$ | `y` | $(m,)$ | the number to predict for each row |
# | $\theta$ | `theta` | $(d,)$ | the parameters, one for each column; $\theta_k$ is the point after $k$ steps |
# | $r = X\theta - y$ | `residual` | $(m,)$ | how far each prediction is off |
# | $J(\theta)$ | `loss` | | how bad $\theta$ is: one number |
# | $\nabla J(\theta)$ | `gradient` | $(d,)$ | the direction in which $J$ grows fastest, and how fast |
# | $\eta$ | `lr` | | the learning rate, or step size |
# | $H = X^\top X / m$ | | $(d, d)$ | the curvature of $J$ (its Hessian); we use it in proofs and never store it |
# | $\lambda_{\max}$, $\lambda_{\min}$ | | | the largest and the smallest eigenvalue of $H$ |
# | $\kappa = \lambda_{\max} / \lambda_{\min}$ | | | the condition number of $H$: how stretched the bowl is |

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    from lsml_utils import checking, datasets, demo_size, device, plotting, scaling
    from lsml_utils.checking import check, expect_close, expect_dtype, expect_raises, expect_shape, expect_unchanged
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import math
import os
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import matplotlib.pyplot as plt
import numpy as np
import torch
from threadpoolctl import threadpool_limits

plotting.use()
checking.start("01_gradient_descent", total=7)

# %% [markdown]
# ## 1. What we minimise
#
# Row $i$ of $X$ describes one example by $d$ numbers, and $y_i$ is what we want to predict from them. A linear model
# predicts $X\theta$, a weighted sum of the columns. (An intercept needs no special treatment. It is the weight of a
# column of ones.) The residual $r = X\theta - y$ holds the $m$ errors, and the loss is half their mean square:
#
# $$J(\theta) = \frac{1}{2m}\,\lVert X\theta - y\rVert^2 = \frac{1}{2m}\sum_{i=1}^{m} r_i^2 .$$
#
# Each part has its reason. The **square** makes $J$ smooth, and maximum likelihood leads to it when the noise is
# normal. The **$1/m$** makes losses comparable: ten times as many data of the same kind have about the same loss and
# about the same slope. So a learning rate that was tuned on a sample also fits the whole. The **$\tfrac12$** makes the
# derivative simple, as you will see in section 2.
#
# As a function of $\theta$, $J$ is a bowl. Its gradient stands at right angles to the level lines. The figure shows
# what follows from that in a round bowl and in a stretched one.

# %% tags=["demo"]
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2))
angles = np.linspace(0, 2 * np.pi, 8, endpoint=False) + np.pi / 8  # none on an axis
for ax, (a, b) in zip(axes, [(1.0, 1.0), (1.0, 9.0)], strict=True):
    title = f"condition number {max(a, b) / min(a, b):.0f}"

    def bowl(p, a=a, b=b):
        return 0.5 * (a * p[0] ** 2 + b * p[1] ** 2)

    plotting.contours(bowl, (-3, 3), (-2, 2), minimum=(0, 0), xlabel="θ₁", ylabel="θ₂", title=title, ax=ax)
    on_a_line = 1.7 * b**0.15 * np.column_stack([np.cos(angles) / np.sqrt(a), np.sin(angles) / np.sqrt(b)])
    downhill = -on_a_line * [a, b]
    downhill *= 0.24 / np.linalg.norm(downhill, axis=1, keepdims=True)
    ax.quiver(*on_a_line.T, *downhill.T, angles="xy", scale_units="xy", scale=1, width=0.006, color="#D55E00", zorder=3)
    ax.set_aspect("equal")
plt.show()

# %% [markdown]
# In the round bowl every arrow points at the minimum. In the stretched bowl nearly all arrows point across the valley
# and not along it. The stretched bowl is the reason why gradient descent can be slow, and $\kappa$ measures how much
# the bowl is stretched.
#
# ### 1.1 `mse_loss` · essential · level 1 of 4 · 5 min
#
# Your function must guard against one trap. Data often arrive with `y` as a column of shape `(m, 1)`. NumPy then
# subtracts a `(m, 1)` array from a `(m,)` array without an error, and the result has shape `(m, m)`: every prediction
# minus every target. Nothing fails, the loss falls, and the model learns to predict the mean. So refuse such a `y`.


# %% exercise="mse_loss" points=1 minutes=5 forbids=["sklearn", "torch.nn"] trains=["checking a gradient"]
def mse_loss(X: np.ndarray, y: np.ndarray, theta: np.ndarray) -> float:
    """The loss J(theta) = 1/(2m) * ||X theta - y||^2: half the mean squared residual.

    X: (m, d) float64, float32 or integers of any dtype; d >= 1. It may be a view or read-only.
    y: (m,) float64, float32 or integers of any dtype.
    theta: (d,) float64; it may be float32 where X and y hold floats, too.
    Sizes: every number is 0 or from 1e-100 to 1e100 in size, and no residual is larger. Where X and
      theta are float32, the limits are 1e-15 and 1e15, for y, too. Where y is also float32, float32
      is precise enough for the sums.

    Returns one number, a Python float or a NumPy scalar.
    Raises ValueError if X has no rows (a mean over nothing), or if y has any shape but (m,).
    X and theta have the shapes above: they need no check. Leaves its arguments as they are.
    Do not use sklearn or torch.nn, whose losses have another factor.
    """
    ### BEGIN SOLUTION
    m = len(X)
    if m == 0:
        raise ValueError("X has no rows")
    if np.shape(y) != (m,):
        raise ValueError(f"y must have shape ({m},), not {np.shape(y)}")
    residual = X @ theta - y
    return float(residual @ residual) / (2 * m)
    ### END SOLUTION


# %% [markdown] hints="mse_loss"
# <details><summary>Hint 1: where to begin</summary>
#
# Compute the residual first; it has shape `(m,)`. The loss is a sum over its entries, divided by a number that
# depends on the rows alone.
#
# </details>
# <details><summary>Hint 2: the sum of squares</summary>
#
# For a one-dimensional array `r`, both `np.sum(r**2)` and `r @ r` are the sum of its squares. Use NumPy's operators on
# X as it came: they take integers, float32, read-only arrays and views in any order, and X need not be converted.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# Compare `np.shape(y)` with `(len(X),)` and raise `ValueError` if they differ; raise it too if `len(X)` is 0. Then
# return `r @ r / (2 * len(X))`.
#
# </details>

# %% check="mse_loss"
# Three points, and the line 0 + 1*x. It predicts 0, 1, 2. The residuals are -1, -2, 0, so J = (1 + 4 + 0) / (2 * 3).
X_hand = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
y_hand = np.array([1.0, 3.0, 2.0])
theta_hand = np.array([0.0, 1.0])

with check("mse_loss", forbids=["sklearn", "torch.nn"]):
    expect_close(
        mse_loss(X_hand, y_hand, theta_hand),
        5 / 6,
        rtol=1e-12,
        hint="by hand: (1 + 4 + 0) / (2 * 3)",
        mistakes={
            "This is 1/m times the sum of squares; the loss of this module is 1/(2m) times it.": 5 / 3,
            "This is half the sum of squares; divide it by m.": 5 / 2,
            "This is the sum of squares; divide it by 2m.": 5.0,
            "You divided by the number of columns; the mean is over the rows.": 5 / 4,
            "This is half the mean of the absolute residuals; square the residuals.": 1 / 2,
        },
    )
    expect_close(mse_loss(X_hand, X_hand @ theta_hand, theta_hand), 0.0, atol=1e-15, hint="a perfect fit has loss 0")
    tenth = mse_loss(np.array([[0.1]]), np.zeros(1), np.ones(1))
    expect_close(tenth, 0.005, rtol=1e-12, atol=0, hint="0.1^2 / 2, to sixteen digits: stay in float64")
    with expect_unchanged(X=X_hand, y=y_hand, theta=theta_hand):
        mse_loss(X_hand, y_hand, theta_hand)
    with expect_raises(ValueError, hint="NumPy would broadcast a y of shape (3, 1) to (3, 3): refuse it"):
        mse_loss(X_hand, y_hand.reshape(3, 1), theta_hand)
    with expect_raises(ValueError, hint="X of shape (0, 2) has no rows to take a mean over"):
        mse_loss(X_hand[:0], y_hand[:0], theta_hand)

# %% [markdown]
# ## 2. The gradient, and its factor
#
# Take one parameter $\theta_j$ and change it a little. Residual $i$ is $r_i = \sum_j X_{ij}\theta_j - y_i$, so it
# changes at the rate $\partial r_i / \partial\theta_j = X_{ij}$. The chain rule gives the derivative of the loss:
#
# $$\frac{\partial J}{\partial\theta_j}
#   = \frac{1}{2m}\sum_{i=1}^{m} 2\,r_i\,\frac{\partial r_i}{\partial\theta_j}
#   = \frac{1}{m}\sum_{i=1}^{m} X_{ij}\,r_i .$$
#
# The sum runs over the rows. The index $i$ is the first index of $X$ and the only index of $r$, so the sum is entry $j$
# of $X^\top r$. Here are all $d$ entries at once, with the shapes below:
#
# $$\underbrace{\nabla J(\theta)}_{(d,)} = \frac1m\,\underbrace{X^\top}_{(d,\,m)}\underbrace{(X\theta - y)}_{(m,)} .$$
#
# **Is the factor $1/m$ or $2/m$?** Books and libraries disagree, because they disagree about the loss:
#
# | the loss | its gradient | used by |
# | --- | --- | --- |
# | $\frac{1}{2m}\lVert r\rVert^2$ | $\frac1m X^\top r$ | this module, and many textbooks |
# | $\frac{1}{m}\lVert r\rVert^2$ | $\frac2m X^\top r$ | `sklearn.metrics.mean_squared_error`, `torch.nn.MSELoss` |
# | $\frac12\lVert r\rVert^2$ | $X^\top r$ | most books on numerical analysis |
#
# The derivative of the square gives the 2, and the $\tfrac12$ cancels it. All three losses have the same minimum, and
# their gradients have the same direction. The gradients differ in length, so a learning rate that is right for one loss
# is wrong by that factor for another. Each line of the table is right. The mistake is to take the loss from one line
# and the gradient from another.
#
# What does the gradient cost? $X\theta$ takes $md$ multiplications, and $X^\top r$ takes another $md$. The formula
# $\frac1m(X^\top X\theta - X^\top y)$ gives the same vector, but $X^\top X$ takes $md^2$ multiplications and $d^2$
# numbers of memory. A product such as `X * residual[:, None]` takes $md$ numbers of memory: a second array as large as
# the data. **The order of the products decides whether a laptop is enough.**
#
# ### 1.2 `mse_gradient` · essential · level 2 of 4 · 10 min


# %% exercise="mse_gradient" points=2 minutes=10 forbids=["torch.autograd", "torch.func", "functorch", ".backward"] trains=["deriving a gradient", "checking a gradient", "counting what a computation costs"]
def mse_gradient(X: np.ndarray, y: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """The gradient of J(theta) = 1/(2m) * ||X theta - y||^2 with respect to theta.

    X: (m, d) float64, float32 or integers of any dtype, m >= 1 and d >= 1. It may be a view, not
      contiguous, or read-only.
    y: (m,) float64, float32 or integers of any dtype.
    theta: (d,) float64; it may be float32 where X and y hold floats, too.
    Sizes: every number is 0 or from 1e-100 to 1e100 in size, and no residual is larger. Where X and
      theta are float32, the limits are 1e-15 and 1e15, for y, too.

    Returns a new array of shape (d,), float64; where X, y and theta are all float32 it may be
    float32. Takes O(m d) time. Where X and theta have one dtype, it takes O(m + d) memory besides
    its arguments: no array of shape (d, d) or (m, d) is made, not even a copy of X. (An X of another
    dtype may be copied, as NumPy does.)
    Leaves its arguments as they are. They are valid: nothing needs to be checked here.
    Do not use torch.autograd, torch.func, functorch or .backward: you derived the gradient.
    """
    ### BEGIN SOLUTION
    residual = X @ theta - y
    return X.T @ residual / len(X)
    ### END SOLUTION


# %% [markdown] hints="mse_gradient"
# <details><summary>Hint 1: let the shapes lead</summary>
#
# You have `X` of shape `(m, d)` and a residual of shape `(m,)`, and you need `(d,)`. There is one product of the two
# that has this shape.
#
# </details>
# <details><summary>Hint 2: which mean</summary>
#
# The sum runs over the rows, so divide it by the number of rows. The 2 of the square has cancelled the ½ of the loss.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `residual = X @ theta - y`, then `X.T @ residual`, then divide by `len(X)`. Do not write `X.T @ X`, and do not divide
# `X.T` before the product. These products take integers, float32, read-only arrays and views (strides of any size and
# sign) as they are.
#
# </details>

# %% check="mse_gradient"
# The same three points: the residuals are -1, -2, 0. Times the column of ones: -1 - 2 + 0 = -3. Times the column x:
# 0 - 2 + 0 = -2. Both over m = 3.
with check("mse_gradient", forbids=["torch.autograd", "torch.func", "functorch", ".backward"]):
    with expect_unchanged(X=X_hand, y=y_hand, theta=theta_hand):
        got = mse_gradient(X_hand, y_hand, theta_hand)
    expect_shape(got, (2,), hint="one entry for each column of X")
    expect_close(
        got,
        [-1, -2 / 3],
        rtol=1e-12,
        hint="by hand: X.T @ (-1, -2, 0) / 3",
        mistakes={
            "The sign is wrong: the gradient points uphill, so the residual is X theta - y.": [1, 2 / 3],
            "This is the gradient of 1/m * ||r||^2: the 1/2 of our loss cancels the 2 of the square.": [-2, -4 / 3],
            "This is a sum over the rows; divide by m = 3.": [-3, -2],
            "You divided by the number of columns; the mean is over the rows.": [-3 / 2, -1],
            "You divided by 2m: the 2 of the square cancels that 2.": [-1 / 2, -1 / 3],
        },
    )
    # By moving each parameter a little: for a quadratic, the central difference is exact up to rounding.
    for j, step in enumerate(np.eye(2)):
        slope = (mse_loss(X_hand, y_hand, theta_hand + step) - mse_loss(X_hand, y_hand, theta_hand - step)) / 2
        expect_close(got[j], slope, rtol=1e-12, hint=f"the slope of your own mse_loss along theta[{j}]")

# %% [markdown]
# Look again at the last test in that check. You can test every gradient in this way. A difference quotient
# $\bigl(J(\theta + h u) - J(\theta)\bigr)/h$ approximates the slope along $u$. Its error has two parts. The curvature
# of $J$ causes an error that grows like $h$. Rounding causes an error that grows like $\varepsilon/h$, where
# $\varepsilon$ is the precision of the numbers. The central quotient
# $\bigl(J(\theta + h u) - J(\theta - h u)\bigr)/(2h)$ cancels the first part up to $h^2$, and on a parabola it cancels
# it completely. The figure compares both with your gradient, in float64 and in float32.

# %% tags=["demo"]
line = datasets.linear(200, 5, seed=1)
u = np.ones(5) / math.sqrt(5)
slope = float(mse_gradient(line.X, line.y, np.zeros(5)) @ u)
widths = np.logspace(-14, 0, 57)


def along(t, precision):
    """The loss at t steps along u, all arithmetic in the given precision (your mse_loss may use a higher one)."""
    X, y, theta = (array.astype(precision) for array in (line.X, line.y, t * u))
    residual = X @ theta - y
    return float(residual @ residual / (2 * len(y)))


errors = {}
for precision in ("float64", "float32"):
    forward = [(along(h, precision) - along(0, precision)) / h for h in widths]
    central = [(along(h, precision) - along(-h, precision)) / (2 * h) for h in widths]
    errors[f"forward, {precision}"] = (widths, np.abs(np.array(forward) / slope - 1))
    errors[f"central, {precision}"] = (widths, np.abs(np.array(central) / slope - 1))
ax = plotting.curves(errors, xlabel="width h", ylabel="relative error of the slope", logx=True, logy=True)
for precision, colour in (("float64", plotting.COLOURS[0]), ("float32", plotting.COLOURS[2])):
    root = np.sqrt(np.finfo(precision).eps)
    ax.axvline(root, color=colour, linewidth=1, linestyle=":")
    ax.text(root, 5e1, f" √ε of {precision}", color=colour, fontsize=9)
ax.set(ylim=(1e-17, 1e3), title="A smaller h is not a better h")
plt.show()

# %% [markdown]
# Two habits follow. Use the central quotient. And do not make $h$ as small as you can: take it near
# $\sqrt{\varepsilon}$ for the forward quotient, and larger for the central one. A check with $h = 10^{-12}$ measures
# rounding.
#
# ## 3. Going down
#
# Start at $\theta_0$ and repeat
#
# $$\theta_{k+1} = \theta_k - \eta\,\nabla J(\theta_k).$$
#
# When do we stop? At a minimum the gradient is zero. So we stop when $\lVert\nabla J(\theta_k)\rVert_2 \le$ `tol`.
# (Many tutorials stop when the loss changes little from one step to the next. With a small learning rate it always
# changes little, at every point.)
#
# An optimiser should know nothing about the data. From here on it receives one function, `grad`, which takes $\theta$
# and returns **two** things, the loss and the gradient. Both need the residual. If one function computes both, it
# computes the residual once; and if the data lie on a disk, it reads them once.
#
# ### 1.3 `gradient_descent` · essential · level 2 of 4 · 15 min


# %% exercise="gradient_descent" points=2 minutes=15 forbids=["torch.optim", "scipy.optimize"] trains=["reasoning about conditioning"]
def gradient_descent(
    grad: Callable[[np.ndarray], tuple[float, np.ndarray]],
    theta0: np.ndarray,
    lr: float,
    steps: int = 100,
    tol: float = 0.0,
) -> tuple[np.ndarray, list[float]]:
    """Walk downhill from theta0: theta_{k+1} = theta_k - lr * gradient(theta_k).

    grad: called as grad(theta) with a float array theta of shape (d,); returns the pair (loss,
      gradient), a float and a float array (d,) of its own. It does not keep theta, which may be
      updated in place between two calls.
    theta0: (d,) float64, float32 or integers, the start, d >= 1; may be read-only. Neither it nor
      what grad returns may be modified.
    lr: the learning rate, a Python float > 0.
    steps: the largest number of updates, >= 0.
    tol: stop at the first theta_k, k = 0 included, whose gradient has a Euclidean norm <= tol; do
      not update there.

    Returns (theta, history).
      theta: (d,) new array, the last point at which grad was called. This is theta_steps unless tol
        ended the walk before. Where theta0 and the gradients are float32, theta is float32 at every
        step. Where neither is, it is float64.
      history: list or 1-D array of the losses at theta_0, theta_1, ..., theta. It has one entry more
        than there were updates: steps + 1 unless tol ended the walk. grad is called exactly once
        for each.
    A walk that diverges is no error. It goes on to the last step, and its history may end in inf or
    nan. Do not use torch.optim or scipy.optimize.
    """
    ### BEGIN SOLUTION
    theta = np.array(theta0)
    if theta.dtype.kind != "f":
        theta = theta.astype(float)
    loss, gradient = grad(theta)
    history = [float(loss)]
    for _ in range(steps):
        if np.linalg.norm(gradient) <= tol:
            break
        theta = theta - lr * gradient
        loss, gradient = grad(theta)
        history.append(float(loss))
    return theta, history
    ### END SOLUTION


# %% [markdown] hints="gradient_descent"
# <details><summary>Hint 1: count the calls</summary>
#
# With `steps` updates you visit `steps + 1` points, and the history needs the loss of each. So call `grad` once before
# the loop, at $\theta_0$, and once in every round, after the update.
#
# </details>
# <details><summary>Hint 2: an assignment is not a copy</summary>
#
# After `theta = theta0` both names mean one array, and `theta -= ...` changes the caller's array. The form
# `theta = theta - ...` makes a new array. Convert integers to floats first.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# Before the loop: `loss, gradient = grad(theta)` and `history = [loss]`. In each of `steps` rounds: leave the loop if
# `np.linalg.norm(gradient) <= tol`; otherwise `theta = theta - lr * gradient`, call `grad(theta)`, append the loss.
#
# </details>

# %% check="gradient_descent"
# The simplest bowl, J = theta^2 / 2, has the gradient theta itself. With lr = 0.5 every step halves theta: 8, 4, 2, 1.
with check("gradient_descent", forbids=["torch.optim", "scipy.optimize"]):

    def half_square(theta):
        return 0.5 * float(theta @ theta), theta.copy()

    start = np.array([8.0])
    with expect_unchanged(theta0=start):
        theta, history = gradient_descent(half_square, start, lr=0.5, steps=3)
    expect_close(
        theta,
        [1.0],
        rtol=1e-12,
        hint="8 -> 4 -> 2 -> 1 in three updates",
        mistakes={
            "You went uphill: the step is minus lr times the gradient.": [27.0],
            "You made one update too few.": [2.0],
        },
    )
    expect_close(
        history, [32.0, 8.0, 2.0, 0.5], rtol=1e-12, hint="theta^2 / 2 at 8, 4, 2 and 1: four losses, three updates"
    )
    theta, history = gradient_descent(half_square, start, lr=0.5, steps=50, tol=2.0)
    expect_close(
        theta, [2.0], rtol=1e-12, hint="at theta = 2 the gradient's norm is 2 <= tol: stop there, before the update"
    )
    expect_close(history, [32.0, 8.0, 2.0], rtol=1e-12, hint="one loss for each of 8, 4, 2")
    theta, history = gradient_descent(half_square, start, lr=0.5, steps=50, tol=8.0)
    expect_close(history, [32.0], rtol=1e-12, hint="the gradient at theta0 is 8 <= tol already: do not move at all")
    theta, history = gradient_descent(half_square, np.array([8]), lr=0.5, steps=0)
    expect_close(theta, [8.0], hint="no steps: stay at theta0")
    expect_close(history, [32.0], hint="no steps: the history holds the loss at theta0")
    theta, _ = gradient_descent(half_square, np.array([3]), lr=0.5, steps=1)
    expect_close(theta, [1.5], hint="theta0 may hold integers; convert them to floats")
    theta, _ = gradient_descent(half_square, np.array([3.0], np.float32), lr=0.5, steps=1)
    expect_dtype(theta, np.float32, hint="a float32 start stays float32")

# %% [markdown]
# The figure shows the path of your function. The data have two columns and a condition number of 15. The learning rates
# are multiples of $1/\lambda_{\max}$.

# %% tags=["demo"]
valley = datasets.linear(300, 2, condition=15.0, seed=3)


def squared_loss(X, y):
    """The function that an optimiser needs: theta -> (loss, gradient), from your own two functions."""
    return lambda theta: (mse_loss(X, y, theta), mse_gradient(X, y, theta))


def recorded(grad, points):
    """The same function; it also appends each point to `points`."""

    def noted(theta):
        points.append(np.array(theta))
        return grad(theta)

    return noted


def trail(walk, grad, theta0, lr, steps):
    """The points that a walk visits, shape (steps + 1, d), and its losses."""
    points = []
    _, history = walk(recorded(grad, points), theta0, lr, steps)
    return np.array(points), np.array(history)


valley_grad = squared_loss(valley.X, valley.y)
curvature = np.linalg.eigvalsh(valley.X.T @ valley.X / len(valley.y))
best_theta = np.linalg.lstsq(valley.X, valley.y, rcond=None)[0]
valley_floor = mse_loss(valley.X, valley.y, best_theta)
# The start is far from the minimum along both directions, so that the figure shows both.
directions = np.linalg.eigh(valley.X.T @ valley.X)[1]
valley_start = best_theta + directions @ [3.0, 1.0]
paths, losses = {}, {}
for factor in (0.3, 1.0, 1.9, 2.05):
    points, history = trail(gradient_descent, valley_grad, valley_start, factor / curvature[-1], 40)
    losses[f"{factor} / λmax"] = history - valley_floor
    if factor < 2:
        paths[f"{factor} / λmax"] = points

figure, axes = plt.subplots(1, 2, figsize=(11, 4.4))
seen = np.concatenate(list(paths.values()))
(left, low), (right, high) = seen.min(axis=0) - 0.4, seen.max(axis=0) + 0.4
plotting.contours(
    lambda p: mse_loss(valley.X, valley.y, p),
    (left, right),
    (low, high),
    paths=paths,
    minimum=best_theta,
    xlabel="θ₁",
    ylabel="θ₂",
    title="Your gradient descent, 40 steps",
    ax=axes[0],
)
plotting.curves(losses, xlabel="step k", ylabel="J(θₖ) − min J", logy=True, ax=axes[1])
axes[1].set_title("Straight line: the same factor at each step")
plt.show()

# %% [markdown]
# With a small rate the walk is slow. Near $2/\lambda_{\max}$ it jumps from one side of the valley to the other, and a
# little above that rate the loss grows without bound. Even with a good rate the walk first falls quickly down the side
# of the valley, and then moves slowly along its floor. All of this has one cause, and the next section derives it.
#
# ## 4. Why it explodes, and when
#
# Let $\theta_*$ be the minimum, where $\nabla J = 0$. We have $\nabla J(\theta) = H\theta - X^\top y/m$ with
# $H = X^\top X/m$. Subtract the same expression at $\theta_*$, and you get $\nabla J(\theta) = H(\theta - \theta_*)$.
# Put this into the update and look at the error $e_k = \theta_k - \theta_*$, a vector of shape $(d,)$:
#
# $$e_{k+1} = e_k - \eta H e_k = (I - \eta H)\,e_k .$$
#
# $H$ is symmetric, so it has $d$ orthonormal eigenvectors $u_i$ with eigenvalues $\lambda_i \ge 0$. Write $e_k$ in this
# basis. Then each component changes independently of the others:
#
# $$\langle u_i, e_{k}\rangle = (1 - \eta\lambda_i)^k\,\langle u_i, e_0\rangle .$$
#
# - A component shrinks if and only if $|1 - \eta\lambda_i| < 1$. When $\eta$ grows, the steepest direction is the first
#   to violate this. So the walk converges (along every direction with $\lambda_i > 0$) **if and only if
#   $0 < \eta < 2/\lambda_{\max}$**.
# - The flattest direction is the floor of the valley. With $\eta = 1/\lambda_{\max}$ its factor is $1 - 1/\kappa$, so
#   it takes about $\kappa$ steps to divide the error by $e \approx 2.718$. No fixed rate does much better: the best
#   one, $2/(\lambda_{\max}+\lambda_{\min})$, gives the factor $(\kappa-1)/(\kappa+1)$.
#
# So one number of the data, $\lambda_{\max}$, determines the largest safe learning rate. A full eigendecomposition
# finds it in $O(md^2 + d^3)$ operations. **Power iteration** finds it with products of $X$ and a vector; when $d$ is
# large we cannot afford more. Take a random $v$ and multiply it by $H$ again and again. Each component grows by its own
# factor $\lambda_i$, so the component of $\lambda_{\max}$ grows fastest, and the direction of $v$ approaches its
# eigenvector. Then the Rayleigh quotient $v^\top H v / v^\top v$ is close to $\lambda_{\max}$. Three details matter:
#
# - Compute $Hv$ as $X^\top(Xv)/m$, with the brackets set like this. These are two products of a matrix and a vector.
# - Scale $v$ back to length 1 in every round. Otherwise $\lambda_{\max}^k$ leaves the range of floating point.
# - Start at random. A start at right angles to the eigenvector never finds it. For each fixed start, such as all ones,
#   there are data for which this happens (for all ones: rows that sum to zero). For a random start its probability is
#   zero.
#
# The quotient approaches $\lambda_{\max}$ **from below**. So the estimate of $2/\lambda_{\max}$ is never too small, and
# in practice you take a little less of it, for example nine tenths.
#
# ### 1.4 `largest_stable_lr` · essential · level 3 of 4 · 25 min


# %% exercise="largest_stable_lr" points=3 minutes=25 forbids=[".eigh", ".eigvalsh", ".eigvals", ".svd", "scipy"] trains=["reasoning about conditioning", "counting what a computation costs"]
def largest_stable_lr(X: np.ndarray, steps: int = 100, seed: int = 0) -> float:
    """The rate 2 / lambda_max(X^T X / m), below which descent on the squared loss converges.

    X: (m, d) float64, float32 or integers of any dtype, m >= 1 and d >= 1; may be a view or
      read-only. Its entries are 0 or from 1e-60 to 1e60 in size (float32: from 1e-8 to 1e8), so the
      fourth powers that you meet neither overflow nor vanish.
    steps: the number of rounds of power iteration, >= 1. A round is two products, one of X and one
      of its transpose, with a vector.
    seed: from 0 to 2**32 - 1. The start is random, with normal entries, from a generator that is
      seeded with it (such as np.random.default_rng(seed), not the global np.random.seed): the same
      seed gives the same answer, another seed another start.

    Returns a float, 2 over the estimate of lambda_max after those rounds.
      - The estimate is the norm of X^T X v / m or the Rayleigh quotient of v. Both come from below.
      - v is the unit vector with which the last round began, or the one with which it ended. (One
        more round of products is fine.) The tests take any of these estimates.
      - Returns infinity if X is all zeros: every rate is then stable.
    Takes O(m d) time a round.
    Takes O(m + d) memory besides X and, if X is not float64, one float copy of it. Form neither
    X^T X nor X X^T: m or d may be so large that they do not fit.
    Do not use .eigh, .eigvalsh, .eigvals or .svd of any library, nor scipy. Leaves X as it is.
    """
    ### BEGIN SOLUTION
    m, d = X.shape
    v = np.random.default_rng(seed).standard_normal(d)
    v /= np.linalg.norm(v)
    for _ in range(steps):
        product = X.T @ (X @ v) / m
        largest = float(np.linalg.norm(product))
        if largest == 0:
            return math.inf
        v = product / largest
    return 2 / largest
    ### END SOLUTION


# %% [markdown] hints="largest_stable_lr"
# <details><summary>Hint 1: one round</summary>
#
# One round takes a unit vector `v` of shape `(d,)` to `X.T @ (X @ v) / m`, and then divides by the length of the
# result. Nothing of shape `(d, d)` appears. (If you convert X, take `np.asarray(X, dtype=float)`: it makes no copy of
# an X that is float64 already, and `X.astype(float)` always makes one.)
#
# </details>
# <details><summary>Hint 2: you have the estimate already</summary>
#
# If `v` has length 1 and is the eigenvector, then `X.T @ (X @ v) / m` is `lambda_max * v`, and the length of that is
# `lambda_max`. You compute this length in each round anyway.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# Start: `v = np.random.default_rng(seed).standard_normal(d)`, divided by its norm. In each round
# `product = X.T @ (X @ v) / m`, `largest = np.linalg.norm(product)`; return `math.inf` if it is 0, else
# `v = product / largest`. In the end return `2 / largest`.
#
# </details>

# %% check="largest_stable_lr"
with check("largest_stable_lr", forbids=[".eigh", ".eigvalsh", ".eigvals", ".svd", "scipy"]):
    # X^T X / m = diag(36, 1) / 3, so lambda_max = 12 and the limit is 2 / 12.
    stretched = np.array([[6.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    with expect_unchanged(X=stretched):
        limit = largest_stable_lr(stretched)
    expect_close(
        limit,
        1 / 6,
        rtol=1e-9,
        hint="lambda_max of diag(36, 1) / 3 is 12",
        mistakes={
            "This is 1 / lambda_max; the limit is twice that.": 1 / 12,
            "H = X.T X / m: divide by m = 3.": 1 / 18,
            "This is lambda_max itself; the limit is 2 over it.": 12.0,
            "This is 2 over the largest singular value of X; H holds its square, over m.": 1 / 3,
        },
    )
    # X^T X / m = [[1, -1], [-1, 1]] has the eigenvalues 2 and 0; a start of all ones lies in the flat direction.
    expect_close(largest_stable_lr(np.array([[1.0, -1.0], [1.0, -1.0]])), 1.0, rtol=1e-9, hint="lambda_max is 2 here")
    expect_close(
        largest_stable_lr(np.array([[2.0]]), steps=1), 0.5, rtol=1e-9, hint="one row, one column: lambda_max = 4"
    )
    assert any(largest_stable_lr(stretched, steps=1, seed=seed) > 0.1667 for seed in range(3)), (
        "one round cannot know lambda_max from a random start: do as many rounds as `steps` says, and no more"
    )
    assert largest_stable_lr(np.zeros((3, 2))) == math.inf, (
        "X is all zeros: there is no slope, and every rate is stable"
    )

# %% [markdown]
# The left panel shows how fast your estimate approaches $\lambda_{\max}$. The error after $k$ rounds falls like
# $(\lambda_2/\lambda_{\max})^{2k}$, where $\lambda_2$ is the second largest eigenvalue. If the two are close, this is
# slow, but then the estimate is between two numbers that are nearly equal: it is good long before $v$ is. The right
# panel tests the prediction of this section. Each dot is a whole walk of 300 steps with your `gradient_descent`. The
# horizontal axis is its rate, in units of your `largest_stable_lr`.

# %% tags=["demo"]
rng = np.random.default_rng(0)
rounds = np.arange(1, 41)
closing_in = {}
for second in (0.5, 0.9, 0.99):
    spectrum = np.concatenate([[1.0, second], np.linspace(second, 0.01, 28)])
    X_s = np.linalg.qr(rng.standard_normal((200, 30)))[0] * np.sqrt(200 * spectrum)
    shortfall = [1 - 2 / largest_stable_lr(X_s, steps=int(k)) for k in rounds]
    closing_in[f"λ₂ = {second} λmax"] = (rounds, np.maximum(shortfall, 1e-16))

limit = largest_stable_lr(valley.X)
rates = np.linspace(0.05, 1.06, 60)
ends = []
for rate in rates:
    with np.errstate(over="ignore", invalid="ignore"):
        _, history = gradient_descent(valley_grad, valley_start, float(rate * limit), steps=300)
    ends.append((history[-1] - valley_floor) / (history[0] - valley_floor))

figure, axes = plt.subplots(1, 2, figsize=(11, 4.2))
plotting.curves(closing_in, xlabel="rounds of power iteration", ylabel="relative error of λmax", logy=True, ax=axes[0])
axes[0].set_title("The error of the estimate falls")
axes[1].semilogy(rates, np.maximum(ends, 1e-16), "o", markersize=4)
axes[1].axvline(1.0, color="#D55E00", linestyle="--", label="your largest_stable_lr")
axes[1].axhline(1.0, color="grey", linestyle="-", linewidth=0.8)
axes[1].set(xlabel="learning rate / limit", ylabel="excess loss, end over start", title="Left of the line it converges")
axes[1].legend()
plt.show()

# %% [markdown]
# ## 5. A step without knowing the curvature
#
# For most losses there is no single $\lambda_{\max}$: the curvature changes from point to point. But you can *try* a
# step. To first order, a step of $\eta$ along $-g$, with $g = \nabla J(\theta)$, lowers the loss by
# $\eta\lVert g\rVert^2$. **Armijo's condition** asks for a fraction $c$ of this decrease:
#
# $$J(\theta - \eta\,g) \;\le\; J(\theta) - c\,\eta\,\lVert g\rVert_2^2 .$$
#
# Begin with a large $\eta$. While the condition fails, multiply $\eta$ by `shrink`. The condition holds in the end. If
# the curvature is at most $L$, Taylor's formula gives
# $J(\theta - \eta g) \le J(\theta) - \eta\,(1 - \eta L/2)\,\lVert g\rVert^2$, so every $\eta \le 2(1-c)/L$ satisfies
# it. Therefore the search accepts the first step that it tries, or it returns more than `shrink` times $2(1-c)/L$. It
# does not need to know $L$.
#
# Why do we not accept every step that does not raise the loss ($c = 0$)? Take $J = \theta^2/2$ and $\eta = 2$. The step
# leads from $\theta$ to $-\theta$, where the loss is the same, the next step leads back, and so on without end.
#
# Each trial evaluates the loss once, and one evaluation may be a pass over all data. So compute $J(\theta)$ once, and
# not in every round.
#
# ### 1.5 `backtracking_line_search` · important · level 2 of 4 · 15 min


# %% exercise="backtracking_line_search" points=2 minutes=15 forbids=["torch.optim", "scipy.optimize"] trains=["counting what a computation costs"]
def backtracking_line_search(
    loss: Callable[[np.ndarray], float],
    theta: np.ndarray,
    gradient: np.ndarray,
    lr: float = 1.0,
    shrink: float = 0.5,
    c: float = 1e-4,
    max_trials: int = 50,
) -> float:
    """The first of the steps lr, lr * shrink, lr * shrink^2, ... that lowers the loss enough:

        loss(theta - step * gradient) <= loss(theta) - c * step * ||gradient||_2^2

    loss: called as loss(theta) with an array (d,); returns a float. At a trial point it may be nan
      or inf. Then the condition does not hold.
    theta: (d,) float64 or float32, the current point, d >= 1. There loss(theta) is finite.
    gradient: (d,) float64 or float32; its squared norm is finite in that dtype. The search goes along
      its negative. If it is zero, the condition holds with equality, and the first step is accepted.
    lr: the first step to try, > 0.
    shrink, c: both between 0 and 1.
    max_trials: the largest number of steps to try, >= 1.

    Returns the step, a float (rounding apart); 0.0 if none of max_trials steps is accepted.
    Calls loss once at theta and once for each step tried, and never again. Leaves theta and
    gradient as they are. Do not use torch.optim or scipy.optimize.
    """
    ### BEGIN SOLUTION
    here = loss(theta)
    slope = float(gradient @ gradient)
    step = lr
    for _ in range(max_trials):
        if loss(theta - step * gradient) <= here - c * step * slope:
            return step
        step *= shrink
    return 0.0
    ### END SOLUTION


# %% [markdown] hints="backtracking_line_search"
# <details><summary>Hint 1: what changes from trial to trial</summary>
#
# Only the step changes. Compute `loss(theta)` and the squared norm of the gradient before the loop. The loop makes at
# most `max_trials` rounds, and each round evaluates the loss once.
#
# </details>
# <details><summary>Hint 2: nan</summary>
#
# Ask whether the condition *holds* (`<=`), not whether it fails (`>`). Every comparison with `nan` is false, so the
# second question would accept a `nan`.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `for _ in range(max_trials)`: if `loss(theta - step * gradient) <= here - c * step * squared_norm`, return
# `step`; otherwise multiply it by `shrink`. After `max_trials` rounds return `0.0`. The step is a Python float,
# also where the arrays are float32.
#
# </details>

# %% check="backtracking_line_search"
with check("backtracking_line_search", forbids=["torch.optim", "scipy.optimize"]):
    # J = 2 theta^2 at theta = 1: J = 2, gradient 4. A step of 1 leads to -3 (J = 18), 1/2 to -1 (J = 2, no decrease),
    # 1/4 to 0 (J = 0): accepted.
    asked = []

    def steep(theta):
        asked.append(theta.copy())
        return 2.0 * float(theta @ theta)

    stand, slope = np.array([1.0]), np.array([4.0])
    with expect_unchanged(theta=stand, gradient=slope):
        step = backtracking_line_search(steep, stand, slope)
    expect_close(
        step,
        0.25,
        rtol=1e-12,
        hint="steps of 1 and 1/2 do not lower J = 2 enough, 1/4 does",
        mistakes={"This step does not change the loss: ask for a decrease of c * step * ||gradient||^2.": 0.5},
    )
    assert len(asked) == 4, (
        f"loss was called {len(asked)} times; once at theta and once for each of three trials makes 4"
    )
    step = backtracking_line_search(steep, stand, slope, c=0.6)
    expect_close(
        step,
        0.125,
        rtol=1e-12,
        hint="c = 0.6 accepts steps up to 2 * (1 - 0.6) / 4 = 0.2, so 1/8",
        mistakes={"This is the step for the norm of the gradient; Armijo's condition has its square.": 0.25},
    )
    step = backtracking_line_search(steep, stand, slope, shrink=0.1)
    expect_close(step, 0.1, rtol=1e-12, hint="with shrink = 0.1 the second step is 1/10, which leads to 0.6 (J = 0.72)")
    step = backtracking_line_search(steep, stand, -slope, max_trials=5)
    expect_close(step, 0.0, hint="uphill no step is accepted: after max_trials return 0.0")
    step = backtracking_line_search(
        lambda theta: -math.log(theta[0]) if theta[0] > 0 else math.nan, stand, np.array([2.0])
    )
    assert step == 0.0, (
        "minus this 'gradient' points uphill, and the loss beyond 0 is nan: no step is accepted, and never a nan"
    )

# %% [markdown]
# The next loss is a bent valley, $f(a, b) = (1 - a)^2 + 10\,(b - a^2)^2$, with its minimum at $(1, 1)$. A fixed rate
# must be small enough for the steepest place on the way. Your line search finds at each point a step that this point
# allows, but it pays for its trials. So the figure counts **evaluations** of the loss or of its gradient, not steps.
#
# Where should a search begin? The cell tries two ways: each search begins at 1, or each begins at twice the last
# accepted step. Beside them stands a fixed rate, the largest of a grid with which the loss never exceeds its first
# value. To find this rate, the cell makes a walk for each larger rate of the grid, until that walk fails.


# %% tags=["demo"]
def bent_loss(p):
    return (1 - p[0]) ** 2 + 10 * (p[1] - p[0] ** 2) ** 2


def bent_gradient(p):
    return np.array([-2 * (1 - p[0]) - 40 * p[0] * (p[1] - p[0] ** 2), 20 * (p[1] - p[0] ** 2)])


bent_start, allowed = np.array([-1.4, 1.8]), demo_size(full=1600, small=300)


def search_downhill(first):
    """Points, losses and evaluations so far, (k,) each, of a walk whose searches begin at first(last step)."""
    spent = 0

    def counted(p):
        nonlocal spent
        spent += 1
        return bent_loss(p)

    points, evaluations, step = [bent_start], [0], 1.0
    while spent < allowed:
        g = bent_gradient(points[-1])
        spent += 1
        step = backtracking_line_search(counted, points[-1], g, lr=first(step))
        points.append(points[-1] - step * g)
        evaluations.append(spent)
    return np.array(points), np.array([bent_loss(p) for p in points]), np.array(evaluations)


def walk_downhill(rate):
    """The same for a fixed rate; one evaluation a step, of the loss and the gradient together."""
    with np.errstate(over="ignore", invalid="ignore"):
        points, losses = trail(
            gradient_descent, lambda p: (bent_loss(p), bent_gradient(p)), bent_start, float(rate), allowed
        )
    return points, losses, np.arange(allowed + 1)


tuning = 0
for fixed_rate in np.arange(0.05, 0, -0.001):
    fixed = walk_downhill(fixed_rate)
    failed = ~(fixed[1] <= fixed[1][0])
    if not failed.any():
        break
    tuning += 1 + int(np.argmax(failed))
fixed_name = f"fixed rate {fixed_rate:.3f}"
walks_bent = {
    "search, each from 1": search_downhill(lambda last: 1.0),
    "search, from twice the last": search_downhill(lambda last: 2 * last),
    fixed_name: fixed,
}

figure, axes = plt.subplots(1, 2, figsize=(11, 4.2))
plotting.contours(
    lambda p: np.log(bent_loss(p) + 0.01),
    (-2, 2),
    (-1, 3),
    paths={
        "search, each from 1": walks_bent["search, each from 1"][0],
        f"{fixed_name}, every 20th step": fixed[0][::20],
    },
    minimum=(1, 1),
    xlabel="a",
    ylabel="b",
    title="A bent valley",
    ax=axes[0],
)
plotting.curves(
    {name: (spent, losses) for name, (_, losses, spent) in walks_bent.items()},
    xlabel="evaluations",
    ylabel="loss",
    logy=True,
    ax=axes[1],
)
axes[1].set_title("What each walk pays")
plt.show()
target = demo_size(full=1e-3, small=1.0)
for name, (_, losses, spent) in walks_bent.items():
    reached = np.flatnonzero(losses <= target)
    until = f"{reached[0]:4d} steps, {spent[reached[0]]:5d} evaluations" if len(reached) else "not reached"
    print(f"{name:27s} {spent[-1] / (len(spent) - 1):4.1f} evaluations a step; loss {target:g} after {until}")
steeper = np.array([-2.0, -1.0])
with np.errstate(over="ignore", invalid="ignore"):
    _, elsewhere = gradient_descent(lambda p: (bent_loss(p), bent_gradient(p)), steeper, float(fixed_rate), 4)
safe = steeper - backtracking_line_search(bent_loss, steeper, bent_gradient(steeper)) * bent_gradient(steeper)
print(f"To find the fixed rate, walks that failed took {tuning} evaluations.")
print(f"From {steeper}, where the loss is {bent_loss(steeper):.0f}: one searched step leads to {bent_loss(safe):.2g},")
print(f"and four steps at the fixed rate lead to {elsewhere[-1]:.2g}.")

# %% [markdown]
# To reach a loss of 0.001, the search that begins at 1 needs the fewest steps and the most evaluations, because it
# tries the same large steps again at every point. If each search begins at twice the last accepted step, a step costs
# about half as much. The fixed rate needs the fewest evaluations here, even with those of the walks that failed. But it
# holds for this start only: from a steeper point the same rate explodes, and the search finds a step there, too. So use
# a fixed rate where you know $\lambda_{\max}$, or where many similar runs share one rate. Use a line search (from the
# last accepted step) where the curvature is unknown and changes.
#
# ## 6. Faster than downhill
#
# Plain descent needs about $\kappa$ steps, whatever the rate. Can a method that sees only gradients do better? Along
# the floor of the valley, plain descent takes nearly the same small step again and again, because it has no memory.
# **Nesterov's method** has one. It first moves on in the direction of its last step, and it takes the gradient *there*,
# at the look-ahead point $v$:
#
# $$\theta_{k+1} = v_k - \eta\,\nabla J(v_k), \qquad
#   v_{k+1} = \theta_{k+1} + \frac{t_k - 1}{t_{k+1}}\,(\theta_{k+1} - \theta_k), \qquad
#   t_{k+1} = \frac{1 + \sqrt{1 + 4t_k^2}}{2},$$
#
# from $v_0 = \theta_0$ and $t_0 = 1$. The weight $(t_k - 1)/t_{k+1}$ is 0 in the first round and grows towards 1, so
# the last step counts more and more. With $\eta = 1/\lambda_{\max}$, Nesterov (1983) proved for every convex smooth
# loss
#
# $$J(\theta_k) - J(\theta_*) \le \frac{2\,\lVert\theta_0 - \theta_*\rVert^2}{\eta\,(k+1)^2},
#   \qquad\text{where plain descent has only}\qquad \frac{\lVert\theta_0 - \theta_*\rVert^2}{2\,\eta\,k},$$
#
# On a bowl of condition $\kappa$ it takes about $\sqrt\kappa$ steps instead of $\kappa$, up to a constant factor. This
# holds for a low accuracy, such as a hundredth of the first excess loss. For many digits the gain is smaller, because
# the growing weight carries the walk past the minimum again and again (open question 3 has a remedy). The cell after
# the next check measures the gain, and prints it.
#
# Is there a still faster method? Nemirovski and Yudin (1983) proved a lower bound: for each method that moves only by
# combinations of the gradients it has seen, there is a convex smooth loss on which its excess after $k$ steps is at
# least a constant times $\lVert\theta_0 - \theta_*\rVert^2 / (\eta\,k^2)$. So no such method improves the power of $k$
# for all losses. The bound holds for $k$ up to about $d/2$ only. On a quadratic bowl, the **conjugate gradient method**
# ends at the minimum after at most $d$ steps (without rounding), and section 8 compares your functions with it.
#
# Nesterov's method has a price: the loss may rise for some steps, because momentum carries the walk past the floor of
# the valley. Note also that some texts take the gradient at $\theta_k$ and call the result Nesterov's method. That is
# Polyak's heavy ball (1964), for which this bound does not hold.
#
# ### 1.6 `nesterov` · essential · level 3 of 4 · 20 min


# %% exercise="nesterov" points=3 minutes=20 forbids=["torch.optim", "scipy.optimize"] trains=["reasoning about conditioning"]
def nesterov(
    grad: Callable[[np.ndarray], tuple[float, np.ndarray]],
    theta0: np.ndarray,
    lr: float,
    steps: int = 100,
    tol: float = 0.0,
) -> tuple[np.ndarray, list[float]]:
    """Nesterov's accelerated descent, with the arguments and the contract of gradient_descent.

        v_0 = theta_0,  t_0 = 1,  and for k = 0, 1, ...:
        theta_{k+1} = v_k - lr * gradient(v_k)
        t_{k+1} = (1 + sqrt(1 + 4 t_k^2)) / 2
        v_{k+1} = theta_{k+1} + (t_k - 1) / t_{k+1} * (theta_{k+1} - theta_k)

    grad: called as grad(v) with a float array v of shape (d,); returns the pair (loss, gradient), a
      float and a float array (d,) of its own. It does not keep v, which may be updated in place
      between two calls.
    theta0: (d,) float64, float32 or integers, the start, d >= 1; may be read-only. Neither it nor
      what grad returns may be modified.
    lr: the learning rate, a Python float > 0.
    steps: the largest number of updates (rounds of the three lines above), >= 0.
    tol: stop at the first v_k, k = 0 included, whose gradient has a Euclidean norm <= tol; do not
      update there.

    Returns (v, history), both of the look-ahead points, because grad tells the loss there.
      v: (d,) new array, the last point at which grad was called: v_steps unless tol ended the walk
        before. It is float64; it may be float32 where theta0 is.
      history: list or 1-D array of the losses at v_0, v_1, ..., v: one more than there were
        updates. grad is called exactly once for each.
    A walk that diverges is no error: it goes on to the last step, also where the gradient is nan.
    Do not use torch.optim or scipy.optimize.
    """
    ### BEGIN SOLUTION
    theta = np.array(theta0)
    if theta.dtype.kind != "f":
        theta = theta.astype(float)
    v, t = theta, 1.0
    loss, gradient = grad(v)
    history = [float(loss)]
    for _ in range(steps):
        if np.linalg.norm(gradient) <= tol:
            break
        ahead = v - lr * gradient
        t_next = (1 + math.sqrt(1 + 4 * t * t)) / 2
        v = ahead + (t - 1) / t_next * (ahead - theta)
        theta, t = ahead, t_next
        loss, gradient = grad(v)
        history.append(float(loss))
    return v, history
    ### END SOLUTION


# %% [markdown] hints="nesterov"
# <details><summary>Hint 1: what to remember</summary>
#
# From round to round you carry three things: the look-ahead point `v`, the last `theta`, and the number `t`. The loop
# around them is that of `gradient_descent`, with `v` where `theta` was. Convert integers to floats first, and return
# `v`, also where `tol` ends the walk.
#
# </details>
# <details><summary>Hint 2: the order within a round</summary>
#
# Compute the new theta from the old `v`, the new `t` from the old `t`, and the new `v` from both thetas and both `t`s.
# Only then replace the old theta by the new one.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `ahead = v - lr * gradient`, `t_next = (1 + math.sqrt(1 + 4 * t**2)) / 2`,
# `v = ahead + (t - 1) / t_next * (ahead - theta)`, `theta, t = ahead, t_next`.
#
# </details>

# %% check="nesterov"
# J = theta^2 / 2 again, lr = 0.5, from 8. Round 1 has weight 0: v = theta = 4. In round 2, theta goes from 4 to 2; t_1
# is the golden ratio 1.618, and t_2 = (1 + sqrt(1 + 4 t_1^2)) / 2 = 2.194, so v = 2 + 0.618 / 2.194 * (2 - 4).
with check("nesterov", forbids=["torch.optim", "scipy.optimize"]):
    golden = (1 + math.sqrt(5)) / 2
    second_t = (1 + math.sqrt(1 + 4 * golden**2)) / 2
    second_v = 2 - 2 * (golden - 1) / second_t
    with expect_unchanged(theta0=start):
        v, history = nesterov(half_square, start, lr=0.5, steps=2)
    expect_close(
        v,
        [second_v],
        rtol=1e-12,
        hint="2 - 2 * 0.618 / 2.194, the look-ahead point after two rounds",
        mistakes={
            "This is theta_2, where plain descent ends, too; return v_2, where grad was called last.": [2.0],
            "Divide t_k - 1 by the new t, t_{k+1}; you divided by t_k.": [2 - 2 * (golden - 1) / golden],
        },
    )
    expect_close(history, [32.0, 8.0, second_v**2 / 2], rtol=1e-12, hint="the losses at v_0 = 8, v_1 = 4 and v_2")
    v, history = nesterov(half_square, start, lr=0.5, steps=50, tol=4.0)
    expect_close(v, [4.0], rtol=1e-12, hint="at v_1 = 4 the gradient's norm is 4 <= tol: stop there")
    expect_close(history, [32.0, 8.0], rtol=1e-12, hint="one loss for each of v_0 and v_1")
    v, history = nesterov(half_square, np.array([3]), lr=0.5, steps=1)
    expect_close(v, [1.5], rtol=1e-12, hint="the first round is a plain gradient step, for integers too")

# %% [markdown]
# The left panel shows both methods on one badly conditioned problem, with the same rate and the same number of
# gradients. The right panel shows the number of gradients that each needs to reduce the excess loss to a hundredth, for
# more and more stretched bowls. The slopes in the legend are fitted to your runs. The theory predicts 1 and ½.


# %% tags=["demo"]
def diagonal_bowl(condition, d=20):
    """A bowl whose axes are the coordinates: its function, and a start with the same excess loss along each axis."""
    spectrum = np.logspace(0, -math.log10(condition), d)
    return lambda p: (0.5 * float(p @ (spectrum * p)), spectrum * p), 1 / np.sqrt(spectrum)


def gradients_needed(walk, condition, share=1e-2, most=20_000):
    """How many gradients a walk takes until its excess loss is at most `share` of the first."""
    grad, start = diagonal_bowl(condition)
    taken = []

    def watched(p):
        loss, gradient = grad(p)
        taken.append(loss)
        return loss, gradient if loss > share * taken[0] else 0 * gradient  # a zero gradient ends the walk

    walk(watched, start, 1.0, most)
    return len(taken)


walkers = {"gradient descent": gradient_descent, "Nesterov": nesterov}
conditions = np.logspace(1, demo_size(full=4, small=2), 6)
needed = {name: [gradients_needed(walk, condition) for condition in conditions] for name, walk in walkers.items()}
slopes = {name: np.polyfit(np.log(conditions), np.log(counts), 1)[0] for name, counts in needed.items()}
long_bowl, far_out = diagonal_bowl(1e4)
excess = {name: walk(long_bowl, far_out, 1.0, steps=1000)[1] for name, walk in walkers.items()}

figure, axes = plt.subplots(1, 2, figsize=(11, 4.2))
plotting.curves(excess, xlabel="gradients", ylabel="excess loss", logy=True, ax=axes[0])
axes[0].set_title("One problem, κ = 10,000")
plotting.curves(
    {f"{name}, slope {slopes[name]:.2f}": (conditions, counts) for name, counts in needed.items()},
    xlabel="condition number κ",
    ylabel="gradients to one hundredth",
    logx=True,
    logy=True,
    ax=axes[1],
)
axes[1].set_title("What a stretched bowl costs")
plt.show()
fewer = needed["gradient descent"][-1] / needed["Nesterov"][-1]
print(f"κ = {conditions[-1]:,.0f}, to one hundredth: Nesterov's method needs {fewer:.0f} times fewer gradients.")

# %% [markdown]
# ### Real data: diabetes
#
# The data of Efron, Hastie, Johnstone and Tibshirani (2004) describe each of 442 patients by ten measurements (age,
# body mass index, blood pressure, six blood values ...). The target $y$ measures the disease one year later. The
# columns have different units, such as years and milligrams per decilitre. The cell below uses the same data twice: as
# measured, and *standardised* (each column minus its mean, over its standard deviation). Both have a column of ones.

# %% tags=["demo"]
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.sparse.linalg import LinearOperator, cg, lsqr
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

raw, progress = load_diabetes(return_X_y=True, scaled=False)
standard = (raw - raw.mean(axis=0)) / raw.std(axis=0)
walks, walk_steps = {}, demo_size(full=3000, small=300)
for name, columns in {"as measured": raw, "standardised": standard}.items():
    X_d = np.column_stack([np.ones(len(columns)), columns])
    limit = float(largest_stable_lr(X_d))
    bottom = mse_loss(X_d, progress, np.linalg.lstsq(X_d, progress, rcond=None)[0])
    for method, walk in walkers.items():
        theta_d, history = walk(squared_loss(X_d, progress), np.zeros(11), limit / 2, walk_steps)
        walks[f"{name}, {method}"] = (np.arange(len(history)) + 1, np.array(history) - bottom)
    print(f"{name:12s}: κ = {np.linalg.cond(X_d) ** 2:8.2g}, largest stable rate {limit:.2g}")
ax = plotting.curves(walks, xlabel="k + 1", ylabel="J − min J", title="Units decide the speed", logx=True, logy=True)
ax.set_ylim(1e-6, None)
plt.show()
peer = LinearRegression().fit(standard, progress)
apart = np.abs(theta_d[1:] - peer.coef_).max() / np.abs(peer.coef_).max()
print(f"standardised, {walk_steps} steps of Nesterov: within {apart:.0e} of scikit-learn's coefficients, relative")

# %% [markdown]
# The model is the same in both. The columns span the same space, so the best predictions and the lowest loss agree.
# Only the path differs. As measured, neither method comes near the minimum in thousands of steps. A change of units
# takes one pass over the data, and it helps more than a better optimiser. That is why module 00 standardises.

# %% [markdown] written="why_units" points=2
# ### In words 1 · important · level 2 of 4 · 10 min
#
# One column of $X$ was recorded in metres, and from today on it is recorded in millimetres: its numbers are 1000 times
# as large. Nothing else changes. For each of the following, say whether it changes and how: the lowest loss, the best
# predictions, that column's entry of $\theta_*$, $\lambda_{\max}$ (if that column dominates it), the largest stable
# learning rate, the number of steps of `gradient_descent` at half that rate. What would you do about it, and what does
# it cost if $X$ has a billion rows?
#
# ### BEGIN SOLUTION
# The lowest loss and the best predictions stay the same, because the columns span the same space. The entry of
# $\theta_*$ becomes a thousandth. Once the column dominates, $\lambda_{\max}$ is about the mean of its squares, which
# grows by $10^6$; the largest stable rate $2/\lambda_{\max}$ shrinks by $10^6$. The other directions keep their
# curvature, so $\kappa$ grows by up to $10^6$, and with it the number of plain steps (by up to $10^3$ with Nesterov).
# Remedy: standardise each column (or scale it by a power of ten). Mean and variance of all columns take one pass, which
# can be taken in pieces that are merged. The scaling can be applied while a chunk is read, or it can become a rate for
# each column. So nothing is written back.
#
# ### RUBRIC
# - 0.5: The lowest loss and the best predictions stay the same; the entry of $\theta_*$ becomes a thousandth.
# - 0.5: $\lambda_{\max}$ grows by about $10^6$, and the largest stable learning rate shrinks by as much.
# - 0.5: The number of steps grows by up to $10^6$, because the other directions keep their curvature and so $\kappa$
#   grows.
# - 0.5: The column is standardised or scaled back, and the cost is named: at most one pass, which can be taken by
#   chunk.
# ### END SOLUTION

# %% [markdown]
# ## 7. A sum can be taken in pieces
#
# Now the data no longer fit into memory. Look at the gradient again:
#
# $$\nabla J(\theta) = \frac1m \sum_{i=1}^m x_i\,(x_i^\top\theta - y_i),$$
#
# where $x_i$, of shape $(d,)$, is row $i$ of $X$. It is a sum over rows, and you may take a sum in parts. So cut the
# rows into chunks. The chunks lie one after the other in a file, or each lies on a machine of its own. Compute the part
# of each chunk, and combine the parts at the end.
#
# ### 1.7 `chunked_gradient` · essential · level 2 of 4 · 10 min
#
# **Find the bug.** The function below computes the gradient in this way. Its author tested it with 10 chunks of 1000
# rows, where it agrees with `mse_gradient`. But it is wrong. Libraries that train language models had the same mistake
# for years, in a part called gradient accumulation, until users noticed it in 2024.
#
# Find the mistake, write in a comment what the function computes instead, and repair it.


# %% exercise="chunked_gradient" points=2 minutes=10 bug=true trains=["summaries that merge"]
def chunked_gradient(
    chunks: Iterable[tuple[np.ndarray, np.ndarray]],
    theta: np.ndarray,
) -> tuple[float, np.ndarray]:
    """The loss J(theta) and its gradient for data that come in chunks, one at a time.

    chunks: any iterable of pairs (X_c, y_c) of shapes (m_c, d) and (m_c,), m_c >= 0, float64,
      float32 or integers of any dtype, with the limits on size of mse_gradient. All rows together
      are the data, m = sum of the m_c. The chunks may differ in size, and some may be empty. The
      iterable may be a generator: go through it once, and keep at most one chunk in memory.
    theta: (d,) float64; it may be float32 where all chunks hold floats, too.

    Returns (loss, gradient), a float and a new array (d,), float64; where all that came is float32
    it may be float32. They equal mse_loss and mse_gradient of the whole data up to rounding, so
    that the function can serve as the `grad` of an optimiser.
    Raises ValueError if there is no row at all. Leaves the chunks and theta as they are.
    """
    ### BEGIN SOLUTION
    m, squares, gradient = 0, 0.0, np.zeros(len(theta))
    for X_c, y_c in chunks:
        residual = X_c @ theta - y_c
        squares += float(residual @ residual)
        gradient += X_c.T @ residual
        m += len(y_c)
    if m == 0:
        raise ValueError("the chunks hold no row")
    return squares / (2 * m), gradient / m
    ### END SOLUTION
    ### BEGIN BUG
    # number, loss, gradient = 0, 0.0, np.zeros(len(theta))
    # for X_c, y_c in chunks:
    #     if len(y_c) == 0:
    #         continue
    #     residual = X_c @ theta - y_c
    #     loss += float(residual @ residual) / (2 * len(y_c))
    #     gradient += X_c.T @ residual / len(y_c)
    #     number += 1
    # if number == 0:
    #     raise ValueError("the chunks hold no row")
    # return loss / number, gradient / number
    ### END BUG


# %% [markdown] hints="chunked_gradient"
# <details><summary>Hint 1: a smaller case</summary>
#
# Cut three rows into a chunk of two and a chunk of one. How much does each row count in the result, and how much should
# it count?
#
# </details>
# <details><summary>Hint 2: what adds up</summary>
#
# The mean of the chunks' means is the mean of the whole only if all chunks have the same size. The sum of the chunks'
# sums is always the sum of the whole. What else must you add up, so that you can divide at the end?
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# In the loop add the sums (nothing divided) and the number of rows. After the loop divide by the number of *rows*,
# not of chunks: `2 * m` for the loss, `m` for the gradient. Begin with a gradient of float64 zeros: chunks of integers,
# of float32 and views can be added to it.
#
# </details>

# %% check="chunked_gradient"
# The three points of section 1 in two chunks, two rows and one. Residuals (-1, -2) and (0).
with check("chunked_gradient"):
    pieces = [(X_hand[:2], y_hand[:2]), (X_hand[2:], y_hand[2:])]
    loss, gradient = chunked_gradient(pieces, theta_hand)
    expect_close(
        gradient,
        [-1, -2 / 3],
        rtol=1e-12,
        hint="the gradient of the whole, as in section 2",
        mistakes={
            "This is the mean of the chunks' means: the row of the last chunk counts twice.": [-3 / 4, -1 / 2],
            "This is a sum over all rows; divide by their number.": [-3, -2],
        },
    )
    expect_close(
        loss,
        5 / 6,
        rtol=1e-12,
        hint="the loss of the whole, as in section 1",
        mistakes={"This is the mean of the chunks' means: you repaired the gradient, repair the loss, too.": 5 / 8},
    )
    once = ((X_c, y_c) for X_c, y_c in [(X_hand[:0], y_hand[:0]), *pieces])
    expect_close(chunked_gradient(once, theta_hand)[1], [-1, -2 / 3], rtol=1e-12, hint="an empty chunk changes nothing")
    with expect_raises(ValueError, hint="no row at all: there is no mean"):
        chunked_gradient([], theta_hand)

# %% [markdown]
# So each chunk sends three things: its sum of squared residuals, its sum of $x_i r_i$, and its number of rows. These
# are $d + 2$ numbers, however long the chunk is. You may add them in any order, and you divide after all have come.
# Distributed gradient descent needs no more than this (Chu et al., 2006). Every large-scale method in this course has
# the same form: **small summaries that add up**.
#
# What does the bug do to a fit? In the next cell the rows are sorted (files are often sorted by date or by customer)
# and cut into equal chunks and a short last one. The mean of means gives the few rows of the last chunk the weight of a
# whole chunk, so the line moves towards them. The loss curve of such a run looks perfect. You see the mistake only if
# you compare with the whole.

# %% tags=["demo"]
rng = np.random.default_rng(4)
x_sorted = np.sort(rng.uniform(0, 3, 405))
y_sorted = np.sin(x_sorted) + 0.1 * rng.standard_normal(405)
X_sorted = np.column_stack([np.ones(405), x_sorted])
cuts = [(X_sorted[i : i + 100], y_sorted[i : i + 100]) for i in range(0, 405, 100)]


def mean_of_means(theta):
    parts = [chunked_gradient([cut], theta) for cut in cuts]
    return np.mean([loss for loss, _ in parts]), np.mean([gradient for _, gradient in parts], axis=0)


rate = 0.3 * largest_stable_lr(X_sorted)  # less than usual, because the wrong weights make a steeper bowl
fits = {
    "rows counted alike (yours)": gradient_descent(
        lambda theta: chunked_gradient(cuts, theta), np.zeros(2), rate, 2000
    )[0],
    "mean of the chunks' means": gradient_descent(mean_of_means, np.zeros(2), rate, 2000)[0],
}
figure, ax = plt.subplots()
ax.plot(x_sorted[:400], y_sorted[:400], ".", color="0.75", label="four chunks of 100 rows")
ax.plot(x_sorted[400:], y_sorted[400:], ".", color=plotting.COLOURS[3], label="the last chunk, 5 rows")
for (name, fit), style in zip(fits.items(), ("-", "--"), strict=True):
    ax.plot(x_sorted, X_sorted @ fit, style, linewidth=2, label=name)
ax.set(xlabel="x", ylabel="y", title="Five rows with the weight of a hundred")
ax.legend()
plt.show()
direct = np.linalg.lstsq(X_sorted, y_sorted, rcond=None)[0]
for name, fit in fits.items():
    print(f"{name:27s} distance from the least-squares solution {np.linalg.norm(fit - direct):.1e}")

# %% [markdown]
# ## 8. Scale it
#
# ### What a solution costs
#
# Least squares has direct solvers. When is descent better than they are? Let $s$ be the number of steps:
#
# | method | time | memory besides $X$ | passes over $X$ |
# | --- | --- | --- | --- |
# | gradient descent, $s \approx \kappa$ steps | $O(s\,md)$ | $O(m + d)$, or one chunk | $s$ |
# | conjugate gradients (`scipy.sparse.linalg.cg`, `lsqr`), $s \approx \sqrt\kappa$ | $O(s\,md)$ | $O(m + d)$ | $s$ |
# | normal equations $X^\top X\,\theta = X^\top y$ | $O(md^2 + d^3)$ | $O(d^2)$ | 1 |
# | `numpy.linalg.lstsq` (SVD), scikit-learn | $O(md^2)$, with a larger factor | $O(md)$ | 1 |
#
# **Conjugate gradients** (Hestenes and Stiefel, 1952) choose the direction of each step so that no earlier step has to
# be repeated. They apply to quadratic losses only, and there they need no rate and are at least as good as every method
# of this module. `lsqr` (Paige and Saunders, 1982) is a form of them that never uses $X^\top X$ and rounds less.
#
# The number of steps $s$ depends on $\kappa$ and on the accuracy, but not on $m$ or $d$. So the theory predicts two
# pictures. Against the rows, all slopes are 1. Against the columns, descent and conjugate gradients have slope 1, and
# the other slopes tend to 2 and more, so the curves must cross. Only a measurement says where: a product of two
# matrices uses the processor much better than a product of a matrix and a vector, which waits for memory. We measure
# on one core, with $\kappa = 10$. Descent and conjugate gradients stop at a millionth of the first gradient. A solver
# that has used its share of the time is stopped.


# %% tags=["demo"]
def by_descent(X, y):
    """Your descent; chunked_gradient of one chunk computes the residual once for the loss and the gradient."""
    start = np.zeros(X.shape[1], X.dtype)
    rate = 0.9 * float(largest_stable_lr(X, steps=20))

    def grad(theta):
        return chunked_gradient([(X, y)], theta)

    theta, _ = gradient_descent(grad, start, rate, steps=1000, tol=1e-6 * float(np.linalg.norm(grad(start)[1])))
    return theta


def by_conjugate_gradients(X, y):
    """SciPy's, with products of X and a vector only; it stops where by_descent does."""
    d = X.shape[1]
    H = LinearOperator((d, d), matvec=lambda p: X.T @ (X @ p), dtype=X.dtype)
    return cg(H, X.T @ y, rtol=1e-6)[0]


def by_normal_equations(X, y):
    return cho_solve(cho_factor(X.T @ X), X.T @ y)


def by_lstsq(X, y):
    return np.linalg.lstsq(X, y, rcond=None)[0]


def by_sklearn(X, y):
    return LinearRegression(fit_intercept=False).fit(X, y).coef_


def problem(rows, columns):
    data = datasets.linear(rows, columns, condition=10.0, seed=0)
    return data.X, data.y


solvers = {
    "descent (yours)": by_descent,
    "conjugate gradients": by_conjugate_gradients,
    "normal equations": by_normal_equations,
    "numpy lstsq": by_lstsq,
    "scikit-learn": by_sklearn,
}
rows = demo_size(full=[1000, 4000, 16_000, 64_000], small=[500, 1000])
columns = demo_size(full=[50, 100, 200, 400, 800, 1600], small=[20, 40])
in_rows = scaling.measure(
    solvers, rows, lambda m: problem(m, 50), budget=5, label="rows m (d = 50)", memory=None, threads=1
)
in_columns = scaling.measure(
    solvers, columns, lambda d: problem(2000, d), budget=8, label="columns d (m = 2000)", threads=1
)
figure, axes = plt.subplots(1, 2, figsize=(12, 4.6))
in_rows.plot(ax=axes[0], peer="numpy lstsq")
in_columns.plot(ax=axes[1], peer="numpy lstsq")
for ax, sizes in zip(axes, (rows, columns), strict=True):
    ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
    ax.set_xticks([], minor=True)  # their labels overlap
plt.show()
mine, normal = in_columns.seconds["descent (yours)"], in_columns.seconds["normal equations"]
last = np.flatnonzero(np.isfinite(mine) & np.isfinite(normal))[-1]
meet = columns[last] * mine[last] / normal[last]
print(f"If descent goes on with slope 1 and the normal equations with slope 2, they meet at d = {meet:,.0f}.")
in_columns.table()

# %% [markdown]
# Read the result for your own machine: which solver wins at the right edge of each panel, by how much, and how much
# memory did it need? Two warnings:
#
# - If other programs used your machine meanwhile, the times and the slopes are off. Then run the cell again.
# - The table counts only the memory that Python and NumPy allocate. It does not see the workspace that LAPACK may
#   allocate inside a solver, so the direct solvers may need more.
#
# Three remarks:
#
# - With few, well scaled columns the normal equations usually win, at any number of rows. $X^\top X$ is a sum over
#   rows, so it adds up over chunks, in one pass.
# - Conjugate gradients win against your descent: they take fewer products, and they need no rate. Descent remains for
#   losses that are not quadratic, and for steps that see only some of the rows (module 02).
# - The normal equations are the first to fail when $\kappa$ grows, because $X^\top X$ has the square of the condition
#   number of $X$. The next figure shows this. Its horizontal axis is the condition number of $X$ itself,
#   $\sqrt\kappa$. The left panel shows the error of the parameters, the right panel the error of the predictions.


# %% tags=["demo"]
def with_condition(condition, m=400, d=20):
    """Noise-free data whose X has exactly this condition number, and the parameters behind them."""
    rng = np.random.default_rng(5)
    left, right = np.linalg.qr(rng.standard_normal((m, d)))[0], np.linalg.qr(rng.standard_normal((d, d)))[0]
    X = math.sqrt(m) * (left * np.geomspace(1, 1 / condition, d)) @ right.T
    theta = rng.standard_normal(d)
    return X, X @ theta, theta


many_steps = demo_size(full=2000, small=200)


def by_many_steps(X, y):
    # The walk needs the gradient only, so that no loss is computed.
    return nesterov(lambda theta: (0.0, mse_gradient(X, y, theta)), np.zeros(X.shape[1]), 0.9, steps=many_steps)[0]


def by_lsqr(X, y):
    return lsqr(X, y, atol=0, btol=0, conlim=0, iter_lim=many_steps)[0]


tried = {
    "normal equations, float32": (by_normal_equations, np.float32),
    "normal equations, float64": (by_normal_equations, np.float64),
    "lstsq, float64": (by_lstsq, np.float64),
    f"LSQR, {many_steps} steps, float64": (by_lsqr, np.float64),
    f"Nesterov, {many_steps} steps, float64": (by_many_steps, np.float64),
}
with device.timer("cpu") as took:
    by_many_steps(*with_condition(3)[:2])
stretches = np.geomspace(3, 1e9, int(np.clip(20 / took.seconds, 6, 18)))  # fewer where your gradient is slow
of_theta, of_prediction = {}, {}
for name, (solve, precision) in tried.items():
    errors = []
    for stretch in stretches:
        X_c, y_c, truth = with_condition(stretch)
        try:
            off = solve(X_c.astype(precision), y_c.astype(precision)) - truth
        except LinAlgError:  # after rounding, X^T X is not positive definite
            off = np.full(len(truth), np.nan)
        errors.append((np.linalg.norm(off) / np.linalg.norm(truth), np.linalg.norm(X_c @ off) / np.linalg.norm(y_c)))
    of_theta[name], of_prediction[name] = ((stretches, column) for column in np.transpose(errors))
figure, axes = plt.subplots(1, 2, figsize=(12, 4.4), sharey=True)
style = {"xlabel": "condition number of X", "logx": True, "logy": True}
plotting.curves(of_theta, ylabel="relative error", title="Error of θ", ax=axes[0], **style)
plotting.curves(of_prediction, title="Error of Xθ", ax=axes[1], **style)
axes[1].get_legend().remove()
plt.show()

# %% [markdown]
# In the left panel, `lstsq` loses one digit for each factor of ten, and the normal equations lose two. Where their
# curve for float32 ends, the factorisation failed. Nesterov's method with a fixed number of steps behaves in another
# way: its parameters become useless, but its predictions remain good. It has found the steep directions, which matter
# for prediction, and it has not yet moved along the flat ones. (This is a form of regularisation, a topic of module
# 04.) LSQR with the same number of steps is nearly as exact as `lstsq`, because it finds the flat directions, too.
#
# ### Precision and bandwidth
#
# A gradient made of two products reads every number of $X$ twice and does two operations with each. So it waits for
# memory, not for arithmetic, and numbers of half the size should take half the time. There is one trap: if `X` is
# float32 and `theta` is float64, `X @ theta` first makes a float64 copy of all of `X`. Keep the types equal.


# %% tags=["demo"]
def fastest(call, repeat=5):
    """Seconds of the fastest of some runs, waiting for the device: a GPU answers before it has finished."""
    taken = []
    with threadpool_limits(1):  # on one core, whatever else the machine does
        call()  # the first call takes longer: it fills the caches
        for _ in range(repeat):
            with device.timer() as took:
                call()
            taken.append(took.seconds)
    return min(taken)


rng, m = np.random.default_rng(0), demo_size(full=100_000, small=5_000)
double = (rng.standard_normal((m, 100)), rng.standard_normal(m), np.ones(100))
single = tuple(array.astype(np.float32) for array in double)
cases = {"both float64": double, "both float32": single, "X float32, theta float64": (*single[:2], double[2])}
exact = mse_gradient(*double)
for name, (X_p, y_p, theta_p) in cases.items():
    seconds = fastest(lambda given=(X_p, y_p, theta_p): mse_gradient(*given))
    error = np.linalg.norm(mse_gradient(X_p, y_p, theta_p) - exact) / np.linalg.norm(exact)
    speed = 2 * X_p.nbytes / seconds / 1e9
    print(f"{name:24s} {seconds * 1e3:7.2f} ms a gradient, {speed:5.1f} GB/s, relative error {error:.0e}")

# %% [markdown]
# The bytes a second count two reads of $X$. They are those of your function: a loop in Python waits for Python and
# not for memory. If other programs use the machine, the times vary, so run the cell twice.
#
# The same two lines in torch run on a GPU, whose memory is ten to a hundred times as fast. But the data must first
# reach the GPU. If they travel there for every step, this transfer takes most of the time. So the cell measures both.

# %% tags=["demo"]
where = device.best()
here = [torch.from_numpy(array) for array in single]
there = device.move(here, where)


def torch_gradient(X, y, theta):
    return X.T @ (X @ theta - y) / len(y)


print(f"torch on {where}: {fastest(lambda: torch_gradient(*there)) * 1e3:.2f} ms a gradient")
if where == "cpu":
    print("No GPU here; with one, this cell uses it.")
else:
    travels = fastest(lambda: torch_gradient(*device.move(here, where)))
    print(f"the same, with X sent there first: {travels * 1e3:.2f} ms")

# %% [markdown]
# ### Larger than memory, and on many workers
#
# Your `chunked_gradient` needs one chunk at a time. In the next cell, the data lie in a file that NumPy maps into
# memory: a slice is read when it is used. Your optimiser does not change. It still calls one function of $\theta$.
#
# The second half of the cell cuts the same rows into partitions, one for each worker, and adds up what the workers send
# back. Here the workers are threads. If they were machines, the same numbers would cross the network: $\theta$ to each
# worker ($d$ numbers), and $d + 2$ numbers back.

# %% tags=["demo"]
file_rows, chunk_rows, columns = demo_size(full=200_000, small=20_000), demo_size(full=16_384, small=4_096), 40
starts = range(0, file_rows, chunk_rows)


def write(path):
    """y in the last column, X in the others; written chunk by chunk, so that nothing holds all rows at once."""
    rng = np.random.default_rng(6)
    truth = rng.standard_normal(columns)
    stored = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(file_rows, columns + 1))
    for first in starts:
        part = stored[first : first + chunk_rows]
        part[:, :-1] = rng.standard_normal((len(part), columns))
        part[:, -1] = part[:, :-1] @ truth + rng.standard_normal(len(part))
    return truth


def chunks_of(stored, first=0, last=file_rows):
    """The rows from first to last - 1, one chunk at a time."""
    for begin in range(first, last, chunk_rows):
        part = stored[begin : min(begin + chunk_rows, last)]
        yield part[:, :-1], part[:, -1]


def descend_on(stored, steps):
    """Your descent on the whole file; the optimiser sees a function and no file."""
    return gradient_descent(
        lambda theta: chunked_gradient(chunks_of(stored), theta), np.zeros(columns, np.float32), 0.9, steps
    )


def from_workers(stored, theta, workers):
    """The gradient from as many partitions: each worker sends its mean, which is weighted by its rows."""
    edges = np.linspace(0, file_rows, workers + 1).astype(int)
    with ThreadPoolExecutor(workers) as pool:
        answers = pool.map(lambda k: chunked_gradient(chunks_of(stored, edges[k], edges[k + 1]), theta), range(workers))
    return sum(rows * gradient for rows, (_, gradient) in zip(np.diff(edges), answers, strict=True)) / file_rows


with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
    truth = write(os.path.join(folder, "rows.npy"))
    stored = np.load(os.path.join(folder, "rows.npy"), mmap_mode="r")
    with device.timer("cpu") as took:
        theta_file, history = descend_on(stored, steps=12)
    read = len(history) * stored.nbytes
    print(f"a file of {stored.nbytes / 1e6:.0f} MB, {chunk_rows * stored[0].nbytes / 1e6:.1f} MB of it at a time")
    print(f"{len(history)} passes, {read / 1e9:.2f} GB in {took.seconds:.1f} s: {read / took.seconds / 1e9:.1f} GB/s")
    print(f"distance from the truth, relative: {np.linalg.norm(theta_file - truth) / np.linalg.norm(truth):.4f}")
    origin = np.zeros(columns, np.float32)
    alone = from_workers(stored, origin, 1)
    for workers in (2, 3, 7, 16):
        apart = np.linalg.norm(from_workers(stored, origin, workers) - alone) / np.linalg.norm(alone)
        print(
            f"{workers:2d} workers, {8 * (columns + 2)} bytes from each: the gradient differs by {apart:.0e}, relative"
        )
    del stored  # a file that is still mapped cannot be deleted everywhere

# %% [markdown]
# **Where it breaks.**
#
# - *Every step reads everything.* A thousand steps over a terabyte read a petabyte. In module 02 a step reads only a
#   few rows, and its gradient is noisy.
# - *A step ends when the slowest worker ends.* One machine at half speed makes every step take twice as long
#   (module 18).
# - *More workers send more messages, and each computes less.* Each of $P$ workers sends $d + 2$ numbers and computes
#   $2md/P$ multiplications. If $d$ is in the billions, the messages take most of the time (module 17).
# - *The sum depends on its order.* Floating-point addition is not associative, so the last digits change with the
#   number of workers, as printed above. Compare runs with a tolerance, not with `==`.

# %% [markdown] written="which_solver" points=2
# ### In words 2 · important · level 2 of 4 · 10 min
#
# Which method would you take for least squares, and why: (a) $10^9$ rows, 50 well-scaled columns, in a file; (b) $10^5$
# rows, $10^6$ columns, sparse; (c) $10^4$ rows, 200 columns, condition number of $X$ about $10^7$, and you publish the
# coefficients themselves? Say for each how often the method reads $X$, and how much memory it takes besides $X$.
#
# ### BEGIN SOLUTION
# (a) Normal equations by chunk: $X^\top X$ and $X^\top y$ add up over chunks, one pass, $50^2$ numbers of memory, and
# well-scaled columns make the squared condition number harmless. Descent would need a pass a step. (b) Conjugate
# gradients (`lsqr`), or Nesterov's method: $X^\top X$ would have $10^{12}$ entries, but a step costs two products with
# the sparse $X$ and $O(m + d)$ memory. They take one pass a step, and about $\sqrt\kappa$ steps. With $d > m$ the
# solution is not unique, and both find from zero the one of least norm. (c) `lstsq` (orthogonal factorisation) in
# float64: the data are small enough for $O(md)$ memory and one pass. The normal equations would work with a condition
# number of $10^{14}$ and keep two digits or none. Descent would need millions of steps for the flat directions.
#
# ### RUBRIC
# - 0.5: (a) Normal equations by chunk: one pass, about $50^2$ numbers of memory.
# - 0.5: (b) Conjugate gradients or a descent method, because $X^\top X$ would have $10^{12}$ entries: a pass a step,
#   $O(m + d)$ memory.
# - 0.5: (c) An orthogonal factorisation (`lstsq`): one pass, $O(md)$ memory.
# - 0.5: The condition number is a reason: it is harmless in (a), and the normal equations of (c) would square it to
#   $10^{14}$.
# ### END SOLUTION

# %% [markdown]
# ## 9. Further
#
# **At work.** Use `numpy.linalg.lstsq` or `sklearn.linear_model.LinearRegression` while $X$ fits into memory,
# `scipy.sparse.linalg.lsqr` or `lsmr` when it is sparse or very large, `dask_ml` or Spark's `LinearRegression` on a
# cluster, and `torch.optim` when the model is not linear.
#
# **Open questions**
#
# 1. When a network is trained at a fixed rate $\eta$, its $\lambda_{\max}$ grows until it stays near $2/\eta$, and the
#    loss continues to fall (Cohen et al., 2021). Section 4 says that the loss must explode. What is different?
# 2. Why does acceleration work? There are proofs, and a differential equation (Su, Boyd, Candès, 2014), but no
#    explanation that everybody accepts as the simple one. Which explanation do you prefer?
# 3. Set Nesterov's $t$ back to 1 whenever the loss rises. Try it on the problem of the left panel of section 6. What do
#    you gain, and what must you know in advance?
# 4. With $d > m$ there are many minima, and descent from zero finds the one of least norm. Why? And which does it find
#    from another start?
# 5. Workers that do not wait for each other use old gradients. How old may the gradients be before section 4 fails?
#
# **References**
#
# - A.-L. Cauchy. Méthode générale pour la résolution des systèmes d'équations simultanées. *Comptes rendus de
#   l'Académie des sciences* 25, 1847. The first gradient descent, for the orbits of planets.
# - M. R. Hestenes, E. Stiefel. Methods of conjugate gradients for solving linear systems. *Journal of Research of the
#   National Bureau of Standards* 49(6), 1952.
# - L. Armijo. Minimization of functions having Lipschitz continuous first partial derivatives. *Pacific Journal of
#   Mathematics* 16, 1966.
# - B. T. Polyak. Some methods of speeding up the convergence of iteration methods. *USSR Computational Mathematics and
#   Mathematical Physics* 4(5), 1964.
# - Yu. Nesterov. A method of solving a convex programming problem with convergence rate $O(1/k^2)$. *Soviet Mathematics
#   Doklady* 27, 1983.
# - C. C. Paige, M. A. Saunders. LSQR: an algorithm for sparse linear equations and sparse least squares. *ACM
#   Transactions on Mathematical Software* 8(1), 1982.
# - A. S. Nemirovski, D. B. Yudin. *Problem Complexity and Method Efficiency in Optimization*. Wiley, 1983. The lower
#   bound of section 6.
# - A. Beck, M. Teboulle. A fast iterative shrinkage-thresholding algorithm for linear inverse problems. *SIAM Journal
#   on Imaging Sciences* 2(1), 2009. The sequence $t_k$ as it is written here.
# - J. Kuczyński, H. Woźniakowski. Estimating the largest eigenvalue by the power and Lanczos algorithms with a random
#   start. *SIAM Journal on Matrix Analysis and Applications* 13(4), 1992. How good the estimate is without any gap.
# - N. J. Higham. *Accuracy and Stability of Numerical Algorithms*, 2nd edition. SIAM, 2002. Chapter 20: least squares.
# - B. Efron, T. Hastie, I. Johnstone, R. Tibshirani. Least angle regression. *Annals of Statistics* 32(2), 2004. The
#   data.
# - C.-T. Chu et al. Map-reduce for machine learning on multicore. *NIPS* 2006. Which algorithms are sums over rows.
# - W. Su, S. Boyd, E. Candès. A differential equation for modeling Nesterov's accelerated gradient method. *NIPS* 2014.
# - Hugging Face. *Fixing gradient accumulation*. Blog, October 2024. The bug of exercise 7 in the wild.
# - J. Cohen, S. Kaur, Y. Li, J. Z. Kolter, A. Talwalkar. Gradient descent on neural networks typically occurs at the
#   edge of stability. *ICLR* 2021.
