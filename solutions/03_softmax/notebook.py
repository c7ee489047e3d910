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
# # 03 · Softmax and cross-entropy
#
# **What you will be able to do.** Turn any row of real numbers into probabilities, at logits of 10,000 as well as at 1;
# derive the gradient of the cross-entropy in two lines and know why it is so short; fit a classifier of digits that
# agrees with scikit-learn's; say whether its probabilities deserve their name; and compute the loss over a vocabulary
# of a million words while a few thousand of them are in memory.
#
# **You need** module 01 (gradient descent), matrix products, and the derivatives of exp and log.
#
# **Skills it trains**: floating-point reasoning, maximum likelihood, checking a gradient, convex optimisation,
# one-pass algorithms.
#
# **Time**: about three hours, most of it in eight exercises, a bug to find and one exercise that is extra.
#
# **One legend for the whole module**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $m$, $d$ | `m`, `d` | | rows (examples, or positions in a text), and features |
# | $C$, $V$ | `C`, `V` | | classes; $V$ where they are the words of a vocabulary |
# | $X$ | `X` | $(m, d)$ | the data, one example a row |
# | $y$ | `y` | $(m,)$ | the right classes, integers from 0 to $C - 1$ |
# | $Z$ | `Z` | $(m, C)$ | logits: one real score for each row and class; $z$ is one row of it |
# | $P$ | `P` | $(m, C)$ | probabilities, each row summing to 1; $p$ is one row of it |
# | $W$, $b$ | `W`, `b` | $(d, C)$, $(C,)$ | weights and biases: $Z = XW + b$ |
# | $\varepsilon$, $\lambda$ | `label_smoothing`, `l2` | | how much a label is smoothed; how much large weights cost |

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
from collections.abc import Iterable
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import scipy.special
import torch
from sklearn.linear_model import LogisticRegression

from lsml_utils import checking, datasets, demo_size, device, plotting, scaling
from lsml_utils.checking import check, expect_close, expect_dtype, expect_raises, expect_shape, expect_unchanged

plotting.use()
checking.start("03_softmax", total=10)


def as_float(values) -> np.ndarray:
    """The values as an array: float32 stays float32, all else (integers too) becomes float64."""
    values = np.asarray(values)
    return values if values.dtype == np.float32 else values.astype(np.float64)


# %% [markdown]
# ## Derive
#
# ### From scores to probabilities
#
# A linear model, or the last layer of a network, gives a row of scores $z \in \mathbb R^C$, one a class. They may be
# any real numbers. Probabilities must be positive and sum to 1, so make the scores positive with exp and divide by
# their sum:
#
# $$p_k = \operatorname{softmax}(z)_k = \frac{e^{z_k}}{\sum_j e^{z_j}}, \qquad
# \log p_k = z_k - \operatorname{LSE}(z), \qquad \operatorname{LSE}(z) = \log \sum_j e^{z_j}.$$
#
# The scores are called **logits** because for two classes with scores $(z, 0)$ this is the logistic sigmoid
# $p = \sigma(z) = 1 / (1 + e^{-z})$, and $z = \log\frac{p}{1-p}$, the log of the odds.
#
# Add the same number $c$ to every score of a row: numerator and denominator both grow by $e^c$, and nothing changes.
#
# $$\operatorname{softmax}(z + c) = \operatorname{softmax}(z), \qquad
# \operatorname{LSE}(z + c) = \operatorname{LSE}(z) + c.$$
#
# So $C$ scores carry only $C - 1$ facts. One degree of freedom is ours to spend, and we spend it on arithmetic.
#
# ### What a float can hold
#
# $e^z$ overflows to `inf` beyond $z \approx 709.8$ in float64, $88.7$ in float32 and $11.1$ in float16; far below zero
# it underflows to 0. The formula above then gives `inf/inf = nan`, or `log(0) = -inf`. Take $c = -\max_j z_j$: now the
# largest exponent is 0, so nothing overflows; the sum lies between 1 and $C$, so its log is harmless; and whatever
# still underflows was too small, beside the leading term, to change the sum. This also shows that
#
# $$\max_j z_j \;\le\; \operatorname{LSE}(z) \;\le\; \max_j z_j + \log C:$$
#
# LSE is a maximum with its corner rounded off, and its slope, $\partial \operatorname{LSE} / \partial z_k = p_k$, is
# the softmax: the smooth version of "which one is the largest?". That is the picture of this module.

# %% tags=["demo"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8))
z = np.linspace(-6, 6, 400)
left.plot(z, np.maximum(z, 0), "k--", label="max(z, 0)")
left.plot(z, np.log(np.exp(z) + 1), label="LSE(z, 0)")
left.plot(z, 1 / (1 + np.exp(-z)), label="its slope: softmax, here σ(z)")
left.set(xlabel="z", title="A maximum with its corner rounded off")
left.legend()

wide = np.linspace(-1200, 1200, 1201)
rows = np.stack([wide, wide - 1, wide - 2], axis=1)
with np.errstate(over="ignore", divide="ignore"):
    as_written = np.log(np.exp(rows).sum(axis=1))
top = rows.max(axis=1)
right.plot(wide, top + np.log(np.exp(rows - top[:, None]).sum(axis=1)), lw=6, alpha=0.3, label="shifted by the maximum")
right.plot(wide, as_written, label="as the formula is written")
finite = wide[np.isfinite(as_written)]
for edge, text, side in ((finite[0], "← −inf", "right"), (finite[-1], "inf →", "left")):
    right.axvline(edge, color="0.6", lw=1)
    right.annotate(text, (edge, -100), xytext=(4 if edge > 0 else -4, 0), textcoords="offset points", ha=side)
right.set(xlabel="z", title="LSE(z, z − 1, z − 2) in float64")
right.legend()
plt.show()
print(f"as it is written, the formula holds only from {finite[0]:.0f} to {finite[-1]:.0f}")

# %% [markdown]
# ### From probabilities to a loss, and its gradient
#
# Maximum likelihood asks for the parameters under which the labels that we saw were most probable. For independent rows
# that is the smallest mean of $-\log p_{y}$, the **cross-entropy**:
#
# $$\ell(z, y) = -\log \operatorname{softmax}(z)_y = \operatorname{LSE}(z) - z_y .$$
#
# No probability appears on the right, so none has to be computed, clipped or taken the log of. And the gradient needs
# one line, because the slope of LSE is already known:
#
# $$\frac{\partial \ell}{\partial z} = p - e_y, \qquad
# e_y = \text{the row with a 1 at class } y \text{ and 0 elsewhere}.$$
#
# *What was predicted minus what happened.* Each entry lies between −1 and 1 however large the logits are, and each row
# sums to 0, as it must when adding a constant to a row changes nothing.
#
# Differentiate once more: the Hessian is $H = \operatorname{diag}(p) - p p^\top$. For any vector $u$, $u^\top H u$ is
# the variance of a number that equals $u_k$ with probability $p_k$. A variance is never negative, so the loss is
# **convex**. And a number between $a$ and $b$ has variance at most $(b-a)^2/4 \le (a^2 + b^2)/2$, so
# $u^\top H u \le \tfrac12 \|u\|^2$: the curvature is at most $\tfrac12$. That bound will give a step size that needs no
# tuning.
#
# ### Where tutorials disagree
#
# - **The axis.** Probabilities compete *within a row*. `exp(Z) / exp(Z).sum()` sums over the whole batch, `sum(axis=0)`
#   over the rows: both run without complaint, and both make a prediction depend on its neighbours in the batch.
# - **The shift** is the maximum of each row. The maximum of the whole batch prevents overflow as well, and then a row
#   that lies 800 below it underflows to 0/0.
# - **Clipping**: `-log(clip(p, 1e-12, 1))` is not a safe cross-entropy. It is never more than
#   $-\log 10^{-12} \approx 27.63$, and its gradient is 0 exactly where the model is most wrong. Compute the loss from
#   logits.
# - **Averaging.** Here, as in PyTorch, "mean" divides by the rows $m$, once. Dividing by $mC$ as well, which is what
#   `np.mean` over a one-hot product does, makes the loss and every step $C$ times smaller.
# - **Label smoothing.** Szegedy et al. (2016), and PyTorch, spread ε over *all* $C$ classes, the right one too:
#   $q = (1-\varepsilon) e_y + \varepsilon / C$. Some texts spread it over the other $C - 1$. We follow the first.

# %% [markdown]
# ## Implement
#
# ### Exercise 1 · Two classes: `binary_cross_entropy` (2 points, 15 minutes)
#
# Start where there is a single logit $z$ a row, the score of class 1 against class 0, so that $p = \sigma(z)$ and
#
# $$\ell(z, y) = -y \log \sigma(z) - (1 - y) \log(1 - \sigma(z)) .$$
#
# Two functions stand in one cell and are one exercise, named after the second; both are tested. The setup cell gives
# you `as_float(values)`, which leaves float32 alone and makes everything else float64.


