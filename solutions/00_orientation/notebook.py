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
# # 00 · Orientation
#
# In five minutes you will have written a function, and hidden tests will have graded it. That comes first. After that
# you take the same way with a larger function: from a formula to code, from code to a figure, and from a figure to data
# that do not fit into memory. Every later module goes this way.
#
# **Begin here.** Click on the next cell and press Shift+Enter. The cell runs, and the cell after it is selected. The
# next cell loads the libraries, so its first run takes up to half a minute.

# %% tags=["setup"]
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("lsml_utils") is None:  # not installed: look for its folder above this notebook's
    sys.path += [str(folder) for folder in Path.cwd().parents if (folder / "lsml_utils").is_dir()]
try:
    from lsml_utils import checking, datasets, demo_size, device, plotting, scaling
    from lsml_utils.checking import check, expect_close, expect_dtype, expect_finite, expect_shape, expect_unchanged
except ModuleNotFoundError as missing:
    remedy = "lsml_utils/ belongs in a folder above this notebook; install anything else with pip"
    raise SystemExit(f"{missing.name} is missing: {remedy}") from None

import os
import statistics
import tempfile
from functools import reduce

import matplotlib.pyplot as plt
import numpy as np
import torch

plotting.use()
checking.start("00_orientation", total=4)

# %% [markdown]
# ## 1. Your first five minutes
#
# ### 0.0 `centre` · essential · level 1 of 4 · 3 min
#
# A table $X$ has $m$ rows and $d$ columns. **Centring** subtracts from each column its mean. Then every column has mean
# 0.
#
# In the next cell, replace everything from `# YOUR CODE HERE` on with three lines: compute the means of the columns,
# subtract them from $X$, return the result. Then press Shift+Enter. If you do not know how to begin, open a hint.


# %% exercise="centre" points=1 minutes=3 trains=["reading a failed check"]
def centre(X: np.ndarray) -> np.ndarray:
    """Each column of X minus its mean.

    X: (m, d) float64 or float32, m >= 1 and d >= 1.
    Returns a new array (m, d), in the dtype of X. Leaves X as it is.
    """
    ### BEGIN SOLUTION
    means = X.mean(axis=0)
    centred = X - means
    return centred
    ### END SOLUTION


# %% [markdown] hints="centre"
# <details><summary>Hint 1: the means</summary>
#
# `X.mean(axis=0)` is the mean of each column. It has shape `(d,)`: one number for each column. The means of a float32
# array are float32, and so is the difference: do not convert X to another dtype.
#
# </details>
# <details><summary>Hint 2: nearly the answer</summary>
#
# NumPy subtracts an array of shape `(d,)` from each row of an array of shape `(m, d)`. So the three lines are
# `means = X.mean(axis=0)`, then `centred = X - means`, then `return centred`. Each begins four spaces from the left.
# Do not write `X -= means`: this changes the caller's array.
#
# </details>

# %% check="centre"
# Two columns: 1, 2, 6 with mean 3, and 10, 20, 60 with mean 30.
with check("centre"):
    table = np.array([[1.0, 10.0], [2.0, 20.0], [6.0, 60.0]])
    with expect_unchanged(X=table):
        got = centre(table)
    expect_close(
        got,
        [[-2.0, -20.0], [-1.0, -10.0], [3.0, 30.0]],
        rtol=1e-12,
        hint="by hand: the means are (1 + 2 + 6) / 3 = 3 and 30",
        mistakes={
            "These are the means; subtract them from X.": [3.0, 30.0],
            "You subtracted one mean of all numbers; each column has its own: axis=0.": table - 16.5,
            "You subtracted the mean of each row; you need the mean of each column: axis=0.": [
                [-4.5, 4.5],
                [-9.0, 9.0],
                [-27.0, 27.0],
            ],
            "The sign is wrong: subtract the means from X.": [[2.0, 20.0], [1.0, 10.0], [-3.0, -30.0]],
        },
    )

