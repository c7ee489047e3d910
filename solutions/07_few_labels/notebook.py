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
# # 07 · Learning with few or no labels
#
# **What you will be able to do.** Find groups in rows that nobody has labelled, with k-means and with a mixture of
# Gaussians, and check after each step that the fit did not get worse. Find the few directions in which wide data vary,
# without ever centring or copying the data. Spread a few labels over the nodes of a large sparse graph. Say what each
# method assumes, and show a case in which the assumption fails. At the end you compute principal components from a
# stream that does not fit into memory.
#
# **You need** merging of means from module 00, matrix products and their cost from module 01, the falling learning rate
# of module 02, logsumexp from module 03; eigenvectors, the singular value decomposition, and an orthonormal basis by QR.
#
# **Skills it trains**: alternating minimisation, the EM algorithm, randomised linear algebra, sparse data structures,
# one-pass algorithms, summaries that merge.
#
# **Time**: about three hours for seven exercises (one of them is a bug to find), and 75 minutes for reading and for the
# figures. Two further exercises, 7.7 and 7.8, are extras: graded, but not added to your sum. They and the written answer are not
# counted in these times. Take a break after exercise 7.4. Each exercise says how important it is (essential, important,
# optional), its level, which is also its points (extras have none), and its minutes.
#
# **Symbols**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $m$, $d$ | `m`, `d` | | rows and columns of $X$ |
# | $X$, $x_i$ | `X` | $(m, d)$, $(d,)$ | the data, and row $i$ of it |
# | $k$ | `k` | | number of clusters, of Gaussians, or of principal components |
# | $c_j$ | `centers` | $(k, d)$, a row each | the centre of cluster $j$ |
# | $a_i$ | `labels` | $(m,)$ | the cluster of row $i$, a number from 0 to $k - 1$ |
# | $J$ | `history` | a number | k-means: sum of squared distances of the rows from the centres of their clusters |
# | $w_j$, $\mu_j$, $\Sigma_j$ | `weights`, `means`, `covariances` | $(k,)$, $(k, d)$, $(k, d, d)$ | weight, mean and covariance of Gaussian $j$ |
# | $R_{ij}$ | `R` | $(m, k)$ | probability, given row $i$, that it came from Gaussian $j$ |
# | $V$, $s$ | `components`, `s` | $(k, d)$, $(k,)$ | principal components (a row each) and their singular values; $s_1$ is `s[0]` |
# | $\bar x$, $X_c$ | `mean` | $(d,)$, $(m, d)$ | the mean of the rows, and $X$ with it subtracted from each row |
# | $\Omega$, $Q$ | `Q` | $(d, l)$, $(m, l)$ | a random matrix, and an orthonormal basis; $l = k +$ `oversample` |
# | $W$ | `W` | $(n, n)$ | weights of the edges of a graph with $n$ nodes, sparse, symmetric |
# | $C$, $F$ | `F` | $F$: $(n, C)$ | classes; $F_{ic}$ is how much class $c$ has reached node $i$ |

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    from lsml_utils import checking, datasets, demo_size, plotting, scaling
    from lsml_utils.checking import check, expect_close, expect_raises, expect_shape, expect_unchanged
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import itertools
import time
import warnings
from collections.abc import Callable, Iterable

import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, kneighbors_graph
from sklearn.semi_supervised import LabelPropagation
from threadpoolctl import threadpool_limits

plotting.use()
threadpool_limits(1)  # these matrices are small: two threads would mostly wait for each other
checking.start("07_few_labels", total=9)


def log_gaussian(X: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The logarithm of a Gaussian density at each row of X (m, d): (m,). covariance: (d, d), positive definite."""
    L = np.linalg.cholesky(covariance)  # covariance = L L^T, so its determinant is that of L, squared
    Z = np.linalg.solve(L, (X - mean).T)
    return -0.5 * (Z**2).sum(axis=0) - np.log(np.diag(L)).sum() - 0.5 * len(mean) * np.log(2 * np.pi)


def neighbour_graph(X: np.ndarray, neighbours: int) -> scipy.sparse.csr_array:
    """A sparse graph (m, m): rows are joined by weight 1 where one is among the nearest of the other."""
    near = scipy.sparse.csr_array(kneighbors_graph(X, neighbours))
    return scipy.sparse.csr_array(near.maximum(near.T))


def largest_positive(V: np.ndarray) -> np.ndarray:
    """The rows of V (k, d), each times 1 or -1, so that the entry that is the largest in size is positive."""
    return V * np.sign(V[np.arange(len(V)), np.abs(V).argmax(axis=1)])[:, None]


# %% [markdown]
# ## Derive
#
# ### One data set, seen three ways
#
# Labels cost money: somebody must look at each row. Rows without labels are often free. What can we learn from them?
# The figure shows the same 400 points three times.
#
# - **Supervised**: every point has a label. A classifier finds the border between the classes. (The figure shows its
#   answers for points that were left out of its training, a fifth of the points at a time.)
# - **Unsupervised**: no point has a label. A clustering method must find the groups by itself. k-means assumes round
#   groups. These groups are not round, and k-means cuts both of them.
# - **Semi-supervised**: six points have a label (the stars). The other 394 show along which curves the points lie, and
#   the labels spread along these curves.

# %% tags=["demo"]
moons = datasets.moons(demo_size(full=400, small=150), noise=0.08, seed=3)
rng = np.random.default_rng(0)
six = np.concatenate([rng.choice(np.flatnonzero(moons.y == c), 3, replace=False) for c in (0, 1)])
known = np.full(len(moons.y), -1)
known[six] = moons.y[six]
peer = LabelPropagation(kernel=lambda a, b: neighbour_graph(a, 7).toarray(), max_iter=5000)
ways = {
    "all labels: nearest neighbours": cross_val_predict(KNeighborsClassifier(5), moons.X, moons.y, cv=5),
    "no label: k-means": KMeans(2, n_init=10, random_state=0).fit(moons.X).labels_,
    "six labels: label propagation": peer.fit(moons.X, known).transduction_,
}
figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), sharey=True)
for ax, (title, said) in zip(axes, ways.items(), strict=True):
    right = np.mean(said == moons.y)
    if "k-means" in title:
        right = max(right, 1 - right)  # the numbers of clusters may be exchanged
    for c in (0, 1):
        ax.plot(*moons.X[said == c].T, plotting.MARKERS[c], color=plotting.COLOURS[c], markersize=3, ls="")
    ax.set(title=title, xlabel=f"{right:.0%} of the points right")
axes[2].plot(*moons.X[six].T, "*", color=plotting.INK, markersize=13)
plt.show()

# %% [markdown]
# This module asks four questions, one after the other. Which groups are there (7.1, 7.2)? What if groups are not round,
# or overlap (7.3, 7.4)? What if there are too many columns to see any group (7.5)? What do a few labels add (7.6, 7.7)?
# The last section asks all of them again for data that do not fit into memory (7.8, 7.9).
#
# ### Groups: minimise a sum of squared distances
#
# **k-means** describes $m$ rows by $k$ centres. Each row is replaced by the centre of its cluster, and the error is
#
# $$J(a, c) = \sum_{i=1}^{m} \| x_i - c_{a_i} \|^2, \qquad a_i \in \{0, \dots, k-1\}, \quad c_j \in \mathbb R^d .$$
#
# It is NP-hard to find the smallest $J$, even for $k = 2$ if $d$ may be large (Aloise et al., 2009). But each half of the
# problem is easy:
#
# - **Assign**: for given centres, the best $a_i$ is a nearest centre.
# - **Update**: for given $a$, the terms of one cluster are $\sum_{i: a_i = j} \|x_i - c_j\|^2$. The gradient with
#   respect to $c_j$ is $-2 \sum_{i: a_i = j} (x_i - c_j)$, and it is zero at the mean of the cluster's rows.
#
# Lloyd's algorithm alternates the two. Neither part can raise $J$. There are finitely many ways to cut $m$ rows into
# clusters, and $J$ falls as long as the labels change (if a row that is equally near to several centres always goes to
# the same of them). So the algorithm stops. Where it stops, neither half can lower $J$. Another clustering may still have
# a smaller $J$. Which one you get depends on the first centres, so we first choose these.

# %% [markdown]
# ## Implement
#
# ### 7.1 `kmeans_plus_plus` · essential · level 2 of 4 · 15 min
#
# If the first centres are $k$ random rows, two of them often lie in one group, and another group gets none. Lloyd's
# algorithm rarely repairs that. **k-means++** draws the centres one after another and prefers rows that are far from all
# centres so far. Row $i$ is drawn with a probability proportional to $D_i^2$, its squared distance from the nearest
# centre. $D_i^2$ is the part of row $i$ in the present $J$. Arthur and Vassilvitskii (2007) proved that the
# expected $J$ of these centres, before any step of Lloyd's algorithm, is at most $8 (\ln k + 2)$ times the smallest
# possible $J$.
#
# A new centre changes $D_i^2$ only where it is nearer than all others. So keep the $m$ numbers $D_i^2$ and take the
# minimum with the distances from the new centre: $O(md)$ operations for each centre, $O(mkd)$ in all. To compute all
# distances anew for each centre would cost $O(mk^2d)$.
#
# **Digits.** Many programs compute $\|x - c\|^2$ as $\|x\|^2 - 2 x^\top c + \|c\|^2$. This is fast, because the middle
# term is a matrix product. But if the rows lie near $10^8$ and $1$ apart, the three terms are near $10^{16}$ and all
# digits of the difference are lost. Use the differences $x - c$. (Or subtract the mean of all rows from $X$ and from the
# centres first. Then the product keeps its digits, if the rows are not spread much wider than the distances that matter.)


# %% exercise="kmeans_plus_plus" points=2 minutes=15 forbids=["sklearn", "scipy.cluster"] trains=["alternating minimisation"]
def kmeans_plus_plus(X: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Draw k rows of X as first centres by k-means++.

    X: (m, d), m >= 1, d >= 1, float32, float64 or any NumPy integer dtype, in any memory layout;
      convert to float64. Finite, 0 or from 1e-100 to 1e100 in size. Rows may lie 1e8 from zero and
      1 apart: see "Digits" above.
    k, seed: integers, 1 <= k <= m, else ValueError; seed >= 0, of any size.

    The first centre is each row with probability 1/m. Each further one is row i with probability
    D_i^2 / (sum of all D^2), where D_i is the distance of row i from its nearest centre so far.
    Where all D are 0, because every row equals a centre, draw any row.
    Draw from np.random.default_rng(seed), in any way: the same arguments give the same centres,
    another seed is another draw. NumPy's global generator is neither used nor changed.

    Returns (k, d), a new float64 array: exactly these rows, in the order of drawing. Leaves X as it
    is.
    O(mkd) time; O(md + kd) memory: no array of shape (m, k). Not allowed: sklearn, scipy.cluster.
    """
    X = np.asarray(X, dtype=np.float64)
    m = len(X)
    if not 1 <= k <= m:
        raise ValueError(f"{k} centres cannot be drawn from {m} rows")
    ### BEGIN SOLUTION
    rng = np.random.default_rng(seed)
    rows = [rng.integers(m)]
    D2 = ((X - X[rows[0]]) ** 2).sum(axis=1)
    while len(rows) < k:
        total = D2.sum()
        rows.append(rng.choice(m, p=D2 / total) if total > 0 else rng.integers(m))
        D2 = np.minimum(D2, ((X - X[rows[-1]]) ** 2).sum(axis=1))
    return X[rows]
    ### END SOLUTION


# %% [markdown] hints="kmeans_plus_plus"
# <details><summary>Hint 1: what to keep</summary>
#
# Keep one array (m,) with the squared distance of each row from its nearest centre so far. It starts as the squared
# distances from the first centre.
# </details>
# <details><summary>Hint 2: draw with unequal probabilities</summary>
#
# `rng.choice(m, p=D2 / D2.sum())` draws a row number. Treat the case in which all of `D2` is 0 before you divide.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# After each new centre `c`: `D2 = np.minimum(D2, ((X - c) ** 2).sum(axis=1))`. Collect the row numbers in a list and
# return `X[rows]` at the end.
# </details>

# %% check="kmeans_plus_plus"
with check("kmeans_plus_plus", forbids=["sklearn", "scipy.cluster"]):
    X = np.array([[0.0], [0.0], [1.0], [3.0]])
    with expect_unchanged(X=X):
        got = kmeans_plus_plus(X, 3, seed=0)
    expect_shape(got, (3, 1))
    for seed in range(20):
        drawn = np.sort(kmeans_plus_plus(X, 3, seed)[:, 0])
        expect_close(drawn, [0, 1, 3], atol=0, hint="a row at distance 0 from any centre so far has probability 0")
    pairs = np.array([kmeans_plus_plus(X, 2, seed)[:, 0] for seed in range(2000)])
    # The first centre is row 3 in a quarter of 2000 draws: the standard error is 0.01, and five of them are allowed.
    expect_close(
        np.mean(pairs[:, 0] == 3),
        0.25,
        atol=0.05,
        hint="the first centre is each row with probability 1/m",
        mistakes={"You never begin with the last row.": 0.0},
    )
    # From centre 0 the squared distances are 0, 0, 1, 9: the next centre is 3 in 9 of 10 draws.
    share = np.mean(pairs[pairs[:, 0] == 0, 1] == 3)
    # 1000 such draws: the standard error of the share is 0.01, again.
    expect_close(
        share,
        0.9,
        atol=0.05,
        hint="the probability is the squared distance over the sum of the squared distances",
        mistakes={
            "This is the share for distances that are not squared.": 0.75,
            "You always take the farthest row.": 1.0,
            "You draw the other rows with equal probability.": 0.5,
        },
    )
    expect_close(kmeans_plus_plus(X, 3, seed=5), kmeans_plus_plus(X, 3, seed=5), atol=0, hint="same seed, same centres")
    expect_shape(kmeans_plus_plus(np.ones((5, 2)), 4, seed=0), (4, 2))
    far = np.sort(kmeans_plus_plus(1e8 + X, 3, seed=1)[:, 0]) - 1e8
    expect_close(far, [0, 1, 3], atol=0, hint="near 1e8, compute x - c before you square")
    with expect_raises(ValueError, hint="more centres than rows"):
        kmeans_plus_plus(X, 5, seed=0)

# %% [markdown]
# The figure shows the draw of the next centre. The numbered circles are the centres drawn so far. The darker a point,
# the larger its probability to be the next one.

# %% tags=["demo"]
cloud = datasets.blobs(demo_size(full=600, small=200), k=9, spread=0.7, distance=6, seed=4).X
first = kmeans_plus_plus(cloud, 7, seed=2)
figure, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True)
for ax, count in zip(axes, (2, 7), strict=True):
    D2 = ((cloud[:, None] - first[:count]) ** 2).sum(axis=2).min(axis=1)
    ax.scatter(*cloud.T, c=D2 / D2.sum(), cmap="Blues", s=16, vmin=-0.1 * D2.max() / D2.sum())
    for number, centre in enumerate(first[:count], 1):
        ax.annotate(str(number), centre, ha="center", va="center", bbox={"boxstyle": "circle", "fc": "w"}, fontsize=8)
    ax.set_title(f"after {count} centres: J = {D2.sum():,.0f}")
