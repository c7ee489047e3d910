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
# Most models in this course are trained by one idea: ask the loss which way is down, take a step, ask again.
# This module takes the simplest loss on which everything about that idea can be *proved*, least squares, and follows
# it from a sheet of paper to a data set that no machine can hold.
#
# **When you have finished you can**
#
# - derive the gradient of the squared loss, say where its factor comes from, and show that your code computes it;
# - read the largest safe learning rate off the data, and explain why a slightly larger one explodes;
# - choose a step where nobody knows that rate, and go faster without a faster machine;
# - say what a step costs in rows and columns, when a direct solver beats it, and when nothing else is left;
# - compute the same gradient from pieces that lie in a file or on many machines, and say where that stops working.
#
# **You need** NumPy arrays, matrix times vector, the chain rule, and what an eigenvalue is. **Time**: about three
# hours, half of it in seven exercises. **Skills**: deriving and checking gradients, reasoning about conditioning,
# counting what a computation costs, taking a computation apart so that it can be spread out.
#
# Each exercise cell is followed by hints, folded until you open them, and by a check that tells you at once whether you
# are right.
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
# | $H = X^\top X / m$ | | $(d, d)$ | the curvature of $J$ (its Hessian); we reason with it and avoid ever storing it |
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
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

plotting.use()
checking.start("01_gradient_descent", total=7)

# %% [markdown]
# ## 1. What we minimise
#
# Row $i$ of $X$ describes one example by $d$ numbers, and $y_i$ is what we want to predict from them. A linear model
# predicts $X\theta$, a weighted sum of the columns. (An intercept needs no special treatment: it is the weight of a
# column of ones.) The residual $r = X\theta - y$ holds the $m$ errors, and the loss is half their mean square:
#
# $$J(\theta) = \frac{1}{2m}\,\lVert X\theta - y\rVert^2 = \frac{1}{2m}\sum_{i=1}^{m} r_i^2 .$$
#
# Each part has its reason. The **square** makes $J$ smooth, and it is what maximum likelihood gives when the noise is
# normal. The **$1/m$** makes losses comparable: ten times the data, of the same kind, has about the same loss and
# about the same slope, so that a learning rate tuned on a sample still fits the whole. The **$\tfrac12$** is there for
# the derivative, as you will see in section 2.
#
# As a function of $\theta$, $J$ is a bowl. Its gradient stands at right angles to the level lines. Look at what
# follows from that in a round bowl and in a stretched one.

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
# In the round bowl every arrow points at the minimum. In the stretched bowl nearly all of them point across the
# valley instead of along it. Everything that is hard about gradient descent is in the right-hand picture, and
# $\kappa$ measures it.
#
# ### Exercise 1 · `mse_loss` (1 point, 5 minutes)
#
# One trap deserves a guard. Data often arrive with `y` as a column of shape `(m, 1)`. NumPy then subtracts a `(m, 1)`
# array from a `(m,)` array without complaint, and the result has shape `(m, m)`: every prediction against every
# target. Nothing fails, the loss goes down, and the model learns to predict the mean. So refuse such a `y`.


# %% exercise="mse_loss" points=1 minutes=5
def mse_loss(X: np.ndarray, y: np.ndarray, theta: np.ndarray) -> float:
    """The loss J(theta) = 1/(2m) * ||X theta - y||^2: half the mean squared residual.

    X: (m, d) floats or integers.
    y: (m,) floats or integers.
    theta: (d,) floats.

    Returns one number, a Python float or a NumPy scalar.
    Raises ValueError if X has no rows (a mean over nothing), or if y has any shape but (m,). X and
    theta have the shapes above: they need no check. Leaves its arguments as they are.
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
# For a one-dimensional array `r`, both `np.sum(r**2)` and `r @ r` are the sum of its squares.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# Compare `np.shape(y)` with `(len(X),)` and raise `ValueError` if they differ; raise it too if `len(X)` is 0. Then
# return `r @ r / (2 * len(X))`.
#
# </details>

# %% check="mse_loss"
# Three points, and the line 0 + 1*x. It predicts 0, 1, 2; the residuals are -1, -2, 0; so J = (1 + 4 + 0) / (2 * 3).
X_hand = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
y_hand = np.array([1.0, 3.0, 2.0])
theta_hand = np.array([0.0, 1.0])

with check("mse_loss"):
    expect_close(
        mse_loss(X_hand, y_hand, theta_hand),
        5 / 6,
        rtol=1e-12,
        hint="by hand: (1 + 4 + 0) / (2 * 3)",
        mistakes={
            "This is 1/m times the sum of squares; the loss of this module is 1/(2m) times it.": 5 / 3,
            "This is half the sum of squares; it is not yet divided by m.": 5 / 2,
            "This is the sum of squares; it is not yet divided by 2m.": 5.0,
            "You divided by the number of columns; the mean is over the rows.": 5 / 4,
            "This adds up the residuals without their sign; square them.": 1 / 2,
        },
    )
    expect_close(mse_loss(X_hand, X_hand @ theta_hand, theta_hand), 0.0, atol=1e-15, hint="a perfect fit has loss 0")
    with expect_unchanged(X=X_hand, y=y_hand, theta=theta_hand):
        mse_loss(X_hand, y_hand, theta_hand)
    with expect_raises(ValueError, hint="y of shape (3, 1) would be broadcast to (3, 3): refuse it"):
        mse_loss(X_hand, y_hand.reshape(3, 1), theta_hand)
    with expect_raises(ValueError, hint="X of shape (0, 2) has no rows to take a mean over"):
        mse_loss(X_hand[:0], y_hand[:0], theta_hand)

# %% [markdown]
# ## 2. The gradient, and where the 2 goes
#
# Take one parameter $\theta_j$ and move it a little. Residual $i$ is $r_i = \sum_j X_{ij}\theta_j - y_i$, so it moves
# at the rate $\partial r_i / \partial\theta_j = X_{ij}$. The chain rule does the rest:
#
# $$\frac{\partial J}{\partial\theta_j}
#   = \frac{1}{2m}\sum_{i=1}^{m} 2\,r_i\,\frac{\partial r_i}{\partial\theta_j}
#   = \frac{1}{m}\sum_{i=1}^{m} X_{ij}\,r_i .$$
#
# The sum runs over rows, $i$ is the first index of $X$ and the only index of $r$: it is entry $j$ of $X^\top r$.
# All $d$ entries at once, with the shapes written below:
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
# The 2 comes down from the square, and the $\tfrac12$ is there to meet it. All three have the same minimum and the
# same direction downhill. They differ in length, so a learning rate that is right for one is off by the factor for
# another. No line of the table is wrong; the loss of one line with the gradient of another is.
#
# What does it cost? $X\theta$ takes $md$ multiplications, $X^\top r$ another $md$. Written as
# $\frac1m(X^\top X\theta - X^\top y)$ it is the same vector, but $X^\top X$ takes $md^2$ multiplications and $d^2$
# numbers of memory. **The order of the products is the difference between a laptop and a cluster.**
#
# ### Exercise 2 · `mse_gradient` (2 points, 10 minutes)


# %% exercise="mse_gradient" points=2 minutes=10
def mse_gradient(X: np.ndarray, y: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """The gradient of J(theta) = 1/(2m) * ||X theta - y||^2 with respect to theta.

    X: (m, d) floats or integers, m >= 1 and d >= 1; may be a view, not contiguous, or read-only.
    y: (m,) floats or integers.
    theta: (d,) floats.

    Returns a new array of shape (d,), float64; where X, y and theta are all float32 it may be
    float32. Takes O(m d) time and, for X and theta of one dtype, O(m + d) memory besides its
    arguments (NumPy copies an X of another dtype): d may be so large that no array of shape (d, d)
    fits.
    Leaves its arguments as they are. They are valid: nothing needs to be checked here.
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
# The sum runs over the rows, so it is divided by the number of rows. The 2 of the square has met the ½ of the loss.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `residual = X @ theta - y`, then `X.T @ residual`, then divide by `len(X)`. Do not write `X.T @ X`.
#
# </details>