# %% [markdown]
# Run the check, too (Shift+Enter). A green line says that your function passes it. If you see a red card instead, read
# its *Likely cause* and its *Hint*, change your cell, run it, and run the check again.
#
# **Now let hidden tests grade it.**
#
# 1. Save the notebook: Ctrl+S (on a Mac: Cmd+S).
# 2. Open a terminal: menu *File*, *New*, *Terminal*.
# 3. Type this line and press Enter:
#
# ```
# lsml grade 00
# ```
#
# After some seconds you read `centre  1 / 1  right`. You have your first point. The other exercises say *not
# answered yet*, because you have not come to them.
#
# If the terminal does not know `lsml`, go to the folder of the course and type `.venv/bin/lsml grade 00`. If the line
# says that it cannot run a notebook safely here, add `--sandbox none`: your own code then runs without protection. If
# your class has no `lsml`, hand the notebook in as your instructor says, and read the result there.
#
# ## 2. How the course works
#
# **When you have finished this module you can**
#
# - work through a notebook: write, check, read a hint, grade, hand in;
# - say what your machine can do, and what that means for an algorithm;
# - put the columns of a table on one scale, also where a column is constant or its numbers are huge;
# - recognise a formula that is right on paper and wrong in a computer.
#
# **You need** a little NumPy: arrays, and what `X.mean(axis=0)` does. **Time**: about 40 minutes, and ten more for the
# last exercise, which is optional. **Skills**: reading a failed check, floating-point reasoning,
# summaries that merge.
#
# You have already seen the whole way. Here it is again, step by step:
#
# 1. **Read.** The text in triple quotes is the **contract** of a function: what comes in, what goes out, and what must
#    not change. Hidden tests ask what the contract says, and nothing else. You may use any library of the course that
#    the contract does not forbid.
# 2. **Write.** Replace everything from `# YOUR CODE HERE` on, and run the cell.
# 3. **Check.** The check below it tries small cases that were worked by hand. Run it as often as you like. Its code is
#    folded to one line; click that line to read it.
# 4. **Hints.** They are folded; click to open one. The first says where to look, the last is nearly the answer. They
#    cost nothing.
# 5. **Restart and run all**, in the menu *Kernel*. A notebook remembers what you ran, even from cells that you have
#    changed or deleted since. A fresh start shows whether the notebook works without that memory. It stops at the first
#    exercise that has no answer, and one line says which.
# 6. **Grade.** Save, and type `lsml grade 00` in a terminal. Hidden tests try your functions on other inputs: larger,
#    stranger, many more. These tests give the points. Grade as often as you like.
# 7. **Hand in** the notebook file. An exercise that you leave as it is counts as *unanswered*: it gives no points, and
#    it does no harm to the others.
#
# Above each exercise you read how important it is, how difficult it is (its level is also its number of points), and
# how long it takes. *Essential*: later text builds on it. *Important*: do it if you can. *Optional*: it is tested and
# listed, but it does not count. A question in words has a level and points, too, but a person grades it, apart from the
# hidden tests.
#
# You may add cells wherever you like. The grader takes from your file your answers and your own cells, and nothing
# else.
#
# A check that fails shows a card. In the next cell, somebody wants the mean of three numbers and has forgotten the
# brackets. Run it, and read the card from the top: what was called, what it returned, what was expected, and the likely
# cause.


# %% tags=["demo"]
def mean_of_three(a, b, c):
    return a + b + c / 3


try:
    with check("mean_of_three"):
        expect_close(
            mean_of_three(1, 2, 6),
            3.0,  # (1 + 2 + 6) / 3
            mistakes={"Only c is divided by 3: a division comes before a sum.": 1 + 2 + 6 / 3},
            hint="Set brackets around the sum.",
        )
except AssertionError:  # a real check would stop here; this one is for show
    print("In an exercise, you would now change the function, run its cell, and run the check again.")

# %% [markdown]
# **One legend for the whole module**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $m$, $d$ | `m`, `d` | | number of rows (examples) and of columns (features) |
# | $X$ | `X` | $(m, d)$ | the data, one example a row; $x_{ij}$ stands in row $i$, column $j$ |
# | $\mu$ | `mean` | $(d,)$ | the mean of each column |
# | $\sigma$ | `spread` | $(d,)$ | the standard deviation of each column; $\sigma^2$ is its variance |
# | $Z$ | `Z` | $(m, d)$ | the data, standardised |
# | $n$, $S$ | `n`, `M2` | $S$: $(d,)$ | rows in a chunk, and the sum of their squared distances from the chunk's mean |
#
# ## 3. What machine is this?
#
# The same notebook runs on a laptop and on a machine with a GPU. Sizes adapt, and this cell says what you have. The
# last two lines are for later modules, where networks learn from *batches*: a batch is the group of rows that a network
# reads for one step. Its *activations* are the numbers in between that it must keep for that step.

# %% tags=["demo"]
device.describe()

# %% [markdown]
# Two speeds decide what is fast. The first is arithmetic: how many additions and multiplications the processor does in
# a second. The second is memory: how many bytes reach the processor in a second. A product of two $(n, n)$ matrices
# takes $2n^3$ operations on $2n^2$ numbers, so it measures arithmetic. A sum does one operation for each number, so it
# measures memory. Without a GPU, both are measured on one core.

# %% tags=["demo"]
where = device.best()
n = demo_size(full=1024, small=256, gpu=8192)
length = demo_size(full=20_000_000, small=500_000, gpu=200_000_000)
matrix, numbers = torch.ones(n, n, device=where), torch.ones(length, device=where)  # float32: 4 bytes each


def fastest(call, repeat=5):
    """Seconds of the fastest of some runs."""
    call()  # the first one warms up
    taken = []
    for _ in range(repeat):
        with device.timer() as took:
            call()
        taken.append(took.seconds)
    return min(taken)


