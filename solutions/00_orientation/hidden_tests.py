"""Hidden tests of module 00. A docstring is the sentence that a student reads when the test fails.

The oracle is exact: Python's integers and fractions hold every float64 as it is, and compute without rounding.

Rounding, throughout: a mean of m numbers of size at most M is off by at most m eps M, in whatever order they are added
(Higham 2002, section 4.2), and a deviation from it by that and one rounding more. So all deviations of a column are
off by at most D = (m + 1) eps M, the spread by D and m + 4 roundings of its own, and z = deviation / spread by
(1 + |z|) (D / spread + (m + 4) eps). Both one and two roundings more are right: four times that is allowed.
"""

import math
from fractions import Fraction

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from autograder.judging import (
    EPS,
    Argument,
    Contract,
    close,
    floats,
    frozen,
    is_array,
    numbers,
    on_large,
    stepped,
)

SHAPES = {"tall": (1500, 3), "wide": (3, 60), "two rows": (2, 5), "one column": (40, 1)}
TABLE = numbers(
    20,
    4,
    draw=lambda rng: 1000 + rng.standard_normal((20, 4)),  # its mean in float32 is off
    scales=(1e96, 1e-99),
    whole=(-(10**12), 10**12),  # float32 and int32 do not hold them
)


def exact(column):
    """(mean, M2, deviations) of a column of numbers, each rounded once: before that, all are integers of Python."""
    ratios = [x.as_integer_ratio() for x in column.tolist()]  # every denominator is a power of 2
    unit, m = max(denominator for _, denominator in ratios), len(ratios)
    whole = [numerator * (unit // denominator) for numerator, denominator in ratios]
    total = sum(whole)
    deviations = [m * x - total for x in whole]  # in units of 1 / (m unit)
    M2 = sum(x * x for x in deviations) / (m * unit) ** 2
    return total / (m * unit), M2, [x / (m * unit) for x in deviations]


def deviation_rounding(X, eps=EPS):
    """D, as above, of each column."""
    return (len(X) + 1) * eps * np.abs(X.astype(float)).max(axis=0)


def is_centred(got, X):
    Z = np.column_stack([exact(column)[2] for column in X.T]).astype(X.dtype)
    D = deviation_rounding(X, float(np.finfo(X.dtype).eps))
    return close(got, Z, atol=np.broadcast_to(4 * D, X.shape), typed=True)


def is_standardised(got, X):
    """Whether `got` is X standardised, within the bound above. No column may be constant."""
    m, Z, allowed = len(X), np.zeros(X.shape), np.zeros(X.shape)
    for j, (column, D) in enumerate(zip(X.T, deviation_rounding(X), strict=True)):
        _, M2, deviations = exact(column)
        spread = math.sqrt(M2 / m)
        Z[:, j] = np.array(deviations) / spread
        allowed[:, j] = 4 * (1 + np.abs(Z[:, j])) * (D / spread + (m + 4) * EPS)
    return close(got, Z, atol=allowed, typed=True)


def are_variances(got, X):
    """Whether `got` are the variances of X. With D as above, (spread + D)^2 is off by 2 spread D + D^2."""
    m, D = len(X), deviation_rounding(X)
    variances = np.array([exact(column)[1] / m for column in X.T])
    allowed = 4 * (2 * np.sqrt(variances) * D + D**2 + (m + 4) * EPS * variances)
    return close(got, variances, atol=allowed, typed=True)


def offset(rng, m=100):
    """Noise of size 1 around 1e8, and the like: the spread is small beside the numbers, 2e-10 of the last."""
    centres = np.array([1e8, -1e8, 3e6, 1e4, 4e9])
    return centres + rng.uniform(0.5, 2, 5) * rng.standard_normal((m, 5))


# --------------------------------------------------------------------------------------------------------- centre

CENTRE = Contract("centre", X=floats(9, 3, scales=(1e8, 1e-8)))


@pytest.mark.exercise("centre", weight=4, core=True, hint=2)
@pytest.mark.parametrize("shape", [*SHAPES.values(), (1, 4)], ids=[*SHAPES, "one row"])
def test_each_column_loses_its_own_mean(submission, rng, shape):
    """Each column of the result is the column of X minus its own mean, whatever the shape of X."""
    X = rng.uniform(-1, 3, shape) * rng.uniform(0.1, 10, shape[1])
    assert is_centred(submission.centre(X), X)


@pytest.mark.exercise("centre", hint=1)
def test_centring_of_every_kind_of_array(submission, rng):
    """The result is right, and of the dtype of X, for float32, views and read-only arrays, large and small numbers."""
    for case in CENTRE.cases(rng):
        assert is_centred(submission.centre(*case), *case)


@pytest.mark.exercise("centre", hint=2, forgeable=True)
def test_centring_leaves_x(submission, rng):
    """X is the same after the call, and what is returned is a new array."""
    assert CENTRE.leaves_no_trace(submission, rng, then=[{}, {"X": np.zeros((2, 2))}])


# ---------------------------------------------------------------------------------------------------- standardize

STANDARDIZE = Contract("standardize", X=TABLE)


@pytest.mark.exercise("standardize", weight=3, core=True, hint=3)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_columns_get_mean_0_and_spread_1(submission, rng, shape):
    """Each column minus its mean is divided by its standard deviation (over m), whatever the shape of X."""
    X = rng.uniform(-1, 3, shape) * rng.uniform(0.1, 10, shape[1])
    assert is_standardised(submission.standardize(X), X)


@pytest.mark.exercise("standardize", weight=3, hint=2)
@pytest.mark.parametrize("m", [1, 3, 6, 10, 100])
def test_a_constant_column_becomes_zero(submission, rng, m):
    """A column whose values are all equal becomes 0, whatever its value, and the columns beside it are right."""
    X = rng.uniform(-1, 3, (m, 9))
    X[:, 2], X[m // 2, 2] = 5.0, 6.0  # constant but for one row
    constants = {0: 0.0, 1: 7.0, 3: 0.1, 4: -0.7, 6: 1e8 + 0.1, 7: 1e-90 / 3, 8: 1e100 / 3}
    X[:, list(constants)] = list(constants.values())
    got = submission.standardize(X)
    assert is_array(got, (m, 9), np.float64)
    vary = [2, 5] if m > 1 else []  # a single row is its own mean, whatever stands in it
    assert is_standardised(got[:, vary], X[:, vary])
    for j in set(range(9)) - set(vary):  # an answer that divides by 1 leaves the rounding of the mean
        assert close(got[:, j], np.zeros(m), atol=4 * (m + 1) * EPS * abs(X[0, j]))


@pytest.mark.exercise("standardize", weight=2, hint=1)
def test_takes_every_kind_of_array(submission, rng):
    """The result is float64 and right for integers, float32, views and read-only arrays, in huge and in tiny units."""
    for case in STANDARDIZE.cases(rng):
        assert is_standardised(submission.standardize(*case), *case)


@pytest.mark.exercise("standardize", weight=2, hint=3)
def test_large_numbers_with_a_small_spread(submission, rng):
    """Noise of size 1 around 1e8 is standardised as exactly as the mean can be computed."""
    X = offset(rng)
    assert is_standardised(submission.standardize(X), X)


@pytest.mark.exercise("standardize", hint=1, memory_mb=128)
def test_many_rows_in_little_memory(submission, rng):
    """Many rows, or many columns, work in O(m d) memory, and the result agrees with scikit-learn."""
    # An (m, m) array would take 3.2 GB, and a (d, d) array as much; X takes 1 MB.
    for shape in ((20_000, 6), (6, 20_000)):
        seed = int(rng.integers(2**31))
        X = np.random.default_rng(seed).standard_normal(shape)
        # Sums of 20,000 terms of size 5: the bound above. Of six rows, one column in 20,000 has a spread of 0.1.
        got = submission.run(on_large, "standardize", seed, [shape])
        assert close(got, StandardScaler().fit_transform(X), atol=1e-9)


@pytest.mark.exercise("standardize", weight=2, hint=3, forgeable=True)
def test_leaves_x_as_it_is(submission, rng):
    """X is the same after the call, and what is returned is a new array, also where nothing is left to do."""
    signs = np.array([[1.0, -1.0], [-1.0, 1.0]])  # standardised already
    assert STANDARDIZE.leaves_no_trace(submission, rng, then=[{}, {"X": signs}, {"X": np.zeros((2, 2))}])


# ----------------------------------------------------------------------------------------------- column_variances

VARIANCES = Contract("column_variances", X=TABLE)


@pytest.mark.exercise("column_variances", weight=3, core=True, hint=2)
def test_variance_of_large_numbers_with_a_small_spread(submission, rng):
    """The variance of noise of size 1 around 1e8 is as exact as the mean can be computed."""
    X = offset(rng)
    assert are_variances(submission.column_variances(X), X)


@pytest.mark.exercise("column_variances", weight=2, hint=3)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_variance_is_the_mean_squared_deviation(submission, rng, shape):
    """The variance of each column is its mean squared distance from its mean, divided by m, whatever the shape of X."""
    X = rng.uniform(-1, 3, shape) * rng.uniform(0.1, 10, shape[1])
    assert are_variances(submission.column_variances(X), X)


@pytest.mark.exercise("column_variances", hint=3)
def test_variance_of_equal_rows_is_zero(submission, rng):
    """Equal rows have variance 0, up to the rounding of the mean, and never a negative one; so has a single row."""
    for m in (1, 6, 10):
        X = np.tile([0.1, -0.7, 1e8 + 0.1, 0.0], (m, 1))
        got = submission.column_variances(X)
        assert are_variances(got, X)
        assert bool((got >= 0).all())


@pytest.mark.exercise("column_variances", weight=2, hint=3)
def test_variance_of_every_kind_of_array(submission, rng):
    """The variances are float64 and right for integers, float32, views and read-only arrays, in whatever unit."""
    for case in VARIANCES.cases(rng):
        assert are_variances(submission.column_variances(*case), *case)


@pytest.mark.exercise("column_variances", weight=2, hint=3, forgeable=True)
def test_variance_leaves_x_as_it_is(submission, rng):
    """X is the same after the call, and what is returned is a new array that no later call changes."""
    assert VARIANCES.leaves_no_trace(submission, rng, then=[{}, {"X": np.zeros((1, 2))}])


# -------------------------------------------------------------------------------------------------- merge_moments


def chunk(X):
    """(count, mean, M2) of the rows of X, from exact arithmetic."""
    means, M2s, _ = zip(*map(exact, X.T), strict=True)
    return len(X), np.array(means), np.array(M2s)


def chunks(rows):
    """The chunks of so many rows and of four columns, in every form; many columns are another form."""

    def plain(rng, columns=4):
        return chunk(rng.uniform(-1, 3) + rng.standard_normal((rows, columns)))

    def like(change):
        return lambda rng: (rows, *map(change, plain(rng)[1:]))

    forms = {
        "read-only": like(frozen),
        "in steps": like(stepped),
        "tiny": like(lambda array: 1e-9 * array),
        "huge": like(lambda array: 1e90 * array),
        "many columns": lambda rng: plain(rng, 1100),
        "one column": lambda rng: plain(rng, 1),
    }
    return Argument(plain, forms, frozenset())


def exact_merge(a, b):
    """Both chunks together, by the exact sums of their numbers and of their squares, where nothing can cancel."""
    n = a[0] + b[0]
    means, M2s = [], []
    for mean_a, M2_a, mean_b, M2_b in zip(*(array.tolist() for array in (a[1], a[2], b[1], b[2])), strict=True):
        parts = (a[0], Fraction(mean_a), Fraction(M2_a)), (b[0], Fraction(mean_b), Fraction(M2_b))
        mean = sum(count * mean for count, mean, _ in parts) / n
        squares = sum(M2 + count * mean**2 for count, mean, M2 in parts)
        means.append(float(mean))
        M2s.append(float(squares - n * mean**2))
    return n, np.array(means), np.array(M2s)


def is_merge(got, a, b):
    """Whether `got` is the merge of a and b.

    The mean is a weighted sum of two: a few eps of the larger. An answer that measures both means from
    the merged one, M2_a + n_a (mean_a - mean)^2 + ..., has that rounding e in each distance: 2 n |delta| e in all.
    """
    n, mean, M2 = exact_merge(a, b)
    size = 8 * EPS * np.maximum(np.abs(a[1]), np.abs(b[1]))
    assert isinstance(got, tuple | list) and len(got) == 3
    assert close(got[0], n, typed=True)
    moved = 2 * n * np.abs(a[1] - b[1]) * size + n * size**2
    assert close(got[1], mean, atol=size, typed=True)
    return close(got[2], M2, atol=moved + 16 * EPS * M2, typed=True)


def empties(d):
    """Chunks without a row, with whatever stands beside the count."""
    return [(0, np.full(d, filler), np.full(d, filler)) for filler in (0.0, 5.0, np.nan)]


MERGE = Contract("merge_moments", a=chunks(12), b=chunks(25))


@pytest.mark.exercise("merge_moments", weight=3, core=True, hint=3)
@pytest.mark.parametrize("rows", [(1, 1), (1, 30), (30, 1), (12, 25)])
def test_merged_moments_are_those_of_all_rows(submission, rng, rows):
    """The merged count, mean and M2 are those of all rows together, for chunks of any size."""
    for case in Contract("merge_moments", a=chunks(rows[0]), b=chunks(rows[1])).cases(rng):
        assert is_merge(submission.merge_moments(*case), *case)


@pytest.mark.exercise("merge_moments", weight=3, hint=2)
def test_an_empty_chunk_changes_nothing(submission, rng):
    """An empty chunk, on either side and whatever stands in it, changes nothing; two of them give (0, zeros, zeros)."""
    full = chunk(rng.standard_normal((7, 3)))
    for one in empties(3):
        for got in (submission.merge_moments(full, one), submission.merge_moments(one, full)):
            assert close(list(got), list(full), rtol=4 * EPS, typed=True)
        for other in empties(3):
            assert close(list(submission.merge_moments(one, other)), [0, np.zeros(3), np.zeros(3)], typed=True)


@pytest.mark.exercise("merge_moments", weight=2, hint=1)
def test_merging_does_not_cancel(submission, rng):
    """M2 stays exact for noise of size 1 around 1e8."""
    a, b = chunk(offset(rng, 30)), chunk(offset(rng, 12))
    assert is_merge(submission.merge_moments(a, b), a, b)


@pytest.mark.exercise("merge_moments", hint=3)
def test_counts_may_be_huge(submission, rng):
    """Chunks of 10**15 rows merge at once, and the count stays exact, beyond the integers of NumPy, too."""
    for size in (10**15, 10**30):
        n_a, n_b = (int(count) * size + 1 for count in rng.integers(1, 9, 2))
        a, b = ((n, rng.standard_normal(3), n * rng.uniform(1, 2, 3)) for n in (n_a, n_b))
        assert is_merge(submission.merge_moments(a, b), a, b)


@pytest.mark.exercise("merge_moments", weight=2, hint=3, forgeable=True)
def test_merging_leaves_the_chunks(submission, rng):
    """Both chunks are the same after the call, and what is returned are new arrays, also beside an empty chunk."""
    empty = empties(4)[0]
    then = [{}, {"a": empty}, {"b": empty}, {"a": empty, "b": empty}]
    assert MERGE.leaves_no_trace(submission, rng, then=then)
