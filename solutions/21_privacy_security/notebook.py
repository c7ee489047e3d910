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
# # 21 · Privacy and security
#
# **What you will be able to do.** Say what a table, a sum or a model gives away about one person. Bound it by a number.
# Check that number by an attack. Say what encryption does, and what it does not do. In 21.6 your own audit convicts a
# training engine that claims a privacy which it does not give.
#
# **You need** stochastic gradients from module 02, softmax regression from module 03, back-propagated signals of a
# layer from module 08; probability densities, expectation, logarithms; remainders modulo an integer.
#
# **Skills it trains**: anonymisation, differential privacy, privacy accounting, gradient clipping, membership
# inference, homomorphic encryption, authenticated encryption, confidence intervals, counting what a computation costs.
#
# **Time**: about four hours, of which nearly three are seven exercises and a bug to find. Take a break
# after 21.4. Each exercise says how important it is (essential, important, optional), its level, which is also its
# points, and its minutes.
#
# **Symbols**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $m$, $c$ | `rows` is $(m, c)$ | | rows of a table, one for each person; its columns |
# | $k$ | `k` | | smallest class that a release may hold |
# | $h_j$ | `heights[j][h]` | | height of column $j$: how coarse its classes are |
# | $x$, $x'$, $f(x)$ | | | two data sets that differ in one row; an answer |
# | $M$ | | | mechanism: a function of the data that uses randomness |
# | $S$ | | | set of outputs |
# | $\varepsilon$, $\delta$ | `epsilon`, `delta` | | privacy loss that a mechanism admits, and the probability that is left out |
# | $P$, $Q$ | | | laws of the output on two neighbouring data sets |
# | $L$ | | | privacy loss of an output, $\log P/Q$ |
# | $\Delta$ | `sensitivity` | | sensitivity: how far one person can move an answer |
# | $s$ | `scale` | | scale of Laplace noise |
# | $\sigma$ | `sigma` | | standard deviation of the noise, as a multiple of $\Delta$ from 21.3 on |
# | $\Phi$ | `log_ndtr` is $\log \Phi$ | | distribution function of the standard normal law |
# | $q$ | `q` | | sampling rate: the probability that a row is in a batch |
# | $\alpha$, $\rho(\alpha)$ | `orders` | | order of a Rényi divergence; the divergence of one step |
# | $T$ | `steps` | | steps of training |
# | $B$, $i$, $o$ | `A` is $(B, i)$, `D` is $(B, o)$ | | rows of a batch; inputs and outputs of a layer |
# | $A$, $D$ | `A`, `D` | $(B, i)$, $(B, o)$ | inputs of a layer; gradients of each row's loss by the outputs (in module 08 $H$ and, averaged, $\delta$) |
# | $C$ | `clip` | | largest norm of one row's gradient |
# | $g_b$, $w_b$, $G$ | | | gradient of row $b$; factor that clips it; sum of the clipped gradients |
# | $\theta$, $d$, $\eta$ | `theta`, `lr` | $(d,)$ | parameters, their number, learning rate |
# | $t$, $u$, $v$ | | | threshold of a score; rates of hits with the canary and without it |
# | $\beta$ | `level / 2` | | probability that one end of an interval is on the wrong side |
# | $n$, $p$, $q$ | `self.n`, `self.p`, `self.q` | | in 21.7 alone: the public modulus, and its two secret primes |
# | $x$, $c$, $r$, $\lambda$ | `m`, `c` | | in 21.7 alone: a number, its ciphertext, the random factor in it; a secret exponent |

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    from lsml_utils import checking, datasets, demo_size, engines, plotting
    from lsml_utils.checking import check, expect_close, expect_raises, expect_shape, expect_unchanged
    from lsml_utils.hashing import mix64
    from lsml_utils.tables import Table, bytes_text, seconds_text
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import itertools
import math
import random
import secrets
import time
import warnings
from collections.abc import Callable, Iterable, Iterator

import matplotlib.pyplot as plt
import numpy as np
import scipy.stats
import torch
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from scipy.special import gammaln, log_ndtr, logsumexp, xlog1py, xlogy
from threadpoolctl import threadpool_limits

plotting.use()
threadpool_limits(1)
torch.set_num_threads(1)
checking.start("21_privacy_security", total=8)


def random_prime(bits: int, rng: random.Random) -> int:
    """A random prime of exactly `bits` bits (>= 8), the upper two of them 1; by Miller and Rabin's test, 40 rounds."""
    while True:
        candidate = rng.getrandbits(bits) | 3 << (bits - 2) | 1
        if all(candidate % small for small in (3, 5, 7, 11, 13) if small < candidate) and _is_prime(candidate):
            return candidate


def _is_prime(n: int) -> bool:
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in random.Random(n).sample(range(2, min(n - 1, 2**30)), 40):
        value = pow(base, odd, n)
        if value in (1, n - 1):
            continue
        for _ in range(twos - 1):
            value = value * value % n
            if value == n - 1:
                break
        else:
            return False
    return True


# %% [markdown]
# ## Derive
#
# ### What a table gives away
#
# A hospital wants to give its table to researchers: postcode, age, sex, job, diagnosis, days in hospital. The table
# below is generated: nobody in it lives or lived, and the law that made it is known. Hospitals have three classical
# ways to mask a table:
#
# - **Replacement**: names become other names (pseudonyms, hashes).
# - **Suppression**: columns or rows are left out.
# - **Aggregation**: values become classes (an age becomes "30 to 44"), or rows become sums.
#
# An attacker has more than the table. They have a **register**: who lives at which postcode, at which age, with which
# job. Columns that the table and the register share are **quasi-identifiers**. The cell replaces each name by a hash
# and leaves the name column out, which is replacement and suppression in one. Then it links. A patient whose four
# values occur once in the register has one name.

# %% tags=["demo"]
m = demo_size(full=3000, small=500)
town = datasets.patients(m)
alias = mix64(town.person, seed=2026)  # replacement: a hash in place of the name


def linked(rows, register):
    """For each row: how many people of the register have the same values, and the place of one of them."""
    kinds, place, sizes = np.unique(register, axis=0, return_index=True, return_counts=True)
    of_kind = {tuple(kind): (size, first) for kind, size, first in zip(kinds.tolist(), sizes, place, strict=True)}
    return np.array([of_kind.get(tuple(row), (0, 0)) for row in rows.tolist()])


found = linked(town.rows, town.register)
named = found[:, 0] == 1
correct = town.register_person[found[named, 1]] == town.person[named]
print(f"{m:,} patients, {len(town.register):,} people in the register")
print(f"patients whose four values occur once in the register: {named.mean():.1%}; {correct.mean():.0%} rightly named")
for left_out, column in enumerate(town.columns):
    others = [j for j in range(4) if j != left_out]
    alone = linked(town.rows[:, others], town.register[:, others])[:, 0] == 1
    print(f"  the same without {column:<9} {alone.mean():.1%}")
book = {
    int(hashed): person for person, hashed in zip(town.register_person, mix64(town.register_person, 2026), strict=True)
}
print(f"and whoever knows the hash function opens {np.mean([int(a) in book for a in alias]):.0%} of the aliases")

# %% [markdown]
# The hash changed nothing, for two reasons. The link does not need the name. And whoever can compute the hash computes
# it for all people of the register and looks the aliases up. (A hash with a secret key stops the second way, never the
# first.)
#
# The third way is aggregation. Two tables of sums are published, and each sum covers at least ten people. The second
# one was made a day later, and one patient had left meanwhile. One subtraction gives the days of a single person.

# %% tags=["demo"]
leaver = int(np.argmax(town.days))
district = town.rows[:, 0] // 10
stayed = np.arange(m) != leaver
monday = np.bincount(district, town.days, 10)
tuesday = np.bincount(district[stayed], town.days[stayed], 10)
(place,) = np.flatnonzero(monday != tuesday)
print(f"smallest group of the two tables: {min(np.bincount(district[stayed], minlength=10))} people")
print(f"difference in district {place}: {monday[place] - tuesday[place]:.0f} days; the truth: {town.days[leaver]} days")

# %% [markdown]
# ## Implement
#
# ### 21.1 `k_anonymise` · essential · level 2 of 4 · 20 min
#
# The systematic form of masking is **k-anonymity** (Sweeney, 2002): make the quasi-identifiers so coarse that each row
# that is released shares its values with at least $k - 1$ others. Then a link ends at $k$ rows and not at one.
#
# Each column $j$ has a ladder of classes, from fine to coarse. At **height** $h_j = 0$ stands the value itself, and at
# the last height one class for all. A vector $(h_1, \dots, h_c)$ is a release. Rows with the same classes in all
# columns are an **equivalence class**. A class of fewer than $k$ rows must go: its rows are suppressed, and we allow at
# most a share `suppress` of such rows. Coarser is less useful, so we look for the least sum $h_1 + \dots + h_c$.
#
# The search meets all vectors in the order of their sums and stops at the first that will do. (Finding the best release
# is NP-hard if classes may be chosen freely (Meyerson and Williams, 2004); with ladders there are as many vectors as
# the product of their lengths.)
# What one vector costs decides. A table of $10^6$ rows has few different *kinds* of rows: postcode, age, sex and job
# allow 216,000, and a real table has fewer. Count the rows of each kind **once**. From then on only kinds and their
# counts matter.
#
# **What k-anonymity does not do.** It counts rows, and never looks at the secret column. Two ways around it:
#
# 1. *One secret.* If all $k$ rows of a class have the same diagnosis, whoever is in the class has it.
# 2. *Two releases.* A patient is in a class of ten rows here and in another class of ten rows there. The diagnosis
#    stands in both. If the two classes have one diagnosis in common, it is the patient's.
#
# Both are one computation: the set of secrets in the person's class, intersected over all releases in which the person
# is. This is `possible`.


# %% exercise="k_anonymise" points=2 minutes=20 trains=["anonymisation"]
def k_anonymise(
    rows: np.ndarray, heights: list[list[np.ndarray]], k: int, suppress: float
) -> tuple[np.ndarray, np.ndarray]:
    """The least coarse release in which every class has at least k rows.

    rows: shape (m, c), m >= 1, c >= 1, int64, rows hold values from 0 to 10^4; not modified.
    heights: for each column j a list of int64 arrays, at least one: heights[j][h][v] is the class of
      value v at height h (h = 0 mostly gives v itself, but need not). All arrays of a column
      have the same length, with an entry for every value; classes in heights are from 0 to 10^4.
      Not modified.
    k: >= 1. suppress: share of the m rows that may be left out, from 0 to 1.

    A release has one height for each column; rows with the same classes in all columns are
    together. It is allowed if the rows in classes of fewer than k rows are at most suppress * m,
    the product as Python computes it; these rows are left out, and no others. Of the allowed
    releases take that with the least sum of heights; of several, the lexicographically first
    vector (h_1, ..., h_c).

    Returns (released, kept), new int64 arrays: kept, the indices of the rows that stay, ascending;
    released, shape (len(kept), c), the classes of these rows, in the same order; both without an
    entry where all rows are left out. Raises ValueError where no release is allowed.

    Size: m = 10^6 rows of 5,000 different kinds with 100 vectors of heights must end in seconds: it
    is enough to go through all rows once, and through the kinds for each vector. The product of
    the lengths of the columns' arrays is below 2^62, and so is that of their largest class + 1.
    """
    ### BEGIN SOLUTION

    def numbered(table):
        """One number for each row of a table, the same for equal rows."""
        return np.ravel_multi_index(tuple(table.T), tuple(table.max(axis=0) + 1))

    _, first, kind, counts = np.unique(numbered(rows), return_index=True, return_inverse=True, return_counts=True)
    kinds = rows[first]  # (kinds, c)
    for chosen in sorted(itertools.product(*(range(len(column)) for column in heights)), key=lambda h: (sum(h), h)):
        classes = np.stack([heights[j][h][kinds[:, j]] for j, h in enumerate(chosen)], axis=1)
        _, member = np.unique(numbered(classes), return_inverse=True)
        total = np.bincount(member, counts)
        stays = total[member] >= k
        if counts[~stays].sum() <= suppress * len(rows):
            kept = np.flatnonzero(stays[kind])
            return classes[kind[kept]], kept
    raise ValueError(f"no release has classes of {k} rows")
    ### END SOLUTION


def possible(releases: list[tuple[np.ndarray, np.ndarray, list[np.ndarray]]], person: np.ndarray) -> set[int]:
    """The secrets that all releases together leave to one person.

    releases: at least one release, with classes from 0 to 10^4; each is (released, hidden, maps):
      released (n, c), int64, the classes of its rows; hidden (n,), int64, any, their secrets;
      maps: for each column j the int64 array by which it was made coarse: a value v is in class
      maps[j][v].
    person: shape (c,), int64, the person's values, from 0 to 10^4. The person is in the data of
      every release, and has the same secret in all.

    A release in which no row is in the person's class has left the person out. It tells nothing
    about their secret, and excludes none.
    Returns the set of the secrets (each a Python int) that no release excludes. If all releases tell
    nothing, these are the secrets that occur in any of them.
    """
    ### BEGIN SOLUTION
    left = None
    for released, hidden, maps in releases:
        mine = [maps[j][value] for j, value in enumerate(person)]
        found = set(hidden[(released == mine).all(axis=1)].tolist())
        if found:
            left = found if left is None else left & found
    if left is None:
        left = {secret for _, hidden, _ in releases for secret in hidden.tolist()}
    return left
    ### END SOLUTION


# %% [markdown] hints="k_anonymise"
# <details><summary>Hint 1: kinds, then vectors</summary>
#
# One `np.unique` over the rows gives the different kinds, the kind of each row and the number of rows of each kind. All
# vectors: `itertools.product(*(range(len(column)) for column in heights))`, sorted by `(sum(h), h)`.
# </details>
# <details><summary>Hint 2: one vector</summary>
#
# The classes of the kinds: `heights[j][h][kinds[:, j]]` for each column. A second `np.unique(..., axis=0,
# return_inverse=True)` says which kinds fall together; `np.bincount(member, counts)` adds up their rows. Kinds in
# classes with at least `k` rows stay. Only the last step goes back to the rows.
# </details>
# <details><summary>Hint 3: possible</summary>
#
# The person's classes: `[maps[j][person[j]] for j in ...]`. The rows of the release that equal them in all columns give
# a set of secrets. Intersect the sets that are not empty. If every one of them is empty, because no release holds the
# person's class, return all secrets of all releases.
# </details>

