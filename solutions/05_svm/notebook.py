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
# # 05 · Support vector machines
#
# **What you will be able to do.** Say which of the many lines between two classes is the best one, and why; find it by
# a stochastic method whose steps on sparse rows cost the same in ten dimensions and in two million; bend the line with
# a kernel; solve the dual problem and prove with one number that your answer is as good as the library's; and train a
# kernel machine on 20,000 rows in a few megabytes, where the kernel matrix would take 3.2 GB.
#
# **You need** module 01 (gradients, convex functions) and matrix products. Module 02 (stochastic gradients) helps.
#
# **Skills it trains**: convex optimisation, convex duality, kernels, sparse data structures, certificates of
# optimality, random features, one-pass algorithms.
#
# **Time**: about five and a half hours: two for reading and for the figures, three for seven exercises, half an hour for
# a bug to find and a question in words. The last exercise, 5.9, is an extra one: it is tested, and gives no points.
#
# **One legend for the whole module**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $m$, $d$ | `m`, `d` | | rows (examples) and columns (features) |
# | $X$, $x_i$ | `X` | $(m, d)$, $(d,)$ | the data; row $i$ of it |
# | $y$ | `y` | $(m,)$ | labels, each $-1$ or $+1$ |
# | $\theta$, $b$ | `theta`, `b` | $(d,)$, number | weights (many books write $w$) and bias |
# | $f(x)$ | | number | the score of a row, $\theta^\top x + b$; its sign is the predicted label |
# | $\lambda$, $C$ | `penalty`, `C` | | price of large weights; price of a violated margin; $\lambda = 1/(Cm)$ |
# | $P$, $J$ | | | what is minimised (the **primal** objective); $J = P/(Cm)$ |
# | $D$ | | | what is maximised in its place (the **dual** objective), from "A curve, by kernels" on |
# | $\alpha$, $\beta$ | `alpha`, `beta` | $(m,)$ | dual variables; $\beta_i = \alpha_i y_i$ |
# | $k$, $K$, $\gamma$ | `kernel`, `K`, `gamma` | $K$: $(m, m)$ | kernel; its matrix, all pairs; how narrow it is |
# | $v$, $G$ | `v`, `G` | $(m,)$ | scores without the bias, $K\beta$; gradient of $D$, $y - v$ |
# | $\varphi$ | | | the features of a row that belong to a kernel |
# | $z$ | | $(F,)$ | the random features of a row |
# | $Z$, $F$ | `Z`, `features` | $(m, F)$ | random features, and how many there are |
# | $\omega$, $\Omega$ | `omega` | $(d,)$, $(d, F/2)$ | a random frequency; a matrix of them |
# | $t$, $T$, $\eta_t$ | `t`, `order` | | number of a step, number of all steps, length of step $t$ |
# | $u_t$ | | $(d,)$ or $(F,)$ | $\lambda t\,\theta_t$ |
# | $\xi_i$, $\mu_i$, $\tau$ | | numbers | what row $i$ lacks to margin 1; the price of $\xi_i \ge 0$; how far a pair of $\beta$ moves |
# | $[\dots]$ | | | 1 if the statement in the brackets is true, else 0 |
#
# Most books about this subject call the kernel $k$, and so does this module; the number of a step is $t$ here. Other
# letters serve for a few lines and are introduced there. Sums run from $i = 1$ to $m$. In examples and in code rows and
# columns are counted from 0: there $\theta_0$ is the first entry of $\theta$, while $\theta_t$ is the $\theta$ of step
# $t$.

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    import lsml_utils  # noqa: F401
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import time
import tracemalloc
from collections.abc import Callable, Iterable

import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse
import torch
from threadpoolctl import threadpool_limits

from lsml_utils import checking, datasets, demo_size, device, plotting, scaling
from lsml_utils.checking import check, expect_close, expect_dtype, expect_raises, expect_shape, expect_unchanged

plotting.use()
checking.start("05_svm", total=9)


def timed(function):
    """What a call returns, and the seconds that it takes on one thread."""
    with threadpool_limits(1):
        start = time.perf_counter()
        returned = function()
        return returned, time.perf_counter() - start


def signs(y, m: int) -> np.ndarray:
    """The labels y in float64. ValueError unless y has shape (m,) and holds nothing but -1 and +1."""
    y = np.asarray(y, dtype=np.float64)
    if y.shape != (m,):
        raise ValueError(f"y must have shape ({m},); it has shape {y.shape}")
    if not np.all(np.abs(y) == 1):
        raise ValueError("every label must be -1 or +1")
    return y


# %% [markdown]
# ## Derive: the widest street
#
# Two classes of points that a line can separate are separated by infinitely many lines. Which one do you want? New
# points will lie near the old ones, so take the line that stays as far from the nearest points as it can: the middle of
# the **widest street** between the classes.
#
# Write the line as $f(x) = \theta^\top x + b = 0$, with $\theta, x \in \mathbb R^d$. Walk from a point $x$ straight to
# the line, along $\theta/\|\theta\|$: each unit of the way changes $f$ by $\|\theta\|$, so the distance is
# $|f(x)|/\|\theta\|$. Nothing changes if $\theta$ and $b$ are multiplied by the same positive number. Use that freedom:
# let $f$ be $\pm 1$ at the nearest points. Then the street is $2/\|\theta\|$ wide, and the widest one solves
#
# $$\min_{\theta, b} \tfrac12\|\theta\|^2 \quad\text{subject to}\quad y_i f(x_i) \ge 1 \ \text{ for every row } i.$$
#
# The number $y_i f(x_i)$ is the **margin** of row $i$: positive where the label is right, at least 1 outside the
# street.
#
# Real classes overlap, and then no line satisfies all the conditions. So let row $i$ fall short of 1 by
# $\xi_i \ge 0$, and pay $C$ for each unit. The cheapest $\xi_i$ is $\max(0, 1 - y_i f(x_i))$, the **hinge loss**, and
# the conditions are gone:
#
# $$P(\theta, b) = \tfrac12\|\theta\|^2 + C \sum_{i=1}^m \max(0,\, 1 - y_i f(x_i)).$$
#
# Divide by $Cm$, which moves no minimum. With $\lambda = 1/(Cm)$ it becomes a penalty and a mean over the rows, as the
# losses of modules 01 and 02 are:
#
# $$J(\theta, b) = \frac{P}{Cm} = \frac\lambda2\|\theta\|^2 + \frac1m \sum_{i=1}^m \max(0,\, 1 - y_i f(x_i)).$$
#
# $P$ and $J$ are the same problem. Libraries that solve the dual speak of $C$, stochastic methods of $\lambda$.
#
# The picture shows what is special about the answer. It was drawn with scikit-learn; in exercise 5.4 your own function
# finds the answer. Only the ringed points, the support vectors, hold the line in its place (they are defined in "The
# dual of the SVM"). Delete all others, keep $C$, and the line does not move.
#
# That says something about new points. Take one row out, train again, and ask for the label of that row. If it is no
# support vector, the line is the same as before, and the row lies on the right side, outside the street. So this
# **leave-one-out error** is at most the number of support vectors over $m$. The cell prints the bound.

# %% tags=["demo"]
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.svm import SVC, LinearSVC

street = datasets.blobs(80, k=2, spread=1.2, distance=2.0, seed=47)
street_y = 2 * street.y - 1


def draw_street(ax, X, y, f, ringed, room):
    """Rows, rings around some, the line f = 0 and the edges f = -1 and f = +1 of the street; `room`: rows to fit in."""
    low, high = room.min(axis=0) - 0.5, room.max(axis=0) + 0.5
    across, up = np.meshgrid(np.linspace(low[0], high[0], 120), np.linspace(low[1], high[1], 120))
    score = f(np.stack([across.ravel(), up.ravel()], axis=1)).reshape(across.shape)
    ax.contourf(across, up, score, levels=[-1, 1], colors=["0.9"])
    ax.contour(across, up, score, levels=[-1, 0, 1], colors="0.3", linestyles=["--", "-", "--"], linewidths=1.2)
    for label, marker, colour in ((-1, "o", plotting.COLOURS[0]), (1, "s", plotting.COLOURS[1])):
        ax.scatter(*X[y == label].T, s=22, marker=marker, color=colour, label="y = +1" if label > 0 else "y = −1")
    ax.scatter(*X[ringed].T, s=110, facecolors="none", edgecolors="k", linewidths=1.2, label="support vectors")
    ax.grid(False)


figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
rows = np.arange(80)
for ax in panels:
    peer = SVC(kernel="linear", C=1.0, tol=1e-8).fit(street.X[rows], street_y[rows])
    draw_street(ax, street.X[rows], street_y[rows], peer.decision_function, peer.support_, street.X)
    ax.set(title=f"{len(rows)} rows, {len(peer.support_)} support vectors", xlabel="$x_0$")
    print(f"{len(rows)} rows: theta = {peer.coef_[0].round(4)}, b = {peer.intercept_[0]:.4f}")
    if ax is panels[0]:
        print(f"leave-one-out error: at most {len(peer.support_)}/{len(rows)}")
    rows = rows[peer.support_]  # the second panel has these alone
panels[0].set_ylabel("$x_1$")
panels[1].legend(loc="best")
plt.show()

# %% [markdown]
# ### Where tutorials disagree
#
# - **The labels.** The hinge needs $-1$ and $+1$. With labels 0 and 1 the product $y_i f(x_i)$ is 0 for a whole class,
#   every one of its rows costs 1 whatever the model says, and none of them changes $\theta$. No error is raised.
# - **The bias stands inside the sign**: $\operatorname{sign}(\theta^\top x + b)$. `np.sign(X @ theta) + b` gives
#   numbers that are no labels.
# - **The margin.** Here it is $y_i f(x_i)$. Many courses call that the *functional* margin, and the distance
#   $y_i f(x_i)/\|\theta\|$ the *geometric* margin. If $\theta$ and $b$ double, the first doubles, and the second stays.
# - **Is the bias penalised?** scikit-learn's `SVC` leaves $b$ free. `LinearSVC` appends a constant column to $X$, whose
#   weight is $b$ and is penalised like any other. Pegasos has no bias unless you append that column. Three different
#   problems with three different answers. Here: exercises 5.1, 5.2 and 5.8 have no $b$, 5.4 to 5.6 a free one.
# - **Which hinge?** The default of `LinearSVC` is `squared_hinge`, another loss. Compare with `loss="hinge"`.
# - **A score is no probability.** $f(x) = 2$ says nothing about how sure the label is. Platt scaling fits a sigmoid to
#   scores of held-out rows; the logistic loss of module 03 gives probabilities at once.

# %% [markdown]
# ## A line, by subgradients
#
# ### What is downhill at a kink?
#
# The hinge $\max(0, 1 - s)$ is convex, but it has a kink at $s = 1$, where it has no derivative. A **subgradient** of a
# convex function $J$ at $\theta$ is any $g \in \mathbb R^d$ whose tangent plane lies nowhere above the function:
#
# $$J(\theta') \ge J(\theta) + g^\top(\theta' - \theta) \quad\text{for all } \theta'.$$
#
# Where $J$ is smooth there is one, the gradient. At the kink of the hinge every slope from $-1$ to $0$ will do. We take
# 0 there, so a row counts if its margin is *below* 1, and not if it is exactly 1:
#
# $$g = \lambda\theta - \frac1m \sum_{i:\ y_i\theta^\top x_i < 1} y_i x_i
# = \lambda\,\underbrace{\theta}_{(d,)} - \frac1m\, \underbrace{X^\top}_{(d,\,m)}\,
# \underbrace{\big(y \cdot [\text{margin} < 1]\big)}_{(m,)} .$$
#
# One pass over $X$ for the margins and one for the sum: $4md$ operations, and no new array as large as $X$.
#
# ### 5.1 `hinge_loss` · essential · level 2 of 4 · 12 min
#
# The setup cell gives you `signs(y, m)`, which turns labels into float64 and raises ValueError where they are not $m$
# numbers $-1$ or $+1$.