plt.show()

# %% [markdown]
# ### 7.2 `kmeans` · essential · level 3 of 4 · 35 min
#
# Now alternate: assign, update. One thing is left open by the derivation. A centre may be nearest to no row at all. Its
# cluster is **empty**, and its mean is 0/0. Programs differ in what they do then, and some return nan or fewer
# clusters.
#
# Here a cluster is never lost. An empty cluster takes the row that lies farthest from its own centre, from a cluster
# that has at least two rows. This is a **repair** between the assignment and the update. It cannot raise $J$: the
# moved row had an error $\|x_i - c_{a_i}\|^2 \ge 0$, and as the only row of its new cluster it has error 0 after the
# update. With $k \le m$ there is always such a row: if a cluster is empty, the $m$ rows lie in fewer than $m$ clusters,
# so one cluster has two of them.
#
# A step costs $O(mkd)$ operations. An array of all differences $x_i - c_j$ has $mkd$ numbers, $k$ times as many as
# $X$. With 4,000 rows of 64 columns and 120 centres it takes 246 MB, and $X$ itself takes 2 MB.
# The $(m, k)$ distances are enough.


# %% exercise="kmeans" points=3 minutes=35 forbids=["sklearn", "scipy.cluster"] trains=["alternating minimisation"]
def kmeans(X: np.ndarray, start: np.ndarray, max_steps: int = 100) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Lloyd's algorithm from given centres. No cluster is ever empty.

    X: (m, d), m >= 1, d >= 1; start: (k, d), k >= 1, the first centres. ValueError if k > m.
      float32, float64 or any NumPy integer dtype, in any memory layout; convert both to float64.
      Finite, 0 or from 1e-100 to 1e100 in size. Rows may lie 1e8 from zero and 1 apart ("Digits").
    max_steps: an integer >= 1.

    A step has three parts:
      1. Assign: each row goes to a nearest centre (Euclidean distance). If several are equally near,
         it goes to any of them; ties are decided in the same way in every step.
      2. Repair: while a cluster has no row, the empty cluster of the lowest number gets the row
         that is farthest from its own centre, among the rows of clusters with two rows or more.
         Distances are those of part 1; any of the farthest, if several are equally far.
      3. Update: each centre becomes the mean of the rows of its cluster. J is the sum over all rows
         of the squared distance from the new centre of the row's cluster.
    The last step is the first one after which the labels are those of the step before it, or step
    number max_steps.

    Returns (centers, labels, history): the centres (k, d) after the last update, a new float64
    array; labels (m,), an array of integers from 0 to k - 1, from the last step; J of every step,
    a list of floats. So each centre is the mean of its rows, and J never rises.
    Leaves X and start as they are. O(md + mk + kd) memory: no array of shape (m, k, d).
    Not allowed: sklearn, scipy.cluster.
    """
    X, centers = np.asarray(X, dtype=np.float64), np.asarray(start, dtype=np.float64)
    m, k = len(X), len(centers)
    if k > m:
        raise ValueError(f"{m} rows cannot fill {k} clusters")
    ### BEGIN SOLUTION
    labels, history = None, []
    while len(history) < max_steps:
        D2 = np.stack([((X - c) ** 2).sum(axis=1) for c in centers], axis=1)
        before, labels = labels, D2.argmin(axis=1)
        error = D2[np.arange(m), labels]
        for empty in np.setdiff1d(np.arange(k), labels):
            crowded = np.flatnonzero(np.bincount(labels)[labels] > 1)  # the rows that are not alone
            labels[crowded[np.argsort(error[crowded])[-1]]] = empty
        centers = np.stack([X[labels == j].mean(axis=0) for j in range(k)])
        history.append(float(((X - centers[labels]) ** 2).sum()))
        if np.array_equal(labels, before):
            break
    return centers, labels, history
    ### END SOLUTION


# %% [markdown] hints="kmeans"
# <details><summary>Hint 1: distances without a large array</summary>
#
# A loop over the k centres with `((X - c) ** 2).sum(axis=1)` gives one column of the (m, k) squared distances at a time.
# `scipy.spatial.distance.cdist` gives all of them. `argmin(axis=1)` is the assignment.
# </details>
# <details><summary>Hint 2: the repair</summary>
#
# `np.bincount(labels, minlength=k)` counts the rows of each cluster. For each empty cluster, look only at rows whose
# cluster has two rows or more, and give the one with the largest error its new label. Count again for the next empty
# cluster: the moved row is alone now, and its old cluster is smaller.
# </details>
# <details><summary>Hint 3: when to stop</summary>
#
# Compare labels after the repair with the labels after the repair of the step before. Do this after the update and
# after J was appended: the step that changes nothing counts, too. In the first step there is nothing to compare with.
# </details>

# %% check="kmeans"
with check("kmeans", forbids=["sklearn", "scipy.cluster"]):
    X, start = np.array([[0.0], [1.0], [5.0], [6.0], [7.0]]), np.array([[0.0], [1.0]])
    with expect_unchanged(X=X, start=start):
        centers, labels, history = kmeans(X, start)
    # Step 1: {0} and {1, 5, 6, 7}, means 0 and 19/4. J = 3.75² + 0.25² + 1.25² + 2.25² = 20.75.
    # Step 2: {0, 1} and {5, 6, 7}, means 1/2 and 6. J = 2 · (1/2)² + 2 · 1² = 2.5. Step 3 changes nothing.
    expect_close(
        history,
        [20.75, 2.5, 2.5],
        rtol=1e-12,
        mistakes={
            "This is J before the update of the centres; compute it with the new means.": [77.0, 7.6875, 2.5],
            "This is the mean over the rows: J is a sum.": [4.15, 0.5, 0.5],
            "The step that changes no label counts, too.": [20.75, 2.5],
        },
    )
    expect_close(centers, [[0.5], [6.0]], rtol=1e-12)
    expect_close(labels, [0, 0, 1, 1, 1], atol=0)
    # No row is nearest to the centre at 100. Row 7 is the farthest from its centre (3), so cluster 1 gets it.
    centers, labels, history = kmeans(X, np.array([[3.0], [100.0]]), max_steps=1)
    expect_close(
        labels, [0, 0, 0, 0, 1], atol=0, hint="an empty cluster takes the row that is farthest from its centre"
    )
    expect_close(centers, [[3.0], [7.0]], rtol=1e-12, hint="the centre of the repaired cluster is its only row")
    # The row (2, 2) is sqrt(8) = 2.83 from (0, 0) and 3 from (5, 2); the sums of absolute differences are 4 and 3.
    expect_close(
        kmeans(np.array([[0.0, 0.0], [2.0, 2.0], [5.0, 2.0]]), np.array([[0.0, 0.0], [5.0, 2.0]]))[1],
        [0, 0, 1],
        atol=0,
        mistakes={"You added absolute differences: the distance is Euclidean.": [0, 1, 1]},
    )
    centers, labels, history = kmeans(np.ones((4, 2)), np.zeros((3, 2)))
    assert set(np.asarray(labels).tolist()) == {0, 1, 2}, "four equal rows, three clusters: none may be empty"
    far = kmeans(1e8 + X, 1e8 + start)[0] - 1e8
    expect_close(far, [[0.5], [6.0]], atol=1e-6, hint="near 1e8, compute x - c before you square")
    with expect_raises(ValueError, hint="more clusters than rows"):
        kmeans(X, np.zeros((6, 1)))

# %% [markdown]
# Left: $J$ falls in every step, quickly at first. Right: the final $J$ of many runs, sorted, divided by the best of all.
# A run that starts from random rows often stops with two centres in one group. Runs that start from your
# `kmeans_plus_plus` end lower in the middle and at the worst. But few of either kind reach the best: make several runs
# and keep the lowest $J$.

# %% tags=["demo"]
data = datasets.blobs(demo_size(full=1000, small=300), k=12, spread=0.6, distance=6, seed=4).X
runs = demo_size(full=60, small=10)
rng = np.random.default_rng(0)
random_rows = [kmeans(data, data[rng.choice(len(data), 12, replace=False)])[2] for _ in range(runs)]
plus_plus = [kmeans(data, kmeans_plus_plus(data, 12, seed))[2] for seed in range(runs)]
best = min(history[-1] for history in random_rows + plus_plus)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for histories, colour, ls, label in [(random_rows, 0, "-", "random rows"), (plus_plus, 1, "--", "k-means++")]:
    for number, history in enumerate(histories[:6]):
        style = {"color": plotting.COLOURS[colour], "ls": ls, "lw": 1.2}
        left.semilogy(np.arange(1, len(history) + 1), history, label=label if number == 0 else None, **style)
left.set(xlabel="step", ylabel="J", title="J never rises")
left.legend()
plotting.curves(
    {
        "random rows": np.sort([history[-1] for history in random_rows]) / best,
        "k-means++": np.sort([history[-1] for history in plus_plus]) / best,
    },
    xlabel="runs, sorted",
    ylabel="final J over the best",
    title="A good start decides where it stops",
    ax=right,
)
plt.show()
for name, histories in [("random rows", random_rows), ("k-means++", plus_plus)]:
    final = np.array([history[-1] for history in histories]) / best
    print(f"{name}: final J over the best {np.median(final):.2f} in the middle, {final.max():.2f} at the worst")
start = kmeans_plus_plus(data, 12, 0)
peer = KMeans(12, init=start, n_init=1, tol=0, algorithm="lloyd").fit(data)
print(f"from the same start: J = {kmeans(data, start)[2][-1]:.6f} (yours), {peer.inertia_:.6f} (scikit-learn)")

# %% [markdown]
# ### Groups that are not round
#
# $J$ measures distances in the same way in all directions and for all clusters. So k-means prefers round clusters of
# similar size, and it gives each row to one cluster, also where two clusters overlap. A **mixture of Gaussians** drops
# these assumptions. It describes how the rows might have been made: choose Gaussian $j$ with probability $w_j$, then
# draw the row from it.
# The density of a row $x$, $(d,)$, is
#
# $$p(x) = \sum_{j=0}^{k-1} w_j\, N(x; \mu_j, \Sigma_j), \qquad
# \log N(x; \mu, \Sigma) = -\tfrac12 \underbrace{(x - \mu)^\top \Sigma^{-1} (x - \mu)}_{\text{a number}}
# - \tfrac12 \log \det \Sigma - \tfrac d2 \log 2\pi .$$
#
# We look for the parameters with the largest **log-likelihood**, $\sum_i \log p(x_i)$. The logarithm of a sum has no
# closed-form maximum. The **EM algorithm** works with a lower bound instead. Take any numbers $R_{ij} > 0$ with
# $\sum_j R_{ij} = 1$. (Terms with $R_{ij} = 0$ are left out.) The logarithm is concave: the logarithm of a mean is at least
# the mean of the logarithms (Jensen's inequality). So
#
# $$\log p(x_i) = \log \sum_j R_{ij}\, \frac{w_j N(x_i; \mu_j, \Sigma_j)}{R_{ij}}
# \;\ge\; \sum_j R_{ij} \log \frac{w_j N(x_i; \mu_j, \Sigma_j)}{R_{ij}} ,$$
#
# with equality where the fraction is the same for all $j$, that is where
#
# $$R_{ij} = \frac{w_j N(x_i; \mu_j, \Sigma_j)}{p(x_i)} \qquad\text{(E step)}.$$
#
# These $R_{ij}$ are the **responsibilities**: the probability that row $i$ came from Gaussian $j$. The **E step** makes
# the bound equal to the log-likelihood. The **M step** keeps $R$ and maximises the bound over the parameters. The bound
# does not fall, and the log-likelihood is at least the bound. So the log-likelihood never falls.
#
# This is the scheme of k-means again: fix one half, solve the other. If all $\Sigma_j = v I$ with equal weights
# and $v \to 0$, then $R_{ij}$ becomes 1 for the nearest mean and 0 for the others.

# %% [markdown]
# ### 7.3 `responsibilities` · essential · level 2 of 4 · 10 min
#
# **Find the bug.** The code below is the formula, word for word. It is right on small examples and wrong on others. The
# setup cell gives you
# `log_gaussian`, which returns the *logarithms* of the densities, (m,). Find out where the function fails, and repair
# it.


# %% exercise="responsibilities" points=2 minutes=10 bug=true forbids=["sklearn"] trains=["the EM algorithm"]
def responsibilities(
    X: np.ndarray, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The E step: which Gaussian did each row come from?

    X: (m, d), m >= 1, float32, float64 or any NumPy integer dtype. weights: (k,), k >= 1, all > 0,
    sum 1. means: (k, d). covariances: (k, d, d), symmetric, positive definite. These are float64.

    Returns (R, log_p). R: (m, k), w_j N(x_i; mu_j, Sigma_j) / p(x_i), where p(x_i) is the sum of the
    numerators over j. log_p: (m,), log p(x_i). Both are new float64 arrays. They are finite also for
    rows that are up to 1e9 standard deviations away from every mean, and for rows with a thousand
    columns. Rows of R sum to 1 up to rounding.
    Leaves all arguments as they are. Not allowed: sklearn.
    """
    X = np.asarray(X, dtype=np.float64)
    logs = [np.log(w) + log_gaussian(X, mean, S) for w, mean, S in zip(weights, means, covariances, strict=True)]
    ### BEGIN SOLUTION
    logs = np.stack(logs, axis=1)
    top = logs.max(axis=1, keepdims=True)
    joint = np.exp(logs - top)  # up to a factor for each row, with which the largest is 1
    total = joint.sum(axis=1, keepdims=True)
    return joint / total, (top + np.log(total)).ravel()
    ### END SOLUTION
    ### BEGIN BUG
    # joint = np.exp(np.stack(logs, axis=1))
    # p = joint.sum(axis=1)
    # return joint / p[:, None], np.log(p)
    ### END BUG


