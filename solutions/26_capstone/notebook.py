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
# # 26 · Capstone: choosing the algorithm
#
# **What you will be able to do.** Given data, a price list and a budget, decide which algorithm to use, prove the
# decision, and sign for it. You will find out what is wrong with a table before a model does, hold out what the future
# will look like, price mistakes, say what more data would buy and cost before you pay, and test once.
#
# **You need** modules 01 to 08: gradient descent, cross-validation and ROC curves, Pegasos and random features,
# boosting, a network. Modules 21, 22 and 24 help. Where you solved the earlier modules in `work/`, your own functions
# run in the demo cells here.
#
# **Skills it trains**: data audits, time-aware validation, cost-sensitive decisions, learning curves, cost models,
# successive halving, adaptive data analysis, model selection, decision memos, model cards.
#
# **Time**: about six hours, of which three are eight exercises and a bug to find, and one is writing. Take a break
# after 26.3 and after 26.6. Each exercise says how important it is (essential, important, optional), its level, which
# is also its points, and its minutes.
#
# **Symbols**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $m$ | | | rows of a table |
# | $y$, $p$ | `y`, `p` | $(m,)$ | labels 0 or 1; predicted probabilities of 1 |
# | AUC | | | area under the ROC curve (module 04) |
# | $\chi^2$ | | | Pearson's statistic of a table of counts |
# | $t$ | `threshold` | | the decision is 1 if $p \ge t$ |
# | $L_{ij}$ | `cost` | $(2, 2)$ | cost of decision $j$ where the truth is $i$ |
# | $n$ | `n` | $(k,)$ | numbers of training rows that were tried; $k$ of them |
# | $e$, $s$ | `error`, `std` | $(k,)$ | errors measured there, and their standard errors |
# | $a$, $b$, $c$ | `"a"`, `"b"`, `"c"` | | learning curve $a + b\,n^{-c}$; $a$ is its floor |
# | $S$ | | | weighted sum of squares that a fit minimises |
# | $J$, $W$ | | $(k, 3)$, $(k, k)$ | derivatives of the curve by $(a, b, c)$; weights $1/s^2$ on the diagonal |
# | $f$, $q$, $r$ | `"fixed"`, `"per"`, `"power"` | | cost curve $f + q\,n^{r}$ |
# | $K$, $B$ | `arms`, `budget` | | arms (settings or algorithms); what may be spent on all of them |
# | $R_t$, $\delta$ | , `step` | | what a leaderboard has reported after $t$ submissions; its step |

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    from lsml_utils import checking, datasets, demo_size, own, plotting
    from lsml_utils.checking import check, expect_close, expect_raises, expect_shape, expect_unchanged
    from lsml_utils.tables import Table, seconds_text
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import math
import time as clock
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import scipy.optimize
import scipy.sparse
import scipy.stats
from threadpoolctl import threadpool_limits

plotting.use()
threadpool_limits(1)
checking.start("26_capstone", total=9)


def least(f, low, high):
    """The x in [low, high] with the least f(x): 100 places, then a search between the neighbours of the best one."""
    places = np.linspace(low, high, 100)
    values = [f(x) for x in places]
    i = int(np.argmin(values))
    bounds = (places[max(i - 1, 0)], places[min(i + 1, 99)])
    found = scipy.optimize.minimize_scalar(f, bounds=bounds, method="bounded", options={"xatol": 1e-10})
    return float(found.x) if found.fun < values[i] else float(places[i])


# %% [markdown]
# ## Derive and implement
#
# ### 26.1 `audit` · essential · level 3 of 4 · 30 min


# %% exercise="audit" points=3 minutes=30
def audit(columns: dict[str, np.ndarray], y: np.ndarray, time: np.ndarray, group: np.ndarray) -> list[tuple[str, str]]:
    """What is wrong with a table, by column.

    columns: names and arrays of shape (m,): floats (finite or nan), integers of any kind (up to 2^53
      in size), bool, or strings (dtype U). It may be empty. Missing is nan in a float column and "" in a string column.
    y: (m,) labels 0 or 1, integers of any kind or bool. time: (m,) finite floats or integers. group:
      (m,) integers of any kind. m >= 2. Nothing is modified.

    Rows that agree in all columns, y, time and group (missing agrees with missing) count once: all
    findings but the last are about the table in which each of them stands once. A column gets at
    most one code, the first in this list that holds:
    - "constant": all its values are equal; missing counts as a value.
    - "duplicate": in each row equal to an earlier column of the dict, and missing where that is
      missing. Numbers and bool are compared as numbers, strings with strings only.
    - "identifier": integers or strings, none missing, and either all values differ, or values and
      groups go one to one: equal values where and only where the groups are equal.
    - "future": its name ends in "_at", it holds numbers, and one of them is above its row's time.
    - "leak": numbers or bool; over its rows that are not missing, which hold both classes, the AUC of
      its values as a score for y is at least 0.99 or at most 0.01 (a tie counts one half).
    - "missing_tells": Pearson's chi-squared of the 2 x 2 table of (missing or not) and y, without
      continuity correction, is above 23.93: independence is refused at level 1e-6. Where a row or
      a column of the 2 x 2 table is empty there is no finding.
    No test has an AUC within 1e-6 of a limit, or a chi-squared within 1% of it.

    Returns a list of (name, code) in the order of columns; if there are rows that agree in
    everything, ("", "doubled_rows") is its last entry. Time O(m log m) a column: a million rows take
    a few seconds.
    """

    ### BEGIN SOLUTION
    def auc(score, y):
        positives = np.count_nonzero(y)
        negatives = len(y) - positives
        if not positives or not negatives:
            return 0.5
        ranks = scipy.stats.rankdata(score)
        return (ranks[y].sum() - positives * (positives + 1) / 2) / positives / negatives

    def chi_squared(missing, y):
        both, alone = np.count_nonzero(missing & y), np.count_nonzero(missing & ~y)
        other, rest = np.count_nonzero(~missing & y), np.count_nonzero(~missing & ~y)
        margins = (both + alone) * (other + rest) * (both + other) * (alone + rest)
        return (both * rest - alone * other) ** 2 * len(y) / margins if margins else 0.0

    def same(one, other):
        alike = (one.dtype.kind == "U") == (other.dtype.kind == "U")
        return alike and np.array_equal(one, other, equal_nan=one.dtype.kind != "U")

    kinds = np.zeros(len(y), np.int64)  # equal numbers: rows that agree so far
    for values in [*columns.values(), y, time, group]:
        codes = np.unique(values, return_inverse=True)[1]
        kinds = np.unique(kinds * (codes.max() + 1) + codes, return_inverse=True)[1]
    rows = np.unique(kinds, return_index=True)[1]
    y, time = y[rows].astype(bool), time[rows].astype(float)
    groups = np.unique(group[rows], return_inverse=True)[1]
    found, earlier = [], []
    for name, values in columns.items():
        text, integer = values.dtype.kind == "U", values.dtype.kind in "iu"
        values = values[rows] if text else values[rows].astype(float)
        missing = values == "" if text else np.isnan(values)
        codes = np.unique(values, return_inverse=True)[1]
        count = codes.max() + 1
        pairs = len(np.unique(codes * len(y) + groups))
        if count == 1:
            found.append((name, "constant"))
        elif any(same(values, other) for other in earlier):
            found.append((name, "duplicate"))
        elif (text or integer) and not missing.any() and (count == len(y) or count == pairs == groups.max() + 1):
            found.append((name, "identifier"))
        elif not text and name.endswith("_at") and np.any(values > time):
            found.append((name, "future"))
        elif not text and abs(auc(values[~missing], y[~missing]) - 0.5) >= 0.49:
            found.append((name, "leak"))
        elif chi_squared(missing, y) > 23.93:
            found.append((name, "missing_tells"))
        earlier.append(values)
    return found + [("", "doubled_rows")] * (len(rows) < len(kinds))
    ### END SOLUTION


