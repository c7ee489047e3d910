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
# # 20 · Federated learning
#
# **What you will be able to do.** Train a model on data that stays where it is. Say what uneven clients do to the
# answer, by a formula, and cure it. Send fewer bytes without a bias. Add up updates of which nobody can read a single
# one, even when clients vanish in the middle of a round. At the end your own functions run in real processes that
# exchange only updates, beside training on all data in one place, and beside Flower.
#
# **You need** minibatch steps, momentum and Adam from module 02, softmax regression from module 03, and back-propagated
# gradients of one layer from module 08; expectation and variance; remainders modulo an integer.
#
# **Skills it trains**: federated averaging, fixed points, control variates, unbiased estimates, secret sharing, secure
# aggregation, counting what a computation costs.
#
# **Time**: about four and a half hours, of which two hours and three quarters are eight exercises and a bug to find.
# Take a break after 20.5. Each exercise says how important it is (essential, important, optional), its level, which is
# also its points, and its minutes.
#
# **Symbols**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $N$ | `clients` | | number of clients |
# | $m_i$, $m$ | `counts[i]`, `len(labels)` | | rows of client $i$; rows of all clients together |
# | $w_i$ | | | share of client $i$ in the mean, $m_i / m$ |
# | $\theta$, $d$ | `theta` | $(d,)$ | parameters that the server holds, and their number |
# | $y$, $y_i$ | `y` | $(d,)$ | parameters that client $i$ works on during a round (not targets, as elsewhere and in the code of the Flower cell) |
# | $f_i$, $F$ | `grad` is $\nabla f_i$ | | mean loss over the rows of client $i$; $F = \sum_i w_i f_i$ |
# | $K$ | `steps` | | local steps of a client in a round |
# | $\eta$ | `lr` | | learning rate of these steps, or of the server where the text says so |
# | $\mu$, $v$ | `mu`, `shift` | $v$: $(d,)$ | strength of the proximal term; shift of a round |
# | $c_i$, $c$ | `controls[i]`, `control` | $(d,)$ | control of client $i$; control of the server |
# | $S$ | `chosen` | | the clients that take part in a round |
# | $\Delta$ | `delta` | $(d,)$ | mean change of a round, $\sum_i w_i (y_i - \theta)$ |
# | $\alpha$, $\pi_i$ | `alpha` | | evenness of the split (small is uneven); share of client $i$ in a class |
# | $A_i$, $b_i$ | `A`, `b` | $(d, d)$, $(d,)$ | curvature and minimum of a quadratic client |
# | $P_i$ | | $(d, d)$ | $I - (I - \eta A_i)^K$ |
# | $g$, $h$, $\tau$ | | $(d,)$ | running means of $\Delta$ and $\Delta^2$, the $u$ and $s$ of module 02; $\tau = 10^{-3}$ |
# | $s$ | `levels` | | levels of the quantiser |
# | $p$ | `PRIME` | | the prime $2^{61} - 1$ |
# | $t$ | `threshold` | | number of shares that recover a secret |
# | $q$, $a_k$ | | | polynomial of the shares, and its coefficients |
# | $\beta_i$, $s_{ij}$ | `own`, `pairs` | | seed of client $i$'s own mask; seed of the mask that $i$ and $j$ share |
# | $G(\cdot)$ | `expand(seed, d)` | $(d,)$ | mask from a seed, words of 32 bits |
# | $\tilde x_i$ | `masked[i]` | $(d,)$ | words of client $i$ under its masks |
# | $U$, $D$ | | | clients that sent their words (survivors); clients that dropped out |
# | $k_i$, $\gamma$ | `keys`, `generator` | | secret key of client $i$; a public number whose powers are published |

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    from lsml_utils import checking, datasets, demo_size, plotting, ranks
    from lsml_utils.checking import check, expect_close, expect_dtype, expect_raises, expect_unchanged
    from lsml_utils.hashing import expand
    from lsml_utils.tables import Table, bytes_text, seconds_text
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import math
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable

import matplotlib.pyplot as plt
import numpy as np
import torch
from threadpoolctl import threadpool_limits

plotting.use()
threadpool_limits(1)
torch.set_num_threads(1)
checking.start("20_federated_learning", total=9)

PRIME = 2**61 - 1

# %% [markdown]
# ## Derive
#
# ### Data that does not move
#
# Phones, hospitals and banks hold rows that may not leave them. There are $N$ such **clients**; client $i$ has $m_i$
# rows, and $f_i(\theta)$ is the mean loss over them. With $w_i = m_i/m$ the mean loss over all rows is
#
# $$F(\theta) = \frac1m \sum_{\text{rows}} \text{loss} = \sum_{i=1}^N w_i\, f_i(\theta), \qquad
# \nabla F(\theta) = \sum_{i=1}^N w_i\, \nabla f_i(\theta) .$$
#
# So the gradient of the whole is a weighted mean of what the clients can compute at home. A **server** could send out
# $\theta$, $d$ numbers; each client answers with its gradient, $d$ numbers; the server takes one step. This is exact
# gradient descent, and it needs one exchange for each step. On a network of phones an exchange takes seconds and a step
# takes milliseconds. Federated averaging (McMahan et al., 2017) therefore lets each client take $K$ steps of its own
# before it answers:
#
# 1. the server sends $\theta$ to the clients $S$ of this round;
# 2. client $i$ begins at $y = \theta$, takes $K$ steps $y \leftarrow y - \eta\, \nabla f_i(y)$, and sends $y_i = y$;
# 3. the server averages: $\theta \leftarrow \sum_i w_i\, y_i$.
#
# The rest of this module is about five questions that these three lines leave open. What happens if the clients' data
# differ? Where does the iteration end? Which cure ends at the right place? How many bytes does it take? And what does
# the server learn about one client, whose rows never left home but whose $y_i$ did?
#
# The data are the digits of module 03: 1,797 pictures of 8 × 8 pixels, softmax regression, $d = 650$ parameters. A
# small $\ell_2$ term gives $F$ a single minimum, so that we can say how far away from it we are.


# %% tags=["demo"]
from sklearn.linear_model import LogisticRegression

digits = datasets.digits()
order = np.random.default_rng(0).permutation(len(digits.y))
X, labels = digits.X[order] / 16, digits.y[order]
X_train, y_train, X_test, y_test = X[:1400], labels[:1400], X[1400:], labels[1400:]
RIDGE = 1e-3


def scores(theta, X):
    """The 10 scores of each row; theta holds the weights (64, 10), then the 10 biases."""
    return X @ theta[:640].reshape(64, 10) + theta[640:]


def loss_and_gradient(theta, X, y):
    """Mean cross-entropy plus RIDGE/2 times the squared norm of theta, and its gradient (650,)."""
    Z = scores(theta, X)
    Z -= Z.max(axis=1, keepdims=True)
    E = np.exp(Z)
    total = E.sum(axis=1)
    rows = np.arange(len(y))
    loss = np.mean(np.log(total) - Z[rows, y]) + RIDGE / 2 * theta @ theta
    D = E / total[:, None]
    D[rows, y] -= 1
    gradient = np.concatenate([(X.T @ D).ravel(), D.sum(axis=0)]) / len(y) + RIDGE * theta
    return float(loss), gradient


def gradient_of(part):
    """The gradient of one client's loss, as a function of theta alone; part: the client's rows."""
    mine, truth = X_train[part], y_train[part]
    return lambda theta: loss_and_gradient(theta, mine, truth)[1]


def accuracy(theta):
    return float(np.mean(scores(theta, X_test).argmax(axis=1) == y_test))


central = LogisticRegression(C=1 / (RIDGE * len(y_train)), tol=1e-8, max_iter=5000).fit(X_train, y_train)
print(f"all rows in one place (scikit-learn): accuracy {central.score(X_test, y_test):.1%} on {len(y_test)} test rows")

# %% [markdown]
# ## Implement
#
# ### 20.1 `split_dirichlet` · essential · level 2 of 4 · 15 min
#
# To study uneven clients, we must be able to make them. Papers do it with the **Dirichlet distribution**: random shares
# $(\pi_1, \dots, \pi_N)$ that are not negative and add up to 1, with density in proportion to
# $\prod_i \pi_i^{\alpha - 1}$. All clients are alike in it, so $\mathbb E\, \pi_i = 1/N$. Its variance shows what
# $\alpha$ does:
#
# $$\operatorname{Var} \pi_i = \frac{\frac1N\left(1 - \frac1N\right)}{N\alpha + 1} .$$
#
# For $\alpha \to \infty$ the variance vanishes, and each client gets the same share of every class. For $\alpha \to 0$
# it is $\frac1N(1 - \frac1N)$, the variance of a coin that is 1 with probability $1/N$: one client gets the whole
# class.
#
# Tutorials differ in two places, and results then cannot be compared. Some draw shares *of classes for each client*
# (Hsu et al., 2019), and then all clients have the same number of rows. Others draw shares *of clients for each class*
# (Li et al., 2022). Then the number of rows is uneven, too; this is what we do. And a client without rows can compute
# nothing. Many scripts draw everything again until nobody is empty. For small $\alpha$ this does not end: with 20
# clients and 10 classes, at least ten clients stay empty in nearly every draw. We move rows instead.


# %% exercise="split_dirichlet" points=2 minutes=15 trains=["federated averaging"]
def split_dirichlet(labels: np.ndarray, clients: int, alpha: float, seed: int, least: int = 1) -> list[np.ndarray]:
    """Uneven parts of the rows: of each class, every client gets a random share.

    labels: shape (m,), the class of each row, integers of any kind and in any order; not modified.
    clients: >= 1. alpha: from 1e-3 to 1e6. seed: a Python integer, 0 <= seed < 2^63.
    least: how many rows each client gets at least, >= 0.

    For each class that occurs, independently of the others: draw shares of the clients from the
    symmetric Dirichlet distribution with parameter alpha. A client gets a whole number of rows that
    differs by at most 1 from its share times the rows of the class. Which rows these are is drawn
    at random, without replacement.
    After this, while a client has fewer than `least` rows: one row of a client that has most goes
    to a client that has fewest (which row, and which of several such clients, is free).

    Returns a list of `clients` new int64 arrays: the indices of each client's rows, ascending (an
    empty array where a client has none). Each index from 0 to m - 1 is in exactly one of them.
    The same arguments give the same result, and other seeds unrelated ones, also neighbouring
    seeds. Neither uses nor changes the global random states of Python and NumPy.
    Raises ValueError if clients * least > m.
    """
    ### BEGIN SOLUTION
    if clients * least > len(labels):
        raise ValueError(f"{len(labels)} rows are too few for {clients} clients with {least} each")
    rng = np.random.default_rng(seed)
    parts = [[] for _ in range(clients)]
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(clients, alpha))
        cuts = np.rint(np.cumsum(shares)[:-1] * len(rows)).astype(int)
        # In an order of its own for each class: where rows are few, rounding favours some places.
        for client, piece in zip(rng.permutation(clients), np.split(rows, cuts), strict=True):
            parts[client].extend(piece.tolist())
    sizes = [len(part) for part in parts]
    while min(sizes) < least:
        rich, poor = sizes.index(max(sizes)), sizes.index(min(sizes))
        parts[poor].append(parts[rich].pop())
        sizes[rich] -= 1
        sizes[poor] += 1
    return [np.sort(np.array(part, np.int64)) for part in parts]
    ### END SOLUTION


# %% [markdown] hints="split_dirichlet"
# <details><summary>Hint 1: one class at a time</summary>
#
# `np.unique(labels)` names the classes, `np.flatnonzero(labels == label)` the rows of one. Draw new shares for each:
# `rng.dirichlet(np.full(clients, alpha))`. (Gamma variables divided by their sum are the same law, but for a small alpha
# all of them may be 0.)
# </details>
# <details><summary>Hint 2: from shares to rows</summary>
#
# Shuffle the rows of the class. `np.cumsum(shares)` says where each client's piece ends, as a share of the class. Times
# the number of rows, rounded, without the last one, these are the places for `np.split`.
# </details>
# <details><summary>Hint 3: nobody is empty</summary>
#
# Keep a list of indices for each client. While the shortest list has fewer than `least` entries, pop an index from the
# longest list and append it to the shortest. At the end, `np.sort(np.array(part, np.int64))`.
# </details>

# %% check="split_dirichlet"
with check("split_dirichlet"):
    toy = np.array([7, 3, 3, 7, 7, 3, 3, 7] * 50)  # 200 rows of class 3 and 200 of class 7
    with expect_unchanged(toy=toy):
        parts = split_dirichlet(toy, 4, 1e6, seed=1)
    assert isinstance(parts, list) and len(parts) == 4, "a list with one array for each client"
    expect_close(np.sort(np.concatenate(parts)), np.arange(400), hint="each index is in exactly one part")
    assert all(part.dtype == np.int64 and np.all(np.diff(part) > 0) for part in parts), "int64, ascending"
    mix = np.array([[np.sum(toy[part] == label) for label in (3, 7)] for part in parts])
    # alpha = 1e6: all shares are 1/4 up to 0.0002 or so, and 50 rows, give or take the rounding.
    expect_close(mix, np.full((4, 2), 50), atol=1.3, hint="with a very large alpha everybody gets the same share")
    assert np.any(np.diff(split_dirichlet(np.zeros(60, int), 2, 1e6, seed=0)[0]) > 1), "which rows: drawn at random"
    # Two clients, alpha = 1: the first one's share is uniform on [0, 1], with mean 1/2 and variance 1/12. Over 400
    # seeds the mean is within 5 * sqrt(1/12/400) = 0.072; the variance within 5 * sqrt((1/80 - 1/144)/400) = 0.019.
    first = np.array(
        [[np.sum(toy[split_dirichlet(toy, 2, 1.0, seed)[0]] == label) / 200 for label in (3, 7)] for seed in range(400)]
    )
    expect_close(first.mean(axis=0), [0.5, 0.5], atol=0.072, hint="every client has the mean share 1 / clients")
    expect_close(first.var(axis=0), [1 / 12, 1 / 12], atol=0.019, hint="shares of the Dirichlet distribution")
    expect_close(np.corrcoef(first.T)[0, 1], 0.0, atol=0.25, hint="each class has shares of its own")
    # alpha = 0.001: one client gets (nearly) the whole class, and the others get the rows that are moved to them.
    sizes = [len(part) for part in split_dirichlet(np.zeros(100, int), 20, 1e-3, seed=3, least=2)]
    assert min(sizes) == 2, f"with least=2, the smallest of 20 parts of 100 rows has 2 rows, and not {min(sizes)}"
    # Which of two clients gets the class is a fair coin: of 1500 seeds 750, give or take 19; five times that is 97.
    held = sum(len(split_dirichlet(np.zeros(4, int), 2, 1e-3, seed, least=0)[0]) > 2 for seed in range(1500))
    expect_close(held, 750, atol=97, hint="a tiny alpha: gamma variables may all be 0, and then nobody has a share")
    again, near = (split_dirichlet(toy, 4, 0.5, seed) for seed in (9, 8))
    assert any(not np.array_equal(*pair) for pair in zip(again, near, strict=True)), "the seeds 8 and 9: other parts"
    for one, other in zip(again, split_dirichlet(toy, 4, 0.5, seed=9), strict=True):
        expect_close(one, other, hint="the same seed gives the same parts")
    with expect_raises(ValueError):
        split_dirichlet(np.zeros(9, int), 5, 1.0, seed=0, least=2)

