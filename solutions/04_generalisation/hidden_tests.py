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

from autograder.judging import EPS, close, frozen, is_array, kinds, raises_student, student_side, unchanged


def problems(rng):
    """Data of every kind: (X, y)."""
    return kinds(rng, (8, 3), (8,)).values()


# ---------------------------------------------------------------------------------------------------------- ridge

SHAPES = [(30, 4), (4, 30), (6, 6), (7, 6), (6, 7), (1, 3), (1, 1), (5, 1), (2, 1)]


def sklearn_ridge(X, y, penalty):
    """Minimum of the same J by scikit-learn, through a singular value decomposition."""
    peer = Ridge(alpha=penalty, solver="svd").fit(np.array(X, float), np.array(y, float))
    return peer.coef_, float(peer.intercept_)


@pytest.mark.exercise("ridge", weight=3, core=True, hint=1)
@pytest.mark.parametrize("shape", SHAPES)
def test_ridge_agrees_with_sklearn(submission, rng, shape):
    """The parameters and the intercept are right for tall, wide and square X, for one row and for one column."""
    for penalty in (0.1, 1.0, 30.0):
        X, y = rng.standard_normal(shape) + 2, rng.standard_normal(shape[0]) + 5
        theta, b = sklearn_ridge(X, y, penalty)
        got = submission.ridge(X, y, penalty)
        assert isinstance(got, tuple | list) and len(got) == 2 and is_array(got[0], (shape[1],), np.float64)
        assert np.ndim(got[1]) == 0
        assert close(got[0], theta, rtol=1e-9, atol=1e-10)
        assert close(got[1], b, rtol=1e-9, atol=1e-10)


@pytest.mark.exercise("ridge", hint=1)
def test_ridge_shifts_with_the_data(submission, rng):
    """Adding a constant to y, or to a column of X, changes the intercept alone: it is not penalised."""
    X, y = rng.standard_normal((12, 3)), rng.standard_normal(12)
    theta, b = submission.ridge(X, y, 4.0)
    moved, c = submission.ridge(X + np.array([1.0, -20.0, 5.0]), y + 100, 4.0)
    assert close(moved, theta, rtol=1e-9, atol=1e-11)
    assert close(c, b + 100 - np.dot([1.0, -20.0, 5.0], theta), rtol=1e-9)
    theta, b = submission.ridge(X, y, 1e14)  # parameters too dear to have: nothing is left but the mean
    assert close(theta, np.zeros(3), atol=1e-11)
    assert close(b, float(y.mean()), atol=1e-11)


@pytest.mark.exercise("ridge", hint=1)
@pytest.mark.parametrize("shape", [(40, 3), (5, 20)])
def test_ridge_keeps_its_digits_far_from_zero(submission, rng, shape):
    """The parameters keep nine digits where y lies near 1e8 and X near 1e4."""
    # Whole numbers, so that adding the offsets is exact. Uncentred, eps * 1e8 * 1e4 would be added to X^T y.
    X, y = rng.integers(-50, 51, shape) / 8, rng.integers(-50, 51, shape[0]) / 8
    expected, _ = sklearn_ridge(X, y, 2.0)
    assert close(submission.ridge(X + 1e4, y, 2.0)[0], expected, atol=2e-10)
    assert close(submission.ridge(X, y + 1e8, 2.0)[0], expected, atol=2e-10)
    assert close(submission.ridge(X + 1e4, y + 1e8, 2.0)[0], expected, atol=2e-10)


@pytest.mark.exercise("ridge", weight=2, hint=2, memory_mb=96)
@pytest.mark.parametrize("shape", [(4, 12_000), (12_000, 4)])
def test_ridge_solves_the_smaller_system(submission, rng, shape):
    """A very wide and a very tall X work in little memory: the smaller of the two systems is solved."""
    X, y = rng.standard_normal(shape), rng.standard_normal(shape[0])  # the larger one takes 1.15 GB, X 0.4 MB
    theta, b = sklearn_ridge(X, y, 3.0)
    got = submission.ridge(X, y, 3.0)
    assert close(got[0], theta, rtol=1e-8, atol=1e-10)
    assert close(got[1], b, rtol=1e-8, atol=1e-10)


@pytest.mark.exercise("ridge", weight=0.5)
def test_ridge_of_other_kinds_of_data(submission, rng):
    """Integers of any kind, float32, views and read-only arrays are fine, and so is a constant column."""
    for X, y in problems(rng):
        theta, b = sklearn_ridge(X, y, 2.0)
        got = submission.ridge(X, y, 2.0)
        assert is_array(got[0], theta.shape, np.float64)
        assert close(got[0], theta, rtol=1e-9, atol=1e-9)
        assert close(got[1], b, rtol=1e-9, atol=1e-10)
    X = np.column_stack([np.full(6, 3.0), rng.standard_normal(6)])
    assert close(submission.ridge(X, X[:, 1], 1e-3)[0][0], 0.0, atol=1e-9)


@pytest.mark.exercise("ridge", weight=0.5)
def test_ridge_refuses_a_penalty_that_is_not_positive(submission, rng):
    """A penalty of 0 or below raises ValueError."""
    X, y = rng.standard_normal((5, 2)), rng.standard_normal(5)
    for penalty in (0.0, -1.0, 0, -1e-9):
        with raises_student(ValueError):
            submission.ridge(X, y, penalty)
    assert close(submission.ridge(X, y, 1e-9)[0], sklearn_ridge(X, y, 1e-9)[0], rtol=1e-8)


@pytest.mark.exercise("ridge", weight=0.5, forgeable=True)
def test_ridge_leaves_its_arguments(submission, rng):
    """X and y are the same after the call."""
    assert submission.run(unchanged, "ridge", [rng.standard_normal((5, 3)), rng.standard_normal(5), 1.0])
    assert submission.run(unchanged, "ridge", [rng.standard_normal((3, 5)), rng.standard_normal(3), 1.0])


# ---------------------------------------------------------------------------------------------------------- lasso


def lasso_value(X, y, penalty, theta):
    return float(np.sum((X @ theta - y) ** 2) / 2 + penalty * np.abs(theta).sum())


def lasso_gap(X, y, penalty, theta):
    """The duality gap, written with the dual value as u^T y - |u|^2 / 2."""
    v = y - X @ theta
    u = v * min(1.0, penalty / max(np.abs(X.T @ v).max(), 1e-300))
    return lasso_value(X, y, penalty, theta) - float(u @ y - u @ u / 2)


