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
# **What you will be able to do.**
#
# - Turn any row of real numbers into probabilities, whether the numbers are near 1 or near 10,000.
# - Derive the gradient of the cross-entropy in two lines, and explain why it is so short.
# - Fit a classifier of digits that agrees with scikit-learn's, and measure whether its probabilities can be believed.
# - Compute the loss of a language model and its gradients without ever holding all the logits in memory.
#
# **You need** module 01 (gradient descent), matrix products, and the derivatives of exp and log.
#
# **Skills it trains**: floating-point reasoning, maximum likelihood, deriving a gradient, convex optimisation, honest
# evaluation, one-pass algorithms.
#
# **Time**: about four hours. Three of them go into eight exercises and a bug to find. Two more exercises are optional.
#
# **The rule of this module**: you write every function with NumPy. scipy, scikit-learn and PyTorch have most of these
# functions already; here they are the peers that you compare yours with.
#
# **Symbols used everywhere**
#
# | symbol | in code | shape | meaning |
# | --- | --- | --- | --- |
# | $m$, $d$ | `m`, `d` | | rows (examples, or positions in a text), and features |
# | $C$, $V$ | `C`, `V` | | classes; $V$ where the classes are the words of a vocabulary |
# | $X$ | `X` | $(m, d)$ | the data, one example per row; in a language model the states before the last layer |
# | $y$ | `y` | $(m,)$ | the right classes, integers from 0 to $C - 1$ |
# | $Z$ | `Z` | $(m, C)$ | logits: one real score for each row and class; $z$ is one row of it |
# | $P$ | `P` | $(m, C)$ | probabilities, each row summing to 1; $p$ is one row of it |
# | $W$, $b$ | `W`, `b` | $(d, C)$, $(C,)$ | weights and biases: $Z = XW + b$ |
# | $\varepsilon$ | `label_smoothing` | | the share of a label that is spread over all classes |
# | $\lambda$ | `l2` | | the penalty on large weights |
# | $t$, $s$ | `top`, `s` | $(m,)$ | the largest logit of a row, and $\sum_j e^{z_j - t}$ |

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

import tracemalloc
from collections.abc import Iterable
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from lsml_utils import checking, datasets, demo_size, device, plotting, scaling
from lsml_utils.checking import check, expect_close, expect_dtype, expect_raises, expect_shape, expect_unchanged

plotting.use()
checking.start("03_softmax", total=11)


def as_float(values) -> np.ndarray:
    """The values as an array: float32 stays float32, all else (integers too) becomes float64."""
    values = np.asarray(values)
    return values if values.dtype == np.float32 else values.astype(np.float64)


# %% [markdown]
# ## Derive
#
# ### From scores to probabilities
#
# A linear model, or the last layer of a network, gives a row of scores $z \in \mathbb R^C$, one for each class. The
# scores may be any real numbers. Probabilities must be positive and sum to 1. So make the scores positive with exp, and
# divide by their sum:
#
# $$p_k = \operatorname{softmax}(z)_k = \frac{e^{z_k}}{\sum_j e^{z_j}}, \qquad
# \log p_k = z_k - \operatorname{LSE}(z), \qquad \operatorname{LSE}(z) = \log \sum_j e^{z_j}.$$
#
# The scores are called **logits**. The name comes from the case of two classes with scores $(z, 0)$: there softmax is
# the logistic sigmoid $p = \sigma(z) = 1 / (1 + e^{-z})$, and $z = \log\frac{p}{1-p}$ is the log of the odds.
#
# Add the same number $c$ to every score of a row. The numerator and the denominator are both multiplied by $e^c$, so
# the probabilities do not change:
#
# $$\operatorname{softmax}(z + c) = \operatorname{softmax}(z), \qquad
# \operatorname{LSE}(z + c) = \operatorname{LSE}(z) + c.$$
#
# So we may choose $c$ freely, and we choose the $c$ that makes the arithmetic safe.
#
# ### What a float can hold
#
# $e^z$ overflows to `inf` beyond $z \approx 709.8$ in float64, $88.7$ in float32 and $11.1$ in float16. Far below zero
# it underflows to 0. The formula above then gives `inf/inf = nan`, or `log(0) = -inf`. Take $c = -\max_j z_j$:
#
# - The largest exponent is now 0, so nothing overflows.
# - The sum lies between 1 and $C$, so its log is harmless.
# - A term that still underflows is too small, beside the largest term 1, to change the sum.
#
# The bounds on the sum also show that
#
# $$\max_j z_j \;\le\; \operatorname{LSE}(z) \;\le\; \max_j z_j + \log C.$$
#
# LSE is a smooth version of the maximum. Its slope, $\partial \operatorname{LSE} / \partial z_k = p_k$, is the softmax.
# The next figure shows both, and where the formula fails when you compute it as it is written.

# %% tags=["demo"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8))
z = np.linspace(-6, 6, 400)
left.plot(z, np.maximum(z, 0), "k--", label="max(z, 0)")
left.plot(z, np.log(np.exp(z) + 1), label="LSE(z, 0)")
left.plot(z, 1 / (1 + np.exp(-z)), label="its slope: softmax, here σ(z)")
left.set(xlabel="z", title="LSE is a smooth maximum")
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
# Maximum likelihood asks for the parameters that make the observed labels most probable. For independent rows these
# parameters minimise the mean of $-\log p_{y}$, the **cross-entropy**:
#
# $$\ell(z, y) = -\log \operatorname{softmax}(z)_y = \operatorname{LSE}(z) - z_y .$$
#
# The right-hand side holds no probability. So you do not have to compute one, clip it or take its log. The gradient
# needs one line, because you know the slope of LSE already:
#
# $$\frac{\partial \ell}{\partial z} = p - e_y, \qquad
# e_y = \text{the row with a 1 at class } y \text{ and 0 elsewhere}.$$
#
# The gradient is the prediction minus the observation. Each entry lies between −1 and 1, however large the logits are.
# Each row of the gradient sums to 0, because adding a constant to a row of logits does not change the loss.
#
# Differentiate once more: the Hessian in $z$ is $\nabla^2 \ell = \operatorname{diag}(p) - p p^\top$. For any vector
# $u$, the number $u^\top \nabla^2 \ell\, u = \sum_k p_k u_k^2 - (\sum_k p_k u_k)^2$ is the variance of a random
# variable that equals $u_k$ with probability $p_k$. Two facts follow.
#
# - A variance is never negative, so the loss is **convex** in $z$.
# - A random variable between $\min u$ and $\max u$ has a variance of at most $(\max u - \min u)^2 / 4$. This is at most
#   $\tfrac12 \|u\|^2$. So the curvature is at most $\tfrac12$. This bound will give a step size that needs no tuning.
#
# ### Where tutorials disagree
#
# - **The axis.** The probabilities of one *row* sum to 1. `exp(Z) / exp(Z).sum()` sums over the whole batch,
#   `sum(axis=0)` over the rows. Both run without an error, and in both a prediction depends on the other rows of the
#   batch.
# - **The shift** is the maximum of each row. The maximum of the whole batch prevents overflow as well, but then a row
#   that lies 800 below it underflows to 0/0.
# - **Clipping.** `-log(clip(p, 1e-12, 1))` is not a safe cross-entropy. It is never more than
#   $-\log 10^{-12} \approx 27.63$, and its gradient is 0 exactly where the model is most wrong. Compute the loss from
#   logits.
# - **Averaging.** Here, as in PyTorch, "mean" divides by the rows $m$, once. `np.mean` over the product with a one-hot
#   matrix divides by $mC$. Then the loss and every step are $C$ times too small.
# - **Label smoothing.** Szegedy et al. (2016), and PyTorch, spread ε over *all* $C$ classes, the right one too:
#   $q = (1-\varepsilon) e_y + \varepsilon / C$. Some texts spread it over the other $C - 1$. We use the first.

# %% [markdown]
# ## Implement
#
# ### 3.1 `binary_cross_entropy` · essential · level 2 of 4 · 20 min
#
# With two classes one logit $z$ per row is enough: the score of class 1, where class 0 has the score 0. Then
# $p = \sigma(z)$, and
#
# $$\ell(z, y) = -y \log \sigma(z) - (1 - y) \log(1 - \sigma(z)) .$$
#
# The cell holds two functions. They are one exercise, named after the second, and both are tested. The setup cell gives
# you `as_float(values)`: it leaves float32 as it is and makes float64 of everything else.