cores = torch.get_num_threads()
torch.set_num_threads(1)  # several cores would measure whatever else the machine does
operations = 2 * n**3 / fastest(lambda: matrix @ matrix)
read = 4 * length / fastest(lambda: numbers.sum())
torch.set_num_threads(cores)
print(f"arithmetic: {operations / 1e9:8.1f} billion operations a second, on {where}")
print(f"memory:     {read / 1e9:8.1f} billion bytes a second")
print(f"The processor could do {4 * operations / read:.0f} operations while one number (4 bytes) arrives.")

# %% [markdown]
# The last line explains much of this course. Arithmetic is cheap, and fetching data is expensive. From a disk or over a
# network it is more expensive still. So when data are large, the first question about an algorithm is: **how often does
# it read the data?**
#
# ## 4. Columns on one scale
#
# Columns come in different units. The wines below have a column for the hue, with numbers near 1, and a column for an
# amino acid, proline, with numbers in the hundreds. If an algorithm measures distances, proline decides nearly alone.
# The remedy has two steps. Subtract from each column its mean, as `centre` does, and divide by its standard deviation:
#
# $$\mu_j = \frac1m\sum_{i=1}^m x_{ij}, \qquad
#   \sigma_j^2 = \frac1m\sum_{i=1}^m (x_{ij} - \mu_j)^2, \qquad
#   z_{ij} = \frac{x_{ij} - \mu_j}{\sigma_j} .$$
#
# Sums run over rows, so $\mu$ and $\sigma$ have shape $(d,)$, one entry for each column. $Z$ has the shape of $X$,
# $(m, d)$. Each column of $Z$ has mean 0 and standard deviation 1. The cost is a few operations for each number and
# two passes over $X$, because $\mu$ must be known before the squares can be summed.
#
# **Divide by $m$ or by $m - 1$?** Libraries disagree:
#
# | | divides by | meaning |
# | --- | --- | --- |
# | `numpy.std`, scikit-learn's `StandardScaler`, this course | $m$ | the spread of the rows that are here |
# | `pandas.DataFrame.std`, `torch.std` | $m - 1$ | an estimate for the population that they were drawn from |
#
# Both are right answers, to two different questions. We want the columns of $Z$ to have spread exactly 1, so we divide
# by $m$. Then a single row has spread 0.
#
# **And a constant column?** Its spread is 0, and $0/0$ is `nan`, which spreads through every later computation. A
# constant column has nothing to scale, so we set it to 0. One detail needs care. The number 0.1 has no exact binary
# form, so the computed mean of six times 0.1 is not exactly 0.1, and the computed spread is not exactly 0.
#
# ### 0.1 `standardize` · essential · level 2 of 4 · 10 min
#
# This contract is longer than the first one. Each sentence in it answers a question that a test may ask.


# %% exercise="standardize" points=2 minutes=10 forbids=["sklearn.preprocessing", "scipy.stats"] trains=["floating-point reasoning"]
def standardize(X: np.ndarray) -> np.ndarray:
    """Each column of X minus its mean, over its standard deviation (divided by m, not m - 1).

    X: (m, d) finite float64, float32 or integers of any dtype, m >= 1 and d >= 1; may be read-only,
    a view, or not contiguous. No number is larger than 1e100 in size. Where a column is not
    constant, its standard deviation is at least 1e-100 and at least 1e-10 times its largest number
    in size.

    Returns a new array (m, d) of dtype float64, computed in float64 also where X is float32.
    A column whose values are all equal becomes 0 (or as near to 0 as the rounding of its mean
    allows), so a single row does, too. Numbers may be large beside their spread, such as 1e8 plus
    noise of size 1. The mean then has a rounding error of about 1e-16 times its size for each
    addition, at most m of them; the deviations may have this error, and no larger one.
    Takes O(m d) time and memory. Leaves X as it is.
    Do not use sklearn.preprocessing or scipy.stats: section 6 compares your function with one of
    them.
    """
    ### BEGIN SOLUTION
    X = np.asarray(X, dtype=np.float64)
    deviation = X - X.mean(axis=0)
    spread = np.sqrt(np.mean(deviation**2, axis=0))
    varies = X.min(axis=0) != X.max(axis=0)
    Z = np.zeros(X.shape)
    Z[:, varies] = deviation[:, varies] / spread[varies]
    return Z
    ### END SOLUTION


# %% [markdown] hints="standardize"
# <details><summary>Hint 1: where to begin</summary>
#
# Make X float64 first: `np.asarray(X, dtype=np.float64)`. Then one call gives the means of all columns, with shape
# `(d,)`. NumPy subtracts a `(d,)` array from each row of an `(m, d)` array by itself.
#
# </details>
# <details><summary>Hint 2: the constant columns</summary>
#
# The computed spread of a constant column is not always exactly 0, so do not test the spread. Test the column: is its
# smallest value equal to its largest?
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# `deviation = X - X.mean(axis=0)` and `spread = np.sqrt((deviation**2).mean(axis=0))`. With
# `constant = X.min(axis=0) == X.max(axis=0)`, set `spread[constant] = 1` and `deviation[:, constant] = 0`, and divide.
# Write `X - ...`. The form `X -= ...` would change the caller's array.
#
# </details>

