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
# that number. Fit ridge and lasso with your own solvers, choose their penalty by cross-validation that does not leak,
# get all $m$ leave-one-out errors for the price of one fit, put an interval around any statistic, and compute accuracy,
# precision, recall, F1 and AUC so that they stay right with ties, with missing classes, and with rows that lie on a
# hundred machines.
#
# **You need** module 01 (gradient descent), the singular value decomposition, and the idea of a variance.
#
# **Skills it trains**: regularisation, convex optimisation with a certificate, honest evaluation, statistics by
# simulation, mergeable aggregates.
#
# **Time**: three to four hours, most of it in nine exercises, one of them a bug to find.
#
# **One legend for the whole module**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $m$, $d$ | `m`, `d` | | rows (examples) and columns (features) |
# | $X$, $y$ | `X`, `y` | $(m, d)$, $(m,)$ | the data; $x_i$ is row $i$. From exercise 7 on $y$ holds classes |
# | $\theta$, $b$ | `theta`, `b` | $(d,)$, a number | parameters, intercept: $x^\top \theta + b$ is predicted |
# | $\lambda$ | `penalty` | | how much large parameters cost |
# | $X_c$, $y_c$ | `Xc`, `yc` | $(m, d)$, $(m,)$ | the data after the mean of each column, and of $y$, is subtracted |
# | $U$, $s$ | `U`, `s` | $(m, r)$, $(r,)$ | $X_c = U \operatorname{diag}(s) V^\top$, $r = \min(m, d)$ |
# | $V$ | not needed | $(d, r)$ | the third factor |
# | $S$ | `leverage`, its diagonal | $(m, m)$ | the hat matrix: fitted values are $\hat y = S y$ |
# | $K$ | `k` | | folds of cross-validation |
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
from sklearn.linear_model import Lasso, RidgeCV
from sklearn.metrics import roc_auc_score

plotting.use()
checking.start("04_generalisation", total=9)

# %% [markdown]
# ## Derive
#
# ### Two errors
#
# A model is fitted to rows that we have and used on rows that we do not have. The error on the first, the *training
# error*, can be computed; the expected error on a fresh row from the same source, the **generalisation error**, is what
# matters. The first says little about the second: give a model more freedom and its training error can only fall.
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
# More freedom lowers the bias and raises the variance. Somewhere between lies the best model, and nothing in the
# training error says where. That is the picture of this module: polynomials of growing degree, fitted by least
# squares to 20 points whose noise is drawn anew each time. Such a fit is linear in the targets, so its means over the
# noise are known exactly.


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
# ### Buying variance with bias
#
# A finer dial than the degree is a price on the parameters. **Ridge regression** minimises
#
# $$J(\theta, b) = \tfrac12 \|X\theta + b - y\|^2 + \tfrac{\lambda}{2}\|\theta\|^2, \qquad \lambda > 0 .$$
#
# The intercept $b$ costs nothing: adding 100 to every target should add 100 to every prediction. For any $\theta$ the
# best $b$ is $\bar y - \bar x^\top \theta$, with the means of $y$ and of the columns. Put it in, and only centred data
# are left: $\tfrac12 \|X_c \theta - y_c\|^2 + \tfrac\lambda2 \|\theta\|^2$. The gradient is zero where
#
# $$\underbrace{(X_c^\top X_c + \lambda I)}_{(d,\, d)}\, \theta = \underbrace{X_c^\top y_c}_{(d,)}
# \qquad\text{(primal)}.$$
#
# Read it as $\lambda\theta = X_c^\top (y_c - X_c \theta)$: the solution is a combination of the rows,
# $\theta = X_c^\top \alpha$ with $\alpha = (y_c - X_c\theta)/\lambda$. Put that in for $\theta$:
#
# $$\underbrace{(X_c X_c^\top + \lambda I)}_{(m,\, m)}\, \alpha = \underbrace{y_c}_{(m,)}, \qquad
# \theta = X_c^\top \alpha \qquad\text{(dual)}.$$
#
# The same $\theta$, from a system of $m$ equations instead of $d$. Forming and solving the smaller one costs
# $O(md \min(m, d))$ operations, and $O(\min(m, d)^2)$ memory besides $X$ and its centred copy. (The dual sees only
# inner products of rows. Module 05 replaces them by a kernel.)
#
# With the singular value decomposition of $X_c$ the fitted values become
#
# $$\hat y = \bar y + \sum_k u_k \, \frac{s_k^2}{s_k^2 + \lambda}\, u_k^\top y_c :$$
#
# ridge keeps the steep directions and shrinks the flat ones, which are the ones that vary most from one training set
# to another. Descent that is stopped early, in module 01, did nearly the same.
#
# ### Where tutorials disagree
#
# - **λ times what?** The squared error may be summed or averaged, halved or not; λ changes with it. Here both penalties
#   stand beside $\tfrac12\|X\theta + b - y\|^2$, a *sum*. scikit-learn uses one convention for ridge and another for
#   the lasso:
#
# | what | is our λ times |
# | --- | --- |
# | `alpha` of scikit-learn's `Ridge` and `RidgeCV` | 1 |
# | `alpha` of scikit-learn's `Lasso`, and of `ElasticNet` at `l1_ratio=1`; λ of glmnet | $1/m$ |
# | `l2` of module 03; `weight_decay` in an optimiser over a mean of *halved* squares | $1/m$ |
# | `weight_decay` over torch's `MSELoss`, a mean of squares without the half | $2/m$ |
#
#   A sum has a penalty that stays as it is when a row is left out. Exercise 5 will need that.
# - **The intercept** is not penalised. A column of ones inside $X$ would be.
# - **Scale.** Neither penalty is invariant: measure a feature in millimetres instead of metres, and its parameter
#   becomes a thousand times smaller and nearly free. So features are standardised first, and *which rows* have a say
#   in that will be the bug of this module.