# %% check="mse_gradient"
# The same three points: the residuals are -1, -2, 0. Times the column of ones: -1 - 2 + 0 = -3. Times the column x:
# 0 - 2 + 0 = -2. Both over m = 3.
with check("mse_gradient"):
    with expect_unchanged(X=X_hand, y=y_hand, theta=theta_hand):
        got = mse_gradient(X_hand, y_hand, theta_hand)
    expect_shape(got, (2,), hint="one entry for each column of X")
    expect_close(
        got,
        [-1, -2 / 3],
        rtol=1e-12,
        hint="by hand: X.T @ (-1, -2, 0) / 3",
        mistakes={
            "The sign is turned round: the gradient points uphill, so the residual is X theta - y.": [1, 2 / 3],
            "This is the gradient of 1/m * ||r||^2: the 2 of the square meets the 1/2 of our loss.": [-2, -4 / 3],
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
# That last check is worth a closer look, for it is how you will test every gradient that you ever write. A difference
# quotient $\bigl(J(\theta + h u) - J(\theta)\bigr)/h$ approximates the slope along $u$. Its error has two parts that
# pull in opposite directions: the bend of the curve, which grows like $h$, and rounding, which grows like
# $\varepsilon/h$, where $\varepsilon$ is the precision of the numbers. The central quotient
# $\bigl(J(\theta + h u) - J(\theta - h u)\bigr)/(2h)$ cancels the bend; on a parabola it cancels it completely.
# Here are both, measured against your gradient.

# %% tags=["demo"]
line = datasets.linear(200, 5, seed=1)
u = np.ones(5) / math.sqrt(5)
slope = float(mse_gradient(line.X, line.y, np.zeros(5)) @ u)
widths = np.logspace(-14, 0, 57)


def along(t, precision):
    """The loss at t steps along u, all numbers in the given precision."""
    return float(mse_loss(line.X.astype(precision), line.y.astype(precision), (t * u).astype(precision)))


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
# Two habits follow. Use the central quotient. And do not take $h$ as small as you can: take it near
# $\sqrt{\varepsilon}$ for the forward quotient, and larger for the central one. Whoever checks gradients with
# $h = 10^{-12}$ measures rounding.
#
# ## 3. Going down
#
# Start at $\theta_0$ and repeat
#
# $$\theta_{k+1} = \theta_k - \eta\,\nabla J(\theta_k).$$
#
# When to stop? At a minimum the gradient is zero, so a small gradient is the natural sign: stop when
# $\lVert\nabla J(\theta_k)\rVert_2 \le$ `tol`. (Many tutorials stop when the loss changes little from one step to the
# next. With a small learning rate it always does, wherever you are.)
#
# An optimiser should know nothing about the data. From here on it is given one function, `grad`, which takes
# $\theta$ and returns **two** things, the loss and the gradient. They share the residual, so together they cost hardly
# more than one alone; when the data lie on a disk, that halves the reading.
#
# ### Exercise 3 · `gradient_descent` (2 points, 15 minutes)


# %% exercise="gradient_descent" points=2 minutes=15
def gradient_descent(
    grad: Callable[[np.ndarray], tuple[float, np.ndarray]],
    theta0: np.ndarray,
    lr: float,
    steps: int = 100,
    tol: float = 0.0,
) -> tuple[np.ndarray, list[float]]:
    """Walk downhill from theta0: theta_{k+1} = theta_k - lr * gradient(theta_k).

    grad: called as grad(theta) with theta of shape (d,); returns the pair (loss, gradient), a float
      and an array (d,) of its own. It does not keep theta, which may be updated in place between
      two calls.
    theta0: (d,) floats or integers, the start; neither it nor what grad returns may be modified.
    lr: the learning rate, > 0.
    steps: the largest number of updates, >= 0.
    tol: stop at the first theta_k, k = 0 included, whose gradient has a Euclidean norm <= tol; do
      not update there.

    Returns (theta, history).
      theta: (d,) new array, the last point at which grad was called: theta_steps unless tol ended
        the walk before. It is float64; but where theta0 and the gradients are float32 and lr is a
        Python float, theta is float32 at every step.
      history: list or 1-D array of the losses at theta_0, theta_1, ..., theta: one more than there
        were updates, so steps + 1 of them unless tol ended the walk. grad is called exactly once
        for each.
    A walk that diverges is no error: its history grows, and may end in inf or nan.
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
# With `steps` updates you stand at `steps + 1` points, and each needs its loss. So call `grad` once before the loop, at
# $\theta_0$, and once in every round, after the update.
#
# </details>
# <details><summary>Hint 2: an assignment is not a copy</summary>
#
# After `theta = theta0` both names mean one array, and `theta -= ...` changes the caller's. `theta = theta - ...`
# makes a new array. Integers need a conversion to floats first.
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
with check("gradient_descent"):

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
        mistakes={"You went uphill: the step is minus lr times the gradient.": [27.0], "One update too few.": [2.0]},
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
    expect_close(theta, [1.5], hint="theta0 may be integers; the answer is not")
    theta, _ = gradient_descent(half_square, np.array([3.0], np.float32), lr=0.5, steps=1)
    expect_dtype(theta, np.float32, hint="a float32 start stays float32")

# %% [markdown]
# Now watch your function walk. The data have two columns and a condition number of 15; the three learning rates are
# given as multiples of $1/\lambda_{\max}$.

# %% tags=["demo"]
valley = datasets.linear(300, 2, condition=15.0, seed=3)


def squared_loss(X, y):
    """The function that an optimiser needs: theta -> (loss, gradient), from your own two functions."""
    return lambda theta: (mse_loss(X, y, theta), mse_gradient(X, y, theta))


def recorded(grad, points):
    """The same function, which also notes where it was asked."""

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
# Begin as far out along the flat direction as along the steep one, so that both are seen.
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
axes[1].set_title("A straight line here is a constant factor a step")
plt.show()

# %% [markdown]
# Too small a rate crawls. Near $2/\lambda_{\max}$ the walk bounces from wall to wall, and a hair beyond it the loss
# grows without end. And even a good rate runs quickly down the wall and then slowly along the floor. All of this has
# one cause, and the cause fits on half a page.
#
# ## 4. Why it explodes, and when
#
# Let $\theta_*$ be the minimum, where $\nabla J = 0$. Since $\nabla J(\theta) = H\theta - X^\top y/m$ with
# $H = X^\top X/m$, subtracting the same expression at $\theta_*$ leaves $\nabla J(\theta) = H(\theta - \theta_*)$.
# Put this into the update and look at the error $e_k = \theta_k - \theta_*$, a vector of shape $(d,)$:
#
# $$e_{k+1} = e_k - \eta H e_k = (I - \eta H)\,e_k .$$
#
# $H$ is symmetric, so it has $d$ orthonormal eigenvectors $u_i$ with eigenvalues $\lambda_i \ge 0$. Write $e_k$ in
# them. Each component then goes its own way, without any regard to the others:
#
# $$\langle u_i, e_{k}\rangle = (1 - \eta\lambda_i)^k\,\langle u_i, e_0\rangle .$$
#
# - It shrinks if and only if $|1 - \eta\lambda_i| < 1$. The steepest direction is the first to break this, so the walk
#   converges (along every direction that has any slope) **if and only if $0 < \eta < 2/\lambda_{\max}$**.
# - The flattest direction is the floor of the valley. With $\eta = 1/\lambda_{\max}$ its factor is $1 - 1/\kappa$:
#   about $\kappa$ steps to shrink the error by $e \approx 2.718$. No rate does much better: the best one,
#   $2/(\lambda_{\max}+\lambda_{\min})$, gives $(\kappa-1)/(\kappa+1)$.
#
# So one number of the data, $\lambda_{\max}$, tells the largest safe learning rate. A full eigendecomposition would
# find it in $O(md^2 + d^3)$. **Power iteration** finds it with products of $X$ and a vector, which is all that we can
# afford when $d$ is large. Take a random $v$ and multiply it by $H$ again and again. Every component grows by its own
# $\lambda_i$, so the one of $\lambda_{\max}$ outgrows the rest, and $v$ turns into its eigenvector. Then the Rayleigh
# quotient $v^\top H v / v^\top v$ is $\lambda_{\max}$. Three things to mind:
#
# - $Hv = X^\top(Xv)/m$: two products of a matrix and a vector. The brackets are the whole trick.
# - Without scaling $v$ back to length 1 in every round, $\lambda_{\max}^k$ leaves the range of floating point.
# - A start at right angles to the eigenvector never finds it. A fixed start, such as all ones, meets data for which
#   this happens (rows that sum to zero do it); for a random one the probability of it is zero.
#
# The quotient approaches $\lambda_{\max}$ **from below**. So the estimate of $2/\lambda_{\max}$ is never too small, and
# in practice you take a little less of it, say nine tenths.
#
# ### Exercise 4 · `largest_stable_lr` (3 points, 20 minutes)


# %% exercise="largest_stable_lr" points=3 minutes=20 forbids=["np.linalg.eigh", "np.linalg.eigvalsh", "np.linalg.svd"]
def largest_stable_lr(X: np.ndarray, steps: int = 100, seed: int = 0) -> float:
    """The rate 2 / lambda_max(X^T X / m), below which descent on the squared loss converges.

    X: (m, d) floats or integers, m >= 1 and d >= 1.
    steps: the number of rounds of power iteration, >= 1. A round is two products, one of X and one
      of its transpose, with a vector.
    seed: the start is random, with normal entries from np.random.default_rng(seed): the same seed,
      the same answer.

    Returns a float, 2 over the estimate of lambda_max after those rounds. The estimate is the norm
    of X^T X v / m or the Rayleigh quotient of v, for the unit vector v with which the last round
    began or the one with which it ended (one more round of products is fine): all of them come from
    below, and the tests take any. Returns infinity if X is all zeros: every rate is then stable.
    Takes O(m d) time a round and O(m + d) memory besides X and, if X is not float64, a copy of it:
    neither X^T X nor X X^T may be formed, since m or d may be so large that they do not fit.
    np.linalg.eigh, np.linalg.eigvalsh and np.linalg.svd may not be used.
    X needs no scaling: in float64 its entries are 0 or have absolute values from 1e-60 to 1e60, and
    their fourth powers, which is what you meet, neither overflow nor vanish. Leaves X as it is.
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
# result. Nothing of shape `(d, d)` appears.
#
# </details>
# <details><summary>Hint 2: the estimate comes for free</summary>
#
# If `v` has length 1 and is the eigenvector, then `X.T @ (X @ v) / m` is `lambda_max * v`, whose length is
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
with check("largest_stable_lr", forbids=["np.linalg.eigh", "np.linalg.eigvalsh", "np.linalg.svd"]):
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
            "H = X.T X / m: you have not divided by m = 3.": 1 / 18,
            "This is lambda_max itself; the limit is 2 over it.": 12.0,
            "This is 2 over the largest singular value of X; H holds its square, over m.": 1 / 3,
        },
    )
    # X^T X / m = [[1, -1], [-1, 1]] has the eigenvalues 2 and 0; a start of all ones lies in the flat direction.
    expect_close(largest_stable_lr(np.array([[1.0, -1.0], [1.0, -1.0]])), 1.0, rtol=1e-9, hint="lambda_max is 2 here")
    expect_close(
        largest_stable_lr(np.array([[2.0]]), steps=1), 0.5, rtol=1e-9, hint="one row, one column: lambda_max = 4"
    )
    assert largest_stable_lr(np.zeros((3, 2))) == math.inf, (
        "X is all zeros: there is no slope, and every rate is stable"
    )