# %% exercise="hinge_loss" points=2 minutes=12 trains=["convex optimisation"]
def hinge_loss(X: np.ndarray, y: np.ndarray, theta: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
    """J = penalty/2 * |theta|^2 + mean of max(0, 1 - y_i x_i·theta), and a subgradient of it.

    X: (m, d), m >= 1, d >= 1; theta: (d,). Both hold floats or integers (up to 1e100 in absolute value).
    y: (m,), each -1 or +1, floats or integers. penalty: a number >= 0.

    Returns (J, g): J a Python float or NumPy float64; g a new array (d,), float64. Both are computed
    in float64 whatever the dtypes. A row whose margin y_i x_i·theta is exactly 1 adds nothing to g.
    Raises ValueError unless y has shape (m,) and holds only -1 and +1 (so 0 is refused).
    Leaves its arguments as they are. Memory: where X is float64, large and square, all that is built
    besides takes less than a fifth of X; so no second array of its size, and no copy of its rows.
    """
    ### BEGIN SOLUTION
    y, theta = signs(y, len(X)), np.asarray(theta, dtype=np.float64)
    margin = y * (X @ theta)
    J = penalty / 2 * (theta @ theta) + (1 - margin).clip(min=0).mean()
    return float(J), penalty * theta - (y * (margin < 1)) @ X / len(X)
    ### END SOLUTION


# %% [markdown] hints="hinge_loss"
# <details><summary>Hint 1: one vector</summary>
#
# Compute the margins of all rows first, one vector (m,). The loss and the subgradient are both made from it.
# </details>
# <details><summary>Hint 2: which rows count</summary>
#
# `margin < 1` is an array of booleans. Times y it is 0 for the rows that do not count. `X[margin < 1]` would copy rows;
# a product with zeros in it does not.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# J = penalty / 2 * (theta @ theta) + np.maximum(0, 1 - margin).mean(), and
# g = penalty * theta - (y * (margin < 1)) @ X / m. Turn theta into float64 before anything else;
# then the products are float64, too.
# </details>

# %% check="hinge_loss"
with check("hinge_loss"):
    X, y = np.array([[1.0, 0.0], [0.0, 2.0], [0.5, 1.0]]), np.array([1, -1, 1])
    theta = np.array([1.0, 0.25])  # margins 1, -0.5 and 0.75
    with expect_unchanged(X=X, y=y, theta=theta):
        J, g = hinge_loss(X, y, theta, penalty=2.0)
    right = 1.0625 + 1.75 / 3  # 2/2 * (1 + 1/16), and the losses 0, 1.5 and 0.25
    expect_close(
        J,
        right,
        rtol=1e-12,
        mistakes={
            "The losses are summed; take their mean.": 1.0625 + 1.75,
            "The penalty counts twice: it is penalty/2 times the squared norm.": right + 1.0625,
        },
    )
    pull = (np.array([0.0, 2.0]) - np.array([0.5, 1.0])) / 3  # -y_i x_i of the second and the third row
    expect_close(
        g,
        2 * theta + pull,
        rtol=1e-12,
        mistakes={
            "The row at margin exactly 1 counts; it should not.": 2 * theta + pull - np.array([1.0, 0.0]) / 3,
            "The losses push the wrong way: check the sign.": 2 * theta - pull,
            "The penalty adds penalty * theta, not penalty/2 * theta.": theta + pull,
        },
    )
    with expect_raises(ValueError, hint="labels 0 and 1 must be refused: use signs(y, len(X))"):
        hinge_loss(X, np.array([1, 0, 1]), theta, penalty=2.0)

# %% [markdown]
# Left: the hinge beside the losses that it competes with, as functions of the margin. Each is nowhere below the count
# of errors, so a small mean loss means few errors. Both hinges are exactly 0 from 1 on; the logistic loss never is. So
# rows outside the street cost nothing and do not change the line. Right: $J$ for a single weight, with your
# subgradients at four points $a$ drawn as lines. Each touches $J$ and lies nowhere above it, also at the kinks
# (triangles).

# %% tags=["demo"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8))
s = np.linspace(-2, 3, 401)
hinge = [hinge_loss(np.array([[margin]]), np.ones(1), np.ones(1), 0.0)[0] for margin in s]
plotting.curves(
    {
        "hinge (yours)": (s, hinge),
        "squared hinge": (s, np.maximum(0, 1 - s) ** 2),
        "logistic, base 2": (s, np.logaddexp(0, -s) / np.log(2)),
        "errors": (s, (s <= 0).astype(float)),
    },
    xlabel="margin",
    ylabel="loss",
    title="Both hinges are 0 from margin 1 on",
    ax=left,
)
left.set_ylim(-0.1, 4)
one_column, one_y = np.array([[2.0], [0.5], [-1.0], [0.8]]), np.array([1, 1, -1, -1])
grid = np.linspace(-1, 4, 301)
right.plot(grid, [hinge_loss(one_column, one_y, np.array([a]), 0.2)[0] for a in grid], label="J(θ)")
for a, marker in ((-0.5, "ko"), (3.0, "ko"), (0.5, "k^"), (1.0, "k^")):
    J, g = hinge_loss(one_column, one_y, np.array([a]), 0.2)
    right.plot(grid, J + g[0] * (grid - a), color="0.6", lw=1, ls="-")
    right.plot(a, J, marker, ms=5)
right.plot([], [], color="0.6", lw=1, ls="-", label="J(a) + g·(θ − a)")
right.set(xlabel="θ", ylim=(0, 3), title="Every subgradient supports J from below")
right.legend()
plt.show()

# %% [markdown]
# ### One row a step
#
# Following $g$ costs a pass over all rows for each step. As in module 02, take a single row $i_t$ in step $t$ instead:
# $\max(0, 1 - y_i\theta^\top x_i)$ stands in for the mean, and on average over random rows it is the mean. Because of
# the penalty $J$ is strongly convex (its curvature is at least $\lambda$), and for such functions the step size $\eta_t
# = 1/(\lambda t)$ needs no tuning. This is **Pegasos** (Shalev-Shwartz, Singer and Srebro, 2007; here without its
# projection, as in the longer version of 2011):
#
# $$\theta_t = \theta_{t-1} -
# \frac{1}{\lambda t}\big(\lambda\theta_{t-1} - [y_i\theta_{t-1}^\top x_i < 1]\, y_i x_i\big)
# = \Big(1 - \frac1t\Big)\theta_{t-1} + \frac{1}{\lambda t}\,[y_i\theta_{t-1}^\top x_i < 1]\; y_i x_i,
# \qquad i = i_t .$$
#
# After $T$ steps $J$ is within $O(\log T/(\lambda T))$ of its minimum, in expectation. The authors prove it for the mean
# of all $\theta_t$, Shamir and Zhang (2013) for the last one. The bound does not mention $m$: with the same $\lambda$,
# more rows make a pass longer, not the training.
#
# **What does a step cost?** A text has 20 different words out of a vocabulary of $d = 2{,}000{,}000$. The margin and
# the correction touch 20 entries of $\theta$. The factor $1 - 1/t$ touches all two million. That is a waste of a factor
# $10^5$, and the formula shows how to avoid it: unroll it, and look at what $\lambda t\,\theta_t$ is.
#
# ### 5.2 `pegasos` · essential · level 3 of 4 · 33 min
#
# The rows to visit are passed in, so that your function has no randomness of its own. X is a sparse matrix in CSR form:
# row $i$ has its values in `X.data[X.indptr[i]:X.indptr[i + 1]]` and their columns in the same slice of `X.indices`.


# %% exercise="pegasos" points=3 minutes=33 forbids=["sklearn"] trains=["convex optimisation", "sparse data structures"]
def pegasos(X: scipy.sparse.csr_array, y: np.ndarray, penalty: float, order: np.ndarray) -> np.ndarray:
    """Minimise J (no bias) by subgradient steps on one row each, with step size 1 / (penalty t).

    X: (m, d), scipy.sparse in CSR form (csr_array or csr_matrix), floats or integers. No row holds
      a column twice; a row may be empty, and columns may stand in any order.
    y: (m,), each -1 or +1, floats or integers. penalty: a number > 0.
    order: (T,) int64, from 0 to m - 1; T may be 0. Step t = 1, ..., T uses row i = order[t - 1].

    theta is 0 before step 1. Step t makes it (1 - 1/t) theta, plus y_i x_i / (penalty t) if
    y_i x_i·theta < 1 for the theta before the step (exactly 1 is not below 1; where rounding decides,
    both are fine).
    Returns theta after the last step, with no average taken: a new array (d,), float64.
    Cost, for m up to 2^22 and d up to 2^23 (8,388,608):
    - A step costs in proportion to the entries of its row; only what is done once a call may cost m or
      d operations. 3,000 steps on rows of about ten entries take less than five seconds.
    - All that is built besides X takes less memory than three arrays (d,). X is never made dense.
    Leaves its arguments as they are.
    Raises ValueError unless y has shape (m,) and holds only -1 and +1, and penalty > 0.
    Not allowed: sklearn.
    """
    ### BEGIN SOLUTION
    y = signs(y, X.shape[0])
    if not penalty > 0:
        raise ValueError("the penalty must be above 0")
    total = np.zeros(X.shape[1])  # penalty * t * theta: the sum of y_i x_i over the steps that violated the margin
    for t, i in enumerate(order, 1):
        row = slice(X.indptr[i], X.indptr[i + 1])
        columns, values = X.indices[row], X.data[row]
        if t == 1 or y[i] * (values @ total[columns]) < penalty * (t - 1):
            total[columns] += y[i] * values
    return total / (penalty * (len(order) or 1))
    ### END SOLUTION


# %% [markdown] hints="pegasos"
# <details><summary>Hint 1: unroll</summary>
#
# Write out θ₁, θ₂, θ₃ for rows that all violate the margin. (1 − 1/t) · 1/(t − 1) = 1/t: every row that was ever added
# ends up with the same weight.
# </details>
# <details><summary>Hint 2: what to keep</summary>
#
# Keep u = λ t θ. The shrinking cancels: u changes only in the columns of the row, by y x, and only if the margin is
# violated. Divide once, at the end.
# </details>
# <details><summary>Hint 3: the margin</summary>
#
# Before step t, θ = u / (λ (t − 1)), so y x·θ < 1 means y x·u < λ (t − 1). In step 1 θ is 0 and always violates the
# margin, but the inequality would say 0 < 0: treat it apart.
# </details>

# %% check="pegasos"
with check("pegasos", forbids=["sklearn"]):
    X, y = scipy.sparse.csr_array(np.array([[1.0, 0.0], [0.0, 1.0]])), np.array([1, -1])
    order = np.array([0, 1, 0])
    with expect_unchanged(X=X, y=y, order=order):
        theta = pegasos(X, y, 0.5, order)
    # Steps of 2, 1 and 2/3: theta is (2, 0), then (1, 0) - (0, 1), and the third margin is exactly 1.
    expect_close(
        theta,
        [2 / 3, -2 / 3],
        rtol=1e-12,
        mistakes={
            "A margin of exactly 1 counts as violated; it should not.": [4 / 3, -2 / 3],
            "The step size is 1 / t; the penalty is missing from it.": [2 / 3, -1 / 3],
            "theta shrinks only in steps that violate the margin; it shrinks in every step.": [1.0, -1.0],
        },
    )
    expect_close(pegasos(X, y, 0.5, order[:1]), [2.0, 0.0], rtol=1e-12, hint="the first step always violates")
    expect_close(pegasos(X, y, 0.5, order[:0]), [0.0, 0.0], atol=0, hint="no steps, no change")
    wide = scipy.sparse.random_array((50, 8_000_000), density=1e-6, format="csr", rng=0)
    weights = np.ones(8_000_000)

    def seconds(work, *arguments):
        start = time.process_time()
        returned = work(*arguments)
        return returned, time.process_time() - start

    def passes(steps):
        """What the steps cost, in passes over eight million weights."""
        one = min(seconds(np.multiply, weights, 1.0, weights)[1] for _ in range(5))
        theta, spent = seconds(pegasos, wide, np.where(np.arange(50) % 2, 1, -1), 0.1, np.arange(steps) % 50)
        expect_shape(theta, (8_000_000,))
        return spent / one

    passes(0)  # the first call pays for the memory
    cost = min(passes(300) for _ in range(3))  # a busy machine makes a call slower, never faster
    assert cost < 150, (
        f"300 steps took as long as {cost:.0f} passes over all eight million weights. "
        "A step must touch the columns of its row alone: see Hint 2"
    )

# %% [markdown]
# Your Pegasos reads made-up product reviews: words and pairs of words, hashed into $2^{18}$ columns. Left: the distance
# of $J$ from its minimum against the number of steps, as the mean of three random orders. The minimum comes from
# scikit-learn's `LinearSVC`, which solves the same problem (hinge, no bias) by ascent on the dual. The curve begins at
# step 100, because the first $\theta$ is far too long: $\theta_1 = y_i x_i/\lambda$, with $\lambda = 0.001$ here; the
# cell prints its $J$. Right: seconds for 300 steps against $d$, for your function and for the formula as it is
# written. (The reviews hold negations such as "not bad" and subordinate clauses, so a linear rule on words and pairs
# stays far from 100%. The cell prints how far.)

# %% tags=["demo"]
texts = datasets.reviews(demo_size(full=4500, small=1500))
words = HashingVectorizer(n_features=2**18, ngram_range=(1, 2), alternate_sign=False).transform(texts.texts)
word_y = 2 * texts.sentiment - 1
held_out = len(word_y) // 3
train, test = slice(held_out, None), slice(0, held_out)
penalty = 1e-3


def J_sparse(theta):
    return penalty / 2 * theta @ theta + np.maximum(0, 1 - word_y[train] * (words[train] @ theta)).mean()


rows = len(word_y) - held_out
peer = LinearSVC(loss="hinge", fit_intercept=False, C=1 / (penalty * rows), tol=1e-6, max_iter=10_000)
peer.fit(words[train], word_y[train])
lowest = J_sparse(peer.coef_[0])
orders = np.random.default_rng(0).integers(0, rows, (3, demo_size(full=30_000, small=5000)))
steps = np.unique(np.geomspace(100, orders.shape[1], 10).astype(int))
walks = [[pegasos(words[train], word_y[train], penalty, order[:step]) for step in steps] for order in orders]
gaps = np.mean([[J_sparse(theta) - lowest for theta in walk] for walk in walks], axis=0)
first = pegasos(words[train], word_y[train], penalty, orders[0, :1])

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
slope = scaling.exponent(steps, gaps)
left.loglog(steps, gaps, "o-", label=f"Pegasos, slope {slope:.2f}")
left.loglog(steps, gaps[0] * steps[0] / steps, "k--", label="slope −1")
left.set(xlabel="steps, one row each", ylabel="J − min J", title="Error falls about as one over the steps")
left.legend()


def as_written(X, y, penalty, order):
    """The formula as it stands, with a factor on all of theta in each step."""
    theta = np.zeros(X.shape[1])
    for t, i in enumerate(order, 1):
        row = slice(X.indptr[i], X.indptr[i + 1])
        violated = y[i] * (X.data[row] @ theta[X.indices[row]]) < 1
        theta *= 1 - 1 / t
        if violated:
            theta[X.indices[row]] += y[i] * X.data[row] / (penalty * t)
    return theta


def ten_entries_a_row(d):
    draw = np.random.default_rng(0)
    columns = draw.integers(0, d // 10, (50, 10)) + d // 10 * np.arange(10)
    X = scipy.sparse.csr_array((draw.normal(size=500), columns.ravel(), np.arange(0, 501, 10)), shape=(50, d))
    return X, draw.choice([-1, 1], 50), 0.01, draw.integers(0, 50, 300)


cost = scaling.measure(
    {"yours": pegasos, "as written": as_written},
    sizes=[2**k for k in (10, 13, 16, 19)][: demo_size(full=4, small=3)],
    setup=ten_entries_a_row,
    budget=4.0,
    label="columns d",
    memory=None,
    threads=1,
)
cost.plot(ax=right, peer="as written")
right.set(ylabel="seconds for 300 steps", title="Your step does not pay for d")
plt.show()
print(
    f"J: 1 at theta = 0, {J_sparse(first):.3g} after step 1, {J_sparse(walks[0][-1]):.4f} at the end, {lowest:.4f} minimum"
)
correct = np.mean(np.sign(words[test] @ walks[0][-1]) == word_y[test])
print(f"{rows:,} reviews, {steps[-1]:,} steps: {correct:.1%} of {held_out:,} others right")
print(f"LinearSVC on the same problem:       {peer.score(words[test], word_y[test]):.1%}")

# %% [markdown]
# One part of your time does grow with $d$: the zeros are written once and the result is divided once. That is $2d$
# operations a call, however many steps there are. Where $d$ is large enough, your curve rises for that reason.
#
# ### And if no line separates the classes?
#
# Two half-moons, one in the other. A line has to cut both, and more steps do not help: `LinearSVC`, which solves the
# problem exactly, is right about as often. The model is too stiff. The border must become a curve.

# %% tags=["demo"]
moons = datasets.moons(200, noise=0.2)
moon_y = 2 * moons.y - 1
with_one = np.column_stack([moons.X, np.ones(200)])  # the last column makes room for a bias
order = np.random.default_rng(0).integers(0, 200, demo_size(full=20_000, small=5000))
theta = pegasos(scipy.sparse.csr_array(with_one), moon_y, 1e-2, order)
peer = LinearSVC(loss="hinge", fit_intercept=False, C=1 / (1e-2 * 200), max_iter=20_000).fit(with_one, moon_y)
figure, ax = plt.subplots(figsize=(6.4, 3.8))
plotting.decision_regions(lambda P: (P @ theta[:2] + theta[2] > 0).astype(int), moons.X, moons.y, ax=ax)
ax.set(xlabel="$x_0$", ylabel="$x_1$", title="A line cuts both moons")
plt.show()
print(f"rows right: your Pegasos {np.mean(np.sign(with_one @ theta) == moon_y):.1%}, ", end="")
print(f"LinearSVC {peer.score(with_one, moon_y):.1%}")

# %% [markdown]
# ## A curve, by kernels
#
# ### Only inner products matter
#
# Look again at what Pegasos built: $\theta_t = \frac{1}{\lambda t}\sum y_i x_i$, a sum over the rows that violated the
# margin. The minimum is of that kind, too: there a subgradient is 0, so $\lambda\theta$ is a sum of rows, each with a
# factor. The weights are a combination of rows, $\theta = \sum_i \beta_i x_i$ (the **representer theorem**), so a score
# is
#
# $$f(x) = \theta^\top x = \sum_i \beta_i\; x_i^\top x .$$
#
# Rows occur in inner products only. Now map each row to features $\varphi(x)$, and separate there with a plane: in the
# old space it is a curve. Nothing changes but the inner product, which becomes the **kernel**
# $k(x, x') = \varphi(x)^\top\varphi(x')$.
#
# Take all products of two columns as features: $\varphi(x) = (x_0x_0,\ x_0x_1,\ x_1x_0,\ x_1x_1)$ for two columns
# $x_0$ and $x_1$. Then
#
# $$\varphi(x)^\top\varphi(x') = x_0^2x_0'^2 + 2\,x_0x_1x_0'x_1' + x_1^2x_1'^2 = (x_0x_0' + x_1x_1')^2
# = (x^\top x')^2 .$$
#
# In $d$ columns these are $d^2$ features, and the right-hand side still costs $2d$ operations. Where $k$ can be
# computed without $\varphi$, the number of features no longer matters; it may be infinite. That is the case for the
# Gaussian or **RBF** kernel ("Random features", below, proves that it is an inner product of features):
#
# $$k(x, x') = \exp(-\gamma\|x - x'\|^2), \qquad \gamma > 0.$$
#
# It is 1 for equal rows and falls to $1/e$ at the distance $1/\sqrt\gamma$. The larger $\gamma$ is, the shorter a row's
# influence reaches. Sums and products of kernels are kernels again: put the features side by side, or take all their
# products. For every kernel the matrix $K_{ij} = k(x_i, x_j)$ is symmetric and **positive semidefinite**:
# $a^\top K a = \|\sum_i a_i\varphi(x_i)\|^2 \ge 0$ for every $a \in \mathbb R^m$.
#
# For all pairs at once, expand the square. The costly part is one matrix product:
#
# $$\|a_i - b_j\|^2 = \|a_i\|^2 + \|b_j\|^2 - 2\,(A B^\top)_{ij},
# \qquad \underbrace{A}_{(p,\,d)}\ \underbrace{B^\top}_{(d,\,q)} .$$
#
# Differences of all pairs, `A[:, None] - B`, take $d$ times the memory of the result. The expansion takes a few times
# the result, but its three terms cancel for close rows. Then the squared distance may come out a little below 0, and
# the kernel a little above 1. An inner product of unit vectors is never above 1. Replace negative squared distances
# by 0.
#
# ### 5.3 `kernel_matrix` · essential · level 2 of 4 · 15 min


# %% exercise="kernel_matrix" points=2 minutes=15 forbids=["sklearn", "scipy.spatial", "torch.cdist"] trains=["kernels"]
def kernel_matrix(A: np.ndarray, B: np.ndarray, kind: str = "rbf", gamma: float = 1.0) -> np.ndarray:
    """The kernel of every row of A with every row of B.

    A: (p, d), B: (q, d), floats or integers, up to 1e9 in absolute value; p and q may be 0, d is at least 1.
    kind: "linear", a·b; or "rbf", exp(-gamma |a - b|^2), gamma > 0. For "linear" gamma is ignored.

    Returns a new array (p, q), float64, computed in float64 whatever the dtypes.
    - "rbf": the error of an entry is at most 1e-14 (d + 10) (1 + gamma (|a|^2 + |b|^2)); none is above 1.
    - "linear": it is at most 4 d eps times the sum of |a_k b_k|, with eps = 2.2e-16.
    Raises ValueError for another kind, for a gamma that is not > 0 where kind is "rbf", and where A
    and B have different numbers of columns.
    Beside float64 copies of A and B it takes less memory than eight arrays (p, q): no (p, q, d) array.
    Leaves A and B as they are.
    Not allowed: sklearn, scipy.spatial, torch.cdist.
    """
    ### BEGIN SOLUTION
    A, B = np.asarray(A, dtype=np.float64), np.asarray(B, dtype=np.float64)
    products = A @ B.T
    if kind == "linear":
        return products
    if kind != "rbf" or not gamma > 0:
        raise ValueError('kind must be "linear" or "rbf", and gamma above 0')
    squared = (A * A).sum(axis=1)[:, None] + (B * B).sum(axis=1) - 2 * products
    return np.exp(-gamma * squared.clip(min=0))
    ### END SOLUTION


# %% [markdown] hints="kernel_matrix"
# <details><summary>Hint 1: one product</summary>
#
# `A @ B.T` is the linear kernel, and the cross term of every squared distance.
# </details>
# <details><summary>Hint 2: shapes</summary>
#
# The squared norms of A's rows must broadcast down the columns: shape (p, 1). Those of B's rows, shape (q,), broadcast
# along the rows by themselves.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# squared = (A * A).sum(axis=1)[:, None] + (B * B).sum(axis=1) - 2 * A @ B.T; then np.exp(-gamma * np.maximum(squared,
# 0)). Convert both to float64 first: int8 overflows at 128. NumPy raises ValueError by itself where the columns differ.
# </details>

# %% check="kernel_matrix"
with check("kernel_matrix", forbids=["sklearn", "scipy.spatial", "torch.cdist"]):
    A, B = np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[0.0, 0.0], [0.0, 1.0], [3.0, 4.0]])
    squared = np.array([[0.0, 1.0, 25.0], [25.0, 18.0, 0.0]])  # 18 = 3² + 3²
    with expect_unchanged(A=A, B=B):
        K = kernel_matrix(A, B, "rbf", gamma=0.1)
    expect_close(
        K,
        np.exp(-0.1 * squared),
        rtol=1e-12,
        mistakes={
            "gamma is not used.": np.exp(-squared),
            "The distance is not squared.": np.exp(-0.1 * np.sqrt(squared)),
            "gamma stands for a sigma: exp(-|a - b|²/(2 gamma²)).": np.exp(-squared / 0.02),
        },
    )
    expect_close(kernel_matrix(A, B, "linear"), [[0.0, 0.0, 0.0], [0.0, 4.0, 25.0]], atol=0)
    far = 1e3 + np.random.default_rng(0).normal(size=(200, 3)) * 1e-6
    assert kernel_matrix(far, far).max() <= 1, "an RBF kernel is never above 1: the squared distance fell below 0"
    expect_close(kernel_matrix(np.full((1, 1), 100, np.int8), np.full((1, 1), 100, np.int8), "linear"), [[10_000.0]])
    with expect_raises(ValueError, hint="gamma = 0 makes all rows alike"):
        kernel_matrix(A, B, "rbf", gamma=0.0)
    with expect_raises(ValueError, hint="only two kinds"):
        kernel_matrix(A, B, "cosine")