# %% [markdown]
# Each bar is a client, each colour a digit. With $\alpha = 100$ all clients look like the whole. With $\alpha = 0.1$
# most of a client's rows belong to two or three digits, and some clients have many more rows than others.

# %% tags=["demo"]
figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True)
ten_colours = plt.get_cmap("tab10").colors
for ax, alpha in zip(axes, (100.0, 0.1), strict=True):
    parts = split_dirichlet(y_train, 10, alpha, seed=1)
    below = np.zeros(10)
    for digit in range(10):
        height = np.array([np.sum(y_train[part] == digit) for part in parts])
        ax.bar(range(10), height, bottom=below, color=ten_colours[digit], label=str(digit))
        below += height
    ax.set(xlabel="client", title=f"α = {alpha:g}: {'all alike' if alpha > 1 else 'few digits each'}")
    ax.set_xticks(range(10))
    ax.grid(False)
axes[0].set_ylabel("rows")
handles, names = axes[0].get_legend_handles_labels()
figure.legend(handles[::-1], names[::-1], title="digit", loc="outside right center")  # in the order of the bars
plt.show()

# %% [markdown]
# ### 20.2 `fedavg` · essential · level 1 of 4 · 15 min
#
# The server's part: $\sum_i w_i\, y_i$ with $w_i = m_i / \sum_{j\in S} m_j$. The sum in the denominator goes over the
# clients that *answered*, not over all. A model is a dictionary of arrays, as in `state_dict()` of torch. Some of them
# are no parameters, such as the number of batches that a batch normalisation has seen. They are integers and must stay
# integers.
#
# What does it cost? With a thousand clients and a model of 100 MB, a list of all updates takes 100 GB. A sum needs one
# update at a time, as in module 00.


# %% exercise="fedavg" points=1 minutes=15 trains=["federated averaging", "counting what a computation costs"]
def fedavg(updates: Iterable[dict[str, np.ndarray]], counts: list[int]) -> dict[str, np.ndarray]:
    """The mean of the clients' models, each weighted by its number of rows.

    updates: one dictionary for each client, all with the same keys (in any order) and, under one
      key, arrays of one shape (0-d as well) and one dtype: float64, float32, or integers of any
      kind between -2^31 and 2^31 (floats so small that the weighted sum does not overflow). An
      iterable that is gone through once. It may fill the same arrays anew for each client, so
      nothing of a client may be looked at later. Not modified.
    counts: the rows of each client, integers >= 0, as many as there are updates. A client with
      count 0 has no influence, even if its arrays hold nan.

    Returns a new dictionary with the keys of the first update in its order: under each key
    sum_i counts[i] * updates[i][key] / sum_i counts[i], as a new array in the dtype of the key.
    Sums are taken in float64 (each product may be rounded to the dtype of its array); means of
    integers are rounded to the nearest integer (which one at a half is free).
    Raises ValueError if there is no update, if all counts are 0, if there are more updates than
    counts or fewer, or if an update has other keys than the first one.
    Memory for a few models, however many clients there are.
    """
    ### BEGIN SOLUTION
    total = sum(counts)
    if total == 0:
        raise ValueError("no rows at all")
    sums, dtypes = {}, {}
    for number, (update, count) in enumerate(zip(updates, counts, strict=True)):
        if number == 0:
            sums = {key: np.zeros(np.shape(array)) for key, array in update.items()}
            dtypes = {key: array.dtype for key, array in update.items()}
        if update.keys() != sums.keys():
            raise ValueError(f"client {number} has other keys than the first one")
        if count > 0:
            for key, array in update.items():
                sums[key] += count / total * array
    rounded = {key: np.rint(value) if dtypes[key].kind in "iu" else value for key, value in sums.items()}
    return {key: np.asarray(value).astype(dtypes[key]) for key, value in rounded.items()}
    ### END SOLUTION


# %% [markdown] hints="fedavg"
# <details><summary>Hint 1: the weights are known before the first update</summary>
#
# `counts` is a list, so its sum can be taken first. `zip(updates, counts, strict=True)` raises ValueError where one of
# the two ends earlier.
# </details>
# <details><summary>Hint 2: a running sum</summary>
#
# At the first update, make zeros in float64 for every key and keep the dtypes. Then add `count / total * array` to each
# sum. Leave a client with count 0 out: 0 times nan is nan.
# </details>
# <details><summary>Hint 3: back to the dtype of the key</summary>
#
# `np.rint` for integers (`dtype.kind in "iu"`), then `.astype(dtype)`. NumPy makes a number of a 0-d array in some
# operations; `np.asarray` makes it an array again.
# </details>

# %% check="fedavg"
with check("fedavg"):
    one = {"W": np.array([[1.0, 2.0]]), "seen": np.array(10), "b": np.float32([4])}
    two = {"W": np.array([[4.0, 8.0]]), "b": np.float32([1]), "seen": np.array(21)}
    with expect_unchanged(W1=one["W"], W2=two["W"]):
        got = fedavg(iter([one, two]), [1, 2])
    assert list(got) == ["W", "seen", "b"], f"the keys of the first update, in its order, and not {list(got)}"
    expect_close(
        got["W"],
        [[3.0, 6.0]],  # (1 * 1 + 2 * 4) / 3 and (1 * 2 + 2 * 8) / 3
        rtol=1e-12,
        hint="weight by the number of rows",
        mistakes={"All clients got the same weight.": [[2.5, 5.0]], "This is a sum; divide.": [[9.0, 18.0]]},
    )
    expect_close(got["seen"], 17, hint="(10 + 42) / 3 = 17.33: the nearest integer")
    expect_dtype(got["seen"], np.int64, hint="integers stay integers")
    below = fedavg([{"n": np.array([-3])}, {"n": np.array([-7])}], [1, 2])["n"]
    expect_close(below, [-6], hint="(-3 - 14) / 3 = -5.67: the nearest integer")
    expect_dtype(got["b"], np.float32)
    absent = {"W": np.array([[np.nan, 0.0]]), "seen": np.array(0), "b": np.float32([0])}
    expect_close(fedavg([absent, one, two], [0, 1, 2])["W"], [[3.0, 6.0]], hint="count 0: no influence")
    filled = {"W": np.zeros(1)}

    def filled_anew():  # the same array for each client
        for value in (1.0, 4.0):
            filled["W"][:] = value
            yield filled

    expect_close(
        fedavg(filled_anew(), [1, 2])["W"],
        [3.0],
        hint="one update at a time: its arrays may be filled anew for the next client",
        mistakes={"This is the last client's model: its arrays were looked at when they had been filled anew.": [4.0]},
    )
    with expect_raises(ValueError):
        fedavg([], [])
    with expect_raises(ValueError):
        fedavg([one, two], [1])
    with expect_raises(ValueError):
        fedavg([one, two], [0, 0])
    with expect_raises(ValueError):
        fedavg([one, {"W": two["W"]}], [1, 1])

# %% [markdown]
# Is the mean of models a model? For softmax regression at $K = 1$ it is exactly a gradient step on all rows: by
# linearity $\sum_i w_i (\theta - \eta \nabla f_i(\theta)) = \theta - \eta \nabla F(\theta)$. The cell below compares
# the two, on ten uneven clients. The difference is rounding.

# %% tags=["demo"]
parts = split_dirichlet(y_train, 10, 0.1, seed=1)
theta = np.random.default_rng(0).standard_normal(650)
stepped = [{"theta": theta - 0.5 * gradient_of(part)(theta)} for part in parts]
averaged = fedavg(stepped, [len(part) for part in parts])["theta"]
whole = theta - 0.5 * gradient_of(slice(None))(theta)
print(f"largest difference between the mean of ten steps and one step on all rows: {abs(averaged - whole).max():.1e}")

# %% [markdown]
# ### 20.3 `local_update` · essential · level 2 of 4 · 10 min
#
# With $K > 1$ the client goes on from its own $y$, and follows its own loss. One function holds all variants of this
# module:
#
# $$y \leftarrow y - \eta\left(\nabla f_i(y) + \mu\,(y - \theta) + v\right), \qquad K \text{ times, from } y = \theta .$$
#
# The **proximal** term with $\mu$ (FedProx, Li et al., 2020) pulls the client back to the parameters that the server
# sent. It is the gradient of $\frac\mu2 \lVert y - \theta\rVert^2$. The shift $v$, a constant vector for the round, is
# for 20.4. The exercise needs this formula only; what follows is for the figure after it.
#
# **Where does federated averaging end?** Take clients with quadratic losses
# $f_i(y) = \frac12 (y - b_i)^\top A_i\, (y - b_i)$, where $A_i$ is $(d, d)$, symmetric and positive definite. A local
# step multiplies the distance to the client's own minimum: $y - b_i \leftarrow (I - \eta A_i)(y - b_i)$. After $K$
# steps
#
# $$y_i - b_i = (I - \eta A_i)^K (\theta - b_i), \qquad
# y_i - \theta = -\underbrace{\left(I - (I - \eta A_i)^K\right)}_{P_i}(\theta - b_i) .$$
#
# The server stands still where the weighted mean of the changes is zero, $\sum_i w_i P_i(\theta - b_i) = 0$:
#
# $$\theta_{\text{FedAvg}} = \Big(\sum_i w_i P_i\Big)^{-1} \sum_i w_i P_i\, b_i, \qquad\text{but}\qquad
# \theta^\star = \Big(\sum_i w_i A_i\Big)^{-1} \sum_i w_i A_i\, b_i ,$$
#
# since the optimum is where $\nabla F = \sum_i w_i A_i (\theta - b_i) = 0$. These are two different points. They
# coincide for $K = 1$, where $P_i = \eta A_i$. They also coincide if all $A_i$ are equal. For small $\eta K$ the second
# order of the power gives $P_i = \eta K A_i - \binom K2 \eta^2 A_i^2 + \dots$, so the gap grows like $\eta (K - 1)$.
# For $K\to\infty$ (and $\eta$ below 2 over the largest eigenvalue of each $A_i$, as in module 01) every $P_i$ becomes
# $I$, and the server ends in the mean of the clients' own minima, however flat these are. And the server gets there:
# the eigenvalues of $P_i$ are $1 - (1 - \eta\lambda)^K$, between 0 and 2 if $0 < \eta\lambda < 2$, so each round
# multiplies $\theta - \theta_{\text{FedAvg}}$ by $I - \sum_i w_i P_i$, with eigenvalues between $-1$ and 1. This gap is
# called **client drift**. It is no noise: more rounds do not help.


# %% exercise="local_update" points=2 minutes=10 trains=["federated averaging", "fixed points"]
def local_update(
    theta: np.ndarray,
    grad: Callable[[np.ndarray], np.ndarray],
    steps: int,
    lr: float,
    mu: float = 0.0,
    shift: np.ndarray | None = None,
) -> np.ndarray:
    """What a client makes of the server's parameters in one round.

    theta: shape (d,), float64, d >= 1; not modified.
    grad: the gradient of the client's loss: takes y, shape (d,), float64, and returns an array
      (d,), float64, which is not modified. It is called `steps` times, once for each step, also
      when values become inf or nan (what is returned then is free). What it gets is not changed
      after the call.
    steps: >= 0. lr: the learning rate, > 0. mu: >= 0, the strength of the proximal term.
    shift: shape (d,), float64, added to the gradient in each step, or None for zeros; not modified.

    From y = theta, `steps` times: y <- y - lr * (grad(y) + mu * (y - theta) + shift).

    Returns y, a new array (d,) of float64; for steps = 0 a copy of theta.
    """
    ### BEGIN SOLUTION
    y = theta.copy()
    for _ in range(steps):
        direction = grad(y) + mu * (y - theta)
        if shift is not None:
            direction = direction + shift
        y = y - lr * direction
    return y
    ### END SOLUTION


# %% [markdown] hints="local_update"
# <details><summary>Hint 1: two points, not one</summary>
#
# `theta` is where the round began, and it stays. `y` moves. The proximal term is the difference of the two, so it is
# zero in the first step.
# </details>
# <details><summary>Hint 2: new arrays</summary>
#
# Write `y = y - lr * direction`, and not `y -= ...`: a function that keeps the array it got would see it change.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `y = theta.copy()`; in each step `direction = grad(y) + mu * (y - theta)`, plus `shift` unless it is None; then
# `y = y - lr * direction`. After the loop return `y`.
# </details>

# %% check="local_update"
with check("local_update"):
    start, asked = np.array([1.0, -2.0]), []

    def slope(y):
        asked.append(y)
        return np.array([2.0, 4.0]) * y  # of y_1^2 + 2 y_2^2

    with expect_unchanged(start=start):
        got = local_update(start, slope, 2, 0.25)
    # Step 1: y = (1, -2) - 0.25 * (2, -8) = (0.5, 0). Step 2: y = (0.5, 0) - 0.25 * (1, 0) = (0.25, 0).
    expect_close(got, [0.25, 0.0], rtol=1e-12, hint="the second step begins where the first one ended")
    expect_close(asked, [[1.0, -2.0], [0.5, 0.0]], hint="grad is asked once a step, and its argument does not change")
    # mu = 2. Step 1 as above. Step 2: the direction is (1, 0) + 2 * (-0.5, 2) = (0, 4), so y = (0.5, -1).
    expect_close(
        local_update(start, slope, 2, 0.25, mu=2.0),
        [0.5, -1.0],
        rtol=1e-12,
        hint="mu * (y - theta): towards the server's parameters",
        mistakes={"The proximal term pulls towards zero.": [0.0, -0.5]},
    )
    # shift = (1, 1). Step 1: (1, -2) - 0.25 * (3, -7) = (0.25, -0.25). Step 2: - 0.25 * (1.5, 0) = (-0.125, -0.25).
    expect_close(
        local_update(start, slope, 2, 0.25, 0.0, np.ones(2)),
        [-0.125, -0.25],
        rtol=1e-12,
        hint="the shift is added to the gradient",
        mistakes={"The shift was subtracted from the gradient.": [0.625, 0.25]},
    )
    # Both. Step 1 as before. Step 2: (0.5, -1) + 2 * (-0.75, 1.75) + (1, 1) = (0, 3.5), so y = (0.25, -1.125).
    expect_close(local_update(start, slope, 2, 0.25, 2.0, np.ones(2)), [0.25, -1.125], rtol=1e-12, hint="both terms")
    copy = local_update(start, slope, 0, 0.25)
    expect_close(copy, start, hint="no step: a copy of theta")
    assert copy is not start, "no step: a copy of theta, not theta itself"