# %% [markdown]
# Left: how fast your estimate closes in. The error after $k$ rounds falls like $(\lambda_2/\lambda_{\max})^{2k}$, where
# $\lambda_2$ is the second largest eigenvalue. If the two are close this is slow, but then either will do: the
# quotient is about right long before $v$ is. Right: the prediction of this section, put to the test. Each dot is a
# whole walk of 300 steps with your `gradient_descent`; the horizontal axis is its rate, in units of your
# `largest_stable_lr`.

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
axes[0].set_title("The estimate closes in from below")
axes[1].semilogy(rates, np.maximum(ends, 1e-16), "o", markersize=4)
axes[1].axvline(1.0, color="#D55E00", linestyle="--", label="your largest_stable_lr")
axes[1].axhline(1.0, color="grey", linestyle="-", linewidth=0.8)
axes[1].set(
    xlabel="learning rate / limit", ylabel="excess loss, end over start", title="Here it converges, there it explodes"
)
axes[1].legend()
plt.show()

# %% [markdown]
# ## 5. A step without knowing the curvature
#
# For most losses there is no $\lambda_{\max}$ to compute: the curvature changes from place to place. But a step can be
# *tried*. To first order, a step of $\eta$ along $-g$, with $g = \nabla J(\theta)$, lowers the loss by
# $\eta\lVert g\rVert^2$. Ask for a modest fraction $c$ of this, **Armijo's condition**:
#
# $$J(\theta - \eta\,g) \;\le\; J(\theta) - c\,\eta\,\lVert g\rVert_2^2 .$$
#
# Begin with an optimistic $\eta$; while the condition fails, multiply $\eta$ by `shrink`. It must hold in the end:
# where the curvature is at most $L$, Taylor's formula gives $J(\theta - \eta g) \le J(\theta) - \eta\,(1 - \eta
# L/2)\,\lVert g\rVert^2$, and so every $\eta \le 2(1-c)/L$ is accepted. Hence the search accepts the first step that it
# tries, or returns more than `shrink` times $2(1-c)/L$, without ever knowing $L$.
#
# Why not accept any step that does not raise the loss ($c = 0$)? Take $J = \theta^2/2$ and $\eta = 2$: the step leads
# from $\theta$ to $-\theta$, where the loss is the same, and the next one leads back, for ever.
#
# A trial costs one evaluation of the loss, which may be a pass over all data. So $J(\theta)$ is computed once, not in
# every round.
#
# ### Exercise 5 · `backtracking_line_search` (2 points, 15 minutes)


