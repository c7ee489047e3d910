"""Hidden tests of module 04. A docstring is the sentence that a student reads when the test fails.

Rounding, throughout: solving a linear system with condition number kappa loses a factor kappa of eps (Higham 2002,
theorem 7.2), so the problems here have a kappa of at most 1e4 and are compared to 1e-9: a thousand times what that
leaves. Counts and the sums of counts below 2^53 are exact.
"""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from sklearn.linear_model import Lasso, Ridge
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support, roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from autograder.judging import (
    EPS,
    SEEDS,
    Argument,
    Asked,
    Contract,
    close,
    floats,
    integers,
    is_array,
    labels,
    numbers,
    one_of,
    raises_student,
    random_states_kept,
    student_side,
)

# ---------------------------------------------------------------------------------------------------------- ridge

TALL = Contract("ridge", X=numbers(14, 4), y=numbers(14), penalty=one_of(2.0, 30, 0.5, 1e-9))
WIDE = Contract("ridge", X=numbers(4, 9), y=numbers(4), penalty=one_of(2.0, 30, 0.5))
SCALES = (2.0**-30, 2.0**30)  # powers of 2, which multiply exactly
ANY_SIZE = (2**64 + 1, *SEEDS)


def sklearn_ridge(X, y, penalty):
    """Minimum of the same J by scikit-learn, through a singular value decomposition."""
    peer = Ridge(alpha=penalty, solver="svd").fit(X, y)
    return peer.coef_, float(peer.intercept_)


def predicted(X, y, penalty, X_new):
    """Predictions by ridge, through the singular values of the centred X; on small data faster than scikit-learn."""
    x_mean, y_mean = X.mean(axis=0), y.mean()
    U, s, Vt = np.linalg.svd(X - x_mean, full_matrices=False)
    return (X_new - x_mean) @ (Vt.T @ (s / (s**2 + penalty) * (U.T @ (y - y_mean)))) + y_mean


@pytest.mark.exercise("ridge", weight=2, core=True, hint=1)
@pytest.mark.parametrize("shape", [(30, 4), (4, 30), (6, 6), (7, 6), (6, 7), (1, 3), (1, 1), (5, 1), (2, 1)])
def test_ridge_agrees_with_sklearn(submission, rng, shape):
    """The parameters and the intercept are right for tall, wide and square X, for one row and for one column."""
    for penalty in (0.1, 1.0, 30.0):
        X, y = rng.standard_normal(shape) + 2, rng.standard_normal(shape[0]) + 5
        assert close(submission.ridge(X, y, penalty), sklearn_ridge(X, y, penalty), rtol=1e-9, atol=1e-10)


@pytest.mark.exercise("ridge", hint=1)
def test_ridge_shifts_with_the_data(submission, rng):
    """Adding a constant to y, or to a column of X, changes the intercept alone: it is not penalised."""
    X, y = rng.standard_normal((12, 3)), rng.standard_normal(12)
    theta, b = submission.ridge(X, y, 4.0)
    moved, c = submission.ridge(X + np.array([1.0, -20.0, 5.0]), y + 100, 4.0)
    assert close(moved, theta, rtol=1e-9, atol=1e-11)
    assert close(c, b + 100 - np.dot([1.0, -20.0, 5.0], theta), rtol=1e-9)
    theta, b = submission.ridge(X, y, 1e14)  # so large a penalty leaves nothing but the mean
    assert close([*theta, b], [0, 0, 0, y.mean()], atol=1e-11)


@pytest.mark.exercise("ridge", hint=1)
@pytest.mark.parametrize("shape", [(40, 3), (5, 20)])
def test_ridge_keeps_its_digits_far_from_zero(submission, rng, shape):
    """The parameters keep nine digits where y lies near 1e8 and X near 1e4."""
    # Uncentred, eps * 1e8 * 1e4 would be added to X^T y. float32 does not hold these integers.
    X, y = rng.integers(-50, 51, shape), rng.integers(-50, 51, shape[0])
    expected, _ = sklearn_ridge(X / 8, y / 8, 2.0)
    for a, b in [(80_000, 0), (0, 8 * 10**8), (80_000, 8 * 10**8)]:
        assert close(submission.ridge((X + a) / 8, (y + b) / 8, 2.0)[0], expected, atol=2e-10)
        assert close(submission.ridge(X + a, y + b, 128.0)[0], expected, atol=2e-10)


@pytest.mark.exercise("ridge")
@pytest.mark.parametrize("scale", SCALES)
def test_ridge_of_any_scale(submission, rng, scale):
    """Very large and very small numbers, with a penalty to match, give the same parameters."""
    for contract in (TALL, WIDE):
        X, y, penalty = contract.plain(rng)
        theta, b = sklearn_ridge(X, y, penalty)
        got = submission.ridge(scale * X, scale * y, scale**2 * penalty)
        assert close(got, (theta, scale * b), rtol=1e-9)
    for m, d in ((30, 3), (6, 20)):  # singular values from 1 to 1/100: the system's condition number is about 1e4
        U = np.linalg.qr(np.column_stack([np.ones(m), rng.standard_normal((m, 3))]))[0][:, 1:]  # of centred columns
        X = scale * U * [1, 0.1, 0.01] @ np.linalg.qr(rng.standard_normal((d, 3)))[0].T
        y = U @ [1.0, 1.0, 5.0]
        # The rounding of X, eps, is divided by its smallest singular value, and so is that of the system by its square.
        expected, _ = sklearn_ridge(X, y, 1e-4 * scale**2)
        theta, b = submission.ridge(X, y, 1e-4 * scale**2)
        assert close(theta, expected, rtol=1e-7, atol=1e-9 * np.max(np.abs(expected))) and close(b, 0.0, atol=1e-9)


@pytest.mark.exercise("ridge", weight=3, hint=2, memory_mb=96)
@pytest.mark.parametrize("shape", [(4, 12_000), (12_000, 4)])
def test_ridge_solves_the_smaller_system(submission, rng, shape):
    """A very wide and a very tall X work in little memory: the smaller of the two systems is solved."""
    X, y = rng.standard_normal(shape), rng.standard_normal(shape[0])  # the larger one takes 1.15 GB, X 0.4 MB
    assert close(submission.ridge(X, y, 3.0), sklearn_ridge(X, y, 3.0), rtol=1e-8, atol=1e-10)


@pytest.mark.exercise("ridge")
@pytest.mark.parametrize("contract", [TALL, WIDE], ids=["tall", "wide"])
def test_ridge_of_every_kind_of_data(submission, rng, contract):
    """Floats and integers of any dtype and memory layout are computed with in float64; theta is float64, b a float."""
    for case in contract.cases(rng):
        got = submission.ridge(*case)
        assert close(got, sklearn_ridge(*case.exact), rtol=1e-9, atol=1e-9, typed=True)
    X = np.column_stack([np.full(6, 3.0), rng.standard_normal(6)])
    assert close(submission.ridge(X, X[:, 1], 1e-3)[0][0], 0.0, atol=1e-9)


@pytest.mark.exercise("ridge", weight=0.5)
@pytest.mark.parametrize("contract", [TALL, WIDE], ids=["tall", "wide"])
def test_ridge_refuses_a_penalty_that_is_not_positive(submission, rng, contract):
    """A penalty of 0, below 0 or nan raises ValueError."""
    contract.refuses(submission, rng, ValueError, penalty=[0.0, -1.0, 0, -1e-9, -1e14, math.nan, -math.inf])


@pytest.mark.exercise("ridge", weight=0.5, forgeable=True)
@pytest.mark.parametrize("contract", [TALL, WIDE], ids=["tall", "wide"])
def test_ridge_leaves_no_trace(submission, rng, contract):
    """No argument changes, and theta shares memory with nothing."""
    assert contract.leaves_no_trace(submission, rng, penalty=[-1.0])


# ---------------------------------------------------------------------------------------------------------- lasso

SOFT = Contract("soft_threshold", z=numbers(3, 4), t=one_of(0.7, 0.0, 2, 50.0))
# Penalties at which some parameters are zero and some are not, for normal X, and `tol` that stops or does not.
LASSO = Contract(
    "lasso",
    X=numbers(30, 10),
    y=numbers(30),
    penalty=one_of(2.0, 7, 0.5),
    tol=one_of(0.0, 0.3, 0.03, 1e-3),
    max_steps=one_of(12, 0, 1, 2),
)


def softened(z, t):
    return np.sign(z) * np.maximum(np.abs(z) - t, 0)


def lasso_value(X, y, penalty, theta):
    return float(np.sum((X @ theta - y) ** 2) / 2 + penalty * np.abs(theta).sum())


def lasso_gap(X, y, penalty, theta):
    """The duality gap, written with the dual value as u^T y - |u|^2 / 2."""
    v = y - X @ theta
    u = v * min(1.0, penalty / max(np.abs(X.T @ v).max(), 1e-300))
    return lasso_value(X, y, penalty, theta) - float(u @ y - u @ u / 2)


def fista(X, y, penalty, tol, max_steps):
    """Theta by the recursion, with Gram matrices."""
    gram, pull = X.T @ X, X.T @ y
    L, theta, z = np.linalg.eigvalsh(gram)[-1], np.zeros(X.shape[1]), np.zeros(X.shape[1])
    for k in range(max_steps):
        if lasso_gap(X, y, penalty, theta) <= tol * float(y @ y) / 2:
            break
        before, theta = theta, softened(z - (gram @ z - pull) / L, penalty / L)
        z = theta + k / (k + 3) * (theta - before)
    return theta


