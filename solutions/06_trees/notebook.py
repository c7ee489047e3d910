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
# # 06 · Trees and forests
#
# **What you will be able to do.** Find the best split of a node from running sums, with ties and missing values. Grow
# trees that equal scikit-learn's, average them into a forest that measures its own error, and boost them with second
# derivatives. Split by histograms instead of sorted columns, and merge the histograms of many machines into the split
# that one machine would have found.
#
# **You need** means, variances, correlation and quantiles (the value below which a given share of the rows lies), the
# chain rule, the logistic loss of module 03, and bias, variance and the bootstrap of module 04.
#
# **Skills it trains**: greedy algorithms, sums that update in constant time, ensembles, second-order approximation,
# summaries that merge.
#
# **Time**: about four and a half hours, three of them in seven exercises and a bug to find. Each exercise tells its
# level, which is also its points, and its minutes.
#
# **Symbols of the whole module**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $m$, $d$ | `m`, `d` | | rows (examples) and columns (features) |
# | $X$ | `X` | $(m, d)$ | the data. `nan` marks a missing value |
# | $Y$, $C$ | `Y` | $(m, C)$ | the targets: one column of numbers, or one column for each of $C$ classes (one-hot) |
# | $p$ | `p` | $(C,)$ | shares of the classes in a node; they sum to 1 |
# | $n$, $S$ | | a number, $(C,)$ | rows of a node, and the sum of their targets |
# | $L$, $R$ | | | the two sides of a split: $n_L + n_R = n$, $S_L + S_R = S$ |
# | $t$ | `threshold` | a number | rows with $x \le t$ go left |
# | $T$, $\sigma^2$, $\rho$ | | | trees of a forest; variance of one prediction; correlation of two |
# | $\ell$, $F$ | `F` | $(m,)$ | a loss for one row; what the boosted model predicts so far |
# | $g$, $h$ | `g`, `h` | $(m,)$ | first and second derivative of each row's loss with respect to $F$ |
# | $G$, $H$ | | numbers | sums of $g$ and of $h$ over the rows of a node |
# | $w$ | `value` | a number | what a leaf adds to $F$ |
# | $\lambda$, $\eta$ | `penalty`, `lr` | | penalty on large leaf values; learning rate |
# | $B$, $s$ | `bins`, `size` | | bins of a histogram; values in a summary of a column |

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

from collections.abc import Callable, Iterable, Sequence

import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

plotting.use()
checking.start("06_trees", total=8)


def one_hot(y: np.ndarray) -> np.ndarray:
    """Classes 0, 1, ... (m,) as targets (m, C): 1.0 in the column of the row's class, else 0.0."""
    return np.eye(int(y.max()) + 1)[y]


def bin_edges(x: np.ndarray, bins: int) -> np.ndarray:
    """Where to cut the finite numbers x (m,) into at most `bins` bins: at most bins - 1 rising edges.

    With at most `bins` distinct values, each has a bin of its own and edges lie half-way. Otherwise
    the edges are quantiles, so that bins hold about equally many rows where few values repeat. (If
    many rows have the largest value, it may be an edge, and then the last bin is empty.)
    """
    values = np.unique(np.asarray(x, dtype=np.float64))
    if len(values) > bins:
        return np.unique(np.quantile(x, np.arange(1, bins) / bins, method="inverted_cdf"))
    low, high = values[:-1], values[1:]
    middle = low / 2 + high / 2
    return np.where(middle < high, middle, low)


def squared(y: np.ndarray, F: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivative of (F - y)^2 / 2 with respect to F, (m,) each."""
    return F - y, np.ones(len(y))


def logistic(y: np.ndarray, F: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of the logistic loss, log(1 + exp(F)) - y F with y in {0, 1}, (m,) each."""
    p = 1 / (1 + np.exp(-F))
    return p - y, p * (1 - p)


# %% [markdown]
# ## Derive
#
# ### A model made of questions
#
# A **decision tree** asks a row one question after another: is $x_3 \le 2.5$? The answer decides which question comes
# next. The last answer leads to a **leaf**, which predicts a constant. Every question cuts a box of the input space in
# two, so a tree is a function that is constant on boxes. The figure shows it, with trees of scikit-learn's. Left, a
# tree asks at most two questions. Right, it asks until every row is fitted.

# %% tags=["demo"]
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

moons = datasets.moons(demo_size(full=400, small=100), noise=0.35, seed=6)
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2))
for ax, depth in zip(axes, (2, None), strict=True):
    tree = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(moons.X, moons.y)
    title = f"{tree.get_n_leaves()} boxes, training error {1 - tree.score(moons.X, moons.y):.0%}"
    plotting.decision_regions(tree.predict, moons.X, moons.y, title=title, ax=ax)
plt.show()

# %% [markdown]
# The two pictures lead to four problems. Which question is the best one, and how do we find it quickly? When do we
# stop? The second tree has learnt the noise: what can we do about that, besides stopping early? And what if the rows do
# not fit on one machine?
#
# ### What is a good question?
#
# Look at one node with $n$ rows and targets $y_i \in \mathbb R^C$. If it becomes a leaf, it predicts one constant $c$,
# and loses $\sum_i \|y_i - c\|^2$. The best $c$ is the mean, $S / n$ with $S = \sum_i y_i$, and what remains is
#
# $$\sum_i \|y_i\|^2 - \frac{\|S\|^2}{n}.$$
#
# - **Regression**, $C = 1$: this is $n$ times the variance.
# - **Classification**: let $y_i$ be one-hot, a 1 in the column of its class. Then $S$ counts the classes, $S / n = p$
#   holds their shares, $\|y_i\|^2 = 1$, and what remains is $n (1 - \sum_k p_k^2)$: $n$ times the **Gini impurity**. It
#   is the probability that two rows, drawn with replacement, have different classes.
#
# So one formula serves both. With the log loss of module 03 in place of the squared error, the best constant is again
# $p$, and what remains is $n$ times the **entropy**, $-\sum_k p_k \log p_k$. An **impurity** is the mean loss of the
# rows of a node that predicts its best constant.
#
# A split sends $n_L$ rows left and $n_R$ rows right. Its **gain** is the loss that it saves. The sum of the squares is
# the same before and after, so
#
# $$\text{gain} = \frac{\|S_L\|^2}{n_L} + \frac{\|S_R\|^2}{n_R} - \frac{\|S\|^2}{n}
#   = \frac{n_L\, n_R}{n} \left\| \frac{S_L}{n_L} - \frac{S_R}{n_R} \right\|^2 \ge 0 .$$
#
# (Put $S = S_L + S_R$ into the first form to get the second one.) A gain is never negative, and it is large where both
# sides have many rows and their means are far apart. To know it, you need $n_L$, $n_R$ and the two sums.
#
# ### Where tutorials disagree
#
# | question | seen elsewhere | here |
# | --- | --- | --- |
# | logarithm of the entropy | natural, or base 2 | base 2: two classes of equal share have entropy 1 |
# | which side gets $x = t$? | $x < t$ left, or $x \le t$ left | $x \le t$ left |
# | where between two values lies $t$? | on the lower one, or half-way | half-way |
# | gain of a split | a sum over the rows, or divided by $m$ or $n$ | a sum |
# | Gini of a node without rows | an error, or nan | 0 |
# | columns that a forest's tree may use | drawn once for each tree, or for each node | for each node |
# | what a forest's trees vote with | their class (Breiman), or their shares | their shares |
# | gain in boosting | with or without a factor ½ | without |
#
# Thresholds, sides and votes are as in scikit-learn. Columns are drawn for each node as there, with one difference: where
# no drawn column can be split, scikit-learn draws on past constant columns only, and here past all that cannot be split.

# %% [markdown]
# ## Implement
#
# ### 6.1 `impurity` · essential · level 1 of 4 · 10 min


# %% exercise="impurity" points=1 minutes=10 forbids=["scipy.stats", "sklearn"] trains=["greedy algorithms"]
def impurity(counts: np.ndarray, criterion: str = "gini") -> np.ndarray | float:
    """Impurity of nodes with these class counts: the last axis holds the classes.

    counts: (..., C), C >= 1, numbers of any kind from 0 to 1e15, whole or not (sums of weights);
      other axes may be empty.
    criterion: "gini" is 1 - sum p_k^2, "entropy" is -sum p_k log2(p_k), with the shares p_k of the
      classes and 0 log2(0) = 0.

    Returns float64, the shape of counts without its last axis, a new array; for counts (C,) one
    number, a float. A node whose counts are all 0 has impurity 0. Leaves counts as they are.
    Raises ValueError for another criterion, and for a count that is negative or nan.
    Right to within 1e-12. Not allowed: scipy.stats, sklearn.
    """
    ### BEGIN SOLUTION
    counts = np.asarray(counts, dtype=np.float64)
    if not (counts >= 0).all():
        raise ValueError("a count is negative or nan")
    total = counts.sum(axis=-1, keepdims=True)
    p = counts / np.where(total > 0, total, 1.0)
    if criterion == "gini":
        return (p * (1 - p)).sum(axis=-1)
    if criterion == "entropy":
        return -(p * np.log2(np.where(p > 0, p, 1.0))).sum(axis=-1)
    raise ValueError(f"criterion {criterion!r}")
    ### END SOLUTION


# %% [markdown] hints="impurity"
# <details><summary>Hint 1: shares</summary>
#
# Divide by the sum over the last axis, with `keepdims=True`. Where that sum is 0, divide by 1 instead.
# </details>
# <details><summary>Hint 2: a node without rows</summary>
#
# All its shares are 0, so 1 − Σ p² would be 1. Because the other shares sum to 1, Σ p (1 − p) is the same number, and
# it is 0 here.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# Gini: `(p * (1 - p)).sum(axis=-1)`. Entropy: minus the sum of `p * np.log2(np.where(p > 0, p, 1.0))`, in which the
# `where` gives log2(1) = 0 for a share of 0.
# </details>

# %% check="impurity"
with check("impurity", forbids=["scipy.stats", "sklearn"]):
    counts = np.array([[3, 1], [0, 5], [0, 0]])
    with expect_unchanged(counts=counts):
        got = impurity(counts)
    expect_close(
        got,
        [6 / 16, 0.0, 0.0],  # 1 - (3/4)^2 - (1/4)^2
        rtol=1e-12,
        mistakes={
            "A node without rows has impurity 0.": [6 / 16, 0.0, 1.0],
            "This is the share of the rows outside the largest class.": [1 / 4, 0.0, 0.0],
        },
    )
    expect_close(
        impurity(np.array([4, 2, 2]), "entropy"),
        1.5,  # 1/2 · 1 bit + 1/4 · 2 bits + 1/4 · 2 bits
        rtol=1e-12,
        mistakes={"This is the entropy with the natural logarithm; take base 2.": 1.5 * np.log(2)},
    )
    expect_dtype(impurity(counts.astype(np.float32)), np.float64, hint="float64 for counts of every kind")
    with expect_raises(ValueError, hint="no such criterion"):
        impurity(counts, "variance")

# %% [markdown]
# Both impurities are strictly concave: the curve lies above each of its chords. The node is a point on the curve. Its
# two sides are two other points, and their mean impurity is a point on the chord between them, below the node. The
# height between the two is the gain, divided by the rows of the node (right). The left panel shows why the training
# error itself is a poor guide: its curve has straight pieces, and on these a split gains nothing.

# %% tags=["demo"]
share = np.linspace(0, 1, 201)
pairs = np.stack([share, 1 - share], axis=1)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
plotting.curves(
    {
        "Gini": (share, impurity(pairs)),
        "entropy / 2": (share, impurity(pairs, "entropy") / 2),
        "training error": (share, np.minimum(share, 1 - share)),
    },
    xlabel="share of class 0",
    ylabel="impurity",
    title="Three impurities of two classes",
    ax=left,
)
ends = np.array([[0.15, 0.85], [0.45, 0.55]])  # the two sides of a split with equally many rows
middle = ends.mean(axis=0)
plotting.curves({"Gini": (share, impurity(pairs))}, xlabel="share of class 0", ylabel="impurity", ax=right)
right.plot(ends[:, 0], impurity(ends), "s-", color=plotting.COLOURS[1])
chord = impurity(ends).mean()
right.annotate("", (middle[0], impurity(middle)), (middle[0], chord), arrowprops={"arrowstyle": "<->"})
right.text(middle[0] + 0.03, chord - 0.05, f"gain: {impurity(middle) - chord:.3f} per row")
right.set(xlim=(0, 0.7), title="The gain is the height above the chord")
plt.show()

# %% [markdown]
# ### 6.2 `candidate_thresholds` · essential · level 1 of 4 · 5 min
#
# Which questions $x \le t$ are there? Two thresholds between the same neighbouring values send the same rows left. So a
# column has at most $m - 1$ different questions, whatever its values are. Half-way between two values is a good place,
# because new rows will not have exactly the old values.
#
# **Find the bug.** The function below is found in many tutorials. For many columns it is right. For others it is wrong.