# %% [markdown] hints="responsibilities"
# <details><summary>Hint 1: an experiment</summary>
#
# Call it with two Gaussians of variance 1 at 0 and 1, and a row at 50. The logarithm of the density is about −1250. What
# is `np.exp(-1250)`?
# </details>
# <details><summary>Hint 2: the principle</summary>
#
# R is a softmax of `logs` over the Gaussians, and log_p is a logsumexp, as in module 03. Subtract the largest logarithm
# of each row before `exp`, and add it again after `log`.
# </details>
# <details><summary>Hint 3: the repair</summary>
#
# `top = logs.max(axis=1, keepdims=True)`; `joint = np.exp(logs - top)`; `total = joint.sum(axis=1, keepdims=True)`. Then R is
# `joint / total`, and log_p is `(top + np.log(total)).ravel()`. (`np.exp(logs - log_p[:, None])` is the same on paper. But
# far away log_p is a large number that is rounded, and then the rows of R no longer sum to 1.)
# </details>

# %% check="responsibilities"
with check("responsibilities", forbids=["sklearn"]):
    X, weights = np.array([[0.0], [0.5], [50.0]]), np.array([0.5, 0.5])
    means, covariances = np.array([[0.0], [1.0]]), np.ones((2, 1, 1))
    with expect_unchanged(X=X, weights=weights, means=means, covariances=covariances):
        R, log_p = responsibilities(X, weights, means, covariances)
    # The logarithms differ by x - 1/2: the share of Gaussian 1 is 1 / (1 + exp(1/2 - x)).
    expect_close(
        R[:, 1],
        1 / (1 + np.exp(0.5 - X[:, 0])),
        rtol=1e-9,
        hint="densities far from every mean are 0 in floating point: stay with logarithms",
    )
    expect_close(R.sum(axis=1), np.ones(3), rtol=1e-12, hint="each row of R sums to 1")
    # At 1/2 both densities are exp(-1/8) / sqrt(2 pi).
    expect_close(log_p[1], -1 / 8 - 0.5 * np.log(2 * np.pi), rtol=1e-12)
    expect_close(
        log_p[2],
        -(49**2) / 2 - 0.5 * np.log(2 * np.pi) + np.log(0.5),
        rtol=1e-12,
        hint="at 50 only Gaussian 1 counts, with its weight 1/2",
    )
    # The row is equally far from both means. Its log_p is near -5e11, where neighbours in float64 are 6e-5 apart.
    R, _ = responsibilities(
        np.array([[1e6, 0.0]]), weights, np.array([[0.0, 1.0], [0.0, -1.0]]), np.stack([np.eye(2)] * 2)
    )
    expect_close(R, [[0.5, 0.5]], rtol=1e-9, hint="log_p is rounded: divide by a sum instead of subtracting it")

# %% [markdown]
# Is this a rare case? The cell fits one Gaussian to each class of the digits images, which have 64 pixels, on every second
# image, and computes the densities of the other images. In float64, `exp` gives 0 below about −745; in float32, in which
# a GPU would compute, below about −104. In float32 most rows have the density 0 under every class, and the plain E step
# returns nan for them. In float64 these rows are still above the limit: the cell prints how near the worst of them comes.
# The logarithms have no such limit.

# %% tags=["demo"]
digits = datasets.digits()
pixels = digits.X + np.random.default_rng(0).normal(scale=0.5, size=digits.X.shape)  # no pixel is constant
half, other = (pixels[::2], digits.y[::2]), (pixels[1::2], digits.y[1::2])
class_means = np.array([half[0][half[1] == c].mean(axis=0) for c in range(10)])
class_covariances = np.array([np.cov(half[0][half[1] == c].T) for c in range(10)])
logs = np.stack([log_gaussian(other[0], *pair) for pair in zip(class_means, class_covariances, strict=True)], axis=1)
R, log_p = responsibilities(other[0], np.full(10, 0.1), class_means, class_covariances)
print(f"logarithms of the densities: from {logs.min():,.0f} to {logs.max():,.0f}")
print(f"the worst row has {logs.max(axis=1).min():,.0f} under its best class")
for dtype in (np.float64, np.float32):
    zero = np.exp(logs.astype(dtype)) == 0
    print(
        f"{dtype.__name__}: {zero.mean():.0%} of all densities are 0; all ten in {zero.all(axis=1).mean():.0%} of the rows"
    )
right = np.mean(R.argmax(axis=1) == other[1])
print(f"your R: finite {np.isfinite(R).all()}; its largest entry names the class of {right:.1%} of the held-out rows")

# %% [markdown]
# ### 7.4 `gaussian_mixture` · essential · level 4 of 4 · 40 min
#
# The M step maximises $\sum_{ij} R_{ij} \log (w_j N(x_i; \mu_j, \Sigma_j))$. Write $n_j = \sum_i R_{ij}$ for the number
# of rows of Gaussian $j$, which need not be whole. Setting the derivatives to zero (with $\sum_j w_j = 1$) gives
# a weighted share, a weighted mean and a weighted covariance:
#
# $$w_j = \frac{n_j}{m}, \qquad \mu_j = \frac1{n_j} \sum_i R_{ij}\, x_i, \qquad
# \Sigma_j = S_j = \frac1{n_j} \sum_i R_{ij} \underbrace{(x_i - \mu_j)(x_i - \mu_j)^\top}_{(d,\, d)} .$$
#
# **With two Gaussians or more the likelihood has no maximum.** Put one mean on a single row and let its covariance shrink
# to 0: the density there grows without limit, while another Gaussian keeps the density of all other rows above 0. So we
# allow only covariances whose eigenvalues are at least a small number, the **floor**. Which $\Sigma_j$ is the best of
# these? The part of the bound that contains it is
# $-\tfrac{n_j}{2} (\log\det\Sigma_j + \operatorname{tr} \Sigma_j^{-1} S_j)$. It is largest if $\Sigma_j$ has the
# eigenvectors of $S_j$ (von Neumann's trace inequality). Let $\lambda$ be an eigenvalue of $S_j$, and $\nu$ that of
# $\Sigma_j$ for the same eigenvector. They contribute $-\tfrac{n_j}{2}(\log\nu + \lambda / \nu)$, which rises up to
# $\nu = \lambda$ and falls after it. So the best allowed value is $\nu = \max(\lambda, \text{floor})$:
# raise the small eigenvalues, and leave the others. This is an exact M step, so the log-likelihood still never falls.
# (scikit-learn adds its `reg_covar` to the diagonal of every covariance instead. This is not the maximum, and its
# log-likelihood may fall a little even in exact arithmetic.)
#
# The differences $x_i - \mu_j$ of all Gaussians together are an $(m, k, d)$ array. Treat one Gaussian after another.


# %% exercise="gaussian_mixture" points=4 minutes=40 forbids=["sklearn"] trains=["alternating minimisation", "the EM algorithm"]
def gaussian_mixture(
    X: np.ndarray, R: np.ndarray, steps: int, floor: float = 1e-6
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[float]]:
    """EM for a mixture of k Gaussians with full covariances, from given responsibilities.

    X: (m, d), m >= 1, d >= 1; R: (m, k), entries >= 0, rows sum to 1, no column sums to 0. float32,
      float64 or any NumPy integer dtype, in any memory layout; both are converted to float64.
      X is finite, 0 or from 1e-100 to 1e100 in size. Rows may lie 1e6 from zero and 1 apart.
    steps: an integer >= 1. floor: a float > 0, else ValueError. In the tests, after the floor, the
      largest eigenvalue of a covariance is at most 1e12 times its smallest.

    Each step is an M step from R, then an E step by your `responsibilities`, which gives the next R.
      weights w_j = n_j / m with n_j = sum_i R_ij; means mu_j = sum_i R_ij x_i / n_j;
      covariances Sigma_j: take sum_i R_ij (x_i - mu_j)(x_i - mu_j)^T / n_j, and raise each of its
      eigenvalues that is below the floor to the floor. Eigenvectors stay.
    No n_j becomes 0 in the tests.

    Returns (weights, means, covariances, history): those of the last M step, (k,), (k, d) and
    (k, d, d), new float64 arrays, covariances symmetric up to rounding; and for each step the mean of
    log p(x_i) over the rows after its E step, a list of floats. It falls by rounding errors only.
    Leaves X and R as they are. O(md + mk + kd^2) memory: no array of shape (m, k, d).
    Not allowed: sklearn.
    """
    if not floor > 0:
        raise ValueError("the floor must be positive")
    X, R = np.asarray(X, dtype=np.float64), np.asarray(R, dtype=np.float64)
    ### BEGIN SOLUTION
    history = []
    for _ in range(steps):
        n = R.sum(axis=0)
        means, covariances = R.T @ X / n[:, None], []
        for j in range(len(n)):
            D = X - means[j]
            values, vectors = np.linalg.eigh((R[:, j] * D.T) @ D / n[j])
            covariances.append((vectors * np.maximum(values, floor)) @ vectors.T)
        covariances = np.array(covariances)
        R, log_p = responsibilities(X, n / len(X), means, covariances)
        history.append(float(log_p.mean()))
    return n / len(X), means, covariances, history
    ### END SOLUTION


# %% [markdown] hints="gaussian_mixture"
# <details><summary>Hint 1: weights and means</summary>
#
# `n = R.sum(axis=0)` has shape (k,). `R.T @ X` is (k, d): its row j is the sum of R_ij x_i.
# </details>
# <details><summary>Hint 2: one covariance</summary>
#
# With `D = X - means[j]`, (m, d), the sum of weighted outer products is one matrix product:
# `(R[:, j, None] * D).T @ D`, (d, d). Divide it by `n[j]`.
# </details>
# <details><summary>Hint 3: the floor</summary>
#
# `values, vectors = np.linalg.eigh(S)`; the covariance is `(vectors * np.maximum(values, floor)) @ vectors.T`.
# </details>

# %% check="gaussian_mixture"
with check("gaussian_mixture", forbids=["sklearn"]):
    X, R = np.array([[0.0], [2.0], [10.0], [14.0]]), np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    with expect_unchanged(X=X, R=R):
        weights, means, covariances, history = gaussian_mixture(X, R, steps=1)
    expect_close(weights, [0.5, 0.5], rtol=1e-12)
    expect_close(means, [[1.0], [12.0]], rtol=1e-12)
    expect_close(
        covariances,
        [[[1.0]], [[4.0]]],  # ((-1)² + 1²) / 2 and ((-2)² + 2²) / 2
        rtol=1e-12,
        mistakes={
            "You divided by n_j - 1; the maximum of the likelihood divides by n_j.": [[[2.0]], [[8.0]]],
            "You divided by m: divide by n_j, the sum of the column of R.": [[[0.5]], [[2.0]]],
        },
    )
    log_p = responsibilities(X, weights, means, covariances)[1]
    expect_close(history, [log_p.mean()], rtol=1e-12, hint="the mean of log_p over the rows, after the E step")
    next_R = responsibilities(X, weights, means, covariances)[0]
    expect_close(
        gaussian_mixture(X, R, steps=2)[1],
        next_R.T @ X / next_R.sum(axis=0)[:, None],
        rtol=1e-12,
        hint="step 2 takes the responsibilities of step 1 as they are, also small ones",
    )
    # The covariance is ((2.5, 1.5), (1.5, 2.5)): eigenvalue 4 along (1, 1), and 1 along (1, -1), which becomes 2.
    cross = np.array([[2.0, 2.0], [-2.0, -2.0], [1.0, -1.0], [-1.0, 1.0]])
    expect_close(
        gaussian_mixture(cross, np.ones((4, 1)), 1, floor=2.0)[2],
        [[[3.0, 1.0], [1.0, 3.0]]],
        rtol=1e-12,
        hint="raise the eigenvalues that are below the floor, and leave the others",
        mistakes={
            "You added the floor to every eigenvalue.": [[[4.5, 1.5], [1.5, 4.5]]],
            "This matrix has the eigenvalues 4 and 1: the floor 2 raises the 1. It has nothing to do with the diagonal.": [
                [[2.5, 1.5], [1.5, 2.5]]
            ],
            "The products of different columns belong to the covariance, too.": [[[2.5, 0.0], [0.0, 2.5]]],
        },
    )
    rows = datasets.blobs(60, k=3, distance=2, seed=1).X
    history = gaussian_mixture(rows, np.eye(3)[np.arange(60) % 3], steps=30)[3]
    assert len(history) == 30, f"one number for each step: 30, not {len(history)}"
    assert np.all(np.diff(history) > -1e-9), "the mean log-likelihood fell: M step and E step do not fit together"
    far = gaussian_mixture(1e6 + X, R, steps=1)[2]
    expect_close(far, [[[1.0]], [[4.0]]], rtol=1e-6, hint="subtract the mean before you take products")

# %% [markdown]
# Three long groups that lie close together. Left: your `kmeans` cuts across them. Middle: your mixture starts from
# these labels, and its ellipses (two standard deviations) turn into the groups. Right: the log-likelihood rises in
# every step, with long flat stretches: a small rise does not prove that EM has arrived. EM, too, stops at a point that
# depends on its start. The printed line compares it with three starts from random labels.