# %% exercise="binary_cross_entropy" points=2 minutes=15 forbids=["scipy", "torch.special", "torch.nn", ".sigmoid"]
def sigmoid(z: np.ndarray) -> np.ndarray:
    """The logistic function 1 / (1 + exp(-z)), elementwise.

    z: numbers, any shape; a plain number too.

    Returns an array of the same shape, in the dtype of `as_float(z)`; for a plain number a scalar
    or a 0-d array. Leaves z as it is.
    Right for every finite z: no nan, and no overflow on the way (NumPy would warn). Where the
    result is tiny it keeps its digits: sigmoid(-40) is 4.248...e-18, to a relative error of 1e-12.
    """
    ### BEGIN SOLUTION
    z = as_float(z)
    return np.exp(z.clip(max=0)) / (1 + np.exp(-np.abs(z)))
    ### END SOLUTION


def binary_cross_entropy(z: np.ndarray, y: np.ndarray) -> float:
    """Mean of -y log(p) - (1 - y) log(1 - p) over the rows, with p = sigmoid(z).

    z: (m,) logits, m >= 1, any finite numbers.
    y: (m,) labels 0 or 1 (integers, floats or bools), or probabilities between.

    Returns one number, a Python float or a NumPy scalar, computed in float64 whatever the dtypes of
    z and y. Leaves both as they are.
    Right for every finite z (no overflow, no clipping): z = 10000 costs 10000 where y is 0. A small
    loss keeps its digits: z = 40 costs 4.248...e-18 where y is 1, to a relative error of 1e-12.
    Not allowed, in either function: scipy, torch.special, torch.nn, the .sigmoid of anything.
    """
    ### BEGIN SOLUTION
    z = np.asarray(z, dtype=np.float64)
    losses = z.clip(min=0) - z * y + np.log1p(np.exp(-np.abs(z)))
    return float(losses.mean())
    ### END SOLUTION


# %% [markdown] hints="binary_cross_entropy"
# <details><summary>Hint 1: the sigmoid</summary>
#
# For z ≥ 0 use 1 / (1 + exp(−z)); for z < 0 multiply numerator and denominator by exp(z). Either way only a number ≤ 0
# is ever put into exp. `np.where` evaluates *both* of its branches, so guard the exponent, not only the result.
# </details>
# <details><summary>Hint 2: the loss</summary>
#
# −log σ(z) = log(1 + exp(−z)), and −log(1 − σ(z)) is that plus z. So the loss is log(1 + exp(−z)) + (1 − y) z. Now
# write log(1 + exp(−z)) so that exp never sees a positive number.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# max(z, 0) − z y + log1p(exp(−|z|)). `log1p(t)` is log(1 + t) without losing t when it is tiny. For the sigmoid, both
# branches of Hint 1 have the denominator 1 + exp(−|z|), and the numerator exp(min(z, 0)).
# </details>

# %% check="binary_cross_entropy"
with check("binary_cross_entropy", forbids=["scipy", "torch.special", "torch.nn", ".sigmoid"]):
    expect_close(
        sigmoid(np.array([0.0, np.log(3.0), -np.log(3.0)])),
        [0.5, 0.75, 0.25],
        rtol=1e-12,
        hint="odds of 3 to 1 are 0.75",
    )
    with np.errstate(over="raise", invalid="raise"):
        expect_close(sigmoid(np.array([-1e4, 1e4])), [0.0, 1.0], atol=1e-300, hint="exp must never see a big number")
    expect_close(
        sigmoid(np.array([-40.0])),
        [np.exp(-40.0)],
        rtol=1e-12,
        atol=0,
        hint="a small probability lost its digits; see Hint 1",
    )
    with expect_unchanged(logits=(logits := np.array([np.log(3.0), -np.log(3.0)]))):
        loss = binary_cross_entropy(logits, np.array([1, 1]))
    right = -(np.log(0.75) + np.log(0.25)) / 2
    expect_close(loss, right, rtol=1e-12, mistakes={"This is the sum over the rows, not their mean.": 2 * right})
    expect_close(
        binary_cross_entropy(np.array([1e4, -1e4, 1e4]), np.array([0, 1, 1])),
        2e4 / 3,
        rtol=1e-12,
        hint="compute the loss from z, without sigmoid and log",
        mistakes={"You clipped the probabilities: two losses of 10000 became much smaller.": -2 * np.log(1e-12) / 3},
    )
    expect_close(
        binary_cross_entropy(np.array([40.0]), np.array([1])),
        np.exp(-40.0),
        rtol=1e-12,
        atol=0,
        hint="a small loss lost its digits: log1p, and see Hint 3",
    )

# %% tags=["demo"]
z = np.linspace(-60, 60, 601)
clipped = -np.log(np.clip(sigmoid(z), 1e-12, 1))
from_logits = np.array([binary_cross_entropy(np.array([value]), np.array([1])) for value in z])
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6))
plotting.curves(
    {"from the logit": (z, from_logits), "−log(clip(p, 1e-12, 1))": (z, clipped)}, xlabel="logit z", ax=left
)
left.set(ylabel="loss of a row with y = 1", title="Clipping hides the worst mistakes")
plotting.curves(
    {"from the logit": (z, np.gradient(from_logits, z)), "clipped": (z, np.gradient(clipped, z))},
    xlabel="logit z",
    ax=right,
)
right.set(ylabel="slope", title="... and takes their gradient away")
plt.show()

# %% [markdown]
# ### Exercise 2 · Many classes: `logsumexp` (2 points, 12 minutes)
#
# The function on which all the rest stands: the loss is LSE less one logit, and the probabilities are its slope. It is
# written here for arrays of any shape, along any axis, because module 12 will need it for blocks of attention scores.
# Use the freedom of section "What a float can hold", and mind that each slice has a maximum of its own.


# %% exercise="logsumexp" points=2 minutes=12 forbids=["scipy.special", "torch.logsumexp", ".logsumexp"]
def logsumexp(Z: np.ndarray, axis: int = -1, keepdims: bool = False) -> np.ndarray:
    """log(sum(exp(Z))) along one axis.

    Z: array of numbers, one dimension or more, and at least one entry along the axis. Entries are
      finite or -inf: a class that is masked out, exp(-inf) = 0. A slice of nothing but -inf gives
      -inf (there NumPy may warn of log(0)).
    axis: which axis is summed away, counted from the end where negative.
    keepdims: keep that axis, with length 1.

    Returns an array without that axis (for one-dimensional Z a scalar or a 0-d array), in the dtype
    of `as_float(Z)`. Leaves Z as it is.
    Right for entries up to 1e300 in size (1e38 in float32), also where the slices of Z differ by
    thousands. Rounding may cost a unit in the last place for each entry along the axis.
    Not allowed: scipy.special, torch.logsumexp, the .logsumexp of anything.
    """
    ### BEGIN SOLUTION
    Z = as_float(Z)
    # The lowest finite number stands in for a maximum of -inf, because -inf - -inf is nan.
    top = Z.max(axis=axis, keepdims=True).clip(min=np.finfo(Z.dtype).min)
    total = top + np.log(np.exp(Z - top).sum(axis=axis, keepdims=True))
    return total if keepdims else total.squeeze(axis)
    ### END SOLUTION


# %% [markdown] hints="logsumexp"
# <details><summary>Hint 1: the shift</summary>
#
# LSE(z) = c + LSE(z − c) for every number c. Which c keeps exp from overflowing, and where must it come from when Z has
# several rows?
# </details>
# <details><summary>Hint 2: shapes</summary>
#
# `Z.max(axis=axis, keepdims=True)` has a shape that broadcasts against Z. Drop the axis at the very end, with
# `squeeze(axis)`, or leave it there if keepdims is true.
# </details>
# <details><summary>Hint 3: slices of −inf</summary>
#
# If the maximum itself is −inf, then subtracting it gives −inf − (−inf) = nan. Replace such a maximum by any finite
# number: exp gives zeros, their sum is 0, and log(0) = −inf is the right answer.
# </details>

# %% check="logsumexp"
with check("logsumexp", forbids=["scipy.special", "torch.logsumexp", ".logsumexp"]):
    Z = np.log(np.array([[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]]))
    right = np.log([6.0, 12.0])
    wrong_axis = np.log([5.0, 6.0, 7.0])
    with expect_unchanged(Z=Z):
        expect_close(logsumexp(Z), right, rtol=1e-12, mistakes={"You summed down the columns.": wrong_axis})
    expect_close(logsumexp(Z, axis=0), wrong_axis, rtol=1e-12, hint="axis=0 sums over the rows")
    expect_shape(logsumexp(Z, axis=1, keepdims=True), (2, 1))
    expect_close(
        logsumexp(np.array([[1000.0, 1000.0], [-1000.0, -1000.0]])),
        np.array([1000.0, -1000.0]) + np.log(2),
        rtol=1e-12,
        hint="subtract a maximum first: the maximum of each row, not of the whole array",
        mistakes={"You subtracted one maximum for the whole array.": np.array([1000.0 + np.log(2), -np.inf])},
    )
    with np.errstate(divide="ignore"):
        expect_close(
            logsumexp(np.array([[-np.inf, 0.0], [-np.inf, -np.inf]])), [0.0, -np.inf], atol=1e-12, hint="see Hint 3"
        )
    expect_dtype(logsumexp(Z.astype(np.float32)), np.float32)