def sparse_problem(rng, m, d, share=0.2):
    """(X, y, penalty), the penalty a share of the one at which all parameters are zero."""
    X = rng.standard_normal((m, d))
    y = X[:, : max(1, d // 5)].sum(axis=1) + 0.5 * rng.standard_normal(m)
    return X, y, share * float(np.abs(X.T @ y).max())


@pytest.mark.exercise("lasso", weight=1.5, core=True, hint=1)
def test_soft_threshold_is_a_step_towards_zero(submission, rng):
    """soft_threshold moves every number towards zero by t, and stops there; any shape, integers too, in float64."""
    for case in SOFT.cases(rng):
        assert close(submission.soft_threshold(*case), softened(*case.exact), atol=1e-14, typed=True)
    for shape in [(0,), (1,), (2, 0), (2, 3, 4), (1500,)]:
        z = 3 * rng.standard_normal(shape)
        assert close(submission.soft_threshold(z, 0.7), softened(z, 0.7), atol=1e-14, typed=True)
    z = 3 * rng.standard_normal((2, 3, 4))
    for scale in SCALES:
        assert close(submission.soft_threshold(scale * z, scale * 0.7), scale * softened(z, 0.7), rtol=1e-12)
    z = np.array([-128, 127, 2, -2], dtype=np.int8)
    assert close(submission.soft_threshold(z, 2), [-126.0, 125.0, 0.0, 0.0])
    got = submission.soft_threshold(np.asarray(1.5), 0.5)  # a 0-d array or a NumPy scalar
    assert close(got, 1.0) and np.asarray(got).dtype == np.float64


@pytest.mark.exercise("lasso", weight=2, hint=2)
@pytest.mark.parametrize("shape", [(12, 5), (5, 12)])
def test_lasso_follows_the_recursion(submission, rng, shape):
    """After 0, 1, 2, ... and 150 steps the parameters are those of the recursion in the docstring."""
    X, y, penalty = sparse_problem(rng, *shape, 0.05)
    slow = X * 0.5 ** np.arange(shape[1])  # it needs hundreds of steps
    for X, penalty, steps in [*((X, penalty, steps) for steps in range(9)), (slow, 0.01, 150)]:
        theta = submission.lasso(X, y, penalty, tol=0.0, max_steps=steps)[0]
        assert close(theta, fista(X, y, penalty, 0.0, steps), atol=1e-10)


@pytest.mark.exercise("lasso", weight=3, core=True, hint=2)
@pytest.mark.parametrize("shape", [(40, 8), (15, 40), (1, 3), (6, 1), (1, 1)])
def test_lasso_finds_the_minimum(submission, rng, shape):
    """The objective at the result is the minimum that scikit-learn finds, within the gap that was asked for."""
    X, y, penalty = sparse_problem(rng, *shape)
    m, scale = shape[0], float(y @ y) / 2
    peer = Lasso(alpha=penalty / m, fit_intercept=False, tol=1e-13, max_iter=100_000).fit(X, y)
    best = lasso_value(X, y, penalty, peer.coef_)
    # The peer's own gap is below 1e-13 m |y|^2; weak duality gives the rest. By default tol = 1e-6, max_steps = 10,000.
    for tol, options in [(1e-6, {}), (1e-4, {"tol": 1e-4}), (1e-8, {"tol": 1e-8, "max_steps": 20_000})]:
        theta, gap = submission.lasso(X, y, penalty, **options)
        assert close(lasso_value(X, y, penalty, theta), best, atol=(tol + 1e-10) * scale)
        assert float(gap) <= tol * scale * (1 + 1e-9)


@pytest.mark.exercise("lasso", weight=2, hint=3)
@pytest.mark.parametrize("steps", [0, 1, 2, 7, 60])
def test_lasso_reports_the_gap_of_its_result(submission, rng, steps):
    """The gap that is returned is the duality gap at the parameters that are returned, after any number of steps."""
    for shape in ((20, 6), (6, 20)):
        X, y, penalty = sparse_problem(rng, *shape)
        theta, gap = submission.lasso(X, y, penalty, tol=0.0, max_steps=steps)
        scale = float(y @ y)  # differences of numbers of this size
        assert close(gap, lasso_gap(X, y, penalty, np.asarray(theta)), rtol=1e-9, atol=100 * EPS * scale)


@pytest.mark.exercise("lasso", hint=2)
def test_lasso_stops_when_the_gap_is_small(submission, rng):
    """It takes no step beyond the one at which the gap is small enough: none where zero is the answer already."""
    X, y, penalty = sparse_problem(rng, 30, 10)
    scale = float(y @ y) / 2
    gaps = [lasso_gap(X, y, penalty, fista(X, y, penalty, 0.0, k)) for k in range(40)]
    for tol in (0.3, 0.03, 1e-3):
        first = next(k for k, gap in enumerate(gaps) if gap <= tol * scale)
        assert close(submission.lasso(X, y, penalty, tol=tol, max_steps=200)[1], gaps[first], rtol=1e-6)
        # The border of tol itself: a little above the gap of a step is enough, a little below is not.
        for factor, steps in [(1 + 1e-9, first), (1 - 1e-9, first + 1)]:
            got = submission.lasso(X, y, penalty, tol=gaps[first] / scale * factor, max_steps=first + 1)[1]
            assert close(got, gaps[steps], rtol=1e-9)
    # A slow problem, too, with a gap that falls to a new low at each of many steps: it stops at any of them.
    slow = X * 0.6 ** np.arange(10)
    gaps = [lasso_gap(slow, y, 0.01, fista(slow, y, 0.01, 0.0, k)) for k in range(80)]
    lows = [k for k in range(50, 80) if gaps[k] < (1 - 1e-6) * min(gaps[:k])]
    for k in lows[-3:]:
        got = submission.lasso(slow, y, 0.01, tol=gaps[k] / scale * (1 + 1e-8), max_steps=100)[1]
        assert close(got, gaps[k], rtol=1e-7)
    too_large = 1.001 * float(np.abs(X.T @ y).max())
    for problem in [(X, y, too_large), (np.zeros((3, 2)), y[:3], 1.0), (X, 0 * y, 1.0), (0 * X, 0 * y, 1.0)]:
        for tol in (1e-6, 0.0):
            theta, gap = submission.lasso(*problem, tol=tol, max_steps=200)
            assert close(theta, np.zeros(problem[0].shape[1]))
            assert close(gap, 0.0, atol=100 * EPS * scale)


@pytest.mark.exercise("lasso")
def test_lasso_of_every_kind_of_data(submission, rng):
    """Floats and integers of any dtype and layout are computed with in float64; theta is float64, the gap a float."""
    for case in LASSO.cases(rng):
        X, y, penalty, *stops = case.exact
        theta = fista(X, y, penalty, *stops)
        got = submission.lasso(*case)
        scale = float(y @ y)
        assert close(got[0], theta, rtol=1e-9, atol=1e-10, typed=True)
        assert close(got[1], lasso_gap(X, y, penalty, theta), rtol=1e-9, atol=1e-11 * scale, typed=True)


@pytest.mark.exercise("lasso", weight=0.5)
@pytest.mark.parametrize("scale", SCALES)
def test_lasso_of_any_scale(submission, rng, scale):
    """Very large and very small numbers, with a penalty to match, give the same parameters after as many steps."""
    X, y, penalty, tol, _ = LASSO.plain(rng, tol=1e-4)
    theta = fista(X, y, penalty, tol, 500)
    got = submission.lasso(scale * X, scale * y, scale**2 * penalty, tol, 500)
    assert close(got[0], theta, rtol=1e-9, atol=1e-10)
    assert close(got[1] / scale**2, lasso_gap(X, y, penalty, theta), atol=1e-11 * float(y @ y))
    got = submission.lasso(X, scale * y, scale * penalty, tol, 500)  # y alone makes theta as large or as small
    assert close(got[0] / scale, theta, rtol=1e-9, atol=1e-10)


@pytest.mark.exercise("lasso", weight=1.5, memory_mb=96)
@pytest.mark.parametrize("shape", [(4, 12_000), (12_000, 4)])
def test_lasso_forms_no_square_matrix(submission, rng, shape):
    """A very wide and a very tall X work in little memory: no (d, d) and no (m, m) array is built."""
    X, y, penalty = sparse_problem(rng, *shape, share=0.5)
    theta, _ = submission.lasso(X, y, penalty, tol=1e-2, max_steps=1000)
    assert close(lasso_gap(X, y, penalty, np.asarray(theta)) / float(y @ y), 0.0, atol=1e-2)


@pytest.mark.exercise("lasso", weight=0.5, forgeable=True)
def test_lasso_leaves_no_trace(submission, rng):
    """Neither function changes its arguments or returns an array that shares memory with anything."""
    assert SOFT.leaves_no_trace(submission, rng, then=[{}, {"t": 0.0}, {"t": 50.0}])
    assert LASSO.leaves_no_trace(submission, rng, then=[{}, {"max_steps": 0}, {"tol": 1.0}, {"y": np.zeros(30)}])


# ---------------------------------------------------------------------------------------- kfold and group_kfold


@student_side
def all_folds(name, arguments, world=None, at_once=True):
    """Every pair, as it is when it comes or as it is at the end; with NumPy's global generator seeded (runs there)."""
    if world is not None:
        np.random.seed(world)
    pairs = getattr(student, name)(*arguments)  # noqa: F821
    return [[part.copy() for part in pair] for pair in (pairs if at_once else list(pairs))]


@student_side
def first_folds(name, arguments, m, count):
    """The first pairs of many, each forgotten when its sizes and its members have been looked at (runs over there)."""
    found = []
    for train, test in getattr(student, name)(*arguments):  # noqa: F821
        train, test = np.asarray(train), np.asarray(test)
        seen = np.bincount(train, minlength=m) + np.bincount(test, minlength=m)
        found.append((len(train), test.copy(), bool((seen == 1).all())))
        if len(found) == count:
            return found
    return found


def as_sets(folds):
    """The cut as a set of sets: the order of folds and rows does not count."""
    return frozenset(frozenset(np.asarray(test).tolist()) for _, test in folds)


def cuts_rows(folds, m, k):
    """Whether these are k pairs of one-dimensional integer arrays that cut m rows."""
    arrays = [part for pair in folds for part in pair]
    return (
        len(folds) == k
        and all(is_array(part, (None,)) and np.asarray(part).dtype.kind in "iu" for part in arrays)
        and all(np.array_equal(np.sort(np.concatenate(pair)), np.arange(m)) for pair in folds)
        and np.array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(m))
    )


def drawn_like_a_shuffle(cuts, members, k):
    """Whether members of such a cut, far apart and neighbours, share a fold as often as in a random one.

    Any two of the n members do so with probability (n / k - 1) / (n - 1). The number of seeds for which they do is
    binomial; the level is 1e-7 for each pair that is looked at.
    """
    n = len(members)
    low, high = scipy.stats.binom.ppf([5e-8, 1 - 5e-8], len(cuts), (n / k - 1) / (n - 1))
    for a, b in [(0, 1), (0, n - 1), (0, n // 3), (0, 3), (n // 3 - 1, n // 3), (n // 2, 3 * n // 4), (9, 40 % n)]:
        together = sum(any({members[a], members[b]} <= part for part in cut) for cut in cuts)
        if not low <= together <= high:
            return False
    return True


@pytest.mark.exercise("kfold", weight=2, core=True, hint=1)
@pytest.mark.parametrize(("m", "k"), [(2, 2), (9, 3), (10, 3), (11, 3), (50, 7), (12, 12), (101, 2), (13, 12)])
def test_folds_cut_the_rows(submission, rng, m, k):
    """There are k folds; every row is tested exactly once, and trained on in all the other folds."""
    assert cuts_rows(submission.run(all_folds, "kfold", [m, k, int(rng.integers(1000))]), m, k)


@pytest.mark.exercise("kfold", hint=2)
@pytest.mark.parametrize(("m", "k"), [(10, 3), (11, 3), (50, 7), (99, 10), (19, 10)])
def test_folds_have_equal_sizes(submission, m, k):
    """The sizes of the folds differ by at most one row."""
    sizes = [len(test) for _, test in submission.run(all_folds, "kfold", [m, k, 5])]
    assert sorted(sizes) == sorted([m // k] * (k - m % k) + [m // k + 1] * (m % k))


@pytest.mark.exercise("kfold", hint=1)
def test_folds_are_shuffled(submission, rng):
    """The rows are shuffled, all of them, differently for each seed."""
    seeds = rng.choice(10_000, 200, replace=False).tolist()
    cuts = [as_sets(submission.run(all_folds, "kfold", [60, 3, seed])) for seed in seeds]
    assert len(set(cuts)) == len(seeds) and drawn_like_a_shuffle(cuts, range(60), 3)


@pytest.mark.exercise("kfold", hint=1)
def test_folds_depend_on_the_seed_alone(submission):
    """The same arguments give the same folds, also in another process; any two seeds, however large, differ."""
    cuts = [as_sets(submission.run(all_folds, "kfold", [60, 3, seed], 7)) for seed in ANY_SIZE]
    assert len(set(cuts)) == len(ANY_SIZE)
    assert [as_sets(submission.run(all_folds, "kfold", [60, 3, seed], 8)) for seed in ANY_SIZE] == cuts
    with submission.elsewhere() as other:
        assert [as_sets(other.run(all_folds, "kfold", [60, 3, seed])) for seed in ANY_SIZE] == cuts
    assert as_sets(submission.run(all_folds, "kfold", [np.int64(60), np.int8(3), np.uint64(SEEDS[-1])])) == cuts[-1]


@pytest.mark.exercise("kfold", weight=2.5, hint=3, memory_mb=96)
def test_folds_are_made_one_by_one(submission, rng):
    """With as many folds as rows, 20,000 of each, memory is enough for a few training sets, not for all."""
    m = 20_000  # a training set takes 160 kB, all of them 3.2 GB
    found = submission.run(first_folds, "kfold", [m, m, int(rng.integers(1000))], m, 40)
    assert [size for size, _, _ in found] == [m - 1] * 40
    assert all(whole for _, _, whole in found)
    assert len({int(test[0]) for _, test, _ in found}) == 40
    tests = [test for _, test, _ in submission.run(first_folds, "kfold", [1100, 1100, 0], 1100, 2000)]
    assert close(np.sort(np.concatenate(tests)), np.arange(1100))


@pytest.mark.exercise("kfold", weight=0.5, hint=3)
def test_folds_stay_as_they_are(submission):
    """The arrays of a pair do not change when later pairs are made."""
    now, later = (submission.run(all_folds, "kfold", [30, 4, 2], None, at_once) for at_once in (True, False))
    assert all(np.array_equal(a, b) for pair in zip(now, later, strict=True) for a, b in zip(*pair, strict=True))


@pytest.mark.exercise("kfold", weight=0.5)
def test_folds_refuse_an_impossible_number(submission):
    """Fewer than two folds, or more folds than rows, raise ValueError."""
    for m, k in [(5, 1), (5, 0), (5, 6), (1, 2), (5, -1), (0, 2), (1, 1), (0, 0)]:
        with raises_student(ValueError):
            submission.run(all_folds, "kfold", [m, k, 0])


@pytest.mark.exercise("kfold", weight=0.5, forgeable=True)
def test_folds_leave_no_trace(submission, rng):
    """NumPy's global generator is as before, and no later call changes an earlier fold."""
    assert random_states_kept(submission, "kfold", 10, 3, 0, python=False)
    assert Contract("kfold", m=30, k=4, seed=1).leaves_no_trace(submission, rng)


GROUPS = integers(40, low=-9, high=9)


def cut_groups(submission, groups, k, seed, world=None):
    """The folds, and each as a set of groups."""
    folds = submission.run(all_folds, "group_kfold", [groups, k, seed], world)
    return folds, frozenset(frozenset(np.asarray(groups)[np.asarray(test)].tolist()) for _, test in folds)


@pytest.mark.exercise("group_kfold", weight=3, core=True, hint=2, depends=("kfold",))
def test_groups_are_never_torn(submission, rng):
    """Every row is tested exactly once, and all rows of a group are in one fold."""
    for case in Contract("group_kfold", groups=GROUPS, k=one_of(3, 2, 5), seed=0).cases(rng):
        groups, k, seed = case
        folds, cut = cut_groups(submission, groups, k, seed)
        assert cuts_rows(folds, 40, k)
        assert sum(map(len, cut)) == len(np.unique(groups))


@pytest.mark.exercise("group_kfold", weight=2, hint=2, depends=("kfold",))
def test_folds_have_equally_many_groups(submission, rng):
    """The folds' numbers of groups differ by at most 1, however many rows the groups have."""
    for G, k in [(3, 3), (10, 3), (11, 3), (7, 2), (2, 2)]:
        for sizes in (rng.integers(1, 30, G), [1000, *range(1, G)]):  # the second: one group with most of the rows
            values = np.append(2**62 + np.arange(2), rng.choice(10**12, G - 2, replace=False))  # two are 1 apart
            groups = rng.permutation(np.repeat(values, sizes))
            _, cut = cut_groups(submission, groups, k, 1)
            assert sorted(map(len, cut)) == sorted([G // k] * (k - G % k) + [G // k + 1] * (G % k))


@pytest.mark.exercise("group_kfold", weight=2, hint=2, depends=("kfold",))
def test_groups_are_shuffled(submission, rng):
    """Which groups share a fold is drawn from the seed: alike for the same one, differently for each other one."""
    groups = np.repeat(np.arange(45), 1 + rng.permutation(45))  # all sizes differ: none decides where a group goes
    seeds = rng.choice(10_000, 100, replace=False).tolist()
    cuts = [cut_groups(submission, groups, 3, seed)[1] for seed in seeds]
    assert len(set(cuts)) == len(seeds) and drawn_like_a_shuffle(cuts, range(45), 3)
    assert len({cut_groups(submission, groups, 3, seed)[1] for seed in ANY_SIZE}) == len(ANY_SIZE)
    assert cut_groups(submission, groups, 3, seeds[0], 1)[1] == cut_groups(submission, groups, 3, seeds[0], 2)[1]
    with submission.elsewhere() as other:
        assert cut_groups(other, groups, 3, seeds[0])[1] == cuts[0]


@pytest.mark.exercise("group_kfold", weight=2, memory_mb=128, depends=("kfold",))
def test_group_folds_are_made_one_by_one(submission, rng):
    """With 10,000 groups of two rows and as many folds, memory is enough for a few training sets, not for all."""
    groups = rng.permutation(np.repeat(np.arange(10_000), 2))  # all training sets take 1.6 GB
    found = submission.run(first_folds, "group_kfold", [groups, 10_000, 3], 20_000, 20)
    assert [(size, len(test)) for size, test, _ in found] == [(19_998, 2)] * 20
    assert all(whole and groups[test[0]] == groups[test[1]] for _, test, whole in found)
    found = submission.run(first_folds, "group_kfold", [np.arange(1100) // 2, 550, 0], 1100, 2000)
    assert close(np.sort(np.concatenate([test for _, test, _ in found])), np.arange(1100))


@pytest.mark.exercise("group_kfold", depends=("kfold",))
def test_group_folds_refuse_an_impossible_number(submission):
    """Fewer than two folds, or more folds than groups, raise ValueError."""
    for groups, k in [([1, 1, 2, 2], 3), ([1, 1, 2, 2], 1), ([4, 4, 4], 2), ([1, 2, 3], 0), ([1, 2, 3], 4)]:
        with raises_student(ValueError):
            submission.run(all_folds, "group_kfold", [np.array(groups), k, 0])


@pytest.mark.exercise("group_kfold", weight=0.5, forgeable=True, depends=("kfold",))
def test_group_kfold_leaves_no_trace(submission, rng):
    """groups is the same after the call, and no later call changes an earlier fold."""
    alike = Argument(lambda rng: rng.permutation(np.arange(40) % 10), {}, frozenset())  # folds of the same sizes
    assert Contract("group_kfold", groups=alike, k=5, seed=5).leaves_no_trace(submission, rng)


# ---------------------------------------------------------------------------------------------------- out_of_fold


def some_folds(rng, m, k):
    """The pairs (train, test) of a shuffled cut into k folds."""
    parts = np.array_split(rng.permutation(m), k)
    return [(np.concatenate(parts[:i] + parts[i + 1 :]), test) for i, test in enumerate(parts)]


def pipeline(penalty):
    return make_pipeline(StandardScaler(), Ridge(alpha=penalty))


FOLDS = Argument(lambda rng: some_folds(rng, 14, 3), {}, frozenset())
OUT_OF_FOLD = Contract("out_of_fold", X=numbers(14, 3), y=numbers(14), folds=FOLDS, penalty=one_of(0.7, 20, 1e-7))


@pytest.mark.exercise("out_of_fold", weight=3, core=True, hint=2, depends=("ridge",))
@pytest.mark.parametrize(("m", "d", "k"), [(12, 2, 3), (20, 4, 5), (8, 10, 8), (7, 1, 2), (1500, 2, 2), (260, 1, 260)])
def test_predictions_agree_with_a_pipeline(submission, rng, m, d, k):
    """The predictions are those of scikit-learn's pipeline of StandardScaler and Ridge under the same folds."""
    X = rng.standard_normal((m, d)) * rng.uniform(0.1, 100, d) + rng.uniform(-5, 5, d)
    y, folds = X[:, 0] + rng.standard_normal(m), some_folds(rng, m, k)
    expected = cross_val_predict(pipeline(0.7), X, y, cv=folds)
    assert close(submission.out_of_fold(X, y, folds, 0.7), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.exercise("out_of_fold", weight=2, hint=1, depends=("ridge",))
def test_a_tested_row_moves_no_other_prediction_of_its_fold(submission, rng):
    """Whatever a row of a test set holds, the other predictions of that set stay as they are."""
    X, y = rng.standard_normal((15, 3)), rng.standard_normal(15)
    folds = some_folds(rng, 15, 3)
    before = np.asarray(submission.out_of_fold(X, y, folds, 1.0))
    for _, test in folds:
        X_other, y_other = X.copy(), y.copy()
        X_other[test[0]] += 1e12  # so much that a mean over all rows would lose the others' digits
        y_other[test[0]] -= 1e12
        after = np.asarray(submission.out_of_fold(X_other, y_other, folds, 1.0))
        assert close(after[test[1:]], before[test[1:]], rtol=1e-10)
        assert np.abs(after - before).max() > 1e-3


@student_side
def predicted_once_through(X, y, folds, penalty):
    """Predictions from folds that can be gone through once (runs over there)."""
    return student.out_of_fold(X, y, iter(folds), penalty)  # noqa: F821


@pytest.mark.exercise("out_of_fold", hint=3, depends=("ridge",))
def test_predictions_from_any_folds(submission, rng):
    """Folds that can be gone through once, that leave rows out, of one row, or with a constant column are fine."""
    X, y = rng.standard_normal((9, 2)), rng.standard_normal(9)
    # Rows 3 to 5 are in neither part of a fold, and a train of one row predicts its own y.
    folds = [(np.arange(3), np.arange(6, 9)), (np.arange(3, 9), np.arange(3)), (np.array([0]), np.array([3]))]
    X[:6, 1] = 2.0
    for k in (1, 3):
        got = np.asarray(submission.run(predicted_once_through, X, y, folds[:k], 0.5))
        assert got.shape == (9,)
        for train, test in folds[:k]:
            assert close(got[test], pipeline(0.5).fit(X[train], y[train]).predict(X[test]), rtol=1e-8, atol=1e-9)


@pytest.mark.exercise("out_of_fold", depends=("ridge",))
def test_predictions_from_every_kind_of_data(submission, rng):
    """Floats and integers of any dtype and memory layout are computed with in float64, and float64 comes back."""
    for case in OUT_OF_FOLD.cases(rng):
        X, y, folds, penalty = case.exact
        expected = cross_val_predict(pipeline(penalty), X, y, cv=folds)
        assert close(submission.out_of_fold(*case), expected, rtol=1e-8, atol=1e-8, typed=True)
    X, y, folds, penalty = OUT_OF_FOLD.plain(rng)
    expected = cross_val_predict(pipeline(penalty), X, y, cv=folds)
    for scale in (1e-12, 1e12):
        assert close(submission.out_of_fold(scale * X, y, folds, penalty), expected, rtol=1e-8, atol=1e-8)
        assert close(submission.out_of_fold(X, scale * y, folds, penalty), scale * expected, rtol=1e-8)


@pytest.mark.exercise("out_of_fold", weight=0.5, forgeable=True, depends=("ridge",))
def test_out_of_fold_leaves_no_trace(submission, rng):
    """X, y and the folds are the same after the call, and what is returned is a new array."""
    assert OUT_OF_FOLD.leaves_no_trace(submission, rng)


# ---------------------------------------------------------------------------------------------------- loocv_ridge

PENALTIES = numbers(3, draw=lambda rng: rng.uniform(0.5, 20, 3), whole=(1, 20))
LOOCV = Contract("loocv_ridge", X=numbers(12, 3), y=numbers(12), penalties=PENALTIES)


def refitted(X, y, penalties, rows=None):
    """The residuals of these rows (all, by default) by as many fits, each without its row; (p, rows)."""
    rows = range(len(y)) if rows is None else rows
    found = [
        y[i] - predicted(np.delete(X, i, axis=0), np.delete(y, i), p, X[i : i + 1])[0] for p in penalties for i in rows
    ]
    return np.array(found).reshape(len(penalties), -1)


@pytest.mark.exercise("loocv_ridge", weight=3, core=True, hint=2)
@pytest.mark.parametrize("shape", [(12, 3), (5, 9), (6, 6), (2, 1), (2, 4), (9, 1), (3, 2)])
def test_residuals_are_those_of_m_fits(submission, rng, shape):
    """The residuals equal those of m separate fits, for tall, wide and square X, for two rows and for one column."""
    X, y, penalties = rng.standard_normal(shape) + 3, rng.standard_normal(shape[0]) + 10, np.array([0.2, 1.0, 25.0])
    assert close(submission.loocv_ridge(X, y, penalties), refitted(X, y, penalties), rtol=1e-8, atol=1e-9)


@pytest.mark.exercise("loocv_ridge", weight=1.5, hint=2, memory_mb=128, seconds=3)
def test_residuals_of_many_rows(submission, rng):
    """40,000 rows work in little memory and in a moment: nothing is refitted, and no (m, m) matrix is formed."""
    # The hat matrix would take 12.8 GB, U 3.2 MB. One decomposition takes some 20 ms, 40,000 fits 40,000 times as much.
    X = rng.standard_normal((40_000, 10))
    y, penalties = X.sum(axis=1) + rng.standard_normal(40_000), np.array([1.0, 1e4])
    got, rows = np.asarray(submission.loocv_ridge(X, y, penalties)), rng.choice(40_000, 4, replace=False)
    assert got.shape == (2, 40_000)
    assert close(got[:, rows], refitted(X, y, penalties, rows), rtol=1e-7, atol=1e-9)


@pytest.mark.exercise("loocv_ridge", weight=2.5, hint=3, seconds=2)
def test_residuals_for_many_penalties(submission, rng):
    """One decomposition serves 400 penalties: no system is solved, and nothing is decomposed, for each of them."""
    # m = d = 400: some 0.3 ms a penalty from the decomposition; a system takes 10 ms, a decomposition 60 ms.
    X, y = rng.standard_normal((400, 400)), rng.standard_normal(400)
    penalties = np.geomspace(10.0, 1e5, 400)
    got, rows = np.asarray(submission.loocv_ridge(X, y, penalties)), rng.choice(400, 2, replace=False)
    assert got.shape == (400, 400)
    assert close(got[::199][:, rows], refitted(X, y, penalties[::199], rows), rtol=1e-7, atol=1e-9)


@pytest.mark.exercise("loocv_ridge", hint=2, memory_mb=128)
def test_residuals_of_a_wide_matrix(submission, rng):
    """A very wide X works in little memory: no (d, d) matrix is formed."""
    X, y, penalties = rng.standard_normal((5, 12_000)), rng.standard_normal(5), np.array([100.0])
    assert close(submission.loocv_ridge(X, y, penalties), refitted(X, y, penalties), rtol=1e-7, atol=1e-9)


@pytest.mark.exercise("loocv_ridge")
def test_residuals_of_every_kind_of_data(submission, rng):
    """Floats and integers of any dtype and memory layout are computed with in float64; constant columns are fine."""
    for case in LOOCV.cases(rng):
        expected = refitted(*case.exact)
        assert close(submission.loocv_ridge(*case), expected, rtol=1e-9, atol=1e-9, typed=True)
    X, y, penalties = LOOCV.plain(rng)
    for s in SCALES:
        got = submission.loocv_ridge(s * X, s * y, s**2 * penalties)
        assert close(got, s * refitted(X, y, penalties), rtol=1e-9)
    constant = np.column_stack([np.full(6, 4.0), rng.standard_normal(6)])
    for X, y in [(constant, rng.standard_normal(6)), (np.ones((4, 2)), rng.standard_normal(4))]:
        assert close(submission.loocv_ridge(X, y, np.array([2.0])), refitted(X, y, [2.0]), rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("loocv_ridge", weight=0.5, forgeable=True)
def test_loocv_leaves_no_trace(submission, rng):
    """X, y and penalties are the same after the call, and what is returned is a new array."""
    assert LOOCV.leaves_no_trace(submission, rng)


# --------------------------------------------------------------------------------------------- bootstrap_interval


@pytest.mark.exercise("bootstrap_interval", weight=3, core=True, hint=3)
@pytest.mark.parametrize(("level", "resamples"), [(0.95, 100), (0.5, 37), (0.9, 1), (0.8, 2), (0.9973, 60)])
def test_interval_cuts_both_tails(submission, rng, level, resamples):
    """The ends are the two quantiles of what the statistic gave, once for each resample, half of the rest on a side."""
    asked = Asked(lambda sample: float(sample.mean()) ** 3)
    got = submission.bootstrap_interval(rng.standard_normal(9), asked, level=level, resamples=resamples, seed=1)
    assert len(asked.calls) == resamples
    values, ends = np.sort(asked.answers), []
    for share in ((1 - level) / 2, 1 - (1 - level) / 2):
        at = share * (resamples - 1)
        below = min(int(at), resamples - 1)
        above = min(below + 1, resamples - 1)
        ends.append(float(values[below] + (at - below) * (values[above] - values[below])))
    assert close(got, tuple(ends), rtol=1e-9, atol=1e-12, typed=True)


@pytest.mark.exercise("bootstrap_interval", hint=3)
def test_interval_by_default(submission, rng):
    """By default the level is 0.95, from 1000 resamples with seed 0. None of them is drawn again."""
    rows, asked = rng.standard_normal(40), Asked(lambda sample: float(np.median(sample)))
    got = submission.bootstrap_interval(rows, asked)
    assert len(asked.calls) == 1000
    assert len({sample.tobytes() for (sample,) in asked.calls}) == 1000  # two of 40^40 agree with probability 1e-58
    assert close(got, submission.run(interval_of_median, rows, 0.95, 1000, 0), rtol=1e-12)
    one = Asked(lambda sample: float(sample[0]))
    assert close(submission.bootstrap_interval(np.array([2.5]), one, resamples=10), (2.5, 2.5))
    assert len(one.calls) == 10


@pytest.mark.exercise("bootstrap_interval", weight=2, core=True, hint=1)
def test_resamples_are_drawn_with_replacement(submission, rng):
    """A resample has m rows, all from the data, each row drawn equally often in the long run, with replacement."""
    m, resamples = 25, 400
    rows = np.sort(rng.standard_normal(m))  # so that mirrored row numbers, m - 1 - i, give opposite means
    asked = Asked(lambda sample: float(np.mean(sample)))
    submission.bootstrap_interval(rows, asked, resamples=resamples, seed=3)
    samples = [sample for (sample,) in asked.calls]
    assert all(sample.shape == (m,) and np.isin(sample, rows).all() for sample in samples)
    index = np.array([np.searchsorted(np.sort(rows), sample) for sample in samples])
    # How often a row is drawn in all is binomial. Level 1e-7 for each of the 25 rows.
    counts = np.bincount(index.ravel(), minlength=m)
    low, high = scipy.stats.binom.ppf([5e-8, 1 - 5e-8], m * resamples, 1 / m)
    assert low <= counts.min() and counts.max() <= high
    # How often within one resample: Poisson-like, with variance (1 - 1/m); the mean over 10,000 counts is known to 1.5%
    # (its deviation is below sqrt(2.1 / 10,000)), so six deviations are allowed.
    within = np.array([np.bincount(one, minlength=m) for one in index])
    assert abs(within.var() - (1 - 1 / m)) <= 6 * math.sqrt(2.1 / within.size)
    # Resamples are independent: the variance of their means is var / m, a chi-square with 399 degrees of freedom.
    ratio = np.var(asked.answers, ddof=1) / (rows.var() / m)
    assert abs(ratio - 1) <= 6 * math.sqrt(2.5 / resamples)
    # And none of them predicts the next: their lag-one correlation has deviation 1 / sqrt(400).
    assert abs(np.corrcoef(asked.answers[:-1], asked.answers[1:])[0, 1]) <= 6 / math.sqrt(resamples)
    # Of two rows, half of the resamples hold one of them twice; each is asked for, whether it came before or not.
    two = Asked(lambda sample: float(sample.sum()))
    submission.bootstrap_interval(np.array([0.0, 1.0]), two, resamples=200)
    assert len(two.calls) == 200 and abs(two.answers.count(1.0) - 100) <= 6 * math.sqrt(50)


@pytest.mark.exercise("bootstrap_interval", hint=1)
def test_rows_stay_whole(submission, rng):
    """Rows of any shape, dtype and memory layout are drawn as wholes, with their order of columns, shape and dtype."""
    tables = [
        rows for (rows,) in Contract("bootstrap_interval", rows=numbers(6, 2, bools=True, scales=SCALES)).cases(rng)
    ]
    for rows in (*tables, rng.standard_normal((5, 2, 2)), np.array([["a", "b"], ["c", "d"]])):
        asked = Asked(lambda sample: 1.0)
        submission.bootstrap_interval(rows, asked, resamples=20)
        known = {np.ascontiguousarray(row).tobytes() for row in rows}
        for (sample,) in asked.calls:
            assert is_array(sample, rows.shape, rows.dtype)
            assert {np.ascontiguousarray(row).tobytes() for row in sample} <= known


@student_side
def interval_of_median(rows, level, resamples, seed, world=None):
    """The interval of a median that is computed over there, with the global generator seeded before."""
    if world is not None:
        np.random.seed(world)
    low, high = student.bootstrap_interval(rows, np.median, level, resamples, seed)  # noqa: F821
    return float(low), float(high)


@student_side
def interval_of_a_keeper(rows, level, resamples, seed):
    """The same of a median that overwrites each resample and looks at the end whether all still are what it wrote."""
    kept = []

    def median(resample):
        kept.append((resample, float(np.median(resample))))
        resample[...] = kept[-1][1]
        return kept[-1][1]

    low, high = student.bootstrap_interval(rows, median, level, resamples, seed)  # noqa: F821
    return float(low), float(high), all(bool((sample == value).all()) for sample, value in kept)


@pytest.mark.exercise("bootstrap_interval", hint=2)
def test_interval_depends_on_the_seed_alone(submission, rng):
    """The same seed gives the same interval, also in another process; any two seeds, however large, differ."""
    rows = rng.standard_normal(40)
    found = [submission.run(interval_of_median, rows, 0.9, 60, seed, 7) for seed in ANY_SIZE]
    assert len(set(found)) == len(ANY_SIZE)
    assert [submission.run(interval_of_median, rows, 0.9, 60, seed, 8) for seed in ANY_SIZE] == found
    with submission.elsewhere() as other:
        assert [other.run(interval_of_median, rows, 0.9, 60, seed) for seed in ANY_SIZE] == found


@pytest.mark.exercise("bootstrap_interval", hint=1)
def test_a_resample_is_a_new_array(submission, rng):
    """A statistic may keep and overwrite what it is given: each resample is a new array."""
    rows = rng.standard_normal(20)
    expected = submission.run(interval_of_median, rows, 0.9, 50, 4)
    low, high, kept = submission.run(interval_of_a_keeper, rows, 0.9, 50, 4)
    assert kept is True and close((low, high), expected)


@student_side
def interval_of_mean(rows, level, resamples, seed):
    """The interval of a mean that is computed over there."""
    low, high = student.bootstrap_interval(rows, lambda r: float(r.mean()), level, resamples, seed)  # noqa: F821
    return float(low), float(high)


@pytest.mark.exercise("bootstrap_interval", weight=2.5, memory_mb=32)
def test_resamples_are_made_one_by_one(submission, rng):
    """Many resamples of many rows work in the memory of a few."""
    rows = np.sort(
        rng.standard_normal(100_000)
    )  # a resample takes 0.8 MB, its row numbers as much, 100 of either 80 MB
    low, high = submission.run(interval_of_mean, rows, 0.9, 100, 0)
    # The deviation of the mean is s / sqrt(m); the ends lie 1.64 of them out, found from 100 values to within 1.
    unit = rows.std() / math.sqrt(len(rows))
    assert close([low, high], [rows.mean() - 1.64 * unit, rows.mean() + 1.64 * unit], atol=1.2 * unit)


@student_side
def first_entry(resample):
    return float(np.ravel(resample)[0])


@pytest.mark.exercise("bootstrap_interval", forgeable=True)
def test_bootstrap_leaves_no_trace(submission, rng):
    """rows and NumPy's global generator are as before the call."""
    contract = Contract("bootstrap_interval", rows=floats(8, 2), statistic=first_entry, level=0.9, resamples=20)
    assert contract.leaves_no_trace(submission, rng)
    assert random_states_kept(
        submission, "bootstrap_interval", rng.standard_normal(5), first_entry, 0.9, 5, python=False
    )


# ------------------------------------------------------------------------------------------------------ confusion

CONFUSION = Contract("confusion", y=labels(60, classes=7), predicted=labels(60, classes=7), classes=7)
COUNTS = numbers(4, 4, draw=lambda rng: rng.uniform(0, 9, (4, 4)), whole=(0, 250))
SCORES = Contract(
    "classification_scores",
    counts=COUNTS,
    average=one_of("macro", "none", "micro"),
    zero_division=one_of(0.0, 1.0, 0.25, 1),
)


def labelled(rng, m, classes, right=0.6):
    """(y, predicted), some of them right."""
    y = rng.integers(0, classes, m)
    return y, np.where(rng.random(m) < right, y, rng.integers(0, classes, m))


@pytest.mark.exercise("confusion", weight=2, core=True, hint=1)
@pytest.mark.parametrize(("m", "classes"), [(50, 3), (1, 2), (30, 1), (200, 11), (5, 8), (0, 3)])
def test_confusion_agrees_with_sklearn(submission, rng, m, classes):
    """The counts are right, rows the truth and columns the prediction, also for classes that do not occur."""
    y, predicted = labelled(rng, m, classes)
    expected = confusion_matrix(y, predicted, labels=range(classes)) if m else np.zeros((classes, classes))
    assert close(submission.confusion(y, predicted, classes), expected)


@pytest.mark.exercise("confusion", hint=1)
def test_confusion_of_every_kind_of_labels(submission, rng):
    """Labels of any integer dtype and memory layout are counted, also where i * classes + j overflows that dtype."""
    many = [
        Contract("confusion", y=labels(300, classes=c), predicted=labels(300, classes=c), classes=c) for c in (40, 128)
    ]
    for contract in (CONFUSION, *many):
        for case in contract.cases(rng):
            got = submission.confusion(*case)
            assert is_array(got) and np.asarray(got).dtype.kind in "iu"
            y, predicted, classes = case.exact
            assert close(got, confusion_matrix(y, predicted, labels=range(classes)))


@pytest.mark.exercise("confusion", weight=0.5, hint=1)
def test_confusion_refuses_labels_that_are_no_class(submission, rng):
    """A label below 0 or above classes - 1 raises ValueError, in the truth and in the prediction."""
    wrong = [(-1, np.int64), (7, np.int64), (-7, np.int8), (48, np.uint8), (-2, np.int32), (2**63, np.uint64)]
    wrong += [(2**bits + 1, np.int64) for bits in (8, 16, 32)]
    bad = [np.insert(np.zeros(59, dtype), at, dtype(label)) for label, dtype in wrong for at in (0, 59)]
    CONFUSION.refuses(submission, rng, ValueError, y=bad, predicted=bad)
    assert close(submission.confusion(np.array([6, 0]), np.array([0, 6]), 7).sum(), 2)


@pytest.mark.exercise("confusion", weight=2, hint=1, memory_mb=128)
def test_confusion_of_many_rows_and_classes(submission, rng):
    """Many rows of many classes work in little memory: labels are counted, not spread out into columns."""
    y, predicted = labelled(rng, 100_000, 500)  # one-hot, they take 50 MB in bytes and 400 MB in float64
    assert close(submission.confusion(y, predicted, 500), confusion_matrix(y, predicted, labels=range(500)))
    y, predicted = labelled(rng, 60, 1000)
    assert close(submission.confusion(y, predicted, 1000), confusion_matrix(y, predicted, labels=range(1000)))


def sklearn_scores(counts, average="macro", zero_division=0.0):
    """The same dict: each cell of the matrix is one row with a weight."""
    y, predicted = (grid.ravel() for grid in np.indices(np.shape(counts)))
    how = {"labels": range(len(counts)), "zero_division": float(zero_division), "sample_weight": np.ravel(counts)}
    how["average"] = None if average == "none" else average
    precision, recall, f1, _ = precision_recall_fscore_support(y, predicted, **how)
    accuracy = float(accuracy_score(y, predicted, sample_weight=np.ravel(counts)))
    return {"accuracy": accuracy, "precision": precision, "recall": recall, "f1": f1}


@pytest.mark.exercise("confusion", weight=3, core=True, hint=2)
@pytest.mark.parametrize("average", ["none", "macro", "micro"])
def test_scores_agree_with_sklearn(submission, rng, average):
    """Accuracy, precision, recall and F1 are right, for each class and in both averages."""
    for classes in (1, 2, 3, 7):
        counts = rng.integers(1, 20, (classes, classes))
        expected = sklearn_scores(counts, average)
        assert close(submission.classification_scores(counts, average=average), expected, rtol=1e-12)
    assert close(submission.classification_scores(counts), sklearn_scores(counts), rtol=1e-12)


@pytest.mark.exercise("confusion", weight=2, hint=3)
@pytest.mark.parametrize("average", ["none", "macro", "micro"])
def test_scores_where_nothing_is_to_divide(submission, rng, average):
    """Classes that never occur, or are never predicted, get zero_division where a ratio is 0/0, and only there."""
    never_said, never_there, neither, all_wrong = (rng.integers(1, 9, (4, 4)) for _ in range(4))
    never_said[:, 1] = never_there[2] = neither[3] = neither[:, 3] = 0
    np.fill_diagonal(all_wrong, 0)
    for counts in (never_said, never_there, neither, all_wrong, np.diag([3, 0]), np.array([[3, 0], [1, 0]])):
        zero, one = (sklearn_scores(counts, average, value) for value in (0.0, 1.0))  # it takes no others
        for value in (0, 1.0, 0.25):
            expected = {name: zero[name] + value * (one[name] - zero[name]) for name in zero}
            assert close(submission.classification_scores(counts, average, value), expected, rtol=1e-12)


@pytest.mark.exercise("confusion", hint=3)
def test_scores_of_no_rows(submission):
    """With no rows at all, every ratio is zero_division, also one between 0 and 1."""
    for value, average in itertools.product((0.0, 1.0, 0.3), ("none", "macro", "micro")):
        expected = dict.fromkeys(("precision", "recall", "f1"), np.full(3, value) if average == "none" else value)
        got = submission.classification_scores(np.zeros((3, 3), dtype=int), average, value)
        assert close(got, {"accuracy": value, **expected}, rtol=1e-12, typed=True)
    assert close(submission.classification_scores(np.zeros((2, 2))), dict.fromkeys(("accuracy", *expected), 0.0))


@pytest.mark.exercise("confusion", hint=2)
def test_scores_of_every_kind_of_counts(submission, rng):
    """Counts of any dtype and memory layout are fine, with sums up to 1e15; floats or float64 arrays come back."""
    for average in ("macro", "none", "micro"):
        for case in SCORES.cases(rng):
            counts, _, zero_division = case.exact
            if zero_division == 0.25:
                continue
            got = submission.classification_scores(case.args[0], average, case.args[2])
            assert close(got, sklearn_scores(counts, average, zero_division), rtol=1e-12, typed=True)
    small = rng.integers(1, 15, (3, 3))
    for factor, dtype in [(10**7, np.int32), (5 * 10**12, np.int64), (10**13, np.float64), (1e-9, np.float64)]:
        for average in ("macro", "none", "micro"):
            got = submission.classification_scores((small * factor).astype(dtype), average)
            assert close(got, sklearn_scores(small, average), rtol=1e-12)
    ones = dict.fromkeys(("accuracy", "precision", "recall", "f1"), 1.0)
    assert close(submission.classification_scores(np.eye(1200, dtype=np.uint8)), ones, rtol=1e-12)


@pytest.mark.exercise("confusion", weight=0.5)
def test_scores_refuse_an_unknown_average(submission, rng):
    """An average other than none, macro and micro raises ValueError."""
    SCORES.refuses(submission, rng, ValueError, average=["weighted", "", "Macro", "no", "binary", " micro", "none2"])
    with raises_student(ValueError):
        submission.classification_scores(np.zeros((2, 2)), "weighted", 1.0)


@pytest.mark.exercise("confusion", weight=0.5, forgeable=True)
def test_confusion_leaves_no_trace(submission, rng):
    """Neither function changes its arguments or returns an array that shares memory with anything."""
    assert CONFUSION.leaves_no_trace(submission, rng, y=[lambda y: y - 1], predicted=[lambda p: p + 1])
    then = [{"average": average} for average in ("macro", "micro", "none")]
    assert SCORES.leaves_no_trace(submission, rng, then=[*then, {"counts": np.zeros((4, 4)), "average": "none"}])


# -------------------------------------------------------------------------------------------------------- roc_auc

ZERO_ONE = numbers(60, draw=lambda rng: rng.permutation(np.arange(60) % 3 == 0) * 1.0, whole=(0, 1), bools=True)
AUC = Contract("roc_auc", score=numbers(60, scales=(1e300, 1e-300), limits=True), y=ZERO_ONE)


def pairs_won(score, y):
    """AUC by its definition, from all pairs."""
    score, y = np.array(score), np.array(y, bool)
    positive, negative = score[y][:, None], score[~y][None]
    return float(np.mean((positive > negative) + 0.5 * (positive == negative)))


@pytest.mark.exercise("roc_auc", weight=2, core=True, hint=1)
@pytest.mark.parametrize(("m", "share"), [(2, 0.5), (3, 0.5), (40, 0.5), (40, 0.05), (40, 0.95), (301, 0.3)])
def test_auc_without_ties(submission, rng, m, share):
    """The AUC is the share of pairs that are in the right order, for few and many positives."""
    y = np.zeros(m, dtype=int)
    y[rng.permutation(m)[: min(max(1, int(share * m)), m - 1)]] = 1
    score = rng.standard_normal(m) + y
    assert close(submission.roc_auc(score, y), roc_auc_score(y, score), atol=1e-12)
    assert close(submission.roc_auc(-score, y), 1 - roc_auc_score(y, score), atol=1e-12)


@pytest.mark.exercise("roc_auc", weight=2, core=True, hint=2)
@pytest.mark.parametrize("values", [1, 2, 3, 10])
def test_auc_with_heavy_ties(submission, rng, values):
    """A tie between a positive and a negative counts one half, however many there are and in whatever order."""
    for m in (2, 5, 60):
        y = rng.permutation(np.arange(m) % 3 == 0).astype(int)
        score = rng.integers(0, values, m) / 4
        expected = pairs_won(score, y)
        assert close(submission.roc_auc(score, y), expected, atol=1e-12)
        order = np.lexsort((y, score))  # in a file that is sorted, the positives come last among their equals, or first
        assert close(submission.roc_auc(score[order], y[order]), expected, atol=1e-12)
        assert close(submission.roc_auc(score[order[::-1]], y[order[::-1]]), expected, atol=1e-12)


@pytest.mark.exercise("roc_auc", hint=2)
def test_auc_knows_only_the_order(submission, rng):
    """Scores of any size count by their order alone: tiny differences in full, exact ties as ties."""
    y = rng.permutation(np.arange(50) % 2)
    score = rng.integers(-10, 11, 50).astype(float)
    expected = pairs_won(score, y)
    neighbours = (1 + np.arange(-10, 11) * EPS)[score.astype(int) + 10]
    for moved in (score * 1e300, score * 1e-300, neighbours, 1e15 + score, np.sinh(score * 5), score * 5e-324):
        assert close(submission.roc_auc(moved, y), expected, atol=1e-12)
    score, y = rng.permutation(2000) - 1000.0, rng.permutation(np.arange(2000) % 2)
    for middle in (score[3:-3], -score[3:-3]):  # both are printed alike
        moved = np.concatenate([score[:3], middle, score[-3:]])
        wins = scipy.stats.rankdata(moved)[y == 1].sum() - 1000 * 1001 / 2
        assert close(submission.roc_auc(moved, y), wins / 1000**2, atol=1e-12)


@pytest.mark.exercise("roc_auc")
def test_auc_of_every_kind_of_data(submission, rng):
    """Scores and labels of any dtype and memory layout are fine, and a float comes back."""
    for case in AUC.cases(rng):
        assert close(submission.roc_auc(*case), pairs_won(*case), atol=1e-12, typed=True)


@pytest.mark.exercise("roc_auc", weight=0.5)
def test_auc_compares_scores_in_their_own_dtype(submission, rng):
    """Integer scores above 2**53 that differ by 1 are different: in float64 they would become ties."""
    y, score = rng.permutation(np.arange(60) % 2), rng.integers(0, 9, 60)
    for beyond in (score + 2**60, score * 2**58, score.astype(np.uint64) + np.uint64(2**63)):
        assert close(submission.roc_auc(beyond, y), pairs_won(score, y), atol=1e-12)


@pytest.mark.exercise("roc_auc", weight=4, hint=1, memory_mb=384, seconds=30)
def test_auc_of_many_rows(submission, rng):
    """A million rows work in little memory and in a moment, with ties and without: not all pairs are compared."""
    m = 1_000_000  # 2.4e11 pairs; NumPy compares 1e9 a second
    y = (rng.random(m) < 0.4).astype(np.int8)
    score = (rng.standard_normal(m) + y).astype(np.float32)
    positives, negatives = np.count_nonzero(y), np.count_nonzero(y == 0)
    for s in (score, np.round(score, 2)):
        ranks = scipy.stats.rankdata(s)[y == 1].sum()
        expected = (ranks - positives * (positives + 1) / 2) / (positives * negatives)
        assert close(submission.roc_auc(s, y), expected, rtol=1e-10)


@pytest.mark.exercise("roc_auc", weight=0.5)
def test_auc_refuses_a_single_class(submission, rng):
    """Labels that are all 1, or all 0, raise ValueError."""
    AUC.refuses(submission, rng, ValueError, y=[np.ones(60), np.zeros(60), np.ones(60, int), np.zeros(60, bool)])
    for label in (0, 1):
        with raises_student(ValueError):
            submission.roc_auc(np.array([0.5]), np.array([label]))
    with raises_student(ValueError):
        submission.roc_auc(np.zeros(0), np.zeros(0))


@pytest.mark.exercise("roc_auc", weight=0.5, forgeable=True)
def test_auc_leaves_no_trace(submission, rng):
    """score and y are the same after the call, also after one that raises."""
    assert AUC.leaves_no_trace(submission, rng, y=[np.ones(60)])


# ----------------------------------------------------------------------------------------------------- auc_bounds

BINNED = Contract(
    "score_counts", score=floats(60, draw=lambda rng: rng.random(60)), y=ZERO_ONE, bins=one_of(7, 1, 49, 300)
)
BOUNDS = Contract("auc_bounds", counts=integers(2, 50, low=1, high=90))


def counted(score, y, bins):
    """The docstring's bins, number by number."""
    expected = np.zeros((2, bins), dtype=np.int64)
    for a, label in zip(np.asarray(score, float).tolist(), np.asarray(y).tolist(), strict=True):
        expected[int(label), min(math.floor(a * bins), bins - 1)] += 1
    return expected


def exact_bounds(counts):
    """The bounds from whole numbers of any size."""
    negatives, positives = np.asarray(counts).tolist()
    below = lost = tied = 0
    for q, p in zip(negatives, positives, strict=True):
        lost += p * below
        tied += p * q
        below += q
    pairs = sum(negatives) * sum(positives)
    return lost / pairs, (lost + tied) / pairs


@pytest.mark.exercise("auc_bounds", weight=2, core=True, hint=1)
@pytest.mark.parametrize(("m", "bins"), [(60, 4), (500, 16), (9, 1), (1, 3), (3, 100), (0, 5), (200, 7)])
def test_counts_of_the_bins(submission, rng, m, bins):
    """Negatives and positives are counted in the right bins, for many rows and bins and for few."""
    score, y = rng.random(m), rng.integers(0, 2, m)
    assert close(submission.score_counts(score, y, bins), counted(score, y, bins))


@pytest.mark.exercise("auc_bounds", hint=1)
@pytest.mark.parametrize("bins", [3, 10, 49, 107, 1000])
def test_counts_at_the_edges(submission, rng, bins):
    """An edge belongs to the bin above it and 1 to the last, as floor(a * bins) says in float64 for every dtype."""
    edges = np.arange(bins + 1) / bins
    for score in (edges, np.nextafter(edges[1:], 0), np.nextafter(edges[:-1], 1), edges.astype(np.float32)):
        y = rng.integers(0, 2, len(score))
        assert close(submission.score_counts(score, y, bins), counted(np.minimum(score, 1), y, bins))


@pytest.mark.exercise("auc_bounds", weight=1.5, hint=1)
def test_counts_merge(submission, rng):
    """The counts of the parts add up to those of the whole, whatever the parts."""
    score, y = rng.random(300), rng.integers(0, 2, 300)
    whole = submission.score_counts(score, y, 32)
    cuts = [0, 1, 1, 40, 299, 300]
    parts = [submission.score_counts(score[a:b], y[a:b], 32) for a, b in itertools.pairwise(cuts)]
    assert close(sum(np.asarray(part) for part in parts), whole)
    assert close(np.asarray(whole).sum(axis=1), [np.sum(y == 0), np.sum(y == 1)])


@pytest.mark.exercise("auc_bounds", weight=2.5, core=True, hint=2)
@pytest.mark.parametrize("bins", [1, 2, 5, 40, 1000])
def test_bounds_are_attained(submission, rng, bins):
    """The bounds are the AUC with all pairs within a bin lost, and with all of them won."""
    bin_of, y = rng.integers(0, bins, 80), rng.permutation(np.arange(80) % 3 == 0).astype(int)
    counts = np.array([np.bincount(bin_of[y == k], minlength=bins) for k in (0, 1)])
    worst = float(roc_auc_score(y, bin_of - 0.5 * y))
    best = float(roc_auc_score(y, bin_of + 0.5 * y))
    assert close(submission.auc_bounds(counts), (worst, best), rtol=1e-12, atol=1e-14)


@pytest.mark.exercise("auc_bounds", hint=3)
def test_bounds_of_huge_counts(submission, rng):
    """Counts of 1e12 in a bin give right bounds: no product overflows. Two floats come back."""
    for case in BOUNDS.cases(rng):
        assert close(submission.auc_bounds(*case), exact_bounds(*case), rtol=1e-12, typed=True)
    for counts in (
        rng.integers(1, 9, (2, 50)) * 10**11,
        np.array([[10**12, 1], [1, 10**12]]),
        np.array([[1, 10**12], [0, 1]]),
    ):
        assert close(submission.auc_bounds(counts), exact_bounds(counts), rtol=1e-12)


@pytest.mark.exercise("auc_bounds")
def test_counts_of_every_kind_of_data(submission, rng):
    """Scores in float32 and float64, labels of any kind and any memory layout are counted; int64 comes back."""
    for case in BINNED.cases(rng):
        assert close(submission.score_counts(*case), counted(*case.exact), typed=True)


@pytest.mark.exercise("auc_bounds", weight=5, hint=1, memory_mb=128)
def test_counts_of_many_rows(submission, rng):
    """Time and memory grow with the rows plus the bins, not with their product, and bounds with the bins."""
    score, y = rng.random(1_000_000, dtype=np.float32), rng.integers(0, 2, 1_000_000, dtype=np.int8)
    got = submission.score_counts(score, y, 1024)  # (m, bins) takes a gigabyte in bytes
    expected = [np.histogram(score[y == k], bins=1024, range=(0, 1))[0] for k in (0, 1)]
    assert close(got, np.array(expected))  # the edges k / 1024 are exact
    fine = submission.score_counts(score[:300_000], y[:300_000], 2**18)  # 8e10 comparisons of a row with a bin
    assert close(
        np.asarray(fine).reshape(2, 1024, -1).sum(axis=2), submission.score_counts(score[:300_000], y[:300_000], 1024)
    )
    assert close(submission.auc_bounds(fine), exact_bounds(fine), rtol=1e-12)


@pytest.mark.exercise("auc_bounds", weight=0.5)
def test_bounds_refuse_a_single_class(submission, rng):
    """Counts with no positives, no negatives or neither raise ValueError."""
    bad = [np.array(counts) for counts in ([[1, 2], [0, 0]], [[0, 0], [3, 0]], [[0], [0]], [[0], [10**12]])]
    BOUNDS.refuses(submission, rng, ValueError, counts=bad)


@pytest.mark.exercise("auc_bounds", weight=0.5, forgeable=True)
def test_bounds_leave_no_trace(submission, rng):
    """Neither function changes its arguments or returns an array that shares memory with anything."""
    assert BINNED.leaves_no_trace(submission, rng, then=[{}, {"bins": 1}])
    assert BOUNDS.leaves_no_trace(submission, rng, counts=[lambda counts: counts * np.array([[0], [1]])])


# ---------------------------------------------------------------------------------------------------- kfold_ridge


def chunked(X, y, fold, cuts):
    return [(X[a:b], y[a:b], fold[a:b]) for a, b in itertools.pairwise([0, *cuts, len(y)])]


def row_by_row_errors(chunks, penalties):
    """The same errors from all rows at once, fold by fold."""
    X, y, fold = (np.concatenate([np.asarray(part, float) for part in parts]) for parts in zip(*chunks, strict=True))
    found = [
        np.sum((y[fold == f] - predicted(X[fold != f], y[fold != f], p, X[fold == f])) ** 2)
        for p in penalties
        for f in np.unique(fold)
    ]
    return np.reshape(found, (len(penalties), -1)).sum(axis=1) / len(y)


@student_side
def in_one_pass(chunks, k, penalties):
    """The errors from chunks that can be gone through once and are cleared afterwards (runs over there)."""

    def once():
        for chunk in chunks:
            yield chunk
            for part in chunk:
                part.fill(0)

    return student.kfold_ridge(once(), k, penalties)  # noqa: F821


@pytest.mark.exercise("kfold_ridge", weight=3, core=True, hint=2)
@pytest.mark.parametrize(("m", "d", "k"), [(30, 3, 3), (12, 1, 2), (20, 6, 20), (8, 12, 4), (310, 1, 310)])
def test_errors_are_those_of_k_fits(submission, rng, m, d, k):
    """The errors equal those of k separate fits for each penalty, however the rows come in chunks."""
    equals_k_fits(submission, rng, m, d, k)


@pytest.mark.exercise("kfold_ridge", weight=2, core=True, hint=3)
@pytest.mark.parametrize(("m", "d", "k"), [(14, 2, 3), (9, 12, 4), (130, 1, 110)])
def test_every_row_counts_alike(submission, rng, m, d, k):
    """Where the folds have different sizes, the mean is over the rows, not over the folds."""
    equals_k_fits(submission, rng, m, d, k)


def equals_k_fits(submission, rng, m, d, k):
    """The errors of k fits, for m rows with d features in k folds, at several scales and cut in two ways."""
    X, y, penalties = rng.standard_normal((m, d)) + 2, rng.standard_normal(m) - 5, np.array([0.3, 7.1, 100.3])
    fold = rng.permutation(np.arange(m) % k)
    expected = row_by_row_errors([(X, y, fold)], penalties)
    for cuts in ([], [1, 5, 5, 8]):
        for s in (1.0, *SCALES):
            got = submission.kfold_ridge(chunked(s * X, s * y, fold, cuts), k, s**2 * penalties)
            assert close(got, s**2 * expected, rtol=1e-10)


@pytest.mark.exercise("kfold_ridge", weight=2, hint=1)
def test_chunks_are_gone_through_once(submission, rng):
    """A generator will do: each chunk is seen once, is not needed again and may hold no row or one."""
    X, y, fold = rng.standard_normal((240, 3)), rng.standard_normal(240), rng.permutation(np.arange(240) % 4)
    penalties = np.array([3.0])
    chunks = chunked(X, y, fold, [0, 1, 2, 2, 20])
    expected = row_by_row_errors(chunks, penalties)
    chunks = [tuple(np.array(part) for part in chunk) for chunk in chunks]
    assert close(submission.run(in_one_pass, chunks, 4, penalties), expected, rtol=1e-8)
    by_fold = [(X[fold == f], y[fold == f], fold[fold == f]) for f in (2, 0, 3, 1)]
    for others in (by_fold, chunked(X, y, fold, range(1, 240))):
        assert close(submission.kfold_ridge(others, 4, penalties), expected, rtol=1e-8)


@student_side
def errors_of_a_stream(seed, count, penalties):
    """The errors from chunks of 2,000 rows that are drawn over there, one after another."""
    draw = np.random.default_rng(seed)

    def chunks():
        for _ in range(count):
            X = draw.standard_normal((2_000, 10))
            yield X, X.sum(axis=1) + draw.standard_normal(2_000), draw.integers(0, 5, 2_000)

    return student.kfold_ridge(chunks(), 5, penalties)  # noqa: F821


@pytest.mark.exercise("kfold_ridge", weight=4, hint=1, memory_mb=64)
def test_rows_are_not_kept(submission, rng):
    """A stream of two million rows works in the memory of a few chunks."""
    seed, count = int(rng.integers(2**31)), 1000  # X takes 160 MB in all, a chunk 0.2 MB
    got = np.asarray(submission.run(errors_of_a_stream, seed, count, np.array([1.0, 1e7])))
    # Noise of variance 1: the mean of two million squares has deviation 1e-3, and ten parameters add 1e-5. With
    # penalty p the parameters are 1 / (1 + p / n) of the true ones, n = 1,600,000 rows of train.
    shrunk = (1 - 1 / (1 + 1e7 / 1_600_000)) ** 2 * 10
    assert close(got, [1.0, 1 + shrunk], rtol=0.01)


FOLD = Argument(lambda rng: rng.permutation(np.arange(24) % 3), {}, frozenset())


@pytest.mark.exercise("kfold_ridge", weight=1.5)
def test_errors_of_every_kind_of_data(submission, rng):
    """Floats and integers of any dtype and memory layout are computed with in float64, and float64 comes back."""
    for case in Contract("kfold_ridge", X=numbers(24, 3), y=numbers(24), fold=FOLD, penalties=PENALTIES).cases(rng):
        X, y, fold, penalties = case
        expected = row_by_row_errors([case.exact[:3]], case.exact[3])
        got = submission.kfold_ridge(
            [(X[:10], y[:10], fold[:10].astype(np.int8)), (X[10:], y[10:], fold[10:])], 3, penalties
        )
        assert close(got, expected, rtol=1e-8, typed=True)
    # Many penalties, and y lies along the feature that varies least: the system's condition number is about 1e4.
    X, penalties = rng.standard_normal((30, 3)) * [1, 0.1, 0.01], np.geomspace(1e-3, 1e3, 1100)
    rows = X, 100 * X[:, 2] + 0.1 * rng.standard_normal(30), np.arange(30) % 2
    assert close(submission.kfold_ridge([rows], 2, penalties), row_by_row_errors([rows], penalties), rtol=1e-6)


@pytest.mark.exercise("kfold_ridge", weight=0.5, forgeable=True)
def test_kfold_ridge_leaves_no_trace(submission, rng):
    """The chunks and the penalties are the same after the call, and what is returned is a new array."""

    def chunks(rng):
        return chunked(rng.standard_normal((12, 2)), rng.standard_normal(12), np.arange(12) % 3, [5])

    contract = Contract("kfold_ridge", chunks=Argument(chunks, {}, frozenset()), k=3, penalties=PENALTIES)
    assert contract.leaves_no_trace(submission, rng)