# %% exercise="binary_cross_entropy" points=2 minutes=20 forbids=["scipy", "sklearn", "torch", "numpy.logaddexp"] trains=["floating-point reasoning", "maximum likelihood"]
def sigmoid(z: np.ndarray) -> np.ndarray:
    """The logistic function 1 / (1 + exp(-z)), elementwise.

    z: numbers (floats, integers, bools) of any shape, also an empty array; or a plain number.

    Returns a new array of the same shape, in the dtype of `as_float(z)`; for a plain number or a 0-d
    array a scalar or a 0-d array. Does not change z.
    Right for every finite z, with no overflow on the way (NumPy would warn). Small results keep
    their digits: sigmoid(-40) is 4.248...e-18. The relative error is at most 1e-12 (1e-5 for
    float32); for results below 1e-300 (1e-36) the absolute error may be 1e-300 (1e-36).
    Not allowed, in either function: scipy, sklearn, torch, numpy.logaddexp.
    """
    ### BEGIN SOLUTION
    z = as_float(z)
    return np.exp(z.clip(max=0)) / (1 + np.exp(-np.abs(z)))
    ### END SOLUTION


def binary_cross_entropy(z: np.ndarray, y: np.ndarray) -> float:
    """Mean of -y log(p) - (1 - y) log(1 - p) over the rows, with p = sigmoid(z).

    z: (m,) logits, m >= 1, floats or integers, up to 1e300 in size.
    y: (m,) labels 0 or 1 (integers, floats or bools), or probabilities between 0 and 1.

    Returns one number, a Python float or a NumPy scalar, computed in float64 whatever the dtypes of
    z and y. Does not change z or y.
    Nothing overflows (NumPy would warn), nothing is clipped: z = 10000 costs 10000 where y is 0. A
    small loss keeps its digits: z = 40 costs 4.248...e-18 where y is 1. The relative error of a
    row's loss is at most 1e-12 where y is 0 or 1; losses below 1e-300 may come out as 0.
    """
    ### BEGIN SOLUTION
    z = np.asarray(z, dtype=np.float64)
    losses = z.clip(min=0) - z * y + np.log1p(np.exp(-np.abs(z)))
    return float(losses.mean())
    ### END SOLUTION


# %% [markdown] hints="binary_cross_entropy"
# <details><summary>Hint 1: the sigmoid</summary>
#
# For z ≥ 0 use 1 / (1 + exp(−z)). For z < 0 multiply numerator and denominator by exp(z). In both cases exp only gets
# numbers ≤ 0. `np.where` evaluates *both* of its branches, so limit the number that goes into exp, not only the result.
# </details>
# <details><summary>Hint 2: the loss</summary>
#
# −log σ(z) = log(1 + exp(−z)), and −log(1 − σ(z)) is that plus z. So the loss is log(1 + exp(−z)) + (1 − y) z. Now
# write log(1 + exp(−z)) so that exp only gets numbers ≤ 0.
# </details>
# <details><summary>Hint 3: nearly the solution</summary>
#
# max(z, 0) − z y + log1p(exp(−|z|)). `log1p(x)` is log(1 + x), and keeps the digits of a tiny x. For the sigmoid, both
# cases of Hint 1 have the denominator 1 + exp(−|z|), and the numerator exp(min(z, 0)).
# </details>

# %% check="binary_cross_entropy"
with check("binary_cross_entropy", forbids=["scipy", "sklearn", "torch", "numpy.logaddexp"]):
    expect_close(
        sigmoid(np.array([0.0, np.log(3.0), -np.log(3.0)])),
        [0.5, 0.75, 0.25],
        rtol=1e-12,
        hint="odds of 3 to 1 are 0.75",
    )
    with np.errstate(over="raise", invalid="raise"):
        expect_close(sigmoid(np.array([-1e4, 1e4])), [0.0, 1.0], atol=1e-300, hint="exp must never see a large number")
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
        hint="a small loss lost its digits: use log1p, see Hint 3",
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
right.set(ylabel="slope", title="Clipped: no gradient where the loss is largest")
plt.show()

# %% [markdown]
# ### 3.2 `logsumexp` · essential · level 2 of 4 · 20 min
#
# Everything else in this module uses this function: the loss is LSE less one logit, and the probabilities are its
# slope. You write it for arrays of any shape and along any axis, because module 12 needs it for blocks of attention
# scores. Shift by the maximum, as in "What a float can hold". Each slice along the axis has its own maximum.


# %% exercise="logsumexp" points=2 minutes=20 forbids=["scipy", "sklearn", "torch", "numpy.logaddexp"] trains=["floating-point reasoning"]
def logsumexp(Z: np.ndarray, axis: int = -1, keepdims: bool = False) -> np.ndarray:
    """log(sum(exp(Z))) along one axis.

    Z: array of floats or integers, one dimension or more, at least one entry along the axis (other
      axes may have length 0). Entries are finite or -inf: a class that is masked out, exp(-inf) = 0.
      A slice of nothing but -inf gives -inf (there NumPy may warn of log(0)).
    axis: the axis that is summed away; negative numbers count from the end.
    keepdims: keep that axis, with length 1.

    Returns a new array without that axis (for one-dimensional Z a scalar or a 0-d array), in the
    dtype of `as_float(Z)`. Does not change Z.
    Right for finite entries up to 1e300 in size (1e38 in float32), also where the slices of Z
    differ by thousands. With n entries along the axis the error is at most
    n * eps * max(1, |largest entry of the slice|), where eps belongs to the dtype.
    Not allowed: scipy, sklearn, torch, numpy.logaddexp.
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
# LSE(z) = c + LSE(z − c) for every number c. Which c keeps exp from overflowing? When Z has several rows, does one c
# suit all of them?
# </details>
# <details><summary>Hint 2: shapes</summary>
#
# `Z.max(axis=axis, keepdims=True)` has a shape that broadcasts against Z. Drop the axis at the very end with
# `squeeze(axis)`, or keep it if keepdims is true.
# </details>
# <details><summary>Hint 3: slices of −inf</summary>
#
# If the maximum itself is −inf, then subtracting it gives −inf − (−inf) = nan. Replace such a maximum by any finite
# number: exp gives zeros, their sum is 0, and log(0) = −inf is the right answer.
# </details>

# %% check="logsumexp"
with check("logsumexp", forbids=["scipy", "sklearn", "torch", "numpy.logaddexp"]):
    Z = np.log(np.array([[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]]))
    right = np.log([6.0, 12.0])
    wrong_axis = np.log([5.0, 6.0, 7.0])
    with expect_unchanged(Z=Z):
        expect_close(logsumexp(Z), right, rtol=1e-12, mistakes={"You summed down the columns.": wrong_axis})
    expect_close(logsumexp(Z, axis=0), wrong_axis, rtol=1e-12, hint="axis=0 sums over the rows")
    expect_shape(logsumexp(Z, axis=1, keepdims=True), (2, 1))
    expect_shape(
        logsumexp(Z[:1], axis=1), (1,), hint="only the axis that was asked for goes; another of length 1 stays"
    )
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

# %% [markdown]
# Multiply all logits by a number $r$ and divide LSE by $r$: the larger $r$, the closer the result is to the maximum. By
# the bounds above it is at most $\log(C) / r$ too large. The next figure shows that this bound is attained.

# %% tags=["demo"]
first, second = np.meshgrid(np.linspace(-2, 2, 161), np.linspace(-2, 2, 161))
stacked = np.stack([first, second, np.zeros_like(first)])  # (3, 161, 161): logits z₁, z₂ and 0, for each point
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
left.contour(first, second, logsumexp(4 * stacked, axis=0) / 4, levels=np.linspace(0, 2, 9))
left.set(xlabel="z₁", ylabel="z₂", aspect="equal", title="LSE(4z₁, 4z₂, 0) / 4: a maximum with round corners")
left.grid(False)
scales = np.logspace(-1, 2, 31)
gap = [np.max(logsumexp(r * stacked, axis=0) / r - stacked.max(axis=0)) for r in scales]
plotting.curves(
    {"largest distance, measured": (scales, gap), "log(3) / r": (scales, np.log(3) / scales)},
    xlabel="r, in LSE(r·z₁, r·z₂, 0) / r",
    ylabel="distance from max(z₁, z₂, 0)",
    title="The bound log(C) / r is attained",
    logx=True,
    logy=True,
    ax=right,
)
plt.show()

# %% [markdown]
# ### 3.3 `softmax` · essential · level 1 of 4 · 10 min
#
# Shift by the maximum again. This time nothing has to be added back: the factor $e^c$ stands in the numerator and in
# the denominator.


# %% exercise="softmax" points=1 minutes=10 forbids=["scipy", "sklearn", "torch", "numpy.logaddexp"] trains=["floating-point reasoning"]
def softmax(Z: np.ndarray, axis: int = -1) -> np.ndarray:
    """exp(Z) / sum(exp(Z)), where each slice along the axis sums to 1.

    Z: array of floats or integers, one dimension or more, finite or -inf, which marks a masked
      class: its probability is exactly 0. Each slice has at least one finite entry; there may be no
      slice at all (another axis of length 0).
    axis: negative numbers count from the end.

    Returns a new array with the shape of Z, in the dtype of `as_float(Z)`. Does not change Z.
    Right for finite entries up to 1e300 in size (1e38 in float32), also where the slices differ by
    thousands. With n entries along the axis, the relative error of a probability p above 1e-300
    (1e-37 in float32) is at most n * eps * (1 + |log p|).
    May use your `logsumexp`, on logits that you have shifted first.
    Not allowed: scipy, sklearn, torch, numpy.logaddexp.
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
# `keepdims=True` leaves an axis of length 1 where you took the maximum or the sum. So the result broadcasts against Z,
# whichever axis it was.
# </details>
# <details><summary>Hint 3: all of it</summary>
#
# Three lines: `Z = as_float(Z)`; `E = np.exp(Z - Z.max(axis=axis, keepdims=True))`; and return E divided by its own sum
# along the same axis, with `keepdims=True`.
# </details>