# %% exercise="candidate_thresholds" points=1 minutes=5 bug=true trains=["greedy algorithms"]
def candidate_thresholds(x: np.ndarray) -> np.ndarray:
    """The thresholds worth trying for one column: one between each two neighbouring distinct values.

    x: (m,), m >= 0, numbers of any kind, 0 or from 1e-300 to 1e300 in size, in any order, with
      repeats; nan marks a missing value and counts for nothing. Computed in float64.

    Returns (k - 1,) float64, rising, where x has k distinct values; empty for k < 2. Each threshold
    t lies half-way between its two values a < b, and a <= t < b: where half-way is rounded up to b
    (neighbouring floats), t is a. Leaves x as it is. O(m log m) time.
    """
    ### BEGIN SOLUTION
    x = np.asarray(x, dtype=np.float64)
    values = np.unique(x[~np.isnan(x)])
    low, high = values[:-1], values[1:]
    middle = (low + high) / 2
    return np.where(middle < high, middle, low)
    ### END SOLUTION
    ### BEGIN BUG
    # x = np.asarray(x, dtype=np.float64)
    # values = np.sort(x[~np.isnan(x)])
    # low, high = values[:-1], values[1:]
    # middle = (low + high) / 2
    # return np.where(middle < high, middle, low)
    ### END BUG


# %% [markdown] hints="candidate_thresholds"
# <details><summary>Hint 1: look</summary>
#
# Call it on `np.array([1.0, 1.0, 3.0])`. How many different ways are there to send some rows left and some right?
# </details>
# <details><summary>Hint 2: what a repeat does</summary>
#
# Between two equal values a and a it returns a itself. No threshold can separate these two rows, but a search that
# counts "one row left, two rows left, ..." believes that it can.
# </details>

# %% check="candidate_thresholds"
with check("candidate_thresholds"):
    x = np.array([4.0, 1.0, np.nan, 2.0, 2.0, 2.0])
    with expect_unchanged(x=x):
        got = candidate_thresholds(x)
    expect_close(
        got,
        [1.5, 3.0],
        rtol=1e-12,
        mistakes={"There is a threshold between equal values.": [1.5, 2.0, 2.0, 3.0]},
    )
    neighbours = np.array([np.nextafter(1, 2), 1 + 2 * (np.nextafter(1, 2) - 1)])
    expect_close(candidate_thresholds(neighbours), neighbours[:1], rtol=0, atol=0, hint="a <= t < b")
    expect_shape(candidate_thresholds(np.array([np.nan, 5.0])), (0,))

# %% [markdown]
# What does the bug do to a search? Below, a column holds whole numbers from 1 to 6, the target is noise, and the rows
# are sorted by the column. The curve is the gain of "the first $i$ rows go left". Its peak lies between equal values,
# where no question can cut. A search that takes this peak reports a gain that its tree does not have.

# %% tags=["demo"]
draw = np.random.default_rng(6)
x, y = np.sort(draw.integers(1, 7, 60)), draw.standard_normal(60)
i, sums = np.arange(1, 60), np.cumsum(y - y.mean())[:-1]
by_position = sums**2 * 60 / (i * (60 - i))
possible = np.array([np.count_nonzero(x <= t) for t in candidate_thresholds(x)])
ax = plotting.curves({"gain by position": (i, by_position)}, xlabel="rows on the left", ylabel="gain")
ax.plot(possible, by_position[possible - 1], "s", color=plotting.COLOURS[1], label="cuts that a threshold can make")
ax.set_title(f"Claimed {by_position.max():.2f}, possible {by_position[possible - 1].max():.2f}")
ax.legend()
plt.show()

# %% [markdown]
# ### 6.3 `best_split` · essential · level 3 of 4 · 35 min
#
# Now find the best of all questions. To add up both sides anew for each question costs $O(mC)$, and there are up to $m$
# questions: $O(m^2 C)$ for each column. But neighbouring questions differ by a few rows only. Sort the column once, and
# take **running sums** of the targets in that order: entry $i$ is the sum of the first $i$ rows. It is $S_L$ of the cut
# after row $i$, and $S_R = S - S_L$. A column then costs $O(m \log m)$ for the sort and $O(mC)$ for the rest.
#
# **Digits.** The gain is a difference of squares. If $Y$ lies near $10^8$, the squares are near $10^{16} n$, and their
# rounding errors near $n$: a gain of this size is lost. A constant that is added to $Y$ changes no gain, so subtract
# the mean first. Then $S = 0$, and
#
# $$\text{gain} = \frac{\|S_L\|^2}{n_L} + \frac{\|S_L\|^2}{n_R} = \frac{n}{n_L\, n_R} \|S_L\|^2 .$$
#
# **Missing values.** A row whose value is missing cannot be compared with $t$. So try two directions for each cut: all
# missing rows go right, or all go left. Keep the better one. This learns the direction from the data, and the absence
# of a value may itself carry information. One more split sends all present rows left and all missing rows right; its
# threshold is $+\infty$.
#
# (A loop over the rows in Python is graded as right, too, if it keeps to these orders of growth. But this function is
# called for every node of every tree below, and with such a loop the figures take minutes in place of seconds.)
#
# The loop over the columns is given. You write what happens before it and inside it.


# %% exercise="best_split" points=3 minutes=35 forbids=["sklearn"] trains=["greedy algorithms", "sums that update in constant time"]
def best_split(X: np.ndarray, Y: np.ndarray, min_leaf: int = 1) -> tuple[int, float, bool, float] | None:
    """The split of one node with the largest gain: the drop of the summed squared error.

    X: (m, d), m >= 1, d >= 1, numbers of any kind, bools too (float32 is made float64 first); nan
      marks a missing value, no value is infinite. Y: (m, C), C >= 1, finite numbers of any kind,
      bools too.
    min_leaf: each side gets at least min_leaf rows, missing ones included.

    Returns (feature, threshold, missing_left, gain), a Python int, float, bool and float.
    Rows with X[:, feature] <= threshold go left; missing ones go left where missing_left is true,
    else right. Every column, cut and direction of the missing rows is tried.
    threshold lies half-way between two neighbouring distinct values a < b of the column, and
    a <= threshold < b, as in `candidate_thresholds`. It is inf where all rows that are present go
    left and the missing ones right.
    missing_left, where the column has no missing value: whether more rows go left than right (False
      for equal numbers).
    gain: |S_L|^2 / n_L + |S_R|^2 / n_R - |S|^2 / m (m is the n of the text: the node's rows), right
      to 1e-9 of the node's summed squared error; to 1e-7 of it where Y is shifted by up to 1e8
      times its spread.
    The best split is returned even where its gain is 0. Where several splits have the largest gain
    (up to rounding), any of them may be returned. None where no split is possible.

    O(d m (log m + C)) time. One column at a time: no (m, d) array besides X. (Tested on 20,000 rows
    and 100 columns, 16 MB, with less than a second such array to spare.)
    Leaves X and Y as they are. Raises ValueError where X and Y differ in their number of rows, and
    for min_leaf < 1. Not allowed: sklearn.
    """
    m, best = len(X), None
    if len(Y) != m or min_leaf < 1:
        raise ValueError("X and Y need the same number of rows, and min_leaf at least 1")
    ### BEGIN SOLUTION
    Y = np.asarray(Y, dtype=np.float64)
    Y = Y - Y.mean(axis=0)  # otherwise the gain is a small difference of large numbers
    ### END SOLUTION
    for j in range(X.shape[1]):
        order = np.argsort(X[:, j])  # nan comes last
        x = X[order, j]
        present = m - np.count_nonzero(np.isnan(x))  # rows that have a value
        ### BEGIN SOLUTION
        cuts = np.append(1 + np.flatnonzero(x[:-1] < x[1:]), present)  # rows on the left, if missing ones go right
        sums = np.cumsum(Y[order], axis=0)
        for missing_left in (False, True):
            n_left = cuts + missing_left * (m - present)
            allowed = (n_left >= min_leaf) & (m - n_left >= min_leaf)
            at, n_left = cuts[allowed], n_left[allowed]
            left = sums[at - 1] + missing_left * (sums[-1] - sums[present - 1])
            gains = (left**2).sum(axis=1) * m / (n_left * (m - n_left))
            if len(gains) and (best is None or gains.max() > best[3]):
                k = gains.argmax()
                cut = at[k]
                threshold = np.inf if cut == present else candidate_thresholds(x[[cut - 1, cut]]).item()
                more_left = missing_left if present < m else bool(n_left[k] > m - n_left[k])
                best = j, threshold, more_left, float(gains[k])
        ### END SOLUTION
    return best


# %% [markdown] hints="best_split"
# <details><summary>Hint 1: one column</summary>
#
# `np.cumsum(Y[order], axis=0)[i - 1]` is the sum of the first i rows. Which i are cuts? Those with `x[i - 1] < x[i]`,
# and this is false at nan, which comes last.
# </details>
# <details><summary>Hint 2: missing rows</summary>
#
# If the missing rows go left, add their number, `m - present`, to n_L and their sum, `sums[-1] - sums[present - 1]`, to
# S_L. The cut at i = present has threshold inf. It is a split only where there
# are missing rows, and only where they go right.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# Subtract `Y.mean(axis=0)` first. For each column and each direction, keep the cuts with min_leaf rows on both sides:
# `gains = (left**2).sum(axis=1) * m / (n_left * (m - n_left))`. The best of all starts as None. Its threshold is
# `candidate_thresholds` of the two values at the cut. Without missing rows, missing_left is `n_left > m - n_left`.
# </details>

# %% check="best_split"
with check("best_split", forbids=["sklearn"]):
    X = np.array([[1.0, 7.0], [2.0, 7.0], [2.0, 7.0], [5.0, 7.0], [6.0, 7.0]])
    Y = np.array([[0.0], [0.0], [3.0], [3.0], [3.0]])
    with expect_unchanged(X=X, Y=Y):
        got = best_split(X, Y)
    # Column 1 is constant. Minus their mean the targets are -1.8, -1.8, 1.2, 1.2, 1.2.
    # Left 1 row: 1.8² · 5/4 = 4.05. Left 3: 2.4² · 5/6 = 4.8. Left 4: 1.2² · 5/4 = 1.8.
    expect_close(
        got,
        (0, 3.5, True, 4.8),
        rtol=1e-12,
        mistakes={
            "You cut between two rows with equal values.": (0, 2.0, False, 10.8),
            "You divided the gain by the number of rows.": (0, 3.5, True, 4.8 / 5),
        },
    )
    if not all(isinstance(part, kind) for part, kind in zip(got, (int, float, bool, float), strict=True)):
        raise AssertionError("return a Python int, float, bool and float: int(...) and bool(...) make them")
    expect_close(best_split(X, Y + 1e8)[3], 4.8, rtol=1e-6, hint="subtract the mean of Y first")
    X = np.array([[1.0], [2.0], [np.nan], [4.0]])
    expect_close(
        best_split(X, np.array([[0.0], [0.0], [3.0], [3.0]])),
        (0, 3.0, False, 9.0),
        rtol=1e-12,
        hint="the missing row goes right, with the row that is like it",
    )
    expect_close(
        best_split(X, np.array([[0.0], [0.0], [3.0], [0.0]]))[:3], (0, np.inf, False), hint="present against missing"
    )
    if best_split(X[:2], np.array([[0.0], [1.0]]), min_leaf=2) is not None:
        raise AssertionError("two rows cannot give two rows to each side: return None")
    expect_close(
        best_split(X, np.array([[0.0], [3.0], [0.0], [3.0]]), min_leaf=2),
        (0, 1.5, True, 9.0),
        rtol=1e-12,
        hint="the missing row goes left, and min_leaf counts it",
    )
    with expect_raises(ValueError, hint="X and Y differ in their number of rows"):
        best_split(X, np.zeros((3, 1)))

# %% [markdown]
# Your function on the breast cancer data, where it chooses among 30 columns. The left panel draws the gain of every
# fourth question about two of them (and of the best one), computed from your `impurity`. The star is the answer of your
# search. On the right, values of the best column are erased. First, half of all values, at random. Then four of five
# values of malignant rows, and one of five of the others. In the second case more of the gain is left, and the missing
# rows go to the other side, because there a missing value is itself a sign of malignancy.

# %% tags=["demo"]
cancer = datasets.breast_cancer()
targets = one_hot(cancer.y)
feature, threshold, missing_left, gain = best_split(cancer.X, targets)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
before = len(targets) * impurity(targets.sum(axis=0))
for column, style in ((feature, "-"), (4, "--")):
    rank, gains = [], []
    best = {threshold} if column == feature else set()
    for t in sorted({*candidate_thresholds(cancer.X[:, column])[::4], *best}):
        side = cancer.X[:, column] <= t
        after = [side.sum() * impurity(targets[side].sum(axis=0)), (~side).sum() * impurity(targets[~side].sum(axis=0))]
        rank.append(side.mean())
        gains.append(before - sum(after))
    left.plot(rank, gains, style, label=f"column {column}")