# %% [markdown]
# Two clients with elongated bowls, one steep along $\theta_1$, the other one along $\theta_2$. The grey contours are
# those of $F$. The orange and the green line are the local paths of one round, from the point where the server ends:
# each client walks towards its own minimum, and the two changes cancel. The server's path ends at the cross, which the
# formula predicts, and not at the star, the optimum of the sum. The right panel shows the distance to the optimum
# against rounds, for several $K$ and for a proximal term. The dotted lines are the distance of the predicted end.


# %% tags=["demo"]
def bowls(seed, clients, d, spread=1.0):
    """Quadratic clients: A (clients, d, d) with eigenvalues from 0.2 to 2, and their minima b (clients, d)."""
    rng = np.random.default_rng(seed)
    turns = [np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(clients)]
    A = np.array([Q @ np.diag(np.geomspace(0.2, 2.0, d)) @ Q.T for Q in turns])
    return A, spread * rng.standard_normal((clients, d))


def optimum(A, b):
    """Where the mean of the clients' gradients is zero (equal weights)."""
    return np.linalg.solve(A.sum(axis=0), np.einsum("ijk,ik->j", A, b))


def fedavg_end(A, b, steps, lr, mu=0.0):
    """Where federated averaging stands still: a client's change is -P (theta - b)."""
    eye = np.eye(A.shape[1])
    P = [
        (eye - np.linalg.matrix_power(eye - lr * (Ai + mu * eye), steps)) @ np.linalg.solve(Ai + mu * eye, Ai)
        for Ai in A
    ]
    return np.linalg.solve(np.sum(P, axis=0), np.einsum("ijk,ik->j", np.array(P), b))


def averaging(theta, gradients, rounds, steps, lr, mu=0.0):
    """The server's parameters after each round, the first ones included."""
    path = [theta]
    for _ in range(rounds):
        updates = ({"theta": local_update(path[-1], g, steps, lr, mu)} for g in gradients)
        path.append(fedavg(updates, [1] * len(gradients))["theta"])
    return np.array(path)


A = np.array([[[2.0, 0.0], [0.0, 0.2]], [[0.3, 0.0], [0.0, 1.5]]])
b = np.array([[-1.0, 1.5], [1.5, -1.0]])
gradients = [lambda y, Ai=Ai, bi=bi: Ai @ (y - bi) for Ai, bi in zip(A, b, strict=True)]
best, start, lr = optimum(A, b), np.array([1.5, 1.5]), 0.3
path = averaging(start, gradients, 30, 20, lr)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
grid = np.linspace(-2, 2, 80)
points = np.stack(np.meshgrid(grid, grid), axis=-1)
height = sum(np.einsum("...j,jk,...k->...", points - bi, Ai, points - bi) / 4 for Ai, bi in zip(A, b, strict=True))
left.contour(grid, grid, height, levels=14, colors="#BBBBBB", linewidths=0.7)
for i in range(2):
    walk = [path[-1]]
    for _ in range(20):
        walk.append(local_update(walk[-1], gradients[i], 1, lr))
    left.plot(*np.array(walk).T, color=plotting.COLOURS[i + 1], marker=".", markersize=4, label=f"client {i + 1}")
left.plot(*path.T, color=plotting.COLOURS[0], marker="o", markersize=4, label="server, 30 rounds")
left.plot(*fedavg_end(A, b, 20, lr), "x", color="#222222", markersize=11, markeredgewidth=2, label="predicted end")
left.plot(*best, "*", color="#222222", markersize=13, label="optimum")
left.set(xlabel="θ₁", ylabel="θ₂", title="The server stops where two walks cancel", xlim=(-2, 2), ylim=(-2, 2))
left.legend(loc="lower left", fontsize=8)
for number, (steps, mu) in enumerate([(1, 0.0), (5, 0.0), (20, 0.0), (20, 2.0)]):
    distances = np.linalg.norm(averaging(start, gradients, 60, steps, lr, mu) - best, axis=1)
    name = f"K = {steps}" + (f", μ = {mu:g}" if mu else "")
    right.plot(np.maximum(distances, 1e-12), color=plotting.COLOURS[number], label=name)
    gap = np.linalg.norm(fedavg_end(A, b, steps, lr, mu) - best)
    if gap > 1e-9:
        right.axhline(gap, color=plotting.COLOURS[number], linestyle=":", linewidth=1)
    print(f"{name}: after 60 rounds {distances[-1]:.2e} from the optimum; the formula says {gap:.2e} in the end")
right.set(xlabel="round", ylabel="distance to the optimum", yscale="log", title="More local steps, a worse end")
right.legend(loc="lower left")
plt.show()

# %% [markdown]
# The proximal term makes the gap smaller, and does not close it. With it the walk of a client tends to $y^\star$ with
# $(A_i + \mu I)\, y^\star = A_i b_i + \mu\theta$, so $y^\star - \theta = -(A_i + \mu I)^{-1} A_i (\theta - b_i)$, and
# each step multiplies $y - y^\star$ by $I - \eta(A_i + \mu I)$. So $P_i$ becomes
# $\left(I - (I - \eta(A_i + \mu I))^K\right)(A_i + \mu I)^{-1} A_i$. For large $\mu$ this tends to $A_i/\mu$, after
# enough local steps and with $\eta$ so small that $\eta(\lambda_{\max} + \mu) < 2$ for the largest eigenvalue
# $\lambda_{\max}$ of $A_i$ (otherwise the client diverges), and then the end is the optimum, but each round moves by a
# share of about $1/\mu$ only. So the proximal term trades speed for a smaller error.
#
# ### 20.4 `scaffold_round` · essential · level 3 of 4 · 30 min
#
# The client goes the wrong way because it sees $\nabla f_i$ and not $\nabla F$. If it knew the difference
# $\nabla F - \nabla f_i$ it could add it. It cannot know it at its own moving $y$. But the difference changes slowly,
# and the last round gives an estimate. SCAFFOLD (Karimireddy et al., 2020) keeps a **control** $c_i$ for each client,
# an estimate of $\nabla f_i$, and $c$ at the server, their mean. The client walks along $\nabla f_i(y) + (c - c_i)$:
# this is `local_update` with the shift $v = c - c_i$. After its $K$ steps it updates its own control ("option II" in
# the paper). The mean of the directions that it went is known without another gradient, from start and end:
#
# $$\frac{\theta - y_i}{K \eta} = \frac1K \sum_{k} \left(\nabla f_i(y^{(k)}) + c - c_i\right)
# \qquad\Longrightarrow\qquad
# c_i^+ = c_i - c + \frac{\theta - y_i}{K\eta} = \frac1K \sum_k \nabla f_i(y^{(k)}) .$$
#
# So the new control is the mean of the client's own gradients along its path. The server moves by the mean change of
# the clients in $S$. Its control must stay the mean over *all* $N$ clients, of which only those in $S$ have changed:
#
# $$\theta^+ = \theta + \frac1{|S|} \sum_{i\in S} (y_i - \theta), \qquad
# c^+ = c + \frac{|S|}{N}\cdot\frac1{|S|} \sum_{i\in S} (c_i^+ - c_i) = c + \frac1N \sum_{i\in S} (c_i^+ - c_i) .$$
#
# **Why does it end at the optimum?** Let $\theta = \theta^\star$ and $c_i = \nabla f_i(\theta^\star)$, so
# $c = \nabla F(\theta^\star) = 0$, here with equal weights. The first local step goes along
# $\nabla f_i(\theta^\star) + 0 - c_i = 0$: no client moves, no control changes. The optimum is a fixed point for every
# $K$ and every $\eta$. (The rounds get there only if $\eta K$ is not too large.) The price: $c$ travels with $\theta$,
# and the change of the control travels back with $y_i$. So a round sends twice the numbers, and a client must keep its
# control from one round to the next.