# %% check="softmax"
with check("softmax", forbids=["scipy", "sklearn", "torch", "numpy.logaddexp"]):
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
        hint="shift each row by its own maximum",
    )
    expect_close(
        softmax(np.array([0.0, -np.inf, 0.0])), [0.5, 0.0, 0.5], atol=1e-12, hint="a masked class has probability 0"
    )
    expect_dtype(softmax(Z.astype(np.float32)), np.float32)

# %% [markdown]
# A model's logits are often divided by a number, the **temperature**, before softmax. Your function shows what it does.

# %% tags=["demo"]
scores = np.array([2.0, 1.0, 0.5, -1.0, -1.5])
temperatures = np.logspace(-1.5, 2, 101)
P = softmax(scores / temperatures[:, None], axis=1)  # (101, 5): a row for each temperature
plotting.curves(
    {f"logit {score:g}": (temperatures, P[:, k]) for k, score in enumerate(scores)},
    xlabel="temperature, by which all logits are divided",
    ylabel="probability",
    title="Low temperature: the largest logit takes all. High: all alike",
    logx=True,
)
plt.show()

# %% [markdown]
# ### 3.4 `log_softmax` · essential · level 2 of 4 · 10 min
#
# People read probabilities; training needs their logarithms. `log(softmax(z))` does not give them: a probability of
# $e^{-800}$ is 0 in float64, and the log of 0 is −inf.
#
# The formula $z - \operatorname{LSE}(z)$ is better, but not good enough. With logits near 10,000 both numbers are near
# 10,000 and their difference is near 1. In float32, neighbouring numbers near 10,000 lie 0.001 apart, so the difference
# is right to three digits at best. Shift first, and then subtract numbers that are themselves small.


# %% exercise="log_softmax" points=2 minutes=10 forbids=["scipy", "sklearn", "torch", "numpy.logaddexp"] trains=["floating-point reasoning"]
def log_softmax(Z: np.ndarray, axis: int = -1) -> np.ndarray:
    """The logarithm of softmax(Z, axis).

    Z: array of floats or integers, one dimension or more, finite or -inf, which marks a masked
      class: its log-probability is -inf. Each slice has at least one finite entry; there may be no
      slice at all (another axis of length 0).
    axis: negative numbers count from the end.

    Returns a new array with the shape of Z, in the dtype of `as_float(Z)`. Does not change Z.
    Finite for every finite entry up to 1e300 in size (1e38 in float32), however small its
    probability, and as exact for Z + 10000 as for Z, also in float32. A result below the precision
    of the dtype, of a probability very near 1, may come out as 0.
    May use your `logsumexp`, on logits that you have shifted first.
    Not allowed: scipy, sklearn, torch, numpy.logaddexp.
    """
    ### BEGIN SOLUTION
    Z = as_float(Z)
    shifted = Z - Z.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    ### END SOLUTION


# %% [markdown] hints="log_softmax"
# <details><summary>Hint 1: no quotient</summary>
#
# The log of the quotient is a difference: z − log Σ e^z. You need no division, and no log of a tiny number.
# </details>
# <details><summary>Hint 2: no cancellation</summary>
#
# Write u = z − max(z) first, and then u − log Σ e^u. The log lies between 0 and log C, so no large number is left.
# </details>
# <details><summary>Hint 3: all of it</summary>
#
# `u = Z - Z.max(axis=axis, keepdims=True)`, and then `u - np.log(np.exp(u).sum(axis=axis, keepdims=True))`.
# </details>

# %% check="log_softmax"
with check("log_softmax", forbids=["scipy", "sklearn", "torch", "numpy.logaddexp"]):
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
).set_title("The same formula on paper, different digits in float32")
plt.show()

# %% [markdown]
# ### 3.5 `cross_entropy` · essential · level 3 of 4 · 25 min
#
# With label smoothing the target of a row is $q = (1-\varepsilon)\, e_y + \varepsilon / C$ instead of $e_y$, and the
# loss is $-\sum_k q_k \log p_k$. Without smoothing, a larger logit of the right class always lowers the loss. With
# smoothing there is a best size, and the figure below the check shows it.


# %% exercise="cross_entropy" points=3 minutes=25 forbids=["scipy", "sklearn", "torch", "numpy.logaddexp"] trains=["floating-point reasoning", "maximum likelihood"]
def cross_entropy(
    Z: np.ndarray, y: np.ndarray, reduction: str = "mean", label_smoothing: float = 0.0
) -> float | np.ndarray:
    """Cross-entropy -sum_k q_k log(p_k) of the rows, with p = softmax(z) and smoothed labels q.

    q = (1 - label_smoothing) one_hot(y) + label_smoothing / C.
    Z: (m, C) logits, m >= 1, C >= 1, floats or integers, finite, up to 1e300 in size.
    y: (m,) integers of any kind, from 0 to C - 1.
    reduction: "mean" (over the m rows) or "sum" returns one number, a Python float or a NumPy
      scalar; "none" returns the (m,) losses of the rows, a new float64 array.
    label_smoothing: from 0 to 1 (not checked here).

    Computed in float64 whatever the dtype of Z. Does not change Z or y. A loss below the precision
    of the logits may come out as 0: [[40, 0]] with y = 0 costs 4e-18, or 0.
    Raises ValueError for another reduction, and for a label below 0 or above C - 1 (NumPy would
    read -1 as the last).
    Builds no (C, C) array and no (m, m) array. May use your `log_softmax` or `logsumexp`.
    Not allowed: scipy, sklearn, torch, numpy.logaddexp.
    """
    ### BEGIN SOLUTION
    Z, y = np.asarray(Z, dtype=np.float64), np.asarray(y)
    m, C = Z.shape
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be mean, sum or none, not {reduction!r}")
    if y.min() < 0 or y.max() >= C:
        raise ValueError(f"labels must lie between 0 and {C - 1}")
    log_p = log_softmax(Z)
    losses = -(1 - label_smoothing) * log_p[np.arange(m), y] - label_smoothing * log_p.mean(axis=1)
    if reduction == "none":
        return losses
    return float(losses.mean() if reduction == "mean" else losses.sum())
    ### END SOLUTION


# %% [markdown] hints="cross_entropy"
# <details><summary>Hint 1: without smoothing</summary>
#
# You need one entry of `log_softmax(Z, axis=1)` from each row: entry y[i] of row i. `log_p[np.arange(m), y]` picks
# them. `log_p[:, y]` is an (m, m) matrix.
# </details>
# <details><summary>Hint 2: with smoothing</summary>
#
# Put q into the sum: it splits into (1 − ε) times the picked entry and ε times the *mean* of the row's
# log-probabilities. You do not need a one-hot matrix.
# </details>
# <details><summary>Hint 3: all of it</summary>
#
# With `log_p = log_softmax(Z)` the losses of the rows are `-(1 - ε) * log_p[np.arange(m), y] - ε * log_p.mean(axis=1)`.
# Check the labels by `y.min()` and `y.max()` first. Then return the losses, their sum or their mean as a float.
# </details>

# %% check="cross_entropy"
with check("cross_entropy", forbids=["scipy", "sklearn", "torch", "numpy.logaddexp"]):
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
    with expect_raises(ValueError, hint="NumPy reads y = -1 as the last class"):
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
).set_title("With smoothing, too large a logit costs more again")
plt.show()