# %% check="standardize"
# One column: 0, 6, 6, 8. Its mean is 5, the deviations are -5, 1, 1, 3, their squares 25 + 1 + 1 + 9 = 36, and
# 36 / 4 = 9, so the spread is 3.
column = np.array([[0.0], [6.0], [6.0], [8.0]])
deviation_hand = np.array([[-5.0], [1.0], [1.0], [3.0]])

with check("standardize", forbids=["sklearn.preprocessing", "scipy.stats"]):
    with expect_unchanged(column=column):
        got = standardize(column)
    expect_shape(got, (4, 1), hint="the shape of X")
    expect_close(
        got,
        deviation_hand / 3,
        rtol=1e-12,
        hint="by hand: (-5, 1, 1, 3) / 3",
        mistakes={
            "You divided by m - 1 inside the standard deviation; this course divides by m.": deviation_hand / 12**0.5,
            "You divided by the variance; its square root is the standard deviation.": deviation_hand / 9,
            "You subtracted the mean, but you did not divide by the standard deviation.": deviation_hand,
            "You divided by the standard deviation, but you did not subtract the mean.": column / 3,
            "You divided by the mean distance from the mean; square, average, take the root.": deviation_hand / 2.5,
            "This maps the column to 0..1; subtract the mean and divide by the standard deviation.": column / 8,
        },
    )
    two = standardize(np.column_stack([column, 10 * column + 3]))
    expect_close(two, np.repeat(deviation_hand / 3, 2, axis=1), rtol=1e-12, hint="each column on its own (axis=0)")
    expect_dtype(standardize(column.astype(np.int64)), np.float64, hint="integers become float64")
    constants = np.tile([7.0, 0.1], (6, 1))  # two columns: six times 7, and six times 0.1
    got = standardize(constants)
    expect_finite(got, hint="a constant column has spread 0; do not divide by it")
    expect_close(
        got,
        np.zeros((6, 2)),
        atol=1e-15,
        hint="a constant column becomes 0",
        mistakes={
            "The computed spread of six times 0.1 is tiny, not 0: you divided by it.": np.tile([0.0, 1.0], (6, 1)),
            "You left the constant column as it was; it becomes 0.": constants,
        },
    )

# %% [markdown]
# Now look at what your function does to the wines. Each point is one wine, and its colour shows its grower. Both axes
# of a panel have the same scale, because a distance treats them alike.

# %% tags=["demo"]
wine = datasets.wine()
names = list(wine.feature_names)
pair = [names.index("hue"), names.index("proline")]
Z = standardize(wine.X)
figure, axes = plt.subplots(1, 2, figsize=(11, 4.4))
for ax, data, title in zip(axes, [wine.X, Z], ["As measured: proline alone", "Standardised: both count"], strict=True):
    for grower, marker in enumerate("os^"):
        ax.scatter(*data[wine.y == grower][:, pair].T, s=18, marker=marker, label=f"grower {grower}", alpha=0.8)
    ax.set(xlabel="hue", ylabel="proline", title=title)
    ax.set_aspect("equal", adjustable="datalim")
axes[0].legend(loc="upper left")
plt.show()
for what, data in [("as measured", wine.X), ("standardised", Z)]:
    share = data[:, pair[1]].var() / data.var(axis=0).sum()
    print(f"{what:12s}: proline makes up {share:.1%} of the mean squared distance between two wines")

# %% [markdown]
# ## 5. Find the bug
#
# A colleague wants to read the data once, not twice. On paper, she multiplies out the square:
#
# $$\sigma^2 = \frac1m\sum_i (x_i - \mu)^2
#   = \frac1m\sum_i x_i^2 - 2\mu\,\frac1m\sum_i x_i + \mu^2
#   = \Bigl(\frac1m\sum_i x_i^2\Bigr) - \mu^2 ,$$
#
# the mean of the squares minus the square of the mean. One pass gives both means. The algebra is right, the formula is
# in many textbooks, and her small example agreed. Then she used it on a column of times: events within one minute,
# each in seconds since 1970.
#
# ### 0.2 `column_variances` · essential · level 1 of 4 · 5 min
#
# The cell below is her code, and it runs. Run the check, find out where the digits are lost, and repair the code. Two
# passes are allowed.


# %% exercise="column_variances" points=1 minutes=5 bug=true forbids=[".var", ".std", ".nanvar", ".nanstd", ".var_mean", ".std_mean", ".cov", ".variance", "statistics", "scipy.stats", "sklearn"] trains=["reading a failed check", "floating-point reasoning"]
def column_variances(X: np.ndarray) -> np.ndarray:
    """The variance of each column of X: the mean squared distance from the column's mean.

    X: (m, d) finite float64, float32 or integers of any dtype, m >= 1 and d >= 1; may be a view or
    read-only. No number is larger than 1e100 in size, and none but 0 is smaller than 1e-100.

    Returns a new array (d,) of dtype float64, divided by m, no entry negative. Numbers may be large
    beside their spread, such as 1e8 plus noise of size 1. The mean then has a rounding error of
    about 1e-16 times its size for each addition, at most m of them; the deviations that are squared
    may have this error, and no larger one. Leaves X as it is.
    Do not call what computes a variance for you: .var, .std, .nanvar, .nanstd, .var_mean, .std_mean,
    .cov or .variance of any library or array, or anything in statistics, scipy.stats or sklearn.
    """
    ### BEGIN SOLUTION
    X = np.asarray(X, dtype=np.float64)
    return np.mean((X - X.mean(axis=0)) ** 2, axis=0)
    ### END SOLUTION
    ### BEGIN BUG
    # X = np.asarray(X, dtype=np.float64)
    # return np.mean(X**2, axis=0) - X.mean(axis=0) ** 2
    ### END BUG


