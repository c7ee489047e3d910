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
# # 19 · Recommenders and retrieval
#
# **What you will be able to do.** Learn the taste of people from their ratings and from their clicks. Train two towers
# on samples that are biased, and correct the bias. Search millions of vectors in milliseconds. Measure all of it, and
# recognise an offline number that misleads. You write the parts that libraries such as `implicit` and faiss consist of,
# and at the end your parts run beside these libraries and beside Spark, on the same data.
#
# **You need** gradients and the stochastic gradient method (modules 01 and 02), softmax and cross-entropy (module 03),
# and k-means (module 07). Embeddings (module 11) help, but are not needed.
#
# **Skills it trains**: ranking metrics, matrix factorisation, sampled softmax, nearest-neighbour search, vector
# compression, honest evaluation, counting what a computation costs.
#
# **Time**: about five hours, three of them in eight exercises and a bug to find. Take a break after 19.5. Each exercise
# says how important it is (essential, important, optional), its level, which is also its points, and its minutes. Two
# further exercises, 19.10 and 19.11, are extras: graded, but not added to your sum.
#
# **Symbols**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $m$, $n$ | `users`, `items` | | number of users; number of items, or of vectors in an index |
# | $u$; $i$, $j$ | | | a user; items |
# | $f$, $d$ | | | number of factors of a model; length of the vectors in an index |
# | $r_{ui}$, $R$ | `R` | $(m, n)$ sparse | rating or count of user $u$ and item $i$; the matrix of those that are known |
# | $O_u$ | | | the items of which user $u$ has an entry in $R$ |
# | $k$ | `k` | | length of a list; number of neighbours |
# | $h_t$; $N$ | `hits` | $(k,)$; | in 19.1: 1 if place $t$ of the list is a hit, 0 if not; the number of relevant items |
# | $J$ | | | the objective that is minimised |
# | $x_u$, $X$ | `X`, `U` | $(f,)$, $(m, f)$ | factors of a user; from 19.7 on, $X$ holds the vectors of an index |
# | $y_i$, $Y$ | `Y`, `V` | $(f,)$, $(n, f)$ | factors of an item |
# | $\lambda$ | `reg` | | weight of the penalty on factors |
# | $C_u$, $p_u$ | | $(n, n)$, $(n,)$ | in 19.4: the diagonal matrix of a user's confidences, and the preferences, 0 or 1 |
# | $\alpha$; $c_{ui}$ | `alpha` | | how much an observation adds to confidence; the confidence $1 + \alpha r_{ui}$ |
# | $s$, $s_{ab}$ | `scores` | | a score; the logit of row $a$ and column $b$ of a batch |
# | $\sigma(s)$; $g_b$ | | | the logistic function $1/(1 + e^{-s})$; in 19.5: $\sigma(-s_b)$ of triple $b$ |
# | $B$ | | | rows in a batch |
# | $Q$, $I$ | `Q`, `I` | $(B, f)$ | in 19.6: vectors of the users and items of a batch. In 19.3 and 19.4, $I$ is the identity |
# | $q_i$, $p_i$ | `log_q` | | in 19.6: probability that a sample is item $i$; probability of item $i$ in the full softmax |
# | $g$ | | $(f,)$ | in 19.6: the gradient of the full softmax with respect to a user's vector |
# | $P_i$; $c$ | | | in 19.6: probability that a user takes item $i$; the constant $\sum_i P_i/(1 - p_i)$ |
# | $N_a$; $\pi_{ab}$; $G$ | | ; ; $(B, B)$ | the columns that count for row $a$; their softmax; the derivative of the loss by $s_{ab}$ |
# | $q$ | `Q[i]` | $(d,)$ | from 19.7 on: a query (and `Q` holds queries) |
# | $M$ | | | in 19.7: the largest length of an item's vector |
# | $C$ | `cells` | | cells of an index, each with a centroid |
# | $P$; $p$ | `parts` | | in 19.8: parts of a vector, each with a codebook of 256 centroids; one of these parts |
# | $e_p(x)$; $c_{p, j}$; $T$ | | ; $(d/P,)$; $(P, 256)$ | the code of part $p$ of $x$; centroid $j$ of part $p$; squared distances of a query to all centroids |
# | $w$ | `width` | | how many of the nearest nodes a walk on a graph keeps |

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    from lsml_utils import checking, datasets, demo_size, engines, plotting
    from lsml_utils.checking import check, expect_close, expect_raises, expect_shape, expect_unchanged
    from lsml_utils.tables import Table, bytes_text, seconds_text
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import heapq
import math
import time
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse
import scipy.spatial
import torch
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

plotting.use()
threadpool_limits(1)
torch.set_num_threads(1)
checking.start("19_recommenders", total=11)