# %% tags=["demo"]
a, b = np.meshgrid(np.linspace(-2, 2, 161), np.linspace(-2, 2, 161))
stacked = np.stack([a, b, np.zeros_like(a)])  # (3, 161, 161): the logits a, b and 0 at every point of a plane
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
left.contour(a, b, logsumexp(4 * stacked, axis=0) / 4, levels=np.linspace(0, 2, 9))
left.set(xlabel="a", ylabel="b", aspect="equal", title="LSE(4a, 4b, 0) / 4: rounded corners")
left.grid(False)
sharpness = np.logspace(-1, 2, 31)
gap = [np.max(logsumexp(s * stacked, axis=0) / s - stacked.max(axis=0)) for s in sharpness]
plotting.curves(
    {"largest distance, measured": (sharpness, gap), "log(3) / s": (sharpness, np.log(3) / sharpness)},
    xlabel="s, in LSE(s·a, s·b, 0) / s",
    ylabel="distance from max(a, b, 0)",
    title="The bound log C is attained",
    logx=True,
    logy=True,
    ax=right,
)
plt.show()

# %% [markdown]
# ### Exercise 3 · `softmax` (1 point, 8 minutes)
#
# The same shift once more, and this time it leaves no trace at all: the factor $e^c$ stands above the fraction line and
# below it.


# %% exercise="softmax" points=1 minutes=8 forbids=["scipy.special", "torch.nn", "torch.softmax", ".softmax"]
def softmax(Z: np.ndarray, axis: int = -1) -> np.ndarray:
    """exp(Z) / sum(exp(Z)), each slice along the axis summing to 1.

    Z: array of numbers, one dimension or more, finite or -inf, which marks a masked class: its
      probability is exactly 0. Each slice has at least one finite entry.

    Returns the shape of Z, in the dtype of `as_float(Z)`. Leaves Z as it is.
    Right for entries up to 1e300 in size (1e38 in float32), also where the slices differ by
    thousands.
    Not allowed: scipy.special, torch.nn, torch.softmax, the .softmax of anything.
    """
    ### BEGIN SOLUTION
    Z = as_float(Z)
    E = np.exp(Z - Z.max(axis=axis, keepdims=True))
    return E / E.sum(axis=axis, keepdims=True)
    ### END SOLUTION


# %% [markdown] hints="softmax"
# <details><summary>Hint 1: the shift</summary>
#
# Softmax does not change when a constant is subtracted from a slice. You know from `logsumexp` which one to take.
# </details>
# <details><summary>Hint 2: whatever the axis</summary>
#
# `keepdims=True` leaves an axis of length 1 where you took the maximum or the sum, so that the result broadcasts
# against Z, whichever axis it was.
# </details>
# <details><summary>Hint 3: all of it</summary>
#
# Three lines: `Z = as_float(Z)`; `E = np.exp(Z - Z.max(axis=axis, keepdims=True))`; and return E over its own sum,
# along the same axis and with `keepdims=True`.
# </details>

# %% check="softmax"
with check("softmax", forbids=["scipy.special", "torch.nn", "torch.softmax", ".softmax"]):
    weights = np.array([[1.0, 2.0, 3.0], [1.0, 1.0, 6.0]])
    Z = np.log(weights)
    over_rows = weights / np.array([2.0, 3.0, 9.0])
    with expect_unchanged(Z=Z):
        expect_close(
            softmax(Z),
            weights / np.array([[6.0], [8.0]]),
            rtol=1e-12,
            mistakes={
                "Your columns sum to 1 instead of your rows.": over_rows,
                "All entries together sum to 1: divide each row by its own sum.": weights / 14,
            },
        )
    expect_close(softmax(Z, axis=0), over_rows, rtol=1e-12, hint="axis=0: columns sum to 1")
    expect_close(
        softmax(np.array([[1000.0, 1000.0], [0.0, -1000.0]])),
        [[0.5, 0.5], [1.0, 0.0]],
        atol=1e-12,
        hint="shift each row",
    )
    expect_close(
        softmax(np.array([0.0, -np.inf, 0.0])), [0.5, 0.0, 0.5], atol=1e-12, hint="a masked class gets nothing"
    )
    expect_dtype(softmax(Z.astype(np.float32)), np.float32)

# %% tags=["demo"]
scores = np.array([2.0, 1.0, 0.5, -1.0, -1.5])
temperatures = np.logspace(-1.5, 2, 101)
P = softmax(scores / temperatures[:, None], axis=1)  # (101, 5): a row for each temperature
plotting.curves(
    {f"logit {score:g}": (temperatures, P[:, k]) for k, score in enumerate(scores)},
    xlabel="temperature, by which all logits are divided",
    ylabel="probability",
    title="Cold: the largest takes all. Hot: all alike",
    logx=True,
)
plt.show()

# %% [markdown]
# ### Exercise 4 · Its logarithm: `log_softmax` (2 points, 8 minutes)
#
# To read, one wants probabilities; to train, their logarithms. `log(softmax(z))` is no substitute: a probability of
# $e^{-800}$ is 0 in float64, and its log is gone.
#
# Nor is $z - \operatorname{LSE}(z)$ quite good enough as it stands. With logits near 10,000 both numbers are near
# 10,000 and their difference is near 1. In float32, whose neighbouring numbers lie 0.001 apart up there, that
# difference is right to three digits at best. Shift first, then subtract numbers that are small themselves.


# %% exercise="log_softmax" points=2 minutes=8 forbids=["scipy", "torch.nn", "torch.log_softmax", ".log_softmax"]
def log_softmax(Z: np.ndarray, axis: int = -1) -> np.ndarray:
    """The logarithm of softmax(Z, axis).

    Z: array of numbers, one dimension or more, finite or -inf, which marks a masked class: its
      log-probability is -inf. Each slice has at least one finite entry.

    Returns the shape of Z, in the dtype of `as_float(Z)`. Leaves Z as it is.
    Finite for every entry up to 1e300 in size (1e38 in float32), however small its probability, and
    as exact for Z + 10000 as for Z, also in float32. A result below the precision of the dtype, of
    a probability very near 1, may come out as 0.
    Not allowed: scipy, torch.nn, torch.log_softmax, the .log_softmax of anything.
    """
    ### BEGIN SOLUTION
    Z = as_float(Z)
    shifted = Z - Z.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    ### END SOLUTION


# %% [markdown] hints="log_softmax"
# <details><summary>Hint 1: no quotient</summary>
#
# The log of the quotient is a difference: z − log Σ e^z. Nothing needs to be divided, and nothing tiny needs a log.
# </details>
# <details><summary>Hint 2: no cancellation</summary>
#
# Write s = z − max(z) first, and then s − log Σ e^s: the log lies between 0 and log C, so both parts are of the size of
# the answer.
# </details>
# <details><summary>Hint 3: all of it</summary>
#
# `s = Z - Z.max(axis=axis, keepdims=True)`, and then `s - np.log(np.exp(s).sum(axis=axis, keepdims=True))`.
# </details>

# %% check="log_softmax"
with check("log_softmax", forbids=["scipy", "torch.nn", "torch.log_softmax", ".log_softmax"]):
    weights = np.array([[1.0, 2.0, 3.0], [1.0, 1.0, 6.0]])
    Z = np.log(weights)
    with expect_unchanged(Z=Z):
        expect_close(
            log_softmax(Z),
            np.log(weights / np.array([[6.0], [8.0]])),
            rtol=1e-12,
            mistakes={"You summed over the rows instead of the classes.": np.log(weights / np.array([2.0, 3.0, 9.0]))},
        )
    expect_close(
        log_softmax(np.array([0.0, -800.0])),
        [0.0, -800.0],
        rtol=1e-12,
        hint="do not take the log of softmax: see Hint 1",
    )
    near = np.array([[0.0, 1.0, 2.0]], dtype=np.float32)
    expect_close(log_softmax(near + np.float32(1e4)), log_softmax(near), rtol=1e-5, hint="shift first: see Hint 2")
    expect_dtype(log_softmax(near), np.float32)

