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
# # 25 · Quantum and annealing optimisers
#
# **What you will be able to do.** Write a choice as an energy. Find low energies by random moves that grow colder, and
# by copies at many temperatures. Simulate the circuits that are meant to do better, up to what a laptop holds, and
# beyond that by a closed form. Then measure all of them, and a classical rival with a guarantee, in one run, and say
# what the figure supports and what it does not.
#
# **You need** cross-validation from module 04 and, for the angles in one demo, minimising by gradients from module 01;
# complex numbers, matrix products, sparse matrices in CSR form.
#
# **Skills it trains**: binary optimisation, Markov chain Monte Carlo, sums that update in constant time, simulation of
# quantum circuits, index arithmetic that is right at the borders, closed forms, relaxation and rounding, counting
# what a computation costs.
#
# **Time**: about four and a half hours, of which three are eight exercises, and ten minutes are a bug to find.
# Take a break after 25.4. Each exercise says how important it is (essential, important, optional), its level, which is
# also its points, and its minutes.
#
# **Symbols**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $n$ | `n` | | bits, spins, vertices or qubits: the number of yes-or-no choices |
# | $x$, $Q$ | `x`, `Q` | $(n,)$, $(n, n)$ | bits 0 or 1; the matrix of a QUBO |
# | $s$ | `s` | $(n,)$ | spins $-1$ or $+1$; here always $x = (1 + s)/2$ |
# | $h$, $J$ | `h`, `J` | $(n,)$, $(n, n)$ | fields and couplings; $J$ only above the diagonal. (In other modules $J$ is a loss.) |
# | $E$, $\Delta E_i$ | `energy` | | energy; what it changes by if spin $i$ is flipped |
# | $f_i$ | | $(n,)$ | local field: $h_i$ and what the neighbours of $i$ add to it |
# | $T$, $\beta = 1/T$ | `temperatures`, `betas` | | temperature and inverse temperature (25.3 and 25.4) |
# | $R$ | `len(betas)` | | replicas: copies of the system, one at each $\beta$ |
# | $\psi_z$ | `state[z]` | $(2^n,)$ complex | amplitude of the basis state $z$; bit $q$ of $z$ is qubit $q$, bit 0 is the lowest |
# | $U$ | `gate` | $(2, 2)$ or $(4, 4)$ | a gate: a unitary matrix on one or two qubits |
# | $M$, $\vartheta$ | | | marked states of a search; $\sin^2\vartheta = M/2^n$ |
# | $m$, $C(z)$ | `edges`, `cut` | $(m, 2)$ | edges of a graph; how many of them $z$ cuts |
# | $p$, $\gamma_l$, $\beta_l$ | `gammas`, `betas` | $(p,)$ | layers of QAOA; angles of phase and mixer in layer $l$ (from 25.7 on) |
# | $d_u$, $t_{uv}$ | | | neighbours of $u$ without $v$; triangles that hold the edge $uv$ |
# | $v_i$, $k$ | rows of $V$, `rank` | $(k,)$ | unit vector of vertex $i$ in the relaxation; how many entries it has |
# | $L$, $g$ | | $(n, n)$, $(k,)$ | Laplacian of the graph; normal of a random hyperplane |
# | $P$, $\tau$ | | | probability that one run finds the best solution; seconds of a run |
# | $r_i$, $w_{ij}$, $A$ | `relevance`, `redundancy`, `penalty` | $(d,)$, $(d, d)$, number | in 25.2: what a column tells; what two columns repeat; weight of the constraint |
#
# $k$ is also how many columns are chosen (25.2) and the place of a replica (25.4); $a$ and $b$ are local to a section.

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    from lsml_utils import checking, datasets, demo_size, engines, plotting
    from lsml_utils.checking import check, expect_close, expect_dtype, expect_shape, expect_unchanged
    from lsml_utils.tables import Table, seconds_text
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import itertools
import math
import time
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullFormatter
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import laplacian
from threadpoolctl import threadpool_limits

plotting.use()
threadpool_limits(1)
checking.start("25_quantum_annealing", total=9)


def bit_rows(n):
    """All 2^n rows of n bits: row z holds the bits of the number z, the lowest bit first."""
    return (np.arange(2**n)[:, None] >> np.arange(n)) & 1


# %% [markdown]
# ## Derive
#
# ### A choice is an energy
#
# Which 5 of 13 measurements should a laboratory take? Which side of a cut gets which vertex? Such questions have $n$
# answers of yes or no, and $2^n$ combinations. A **QUBO** (quadratic unconstrained binary optimisation) writes all of
# them in one form: find $x \in \{0, 1\}^n$ with the least
#
# $$E(x) = x^\top Q\, x = \sum_{i,j} Q_{ij}\, x_i x_j .$$
#
# $x_i^2 = x_i$, so the diagonal of $Q$ holds what is linear. Physics writes the same with **spins** $s_i = \pm 1$. This
# form is called **Ising**:
#
# $$E(s) = \sum_i h_i s_i + \sum_{i<j} J_{ij}\, s_i s_j + \text{offset} .$$
#
# Machines and papers for this problem use either. Conventions differ in three places. We use $x = (1 + s)/2$ (some use
# $(1 - s)/2$). We sum over $i < j$ once (some over all $i, j$, which counts each pair twice). We write $+$ in front of
# both sums (some write $-$).
#
# ## Implement
#
# ### 25.1 `qubo_to_ising` · essential · level 2 of 4 · 15 min
#
# Put $x_i = (1 + s_i)/2$ into $E$. For $i < j$ the pair meets twice in the sum, as $Q_{ij}$ and $Q_{ji}$. With
# $c_{ij} = Q_{ij} + Q_{ji}$,
#
# $$c_{ij}\, x_i x_j = \tfrac{c_{ij}}4 \bigl(1 + s_i + s_j + s_i s_j\bigr), \qquad
# Q_{ii} x_i = \tfrac{Q_{ii}}2 (1 + s_i) .$$
#
# Collect what stands before $s_i s_j$, before $s_i$, and alone. For the way back, put $s_i = 2x_i - 1$ into the Ising
# form: $J_{ij} s_i s_j = J_{ij} (4 x_i x_j - 2 x_i - 2 x_j + 1)$, and $h_i s_i = 2 h_i x_i - h_i$.


