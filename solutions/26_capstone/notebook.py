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
# successive halving, adaptive data analysis, model selection.
#
# **Time**: about six hours: three for eight exercises and a bug to find, one for writing, two for the text and the
# cells that run. Take a break after 26.3 and after 26.6. Each exercise says how important it is (essential, important,
# optional), its level, which is also its points, and its minutes.
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
# | $n$ | `n` | $(k,)$ | numbers of training rows that were tried; $k$ of them (in 26.2 $k$ counts test rows, in 26.9 candidates) |
# | $e$, $s$ | `error`, `std` | $(k,)$ | errors measured there, and their standard errors (in 26.6 $s$ counts survivors) |
# | $a$, $b$, $c$ | `"a"`, `"b"`, `"c"` | | learning curve $a + b\,n^{-c}$; $a$ is its floor |
# | $S$ | | | weighted sum of squares that a fit minimises |
# | $J$, $W$ | | $(k, 3)$, $(k, k)$ | derivatives of the curve by $(a, b, c)$; weights $1/s^2$ on the diagonal |
# | $C$ | | $(3, 3)$ | in 26.4: covariance of $(a, b, c)$ |
# | $f$, $q$, $r$ | `"fixed"`, `"per"`, `"power"` | | cost curve $f + q\,n^{r}$ |
# | $K$, $B$, $R$ | `arms`, `budget` | | arms (settings or algorithms); what may be spent on all of them; rounds of halving |
# | $R_t$, $\delta$ | `step` | | what a leaderboard has reported after $t$ submissions; its step |
# | $N$ | `rows` | | rows on which the chosen algorithm is trained in the end |
# | | `serving` | | what predictions cost, in the unit of the loss |
# | regret | | | value of the choice (loss at $N$ plus serving) minus the least value |
# | $A, B, C, D$ | | | in 26.1: missing and other rows, of both classes |

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    from lsml_utils import checking, datasets, demo_size, own, plotting
    from lsml_utils.checking import check, expect_close, expect_raises, expect_unchanged
    from lsml_utils.datasets.tickets import FAULTS
    from lsml_utils.tables import Table, seconds_text
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import math
import time as clock
import warnings
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import scipy.optimize
import scipy.sparse
import scipy.special
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
# ### The task
#
# A help desk wants to know, when a ticket is opened, whether it needs an expert ($y = 1$). Nobody in the table exists:
# `datasets.tickets` draws it from a known law, so the least possible loss is known, too. A ticket has numbers (how long
# somebody has been a customer, hours of waiting, orders, amount), categories (channel, product, language), and a text
# of eight words. Customers come back: each writes about four tickets within 30 days, and has a hidden trait that raises
# or lowers all their odds. The law drifts: waiting does more harm late in the year than early.
#
# Before anything else a part is **sealed**: of the customers who write after day 270 one third. Their tickets from that
# day on are opened once, in 26.9. Until then nobody looks at them. `desk` is the rest.

# %% tags=["demo"]
everyone = datasets.tickets(demo_size(full=24_000, small=6_000), seed=1)
late = np.unique(everyone.customer[everyone.time >= 270])
apart = np.isin(everyone.customer, late[late % 3 == 0])
sealed, desk = everyone[apart & (everyone.time >= 270)], everyone[~apart]


def log_loss(y, p):
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return -np.mean(np.where(y == 1, np.log(p), np.log(1 - p)))


for i in range(3):
    print(f"y = {desk.y[i]}, customer {desk.customer[i]}, day {desk.time[i]:.0f}: {desk.text(i)}")
print(f"{len(desk):,} tickets, {len(np.unique(desk.customer)):,} customers, {desk.y.mean():.1%} need an expert")
print(f"sealed: {len(sealed):,} tickets of {len(np.unique(sealed.customer)):,} other customers")
print(f"log loss of the base rate {log_loss(desk.y, np.full(len(desk), desk.y.mean())):.3f}")
print(f"least possible for customers that one has not met: {log_loss(desk.y, desk.probability()):.3f}")

# %% [markdown]
# ### May I trust the table?
#
# A table that comes from a database was made by people for other purposes. Seven faults occur again and again. A
# *constant* column tells nothing; a *duplicate* tells nothing new. An *identifier* names rows or customers: a model can
# learn names by heart, and new rows have new names. A *future* column was written after the moment of the decision. A
# *leak* is a consequence of the label: it separates the classes as no honest column does. A column whose *missing* values
# *tell* the label is missing for a reason, such as a survey that is sent only to those who needed no expert. And *doubled
# rows* stand on both sides of any split.
#
# Five of these are exact comparisons. Two are statistics. **AUC**: the share of pairs of one positive and one negative
# row in which the positive has the higher value; 0 tells as much as 1. **Pearson's** $\chi^2$: with $A, B$ missing rows
# of both classes and $C, D$ others,
#
# $$\chi^2 = \frac{m (AD - BC)^2}{(A+B)(C+D)(A+C)(B+D)} .$$
#
# If missing and label are independent it follows, for many rows, a $\chi^2$ law with one degree of freedom: it exceeds
# 23.93 once in $10^6$ tables. A level of $10^{-6}$ leaves room for many columns in many tables.
#
# ### 26.1 `audit` · essential · level 3 of 4 · 30 min


# %% exercise="audit" points=3 minutes=30 trains=["data audits"]
def audit(columns: dict[str, np.ndarray], y: np.ndarray, time: np.ndarray, group: np.ndarray) -> list[tuple[str, str]]:
    """What is wrong with a table, by column.

    columns: names and arrays of shape (m,): floats (finite or nan), integers of any kind (up to 2^53
      in size), bool, or strings (dtype U). It may be empty. Missing is nan in a float column and "" in a string column.
    y: (m,) labels 0 or 1, integers of any kind or bool. time: (m,) finite floats or integers. group:
      (m,) integers of any kind. m >= 2. Nothing is modified.

    First remove repeated rows: those that agree with an earlier one in all columns, y, time and group
    (missing agrees with missing). All codes but "doubled_rows" are about what remains. A column gets at
    most one code, the first in this list that holds:
    - "constant": all its values are equal (so is a single row); missing counts as a value.
    - "duplicate": in each row equal to an earlier column of the dict (whatever was found there), and
      missing where that is missing. Numbers and bool are compared as numbers, strings with strings only.
    - "identifier": integers (not bool, and no floats, whole or not) or strings, none missing, and
      either all values differ, or values and groups go one to one: equal values where and only where
      the groups are equal.
    - "future": its name ends in "_at", it holds no strings, and a value is above its row's time.
    - "leak": numbers or bool; over its rows that are not missing, which hold both classes, the AUC of
      its values as a score for y is at least 0.99 or at most 0.01 (a tie counts one half).
    - "missing_tells": Pearson's chi-squared of the 2 x 2 table of (missing or not) and y, without
      continuity correction, is above 23.93: independence is refused at level 1e-6. Where a row or
      a column of the 2 x 2 table is empty there is no finding.
    No test has an AUC within 1e-6 of a limit, or a chi-squared within 1% of it.

    Returns a list of (name, code) in the order of columns; if there are rows that agree in
    everything, ("", "doubled_rows") is its last entry. Time O(m log m) a column: five columns of
    150,000 rows take about a second.
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
        both, alone = float(np.sum(missing & y)), float(np.sum(missing & ~y))  # their products exceed int64
        other, rest = float(np.sum(~missing & y)), float(np.sum(~missing & ~y))
        margins = (both + alone) * (other + rest) * (both + other) * (alone + rest)
        return (both * rest - alone * other) ** 2 * len(y) / margins if margins else 0.0

    def same(one, other):
        alike = (one.dtype.kind == "U") == (other.dtype.kind == "U")
        return alike and np.array_equal(one, other, equal_nan=one.dtype.kind != "U")

    kinds = groups = np.unique(group, return_inverse=True)[1]  # equal kinds: rows that agree so far
    for values in [*columns.values(), y, time]:
        codes = np.unique(values, return_inverse=True)[1]
        kinds = np.unique(kinds * (codes.max() + 1) + codes, return_inverse=True)[1]
    rows = np.unique(kinds, return_index=True)[1]
    y, time, groups = y[rows].astype(bool), time[rows].astype(float), groups[rows]
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
# `(ranks[y == 1].sum() - n1 * (n1 + 1) / 2) / (n1 * n0)`. With the counts `A, B` in the first and `C, D` in the second
# row, Pearson's chi-squared is `m * (A * D - B * C)**2 / ((A + B) * (C + D) * (A + C) * (B + D))`, in floats: the
# products exceed integers of 64 bits.
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
        "closed_at": np.minimum(time_small + plain - 1, 59.0),
        "amount": np.arange(60) * 0.37,
        "opened_at": time_small - plain % 3,
        "after": 3.0 * y_small,
        "stars": np.where(y_small == 1, plain, np.nan),
        "stars2": np.where(y_small == 1, plain, np.nan),
        "asked": np.where(np.arange(60) < np.where(y_small == 1, 24, 4), np.nan, plain),  # chi-squared is 9.3
        "shop": np.where(np.arange(60) % 4 < 2, "", "south"),
        "young": np.arange(60) % 6 < 3,
    }
    expected = [("always", "constant"), ("again", "duplicate"), ("number", "identifier"), ("who", "identifier")]
    expected += [("closed_at", "future"), ("after", "leak"), ("stars", "missing_tells"), ("stars2", "duplicate")]
    numeric = {name: values for name, values in small.items() if values.dtype.kind != "U"}
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
    halves = {"bool": group_small < 10, "whole": 2.0 * (group_small < 10), "order": group_small * 2 + y_small}
    for groups in (group_small, group_small // 10):  # `order` has one group for each value, but each group has several
        found = audit(halves, y_small, time_small, groups)
        assert found == [], f"bool and floats are no identifiers, and one to one goes both ways; not {found}"

# %% [markdown]
# Now the table as the desk's database exports it, with seven planted faults. The other columns are clean.

# %% tags=["demo"]
columns, y_raw, time_raw, customer_raw = desk.export()
findings = audit(columns, y_raw, time_raw, customer_raw)
print(f"{len(columns)} columns, {len(y_raw):,} rows; planted: {', '.join(name or 'rows' for name in FAULTS)}")
Table(("column", "finding", "planted"), [(n or "(rows)", code, FAULTS.get(n, "nothing")) for n, code in findings])

# %% [markdown]
# A finding asks for something to be done. Here the columns are dropped, and of rows with the same ticket number one is
# kept.

# %% tags=["demo"]
flagged = {name for name, _ in findings}
kept = np.sort(np.unique(columns["ticket"], return_index=True)[1])
table = {name: values[kept] for name, values in columns.items() if name not in flagged}
before = desk.columns()
same = list(table) == list(before) and all(np.array_equal(table[name], before[name]) for name in before)
again = audit(table, y_raw[kept], time_raw[kept], customer_raw[kept])
print(f"dropped: {', '.join(name for name in columns if name in flagged)}; {len(y_raw) - len(kept)} repeated rows")
print(f"{len(table)} columns and {len(kept):,} rows are left; findings: {again or 'none'}")
print("the same table as before the faults were planted:", same)

# %% [markdown]
# Without these columns and rows the table is clean, as far as the audit sees. `desk` is this table, with the texts, and
# all that follows uses it. An audit finds what it was told to look for. It does not find a column that is measured
# otherwise since March, or a label that means something else in one language. For those one has to ask the people who
# fill the table.
#
# Which rows may judge a model?
#
# ### 26.2 `grouped_time_split` · essential · level 2 of 4 · 15 min
#
# A model is used on *later* tickets of *other* customers. A random split asks another question: it puts tickets of one
# customer, with one trait, on both sides, and it trains on days after those that it tests. Both make the loss look
# smaller. So the test is the latest part. Customers that it holds are dropped from train. And a gap lies between both:
# a label is known only after some days, so on the day when the test begins the labels of the last days do not exist
# yet. The gap costs training rows. It is never cut from the test: those tickets will come, too.


# %% exercise="grouped_time_split" points=2 minutes=15 forbids=["sklearn"] trains=["time-aware validation"]
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
    train, test = grouped_time_split(time_small.astype(np.uint8), group_small, 0.05, 6.0)
    expect_close(test, [2, 5], hint="0.05 * 10 is less than one row, so k = 1; two rows tie at the largest time")
    expect_close(train, [1], hint="times below 3, without group 12")
    for share, gap in [(0.0, 1.0), (1.0, 1.0), (0.3, -1.0), (0.3, 7.0)]:
        with expect_raises(ValueError, hint="a share outside (0, 1), a negative gap, or an empty train"):
            grouped_time_split(time_small, group_small, share, gap)

# %% [markdown]
# How much does it matter? Many people add a column such as "share of this customer's other tickets that needed an
# expert". The cell trains boosted models with it, estimates the loss on random rows and on your split of the days
# before 290, and then looks at what came: days from 300 on, customers never seen. Some months are harder than others,
# so each loss is given as its excess over the least possible loss of the same tickets. One table cannot tell a rule
# from luck: the cell draws further desks from the same law, which serve only here, and compares the three numbers
# within each desk.


# %% tags=["demo"]
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import Ridge, SGDClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeRegressor


def features(data):
    """(m, 17): numbers of about size 1, and a column for each category."""
    tenure, wait, orders, amount = data.numbers.T
    plain = np.stack([np.log1p(tenure / 100), wait - 1, (orders - 3) / 2, np.log(amount), data.time / 360], axis=1)
    kinds = [data.channel[:, None] == np.arange(4), data.product[:, None] == np.arange(6)]
    return np.concatenate([plain, *kinds, data.language[:, None] == np.arange(2)], axis=1).astype(np.float64)


def with_history(train, data, alone):
    """Features and the customer's share of 1 among train's tickets; without the row itself where data is train."""
    customers = 1 + max(train.customer.max(), data.customer.max())
    sums, counts = (np.bincount(train.customer, w, customers) for w in (train.y, None))
    own_y = data.y if alone else 0
    share = (sums[data.customer] - own_y + 1) / (counts[data.customer] - (1 if alone else 0) + 4)
    return np.column_stack([features(data), share])


def loss_of(train, test):
    """Log loss above the least possible one of the same tickets."""
    model = HistGradientBoostingClassifier(max_iter=60, learning_rate=0.1, max_leaf_nodes=15, random_state=0)
    model.fit(with_history(train, train, True), train.y)
    p, least_p = model.predict_proba(with_history(train, test, False))[:, 1], test.probability()
    return np.mean(np.log(np.where(test.y == 1, least_p / p, (1 - least_p) / (1 - p))))


excess = {"random rows": [], "your split": [], "what came": []}
for seed in range(demo_size(full=10, small=8)):
    other = datasets.tickets(demo_size(full=6000, small=3000), seed=100 + seed)
    known = other[other.time < 290]
    later = other[(other.time >= 300) & ~np.isin(other.customer, known.customer)]
    order, cut = np.random.default_rng(seed).permutation(len(known)), len(known) // 5
    train, test = grouped_time_split(known.time, known.customer, 0.2, 7.0)
    excess["random rows"].append(loss_of(known[order[cut:]], known[order[:cut]]))
    excess["your split"].append(loss_of(known[train], known[test]))
    excess["what came"].append(loss_of(known, later))
excess = {name: np.array(values) for name, values in excess.items()}


def interval(values):
    """Mean and half of its 95% interval, by Student's t."""
    return values.mean(), scipy.stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))


