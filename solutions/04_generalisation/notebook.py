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
# # 04 · Generalisation
#
# **What you will be able to do.** Say how well a model will do on rows that it has not seen, and how sure you are of
# that number. You fit ridge and lasso with your own solvers and choose their penalty by cross-validation without leaks.
# You compute all $m$ leave-one-out errors from one decomposition, and an interval for any statistic. You compute
# accuracy, precision, recall, F1 and AUC so that they stay right with ties, with missing classes, and with rows that
# lie on a hundred machines.
#
# **You need** module 01 (gradient descent), the singular value decomposition, and the idea of a variance.
#
# **Skills it trains**: regularisation, convex optimisation, certificates of optimality, honest evaluation, statistics
# by simulation, confidence intervals, summaries that merge.
#
# **Time**: about three hours for nine exercises (one of them is a bug to find), and one hour for reading and for the
# figures. Two further exercises are extras, which give no points; they and the written answers are not counted in these
# times. The module has two halves: 4.1 to 4.6 fit models and choose among them;
# 4.7 to 4.11 measure the result. Take a break between them. Each exercise says how important it is (essential,
# important, optional), its level, which is also its points, and its minutes.
#
# **Symbols**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $m$, $d$ | `m`, `d` | | rows (examples) and columns (features) |
# | $X$, $y$ | `X`, `y` | $(m, d)$, $(m,)$ | the data; $x_i$ is row $i$. From exercise 4.8 on, $y$ holds classes |
# | $\theta$, $b$ | `theta`, `b` | $(d,)$, a number | parameters, intercept: the prediction is $x^\top \theta + b$ |
# | $\lambda$ | `penalty` | | penalty: the factor of the parameters' size in the loss |
# | $X_c$, $y_c$ | `Xc`, `yc` | $(m, d)$, $(m,)$ | the data minus the mean of each column, and of $y$ |
# | $U$, $s$ | `U`, `s` | $(m, r)$, $(r,)$ | $X_c = U \operatorname{diag}(s) V^\top$, $r = \min(m, d)$ |
# | $V$ | not needed | $(d, r)$ | the third factor |
# | $S$ | `leverage`, its diagonal | $(m, m)$ | the hat matrix: the fitted values are $\hat y = S y$ |
# | $K$ | `k` | | number of folds in cross-validation |
# | $C$, $N$ | `classes`, `counts` | $N$: $(C, C)$ | classes; $N_{ij}$ rows of class $i$ were called $j$ |

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    from lsml_utils import checking, datasets, demo_size, plotting, scaling
    from lsml_utils.checking import check, expect_close, expect_dtype, expect_raises, expect_shape, expect_unchanged
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

plotting.use()
threadpool_limits(1)  # these matrices are small: two threads would mostly wait for each other
checking.start("04_generalisation", total=11)

# %% [markdown]
# ## Derive
#
# ### Two errors
#
# We fit a model to rows that we have and use it on rows that we do not have. We can compute the error on the first, the
# **training error**. The expected error on a fresh row from the same source is the **generalisation error**, and this
# is the error that matters. The training error says little about it: with more freedom in the model, the training
# error can only fall.
#
# Let $y = f(x) + \text{noise}$ with noise of mean 0 and variance $\sigma^2$, and let $\hat f$ be fitted to a random
# training set. Write $\bar f(x)$ for the mean of $\hat f(x)$ over all the training sets that we might have drawn. The
# three differences in $y - \hat f = (y - f) + (f - \bar f) + (\bar f - \hat f)$ are uncorrelated, so the mean square is
# the sum of the mean squares:
#
# $$\mathbb E\,(y - \hat f(x))^2 = \underbrace{\sigma^2}_{\text{noise}}
#   + \underbrace{(f(x) - \bar f(x))^2}_{\text{bias}^2}
#   + \underbrace{\mathbb E\,(\hat f(x) - \bar f(x))^2}_{\text{variance}} .$$
#
# More freedom lowers the bias and raises the variance. The best model lies somewhere between, and the training error
# does not say where. The next figure shows this for polynomials of growing degree, fitted by least squares to 20 points
# whose noise is drawn anew each time. Such a fit is linear in the targets, so the figure needs no simulation: the means
# over the noise are computed exactly.


# %% tags=["demo"]
def truth(x):
    return np.sin(2.5 * x + 0.4)


x, grid, noise, degrees = np.linspace(-1, 1, 20), np.linspace(-0.95, 0.95, 200), 0.3, range(13)
train_error, bias2, variance = [], [], []
for degree in degrees:
    A, G = (np.polynomial.legendre.legvander(points, degree) for points in (x, grid))
    M = G @ np.linalg.pinv(A)  # (200, 20): takes the targets to the fitted values on the grid
    bias2.append(np.mean((truth(grid) - M @ truth(x)) ** 2))
    variance.append(noise**2 * np.mean(np.sum(M**2, axis=1)))
    missed = truth(x) - A @ np.linalg.pinv(A) @ truth(x)
    train_error.append(np.mean(missed**2) + noise**2 * (1 - (degree + 1) / len(x)))
plotting.curves(
    {
        "training error": (degrees, train_error),
        "error on fresh rows: noise + bias² + variance": (degrees, noise**2 + np.array(bias2) + variance),
        "bias²": (degrees, bias2),
        "variance": (degrees, variance),
    },
    xlabel="degree of the polynomial",
    ylabel="mean squared error",
    logy=True,
    title="The training error never says when to stop",
).set_ylim(1e-3, 1)
plt.show()

# %% [markdown]
# ### Less variance for a little bias
#
# The degree changes in whole steps. A penalty on the parameters limits the freedom of a model continuously. **Ridge
# regression** minimises
#
# $$J(\theta, b) = \tfrac12 \|X\theta + b - y\|^2 + \tfrac{\lambda}{2}\|\theta\|^2, \qquad \lambda > 0 .$$
#
# The intercept $b$ has no penalty: if we add 100 to every target, every prediction should grow by 100. For any $\theta$
# the best $b$ is $\bar y - \bar x^\top \theta$, with the means of $y$ and of the columns. Insert it, and only centred
# data remain: $\tfrac12 \|X_c \theta - y_c\|^2 + \tfrac\lambda2 \|\theta\|^2$. The gradient is zero where
#
# $$\underbrace{(X_c^\top X_c + \lambda I)}_{(d,\, d)}\, \theta = \underbrace{X_c^\top y_c}_{(d,)}
# \qquad\text{(primal)}.$$
#
# The same equation reads $\lambda\theta = X_c^\top (y_c - X_c \theta)$. So the solution is a combination of the rows,
# $\theta = X_c^\top \alpha$ with $\alpha = (y_c - X_c\theta)/\lambda$. Insert that for $\theta$:
#
# $$\underbrace{(X_c X_c^\top + \lambda I)}_{(m,\, m)}\, \alpha = \underbrace{y_c}_{(m,)}, \qquad
# \theta = X_c^\top \alpha \qquad\text{(dual)}.$$
#
# This gives the same $\theta$ from a system of $m$ equations instead of $d$. To form and solve the smaller system takes
# $O(md \min(m, d))$ operations, and $O(\min(m, d)^2)$ memory besides $X$ and its centred copy. (The dual uses only
# inner products of rows. Module 05 replaces them by a kernel.)
#
# With the singular value decomposition of $X_c$ the fitted values become
#
# $$\hat y = \bar y + \sum_k u_k \, \frac{s_k^2}{s_k^2 + \lambda}\, u_k^\top y_c .$$
#
# Ridge keeps the directions in which the data vary much (large $s_k$) and shrinks those in which they vary little. The
# second kind changes most from one training set to another. Early stopping in module 01 did nearly the same.
#
# ### Conventions differ
#
# - **The factor of λ.** The squared error may be summed or averaged, halved or not, and λ changes with it. In this
#   module both penalties are added to $\tfrac12\|X\theta + b - y\|^2$, a *sum*. scikit-learn uses one convention for
#   ridge and another for the lasso:
#
# | parameter | our λ times |
# | --- | --- |
# | `alpha` of scikit-learn's `Ridge` and `RidgeCV` | 1 |
# | `alpha` of scikit-learn's `Lasso`, and of `ElasticNet` at `l1_ratio=1`; λ of glmnet | $1/m$ |
# | `l2` of module 03; `weight_decay` in an optimiser over a mean of *halved* squares | $1/m$ |
# | `weight_decay` over torch's `MSELoss`, a mean of squares without the half | $2/m$ |
#
#   With a sum, the penalty stays the same when a row is left out. Exercise 4.6 needs that.
# - **The intercept** has no penalty. A column of ones inside $X$ would have one.
# - **Scale.** Neither penalty is invariant: if you measure a feature in millimetres instead of metres, its parameter
#   becomes a thousand times smaller, and its penalty becomes nearly 0. So we standardise features first.
#   *Which rows* may enter the standard deviations is the question of exercise 4.4.

# %% [markdown]
# ## Implement
#
# ### 4.1 `ridge` · essential · level 2 of 4 · 20 min
#
# Solve the smaller of the two systems.