left.plot(np.mean(cancer.X[:, feature] <= threshold), gain, "*", markersize=14, color="k", label="your best_split")
left.set(xlabel="share of the rows on the left", ylabel="gain", title=f"x{feature} ≤ {threshold:.4g} gains the most")
left.set_ylim(0, 1.3 * gain)
left.legend(loc="upper left")
draw = np.random.default_rng(0)
found = {}
for name, chance in {
    "no": np.zeros(569),
    "at random": np.full(569, 0.5),
    "by class": np.where(cancer.y, 0.2, 0.8),
}.items():
    x = np.where(draw.random(569) < chance, np.nan, cancer.X[:, feature])[:, None]
    found[name] = best_split(x, targets)
right.bar(list(found), [split[3] for split in found.values()], color=plotting.COLOURS[:3], width=0.8)
for number, split in enumerate(found.values()):
    where = "left" if split[2] else "right"
    right.text(number, split[3] / 2, "all present" if number == 0 else f"missing: {where}", ha="center", color="w")
right.set(xlabel="values erased", ylabel="gain of this column alone", title="That a value is missing can help")
plt.show()

# %% [markdown]
# ### 6.4 `grow_tree` · essential · level 3 of 4 · 30 min
#
# The best single question is known. A tree takes it, sends the rows to the two sides, and repeats this on each side.
# This is **greedy**: it never looks two questions ahead, and it never changes an earlier question. Finding the tree
# that asks the fewest questions on average is NP-hard (Hyafil and Rivest, 1976), so nearly everybody is greedy.
#
# It stops where a node is **pure** (all its targets are equal), at a depth that is given, and where no split is
# possible. It does not stop because a gain is small. On the exclusive or of two bits, the first question gains nothing,
# and the second one gains everything.
#
# At each depth a row lies in at most one node, so a level costs no more than one search over all rows. A balanced tree
# has about $\log_2 m$ levels. A tree that cuts off one row at a time has up to $m$, more than Python's own recursion
# allows.
#
# The tree is a dictionary of arrays, one entry for each node, in scikit-learn's names. (Module 22 explains the
# predictions of trees stored in this way.) To predict, all rows walk down together: `predict_tree` is given.


# %% tags=["setup"]
def predict_tree(tree: dict[str, np.ndarray], X: np.ndarray) -> np.ndarray:
    """What the tree predicts, (m, C) float64: the value of the leaf that each row reaches.

    tree: arrays as `grow_tree` returns them, of any model; except for the root, nodes may be in any
    order. X: (m, d), m >= 0, numbers of any kind, nan where missing. Values are compared with
    thresholds in float64.
    O(m) memory besides X and the result, O(m · depth) time. Leaves tree and X as they are.
    """
    at = np.zeros(len(X), dtype=np.int64)  # the node that each row has reached
    while len(going := np.flatnonzero(tree["children_left"][at] != -1)):
        node = at[going]
        x = X[going, tree["feature"][node]]  # an array of float64 thresholds: float32 is compared in float64
        left = np.where(np.isnan(x), tree["missing_go_to_left"][node], x <= tree["threshold"][node])
        at[going] = np.where(left, tree["children_left"][node], tree["children_right"][node])
    return tree["value"][at]


# %% exercise="grow_tree" points=3 minutes=30 forbids=["sklearn"] trains=["greedy algorithms"]
def grow_tree(
    X: np.ndarray, Y: np.ndarray, max_depth: int | None = None, min_leaf: int = 1, split: Callable = best_split
) -> dict[str, np.ndarray]:
    """A greedy tree. Each leaf predicts the mean of the targets of its rows.

    X: (m, d), m >= 1, numbers of any kind, nan where missing. Y: (m, C), numbers of any kind. Both
      may be bools.
    min_leaf: handed to `split`, nothing else.
    max_depth: the most questions on the way to a leaf; 0 is a single leaf, None is no limit. A tree
      may be 2,000 questions deep, and Python allows about 1,000 calls within each other: do not
      recurse.
    split: asked once with split(X[rows], Y[rows], min_leaf) for each node of more than one row that
      is not pure (the rows of Y equal) and not at max_depth. It returns what `best_split` does, and
      the node becomes a leaf where that is None. X[rows] and Y[rows] have the dtypes of X and Y;
      rows may come in any order. A float32 value is compared with a threshold in float64.

    Returns a dict of arrays, an entry for each of N nodes. Node 0 is the root, and a child has a
    higher number than its parent; otherwise nodes are numbered as you like.
      children_left, children_right: (N,) int64, numbers of nodes; -1 in a leaf.
      feature (N,) int64, threshold (N,) float64, missing_go_to_left (N,) bool: as `split` said; in
        a leaf -2, -2.0 and False.
      value: (N, C) float64, the mean of Y over the node's rows, in leaves and inner nodes.
      n_node_samples: (N,) int64, the number of the node's rows.
    Nodes that wait are kept as row numbers: of X there is at most one copy at a time, that of the
    rows which `split` looks at. (Tested with 20,000 rows, 100 columns and 30 levels.)
    Leaves X and Y as they are. Raises ValueError where X and Y differ in their number of rows.
    Not allowed: sklearn.
    """
    ### BEGIN SOLUTION
    if len(X) != len(Y):
        raise ValueError("X and Y need the same number of rows")
    nodes, values = [], []
    waiting = [(np.arange(len(X)), 0, None, "")]
    while waiting:
        rows, depth, parent, side = waiting.pop()
        number = len(nodes)
        if parent is not None:
            nodes[parent][side] = number
        targets = Y[rows]
        values.append(targets.mean(axis=0, dtype=np.float64))
        node = {"children_left": -1, "children_right": -1, "n_node_samples": len(rows)}
        nodes.append(node | {"feature": -2, "threshold": -2.0, "missing_go_to_left": False})
        if depth == max_depth or (targets == targets[0]).all():
            continue
        found = split(X[rows], targets, min_leaf)
        if found is None:
            continue
        feature, threshold, missing_left, _ = found
        nodes[number] |= {"feature": feature, "threshold": threshold, "missing_go_to_left": missing_left}
        x = X[rows, feature].astype(np.float64)
        left = np.where(np.isnan(x), missing_left, x <= threshold)
        waiting.append((rows[~left], depth + 1, number, "children_right"))
        waiting.append((rows[left], depth + 1, number, "children_left"))
    return {key: np.array([node[key] for node in nodes]) for key in nodes[0]} | {"value": np.array(values)}
    ### END SOLUTION


# %% [markdown] hints="grow_tree"
# <details><summary>Hint 1: a stack</summary>
#
# Keep a list of nodes that wait, each as (its row numbers, its depth, its parent's number, which side it is on). Pop
# one, write it down under the next free number, tell its parent, and append its two sides.
# </details>
# <details><summary>Hint 2: who goes left</summary>
#
# `x = X[rows, feature].astype(np.float64)`, and then `np.where(np.isnan(x), missing_left, x <= threshold)`. Without the
# conversion, NumPy rounds a Python float to float32 when x is float32.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# Start with `waiting = [(np.arange(m), 0, None, "")]`. For each popped node append a dictionary of its seven entries to
# a list, with -1, -1, -2, -2.0 and False at first; if it has a parent, write its number to `nodes[parent][side]`. Is it
# at max_depth, or is `(Y[rows] == Y[rows[0]]).all()`? Then go on with the next. Otherwise ask `split`, fill in the
# question, and append `(rows[left], depth + 1, number, "children_left")` and the same for `rows[~left]`. At the end
# turn each key into an array.
# </details>

# %% check="grow_tree"
with check("grow_tree", forbids=["sklearn"]):
    X, Y = np.array([[1.0], [2.0], [3.0], [4.0]]), np.array([[0.0], [0.0], [4.0], [6.0]])
    with expect_unchanged(X=X, Y=Y):
        tree = grow_tree(X, Y)
    new = np.array([[0.0], [2.5], [2.6], [9.0]])
    # The first cut is at 2.5, with gain 25. The left side is pure; the right one is cut at 3.5.
    expect_close(predict_tree(tree, new), [[0.0], [0.0], [4.0], [6.0]], rtol=1e-12)
    expect_shape(tree["value"], (5, 1), hint="three leaves and two questions; a pure node is a leaf")
    expect_close(tree["value"][0], [2.5], hint="the root has a value, too: the mean of all targets")
    expect_close(np.sort(tree["n_node_samples"]), [1, 1, 2, 2, 4])
    shallow = grow_tree(X, Y, max_depth=1)
    expect_close(predict_tree(shallow, new), [[0.0], [0.0], [5.0], [5.0]], rtol=1e-12, hint="one question only")
    bits = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    expect_close(
        predict_tree(grow_tree(bits, np.array([[0], [1], [1], [0]])), bits),
        [[0.0], [1.0], [1.0], [0.0]],
        hint="the first question gains nothing, the second one everything: do not stop at gain 0",
    )
    gaps, Y_gaps = np.array([[np.nan], [1.0], [5.0]]), np.array([[0.0], [0.0], [4.0]])
    tree = grow_tree(gaps, Y_gaps)  # x <= 3, and the missing row goes left: both sides are pure
    expect_close(
        np.sort(tree["value"][:, 0]), [0.0, 4 / 3, 4.0], rtol=1e-12, hint="a missing row goes where split says"
    )
    expect_close(predict_tree(tree, gaps), Y_gaps, atol=1e-12, hint="a missing value goes where the node says")
    expect_dtype(tree["children_left"], np.int64)
    expect_dtype(grow_tree(X, Y.astype(np.float32))["value"], np.float64, hint="the means are float64 for any Y")

# %% [markdown]
# A deep tree fits its training rows exactly, the noise included. Left, the two errors of your tree against its depth,
# averaged over several training sets of the moons. The training error never rises. The error on fresh rows falls, and
# then it rises: with the depth the bias falls and the variance grows, as in module 04.
#
# So when do we stop? A limit on the depth is one answer. It may stop one question before a good one, as on the
# exclusive or. **Pruning** avoids this: grow the whole tree, and then take back the questions that gain too little. For
# a penalty $\alpha$ on each leaf, a question stays only if the subtree below it saves more than $\alpha$ for each leaf
# that it adds. Each $\alpha$ gives one subtree of the deep tree, and rows that were held out choose among them. Right,
# the same two errors of scikit-learn's trees (`ccp_alpha`) for a path of penalties; the line marks the best one.
#
# Below the figure, your tree is compared with scikit-learn's on the diabetes data. Where one cut wins clearly at each
# node, the trees are the same. On data where several cuts gain the same, the two may choose different ones.

# %% tags=["demo"]
fresh = datasets.moons(demo_size(full=4000, small=400), noise=0.35, seed=7)
draws, penalties = demo_size(full=6, small=3), np.geomspace(1e-3, 0.1, 15)
errors, pruned, leaves = np.zeros((2, 13)), np.zeros((2, 15)), np.zeros(15)
for seed in range(draws):
    training = datasets.moons(len(moons.y), noise=0.35, seed=10 + seed)
    for depth in range(13):
        tree = grow_tree(training.X, one_hot(training.y), max_depth=depth)
        for k, data in enumerate((training, fresh)):
            errors[k, depth] += np.mean(predict_tree(tree, data.X).argmax(axis=1) != data.y) / draws
    for i, alpha in enumerate(penalties):
        peer = DecisionTreeClassifier(ccp_alpha=alpha, random_state=0).fit(training.X, training.y)
        leaves[i] += peer.get_n_leaves() / draws
        pruned[:, i] += [(1 - peer.score(data.X, data.y)) / draws for data in (training, fresh)]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
names = "on training rows", "on fresh rows"
plotting.curves(
    dict(zip(names, errors, strict=True)), xlabel="depth", ylabel="error", title="Deeper is better, then worse", ax=left
)
plotting.curves(
    {name: (penalties, line) for name, line in zip(names, pruned, strict=True)},
    xlabel="penalty on a leaf, α",
    ylabel="error",
    title="Pruning finds the middle from the other end",
    logx=True,
    ax=right,
)
best = pruned[1].argmin()
right.axvline(penalties[best], color=plotting.MUTED, lw=1)
plt.show()
print(
    f"fresh rows: error {errors[1, -1]:.3f} at depth 12, {errors[1].min():.3f} at depth {errors[1].argmin()};", end=" "
)
print(f"{pruned[1, best]:.3f} pruned with α = {penalties[best]:.3f}, {leaves[best]:.0f} leaves on average")
patients = datasets.diabetes()
peer = DecisionTreeRegressor(min_samples_leaf=20, random_state=0).fit(patients.X, patients.y)
tree = grow_tree(patients.X, patients.y[:, None], min_leaf=20)
apart = np.abs(predict_tree(tree, patients.X)[:, 0] - peer.predict(patients.X)).max()
print(f"nodes: yours {len(tree['value'])}, scikit-learn's {peer.tree_.node_count};", end=" ")
print(f"predictions differ by at most {apart:.1e}")