# %% tags=["demo"]
offsets = np.logspace(0, 7, 60).astype(np.float32).round()
row = np.array([0, 1, 2], dtype=np.float32)
errors = {"shift first": [], "z − LSE(z)": []}
for offset in offsets:
    z = row + offset
    exact = log_softmax(z.astype(np.float64))  # of what the sum was rounded to
    errors["shift first"].append(np.abs(log_softmax(z) - exact).max())
    errors["z − LSE(z)"].append(np.abs(z - logsumexp(z) - exact).max())
plotting.curves(
    {name: (offsets, np.array(error) + 1e-9) for name, error in errors.items()},
    xlabel="number added to every logit",
    ylabel="largest error in float32",
    logx=True,
    logy=True,
).set_title("The same formula, and not the same digits")
plt.show()

# %% [markdown]
# ### Exercise 5 · From logits: `cross_entropy` (3 points, 20 minutes)
#
# With label smoothing the target of a row is no longer $e_y$ but $q = (1-\varepsilon)\, e_y + \varepsilon / C$, and the
# loss is $-\sum_k q_k \log p_k$. A model can no longer gain by driving its logits towards infinity.


# %% exercise="cross_entropy" points=3 minutes=20 forbids=["sklearn", "torch.nn"]
def cross_entropy(
    Z: np.ndarray, y: np.ndarray, reduction: str = "mean", label_smoothing: float = 0.0
) -> float | np.ndarray:
    """Cross-entropy -sum_k q_k log(p_k) of the rows, with p = softmax(z) and smoothed labels q.

    q = (1 - label_smoothing) one_hot(y) + label_smoothing / C.
    Z: (m, C) logits, m >= 1, C >= 1, numbers up to 1e300 in size.
    y: (m,) integers from 0 to C - 1.
    reduction: "mean" (over the m rows) or "sum" returns one number, a Python float or a NumPy
      scalar; "none" returns the (m,) losses of the rows.
    label_smoothing: from 0 to 1 (not checked here).

    Computed in float64 whatever the dtype of Z. Leaves Z and y as they are. A loss below the
    precision of the logits may come out as 0: [[40, 0]] with y = 0 costs 4e-18, or 0.
    Raises ValueError for another reduction, and for a label below 0 or above C - 1 (NumPy would
    read -1 as the last).
    May use your `log_softmax` or `logsumexp`. Not allowed: sklearn, torch.nn.
    """
    ### BEGIN SOLUTION
    Z, y = np.asarray(Z, dtype=np.float64), np.asarray(y)
    m, C = Z.shape
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be mean, sum or none, not {reduction!r}")
    if y.min() < 0 or y.max() >= C:
        raise ValueError(f"labels must lie between 0 and {C - 1}")
    L = log_softmax(Z)
    losses = -(1 - label_smoothing) * L[np.arange(m), y] - label_smoothing * L.mean(axis=1)
    if reduction == "none":
        return losses
    return float(losses.mean() if reduction == "mean" else losses.sum())
    ### END SOLUTION


# %% [markdown] hints="cross_entropy"
# <details><summary>Hint 1: without smoothing</summary>
#
# You want one entry of `log_softmax(Z, axis=1)` from each row: entry y[i] of row i. `L[np.arange(m), y]` picks them;
# `L[:, y]` is an (m, m) matrix.
# </details>
# <details><summary>Hint 2: with smoothing</summary>
#
# Put q into the sum: it splits into (1 − ε) times the picked entry and ε times the *mean* of the row's
# log-probabilities. No one-hot matrix is needed.
# </details>
# <details><summary>Hint 3: all of it</summary>
#
# With `L = log_softmax(Z)` the losses of the rows are `-(1 - ε) * L[np.arange(m), y] - ε * L.mean(axis=1)`. Check the
# labels by `y.min()` and `y.max()` before, and return the losses, their sum or their mean as a float.
# </details>

# %% check="cross_entropy"
with check("cross_entropy", forbids=["sklearn", "torch.nn"]):
    P = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    Z, y = np.log(P), np.array([0, 2])
    each = -np.log([0.5, 0.1])
    with expect_unchanged(Z=Z, y=y):
        expect_close(
            cross_entropy(Z, y),
            each.mean(),
            rtol=1e-12,
            mistakes={
                "This is the sum over the rows, not their mean.": each.sum(),
                "You divided by m·C: the mean is over the rows only.": each.mean() / 3,
                "The sign is wrong: a loss is −log p.": -each.mean(),
            },
        )
    expect_close(cross_entropy(Z, y, reduction="none"), each, rtol=1e-12)
    expect_close(cross_entropy(Z + 5.0, y, reduction="sum"), each.sum(), rtol=1e-12, hint="Z holds logits, not log p")
    smooth = -(0.8 * np.log(0.5) + 0.1 * np.log(0.25) + 0.1 * np.log(0.25))
    others = -(0.7 * np.log(0.5) + 0.15 * np.log(0.25) + 0.15 * np.log(0.25))
    expect_close(
        cross_entropy(Z[:1], y[:1], label_smoothing=0.3),
        smooth,
        rtol=1e-12,
        mistakes={"You spread ε over the other classes only: the right one gets ε/C too.": others},
    )
    expect_close(
        cross_entropy(np.array([[1e4, -1e4]]), np.array([1])),
        2e4,
        rtol=1e-12,
        hint="use log_softmax, never log(softmax)",
    )
    with expect_raises(ValueError, hint="y = -1 would silently mean the last class"):
        cross_entropy(Z, np.array([0, -1]))
    with expect_raises(ValueError, hint="reduction must be one of the three words"):
        cross_entropy(Z, y, reduction="average")

# %% tags=["demo"]
gap = np.linspace(-4, 16, 400)
rows = np.stack([gap] + [np.zeros_like(gap)] * 9, axis=1)
right_class = np.zeros(len(gap), dtype=int)
plotting.curves(
    {
        f"label smoothing {e:g}": (gap, cross_entropy(rows, right_class, reduction="none", label_smoothing=e))
        for e in (0, 0.05, 0.2)
    },
    xlabel="logit of the right class, above the nine others",
    ylabel="loss",
).set_title("With smoothing there is such a thing as too sure")
plt.show()

# %% [markdown]
# ### Exercise 6 · Its gradient: `cross_entropy_gradient` (3 points, 15 minutes)
#
# Follow the derivation with $q$ in place of $e_y$: each row of the gradient is $p - q$, and the mean over the rows
# divides it by $m$. Multiplying out the Jacobian of softmax, an $(m, C, C)$ array, gives the same numbers; for
# $C = 50{,}000$ one row of it would take 20 GB.


# %% exercise="cross_entropy_gradient" points=3 minutes=15 forbids=["torch.autograd", "torch.func", ".backward"]
def cross_entropy_gradient(
    Z: np.ndarray,
    y: np.ndarray,
    label_smoothing: float = 0.0,
) -> np.ndarray:
    """Gradient of cross_entropy(Z, y, "mean", label_smoothing) with respect to Z.

    Z: (m, C) logits, m >= 1, C >= 1, numbers up to 1e300 in size (1e38 in float32).
    y: (m,) integers from 0 to C - 1; label_smoothing: from 0 to 1 (neither is checked here).

    Returns (m, C), in the dtype of `as_float(Z)`; what is computed on the way may be float32 or
    float64. An entry below the precision of that dtype may come out as 0, as at the right class
    where its probability is very near 1. Leaves Z and y as they are.
    Needs no memory beyond a few arrays of the size of Z: C may be so large that a (C, C) array for
    each row does not fit.
    May use your `softmax`. Not allowed: torch.autograd, torch.func, .backward.
    """
    ### BEGIN SOLUTION
    m, C = Z.shape
    G = softmax(Z) - label_smoothing / C
    G[np.arange(m), y] -= 1 - label_smoothing
    return G / m
    ### END SOLUTION


# %% [markdown] hints="cross_entropy_gradient"
# <details><summary>Hint 1: without smoothing</summary>
#
# Probabilities minus one-hot labels, divided by m. Instead of building the one-hot matrix, subtract 1 from the entries
# `[np.arange(m), y]` of an array that is yours to change.
# </details>
# <details><summary>Hint 2: with smoothing</summary>
#
# q is ε/C everywhere, and 1 − ε more at the right class.
# </details>
# <details><summary>Hint 3: all of it</summary>
#
# `G = softmax(Z) - ε / C` is a new array; then `G[np.arange(m), y] -= 1 - ε`, and return `G / m`.
# </details>