# %% tags=["demo"]
rng = np.random.default_rng(1)
m = 450
truth = rng.integers(0, 3, m)
long_rows = rng.normal(size=(m, 2)) * [3.0, 0.35] + np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]])[truth]
long_rows = long_rows @ np.array([[0.8, 0.6], [-0.6, 0.8]])
rounds = [kmeans(long_rows, kmeans_plus_plus(long_rows, 3, seed)) for seed in range(5)]
labels = min(rounds, key=lambda run: run[2][-1])[1]
weights, means, covariances, history = gaussian_mixture(long_rows, np.eye(3)[labels], steps=80)
soft = responsibilities(long_rows, weights, means, covariances)[0]


def named(said):
    """Cluster numbers renamed, of the six ways to name three groups, in the way that agrees best with the truth."""
    ways = [np.array(way)[said] for way in itertools.permutations(range(3))]
    return max(ways, key=lambda way: np.mean(way == truth))


figure, axes = plt.subplots(1, 3, figsize=(12.5, 3.8))
for ax, said, title in [
    (axes[0], named(labels), "k-means cuts across"),
    (axes[1], named(soft.argmax(axis=1)), "The mixture follows"),
]:
    for c in range(3):
        ax.plot(*long_rows[said == c].T, plotting.MARKERS[c], color=plotting.COLOURS[c], markersize=3, ls="")
    ax.set_title(title[0].upper() + title[1:])
    ax.set_aspect("equal", adjustable="datalim")
circle = np.stack([np.cos(np.linspace(0, 2 * np.pi, 80)), np.sin(np.linspace(0, 2 * np.pi, 80))])
for mean, covariance in zip(means, covariances, strict=True):
    axes[1].plot(*(mean[:, None] + 2 * np.linalg.cholesky(covariance) @ circle), color=plotting.INK, lw=1.2, ls="-")
plotting.curves({"yours": (np.arange(1, 81), history)}, xlabel="step", ylabel="mean log-likelihood", ax=axes[2])
axes[2].set_title("It never falls")
plt.show()
peer = GaussianMixture(3, reg_covar=1e-9, tol=1e-9, max_iter=500, n_init=1, random_state=0)
peer.fit(long_rows)
print(
    f"right: k-means {np.mean(named(labels) == truth):.1%}, your mixture {np.mean(named(soft.argmax(axis=1)) == truth):.1%}"
)
print(f"mean log-likelihood: {history[-1]:.6f} (yours), {peer.score(long_rows):.6f} (scikit-learn, its own start)")
lonely = [gaussian_mixture(long_rows, np.eye(3)[rng.integers(0, 3, m)], steps=80)[3][-1] for _ in range(3)]
print("from random labels:", ", ".join(f"{value:.6f}" for value in lonely))

# %% [markdown]
# **How many Gaussians?** The log-likelihood of the rows that the mixture was fitted to rises with every further Gaussian.
# That of *held-out* rows, drawn in the same way, stops rising where further Gaussians fit only noise. The cell fits one
# to six Gaussians to each half of the rows, from three starts of which the best fit is kept, and measures both on the other
# half, too; the means over the two halves are drawn. k-means has
# no density, so it has no such measure. The last line shows where a mixture fails, too: a moon is not a Gaussian.

# %% tags=["demo"]
fitted, unseen, halves = np.zeros(6), np.zeros(6), (long_rows[::2], long_rows[1::2])
for k, (mine, other) in itertools.product(range(1, 7), (halves, halves[::-1])):
    starts = [np.eye(k)[kmeans(mine, kmeans_plus_plus(mine, k, seed))[1]] for seed in range(3)]
    fits = [gaussian_mixture(mine, R, steps=demo_size(full=100, small=60), floor=1e-2) for R in starts]
    *parameters, history = max(fits, key=lambda fit: fit[3][-1])
    fitted[k - 1] += history[-1] / 2
    unseen[k - 1] += responsibilities(other, *parameters)[1].mean() / 2
plotting.curves(
    {"rows it was fitted to": (np.arange(1, 7), fitted), "held-out rows": (np.arange(1, 7), unseen)},
    xlabel="Gaussians k",
    ylabel="mean log-likelihood",
    title="Held-out rows say how many",
)
plt.show()
print("held out:", ", ".join(f"k = {k}: {value:.3f}" for k, value in enumerate(unseen, 1)))
moon_R = np.eye(2)[kmeans(moons.X, kmeans_plus_plus(moons.X, 2, 0))[1]]
moon_groups = responsibilities(moons.X, *gaussian_mixture(moons.X, moon_R, 100)[:3])[0].argmax(axis=1)
right = np.mean(moon_groups == moons.y)
print(f"two Gaussians on the two moons of the first figure: {max(right, 1 - right):.0%} of the points right")

# %% [markdown]
# ### Few directions: principal components
#
# A Gaussian in $d$ columns has $d(d+1)/2$ numbers in its covariance. With 20,000 columns these are 200 million numbers for
# each Gaussian. But the columns of real data depend on each other. **Principal component analysis**
# (PCA) describes the rows by a plane instead of $k$ centres: project the rows on the $k$-dimensional plane through their
# mean that loses the least,
#
# $$\min_{V} \sum_i \| (x_i - \bar x) - V^\top V (x_i - \bar x) \|^2, \qquad V \in \mathbb R^{k \times d}, \quad
# V V^\top = I .$$
#
# Let $X_c = X - 1 \bar x^\top$. $V^\top V$ is an orthogonal projection, so by Pythagoras the sum is
# $\|X_c\|_F^2 - \|X_c V^\top\|_F^2$. It is smallest if the rows of $V$ are the
# right singular vectors of $X_c$ with the $k$ largest singular values $s_1 \ge s_2 \ge \dots$ (Eckart and Young, 1936).
# The variance along component $j$ is $s_j^2 / m$, or $s_j^2 / (m - 1)$: programs differ. Singular values have no such
# factor, so this module returns these. The share of the variance that $k$ components keep is
# $\sum_{j \le k} s_j^2 / \|X_c\|_F^2$. A column that is measured in smaller units has larger numbers and a larger variance:
# divide each column by its standard deviation first, unless all columns have the same unit (as pixels do).
#
# ### A random projection finds the plane
#
# An exact singular value decomposition costs $O(md \min(m, d))$ and needs several arrays of the size of $X$. We want
# only $k$ of the directions. Halko, Martinsson and Tropp (2011) draw a random matrix $\Omega$, $(d, l)$, with a few more
# columns than we want, $l = k + p$, and compute
#
# $$Y = \underbrace{X_c}_{(m,\, d)}\, \underbrace{\Omega}_{(d,\, l)} .$$
#
# Each column of $Y$ is a random mixture of the columns of $X_c$, in which large singular directions have large weights.
# So the columns of $Y$ very nearly span the best plane. Let $Q$, $(m, l)$, be an orthonormal basis of them. The small
# matrix $B = Q^\top X_c$, $(l, d)$, has nearly the same leading right singular vectors as $X_c$, and its decomposition
# costs only $O(d l^2)$.
#
# If the singular values fall slowly, use **power iterations**: $(X_c X_c^\top)^q X_c$ has the singular values
# $s_j^{2q+1}$, which fall faster, so take $Y = (X_c X_c^\top)^q X_c\, \Omega$. Let $t_j = s_j^{2q+1}$ and let $p = l - k$ be
# the number of further columns. Their Corollary 10.9 and Theorem 9.2 give, for $p \ge 4$ and with a probability of at
# least $1 - 3 p^{-p}$ for each draw of $\Omega$,
#
# $$\|X_c - Q Q^\top X_c\|_2 \le \Big[ \big(1 + 6 \sqrt{(k + p)\, p \log p}\big)\, t_{k+1}
#   + 3 \sqrt{k + p}\, \big(\textstyle\sum_{j > k} t_j^2\big)^{1/2} \Big]^{1/(2q+1)} .$$
#
# The exponent $1/(2q + 1)$ takes the factors towards 1 as $q$ grows. (No $k$ components can miss less than $s_{k+1}$.)

# %% [markdown]
# ### 7.5 `randomized_pca` · essential · level 3 of 4 · 30 min
#
# Two details decide whether this works at scale.
#
# **Do not centre $X$.** A sparse matrix would become dense, and a dense one would be copied. Centre the *products*:
# $X_c A = XA - 1 (\bar x^\top A)$ for $A$ of shape $(d, l)$, and $X_c^\top C = X^\top C - \bar x\, (1^\top C)$ for $C$ of shape
# $(m, l)$; here $1$ has shape $(m,)$. Each correction costs $O((m + d)\, l)$ operations.
#
# **Keep the digits.** In $(X_c X_c^\top)^q X_c\, \Omega$ a direction with $s_j = 10^{-4} s_1$ has the factor
# $10^{-4 (2q+1)}$. At $q = 2$ this is $10^{-20}$ and lost beside the first direction. Orthonormalise (`np.linalg.qr`)
# after every product.