# %% [markdown]
# What $\gamma$ does. Rows are digits, sorted by class. A good first guess is one over (columns times variance of the
# entries), which is what scikit-learn calls `gamma="scale"`. Left: with it the classes show as blocks along the
# diagonal. Right: the mean kernel of two different rows, against $\gamma$. With a small $\gamma$ it is nearly 1 for any
# two rows, and with a large one it is nearly 0. In between it tells whether two rows are the same digit.

# %% tags=["demo"]
digits = datasets.digits()
by_class = np.argsort(digits.y[:400], kind="stable")
some, digit = digits.X[:400][by_class] / 16, digits.y[:400][by_class]
scale = 1 / (some.shape[1] * some.var())
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
image = left.imshow(kernel_matrix(some, some, "rbf", scale), vmin=0, vmax=1)
left.set(title="γ = scale: a block for each digit", xlabel="row, sorted by digit", ylabel="row, sorted by digit")
left.grid(False)
figure.colorbar(image, ax=left, label="kernel")
factors = np.geomspace(0.01, 100, 13)
same, pairs = np.equal.outer(digit, digit), ~np.eye(len(some), dtype=bool)
means = []
for factor in factors:
    K = kernel_matrix(some, some, "rbf", factor * scale)
    means.append((K[same & pairs].mean(), K[~same].mean()))
lines = {"the same digit": (factors, np.array(means)[:, 0]), "different digits": (factors, np.array(means)[:, 1])}
plotting.curves(
    lines,
    xlabel="γ / scale",
    ylabel="mean kernel of two rows",
    title="In between γ tells digits apart",
    logx=True,
    ax=right,
)
plt.show()

# %% [markdown]
# ### One page on Lagrange duality
#
# How do you find the $\beta$? Pegasos can do it: count how often each row violated its margin. But it needs many steps,
# and it does not know when to stop. The **dual** problem has no step size, its answer has exact zeros, and it comes
# with a number that says how far from the minimum you are. Go back to the problem with constraints, at the top of the
# module. Before you write its dual, take two variables: minimise
# $p(\theta) = \tfrac12(\theta_0^2 + \theta_1^2)$ subject to $\theta_0 + 2\theta_1 \ge 5$.
#
# **A price instead of a rule.** Drop the rule, and charge $\alpha \ge 0$ for each unit by which it is violated. (If the
# rule holds with room to spare, you get $\alpha$ back for each unit of room.) The **Lagrangian** is
#
# $$L(\theta, \alpha) = \tfrac12(\theta_0^2 + \theta_1^2) + \alpha\,(5 - \theta_0 - 2\theta_1).$$
#
# **For a fixed price, minimise without constraints.** $\nabla_\theta L = 0$ gives $\theta = \alpha\,(1, 2)$. Insert it:
#
# $$D(\alpha) = \min_\theta L(\theta, \alpha) = \tfrac52\alpha^2 + \alpha(5 - 5\alpha) = 5\alpha - \tfrac52\alpha^2 .$$
#
# **$D$ bounds the answer from below.** A $\theta$ that keeps the rule pays $\alpha \cdot (\text{something} \le 0)$, so
# $D(\alpha) \le L(\theta, \alpha) \le p(\theta)$, for every $\alpha \ge 0$ and every such $\theta$. This is **weak
# duality**. The difference $p(\theta) - D(\alpha)$ is the **duality gap**. Nobody needs to know the minimum to compute
# it, and if it is 0.001, then neither $p(\theta)$ nor $D(\alpha)$ is further than 0.001
# from the best value.
#
# **The best bound is tight.** $D$ is largest at $\alpha = 1$, with $D(1) = 2.5$. There $\theta = (1, 2)$, which keeps
# the rule and has $p = 2.5$. The gap is 0: both are optimal. For convex problems with linear rules this always
# happens if some point keeps the rules and the minimum is finite (**strong duality**).
#
# **A rule that does not bind has no price.** A rule **binds** at a point where it holds with equality; what is left
# over otherwise is its **slack**. Add the rule $\theta_0 \ge 0$. The answer keeps it anyway, with slack 1, and its
# price is zero. In general price times slack is zero at the answer, for each rule: **complementary slackness**.
# Geometrically: at the answer, the gradient of $p$ is a combination of the normals of the rules that bind, and the
# prices are its coefficients.

# %% tags=["demo"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
a, b = np.meshgrid(np.linspace(-1, 4, 200), np.linspace(-1, 4.5, 200))
left.contour(a, b, (a**2 + b**2) / 2, levels=[0.5, 1.25, 2.5, 5, 8], colors="0.6", linewidths=1)
left.contourf(a, b, a + 2 * b >= 5, levels=[0.5, 1.5], colors=[plotting.COLOURS[5]], alpha=0.25)
left.plot([-1, 4], [3, 0.5], label="θ₀ + 2θ₁ = 5")
left.plot(1, 2, "ko", label="answer (1, 2)")
left.annotate("", (2, 4), (1, 2), arrowprops={"arrowstyle": "->", "color": "k", "shrinkA": 0, "shrinkB": 0})
left.annotate("∇p = 1 · (1, 2)", (2.1, 3.9))
title = "The gradient is a price times a normal"
left.set(xlabel="θ₀", ylabel="θ₁", xlim=(-1, 4), ylim=(-1, 4.5), aspect="equal", title=title)
left.grid(False)
plotting.legend_below(left)
prices = np.linspace(0, 2, 200)
right.plot(prices, 5 * prices - 2.5 * prices**2, label="D(α) = 5α − 5α²/2")
right.axhline(2.5, color="k", ls="--", lw=1.2, label="smallest p that keeps the rule")
right.axhline(3.25, color="0.6", ls=":", lw=1.2)
right.annotate("p at (2, 1.5), which keeps the rule, too", (0.02, 3.3))
right.set(xlabel="price α", ylim=(0, 3.8), title="Every D lies below every p that keeps the rule")
plotting.legend_below(right)
plt.show()