# %% [markdown]
# ## Implement
#
# ### Exercise 1 · The smaller way: `ridge` (2 points, 15 minutes)


# %% exercise="ridge" points=2 minutes=15 forbids=["sklearn"]
def ridge(X: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Minimise 1/2 |X theta + b - y|^2 + penalty/2 |theta|^2; the intercept b is not penalised.

    X: (m, d), m >= 1, d >= 1; y: (m,). Numbers of any kind, computed with in float64.
    Both may lie far from zero: theta keeps nine digits where y is near 1e8 and X near 1e4, so
    subtract the means of X and of y before anything else.

    Forms and solves a system of min(m, d) equations: m = 4 with d = 12,000 needs no (d, d) array,
    and m = 12,000 with d = 4 no (m, m) array. Any way of solving it will do, also a thin SVD of the
    centred X. No test has a penalty so small that the system's condition number is far above 1e4.
    Returns theta (d,), float64, and b, a float. Leaves X and y as they are.
    Raises ValueError unless penalty > 0. Not allowed: sklearn.
    """
    ### BEGIN SOLUTION
    if penalty <= 0:
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
# Subtract the mean of each column from X and the mean of y from y. Solve without an intercept, and get b back at the
# end from the means: the fit goes through them.
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
    expect_close(b, 4 - 2 * 7 / 4, rtol=1e-12, hint="the fit goes through the means, (2, 4)")
    # Two rows, three columns: centred, the rows are -(1, 0, -1) and +(1, 0, -1), and y is (-1, 1).
    theta, b = ridge(np.array([[1, 0, 2], [3, 0, 0]]), np.array([0, 2]), penalty=1.0)
    expect_close(theta, [2 / 5, 0, -2 / 5], atol=1e-12, hint="wider than tall: the dual system, Hint 2")
    expect_close(b, 1 - 2 / 5, rtol=1e-12)
    expect_shape(ridge(np.ones((2, 12_000)), y[:2], 1.0)[0], (12_000,))
    with expect_raises(ValueError, hint="a penalty of 0 must be refused"):
        ridge(X, y, 0.0)

# %% [markdown]
# The dial at work: 30 noisy rows, 20 correlated features, many training sets. Left, one fit: every parameter shrinks,
# none becomes zero. Right, the two parts of the error, measured with your function. The best λ is where one unit of
# bias² bought costs as much as the variance that it saves.

# %% tags=["demo"]
draw = np.random.default_rng(1)
mixing = np.linalg.qr(draw.normal(size=(20, 20)))[0] * np.geomspace(1, 0.1, 20)  # steep and flat directions
theta_true = draw.normal(size=20)
penalties = np.geomspace(1e-3, 1e3, 25)
X_new = draw.normal(size=(300, 20)) @ mixing
paths, predictions = [], []
for _ in range(demo_size(full=100, small=20)):
    X_train = draw.normal(size=(30, 20)) @ mixing
    y_train = X_train @ theta_true + draw.normal(size=30)
    fits = [ridge(X_train, y_train, penalty) for penalty in penalties]
    paths.append([theta for theta, _ in fits])
    predictions.append([X_new @ theta + b for theta, b in fits])
predictions = np.array(predictions)  # (training sets, penalties, new rows)
bias2 = np.mean((predictions.mean(axis=0) - X_new @ theta_true) ** 2, axis=1)
variance = predictions.var(axis=0).mean(axis=1)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
left.semilogx(penalties, paths[0], color=plotting.COLOURS[0], lw=1, ls="-")
left.set(xlabel="penalty λ", ylabel="parameters θ", title="All shrink, none vanishes")
plotting.curves(
    {"bias²": (penalties, bias2), "variance": (penalties, variance), "their sum": (penalties, bias2 + variance)},
    xlabel="penalty λ",
    ylabel="error beyond the noise",
    title="A little bias saves much variance",
    logx=True,
    logy=True,
    ax=right,
)
plt.show()

# %% [markdown]
# ### Exercise 2 · With a certificate: `lasso` (4 points, 30 minutes)
#
# Change the price from squares to absolute values and parameters do become zero:
#
# $$J(\theta) = \tfrac12\|X\theta - y\|^2 + \lambda \|\theta\|_1 .$$
#
# (No intercept here: centre the data first.) One parameter shows why. Minimise $\tfrac12 (\theta - z)^2 + t|\theta|$:
# for $\theta > 0$ the slope $\theta - z + t$ is zero at $z - t$, which is positive only if $z > t$; for $\theta < 0$ it
# is zero at $z + t$; otherwise the corner at 0 is the lowest point. This is **soft thresholding**:
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
# and $J(\theta_k) - J(\theta^\star) \le 2L\|\theta^\star\|^2/(k+1)^2$. (The paper's own momentum looks different and
# has the same bound.)
#
# **When to stop?** Small steps prove nothing. A lower bound on $J(\theta^\star)$ does. For any vector $u$ of shape
# $(m,)$ with $|X^\top u| \le \lambda$ in every entry, and any $\theta$, let $v = y - X\theta$. Then
# $\lambda\|\theta\|_1 \ge \sum_j |(X^\top u)_j|\,|\theta_j| \ge u^\top X \theta = u^\top(y - v)$ (entry by entry:
# Hölder's inequality), so
#
# $$J(\theta) \;\ge\; \tfrac12 \|v\|^2 - u^\top v + u^\top y \;\ge\; u^\top y - \tfrac12\|u\|^2
# = \tfrac12\|y\|^2 - \tfrac12\|y - u\|^2,$$
#
# the last step because $\tfrac12\|v - u\|^2 \ge 0$. The best $u$ is the residual at the minimum. On the way there, take
# the residual $v$ of your own $\theta$ and shrink it until it is allowed:
# $u = v \cdot \lambda / \max(\lambda, \|X^\top v\|_\infty)$. The difference between $J(\theta)$ and that bound is the
# **duality gap**: you are that close to the minimum, whatever anybody's code did to get there.


# %% exercise="lasso" points=4 minutes=30 forbids=["sklearn"]
def soft_threshold(z: np.ndarray, t: float) -> np.ndarray:
    """sign(z) max(|z| - t, 0), elementwise: z moved towards zero by t >= 0, and 0 where |z| <= t.

    z: numbers, any shape. Returns the same shape, float64 (of a single number, a NumPy scalar or a
    0-d array). Leaves z as it is.
    """
    ### BEGIN SOLUTION
    z = np.asarray(z, dtype=float)
    return z - z.clip(-t, t)
    ### END SOLUTION


def lasso(
    X: np.ndarray, y: np.ndarray, penalty: float, tol: float = 1e-6, max_steps: int = 10_000
) -> tuple[np.ndarray, float]:
    """Minimise J = 1/2 |X theta - y|^2 + penalty * sum(|theta|) by FISTA. No intercept.

    X: (m, d), m >= 1, d >= 1, any rank, may be all zeros; y: (m,). Computed in float64.
    penalty > 0; tol >= 0; max_steps >= 0.

    Starts from theta_0 = z_0 = 0. With L the square of the largest singular value of X, step
    k = 0, 1, ... is theta_(k+1) = soft_threshold(z_k + X^T (y - X z_k) / L, penalty / L) and
    z_(k+1) = theta_(k+1) + k / (k + 3) * (theta_(k+1) - theta_k).
    Stops before a step when the duality gap at theta_k is at most tol * |y|^2 / 2, and after
    max_steps steps. The gap is J(theta) - (|y|^2 - |y - u|^2) / 2, where u is the residual
    v = y - X theta times penalty / max(penalty, largest |entry| of X^T v). Where X or y is all
    zeros, theta_0 is the minimum: return it, and do not divide by L = 0.

    Returns theta (d,), float64, and the gap at that theta, a float: rounding may leave it a little
    below 0, and with tol = 0 it may never come down to 0, so that max_steps decides.
    No (d, d) array where d > m, and no (m, m) array where m > d. Leaves X and y as they are.
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
# What remains of z when the part between −t and t is taken away? Either the formula with sign, or z minus its own
# clipped version.
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
        mistakes={"This is a hard threshold: what remains must move towards zero, too.": [-3.0, 0.0, 0.0, 0.0, 2.0]},
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
    expect_close(lasso(np.zeros((2, 2)), y[:2], 1.0)[0], [0.0, 0.0], atol=0, hint="X = 0 is at the minimum already")

# %% [markdown]
# Left: 40 rows, 60 features, of which five matter. Follow the parameters as λ falls from the value at which all are
# zero, $\|X^\top y\|_\infty$. Right, for a small λ: the gap that your function reports, against the number of steps,
# with the look-ahead and without it.

# %% tags=["demo"]
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
left.set(xlabel="penalty λ, falling", ylabel="parameters θ", title="One after another they leave zero")
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
    title="A certificate that falls",
    logx=True,
    logy=True,
    ax=right,
)
plt.show()
print(f"gap {final_gap:.1e}; largest difference from scikit-learn's Lasso: {np.abs(mine - peer.coef_).max():.1e}")