figure, ax = plt.subplots(figsize=(6, 3.8))
ax.plot(range(3), list(excess.values()), color="0.8", ls="-", lw=1, zorder=1)
for k, values in enumerate(excess.values()):
    middle, half = interval(values)
    ax.errorbar([k], [middle], [half], marker="osD"[k], markersize=8, capsize=5, color=plotting.COLOURS[k])
ax.set_xticks(range(3), list(excess))
ax.set(
    xlim=(-0.5, 2.5),
    xlabel="rows that judge (a grey line: one desk)",
    ylabel="log loss above the least possible",
    title="Random rows promise too much (means, 95%)",
)
plt.show()
for name in ("random rows", "your split"):
    middle, half = interval(excess["what came"] - excess[name])
    print(f"what came, minus {name}: {middle:.3f} ± {half:.3f}, over {len(excess[name])} desks")

# %% [markdown]
# The differences within a desk are told with their interval; without it nobody could say whether luck explains them.
# The remaining sections use your split of the whole year. But does the desk pay in log loss?
#
# ### What does a mistake cost?
#
# The desk pays for decisions. Let $L_{ij}$ be the cost of decision $j$ where the truth is $i$. If $p$ is the true
# probability of 1, decision 1 costs $(1-p) L_{01} + p L_{11}$ in the mean and decision 0 costs $(1-p) L_{00} + p L_{10}$.
# The first is less or equal where
#
# $$p \ge t^* = \frac{L_{01} - L_{00}}{(L_{01} - L_{00}) + (L_{10} - L_{11})} ,$$
#
# if both brackets are positive: the condition is $(1-p)(L_{01} - L_{00}) \le p\,(L_{10} - L_{11})$, solved for $p$. One
# half is right only if both mistakes cost the same. A model's $p$ is not the true probability, so the best threshold
# for it may be another one, and can be measured: there are only as many different rules as different values of $p$, and
# one more.
#
# ### 26.3 `cheapest_threshold` · essential · level 2 of 4 · 15 min


# %% exercise="cheapest_threshold" points=2 minutes=15 forbids=["sklearn"] trains=["cost-sensitive decisions"]
def cheapest_threshold(p: np.ndarray, y: np.ndarray, cost: np.ndarray) -> tuple[float, float]:
    """The threshold at which decisions cost least, and what they cost.

    p: (m,), m >= 1, finite floats, float64 or float32: a larger value speaks for 1. They need not
      be probabilities. y: (m,), each 0 or 1, integers of any kind or bool; maybe of one class only.
    cost: (2, 2) numbers: cost[i, j] is the cost of decision j for a row whose y is i. Any sign, up
      to 1e6 in size; the diagonal need not be 0. Nothing is modified.

    The decision is 1 where p >= threshold. The candidates are inf (never 1) and each value that
    occurs in p (the smallest value means always 1).
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
    expect_close(
        cheapest_threshold(np.array([0.3, 0.7]), np.array([1, 1]), price_small),
        (0.3, 0.0),
        hint="always 1, the smallest value of p, is a candidate, too",
    )
    same = cheapest_threshold(np.array([0.3, 0.7], np.float32), np.array([0, 0]), np.array([[2.0, 2.0], [0.0, 0.0]]))
    expect_close(same, (math.inf, 2.0), hint="all candidates cost the same: the largest")

# %% [markdown]
# A missed expert costs the desk 3, a needless one 1. The threshold is chosen on one half of the held-out customers and
# judged on the other half. A customer's tickets agree more than those of strangers, so standard errors count customers,
# not tickets: deviations are added up within each customer first.

# %% tags=["demo"]
train, test = grouped_time_split(desk.time, desk.customer, 1 / 6, 7.0)
past, held = desk[train], desk[test]
print(
    f"past: {len(past):,} tickets to day {past.time.max():.0f}; held out: {len(held):,} from day {held.time.min():.0f} on"
)


def standard_error(each, customer):
    """Of the mean of `each`; customers are independent, their tickets are not."""
    return float(np.linalg.norm(np.bincount(customer, each - each.mean())) / len(each))


model = HistGradientBoostingClassifier(max_iter=60, learning_rate=0.1, max_leaf_nodes=15, random_state=0)
p_held = model.fit(features(past), past.y).predict_proba(features(held))[:, 1]
first = held.customer % 2 == 0
prices = np.array([[0.0, 1.0], [3.0, 0.0]])
chosen, _ = cheapest_threshold(p_held[first], held.y[first], prices)


def costs_of(threshold, rows):
    return prices[held.y[rows], (p_held[rows] >= threshold).astype(int)]


def mean_cost(threshold, rows):
    return costs_of(threshold, rows).mean()


grid = np.linspace(0.005, 0.95, 150)
figure, ax = plt.subplots(figsize=(7, 4))
ax.plot(grid, [mean_cost(t, first) for t in grid], color=plotting.COLOURS[0], label="customers that choose")
ax.plot(grid, [mean_cost(t, ~first) for t in grid], color=plotting.COLOURS[1], ls="--", label="customers that judge")
ax.axvline(1 / 4, color="0.5", ls=":", label="theory, 1/4")
ax.axvline(chosen, color=plotting.COLOURS[2], label=f"yours, {chosen:.3f}")
ax.set(xlabel="threshold", ylabel="mean cost of a ticket", title="One half is an expensive threshold", ylim=(0.45, 1))
ax.legend(loc="lower right", ncols=2)
plt.show()
rules = {"never": math.inf, "always": -math.inf, "one half": 0.5, "1/4": 1 / 4, "yours": chosen}
print(", ".join(f"{name} {mean_cost(t, ~first):.3f}" for name, t in rules.items()), "(customers that judge)")
for name in ("one half", "1/4"):
    more = costs_of(rules[name], ~first) - costs_of(chosen, ~first)
    print(f"{name} minus yours: {more.mean():.3f} ± {1.96 * standard_error(more, held.customer[~first]):.3f}")

# %% [markdown]
# The more a missed expert costs, the harder "always" is to beat. A threshold from few tickets has noise of its own:
# whether yours is cheaper than the one of theory the last line says, with its interval.
#
# ### The dullest answer
#
# Before any algorithm of this course stands an answer that needs none: the base rate. Whatever is proposed has to beat
# it by more than its price. Five candidates are compared with it; the cell says whose code runs. Each candidate gives a
# score; two numbers, fitted on a fifth of the training rows, turn the score into log-odds.


# %% tags=["demo"]
def peer_ridge(X, y, penalty):
    fitted = Ridge(penalty).fit(X, y)
    return fitted.coef_, float(fitted.intercept_)


def narrow(X):
    """The same sparse rows with indices of 32 bits, which scikit-learn wants."""
    X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    return X


def peer_pegasos(X, y, penalty, order):
    steps = SGDClassifier(alpha=penalty, fit_intercept=False, max_iter=1, tol=None, shuffle=False)
    return steps.fit(narrow(X[order]), y[order]).coef_[0]


def peer_features(X, features, gamma, seed):
    w = np.random.default_rng(seed).normal(0, math.sqrt(2 * gamma), (X.shape[1], features // 2))
    return np.concatenate([np.cos(X @ w), np.sin(X @ w)], axis=1) * math.sqrt(2 / features)


def peer_boosting(X, y, derivatives, rounds, lr=0.1, max_depth=3, bins=255, penalty=1.0, min_leaf=20, start=0.0):
    """Newton steps with scikit-learn's trees: weighted regression of -g / h."""
    trees, F = [], np.full(len(y), start)
    for _ in range(rounds):
        g, h = derivatives(y, F)
        tree = DecisionTreeRegressor(max_depth=max_depth, min_samples_leaf=min_leaf).fit(X, -g / h, h).tree_
        trees.append({key: getattr(tree, key) for key in ("children_left", "children_right", "feature", "threshold")})
        trees[-1] |= {"value": lr * tree.value[:, :, 0], "missing_go_to_left": np.zeros(tree.node_count, bool)}
        F = F + grown(trees[-1], X)
    return trees