# %% [markdown]
# ### The dual of the SVM
#
# Minimise $\tfrac12\|\theta\|^2 + C\sum_i\xi_i$ subject to $y_i(\theta^\top x_i + b) \ge 1 - \xi_i$ and $\xi_i \ge 0$.
# Prices $\alpha_i \ge 0$ for the first rules, $\mu_i \ge 0$ for the second:
#
# $$L = \tfrac12\|\theta\|^2 + C\sum_i \xi_i + \sum_i\alpha_i\big(1 - \xi_i - y_i(\theta^\top x_i + b)\big) -
# \sum_i \mu_i\xi_i .$$
#
# For fixed prices, minimise $L$ over $\theta$, $b$ and $\xi$. In $\theta$ it is quadratic, as in the example: set the
# derivative to zero. In $b$ and in each $\xi_i$ it is linear. A linear function with a slope has no minimum: it falls
# to $-\infty$, and a bound of $-\infty$ says nothing. Only prices that make these slopes zero give a useful bound:
#
# - by $\theta$: $\theta = \sum_i \alpha_i y_i x_i$. The weights are a combination of rows, as Pegasos suggested.
# - by $b$: $\sum_i \alpha_i y_i = 0$. This rule exists because $b$ is free; without a bias it goes away.
# - by $\xi_i$: $\alpha_i = C - \mu_i$. Since $\mu_i \ge 0$, no $\alpha_i$ is above $C$.
#
# Insert them; $\xi$, $\mu$ and $b$ cancel, and rows occur in inner products only:
#
# $$\max_\alpha\ D(\alpha) = \sum_i\alpha_i - \tfrac12\sum_{i,j}\alpha_i\alpha_j\,y_i y_j\,K_{ij}
# \qquad\text{subject to}\qquad 0 \le \alpha_i \le C,\quad \sum_i\alpha_i y_i = 0.$$
#
# **Three kinds of rows.** Price times slack is 0, for both rules, which leaves three cases:
#
# | price $\alpha_i$ | margin $y_i f(x_i)$ | the row |
# | --- | --- | --- |
# | $0$ | at least 1 | lies outside the street and plays no part |
# | between $0$ and $C$ | exactly 1 | is a **free** support vector, on the edge of the street |
# | $C$ | at most 1 | is a **bounded** support vector, in the street or on the wrong side |
#
# The **support vectors** are the rows with $\alpha_i > 0$. The table is complementary slackness. Together with
# $\theta = \sum_i\alpha_i y_i x_i$ and the rules $0 \le \alpha_i \le C$ and $\sum_i\alpha_i y_i = 0$ it is called the
# **Karush–Kuhn–Tucker (KKT) conditions**. The middle case gives $b$: for any free support vector,
# $y_i f(x_i) = 1$ means $b = y_i - \sum_j\alpha_j y_j K_{ij}$, because $1/y_i = y_i$.
#
# **The gap is the sum of all violations.** For any $\alpha$ that keeps the rules, any $b$, and
# $\theta = \sum_i\alpha_i y_i x_i$,
#
# $$P - D = \sum_i \Big[(C - \alpha_i)\max(0, 1 - y_i f(x_i)) + \alpha_i\max(0, y_i f(x_i) - 1)\Big] .$$
#
# (In three steps. $P - D = \|\theta\|^2 + C\sum_i\max(0, 1 - s_i) - \sum_i\alpha_i$ with $s_i = y_i f(x_i)$. Then
# $\|\theta\|^2 = \sum_i \alpha_i y_i (f(x_i) - b) = \sum_i\alpha_i s_i$, because $\sum_i\alpha_i y_i = 0$. And
# $1 - s_i = \max(0, 1 - s_i) - \max(0, s_i - 1)$.) Each term is at least 0, and it is 0 exactly where row $i$ obeys the
# table. One number certifies all $m$ conditions at once.
#
# **Two rows by hand** (rows are counted from 0 here, as in code). One column, $x_0 = 0$ with $y_0 = -1$ and $x_1 = 2$
# with $y_1 = 1$, so $K_{11} = 4$ and the other entries of $K$ are 0. The rule on the sum makes $\alpha_0 = \alpha_1 = a$, and $D = 2a - 2a^2$ is largest at $a
# = \tfrac12$. If $C > \tfrac12$, that is the answer: $\theta = \tfrac12 \cdot 2 = 1$, both rows are free, each asks
# for $b = -1$, and $f(x) = x - 1$ has the margin 1 at both. $P = \tfrac12 = D$, and the gap is 0. If $C = \tfrac14$,
# then $a = \tfrac14$: no row is free, $\theta = \tfrac12$, and the table allows every $b$ from $-1$ to $0$. With each
# of them $P = \tfrac18 + \tfrac14 \cdot 1 = \tfrac38 = D$. Take $b$ in the middle; $b = 1$ would leave a gap.
#
# ### Where tutorials disagree, once more
#
# - **Support vectors are rows of $X$**, each with an $\alpha_i$ of its own. The mean of a class is not a support
#   vector.
# - **The width of the Gaussian kernel.** We write $\exp(-\gamma\|x - x'\|^2)$ as scikit-learn does; others write
#   $\exp(-\|x - x'\|^2 / (2\sigma^2))$, so $\gamma = 1/(2\sigma^2)$. A kernel without any width presumes that the unit
#   of the data, metres or millimetres, happened to be the right one.
# - **The sign of the dual.** It is a maximum of $\sum_i \alpha_i - \tfrac12\sum_{ij} \alpha_i\alpha_j y_i y_j K_{ij}$
#   (Cortes and Vapnik, 1995), or the minimum of its negative (LIBSVM). Both the factor ½ and the labels $y_i y_j$
#   are needed.
# - **The bias without free support vectors.** Some code averages $y_i - v_i$ over the free ones and returns 0 where
#   there is none. The table still says which $b$ are right.
#
# ### A step that keeps the rules
#
# Write $\beta_i = \alpha_i y_i$, which lies in $[0, C]$ for positive rows and in $[-C, 0]$ for negative ones. The dual
# becomes $D = \sum_i y_i\beta_i - \tfrac12\beta^\top K\beta$ with $\sum_i\beta_i = 0$. Its gradient is
#
# $$G = y - v, \qquad v = \underbrace{K}_{(m,\,m)}\underbrace{\beta}_{(m,)}, \qquad f(x_i) = v_i + b .$$
#
# $G_i$ is the $b$ that row $i$ asks for: with $b = G_i$ its margin is exactly 1. No single $\beta_i$ can move, because
# the sum must stay 0. So move **two**: $\beta_i$ up by $\tau$ and $\beta_j$ down by $\tau$. That changes $D$ by
#
# $$\tau\,(G_i - G_j) - \tfrac12\tau^2\,(K_{ii} + K_{jj} - 2K_{ij}).$$
#
# Uphill whenever $G_i > G_j$; best at $\tau = (G_i - G_j)/(K_{ii} + K_{jj} - 2K_{ij})$, cut off where $\beta_i$ or
# $\beta_j$ meets its bound. This is **sequential minimal optimisation** (SMO; Platt, 1998). For the pair take the
# largest $G_i$ among those that can go up and the smallest $G_j$ among those that can go down (Keerthi et al., 2001).
# When no such pair has $G_i > G_j$, every $b$ from that $G_i$ to that $G_j$ (now $G_i \le G_j$) makes all rows obey the
# table, and $\alpha$ is optimal. (LIBSVM stops at $G_i - G_j \le$ tol. With $b$ halfway, each row then adds at most
# $C \cdot$ tol$/2$ to the gap.) A step, from $\beta = 0$ on:
#
# 1. $G = y - v$; the pair $i$, $j$; and $b = (G_i + G_j)/2$.
# 2. The gap $P - D$ with this $b$. If it is small enough, stop.
# 3. $\tau$, cut off at the bounds of $\beta_i$ and of $\beta_j$.
# 4. $\beta_i$ grows by $\tau$, $\beta_j$ falls by $\tau$, and $v$ grows by $\tau$ times (row $i$ minus row $j$ of $K$).
#
# On the two rows above one step is enough: $\beta = 0$, so $G = y = (-1, 1)$; $i = 1$, $j = 0$, $b = 0$, and the gap is
# $2C$; $\tau = 2/4$, or $C$ if that is smaller. The next round finds $G_1 = G_0 = -1$ if $C > \tfrac12$, and stops.
#
# A step takes $O(m)$ operations. One way to the gap: $P - D = C\sum_i\max(0, 1 - y_i(v_i + b)) + \beta^\top v -
# \sum_i|\beta_i|$.
#
# ### 5.4 `svm_dual` · essential · level 4 of 4 · 65 min


# %% exercise="svm_dual" points=4 minutes=65 forbids=["sklearn", "scipy.optimize"] trains=["convex duality", "certificates of optimality"]
def svm_dual(K: np.ndarray, y: np.ndarray, C: float, tol: float = 1e-3) -> tuple[np.ndarray, float]:
    """The soft-margin SVM with a free bias, from its kernel matrix, to a duality gap that is certified.

    K: (m, m), a kernel matrix: symmetric, its eigenvalues >= 0 but for rounding; float64 or float32.
      Rows may occur twice, also with different labels, and K may be all zeros.
    y: (m,), each -1 or +1, floats or integers, both of them present. C > 0, tol >= 1e-12.

    Returns (alpha, b): alpha a new array (m,), float64; b a Python float or NumPy float64.
    The score of row i is f_i = sum over j of K_ij alpha_j y_j, plus b.
    - 0 <= alpha_i <= C exactly, and |sum of alpha_i y_i| <= 1e-9 C m.
    - The gap P - D, at this alpha and this b, is at most tol * C * m. It is
      C sum_i max(0, 1 - y_i f_i) + sum_ij alpha_i alpha_j y_i y_j K_ij - sum_i alpha_i.
    Any method will do. A call takes less than ten seconds
    - with 60 rows, C K_ii <= 100 and tol >= 1e-6;
    - with 30 rows, C K_ii <= 0.1 and tol = 1e-10;
    - with 2 rows, C <= 1e4, K_ii <= 50 and tol = 1e-12;
    - with 2,000 rows, C K_ii = 1 and tol = 1e-2.
    Computes in float64. Takes, beside K, less memory than half of what K takes.
    Leaves K and y as they are. Raises ValueError unless K is (m, m), y has shape (m,) and holds -1 and
    +1 and nothing else, C > 0 and tol > 0.
    Not allowed: sklearn, scipy.optimize.
    """
    ### BEGIN SOLUTION
    m = len(K)
    y = signs(y, m)
    if K.shape != (m, m) or np.abs(y.sum()) == m or not (C > 0 and tol > 0):
        raise ValueError("K must be square, both labels present, C and tol above 0")
    lowest, highest = (C * y).clip(max=0), (C * y).clip(min=0)
    beta, v = np.zeros(m), np.zeros(m)  # alpha_i y_i, and K beta
    while True:
        G = y - v
        i = np.argmax(np.where(beta < highest, G, -np.inf))
        j = np.argmin(np.where(beta > lowest, G, np.inf))
        b = (G[i] + G[j]) / 2
        gap = C * (1 - y * (v + b)).clip(min=0).sum() + beta @ v - np.abs(beta).sum()
        if gap <= tol * C * m:
            return np.abs(beta), float(b)
        curvature = float(K[i, i]) + float(K[j, j]) - 2 * float(K[i, j])
        best = (G[i] - G[j]) / curvature if curvature > 0 else np.inf  # equal rows: as far as the bounds allow
        step = np.min([best, highest[i] - beta[i], beta[j] - lowest[j]])
        beta[i] = np.clip(beta[i] + step, lowest[i], highest[i])
        beta[j] = np.clip(beta[j] - step, lowest[j], highest[j])
        v += step * (K[i].astype(np.float64) - K[j])
    ### END SOLUTION


# %% [markdown] hints="svm_dual"
# <details><summary>Hint 1: what to keep</summary>
#
# Keep β, all zeros at first, and v = K β. Each step changes two entries of β, so v changes by τ (K[i] − K[j]). The
# bounds of β are arrays: from min(0, C y) to max(0, C y). Take single rows of K as you need them: K in another dtype, or
# times the labels, is a second array of its size.
# </details>
# <details><summary>Hint 2: the pair, b and the end</summary>
#
# G = y − v. i: the largest G among rows with β below its upper bound (`np.where(beta < highest, G, -np.inf)`). j: the
# smallest G among rows with β above its lower bound. Take b halfway between G[i] and G[j]; with it compute the gap, and
# return when it is small enough.
# </details>
# <details><summary>Hint 3: the step</summary>
#
# τ = min((G[i] − G[j]) / (K[i,i] + K[j,j] − 2 K[i,j]), room of β[i] upwards, room of β[j] downwards). Where the
# denominator is 0 or, by rounding, below, the room alone decides. Rounding may carry an entry past its
# bound: np.clip brings it back. α is |β|.
# </details>

# %% check="svm_dual"


def gap_of(K, y, C, alpha, b):
    """P - D of an answer."""
    v = K @ (alpha * y)
    return C * np.maximum(0, 1 - y * (v + b)).sum() + alpha * y @ v - alpha.sum()


with check("svm_dual", forbids=["sklearn", "scipy.optimize"]):
    x, y = np.array([0.0, 2.0, 3.0]), np.array([-1.0, 1.0, 1.0])
    K = np.outer(x, x)
    with expect_unchanged(K=K, y=y):
        alpha, b = svm_dual(K, y, C=10.0, tol=1e-8)
    # The street lies between 0 and 2: theta = 1 = alpha_1 * 2, and f(0) = b = -1. The point 3 lies outside.
    expect_close(
        alpha,
        [0.5, 0.5, 0.0],
        atol=1e-3,
        mistakes={
            "alpha comes with the signs of the labels.": [-0.5, 0.5, 0.0],
            "The factor 1/2 of the dual is missing: alpha comes out half as large.": [0.25, 0.25, 0.0],
        },
    )
    expect_close(b, -1.0, atol=1e-3, mistakes={"f = v + b, not v - b.": 1.0, "There is no bias.": 0.0})
    alpha, b = svm_dual(K, y, C=0.1, tol=1e-8)  # a low price: all of alpha_0 and alpha_1 is used, and no row is free
    assert np.all((alpha >= 0) & (alpha <= 0.1)), f"alpha must lie between 0 and C = 0.1, and is {alpha}"
    expect_close(alpha @ y, 0.0, atol=1e-9, hint="alpha_i y_i must sum to 0")
    # theta = 0.2: row 1 lies inside the street, so 0.4 + b <= 1, and row 2 outside, so 0.6 + b >= 1.
    assert 0.399 <= b <= 0.601, f"without a free support vector b lies between 0.4 and 0.6 here, and is {b:.4g}"
    sixty = datasets.moons(60, noise=0.25)
    K, y = kernel_matrix(sixty.X, sixty.X, "rbf", 2.0), 2 * sixty.y - 1
    for C in (0.1, 10.0):
        alpha, b = svm_dual(K, y, C, tol=1e-5)
        assert alpha.min() >= 0 and alpha.max() <= C, "alpha must lie between 0 and C"
        expect_close(alpha @ y, 0.0, atol=1e-9 * C * 60, hint="alpha_i y_i must sum to 0")
        gap = gap_of(K, y, C, alpha, b)
        assert gap <= 1e-5 * C * 60 * (1 + 1e-9), f"the gap is {gap:.2g}, and {1e-5 * C * 60:.2g} was asked for"
    with expect_raises(ValueError, hint="labels 0 and 1"):
        svm_dual(K, sixty.y, 1.0)
    with expect_raises(ValueError, hint="one class only"):
        svm_dual(K, np.ones(60), 1.0)