# %% exercise="scaffold_round" points=3 minutes=30 trains=["fixed points", "control variates"]
def scaffold_round(
    theta: np.ndarray,
    control: np.ndarray,
    controls: list[np.ndarray],
    chosen: list[int],
    grad: Callable[[int, np.ndarray], np.ndarray],
    steps: int,
    lr: float,
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """One round of SCAFFOLD (option II, with the server's step 1), all clients with equal weight.

    theta, control: shape (d,), float64, the server's parameters and control (usually the mean of
      `controls`; do not rely on it, and change it by the sum below only); not modified.
    controls: one array (d,), float64, for each of the N >= 1 clients; not modified.
    chosen: the clients of this round, at least one, each at most once, in any order.
    grad: grad(i, y) is the gradient of client i at y, shape (d,), float64; what it returns is not
      modified. It is called exactly `steps` times for each chosen client, and for no other. What it
      gets is not changed after the call.
    steps: K >= 1. lr: the learning rate of the local steps, > 0.

    Each chosen client i begins at y = theta and goes, `steps` times,
      y <- y - lr * (grad(i, y) + control - controls[i]); then its new control is
      controls[i] - control + (theta - y) / (steps * lr).
    All clients use `theta`, `control` and `controls` as they were at the beginning of the round.

    Returns (theta, control, controls) after the round, in new arrays:
      theta plus the mean of y - theta over the chosen clients;
      control plus the sum over the chosen clients of (new - old control) / N;
      a new list of N arrays, in which those of clients that were not chosen are copies.
    """
    ### BEGIN SOLUTION
    change, moved = np.zeros_like(theta), np.zeros_like(theta)
    after = [old.copy() for old in controls]
    for i in chosen:
        y = local_update(theta, lambda y, i=i: grad(i, y), steps, lr, shift=control - controls[i])
        after[i] = controls[i] - control + (theta - y) / (steps * lr)
        change += y - theta
        moved += after[i] - controls[i]
    return theta + change / len(chosen), control + moved / len(controls), after
    ### END SOLUTION


# %% [markdown] hints="scaffold_round"
# <details><summary>Hint 1: two counts</summary>
#
# The parameters move by a mean over the chosen clients. The server's control is the mean over all $N$ clients, and
# those that were not chosen changed by zero. So the first sum is divided by `len(chosen)` and the second one by
# `len(controls)`.
# </details>
# <details><summary>Hint 2: use what you have</summary>
#
# The local walk is `local_update(theta, lambda y: grad(i, y), steps, lr, shift=control - controls[i])`. In a loop write
# `lambda y, i=i: ...`, or each function uses the last client.
# </details>
# <details><summary>Hint 3: keep the old ones</summary>
#
# Collect the new controls in a copied list, `after`. Compute `after[i]` from `controls[i]`, `control`, `theta` and `y`.
# Add `y - theta` to one sum and `after[i] - controls[i]` to the other. Use the two sums only behind the loop.
# </details>

# %% check="scaffold_round"
with check("scaffold_round"):
    # Three clients with the losses (y - b)^2 / 2 of one number, b = 0, 2, 4; gradient y - b. Clients 2 and 0 take part.
    centres, started = [0.0, 2.0, 4.0], (np.array([1.0]), np.array([0.5]), [np.array([v]) for v in (0.0, 9.0, 1.5)])
    calls = []

    def toy_grad(i, y):
        calls.append(i)
        return y - centres[i]

    with expect_unchanged(theta=started[0], control=started[1], first=started[2][0], last=started[2][2]):
        theta1, control1, controls1 = scaffold_round(*started, [2, 0], toy_grad, 2, 0.5)
    assert sorted(calls) == [0, 0, 2, 2], f"two calls for each of the clients 0 and 2, and not {sorted(calls)}"
    # Client 0, shift 0.5 - 0 = 0.5: y = 1 - 0.5 * 1.5 = 0.25, then 0.25 - 0.5 * 0.75 = -0.125.
    #   Its control: 0 - 0.5 + (1 + 0.125) / (2 * 0.5) = 0.625. Check: the mean of its gradients 1 and 0.25.
    # Client 2, shift 0.5 - 1.5 = -1: y = 1 - 0.5 * (-3 - 1) = 3, then 3 - 0.5 * (-1 - 1) = 4.
    #   Its control: 1.5 - 0.5 + (1 - 4) / 1 = -2, the mean of -3 and -1.
    expect_close(
        controls1,
        [[0.625], [9.0], [-2.0]],
        rtol=1e-12,
        hint="the new control is the mean of the client's own gradients; client 1 keeps its control",
        mistakes={
            "The path was divided by the steps, and not by steps * lr.": [[0.0625], [9.0], [-0.5]],
            "The shift has the wrong sign.": [[-0.125], [9.0], [-0.5]],
        },
    )
    expect_close(
        theta1,
        [1.9375],  # 1 + (-1.125 + 3) / 2
        rtol=1e-12,
        hint="the mean over the chosen clients",
        mistakes={"You divided by the number of all clients.": [1.625]},
    )
    expect_close(
        control1,
        [0.5 + (0.625 - 3.5) / 3],
        rtol=1e-12,
        hint="the sum of the changes of the controls, divided by N",
        mistakes={
            "You divided by the chosen clients, not by all.": [0.5 + (0.625 - 3.5) / 2],
            "This is the mean of the new controls; here, control was not the mean before.": [(0.625 + 9 - 2) / 3],
        },
    )

# %% [markdown]
# Six clients with bowls in eight dimensions, ten local steps. Federated averaging goes quickly to its own end, which
# the formula of 20.3 predicts (dotted). SCAFFOLD goes on to the optimum, with all clients in each round and with two of
# six. The right panel asks the closed form alone, without any iteration: how far from the optimum does federated
# averaging end, if the step size becomes smaller? The fitted slope is near 1, as the expansion of $P_i$ says.

# %% tags=["demo"]
A, b = bowls(3, 6, 8)
best, theta0, steps, lr = optimum(A, b), np.zeros(8), 10, 0.1
rounds = demo_size(full=250, small=60)


def bowl_grad(i, y):
    return A[i] @ (y - b[i])


lines = {
    "FedAvg": np.linalg.norm(
        averaging(theta0, [lambda y, i=i: bowl_grad(i, y) for i in range(6)], rounds, steps, lr) - best, axis=1
    )
}
for name, taking in (("SCAFFOLD, all", 6), ("SCAFFOLD, 2 of 6", 2)):
    rng, state, found = np.random.default_rng(5), (theta0, np.zeros(8), [np.zeros(8)] * 6), []
    for _ in range(rounds + 1):
        found.append(np.linalg.norm(state[0] - best))
        state = scaffold_round(*state, rng.choice(6, taking, replace=False).tolist(), bowl_grad, steps, lr)
    lines[name] = np.array(found)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
for number, (name, found) in enumerate(lines.items()):
    left.plot(np.maximum(found, 1e-16), color=plotting.COLOURS[number], label=name)
left.axhline(np.linalg.norm(fedavg_end(A, b, steps, lr) - best), color="#222222", linestyle=":", linewidth=1)
left.set(xlabel="round", ylabel="distance to the optimum", yscale="log", title="SCAFFOLD goes on to the optimum")
left.legend(loc=demo_size(full="center right", small="lower left"))
rates = np.geomspace(0.001, 0.1, 9)
for number, many in enumerate((2, 10, 50)):
    gaps = [np.linalg.norm(fedavg_end(A, b, many, rate) - best) for rate in rates]
    slope = np.polyfit(np.log(rates[:3]), np.log(gaps[:3]), 1)[0]
    right.plot(
        rates, gaps, marker="os^"[number], color=plotting.COLOURS[number], label=f"K = {many}, slope {slope:.2f}"
    )
right.set(xscale="log", yscale="log", xlabel="learning rate η", ylabel="distance of FedAvg's end")
right.set_title("The end's error, by the closed form")
right.legend(loc="lower right")
plt.show()
print(", ".join(f"{name}: {found[-1]:.1e}" for name, found in lines.items()), f"after {rounds} rounds")

# %% [markdown]
# ### 20.5 `server_step` · important · level 2 of 4 · 15 min
#
# Until now the server replaces $\theta$ by the mean. Write the same as a step: $\theta \leftarrow \theta + \Delta$ with
# $\Delta = \sum_i w_i (y_i - \theta)$. So $-\Delta$ plays the part of a gradient, and any optimiser of module 02 may
# use it (Reddi et al., 2021). With $\eta$ for the server's rate:
#
# - *sgd*: $\theta + \eta\Delta$. With $\eta = 1$ this is federated averaging.
# - *momentum*: $g \leftarrow 0.9\, g + \Delta$, then $\theta + \eta g$.
# - *adam*: $g \leftarrow 0.9\, g + 0.1\, \Delta$ and $h \leftarrow 0.99\, h + 0.01\, \Delta^2$, entry by entry, then
#   $\theta + \eta\, g / (\sqrt h + \tau)$ with $\tau = 10^{-3}$.
#
# Two things differ from module 02. The sign is plus, because $\Delta$ points downhill already. And the paper's Adam has
# no bias correction, so we leave it out, too. (The paper begins $h$ at $\tau^2$ or above, we begin at zeros. Flower
# 1.41's class `FedAdam` does correct the bias: look before you compare numbers.) Without a correction, and from zeros,
# the first step is $0.1\,\Delta / (0.1\, |\Delta| + \tau)$, which is the sign of $\Delta$ where $|\Delta|$ is much larger than
# $10^{-2}$.


# %% exercise="server_step" points=2 minutes=15 trains=["federated averaging"]
def server_step(theta: np.ndarray, delta: np.ndarray, state: dict, kind: str, lr: float) -> tuple[np.ndarray, dict]:
    """The server's parameters after a round, from the mean change of the clients.

    theta, delta: shape (d,), float64; delta is the mean of y_i - theta. Not modified.
    state: {} in the first round, then what the call of the round before returned (with the same
      kind); not modified, and neither are arrays in it, so a round can be done again.
    kind: "sgd", "momentum" or "adam". lr: the server's learning rate, > 0.

    "sgd":      theta + lr * delta
    "momentum": g <- 0.9 g + delta;  theta + lr * g
    "adam":     g <- 0.9 g + 0.1 delta;  h <- 0.99 h + 0.01 delta^2;
                theta + lr * g / (sqrt(h) + 1e-3), no bias correction
    g and h begin as zeros.

    Returns the new parameters, a new array (d,) of float64, and the new state: a dictionary with
    texts as keys and arrays or numbers as values. What stands in it is up to you, but its arrays
    share no memory with the arguments, nor with the new parameters.
    Raises ValueError for any other kind.
    """
    ### BEGIN SOLUTION
    if kind == "sgd":
        return theta + lr * delta, {}
    if kind == "momentum":
        g = 0.9 * state.get("g", 0.0) + delta
        return theta + lr * g, {"g": g}
    if kind == "adam":
        g = 0.9 * state.get("g", 0.0) + 0.1 * delta
        h = 0.99 * state.get("h", 0.0) + 0.01 * delta**2
        return theta + lr * g / (np.sqrt(h) + 1e-3), {"g": g, "h": h}
    raise ValueError(f"kind {kind!r}: sgd, momentum or adam")
    ### END SOLUTION


# %% [markdown] hints="server_step"
# <details><summary>Hint 1: which way?</summary>
#
# `delta` is where the clients went. The server goes the same way: plus.
# </details>
# <details><summary>Hint 2: the first round</summary>
#
# `state.get("g", 0.0)` is zero where the state is still empty, and `0.9 * 0.0 + delta` has the shape of `delta`.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# For "adam": `g = 0.9 * state.get("g", 0.0) + 0.1 * delta`, `h` in the same way with 0.99, 0.01 and `delta**2`. Return
# `theta + lr * g / (np.sqrt(h) + 1e-3), {"g": g, "h": h}`. Make new arrays; an `+=` would change the old state.
# </details>

# %% check="server_step"
with check("server_step"):
    here, change = np.array([1.0, 2.0]), np.array([0.5, -1.0])
    with expect_unchanged(here=here, change=change):
        got, _ = server_step(here, change, {}, "sgd", 2.0)
    expect_close(got, [2.0, 0.0], rtol=1e-12, hint="plus lr * delta", mistakes={"You went the other way.": [0.0, 4.0]})
    got, memory = server_step(here, change, {}, "momentum", 1.0)
    expect_close(got, [1.5, 1.0], rtol=1e-12)
    kept = [value for value in memory.values() if isinstance(value, np.ndarray)]
    assert not any(np.shares_memory(value, change) for value in kept), "the state holds copies, and not delta itself"
    for _ in range(2):  # twice from the same state
        second, _ = server_step(got, change, memory, "momentum", 1.0)
        expect_close(second, [2.45, -0.9], rtol=1e-12, hint="g = 0.9 * delta + delta; the old state is not changed")
    got, memory = server_step(here, change, {}, "adam", 1.0)
    # g = 0.1 * (0.5, -1), h = 0.01 * (0.25, 1), sqrt(h) = 0.1 * (0.5, 1)
    expect_close(
        got,
        [1 + 0.05 / 0.051, 2 - 0.1 / 0.101],
        rtol=1e-12,
        hint="g / (sqrt(h) + 1e-3), with g and h from zeros",
        mistakes={"This has a bias correction.": [1 + 0.5 / 0.501, 2 - 1 / 1.001]},
    )
    server_step(got, change, memory, "adam", 1.0)  # leaves no trace in memory
    second, _ = server_step(got, np.zeros(2), memory, "adam", 1.0)
    # g = 0.9 * (0.05, -0.1), h = 0.99 * (0.0025, 0.01)
    expect_close(second - got, [0.045 / (0.05 * 0.99**0.5 + 1e-3), -0.09 / (0.1 * 0.99**0.5 + 1e-3)], rtol=1e-9)
    with expect_raises(ValueError):
        server_step(here, change, {}, "Adam", 1.0)

# %% [markdown]
# Twenty uneven clients of the digits ($\alpha = 0.1$), of which five take part in each round. Which five is drawn anew,
# so $\Delta$ is noisy. What do momentum and Adam change? With momentum, a steady $\Delta$ adds up to ten times itself
# ($1 + 0.9 + 0.9^2 + \dots = 10$), so its rate here is smaller than 1. Adam's steps have the size of its rate, whatever
# $\Delta$ is. The lines below the figure say how much the accuracy changes from one round to the next.


# %% tags=["demo"]
def federate(parts, rounds, steps, lr, take, kind="sgd", server_lr=1.0, mu=0.0, seed=0, watch=accuracy, bar=-1.0):
    """Train on the digits; `take` clients in each round. The server's parameters, and what `watch` said of them after
    each round; the training ends early where that falls to `bar`."""
    rng, theta, state = np.random.default_rng(seed), np.zeros(650), {}
    gradients, seen = [gradient_of(part) for part in parts], []
    while len(seen) < rounds and not (seen and seen[-1] <= bar):
        chosen = rng.choice(len(parts), take, replace=False)
        updates = ({"change": local_update(theta, gradients[i], steps, lr, mu) - theta} for i in chosen)
        delta = fedavg(updates, [len(parts[i]) for i in chosen])["change"]
        theta, state = server_step(theta, delta, state, kind, server_lr)
        seen.append(watch(theta))
    return theta, np.array(seen)


parts = split_dirichlet(y_train, 20, 0.1, seed=2)
rounds = demo_size(full=120, small=15)
figure, ax = plt.subplots(figsize=(7.5, 4))
for number, (kind, server_lr) in enumerate([("sgd", 1.0), ("momentum", 0.3), ("adam", 0.03)]):
    _, found = federate(parts, rounds, 10, 0.5, 5, kind, server_lr, seed=1)
    ax.plot(range(1, rounds + 1), found, color=plotting.COLOURS[number], label=f"{kind}, rate {server_lr:g}")
    late = found[rounds // 2 :]
    print(f"{kind}: last half of the rounds, mean {late.mean():.1%}, mean change {np.abs(np.diff(late)).mean():.1%}")
ax.axhline(central.score(X_test, y_test), color="#222222", linewidth=0.8, linestyle=":", label="all rows in one place")
ax.set(
    xlabel="round",
    ylabel="accuracy on test rows",
    title="With a memory, accuracy changes less from round to round",
    ylim=(0, 1),
)
ax.legend(loc="lower right")
plt.show()

# %% [markdown]
# ### 20.6 `quantize_update` · important · level 2 of 4 · 15 min
#
# A round sends $d$ numbers from each client. How many bits does a number need? Let $x$ be the change of a client,
# $(d,)$, and $\lVert x\rVert$ its Euclidean norm. Then $s|x_j|/\lVert x\rVert$ lies between 0 and $s$. Write it as a
# whole number $l_j$ plus a rest $r_j \in [0, 1)$. QSGD (Alistarh et al., 2017) sends the integer
#
# $$\xi_j = l_j + \begin{cases} 1 & \text{with probability } r_j\\ 0 & \text{otherwise,} \end{cases}
# \qquad Q(x)_j = \frac{\lVert x\rVert}{s}\, \operatorname{sign}(x_j)\, \xi_j .$$
#
# With $s \le 127$, sign and level fit into one byte instead of eight; the norm adds eight bytes for the whole vector.
#
# **No bias.** $\mathbb E\, \xi_j = l_j + r_j$, so $\mathbb E\, Q(x) = x$. Rounding to the nearest level would be closer
# in each single entry, but it sends small entries to zero *every* time, and their sum over clients and rounds is lost.
#
# **Variance.** $\operatorname{Var}\xi_j = r_j(1 - r_j)$. This is at most $\frac14$, and also at most
# $r_j \le s|x_j|/\lVert x\rVert$. Sum over $j$, and use $\sum_j |x_j| \le \sqrt d\, \lVert x\rVert$:
#
# $$\mathbb E \lVert Q(x) - x\rVert^2 = \frac{\lVert x\rVert^2}{s^2} \sum_j r_j(1 - r_j)
# \le \min\left(\frac{d}{4s^2},\; \frac{\sqrt d}{s}\right) \lVert x\rVert^2 .$$
#
# The errors of different clients are independent if their seeds are, so the mean over $|S|$ clients has $1/|S|$ of this
# variance.


# %% exercise="quantize_update" points=2 minutes=15 trains=["unbiased estimates", "counting what a computation costs"]
def quantize_update(x: np.ndarray, levels: int, seed: int) -> tuple[np.ndarray, float]:
    """An update in one byte a number, by random rounding without a bias.

    x: shape (d,), d >= 1, float64 or float32; entries are 0 or from 1e-30 to 1e30 in size. Not
      modified. levels: 1 <= levels <= 127. seed: a Python integer, 0 <= seed < 2^63.

    norm is the Euclidean norm of x, computed in float64. With level = levels * |x_j| / norm, code j
    has the sign of x_j; its size is level rounded up with probability level - floor(level), and
    rounded down otherwise, independently for each j (up to rounding errors of 1e-12 in level). It
    is never larger than `levels`.

    Returns (codes, norm): codes, a new int8 array (d,), and norm, a Python float. So
    norm * codes / levels estimates x without a bias. If x is all zeros, codes are zeros and norm is
    0.0. The same arguments give the same codes, and other seeds unrelated ones, also neighbouring
    seeds. Neither uses nor changes the global random states of Python and NumPy.
    """
    ### BEGIN SOLUTION
    x = x.astype(np.float64)
    norm = float(np.linalg.norm(x))
    if norm == 0:
        return np.zeros(len(x), np.int8), 0.0
    level = levels * np.abs(x) / norm
    size = np.floor(level + np.random.default_rng(seed).random(len(x)))
    return (np.sign(x) * np.minimum(size, levels)).astype(np.int8), norm
    ### END SOLUTION


# %% [markdown] hints="quantize_update"
# <details><summary>Hint 1: one line for random rounding</summary>
#
# For $u$ uniform on $[0, 1)$, $\lfloor l + r + u\rfloor$ is $l + 1$ exactly if $u \ge 1 - r$, which has probability $r$.
# </details>
# <details><summary>Hint 2: dtypes</summary>
#
# Squares of float32 overflow at $10^{20}$, so go to float64 first. Multiply by the sign before you go to int8.
# `np.linalg.norm` gives a NumPy number; `float` makes it Python's.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `level = levels * np.abs(x) / norm`, `size = np.floor(level + rng.random(len(x)))`, cut at `levels`, because a rounding
# error may put `level` just above it. Treat `norm == 0` before you divide.
# </details>

# %% check="quantize_update"
with check("quantize_update"):
    update = np.array([3.0, -4.0, 0.0])  # norm 5
    with expect_unchanged(update=update):
        codes, norm = quantize_update(update, 100, seed=0)
    expect_dtype(codes, np.int8)
    assert type(norm) is float, f"norm is a Python float, and not {type(norm).__name__}"
    expect_close(norm, 5.0, hint="the Euclidean norm", mistakes={"This is the largest entry.": 4.0})
    expect_close(codes, [60, -80, 0], atol=0.1, hint="100 * 3/5 = 60 is a whole number: nothing is random")
    # levels = 2: the levels are 1.2, 1.6 and 0. Over 2000 seeds the mean code is (1.2, -1.6, 0), give or take
    # sqrt(0.24 / 2000) = 0.011; five times that is 0.055.
    many = np.array([quantize_update(update, 2, seed)[0] for seed in range(2000)])
    expect_close(
        many.mean(axis=0),
        [1.2, -1.6, 0.0],
        atol=0.055,
        hint="up with the probability of the rest",
        mistakes={
            "You rounded to the nearest level, always.": [1.0, -2.0, 0.0],
            "You rounded down, always.": [1.0, -1.0, 0.0],
            "You rounded up or down with probability one half.": [1.5, -1.5, 0.0],
        },
    )
    joint = np.mean((np.abs(many[:, 0]) == 2) & (np.abs(many[:, 1]) == 2))
    expect_close(joint, 0.2 * 0.6, atol=0.036, hint="each entry is rounded independently of the others")
    expect_close(quantize_update(np.array([0.0, -7.0]), 127, seed=1)[0], [0, -127], hint="never beyond `levels`")
    codes, norm = quantize_update(np.zeros(3), 4, seed=0)
    assert norm == 0.0 and not codes.any(), "zeros: zero codes, and norm 0.0"
    expect_close(quantize_update(np.float32([3e25, 4e25]), 5, seed=0)[0], [3, 4], hint="float64 before squaring")
    expect_close(quantize_update(update, 2, 7)[0], quantize_update(update, 2, 7)[0], hint="the seed settles the codes")
    near = [quantize_update(np.ones(99), 5, seed)[0] for seed in (6, 7)]
    assert not np.array_equal(*near), "the seeds 6 and 7: other codes"

# %% [markdown]
# The left panel compares the mean squared error of your quantiser, on a vector of 10,000 normal numbers, with the
# bound. The two terms of the minimum meet at $s = \sqrt d/4 = 25$; right of it, the fitted slope is near $-2$. The
# right panel is training on the digits by megabytes sent to the server: ten clients, all in each round, $\alpha = 1$.
# The peer is float32, four bytes a number. A code takes one byte, or less: most codes are 0 or small, and an entropy
# code uses short words for the frequent ones. The figure counts the bytes of an ideal one: $-\log_2$ of its frequency
# for each code, in bits. So fewer levels are fewer bytes, and more noise. The lines below the figure give the loss at
# the end, also of rounding to the *nearest* level: with $s = 1$ nothing ever moves, since all entries are rounded to 0.

# %% tags=["demo"]
vector = np.random.default_rng(0).standard_normal(10_000)
level_counts = np.array([1, 2, 4, 8, 16, 32, 64, 127])
errors = []
for levels in level_counts.tolist():
    trials = (quantize_update(vector, levels, seed) for seed in range(5))
    errors.append(np.mean([np.sum((norm * codes / levels - vector) ** 2) / norm**2 for codes, norm in trials]))
bound = np.minimum(len(vector) / (4.0 * level_counts**2), np.sqrt(len(vector)) / level_counts)
slope = np.polyfit(np.log(level_counts[-3:]), np.log(errors[-3:]), 1)[0]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
left.plot(level_counts, bound, color="#222222", linestyle="--", label="bound")
left.plot(level_counts, errors, "o", color=plotting.COLOURS[0], label=f"yours, slope {slope:.2f} at the right")
left.set(xscale="log", yscale="log", xlabel="levels s", ylabel="squared error / squared norm")
left.set_title("Below the bound, and near it")
left.legend(loc="upper right")


def entropy_bytes(codes):
    """The bytes of these codes under an ideal entropy code: -log2 of its frequency for each."""
    counts = np.unique(codes, return_counts=True)[1]
    return float(-np.sum(counts * np.log2(counts / len(codes)))) / 8


def train_by_bytes(parts, rounds, send):
    """Accuracy after each round, megabytes sent to the server so far, and the loss at the end; `send` makes of a change
    what arrives, and the number of its bytes."""
    theta, gradients = np.zeros(650), [gradient_of(part) for part in parts]
    counts, found, sent, megabytes = [len(part) for part in parts], [], 0, []
    for number in range(rounds):
        changes = []
        for i, gradient in enumerate(gradients):
            change, size = send(local_update(theta, gradient, 5, 0.5) - theta, 1000 * number + i)
            sent += size
            changes.append({"change": change})
        theta = theta + fedavg(changes, counts)["change"]
        found.append(accuracy(theta))
        megabytes.append(sent / 1e6)
    return found, megabytes, loss_and_gradient(theta, X_train, y_train)[0]


def by_float32(change, seed):
    return change.astype(np.float32).astype(float), 4 * len(change)


def by_codes(levels):
    def send(change, seed):
        codes, norm = quantize_update(change, levels, seed)
        return norm * codes / levels, entropy_bytes(codes) + 8

    return send


def by_nearest(levels):
    def send(change, seed):
        norm = np.linalg.norm(change)
        codes = np.rint(levels * change / norm)
        return norm * codes / levels, entropy_bytes(codes) + 8

    return send


parts, rounds = split_dirichlet(y_train, 10, 1.0, seed=4), demo_size(full=60, small=10)
ways = {"float32": by_float32} | {f"s = {levels}": by_codes(levels) for levels in (127, 8, 1)}
for number, (name, send) in enumerate(
    (ways | {f"nearest, s = {levels}": by_nearest(levels) for levels in (8, 1)}).items()
):
    found, megabytes, loss = train_by_bytes(parts, rounds, send)
    print(f"{name}: loss {loss:.3f} after {rounds} rounds and {megabytes[-1]:.3f} MB")
    if name in ways:
        right.plot(megabytes, found, color=plotting.COLOURS[number], label=name)
right.set(xscale="log", xlabel="megabytes sent to the server", ylabel="accuracy on test rows")
right.set_title("Fewer levels: fewer bytes, more noise")
right.legend(loc="lower right")
plt.show()

# %% [markdown]
# Module 17 sends only the largest entries, and keeps what was left out for the next step. That is biased in each step,
# and needs the memory of a client that comes back; quantisation needs no memory.
#
# ### 20.7 `share_secret` · essential · level 2 of 4 · 20 min
#
# Rows stay at home. But does the update keep them private? Take a client with a single row $x$ and one step. What it
# sends tells the gradient, since $\theta - y_i$ is $\eta$ times it. For softmax regression that is, for the weights,
# $x\,(\hat p - e)^\top$, of shape $(64, 10)$, where $\hat p$ are the probabilities and $e$ is the one-hot label, and
# for the biases, $\hat p - e$ (plus the part of the $\ell_2$ term, which the server knows and subtracts; it is 0 at
# $\theta = 0$). Divide one column of the first by the entry of the second: there is $x$, exactly. (The figure in 20.8
# does so, at $\theta = 0$.) With more rows the sum is harder to read, and not impossible
# (Zhu et al., 2019).
#
# The server needs only the *sum* of the updates. The next two exercises build a sum of which nobody can read a term.
# First a tool for the case that clients vanish: a secret in pieces.
#
# **Shamir's scheme** (1979). Let $p = 2^{61} - 1$, a prime; all arithmetic is modulo $p$, so each number but 0 has an
# inverse. Hide the secret in a polynomial of degree $t - 1$ with random coefficients $a_1, \dots, a_{t-1}$, uniform on
# $0, \dots, p - 1$:
#
# $$q(z) = \text{secret} + a_1 z + a_2 z^2 + \dots + a_{t-1} z^{t-1} \pmod p .$$
#
# The share of client $i$ is $q(i)$, with $i \ne 0$, because $q(0)$ is the secret. **Any $t$ shares recover it**: a
# polynomial of degree $t - 1$ is determined by $t$ points, and Lagrange's formula gives its value at 0,
#
# $$q(0) = \sum_i q(i) \prod_{j \ne i} \frac{j}{j - i} \pmod p .$$
#
# **Fewer say nothing**: take $t - 1$ shares and *any* candidate for the secret. These are $t$ points, with the
# candidate at 0, so exactly one polynomial passes through them. Each candidate therefore fits what was seen, and each
# with the same number of polynomials: one. No computing power helps. You write both ways: `share_secret` and
# `recover_secret`.


# %% exercise="share_secret" points=2 minutes=20 trains=["secret sharing"]
def share_secret(secret: int, ids: list[int], threshold: int, seed: int) -> dict[int, int]:
    """Shamir's shares of a secret, modulo PRIME = 2^61 - 1.

    secret: a Python integer, 0 <= secret < PRIME. ids: different Python integers, at least one,
    each 1 <= id < PRIME, in any order; not modified. threshold: 1 <= threshold <= len(ids).
    seed: a Python integer, 0 <= seed < 2^63.

    The polynomial q has degree threshold - 1 at most and q(0) = secret. Its other coefficients are
    drawn independently and uniformly from 0 to PRIME - 1. The share of id is q(id) modulo PRIME.

    Returns a new dictionary {id: share} in the order of ids; shares are Python integers from 0 to
    PRIME - 1. The same arguments give the same shares, other seeds unrelated coefficients, also
    neighbouring seeds. Neither uses nor changes the global random states of Python and NumPy.
    Raises ValueError for a threshold out of range, and where an id is 0: its share would be the
    secret.
    """
    ### BEGIN SOLUTION
    if not 1 <= threshold <= len(ids):
        raise ValueError(f"threshold {threshold} with {len(ids)} clients")
    if 0 in ids:
        raise ValueError("the share at 0 is the secret")
    rng = random.Random(seed)
    coefficients = [secret] + [rng.randrange(PRIME) for _ in range(threshold - 1)]
    shares = {}
    for place in ids:
        value = 0
        for coefficient in reversed(coefficients):
            value = (value * place + coefficient) % PRIME
        shares[place] = value
    return shares
    ### END SOLUTION


def recover_secret(shares: dict[int, int]) -> int:
    """The secret from shares that `share_secret` made, as {id: share}, at least `threshold` of them.

    All shares that are given may be used; any set of at least `threshold` gives the secret.
    Returns a Python integer from 0 to PRIME - 1. `shares` is not modified.
    Raises ValueError where shares is empty.
    """
    ### BEGIN SOLUTION
    if not shares:
        raise ValueError("no shares")
    secret = 0
    for i, share in shares.items():
        above, below = 1, 1
        for j in shares:
            if j != i:
                above, below = above * j % PRIME, below * (j - i) % PRIME
        secret += share * above * pow(below, -1, PRIME)
    return secret % PRIME
    ### END SOLUTION


# %% [markdown] hints="share_secret"
# <details><summary>Hint 1: Python's integers</summary>
#
# They have as many digits as they need; floats and NumPy's int64 do not. `pow(x, -1, PRIME)` is the inverse of `x`
# modulo PRIME, also for negative `x`.
# </details>
# <details><summary>Hint 2: the polynomial</summary>
#
# `coefficients = [secret] + [rng.randrange(PRIME) for _ in range(threshold - 1)]` with `rng = random.Random(seed)`. Its
# value by Horner's rule: begin with 0, and for each coefficient from the last to the first,
# `value = (value * id + coefficient) % PRIME`.
# </details>
# <details><summary>Hint 3: Lagrange at 0</summary>
#
# For each `i, share`: multiply `j` over all other ids for the numerator, and `j - i` for the denominator, both modulo
# PRIME. Add `share * numerator * pow(denominator, -1, PRIME)`.
# </details>

# %% check="share_secret"
with check("share_secret"):
    # q(z) = 5 + 2 z + z^2 has q(1) = 8, q(2) = 13, q(4) = 29. At 0: 8 * (2/1)(4/3) + 13 * (1/-1)(4/2) + 29 * (1/-3)(2/-2)
    # = 64/3 - 26 + 29/3 = 5.
    secret = recover_secret({1: 8, 4: 29, 2: 13})
    assert secret == 5 and type(secret) is int, f"recover_secret of q(1), q(4), q(2) is 5, and not {secret!r}"
    shares = share_secret(2**60 + 12_345, [3, 1, 7, 2**40], 3, seed=1)
    assert list(shares) == [3, 1, 7, 2**40], "a share for each id, in their order"
    assert all(type(share) is int and 0 <= share < PRIME for share in shares.values()), "integers below PRIME"
    for left_out in shares:
        some = {place: share for place, share in shares.items() if place != left_out}
        assert recover_secret(some) == 2**60 + 12_345, "any three of four shares recover the secret"
    assert recover_secret(shares) == 2**60 + 12_345, "more shares than needed recover it, too"
    two = {place: shares[place] for place in (3, 1)}
    assert recover_secret(two) != 2**60 + 12_345, "two shares do not: the polynomial has degree threshold - 1"
    assert share_secret(9, [4, 5], 1, seed=0) == {4: 9, 5: 9}, "threshold 1: every share is the secret"
    # The share of client 1 with threshold 2 is secret + a_1, uniform below PRIME: in four equal ranges, 500 of 2000
    # each, give or take 19.
    seen = [share_secret(0, [1, 2], 2, seed)[1] * 4 // PRIME for seed in range(2000)]
    expect_close(np.bincount(seen, minlength=4), [500] * 4, atol=97, hint="uniform from 0 to PRIME - 1")
    assert share_secret(0, [1, 2], 2, 6) != share_secret(0, [1, 2], 2, 7), "the seeds 6 and 7: other coefficients"
    # Threshold 3 and the secret 0: q(1) = a_1 + a_2 and q(2) = 2 a_1 + 4 a_2, so a_2 = (q(2) - 2 q(1)) / 2.
    pairs = [share_secret(0, [1, 2, 3], 3, seed) for seed in range(2000)]
    seen = [(q[2] - 2 * q[1]) * pow(2, -1, PRIME) % PRIME * 4 // PRIME for q in pairs]
    expect_close(np.bincount(seen, minlength=4), [500] * 4, atol=97, hint="a_2 is uniform, too, not a_1 alone")
    for ids, threshold in (([0, 1], 2), ([1, 2], 3), ([1, 2], 0)):
        with expect_raises(ValueError):
            share_secret(1, ids, threshold, seed=0)
    with expect_raises(ValueError):
        recover_secret({})

# %% [markdown]
# Why fewer shares say nothing, in a world small enough to see: $p = 31$, threshold 3, and two shares that are known
# (large dots). Each line is one polynomial modulo 31 through both, one for each possible secret at $z = 0$. At the
# third client's place, all 31 values occur, each once.

# %% tags=["demo"]
small_prime = 31
figure, ax = plt.subplots(figsize=(7, 4))
known_shares = {1: 9, 2: 20}
for secret in range(small_prime):
    # q(z) = secret + a z + c z^2 through (1, 9) and (2, 20): two equations for a and c.
    c = (20 - secret - 2 * (9 - secret)) * pow(2, -1, small_prime) % small_prime
    a = (9 - secret - c) % small_prime
    values = [(secret + a * z + c * z * z) % small_prime for z in range(4)]
    colour = plt.get_cmap("viridis")(secret / small_prime)
    ax.plot(range(4), values, color=colour, linewidth=0.8, alpha=0.8, linestyle="-", marker="")
    ax.plot([0, 3], [values[0], values[3]], "o", color=colour, markersize=4)
ax.plot(list(known_shares), list(known_shares.values()), "o", color="#222222", markersize=11, label="two known shares")
ax.set(
    xlabel="z (0: the secret; 1, 2, 3: clients)", ylabel="q(z) modulo 31", title="Two of three shares fit every secret"
)
ax.set_xticks(range(4))
ax.legend(loc="upper center")
plt.show()

# %% [markdown]
# ### 20.8 `mask_update` · essential · level 4 of 4 · 35 min
#
# Now the sum (Bonawitz et al., 2017). Numbers become words of 32 bits, by fixed point: multiply by $2^{16}$, round, and
# take the remainder modulo $2^{32}$. All sums are modulo $2^{32}$ from here on. (The two functions in the next demo
# cell do this and back.) Let $x_i$ be the words of client $i$, $(d,)$.
#
# **Masks that cancel.** Each two clients $i < j$ agree on a secret seed $s_{ij}$. Client $i$ *adds* the mask
# $G(s_{ij})$, and client $j$ *subtracts* it. $G(\cdot)$ is `expand(seed, d)`, $d$ words that look uniform. (Whoever
# sees two neighbouring words of it can compute the others, so it serves for learning only; at work a cryptographic
# generator stands in its place.) In the sum over all clients each mask occurs once with plus and once with minus:
#
# $$\tilde x_i = x_i + \sum_{j > i} G(s_{ij}) - \sum_{j < i} G(s_{ji}), \qquad \sum_i \tilde x_i = \sum_i x_i \pmod{2^{32}} .$$
#
# A word plus an independent uniform word is uniform, whatever the first one is. So $\tilde x_i$ tells nothing about
# $x_i$. This is why we need remainders: masks in floating point would have to be bounded, and what is bounded shows
# through; and their sum would not cancel exactly.
#
# **Clients that vanish.** Client $u$ agrees on its seeds, and then its battery is empty. Its masks stand in the sums of
# all others and do not cancel. So before anything is sent, each client shares its secrets among all, by 20.7. All
# messages pass through the server, which must not read these shares: client $i$ encrypts the share for client $j$ under
# a key that only the two can compute. (They make it like the seeds of their pair, from a second set of keys; our code
# leaves the cipher out.) The server asks $t$ of those who are left for their shares of $u$'s secret, recovers the seeds
# $s_{uj}$, and removes the masks itself.
#
# **Clients that are only late.** Now the server knows the seeds of $u$, and then $\tilde x_u$ arrives after all. The
# server could unmask it. So each client adds one more mask, its **own**, from a seed $\beta_i$ that it also shares:
#
# $$\tilde x_i = x_i + G(\beta_i) + \sum_{j > i} G(s_{ij}) - \sum_{j < i} G(s_{ji}) \pmod{2^{32}} .$$
#
# **Seeds serve once.** If the same masks were used in two rounds, the server would subtract:
# $\tilde x_i^{(1)} - \tilde x_i^{(2)} = x_i^{(1)} - x_i^{(2)}$, the change of the update in plain. So every round has
# new seeds. And a key that was recovered is known to the server; its owner makes a new one.
#
# For a client that sent $\tilde x_i$ (a survivor), the server asks for $\beta_i$. For a client that did not, it asks
# for its pair seeds. Never for both. With $U$ the survivors and $D$ the dropouts,
#
# $$\sum_{i\in U} x_i = \sum_{i \in U} \tilde x_i - \sum_{i\in U} G(\beta_i)
# - \sum_{i \in U} \Big( \sum_{j\in D,\, j > i} G(s_{ij}) - \sum_{j \in D,\, j < i} G(s_{ji})\Big) \pmod{2^{32}} .$$
#
# Pairs of two survivors cancel, pairs of two dropouts never came. The formula asks for exactly the pairs with one
# survivor and one dropout. You write `mask_update` for a client and `unmask_sum` for the server.


# %% exercise="mask_update" points=4 minutes=35 trains=["secure aggregation"]
def mask_update(x: np.ndarray, me: int, own: int, pairs: dict[int, int]) -> np.ndarray:
    """The words of client `me` under its own mask and a mask for each other client.

    x: shape (d,), uint32, d >= 1; not modified. me: the id of this client, an integer >= 0.
    own: the seed of its own mask. pairs: {id of another client: seed of the pair}, maybe empty, in
    any order; not modified. Seeds are Python integers, 0 <= seed < 2^64.

    A mask is expand(seed, d), imported above. Returns, modulo 2^32, x plus the own mask, plus the
    mask of each pair in which `me` is the lower id, minus that of each pair in which it is the
    higher: a new array (d,) of uint32.
    Working memory for a few arrays of the size of x, however many pairs there are.
    """
    ### BEGIN SOLUTION
    d = len(x)
    masked = x + expand(own, d)
    for other, seed in pairs.items():
        if me < other:
            masked += expand(seed, d)
        else:
            masked -= expand(seed, d)
    return masked
    ### END SOLUTION


def unmask_sum(masked: dict[int, np.ndarray], own: dict[int, int], pairs: dict[tuple[int, int], int]) -> np.ndarray:
    """The sum of the survivors' words, modulo 2^32, out of their masked vectors.

    masked: {id: what mask_update returned there}, of the survivors, at least one. All clients had
      the same set of partners: everybody else, survivor or not. Not modified.
    own: {id: seed of the own mask} of exactly the survivors.
    pairs: {(lower id, higher id): seed} of exactly those pairs of which one is a survivor and the
      other one is not; empty where nobody dropped out.
    The dictionaries may be in any order, also in another order than each other; not modified.

    Returns a new array (d,) of uint32: exactly the sum of the survivors' x.
    Raises ValueError if own has other keys than masked, or if a pair in `pairs` has two survivors
    or none.
    Besides the arguments, working memory for a few arrays of d words, however many clients.
    """
    ### BEGIN SOLUTION
    if own.keys() != masked.keys():
        raise ValueError("the own seeds of exactly the survivors are needed")
    if any((low in masked) == (high in masked) for low, high in pairs):
        raise ValueError("a pair has one survivor and one client that dropped out")
    d = len(next(iter(masked.values())))
    total = np.zeros(d, np.uint32)
    for i, vector in masked.items():
        total += vector
        total -= expand(own[i], d)
    for (low, _), seed in pairs.items():
        if low in masked:  # the lower one is there, and has added the mask
            total -= expand(seed, d)
        else:
            total += expand(seed, d)
    return total
    ### END SOLUTION


# %% [markdown] hints="mask_update"
# <details><summary>Hint 1: remainders for nothing</summary>
#
# Sums and differences of uint32 arrays are taken modulo $2^{32}$, without a warning. `+=` on a new uint32 array keeps
# the dtype. Begin with `x + expand(own, d)`, which is a new array.
# </details>
# <details><summary>Hint 2: who survived?</summary>
#
# For a pair `(low, high)`, only one of the two is in `masked`. If it is `low`, the sum contains the mask with plus, so
# subtract it. If it is `high`, the sum contains it with minus, so add it.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `total = np.zeros(d, np.uint32)`; for each survivor `total += masked[i]` and `total -= expand(own[i], d)`; for each pair
# `total -= expand(seed, d)` or `total += expand(seed, d)`. Look for bad keys first.
# </details>

# %% check="mask_update"
with check("mask_update"):
    words = {1: np.array([5, 2**32 - 1, 0], np.uint32), 2: np.array([7, 7, 7], np.uint32)}
    words[5] = np.array([1, 2, 3], np.uint32)
    own_seeds, pair_seeds = {1: 11, 2: 12, 5: 15}, {(1, 2): 101, (1, 5): 102, (2, 5): 103}
    seeds_of = {i: {sum(pair) - i: seed for pair, seed in pair_seeds.items() if i in pair} for i in words}
    with expect_unchanged(x=words[2]):
        masked = {i: mask_update(words[i], i, own_seeds[i], seeds_of[i]) for i in words}
    expect_dtype(masked[2], np.uint32, hint="remainders modulo 2^32 are uint32")
    # Client 2 adds its own mask and that of (2, 5), and subtracts that of (1, 2).
    expect_close(
        masked[2],
        words[2] + expand(12, 3) + expand(103, 3) - expand(101, 3),
        hint="the lower id adds, the higher one subtracts",
        mistakes={"Both partners of a pair add its mask.": words[2] + expand(12, 3) + expand(103, 3) + expand(101, 3)},
    )
    expect_close(mask_update(words[2], 2, 12, {}), words[2] + expand(12, 3), hint="no pairs: the own mask alone")
    # Everybody is there: (5 + 7 + 1, -1 + 7 + 2, 0 + 7 + 3).
    expect_close(unmask_sum(masked, own_seeds, {}), [13, 8, 10], hint="the own masks come off, the pairs cancel")
    # Client 2 is gone: (5 + 1, -1 + 2, 0 + 3).
    left = {5: masked[5], 1: masked[1]}
    got = unmask_sum(left, {1: 11, 5: 15}, {(1, 2): 101, (2, 5): 103})
    expect_close(
        got,
        [6, 1, 3],
        hint="(1, 2): client 1 added this mask; (2, 5): client 5 subtracted it",
        mistakes={
            "The masks of the pairs with client 2 are still in the sum.": left[1]
            + left[5]
            - expand(11, 3)
            - expand(15, 3)
        },
    )
    expect_dtype(got, np.uint32)
    with expect_raises(ValueError):
        unmask_sum(left, {1: 11, 2: 12, 5: 15}, {(1, 2): 101, (2, 5): 103})
    with expect_raises(ValueError, hint="the own seed of client 5 is missing"):
        unmask_sum(left, {1: 11}, {(1, 2): 101, (2, 5): 103})
    for wrong_pair in ((1, 5), (2, 7)):  # two survivors; two clients that dropped out
        with expect_raises(ValueError):
            unmask_sum(left, {1: 11, 5: 15}, {(1, 2): 101, wrong_pair: 102, (2, 5): 103})

# %% [markdown]
# Three pictures that a curious server can make. *Plain*: the update of a client with one row gives the row back, by the
# division of 20.7. *Masked*: the same division on the masked update gives noise. *Sum*: the server gets the exact sum
# of all clients' updates. Dividing again gives a mixture of many rows, in which the rows of one digit prevail: a sum
# shows what its terms have in common. The last line that is printed looks at all masked words: their leading
# hexadecimal digits are as evenly spread as those of random words.


# %% tags=["demo"]
def to_words(x, bits=16):
    """Numbers as words of 32 bits: fixed point with so many bits behind the point, modulo 2^32."""
    return np.rint(np.asarray(x) * 2.0**bits).astype(np.int64).astype(np.uint32)


def from_words(words, bits=16):
    """Back to numbers: right where the true number is between -2^(31-bits) and 2^(31-bits)."""
    return words.astype(np.int32) / 2.0**bits


def all_seeds(ids, number):
    """Own seeds and pair seeds of a round, all different. (At work, each pair agrees on its own: see below.)"""
    rng = random.Random(number)
    own = {i: rng.randrange(2**64) for i in ids}
    return own, {(i, j): rng.randrange(2**64) for i in ids for j in ids if i < j}


def masked_by_all(words, own, pairs):
    partners = {i: {} for i in words}
    for (i, j), seed in pairs.items():
        partners[i][j] = partners[j][i] = seed
    return {i: mask_update(words[i], i, own[i], partners[i]) for i in words}


def picture(gradient, label):
    """The row behind a gradient of one row: a column of the weights' part over the same entry of the biases' part."""
    weights, biases = gradient[:640].reshape(64, 10), gradient[640:]
    return (weights[:, label] / biases[label]).reshape(8, 8)


ids = list(range(1, demo_size(full=51, small=11)))
zeros = np.zeros(650)
plain = {i: gradient_of([i])(zeros) for i in ids}
own, pairs = all_seeds(ids, 7)
masked = masked_by_all({i: to_words(plain[i]) for i in ids}, own, pairs)
added = from_words(unmask_sum(masked, own, {}))
label = int(y_train[1])
images = [
    X_train[1].reshape(8, 8),
    picture(plain[1], label),
    picture(from_words(masked[1]), label),
    picture(added, label),
]
plotting.image_grid(
    images,
    titles=["row of client 1", "plain update", "masked update", f"sum of {len(ids)}"],
    columns=4,
)
plt.show()
exact = sum(plain.values())
print(f"sum under masks and plain sum differ by at most {abs(added - exact).max():.1e}, rounding to 16 bits")
rounded = [np.rint(plain[i] * 2**16) / 2**16 for i in ids]
print(f"against the sum of the rounded updates: {abs(added - np.sum(rounded, axis=0)).max():.1e}")
top = np.bincount(np.concatenate([masked[i] for i in ids]) >> 28, minlength=16)
statistic = np.sum((top - top.mean()) ** 2) / top.mean()
limit = 15 + 6 * math.sqrt(30)
print(f"leading hexadecimal digit of masked words: chi-squared {statistic:.1f} (15 expected, rarely above {limit:.0f})")

# %% [markdown]
# What about weights? Client $i$ sends $m_i\, y_i$ and $m_i$ itself as one more word, both masked. The server divides
# one sum by the other: `fedavg` without a view of any term.
#
# Where do the pair seeds come from? Nobody may hand them out. Each client draws a secret **key** $k_i$ and publishes
# $\gamma^{k_i}$ modulo a prime. Then $i$ computes $(\gamma^{k_j})^{k_i}$ and $j$ computes $(\gamma^{k_i})^{k_j}$: the
# same number. As far as is known, nobody else can compute it from what was published, if the prime is large enough and
# the published numbers arrive unchanged (Diffie and Hellman, 1976). So what a client shares by 20.7 is $k_i$, one
# secret instead of $N - 1$ seeds, and $\beta_i$. The cell below runs a whole round of this, with three of ten clients
# lost between two messages. (Our prime of 61 bits is a toy: it is broken in seconds. Real systems use elliptic curves
# of 256 bits.)


# %% tags=["demo"]
def secure_round(words, threshold, lost, number):
    """The sum of the words of those who stay, found by a server that sees messages alone."""
    rng, generator, ids = random.Random(number), 37, list(words)
    keys, owns = ({i: rng.randrange(1, PRIME - 1) for i in ids} for _ in range(2))
    public = {i: pow(generator, keys[i], PRIME) for i in ids}  # 1. everybody publishes this
    key_shares = {
        i: share_secret(keys[i], ids, threshold, rng.randrange(2**60)) for i in ids
    }  # 2. to each client one, encrypted
    own_shares = {i: share_secret(owns[i], ids, threshold, rng.randrange(2**60)) for i in ids}
    masked = {}
    for i in ids:  # 3. who is still there sends its masked words
        if i not in lost:
            pairs = {j: pow(public[j], keys[i], PRIME) for j in ids if j != i}
            masked[i] = mask_update(words[i], i, owns[i], pairs)
    helpers = list(masked)[:threshold]  # 4. the server asks these for one share of each client
    own = {i: recover_secret({h: own_shares[i][h] for h in helpers}) for i in masked}
    pairs = {}
    for gone in lost:
        key = recover_secret({h: key_shares[gone][h] for h in helpers})
        for i in masked:
            pairs[min(i, gone), max(i, gone)] = pow(public[i], key, PRIME)
    return unmask_sum(masked, own, pairs)


words = {i: to_words(np.random.default_rng(i).standard_normal(1000)) for i in range(1, 11)}
for lost in ([], [3], [1, 10], [2, 3, 9]):
    found = secure_round(words, 6, lost, number=1)
    truth = sum((words[i] for i in words if i not in lost), np.zeros(1000, np.uint32))
    print(f"lost: {lost or 'nobody'}; the sum of the others is {'exact' if np.array_equal(found, truth) else 'WRONG'}")

# %% [markdown]
# ### 20.9 `shares_to_release` · essential · level 2 of 4 · 10 min
#
# The safety of this protocol depends on the clients' answers in the last step. A server that collects both secrets of
# client $u$, its key and its own seed, can unmask $\tilde x_u$. A server may be curious, and networks do it by
# accident: $u$ is declared lost, the key is recovered, and then its late message arrives and the server lists it among
# the survivors. No other client notices. So each client keeps a rule: in one round, for each client, a share of one
# kind only, the one that was asked for first. The rule is enough only if $t > N/2$. Otherwise $t$ clients may have been
# asked for the key first, and $t$ others for the own seed, and both secrets are out although everybody kept the rule.
# (If some clients work together with the server, $t$ must be larger still: these answer everything.)
#
# **Find the bug.** The function below is a client's answer to the requests of one round, in their order. It does
# remember something, and yet it gives out both. Find out why, and repair it.


# %% exercise="shares_to_release" points=2 minutes=10 bug=true trains=["secret sharing", "secure aggregation"]
def shares_to_release(own: dict[int, int], key: dict[int, int], requests: list[tuple[int, str]]) -> list[int | None]:
    """A client's answers to the requests of one round: a share, or None where it refuses.

    own, key: {client: share of its own seed} and {client: share of its key} that this client
      holds, for the same clients; not modified.
    requests: (client, kind) in the order in which they arrive, kind being "own" or "key"; not
      modified.

    The first request for a client settles the kind for the round: it is answered with the share
    of that kind, and so is each later request of the same kind for this client. Each request of
    the other kind for it is answered with None. A request for a client of which this one holds no
    shares is answered with None.

    Returns a new list with one answer for each request, in their order.
    """
    ### BEGIN SOLUTION
    settled, answers = {}, []
    for client, kind in requests:
        held = own if kind == "own" else key
        if client in held and settled.setdefault(client, kind) == kind:
            answers.append(held[client])
        else:
            answers.append(None)
    return answers
    ### END SOLUTION
    ### BEGIN BUG
    # settled, answers = {}, []
    # for client, kind in requests:
    #     held = own if kind == "own" else key
    #     if client in held and settled.setdefault((client, kind), kind) == kind:
    #         answers.append(held[client])
    #     else:
    #         answers.append(None)
    # return answers
    ### END BUG


# %% [markdown] hints="shares_to_release"
# <details><summary>Hint 1: play the late client</summary>
#
# Client 4 is lost and then only late: its key is asked for, and then its own seed. Play the two requests by hand. What is
# in `settled` after the first one, and where does the second one look?
# </details>
# <details><summary>Hint 2: what is remembered?</summary>
#
# For which question must the memory have one answer: "which kind, for this client and this kind?", or "which kind, for
# this client?"
# </details>

# %% check="shares_to_release"
with check("shares_to_release"):
    own_held, key_held = {2: 20, 4: 40}, {2: 21, 4: 41}
    asked_for = [(4, "key"), (2, "own"), (4, "own"), (4, "key"), (9, "own"), (2, "key"), (2, "own")]
    with expect_unchanged(requests=asked_for):
        got = shares_to_release(own_held, key_held, asked_for)
    assert got[:2] == [41, 20], "the first request for a client is answered"
    assert got[2] is None, "client 4 was lost, and its message was only late: no second kind in the same round"
    assert got[3] == 41 and got[6] == 20, "the same kind again is answered again"
    assert got[4] is None, "nothing is held of client 9"
    assert got[5] is None, "client 2: its own seed first, so no key"
    assert shares_to_release(own_held, key_held, [(4, "own"), (4, "key")]) == [40, None], "each round begins anew"
    assert shares_to_release({1: 0}, {1: 0}, [(1, "key")]) == [0], "a share may be the number 0"

# %% [markdown]
# The cell plays the late client with the function as it stands above, and with a client that answers everything. Ten
# clients, threshold 6. The server asks everybody for the key of client 4 and, after its late message, for its own seed.

# %% tags=["demo"]
ids = list(range(1, 11))
key_shares, own_shares = share_secret(1234, ids, 6, seed=1), share_secret(5678, ids, 6, seed=2)
requests = [(4, "key"), (4, "own")]


def careless(own, key, requests):
    return [(own if kind == "own" else key)[client] for client, kind in requests]


for name, answer in (("yours", shares_to_release), ("answers everything", careless)):
    replies = {h: answer({4: own_shares[h]}, {4: key_shares[h]}, requests) for h in ids}
    kinds = {}
    for place, kind in enumerate(("key", "own")):
        got = {h: reply[place] for h, reply in replies.items() if reply[place] is not None}
        kinds[kind] = "recovered" if len(got) >= 6 else f"{len(got)} shares of 6"
    print(f"{name}: key {kinds['key']}, own seed {kinds['own']}")

# %% [markdown]
# ## Scale it
#
# ### How many rounds, for which clients?
#
# The bar is a loss of 0.35 on all training rows; the smallest possible loss is printed, and it lies well below. Ten
# clients, all in each round. More local steps save rounds, and how far this goes depends on $\alpha$. With even
# clients, four times the steps need about a quarter of the rounds. With $\alpha = 0.1$ more steps save less, and with
# 64 the bar is not reached: a line below says where the loss stood when we stopped, and half-way there. If the two
# hardly differ, the end of federated averaging itself probably lies above the bar, and then no number of rounds helps.


# %% tags=["demo"]
def whole_loss(theta):
    return loss_and_gradient(theta, X_train, y_train)[0]


def by_torch():
    """The parameters with the smallest loss on all rows: torch's L-BFGS, in one place."""
    inputs, truth = torch.tensor(X_train), torch.tensor(y_train)
    theta = torch.zeros(650, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([theta], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        logits = inputs @ theta[:640].reshape(64, 10) + theta[640:]
        loss = torch.nn.functional.cross_entropy(logits, truth) + RIDGE / 2 * theta @ theta
        loss.backward()
        return loss

    optimiser.step(closure)
    return theta.detach().numpy()


theta_best, bar = by_torch(), demo_size(full=0.35, small=2.0)
print(f"the smallest loss, all rows in one place (torch): {whole_loss(theta_best):.4f}")
if bar != 0.35:
    print(f"(the small demo stops at a loss of {bar}, after few rounds: its curves mean little)")
most = demo_size(full={1: 250, 4: 150, 16: 100, 64: 80}, small={1: 9, 8: 4, 64: 4})
figure, ax = plt.subplots(figsize=(7, 4))
for number, alpha in enumerate((100.0, 1.0, 0.1)):
    parts, reached = split_dirichlet(y_train, 10, alpha, seed=2), {}
    for steps, rounds in most.items():
        _, found = federate(parts, rounds, steps, 0.5, 10, watch=whole_loss, bar=bar)
        if found[-1] <= bar:
            reached[steps] = len(found)
        else:
            middle = found[len(found) // 2]
            print(
                f"α = {alpha:g}, K = {steps}: {found[-1]:.3f} after {len(found)} rounds, {middle:.3f} at half of them"
            )
    ax.plot(
        reached.keys(), reached.values(), marker="os^"[number], color=plotting.COLOURS[number], label=f"α = {alpha:g}"
    )
ax.set(xscale="log", yscale="log", xlabel="local steps K", ylabel="rounds to the bar")
ax.set_title("Local steps save rounds, if clients are even")
ax.legend(loc="upper right")
plt.show()

# %% [markdown]
# And from 2 to 1,000 clients, ten at most in each round, eight local steps? The same 1,400 rows are cut finer and
# finer: with 1,000 clients most have one or two rows, and ten of them stand for very little of the whole. (A line below
# tells of those that did not reach the bar.)

# %% tags=["demo"]
figure, ax = plt.subplots(figsize=(7, 4))
for number, alpha in enumerate((100.0, 0.1)):
    reached = {}
    for clients in demo_size(full=(2, 10, 30, 100, 300, 1000), small=(2, 1000)):
        parts = split_dirichlet(y_train, clients, alpha, seed=3)
        _, found = federate(parts, demo_size(full=150, small=9), 8, 0.5, min(clients, 10), watch=whole_loss, bar=bar)
        if found[-1] <= bar:
            reached[clients] = len(found)
        else:
            print(f"α = {alpha:g}, {clients} clients: {found[-1]:.3f} after {len(found)} rounds")
    ax.plot(
        reached.keys(),
        reached.values(),
        marker="os"[number],
        color=plotting.COLOURS[2 * number],
        label=f"α = {alpha:g}",
    )
ax.set(xscale="log", yscale="log", xlabel="clients (10 a round)", ylabel="rounds to the bar")
ax.set_title("Smaller clients, noisier rounds")
ax.legend(loc="upper left")
plt.show()

# %% [markdown]
# ### Beside training in one place, and alone
#
# Is it worth the effort? Two peers are the limits: training with all rows in one place (scikit-learn, and torch's
# L-BFGS on exactly our loss), and each client alone. Twenty clients, $\alpha = 0.1$. All federated rows move the same
# number of bytes, so SCAFFOLD has half of the rounds. It gives each client the same weight, so it minimises another
# loss, where small clients count more.

# %% tags=["demo"]
parts = split_dirichlet(y_train, 20, 0.1, seed=2)
rounds, rows = demo_size(full=60, small=5), []
whole = f"{bytes_text(X_train.size)} of rows"  # a pixel is an integer from 0 to 16: one byte
theta_learn = np.concatenate([central.coef_.T.ravel(), central.intercept_])
rows.append(("scikit-learn, all rows", f"{accuracy(theta_learn):.1%}", f"{whole_loss(theta_learn):.3f}", "0", whole))
rows.append(("torch, all rows", f"{accuracy(theta_best):.1%}", f"{whole_loss(theta_best):.3f}", "0", whole))
alone = [local_update(np.zeros(650), gradient_of(part), demo_size(full=200, small=20), 0.5) for part in parts]
for name, pick in (("mean", np.mean), ("best of each", max)):
    losses = [whole_loss(theta) for theta in alone]
    chosen = np.mean(losses) if name == "mean" else min(losses)
    rows.append(
        (f"each client alone, {name}", f"{pick([accuracy(theta) for theta in alone]):.1%}", f"{chosen:.3f}", "0", "0")
    )
for name, options in {
    "FedAvg": {},
    "FedAvg, proximal μ = 0.1": {"mu": 0.1},
    "FedAvg, server with momentum": {"kind": "momentum", "server_lr": 0.5},
}.items():
    theta, _ = federate(parts, rounds, 10, 0.5, 20, **options)
    moved = bytes_text(2 * rounds * 20 * theta.nbytes)
    rows.append((name, f"{accuracy(theta):.1%}", f"{whole_loss(theta):.3f}", f"{rounds}", moved))
gradients = [gradient_of(part) for part in parts]
state = (np.zeros(650), np.zeros(650), [np.zeros(650)] * 20)
for _ in range(rounds // 2):
    state = scaffold_round(*state, list(range(20)), lambda i, y: gradients[i](y), 10, 0.5)
moved = bytes_text(4 * (rounds // 2) * 20 * theta.nbytes)
rows.append(("SCAFFOLD", f"{accuracy(state[0]):.1%}", f"{whole_loss(state[0]):.3f}", f"{rounds // 2}", moved))
Table(("trained by", "accuracy", "loss on all rows", "rounds", "bytes moved"), rows, numeric=(1, 2, 3, 4))

# %% [markdown]
# Who wins? One place does, in the loss and by far in bytes. For a model of 650 parameters and 1,400 rows, *sending the
# rows is cheaper* than sending the model back and forth, as the last column says. Federated learning does not pay for
# speed. It is for data that may not be moved, or for clients with far more rows than the model has parameters. But a
# client that has seen two digits knows only these two, and each client gains a lot from the others. (Differences in
# accuracy below one per cent are noise: there are 397 test rows.) Among the federated methods, at equal bytes, the
# proximal term loses a little, SCAFFOLD gains a little, and momentum gains most. Drift sets the *end* of federated
# averaging, and after sixty rounds it is still on its way; momentum goes this way faster. Use SCAFFOLD when the end
# counts, and when clients come back.
#
# ### Clients in processes of their own
#
# Until now all clients lived in one Python. `ranks.launch` starts real processes, which talk by torch.distributed over
# gloo. Rank 0 is the server and a client, too. Each rank uses its own part only, calls your `local_update`, and sends
# 650 numbers; the server calls your `fedavg` on an iterator that receives one update after the other. We go up to twice
# as many processes as the machine has cores, and for the sake of memory to sixteen at most. The same program runs in
# the simulator, where one process plays all ranks by turns. The last column compares the two, bit for bit.


# %% tags=["demo"]
def client_program(rounds, clients):
    """A program for ranks: federated averaging with a client on each rank, and the server on rank 0."""
    # What a rank uses is given here, so that it travels with the program.
    parts = split_dirichlet(y_train, clients, 0.5, seed=6)
    counts = [len(part) for part in parts]

    def program(comm):
        gradient, theta = gradient_of(parts[comm.rank]), np.zeros(650)
        for _ in range(rounds):
            mine = local_update(theta, gradient, 5, 0.5)
            if comm.rank == 0:
                arriving = ({"theta": comm.recv(source) if source else mine} for source in range(comm.size))
                theta = fedavg(arriving, counts)["theta"]
                for rank in range(1, comm.size):
                    comm.send(rank, theta)
            else:
                comm.send(0, mine)
                theta = comm.recv(0)
        return theta

    return program


rounds, rows = demo_size(full=20, small=3), []
limit = max(2, min(16, 2 * (os.cpu_count() or 1)))
for clients in demo_size(full=[size for size in (2, 4, 8, 16) if size <= limit], small=[2]):
    program = client_program(rounds, clients)
    # A link of 10 ms and 10 MB/s, as of a phone; the simulator counts no time for computing.
    simulated = ranks.simulate(program, clients, latency=0.01, bandwidth=1e7)
    real = ranks.launch(program, clients)
    if real is None:
        continue
    same = all(np.array_equal(one, simulated.results[0]) for one in real.results)
    difference = max(abs(one - simulated.results[0]).max() for one in real.results)
    rows.append(
        (
            f"{clients}",
            seconds_text(real.start_seconds),
            seconds_text(real.seconds / rounds),
            seconds_text(simulated.seconds / rounds),
            f"{real.sent[0]:,}",
            f"{real.sent[1]:,}",
            "yes" if same else f"{difference:.0e}",
        )
    )
head = ("clients", "start", "a round, gloo", "a round, phone links", "sent by rank 0", "sent by rank 1", "same bits")
Table(head, rows, numeric=tuple(range(6)))

# %% [markdown]
# The server sends $(N - 1) \cdot 8d$ bytes a round, each client $8d$: in this star the server carries all the traffic,
# as module 17 says of the "root" all-reduce. In a data centre one would use a ring. But clients that come and go cannot
# form one, and on a phone nobody may open a connection to it. So real systems keep the star, and put a tree of servers
# in front.
#
# ### What do masks cost?
#
# A client expands a mask for each other client: $N - 1$ times $d$ words. If $|D|$ clients drop out, the server expands
# $|D|\,(N - |D|)$ masks of pairs and $N - |D|$ own ones. The figure measures both, with a tenth of the clients lost.

# %% tags=["demo"]
d = demo_size(full=10_000, small=500)
sizes = np.array(demo_size(full=(10, 20, 40, 80, 160), small=(10, 20)))
of_client, of_server = [], []
for clients in sizes.tolist():
    own, pairs = all_seeds(range(clients), 3)
    words = np.zeros(d, np.uint32)
    mine = {j: pairs[0, j] for j in range(1, clients)}
    alive = range(clients - clients // 10)
    mixed = {pair: seed for pair, seed in pairs.items() if (pair[0] in alive) != (pair[1] in alive)}
    masked, own = dict.fromkeys(alive, words), {i: own[i] for i in alive}
    spent = []
    for _ in range(5):  # seconds of this process: others on the machine do not count
        begun = time.process_time()
        mask_update(words, 0, 1, mine)
        middle = time.process_time()
        unmask_sum(masked, own, mixed)
        spent.append((middle - begun, time.process_time() - middle))
    fastest = np.min(spent, axis=0)
    of_client.append(fastest[0])
    of_server.append(fastest[1])
figure, ax = plt.subplots(figsize=(7, 4))
for number, (name, spent) in enumerate({"one client": of_client, "the server, 10% lost": of_server}.items()):
    slope = np.polyfit(np.log(sizes), np.log(spent), 1)[0]
    ax.plot(sizes, spent, marker="os"[number], color=plotting.COLOURS[number], label=f"{name}, slope {slope:.2f}")
ax.set(
    xscale="log",
    yscale="log",
    xlabel="clients",
    ylabel=f"CPU seconds for {d:,} words",
    title="Linear for a client, nearly square for the server",
)
ax.legend(loc="upper left")
plt.show()

# %% [markdown]
# The slope of a client is near 1. That of the server tends to 2: with $|D| = N/10$, the number of masks is
# $0.09\,N^2 + 0.9\,N$, of which the square is the larger part above $N = 10$. A million clients cannot each agree with
# a million partners. So each client is paired with about $\log N$ others only, chosen at random (Bell et al., 2020):
# this is enough for privacy and for recovery with overwhelming probability, and the server's work becomes nearly
# linear. What about bytes? A word has four, half of a float64, and keys and shares add some $N$ numbers for each
# client. But the saving of 20.6 is nearly lost: a code of one byte needs four under a mask. Shorter words help: sums of
# $N$ codes of at most 127 in size fit into 16 bits while $127 N < 2^{15}$, so up to $N = 258$. What they forbid is
# more: under a mask the server cannot see that a client sends nonsense, and random rounding must be done before the
# mask, on a scale that all clients share, and not on each client's own norm.
#
# ### Flower
#
# Flower is the framework that most tutorials use. It wants other versions of some packages than this course, so it
# lives in an environment of its own:
#
# ```
# python -m venv ~/flower
# ~/flower/bin/pip install "flwr[simulation]>=1.40,<1.42"       # about 6 GB on disk
# export LSML_FLOWER=~/flower/bin/python                         # before JupyterLab is started
# ```
#
# The cell writes a small script, runs it there, and compares: four clients with 5 to 80 rows of a least-squares
# problem, three rounds, five local steps. The order of summing may differ, so we expect agreement to rounding, not in
# the last bit. Yours is faster, because it starts nothing: most of Flower's seconds are the start of Ray, which plays
# its clients. Flower wins as soon as the clients are other machines: it brings connections, retries, authentication and
# a queue of runs.

# %% tags=["demo"]
FLOWER_JOB = """
import sys

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

given, target = dict(np.load(sys.argv[1])), sys.argv[2]
clients, rounds, steps, lr = (given[name].item() for name in ("clients", "rounds", "steps", "lr"))
client, server = ClientApp(), ServerApp()


@client.train()
def train(message, context):
    X, y = (given[f"{name}{context.node_config['partition-id']}"] for name in "Xy")
    (theta,) = message.content["arrays"].to_numpy_ndarrays()
    for _ in range(steps):
        theta = theta - lr * X.T @ (X @ theta - y) / len(y)
    reply = {"arrays": ArrayRecord([theta]), "metrics": MetricRecord({"num-examples": len(y)})}
    return Message(content=RecordDict(reply), reply_to=message)


@server.main()
def main(grid, context):
    strategy = FedAvg(fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients)
    found = strategy.start(grid=grid, initial_arrays=ArrayRecord([given["theta"]]), num_rounds=rounds)
    np.save(target, found.arrays.to_numpy_ndarrays()[0])


run_simulation(server, client, num_supernodes=clients, backend_config={"client_resources": {"num_cpus": 1}})
"""


def with_flower(problem, seconds=120):
    """What Flower makes of a problem, and its seconds; None after one line where it cannot be asked."""
    python = os.environ.get("LSML_FLOWER") or str(Path.home() / "flower" / "bin" / "python")
    if not Path(python).is_file():
        print(f"Flower: there is no {python} (see above for how to make it): this cell goes on without it.")
        return None
    with tempfile.TemporaryDirectory() as folder:
        job, given, found = (Path(folder, name) for name in ("job.py", "given.npz", "found.npy"))
        job.write_text(FLOWER_JOB)
        np.savez(given, **problem)
        quiet = os.environ | {
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_HOME": folder,
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        }
        quiet.pop("PYTHONPATH", None)
        begun = time.perf_counter()
        try:
            done = subprocess.run(
                [python, job, given, found], env=quiet, capture_output=True, text=True, timeout=seconds
            )
        except (OSError, subprocess.TimeoutExpired) as why:
            print(f"Flower did not end well ({type(why).__name__}): this cell goes on without it.")
            return None
        if not found.is_file():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1][:150]
            print(f"Flower did not end well ({last}): this cell goes on without it.")
            return None
        return np.load(found), time.perf_counter() - begun


rng, counts = np.random.default_rng(0), [30, 5, 12, 80]
federation = [(rng.standard_normal((m, 6)), rng.standard_normal(m) + i) for i, m in enumerate(counts)]
theta, begun = np.zeros(6), time.perf_counter()
for _ in range(3):
    theta = fedavg(
        ({"theta": local_update(theta, lambda w, X=X, y=y: X.T @ (X @ w - y) / len(y), 5, 0.1)} for X, y in federation),
        counts,
    )["theta"]
mine = time.perf_counter() - begun
problem = {"clients": 4, "rounds": 3, "steps": 5, "lr": 0.1, "theta": np.zeros(6)}
for i, (X_i, y_i) in enumerate(federation):
    problem |= {f"X{i}": X_i, f"y{i}": y_i}
asked = with_flower(problem)
print(f"yours, {seconds_text(mine)}: ", np.array2string(theta, precision=6))
if asked is not None:
    print(f"Flower, {asked[1]:.0f} s: ", np.array2string(asked[0], precision=6))
    print(f"largest difference: {abs(asked[0] - theta).max():.1e}")

# %% [markdown]
# ### Where it breaks
#
# - **The sum itself tells.** Masks hide the terms, never the total. If 99 clients of 100 work with the server, the sum
#   minus their 99 terms is the last client. And a model remembers rows that it was trained on. Module 21 adds noise,
#   and says how much is enough.
# - **Clients that lie.** A mean has no defence: one client that sends $10^6$ moves it anywhere. Medians and trimmed
#   means need single updates, which masks hide. Both at once is a subject of research.
# - **Encryption is part of it.** Shares that the server can read on their way protect nothing. This, signatures and a
#   cryptographic generator are what a real implementation has and ours has not.
# - **A server that lies.** Our protocol assumes that it follows the rules and is curious. One that passes on keys of
#   its own in place of the clients' knows every seed: keys must be signed by somebody else. One that tells different
#   clients different lists of survivors gets both secrets: the paper has one more round against this.
# - **Who takes part.** Phones answer when they are charged, at night, on Wi-Fi. The mean over those who answer is not
#   the mean over all; no averaging rule repairs that.
# - **Controls of clients that never come back.** SCAFFOLD needs a memory on each client. With a million phones, of
#   which each is met once, its controls are always the first ones.

# %% [markdown] written="what_the_server_learns" points=2
# **Written question (2 points).** Twelve hospitals train a model for a rare disease with this module's protocol:
# FedAvg, updates under masks with a threshold of 8, one server. (a) Name two things that the server, or somebody who
# gets the model at the end, can still learn about a single hospital or a patient, although no single update is ever
# seen. Say by which way. (b) One hospital has forty patients, all others have thousands; in one round only this
# hospital and ten others answer, in the next round the same ten without it. What can the server compute, and why do
# masks not prevent it? (c) Module 21 adds noise. Where in the round could it be added (two places), what must be
# bounded before it, and which of your points in (a) and (b) does it address?
#
# ### BEGIN SOLUTION
# (a) The server knows who took part and when, and the sum of counts if it is sent, so the size of the data. The sum of
# the updates, and the final model, depend on single rows: a membership test asks the model how certain it is of a known
# patient's record, and a rare feature that only one hospital uses shows in the parameters that belong to it. Hospitals
# that work together with the server can subtract their own updates from the sum; with eleven of twelve, the last one is
# plain. Eight hospitals that work together also have enough shares to recover every seed. (b) The difference of the two
# sums, after the server's own change of the model is taken into account, is approximately the small hospital's update,
# since the ten others send nearly the same in neighbouring rounds. Masks make the sum exact; they hide terms within a
# round, not differences between sums. (c) Each client adds noise to its update before it is masked, or the server adds
# it to the sum. Before that the norm of each update must be bounded (it is clipped), so that no client moves the sum by
# more than a known amount. The noise (differential privacy) bounds what any output, the sums of all rounds and the
# final model, tells about one patient or one hospital, so it addresses the membership test and the difference of
# rounds. It does not hide who took part.
#
# ### RUBRIC
# - 0.5: Names one thing that follows from the sum or the final model, such as membership of a patient or features of
#   one hospital, and the way to learn it.
# - 0.5: Names another one by another way, such as who took part, sizes, or hospitals that work together with the server
#   and subtract their terms or pool eight shares.
# - 0.5: In (b), the difference of two rounds' sums is about the small hospital's update, and masks hide terms within a
#   round only.
# - 0.5: In (c), noise at the client before masking or at the server on the sum, the size (norm) of each update bounded
#   before it, and a point that it addresses, such as membership or the difference of two rounds.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. Derive the end of federated averaging if clients take *different* numbers of local steps $K_i$. Which loss does it
#    minimise for small $\eta$? Show that dividing each change by $K_i$ repairs it (Wang et al., 2020).
# 2. SCAFFOLD here weighs all clients equally. Change one line of the client and one of the server so that it ends at
#    the optimum of $\sum_i w_i f_i$.
# 3. How large may $N$ and the largest entry be before the sum of words of 32 bits wraps around? Choose the scale of the
#    fixed point for 10,000 clients and clipped updates.
# 4. With a threshold $t$, how many clients may vanish, and how many may work together with the server, before the
#    protocol fails in one way or the other? Draw both against $t$.
# 5. A server that takes the median of the updates, entry by entry, is safe from a few liars. What would it take to
#    compute a median under masks?
#
# References:
#
# - B. McMahan, E. Moore, D. Ramage, S. Hampson and B. Agüera y Arcas, "Communication-efficient learning of deep
#   networks from decentralized data", *AISTATS*, 2017. Federated averaging.
# - T. Li, A. K. Sahu, M. Zaheer, M. Sanjabi, A. Talwalkar and V. Smith, "Federated optimization in heterogeneous
#   networks", *MLSys*, 2020. The proximal term.
# - S. P. Karimireddy, S. Kale, M. Mohri, S. Reddi, S. Stich and A. T. Suresh, "SCAFFOLD: stochastic controlled
#   averaging for federated learning", *ICML*, 2020. Drift, and the controls of 20.4, with rates.
# - S. Reddi, Z. Charles, M. Zaheer, Z. Garrett, K. Rush, J. Konečný, S. Kumar and B. McMahan, "Adaptive federated
#   optimization", *ICLR*, 2021. Optimisers at the server.
# - J. Wang, Q. Liu, H. Liang, G. Joshi and H. V. Poor, "Tackling the objective inconsistency problem in heterogeneous
#   federated optimization", *NeurIPS*, 2020. Question 1.
# - T.-M. H. Hsu, H. Qi and M. Brown, "Measuring the effects of non-identical data distribution for federated visual
#   classification", arXiv:1909.06335, 2019; Q. Li, Y. Diao, Q. Chen and B. He, "Federated learning on non-IID data
#   silos: an experimental study", *ICDE*, 2022. The two ways to split by a Dirichlet distribution.
# - D. Alistarh, D. Grubic, J. Li, R. Tomioka and M. Vojnović, "QSGD: communication-efficient SGD via gradient
#   quantization and encoding", *NeurIPS*, 2017. Random rounding, its variance and its bits.
# - A. Shamir, "How to share a secret", *Communications of the ACM*, 1979. Two pages; read the original.
# - W. Diffie and M. Hellman, "New directions in cryptography", *IEEE Transactions on Information Theory*, 1976. How two
#   clients agree on a seed in public.
# - K. Bonawitz, V. Ivanov, B. Kreuter, A. Marcedone, B. McMahan, S. Patel, D. Ramage, A. Segal and K. Seth, "Practical
#   secure aggregation for privacy-preserving machine learning", *CCS*, 2017. The protocol of 20.8 and 20.9 in full.
# - J. Bell, K. Bonawitz, A. Gascón, T. Lepoint and M. Raykova, "Secure single-server aggregation with (poly)logarithmic
#   overhead", *CCS*, 2020. Fewer partners for each client.
# - L. Zhu, Z. Liu and S. Han, "Deep leakage from gradients", *NeurIPS*, 2019. Pictures from the updates of deep
#   networks.
# - P. Kairouz, B. McMahan and 57 others, "Advances and open problems in federated learning", *Foundations and Trends in
#   Machine Learning*, 2021. The map of the field.
#
# At work: Flower and NVIDIA FLARE to run federations, FedML and TensorFlow Federated for research; in all of them, look
# up how a client is weighted and what is averaged besides the parameters.