# %% check="k_anonymise"
with check("k_anonymise"):
    toy_rows = np.array([[0, 5], [1, 5], [0, 4], [1, 4], [2, 0], [1, 4]])
    toy_heights = [
        [np.arange(3), np.array([0, 0, 1]), np.zeros(3, int)],
        [np.arange(6), np.array([0, 0, 0, 1, 1, 1]), np.zeros(6, int)],
    ]
    with expect_unchanged(toy_rows=toy_rows):
        found = k_anonymise(toy_rows, toy_heights, 2, 0.25)
    # At height (0, 0) only [1, 4] stands twice: four rows of six would go. (0, 1): [0, 1] twice, [1, 1] three times,
    # and only row 4 goes, which is 1 <= 0.25 * 6. (1, 0) has the same sum and comes later.
    expect_close(found[1], [0, 1, 2, 3, 5], hint="the indices of the rows that stay, ascending")
    expect_close(found[0], [[0, 1], [1, 1], [0, 1], [1, 1], [1, 1]], hint="height (0, 1): sums first, then the order")
    # Without suppression row 4 must meet five others: both columns at the last height, sum 4. The same if 0.6 rows may
    # go.
    for share in (0.0, 0.1):
        expect_close(
            k_anonymise(toy_rows, toy_heights, 2, share)[0], np.zeros((6, 2)), hint="nothing is suppressed here"
        )
    # A ladder whose height 0 is not the value itself: 0 and 1 are in class 4 from the start.
    merged = k_anonymise(np.array([[0], [1], [2]]), [[np.array([4, 4, 0])]], 2, 0.5)
    expect_close(merged[0], [[4], [4]], hint="at height 0 stands heights[j][0][v], mostly v itself")
    # Heights (0, 2) and (1, 0) are allowed here, (0, 1) is not. The sum decides first: 1 is less than 2.
    square = np.array([[0, 5], [1, 5], [0, 0], [1, 0]])
    expect_close(k_anonymise(square, toy_heights, 2, 0.0)[0], [[0, 5], [0, 5], [0, 0], [0, 0]], hint="the least sum")
    # k = 3 with half of the rows: at (0, 0) nobody; at (0, 1) [1, 1] has exactly 3 rows, and 3 <= 0.5 * 6 go.
    expect_close(k_anonymise(toy_rows, toy_heights, 3, 0.5)[1], [1, 3, 5], hint="a class of exactly k rows stays")
    assert k_anonymise(toy_rows, toy_heights, 7, 1.0)[0].shape == (0, 2), "k > m: everything may be left out"
    with expect_raises(ValueError):
        k_anonymise(toy_rows, toy_heights, 7, 0.75)
    # Person (1, 4) has class (1, 1) here, with secrets {8, 9}; class (0, 4) there, with secrets {7, 8}: 8 is left.
    here = (np.array([[0, 1], [1, 1], [1, 1]]), np.array([7, 8, 9]), [toy_heights[0][0], toy_heights[1][1]])
    there = (np.array([[0, 4], [0, 4], [0, 5]]), np.array([8, 7, 9]), [toy_heights[0][1], toy_heights[1][0]])
    person = np.array([1, 4])
    assert possible([here], person) == {8, 9}, f"one release leaves {{8, 9}}, and not {possible([here], person)}"
    assert possible([here, there], person) == {8}, "the secrets that are in both sets"
    elsewhere = (np.array([[5, 5]]), np.array([6]), there[2])
    assert possible([here, elsewhere], np.array([2, 0])) == {6, 7, 8, 9}, "left out of both: nothing is excluded"

# %% [markdown]
# Three releases of the same patients, each with $k = 3$ and at most 5% of the rows left out, for three purposes: one
# has ages and no postcodes, one has districts and two age groups, one has postcodes and ages, both a little coarser,
# and no jobs. The figure counts, for each patient, how many diagnoses are left. Whoever has one diagnosis left has no
# secret.

# %% tags=["demo"]
postcodes, ages, sexes, jobs = town.heights


def published(ladders, k):
    """A release by `k_anonymise`, (released, hidden, maps) as `possible` wants it."""
    released, kept = k_anonymise(town.rows, ladders, k, 0.05)
    maps = [
        next(rung for rung in column if np.array_equal(rung[town.rows[kept, j]], released[:, j]))
        for j, column in enumerate(ladders)
    ]
    return released, town.diagnosis[kept], maps


all_ladders = [[postcodes[2:], ages, sexes, jobs], [postcodes, ages[3:], sexes, jobs]]
all_ladders.append([postcodes[1:], ages[1:], sexes, jobs[2:]])
releases = [published(ladders, k=3) for ladders in all_ladders]
some = np.arange(min(m, demo_size(full=150, small=100)))
left_after = {
    f"after {n} release{'s' * (n > 1)}": np.array([len(possible(releases[:n], town.rows[i])) for i in some])
    for n in (1, 2, 3)
}
for released, _, _ in releases:
    sizes = np.unique(released, axis=0, return_counts=True)[1]
    print(f"{len(released):,} rows, smallest class {sizes.min()}, median class {np.median(sizes):.0f}")
figure, ax = plt.subplots(figsize=(7, 4))
numbers = np.arange(1, len(town.names) + 1)
for number, (name, left) in enumerate(left_after.items()):
    print(f"{name}: one diagnosis left for {np.mean(left == 1):.1%} of the patients, median {np.median(left):.0f}")
    share = [np.mean(left <= n) for n in numbers]
    ax.step(numbers, share, where="post", marker="osD"[number], color=plotting.COLOURS[number], label=name)
ax.set(
    xlabel="diagnoses that are left",
    ylabel="share of patients with at most as many",
    title="Each safe release takes diagnoses away",
    ylim=(0, 1.05),
)
ax.legend(loc="lower right")
plt.show()

# %% [markdown]
# No rule about the shape of *one* table can promise anything, because it cannot know the next table. What could hold
# whatever else the attacker has? Only a property of the *way the answer is made*.
#
# ### 21.2 `private_mean` · essential · level 3 of 4 · 25 min
#
# Let $x$ and $x'$ be data sets that differ in one row: **neighbours**. A mechanism $M$ gives random answers; $P$ is the
# law of $M(x)$ and $Q$ that of $M(x')$. It has **$(\varepsilon, \delta)$-differential privacy** (Dwork et al., 2006) if
# for all neighbours, in both orders, and for every set $S$ of answers
#
# $$P(S) \le e^{\varepsilon}\, Q(S) + \delta .$$
#
# Whatever an attacker concludes from the answer, they conclude with nearly the same probability as if the row had been
# another one. This needs no assumption about what the attacker knows. What is done with the answer later cannot break
# it. What one person risks is bounded, and a sum over thousands stays useful.
#
# **Laplace.** An answer $f(x)$ has **sensitivity** $\Delta$ if neighbours' answers differ by at most $\Delta$. Add
# noise with density $\frac1{2s} e^{-|y|/s}$. Then
#
# $$\log\frac{P(y)}{Q(y)} = \frac{|y - f(x')| - |y - f(x)|}{s} \le \frac{|f(x) - f(x')|}{s} \le \frac{\Delta}{s},$$
#
# so the scale $s = \Delta/\varepsilon$ gives $(\varepsilon, 0)$. A mean of arbitrary numbers has no sensitivity: one
# patient with $10^9$ days moves it anywhere. **Clip first**, to $[\text{low}, \text{high}]$, bounds that are chosen
# without a look at the data. If one row is *replaced*, and $m$ is public, the mean moves by at most $\Delta =
# (\text{high} - \text{low})/m$.
#
# **Gauss.** For vectors normal noise is better behaved. It looks the same from all directions, so only the component
# along the difference of the two answers counts, and one number stands for all: $\Delta$ is the Euclidean norm of that
# difference. Its log ratio is not bounded, so $\delta > 0$ is needed. Let $P = \mathcal N(\Delta, \sigma^2)$ and $Q =
# \mathcal N(0, \sigma^2)$. Then
#
# $$L(y) = \log\frac{P(y)}{Q(y)} = \frac{\Delta y}{\sigma^2} - \frac{\Delta^2}{2\sigma^2} .$$
#
# $P(S) - e^\varepsilon Q(S)$ is largest for the set $S$ where $P(y) > e^\varepsilon Q(y)$, that is $L(y) >
# \varepsilon$, or $y > \varepsilon\sigma^2/\Delta + \Delta/2$. So the smallest $\delta$ is exactly (Balle and Wang,
# 2018)
#
# $$\delta(\varepsilon) = \Phi\!\left(\frac{\Delta}{2\sigma} - \frac{\varepsilon\sigma}{\Delta}\right)
# - e^{\varepsilon}\, \Phi\!\left(-\frac{\Delta}{2\sigma} - \frac{\varepsilon\sigma}{\Delta}\right).$$
#
# It falls as $\sigma$ grows, so the smallest $\sigma$ is found by bisection. Many texts use
# $\sigma = \Delta\sqrt{2\ln(1.25/\delta)}/\varepsilon$. It is proven for $\varepsilon < 1$ only. Below that it is too
# much noise; for large $\varepsilon$ it is too little, so the promise is broken. We use the exact condition.
#
# **What this noise is not.** It comes from a generator for simulations, in floating point. Both can be attacked: who
# knows the seed subtracts the noise, and the last bits of a float64 sum tell which noise was possible (Mironov, 2012).
# In production the noise comes from a library that was written against this (discrete noise, the system's random
# source).


# %% exercise="private_mean" points=3 minutes=25 trains=["differential privacy"]
def private_mean(x: np.ndarray, low: float, high: float, epsilon: float, seed: int) -> float:
    """The mean of x with Laplace noise; it is (epsilon, 0)-private where one row is replaced.

    x: shape (m,), m >= 1, floats or integers of any kind; infinities are allowed, nan is not; not
      modified. low < high: the bounds, finite; a number outside counts as the nearer bound, also
      where x is uint8 and the bound is -1 or 300. epsilon: > 0.
    seed: a Python integer, 0 <= seed < 2^63.

    Returns a Python float: the mean of the clipped numbers plus one draw from the Laplace law with
    mean 0 and scale Delta / epsilon, where Delta is the most by which the mean of the clipped
    numbers changes if one of the m rows becomes another one. The returned number is not clipped.
    For one seed the noise is the same multiple of its scale, whatever the other arguments are;
    other seeds have unrelated noise, also neighbouring seeds. Neither uses nor changes the global
    random states of Python and NumPy.
    """
    ### BEGIN SOLUTION
    mean = np.asarray(x, np.float64).clip(low, high).mean()
    scale = (high - low) / len(x) / epsilon
    return float(mean + np.random.default_rng(seed).laplace(scale=scale))
    ### END SOLUTION


def gaussian_sigma(sensitivity: float, epsilon: float, delta: float) -> float:
    """The smallest standard deviation of normal noise that is (epsilon, delta)-private: exact condition.

    sensitivity: from 1e-9 to 1e9. epsilon: from 1e-3 to 20. delta: from 1e-12 to 0.5.
    Returns a Python float: the smallest sigma that meets the condition of the text, up to a
    relative error of 1e-8.
    """
    ### BEGIN SOLUTION
    low, high = 0.1, 1e4  # of sigma / sensitivity
    while low < (ratio := math.sqrt(low * high)) < high:  # until they are neighbours among floats
        shift = epsilon * ratio
        tail = math.exp(log_ndtr(0.5 / ratio - shift)) - math.exp(epsilon + log_ndtr(-0.5 / ratio - shift))
        low, high = (ratio, high) if tail > delta else (low, ratio)
    return sensitivity * high
    ### END SOLUTION


# %% [markdown] hints="private_mean"
# <details><summary>Hint 1: the order</summary>
#
# First clip, then the mean, then the noise. Clipped numbers lie in an interval of length `high - low`, so one of `m`
# rows moves the mean by at most `(high - low) / m`.
# </details>
# <details><summary>Hint 2: the noise</summary>
#
# `np.random.default_rng(seed).laplace(0.0, scale)` with the scale sensitivity divided by epsilon. A small epsilon is
# much privacy, so it must give much noise.
# </details>
# <details><summary>Hint 3: bisection for sigma</summary>
#
# Work with `ratio = sigma / sensitivity`, on a log scale: `middle = math.sqrt(low * high)` from `low = 1e-3` and `high
# = 1e6`, a hundred times. Where the condition's right side is above `delta`, sigma is too small. `log_ndtr` (imported
# above) is log Phi: `math.exp(epsilon + log_ndtr(...))` does not overflow.
# </details>

# %% check="private_mean"
with check("private_mean"):
    days = np.array([1, 7, 900, 6])
    with expect_unchanged(days=days):
        # Clipped to [5, 15]: 5, 7, 15, 6, mean 8.25. One row moves it by at most 10 / 4, so the scale is 2.5 / epsilon.
        got = private_mean(days, 5, 15, 1e9, seed=1)
    assert isinstance(got, float), f"a Python float, and not {type(got).__name__}"
    expect_close(
        got,
        8.25,
        atol=1e-6,
        hint="With a very large epsilon there is nearly no noise: the mean of the clipped numbers.",
        mistakes={
            "This is the mean of all numbers, without the bounds.": 228.5,
            "The numbers outside were left out: each counts as the nearer bound.": 6.5,
            "The mean was clipped, and not each number.": 15.0,
        },
    )
    noise = np.array([private_mean(days, 5, 15, 0.5, seed) for seed in range(3000)]) - 8.25
    # Scale 2.5 / 0.5 = 5. Of Laplace noise the mean size is the scale, 5, here within 5 * 5 / sqrt(3000) = 0.46.
    expect_close(np.mean(np.abs(noise)), 5.0, atol=0.46, rtol=0, hint="the scale is (high - low) / m / epsilon")
    expect_close(np.median(noise), 0.0, atol=0.46, rtol=0, hint="the noise has the median 0")
    # A Laplace law has exp(-3) = 5% beyond three times its scale; the normal law of this mean size has 1.7%.
    expect_close(np.mean(np.abs(noise) > 15), 0.05, atol=0.02, rtol=0, hint="5% lie beyond three times the scale")
    assert private_mean(days, 5, 15, 0.5, 7) == private_mean(days, 5, 15, 0.5, 7), "the same seed, the same answer"
    # For a tiny epsilon the condition is nearly 2 Phi(1 / (2 sigma)) - 1 <= delta: sigma = 1 / (2 * 0.31864) for 0.25.
    expect_close(gaussian_sigma(1.0, 1e-3, 0.25), 1 / (2 * 0.318639), rtol=3e-3, hint="the limit for epsilon = 0")
    expect_close(
        gaussian_sigma(2.0, 1.0, 1e-5),
        7.46126,  # twice 3.73063, for which the condition holds with equality
        rtol=1e-4,
        hint="the exact condition, with the sensitivity in both fractions",
        mistakes={"This is the textbook's formula.": 2 * math.sqrt(2 * math.log(1.25e5))},
    )
    # At 0.160561 the condition says Phi(-0.0971) - e^20 Phi(-6.3254) = 0.4613 - 0.0613.
    expect_close(gaussian_sigma(1.0, 20.0, 0.4), 0.160561, rtol=1e-4, hint="for a large epsilon sigma is far below 1")