# %% [markdown] hints="column_variances"
# <details><summary>Hint 1: where to look</summary>
#
# For the second case of the check, print the two terms that are subtracted. How many of their digits are equal? How
# many digits does a float64 have?
#
# </details>
# <details><summary>Hint 2: what to do about it</summary>
#
# A float64 keeps about sixteen digits, and two numbers near $10^{18}$ that differ by 9 agree in all of them. The spread
# does not change if you subtract the same number from every row. Subtract a number that makes the rows small *before*
# you square them.
#
# </details>
# <details><summary>Hint 3: the repair</summary>
#
# That number is the mean: `deviation = X - X.mean(axis=0)`, and then the mean of `deviation**2` for each column. Keep
# the first line of the code, which makes X float64: integers and float32 lose digits without it. Do not write
# `X -= ...`: this may change the caller's array.
#
# </details>

# %% check="column_variances"
# The column of exercise 1 has variance 36 / 4 = 9. Moving every row by the same number does not change that. 2**30 is
# about 1e9, and all these numbers are exact in float64.
with check(
    "column_variances",
    forbids=[
        ".var",
        ".std",
        ".nanvar",
        ".nanstd",
        ".var_mean",
        ".std_mean",
        ".cov",
        ".variance",
        "statistics",
        "scipy.stats",
        "sklearn",
    ],
):
    column = np.array([[0.0], [6.0], [6.0], [8.0]])
    with expect_unchanged(column=column):
        got = column_variances(column)
    expect_close(
        got,
        [9.0],
        rtol=1e-12,
        hint="by hand: (25 + 1 + 1 + 9) / 4",
        mistakes={
            "You divided by m - 1; this course divides by m.": [12.0],
            "This is the standard deviation; the variance is its square.": [3.0],
            "This is a sum over the rows; divide by m = 4.": [36.0],
        },
    )
    expect_close(
        column_variances(column + 2.0**30),
        [9.0],
        rtol=1e-6,
        hint="the same rows, moved by 2**30: print the two terms that are subtracted",
        mistakes={"Two numbers near 2**60 agree in all digits of a float64: their difference is lost.": [0.0]},
    )

# %% [markdown]
# How large is the error? Take noise of size 1 around larger and larger numbers, and compare with Python's `statistics`,
# which computes with exact fractions (and is far too slow for data). A float64 keeps a number with a relative error of
# about $\varepsilon = 10^{-16}$. The squares have size $\mu^2$, so each is rounded by about $\varepsilon\mu^2$. The
# difference $\sigma^2$ has the same error, which is a relative error of about $\varepsilon\,(\mu/\sigma)^2$. On
# logarithmic axes this is a line of slope 2.


# %% tags=["demo"]
def by_squares(X):
    """The formula of section 5, kept for the picture."""
    return np.mean(X**2, axis=0) - X.mean(axis=0) ** 2


noise = np.random.default_rng(0).standard_normal((demo_size(full=1000, small=100), 1))
offsets = np.logspace(0, 9, 28)
errors = {"mean of squares minus square of mean": [], "yours": []}
for offset in offsets:
    X = offset + noise
    truth = statistics.pvariance(X[:, 0].tolist())
    for name, variances in zip(errors, (by_squares, column_variances), strict=True):
        errors[name].append(max(abs(variances(X)[0] / truth - 1), 1e-17))
slope = scaling.exponent(offsets, np.array(errors["mean of squares minus square of mean"]))
lines = {f"mean of squares minus square of mean (slope {slope:.1f})": errors["mean of squares minus square of mean"]}
lines["yours"] = errors["yours"]
ax = plotting.curves(
    {name: (offsets, values) for name, values in lines.items()},
    xlabel="mean, in units of the spread",
    ylabel="relative error of the variance",
    title="Right on paper, wrong in a computer",
    logx=True,
    logy=True,
)
ax.axhline(1, color="#9a9a94", linewidth=0.8)
plotting.legend_below(ax, columns=1)
plt.show()

# %% [markdown]
# Above the grey line no digit is right. This is **cancellation**: the difference of two nearly equal numbers consists
# mostly of their rounding errors. Remember the remedy, because you will use it again: *make numbers small before you
# square, exponentiate or add them*.
#
# ## 6. Scale it
#
# Here your `standardize` runs beside two peers, on the same data and on one core: the formula written directly in
# NumPy, without care for constant columns, and scikit-learn's `StandardScaler`.