# %% check="cross_entropy_gradient"
with check("cross_entropy_gradient", forbids=["torch.autograd", "torch.func", ".backward"]):
    Z, y = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])), np.array([0, 2])
    right = np.array([[-0.5, 0.25, 0.25], [0.1, 0.8, -0.9]]) / 2
    with expect_unchanged(Z=Z, y=y):
        expect_close(
            cross_entropy_gradient(Z, y),
            right,
            rtol=1e-12,
            mistakes={
                "You forgot that the mean divides by the m rows.": 2 * right,
                "The sign is wrong: it is predicted minus observed.": -right,
                "You divided by m·C: the mean is over the rows only.": right / 3,
            },
        )
    expect_close(
        cross_entropy_gradient(Z[:1], y[:1], label_smoothing=0.3),
        [[-0.3, 0.15, 0.15]],
        atol=1e-12,
        hint="p − q, Hint 2",
    )
    expect_close(cross_entropy_gradient(np.array([[1e4, -1e4]]), np.array([1])), [[1.0, -1.0]], atol=1e-12)
    expect_dtype(cross_entropy_gradient(Z.astype(np.float32), y), np.float32)

# %% [markdown]
# A gradient can be checked against the loss itself: $\bigl(\ell(z + h u) - \ell(z - h u)\bigr) / 2h$. The next cell
# does it with your two functions, for many step sizes $h$. Too large an $h$ and the curve bends, an error of the size
# $h^2$; too small and the two losses are equal but for their rounding, an error of the size (machine precision)/$h$.
# The best $h$ lies where they cross. In float32 the whole valley lies far higher, too high to tell a right gradient
# from a slightly wrong one: **check gradients in float64**.


# %% tags=["demo"]
def finite_difference_error(Z, y, U, h, dtype):
    """Error of the central difference along U against the gradient, with the loss rounded to dtype."""
    up = dtype(cross_entropy((Z + h * U).astype(dtype), y))
    down = dtype(cross_entropy((Z - h * U).astype(dtype), y))
    return abs(float(up - down) / (2 * h) - np.sum(cross_entropy_gradient(Z, y) * U))


draw = np.random.default_rng(3)
Z, U, y = draw.normal(size=(20, 5)), draw.normal(size=(20, 5)), draw.integers(0, 5, 20)
steps = np.logspace(-10, 0, 41)
plotting.curves(
    {
        name: (steps, np.array([finite_difference_error(Z, y, U, h, dtype) for h in steps]) + 1e-18)
        for name, dtype in {"float64": np.float64, "float32": np.float32}.items()
    },
    xlabel="step h",
    ylabel="|finite difference − gradient|",
    logx=True,
    logy=True,
).set_title("A gradient check is as good as its arithmetic")
plt.show()

# %% [markdown]
# ### Exercise 7 · A classifier: `fit_softmax_regression` (4 points, 30 minutes)
#
# Put $Z = XW + b$ and the chain rule carries the gradient back to the parameters: with $G = \partial J/\partial Z$ from
# the exercise above, $\partial J/\partial W = X^\top G$ and $\partial J / \partial b$ is the sum of the rows of $G$.
# Add the penalty $\tfrac{\lambda}{2}\|W\|^2$ on the weights, not on the biases:
#
# $$J(W, b) = \frac1m \sum_{i=1}^m \ell(x_i W + b,\, y_i) + \frac{\lambda}{2} \|W\|^2 .$$
#
# Write $\tilde X = [X, \mathbf 1]$, shape $(m, d+1)$. The curvature in $Z$ is at most $\tfrac12$, so the curvature of
# $J$ is at most
#
# $$L = \frac{1}{2m} \lambda_{\max}(\tilde X^\top \tilde X) + \lambda,$$
#
# and gradient descent with step $1/L$ makes the loss fall at every step, with nothing to tune. With $\lambda > 0$ there
# is only one minimum (the biases up to a common constant), so any other correct program must find the same model. A
# step costs $O(mdC)$ operations, two products with $X$.


# %% exercise="fit_softmax_regression" points=4 minutes=30 forbids=["sklearn", "scipy.optimize", "torch.optim"]
def fit_softmax_regression(
    X: np.ndarray,
    y: np.ndarray,
    classes: int,
    l2: float = 1e-3,
    tol: float = 1e-4,
    max_steps: int = 1000,
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Minimise J(W, b) = mean cross-entropy of X W + b, plus l2/2 times the sum of W², by gradient
    descent. b is not penalised.

    X: (m, d), m >= 1, d >= 1; y: (m,) integers from 0 to classes - 1, some of which may not occur.
    l2 >= 0; tol >= 0; max_steps >= 0.

    Starts from zeros. Each step subtracts gradient / L from W and b, where
    L = λmax(X1ᵀ X1) / (2m) + l2 and X1 is X with a column of ones. Stops before a step when no
    entry of the gradient (of W and b) is above tol in absolute value, and after max_steps steps.

    Returns (W, b, losses): W (d, classes) and b (classes,), both float64, and a list or 1-D array
    of J before the first step and after each, one entry more than there were steps: for
    max_steps = 0 the one J at zeros. Computed in float64 whatever the dtype of X. Leaves X and y as
    they are.
    May use your `cross_entropy` and `cross_entropy_gradient`.
    Not allowed: sklearn, scipy.optimize, torch.optim.
    """
    ### BEGIN SOLUTION
    m, d = X.shape
    X1 = np.column_stack([X, np.ones(m)])  # float64, since the ones are
    L = np.linalg.norm(X1, 2) ** 2 / (2 * m) + l2
    theta = np.zeros((d + 1, classes))  # W above, b in the last row
    losses = []
    while True:
        Z = X1 @ theta
        losses.append(cross_entropy(Z, y) + l2 / 2 * np.sum(theta[:-1] ** 2))
        G = X1.T @ cross_entropy_gradient(Z, y)
        G[:-1] += l2 * theta[:-1]
        if len(losses) > max_steps or np.abs(G).max() <= tol:
            return theta[:-1], theta[-1], losses
        theta -= G / L
    ### END SOLUTION


# %% [markdown] hints="fit_softmax_regression"
# <details><summary>Hint 1: the shape of it</summary>
#
# In a loop: logits, loss (append it), gradient, test whether to stop, step. The test comes between the gradient and the
# step, so that nothing is appended for a step that was not taken.
# </details>
# <details><summary>Hint 2: the step</summary>
#
# λmax(X1ᵀX1) is the square of the largest singular value of X1: `np.linalg.norm(X1, 2) ** 2`, or the last of
# `np.linalg.eigvalsh(X1.T @ X1)`.
# </details>
# <details><summary>Hint 3: the penalty</summary>
#
# Its gradient is `l2 * W`, added to that of W alone. If you keep W and b in one array of d + 1 rows, leave the last row
# out of the penalty, in the loss and in the gradient.
# </details>

# %% check="fit_softmax_regression"
with check("fit_softmax_regression", forbids=["sklearn", "scipy.optimize", "torch.optim"]):
    nothing, labels = np.zeros((4, 1)), np.array([0, 0, 0, 1])
    W, b, losses = fit_softmax_regression(nothing, labels, classes=2, tol=1e-10)
    expect_shape(W, (1, 2))
    expect_close(losses[0], np.log(2), rtol=1e-12, hint="at zeros each class has probability 1/C, so J is log C")
    expect_close(
        np.exp(b - b.max()) / np.exp(b - b.max()).sum(),
        [0.75, 0.25],
        atol=1e-8,
        hint="where X says nothing, the model must predict how often each class occurs; is b penalised?",
    )
    X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
    with expect_unchanged(X=X, y=y):
        W, b, losses = fit_softmax_regression(X, y, classes=2, l2=0.1, max_steps=3)
    assert len(losses) == 4, f"3 steps make 4 losses (before the first, and after each), not {len(losses)}"
    assert all(later < earlier for earlier, later in pairwise(losses)), f"the loss must fall at every step: {losses}"
    # One step by hand. At zeros all probabilities are 1/2, so the gradient of W is X.T @ (P - Y) / 4, first column
    # (0 * -1/2 + 1 * -1/2 + 2 * 1/2 + 3 * 1/2) / 4 = 1/2. And X1.T @ X1 holds the sums of x², x and 1: 14, 6 and 4.
    G = np.array([[0.5, -0.5]])
    L = np.linalg.eigvalsh(np.array([[14.0, 6.0], [6.0, 4.0]]))[-1] / 8 + 0.1
    expect_close(
        fit_softmax_regression(X, y, classes=2, l2=0.1, max_steps=1)[0],
        -G / L,
        rtol=1e-9,
        mistakes={
            "You stepped uphill.": G / L,
            "L is too large: λmax is divided by 2m.": -G / (2 * L - 0.1),
            "L leaves out the column of ones.": -G / (14 / 8 + 0.1),
        },
    )

# %% tags=["demo"]
digits = datasets.digits()
order = np.random.default_rng(0).permutation(len(digits.y))
train, test = order[:1300], order[1300:]
pixels = (digits.X - digits.X[train].mean(axis=0)) / 16  # centred, which makes L smaller and every step longer
W_digits, b_digits, losses = fit_softmax_regression(
    pixels[train], digits.y[train], classes=10, max_steps=demo_size(full=1000, small=100)
)
digit_logits = pixels[test] @ W_digits + b_digits
accuracy = np.mean(digit_logits.argmax(axis=1) == digits.y[test])
plotting.curves({"J": losses}, xlabel="step", ylabel="J").set_title(
    f"Every step goes down; {accuracy:.1%} of {len(test)} unseen digits are read"
)
plt.show()
plotting.image_grid(W_digits.T.reshape(10, 8, 8), titles=[f"evidence for {k}" for k in range(10)], columns=5)
plt.show()

# %% [markdown]
# ### The peer
#
# scikit-learn's `LogisticRegression` minimises a sum over the rows, `C` $\sum_i \ell_i + \tfrac12\|W\|^2$, which is our
# $J$ times $1/\lambda$ when its parameter `C` is $1/(m\lambda)$. The same minimum, then, found with second-order
# information in far fewer steps.

# %% tags=["demo"]
l2 = 1e-2
with device.timer("cpu") as mine:
    W_mine, b_mine, losses = fit_softmax_regression(
        pixels[train], digits.y[train], classes=10, l2=l2, tol=1e-6, max_steps=demo_size(full=4000, small=500)
    )
with device.timer("cpu") as theirs:
    peer = LogisticRegression(C=1 / (l2 * len(train)), tol=1e-6, max_iter=1000).fit(pixels[train], digits.y[train])
difference = np.abs(softmax(pixels[test] @ W_mine + b_mine) - peer.predict_proba(pixels[test])).max()
print(
    f"gradient descent: {mine.seconds:.2f} s, {len(losses) - 1} steps;   "
    f"scikit-learn: {theirs.seconds:.2f} s, {peer.n_iter_[0]} iterations"
)
print(f"largest difference between the two models' probabilities on unseen digits: {difference:.1e}")

# %% [markdown]
# ### Find the bug in `predict_proba` (2 points, 10 minutes)
#
# Someone uses a fitted model to predict. The probabilities look plausible on a slide, but the same digit gets another
# answer each time it is asked about in other company, a digit asked about alone is every class with certainty, and on
# features that nobody scaled there is nothing but `nan`. Find what is wrong and repair it. (Two things are.)


# %% exercise="predict_proba" points=2 minutes=10 bug=true
def predict_proba(X: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Class probabilities of a softmax regression.

    X: (m, d), m >= 0; W: (d, C), C >= 1; b: (C,); all three float64. The logits are X W + b.

    Returns (m, C) float64, rows summing to 1. Right for logits up to 1e300 in size, also where the
    rows differ by thousands. Leaves X, W and b as they are.
    """
    ### BEGIN SOLUTION
    Z = X @ W + b
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)
    ### END SOLUTION
    ### BEGIN BUG
    # Z = X @ W + b
    # E = np.exp(Z)
    # return E / E.sum(axis=0)
    ### END BUG