# %% [markdown]
# The two noises at $\varepsilon = 1$ for a sensitivity of 1, the normal one for $\delta = 0.01$: on the left the
# densities of an answer for two neighbours, on the right their log ratio. That of Laplace noise stays between $-1$ and
# $1$, exactly. That of normal noise leaves the band: what lies outside has the small probability that $\delta$ stands
# for. Below, the textbook's $\sigma$ and the exact one, with the $\delta$ that each really has.

# %% tags=["demo"]
y = np.linspace(-6, 7, 500)
s = gaussian_sigma(1.0, 1.0, 0.01)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for number, (name, law) in enumerate(
    {"Laplace": scipy.stats.laplace(0, 1), "normal, δ = 0.01": scipy.stats.norm(0, s)}.items()
):
    colour = plotting.COLOURS[number]
    left.plot(y, law.pdf(y), color=colour, linestyle="-", label=f"{name}, answer 0")
    left.plot(y, law.pdf(y - 1), color=colour, linestyle="--", label=f"{name}, answer 1")
    right.plot(y, law.logpdf(y - 1) - law.logpdf(y), color=colour, linestyle="-", label=name)
right.axhspan(-1, 1, color="0.9", zorder=0, label="allowed by ε = 1")
left.set(xlabel="answer y", ylabel="density", title="Two neighbours' answers overlap", ylim=(0, 0.62))
right.set(xlabel="answer y", ylabel="log P(y)/Q(y)", title="Laplace noise keeps the band, normal noise leaves it")
left.legend(loc="upper left", fontsize=8)
right.legend(loc="upper left")
plt.show()


def profile(ratio, epsilon):
    """The exact delta of normal noise; ratio: sigma / sensitivity."""
    return math.exp(log_ndtr(0.5 / ratio - epsilon * ratio)) - math.exp(
        epsilon + log_ndtr(-0.5 / ratio - epsilon * ratio)
    )


table = []
for epsilon in (0.1, 0.5, 1.0, 4.0, 8.0, 16.0):
    textbook, exact = math.sqrt(2 * math.log(1.25e5)) / epsilon, gaussian_sigma(1.0, epsilon, 1e-5)
    table.append(
        (
            f"{epsilon:g}",
            f"{textbook:.3f}",
            f"{profile(textbook, epsilon):.1e}",
            f"{exact:.3f}",
            f"{profile(exact, epsilon):.1e}",
        )
    )
Table(("epsilon", "textbook's sigma", "its true delta", "exact sigma", "its delta"), table, numeric=range(5))

# %% [markdown]
# What does the answer cost? The error of a private mean is $\Delta/\varepsilon = (\text{high} -
# \text{low})/(m\varepsilon)$, so it falls like $1/m$. A mean of $m$ people is off by about their standard deviation
# over $\sqrt m$ anyway, because these people are a sample: the last line of the cell. So the noise falls faster than
# what is there without it. The bounds have a price, too: tight ones bias the mean, wide ones bring noise. The table
# shows the typical error of the mean days in hospital, the median over 200 seeds.

# %% tags=["demo"]
table = []
for high in (5, 15, 60, 400):
    row = [f"1 to {high}"]
    for few in (50, m):
        stays = town.days[:few]
        errors = [abs(private_mean(stays, 1, high, 0.5, seed) - stays.mean()) for seed in range(200)]
        row += [f"{round(stays.clip(1, high).mean() - stays.mean(), 2) + 0.0:.2f}", f"{np.median(errors):.2f}"]
    table.append(tuple(row))
sampling = [f"{town.days[:few].std() / math.sqrt(few):.2f} with {few:,} people" for few in (50, m)]
print("error of sampling:", ", ".join(sampling))
Table(("bounds", "bias, 50 people", "error, 50 people", f"bias, {m:,}", f"error, {m:,}"), table, numeric=range(1, 5))

# %% [markdown]
# ### 21.3 `rdp_epsilon` · essential · level 3 of 4 · 25 min
#
# One answer has its $\varepsilon$. Training asks for a gradient $T$ times. If each answer is $\varepsilon$-private,
# then the log ratios add up, so $T$ answers are $T\varepsilon$-private. For normal noise this is far too pessimistic:
# the loss $L$ of one step is a random variable with a small mean, and a sum of $T$ of them grows rather like its mean
# and $\sqrt T$. We need a quantity that adds up and knows this. It is the **Rényi divergence** of order $\alpha > 1$,
#
# $$D_\alpha(P\|Q) = \frac1{\alpha - 1} \log \mathbb E_{y \sim Q}\!\left[\left(\frac{P(y)}{Q(y)}\right)^{\!\alpha}\right]
# = \frac1{\alpha - 1} \log \mathbb E_{y \sim P}\, e^{(\alpha - 1) L(y)} .$$
#
# For $T$ answers the divergences **add up**, at every order (Mironov, 2017), also if each question depends on the
# earlier answers, as in training: given these, the noise of the last answer is fresh, so its factor of the expectation
# is at most $e^{(\alpha - 1)\rho}$ whatever they are. Take it out, and go on with the answer before.
#
# **Subsampling.** Each step sees a batch: each row with probability $q$, independently (**Poisson sampling**).
# Neighbours are now data sets in which one row is **there or missing**. Suppose its clipped gradient moves the sum by
# at most $\Delta$, and the noise has the standard deviation $\sigma\Delta$. A smaller shift tells less, so let it be
# $\Delta$. Which other rows are in the batch does not depend on this row: fix them, and bound every case. In units of
# $\Delta$, along the row's gradient: without the row
# $Q = \mathcal N(0, \sigma^2)$, with it $P = (1 - q)\,\mathcal N(0, \sigma^2) + q\,\mathcal N(1, \sigma^2)$. The
# ratio is $1 - q + q\, e^{(2y - 1)/(2\sigma^2)}$. For an integer $\alpha$ expand its power by the binomial theorem, and
# use $\mathbb E_{y \sim Q}\, e^{k(2y - 1)/(2\sigma^2)} = e^{(k^2 - k)/(2\sigma^2)}$:
#
# $$\rho(\alpha) = \frac{1}{\alpha - 1} \log \sum_{k=0}^{\alpha} \binom{\alpha}{k} (1 - q)^{\alpha - k} q^k
# \exp\!\left(\frac{k^2 - k}{2\sigma^2}\right).$$
#
# Neighbours count in both orders. $D_\alpha(Q\|P)$ is never larger than $D_\alpha(P\|Q)$ here (Mironov, Talwar and
# Zhang, 2019), so this one bounds both. For $q = 1$ only $k = \alpha$ is left, and $\rho = \alpha/(2\sigma^2)$. Terms
# reach $e^{10^5}$ and more, so the sum is taken in log space.
#
# **Back to $(\varepsilon, \delta)$.** The smallest $\delta$ is $\mathbb E_P \max(0, 1 - e^{\varepsilon - L})$: it is
# $P(S) - e^\varepsilon Q(S)$ for the best $S$. Write $t = e^{L - \varepsilon}$: the maximum is $1 - 1/t$ for $t \ge 1$,
# and else 0. Bound it by a multiple of $t^{\alpha - 1}$: the quotient $(1 - 1/t)/t^{\alpha - 1}$ is largest at
# $t = \alpha/(\alpha - 1)$ and is $\frac1\alpha\left(1 - \frac1\alpha\right)^{\alpha - 1}$ there. And
# $\mathbb E_P\, t^{\alpha - 1} = e^{(\alpha - 1)(T\rho - \varepsilon)}$, by the definition of $\rho$ for $T$ steps. So
#
# $$\delta \le \frac1\alpha\left(1 - \frac1\alpha\right)^{\alpha - 1} e^{(\alpha - 1)(T\rho(\alpha) - \varepsilon)}
# \quad\Longrightarrow\quad
# \varepsilon = T\rho(\alpha) + \log\frac{\alpha - 1}{\alpha} - \frac{\log\delta + \log\alpha}{\alpha - 1} .$$
#
# Older texts have $T\rho + \log(1/\delta)/(\alpha - 1)$, which is the cruder bound $1 - 1/t \le 1$. Each order gives a
# valid $\varepsilon$; we take the smallest.


# %% exercise="rdp_epsilon" points=3 minutes=25 forbids=["opacus"] trains=["privacy accounting"]
def rdp_epsilon(q: float, sigma: float, steps: int, delta: float, orders: list[int]) -> float:
    """The epsilon of `steps` subsampled Gaussian answers, by Renyi divergences at integer orders.

    q: sampling rate, 0 < q <= 1. sigma: standard deviation of the noise divided by the sensitivity
    of the sum, from 0.3 to 1000. steps: an integer >= 1, up to 10^7. delta: from 1e-12 to 0.5.
    orders: at least one integer, each from 2 to 512, in any order, as a list, tuple or range.

    Returns a Python float: the smallest epsilon of the last formula of the text over the orders, or
    0.0 where that is negative. The error is at most 1e-9 * (1 + result) + 1e-12 * steps.
    Do not use opacus: it is the peer of the scale section.
    """
    ### BEGIN SOLUTION
    found = []
    for order in orders:
        k = np.arange(order + 1)
        log_binomial = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
        terms = log_binomial + xlog1py(order - k, -q) + xlogy(k, q) + k * (k - 1) / (2 * sigma**2)
        divergence = logsumexp(terms) / (order - 1)
        rest = math.log((order - 1) / order) - (math.log(delta) + math.log(order)) / (order - 1)
        found.append(steps * float(divergence) + rest)
    return max(min(found), 0.0)
    ### END SOLUTION


# %% [markdown] hints="rdp_epsilon"
# <details><summary>Hint 1: logarithms of the terms</summary>
#
# `gammaln(n + 1)` is $\log n!$. `xlogy(k, q)` is `k * log(q)`, and 0 for `k = 0`; `xlog1py(a, -q)` is `a * log(1 - q)`,
# and 0 for `a = 0`, also with `q = 1`.
# </details>
# <details><summary>Hint 2: one order</summary>
#
# With `k = np.arange(order + 1)` all terms stand in one array; `logsumexp(terms) / (order - 1)` is the divergence of
# one step. Multiply by `steps`.
# </details>
# <details><summary>Hint 3: the conversion</summary>
#
# Add `math.log((order - 1) / order) - (math.log(delta) + math.log(order)) / (order - 1)`, take the smallest value over
# the orders, and at least 0.0.
# </details>

# %% check="rdp_epsilon"
with check("rdp_epsilon", forbids=["opacus"]):
    # q = 1, sigma = 1, order 2: rho = 1. Ten steps: 10 + log(1/2) - (log 1e-5 + log 2) / 1, which is
    # 10 - 0.693 + 11.513 - 0.693.
    expect_close(
        rdp_epsilon(1.0, 1.0, 10, 1e-5, [2]),
        10 - 2 * math.log(2) + 5 * math.log(10),
        rtol=1e-9,
        hint="without subsampling rho is alpha / (2 sigma^2)",
        mistakes={"This is the older conversion, log(1/delta) / (alpha - 1).": 10 + 5 * math.log(10)},
    )
    # sigma = 2: rho = 2 / 8, so ten steps give 2.5 in place of 10.
    expect_close(
        rdp_epsilon(1.0, 2.0, 10, 1e-5, [2]),
        2.5 - 2 * math.log(2) + 5 * math.log(10),
        rtol=1e-9,
        hint="the square of sigma",
    )
    # Order 3: rho = 3/2, so 15 + log(2/3) - (log 1e-5 + log 3) / 2.
    expect_close(
        rdp_epsilon(1.0, 1.0, 10, 1e-5, (3,)),
        15 + math.log(2 / 3) - (math.log(1e-5) + math.log(3)) / 2,
        rtol=1e-9,
        hint="divide by alpha - 1 in both places",
    )
    # q = 1/2, sigma = 1, order 2: 1/4 + 2/4 + e/4, so rho = log((3 + e) / 4).
    expect_close(
        rdp_epsilon(0.5, 1.0, 3, 0.1, [2]),
        3 * math.log((3 + math.e) / 4) - 2 * math.log(2) + math.log(10),
        rtol=1e-9,
        hint="the binomial sum: k = 0, 1, 2 with exponents 0, 0 and 1",
    )
    both = rdp_epsilon(0.5, 1.0, 3, 0.1, [2, 3])
    assert both == min(rdp_epsilon(0.5, 1.0, 3, 0.1, [a]) for a in (2, 3)), "the smallest over the orders"
    assert isinstance(both, float) and rdp_epsilon(0.01, 10.0, 1, 0.5, range(2, 9)) == 0.0, "a float, at least 0.0"
    assert math.isfinite(rdp_epsilon(1e-6, 0.5, 10**6, 1e-6, [512])), "order 512: sum in log space"

# %% [markdown]
# The same noise, $\sigma = 1$ at a sampling rate of 1%, for 1 to 10,000 steps. *Sum* adds up the $\varepsilon$ of
# single steps, each with its share $\delta/T$, so it grows a little faster than $T$. The accountant's curve is flat at
# first, where $\delta$ decides. Then it grows like $\sqrt T$. (Far out, where the best order is 2, it is a line,
# too.)

# %% tags=["demo"]
orders = [*range(2, 65), 96, 128, 192, 256, 384, 512]
counts = np.array([1, 10, 30, 100, 300, 1000, 3000, 10_000])
by_sum = [t * rdp_epsilon(0.01, 1.0, 1, 1e-5 / t, orders) for t in counts.tolist()]
by_rdp = [rdp_epsilon(0.01, 1.0, t, 1e-5, orders) for t in counts.tolist()]
figure, ax = plt.subplots(figsize=(7, 4))
for number, (name, found) in enumerate({"sum of steps": by_sum, "Rényi accountant": by_rdp}.items()):
    slope = np.polyfit(np.log(counts[5:]), np.log(found[5:]), 1)[0]
    ax.plot(
        counts,
        found,
        marker="os"[number],
        color=plotting.COLOURS[number],
        label=f"{name}, slope {slope:.2f} from 1,000 on",
    )