# %% [markdown]
# The moons, with your $\alpha$. Left: the street is grey. Between the moons it is now a curved band, and the free
# support vectors (ringed) lie on its edges; the bounded ones have a cross. Far from all rows the score is $b$, which is
# near 0 here, so the score is between $-1$ and 1 there as well, and the area is grey. Right: the KKT table as a picture.
# Each row is a mark, its margin across and its $\alpha$ upwards. All marks lie on a line with two corners: along the top
# at $C$, down at margin 1, along the bottom at 0.

# %% tags=["demo"]
C, gamma = 1.0, 2.0
moon_K = kernel_matrix(moons.X, moons.X, "rbf", gamma)
alpha, b = svm_dual(moon_K, moon_y, C, tol=1e-6)
margin = moon_y * (moon_K @ (alpha * moon_y) + b)
free = (alpha > 0) & (alpha < C)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
draw_street(
    left, moons.X, moon_y, lambda P: kernel_matrix(P, moons.X, "rbf", gamma) @ (alpha * moon_y) + b, free, moons.X
)
bounded = alpha == C
left.plot(*moons.X[bounded].T, "kx", ms=8, mew=1.2, label="bounded")
left.set(xlabel="$x_0$", ylabel="$x_1$", title=f"{free.sum()} free support vectors, {bounded.sum()} bounded")
handles, _ = left.get_legend_handles_labels()
left.legend(handles, ["y = −1", "y = +1", "free", "bounded"], loc="lower left")
right.axvline(1, color="0.85", lw=8, zorder=0)
for kind, rows, mark in (("α = 0", alpha == 0, "."), ("free, ringed", free, "o"), ("α = C, crossed", bounded, "x")):
    ring = {"facecolors": "none", "edgecolors": "k"} if mark == "o" else {"color": "k"}
    right.scatter(margin[rows], alpha[rows], s=30, marker=mark, label=f"{kind}: {rows.sum()} rows", **ring)
right.set(xlabel="margin $y f(x)$", ylabel="α", title="The KKT conditions: a line with two corners")
right.legend()
plt.show()
print(f"duality gap per row and C: {gap_of(moon_K, moon_y, C, alpha, b) / C / len(moon_y):.1e}")

# %% [markdown]
# ### How far is it from the library's answer?
#
# A gap says more than it seems to. $P$ is strongly convex in $\theta$ (the ½‖θ‖² has curvature 1), so a $\theta$ whose
# $P$ exceeds the minimum by at most $\varepsilon$ has $\tfrac12\|\theta - \theta^\star\|^2 \le \varepsilon$. And the scores
# without the bias differ by $|(\theta - \theta^\star)^\top\varphi(x)| \le \sqrt{2\varepsilon\,k(x, x)}$. So we can
# promise, without knowing $\theta^\star$, how far a score is from the exact one. A gap of $10^{-6}$ guarantees the
# scores to $1.4 \cdot 10^{-3}$. It is a guarantee: an answer is often better than that.
#
# For new rows only support vectors count, since all other terms of $\sum_i\alpha_i y_i k(x_i, x)$ are 0. The kernel is
# what takes the time, so ask for no entry that is multiplied by 0.
#
# ### 5.5 `decision_function` · important · level 2 of 4 · 12 min


# %% exercise="decision_function" points=2 minutes=12 forbids=["sklearn"] trains=["convex duality", "kernels"]
def decision_function(
    X: np.ndarray,
    rows: np.ndarray,
    y: np.ndarray,
    alpha: np.ndarray,
    b: float,
    kernel: Callable,
    block: int = 1000,
) -> np.ndarray:
    """f(x) = sum over the support vectors of alpha_i y_i k(x, x_i), plus b, for every row x of X.

    X: (n, d), the new rows, n >= 0. rows (m, d), y (m,) of -1 and +1, alpha (m,) >= 0, b: the rows
      that `svm_dual` was trained on, their labels, and what it returned. Floats or integers; m >= 1.
    kernel(A, B) -> (len(A), len(B)), for arrays A (p, d) and B (q, d); both have at least one row.

    Returns a new array (n,), float64. The support vectors are the rows with alpha_i > 0.
    Cost: kernel is asked once for each pair of a new row and a support vector, in this order of its
    arguments, for no other pair, and for at most `block` (>= 1) new rows in one call, so that the
    memory follows `block` and not n. Without support vectors, or without new rows, it is not called.
    Leaves its arguments, and what kernel returned, as they are. Not allowed: sklearn.
    """
    ### BEGIN SOLUTION
    support = np.flatnonzero(alpha > 0)
    scores = np.full(len(X), b, dtype=np.float64)
    if len(support):
        coefficients, vectors = (alpha * y)[support], rows[support]
        for start in range(0, len(X), block):
            part = slice(start, start + block)
            scores[part] += kernel(X[part], vectors) @ coefficients
    return scores
    ### END SOLUTION


# %% [markdown] hints="decision_function"
# <details><summary>Hint 1: select first</summary>
#
# Pick the rows, labels and alphas with `alpha > 0` before any kernel is computed.
# </details>
# <details><summary>Hint 2: blocks</summary>
#
# `range(0, len(X), block)` gives the starts; the slice `X[start:start + block]` ends by itself at the last row.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# Start with `scores = np.full(len(X), b, dtype=np.float64)` and add `kernel(X[part], vectors) @ coefficients` block by
# block, with coefficients = alpha * y of the support vectors. Skip the loop where there are none.
# </details>

# %% check="decision_function"
with check("decision_function", forbids=["sklearn"]):
    rows, y = np.array([[1.0], [3.0], [4.0]]), np.array([-1, 1, 1])
    alpha = np.array([0.5, 0.5, 0.0])  # theta = -0.5 + 1.5 = 1, and f(x) = x - 2
    asked = []

    def products(A, B):
        asked.append((A, B))
        return A @ B.T

    new = np.array([[1.0], [5.0], [-2.0]])
    with expect_unchanged(X=new, rows=rows, y=y, alpha=alpha):
        scores = decision_function(new, rows, y, alpha, -2.0, products, block=2)
    expect_close(
        scores,
        [-1.0, 3.0, -4.0],
        atol=1e-12,
        mistakes={
            "The bias is missing.": [1.0, 5.0, -2.0],
            "The labels are missing: alpha has no sign.": [0.0, 8.0, -6.0],
        },
    )
    pairs = sum(len(A) * len(B) for A, B in asked)
    assert pairs == 6, f"3 new rows and 2 support vectors make 6 pairs, and kernel was asked for {pairs}"
    firsts = {value for A, _ in asked for value in A.ravel()}
    assert firsts == {1.0, 5.0, -2.0}, "kernel(new rows, support vectors), in this order"
    assert max(len(A) for A, _ in asked) <= 2, "block = 2: ask for at most two new rows at a time"
    expect_close(decision_function(new, rows, y, 0 * alpha, -2.0, products), [-2.0, -2.0, -2.0], atol=0)
    small = decision_function(new, rows, y, np.array([1e-12, 0.0, 0.0]), 0.0, products)
    expect_close(small, [-1e-12, -5e-12, 2e-12], atol=0, hint="a row with alpha = 1e-12 is a support vector, too")
    both = decision_function(new[:1], rows, y, np.array([0.0, 1.0, 1.0]), 0.0, lambda A, B: (A @ B.T) ** 2)
    expect_close(both, [25.0], hint="3² + 4²: each support vector counts by itself, not their mean")

# %% [markdown]
# Is your machine the library's? Train both on the same rows with the same $C$ and $\gamma$, and compare their scores on
# new ones, for smaller and smaller tolerances. The second line is the promise, $\sqrt{2\varepsilon}$ for the scores
# without the bias (here $k(x, x) = 1$), where $\varepsilon$ is the gap of your answer. It falls like the root of the
# gap. The difference may fall faster, like the gap itself: the gap is a sum of violations, and once a method has found
# which rows are free, these shrink in proportion to the error.

# %% tags=["demo"]
new = datasets.moons(500, noise=0.2, seed=5).X
peer = SVC(C=C, gamma=gamma, tol=1e-8).fit(moons.X, moon_y)
expected = peer.decision_function(new) - peer.intercept_[0]
tolerances, off, promised = 10.0 ** np.arange(-1, -9, -1), [], []
for tolerance in tolerances:
    alpha, b = svm_dual(moon_K, moon_y, C, tolerance)
    scores = decision_function(new, moons.X, moon_y, alpha, b, lambda A, B: kernel_matrix(A, B, "rbf", gamma))
    off.append(np.abs(scores - b - expected).max())
    promised.append(np.sqrt(2 * max(gap_of(moon_K, moon_y, C, alpha, b), 0)))
figure, ax = plt.subplots(figsize=(6.4, 3.8))
plotting.curves(
    {"largest of 500 new rows": (tolerances, off), "√(2 gap), the promise": (tolerances, promised)},
    xlabel="tol",
    ylabel="difference of scores from SVC",
    title="The gap bounds the distance to the exact answer",
    logx=True,
    logy=True,
    ax=ax,
)
ax.invert_xaxis()
plt.show()
print(f"support vectors: {np.sum(alpha > 0)} yours, {len(peer.support_)} of SVC, of {len(moon_y)} rows")
print(f"bias: {b:.6f} yours, {peer.intercept_[0]:.6f} of SVC")

# %% [markdown]
# ### 5.6 `rbf_predict` · important · level 1 of 4 · 10 min
#
# **Find the bug.** Somebody loads a file with labels 0 and 1, trains as you did, and writes the prediction with your
# `decision_function` and your `kernel_matrix`. It runs, it gives zeros and ones, and on some data it is right most of
# the time. It has two faults. This module has named both.


# %% exercise="rbf_predict" points=1 minutes=10 bug=true trains=["kernels"]
def rbf_predict(
    X: np.ndarray, rows: np.ndarray, y: np.ndarray, alpha: np.ndarray, b: float, gamma: float
) -> np.ndarray:
    """Labels, 0 or 1, that an SVM with the kernel exp(-gamma |x - x'|^2) gives to new rows.

    X: (n, d), new rows, n >= 0; rows: (m, d), those it was trained on; alpha: (m,). All float32 or
      float64. y: (m,), the labels of `rows`, 0 or 1, integers of any kind or bools. gamma > 0.
    alpha and b are the answer of `svm_dual` for labels -1 in place of 0, and +1 in place of 1.

    Returns (n,), int64: 1 where the score f(x) is at least 0, else 0. Leaves its arguments as they
    are.
    """
    ### BEGIN SOLUTION
    signed = np.where(y, 1.0, -1.0)
    scores = decision_function(X, rows, signed, alpha, b, lambda A, B: kernel_matrix(A, B, "rbf", gamma))
    return (scores >= 0).astype(np.int64)
    ### END SOLUTION
    ### BEGIN BUG
    # scores = decision_function(X, rows, y, alpha, b, lambda A, B: kernel_matrix(A, B, "rbf"))
    # return (scores >= 0).astype(np.int64)
    ### END BUG


# %% [markdown] hints="rbf_predict"
# <details><summary>Hint 1: which rows add to the score?</summary>
#
# What does a support vector of class 0 add to the score, and what should it add?
# </details>
# <details><summary>Hint 2: which arguments are used?</summary>
#
# One of the six arguments says how far the influence of a row reaches. Where does the code use it?
# </details>
# <details><summary>Hint 3: a trap on the way out</summary>
#
# `2 * y - 1` is right for signed integers. For uint8 the label 0 becomes 255. `np.where(y, 1.0, -1.0)` is right for
# all.
# </details>

# %% check="rbf_predict"
with check("rbf_predict"):
    rows, y = np.array([[0.0], [1.0]]), np.array([0, 1], np.uint8)
    new = np.array([[-1.0], [0.1], [0.9], [2.0]])
    predicted = rbf_predict(new, rows, y, np.ones(2), 0.0, gamma=1.0)
    expect_dtype(predicted, np.int64)
    expect_close(
        predicted,
        [0, 0, 1, 1],  # the nearer row wins
        atol=0,
        mistakes={"Rows of class 0 add nothing: their label is multiplied as 0.": [1, 1, 1, 1]},
    )
    # Row 0 alone, with b = 0.1: at distance 0.1 the score is -exp(-0.1) + 0.1, at distance 1 -exp(-10) + 0.1.
    expect_close(
        rbf_predict(np.array([[0.1], [-1.0]]), rows, y, np.array([1.0, 0.0]), 0.1, gamma=10.0),
        [0, 1],
        atol=0,
        mistakes={"gamma is not used: at distance 1 row 0 has no influence left if gamma is 10.": [0, 0]},
    )

# %% [markdown]
# Both $C$ and $\gamma$ decide how much the border bends. Left: a large $\gamma$ with a large $C$. Each row decides for
# its own neighbourhood, so every row of the training set is right, and far from all rows the score is $b$. Right: the
# share of right predictions against $\gamma$. With $C = 30$ it rises with $\gamma$ on the training rows; on new rows it
# has its peak in between. With the smallest $\gamma$ the border is nearly a straight line: the cell prints on how many
# new rows it agrees with the line of a linear SVM.
#
# With $C = 0.3$ and a large $\gamma$ even the training rows are lost. Then two different rows have a kernel near 0, so
# the score of a training row is about $b \pm \alpha_i$, and no $\alpha_i$ is above 0.3. Where $|b|$ is larger than that,
# nearly every row gets the sign of $b$. The cell prints $b$ and the share of rows with $\alpha_i = C$.

# %% tags=["demo"]
noisy, fresh = datasets.moons(150, noise=0.3), datasets.moons(2000, noise=0.3, seed=3)
noisy_y, gammas = 2 * noisy.y - 1, np.geomspace(0.05, 200, 9)


def predictor(C, gamma):
    """What your machine predicts that is trained on the noisy moons."""
    alpha, b = svm_dual(kernel_matrix(noisy.X, noisy.X, "rbf", gamma), noisy_y, C)
    return lambda P: rbf_predict(P, noisy.X, noisy.y, alpha, b, gamma)


figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
plotting.decision_regions(predictor(30.0, 100.0), noisy.X, noisy.y, ax=left, resolution=100)
left.set(xlabel="$x_0$", ylabel="$x_1$", title="γ = 100, C = 30: small regions around the rows")
left.get_legend().remove()
machines = {C: [predictor(C, gamma) for gamma in gammas] for C in (30.0, 0.3)}
lines = {
    "C = 30, training rows": (gammas, [np.mean(predict(noisy.X) == noisy.y) for predict in machines[30.0]]),
    "C = 30, new rows": (gammas, [np.mean(predict(fresh.X) == fresh.y) for predict in machines[30.0]]),
    "C = 0.3, training rows": (gammas, [np.mean(predict(noisy.X) == noisy.y) for predict in machines[0.3]]),
    "C = 0.3, new rows": (gammas, [np.mean(predict(fresh.X) == fresh.y) for predict in machines[0.3]]),
}
plotting.curves(lines, xlabel="γ", ylabel="share right", title="New rows: a γ in between is best", logx=True, ax=right)
plt.show()
line = SVC(kernel="linear", C=30.0).fit(noisy.X, noisy.y).predict(fresh.X)
print(f"C = 30, γ = {gammas[0]:g}: agrees with a linear SVM on {np.mean(machines[30.0][0](fresh.X) == line):.1%}")
alpha, b = svm_dual(kernel_matrix(noisy.X, noisy.X, "rbf", gammas[-1]), noisy_y, 0.3)
print(f"C = 0.3, γ = {gammas[-1]:g}: b = {b:.2f}, and {np.mean(alpha == 0.3):.0%} of the rows have α = C")

# %% [markdown]
# ## Scale it
#
# ### What a kernel costs
#
# $K$ has $m^2$ entries: 3.2 GB for 20,000 rows in float64, 8 TB for a million. A larger computer does not help for
# long. LIBSVM, the code behind `SVC`, keeps a cache of recently used rows of $K$ and computes the others again, which
# saves memory and costs time. Prediction becomes slower, too. Every row inside the street or on the wrong side is a
# support vector, and where classes overlap there are more of them the more rows there are.
#
# The way out is back to features. The kernel is an inner product of features that we did not compute. Find $F$
# features $z(x) \in \mathbb R^F$ with $z(x)^\top z(x') \approx k(x, x')$. A *linear* machine on them is nearly the
# kernel machine, with $mF$ numbers in place of $m^2$.
#
# ### Random features
#
# Draw $\omega \in \mathbb R^d$ with independent normal entries of mean 0 and variance $2\gamma$. For every fixed
# $\delta \in \mathbb R^d$ the number $\omega^\top\delta$ is normal with variance $2\gamma\|\delta\|^2$, and a normal
# number $a$ of mean 0 and variance $\sigma^2$ has $\mathbb E\cos a = e^{-\sigma^2/2}$. So with $\delta = x - x'$
#
# $$\mathbb E\,\cos\big(\omega^\top x - \omega^\top x'\big) = e^{-\gamma\|x - x'\|^2} = k(x, x').$$
#
# And $\cos(a - a') = \cos a\cos a' + \sin a\sin a'$ is an inner product of $(\cos a, \sin a)$ and
# $(\cos a', \sin a')$. (This proves what was only claimed above: the Gaussian is a kernel, because a mean of inner
# products is one.) Draw $F/2$ such $\omega$, the columns of a matrix $\Omega$, and average:
#
# $$z(x) = \sqrt{2/F}\;\big(\cos(\Omega^\top x),\ \sin(\Omega^\top x)\big) \in \mathbb R^F, \qquad
# \underbrace{X}_{(m,\,d)}\,\underbrace{\Omega}_{(d,\,F/2)} .$$
#
# These are **random Fourier features** (Rahimi and Recht, 2007). Their inner product is the mean of $F/2$ independent
# numbers between $-1$ and $1$, each with expectation $k(x, x')$. So its error falls like $1/\sqrt F$, whatever $d$ is.
# And the features of a row depend on the row and the seed: not on the labels, not on the other rows. Any machine can
# make them from the row, at any time, and forget them again.
#
# ### 5.7 `random_fourier_features` · essential · level 2 of 4 · 17 min


# %% exercise="random_fourier_features" points=2 minutes=17 forbids=["sklearn"] trains=["kernels", "random features"]
def random_fourier_features(X: np.ndarray, features: int, gamma: float, seed: int) -> np.ndarray:
    """Random features Z with Z Z^T close to the kernel matrix exp(-gamma |x - x'|^2).

    X: (m, d), floats or integers, m >= 0, d >= 1. features: their number F, even, at least 2.
    gamma > 0. seed: an integer >= 0 of any size, for np.random.default_rng.

    Returns Z (m, F), a new float64 array, no entry above sqrt(2/F) in
    absolute value. Over the draw of the seed, z(x)·z(x') has the mean exp(-gamma |x - x'|^2), and its error falls like 1/sqrt(F). Two forms
    are fine, with the columns in any order:
    - sqrt(2/F) (cos(w·x), sin(w·x)) for F/2 draws of w, as in the text;
    - sqrt(2/F) cos(w·x + phase) for F draws of w, each with a random phase from 0 to 2 pi.
    Row i of Z depends only on row i of X (in float64), on d, features, gamma and seed: it is the same
    in any process and among any other rows, but for rounding. Another seed, other features.
    Beside a float64 copy of X and the draws it takes less memory than eight arrays (m, F), Z included:
    no array of shape (m, m).
    Raises ValueError unless features is even and at least 2, and gamma > 0. Leaves X and NumPy's
    global random state as they are. Not allowed: sklearn.
    """
    ### BEGIN SOLUTION
    if features < 2 or features % 2 or not gamma > 0:
        raise ValueError("features must be even and at least 2, gamma above 0")
    omega = np.random.default_rng(seed).normal(0, np.sqrt(2 * gamma), size=(X.shape[1], features // 2))
    angles = X @ omega
    return np.hstack([np.cos(angles), np.sin(angles)]) * np.sqrt(2 / features)
    ### END SOLUTION


# %% [markdown] hints="random_fourier_features"
# <details><summary>Hint 1: the width</summary>
#
# The variance of the entries of ω is 2γ. `rng.normal` takes the standard deviation, √(2γ).
# </details>
# <details><summary>Hint 2: the draw</summary>
#
# Make a generator from the seed inside the function, and draw Ω with shape (d, F/2) before anything else. Then it does
# not depend on the rows.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# angles = X @ omega has the shape (m, F/2). Put np.cos(angles) and np.sin(angles) side by side with np.hstack, and
# multiply by np.sqrt(2 / F).
# </details>

# %% check="random_fourier_features"
with check("random_fourier_features", forbids=["sklearn"]):
    X = np.array([[0.0, 0.0], [0.6, 0.8], [3.0, 4.0]])  # distances 1, 5 and 4
    with expect_unchanged(X=X):
        Z = random_fourier_features(X, 40_000, 0.1, seed=0)
    expect_shape(Z, (3, 40_000))
    exact = np.exp(-0.1 * np.array([[0.0, 1.0, 25.0], [1.0, 0.0, 16.0], [25.0, 16.0, 0.0]]))
    expect_close(
        Z @ Z.T,
        exact,
        atol=0.05,
        rtol=0,
        mistakes={
            "The variance of omega is gamma; it should be 2 gamma.": exact**0.5,
            "2 gamma is the variance of omega, and rng.normal takes the standard deviation.": exact**0.2,
            "The factor is sqrt(1/F); there are F/2 draws of omega, so it is sqrt(2/F).": exact / 2,
        },
    )
    together, alone = random_fourier_features(X, 6, 0.5, seed=1), random_fourier_features(X[1:2], 6, 0.5, seed=1)
    expect_close(alone[0], together[1], rtol=1e-12, hint="the features of a row must not depend on the other rows")
    assert not np.allclose(together, random_fourier_features(X, 6, 0.5, seed=2)), "another seed, other features"
    with expect_raises(ValueError, hint="an odd number of features"):
        random_fourier_features(X, 7, 0.5, seed=0)

# %% [markdown]
# Left: inner products of your features against the distance of the rows, for few and for many features, around the
# kernel. Each of 20 groups of rows has its own seed. (Within a group all pairs share one draw, so their errors are
# alike.) Right: the error against $F$.

# %% tags=["demo"]
groups = np.random.default_rng(0).uniform(-1.5, 1.5, (20, demo_size(full=30, small=15), 2))
above = np.triu_indices(groups.shape[1], 1)
distances = np.array([np.linalg.norm(rows[above[0]] - rows[above[1]], axis=1) for rows in groups])
exact = np.exp(-(distances**2))


def inner_products(F):
    """z(x)·z(x') of all pairs in each group, with the features of the group's seed: (20, pairs)."""
    made = [random_fourier_features(rows, F, 1.0, seed) for seed, rows in enumerate(groups)]
    return np.array([(Z @ Z.T)[above] for Z in made])


figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for F, colour in ((32, plotting.COLOURS[1]), (2048, plotting.COLOURS[0])):
    shown = distances.ravel(), inner_products(F).ravel()
    left.plot(*shown, ".", ms=2, color=colour, alpha=0.3, rasterized=True, label=f"F = {F:,}")
line = np.linspace(0, distances.max(), 200)
left.plot(line, np.exp(-(line**2)), "k-", label="exp(−distance²)")
left.set(xlabel="distance of two rows", ylabel="z(x)·z(x′)", title="Random features scatter around the kernel")
left.legend(markerscale=4)
many = 2 ** np.arange(4, 13)
errors = [np.sqrt(np.mean((inner_products(int(F)) - exact) ** 2)) for F in many]
right.loglog(many, errors, "o-", label=f"measured, slope {scaling.exponent(many, errors):.2f}")
right.loglog(many, 1 / np.sqrt(many), "k--", label="1/√F")
right.set(xlabel="features F", ylabel="root mean square error", title="Four times the features, half the error")
right.legend()
plt.show()

# %% [markdown]
# ### Train without keeping them
#
# Suppose that a machine gives you 128 MB. For 20,000 rows 2,000 features take 320 MB. That is a tenth of the kernel
# matrix, and too much. But Pegasos asks for a few rows at a time. So make their features when they come, take a step,
# and forget them.
#
# Two changes to exercise 5.2. A step uses a whole **chunk** of $c$ rows, the mean of their subgradients. That makes a
# step less noisy, and turns its work into two products of a matrix with a vector. And the answer is an average in place
# of the last $\theta$, which moves by some $1/(\lambda t)$ in step $t$. The plain mean of all $\theta_t$ would give the
# first steps, which are the longest, as much weight as the last. **Weights proportional to $t$** improve the bound from
# $O(\log T/(\lambda T))$ to $O(1/(\lambda T))$ (Lacoste-Julien, Schmidt and Bach, 2012, for steps twice as long; with
# these steps the order is the same). They cost one more vector.
#
# Both bounds say something only when $T$ is well above $1/\lambda$. With $\lambda = 1/(Cm)$ one pass in chunks of $c$
# rows has $T = m/c$ steps, so $\lambda T = 1/(Cc)$, however large $m$ is: no bound promises that a single pass comes
# near the minimum of $J$. Below you see how near it comes.
#
# With the sum $u_t = \lambda t\,\theta_t$ of exercise 5.2, now
#
# $$u_t = u_{t-1} + \frac1c \underbrace{Z_t^\top}_{(F,\,c)} \underbrace{\big(y \cdot [\text{margin} < 1]\big)}_{(c,)},
# \qquad \bar\theta = \frac{\sum_t t\,\theta_t}{\sum_t t} = \frac{2}{\lambda\, T(T+1)} \sum_{t=1}^T u_t .$$
#
# ### 5.8 `svm_from_stream` · essential · level 3 of 4 · 26 min


# %% exercise="svm_from_stream" points=3 minutes=26 forbids=["sklearn"] trains=["random features", "one-pass algorithms"]
def svm_from_stream(
    chunks: Iterable[tuple[np.ndarray, np.ndarray]], features: Callable, penalty: float
) -> tuple[np.ndarray, int]:
    """Minimise J (no bias) over rows that stream by, on features that are made and forgotten.

    chunks: an iterable of (X, y), X (c, d) and y (c,) of -1 and +1, floats or integers; c differs
      from chunk to chunk, and a chunk of no rows is no step. It may be a generator: go through it
      once, be done with a chunk when you ask for the next (the producer may reuse its arrays), and
      keep neither chunks nor features: memory must not grow with the rows. Change no chunk.
    features(X) -> Z, (c, F) floats: called once for each chunk that has rows, with the chunk's X. It
      may use one buffer for all its results. Do not change what it returned.
    penalty: a number > 0.

    theta is 0 before step 1. Step t = 1, 2, ... uses the t-th chunk that has rows: theta becomes
    (1 - 1/t) theta + 1/(penalty t) times the mean over all its c rows of y_i z_i [y_i z_i·theta < 1],
    for the theta before the step (exactly 1 is not below 1; where rounding decides, both are fine).
    Returns (average, steps): average (F,), float64, a new array, the mean of theta after step 1, 2,
    ..., T with weights proportional to 1, 2, ..., T; steps = T, a Python int.
    Raises ValueError where a chunk's y does not have shape (c,) or holds anything but -1 and +1,
    where no chunk has a row, and unless penalty > 0. Not allowed: sklearn.
    """
    ### BEGIN SOLUTION
    if not penalty > 0:
        raise ValueError("the penalty must be above 0")
    u = sum_of_u = 0  # u = penalty * t * theta
    steps = 0
    for X, labels in chunks:
        y = signs(labels, len(X))
        if not len(y):
            continue
        Z = features(X)
        violated = y * (Z @ u) < penalty * steps if steps else True  # theta is 0 before the first step
        u = u + (y * violated) @ Z / len(y)
        sum_of_u = sum_of_u + u
        steps += 1
    if not steps:
        raise ValueError("there is no row to learn from")
    return 2 * sum_of_u / (penalty * steps * (steps + 1)), steps
    ### END SOLUTION


# %% [markdown] hints="svm_from_stream"
# <details><summary>Hint 1: what to keep</summary>
#
# Two vectors of length F, u and the sum of all u so far, and the number of steps. Nothing else.
# </details>
# <details><summary>Hint 2: a step</summary>
#
# The margins of a chunk are y * (Z @ u) / (penalty * steps), with the number of steps made before this one. In the
# first step theta is 0, and every row violates its margin. u grows by (y * violated) @ Z / c.
# </details>
# <details><summary>Hint 3: the end</summary>
#
# average = 2 * sum_of_u / (penalty * T * (T + 1)). F is known only when the first features come, so start with u = 0
# and write u = u + ..., which makes it an array.
# </details>

# %% check="svm_from_stream"
with check("svm_from_stream", forbids=["sklearn"]):
    one, two = (np.array([[1.0, 0.0]]), np.array([1])), (np.array([[0.0, 1.0]]), np.array([-1]))
    # The case of exercise 5.2: theta is (2, 0), then (1, -1), then 2/3 of that, as the third margin is exactly 1.
    average, steps = svm_from_stream((chunk for chunk in (one, two, one)), lambda X: X, 0.5)
    expect_close(
        average,
        [1.0, -2 / 3],  # (1 (2, 0) + 2 (1, -1) + 3 (2/3, -2/3)) / 6
        rtol=1e-12,
        mistakes={
            "This is the last theta; return the weighted mean of all of them.": [2 / 3, -2 / 3],
            "All steps weigh the same; the weight of step t is t.": [11 / 9, -5 / 9],
            "A margin of exactly 1 counts as violated; it should not.": [4 / 3, -2 / 3],
        },
    )
    assert steps == 3, f"three chunks are three steps, not {steps}"
    X, y, empty = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 0.0]]), np.ones(3), (np.zeros((0, 2)), np.zeros(0))
    second = (np.array([[1.0, 0.0], [0.0, 1.0]]), np.ones(2))
    average, steps = svm_from_stream([empty, (X, y), empty, second], lambda X: 2 * X, 0.5)
    assert steps == 2, f"a chunk of no rows is no step: 2, not {steps}"
    # Step 1: the mean of 2, 6 and 0, times 1 / penalty, is 16/3. Step 2: only the second row violates its margin, and
    # theta is (8/3, 0) + (0, 2)/2. The weights are 1/3 and 2/3.
    expect_close(
        average,
        [32 / 9, 2 / 3],
        rtol=1e-12,
        mistakes={
            "A chunk's rows are summed; take their mean.": [32 / 3, 4 / 3],
            "The sum is divided by the rows that violate; divide it by all rows of the chunk.": [32 / 9, 4 / 3],
        },
    )
    with expect_raises(ValueError, hint="no chunk at all"):
        svm_from_stream([], lambda X: X, 0.5)
    with expect_raises(ValueError, hint="labels 0 and 1"):
        svm_from_stream([(X, np.array([0, 1, 1]))], lambda X: X, 0.5)