def grown(tree, X):
    """What a tree of either kind predicts for each row."""
    at = np.zeros(len(X), int)
    while len(going := np.flatnonzero(tree["children_left"][at] != -1)):
        node = at[going]
        left = X[going, tree["feature"][node]] <= tree["threshold"][node]
        at[going] = np.where(left, tree["children_left"][node], tree["children_right"][node])
    return tree["value"][at, 0]


def peer_forward(X, weights, biases, activation="tanh"):
    hidden = np.tanh(X @ weights[0] + biases[0])
    return [hidden, hidden @ weights[1] + biases[1]]


def peer_backward(X, y, outputs, weights, activation="tanh"):
    P = scipy.special.softmax(outputs[1], axis=1)
    P[np.arange(len(y)), y] -= 1
    delta = P / len(y)
    back = delta @ weights[1].T * (1 - outputs[0] ** 2)
    return [X.T @ back, outputs[0].T @ delta], [back.sum(axis=0), delta.sum(axis=0)]


my_ridge = own("04_generalisation", "ridge", instead=peer_ridge)
my_pegasos = own("05_svm", "pegasos", instead=peer_pegasos)
my_random_features = own("05_svm", "random_fourier_features", instead=peer_features)
my_boosting = own("06_trees", "gradient_boosting", instead=peer_boosting)
my_forward = own("08_backpropagation", "mlp_forward", instead=peer_forward)
my_backward = own("08_backpropagation", "mlp_backward", instead=peer_backward)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.clip(x, -500, 500)))


def bag(data):
    """(m, 617) sparse: counts of the words beside the features."""
    rows = np.repeat(np.arange(len(data)), data.words.shape[1])
    counts = scipy.sparse.csr_array((np.ones(rows.size), (rows, data.words.ravel())), (len(data), 600))
    counts.sum_duplicates()
    return narrow(scipy.sparse.hstack([counts, scipy.sparse.csr_array(features(data))], format="csr"))


def train_base(data):
    return lambda other: np.zeros(len(other))


def train_ridge(data):
    theta, b = my_ridge(features(data), data.y.astype(float), 10.0)
    return lambda other: features(other) @ theta + b


def steps_of(rows, passes=3):
    return np.concatenate([np.random.default_rng(k).permutation(rows) for k in range(passes)])


def train_kernel(data):
    lift = lambda other: my_random_features(features(other), 200, 0.05, 0)  # noqa: E731
    theta = my_pegasos(scipy.sparse.csr_array(lift(data)), 2 * data.y - 1, 1e-3, steps_of(len(data)))
    return lambda other: lift(other) @ theta


def train_words(data):
    theta = my_pegasos(bag(data), 2 * data.y - 1, 1e-3, steps_of(len(data)))
    return lambda other: bag(other) @ theta


def train_boosting(data):
    def derivatives(y, F):
        p = sigmoid(F)
        return p - y, p * (1 - p)

    trees = my_boosting(features(data), data.y.astype(float), derivatives, 40, lr=0.25)
    return lambda other: sum(grown(tree, features(other)) for tree in trees)