# %% tags=["demo"]
from sklearn.preprocessing import StandardScaler


def by_numpy(X):
    return (X - X.mean(axis=0)) / X.std(axis=0)


measured = scaling.measure(
    {"standardize (yours)": standardize, "numpy": by_numpy, "scikit-learn": StandardScaler().fit_transform},
    sizes=demo_size(full=[1000, 4000, 16_000, 64_000, 256_000], small=[200, 1000]),
    setup=lambda m: (np.random.default_rng(0).standard_normal((m, 20)),),
    budget=9.0,
    label="m (rows; d = 20)",
    threads=1,
)
ax = measured.plot(peer="scikit-learn")
ax.set_xticks(measured.sizes, [f"{size:,}" for size in measured.sizes])
ax.set_xticks([], minor=True)  # their labels overlap
plt.show()
measured.table()

# %% [markdown]
# Time and memory grow about in proportion to $m$. (The power in the legend is that of $m$.) No method can do better,
# because it must read each number. Time may jump at some size: there the arrays become larger than the processor's
# cache, and the memory speed of section 3 decides. The three differ in how often they read the data, and in how many
# temporary arrays they fill; the table shows this as memory. The direct formula has the fewest lines, and it fails on a
# constant column. scikit-learn does more than the formula: it looks for `nan`, and it remembers $\mu$ and $\sigma$ for
# data that come later. At work you want both. They cost some time in each call, which you see at small $m$.
#
# ### One pass, and many machines
#
# Suppose the rows lie in a file larger than memory, or on ten machines. You need $\mu$ and $\sigma$ of all rows, but
# you see one chunk at a time. What must you keep of a chunk? Three things: its number of rows $n$, its mean $\mu$, and
# $S = \sum_i (x_i - \mu)^2$ for each column. The variance is then $S/n$.
#
# Let chunks $a$ and $b$ have $(n_a, \mu_a, S_a)$ and $(n_b, \mu_b, S_b)$. Write $n = n_a + n_b$ and
# $\delta = \mu_b - \mu_a$. The mean of both lies between the two, nearer to the larger chunk:
#
# $$\mu = \mu_a + \frac{n_b}{n}\,\delta .$$
#
# For the squares, measure chunk $a$ from the new mean. The deviations from $\mu_a$ sum to zero, so the mixed term
# is zero:
#
# $$\sum_{i \in a}(x_i - \mu)^2 = \sum_{i \in a}\bigl((x_i - \mu_a) + (\mu_a - \mu)\bigr)^2
#   = S_a + n_a(\mu_a - \mu)^2 = S_a + n_a\Bigl(\frac{n_b}{n}\Bigr)^2\delta^2 .$$
#
# The same holds for $b$ with the letters exchanged. Add the two, and use $n_a + n_b = n$:
#
# $$S = S_a + S_b + \frac{n_a n_b}{n}\,\delta^2 .$$
#
# No term is negative, so the sum of the three terms does not cancel. Only $\delta$ is a difference of two numbers that
# may be large. It has the rounding errors of both means, and each merge may add a little of them to $S$. So cut the
# data into few large chunks. If chunk $b$ is one row, this is Welford's method. It merges once for each row, so it
# collects more of these errors: it loses several digits where rows near $10^8$ arrive sorted. For any two chunks it is
# the method of Chan, Golub and LeVeque. All $d$ columns are computed at once, as arrays of shape $(d,)$.
#
# ### 0.3 `merge_moments` · optional · level 2 of 4 · 10 min
#
# This exercise is tested and listed, but it does not count. You may leave it for another day. *Run All* then stops at
# its check; this makes no difference for your points.


# %% exercise="merge_moments" points=2 minutes=10 extra=true trains=["summaries that merge"]
def merge_moments(
    a: tuple[int, np.ndarray, np.ndarray], b: tuple[int, np.ndarray, np.ndarray]
) -> tuple[int, np.ndarray, np.ndarray]:
    """The (count, mean, M2) of the rows of two chunks together, from those of each.

    a, b: tuples (count, mean, M2) of a chunk. count: a Python int >= 0, of any size (10**15, too).
    mean, M2: (d,) float64, may be views or read-only, with the same d >= 1 in both chunks, also in
    an empty one; M2 is the sum over the rows of the squared distance from the mean.
    Where a count is 0, what stands beside it means nothing (NumPy's mean of no rows is nan).

    Returns a tuple (count, mean, M2) of the same kind: a Python int and two new float64 arrays (d,).
    If one chunk is empty, its values are those of the other. If both are: (0, zeros, zeros), with
    zeros of shape (d,).
    The mean is right to a few roundings (1e-16) of the larger given mean.
    M2 is as accurate as the given means allow: no large numbers are subtracted to leave a small one
    except the two means. Leaves a and b as they are.
    """
    ### BEGIN SOLUTION
    (n_a, mean_a, M2_a), (n_b, mean_b, M2_b) = a, b
    n = n_a + n_b
    if n == 0:
        return 0, np.zeros(len(mean_a)), np.zeros(len(mean_a))
    if n_a == 0:
        return n, np.array(mean_b), np.array(M2_b)
    if n_b == 0:
        return n, np.array(mean_a), np.array(M2_a)
    delta = mean_b - mean_a
    return n, mean_a + delta * (n_b / n), M2_a + M2_b + delta**2 * (n_a * n_b / n)
    ### END SOLUTION