# %% exercise="randomized_pca" points=3 minutes=30 forbids=["sklearn", "scipy.sparse.linalg", "torch.pca_lowrank", "torch.svd_lowrank"] trains=["randomised linear algebra"]
def randomized_pca(
    X: np.ndarray | scipy.sparse.csr_array, k: int, oversample: int = 10, power: int = 2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The k leading principal components by the randomised method of Halko, Martinsson and Tropp.

    X: (m, d), m >= 1, d >= 1, floats (float64, float32) or integers of any NumPy dtype, an array in
      any memory layout or a scipy.sparse.csr_array of float64. Not centred. Finite, entries 0 or
      from 1e-100 to 1e100 in size. The rank may be below k: s is then 0 up to rounding.
    k, oversample, power, seed: integers. 1 <= k <= min(m, d), else ValueError. oversample, power and
      seed >= 0. l = min(k + oversample, m, d).

    Q: an orthonormal basis of the columns of Xc Omega, with Xc = X minus the mean of each column and
    Omega (d, l) standard normal, drawn from np.random.default_rng(seed). Then, `power` times: Z is a
    basis of the columns of Xc^T Q, and Q one of the columns of Xc Z. (Each basis has l columns, also
    where the rank is lower, as np.linalg.qr gives them.) With (l, d) B = Q^T Xc = U S V:
    the results are the first k rows of V and the first k singular values.

    Returns (components, s). components: (k, d), rows orthonormal; in each row the entry that is the
    largest in size is positive (either, if two are equally large). s: (k,), in decreasing order, not
    divided by m or m - 1. New float64 arrays. Where the method has converged, s is right to about 1e-12 of the
    largest singular value of X. The same arguments give the same result, and another seed is another
    draw of Omega. NumPy's global generator is neither used nor changed.

    If X is of float64, all arrays that you make have shape (m, l), (d, l) or less: X is not copied,
    not centred, not made dense, and no array of shape (d, d) or (m, m) is formed. Leaves X as it is.
    Not allowed: sklearn, scipy.sparse.linalg, torch.pca_lowrank, torch.svd_lowrank.
    """
    m, d = X.shape
    if not 1 <= k <= min(X.shape):
        raise ValueError(f"an array of shape ({m}, {d}) has no {k} components")
    mean = np.asarray(X.mean(axis=0, dtype=np.float64))
    ### BEGIN SOLUTION

    def times(V):
        return X @ V - mean @ V

    def transposed(U):
        return X.T @ U - np.outer(mean, U.sum(axis=0))

    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(times(rng.standard_normal((d, min(k + oversample, *X.shape)))))[0]
    for _ in range(power):
        Z = np.linalg.qr(transposed(Q))[0]
        Q = np.linalg.qr(times(Z))[0]
    _, s, V = np.linalg.svd(transposed(Q).T, full_matrices=False)
    return largest_positive(V[:k]), s[:k]
    ### END SOLUTION


# %% [markdown] hints="randomized_pca"
# <details><summary>Hint 1: two products</summary>
#
# Write two inner functions. `times(V)` is `X @ V - mean @ V`: the second term, (l,), is subtracted from every row.
# `transposed(U)` is `X.T @ U - np.outer(mean, U.sum(axis=0))`. X appears nowhere else.
# </details>
# <details><summary>Hint 2: bases</summary>
#
# `np.linalg.qr(Y)[0]` is an orthonormal basis of the columns of Y. Take one after every product, also between the two
# products of a power iteration.
# </details>
# <details><summary>Hint 3: the end</summary>
#
# `B = transposed(Q).T` has shape (l, d). `_, s, V = np.linalg.svd(B, full_matrices=False)`, and keep k of each. The
# function `largest_positive` of the setup cell settles the signs.
# </details>

# %% check="randomized_pca"
with check("randomized_pca", forbids=["sklearn", "scipy.sparse.linalg", "torch.pca_lowrank", "torch.svd_lowrank"]):
    # Four rows around (10, 20, 5): (±2, 0, 0) and (0, ±1, 0). So s = (sqrt(8), sqrt(2)), along the first two axes.
    X = np.array([[12.0, 20.0, 5.0], [8.0, 20.0, 5.0], [10.0, 21.0, 5.0], [10.0, 19.0, 5.0]])
    with expect_unchanged(X=X):
        components, s = randomized_pca(X, 2)
    expect_close(
        s,
        [np.sqrt(8), np.sqrt(2)],
        rtol=1e-9,
        hint="the singular values of X minus the mean of each column",
        mistakes={
            "These are the singular values of X itself: subtract the mean.": np.linalg.svd(X)[1][:2],
            "These are squared singular values.": [8.0, 2.0],
            "These are standard deviations: do not divide by m.": [np.sqrt(2), np.sqrt(0.5)],
        },
    )
    expect_close(components, [[1, 0, 0], [0, 1, 0]], atol=1e-9, hint="the largest entry of each row is positive")
    for rows in (np.array([[3.0, -2.0, -2.0], [0, 0, 0]]), np.array([[0, 0, 0], [3.0, -2.0, -2.0]])):
        expect_close(
            randomized_pca(rows, 1)[0],
            [[3 / np.sqrt(17), -2 / np.sqrt(17), -2 / np.sqrt(17)]],
            rtol=1e-9,
            hint="the entry that is the largest in size, 3, is positive; the sum of the entries is not",
        )
    sparse_components, sparse_s = randomized_pca(scipy.sparse.csr_array(X), 2)
    expect_close(sparse_s, s, rtol=1e-9, hint="a sparse X gives the same")
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(40, 6)))[0] for _ in range(2))
    left = np.linalg.qr(left - left.mean(axis=0))[0]
    wide = left * 10.0 ** -np.arange(6) @ right.T  # singular values 1, 0.1, ..., 0.00001, centred
    expect_close(
        randomized_pca(wide, 6, oversample=0, power=3)[1],
        10.0 ** -np.arange(6),
        rtol=1e-6,
        hint="small singular values are lost: take a basis (QR) after every product",
    )
    expect_close(randomized_pca(wide, 1, oversample=0, power=10)[1], [1], rtol=1e-9, hint="ten power iterations")
    expect_close(randomized_pca(wide, 1, oversample=5, power=0)[1], [1], rtol=1e-9, hint="Omega has k + 5 columns")
    rows = scipy.sparse.random_array((20_000, 30_000), density=1e-5, format="csr", rng=0)
    expect_shape(randomized_pca(rows, 2, oversample=3, power=1)[0], (2, 30_000))  # dense, it would take 4.8 GB
    with expect_raises(ValueError, hint="k is at most min(m, d)"):
        randomized_pca(X, 4)

# %% [markdown]
# Your function on the digits images, $k = 10$, for several $q$. Left: the singular values. Without power iterations the
# later ones are too small, because $Q$ misses a part of their directions. Right: how much more of $X_c$ the ten components
# miss, in the spectral norm, than the best ten, which miss $s_{11}$. The cell prints the same numbers beside the bound. (The
# bound is for $Q$ with $k + p$ columns. To keep only $k$ components adds at most $s_{11}$: Theorem 9.3.) Your values lie far
# below the bound. As $q$ grows, yours falls to the best possible, and the bound towards 2: one for $Q$, and one for keeping
# $k$ components.

# %% tags=["demo"]
centred = digits.X - digits.X.mean(axis=0)
exact = np.linalg.svd(centred, compute_uv=False)
k, p, powers = 10, 5, range(6)
ratio, bound = [], []
for q in powers:
    missed = []
    for seed in range(demo_size(full=10, small=3)):
        V = randomized_pca(digits.X, k, oversample=p, power=q, seed=seed)[0]
        missed.append(np.linalg.norm(centred - centred @ V.T @ V, 2))
    ratio.append(np.mean(missed) / exact[k])
    sigma = (exact / exact[k]) ** (2 * q + 1)
    inside = (1 + 6 * np.sqrt((k + p) * p * np.log(p))) + 3 * np.sqrt(k + p) * np.sqrt(np.sum(sigma[k:] ** 2))
    bound.append(1 + inside ** (1 / (2 * q + 1)))
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
plotting.curves(
    {f"yours, q = {q}": (np.arange(1, k + 1), randomized_pca(digits.X, k, oversample=p, power=q)[1]) for q in (0, 2)},
    xlabel="number of the component",
    ylabel="singular value",
    title="Two power iterations are enough here",
    ax=left,
)
left.plot(np.arange(1, 16), exact[:15], "o", color=plotting.INK, fillstyle="none", ls="", label="exact")
left.set_ylim(0, None)
left.legend()
plotting.curves(
    {"yours": (powers, np.array(ratio) - 1)},
    xlabel="power iterations q",
    ylabel="missed / best − 1 (mean over draws)",
    logy=True,
    title="The missed part falls towards the best",
    ax=right,
)
plt.show()
for q in powers:
    print(f"q = {q}: yours misses {ratio[q]:.4f} times the best possible; the bound says at most {bound[q]:.1f} times")

# %% [markdown]
# **What components are good for, and what not.** Left: the digits in their first two components. Right: two classes that
# differ along a direction of small variance. The first component is the direction of large variance, and along it the
# classes lie on each other: PCA does not know the labels. The printed lines cluster the digits, once with all 64 columns
# and once with their components. (A cluster stands for the digit that is most frequent in it.)

# %% tags=["demo"]
kept = randomized_pca(digits.X, 10)[0]
shares = [np.linalg.norm(centred @ kept[:k].T) ** 2 / np.linalg.norm(centred) ** 2 for k in (2, 10)]
print(f"share of the variance: 2 components keep {shares[0]:.0%}, 10 components keep {shares[1]:.0%}")
for name, rows in {
    "64 columns": digits.X,
    "10 components": centred @ kept.T,
    "2 components": centred @ kept[:2].T,
}.items():
    begun = time.perf_counter()
    tries = [kmeans(rows, kmeans_plus_plus(rows, 10, seed)) for seed in range(demo_size(full=4, small=2))]
    seconds = time.perf_counter() - begun
    groups = min(tries, key=lambda run: run[2][-1])[1]
    right = sum(np.bincount(digits.y[groups == j]).max() for j in range(10)) / len(digits.y)
    print(f"k-means with {name}: {seconds:.2f} s, {right:.1%} of the images in a cluster of their digit")
rng = np.random.default_rng(0)
thin = rng.normal(size=(400, 2)) * [5, 0.3]
thin_class = rng.integers(0, 2, 400)
thin[:, 1] += 2 * thin_class
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
picture = left.scatter(*(centred @ kept[:2].T).T, c=digits.y, cmap="tab10", s=6, vmin=-0.5, vmax=9.5)
figure.colorbar(picture, ax=left, ticks=range(10), label="digit")
left.set(xlabel="component 1", ylabel="component 2", title="Digits: some classes are apart, some are not")
for c in (0, 1):
    right.plot(*thin[thin_class == c].T, plotting.MARKERS[c], color=plotting.COLOURS[c], markersize=3, ls="")
arrow = 8 * randomized_pca(thin, 1)[0][0]
right.annotate("", thin.mean(axis=0) + arrow, thin.mean(axis=0) - arrow, arrowprops={"arrowstyle": "<->", "lw": 2})
right.set(xlabel="column 1", ylabel="column 2", title="The first component does not tell the classes apart")
plt.show()

# %% [markdown]
# ### A few labels: spread them over a graph
#
# Now somebody labels a few rows. Join each row with its nearest neighbours by edges of weight $W_{ij} > 0$. Two rows that
# are joined should have similar answers. Let $F_i \in \mathbb R^C$ be the answer at node $i$, one number for each class. At
# labelled nodes it is fixed: one-hot. At the others we minimise
#
# $$E(F) = \tfrac12 \sum_{i,j} W_{ij} \|F_i - F_j\|^2 .$$
#
# The derivative with respect to $F_i$ is $2 \sum_j W_{ij} (F_i - F_j)$. It is zero where
#
# $$F_i = \frac{\sum_j W_{ij} F_j}{\sum_j W_{ij}} \qquad\text{at every node without a label:}$$
#
# each answer is the mean of its neighbours' answers (Zhu, Ghahramani and Lafferty, 2003). There is a second way to read
# it, for nodes from which a label can be reached. Start a random walk at node $i$, which takes edge $(i, j)$ with
# probability $W_{ij} / \sum_{j'} W_{ij'}$, and let it stop at the first labelled node. Then $F_{ic}$ is the probability that
# this node has class $c$.
#
# To solve these equations, repeat them: replace every unlabelled row by the mean of its neighbours. Start with zeros.
# After $t$ steps, $F_{ic}$ is the probability that the walk has stopped in class $c$ within $t$ steps. So entries only
# grow, and rows sum to at most 1. If no label can reach a node, its row stays 0, and the prediction is −1.
#
# (**Spectral clustering** uses the same graph without any label: it takes the eigenvectors of the smallest eigenvalues of
# $D - W$, with the sums of the weights on the diagonal of $D$, as columns, and clusters its rows by k-means.)

# %% [markdown]
# ### 7.6 `label_propagation` · essential · level 3 of 4 · 25 min
#
# The graph is sparse: with $n = 10^5$ nodes and ten neighbours each, $W$ has $10^6$ entries. As a dense array it would
# take 80 GB. A step is one sparse product $WF$, $O(\text{entries} \cdot C)$, and a division of the rows.


# %% exercise="label_propagation" points=3 minutes=25 forbids=["sklearn"] trains=["sparse data structures"]
def label_propagation(
    W: scipy.sparse.csr_array, labels: np.ndarray, max_steps: int = 1000, tol: float = 1e-6
) -> tuple[np.ndarray, np.ndarray]:
    """Spread the labels of a few nodes over a graph. Labelled nodes keep their labels.

    W: (n, n), scipy.sparse.csr_array, symmetric, floats or integers, 0 or from 1e-91 to 1e91;
      converted to float64. An entry on the diagonal counts like any other. There may be rows without
      an entry and entries that are 0, and the columns of a row may be in any order.
    labels: (n,), integers from -1 to C - 1, of any signed NumPy dtype: a class, or -1 for unknown.
      C is the largest label plus 1, and at least one label is known.
    max_steps: an integer >= 0. tol: a float from 0 to 1.

    F is (n, C). At labelled nodes it is one-hot and stays so; at the others it starts as 0. In a step
    each unlabelled row becomes (sum_j W_ij F_j) / (sum_j W_ij), from the F before the step; it is 0
    where the sum of the weights is 0. The last step is the first one in which no entry of F changes
    by more than tol, or step number max_steps.

    Returns (predicted, F) after the last step, new arrays. F: float64. predicted: (n,), integers: the
    class of the largest entry of the row of F, the lowest class if several are the largest; -1 where
    the row is 0. Leaves W and labels as they are.
    O((n + entries) C) time for a step, O(entries + n C) memory: no array of shape (n, n). There may
    be 100,000 nodes with ten neighbours each: a Python loop over the nodes is too slow.
    Not allowed: sklearn.
    """
    ### BEGIN SOLUTION
    known = labels >= 0
    F = np.zeros((len(labels), int(labels.max()) + 1))
    F[known, labels[known]] = 1
    total = W @ np.ones((len(labels), 1))
    total[total == 0] = 1
    for _ in range(max_steps):
        new = (W @ F) / total
        new[known] = F[known]
        change = (new - F).max()  # entries only grow
        F = new
        if change <= tol:
            break
    return np.where(F.max(axis=1) > 0, F.argmax(axis=1), -1), F
    ### END SOLUTION


# %% [markdown] hints="label_propagation"
# <details><summary>Hint 1: the beginning</summary>
#
# `F = np.zeros((n, C))`, then `F[known, labels[known]] = 1` with `known = labels >= 0`. The sums of the weights,
# `W.sum(axis=1)`, do not change: compute them once. Replace a sum of 0 by 1 before you divide.
# </details>
# <details><summary>Hint 2: a step</summary>
#
# `new = (W @ F) / total[:, None]`, and then `new[known] = F[known]`: the labelled rows go back to one-hot.
# </details>
# <details><summary>Hint 3: stop and answer</summary>
#
# `(new - F).max() <= tol` (entries only grow) is tested after the step, and the new F is kept. At the end
# `np.where(F.max(axis=1) > 0, F.argmax(axis=1), -1)`.
# </details>

# %% check="label_propagation"
with check("label_propagation", forbids=["sklearn"]):
    # A path 0 - 1 - 2 - 3, and node 4 alone. Node 0 has class 0, node 3 has class 1. Edge 2 - 3 has weight 3.
    W = np.zeros((5, 5))
    for a, b, weight in [(0, 1, 1.0), (1, 2, 1.0), (2, 3, 3.0)]:
        W[a, b] = W[b, a] = weight
    W, labels = scipy.sparse.csr_array(W), np.array([0, -1, -1, 1, -1])
    with expect_unchanged(labels=labels, data=W.data):
        predicted, F = label_propagation(W, labels, max_steps=1)
    expect_close(
        F,
        [[1, 0], [1 / 2, 0], [0, 3 / 4], [0, 1], [0, 0]],
        atol=1e-12,
        hint="one step: the mean of the neighbours' rows, weighted by the edges",
        mistakes={
            "You divided by the neighbours' sums of weights: divide each row by its own.": [
                [1, 0],
                [1, 0],
                [0, 1],
                [0, 1],
                [0, 0],
            ],
            "You did not divide by the sum of the weights.": [[1, 0], [1, 0], [0, 3], [0, 1], [0, 0]],
            "The labelled nodes changed: set them back after each step.": [
                [0, 0],
                [1 / 2, 0],
                [0, 3 / 4],
                [0, 0],
                [0, 0],
            ],
        },
    )
    predicted, F = label_propagation(W, labels, tol=1e-12)
    # Let f be the answer for class 1: f1 = f2 / 2 and f2 = (f1 + 3) / 4. So f1 = 3/7 and f2 = 6/7.
    expect_close(F[:, 1], [0, 3 / 7, 6 / 7, 1, 0], atol=1e-9, hint="repeat until nothing changes by more than tol")
    expect_close(predicted, [0, 0, 1, 1, -1], atol=0, hint="-1 for a node that no label reaches")
    expect_close(label_propagation(W, labels, max_steps=0)[0], [0, -1, -1, 1, -1], atol=0)

# %% [markdown]
# Left: the six stars of the first figure after 40 steps of your function. The colour is $F_{i1} - F_{i0}$, so white points
# have heard of no label or of both equally; the last answer is in the first figure. Right: your function on random graphs with four
# planted communities, `datasets.graph`, with a few labels for each. A share of the edges (the **mixing**) joins nodes of
# different communities. At a mixing of 3/4 an edge would join two nodes of the same community as often as chance does.
#
# The plain answer needs many labels, even where few edges mix. With few labelled nodes, a random walk visits all
# communities before it stops. So the rows of $F$ are nearly equal, whatever node the walk starts from, and the class whose
# labelled nodes are hit most often wins everywhere. Zhu et al. (2003) give a remedy in the same paper, **class mass
# normalisation**: divide each column of $F$ by its sum over the unlabelled nodes, and then take the largest entry. It
# assumes that the classes are of equal size, as they are here. (If you know their sizes, multiply by these.)

# %% tags=["demo"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.4))
F = label_propagation(neighbour_graph(moons.X, 7), known, max_steps=40, tol=0.0)[1]
left.scatter(*moons.X.T, c=F[:, 1] - F[:, 0], cmap="RdBu_r", s=14, vmin=-1, vmax=1, edgecolors="0.6", linewidths=0.3)
left.plot(*moons.X[six].T, "*", color=plotting.INK, markersize=13)
left.set_title("Six labels, 40 steps: the labels are on their way")
n, draws = demo_size(full=3000, small=800), demo_size(full=3, small=1)
counts, lines = demo_size(full=[1, 4, 8, 16, 64], small=[1, 4, 16]), {}
for mixing in (0.1, 0.3):
    planted = datasets.graph(n, communities=4, degree=10, mixing=mixing)
    found = np.zeros((2, len(counts), draws))
    for i, number in itertools.product(range(len(counts)), range(draws)):
        rng = np.random.default_rng(number)
        nodes = [rng.choice(np.flatnonzero(planted.y == c), counts[i], replace=False) for c in range(4)]
        labels = np.full(n, -1)
        labels[np.concatenate(nodes)] = np.repeat(np.arange(4), counts[i])
        predicted, F = label_propagation(planted.W, labels, max_steps=400, tol=1e-6)
        free = labels < 0
        normalised = (F / np.maximum(F[free].sum(axis=0), 1e-300)).argmax(axis=1)
        found[:, i, number] = [np.mean(said[free] == planted.y[free]) for said in (predicted, normalised)]
    lines |= {f"mixing {mixing}, plain": (counts, found[0].mean(axis=1))}
    lines |= {f"mixing {mixing}, normalised": (counts, found[1].mean(axis=1))}
plotting.curves(
    lines,
    xlabel="labels for each community",
    ylabel="share of the other nodes right",
    title="Few labels: divide by the class mass",
    logx=True,
    ax=right,
)
right.axhline(1 / 4, color=plotting.INK, lw=0.8, ls="-")
right.text(counts[-1], 0.255, "chance", ha="right", va="bottom")
right.set_xticks(counts, counts)
right.minorticks_off()
right.set_ylim(0.2, 1.02)
plt.show()
for name, (_, found) in lines.items():
    print(f"{name}: " + ", ".join(f"{c} labels {share:.0%}" for c, share in zip(counts, found, strict=True)))

# %% [markdown]
# ### When do unlabelled rows help?
#
# Label propagation assumes that joined rows mostly share a class. k-means and mixtures assume that classes are groups.
# Unlabelled rows by themselves say only where rows lie, $p(x)$. They help with $p(y \mid x)$ only through such an
# assumption. One of the oldest semi-supervised methods shows this best. **Self-training** (Scudder, 1965; Yarowsky, 1995) trains
# a classifier on the labelled rows, lets it label the rows of which it is sure, adds these, and trains again. Its own
# mistakes become training data.
#
# ### 7.7 `self_training` · optional · level 2 of 4 · 20 min
#
# This is the first of two extra exercises. The classifier is passed in as one function, so that any classifier will do.


# %% exercise="self_training" points=2 minutes=20 extra=true forbids=["sklearn"]
def self_training(
    classify: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    X: np.ndarray,
    y: np.ndarray,
    threshold: float,
    max_rounds: int = 50,
) -> np.ndarray:
    """Label unlabelled rows by a classifier's own confident answers.

    classify: classify(X_train, y_train, X_new) returns a float64 array (rows of X_new, C) of
      probabilities, column c for class c. It gets rows of X, in the dtype of X, and y_train as int64.
    X: (m, d), of any dtype. y: (m,), signed integers of any NumPy dtype: classes, or -1 for unknown.
      At least one row has a label.
    threshold: a float from 0 to 1. max_rounds: an integer >= 0.

    A round asks classify once: all rows that have a label by now (given or made) to train, all other
    rows as X_new, both in the order of X. Each of these whose largest probability is at least the
    threshold gets its class (the lowest class, if several are the largest) and keeps it for good.
    It ends after max_rounds rounds, after a round that labels nothing, or where no row is without a
    label: then classify is not asked again.

    Returns (m,), int64, a new array: the given labels as they were, the ones that were made, and -1
    where there is still none. Leaves X, y and what classify returned as they are.
    Not allowed: sklearn.
    """
    ### BEGIN SOLUTION
    y = np.array(y, dtype=np.int64)
    for _ in range(max_rounds):
        waiting = np.flatnonzero(y < 0)
        if len(waiting) == 0:
            break
        P = classify(X[y >= 0], y[y >= 0], X[waiting])
        sure = P.max(axis=1) >= threshold
        if not sure.any():
            break
        y[waiting[sure]] = P[sure].argmax(axis=1)
    return y
    ### END SOLUTION


# %% [markdown] hints="self_training"
# <details><summary>Hint 1: the state</summary>
#
# All that changes is one array of labels, a copy of y. `waiting = np.flatnonzero(labels < 0)` are the rows to ask about.
# </details>
# <details><summary>Hint 2: a round</summary>
#
# `P = classify(X[labels >= 0], labels[labels >= 0], X[waiting])`; `sure = P.max(axis=1) >= threshold`; then
# `labels[waiting[sure]] = P[sure].argmax(axis=1)`.
# </details>

# %% check="self_training"
with check("self_training", forbids=["sklearn"]):
    asked = []

    def nearest(X_train, y_train, X_new):
        """Sure of the class of the nearest row, if that is at most 1 away."""
        asked.append((X_train.ravel().tolist(), y_train.tolist(), X_new.ravel().tolist()))
        gap = np.abs(X_new[:, 0][:, None] - X_train[:, 0])
        P = np.full((len(X_new), 2), 0.5)
        sure = gap.min(axis=1) <= 1
        P[sure] = 0.9 * np.eye(2)[y_train[gap.argmin(axis=1)]][sure] + 0.05
        return P

    X, y = np.array([[0.0], [1.0], [2.0], [5.0], [6.0], [9.0]]), np.array([0, -1, -1, 1, -1, -1])
    with expect_unchanged(X=X, y=y):
        got = self_training(nearest, X, y, threshold=0.9)
    # Round 1 labels 1 and 6, round 2 labels 2, round 3 nothing: row 9 is more than 1 away from all others.
    expect_close(
        got,
        [0, 0, 0, 1, 1, -1],
        atol=0,
        mistakes={
            "You made one round only.": [0, 0, -1, 1, 1, -1],
            "You labelled rows below the threshold as well.": [0, 0, 0, 1, 1, 0],
        },
    )
    assert len(asked) == 3, f"classify is asked once a round, three times here, not {len(asked)}"
    assert asked[1] == ([0, 1, 5, 6], [0, 0, 1, 1], [2, 9]), "round 2 trains on all rows with a label by now"
    expect_close(self_training(nearest, X, y, 0.9, max_rounds=1), [0, 0, -1, 1, 1, -1], atol=0)
    asked.clear()
    expect_close(self_training(nearest, X, (X[:, 0] > 4).astype(int), 0.9), [0, 0, 0, 1, 1, 1], atol=0)
    assert not asked, "every row has a label, so there is nothing to ask"

# %% [markdown]
# Both panels use rows of the same kind, with different labels. The rows lie in two round clouds in ten dimensions. On the left, the clouds are the
# classes. On the right, the classes are the halves of both clouds along another axis: the border runs through the
# middle of the clouds, where rows lie most densely. The classifier is Gaussian naive Bayes, the threshold 0.9, and the
# curves are means over draws, with bars of one standard error. On the left, self-training helps, and most where labels are few. On the right, with
# few labels it does harm: the classifier is sure of wrong answers, and learns from them.

# %% tags=["demo"]


def naive_bayes(X_train, y_train, X_new):
    model = GaussianNB(var_smoothing=0.1).fit(X_train, y_train)
    P = np.zeros((len(X_new), 2))
    P[:, model.classes_] = model.predict_proba(X_new)
    return P


counts, draws = [2, 4, 8, 16, 32], demo_size(full=16, small=8)
figure, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True)
for ax, task in zip(axes, ("Clouds are classes: it helps", "Classes cut the clouds: it hurts"), strict=True):
    alone, taught = np.zeros((2, len(counts), draws))
    for number in range(draws):
        rng = np.random.default_rng(number)
        cloud = rng.integers(0, 2, 600)
        rows = rng.normal(size=(600, 10))
        rows[:, 0] += np.where(cloud, 2, -2)
        truth = cloud if ax is axes[0] else (rows[:, 1] > 0).astype(int)
        for i, count in enumerate(counts):
            y = np.full(600, -1)
            for c in (0, 1):
                chosen = rng.choice(np.flatnonzero(truth == c), count, replace=False)
                y[chosen] = c
            made = self_training(naive_bayes, rows, y, 0.9)
            for result, labels in ((alone, y), (taught, made)):
                said = naive_bayes(rows[labels >= 0], labels[labels >= 0], rows).argmax(axis=1)
                result[i, number] = np.mean(said == truth)
    plotting.curves(
        {"labelled rows alone": (counts, alone.mean(axis=1)), "with self-training": (counts, taught.mean(axis=1))},
        xlabel="labels for each class",
        ylabel="share of rows right",
        title=task,
        logx=True,
        ax=ax,
    )
    for colour, share in enumerate((alone, taught)):
        error = share.std(axis=1, ddof=1) / np.sqrt(draws)
        ax.errorbar(counts, share.mean(axis=1), error, color=plotting.COLOURS[colour], ls="", capsize=3)
    ax.set_xticks(counts, counts)
    ax.minorticks_off()
    change = 100 * (taught - alone).mean(axis=1)
    print(
        f"{task}. Change in percentage points:",
        ", ".join(f"{c} labels a class {x:+.1f}" for c, x in zip(counts, change, strict=True)),
    )
plt.show()

# %% [markdown]
# ## Scale it
#
# ### Who is faster, and why
#
# Three measurements with one thread each: your `kmeans` beside scikit-learn's, ten steps from the same start; your
# `randomized_pca` beside scikit-learn's exact and randomised methods on dense rows (the randomised one with as many
# columns, power iterations and bases as yours); your `label_propagation` beside scikit-learn's, ten steps on the same
# graph, which it is given once as a dense and once as a sparse array. A curve ends before the size at which it would take
# too long.

# %% tags=["demo"]


def rows_and_start(m):
    X = np.random.default_rng(m).normal(size=(m, 16))
    return X, X[:20].copy()


def wide_rows(d):
    rng = np.random.default_rng(d)
    return (rng.normal(size=(2000, 30)) @ rng.normal(size=(30, d)) + rng.normal(size=(2000, d)),)


def planted_graph(n):
    planted = datasets.graph(n)
    return planted.W, np.where(np.arange(n) % 50 == 0, planted.y, -1)


def by_sklearn(kernel):
    """Ten steps of scikit-learn's on the graph that `kernel` makes of W."""

    def propagate(W, labels):
        peer = LabelPropagation(kernel=lambda a, b: kernel(W), max_iter=10, tol=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ten steps are not enough, it says
            return peer.fit(np.zeros((len(labels), 1)), labels)

    return propagate


clustering = scaling.measure(
    {
        "kmeans (yours)": lambda X, start: kmeans(X, start, max_steps=10),
        "KMeans": lambda X, start: KMeans(20, init=start, n_init=1, max_iter=10, tol=0).fit(X),
    },
    sizes=demo_size(full=[1000, 4000, 16_000], small=[500, 1000]),
    setup=rows_and_start,
    budget=demo_size(full=4.0, small=0.5),
    repeat=1,
    label="rows m (d = 16, k = 20)",
    threads=1,
    memory=None,
)
components = scaling.measure(
    {
        "randomized_pca (yours)": lambda X: randomized_pca(X, 10),
        "PCA, exact": lambda X: PCA(10, svd_solver="full").fit(X),
        "PCA, randomised": lambda X: PCA(
            10,
            svd_solver="randomized",
            n_oversamples=10,
            iterated_power=2,
            power_iteration_normalizer="QR",
            random_state=0,
        ).fit(X),
    },
    sizes=demo_size(full=[100, 200, 400, 800], small=[100, 200]),
    setup=wide_rows,
    budget=demo_size(full=8.0, small=2.0),
    repeat=1,
    label="columns d (m = 2000, k = 10)",
    threads=1,
)
figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.4))
clustering.plot(peer="KMeans", ax=left).set_title("k-means, ten steps")
components.plot(peer="PCA, exact", ax=right).set_title("Ten components")
for ax, sizes in ((left, clustering.sizes), (right, components.sizes)):
    ax.set_xticks(sizes, sizes)
    ax.minorticks_off()