# %% [markdown]
# ### What it costs
#
# A checkerboard: a row is $+1$ on the black squares and $-1$ on the white ones, and 5% of the labels are flipped, so no
# predictor can expect to be right on more than 95% of new rows. Left: the seconds of four ways to the same kernel, on
# one thread: your dual with its kernel matrix; your stream of random features (one pass); and two peers, `SVC`, and
# `LinearSVC` on the same random features, all of them in memory. All four use $C = 1$, so $\lambda = 1/m$. The dual and
# `SVC` have the exact kernel and a free bias; the other two have $F$ random features and no bias. Right: the memory for
# the matrix of all pairs, for the features of all rows, and for training on the features of one chunk at a time.


# %% tags=["demo"]
def checkerboard(m, seed, squares=4):
    draw = np.random.default_rng(seed)
    X = draw.uniform(-2, 2, (m, 2))
    waves = np.sin(np.pi * squares / 4 * X)
    y = np.where(waves[:, 0] * waves[:, 1] >= 0, 1, -1)
    return X, np.where(draw.random(m) < 0.05, -y, y)


gamma, F = 4.0, 512


def fourier(X):
    return random_fourier_features(X, F, gamma, seed=0)


def in_chunks(X, y, rows=50):
    return ((X[start : start + rows], y[start : start + rows]) for start in range(0, len(X), rows))


def stream(X, y):
    """theta of one pass, and its steps."""
    return svm_from_stream(in_chunks(X, y), fourier, penalty=1 / len(y))


def linear(X, y):
    """The peer on the features of all rows."""
    return LinearSVC(loss="hinge", fit_intercept=False, C=1.0, tol=1e-2, max_iter=10_000).fit(fourier(X), y)


def peak(function):
    """The most bytes that NumPy held at once in a call."""
    tracemalloc.start()
    function()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


timing = scaling.measure(
    {
        "svm_dual (yours)": lambda X, y: svm_dual(kernel_matrix(X, X, "rbf", gamma), y, 1.0, tol=1e-2),
        "svm_from_stream (yours)": stream,
        "LinearSVC on all random features": linear,
        "SVC": lambda X, y: SVC(C=1.0, gamma=gamma).fit(X, y),
    },
    sizes=[500, 1000, 2000, 4000, 8000][: demo_size(full=5, small=3)],
    setup=lambda m: checkerboard(m, seed=1),
    budget=12.0,
    label="rows m",
    memory=None,
    repeat=1,
    threads=1,
)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5))
timing.plot(ax=left, peer="SVC")
left.xaxis.set_minor_formatter("")
left.set(title="Time: your dual, with all pairs, grows fastest")
sizes = np.array([500, 1000, 2000, 20_000])
ways = {
    "kernel_matrix": lambda X, y: kernel_matrix(X, X, "rbf", gamma),
    "random_fourier_features": lambda X, y: fourier(X),
    "svm_from_stream": stream,
}
for (name, function), colour in zip(ways.items(), (0, 2, 1), strict=True):
    measured = sizes[:3] if name == "kernel_matrix" else sizes[: demo_size(full=4, small=3)]
    boards = [checkerboard(m, seed=1) for m in measured]
    peaks = [peak(lambda f=function, board=board: f(*board)) for board in boards]
    right.plot(measured, np.array(peaks) / 1e6, "o-", color=plotting.COLOURS[colour], label=f"{name}, measured peak")
right.plot(sizes, 8 * sizes**2 / 1e6, "--", color=plotting.COLOURS[0], lw=1.2, label="K alone, $8m^2$ bytes")
right.plot(sizes, 8 * F * sizes / 1e6, "--", color=plotting.COLOURS[2], lw=1.2, label="Z alone, $8mF$ bytes")
right.axhline(128, color="k", lw=1, ls=":")
right.annotate("128 MB", (sizes[0], 150))
right.set(xscale="log", yscale="log", xlabel="rows m", ylabel="MB", title="Memory: only the stream stays flat")
plotting.legend_below(right, columns=1)
plt.show()
timing.table()

# %% [markdown]
# Now 20,000 rows, in 128 MB. The kernel matrix does not fit. Your stream keeps two vectors of $F$ numbers and a chunk.
# The peers may have what memory they like: `LinearSVC` holds all features, `SVC` a cache of up to 200 MB. The row of
# `LinearSVC` shows what the random features cost. The row of the stream shows what a single pass costs on top. $J$ is
# that of the training rows, on the random features; `SVC` minimises another one.

# %% tags=["demo"]
X_new, y_new = checkerboard(5000, seed=9)
Z_new = fourier(X_new)
print(f"{'rows':>6}  {'':>9}  {'J':>6}  new rows right  training, s  prediction, s")
for m in (demo_size(full=1000, small=500), demo_size(full=20_000, small=2000)):
    X, y = checkerboard(m, seed=1)
    ((theta, steps), took), (peer, peer_took) = (
        timed(lambda X=X, y=y: stream(X, y)),
        timed(lambda X=X, y=y: linear(X, y)),
    )
    kernel, kernel_took = timed(lambda X=X, y=y: SVC(C=1.0, gamma=gamma).fit(X, y))
    losses = [hinge_loss(fourier(X), y, weights, 1 / m)[0] for weights in (theta, peer.coef_[0])]
    ways = {
        "stream": (took, lambda theta=theta: fourier(X_new) @ theta, losses[0]),
        "LinearSVC": (peer_took, lambda peer=peer: fourier(X_new) @ peer.coef_[0], losses[1]),
        "SVC": (kernel_took, lambda kernel=kernel: kernel.decision_function(X_new), None),
    }
    for name, (seconds, predict, J) in ways.items():
        found, answering = timed(predict)
        right = np.mean(np.sign(found) == y_new)
        J = f"{J:.4f}" if J else ""
        print(f"{m:6,}  {name:>9}  {J:6}  {right:13.1%}   {seconds:10.3f}  {answering:12.3f}")
print(f"standard error of a share right: {np.sqrt(0.1 * 0.9 / len(y_new)):.1%}; J at theta = 0: 1")
print(
    f"{m:,} rows: the stream made {steps} steps, and its peak was {peak(lambda: stream(X, y)) / 1e6:.1f} MB; "
    f"SVC has {len(kernel.support_):,} support vectors; K would take {8 * m**2 / 1e6:,.0f} MB"
)
figure, panels = plt.subplots(1, 2, figsize=(8.6, 3.8), sharey=True)
grid = np.stack(np.meshgrid(np.linspace(-2, 2, 60), np.linspace(-2, 2, 60)), axis=-1).reshape(-1, 2)
for ax, score, name in zip(
    panels, (fourier(grid) @ theta, kernel.decision_function(grid)), ("stream", "SVC"), strict=True
):
    image = ax.imshow(score.reshape(60, 60), extent=(-2, 2, -2, 2), origin="lower", cmap="RdBu_r", vmin=-2, vmax=2)
    ax.contour(score.reshape(60, 60), levels=[0], extent=(-2, 2, -2, 2), colors="k", linewidths=1.2, linestyles="-")
    ax.set(title=f"{name}: the border is in black", xlabel="$x_0$")
    ax.grid(False)
panels[0].set_ylabel("$x_1$")
figure.colorbar(image, ax=panels, label="score (red +, blue −)", extend="both")
plt.show()

# %% [markdown]
# **Who wins, and why.** Read the shares right with their standard error. Where `LinearSVC` and `SVC` differ by more, the
# reason is the model: random features in place of the exact kernel, and no bias in place of a free one. Where the
# stream and `LinearSVC` differ by more, the reason is the single pass. The column $J$ shows the same more sharply: the stream
# stops above the minimum, and the signs of its scores are good nevertheless. In the picture its scores are larger than
# those of `SVC`, because the long first steps are still in the average.
#
# On time, compare the columns and the exponents above. `SVC` beats your `svm_dual`: the idea is the same, and `SVC` is
# compiled code that takes the curvature into account when it chooses the pair (Fan, Chen and Lin, 2005) and leaves out,
# for a while, rows whose $\alpha$ has stopped at 0 or $C$ (shrinking). But a larger $m$ needs more steps, and each step
# looks at more rows, so its time grows faster than $m$. In theory the stream's time grows like $m$ (the legend has what
# your machine measured on a few sizes), and its memory does not grow. For a new row the stream computes $F/2$ cosines
# and sines, and `SVC` one kernel value for each support vector, of which there are more and more. `LinearSVC` goes over
# the same features many times, and for that it holds all of them.
#
# ### Many machines
#
# The map from rows to features is sent as one integer, the seed. Then there are two ways. **Sum the
# subgradients**: those of the parts of a chunk add up to that of the chunk, so each step exchanges $F$ numbers a
# machine and gives the same $\theta$ as one machine would (up to rounding). **Average the models**: each machine trains
# on its own rows to the end, and they exchange $F$ numbers once (Zinkevich, Weimer, Smola and Li, 2010). The mean of
# four models is not the model of all rows, but $J$ is convex, so its $J$ is at most the mean of theirs. A stream that
# is too short may even end with a larger $J$ than $\theta = 0$, whose $J$ is 1 for any data, and its signs may be good
# nevertheless: the cell prints both.