# %% [markdown] hints="audit"
# <details><summary>Hint 1: numbers instead of rows</summary>
#
# `np.unique(values, return_inverse=True)[1]` numbers the different values of one column; nan equals nan there. Two rows
# agree if all their numbers agree. Combine two columns into one by `first * (second.max() + 1) + second`, and number the
# result again so that it stays small.
# </details>
# <details><summary>Hint 2: one finding a column</summary>
#
# Keep one row of each kind first. Then an `if`, `elif` chain in the order of the list gives each column at most one code.
# Values and groups go one to one if there are as many different values as groups, and as many different pairs.
# </details>
# <details><summary>Hint 3: the two statistics</summary>
#
# With `ranks = scipy.stats.rankdata(score)` (ties share their mean rank) the AUC is
# `(ranks[y].sum() - n1 * (n1 + 1) / 2) / (n1 * n0)`. With the counts `A, B` in the first and `C, D` in the second row,
# Pearson's chi-squared is `m * (A * D - B * C)**2 / ((A + B) * (C + D) * (A + C) * (B + D))`.
# </details>

# %% check="audit"
with check("audit"):
    y_small = np.arange(60) % 2
    time_small, group_small = np.arange(60) * 1.0, np.arange(60) // 3
    plain = np.arange(60) // 2 % 5  # tells nothing about y
    small = {
        "plain": plain,
        "always": np.full(60, 7.5),
        "again": plain.astype(float),
        "number": np.arange(60)[::-1].copy(),
        "who": np.array([f"customer {g}" for g in group_small]),
        "closed_at": time_small + plain - 1,
        "opened_at": time_small - plain % 3,
        "after": 3.0 * y_small,
        "stars": np.where(y_small == 1, plain, np.nan),
    }
    expected = [("always", "constant"), ("again", "duplicate"), ("number", "identifier"), ("who", "identifier")]
    expected += [("closed_at", "future"), ("after", "leak"), ("stars", "missing_tells")]
    numeric = {name: values for name, values in small.items() if name != "who"}
    with expect_unchanged(y_small=y_small, time_small=time_small, group_small=group_small, **numeric):
        found = audit(small, y_small, time_small, group_small)
    assert found == expected, f"expected {expected}, and not {found}"
    twice = np.append(np.arange(60), [5, 5, 9])  # three rows come again
    copies = {name: values[twice] for name, values in small.items()}
    found = audit(copies, y_small[twice], time_small[twice], group_small[twice])
    assert found == [*expected, ("", "doubled_rows")], (
        f"rows that agree count once: 'number' still differs; not {found}"
    )
    found = audit({"down": -1.0 * y_small, "constant": np.full(60, np.nan)}, y_small, time_small, group_small)
    assert found == [("down", "leak"), ("constant", "constant")], f"an AUC of 0 tells as much as one of 1; not {found}"

# %% [markdown]
# ### 26.2 `grouped_time_split` · essential · level 2 of 4 · 15 min


