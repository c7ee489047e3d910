"""Wrong and right answers that prove the hidden tests of module 00, and name a student's misconception.

The text of a wrong answer ends the sentence "It behaves like one that ...".
"""

import math
import statistics

import numpy as np
import torch

from autograder.answers import right, wrong

# ---------------------------------------------------------------------------------------------------- standardize


@wrong("standardize", "divides by m - 1 in the standard deviation", fails=["test_columns_get_mean_0_and_spread_1"])
def over_m_minus_1(X):
    X = np.asarray(X, dtype=np.float64)
    deviation = X - X.mean(axis=0)
    constant = X.min(axis=0) == X.max(axis=0)
    spread = np.sqrt((deviation**2).sum(axis=0) / max(len(X) - 1, 1))
    return np.where(constant, 0.0, deviation / np.where(constant, 1.0, spread))


@wrong("standardize", "divides by the variance", fails=["test_columns_get_mean_0_and_spread_1"])
def over_the_variance(X):
    X = np.asarray(X, dtype=np.float64)
    constant = X.min(axis=0) == X.max(axis=0)
    return np.where(constant, 0.0, (X - X.mean(axis=0)) / np.where(constant, 1.0, X.var(axis=0)))


@wrong(
    "standardize",
    "divides 0 by 0 where a column is constant",
    fails=["test_a_constant_column_becomes_zero", "test_one_row_becomes_zeros"],
)
def no_guard(X):
    X = np.asarray(X, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return (X - X.mean(axis=0)) / X.std(axis=0)


@wrong(
    "standardize",
    "takes a column for constant only if its computed spread is exactly 0",
    fails=["test_a_constant_column_becomes_zero"],
)
def asks_the_spread(X):
    X = np.asarray(X, dtype=np.float64)
    spread = X.std(axis=0)
    return (X - X.mean(axis=0)) / np.where(spread == 0, 1.0, spread)


@wrong(
    "standardize",
    "adds a small number to the spread so as not to divide by 0",
    fails=["test_columns_get_mean_0_and_spread_1", "test_units_do_not_matter"],
)
def adds_epsilon(X):
    X = np.asarray(X, dtype=np.float64)
    return (X - X.mean(axis=0)) / (X.std(axis=0) + 1e-8)


@wrong(
    "standardize",
    "takes every column with a spread below 1e-8 for constant, whatever its unit",
    fails=["test_units_do_not_matter"],
)
def absolute_threshold(X):
    X = np.asarray(X, dtype=np.float64)
    spread = X.std(axis=0)
    constant = (spread < 1e-8) | (X.min(axis=0) == X.max(axis=0))
    return np.where(constant, 0.0, (X - X.mean(axis=0)) / np.where(constant, 1.0, spread))


@wrong("standardize", "standardises each row instead of each column", fails=["test_columns_get_mean_0_and_spread_1"])
def by_rows(X):
    X = np.asarray(X, dtype=np.float64)
    constant = X.min(axis=1) == X.max(axis=1)
    spread = np.where(constant, 1.0, X.std(axis=1))
    return (X - X.mean(axis=1, keepdims=True)) / spread[:, None]


@wrong(
    "standardize",
    "uses one mean and one standard deviation for the whole table",
    fails=["test_columns_get_mean_0_and_spread_1"],
)
def one_for_all(X):
    X = np.asarray(X, dtype=np.float64)
    return (X - X.mean()) / (X.std() or 1.0)


@wrong(
    "standardize",
    "takes the variance as the mean of the squares minus the square of the mean",
    fails=["test_large_numbers_with_a_small_spread"],
)
def one_pass(X):
    X = np.asarray(X, dtype=np.float64)
    mean = X.mean(axis=0)
    variance = (X**2).mean(axis=0) - mean**2
    constant = (X.min(axis=0) == X.max(axis=0)) | (variance <= 0)
    return np.where(constant, 0.0, (X - mean) / np.sqrt(np.where(constant, 1.0, variance)))


@wrong("standardize", "computes in float32 where X is float32", fails=["test_takes_every_kind_of_array"])
def in_its_own_precision(X):
    constant = X.min(axis=0) == X.max(axis=0)
    Z = (X - X.mean(axis=0)) / np.where(constant, 1, X.std(axis=0)).astype(X.dtype if X.dtype.kind == "f" else float)
    return np.where(constant, 0.0, Z).astype(np.float64)


@wrong(
    "standardize",
    "subtracts the mean in X itself, so that the caller's data change",
    fails=["test_leaves_x_as_it_is", "test_takes_every_kind_of_array"],
)
def in_place(X):
    X = np.asarray(X, dtype=np.float64)
    constant = X.min(axis=0) == X.max(axis=0)
    spread = np.where(constant, 1.0, X.std(axis=0))
    X -= X.mean(axis=0)
    X /= spread
    X[:, constant] = 0
    return X


@wrong(
    "standardize",
    "takes off the means with an (m, m) matrix",
    fails=["test_many_rows_in_little_memory"],
)
def by_the_centring_matrix(X):
    X = np.asarray(X, dtype=np.float64)
    m = len(X)
    deviation = (np.eye(m) - np.ones((m, m)) / m) @ X
    constant = X.min(axis=0) == X.max(axis=0)
    spread = np.sqrt(np.mean(deviation**2, axis=0))
    return np.where(constant, 0.0, deviation / np.where(constant, 1.0, spread))


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


@wrong(
    "column_variances",
    "subtracts the square of the mean from the mean of the squares, and sets what is negative to 0",
    fails=["test_variance_of_large_numbers_with_a_small_spread"],
)
def clipped_at_zero(X):
    X = np.asarray(X, dtype=np.float64)
    return np.maximum((X**2).mean(axis=0) - X.mean(axis=0) ** 2, 0)


@wrong(
    "column_variances",
    "takes the same number off all columns, the mean of the whole table, before squaring",
    fails=["test_variance_of_large_numbers_with_a_small_spread"],
)
def one_shift_for_all(X):
    X = np.asarray(X, dtype=np.float64)
    X = X - X.mean()
    return np.maximum((X**2).mean(axis=0) - X.mean(axis=0) ** 2, 0)


@wrong("column_variances", "divides by m - 1", fails=["test_variance_is_the_mean_squared_deviation"])
def variance_over_m_minus_1(X):
    X = np.asarray(X, dtype=np.float64)
    return ((X - X.mean(axis=0)) ** 2).sum(axis=0) / max(len(X) - 1, 1)


@wrong(
    "column_variances",
    "returns the standard deviation",
    fails=["test_variance_is_the_mean_squared_deviation"],
)
def root_of_the_variance(X):
    X = np.asarray(X, dtype=np.float64)
    return np.sqrt(((X - X.mean(axis=0)) ** 2).mean(axis=0))


@wrong(
    "column_variances", "averages the distance, not its square", fails=["test_variance_is_the_mean_squared_deviation"]
)
def mean_distance(X):
    X = np.asarray(X, dtype=np.float64)
    return np.abs(X - X.mean(axis=0)).mean(axis=0)


@wrong("column_variances", "computes in float32 where X is float32", fails=["test_variance_of_every_kind_of_array"])
def variance_in_its_own_precision(X):
    return ((X - X.mean(axis=0)) ** 2).mean(axis=0).astype(np.float64)


@wrong(
    "column_variances",
    "subtracts the mean in X itself, so that the caller's data change",
    fails=["test_variance_leaves_x_as_it_is", "test_variance_of_every_kind_of_array"],
)
def variance_in_place(X):
    X = np.asarray(X, dtype=np.float64)
    X -= X.mean(axis=0)
    return (X**2).mean(axis=0)


@right("column_variances", "one pass, with the first row taken off before squaring")
def shifted_by_the_first_row(X):
    X = np.asarray(X, dtype=np.float64)
    Y = X - X[0]
    return np.maximum(np.einsum("ij,ij->j", Y, Y) / len(Y) - (Y.sum(axis=0) / len(Y)) ** 2, 0)


@right("column_variances", "exact fractions, a column at a time")
def with_statistics(X):
    return np.array([statistics.pvariance([float(x) for x in column]) for column in X.T])


@right("column_variances", "the squared length of each column of deviations, in torch")
def by_length(X):
    T = torch.tensor(np.array(X, dtype=float))
    return (torch.linalg.vector_norm(T - T.mean(dim=0), dim=0) ** 2 / len(T)).numpy()


# -------------------------------------------------------------------------------------------------- merge_moments


@wrong(
    "merge_moments",
    "adds the chunks' own M2 and leaves out how far apart their means are",
    fails=["test_merged_moments_are_those_of_all_rows"],
)
def within_only(a, b):
    n = a[0] + b[0]
    if not a[0] or not b[0]:
        full = a if a[0] else b
        return (n, full[1].copy(), full[2].copy()) if n else (0, np.zeros(len(a[1])), np.zeros(len(a[1])))
    return n, a[1] + (b[1] - a[1]) * (b[0] / n), a[2] + b[2]


@wrong(
    "merge_moments",
    "takes the middle of the two means, whatever the counts",
    fails=["test_merged_moments_are_those_of_all_rows"],
)
def middle_of_the_means(a, b):
    n = a[0] + b[0]
    if not a[0] or not b[0]:
        full = a if a[0] else b
        return (n, full[1].copy(), full[2].copy()) if n else (0, np.zeros(len(a[1])), np.zeros(len(a[1])))
    return n, (a[1] + b[1]) / 2, a[2] + b[2] + (b[1] - a[1]) ** 2 * (a[0] * b[0] / n)


@wrong("merge_moments", "weighs each mean by the other's count", fails=["test_merged_moments_are_those_of_all_rows"])
def crossed_counts(a, b):
    n = a[0] + b[0]
    if not a[0] or not b[0]:
        full = a if a[0] else b
        return (n, full[1].copy(), full[2].copy()) if n else (0, np.zeros(len(a[1])), np.zeros(len(a[1])))
    return n, a[1] + (b[1] - a[1]) * (a[0] / n), a[2] + b[2] + (b[1] - a[1]) ** 2 * (a[0] * b[0] / n)


@wrong(
    "merge_moments",
    "adds the squared difference of the means without weighing it",
    fails=["test_merged_moments_are_those_of_all_rows"],
)
def unweighted_square(a, b):
    n = a[0] + b[0]
    if not a[0] or not b[0]:
        full = a if a[0] else b
        return (n, full[1].copy(), full[2].copy()) if n else (0, np.zeros(len(a[1])), np.zeros(len(a[1])))
    return n, a[1] + (b[1] - a[1]) * (b[0] / n), a[2] + b[2] + (b[1] - a[1]) ** 2


@wrong(
    "merge_moments",
    "goes back to sums of squares, from which the square of the mean is subtracted",
    fails=["test_merging_does_not_cancel"],
)
def by_sums_of_squares(a, b):
    n = a[0] + b[0]
    if not a[0] or not b[0]:
        full = a if a[0] else b
        return (n, full[1].copy(), full[2].copy()) if n else (0, np.zeros(len(a[1])), np.zeros(len(a[1])))
    mean = (a[0] * a[1] + b[0] * b[1]) / n
    return n, mean, (a[2] + a[0] * a[1] ** 2) + (b[2] + b[0] * b[1] ** 2) - n * mean**2


@wrong(
    "merge_moments",
    "uses the formulas for an empty chunk, too, whose nan then spreads",
    fails=["test_an_empty_chunk_changes_nothing", "test_two_empty_chunks_are_an_empty_chunk"],
)
def no_empty_chunks(a, b):
    n = a[0] + b[0]
    delta = b[1] - a[1]
    share = b[0] / n if n else 0.0
    return n, a[1] + delta * share, a[2] + b[2] + delta**2 * (a[0] * share)


@wrong(
    "merge_moments", "returns the chunk's own arrays where the other is empty", fails=["test_merging_leaves_the_chunks"]
)
def without_a_copy(a, b):
    n = a[0] + b[0]
    if n == 0:
        return 0, np.zeros(len(a[1])), np.zeros(len(a[1]))
    if a[0] == 0:
        return b
    if b[0] == 0:
        return a
    delta = b[1] - a[1]
    return n, a[1] + delta * (b[0] / n), a[2] + b[2] + delta**2 * (a[0] * b[0] / n)


@wrong("merge_moments", "multiplies the counts as 64-bit integers, which overflow", fails=["test_counts_may_be_huge"])
def fixed_width_counts(a, b):
    n = a[0] + b[0]
    if not a[0] or not b[0]:
        full = a if a[0] else b
        return (n, full[1].copy(), full[2].copy()) if n else (0, np.zeros(len(a[1])), np.zeros(len(a[1])))
    product = (np.array([a[0]]) * np.array([b[0]]))[0]
    return n, a[1] + (b[1] - a[1]) * (b[0] / n), a[2] + b[2] + (b[1] - a[1]) ** 2 * (product / n)


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
        (n, *(torch.tensor(x if n else np.zeros(len(x))) for x in rest)) for n, *rest in (a, b)
    )
    n = n_a + n_b
    share = n_b / n if n else 0.0
    delta = torch.where(torch.tensor(n_a > 0), mean_b - mean_a, torch.zeros_like(mean_a))
    mean = mean_a + share * delta if n_a else mean_b
    return n, mean.numpy().copy(), (M2_a + M2_b + delta**2 * (n_a * share)).numpy()