# %% [markdown] hints="merge_moments"
# <details><summary>Hint 1: where to begin</summary>
#
# Unpack both tuples, and compute $n$ and $\delta$. Then each of the two formulas above is one line.
#
# </details>
# <details><summary>Hint 2: the empty ones</summary>
#
# A `nan` times 0 is still `nan`, so the formulas cannot be used where a count is 0. Treat three cases before them: both
# empty, only the first, only the second. Return copies.
#
# </details>
# <details><summary>Hint 3: nearly the answer</summary>
#
# After the empty cases: the mean is `mean_a + delta * (n_b / n)`, and M2 is
# `M2_a + M2_b + delta**2 * (n_a * n_b / n)`. `np.array(mean_b)` is a copy.
#
# </details>

# %% check="merge_moments"
# Chunk a is one row, 0: (1, 0, 0). Chunk b is 3, 4, 5: its mean is 4, its M2 is 1 + 0 + 1 = 2. Together 0, 3, 4, 5:
# the mean is 12 / 4 = 3, and M2 = 9 + 0 + 1 + 4 = 14.
chunk_a = (1, np.array([0.0]), np.array([0.0]))
chunk_b = (3, np.array([4.0]), np.array([2.0]))
nothing = (0, np.array([np.nan]), np.array([0.0]))

with check("merge_moments"):
    with expect_unchanged(a=chunk_a, b=chunk_b):
        n, mean, M2 = merge_moments(chunk_a, chunk_b)
    expect_close(n, 4, hint="the rows of both")
    expect_close(
        mean,
        [3.0],
        rtol=1e-12,
        hint="by hand: (0 + 3 + 4 + 5) / 4",
        mistakes={
            "This is the middle of the two means; the larger chunk must count for more.": [2.0],
            "The two weights are exchanged: the larger chunk must count for more.": [1.0],
        },
    )
    expect_close(
        M2,
        [14.0],
        rtol=1e-12,
        hint="by hand: 9 + 0 + 1 + 4",
        mistakes={
            "This adds the chunks' own M2; add the term for the distance of their means.": [2.0],
            "This is the variance; M2 is not divided by the number of rows.": [3.5],
            "You added the squared difference of the means; weigh it by n_a * n_b / n.": [18.0],
            "You took the difference of the means without its square.": [5.0],
        },
    )
    expect_close(merge_moments(chunk_b, chunk_a)[2], [14.0], rtol=1e-12, hint="the order does not matter")
    for first, second in [(nothing, chunk_b), (chunk_b, nothing)]:
        expect_close(list(merge_moments(first, second)), [3, [4.0], [2.0]], hint="an empty chunk changes nothing")
    expect_close(list(merge_moments(nothing, nothing)), [0, [0.0], [0.0]], hint="two empty chunks: (0, zeros, zeros)")

# %% [markdown]
# Now two of your functions work together. The cell writes a file of large numbers with a small spread, gives its rows
# to some workers, and merges what they send back. This is one pass over the data, with one chunk in memory at a time.

# %% tags=["demo"]
rows, columns = demo_size(full=400_000, small=8_000), 20


def moments(chunk):
    """(count, mean, M2) of one chunk, with your column_variances."""
    return len(chunk), chunk.mean(axis=0), len(chunk) * column_variances(chunk)


with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "rows.npy")
    stored = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(rows, columns))
    rng = np.random.default_rng(1)
    for part in np.array_split(stored, 20):
        part[:] = 1e8 + rng.standard_normal(part.shape)
    whole = column_variances(stored)
    print(f"a file of {stored.nbytes / 1e6:.0f} MB; each worker sends {8 * (2 * columns + 1)} bytes")
    for workers in (2, 7, 100):
        n, mean, M2 = reduce(merge_moments, map(moments, np.array_split(stored, workers)))
        off = np.max(np.abs(M2 / n / whole - 1))
        chunk = stored.nbytes / workers / 1e6
        print(f"{workers:4d} workers with {chunk:5.2g} MB each: {n} rows, variance differs by {off:.0e}, relative")
    del stored, part  # a file that is still mapped cannot be deleted everywhere