# %% [markdown]
# ### Exercise 3 · Which λ? Hold rows back: `kfold` (2 points, 12 minutes)
#
# The training error is lowest at λ = 0, so it cannot choose. Rows that the fit has not seen can. To use every row for
# both, cut them into $K$ **folds**; fit on all but one fold, predict that one, and go round. Each prediction is then
# made by a model that has not seen its row.
#
# Shuffle before cutting: files are sorted by date, by class, by customer. (Where rows belong together, such as many
# photographs of one patient, whole groups must stay in one fold; and what lies in the future must not predict the
# past.)


# %% exercise="kfold" points=2 minutes=12 forbids=["sklearn"]
def kfold(m: int, k: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut the rows 0, ..., m - 1 into k folds at random; go through (train, test), one pair a fold.

    2 <= k <= m, else ValueError (at the latest when the first pair is asked for).
    test: the rows of the fold; train: all other rows. Both are one-dimensional arrays of integers,
    in any order, no row twice. The k test sets together hold each row exactly once, and their
    sizes differ by at most 1.
    Which rows share a fold is drawn from np.random.default_rng(seed) (any way of drawing that
    shuffles all the rows): the same arguments give the same folds, another seed gives others.

    A generator, or anything else that one can loop over, that makes its pairs one by one: with
    m = k = 20,000 all training sets together would take 3.2 GB. Not allowed: sklearn.
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
    expect_close(together, np.arange(8), atol=0, hint="every row belongs to exactly one test set")
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
# ### Exercise 4 · Find the bug in `out_of_fold` (2 points, 12 minutes)
#
# Someone standardises the features, cuts the rows into folds, fits ridge, and collects the predictions. The code runs,
# and its results look plausible. Yet its predictions are not what the docstring promises. Find out why and repair it.
# The function uses your `ridge`.


# %% exercise="out_of_fold" points=2 minutes=12 bug=true
def out_of_fold(
    X: np.ndarray, y: np.ndarray, folds: Iterable[tuple[np.ndarray, np.ndarray]], penalty: float
) -> np.ndarray:
    """Predict each row by a ridge regression on standardised features that has not seen the row.

    X: (m, d); y: (m,); folds: pairs (train, test) of row numbers, such as `kfold` gives, gone
    through once; no row is in two test sets, and one that is in none may get any value (nan, too).
    For each pair: standardise, which here is to divide each column by its standard deviation over
    train (the one with 1/n), or by 1 where it is constant there (`ridge` subtracts the means by
    itself); fit `ridge` on the rows of train; predict the rows of test. Asking whether the standard
    deviation is 0 will do here: in the tests, that of a constant column comes out as exactly 0.
    Nothing about other rows of test, neither X nor y, may enter the prediction of a row.

    Returns (m,), float64. Leaves X and y as they are.
    """
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
# Inside the loop: `std = X[train].std(axis=0)`, zeros in it set to 1, and both X[train] and X[test] divided by it. (At
# work, ask the column, as in module 00: `std[np.ptp(X[train], axis=0) == 0] = 1`. Rounding cannot deceive that.)
# </details>

# %% check="out_of_fold"
with check("out_of_fold"):
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
    expect_close(constant[2:], [1.0, 1.0], rtol=1e-10, hint="a column that is constant in train says nothing")

# %% [markdown]
# How much does such a leak matter? A standard deviation carries little: on a few hundred rows you will hardly see it
# (the cell prints both, for the diabetes data, with enough digits to tell them apart). The habit is the problem, for
# the same order of lines with **feature selection** invents a result from nothing. Here is a target that has nothing to
# do with the features: both are independent noise. Keep the 10 features out of 1000 that correlate best with $y$, then
# cross-validate with your functions. Once the selection sees all rows; once it is made anew inside each fold, on the
# training rows. The true value of $R^2 = 1 - \text{MSE}/\text{variance}$ cannot be above 0: where nothing can be
# foreseen, the mean of $y$ is the best prediction, and it has $R^2 = 0$. A model that has learned noise lies below, for
# its guesses vary, and their variance is added to the error.


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
ax.set(xlabel="cross-validated R²", ylabel="data sets of pure noise", title="A discovery, made of nothing")
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
print(f"diabetes: R² {r_squared(sick.y, once):.6f} standardised on all rows, {inside:.6f} inside the folds")
print(f"pure noise: mean R² {np.mean(leaky):+.2f} with the leak, {np.mean(honest):+.2f} without")

# %% [markdown]
# Ambroise and McLachlan (2002) found this leak in published studies of cancer. The cure is one rule: whatever looks at
# the data goes inside the loop.
#
# ### Exercise 5 · Leave one out, at the price of one fit: `loocv_ridge` (3 points, 20 minutes)
#
# With $K = m$ folds each model sees all rows but one, so it is as good as the one that you will use, and nothing
# depends on a shuffle. It asks for $m$ fits. For a linear smoother, one is enough. Ridge's fitted values are linear in
# $y$: $\hat y = S y$, and from the formula with the singular values
#
# $$\hat y = \bar y + U \operatorname{diag}\!\Bigl(\frac{s^2}{s^2 + \lambda}\Bigr) U^\top y_c, \qquad
# S_{ii} = \frac1m + \sum_k U_{ik}^2\, \frac{s_k^2}{s_k^2 + \lambda} .$$
#
# Let $p_i$ be the prediction for row $i$ by the model fitted without it. Replace $y_i$ by $p_i$ and fit all $m$ rows:
# the model without row $i$ still minimises the sum over the others plus penalty, and on row $i$ its error is 0. So it
# is the minimum, and its fitted value at $i$ is $p_i$. But fitted values are linear in $y$, and only $y_i$ has changed:
#
# $$p_i = \hat y_i + S_{ii}\,(p_i - y_i) \quad\Longrightarrow\quad
# y_i - p_i = \frac{y_i - \hat y_i}{1 - S_{ii}} .$$
#
# The argument needs a loss that is a sum over rows and a penalty that does not change with $m$: with an averaged loss,
# dropping a row would change the effective λ. And one decomposition serves every λ: $O(md\min(m,d))$ once, then
# $O(m \min(m, d))$ for each. $S$ itself, an $(m, m)$ matrix, is never needed: only its diagonal.


# %% exercise="loocv_ridge" points=3 minutes=20 forbids=["sklearn"]
def loocv_ridge(X: np.ndarray, y: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """Leave-one-out residuals of ridge (with intercept, as in `ridge`), for several penalties.

    X: (m, d), m >= 2, d >= 1; y: (m,); penalties: (p,), all > 0. Computed in float64.

    Returns E, (p, m), float64: E[j, i] = y[i] minus the prediction for X[i] by the ridge regression
    with penalties[j] on the other m - 1 rows. The features are not standardised.
    From one decomposition, without refitting, with no (m, m) array where m > d and no (d, d) array
    where d > m: 40,000 rows with 10 columns take well under a second, and memory for a few arrays
    of the size of X and E.
    Where m <= d + 1, a penalty that is tiny beside s^2, the squared singular values of the centred
    X, costs digits in 1 - S_ii. You may lose them: there, no test has one below 1e-3 of the largest
    s^2.
    Leaves X, y and penalties as they are. Not allowed: sklearn.
    """
    ### BEGIN SOLUTION
    X, y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
    yc = y - y.mean()
    U, s, _ = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    shrink = s**2 / (s**2 + np.asarray(penalties, dtype=float)[:, None])  # (p, r)
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
# `U**2 @ shrink` is the diagonal of U diag(shrink) Uᵀ without the matrix. Do not forget the 1/m: the mean of y moves
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
# Sixty patients of the diabetes data: all their leave-one-out errors, for 60 penalties, beside five-fold
# cross-validation with several shuffles, and the error on the patients that were left over. The curves agree roughly on
# where the valley is. The height of a single one is not to be trusted to its second digit.

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
ax.set(xlabel="penalty λ", ylabel="mean squared error", title="Fitted to 60 patients: where is the valley?")
ax.legend()
plt.show()
print(
    f"leave one out chooses λ = {penalties[loo.argmin()]:.2g}; "
    f"the other patients would choose {penalties[np.argmin(fresh)]:.2g}"
)

# %% [markdown]
# (For brevity, the features were standardised once, on all rows. You know what that is, and how little it does here.)
#
# And the price. $m$ fits cost $O(m \cdot md^2)$, one decomposition $O(md^2)$: slopes 2 and 1. The last line continues
# the measured curve of the $m$ fits to the largest $m$ that the shortcut reached.


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
# ### Exercise 6 · How sure is that number? `bootstrap_interval` (2 points, 15 minutes)
#
# An error measured on 100 rows is itself random. If we could draw new data sets, we would look at how much the number
# varies. We cannot, but the data are our best picture of their source: draw from *them*, $m$ rows with replacement,
# compute the number again, and repeat (Efron, 1979). The **percentile interval** at level 0.95 cuts 2.5% off each end
# of what comes out. It works for statistics with no formula: a median, an AUC, a difference of two models on the same
# rows.
#
# Resample *whole rows*, so that what belongs together stays together.


# %% exercise="bootstrap_interval" points=2 minutes=15 forbids=["scipy.stats"]
def bootstrap_interval(
    rows: np.ndarray,
    statistic: Callable[[np.ndarray], float],
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of statistic(rows).

    rows: (m,) or (m, ...), m >= 1; one entry along the first axis is one row and stays whole.
    statistic: takes an array of the shape and dtype of `rows`, returns a number. It is called
    exactly once for each resample, `resamples` times in all.
    A resample is m rows drawn with replacement, all equally likely, with np.random.default_rng(seed)
    (in whatever order); resamples are independent. The same seed gives the same interval.

    Returns the quantiles (1 - level) / 2 and 1 - (1 - level) / 2 of the values, two floats, as
    np.quantile computes them by default (linear interpolation). 0 < level < 1.
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
    assert len({resample.tobytes() for resample in seen}) > 50, "the resamples are all the same: see Hint 2"

# %% [markdown]
# Does a 95% interval contain the truth in 95% of cases? Let your function tell: many data sets from a symmetric and
# from a skewed distribution, both with mean 1, and an interval for the mean of each. On the right, the share that
# contains the truth. With few rows it falls short, and more so where they are skewed: the percentile interval keeps its
# promise only in the limit of many rows.

# %% tags=["demo"]
repeats, resamples, sizes = demo_size(full=200, small=30), demo_size(full=150, small=100), [10, 30, 100]
sources = {
    "normal": lambda draw, m: draw.normal(1, 1, m),
    "exponential": lambda draw, m: draw.exponential(1, m),
}
intervals = {
    (name, m): [
        bootstrap_interval(source(np.random.default_rng([m, seed]), m), lambda r: r.mean(), 0.95, resamples, seed)
        for seed in range(repeats)
    ]
    for name, source in sources.items()
    for m in sizes
}
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8))
for i, (low, high) in enumerate(intervals["exponential", 30][:30]):
    left.plot([i, i], [low, high], lw=2, ls="-", color=plotting.COLOURS[0 if low <= 1 <= high else 1])
left.axhline(1, color="k", lw=1)
left.set(
    xlabel="data set of 30 skewed rows", ylabel="interval for the mean", title="Most contain the truth, which is 1"
)
shares = {name: [np.mean([low <= 1 <= high for low, high in intervals[name, m]]) for m in sizes] for name in sources}
plotting.curves(
    {name: (sizes, share) for name, share in shares.items()},
    xlabel="rows m",
    ylabel="share that contains the truth",
    title="Few rows: less than was promised",
    logx=True,
    ax=right,
)
right.axhline(0.95, color="0.5", lw=1)
plt.show()

# %% [markdown]
# ### Exercise 7 · When the answer is a class: `confusion` (3 points, 25 minutes)
#
# All that can be said about predicted classes, row by row, is in the **confusion matrix** $N$, $(C, C)$: $N_{ij}$
# counts the rows of class $i$ that were called $j$. For class $i$:
#
# $$\text{precision}_i = \frac{N_{ii}}{\sum_j N_{ji}}, \qquad \text{recall}_i = \frac{N_{ii}}{\sum_j N_{ij}}, \qquad
# F_{1,i} = \frac{2 N_{ii}}{\sum_j N_{ji} + \sum_j N_{ij}} :$$
#
# of those called $i$, how many are; of those that are $i$, how many were found; and the harmonic mean of the two. The
# **macro** average is the mean over classes, so that a rare class counts as much as a common one. The **micro** average
# pools numerators and denominators over the classes first. As each row has one class and one prediction, all three
# pooled ratios are the accuracy, $\sum_i N_{ii} / \sum_{ij} N_{ij}$.
#
# Where accounts differ, we follow scikit-learn: rows of $N$ are the truth, columns the prediction. Macro $F_1$ is the
# mean of the classes' $F_1$, not the harmonic mean of macro precision and macro recall. And 0/0 is a decision, not a
# number: a model that never says "ill" has precision 0/0. Name the value that you put there.


# %% exercise="confusion" points=3 minutes=25 forbids=["sklearn"]
def confusion(y: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts N, (classes, classes), integers: N[i, j] rows have y = i and predicted = j.

    y, predicted: (m,) integers of any kind (also uint8) from 0 to classes - 1; m may be 0.
    Raises ValueError where a label lies outside. Leaves both as they are.
    Memory for a few arrays of the size of y and N, not for an (m, classes) array.
    """
    ### BEGIN SOLUTION
    labels = np.asarray(y, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    cells = np.ravel_multi_index(labels, (classes, classes))  # raises ValueError for what lies outside
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)
    ### END SOLUTION


def classification_scores(
    counts: np.ndarray, average: str = "macro", zero_division: float = 0.0
) -> dict[str, float | np.ndarray]:
    """Accuracy, precision, recall and F1 of a confusion matrix (rows: truth, columns: prediction).

    counts: (C, C), not negative, of any kind of numbers, sums up to 1e15; may be all zeros.
    average: "none" gives arrays (C,), one value a class; "macro" their mean over all C classes,
    also those that never occur; "micro" the ratios of the sums over the classes. Any other word
    raises ValueError.
    zero_division: stands for each ratio 0/0, before macro averages: precision of a class that was
    never predicted, recall of one that never occurs, F1 of one that does neither; and the
    accuracy of no rows. F1 of a class is 2 N_ii / (row sum + column sum).

    Returns {"accuracy": float, "precision": ..., "recall": ..., "f1": ...}: floats, or arrays with
    "none". The accuracy is one float with each average. Leaves counts as they are.
    Not allowed, in either function: sklearn.
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
# Hits are the diagonal, the truth is summed along axis 1, what was said along axis 0. F1 is 2 hits / (truth + said).
# For micro, sum hits, truth and said first.
# </details>
# <details><summary>Hint 3: 0/0</summary>
#
# One helper for all four: `np.where(whole > 0, part / np.where(whole > 0, whole, 1), zero_division)`. It works for
# arrays and for single numbers, and divides by nothing that is 0.
# </details>

# %% check="confusion"
with check("confusion", forbids=["sklearn"]):
    y, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 2, 2])
    with expect_unchanged(y=y, predicted=predicted):
        counts = confusion(y, predicted, classes=3)
    right = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 2]])
    expect_close(counts, right, atol=0, mistakes={"Rows are the truth, columns the prediction.": right.T})
    expect_dtype(counts, np.integer)
    expect_shape(confusion(y[:2], y[:2], classes=4), (4, 4), hint="classes that do not occur have their row, too")
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
    expect_close([missed["precision"][1], missed["recall"][1], missed["f1"][1]], [1.0, 0.0, 0.0], hint="only 0/0")
    with expect_raises(ValueError, hint="average is one of three words"):
        classification_scores(right, average="weighted")