# %% [markdown]
# ### 3.6 `cross_entropy_gradient` · essential · level 3 of 4 · 20 min
#
# Repeat the derivation with $q$ in place of $e_y$: each row of the gradient is $p - q$, and the mean over the rows
# divides it by $m$. You could multiply by the Jacobian of softmax instead, an $(m, C, C)$ array. It gives the same
# numbers, but for $C = 50{,}000$ the Jacobian of a single row takes 20 GB. A third of this exercise's points is for
# doing without it.


# %% exercise="cross_entropy_gradient" points=3 minutes=20 forbids=["scipy", "sklearn", "torch", "functorch"] trains=["deriving a gradient", "floating-point reasoning"]
def cross_entropy_gradient(
    Z: np.ndarray,
    y: np.ndarray,
    label_smoothing: float = 0.0,
) -> np.ndarray:
    """Gradient of cross_entropy(Z, y, "mean", label_smoothing) with respect to Z.

    Z: (m, C) logits, m >= 1, C >= 1, floats or integers, up to 1e300 in size (1e38 in float32).
    y: (m,) integers of any kind, from 0 to C - 1; label_smoothing: from 0 to 1 (neither is checked
      here).

    Returns a new (m, C) array, in the dtype of `as_float(Z)`; you may compute in float32 or float64
    on the way. An entry below the precision of that dtype may come out as 0. This happens at the
    right class where its probability is very near 1. Does not change Z or y.
    Takes no more memory than ten arrays of the size of Z: C may be so large that a (C, C) array for
    a row does not fit.
    May use your `softmax`. Not allowed: scipy, sklearn, torch, functorch.
    """
    ### BEGIN SOLUTION
    m, C = Z.shape
    G = softmax(Z) - float(label_smoothing) / C
    G[np.arange(m), y] -= 1 - label_smoothing
    return G / m
    ### END SOLUTION


# %% [markdown] hints="cross_entropy_gradient"
# <details><summary>Hint 1: without smoothing</summary>
#
# The gradient is probabilities minus one-hot labels, divided by m. Do not build the one-hot matrix: subtract 1 from the
# entries `[np.arange(m), y]` of a new array.
# </details>
# <details><summary>Hint 2: with smoothing</summary>
#
# q is ε/C everywhere, and 1 − ε more at the right class.
# </details>
# <details><summary>Hint 3: all of it</summary>
#
# `G = softmax(Z) - float(ε) / C` is a new array (a NumPy float64 ε would turn float32 into float64). Then `G[np.arange(m), y] -= 1 - ε`, and return `G / m`.
# </details>

# %% check="cross_entropy_gradient"
with check("cross_entropy_gradient", forbids=["scipy", "sklearn", "torch", "functorch"]):
    Z, y = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])), np.array([0, 2])
    right = np.array([[-0.5, 0.25, 0.25], [0.1, 0.8, -0.9]]) / 2
    with expect_unchanged(Z=Z, y=y):
        expect_close(
            cross_entropy_gradient(Z, y),
            right,
            rtol=1e-12,
            mistakes={
                "This is the gradient of the sum: the mean divides by the m rows.": 2 * right,
                "The sign is wrong: it is prediction minus observation.": -right,
                "You divided by m·C: the mean is over the rows only.": right / 3,
            },
        )
    expect_close(
        cross_entropy_gradient(Z[:1], y[:1], label_smoothing=0.3),
        [[-0.3, 0.15, 0.15]],
        atol=1e-12,
        hint="p − q, see Hint 2",
    )
    expect_close(cross_entropy_gradient(np.array([[1e4, -1e4]]), np.array([1])), [[1.0, -1.0]], atol=1e-12)
    expect_dtype(cross_entropy_gradient(Z.astype(np.float32), y), np.float32)

# %% [markdown]
# You can check a gradient against the loss itself: $\bigl(\ell(z + h u) - \ell(z - h u)\bigr) / 2h$. The next cell
# does it with your two functions, for many step sizes $h$. Two errors compete:
#
# - If $h$ is large, the curve bends between the two points. This error grows as $h^2$.
# - If $h$ is small, the two losses are almost equal, and rounding decides. This error grows as (machine precision)/$h$.
#
# The best $h$ lies where the two errors are about equal. In float32 even the smallest error is large, too large to
# tell a right gradient from a slightly wrong one. So **check gradients in float64**.


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
).set_title("A gradient check needs float64")
plt.show()

# %% [markdown]
# ### 3.7 `fit_softmax_regression` · important · level 4 of 4 · 40 min
#
# Put $Z = XW + b$. The chain rule carries the gradient back to the parameters: with $G = \partial J/\partial Z$ from
# 3.6, $\partial J/\partial W = X^\top G$, of shape $(d, C)$, and $\partial J / \partial b$ is the sum of the rows of
# $G$. Add the penalty $\tfrac{\lambda}{2}\|W\|^2$ on the weights, not on the biases:
#
# $$J(W, b) = \frac1m \sum_{i=1}^m \ell(x_i W + b,\, y_i) + \frac{\lambda}{2} \|W\|^2 .$$
#
# Write $\tilde X = [X, \mathbf 1]$, shape $(m, d+1)$, and $\|\tilde X\|_2$ for its largest singular value. The
# curvature in $Z$ is at most $\tfrac12$, so the curvature of $J$ is at most
#
# $$L = \frac{\|\tilde X\|_2^2}{2m} + \lambda,$$
#
# and gradient descent with step $1/L$ lowers the loss at every step, with nothing to tune. A step costs $O(mdC)$
# operations: two products with $X$.
#
# **Is there only one minimum?** If $\lambda > 0$ and every class occurs in $y$, yes: $W$ is unique, and $b$ is unique
# up to a constant that is added to all of its entries. Then any other correct program must find the same model. If a
# class does not occur, there is no minimum. The loss falls for ever as the bias of that class goes to $-\infty$,
# because the biases have no penalty. If $\lambda = 0$ and a plane separates some of the classes from the others, there
# is no minimum either.


# %% exercise="fit_softmax_regression" points=4 minutes=40 forbids=["sklearn", "scipy.optimize", "torch", "functorch"] trains=["maximum likelihood", "convex optimisation"]
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

    X: (m, d), floats or integers, m >= 1, d >= 1.
    y: (m,) integers of any kind, from 0 to classes - 1; a class may have no row.
    l2 >= 0; tol >= 0; max_steps >= 0.

    Starts from zeros. Each step subtracts gradient / L from W and b, where
    L = (largest singular value of X1)² / (2m) + l2, and X1 is X with a column of ones. Stops before
    a step when no entry of the gradient (of W and b) is above tol in absolute value, and after
    max_steps steps.

    Returns (W, b, losses), new objects: W (d, classes) and b (classes,), both float64, and a list or
    1-D array of J before the first step and after each, one entry more than there were steps: for
    max_steps = 0 the one J at zeros. Computed in float64 whatever the dtype of X. Does not change X
    or y.
    May use your `cross_entropy` and `cross_entropy_gradient`.
    Not allowed: sklearn, scipy.optimize, torch, functorch.
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
# <details><summary>Hint 1: the order of the work</summary>
#
# In a loop: logits, loss (append it), gradient, test whether to stop, step. The test comes between the gradient and the
# step, so that no loss is appended for a step that was not taken.
# </details>
# <details><summary>Hint 2: the step</summary>
#
# `np.linalg.norm(X1, 2)` is the largest singular value of X1. Its square is also the last entry of
# `np.linalg.eigvalsh(X1.T @ X1)`.
# </details>
# <details><summary>Hint 3: the penalty</summary>
#
# Its gradient is `l2 * W`, added to that of W alone. If you keep W and b in one array of d + 1 rows, leave the last row
# out of the penalty, in the loss and in the gradient.
# </details>

# %% check="fit_softmax_regression"
with check("fit_softmax_regression", forbids=["sklearn", "scipy.optimize", "torch", "functorch"]):
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
            "L is too large: the square of the singular value is divided by 2m.": -G / (2 * L - 0.1),
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
    f"The loss falls at every step; {accuracy:.1%} of {len(test)} unseen digits are read"
)
plt.show()
plotting.image_grid(W_digits.T.reshape(10, 8, 8), titles=[f"evidence for {k}" for k in range(10)], columns=5)
plt.show()