def sparse_problem(rng, m, d, share=0.2):
    """(X, y, penalty), the penalty a share of the one at which all parameters are zero."""
    X = rng.standard_normal((m, d))
    y = X[:, : max(1, d // 5)].sum(axis=1) + 0.5 * rng.standard_normal(m)
    return X, y, share * float(np.abs(X.T @ y).max())


@pytest.mark.exercise("lasso", weight=1.5, core=True, hint=1)
def test_soft_threshold_is_a_step_towards_zero(submission, rng):
    """soft_threshold moves every number towards zero by t, and stops there; any shape, integers too."""
    for shape in [(), (1,), (40,), (3, 4)]:
        z = 3 * rng.standard_normal(shape)
        for t in (0.0, 0.7, 2.0, 50.0):
            expected = np.where(z > t, z - t, np.where(z < -t, z + t, 0.0))
            assert close(submission.soft_threshold(z, t), expected, atol=1e-14)
    whole = np.arange(0, 7, dtype=np.uint8)
    got = submission.soft_threshold(whole, 2.5)
    assert is_array(got, (7,), np.float64)
    assert close(got, np.array([0, 0, 0, 0.5, 1.5, 2.5, 3.5]), atol=1e-14)
    got = submission.soft_threshold(-whole.astype(np.int8), 2)
    assert is_array(got, (7,), np.float64) and close(got, -np.maximum(whole - 2.0, 0), atol=1e-14)
    single = rng.standard_normal(9).astype(np.float32)
    expected = np.sign(single) * np.maximum(np.abs(single.astype(np.float64)) - 0.3, 0)
    got = submission.soft_threshold(single, 0.3)
    assert is_array(got, (9,), np.float64) and close(got, expected, atol=1e-14)


@pytest.mark.exercise("lasso", weight=2, hint=2)
def test_lasso_follows_the_recursion(submission, rng):
    """After 0, 1, 2, ... steps the parameters are those of the recursion in the docstring."""
    X, y, penalty = sparse_problem(rng, 12, 5, 0.05)
    L = np.linalg.eigvalsh(X.T @ X)[-1]
    gram, pull = X.T @ X, X.T @ y
    thetas, z = [np.zeros(5)], np.zeros(5)
    for k in range(8):
        w = z - (gram @ z - pull) / L
        thetas.append(np.sign(w) * np.maximum(np.abs(w) - penalty / L, 0))
        z = thetas[-1] + k / (k + 3) * (thetas[-1] - thetas[-2])
    for k, theta in enumerate(thetas):
        assert close(submission.lasso(X, y, penalty, tol=0.0, max_steps=k)[0], theta, atol=1e-11)


@pytest.mark.exercise("lasso", weight=3, core=True, hint=2)
@pytest.mark.parametrize("shape", [(40, 8), (15, 40), (1, 3), (6, 1), (1, 1)])
def test_lasso_finds_the_minimum(submission, rng, shape):
    """The objective at the result is the minimum that scikit-learn finds, within the gap that was asked for."""
    X, y, penalty = sparse_problem(rng, *shape)
    m, tol = shape[0], 1e-6
    theta, gap = submission.lasso(X, y, penalty, tol=tol, max_steps=2_000)
    assert is_array(theta, (shape[1],), np.float64)
    peer = Lasso(alpha=penalty / m, fit_intercept=False, tol=1e-13, max_iter=100_000).fit(X, y)
    best, scale = lasso_value(X, y, penalty, peer.coef_), float(y @ y) / 2
    # The peer's own gap is below 1e-13 m |y|^2; weak duality gives the rest.
    assert close(lasso_value(X, y, penalty, theta), best, atol=(tol + 1e-10) * scale)
    assert float(gap) <= tol * scale * (1 + 1e-9)


@pytest.mark.exercise("lasso", weight=2, hint=3)
@pytest.mark.parametrize("steps", [0, 1, 2, 7, 60])
def test_lasso_reports_the_gap_of_its_result(submission, rng, steps):
    """The gap that is returned is the duality gap at the parameters that are returned, after any number of steps."""
    for shape in ((20, 6), (6, 20)):
        X, y, penalty = sparse_problem(rng, *shape)
        theta, gap = submission.lasso(X, y, penalty, tol=0.0, max_steps=steps)
        assert np.ndim(gap) == 0
        scale = float(y @ y)  # differences of numbers of this size
        assert close(gap, lasso_gap(X, y, penalty, np.asarray(theta)), rtol=1e-9, atol=100 * EPS * scale)


@pytest.mark.exercise("lasso", hint=2)
def test_lasso_is_as_fast_as_promised(submission, rng):
    """After k steps the objective is within 2 L |theta|^2 / (k + 1)^2 of its minimum, on a badly scaled problem."""
    # Directions with curvature L / 2k: without look-ahead about 0.09 L |theta|^2 / k would be left after k steps,
    # ten times the bound.
    k, d = 300, 20
    curvature = np.geomspace(1, 1 / (2 * k), d)
    Q = np.linalg.qr(rng.standard_normal((30, d)))[0]
    X = Q * np.sqrt(curvature)
    best = np.where(curvature < 4 / k, 3.0, 0.1) * rng.choice([-1, 1], d)
    penalty = 1e-5
    y = Q @ ((curvature * best + penalty * np.sign(best)) / np.sqrt(curvature))  # the optimality condition of `best`
    theta, _ = submission.lasso(X, y, penalty, tol=0.0, max_steps=k)
    bound = 2 * float(best @ best) / (k + 1) ** 2
    excess = lasso_value(X, y, penalty, np.asarray(theta)) - lasso_value(X, y, penalty, best)
    assert close(excess, bound / 2, atol=bound / 2 + 1e-12)


@pytest.mark.exercise("lasso", hint=2)
def test_lasso_stops_when_the_gap_is_small(submission, reference, rng):
    """It takes no step beyond the one at which the gap is small enough: none where zero is the answer already."""
    X, y, penalty = sparse_problem(rng, 30, 10)
    scale = float(y @ y) / 2
    gaps = [reference.lasso(X, y, penalty, tol=0.0, max_steps=k)[1] for k in range(40)]
    for tol in (0.3, 0.03, 1e-3):
        first = next(k for k, gap in enumerate(gaps) if gap <= tol * scale)
        assert close(submission.lasso(X, y, penalty, tol=tol, max_steps=200)[1], gaps[first], rtol=1e-6)
    too_dear = 1.001 * float(np.abs(X.T @ y).max())
    for problem in [(X, y, too_dear), (np.zeros((3, 2)), y[:3], 1.0), (X, 0 * y, 1.0)]:
        theta, gap = submission.lasso(*problem, max_steps=200)
        assert close(theta, np.zeros(problem[0].shape[1]))
        assert close(gap, 0.0, atol=100 * EPS * scale)


@pytest.mark.exercise("lasso", weight=0.5)
def test_lasso_of_other_kinds_of_data(submission, rng):
    """Integers of any kind, float32, views and read-only arrays are fine, and are computed with in float64."""
    for X, y in problems(rng):
        exact = np.array(X, float), np.array(y, float)
        penalty = 0.1 * float(np.abs(exact[0].T @ exact[1]).max())
        theta, gap = submission.lasso(X, y, penalty, tol=1e-6, max_steps=2_000)
        assert is_array(theta, (X.shape[1],), np.float64)
        scale = float(exact[1] @ exact[1])
        assert close(gap, lasso_gap(*exact, penalty, theta), atol=1e-12 * scale)
        assert close(gap / scale, 0.0, atol=1e-6)
        theta, gap = submission.lasso(X, y, penalty, tol=0.0, max_steps=1)  # theta = soft(X^T y / L, penalty / L)
        L = np.linalg.eigvalsh(exact[0].T @ exact[0])[-1]
        pull = exact[0].T @ exact[1]
        assert close(theta, np.sign(pull) * np.maximum(np.abs(pull) - penalty, 0) / L, rtol=1e-10, atol=1e-13)


@pytest.mark.exercise("lasso", memory_mb=96)
@pytest.mark.parametrize("shape", [(4, 12_000), (12_000, 4)])
def test_lasso_forms_no_square_matrix(submission, rng, shape):
    """A very wide and a very tall X work in little memory."""
    X, y, penalty = sparse_problem(rng, *shape, share=0.5)
    theta, _ = submission.lasso(X, y, penalty, tol=1e-2, max_steps=1000)
    assert close(lasso_gap(X, y, penalty, np.asarray(theta)) / float(y @ y), 0.0, atol=1e-2)


@pytest.mark.exercise("lasso", weight=0.5, forgeable=True)
def test_lasso_leaves_its_arguments(submission, rng):
    """Neither function changes its arguments."""
    X, y, penalty = sparse_problem(rng, 9, 4)
    assert submission.run(unchanged, "lasso", [X, y, penalty])
    assert submission.run(unchanged, "soft_threshold", [rng.standard_normal(6), 0.5])


# ---------------------------------------------------------------------------------------------------------- kfold


@student_side
def all_folds(m, k, seed):
    """Every pair, as arrays (runs over there)."""
    return [(np.array(train), np.array(test)) for train, test in student.kfold(m, k, seed)]  # noqa: F821


@student_side
def first_folds(m, k, seed, count):
    """The first pairs of many, each forgotten when its sizes and its members have been looked at (runs over there)."""
    found = []
    for train, test in student.kfold(m, k, seed):  # noqa: F821
        train, test = np.asarray(train), np.asarray(test)
        seen = np.zeros(m, dtype=np.int64)
        seen[train] += 1
        seen[test] += 1
        found.append((len(train), test.copy(), bool((seen == 1).all())))
        if len(found) == count:
            return found
    return found


@pytest.mark.exercise("kfold", weight=3, core=True, hint=1)
@pytest.mark.parametrize(("m", "k"), [(2, 2), (9, 3), (10, 3), (11, 3), (50, 7), (12, 12), (101, 2), (13, 12)])
def test_folds_cut_the_rows(submission, rng, m, k):
    """There are k folds; every row is tested exactly once, and trained on in all the other folds."""
    folds = submission.run(all_folds, m, k, int(rng.integers(1000)))
    assert len(folds) == k
    for train, test in folds:
        assert is_array(train, (None,)) and is_array(test, (None,)) and train.dtype.kind == test.dtype.kind == "i"
        assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(m))
    assert np.array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(m))