# %% [markdown]
# A score becomes a class by a threshold, and a threshold is a choice. Below, a detector that gives ill people higher
# scores; left with 50% of people ill, right with 1%. Recall does not notice the difference, accuracy flatters,
# precision collapses: the few false alarms among many healthy people outnumber the ill.


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
# ### Exercise 8 · All thresholds at once: `roc_auc` (3 points, 20 minutes)
#
# The **ROC curve** plots, for every threshold, the share of positives above it against the share of negatives above it.
# The area under it, **AUC**, has a plain meaning: the chance that a random positive scores above a random negative, a
# tie counting one half. As a formula over all pairs, with $P$ positives and $Q$ negatives,
#
# $$\mathrm{AUC} = \frac{1}{PQ} \sum_{i: y_i = 1}\ \sum_{j: y_j = 0}
# \Bigl( [a_i > a_j] + \tfrac12 [a_i = a_j] \Bigr), \qquad a = \text{scores}.$$
#
# That is $PQ$ comparisons. Sorting does it in $O(m \log m)$: a positive beats the negatives that come before it. Ties
# are where implementations go wrong. Scores are often rounded, or counts, or the leaves of a tree, and then many are
# equal; what an unstable sort makes of them is chance, and a stable one favours whoever comes last in the file.


# %% exercise="roc_auc" points=3 minutes=20 forbids=["sklearn", "scipy.stats"]
def roc_auc(score: np.ndarray, y: np.ndarray) -> float:
    """Area under the ROC curve: the share of pairs (positive, negative) in which the positive has the
    higher score; a tie counts one half.

    score: (m,), finite numbers of any kind and size (uint8, or int64 beyond 2**53: compare them as
    they are, in their own type); y: (m,), 0 or 1 (or bool).
    Only the order of the scores matters: exact ties are ties, any other difference counts in full.
    Returns a float, exact up to rounding. Leaves score and y as they are.
    O(m log m) time and O(m) memory: 200,000 rows take well under a second.
    Raises ValueError unless y holds both classes. Not allowed: sklearn, scipy.stats.
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
# `np.unique(score, return_inverse=True)` numbers the distinct scores in rising order. Count the positives and the
# negatives of each group with `np.bincount(group, weights=...)`.
# </details>
# <details><summary>Hint 3: putting it together</summary>
#
# A positive in group g beats all negatives of lower groups, `np.cumsum(negatives) - negatives`, and half of those in
# its own. Sum positives · (below + negatives / 2) and divide by the number of pairs.
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
# Left, the area that your function computes, for scores as they are and rounded to whole numbers: each run of ties
# becomes a straight slope, which is the "one half" of the formula. Right: two models on the same 200 patients. Each AUC
# alone has a wide interval; the interval of their *difference*, with patients resampled as whole rows, says whether
# one is better.

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
right.set(xlabel="difference of AUC", ylim=(-2.6, 0.6), title="95% intervals; at 0 there is nothing to see")
plt.show()

# %% [markdown]
# ## Scale it
#
# ### Exercise 9 · An AUC that merges: `auc_bounds` (3 points, 20 minutes)
#
# The rows of a large evaluation lie on many machines, or arrive hour by hour. What can each part send, so that the
# whole gets the right number?
#
# - Counts **merge**: confusion matrices of parts add up to that of the whole, and all of exercise 7 follows from the
#   sum. Averages of the parts' F1 do not.
# - An AUC does not merge: a positive here must be compared with a negative there. Nor does a median. To sort all scores
#   in one place, all of them must travel.
# - But counts of *binned* scores merge, and they bound the AUC from both sides. Cut $[0, 1]$ into $B$ bins of equal
#   width and count the negatives and positives in each. A pair in different bins is decided, as sure as if we had
#   sorted. A pair in the same bin may go either way. So count those pairs once as all lost, once as all won:
#
# $$\text{low} = \frac{1}{PQ} \sum_{\beta} p_\beta \sum_{\gamma < \beta} q_\gamma \;\le\; \mathrm{AUC} \;\le\;
# \text{high} = \text{low} + \frac{1}{PQ} \sum_\beta p_\beta q_\beta ,$$
#
# with $p_\beta$ positives and $q_\beta$ negatives in bin $\beta$. $2B$ integers travel from each part, however many
# rows it has; the price is a known interval instead of a number.


# %% exercise="auc_bounds" points=3 minutes=20 forbids=["sklearn"]
def score_counts(score: np.ndarray, y: np.ndarray, bins: int) -> np.ndarray:
    """Negatives (row 0) and positives (row 1) in each of `bins` bins of the scores, (2, bins), int64.

    score: (m,), floats from 0 to 1 (float32 is made float64 first); y: (m,), 0 or 1 (or bool);
    m may be 0. bins >= 1.
    A score a falls into bin floor(a * bins), the product as float64 rounds it; where that gives
    `bins`, as for a = 1, into the last bin.
    O(m + bins) time and memory: no (m, bins) array. Leaves score and y as they are.
    """
    ### BEGIN SOLUTION
    bin_of = np.minimum(np.asarray(score, dtype=np.float64) * bins, bins - 1).astype(np.int64)
    return np.bincount(bin_of + bins * np.asarray(y, dtype=np.int64), minlength=2 * bins).reshape(2, bins)
    ### END SOLUTION


def auc_bounds(counts: np.ndarray) -> tuple[float, float]:
    """The lowest and the highest AUC that scores with these counts can have.

    counts: (2, bins), integers: negatives and positives in each bin, bins in rising order; as
    `score_counts` gives them, or a sum of such arrays. A count may be 1e12: the pairs do not fit
    into an int64.

    Returns (low, high), floats, to a relative error of 1e-12: all pairs within a bin lost, and all
    won. Raises ValueError unless there are both negatives and positives. Leaves counts as they are.
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
# The bin is `np.floor(score * bins)`, but at most bins − 1. Add bins · y and the (2, bins) array is a single
# `np.bincount` of 2 · bins cells, reshaped.
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
    score, y = np.array([0.0, 0.1, 0.5, 0.5, 1.0]), np.array([0, 1, 0, 1, 1])
    with expect_unchanged(score=score, y=y):
        counts = score_counts(score, y, bins=2)
    expect_close(
        counts,
        [[1, 1], [1, 2]],
        atol=0,
        hint="0.5 is in the upper bin, and so is 1",
        mistakes={"Row 0 holds the negatives, row 1 the positives.": [[1, 2], [1, 1]]},
    )
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
# Four partitions that are not alike: each hour of the day has its own mixture. What the parts' own numbers average to,
# beside what the merged counts say.


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
# Sorting is $m \log m$ and must hold all the rows; counting is $m$ and holds one chunk. Left, seconds, with
# scikit-learn as the peer. Right, what the counts cost in precision: the width of the interval falls as $1/B$, for the
# pairs within a bin are a share $1/B$ of all. The wire carries $16B$ bytes.