# %% [markdown]
# ### 6.5 `random_forest` · essential · level 3 of 4 · 30 min
#
# One row more or less can change the first question, and with it the whole tree: a deep tree has a small bias and a
# large variance. Averages have less variance. Let $f_1, \dots, f_T$ be what $T$ trees predict for one row $x$. They are
# random: the training set is drawn, and each tree draws numbers of its own. Over these draws each $f_t$ has the
# variance $\sigma^2$, and any two have the correlation $\rho$. Then
#
# $$\operatorname{Var}\Big(\frac1T \sum_{t=1}^T f_t\Big) = \frac{1}{T^2} \big(T \sigma^2 + T(T-1) \rho \sigma^2\big)
#   = \rho \sigma^2 + \frac{1 - \rho}{T} \sigma^2 .$$
#
# More trees make the second term small. They do not change the first one, and the bias of the average is that of one
# tree. So the trees must differ. Breiman's **random forest** does two things to lower $\rho$. Both make the single tree
# a little worse:
#
# - each tree is grown on a **bootstrap sample**: $m$ rows drawn from the $m$ rows, with replacement;
# - each *node* may choose only among `max_features` columns, drawn anew at that node.
#
# **An error estimate without a validation set.** A row is missing from a bootstrap sample with probability $(1 - 1/m)^m
# \approx e^{-1} = 0.37$. For such a tree it is a fresh row. The average over the trees that did not draw the row is its
# **out-of-bag** prediction, and the error of these is an estimate of the error on fresh rows.
#
# **Parts of a forest can be grown apart.** A tree needs the data, the seed and its own number, and no other tree. So a
# hundred machines grow their own trees; then the lists of trees are joined, and the sums and counts of the out-of-bag
# predictions are added. For this, the random numbers of a tree must not depend on which trees were grown before. They
# must also differ between seeds: with `default_rng(seed + number)`, tree 1 of seed 0 would be tree 0 of seed 1. A list
# of numbers, `default_rng([seed, number])`, keeps them apart. One trap is left: NumPy ignores zeros at the end of the
# list, so `[seed, number, 0]` is the same stream as `[seed, number]`. The line above the next figure shows it.


# %% exercise="random_forest" points=3 minutes=30 forbids=["sklearn"] trains=["ensembles"]
def bootstrap_rows(m: int, seed: int, number: int) -> np.ndarray:
    """The rows that tree `number` is grown on: m row numbers from 0 to m - 1, with replacement.

    m >= 1; 0 <= seed, number < 2^32. Returns (m,) int64, each entry uniform and independent.
    The same for the same three arguments, in every process, whatever was called before; unrelated
    for any two different pairs (seed, number), such as (0, 2) and (1, 2). The global random state
    of NumPy is neither used nor changed.
    """
    ### BEGIN SOLUTION
    return np.random.default_rng([seed, number]).integers(m, size=m)
    ### END SOLUTION


def random_forest(
    X: np.ndarray,
    Y: np.ndarray,
    numbers: Sequence[int],
    max_features: int,
    seed: int,
    max_depth: int | None = None,
    min_leaf: int = 1,
) -> tuple[list[dict[str, np.ndarray]], np.ndarray, np.ndarray]:
    """The trees with these numbers of the forest with this seed, and their out-of-bag predictions.

    X: (m, d), Y: (m, C), max_depth, min_leaf: as for `grow_tree`. numbers: a list or a range, may
    be empty; 0 <= number, seed < 2^32.
    Tree `number` is grown by `grow_tree` on the rows bootstrap_rows(m, seed, number), repeats
    included. At each node, `best_split` sees `max_features` different columns, drawn anew and
    uniformly. Where none of these can be split, it sees the next max_features of the columns that
    remain (fewer at the end), and so on. So a leaf is a node that is pure, at max_depth, or that no
    column can split. `feature` counts the columns of X.
    Each tree depends on seed and its number alone, not on the other numbers.

    Returns (trees, total, votes):
      trees: a list with a tree for each number, in their order.
      total: (m, C) float64, for each row the sum of the predictions of those trees that did not
        draw it; zeros where there is none. votes: (m,) int64, how many trees these are.
    So total / votes[:, None] predicts out of bag, and totals and votes of parts of a forest add up.
    Leaves X and Y as they are. Raises ValueError unless 1 <= max_features <= d.
    Not allowed: sklearn.
    """
    ### BEGIN SOLUTION
    m, d = X.shape
    if not 1 <= max_features <= d:
        raise ValueError("max_features must be from 1 to d")
    trees, total, votes = [], np.zeros(np.shape(Y)), np.zeros(m, dtype=np.int64)
    for number in numbers:
        draw = np.random.default_rng([seed, number, 1])

        def split(X, Y, min_leaf, draw=draw):
            shuffled = draw.permutation(d)
            for first in range(0, d, max_features):
                columns = shuffled[first : first + max_features]
                if found := best_split(X[:, columns], Y, min_leaf):
                    return int(columns[found[0]]), *found[1:]
            return None

        rows = bootstrap_rows(m, seed, number)
        tree = grow_tree(X[rows], Y[rows], max_depth, min_leaf, split)
        out = np.bincount(rows, minlength=m) == 0
        total[out] += predict_tree(tree, X[out])
        votes += out
        trees.append(tree)
    return trees, total, votes
    ### END SOLUTION


# %% [markdown] hints="random_forest"
# <details><summary>Hint 1: random numbers</summary>
#
# `np.random.default_rng([seed, number])` mixes both numbers well. For the columns of the nodes take another stream,
# such as `default_rng([seed, number, 1])`; not `[seed, number, 0]`, which NumPy takes for `[seed, number]`.
# </details>
# <details><summary>Hint 2: columns</summary>
#
# Give `grow_tree` a `split` of your own: it shuffles the columns, calls `best_split(X[:, columns], Y, min_leaf)` with
# the first `max_features` of them, and translates the feature that comes back, `columns[feature]`. Where `best_split`
# returns None, go on with the next `max_features` columns.
# </details>
# <details><summary>Hint 3: out of bag</summary>
#
# `out = np.bincount(rows, minlength=m) == 0`, then `total[out] += predict_tree(tree, X[out])` and `votes += out`.
# </details>

# %% check="random_forest"
with check("random_forest", forbids=["sklearn"]):
    draw = np.random.default_rng(0)
    X = draw.standard_normal((30, 4))
    Y = X[:, :1] + X[:, 1:2] ** 2
    rows = bootstrap_rows(30, 5, 2)
    expect_shape(rows, (30,))
    expect_dtype(rows, np.int64)
    expect_close(bootstrap_rows(30, 5, 2), rows, atol=0, hint="the same arguments give the same rows")
    if len(np.unique(rows)) == 30:
        raise AssertionError("rows are drawn with replacement, so some come twice and some not at all")
    with expect_unchanged(X=X, Y=Y):
        trees, total, votes = random_forest(X, Y, [2], max_features=2, seed=5)
    out = np.setdiff1d(np.arange(30), rows)
    expect_close(np.flatnonzero(votes), out, atol=0, hint="votes count the trees that did not draw the row")
    expect_close(total[out], predict_tree(trees[0], X[out]), rtol=1e-12, hint="their predictions are added to total")
    expect_close(trees[0]["value"][0], Y[rows].mean(axis=0), rtol=1e-12, hint="grow the tree on X[rows], Y[rows]")
    more, sums, counts = random_forest(X, Y, [7, 2], max_features=2, seed=5)
    expect_close(more[1]["value"], trees[0]["value"], rtol=1e-12, hint="tree 2 must not depend on the others")
    alone = random_forest(X, Y, [7], max_features=2, seed=5)
    expect_close(sums, total + alone[1], rtol=1e-12, hint="totals add up")
    expect_close(counts, votes + alone[2], atol=0)
    expect_dtype(counts, np.int64)
    all_columns, _, _ = random_forest(X, Y, [2], max_features=4, seed=5)
    expect_close(
        np.sort(all_columns[0]["value"][:, 0]),
        np.sort(grow_tree(X[rows], Y[rows])["value"][:, 0]),
        rtol=1e-9,
        hint="with max_features = d each node sees every column once: the tree is the usual one",
    )
    with expect_raises(ValueError, hint="there are only four columns"):
        random_forest(X, Y, [0], max_features=5, seed=0)

# %% [markdown]
# Left, the error of a growing forest on the digits, out of bag and on fresh rows, beside that of each tree alone. Both
# errors of the forest end far below that of a tree. More trees do not overfit; with enough of them, they stop helping.
# The out-of-bag error ends as the higher one, since a row's out-of-bag prediction averages only about a third of the
# trees. The cross is scikit-learn's forest; which of the two forests errs less depends on the seed. Right, what
# `max_features` changes: with more columns a single tree errs less, and yet the forest is best in between.
#
# Why? The variance formula needs new training sets, so it cannot be measured on one. The lines below the figure draw
# many training sets of **Friedman's function**, $10 \sin(\pi x_0 x_1) + 20 (x_2 - \frac12)^2 + 10 x_3 + 5 x_4$ with
# noise of variance 1 and five more columns that it does not use. (The trees are scikit-learn's.) With fewer columns
# $\sigma^2$ grows and $\rho \sigma^2$, the part that no number of trees removes, falls. The price is a larger bias. So
# which number is best depends on the data.


# %% tags=["demo"]
def friedman(m, seed):
    """Ten columns (m, 10) in [0, 1], of which five matter, and targets (m,) with noise of variance 1."""
    draw = np.random.default_rng([6, seed])
    X = draw.random((m, 10))
    y = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2 + 10 * X[:, 3] + 5 * X[:, 4]
    return X, y + draw.standard_normal(m)


digits = datasets.digits()
digit_X, digit_Y = digits.X.reshape(len(digits.y), -1), one_hot(digits.y)
shuffled = np.random.default_rng(0).permutation(len(digits.y))  # neighbours in the file have the same writer
chosen, held_out = shuffled[: demo_size(full=600, small=300)], shuffled[900:]
X, Y, fresh_X, fresh_y = digit_X[chosen], digit_Y[chosen], digit_X[held_out], digits.y[held_out]
sizes = demo_size(full=40, small=10)
total, votes, said = np.zeros_like(Y), np.zeros(len(Y)), np.zeros((len(fresh_y), 10))
out_of_bag, on_fresh, single = [], [], []
for number in range(sizes):
    (tree,), new_total, new_votes = random_forest(X, Y, [number], max_features=8, seed=6)
    total, votes = total + new_total, votes + new_votes
    one = predict_tree(tree, fresh_X)
    said += one
    judged = votes > 0
    out_of_bag.append(np.mean(total[judged].argmax(axis=1) != Y[judged].argmax(axis=1)))
    on_fresh.append(np.mean(said.argmax(axis=1) != fresh_y))
    single.append(np.mean(one.argmax(axis=1) != fresh_y))
print("first numbers of [5, 3], [5, 3, 0], [5, 3, 1]:", end=" ")
print(*(f"{np.random.default_rng(stream).random():.4f}" for stream in ([5, 3], [5, 3, 0], [5, 3, 1])))
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
count = np.arange(1, sizes + 1)
plotting.curves(
    {
        "the forest, out of bag": (count, out_of_bag),
        "the forest, fresh rows": (count, on_fresh),
        "its trees one by one, fresh rows": (count, single),
    },
    xlabel="trees",
    ylabel="error",
    title="An average errs less than its parts",
    ax=left,
)
left.set_ylim(0, 0.6)
peer = RandomForestClassifier(sizes, max_features=8, random_state=0, n_jobs=1).fit(X, digits.y[chosen])
left.plot(sizes, 1 - peer.score(fresh_X, fresh_y), "kx", markersize=8, label="scikit-learn's forest, fresh rows")
left.legend(loc="upper right")
choices = demo_size(full=[1, 2, 4, 8, 16, 64], small=[1, 8, 64])
alone, whole = [], []
for choice in choices:
    trees, _, _ = random_forest(X, Y, range(demo_size(full=16, small=12)), max_features=choice, seed=6)
    shares = np.array([predict_tree(tree, fresh_X) for tree in trees])  # (trees, rows, 10)
    alone.append(np.mean(shares.argmax(axis=2) != fresh_y))
    whole.append(np.mean(shares.sum(axis=0).argmax(axis=1) != fresh_y))
plotting.curves(
    {"one tree": (choices, alone), f"a forest of {len(trees)}": (choices, whole)},
    xlabel="max_features, of 64 (bagging)",
    ylabel="error on fresh rows",
    title="Worse trees can make a better forest",
    logx=True,
    ax=right,
)
right.set_xticks(choices, choices, minor=False)
right.set_xticks([], minor=True)
right.set_ylim(0)
plt.show()
fresh_X, fresh_y = friedman(300, 10**6)
draws, count = demo_size(full=30, small=15), 10
for choice in (2, 10):
    forests = [RandomForestRegressor(count, max_features=choice, random_state=s, n_jobs=1) for s in range(draws)]
    trees = [forest.fit(*friedman(200, 1000 + s)).estimators_ for s, forest in enumerate(forests)]
    said = np.array([[tree.predict(fresh_X) for tree in some] for some in trees])  # (training sets, trees, rows)
    same_set = said.var(axis=1, ddof=1).mean()  # what the trees' own random numbers add: (1 - rho) sigma^2
    common = said.mean(axis=1).var(axis=0, ddof=1).mean() - same_set / count  # rho sigma^2
    errors = np.mean((said.mean(axis=(0, 1)) - fresh_y) ** 2)  # of an average over everything: bias and noise
    print(
        f"Friedman, max_features {choice:2}: σ² {same_set + common:4.1f}, ρσ² {common:.2f}, bias² + noise {errors:4.1f}"
    )