ax.set(
    xscale="log",
    yscale="log",
    xlabel="steps",
    ylabel="ε at δ = 1e-5",
    title="The accountant grows like √T, the sum like T",
)
ax.legend(loc="upper left")
plt.show()

# %% [markdown]
# ### 21.4 `clipped_sum` · essential · level 3 of 4 · 20 min
#
# Training has no bound on what a row may do: a gradient can have any norm. **DP-SGD** (Abadi et al., 2016) makes one.
# The gradient $g_b$ of row $b$, over *all* parameters of all layers, is scaled down to norm at most $C$, and then added
# up:
#
# $$G = \sum_{b=1}^{B} g_b\, \min\!\left(1, \frac{C}{\|g_b\|}\right) .$$
#
# One row more or less moves $G$ by at most $C$. Two versions that look alike have no such bound per row. Clipping each
# *layer* to $C$ gives a row the norm $C\sqrt{\text{layers}}$. Clipping the gradient of the *batch* bounds the sum, but
# one row can turn it around; 21.6 catches this version.
#
# The price seems to be $B$ gradients in memory, each as large as the model. It is not. Let a layer compute
# $z = W a + b$ with inputs $A$, $(B, i)$, and let $D$, $(B, o)$, hold the gradient of each row's own loss by $z$
# (module 08's delta, before anything is averaged). The gradient of row $b$ is the outer product of two rows:
#
# $$\nabla_W = D_b A_b^\top \in \mathbb R^{o \times i}, \quad \nabla_{\text{bias}} = D_b, \qquad
# \|\nabla_W\|^2 + \|\nabla_{\text{bias}}\|^2 = \|D_b\|^2 \left(\|A_b\|^2 + 1\right) .$$
#
# So the norm of a row over all layers costs $O(i + o)$ a layer. With the factors $w_b = \min(1, C/\|g_b\|)$ the sum
# over rows is one matrix product a layer, $\sum_b w_b D_b A_b^\top = (w \odot D)^\top A$. Libraries call this **ghost
# clipping** (Goodfellow, 2015; Li et al., 2022).