# %% exercise="qubo_to_ising" points=2 minutes=15 forbids=["dimod"] trains=["binary optimisation"]
def qubo_to_ising(Q: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Fields, couplings and offset with the same energies: x^T Q x = h @ s + s^T J s + offset.

    This holds for every x of 0 and 1, with x = (1 + s) / 2, that is, s = 2 x - 1.
    Q: shape (n, n), n >= 1, numbers of any kind of float or integer; it need not be symmetric. Not
      modified.

    Returns (h, J, offset): h, new, float64, shape (n,); J, new, float64, shape (n, n), zero on and
    below the diagonal, so that each pair counts once; offset, a Python float. Each number is within
    1e-12 times the sum of all |Q_ij|. Forbidden: dimod.
    """
    ### BEGIN SOLUTION
    Q = np.array(Q, np.float64)
    pairs = np.triu(Q + Q.T, 1) / 4  # c_ij / 4
    linear = np.diag(Q) / 2
    return linear + pairs.sum(axis=0) + pairs.sum(axis=1), pairs, float(linear.sum() + pairs.sum())
    ### END SOLUTION


def ising_to_qubo(h: np.ndarray, J: np.ndarray, offset: float) -> tuple[np.ndarray, float]:
    """The way back: h @ s + s^T J s + offset = x^T Q x + constant, for every s = 2 x - 1.

    h: shape (n,), n >= 1. J: shape (n, n), zero on and below the diagonal. Both numbers of any kind
      of float or integer; not modified. offset: a Python float.

    Returns (Q, constant): Q, new, float64, shape (n, n), zero below the diagonal; constant, a
    Python float. Each number is within 1e-12 times the sum of all |h_i|, |J_ij| and |offset|.
    """
    ### BEGIN SOLUTION
    h, J = np.array(h, np.float64), np.array(J, np.float64)
    Q = 4 * J + np.diag(2 * h - 2 * J.sum(axis=0) - 2 * J.sum(axis=1))
    return Q, float(offset - h.sum() + J.sum())
    ### END SOLUTION


# %% [markdown] hints="qubo_to_ising"
# <details><summary>Hint 1: collect the terms</summary>
#
# From the two equations above: what stands before $s_i s_j$ is $c_{ij}/4$. What stands before $s_i$ is $Q_{ii}/2$ and
# one $c_{ij}/4$ for every $j \ne i$, be it larger or smaller than $i$. What stands alone is the offset.
# </details>
# <details><summary>Hint 2: in arrays</summary>
#
# `pairs = np.triu(Q + Q.T, 1) / 4` holds $c_{ij}/4$ above the diagonal. The pairs of $i$ stand in its row $i$ and in its
# column $i$: add the sums over both axes. Convert to float64 first: small integers overflow.
# </details>
# <details><summary>Hint 3: the way back</summary>
#
# `Q[i, j] = 4 J[i, j]` above the diagonal; on it `2 h[i]`, less twice the row's and twice the column's sum of `J`. The
# constant is `offset - h.sum() + J.sum()`.
# </details>

# %% check="qubo_to_ising"
with check("qubo_to_ising", forbids=["dimod"]):
    Q_small = np.array([[2, 4, 0], [0, -6, 8], [12, 0, 1]])
    with expect_unchanged(Q_small=Q_small):
        h_small, J_small, offset_small = qubo_to_ising(Q_small)
    # c_01 = 4, c_02 = 12, c_12 = 8: J = 1, 3, 2. h_0 = 2/2 + 1 + 3, h_1 = -6/2 + 1 + 2, h_2 = 1/2 + 3 + 2.
    expect_close(
        J_small,
        [[0, 1, 3], [0, 0, 2], [0, 0, 0]],
        hint="above the diagonal: (Q_ij + Q_ji) / 4",
        mistakes={
            "Each pair stands in J twice; keep it above the diagonal only.": [[0, 1, 3], [1, 0, 2], [3, 2, 0]],
            "The entries of Q below the diagonal are missing.": [[0, 1, 0], [0, 0, 2], [0, 0, 0]],
        },
    )
    expect_close(
        h_small,
        [5.0, 0.0, 5.5],
        hint="h_i: Q_ii / 2, and (Q_ij + Q_ji) / 4 for every other j",
        mistakes={
            "This belongs to x = (1 - s) / 2.": [-5.0, 0.0, -5.5],
            "You took the pairs of i with larger j only.": [5.0, -1.0, 0.5],
        },
    )
    expect_close(offset_small, 4.5, hint="(2 - 6 + 1) / 2 + 1 + 3 + 2 = 4.5", mistakes={"The offset is lost.": 0.0})
    assert type(offset_small) is float, "the offset is a Python float"
    with expect_unchanged(h_small=h_small, J_small=J_small):
        Q_back, constant_back = ising_to_qubo(h_small, J_small, offset_small)
    expect_close(Q_back, [[2, 4, 12], [0, -6, 8], [0, 0, 1]], hint="the same energies, all above the diagonal")
    expect_close(constant_back, 0.0, hint="4.5 - 10.5 + 6 = 0")

# %% [markdown]
# ### 25.2 `selection_qubo` · essential · level 1 of 4 · 10 min
#
# A QUBO has no constraints. "Choose exactly $k$" becomes a **penalty** that is 0 where it holds and large elsewhere.
# Let $r_i$ say how much column $i$ tells about the label (`relevance`), and $w_{ij}$ how much columns $i$ and $j$ repeat
# each other (`redundancy`). Choose $k$ columns that tell much and repeat little:
#
# $$E(x) = -\sum_i r_i x_i + \sum_{i<j} w_{ij} x_i x_j + A \Bigl(\sum_i x_i - k\Bigr)^2 .$$
#
# $A$ must be so large that breaking the constraint by one costs more than it can gain. Expand the square:
# $\bigl(\sum_i x_i\bigr)^2 - 2k \sum_i x_i + k^2$.
#
# **Find the bug.** The function below expands the penalty, and something is missing: its best selection has more columns
# than $k$. Find out what is missing, and repair it.


# %% exercise="selection_qubo" points=1 minutes=10 bug=true forbids=["dimod"] trains=["binary optimisation"]
def selection_qubo(relevance: np.ndarray, redundancy: np.ndarray, k: int, penalty: float) -> np.ndarray:
    """The QUBO matrix of: choose k of d columns that tell much and repeat each other little.

    relevance: shape (d,), d >= 1, float64. redundancy: shape (d, d), float64, symmetric; its diagonal
      is ignored. k: an integer, 0 <= k <= d. penalty: a float. Nothing is modified.

    Returns a new float64 array Q of shape (d, d), zero below the diagonal. For every x of 0 and 1,
    x^T Q x = -(sum of r_i x_i) + (sum over i < j of w_ij x_i x_j) + penalty * (sum of x_i - k)^2
              - penalty * k^2,
    with r the relevance and w the redundancy (the last term takes the constant off). Each entry is
    within 1e-12 times the largest of |r_i|, |w_ij| and |penalty| * (2 k + 1). Forbidden: dimod.
    """
    ### BEGIN SOLUTION
    return np.triu(redundancy + 2.0 * penalty, 1) + np.diag(penalty * (1 - 2 * k) - relevance)
    ### END SOLUTION
    ### BEGIN BUG
    # return np.triu(redundancy + 2.0 * penalty, 1) + np.diag(-2 * k * penalty - relevance)
    ### END BUG


# %% [markdown] hints="selection_qubo"
# <details><summary>Hint 1</summary>
#
# Take $d = 1$, $k = 1$, relevance 0, penalty 1. The penalty is $(x - 1)^2$: 1 at $x = 0$ and 0 at $x = 1$. After the
# constant 1 is taken off, $x^\top Q x$ must be 0 and $-1$. What does the function give?
# </details>
# <details><summary>Hint 2</summary>
#
# $\bigl(\sum_i x_i\bigr)^2 = \sum_i x_i^2 + 2 \sum_{i<j} x_i x_j$. The second sum is there. The first one is
# $\sum_i x_i^2 = \sum_i x_i$: it adds the penalty once to every entry of the diagonal.
# </details>

# %% check="selection_qubo"
with check("selection_qubo", forbids=["dimod"]):
    relevance_small, redundancy_small = np.array([3.0, 2.0, 1.0]), np.array([[9, 1, 2], [1, 9, 4], [2, 4, 9.0]])
    with expect_unchanged(relevance_small=relevance_small, redundancy_small=redundancy_small):
        Q_small = selection_qubo(relevance_small, redundancy_small, 2, 10.0)
    # The square adds 10 x_i^2 = 10 x_i, and 20 x_i x_j for each pair; -2 * 2 * 10 x_i = -40 x_i.
    expect_close(
        Q_small,
        [[-33, 21, 22], [0, -32, 24], [0, 0, -31]],
        hint="on the diagonal: -r_i + penalty * (1 - 2k)",
        mistakes={"The squares x_i^2 = x_i are missing.": [[-43, 21, 22], [0, -42, 24], [0, 0, -41]]},
    )

# %% [markdown]
# The wines of scikit-learn: 13 measurements, three kinds of wine. Relevance is how far the classes' means lie apart
# (the share of the variance that lies between the classes), redundancy is the absolute correlation. All $2^{13}$
# selections can be tried, so the truth is known.

# %% tags=["demo"]
import scipy.optimize
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

wine = datasets.wine()
Z = (wine.X - wine.X.mean(axis=0)) / wine.X.std(axis=0)
between = sum(np.mean(wine.y == c) * Z[wine.y == c].mean(axis=0) ** 2 for c in range(3))
correlation = np.abs(np.corrcoef(Z.T))
bits_13 = bit_rows(13)
Q_wine = selection_qubo(between, correlation, 5, 3.0)
energies_13 = np.einsum("zi,ij,zj->z", bits_13, Q_wine, bits_13)
chosen = np.flatnonzero(bits_13[np.argmin(energies_13)])
top = np.argsort(-between)[:5]
classifier = make_pipeline(StandardScaler(), LogisticRegression())
Table(
    ("columns", "how many", "mean |correlation|", "accuracy, 5 folds"),
    [
        (
            title,
            f"{len(columns)}",
            f"{correlation[np.ix_(columns, columns)][np.triu_indices(len(columns), 1)].mean():.2f}",
            f"{cross_val_score(classifier, wine.X[:, columns], wine.y, cv=5).mean():.3f}",
        )
        for title, columns in [
            ("least energy", chosen),
            ("the most relevant", top),
            ("all", np.arange(13)),
        ]
    ],
    numeric=(1, 2, 3),
)

# %% [markdown]
# Least energy means: five columns, as asked, that repeat each other less than the five most relevant ones. Whether this
# also gives the best *accuracy* is another question, which the last column answers for this table; the energy does not
# know the classifier. A good optimiser of a poor model of the question is no help.
#
# $2^{13}$ can be listed. $2^{100}$ cannot. How are low energies found without a list?
#
# ### 25.3 `simulated_annealing` · essential · level 3 of 4 · 30 min
#
# Flip one spin at a time. With the **local field** $f_i = h_i + \sum_j (J_{ij} + J_{ji})\, s_j$, the terms of the energy
# that hold $s_i$ are $s_i f_i$. A flip turns them into $-s_i f_i$, so
#
# $$\Delta E_i = -2\, s_i f_i .$$
#
# If only flips with $\Delta E < 0$ were taken, the walk would end in the first state that no single flip improves. So
# flips upwards must be allowed, with a probability that falls with their height. **Metropolis** et al. (1953) take a
# flip with probability
#
# $$\min\bigl(1, e^{-\Delta E / T}\bigr) .$$
#
# Why this one? Let $\pi(s) \propto e^{-E(s)/T}$, the **Boltzmann** law. Take two states $a$, $b$ that differ in spin $i$,
# with $E(b) > E(a)$. The flow from $a$ to $b$ is $\pi(a)\, e^{-(E(b) - E(a))/T} = e^{-E(b)/T} / \text{norm} = \pi(b)
# \cdot 1$, the flow from $b$ to $a$. The flows cancel for every pair, so $\pi$ does not change under the walk. At a fixed
# $T$ the walk draws from $\pi$ in the end; at low $T$, $\pi$ is nearly all on the states of least energy. But at low $T$
# a walk needs $e^{\Delta E/T}$ attempts to climb by $\Delta E$. **Simulated annealing** (Kirkpatrick et al., 1983)
# begins hot, where everything can be reached, and cools down.
#
# **What a flip costs.** The energy of a state takes all couplings. $\Delta E_i$ takes one multiplication, *if* the local
# fields are kept: when spin $i$ flips, $f_j$ changes by $2 (J_{ij} + J_{ji})\, s_i^{\text{new}}$ for each neighbour $j$,
# and nothing else changes. A refused flip costs nothing more. With six neighbours for each of $n = 20{,}000$ spins, that
# is six additions instead of 60,000.


# %% exercise="simulated_annealing" points=3 minutes=30 forbids=["dimod", "dwave"] trains=["Markov chain Monte Carlo", "sums that update in constant time", "counting what a computation costs"]
def simulated_annealing(h: np.ndarray, J: csr_matrix, temperatures: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """One sweep of Metropolis flips at each temperature, from a random state: the last state, its energy.

    The energy is E(s) = h @ s + s^T J s (each coupling once; no offset).
    h: shape (n,), n >= 1, float64. J: scipy.sparse.csr_matrix, shape (n, n), float64, nothing stored
      on or below the diagonal or twice; J may have no entries. Neither is modified.
    temperatures: shape (k,), k >= 0, float64, each >= 0, in the order of the sweeps; not modified.
    seed: a Python integer, 0 <= seed < 2^63.

    The first state has independent spins, -1 or +1 with probability 1/2 each. A sweep at temperature T
    visits every spin once, in any order that does not depend on the state, one after the other
    (a set of spins without couplings inside it may be visited at once). A visited spin is flipped with
    probability min(1, exp(-dE / T)), where dE is the change of the energy that the flip would make
    *now*, after all earlier flips. At T = 0 it is flipped if dE < 0 and stays if dE > 0; if dE = 0,
    either is right.

    Returns (s, energy): s, new, int8, shape (n,), the state after the last sweep (not the best one on
    the way); energy, a Python float, E(s) within 1e-9 times the sum of all |h_i| and |J_ij|.
    Same arguments, same result; other seeds, also neighbouring ones, give unrelated draws. NumPy's
    global random state is neither used nor changed. 20 sweeps of 20,000 spins with 60,000 couplings
    must fit into 10 s and 1 GiB: a loop over spins does; a matrix-vector product for each spin, or a
    dense matrix, does not.
    Forbidden: dimod, dwave.
    """
    ### BEGIN SOLUTION
    rng = np.random.default_rng(seed)
    n = len(h)
    both = (J + J.T).tocsr()
    first, index, twice = both.indptr.tolist(), both.indices.tolist(), (2 * both.data).tolist()
    s = rng.choice([-1.0, 1.0], n)
    field = (h + both @ s).tolist()
    s = s.tolist()
    for T in temperatures.tolist():
        room = (T * rng.exponential(size=n)).tolist()  # dE < room with probability exp(-dE / T)
        for i in range(n):
            if -2 * s[i] * field[i] < room[i]:
                s[i] = -s[i]
                for place in range(first[i], first[i + 1]):
                    field[index[place]] += twice[place] * s[i]
    s = np.array(s)
    return s.astype(np.int8), float(h @ s + s @ (J @ s))
    ### END SOLUTION


# %% [markdown] hints="simulated_annealing"
# <details><summary>Hint 1: what to keep</summary>
#
# Make `both = (J + J.T).tocsr()` once: row `i` of it holds all neighbours of `i`. Keep the state and
# `field = h + both @ s`. Then $\Delta E_i$ is `-2 * s[i] * field[i]`. The state after the last sweep is returned.
# </details>
# <details><summary>Hint 2: a flip</summary>
#
# After `s[i] = -s[i]`, each neighbour `j` in row `i` of `both` gets `field[j] += 2 * weight * s[i]`, with the *new*
# `s[i]`. Do it at once: the next spin reads it. Python lists (`.tolist()`) are several times faster than arrays when
# you read single numbers.
# </details>
# <details><summary>Hint 3: the decision, without a division by T</summary>
#
# Flip if `dE < T * e`, where `e` is drawn from the exponential distribution (`rng.exponential()`): the probability that
# `e > dE / T` is `exp(-dE / T)`, and 1 if `dE < 0`. At `T = 0` this flips exactly if `dE < 0`.
# </details>

# %% check="simulated_annealing"
with check("simulated_annealing", forbids=["dimod", "dwave"]):
    chain = csr_matrix(np.diag([-1.0, 2.0, -3.0], 1))  # s0 s1 wants equal, s1 s2 opposite, s2 s3 equal
    field_small = np.array([0.5, 0.0, 0.0, 0.0])  # s0 wants -1
    cooling = np.geomspace(5, 0.05, 60)
    with expect_unchanged(h=field_small, temperatures=cooling, couplings=chain.data):
        s_small, energy_small = simulated_annealing(field_small, chain, cooling, 3)
    expect_shape(s_small, (4,))
    expect_dtype(s_small, np.int8)
    expect_close(
        energy_small,
        float(field_small @ s_small + s_small @ (chain @ s_small.astype(float))),
        hint="the energy is h @ s + s^T J s of the state that is returned, each coupling once",
    )
    ends = [simulated_annealing(field_small, chain, cooling, seed) for seed in range(20)]
    assert [-1, -1, 1, 1] in [s.tolist() for s, _ in ends], "20 coolings: one ends in the least energy, -1, -1, 1, 1"
    expect_close(min(energy for _, energy in ends), -6.5, hint="the least energy is -0.5 - 1 - 2 - 3 = -6.5")
    copies = csr_matrix(([1.0] * 1000, (range(0, 2000, 2), range(1, 2000, 2))), shape=(2000, 2000))  # 1,000 pairs
    s_small, _ = simulated_annealing(np.zeros(2000), copies, np.full(30, 2.0), 1)
    # A pair is opposite (E = -1) or equal (E = 1); P(opposite) = 1 / (1 + exp(-2/T)) = 0.731 at T = 2.
    opposite = float(np.mean(s_small[::2] != s_small[1::2]))
    expect_close(
        opposite,
        1 / (1 + np.exp(-2 / 2.0)),
        atol=0.08,
        hint="at a fixed temperature, states have probability exp(-E/T) / norm; dE is -2 s_i f_i",
    )
    s_small, _ = simulated_annealing(np.zeros(2000), copies, np.zeros(1), 1)
    assert np.all(s_small[::2] != s_small[1::2]), "one sweep at T = 0 makes every pair opposite: fields must be fresh"
    s_small, _ = simulated_annealing(np.zeros(2000), copies, np.array([0.0, 0.0, 5.0, 5.0, 5.0]), 1)
    assert np.any(s_small[::2] == s_small[1::2]), "cold, then hot: the last state is asked for, not the best one"
    s_small, energy_small = simulated_annealing(np.zeros(2000), copies, np.zeros(0), 1)
    assert 800 < np.sum(s_small == 1) < 1200, "no temperature, no sweep: the random state is returned"
    other, _ = simulated_annealing(np.zeros(2000), copies, np.zeros(0), 2)
    assert 800 < np.sum(s_small != other) < 1200, "another seed starts from another state"

# %% [markdown]
# How slow is slow? `datasets.frustrated_loops` plants a state of known least energy: it adds up
# loops of couplings, and around each loop at least one coupling stays unsatisfied in *every* state. The planted state
# leaves exactly one of each.

# %% tags=["demo"]
system = datasets.frustrated_loops(demo_size(full=300, small=100), seed=2)
lengths = np.array(demo_size(full=[5, 15, 50, 150, 500], small=[5, 20, 60]))
seeds = demo_size(full=6, small=3)
excess = {"cooled": [], "cold from the start": []}
for sweeps in lengths.tolist():
    for name, schedule in [("cooled", np.geomspace(3, 0.2, sweeps)), ("cold from the start", np.full(sweeps, 0.2))]:
        found = [simulated_annealing(system.h, system.J, schedule, seed)[1] for seed in range(seeds)]
        excess[name].append((np.mean(found) - system.energy) / len(system.h))
figure, ax = plt.subplots(figsize=(7, 4))
for number, (name, values) in enumerate(excess.items()):
    ax.plot(lengths, values, marker="os"[number], color=plotting.COLOURS[number], label=name)
ax.set(
    xscale="log",
    ylim=(-0.02, None),
    xlabel="sweeps",
    ylabel="energy per spin above the planted state",
    title="Cooling pays once there is time for it",
)
ax.legend(loc="upper right")
plt.show()
for name, values in excess.items():
    print(f"{name}: {values[0]:.3f} per spin after {lengths[0]} sweeps, {values[-1]:.3f} after {lengths[-1]}")

# %% [markdown]
# A walk that is cold from the start stops improving early: it sits in a state from which every way leads up. But cooling
# is a one-way street: what was decided while it was warm cannot be undone when it is cold. What if a walk could get warm
# again, whenever it needs to?
#
# ### 25.4 `parallel_tempering` · important · level 3 of 4 · 25 min
#
# **Parallel tempering** (Swendsen and Wang, 1986; Hukushima and Nemoto, 1996) runs $R$ **replicas**, one at each inverse
# temperature $\beta_k = 1/T_k$, and lets neighbours exchange their states. All replicas together have the law
# $\prod_k e^{-\beta_k E(s_k)}$. If replicas $k$ and $l$ exchange states, this changes by the factor
#
# $$\frac{e^{-\beta_k E_l - \beta_l E_k}}{e^{-\beta_k E_k - \beta_l E_l}} = e^{(\beta_k - \beta_l)(E_k - E_l)} .$$
#
# By the argument of 25.3, an exchange that is accepted with probability $\min\bigl(1, e^{(\beta_k - \beta_l)(E_k -
# E_l)}\bigr)$ leaves the law as it is. Read the sign: if the colder replica (larger $\beta_k$) has the higher energy, the
# exchange is certain. A state travels up to the heat, loses its memory, and comes back as another one. Replica $k$ keeps
# its $\beta_k$; the states move. So every replica goes on drawing from its own Boltzmann law, and the coldest one gets out of wells that it could never leave.


# %% exercise="parallel_tempering" points=3 minutes=25 forbids=["dimod", "dwave"] trains=["Markov chain Monte Carlo"]
def parallel_tempering(
    h: np.ndarray, J: csr_matrix, betas: np.ndarray, sweeps: int, seed: int
) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
    """Replicas at several inverse temperatures that exchange states: best state, energy, swaps, means.

    E(s) = h @ s + s^T J s. h: shape (n,), n >= 1, float64. J: scipy.sparse.csr_matrix, shape (n, n),
      float64, nothing stored on or below the diagonal or twice; J may have no entries.
    betas: shape (R,), R >= 1, float64, each > 0, in any order. Nothing is modified.
    sweeps: >= 1. seed: a Python integer, 0 <= seed < 2^63.

    Each replica begins with independent spins, -1 or +1 with probability 1/2. Round t = 0, 1, ...,
    sweeps - 1: first, replica k makes a sweep at beta_k, for each k: every spin is visited once, as in
    `simulated_annealing`, and flipped with probability min(1, exp(-beta_k * dE)). Then, for every k
    with k = t (mod 2) and k + 1 < R, replicas k and k + 1 exchange their states with probability
    min(1, exp((beta_k - beta_{k+1}) * (E_k - E_{k+1}))).

    Returns (s, energy, swap_rates, mean_energies):
    - s, int8, shape (n,): a state of least energy among the states of all replicas at the ends of all
      rounds (an answer may also look at states within a sweep). energy: a Python float, E(s) within
      1e-9 times the sum of all |h_i| and |J_ij|.
    - swap_rates, float64, shape (R - 1,): entry k is the share of the attempts between k and k + 1
      that were accepted; 0 if there was none.
    - mean_energies, float64, shape (R,): entry k is the mean of the energy of the state that replica k
      holds at the end of a round (after the exchanges), over rounds t >= sweeps // 2. It goes with
      beta_k, whichever states were there.
    All new. Same arguments, same result; other seeds give unrelated draws. NumPy's global random state
    is neither used nor changed. Forbidden: dimod, dwave.
    """
    ### BEGIN SOLUTION
    rng = np.random.default_rng(seed)
    n, R = len(h), len(betas)
    both = (J + J.T).tocsr()
    first, index, twice = both.indptr.tolist(), both.indices.tolist(), (2 * both.data).tolist()
    start = rng.choice([-1.0, 1.0], (R, n))
    field = [(h + both @ s).tolist() for s in start]
    energy = [float(h @ s + s @ (J @ s)) for s in start]
    state = start.tolist()
    lowest, best = math.inf, None
    tried, swapped, total = np.zeros(R - 1), np.zeros(R - 1), np.zeros(R)
    for t in range(sweeps):
        for k in range(R):
            s, f = state[k], field[k]
            room = (rng.exponential(size=n) / betas[k]).tolist()
            for i in range(n):
                change = -2 * s[i] * f[i]
                if change < room[i]:
                    s[i] = -s[i]
                    energy[k] += change
                    for place in range(first[i], first[i + 1]):
                        f[index[place]] += twice[place] * s[i]
            if energy[k] < lowest:
                lowest, best = energy[k], list(s)
        for k in range(t % 2, R - 1, 2):
            tried[k] += 1
            if (betas[k + 1] - betas[k]) * (energy[k] - energy[k + 1]) < rng.exponential():
                swapped[k] += 1
                for of in (state, field, energy):
                    of[k], of[k + 1] = of[k + 1], of[k]
        if t >= sweeps // 2:
            total += energy
    s = np.array(best)
    rates = swapped / np.maximum(tried, 1)
    return s.astype(np.int8), float(h @ s + s @ (J @ s)), rates, total / (sweeps - sweeps // 2)
    ### END SOLUTION


# %% [markdown] hints="parallel_tempering"
# <details><summary>Hint 1: a list of replicas</summary>
#
# Keep three lists with an entry for each replica: its state, its local fields, its energy. A sweep is that of 25.3 with
# $T = 1/\beta_k$; each flip adds its $\Delta E$ to the replica's energy.
# </details>
# <details><summary>Hint 2: an exchange</summary>
#
# Exchange all that belongs to a state: the state, its fields *and* its energy. The betas stay where they are. (Or
# exchange the betas, and keep a note of which replica has which.) In round 0 the pairs are (0, 1), (2, 3), ..., in round
# 1 they are (1, 2), (3, 4), ...
# </details>
# <details><summary>Hint 3: the sign, the means</summary>
#
# Accept if `rng.random() < np.exp(min(0, (betas[k] - betas[k + 1]) * (E[k] - E[k + 1])))`. After the exchanges, in
# rounds `t >= sweeps // 2`, add the energies by place, and divide by `sweeps - sweeps // 2` at the end.
# </details>

# %% check="parallel_tempering"
with check("parallel_tempering", forbids=["dimod", "dwave"]):
    # Two spins that want to be opposite, E = -1 or 1: the mean is -tanh(beta).
    pair, betas_small = csr_matrix([[0.0, 1.0], [0.0, 0.0]]), np.array([0.1, 0.5, 1.0])
    with expect_unchanged(betas=betas_small, couplings=pair.data):
        s_small, energy_small, rates_small, means_small = parallel_tempering(np.zeros(2), pair, betas_small, 20_000, 0)
    expect_dtype(s_small, np.int8)
    expect_shape(rates_small, (2,))
    expect_shape(means_small, (3,))
    assert s_small[0] == -s_small[1] and energy_small == -1.0, "the least energy is -1, with opposite spins"
    expect_close(means_small, -np.tanh(betas_small), atol=0.08, hint="means go with beta_k, whichever state is there")
    # Only if the colder one has -1 and the warmer one 1 is an exchange uncertain. Of 0.1 and 0.5:
    # P = 0.450 * 0.731 = 0.329, accepted with exp(-0.8) = 0.449; all others are accepted: 0.819.
    expect_close(
        rates_small[0],
        0.819,
        atol=0.05,
        hint="accept with probability min(1, exp((beta_k - beta_l) (E_k - E_l)))",
    )
    expect_close(
        parallel_tempering(np.zeros(2), pair, betas_small, 1, 0)[2][1], 0.0, hint="no attempt between 1 and 2 yet"
    )
    # Four spins that want to be equal, and rather 1 than -1: alone, a cold replica stays where it falls first.
    trap, up = csr_matrix(np.triu(-np.ones((4, 4)), 1)), np.full(4, -0.25)
    cold = [parallel_tempering(up, trap, np.array([0.2, 0.6, 6.0]), 400, seed)[3][2] for seed in range(10)]
    assert max(cold) < -6.5, "by exchanges every cold replica gets to -7; pairs (0, 1) and (1, 2) take turns"
    s_small, energy_small, rates_small, means_small = parallel_tempering(
        np.array([2.0]), 0 * pair[:1, :1], np.ones(1), 50, 1
    )
    assert (s_small.tolist(), rates_small.shape) == ([-1], (0,)), "one spin, one replica: s = -1, and no pair"

# %% [markdown]
# A system with a barrier: six blocks of four spins. Within a block all spins pull in the same direction, strongly; two
# neighbouring blocks prefer the same direction, weakly; one block has a weak field. In the ground state all 24 spins
# agree. When annealing cools through the temperature at which blocks freeze, the weak forces between them hardly
# count. Later they do, and the blocks cannot turn any more. Both methods get the same number of spin updates.
# Annealing has succeeded if its last state is the ground state; tempering, if the mean energy of its *coldest replica*, over
# the second half, is less than 0.4 above the least one, which is half of what the next well
# costs, with all spins turned. (The best state of all replicas would be an unfair measure: it may
# come from a warm replica that passed by.)

# %% tags=["demo"]


def blocks(count, size, strong, weak, field):
    """Blocks of spins, strongly coupled inside and weakly to the next block: h, J (CSR) and the least energy."""
    n = count * size
    J = np.zeros((n, n))
    for start in range(0, n, size):
        J[start : start + size, start : start + size] = -strong / size
        for a in range(start, start + size):
            b = (a + size) % n
            J[min(a, b), max(a, b)] = -weak
    h = np.where(np.arange(n) < size, -field, 0.0)
    J = csr_matrix(np.triu(J, 1))
    return h, J, float(h.sum() + J.sum())


h_blocks, J_blocks, ground = blocks(6, 4, 4.0, 0.15, 0.1)
ladder = np.geomspace(0.2, 4, 8)
rounds = np.array(demo_size(full=[10, 30, 100, 300], small=[10, 100]))
runs = demo_size(full=30, small=8)
reached = {"annealing": [], "tempering": []}
for sweeps in rounds.tolist():
    cooling = 1 / np.geomspace(0.2, 4, 8 * sweeps)
    ends = [simulated_annealing(h_blocks, J_blocks, cooling, seed)[1] for seed in range(runs)]
    reached["annealing"].append(np.mean(np.abs(np.array(ends) - ground) < 1e-9))
    ends = [parallel_tempering(h_blocks, J_blocks, ladder, sweeps, seed)[3][-1] for seed in range(runs)]
    reached["tempering"].append(np.mean(np.array(ends) - ground < 0.4))
_, _, rates, means = parallel_tempering(h_blocks, J_blocks, ladder, 4 * int(rounds[-1]), 0)
figure, axes = plt.subplots(1, 2, figsize=(10, 4))
for number, (name, share) in enumerate(reached.items()):
    share = np.array(share)
    axes[0].errorbar(
        8 * 24 * rounds,
        share,
        yerr=np.sqrt(np.maximum(share * (1 - share), 0.25 / runs) / runs),
        marker="os"[number],
        color=plotting.COLOURS[number],
        label=name,
        capsize=3,
    )
axes[0].set(
    xscale="log",
    ylim=(-0.05, 1.45),
    xlabel="spin updates",
    yticks=np.linspace(0, 1, 6),
    ylabel="share of successful runs",
    title="At equal updates, tempering crosses",
)
axes[0].set_xticks(8 * 24 * rounds, labels=[f"{8 * 24 * sweeps:,}" for sweeps in rounds])
axes[0].legend(loc="upper left", ncols=2)
axes[1].plot((ladder[:-1] * ladder[1:]) ** 0.5, rates, marker="D", color=plotting.COLOURS[2])
axes[1].set(
    xscale="log",
    ylim=(0, 1),
    xlabel="inverse temperature β between two replicas",
    ylabel="share of exchanges accepted",
    title="The bottleneck: where blocks freeze",
)
axes[1].set_xticks([0.3, 0.5, 1, 2, 3], labels=["0.3", "0.5", "1", "2", "3"])
for ax in axes:
    ax.xaxis.set_minor_formatter(NullFormatter())
plt.show()
print("mean energies:", ", ".join(f"{mean:.2f} at β = {b:.2f}" for mean, b in zip(means, ladder, strict=True)))

# %% [markdown]
# The right panel is the price: exchanges are accepted only where the energies of two neighbours overlap. Where the system
# freezes, energies jump, and the ladder needs more steps. In $n$ independent parts, energies spread like $\sqrt n$ and
# differ like $n$, so a ladder needs about $\sqrt n$ steps.
#
# Heat is one way over a barrier. A **quantum annealer** promises another one: to go through it. Its state is not one row
# of spins but an amplitude for each of the $2^n$ rows. What does it cost to compute with those?
#
# ### 25.5 `apply_gate` · essential · level 3 of 4 · 25 min
#
# $n$ **qubits** have a state of $2^n$ complex **amplitudes** $\psi_z$ with $\sum_z |\psi_z|^2 = 1$. Measuring gives $z$
# with probability $|\psi_z|^2$. Bit $q$ of the number $z$ is qubit $q$, and **qubit 0 is the lowest bit**: $z = 6 = 110_2$
# has qubit 0 in 0 and qubits 1 and 2 in 1. Qiskit counts like this; many textbooks count from the other end.
#
# A **gate** is a unitary matrix that acts on some qubits. A gate $U$, $(2, 2)$, on qubit $q$ mixes each pair of
# amplitudes whose numbers differ in bit $q$ alone:
#
# $$\begin{pmatrix} \psi'_{z} \\ \psi'_{z + 2^q} \end{pmatrix} = U \begin{pmatrix} \psi_z \\ \psi_{z + 2^q}
# \end{pmatrix} \qquad \text{for each } z \text{ whose bit } q \text{ is } 0 .$$
#
# A gate on the qubits $(a, b)$ has a $(4, 4)$ matrix. Its row and column number is (bit of $a$) $+\, 2\,\cdot$ (bit of
# $b$): the first qubit named is the lower bit, as above. Example: the controlled NOT with control $a$ and target $b$
# exchanges the numbers 1 (control 1, target 0) and 3.
#
# As a matrix on all amplitudes, $U$ on qubit $q$ is $I_{2^{n-1-q}} \otimes U \otimes I_{2^q}$: $4^n$ entries, of which
# nearly all are 0. At $n = 22$ that would be 280 TB. The pairs need none of it: seen as an array of shape $(2^{n-1-q}, 2,
# 2^q)$, the state has bit $q$ as an axis of its own. A gate costs $O(2^n)$ operations and one new state.


# %% exercise="apply_gate" points=3 minutes=25 forbids=["qiskit", "qiskit_aer"] trains=["simulation of quantum circuits", "index arithmetic that is right at the borders"]
def apply_gate(state: np.ndarray, gate: np.ndarray, qubits: tuple[int, ...]) -> np.ndarray:
    """The state after a gate on one or two qubits. Qubit 0 is the lowest bit of an amplitude's number.

    state: shape (2^n,), 1 <= n <= 24, complex128 or complex64; not modified. It need not have norm 1.
    gate: shape (2, 2) for one qubit, (4, 4) for two, complex128 or float64; not modified. Row and
      column of a (4, 4) gate: (bit of qubits[0]) + 2 * (bit of qubits[1]). Any matrix: it need not be
      unitary or symmetric.
    qubits: a tuple or list of one or two different Python integers, 0 <= q < n, in any order.

    Returns a new array, shape (2^n,), of the state's dtype:
      new[z] = sum over c of gate[r, c] * state[z with the named bits set to those of c],
    where r is the number that the named bits of z give. Each number is within 16 eps times the largest
    |gate| entry times the largest |state| entry, with eps that of the state's dtype.
    Besides the state, at most five arrays of its size in memory; so no matrix of shape (2^n, 2^n).
    Forbidden: qiskit, qiskit_aer.
    """
    ### BEGIN SOLUTION
    n = len(state).bit_length() - 1
    U = np.asarray(gate).astype(state.dtype).reshape([2] * (2 * len(qubits)))
    axes = [n - 1 - q for q in reversed(qubits)]  # of the state, seen as (2, ..., 2): qubit n - 1 comes first
    new = np.tensordot(U, state.reshape([2] * n), axes=(range(len(qubits), 2 * len(qubits)), axes))
    return np.moveaxis(new, range(len(qubits)), axes).ravel()
    ### END SOLUTION


# %% [markdown] hints="apply_gate"
# <details><summary>Hint 1: one qubit</summary>
#
# `parts = state.reshape(-1, 2, 2**q)`: `parts[:, 0]` are the amplitudes with bit $q$ equal to 0, `parts[:, 1]` those with
# 1. The new ones are `U[0, 0] * parts[:, 0] + U[0, 1] * parts[:, 1]`, and the same with `U[1]`.
# </details>
# <details><summary>Hint 2: two qubits</summary>
#
# With `low, high = sorted(qubits)`, reshape to `(-1, 2, 2**(high - low - 1), 2, 2**low)`: axis 1 is the higher bit, axis 3
# the lower one. For each of the four values of the two bits, add four terms. Which value belongs to `qubits[0]` depends
# on the order in which they were named.
# </details>
# <details><summary>Hint 3: both at once</summary>
#
# `state.reshape([2] * n)` has qubit $q$ on axis $n - 1 - q$. `gate.reshape([2] * (2 * len(qubits)))` has the *last* named
# qubit first, in its rows and in its columns. `np.tensordot` sums the gate's column axes against the state's axes; its
# result has the new axes in front: `np.moveaxis` puts them back.
# </details>

# %% check="apply_gate"
with check("apply_gate", forbids=["qiskit", "qiskit_aer"]):
    eight = np.arange(1.0, 9.0) + 0j  # amplitude z is z + 1
    flip_bit, mixed = np.array([[0, 1], [1, 0.0]]), np.array([[1, 2], [0, 1j]])
    with expect_unchanged(eight=eight, flip_bit=flip_bit, mixed=mixed):
        got = apply_gate(eight, flip_bit, (0,))
    expect_close(
        got,
        [2, 1, 4, 3, 6, 5, 8, 7],
        hint="qubit 0 is the lowest bit: 0 and 1 change places, 2 and 3, ...",
        mistakes={"You count qubits from the other end.": [5, 6, 7, 8, 1, 2, 3, 4]},
    )
    # On qubit 1 the pairs are 0 and 2, 1 and 3: new 0 is 1 + 2 * 3, new 2 is 3i.
    expect_close(
        apply_gate(eight, mixed, [1]),
        [7, 10, 3j, 4j, 19, 22, 7j, 8j],
        hint="rows of the gate are the new amplitudes",
        mistakes={"You applied the transpose of the gate.": [1, 2, 2 + 3j, 4 + 4j, 5, 6, 10 + 7j, 12 + 8j]},
    )
    controlled = np.array([[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 0.0]])
    # Control qubit 2, target qubit 0: 4 and 5 change places, 6 and 7.
    expect_close(
        apply_gate(eight, controlled, (2, 0)),
        [1, 2, 3, 4, 6, 5, 8, 7],
        hint="qubits[0] is the lower bit of the gate's number: here the control is qubit 2",
        mistakes={"You took qubits[0] for the higher bit.": [1, 6, 3, 8, 5, 2, 7, 4]},
    )
    got = apply_gate(eight.astype(np.complex64), np.array([[1, 1], [1, -1.0]]), (2,))
    expect_close(got, [6, 8, 10, 12, -4, -4, -4, -4])
    expect_dtype(got, np.complex64)

# %% [markdown]
# The peer is Qiskit, whose simulator Aer is written in C++. The same random circuit on both: random one-qubit gates, and
# controlled NOTs between random pairs.

# %% tags=["demo"]


def random_circuit(n, gates, seed):
    """A list of (matrix, qubits): rotations of one qubit and controlled NOTs, in turn."""
    rng = np.random.default_rng(seed)
    controlled = np.eye(4)[[0, 3, 2, 1]]
    for number in range(gates):
        if number % 2:
            yield controlled, tuple(rng.choice(n, 2, replace=False).tolist())
        else:
            square = rng.standard_normal((2, 2)) + 1j * rng.standard_normal((2, 2))
            yield np.linalg.qr(square)[0], (int(rng.integers(n)),)


def run_circuit(n, circuit):
    """The state after these gates, from all qubits 0, by your `apply_gate`."""
    state = np.zeros(2**n, complex)
    state[0] = 1
    for gate, qubits in circuit:
        state = apply_gate(state, gate, qubits)
    return state


qiskit, aer = engines.library("qiskit"), engines.library("qiskit_aer")


def run_on_aer(n, circuit):
    """The same by Qiskit's simulator Aer, on one thread: the state, and the seconds that the simulation took."""
    theirs = qiskit.QuantumCircuit(n)
    for gate, qubits in circuit:
        theirs.unitary(gate, list(qubits))
    theirs.save_statevector()
    simulator = aer.AerSimulator(method="statevector", max_parallel_threads=1, fusion_enable=False)
    begun = time.perf_counter()
    result = simulator.run(theirs).result()
    return np.asarray(result.get_statevector()), time.perf_counter() - begun


circuit_small = list(random_circuit(8, 60, 0))
mine = run_circuit(8, circuit_small)
print(f"norm after 60 gates on 8 qubits: 1 {np.sum(np.abs(mine) ** 2) - 1:+.0e}")
aer_gap = None
if qiskit and aer:
    aer_gap = float(np.abs(mine - run_on_aer(8, circuit_small)[0]).max())
    print(f"largest difference to Aer {aer.__version__}: {aer_gap:.0e}")

# %% [markdown]
# The norm stays 1 because every gate is unitary. Now there is a state of $2^n$ amplitudes. Measuring it gives *one* of
# the $z$. So the amplitudes of good answers must be made large before. How fast can that go?
#
# ### 25.6 `grover` · important · level 2 of 4 · 15 min
#
# **Grover's search** (1996) knows nothing about the problem but a device that recognises an answer: it turns the sign of
# the amplitudes of $M$ marked numbers. Begin with all $2^n$ amplitudes equal, $2^{-n/2}$. One iteration is two
# reflections: the device's, then the reflection at the equal state, $\psi_z \to 2 \bar\psi - \psi_z$, where $\bar\psi$
# is the mean of all amplitudes.
#
# By symmetry all marked amplitudes stay equal, and all others, too. So the state moves in a plane, with axes "marked" and
# "not marked", and begins at the angle $\vartheta$ above the second, $\sin^2\vartheta = M/2^n$. Two reflections in a
# plane make a rotation by twice the angle between their mirrors, here $2\vartheta$. After $j$ iterations
#
# $$P(\text{marked}) = \sin^2\bigl((2j + 1)\, \vartheta\bigr) .$$
#
# This is 1 where $(2j+1)\vartheta = \pi/2$: $j \approx \frac\pi4 \sqrt{2^n/M}$. Trying numbers one by one takes
# of the order of $2^n/M$ questions. Nothing that only asks the device can do better than $\sqrt{2^n/M}$, up to a factor (Bennett et
# al., 1997). And the state goes on turning: with more iterations $P$ falls again.


# %% exercise="grover" points=2 minutes=15 forbids=["qiskit", "qiskit_aer"] trains=["simulation of quantum circuits"]
def grover(n: int, flip: Callable[[np.ndarray], np.ndarray], iterations: int) -> np.ndarray:
    """The state after Grover's iterations: the device's flip of signs, then the reflection at the mean.

    n: qubits, 1 <= n <= 20. flip: takes a complex128 array, shape (2^n,), and returns a new one in
      which the marked entries have the opposite sign and all others are the same. It marks the same
      entries every time, any number of them. What it returns is not modified. iterations: >= 0.

    Starts with every amplitude 2^(-n/2). Each iteration calls flip exactly once, with the current
    state, and then replaces every amplitude by 2 * (mean of all amplitudes) - amplitude.
    Returns a new complex128 array, shape (2^n,); each entry is within 1e-12 * (1 + iterations).
    flip is called `iterations` times in all. Forbidden: qiskit, qiskit_aer.
    """
    ### BEGIN SOLUTION
    state = np.full(2**n, 2 ** (-n / 2), complex)
    for _ in range(iterations):
        state = flip(state)
        state = 2 * state.mean() - state
    return state
    ### END SOLUTION


# %% [markdown] hints="grover"
# <details><summary>Hint 1</summary>
#
# Take $n = 2$ with number 3 marked. The start is $(\frac12, \frac12, \frac12, \frac12)$, after the flip $(\frac12,
# \frac12, \frac12, -\frac12)$ with mean $\frac14$. What does $2 \cdot \frac14 - \psi_z$ give?
# </details>
# <details><summary>Hint 2</summary>
#
# `state = flip(state)`, then `state = 2 * state.mean() - state`, `iterations` times. The mean is that after the flip.
# No iteration: the start is returned.
# </details>

# %% check="grover"
with check("grover", forbids=["qiskit", "qiskit_aer"]):
    asked = []

    def flip_of(*marked):
        def flip(state):
            asked.append(state.shape)
            assert state.dtype == np.complex128, "flip gets a complex128 array"
            return np.where(np.isin(np.arange(len(state)), marked), -state, state)

        return flip

    expect_close(
        grover(2, flip_of(3), 1),
        [0, 0, 0, 1],
        hint="(1, 1, 1, -1) / 2 has the mean 1/4; 2/4 - 1/2 = 0 and 2/4 + 1/2 = 1",
        mistakes={"The sign of the second reflection is wrong: 2 * mean - amplitude.": [0, 0, 0, -1]},
    )
    assert len(asked) == 1, f"one iteration asks flip once, and not {len(asked)} times"
    got = grover(4, flip_of(2, 9), 5)
    assert len(asked) == 6, "flip is called once an iteration"
    # With one of four marked, theta is 30 degrees: after nine iterations 570 degrees, so all amplitudes are -1/2.
    expect_close(grover(2, flip_of(3), 9), [-0.5, -0.5, -0.5, -0.5], hint="exactly as many iterations as asked for")
    angle = math.asin(math.sqrt(2 / 16))
    expect_close(float(np.sum(np.abs(got[[2, 9]]) ** 2)), math.sin(11 * angle) ** 2, hint="sin^2((2j + 1) theta)")
    got = grover(3, flip_of(1), 0)
    expect_close(got, np.full(8, 8**-0.5), hint="no iteration: all amplitudes are equal")
    expect_dtype(got, np.complex128)

# %% tags=["demo"]
n_search = demo_size(full=10, small=8)
marked = np.array([2**n_search - 5])


def sign_flip(state):
    turned = state.copy()
    turned[marked] *= -1
    return turned


angle = math.asin(math.sqrt(len(marked) / 2**n_search))
most = int(2.2 * math.pi / (4 * angle))
iterations = np.unique(np.linspace(0, most, 30).astype(int))
states = [grover(n_search, sign_flip, int(j)) for j in iterations]
in_plane = np.array(
    [[math.sqrt(2**n_search - 1) * state[0].real, state[marked[0]].real] for state in states]
)  # not marked, marked
figure, axes = plt.subplots(1, 2, figsize=(10, 4))
axes[0].plot(*in_plane.T, color=plotting.MUTED, lw=1)
points = axes[0].scatter(*in_plane.T, c=iterations, cmap="viridis", s=25, zorder=3)
figure.colorbar(points, ax=axes[0], label="iterations j")
axes[0].set(
    xlabel="amplitude of all that is not marked",
    ylabel="amplitude of the marked number",
    title="The state turns in a plane",
    aspect="equal",
)
axes[1].plot(iterations, [np.sum(np.abs(state[marked]) ** 2) for state in states], "o", label="your state")
curve = np.linspace(0, most, 300)
axes[1].plot(curve, np.sin((2 * curve + 1) * angle) ** 2, color=plotting.COLOURS[1], label="sin²((2j + 1)ϑ)")
axes[1].axvline(math.pi / (4 * angle), color=plotting.MUTED, ls="--", lw=1)
axes[1].set(ylim=(-0.05, 1.35), xlabel="iterations j", ylabel="P(marked)", title="More iterations are not better")
axes[1].legend(loc="upper right", ncols=2)
plt.show()
best_j = round(math.pi / (4 * angle) - 0.5)
print(f"best after {best_j} iterations; asked one by one: {2 ** (n_search - 1)} questions in the mean")
ratio = 2 ** (n_search - 1) / best_j
print(
    f"Grover wins over a laptop at n = {n_search} if one question takes it less than {ratio:.0f} times the laptop's time"
)

# %% [markdown]
# The saving is a square root, of a search that *knows nothing*. So the last line is the condition of any use: with
# $N = 2^n$, the quantum device must ask at no less than about $1/\sqrt N$ of the laptop's rate. And 25.3 did not search
# blindly: it uses the energy. What if the circuit uses it, too?
#
# ### 25.7 `qaoa` · essential · level 3 of 4 · 25 min
#
# From here on the problem is the **maximum cut**: colour the $n$ vertices of a graph with two colours so that as many
# edges as possible have ends of different colours. $C(z)$ is how many edges the bits of $z$ cut. As an Ising problem it
# has $J_{uv} = \frac12$ for each edge and no fields, since $C = \frac m2 - \frac12 \sum_{uv} s_u s_v$. It is NP-hard.
#
# The **quantum approximate optimisation algorithm** (Farhi et al., 2014) has $p$ layers, each with two angles. From
# equal amplitudes, layer $l$ does
#
# 1. **phase**: $\psi_z \to e^{-i \gamma_l C(z)}\, \psi_z$. Each amplitude turns by an angle in proportion to its cut;
# 2. **mixer**: on every qubit the gate
# $e^{-i \beta_l X} = \begin{pmatrix} \cos\beta_l & -i \sin\beta_l \\ -i \sin\beta_l & \cos\beta_l \end{pmatrix}$. It moves
#    amplitude between numbers that differ in one bit, and phases decide where it adds up.
#
# (Qiskit's `RX(angle)` is $e^{-i\,\text{angle}\,X/2}$: its angle is $2\beta_l$. This factor is the most common mistake.)
# What the state is worth is the **expected** cut of a measurement,
#
# $$\langle C \rangle = \sum_z |\psi_z|^2\, C(z) ,$$
#
# and not the best of many measurements: the best of 1,000 random colourings is also better than their mean.


# %% exercise="qaoa" points=3 minutes=25 forbids=["qiskit", "qiskit_aer"] trains=["simulation of quantum circuits"]
def qaoa(edges: np.ndarray, n: int, gammas: np.ndarray, betas: np.ndarray) -> tuple[np.ndarray, float]:
    """The state of QAOA for the maximum cut, and its expected cut.

    edges: shape (m, 2), m >= 0, int64, from 0 to n - 1: the two ends of each edge, in any order. No edge
      joins a vertex with itself, none stands there twice (in either order). n: 1 <= n <= 20.
    gammas, betas: shape (p,), p >= 0, float64: the angles of layer 0, 1, ..., p - 1. Nothing is
      modified.

    Starts with every amplitude 2^(-n/2). Layer l multiplies each amplitude z by
    exp(-i * gammas[l] * C(z)), where C(z) is the number of edges whose ends have different bits in z
    (vertex q is bit q, the lowest bit is 0), and then applies to every qubit the gate
    [[cos b, -i sin b], [-i sin b, cos b]] with b = betas[l].

    Returns (state, cut): state, new, complex128, shape (2^n,); cut, a Python float, the sum of
    |state[z]|^2 C(z). Each amplitude is within 1e-12 * (1 + p), cut within 1e-11 * (1 + p) * (1 + m),
    for angles up to 100 in size. n = 18 with 27 edges and three layers: at most 10 s and 100 MB.
    Forbidden: qiskit, qiskit_aer.
    """
    ### BEGIN SOLUTION
    z = np.arange(2**n)
    cuts = np.zeros(2**n)
    for u, v in edges.tolist():
        cuts += (z >> u ^ z >> v) & 1
    state = np.full(2**n, 2 ** (-n / 2), complex)
    for layer in range(len(gammas)):
        turn, beta = gammas[layer] * cuts, betas[layer]
        state = state * (np.cos(turn) - 1j * np.sin(turn))
        for q in range(n):
            pairs = state.reshape(2 ** (n - 1 - q), 2, 2**q)
            state = (math.cos(beta) * pairs - 1j * math.sin(beta) * pairs[:, ::-1]).ravel()
    return state, float(np.abs(state) ** 2 @ cuts)
    ### END SOLUTION


# %% [markdown] hints="qaoa"
# <details><summary>Hint 1: the cuts</summary>
#
# `z = np.arange(2**n)`; bit $u$ of all numbers is `(z >> u) & 1`. An edge is cut where the two bits differ. Add up over
# the edges in a loop: one array of $2^n$ numbers, not $m$ of them.
# </details>
# <details><summary>Hint 2: the layers</summary>
#
# `state = state * np.exp(-1j * gamma * cuts)`, then the mixer on every qubit, with your `apply_gate(state, mixer, (q,))`
# or with the reshape of its first hint. The angle stands in the mixer as it is, without a factor 2.
# </details>
# <details><summary>Hint 3: the value</summary>
#
# `cut = float(np.abs(state) ** 2 @ cuts)`: probabilities times cuts. Without layers it is half the edges.
# </details>

# %% check="qaoa"
with check("qaoa", forbids=["qiskit", "qiskit_aer"]):
    edge_small, gamma_small, beta_small = np.array([[0, 1]]), np.array([math.pi / 2]), np.array([math.pi / 8])
    with expect_unchanged(edges=edge_small, gammas=gamma_small, betas=beta_small):
        state_small, cut_small = qaoa(edge_small, 2, gamma_small, beta_small)
    # One edge, one layer: the expected cut is 1/2 + sin(4 beta) sin(gamma) / 2 = 1.
    expect_close(
        cut_small,
        1.0,
        hint="phase exp(-i gamma C), then the mixer on every qubit",
        mistakes={
            "This has half the mixer's angle: RX(beta) is exp(-i beta X / 2).": 0.5 + math.sin(math.pi / 4) / 2,
            "A sign is turned round: it is exp(-i gamma C) and exp(-i beta X).": 0.0,
        },
    )
    expect_close(np.abs(state_small) ** 2, [0, 0.5, 0.5, 0], atol=1e-9)
    path = np.array([[1, 0], [1, 2]])  # vertex 1 in the middle; a third vertex 3 has no edge
    expect_close(qaoa(path, 4, np.zeros(0), np.zeros(0))[1], 1.0, hint="no layers: half the edges")
    state_small, cut_small = qaoa(path, 4, np.array([0.3, 0.7]), np.array([0.5, -0.2]))
    best_sample = 2.0
    expect_close(float(np.sum(np.abs(state_small) ** 2)), 1.0, hint="the squares of the amplitudes' sizes add up to 1")
    by_hand = np.array([((z >> 1 ^ z) & 1) + ((z >> 1 ^ z >> 2) & 1) for z in range(16)])
    expect_close(
        cut_small,
        float(np.abs(state_small) ** 2 @ by_hand),
        hint="the expected cut: the sum of |amplitude|^2 times cut",
        mistakes={"This is the best cut that a measurement can give; the mean is asked for.": best_sample},
    )
    X, states = np.array([[0, 1], [1, 0.0]]), np.full(16, 0.25 + 0j)  # the same, gate by gate
    for gamma, beta in [(0.3, 0.5), (0.7, -0.2)]:
        states = np.exp(-1j * gamma * by_hand) * states
        gate = math.cos(beta) * np.eye(2) - 1j * math.sin(beta) * X
        states = np.kron(np.kron(gate, gate), np.kron(gate, gate)) @ states
    expect_close(state_small, states, atol=1e-9, hint="layer by layer: first the phase of gammas[l], then the mixer")

# %% tags=["demo"]
graph = datasets.regular_graph(10, 3, seed=1)
cuts_10 = sum((bit_rows(10)[:, u] != bit_rows(10)[:, v]).astype(int) for u, v in graph.edges.tolist())
maximum = int(cuts_10.max())
side = demo_size(full=31, small=11)
gamma_grid, beta_grid = np.linspace(0, math.pi, side), np.linspace(0, math.pi / 2, side)
landscape = np.array([[qaoa(graph.edges, 10, np.array([g]), np.array([b]))[1] for g in gamma_grid] for b in beta_grid])
depths = demo_size(full=[1, 2, 3, 4, 5], small=[1, 2])
ratios, angles = [], np.array([0.6, 0.4])
for p in depths:
    if p > 1:  # begin with the angles of one layer less, stretched over one layer more
        old = angles.reshape(2, p - 1)
        angles = np.stack([np.interp(np.linspace(0, 1, p), np.linspace(0, 1, p - 1), row) for row in old]).ravel()
    found = scipy.optimize.minimize(
        lambda a: -qaoa(graph.edges, 10, a[: len(a) // 2], a[len(a) // 2 :])[1],
        angles,
        method="L-BFGS-B",
        options={"maxfun": demo_size(full=300, small=60)},
    )
    angles = found.x
    ratios.append(-found.fun / maximum)
figure, axes = plt.subplots(1, 2, figsize=(10, 4))
shown = axes[0].contourf(gamma_grid, beta_grid, landscape / maximum, 15, cmap="viridis")
figure.colorbar(shown, ax=axes[0], label="expected cut / maximum cut")
axes[0].set(xlabel="γ", ylabel="β", title="One layer: hills and flat ground")
axes[1].plot(depths, ratios, marker="o", label="QAOA, best angles found")
axes[1].axhline(graph.edges.shape[0] / 2 / maximum, color=plotting.MUTED, ls="--", label="a random colouring")
axes[1].set(
    ylim=(0.5, 1.15), xlabel="layers p", ylabel="expected cut / maximum cut", title="Each layer adds, less and less"
)
axes[1].set_xticks(depths)
axes[1].legend(loc="upper left", ncols=2)
plt.show()
print(f"a cubic graph, 10 vertices, 15 edges, maximum cut {maximum}")
print("ratio by layers:", ", ".join(f"{p}: {ratio:.3f}" for p, ratio in zip(depths, ratios, strict=True)))

# %% [markdown]
# Ten qubits are 1,024 amplitudes, and each further one doubles them. But what one edge contributes to $\langle C\rangle$
# after few layers depends on its neighbourhood alone. Can the value be had without the state?
#
# ### 25.8 `qaoa_first_layer` · important · level 2 of 4 · 20 min
#
# $\langle C \rangle = \sum_{uv} \frac12 (1 - \langle Z_u Z_v \rangle)$, where $Z_u$ is $+1$ or $-1$ by the bit of $u$. Move
# the circuit from the state to this observable, one factor at a time ($X, Y, Z$ are the Pauli matrices, $ZX = iY$, $YZ =
# iX$).
#
# *Mixer.* $e^{i\beta X} Z e^{-i\beta X} = \cos 2\beta\, Z + \sin 2\beta\, Y$. So $Z_u Z_v$ becomes $\cos^2 2\beta\, Z_u Z_v
# + \sin 2\beta \cos 2\beta\, (Y_u Z_v + Z_u Y_v) + \sin^2 2\beta\, Y_u Y_v$.
#
# *Phase.* $Z$ commutes with it. $Y_u$ turns into $Y_u \prod_w (\cos\gamma + i \sin\gamma\, Z_u Z_w)$ over the neighbours
# $w$ of $u$. *Start.* In the state of equal amplitudes a product of Pauli matrices has the mean 1 if it holds only $X$,
# and 0 if a $Y$ or $Z$ is left. So of each product only those terms count in which all $Y$ and $Z$ pair up:
#
# - $Z_u Z_v$: none. It gives 0.
# - $Y_u Z_v$: the factor of $w = v$ must give $i \sin\gamma\, Z_u Z_v$, so that $Y_u Z_u = iX_u$ remains; all others give
#   $\cos\gamma$. With $d_u$ neighbours of $u$ besides $v$: $-\sin\gamma \cos^{d_u}\gamma$. Likewise $Z_u Y_v$.
# - $Y_u Y_v$: an odd number of *common* neighbours $w$ must give $(i\sin\gamma)^2 Z_u Z_v$ each. The edge $uv$ itself drops
#   out. With $t_{uv}$ common neighbours, that is, triangles: $\frac12 \cos^{d_u + d_v - 2t_{uv}}\gamma\,
#   (1 - \cos^{t_{uv}} 2\gamma)$.
#
# Together (Wang et al., 2018):
#
# $$\langle C_{uv} \rangle = \tfrac12 + \tfrac14 \sin 4\beta \sin\gamma\, \bigl(\cos^{d_u}\gamma + \cos^{d_v}\gamma\bigr)
# - \tfrac14 \sin^2 2\beta\, \cos^{d_u + d_v - 2 t_{uv}}\gamma\, \bigl(1 - \cos^{t_{uv}} 2\gamma\bigr) .$$
#
# No qubit is left in it: degrees and triangles. It costs about one product of sparse matrices, at any $n$. In a cubic
# graph ($d_u = d_v = 2$) without triangles, $\beta = \pi/8$ and $\sin\gamma = 1/\sqrt3$ are best and give $\frac12 + \frac12
# \cdot \frac1{\sqrt3} \cdot \frac23 = 0.6925$ of all edges.


# %% exercise="qaoa_first_layer" points=2 minutes=20 forbids=["qiskit", "qiskit_aer", "networkx"] trains=["closed forms", "counting what a computation costs"]
def qaoa_first_layer(edges: np.ndarray, n: int, gamma: float, beta: float) -> float:
    """The expected cut of QAOA with one layer, by its closed form: equal to `qaoa` with p = 1.

    edges: shape (m, 2), m >= 0, int64, from 0 to n - 1: the two ends of each edge, in any order. No edge
      joins a vertex with itself, none stands there twice (in either order). Not modified. n >= 1.
    gamma, beta: Python floats, the angles as in `qaoa`.

    Returns a Python float: the sum over all edges of <C_uv>, within 1e-10 * (1 + m). cos(gamma)^0 is
    1, also if cos(gamma) is 0. n up to 30,000, m up to 100,000, no vertex with more than 200
    neighbours: at most 10 s and 300 MB (so no array of shape (n, n) or (2^n,)).
    Forbidden: qiskit, qiskit_aer, networkx.
    """
    ### BEGIN SOLUTION
    u, v = edges[:, 0], edges[:, 1]
    ends = np.concatenate([u, v])
    joined = csr_matrix((np.ones(len(ends)), (ends, np.concatenate([v, u]))), shape=(n, n))
    others = np.bincount(ends, minlength=n) - 1
    triangles = np.asarray(joined[u].multiply(joined[v]).sum(axis=1)).ravel().astype(int)
    c = math.cos(gamma)
    one_sided = np.sum(c ** others[u] + c ** others[v])
    two_sided = np.sum(c ** (others[u] + others[v] - 2 * triangles) * (1 - math.cos(2 * gamma) ** triangles))
    return float(
        len(edges) / 2 + math.sin(4 * beta) * math.sin(gamma) * one_sided / 4 - math.sin(2 * beta) ** 2 * two_sided / 4
    )
    ### END SOLUTION


# %% [markdown] hints="qaoa_first_layer"
# <details><summary>Hint 1: degrees</summary>
#
# `np.bincount(edges.ravel(), minlength=n)` counts the neighbours. $d_u$ leaves out $v$: subtract 1. Keep exponents
# integers: a negative cosine to the power of a float is nan.
# </details>
# <details><summary>Hint 2: triangles</summary>
#
# Triangles at the edge $uv$ are the common neighbours of $u$ and $v$. With a sparse matrix `joined` that holds 1 for each
# edge in both directions: `joined[u].multiply(joined[v]).sum(axis=1)`, for all edges at once. Sets of neighbours and a
# loop over the edges are quick enough, too.
# </details>
# <details><summary>Hint 3: together</summary>
#
# Half the edges; plus $\frac14 \sin 4\beta \sin\gamma$ times the sum of $\cos^{d_u}\gamma + \cos^{d_v}\gamma$; minus $\frac14
# \sin^2 2\beta$ times the sum of $\cos^{d_u + d_v - 2t}\gamma\, (1 - \cos^t 2\gamma)$. Compare with your `qaoa` on a small
# graph with triangles.
# </details>

# %% check="qaoa_first_layer"
with check("qaoa_first_layer", forbids=["qiskit", "qiskit_aer", "networkx"]):
    edge_small = np.array([[0, 1]])
    expect_close(
        qaoa_first_layer(edge_small, 3, math.pi / 2, math.pi / 8),
        1.0,
        hint="one edge, d_u = d_v = 0: 1/2 + sin(4 beta) sin(gamma) (1 + 1) / 4",
        mistakes={"d_u is the number of neighbours without v.": 0.5},
    )
    triangle = np.array([[0, 1], [2, 1], [0, 2]])
    with expect_unchanged(triangle=triangle):
        got = qaoa_first_layer(triangle, 3, 0.6, 0.4)
    # d_u = d_v = 1, t = 1: per edge 1/2 + sin(1.6) sin(.6) cos(.6) / 2 - sin(.8)^2 (1 - cos(1.2)) / 4.
    expect_close(
        got,
        3 * (0.5 + math.sin(1.6) * math.sin(0.6) * math.cos(0.6) / 2 - math.sin(0.8) ** 2 * (1 - math.cos(1.2)) / 4),
        rtol=1e-9,
        hint="d_u = d_v = 1 and one triangle at each edge",
        mistakes={
            "The triangles are missing.": 3 * (0.5 + math.sin(1.6) * math.sin(0.6) * math.cos(0.6) / 2),
        },
    )
    draw = np.random.default_rng(4)
    some = np.array([pair for pair in itertools.combinations(range(7), 2) if draw.random() < 0.6])
    expect_close(
        qaoa_first_layer(some, 7, 2.2, -0.7),
        qaoa(some, 7, np.array([2.2]), np.array([-0.7]))[1],
        rtol=1e-9,
        hint="it must equal your `qaoa` with one layer: one of the two is wrong",
    )
    expect_close(qaoa_first_layer(np.zeros((0, 2), int), 5, 1.0, 1.0), 0.0, hint="no edges, no cut")

# %% tags=["demo"]
large_n = demo_size(full=30_000, small=3_000)
draw = np.random.default_rng(0)
pairs = np.unique(np.sort(draw.integers(0, large_n, (large_n * 10 // 3, 2)), axis=1), axis=0)
large_graph = pairs[pairs[:, 0] != pairs[:, 1]]  # a random graph: degrees differ, few triangles
cubic = datasets.regular_graph(large_n, 3, seed=0).edges
gammas = np.linspace(0, math.pi / 2, demo_size(full=13, small=7))
figure, ax = plt.subplots(figsize=(7, 4))
for number, (name, some_edges, count) in enumerate(
    [
        ("cubic, 10 vertices", graph.edges, 10),
        (f"cubic, {large_n:,} vertices", cubic, large_n),
        (f"random, {large_n:,} vertices, {len(large_graph):,} edges", large_graph, large_n),
    ]
):
    share = [qaoa_first_layer(some_edges, count, float(g), math.pi / 8) / len(some_edges) for g in gammas]
    style = ["-", "", ":"][number]  # the first two curves are one
    ax.plot(gammas, share, ls=style, marker=["", "s", "^"][number], color=plotting.COLOURS[number], label=name)
ax.axhline(0.5 + 1 / (3 * math.sqrt(3)), color=plotting.MUTED, ls="--", lw=1, label="1/2 + 1/(3√3) = 0.6925")
ax.set(
    ylim=(0.47, 0.86),
    xlabel="γ, with β = π/8",
    ylabel="expected cut / edges",
    title="Past any simulator: one layer, by degrees and triangles",
)
ax.legend(loc="upper right")
plt.show()
one_layer = [
    abs(qaoa_first_layer(graph.edges, 10, float(g), 0.3) - qaoa(graph.edges, 10, np.array([g]), np.array([0.3]))[1])
    for g in gammas
]
print(f"largest difference to the state vector at n = 10: {max(one_layer):.0e}")
print(f"a state vector at n = {large_n:,} would hold 2^{large_n} amplitudes")

# %% [markdown]
# So what one layer achieves is known for 30,000 vertices, without any quantum device. On cubic graphs Farhi et al. (2014)
# prove that one layer gives at least 0.692 of the *maximum* cut. Is that good? What does a classical method with a
# guarantee give?
#
# ### 25.9 `cut_by_rounding` · important · level 3 of 4 · 25 min
#
# Let each vertex have not a spin but a unit vector $v_i \in \mathbb R^k$, and look for
#
# $$\max_{\|v_i\| = 1} \; \sum_{uv} \frac{1 - v_u \cdot v_v}2 .$$
#
# With $k = 1$ this is the maximum cut. With larger $k$ more is allowed, so this **relaxation** has at least the value of
# the maximum cut: an upper bound, *not* a cut. And it is easier. For $k(k+1)/2 > n$ its stationary points of second order
# are global maxima for nearly all weights (Boumal et al., 2016).
#
# *Climbing.* Let $L$ be the graph's Laplacian: degrees on the diagonal, $-1$ for each edge. With the vectors as rows of
# $V$, $(n, k)$, the sum is $\frac14 \sum_{uv} \|v_u - v_v\|^2 = \frac14 \operatorname{tr}(V^\top L V)$, a convex function
# of $V$. A convex function lies above its tangents, so moving to the maximum of the tangent can only gain. On unit
# rows the tangent's maximum is each row of $LV$, divided by its length:
#
# $$V \leftarrow \text{rows of } L V \text{, each divided by its norm (a row of zeros: keep the old vector)} .$$
#
# One pass is one product with a sparse matrix; there is no step size.
#
# *Rounding* (Goemans and Williamson, 1995). Draw $g \in \mathbb R^k$ with independent standard normal entries, and put
# vertex $i$ on side $g \cdot v_i > 0$. The plane at right angles to $g$ separates two vectors at angle $\phi$ with
# probability $\phi/\pi$. The relaxation counts $(1 - \cos\phi)/2$ for them. The smallest ratio of the two, over all $\phi$,
# is 0.878. So the expected cut is at least 0.878 of the relaxed sum, which is at least the maximum cut (if the climb has
# reached the top): a guarantee for every graph.


# %% exercise="cut_by_rounding" points=3 minutes=25 forbids=["networkx"] trains=["relaxation and rounding"]
def cut_by_rounding(edges: np.ndarray, n: int, rank: int, seed: int) -> tuple[np.ndarray, int, float]:
    """A large cut: climb the relaxation with unit vectors of `rank` entries, then round by hyperplanes.

    edges: shape (m, 2), m >= 1, int64, from 0 to n - 1: the two ends of each edge, in any order. No edge
      joins a vertex with itself, none stands there twice (in either order). Not modified. n >= 2;
      vertices without an edge may occur. rank >= 2.
    seed: a Python integer, 0 <= seed < 2^63.

    Starts from independent random directions and makes 200 passes over all vertices, as derived above.
    (Any other ascent that ends as high is right.) Where rank * (rank + 1) / 2 > n and n <= 30, the sum
    of (1 - v_u . v_v) / 2 over the edges that is reached must be at least 0.99 of its maximum
    (these passes get there). Then draws 20 independent random hyperplanes and takes the best of the 20 cuts.

    Returns (side, cut, relaxed): side, new, int8, shape (n,), entries 0 and 1; cut, a Python int, the
    number of edges whose ends have different sides; relaxed, a Python float, the sum that was reached
    (it may lie slightly below cut where the climb is not yet at the top). The same arguments give the
    same result, other seeds other draws; NumPy's global random state is neither used nor changed.
    20,000 vertices, 30,000 edges, rank 8: at most 10 s and 400 MB. Forbidden: networkx.
    """
    ### BEGIN SOLUTION
    rng = np.random.default_rng(seed)
    u, v = edges[:, 0], edges[:, 1]
    ends, others = np.concatenate([u, v]), np.concatenate([v, u])
    joined = csr_matrix((np.ones(len(ends)), (ends, others)), shape=(n, n))
    L = laplacian(joined)
    V = rng.standard_normal((n, rank))  # the first pass makes unit vectors of them
    for _ in range(200):
        climb = L.dot(V)
        length = np.linalg.norm(climb, axis=1)
        moves = np.flatnonzero(length)
        V[moves] = climb[moves] / length[moves, None]
    relaxed = float(np.einsum("ik,ik->", V, L.dot(V))) / 4
    sides = np.signbit(V @ rng.standard_normal((rank, 20)))
    cuts = np.sum(sides[u] != sides[v], axis=0)
    best = int(np.argmax(cuts))
    return sides[:, best].astype(np.int8), int(cuts[best]), relaxed
    ### END SOLUTION


# %% [markdown] hints="cut_by_rounding"
# <details><summary>Hint 1: the climb</summary>
#
# `joined` is a CSR matrix with 1 for each edge in both directions. `L = laplacian(joined)` of the setup cell subtracts it
# from its row sums on the diagonal. $LV$ is `L @ V`. Divide each row by its norm, 200 times. The sum itself is `np.sum(V * (L @ V)) / 4`, with the last vectors.
# </details>
# <details><summary>Hint 2: rows of zeros</summary>
#
# A vertex without edges has a row of zeros in $LV$, for ever: keep its old vector, or nan spreads. With `moves = np.flatnonzero(length)`:
# `V[moves] = climb[moves] / length[moves, None]`.
# </details>
# <details><summary>Hint 3: the rounding</summary>
#
# `sides = V @ rng.standard_normal((rank, 20)) > 0` are 20 colourings at once. Count the cut edges of each: `np.sum(sides[u]
# != sides[v], axis=0)`, and take the best column. The relaxed sum belongs to the vectors, not to the cut.
# </details>

# %% check="cut_by_rounding"
with check("cut_by_rounding", forbids=["networkx"]):
    ring = np.array([[0, 1], [1, 2], [3, 2], [3, 4], [5, 4], [0, 5]])  # six vertices in a ring; 6 has no edge
    with expect_unchanged(ring=ring):
        side_small, cut_small, relaxed_small = cut_by_rounding(ring, 7, 4, 1)
    expect_shape(side_small, (7,))
    expect_dtype(side_small, np.int8)
    assert set(side_small.tolist()) <= {0, 1}, "sides are 0 and 1"
    assert type(cut_small) is int and type(relaxed_small) is float, "cut is a Python int, relaxed a Python float"
    expect_close(cut_small, 6, hint="neighbours in a ring of six get opposite vectors, so every edge is cut")
    expect_close(
        relaxed_small,
        6.0,
        rtol=1e-2,
        hint="the sum of (1 - v_u . v_v) / 2 over the edges",
        mistakes={"You counted each edge twice.": 12.0},
    )
    five = np.array([[i, (i + 1) % 5] for i in range(5)])
    side_small, cut_small, relaxed_small = cut_by_rounding(five, 5, 3, 0)
    # A ring of five: the maximum cut is 4; in the plane, neighbours at 4/5 of a half turn: 5 (1 + cos 36) / 2.
    expect_close(
        relaxed_small,
        5 * (1 + math.cos(math.pi / 5)) / 2,
        rtol=1e-2,
        hint="unit vectors: neighbours at an angle of 144 degrees give 4.52",
        mistakes={"This is the cut; the relaxed sum is that of the vectors.": 4.0},
    )
    expect_close(cut_small, 4, hint="the best of 20 hyperplanes cuts 4 of 5 edges")
    expect_close(cut_small, int(np.sum(side_small[five[:, 0]] != side_small[five[:, 1]])), hint="cut belongs to side")

# %% [markdown]
# Four methods on one cubic graph. If the climb has reached its top, the last line is an upper bound for
# *every* method, so nobody can gain more than the gap between it and a cut.

# %% tags=["demo"]
cubic_n = demo_size(full=4_000, small=400)
cubic_edges = datasets.regular_graph(cubic_n, 3, seed=3).edges
half_couplings = csr_matrix(
    (np.full(len(cubic_edges), 0.5), (cubic_edges[:, 0], cubic_edges[:, 1])), shape=(cubic_n, cubic_n)
)
best_gamma = math.asin(1 / math.sqrt(3))
begun = time.perf_counter()
side, cut, relaxed = cut_by_rounding(cubic_edges, cubic_n, 10, 0)
rounding_seconds = time.perf_counter() - begun
begun = time.perf_counter()
annealed = simulated_annealing(np.zeros(cubic_n), half_couplings, np.geomspace(2, 0.1, 100), 0)[1]
annealing_seconds = time.perf_counter() - begun
m_cubic = len(cubic_edges)
shares = {
    "a random colouring (expected)": 0.5,
    "QAOA, one layer (expected, closed form)": qaoa_first_layer(cubic_edges, cubic_n, best_gamma, math.pi / 8)
    / m_cubic,
    f"rounding ({seconds_text(rounding_seconds)})": cut / m_cubic,
    f"annealing, 100 sweeps ({seconds_text(annealing_seconds)})": (m_cubic / 2 - annealed) / m_cubic,
    "relaxed sum: a bound, if the climb is at its top": relaxed / m_cubic,
}
Table(("method", "share of the edges"), [(name, f"{share:.4f}") for name, share in shares.items()], numeric=(1,))

# %% [markdown]
# One layer of QAOA is far below both classical methods. Rounding has the guarantee; annealing, which has none, cuts the
# most. More layers help QAOA, as 25.7 showed. How many would be needed, and at what price, is what the last section
# measures. (After 200 passes the relaxed sum may still be slightly below its maximum, and then is not quite a bound.)
#
# ## Scale it
#
# ### What a simulation costs
#
# A state vector has $2^n$ amplitudes of 16 bytes, whatever the circuit: 16 MiB at $n = 20$, 16 GiB at $n = 30$, 16 PiB
# at $n = 50$. Each gate reads and writes all of it. One thread, the same 20 random gates.

# %% tags=["demo"]
qubit_counts = demo_size(full=[12, 14, 16, 18, 20], small=[8, 10, 12])
per_gate = {"apply_gate": [], "Aer": []}
for n in qubit_counts:
    circuit = list(random_circuit(n, 20, n))
    begun = time.perf_counter()
    mine = run_circuit(n, circuit)
    per_gate["apply_gate"].append((time.perf_counter() - begun) / 20)
    if qiskit and aer:
        theirs, spent = min((run_on_aer(n, circuit) for _ in range(2)), key=lambda pair: pair[1])
        per_gate["Aer"].append(spent / 20)
        aer_gap = max(aer_gap, float(np.abs(mine - theirs).max()))
figure, axes = plt.subplots(1, 2, figsize=(10, 4))
for number, (name, values) in enumerate(per_gate.items()):
    if values:
        slope = np.polyfit(qubit_counts[-3:], np.log2(values[-3:]), 1)[0]
        axes[0].plot(
            qubit_counts,
            values,
            marker="os"[number],
            color=plotting.COLOURS[number],
            label=f"{name}: 2^({slope:.2f} n) at the end",
        )
axes[0].set(yscale="log", xlabel="qubits n", ylabel="seconds per gate", title="One more qubit, twice the work")
axes[0].set_ylim(None, 8 * max(max(values) for values in per_gate.values() if values))
axes[0].legend(loc="upper left")
state, expected = qaoa(graph.edges, 10, angles[: len(angles) // 2], angles[len(angles) // 2 :])
law = np.abs(state) ** 2
law /= law.sum()
shots = np.array([10, 30, 100, 300, 1000, 3000, 10_000])
draw = np.random.default_rng(1)
errors = [
    np.sqrt(np.mean([(cuts_10[draw.choice(1024, size=int(count), p=law)].mean() - expected) ** 2 for _ in range(40)]))
    for count in shots
]
slope = np.polyfit(np.log(shots), np.log(errors), 1)[0]
axes[1].plot(shots, errors, marker="o", color=plotting.COLOURS[2], label=f"slope {slope:.2f}")
axes[1].set(
    xscale="log", yscale="log", xlabel="shots (measurements)", ylabel="error of the mean cut", title="Error by shots"
)
axes[1].legend(loc="upper right")
plt.show()
if aer_gap is not None:
    print(f"largest difference to Aer in any amplitude: {aer_gap:.0e}")
    ratio = per_gate["apply_gate"][-1] / per_gate["Aer"][-1]
    print(f"seconds per gate at n = {qubit_counts[-1]}, yours over Aer's: {ratio:.1f}")

# %% [markdown]
# A device does not hand out its state. Each run gives one $z$, so the mean cut has an error of its standard deviation
# divided by $\sqrt{\text{shots}}$: ten times more accurate is a hundred times more shots, for every gradient of every
# angle. Aer's first points hold the fixed cost of a job, which 20 gates share. Its loops are compiled, yours are NumPy's,
# which are compiled, too: both slopes are near 1 at the end, and no simulator of this kind can have a smaller one.
#
# ### Time to solution
#
# How long until the *best* solution has been seen with probability 99%? If one run takes $\tau$ seconds and succeeds
# with probability $P$, then after $a$ independent runs all have failed with probability $(1 - P)^a$. So
#
# $$\text{TTS} = \tau \cdot \max\Bigl(1, \frac{\ln 0.01}{\ln(1 - P)}\Bigr) .$$
#
# Three traps. *Length of a run*: a run that is too long for small $n$ makes the curve flat, since it pays for nothing;
# at every $n$ the best length must be chosen (Rønnow et al., 2014). *Instances*: the same graphs for all. *Rivals*: the
# best ones known, not the worst. Here: random cubic graphs, exact maximum by brute force up to $n = 22$, beyond that the
# best cut that any method found in this run. One thread.
#
# - brute force: all $2^{n-1}$ colourings, with array arithmetic;
# - your annealing and your tempering, each with the best of three lengths; D-Wave's own annealer on the CPU
#   (`dwave-samplers`, C++), likewise;
# - QAOA with three layers, **simulated** with your `qaoa`, at angles trained on ten vertices. One simulation gives all
#   probabilities, so its time is that of one simulation. Beside it: how many shots a perfect device would need;
# - your rounding, 20 hyperplanes a run.

# %% tags=["demo"]
dimod, samplers = engines.library("dimod"), engines.library("dwave.samplers")


def brute_force(edges, n):
    """The maximum cut over all colourings in which vertex n - 1 has colour 0."""
    z = np.arange(2 ** (n - 1), dtype=np.int32)
    cuts = np.zeros(len(z), np.int8)
    for u, v in edges.tolist():
        cuts += (z >> u ^ z >> v).astype(np.int8) & 1
    return int(cuts.max())


def timed(call, *args):
    begun = time.perf_counter()
    return call(*args), time.perf_counter() - begun


def anneal(edges, n, J, sweeps, count):
    cooling = np.geomspace(2, 0.15, sweeps)
    return [len(edges) / 2 - simulated_annealing(np.zeros(n), J, cooling, seed)[1] for seed in range(count)]


def temper(edges, n, J, sweeps, count):
    ladder = np.geomspace(0.5, 4, 5)
    return [len(edges) / 2 - parallel_tempering(np.zeros(n), J, ladder, sweeps, seed)[1] for seed in range(count)]


def their_annealing(edges, n, J, sweeps, count):
    model = dimod.BinaryQuadraticModel.from_ising({}, dict.fromkeys(map(tuple, edges.tolist()), 0.5))
    sampler = samplers.SimulatedAnnealingSampler()
    found = sampler.sample(model, num_reads=count, num_sweeps=sweeps, beta_range=(0.5, 7), seed=1)
    return (len(edges) / 2 - found.record.energy).tolist()


def round_off(edges, n, J, sweeps, count):
    return [cut_by_rounding(edges, n, 8, seed)[1] for seed in range(count)]


def seconds_to_solution(seconds, chance):
    """Expected seconds until the best has been seen with probability 99%; inf if it was never seen."""
    if chance <= 0:
        return math.inf
    return seconds * (1.0 if chance >= 0.99 else max(1.0, math.log(0.01) / math.log(1 - chance)))


rivals = {
    "annealing": (anneal, [4, 16, 64], 30),
    "tempering": (temper, [4, 16, 48], 12),
    "dwave-samplers": (their_annealing, [4, 16, 64], 200),
    "rounding": (round_off, [0], 6),
}
if dimod is None or samplers is None:
    del rivals["dwave-samplers"]
sizes = demo_size(full=[10, 14, 18, 22, 30, 44, 60], small=[8, 10, 12])
most_exact, most_qaoa = demo_size(full=22, small=12), demo_size(full=18, small=12)
instances = demo_size(full=3, small=2)
trained = np.array([[0.42, 0.78, 0.94], [0.61, 0.46, 0.23]])  # a start that is good on cubic graphs
tuned = scipy.optimize.minimize(
    lambda a: -qaoa(graph.edges, 10, a[:3], a[3:])[1],
    trained.ravel(),
    method="L-BFGS-B",
    options={"maxfun": demo_size(full=150, small=40)},
).x
brute_force(graph.edges, 10)  # once to warm up; `qaoa` is warm from the lines before
tts = {name: {} for name in ["brute force", *rivals, "QAOA, simulated"]}
shots_needed = {}
for n in sizes:
    gathered = {name: [] for name in tts}
    needed = []
    for instance in range(instances):
        edges = datasets.regular_graph(n, 3, seed=100 + instance).edges
        J = csr_matrix((np.full(len(edges), 0.5), (edges[:, 0], edges[:, 1])), shape=(n, n))
        results = {}
        for name, (method, choices, count) in rivals.items():
            method(edges, n, J, choices[0], 1)  # once to warm up
            for sweeps in choices:
                results[name, sweeps] = timed(method, edges, n, J, sweeps, count)
        best = max(max(cuts) for cuts, _ in results.values())
        if n <= most_exact:
            best, spent = min((timed(brute_force, edges, n) for _ in range(2)), key=lambda pair: pair[1])
            gathered["brute force"].append(spent)
        for name, (_, choices, count) in rivals.items():
            gathered[name].append(
                [
                    seconds_to_solution(spent / count, np.mean(np.array(cuts) > best - 0.5))
                    for cuts, spent in (results[name, sweeps] for sweeps in choices)
                ]
            )
        if n <= most_qaoa:
            runs_of_it = [timed(qaoa, edges, n, tuned[:3], tuned[3:]) for _ in range(2)]
            (state, _), spent = min(runs_of_it, key=lambda pair: pair[1])
            z = np.arange(2**n)
            cuts = sum((z >> u ^ z >> v) & 1 for u, v in edges.tolist())
            chance = float(np.sum(np.abs(state[cuts == best]) ** 2))
            gathered["QAOA, simulated"].append(spent)
            needed.append(seconds_to_solution(1.0, chance))
    for name, values in gathered.items():
        if values:
            typical = np.atleast_1d(np.median(np.array(values), axis=0))
            if np.isfinite(typical).any():
                tts[name][n] = float(np.min(typical))
            else:
                print(f"{name}: the best cut was not found in most instances at n = {n}")
    if needed:
        shots_needed[n] = float(np.median(needed))


def growth(points):
    """The exponent a of 2^(a n), fitted over the larger half of the sizes."""
    some = sorted(points)[-max(3, len(points) // 2 + 1) :]
    return float(np.polyfit(some, np.log2([points[n] for n in some]), 1)[0])


figure, ax = plt.subplots(figsize=(8, 5))
for number, (name, points) in enumerate(tts.items()):
    ax.plot(
        list(points),
        list(points.values()),
        marker="os^Dv*"[number],
        color=plotting.COLOURS[number],
        label=f"{name}: 2^({growth(points):.2f} n)",
    )
top_seconds = max(max(points.values()) for points in tts.values())
ax.set(
    yscale="log",
    ylim=(None, 300 * top_seconds),
    xlabel="vertices n",
    ylabel="seconds to solution at 99%",
    title="Brute force is not the rival",
)
ax.legend(loc="upper left", ncols=2)
plt.show()
slopes = {name: growth(points) for name, points in tts.items()}
at = max(n for n in sizes if n <= most_qaoa)
shown = sorted({sizes[0], at, max(n for n in sizes if n <= most_exact)})
Table(
    ("method", *(f"n = {n}" for n in shown), "growth", "doubles every"),
    [
        (
            name,
            *(seconds_text(points[n]) if n in points else "-" for n in shown),
            f"2^({slopes[name]:.2f} n)",
            f"{1 / slopes[name]:.1f} vertices" if slopes[name] > 0.02 else "-",
        )
        for name, points in tts.items()
    ],
    numeric=tuple(range(1, len(shown) + 3)),
)

# %% tags=["demo"]
print("shots that a perfect device would need with these three layers, by n:")
print(
    "  " + ", ".join(f"{n}: {count:.0f}" for n, count in shots_needed.items()),
    f"(growth 2^({growth(shots_needed):.2f} n))",
)
quantum = shots_needed[at]
fastest = min((points[at], name) for name, points in tts.items())
print(f"fastest at n = {at}: {fastest[1]}, {seconds_text(fastest[0])}")
print(
    f"to be level with it, the device must take at most {seconds_text(fastest[0] / quantum)} for a shot, all included"
)

# %% [markdown]
# **The sentence that this figure supports**: *on random cubic graphs of these sizes, in this run, brute force wins over
# Python loops only at the smallest sizes; at $n = 22$ every classical heuristic finds the best cut sooner, and its time
# grows with a much smaller exponent; simulated QAOA costs $2^n$ by construction.* Check each part against your own table
# (at full size: `LSML_DEMO=small` ends at $n = 12$, where nothing of this can be seen).
# The figure does **not** support: that quantum devices cannot win (a simulation says nothing about a device's speed); that
# a curve goes on as fitted (the sizes are small, $P$ comes from 6 to 200 runs, the best length was chosen on the same runs,
# and each exponent is fitted over the larger half of the method's own sizes: they are rough); that the winner
# here wins on other problems. D-Wave's annealer is the fastest because it is compiled: compare its exponent with that of
# your annealing.
#
# What is known beyond the figure. A state vector costs $2^n$ whatever the circuit; other simulations are cheaper for
# special circuits. Grover's square root needs a device within a factor $\sqrt N$ of a laptop's rate. One layer of QAOA
# guarantees 0.692 on cubic graphs, rounding guarantees 0.878 on all. For optimisation problems of this kind, no
# exponential speed-up of a quantum algorithm over the best classical ones has been proven. Some have been proven for
# problems with another structure, such as factoring against the best *known* classical algorithm. That a quantum
# device beats brute force shows nothing, because at these sizes every heuristic does.

# %% [markdown] written="the_vendors_plot" points=2
# **Written question (2 points).** A vendor shows a plot: seconds against $n$, one curve for brute force on a CPU, one for
# the vendor's quantum annealer. At $n = 40$ the annealer is a million times faster, and "the gap grows with $n$". The
# annealer's points are "20 microseconds, the time of one anneal". Name four things that are missing from this plot or wrong
# with it, and say for each of them what should have been shown.
#
# ### BEGIN SOLUTION
# The rival is the worst one there is. Shown should be the best classical methods for this problem, such as annealing,
# tempering or rounding, on the same instances. The time is that of one run. Shown should be the time to solution: how
# often a run finds the best solution, and so how many runs are needed for 99%. The seconds leave out programming the device,
# embedding the problem in its graph, cooling, read-out and post-processing; the time from the question to the answer
# should be shown, for both sides. A growing gap to brute force is a statement about brute force. Slopes should be fitted,
# with the length of a run chosen best at each n, for each rival, over enough sizes and instances, and with their spread.
# One does not see which instances these are, and whether the annealer's answer is the best solution at all: the instances,
# how they were chosen, and the known optimum or the quality reached should be given.
#
# ### RUBRIC
# - 0.5: Brute force is the wrong rival; good classical methods, such as annealing, tempering or rounding, belong there.
# - 0.5: One anneal is not a solution; the success probability, and so the number of runs (time to solution), is missing.
# - 0.5: The time must hold all that an answer takes, such as programming, embedding or read-out.
# - 0.5: A further point with what should be shown, such as slopes with best run lengths, several instances with their
#   spread and how they were chosen, or whether the optimum was found.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# - Real annealers couple each qubit to few others. A dense problem must be *embedded*: several qubits stand for one spin.
#   What does this cost in qubits, and what does it do to your penalty of 25.2?
# - `dwave-samplers` also has a tabu search and exact methods for graphs that are nearly trees. Which of them would move
#   which curve of the last figure?
# - Replace the 2^n of `apply_gate` by a matrix product state. Which circuits stay cheap?
# - The wine problem had 13 columns. With $d$ columns, which simpler method (a greedy one, lasso from module 04) is your
#   rival, and what does it cost?
# - How would you prove that *no* cut is better than the one you found? Rounding gives a bound; branch and bound closes the
#   gap.
#
# **Read on**
#
# - N. Metropolis, A. Rosenbluth, M. Rosenbluth, A. Teller and E. Teller, "Equation of state calculations by fast computing
#   machines", *Journal of Chemical Physics*, 1953. Six pages that began the method.
# - S. Kirkpatrick, C. Gelatt and M. Vecchi, "Optimization by simulated annealing", *Science*, 1983. Heat for computers'
#   wiring.
# - R. Swendsen and J.-S. Wang, "Replica Monte Carlo simulation of spin-glasses", *Physical Review Letters*, 1986, and K.
#   Hukushima and K. Nemoto, "Exchange Monte Carlo method and application to spin glass simulations", *Journal of the
#   Physical Society of Japan*, 1996. Replicas and their exchanges.
# - L. Grover, "A fast quantum mechanical algorithm for database search", *STOC*, 1996; C. Bennett, E. Bernstein, G. Brassard
#   and U. Vazirani, "Strengths and weaknesses of quantum computing", *SIAM Journal on Computing*, 1997. The square root, and
#   why not more.
# - E. Farhi, J. Goldstone and S. Gutmann, "A quantum approximate optimization algorithm", arXiv:1411.4028, 2014. Where
#   0.692 is proven.
# - Z. Wang, S. Hadfield, Z. Jiang and E. Rieffel, "Quantum approximate optimization algorithm for MaxCut: a fermionic view",
#   *Physical Review A*, 2018. The closed form of the first layer.
# - M. Goemans and D. Williamson, "Improved approximation algorithms for maximum cut and satisfiability problems using
#   semidefinite programming", *Journal of the ACM*, 1995. Where 0.878 is proven; and N. Boumal, V. Voroninski and A.
#   Bandeira, "The non-convex Burer-Monteiro approach works on smooth semidefinite programs", *NeurIPS*, 2016, for low rank.
# - T. Rønnow, Z. Wang, J. Job, S. Boixo, S. Isakov, D. Wecker, J. Martinis, D. Lidar and M. Troyer, "Defining and detecting
#   quantum speedup", *Science*, 2014; I. Hen, J. Job, T. Albash, T. Rønnow, M. Troyer and D. Lidar, "Probing for quantum
#   speedup in spin-glass problems with planted solutions", *Physical Review A*, 2015. How to measure without fooling
#   yourself.
#
# At work: `dimod` to write QUBOs, `dwave-samplers` or a mixed integer solver to solve them. Qiskit's tutorials take QAOA up
# to real hardware, which this module does not; they do not show the rival that wins. Measure against it first.