def train_mlp(data, hidden=32, passes=8, batch=64):
    X, draws = features(data), np.random.default_rng(0)
    weights = [draws.normal(0, (2 / (n + k)) ** 0.5, (n, k)) for n, k in ((X.shape[1], hidden), (hidden, 2))]
    biases = [np.zeros(hidden), np.zeros(2)]
    for rows in np.array_split(steps_of(len(X), passes), max(1, passes * len(X) // batch)):
        outputs = my_forward(X[rows], weights, biases)
        by_weights, by_biases = my_backward(X[rows], data.y[rows], outputs, weights)
        for k in range(2):
            weights[k] = weights[k] - 0.2 * by_weights[k]
            biases[k] = biases[k] - 0.2 * by_biases[k]
    return lambda other: np.diff(my_forward(features(other), weights, biases)[-1], axis=1)[:, 0]


trainers = {
    "base rate": train_base,
    "ridge": train_ridge,
    "random features": train_kernel,
    "boosting": train_boosting,
    "network": train_mlp,
    "bag of words": train_words,
}


def fitted(train, data):
    """Probabilities from a candidate that is trained on four fifths of data; the rest fits the two numbers."""
    cut = max(1, len(data) // 5)
    score = train(data[cut:])
    s, y = score(data[:cut]), data.y[:cut]
    size = np.std(s) + 1e-9
    loss = lambda v: np.mean(np.logaddexp(0, -(2 * y - 1) * (v[0] * s / size + v[1]))) + 1e-3 * v[0] ** 2  # noqa: E731
    slope, shift = scipy.optimize.minimize(loss, [1.0, -1.0], method="L-BFGS-B").x
    return lambda other: sigmoid(slope * score(other) / size + shift)


def losses_of(p, y):
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return -np.where(y == 1, np.log(p), np.log(1 - p))


looks = []  # one entry for each time that the held-out tickets judge a model


def tried(train, rows, seed=0):
    """Loss on the held-out tickets, its standard error, and CPU seconds, on so many random tickets of the past."""
    part = past[np.random.default_rng([rows, seed]).permutation(len(past))[:rows]]
    begun = clock.process_time()
    predict = fitted(train, part)
    seconds = clock.process_time() - begun
    each = losses_of(predict(held), held.y)
    looks.append(rows)
    return float(each.mean()), standard_error(each, held.customer), max(seconds, 1e-5)


begins = demo_size(full=2000, small=500)
lines = [(name, *tried(train, begins)) for name, train in trainers.items()]
least_loss = log_loss(held.y, held.probability())
print(f"trained on {begins:,} tickets, judged on {len(held):,}; least possible loss {least_loss:.3f}")
Table(
    ("candidate", "log loss", "standard error", "CPU seconds"),
    [(name, f"{loss:.3f}", f"{std:.3f}", seconds_text(s)) for name, loss, std, s in lines],
    numeric=(1, 2, 3),
)

# %% [markdown]
# ### What would more data buy?
#
# A ranking at one size says nothing about the next. In many problems the error falls like a power of the number of
# training rows, to a **floor**: $e(n) = a + b\,n^{-c}$. The floor $a$ is what this algorithm never reaches, with any
# number of rows; another algorithm may. A straight line through $\log e$ against $\log n$ denies the floor and promises
# an error of 0.
#
# *Fit.* Each measurement has a standard error $s_i$, so it counts with weight $1/s_i^2$:
# $S = \sum_i (a + b\,n_i^{-c} - e_i)^2 / s_i^2$. For a fixed $c$ this is a straight line in $x = n^{-c}$, solved in
# closed form. Then $S$ depends on $c$ alone, and a search finds the best $c$.
#
# *Interval.* Near the minimum the curve is about linear in $(a, b, c)$, with the derivatives
# $J_i = (1,\ n_i^{-c},\ -b \log n_i\, n_i^{-c})$. Then $(J^\top W J)^{-1}$, $(3, 3)$, is the covariance of the three
# (least squares with known variances), and its first entry the variance of $a$. To treat $c$ as known would cross out one
# column and make the interval far too short.
#
# ### 26.4 `learning_curve` · essential · level 3 of 4 · 25 min


# %% exercise="learning_curve" points=3 minutes=25 forbids=["sklearn"] trains=["learning curves"]
def learning_curve(n: np.ndarray, error: np.ndarray, std: np.ndarray, target: float) -> dict[str, object]:
    """Fit error = a + b n^-c, and say how many rows reach a target.

    n: (k,) numbers of rows, integers of any kind or floats, from 10 to 1e7; at least three different
      ones. error: (k,) floats, measured at n. std: (k,) floats > 0, their standard errors.
      target: a float. k >= 3. Nothing is modified.

    (a, b, c) minimise S = sum ((a + b n^-c - error) / std)^2 over all real a and b and 0.1 <= c <= 2.
    Your S may lie above the least one by 1e-6 (1 + S). In the tests c may be at one of its ends, and
    b may be negative, but is not near 0. No result exceeds float64.

    Returns a dict:
      "a", "b", "c": Python floats.
      "interval": (low, high), a - 1.96 sqrt(C[0, 0]) and a + 1.96 sqrt(C[0, 0]), two Python floats.
        C is the inverse of J^T W J (3 x 3, also where c is at an end): row i of J holds the
        derivatives of a + b n_i^-c by a, b and c, (1, n_i^-c, -b log(n_i) n_i^-c), and W is diagonal
        with 1 / std_i^2. The tests allow one hundredth of the interval's width.
      "rows_needed": the real number n with a + b n^-c = target, a Python float, not rounded; inf
        where target <= a; 0.0 where target > a and b < 0 (any number of rows reaches it).
    Raises ValueError if fewer than three of the n differ, or unless all std > 0.
    Forbidden: sklearn. (scipy.optimize is allowed.)
    """
    ### BEGIN SOLUTION
    n, error, std = (np.asarray(v).astype(np.float64) for v in (n, error, std))
    if len(np.unique(n)) < 3 or not np.all(std > 0):
        raise ValueError("at least three different numbers of rows, and standard errors above 0")
    scaled = n / n.min()  # n^-c stays of size 1

    def solve(c):
        """The best a and b for this c, a straight line in n^-c, and the root of S; b belongs to scaled."""
        columns = np.stack([1 / std, scaled**-c / std], axis=1)
        a, b = np.linalg.lstsq(columns, error / std)[0]
        return a, b, np.linalg.norm(columns @ [a, b] - error / std)

    c = least(lambda c: solve(c)[2], 0.1, 2.0)
    a, b, _ = solve(c)
    b *= n.min() ** c
    power = n**-c
    # The factor -b of the third derivative does not change the first entry of the inverse.
    derivatives = np.stack([np.ones(len(n)), power, np.log(n) * power], axis=1) / std[:, None]
    lengths = np.linalg.norm(derivatives, axis=0)  # columns of length 1: the inverse keeps its digits
    half = 1.96 * float(np.linalg.norm(np.linalg.pinv(derivatives / lengths)[0])) / lengths[0]
    needed = math.inf if target <= a else 0.0 if b < 0 else float((b / (target - a)) ** (1 / c))
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
# `n = (b / (target - a)) ** (1 / c)` where both `b` and `target - a` are positive; the docstring names the other cases.
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
        atol=5e-4,
        rtol=0,
        hint="J has the columns 1, n^-c and -b log(n) n^-c, each row divided by its std",
        mistakes={"a and b alone: c has an error, too.": [0.18796, 0.21204]},
    )
    assert learning_curve(n_small, error_small, std_small, 0.19)["rows_needed"] == math.inf, "0.19 is below the floor"
    n_more = np.array([100, 400, 1600, 6400, 25_600])
    noisy = 0.2 + 3.0 * n_more**-0.5 + np.array([0.1, 0.0, 0.01, 0.0, 0.0])  # a poor measurement, and its std says so
    got = learning_curve(n_more, noisy, np.array([0.2, 0.01, 0.01, 0.005, 0.005]), 0.3)
    expect_close(
        got["a"],
        0.19305,
        atol=5e-4,
        rtol=0,
        hint="divide each difference by its std, then square",
        mistakes={
            "All measurements have the same weight.": 0.21814,
            "The weights are 1 / std: the difference is divided by std before it is squared.": 0.21101,
        },
    )
    for exponent, end in [(2.5, 2.0), (0.03, 0.1)]:
        ended = learning_curve(n_small, 0.1 + 100.0**exponent * n_small**-exponent, std_small, 0.3)
        expect_close(ended["c"], end, atol=1e-3, rtol=0, hint="c is searched from 0.1 to 2")
    rising = learning_curve(n_small, np.array([0.28, 0.29, 0.295, 0.2975]), std_small, 0.5)
    expect_close(rising["b"], -0.2, rtol=0.02, hint="errors may rise with n: 0.3 - 0.2 / sqrt(n)")
    assert rising["rows_needed"] == 0.0, "b < 0: any number of rows is below 0.5"
    with expect_raises(ValueError, hint="two different sizes cannot show a floor"):
        learning_curve(np.array([100, 100, 400]), error_small[:3], std_small[:3], 0.3)

# %% [markdown]
# Each candidate is trained several times on each of several sizes, on other rows each time. The standard deviation of
# one training falls about like $1 / \sqrt n$; its factor is estimated from all sizes together. Each curve is
# extrapolated to all rows of the past, and only then that size is measured. With a slow boosting of your own the cell
# may take a minute. The bands are the fitted curves' 95% range, from the same covariance; two are drawn.
# All trainings are judged by the same held-out tickets, so what these have in common is part of the
# curve and not of its noise.

# %% tags=["demo"]
sizes = demo_size(full=np.array([300, 600, 1200, 2400, 4800, 9600]), small=np.array([150, 300, 600, 1200, 2400]))
goal, repeats = len(past), demo_size(full=4, small=3)
measured, spread, seconds_at, curves, judged = {}, {}, {}, {}, {}
for name in list(trainers)[1:]:
    runs = np.array([[tried(trainers[name], int(n), seed + 1) for seed in range(repeats)] for n in sizes])
    measured[name], seconds_at[name] = runs[:, :, 0].mean(axis=1), runs[:, :, 2].min(axis=1)
    factor = np.sqrt(np.mean(runs[:, :, 0].var(axis=1, ddof=1) * sizes))
    spread[name] = factor / np.sqrt(sizes) / math.sqrt(repeats)  # of a mean of the trainings
    curves[name] = learning_curve(sizes, measured[name], spread[name], 1.1 * least_loss)
for name in curves:
    judged[name] = min((tried(trainers[name], goal, 1) for _ in range(2)), key=lambda result: result[2])


def curve_at(name, n):
    return curves[name]["a"] + curves[name]["b"] * n ** -curves[name]["c"]


def slopes(name, n):
    """(len(n), 3): the curve's derivatives by a, b and c."""
    power = n ** -curves[name]["c"]
    return np.stack([np.ones(len(n)), power, -curves[name]["b"] * np.log(n) * power], axis=1)


figure, ax = plt.subplots(figsize=(8, 4.8))
reach = np.exp(np.linspace(math.log(sizes[0]), math.log(goal), 60))
lines = []
for k, (name, found) in enumerate(curves.items()):
    style = {"color": plotting.COLOURS[k]}
    ax.plot(reach, curve_at(name, reach), ls=["-", "--", "-.", (0, (1, 1)), (0, (5, 1))][k], label=name, **style)
    if name in ("ridge", "bag of words"):
        half = 1.96 * np.linalg.norm(
            slopes(name, reach) @ np.linalg.pinv(slopes(name, sizes) / spread[name][:, None]), axis=1
        )
        ax.fill_between(reach, curve_at(name, reach) - half, curve_at(name, reach) + half, alpha=0.15, **style)
    ax.plot(sizes, measured[name], "os^Dv"[k], markersize=4, **style)
    ax.plot([goal * 1.04 ** (k - 2)], [judged[name][0]], "*", markersize=13, **style)
    S = np.sum(((curve_at(name, sizes) - measured[name]) / spread[name]) ** 2)
    inside, rows = 0.101 < found["c"] < 1.999, found["rows_needed"]
    low, high = found["interval"]
    lines.append(
        (name, f"{found['a']:.3f}", f"{low:.3f} to {high:.3f}", f"{found['c']:.2f}", f"{S:.1f}")
        if inside
        else (name, "-", "-", f"{found['c']:.2f} (end)", f"{S:.1f}")
    )
    far = "never" if rows == math.inf else "> 10^7" if rows > 1e7 else f"{rows:,.0f}"
    lines[-1] += (f"{curve_at(name, goal):.3f}", f"{judged[name][0]:.3f}", far if inside else "-")
ax.axhline(least_loss, color="0.4", lw=1, label="least possible")
ax.set(
    xscale="log",
    xlabel="training rows n",
    ylabel="log loss on held-out tickets",
    title="Curves first, then the stars were measured",
    ylim=(least_loss - 0.03, None),
)
ax.legend(loc="upper right", ncols=2)
plt.show()
heads = ("candidate", "floor a", "95%", "c", "S", f"at {goal:,} predicted", "measured", "rows for 10% above least")
Table(heads, lines, numeric=(1, 3, 4, 5, 6, 7))

# %% [markdown]
# Where the table says "end", the search for $c$ stopped at its limit. There the formula of the interval, which lets $c$
# move both ways, does not hold, so the table names no floor and no rows. $S$ should be about the number of sizes less
# three; a value far above it would say that the points do not lie on such a curve. The floors have wide intervals: the
# range of the sizes limits what can be said. The loss a little further on is predicted better: compare the two columns.
# And what do the rows cost?
#
# A training takes some fixed time whatever the data, and then a time that grows: $f + q\,n^{r}$. Where $f$ is most of
# what was measured, the slope in a log-log plot is far too flat, and a forecast by it, or by seconds per row, is wrong.
# Times span decades, so relative errors are minimised: otherwise the largest one decides alone. Negative seconds
# make no sense: $f, q \ge 0$.
#
# ### 26.5 `cost_curve` · important · level 2 of 4 · 15 min


# %% exercise="cost_curve" points=2 minutes=15 forbids=["sklearn"] trains=["cost models"]
def cost_curve(n: np.ndarray, seconds: np.ndarray, budget: float) -> dict[str, float]:
    """Fit seconds = fixed + per n^power, and say how many rows a budget pays.

    n: (k,) numbers of rows, integers of any kind or floats, from 10 to 1e7; at least three different
      ones. seconds: (k,) floats > 0, measured at n. budget: a float > 0, in seconds. Nothing is
      modified.

    (fixed, per, power) minimise S = sum ((fixed + per n^power) / seconds - 1)^2, the squares of
    relative errors, over fixed >= 0, per >= 0 and 0.5 <= power <= 3. Your S may lie above the least
    one by 1e-8.

    Returns a dict of Python floats:
      "fixed", "per", "power"; "affordable": the real number n with fixed + per n^power = budget, not
      rounded; 0.0 where budget <= fixed; otherwise inf where per is 0 (seconds that do not grow). No
      result of the tests exceeds float64.
    Raises ValueError if fewer than three of the n differ, or unless all seconds > 0.
    Forbidden: sklearn. (scipy.optimize is allowed.)
    """
    ### BEGIN SOLUTION
    if len(np.unique(n)) < 3 or not np.all(seconds > 0):
        raise ValueError("at least three different numbers of rows, and seconds above 0")
    scaled = n / n.max()

    def solve(power):
        """The best fixed and per >= 0 for this power, and the root of S; per belongs to scaled."""
        columns = np.stack([1 / seconds, scaled**power / seconds], axis=1)
        found, length = scipy.optimize.nnls(columns, np.ones(len(n)))
        return *found, length

    power = least(lambda power: solve(power)[2], 0.5, 3.0)
    fixed, per, _ = solve(power)
    per /= n.max() ** power
    affordable = 0.0 if budget <= fixed else math.inf if per == 0 else float(((budget - fixed) / per) ** (1 / power))
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
# `scipy.optimize.nnls(columns, ones)` gives the two unknowns and the root of S. `least(...)` of the setup cell finds
# the power. Scale `n` by its largest value first and undo it at the end, so that a power of 3 does not swamp the other
# column. Then `affordable = ((budget - fixed) / per) ** (1 / power)` where `budget > fixed` and `per > 0`. The
# docstring names the other two cases.
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
    uneven = cost_curve(n_small, np.array([1.0, 3.0, 16.0, 40.0]), 10.0)
    expect_close(uneven["power"], 0.928, rtol=5e-3, hint="relative errors: divide each by its seconds")
    bent = cost_curve(n_small, np.array([0.4, 2.0, 8.0, 30.0]), 10.0)  # a free fit has fixed = -0.03
    expect_close(
        bent["per"],
        0.00364,
        rtol=1e-2,
        hint="fixed is 0 here: fit per and power once more, without it",
        mistakes={"fixed was free and then set to 0: per and power belong to another fixed.": 0.00761},
    )
    steep = cost_curve(n_small, np.array([1.0, 30.0, 1000.0, 30_000.0]), 1.0)
    assert steep["fixed"] >= 0 and 0.5 <= steep["power"] <= 3, "fixed and power keep to their limits"
    expect_close(steep["power"], 2.4915, rtol=5e-3, hint="power is searched up to 3")
    falling = cost_curve(n_small, np.array([8.0, 4.0, 3.0, 2.0]), 50.0)
    assert falling["per"] > 0 or falling["affordable"] == math.inf, "no row costs anything, so 50 s pay any number"
    with expect_raises(ValueError, hint="two different sizes cannot show a fixed part"):
        cost_curve(np.array([100, 100, 400]), seconds_small[:3], 3.0)

# %% [markdown]
# The same trainings gave CPU seconds. The prediction for all rows of the past comes from the smaller sizes, before it is
# compared; beside it is the price per row carried on linearly. A size more than a hundred times the largest one that was
# measured is no forecast: the table says "beyond". It gives no rows, either, where the power is at an end of its range.

# %% tags=["demo"]
lines, ahead, came = [], [], []
costs = {name: cost_curve(sizes, seconds_at[name], 60.0) for name in curves}


def rows_text(rows, most):
    return f"{rows:,.0f}" if rows <= most else "beyond"


for name, found in costs.items():
    forecast = found["fixed"] + found["per"] * goal ** found["power"]
    linear = seconds_at[name][-1] / sizes[-1] * goal
    ahead.append(forecast)
    came.append(judged[name][2])
    at_end = not 0.501 < found["power"] < 2.999
    minute = "-" if at_end else rows_text(found["affordable"], 100 * sizes[-1])
    lines.append((name, seconds_text(found["fixed"]), f"{found['power']:.2f}" + " (end)" * at_end))
    lines[-1] += (seconds_text(forecast), seconds_text(linear), seconds_text(judged[name][2]), minute)
figure, ax = plt.subplots(figsize=(5.5, 4.2))
for k, name in enumerate(costs):
    ax.plot([ahead[k]], [came[k]], "os^Dv"[k], color=plotting.COLOURS[k], markersize=8, label=name)
ends = [min(ahead + came) / 2, max(ahead + came) * 2]
ax.plot(ends, ends, color="0.6", ls="--", label="as predicted")
ax.set(xscale="log", yscale="log", xlabel="CPU seconds predicted", ylabel="CPU seconds measured")
ax.set_title("Predicted and measured cost of the next size")
ax.legend(loc="upper left", fontsize=8)
plt.show()
Table(
    ("candidate", "fixed", "power", f"{goal:,} rows predicted", "linearly", "measured", "rows for a minute"),
    lines,
    numeric=(1, 2, 3, 4, 5, 6),
)

# %% [markdown]
# ### Spend the budget
#
# Every candidate has settings, and each setting wants a training. With $K$ settings and a budget of $B$ rows, an even
# spread gives each $B/K$ rows: most of them are spent on settings that were poor from the beginning. **Successive
# halving** (Karnin et al., 2013) gives every round an equal share of the budget and halves the field after each. With
# $R = \lceil \log_2 K \rceil$ rounds, the last two arms share $B/R$ rows: each gets $B/(2R)$ instead of $B/K$, which is
# more as soon as $K > 2R$. The risk is on the other side: an arm that begins slowly is dropped early.
#
# ### 26.6 `successive_halving` · essential · level 3 of 4 · 20 min


# %% exercise="successive_halving" points=3 minutes=20 trains=["successive halving", "model selection"]
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
    A single arm (R = 0) is returned without any run where budget >= 0. Raises ValueError, before any run, if arms < 1 or
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
    table_small = {8: [5.0, 3.0, 3.0, 9.0, math.nan], 13: [0.1, 2.0, 3.0, 0.0, 0.0], 20: [2.5, 2.2, 1.0, 0.0, 0.0]}
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
        (1, 119),
        rtol=1e-12,
        hint="arm 1 has the least loss of the last round; 5 * 8 + 3 * 13 + 2 * 20 rows are spent",
        mistakes={
            "Only the last round is charged.": (1, 40),
            "This is the budget, not what was spent.": (1, 120),
            "A round looks at its own losses; arm 0 had less in an earlier one.": (0, 119),
        },
    )
    assert all(type(number) is int for number in got), "two Python ints"
    got = successive_halving(lambda arm, rows: 3.0, 6, 60)
    expect_close(got, (0, 56), hint="all tie in each round: the lower numbers stay")  # 6 * 3 + 3 * 6 + 2 * 10
    expect_close(successive_halving(run_small, 1, 0), (0, 0), hint="one arm needs no run")
    calls_small.clear()
    with expect_raises(ValueError, hint="14 rows are less than 3 rounds of 5 arms"):
        successive_halving(run_small, 5, 14)
    assert not calls_small, "the budget is checked before the first run"

# %% [markdown]
# Which columns shall a linear model see? Six groups of columns make 64 sets; each set is a setting of the same ridge
# regression, and a training costs its rows. The cell repeats the search on three further desks, with the same rows for
# all settings of a round and new rows in each round, for four budgets. It counts how often halving and an even spread
# of the same budget find the set that is best when all rows train. (All sums that the 64 fits need stand in one table
# of products, $Z^\top Z$, so a fit takes microseconds; module 15 has more of this.)

# %% tags=["demo"]
parts = [[0], [1], [18], [17], [5, 6, 7, 8], list(range(9, 15))]  # tenure, wait, wait x day, mixed, channel, product
sets = [[19] + [j for bit, part in enumerate(parts) if arm >> bit & 1 for j in part] for arm in range(64)]


class Search:
    """64 ridge regressions on one desk; each sees another set of columns."""

    def __init__(self, seed):
        other = datasets.tickets(20_000, seed=seed)
        self.train, test = grouped_time_split(other.time, other.customer, 0.2, 7.0)
        X = features(other)
        mixed = np.tanh(other.numbers[:, 2] - 3) * np.tanh(2 * (other.numbers[:, 3] - 1))  # orders and amount together
        self.Z = np.column_stack([X, mixed, X[:, 1] * X[:, 4], np.ones(len(X)), other.y])
        self.judge = self.Z[test].T @ self.Z[test] / len(test)
        whole = self.products(self.train)
        self.best = int(np.argmin([self.loss(whole, arm) for arm in range(64)]))

    def products(self, rows):
        return self.Z[rows].T @ self.Z[rows]

    def loss(self, products, arm):
        """Mean squared error on the test rows, from sums of products of the training rows."""
        use = sets[arm]
        theta = np.linalg.solve(products[np.ix_(use, use)] + 10 * np.eye(len(use)), products[use, 20])
        return float(
            self.judge[20, 20] - 2 * theta @ self.judge[use, 20] + theta @ self.judge[np.ix_(use, use)] @ theta
        )

    def found(self, rows_each, seed):
        """Whether halving and an even spread find the best set, and the rows that halving spent."""
        draws, seen = np.random.default_rng([seed, rows_each]), {}

        def trained(arm, rows):
            if rows not in seen:
                seen[rows] = self.products(draws.permutation(self.train)[:rows])
            return self.loss(seen[rows], arm)

        halving, spent = successive_halving(trained, 64, 64 * rows_each)
        even = np.argmin([trained(arm, rows_each) for arm in range(64)])
        return halving == self.best, even == self.best, spent


each_gets, times = [250, 500, 1000, 2000], demo_size(full=20, small=8)
searches = [Search(seed) for seed in (60, 61, 62)]
results = np.array(
    [[search.found(n, seed) for search in searches for seed in range(times)] for n in each_gets], dtype=float
)
share = results[:, :, :2].mean(axis=1)
error = results[:, :, :2].std(axis=1, ddof=1) / math.sqrt(3 * times)
figure, ax = plt.subplots(figsize=(6.5, 3.8))
for k, name in enumerate(("successive halving", "an even spread")):
    style = {"marker": "os"[k], "ls": ["-", "--"][k], "color": plotting.COLOURS[k]}
    ax.errorbar(each_gets, share[:, k], error[:, k], capsize=4, label=name, **style)
ax.set(xscale="log", xlabel="rows for each of 64 settings (budget / 64)", ylabel="share that finds the best set")
ax.set(title=f"Halving finds the best more often ({3 * times} searches)", ylim=(-0.05, 1.05))
ax.set_xticks(each_gets, [f"{n:,}" for n in each_gets])
ax.minorticks_off()
ax.legend(loc="upper left")
plt.show()
print(f"a search with the largest budget spent {results[-1, -1, 2]:,.0f} of {64 * each_gets[-1]:,} rows")
paired = results[:, :, 0] - results[:, :, 1]
for n, (halving, even), more in zip(each_gets, share, paired, strict=True):
    half = 1.96 * more.std(ddof=1) / math.sqrt(3 * times)
    print(f"{n:,} rows each: {halving:.2f} and {even:.2f}, difference {more.mean():.2f} ± {half:.2f}")

# %% [markdown]
# Halving trains its last two settings on more than five times the rows of an even spread, and its first round on one
# sixth of them. With the smallest budget neither finds much. Halving looks at one size in each round, and never at a
# curve. Settings of one algorithm may keep their order; different algorithms often do not: their curves cross.
#
# Now all comes together. Candidates have prices per row and per prediction. A budget pays for trials; the same sum pays
# once more, for the final training of the one that is chosen, and buys another number of rows $N$ for each. An equal
# share of the trials' budget buys about $N/K$ rows, and who leads there need not lead at $N$. So the budget should buy
# *curves*, not places. If two values cannot be told apart, the smaller running cost is certain and the smaller loss is
# an estimate.
#
# **Regret** is the value of the choice minus that of the best choice. It judges a rule of decision over many worlds, and
# not one lucky decision in one of them.
#
# ### 26.7 `decide` · essential · level 4 of 4 · 30 min


# %% exercise="decide" points=4 minutes=30 forbids=["sklearn"] trains=["model selection", "cost-sensitive decisions"]
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
    0.002 of the least, the one of them with the least serving (or any of those). A name with N < 1
    cannot be chosen and need not be tried; ValueError if there is no other. With one name that can be
    chosen, it is returned, with runs or without.

    The sum of the costs of all runs must not exceed budget.

    What is tested for regret: 40 worlds of four to six names. In each, the expected loss of a name is
    a + b n^-c with c from 0.3 to 0.4 or from 0.9 to 1.2, and measured losses differ from it by
    independent normal noise with the standard deviation std, from 0.0005 to 0.002, the same in all
    runs of a world. fixed is at most a thousandth of the budget, N from 5,000 to 500,000. Curves cross:
    who leads on few rows may lose on N. The regret of a choice is its value minus the least; a world in
    which more than the budget is spent counts as the worst name. Your mean regret must be at most a
    tenth of that of the plain way, which runs each name once for an equal share of the budget and takes
    the least loss + serving. Near ties are tested in worlds with std 1e-6. The tests of the other rules
    are not bound to these sizes. At most 400 runs a world.
    Forbidden: sklearn. May use your `learning_curve`.
    """
    ### BEGIN SOLUTION
    rows = {name: int((budget - price[name][0]) / price[name][1]) for name in names}
    able = [name for name in names if rows[name] >= 1]
    if not able:
        raise ValueError("the budget trains none of them")
    if len(able) == 1:
        return able[0]
    value, halves = {}, 0.5 ** np.arange(5)
    for name in able:
        fixed, per_row = price[name]
        # Five sizes, each half of the one before, cost this name's share of the budget: they add up to 1.9375 times the largest.
        largest = (budget / len(able) - 5 * fixed) / (1.94 * per_row)
        sizes = (largest * halves).astype(int)
        measured = np.array([run(name, int(size)) for size in sizes])
        curve = learning_curve(sizes, *measured.T, 0.0)
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
    curves_small["twin"], price_small["twin"] = (0.106, 6.0, 0.4), price_small["deep"]
    for serving_small, wanted in [({"deep": 0.0055, "twin": 0.0}, "twin"), ({"deep": 0.002, "twin": 0.0}, "deep")]:
        spent_small.clear()
        got = decide(["deep", "twin"], price_small, serving_small, run_small, budget_small)
        assert got == wanted, (
            f"{serving_small}: values 0.0005 apart are a near tie, values 0.004 apart are none; not {got}"
        )
    curves_small["early"], price_small["early"] = (0.3, 600.0, 0.8), price_small["deep"]
    spent_small.clear()
    got = decide(["early", "plain"], price_small, {"early": 0.0, "plain": 0.0}, run_small, budget_small)
    assert got == "plain", "early falls fast, but only towards its floor of 0.3: it ends at 0.36, plain at 0.30"
    curves_small |= {"late": (0.1, 3.0, 0.3), "soon": (0.2, 90.0, 1.0)}
    price_small |= {"late": price_small["deep"], "soon": price_small["deep"]}
    spent_small.clear()
    got = decide(["soon", "late"], price_small, {"soon": 0.0, "late": 0.0}, run_small, budget_small)
    assert got == "late", "late falls on to 0.195, soon ends at 0.201: each has its own exponent (0.3 and 1)"
    got = decide(["slow", "plain"], price_small, {"slow": 0.0, "plain": 0.0}, run_small, 1.5)
    assert got == "plain", "1.5 trains slow on no row"
    with expect_raises(ValueError, hint="a budget below both fixed prices"):
        decide(["slow", "deep"], price_small, {"slow": 0.0, "deep": 0.0}, run_small, 0.5)

# %% [markdown]
# The five candidates of this module, with the desk's price list. Most of the price of a ticket is the expert who labels
# it; the rest pays for computing. The list is written down once, by hand, in the order of the costs above: prices that
# were measured anew each time would let the clock decide. The budget trains the cheapest candidate on all tickets of
# the past; the others get fewer. A run of fewer than 50 rows is given 50. After the decision all five are trained on
# their own $N$, which a budget never pays, to see how good the decision was. All are judged by the same tickets, so
# each difference to the chosen one is taken ticket by ticket, and its standard error is smaller than those of the two
# losses. The line joins the candidates that no other beats in both, cost and value.

# %% tags=["demo"]
price = {  # in cents: a training, and each ticket of it
    "ridge": (10.0, 1.01),
    "random features": (10.0, 1.15),
    "boosting": (10.0, 1.6),
    "network": (10.0, 1.1),
    "bag of words": (10.0, 1.02),
}
serving = {
    "ridge": 0.0,
    "random features": 0.002,
    "boosting": 0.003,
    "network": 0.001,
    "bag of words": 0.001,
}  # in log loss
budget_cents = 10.0 + 1.01 * len(past)
trials = []


def run_for_real(name, rows):
    trials.append(price[name][0] + price[name][1] * rows)
    loss, std, _ = tried(trainers[name], max(rows, 50), 5)
    return loss, std


choice = decide(list(curves), price, serving, run_for_real, budget_cents)
final, bill, speed, each = {}, {}, {}, {"base rate": losses_of(np.full(len(held), past.y.mean()), held.y)}
rows_then = {name: int((budget_cents - fixed) / per_row) for name, (fixed, per_row) in price.items()}
for name, rows in rows_then.items():
    part = past[np.random.default_rng(6).permutation(len(past))[:rows]]
    begun = clock.process_time()
    final[name] = fitted(trainers[name], part)
    bill[name] = clock.process_time() - begun
    begun = clock.process_time()
    p = final[name](held)
    speed[name] = (clock.process_time() - begun) / len(held)
    each[name] = losses_of(p, held.y) + serving[name]
    looks.append(rows)
value = {name: losses.mean() for name, losses in each.items()}
apart_by = {name: standard_error(each[name] - each[choice], held.customer) for name in each}
figure, ax = plt.subplots(figsize=(7, 4.2))
for k, name in enumerate(curves):
    style = {"markersize": 13, "markeredgecolor": "black"} if name == choice else {"markersize": 8}
    place = [bill[name]], [value[name]], [1.96 * apart_by[name]]
    ax.errorbar(*place, fmt="os^Dv"[k], color=plotting.COLOURS[k], capsize=4, **style)
    ax.plot([], [], "os^Dv"[k], color=plotting.COLOURS[k], label=name)
frontier, low = [], math.inf
for name in sorted(curves, key=bill.get):
    if value[name] < low:
        low = value[name]
        frontier.append((bill[name], low))
ax.plot(*zip(*frontier, strict=True), color="0.5", lw=1, ls="--", label="frontier", zorder=0)
ax.set(xscale="log", xlabel="CPU seconds of the last training, each on its own N", ylabel="log loss + serving")
ax.set(title=f"Chosen: {choice} (bars: difference to it, 95%)")
ax.legend(loc="best", fontsize=8)
plt.show()
print(f"trials: {len(trials)}, {sum(trials):,.0f} of {budget_cents:,.0f} cents spent")
print(f"regret, as measured: {value[choice] - min(value.values()):.3f}")
Table(
    ("candidate", "N", "training", "µs a ticket", "serving", "log loss + serving", "minus the chosen, 95%"),
    [
        (
            name,
            f"{rows_then[name]:,}" if name in rows_then else "0",
            seconds_text(bill[name]) if name in bill else "-",
            f"{1e6 * speed[name]:.1f}" if name in speed else "-",
            f"{serving.get(name, 0.0):.3f}",
            f"{value[name]:.3f} ± {1.96 * standard_error(each[name], held.customer):.3f}",
            f"{value[name] - value[choice]:+.3f} ± {1.96 * apart_by[name]:.3f}",
        )
        for name in each
    ],
    numeric=(1, 2, 3, 4, 5, 6),
)

# %% [markdown]
# The bag of words sees the text, and boosting sees how two numbers act together; a sum of both would see more than
# each. Every candidate has to beat the base rate, which costs nothing, by more than its serving: the first row of the
# table. The prices are fixed and the draws are seeded, so a second run with the same functions decides the same; only
# seconds change. A choice has been made on held-out tickets. How good is it?
#
# ### Test once
#
# Many people submit predictions, and a board shows each of them their error on the same labels. On a plain board one
# needs no model: submit random guesses, keep those with an error below one half, let them vote. A guess with an error
# of 0.49 agrees with the labels on 51% of the rows and contradicts 49%, by chance; the vote of many such guesses agrees
# with all these accidents at once. Its error on the board falls and falls, and on new rows it stays one half. Each
# exact score gives away a little of the labels.
#
# The **ladder** (Blum and Hardt, 2015) answers only if there is something to say: a report changes only where the error
# is below the last report minus a step $\delta$, and it is rounded to the step. With $R_t$ for the last report it can,
# after the first, change at most $1/\delta$ times, whatever is submitted; so all that the labels give away fits into
# few numbers.
#
# ### 26.8 `Leaderboard` · important · level 3 of 4 · 20 min


# %% exercise="Leaderboard" points=3 minutes=20 forbids=["sklearn"] trains=["adaptive data analysis"]
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
        Raises RuntimeError after `final`; before it, ValueError if predicted has another shape than
        y. A call that raises changes nothing.
        """
        ### BEGIN SOLUTION
        if self.over:
            raise RuntimeError("the board is closed")
        if predicted.shape != self.y.shape:
            raise ValueError("predictions and labels differ in shape")
        error = float(np.mean(predicted != self.y))
        if error < self.best - self.step:
            self.best = round(error / self.step) * self.step
        return self.best
        ### END SOLUTION

    def final(self, predicted: np.ndarray) -> float:
        """The exact error of these predictions, a Python float. It closes the board: once only.

        predicted: as in `submit`. Raises ValueError if it has another shape than y (and the board stays
        open). A second call raises RuntimeError, whatever the shape.
        """
        ### BEGIN SOLUTION
        if self.over:
            raise RuntimeError("final was called before")
        if predicted.shape != self.y.shape:
            raise ValueError("predictions and labels differ in shape")
        share = float(np.mean(predicted != self.y))
        self.over = True
        return share
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

    board = Leaderboard(y_small, 0.25)
    # Errors 0.7, 0.8, 0.6, 0.4, ...: 0.7 is shown as 3 * 0.25. Below 0.75 - 0.25 is 0.4 first, shown as 2 * 0.25.
    expected = [0.75, 0.75, 0.75, 0.5, 0.5, 0.5, 0.5]
    got = [board.submit(wrong_in(rows)) for rows in [7, 8, 6, 4, 3, 4, 7]]
    expect_close(
        got,
        expected,
        rtol=1e-12,
        hint="a report changes only if the error is below the last report minus step",
        mistakes={
            "The error is shown exactly.": [0.7, 0.7, 0.7, 0.4, 0.4, 0.4, 0.4],
            "Each submission gets its own error.": [0.75, 0.75, 0.5, 0.5, 0.25, 0.5, 0.75],
            "Any progress is shown, however small.": [0.75, 0.75, 0.5, 0.5, 0.25, 0.25, 0.25],
        },
    )
    assert all(type(report) is float for report in got), "Python floats"
    for shape in (y_small[:9], y_small[:, None]):
        with expect_raises(ValueError, hint="the shape of the predictions is that of the labels"):
            board.final(shape)
    expect_close(board.final(wrong_in(2)), 0.2, hint="final gives the exact error")
    for method in (board.submit, board.final):
        with expect_raises(RuntimeError, hint="final closes the board, for predictions of any shape"):
            method(y_small[:9])

# %% [markdown]
# The attack, on 1,000 coin tosses as labels. Nothing can be learnt here, so the true error of any predictions on new rows
# is one half.

# %% tags=["demo"]
draws = np.random.default_rng(3)
coins = draws.integers(0, 2, 1000)
attacks = demo_size(full=2000, small=300)
guesses = draws.integers(0, 2, (attacks, 1000))
ladder, kept, vote, shown, by_plain = Leaderboard(coins, 0.02), [], np.zeros(1000), [], []
report_before = math.inf
for guess in guesses:
    report_now = ladder.submit(guess)
    if report_now < report_before:
        kept.append(guess)
    report_before = report_now
    shown.append(report_now)
    if np.mean(guess != coins) < 0.5:  # what a plain board gives away
        vote += 2 * guess - 1
    by_plain.append(np.mean((vote > 0) != coins))
figure, ax = plt.subplots(figsize=(7, 4))
when = np.arange(1, attacks + 1)
ax.plot(when, by_plain, color=plotting.COLOURS[1], label="plain board: shown for the vote")
ax.plot(when, shown, color=plotting.COLOURS[0], ls="--", drawstyle="steps-post", label="yours: best report")
ax.axhline(0.5, color="0.4", ls=":", label="true error of both")
ax.set(
    xscale="log",
    ylim=(0.1, 0.65),
    xlabel="submissions",
    ylabel="error",
    title="A plain board can be attacked by guesses",
)
ax.legend(loc="lower left")
plt.show()
final_error = ladder.final((np.mean(kept, axis=0) > 0.5).astype(int))
print(f"after {attacks:,} guesses a plain board shows {by_plain[-1]:.3f}; the vote on yours, exact: {final_error:.3f}")

# %% [markdown]
# The gap between the lines looks like a result and is an accident. The same happens to a single person with fifty
# models and one test set.
#
# Find the bug. The function below chooses among fifty candidates and publishes a number. It runs, and its standard
# error is right. Somebody published its number for fifty models that toss coins: "error 0.39, standard error 0.05".
#
# ### 26.9 `report` · essential · level 1 of 4 · 10 min


# %% exercise="report" points=1 minutes=10 bug=true trains=["adaptive data analysis", "model selection"]
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
            [1, 1, 0, 1, 0, 1, 0, 1],  # one error on the three validation rows, none on the five test rows
            [0, 1, 0, 1, 1, 0, 1, 1],  # none, and three of five
            [0, 1, 0, 1, 1, 1, 0, 1],  # none, and one of five
        ]
    )
    with expect_unchanged(y_small=y_small, predictions_small=predictions_small):
        got = report(predictions_small, y_small, np.arange(3), np.arange(3, 8))
    expect_close(
        got,
        (1, 0.6, math.sqrt(0.6 * 0.4 / 5)),
        rtol=1e-12,
        hint="candidates 1 and 2 make no error on the validation rows; candidate 1 makes three of five on the test rows",
        mistakes={
            "The best on the test rows was chosen by the test rows.": (0, 0.0, 0.0),
            "A tie goes to the lower number; the test rows do not choose.": (2, 0.2, math.sqrt(0.2 * 0.8 / 5)),
            "u is the number of test rows, not of validation rows.": (1, 0.6, math.sqrt(0.6 * 0.4 / 3)),
        },
    )