plt.show()
components.table()

# %% [markdown]
# scikit-learn's `KMeans` wins, and its time, too, grows about in proportion to $m$: both read every row once in each step.
# It uses the fast form of 7.1, $\|x\|^2 - 2 x^\top c + \|c\|^2$, in blocks of rows, and keeps the digits by subtracting the
# mean of all rows first. A loop over the centres in NumPy writes an $(m, d)$ array of differences for each of them. Among
# the methods for components, the exact one computes all $d$ of them, and holds copies of $X$ (the table has the memory).
# Both randomised methods need products with $X$ alone. scikit-learn's randomised method subtracts the mean from a copy of
# a dense $X$; yours does not copy.

# %% tags=["demo"]
graphs = scaling.measure(
    {
        "yours": lambda W, labels: label_propagation(W, labels, max_steps=10, tol=0.0),
        "LabelPropagation, dense kernel": by_sklearn(lambda W: W.toarray()),
        "LabelPropagation, sparse kernel": by_sklearn(lambda W: W.copy()),
    },
    sizes=demo_size(full=[500, 1000, 2000, 10_000, 50_000], small=[200, 400]),
    setup=planted_graph,
    budget=demo_size(full=9.0, small=0.5),
    repeat=1,
    label="nodes n (10 neighbours)",
    threads=1,
)
figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.4))
graphs.plot(peer="LabelPropagation, sparse kernel", ax=left).set_title("The time of ten steps")
graphs.plot(peer="LabelPropagation, sparse kernel", what="memory", ax=right).set_title("The memory")
plt.show()