@pytest.mark.exercise("kfold", weight=2, hint=2)
@pytest.mark.parametrize(("m", "k"), [(10, 3), (11, 3), (50, 7), (99, 10), (19, 10)])
def test_folds_have_equal_sizes(submission, m, k):
    """The sizes of the folds differ by at most one row."""
    sizes = [len(test) for _, test in submission.run(all_folds, m, k, 5)]
    assert sorted(sizes) == sorted([m // k] * (k - m % k) + [m // k + 1] * (m % k))


@pytest.mark.exercise("kfold", weight=2, hint=1)
def test_folds_are_shuffled(submission, rng):
    """The rows are shuffled, all of them, differently for each seed, and alike for the same seed."""
    m, k, seeds = 60, 3, [int(s) for s in rng.choice(10_000, 200, replace=False)]
    cuts = [submission.run(all_folds, m, k, seed) for seed in seeds]
    again = submission.run(all_folds, m, k, seeds[0])
    assert all(set(a[1].tolist()) == set(b[1].tolist()) for a, b in zip(cuts[0], again, strict=True))
    assert len({frozenset(frozenset(test.tolist()) for _, test in cut) for cut in cuts}) == len(seeds)
    # Any two rows share a fold with probability 19/59. For rows far apart in the file and for neighbours, the number of
    # seeds for which they do is binomial; the level is 1e-7 for each pair that is looked at.
    share = (m / k - 1) / (m - 1)
    low, high = scipy.stats.binom.ppf([5e-8, 1 - 5e-8], len(seeds), share)
    for a, b in [(0, 1), (0, 59), (0, 20), (0, 3), (19, 20), (30, 45), (10, 40)]:
        together = sum(any({a, b} <= set(test.tolist()) for _, test in cut) for cut in cuts)
        assert low <= together <= high


@pytest.mark.exercise("kfold", hint=3, memory_mb=96)
def test_folds_are_made_one_by_one(submission, rng):
    """With as many folds as rows, 20,000 of each, memory is enough for a few training sets, not for all."""
    m = 20_000  # a training set takes 160 kB, all of them 3.2 GB
    found = submission.run(first_folds, m, m, int(rng.integers(1000)), 40)
    assert [size for size, _, _ in found] == [m - 1] * 40
    assert all(whole for _, _, whole in found)
    assert len({int(test[0]) for _, test, _ in found}) == 40


@pytest.mark.exercise("kfold")
def test_folds_refuse_an_impossible_number(submission):
    """Fewer than two folds, or more folds than rows, raise ValueError."""
    for m, k in [(5, 1), (5, 0), (5, 6), (1, 2), (5, -1), (0, 2), (1, 1)]:
        with raises_student(ValueError):
            submission.run(all_folds, m, k, 0)


# ---------------------------------------------------------------------------------------------------- out_of_fold


def some_folds(rng, m, k):
    """The pairs (train, test) of a shuffled cut into k folds."""
    parts = np.array_split(rng.permutation(m), k)
    return [(np.concatenate(parts[:i] + parts[i + 1 :]), test) for i, test in enumerate(parts)]


@pytest.mark.exercise("out_of_fold", weight=3, core=True, hint=2, depends=("ridge",))
@pytest.mark.parametrize(("m", "d", "k"), [(12, 2, 3), (20, 4, 5), (8, 10, 8), (7, 1, 2)])
def test_predictions_agree_with_a_pipeline(submission, rng, m, d, k):
    """The predictions are those of scikit-learn's pipeline of StandardScaler and Ridge under the same folds."""
    X = rng.standard_normal((m, d)) * rng.uniform(0.1, 100, d) + rng.uniform(-5, 5, d)
    y, folds = X[:, 0] + rng.standard_normal(m), some_folds(rng, m, k)
    expected = cross_val_predict(make_pipeline(StandardScaler(), Ridge(alpha=0.7)), X, y, cv=folds)
    got = submission.out_of_fold(X, y, folds, 0.7)
    assert is_array(got, (m,), np.float64)
    assert close(got, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.exercise("out_of_fold", weight=2, hint=1, depends=("ridge",))
def test_a_tested_row_moves_no_other_prediction_of_its_fold(submission, rng):
    """Whatever a row of a test set holds, the other predictions of that set stay as they are."""
    X, y = rng.standard_normal((15, 3)), rng.standard_normal(15)
    folds = some_folds(rng, 15, 3)
    before = np.asarray(submission.out_of_fold(X, y, folds, 1.0))
    for _, test in folds:
        X_other, y_other = X.copy(), y.copy()
        X_other[test[0]] += 1e3
        y_other[test[0]] -= 1e3
        after = np.asarray(submission.out_of_fold(X_other, y_other, folds, 1.0))
        assert close(after[test[1:]], before[test[1:]], rtol=1e-10)
        assert np.abs(after - before).max() > 1e-3


@pytest.mark.exercise("out_of_fold", weight=0.5, hint=3, depends=("ridge",))
def test_a_column_constant_in_train(submission, rng):
    """A column that is constant in the training rows counts for nothing there, and makes nothing infinite."""
    X, y = rng.standard_normal((9, 2)), rng.standard_normal(9)
    folds = [(np.arange(6), np.arange(6, 9)), (np.arange(3, 9), np.arange(3))]
    X[:6, 1] = 2.0
    got = submission.out_of_fold(X, y, folds, 0.5)
    expected = cross_val_predict(make_pipeline(StandardScaler(), Ridge(alpha=0.5)), X[:6, :1], y[:6], cv=2)
    assert len(expected) == 6 and np.isfinite(np.asarray(got)[[0, 1, 2, 6, 7, 8]]).all()
    pipeline = make_pipeline(StandardScaler(), Ridge(alpha=0.5))
    for train, test in folds:
        assert close(np.asarray(got)[test], pipeline.fit(X[train], y[train]).predict(X[test]), rtol=1e-8, atol=1e-9)


@pytest.mark.exercise("out_of_fold", weight=0.5, forgeable=True, depends=("ridge",))
def test_out_of_fold_leaves_its_arguments(submission, rng):
    """X and y are the same after the call."""
    X, y = rng.standard_normal((6, 2)), rng.standard_normal(6)
    assert submission.run(unchanged, "out_of_fold", [X, y, some_folds(rng, 6, 2), 1.0])


# ---------------------------------------------------------------------------------------------------- loocv_ridge


def refitted(X, y, penalty, rows):
    """The residuals of these rows by as many fits of scikit-learn's Ridge, each without its row."""
    X, y = np.array(X, float), np.array(y, float)
    found = []
    for i in rows:
        peer = Ridge(alpha=penalty, solver="svd").fit(np.delete(X, i, axis=0), np.delete(y, i))
        found.append(y[i] - peer.predict(X[i : i + 1])[0])
    return np.array(found)


@pytest.mark.exercise("loocv_ridge", weight=3, core=True, hint=2)
@pytest.mark.parametrize("shape", [(12, 3), (5, 9), (6, 6), (2, 1), (2, 4), (9, 1), (3, 2)])
def test_residuals_are_those_of_m_fits(submission, rng, shape):
    """The residuals equal those of m separate fits, for tall, wide and square X, for two rows and for one column."""
    X, y, penalties = rng.standard_normal(shape) + 3, rng.standard_normal(shape[0]) + 10, np.array([0.2, 1.0, 25.0])
    got = submission.loocv_ridge(X, y, penalties)
    assert is_array(got, (3, shape[0]), np.float64)
    for row, penalty in zip(np.asarray(got), penalties, strict=True):
        assert close(row, refitted(X, y, penalty, range(shape[0])), rtol=1e-8, atol=1e-9)


@pytest.mark.exercise("loocv_ridge", hint=3)
def test_each_penalty_has_its_row(submission, rng):
    """One penalty or many, in any order, given as a view or as integers: each has its own row of the result."""
    X, y = rng.standard_normal((10, 4)), rng.standard_normal(10)
    penalties = np.array([9.0, 1.0, 4.0, 0.5, 4.0])
    together = np.asarray(submission.loocv_ridge(X, y, penalties))
    for j, penalty in enumerate(penalties):
        assert close(submission.loocv_ridge(X, y, np.array([penalty]))[0], together[j], rtol=1e-10)
    assert close(submission.loocv_ridge(X, y, np.array([9, 1, 4])), together[:3], rtol=1e-10)
    assert close(submission.loocv_ridge(X, y, frozen(penalties)[::-2]), together[::-2], rtol=1e-10)
    single = np.array([0.3, 7.7], dtype=np.float32)
    expected = np.asarray(submission.loocv_ridge(X, y, single.astype(np.float64)))
    assert close(submission.loocv_ridge(X, y, single), expected, rtol=1e-10)


@pytest.mark.exercise("loocv_ridge", weight=2, hint=2, memory_mb=128, seconds=5)
def test_residuals_of_many_rows(submission, rng):
    """40,000 rows work in little memory and in a moment: nothing is refitted, and no (m, m) matrix is formed."""
    # The hat matrix would take 12.8 GB, U 3.2 MB. One decomposition takes some 20 ms, 40,000 fits 40,000 times as much.
    X = rng.standard_normal((40_000, 10))
    y = X.sum(axis=1) + rng.standard_normal(40_000)
    penalties = np.array([1.0, 1e4])
    got = np.asarray(submission.loocv_ridge(X, y, penalties))
    rows = rng.choice(40_000, 4, replace=False)
    assert got.shape == (2, 40_000)
    for j, penalty in enumerate(penalties):
        assert close(got[j, rows], refitted(X, y, penalty, rows), rtol=1e-7, atol=1e-9)


@pytest.mark.exercise("loocv_ridge", hint=2, memory_mb=128)
def test_residuals_of_a_wide_matrix(submission, rng):
    """A very wide X works in little memory: no (d, d) matrix is formed."""
    X, y = rng.standard_normal((5, 12_000)), rng.standard_normal(5)
    got = submission.loocv_ridge(X, y, np.array([100.0]))
    assert close(got, refitted(X, y, 100.0, range(5))[None], rtol=1e-7, atol=1e-9)


@pytest.mark.exercise("loocv_ridge", weight=0.5)
def test_residuals_of_other_kinds_of_data(submission, rng):
    """Integers of any kind, float32, views and read-only arrays are fine, and so are constant columns."""
    constant = np.column_stack([np.full(6, 4.0), rng.standard_normal(6)])
    for X, y in [*problems(rng), (constant, rng.standard_normal(6)), (np.ones((4, 2)), rng.standard_normal(4))]:
        got = submission.loocv_ridge(X, y, np.array([2.0]))
        assert is_array(got, (1, len(y)), np.float64)
        assert close(got, refitted(X, y, 2.0, range(len(y)))[None], rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("loocv_ridge", weight=0.5, forgeable=True)
def test_loocv_leaves_its_arguments(submission, rng):
    """X, y and penalties are the same after the call."""
    arguments = [rng.standard_normal((6, 2)), rng.standard_normal(6), np.array([1.0, 2.0])]
    assert submission.run(unchanged, "loocv_ridge", arguments)


# --------------------------------------------------------------------------------------------- bootstrap_interval


class Recorder:
    """A statistic that runs on this side: it keeps each resample and what it answered."""

    def __init__(self, answer):
        self.answer, self.seen, self.values = answer, [], []

    def __call__(self, rows):
        self.seen.append(np.array(rows))
        self.values.append(float(self.answer(self.seen[-1])))
        return self.values[-1]


@pytest.mark.exercise("bootstrap_interval", weight=3, core=True, hint=3)
@pytest.mark.parametrize(("level", "resamples"), [(0.95, 100), (0.5, 37), (0.9, 1), (0.8, 2), (0.99, 60)])
def test_interval_cuts_both_tails(submission, rng, level, resamples):
    """The ends are the two quantiles of what the statistic gave, once for each resample, half of the rest on a side."""
    rows = rng.standard_normal(9)
    record = Recorder(lambda sample: sample.mean() ** 3)
    got = submission.bootstrap_interval(rows, record, level=level, resamples=resamples, seed=1)
    assert len(record.values) == resamples
    values, ends = np.sort(record.values), []
    for share in ((1 - level) / 2, 1 - (1 - level) / 2):
        at = share * (resamples - 1)
        below = min(int(at), resamples - 1)
        above = min(below + 1, resamples - 1)
        ends.append(values[below] + (at - below) * (values[above] - values[below]))
    assert isinstance(got, tuple | list) and len(got) == 2
    assert close(list(got), ends, rtol=1e-9, atol=1e-12)


@pytest.mark.exercise("bootstrap_interval", weight=2, core=True, hint=1)
def test_resamples_are_drawn_with_replacement(submission, rng):
    """A resample has m rows, all from the data, each row drawn equally often in the long run, with replacement."""
    m, resamples = 25, 400
    rows = rng.standard_normal(m)
    record = Recorder(np.mean)
    submission.bootstrap_interval(rows, record, resamples=resamples, seed=3)
    assert all(sample.shape == (m,) and np.isin(sample, rows).all() for sample in record.seen)
    index = np.array([np.searchsorted(np.sort(rows), sample) for sample in record.seen])
    # How often a row is drawn in all is binomial. Level 1e-7 for each of the 25 rows.
    counts = np.bincount(index.ravel(), minlength=m)
    low, high = scipy.stats.binom.ppf([5e-8, 1 - 5e-8], m * resamples, 1 / m)
    assert low <= counts.min() and counts.max() <= high
    # How often within one resample: Poisson-like, with variance (1 - 1/m); the mean over 10,000 counts is known to 1.5%
    # (its deviation is below sqrt(2.1 / 10,000)), so six deviations are allowed.
    within = np.array([np.bincount(one, minlength=m) for one in index])
    assert abs(within.var() - (1 - 1 / m)) <= 6 * math.sqrt(2.1 / within.size)
    # Resamples are independent: the variance of their means is var / m, a chi-square with 399 degrees of freedom.
    ratio = np.var(record.values, ddof=1) / (rows.var() / m)
    assert abs(ratio - 1) <= 6 * math.sqrt(2.5 / resamples)
    # And none of them predicts the next: their lag-one correlation has deviation 1 / sqrt(400).
    assert abs(np.corrcoef(record.values[:-1], record.values[1:])[0, 1]) <= 6 / math.sqrt(resamples)


@pytest.mark.exercise("bootstrap_interval", hint=1)
def test_rows_stay_whole(submission, rng):
    """Rows with several columns are drawn as wholes, keep their order of columns, shape and dtype."""
    tables = [rows for (rows,) in kinds(rng, (6, 2)).values()]
    for rows in (*tables, rng.standard_normal((5, 2, 2))):
        record = Recorder(lambda sample: float(sample.ravel()[0]))
        submission.bootstrap_interval(rows, record, resamples=20)
        known = {np.ascontiguousarray(row).tobytes() for row in rows}
        for sample in record.seen:
            assert is_array(sample, rows.shape, rows.dtype)
            assert {np.ascontiguousarray(row).tobytes() for row in sample} <= known


@pytest.mark.exercise("bootstrap_interval", hint=2)
def test_interval_is_reproducible(submission, rng):
    """The same seed gives the same interval, another seed another one."""
    rows = rng.standard_normal(15)
    found = [tuple(submission.bootstrap_interval(rows, float_mean, resamples=40, seed=seed)) for seed in (0, 0, 1, 2)]
    assert found[0] == found[1] and len(set(found)) == 3


def float_mean(sample):
    return float(np.mean(sample))


@pytest.mark.exercise("bootstrap_interval", hint=3)
def test_interval_agrees_with_the_binomial(submission, rng):
    """For a share of ones, the ends are quantiles of a binomial distribution, within what chance allows."""
    m, ones, level, resamples = 60, 18, 0.8, 3000
    rows = rng.permutation(np.arange(m) < ones).astype(float)
    low, high = submission.run(interval_of_mean, rows, level, resamples, 7)
    # The number of ones in a resample is binomial(60, 0.3). The quantile of 3000 draws at a share s is the quantile of
    # the distribution at some s +- 6 sqrt(s (1 - s) / 3000).
    slack = 6 * math.sqrt(0.1 * 0.9 / resamples)
    for end, share in ((low, 0.1), (high, 0.9)):
        least, most = scipy.stats.binom.ppf([share - slack, share + slack], m, ones / m) / m
        assert least - 1e-9 <= end <= most + 1e-9
    assert close(list(submission.bootstrap_interval(np.array([2.5]), float_mean, resamples=10)), [2.5, 2.5])


@student_side
def interval_of_mean(rows, level, resamples, seed):
    """The interval of a mean that is computed over there."""
    low, high = student.bootstrap_interval(rows, lambda r: float(r.mean()), level, resamples, seed)  # noqa: F821
    return float(low), float(high)


@pytest.mark.exercise("bootstrap_interval", hint=2, memory_mb=32)
def test_resamples_are_made_one_by_one(submission, rng):
    """Many resamples of many rows work in the memory of a few."""
    rows = rng.standard_normal(100_000)  # a resample takes 0.8 MB, its row numbers as much, 100 of either 80 MB
    low, high = submission.run(interval_of_mean, rows, 0.9, 100, 0)
    # The deviation of the mean is s / sqrt(m); the ends lie 1.64 of them out, found from 100 values to within 1.
    unit = rows.std() / math.sqrt(len(rows))
    assert close([low, high], [rows.mean() - 1.64 * unit, rows.mean() + 1.64 * unit], atol=1.2 * unit)


@pytest.mark.exercise("bootstrap_interval", weight=0.5, forgeable=True)
def test_bootstrap_leaves_its_rows(submission, rng):
    """The rows are the same after the call."""
    assert submission.run(unchanged, "bootstrap_interval", [rng.standard_normal(8), sum, 0.9, 20])


# ------------------------------------------------------------------------------------------------------ confusion


def labelled(rng, m, classes, right=0.6):
    """(y, predicted), some of them right."""
    y = rng.integers(0, classes, m)
    return y, np.where(rng.random(m) < right, y, rng.integers(0, classes, m))


@pytest.mark.exercise("confusion", weight=2, core=True, hint=1)
@pytest.mark.parametrize(("m", "classes"), [(50, 3), (1, 2), (30, 1), (200, 11), (5, 8), (0, 3)])
def test_confusion_agrees_with_sklearn(submission, rng, m, classes):
    """The counts are right, rows the truth and columns the prediction, also for classes that do not occur."""
    y, predicted = labelled(rng, m, classes)
    got = submission.confusion(y, predicted, classes)
    assert is_array(got, (classes, classes)) and got.dtype.kind in "iu"
    expected = confusion_matrix(y, predicted, labels=range(classes)) if m else np.zeros((classes, classes))
    assert close(got, expected)


@pytest.mark.exercise("confusion", hint=1)
def test_confusion_of_other_kinds_of_labels(submission, rng):
    """Labels of any kind of integer are fine, also uint8 with many classes, views and read-only arrays."""
    for classes, dtype in [(40, np.uint8), (100, np.int8), (30, np.uint64), (300, np.int16), (2, bool)]:
        y, predicted = (labels.astype(dtype) for labels in labelled(rng, 300, classes))
        for a, b in [(y, predicted), (frozen(y)[::-2], frozen(predicted)[::2]), (y, predicted.astype(np.int64))]:
            assert close(submission.confusion(a, b, classes), confusion_matrix(a, b, labels=range(classes)))


@pytest.mark.exercise("confusion", weight=0.5, hint=1)
def test_confusion_refuses_labels_that_are_no_class(submission):
    """A label below 0 or above classes - 1 raises ValueError, in the truth and in the prediction."""
    fine = np.array([0, 1, 2, 1])
    for wrong in ([0, 1, 2, -1], [3, 1, 2, 0], [0, -3, 0, 0], [0, 1, 100, 1]):
        for arguments in ((np.array(wrong), fine), (fine, np.array(wrong))):
            with raises_student(ValueError):
                submission.confusion(*arguments, 3)


@pytest.mark.exercise("confusion", hint=1, memory_mb=128)
def test_confusion_of_many_rows_and_classes(submission, rng):
    """Many rows of many classes work in little memory: labels are counted, not spread out into columns."""
    y, predicted = labelled(rng, 100_000, 500)  # one-hot, they take 50 MB in bytes and 400 MB in float64
    got = submission.confusion(y, predicted, 500)
    assert close(got, confusion_matrix(y, predicted, labels=range(500)))


def sklearn_scores(counts, average, zero_division):
    """The same dict, from as many rows as the counts say."""
    classes = len(counts)
    y, predicted = (np.repeat(grid.ravel(), counts.ravel()) for grid in np.indices(counts.shape))
    how = {"labels": range(classes), "zero_division": zero_division, "average": None if average == "none" else average}
    precision, recall, f1, _ = precision_recall_fscore_support(y, predicted, **how)
    return {"accuracy": accuracy_score(y, predicted), "precision": precision, "recall": recall, "f1": f1}


@pytest.mark.exercise("confusion", weight=3, core=True, hint=2)
@pytest.mark.parametrize("average", ["none", "macro", "micro"])
def test_scores_agree_with_sklearn(submission, rng, average):
    """Accuracy, precision, recall and F1 are right, for each class and in both averages."""
    for classes in (1, 2, 3, 7):
        counts = rng.integers(1, 20, (classes, classes))
        got = submission.classification_scores(counts, average=average)
        assert close(got, sklearn_scores(counts, average, 0.0), rtol=1e-12)
        assert all(np.ndim(got[name]) == (average == "none" and name != "accuracy") for name in got)
    by_default = submission.classification_scores(counts)
    assert close(by_default, sklearn_scores(counts, "macro", 0.0), rtol=1e-12)


@pytest.mark.exercise("confusion", weight=2, hint=3)
@pytest.mark.parametrize("zero_division", [0, 1.0])
def test_scores_where_nothing_is_to_divide(submission, rng, zero_division):
    """Classes that never occur, or are never predicted, get zero_division where a ratio is 0/0, and only there."""
    never_said, never_there, neither, all_wrong = (rng.integers(1, 9, (4, 4)) for _ in range(4))
    never_said[:, 1] = never_there[2] = neither[3] = neither[:, 3] = 0
    np.fill_diagonal(all_wrong, 0)
    for counts in (never_said, never_there, neither, all_wrong, np.diag([3, 0]), np.array([[3, 0], [1, 0]])):
        for average in ("none", "macro", "micro"):
            got = submission.classification_scores(counts, average=average, zero_division=zero_division)
            assert close(got, sklearn_scores(counts, average, zero_division), rtol=1e-12)


@pytest.mark.exercise("confusion", hint=3)
def test_scores_of_no_rows(submission):
    """With no rows at all, every ratio is zero_division, also one between 0 and 1."""
    for value in (0.0, 1.0, 0.25):
        for average in ("none", "macro", "micro"):
            each = np.full(3, value) if average == "none" else value
            expected = {"accuracy": value, "precision": each, "recall": each, "f1": each}
            got = submission.classification_scores(np.zeros((3, 3), dtype=int), average, value)
            assert close(got, expected, rtol=1e-12)


@pytest.mark.exercise("confusion", weight=0.5, hint=2)
def test_scores_of_large_and_other_counts(submission, rng):
    """Counts of any kind are fine, and so are sums up to 1e15."""
    small = rng.integers(1, 15, (3, 3))
    for factor, dtype in [(1, np.uint8), (10**8, np.int32), (10**13, np.int64), (1, np.float32), (16, np.int16)]:
        counts = (small * factor).astype(dtype)
        got = submission.classification_scores(frozen(counts), average="none")
        assert close(got, sklearn_scores(small, "none", 0.0), rtol=1e-12)


@pytest.mark.exercise("confusion", weight=0.5)
def test_scores_refuse_an_unknown_average(submission):
    """An average other than none, macro and micro raises ValueError."""
    for wrong in ("weighted", "", "Macro"):
        with raises_student(ValueError):
            submission.classification_scores(np.eye(2), average=wrong)


@pytest.mark.exercise("confusion", weight=0.5, forgeable=True)
def test_confusion_leaves_its_arguments(submission, rng):
    """Neither function changes its arguments."""
    assert submission.run(unchanged, "confusion", [*labelled(rng, 9, 3), 3])
    for average in ("none", "macro", "micro"):
        assert submission.run(unchanged, "classification_scores", [np.diag([2.0, 0.0]), average])


# -------------------------------------------------------------------------------------------------------- roc_auc


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
    assert close(submission.roc_auc(score, y), roc_auc_score(y, score), rtol=1e-12)
    got = submission.roc_auc(-score, y)
    assert np.ndim(got) == 0 and close(got, 1 - roc_auc_score(y, score), atol=1e-12)


@pytest.mark.exercise("roc_auc", weight=3, core=True, hint=2)
@pytest.mark.parametrize("values", [1, 2, 3, 10])
def test_auc_with_heavy_ties(submission, rng, values):
    """A tie between a positive and a negative counts one half, however many there are and in whatever order."""
    for m in (2, 5, 60):
        y = rng.permutation(np.arange(m) % 3 == 0).astype(int)
        score = rng.integers(0, values, m) / 4
        expected = pairs_won(score, y)
        assert close(submission.roc_auc(score, y), expected, rtol=1e-12)
        order = np.lexsort((y, score))  # in a file that is sorted, the positives come last among their equals, or first
        assert close(submission.roc_auc(score[order], y[order]), expected, rtol=1e-12)
        assert close(submission.roc_auc(score[order[::-1]], y[order[::-1]]), expected, rtol=1e-12)


@pytest.mark.exercise("roc_auc", hint=2)
def test_auc_knows_only_the_order(submission, rng):
    """Scores of any size count by their order alone: tiny differences in full, exact ties as ties."""
    y = rng.permutation(np.arange(50) % 2)
    score = rng.integers(-10, 11, 50).astype(float)
    expected = pairs_won(score, y)
    for moved in (score * 1e300, score * 1e-300, score * 2.0**-40 + 1, 1e15 + score, np.sinh(score * 5)):
        assert close(submission.roc_auc(moved, y), expected, rtol=1e-12)


@pytest.mark.exercise("roc_auc", weight=0.5)
def test_auc_of_other_kinds_of_data(submission, rng):
    """Scores and labels of any kind are fine, also uint8 and bool, views and read-only arrays."""
    y = rng.permutation(np.arange(60) % 2)
    score = rng.integers(0, 250, 60)
    for s, labels in [
        (score.astype(np.uint8), y.astype(np.uint8)),
        (score.astype(np.float32) / 7, y.astype(bool)),
        (score, y.astype(float)),
        (frozen(score)[::-2], frozen(y)[::-2]),
        ((score + 2**60), y),
    ]:
        assert close(submission.roc_auc(s, labels), pairs_won(s, labels), rtol=1e-12)


@pytest.mark.exercise("roc_auc", weight=2, hint=1, memory_mb=192)
def test_auc_of_many_rows(submission, rng):
    """200,000 rows work in little memory and in a moment, with ties and without: pairs are not compared one by one."""
    y = (rng.random(200_000) < 0.4).astype(int)  # 9.6e9 pairs, which take 9.6 GB as bytes
    score = rng.standard_normal(200_000) + y
    for s in (score, np.round(score, 2)):
        assert close(submission.roc_auc(s, y), roc_auc_score(y, s), rtol=1e-10)


@pytest.mark.exercise("roc_auc", weight=0.5)
def test_auc_refuses_a_single_class(submission, rng):
    """Labels that are all 1, or all 0, raise ValueError."""
    for y in (np.ones(4, dtype=int), np.zeros(4, dtype=int), np.ones(1, dtype=int), np.zeros(3, dtype=bool)):
        with raises_student(ValueError):
            submission.roc_auc(rng.standard_normal(len(y)), y)


@pytest.mark.exercise("roc_auc", weight=0.5, forgeable=True)
def test_auc_leaves_its_arguments(submission, rng):
    """score and y are the same after the call."""
    assert submission.run(unchanged, "roc_auc", [rng.standard_normal(6), np.array([0, 1, 0, 1, 1, 0])])
    assert submission.run(unchanged, "roc_auc", [rng.standard_normal(6), np.array([0, 1, 0, 1, 1, 0.0])])


# ----------------------------------------------------------------------------------------------------- auc_bounds


@pytest.mark.exercise("auc_bounds", weight=2, core=True, hint=1)
@pytest.mark.parametrize(("m", "bins"), [(60, 4), (500, 16), (9, 1), (1, 3), (3, 100), (0, 5), (200, 7)])
def test_counts_of_the_bins(submission, rng, m, bins):
    """Negatives and positives are counted in the right bins, an edge belongs to the bin above it, 1 to the last."""
    score, y = rng.random(m), rng.integers(0, 2, m)
    if bins in (4, 16):  # their edges are exact in floating point
        score[: 2 * bins] = np.tile(np.arange(bins) / bins, 2)
        score[-3:] = 1.0
    got = submission.score_counts(score, y, bins)
    assert is_array(got, (2, bins), np.int64)
    expected = [[0] * bins, [0] * bins]
    for a, label in zip(score.tolist(), y.tolist(), strict=True):
        expected[label][min(math.floor(a * bins), bins - 1)] += 1
    assert close(got, np.array(expected))


@pytest.mark.exercise("auc_bounds", weight=2, hint=1)
def test_counts_merge(submission, rng):
    """The counts of the parts add up to those of the whole, whatever the parts."""
    score, y = rng.random(300), rng.integers(0, 2, 300)
    whole = submission.score_counts(score, y, 32)
    cuts = [0, 1, 1, 40, 299, 300]
    parts = [submission.score_counts(score[a:b], y[a:b], 32) for a, b in itertools.pairwise(cuts)]
    assert close(sum(np.asarray(part) for part in parts), whole)
    assert close(np.asarray(whole).sum(axis=1), [np.sum(y == 0), np.sum(y == 1)])


@pytest.mark.exercise("auc_bounds", weight=3, core=True, hint=2)
@pytest.mark.parametrize("bins", [1, 2, 5, 40, 1000])
def test_bounds_are_attained(submission, rng, bins):
    """The bounds are the AUC with all pairs within a bin lost, and with all of them won."""
    bin_of, y = rng.integers(0, bins, 80), rng.permutation(np.arange(80) % 3 == 0).astype(int)
    counts = np.array([np.bincount(bin_of[y == k], minlength=bins) for k in (0, 1)])
    worst = roc_auc_score(y, bin_of - 0.5 * y)
    best = roc_auc_score(y, bin_of + 0.5 * y)
    got = submission.auc_bounds(counts)
    assert isinstance(got, tuple | list) and len(got) == 2
    assert close(list(got), [worst, best], rtol=1e-12, atol=1e-14)


@pytest.mark.exercise("auc_bounds", hint=2)
def test_bounds_hold_the_auc_of_the_scores(submission, rng):
    """With the counts of score_counts, the AUC of the scores lies between the bounds, which close in as bins grow."""
    y = (rng.random(400) < 0.3).astype(int)
    score = np.clip(0.4 + 0.2 * y + 0.2 * rng.standard_normal(400), 0, 1)
    exact, width = roc_auc_score(y, score), 2.0
    for bins in (1, 4, 16, 64, 256):
        low, high = submission.auc_bounds(submission.score_counts(score, y, bins))
        assert low <= exact + 1e-12 and exact <= high + 1e-12 and high - low < width
        width = high - low


@pytest.mark.exercise("auc_bounds", hint=3)
def test_bounds_of_huge_counts(submission, rng):
    """Counts of 1e12 in a bin give the bounds of the same shares in small: no product overflows."""
    small = rng.integers(1, 9, (2, 50))
    expected = submission.auc_bounds(small)
    worst = sum(int(small[1, b]) * int(small[0, :b].sum()) for b in range(50))
    pairs = int(small[0].sum()) * int(small[1].sum())
    assert close(expected[0], worst / pairs, rtol=1e-12)
    for counts in (small * 10**11, small.astype(np.uint8), small.astype(np.float64), frozen(small)):
        assert close(list(submission.auc_bounds(counts)), list(expected), rtol=1e-12)
    assert close(list(submission.auc_bounds(np.array([[10**12, 1], [1, 10**12]]))), [1.0, 1.0], atol=3e-12)


@pytest.mark.exercise("auc_bounds", weight=0.5)
def test_counts_of_other_kinds_of_data(submission, rng):
    """Scores in float32, labels of any kind, views and read-only arrays are fine."""
    score, y = rng.random(60), rng.integers(0, 2, 60)
    below_edges = np.nextafter((np.arange(1, 61) / 300).astype(np.float32), np.float32(0))
    for s, labels in [
        (below_edges, y),
        (score.astype(np.float32), y.astype(bool)),
        (score, y.astype(np.uint8)),
        (frozen(score)[::-2], frozen(y)[::2]),
        (score, y.astype(float)),
    ]:
        bin_of = np.minimum(np.floor(s.astype(np.float64) * 300), 299)
        expected = [np.histogram(bin_of[labels == k], bins=np.arange(301))[0] for k in (0, 1)]
        assert close(submission.score_counts(s, labels, 300), np.array(expected))


@pytest.mark.exercise("auc_bounds", hint=1, memory_mb=128)
def test_counts_of_many_rows(submission, rng):
    """A million rows in a thousand bins need memory for the rows and for the bins, not for their product."""
    score, y = rng.random(1_000_000, dtype=np.float32), rng.integers(0, 2, 1_000_000, dtype=np.int8)
    got = submission.score_counts(score, y, 1024)  # (m, bins) takes a gigabyte in bytes
    expected = [np.histogram(score[y == k], bins=1024, range=(0, 1))[0] for k in (0, 1)]
    assert close(got, np.array(expected))  # the edges k / 1024 are exact


@pytest.mark.exercise("auc_bounds", weight=0.5)
def test_bounds_refuse_a_single_class(submission):
    """Counts with no positives, no negatives or neither raise ValueError."""
    for counts in ([[1, 2], [0, 0]], [[0, 0], [3, 0]], [[0], [0]]):
        with raises_student(ValueError):
            submission.auc_bounds(np.array(counts))


@pytest.mark.exercise("auc_bounds", weight=0.5, forgeable=True)
def test_bounds_leave_their_arguments(submission, rng):
    """Neither function changes its arguments."""
    assert submission.run(unchanged, "score_counts", [rng.random(6), rng.integers(0, 2, 6), 4])
    assert submission.run(unchanged, "auc_bounds", [np.array([[1.0, 2.0], [3.0, 4.0]])])