# %% [markdown]
# Now the real thing, once. The held-out tickets have been looked at many times, by tables, curves and decisions; the
# cell says how often. The sealed tickets have not been looked at. The held-out ones choose the threshold, the sealed
# ones judge. Only one candidate is left, so `report` chooses nothing here; with fifty coins it does, and the same cell
# shows what it says of them. `report` counts errors, the desk pays in costs, so both are told. By group, because a mean
# can hide a group: one ticket in six is in language 1. Intervals count customers, as before; the standard error of
# `report` counts tickets, and the next line tells the difference.

# %% tags=["demo"]
draws = np.random.default_rng(8)
coin_labels, rows = draws.integers(0, 2, 200), np.arange(200)
_, error, std = report(draws.integers(0, 2, (50, 200)), coin_labels, rows[:100], rows[100:])
print(f"the best of fifty coins: error {error:.2f}, standard error {std:.2f}")
print(f"the held-out tickets have judged {len(looks)} models; the sealed ones judge one, now")
p_held, p_sealed = final[choice](held), final[choice](sealed)
final_threshold, _ = cheapest_threshold(p_held, held.y, prices)
decisions = np.concatenate([p_held, p_sealed])[None] >= final_threshold
labels = np.concatenate([held.y, sealed.y])
_, error, std = report(decisions.astype(int), labels, np.arange(len(held)), len(held) + np.arange(len(sealed)))