# %% exercise="grouped_time_split" points=2 minutes=15 forbids=["sklearn"]
def grouped_time_split(time: np.ndarray, group: np.ndarray, share: float, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to test on: the test is later, after a gap, and has other groups.

    time: (m,), m >= 1, finite numbers of any kind, up to 2^53 in size, in any order, ties allowed.
    group: (m,) integers of any kind. Nothing is modified.
    share: 0 < share < 1. gap: a float >= 0, in the units of time.

    Let k = max(1, int(share * m)), and let T be the k-th largest time.
    test: all rows with time >= T (more than k where times tie).
    train: all rows with time < T - gap whose group has no row in test. (In the tests T - gap is
    exact in float64; so is every time.)

    Returns (train, test): two new int64 arrays of row numbers, each in ascending order.
    Raises ValueError unless 0 < share < 1 and gap >= 0 (also for nan), and where train is empty.
    Time O(m log m): a million rows with half a million groups take about a second.
    Forbidden: sklearn.
    """
    ### BEGIN SOLUTION
    if not 0 < share < 1 or not gap >= 0:
        raise ValueError("share must be between 0 and 1, gap not negative")
    time = time.astype(np.float64)
    first = np.sort(time)[-max(1, int(share * len(time)))]
    later = time >= first
    train = np.flatnonzero((time < first - gap) & ~np.isin(group, group[later]))
    if not len(train):
        raise ValueError("no row is left to train on")
    return train, np.flatnonzero(later)
    ### END SOLUTION


# %% [markdown] hints="grouped_time_split"
# <details><summary>Hint 1: where the test begins</summary>
#
# `np.sort(time)[-k]` is the k-th largest time. Make times float64 first: unsigned integers have no negative differences.
# </details>
# <details><summary>Hint 2: nearly the answer</summary>
#
# `later = time >= T` is the test. A row trains if `time < T - gap` and not `np.isin(group, group[later])`. The rows
# between the two belong to nobody. `np.flatnonzero` turns both into row numbers.
# </details>

# %% check="grouped_time_split"
with check("grouped_time_split", forbids=["sklearn"]):
    time_small = np.array([5.0, 1.0, 9.0, 3.0, 7.0, 9.0, 2.0, 8.0, 6.0, 4.0])
    group_small = np.array([10, 11, 12, 13, 14, 15, 12, 16, 17, 13])
    with expect_unchanged(time_small=time_small, group_small=group_small):
        train, test = grouped_time_split(time_small, group_small, 0.3, 2.0)
    # k = 3, so T = 8: rows 2, 5 and 7 (times 9, 9, 8). T - gap = 6: time 6 is in the gap, and group 12 is in the test.
    expect_close(test, [2, 5, 7], hint="the third largest time is 8")
    expect_close(
        train,
        [0, 1, 3, 9],
        hint="times below 8 - 2 = 6, without group 12",
        mistakes={
            "A group stands on both sides.": [0, 1, 3, 6, 9],
            "The gap is not left out.": [0, 1, 3, 4, 8, 9],
            "A row at T - gap belongs to the gap.": [0, 1, 3, 8, 9],
        },
    )
    assert train.dtype == test.dtype == np.int64, "row numbers are int64"
    train, test = grouped_time_split(time_small.astype(np.uint8), group_small, 0.1, 6.0)
    expect_close(test, [2, 5], hint="two rows tie at the largest time")
    expect_close(train, [1], hint="times below 3, without group 12")
    for share, gap in [(0.0, 1.0), (1.0, 1.0), (0.3, -1.0), (0.3, 7.0)]:
        with expect_raises(ValueError, hint="a share outside (0, 1), a negative gap, or an empty train"):
            grouped_time_split(time_small, group_small, share, gap)

# %% [markdown]
# ### 26.3 `cheapest_threshold` · essential · level 2 of 4 · 15 min


# %% exercise="cheapest_threshold" points=2 minutes=15 forbids=["sklearn"]
def cheapest_threshold(p: np.ndarray, y: np.ndarray, cost: np.ndarray) -> tuple[float, float]:
    """The threshold at which decisions cost least, and what they cost.

    p: (m,), m >= 1, finite floats, float64 or float32: the larger, the rather 1. They need not be
      probabilities. y: (m,), each 0 or 1, integers of any kind or bool; maybe of one class only.
    cost: (2, 2) numbers: cost[i, j] is the cost of decision j for a row whose y is i. Any sign, up
      to 1e6 in size; the diagonal need not be 0. Nothing is modified.

    The decision is 1 where p >= threshold. The candidates are inf (never 1) and each value that
    occurs in p; the smallest of them is "always 1".
    Returns (threshold, cost): two Python floats, the candidate with the least mean cost over the
    rows, and this cost, to within 1e-9 of the largest cost in size. Where several candidates have
    the least cost, the largest of them. (Where rounding decides, any of them is fine.)
    Time O(m log m): a million different values take about a second. Forbidden: sklearn.
    """
    ### BEGIN SOLUTION
    values, place = np.unique(p, return_inverse=True)
    y, cost = y.astype(bool), np.asarray(cost, np.float64)
    ones = np.bincount(place[y], minlength=len(values))[::-1].cumsum()  # y = 1 and decided 1, from the largest value on
    zeros = np.bincount(place[~y], minlength=len(values))[::-1].cumsum()
    ones, zeros = np.append(0, ones), np.append(0, zeros)
    total = cost[1, 1] * ones + cost[1, 0] * (ones[-1] - ones) + cost[0, 1] * zeros + cost[0, 0] * (zeros[-1] - zeros)
    best = int(np.argmin(total))
    threshold = math.inf if best == 0 else float(values[::-1][best - 1])
    return threshold, float(total[best] / len(y))
    ### END SOLUTION


# %% [markdown] hints="cheapest_threshold"
# <details><summary>Hint 1: what changes from one candidate to the next</summary>
#
# Begin with inf: all decisions are 0. The next candidate is the largest value of p. Only the rows with that value
# change their decision from 0 to 1. Rows with equal values change together.
# </details>
# <details><summary>Hint 2: counts</summary>
#
# Sort by p, largest first. Cumulative counts of y = 1 and of y = 0 say, for each candidate, how many of both are decided
# 1; all others are decided 0. Four counts times four costs is the total.
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `values, place = np.unique(p, return_inverse=True)`; `np.bincount(place[y == 1], minlength=len(values))[::-1].cumsum()`
# counts the ones that are decided 1; put a 0 before it for inf. `np.argmin` takes the first of equal totals, which is
# the largest threshold.
# </details>

# %% check="cheapest_threshold"
with check("cheapest_threshold", forbids=["sklearn"]):
    p_small, y_small = np.array([0.1, 0.4, 0.4, 0.6, 0.2, 0.8]), np.array([0, 1, 0, 0, 0, 1])
    price_small = np.array([[0.0, 1.0], [6.0, 0.0]])  # a missed 1 costs 6, a false alarm 1
    with expect_unchanged(p_small=p_small, y_small=y_small, price_small=price_small):
        got = cheapest_threshold(p_small, y_small, price_small)
    expect_close(
        got,
        (0.4, 2 / 6),  # rows 1, 2, 3 and 5 are decided 1: two false alarms, nothing missed
        hint="at 0.4 two false alarms cost 1 each; at 0.6 a missed row costs 6",
        mistakes={
            "cost[i, j]: i is the truth, j the decision.": (0.8, 1 / 6),
            "This is the sum over the rows; divide by m = 6.": (0.4, 2.0),
        },
    )
    assert all(type(number) is float for number in got), "two Python floats"
    free = np.array([[1.0, 0.0], [0.0, 2.0]])
    expect_close(
        cheapest_threshold(p_small[:1], np.array([1]), free), (math.inf, 0.0), hint="never 1 is a candidate, too"
    )
    same = cheapest_threshold(np.array([0.3, 0.7], np.float32), np.array([0, 0]), np.array([[2.0, 2.0], [0.0, 0.0]]))
    expect_close(same, (math.inf, 2.0), hint="all candidates cost the same: the largest")

# %% [markdown]
# ### 26.4 `learning_curve` · essential · level 3 of 4 · 25 min


# %% exercise="learning_curve" points=3 minutes=25 forbids=["sklearn"]
def learning_curve(n: np.ndarray, error: np.ndarray, std: np.ndarray, target: float) -> dict[str, object]:
    """Fit error = a + b n^-c, and say how many rows reach a target.

    n: (k,) numbers of rows, integers of any kind or floats, from 10 to 1e7; at least three different
      ones. error: (k,) floats, measured at n. std: (k,) floats > 0, their standard errors.
      target: a float. k >= 3. Nothing is modified.

    (a, b, c) minimise S = sum ((a + b n^-c - error) / std)^2 over all real a and b and 0.1 <= c <= 2.
    Your S may lie above the least one by 1e-6 (1 + S). In the tests b is positive, and c may be at
    one of its ends.

    Returns a dict:
      "a", "b", "c": Python floats.
      "interval": (low, high), a - 1.96 sqrt(C[0, 0]) and a + 1.96 sqrt(C[0, 0]), two Python floats.
        C is the inverse of J^T W J (3 x 3): row i of J holds the derivatives of a + b n_i^-c by
        a, b and c, (1, n_i^-c, -b log(n_i) n_i^-c), and W is diagonal with 1 / std_i^2. The tests
        allow one hundredth of the interval's width.
      "rows_needed": the real number n with a + b n^-c = target, a Python float, not rounded; inf
        where target <= a.
    Raises ValueError if fewer than three of the n differ, or unless all std > 0.
    Forbidden: sklearn. (scipy.optimize is allowed.)
    """
    ### BEGIN SOLUTION
    n, error, std = (np.asarray(v).astype(np.float64) for v in (n, error, std))
    if len(np.unique(n)) < 3 or not np.all(std > 0):
        raise ValueError("at least three different numbers of rows, and standard errors above 0")
    weights = std**-2.0 / np.sum(std**-2.0)
    scaled = n / n.min()  # n^-c stays of size 1

    def solve(c):
        """The best a and b for this c, a straight line in n^-c, and S; b belongs to scaled."""
        x = scaled**-c
        middle, level = weights @ x, weights @ error
        b = weights @ ((x - middle) * (error - level)) / (weights @ (x - middle) ** 2)
        a = level - b * middle
        return a, b, np.sum(((a + b * x - error) / std) ** 2)

    c = least(lambda c: solve(c)[2], 0.1, 2.0)
    a, b, _ = solve(c)
    b *= n.min() ** c
    power = n**-c
    derivatives = np.stack([np.ones(len(n)), power, -b * np.log(n) * power], axis=1) / std[:, None]
    lengths = np.linalg.norm(derivatives, axis=0)  # columns of length 1: the inverse keeps its digits
    half = 1.96 * float(np.linalg.norm(np.linalg.pinv(derivatives / lengths)[0])) / lengths[0]
    needed = math.inf if target <= a else float((b / (target - a)) ** (1 / c))
    return {
        "a": float(a),
        "b": float(b),
        "c": float(c),
        "interval": (float(a - half), float(a + half)),
        "rows_needed": needed,
    }
    ### END SOLUTION


# %% [markdown] hints="learning_curve"
# <details><summary>Hint 1: one unknown at a time</summary>
#
# For a fixed `c` the curve is linear in `a` and `b`: two columns, `1` and `n**-c`, each row divided by its `std`, and
# `np.linalg.lstsq`. So the least S is a function of `c` alone.
# </details>
# <details><summary>Hint 2: the search</summary>
#
# The setup cell has `least(f, low, high)`, which finds the place of the least value of a function of one number. Write
# the least S for a given `c` as a function, and hand it over with the ends 0.1 and 2.
# </details>
# <details><summary>Hint 3: interval and rows</summary>
#
# With the rows of J divided by `std`, `C = np.linalg.inv(J.T @ J)`. And `a + b n^-c = target` gives
# `n = (b / (target - a)) ** (1 / c)`.
# </details>

# %% check="learning_curve"
with check("learning_curve", forbids=["sklearn"]):
    n_small = np.array([100, 400, 1600, 6400])
    error_small = 0.2 + 3.0 * n_small**-0.5  # 0.5, 0.35, 0.275, 0.2375
    std_small = np.array([0.02, 0.01, 0.01, 0.005])
    with expect_unchanged(n_small=n_small, error_small=error_small, std_small=std_small):
        got = learning_curve(n_small, error_small, std_small, 0.21)
    assert set(got) == {"a", "b", "c", "interval", "rows_needed"}, (
        f"the keys are those of the docstring, not {set(got)}"
    )
    expect_close(
        [got["a"], got["b"], got["c"]],
        [0.2, 3.0, 0.5],
        rtol=1e-3,
        hint="these errors lie on a curve: a = 0.2, b = 3, c = 1/2",
    )
    expect_close(got["rows_needed"], 90_000, rtol=1e-2, hint="0.01 = 3 / sqrt(n)")
    expect_close(
        got["interval"],
        [0.16245, 0.23755],  # 0.2 -+ 1.96 * 0.01916
        atol=1e-3,
        rtol=0,
        hint="J has the columns 1, n^-c and -b log(n) n^-c, each row divided by its std",
        mistakes={"a and b alone: c has an error, too.": [0.18796, 0.21204]},
    )
    assert learning_curve(n_small, error_small, std_small, 0.19)["rows_needed"] == math.inf, "0.19 is below the floor"
    noisy = error_small + [0.1, 0.0, 0.0, 0.0]  # one poor measurement, and its std says so
    got = learning_curve(n_small, noisy, np.array([10.0, 0.01, 0.01, 0.005]), 0.3)
    expect_close(got["a"], 0.2, rtol=1e-2, hint="divide each row by its std: an error of 10 tells nothing")
    with expect_raises(ValueError, hint="two different sizes cannot show a floor"):
        learning_curve(np.array([100, 100, 400]), error_small[:3], std_small[:3], 0.3)

# %% [markdown]
# ### 26.5 `cost_curve` · important · level 2 of 4 · 15 min


# %% exercise="cost_curve" points=2 minutes=15 forbids=["sklearn"]
def cost_curve(n: np.ndarray, seconds: np.ndarray, budget: float) -> dict[str, float]:
    """Fit seconds = fixed + per n^power, and say how many rows a budget pays.

    n: (k,) numbers of rows, integers of any kind or floats, from 10 to 1e7; at least three different
      ones. seconds: (k,) floats > 0, measured at n. budget: a float > 0, in seconds. Nothing is
      modified.

    (fixed, per, power) minimise S = sum ((fixed + per n^power) / seconds - 1)^2, the squares of
    relative errors, over fixed >= 0, per >= 0 and 0.5 <= power <= 3. Your S may lie above the least
    one by 1e-8. In the tests the seconds grow with n, so per > 0.

    Returns a dict of Python floats:
      "fixed", "per", "power"; "affordable": the real number n with fixed + per n^power = budget, not
      rounded; 0.0 where budget <= fixed.
    Raises ValueError if fewer than three of the n differ, or unless all seconds > 0.
    Forbidden: sklearn. (scipy.optimize is allowed.)
    """
    ### BEGIN SOLUTION
    n, seconds = np.asarray(n).astype(np.float64), np.asarray(seconds).astype(np.float64)
    if len(np.unique(n)) < 3 or not np.all(seconds > 0):
        raise ValueError("at least three different numbers of rows, and seconds above 0")
    scaled = n / n.max()

    def solve(power):
        """The best fixed and per >= 0 for this power, and S; per belongs to scaled."""
        columns = np.stack([1 / seconds, scaled**power / seconds], axis=1)
        found, length = scipy.optimize.nnls(columns, np.ones(len(n)))
        return *found, length**2

    power = least(lambda power: solve(power)[2], 0.5, 3.0)
    fixed, per, _ = solve(power)
    per /= n.max() ** power
    affordable = 0.0 if budget <= fixed else float(((budget - fixed) / per) ** (1 / power))
    return {"fixed": float(fixed), "per": float(per), "power": float(power), "affordable": affordable}
    ### END SOLUTION


# %% [markdown] hints="cost_curve"
# <details><summary>Hint 1: relative errors</summary>
#
# Divide the row of each measurement by its seconds: the columns are `1 / seconds` and `n**power / seconds`, and the
# target is 1 in each row. For a fixed power this is linear least squares with two unknowns that are not negative.
# </details>
# <details><summary>Hint 2: nearly the answer</summary>
#
# `scipy.optimize.nnls(columns, ones)` gives the two unknowns and the root of S. `least(...)` of the setup cell finds the
# power. Scale `n` by its largest value first and undo it at the end, so that a power of 3 does not swamp the other column.
# Then `affordable = ((budget - fixed) / per) ** (1 / power)`.
# </details>

# %% check="cost_curve"
with check("cost_curve", forbids=["sklearn"]):
    n_small = np.array([100, 400, 1600, 6400])
    seconds_small = 2.0 + 1e-5 * n_small**1.5  # 2.01, 2.08, 2.64, 7.12
    with expect_unchanged(n_small=n_small, seconds_small=seconds_small):
        got = cost_curve(n_small, seconds_small, 12.0)
    assert set(got) == {"fixed", "per", "power", "affordable"}, f"the keys are those of the docstring, not {set(got)}"
    expect_close(
        [got["fixed"], got["power"]],
        [2.0, 1.5],
        rtol=1e-2,
        hint="these seconds lie on a curve: fixed = 2, power = 1.5",
    )
    expect_close(got["per"], 1e-5, rtol=2e-2, hint="per belongs to n itself")
    expect_close(
        got["affordable"],
        10_000,
        rtol=1e-2,
        hint="10 = 1e-5 n^1.5",
        mistakes={"This is n / seconds of the largest size: the price of a row grows.": 12 * 6400 / seconds_small[3]},
    )
    assert cost_curve(n_small, seconds_small, 1.0)["affordable"] == 0.0, "1 s does not even pay the fixed part"
    steep = cost_curve(n_small, np.array([1.0, 30.0, 1000.0, 30_000.0]), 1.0)
    assert steep["fixed"] >= 0 and 0.5 <= steep["power"] <= 3, "fixed and power keep to their limits"
    with expect_raises(ValueError, hint="two different sizes cannot show a fixed part"):
        cost_curve(np.array([100, 100, 400]), seconds_small[:3], 3.0)

# %% [markdown]
# ### 26.6 `successive_halving` · essential · level 3 of 4 · 20 min


# %% exercise="successive_halving" points=3 minutes=20
def successive_halving(run: Callable[[int, int], float], arms: int, budget: int) -> tuple[int, int]:
    """The best of many settings, found by running all for a little and few for long.

    run: run(arm, rows) trains setting `arm` (0 to arms - 1) on this many rows, from the beginning,
      and gives its loss, a Python float; nan for a run that diverged. It costs `rows`.
    arms: their number, a Python int >= 1. budget: rows that may be spent in all, a Python int.

    There are R rounds, R the smallest integer with 2^R >= arms. Begin with all arms. In each round:
    with s survivors, run each of them once with (budget // R) // s rows, in any order; then keep the
    ceil(s / 2) with the least losses of this round, and drop the others for good. Where losses tie,
    keep the lower numbers. nan counts as infinite.

    Returns (best, spent): the arm that is left and the sum of the rows of all runs, Python ints.
    A single arm is returned without any run. Raises ValueError, before any run, if arms < 1 or
    budget < R * arms.
    """
    ### BEGIN SOLUTION
    rounds = (arms - 1).bit_length()
    if arms < 1 or budget < rounds * arms:
        raise ValueError("at least one arm, and one row for each arm in each round")
    left, spent = list(range(arms)), 0
    for _ in range(rounds):
        rows = budget // rounds // len(left)
        losses = {arm: run(arm, rows) for arm in left}
        spent += rows * len(left)
        ranked = sorted(left, key=lambda arm: math.inf if math.isnan(losses[arm]) else losses[arm])
        left = sorted(ranked[: (len(left) + 1) // 2])
    return left[0], spent
    ### END SOLUTION


# %% [markdown] hints="successive_halving"
# <details><summary>Hint 1: rounds</summary>
#
# `(arms - 1).bit_length()` is R. Rounding halves up means that s goes 5, 3, 2, 1: three rounds for five arms.
# </details>
# <details><summary>Hint 2: what is charged</summary>
#
# Each run starts from the beginning, so each run costs its rows: also those of arms that are dropped later, and those of
# earlier rounds. Add `rows * len(left)` in every round.
# </details>
# <details><summary>Hint 3: ties and nan</summary>
#
# `sorted` keeps the order of what is equal: sort the survivors, in ascending order, by a key that is the loss, or
# `math.inf` where the loss is nan. Keep the first `(s + 1) // 2`.
# </details>

# %% check="successive_halving"
with check("successive_halving"):
    table_small = {8: [5.0, 3.0, 3.0, 9.0, math.nan], 13: [0.1, 2.0, 3.0, 0.0, 0.0], 20: [0.0, 4.0, 1.0, 0.0, 0.0]}
    calls_small = []

    def run_small(arm, rows):
        calls_small.append((arm, rows))
        assert len(calls_small) < 100, "far too many runs"
        assert rows in table_small, f"rounds have (40 // 5 = 8), (40 // 3 = 13) and (40 // 2 = 20) rows, not {rows}"
        return table_small[rows][arm]

    got = successive_halving(run_small, 5, 120)  # R = 3, 40 rows a round
    wanted = [(0, 8), (0, 13), (0, 20), (1, 8), (1, 13), (1, 20), (2, 8), (2, 13), (3, 8), (4, 8)]
    assert sorted(calls_small) == wanted, "arms 0, 1 and 2 survive the first round, 0 and 1 the second"
    expect_close(
        got,
        (0, 119),
        rtol=1e-12,
        hint="5 * 8 + 3 * 13 + 2 * 20 rows are spent",
        mistakes={"Only the last round is charged.": (0, 40), "This is the budget, not what was spent.": (0, 120)},
    )
    assert all(type(number) is int for number in got), "two Python ints"
    expect_close(successive_halving(run_small, 1, 0), (0, 0), hint="one arm needs no run")
    calls_small.clear()
    with expect_raises(ValueError, hint="14 rows are less than 3 rounds of 5 arms"):
        successive_halving(run_small, 5, 14)
    assert not calls_small, "the budget is checked before the first run"

# %% [markdown]
# ### 26.7 `decide` · essential · level 4 of 4 · 30 min


# %% exercise="decide" points=4 minutes=30 forbids=["sklearn"]
def decide(
    names: list[str],
    price: dict[str, tuple[float, float]],
    serving: dict[str, float],
    run: Callable[[str, int], tuple[float, float]],
    budget: float,
) -> str:
    """The algorithm to use, from trials that the budget pays.

    names: one to eight different strings. price: price[name] = (fixed, per_row), both > 0: training on
      n rows costs fixed + per_row * n. serving: serving[name] >= 0, what its predictions cost, in the
      unit of the loss. budget > 0. Nothing is modified.
    run: run(name, rows) trains it on this many rows (a Python int >= 1) at this price, and gives
      (loss, std): the measured loss and its standard error > 0, Python floats.

    After the trials the same budget is granted once more, to train the chosen one alone: on
    N = int((budget - fixed) / per_row) rows. The value of a name is its expected loss at N rows plus
    its serving. Return the name with the least value; where the values of several names lie within
    0.002 of the least, the one of them with the least serving. A name with N < 1 cannot be chosen and
    need not be tried; ValueError if there is no other. With one name that can be chosen, it is
    returned, with runs or without.

    The sum of the costs of all runs must not exceed budget.

    What is tested: 40 worlds of four to six names. In each, the expected loss of a name is
    a + b n^-c with c from 0.3 to 1.2, and measured losses differ from it by independent normal noise with
    the standard deviation std, from 0.0005 to 0.002, the same in all runs of a world. fixed is at most a thousandth
    of the budget, N from 5,000 to 500,000. Curves cross: who leads on few rows may lose on N. The
    regret of a choice is its value minus the least; a world in which more than the budget is spent counts as
    the worst name. Your mean regret must be at most half of that of the plain way, which
    runs each name once for an equal share of the budget and takes the least loss + serving. Near
    ties are tested in worlds with std 1e-6. At most 400 runs a world.
    Forbidden: sklearn. May use your `learning_curve`.
    """
    ### BEGIN SOLUTION
    rows = {name: int((budget - price[name][0]) / price[name][1]) for name in names}
    able = [name for name in names if rows[name] >= 1]
    if not able:
        raise ValueError("the budget trains none of them")
    if len(able) == 1:
        return able[0]
    value = {}
    for name in able:
        fixed, per_row = price[name]
        # Five sizes, each half of the one before, cost this name's share of the budget.
        largest = (0.999 * budget / len(able) - 5 * fixed) / per_row / (1 + 1 / 2 + 1 / 4 + 1 / 8 + 1 / 16)
        sizes = [int(largest / 2**k) for k in range(5)]
        measured = np.array([run(name, size) for size in sizes])
        curve = learning_curve(np.array(sizes), measured[:, 0], measured[:, 1], 0.0)
        value[name] = curve["a"] + curve["b"] * rows[name] ** -curve["c"] + serving[name]
    best = min(value.values())
    return min((name for name in able if value[name] <= best + 0.002), key=lambda name: serving[name])
    ### END SOLUTION


# %% [markdown] hints="decide"
# <details><summary>Hint 1: why one run each is not enough</summary>
#
# With K names, one equal share buys about N / K rows. Whoever has the steeper curve can lose there and win at N. Spend
# each share on several sizes, fit a curve, and compare the curves at N.
# </details>
# <details><summary>Hint 2: sizes</summary>
#
# Sizes `n, n/2, n/4, n/8, n/16` cost `5 * fixed + per_row * n * 1.9375`. Solve for `n` so that this is the share
# `budget / K`, a little less for safety. Each name has its own n, since prices differ.
# </details>
# <details><summary>Hint 3: the choice</summary>
#
# `learning_curve(sizes, losses, stds, 0.0)` gives a, b and c; the value is `a + b * N ** -c + serving[name]`. Collect the
# names within 0.002 of the least value, and return the one of them with the least serving.
# </details>

# %% check="decide"
with check("decide", forbids=["sklearn"]):
    curves_small = {"plain": (0.30, 0.5, 1.0), "deep": (0.10, 6.0, 0.4), "slow": (0.08, 6.0, 0.4)}
    price_small = {"plain": (1.0, 0.01), "deep": (1.0, 0.1), "slow": (1.0, 1.0)}
    spent_small = []

    def run_small(name, rows):
        assert isinstance(rows, int) and rows >= 1, f"rows is a Python int >= 1, not {rows!r}"
        spent_small.append(price_small[name][0] + price_small[name][1] * rows)
        assert len(spent_small) <= 400, "more than 400 runs"
        a, b, c = curves_small[name]
        return a + b * rows**-c, 1e-6

    names_small, budget_small = list(curves_small), 10_000.0
    # Trained alone: plain 0.30 on 999,900 rows, deep 0.16 on 99,990, slow 0.23 on 9,999.
    for serving_small, wanted in [
        ({"plain": 0.0, "deep": 0.0, "slow": 0.0}, "deep"),
        ({"plain": 0.0, "deep": 0.2, "slow": 0.2}, "plain"),
        ({"plain": 0.0, "deep": 0.1, "slow": 0.0}, "slow"),
    ]:
        spent_small.clear()
        got = decide(names_small, price_small, serving_small, run_small, budget_small)
        assert sum(spent_small) <= budget_small, (
            f"{sum(spent_small):,.0f} were spent, the budget is {budget_small:,.0f}"
        )
        assert got == wanted, f"with serving {serving_small} it is {wanted!r}, not {got!r}"
    curves_small["twin"], price_small["twin"] = (0.101, 6.0, 0.4), price_small["deep"]
    spent_small.clear()
    got = decide(["deep", "twin"], price_small, {"deep": 0.0005, "twin": 0.0}, run_small, budget_small)
    assert got == "twin", "the values differ by 0.0005, a near tie: the one with the least serving"
    got = decide(["slow", "plain"], price_small, {"slow": 0.0, "plain": 0.0}, run_small, 1.5)
    assert got == "plain", "1.5 trains slow on no row"
    with expect_raises(ValueError, hint="a budget below both fixed prices"):
        decide(["slow", "deep"], price_small, {"slow": 0.0, "deep": 0.0}, run_small, 0.5)

# %% [markdown]
# ### 26.8 `Leaderboard` · important · level 3 of 4 · 20 min


# %% exercise="Leaderboard" points=3 minutes=20 forbids=["sklearn"]
class Leaderboard:
    """Scores many submissions on the same labels without giving the labels away. Forbidden: sklearn.

    The error of predictions is the share of rows in which they differ from y.
    """

    def __init__(self, y: np.ndarray, step: float):
        """y: (m,) labels, m >= 1, integers of any kind or bool; kept as a copy. step: 0 < step < 1."""
        ### BEGIN SOLUTION
        self.y, self.step = y.copy(), step
        self.best, self.over = math.inf, False
        ### END SOLUTION

    def submit(self, predicted: np.ndarray) -> float:
        """What the board shows for these predictions, a Python float.

        predicted: (m,) integers of any kind or bool; not modified. The first submission gets its
        error, rounded. A later one gets its error, rounded, if its (exact) error is below the last
        report minus step; otherwise it gets the last report again, whatever its own error. Rounded
        is round(error / step) * step, as Python computes it. (In the tests no error is so near a
        limit that rounding decides.)
        Raises ValueError if predicted has another shape than y, RuntimeError after `final`. A call
        that raises changes nothing.
        """
        ### BEGIN SOLUTION
        error = self._error(predicted)
        if error < self.best - self.step:
            self.best = round(error / self.step) * self.step
        return self.best
        ### END SOLUTION

    def final(self, predicted: np.ndarray) -> float:
        """The exact error of these predictions, a Python float. It closes the board: once only.

        predicted: as in `submit`. Raises ValueError if it has another shape than y (and the board stays
        open), RuntimeError in a second call.
        """
        ### BEGIN SOLUTION
        error = self._error(predicted)
        self.over = True
        return error
        ### END SOLUTION

    ### BEGIN SOLUTION
    def _error(self, predicted):
        if self.over:
            raise RuntimeError("the board is closed")
        if predicted.shape != self.y.shape:
            raise ValueError("predictions and labels differ in shape")
        return float(np.mean(predicted != self.y))
        ### END SOLUTION


# %% [markdown] hints="Leaderboard"
# <details><summary>Hint 1: what to remember</summary>
#
# The labels, the step, the last report (`math.inf` before the first), and whether `final` was called. Nothing else.
# </details>
# <details><summary>Hint 2: `submit`</summary>
#
# Compute the exact error. If it is below `self.best - self.step`, the report becomes `round(error / step) * step`. Return
# the report in both cases.
# </details>
# <details><summary>Hint 3: the order of the checks</summary>
#
# First RuntimeError if the board is closed, then ValueError for another shape, then the error. `final` closes the board
# only after both checks.
# </details>

# %% check="Leaderboard"
with check("Leaderboard", forbids=["sklearn"]):
    y_small = np.array([0, 1, 1, 0, 2, 2, 0, 1, 1, 0])

    def wrong_in(rows):
        """The labels, but for the first rows."""
        predicted_small = y_small.copy()
        predicted_small[:rows] += 1
        return predicted_small

    board = Leaderboard(y_small, 0.15)
    submitted = [7, 8, 6, 5, 4, 3, 7]
    # Errors 0.7, 0.8, 0.6, 0.5, ...: 0.7 is shown as 5 * 0.15. Below 0.75 - 0.15 is 0.5 first, shown as 3 * 0.15.
    expected = [0.75, 0.75, 0.75, 0.45, 0.45, 0.45, 0.45]
    got = [board.submit(wrong_in(rows)) for rows in [7, 8, 7, 5, 4, 4, 7]]
    expect_close(
        got,
        expected,
        rtol=1e-12,
        hint="a report changes only if the error is below the last report minus step",
        mistakes={
            "The error is shown exactly.": [0.7, 0.7, 0.7, 0.5, 0.5, 0.5, 0.5],
            "Each submission gets its own error.": [0.7, 0.8, 0.7, 0.5, 0.4, 0.4, 0.7],
        },
    )
    assert all(type(report) is float for report in got), "Python floats"
    with expect_raises(ValueError, hint="one prediction for each label"):
        board.final(y_small[:9])
    expect_close(board.final(wrong_in(2)), 0.2, hint="final gives the exact error")
    for method in (board.submit, board.final):
        with expect_raises(RuntimeError, hint="final closes the board"):
            method(y_small)

# %% [markdown]
# ### 26.9 `report` · essential · level 1 of 4 · 10 min


# %% exercise="report" points=1 minutes=10 bug=true
def report(
    predictions: np.ndarray, y: np.ndarray, validation: np.ndarray, test: np.ndarray
) -> tuple[int, float, float]:
    """Choose among candidates, and say honestly how good the chosen one is.

    predictions: (k, m) decisions of k >= 1 candidates, integers of any kind. y: (m,) labels,
      integers of any kind. validation, test: (v,) and (u,), v, u >= 1, int64 row numbers; no row is
      in both. Nothing is modified.

    Returns (best, error, std): the candidate with the fewest errors on the validation rows (the
    lowest number where several tie), a Python int; its share of errors on the test rows, and the standard error
    of this share, sqrt(error (1 - error) / u), Python floats.
    """
    ### BEGIN SOLUTION
    wrong = predictions != y
    best = int(np.argmin(wrong[:, validation].sum(axis=1)))
    error = float(wrong[best, test].mean())
    return best, error, math.sqrt(error * (1 - error) / len(test))
    ### END SOLUTION
    ### BEGIN BUG
    # wrong = predictions != y
    # errors = wrong[:, test].mean(axis=1)
    # best = int(np.argmin(errors))
    # error = float(errors[best])
    # return best, error, math.sqrt(error * (1 - error) / len(test))
    ### END BUG


# %% [markdown] hints="report"
# <details><summary>Hint 1</summary>
#
# Fifty coin tosses are guessed right half of the time each. What is the mean of the *best* of fifty such shares?
# </details>
# <details><summary>Hint 2</summary>
#
# A row that helped to choose cannot judge. `validation` is an argument of the function: is it used?
# </details>

# %% check="report"
with check("report"):
    y_small = np.array([0, 1, 0, 1, 0, 1, 0, 1])
    predictions_small = np.array(
        [
            [1, 1, 0, 1, 0, 1, 0, 1],  # one error on the validation rows, none on the test rows
            [0, 1, 0, 1, 1, 1, 0, 1],  # none, and one of four
            [0, 1, 0, 1, 1, 0, 1, 1],  # none, and three of four
        ]
    )
    with expect_unchanged(y_small=y_small, predictions_small=predictions_small):
        got = report(predictions_small, y_small, np.arange(4), np.arange(4, 8))
    expect_close(
        got,
        (1, 0.25, math.sqrt(0.25 * 0.75 / 4)),
        rtol=1e-12,
        hint="candidates 1 and 2 make no error on the validation rows; candidate 1 makes one of four on the test rows",
        mistakes={"The best on the test rows was chosen by the test rows.": (0, 0.0, 0.0)},
    )