# %% [markdown]
# ### From averaging to correcting
#
# A forest averages deep trees that are grown independently. **Boosting** adds shallow trees one after another, and each
# corrects the error of the sum so far. Which error? Take any convex loss $\ell(y, F)$ with two derivatives. Let $F_i$
# be the prediction for row $i$ so far, let $w_i$ be what the new tree adds to it, and expand:
#
# $$\ell(y_i, F_i + w_i) \approx \ell(y_i, F_i) + g_i w_i + \tfrac12 h_i w_i^2, \qquad
# g_i = \frac{\partial \ell(y_i, F)}{\partial F}, \quad h_i = \frac{\partial^2 \ell(y_i, F)}{\partial F^2}
# \quad \text{at } F = F_i .$$
#
# The tree adds the same value $w_i = w$ to all rows of a leaf. Put a penalty $\frac\lambda2 w^2$ on each leaf, and let
# $G = \sum g_i$ and $H = \sum h_i$ be the sums over its rows. Then the leaf adds $Gw + \frac12 (H + \lambda) w^2$ to
# the loss. The best $w$ is the lowest point of this parabola (Newton's method takes the same step), and the gain of a
# split follows from it:
#
# $$w = -\frac{G}{H + \lambda}, \qquad \text{a leaf saves } \frac12 \frac{G^2}{H + \lambda}, \qquad
# \text{gain} = \frac{G_L^2}{H_L + \lambda} + \frac{G_R^2}{H_R + \lambda} - \frac{G^2}{H + \lambda}$$
#
# up to the factor ½, which changes no choice. For the squared error ($g = F - y$, $h = 1$) with $F = 0$ and
# $\lambda = 0$ this is the gain that you know: $G$ is $-S$, and $H$ is $n$. So one search serves every loss. With
# $\lambda > 0$ the gain can be negative: then two leaves cost more than they save, and the node stays a leaf.
#
# Why is $\lambda$ needed? With the logistic loss, rows that are predicted with certainty have $h$ near 0. Without
# $\lambda$ a leaf of such rows makes a huge step where one of them is wrong. With it no step is longer than
# $|G| / \lambda$.
#
# (**AdaBoost**, which is older, is the same idea with targets $y = \pm 1$, the loss $e^{-yF}$ and trees that
# answer $\pm 1$. Its weight of a row is $e^{-y_i F_i} = |g_i|$. With more than two classes each round grows one tree
# for each class, on the derivatives of the softmax loss.)
#
# ### 6.6 `histogram_split` · essential · level 3 of 4 · 22 min
#
# Boosting grows hundreds of trees on the same $X$, and each node of each tree sorts $d$ columns again. Histograms need
# no sorting. They find a slightly worse split. Cut each column once into $B \le 256$ **bins** that hold about equally
# many rows, and keep only the number of the bin: one byte in place of eight. A node's **histogram** holds, for each
# column and bin, the number of rows, $G$ and $H$. One pass over the rows of the node fills it, without sorting. From
# there the best cut between bins takes $O(dB)$, however many rows there are.
#
# (Missing values: LightGBM and scikit-learn give them a bin of their own, XGBoost takes the difference to the node's
# sums. All three try both directions. Here $X$ has none.)
#
# How much worse is the split? A cut can only lie on an edge between two bins. At the root, in a column without repeats,
# there is an edge less than one bin from the best threshold, so fewer than about $m / B$ rows lie between them. A small
# node deep in the tree may lie in few bins, and loses more. Where each value has a bin of its own, nothing is lost.
#
# The bins of $X$ are made by `to_bins`, which is given. You write the histograms, and the search.