# %% [markdown] hints="predict_proba"
# <details><summary>Hint 1: where to look</summary>
#
# Print the sums of the rows and of the columns of what comes back, for a batch of three rows and then for one row.
# </details>
# <details><summary>Hint 2: the nan</summary>
#
# Multiply X by 1000. What is the largest number that goes into exp? If you shift by one maximum for the whole batch,
# what happens to a row whose logits all lie 1000 below it?
# </details>
# <details><summary>Hint 3: the repair</summary>
#
# Shift Z by `Z.max(axis=1, keepdims=True)` before exp, and divide by `E.sum(axis=1, keepdims=True)`.
# </details>

# %% check="predict_proba"
with check("predict_proba"):
    X, W, b = np.array([[0.0], [1.0]]), np.array([[np.log(2.0), 0.0, 0.0]]), np.zeros(3)
    expect_close(
        predict_proba(X, W, b),
        [[1 / 3, 1 / 3, 1 / 3], [0.5, 0.25, 0.25]],
        rtol=1e-12,
        mistakes={"The columns sum to 1, not the rows.": np.array([[1 / 3, 0.5, 0.5], [2 / 3, 0.5, 0.5]])},
    )
    expect_close(
        predict_proba(X[1:], W, b), [[0.5, 0.25, 0.25]], rtol=1e-12, hint="a row alone must get the same answer"
    )
    expect_close(
        predict_proba(np.array([[1000.0], [-2000.0]]), np.array([[1.0, 1.0, 0.0]]), np.zeros(3)),
        [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]],
        atol=1e-12,
        hint="overflow or underflow: each row must be shifted by its own maximum",
    )

# %% [markdown]
# ### Can the probabilities be believed? `expected_calibration_error` (extra, 15 minutes)
#
# Of all the days on which a forecaster says "80%", it should rain on 80%. Sort the predictions into $B$ bins of equal
# width by their **confidence**, the largest probability of the row, and compare in each bin the mean confidence with
# the share of rows that were right. The **expected calibration error** is the mean gap, weighted by how many rows a bin
# holds:
#
# $$\mathrm{ECE} = \sum_{\beta=1}^{B} \frac{m_\beta}{m}
# \,\bigl|\,\text{accuracy}_\beta - \text{confidence}_\beta \bigr| .$$