# %% tags=["demo"]
timing = scaling.measure(
    {
        "roc_auc (sorts)": roc_auc,
        "auc_bounds, 1000 bins": lambda score, y: auc_bounds(score_counts(score, y, 1000)),
        "scikit-learn": lambda score, y: roc_auc_score(y, score),
    },
    sizes=demo_size(full=[1000, 10_000, 100_000, 1_000_000], small=[1000, 10_000]),
    setup=lambda m: hour(0, m),
    budget=demo_size(full=6.0, small=2.0),
    label="rows m",
    threads=1,
)
figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.4))
timing.plot(peer="scikit-learn", ax=left)
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
    title="Twice the bins, half the doubt",
    logx=True,
    logy=True,
    ax=right,
)
plt.show()
timing.table()

# %% [markdown]
# ### Many partitions, one pass
#
# The counts of a part need one pass and no neighbours, so parts may be handled in any order, merged in any grouping,
# and recomputed when a machine dies: what a combiner in MapReduce or an all-reduce asks for. Below, partitions are
# made, counted and forgotten, one after another. All the scores together are never in memory.

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
# ### Where it breaks
#
# Bins of equal width are only as good as the spread of the scores. A click model gives nearly all its scores near 0.01,
# and they fall into few bins: the interval becomes wide, and says so. Then bin the logit, or use bins that hold equal
# shares of the rows, from a sketch of the quantiles (module 16). The interval never lies; it only becomes useless.
#
# The bootstrap breaks differently: a resample of $m$ rows needs all the rows. On partitions, give each row a weight
# drawn from a Poisson distribution with mean 1 instead. It needs no neighbours, and weighted counts merge
# (Chamandy et al., 2012). Cross-validation of a large model is not cheap at all. There, one held-out set that is large
# enough has an interval narrow enough, and the danger is looking at it too often.
#
# The one-fit shortcut of exercise 5 breaks where $m \le d + 1$ and λ is tiny: the fit then passes nearly through every
# row, $S_{ii}$ is nearly 1, and both $y_i - \hat y_i$ and $1 - S_{ii}$ are what cancellation leaves (module 00).

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
# a new model: accuracy 99.9%, AUC 0.95, both from five-fold cross-validation, in which the 30 features were those of
# 2,000 that correlated best with fraud on the whole file, and rows were shuffled although one customer has many. Say
# what each of the two numbers does and does not show, name every leak and how you would close it, and say which numbers
# you would ask for, with what kind of interval.
#
# ### BEGIN SOLUTION
# Accuracy 99.9% is what "never fraud" gets, so it shows nothing. AUC 0.95 says that a random fraud outranks a random
# honest payment in 95% of pairs; at one in a thousand even a false positive rate of 1% makes ten alarms for each fraud,
# so precision may still be hopeless. Leaks: the features were selected with the labels of the test rows (move
# selection, and scaling, inside the folds); rows of one customer lie in train and test (keep a customer in one fold;
# and, as fraud changes with time, test on later months than were trained on). Ask for precision at the number of alarms
# that can be handled, or recall at a fixed precision, and the money saved, with a bootstrap interval that resamples
# whole customers (rows of one customer are not independent), and for the difference to the present system on the same
# payments.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. Ridge's *effective number of parameters* is the trace of $S$. Replace each leverage in exercise 5 by the mean
#    leverage, and you have generalised cross-validation. When do the two choose different penalties?
# 2. Cross-validate 1000 penalties and report the error of the best. Why is that number too low, by how much on pure
#    noise, and what does a second loop around the first one change?
# 3. Least squares with more features than rows can fit its training set exactly and still generalise. Plot the test
#    error of `ridge` with a tiny penalty against $d$, through $d = m$. What happens at the peak, and which λ removes
#    it?
# 4. AUC is a mean over pairs, so the terms are not independent. What is its standard error, and how does the bootstrap
#    of rows get it right without being told?
# 5. Two hospitals may not share rows, nor exact counts. What noise on `score_counts` would protect a single patient,
#    and how wide would the bounds become? (Modules 20 and 21.)
#
# References:
#
# - A. E. Hoerl and R. W. Kennard, "Ridge regression: biased estimation for nonorthogonal problems", *Technometrics*,
#   1970. Why some bias is always worth it.
# - R. Tibshirani, "Regression shrinkage and selection via the lasso", *JRSS B*, 1996. The penalty that selects, and its
#   geometry.
# - A. Beck and M. Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse problems", *SIAM
#   Journal on Imaging Sciences*, 2009. FISTA and the proof of its bound.
# - M. Stone, "Cross-validatory choice and assessment of statistical predictions", *JRSS B*, 1974. Where leaving one out
#   becomes a method.
# - G. H. Golub, M. Heath and G. Wahba, "Generalized cross-validation as a method for choosing a good ridge parameter",
#   *Technometrics*, 1979. Read it for question 1.
# - B. Efron, "Bootstrap methods: another look at the jackknife", *Annals of Statistics*, 1979. The idea, in its first
#   form.
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
# and `TimeSeriesSplit`; `scipy.stats.bootstrap` (BCa intervals by default, which mend some of the percentile's lack of
# coverage); Spark's `BinaryClassificationMetrics`, with `numBins`.