# %% tags=["setup"]
def to_bins(X: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """The bin of every entry of X: b where edges[j][b - 1] < X[i, j] <= edges[j][b].

    X: (m, d), m >= 0, numbers of any kind, compared in float64. edges: d arrays of 0 to 255 rising
    numbers (k edges make k + 1 bins); values up to the first edge are in bin 0, those beyond the
    last one in bin k.
    So "bin <= b" and "x <= edges[b]" are the same question.
    Returns (m, d), integers (uint8), a new array; no other (m, d) array is made. Leaves X and edges
    as they are. Raises ValueError where X holds a nan, and for more than 255 edges.
    """
    codes = np.empty(X.shape, dtype=np.uint8)
    for j, cuts in enumerate(edges):
        if len(cuts) > 255 or np.isnan(X[:, j]).any():
            raise ValueError("more than 255 edges, or a missing value")
        codes[:, j] = np.searchsorted(cuts, X[:, j], side="left")  # compares in float64
    return codes


# %% exercise="histogram_split" points=3 minutes=22 forbids=["sklearn"] trains=["sums that update in constant time", "second-order approximation"]
def histograms(codes: np.ndarray, g: np.ndarray, h: np.ndarray, bins: int) -> np.ndarray:
    """For each column and bin: the number of rows, the sum of g, the sum of h.

    codes: (m, d), m >= 0, integers of any kind from 0 to bins - 1. g, h: (m,), numbers of any kind,
    added up in float64. Returns (d, bins, 3) float64, a new array.
    O(d (m + bins)) time; O(m + d · bins) memory, so one column at a time. (Tested with 8 million
    codes of one byte each, and 16 MB besides them.) Leaves its arguments as they are.
    """
    ### BEGIN SOLUTION
    hist = np.empty((codes.shape[1], bins, 3))
    for j in range(codes.shape[1]):
        for channel, weights in enumerate((None, g, h)):
            hist[j, :, channel] = np.bincount(codes[:, j], weights=weights, minlength=bins)
    return hist
    ### END SOLUTION


def histogram_split(hist: np.ndarray, penalty: float = 0.0, min_leaf: int = 1) -> tuple[int, int, float] | None:
    """The best cut between bins: rows in the bins 0 to b of a column go left, all others right.

    hist: (d, bins, 3), floats, added up in float64: rows, G and H of each bin, as `histograms`
      makes them, or a sum of such arrays. The rows of a column add up to those of any other column.
      Each H is 0 or at least 1e-9 of its column's sum; where H is 0, G is 0.
    penalty: lambda >= 0. min_leaf >= 1: each side has at least min_leaf rows.

    gain = G_L^2 / (H_L + penalty) + G_R^2 / (H_R + penalty) - G^2 / (H + penalty), in which a term
      with H + penalty = 0 counts 0.
    Returns (feature, b, gain), a Python int, int and float. Where several cuts have the largest
    gain (up to rounding), any of them. None where no cut is possible or no gain is above 0. Where only
    rounding decides that, both answers are right.
    Time and memory O(d · bins), whatever the number of rows. Leaves hist as it is.
    Not allowed, in both functions: sklearn.
    """
    ### BEGIN SOLUTION
    hist = np.asarray(hist, dtype=np.float64)
    left = np.cumsum(hist, axis=1)  # (d, bins, 3): what goes left for each cut
    right = hist.sum(axis=1, keepdims=True) - left

    def saved(side):
        weight = side[..., 2] + penalty
        return side[..., 1] ** 2 / np.where(weight > 0, weight, np.inf)

    gains = saved(left) + saved(right) - saved(left + right)
    gains[(left[..., 0] < min_leaf) | (right[..., 0] < min_leaf)] = 0.0
    if not (gains > 0).any():
        return None
    feature, cut = np.unravel_index(gains.argmax(), gains.shape)
    return int(feature), int(cut), float(gains[feature, cut])
    ### END SOLUTION


# %% [markdown] hints="histogram_split"
# <details><summary>Hint 1: histograms</summary>
#
# `np.bincount(code, weights=g, minlength=bins)` adds up g by bin, in one pass; without weights it counts. Do it for one
# column at a time.
# </details>
# <details><summary>Hint 2: the cut</summary>
#
# What lies left of each cut is a running sum over the bins: `left = np.cumsum(hist, axis=1)`. The rest lies right. You
# look for the largest gain among d (bins - 1) cuts.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# `left = np.cumsum(hist, axis=1)` and `right = hist.sum(axis=1, keepdims=True) - left`, each (d, bins, 3). Compute all
# gains at once, set those with too few rows on a side to −inf, and find the largest with `argmax` and
# `np.unravel_index`.
# </details>

# %% check="histogram_split"
with check("histogram_split", forbids=["sklearn"]):
    codes = to_bins(np.array([[0.0], [1.0], [1.5], [9.0]]), [np.array([1.0, 2.0])])  # bins 0, 0, 1 and 2
    g, h = np.array([-3.0, -1.0, -1.0, 3.0]), np.array([1.0, 1.0, 1.0, 2.0])
    with expect_unchanged(codes=codes, g=g, h=h):
        hist = histograms(codes, g, h, bins=3)
    expect_close(hist, [[[2, -4, 2], [1, -1, 1], [1, 3, 2]]], rtol=1e-12)
    # G = -2, H = 5. After bin 0: 16/3 + 4/4 - 4/6. After bin 1: 25/4 + 9/3 - 4/6, the larger one.
    expect_close(
        histogram_split(hist, penalty=1.0),
        (0, 1, 25 / 4 + 9 / 3 - 4 / 6),
        rtol=1e-12,
        mistakes={
            "You left out the penalty.": (0, 1, 25 / 3 + 9 / 2 - 4 / 5),
            "You left out the loss of the node before the split.": (0, 1, 25 / 4 + 9 / 3),
        },
    )
    cut = histogram_split(hist, penalty=1.0, min_leaf=2)
    expect_close(cut[:2], (0, 0), hint="the right side had only one row")
    if not all(isinstance(part, kind) for part, kind in zip(cut, (int, int, float), strict=True)):
        raise AssertionError("return a Python int, int and float: int(...) and float(...) make them")
    if histogram_split(np.ones((1, 2, 3)), penalty=1.0) is not None:
        raise AssertionError("1/2 + 1/2 - 4/3 is below 0: no gain is above 0, so return None")

# %% [markdown]
# How many bins are enough? Take $g = -y$ and $h = 1$, so that the gain is that of `best_split`. Left, the share of the
# best gain that is lost on Friedman's data, at the root and, on average, at the nodes further down (of a tree of
# scikit-learn's, with edges from all rows). Small nodes lose more. Right, the gain of every cut of the root's best
# column, and the cuts that 16 bins can make. Below, a column of 200 values with 200 bins: both searches find the same
# split.

# %% tags=["demo"]
m, bin_counts = demo_size(full=20_000, small=2000), [2, 4, 8, 16, 32, 64, 128, 256]
draws, lost = demo_size(full=4, small=2), {}
data = [friedman(m, seed) for seed in range(draws)]
codes = [[to_bins(X, [bin_edges(x, bins) for x in X.T]) for bins in bin_counts] for X, _ in data]
for depth in demo_size(full=[0, 3, 6], small=[0, 2]):
    shares = []
    for (X, y), codes_of in zip(data, codes, strict=True):
        peer = DecisionTreeRegressor(max_depth=depth, min_samples_leaf=40) if depth else None
        node = peer.fit(X, y).apply(X) if peer else np.zeros(m, dtype=int)
        for number in np.unique(node):
            rows = np.flatnonzero(node == number)
            g, h = y[rows].mean() - y[rows], np.ones(len(rows))
            cuts = [
                histogram_split(histograms(table[rows], g, h, bins), min_leaf=20)
                for table, bins in zip(codes_of, bin_counts, strict=True)
            ]
            exact = best_split(X[rows], y[rows, None], 20)[3]
            shares.append([1 - (cut[2] if cut else 0.0) / exact for cut in cuts])
    mean = np.mean(shares, axis=0)
    lost[f"depth {depth}: $B^{{{scaling.exponent(bin_counts, mean):.1f}}}$"] = (bin_counts, mean)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
plotting.curves(
    lost,
    xlabel="bins B",
    ylabel="share of the best gain that is lost",
    title="Finer bins lose less, small nodes more",
    logx=True,
    logy=True,
    ax=left,
)
left.set_xticks(bin_counts, bin_counts, minor=False)
left.set_xticks([], minor=True)
X, y = data[0]
feature, threshold, _, _ = best_split(X, y[:, None])
x = X[:, feature]
sums, i = np.cumsum((y - y.mean())[np.argsort(x)])[:-1], np.arange(1, m)
right.plot(np.sort(x)[:-1], sums**2 * m / (i * (m - i)), label="every threshold")
edges = bin_edges(x, 16)
hist = histograms(to_bins(x[:, None], [edges]), y.mean() - y, np.ones(m), 16)
n_left, G_left, _ = hist[0].cumsum(axis=0)[: len(edges)].T
right.plot(edges, G_left**2 * m / (n_left * (m - n_left)), "s", label="edges of 16 bins")
right.axvline(threshold, color="k", lw=1)
right.set(xlabel=f"threshold for x{feature}", ylabel="gain", title=f"The best threshold is {threshold:.3f}")
right.legend()
plt.show()
few = np.random.default_rng(4).integers(0, 200, m) / 8
edges = bin_edges(few, 200)
_, cut, gain = histogram_split(histograms(to_bins(few[:, None], [edges]), y.mean() - y, np.ones(m), 200))
_, threshold, _, exact_gain = best_split(few[:, None], y[:, None])
print(f"200 values: bins give x ≤ {edges[cut]} and gain {gain:.6f}, sorting gives x ≤ {threshold} and {exact_gain:.6f}")

# %% [markdown]
# ### 6.7 `gradient_boosting` · essential · level 4 of 4 · 25 min
#
# You have all parts now. A round asks for $g$ and $h$ at the present $F$, grows a tree on the bins with
# `histogram_split` as its search, sets each leaf to $-\eta\, G / (H + \lambda)$, and adds the tree to $F$. The learning
# rate $\eta$ makes the steps small on purpose. One full step also fits the noise; after small steps, later trees can
# still correct it.
#
# `grow_tree` need not know what $g$ and $h$ are. Give it the two columns $(g, h)$ as targets. It returns their means in
# every node, so $G$ and $H$ are these means times the number of rows. What comes before the rounds is given, and so is
# `with_edges`, for the time after a tree is grown.


# %% tags=["setup"]
def with_edges(tree: dict[str, np.ndarray], edges: list[np.ndarray]) -> dict[str, np.ndarray]:
    """A tree that asks about bins, made to ask about numbers: thresholds are edges[feature][bin].

    tree: arrays as `grow_tree` returns them, grown on to_bins(X, edges); not modified.
    """
    threshold = tree["threshold"].copy()
    for node in np.flatnonzero(tree["children_left"] != -1):
        threshold[node] = edges[tree["feature"][node]][int(threshold[node])]
    return tree | {"threshold": threshold}


# %% exercise="gradient_boosting" points=4 minutes=25 forbids=["sklearn"] trains=["ensembles", "second-order approximation"]
def gradient_boosting(
    X: np.ndarray,
    y: np.ndarray,
    derivatives: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
    rounds: int,
    lr: float = 0.1,
    max_depth: int = 3,
    bins: int = 255,
    penalty: float = 1.0,
    min_leaf: int = 20,
    start: float = 0.0,
) -> list[dict[str, np.ndarray]]:
    """Trees whose predictions, added to `start`, lower the loss: boosting on histograms.

    X: (m, d), numbers of any kind, none missing. y: (m,), handed to `derivatives` as it is.
    derivatives(y, F) -> (g, h), (m,) each, h >= 0: first and second derivative of each row's loss.
      F is a new (m,) float64 array at each call, and derivatives may write to it. Called exactly
      `rounds` times, once before each tree.
    rounds >= 0 trees. 2 <= bins <= 256. penalty >= 0. max_depth >= 0. F begins as `start`.

    Each column is cut once, by bin_edges(X[:, j], bins). Each tree splits by `histogram_split` with
    this penalty and min_leaf, at most max_depth questions deep. Each of its leaves adds
    -lr * G / (H + penalty), 0 where H + penalty = 0, to the F of its rows.

    Returns a list of `rounds` trees, each with the arrays of `grow_tree`: thresholds are numbers in
    the units of X (edges, not bins), and value (N, 1) is what a leaf adds, learning rate included.
    So start + sum of predict_tree(tree, X)[:, 0] is the model, for any X. In inner nodes value is the
    same formula, or any other number.

    Besides X there are at most two arrays of its shape, of one byte an entry. (Tested with 40,000
    rows and 50 columns, 16 MB, and 18 MB besides them.) Leaves its arguments
    and what `derivatives` returns as they are. Raises ValueError unless 2 <= bins <= 256.
    Not allowed: sklearn.
    """
    if not 2 <= bins <= 256:
        raise ValueError("bins must be from 2 to 256")
    edges = [bin_edges(X[:, j], bins) for j in range(X.shape[1])]
    codes = to_bins(X, edges)
    trees, F = [], np.full(len(y), float(start))
    ### BEGIN SOLUTION

    def split(codes, derived, min_leaf):
        found = histogram_split(histograms(codes, derived[:, 0], derived[:, 1], bins), penalty, min_leaf)
        return found and (found[0], found[1], False, found[2])

    for _ in range(rounds):
        g, h = derivatives(y, F.copy())
        tree = grow_tree(codes, np.column_stack([g, h]), max_depth, min_leaf, split)
        G, H = (tree["value"] * tree["n_node_samples"][:, None]).T
        weight = H + penalty
        tree["value"] = -lr * (G / np.where(weight > 0, weight, np.inf))[:, None]
        F += predict_tree(tree, codes)[:, 0]
        trees.append(with_edges(tree, edges))
    ### END SOLUTION
    return trees


# %% [markdown] hints="gradient_boosting"
# <details><summary>Hint 1: what the trees see</summary>
#
# All trees grow on `codes`, the bytes, with the columns `np.column_stack([g, h])` as targets. Neither `codes` nor
# `edges` changes from round to round.
# </details>
# <details><summary>Hint 2: the split</summary>
#
# Give `grow_tree` a `split(codes, targets, min_leaf)` that calls `histograms` and `histogram_split`, and turns
# (feature, bin, gain) into (feature, bin, False, gain). On bins, "x ≤ threshold" is "bin ≤ b".
# </details>
# <details><summary>Hint 3: after each tree</summary>
#
# `G, H = (tree["value"] * tree["n_node_samples"][:, None]).T`, and the new value is `-lr * G / (H + penalty)`, shape
# (N, 1), 0 where H + penalty is 0. Add `predict_tree(tree, codes)[:, 0]` to F while the thresholds are still bins, and
# append `with_edges(tree, edges)`. Hand `F.copy()` to `derivatives`.
# </details>

# %% check="gradient_boosting"
with check("gradient_boosting", forbids=["sklearn"]):
    X, y = np.array([[1.0], [2.0], [3.0], [4.0]]), np.array([0.0, 0.0, 4.0, 6.0])
    settings = {"lr": 0.5, "max_depth": 1, "penalty": 1.0, "min_leaf": 1}
    with expect_unchanged(X=X, y=y):
        trees = gradient_boosting(X, y, squared, rounds=2, **settings)
    # Round 1: the cut is at 2.5; right of it G = -10, H = 2, so the leaf adds 0.5 · 10 / (2 + 1) = 5/3.
    # Round 2: G = -(4 - 5/3) - (6 - 5/3) = -20/3, so it adds 0.5 · (20/3) / 3 = 10/9.
    expect_close(len(trees), 2)
    expect_close(
        predict_tree(trees[0], X)[:, 0],
        [0, 0, 5 / 3, 5 / 3],
        rtol=1e-12,
        mistakes={
            "You left out the learning rate.": [0, 0, 10 / 3, 10 / 3],
            "You left out the penalty.": [0, 0, 5 / 2, 5 / 2],
            "The step goes uphill: a leaf adds -G / (H + penalty).": [0, 0, -5 / 3, -5 / 3],
        },
    )
    expect_close(
        predict_tree(trees[1], X)[:, 0],
        [0, 0, 10 / 9, 10 / 9],
        rtol=1e-12,
        hint="the second tree sees the derivatives at the new F",
    )
    expect_close(trees[0]["threshold"][0], 2.5, hint="a threshold is an edge, in the units of X")
    none = gradient_boosting(X, y, squared, rounds=1, start=2.0, **(settings | {"penalty": 0.0, "max_depth": 0}))
    expect_close(none[0]["value"], [[0.25]], rtol=1e-12, hint="a single leaf: half of 2.5 - 2")
    # At F = 0 the logistic loss has h = 1/4: with y = 1 in four rows G = -2 and H = 1.
    (one,) = gradient_boosting(X, np.ones(4), logistic, rounds=1, lr=0.5, max_depth=0, penalty=0.0)
    expect_close(one["value"], [[1.0]], rtol=1e-12, hint="0.5 · 2 / 1: the second derivatives matter")
    # G = -3 and -4: two leaves save 9/2 + 16/2 with the penalty 1, less than 49/3 for one leaf.
    (whole,) = gradient_boosting(X[:2], np.array([3.0, 4.0]), squared, rounds=1, **settings)
    expect_close(whole["value"], [[0.5 * 7 / 3]], rtol=1e-12, hint="the search needs the penalty, too")

# %% [markdown]
# Left, a curve that is fitted by trees of depth 2, after a few rounds. Right, the error on Friedman's fresh rows for
# three learning rates, the smaller ones for more rounds. With the largest rate the error falls fast and stays at a
# higher level. How many rounds are enough? Hold out some rows, and stop when their error no longer falls (**early
# stopping**). The crosses are scikit-learn's `HistGradientBoostingRegressor` with the same settings, in the same run.
# The line at 1 is the noise: no model has a smaller error on average.

# %% tags=["demo"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
draw = np.random.default_rng(1)
x = np.sort(draw.random(150))
y = np.sin(6 * x) + 0.25 * draw.standard_normal(150)
grid = np.linspace(0, 1, 400)[:, None]
trees = gradient_boosting(x[:, None], y, squared, 40, lr=0.3, max_depth=2, penalty=0.0, min_leaf=5)
left.plot(x, y, ".", color=plotting.MUTED)
for used, style in ((1, ":"), (4, "--"), (40, "-")):
    curve = sum(predict_tree(tree, grid)[:, 0] for tree in trees[:used])
    left.plot(grid, curve, style, label=f"{used} round" + "s" * (used > 1))
left.set(xlabel="x", ylabel="y", title="Each tree corrects the sum of those before")
left.legend()
X, y = friedman(demo_size(full=1000, small=300), 0)
fresh_X, fresh_y = friedman(2000, 1)
margin = []
for lr, rounds, style in (
    (0.6, demo_size(full=100, small=20), ":"),
    (0.2, demo_size(full=200, small=40), "--"),
    (0.05, demo_size(full=500, small=250), "-"),
):
    settings = {"max_depth": 3, "penalty": 1.0, "min_leaf": 20, "start": float(y.mean())}
    trees = gradient_boosting(X, y, squared, rounds, lr=lr, **settings)
    path = y.mean() + np.cumsum([predict_tree(tree, fresh_X)[:, 0] for tree in trees], axis=0)
    error = np.sqrt(np.mean((path - fresh_y) ** 2, axis=1))
    right.plot(np.arange(1, rounds + 1), error, style, label=f"learning rate {lr}")
    with threadpool_limits(limits=1):
        peer = HistGradientBoostingRegressor(
            learning_rate=lr,
            max_iter=rounds,
            max_depth=3,
            l2_regularization=1.0,
            max_leaf_nodes=None,
            early_stopping=False,
        ).fit(X, y)
    peer_error = np.sqrt(np.mean((peer.predict(fresh_X) - fresh_y) ** 2))
    right.plot(rounds, peer_error, "x", color="k", markersize=8, label="scikit-learn" if lr == 0.05 else None)
    margin.append(abs(error[-1] / peer_error - 1))
right.axhline(1, color=plotting.MUTED, lw=1)
right.set(xlabel="rounds", ylabel="error on fresh rows (RMSE)", title="Small steps reach a lower error, later")
right.set(xscale="log")
right.legend()
plt.show()
print(f"at the ends of the curves, yours and scikit-learn's errors differ by at most {max(margin):.2%}")

# %% [markdown]
# Back to the moons of the first figure, now with the logistic loss: the same function, another `derivatives`. The sum
# of the trees is $F$, and a point is in class 1 where $F > 0$. Left, large steps ($\eta = 1$), leaves of one row and no
# penalty learn the noise again. Middle, small steps, larger leaves and $\lambda = 1$. Right, the largest step of a leaf
# in each round, with $\eta = 1$ and leaves of one row. Without a penalty some steps are huge, as the text before 6.6
# says.

# %% tags=["demo"]
fresh = datasets.moons(demo_size(full=4000, small=400), noise=0.35, seed=7)
bold = {"lr": 1.0, "max_depth": 3, "min_leaf": 1}
models = {
    "η = 1, λ = 0": gradient_boosting(moons.X, moons.y, logistic, 20, penalty=0.0, **bold),
    "η = 0.1, λ = 1": gradient_boosting(moons.X, moons.y, logistic, 50, lr=0.1, max_depth=3, min_leaf=10),
    "η = 1, λ = 1": gradient_boosting(moons.X, moons.y, logistic, 20, penalty=1.0, **bold),
}


def in_class_1(trees, X):
    return (sum(predict_tree(tree, X)[:, 0] for tree in trees) > 0).astype(int)


figure, axes = plt.subplots(1, 3, figsize=(13, 4.2))
for ax, name in zip(axes, list(models)[:2], strict=False):
    error = np.mean(in_class_1(models[name], fresh.X) != fresh.y)
    title = f"{name}: error on fresh rows {error:.1%}"
    plotting.decision_regions(lambda P, name=name: in_class_1(models[name], P), moons.X, moons.y, title=title, ax=ax)
steps = {name: [np.abs(tree["value"]).max() for tree in models[name]] for name in ("η = 1, λ = 0", "η = 1, λ = 1")}
plotting.curves(
    {name: (np.arange(1, 21), step) for name, step in steps.items()},
    xlabel="round",
    ylabel="largest step of a leaf",
    title="λ limits the steps",
    logy=True,
    ax=axes[2],
)
axes[2].set_xticks(range(0, 21, 5))
plt.show()

# %% [markdown]
# ## Scale it
#
# ### 6.8 `merge_histograms` · essential · level 3 of 4 · 23 min
#
# The rows lie on many machines, or in a file that is larger than memory. Which numbers must travel?
#
# A histogram is a sum over rows, so **histograms merge**: add those of the parts, and `histogram_split` finds the split
# of the whole. The counts are whole numbers below $2^{53}$, so they are equal bit for bit. The sums of floats are added
# in another order, so they may differ in the last digits, by at most $m \epsilon \sum_i |g_i|$ with
# $\epsilon = 2.2 \cdot 10^{-16}$. XGBoost and LightGBM merge histograms like this for each node of each tree. Each
# machine sends $24\, d B$ bytes per node (three numbers of 8 bytes for each bin), however many rows it has.
#
# But all parts must use the same edges, and quantiles of the parts do not add up to quantiles of the whole. So one pass
# comes before. Each part sends a **summary** of each column: at most $s$ values with weights, which say how many rows
# each value stands for. Sort the part's column of $n$ rows, cut it into $s$ blocks of equally many rows, and keep the
# middle row of each block with the weight $n / s$.
#
# How many rows are $\le t$? Blocks that lie on one side of $t$ are counted right. Only the block that holds $t$ is not,
# and it is wrong by at most half its rows, $n / 2s$. Put the summaries of all parts together: part $q$ with $n_q$ rows
# is wrong by at most $n_q / 2s$, and the sum of these errors is at most $\sum_q n_q / 2s = m / 2s$. As a share of the
# rows this is $1 / 2s$, for one part as for a thousand. (Blocks of whole rows cannot always be equal. This adds at most
# one row for each part.)
#
# Now cut the merged summary at the values where its running sum reaches $m/B$, $2m/B$, ... The sum jumps there, by the
# weight $n_q / s$ of the value. This does no harm: the value is the middle of its own block, so its part counts $n_q /
# 2s$ rows too many at the value and as many too few just below it. The jump is these two together, so the target lies
# within the same error. Both ends of a bin are wrong by at most $m / 2s$ rows. So, in a column without repeats, the
# rows of a bin differ from $m / B$ by at most $m / s$ (and a row or so for each part). Equal rows stay together: if a
# third of the rows has one value, its bin has a third of the rows, whatever $s$ is.
#
# You write the summary and the two passes. `merged_edges`, which cuts the merged summary, is given.


# %% tags=["setup"]
def merged_edges(summaries: Iterable[tuple[np.ndarray, np.ndarray]], bins: int) -> np.ndarray:
    """Edges for one column from the summaries of its parts, as `summarise` makes them.

    A summary may be empty. bins >= 2. Returns at most bins - 1 edges, float64, rising. Where all
    summaries together have at most `bins` distinct values, the edges lie half-way between these,
    as those of `bin_edges`.
    Otherwise, with W the sum of all weights, the edges are the values at which the running sum of
    the weights reaches W/bins, 2W/bins, ... (up to rounding), repeats left out; the largest value
    of all is no edge.
    """
    parts = list(summaries)
    values, weights = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    distinct, which = np.unique(values, return_inverse=True)
    if len(distinct) <= bins:
        return bin_edges(distinct, bins)
    reached = np.cumsum(np.bincount(which, weights=weights))
    targets = reached[-1] * np.arange(1, bins) / bins
    at = np.searchsorted(reached, targets * (1 - 1e-12))  # a sum of floats may fall just short of its target
    return distinct[np.unique(at[at < len(distinct) - 1])]


# %% exercise="merge_histograms" points=3 minutes=23 forbids=["sklearn"] trains=["summaries that merge"]
def summarise(x: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `size` values of one column, and how many rows each stands for.

    x: (n,), n >= 0, finite numbers of any kind, in any order. size >= 1.
    Returns (values, weights), (k,) float64 each, k <= size, values rising and without repeats, each
    of them in x; weights positive, their sum n. For every t, the weights of the values <= t add up
    to the number of rows <= t within n / (2 size) + 1. Where x has at most `size` distinct values,
    the summary holds all of them, and the weights are their exact counts. Leaves x as it is.
    """
    ### BEGIN SOLUTION
    x = np.sort(np.asarray(x, dtype=np.float64))
    values, counts = np.unique(x, return_counts=True)
    if len(values) <= size:
        return values, counts.astype(np.float64)
    middles = ((np.arange(size) + 0.5) * len(x) / size).astype(np.int64)
    values, counts = np.unique(x[middles], return_counts=True)
    return values, counts * (len(x) / size)
    ### END SOLUTION


def merge_histograms(
    parts: Callable[[], Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]], bins: int, size: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Bin edges and the histogram of all rows, in two passes over parts that never meet.

    parts() yields tuples (X, g, h), anew at each call: X (n, d), g (n,), h (n,), numbers of any
      kind. n may differ from part to part, and may be 0; d may not. There is at least one part.
      It is called exactly twice: for the summaries, with at most `size` values for each column of
      each part, and for the histograms. 2 <= bins <= 256.
    Returns (edges, hist): for each column the edges from `merged_edges`, and the sum over the parts
    of `histograms`, (d, bins, 3) float64.
    Memory: at most three parts at a time, however many there are, and the summaries. (Tested with
    ten parts of 3.2 MB and 20 MB in all. Lists or dictionaries of all values of a part do not fit:
    they take several times the memory of the array.) Leaves the parts as they are.
    Not allowed, in both functions: sklearn.
    """
    ### BEGIN SOLUTION
    summaries = [[summarise(x, size) for x in X.T] for X, _, _ in parts()]
    edges = [merged_edges(column, bins) for column in zip(*summaries, strict=True)]
    hist = np.zeros((len(edges), bins, 3))
    for X, g, h in parts():
        hist += histograms(to_bins(X, edges), g, h, bins)
    return edges, hist
    ### END SOLUTION


# %% [markdown] hints="merge_histograms"
# <details><summary>Hint 1: a summary</summary>
#
# `np.unique(x, return_counts=True)` is the exact summary. If it is too long, the middle of block i of the sorted column
# is row `int((i + 0.5) * n / size)`. Equal middles become one value: `np.unique` again, counts times n / size.
# </details>
# <details><summary>Hint 2: what to keep</summary>
#
# Of a part, the first pass keeps its d summaries and nothing else. `merged_edges` takes the summaries of *one* column,
# from all parts. In the second pass you add up what `histograms` says of each part's bins.
# </details>
# <details><summary>Hint 3: two passes</summary>
#
# First `[[summarise(x, size) for x in X.T] for X, _, _ in parts()]`. Then the edges, column by column
# (`zip(*summaries)`). Then go through `parts()` again and add up
# `histograms(to_bins(X, edges), g, h, bins)`.
# </details>

# %% check="merge_histograms"
with check("merge_histograms", forbids=["sklearn"]):
    x = np.array([1.0, 2, 1000, 3, 4, 5, 7, 6])
    with expect_unchanged(x=x):
        values, weights = summarise(x, size=2)
    assert len(values) <= 2, "at most two values stand for the eight rows"
    expect_close(weights.sum(), 8.0, rtol=1e-12)
    for t in x:
        if not abs(weights[values <= t].sum() - np.sum(x <= t)) <= 8 / (2 * 2) + 1:
            raise AssertionError("the weights of the values <= t are off by more than n / (2 size) + 1 = 3 rows")
    values, weights = summarise(np.arange(100), size=4)  # 100 / 8 + 1 = 13.5
    for t in (0, 24, 25, 49, 99):
        if not abs(weights[values <= t].sum() - (t + 1)) <= 13.5:
            raise AssertionError("of 100 rows, let each value stand for the 25 rows around it")
    expect_close(summarise(np.array([2.0, 1.0, 2.0]), 2), ([1.0, 2.0], [1.0, 2.0]), hint="few values: exact counts")
    rows = [
        (np.array([[1.0], [2.0]]), np.array([1.0, -1.0]), np.ones(2)),
        (np.array([[3.0]]), np.array([5.0]), np.ones(1)),
    ]
    calls = []
    edges, hist = merge_histograms(lambda: calls.append(0) or iter(rows), bins=3, size=10)
    expect_close(edges, [[1.5, 2.5]], hint="three values, three bins: half-way between the values of both parts")
    expect_close(hist, [[[1, 1, 1], [1, -1, 1], [1, 5, 1]]], rtol=1e-12)
    expect_close(len(calls), 2, hint="two passes over the parts")

# %% [markdown]
# Left, how far the bins are from equal: the largest difference between the rows of a bin and $m/B$, for summaries of
# $s$ values. The error stays below the bound $1/s$, whatever the number of parts; single curves wander. Right, bytes: what one
# machine sends for 30 columns, against its rows. Rows would be sent once, as numbers or as bins; summaries are sent
# once, too, but histograms for every node of every tree. A hundred trees of depth 6 have 6,300 inner nodes: to send
# their histograms is worth it only where the line of the rows has crossed it: at several million rows a machine if a
# number takes 8 bytes, at tens of millions if a bin takes one.

# %% tags=["demo"]
m, bins = demo_size(full=64_000, small=25_600), 16
x = np.random.default_rng(2).lognormal(size=m)
summary_sizes = demo_size(full=[32, 64, 128, 256, 512], small=[32, 64, 128])
uneven = {}
for count in (1, 8, 64):
    uneven[f"{count} part" + "s" * (count > 1)] = worst = []
    for size in summary_sizes:
        edges = merged_edges([summarise(piece, size) for piece in np.array_split(x, count)], bins)
        rows = histograms(to_bins(x[:, None], [edges]), x, x, bins)[0, :, 0]
        worst.append(np.abs(rows - m / bins).max() / m)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
lines = {
    f"{name}: $s^{{{scaling.exponent(summary_sizes, worst):.2f}}}$": (summary_sizes, worst)
    for name, worst in uneven.items()
}
lines["bound, 1/s"] = (summary_sizes, 1 / np.array(summary_sizes))
plotting.curves(
    lines,
    xlabel="values in a summary, s",
    ylabel="largest error of a bin / m",
    title="The error stays below the bound",
    logx=True,
    logy=True,
    ax=left,
)
left.set_xticks(summary_sizes, summary_sizes, minor=False)
left.set_xticks([], minor=True)
rows_each = np.array([10**4, 10**5, 10**6, 10**7, 10**8])
plotting.curves(
    {
        "rows, 8 bytes per number": (rows_each, rows_each * 8 * 30),
        "rows, one byte per bin": (rows_each, rows_each * 30),
        "histograms of 100 trees": (rows_each, np.full(5, 6300 * 30 * 255 * 24)),
        "summaries of 1024 values": (rows_each, np.full(5, 30 * 1024 * 16)),
    },
    xlabel="rows on a machine",
    ylabel="bytes",
    title="Histograms do not grow with the rows",
    logx=True,
    logy=True,
    ax=right,
)
plt.show()

# %% [markdown]
# ### Many parts, two passes
#
# Here parts are made, counted and dropped, one after another, so the rows are never in memory together. Then the same
# split is searched with all rows in one place, by `histogram_split` with the same edges and by `best_split`.

# %% tags=["demo"]
count, rows_each = demo_size(full=40, small=5), demo_size(full=10_000, small=2000)


def stream():
    """Parts of Friedman's data with the derivatives of the squared error at F = 14."""
    for number in range(count):
        X, y = friedman(rows_each, 100 + number)
        yield X, 14 - y, np.ones(len(y))


edges, merged = merge_histograms(stream, bins=255, size=512)
feature, cut, gain = histogram_split(merged)
print(f"{count} parts of {rows_each:,} rows; a part has {rows_each * 12 * 8:,} bytes, and sends")
print(f"{10 * 512 * 16:,} bytes of summaries and {merged.nbytes:,} bytes of histograms")
print(f"merged:                  x{feature} ≤ {edges[feature][cut]:.4f}, gain {gain:,.1f}")
X, g, h = (np.concatenate(column) for column in zip(*stream(), strict=True))
whole = histograms(to_bins(X, edges), g, h, 255)
feature, cut, gain = histogram_split(whole)
print(f"one place, same edges:   x{feature} ≤ {edges[feature][cut]:.4f}, gain {gain:,.1f}")
feature, threshold, _, gain = best_split(X, -g[:, None])
print(f"one place, every cut:    x{feature} ≤ {threshold:.4f}, gain {gain:,.1f}")
print(f"counts equal bit for bit: {np.array_equal(whole[..., 0], merged[..., 0])}", end="; ")
bound = len(g) * np.finfo(float).eps * np.abs(g).sum()
print(f"sums differ by at most {np.abs(whole[..., 1] - merged[..., 1]).max():.1e} (bound {bound:.1e})")

# %% [markdown]
# ### What it costs: bytes and comparisons
#
# Count first, since counts are the same on every machine. One tree of depth 6 is grown twice on the same rows: with the
# search that sorts, and with histograms. At each node a search reads the node's rows of every column. It sorts $n$
# values with about $n \log_2 n$ comparisons, or adds each row to its bin. The third line counts how many rows remain to
# be read if only the smaller child of each node is counted, and the larger child's histogram is the difference to its
# parent's (question 1 below). XGBoost and LightGBM do this.
#
# Look at the last line, too. The histograms of this one tree are *more* bytes than all the rows of this machine. Their
# size does not depend on the rows, so they are worth sending only from a machine with many more rows than here. A
# boosted model has many trees, and the rows would be sent only once.

# %% tags=["demo"]
m = demo_size(full=16_000, small=1000)
X, y = friedman(m, 0)
targets, asked = np.column_stack([y.mean() - y, np.ones(m)]), {"sorting": [], "histograms": []}


def by_sorting(part, targets, min_leaf):
    asked["sorting"].append(part)
    return best_split(part, targets[:, :1], min_leaf)


def by_histograms(part, targets, min_leaf):
    asked["histograms"].append(part)
    feature, cut, gain = histogram_split(histograms(part, *targets.T, 255), min_leaf=min_leaf) or (0, 0, 0.0)
    return (feature, cut, False, gain) if gain > 0 else None


grow_tree(X, targets, 6, 20, by_sorting)
tree = grow_tree(to_bins(X, [bin_edges(x, 255) for x in X.T]), targets, 6, 20, by_histograms)
for name, parts in asked.items():
    read = np.array([len(part) for part in parts])
    print(f"{name:11}{len(parts)} nodes, {read.sum() / m:.2f} times all rows,", end=" ")
    print(f"{sum(part.nbytes for part in parts):,} bytes of X,", end=" ")
    print(f"{10 * (read * np.log2(read)).sum() if name == 'sorting' else 0:,.0f} comparisons")
size, inner = tree["n_node_samples"], np.flatnonzero(tree["children_left"] >= 0)
smaller = np.minimum(size[tree["children_left"][inner]], size[tree["children_right"][inner]])
print(f"smaller children and the root only: {(m + smaller.sum()) / m:.2f} times all rows")
sent = len(asked["histograms"]) * 24 * 10 * 255
print(f"a machine sends {sent:,} bytes of histograms for this tree; its {m:,} rows are {X.nbytes:,} bytes")

# %% [markdown]
# ### What it costs: seconds
#
# All on one core. The sentences below hold for functions without a Python loop over the rows. First, one search at the
# root over 10 columns: sorted, and by histograms of known bins. The peer is scikit-learn's tree with a single question.
# Both sorted searches do the same work: sort a column, then add up. The histograms skip the sort, and on many rows they
# are several times as quick as both. Making the bins (the curve "bins, once") takes longer than one search, but it is
# done only once for all nodes of all trees. Theory says $m \log m$ for a sort and $m$ for histograms; exponents above 1
# have another reason, too: a large column no longer fits into the cache.
#
# Then whole models. On few rows scikit-learn's tree is several times as quick as yours: its loop over the nodes is
# compiled, while each of your nodes costs many calls of NumPy, however few rows it has. On many rows the work inside a
# node counts more than the calls, and the two come close. In boosting scikit-learn's model wins at each size that was
# run. One compiled loop fills the histograms of a node, row numbers are partitioned in place, and the larger child is a
# subtraction. The legends say by how much on this machine.

# %% tags=["demo"]
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.8))