# %% [markdown]
# ### The peer
#
# scikit-learn's `LogisticRegression` minimises a sum over the rows, `C` $\sum_i \ell_i + \tfrac12\|W\|^2$. With its
# parameter `C` $= 1/(m\lambda)$ this is our $J$ divided by $\lambda$, so it has the same minimum. scikit-learn finds it
# with L-BFGS, which learns the curvature from past gradients. Compare what both pay for: passes over the data. One
# evaluation of the loss and its gradient is one pass. L-BFGS needs about one in an iteration, and far fewer iterations
# than gradient descent has steps. Both run on one core here.

# %% tags=["demo"]
import scipy.special
from sklearn.linear_model import LogisticRegression

l2 = 1e-2
with threadpool_limits(1), device.timer("cpu") as mine:
    W_mine, b_mine, losses = fit_softmax_regression(
        pixels[train], digits.y[train], classes=10, l2=l2, tol=1e-6, max_steps=demo_size(full=4000, small=500)
    )
with threadpool_limits(1), device.timer("cpu") as theirs:
    peer = LogisticRegression(C=1 / (l2 * len(train)), tol=1e-6, max_iter=1000).fit(pixels[train], digits.y[train])
difference = np.abs(softmax(pixels[test] @ W_mine + b_mine) - peer.predict_proba(pixels[test])).max()
print(
    f"gradient descent: {mine.seconds:.2f} s, {len(losses)} passes;   "
    f"scikit-learn: {theirs.seconds:.2f} s, {peer.n_iter_[0]} iterations"
)
print(f"largest difference between the two models' probabilities on unseen digits: {difference:.1e}")

# %% [markdown]
# ### 3.8 `predict_proba` · important · level 2 of 4 · 10 min
#
# **Find the bug.** This function predicts with a fitted model. Its probabilities look plausible, but:
#
# - the same digit gets other probabilities in another batch;
# - a digit in a batch of its own gets probability 1 for every class;
# - with features that nobody scaled, all results are `nan`.
#
# Two things are wrong. Find them and repair them.