# %% exercise="expected_calibration_error" points=2 minutes=15 extra=true
def expected_calibration_error(P: np.ndarray, y: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error of the predicted classes.

    P: (m, C) probabilities from 0 to 1, float64 or float32, m >= 1; y: (m,) integers from 0 to
      C - 1. A row's prediction is its largest entry (the first where several tie) and its
      confidence is that entry.
    bins: intervals of width 1/bins, each closed on the right: bin i, from 1 to bins, holds the
      confidences c with (i - 1)/bins < c <= i/bins. Empty bins count nothing. Compare c with i/bins
      or c * bins with i, in either precision: no confidence in the tests lies so near an edge that
      rounding decides.

    Returns one number from 0 to 1. Leaves P and y as they are.
    """
    ### BEGIN SOLUTION
    confidence = P.max(axis=1)
    bin_of = np.ceil(confidence * bins).astype(int)
    # n_bin (accuracy - confidence) is a difference of two sums, so no bin is divided by its size.
    gap = np.bincount(bin_of, weights=P.argmax(axis=1) == y)
    gap -= np.bincount(bin_of, weights=confidence)
    return float(np.abs(gap).sum() / len(P))
    ### END SOLUTION


# %% [markdown] hints="expected_calibration_error"
# <details><summary>Hint 1: the bins</summary>
#
# `np.ceil(confidence * bins)` is the number of the bin, from 1 to bins. A loop over the bins with a mask is fine.
# </details>
# <details><summary>Hint 2: empty bins</summary>
#
# The mean of nothing is nan: skip a bin with no rows. Or notice that m_β cancels: each bin contributes
# |number right − sum of the confidences| / m, which is 0 where it is empty.
# </details>
# <details><summary>Hint 3: nearly all of it</summary>
#
# With `hit = P.argmax(axis=1) == y` and the bins of hint 1: for each bin that holds rows, add the number of its rows /
# m times |mean of hit − mean of confidence|.
# </details>

# %% check="expected_calibration_error"
with check("expected_calibration_error"):
    P = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    y = np.array([0, 1, 1, 0])
    # Bins of width 1/4: (0.5, 0.75] holds the 0.6, right; (0.75, 1] holds 0.9, 0.9, 0.8, of which two are right.
    right = (abs(1 - 0.6) + abs(2 - 2.6)) / 4
    expect_close(
        expected_calibration_error(P, y, bins=4),
        right,
        rtol=1e-12,
        mistakes={
            "You gave each bin the same weight: weigh it by its rows.": (abs(1 - 0.6) + abs(2 - 2.6) / 3) / 2,
            "You compared the whole with the whole, without bins.": abs(3 / 4 - 3.2 / 4),
            "You took the probability of the right class, not of the predicted one.": (0.1 + 0.4 + abs(2 - 1.7)) / 4,
        },
    )
    expect_close(
        expected_calibration_error(np.array([[0.5, 0.5], [0.75, 0.25]]), np.array([0, 1]), bins=2),
        (abs(1 - 0.5) + abs(0 - 0.75)) / 2,
        rtol=1e-12,
        hint="0.5 belongs to the bin below it (closed on the right), and ties predict the first class",
    )

# %% tags=["demo"]
logits, answers = digit_logits, digits.y[test]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
edges = np.linspace(0, 1, 11)
left.plot([0, 1], [0, 1], "k--", lw=1, label="perfectly calibrated")
for temperature in (0.2, 1.0, 3.0):
    P = softmax(logits / temperature)
    confidence, hit = P.max(axis=1), P.argmax(axis=1) == answers
    inside = [(confidence > low) & (confidence <= high) for low, high in pairwise(edges)]
    points = np.array([(confidence[i].mean(), hit[i].mean()) for i in inside if i.sum() >= 5])
    left.plot(*points.T, "o-", label=f"temperature {temperature:g}: ECE {expected_calibration_error(P, answers):.3f}")
left.set(
    xlabel="confidence", ylabel="share that was right", title="Reliability of the digits model (bins of 5 rows or more)"
)
left.legend()
temperatures = np.logspace(-1, 0.5, 41)
best_fit = min(temperatures, key=lambda t: cross_entropy(logits / t, answers))
plotting.curves(
    {
        "cross-entropy": (temperatures, [cross_entropy(logits / t, answers) for t in temperatures]),
        "ECE": (temperatures, [expected_calibration_error(softmax(logits / t), answers) for t in temperatures]),
    },
    xlabel="temperature",
    logx=True,
    ax=right,
)
right.axvline(best_fit, color="0.6", lw=1)
right.set_title(f"Lowest cross-entropy at temperature {best_fit:.2f}")
plt.show()

# %% [markdown]
# Dividing all logits by one temperature changes no prediction, and can change how far they may be believed. Fitted on
# held-out rows by the cross-entropy, it is the standard repair (Guo et al., 2017). This small model, held back by its
# penalty, is *less* sure than it should be; large networks trained for long are mostly too sure. Read an ECE with care:
# on a few hundred rows it is noisy, it depends on the bins, and a model that always answers with the class frequencies
# has an excellent one.

# %% [markdown]
# ## Scale it
#
# ### Exercise 8 · A sum that never sees all its terms: `online_logsumexp` (3 points, 20 minutes)
#
# A language model scores every word of its vocabulary at every position. With $V = 10^6$ words and 2,000 positions the
# logits alone are 8 GB in float32. But the loss needs only two numbers a row, $\operatorname{LSE}(z)$ and $z_y$, and
# the first can be had in one pass over chunks of the vocabulary. Keep, for each row, the largest logit so far, $t$, and
# $s = \sum e^{z_j - t}$ over what has been seen. When a chunk raises the maximum to $t'$, the old sum was measured
# against the wrong reference, and one multiplication mends it:
#
# $$s \leftarrow s\, e^{t - t'} + \sum_{j \in \text{chunk}} e^{z_j - t'}, \qquad t \leftarrow t'.$$
#
# FlashAttention rests on this very step: with a third running quantity, $\sum_j e^{z_j - t} v_j$, rescaled by the same
# factor, softmax-weighted averages come out of a single pass too, and the matrix of attention weights is never
# stored. Module 12 builds it.


# %% exercise="online_logsumexp" points=3 minutes=20 forbids=["scipy.special", "torch.logsumexp", ".logsumexp"]
def online_logsumexp(chunks: Iterable[np.ndarray]) -> np.ndarray:
    """Row-wise log(sum(exp(Z))) of a matrix Z, (m, V), that arrives as blocks of columns.

    chunks: an iterable of arrays (m, c), all with the same m >= 1; c differs from chunk to chunk
      and may be 0. It may be a generator: go through it once, be done with a chunk's numbers when
      you ask for the next, since the producer may reuse the buffer, and collect no chunks, since
      memory must not grow with V. A plain for loop does all of this. Do not change a chunk.
      Entries are finite or -inf. A row of nothing but -inf, or of nothing at all because every c is
      0, gives -inf (there NumPy may warn of log(0)); only the first chunks may be so, too.

    Returns (m,) float64, accumulated in float64 whatever the dtype of the chunks. Right for entries
    up to 1e300 in size; rounding may cost a unit in the last place for each column.
    Raises ValueError where there is no chunk at all.
    Not allowed: scipy.special, torch.logsumexp, the .logsumexp of anything.
    """
    ### BEGIN SOLUTION
    lowest = np.finfo(np.float64).min
    top = s = None
    for chunk in chunks:
        Z = np.asarray(chunk, dtype=np.float64)
        if top is None:
            top, s = np.full(len(Z), lowest), np.zeros(len(Z))
        new = np.max([top, Z.max(axis=1, initial=lowest)], axis=0)
        s = s * np.exp(top - new) + np.exp(Z - new[:, None]).sum(axis=1)
        top = new
    if top is None:
        raise ValueError("there is no chunk, so not even the number of rows is known")
    return top + np.log(s)
    ### END SOLUTION


# %% [markdown] hints="online_logsumexp"
# <details><summary>Hint 1: what to keep</summary>
#
# Two arrays of shape (m,): the largest entry so far, and the sum of exp(entry − largest so far). The answer is top +
# log(s).
# </details>
# <details><summary>Hint 2: when the maximum rises</summary>
#
# Compute the new maximum first, then multiply the old sum by exp(old maximum − new maximum), which is at most 1.
# </details>
# <details><summary>Hint 3: −inf and empty chunks</summary>
#
# If top starts at −inf and a chunk holds only −inf, the difference of the two maxima is nan. Let it start at the lowest
# finite number instead, `np.finfo(np.float64).min`. `Z.max(axis=1, initial=...)` works for a chunk with no columns.
# </details>

# %% check="online_logsumexp"
with check("online_logsumexp", forbids=["scipy.special", "torch.logsumexp", ".logsumexp"]):
    first, second = np.log([[1.0, 2.0], [5.0, 1.0]]), np.log([[3.0], [6.0]])
    expect_close(
        online_logsumexp(chunk for chunk in (first, second)),
        np.log([6.0, 12.0]),
        rtol=1e-12,
        mistakes={
            "Only the last chunk counts.": np.log([3.0, 6.0]),
            "You did not rescale the old sum when the maximum rose.": np.log([3.0, 6.0]) + np.log([1 + 1.5, 1 + 1.2]),
        },
    )
    expect_close(
        online_logsumexp([np.array([[-1000.0, 1000.0]]), np.array([[1000.0]])]),
        [1000 + np.log(2)],
        rtol=1e-12,
        hint="the first chunk holds the maximum already",
    )
    with np.errstate(divide="ignore"):
        masked = online_logsumexp([np.array([[-np.inf]]), np.zeros((1, 0)), np.array([[0.0]])])
    expect_close(masked, [0.0], atol=1e-12, hint="a first chunk of -inf, or one with no columns: see Hint 3")
    with expect_raises(ValueError, hint="no chunk at all"):
        online_logsumexp([])

# %% [markdown]
# ### What it costs
#
# Time first, for 8 rows and a growing vocabulary. All four count the same exponentials, so all should have slope 1.
# Where they do not, look at the memory: an array that has outgrown the processor's cache, and its temporary copies,
# travel to main memory and back once for the maximum, once for the difference, once for exp and once for the sum. A
# block of columns stays in the cache through all four.


# %% tags=["demo"]
def in_chunks(Z, width=8192):
    """The columns of Z, block by block, without a copy."""
    return (Z[:, start : start + width] for start in range(0, Z.shape[1], width))


cores = torch.get_num_threads()
torch.set_num_threads(1)  # NumPy's exp runs on one core, so torch's does, too
timing = scaling.measure(
    {
        "logsumexp": lambda Z: logsumexp(Z, axis=1),
        "online_logsumexp": lambda Z: online_logsumexp(in_chunks(Z)),
        "scipy": lambda Z: scipy.special.logsumexp(Z, axis=1),
        "torch": lambda Z: torch.logsumexp(torch.from_numpy(Z), dim=1),
    },
    sizes=[1_000, 10_000, 100_000, 1_000_000][: demo_size(full=4, small=3)],
    setup=lambda V: (np.random.default_rng(0).normal(size=(8, V)),),
    budget=3.0,
    label="vocabulary V",
)
torch.set_num_threads(cores)
timing.plot(peer="torch")
plt.show()
timing.table()

# %% [markdown]
# Memory is the point. Here is the loss of a language model's last layer, $Z = HW$ with hidden states $H$, $(m, d)$, and
# word vectors $W$, $(d, V)$. Once with all the logits at hand; once with your function, fed by a generator that makes
# the logits of a block of words, hands them over and forgets them. The loss is the same but for the rounding of the
# float32 product; the peak follows the width of a block.

# %% tags=["demo"]
V = demo_size(full=1_000_000, small=50_000)
rows, width_of_h = 16, 32
draw = np.random.default_rng(0)
H = draw.normal(size=(rows, width_of_h)).astype(np.float32)
words = draw.normal(size=(width_of_h, V)).astype(np.float32)
y = draw.integers(0, V, rows)
logit_of_y = np.sum(H * words[:, y].T, axis=1, dtype=np.float64)


def all_at_once():
    return cross_entropy(H @ words, y)


def by_blocks(width):
    blocks = (H @ words[:, start : start + width] for start in range(0, V, width))
    return np.mean(online_logsumexp(blocks) - logit_of_y)


def peak_and_seconds(function):
    """What a call returns, its peak of new memory in MB, and its seconds."""
    tracemalloc.start()
    start = time.perf_counter()
    value = function()
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return value, peak, seconds


widths = [2**k for k in (8, 11, 14, 17) if 2**k < V]
measured = {"all at once": peak_and_seconds(all_at_once)}
measured |= {f"blocks of {width:,}": peak_and_seconds(lambda w=width: by_blocks(w)) for width in widths}
print(f"{rows} rows, a vocabulary of {V:,}")
for name, (value, peak, seconds) in measured.items():
    print(f"{name:>18}: loss {value:.9f}   peak {peak:8.1f} MB   {seconds:.2f} s")

figure, panel = plt.subplots(figsize=(6.5, 3.6))
panel.loglog(widths, [peak for _, peak, _ in list(measured.values())[1:]], "o-", label="online, peak MB")
panel.axhline(measured["all at once"][1], color="k", ls="--", label="all logits at once")
panel.set(xlabel="words in a block", ylabel="MB", title="Memory follows the block, not the vocabulary")
panel.legend()
plt.show()

# %% [markdown]
# ### Many machines
#
# When even $W$ does not fit, each machine keeps a slice of the vocabulary. It computes the LSE of its own slice, and
# those are merged: $\operatorname{LSE}$ of the whole is the LSE of the parts' LSEs, in any order and any grouping. One
# number a row travels instead of a slice of logits. This is how Megatron-LM computes its loss (Shoeybi et al., 2019),
# and merging in any order is what a combiner in MapReduce or an all-reduce needs.

# %% tags=["demo"]
workers = 4
slices = np.array_split(np.arange(V), workers)
parts = np.stack([online_logsumexp([H @ words[:, s[0] : s[-1] + 1]]) for s in slices], axis=1)  # (rows, workers)
whole = logsumexp(np.asarray(H @ words, dtype=np.float64), axis=1)
print(f"merged in order:  largest difference {np.abs(logsumexp(parts, axis=1) - whole).max():.1e}")
print(f"merged backwards: largest difference {np.abs(logsumexp(parts[:, ::-1], axis=1) - whole).max():.1e}")
print(f"sent by each worker: {8 * rows:,} bytes, instead of {4 * rows * V // workers:,} bytes of logits")

# %% [markdown]
# ### On the best device that this machine has
#
# The same pass in PyTorch, in two precisions: 16 bits for the product, and float32 for the running maximum and sum, as
# is usual on a GPU. Here each operation still writes its block to the device's memory, and the next one reads it back.
# FlashAttention and the fused kernels for the cross-entropy do all of it in one go, in the fast memory on the chip,
# which is where most of their speed comes from.

# %% tags=["demo"]
best = device.best()


def torch_online_logsumexp(H, W, width):
    """(top, s) over blocks of columns of H W, in float32 accumulation, whatever the dtype of H and W."""
    top = torch.full((len(H),), -torch.inf, device=H.device)
    s = torch.zeros(len(H), device=H.device)
    for start in range(0, W.shape[1], width):
        Z = (H @ W[:, start : start + width]).float()
        new = torch.maximum(top, Z.amax(dim=1))
        s = s * torch.exp(top - new) + torch.exp(Z - new[:, None]).sum(dim=1)
        top = new
    return top + torch.log(s)


torch_rows = demo_size(full=16, small=8, gpu=4096)
torch_words = torch.from_numpy(words).to(best)
torch_hidden = torch.randn(torch_rows, width_of_h, generator=torch.Generator().manual_seed(0)).to(best)
exact = None
for dtype in (torch.float32, torch.bfloat16):
    h, w = torch_hidden.to(dtype), torch_words.to(dtype)
    torch_online_logsumexp(h, w[:, :32_768], 16_384)  # to warm up
    with device.timer(best) as took:
        value = torch_online_logsumexp(h, w, 16_384)
    exact = value if exact is None else exact
    print(
        f"{best:>6} {dtype!s:>15}: {torch_rows:,} rows x {V:,} words in {took.seconds:.3f} s, "
        f"{torch_rows * V / took.seconds:.2g} logits a second, within {(value - exact).abs().max():.1e} of float32"
    )

# %% [markdown]
# ### Where it breaks
#
# The shift cures overflow, not the precision of the *sum*. A running sum stops growing once each new term is at most
# half the gap between neighbouring numbers: in float16 a million ones add up to 2,048, in float32 a sum of ones
# ends at 16,777,216. That is why the exercise accumulates in float64, why GPU kernels multiply in 16 bits and
# accumulate in 32, and why NumPy and PyTorch add pairwise within a block.
#
# And no rearrangement removes the work: every step of training still touches all $V$ columns. Beyond some millions of
# classes (advertisements, products, people) one samples the classes (sampled softmax, noise-contrastive estimation) or
# arranges them in a tree (hierarchical softmax), and accepts another, biased or noisier, gradient.

# %% tags=["demo"]
for dtype, full in ((np.float16, 4_096), (np.float32, 2**24 + 4_096)):
    terms = demo_size(full=full, small=4_096)
    total = np.add.accumulate(np.ones(terms, dtype=dtype))[-1]
    print(f"{dtype.__name__}: {terms:,} ones, added one after another, make {total:,.0f}")

# %% [markdown] written="why_logits" points=2
# **Written question (2 points).** A colleague's classifier ends in a softmax layer, and its loss is clipped:
# `-np.log(np.clip(P, 1e-12, 1))`. Training stalls: a few hundred badly misclassified rows never improve, although the
# learning rate is fine. Explain what the gradient of this loss is on such a row, through the clip and through the
# softmax, and what it is when the loss is computed from the logits. Then say what else the logits make unnecessary.
#
# ### BEGIN SOLUTION
# On such a row p_y lies below 1e-12, so the clipped loss is the constant 27.63 and its gradient is exactly 0: the row
# is silent because the model is wrong about it. (Without the clip, 1/p_y grows without bound while the softmax's
# derivative p_y(1 − p_y) shrinks to 0; their product is right on paper and 0 · inf = nan in floating point.) From the
# logits the gradient is p − e_y: about −1 at the right class and +1 spread over the others, the strongest signal that
# any row can send. No probabilities need to be formed, no epsilon has to be chosen, and one pass over the row gives
# both the loss and the gradient.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. Gradient descent took far more steps than scikit-learn's L-BFGS. How many does Nesterov's method
#    of module 01 need, and how does the answer depend on λ?
# 2. ECE changes with the number of bins, and is above 0 even for a perfectly calibrated model on finitely many rows.
#    How far above, for yours? (Draw labels from the model's own probabilities and see.)
# 3. The gradient of the chunked loss can be made in a second pass over the chunks. What must be kept from the first
#    one, and what does it cost in arithmetic compared with storing the logits?
# 4. Softmax can give no class the probability 0. When would you want it to, and what would replace exp?
# 5. Label smoothing improves accuracy and calibration in many papers, and makes the network a worse teacher for another
#    one. What information does it erase from the logits?
#
# References:
#
# - J. S. Bridle, "Probabilistic interpretation of feedforward classification network outputs, with relationships to
#   statistical pattern recognition", in *Neurocomputing*, Springer, 1990. Where the name softmax comes from, and why
#   the outputs of a network should be probabilities at all.
# - P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and softmax functions", *IMA
#   Journal of Numerical Analysis*, 2021. Error bounds for the shifted formulas of exercises 2 to 4.
# - C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception architecture for computer
#   vision", CVPR 2016. Section 7 introduces label smoothing.
# - R. Müller, S. Kornblith and G. Hinton, "When does label smoothing help?", NeurIPS 2019. What smoothing does to the
#   layer before the logits; read it for question 5.
# - C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On calibration of modern neural networks", ICML 2017. Shows how far
#   accuracy and calibration have parted, and that one temperature repairs most of it.
# - M. Milakov and N. Gimelshein, "Online normalizer calculation for softmax", arXiv:1805.02867, 2018. Exercise 8,
#   with its memory traffic counted.
# - T. Dao, D. Fu, S. Ermon, A. Rudra and C. Ré, "FlashAttention: fast and memory-efficient exact attention with
#   IO-awareness", NeurIPS 2022. The same step inside attention; module 12 builds it.
# - M. Shoeybi, M. Patwary, R. Puri, P. LeGresley, J. Casper and B. Catanzaro, "Megatron-LM: training multi-billion
#   parameter language models using model parallelism", arXiv:1909.08053, 2019. The loss over a vocabulary that is split
#   among GPUs, fused with the product so that little has to travel.
# - E. Wijmans, B. Huval, A. Hertzberg, V. Koltun and P. Krähenbühl, "Cut your losses in large-vocabulary language
#   models", ICLR 2025. The chunked loss and its gradient as one GPU kernel.
#
# At work: `torch.nn.functional.cross_entropy` (logits in, never probabilities), `scipy.special.logsumexp` and
# `scipy.special.log_expit`, scikit-learn's `LogisticRegression` and `CalibratedClassifierCV`.