def searched(m):
    X, y = friedman(m, 0)
    return X, y[:, None], to_bins(X, [bin_edges(x, 255) for x in X.T])


search = scaling.measure(
    {
        "best_split": lambda X, Y, codes: best_split(X, Y),
        "histogram_split": lambda X, Y, codes: histogram_split(histograms(codes, -Y[:, 0], np.ones(len(Y)), 255)),
        "bins, once": lambda X, Y, codes: to_bins(X, [bin_edges(x, 255) for x in X.T]),
        "scikit-learn, depth 1": lambda X, Y, codes: DecisionTreeRegressor(max_depth=1).fit(X, Y),
    },
    sizes=demo_size(full=[1000, 4000, 16_000, 64_000, 256_000], small=[500, 1000, 2000]),
    setup=searched,
    budget=demo_size(full=6.0, small=2.0),
    label="rows m",
    threads=1,
    memory=None,
)
search.plot(peer="scikit-learn, depth 1", ax=left)
left.set_title("One search over 10 columns")
settings = {"learning_rate": 0.1, "max_iter": 10, "max_depth": 4, "max_leaf_nodes": None, "early_stopping": False}
for ax, title, models in (
    (
        middle,
        "A tree of depth 6",
        {
            "grow_tree": lambda X, y: grow_tree(X, y[:, None], max_depth=6),
            "scikit-learn": lambda X, y: DecisionTreeRegressor(max_depth=6).fit(X, y),
        },
    ),
    (
        right,
        "Ten rounds of boosting",
        {
            "gradient_boosting": lambda X, y: gradient_boosting(X, y, squared, 10, max_depth=4),
            "HistGradientBoosting": lambda X, y: HistGradientBoostingRegressor(**settings).fit(X, y),
        },
    ),
):
    scaling.measure(
        models,
        sizes=demo_size(full=[1000, 4000, 16_000, 64_000], small=[500, 1000, 2000]),
        setup=lambda m: friedman(m, 0),
        budget=demo_size(full=4.0, small=1.5),
        label="rows m",
        threads=1,
        memory=None,
    ).plot(ax=ax)
    ax.set_title(title)