# %% exercise="backtracking_line_search" points=2 minutes=15
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

    loss: called as loss(theta) with an array (d,); returns a float, which may be nan or inf at a
      trial point: the condition then does not hold (nan is not <= anything).
    theta: (d,) floats, where we stand; loss(theta) is finite.
    gradient: (d,) floats, the gradient there. If it is zero, the first step is accepted like any
      other.
    lr: the first step to try, > 0.
    shrink, c: both between 0 and 1.
    max_trials: the largest number of steps to try, >= 1.

    Returns the step, a float; 0.0 if none of max_trials steps is accepted.
    Calls loss once at theta and once for each step tried, and never again. Leaves theta and
    gradient as they are.
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
# Only the step does. `loss(theta)` and the squared norm of the gradient can be computed before the loop.
#
# </details>
# <details><summary>Hint 2: nan</summary>
#
# Ask whether the condition *holds* (`<=`), not whether it is broken (`>`): every comparison with `nan` is false, so
# asking whether it is broken would accept a `nan`.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `for _ in range(max_trials)`: if `loss(theta - step * gradient) <= here - c * step * squared_norm`, return
# `step`; otherwise multiply it by `shrink`. After the loop return `0.0`.
#
# </details>

# %% check="backtracking_line_search"
with check("backtracking_line_search"):
    # J = 2 theta^2 at theta = 1: J = 2, gradient 4. A step of 1 lands on -3 (J = 18), 1/2 on -1 (J = 2, no decrease
    # at all), 1/4 on 0 (J = 0): accepted.
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
        mistakes={"This step leaves the loss where it was: ask for a decrease of c * step * ||gradient||^2.": 0.5},
    )
    assert len(asked) == 4, (
        f"loss was called {len(asked)} times; once at theta and once for each of three trials makes 4"
    )
    step = backtracking_line_search(steep, stand, slope, c=0.6)
    expect_close(step, 0.125, rtol=1e-12, hint="c = 0.6 accepts steps up to 2 * (1 - 0.6) / 4 = 0.2, so 1/8")
    step = backtracking_line_search(steep, stand, slope, shrink=0.1)
    expect_close(step, 0.1, rtol=1e-12, hint="with shrink = 0.1 the second step is 1/10, which lands on 0.6 (J = 0.72)")
    step = backtracking_line_search(steep, stand, -slope, max_trials=5)
    expect_close(step, 0.0, hint="uphill no step is accepted: after max_trials return 0.0")
    step = backtracking_line_search(
        lambda theta: -math.log(theta[0]) if theta[0] > 0 else math.nan, stand, np.array([2.0])
    )
    assert step == 0.0, (
        "this 'gradient' points uphill, and trials beyond 0 are nan: no step is accepted, and nan least of all"
    )

