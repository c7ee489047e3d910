"""Wrong and right answers that prove the hidden tests of module 00, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

import math

import numpy as np
import torch

from autograder.answers import equivalent, right, wrong

# --------------------------------------------------------------------------------------------------------- centre

wrong(
    "centre",
    "subtracts the mean of all numbers, not of each column",
    fails=["test_each_column_loses_its_own_mean"],
    edit={"axis=0": ""},
)
wrong(
    "centre",
    "subtracts the mean of each row",
    fails=["test_each_column_loses_its_own_mean"],
    edit={"axis=0": "axis=1, keepdims=True"},
)
wrong(
    "centre",
    "subtracts X from the means",
    fails=["test_each_column_loses_its_own_mean"],
    edit={"X - means": "means - X"},
)
wrong(
    "centre",
    "returns the means, and does not subtract them",
    fails=["test_each_column_loses_its_own_mean"],
    edit={"X - means": "means"},
)
wrong(
    "centre",
    "subtracts the means in X itself, so that the caller's data change",
    fails=["test_centring_leaves_x"],
    edit={"centred = X - means": "X -= means\n    centred = X"},
)


@right("centre", "one column after another")
def centred_by_columns(X):
    Z = np.array(X)
    for j in range(Z.shape[1]):
        Z[:, j] = X[:, j] - math.fsum(X[:, j]) / len(X)
    return Z


@right("centre", "torch, with a product for the means")
def centred_by_torch(X):
    T = torch.tensor(np.array(X))
    return (T - torch.full((1, len(T)), 1 / len(T), dtype=T.dtype) @ T).numpy()


# ---------------------------------------------------------------------------------------------------- standardize

wrong(
    "standardize",
    "divides by m - 1 in the standard deviation",
    fails=["test_columns_get_mean_0_and_spread_1"],
    edit={"np.mean(deviation**2, axis=0)": "np.sum(deviation**2, axis=0) / max(len(X) - 1, 1)"},
)
wrong(
    "standardize",
    "divides by the variance",
    fails=["test_columns_get_mean_0_and_spread_1"],
    edit={"np.sqrt(np.mean(deviation**2, axis=0))": "np.mean(deviation**2, axis=0)"},
)
wrong(
    "standardize",
    "divides by the mean distance from the mean",
    fails=["test_columns_get_mean_0_and_spread_1"],
    edit={"np.sqrt(np.mean(deviation**2, axis=0))": "np.mean(np.abs(deviation), axis=0)"},
)
wrong(
    "standardize",
    "takes the mean off and divides by nothing",
    fails=["test_columns_get_mean_0_and_spread_1"],
    edit={" / spread[varies]": ""},
)
wrong(
    "standardize",
    "divides by the standard deviation and leaves the mean in",
    fails=["test_columns_get_mean_0_and_spread_1"],
    edit={"deviation[:, varies] / spread[varies]": "X[:, varies] / spread[varies]"},
)
wrong(
    "standardize",
    "maps each column to 0..1",
    fails=["test_columns_get_mean_0_and_spread_1"],
    edit={"deviation[:, varies] / spread[varies]": "((X - X.min(axis=0)) / np.ptp(X, axis=0))[:, varies]"},
)
wrong(
    "standardize",
    "divides 0 by 0 where a column is constant",
    fails=["test_a_constant_column_becomes_zero"],
    edit={"X.min(axis=0) != X.max(axis=0)": "np.ones(X.shape[1], dtype=bool)"},
)
wrong(
    "standardize",
    "takes a column for constant only if its computed spread is exactly 0",
    fails=["test_a_constant_column_becomes_zero"],
    edit={"X.min(axis=0) != X.max(axis=0)": "spread != 0"},
)
wrong(
    "standardize",
    "leaves a constant column as it is",
    fails=["test_a_constant_column_becomes_zero"],
    edit={"np.zeros(X.shape)": "X.copy()"},
)
wrong(
    "standardize",
    "takes every column with a spread below 1e-8 for constant, whatever its unit",
    fails=["test_takes_every_kind_of_array"],
    edit={"X.min(axis=0) != X.max(axis=0)": "spread > 1e-8"},
)
wrong(
    "standardize",
    "takes the variance as the mean of the squares minus the square of the mean",
    fails=["test_large_numbers_with_a_small_spread"],
    edit={"np.mean(deviation**2, axis=0)": "np.maximum(np.mean(X**2, axis=0) - X.mean(axis=0) ** 2, 1e-300)"},
)
wrong(
    "standardize",
    "computes in float32 where X is float32",
    fails=["test_takes_every_kind_of_array"],
    edit={"np.asarray(X, dtype=np.float64)": "np.asarray(X, dtype=X.dtype if X.dtype.kind == 'f' else float)"},
)
wrong(
    "standardize",
    "subtracts the mean in X itself, so that the caller's data change",
    fails=["test_leaves_x_as_it_is", "test_takes_every_kind_of_array"],
    edit={
        "deviation = X - X.mean(axis=0)": "X -= X.mean(axis=0)\n    deviation = X",
        "X.min(axis=0) != X.max(axis=0)": "np.ptp(X, axis=0) > 0",
    },
)
wrong(
    "standardize",
    "takes off the means with an (m, m) matrix",
    fails=["test_many_rows_in_little_memory"],
    edit={"X - X.mean(axis=0)": "(np.eye(len(X)) - 1 / len(X)) @ X"},
)


@right("standardize", "a column at a time, in plain Python")
def in_plain_python(X):
    Z = np.zeros(X.shape)
    for j in range(X.shape[1]):
        column = [float(x) for x in X[:, j]]
        mean = math.fsum(column) / len(column)
        spread = math.sqrt(math.fsum((x - mean) ** 2 for x in column) / len(column))
        if any(x != column[0] for x in column):
            Z[:, j] = [(x - mean) / spread for x in column]
    return Z


@right("standardize", "torch")
def in_torch(X):
    T = torch.tensor(np.array(X, dtype=np.float64))
    variance, mean = torch.var_mean(T, dim=0, correction=0)
    constant = (T[0] == T).all(dim=0)
    spread = torch.where(constant, torch.ones_like(variance), variance.sqrt())
    return torch.where(constant, torch.zeros_like(T), (T - mean) / spread).numpy()


@right("standardize", "takes for constant what varies by rounding only, and leaves the rounding of the mean")
def relative_threshold(X):
    X = X.astype(float)
    X -= np.average(X, axis=0)
    size = np.abs(X).max(axis=0)
    spread = np.linalg.norm(X, axis=0) / math.sqrt(len(X))
    return X / np.where(np.ptp(X, axis=0) == 0, 1.0, np.where(size > 0, spread, 1.0))


@right("standardize", "Welford's method, one row after another")
def by_welford(X):
    X = np.asarray(X, dtype=np.float64)
    mean, M2 = np.zeros(X.shape[1]), np.zeros(X.shape[1])
    for count, row in enumerate(X, 1):
        delta = row - mean
        mean = mean + delta / count
        M2 = M2 + delta * (row - mean)
    varies = (X[0] != X).any(axis=0)
    Z = np.zeros(X.shape)
    Z[:, varies] = (X - mean)[:, varies] / np.sqrt(M2[varies] / len(X))
    return Z


# ----------------------------------------------------------------------------------------------- column_variances

wrong(
    "column_variances",
    "subtracts the square of the mean from the mean of the squares, and sets what is negative to 0",
    fails=["test_variance_of_large_numbers_with_a_small_spread"],
    edit={"np.mean((X - X.mean(axis=0)) ** 2, axis=0)": "np.maximum(np.mean(X**2, axis=0) - X.mean(axis=0) ** 2, 0)"},
)
wrong(
    "column_variances",
    "divides by m - 1",
    fails=["test_variance_is_the_mean_squared_deviation"],
    edit={
        "np.mean((X - X.mean(axis=0)) ** 2, axis=0)": "np.sum((X - X.mean(axis=0)) ** 2, axis=0) / max(len(X) - 1, 1)"
    },
)
wrong(
    "column_variances",
    "adds the squares up and does not divide",
    fails=["test_variance_is_the_mean_squared_deviation"],
    edit={"np.mean((": "np.sum(("},
)
wrong(
    "column_variances",
    "returns the standard deviation",
    fails=["test_variance_is_the_mean_squared_deviation"],
    edit={"np.mean((X - X.mean(axis=0)) ** 2, axis=0)": "np.sqrt(np.mean((X - X.mean(axis=0)) ** 2, axis=0))"},
)
wrong(
    "column_variances",
    "computes in float32 where X is float32",
    fails=["test_variance_of_every_kind_of_array"],
    edit={"X = np.asarray(X, dtype=np.float64)\n    ": "", "** 2, axis=0)": "** 2, axis=0).astype(np.float64)"},
)
wrong(
    "column_variances",
    "subtracts the mean in X itself, so that the caller's data change",
    fails=["test_variance_leaves_x_as_it_is", "test_variance_of_every_kind_of_array"],
    edit={"return np.mean((X - X.mean(axis=0)) ** 2, axis=0)": "X -= X.mean(axis=0)\n    return np.mean(X**2, axis=0)"},
)


@right("column_variances", "one pass, with the first row taken off before squaring")
def shifted_by_the_first_row(X):
    X = np.asarray(X, dtype=np.float64)
    Y = X - X[0]
    return np.maximum(np.einsum("ij,ij->j", Y, Y) / len(Y) - (Y.sum(axis=0) / len(Y)) ** 2, 0)


@right("column_variances", "sums without rounding, a column at a time")
def with_fsum(X):
    variances = []
    for column in X.T.astype(float).tolist():
        mean = math.fsum(column) / len(column)
        variances.append(math.fsum((x - mean) ** 2 for x in column) / len(column))
    return np.array(variances)


@right("column_variances", "the squared length of each column of deviations, in torch")
def by_length(X):
    T = torch.tensor(np.array(X, dtype=float))
    return (torch.linalg.vector_norm(T - T.mean(dim=0), dim=0) ** 2 / len(T)).numpy()


# -------------------------------------------------------------------------------------------------- merge_moments

wrong(
    "merge_moments",
    "adds the chunks' own M2 and leaves out how far apart their means are",
    fails=["test_merged_moments_are_those_of_all_rows"],
    edit={" + delta**2 * (n_a * n_b / n)": ""},
)
wrong(
    "merge_moments",
    "takes the middle of the two means, whatever the counts",
    fails=["test_merged_moments_are_those_of_all_rows"],
    edit={"delta * (n_b / n)": "delta / 2"},
)
wrong(
    "merge_moments",
    "weighs each mean by the other's count",
    fails=["test_merged_moments_are_those_of_all_rows"],
    edit={"delta * (n_b / n)": "delta * (n_a / n)"},
)
wrong(
    "merge_moments",
    "adds the squared difference of the means without weighing it",
    fails=["test_merged_moments_are_those_of_all_rows"],
    edit={"delta**2 * (n_a * n_b / n)": "delta**2"},
)
wrong(
    "merge_moments",
    "takes the difference of the means without its square",
    fails=["test_merged_moments_are_those_of_all_rows"],
    edit={"delta**2 *": "delta *"},
)
wrong(
    "merge_moments",
    "divides M2 by the number of rows",
    fails=["test_merged_moments_are_those_of_all_rows"],
    edit={"M2_a + M2_b + delta**2 * (n_a * n_b / n)": "(M2_a + M2_b + delta**2 * (n_a * n_b / n)) / n"},
)
wrong(
    "merge_moments",
    "goes back to sums of squares, from which the square of the mean is subtracted",
    fails=["test_merging_does_not_cancel"],
    edit={"delta**2 * (n_a * n_b / n)": "n_a * mean_a**2 + n_b * mean_b**2 - (n_a * mean_a + n_b * mean_b) ** 2 / n"},
)
wrong(
    "merge_moments",
    "uses the formulas for an empty chunk, too, whose nan then spreads",
    fails=["test_an_empty_chunk_changes_nothing"],
    edit={"if n == 0:": "if False:", "if n_a == 0:": "if False:", "if n_b == 0:": "n = n or 1\n    if False:"},
)
wrong(
    "merge_moments",
    "returns the chunk's own arrays where the other is empty",
    fails=["test_merging_leaves_the_chunks"],
    edit={"np.array(mean_a), np.array(M2_a)": "mean_a, M2_a", "np.array(mean_b), np.array(M2_b)": "mean_b, M2_b"},
)
wrong(
    "merge_moments",
    "multiplies the counts as 64-bit integers, which overflow",
    fails=["test_counts_may_be_huge"],
    edit={"(n_a * n_b / n)": "((np.array([n_a]) * n_b)[0] / n)"},
)


equivalent(
    "merge_moments",
    diff="~ merge_moments: float32 is returned where float32 came",
    reason="means and M2 are float64, so no float32 comes",
)
equivalent(
    "merge_moments",
    diff="~ merge_moments: an empty array is refused (0 in x.shape)",
    reason="an empty chunk has no rows, and arrays of shape (d,), d >= 1, like any other",
)


@right("merge_moments", "measures both chunks from the merged mean")
def from_the_merged_mean(a, b):
    full = [part for part in (a, b) if part[0] > 0]
    n = sum(count for count, _, _ in full)
    mean, M2 = np.zeros(len(a[1])), np.zeros(len(a[1]))
    for count, its_mean, _ in full:
        mean += (count / n) * its_mean
    for count, its_mean, its_M2 in full:
        M2 += its_M2 + count * (its_mean - mean) ** 2
    return n, mean, M2


@right("merge_moments", "a column at a time, in plain Python")
def merged_in_plain_python(a, b):
    if a[0] < b[0]:
        a, b = b, a
    n = a[0] + b[0]
    mean, M2 = [0.0] * len(a[1]), [0.0] * len(a[1])
    for j in range(len(mean)):
        if b[0]:
            delta = float(b[1][j]) - float(a[1][j])
            mean[j] = float(a[1][j]) + delta * b[0] / n
            M2[j] = float(a[2][j]) + float(b[2][j]) + delta * delta * a[0] * b[0] / n
        elif a[0]:
            mean[j], M2[j] = float(a[1][j]), float(a[2][j])
    return n, np.array(mean), np.array(M2)


@right("merge_moments", "torch, with empty chunks turned into zeros first")
def merged_in_torch(a, b):
    (n_a, mean_a, M2_a), (n_b, mean_b, M2_b) = (
        (n, *(torch.tensor(np.array(x) if n else np.zeros(len(x))) for x in rest)) for n, *rest in (a, b)
    )
    n = n_a + n_b
    share = n_b / n if n else 0.0
    delta = torch.where(torch.tensor(n_a > 0), mean_b - mean_a, torch.zeros_like(mean_a))
    mean = mean_a + share * delta if n_a else mean_b
    return n, mean.numpy().copy(), (M2_a + M2_b + delta**2 * (n_a * share)).numpy()