plt.show()

# %% [markdown]
# ### Forests against boosting, and where trees break
#
# A forest's trees are independent: $T$ machines can grow $T$ trees at the same time, and more trees do not overfit. In
# boosting a tree needs the trees before it. Only the work *inside* a tree is parallel, and for each level (or node) all
# machines wait until their histograms are added up. On the other hand its trees are shallow, and on tables of numbers
# and categories it often has the smaller error. The cell below prints both errors on Friedman's data.
#
# Where do trees break? A leaf predicts a mean of targets that it has seen. So no tree and no forest follows a trend
# beyond the last training row. The same holds for boosting: each of its trees adds a constant there.

# %% tags=["demo"]
X, y = friedman(demo_size(full=1000, small=300), 0)
trees, total, votes = random_forest(
    X, y[:, None], range(demo_size(full=20, small=5)), max_features=4, seed=0, min_leaf=3
)
boosted = gradient_boosting(X, y, squared, demo_size(full=200, small=20), max_depth=3, start=float(y.mean()))
fresh_X, fresh_y = friedman(2000, 1)
said = np.mean([predict_tree(tree, fresh_X)[:, 0] for tree in trees], axis=0)
added = y.mean() + sum(predict_tree(tree, fresh_X)[:, 0] for tree in boosted)
out_of_bag = np.sqrt(np.mean((total[votes > 0, 0] / votes[votes > 0] - y[votes > 0]) ** 2))
print(f"your forest of {len(trees)} trees, {sum(len(tree['value']) for tree in trees):,} nodes:", end=" ")
print(f"error {np.sqrt(np.mean((said - fresh_y) ** 2)):.2f} on fresh rows, {out_of_bag:.2f} out of bag")
print(f"your boosting, {len(boosted)} rounds, {sum(len(tree['value']) for tree in boosted):,} nodes:", end=" ")
print(f"error {np.sqrt(np.mean((added - fresh_y) ** 2)):.2f} on fresh rows. The noise is 1.00.")
x = np.linspace(0, 1, 100)
line = np.sin(12 * x) + 6 * x
wide = np.linspace(0, 1.6, 400)
forest, _, _ = random_forest(x[:, None], line[:, None], range(20), max_features=1, seed=1)
chain = gradient_boosting(x[:, None], line, squared, 100, max_depth=3, min_leaf=3, start=float(line.mean()))
plotting.curves(
    {
        "truth": (wide, np.sin(12 * wide) + 6 * wide),
        "forest": (wide, np.mean([predict_tree(tree, wide[:, None])[:, 0] for tree in forest], axis=0)),
        "boosting": (wide, line.mean() + sum(predict_tree(tree, wide[:, None])[:, 0] for tree in chain)),
    },
    xlabel="x",
    ylabel="y",
    title="Trained on x ≤ 1: beyond it, trees are constant",
).axvline(1, color=plotting.MUTED, lw=1)
plt.show()

# %% [markdown] written="which_trees" points=2
# **Written question (2 points).** A company predicts the price of used cars with a forest of 500 trees. The table has
# one row for each *offer*, and a car is offered several times. There is a column with the car's serial number, and one
# with its mileage (missing in a fifth of the rows, mostly where it is high). The out-of-bag error is excellent. A year
# later, with prices up by a third, the predictions are poor. Name every reason that you can find for the good
# out-of-bag error and for the poor predictions, and what you would do about each. The table grows to a thousand
# machines: would you keep the forest or boost, and which numbers would travel?
#
# ### BEGIN SOLUTION
# Out of bag is only fresh where rows are independent: another offer of the same car is in the bag, so the tree has seen
# the answer. Draw cars instead of rows (a bootstrap of groups), or hold out cars. The serial number offers a cut
# between any two cars: on training rows it always gains, and it finds cars again; leave it out. Offers of the same
# months are in and out of the bag, so the error says nothing about later months: hold out the last months. Trees
# predict means of prices that they saw, so they cannot follow a rise by a third: predict a ratio to a price index or
# the residual of a linear trend, and retrain. Missing mileage: keep it as missing with a learnt direction, because it
# says that the mileage is high; check that the reason for missing is the same next year. On a thousand machines: a
# forest needs rows where each tree grows (trees on local rows see only their part, which is biased if the parts
# differ), then no traffic except the trees. Boosting exchanges 24 d B bytes for each node and machine, plus one summary
# of each column at the start, and waits at each level; shallow trees, and usually the smaller error.
#
# ### RUBRIC
# - 0.5: Two reasons for the good error: another offer of the same car is in the bag, the serial number finds a car
#   again, offers of the same months are in the bag.
# - 0.5: A reason for the poor predictions, such as: a tree predicts means of prices that it saw, and cannot follow a
#   rise; mileage is now missing for other cars than before.
# - 0.5: A remedy for each reason that is named, such as drawing cars instead of rows, leaving out the serial number,
#   holding out the last months, predicting a ratio to a price index.
# - 0.5: A choice between forest and boosting with a reason that names what travels.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. The histogram of a node is the sum of its children's. Compute only the smaller child's, and get the other one by
#    subtraction. How much work does this save at best, and what happens to the last digits of $G$ after ten levels?
# 2. A column with 1,000 distinct values offers 999 cuts, a yes-or-no column offers one. On pure noise, which one is
#    chosen at the root, and how often? What does this do to importances that add up gains? (Module 22
#    measures importance in another way.)
# 3. For one-hot classes and $C = 2$, a categorical column with $q$ values has $2^{q-1} - 1$ splits into two groups, but
#    sorting the values by their share of class 1 leaves $q - 1$ to try (Breiman et al., 1984). Why is that enough?
# 4. LightGBM splits the leaf with the largest gain next, instead of growing level by level. With the same number of
#    leaves, which tree has the smaller training error? Which one needs a limit on its depth?
# 5. The summaries of this module give all rows the same weight. XGBoost weighs them by $h$. For which loss does this
#    matter, and which rows then get finer bins?
#
# References:
#
# - L. Breiman, J. H. Friedman, R. A. Olshen and C. J. Stone, *Classification and Regression Trees*, Wadsworth, 1984.
#   Where greedy trees, pruning and surrogate splits for missing values come from.
# - L. Hyafil and R. L. Rivest, "Constructing optimal binary decision trees is NP-complete", *Information Processing
#   Letters*, 1976. Why everybody is greedy, in three pages.
# - L. Breiman, "Random forests", *Machine Learning*, 2001. Correlation, out-of-bag estimates, and a bound.
# - J. H. Friedman, T. Hastie and R. Tibshirani, "Additive logistic regression: a statistical view of boosting", *Annals
#   of Statistics*, 2000. What AdaBoost minimises, and the Newton step of this module.
# - J. H. Friedman, "Greedy function approximation: a gradient boosting machine", *Annals of Statistics*, 2001. Boosting
#   as descent in function space, for any loss.
# - T. Chen and C. Guestrin, "XGBoost: a scalable tree boosting system", *KDD*, 2016. The second-order gain, default
#   directions for missing values, and the weighted quantile sketch.
# - G. Ke, Q. Meng, T. Finley, T. Wang, W. Chen, W. Ma, Q. Ye and T.-Y. Liu, "LightGBM: a highly efficient gradient
#   boosting decision tree", *NeurIPS*, 2017. Histograms, leaf-wise growth, and fewer rows and columns to count.
# - M. Greenwald and S. Khanna, "Space-efficient online computation of quantile summaries", *SIGMOD*, 2001. A summary
#   with a guarantee, which also works for a stream of unknown length.
# - L. Grinsztajn, E. Oyallon and G. Varoquaux, "Why do tree-based models still outperform deep learning on typical
#   tabular data?", *NeurIPS*, 2022. Where boxes are the right shape.
#
# At work: scikit-learn's `HistGradientBoosting*` on one machine, XGBoost or LightGBM (also on a GPU or a cluster, with
# Dask or Spark), CatBoost where many columns are categories.