# %% [markdown]
# A bent valley, $f(a, b) = (1 - a)^2 + 10\,(b - a^2)^2$, with its minimum at $(1, 1)$. A fixed rate must be small
# enough for the steepest place on the way. Your line search finds at every place the step that this place allows.


# %% tags=["demo"]
def bent_loss(p):
    return (1 - p[0]) ** 2 + 10 * (p[1] - p[0] ** 2) ** 2


def bent_gradient(p):
    return np.array([-2 * (1 - p[0]) - 40 * p[0] * (p[1] - p[0] ** 2), 20 * (p[1] - p[0] ** 2)])


bent_start, bent_steps = np.array([-1.4, 1.8]), 300
searched, chosen = [bent_start], []
for _ in range(bent_steps):
    g = bent_gradient(searched[-1])
    chosen.append(backtracking_line_search(bent_loss, searched[-1], g))
    searched.append(searched[-1] - chosen[-1] * g)
# The largest fixed rate of a fine grid with which the same number of steps does not explode.
for fixed_rate in np.arange(0.05, 0, -0.001):
    with np.errstate(over="ignore", invalid="ignore"):
        fixed, fixed_losses = trail(
            gradient_descent, lambda p: (bent_loss(p), bent_gradient(p)), bent_start, float(fixed_rate), bent_steps
        )
    if np.max(fixed_losses) <= fixed_losses[0]:
        break

figure, axes = plt.subplots(1, 2, figsize=(11, 4.2))
name = f"fixed rate {fixed_rate:.3f}"
plotting.contours(
    lambda p: np.log(bent_loss(p) + 0.01),
    (-2, 2),
    (-1, 3),
    paths={"line search, every step": np.array(searched), f"{name}, every 10th step": fixed[::10]},
    minimum=(1, 1),
    xlabel="a",
    ylabel="b",
    title="A bent valley",
    ax=axes[0],
)
searched_losses = [bent_loss(p) for p in searched]
plotting.curves(
    {"line search": searched_losses, name: fixed_losses}, xlabel="step k", ylabel="loss", logy=True, ax=axes[1]
)
plt.show()
print(f"steps chosen by the line search: from {min(chosen):.4f} to {max(chosen):.4f}")

# %% [markdown]
# ## 6. Faster than downhill
#
# About $\kappa$ steps, whatever the rate: can one do better with gradients alone? Along the floor of the valley, plain
# descent takes the same small step over and over, as if it had no memory. Give it some. **Nesterov's method** first
# moves on in the direction of its last step, and takes the gradient *there*, at the look-ahead point $v$:
#
# $$\theta_{k+1} = v_k - \eta\,\nabla J(v_k), \qquad
#   v_{k+1} = \theta_{k+1} + \frac{t_k - 1}{t_{k+1}}\,(\theta_{k+1} - \theta_k), \qquad
#   t_{k+1} = \frac{1 + \sqrt{1 + 4t_k^2}}{2},$$
#
# from $v_0 = \theta_0$ and $t_0 = 1$. The weight $(t_k - 1)/t_{k+1}$ is 0 in the first round and grows towards 1: the
# longer the walk, the more it trusts its direction. With $\eta = 1/\lambda_{\max}$, Nesterov (1983) proved for every
# convex smooth loss
#
# $$J(\theta_k) - J(\theta_*) \le \frac{2\,\lVert\theta_0 - \theta_*\rVert^2}{\eta\,(k+1)^2},
#   \qquad\text{where plain descent has only}\qquad \frac{\lVert\theta_0 - \theta_*\rVert^2}{2\,\eta\,k},$$
#
# and that no method which sees gradients only can beat the power of $k$. On a bowl of condition $\kappa$ it takes of
# the order of $\sqrt\kappa$ steps instead of $\kappa$. For $\kappa = 10^4$ that is a minute instead of an hour and
# forty minutes.
#
# The price is that the loss may rise now and then: momentum overshoots. And some texts take the gradient at $\theta_k$
# and call the result Nesterov's; that is Polyak's heavy ball (1964), for which this bound does not hold.
#
# ### Exercise 6 · `nesterov` (3 points, 20 minutes)


# %% exercise="nesterov" points=3 minutes=20
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

    grad: called as grad(v) with v of shape (d,); returns the pair (loss, gradient), a float and an
      array (d,) of its own. It does not keep v, which may be updated in place between two calls.
    theta0: (d,) floats or integers, the start; neither it nor what grad returns may be modified.
    lr: the learning rate, > 0.
    steps: the largest number of updates (rounds of the three lines above), >= 0.
    tol: stop at the first v_k, k = 0 included, whose gradient has a Euclidean norm <= tol; do not
      update there.

    Returns (v, history), about the look-ahead points, since they are where the loss is known.
      v: (d,) new array of floats (float64 will do for a float32 start, too), the last point at
        which grad was called: v_steps unless tol ended the walk before.
      history: list or 1-D array of the losses at v_0, v_1, ..., v: one more than there were
        updates. grad is called exactly once for each.
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
# around them is that of `gradient_descent`, with `v` where `theta` was.
#
# </details>
# <details><summary>Hint 2: the order within a round</summary>
#
# New theta from the old `v`; new `t` from the old `t`; new `v` from both thetas and both `t`s; only then does the new
# theta replace the old.
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
with check("nesterov"):
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
            "This is theta_2 (plain descent is there, too); v_2, where grad was called last, looks ahead.": [2.0],
            "Use t_k - 1 over t_{k+1}, the new t below.": [2 - 2 * (golden - 1) / golden],
        },
    )
    expect_close(history, [32.0, 8.0, second_v**2 / 2], rtol=1e-12, hint="the losses at v_0 = 8, v_1 = 4 and v_2")
    v, history = nesterov(half_square, start, lr=0.5, steps=50, tol=4.0)
    expect_close(v, [4.0], rtol=1e-12, hint="at v_1 = 4 the gradient's norm is 4 <= tol: stop there")
    expect_close(history, [32.0, 8.0], rtol=1e-12, hint="one loss for each of v_0 and v_1")
    v, history = nesterov(half_square, np.array([3]), lr=0.5, steps=1)
    expect_close(v, [1.5], rtol=1e-12, hint="the first round is a plain gradient step, for integers too")