def told(each, customer):
    return f"{each.mean():.3f} ± {1.96 * standard_error(each, customer):.3f}"


def priced(decision):
    return told(prices[sealed.y, decision.astype(int)], sealed.customer)


wrong = decisions[0, len(held) :] != sealed.y
print(
    f"{choice} at {final_threshold:.3f}: errors {error:.3f} ± {1.96 * std:.3f} by tickets on {len(sealed):,} sealed ones"
)
print(f"the same by customers: {told(wrong, sealed.customer)}")
print(
    f"log loss {told(losses_of(p_sealed, sealed.y), sealed.customer)}; least {log_loss(sealed.y, sealed.probability()):.3f}"
)
print(f"mean cost {priced(p_sealed >= final_threshold)}; always {priced(sealed.y >= 0)}, never {priced(sealed.y < 0)}")
lines = []
for language in (0, 1):
    here = sealed.language == language
    experts = here & (sealed.y == 1)
    lines.append((str(language), f"{np.count_nonzero(here):,}"))
    lines[-1] += (told(wrong[here], sealed.customer[here]), told(wrong[experts], sealed.customer[experts]))
Table(("language", "tickets", "errors, 95%", "experts missed, 95%"), lines, numeric=(1, 2, 3))

# %% [markdown]
# ## Scale it
#
# Which of these methods still run with 300,000 tickets, and with a hundred million? The cell measures three peers of
# scikit-learn on one thread; a training that takes milliseconds is repeated, and the least time counts. Each prediction
# is made by your `cost_curve` from the smaller sizes, before the next is measured. The slope is that of the last three
# sizes. It can be flatter than the power in the table, because the fixed part is in it.