# %% exercise="clipped_sum" points=3 minutes=20 forbids=["opacus"] trains=["gradient clipping", "counting what a computation costs"]
def clipped_sum(layers: list[tuple[np.ndarray, np.ndarray]], clip: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """The sum over rows of the gradients of all layers together, each scaled to norm <= clip.

    layers: at least one layer, each (A, D): A (B, i), the inputs of a layer with weights (o, i) and
      a bias (o,); D (B, o), the gradients of each row's own loss by the layer's outputs, not
      averaged. B >= 0 is the same in all layers, i and o are not. float64; entries are 0 or from
      1e-60 to 1e60 in size; not modified.
    clip: a float > 0, may be inf (then nothing is scaled).

    A row's norm is taken over all weights and biases of all layers together. A row whose norm is at
    most clip, also one of norm 0, counts as it is.
    Returns a new list with (dW (o, i), db (o,)) for each layer, new float64 arrays: sums, not means;
    zeros for B = 0.

    Memory: besides layers and result at most twice the size of the largest A or D, so the gradients
    of single rows are never all there (B = 4096, i = o = 512 must fit; they would take 8.6 GB).
    Do not use opacus: it is the peer of the scale section.
    """
    ### BEGIN SOLUTION
    square = 0.0
    for A, D in layers:
        square = square + np.einsum("bo,bo->b", D, D) * (np.einsum("bi,bi->b", A, A) + 1)
    norm = np.sqrt(square)
    factor = np.divide(clip, norm, out=np.ones(len(norm)), where=norm > clip)
    sums = []
    for A, D in layers:
        scaled = D * factor[:, None]
        sums.append((scaled.T @ A, scaled.sum(axis=0)))
    return sums
    ### END SOLUTION


# %% [markdown] hints="clipped_sum"
# <details><summary>Hint 1: norms without gradients</summary>
#
# For each layer and row: the sum of the squares of `D`'s row, times (the sum of the squares of `A`'s row, plus 1). Add
# this up over the layers before you take the root.
# </details>
# <details><summary>Hint 2: one factor for each row</summary>
#
# `clip / norm` where the norm is above `clip`, and 1 everywhere else, the same for all layers. Such as
# `np.divide(clip, norm, out=np.ones(B), where=norm > clip)`, which divides nowhere by 0.
# </details>
# <details><summary>Hint 3: the sums</summary>
#
# `scaled = D * factor[:, None]`; then `scaled.T @ A` and `scaled.sum(axis=0)`.
# </details>

# %% check="clipped_sum"
with check("clipped_sum", forbids=["opacus"]):
    # Row 0: A = (2, 0), D = (3): dW = (6, 0), db = 3; second layer A = (1), D = (2, 0): dW = 2, db = 2 in its
    # first row.
    # Squares: 36 + 9 + 4 + 4 = 53. Row 1: A = (0, 0), D = (1) gives db = 1; second layer 0. Norm 1.
    A1, D1 = np.array([[2.0, 0.0], [0.0, 0.0]]), np.array([[3.0], [1.0]])
    A2, D2 = np.array([[1.0], [4.0]]), np.array([[2.0, 0.0], [0.0, 0.0]])
    with expect_unchanged(A1=A1, D1=D1, A2=A2, D2=D2):
        (dW1, db1), (dW2, db2) = clipped_sum([(A1, D1), (A2, D2)], math.sqrt(53) / 2)
    expect_shape(dW1, (1, 2))
    # Row 0 is halved (norm sqrt(53) to half of it), row 1 is short enough.
    expect_close(
        db1,
        [3 / 2 + 1],
        rtol=1e-9,
        hint="one factor for each row, from the norm over all layers",
        mistakes={
            "Nothing was clipped.": [4.0],
            "This is a mean: the rows are added up.": [1.25],
            "Each layer was clipped by itself.": [3 * math.sqrt(53 / 45) / 2 + 1],
        },
    )
    expect_close(dW1, [[3.0, 0.0]], rtol=1e-9, hint="weights of the first layer, (o, i)")
    expect_close(dW2, [[1.0], [0.0]], rtol=1e-9, hint="weights of the second layer, (o, i)")
    expect_close(db2, [1.0, 0.0], rtol=1e-9, hint="biases of the second layer")
    expect_close(clipped_sum([(A1, D1)], math.inf)[0][0], [[6.0, 0.0]], hint="clip = inf: the plain gradient")
    # clip = 2: row 0 gets the factor 2 / sqrt(53). Row 1 has norm 1, which is at most 2. A third row has norm 0.
    three = [(np.vstack([A, A[:1]]), np.vstack([D, 0 * D[:1]])) for A, D in ((A1, D1), (A2, D2))]
    expect_close(
        clipped_sum(three, 2.0)[0][1], [6 / math.sqrt(53) + 1], hint="short rows, also of norm 0, stay as they are"
    )
    empty = clipped_sum([(np.zeros((0, 2)), np.zeros((0, 3)))], 1.0)
    expect_close(empty[0][0], np.zeros((3, 2)), hint="no rows: zeros")

# %% [markdown]
# What does clipping do to the gradient itself? It keeps each row's direction and changes its weight, so the direction
# of the sum changes: rows with large gradients, the ones that the model gets wrong, lose their say. The figure shows it
# for a logistic regression on the breast cancer data, after 30 steps: the angle between the clipped sum and the full
# gradient, and the share of rows that are clipped.

# %% tags=["demo"]
cancer = datasets.breast_cancer()
shuffled = np.random.default_rng(0).permutation(len(cancer.y))
X_all = (cancer.X - cancer.X.mean(axis=0)) / cancer.X.std(axis=0) / math.sqrt(30)  # rows of norm about 1
X_train, y_train = X_all[shuffled[:400]], cancer.y[shuffled[:400]].astype(float)
X_test, y_test = X_all[shuffled[400:]], cancer.y[shuffled[400:]]


def layers_of(theta, rows, X=X_train, y=y_train):
    """The one layer of a logistic regression: inputs and signals of these rows. theta: 30 weights, then the bias."""
    signal = (1 + np.tanh((X[rows] @ theta[:-1] + theta[-1]) / 2)) / 2 - y[rows]  # the sigmoid, without overflow
    return [(X[rows], signal[:, None])]


def logistic_sum(clip):
    """gradient_sum(theta, rows) for `dp_sgd`, by your `clipped_sum`."""

    def gradient_sum(theta, rows):
        ((dW, db),) = clipped_sum(layers_of(theta, rows), clip)
        return np.concatenate([dW[0], db])

    return gradient_sum


theta, everyone = np.zeros(31), np.arange(400)
for _ in range(30):
    theta -= 2.0 * logistic_sum(math.inf)(theta, everyone) / 400
full = logistic_sum(math.inf)(theta, everyone)
((A, D),) = layers_of(theta, everyone)
norms = np.abs(D[:, 0]) * np.sqrt((A**2).sum(axis=1) + 1)
clips = np.geomspace(0.01, 2, 15)
sums = [logistic_sum(clip)(theta, everyone) for clip in clips]
angles = [math.degrees(math.acos(min(1.0, s @ full / np.linalg.norm(s) / np.linalg.norm(full)))) for s in sums]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
left.plot(clips, angles, color=plotting.COLOURS[0])
left.set(
    xscale="log", xlabel="clip C", ylabel="angle to the full gradient, degrees", title="Clipping turns the gradient"
)
right.plot(clips, [np.mean(norms > clip) for clip in clips], color=plotting.COLOURS[1])
right.set(
    xscale="log", xlabel="clip C", ylabel="share of rows that are clipped", title="A small C clips nearly every row"
)
plt.show()

# %% [markdown]
# ### 21.5 `dp_sgd` · essential · level 2 of 4 · 15 min
#
# Everything for training is there. A step of DP-SGD:
#
# 1. draw a batch: each row is in it with probability $q$, independently of the others (its size varies, and may be 0);
# 2. add up the clipped gradients, $G$;
# 3. add noise $\mathcal N(0, \sigma^2 C^2)$ to each number of $G$;
# 4. $\theta \leftarrow \theta - \eta\,(G + \text{noise})/(q m)$.
#
# Here $m$ is a public number that is the same for both neighbours, such as the planned number of rows: with one row
# missing it stays as it is. Three more details carry the proof, and tutorials miss each of them. The noise is $\sigma$
# *times* $C$, because $C$ is the sensitivity. The division is by the *expected* size $qm$: the size of the drawn batch
# tells whether a row is in it. And the accountant of 21.3 assumed Poisson sampling; an epoch of shuffled batches of
# equal size has another proof. Each step is then the subsampled Gaussian answer of 21.3, and what is done with it, the
# update, costs nothing more.


# %% exercise="dp_sgd" points=2 minutes=15 forbids=["opacus"] trains=["differential privacy", "gradient clipping"]
def dp_sgd(
    gradient_sum: Callable[[np.ndarray, np.ndarray], np.ndarray],
    theta0: np.ndarray,
    m: int,
    q: float,
    sigma: float,
    clip: float,
    lr: float,
    steps: int,
    seed: int,
) -> np.ndarray:
    """Differentially private gradient descent: Poisson batches, noise on the sum.

    gradient_sum(theta, rows): theta (d,) float64, rows: int64 indices of the batch, ascending, or
      none at all. It returns a float64 array (d,): the sum of the rows' gradients, each of which has
      been scaled to norm <= clip already (zeros for no rows). It is called exactly once in each
      step, also for an empty batch. It changes nothing, and what it returns is not modified.
    theta0: shape (d,), d >= 1, float64; not modified. m: the public number of rows, >= 1.
    q: sampling rate, 0 < q <= 1. sigma: >= 0. clip: > 0, finite. lr: >= 0. steps: >= 0.
    seed: a Python integer, 0 <= seed < 2^63.

    In each step every row is in the batch with probability q, independently of all other rows and
    steps; independent normal noise with standard deviation sigma * clip is added to each number of
    the sum; theta moves against the noisy sum by lr / (q m) times it.
    Returns the last theta, a new float64 array. The same arguments give the same result, other
    seeds unrelated batches and noise, also neighbouring seeds. Neither uses nor changes the global
    random states of Python and NumPy. Do not use opacus.
    """
    ### BEGIN SOLUTION
    rng = np.random.default_rng(seed)
    theta = theta0.copy()
    for _ in range(steps):
        rows = np.flatnonzero(rng.random(m) < q)
        noise = sigma * clip * rng.standard_normal(len(theta))
        theta = theta - lr * (gradient_sum(theta, rows) + noise) / (q * m)
    return theta
    ### END SOLUTION


# %% [markdown] hints="dp_sgd"
# <details><summary>Hint 1: the batch</summary>
#
# `np.flatnonzero(rng.random(m) < q)` with one `rng = np.random.default_rng(seed)` for the whole run. Do not draw a
# fixed number of rows.
# </details>
# <details><summary>Hint 2: the noise and the division</summary>
#
# `sigma * clip * rng.standard_normal(len(theta))` is added to the sum. Then divide by `q * m`, not by `len(rows)`.
# </details>

# %% check="dp_sgd"
with check("dp_sgd", forbids=["opacus"]):
    seen = []

    def toy_sum(theta, rows):
        """The row b wants theta to be b: the gradient is theta - b."""
        seen.append(rows)
        return len(rows) * theta - rows.sum() * np.ones(2)

    start = np.array([4.0, 0.0])
    with expect_unchanged(start=start):
        got = dp_sgd(toy_sum, start, 4, 1.0, 0.0, 1.0, 0.5, 2, seed=0)
    # All rows, no noise: the mean of the gradients is theta - 1.5. From (4, 0): (2.75, 0.75), then (2.125, 1.125).
    expect_close(got, [2.125, 1.125], rtol=1e-12, hint="q = 1 and sigma = 0: gradient descent on the mean")
    assert len(seen) == 2 and [rows.tolist() for rows in seen] == [[0, 1, 2, 3]] * 2, "one call a step, with all rows"
    seen.clear()
    dp_sgd(toy_sum, start, 1000, 0.2, 0.0, 1.0, 0.0, 200, seed=1)
    sizes = np.array([len(rows) for rows in seen])
    # Sizes have mean 200 and standard deviation sqrt(1000 * 0.2 * 0.8) = 12.6; the mean of 200 steps 0.9.
    expect_close(sizes.mean(), 200, atol=4.5, rtol=0, hint="each row with probability q")
    expect_close(sizes.std(), 12.6, atol=3.3, rtol=0, hint="each row for itself: the size of a batch varies")

    def nothing(theta, rows):
        return np.zeros(len(theta))

    moved = dp_sgd(nothing, np.zeros(4000), 50, 0.1, 3.0, 2.0, 0.5, 1, seed=2)
    # Noise 3 * 2 = 6 on the sum, times 0.5 / (0.1 * 50) = 0.1: standard deviation 0.6.
    expect_close(
        moved.std(),
        0.6,
        rtol=0.06,
        hint="sigma * clip, then divided by q m",
        mistakes={"The noise does not know the clip.": 0.3},
    )
    # Two steps: noise of standard deviation 0.6 sqrt(2), where it is drawn anew. The batches may be empty: m q = 0.02.
    moved = dp_sgd(nothing, np.zeros(4000), 2, 0.01, 3.0, 2.0, 0.002, 2, seed=2)
    expect_close(moved.std(), 0.6 * math.sqrt(2), rtol=0.06, hint="every step has noise of its own, also an empty one")

    def ones(theta, rows):
        return np.ones(1)

    # Whatever batches come: 50 steps, each of 0.01 / (0.5 * 2).
    moved = dp_sgd(ones, np.zeros(1), 2, 0.5, 0.0, 1.0, 0.01, 50, seed=4)
    expect_close(moved, [-0.5], rtol=1e-9, hint="divide by q m, the expected size, and not by the drawn one")

# %% [markdown]
# Privacy has its price in accuracy. The logistic regression again, 400 rows, 100 steps with $q = 0.1$. For each
# $\varepsilon$ (at $\delta = 10^{-4}$) a bisection over your accountant finds the noise. Each dot is one run.

# %% tags=["demo"]
q, T, C, delta = 0.1, demo_size(full=100, small=40), 0.3, 1e-4


def noise_for(epsilon, q, steps, delta):
    """The sigma for which your accountant says epsilon, by bisection."""
    low, high = 0.3, 1000.0
    for _ in range(25):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if rdp_epsilon(q, middle, steps, delta, range(2, 64, 3)) > epsilon else (low, middle)
    return high


def accuracy(theta):
    return float(np.mean((X_test @ theta[:-1] + theta[-1] > 0) == y_test))


epsilons = [0.1, 0.3, 1.0, 3.0, 10.0]
runs = {}
for epsilon in epsilons:
    sigma = noise_for(epsilon, q, T, delta)
    runs[epsilon] = [
        accuracy(dp_sgd(logistic_sum(C), np.zeros(31), 400, q, sigma, C, 4.0, T, seed)) for seed in range(8)
    ]
    print(f"epsilon {epsilon:>4}: sigma {sigma:6.2f}, median accuracy {np.median(runs[epsilon]):.1%}")
plain = accuracy(dp_sgd(logistic_sum(1e9), np.zeros(31), 400, q, 0.0, 1e9, 4.0, T, 0))
clipped = accuracy(dp_sgd(logistic_sum(C), np.zeros(31), 400, q, 0.0, C, 4.0, T, 0))
print(f"no noise: accuracy {clipped:.1%} with clipping, {plain:.1%} without")
figure, ax = plt.subplots(figsize=(7, 4))
for epsilon, found in runs.items():
    ax.plot([epsilon] * len(found), found, "o", color=plotting.COLOURS[0], alpha=0.6, markersize=5)
ax.plot(epsilons, [np.median(found) for found in runs.values()], color=plotting.COLOURS[0], label="median of 8 runs")
ax.axhline(plain, color=plotting.COLOURS[1], linestyle="--", label="no clipping, no noise")
ax.set(
    xscale="log",
    xlabel="ε",
    ylabel=f"accuracy on {len(y_test)} rows",
    title="Clipping costs a little, strong noise much",
)
ax.legend(loc="lower right")
plt.show()

# %% [markdown]
# With $m$ rows the noise in the mean gradient is $\sigma C/(qm)$: ten times as many rows, a tenth of the noise for the
# same $\varepsilon$. This is why private training is a matter of large data.
#
# ### 21.6 `audit_epsilon` · essential · level 3 of 4 · 30 min
#
# A proof is about the algorithm, and a program can differ from it in one line. So attack the program. **Membership
# inference**: run it many times with a certain row, the *canary*, and many times without. Each run gives one number, a
# score, such as how far the model went in the canary's direction. The attacker says "it was there" if the score is at
# least $t$. Let $u$ be the probability of this with the canary, and $v$ without it. By the definition, with
# $S = \{\text{score} \ge t\}$,
#
# $$u \le e^\varepsilon v + \delta \quad\Longrightarrow\quad \varepsilon \ge \log\frac{u - \delta}{v} .$$
#
# So each attack is a **lower bound** on $\varepsilon$, and an accountant an upper bound. If the first exceeds the
# second, the program is wrong. The same holds for $S = \{\text{score} < t\}$, and with the two worlds exchanged: four
# attacks for each $t$.
#
# We know $u$ and $v$ only from runs. With $a$ hits in $n$ runs, the lower end of the exact interval of **Clopper and
# Pearson** (1934) at level $\beta$ is the $\beta$-quantile of the Beta law with parameters $(a, n - a + 1)$ (0 if
# $a = 0$), and the upper end is the $(1 - \beta)$-quantile of that with $(a + 1, n - a)$ (1 if $a = n$): whatever the
# true probability is, the end is on the wrong side of it with probability at most $\beta$. Use the lower end for $u$,
# the upper end for $v$, and $\beta$ = half of the allowed level for each.
#
# **The choice must be paid for.** Whoever tries a thousand thresholds and reports the best finds something in pure
# noise. Two honest ways. *Divide*: with $N$ attacks that were fixed before the scores are seen, each gets the
# level$/N$ (Bonferroni). *Split*: choose threshold and attack on one half of the runs, and report the bound of this one
# attack on the other half. We split: thresholds may then be scores. Every second run chooses, whatever order the
# runs came in.


# %% exercise="audit_epsilon" points=3 minutes=30 trains=["membership inference", "confidence intervals"]
def audit_epsilon(inside: np.ndarray, outside: np.ndarray, delta: float, level: float) -> float:
    """A lower bound on epsilon from an attacker's scores, which is wrong with probability <= level.

    inside, outside: shapes (n,) and (k,), 20 <= n, k <= 20,000, float64, finite: scores of
      independent runs with the row and without it, each in the order of the runs; not modified.
      Scores may be equal, and the row may make them larger, smaller, or both.
    delta: from 0 to 0.5. level: from 1e-9 to 0.5.

    The choice. By inside[::2] and outside[::2] alone, choose a threshold t and one of four attacks,
      by its set S of scores and by the side that hits:
      0: >= t, inside hits; 1: < t, inside hits; 2: >= t, outside hits; 3: < t, outside hits.
      Thresholds are the different scores of these two halves together, ascending: t_0, ..., t_(u-1).
      If u > 500, only the 500 with the numbers j * (u - 1) // 499, j = 0, ..., 499, are tried.
      The value of an attack is log((low - delta) / high): low is the lower end for the share in S
      on the side that hits, high the upper end for the share in S on the other side, each the
      exact end of the text with level / 2. Where low - delta <= high, the value is 0.
      The largest value is chosen; of equal ones the attack with the smaller number, then the
      smaller t.
    The judgement. If all values are 0, the result is 0.0. Otherwise it is the value of the chosen t
      and attack on inside[1::2] and outside[1::2].

    Returns a Python float >= 0.0, always finite, right to 1e-9 (where level < 1e-3, to 1e-6).
    Time: at n = k = 20,000 one call of the Beta law for all thresholds takes 10 ms, a call for each
    of the 2,000 attacks about a second.
    """
    ### BEGIN SOLUTION

    def values(half, thresholds):
        """The values of the four attacks at each of the thresholds, (4, thresholds)."""
        with_row, without = np.sort(inside[half::2]), np.sort(outside[half::2])
        n, k = len(with_row), len(without)
        below, other = np.searchsorted(with_row, thresholds), np.searchsorted(without, thresholds)
        hits = np.stack([n - below, below, k - other, other])
        false = hits[[2, 3, 0, 1]]  # the hits of the other side, in the same set of scores
        runs = np.array([n, n, k, k])[:, None]  # of the side that hits; upside down, of the other side
        low = scipy.stats.beta.ppf(level / 2, hits, runs - hits + 1)  # nan for no hits
        high = scipy.stats.beta.isf(level / 2, false + 1, runs[::-1] - false)  # nan if all are false alarms
        return np.log(np.fmax((low - delta) / high, 1.0))  # fmax takes 1 in place of nan

    thresholds = np.unique(np.concatenate([inside[::2], outside[::2]]))
    thresholds = thresholds[np.arange(500) * (len(thresholds) - 1) // 499]  # up to 500: all, some more than once
    tried = values(0, thresholds)
    attack, place = np.unravel_index(np.argmax(tried), tried.shape)
    if tried[attack, place] == 0:
        return 0.0
    return values(1, thresholds[[place]])[attack].item()
    ### END SOLUTION


# %% [markdown] hints="audit_epsilon"
# <details><summary>Hint 1: one attack</summary>
#
# With `hits` of `n` runs on one side and `false` of `k` on the other, the lower end is `scipy.stats.beta.ppf(level / 2,
# hits, n - hits + 1)`, and 0 for no hits. The upper end is `scipy.stats.beta.isf(level / 2, false + 1, k - false)`, and
# 1 if all are hits. Both functions take arrays, and give nan where the end is 0 or 1: replace it by `np.where`. If the
# lower end minus `delta` is not above the upper end, the attack proves nothing.
# </details>
# <details><summary>Hint 2: four attacks</summary>
#
# `np.searchsorted(np.sort(scores), thresholds)` counts the scores below each threshold, for all thresholds at once.
# With `below` inside and `other` outside the four attacks have the hits `n - below`, `below`, `k - other`, `other`, and
# the false alarms `k - other`, `other`, `n - below`, `below`. Stack their values in this order, (4, thresholds):
# `np.argmax` takes the first of several equal values.
# </details>
# <details><summary>Hint 3: the choice</summary>
#
# Write one function of a half and of thresholds, on `inside[half::2]` and `outside[half::2]`. Thresholds:
# `np.unique(np.concatenate([inside[::2], outside[::2]]))`, and `[np.arange(500) * (u - 1) // 499]` of them if there are
# more than 500. Half 0 chooses threshold and attack. Half 1 gives the value of this attack alone.
# </details>

# %% check="audit_epsilon"
with check("audit_epsilon"):
    # By hand. Scores are 3 or 1. In the first halves 15 of 20 inside have a 3, and 3 of 30 outside: "at least 3" inside
    # is the best attack. In the second halves 18 of 20 have a 3, and 2 of 30.
    few, others = np.ones(40), np.ones(60)
    few[0:30:2] = few[1:37:2] = others[0:6:2] = others[1:5:2] = 3.0

    def attack(hits, n, false, k, level=0.05, delta=0.05):
        """The value of one attack, from the numbers of its hits."""
        low = scipy.stats.beta.ppf(level / 2, hits, n - hits + 1)
        return math.log((low - delta) / scipy.stats.beta.isf(level / 2, false + 1, k - false))

    with expect_unchanged(few=few, others=others):
        found = audit_epsilon(few, others, 0.05, 0.05)
    assert isinstance(found, float), f"a Python float, and not {type(found).__name__}"
    expect_close(
        found,
        attack(18, 20, 2, 30),  # 1.05
        rtol=1e-6,
        hint="choose on the halves [::2], judge on the halves [1::2]",
        mistakes={
            "This is the value on the halves that chose.": attack(15, 20, 3, 30),
            "This is the value on all runs: the choice is not paid for.": attack(33, 40, 5, 60),
            "delta was not subtracted.": attack(18, 20, 2, 30, delta=0.0),
            "Each end took the whole level: give it half.": attack(18, 20, 2, 30, level=0.1),
        },
    )
    for one, two in ((-few, -others), (others, few), (-others, -few)):
        assert audit_epsilon(one, two, 0.05, 0.05) > 0.5, "four attacks: >= t or < t, and inside hits or outside"
    # Chosen: at least 1, inside. In the second halves all is the other way round.
    turned = np.tile([1.0, 0.0], 20)
    assert audit_epsilon(turned, 1 - turned, 0.0, 0.5) == 0.0, "the chosen attack fails on the second halves: 0.0"
    # In the first halves a single score differs, so nothing is chosen.
    late = np.where(np.arange(40) % 2, 1.0, 0.0)
    late[0] = 1.0
    assert audit_epsilon(late, np.zeros(40), 0.0, 0.5) == 0.0, "no value above 0 on the first halves: 0.0"
    # Perfect separation of 500 judged runs: both ends follow from x^500 = 0.025, so this is log(x / (1 - x)).
    x = 0.025 ** (1 / 500)
    apart = audit_epsilon(np.arange(1000.0) + 5000, np.arange(1000.0), 0.0, 0.05)
    expect_close(apart, math.log(x / (1 - x)), rtol=1e-6, hint="perfect separation: none of 500 runs outside hits")
    # The same law on both sides, 60 times: at level 0.3 some 18 of 60 bounds may be above 0, and 40 once in 10^8.
    draw = np.random.default_rng(3)
    alarms = sum(audit_epsilon(*draw.standard_normal((2, 300)), 0.0, 0.3) > 0 for _ in range(60))
    assert alarms < 40, f"{alarms} of 60 audits of pure noise prove a leak: pay for the choice of the threshold"
    # The exact epsilon of two normal laws one standard deviation apart is 2.32 at delta = 0.01.
    scores, others = draw.standard_normal((2, 20_000))
    for one, two in ((scores + 1, others), (-scores - 1, others)):
        found = audit_epsilon(one, two, 0.01, 0.05)
        assert 1.16 <= found <= 2.32, f"between half of the exact epsilon, 1.16, and the exact 2.32: not {found:.3f}"

# %% [markdown]
# **The audit.** Two engines train the same logistic regression, with your `dp_sgd` and the same noise, for which the
# accountant says $\varepsilon = 3$ at $\delta = 10^{-5}$. One uses your `clipped_sum`. The other does what many scripts
# do: it takes the mean gradient of the batch, clips *that* to $C$ and goes on as before. It runs, and no line of it
# looks odd. The canary is a row with a large value in a direction that no other row uses; the score is the parameter of
# this direction at the end. No attack on a $(3, 10^{-5})$-private program gets above the dashed line, but for
# chance.

# %% tags=["demo"]
n_runs, T_audit, m_audit = demo_size(full=1200, small=900), 4, 40
X_audit = np.hstack([X_train[: m_audit - 1, :3] * 5, np.zeros((m_audit - 1, 1))])
canary = np.array([0.0, 0.0, 0.0, 1000.0])
y_audit = np.append(y_train[: m_audit - 1], 1.0)
X_with = np.vstack([X_audit, canary])
claimed, delta_audit, C_audit, q_audit = 3.0, 1e-5, 1.0, 0.5
sigma_audit = noise_for(claimed, q_audit, T_audit, delta_audit)


def engine(clips_rows, X):
    def gradient_sum(theta, rows):
        rows = rows[rows < len(X)]  # where the canary is missing, its number stands for nobody
        layer = layers_of(theta, rows, X, y_audit)
        if clips_rows:
            ((dW, db),) = clipped_sum(layer, C_audit)
            return np.concatenate([dW[0], db])
        ((A, D),) = layer
        mean = np.append(D[:, 0] @ A, D.sum()) / max(len(rows), 1)
        clipped = mean * min(1.0, C_audit / max(np.linalg.norm(mean), 1e-300))
        return q_audit * m_audit * clipped  # dp_sgd divides by the expected batch

    return gradient_sum


def scores_of(clips_rows, X, first_seed):
    """The canary's parameter at the end of many runs."""
    step = engine(clips_rows, X)
    runs = range(first_seed, first_seed + n_runs)
    return np.array(
        [dp_sgd(step, np.zeros(5), m_audit, q_audit, sigma_audit, C_audit, 1.0, T_audit, seed)[3] for seed in runs]
    )


proven_of = {}
figure, ax = plt.subplots(figsize=(7, 4.5))
rates = np.geomspace(1e-3, 1, 200)
for number, (name, clips_rows) in enumerate({"clips the batch": False, "clips each row": True}.items()):
    with_canary = scores_of(clips_rows, X_with, 0)
    without = scores_of(clips_rows, X_audit, 10**6)
    proven = proven_of[name] = audit_epsilon(with_canary, without, delta_audit, 0.01)
    verdict = "the claim is false" if proven > claimed else "nothing found"
    print(f"engine that {name}: claimed epsilon {claimed}, proven at least {proven:.2f}: {verdict}")
    cuts = np.sort(np.concatenate([with_canary, without]))[::-1]
    hit = 1 - np.searchsorted(np.sort(with_canary), cuts) / n_runs
    false = 1 - np.searchsorted(np.sort(without), cuts) / n_runs
    ax.plot(np.maximum(false, 1e-3), hit, color=plotting.COLOURS[number], label=name, linestyle="-", marker="")
ax.plot(
    rates,
    np.minimum(1, math.exp(claimed) * rates + delta_audit),
    color="#c0392b",
    linestyle="--",
    marker="",
    label="limit of ε = 3",
)
ax.set(
    xscale="log",
    xlabel="false alarms, without the canary (left edge: none)",
    ylabel="hits (with the canary)",
    title="One attack gets above the line that its engine promised",
    ylim=(0, 1.05),
)
ax.legend(loc="lower right")
plt.show()

# %% [markdown]
# The sum that clips rows moves by at most $C$ with the canary. The clipped mean, scaled back by $qm$, moves by up to
# $2qmC$: forty times as much in this example, under the same noise. "Nothing found" proves nothing: an audit finds what
# its canary and its score can show. Where the bound is far below the claim, the attacker was weak, or the claim is too
# cautious, and the audit does not say which.
#
# ### 21.7 `Paillier` · important · level 3 of 4 · 25 min
#
# Noise protects those whose data went into a result from those who read the *result*. Another question: may somebody
# who *computes* the result read the data? Ordinary encryption says no to everything, also to computing. A
# **homomorphic** scheme lets a server add numbers that it cannot read. Paillier's (1999):
#
# *Key.* Two primes $p \ne q$ of equal length, secret; $n = pq$, public. (Of equal length: then $p$ does not divide
# $q - 1$, and $\lambda$ below has an inverse modulo $n$.) *Encrypting* $x \in \{0, \dots, n - 1\}$: draw
# $r$ uniformly from those of $1, \dots, n - 1$ that share no factor with $n$, and
#
# $$c = (1 + n)^x\, r^n \bmod n^2 , \qquad (1 + n)^x = 1 + xn \pmod{n^2},$$
#
# by the binomial theorem: all later terms have a factor $n^2$. *Adding* is multiplying: the product of two ciphertexts
# is $(1 + n)^{x + x'} (r r')^n$. *Multiplying by a known integer* $k$ is the power $c^k$. *Decrypting*: let $\lambda =
# \text{lcm}(p - 1, q - 1)$. Modulo $p^2$ there are $p(p - 1)$ numbers without the factor $p$, and $n\lambda$ is a
# multiple of this; the same holds for $q^2$. So $r^{n\lambda} = 1 \pmod{n^2}$ by Euler's theorem, and
#
# $$c^\lambda = (1 + n)^{x\lambda} = 1 + x\lambda n \pmod{n^2}, \qquad
# x = \frac{c^\lambda - 1}{n}\, \lambda^{-1} \bmod n .$$
#
# That nobody reads $x$ without $p$ and $q$ is an assumption (nobody tells $r^n$ from a random number modulo $n^2$); no
# proof is known. Without $r$ the scheme is worth nothing: a server that suspects the age to be one of 90 numbers
# encrypts all 90 and compares. With the same $r$ for two numbers, the quotient of the ciphertexts shows their
# difference. Negative numbers: what decrypts to more than $n/2$ counts as itself minus $n$.
#
# **What it is not.** Keys here are toys: 64 to 1024 bits, from a generator that is made for simulations; at work 2048
# bits and more from the system's random source. The server can change a ciphertext so that it decrypts to something
# else (adding is what it may do). And the result, once decrypted, tells about people what any result tells.


# %% exercise="Paillier" points=3 minutes=25 forbids=["phe"] trains=["homomorphic encryption"]
class Paillier:
    """Paillier's scheme for signed integers; keys for learning, not for use.

    bits: an even integer from 32 to 1024. seed: a Python integer, 0 <= seed < 2^63.
    Attributes, all Python integers: p and q, different primes of bits / 2 bits each, drawn
    independently at random; n = p * q, of exactly `bits` bits. The same bits and seed give the same
    key, other seeds other keys. The function random_prime of the setup cell is there for this.
    A ciphertext is a Python integer c with 0 < c < n^2. Do not use phe.
    """

    def __init__(self, bits: int, seed: int):
        ### BEGIN SOLUTION
        rng = random.Random(seed)
        self.p = self.q = random_prime(bits // 2, rng)
        while self.p == self.q:
            self.q = random_prime(bits // 2, rng)
        self.n = self.p * self.q
        self.square = self.n**2
        self.power = math.lcm(self.p - 1, self.q - 1)
        self.inverse = pow(self.power, -1, self.n)
        ### END SOLUTION

    def encrypt(self, m: int, seed: int) -> int:
        """(1 + n)^m r^n mod n^2 for a signed integer m (the text's x), a Python integer, |m| <= n // 2.

        r is drawn by the seed, 0 <= seed < 2^63, uniformly from the integers 1 to n - 1 that have no
        factor in common with n. The same m and seed give the same ciphertext; other seeds give
        unrelated r, also neighbouring seeds, and also the seed of the key.
        Raises ValueError if |m| > n // 2.
        """
        ### BEGIN SOLUTION
        if abs(m) > self.n // 2:
            raise ValueError("the number does not fit the key")
        rng = random.Random(f"a ciphertext's r, by seed {seed}")
        r = rng.randrange(1, self.n)
        while math.gcd(r, self.n) > 1:
            r = rng.randrange(1, self.n)
        return (1 + m * self.n) * pow(r, self.n, self.square) % self.square
        ### END SOLUTION

    def decrypt(self, c: int) -> int:
        """The signed integer from -(n // 2) to n // 2 that c encrypts."""
        ### BEGIN SOLUTION
        x = (pow(c, self.power, self.square) - 1) // self.n * self.inverse % self.n
        return x - self.n if x > self.n // 2 else x
        ### END SOLUTION

    def add(self, a: int, b: int) -> int:
        """A ciphertext of the sum of what the ciphertexts a and b hold (modulo n)."""
        ### BEGIN SOLUTION
        return a * b % self.square
        ### END SOLUTION

    def scale(self, c: int, k: int) -> int:
        """A ciphertext of k times what c holds (modulo n). k: any Python integer, also 0 or negative.

        `add` and `scale` draw nothing new, and use neither p nor q: n is enough.
        """
        ### BEGIN SOLUTION
        return pow(c, k, self.square)
        ### END SOLUTION


# %% [markdown] hints="Paillier"
# <details><summary>Hint 1: the key</summary>
#
# `rng = random.Random(seed)`, then `random_prime(bits // 2, rng)` twice, again where both are equal. `math.lcm` and
# `pow(x, -1, n)`, the inverse modulo n, are all that the secret numbers need. Keep Python integers: NumPy's overflow.
# </details>
# <details><summary>Hint 2: encrypt</summary>
#
# `(1 + m * n) * pow(r, n, n * n) % (n * n)`, also for negative `m`. For `r` use a generator that is not the key's, such
# as `random.Random(f"encrypt {seed}")`, or the same seed would draw `r` from the numbers that made `p`.
# </details>
# <details><summary>Hint 3: decrypt and the rest</summary>
#
# `(pow(c, power, n * n) - 1) // n * inverse % n`; above `n // 2` subtract `n`. `add` is a product modulo `n * n`;
# `scale` is `pow(c, k, n * n)`, which takes a negative `k`, too.
# </details>

# %% check="Paillier"
with check("Paillier", forbids=["phe"]):
    key = Paillier(64, seed=5)
    assert key.n == key.p * key.q and key.p != key.q, "n is the product of two different primes"
    assert key.n.bit_length() == 64 and key.p.bit_length() == 32, "n has 64 bits, p and q have 32 each"
    for number in (0, 1, -1, 12_345, -987_654, key.n // 2, -(key.n // 2)):
        c = key.encrypt(number, seed=1)
        assert isinstance(c, int) and 0 < c < key.n**2, "a ciphertext is an integer below n^2"
        assert key.decrypt(c) == number, f"{number} comes back as {key.decrypt(c)}"
    assert key.encrypt(7, 1) != key.encrypt(7, 2), "another seed gives another ciphertext of the same number"
    assert key.encrypt(7, 1) == key.encrypt(7, 1), "the same seed gives the same one"
    a, b = key.encrypt(40, seed=3), key.encrypt(-100, seed=4)
    assert key.decrypt(key.add(a, b)) == -60, "the sum of 40 and -100"
    assert 0 < key.add(a, b) < key.n**2, "the sum's ciphertext is below n^2, too"
    assert [key.decrypt(key.scale(a, k)) for k in (3, -2, 0, 1)] == [120, -80, 0, 40], "40 times 3, -2, 0 and 1"
    assert (key.encrypt(5, 8) - key.encrypt(4, 8)) % key.n == 0, "the same r: (1 + n)^m changes nothing modulo n"
    assert len({Paillier(32, seed).n for seed in range(20)}) == 20, "other seeds, other keys"
    with expect_raises(ValueError):
        key.encrypt(key.n // 2 + 1, seed=1)

# %% [markdown]
# A patient who shows nothing: the patient encrypts 30 features, the owner of a linear model computes the score on
# ciphertexts, and the patient alone can read it. Before the owner sends it, they add a fresh encryption of 0. `scale`
# and `add` draw nothing new, so without it the random factor of the answer would tell the weights: try all weights, as
# with the 90 ages. What it cannot prevent: 31 well-chosen questions give 31 scores, and from these follows the model.
# Numbers become integers by a fixed scale, $2^{16}$ for features and for weights.

# %% tags=["demo"]
key = Paillier(256, seed=2026)
weights = [round(float(w) * 2**16) for w in theta]
patient = [round(float(x) * 2**16) for x in X_test[0]] + [2**16]
begun = time.process_time()
sent = [key.encrypt(value, seed=10 + j) for j, value in enumerate(patient)]
score = key.scale(sent[0], weights[0])
for c, w in zip(sent[1:], weights[1:], strict=True):
    score = key.add(score, key.scale(c, w))
score = key.add(score, key.encrypt(0, seed=7))  # the owner's own randomness
opened = key.decrypt(score) / 2**32
print(f"score in the open {X_test[0] @ theta[:-1] + theta[-1]:.6f}, from ciphertexts {opened:.6f}")
print(
    f"{bytes_text(len(sent) * key.n.bit_length() / 4)} sent in place of {bytes_text(8 * len(sent))};"
    f" {seconds_text(time.process_time() - begun)} with a toy key of 256 bits"
)
guesses = {key.encrypt(value, seed=99): value for value in range(90)}
print(
    f"an age of 0 to 89 found by trying all: {key.encrypt(51, seed=99) in guesses} if r is always the same,"
    f" {key.encrypt(51, seed=98) in guesses} if it is drawn anew"
)

# %% [markdown]
# ### 21.8 `seal_chunks` · essential · level 2 of 4 · 15 min
#
# Last, files that lie somewhere. **AES-GCM** encrypts bytes under a key and a **nonce** of 12 bytes, and adds a tag of
# 16 bytes, without which it does not open: it hides and it shows tampering. It asks for one thing: *no nonce twice
# under one key*. GCM XORs a key stream that depends on key and nonce, so with a repeated nonce the XOR of two
# ciphertexts is that of the plaintexts, and the secret behind the tags can be computed.
#
# A file that does not fit into memory is sealed chunk by chunk. A tag for each chunk says nothing about the *order* of
# the chunks, and nothing about whether the *last* one is there. The **STREAM** construction (Hoang et al., 2015) puts
# both into the nonce: 7 bytes that are drawn anew for each file, 4 bytes with the number of the chunk, and 1 byte that
# is 1 for the last chunk and 0 for all others. The 7 bytes stand before the file, in plain. A chunk that stands at
# another place, or that became the last one because the rest was cut off, is opened with another nonce than it was
# sealed with, and its tag does not fit.
#
# **Find the bug.** The code below encrypts and decrypts, and passes any test that reads back what it wrote. It does not
# keep what the text promises. Find both faults: one stands in `seal_chunks` alone, the other in both functions (and
# shows in a file without any chunk, too). The format in the docstring is right.
#
# **What this is not.** It hides contents, never the length of a file, and never who reads it when. It protects nothing
# from somebody with the key, and the running program has it. Seven random bytes repeat among a few thousand files with
# a probability of about $2^{-33}$, so use a key for at most 4,000 files (libraries such as Tink derive a new key for
# each file). And what `open_chunks` has handed out before it raises must be thrown away.


# %% exercise="seal_chunks" points=2 minutes=15 bug=true trains=["authenticated encryption"]
def seal_chunks(chunks: Iterable[bytes], key: bytes) -> Iterator[bytes]:
    """A file under AES-GCM, chunk by chunk: first the file's 7 random bytes, then each chunk sealed.

    chunks: bytes objects, any number (also none), each of any length (also 0); read once, one
      after the other. key: 16 or 32 bytes.
    Yields bytes: a header of 7 bytes, drawn anew for each call from the system's random source
    (secrets.token_bytes); then AESGCM(key).encrypt(nonce, chunk, None) for each chunk, in order.
    The nonce is header + number.to_bytes(4, "big") + last: the chunks' numbers are 0, 1, 2, ...
    (below 2^32); last is one byte, 1 for the last chunk and 0 for all others. No chunks at all
    count as one empty chunk.
    Memory: at most three chunks at a time.
    """
    ### BEGIN SOLUTION
    cipher, header, number = AESGCM(key), secrets.token_bytes(7), 0
    yield header
    waiting = None
    for chunk in chunks:
        if waiting is not None:
            yield cipher.encrypt(header + number.to_bytes(4, "big") + b"\x00", waiting, None)
            number += 1
        waiting = chunk
    yield cipher.encrypt(header + number.to_bytes(4, "big") + b"\x01", waiting or b"", None)
    ### END SOLUTION
    ### BEGIN BUG
    # cipher, header, number = AESGCM(key), bytes(7), 0
    # yield header
    # for chunk in chunks:
    #     yield cipher.encrypt(header + number.to_bytes(4, "big") + b"\x00", chunk, None)
    #     number += 1
    ### END BUG


def open_chunks(sealed: Iterable[bytes], key: bytes) -> Iterator[bytes]:
    """The chunks of a file of `seal_chunks`, from what it yielded; ValueError where it is not whole.

    sealed: the pieces in order, read once, one after the other. key: 16 or 32 bytes.
    Yields the chunks as they were given (one empty chunk where there were none). A chunk is handed
    out only if its own tag fits; ValueError is raised at the first piece that does not: changed,
    moved, doubled, of another file, under another key, or the last one of a file that was cut off
    (also one of which only the header, or nothing, is left). Chunks that came before must then be
    thrown away. Whether the true last chunk comes out before a piece behind it is refused is free.
    Memory: at most three chunks at a time.
    """
    ### BEGIN SOLUTION
    pieces = iter(sealed)
    cipher, header, number = AESGCM(key), next(pieces, b""), 0
    waiting = next(pieces, None)
    if waiting is None:
        raise ValueError("the file ends before its first chunk")
    while waiting is not None:
        following = next(pieces, None)
        last = b"\x01" if following is None else b"\x00"
        try:
            chunk = cipher.decrypt(header + number.to_bytes(4, "big") + last, waiting, None)
        except InvalidTag:
            raise ValueError(f"chunk {number} was changed, moved, or is not the last one") from None
        yield chunk
        waiting, number = following, number + 1
    ### END SOLUTION
    ### BEGIN BUG
    # pieces = iter(sealed)
    # cipher, header, number = AESGCM(key), next(pieces, b""), 0
    # if len(header) != 7:
    #     raise ValueError("the file has no header of 7 bytes")
    # for piece in pieces:
    #     try:
    #         chunk = cipher.decrypt(header + number.to_bytes(4, "big") + b"\x00", piece, None)
    #     except InvalidTag:
    #         raise ValueError(f"chunk {number} was changed or moved") from None
    #     yield chunk
    #     number += 1
    ### END BUG


# %% [markdown] hints="seal_chunks"
# <details><summary>Hint 1: two files</summary>
#
# Seal two files under one key, and print the nonces. Compare what the second file's first nonce should be.
# </details>
# <details><summary>Hint 2: a shorter file</summary>
#
# Leave out the last piece and open the rest: it opens. Which byte of the nonce should have told? To know that a chunk
# is the last one, look one chunk ahead, in both functions.
# </details>
# <details><summary>Hint 3: looking ahead</summary>
#
# Keep one chunk waiting: when the next one comes, the waiting one is sealed with `b"\x00"`; when none comes, with
# `b"\x01"`. The same in `open_chunks`. If there was no chunk at all, seal `b""` as the last one; a file with no chunk
# does not open.
# </details>

# %% check="seal_chunks"
with check("seal_chunks"):
    secret_key = bytes(range(32))
    text = [b"one", b"", b"three"]
    pieces = list(itertools.islice(seal_chunks(text, secret_key), 20))
    assert [len(piece) for piece in pieces] == [7, 19, 16, 21], "a header of 7 bytes; each chunk gets 16 bytes of tag"
    assert list(open_chunks(pieces, secret_key)) == text, "what was sealed comes back"
    headers = {next(iter(seal_chunks(text, secret_key))) for _ in range(5)}
    assert len(headers) == 5, "two files under one key begin with the same 7 bytes, so their nonces are the same"
    nonce = pieces[0] + bytes([0, 0, 0, 2]) + b"\x01"
    try:
        assert AESGCM(secret_key).decrypt(nonce, pieces[3], None) == b"three"
    except InvalidTag:
        raise AssertionError("the last chunk's nonce ends with the byte 1") from None
    cases = {
        "cut off at the end": pieces[:3],
        "cut off after the header": pieces[:1],
        "in another order": [pieces[0], pieces[2], pieces[1], pieces[3]],
        "with a doubled last chunk": [*pieces, pieces[3]],
        "changed in one bit": [*pieces[:3], pieces[3][:-1] + bytes([pieces[3][-1] ^ 1])],
    }
    for name, file in cases.items():
        with expect_raises(ValueError, hint=f"a file {name} must not open"):
            list(open_chunks(file, secret_key))
    assert list(open_chunks(list(seal_chunks([], secret_key)), secret_key)) == [b""], "no chunks: one empty chunk"
    header, *many = itertools.islice(seal_chunks([b"x"] * 300, secret_key), 400)
    nonces = [header + bytes([0, 0, i // 256, i % 256, i == 299]) for i in range(300)]
    assert many == [AESGCM(secret_key).encrypt(n, b"x", None) for n in nonces], "the number has 4 bytes: 0 to 299 here"

# %% [markdown]
# What a repeated nonce gives away, in one line: the XOR of two ciphertexts is the XOR of the plaintexts. Whoever knows
# one message reads the other one. The key was never touched.

# %% tags=["demo"]
known, hidden = b"Dear Sir, all results are fine.", b"Dear Sir, you have malaria, so."
cipher, nonce = AESGCM(secrets.token_bytes(32)), bytes(12)
first, second = cipher.encrypt(nonce, known, None), cipher.encrypt(nonce, hidden, None)
print("read without the key:", bytes(a ^ b ^ c for a, b, c in zip(first, second, known, strict=False)).decode())

# %% [markdown]
# ## Scale it
#
# ### Clipping at size
#
# Five ways from a batch to the clipped sum, for a network with 64 inputs, 128 tanh units and 10 outputs. *Loop*: a
# backward pass for each row. *vmap*: all gradients at once, by torch.func. *Yours*: forward and backward in NumPy, then
# `clipped_sum`. *Opacus, hooks*: the library stores a gradient for each row. *Opacus, ghost*: it uses norms as you do,
# with a second backward pass. The right panel is not measured but counted, from the shapes: the bytes that are held
# beside the inputs and signals of the layers. These are gradients of single rows, of all (vmap, hooks) or of one at a
# time (loop), or, for yours, a copy of the widest signals and the norms.

# %% tags=["demo"]
sizes = np.array(demo_size(full=(16, 64, 256, 1024), small=(16, 64)))
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.Tanh(), torch.nn.Linear(128, 10)).double()
parameters = [p.detach().numpy() for p in net.parameters()]
count = sum(p.size for p in parameters)


def batch_of(B):
    rng = np.random.default_rng(B)
    return rng.standard_normal((B, 64)), rng.integers(10, size=B)


def yours(X, y):
    W1, b1, W2, b2 = parameters
    H = np.tanh(X @ W1.T + b1)
    Z = H @ W2.T + b2
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    D2 = E / E.sum(axis=1, keepdims=True)
    D2[np.arange(len(y)), y] -= 1
    return [g for pair in clipped_sum([(X, (D2 @ W2) * (1 - H**2)), (H, D2)], 1.0) for g in pair]


def clipped_of(rows):
    """From the gradients of all rows, [(B, ...)] for each parameter, to the clipped sum."""
    norms = torch.sqrt(sum((g.flatten(1) ** 2).sum(dim=1) for g in rows))
    factor = torch.clamp(1.0 / norms, max=1.0)
    return [torch.tensordot(factor, g, 1).numpy() for g in rows]


def loop(X, y):
    sums = [np.zeros_like(p) for p in parameters]
    for row, label in zip(torch.from_numpy(X), torch.from_numpy(y), strict=True):
        grads = torch.autograd.grad(
            torch.nn.functional.cross_entropy(net(row[None]), label[None]), list(net.parameters())
        )
        factor = min(1.0, 1.0 / math.sqrt(sum(float((g**2).sum()) for g in grads)))
        for total, g in zip(sums, grads, strict=True):
            total += factor * g.numpy()
    return sums


def by_vmap(X, y):
    values = {name: p.detach() for name, p in net.named_parameters()}

    def loss(values, row, label):
        return torch.nn.functional.cross_entropy(torch.func.functional_call(net, values, (row[None],)), label[None])

    rows = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(
        values, torch.from_numpy(X), torch.from_numpy(y)
    )
    return clipped_of(list(rows.values()))


ways = {"loop": (loop, False), "vmap": (by_vmap, True), "yours": (yours, False)}
opacus = engines.library("opacus")
if opacus is not None:
    import copy

    from opacus.grad_sample import GradSampleModule
    from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hooked = GradSampleModule(copy.deepcopy(net), loss_reduction="sum")
        ghosts = GradSampleModuleFastGradientClipping(
            copy.deepcopy(net), max_grad_norm=1.0, use_ghost_clipping=True, loss_reduction="sum"
        )

    def by_hooks(X, y):
        hooked.zero_grad()
        torch.nn.functional.cross_entropy(hooked(torch.from_numpy(X)), torch.from_numpy(y), reduction="sum").backward()
        return clipped_of([p.grad_sample for p in hooked.parameters()])

    def by_ghosts(X, y):
        ghosts.zero_grad()
        losses = torch.nn.functional.cross_entropy(ghosts(torch.from_numpy(X)), torch.from_numpy(y), reduction="none")
        ghosts.disable_hooks()
        ghosts.enable_hooks()
        losses.sum().backward(retain_graph=True)
        factor = ghosts.get_clipping_coef()
        ghosts.zero_grad()
        ghosts.disable_hooks()
        (losses * factor).sum().backward()
        ghosts.enable_hooks()
        return [p.grad.numpy() for p in ghosts.parameters()]

    ways |= {"opacus, hooks": (by_hooks, True), "opacus, ghost": (by_ghosts, False)}

seconds, off = {name: [] for name in ways}, 0.0
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for B in sizes.tolist():
        X_batch, y_batch = batch_of(B)
        answers = {}
        for name, (way, _) in ways.items():
            if name == "loop" and B > 256:
                continue
            answers[name] = way(X_batch, y_batch)
            spent = []
            for _ in range(3):
                begun = time.process_time()
                way(X_batch, y_batch)
                spent.append(time.process_time() - begun)
            seconds[name].append(max(min(spent), 1e-6))
        for found in answers.values():
            off = max(off, *(float(np.abs(a - b).max()) for a, b in zip(found, answers["vmap"], strict=True)))
print(f"largest difference between the ways: {off:.1e}")
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for number, name in enumerate(ways):
    spent = seconds[name]
    slope = np.polyfit(np.log(sizes[: len(spent)]), np.log(spent), 1)[0]
    left.plot(
        sizes[: len(spent)],
        spent,
        marker="osD^v"[number],
        color=plotting.COLOURS[number],
        label=name + f", slope {slope:.2f}" * (len(sizes) > 2),
    )
for number, (name, per_row) in enumerate({"vmap, hooks: all rows": 1, "loop: one row": 0}.items()):
    right.plot(
        sizes,
        np.where(per_row, sizes, 1) * count * 8,
        marker="os"[number],
        color=plotting.COLOURS[number + 1],
        label=name,
    )
right.plot(sizes, sizes * 8 * (128 + 1), marker="D", color=plotting.COLOURS[3], label="yours: scaled signals, norms")
left.set(
    xscale="log",
    yscale="log",
    xlabel="rows of a batch",
    ylabel="CPU seconds",
    title="One product a layer beats a gradient a row",
)
right.set(
    xscale="log",
    yscale="log",
    xlabel="rows of a batch",
    ylabel="bytes, counted",
    title="Counted: norms need no gradients of rows",
)
left.legend(loc="upper left", fontsize=8)
right.legend(loc="upper left", fontsize=8)
for ax in (left, right):
    ax.set_xticks(sizes, sizes)
    ax.minorticks_off()
left.set_ylim(top=left.get_ylim()[1] * 30)
right.set_ylim(top=right.get_ylim()[1] * 100)
plt.show()

# %% [markdown]
# All ways agree to rounding, but for the ghosts: opacus adds $10^{-6}$ to each norm. Yours and the ghosts need the
# least time for large batches, and yours does without torch's overhead for small layers. The loop holds the least bytes
# and needs the most time. Opacus wins as soon as the model is not a stack of linear layers: it knows the norms for
# convolutions, embeddings and recurrent layers (for $T$ positions that share weights the norm needs the $T \times T$
# products of inputs and of signals), and it counts the privacy on the way.
#
# ### Your accountant beside the library's
#
# Opacus' RDP accountant uses the same bound, with fractional orders up to 11 and integers up to 63; yours here has
# integers up to 512. So opacus' bound is a little lower where the best order is small, and higher where $\varepsilon$
# is small, which wants large orders (the second line). Its PRV accountant follows the whole law of the privacy loss on
# a grid, in place of its moments. It is the tightest where $\varepsilon$ is not small; its grid adds an error of 0.01,
# which counts where $\varepsilon$ is small. All are upper bounds for the same training; the truth is below.

# %% tags=["demo"]
cases = [(0.01, 1.0, 1000, 1e-5), (0.01, 10.0, 100, 1e-5), (0.001, 0.8, 10_000, 1e-6), (0.1, 4.0, 500, 1e-5)]
cases = cases[: demo_size(full=4, small=2)]
accounts = []
for q_case, sigma_case, T_case, delta_case in cases:
    found = [rdp_epsilon(q_case, sigma_case, T_case, delta_case, orders)]
    if opacus is not None:
        from opacus.accountants import PRVAccountant, RDPAccountant

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for accountant in (RDPAccountant(), PRVAccountant()):
                accountant.history = [(sigma_case, q_case, T_case)]
                found.append(float(accountant.get_epsilon(delta=delta_case)))
    accounts.append(found)
names = ("q", "sigma", "steps", "delta", "yours", "opacus RDP", "opacus PRV")[: 4 + len(accounts[0])]
cells = [
    (f"{case[0]:g}", f"{case[1]:g}", f"{case[2]:,}", f"{case[3]:.0e}", *(f"{epsilon:.3f}" for epsilon in found))
    for case, found in zip(cases, accounts, strict=True)
]
Table(names, cells, numeric=range(len(names)))

# %% [markdown]
# ### A sum of gradients that nobody may see
#
# Three hospitals, a gradient each, and only the sum shall be known. In plain, with shares (module 20), and with
# Paillier. For shares each number $s$, in fixed point, goes to three servers: server $z$ gets $s + az$ modulo the prime
# $2^{61} - 1$, with a random $a$. Each server adds up what it gets, and two of the three sums give the total: $2 q(1) -
# q(2)$. One server alone learns nothing; two that work together learn everything. The random numbers here are those of
# a simulation (a toy).

# %% tags=["demo"]
PRIME = 2**61 - 1


def share_vector(x, seed):
    """Shamir's shares of each number for the servers 1, 2, 3, threshold 2: three uint64 arrays below PRIME."""
    words = np.rint(x * 2**16).astype(np.int64) % PRIME
    a = np.random.default_rng(seed).integers(PRIME, size=len(x), dtype=np.uint64)
    return [(words.astype(np.uint64) + a * np.uint64(z)) % np.uint64(PRIME) for z in (1, 2, 3)]


def from_shares(one, two):
    """The numbers from the sums at servers 1 and 2."""
    prime = np.uint64(PRIME)
    words = (2 * one + (prime - two)) % prime
    return np.where(words > PRIME // 2, words.astype(np.int64) - PRIME, words.astype(np.int64)) / 2**16


d_sum = demo_size(full=20_000, small=2000)
clients = [np.random.default_rng(i).standard_normal(d_sum) for i in range(3)]
exact = sum(np.rint(x * 2**16) for x in clients) / 2**16
table = []
begun = time.process_time()
plain_sum = sum(clients)
table.append(("plain", "everything", "8", f"{(time.process_time() - begun) / d_sum * 1e6:.3f}"))
begun = time.process_time()
held = [share_vector(x, 100 + i) for i, x in enumerate(clients)]
at_server = [sum(held[i][z] for i in range(3)) % np.uint64(PRIME) for z in range(3)]
total = from_shares(at_server[0], at_server[1])
table.append(
    ("shares, 3 servers", "nothing, if no two meet", "24", f"{(time.process_time() - begun) / d_sum * 1e6:.3f}")
)
assert np.array_equal(total, exact), "the shares' sum is exact"
few = demo_size(full=6, small=3)
key_sizes = np.array(demo_size(full=(128, 256, 512, 1024), small=(64, 128, 256)))
spent_by_key = []
for bits in key_sizes.tolist():
    key = Paillier(bits, seed=bits)
    begun = time.process_time()
    for j in range(few):
        c = key.encrypt(round(clients[0][j] * 2**16), seed=j)
        for i in (1, 2):
            c = key.add(c, key.encrypt(round(clients[i][j] * 2**16), seed=1000 * i + j))
        assert key.decrypt(c) / 2**16 == exact[j], "the sum of ciphertexts is exact"
    spent_by_key.append((time.process_time() - begun) / few)
    table.append(
        (f"Paillier, {bits} bits", "nothing, without the key", f"{bits // 4}", f"{spent_by_key[-1] * 1e6:,.0f}")
    )
phe = engines.library("phe")
if phe is not None:
    bits = int(key_sizes[-1])
    public, private = phe.paillier.generate_paillier_keypair(n_length=bits)
    begun = time.process_time()
    for j in range(few):
        c = public.encrypt(round(clients[0][j] * 2**16))
        for i in (1, 2):
            c = c + public.encrypt(round(clients[i][j] * 2**16))
        assert private.decrypt(c) / 2**16 == exact[j], "phe's sum is exact"
    spent_by_phe = (time.process_time() - begun) / few
    table.append((f"phe, {bits} bits", "nothing, without the key", f"{bits // 4}", f"{spent_by_phe * 1e6:,.0f}"))
Table(("sum of three", "a server sees", "bytes sent a number", "CPU µs a number"), table, numeric=(2, 3))

# %% tags=["demo"]
hours = spent_by_key[-1] * (2048 / key_sizes[-1]) ** 3 * 10**6 / 3600
print(f"10^6 numbers with 2048 bits, if the work grows like the third power of the bits: some {hours:,.0f} CPU hours")
figure, ax = plt.subplots(figsize=(7, 4))
slope = np.polyfit(np.log(key_sizes), np.log(spent_by_key), 1)[0]
ax.plot(key_sizes, spent_by_key, marker="o", color=plotting.COLOURS[0], label=f"yours, slope {slope:.2f}")
if phe is not None:
    ax.plot([key_sizes[-1]], [spent_by_phe], "s", color=plotting.COLOURS[1], markersize=9, label="phe")
ax.set(
    xscale="log",
    yscale="log",
    xlabel="bits of the key",
    ylabel="CPU seconds for a sum of three",
    ylim=(10 ** math.floor(math.log10(min(spent_by_key))), 10 ** math.ceil(math.log10(max(spent_by_key)) + 0.3)),
    title="Twice the key, several times the work",
)
ax.set_xticks(key_sizes, key_sizes)
ax.minorticks_off()
ax.legend(loc="upper left")
plt.show()

# %% [markdown]
# A power modulo $n^2$ has as many multiplications as the key has bits, and each costs the square of the length: up to
# the third power in all (less for short numbers, where Python's overhead counts). The line above the figure carries
# this on to a model of $10^6$ parameters and a key of 2048 bits; shares take seconds for as many. So federated systems
# use masks and shares, and homomorphic encryption serves where a single server must compute and nobody else is there.
# phe does the same arithmetic; it is faster where `gmpy2` is installed. For vectors there are lattice schemes (CKKS,
# BFV) that encrypt thousands of numbers in one ciphertext.
#
# ### What encryption does, and what it does not
#
# Encryption keeps *outsiders* from data: whoever has no key. It never keeps a *result* from telling. A mean over an
# encrypted sum is the same mean, and the subtraction of two of them finds the same patient as at the top of this
# module. Noise bounds what a result tells, and keeps nobody from the data. So a system needs both, at different places:
# files sealed at rest, sums that no server reads, noise before the total is opened, and an audit of the code that does
# it.
#
# ### Where it breaks
#
# - **One row is not one person.** For ten rows of one patient, $\varepsilon$ is ten times as large, and $\delta$ grows
#   by a factor of about $e^{9\varepsilon}$, after which nothing may be left of the promise. Clip per person.
# - **Each look costs.** Choosing the learning rate by ten private runs is ten runs of privacy.
# - **Small groups.** A bound that holds for everybody makes the noise large beside a group of fifty: their accuracy
#   falls most. Module 22 measures such differences between groups.
# - **$\varepsilon = 8$** lets odds change by a factor of 3,000 in the worst case. The number is a bound for every
#   attacker and every data set; it is comparable between systems only with $\delta$, the neighbours and what a row is.
# - **Floating point and randomness.** The proofs are about real numbers and true randomness.
# - **Keys.** Who holds them, who can ask for them, and what is left in memory decides more than the cipher.

# %% [markdown] written="three_words" points=2
# **Written question (2 points).** A company writes about its health app: "Your data are *anonymised*, *encrypted*, and
# our learning is *federated*. So nobody can learn anything about you." Go through the three words. Who is kept from
# what by each of them, and who is not? Then name one thing that none of the three does and that this module does, with
# the number that says how well.
#
# ### BEGIN SOLUTION
# Anonymised (names removed or classes made coarse): keeps a reader without other knowledge from seeing a name. It does
# not keep out someone with a register or with a second release, who links quasi-identifiers; nor does a class with one
# diagnosis protect its members. Encrypted: keeps outsiders without the key from the content, on disk and on the way.
# The company's own programs have the key, and results that are computed from the data tell the same as without
# encryption. Federated: keeps raw rows from the server. The updates and the final model depend on them; a single
# row's gradient can be inverted, and with secure sums the total and the model still tell. None of them bounds what the
# published result says about one person. Differential privacy does: clipping each person's contribution and noise, with
# (epsilon, delta) from an accountant, and an audit as a lower bound.
#
# ### RUBRIC
# - 0.5: Anonymised: hides names from a reader without other data, and fails against linkage (a register, two releases,
#   or a class with one secret).
# - 0.5: Encrypted: keeps those without the key out, and not those who hold the key or who see results.
# - 0.5: Federated: rows stay away from the server, and updates, sums or the model still tell about them.
# - 0.5: Names differential privacy (clipping and noise) as what bounds what a result tells about one person, with
#   epsilon (and delta) as the number.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. l-diversity asks for $l$ different secrets in each class. Build two releases that have it and still meet in one
#    secret for some patient. What would a rule need that survives every second release?
# 2. The accountant takes integer orders only. For which $q$, $\sigma$ and $T$ does it lose most against the PRV
#    accountant?
# 3. An audit needs thousands of trainings. How much can one training with a thousand independent canaries prove
#    (Steinke, Nasr and Jagielski, 2023)?
# 4. A convolution shares its weights over $T$ positions. Derive the norm of one row's gradient from the $T \times T$
#    products of inputs and of signals. From which $T$ on is it cheaper to form the gradient?
# 5. A Paillier ciphertext of 2048 bits has room for many numbers of 32 bits. How many can be packed into one, if 1,000
#    clients' numbers shall be added up without a carry?
#
# References:
#
# - L. Sweeney, "k-anonymity: a model for protecting privacy", *International Journal of Uncertainty, Fuzziness and
#   Knowledge-Based Systems*, 2002. Linkage by postcode, birth date and sex.
# - S. R. Ganta, S. P. Kasiviswanathan and A. Smith, "Composition attacks and auxiliary information in data privacy",
#   *KDD*, 2008. Two releases that meet: `possible`.
# - A. Meyerson and R. Williams, "On the complexity of optimal k-anonymity", *PODS*, 2004. Why there are ladders.
# - C. Dwork, F. McSherry, K. Nissim and A. Smith, "Calibrating noise to sensitivity in private data analysis",
#   *TCC*, 2006. The definition and Laplace noise.
# - C. Dwork and A. Roth, *The Algorithmic Foundations of Differential Privacy*, 2014. The textbook, free.
# - B. Balle and Y.-X. Wang, "Improving the Gaussian mechanism for differential privacy", *ICML*, 2018. The exact
#   condition.
# - I. Mironov, "On significance of the least significant bits for differential privacy", *CCS*, 2012. Why
#   floating-point noise leaks.
# - I. Mironov, "Rényi differential privacy", *CSF*, 2017; I. Mironov, K. Talwar and L. Zhang, "Rényi differential
#   privacy of the sampled Gaussian mechanism", arXiv:1908.10530, 2019. The accountant of 21.3.
# - C. Canonne, G. Kamath and T. Steinke, "The discrete Gaussian for differential privacy", *NeurIPS*, 2020. The better
#   conversion, and noise without floating point.
# - S. Gopi, Y. T. Lee and L. Wutschitz, "Numerical composition of differential privacy", *NeurIPS*, 2021. The PRV
#   accountant.
# - M. Abadi, A. Chu, I. Goodfellow, B. McMahan, I. Mironov, K. Talwar and L. Zhang, "Deep learning with differential
#   privacy", *CCS*, 2016. DP-SGD.
# - I. Goodfellow, "Efficient per-example gradient computations", arXiv:1510.01799, 2015; X. Li, F. Tramèr, P. Liang and
#   T. Hashimoto, "Large language models can be strong differentially private learners", *ICLR*, 2022. Norms without
#   gradients.
# - M. Jagielski, J. Ullman and A. Oprea, "Auditing differentially private machine learning", *NeurIPS*, 2020; F.
#   Tramèr, A. Terzis, T. Steinke, S. Song, M. Jagielski and N. Carlini, "Debugging differential privacy: a case study
#   for privacy auditing", arXiv:2202.12219, 2022. An audit that found a wrong implementation.
# - T. Steinke, M. Nasr and M. Jagielski, "Privacy auditing with one (1) training run", *NeurIPS*, 2023. Question 3.
# - C. Clopper and E. Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
#   *Biometrika*, 1934.
# - P. Paillier, "Public-key cryptosystems based on composite degree residuosity classes", *EUROCRYPT*, 1999.
# - V. T. Hoang, R. Reyhanitabar, P. Rogaway and D. Vizár, "Online authenticated-encryption and its nonce-reuse
#   misuse-resistance", *CRYPTO*, 2015. STREAM.
# - J. Near and C. Abuah, *Programming Differential Privacy*, 2021. Short programs for each mechanism; linkage in ten
#   lines.
#
# At work: Opacus or TensorFlow Privacy to train, OpenDP or Google's differential-privacy library for statistics, Tink
# or age for files, and OpenMined's TenSEAL or OpenFHE for homomorphic encryption. In all of them look up what the
# neighbours are, and who holds the key.