def squared_distances(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """|a - b|^2 for each row a of A, shape (rows of A, d), and each row b of B: (rows of A, rows of B)."""
    lengths = np.einsum("ij,ij->i", A, A)[:, None] + np.einsum("ij,ij->i", B, B)
    return np.maximum(lengths - 2 * (A @ B.T), 0)


def nearest(X: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """For each row of X the number of the nearest centroid (int64), in blocks of 1,024 rows."""
    half = np.einsum("ij,ij->i", centroids, centroids) / 2  # |x - c|^2 = |x|^2 + 2 (|c|^2 / 2 - x.c)
    blocks = [(half - X[i : i + 1024] @ centroids.T).argmin(axis=1) for i in range(0, len(X), 1024)]
    return np.concatenate([*blocks, np.zeros(0, np.int64)])


def kmeans(X: np.ndarray, k: int, seed, steps: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Lloyd's algorithm of module 07 from k random rows: centroids (k, d), and the nearest one of each row (m,).

    A centroid that loses all its rows stays where it is. With fewer than k rows, some centroids are equal. seed: an
    integer or a list of integers.
    """
    start = np.random.default_rng(seed).choice(len(X), k, replace=k > len(X))
    centroids = np.array(X[start], X.dtype if X.dtype == np.float32 else np.float64)
    for _ in range(steps):
        cell = nearest(X, centroids)
        members = csr_matrix((np.ones(len(X), centroids.dtype), (cell, np.arange(len(X)))), (k, len(X)))
        counts = np.bincount(cell, minlength=k)
        centroids[counts > 0] = (members @ X)[counts > 0] / counts[counts > 0, None]
    return centroids, nearest(X, centroids)


def k_smallest(values: np.ndarray, k: int) -> np.ndarray:
    """The places of the k smallest values of a 1-D array (of all, if there are fewer), the smallest first.

    Which of several equal values come, and in which order, is left open.
    """
    some = np.argpartition(values, k - 1)[:k] if k < len(values) else np.arange(len(values))
    return some[np.argsort(values[some])]


# %% [markdown]
# ## Derive
#
# ### A table that is nearly empty
#
# A shop has $m$ users and $n$ items. A matrix $R$ of shape $(m, n)$ holds what is known: a rating, or how often a user
# clicked on an item. Nearly all of it is unknown: a user meets some dozens of items out of thousands or millions. We
# want for each user a short list of new items that this user will like.
#
# One idea carries the whole module: **give each user and each item a vector of $f$ numbers, such that the inner product
# $x_u\cdot y_i$ is large where user $u$ likes item $i$.** The number of parameters falls from $m\,n$ to $(m + n) f$,
# and each known entry of $R$ says something about all users and items with similar vectors. After that,
# recommendation is geometry: find the $y_i$ with the largest inner product with $x_u$. The first half of this module
# learns the vectors; the second half finds them quickly.
#
# Our data are drawn from a known truth, so that each claim can be checked. `datasets.interactions` plants a taste for
# each user, traits for each item and a popularity for each item; the next event of user $u$ is item $i$ with
# probability proportional to popularity$_i\cdot\sigma(\text{taste}_u\cdot\text{traits}_i)$. The figure shows what all
# logs of this kind show: few items collect most of the events (left), and most users have few events (right).

# %% tags=["demo"]
events = datasets.interactions(users=demo_size(full=3000, small=1000), items=demo_size(full=300, small=150), seed=0)
n_users, n_items = len(events.taste), len(events.traits)


def counts_of(user, item):
    """How often each user met each item: csr_matrix (n_users, n_items), float64."""
    return csr_matrix((np.ones(len(user)), (user, item)), (n_users, n_items))  # equal places are added up


R_all = counts_of(events.user, events.item)
print(f"{n_users:,} users, {n_items:,} items, {len(events.user):,} events, {R_all.nnz / n_users / n_items:.2%} known")
figure, axes = plt.subplots(1, 2, figsize=(11, 3.8))
per_item = np.sort(np.bincount(events.item, minlength=n_items))[::-1]
axes[0].plot(np.arange(1, n_items + 1), np.maximum(per_item, 0.7), ".", markersize=4)
axes[0].set(
    xscale="log",
    yscale="log",
    xlabel="rank of the item by its events",
    ylabel="events",
    title=f"A tenth of the items has {per_item[: n_items // 10].sum() / per_item.sum():.0%} of the events",
)
axes[1].hist(np.bincount(events.user, minlength=n_users), bins=40, color=plotting.COLOURS[0])
axes[1].set(xlabel="events of a user", ylabel="users", title="Most users have few events")
plt.show()

# %% [markdown]
# ## Implement
#
# ### 19.1 `ranking_metrics` · essential · level 2 of 4 · 20 min
#
# What is a good list? Before we learn anything, we fix how to measure it. Hide some events of each user. A recommender
# gives each item a score. The user's **list** holds the $k$ items with the largest scores among those that the user has
# not seen. The hidden items are the **relevant** ones. A place of the list that holds a relevant item is a hit; let
# $h_t$ be 1 if place $t = 1, \dots, k$ is a hit, and 0 otherwise. For a user with $N$ relevant items:
#
# $$\text{precision} = \frac1k\sum_{t} h_t,\qquad \text{recall} = \frac1N\sum_{t} h_t,\qquad
# \text{ndcg} = \frac{\sum_t h_t / \log_2(t + 1)}{\sum_{t=1}^{\min(k, N)} 1/\log_2(t + 1)},\qquad
# \text{mrr} = \frac{1}{\text{place of the first hit}} .$$
#
# Precision and recall count hits; the other two also depend on their places. The denominator of ndcg is the best that a
# list of length $k$ can reach, so a perfect list has ndcg 1. (Libraries disagree here: some let that sum run to $N$.
# Then a user with $N > k$ relevant items can never reach 1.) Without a hit, mrr is 0. Each metric is then averaged over
# the users that have something relevant.
#
# **Cost.** To sort all $n$ scores of a user takes $n\log n$ steps, though we need only the $k$ largest. Selection
# (`np.partition`) finds the $k$-th largest in about $n$ steps; then only $k$ scores are sorted. It says nothing about
# ties, and constant or rounded scores do have ties. A metric that depends on the order of equal scores in memory is not
# reproducible. Here the lower item number comes first.


# %% exercise="ranking_metrics" points=2 minutes=20 forbids=["sklearn"] trains=["ranking metrics", "honest evaluation"]
def ranking_metrics(scores: np.ndarray, relevant: csr_matrix, seen: csr_matrix, k: int) -> dict[str, float]:
    """Precision, recall, ndcg and mrr of each user's list of k items, averaged over users.

    scores: (users, items), float64 or float32, finite; it may be read-only. At least one item.
    relevant, seen: csr_matrix (users, items). Each stored entry marks an item, whatever its value;
      within a row, no item is stored twice, and items may be stored in any order.
    k: >= 1; it may exceed the number of items.

    The list of a user: the k items with the largest scores among those not in seen, the largest
    first, and of equal scores the lower item number first. If fewer than k items are unseen, it
    holds all of them. An item that is both relevant and seen does not count as relevant.

    For a user with N >= 1 relevant items: precision is hits / k (also where the list is shorter),
    recall is hits / N; ndcg is the sum over hits of 1 / log2(place + 1), with places from 1,
    divided by the same sum for hits at all of the places 1 to min(k, N); mrr is 1 / (place of the
    first hit), 0 without one. Users with nothing relevant are left out of the means.

    Returns {"precision": ..., "recall": ..., "ndcg": ..., "mrr": ...}, Python floats; all are 0.0
    where no user is left, also where there are no users at all. Nothing is modified.
    Memory: besides the arguments, a few rows of scores, so no copy of all scores. Time: select the
    best k before you sort them; do not sort all items of a user. Do not use sklearn.
    """
    ### BEGIN SOLUTION
    n, found = scores.shape[1], []
    discounts = 1 / np.log2(np.arange(2, min(k, n) + 2))
    for u, row in enumerate(scores):
        hidden = seen.indices[seen.indptr[u] : seen.indptr[u + 1]]
        wanted = np.setdiff1d(relevant.indices[relevant.indptr[u] : relevant.indptr[u + 1]], hidden)
        if len(wanted) == 0:
            continue
        row = row.copy()
        row[hidden] = -np.inf
        size = min(k, n - len(hidden))
        border = np.partition(row, n - size)[n - size]
        above = np.flatnonzero(row > border)
        above = above[np.argsort(-row[above], kind="stable")]
        hits = np.isin(np.append(above, np.flatnonzero(row == border)[: size - len(above)]), wanted)
        best = discounts[: min(k, len(wanted))].sum()
        first = 1 / (1 + hits.argmax()) if hits.any() else 0.0
        found.append((hits.sum() / k, hits.sum() / len(wanted), hits @ discounts[:size] / best, first))
    means = np.mean(found, axis=0) if found else np.zeros(4)
    return dict(zip(("precision", "recall", "ndcg", "mrr"), means.tolist(), strict=True))
    ### END SOLUTION


# %% [markdown] hints="ranking_metrics"
# <details><summary>Hint 1: one user at a time</summary>
#
# Row `u` of a csr_matrix stores the items `seen.indices[seen.indptr[u] : seen.indptr[u + 1]]`. Copy the one row of
# scores, set its seen items to `-np.inf`, and remove them from the relevant ones (`np.setdiff1d`). If none of these is
# left ($N = 0$), go on with the next user, or you divide by 0. The list has `size = min(k, items - len(seen items))`
# places.
# </details>
# <details><summary>Hint 2: ties</summary>
#
# `border = np.partition(row, n - size)[n - size]` is the smallest score of the list. All items above the border are in
# it. Of those that equal the border, take the lowest numbers (`np.flatnonzero` gives them in order) until the list is
# full. To sort by decreasing score, lower numbers first among equals: `np.argsort(-values, kind="stable")` of values in
# order of their items.
# </details>
# <details><summary>Hint 3: from the list to the numbers</summary>
#
# `hits = np.isin(places, wanted)` is the vector $h$ for the list `places`. With `discounts = 1 / np.log2(np.arange(2,
# min(k, items) + 2))` ($k$ may be far larger than the number of items), ndcg is `hits @ discounts[:len(hits)] /
# discounts[:min(k, N)].sum()`; the first hit is at `hits.argmax()` (from 0) if `hits.any()`.
# </details>

# %% check="ranking_metrics"
with check("ranking_metrics", forbids=["sklearn"]):
    scores = np.array([[5.0, 4.0, 3.0, 3.0, 1.0], [1.0, 1.0, 1.0, 1.0, 1.0], [9.0, 1.0, 2.0, 3.0, 4.0]])
    relevant = csr_matrix([[1, 0, 0, 1, 1], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]])
    seen = csr_matrix([[1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    # User 0 has seen item 0: the list is 1, 2, 3 (items 2 and 3 are equal: the lower number first), relevant are 3
    # and 4. One hit, at place 3: precision 1/3, recall 1/2, ndcg (1/2) / (1 + 1/log2(3)), mrr 1/3.
    # User 1: all scores are equal, the list is 0, 1, 2, with a hit at place 2: 1/3, 1, 1/log2(3), 1/2.
    # User 2 has nothing relevant and does not count.
    second = 1 / math.log2(3)
    with expect_unchanged(scores=scores):
        try:
            got = ranking_metrics(scores, relevant, seen, 3)
        except ZeroDivisionError:
            raise AssertionError(
                "user 2 has nothing relevant, so N = 0: leave such users out before you divide"
            ) from None
    assert isinstance(got, dict), f"a dict is returned, and not {type(got).__name__}"
    assert set(got) == {"precision", "recall", "ndcg", "mrr"}, (
        f"four keys: precision, recall, ndcg, mrr, not {set(got)}"
    )
    assert all(isinstance(value, float) for value in got.values()), "the values are Python floats"
    expect_close(
        [got["precision"], got["recall"]],
        [1 / 3, (1 / 2 + 1) / 2],
        hint="precision divides by k, recall by the number of relevant items that the user has not seen",
        mistakes={
            "Recall divides by the number of relevant items, and not by k.": [1 / 3, 1 / 3],
            "Items that a user has seen are neither in the list nor relevant.": [1 / 3, (1 / 3 + 1) / 2],
            "Items that a user has seen are not in the list.": [1 / 6, 1 / 2],
            "Users with nothing relevant are left out of the mean.": [2 / 9, 1 / 2],
            "Of equal scores, the lower item number comes first.": [1 / 6, 1 / 4],
        },
    )
    expect_close(
        [got["ndcg"], got["mrr"]],
        [(0.5 / (1 + second) + second) / 2, (1 / 3 + 1 / 2) / 2],
        hint="a hit at place t, from 1, is worth 1 / log2(t + 1); the best list has its hits first",
    )
    got = ranking_metrics(np.array([[3.0, 2.0, 1.0]]), csr_matrix([[1, 1, 1]]), csr_matrix((1, 3)), 2)
    expect_close(
        [got["ndcg"], got["precision"]],
        [1.0, 1.0],
        hint="a list that holds only relevant items is perfect: its ndcg is 1",
        mistakes={"The best list has min(k, N) hits: cut the sum below at k.": [(1 + second) / (1.5 + second), 1.0]},
    )
    got = ranking_metrics(np.array([[3.0, 2.0, 1.0]]), csr_matrix([[0, 0, 1]]), csr_matrix([[1, 0, 0]]), 10)
    expect_close([got["precision"], got["mrr"]], [0.1, 0.5], hint="two items are unseen; precision divides by k = 10")
    stored = csr_matrix((np.array([0.0]), np.array([1]), np.array([0, 1])), (1, 2))  # item 1, with the value 0
    got = ranking_metrics(np.array([[1.0, 1.0 + 1e-12]]), stored, csr_matrix((1, 2)), 1)
    expect_close(
        got["recall"], 1.0, hint="a stored entry marks its item, whatever its value; keep float64 scores as they are"
    )
    got = ranking_metrics(np.array([[3.0, 2.0]], np.float32), csr_matrix((1, 2)), csr_matrix((1, 2)), 1)
    expect_close(list(got.values()), [0.0] * 4, hint="no user has anything relevant: all metrics are 0.0")

# %% [markdown]
# How do four recommenders fare, some of which know nothing and some the truth? Each user's last fifth of events is
# hidden. (The border lies at a different time for each user. This is harmless here, since the law of these data does
# not change with time.) The first recommender draws scores at random, the second gives every item its number of events,
# the third knows the true taste but no popularity, and the fourth knows the law of the data. The fourth has the largest
# *expected* number of hits; what we learn below can beat it by chance only. Note how far *popularity* goes, and how
# little taste is worth without it. Section "Scale it" comes back to this, because it misleads.

# %% tags=["demo"]
within = np.arange(len(events.user)) - np.searchsorted(events.user, events.user)  # number of the event of its user
last_fifth = within >= 0.8 * np.bincount(events.user)[events.user]
R_train, R_test = (
    counts_of(events.user[~last_fifth], events.item[~last_fifth]),
    counts_of(events.user[last_fifth], events.item[last_fifth]),
)
affinity = 1 / (1 + np.exp(-events.taste @ events.traits.T))
rng = np.random.default_rng(1)
popular = np.asarray(R_train.sum(axis=0)).ravel()
recommenders = {
    "random": rng.random((n_users, n_items)),
    "popularity": np.tile(popular, (n_users, 1)),
    "true taste": affinity,
    "true law": affinity * events.popularity,
}
measured = {name: ranking_metrics(scores, R_test, R_train, 10) for name, scores in recommenders.items()}
rows = [(name, *(f"{value:.3f}" for value in found.values())) for name, found in measured.items()]
Table(("scores", "precision", "recall", "ndcg", "mrr"), rows, numeric=(1, 2, 3, 4))

# %% [markdown]
# ### 19.2 `split_by_time` · essential · level 2 of 4 · 10 min
#
# Which events do we hide? In use, a model is trained today and recommends tomorrow. If test rows are drawn at random,
# the training rows lie before *and after* them: the model sees what became popular next month, and is then asked about
# last month. That is a leak from the future.
#
# **Find the bug.** The split below is found in this form in many pipelines. It runs, gives two parts of the right size,
# and does not do what its docstring says. Find out why, and repair it.


# %% exercise="split_by_time" points=2 minutes=10 bug=true trains=["honest evaluation"]
def split_by_time(times: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers for training and for the test; the test holds the latest `share` of the rows.

    times: (m,), m >= 1, integers or floats (finite), in any order, with any repeats; not modified.
    share: 1e-9 <= share <= 1 - 1e-9.

    Let T be entry number int((1 - share) * m), from 0, of the sorted times. Training rows have
    times < T, test rows times >= T. So events of the same time are on the same side, and the test
    may be larger than share * m; there may be no training rows.

    Returns (train, test): two new int64 arrays of row numbers, each in ascending order. Together
    they hold each row once.
    """
    ### BEGIN SOLUTION
    border = np.sort(times)[int((1 - share) * len(times))]
    return np.flatnonzero(times < border), np.flatnonzero(times >= border)
    ### END SOLUTION
    ### BEGIN BUG
    # first = int((1 - share) * len(times))
    # order = np.random.default_rng(0).permutation(len(times))
    # return np.sort(order[:first]), np.sort(order[first:])
    ### END BUG


# %% [markdown] hints="split_by_time"
# <details><summary>Hint 1</summary>
#
# On `times = [1, 2, 3, 4]` and `share = 0.5`, which rows must be in the test? Which rows are in it, and on what do they
# depend?
# </details>
# <details><summary>Hint 2</summary>
#
# Replace the random order: compute T from the sorted times, then compare each time with T. A cut of the sorted *rows* at
# a number of rows would put events of the same time on both sides.
# </details>

# %% check="split_by_time"
with check("split_by_time"):
    times = np.array([50, 10, 40, 20, 40, 30])
    # Sorted: 10 20 30 40 40 50. With share 0.4, int(0.6 * 6) = 3, so T = 40: three rows are earlier, three are not.
    with expect_unchanged(times=times):
        train, test = split_by_time(times, 0.4)
    expect_close(test, np.array([0, 2, 4]), atol=0, hint="test rows are those with times >= T = 40")
    expect_close(train, np.array([1, 3, 5]), atol=0, hint="training rows are those with times < T = 40")
    # int(0.8 * 6) = 4, so T = 40 again: both events of time 40 are test rows.
    train, test = split_by_time(times, 0.2)
    expect_close(test, np.array([0, 2, 4]), atol=0, hint="both events of time 40 are on the same side")
    train, test = split_by_time(np.array([7.0, 7.0]), 0.5)
    assert (len(train), list(test)) == (0, [0, 1]), "all times are equal: all rows are test rows"

# %% [markdown]
# Does it matter? In the data above each user's law stays the same through the year, so there a random split is
# harmless. Now we let items come and go: each item has a random birthday, and its popularity falls by half every 30
# days. Two recommenders compete: one counts all events of the past, the other only those of the last 30 days. Both
# splits judge both. And since we made the data, we know the truth: the probability that an event of the *next* week is
# with one of the ten items on the list (right). The random split prefers the wrong recommender.

# %% tags=["demo"]
DAY, YEAR = 24 * 3600, 365 * 24 * 3600
rng = np.random.default_rng(2)
n_new, n_log = 500, demo_size(full=60_000, small=15_000)
birthday = rng.uniform(-60, 365, n_new)
weight_of = rng.permutation(1 / np.arange(1, n_new + 1))


def law_on(day):
    """The probability of each item on one day: its weight halves every 30 days after its birthday."""
    age = day - birthday
    weight = np.where(age >= 0, weight_of * 0.5 ** (np.maximum(age, 0) / 30), 0)
    return weight / weight.sum()


days = np.sort(rng.integers(0, 365, n_log))
drawn = np.concatenate([rng.choice(n_new, np.count_nonzero(days == day), p=law_on(day)) for day in range(365)])


def top_ten(rows, recent):
    """The ten items with the most events among these rows; with `recent`, among those of their last 30 days."""
    rows = rows[days[rows] > days[rows].max() - 30] if recent else rows
    return np.argsort(-np.bincount(drawn[rows], minlength=n_new), kind="stable")[:10]


random_test = rng.random(n_log) < 0.05
splits = {
    "random split": (np.flatnonzero(~random_test), np.flatnonzero(random_test)),
    "split_by_time": split_by_time(days, 0.05),
}
verdicts = {
    name: [np.isin(drawn[test], top_ten(train, recent)).mean() for recent in (False, True)]
    for name, (train, test) in splits.items()
}
everything, next_week = np.arange(n_log), np.mean([law_on(day) for day in range(365, 372)], axis=0)
verdicts["truth: next week"] = [next_week[top_ten(everything, recent)].sum() for recent in (False, True)]
figure, ax = plt.subplots(figsize=(8, 3.8))
for number, name in enumerate(("all of the past", "last 30 days")):
    heights = [values[number] for values in verdicts.values()]
    ax.bar(np.arange(3) + 0.36 * number - 0.18, heights, 0.34, color=plotting.COLOURS[number], label=name)
ax.set_xticks(range(3), list(verdicts))
ax.set(
    xlabel="how the two recommenders are judged",
    ylabel="share of events on the list",
    title="A random split prefers the wrong recommender",
    ylim=(0, 1.35 * max(map(max, verdicts.values()))),
)
ax.legend(loc="upper left", ncols=2, title="counts events of")
plt.show()

# %% [markdown]
# ### 19.3 `als_step` · essential · level 2 of 4 · 10 min
#
# Now we learn. First from **ratings**: numbers $r_{ui}$ that users gave to items, known only for $i \in O_u$. Fit
# $x_u\cdot y_i$ to them, and keep the vectors short:
#
# $$J(X, Y) = \sum_u\sum_{i\in O_u} (r_{ui} - x_u\cdot y_i)^2
# + \lambda\sum_u \lVert x_u\rVert^2 + \lambda\sum_i \lVert y_i\rVert^2 .$$
#
# $J$ is not convex in both together. But with $Y$ fixed, it falls apart into one ridge regression (module 04) for each
# user, with the vectors of the user's own items as rows. Write $Y_u$ for these rows, shape $(|O_u|, f)$, and $r_u$ for
# the ratings, shape $(|O_u|,)$. The gradient is $-2\,Y_u^\top(r_u - Y_u x_u) + 2\lambda x_u$, and it vanishes at
#
# $$x_u = (\underbrace{Y_u^\top Y_u}_{(f, f)} + \lambda I)^{-1}\,\underbrace{Y_u^\top r_u}_{(f,)} .$$
#
# **Alternating least squares** (ALS) computes all $x_u$ from $Y$, then by the same function all $y_i$ from $X$ (with
# $R^\top$), and so on. Each half-step is exact, so $J$ never rises. There is no learning rate. A step costs
# $|O_u| f^2 + f^3$ for each user, and users do not depend on each other: that is why Spark has this algorithm.
#
# Two mistakes are common. The first takes a missing rating for a rating of 0: then the model learns that people dislike
# everything that they have not met. The second is a matter of convention: some libraries (Spark among them) multiply
# $\lambda$ by the number of ratings $|O_u|$ of the user. Both objectives are in use, but the same $\lambda$ does not
# mean the same. Here $\lambda$ stays as it is.


# %% exercise="als_step" points=2 minutes=10 forbids=["implicit", "pyspark"] trains=["matrix factorisation"]
def als_step(R: csr_matrix, Y: np.ndarray, reg: float) -> np.ndarray:
    """One half-step of alternating least squares: the best factors of all users, for these items.

    R: csr_matrix (users, items) of float64 ratings. Each stored entry is a rating, also a stored 0
      and a negative number; what is not stored is unknown. No entry is stored twice; within a row,
      entries may be stored in any order. There may be no users at all.
    Y: (items, f), float64, f >= 1: the factors of the items.
    reg: > 0, the penalty lambda.

    Returns a new float64 array X of shape (users, f). Row u minimises the sum of (r - x . y_i)^2
    over the ratings r of user u, plus reg * |x|^2: reg is not multiplied by the number of ratings,
    and the sum is not divided by it, either. A user without ratings has a row of zeros.
    Nothing is modified. R is not made dense. Time: for each user a few steps of f^2 for each of its
    own ratings, and f^3; nothing of the length of items for each user. Do not use implicit or pyspark.
    """
    ### BEGIN SOLUTION
    X = np.empty((R.shape[0], Y.shape[1]))
    for u in range(R.shape[0]):
        mine = slice(R.indptr[u], R.indptr[u + 1])
        Y_u = Y[R.indices[mine]]
        X[u] = np.linalg.solve(Y_u.T @ Y_u + reg * np.eye(Y.shape[1]), Y_u.T @ R.data[mine])
    return X
    ### END SOLUTION


# %% [markdown] hints="als_step"
# <details><summary>Hint 1: the rows of one user</summary>
#
# `mine = slice(R.indptr[u], R.indptr[u + 1])` marks the entries of user `u`: the items `R.indices[mine]` and the ratings
# `R.data[mine]`.
# </details>
# <details><summary>Hint 2: the equations</summary>
#
# `Y_u = Y[R.indices[mine]]` has shape (ratings of u, f). Solve an (f, f) system with `np.linalg.solve`; do not invert.
# With no ratings it reads $\lambda I x = 0$.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `np.linalg.solve(Y_u.T @ Y_u + reg * np.eye(f), Y_u.T @ R.data[mine])`, into row `u` of the result.
# </details>

# %% check="als_step"
with check("als_step", forbids=["implicit", "pyspark"]):
    Y = np.array([[1.0], [2.0], [3.0]])
    # User 0 rated item 0 with 4 and item 1 with 3: x = (1 * 4 + 2 * 3) / (1 + 4 + reg) = 10 / 8 with reg = 3.
    # User 1 rated nothing. User 2 rated item 2 with 0, which is a rating, and item 0 with 5: x = 5 / (9 + 1 + 3).
    R = csr_matrix((np.array([4.0, 3.0, 0.0, 5.0]), np.array([0, 1, 2, 0]), np.array([0, 2, 2, 4])), (3, 3))
    with expect_unchanged(Y=Y):
        got = als_step(R, Y, 3.0)
    expect_close(
        got,
        [[10 / 8], [0.0], [5 / 13]],
        hint="each user's own ratings only, (Y_u' Y_u + reg I) x = Y_u' r_u",
        mistakes={
            "What is unknown is not a rating of 0.": [[10 / 17], [0.0], [5 / 17]],
            "reg stays as it is: it is not multiplied by the number of ratings.": [[10 / 11], [0.0], [5 / 16]],
            "A stored 0 is a rating, too.": [[10 / 8], [0.0], [5 / 4]],
            "reg is added, once, to the diagonal.": [[2.0], [0.0], [0.5]],
        },
    )
    rng = np.random.default_rng(0)
    Y, R = rng.standard_normal((7, 3)), scipy.sparse.random(5, 7, 0.5, "csr", rng=rng)
    x, r = als_step(R, Y, 0.3)[2], R.toarray()[2]
    gradient = Y.T @ (np.where(r != 0, Y @ x - r, 0)) + 0.3 * x  # half of it
    expect_close(gradient, np.zeros(3), atol=1e-10, hint="at the minimum the gradient of row u's sum is 0")

# %% [markdown]
# Ratings from 1 to 5 for each pair of user and item in the log, made of the planted taste: $3 + 0.7\,\text{taste}_u\cdot
# \text{traits}_i$ plus noise with standard deviation 0.5, rounded. A fifth of them is held out, at random: nothing here
# changes with time. Left: $J$ falls in each half-step, for each $\lambda$. Right: the error on the ratings that were held
# out. The smallest $\lambda$ has the smallest $J$ and fits noise; the largest pulls all factors to 0 and leaves only the
# mean of all ratings. (This mean is subtracted before the fit and added to predictions.) Between them lies a better one. The
# error with known taste and traits is far lower: a user has few ratings.


# %% tags=["demo"]
def all_ratings():
    """Some rating for each pair of user and item that has met: csr_matrix in order of users and items."""
    rng, pairs = np.random.default_rng(3), counts_of(events.user, events.item).tocoo()
    exact = 3 + 0.7 * np.einsum("nf,nf->n", events.taste[pairs.row], events.traits[pairs.col])
    return pairs.row, pairs.col, exact, np.clip(np.round(exact + 0.5 * rng.standard_normal(pairs.nnz)), 1, 5)


def objective(R, X, Y, reg):
    """J: the squared errors of the known ratings, and the penalty."""
    known = R.tocoo()
    errors = known.data - np.einsum("nf,nf->n", X[known.row], Y[known.col])
    return errors @ errors + reg * (np.sum(X**2) + np.sum(Y**2))


who, what, exact_rating, rating = all_ratings()
held_out = np.random.default_rng(4).random(len(who)) < 0.2
mean_rating = rating[~held_out].mean()
ratings = csr_matrix((rating[~held_out] - mean_rating, (who[~held_out], what[~held_out])), (n_users, n_items))
sweeps, falls, errors = demo_size(full=12, small=4), {}, {}
for reg in (0.1, 10.0, 100.0):
    Y = np.random.default_rng(0).standard_normal((n_items, 8)) * 0.3
    steps, test_error = [], []
    for _ in range(sweeps):
        X = als_step(ratings, Y, reg)
        steps.append(objective(ratings, X, Y, reg))
        Y = als_step(ratings.T.tocsr(), X, reg)
        steps.append(objective(ratings, X, Y, reg))
        guess = np.clip(mean_rating + np.einsum("nf,nf->n", X[who[held_out]], Y[what[held_out]]), 1, 5)
        test_error.append(np.sqrt(np.mean((guess - rating[held_out]) ** 2)))
    falls[f"λ = {reg:g}"] = (np.arange(1, 2 * sweeps + 1) / 2, steps)
    errors[f"λ = {reg:g}"] = (np.arange(1, sweeps + 1), test_error)
known = np.sqrt(np.mean((np.clip(exact_rating, 1, 5) - rating)[held_out] ** 2))
figure, axes = plt.subplots(1, 2, figsize=(11, 4))
plotting.curves(falls, xlabel="sweep", ylabel="J", logy=True, title="J never rises", ax=axes[0])
axes[0].get_legend().remove()
plotting.curves(
    errors,
    xlabel="sweep",
    ylabel="root mean squared error",
    title="Held-out ratings: λ too small, too large, and better",
    ax=axes[1],
)
axes[1].axhline(known, color="#222222", linestyle=":", label="known taste")
only_mean = np.sqrt(np.mean((mean_rating - rating[held_out]) ** 2))
axes[1].axhline(only_mean, color="#888888", linestyle="-.", label="mean of all ratings")
axes[1].set_ylim(0.9 * known, None)
axes[1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
plt.show()
print("largest rise of J:", max(float(np.max(np.diff(steps))) for _, steps in falls.values()))

# %% [markdown]
# ### 19.4 `implicit_als_step` · essential · level 3 of 4 · 20 min
#
# Ratings are rare. Most logs hold **clicks**: what somebody did, and how often. Two things change. A count is not a
# degree of liking: three clicks are stronger *evidence* than one. And what is missing now says something, weakly:
# among all items, the user took these. So (Hu, Koren and Volinsky, 2008) the target, the **preference**, is 1 for
# items with $r_{ui} > 0$ and 0 for *all* others, and each pair has a **confidence** $c_{ui} = 1 + \alpha r_{ui}$, which
# is 1 where nothing happened:
#
# $$J = \sum_u\sum_{i=1}^{n} c_{ui}\,(\,[r_{ui} > 0] - x_u\cdot y_i)^2
# + \lambda\sum_u\lVert x_u\rVert^2 + \lambda\sum_i\lVert y_i\rVert^2 .$$
#
# The sum now runs over all $m\,n$ pairs. For user $u$, with the diagonal matrix $C_u$ of the confidences, shape
# $(n, n)$, and the 0-1 vector $p_u$ of preferences, the minimum is at
# $x_u = (Y^\top C_u Y + \lambda I)^{-1} Y^\top C_u p_u$. Computed like this, one user costs $n f^2$ steps: hopeless for
# millions of users and items. But $C_u$ is the identity but for a few entries, so
#
# $$Y^\top C_u Y = Y^\top Y + Y^\top (C_u - I)\, Y
# = \underbrace{Y^\top Y}_{\text{once for all users}} + \sum_{i\in O_u}\alpha r_{ui}\, y_i y_i^\top ,
# \qquad Y^\top C_u p_u = \sum_{i\in O_u} (1 + \alpha r_{ui})\, y_i .$$
#
# Now a user costs $|O_u| f^2 + f^3$ steps, as before, though the answer is exact for all $n$ items. This identity is
# what made the method practical.


# %% exercise="implicit_als_step" points=3 minutes=20 forbids=["implicit", "pyspark"] trains=["matrix factorisation", "counting what a computation costs"]
def implicit_als_step(R: csr_matrix, Y: np.ndarray, reg: float, alpha: float) -> np.ndarray:
    """One half-step of ALS for clicks: the best factors of all users, for these items.

    R: csr_matrix (users, items), float64; each stored entry is a count or weight > 0. No entry is
      stored twice; within a row, entries may be stored in any order. There may be no users at all.
    Y: (items, f), float64, f >= 1: the factors of the items.
    reg: > 0, the penalty lambda. alpha: >= 0.

    Returns a new float64 array X of shape (users, f). Row u minimises, over x,
      the sum over all items i of c_i * (p_i - x . y_i)^2, plus reg * |x|^2,
    with p_i = 1 and c_i = 1 + alpha * R[u, i] where an entry is stored, and p_i = 0 and c_i = 1
    elsewhere. Nothing is divided by a number of items. A user without entries has zeros.

    Nothing is modified. Memory: besides R, Y and the result, what the items of a single user take,
    and a few (f, f) arrays: no second array of the size of Y, and nothing dense of shape (users,
    items). Time: Y^T Y once; for each user a few steps of f^2 for each of its own entries, and f^3.
    Do not use implicit or pyspark.
    """
    ### BEGIN SOLUTION
    X = np.empty((R.shape[0], Y.shape[1]))
    common = Y.T @ Y + reg * np.eye(Y.shape[1])
    for u in range(R.shape[0]):
        mine = slice(R.indptr[u], R.indptr[u + 1])
        Y_u, extra = Y[R.indices[mine]], alpha * R.data[mine]
        X[u] = np.linalg.solve(common + (Y_u.T * extra) @ Y_u, (1 + extra) @ Y_u)
    return X
    ### END SOLUTION


# %% [markdown] hints="implicit_als_step"
# <details><summary>Hint 1: what all users share</summary>
#
# `common = Y.T @ Y + reg * np.eye(f)` is computed before the loop. Only the correction by the user's own items stands
# in it.
# </details>
# <details><summary>Hint 2: the correction of one user</summary>
#
# With `Y_u = Y[items of u]` and `extra = alpha * counts of u`, the sum of `extra_i * y_i y_i'` is
# `(Y_u.T * extra) @ Y_u`. The weight is $c - 1 = \alpha r$, and not $c$: the 1 is in $Y^\top Y$ already.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# The right-hand side is `(1 + extra) @ Y_u`: preference 1, confidence $1 + \alpha r$. So row `u` is
# `np.linalg.solve(common + (Y_u.T * extra) @ Y_u, (1 + extra) @ Y_u)`.
# </details>

# %% check="implicit_als_step"
with check("implicit_als_step", forbids=["implicit", "pyspark"]):
    Y = np.array([[1.0], [2.0], [3.0]])
    # User 0 has item 1 with count 2; alpha = 3, so its confidence is 7. Left side: 1 + 7 * 4 + 9 + reg = 38 + 2 = 40;
    # right side: 7 * 2 = 14. User 1 has nothing.
    R = csr_matrix((np.array([2.0]), np.array([1]), np.array([0, 1, 1])), (2, 3))
    with expect_unchanged(Y=Y):
        got = implicit_als_step(R, Y, 2.0, 3.0)
    expect_close(
        got,
        [[14 / 40], [0.0]],
        hint="(Y'Y + sum of alpha r y y' + reg I) x = sum of (1 + alpha r) y",
        mistakes={
            "The preference is 1; the count is in the confidence only.": [[28 / 40], [0.0]],
            "The sum runs over all items, not only over those of the user.": [[14 / 30], [0.0]],
            "Y'Y already counts each item once: add alpha r, and not 1 + alpha r.": [[14 / 44], [0.0]],
            "The confidence on the right side is 1 + alpha r.": [[12 / 40], [0.0]],
        },
    )
    rng = np.random.default_rng(1)
    Y, R = rng.standard_normal((9, 3)), scipy.sparse.random(6, 9, 0.4, "csr", rng=rng)
    got, dense = implicit_als_step(R, Y, 0.5, 4.0), R.toarray()
    for u in range(6):
        c, p = 1 + 4 * dense[u], (dense[u] > 0).astype(float)
        want = np.linalg.solve(Y.T @ (c[:, None] * Y) + 0.5 * np.eye(3), Y.T @ (c * p))
        expect_close(got[u], want, rtol=1e-9, hint="compare with the dense formula Y' C Y, for a small Y")

# %% [markdown]
# Your step on the clicks of section 19.1, with 8 factors. Left: the implicit objective, computed without the $m\,n$
# terms, falls in each half-step. Right: ndcg on the hidden last fifth, after each sweep, beside popularity and
# beside the true law.


# %% tags=["demo"]
def implicit_objective(R, X, Y, reg, alpha):
    """J over all pairs of users and items, by way of the Gram matrices."""
    known = R.tocoo()
    scores = np.einsum("nf,nf->n", X[known.row], Y[known.col])
    confidence = 1 + alpha * known.data
    everywhere = np.sum((X.T @ X) * (Y.T @ Y))  # the sum of all squared scores, each with confidence 1
    return everywhere + np.sum(confidence * (1 - scores) ** 2 - scores**2) + reg * (np.sum(X**2) + np.sum(Y**2))


Y = np.random.default_rng(0).standard_normal((n_items, 8)) * 0.1
steps, ndcg = [], []
for _ in range(sweeps := demo_size(full=6, small=3)):
    X = implicit_als_step(R_train, Y, 100.0, 10.0)
    steps.append(implicit_objective(R_train, X, Y, 100.0, 10.0))
    Y = implicit_als_step(R_train.T.tocsr(), X, 100.0, 10.0)
    steps.append(implicit_objective(R_train, X, Y, 100.0, 10.0))
    ndcg.append(ranking_metrics(X @ Y.T, R_test, R_train, 10)["ndcg"])
als_scores = X @ Y.T
figure, axes = plt.subplots(1, 2, figsize=(11, 4))
plotting.curves(
    {"J": (np.arange(1, 2 * sweeps + 1) / 2, steps)},
    xlabel="sweep",
    ylabel="J over all pairs",
    title="J never rises",
    ax=axes[0],
)
plotting.curves(
    {"implicit ALS": (range(1, sweeps + 1), ndcg)},
    xlabel="sweep",
    ylabel="ndcg at 10",
    title="Hidden clicks: better than popularity, after two sweeps",
    ax=axes[1],
)
for name, style in (("true law", ":"), ("popularity", "--")):
    axes[1].axhline(measured[name]["ndcg"], color="#222222", linestyle=style, label=name)
axes[1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
plt.show()
print(
    f"the sum over {n_users * n_items:,} pairs needs {R_train.nnz:,} known entries and two {Y.shape[1]}×{Y.shape[1]} matrices"
)

# %% [markdown]
# ### 19.5 `bpr_step` · important · level 2 of 4 · 20 min
#
# A list needs an order, not values. **Bayesian personalised ranking** (BPR) learns the order directly. Take a pair of
# items: $i$, which user $u$ clicked on, and $j$, which $u$ did not. With $s = x_u\cdot(y_i - y_j)$, say that $i$ comes
# before $j$ with probability $\sigma(s)$, and maximise the likelihood of what we saw. The $x_u$ are the rows of `U`, the
# $y_i$ those of `V`. For a batch of $B$ triples $(u_b, i_b, j_b)$, with $s_b = x_{u_b}\cdot(y_{i_b} - y_{j_b})$:
#
# $$J = \frac1B\sum_{b=1}^{B}\Big(-\ln\sigma(s_b)
# + \frac\lambda2\big(\lVert x_{u_b}\rVert^2 + \lVert y_{i_b}\rVert^2 + \lVert y_{j_b}\rVert^2\big)\Big) .$$
#
# The derivative of $-\ln\sigma(s)$ is $-\sigma(-s)$. With $g_b = \sigma(-s_b)$, triple $b$ adds to the gradient:
#
# $$\frac1B\big(-g_b (y_{i_b} - y_{j_b}) + \lambda x_{u_b}\big)\ \text{to its user},\quad
# \frac1B\big(-g_b x_{u_b} + \lambda y_{i_b}\big)\ \text{to item } i_b,\quad
# \frac1B\big(g_b x_{u_b} + \lambda y_{j_b}\big)\ \text{to item } j_b .$$
#
# Two things go wrong in practice. Popular items occur many times in one batch, and `V[pos] += ...` keeps only one of
# the updates of each item. And the item's gradient needs the *old* $x_u$, not the one that was just updated.


# %% exercise="bpr_step" points=2 minutes=20 forbids=["implicit", "torch"] trains=["matrix factorisation"]
def bpr_step(
    U: np.ndarray, V: np.ndarray, users: np.ndarray, pos: np.ndarray, neg: np.ndarray, lr: float, reg: float
) -> tuple[np.ndarray, np.ndarray]:
    """One step of gradient descent on the BPR loss of one batch.

    U: (number of users, f), V: (number of items, f), float64; not modified.
    users, pos, neg: (B,), B >= 1, int64: triple b says that user users[b] prefers item pos[b] to item
      neg[b]. Users and items may occur any number of times, an item also in both pos and neg.
    lr: the learning rate, > 0. reg: >= 0.

    The loss is the mean over the B triples of
      -ln(sigmoid(U[u] . (V[i] - V[j]))) + reg / 2 * (|U[u]|^2 + |V[i]|^2 + |V[j]|^2).
    Returns (U - lr * dU, V - lr * dV), two new float64 arrays, with the gradient of this loss, both
    parts at the U and V that came in. All repeats add up. The score differences may be as large as
    1000 in size, and nothing overflows to nan. Do not use torch or implicit.
    """
    ### BEGIN SOLUTION
    u, i, j = U[users], V[pos], V[neg]
    g = 0.5 * (1 - np.tanh(np.sum(u * (i - j), axis=1) / 2))[:, None]  # sigmoid(-s), without overflow
    rate = lr / len(users)
    new_U, new_V = U.copy(), V.copy()
    np.add.at(new_U, users, rate * (g * (i - j) - reg * u))
    np.add.at(new_V, pos, rate * (g * u - reg * i))
    np.add.at(new_V, neg, rate * (-g * u - reg * j))
    return new_U, new_V
    ### END SOLUTION


# %% [markdown] hints="bpr_step"
# <details><summary>Hint 1: gather first</summary>
#
# `u, i, j = U[users], V[pos], V[neg]` are copies of shape (B, f), of the old values. Compute all three contributions
# from them, before anything is added anywhere.
# </details>
# <details><summary>Hint 2: repeats</summary>
#
# `np.add.at(new_V, pos, updates)` adds all updates, also where a number occurs several times in `pos`.
# `new_V[pos] += updates` does not.
# </details>
# <details><summary>Hint 3: the logistic function</summary>
#
# $\sigma(-s) = (1 - \tanh(s/2))/2$ overflows for no $s$; `scipy.special.expit(-s)` is fine, too. The update of the users
# is `lr / B * (g * (i - j) - reg * u)` with `g` of shape (B, 1).
# </details>

# %% check="bpr_step"
with check("bpr_step", forbids=["implicit", "torch"]):
    U, V = np.array([[1.0], [2.0]]), np.array([[0.0], [0.0], [3.0]])
    users, pos, neg = np.array([0, 1, 1]), np.array([0, 0, 0]), np.array([1, 1, 1])
    # All three differences of scores are 0, so sigmoid(-s) = 1/2. With lr = 3 and B = 3 the factor lr / B is 1.
    # Item 0 gains 1/2 * 1 + 1/2 * 2 + 1/2 * 2 = 2.5, item 1 loses as much. Users gain 1/2 * (0 - 0).
    with expect_unchanged(U=U, V=V):
        new_U, new_V = bpr_step(U, V, users, pos, neg, 3.0, 0.0)
    expect_close(
        new_V,
        [[2.5], [-2.5], [3.0]],
        hint="each triple moves item pos by lr / B * sigmoid(-s) * u, and item neg by minus that",
        mistakes={
            "Repeated items keep one update only: use np.add.at.": [[1.0], [-1.0], [3.0]],
            "The loss is a mean: divide by B = 3.": [[7.5], [-7.5], [3.0]],
        },
    )
    expect_close(new_U, U, hint="pos and neg have equal vectors here, so users stay")
    # reg = 0.5: triple 0 alone, lr = 1. s = 1 * (3 - 1), sigmoid(-2) = g. User: 1 + g (3 - 1) - 0.5 * 1.
    U, V, one = np.array([[1.0]]), np.array([[3.0], [1.0]]), np.array([0])
    new_U, new_V = bpr_step(U, V, one, one, one + 1, 1.0, 0.5)
    g = 1 / (1 + math.exp(2))
    expect_close(
        [new_U[0, 0], new_V[0, 0], new_V[1, 0]],
        [1 + 2 * g - 0.5, 3 + g - 1.5, 1 - g - 0.5],
        hint="all of u, v_i and v_j on the right are the old ones; reg pulls each of them towards 0",
        mistakes={
            "The items' update uses the new user vector: take the old one.": [
                1 + 2 * g - 0.5,
                3 + g * (0.5 + 2 * g) - 1.5,
                1 - g * (0.5 + 2 * g) - 0.5,
            ],
            "The derivative of reg / 2 * |u|^2 is reg * u.": [1 + 2 * g - 1, 3 + g - 3, 1 - g - 1],
            "-ln(sigmoid(s)) has the derivative -sigmoid(-s).": [2.5 - 2 * g, 2.5 - g, g - 0.5],
        },
    )
    # Two triples of user 0, both with s = 0.5 * (3 - 1) = 1, lr / B = 1, reg = 0.1: the user gains 2 g (3 - 1), minus
    # twice 0.1 * 0.5.
    new_U, new_V = bpr_step(U / 2, V, np.array([0, 0]), np.array([0, 0]), np.array([1, 1]), 2.0, 0.1)
    g = 1 / (1 + math.exp(1))
    expect_close(
        [new_U[0, 0], new_V[0, 0], new_V[1, 0]],
        [0.5 + 4 * g - 0.1, 3 + g - 0.6, 1 - g - 0.2],
        hint="a user and items that occur in two triples get both updates, and the penalty of both; all of it over B",
        mistakes={
            "Repeated users keep one update only: use np.add.at.": [0.5 + 2 * g - 0.05, 3 + g - 0.6, 1 - g - 0.2],
            "The penalty counts once in each triple.": [0.5 + 4 * g - 0.05, 3 + g - 0.3, 1 - g - 0.1],
        },
    )
    new_U, new_V = bpr_step(1000 * U, V / 2, one, one + 1, one, 1.0, 0.0)
    expect_close(new_U, [[999.0]], hint="for s = -1000, sigmoid(-s) is 1, and nothing overflows")

# %% [markdown]
# BPR on the same clicks: positive items from the log, negative items drawn from all items. A triple whose negative item
# is one of the user's own is left out of its batch. Left: the loss on new triples. Right: ndcg on the hidden clicks,
# against the number of triples. Drawing negatives in proportion to their popularity instead changes what is learned:
# the popular items are then pushed down as often as they are pulled up, and the list loses popularity. Which negatives
# to draw is a part of the model (extra exercise 19.10 draws them by any weights). Note also what the loss asks: that a
# positive item comes before a *random* one. This is a statement about the whole order. A list of ten shows only its
# top, and other losses care more for it.

# %% tags=["demo"]
rng = np.random.default_rng(0)
known = R_train.tocoo()
pairs = np.sort(known.row.astype(np.int64) * n_items + known.col)
batch, batches, every = 512, demo_size(full=1500, small=300), demo_size(full=250, small=60)


def is_known(users, items):
    """Whether each user has met each item in the training events."""
    keys = users.astype(np.int64) * n_items + items
    return pairs[np.minimum(np.searchsorted(pairs, keys), len(pairs) - 1)] == keys


def triples(count, by_popularity):
    rows = rng.integers(len(known.row), size=count)
    drawn = known.col[rng.integers(len(known.col), size=count)] if by_popularity else rng.integers(n_items, size=count)
    fair = ~is_known(known.row[rows], drawn)
    return known.row[rows][fair], known.col[rows][fair], drawn[fair]


losses, quality = {}, {}
for name, by_popularity in (("uniform negatives", False), ("popular negatives", True)):
    start = np.random.default_rng(1)
    U, V = start.standard_normal((n_users, 8)) * 0.1, start.standard_normal((n_items, 8)) * 0.1
    losses[name], quality[name], at = [], [], []
    for number in range(1, batches + 1):
        U, V = bpr_step(U, V, *triples(batch, by_popularity), 20.0, 0.01)
        if number % every == 0:
            u, i, j = triples(4000, by_popularity)
            at.append(number * batch / 1000)
            losses[name].append(np.mean(np.logaddexp(0, -np.sum(U[u] * (V[i] - V[j]), axis=1))))
            quality[name].append(ranking_metrics(U @ V.T, R_test, R_train, 10)["ndcg"])
figure, axes = plt.subplots(1, 2, figsize=(11, 4))
plotting.curves(
    {name: (at, found) for name, found in losses.items()},
    xlabel="triples drawn (thousands)",
    ylabel="BPR loss",
    title="The loss falls",
    ax=axes[0],
)
plotting.curves(
    {name: (at, found) for name, found in quality.items()},
    xlabel="triples drawn (thousands)",
    ylabel="ndcg at 10",
    title="Which negatives are drawn decides what is learned",
    ax=axes[1],
)
for name, style in (("true law", ":"), ("popularity", "--")):
    axes[1].axhline(measured[name]["ndcg"], color="#222222", linestyle=style, label=name)
axes[1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
plt.show()

# %% [markdown]
# ### 19.6 `in_batch_loss` · essential · level 3 of 4 · 25 min
#
# ALS and BPR keep one vector for each user and each item. A *new* user has none. **Two towers** compute the vectors
# instead: one network maps what is known of a user (such as the items of the last weeks) to a vector $Q_a$, another maps
# what is known of an item to a vector $I_b$, and the logit is $s_{ab} = Q_a\cdot I_b$. Such a model could be trained by
# the softmax over all $n$ items, with loss $-s_i + \ln\sum_j e^{s_j}$ for a user who took item $i$. Its gradient with
# respect to the user's vector is
#
# $$g = -y_i + \sum_{j=1}^n p_j\, y_j ,\qquad p_j = \frac{e^{s_j}}{\sum_l e^{s_l}} ,$$
#
# which costs $n$ item towers for each example. The trick of practice: a batch of $B$ pairs (user, item) holds $B$ items,
# whose vectors are computed anyway. Take the items of the other pairs as negatives. But these were drawn from the log:
# item $j$ comes with probability $q_j$, its popularity. A popular item is a negative for nearly everybody, and the model
# learns to avoid it.
#
# **The correction.** If $b$ is drawn with probability $q_b$, then $e^{s_b}/q_b$ has the expectation
# $\sum_j q_j\, e^{s_j}/q_j = \sum_j e^{s_j}$: the sum that we want. So use the logits $s_{ab} - \ln q_b$:
#
# $$\ell_a = -(s_{aa} - \ln q_a) + \ln\sum_{b\in N_a} e^{s_{ab} - \ln q_b} ,\qquad \text{loss} = \frac1B\sum_{a=1}^B \ell_a ,$$
#
# where $s_{ab} - \ln q_b$ is the corrected logit of column $b$, and $q_b$ belongs to the item of row $b$.
#
# **Accidental hits.** A popular item occurs several times in a batch. For row $a$, such another copy of its own item
# would count as a negative: the model is told that the item is better than itself. So $N_a$ holds $a$ and all rows whose
# item is *another* one.
#
# **What does this converge to?** Let $B$ grow. The positive has the term $e^{s_i}/q_i$, which stays as it is. The
# negatives add up to about $B\sum_{j\ne i} e^{s_j}$, which grows. So the gradient of row $a$ tends to
#
# $$-y_i + \sum_{j\ne i}\frac{e^{s_j}}{\sum_{l\ne i} e^{s_l}}\; y_j = \frac{g}{1 - p_i} .$$
#
# (Check: $\sum_{l\ne i} e^{s_l}$ is $1 - p_i$ of the whole sum, and $g = -(1 - p_i)\, y_i + \sum_{j\ne i} p_j y_j$.) This
# is the gradient of the full softmax, longer by $1/(1 - p_i)$. Where the model gives no item a large probability, the
# factor is near 1. But the factor moves the fixed point. If users take item $i$ with probability $P_i$, the full softmax
# ends at $p = P$. Here the mean gradient in $s_j$ is $-P_j + p_j\sum_{i\ne j} P_i/(1 - p_i)$. With
# $c = \sum_i P_i/(1 - p_i)$ it vanishes where $P_j = p_j\,(c - P_j/(1 - p_j))$, so where
#
# $$P_j = c\; p_j\,(1 - p_j) .$$
#
# The learned law is more peaked than the true one. The order of the items is kept as long as no $p_j$ exceeds one half,
# and lists need the order only. Papers often call the corrected loss unbiased; exactly, it is this (see question 3 at the
# end). Without the correction, the same limit has $q_j e^{s_j}$ in place of $e^{s_j}$.
#
# **Gradients.** With the softmax $\pi_{ab}$ of the corrected logits of row $a$ (0 outside $N_a$), the derivative of the
# loss with respect to $s_{ab}$ is $(\pi_{ab} - [a = b])/B$. Call this matrix $G$, shape $(B, B)$. Then
# $\partial/\partial Q = G\,I$ and $\partial/\partial I = G^\top Q$, both $(B, f)$. ($I$ holds the vectors of the items
# here; it is not the identity.) The corrections are constants.


# %% exercise="in_batch_loss" points=3 minutes=25 forbids=["torch"] trains=["sampled softmax"]
def in_batch_loss(
    Q: np.ndarray,
    I: np.ndarray,  # noqa: E741
    ids: np.ndarray,
    log_q: np.ndarray,
) -> tuple[float, np.ndarray, np.ndarray]:
    """The sampled softmax loss of a batch of pairs (user, item), and its gradients.

    Q: (B, f), float64, B >= 1: the vectors of the users. I: (B, f), float64: the vector of the item
      that belongs to each user. ids: (B,), int64: the number of that item. An item may occur in
      several rows; nothing is promised about the vectors of equal items, so use those of I.
    log_q: (B,), float64, each <= 0: the logarithm of the probability that the item of this row is
      drawn. Nothing is modified.

    The logit of row a and column b is Q[a] . I[b] - log_q[b], also for a = b. For row a, columns
    b != a with ids[b] == ids[a] are left out. The loss is the mean over rows a of
      - (logit of a and a) + ln(sum of exp(logit of a and b) over the columns b that are not left out).
    Returns (loss, dQ, dI): a Python float, and two new float64 arrays of shape (B, f), the gradients
    of the loss with respect to Q and I (log_q is a constant).
    Logits may be as large as 10,000 in size. Arrays of shape (B, B) are fine. Do not use torch.
    """
    ### BEGIN SOLUTION
    rows = np.arange(len(Q))
    logits = Q @ I.T - log_q
    logits[(ids[:, None] == ids) & (rows[:, None] != rows)] = -np.inf
    top = logits.max(axis=1, keepdims=True)
    weights = np.exp(logits - top)
    total = weights.sum(axis=1, keepdims=True)
    loss = np.mean(np.log(total) + top - logits[rows, rows, None])
    G = weights / total / len(Q)
    G[rows, rows] -= 1 / len(Q)
    return float(loss), G @ I, G.T @ Q
    ### END SOLUTION


# %% [markdown] hints="in_batch_loss"
# <details><summary>Hint 1: all logits at once</summary>
#
# `Q @ I.T - log_q` subtracts `log_q[b]` from column `b`. The columns to leave out: `ids[:, None] == ids`, but not on the
# diagonal. Set their logits to `-np.inf`; then their exponential is 0.
# </details>
# <details><summary>Hint 2: without overflow</summary>
#
# Subtract the largest logit of each row before `np.exp`, and add it again to the logarithm of the sum. The diagonal is
# never left out, so the largest logit of a row is finite.
# </details>
# <details><summary>Hint 3: the gradients</summary>
#
# `G` is the softmax of each row, minus 1 on the diagonal, divided by B. Then `dQ = G @ I` and `dI = G.T @ Q`.
# </details>

# %% check="in_batch_loss"
with check("in_batch_loss", forbids=["torch"]):
    Q, items = np.array([[0.0], [0.0], [0.0]]), np.array([[1.0], [2.0], [4.0]])
    ids, log_q = np.array([5, 7, 7]), np.log([0.5, 0.25, 0.25])
    # All Q . I are 0, so exp(logit) is 1 / q: columns have 2, 4, 4. Row 0: -ln(2 / 10). Rows 1 and 2 each leave out the
    # other one (both are item 7): -ln(4 / 6).
    with expect_unchanged(Q=Q, I=items, ids=ids, log_q=log_q):
        loss, dQ, dI = in_batch_loss(Q, items, ids, log_q)
    assert isinstance(loss, float), f"the loss is a Python float, and not {type(loss).__name__}"
    expect_close(
        loss,
        (math.log(5) + 2 * math.log(1.5)) / 3,
        hint="the mean of -ln(2 / (2 + 4 + 4)), -ln(4 / (2 + 4)) and -ln(4 / (2 + 4))",
        mistakes={
            "The same item elsewhere in the batch is left out.": (math.log(5) + 2 * math.log(2.5)) / 3,
            "log q is subtracted, and not added.": (math.log(2) + 2 * math.log(3)) / 3,
            "log q of the item of the row itself is subtracted, too.": (math.log(9) + 2 * math.log(3)) / 3,
            "Each column is corrected by the log q of its own item.": (math.log(3) + 2 * math.log(2)) / 3,
            "The loss is a mean over rows.": math.log(5) + 2 * math.log(1.5),
        },
    )
    # dQ[0] is (weights 2, 4, 4 over 10) times I, minus I[0], over 3: (2.6 - 1) / 3 = (0.2 * 1 + 0.4 * 2 + 0.4 * 4 - 1) / 3.
    expect_close(
        dQ,
        [[(0.2 + 0.8 + 1.6 - 1) / 3], [(1 / 3 + 2 * 2 / 3 - 2) / 3], [(1 / 3 + 4 * 2 / 3 - 4) / 3]],
        hint="softmax of the row minus 1 on the diagonal, over B, times I",
    )
    expect_close(dI, np.zeros((3, 1)), hint="all of Q is 0 here, so the gradient of I is 0")
    loss, dQ, dI = in_batch_loss(np.array([[3.0]]), np.array([[2.0]]), np.array([1]), np.array([-5.0]))
    expect_close([loss, dQ[0, 0], dI[0, 0]], [0.0, 0.0, 0.0], atol=1e-12, hint="one row alone: the loss is 0")
    loss, dQ, dI = in_batch_loss(np.array([[100.0], [-100.0]]), np.array([[0.0], [100.0]]), np.arange(2), np.zeros(2))
    expect_close([loss, dQ[0, 0]], [10_000.0, 50.0], hint="subtract the largest logit of each row before np.exp")
    rng = np.random.default_rng(2)
    Q, items, ids, log_q = (
        rng.standard_normal((5, 3)),
        rng.standard_normal((5, 3)),
        np.array([1, 2, 1, 3, 2]),
        -rng.random(5),
    )
    step, numeric = 1e-6, np.zeros((5, 3))
    for place in np.ndindex(5, 3):
        moved = np.zeros((5, 3))
        moved[place] = step
        numeric[place] = (
            in_batch_loss(Q, items + moved, ids, log_q)[0] - in_batch_loss(Q, items - moved, ids, log_q)[0]
        ) / (2 * step)
    expect_close(
        in_batch_loss(Q, items, ids, log_q)[2], numeric, atol=1e-7, hint="dI against finite differences of your loss"
    )

# %% [markdown]
# Two small towers on the clicks of 19.1. The user tower sees the mean of the traits of the user's items, so it also
# serves users that come later. The item tower sees the traits of an item, and one free number for each item. They are
# trained on your loss and your gradients; torch carries these on through the towers. One run subtracts $\ln q$, the
# other does not. Then each user gets a list of ten. The figure sorts the items by popularity into ten groups, the most
# popular first, and shows which share of all places of the lists each group gets. The dotted line shows the
# lists of the true law.


# %% tags=["demo"]
class Towers(torch.nn.Module):
    def __init__(self, f=16):
        super().__init__()
        self.user = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, f))
        self.item = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, f))
        self.free = torch.nn.Parameter(torch.zeros(n_items))

    def vectors(self, profiles, traits, numbers):
        """The vectors of users (with a 1 at the end) and of items (with the free number at the end)."""
        ones = torch.ones(len(profiles), 1)
        return (
            torch.cat([self.user(profiles), ones], dim=1),
            torch.cat([self.item(traits), self.free[numbers, None]], dim=1),
        )


q_items = (popular + 1) / (popular + 1).sum()  # how often an item is drawn when rows of the log are drawn
profiles = torch.tensor(R_train @ events.traits / np.asarray(R_train.sum(axis=1)), dtype=torch.float32)
traits = torch.tensor(events.traits, dtype=torch.float32)
log_rows = np.flatnonzero(~last_fifth)
batch, batches = 256, demo_size(full=1000, small=100)


def train_towers(corrected):
    torch.manual_seed(0)
    rng, model = np.random.default_rng(0), Towers()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    fall = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, batches)
    for _ in range(batches):
        rows = rng.choice(log_rows, batch)
        who, what = events.user[rows].astype(np.int64), events.item[rows].astype(np.int64)
        vectors = model.vectors(profiles[who], traits[what], torch.tensor(what))
        log_q = np.log(q_items[what]) if corrected else np.zeros(batch)
        _, *gradients = in_batch_loss(*(part.detach().numpy().astype(np.float64) for part in vectors), what, log_q)
        optimizer.zero_grad()
        torch.autograd.backward(vectors, [torch.tensor(gradient, dtype=torch.float32) for gradient in gradients])
        optimizer.step()
        fall.step()
    with torch.no_grad():
        users, items = model.vectors(profiles, traits, torch.arange(n_items))
    return users.numpy().astype(np.float64), items.numpy().astype(np.float64)


def list_of_ten(scores):
    """The ten best new items of each user, (users, 10)."""
    return np.argsort(np.where(R_train.toarray() > 0, -np.inf, scores), axis=1)[:, :-11:-1]


groups = np.empty(n_items, np.int64)
groups[np.argsort(-popular, kind="stable")] = np.arange(n_items) * 10 // n_items
towers = {"with log q": train_towers(True), "without": train_towers(False)}
shares = {
    name: np.bincount(groups[list_of_ten(users @ items.T)].ravel(), minlength=10) / n_users / 10
    for name, (users, items) in towers.items()
}
truth = np.bincount(groups[list_of_ten(recommenders["true law"])].ravel(), minlength=10) / n_users / 10
figure, ax = plt.subplots(figsize=(8, 4))
for number, (name, share) in enumerate(shares.items()):
    ax.plot(range(1, 11), share, "os"[number] + "-", color=plotting.COLOURS[number], label=name)
ax.plot(range(1, 11), truth, ":", color="#222222", label="true law")
ax.set(
    xlabel="items by popularity, in ten groups (1: the most popular)",
    ylabel="share of places",
    title="Without log q, the lists avoid what is popular",
)
ax.legend()
plt.show()
for name, (users, items) in towers.items():
    print(f"{name}: ndcg at 10 {ranking_metrics(users @ items.T, R_test, R_train, 10)['ndcg']:.3f}", end="; ")
print(f"popularity {measured['popularity']['ndcg']:.3f}, true law {measured['true law']['ndcg']:.3f}")

# %% [markdown]
# ### 19.7 `IVF` · essential · level 2 of 4 · 20 min
#
# The vectors are learned. Now a user arrives, and within milliseconds we need the items with the largest inner products
# among millions. First, inner products become distances: let $M$ be the largest length of an item's vector, and give
# each item one more coordinate, $\tilde y = (y, \sqrt{M^2 - \lVert y\rVert^2})$, and the user a 0, $\tilde x = (x, 0)$. All
# $\tilde y$ have length $M$, so
#
# $$\lVert\tilde x - \tilde y\rVert^2 = \lVert x\rVert^2 + M^2 - 2\, x\cdot y ,$$
#
# and the nearest $\tilde y$ has the largest inner product. So from here on we search for **nearest neighbours**: given
# $n$ vectors of length $d$, find the $k$ that are nearest to a query $q$. The exact way compares all: $n\,d$ steps. It
# cannot miss anything. All faster ways give up some **recall**, the share of the true $k$ nearest that they find.
#
# **Inverted files** (IVF): cluster the vectors by k-means into $C$ cells, and keep for each cell the list of its rows. A
# query is compared with the $C$ centroids, and then only with the rows of the few cells (**probes**) whose centroids are
# nearest. With cells of equal size this costs $C d + \frac{\text{probes}}{C}\, n\, d$ steps; with $C \approx \sqrt n$,
# about $2\sqrt n\, d$ for one probe. A neighbour is missed if it lies in a cell that was not probed: just across a border.
# With probes $= C$ nothing is missed.


# %% exercise="IVF" points=2 minutes=20 forbids=["faiss", "sklearn"] trains=["nearest-neighbour search", "counting what a computation costs"]
class IVF:
    """An index of vectors in cells: a search compares a query with the rows of a few cells only.

    cells: >= 1, the number of cells; it may exceed the number of rows. seed: an integer, 0 <= seed <
      2^32. The same seed and rows give the same index.
    After fit, two attributes tell how rows are divided (a hidden test reads them): `centroids`,
    (cells, d), finite, found by k-means on the rows, and `cell`, (n,) integers: for each row of X the
    number of its nearest centroid. `kmeans(X, cells, seed)` of the setup returns both. Cells may be
    empty.
    Do not use faiss or sklearn.
    """

    def __init__(self, cells: int, seed: int):
        ### BEGIN SOLUTION
        self.cells, self.seed = cells, seed
        ### END SOLUTION

    def fit(self, X: np.ndarray) -> None:
        """Divide the rows of X into cells; row i has the id i. A second call starts anew.

        X: (n, d), float64 or float32, n >= 1, d >= 1; not modified. The index keeps its own copy: if
        X changes later, the index does not.
        """
        ### BEGIN SOLUTION
        self.centroids, self.cell = kmeans(X, self.cells, self.seed)
        self.ids = np.argsort(self.cell, kind="stable")
        self.rows = X[self.ids]  # the rows of a cell lie side by side
        self.starts = np.searchsorted(self.cell[self.ids], np.arange(self.cells + 1))
        ### END SOLUTION

    def search(self, Q: np.ndarray, k: int, probes: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest rows of each query, among the rows of the `probes` cells nearest to it.

        Q: (queries, d), float64 or float32; there may be no queries. Not modified.
        k: >= 1; it may exceed the number of rows. probes: >= 1; more than there are cells means all.
        The probed cells are those with the nearest centroids; empty cells count as well.

        Returns (ids, distances), two new arrays of shape (queries, k): ids int64, distances float64
        or float32, the squared Euclidean distances, in ascending order. Where fewer than k rows lie
        in the probed cells, the last ids are -1 and their distances inf. Rows at equal distances
        (up to rounding) may come in any order. |q|^2 + |x|^2 - 2 q.x is accurate enough.
        A query is compared with the rows of its probed cells only. Memory: besides the index, a query
        needs a copy of its probed rows and a few arrays of one number for each of them, and nothing of
        8 bytes for each row of X;
        all queries together need a few arrays of shape (queries, cells) or (queries, k).
        """
        ### BEGIN SOLUTION
        ids, distances = np.full((len(Q), k), -1), np.full((len(Q), k), np.inf)
        order = np.argsort(squared_distances(Q, self.centroids), axis=1)[:, :probes]
        for a, cells in enumerate(order):
            places = np.concatenate([np.arange(self.starts[c], self.starts[c + 1]) for c in cells])
            away = squared_distances(Q[a : a + 1], self.rows[places])[0]
            best = k_smallest(away, k)
            ids[a, : len(best)], distances[a, : len(best)] = self.ids[places[best]], away[best]
        return ids, distances
        ### END SOLUTION


# %% [markdown] hints="IVF"
# <details><summary>Hint 1: lists of rows</summary>
#
# `kmeans` gives the cell of each row. `np.flatnonzero(cell == c)` for each cell `c` is the list of its rows (for many
# cells, one stable `argsort` of `cell` is faster, with `np.searchsorted` for the borders). Keep a copy of X.
# </details>
# <details><summary>Hint 2: the probed cells</summary>
#
# `np.argsort(squared_distances(Q, self.centroids), axis=1)[:, :probes]` has the probed cells of each query in a row.
# Concatenate the lists of these cells; that may be an empty array.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# Begin with `ids` full of -1 and `distances` full of inf. For query `a`: `places` are the rows of its cells, `away =
# squared_distances(Q[a : a + 1], X[places])[0]`, `best = k_smallest(away, k)`; write `places[best]` and `away[best]` to
# the first `len(best)` places of row `a`.
# </details>

# %% check="IVF"
with check("IVF", forbids=["faiss", "sklearn"]):
    rng = np.random.default_rng(0)
    X, Q = rng.standard_normal((300, 4)), rng.standard_normal((20, 4))
    index = IVF(10, seed=1)
    with expect_unchanged(X=X, Q=Q):
        index.fit(X)
        ids, distances = index.search(Q, 5, 10)
    expect_shape(ids, (20, 5), hint="ids and distances have a row for each query")
    assert ids.dtype == np.int64, f"ids are int64, and not {ids.dtype}"
    exact = np.sort(squared_distances(Q, X), axis=1)[:, :5]
    expect_close(distances, exact, hint="all cells probed: the exact squared distances, the smallest first")
    expect_close(squared_distances(Q, X)[np.arange(20)[:, None], ids], distances, hint="ids are row numbers of X")
    expect_shape(index.centroids, (10, 4), hint="the attribute `centroids`")
    means = np.stack([X[index.cell == c].mean(axis=0) for c in range(10) if np.any(index.cell == c)])
    to_means = np.sqrt(squared_distances(means, index.centroids).min(axis=1))
    assert to_means.mean() < 0.25, "a centroid of k-means lies near the mean of the rows of its cell; yours do not"
    ids, distances = index.search(Q, 5, 1)
    own_cell = squared_distances(Q, index.centroids).argmin(axis=1)
    assert all(np.all(index.cell[row[row >= 0]] == own) for row, own in zip(ids, own_cell, strict=True)), (
        "with one probe, each query finds rows of the cell nearest to it only"
    )
    few, asked = IVF(9, seed=0), np.array([[9.0], [0.2]])
    few.fit(np.array([[0.0], [1.0], [10.0]]))
    expect_shape(few.centroids, (9, 1), hint="as many centroids as cells, also where there are fewer rows")
    away = squared_distances(asked, few.centroids)
    for probes in range(1, 9):  # three rows in nine cells: at least six are empty
        for row, to, order in zip(few.search(asked, 5, probes)[0], away, np.argsort(away, axis=1), strict=True):
            if to[order[probes]] > to[order[probes - 1]]:  # no tie at the border
                inside = np.count_nonzero(np.isin(few.cell, order[:probes]))
                found = np.count_nonzero(row >= 0)
                assert found == inside, (
                    f"{inside} rows lie in the {probes} nearest cells, empty ones included, not {found}"
                )
    ids, distances = few.search(asked, 5, 99)
    expect_close(
        ids, [[2, 1, 0, -1, -1], [0, 1, 2, -1, -1]], atol=0, hint="three rows for k = 5: the rest is -1 and inf"
    )
    expect_close(distances[0][:3], [1.0, 64.0, 81.0], hint="squared distances")
    assert np.all(np.isinf(distances[:, 3:])), "where there are no more rows, distances are inf"
    expect_shape(index.search(Q[:0], 3, 2)[0], (0, 3), hint="no queries: no rows")
    before = index.search(Q, 3, 10)[1]
    X[:] = 0
    expect_close(index.search(Q, 3, 10)[1], before, hint="the index keeps its own copy of X")

# %% [markdown]
# Cells in two dimensions (left). The star is a query; the crosses are its 30 nearest points. One cell is
# probed, and its points are dark. Some of the nearest lie across a border, in a cell that is not probed. Right: recall at 10 against the
# share of rows that a query is compared with, for growing probes, on vectors with 2, 8 and 32 independent coordinates.
# The more coordinates, the more borders are near: in high dimensions nearly every point lies close to a border. Real
# vectors have many coordinates, but these depend on each other; what counts is how many directions they really fill.

# %% tags=["demo"]
rng = np.random.default_rng(4)
flat, here = rng.standard_normal((1500, 2)), np.array([[0.3, -0.33]])
index = IVF(25, seed=2)
index.fit(flat)
probed = np.argsort(squared_distances(here, index.centroids)[0])[:1]
exact = k_smallest(squared_distances(here, flat)[0], 30)
figure, axes = plt.subplots(1, 2, figsize=(11.5, 4.6))
dark = np.isin(index.cell, probed)
axes[0].scatter(*flat[~dark].T, s=4, color="#bbbbbb", label="not compared")
axes[0].scatter(*flat[dark].T, s=5, color=plotting.COLOURS[0], label="compared")
axes[0].scatter(*flat[exact].T, s=26, marker="x", linewidths=1, color=plotting.COLOURS[1], label="the 30 nearest")
axes[0].plot(*here[0], "*", color="#222222", markersize=13, label="query")
scipy.spatial.voronoi_plot_2d(
    scipy.spatial.Voronoi(index.centroids), axes[0], show_points=False, show_vertices=False, line_colors="#888888"
)
axes[0].set(
    xlim=(-1.2, 1.9),
    ylim=(-1.8, 1.4),
    xlabel="first coordinate",
    ylabel="second coordinate",
    title="Some of the nearest lie across a border",
)
axes[0].legend(loc="upper center", ncols=4, fontsize=8, bbox_to_anchor=(0.5, -0.13), columnspacing=1.0)
found = set(index.search(here, 30, 1)[0][0].tolist())
print(
    f"1 of 25 cells: {np.count_nonzero(dark)} of {len(flat)} rows compared, {len(found & set(exact.tolist()))} of 30 found"
)
many, asked = demo_size(full=20_000, small=2000), 100
for number, coordinates in enumerate((2, 8, 32)):
    X, Q = rng.standard_normal((many, coordinates)), rng.standard_normal((asked, coordinates))
    exact = [set(k_smallest(row, 10).tolist()) for row in squared_distances(Q, X)]
    index = IVF(100, seed=0)
    index.fit(X)
    sizes, share, recall = np.bincount(index.cell, minlength=100), [], []
    order = np.argsort(squared_distances(Q, index.centroids), axis=1)
    for probes in (1, 2, 4, 8, 16, 32, 64, 100):
        ids = index.search(Q, 10, probes)[0]
        recall.append(np.mean([len(set(row.tolist()) & true) / 10 for row, true in zip(ids, exact, strict=True)]))
        share.append(sizes[order[:, :probes]].sum() / asked / many)
    axes[1].plot(share, recall, "os^"[number] + "-", color=plotting.COLOURS[number], label=f"{coordinates} coordinates")
axes[1].set(
    xscale="log",
    xlabel="share of the rows that are compared",
    ylabel="recall at 10",
    title="Recall has its price, above all in high dimensions",
)
axes[1].legend()
plt.show()

# %% [markdown]
# ### 19.8 `ProductQuantizer` · essential · level 3 of 4 · 30 min
#
# Cells save comparisons, but all vectors still lie in memory: $10^9$ vectors of 64 float32 take 256 GB. **Product
# quantisation** (Jégou, Douze and Schmid, 2011) stores each vector in a few bytes. Cut a vector into $P$ parts of $d/P$
# numbers. For each part, cluster the parts of the training rows by k-means into 256 centroids: the part's
# **codebook**. A part is stored as the number of its nearest centroid, one byte, so a vector takes $P$ bytes. It is
# decoded to $\hat x$, its centroids side by side. The $256\, P$ centroids that are kept give $256^P$ different vectors
# $\hat x$: this is why the vector is cut, for k-means with $256^8$ centroids cannot be run.
#
# **Search without decoding.** Distances add up over parts. With the code $e_p(x)$ of part $p$ and its centroid
# $c_{p, e_p(x)}$,
#
# $$\lVert q - \hat x\rVert^2 = \sum_{p=1}^{P}\lVert q_p - c_{p,\, e_p(x)}\rVert^2 = \sum_{p=1}^{P} T_{p,\, e_p(x)} ,\qquad
# T_{p, j} = \lVert q_p - c_{p, j}\rVert^2 .$$
#
# The table $T$, shape $(P, 256)$, is computed once for a query, in $256\, d$ steps. Then each vector costs $P$ look-ups
# and additions in place of $d$ multiplications, and is never decoded. The query itself is *not* quantised: this is
# called asymmetric, and it has one rounding error where two quantised vectors would have two.


# %% exercise="ProductQuantizer" points=3 minutes=30 forbids=["faiss", "sklearn"] trains=["nearest-neighbour search", "vector compression"]
class ProductQuantizer:
    """Vectors in `parts` bytes each, and the search among them by tables.

    parts: >= 1. seed: an integer, 0 <= seed < 2^32. Coordinates are cut into `parts` parts of
      d / parts neighbouring coordinates, each with its own codebook of 256 centroids, found by k-means
      on the training rows (`kmeans` of the setup does it). The same seed and rows give the same codes.
    Arrays that come in are not modified; those that are returned are new. Do not use faiss or sklearn.
    """

    def __init__(self, parts: int, seed: int):
        ### BEGIN SOLUTION
        self.parts, self.seed = parts, seed
        ### END SOLUTION

    def fit(self, X: np.ndarray) -> None:
        """Find the codebooks. X: (n, d), float64 or float32, n >= 1 (also n < 256).

        Raises ValueError if d is not a multiple of parts. A second call starts anew.
        """
        ### BEGIN SOLUTION
        pieces = np.split(X, self.parts, axis=1)  # raises ValueError for unequal parts
        self.books = [kmeans(piece, 256, [self.seed, p])[0] for p, piece in enumerate(pieces)]
        ### END SOLUTION

    def encode(self, X: np.ndarray) -> np.ndarray:
        """The codes of other vectors: (n, parts) uint8, for each part the number of its nearest centroid.

        X: (n, d), float64 or float32, n >= 0. Of centroids at equal distance (up to rounding), any.
        """
        ### BEGIN SOLUTION
        pieces = np.split(X, self.parts, axis=1)
        codes = [nearest(piece, book) for piece, book in zip(pieces, self.books, strict=True)]
        return np.stack(codes, axis=1).astype(np.uint8)
        ### END SOLUTION

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The vectors that codes stand for: the centroids side by side, (n, d), floats.

        codes: (n, parts) uint8, any numbers from 0 to 255, n >= 0.
        """
        ### BEGIN SOLUTION
        return np.concatenate([book[codes[:, p]] for p, book in enumerate(self.books)], axis=1)
        ### END SOLUTION

    def search(self, Q: np.ndarray, codes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k rows of codes whose decoded vectors are nearest to each query.

        Q: (queries, d), float64 or float32; there may be no queries. codes: (n, parts) uint8.
        k: 1 <= k <= n.

        Returns (ids, distances) of shape (queries, k): ids int64, row numbers of codes; distances
        float64 or float32, in ascending order: |q - decoded vector|^2, with the query as it is, not
        quantised. Rows at equal distances (up to rounding) may come in any order.
        Memory, besides the arguments and the result: a few arrays of one number for each row of
        codes (8 bytes each), for one query at a time. No array has parts numbers of 8 bytes for each
        row. Time: for each query a table, then `parts` look-ups for each row. The rows are not decoded,
        neither at once nor in blocks.
        """
        ### BEGIN SOLUTION
        ids, distances = np.zeros((len(Q), k), np.int64), np.zeros((len(Q), k))
        for a, q in enumerate(Q):
            away = np.zeros(len(codes))
            for p, (piece, book) in enumerate(zip(np.split(q, self.parts), self.books, strict=True)):
                away += ((piece - book) ** 2).sum(axis=1)[codes[:, p]]
            ids[a] = k_smallest(away, k)
            distances[a] = away[ids[a]]
        return ids, distances
        ### END SOLUTION


# %% [markdown] hints="ProductQuantizer"
# <details><summary>Hint 1: parts</summary>
#
# `np.split(X, parts, axis=1)` cuts the columns. Part `p` has the codebook `kmeans(piece, 256, [seed, p])[0]`, shape
# (256, d / parts), and the codes `nearest(piece, book)`.
# </details>
# <details><summary>Hint 2: from bytes to vectors</summary>
#
# `book[codes[:, p]]` gives for each row the centroid of part `p`. Use codes as indices only: `codes[:, p] + 256 * p` in
# uint8 wraps around.
# </details>
# <details><summary>Hint 3: the search</summary>
#
# For one query, `table = ((q_part - book) ** 2).sum(axis=1)` has 256 numbers. Start with `away = np.zeros(n)` and add
# `table[codes[:, p]]` for one part after the other; then `k_smallest(away, k)`.
# </details>

# %% check="ProductQuantizer"
with check("ProductQuantizer", forbids=["faiss", "sklearn"]):
    rng = np.random.default_rng(1)
    X, Q = rng.standard_normal((600, 6)) * [1, 1, 5, 5, 9, 9], rng.standard_normal((3, 6)) * 4
    pq = ProductQuantizer(3, seed=0)
    with expect_unchanged(X=X, Q=Q):
        pq.fit(X)
        codes = pq.encode(X)
    expect_shape(codes, (600, 3), hint="one byte for each part")
    assert codes.dtype == np.uint8, f"codes are uint8, and not {codes.dtype}"
    decoded = pq.decode(codes)
    expect_shape(decoded, (600, 6), hint="decoded vectors have all d coordinates")
    constant = pq.decode(np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1))  # all centroids, part by part
    for p in range(3):
        part = slice(2 * p, 2 * p + 2)
        to_all = squared_distances(X[:, part], constant[:, part])
        expect_close(
            squared_distances(X[:, part], decoded[:, part])[np.arange(600), np.arange(600)],
            to_all.min(axis=1),
            atol=1e-8,
            hint="each part is stored as its nearest centroid",
        )
        members = codes[:, p] == np.arange(256)[:, None]  # (256, 600): which rows have which code
        means = np.stack([X[own, part].mean(axis=0) for own in members if own.any()])
        to_means = np.sqrt(np.sum((means - constant[members.any(axis=1), part]) ** 2, axis=1))
        assert to_means.mean() < 0.03 * X[:, part].std(), (  # k-means: below 0.001; rows that are drawn: 0.05
            f"part {p}: a centroid of k-means is the mean of the rows that have its code, in the part's own coordinates"
        )
    ids, distances = pq.search(Q, codes, 7)
    exact = squared_distances(Q, decoded)
    expect_close(
        distances,
        np.sort(exact, axis=1)[:, :7],
        hint="the distance of the query to the decoded vectors, the smallest first",
        mistakes={
            "The query is not quantised.": np.sort(squared_distances(pq.decode(pq.encode(Q)), decoded), axis=1)[:, :7],
        },
    )
    expect_close(exact[np.arange(3)[:, None], ids], distances, hint="ids are row numbers of codes")
    with expect_raises(ValueError):
        ProductQuantizer(4, seed=0).fit(X)
    few = ProductQuantizer(2, seed=0)
    few.fit(X[:20])
    expect_shape(few.encode(X[:0]), (0, 2), hint="no vectors: no codes")
    last = few.decode(np.full((1, 2), 255, np.uint8))
    expect_shape(last, (1, 6), hint="256 centroids in each part, also from 20 rows")

# %% [markdown]
# Bytes against error, on 10,000 vectors of 32 coordinates that fill about eight directions. Left: the mean squared error
# of the decoded vectors, relative to their variance, for 1 to 32 bytes a vector; float32 takes 128. Right: the recall of
# the 10 nearest neighbours, if the list of the search is longer than 10. The true neighbours are near the top of the list,
# but not in order. So systems fetch some hundred candidates by their codes, and **re-rank** these few by their exact
# vectors.

# %% tags=["demo"]
rng = np.random.default_rng(5)
count = demo_size(full=10_000, small=2000)
mix = rng.standard_normal((8, 32))
X, Q = (rng.standard_normal((rows, 8)) @ mix + 0.3 * rng.standard_normal((rows, 32)) for rows in (count, 50))
exact = [set(k_smallest(row, 10).tolist()) for row in squared_distances(Q, X)]
lengths, sizes = [10, 20, 50, 100, 200], demo_size(full=[1, 2, 4, 8, 16, 32], small=[2, 8])
relative_errors, recalls = [], {}
for parts in sizes:
    pq = ProductQuantizer(parts, seed=0)
    pq.fit(X[: demo_size(full=5000, small=1000)])
    codes = pq.encode(X)
    relative_errors.append(np.sum((pq.decode(codes) - X) ** 2) / np.sum((X - X.mean(axis=0)) ** 2))
    if parts in (2, 4, 8, 16):
        ids = pq.search(Q, codes, lengths[-1])[0]
        recalls[f"{parts} bytes"] = (
            lengths,
            [
                np.mean([len(set(row[:length].tolist()) & true) / 10 for row, true in zip(ids, exact, strict=True)])
                for length in lengths
            ],
        )
figure, axes = plt.subplots(1, 2, figsize=(11, 4))
plotting.curves(
    {"product quantiser": (sizes, relative_errors)},
    xlabel="bytes of a vector",
    ylabel="relative squared error",
    logx=True,
    logy=True,
    title="More bytes, less error",
    ax=axes[0],
)
plotting.curves(
    recalls,
    xlabel="length of the list",
    ylabel="share of the true 10 on it",
    logx=True,
    title="A longer list, then re-rank",
    ax=axes[1],
)
for ax, ticks in ((axes[0], sizes), (axes[1], lengths)):
    ax.set_xticks(ticks, ticks)
    ax.minorticks_off()
plt.show()

# %% [markdown]
# ### 19.9 `graph_search` · important · level 3 of 4 · 25 min
#
# The third idea needs neither cells nor codes. Connect each vector with some vectors near it, and a few far away. To
# search, stand on any node, look at the distances of its neighbours to the query, and go on from the nearest one.
# A pure downhill walk ends in the first node that has no nearer neighbour, often far from the best. So keep a
# **beam**: the $w$ nearest of all nodes whose distance has been asked (**width** $w$). In each step expand the nearest
# node of the beam that has not been expanded yet: ask the distances of those of its neighbours that have never been
# asked. When all nodes of the beam have been expanded, stop. A node that falls out of the beam is never expanded.
#
# A larger $w$ costs more distances and finds more. With $w = n$, each node that can be reached is expanded, and the
# result is exact. HNSW, the index behind many vector databases, is this walk on a graph in layers: the upper layers
# hold few nodes with long links, so that the walk begins near its goal.
#
# The cost that counts is the number of distances. So here, `distance` is a function that you call, and the calls are
# counted.


# %% exercise="graph_search" points=3 minutes=25 forbids=["faiss", "networkx"] trains=["nearest-neighbour search", "counting what a computation costs"]
def graph_search(neighbours: list[np.ndarray], distance: Callable, entry: int, width: int, k: int) -> list[int]:
    """The k nearest nodes that a walk with a beam finds on a graph.

    neighbours: for each of the n >= 1 nodes 0 to n - 1, a 1-D int64 array of nodes (without repeats;
      it may be empty, links have a direction). Not modified.
    distance: distance(ids), with a 1-D int64 array of at least one node number, gives a float64 array:
      the distances of these nodes to the query, finite and all different.
    entry: where the walk begins. width: >= 1. k: 1 <= k <= width.

    The beam holds the `width` nearest of all nodes whose distance has been asked (all, while they are
    fewer). At first this is the entry. Step: of the nodes of the beam that have not been expanded,
    expand the nearest, which means: ask the distances of those of its neighbours whose distance was
    never asked, in one call (no call if there are none). Stop when all nodes of the beam have been
    expanded.
    So no distance is asked twice, and the only other call is that for the entry.

    Returns a list of Python ints: the k nearest nodes of the beam, the nearest first; all of the
    beam, if it holds fewer than k. Do not use faiss or networkx.
    """
    ### BEGIN SOLUTION
    asked, expanded = {entry}, set()
    beam = [(distance(np.array([entry])).item(), entry)]  # in ascending order
    while True:
        node = next((i for _, i in beam if i not in expanded), None)
        if node is None:
            return [i for _, i in beam[:k]]
        expanded.add(node)
        new = [j for j in neighbours[node].tolist() if j not in asked]
        if new:
            asked.update(new)
            away = distance(np.array(new)).tolist()
            beam = heapq.nsmallest(width, beam + [(away[place], j) for place, j in enumerate(new)])
    ### END SOLUTION


# %% [markdown] hints="graph_search"
# <details><summary>Hint 1: three collections</summary>
#
# You need the set of nodes that were asked, the set of those that were expanded, and the beam: a list of pairs
# (distance, node) in ascending order. Pairs compare by their first entry.
# </details>
# <details><summary>Hint 2: the step</summary>
#
# The next node is the first of the beam that is not in `expanded`. Its new neighbours are those not in `asked`; ask them
# in one call, add the pairs to the beam, sort it and cut it to `width`.
# </details>
# <details><summary>Hint 3: when to stop</summary>
#
# Stop when the beam holds no node that has not been expanded. Do not stop at the first step that improves nothing: the way
# to the nearest node may lead over a node that is farther away.
# </details>

# %% check="graph_search"
with check("graph_search", forbids=["faiss", "networkx"]):
    # Nodes 0 - 1 - 2 - 3 - 4 in a row, with distances 5, 3, 4, 1, 2: node 2 is a hill between 1 and 3.
    line = [np.array([1]), np.array([0, 2]), np.array([1, 3]), np.array([2, 4]), np.array([3])]
    heights, calls = np.array([5.0, 3.0, 4.0, 1.0, 2.0, 9.0]), []

    def height(ids):
        assert len(calls) < 1000, "distance was called 1000 times on a graph of 5 nodes"
        calls.append(np.array(ids).tolist())
        return heights[ids]

    got = graph_search(line, height, 0, 2, 1)
    assert len(set(np.concatenate(calls))) == sum(map(len, calls)), f"no distance is asked twice; you asked {calls}"
    expect_close(
        got,
        [3],
        atol=0,
        hint="with width 2 the beam still holds node 2 when it is the nearest that was not expanded",
        mistakes={"You stopped at a step that improved nothing.": [1]},
    )
    assert calls == [[0], [1], [2], [3], [4]], f"the calls are [0], [1], [2], [3], [4], and not {calls}"
    calls.clear()
    assert graph_search(line, height, 0, 1, 1) == [1], "with width 1 the walk ends at node 1, before the hill"
    assert calls == [[0], [1], [2]], f"node 2 is asked, but falls out of the beam; you asked {calls}"
    calls.clear()
    assert graph_search(line, height, 4, 5, 5) == [3, 4, 1, 2, 0], "width 5: all nodes, the nearest first"
    calls.clear()
    # Node 1 is asked, then pushed out of a beam of width 2 by nodes 3 and 4: it is never expanded,
    # and its neighbour 5 is never asked.
    star = [np.array(some) for some in ([1, 2], [0, 5], [3, 4], [2], [2], [1])]
    heights[[1, 2]] = 4.5, 3.0
    assert graph_search(star, height, 0, 2, 2) == [3, 4], "the two nearest nodes of the star are 3 and 4"
    assert sorted(map(sorted, calls)) == [[0], [1, 2], [3, 4]], f"one call for each expanded node; you asked {calls}"
    calls.clear()
    got = graph_search([np.array([], np.int64), np.array([0])], height, 0, 4, 3)
    assert got == [0] and calls == [[0]], "node 0 leads nowhere: the beam holds one node"
    calls.clear()
    # Nodes 1 and 2 are neighbours of each other, and both are asked when node 0 is expanded.
    diamond = [np.array(some) for some in ([1, 2], [0, 2, 3], [0, 1, 3], [1, 2])]
    assert graph_search(diamond, height, 0, 4, 1) == [3], "the nearest node of the diamond is 3"
    assert sorted(map(sorted, calls)) == [[0], [1, 2], [3]], f"no distance is asked twice; you asked {calls}"

# %% [markdown]
# For a picture we need a graph. The function below links each vector to its ten nearest ones, and to four random ones: the
# near links lead to the goal, the far ones across the map. (It compares all pairs, so it is for some thousands of
# vectors. HNSW inserts one vector after the other instead, and finds the neighbours of each by this very search.) Left: a
# walk with beam 8 on points in the plane; only near links are drawn. Right: recall at 10 against the share of all
# distances that were asked, for widths from 10 to 160.


# %% tags=["demo"]
def near_and_far(X, near=10, far=4, seed=0):
    """For each row of X: its `near` nearest other rows and `far` random ones, without repeats; links go both ways."""
    rng, around = np.random.default_rng(seed), [set() for _ in range(len(X))]
    for first in range(0, len(X), 1000):
        block = squared_distances(X[first : first + 1000], X)
        block[np.arange(len(block)), first + np.arange(len(block))] = np.inf
        linked = np.hstack([np.argpartition(block, near)[:, :near], rng.integers(0, len(X), (len(block), far))])
        for i, row in enumerate(linked.tolist(), first):
            for j in row:
                around[i].add(j)
                around[j].add(i)
    return [np.array(sorted(some - {i}), np.int64) for i, some in enumerate(around)]


rng = np.random.default_rng(6)
flat, here = rng.random((400, 2)), np.array([0.8, 0.75])
graph, asked = near_and_far(flat, near=4, far=0), []


def note(ids):
    asked.extend(ids.tolist())
    return ((flat[ids] - here) ** 2).sum(axis=1)


start = int(np.argmin(flat.sum(axis=1)))
found = graph_search(graph, note, start, 8, 5)
figure, axes = plt.subplots(1, 2, figsize=(11.5, 4.6))
for i, some in enumerate(graph):
    for j in some.tolist():
        axes[0].plot(*flat[[i, j]].T, color="#cccccc", linewidth=0.6, zorder=1)
axes[0].scatter(*flat.T, s=7, color="#999999", zorder=2)
shown = axes[0].scatter(*flat[asked].T, s=22, c=np.arange(len(asked)), cmap="viridis", zorder=3)
axes[0].plot(*here, "*", color=plotting.COLOURS[1], markersize=14, label="query", zorder=4)
axes[0].plot(*flat[start], "s", color=plotting.COLOURS[1], label="entry", zorder=4)
axes[0].set(
    xlabel="first coordinate",
    ylabel="second coordinate",
    ylim=(-0.05, 1.2),
    title=f"{len(asked)} of {len(flat)} distances are asked",
)
axes[0].legend(loc="upper center", ncols=2)
axes[0].grid(False)
figure.colorbar(shown, ax=axes[0], label="order of the calls")
count, mix = demo_size(full=6000, small=1500), rng.standard_normal((8, 32))
X, Q = (rng.standard_normal((rows, 8)) @ mix + 0.3 * rng.standard_normal((rows, 32)) for rows in (count, 20))
graph, exact = near_and_far(X), [set(k_smallest(row, 10).tolist()) for row in squared_distances(Q, X)]
share, recall = [], []
for width in (10, 20, 40, 80, 160):
    asked, hits = [], 0
    for q, true in zip(Q, exact, strict=True):

        def note(ids, q=q, asked=asked):
            asked.extend(ids.tolist())
            return ((X[ids] - q) ** 2).sum(axis=1)

        hits += len(set(graph_search(graph, note, 0, width, 10)) & true)
    share.append(len(asked) / count / len(Q))
    recall.append(hits / 10 / len(Q))
plotting.curves(
    {"graph": (share, recall)},
    xlabel="share of the distances that are asked",
    ylabel="recall at 10",
    logx=True,
    title=f"A wider beam finds more ({count:,} vectors)",
    ax=axes[1],
)
axes[1].set_xticks(share, [f"{part:.1%}" for part in share])
axes[1].minorticks_off()
axes[1].get_legend().remove() if axes[1].get_legend() else None
plt.show()

# %% [markdown]
# ### 19.10 `sample_negatives` · optional · level 2 of 4 · 15 min
#
# This is the first of two extra exercises: graded, but not added to your sum.
#
# BPR and its relatives need items that a user has *not* met. The demo of 19.5 drew any item and left out a triple whose
# item was known. Active users then lose more triples than others. To draw again until the item is new is exact, but if the
# known items of a user hold a share $a$ of all weight, it takes $1/(1 - a)$ draws on average: with all but one rare item
# known, that may be $10^9$. The law that we want gives item $j$ a probability proportional to its weight $v_j$, among the
# items that the user does not know. Set the weights of known items to 0. Let $S_j$ be the sum of the weights of items 0 to
# $j$, and draw $t$ uniformly between 0 and the sum of all. The first $S_j$ above $t$ is that of item $j$ with probability
# proportional to $S_j - S_{j-1} = v_j$.


# %% exercise="sample_negatives" points=2 minutes=15 extra=true trains=["sampled softmax"]
def sample_negatives(R: csr_matrix, users: np.ndarray, weights: np.ndarray, seed: int) -> np.ndarray:
    """For each entry of `users`, a random item that this user has no entry for.

    R: csr_matrix (number of users, items). Each stored entry marks a known item, whatever its value;
      within a row, no item is stored twice, and items may be stored in any order.
    users: (B,), int64, B >= 0, with any repeats.
    weights: (items,), float64, each >= 0. For each user that is asked for, at least one item that is
      not known has a weight > 0; these items may have as little as 1e-9 of the weight of all items.
    seed: an integer, 0 <= seed < 2^32. The same arguments give the same result.

    Returns a new int64 array of shape (B,). Entry b is item j with probability weights[j], divided
    by the sum of the weights of all items that users[b] has no entry for; known items are never
    drawn. All draws are independent of each other, also those for the same user. Nothing is modified.
    Memory: a few arrays of the length of items, or of B; nothing dense of shape (number of users,
    items) or (B, items). Time: for each entry of `users`, a few passes over the items.
    """
    ### BEGIN SOLUTION
    rng = np.random.default_rng(seed)
    drawn = np.empty(len(users), np.int64)
    for b, u in enumerate(users):
        free = weights.copy()
        free[R.indices[R.indptr[u] : R.indptr[u + 1]]] = 0
        total = np.cumsum(free)
        drawn[b] = np.searchsorted(total, rng.random() * total[-1], side="right")
    return drawn
    ### END SOLUTION


# %% [markdown] hints="sample_negatives"
# <details><summary>Hint 1: one draw at a time</summary>
#
# For entry `b` with user `u`, copy the weights, and set those of the items `R.indices[R.indptr[u] : R.indptr[u + 1]]`
# to 0.
# </details>
# <details><summary>Hint 2: a draw by weights</summary>
#
# `total = np.cumsum(free)`; then `np.searchsorted(total, rng.random() * total[-1], side="right")` is the first item whose
# cumulative sum exceeds the random number. Items of weight 0 are never that item. Make `rng` once, before the loop.
# </details>

# %% check="sample_negatives"
with check("sample_negatives"):
    # User 0 knows items 0 and 1, and item 2 has weight 0: item 3 remains. User 1 knows item 0 (stored as 0), so item 1 has
    # probability 2 / 3 and item 3 has 1 / 3.
    R = csr_matrix((np.array([1.0, 5.0, 0.0]), np.array([1, 0, 0]), np.array([0, 2, 3])), (2, 4))
    weights, users = np.array([7.0, 2.0, 0.0, 1.0]), np.tile([0, 1], 3000)
    with expect_unchanged(weights=weights, users=users):
        got = sample_negatives(R, users, weights, 5)
    expect_shape(got, (6000,), hint="an item for each entry of users")
    assert got.dtype == np.int64, f"items are int64, and not {got.dtype}"
    expect_close(
        got[::2], np.full(3000, 3), atol=0, hint="user 0 has not met item 3, and nothing else that has a weight"
    )
    assert not np.any(np.isin(got[1::2], [0, 2])), "user 1 knows item 0, also though a 0 is stored; item 2 has weight 0"
    expect_close(
        np.mean(got[1::2] == 1),
        2 / 3,
        atol=0.06,  # seven standard deviations
        hint="items come in proportion to their weights",
        mistakes={"You draw all items that are not known with the same probability.": 1 / 2},
    )
    expect_close(sample_negatives(R, users, weights, 5), got, atol=0, hint="the same seed gives the same items")
    rare = sample_negatives(R, np.zeros(3, np.int64), np.array([1.0, 1.0, 0.0, 1e-4]), 1)
    expect_close(rare, [3, 3, 3], atol=0, hint="what the user knows may hold nearly all of the weight")
    assert len(sample_negatives(R, users[:0], weights, 1)) == 0, "no users: no items"

# %% [markdown]
# ### 19.11 `build_graph` · optional · level 3 of 4 · 25 min
#
# The second extra exercise builds the graph. `near_and_far` compares all pairs, $n^2$ distances. A **navigable small
# world** (Malkov and others, 2014) inserts one node after the other: it searches the graph that is there for the nodes
# nearest to the new one, by the very walk of 19.9, and links them with it. If nodes come in random order, the first ones
# lie far apart, and their links stay: these are the far links. HNSW adds layers to this, and drops links where a node has
# too many.


# %% exercise="build_graph" points=3 minutes=25 extra=true forbids=["faiss", "networkx"] trains=["nearest-neighbour search"]
def build_graph(n: int, distance: Callable, links: int, width: int) -> list[np.ndarray]:
    """A graph for graph_search, in which the nodes 0 to n - 1 are inserted one after the other.

    n: >= 1. distance: distance(i, ids), with a node i (a Python int) and a 1-D int64 array of at least
      one node number, gives a float64 array: the distances of node i to these nodes, finite and,
      for one i, all different.
    links: >= 1. width: >= links.

    Node 0 begins alone. Node i > 0 is inserted so: a walk as in graph_search (call yours, if you like),
    with a beam of `width` nodes, begins at node 0, on the graph of the nodes before i, by their
    distances to node i. Node i is then linked, in both directions, to the `links` nearest nodes of
    the beam, or to all of it, if it holds fewer. No link is ever removed.
    Other distances are not asked: in the walk of node i, those of nodes before it, none of them twice,
    and in one call for each node that is expanded, as in graph_search.

    Returns a list of n 1-D int64 arrays: the nodes that each node is linked to, in ascending order.
    Do not use faiss or networkx.
    """
    ### BEGIN SOLUTION
    graph = [np.zeros(0, np.int64)]
    for i in range(1, n):
        found = graph_search(graph, lambda ids, i=i: distance(i, ids), 0, width, links)
        for j in found:
            graph[j] = np.append(graph[j], i)  # i is larger than all that came before
        graph.append(np.array(sorted(found), np.int64))
    return graph
    ### END SOLUTION


# %% [markdown] hints="build_graph"
# <details><summary>Hint 1: the walk of one node</summary>
#
# `graph_search(graph, lambda ids: distance(i, ids), 0, width, links)` returns the nodes that node `i` is linked to, if
# `graph` holds the arrays of the nodes 0 to i - 1. Use the function at once: a lambda that is called after the loop has
# gone on sees the new `i`.
# </details>
# <details><summary>Hint 2: both directions</summary>
#
# Append `i` to the array of each node that was found, and append the sorted array of these nodes to `graph`. Since `i`
# is larger than all nodes before it, the arrays stay in ascending order.
# </details>

# %% check="build_graph"
with check("build_graph", forbids=["faiss", "networkx"]):
    # Five nodes on a line. Node 3 (at 8): the walk asks 0, then its neighbours 1 and 2; node 1 (at 10) is the nearest.
    # Node 4 (at 1): the walk asks 0, then 1 and 2; the beam of width 2 holds 0 and 2, so 1 is not expanded.
    at, calls = np.array([0.0, 10.0, 4.0, 8.0, 1.0]), []

    def apart(i, ids):
        calls.append((i, np.array(ids).tolist()))
        return np.abs(at[ids] - at[i])

    got = build_graph(5, apart, 1, 2)
    assert isinstance(got, list), f"a list is returned, and not {type(got).__name__}"
    lists = [np.array(some).tolist() for some in got]
    assert lists == [[1, 2, 4], [0, 3], [0], [1], [0]], (
        f"links in both directions: [1, 2, 4], [0, 3], [0], [1], [0], and not {lists}"
    )
    assert all(some.dtype == np.int64 for some in got), "the arrays are int64"
    calls = [(i, sorted(ids)) for i, ids in calls]
    wanted = [(1, [0]), (2, [0]), (2, [1]), (3, [0]), (3, [1, 2]), (4, [0]), (4, [1, 2])]
    assert calls == wanted, f"the walks ask {wanted}, and not {calls}"
    calls = []
    lists = [np.array(some).tolist() for some in build_graph(5, apart, 2, 2)]
    # Node 2 finds 0 and 1. Node 3 finds 1 and 2. Node 4 finds 0 and 2: from 0, over 2, whose neighbour 3 is asked in vain.
    assert lists == [[1, 2, 4], [0, 2, 3], [0, 1, 3, 4], [1, 2], [0, 2]], f"two links for each new node, not {lists}"
    lists = [np.array(some).tolist() for some in build_graph(5, apart, 1, 3)]
    assert lists == [[1, 2, 4], [0, 3], [0], [1], [0]], f"one link for each new node, whatever the width, not {lists}"
    assert len(calls) > 0 and sum(len(ids) for i, ids in calls[-3:] if i == 4) == 4, (
        "a beam of three asks all four nodes"
    )
    (alone,) = build_graph(1, apart, 3, 3)
    assert len(alone) == 0, "one node has no links"

# %% [markdown]
# ## Scale it
#
# ### Half-steps beside `implicit` and Spark
#
# One sweep of implicit ALS: all users, then all items. Three programs run on the same clicks: yours, the library
# `implicit` (C++, one thread), and Spark's ALS (two cores). All three start or end at factors that we can look at, so
# the cell does not only compare seconds. It checks that they solve the *same* equations:
#
# - `implicit` takes as confidence the number $\alpha r$ that it is given, without our 1. So it is handed the matrix of
#   $1 + \alpha r$ with `alpha=1`. It starts from our item factors; its user factors are compared with yours.
# - Spark's confidence is $1 + \alpha r$ as here, but it multiplies $\lambda$ by the number of entries of the user. Its last
#   half-step gives the user factors. So we take its item factors, and for all users with $c$ entries we call your
#   function with $c\lambda$.
#
# Spark gets the larger matrix only. Its seconds are those of one fit, divided by its sweeps; its start is told apart.


# %% tags=["demo"]
def clicks_of(users, items):
    log = datasets.interactions(users, items, seed=5)
    return csr_matrix((np.ones(len(log.user)), (log.user, log.item)), (users, items))


def by_implicit(library, R, Y, reg, alpha):
    """One sweep of `implicit` from the item factors Y, one thread: user factors and seconds."""
    model = library.AlternatingLeastSquares(
        Y.shape[1], regularization=reg, alpha=1.0, iterations=1, use_cg=False, num_threads=1, dtype=np.float64
    )
    model.item_factors, model.user_factors = Y.copy(), np.zeros((R.shape[0], Y.shape[1]))
    confidence = R.copy()
    confidence.data = 1 + alpha * confidence.data
    begun = time.perf_counter()
    model.fit(confidence, show_progress=False)
    return model.user_factors, time.perf_counter() - begun


def by_spark(spark, R, factors, reg, alpha, sweeps=2):
    """Spark's ALS: user factors, item factors, seconds of a sweep. Rows travel as a file of text."""
    import tempfile

    from pyspark.ml.recommendation import ALS

    with tempfile.TemporaryDirectory() as folder:
        known = R.tocoo()
        np.savetxt(f"{folder}/clicks.csv", np.column_stack([known.row, known.col, known.data]), "%d", ",")
        rows = spark.read.csv(f"{folder}/clicks.csv", schema="user INT, item INT, count FLOAT").cache()
        rows.count()
        begun = time.perf_counter()
        model = ALS(
            rank=factors, maxIter=sweeps, regParam=reg, alpha=alpha, implicitPrefs=True, userCol="user",
            itemCol="item", ratingCol="count", seed=0, numUserBlocks=2, numItemBlocks=2,
        ).fit(rows)  # fmt: skip
        found = []
        for frame, size in ((model.userFactors, R.shape[0]), (model.itemFactors, R.shape[1])):
            vectors = np.zeros((size, factors))
            for row in frame.collect():
                vectors[row["id"]] = row["features"]
            found.append(vectors)
        return *found, (time.perf_counter() - begun) / sweeps


def relative(A, B):
    return float(np.abs(A - B).max() / np.abs(B).max())


implicit_als, agree, sweep_seconds = engines.library("implicit") and engines.library("implicit.als"), {}, {}
factors, reg, alpha = 16, 0.05, 2.0
for users in demo_size(full=[2000, 10_000], small=[300, 1000]):
    R = clicks_of(users, demo_size(full=2000, small=200))
    Y = np.random.default_rng(0).standard_normal((R.shape[1], factors)) * 0.1
    begun = time.perf_counter()
    X = implicit_als_step(R, Y, 10.0, alpha)
    implicit_als_step(R.T.tocsr(), X, 10.0, alpha)
    sweep_seconds["yours", users] = time.perf_counter() - begun
    if implicit_als:
        theirs, sweep_seconds["implicit", users] = by_implicit(implicit_als, R, Y, 10.0, alpha)
        agree["implicit", users] = relative(X, theirs)
    print(f"{users:,} users, {R.shape[1]:,} items, {R.nnz:,} entries")

# %% tags=["demo"]
runs = engines.run("spark", lambda spark: spark.range(2).count() == 2)  # a first job, so that Spark is there
if runs:
    print(f"Spark's start: {engines.start_seconds('spark'):.1f} s")

# %% tags=["demo"]
answer = runs and engines.run("spark", lambda spark: by_spark(spark, R, factors, reg, alpha))
if answer:
    theirs, Y, sweep_seconds["Spark", users] = answer
    entries_of, mine = np.diff(R.indptr), np.zeros_like(theirs)
    for count in np.unique(entries_of[entries_of > 0]).tolist():
        mine[entries_of == count] = implicit_als_step(R[entries_of == count], Y, count * reg, alpha)
    agree["Spark", users] = relative(mine, theirs)
engines.stop()  # its memory is needed below
rows = [
    (name, f"{users:,}", seconds_text(seconds), f"{agree[name, users]:.0e}" if (name, users) in agree else "")
    for (name, users), seconds in sweep_seconds.items()
]
Table(("program", "users", "one sweep", "largest difference from yours"), rows, numeric=(1, 2, 3))

# %% [markdown]
# All that run solve the same systems. `implicit` differs from yours by rounding; Spark computes in float32. The
# library wins by a factor, for a loop over users in Python costs more than the small solves in it; the slope is the same.
# Spark pays for its stages, and on this size and machine it cannot win. It is built for clicks that fill many disks: each
# sweep then sends every factor to the blocks that need it.
#
# ### Vectors: recall against queries a second
#
# From $10^3$ to $10^6$ vectors with 32 coordinates, which fill about ten directions. All programs use one thread, and
# answer the same queries (the slowest ones only the first ten or twenty of them). The exact answer of NumPy judges all
# others. A method with a dial (probes, length of the list that is re-ranked, width) gives several dots: from fast to
# accurate. `near_and_far` compares all pairs, so your graph stays small; your k-means runs on all rows, so your IVF ends at $10^5$.
# faiss trains on 5,000 rows. Its HNSW ends at $10^5$, too, where the construction of its graph is the slowest of all.


# %% tags=["demo"]
from sklearn.neighbors import NearestNeighbors

faiss = engines.library("faiss")
if faiss:
    faiss.omp_set_num_threads(1)
dimensions, contest, build_seconds = 32, {}, {}


def vectors(count, seed):
    rng = np.random.default_rng(seed)
    blend = np.random.default_rng(77).standard_normal((10, dimensions)).astype(np.float32)
    X = rng.standard_normal((count, 10), np.float32) @ blend
    X += np.float32(0.3) * rng.standard_normal((count, dimensions), np.float32)
    return X


def judged(name, n, exact, setting, search):
    """Run one search; note its setting, recall and queries a second. `exact`: the true ten of its queries."""
    seconds, spent = np.inf, 0.0
    while spent < 0.05:  # the fastest of several runs, where runs are short
        begun = time.perf_counter()
        found = search()
        seconds = min(seconds, time.perf_counter() - begun)
        spent += seconds
    recall = np.mean(
        [len(set(row[:10]) & true) / 10 for row, true in zip(np.asarray(found).tolist(), exact, strict=False)]
    )
    contest.setdefault((name, n), []).append((setting, float(recall), len(found) / seconds))


def brute_force(X, lengths, Q):
    """The ten nearest rows of each query; |q|^2 is the same for all rows."""
    return [k_smallest(lengths - 2 * (X @ q), 10) for q in Q]


def reranked(X, Q, ids):
    """The ten nearest of the candidates of each query, by their exact vectors."""
    return [row[k_smallest(squared_distances(q[None], X[row])[0], 10)] for q, row in zip(Q, ids, strict=True)]


def built(name, n, make):
    begun = time.perf_counter()
    index = make()
    build_seconds[name, n] = time.perf_counter() - begun
    return index


def compare(n, queries):
    X, Q, cells = vectors(n, 0), vectors(queries, 1), round(math.sqrt(n))
    lengths = np.einsum("ij,ij->i", X, X)
    exact = [set(row.tolist()) for row in brute_force(X, lengths, Q)]
    judged("exact, NumPy", n, exact, 0, lambda: brute_force(X, lengths, Q[:20]))
    if n <= 10**5:
        brute = NearestNeighbors(n_neighbors=10, algorithm="brute").fit(X)
        judged("exact, scikit-learn", n, exact, 0, lambda: brute.kneighbors(Q, return_distance=False))
        index = IVF(cells, 0)
        built("IVF, yours", n, lambda: index.fit(X))
        for probes in (1, 4, 16, 64):
            judged("IVF, yours", n, exact, probes, lambda probes=probes: index.search(Q, 10, probes)[0])
    if n <= 10**4:
        graph = built("graph, yours", n, lambda: near_and_far(X))
        for width in (10, 40):
            judged(
                "graph, yours", n, exact, width,
                lambda width=width: [
                    graph_search(graph, lambda ids, q=q: ((X[ids] - q) ** 2).sum(axis=1).astype(float), 0, width, 10)
                    for q in Q
                ],
            )  # fmt: skip
    pq = ProductQuantizer(8, 0)
    pq.fit(X[:5000])
    codes, few = built("PQ, yours", n, lambda: pq.encode(X)), Q[:10]
    for length in (10, 100, 400):
        judged("PQ, yours", n, exact, length, lambda length=length: reranked(X, few, pq.search(few, codes, length)[0]))
    if not faiss:
        return
    flat = faiss.IndexFlatL2(dimensions)
    flat.add(X)
    judged("exact, faiss", n, exact, 0, lambda: flat.search(Q, 10)[1])

    def fill(index):
        for part in (index, getattr(index, "pq", None)):  # no word about small samples
            if hasattr(part, "cp"):
                part.cp.min_points_per_centroid, part.cp.niter = 1, 10
        index.train(X[:5000])
        index.add(X)
        return index

    quantizer = faiss.IndexFlatL2(dimensions)  # the cells, which the first index finds and the second one shares
    lists = built("IVF, faiss", n, lambda: fill(faiss.IndexIVFFlat(quantizer, dimensions, cells)))
    both = built("IVF and PQ, faiss", n, lambda: fill(faiss.IndexIVFPQ(quantizer, dimensions, cells, 8, 8)))
    small = built("PQ, faiss", n, lambda: fill(faiss.IndexPQ(dimensions, 8, 8)))
    for probes in (1, 4, 16, 64):
        lists.nprobe = both.nprobe = probes
        judged("IVF, faiss", n, exact, probes, lambda: lists.search(Q, 10)[1])
        judged("IVF and PQ, faiss", n, exact, probes, lambda: reranked(X, Q, both.search(Q, 200)[1]))
    for length in (10, 100, 400):
        judged("PQ, faiss", n, exact, length, lambda length=length: reranked(X, Q, small.search(Q, length)[1]))
    if n <= 10**5:
        hnsw = faiss.IndexHNSWFlat(dimensions, 16)
        hnsw.hnsw.efConstruction = 20
        built("HNSW, faiss", n, lambda: hnsw.add(X))
        for width in (10, 40, 160):
            hnsw.hnsw.efSearch = width
            judged("HNSW, faiss", n, exact, width, lambda: hnsw.search(Q, 10)[1])


for n in demo_size(full=[1000, 10_000], small=[1000]):
    compare(n, queries=100)

# %% tags=["demo"]
middle = demo_size(full=100_000, small=2000)
compare(middle, queries=demo_size(full=50, small=100))
slowest = sorted(build_seconds.items(), key=lambda kv: -kv[1])[:4]
print("slowest builds:", ", ".join(f"{name} of {n:,}: {seconds_text(s)}" for (name, n), s in slowest))

# %% tags=["demo"]
largest = demo_size(full=1_000_000, small=3000)
compare(largest, queries=20)
figure, axes = plt.subplots(1, 2, figsize=(12, 5))
names = list(dict.fromkeys(name for name, _ in contest))
for number, name in enumerate(names):
    kind = name.partition(",")[0]
    style = {
        "color": plotting.COLOURS[["exact", "IVF", "PQ", "graph", "HNSW", "IVF and PQ"].index(kind)],
        "marker": "os^vDPX*<>"[number % 10],
        "linestyle": "-" if "yours" in name or "NumPy" in name else ":" if "learn" in name else "--",
    }
    if (name, middle) in contest:
        axes[0].plot(*zip(*[(recall, speed) for _, recall, speed in contest[name, middle]], strict=True), **style)
    reached = [
        (n, max(speed for _, recall, speed in dots if recall >= 0.9))
        for (other, n), dots in contest.items()
        if other == name and max(recall for _, recall, _ in dots) >= 0.9
    ]
    steep = f" ({np.polyfit(*np.log(reached).T, 1)[0]:.2f})" if len(reached) > 2 else ""
    axes[1].plot(*(zip(*reached, strict=True) if reached else ([], [])), **style, label=name + steep)
axes[0].set(
    yscale="log", xlabel="recall at 10", ylabel="queries a second", title=f"Recall costs speed ({middle:,} vectors)"
)
axes[1].set(
    xscale="log",
    yscale="log",
    xlabel="vectors",
    ylabel="queries a second",
    title="The fastest setting with a recall of 0.9 or more",
)
figure.legend(
    *axes[1].get_legend_handles_labels(),
    loc="lower center",
    ncols=4,
    bbox_to_anchor=(0.5, -0.21),
    title="in brackets: the slope of the line on the right",
)
plt.show()
for name, n in contest:
    if n == largest:
        print(f"{name}: " + ", ".join(f"{recall:.2f} at {speed:,.0f}/s" for _, recall, speed in contest[name, n]))
print(f"{largest:,} vectors take {bytes_text(largest * 4 * dimensions)}, their codes {bytes_text(largest * 8)}")

# %% [markdown]
# With the full sizes, the slopes of the exact lines are near $-1$: they fall in proportion to $n$. Cells and graphs fall far
# more slowly: this is what they are for. Up to some thousands of vectors the exact way is about as fast as your indexes, and
# it needs no index. Yours lose to faiss by a factor: each query pays for calls of NumPy, and the graph for one call of Python
# a step. Codes alone are not faster than the exact way here, and they fall as it does, for each row is still looked up. They
# save memory: a sixteenth of the bytes. Cells and codes together (IVF and PQ) search a small part of a small table; that is
# the common choice for $10^8$ vectors and more. While all vectors fit into memory, as here, cells alone are faster, because
# nothing is re-ranked.
#
# ### Shards: which top k merge?
#
# Vectors that do not fit into one machine are cut into **shards**. Each machine finds the $k$ nearest of its own rows, and
# sends $k$ pairs of id and distance. The $k$ nearest of all rows are among them: a row that is not among the $k$ best of its
# shard has $k$ better ones there. So the merge is *exact*, whatever the cut, and $k$ pairs a shard are enough. It needs
# distances that mean the same on each machine: exact ones, or codes of the *same* codebooks. With a codebook for each
# shard, the merged list compares distances with different errors.

# %% tags=["demo"]
X, Q, shards = vectors(demo_size(full=100_000, small=3000), 2), vectors(20, 3), 8
owner = np.random.default_rng(0).integers(0, shards, len(X))
pq = ProductQuantizer(8, 0)
pq.fit(X[:3000])
codes = pq.encode(X)


def merged(answers, k):
    """The k nearest of all, from (ids, distances) of each shard, ids numbered as in the whole."""
    ids, distances = (np.concatenate(part, axis=1) for part in zip(*answers, strict=True))
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(distances, order, axis=1)


def shard_answer(shard, k, codebooks):
    rows = np.flatnonzero(owner == shard)
    if codebooks is None:
        away = squared_distances(Q.astype(float), X[rows].astype(float))
        local = np.argsort(away, axis=1)[:, :k]
        return rows[local], np.take_along_axis(away, local, axis=1)
    local, distances = codebooks.search(Q, codes[rows], k)
    return rows[local], distances


k = 10
whole = {
    "exact": np.sort(squared_distances(Q.astype(float), X.astype(float)), axis=1)[:, :k],
    "codes": pq.search(Q, codes, k)[1],
}
merges_exactly = {}
for name, codebooks in (("exact", None), ("codes", pq)):
    for sent in (k, 2):
        got = merged([shard_answer(shard, sent, codebooks) for shard in range(shards)], k)[1]
        merges_exactly[name, sent] = bool(np.allclose(got, whole[name], rtol=1e-6))
        print(
            f"{name}: {shards} shards send {sent} pairs each: {'equal to' if merges_exactly[name, sent] else 'differs from'} one index"
        )
print(f"a query moves {bytes_text(shards * k * 16)}; the rows of one shard are {bytes_text(X.nbytes / shards)}")

# %% [markdown]
# ### The offline number that misleads
#
# Section 19.1 found that popularity is a strong recommender, and true taste a weak one. But look at how the log was made.
# An event needs two things: the item was *shown* (in our data, by its popularity), and the user *liked* it, with probability
# $\sigma(\text{taste}_u\cdot\text{traits}_i)$. A hidden click can only be on what was shown. So offline metrics reward a
# list for repeating what the old system showed. The new list will be shown itself. Then what counts is the share of its
# items that users like, and since we made the data, we know it.
#
# If the probability of being shown is known, a remedy is **inverse propensity weighting**: each hidden click counts
# $1/\text{popularity}_i$. An item that is shown twice as often has twice as many chances of a click, so each of its clicks
# says half as much about what users like. Let $w_{ui} =
# 1/\text{popularity}_i$ on hidden clicks. The weighted recall is the sum of $w$ over hits, divided by the sum of $w$ over
# all hidden clicks on items that the user had not seen. (Here a click counts as often as it was made. The plain recall
# beside it counts an item once.)

# %% tags=["demo"]
recommenders["implicit ALS"] = als_scores
weights = csr_matrix(R_test.multiply(R_train.toarray() == 0))
weights = csr_matrix(weights.multiply(1 / events.popularity))
liked, plain, weighted = {}, {}, {}
for name, scores in recommenders.items():
    lists = list_of_ten(scores)
    liked[name] = float(np.take_along_axis(affinity, lists, axis=1).mean())
    plain[name] = ranking_metrics(scores, R_test, R_train, 10)["recall"]
    on_list = csr_matrix((np.ones(lists.size), lists.ravel(), np.arange(0, lists.size + 1, 10)), weights.shape)
    weighted[name] = float(weights.multiply(on_list).sum() / weights.sum())
figure, axes = plt.subplots(1, 2, figsize=(12, 4.2))
for ax, values, label in ((axes[0], plain, "offline recall at 10"), (axes[1], weighted, "weighted recall at 10")):
    for number, name in enumerate(recommenders):
        ax.plot(values[name], liked[name], "os^vD"[number], color=plotting.COLOURS[number], markersize=9, label=name)
    ax.set(xlabel=label, ylabel="share of the list that is liked")
axes[0].set_title("The offline number prefers what was shown")
axes[1].set_title("Weighted by 1 / popularity, it agrees with the truth")
axes[1].legend(loc="lower right")
plt.show()
for title, values in (("offline recall", plain), ("weighted recall", weighted), ("truth: share liked", liked)):
    print(
        f"{title}: " + " < ".join(f"{name} {value:.3f}" for name, value in sorted(values.items(), key=lambda kv: kv[1]))
    )

# %% [markdown]
# Left: popularity is far ahead of the true taste, though its lists are liked least. Implicit ALS has learned mostly
# popularity, and its marker lies beside that one. Right: the weighted number puts the true taste first and popularity last. In a real system propensities are not known exactly; they are logged when items are shown, or learned, and items
# that are never shown have none. Rare items have large weights, so the weighted number varies more. The other remedy is a
# test with real users, with a part of the traffic. Offline numbers choose what is worth such a test.
#
# ### Where it breaks
#
# - **Cold start.** A new item has no clicks, so ALS and BPR give it nothing. The towers do, if they know its features.
# - **Feedback.** The system learns from what it has shown. Popular items become more popular; without some random
#   places in the lists, nobody learns what else would be liked.
# - **Filters.** "The nearest ten that are in stock and cost less than 20" breaks cells and graphs: the nearest that pass may
#   be far away, in cells that are not probed. With strict filters, the exact way over the rest is often faster.
# - **Updates.** Rows can be added to cells, but centroids and codebooks age as the data drift; graphs do not like deletions.
# - **Scores are not independent.** Ten items that are each good may be ten versions of one film. Diversity, novelty and
#   what other parties get are not in any metric of 19.1.

# %% [markdown] written="plan_a_recommender" points=2
# **Written question (2 points).** A video site has $10^8$ users, $10^7$ videos and 50 ms for each request. (a) Plan the
# stages from all videos to a page of twenty. For each stage: how many videos come in and go out, and what model or index
# does the work? (b) Each video has a vector of 64 float32. How many bytes do the vectors take, and how many with product
# quantisation in 16 bytes a vector? What does this mean for the machines? (c) Name one offline number that will mislead
# this team, say why, and say what you would do instead.
#
# ### BEGIN SOLUTION
# (a) The user tower runs once for the request. An approximate index of video vectors (cells with codes, or a graph) cuts
# 10^7 to some hundreds or a thousand in a few milliseconds; further sources, such as new videos or subscriptions, add
# theirs. Exact vectors re-rank these. A heavier ranking model with many features scores some hundreds, in some 20 ms, and
# rules for diversity, stock and what was seen make the page of twenty. (b) 10^7 * 64 * 4 = 2.56 GB, and 0.16 GB with 16
# bytes a vector. Either fits into the memory of one machine; codes leave room for many copies, which the load of requests
# needs, and several indexes; 10^8 user vectors (25.6 GB) are computed on request or kept in a store. (c) For example the
# recall of hidden clicks: clicks exist only on what the old system showed, so a list that repeats it wins; use propensity
# weights from logged exposure and an A/B test. Or a random split, which trains on the future: split by time. Or metrics
# against a hundred sampled negatives, which can reverse the order of two models: rank all.
#
# ### RUBRIC
# - 0.5: The plan has at least two stages, from a cheap search by an index to a costly model, with plausible numbers in and
#   out of each.
# - 0.5: The bytes are right: 2.56 GB for the float32 vectors and 0.16 GB for the codes.
# - 0.5: A misleading number is named with its mechanism, such as exposure, a random split in time, or sampled negatives.
# - 0.5: A remedy is named that fits this mechanism, such as propensity weights or a test with users, or a split by time.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. The ALS solve costs $f^3$ for each user. Update one coordinate at a time instead, keeping the scores of the known
#    entries: what does a sweep over all coordinates cost (He and others, 2016)?
# 2. Rank the hidden item against 100 random items instead of all. Derive what this does to ndcg at 10, and find two
#    recommenders of this module that change places (Krichene and Rendle, 2020).
# 3. In 19.6 the positive keeps its term $e^{s_i}/q_i$. Which loss has *exactly* the gradient of the full softmax as
#    $B\to\infty$? (Leave the positive uncorrected and divide the sum of the others by $B - 1$.)
# 4. Rotate the vectors by an orthogonal matrix before they are cut into parts. Which rotation makes the error of product
#    quantisation smallest (Ge and others, 2013)?
# 5. Which graph has the property that a beam of width 1 always finds the nearest node? How many links does it need in
#    high dimensions?
#
# References:
#
# - Y. Hu, Y. Koren and C. Volinsky, "Collaborative filtering for implicit feedback datasets", *ICDM*, 2008. Confidence
#   and preference, and the identity of 19.4.
# - Y. Koren, R. Bell and C. Volinsky, "Matrix factorization techniques for recommender systems", *IEEE Computer*, 2009.
#   The best short introduction.
# - Y. Zhou, D. Wilkinson, R. Schreiber and R. Pan, "Large-scale parallel collaborative filtering for the Netflix prize",
#   *AAIM*, 2008. Where $\lambda$ is multiplied by the number of ratings.
# - S. Rendle, C. Freudenthaler, Z. Gantner and L. Schmidt-Thieme, "BPR: Bayesian personalized ranking from implicit
#   feedback", *UAI*, 2009. Section 19.5.
# - X. He, H. Zhang, M.-Y. Kan and T.-S. Chua, "Fast matrix factorization for online recommendation with implicit
#   feedback", *SIGIR*, 2016. Question 1.
# - Y. Bengio and J.-S. Senécal, "Adaptive importance sampling to accelerate training of a neural probabilistic language
#   model", *IEEE Transactions on Neural Networks*, 2008. Why samples are corrected by $q$.
# - X. Yi and others, "Sampling-bias-corrected neural modeling for large corpus item recommendations", *RecSys*, 2019.
#   Two towers with $\log q$, at YouTube.
# - H. Jégou, M. Douze and C. Schmid, "Product quantization for nearest neighbor search", *IEEE Transactions on Pattern
#   Analysis and Machine Intelligence*, 2011. Sections 19.7 and 19.8 in one paper.
# - T. Ge, K. He, Q. Ke and J. Sun, "Optimized product quantization for approximate nearest neighbor search", *CVPR*,
#   2013. Question 4.
# - Y. Malkov and D. Yashunin, "Efficient and robust approximate nearest neighbor search using hierarchical navigable small
#   world graphs", *IEEE Transactions on Pattern Analysis and Machine Intelligence*, 2020. HNSW.
# - W. Krichene and S. Rendle, "On sampled metrics for item recommendation", *KDD*, 2020. A number that misleads, proved.
# - T. Schnabel, A. Swaminathan, A. Singh, N. Chandak and T. Joachims, "Recommendations as treatments", *ICML*, 2016.
#   Propensities for recommenders.
#
# At work: `implicit` and Spark's ALS for matrix factorisation; torch for towers; faiss for all three kinds of index, on
# CPU and GPU; hnswlib and vector databases for graphs; Microsoft's *Recommenders* for many methods side by side.