# %% tags=["demo"]
peers = {
    "Ridge": lambda data: Ridge(10.0).fit(features(data), data.y),
    "SGD on words": lambda data: SGDClassifier(loss="log_loss", max_iter=3, tol=None, random_state=0).fit(
        bag(data), data.y
    ),
    "histogram boosting": lambda data: HistGradientBoostingClassifier(
        max_iter=10, early_stopping=False, random_state=0
    ).fit(features(data), data.y),
}
ladder_sizes = demo_size(
    full=[1000, 3000, 10_000, 30_000, 100_000, 300_000], small=[500, 1000, 2000, 4000, 8000, 16_000]
)


def cpu_seconds(fit, data):
    """Of one training; the least of up to five while they are short."""
    seconds = []
    while len(seconds) < 5 and sum(seconds) < 0.2:
        begun = clock.process_time()
        fit(data)
        seconds.append(clock.process_time() - begun)
    return max(min(seconds), 1e-5)


def forecast_at(taken, n):
    """What `cost_curve` of the sizes so far says of n rows, and what it is."""
    found = cost_curve(np.array(ladder_sizes[: len(taken)]), np.array(taken), 3600.0)
    return found["fixed"] + found["per"] * n ** found["power"], found


took, said = {name: [] for name in peers}, {name: [] for name in peers}
for n in ladder_sizes:
    data = datasets.tickets(n, seed=7)
    for name, fit in peers.items():
        if len(took[name]) >= 4:
            said[name].append(forecast_at(took[name], n)[0])
        took[name].append(cpu_seconds(fit, data))
    del data
figure, ax = plt.subplots(figsize=(7.5, 4.4))
for k, name in enumerate(peers):
    style = {"color": plotting.COLOURS[k]}
    slope = np.polyfit(np.log(ladder_sizes[-3:]), np.log(took[name][-3:]), 1)[0]
    ax.plot(ladder_sizes, took[name], marker="os^"[k], label=f"{name}, slope {slope:.2f}", **style)
    ax.plot(ladder_sizes[4:], said[name], "x", markersize=10, markeredgewidth=2, **style)
ax.plot([], [], "x", color="black", label="predicted before")
ax.set(
    xscale="log",
    yscale="log",
    xlabel="tickets n",
    ylabel="CPU seconds, features included",
    title="Said first, then measured",
    ylim=(None, 20 * max(map(max, took.values()))),
)
ax.legend(loc="upper left", ncols=2, fontsize=9)
plt.show()
lines = []
for name in peers:
    at_1e8, found = forecast_at(took[name], 1e8)
    ended = not 0.501 < found["power"] < 2.999
    ratios = ", ".join(f"{a / b:.2f}" for a, b in zip(said[name], took[name][4:], strict=True))
    hour = found["affordable"]
    lines.append((name, f"{found['power']:.2f}" + " (end)" * ended, ratios))
    lines[-1] += ("-", "-") if ended else (f"{at_1e8 / 60:,.0f} min", f"{hour:,.0f}" if hour < 1e9 else "> 10^9")
Table(
    ("peer", "power", "predicted / measured, last two sizes", "10^8 tickets", "tickets in an hour"),
    lines,
    numeric=(1, 2, 3, 4),
)

# %% [markdown]
# $10^8$ is far beyond every size that was measured, so these two columns say an order of magnitude and no more. And
# yours? The cell takes your own functions (or their peers, where you have none) at sizes that a loop in Python can
# bear, and beside each one scikit-learn's way to the same kind of model with the same settings, as far as it has them.
# All are turned into probabilities by the same two numbers. Besides the time stands the loss on the held-out tickets: a
# faster method with a larger loss has not won.

# %% tags=["demo"]
warnings.filterwarnings("ignore", message="Stochastic Optimizer")  # eight passes are meant
theirs = {
    "ridge": lambda data: Ridge(10.0).fit(features(data), data.y).predict,
    "random features": lambda data: (
        make_pipeline(
            RBFSampler(gamma=0.05, n_components=200, random_state=0),
            SGDClassifier(alpha=1e-3, max_iter=3, tol=None, random_state=0),
        )
        .fit(features(data), data.y)
        .decision_function
    ),
    "boosting": lambda data: (
        HistGradientBoostingClassifier(
            max_iter=40, learning_rate=0.25, max_depth=3, early_stopping=False, random_state=0
        )
        .fit(features(data), data.y)
        .decision_function
    ),
    "network": lambda data: log_odds(
        MLPClassifier(
            32,
            activation="tanh",
            solver="sgd",
            learning_rate_init=0.2,
            momentum=0.0,
            alpha=0.0,
            batch_size=64,
            max_iter=8,
            tol=0.0,
            random_state=0,
        ).fit(features(data), data.y)
    ),
    "bag of words": lambda data: (
        SGDClassifier(alpha=1e-3, max_iter=3, tol=None, random_state=0).fit(bag(data), data.y).decision_function
    ),
}