# %% exercise="predict_proba" points=2 minutes=10 bug=true trains=["floating-point reasoning"]
def predict_proba(X: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Class probabilities of a softmax regression.

    X: (m, d), m >= 0; W: (d, C), C >= 1; b: (C,); all three float64. The logits are X W + b.

    Returns a new (m, C) float64 array, rows summing to 1. Right for logits up to 1e300 in size, also
    where the rows differ by thousands. Does not change X, W or b. Nothing is forbidden; you may use
    your `softmax`.
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
# Print the sums of the rows and of the columns of the result, for a batch of three rows and then for one row.
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
# ### 3.9 `expected_calibration_error` · optional · level 2 of 4 · 15 min
#
# **Can the probabilities be believed?** Of all the days for which a forecaster says "80%", it should rain on 80%. Sort
# the predictions into bins of equal width by their **confidence**, the largest probability of the row. In each bin
# compare the mean confidence with the share of rows that were right. The **expected calibration error** is the mean
# gap, where a bin $\beta$ with $m_\beta$ rows has the weight $m_\beta / m$:
#
# $$\mathrm{ECE} = \sum_{\beta} \frac{m_\beta}{m}
# \,\bigl|\,\text{accuracy}_\beta - \text{confidence}_\beta \bigr| .$$
#
# This exercise is extra: it is tested, but it gives no points.


# %% exercise="expected_calibration_error" points=2 minutes=15 extra=true trains=["honest evaluation"]
def expected_calibration_error(P: np.ndarray, y: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error of the predicted classes.

    P: (m, C) probabilities from 0 to 1, float64 or float32, m >= 1; y: (m,) integers of any kind,
      from 0 to C - 1. A row's prediction is its largest entry (the first where several tie) and its
      confidence is that entry.
    bins: intervals of width 1/bins, bins >= 1, each closed on the right: bin i, from 1 to bins,
      holds the confidences c with (i - 1)/bins < c <= i/bins. Empty bins add nothing. Compare c
      with i/bins or c * bins with i, in either precision: no confidence in the tests lies so near
      an edge that rounding decides.

    Returns one number from 0 to 1, a Python float or a NumPy scalar. Does not change P or y.
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
# The mean of an empty bin is nan: skip a bin with no rows. Or notice that m_β cancels: each bin contributes
# |number right − sum of the confidences| / m, which is 0 where it is empty.
# </details>
# <details><summary>Hint 3: nearly all of it</summary>
#
# With `hit = P.argmax(axis=1) == y` and the bins of hint 1: for each bin that holds rows, add the number of its rows /
# m times |mean of hit − mean of confidence|.
# </details>

# %% check="expected_calibration_error"
with check("expected_calibration_error"):
    P = np.array([[0.95, 0.05], [0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    y = np.array([0, 1, 1, 0])
    # Bins of width 1/4: (0.5, 0.75] holds the 0.7, right; (0.75, 1] holds 0.95, 0.9, 0.8, of which two are right.
    right = (abs(1 - 0.7) + abs(2 - 2.65)) / 4
    expect_close(
        expected_calibration_error(P, y, bins=4),
        right,
        rtol=1e-12,
        mistakes={
            "You gave each bin the same weight: weigh it by its rows.": (abs(1 - 0.7) + abs(2 - 2.65) / 3) / 2,
            "You compared the whole with the whole, without bins.": abs(3 / 4 - 3.35 / 4),
            "You took the probability of the right class, not of the predicted one.": (
                0.1 + abs(1 - 0.7) + abs(2 - 1.75)
            )
            / 4,
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
errors = np.mean(logits.argmax(axis=1) != answers)
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
    xlabel="confidence", ylabel="share that was right", title="Reliability on unseen digits (bins of 5 rows or more)"
)
left.legend()
temperatures = np.logspace(-2, 0.5, 51)
losses = np.array([cross_entropy(logits / value, answers) for value in temperatures])
calibration = [expected_calibration_error(softmax(logits / value), answers) for value in temperatures]
best_fit = temperatures[losses.argmin()]
plotting.curves(
    {"cross-entropy": (temperatures, losses), "ECE": (temperatures, calibration)},
    xlabel="temperature",
    logx=True,
    logy=True,
    ax=right,
)
right.axhline(errors, color="0.3", ls=":", lw=1.5, label="share of wrong answers")
right.axvline(best_fit, color="0.6", lw=1)
plotting.legend_below(right, columns=3)
right.set_title(f"Lowest cross-entropy at temperature {best_fit:.2f}")
plt.show()
frequencies = np.tile(np.bincount(digits.y[train], minlength=10) / len(train), (len(test), 1))
ece = expected_calibration_error(frequencies, answers)
print(f"a model that always answers with the class frequencies: ECE {ece:.3f}")

# %% [markdown]
# One temperature for all logits changes no prediction, but it changes how sure the model is. The standard repair of a
# badly calibrated model is to choose the temperature with the lowest cross-entropy on held-out rows (Guo et al., 2017).
# If the best temperature in the title is below 1, the model was *less* sure than it should be: its penalty keeps the
# logits small. Large networks that were trained for long are mostly too sure.
#
# **Why ECE stays flat on the left, where the cross-entropy rises.** At a low temperature every confidence is near 1.
# Then all rows fall into the last bin, and its gap is 1 − accuracy, the share of wrong answers (dotted). The ECE cannot
# rise further, because it only sees *how many* confident answers are wrong. The cross-entropy sees *how* wrong they
# are: a wrong row costs the distance between two logits, and dividing all logits by a smaller temperature makes this
# distance grow without bound.
#
# So do not trust an ECE alone. On a few hundred rows it is noisy, it depends on the bins, and the last line above shows
# that a model which has learnt nothing but the class frequencies can have a small one.

# %% [markdown]
# ## Scale it
#
# ### 3.10 `online_logsumexp` · essential · level 3 of 4 · 25 min
#
# A language model scores every word of its vocabulary at every position. With $V = 10^6$ words and 2,000 positions the
# logits alone take 8 GB in float32. But the loss needs only two numbers per row, $\operatorname{LSE}(z)$ and $z_y$, and
# one pass over blocks of the vocabulary gives the first. Keep, for each row, the largest logit so far, $t$, and $s =
# \sum_j e^{z_j - t}$ over the logits so far. When a block raises the maximum to $t'$, every term of the old sum has the
# wrong shift. One multiplication repairs them all:
#
# $$s \leftarrow s\, e^{t - t'} + \sum_{j \in \text{block}} e^{z_j - t'}, \qquad t \leftarrow t'.$$
#
# At the end $\operatorname{LSE}(z) = t + \log s$. Your function returns the pair $(t, s)$, because the pair is what can
# be continued, merged and used again. FlashAttention carries exactly this pair, and a third quantity
# $\sum_j e^{z_j - t} v_j$ that is multiplied by the same factor. So it computes averages with softmax weights in one
# pass, and never stores the matrix of weights. You build it in module 12.
#
# The point of this exercise is memory: an answer that keeps the blocks scores 0.


# %% exercise="online_logsumexp" points=3 minutes=25 forbids=["scipy", "sklearn", "torch", "numpy.logaddexp"] trains=["floating-point reasoning", "one-pass algorithms"]
def online_logsumexp(chunks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Row-wise maximum of a matrix Z, (m, V), and sum of exp(Z - maximum), in one pass over blocks of
    its columns.

    chunks: an iterable of arrays (m, width), floats or integers, all with the same m >= 1; the width
      differs from chunk to chunk and may be 0. It may be a generator: go through it once, finish
      with a chunk before you ask for the next, since the producer may reuse the buffer, and keep no
      earlier chunks, since memory must not grow with V. A plain for loop does all of this. Do not change a
      chunk. Entries are finite, up to 1e300 in size, or -inf.

    Returns (top, s), two new (m,) arrays of float64: top is the largest entry of each row, s the sum
    of exp(entry - top) over the row. So log(sum(exp(Z))) is top + log(s). For a row of nothing but
    -inf, or of nothing at all because every width is 0, top is -inf and s is 0; the first chunks may
    be so while later ones are not.
    Computed in float64 whatever the dtype of the chunks. top is exact; s has a relative error of at
    most one unit in the last place for each column, whatever the size of the entries.
    Raises ValueError where there is no chunk at all.
    Not allowed: scipy, sklearn, torch, numpy.logaddexp.
    """
    ### BEGIN SOLUTION
    lowest = np.finfo(np.float64).min
    top, s = -np.inf, 0  # of each row; arrays from the first chunk on
    for chunk in chunks:
        Z = np.asarray(chunk, dtype=np.float64)
        new = Z.max(axis=1, initial=-np.inf).clip(min=top)
        shift = new.clip(min=lowest)  # finite, because -inf - -inf is nan
        s = s * np.exp(top - shift) + np.exp(Z - shift[:, None]).sum(axis=1)
        top = new
    if np.ndim(top) == 0:
        raise ValueError("there is no chunk, so not even the number of rows is known")
    return top, s
    ### END SOLUTION


# %% [markdown] hints="online_logsumexp"
# <details><summary>Hint 1: what to keep</summary>
#
# Turn each chunk into float64 first. Keep two arrays of shape (m,): the largest entry so far, and the sum of exp(entry − largest so far). A block may raise the
# maximum of some rows and not of others.
# </details>
# <details><summary>Hint 2: when the maximum rises</summary>
#
# Compute the new maximum first, then multiply the old sum by exp(old maximum − new maximum), which is at most 1.
# </details>
# <details><summary>Hint 3: −inf and empty chunks</summary>
#
# If old and new maximum are both −inf, their difference is nan. Subtract `new.clip(min=np.finfo(np.float64).min)`
# instead of the new maximum: it is finite. `Z.max(axis=1, initial=-np.inf)` works for a float chunk with no columns.
# </details>

# %% check="online_logsumexp"
with check("online_logsumexp", forbids=["scipy", "sklearn", "torch", "numpy.logaddexp"]):
    first, second = np.log([[1.0, 2.0], [5.0, 1.0]]), np.log([[3.0], [6.0]])
    top, s = online_logsumexp(chunk for chunk in (first, second))
    expect_close(top, np.log([3.0, 6.0]), rtol=1e-12, hint="top is the largest entry of each row")
    expect_close(
        s,
        [(1 + 2 + 3) / 3, (5 + 1 + 6) / 6],
        rtol=1e-12,
        mistakes={
            "Only the last chunk counts.": np.ones(2),
            "You did not rescale the old sum when the maximum rose.": np.array([1 + 1.5, 1 + 1.2]),
        },
    )
    top, s = online_logsumexp([np.array([[-1000.0, 1000.0]]), np.array([[1000.0]])])
    expect_close(top, [1000.0])
    expect_close(s, [2.0], rtol=1e-12, hint="the first chunk holds the maximum already")
    with np.errstate(divide="ignore"):
        top, s = online_logsumexp([np.array([[-np.inf]]), np.zeros((1, 0)), np.array([[0.0]])])
        expect_close(s, [1.0], atol=1e-12, hint="a first chunk of -inf, or one with no columns: see Hint 3")
        top, s = online_logsumexp([np.array([[-np.inf]])])
        expect_close([top, s], [[-np.inf], [0.0]], hint="nothing but -inf: top is -inf and s is 0")
    top, s = online_logsumexp([first.astype(np.float32)])
    expect_dtype(top, np.float64)
    expect_dtype(s, np.float64)
    with expect_raises(ValueError, hint="there is no chunk at all"):
        online_logsumexp([])

# %% [markdown]
# ### What it costs
#
# First the time, on one core, for 8 rows and a growing vocabulary. All four functions compute about the same number of
# exponentials, so each should have slope 1. Where a slope is larger, memory is the reason. An array that is larger than
# the processor's cache, and each temporary copy of it, travels to main memory and back: for the maximum, for the
# difference, for exp and for the sum. For a large temporary the operating system must also provide new memory in each
# call. A block of columns stays in the cache through all four steps, and its memory is used again for the next block.
#
# For small vocabularies torch is the fastest: it has no Python loop and makes no temporary copies.


# %% tags=["demo"]
def in_chunks(Z, width=8192):
    """The columns of Z, block by block, without a copy."""
    return (Z[:, start : start + width] for start in range(0, Z.shape[1], width))


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
    threads=1,
)
timing.plot(peer="torch")
plt.show()
timing.table()

# %% [markdown]
# Now the memory. Here is the loss of a language model's last layer, $Z = XW$: $X$, $(m, d)$, holds the states before
# the last layer, and $W$, $(d, V)$, the word vectors. The first way computes all the logits. The second uses your
# function, fed by a generator that computes the logits of one block of words at a time. The two losses differ only by
# the rounding of the float32 product. The peak of memory follows the width of a block.

# %% tags=["demo"]
V = demo_size(full=1_000_000, small=50_000)
m, d = 16, 32
draw = np.random.default_rng(0)
X = draw.normal(size=(m, d)).astype(np.float32)
W = draw.normal(size=(d, V)).astype(np.float32)
y = draw.integers(0, V, m)
logit_of_y = np.sum(X * W[:, y].T, axis=1, dtype=np.float64)


def all_at_once():
    return cross_entropy(X @ W, y)


def by_blocks(width):
    top, s = online_logsumexp(X @ W[:, start : start + width] for start in range(0, V, width))
    return np.mean(top + np.log(s) - logit_of_y)


def peak_and_seconds(function):
    """What a call returns, its peak of new memory in MB, and its seconds on one core."""
    tracemalloc.start()
    with threadpool_limits(1), device.timer("cpu") as took:
        value = function()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return value, peak, took.seconds


widths = [2**k for k in (8, 11, 14, 17) if 2**k < V]
measured = {"all at once": peak_and_seconds(all_at_once)}
measured |= {f"blocks of {width:,}": peak_and_seconds(lambda w=width: by_blocks(w)) for width in widths}
print(f"{m} rows, a vocabulary of {V:,}")
for name, (value, peak, seconds) in measured.items():
    print(f"{name:>18}: loss {value:.9f}   peak {peak:8.1f} MB   {seconds:.2f} s")

figure, panel = plt.subplots(figsize=(6.5, 3.6))
panel.loglog(widths, [peak for _, peak, _ in list(measured.values())[1:]], "o-", label="online, peak MB")
panel.axhline(measured["all at once"][1], color="k", ls="--", label="all logits at once")
panel.set(xlabel="words in a block", ylabel="MB", title="Memory follows the block, not the vocabulary")
panel.legend()
plt.show()

# %% [markdown]
# ### 3.11 `blockwise_cross_entropy` · optional · level 3 of 4 · 30 min
#
# **The backward pass.** Training needs more memory than the loss alone: automatic differentiation keeps the logits, or
# the probabilities, until the backward pass has used them. The pair $(t, s)$ makes that unnecessary. By 3.6 and the
# chain rule, with $G = (P - Y) / m$ and $Y$ the one-hot labels,
#
# $$\frac{\partial J}{\partial X} = G W^\top, \qquad \frac{\partial J}{\partial W} = X^\top G .$$
#
# Each column of $G$ needs its own logits and $\operatorname{LSE}$, and nothing else. So go over the blocks a second
# time: compute the logits $X W_\beta$ of block $\beta$ again, turn them into
#
# $$G_\beta = \tfrac1m \bigl( e^{X W_\beta - t - \log s} - Y_\beta \bigr) \quad \text{of shape } (m, \text{width}),$$
#
# add $G_\beta W_\beta^\top$ to $\partial J/\partial X$, write $X^\top G_\beta$ into the columns $\beta$ of $\partial
# J/\partial W$, and forget the block. The price is arithmetic. With stored logits a step costs three products of $mdV$
# multiplications: one for the logits and two for the gradients. Here the logits are computed twice, so it costs four.
# To keep less and compute it again is called **recomputation**; module 08 uses it for whole networks.
#
# This exercise is extra: it is tested, but it gives no points.


# %% exercise="blockwise_cross_entropy" points=3 minutes=30 extra=true forbids=["scipy", "torch", "functorch"] trains=["deriving a gradient", "one-pass algorithms"]
def blockwise_cross_entropy(
    X: np.ndarray, W: np.ndarray, y: np.ndarray, width: int
) -> tuple[float, np.ndarray, np.ndarray]:
    """Mean cross-entropy of the logits X W, and its gradients, a block of columns of W at a time.

    X: (m, d), W: (d, V), float64 or float32, m, d and V >= 1; the logits are up to 1e4 in size.
    y: (m,) integers of any kind, from 0 to V - 1 (not checked here).
    width: columns in a block, >= 1; the last block may be narrower, and width may exceed V.

    Returns (J, dX, dW): the loss as a Python float or a NumPy scalar, and its gradients with respect
    to X, (m, d), and W, (d, V), two new float64 arrays. Computed in float64. Does not change X, W or
    y.
    Takes no more memory than ten arrays of each of the sizes of X, of W and of (m, width). In
    particular it builds no array (m, V).
    May use your `online_logsumexp`. Not allowed: scipy, torch, functorch.
    """
    ### BEGIN SOLUTION
    m, V = len(X), W.shape[1]
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.int64)
    blocks = [slice(start, min(start + width, V)) for start in range(0, V, width)]
    top, s = online_logsumexp(X @ W[:, block] for block in blocks)
    lse, z_y = top + np.log(s), np.sum(X * W[:, y].T, axis=1)
    dX, dW = np.zeros(X.shape), np.empty(W.shape)
    for block in blocks:
        G = np.exp(X @ W[:, block] - lse[:, None])
        (rows,) = np.nonzero((block.start <= y) & (y < block.stop))
        G[rows, y[rows] - block.start] -= 1
        G /= m
        dX += G @ W[:, block].T
        dW[:, block] = X.T @ G
    return float(np.mean(lse - z_y)), dX, dW
    ### END SOLUTION


# %% [markdown] hints="blockwise_cross_entropy"
# <details><summary>Hint 1: two passes</summary>
#
# The first pass is `online_logsumexp` over the blocks `X @ W[:, start : start + width]`, from a generator. It gives the
# LSE of each row. The logit of the right class does not need the blocks: it is the product of a row of X and column
# y of W.
# </details>
# <details><summary>Hint 2: the labels</summary>
#
# A label y lies in the block that starts at `start` if start ≤ y < start + width, and there it is column y − start.
# Find the rows whose label lies in the block, and subtract 1 at those entries only.
# </details>
# <details><summary>Hint 3: the second pass</summary>
#
# For each block: `G = np.exp(X @ W_block - lse[:, None])`, subtract the ones, divide by m. Then `dX += G @ W_block.T`
# and `dW[:, start:stop] = X.T @ G`.
# </details>

# %% check="blockwise_cross_entropy"
with check("blockwise_cross_entropy", forbids=["scipy", "torch", "functorch"]):
    # Two rows, d = 1. Row 0 has the logits log 1 to log 4, so p = (1, 2, 3, 4) / 10; row 1 has zeros, so p = 1/4 each.
    X, W, y = np.array([[1.0], [0.0]]), np.log([[1.0, 2.0, 3.0, 4.0]]), np.array([2, 0])
    with expect_unchanged(X=X, W=W, y=y):
        J, dX, dW = blockwise_cross_entropy(X, W, y, width=2)
    expect_close(J, (np.log(10 / 3) + np.log(4)) / 2, rtol=1e-12, hint="the mean of LSE − z_y over the two rows")
    expect_close(
        dW,
        [[1 / 20, 2 / 20, -7 / 20, 4 / 20]],  # row 1 of X is 0, so only row 0 counts: (p - e_2) / 2
        rtol=1e-12,
        hint="in each block, subtract 1 at column y - start of the block, for the labels that lie in it",
        mistakes={
            "This is the gradient of the sum: the mean divides by the m rows.": np.array([[0.1, 0.2, -0.7, 0.4]]),
            "You did not subtract 1 at the right class.": np.array([[1 / 20, 2 / 20, 3 / 20, 4 / 20]]),
        },
    )
    expect_close(
        dX, cross_entropy_gradient(X @ W, y) @ W.T, rtol=1e-12, hint="dX is the sum of G @ W.T over the blocks"
    )
    for width in (1, 3, 7):
        for one, other in zip(blockwise_cross_entropy(X, W, y, width=width), (J, dX, dW), strict=True):
            expect_close(one, other, rtol=1e-12, hint="the result must not depend on the width")

# %% [markdown]
# The next cell compares one training step with all logits, by your `cross_entropy_gradient`, and by blocks. The
# gradient of $W$ itself has $dV$ numbers and both ways must hold it (dotted). What the blocks save is everything of the
# size $mV$. Look at the seconds, too. The blocks need a third more products, but writing and reading arrays of the size
# $mV$ costs time as well, so the blocks can still be faster.

# %% tags=["demo"]
V = demo_size(full=20_000, small=4_000)
m, d = demo_size(full=512, small=64), 64
draw = np.random.default_rng(1)
X, W = draw.normal(size=(m, d)), draw.normal(size=(d, V)) / np.sqrt(d)
y = draw.integers(0, V, m)


def with_all_logits():
    Z = X @ W
    G = cross_entropy_gradient(Z, y)
    return cross_entropy(Z, y), G @ W.T, X.T @ G


widths = [2**k for k in (6, 8, 10, 12, 14) if 2**k < V]
whole, whole_peak, whole_seconds = peak_and_seconds(with_all_logits)
peaks = []
print(f"{m} rows, a vocabulary of {V:,}; all logits at once: peak {whole_peak:.0f} MB, {whole_seconds:.2f} s")
for width in widths:
    parts, peak, seconds = peak_and_seconds(lambda w=width: blockwise_cross_entropy(X, W, y, w))
    error = max(np.max(np.abs(one - other)) for one, other in zip(parts, whole, strict=True))
    peaks.append(peak)
    print(f"blocks of {width:>6,}: peak {peak:6.1f} MB, {seconds:.2f} s, largest difference {error:.1e}")

figure, panel = plt.subplots(figsize=(6.5, 3.6))
panel.loglog(widths, peaks, "o-", label="by blocks")
panel.axhline(whole_peak, color="k", ls="--", label="all logits at once")
panel.axhline(W.nbytes / 1e6, color="0.4", ls=":", label="the gradient of W alone")
panel.set(xlabel="words in a block", ylabel="peak MB", title="A training step without the matrix of logits")
plotting.legend_below(panel, columns=3)
plt.show()

# %% [markdown]
# ### Many machines
#
# When $W$ does not fit on one machine, each machine keeps a slice of the vocabulary and computes the pair $(t, s)$ of
# its slice. Two pairs are merged like two blocks: the new $t$ is the larger one, and each $s$ is multiplied by $e$ to
# the power of its own $t$ minus the new one. The order and the grouping of the merges do not matter. This is what a
# combiner in MapReduce or an all-reduce needs.
#
# The logit of the right class has to travel too. Only the machine that holds word $y$ can compute $z_y$; the others
# send 0, and a sum gives $z_y$ to all. So each machine sends three numbers per row, instead of its slice of logits.
# Megatron-LM computes its loss in this way (Shoeybi et al., 2019).


# %% tags=["demo"]
def merge(pairs):
    """The pair (t, s) of the whole from the pairs of its parts, in any order."""
    t = np.max([part for part, _ in pairs], axis=0)
    return t, sum(s * np.exp(part - t) for part, s in pairs)


workers, sent = 4, []
for columns in np.array_split(np.arange(V), workers):
    start, stop = columns[0], columns[-1] + 1
    held = (start <= y) & (y < stop)  # the rows whose right word this worker holds
    z_y = np.where(held, np.sum(X * W[:, np.where(held, y, start)].T, axis=1), 0.0)
    sent.append((online_logsumexp([X @ W[:, start:stop]]), z_y))

exact = cross_entropy(X @ W, y)
for name, parts in (("in order", sent), ("backwards", sent[::-1])):
    t, s = merge([pair for pair, _ in parts])
    loss = np.mean(t + np.log(s) - sum(z_y for _, z_y in parts))
    print(f"merged {name:>9}: loss {loss:.12f}, off by {abs(loss - exact):.1e}")
print(f"sent by each worker: {3 * 8 * m:,} bytes, instead of {8 * m * V // workers:,} bytes of logits")

# %% [markdown]
# ### On the fastest device of this machine
#
# The next cell does the same pass in PyTorch, in two precisions: the product in float32 or in 16 bits, the running
# maximum and sum always in float32, as is usual on a GPU. Each operation still writes its block to the device's memory,
# and the next one reads it back. FlashAttention and the fused kernels for the cross-entropy do all steps at once, in
# the fast memory on the chip. Most of their speed comes from this.

# %% tags=["demo"]
best = device.best()


def torch_online_logsumexp(X, W, width):
    """log(sum(exp(X W))) of the rows over blocks of columns, added up in float32 whatever the dtype of X and W."""
    top = torch.full((len(X),), -torch.inf, device=X.device)
    s = torch.zeros(len(X), device=X.device)
    for start in range(0, W.shape[1], width):
        Z = (X @ W[:, start : start + width]).float()
        new = torch.maximum(top, Z.amax(dim=1))
        s = s * torch.exp(top - new) + torch.exp(Z - new[:, None]).sum(dim=1)
        top = new
    return top + torch.log(s)


torch_m, torch_V = demo_size(full=16, small=8, gpu=4096), demo_size(full=1_000_000, small=50_000)
random = torch.Generator().manual_seed(0)
states = torch.randn(torch_m, 32, generator=random).to(best)
words = torch.randn(32, torch_V, generator=random).to(best)
exact = None
for dtype in (torch.float32, torch.bfloat16):
    x, w = states.to(dtype), words.to(dtype)
    torch_online_logsumexp(x, w[:, :32_768], 16_384)  # to warm up
    with threadpool_limits(1), device.timer(best) as took:  # on a CPU: on one core
        value = torch_online_logsumexp(x, w, 16_384)
    exact = value if exact is None else exact
    print(
        f"{best:>6} {dtype!s:>15}: {torch_m:,} rows x {torch_V:,} words in {took.seconds:.3f} s, "
        f"{torch_m * torch_V / took.seconds:.2g} logits a second, within {(value - exact).abs().max():.1e} of float32"
    )

# %% [markdown]
# ### Where it breaks
#
# **Precision.** The shift prevents overflow, but it does not make the *sum* precise. A running sum stops growing once
# each new term is at most half the gap between neighbouring numbers. In float16 a sum of ones ends at 2,048, in float32
# at 16,777,216. For this reason the exercise adds in float64, GPU kernels multiply in 16 bits and add in 32, and NumPy
# adds pairwise along contiguous rows.
#
# **Work.** No rearrangement removes work: every training step still uses all $V$ columns. With many millions of classes
# (advertisements, products, people) this is too much, and there are two ways out. *Sampled softmax* and
# noise-contrastive estimation use a few sampled classes; their gradient is a noisy, and sometimes biased, estimate of
# the one you derived. *Hierarchical softmax* arranges the classes in a tree, and a probability is a product of
# decisions along a path. This is another model, with exact gradients of its own: it costs $O(\log V)$ per label, and
# its quality depends on the tree.

# %% tags=["demo"]
for dtype, full in ((np.float16, 4_096), (np.float32, 2**24 + 4_096)):
    terms = demo_size(full=full, small=4_096)
    total = np.add.accumulate(np.ones(terms, dtype=dtype))[-1]
    print(f"{dtype.__name__}: {terms:,} ones, added one after another, make {total:,.0f}")

# %% [markdown] written="why_logits" points=2
# **Written question (2 points).** A colleague's classifier ends in a softmax layer, and its loss is clipped:
# `-np.log(np.clip(P, 1e-12, 1))`. Training makes no progress: a few hundred badly misclassified rows never improve,
# although the learning rate is fine. Explain what the gradient of this loss is on such a row, through the clip and
# through the softmax, and what it is when the loss is computed from the logits. Then say what else becomes unnecessary
# when you compute from the logits.
#
# ### BEGIN SOLUTION
# On such a row p_y lies below 1e-12, so the clipped loss is the constant 27.63 and its gradient is exactly 0: the model
# gets no signal from the row because it is so wrong about it. (Without the clip, 1/p_y grows without bound while the
# softmax's derivative p_y(1 − p_y) shrinks to 0; their product is right on paper and 0 · inf = nan in floating point.)
# From the logits the gradient is p − e_y: about −1 at the right class and +1 spread over the others, the strongest
# signal that any row can send. No probabilities need to be formed, no epsilon has to be chosen, and one pass over the
# row gives both the loss and the gradient.
#
# ### RUBRIC
# - 0.5: The clipped loss is a constant on such a row, so its gradient is exactly 0 and the row teaches nothing.
# - 0.5: The softmax's derivative $p_y(1 - p_y)$ also vanishes on such a row.
# - 0.5: From the logits the gradient is $p - e_y$: about −1 at the right class, the strongest signal that a row can
#   send.
# - 0.5: No epsilon has to be chosen, and no probabilities have to be formed for the loss.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# Open questions:
#
# 1. Gradient descent took far more passes than scikit-learn's L-BFGS. How many does Nesterov's method of module 01
#    need, and how does the answer depend on λ?
# 2. ECE changes with the number of bins, and is above 0 even for a perfectly calibrated model on finitely many rows.
#    How far above, for yours? (Draw labels from the model's own probabilities and compute it.)
# 3. `blockwise_cross_entropy` computes the logits twice. Split the rows instead of the columns: then one pass is
#    enough. What must fit in memory now, and when is that better?
# 4. Softmax never gives a class the probability 0. When would you want it to, and what would replace exp?
# 5. Label smoothing improves accuracy and calibration in many papers, but a network trained with it is a worse teacher
#    for another network. What information does it remove from the logits?
#
# References:
#
# - J. S. Bridle, "Probabilistic interpretation of feedforward classification network outputs, with relationships to
#   statistical pattern recognition", in *Neurocomputing*, Springer, 1990. Where the name softmax comes from, and why
#   the outputs of a network should be probabilities.
# - P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and softmax functions", *IMA
#   Journal of Numerical Analysis*, 2021. Error bounds for the shifted formulas of 3.2 to 3.4.
# - C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception architecture for computer
#   vision", CVPR 2016. Section 7 introduces label smoothing.
# - R. Müller, S. Kornblith and G. Hinton, "When does label smoothing help?", NeurIPS 2019. What smoothing does to the
#   layer before the logits; read it for question 5.
# - C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On calibration of modern neural networks", ICML 2017. Shows that
#   accurate networks can be badly calibrated, and that one temperature repairs most of it.
# - M. Milakov and N. Gimelshein, "Online normalizer calculation for softmax", arXiv:1805.02867, 2018. Exercise 3.10,
#   with its memory traffic counted.
# - T. Dao, D. Fu, S. Ermon, A. Rudra and C. Ré, "FlashAttention: fast and memory-efficient exact attention with
#   IO-awareness", NeurIPS 2022. The same step inside attention; module 12 builds it.
# - M. Shoeybi, M. Patwary, R. Puri, P. LeGresley, J. Casper and B. Catanzaro, "Megatron-LM: training multi-billion
#   parameter language models using model parallelism", arXiv:1909.08053, 2019. The loss over a vocabulary that is split
#   among GPUs, fused with the product so that little has to travel.
# - E. Wijmans, B. Huval, A. Hertzberg, V. Koltun and P. Krähenbühl, "Cut your losses in large-vocabulary language
#   models", ICLR 2025. Exercise 3.11, the chunked loss and its gradient, as one GPU kernel.
# - F. Morin and Y. Bengio, "Hierarchical probabilistic neural network language model", AISTATS 2005. The tree of words.
#
# At work: `torch.nn.functional.cross_entropy` (logits in, never probabilities), `scipy.special.logsumexp` and
# `scipy.special.log_expit`, scikit-learn's `LogisticRegression` and `CalibratedClassifierCV`.
