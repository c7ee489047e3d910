# %% [markdown]
# # NN TITLE
#
# **You will be able to** average weighted data, and say how the average of a large data set is put together from
# its parts.
#
# **Before you start**: module 00. **Time**: about 30 minutes. **Skills**: vectorised numpy, mergeable statistics.

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

import numpy as np

from lsml_utils import checking, demo_size, plotting, scaling
from lsml_utils.checking import check, expect_close, expect_raises, expect_unchanged

plotting.use()
checking.start("NN_topic", total=2)

# %% [markdown]
# ## Derive
#
# Let $x \in \mathbb{R}^m$ be the values and $w \in \mathbb{R}^m$, $w_i \ge 0$, their weights. The weighted mean is
# the $\mu$ that minimises $\sum_i w_i (x_i - \mu)^2$. The derivative $-2 \sum_i w_i (x_i - \mu)$ is zero at
#
# $$\mu = \frac{\sum_i w_i x_i}{\sum_i w_i}.$$

# %% [markdown]
# ## Implement
#
# ### NN.1 `weighted_mean` · essential · level 1 of 4 · 5 min


# %% exercise="weighted_mean" points=1 minutes=5 forbids=["numpy.average"] trains=["vectorised numpy"]
def weighted_mean(x: np.ndarray, w: np.ndarray) -> float:
    """The weighted mean of `x`: sum of w_i x_i over sum of w_i.

    x: shape (m,), m >= 1, floats or integers of any kind; not modified.
    w: shape (m,), float64 or float32, no weight negative; not modified.
    Returns a Python float. Raises ValueError if the weights sum to zero.
    Do not use numpy.average: it is what you are writing.
    """
    ### BEGIN SOLUTION
    total = w.sum()
    if total == 0:
        raise ValueError("the weights sum to zero")
    return float(w @ x / total)
    ### END SOLUTION


# %% [markdown] hints="weighted_mean"
# <details><summary>Hint 1</summary>
#
# What does the formula give when all weights are 1? Your function must agree with `x.mean()` there.
# </details>
#
# <details><summary>Hint 2</summary>
#
# The numerator is a dot product, `w @ x`; the denominator is the sum of the weights, not the number of values.
# </details>

# %% check="weighted_mean"
x, w = np.array([1.0, 2.0, 6.0]), np.array([1.0, 1.0, 2.0])
with check("weighted_mean", forbids=["numpy.average"]):
    with expect_unchanged(x=x, w=w):
        got = weighted_mean(x, w)
    expect_close(
        got,
        15 / 4,  # (1 + 2 + 12) / (1 + 1 + 2)
        rtol=1e-12,
        hint="Divide by the sum of the weights.",
        mistakes={"You divided by the number of values.": 5.0, "You left out the weights.": 3.0},
    )
    with expect_raises(ValueError, hint="Weights that sum to zero have no mean."):
        weighted_mean(x, np.zeros(3))

# %% tags=["demo"]
weights = np.linspace(0, 10, 50)
plotting.curves(
    {"mean of 0, 1, 2": [weighted_mean(np.array([0.0, 1.0, 2.0]), np.array([1.0, 1.0, last])) for last in weights]},
    xlabel="weight of the last value",
    ylabel="weighted mean",
)

# %% [markdown]
# ## Find the bug
#
# ### NN.2 `merge_means` · essential · level 1 of 4 · 10 min
#
# Two machines have averaged their own part of the data. This function puts the two means together, and it is wrong.
# Find out when, and repair it.


# %% exercise="merge_means" points=1 minutes=10 bug=true trains=["mergeable statistics"]
def merge_means(mean_a: float, n_a: int, mean_b: float, n_b: int) -> float:
    """The mean of n_a values with mean `mean_a` and n_b values with mean `mean_b` together.

    n_a, n_b: at least 0, and not both 0. Where a count is 0, its mean counts for nothing.
    Returns a Python float.
    """
    ### BEGIN SOLUTION
    return (n_a * mean_a + n_b * mean_b) / (n_a + n_b)
    ### END SOLUTION
    ### BEGIN BUG
    # return (mean_a + mean_b) / 2
    ### END BUG


# %% [markdown] hints="merge_means"
# <details><summary>Hint 1</summary>
#
# Try one value on the left and a hundred on the right.
# </details>
#
# <details><summary>Hint 2</summary>
#
# The result is a weighted mean. What are the weights?
# </details>

# %% check="merge_means"
with check("merge_means"):
    expect_close(merge_means(0.0, 1, 3.0, 2), 2.0, rtol=1e-12, hint="The larger part must count for more.")

# %% [markdown]
# ## Scale it
#
# Time against the number of values, beside numpy in the same run.

# %% tags=["demo"]
measured = scaling.measure(
    {"mine": weighted_mean, "numpy average": lambda x, w: np.average(x, weights=w)},
    sizes=demo_size(full=[10**3, 10**4, 10**5, 10**6], small=[10**2, 10**3]),
    setup=lambda m: (np.ones(m), np.ones(m)),
)
measured.plot(peer="numpy average")

# %% [markdown] written="why_counts" points=1
# Why must a machine send its count together with its mean?
#
# ### BEGIN SOLUTION
# The mean alone does not say how much data it stands for, and the merged mean weighs each part by its count.
#
# ### RUBRIC
# - 0.5: The mean alone does not say how much data it stands for.
# - 0.5: The merged mean weighs each part by its count.
# ### END SOLUTION

# %% [markdown]
# ## Further
#
# - Is the order of merging visible in the last digits? When would it matter?
# - T. F. Chan, G. H. Golub, R. J. LeVeque: *Algorithms for computing the sample variance*, The American
#   Statistician, 1983.
# - At work: `numpy.average`.