# %% [markdown]
# Left: both methods on one badly conditioned problem, with the same rate and the same number of gradients. Right: the
# number of gradients that each needs to bring the excess loss down to a hundredth, as the bowl is stretched. The slopes
# in the legend are fitted to your runs; the theory says 1 and ½.


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

# %% [markdown]
# ### Real data: diabetes
#
# The data of Efron, Hastie, Johnstone and Tibshirani (2004) describe each of 442 patients by ten measurements (age,
# body mass index, blood pressure, six blood values ...); $y$ tells how far the disease has come a year later. The
# columns have units as different as years and milligrams per decilitre. Below, the same data once as they are and once
# *standardised*: each column minus its mean, over its standard deviation. Both have a column of ones.

# %% tags=["demo"]
raw, progress = load_diabetes(return_X_y=True, scaled=False)
standard = (raw - raw.mean(axis=0)) / raw.std(axis=0)
walks, walk_steps = {}, demo_size(full=3000, small=300)
for name, columns in {"as measured": raw, "standardised": standard}.items():
    X_d = np.column_stack([np.ones(len(columns)), columns])
    limit = float(largest_stable_lr(X_d))
    bottom = mse_loss(X_d, progress, np.linalg.lstsq(X_d, progress, rcond=None)[0])
    for method, walk in walkers.items():
        theta_d, history = walk(squared_loss(X_d, progress), np.zeros(11), limit / 2, walk_steps)
        walks[f"{name}, {method}"] = np.array(history) - bottom
    print(f"{name:12s}: κ = {np.linalg.cond(X_d) ** 2:8.2g}, largest stable rate {limit:.2g}")
ax = plotting.curves(walks, xlabel="step k", ylabel="J − min J", title="Units decide the speed", logx=True, logy=True)
ax.set_ylim(1e-6, None)
plt.show()
peer = LinearRegression().fit(standard, progress)
apart = np.abs(theta_d[1:] - peer.coef_).max() / np.abs(peer.coef_).max()
print(f"standardised, {walk_steps} steps of Nesterov: within {apart:.0e} of scikit-learn's coefficients, relative")

# %% [markdown]
# The model is the same in both: the columns span the same space, and so the best predictions and the lowest loss
# agree. What differs is the path. As measured, neither method comes near the bottom in thousands of steps. A change of
# units, one pass over the data, does more than any optimiser: that is why module 00 is about standardising.

# %% [markdown] written="why_units" points=2
# ### In words 1
#
# One column of $X$, until now in metres, is recorded in millimetres from today on: its numbers are 1000 times as
# large. Nothing else changes. For each of these, say whether it changes and how: the lowest loss, the best
# predictions, that column's entry of $\theta_*$, $\lambda_{\max}$ (if that column dominates it), the largest stable
# learning rate, the number of steps of `gradient_descent` at half that rate. What would you do about it, and what does
# that cost if $X$ has a billion rows?
#
# ### BEGIN SOLUTION
# The lowest loss and the best predictions stay the same, because the columns span the same space. The entry of
# $\theta_*$ becomes a thousandth. Once the column dominates, $\lambda_{\max}$ is about the mean of its squares, which
# grows by $10^6$; the largest stable rate $2/\lambda_{\max}$ shrinks by $10^6$. The other directions keep their
# curvature, so $\kappa$ grows by up to $10^6$, and with it the number of plain steps (by up to $10^3$ with Nesterov).
# Remedy: standardise each column (or scale it by a power of ten). Mean and variance of all columns take one pass,
# which can be done by pieces and merged, and the scaling can be applied while a chunk is read, or be absorbed in a
# rate for each column, so that nothing is written back.
# ### END SOLUTION

# %% [markdown]
# ## 7. A sum can be taken in pieces
#
# Now the data no longer fit into memory. Look at the gradient again:
#
# $$\nabla J(\theta) = \frac1m \sum_{i=1}^m x_i\,(x_i^\top\theta - y_i),$$
#
# where $x_i$, of shape $(d,)$, is row $i$ of $X$. It is a sum over rows, and a sum does not care how it is bracketed.
# So cut the rows into chunks, which lie one after the other in a file, or side by side on many machines. Let each chunk
# contribute its part, and put the parts together at the end.
#
# ### Exercise 7 · Find the bug in `chunked_gradient` (2 points, 10 minutes)
#
# The function below was written to do this. Its author tested it with 10 chunks of 1000 rows, where it agrees with
# `mse_gradient`, and moved on. It is wrong. The same mistake, in another dress, sat for years in the gradient
# accumulation of libraries that language models are trained with, until it was noticed in 2024.
#
# Find it, say to yourself in one sentence what it computes instead, and repair it.