# %% [markdown]
# With a dense kernel (`"rbf"` is the default) scikit-learn needs $n^2$ numbers: 80 GB at $10^5$ nodes. Give it a sparse
# kernel (`"knn"`, or a function that returns a sparse array), and its time and memory grow like yours. What wins is the
# sparse product, not the program.
#
# All three functions still hold $X$, or $W$, in memory. What if the rows come as a stream? Groups first (7.8, the second
# extra exercise), then components (7.9).

# %% [markdown]
# ### 7.8 `minibatch_kmeans` · optional · level 2 of 4 · 20 min
#
# A centre is a mean, and a mean can be updated: after $n$ rows with mean $c$, a further row $x$ gives
# $c + (x - c) / (n + 1)$. **Mini-batch k-means** (Sculley, 2010) reads a batch, assigns its rows to the present centres,
# and moves each centre to the mean of all the rows that it was ever given:
#
# $$\text{counts}_j \leftarrow \text{counts}_j + b_j, \qquad
#   c_j \leftarrow c_j + \frac{b_j}{\text{counts}_j} (\bar x_j - c_j),$$
#
# where $b_j$ rows of the batch, with mean $\bar x_j$, are nearest to $c_j$. The factor $b_j / \text{counts}_j$ is a
# learning rate that falls like $1/\text{time}$, as in module 02. Earlier rows are never assigned again. So $J$ is not
# the one of Lloyd's algorithm, but one pass is enough, and memory holds one batch and $k$ centres. The pair (centres,
# counts) is all there is to remember: save it, and go on tomorrow.