# %% exercise="ridge" points=2 minutes=20 forbids=["sklearn"] trains=["regularisation"]
def ridge(X: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Minimise 1/2 |X theta + b - y|^2 + penalty/2 |theta|^2; the intercept b is not penalised.

    X: (m, d), m >= 1, d >= 1; y: (m,). float32, float64 or any NumPy integer dtype, in any
    memory layout, finite; convert both to float64 before you compute.
    Both may lie far from zero: theta keeps nine digits where y is near 1e8 and X near 1e4, so
    subtract the means of X and of y before anything else.
    penalty: a finite number > 0; raise ValueError if it is not above 0 (also for nan).

    Forms and solves a system of min(m, d) equations: m = 4 with d = 12,000 needs no (d, d) array,
    and m = 12,000 with d = 4 no (m, m) array. You may solve it in any way, also by a thin SVD of
    the centred X. The system's condition number is at most about 1e4 in every test.
    Returns the pair theta (d,), a new float64 array, and b, a float (of Python or NumPy).
    Leaves X and y as they are. Not allowed: sklearn.
    """
    ### BEGIN SOLUTION
    if not penalty > 0:  # nan, too
        raise ValueError("the penalty must be positive")
    X, y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
    x_mean, y_mean = X.mean(axis=0), y.mean()
    Xc, yc = X - x_mean, y - y_mean
    m, d = X.shape
    if d < m:
        theta = np.linalg.solve(Xc.T @ Xc + penalty * np.eye(d), Xc.T @ yc)
    else:
        theta = Xc.T @ np.linalg.solve(Xc @ Xc.T + penalty * np.eye(m), yc)
    return theta, float(y_mean - x_mean @ theta)
    ### END SOLUTION


# %% [markdown] hints="ridge"
# <details><summary>Hint 1: the intercept</summary>
#
# Subtract the mean of each column from X and the mean of y from y. Solve without an intercept, and compute b
# from the means at the end: the fit passes through them.
# </details>
# <details><summary>Hint 2: two systems</summary>
#
# Primal, where d is smaller: (XcᵀXc + λI) θ = Xcᵀyc. Dual, where m is smaller: (XcXcᵀ + λI) α = yc and θ = Xcᵀα.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# `np.linalg.solve(Xc.T @ Xc + penalty * np.eye(d), Xc.T @ yc)` where d < m, else
# `Xc.T @ np.linalg.solve(Xc @ Xc.T + penalty * np.eye(m), yc)`. Then b is `y.mean() - X.mean(axis=0) @ theta`.
# </details>

# %% check="ridge"
with check("ridge", forbids=["sklearn"]):
    X, y = np.array([[1.0], [2.0], [3.0]]), np.array([1.0, 3.0, 8.0])
    with expect_unchanged(X=X, y=y):
        theta, b = ridge(X, y, penalty=2.0)
    # Centred, X is (-1, 0, 1) and y is (-3, -1, 4): theta = (3 + 4) / (2 + 2).
    expect_close(
        theta,
        [7 / 4],
        rtol=1e-12,
        mistakes={
            "You multiplied the penalty by m: here the squared error is a sum.": [7 / 8],
            "You did not subtract the means.": [31 / 16],
            "You penalised the intercept as well.": [83 / 44],
            "You left out the penalty.": [7 / 2],
        },
    )
    expect_close(b, 4 - 2 * 7 / 4, rtol=1e-12, hint="the fit passes through the means, (2, 4)")
    # Two rows, three columns: centred, the rows are -(1, 0, -1) and +(1, 0, -1), and y is (-1, 1).
    theta, b = ridge(np.array([[1, 0, 2], [3, 0, 0]]), np.array([0, 2]), penalty=1.0)
    expect_close(
        theta, [2 / 5, 0, -2 / 5], atol=1e-12, hint="X has more columns than rows: use the dual system, Hint 2"
    )
    expect_close(b, 1 - 2 / 5, rtol=1e-12)
    expect_shape(ridge(np.ones((2, 12_000)), y[:2], 1.0)[0], (12_000,))
    for refused in (0.0, float("nan")):
        with expect_raises(ValueError, hint="only a penalty above 0 is allowed"):
            ridge(X, y, refused)

# %% [markdown]
# The next figure shows one fit to 30 noisy rows with 20 correlated features, for many penalties. Left: the norm
# $\|\theta\|$ falls as λ grows. A single parameter need not shrink: it may grow, or change its sign, while others take
# over. None becomes exactly zero. Right: bias² and variance of the predictions, from your function. Ridge is linear in
# the targets, so both are exact: the mean over the noise is the fit to the targets without noise, and the variance is
# $\sigma^2$ times the sum of the squared fits to each unit target. At the best λ, a small step changes bias² and
# variance by equal and opposite amounts.

# %% tags=["demo"]
draw = np.random.default_rng(1)
rotation = np.linalg.qr(draw.normal(size=(20, 20)))[0]
mixing = np.geomspace(1, 0.1, 20)[:, None] * rotation  # 20 directions of falling size, none along an axis
X_train, X_new = draw.normal(size=(30, 20)) @ mixing, draw.normal(size=(300, 20)) @ mixing
theta_true = draw.normal(size=20)
y_train = X_train @ theta_true + draw.normal(size=30)  # noise of variance 1
penalties = np.geomspace(1e-3, 1e3, 25)


def predicted(targets, penalty):
    theta, b = ridge(X_train, targets, penalty)
    return X_new @ theta + b


path = np.array([ridge(X_train, y_train, penalty)[0] for penalty in penalties])
bias2 = [np.mean((predicted(X_train @ theta_true, p) - X_new @ theta_true) ** 2) for p in penalties]
variance = [np.mean(sum(predicted(unit, p) ** 2 for unit in np.eye(30))) for p in penalties]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
left.semilogx(penalties, path, color=plotting.COLOURS[0], lw=0.8, ls="-")
left.semilogx(penalties, np.linalg.norm(path, axis=1), color=plotting.COLOURS[1], ls="-", label="norm of θ")
left.plot([], [], color=plotting.COLOURS[0], lw=0.8, ls="-", label="the 20 parameters")
left.set(xlabel="penalty λ", ylabel="parameters θ", title="The norm falls; single parameters may grow")
left.legend()
total = np.add(bias2, variance)
plotting.curves(
    {"bias²": (penalties, bias2), "variance": (penalties, variance), "their sum": (penalties, total)},
    xlabel="penalty λ",
    ylabel="error beyond the noise",
    title=f"The sum is lowest at λ = {penalties[total.argmin()]:.2g}",
    logx=True,
    logy=True,
    ax=right,
).set_ylim(total.min() / 100, None)
plt.show()
strongest = np.abs(np.corrcoef(X_new.T) - np.eye(20)).max()
print(f"strongest correlation between two features: {strongest:.2f}")
print(f"sum of bias² and variance: {total.min():.2f} at its lowest, {total[0]:.2f} at λ = {penalties[0]:.2g}")

# %% [markdown]
# ### 4.2 `lasso` · important · level 4 of 4 · 35 min
#
# With absolute values instead of squares in the penalty, parameters do become zero:
#
# $$J(\theta) = \tfrac12\|X\theta - y\|^2 + \lambda \|\theta\|_1 .$$
#
# (There is no intercept here: centre the data first.) One parameter shows why. Minimise
# $\tfrac12 (\theta - z)^2 + t|\theta|$. For $\theta > 0$ the slope $\theta - z + t$ is zero at $z - t$, which is
# positive only if $z > t$. For $\theta < 0$ it is zero at $z + t$, which is negative only if $z < -t$. Otherwise the
# lowest point is the corner at 0. This is **soft thresholding**:
#
# $$\operatorname{soft}(z, t) = \operatorname{sign}(z) \max(|z| - t,\, 0).$$
#
# With many parameters, bound the smooth part by a parabola of curvature $L = \|X\|_2^2$ (the largest singular value,
# squared), and minimise parabola plus penalty. That is one gradient step, then a soft threshold at $\lambda / L$. With
# Nesterov's look-ahead from module 01 it is **FISTA** (Beck and Teboulle, 2009). From
# $\theta_0 = z_0 = 0$, for $k = 0, 1, 2, \dots$
#
# $$\theta_{k+1} = \operatorname{soft}\!\Bigl(z_k + \tfrac1L X^\top (y - X z_k),\; \tfrac{\lambda}{L}\Bigr), \qquad
# z_{k+1} = \theta_{k+1} + \tfrac{k}{k+3} (\theta_{k+1} - \theta_k),$$
#
# and $J(\theta_k) - J(\theta^\star) \le 2L\|\theta^\star\|^2/(k+1)^2$. (The momentum in the paper has another formula
# and the same bound.)
#
# **When to stop?** A small step does not prove that the minimum is near. A lower bound on $J(\theta^\star)$ does. For
# any vector $u$ of shape $(m,)$ with $|X^\top u| \le \lambda$ in every entry, and any $\theta$, let $v = y - X\theta$.
# Then $\lambda\|\theta\|_1 \ge \sum_j |(X^\top u)_j|\,|\theta_j| \ge u^\top X \theta = u^\top(y - v)$, so
#
# $$J(\theta) \;\ge\; \tfrac12 \|v\|^2 - u^\top v + u^\top y \;\ge\; u^\top y - \tfrac12\|u\|^2
# = \tfrac12\|y\|^2 - \tfrac12\|y - u\|^2.$$
#
# The second step holds because $\tfrac12\|v - u\|^2 \ge 0$. The best $u$ is the residual at the minimum. Before you are
# there, take the residual $v$ of your own $\theta$ and shrink it until it is allowed:
# $u = v \cdot \lambda / \max(\lambda, \|X^\top v\|_\infty)$. The difference between $J(\theta)$ and this bound is the
# **duality gap**. It proves how close you are to the minimum, however you found $\theta$.


# %% exercise="lasso" points=4 minutes=35 forbids=["sklearn"] trains=["regularisation", "convex optimisation", "certificates of optimality"]
def soft_threshold(z: np.ndarray, t: float) -> np.ndarray:
    """sign(z) max(|z| - t, 0), elementwise: z moved towards zero by t >= 0, and 0 where |z| <= t.

    z: an array of any shape, also 0-d or empty; float32, float64 or any NumPy integer dtype,
    converted to float64 before the subtraction. t: a float or an integer.
    Returns a new float64 array of the same shape (for a 0-d z, a NumPy scalar will do).
    Leaves z as it is.
    """
    ### BEGIN SOLUTION
    z = np.asarray(z, dtype=float)
    return z - z.clip(-t, t)
    ### END SOLUTION


def lasso(
    X: np.ndarray, y: np.ndarray, penalty: float, tol: float = 1e-6, max_steps: int = 10_000
) -> tuple[np.ndarray, float]:
    """Minimise J = 1/2 |X theta - y|^2 + penalty * sum(|theta|) by FISTA. No intercept.

    X: (m, d), m >= 1, d >= 1, any rank, may be all zeros; y: (m,). float32, float64 or any NumPy
    integer dtype, in any memory layout; convert both to float64 before you compute.
    penalty > 0; 0 <= tol <= 1; max_steps >= 0.

    Starts from theta_0 = z_0 = 0. With L the square of the largest singular value of X, step
    k = 0, 1, ... is theta_(k+1) = soft_threshold(z_k + X^T (y - X z_k) / L, penalty / L) and
    z_(k+1) = theta_(k+1) + k / (k + 3) * (theta_(k+1) - theta_k).
    Stops before a step when the duality gap at theta_k is at most tol * |y|^2 / 2, and after
    max_steps steps. The gap is J(theta) - (|y|^2 - |y - u|^2) / 2, where u is the residual
    v = y - X theta times penalty / max(penalty, largest |entry| of X^T v). Where X or y is all
    zeros, theta_0 is the minimum: return it, and do not divide by L = 0.

    Returns the pair theta (d,), a new float64 array, and the gap at that theta, a float (of Python
    or NumPy). Rounding may leave the gap a little below 0; with tol = 0 it may never reach 0, and
    max_steps ends the loop.
    Builds no (d, d) array where d > m, and no (m, m) array where m > d. Leaves X and y as they are.
    Not allowed, in either function: sklearn.
    """
    ### BEGIN SOLUTION
    X, y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
    L = np.linalg.norm(X, 2) ** 2
    theta = z = np.zeros(X.shape[1])
    for k in range(max_steps + 1):
        v = y - X @ theta
        u = v * (penalty / max(penalty, np.abs(X.T @ v).max()))
        gap = v @ v / 2 + penalty * np.abs(theta).sum() - (y @ y - (y - u) @ (y - u)) / 2
        if gap <= tol * (y @ y) / 2 or k == max_steps:
            break
        before, theta = theta, soft_threshold(z + X.T @ (y - X @ z) / L, penalty / L)
        z = theta + k / (k + 3) * (theta - before)
    return theta, float(gap)
    ### END SOLUTION


# %% [markdown] hints="lasso"
# <details><summary>Hint 1: soft_threshold</summary>
#
# Use the formula with sign, or subtract from z the part of it between −t and t: `z - np.clip(z, -t, t)`.
# </details>
# <details><summary>Hint 2: the order in the loop</summary>
#
# Residual at θ, gap, test whether to stop, step, look-ahead. The gradient of the step belongs to z, the gap to θ. Keep
# the old θ for the look-ahead. If the gap is tested before the first division by L, X = 0 needs no special case.
# </details>
# <details><summary>Hint 3: the gap</summary>
#
# `v = y - X @ theta`; `u = v * penalty / max(penalty, np.abs(X.T @ v).max())`; the gap is
# `v @ v / 2 + penalty * np.abs(theta).sum() - (y @ y - (y - u) @ (y - u)) / 2`. For L, `np.linalg.norm(X, 2)` is the
# largest singular value.
# </details>

# %% check="lasso"
with check("lasso", forbids=["sklearn"]):
    expect_close(
        soft_threshold(np.array([-3.0, -1.0, 0.0, 0.5, 2.0]), 1.0),
        [-2.0, 0.0, 0.0, 0.0, 1.0],
        atol=1e-12,
        mistakes={"This is a hard threshold: move what remains towards zero by t, too.": [-3.0, 0.0, 0.0, 0.0, 2.0]},
    )
    # With X = identity each parameter is on its own: theta = soft_threshold(y, penalty).
    X, y = np.eye(3), np.array([3.0, -0.5, 1.5])
    with expect_unchanged(X=X, y=y):
        theta, gap = lasso(X, y, penalty=1.0)
    expect_close(
        theta,
        [2.0, 0.0, 0.5],
        atol=1e-3,
        mistakes={
            "Your penalty counts half: the squared error is halved, the penalty is not.": [2.5, 0.0, 1.0],
            "Your penalty counts m times: the squared error is a sum.": [0.0, 0.0, 0.0],
        },
    )
    X, y = np.array([[2.0, 1.0], [0.0, 1.0], [1.0, 0.0]]), np.array([4.0, 1.0, 1.0])
    theta, gap = lasso(X, y, penalty=1.0, tol=1e-10)
    pull = X.T @ (y - X @ theta)
    expect_close(
        pull, np.sign(theta), atol=1e-3, hint="where theta is not 0, X^T (y - X theta) = penalty * sign(theta)"
    )
    assert -1e-12 < gap <= 1e-10 * 9, f"the gap at the end must be at most tol |y|²/2 = 9e-10, not {gap}"
    # Before any step v = y, X^T v = (9, 5) and u = y / 9: the gap is 9 - (18 - 18 (8/9)²) / 2.
    theta, gap = lasso(X, y, penalty=1.0, max_steps=0)
    expect_close(theta, [0.0, 0.0], atol=0)
    expect_close(gap, 9 - (18 - 18 * (8 / 9) ** 2) / 2, rtol=1e-12, hint="the gap before the first step: see Hint 3")
    expect_close(
        lasso(np.zeros((2, 2)), y[:2], 1.0)[0], [0.0, 0.0], atol=0, hint="X = 0: theta = 0 is the minimum already"
    )

# %% [markdown]
# Left: 40 rows, 60 features, of which five matter. The parameters are drawn as λ falls from the value at which all are
# zero, $\|X^\top y\|_\infty$. Right: the gap that your function reports for a small λ, against the number of steps,
# with the look-ahead and without it.

# %% tags=["demo"]
from sklearn.linear_model import Lasso, RidgeCV, lasso_path
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import PredefinedSplit

draw = np.random.default_rng(2)
X_sparse = draw.normal(size=(40, 60))
theta_true = np.zeros(60)
theta_true[:5] = [3, -3, 2, 2, -2]
y_sparse = X_sparse @ theta_true + draw.normal(size=40)
largest = np.abs(X_sparse.T @ y_sparse).max()
penalties = largest * np.geomspace(1, 0.02, 30)
path = np.array([lasso(X_sparse, y_sparse, penalty, tol=1e-5)[0] for penalty in penalties])
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
left.semilogx(penalties, path[:, 5:], color="0.75", lw=1, ls="-")
left.semilogx(penalties, path[:, :5], color=plotting.COLOURS[0], ls="-")
left.plot([], [], color=plotting.COLOURS[0], label="the five that matter")
left.plot([], [], color="0.75", label="the other 55")
left.invert_xaxis()
left.set(xlabel="penalty λ, falling", ylabel="parameters θ", title="As λ falls, more parameters leave zero")
left.legend()

strength, steps = 0.01 * largest, np.unique(np.geomspace(1, demo_size(full=1000, small=100), 30).astype(int))
with_momentum = [lasso(X_sparse, y_sparse, strength, tol=0, max_steps=int(step))[1] for step in steps]
L, theta, without = np.linalg.norm(X_sparse, 2) ** 2, np.zeros(60), []
for step in range(steps[-1]):
    theta = soft_threshold(theta + X_sparse.T @ (y_sparse - X_sparse @ theta) / L, strength / L)
    if step + 1 in steps:
        v = y_sparse - X_sparse @ theta
        u = v * strength / max(strength, np.abs(X_sparse.T @ v).max())
        without.append(v @ v / 2 + strength * np.abs(theta).sum() - u @ y_sparse + u @ u / 2)
peer = Lasso(alpha=penalties[15] / 40, fit_intercept=False, tol=1e-10, max_iter=100_000).fit(X_sparse, y_sparse)
mine, final_gap = lasso(X_sparse, y_sparse, penalties[15], tol=1e-12)
plotting.curves(
    {
        "FISTA (yours)": (steps, np.maximum(with_momentum, 1e-12)),
        "without the look-ahead": (steps, np.maximum(without, 1e-12)),
    },
    xlabel="steps",
    ylabel="duality gap",
    title="The proven distance to the minimum",
    logx=True,
    logy=True,
    ax=right,
)
plt.show()
print(f"gap {final_gap:.1e}; largest difference from scikit-learn's Lasso: {np.abs(mine - peer.coef_).max():.1e}")

# %% [markdown]
# ### What the lasso costs, and who is faster
#
# One step of FISTA needs products with all of $X$, $O(md)$. scikit-learn's `Lasso` uses **coordinate descent**: it
# minimises over one parameter at a time, at $O(m)$ each. The figure times a path of ten penalties. Both prove
# a gap of at most $10^{-6}$ of $\|y\|^2/2$, so the results are about equally good.


# %% tags=["demo"]
def path_problem(d):
    """(X, y, penalties): 200 centred rows, d features of which 10 matter, ten falling penalties."""
    draw = np.random.default_rng(d)
    X = draw.normal(size=(200, d))
    y = 2 * X[:, :10].sum(axis=1) + draw.normal(size=200)
    X, y = np.asfortranarray(X - X.mean(axis=0)), y - y.mean()
    return X, y, np.abs(X.T @ y).max() * np.geomspace(1, 0.05, 10)


def by_coordinates(X, y, penalties):
    return [Lasso(alpha=p / len(y), fit_intercept=False, tol=5e-7).fit(X, y).coef_ for p in penalties]


solvers = scaling.measure(
    {
        "FISTA (yours), each λ from zero": lambda X, y, penalties: [lasso(X, y, p, tol=1e-6) for p in penalties],
        "coordinate descent, each λ from zero": by_coordinates,
        "coordinate descent, from the last λ": lambda X, y, p: lasso_path(X, y, alphas=p / len(y), tol=5e-7),
    },
    sizes=demo_size(full=[100, 200, 400, 800, 1600], small=[100, 200]),
    setup=path_problem,
    budget=demo_size(full=6.0, small=1.5),
    label="features d (200 rows)",
    threads=1,
    memory=None,
)
solvers.plot(peer="coordinate descent, from the last λ")
plt.show()

# %% [markdown]
# Coordinate descent wins here, for three reasons. The step of one parameter uses the curvature of its own column,
# $\|x_j\|^2$, and FISTA must use $L$, which is larger. scikit-learn **screens**: the duality gap often proves that a
# parameter is zero at the minimum, and the solver then skips that column. And along a path it starts each λ at the
# solution of the last one (**warm start**), which is close. Proximal steps such as FISTA's are used where columns
# cannot be visited one by one: $X$ is known only through products, or its rows lie on many machines, or a GPU needs
# large products to be fast.

# %% [markdown]
# ### 4.3 `kfold` · essential · level 2 of 4 · 12 min
#
# How do we choose λ? The training error is lowest at λ = 0, so it cannot choose. Rows that the fit has not seen can. To
# use every row for both, cut the rows into $K$ **folds**. Fit on all folds but one, predict that one, and do so for
# each fold. The model that predicts a row has then never seen it.
#
# Shuffle before you cut, because files are sorted: by date, by class, by customer. (Two cases need another cut. Where
# several rows belong to one patient, all of them must be in one fold: exercise 4.5. Where you predict the future, the
# training rows must be older than the tested ones.)


# %% exercise="kfold" points=2 minutes=12 forbids=["sklearn"] trains=["honest evaluation"]
def kfold(m: int, k: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut the rows 0, ..., m - 1 into k folds at random; yield (train, test), one pair a fold.

    m, k, seed: integers; 2 <= k <= m, else ValueError (when called, or when the first pair is
    asked for); seed >= 0, of any size.
    test: the rows of the fold; train: all other rows. Both are 1-D integer arrays, in any order, no
    row twice. The k test sets together hold each row exactly once, and their
    sizes differ by at most 1.
    Which rows share a fold is drawn from np.random.default_rng(seed) (in any way that shuffles all
    the rows): the same arguments give the same folds, another seed gives others. NumPy's global
    generator is neither used nor changed.

    A generator, or any other iterable, that makes its pairs one by one: with m = k = 20,000 all
    training sets together would take 3.2 GB. The arrays of a pair do not change when the next pair
    is made. Not allowed: sklearn.
    """
    ### BEGIN SOLUTION
    if not 2 <= k <= m:
        raise ValueError(f"{m} rows cannot be cut into {k} folds")
    order = np.random.default_rng(seed).permutation(m)
    for first, last in pairwise(np.arange(k + 1) * m // k):
        yield np.concatenate([order[:first], order[last:]]), order[first:last]
    ### END SOLUTION


# %% [markdown] hints="kfold"
# <details><summary>Hint 1: one shuffle</summary>
#
# Shuffle the row numbers once, `np.random.default_rng(seed).permutation(m)`, and let fold i be a slice of that order.
# </details>
# <details><summary>Hint 2: fair slices</summary>
#
# The slices begin at `i * m // k` for i = 0, ..., k: their lengths differ by at most 1. `np.array_split` also does it.
# </details>
# <details><summary>Hint 3: one by one</summary>
#
# In a loop over the slices: `yield np.concatenate([order[:first], order[last:]]), order[first:last]`. A function with
# `yield` in it is a generator.
# </details>

# %% check="kfold"
with check("kfold", forbids=["sklearn"]):
    folds = [(np.asarray(train), np.asarray(test)) for train, test in kfold(8, 3, seed=0)]
    assert len(folds) == 3, f"three folds, not {len(folds)}"
    sizes = sorted(len(test) for _, test in folds)
    assert sizes == [2, 3, 3], f"8 rows in 3 folds are 2 + 3 + 3 rows, not {sizes}"
    together = np.sort(np.concatenate([test for _, test in folds]))
    expect_close(together, np.arange(8), atol=0, hint="every row is in exactly one test set")
    for train, test in folds:
        both = np.sort(np.concatenate([train, test]))
        expect_close(both, np.arange(8), atol=0, hint="train is every row that is not in test")
    again, other = list(kfold(100, 2, seed=0)), list(kfold(100, 2, seed=1))
    expect_close(
        np.sort(again[0][1]), np.sort(next(iter(kfold(100, 2, seed=0)))[1]), atol=0, hint="same seed, same folds"
    )
    assert set(again[0][1]) != set(other[0][1]), "another seed must give other folds"
    assert set(again[0][1]) != set(range(50)), "the rows are cut in their old order: shuffle them first"
    for wrong_k in (1, 9):
        with expect_raises(ValueError, hint="k must lie between 2 and m"):
            list(kfold(8, wrong_k, seed=0))

# %% [markdown]
# ### 4.4 `out_of_fold` · essential · level 2 of 4 · 10 min
#
# **Find the bug.** Someone standardises the features, cuts the rows into folds, fits ridge, and collects the
# predictions. The code runs, and its results look plausible. But they are not what the docstring promises. Find out
# why, and repair it. The function uses your `ridge`.


# %% exercise="out_of_fold" points=2 minutes=10 bug=true forbids=["sklearn"] trains=["honest evaluation"]
def out_of_fold(
    X: np.ndarray, y: np.ndarray, folds: Iterable[tuple[np.ndarray, np.ndarray]], penalty: float
) -> np.ndarray:
    """Predict each row by a ridge regression on standardised features that has not seen the row.

    X: (m, d); y: (m,). float32, float64 or any NumPy integer dtype, in any memory layout; both are
    converted to float64 first.
    folds: an iterable of pairs (train, test) of integer arrays, such as `kfold` gives; it can be
    gone through once only. No row is in two test sets. A row that is in none may get any value,
    also nan.
    For each pair: divide each column by its standard deviation over the rows of train (the one with
    1/n), or by 1 where it is constant there (`ridge` subtracts the means by itself); fit `ridge`
    with the penalty on the rows of train; predict the rows of test. You may ask whether the
    deviation is 0: in the tests, that of a constant column is computed as exactly 0.
    Neither X nor y of any other row of test may influence the prediction of a row.

    Returns a new array (m,), float64. Leaves X, y and the arrays in folds as they are.
    Not allowed: sklearn.
    """
    X, y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
    ### BEGIN SOLUTION
    predicted = np.empty(len(y))
    for train, test in folds:
        std = X[train].std(axis=0)
        std[std == 0] = 1
        theta, b = ridge(X[train] / std, y[train], penalty)
        predicted[test] = X[test] / std @ theta + b
    return predicted
    ### END SOLUTION
    ### BEGIN BUG
    # std = X.std(axis=0)
    # std[std == 0] = 1
    # Z = X / std
    # predicted = np.empty(len(y))
    # for train, test in folds:
    #     theta, b = ridge(Z[train], y[train], penalty)
    #     predicted[test] = Z[test] @ theta + b
    # return predicted
    ### END BUG


# %% [markdown] hints="out_of_fold"
# <details><summary>Hint 1: an experiment</summary>
#
# Add a million to one entry of X, in a row of the first test set. Which predictions change? Which may change?
# </details>
# <details><summary>Hint 2: the principle</summary>
#
# Everything that is estimated from data is part of the model: not only θ and b, but the standard deviations too. All of
# it belongs inside the loop.
# </details>
# <details><summary>Hint 3: the repair</summary>
#
# Inside the loop: `std = X[train].std(axis=0)`, zeros in it set to 1, and both X[train] and X[test] divided by it.
# (Outside this exercise, test the column itself, as in module 00: `std[np.ptp(X[train], axis=0) == 0] = 1`. Rounding
# does not affect that test.)
# </details>

# %% check="out_of_fold"
with check("out_of_fold", forbids=["sklearn"]):
    X, y = np.array([[0.0], [2.0], [4.0], [100.0]]), np.array([0.0, 2.0, 4.0, 10.0])
    halves = [(np.array([0, 1]), np.array([2, 3])), (np.array([2, 3]), np.array([0, 1]))]
    with expect_unchanged(X=X, y=y):
        got = out_of_fold(X, y, halves, penalty=2.0)
    # Rows 0 and 1 have mean 1 and deviation 1: standardised -1 and 1, so theta = 2 / (2 + 2), and 1 is the mean of y.
    # Rows 2 and 3 have mean 52 and deviation 48: standardised -1 and 1, so theta = 6 / (2 + 2), and 7 is the mean of y.
    expect_close(
        got,
        [7 - 1.5 * 52 / 48, 7 - 1.5 * 50 / 48, 1 + 0.5 * 3, 1 + 0.5 * 99],
        rtol=1e-10,
        hint="whose standard deviation was used? see Hint 1",
        mistakes={
            "The deviation is that of all rows, the tested ones too.": [
                *(7 + (X[:2, 0] - 52) * 144 / (48**2 + X.var())),
                *(1 + (X[2:, 0] - 1) / (1 + X.var())),
            ]
        },
    )
    constant = out_of_fold(np.array([[5.0], [5.0], [5.0], [6.0]]), y, halves, penalty=2.0)
    expect_close(constant[2:], [1.0, 1.0], rtol=1e-10, hint="a column that is constant in train: divide it by 1")

# %% [markdown]
# How much does such a leak matter? Here, very little: the first line below the figure shows how far $R^2$ moves on the
# diabetes data. The same order of lines matters much more with **feature selection**, where it creates a result from
# nothing. In the figure the features and the target are independent noise. Keep the 10 features out of 1000 that
# correlate best with $y$, then cross-validate with your functions: once with a selection that sees all rows, and once
# with a new selection inside each fold, from the training rows only. The true $R^2 = 1 - \text{MSE}/\text{variance}$
# cannot be above 0: where nothing can be predicted, the mean of $y$ is the best prediction, with $R^2 = 0$. A model
# that has fitted noise has a lower one, because the variance of its predictions is added to the error.


# %% tags=["demo"]
def best_correlated(X, y, keep=10):
    """The columns whose correlation with y is largest in absolute value."""
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    return np.argsort(np.abs(Z.T @ (y - y.mean())))[-keep:]


def r_squared(y, predicted):
    return 1 - np.mean((y - predicted) ** 2) / y.var()


leaky, honest = [], []
for seed in range(demo_size(full=60, small=10)):
    draw = np.random.default_rng(seed)
    X_noise, y_noise = draw.normal(size=(100, 1000)), draw.normal(size=100)
    folds = list(kfold(100, 5, seed))
    leaky.append(r_squared(y_noise, out_of_fold(X_noise[:, best_correlated(X_noise, y_noise)], y_noise, folds, 1.0)))
    predicted = np.empty(100)
    for train, test in folds:
        columns = best_correlated(X_noise[train], y_noise[train])
        predicted[test] = out_of_fold(X_noise[:, columns], y_noise, [(train, test)], 1.0)[test]
    honest.append(r_squared(y_noise, predicted))
figure, ax = plt.subplots(figsize=(7, 3.6))
bins = np.linspace(-0.8, 0.8, 41)
ax.hist(leaky, bins, alpha=0.8, color=plotting.COLOURS[1], label="selected on all rows, then cross-validated")
ax.hist(honest, bins, alpha=0.8, color=plotting.COLOURS[0], label="selected inside each fold")
ax.axvline(0, color="k", lw=1)
ax.set(xlabel="cross-validated R²", ylabel="data sets of pure noise", title="A leak finds a relation in pure noise")
ax.set_ylim(0, 1.45 * ax.get_ylim()[1])
ax.legend(loc="upper center")
plt.show()
sick = datasets.diabetes()
folds = list(kfold(len(sick.y), 5, seed=0))
once = np.empty(len(sick.y))
Z = (sick.X - sick.X.mean(axis=0)) / sick.X.std(axis=0)
for train, test in folds:
    theta, b = ridge(Z[train], sick.y[train], 1.0)
    once[test] = Z[test] @ theta + b
inside = r_squared(sick.y, out_of_fold(sick.X, sick.y, folds, 1.0))
change = r_squared(sick.y, once) - inside
print(f"diabetes: R² {inside:.3f} inside the folds; standardised on all rows it changes by {change:+.1e}")
print(f"pure noise: mean R² {np.mean(leaky):+.2f} with the leak, {np.mean(honest):+.2f} without")

# %% [markdown]
# Ambroise and McLachlan (2002) found this leak in published studies of cancer. The rule is: every step that looks at
# the data belongs inside the loop over the folds.
#
# ### 4.5 `group_kfold` · optional · level 2 of 4 · 12 min
#
# The other common leak has no wrong line of code. If one patient has ten rows, a plain cut puts some of them into train
# and the others into test. A model that recognises the patient then predicts the test rows well, and fails on a new
# patient. The remedy is to cut *groups* instead of rows.


# %% exercise="group_kfold" points=2 minutes=12 extra=true forbids=["sklearn"] trains=["honest evaluation"]
def group_kfold(groups: np.ndarray, k: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut the groups into k folds at random; yield (train, test), arrays of row numbers.

    groups: (m,), integers of any kind (negative ones, too) in any order; rows with equal numbers
    are one group. Let G be the number of different groups: 2 <= k <= G, else ValueError (when
    called, or when the first pair is asked for).
    test: all rows of the fold's groups; train: all other rows. Both are 1-D integer arrays, in any
    order, no row twice. Each row is in exactly one test set. The folds' numbers
    of groups (not of rows) differ by at most 1.
    Which groups share a fold is drawn from np.random.default_rng(seed), seed >= 0: the same
    arguments give the same folds, another seed gives others. You may use your `kfold`.
    Makes its pairs one by one, as `kfold` does. Leaves groups as they are. Not allowed: sklearn.
    """
    ### BEGIN SOLUTION
    values, group_of = np.unique(groups, return_inverse=True)
    for _, chosen in kfold(len(values), k, seed):
        inside = np.isin(group_of, chosen)
        yield np.flatnonzero(~inside), np.flatnonzero(inside)
    ### END SOLUTION


# %% [markdown] hints="group_kfold"
# <details><summary>Hint 1: number the groups</summary>
#
# `values, group_of = np.unique(groups, return_inverse=True)` numbers the groups from 0 to G − 1.
# </details>
# <details><summary>Hint 2: cut the groups</summary>
#
# `kfold(len(values), k, seed)` cuts these numbers. A row is in test where its group is: `np.isin(group_of, chosen)`.
# </details>

# %% check="group_kfold"
with check("group_kfold", forbids=["sklearn"]):
    groups = np.array([30, 7, 30, -2, 30, 9, 30, 30, 30, 30])  # four groups: of 7, 1, 1 and 1 rows
    with expect_unchanged(groups=groups):
        folds = [(np.asarray(train), np.asarray(test)) for train, test in group_kfold(groups, 2, seed=0)]
    assert len(folds) == 2, f"two folds, not {len(folds)}"
    for train, test in folds:
        torn = set(groups[train].tolist()) & set(groups[test].tolist())
        assert not torn, f"group {min(torn)} has rows in train and in test"
        assert len(set(groups[test].tolist())) == 2, "four groups in two folds: two a fold, whatever their rows"
        both = np.sort(np.concatenate([train, test]))
        expect_close(both, np.arange(10), atol=0, hint="every row is in train or in test")
    for _, test in group_kfold(groups, 4, seed=0):
        assert len(set(groups[test].tolist())) == 1, "four groups in four folds: test holds one of them, train the rest"
    with expect_raises(ValueError, hint="there are 4 groups, so k = 5 is too many"):
        list(group_kfold(groups, 5, seed=0))

# %% [markdown]
# There are forty patients with ten rows each. Each patient has features and a level of $y$ of their own, and the two
# are independent. So for a new patient nothing can be predicted. Compare the $R^2$ of the two cuts.

# %% tags=["demo"]
draw = np.random.default_rng(4)
patient = np.repeat(np.arange(40), 10)
X_patients = draw.normal(size=(40, 30))[patient] + 0.3 * draw.normal(size=(400, 30))
y_patients = draw.normal(size=40)[patient] + 0.3 * draw.normal(size=400)
for name, folds in {"rows": kfold(400, 5, seed=0), "patients": group_kfold(patient, 5, seed=0)}.items():
    estimate = r_squared(y_patients, out_of_fold(X_patients, y_patients, folds, penalty=1.0))
    print(f"folds of {name:9s} R² {estimate:+.2f}")

# %% [markdown]
# ### 4.6 `loocv_ridge` · important · level 3 of 4 · 25 min
#
# With $K = m$ folds each model sees all rows but one, so it is nearly the model that you will use, and nothing
# depends on a shuffle. This needs $m$ fits. For a linear smoother, one is enough. The fitted values of ridge are linear
# in $y$: $\hat y = S y$, and from the formula with the singular values
#
# $$\hat y = \bar y + U \operatorname{diag}\!\Bigl(\frac{s^2}{s^2 + \lambda}\Bigr) U^\top y_c, \qquad
# S_{ii} = \frac1m + \sum_k U_{ik}^2\, \frac{s_k^2}{s_k^2 + \lambda} .$$
#
# Let $p_i$ be the prediction for row $i$ by the model fitted without it. Replace $y_i$ by $p_i$ and fit all $m$ rows.
# The model without row $i$ still minimises the sum over the other rows plus the penalty, and on row $i$ its error is 0.
# So it is the minimum, and its fitted value at $i$ is $p_i$. But fitted values are linear in $y$, and only $y_i$ has
# changed:
#
# $$p_i = \hat y_i + S_{ii}\,(p_i - y_i) \quad\Longrightarrow\quad
# y_i - p_i = \frac{y_i - \hat y_i}{1 - S_{ii}} .$$
#
# The argument needs a loss that is a sum over rows and a penalty that does not change with $m$: with an averaged loss,
# dropping a row would change the effective λ. One decomposition serves every λ: $O(md\min(m,d))$ once, then
# $O(m \min(m, d))$ for each. $S$ itself, an $(m, m)$ matrix, is never needed: only its diagonal.


# %% exercise="loocv_ridge" points=3 minutes=25 forbids=["sklearn"] trains=["regularisation", "honest evaluation"]
def loocv_ridge(X: np.ndarray, y: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """Leave-one-out residuals of ridge (with intercept, as in `ridge`), for several penalties.

    X: (m, d), m >= 2, d >= 1; y: (m,); penalties: (p,), p >= 1, all > 0. float32, float64 or
    any NumPy integer dtype, in any memory layout; convert all to float64 first.

    Returns E, (p, m), a new float64 array: E[j, i] = y[i] minus the prediction for X[i] by the
    ridge regression with penalties[j] on the other m - 1 rows. The features are not standardised.
    One decomposition serves all penalties: for each of them, neither refit nor decompose nor solve
    a system, but use O(m min(m, d)) operations. 4,000 penalties take a few seconds where m = d =
    400; a system for each would take a minute.
    No (m, m) array where m > d and no (d, d) array where d > m: only a few arrays of the size of X
    and E.
    Where m <= d + 1 and a penalty is tiny beside s^2, the squared singular values of the centred X,
    1 - S_ii has few right digits. You may lose them: such a test has no penalty below 1e-3 of the
    largest s^2.
    Leaves X, y and penalties as they are. Not allowed: sklearn.
    """
    ### BEGIN SOLUTION
    X, y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
    yc = y - y.mean()
    U, s, _ = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    shrink = s**2 / (s**2 + penalties[:, None])  # (p, r)
    fitted = (shrink * (U.T @ yc)) @ U.T
    leverage = 1 / len(y) + shrink @ U.T**2
    return (yc - fitted) / (1 - leverage)
    ### END SOLUTION


# %% [markdown] hints="loocv_ridge"
# <details><summary>Hint 1: one penalty first</summary>
#
# `U, s, _ = np.linalg.svd(Xc, full_matrices=False)`. Then the fitted values of yc are `U @ (shrink * (U.T @ yc))`, with
# `shrink = s**2 / (s**2 + penalty)`.
# </details>
# <details><summary>Hint 2: the diagonal</summary>
#
# `U**2 @ shrink` is the diagonal of U diag(shrink) Uᵀ without the matrix. Add the 1/m: the mean of y changes
# with each y as well.
# </details>
# <details><summary>Hint 3: all penalties at once</summary>
#
# Make shrink (p, r): `s**2 / (s**2 + penalties[:, None])`. Fitted values are `(shrink * (U.T @ yc)) @ U.T`, leverages
# `1 / m + shrink @ U.T**2`, and the answer is (yc − fitted) / (1 − leverage).
# </details>

# %% check="loocv_ridge"
with check("loocv_ridge", forbids=["sklearn"]):
    # With two rows, the model without one of them knows a single y, and predicts that.
    X, y = np.array([[0.0], [2.0]]), np.array([1.0, 4.0])
    with expect_unchanged(X=X, y=y):
        got = loocv_ridge(X, y, np.array([1.0, 5.0]))
    shrink = np.array([[2 / 3], [2 / 7]])
    expect_close(
        got,
        [[-3.0, 3.0], [-3.0, 3.0]],
        rtol=1e-10,
        mistakes={
            "These are the residuals of the fit on all rows.": (1 - shrink) * [-1.5, 1.5],
            "You left 1/m out of the diagonal.": (1 - shrink) * [-1.5, 1.5] / (1 - shrink / 2),
            "The sign is wrong: y minus prediction.": [[3.0, -3.0], [3.0, -3.0]],
        },
    )
    draw = np.random.default_rng(0)
    for m, d in ((7, 3), (4, 6)):
        X, y, penalties = draw.normal(size=(m, d)), draw.normal(size=m) + 10, np.array([0.1, 3.0])
        slow = np.empty((2, m))
        for j, penalty in enumerate(penalties):
            for i in range(m):
                theta, b = ridge(np.delete(X, i, axis=0), np.delete(y, i), penalty)
                slow[j, i] = y[i] - X[i] @ theta - b
        expect_close(loocv_ridge(X, y, penalties), slow, rtol=1e-8, hint="this is what m fits of your ridge give")

# %% [markdown]
# The figure uses sixty patients of the diabetes data. It shows the mean of their squared leave-one-out errors for 60
# penalties, five-fold cross-validation with several shuffles, and the error on the patients that were left out. The
# curves agree roughly on where the minimum is. Their heights differ, so do not trust the second digit of any of them.

# %% tags=["demo"]
diabetes = datasets.diabetes()
X_diabetes, y_diabetes = (diabetes.X - diabetes.X.mean(axis=0)) / diabetes.X.std(axis=0), diabetes.y
draw = np.random.default_rng(0)
few = draw.permutation(len(y_diabetes))[:60]  # few rows, so that the penalty matters
Xs, ys = X_diabetes[few], y_diabetes[few]
penalties = np.geomspace(1e-2, 1e4, 60)
loo = np.mean(loocv_ridge(Xs, ys, penalties) ** 2, axis=1)
figure, ax = plt.subplots(figsize=(7, 4))
for seed in range(5):
    error = np.zeros(len(penalties))
    for train, test in kfold(len(ys), 5, seed):
        for j, penalty in enumerate(penalties):
            theta, b = ridge(Xs[train], ys[train], penalty)
            error[j] += np.sum((ys[test] - Xs[test] @ theta - b) ** 2) / len(ys)
    ax.semilogx(penalties, error, color="0.7", lw=1, ls="-", label="5 folds, five shuffles" if seed == 0 else None)
ax.semilogx(penalties, loo, label="leave one out (yours)", color=plotting.COLOURS[0], ls="-")
rest = np.setdiff1d(np.arange(len(y_diabetes)), few)
fresh = []
for penalty in penalties:
    theta, b = ridge(Xs, ys, penalty)
    fresh.append(np.mean((y_diabetes[rest] - X_diabetes[rest] @ theta - b) ** 2))
ax.semilogx(penalties, fresh, color=plotting.COLOURS[1], ls="--", label=f"error on {len(rest)} other patients")
ax.set(xlabel="penalty λ", ylabel="mean squared error", title="Fitted to 60 patients: where is the minimum?")
ax.legend()
plt.show()
print(
    f"leave one out chooses λ = {penalties[loo.argmin()]:.2g}; "
    f"the other patients would choose {penalties[np.argmin(fresh)]:.2g}"
)

# %% [markdown]
# (To keep the code short, the features were standardised once, on all rows: the leak of exercise 4.4, which is small
# here.)
#
# Now the cost. $m$ fits cost $O(m \cdot md^2)$, one decomposition $O(md^2)$: on a quiet machine, slopes of about 2
# and 1. The last line continues
# the measured curve of the $m$ fits to the largest $m$ of the shortcut.


# %% tags=["demo"]
def m_fits(X, y):
    left_out = np.ones(len(y), dtype=bool)
    errors = np.empty(len(y))
    for i in range(len(y)):
        left_out[i] = False
        theta, b = ridge(X[left_out], y[left_out], 1.0)
        errors[i] = y[i] - X[i] @ theta - b
        left_out[i] = True
    return errors


cost = scaling.measure(
    {
        "hat matrix (yours)": lambda X, y: loocv_ridge(X, y, np.array([1.0])),
        "m fits": m_fits,
        "RidgeCV": lambda X, y: RidgeCV(alphas=[1.0]).fit(X, y),
    },
    sizes=demo_size(full=[200, 800, 3200, 12_800, 51_200, 204_800], small=[100, 200, 400]),
    setup=lambda m: (np.random.default_rng(0).normal(size=(m, 10)), np.random.default_rng(1).normal(size=m)),
    budget=demo_size(full=9.0, small=2.0),
    label="rows m (d = 10)",
    threads=1,
    memory=None,
)
cost.plot(peer="RidgeCV")
plt.show()
fits, sizes = cost.seconds["m fits"], np.array(cost.sizes)
last = np.flatnonzero(np.isfinite(fits))[-1]
hours = fits[last] * (sizes[-1] / sizes[last]) ** 2 / 3600
print(f"m fits at m = {sizes[-1]:,}, continued with slope 2: {hours:,.2g} hours; the hat matrix: ", end="")
print(f"{cost.seconds['hat matrix (yours)'][-1]:.2g} s")

# %% [markdown]
# ### More rows, or another model? Learning curves
#
# A **learning curve** plots both errors against the number of rows. The error on fresh rows and the training error
# approach each other as $m$ grows. If they have met above the error that you need, more rows do not help: the model is
# too restricted (bias). If a wide gap remains, more rows do help, or a larger penalty (variance). Leave-one-out errors
# make such a curve cheap, because no rows need to be held back. Below, 60 features matter. One model sees 5 of them,
# the other all.

# %% tags=["demo"]
theta_true = np.random.default_rng(5).normal(size=60) / np.sqrt(60)
sizes = np.unique(np.geomspace(20, demo_size(full=1000, small=300), 8).astype(int))
figure, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True)
for ax, features in zip(axes, (5, 60), strict=True):
    train_error, left_out = np.zeros(len(sizes)), np.zeros(len(sizes))
    for i, m in enumerate(sizes):
        for seed in range(10):
            draw = np.random.default_rng([seed, m])
            X = draw.normal(size=(m, 60))
            y = X @ theta_true + 0.5 * draw.normal(size=m)
            theta, b = ridge(X[:, :features], y, 1.0)
            train_error[i] += np.mean((y - X[:, :features] @ theta - b) ** 2) / 10
            left_out[i] += np.mean(loocv_ridge(X[:, :features], y, np.array([1.0])) ** 2) / 10
    plotting.curves(
        {"leave one out": (sizes, left_out), "training error": (sizes, train_error)},
        xlabel="rows m",
        ylabel="mean squared error",
        title=f"{features} of 60 features",
        logx=True,
        ax=ax,
    )
    ax.axhline(0.25, color="0.5", lw=1, ls=":", label="variance of the noise")
    ax.legend()
plt.show()

# %% [markdown]
# ### 4.7 `bootstrap_interval` · important · level 2 of 4 · 15 min
#
# An error measured on 100 rows is itself random. If we could draw new data sets, we would see how much the number
# varies. We cannot, but the data are our best picture of their source. So draw from *them*: take $m$ rows with
# replacement, compute the number again, and repeat (Efron, 1979). The **percentile interval** at level 0.95 cuts 2.5%
# off each end of the values. It works for statistics that have no formula: a median, an AUC, a difference of two models
# on the same rows.
#
# Resample *whole rows*, so that the entries of one row stay together.


# %% exercise="bootstrap_interval" points=2 minutes=15 forbids=["scipy.stats"] trains=["statistics by simulation", "confidence intervals"]
def bootstrap_interval(
    rows: np.ndarray,
    statistic: Callable[[np.ndarray], float],
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of statistic(rows).

    rows: (m,) or (m, ...), m >= 1, of any dtype and memory layout; one entry along the first axis
    is one row and stays whole.
    statistic: takes an array of the shape and dtype of `rows`, returns a finite number. It is
    called exactly once for each resample, `resamples` times in all (resamples >= 1). It gets a new
    array each time, which it may keep or change.
    A resample is m rows drawn with replacement, all equally likely, with np.random.default_rng(seed)
    (in any way), seed >= 0 of any size; resamples are independent. The same seed gives the same
    interval, another seed other resamples. NumPy's global generator is neither used nor changed.

    Returns the quantiles (1 - level) / 2 and 1 - (1 - level) / 2 of the values, two floats (of
    Python or NumPy), as np.quantile computes them by default (linear interpolation). 0 < level < 1.
    Holds one resample at a time: memory does not grow with m * resamples. Leaves rows as they are.
    Not allowed: scipy.stats.
    """
    ### BEGIN SOLUTION
    draw, m = np.random.default_rng(seed), len(rows)
    values = [statistic(rows[draw.integers(m, size=m)]) for _ in range(resamples)]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
    ### END SOLUTION


# %% [markdown] hints="bootstrap_interval"
# <details><summary>Hint 1: one resample</summary>
#
# `draw.integers(m, size=m)` gives m row numbers with replacement; `rows[...]` with them is the resample.
# </details>
# <details><summary>Hint 2: many</summary>
#
# Make the generator once, before the loop. One made inside the loop from the same seed draws the same rows each time.
# </details>
# <details><summary>Hint 3: the interval</summary>
#
# Collect the values and return both ends: `np.quantile(values, (1 - level) / 2)` and `np.quantile(values,
# (1 + level) / 2)`, as floats.
# </details>

# %% check="bootstrap_interval"
with check("bootstrap_interval", forbids=["scipy.stats"]):
    seen = []

    def in_turn(resample):
        """Remembers the resample; returns 0, 1, 2, ... whatever it holds."""
        seen.append(np.array(resample))
        return float(len(seen) - 1)

    rows = np.arange(12.0).reshape(6, 2)
    with expect_unchanged(rows=rows):
        got = bootstrap_interval(rows, in_turn, level=0.9, resamples=101)
    assert len(seen) == 101, f"101 resamples make 101 calls of statistic, not {len(seen)}"
    expect_close(
        got,
        (5.0, 95.0),
        rtol=1e-9,
        mistakes={
            "You cut 1 − level off each end: half of it belongs to each.": (10.0, 90.0),
            "You gave the smallest and the largest value.": (0.0, 100.0),
        },
    )
    for resample in seen:
        expect_shape(resample, (6, 2), hint="a resample has as many rows as the data, and its rows stay whole")
        assert {tuple(row) for row in resample} <= {tuple(row) for row in rows}, "a row was torn apart"
    assert any(len({tuple(row) for row in resample}) < 6 for resample in seen), "draw with replacement"
    drawn = {tuple(row) for resample in seen for row in resample}
    assert len(drawn) == 6, f"of the 6 rows only {len(drawn)} are ever drawn in 101 resamples"
    assert len({resample.tobytes() for resample in seen}) > 50, "the resamples are all the same: see Hint 2"

# %% [markdown]
# Does a 95% interval contain the truth in 95% of cases? Draw many data sets from a symmetric and from a skewed
# distribution, both with mean 1, and compute an interval for the mean of each. The right panel shows the share that
# contains the truth, with bars of two standard errors of that share. It falls short of 95% for two different reasons.
# With few rows, the percentile interval is too narrow, more so for skewed rows: it is correct only in the limit of many
# rows. And with few resamples, the quantiles of the values lie too far inside: 100 resamples lose some more points
# than 1000 on the same data. Only the second error can be removed by computing more.

# %% tags=["demo"]
repeats, many, sizes = demo_size(full=200, small=30), demo_size(full=1000, small=100), [10, 30, 100]
sources = {
    "normal": lambda draw, m: draw.normal(1, 1, m),
    "skewed": lambda draw, m: draw.exponential(1, m),
}


def intervals(name, m, resamples):
    """One interval for the mean of each of many data sets of m rows, whose true mean is 1."""
    data = [sources[name](np.random.default_rng([m, number]), m) for number in range(repeats)]
    found = [bootstrap_interval(rows, lambda r: r.sum() / len(r), 0.95, resamples, i) for i, rows in enumerate(data)]
    return np.array(found)


settings = [("normal", many), ("skewed", many), ("skewed", many // 10)]
found = {(name, resamples, m): intervals(name, m, resamples) for name, resamples in settings for m in sizes}
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8))
for i, (low, high) in enumerate(found["skewed", many, 30][:30]):
    left.plot([i, i], [low, high], lw=2, ls="-", color=plotting.COLOURS[0 if low <= 1 <= high else 1])
left.axhline(1, color="k", lw=1)
left.set(xlabel="data set of 30 skewed rows", ylabel="interval for the mean", title="Most contain the true mean, 1")
for k, (name, resamples) in enumerate(settings):
    contains = [(found[name, resamples, m][:, 0] <= 1) & (found[name, resamples, m][:, 1] >= 1) for m in sizes]
    share = np.mean(contains, axis=1)
    bars = 2 * np.sqrt(share * (1 - share) / repeats)
    shifted = np.array(sizes) * 1.04 ** (k - 1)  # so that the bars do not hide each other
    right.errorbar(shifted, share, bars, fmt="o-", color=plotting.COLOURS[k], label=f"{name}, {resamples} resamples")
right.axhline(0.95, color="0.5", lw=1)
right.set_xscale("log")
right.set_xticks(sizes, sizes)
right.minorticks_off()
right.set(xlabel="rows m", ylabel="share that contains the truth", title="Few rows: less than 95%")
right.legend(loc="lower right")
plt.show()

# %% [markdown]
# ### 4.8 `confusion` · essential · level 3 of 4 · 25 min
#
# From here on the answer is a class. All that can be said about predicted classes, row by row, is in the **confusion
# matrix** $N$, $(C, C)$: $N_{ij}$ counts the rows of class $i$ that were called $j$. For class $i$:
#
# $$\text{precision}_i = \frac{N_{ii}}{\sum_j N_{ji}}, \qquad \text{recall}_i = \frac{N_{ii}}{\sum_j N_{ij}}, \qquad
# F_{1,i} = \frac{2 N_{ii}}{\sum_j N_{ji} + \sum_j N_{ij}} .$$
#
# Precision is the share of rows called $i$ that are $i$. Recall is the share of rows of class $i$ that were found.
# $F_1$ is the harmonic mean of the two. The **macro** average is the mean over classes, so that a rare class counts as
# much as a common one. The **micro** average sums numerators and denominators over the classes first. As each row has
# one class and one prediction, all three micro ratios are the accuracy, $\sum_i N_{ii} / \sum_{ij} N_{ij}$.
#
# Where books differ, we follow scikit-learn: rows of $N$ are the truth, columns the prediction. Macro $F_1$ is the
# mean of the classes' $F_1$, not the harmonic mean of macro precision and macro recall. And 0/0 has no value: a model
# that never says "ill" has precision 0/0. You must choose a value for it, and say which.


# %% exercise="confusion" points=3 minutes=25 forbids=["sklearn"] trains=["honest evaluation", "summaries that merge"]
def confusion(y: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts N, (classes, classes), integers: N[i, j] rows have y = i and predicted = j.

    y, predicted: (m,), integers from 0 to classes - 1, of any NumPy integer dtype (the two may
    differ; no bools), in any memory layout; m may be 0. classes >= 1.
    Raises ValueError where a label of either array lies outside.
    Returns a new array of an integer dtype. Leaves y and predicted as they are.
    Memory for a few arrays of the size of y and N, not for an (m, classes) array.
    """
    ### BEGIN SOLUTION
    cells = np.ravel_multi_index((y, predicted), (classes, classes))  # int64; raises ValueError for what lies outside
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)
    ### END SOLUTION


def classification_scores(
    counts: np.ndarray, average: str = "macro", zero_division: float = 0.0
) -> dict[str, float | np.ndarray]:
    """Accuracy, precision, recall and F1 of a confusion matrix (rows: truth, columns: prediction).

    counts: (C, C), C >= 1, not negative; float32, float64 or any NumPy integer dtype, in any
    memory layout. Their sums may exceed their dtype, but not 1e15. All may be zero.
    average: "none" gives arrays (C,), one value a class; "macro" their mean over all C classes,
    also those that never occur; "micro" the ratios of the sums over the classes. Any other word
    raises ValueError.
    zero_division: a number from 0 to 1, the value of each ratio 0/0, before macro averages:
    precision of a class that was never predicted, recall of one that never occurs, F1 of one
    without either; and the accuracy where all counts are 0. F1 of a class is 2 N_ii divided by
    (row sum + column sum).

    Returns {"accuracy": float, "precision": ..., "recall": ..., "f1": ...}: floats (of Python or
    NumPy), or new float64 arrays with "none". The accuracy is one float with each average.
    Leaves counts as they are. Not allowed, in either function: sklearn.
    """
    ### BEGIN SOLUTION
    if average not in ("none", "macro", "micro"):
        raise ValueError(f"average must be none, macro or micro, not {average!r}")

    def ratio(part, whole):
        return np.divide(part, whole, out=np.full(np.shape(whole), zero_division, dtype=float), where=whole > 0)

    N = np.asarray(counts, dtype=float)
    hits, truth, said = N.diagonal(), N.sum(axis=1), N.sum(axis=0)
    accuracy = float(ratio(hits.sum(), N.sum()))
    if average == "micro":
        hits, truth, said = hits.sum(), truth.sum(), said.sum()
    scores = {"precision": ratio(hits, said), "recall": ratio(hits, truth), "f1": ratio(2 * hits, truth + said)}
    if average != "none":
        scores = {name: float(values.mean()) for name, values in scores.items()}
    return {"accuracy": accuracy, **scores}
    ### END SOLUTION


# %% [markdown] hints="confusion"
# <details><summary>Hint 1: counting</summary>
#
# The pair (i, j) is the cell i · classes + j of a flat matrix, and `np.bincount(cells, minlength=classes**2)` counts
# cells. Make the labels int64 first: 20 · 30 does not fit into a uint8.
# </details>
# <details><summary>Hint 2: the ratios</summary>
#
# The hits are the diagonal; sum along axis 1 for the truth, and along axis 0 for the predictions. F1 is 2 hits /
# (truth + said). For micro, sum hits, truth and said first.
# </details>
# <details><summary>Hint 3: 0/0</summary>
#
# One helper for all four: `np.where(whole > 0, part / np.where(whole > 0, whole, 1), zero_division)`. It works for
# arrays and for single numbers, and never divides by 0.
# </details>

# %% check="confusion"
with check("confusion", forbids=["sklearn"]):
    y, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 2, 2])
    with expect_unchanged(y=y, predicted=predicted):
        counts = confusion(y, predicted, classes=3)
    right = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 2]])
    expect_close(counts, right, atol=0, mistakes={"Rows are the truth, columns the prediction.": right.T})
    expect_dtype(counts, np.integer)
    expect_shape(
        confusion(y[:2], y[:2], classes=4), (4, 4), hint="a class that does not occur has its row and column, too"
    )
    with expect_raises(ValueError, hint="a label of −1 must not count as the last class"):
        confusion(np.array([-1, 0]), np.array([0, 0]), classes=3)
    each = classification_scores(right, average="none")
    expect_close(each["precision"], [1 / 2, 1 / 2, 2 / 2], mistakes={"This is the recall.": [1 / 2, 1, 2 / 3]})
    expect_close(each["recall"], [1 / 2, 1 / 1, 2 / 3])
    expect_close(each["f1"], [2 / 4, 2 / 3, 4 / 5])
    macro = classification_scores(right)
    expect_close(macro["accuracy"], 4 / 6)
    expect_close(
        macro["f1"],
        (1 / 2 + 2 / 3 + 4 / 5) / 3,
        mistakes={
            "This is F1 of the averages; average the F1 of the classes.": 2 * (2 / 3 * 13 / 18) / (2 / 3 + 13 / 18)
        },
    )
    micro = classification_scores(right, average="micro")
    expect_close([micro["precision"], micro["recall"], micro["f1"]], [4 / 6] * 3, hint="pooled, all are the accuracy")
    # Nobody is ill, and nobody is called ill: class 1 has 0/0 everywhere.
    none = classification_scores(np.array([[3, 0], [0, 0]]), average="none", zero_division=0.25)
    expect_close(none["precision"], [1.0, 0.25], hint="zero_division stands for 0/0")
    expect_close([none["recall"][1], none["f1"][1]], [0.25, 0.25])
    # One is ill, none is called ill: precision is 0/0, recall 0/1, F1 0/1.
    missed = classification_scores(np.array([[3, 0], [1, 0]]), average="none", zero_division=1.0)
    expect_close(
        [missed["precision"][1], missed["recall"][1], missed["f1"][1]],
        [1.0, 0.0, 0.0],
        hint="zero_division replaces 0/0 only, not 0/1",
    )
    with expect_raises(ValueError, hint="average is one of three words"):
        classification_scores(right, average="weighted")

# %% [markdown]
# A threshold turns a score into a class, and you choose the threshold. The figure shows a detector that gives ill
# people higher scores. On the left 50% of people are ill, on the right 1%. The recall is the same. On the
# right, at thresholds above 1, the accuracy is higher, near 1 at the end, and the precision is lower: there are so many
# healthy people that even a small share of false alarms outnumbers the ill.


# %% tags=["demo"]
def detector(m, share, seed=0):
    """Scores, normal with deviation 1: around 2 for the ill (y = 1), around 0 for the healthy."""
    draw = np.random.default_rng(seed)
    y = (draw.random(m) < share).astype(int)
    return draw.normal(size=m) + 2 * y, y


thresholds = np.linspace(-1.5, 4, 45)
figure, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True)
for ax, share in zip(axes, (0.5, 0.01), strict=True):
    score, ill = detector(demo_size(full=50_000, small=5_000), share)
    found = [classification_scores(confusion(ill, (score > t).astype(int), 2), "none") for t in thresholds]
    lines = {name: (thresholds, [each[name][1] for each in found]) for name in ("precision", "recall", "f1")}
    lines["accuracy"] = (thresholds, [each["accuracy"] for each in found])
    plotting.curves(lines, xlabel="threshold", title=f"{share:.0%} are ill", ax=ax)
plt.show()

# %% [markdown]
# ### 4.9 `roc_auc` · essential · level 3 of 4 · 20 min
#
# The **ROC curve** plots, for every threshold, the share of positives above it against the share of negatives above it.
# The area under it, the **AUC**, is the probability that a random positive scores above a random negative, where a
# tie counts one half. As a formula over all pairs, with $P$ positives and $Q$ negatives,
#
# $$\mathrm{AUC} = \frac{1}{PQ} \sum_{i: y_i = 1}\ \sum_{j: y_j = 0}
# \Bigl( [a_i > a_j] + \tfrac12 [a_i = a_j] \Bigr), \qquad a = \text{scores}.$$
#
# That is $PQ$ comparisons. Sorting needs $O(m \log m)$: a positive beats the negatives that come before it. Many
# implementations are wrong on ties. Scores are often rounded, or counts, or the leaves of a tree, and then many are
# equal. An unstable sort orders them by chance, and a stable one favours the rows that come last in the file.


# %% exercise="roc_auc" points=3 minutes=20 forbids=["sklearn", "scipy.stats"] trains=["honest evaluation"]
def roc_auc(score: np.ndarray, y: np.ndarray) -> float:
    """Area under the ROC curve: the share of pairs (positive, negative) in which the positive has the
    higher score; a tie counts one half.

    score: (m,), finite; float32, float64 or any NumPy integer dtype, also int64 beyond 2**53:
    compare them in their own dtype.
    y: (m,), each 0 or 1, in any of these dtypes or bool. Both in any memory layout.
    Only the order of the scores matters: equal scores are ties, and any other difference, however
    small, counts in full.
    O(m log m) time and O(m) memory: a million rows take about a second; a program that compares all
    pairs would take minutes.
    Returns a float (of Python or NumPy), to within 1e-12. Raises ValueError unless y holds both
    classes. Leaves score and y as they are. Not allowed: sklearn, scipy.stats.
    """
    ### BEGIN SOLUTION
    _, group = np.unique(score, return_inverse=True)
    positives, negatives = np.bincount(group, weights=y), np.bincount(group, weights=1 - y)
    pairs = positives.sum() * negatives.sum()
    if pairs == 0:
        raise ValueError("AUC needs a positive and a negative")
    below = np.cumsum(negatives) - negatives
    return float(positives @ (below + negatives / 2) / pairs)
    ### END SOLUTION


# %% [markdown] hints="roc_auc"
# <details><summary>Hint 1: without ties</summary>
#
# Sort by score. For each positive, count the negatives before it: a cumulative sum. Divide the total by P · Q.
# </details>
# <details><summary>Hint 2: groups of equal scores</summary>
#
# `np.unique(score, return_inverse=True)` numbers the distinct scores in rising order. Do not convert the scores to
# float64 first: integers beyond 2**53 would become ties. Count the positives and the
# negatives of each group with `np.bincount(group, weights=...)`.
# </details>
# <details><summary>Hint 3: putting it together</summary>
#
# A positive in group g beats all negatives of lower groups, `np.cumsum(negatives) - negatives`, and half of those in
# its own group. Sum positives · (below + negatives / 2) and divide by the number of pairs.
# </details>

# %% check="roc_auc"
with check("roc_auc", forbids=["sklearn", "scipy.stats"]):
    score, y = np.array([0.1, 0.4, 0.4, 0.8]), np.array([0, 1, 0, 1])
    with expect_unchanged(score=score, y=y):
        got = roc_auc(score, y)
    # Of the four pairs three are won, and one, 0.4 against 0.4, is tied.
    expect_close(
        got,
        3.5 / 4,
        rtol=1e-12,
        mistakes={
            "You counted the tie as lost.": 3 / 4,
            "You counted the tie as won.": 1.0,
            "The order is reversed: higher scores speak for y = 1.": 0.5 / 4,
        },
    )
    expect_close(roc_auc(np.zeros(5), np.array([0, 1, 0, 0, 1])), 0.5, rtol=1e-12, hint="all tied: one half")
    expect_close(roc_auc(np.array([3, 2, 1], dtype=np.uint8), np.array([False, True, True])), 0.0, atol=1e-12)
    with expect_raises(ValueError, hint="no positive: there are no pairs"):
        roc_auc(score, np.zeros(4, dtype=int))

# %% [markdown]
# Left: the ROC curve, with the area that your function computes, for the scores themselves and for rounded scores. Each
# group of ties becomes a straight slope, which is the "one half" of the formula. Right: two models on the same 200
# patients. Each AUC alone has a wide interval. The interval of their *difference*, with patients resampled as whole
# rows, says whether one is better: it should not contain 0.

# %% tags=["demo"]
score, ill = detector(2000, 0.3, seed=1)


def roc_points(score, y):
    """(false positive rate, true positive rate) at each distinct threshold, from high to low."""
    values = np.unique(score)[::-1]
    above = score[:, None] >= values
    return np.c_[[0, 0], [above[y == 0].mean(axis=0), above[y == 1].mean(axis=0)]]


figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
for values, name in ((score, "scores"), (np.round(score), "rounded")):
    label = f"{name}: AUC {roc_auc(values, ill):.3f}"
    left.plot(*roc_points(values, ill), "o-" if name == "rounded" else "-", label=label)
left.plot([0, 1], [0, 1], "k--", lw=1)
left.set(xlabel="share of the healthy above", ylabel="share of the ill above", title="Every threshold, one curve")
left.legend(loc="lower right")

score, ill = detector(200, 0.4, seed=2)
worse = score + 0.7 * np.random.default_rng(3).normal(size=200)
patients = np.column_stack([score, worse, ill])
statistics = {
    "A − 0.5": lambda rows: roc_auc(rows[:, 0], rows[:, 2]) - 0.5,
    "B − 0.5": lambda rows: roc_auc(rows[:, 1], rows[:, 2]) - 0.5,
    "A − B": lambda rows: roc_auc(rows[:, 0], rows[:, 2]) - roc_auc(rows[:, 1], rows[:, 2]),
}
for row, (name, statistic) in enumerate(statistics.items()):
    low, high = bootstrap_interval(patients, statistic, resamples=demo_size(full=1000, small=100))
    right.plot([low, high], [-row, -row], lw=3, ls="-", color=plotting.COLOURS[row])
    right.plot(statistic(patients), -row, "o", color=plotting.COLOURS[row])
    print(f"{name:8s} {statistic(patients):.3f}   95% interval {low:.3f} to {high:.3f}")
right.axvline(0, color="k", lw=1)
right.set_yticks([0, -1, -2], list(statistics))
right.set(xlabel="difference of AUC", ylim=(-2.6, 0.6), title="95% intervals: does one contain 0?")
plt.show()

# %% [markdown]
# ## Scale it
#
# ### 4.10 `auc_bounds` · important · level 3 of 4 · 18 min
#
# The rows of a large evaluation lie on many machines, or arrive hour by hour. What can each part send, so that the
# whole gets the right number?
#
# - Counts **merge**: confusion matrices of parts add up to that of the whole, and all of exercise 4.8 follows from the
#   sum. Averages of the parts' F1 do not.
# - An AUC does not merge: a positive of one part must be compared with the negatives of all parts. Nor does a median.
#   If one machine sorts all scores, all of them must travel to it.
# - But counts of *binned* scores merge, and they bound the AUC from both sides. Cut $[0, 1]$ into $B$ bins of equal
#   width and count the negatives and positives in each. The order of a pair in different bins is known. The order of a
#   pair in the same bin is not. So count those pairs once as all lost, once as all won:
#
# $$\text{low} = \frac{1}{PQ} \sum_{\beta} p_\beta \sum_{\gamma < \beta} q_\gamma \;\le\; \mathrm{AUC} \;\le\;
# \text{high} = \text{low} + \frac{1}{PQ} \sum_\beta p_\beta q_\beta ,$$
#
# with $p_\beta$ positives and $q_\beta$ negatives in bin $\beta$. Each part sends $2B$ integers, however many rows it
# has. The result is a known interval instead of a number.


# %% exercise="auc_bounds" points=3 minutes=18 forbids=["sklearn"] trains=["summaries that merge"]
def score_counts(score: np.ndarray, y: np.ndarray, bins: int) -> np.ndarray:
    """Negatives (row 0) and positives (row 1) in each of `bins` bins of the scores, (2, bins), int64.

    score: (m,), float64 or float32 (convert it to float64 first), from 0 to 1; y: (m,), each 0 or
    1, as floats, integers or bools. Both in any memory layout; m may be 0. bins >= 1.
    A score a falls into bin floor(a * bins), with the product as float64 rounds it; where that
    gives `bins`, as for a = 1, into the last bin. (np.histogram rounds its edges otherwise.)
    O(m + bins) time and memory: no (m, bins) array. Returns a new array. Leaves score and y as they
    are.
    """
    ### BEGIN SOLUTION
    bin_of = np.minimum(np.asarray(score, dtype=np.float64) * bins, bins - 1).astype(np.int64)
    return np.bincount(bin_of + bins * np.asarray(y, dtype=np.int64), minlength=2 * bins).reshape(2, bins)
    ### END SOLUTION


def auc_bounds(counts: np.ndarray) -> tuple[float, float]:
    """The lowest and the highest AUC that scores with these counts can have.

    counts: (2, bins): negatives and positives in each bin, bins in rising order, as `score_counts`
    gives them, or a sum of such arrays; any NumPy integer dtype, in any memory layout. A count may
    be 1e12: the number of pairs does not fit into an int64.

    Returns (low, high), floats (of Python or NumPy), to a relative error of 1e-12: all pairs within
    a bin lost, and all won. O(bins) time and memory: a million bins work.
    Raises ValueError unless there are both negatives and positives. Leaves counts as they are.
    Not allowed, in either function: sklearn.
    """
    ### BEGIN SOLUTION
    negatives, positives = np.asarray(counts, dtype=float)
    pairs = negatives.sum() * positives.sum()
    if pairs == 0:
        raise ValueError("AUC needs a positive and a negative")
    up_to = np.cumsum(negatives)
    return float(positives @ (up_to - negatives) / pairs), float(positives @ up_to / pairs)
    ### END SOLUTION


# %% [markdown] hints="auc_bounds"
# <details><summary>Hint 1: the counts</summary>
#
# The bin is `np.floor(score * bins)`, but at most bins − 1. Add bins · y and one `np.bincount`
# with 2 · bins cells, reshaped to (2, bins), counts everything.
# </details>
# <details><summary>Hint 2: the bounds</summary>
#
# You know this sum from `roc_auc`, where the pairs within a group counted one half. Here they count 0, and then 1.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# `up_to = np.cumsum(negatives)` as floats: low is `positives @ (up_to - negatives) / pairs`, high is
# `positives @ up_to / pairs`.
# </details>

# %% check="auc_bounds"
with check("auc_bounds", forbids=["sklearn"]):
    score, y = np.array([0.0, 0.4, 0.5, 0.5, 1.0]), np.array([0, 1, 0, 1, 1])
    with expect_unchanged(score=score, y=y):
        counts = score_counts(score, y, bins=2)
    expect_close(
        counts,
        [[1, 1], [1, 2]],
        atol=0,
        hint="0.5 belongs to the upper bin, and so does 1; 0.4 belongs to the lower one",
        mistakes={"Row 0 holds the negatives, row 1 the positives.": [[1, 2], [1, 1]]},
    )
    part = score_counts(score[:3], y[:3], bins=2)
    expect_close(part, [[1, 1], [1, 0]], atol=0, hint="the bins divide 0 to 1, whatever scores this part holds")
    # 3 positives, 2 negatives, 6 pairs. Two positives of the upper bin beat the negative of the lower one: 2 pairs.
    # Within the bins there are 1 * 1 + 2 * 1 = 3 pairs.
    expect_close(
        auc_bounds(np.array([[1, 1], [1, 2]])),
        (2 / 6, 5 / 6),
        rtol=1e-12,
        mistakes={"These are 1 minus the bounds: which row is which?": (1 / 6, 4 / 6)},
    )
    expect_close(auc_bounds(np.array([[10**12, 0], [0, 10**12]])), (1.0, 1.0), rtol=1e-12, hint="int64 overflows")
    with expect_raises(ValueError, hint="no positive"):
        auc_bounds(np.array([[1, 1], [0, 0]]))

# %% [markdown]
# Four partitions that differ: each hour of the day has its own mixture. The cell compares the average of the parts' own
# numbers with the result of the merged counts.


# %% tags=["demo"]
def hour(number, m):
    """Scores from 0 to 1 and labels of one partition; the level of the scores drifts over the day."""
    draw = np.random.default_rng([4, number])
    y = (draw.random(m) < [0.5, 0.2, 0.05, 0.01][number % 4]).astype(int)
    return 1 / (1 + np.exp(-(draw.normal(size=m) + 1.5 * y - 0.8 * (number % 4)))), y


parts = [hour(number, 5000) for number in range(4)]
all_scores, all_y = (np.concatenate(column) for column in zip(*parts, strict=True))
merged = sum(score_counts(score, y, bins=200) for score, y in parts)
table = sum(confusion(y, (score > 0.5).astype(int), 2) for score, y in parts)
part_f1 = [classification_scores(confusion(y, (score > 0.5).astype(int), 2), "none")["f1"][1] for score, y in parts]
print(f"AUC of all rows, sorted in one place:  {roc_auc(all_scores, all_y):.4f}")
print("from merged counts (2 x 200 integers): {:.4f} to {:.4f}".format(*auc_bounds(merged)))
print(f"mean of the partitions' AUCs:          {np.mean([roc_auc(score, y) for score, y in parts]):.4f}")
print(f"F1 of all rows, from the merged table: {classification_scores(table, 'none')['f1'][1]:.4f}")
print(f"mean of the partitions' F1:            {np.mean(part_f1):.4f}")

# %% [markdown]
# ### What it costs
#
# Sorting takes $O(m \log m)$ and must hold all the rows; counting takes $O(m)$ and holds one chunk. Left: seconds, with
# scikit-learn as the peer. The three do not compute the same: two give the AUC exactly, and the counts give an interval
# for it, so read the left panel together with the right one. Right: the width of that interval. It falls as $1/B$,
# because about a share $1/B$ of all pairs lies within a bin. A part sends $16B$ bytes. scikit-learn takes longer than
# the NumPy solution of the hints because it also checks its inputs and computes the whole curve.

# %% tags=["demo"]
timing = scaling.measure(
    {
        "roc_auc (yours, exact)": roc_auc,
        "auc_bounds (yours, 1000 bins)": lambda score, y: auc_bounds(score_counts(score, y, 1000)),
        "scikit-learn (exact)": lambda score, y: roc_auc_score(y, score),
    },
    sizes=demo_size(full=[1000, 10_000, 100_000, 1_000_000], small=[1000, 10_000]),
    setup=lambda m: hour(0, m),
    budget=demo_size(full=6.0, small=2.0),
    label="rows m",
    threads=1,
)
figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.4))
timing.plot(peer="scikit-learn (exact)", ax=left)
score, y = hour(0, demo_size(full=200_000, small=20_000))
exact, widths, bin_counts = roc_auc(score, y), [], 2 ** np.arange(2, 15)
for bins in bin_counts:
    low, high = auc_bounds(score_counts(score, y, int(bins)))
    assert low <= exact + 1e-12 and exact <= high + 1e-12
    widths.append(high - low)
slope = np.polyfit(np.log(bin_counts), np.log(widths), 1)[0]
plotting.curves(
    {f"high − low, slope {slope:.2f}": (bin_counts, widths)},
    xlabel="bins B",
    title="Twice the bins, half the width",
    logx=True,
    logy=True,
    ax=right,
)
plt.show()
timing.table()

# %% [markdown]
# ### Many partitions, one pass
#
# To count a part takes one pass and no other part. So parts may be handled in any order, merged in any grouping, and
# counted again when a machine fails. A combiner in MapReduce and an all-reduce need exactly that. The cell makes
# partitions, counts them and forgets them, one after another. All the scores together are never in memory.

# %% tags=["demo"]
partitions, rows_each = demo_size(full=40, small=4), demo_size(full=100_000, small=10_000)
start = time.perf_counter()
totals = np.zeros((2, 4096), dtype=np.int64)
for number in range(partitions):
    totals += score_counts(*hour(number, rows_each), bins=4096)
low, high = auc_bounds(totals)
print(f"{totals.sum():,} rows in {partitions} partitions, {time.perf_counter() - start:.1f} s (drawing them included)")
print(f"AUC between {low:.5f} and {high:.5f}; {totals.nbytes:,} bytes from each partition, whatever its size")

# %% [markdown]
# ### 4.11 `kfold_ridge` · optional · level 3 of 4 · 25 min
#
# Cross-validation merges, too. Ridge needs only sums over rows, so let each fold keep its own. With a row of
# $Z = (1, X, y)$, of shape $(d + 2,)$, all of them are in one matrix a fold, $A_f = \sum_{i \in f} z_i z_i^\top$:
# the number of rows, the sums of $x$ and $y$, and their products. The training rows of fold $f$ have the matrix
# $A - A_f$, where $A = \sum_f A_f$: one subtraction instead of another pass over the data. From it come the means, the
# centred products $X_c^\top X_c$ and $X_c^\top y_c$, and so $\theta$ and $b$. The error on the held-out fold needs no
# rows either: with $v = (b, \theta, -1)$,
#
# $$\sum_{i \in f} (b + x_i^\top\theta - y_i)^2 = \sum_{i \in f} (z_i^\top v)^2 = v^\top A_f\, v .$$
#
# One pass over the rows gives all folds and all penalties: $O(md^2)$ for the sums, then $O(Kd^3)$ for each λ, without
# any row.


# %% exercise="kfold_ridge" points=3 minutes=25 extra=true forbids=["sklearn"] trains=["honest evaluation", "summaries that merge"]
def kfold_ridge(
    chunks: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], k: int, penalties: np.ndarray
) -> np.ndarray:
    """Cross-validated mean squared error of ridge, for several penalties, from one pass over rows.

    chunks: an iterable of (X, y, fold), at least one, that can be gone through once only: X (n, d),
    y (n,), fold (n,): for each row an integer from 0 to k - 1, its fold. n differs from chunk to
    chunk and may be 0; d >= 1 does not. The rows of a fold may lie in many chunks. X and y: float32,
    float64 or any NumPy integer dtype, converted to float64. k >= 2; each fold has a row somewhere.
    penalties: (p,), p >= 1, all > 0, of any of these dtypes.

    Returns (p,), a new float64 array: for each penalty, the mean over all m rows of
    (y - prediction)^2, where `ridge` with that penalty, fitted to the rows of all other folds,
    makes the prediction (with intercept, not standardised).
    Keeps O(k d^2) numbers besides one chunk: neither the rows nor anything else that grows with m.
    Sums of squares lose digits where a mean is large beside the deviation; you may lose them: no
    test has a mean above ten deviations. Leaves all arrays as they are. Not allowed: sklearn.
    """
    ### BEGIN SOLUTION
    sums = 0.0
    for X, y, fold in chunks:
        Z = np.column_stack([np.ones(len(y)), X, y])
        sums = sums + np.array([Z[fold == f].T @ Z[fold == f] for f in range(k)])
    total, errors = sums.sum(axis=0), np.zeros(len(penalties))
    for held in sums:
        train = total - held
        mean = train[0] / train[0, 0]
        centred = (train - train[0, 0] * np.outer(mean, mean))[1:, 1:]
        for j, penalty in enumerate(penalties):
            theta = np.linalg.solve(centred[:-1, :-1] + penalty * np.eye(len(centred) - 1), centred[:-1, -1])
            v = np.concatenate([[mean[-1] - mean[1:-1] @ theta], theta, [-1.0]])
            errors[j] += v @ held @ v
    return errors / total[0, 0]
    ### END SOLUTION


# %% [markdown] hints="kfold_ridge"
# <details><summary>Hint 1: what to keep</summary>
#
# For each chunk `Z = np.column_stack([np.ones(len(y)), X, y])`, and for each fold f add `Z[fold == f].T @ Z[fold == f]`
# to the matrix of that fold.
# </details>
# <details><summary>Hint 2: the fit</summary>
#
# `train = total - held`. Its first row is (n, sums of X, sum of y), so `mean = train[0] / train[0, 0]`. Centred
# products are `train - n * np.outer(mean, mean)`; the part for X and the part for X with y are slices of it.
# </details>
# <details><summary>Hint 3: the error</summary>
#
# `v = np.concatenate([[b], theta, [-1]])`; the squared error on the fold is `v @ held @ v`. Divide the sum over the
# folds by the number of all rows.
# </details>

# %% check="kfold_ridge"
with check("kfold_ridge", forbids=["sklearn"]):
    draw = np.random.default_rng(0)
    X, y, fold = draw.normal(size=(14, 2)) + 1, draw.normal(size=14), np.arange(14) % 3  # folds of 5, 5 and 4 rows
    penalties = np.array([0.5, 5.0])
    means = np.zeros((2, 3))  # the mean squared error of each fold
    for j, penalty in enumerate(penalties):
        for f in range(3):
            theta, b = ridge(X[fold != f], y[fold != f], penalty)
            means[j, f] = np.mean((y[fold == f] - X[fold == f] @ theta - b) ** 2)
    slow = means @ [5, 5, 4] / 14
    with expect_unchanged(X=X, y=y, fold=fold):
        got = kfold_ridge(((X[i : i + 4], y[i : i + 4], fold[i : i + 4]) for i in range(0, 14, 4)), 3, penalties)
    expect_close(
        got,
        slow,
        rtol=1e-8,
        hint="this is what three fits of your ridge for each penalty give",
        mistakes={
            "This is a sum over the rows: divide by m = 14.": 14 * slow,
            "This is the mean of the folds' means: average over the rows.": means.mean(axis=1),
        },
    )

# %% [markdown]
# The peer is scikit-learn's `RidgeCV` with five folds, which fits each fold and each λ again from the rows. Left:
# seconds for 10 penalties. Right: memory beyond the data.

# %% tags=["demo"]
penalties = np.geomspace(1e-2, 1e4, 10)


def in_chunks(X, y, fold):
    return ((X[i : i + 4096], y[i : i + 4096], fold[i : i + 4096]) for i in range(0, len(y), 4096))


def fold_by_fold(X, y, fold):
    """The same errors, from 50 fits with your ridge."""
    errors = np.zeros(len(penalties))
    for f in range(5):
        train, test = fold != f, fold == f
        for j, penalty in enumerate(penalties):
            theta, b = ridge(X[train], y[train], penalty)
            errors[j] += np.sum((y[test] - X[test] @ theta - b) ** 2) / len(y)
    return errors


def regression_rows(m):
    draw = np.random.default_rng(m)
    X = draw.normal(size=(m, 20))
    return X, X.sum(axis=1) + draw.normal(size=m), draw.integers(0, 5, m)


passes = scaling.measure(
    {
        "kfold_ridge (yours)": lambda X, y, fold: kfold_ridge(in_chunks(X, y, fold), 5, penalties),
        "50 fits of ridge (yours)": fold_by_fold,
        "RidgeCV, 5 folds": lambda X, y, fold: RidgeCV(
            alphas=penalties, cv=PredefinedSplit(fold), scoring="neg_mean_squared_error"
        ).fit(X, y),
    },
    sizes=demo_size(full=[1000, 4000, 16_000, 64_000], small=[500, 1000]),
    setup=regression_rows,
    budget=demo_size(full=12.0, small=3.0),
    repeat=1,
    label="rows m (d = 20)",
    threads=1,
)
figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.4))
passes.plot(peer="RidgeCV, 5 folds", ax=left)
passes.plot(peer="RidgeCV, 5 folds", what="memory", ax=right)
plt.show()
X, y, fold = regression_rows(1000)
ratios = kfold_ridge(in_chunks(X, y, fold), 5, penalties) / fold_by_fold(X, y, fold)
print(f"largest relative difference between the first two: {np.abs(ratios - 1).max():.1e}")

# %% [markdown]
# ### Where it breaks
#
# Bins of equal width help only where the scores spread over them. A click model gives nearly all its scores near 0.01,
# and they fall into few bins. The interval then becomes wide; it stays correct. Remedies: bin the logit, or use bins
# that hold equal shares of the rows, from quantiles that merge (module 06). The cell below tries the logit.
#
# A bootstrap resample of $m$ rows needs all the rows. On partitions, give each row a weight drawn from a Poisson
# distribution with mean 1 instead. It needs no other rows, and weighted counts merge (Chamandy et al., 2012).
# Cross-validation of a large model costs $K$ trainings. There, use one held-out set that is large enough for a narrow
# interval, and do not choose models with it again and again: each choice makes its estimate more optimistic.
#
# The shortcut of exercise 4.6 breaks where $m \le d + 1$ and λ is tiny. The fit then passes nearly through every
# row, $S_{ii}$ is nearly 1, and both $y_i - \hat y_i$ and $1 - S_{ii}$ lose their digits to cancellation (module 00).
# The sums of exercise 4.11 lose digits in the same way where a column lies far from zero: subtract a first guess of
# its mean from every chunk.

# %% tags=["demo"]
score, y = hour(0, demo_size(full=100_000, small=10_000))
crowded = score / 100  # the same order, in a hundredth of the range
logit = np.log(crowded / (1 - crowded))
spread = (logit - logit.min()) / (logit.max() - logit.min())
for name, values in {"spread out": score, "crowded near 0": crowded, "crowded, logits binned": spread}.items():
    low, high = auc_bounds(score_counts(values, y, 1000))
    print(f"{name:23s} AUC {roc_auc(values, y):.4f}, from 1000 bins: {low:.4f} to {high:.4f}")

# %% [markdown] written="which_number" points=2
# **Written question (2 points).** A bank screens payments, of which one in a thousand is fraud. A colleague reports for
# a new model: accuracy 99.9%, AUC 0.95, both from five-fold cross-validation. The 30 features were those of 2,000 that
# correlated best with fraud on the whole file. Rows were shuffled, although one customer has many. Say what each of the
# two numbers shows and what it does not show. Name every leak and how you would close it. Say which numbers you would
# ask for, with what kind of interval.
#
# ### BEGIN SOLUTION
# "Never fraud" also has an accuracy of 99.9%, so this number shows nothing. AUC 0.95 says that a random fraud has a
# higher score than a random honest payment in 95% of pairs. At one fraud in a thousand, even a false positive rate of
# 1% makes ten alarms for each fraud, so precision may still be very low. Leaks: the features were selected with the
# labels of the test rows (move selection, and scaling, inside the folds); rows of one customer lie in train and test
# (keep a customer in one fold; and, as fraud changes with time, test on later months than were trained on). Ask for
# precision at the number of alarms that can be handled, or recall at a fixed precision, and the money saved, with a
# bootstrap interval that resamples whole customers (rows of one customer are not independent), and for the difference
# to the present system on the same payments.
#
# ### RUBRIC
# - 0.5: The accuracy shows nothing: "never fraud" has 99.9%, too.
# - 0.5: The AUC compares random pairs; with one fraud in a thousand, precision may be low all the same.
# - 0.5: Both leaks with their cures: features are selected inside the folds, and all rows of a customer stay in one
#   fold.
# - 0.5: Precision or recall at a number of alarms that is stated, with an interval that resamples customers instead
#   of rows.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. Ridge's *effective number of parameters* is the trace of $S$. Replace each leverage in exercise 4.6 by the mean
#    leverage, and you have generalised cross-validation. When do the two choose different penalties?
# 2. Cross-validate 1000 penalties and report the error of the best. Why is that number too low, by how much on pure
#    noise, and what does a second loop around the first one change?
# 3. Least squares with more features than rows can fit its training set exactly and still generalise. Plot the test
#    error of `ridge` with a tiny penalty against $d$, through $d = m$. What happens at the peak, and which λ removes
#    it?
# 4. AUC is a mean over pairs, so the terms are not independent. What is its standard error, and why is the
#    bootstrap of rows still right?
# 5. Two hospitals may not share rows, nor exact counts. What noise on `score_counts` would protect a single patient,
#    and how wide would the bounds become? (Module 21.)
#
# References:
#
# - A. E. Hoerl and R. W. Kennard, "Ridge regression: biased estimation for nonorthogonal problems", *Technometrics*,
#   1970. Some bias always lowers the error; the proof.
# - R. Tibshirani, "Regression shrinkage and selection via the lasso", *JRSS B*, 1996. The penalty that selects, and its
#   geometry.
# - A. Beck and M. Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse problems", *SIAM
#   Journal on Imaging Sciences*, 2009. FISTA and the proof of its bound.
# - M. Stone, "Cross-validatory choice and assessment of statistical predictions", *JRSS B*, 1974. The paper that
#   made leave-one-out a method.
# - G. H. Golub, M. Heath and G. Wahba, "Generalized cross-validation as a method for choosing a good ridge parameter",
#   *Technometrics*, 1979. Read it for question 1.
# - B. Efron, "Bootstrap methods: another look at the jackknife", *Annals of Statistics*, 1979. The first paper
#   on the bootstrap.
# - C. Ambroise and G. J. McLachlan, "Selection bias in gene extraction on the basis of microarray gene-expression
#   data", *PNAS*, 2002. The leak of this module, in published results.
# - S. Kaufman, S. Rosset, C. Perlich and O. Stitelman, "Leakage in data mining: formulation, detection, and avoidance",
#   *ACM TKDD*, 2012. A catalogue of the other leaks.
# - J. A. Hanley and B. J. McNeil, "The meaning and use of the area under a receiver operating characteristic (ROC)
#   curve", *Radiology*, 1982. AUC as a share of pairs, with its standard error for question 4.
# - N. Chamandy, O. Muralidharan, A. Najmi and S. Naidu, "Estimating uncertainty for massive data streams", Google
#   technical report, 2012. The Poisson bootstrap on partitions.
#
# At work: scikit-learn's `RidgeCV`, `LassoCV`, `Pipeline` (which keeps preprocessing inside the folds), `GroupKFold`
# and `TimeSeriesSplit`; `scipy.stats.bootstrap` (BCa intervals by default, which correct part of the
# percentile interval's missing coverage); Spark's `BinaryClassificationMetrics`, with `numBins`.