# %% exercise="chunked_gradient" points=2 minutes=10 bug=true
def chunked_gradient(
    chunks: Iterable[tuple[np.ndarray, np.ndarray]],
    theta: np.ndarray,
) -> tuple[float, np.ndarray]:
    """The loss J(theta) and its gradient for data that come in chunks, one at a time.

    chunks: any iterable of pairs (X_c, y_c) of shapes (m_c, d) and (m_c,), m_c >= 0, floats or
      integers. All rows together are the data, m = sum of the m_c. The chunks may differ in size,
      and some may be empty. It may be a generator: it can be gone through once, and only one chunk
      at a time need fit into memory.
    theta: (d,) floats.

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
# Three rows, cut into a chunk of two and a chunk of one. How much does each row count in the end, and how much should
# it?
#
# </details>
# <details><summary>Hint 2: what adds up</summary>
#
# Means of chunks do not add up to the mean of the whole, unless all chunks have the same size. Sums do. What else must
# you add up, in order to divide at the end?
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# In the loop add the sums (nothing divided) and the number of rows. After the loop divide by the number of *rows*,
# not of chunks: `2 * m` for the loss, `m` for the gradient.
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
            "This is the mean of the chunks' means: the single row of the last chunk counts double.": [-3 / 4, -1 / 2],
            "This is a sum over all rows; divide by their number.": [-3, -2],
        },
    )
    expect_close(
        loss,
        5 / 6,
        rtol=1e-12,
        hint="the loss of the whole, as in section 1",
        mistakes={"This is the mean of the chunks' means: the gradient is repaired, the loss not yet.": 5 / 8},
    )
    once = ((X_c, y_c) for X_c, y_c in [(X_hand[:0], y_hand[:0]), *pieces])
    expect_close(chunked_gradient(once, theta_hand)[1], [-1, -2 / 3], rtol=1e-12, hint="an empty chunk changes nothing")
    with expect_raises(ValueError, hint="no row at all: there is no mean"):
        chunked_gradient([], theta_hand)

# %% [markdown]
# So a chunk has to say three things: its sum of squared residuals, its sum of $x_i r_i$, and its number of rows. These
# are $d + 2$ numbers, however long the chunk is; they add up in any order, and the division waits until all have come.
# This is all there is to distributed gradient descent (Chu et al., 2006), and it is the shape of every large-scale
# method in this course: **small summaries that add up**.
#
# What would the bug have cost? Below, rows are sorted (as files often are: by date, by customer), cut into equal chunks
# and a short last one. The mean of means gives the last few rows the weight of a whole chunk; the fit is drawn to them.
# The loss curve of such a run looks perfect. Nothing but a comparison with the whole shows it.

# %% tags=["demo"]
rng = np.random.default_rng(4)
x_sorted = np.sort(rng.uniform(0, 3, 405))
y_sorted = np.sin(x_sorted) + 0.1 * rng.standard_normal(405)
X_sorted = np.column_stack([np.ones(405), x_sorted])
cuts = [(X_sorted[i : i + 100], y_sorted[i : i + 100]) for i in range(0, 405, 100)]


def mean_of_means(theta):
    parts = [chunked_gradient([cut], theta) for cut in cuts]
    return np.mean([loss for loss, _ in parts]), np.mean([gradient for _, gradient in parts], axis=0)


rate = 0.3 * largest_stable_lr(X_sorted)  # less than usual: the wrong weights make a steeper bowl
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
# Least squares has direct solvers, so descent must earn its place. With $s$ for the number of steps:
#
# | method | time | memory besides $X$ | passes over $X$ |
# | --- | --- | --- | --- |
# | gradient descent, $s$ steps | $O(s\,md)$ | $O(m + d)$, or one chunk | $s$ |
# | normal equations $X^\top X\,\theta = X^\top y$ | $O(md^2 + d^3)$ | $O(d^2)$ | 1 |
# | `numpy.linalg.lstsq` (SVD), scikit-learn | $O(md^2)$, with a larger factor | $O(md)$ | 1 |
#
# $s$ depends on $\kappa$ and on the accuracy wanted, but neither on $m$ nor on $d$. So the theory predicts two
# pictures. In the rows, all slopes are 1. In the columns, descent has slope 1 and the others tend to 2 and more, so
# that somewhere they must cross. Where, only a measurement tells: a product of two matrices uses the processor much
# better than a product of a matrix and a vector, which waits for memory. We measure, with $\kappa = 10$, and with
# your descent down to a millionth of the first gradient. A solver that uses up its share of the time is stopped.


# %% tags=["demo"]
def by_descent(X, y):
    grad, start = squared_loss(X, y), np.zeros(X.shape[1], X.dtype)
    rate = 0.9 * float(largest_stable_lr(X, steps=20))
    theta, _ = gradient_descent(grad, start, rate, steps=1000, tol=1e-6 * float(np.linalg.norm(grad(start)[1])))
    return theta


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
    "normal equations": by_normal_equations,
    "numpy lstsq": by_lstsq,
    "scikit-learn": by_sklearn,
}
rows = demo_size(full=[1000, 4000, 16_000, 64_000], small=[500, 1000])
columns = demo_size(full=[50, 100, 200, 400, 800, 1600], small=[20, 40])
in_rows = scaling.measure(solvers, rows, lambda m: problem(m, 50), budget=4, label="rows m (d = 50)", memory=None)
in_columns = scaling.measure(solvers, columns, lambda d: problem(2000, d), budget=6, label="columns d (m = 2000)")
figure, axes = plt.subplots(1, 2, figsize=(12, 4.6))
in_rows.plot(ax=axes[0], peer="numpy lstsq")
in_columns.plot(ax=axes[1], peer="numpy lstsq")
plt.show()
mine, normal = in_columns.seconds["descent (yours)"], in_columns.seconds["normal equations"]
last = np.flatnonzero(np.isfinite(mine) & np.isfinite(normal))[-1]
meet = columns[last] * mine[last] / normal[last]
print(f"If descent goes on with slope 1 and the normal equations with slope 2, they meet at d = {meet:,.0f}.")
in_columns.table()

# %% [markdown]
# Read off your own machine: which solver wins at the right edge of each picture, by how much, and what did it need in
# memory? Two remarks. While there are few columns and they are well scaled, the normal equations are hard to beat, at
# any number of rows: $X^\top X$ is a sum over rows, so it adds up over chunks, in one pass. But they are the first to
# fail when $\kappa$ grows, for forming $X^\top X$ squares the condition number of $X$ *before* anything is solved. The
# next picture shows this. Its horizontal axis is the condition number of $X$ itself, $\sqrt\kappa$; left is the error
# in the parameters, right the error in what they predict.


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
    return nesterov(squared_loss(X, y), np.zeros(X.shape[1]), 0.9, steps=many_steps)[0]


tried = {
    "normal equations, float32": (by_normal_equations, np.float32),
    "normal equations, float64": (by_normal_equations, np.float64),
    "lstsq, float64": (by_lstsq, np.float64),
    f"Nesterov, {many_steps} steps, float64": (by_many_steps, np.float64),
}
stretches = np.geomspace(3, 1e9, 18)
of_theta, of_prediction = {}, {}
for name, (solve, precision) in tried.items():
    errors = []
    for stretch in stretches:
        X_c, y_c, truth = with_condition(stretch)
        try:
            off = solve(X_c.astype(precision), y_c.astype(precision)) - truth
        except LinAlgError:  # X^T X is not positive definite any more, after rounding
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
# On the left, `lstsq` loses one digit for each factor of ten, and the normal equations lose two; where their curve
# ends, the factorisation has failed. Descent with a fixed number of steps does something else: its parameters become
# useless, its predictions do not. It has found the steep directions, which matter for prediction, and has not yet moved
# along the flat ones. (That is regularisation; module 04 takes it up.)
#
# ### Precision and bandwidth
#
# A gradient made of two products reads every number of $X$ twice and does two operations with each, so it waits for
# memory, not for arithmetic. Numbers of half the size should then take half the time. One trap: if `X` is float32 and
# `theta` float64, `X @ theta` first makes a float64 copy of all of `X`. Keep the types equal.


# %% tags=["demo"]
def fastest(call, repeat=5):
    """Seconds of the fastest of some runs, waiting for the device: a GPU answers before it has finished."""
    call()  # the first call pays for pages and caches
    taken = []
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
# The same two lines in torch run on a GPU, whose memory is ten to a hundred times as fast. What they cannot speed up is
# the way there: if the data must travel to the GPU for every step, the wire is the bottleneck. So the cell measures
# both.

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
# Your `chunked_gradient` needs one chunk at a time. Below, the data lie in a file that NumPy maps into memory: slices
# are read when they are used. Your optimiser does not notice; it still calls one function of $\theta$.
#
# The second half cuts the same rows into partitions, one for each worker, and adds up what they send back. Threads
# stand in for machines here; what crosses the wire would be the same, $\theta$ out ($d$ numbers) and $d + 2$ numbers
# back.

# %% tags=["demo"]
file_rows, chunk_rows, columns = demo_size(full=200_000, small=20_000), demo_size(full=16_384, small=4_096), 40
starts = range(0, file_rows, chunk_rows)


def write(path):
    """y in the last column, X in the others; written chunk by chunk, so that nothing ever holds all rows."""
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
    """Your descent on the whole file; the optimiser never learns that it is one."""
    return gradient_descent(
        lambda theta: chunked_gradient(chunks_of(stored), theta), np.zeros(columns, np.float32), 0.9, steps
    )


def from_workers(stored, theta, workers):
    """The gradient from as many partitions: each worker sends its mean, which is weighted by its rows."""
    edges = np.linspace(0, file_rows, workers + 1).astype(int)
    with ThreadPoolExecutor(workers) as pool:
        answers = pool.map(lambda k: chunked_gradient(chunks_of(stored, edges[k], edges[k + 1]), theta), range(workers))
    return sum(rows * gradient for rows, (_, gradient) in zip(np.diff(edges), answers, strict=True)) / file_rows


with tempfile.TemporaryDirectory() as folder:
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
# - *Every step reads everything.* A thousand steps over a terabyte read a petabyte. Module 02 buys steps that read a
#   few rows each, at the price of noise.
# - *A step ends with its slowest worker.* One machine at half speed halves the cluster (module 18).
# - *More workers send more messages, and each computes less.* $d + 2$ numbers from every worker for $2md/P$
#   multiplications on each of $P$: for a model with $d$ in the billions the messages win (module 17).
# - *The sum depends on its order.* Floating-point addition is not associative, so the last digits change with the
#   number of workers, as printed above. Compare runs with a tolerance, not with `==`.

# %% [markdown] written="which_solver" points=2
# ### In words 2
#
# Which method of this module would you take, and why, for least squares with (a) $10^9$ rows, 50 well-scaled columns,
# in a file; (b) $10^5$ rows, $10^6$ columns, sparse; (c) $10^4$ rows, 200 columns, condition number of $X$ about
# $10^7$, and the coefficients themselves are to be published? Say for each how often the method reads $X$, and how much
# memory it takes besides $X$.
#
# ### BEGIN SOLUTION
# (a) Normal equations by chunk: $X^\top X$ and $X^\top y$ add up over chunks, one pass, $50^2$ numbers of memory, and
# well-scaled columns make the squared condition number harmless. Descent would need a pass a step. (b) Descent
# (Nesterov): $X^\top X$ would have $10^{12}$ entries, while a step costs two products with the sparse $X$ and
# $O(m + d)$ memory; one pass a step, about $\sqrt\kappa$ steps. With $d > m$ the solution is not unique, and descent
# from zero finds the one of least norm. (c) `lstsq` (orthogonal factorisation) in float64: small enough for $O(md)$
# memory and one pass; the normal equations would work with a condition of $10^{14}$ and keep two digits or none, and
# descent would need millions of steps for the flat directions.
# ### END SOLUTION

# %% [markdown]
# ## 9. Further
#
# **At work.** `numpy.linalg.lstsq` or `sklearn.linear_model.LinearRegression` while $X$ fits into memory;
# `scipy.sparse.linalg.lsqr` or `lsmr` when it is sparse (conjugate gradients in disguise, with the $\sqrt\kappa$ of
# section 6 and no rate to choose); `dask_ml` or Spark's `LinearRegression` on a cluster; `torch.optim` once the model
# is no longer linear.
#
# **Open questions**
#
# 1. When a network is trained at a fixed rate $\eta$, its $\lambda_{\max}$ grows until it hovers about $2/\eta$, and
#    the loss goes on falling (Cohen et al., 2021). Section 4 says that this must explode. What is different?
# 2. Why does acceleration work? There are proofs, a differential equation (Su, Boyd, Candès, 2014) and a picture of
#    coupled oscillators, but no explanation that everybody finds obvious. Which do you?
# 3. Restart Nesterov's $t$ at 1 whenever the loss rises. Try it on the left picture of section 6. What is gained, and
#    what has to be known in advance?
# 4. With $d > m$ there are many minima, and descent from zero finds the one of least norm. Why? And which does it find
#    from another start?
# 5. Workers that do not wait for each other use old gradients. How old may they be before section 4 fails?
#
# **References**
#
# - A.-L. Cauchy. Méthode générale pour la résolution des systèmes d'équations simultanées. *Comptes rendus de
#   l'Académie des sciences* 25, 1847. The first gradient descent, for the orbits of planets.
# - L. Armijo. Minimization of functions having Lipschitz continuous first partial derivatives. *Pacific Journal of
#   Mathematics* 16, 1966.
# - B. T. Polyak. Some methods of speeding up the convergence of iteration methods. *USSR Computational Mathematics and
#   Mathematical Physics* 4(5), 1964.
# - Yu. Nesterov. A method of solving a convex programming problem with convergence rate $O(1/k^2)$. *Soviet Mathematics
#   Doklady* 27, 1983.
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