# %% tags=["demo"]
workers = 4
parts = [slice(start * m // workers, (start + 1) * m // workers) for start in range(workers)]
models = [svm_from_stream(in_chunks(X[part], y[part]), fourier, 1 / m)[0] for part in parts]  # the same lambda for all
averaged = np.mean(models, axis=0)
print(f"{'':>22}  J on {len(Z_new):,} new rows   right")
for name, one in (
    ("all rows, one machine", theta),
    ("a quarter of the rows", models[0]),
    ("mean of four quarters", averaged),
):
    J, _ = hinge_loss(Z_new, y_new, one, 1 / m)
    print(f"{name:>22}  {J:17.4f}   {np.mean(np.sign(Z_new @ one) == y_new):.1%}")
each = [hinge_loss(Z_new, y_new, one, 1 / m)[0] for one in models]
print(f"{'theta = 0':>22}  {hinge_loss(Z_new, y_new, 0 * theta, 1 / m)[0]:17.4f}")
print(f"{'mean J of the quarters':>22}  {np.mean(each):17.4f}")
print(
    f"sent by each machine, once: {averaged.nbytes:,} bytes; for every step, summing: as much in each of {steps} steps"
)
quarters = [
    hinge_loss(Z, labels, theta, 1 / m)[1]
    for Z, labels in zip(Z_new.reshape(4, -1, F), y_new.reshape(4, -1), strict=True)
]
whole = hinge_loss(Z_new, y_new, theta, 1 / m)[1]
print(
    f"mean of four parts' subgradients against that of the whole: {np.abs(np.mean(quarters, axis=0) - whole).max():.1e}"
)

# %% [markdown]
# ### On the best device that this machine has
#
# Random features are one matrix product, cosines and sines. A GPU is fast at all three. Below, your function makes the
# features of some rows in float64, and PyTorch makes as many in float32 on the best device there is, in chunks. (Where
# that is the CPU, PyTorch may use all of its threads.)

# %% tags=["demo"]
best = device.best()
rows, columns, F_wide = demo_size(full=20_000, small=2000, gpu=500_000), 64, demo_size(full=512, small=256, gpu=8192)
generator = torch.Generator().manual_seed(0)
omega = (torch.randn(columns, F_wide // 2, generator=generator) * (2 / columns) ** 0.5).to(best)  # gamma = 1/columns


def chunk_on_device(size):
    """Features of rows that are drawn on the device and forgotten."""
    angles = torch.randn(size, columns, device=best) @ omega
    return torch.cat([torch.cos(angles), torch.sin(angles)], dim=1) * (2 / F_wide) ** 0.5


chunk_on_device(1000)  # to warm up
with device.timer(best) as took:
    for _ in range(rows // 1000):
        chunk_on_device(1000)
some_rows = np.random.default_rng(0).standard_normal((1000, columns))
_, mine = timed(lambda: random_fourier_features(some_rows, F_wide, 1 / columns, seed=0))
print(f"your function, one thread, float64: {1000 / mine:12,.0f} rows of {F_wide} features a second")
print(f"PyTorch on {best!s:>6}, float32:        {rows / took.seconds:12,.0f}")

# %% [markdown]
# ### Where it breaks
#
# A narrow kernel (large $\gamma$) can follow fine detail, and its features must vary as fast: the $F/2$ draws of
# $\omega$ have to cover all directions, and their entries have the standard deviation $\sqrt{2\gamma}$. Below, boards
# with more and more squares, with kernels as much narrower: the finer the board, the more features it takes to the same
# share of new rows right. (A share of 3,000 rows has a standard error of half a percent.) The finest board needs more
# rows as well: the last line has four times as many. Features that look at the data, such as kernel values with a
# sample of rows (the Nyström method; Williams and Seeger, 2001), or layers that learn them (module 08), need fewer.

# %% tags=["demo"]
counts = [2**k for k in (4, 6, 8, 10)]
rows = demo_size(full=10_000, small=2000)


def new_rows_right(squares, F, rows=rows):
    """The share of new rows that a stream of `rows` rows gets right, with F features of a width that fits the board."""

    def fourier(X):
        return random_fourier_features(X, F, squares**2 / 4, seed=0)

    theta, _ = svm_from_stream(in_chunks(*checkerboard(rows, 2, squares)), fourier, 1 / rows)
    X, y = checkerboard(3000, 3, squares)
    return np.mean(np.sign(fourier(X) @ theta) == y)


lines = {f"{k} × {k} squares": (counts, [new_rows_right(k, F) for F in counts]) for k in (4, 8, 12)}
ax = plotting.curves(
    lines, xlabel="features F", ylabel="share of new rows right", title="Fine detail needs many features", logx=True
)
for line in ax.get_lines():
    line.set_marker("o")
plt.show()
print(f"12 × 12 squares, F = {counts[-1]:,}: {lines['12 × 12 squares'][1][-1]:.1%} after {rows:,} rows, ", end="")
print(f"{new_rows_right(12, counts[-1], 4 * rows):.1%} after {4 * rows:,}")

# %% [markdown]
# ## More than two classes
#
# The hinge loss knows two labels. For more classes train one machine for each, **one against the rest**: the machine of
# a class has the label $+1$ for the rows of that class and $-1$ for all others. Predict the class whose machine gives
# the largest score. (There is also a hinge for all classes at once: the sum over the wrong classes $j$ of
# $\max(0, 1 + f_j(x_i) - f_{y_i}(x_i))$, where the score of each wrong class has to stay 1 below that of the right one;
# Weston and Watkins, 1999.)
#
# ### 5.9 `one_vs_rest` · optional · level 2 of 4 · 15 min
#
# This exercise is extra: it is tested, but it gives no points. The cell holds two functions, training and prediction.
# What trains one machine is passed in as `fit`.


# %% exercise="one_vs_rest" points=2 minutes=15 extra=true forbids=["sklearn"]
def one_vs_rest(X: np.ndarray | scipy.sparse.csr_array, y: np.ndarray, fit: Callable) -> tuple[np.ndarray, np.ndarray]:
    """Train one linear classifier for each class, against all the others.

    X: (m, d), a NumPy array or CSR; it goes to `fit` as it is. y: (m,), integers of any kind and any
      size, in any order, with gaps; at least two different ones, else ValueError.
    fit(X, s) -> theta, (d,): s is (m,) float64, +1 for the rows of one class and -1 for the others.
      `fit` is called once for each class, in rising order of the classes. It may keep or change the
      s that it gets, so no two of them share memory; and it may use one buffer for every theta
      that it returns, so copy theta before the next call. Do not change the array that `fit` returned.

    Returns (classes, Theta): classes (q,), the q different labels in rising order, of y's own dtype;
    Theta (q, d), float64, row c being the theta of classes[c]. New arrays. Leaves X and y as they are.
    Not allowed: sklearn.
    """
    ### BEGIN SOLUTION
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError("y must hold at least two different labels")
    thetas = [np.array(fit(X, np.where(y == label, 1.0, -1.0)), dtype=np.float64) for label in classes]
    return classes, np.stack(thetas)
    ### END SOLUTION


def predict_one_vs_rest(X: np.ndarray | scipy.sparse.csr_array, classes: np.ndarray, Theta: np.ndarray) -> np.ndarray:
    """The class with the largest score x·theta for each row of X; the lowest class where scores tie.

    X: (n, d), a NumPy array or CSR, n >= 0. classes: (q,), rising; Theta: (q, d).
    Returns (n,), integers of the dtype that classes has. Leaves its arguments as they are.
    Not allowed: sklearn.
    """
    ### BEGIN SOLUTION
    return classes[np.argmax(X @ Theta.T, axis=1)]
    ### END SOLUTION


# %% [markdown] hints="one_vs_rest"
# <details><summary>Hint 1: the classes</summary>
#
# `np.unique` gives the different labels in rising order and keeps their dtype.
# </details>
# <details><summary>Hint 2: the labels of one machine</summary>
#
# `np.where(y == label, 1.0, -1.0)`, made anew for each class. Not 0 and 1. `np.array(fit(X, s))` copies what fit
# returned, which may be a buffer.
# </details>
# <details><summary>Hint 3: prediction</summary>
#
# `X @ Theta.T` has a row for each example and a column for each class. `np.argmax` along axis 1 takes the first of
# equal scores. It gives positions: look the classes up, `classes[...]`.
# </details>

# %% check="one_vs_rest"
with check("one_vs_rest", forbids=["sklearn"]):
    X, y = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 2.0]]), np.array([7, -2, 7, 3])
    asked = []

    def sum_of_rows(X, s):
        asked.append(s)
        return s @ X

    with expect_unchanged(X=X, y=y):
        classes, Theta = one_vs_rest(X, y, sum_of_rows)
    expect_close(classes, [-2, 3, 7], atol=0, hint="the different labels, in rising order")
    expect_close(
        asked[0],
        [-1.0, 1.0, -1.0, -1.0],  # only the second row is of class -2
        atol=0,
        mistakes={"The labels are 0 and 1; the hinge needs -1 and +1.": [0.0, 1.0, 0.0, 0.0]},
    )
    expect_close(Theta, [[-2.0, -2.0], [-2.0, 0.0], [2.0, -2.0]], rtol=1e-12)
    assert len(asked) == 3, f"fit must be called once a class, 3 times, not {len(asked)}"
    new = np.array([[3.0, 0.0], [0.0, 3.0], [0.0, 0.0]])  # scores (-6, -6, 6), (-6, 0, -6) and a tie
    expect_close(
        predict_one_vs_rest(new, classes, Theta),
        [7, 3, -2],
        atol=0,
        mistakes={"These are positions; look up the classes there.": [2, 1, 0]},
    )
    expect_dtype(predict_one_vs_rest(new, classes.astype(np.int8), Theta), np.int8)
    classes, Theta = one_vs_rest(X, np.array([7, -2, 7, -2]), sum_of_rows)
    expect_shape(Theta, (2, 2), hint="two classes have a machine each, too")

# %% [markdown]
# Ten machines for the ten digits, each trained by your `pegasos`. A row of $\Theta$ has one weight for each of the
# 8 × 8 pixels. Ink on a red pixel raises the digit's score, ink on a blue one lowers it.

# %% tags=["demo"]
pixels = np.column_stack([digits.X / 16, np.ones(len(digits.y))])  # the last column makes room for a bias
shuffled = np.random.default_rng(0).permutation(len(digits.y))
train, test = shuffled[:1200], shuffled[1200:]
order = np.random.default_rng(1).integers(0, len(train), demo_size(full=20_000, small=2000))
sparse_pixels = scipy.sparse.csr_array(pixels[train])
(classes, Theta), took = timed(
    lambda: one_vs_rest(sparse_pixels, digits.y[train], lambda X, s: pegasos(X, s, 1e-3, order))
)
mine = np.mean(predict_one_vs_rest(pixels[test], classes, Theta) == digits.y[test])
peer = LinearSVC(loss="hinge", fit_intercept=False, C=1 / (1e-3 * len(train)), max_iter=20_000)
_, peer_took = timed(lambda: peer.fit(pixels[train], digits.y[train]))
figure, panels = plt.subplots(2, 5, figsize=(9, 3.8))
largest = np.abs(Theta[:, :64]).max()
for ax, label, weights in zip(panels.ravel(), classes, Theta, strict=True):
    image = ax.imshow(weights[:64].reshape(8, 8), cmap="RdBu_r", vmin=-largest, vmax=largest)
    ax.set_title(f"{label}", fontsize=10)
    ax.set_axis_off()
figure.colorbar(image, ax=panels, label="weight")
figure.suptitle("Where each digit wants ink (red) and where not (blue)", fontsize=12, x=0.02, ha="left")
plt.show()
print(f"one_vs_rest of pegasos: {mine:.1%} of {len(test)} digits right, {took:.2f} s")
print(f"LinearSVC:              {peer.score(pixels[test], digits.y[test]):.1%}, {peer_took:.2f} s")

# %% [markdown]
# Compare the two times above. `LinearSVC` is compiled code and holds all rows in memory. Your machines are one Python
# loop each; Pegasos needs one row and $\theta$ in memory, so it still works where the rows do not fit.

# %% [markdown] written="what_went_wrong" points=2
# **Written question (2 points, about 25 minutes).** A colleague trains `SVC(C=1, gamma=1)` on 5,000 rows of 30 raw
# measurements in different units, some around 0.01 and some around 10,000. All training rows are predicted right, all
# 5,000 of them are support vectors, and on new rows the predictions are the more frequent class every time. Half a point
# for each part:
#
# 1. What does the kernel matrix look like, and why? Why is every training row right?
# 2. Why is every row a support vector, and why does a new row get the more frequent class? (Take $K$ for the identity
#    and find $b$ by hand.)
# 3. What do you change first, in the data and in $\gamma$, and how do you choose then?
# 4. Why will prediction become faster as well?
#
# ### BEGIN SOLUTION
# 1. The kernel matrix is (almost) the identity: squared distances are dominated by the columns around 10,000, so
#    exp(−γ distance²) is 0 for any two different rows. Each row scores with its own α alone, plus b, so every training
#    row can be right.
# 2. No other row adds to the score of a row, so each row needs an α of its own above 0 to reach its margin. A new row
#    is far from all of them, so its score is b. With K = I a free row has α = 1 − y b. The rows of the rarer class are
#    at C = 1, and the others share as much: n_rare = n_frequent (1 − |b|). b has the sign of the more frequent class.
# 3. Standardise the columns first, on the training rows only. Then set γ near 1/(columns · variance), and choose γ and
#    C together by cross-validation, on a logarithmic grid. Lowering C alone does not help: it shrinks α, not the
#    distances.
# 4. With a fitting width most rows lie outside the street and have α = 0. A prediction costs one kernel value for each
#    support vector, so fewer of them make it faster.
#
# ### RUBRIC
# - 0.5: Part 1: the kernel matrix is almost the identity, because the large columns make all distances large; so each
#   training row scores with its own α.
# - 0.5: Part 2: no other row helps, so each needs an α above 0; a new row scores b, which has the sign of the more
#   frequent class.
# - 0.5: Part 3: the columns are standardised first, on the training rows only; then γ and C are chosen together by
#   cross-validation.
# - 0.5: Part 4: fewer rows are support vectors, and a prediction costs one kernel value for each.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. `svm_dual` chooses the pair that violates most. Choose the second row by the gain
#    $(G_i - G_j)^2/(K_{ii} + K_{jj} - 2K_{ij})$ instead: how many steps does it save on your data, and what does a step
#    cost then?
# 2. The dual without a bias has no rule $\sum_i\alpha_i y_i = 0$, so single coordinates may move. Write coordinate
#    ascent for it on sparse rows, keeping $\theta$ in place of $v$. Why does a step then cost the entries of one row?
# 3. With $\lambda = 1/(Cm)$ the bound of one pass does not fall with $m$, and yet $J$ came nearer to its minimum. What
#    does a chunk of $c$ rows change in the bound, and how many passes would a fixed gap need?
# 4. A random feature of a row costs $d$ multiplications. Which structured $\Omega$ could make that $\log d$?
# 5. Random features are fixed before the labels are seen. What would you gain, and lose, by training $\Omega$?
#
# References:
#
# - C. Cortes and V. Vapnik, "Support-vector networks", *Machine Learning*, 1995. The soft margin and its dual; short
#   and readable.
# - J. C. Platt, "Fast training of support vector machines using sequential minimal optimization", in *Advances in
#   Kernel Methods*, MIT Press, 1999 (a technical report of 1998). Two rows a step, with pseudocode.
# - S. S. Keerthi, S. K. Shevade, C. Bhattacharyya and K. R. K. Murthy, "Improvements to Platt's SMO algorithm for SVM
#   classifier design", *Neural Computation*, 2001. Why one threshold is not enough, and the pair of exercise 5.4.
# - R.-E. Fan, P.-H. Chen and C.-J. Lin, "Working set selection using second order information for training support
#   vector machines", *Journal of Machine Learning Research*, 2005. Question 1, and what LIBSVM does.
# - S. Shalev-Shwartz, Y. Singer and N. Srebro, "Pegasos: primal estimated sub-gradient solver for SVM", ICML 2007.
#   Exercise 5.2. The longer version (with A. Cotter), *Mathematical Programming*, 2011, drops the projection.
# - O. Shamir and T. Zhang, "Stochastic gradient descent for non-smooth optimization: convergence results and optimal
#   averaging schemes", ICML 2013. The rate of the last $\theta$, without an average.
# - S. Lacoste-Julien, M. Schmidt and F. Bach, "A simpler approach to obtaining an O(1/t) convergence rate for the
#   projected stochastic subgradient method", arXiv:1212.2002, 2012. A short note: the average of exercise 5.8.
# - A. Rahimi and B. Recht, "Random features for large-scale kernel machines", NIPS 2007. Exercise 5.7.
# - C. K. I. Williams and M. Seeger, "Using the Nyström method to speed up kernel machines", NIPS 2000 (proceedings of
#   2001). Features from a sample of rows.
# - M. Zinkevich, M. Weimer, A. Smola and L. Li, "Parallelized stochastic gradient descent", NIPS 2010. Averaging models
#   that were trained apart.
# - J. Weston and C. Watkins, "Support vector machines for multi-class pattern recognition", ESANN 1999. One problem for
#   all classes in place of one machine for each.
#
# At work: scikit-learn's `SVC` up to some thousands of rows; `LinearSVC` for sparse text; `RBFSampler` or `Nystroem`
# with `SGDClassifier(loss="hinge", average=True)` beyond. Standardise the columns first, and choose $C$ and $\gamma$
# together.