# %% [markdown]
# Ask this of every algorithm from now on: *which summary of a chunk is small, and can be merged?*
#
# **Where it breaks.**
#
# - *The last digits depend on how the rows were cut*, as printed above. The main reason is the rounding of the chunks'
#   means: near $10^8$ a mean has an error of about $10^{-8}$ or more, and so has $\delta$. If you first subtract from
#   all rows one number near the data, most of this error disappears. The rest remains, because a sum in another order
#   rounds differently. Compare with a tolerance, not with `==`.
# - *Writing $Z$ takes a second pass.* It is better to keep $\mu$ and $\sigma$, and to standardise a chunk when somebody
#   reads it.
# - *Not everything merges.* The medians of chunks do not give the median of all rows. A sketch of the data can
#   approximate it.
# - *Data drift.* The mean over a year is not the mean of today.

# %% [markdown] written="chunk_by_chunk" points=1
# ### In words · important · level 1 of 4 · 3 min
#
# To save a pass, a colleague standardises each chunk with the chunk's *own* mean and spread, and writes the result to
# the file. Some days later the file is sorted by date, and his model gets worse. What information is lost? When would
# this do no harm? What should the chunks have exchanged? Three sentences are enough; a person reads them.
#
# ### BEGIN SOLUTION
# Each chunk then has mean 0 and spread 1, so every difference *between* chunks is lost: the same number means
# different things in two chunks, and a trend over time disappears if chunks are days. If the rows are shuffled and the
# chunks large, each chunk's mean and spread are nearly those of the whole, and it does little harm. The chunks should
# have exchanged (count, mean, M2), $2d + 1$ numbers each, merged them, and used the merged mean and spread everywhere.
#
# ### RUBRIC
# - 0.5: Every difference between chunks is lost, such as a trend over time where chunks are days.
# - 0.25: It does little harm where rows are shuffled and chunks are large: their own mean and spread are nearly those
#   of the whole.
# - 0.25: The chunks should have exchanged count, mean and M2 (or sums that say the same), and used the merged mean
#   and spread.
# ### END SOLUTION

# %% [markdown]
# ## 7. Grade it and hand it in
#
# Choose *Restart Kernel and Run All Cells* in the menu *Kernel*, save, and type in a terminal, as in section 1:
#
# ```
# lsml grade 00
# ```
#
# Each exercise gets one verdict:
#
# - *right*: it passed every hidden test, and you have all its points;
# - *partly right*: it failed some tests, but none of the core tests, and you have a share of its points;
# - *not right yet* or *raised an error*: it has no points so far;
# - *not answered yet*: the cell is as it was released.
#
# For each test that failed you read which property does not hold and which hint to open. If your function behaves like
# a known mistake, you read which one. `--show` adds the input, what your function returned, and what was expected:
#
# ```
# lsml grade --show 00
# ```
#
# When you have all points of an exercise, you may compare your answer with the authors' (in a class, your instructor
# decides whether this is open):
#
# ```
# lsml solution 00 standardize
# ```
#
# Then hand in the `.ipynb` file in the way that your instructor says. A person reads the question in words. If you
# study on your own, compare your answer with somebody else's.
#
# ## 8. The other modules
#
# The opening of each module says which others it needs. `lsml progress` draws them as a map with your points, and says
# what to do next. You need not take them in the order of their numbers:
#
# - 01 to 03 (gradient descent, stochastic gradients, softmax) come first. All later modules build on them but 15 and 16.
# - 04 to 07 are models without networks. 06 needs 04.
# - 08 to 13 are networks. 08 comes first, then 09, 10 and 12, one after the other. 11 needs 08. 13 needs only 03.
# - 14 to 18 are about machines, from one chip to a cluster. 15 and 16 need only this module, and 18 only 02. 14 and 17
#   need 08.
# - 19 to 25 put models to use: recommenders after 07, federated learning and privacy after 08, explanations and
#   fairness after 06 and 08, speech and pictures after 12, serving and annealing after 04.
# - 26 needs 01 to 08: there you choose the algorithm.
#
# ## 9. Further
#
# **At work.** `sklearn.preprocessing.StandardScaler`, with `partial_fit` for chunks; `dask_ml.preprocessing` for
# clusters. Where outliers decide the spread, `RobustScaler`, which uses the median.
#
# **Open questions**
#
# 1. Subtract the *first row* instead of the mean, and use the formula of section 5. This is one pass, and it is almost
#    always safe: the relative error is at most about $m\varepsilon$ if the first row is about one spread from the mean,
#    as most rows are. For which data is it not safe?
# 2. Which of these merge over chunks: maximum, product, number of distinct values, median, the ten largest?
# 3. A gradient of a loss is a mean over rows, too. What does section 6 mean for training on many machines?
#
# **References**
#
# - B. P. Welford. Note on a method for calculating corrected sums of squares and products. *Technometrics* 4(3), 1962.
#   Two pages: the method for one row at a time.
# - T. F. Chan, G. H. Golub, R. J. LeVeque. Algorithms for computing the sample variance: analysis and recommendations.
#   *The American Statistician* 37(3), 1983. It has every formula of this notebook, with its error.
# - N. J. Higham. *Accuracy and Stability of Numerical Algorithms*, 2nd edition. SIAM, 2002. Section 1.9
#   is about the variance.
#
# The next module is `01_gradient_descent`. Its one idea trains most of the models of this course.