# %% exercise="minibatch_kmeans" points=2 minutes=20 extra=true forbids=["sklearn", "scipy.cluster"] trains=["one-pass algorithms"]
def minibatch_kmeans(
    batches: Iterable[np.ndarray], centers: np.ndarray, counts: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """One pass of mini-batch k-means over a stream.

    batches: an iterable of arrays (n, d) that can be gone through once only; n differs from batch to
      batch and may be 0. There may be no batch at all. A batch may reuse the buffer of the one
      before it. float32, float64 or any NumPy integer dtype, in any memory layout, finite.
    centers: (k, d), k >= 1, the centres to begin with, of any of these dtypes.
    counts: (k,), integers >= 0: how many rows each centre is the mean of so far. None means zeros. A
      centre with count 0 has no weight: by the formula below it moves to the mean of its first rows.

    For each batch: assign its rows to the nearest of the centres as they were before the batch (any
    of them, if several are equally near). Then for each centre with b > 0 rows: counts += b, and
    center += b / counts * (mean of these rows - center). Other centres stay.
    Computed in float64. Rows may lie 1e8 from zero and 1 apart ("Digits" in 7.1).

    Returns (centers, counts): new arrays, (k, d) float64 and (k,) int64. Leaves the batches, centers
    and counts as they are. Memory: besides the batch, a few arrays of its size, whatever the number
    of batches. (Tested with batches of 10,000 rows, d = 50 and k = 3.)
    Not allowed: sklearn, scipy.cluster.
    """
    ### BEGIN SOLUTION
    centers = np.array(centers, dtype=np.float64)
    counts = np.zeros(len(centers), dtype=np.int64) if counts is None else np.array(counts, dtype=np.int64)
    for X in batches:
        X = np.asarray(X, dtype=np.float64)
        D2 = np.stack([((X - c) ** 2).sum(axis=1) for c in centers], axis=1)
        labels = D2.argmin(axis=1)
        for j in np.unique(labels):
            mine = X[labels == j]
            counts[j] += len(mine)
            centers[j] += len(mine) / counts[j] * (mine.mean(axis=0) - centers[j])
    return centers, counts
    ### END SOLUTION


# %% [markdown] hints="minibatch_kmeans"
# <details><summary>Hint 1: the state</summary>
#
# Copy `centers` as float64 and `counts` as int64 (`np.array`, which copies): they are the only things that live longer
# than a batch.
# </details>
# <details><summary>Hint 2: a batch</summary>
#
# Compute the labels of the whole batch first, as in `kmeans`. Then, for each j in `np.unique(labels)`, add the number of
# its rows to `counts[j]` *before* you divide by it.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# `mine = X[labels == j]`; `counts[j] += len(mine)`; `centers[j] += len(mine) / counts[j] * (mine.mean(axis=0) - centers[j])`.
# </details>

# %% check="minibatch_kmeans"
with check("minibatch_kmeans", forbids=["sklearn", "scipy.cluster"]):
    batches = [np.array([[0.0], [2.0], [9.0]]), np.array([[4.0], [12.0]])]
    start = np.array([[1.5], [8.0], [100.0]])
    with expect_unchanged(batches=batches, start=start):
        centers, counts = minibatch_kmeans(iter(batches), start)
    # Batch 1: 0 and 2 go to centre 0, which jumps to 1; 9 to centre 1. Batch 2: 4 is nearest to 1, so centre 0 becomes
    # 1 + 1/3 (4 - 1) = 2; 12 is nearest to 9, so centre 1 becomes 9 + 1/2 (12 - 9) = 10.5.
    expect_close(
        centers,
        [[2.0], [10.5], [100.0]],
        rtol=1e-12,
        mistakes={
            "You moved each centre to the mean of the last batch: earlier rows count, too.": [[4.0], [12.0], [100.0]],
            "You counted the first centres as rows.": [[1.875], [29 / 3], [100.0]],
            "You divided by the count before the batch was added.": [[2.5], [12.0], [100.0]],
        },
    )
    expect_close(counts, [3, 2, 0], atol=0)
    centers, counts = minibatch_kmeans(iter(batches[:1]), start)
    centers, counts = minibatch_kmeans(iter(batches[1:]), centers, counts)
    expect_close(centers, [[2.0], [10.5], [100.0]], rtol=1e-12, hint="go on from centres and counts: the same result")
    expect_close(minibatch_kmeans(iter([]), start)[0], start, atol=0, hint="no batch: the centres stay")
    # 4 is nearest to 0, and 6 is nearest to 10. Once centre 0 has moved to 4, 6 would be nearer to it.
    expect_close(
        minibatch_kmeans([np.array([[4.0], [6.0]])], np.array([[0.0], [10.0]]))[0],
        [[4.0], [6.0]],
        rtol=1e-12,
        mistakes={"You moved a centre before all rows of the batch were assigned.": [[5.0], [10.0]]},
    )

# %% [markdown]
# We compare by the number of rows read. The figure shows $J$ on held-out rows: your mini-batch k-means, in batches of 500
# rows, and Lloyd's algorithm on all rows, each of whose steps reads every row. Both start from the same centres. One
# pass of mini-batches reads as many rows as one step of Lloyd's algorithm and ends at a much lower $J$. Lloyd's algorithm
# needs several passes to come as low. scikit-learn's `MiniBatchKMeans` computes the same means from the same batches: the
# cell prints how far its centres are from yours.

# %% tags=["demo"]
rng = np.random.default_rng(3)
m = demo_size(full=40_000, small=5000)
stream = datasets.blobs(m, d=8, k=20, spread=1.5, distance=2, seed=1).X
held_out = datasets.blobs(2 * m, d=8, k=20, spread=1.5, distance=2, seed=1).X[
    m : m + demo_size(full=10_000, small=1000)
]
start = kmeans_plus_plus(stream[:2000], 20, seed=0)


def held_out_error(centers):
    return float(np.min([((held_out - c) ** 2).sum(axis=1) for c in centers], axis=0).mean())


read, error, state = [0], [held_out_error(start)], (start, None)
for batch in np.array_split(stream, m // 500):
    state = minibatch_kmeans([batch], *state)
    read.append(read[-1] + len(batch))
    error.append(held_out_error(state[0]))
lloyd, centers = [held_out_error(start)], start
for _ in range(demo_size(full=8, small=4)):
    centers = kmeans(stream, centers, max_steps=1)[0]
    lloyd.append(held_out_error(centers))
peer = MiniBatchKMeans(20, init=start, n_init=1, batch_size=500, reassignment_ratio=0)
for batch in np.array_split(stream, m // 500):
    peer.partial_fit(batch)
ax = plotting.curves(
    {"mini-batches (yours)": (read[1:], error[1:])},
    xlabel="rows read",
    ylabel="J per held-out row",
    logx=True,
    title=f"At {m:,} rows read: one pass of mini-batches, or one step of Lloyd",
)
ax.plot(
    m * np.arange(1, len(lloyd)),
    lloyd[1:],
    "o--",
    color=plotting.COLOURS[1],
    label="Lloyd (yours), a point for each step",
)
ax.legend()
plt.show()
print(f"J per held-out row: start {error[0]:.3f}, mini-batches after one pass {error[-1]:.3f}")
print(f"largest difference from MiniBatchKMeans: {np.abs(peer.cluster_centers_ - state[0]).max():.1e}")
print(f"Lloyd after one step {lloyd[1]:.3f}, after {len(lloyd) - 1} steps {lloyd[-1]:.3f}")

# %% [markdown]
# ### 7.9 `merge_covariances` · important · level 2 of 4 · 25 min
#
# A mini-batch centre depends on the order of the stream. Principal components do not depend on the order of the rows. All
# that PCA needs of the rows is the **state** $(n, \bar x, M)$: their number, their mean $(d,)$ and their **scatter matrix**
# $M = \sum_i (x_i - \bar x)(x_i - \bar x)^\top$, $(d, d)$. Its eigenvectors are the principal components, its eigenvalues
# are the $s_j^2$. Module 00 merged counts, means and sums of squares of one column. Here is the same for a matrix. Let
# $\delta = \bar x_b - \bar x_a$ and $n = n_a + n_b$:
#
# $$\bar x = \bar x_a + \frac{n_b}{n}\, \delta, \qquad
#   M = M_a + M_b + \frac{n_a n_b}{n}\, \underbrace{\delta \delta^\top}_{(d,\, d)} .$$
#
# (Split $x_i - \bar x = (x_i - \bar x_a) + (\bar x_a - \bar x)$ for the rows of part $a$. The mixed terms sum to 0, and
# what remains is $n_a (n_b/n)^2 \delta\delta^\top$; part $b$ gives $n_b (n_a/n)^2 \delta\delta^\top$.) States of many
# machines merge in any grouping, and the result is exact up to rounding. $\sum_i x_i x_i^\top - n \bar x \bar x^\top$ is
# the same matrix on paper, and loses all its digits where the mean is large.


# %% exercise="merge_covariances" points=2 minutes=25 forbids=["sklearn"] trains=["one-pass algorithms", "summaries that merge"]
def covariance_state(X: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """The state (n, mean, scatter) of the rows of X (n, d), d >= 1; n may be 0.

    X: float32, float64 or any NumPy integer dtype, in any memory layout; converted to float64.
    Finite, 0 or from 1e-100 to 1e100 in size.
    Returns n, an int; mean (d,); scatter (d, d), the sum of (x - mean)(x - mean)^T, not divided by
    anything; new float64 arrays, zeros if n is 0. The scatter keeps eight digits where rows lie
    1e6 from zero and 1 apart. Leaves X as it is.
    """
    ### BEGIN SOLUTION
    X = np.asarray(X, dtype=np.float64)
    mean = X.sum(axis=0) / (len(X) or 1)
    return len(X), mean, (X - mean).T @ (X - mean)
    ### END SOLUTION


def merge_covariances(
    a: tuple[int, np.ndarray, np.ndarray], b: tuple[int, np.ndarray, np.ndarray]
) -> tuple[int, np.ndarray, np.ndarray]:
    """The state of the rows of a and b together, from their states alone.

    a, b: states (n, mean, scatter) as `covariance_state` gives them, n >= 0, of the same d, of rows
    in the same range. A state without rows changes nothing.
    Returns the state of all rows, in the same form, new arrays. It keeps eight digits where all rows
    lie 1e6 from zero and 1 apart. Leaves a and b as they are.
    """
    ### BEGIN SOLUTION
    n = a[0] + b[0]
    delta = b[1] - a[1]
    share = b[0] / max(n, 1)
    return n, a[1] + share * delta, a[2] + b[2] + a[0] * share * np.outer(delta, delta)
    ### END SOLUTION


def streaming_pca(chunks: Iterable[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k leading principal components of all rows of a stream, in one pass.

    chunks: an iterable of arrays (n, d), at least one, that can be gone through once only; n differs
      from chunk to chunk and may be 0; d does not. A chunk may reuse the buffer of the one before it.
      All dtypes that `covariance_state` takes.
    k: an integer, 1 <= k <= d; it may exceed the number of rows.

    Returns (components, s) as `randomized_pca` does, but exact up to rounding: components (k, d),
    rows orthonormal, in each row the entry that is the largest in size is positive (either, if two are
    equally large); s (k,), the square roots of the k largest eigenvalues of the scatter of all rows,
    falling; never negative, never nan.
    (The eigenvalues are right to about 1e-15 of the largest, so s below 1e-7 s[0] is only noise.)
    Leaves the chunks as they are. Memory for one chunk, a few arrays of its size and of (d, d),
    whatever the number of chunks. Not allowed: sklearn.
    """
    ### BEGIN SOLUTION
    state = None
    for chunk in chunks:
        new = covariance_state(chunk)
        state = new if state is None else merge_covariances(state, new)
    values, vectors = np.linalg.eigh(state[2])  # rising
    return largest_positive(vectors.T[::-1][:k]), np.sqrt(values[::-1][:k].clip(min=0))
    ### END SOLUTION


# %% [markdown] hints="merge_covariances"
# <details><summary>Hint 1: a state</summary>
#
# Subtract the mean first, `D = X - mean`, then `D.T @ D`. For n = 0 divide the sum by 1 instead of 0, and all is zeros.
# </details>
# <details><summary>Hint 2: merging</summary>
#
# `delta = b[1] - a[1]` and `np.outer(delta, delta)` with the factor `a[0] * b[0] / n`. If n is 0, the factor is 0.
# </details>
# <details><summary>Hint 3: components</summary>
#
# `np.linalg.eigh` returns rising eigenvalues, and the eigenvectors in *columns*: take `vectors.T[::-1][:k]`. An eigenvalue
# of 0 may come out as −1e-17: clip it before the root. `largest_positive` of the setup cell settles the signs.
# </details>

# %% check="merge_covariances"
with check("merge_covariances", forbids=["sklearn"]):
    X = np.array([[1.0, 0.0], [3.0, 0.0], [5.0, 6.0]])
    with expect_unchanged(X=X):
        n, mean, scatter = covariance_state(X)
    expect_close(mean, [3.0, 2.0], rtol=1e-12)
    # Differences (-2, -2), (0, -2), (2, 4): squares 4 + 0 + 4 and 4 + 4 + 16, products 4 + 0 + 8.
    expect_close(
        scatter,
        [[8.0, 12.0], [12.0, 24.0]],
        rtol=1e-12,
        mistakes={
            "You divided by n: the scatter is a sum.": np.array([[8.0, 12.0], [12.0, 24.0]]) / 3,
            "You did not subtract the mean.": [[35.0, 30.0], [30.0, 36.0]],
        },
    )
    merged = merge_covariances(covariance_state(X[:1]), covariance_state(X[1:]))
    expect_close(merged[1], mean, rtol=1e-12, hint="weight the means by their numbers of rows")
    # Part b alone has the scatter ((2, 6), (6, 18)); delta is (3, 3), and n_a n_b / n is 2/3.
    expect_close(
        merged[2],
        scatter,
        rtol=1e-12,
        mistakes={"You added the scatters and left out the distance of the means.": [[2.0, 6.0], [6.0, 18.0]]},
    )
    assert int(merged[0]) == 3, f"three rows, not {merged[0]}"
    both = merge_covariances(covariance_state(X[:0]), covariance_state(X[:0]))
    expect_close(both[2], np.zeros((2, 2)), atol=0, hint="no row at all: zeros, not nan")
    components, s = streaming_pca(iter([X[:2], X[:0], X[2:]]), 2)
    expect_close(s**2, 16 + np.array([1, -1]) * np.sqrt(208), rtol=1e-9, hint="eigenvalues 16 ± sqrt(8² + 12²)")
    expect_close(components @ components.T, np.eye(2), atol=1e-12, hint="components are orthonormal")
    expect_close(
        components @ scatter,
        s[:, None] ** 2 * components,
        atol=1e-9,
        hint="each row is an eigenvector; np.linalg.eigh returns them in the columns",
    )
    assert min(components[0, 1], components[1, 0]) > 0, "the entry of a row that is the largest in size is positive"
    for part in (X / 3, np.vstack([X, X]) / 3):
        state = covariance_state(1e6 + part)
        merged = merge_covariances(covariance_state(1e6 + part[:1]), covariance_state(1e6 + part[1:]))
        for found in (state[2], merged[2]):
            expect_close(
                found,
                len(part) / 27 * scatter,
                rtol=1e-8,
                hint="near 1e6, sums of squares have lost the digits of the difference",
            )

# %% [markdown]
# A stream of images: random shifts of the digits, drawn chunk by chunk and forgotten. First figure: the leading components
# of all of them, from your function. Second figure: two ways to compute a scatter matrix when all entries carry a
# constant. It measures the methods themselves with NumPy: the sum of squares minus $n \bar x \bar x^\top$ loses two digits
# for each digit of the constant. Merged states lose at most one: adding the constant has already rounded the rows by
# that much. (The slopes in the legend say the same.)


# %% tags=["demo"]
def shifted_digits(count, size=2000):
    rng = np.random.default_rng(5)
    images = np.pad(digits.images, ((0, 0), (2, 2), (2, 2)))
    for _ in range(count):
        chosen, dx, dy = rng.integers(0, len(images), size), *rng.integers(-2, 3, (2, size))
        i, j = np.arange(12)[:, None], np.arange(12)
        yield images[chosen[:, None, None], (i - dy[:, None, None]) % 12, (j - dx[:, None, None]) % 12].reshape(
            size, 144
        )


chunks = demo_size(full=40, small=4)
begun = time.perf_counter()
components, s = streaming_pca(shifted_digits(chunks), 8)
print(
    f"{2000 * chunks:,} images in {chunks} chunks of 2.3 MB, {time.perf_counter() - begun:.1f} s; the state is {8 * (144 * 145 + 1):,} bytes"
)
plotting.image_grid(components.reshape(-1, 12, 12), titles=[f"s = {value:,.0f}" for value in s])
plt.show()
rng = np.random.default_rng(0)
rows = rng.normal(size=(1000, 5))
true_scatter = (rows - rows.mean(axis=0)).T @ (rows - rows.mean(axis=0))
constants = 10.0 ** np.arange(0, 9)
losses = {"sum of squares minus n x̄x̄ᵀ": [], "two merged states": []}
for constant in constants:
    moved = rows + constant
    a, b = (
        (len(part), part.mean(axis=0), (part - part.mean(axis=0)).T @ (part - part.mean(axis=0)))
        for part in (moved[:400], moved[400:])
    )
    delta = b[1] - a[1]
    merged = a[2] + b[2] + 240 * np.outer(delta, delta)
    squares = moved.T @ moved - 1000 * np.outer(moved.mean(axis=0), moved.mean(axis=0))
    for name, found in zip(losses, (squares, merged), strict=True):
        losses[name].append(np.abs(found - true_scatter).max() / true_scatter.max())
slopes = {
    name: np.polyfit(np.log(constants[2:]), np.log(np.maximum(loss[2:], 1e-17)), 1)[0] for name, loss in losses.items()
}
plotting.curves(
    {f"{name}: slope {slopes[name]:.1f}": (constants, np.maximum(loss, 1e-17)) for name, loss in losses.items()},
    xlabel="constant added to every entry",
    ylabel="relative error of the scatter",
    logx=True,
    logy=True,
    title="Merge states, not sums of squares",
)
plt.show()

# %% [markdown]
# ### Where it breaks
#
# - **k-means** needs $k$. The smallest $J$ falls with every further centre, so $J$ cannot choose it. Compare clusterings of
#   two random halves: groups that are not found in both halves are not real. The reverse does not follow.
# - **A full covariance** of $d$ rows or fewer is singular, and only the floor keeps its likelihood finite. With a few times
#   more rows it is positive definite but inexact, since it has $d(d+1)/2$ numbers. Reduce the columns first (7.5), or
#   allow diagonal covariances only.
# - **Label propagation with very few labels**: almost all walks end at the same few nodes, and the largest class takes all.
#   Divide each column of $F$ by its sum (7.6).
# - **A scatter matrix** has $d^2$ numbers: 3.2 GB for 20,000 columns. On wide streams, hash the columns to fewer ones, which
#   nearly keeps inner products (module 16), or take gradient steps (Oja, 1982).
# - **Label propagation** takes a label one edge further in each step. On a graph of long thin parts the number of steps
#   grows like the *square* of the length, as the time that a random walk needs to cross it. The cell shows it on a
#   path whose two ends have labels. Remedies: solve the same equations by conjugate gradients, or on a coarser graph first.

# %% tags=["demo"]
lengths, needed = demo_size(full=[10, 20, 40, 80], small=[10, 20]), []
for length in lengths:
    path = scipy.sparse.diags_array([np.ones(length - 1)] * 2, offsets=[-1, 1], format="csr")
    ends = np.full(length, -1)
    ends[[0, -1]] = 0, 1
    answer = np.linspace(1, 0, length)  # class 0 falls evenly from one end to the other
    low, high = 1, length**2
    while low < high:  # the first number of steps after which no entry is off by more than 1%
        steps = (low + high) // 2
        F = label_propagation(path, ends, max_steps=steps, tol=0.0)[1]
        low, high = (low, steps) if np.abs(F[:, 0] - answer).max() <= 0.01 else (steps + 1, high)
    needed.append(low)
slope = np.polyfit(np.log(lengths), np.log(needed), 1)[0]
print("nodes in the path:", lengths, " steps until 1% is left:", needed, f" slope {slope:.2f} (theory: 2)")

# %% [markdown] written="few_labels" points=2
# **Written question (2 points).** A clinic has 200,000 patient records with 300 columns, 90 of them with a diagnosis. A
# colleague standardises the columns, takes ten principal components, finds five clusters with k-means, and names each
# cluster after the diagnosis that is most frequent among its labelled records. He reports that self-training raised the
# confidence of the classifier from 0.7 to 0.95. Say which assumption each step makes and how it may fail. Say what the
# rise in confidence shows. How would you find out, with the 90 labels, whether the unlabelled records help?
#
# ### BEGIN SOLUTION
# Components: directions of large variance need not be those that tell diagnoses apart (a rare disease may lie in a
# direction of small variance; standardising makes every column, also a noisy one, count alike). k-means: round groups of
# similar size, and k = 5 was chosen by nobody; groups may be hospitals, age or devices instead of diagnoses. Naming by the
# most frequent diagnosis: 90 labels are about 18 a cluster, and rare diagnoses never win. Self-training: confident answers
# are right, and the border lies where few records lie. Confidence shows only that the classifier agrees with labels that
# it made itself; it rises whether or not these are right. To find out: split the 90 labels into folds; hide the test
# labels from every step (also from naming and from self-training); compare with a classifier on the labelled records
# alone, on the same folds, by a score that respects rare classes, with an interval, since 90 labels are few. Choose k and
# the number of components inside the training part. Ask for labels of some confident and some random records, and
# count how often the made labels were right.
#
# ### RUBRIC
# - 0.5: Components and k-means: what each assumes and how it may fail, such as a rare disease in a direction of small
#   variance, or groups that are hospitals instead of diagnoses.
# - 0.5: Naming and self-training: what each assumes and how it may fail, such as 18 labels a cluster, or a confident
#   answer that is wrong.
# - 0.5: The rise in confidence shows only that the classifier agrees with labels that it made itself.
# - 0.5: A comparison with a classifier on the labelled records alone, on the same folds, with test labels that no
#   step has seen.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. Run `kmeans` with centres that are medians and distances that are sums of absolute differences. Which of the two
#    arguments "cannot raise $J$" still holds, and what does the repair need?
# 2. Greedy k-means++ draws several candidates for each centre and keeps the best one; scikit-learn does this. Does it
#    lower the final $J$ on your data by more than the same time spent on more runs?
# 3. Restrict the mixture to $\Sigma_j = v I$ with one $v$ for all. Derive the M step. What does it become as $v$ falls?
# 4. Label propagation with labels at 1% of the nodes at random, or at the 1% with the most neighbours: which is better,
#    and for which mixing?
# 5. Before every new label you may choose which row to ask for. Which row, with k-means, with a mixture, and on a graph?
#    (Active learning.)
#
# References:
#
# - S. P. Lloyd, "Least squares quantization in PCM", *IEEE Transactions on Information Theory*, 1982 (written in 1957).
#   The algorithm, for quantising signals.
# - D. Arthur and S. Vassilvitskii, "k-means++: the advantages of careful seeding", *SODA*, 2007. The start of 7.1, with a
#   short proof of its bound.
# - D. Aloise, A. Deshpande, P. Hansen and P. Popat, "NP-hardness of Euclidean sum-of-squares clustering", *Machine
#   Learning*, 2009. Why nobody computes the smallest $J$.
# - A. P. Dempster, N. M. Laird and D. B. Rubin, "Maximum likelihood from incomplete data via the EM algorithm", *JRSS B*,
#   1977. EM and why the likelihood never falls.
# - N. Halko, P. G. Martinsson and J. A. Tropp, "Finding structure with randomness: probabilistic algorithms for
#   constructing approximate matrix decompositions", *SIAM Review*, 2011. All of 7.5, with the bounds.
# - X. Zhu, Z. Ghahramani and J. Lafferty, "Semi-supervised learning using Gaussian fields and harmonic functions", *ICML*,
#   2003. Label propagation as in 7.6, with the random walk and class mass normalisation.
# - B. Nadler, N. Srebro and X. Zhou, "Statistical analysis of semi-supervised learning: the limit of infinite unlabelled
#   data", *NIPS*, 2009. Why very few labels are not enough for the plain answer.
# - U. von Luxburg, "A tutorial on spectral clustering", *Statistics and Computing*, 2007. Groups from the graph alone.
# - S. Ben-David, U. von Luxburg and D. Pál, "A sober look at clustering stability", *COLT*, 2006. What two halves prove.
# - C. Eckart and G. Young, "The approximation of one matrix by another of lower rank", *Psychometrika*, 1936. Why the
#   leading singular vectors lose the least.
# - E. Oja, "A simplified neuron model as a principal component analyzer", *Journal of Mathematical Biology*, 1982. PCA by
#   gradient steps.
# - H. J. Scudder, "Probability of error of some adaptive pattern-recognition machines", *IEEE Transactions on Information
#   Theory*, 1965. Self-training, early.
# - D. Yarowsky, "Unsupervised word sense disambiguation rivaling supervised methods", *ACL*, 1995. Self-training at work
#   on a task whose assumption holds.
# - D. Sculley, "Web-scale k-means clustering", *WWW*, 2010. Mini-batch k-means in two pages.
# - O. Chapelle, B. Schölkopf and A. Zien (editors), *Semi-Supervised Learning*, MIT Press, 2006. When unlabelled rows help,
#   and when they do not.
#
# At work: scikit-learn's `KMeans`, `MiniBatchKMeans` and `GaussianMixture`; `IncrementalPCA` for streams, and
# `TruncatedSVD` for sparse rows (it does not centre them); faiss for k-means on billions of vectors; `networkx` and
# `igraph` for communities of graphs.