def log_odds(network):
    return lambda X: scipy.special.logit(np.clip(network.predict_proba(X)[:, 1], 1e-9, 1 - 1e-9))


def train_theirs(name):
    """The peer as a trainer: it takes tickets, and gives a function from tickets to scores."""
    table_of = bag if name == "bag of words" else features

    def train(data):
        score = theirs[name](data)
        return lambda other: score(table_of(other))

    return train


both = {name: (trainers[name], train_theirs(name)) for name in theirs}
small_sizes = demo_size(full=[500, 1000, 2000, 4000, 8000], small=[500, 1000, 2000])
taken = {name: ([], []) for name in both}
for n in small_sizes:
    for name, pair in both.items():
        for seconds, train in zip(taken[name], pair, strict=True):
            if not seconds or seconds[-1] < 3:
                seconds.append(cpu_seconds(train, past[:n]))
figure, ax = plt.subplots(figsize=(7.5, 4.4))
for k, (name, pair) in enumerate(taken.items()):
    for seconds, ls, fill, label in zip(pair, ("-", "--"), ("full", "none"), (name, None), strict=True):
        style = {"ls": ls, "fillstyle": fill, "marker": "os^Dv"[k], "color": plotting.COLOURS[k]}
        ax.plot(small_sizes[: len(seconds)], seconds, label=label, **style)
ax.set(xscale="log", yscale="log", xlabel="tickets n", ylabel="CPU seconds to train")
ax.set(
    title="Yours (solid) and scikit-learn's (dashed)",
    ylim=(None, 30 * max(max(s) for pair in taken.values() for s in pair)),
)
ax.legend(loc="upper left", ncols=2, fontsize=8)
plt.show()
lines = []
for name, pair in both.items():
    lines.append((name,))
    for seconds, train in zip(taken[name], pair, strict=True):
        losses = losses_of(fitted(train, past[: small_sizes[len(seconds) - 1]])(held), held.y)
        looks.append(len(seconds))
        lines[-1] += (seconds_text(seconds[-1]), f"{losses.mean():.3f} ± {standard_error(losses, held.customer):.3f}")
Table(
    ("candidate", "yours", "log loss ± standard error", "scikit-learn", "log loss ± standard error"),
    lines,
    numeric=(1, 2, 3, 4),
)

# %% [markdown]
# Who wins, and why? Ridge is one product of matrices and one solve in both, so nobody wins. Where the work is a loop
# over rows or nodes (Pegasos, boosting), scikit-learn's loop is compiled, and a loop in Python loses by the price of
# its steps. The peers that stand in where you have no function call scikit-learn inside: the bag of words is then the
# same loop twice; boosting pays for a new exact tree in each round, without bins; random features pay for being passed
# as a sparse matrix without zeros. A network with 32 hidden units does little arithmetic in each batch, so the overhead
# of a call decides, and twenty lines of numpy have less of it than `MLPClassifier`. Equal losses say that the same kind
# of model is fitted; where losses differ by more than their standard errors, compare the settings before the seconds.
# At these sizes the table does not say who wins at $10^6$: the slopes in the figure do, as far as they are straight.
#
# ### Who needs a cluster at $10^8$?
#
# $10^8$ tickets of 152 bytes are 15 GB. The 17 features in float64 are 14 GB: more than most laptops hold. But few
# methods need them all at once. Ridge needs sums of 18 × 18 products, which add up over chunks (module 15). Pegasos and
# SGD read one row at a time (module 02). Histogram boosting can hold one byte a feature, 1.7 GB (module 06), if the
# bins are made chunk by chunk; scikit-learn's takes the 14 GB of float64 at once. The network reads batches. So memory
# asks for no cluster here, for methods that stream. Time may: divide what the table above says of $10^8$ tickets by the
# cores of one machine first. Dask or Spark pay where the data already lie on many machines, or where the remaining
# hours are more than one can wait.
#
# ### Where it breaks
#
# - **Curves bend.** A power law with one floor is a description, not a law. A network that gets larger with the data has
#   no fixed $a$.
# - **The law drifts.** The held-out months lie in the past. When the law changes, all intervals here are about
#   the past; module 24 watches for that.
# - **Held-out rows are used many times.** Each decision that they inform makes their loss a little too small. The ladder limits
#   this, and does not remove it.
# - **Customers come again.** Standard errors by customers are right for strangers to each other. If customers of one firm
#   write about the same fault, even these intervals are too short.
# - **The law is invented.** Real tables have no known least loss, and real mistakes no list of prices. Somebody must write one
#   down, and that is a decision about people as much as about money.

# %% [markdown]
# ## Write it down
#
# A decision should be written down so that somebody else can check it later. Two short documents follow. Take the
# numbers from one run of your own, and keep that run: seconds differ from run to run. The first one is for the head of
# the desk, who pays; the second for everybody who will use the model or be subject to it.

# %% [markdown] written="decision_memo" points=3
# **Decision memo (3 points, half a page).** Which candidate shall the desk use? (a) Name your choice and at least two
# rejected ones, each with its price (training and serving) and its loss. (b) Give the evidence with its intervals: how
# the rows were held out, the losses with standard errors, what the curve says about more data. (c) Say what would
# change the decision.
#
# ### BEGIN SOLUTION
# We use the bag of words with Pegasos. The budget of 17,996 cents trains it on 17,633 tickets at 1.02 cents each; its
# predictions are priced at 0.001, and its loss with that is 0.498 ± 0.018. Rejected: boosting on the columns (1.6 cents
# a ticket, so 11,241 tickets; serving 0.003; 0.055 ± 0.012 worse on the same tickets, it does not see the text), ridge
# (1.01 cents, serving 0; 0.060 ± 0.010 worse) and the base rate (free; 0.096 ± 0.012 worse). Evidence: tickets after
# day 267, of other customers, after a gap of 7 days; 95% intervals count customers; differences are taken ticket by
# ticket. The learning curve of the bag of words still falls: it predicted 0.507 for all rows of the past, and 0.500 was
# measured. Its exponent is at the end of its range, so no floor is known: we expect a gain from the next 10,000 tickets
# and do not promise its size. We decide anew if serving costs more than 0.05, if a combination with boosting costs less
# than what it gains, if the loss of a month leaves its interval, or if a missed expert costs less than twice a needless
# one.
#
# ### RUBRIC
# - 1: Names a choice and two or more rejected candidates, each with its price (training and serving) and its loss.
# - 1: Gives evidence with intervals: later tickets of other customers after a gap, losses with standard errors, and what
#   the learning curve says (or does not say) about more data.
# - 1: Names at least two measurable things that would change the decision, such as a price, a loss above a bound, more rows, or
#   another cost of mistakes.
# ### END SOLUTION

# %% [markdown] written="model_card" points=4
# **Model card (4 points, one page).** For the model that you chose, write: (a) what it is for, and a use that it must
# not be put to; (b) the data, what the audit found, and what was done about each finding; (c) results by group with
# intervals, and how often the test rows were used; (d) what is watched once it runs, the bound at which somebody acts,
# and when the model ends.
#
# ### BEGIN SOLUTION
# (a) It orders new tickets so that experts see those first that probably need one. It is no judgement of customers or
# of employees, and must not refuse service or set prices. (b) 22,149 invented tickets of 360 days and 1,636 sealed
# ones; two languages, one ticket in six in language 1. The audit found a constant, a duplicate, a ticket number,
# closing times, minutes of experts, and ratings that are missing more often where an expert came: all six columns were
# dropped, and so were 221 repeated rows. Not checked: whether "needs an expert" means the same in both languages. (c)
# On the sealed customers after day 270: log loss 0.466 ± 0.026, mean cost 0.440 ± 0.038 (always calling an expert:
# 0.749). Errors in language 0: 0.319 ± 0.025, in language 1: 0.371 ± 0.050; experts missed: 0.218 ± 0.045 and 0.243 ±
# 0.102, so a difference between the languages cannot be excluded. The sealed tickets were used once, after the choice;
# the held-out ones, which chose, more than a hundred times. (d) Weekly: the log loss of labelled tickets, shares of the
# decisions by language, missing values, and unknown words. If the loss is above the upper end of its interval for two
# weeks the desk goes back to the rule before. The model ends after a year, or with a new product, whichever is first; a
# named person owns it.
#
# ### RUBRIC
# - 1: Names the intended use and at least one misuse.
# - 1: Describes the data (period, customers, languages) and says what the audit found and what was done about it.
# - 1: Gives results by group with intervals and says that the test rows were used once, after the choice.
# - 1: Names what is watched with a bound that starts an action, and when or by what the model ends.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. Give `decide` a prior over exponents from earlier projects. How much of the budget does it save?
# 2. `successive_halving` starts anew in each round. With trainings that can be continued, what is the budget worth?
# 3. The ladder needs a step. Which step would you choose for a test of 1,000 rows, and which for one of $10^6$?
# 4. How would you audit a column of free text for leaks?
# 5. Train the sum of boosting and words on the tickets. Where does it land between both floors and the least possible loss?
#
# References:
#
# - D. Sculley et al., "Hidden technical debt in machine learning systems", *NeurIPS*, 2015. What a model costs after its training.
# - S. Kaufman, S. Rosset and C. Perlich, "Leakage in data mining", *KDD*, 2011. Leaks, with cases.
# - C. Elkan, "The foundations of cost-sensitive learning", *IJCAI*, 2001. Cost matrices and thresholds.
# - C. Cortes et al., "Learning curves: asymptotic values and rate of convergence", *NIPS*, 1993. The curve with a floor.
# - T. Viering and M. Loog, "The shape of learning curves: a review", *IEEE TPAMI*, 2023. Where power laws fail.
# - Z. Karnin, T. Koren and O. Somekh, "Almost optimal exploration in multi-armed bandits", *ICML*, 2013. Successive halving.
# - L. Li et al., "Hyperband", *JMLR*, 2018. What to do when slow starters win.
# - A. Blum and M. Hardt, "The ladder: a reliable leaderboard for machine learning competitions", *ICML*, 2015.
# - C. Dwork et al., "The reusable holdout", *Science*, 2015. The same question for science.
# - M. Mitchell et al., "Model cards for model reporting", *FAT\**, 2019. The document of the second written question.
#
# At work: scikit-learn's `TunedThresholdClassifierCV`, `HalvingRandomSearchCV` and `LearningCurveDisplay`; Optuna for
# larger searches; Great Expectations or pandera for audits that run every night.
